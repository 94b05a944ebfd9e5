//! What a run of stage 1 takes of the machine: memory, disk and time.
//!
//! Command line and window show these numbers. They follow from the base's configuration, the recipe and
//! the samples: weights are not loaded, and tokens are not counted but guessed from the texts' bytes,
//! which takes milliseconds.

use std::path::Path;

use serde::Serialize;
use troupe_character::{
    Character,
    samples::{SampleBlock, SampleGroup, TrainingSample, training_samples},
};
use troupe_model::{
    config::ModelConfig,
    gguf::GgufFile,
    inspect::{required_tensors, stored_precision},
    memory::{Planner, Purpose, Workload},
    runtime::{ModelFiles, Precision},
};

use crate::{
    checkpoint,
    error::TrainResult,
    recipe::{FrozenPrecision, Mode, SftRecipe},
    rehearsal::Rehearsal,
    sft::{
        HELD_PICTURES, HELD_TEXTS, HELD_TIMES, SAMPLE_TOKENS, SAMPLED_PICTURES, SAMPLED_REPLIES,
        is_trained, takes_lora,
    },
};

/// Share of a [`Trial`](troupe_nn::trial::Trial)'s speed that training reaches: norms, activations,
/// softmax and the optimiser count no operations here but take their time. Measured with `mini` on two
/// quiet cores whose trial did 0.94e11 operations a second: a step of 12 pictures took 2.2 s, with 1024
/// text tokens 7.5 s. Two cores twice as fast took 1.1 s and 3.5 s, and 8.7 minutes for 280 steps.
const EFFICIENCY: f64 = 0.6;
/// Activations of a layer per token, in model widths and in MLP widths.
const ACTIVATIONS: (usize, usize) = (10, 3);
/// Memory of the program itself, its mapped files, validations and the allocator's slack. Whole runs of
/// `mini` had 2.85 GB resident at most with the generation expert in full, 2.78 to 3.05 GB with low rank.
const BYTES_BESIDE: usize = 800 << 20;
/// Values read, converted and hashed a second while the base is loaded.
const LOADED_PER_SECOND: f64 = 1e8;
/// Bytes of text that make a token.
const BYTES_PER_TOKEN: usize = 4;
/// Share of a batch's text that runs, and of captions: the other half is starts that samples have in
/// common.
const RUN_SHARE: f64 = 0.5;
/// Share of a batch's text that carries a loss.
const LOSS_SHARE: f64 = 1. / 3.;
/// Tokens of a caption of the base's own pictures.
const REHEARSED_TOKENS: usize = 32;
/// Time of an operation while decoding, which waits for memory, in those of a batch.
const DECODING: f64 = 10.;
/// Rows for which a pass of few waits besides: weights are read, and small products start and end.
const WAITING_ROWS: f64 = 100.;

/// What a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Values that are trained.
    pub num_trainable: usize,
    /// Most memory at once, in bytes.
    pub memory_bytes: usize,
    /// Most disk at once, in bytes: checkpoints, the best weights, the adapter in run and character.
    pub disk_bytes: usize,
    /// Arithmetic operations of all steps and validations.
    pub operations: f64,
    /// Seconds of loading.
    pub loading_secs: f64,
}

impl Estimate {
    /// Minutes on a machine that does `trial_speed` operations of a
    /// [`Trial`](troupe_nn::trial::Trial) a second.
    pub fn minutes(&self, trial_speed: f64) -> f64 {
        (self.loading_secs + seconds(self.operations, trial_speed)) / 60.
    }
}

/// Seconds that training takes for `operations`.
pub(crate) fn seconds(operations: f64, trial_speed: f64) -> f64 {
    operations / (EFFICIENCY * trial_speed)
}

/// The samples that a run with this recipe learns from and keeps back.
pub fn recipe_samples(character: &Character, recipe: &SftRecipe, seed: u64) -> Vec<TrainingSample> {
    training_samples(character, &recipe.sample_options(seed))
}

/// Estimates a run of `recipe` on `samples` with a base.
///
/// # Errors
/// When the base's configuration or files are unusable.
pub fn estimate(
    model_dir: &Path,
    recipe: &SftRecipe,
    samples: &[TrainingSample],
) -> TrainResult<Estimate> {
    let config = ModelConfig::from_dir(model_dir)?;
    let sizes = Sizes::of(&config, recipe)?;
    let mut material = Material::of(&config, recipe, samples);
    if recipe.rehearsal > 0 && material.pictures.learned > 0 {
        material.rehearsed = Rehearsal::count(model_dir);
    }
    let work = Work { config: &config, recipe, sizes: &sizes, material: &material };
    Ok(Estimate {
        num_trainable: sizes.in_full + sizes.und_lora + sizes.gen_lora,
        memory_bytes: memory(model_dir, &config, recipe, &sizes, &material)?,
        disk_bytes: sizes.disk_bytes(recipe),
        operations: work.steps() + work.conditions() + work.observations(),
        loading_secs: sizes.base as f64 / LOADED_PER_SECOND,
    })
}

