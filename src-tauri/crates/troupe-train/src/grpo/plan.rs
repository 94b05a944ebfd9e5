//! What a stage-2 run would do, without loading the base.

use serde::Serialize;
use troupe_character::Character;
use troupe_model::config::ModelConfig;

use super::{
    judges::{Places, costs, stand_ins},
    profile::GrpoProfile,
    prompts::prompt_set,
};
use crate::{checkpoint, error::TrainResult, estimate::seconds, events::Remark};

/// Seconds beside the epochs: loading, trials, the adapter. A guess.
const SECONDS_BESIDE: f64 = 90.;
/// Bytes of a number.
const BYTES: f64 = 4.;
/// Copies of what is trained besides itself: stage 1, gradient, two moments, the best.
const TRAINED_COPIES: f64 = 5.;
/// Numbers that a layer keeps per latent for the gradient, in widths of the model. A guess.
const KEPT_WIDTHS: f64 = 16.;
/// The same in widths of the MLP. A guess.
const KEPT_INNER: f64 = 5.;
/// Bytes of the program, pictures and what judges. A guess.
const MEMORY_BESIDE: f64 = 3e8;

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
    /// What judges instead of what is missing.
    pub stand_ins: Vec<Remark>,
    /// Bytes of memory: a guess from the sizes of weights and passes, not measured.
    pub memory_bytes: usize,
    /// Bytes of disk: checkpoints and the adapter in run and character.
    pub disk_bytes: usize,
    /// Minutes on this machine: a guess from the speed of its products and stage 1's share of it.
    pub guessed_minutes: f64,
}

/// Plans a run on a character with a base, on a machine that does `trial_speed` operations of a
/// [`Trial`](troupe_nn::trial::Trial) a second.
///
/// # Errors
/// When the base's configuration is unusable, or the character has nothing to draw.
pub fn plan(
    places: Places,
    character: &Character,
    profile: &GrpoProfile,
    trial_speed: f64,
) -> TrainResult<GrpoPlan> {
    let config = ModelConfig::from_dir(places.model_dir)?;
    let judges = costs(places, profile)?;
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
    let seen = images as f64 * profile.epochs as f64 + trials * tried;
    let operations = passes * operations(&config) + seen * judges.per_picture;
    Ok(GrpoPlan {
        num_prompts: prompts.learned.len(),
        num_held_out: prompts.held_out.len(),
        is_drafted: prompts.is_drafted,
        epochs: profile.epochs,
        images_per_epoch: images,
        passes_per_epoch,
        stand_ins: stand_ins(places, profile)?,
        memory_bytes: (memory(&config, profile) + judges.bytes) as usize,
        disk_bytes: disk(&config, profile) as usize,
        guessed_minutes: (SECONDS_BESIDE + seconds(operations, trial_speed)) / 60.,
    })
}

/// Operations of one picture's pass: two per weight and latent.
fn operations(config: &ModelConfig) -> f64 {
    2. * gen_layers(config) * layer_weights(config) * latents(config)
}

/// Layers with a generation expert.
fn gen_layers(config: &ModelConfig) -> f64 {
    let llm = &config.llm_config;
    (0..llm.num_hidden_layers).filter(|i| llm.has_gen_expert(*i)).count() as f64
}

/// Weights of one expert in a layer.
fn layer_weights(config: &ModelConfig) -> f64 {
    let llm = &config.llm_config;
    let width = llm.hidden_size as f64;
    let head = width / llm.num_attention_heads as f64;
    let attention = width * (2. * width + 2. * llm.num_key_value_heads as f64 * head);
    attention + 3. * width * llm.intermediate_size as f64
}

/// Latent tokens of a picture.
fn latents(config: &ModelConfig) -> f64 {
    let side = (config.picture_size / config.pixels_per_token()) as f64;
    side * side
}

/// Memory of a run in f32: both experts and the embedding; of what is trained a copy of stage 1, the
/// gradient, two moments and the best so far; and what a pass remembers for its gradient.
fn memory(config: &ModelConfig, profile: &GrpoProfile) -> f64 {
    let llm = &config.llm_config;
    let (width, inner) = (llm.hidden_size as f64, llm.intermediate_size as f64);
    let (layers, weights) = (gen_layers(config), layer_weights(config));
    let base = weights * (llm.num_hidden_layers as f64 + layers) + llm.vocab_size as f64 * width;
    let trained = trained(config, profile);
    let kept = TRAINED_COPIES + f64::from(u8::from(profile.optim.ema > 0.));
    let pictures = profile.sampler.pictures_per_pass.min(profile.images_per_prompt) as f64;
    let branches = if profile.sampler.cfg_scale > 1. && !profile.optim.recompute { 2. } else { 1. };
    let per_token = KEPT_WIDTHS * width + KEPT_INNER * inner;
    let remembered = branches * pictures * latents(config) * layers * per_token;
    (base + kept * trained + remembered) * BYTES + MEMORY_BESIDE
}

/// Values that are trained.
fn trained(config: &ModelConfig, profile: &GrpoProfile) -> f64 {
    let layers = gen_layers(config);
    if profile.optim.lora_rank == 0 {
        return layers * layer_weights(config);
    }
    // Seven matrices a layer, each with a pair of low-rank factors about as wide as the model.
    layers * 7. * 2. * config.llm_config.hidden_size as f64 * profile.optim.lora_rank as f64
}

/// Disk of a run: as many checkpoints as exist at once, of value, two moments, the average and the best;
/// the whole generation expert in half precision for the run and for the character.
fn disk(config: &ModelConfig, profile: &GrpoProfile) -> f64 {
    let kept = 4. + f64::from(u8::from(profile.optim.ema > 0.));
    let checkpoint = kept * trained(config, profile) * BYTES;
    let adapter = gen_layers(config) * layer_weights(config) * BYTES / 2.;
    (checkpoint::KEPT + 1) as f64 * checkpoint + 2. * adapter
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
        lines.extend(self.stand_ins.iter().map(|remark| remark.text.clone()));
        lines.push(format!(
            "perhaps {:.0} minutes on this machine when it is quiet, and {:.1} GB of memory: guesses \
             from its speed and from sizes; the time left is measured once the second epoch is done",
            self.guessed_minutes,
            self.memory_bytes as f64 / 1e9
        ));
        lines.join("\n")
    }
}
