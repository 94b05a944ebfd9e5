//! Numbers of a training run, with presets per base.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use troupe_character::samples::{SampleKind, SampleOptions};
use troupe_model::config::ModelConfig;
use troupe_nn::precision::Products;

use crate::error::{TrainError, TrainResult};

/// Which weights a run changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Low-rank updates on both experts; everything else stays.
    Lora,
    /// Low-rank updates on the understanding expert, the generation expert in full.
    #[default]
    Generation,
    /// Both experts in full; vision tower and token embeddings stay.
    Full,
}

/// How the language model's weights that are not trained are held; activations, gradients, all that is
/// trained, and the optimiser's moments are in f32 in every case.
///
/// On a processor this saves memory, not time, which [`SftRecipe::products`] does. A base that is
/// published in bf16 loses nothing. What files store quantised stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrozenPrecision {
    /// Four bytes a weight.
    #[default]
    F32,
    /// Two bytes a weight, unpacked part by part for each product.
    Bf16,
}

/// Low-rank updates: of the understanding expert, with [`Mode::Lora`] of both experts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// Rank of the updates; 0 leaves the expert as it is.
    pub rank: usize,
    /// Scale times rank.
    pub alpha: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate of updates on the generation expert, as a multiple of `learning_rate`.
    pub gen_rate: f64,
    /// Most that this rate is multiplied by for pictures unlike those that the base brings: the multiple
    /// is how many times as large its flow loss on them is. 1 takes all alike.
    pub unlike_rate: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32., learning_rate: 1e-3, gen_rate: 1., unlike_rate: 1. }
    }
}

/// How times of noised pictures are drawn: `sigmoid(N(mean, std))`, 1 is noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeDraw {
    /// Mean of the logit; above 0 leans towards noise.
    pub mean: f64,
    /// Standard deviation of the logit.
    pub std: f64,
}

impl Default for TimeDraw {
    /// BAGEL's and UniCharacter's draw.
    fn default() -> Self {
        Self { mean: 0., std: 1. }
    }
}

/// Everything that shapes a stage-1 run besides data, base and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftRecipe {
    /// Which weights change.
    pub mode: Mode,
    /// How those that do not change are held.
    pub precision: FrozenPrecision,
    /// How exact large products are where the processor gains by bf16; exact elsewhere.
    /// The process that works on a run chooses them before it begins
    /// ([`Products::choose`]); what is taught here in a library call is not affected.
    pub products: Products,
    /// Optimiser steps.
    pub num_steps: usize,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Share of the peak learning rate left at the end of the cosine; 1 keeps it constant.
    pub final_lr_share: f64,
    /// Low-rank updates of the understanding expert.
    pub lora: LoraConfig,
    /// Peak learning rate of weights trained in full: the generation expert and the drawing heads,
    /// with [`Mode::Full`] the understanding expert too. 0 freezes them.
    pub gen_learning_rate: f64,
    /// Tokens of text samples per step, before common starts are shared; one longer sample is taken
    /// alone.
    pub text_tokens: usize,
    /// A step in this many carries text; 1 is every step.
    pub text_every: usize,
    /// Picture samples per step.
    pub pictures: usize,
    /// Pictures per step besides, from those that the base brings to keep in practice
    /// ([`Rehearsal`](crate::rehearsal::Rehearsal)): what it learned before is not forgotten over
    /// a few new pictures. A base without any is taught without.
    pub rehearsal: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// How often a pass goes through the samples of a kind; 1 where absent.
    pub repeats: BTreeMap<SampleKind, usize>,
    /// Whether layers are run again for their gradients, which takes a third more time and, for large
    /// bases, a small part of the memory. Passes behind kept conditions are not affected.
    pub recompute: bool,
    /// Steps after which the conditions of pictures are read anew with the present understanding
    /// expert. 0 reads them in every step and lets the flow loss reach the understanding expert, as
    /// the reference does.
    pub condition_refresh: usize,
    /// Chance that a picture's condition is dropped for guidance.
    pub condition_dropout: f64,
    /// Weight of the text loss.
    pub ce_weight: f64,
    /// Weight of the flow loss.
    pub mse_weight: f64,
    /// How times are drawn.
    pub time: TimeDraw,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// Decay of the moving average of the weights, which is then what is tried and kept; 0 is none.
    pub ema_decay: f64,
    /// Validations in a row without a better held-out loss after which the run ends; 0 is never.
    pub patience: usize,
    /// Whether the run ends with the weights of its best validation instead of the last ones.
    pub keep_best: bool,
    /// Steps between validations and samples.
    pub sample_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Sample kinds to learn from.
    pub kinds: Vec<SampleKind>,
    /// Share of scenes and pictures kept back where the character has no test split.
    pub held_out_share: f64,
}