/// Low-rank teaching of large bases is planned by [`Planner`], which knows quantised weights and layers
/// that run again; everything else by what was measured on `mini`.
fn memory(
    model_dir: &Path,
    config: &ModelConfig,
    recipe: &SftRecipe,
    sizes: &Sizes,
    material: &Material,
) -> TrainResult<usize> {
    let measured = || sizes.memory(config, recipe, material);
    if recipe.mode != Mode::Lora || !recipe.recompute || recipe.condition_refresh > 0 {
        return Ok(measured());
    }
    let files = ModelFiles::find(model_dir)?;
    let shapes = required_tensors(config)?;
    let workload = Workload {
        text_tokens: recipe.text_tokens,
        pictures: recipe.pictures_per_step(),
        rank: recipe.lora.rank,
        recompute: true,
        ..Workload::usual(config)
    };
    // A Llama-shaped GGUF is unpacked for training; only our own copies stay quantised.
    let is_own = files.gguf.as_deref().map(GgufFile::open).transpose()?.is_some_and(|f| f.is_own());
    let precision = match recipe.precision {
        _ if is_own => stored_precision(&files.source()?.shapes()),
        FrozenPrecision::F32 => Precision::F32,
        FrozenPrecision::Bf16 => Precision::Bf16,
    };
    let plan = Planner::new(config, &shapes).plan(Purpose::Sft, precision, &workload);
    Ok(plan.map_or_else(measured, |plan| plan.bytes() + BYTES_BESIDE))
}

/// Numbers of values.
struct Sizes {
    base: usize,
    understanding: usize,
    generation: usize,
    in_full: usize,
    und_lora: usize,
    gen_lora: usize,
}

impl Sizes {
    fn of(config: &ModelConfig, recipe: &SftRecipe) -> TrainResult<Self> {
        let mut sizes =
            Self { base: 0, understanding: 0, generation: 0, in_full: 0, und_lora: 0, gen_lora: 0 };
        for (name, shape) in required_tensors(config)? {
            let count: usize = shape.iter().product();
            let is_gen = name.contains("_moe_gen");
            sizes.base += count;
            if name.contains(".layers.") {
                *if is_gen { &mut sizes.generation } else { &mut sizes.understanding } += count;
            }
            if recipe.gen_learning_rate > 0. && is_trained(&name, recipe.mode) {
                sizes.in_full += count;
            }
            let module = name.trim_end_matches(".weight");
            let is_linear = shape.len() == 2 && module.contains("_proj");
            if is_linear && takes_lora(module, recipe.mode) {
                let factors = recipe.lora.rank * shape.iter().sum::<usize>();
                *if is_gen { &mut sizes.gen_lora } else { &mut sizes.und_lora } += factors;
            }
        }
        Ok(sizes)
    }

    fn lora(&self) -> usize {
        self.und_lora + self.gen_lora
    }

    /// Weights, gradients, moments, a copy for a checkpoint, kept conditions, and the activations of a
    /// batch. Texts and pictures take turns unless the flow loss reaches the text. About half of the text
    /// is a start that is run once; logits are held for some words at a time.
    fn memory(&self, config: &ModelConfig, recipe: &SftRecipe, material: &Material) -> usize {
        let llm = &config.llm_config;
        let gen_layers = gen_layers(config);
        let per_token = ACTIVATIONS.0 * llm.hidden_size + ACTIVATIONS.1 * llm.intermediate_size;
        let text = recipe.text_tokens / 2 * llm.num_hidden_layers * per_token;
        let pictures = recipe.pictures_per_step() * latents(config) * gen_layers * per_token;
        let batch =
            if recipe.condition_refresh == 0 { text + pictures } else { text.max(pictures) };
        // Of the layers that are not trained; the embedding that is also the head is held twice then.
        let halved = match (recipe.precision, recipe.mode) {
            (FrozenPrecision::F32, _) | (_, Mode::Full) => 0,
            (_, Mode::Generation) => self.understanding,
            (_, Mode::Lora) => self.understanding + self.generation,
        };
        // Keys and values of every layer.
        let kept = if recipe.condition_refresh == 0 { 0. } else { material.condition_tokens() };
        let per_kept = 2 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim();
        let kept = kept as usize * per_kept;
        4 * (self.base + 4 * (self.in_full + self.lora()) + kept + batch) - 2 * halved
            + BYTES_BESIDE
    }

