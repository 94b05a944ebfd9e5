//! Wire types of teaching.

use serde::{Deserialize, Serialize};
use troupe_character::samples::SampleKind;
use troupe_nn::precision::Products;
use troupe_train::{
    events,
    recipe::{FrozenPrecision, LoraConfig, Mode, SftRecipe, TimeDraw},
};
use ts_rs::TS;

use super::AdapterItem;
use crate::error::{ApiError, ApiResult, ErrorCode};

/// Every number and switch of a stage-1 recipe. Choices go by their names in recipes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RecipeItem {
    /// Which weights change.
    #[ts(type = "'lora' | 'generation' | 'full'")]
    pub mode: Mode,
    /// How those that do not change are held.
    #[ts(type = "'f32' | 'bf16'")]
    pub precision: FrozenPrecision,
    /// How exact large products are.
    #[ts(type = "'exact' | 'split' | 'bf16'")]
    pub products: Products,
    /// Whether layers are run again for their gradients.
    pub recompute: bool,
    /// Optimiser steps.
    pub num_steps: u32,
    /// Steps of linear warm-up.
    pub warmup_steps: u32,
    /// Share of the peak learning rate left at the end.
    pub final_lr_share: f64,
    /// Rank of the low-rank updates; 0 leaves the understanding expert as it is.
    pub lora_rank: u32,
    /// Scale times rank.
    pub lora_alpha: f64,
    /// Peak learning rate of the low-rank updates.
    pub lora_learning_rate: f64,
    /// Learning rate of low-rank updates on the generation expert, as a multiple of that.
    pub lora_gen_rate: f64,
    /// Most that this is multiplied by for pictures unlike those that the base brings.
    pub lora_unlike_rate: f64,
    /// Peak learning rate of the generation expert; 0 freezes it.
    pub gen_learning_rate: f64,
    /// Tokens of text samples per step.
    pub text_tokens: u32,
    /// A step in this many carries text.
    pub text_every: u32,
    /// Picture samples per step.
    pub pictures: u32,
    /// Pictures per step from those of the base.
    pub rehearsal: u32,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: u32,
    /// Steps after which picture conditions are read anew; 0 is every step.
    pub condition_refresh: u32,
    /// Chance that a picture's condition is dropped.
    pub condition_dropout: f64,
    /// Weight of the text loss.
    pub ce_weight: f64,
    /// Weight of the flow loss.
    pub mse_weight: f64,
    /// Mean of the logit of noise times.
    pub time_mean: f64,
    /// Standard deviation of that logit.
    pub time_std: f64,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// Decay of the moving average of the weights; 0 is none.
    pub ema_decay: f64,
    /// Validations in a row without a better held-out loss after which the run ends; 0 is never.
    pub patience: u32,
    /// Whether the run ends with the weights of its best validation.
    pub keep_best: bool,
    /// Steps between validations and samples.
    pub sample_every: u32,
    /// Steps between checkpoints.
    pub checkpoint_every: u32,
    /// Share kept back where the character has no test split.
    pub held_out_share: f64,
    /// How often a pass goes through dialogue; 0 leaves it out, here and below.
    pub role_play: u32,
    /// Dialogue with reasoning.
    pub thinking: u32,
    /// Questions about the character.
    pub knowledge_qa: u32,
    /// Questions about pictures.
    pub picture_qa: u32,
    /// Captions of pictures.
    pub picture_description: u32,
    /// Pictures from their captions.
    pub picture_plain: u32,
    /// Pictures from scenes.
    pub picture_scene: u32,
    /// Pictures from scenes, with reasoning.
    pub picture_thinking: u32,
}

/// What a run does between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum RunPhase {
    /// The base is read.
    LoadingBase,
    /// The base and what stage 1 taught are read.
    LoadingStage1,
    /// Pictures and dialogue are encoded.
    ReadingMaterial,
    /// Fixed prompts are answered and drawn.
    Trying,
    /// Kept-back prompts are drawn and scored.
    TryingPrompts,
    /// Groups are drawn.
    Drawing,
    /// Groups are scored.
    Scoring,
    /// Weights change.
    Learning,
    /// Losses on kept-back examples are taken.
    Measuring,
    /// What was learned is written.
    WritingAdapter,
}

