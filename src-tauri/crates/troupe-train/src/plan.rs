//! What a run would do, without loading the base: samples with their loss marks, tokens, memory and
//! time.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use troupe_character::{
    Character,
    samples::{SampleBlock, SampleKind, TrainingSample},
};
use troupe_model::{
    config::ModelConfig, gguf::GgufFile, runtime::ModelFiles, tokens::TextTokenizer,
};

use crate::{
    data::role,
    error::TrainResult,
    estimate::{estimate, recipe_samples},
    recipe::SftRecipe,
};

/// One kind of sample in a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindPlan {
    /// The kind.
    pub kind: SampleKind,
    /// Its name for people.
    pub label: String,
    /// Samples learned from.
    pub num_train: usize,
    /// Samples kept back.
    pub num_held_out: usize,
    /// Text tokens of the samples learned from.
    pub num_tokens: usize,
    /// Those with a text loss.
    pub num_loss_tokens: usize,
    /// The first sample, block by block.
    pub example: Vec<BlockPlan>,
}

/// One block of an example.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockPlan {
    /// What it is, with its loss.
    pub label: String,
    /// Its pieces and whether each is predicted under a loss.
    pub pieces: Vec<(String, bool)>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SftPlan {
    /// Kinds with samples.
    pub kinds: Vec<KindPlan>,
    /// Optimiser steps.
    pub num_steps: usize,
    /// Times that a text sample is learned from on average.
    pub text_passes: f64,
    /// Times that a picture sample is learned from on average.
    pub picture_passes: f64,
    /// Values that are trained.
    pub num_trainable: usize,
    /// Estimate of memory in bytes.
    pub memory_bytes: usize,
    /// Estimate of the disk that the run's folder and the adapter take, in bytes.
    pub disk_bytes: usize,
    /// Estimate of minutes on this machine.
    pub minutes: f64,
}

/// Plans a run on a character with a base, on a machine that does `trial_speed` operations of a
/// [`Trial`](troupe_nn::trial::Trial) a second.
///
/// # Errors
/// When the base's configuration or tokenizer is unusable.
pub fn plan(
    model_dir: &Path,
    character: &Character,
    recipe: &SftRecipe,
    seed: u64,
    trial_speed: f64,
) -> TrainResult<SftPlan> {
    let config = ModelConfig::from_dir(model_dir)?;
    let files = ModelFiles::find(model_dir)?;
    let gguf = files.gguf.as_deref().map(GgufFile::open).transpose()?;
    let names = &config.special_token_names;
    let tokenizer =
        TextTokenizer::from_dir(model_dir, gguf.as_ref(), names, &config.text_template)?;
    let samples = recipe_samples(character, recipe, seed);
    let mut kinds: BTreeMap<SampleKind, KindPlan> = BTreeMap::new();
    for sample in &samples {
        add(&tokenizer, &mut kinds, sample)?;
    }
    let kinds: Vec<KindPlan> = kinds.into_values().collect();
    let taken = estimate(model_dir, recipe, &samples)?;
    let (text_passes, picture_passes) = passes(recipe, &kinds);
    Ok(SftPlan {
        num_steps: recipe.num_steps,
        text_passes,
        picture_passes,
        num_trainable: taken.num_trainable,
        memory_bytes: taken.memory_bytes,
        disk_bytes: taken.disk_bytes,
        minutes: taken.minutes(trial_speed),
        kinds,
    })
}

fn add(
    tokenizer: &TextTokenizer,
    kinds: &mut BTreeMap<SampleKind, KindPlan>,
    sample: &TrainingSample,
) -> TrainResult<()> {
    let plan = kinds.entry(sample.kind).or_insert_with(|| KindPlan {
        kind: sample.kind,
        label: sample.kind.label().into(),
        num_train: 0,
        num_held_out: 0,
        num_tokens: 0,
        num_loss_tokens: 0,
        example: Vec::new(),
    });
    if sample.held_out {
        plan.num_held_out += 1;
        return Ok(());
    }
    let is_first = plan.num_train == 0;
    plan.num_train += 1;
    for block in &sample.blocks {
        let (shown, tokens, with_loss) = show(tokenizer, block)?;
        plan.num_tokens += tokens;
        plan.num_loss_tokens += with_loss;
        if is_first {
            plan.example.push(shown);
        }
    }
    Ok(())
}