    /// Checkpoints hold value and two moments, the average and what conditions were read with; one more
    /// than is kept exists while it is written, and so does a second copy of the best weights. The
    /// adapter is written in half precision for the run, and once more for the character.
    fn disk_bytes(&self, recipe: &SftRecipe) -> usize {
        let trained = self.in_full + self.lora();
        let average = if recipe.ema_decay > 0. { trained } else { 0 };
        let conditions = if recipe.condition_refresh > 0 { self.lora() } else { 0 };
        let checkpoint = 4 * (3 * trained + average + conditions);
        let best = if recipe.keep_best { 2 * 4 * trained } else { 0 };
        (checkpoint::KEPT + 1) * checkpoint + best + 2 * 2 * trained
    }
}

fn latents(config: &ModelConfig) -> usize {
    (config.picture_size / config.vae_transform.stride.max(1)).pow(2)
}

fn gen_layers(config: &ModelConfig) -> usize {
    let llm = &config.llm_config;
    (0..llm.num_hidden_layers).filter(|i| llm.has_gen_expert(*i)).count()
}

/// Samples of one half of the mixture.
#[derive(Default)]
struct Group {
    learned: usize,
    held_out: usize,
    /// Mean tokens of a sample, latents aside.
    tokens: f64,
    /// Tokens of all that are learned in a pass.
    pass_tokens: f64,
}

/// The samples in numbers.
struct Material {
    text: Group,
    pictures: Group,
    /// Pictures of the base.
    rehearsed: usize,
}

impl Material {
    fn of(config: &ModelConfig, recipe: &SftRecipe, samples: &[TrainingSample]) -> Self {
        let seen = (config.picture_size / config.vit_transform.stride.max(1)).pow(2) + 2;
        let tokens = |sample: &TrainingSample| -> f64 {
            let of = |block: &SampleBlock| match block {
                SampleBlock::Text { text, .. } => 2 + text.len() / BYTES_PER_TOKEN,
                SampleBlock::Vit { .. } => seen,
                SampleBlock::Vae { .. } => 0,
            };
            sample.blocks.iter().map(of).sum::<usize>() as f64
        };
        let group = |which: SampleGroup| {
            let (mut group, mut sum) = (Group::default(), 0.);
            for sample in samples.iter().filter(|sample| sample.group == which) {
                sum += tokens(sample);
                if sample.held_out {
                    group.held_out += 1;
                } else {
                    group.learned += 1;
                    let times = recipe.repeats.get(&sample.kind).copied().unwrap_or(1);
                    group.pass_tokens += times as f64 * tokens(sample);
                }
            }
            group.tokens = sum / (group.learned + group.held_out).max(1) as f64;
            group
        };
        let (text, pictures) = (group(SampleGroup::Text), group(SampleGroup::Picture));
        Self { text, pictures, rehearsed: 0 }
    }

    /// Tokens of all pictures' conditions, the base's included.
    fn condition_tokens(&self) -> f64 {
        let rehearsed = self.rehearsed * REHEARSED_TOKENS;
        self.pictures.learned as f64 * self.pictures.tokens + rehearsed as f64
    }
}

/// Arithmetic operations of a run. Per weight and token a pass takes two, and its gradient two for the
/// input and two for a weight that is trained.
struct Work<'a> {
    config: &'a ModelConfig,
    recipe: &'a SftRecipe,
    sizes: &'a Sizes,
    material: &'a Material,
}