impl From<events::RunPhase> for RunPhase {
    fn from(from: events::RunPhase) -> Self {
        match from {
            events::RunPhase::LoadingBase => Self::LoadingBase,
            events::RunPhase::LoadingStage1 => Self::LoadingStage1,
            events::RunPhase::ReadingMaterial => Self::ReadingMaterial,
            events::RunPhase::Trying => Self::Trying,
            events::RunPhase::TryingPrompts => Self::TryingPrompts,
            events::RunPhase::Drawing => Self::Drawing,
            events::RunPhase::Scoring => Self::Scoring,
            events::RunPhase::Learning => Self::Learning,
            events::RunPhase::Measuring => Self::Measuring,
            events::RunPhase::WritingAdapter => Self::WritingAdapter,
        }
    }
}

/// What deleting a run means.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RunDeletion {
    /// Bytes of its folder, and of what its character has from it.
    pub size_bytes: f64,
    /// What it taught is what the character speaks and draws with now.
    pub is_in_use: bool,
    /// What the character then goes back to; the base alone when absent.
    pub falls_back_to: Option<AdapterItem>,
}

/// What samples of a kind teach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum TaughtKind {
    /// Dialogue.
    RolePlay,
    /// Dialogue with reasoning.
    Thinking,
    /// Questions about the character.
    KnowledgeQa,
    /// Questions about pictures.
    PictureQa,
    /// Captions of pictures.
    PictureDescription,
    /// Pictures from their captions.
    PicturePlain,
    /// Pictures from scenes.
    PictureScene,
    /// Pictures from scenes, with reasoning.
    PictureThinking,
}

impl From<SampleKind> for TaughtKind {
    fn from(from: SampleKind) -> Self {
        match from {
            SampleKind::RolePlay => Self::RolePlay,
            SampleKind::Thinking => Self::Thinking,
            SampleKind::KnowledgeQa => Self::KnowledgeQa,
            SampleKind::PictureQa => Self::PictureQa,
            SampleKind::PictureDescription => Self::PictureDescription,
            SampleKind::PicturePlain => Self::PicturePlain,
            SampleKind::PictureScene => Self::PictureScene,
            SampleKind::PictureThinking => Self::PictureThinking,
        }
    }
}

/// How often a pass goes through samples of a kind; 0 when they are left out.
fn times_of(recipe: &SftRecipe, kind: SampleKind) -> u32 {
    let times = recipe.repeats.get(&kind).copied().unwrap_or(1);
    if recipe.kinds.contains(&kind) { times as u32 } else { 0 }
}

impl From<&SftRecipe> for RecipeItem {
    fn from(recipe: &SftRecipe) -> Self {
        let times = |kind| times_of(recipe, kind);
        Self {
            mode: recipe.mode,
            precision: recipe.precision,
            products: recipe.products,
            recompute: recipe.recompute,
            role_play: times(SampleKind::RolePlay),
            thinking: times(SampleKind::Thinking),
            knowledge_qa: times(SampleKind::KnowledgeQa),
            picture_qa: times(SampleKind::PictureQa),
            picture_description: times(SampleKind::PictureDescription),
            picture_plain: times(SampleKind::PicturePlain),
            picture_scene: times(SampleKind::PictureScene),
            picture_thinking: times(SampleKind::PictureThinking),
            num_steps: recipe.num_steps as u32,
            warmup_steps: recipe.warmup_steps as u32,
            final_lr_share: recipe.final_lr_share,
            lora_rank: recipe.lora.rank as u32,
            lora_alpha: recipe.lora.alpha,
            lora_learning_rate: recipe.lora.learning_rate,
            lora_gen_rate: recipe.lora.gen_rate,
            lora_unlike_rate: recipe.lora.unlike_rate,
            gen_learning_rate: recipe.gen_learning_rate,
            text_tokens: recipe.text_tokens as u32,
            text_every: recipe.text_every as u32,
            pictures: recipe.pictures as u32,
            rehearsal: recipe.rehearsal as u32,
            accumulate: recipe.accumulate as u32,
            condition_refresh: recipe.condition_refresh as u32,
            condition_dropout: recipe.condition_dropout,
            ce_weight: recipe.ce_weight,
            mse_weight: recipe.mse_weight,
            time_mean: recipe.time.mean,
            time_std: recipe.time.std,
            max_grad_norm: recipe.max_grad_norm,
            weight_decay: recipe.weight_decay,
            eps: recipe.eps,
            ema_decay: recipe.ema_decay,
            patience: recipe.patience as u32,
            keep_best: recipe.keep_best,
            sample_every: recipe.sample_every as u32,
            checkpoint_every: recipe.checkpoint_every as u32,
            held_out_share: recipe.held_out_share,
        }
    }
}

