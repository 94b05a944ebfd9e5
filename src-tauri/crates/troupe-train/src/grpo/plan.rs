//! What a stage-2 run would do, without loading the base.

use std::path::Path;

use serde::Serialize;
use troupe_character::Character;
use troupe_model::config::ModelConfig;

use super::{judges::stand_ins, profile::GrpoProfile, prompts::prompt_set};
use crate::error::TrainResult;

/// Arithmetic operations per second of two cores, measured in stage 1 on `mini`.
const OPERATIONS_PER_SECOND: f64 = 1.1e11;
/// Seconds beside the epochs: loading, trials, the adapter. A guess.
const SECONDS_BESIDE: f64 = 90.;

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpoPlan {
    /// Prompts that are learned from.
    pub num_prompts: usize,
    /// Prompts that are kept back for trials.
    pub num_held_out: usize,
    /// Whether prompts were drafted.
    pub is_drafted: bool,
    /// Rounds.
    pub epochs: usize,
    /// Pictures drawn in a round.
    pub images_per_epoch: usize,
    /// Passes of the network per round, a backward pass counting twice.
    pub passes_per_epoch: f64,
    /// What judges instead of what is missing, in words.
    pub stand_ins: Vec<String>,
    /// Minutes on two cores: a guess from stage 1's speed, not measured on this stage.
    pub guessed_minutes: f64,
}

/// Plans a run on a character with a base.
///
/// # Errors
/// When the base's configuration is unusable, or the character has nothing to draw.
pub fn plan(
    model_dir: &Path,
    character: &Character,
    profile: &GrpoProfile,
) -> TrainResult<GrpoPlan> {
    let config = ModelConfig::from_dir(model_dir)?;
    let prompts = prompt_set(character, profile.watch.held_out_share)?;
    let sampler = &profile.sampler;
    let groups = profile.prompts_per_epoch.min(prompts.learned.len());
    let images = groups * profile.images_per_prompt;
    let branches = if sampler.cfg_scale > 1. { 2. } else { 1. };
    let again = if profile.optim.recompute && branches > 1. { 4. } else { 3. };
    let steps = (sampler.points - 1) as f64 + sampler.window as f64 * again;
    let judged = if profile.reward.alignment > 0. { 4. } else { 0. };
    let passes_per_epoch = images as f64 * (steps * branches + judged);
    let trials = (profile.epochs / profile.watch.eval_every.max(1) + 1) as f64;
    let tried = (profile.watch.eval_prompts * profile.watch.eval_pictures) as f64;
    let passes = passes_per_epoch * profile.epochs as f64
        + trials * tried * sampler.eval_points as f64 * branches;
    let per_pass = operations(&config);
    Ok(GrpoPlan {
        num_prompts: prompts.learned.len(),
        num_held_out: prompts.held_out.len(),
        is_drafted: prompts.is_drafted,
        epochs: profile.epochs,
        images_per_epoch: images,
        passes_per_epoch,
        stand_ins: stand_ins(model_dir, profile)?,
        guessed_minutes: (SECONDS_BESIDE + passes * per_pass / OPERATIONS_PER_SECOND) / 60.,
    })
}

/// Operations of one picture's pass: two per weight and latent.
fn operations(config: &ModelConfig) -> f64 {
    let llm = &config.llm_config;
    let layers = (0..llm.num_hidden_layers).filter(|i| llm.has_gen_expert(*i)).count();
    let width = llm.hidden_size as f64;
    let head = width / llm.num_attention_heads as f64;
    let attention = width * (2. * width + 2. * llm.num_key_value_heads as f64 * head);
    let weights = layers as f64 * (attention + 3. * width * llm.intermediate_size as f64);
    let side = (config.picture_size / config.pixels_per_token()) as f64;
    2. * weights * side * side
}

impl GrpoPlan {
    /// The plan as text.
    pub fn to_text(&self) -> String {
        let drafted = if self.is_drafted { " (some drafted; edit prompts.jsonl)" } else { "" };
        let mut lines = vec![
            format!(
                "{} prompts to learn from, {} kept back{drafted}",
                self.num_prompts, self.num_held_out
            ),
            format!("{} epochs of {} pictures", self.epochs, self.images_per_epoch),
        ];
        lines.extend(self.stand_ins.iter().cloned());
        lines.push(format!(
            "perhaps {:.0} minutes on two quiet cores: a guess from the speed of stage 1; the time \
             left is measured once the second epoch is done",
            self.guessed_minutes
        ));
        lines.join("\n")
    }
}