impl Work<'_> {
    /// The output head's weights.
    fn head(&self) -> f64 {
        (self.config.llm_config.hidden_size * self.config.llm_config.vocab_size) as f64
    }

    fn is_joint(&self) -> bool {
        self.recipe.condition_refresh == 0
    }

    /// A token's pass through the understanding expert, with its gradient.
    fn learning_und(&self) -> f64 {
        let per_weight = if self.recipe.mode == Mode::Full { 6. } else { 4. };
        let again = if self.recipe.recompute { 2. } else { 0. };
        (per_weight + again) * self.sizes.understanding as f64
            + (6. + again) * self.sizes.und_lora as f64
    }

    /// A latent's pass through the generation expert, with its gradient.
    fn learning_gen(&self) -> f64 {
        let per_weight = if self.sizes.in_full > 0 { 6. } else { 4. };
        let again = if self.recipe.recompute && self.is_joint() { 2. } else { 0. };
        (per_weight + again) * self.sizes.generation as f64
            + (6. + again) * self.sizes.gen_lora as f64
    }

    /// A token's or latent's pass through one expert.
    fn reading(&self) -> f64 {
        2. * (self.sizes.understanding + self.sizes.und_lora) as f64
    }

    fn drawing(&self) -> f64 {
        2. * (self.sizes.generation + self.sizes.gen_lora) as f64
    }

    /// Attention of one picture's latents to themselves and their caption: scores and sums, with
    /// gradients `products` times of the caption's keys and `own` times of the picture's.
    fn attention(&self, products: f64, own: f64) -> f64 {
        let llm = &self.config.llm_config;
        let (latents, caption) = (latents(self.config) as f64, self.material.pictures.tokens);
        let width = (llm.num_attention_heads * llm.head_dim()) as f64;
        let keys = products * caption + own * latents;
        2. * gen_layers(self.config) as f64 * latents * keys * width
    }

    fn text_batch(&self) -> f64 {
        let text = &self.material.text;
        // Samples are drawn while they fit into the budget, at least one, and each once at most.
        let fitting = (self.recipe.text_tokens as f64 - text.tokens / 2.).max(text.tokens);
        let tokens = fitting.min(text.pass_tokens);
        let share = if self.is_joint() { 1. } else { RUN_SHARE };
        tokens * (share * self.learning_und() + LOSS_SHARE * 4. * self.head())
    }

    fn picture_batch(&self) -> f64 {
        let pictures = &self.material.pictures;
        if pictures.learned == 0 {
            return 0.;
        }
        // A kept caption takes part in three of five products for the gradient.
        let seen = if self.is_joint() { 7. } else { 5. };
        let one = latents(self.config) as f64 * self.learning_gen() + self.attention(seen, 7.);
        let caption = if self.is_joint() { pictures.tokens * self.learning_und() } else { 0. };
        self.recipe.pictures_per_step() as f64 * (one + caption)
    }

    /// All optimiser steps.
    fn steps(&self) -> f64 {
        let recipe = self.recipe;
        let batches = (recipe.num_steps * recipe.accumulate) as f64;
        let with_text = if recipe.text_every > 0 { batches / recipe.text_every as f64 } else { 0. };
        with_text * self.text_batch() + batches * self.picture_batch()
    }

    /// Reading the kept conditions.
    fn conditions(&self) -> f64 {
        if self.is_joint() {
            return 0.;
        }
        let times = self.recipe.num_steps.div_ceil(self.recipe.condition_refresh);
        let pictures = &self.material.pictures;
        let own = pictures.learned as f64 * RUN_SHARE * pictures.tokens;
        let rehearsed = (self.material.rehearsed * REHEARSED_TOKENS) as f64;
        times as f64 * (own + rehearsed) * self.reading()
    }

    /// All validations with their samples, before the first step and after the last.
    fn observations(&self) -> f64 {
        let Material { text, pictures, .. } = self.material;
        let every = self.recipe.sample_every;
        let between = (self.recipe.num_steps - 1).checked_div(every).unwrap_or(0);
        let texts = text.held_out.min(HELD_TEXTS) as f64 * text.tokens;
        let texts = texts * (RUN_SHARE * self.reading() + LOSS_SHARE * 2. * self.head());
        let latents = latents(self.config) as f64;
        let held = pictures.held_out.min(HELD_PICTURES) as f64;
        let noised = HELD_TIMES.len() as f64 * (latents * self.drawing() + self.attention(2., 2.));
        let looked = held * (noised + pictures.tokens * self.reading());
        let replies = SAMPLED_REPLIES.min(text.learned + text.held_out) as f64;
        let decoded = DECODING * SAMPLE_TOKENS as f64 * (self.reading() + 2. * self.head());
        let replies = replies * (text.tokens * self.reading() + decoded);
        let drawn = pictures.held_out.min(1) + pictures.learned.min(SAMPLED_PICTURES);
        let defaults = &self.config.generation;
        let branches = if defaults.cfg_text_scale > 1. { 2. } else { 1. };
        let rows = branches * latents + WAITING_ROWS;
        let passes = defaults.num_timesteps.saturating_sub(1) as f64;
        let step = rows * self.drawing() + branches * self.attention(2., 2.);
        let drawn = drawn as f64 * passes * step;
        (2 + between) as f64 * (texts + looked + replies + drawn)
    }
}