impl RecipeItem {
    /// `base` with these numbers.
    ///
    /// # Errors
    /// When a number is out of its range; the message names it.
    pub(crate) fn over(&self, base: SftRecipe) -> ApiResult<SftRecipe> {
        self.check()?;
        let mut recipe = SftRecipe {
            mode: self.mode,
            precision: self.precision,
            products: self.products,
            recompute: self.recompute,
            num_steps: self.num_steps as usize,
            warmup_steps: self.warmup_steps as usize,
            final_lr_share: self.final_lr_share,
            lora: LoraConfig {
                rank: self.lora_rank as usize,
                alpha: self.lora_alpha,
                learning_rate: self.lora_learning_rate,
                gen_rate: self.lora_gen_rate,
                unlike_rate: self.lora_unlike_rate,
            },
            gen_learning_rate: self.gen_learning_rate,
            text_tokens: self.text_tokens as usize,
            text_every: self.text_every as usize,
            pictures: self.pictures as usize,
            rehearsal: self.rehearsal as usize,
            accumulate: self.accumulate as usize,
            condition_refresh: self.condition_refresh as usize,
            condition_dropout: self.condition_dropout,
            ce_weight: self.ce_weight,
            mse_weight: self.mse_weight,
            time: TimeDraw { mean: self.time_mean, std: self.time_std },
            max_grad_norm: self.max_grad_norm,
            weight_decay: self.weight_decay,
            eps: self.eps,
            ema_decay: self.ema_decay,
            patience: self.patience as usize,
            keep_best: self.keep_best,
            sample_every: self.sample_every as usize,
            checkpoint_every: self.checkpoint_every as usize,
            held_out_share: self.held_out_share,
            ..base
        };
        for (kind, times) in self.times() {
            set_times(&mut recipe, kind, times);
        }
        Ok(recipe.checked("the changed numbers")?)
    }

    fn times(&self) -> [(SampleKind, u32); 8] {
        [
            (SampleKind::RolePlay, self.role_play),
            (SampleKind::Thinking, self.thinking),
            (SampleKind::KnowledgeQa, self.knowledge_qa),
            (SampleKind::PictureQa, self.picture_qa),
            (SampleKind::PictureDescription, self.picture_description),
            (SampleKind::PicturePlain, self.picture_plain),
            (SampleKind::PictureScene, self.picture_scene),
            (SampleKind::PictureThinking, self.picture_thinking),
        ]
    }

    fn check(&self) -> ApiResult<()> {
        let counts = [
            ("steps", self.num_steps),
            ("tokens of text per step", self.text_tokens),
            ("text in one step of", self.text_every),
            ("batches per step", self.accumulate),
            ("steps between samples", self.sample_every),
            ("steps between checkpoints", self.checkpoint_every),
        ];
        let positive = [
            ("largest gradient norm", self.max_grad_norm),
            ("spread of noise", self.time_std),
            ("epsilon", self.eps),
        ];
        let amounts = [
            ("low-rank scale", self.lora_alpha),
            ("learning rate of the text", self.lora_learning_rate),
            ("multiple of it for pictures", self.lora_gen_rate),
            ("times faster for unlike pictures", self.lora_unlike_rate),
            ("learning rate of the pictures", self.gen_learning_rate),
            ("weight of the text loss", self.ce_weight),
            ("weight of the picture loss", self.mse_weight),
            ("weight decay", self.weight_decay),
        ];
        let shares = [
            ("learning rate left at the end", self.final_lr_share),
            ("dropped conditions", self.condition_dropout),
            ("share kept back", self.held_out_share),
        ];
        let refuse = |name: &str, rule: &str| {
            let message = format!("“{name}” must be {rule}");
            Err(ApiError::new(ErrorCode::BadRequest, message, "Change it, or reset it."))
        };
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0) {
            return refuse(name, "at least 1");
        }
        if let Some((name, _)) = positive.iter().find(|(_, x)| !(x.is_finite() && *x > 0.)) {
            return refuse(name, "above 0");
        }
        if let Some((name, _)) = amounts.iter().find(|(_, x)| !(x.is_finite() && *x >= 0.)) {
            return refuse(name, "0 or more");
        }
        if let Some((name, _)) = shares.iter().find(|(_, x)| !(0. ..=1.).contains(x)) {
            return refuse(name, "between 0 and 1");
        }
        if !(0. ..1.).contains(&self.ema_decay) {
            return refuse("decay of the average", "0 or more, and below 1");
        }
        if self.times().iter().all(|(_, times)| *times == 0) {
            let message = "a run learns from at least one kind of samples";
            return Err(ApiError::new(ErrorCode::BadRequest, message, "Use one, or reset them."));
        }
        if !self.time_mean.is_finite() {
            return refuse("lean of the noise", "a number");
        }
        Ok(())
    }
}