impl Default for SftRecipe {
    /// The preset `mini-full`.
    fn default() -> Self {
        use SampleKind::{
            KnowledgeQa, PicturePlain, PictureScene, PictureThinking, RolePlay, Thinking,
        };
        Self {
            mode: Mode::Generation,
            precision: FrozenPrecision::F32,
            products: Products::Bf16,
            num_steps: 280,
            warmup_steps: 20,
            final_lr_share: 0.05,
            lora: LoraConfig::default(),
            gen_learning_rate: 8e-4,
            text_tokens: 1024,
            text_every: 4,
            pictures: 12,
            rehearsal: 0,
            accumulate: 1,
            repeats: BTreeMap::new(),
            recompute: false,
            condition_refresh: 140,
            condition_dropout: 0.1,
            ce_weight: 1.,
            mse_weight: 1.,
            time: TimeDraw { mean: 0.8, std: 0.8 },
            max_grad_norm: 1.,
            weight_decay: 0.,
            eps: 1e-8,
            ema_decay: 0.,
            patience: 2,
            keep_best: true,
            sample_every: 140,
            checkpoint_every: 70,
            kinds: vec![
                RolePlay,
                Thinking,
                KnowledgeQa,
                PicturePlain,
                PictureScene,
                PictureThinking,
            ],
            held_out_share: 0.1,
        }
    }
}

/// Recipes by name.
pub const PRESETS: [(&str, &str); 6] = [
    ("mini", include_str!("../recipes/mini.toml")),
    ("mini-full", include_str!("../recipes/mini-full.toml")),
    ("bagel-7b-24gb", include_str!("../recipes/bagel-7b-24gb.toml")),
    ("bagel-7b-48gb", include_str!("../recipes/bagel-7b-48gb.toml")),
    ("bagel-7b-80gb", include_str!("../recipes/bagel-7b-80gb.toml")),
    ("reference", include_str!("../recipes/reference.toml")),
];

fn preset_names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}

/// Changes one number of `settings`, given as `key=value` with dots for what lies deeper. New keys are
/// taken in the tables `open` alone.
///
/// # Errors
/// When the key does not exist or the value does not fit it.
pub(crate) fn assign<T: Serialize + serde::de::DeserializeOwned>(
    settings: &T,
    assignment: &str,
    open: &[&str],
) -> TrainResult<T> {
    let bad = |reason: String| TrainError::Recipe { what: format!("`{assignment}`"), reason };
    let (key, value) =
        assignment.split_once('=').ok_or_else(|| bad("write it as key=value".into()))?;
    let (key, value) = (key.trim(), value.trim());
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .or_else(|_| toml::from_str(&format!("value = {value:?}")))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .ok_or_else(|| bad("the value is not readable".into()))?;
    let mut table = toml::Table::try_from(settings).map_err(|e| bad(e.to_string()))?;
    let path: Vec<&str> = key.split('.').collect();
    let Some((last, parents)) = path.split_last() else {
        return Err(bad("the key is missing".into()));
    };
    let mut place = &mut table;
    for parent in parents {
        place = match place.get_mut(*parent) {
            Some(toml::Value::Table(inner)) => inner,
            _ => return Err(bad(format!("there is no {parent}"))),
        };
    }
    // A whole number stands for a fraction where one is wanted.
    let value = match (place.get(*last), parsed) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(n)) => toml::Value::Float(n as f64),
        (None, _) if !open.contains(&parents.join(".").as_str()) => {
            return Err(bad(format!("a recipe has no {last}")));
        }
        (_, value) => value,
    };
    place.insert((*last).into(), value);
    table.try_into().map_err(|e: toml::de::Error| bad(e.message().to_owned()))
}

