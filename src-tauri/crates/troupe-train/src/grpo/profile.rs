//! Numbers of a stage-2 run, with profiles per machine.
//!
//! The profile `reference` holds the published configuration (UniCharacter,
//! `config/personalized_t2i_bagel.yaml`); the others are ours, for less compute. A file that is
//! missing or names an unknown number is an error: nothing falls back silently.

use std::path::Path;

use serde::{Deserialize, Serialize};
use troupe_model::{config::ModelConfig, flow::StepRule};

use super::rewards::RewardConfig;
use crate::error::{TrainError, TrainResult};

/// How pictures are made while learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// Points of the time grid; one step fewer is made.
    pub points: usize,
    /// Shift of the time grid.
    pub shift: f64,
    /// Rule of the stochastic steps.
    pub rule: StepRule,
    /// Level of their noise: the SDE's a, CPS's η.
    pub noise: f64,
    /// Stochastic steps of a trajectory.
    pub window: usize,
    /// First step that the window may take.
    pub window_low: usize,
    /// Step before which the window must end; half of the points when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_high: Option<usize>,
    /// Whether a group starts from the same noise and shares the steps before the window.
    pub share_initial_noise: bool,
    /// Text guidance scale in rollout, learning and trials; 1 is none.
    pub cfg_scale: f64,
    /// Times in which guidance applies, open below and closed above.
    pub cfg_interval: [f64; 2],
    /// Lower bound of the scaling towards the conditional velocity's norm.
    pub cfg_renorm_min: f64,
    /// Whether gradients pass by the unconditional branch and the scaling.
    pub cfg_detach: bool,
    /// Points of the noise-free time grid in trials.
    pub eval_points: usize,
    /// Pictures that run through the network together, in rollout and in learning alike.
    pub pictures_per_pass: usize,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            points: 10,
            shift: 3.,
            rule: StepRule::Cps,
            noise: 0.8,
            window: 2,
            window_low: 0,
            window_high: None,
            share_initial_noise: true,
            cfg_scale: 1.,
            cfg_interval: [0., 1.],
            cfg_renorm_min: 0.,
            cfg_detach: true,
            eval_points: 21,
            pictures_per_pass: 8,
        }
    }
}

/// Whose spread divides a reward's distance from its group's mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdMode {
    /// The group's.
    Group,
    /// That of all pictures of the epoch.
    #[default]
    Batch,
    /// Every component by its own spread in the group, before they are weighed.
    Component,
}

/// Form of the divergence from the stage-1 policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlForm {
    /// Divided by the transition's variance.
    #[default]
    Exact,
    /// Divided by the diffusion's, without the step's length, as the reference has it.
    Reference,
}

/// How far a ratio may go before its term is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Clip {
    /// A number, whatever the picture's size.
    Fixed(f64),
    /// `auto`: 1e-5 at 65 536 numbers a picture, by the root of the size.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// Chosen from what is known.
    Auto,
}

/// What is minimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Clip range, the same on both sides.
    pub clip: Clip,
    /// Largest advantage.
    pub adv_clamp: f64,
    /// Whose spread divides.
    pub std_mode: StdMode,
    /// Weight of the divergence from the stage-1 policy.
    pub beta: f64,
    /// Form of that divergence.
    pub kl_form: KlForm,
    /// Whether ratios are centred and steps weighed alike (GRPO-Guard).
    pub guard: bool,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            clip: Clip::Auto(Auto::Auto),
            adv_clamp: 5.,
            std_mode: StdMode::Batch,
            beta: 0.,
            kl_form: KlForm::Exact,
            guard: false,
        }
    }
}

/// How weights change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate, constant.
    pub lr: f64,
    /// Decays of AdamW's moments.
    pub betas: [f64; 2],
    /// AdamW's ε.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm; 0 is no limit.
    pub max_grad_norm: f64,
    /// Decay of the moving average that is tried and kept; 0 is none.
    pub ema: f64,
    /// Rank of the low-rank updates; 0 trains the generation expert in full.
    pub lora_rank: usize,
    /// Scale times rank of the low-rank updates.
    pub lora_alpha: f64,
    /// Whether each guidance branch is run anew for its gradient, which halves the memory.
    pub recompute: bool,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-5,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.,
            max_grad_norm: 1.,
            ema: 0.,
            lora_rank: 0,
            lora_alpha: 0.,
            recompute: false,
        }
    }
}

