//! Whether drawings show what their prompts ask for: yes/no questions answered by the base.
//!
//! Stage 2 may be rewarded by answers of the taught model, or by the scorer. The base as it came sees
//! neither what was taught nor what was rewarded, so it can be asked about every stage alike.

use std::ops::ControlFlow;

use serde_json::json;
use troupe_model::yes_no::balanced;

use super::{
    Bench, Flow,
    material::{draw_items, seed_of},
    object,
};

impl Bench<'_> {
    /// Asks what is drawn already about the questions of its prompt. The model must be the base alone.
    pub(crate) fn prompt_questions(&mut self) -> Flow {
        let mut items = draw_items(self.character(), &self.plan.settings);
        items.retain(|item| !item.questions.is_empty());
        for (done, item) in items.iter().enumerate() {
            let (questions, expects_yes): (Vec<String>, Vec<bool>) =
                item.questions.iter().cloned().unzip();
            for index in 0..self.plan.settings.num_seeds {
                let seed = seed_of(&self.character().name, &item.prompt, index);
                if self.is_done("prompt_vqa", &item.id, seed) {
                    continue;
                }
                let (file, picture) = self.drawn(&item.id, &item.prompt, seed)?;
                let probabilities = self.model.yes_no(&picture, &questions)?;
                let Some(value) = balanced(&probabilities, &expects_yes) else { continue };
                let mut record = self.record("prompt_vqa", &item.id, seed, value);
                record.slices.push(item.slice.into());
                let shares: Vec<f64> =
                    probabilities.iter().map(|(yes, no)| yes / (yes + no).max(1e-12)).collect();
                record.detail = object(&json!({
                    "prompt": item.prompt, "file": file, "questions": questions,
                    "expects_yes": expects_yes, "yes": shares,
                }));
                self.log.append(vec![record])?;
            }
            if self.tell("questions about pictures", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
