//! Yes or no about a picture, from the probabilities of the first word of an answer.

use image::RgbImage;

use crate::{context::Context, error::ModelResult, runtime::Model, tokens::TextRole};

/// Spellings of an answer, whose first tokens count together.
const YES: [&str; 4] = ["yes", "Yes", " yes", " Yes"];
const NO: [&str; 4] = ["no", "No", " no", " No"];

impl Model {
    /// Probabilities of yes and of no as the first word of the answer to each question about `picture`.
    ///
    /// # Errors
    /// When the network fails.
    pub fn yes_no(&self, picture: &RgbImage, questions: &[String]) -> ModelResult<Vec<(f64, f64)>> {
        let reader = self.reader();
        let mut seen = Context::new();
        reader.read_picture(&mut seen, &self.picture_for_vision(picture)?)?;
        let (yes, no) = (self.first_tokens(YES)?, self.first_tokens(NO)?);
        let start = self.tokenizer().block_start(TextRole::Reply)?;
        let read = |question: &String| -> ModelResult<Vec<u32>> {
            let (mut ids, _) = self.tokenizer().text_block(TextRole::Prompt, question)?;
            ids.extend(&start);
            Ok(ids)
        };
        let texts = questions.iter().map(read).collect::<ModelResult<Vec<_>>>()?;
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let logits = reader.next_logits_each(&seen, &texts)?.to_vec2::<f32>()?;
        let shares = |logits: Vec<f32>| {
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let share = |logit: f32| f64::from(logit - top).exp();
            let total: f64 = logits.iter().map(|logit| share(*logit)).sum();
            let of = |ids: &[usize]| ids.iter().map(|id| share(logits[*id])).sum::<f64>() / total;
            (of(&yes), of(&no))
        };
        Ok(logits.into_iter().map(shares).collect())
    }

    /// Ids that begin these words, each once.
    fn first_tokens(&self, words: [&str; 4]) -> ModelResult<Vec<usize>> {
        let mut ids = Vec::new();
        for word in words {
            ids.extend(self.tokenizer().encode(word)?.first().map(|id| *id as usize));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// How well answers are as expected, 0 to 1, from probabilities of yes and no: the mean of
/// `p(expected) / (p(yes) + p(no))`, questions that expect yes and those that expect no weighing the
/// same, so that always the same answer earns a half. A side without questions leaves the other alone;
/// `None` without any.
pub fn balanced(probabilities: &[(f64, f64)], expects_yes: &[bool]) -> Option<f64> {
    let side = |yes: bool| {
        let shares: Vec<f64> = probabilities
            .iter()
            .zip(expects_yes)
            .filter(|(_, expected)| **expected == yes)
            .map(|((p_yes, p_no), _)| if yes { p_yes } else { p_no } / (p_yes + p_no).max(1e-12))
            .collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    match (side(true), side(false)) {
        (Some(yes), Some(no)) => Some(0.5 * (yes + no)),
        (one, other) => one.or(other),
    }
}