/// When a run ends by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Epochs between trials on kept-back prompts.
    pub eval_every: usize,
    /// Kept-back prompts of a trial.
    pub eval_prompts: usize,
    /// Pictures per kept-back prompt.
    pub eval_pictures: usize,
    /// Epochs between checkpoints.
    pub save_every: usize,
    /// Share of the prompts that is kept back where the character keeps none.
    pub held_out_share: f64,
    /// Trials in a row in which an independent measure falls while the reward rises, after which
    /// the run ends; 0 never ends it.
    pub patience: usize,
    /// Share of its diversity that a run may lose before it ends; 1 never ends it.
    pub diversity_loss: f64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            eval_every: 5,
            eval_prompts: 4,
            eval_pictures: 4,
            save_every: 5,
            held_out_share: 0.2,
            patience: 3,
            diversity_loss: 0.3,
        }
    }
}

/// Everything that shapes a stage-2 run besides data, base and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoProfile {
    /// Rounds of drawing, scoring and learning.
    pub epochs: usize,
    /// Groups of an epoch, each of another prompt.
    pub prompts_per_epoch: usize,
    /// Pictures of a group.
    pub images_per_prompt: usize,
    /// Optimiser steps of an epoch.
    pub updates_per_epoch: usize,
    /// How pictures are made.
    pub sampler: SamplerConfig,
    /// What is minimised.
    pub loss: LossConfig,
    /// How weights change.
    pub optim: OptimConfig,
    /// What is rewarded.
    pub reward: RewardConfig,
    /// When a run ends by itself.
    pub watch: WatchConfig,
}

impl Default for GrpoProfile {
    fn default() -> Self {
        Self {
            epochs: 40,
            prompts_per_epoch: 4,
            images_per_prompt: 8,
            updates_per_epoch: 2,
            sampler: SamplerConfig::default(),
            loss: LossConfig::default(),
            optim: OptimConfig::default(),
            reward: RewardConfig::default(),
            watch: WatchConfig::default(),
        }
    }
}

/// Profiles by name.
pub const PROFILES: [(&str, &str); 4] = [
    ("mini-cpu", include_str!("../../profiles/mini-cpu.toml")),
    ("gpu-24gb", include_str!("../../profiles/gpu-24gb.toml")),
    ("gpu-80gb", include_str!("../../profiles/gpu-80gb.toml")),
    ("reference", include_str!("../../profiles/reference.toml")),
];

fn names() -> String {
    PROFILES.map(|(name, _)| name).join(", ")
}

impl GrpoProfile {
    /// A profile by name, or a TOML file whose absent numbers are the default.
    ///
    /// # Errors
    /// When the file cannot be read or a number is unknown or out of range.
    pub fn find(name_or_file: &str) -> TrainResult<Self> {
        if let Some((name, text)) = PROFILES.iter().find(|(known, _)| *known == name_or_file) {
            return Self::from_toml(text, &format!("the profile {name}"));
        }
        let text = std::fs::read_to_string(Path::new(name_or_file)).map_err(|source| {
            TrainError::Recipe {
                what: name_or_file.into(),
                reason: format!("{source}; name a file or one of {}", names()),
            }
        })?;
        Self::from_toml(&text, name_or_file)
    }

    /// The profile for a base.
    ///
    /// # Errors
    /// Never for the profiles that this crate holds.
    pub fn for_base(config: &ModelConfig) -> TrainResult<Self> {
        Self::find(if config.is_small() { "mini-cpu" } else { "gpu-80gb" })
    }

    fn from_toml(text: &str, what: &str) -> TrainResult<Self> {
        let profile: Self = toml::from_str(text)
            .map_err(|e| TrainError::Recipe { what: what.into(), reason: e.to_string() })?;
        profile.checked(what)
    }

    /// Changes one number, given as `key=value` with dots for what lies deeper (`optim.lr=1e-5`).
    ///
    /// # Errors
    /// When the key does not exist or the value does not fit it.
    pub fn set(&self, assignment: &str) -> TrainResult<Self> {
        let changed: Self = crate::recipe::assign(self, assignment, &["sampler"])?;
        changed.checked(&format!("`{assignment}`"))
    }

    /// Window starts that may be drawn, first and last.
    pub fn window_starts(&self) -> (usize, usize) {
        let sampler = &self.sampler;
        let high = sampler.window_high.unwrap_or(sampler.points / 2);
        (sampler.window_low, high.saturating_sub(sampler.window))
    }