/// Has a pass go through samples of a kind so many times; 0 leaves them out.
fn set_times(recipe: &mut SftRecipe, kind: SampleKind, times: u32) {
    if times == times_of(recipe, kind) {
        return;
    }
    recipe.kinds.retain(|known| *known != kind || times > 0);
    if times > 0 {
        if !recipe.kinds.contains(&kind) {
            recipe.kinds.push(kind);
        }
        recipe.repeats.insert(kind, times as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_survives_the_way_to_the_window_and_back() -> ApiResult<()> {
        for recipe in [SftRecipe::default(), SftRecipe::preset("reference").unwrap()] {
            assert_eq!(RecipeItem::from(&recipe).over(recipe.clone())?, recipe);
        }
        Ok(())
    }

    /// `value` with every number in it changed, to another one that a recipe may have.
    fn changed(value: &serde_json::Value) -> serde_json::Value {
        use serde_json::{Value, json};
        match value {
            Value::Number(n) => match n.as_u64() {
                Some(n) => json!(n + 1),
                None => json!(n.as_f64().unwrap() * 0.5 + 0.01),
            },
            Value::Object(fields) => {
                fields.iter().map(|(name, field)| (name.clone(), changed(field))).collect()
            }
            other => other.clone(),
        }
    }

    #[test]
    fn the_window_changes_every_number() -> ApiResult<()> {
        let usual = SftRecipe::default();
        let other = changed(&serde_json::to_value(&usual).unwrap());
        let other: SftRecipe = serde_json::from_value(other).unwrap();
        assert_eq!(RecipeItem::from(&other).over(usual)?, other);
        Ok(())
    }

    #[test]
    fn the_window_turns_every_switch() -> ApiResult<()> {
        let usual = SftRecipe::default();
        let other = SftRecipe {
            mode: Mode::Lora,
            precision: FrozenPrecision::Bf16,
            products: Products::Split,
            recompute: true,
            keep_best: false,
            ..usual.clone()
        };
        assert_eq!(RecipeItem::from(&other).over(usual)?, other);
        Ok(())
    }

    #[test]
    fn kinds_of_samples_are_left_out_and_repeated() -> ApiResult<()> {
        use SampleKind::{KnowledgeQa, PicturePlain, PictureQa, RolePlay};
        let usual = SftRecipe {
            kinds: vec![PicturePlain, RolePlay, KnowledgeQa],
            repeats: [(RolePlay, 2), (PictureQa, 5)].into(),
            ..SftRecipe::default()
        };
        let item = RecipeItem::from(&usual);
        let times = item.times().map(|(_, times)| times);
        assert_eq!(times, [2, 0, 1, 0, 0, 1, 0, 0]);
        let item = RecipeItem { picture_plain: 0, picture_qa: 3, role_play: 4, ..item };
        let recipe = item.over(usual)?;
        assert_eq!(recipe.kinds, [RolePlay, KnowledgeQa, PictureQa]);
        assert_eq!(recipe.repeats, [(RolePlay, 4), (PictureQa, 3)].into());
        let none = RecipeItem { knowledge_qa: 0, picture_qa: 0, role_play: 0, ..item };
        assert!(none.over(recipe).is_err_and(|e| e.message.contains("at least one kind")));
        Ok(())
    }

    /// What a set of numbers allows is told from them together, as on the command line.
    #[test]
    fn a_mode_is_refused_with_numbers_that_do_not_go_with_it() {
        let full = RecipeItem { mode: Mode::Full, ..RecipeItem::from(&SftRecipe::default()) };
        let error = full.over(SftRecipe::default()).unwrap_err();
        assert!(error.message.contains("condition_refresh = 0"), "{}", error.message);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let good = RecipeItem::from(&SftRecipe::default());
        let bad = [
            RecipeItem { num_steps: 0, ..good.clone() },
            RecipeItem { condition_dropout: 1.5, ..good.clone() },
            RecipeItem { gen_learning_rate: f64::NAN, ..good.clone() },
            RecipeItem { max_grad_norm: 0., ..good },
        ];
        let messages: Vec<String> = bad
            .iter()
            .filter_map(|item| item.over(SftRecipe::default()).err())
            .map(|error| error.message)
            .collect();
        assert_eq!(
            messages,
            [
                "“steps” must be at least 1",
                "“dropped conditions” must be between 0 and 1",
                "“learning rate of the pictures” must be 0 or more",
                "“largest gradient norm” must be above 0",
            ]
        );
    }
}
