//! Numbers of a training run, with presets per base.

use serde::{Deserialize, Serialize};
use troupe_character::samples::SampleKind;

/// How the understanding expert learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// Rank of the updates; 0 leaves the expert as it is.
    pub rank: usize,
    /// Scale times rank.
    pub alpha: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32., learning_rate: 1e-3 }
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
    /// Optimiser steps.
    pub num_steps: usize,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Share of the peak learning rate left at the end of the cosine; 1 keeps it constant.
    pub final_lr_share: f64,
    /// Low-rank updates of the understanding expert.
    pub lora: LoraConfig,
    /// Peak learning rate of the generation expert and the drawing heads; 0 freezes them.
    pub gen_learning_rate: f64,
    /// Tokens of text samples per step, before common starts are shared.
    pub text_tokens: usize,
    /// A step in this many carries text; 1 is every step.
    pub text_every: usize,
    /// Picture samples per step.
    pub pictures: usize,
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
    /// The recipe of `mini`.
    fn default() -> Self {
        use SampleKind::{
            KnowledgeQa, PicturePlain, PictureScene, PictureThinking, RolePlay, Thinking,
        };
        Self {
            num_steps: 560,
            warmup_steps: 20,
            final_lr_share: 0.05,
            lora: LoraConfig::default(),
            gen_learning_rate: 8e-4,
            text_tokens: 2048,
            text_every: 10,
            pictures: 12,
            condition_refresh: 200,
            condition_dropout: 0.1,
            ce_weight: 1.,
            mse_weight: 1.,
            time: TimeDraw { mean: 0.8, std: 0.8 },
            max_grad_norm: 1.,
            weight_decay: 0.,
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

impl SftRecipe {
    /// The published recipe (UniCharacter README, stage 1), as far as one process goes: every
    /// condition read with gradient, no low-rank updates, constant rate.
    pub fn reference() -> Self {
        Self {
            num_steps: 501,
            warmup_steps: 0,
            final_lr_share: 1.,
            lora: LoraConfig { rank: 64, alpha: 128., learning_rate: 1e-4 },
            gen_learning_rate: 2e-5,
            text_tokens: 512,
            text_every: 1,
            pictures: 4,
            condition_refresh: 0,
            ce_weight: 0.25,
            time: TimeDraw::default(),
            kinds: SampleKind::ALL
                .into_iter()
                .filter(|k| *k != SampleKind::PictureDescription)
                .collect(),
            sample_every: 100,
            checkpoint_every: 100,
            ..Self::default()
        }
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
}