impl SftRecipe {
    /// The recipe of a preset in [`PRESETS`].
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn preset(name: &str) -> TrainResult<Self> {
        match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::from_toml(text, &format!("the preset {name}")),
            None => Err(TrainError::Recipe {
                what: name.into(),
                reason: format!("there is no such preset; there are {}", preset_names()),
            }),
        }
    }

    /// A preset by name, or a TOML file whose absent numbers are the default.
    ///
    /// # Errors
    /// When the file cannot be read or a number is unknown or out of range.
    pub fn find(name_or_file: &str) -> TrainResult<Self> {
        if PRESETS.iter().any(|(known, _)| *known == name_or_file) {
            return Self::preset(name_or_file);
        }
        let path = Path::new(name_or_file);
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Recipe {
            what: name_or_file.into(),
            reason: format!("{source}; name a file or one of {}", preset_names()),
        })?;
        Self::from_toml(&text, name_or_file)
    }

    fn from_toml(text: &str, what: &str) -> TrainResult<Self> {
        let recipe: Self = toml::from_str(text)
            .map_err(|e| TrainError::Recipe { what: what.into(), reason: e.to_string() })?;
        recipe.checked(what)
    }

    /// The preset for a base: wide ones learn through low-rank updates.
    ///
    /// # Errors
    /// Never for the presets that this crate holds.
    pub fn for_base(config: &ModelConfig) -> TrainResult<Self> {
        Self::preset(if config.is_small() { "mini" } else { "bagel-7b-24gb" })
    }

    /// Changes one number, given as `key=value` with dots for what lies deeper (`lora.rank=8`).
    ///
    /// # Errors
    /// When the key does not exist or the value does not fit it.
    pub fn set(&self, assignment: &str) -> TrainResult<Self> {
        let recipe: Self = assign(self, assignment, &["repeats"])?;
        recipe.checked(&format!("`{assignment}`"))
    }

    /// The recipe, if its numbers make sense together.
    ///
    /// # Errors
    /// When they do not; the message says which.
    pub fn checked(self, what: &str) -> TrainResult<Self> {
        let rates = [
            self.lora.learning_rate,
            self.lora.gen_rate,
            self.lora.unlike_rate,
            self.gen_learning_rate,
            self.max_grad_norm,
        ];
        let reason = if self.num_steps == 0 || self.accumulate == 0 {
            "num_steps and accumulate are at least 1"
        } else if rates.iter().any(|rate| !rate.is_finite() || *rate < 0.) {
            "rates and norms are not negative"
        } else if self.mode == Mode::Full && self.condition_refresh > 0 {
            "mode \"full\" reads conditions in every step: condition_refresh = 0"
        } else if self.mode == Mode::Lora && self.lora.rank == 0 {
            "mode \"lora\" needs a rank"
        } else if !(0. ..1.).contains(&self.ema_decay)
            || !(0. ..=1.).contains(&self.condition_dropout)
            || !(0. ..=1.).contains(&self.held_out_share)
        {
            "decays, chances and shares lie between 0 and 1"
        } else {
            return Ok(self);
        };
        Err(TrainError::Recipe { what: what.into(), reason: reason.into() })
    }

    /// Which samples a run builds; `seed` chooses what is kept back.
    pub fn sample_options(&self, seed: u64) -> SampleOptions {
        SampleOptions {
            kinds: self.kinds.iter().copied().collect(),
            held_out_share: self.held_out_share,
            seed,
            ..Default::default()
        }
    }

    /// Pictures of a step, the character's and the base's.
    pub fn pictures_per_step(&self) -> usize {
        self.pictures + self.rehearsal
    }

    /// Learning rate at `step` (counted from 0) as a share of the peak.
    pub fn lr_share(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.num_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / span).min(1.);
        let cosine = 0.5 * (1. + (std::f64::consts::PI * progress).cos());
        self.final_lr_share + (1. - self.final_lr_share) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_its_share() {
        let recipe = SftRecipe {
            num_steps: 110,
            warmup_steps: 10,
            final_lr_share: 0.1,
            ..Default::default()
        };
        assert!((recipe.lr_share(0) - 0.1).abs() < 1e-9);
        assert!((recipe.lr_share(9) - 1.).abs() < 1e-9);
        assert!((recipe.lr_share(60) - 0.55).abs() < 1e-9); // half way: (1 + 0.1) / 2
        assert!((recipe.lr_share(110) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn presets_are_whole_and_begin_with_the_defaults() -> TrainResult<()> {
        for (name, _) in PRESETS {
            SftRecipe::preset(name)?;
        }
        assert_eq!(SftRecipe::preset("mini-full")?, SftRecipe::default());
        let low_rank = SftRecipe::preset("mini")?;
        assert_eq!((low_rank.mode, low_rank.lora.unlike_rate), (Mode::Lora, 3.5));
        let reference = SftRecipe::preset("reference")?;
        assert_eq!((reference.num_steps, reference.ce_weight), (501, 0.25));
        assert_eq!((reference.lr_share(0), reference.lr_share(500)), (1., 1.));
        assert!(SftRecipe::preset("none").is_err());
        Ok(())
    }

    #[test]
    fn every_number_can_be_set() -> TrainResult<()> {
        let recipe = SftRecipe::default()
            .set("lora.rank=8")?
            .set("gen_learning_rate = 1")?
            .set("mode=lora")?
            .set("precision=bf16")?
            .set("products=split")?
            .set("repeats.role_play=3")?
            .set("kinds=[\"role_play\", \"picture_description\"]")?;
        assert_eq!((recipe.lora.rank, recipe.mode), (8, Mode::Lora));
        assert_eq!(recipe.gen_learning_rate, 1.);
        assert_eq!(recipe.precision, FrozenPrecision::Bf16);
        assert_eq!(recipe.products, Products::Split);
        assert_eq!(recipe.repeats[&SampleKind::RolePlay], 3);
        assert_eq!(recipe.kinds, [SampleKind::RolePlay, SampleKind::PictureDescription]);
        for bad in [
            "rank=8",
            "num_steps=0",
            "mode=full",
            "lora.rank=x",
            "text_every",
            "a.b=1",
            "precision=f8",
            "products=f8",
        ] {
            assert!(SftRecipe::default().set(bad).is_err(), "{bad}");
        }
        Ok(())
    }
}