    /// The profile, if its numbers make sense together.
    ///
    /// # Errors
    /// When they do not; the message says which.
    pub fn checked(self, what: &str) -> TrainResult<Self> {
        let (s, loss, optim, watch) = (&self.sampler, &self.loss, &self.optim, &self.watch);
        let high = s.window_high.unwrap_or(s.points / 2);
        let counts =
            [self.epochs, self.prompts_per_epoch, self.updates_per_epoch, s.pictures_per_pass];
        let amounts = [
            optim.lr,
            optim.eps,
            optim.weight_decay,
            optim.max_grad_norm,
            optim.lora_alpha,
            loss.beta,
            s.noise,
            s.shift,
            s.cfg_scale,
        ];
        let [from, to] = s.cfg_interval;
        let reason = if counts.contains(&0) || self.images_per_prompt < 2 {
            "counts are at least 1, and a group has at least 2 pictures"
        } else if s.points < 3 || s.eval_points < 2 {
            "a grid has at least 3 points, in trials 2"
        } else if s.window == 0 || s.window_low + s.window > high || high > s.points - 1 {
            "the window must hold at least one step and fit between window_low and window_high"
        } else if s.rule == StepRule::Cps && (high > s.points - 2 || s.noise > 1.) {
            "the rule cps allows no noise in the last step and levels up to 1"
        } else if amounts.iter().any(|x| !x.is_finite() || *x < 0.)
            || s.noise == 0.
            || s.shift == 0.
        {
            "rates, norms and weights are not negative, and the noise and the shift are above 0"
        } else if !(0. <= from && from < to && to <= 1. && (0. ..=1.).contains(&s.cfg_renorm_min)) {
            "times of guidance rise within 0 to 1, and cfg_renorm_min lies there"
        } else if loss.adv_clamp <= 0. || matches!(loss.clip, Clip::Fixed(x) if x <= 0.) {
            "clips are above 0"
        } else if self.updates_per_epoch > self.prompts_per_epoch {
            "updates_per_epoch is at most prompts_per_epoch"
        } else if [optim.ema, optim.betas[0], optim.betas[1], watch.held_out_share]
            .iter()
            .any(|x| !(0. ..1.).contains(x))
            || !(0. ..=1.).contains(&watch.diversity_loss)
        {
            "decays and shares lie between 0 and 1"
        } else {
            self.reward.check().map_err(|reason| bad(what, reason))?;
            return Ok(self);
        };
        Err(bad(what, reason.into()))
    }
}

fn bad(what: &str, reason: String) -> TrainError {
    TrainError::Recipe { what: what.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_whole_and_the_first_is_the_default() -> TrainResult<()> {
        for (name, _) in PROFILES {
            GrpoProfile::find(name)?;
        }
        assert!(GrpoProfile::find("no-such-profile").is_err());
        let reference = GrpoProfile::find("reference")?;
        let s = &reference.sampler;
        assert_eq!((s.points, s.window, s.noise, s.rule), (15, 3, 1.3, StepRule::Sde));
        assert_eq!((s.cfg_scale, s.share_initial_noise, s.cfg_detach), (4., false, false));
        assert_eq!(reference.window_starts(), (0, 4));
        assert_eq!((reference.prompts_per_epoch, reference.images_per_prompt), (48, 8));
        assert_eq!(reference.loss.clip, Clip::Fixed(1e-5));
        assert_eq!(reference.loss.std_mode, StdMode::Group);
        assert_eq!((reference.optim.max_grad_norm, reference.optim.weight_decay), (0., 1e-4));
        Ok(())
    }

    #[test]
    fn numbers_can_be_set_and_are_checked() -> TrainResult<()> {
        let profile = GrpoProfile::default()
            .set("optim.lr=2e-5")?
            .set("loss.clip=0.001")?
            .set("sampler.rule=sde")?
            .set("sampler.window_high=6")?;
        assert_eq!((profile.optim.lr, profile.loss.clip), (2e-5, Clip::Fixed(1e-3)));
        assert_eq!(profile.window_starts(), (0, 4));
        assert_eq!(profile.set("loss.clip=auto")?.loss.clip, Clip::Auto(Auto::Auto));
        for wrong in [
            "rate=1",
            "sampler.window=9",
            "sampler.noise=1.5",
            "sampler.shift=0",
            "sampler.cfg_interval=[0.6, 0.4]",
            "sampler.cfg_renorm_min=2",
            "optim.betas=[0.9, 1.0]",
            "watch.diversity_loss=1.5",
            "images_per_prompt=1",
        ] {
            assert!(GrpoProfile::default().set(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