/// A block for people, its text tokens and those of them with a loss.
fn show(tokenizer: &TextTokenizer, block: &SampleBlock) -> TrainResult<(BlockPlan, usize, usize)> {
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(match block {
        SampleBlock::Vit { picture } => {
            let label = "picture, seen; no loss".to_owned();
            (BlockPlan { label, pieces: vec![(file(picture), false)] }, 0, 0)
        }
        SampleBlock::Vae { picture, loss } => {
            let what = if *loss { "flow loss on every latent" } else { "no loss" };
            let label = format!("picture, as latents; {what}");
            (BlockPlan { label, pieces: vec![(file(picture), *loss)] }, 0, 0)
        }
        SampleBlock::Text { role: who, text, loss, droppable } => {
            let (ids, from) = tokenizer.text_block(role(*who), text)?;
            // The token after `from` is the first that is predicted.
            let first = if *loss { from + 1 } else { ids.len() };
            let with_loss = ids.len() - first;
            let dropped = if *droppable { ", left out now and then" } else { "" };
            let label = format!(
                "{}, {} tokens; {}{dropped}",
                format!("{who:?}").to_lowercase(),
                ids.len(),
                if *loss { format!("loss on {with_loss}") } else { "no loss".into() },
            );
            let mut pieces = Vec::new();
            for (part, marked) in [(&ids[..first], false), (&ids[first..], true)] {
                if !part.is_empty() {
                    pieces.push((tokenizer.decode_all(part)?, marked));
                }
            }
            (BlockPlan { label, pieces }, ids.len(), with_loss)
        }
    })
}

/// How often texts and pictures are learned from on average.
fn passes(recipe: &SftRecipe, kinds: &[KindPlan]) -> (f64, f64) {
    use troupe_character::samples::SampleGroup;
    let repeats = |k: &KindPlan| recipe.repeats.get(&k.kind).copied().unwrap_or(1);
    let of = |group: SampleGroup| kinds.iter().filter(move |k| k.kind.group() == group);
    let tokens: usize = of(SampleGroup::Text).map(|k| k.num_tokens * repeats(k)).sum();
    let pictures: usize = of(SampleGroup::Picture).map(|k| k.num_train * repeats(k)).sum();
    let batches = (recipe.num_steps * recipe.accumulate) as f64;
    let text_batches = if recipe.text_every > 0 { batches / recipe.text_every as f64 } else { 0. };
    (
        text_batches * recipe.text_tokens as f64 / tokens.max(1) as f64,
        batches * recipe.pictures as f64 / pictures.max(1) as f64,
    )
}

impl SftPlan {
    /// The plan as text: a table, an example of each kind with `⟦…⟧` around what carries a loss, and
    /// the estimates.
    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for k in &self.kinds {
            lines.push(format!(
                "{:<36} {:>5} to learn, {:>4} kept back, {:>7} tokens, {:>6} with loss",
                k.label, k.num_train, k.num_held_out, k.num_tokens, k.num_loss_tokens
            ));
        }
        for k in self.kinds.iter().filter(|k| !k.example.is_empty()) {
            lines.push(format!("\n{}, for example:", k.label));
            for block in &k.example {
                lines.push(format!("  [{}]", block.label));
                let text: String = block
                    .pieces
                    .iter()
                    .map(
                        |(text, marked)| {
                            if *marked { format!("⟦{text}⟧") } else { shortened(text) }
                        },
                    )
                    .collect();
                lines.extend(text.lines().map(|line| format!("    {line}")));
            }
        }
        lines.push(format!(
            "\n{} steps: every text {:.1} times, every picture sample {:.1} times; {:.1} M values to learn",
            self.num_steps,
            self.text_passes,
            self.picture_passes,
            self.num_trainable as f64 / 1e6
        ));
        lines.push(format!(
            "about {:.0} minutes on this machine, about {:.1} GB of memory and {:.1} GB of disk",
            self.minutes.max(1.),
            self.memory_bytes as f64 / 1e9,
            self.disk_bytes as f64 / 1e9
        ));
        lines.join("\n")
    }
}

/// Characters shown at either end of a long text.
const SHOWN: usize = 240;

fn shortened(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= 2 * SHOWN + 40 {
        return text.to_owned();
    }
    let (start, end) = (&characters[..SHOWN], &characters[characters.len() - SHOWN..]);
    format!(
        "{} [… {} characters …] {}",
        start.iter().collect::<String>(),
        characters.len() - 2 * SHOWN,
        end.iter().collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened_in_the_middle() {
        let text = "é".repeat(1000);
        let short = shortened(&text);
        assert!(short.contains("[… 520 characters …]"), "{short}");
        assert_eq!(shortened("short"), "short");
    }
}
