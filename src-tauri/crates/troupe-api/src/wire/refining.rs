//! Wire types of refining, stage 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use troupe_character::{PicturePrompt, PromptQuestion, Split};
use troupe_model::flow::StepRule;
use troupe_train::{
    events::{EpochEvent, Remark},
    grpo::{
        alarm::Trial,
        profile::{
            Auto, Clip, GrpoProfile, KlForm, LossConfig, OptimConfig, SamplerConfig, StdMode,
            WatchConfig,
        },
        rewards::{Alignment, Band, DiversityForm, RewardConfig, VqaBy, VqaForm},
    },
};
use ts_rs::TS;

use crate::{
    error::{ApiError, ApiResult, ErrorCode},
    wire::FindingItem,
};

/// Every number and switch of a stage-2 profile. Choices go by their names in profiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RefineNumbers {
    /// Rounds of drawing, scoring and learning.
    pub epochs: u32,
    /// Groups of an epoch.
    pub prompts_per_epoch: u32,
    /// Pictures of a group.
    pub images_per_prompt: u32,
    /// Optimiser steps of an epoch.
    pub updates_per_epoch: u32,
    /// Weight of alignment with the prompt; 0 leaves it out.
    pub alignment: f64,
    /// Weight of questions answered; 0 leaves it out.
    pub vqa: f64,
    /// Weight of diversity; 0 leaves it out.
    pub diversity: f64,
    /// Weight of likeness; 0 leaves it out.
    pub similarity: f64,
    /// What judges alignment.
    #[ts(type = "'auto' | 'clip' | 'scorer' | 'flow'")]
    pub alignment_by: Alignment,
    /// Who answers questions.
    #[ts(type = "'auto' | 'blip' | 'stage1'")]
    pub vqa_by: VqaBy,
    /// How answers count.
    #[ts(type = "'soft' | 'exact'")]
    pub vqa_form: VqaForm,
    /// How diversity counts.
    #[ts(type = "'per_image' | 'group'")]
    pub diversity_form: DiversityForm,
    /// Most questions asked about a picture; 0 asks all.
    pub max_questions: u32,
    /// Where the band of likeness lies.
    #[ts(type = "'calibrated' | 'fixed'")]
    pub band: Band,
    /// Lower end of a fixed band.
    pub sim_low: f64,
    /// Upper end of a fixed band.
    pub sim_high: f64,
    /// Penalty per unit outside the band.
    pub sim_slope: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of its second.
    pub beta2: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm; 0 is no limit.
    pub max_grad_norm: f64,
    /// Decay of the moving average of the weights; 0 is none.
    pub ema: f64,
    /// Rank of the low-rank updates; 0 trains the generation expert in full.
    pub lora_rank: u32,
    /// Scale times rank.
    pub lora_alpha: f64,
    /// Whether each guidance branch is run anew for its gradient.
    pub recompute: bool,
    /// Clip range; 0 chooses it by the picture's size.
    pub clip: f64,
    /// Largest advantage.
    pub adv_clamp: f64,
    /// Whose spread divides a reward's distance from its group's mean.
    #[ts(type = "'group' | 'batch' | 'component'")]
    pub std_mode: StdMode,
    /// Weight of the divergence from stage 1.
    pub beta: f64,
    /// Form of that divergence.
    #[ts(type = "'exact' | 'reference'")]
    pub kl_form: KlForm,
    /// Whether ratios are centred and steps weighed alike.
    pub guard: bool,
    /// Points of the time grid while learning.
    pub points: u32,
    /// Shift of that grid.
    pub shift: f64,
    /// Rule of the stochastic steps.
    #[ts(type = "'sde' | 'cps'")]
    pub rule: StepRule,
    /// Level of their noise.
    pub noise: f64,
    /// Stochastic steps of a picture.
    pub window: u32,
    /// First step that they may begin at.
    pub window_low: u32,
    /// Step before which they end; 0 is half of the points.
    pub window_high: u32,
    /// Whether a group starts from the same noise and shares the steps before the stochastic ones.
    pub share_initial_noise: bool,
    /// Text guidance; 1 is none.
    pub guidance: f64,
    /// Time above which it applies.
    pub cfg_low: f64,
    /// Last time in which it applies.
    pub cfg_high: f64,
    /// Lower bound of the scaling towards the conditional velocity's norm.
    pub cfg_renorm_min: f64,
    /// Whether gradients pass by the unconditional branch.
    pub cfg_detach: bool,
    /// Pictures that run through the network together.
    pub pictures_per_pass: u32,
    /// Epochs between trials on kept-back prompts.
    pub eval_every: u32,
    /// Kept-back prompts of a trial.
    pub eval_prompts: u32,
    /// Pictures of each.
    pub eval_pictures: u32,
    /// Points of the noise-free time grid in trials.
    pub eval_points: u32,
    /// Epochs between checkpoints.
    pub save_every: u32,
    /// Share of the prompts that is kept back where the character keeps none.
    pub held_out_share: f64,
    /// Falls of an independent measure in a row that end the run; 0 never ends it.
    pub patience: u32,
    /// Share of its diversity that a run may lose; 1 never ends it.
    pub diversity_loss: f64,
}

impl From<&GrpoProfile> for RefineNumbers {
    fn from(profile: &GrpoProfile) -> Self {
        let GrpoProfile { sampler, loss, optim, reward, watch, .. } = profile;
        let ([beta1, beta2], [cfg_low, cfg_high]) = (optim.betas, sampler.cfg_interval);
        Self {
            epochs: profile.epochs as u32,
            prompts_per_epoch: profile.prompts_per_epoch as u32,
            images_per_prompt: profile.images_per_prompt as u32,
            updates_per_epoch: profile.updates_per_epoch as u32,
            alignment: reward.alignment,
            vqa: reward.vqa,
            diversity: reward.diversity,
            similarity: reward.similarity,
            alignment_by: reward.alignment_by,
            vqa_by: reward.vqa_by,
            vqa_form: reward.vqa_form,
            diversity_form: reward.diversity_form,
            max_questions: reward.max_questions as u32,
            band: reward.band,
            sim_low: reward.sim_low,
            sim_high: reward.sim_high,
            sim_slope: reward.sim_slope,
            learning_rate: optim.lr,
            beta1,
            beta2,
            eps: optim.eps,
            weight_decay: optim.weight_decay,
            max_grad_norm: optim.max_grad_norm,
            ema: optim.ema,
            lora_rank: optim.lora_rank as u32,
            lora_alpha: optim.lora_alpha,
            recompute: optim.recompute,
            clip: match loss.clip {
                Clip::Fixed(range) => range,
                Clip::Auto(Auto::Auto) => 0.,
            },
            adv_clamp: loss.adv_clamp,
            std_mode: loss.std_mode,
            beta: loss.beta,
            kl_form: loss.kl_form,
            guard: loss.guard,
            points: sampler.points as u32,
            shift: sampler.shift,
            rule: sampler.rule,
            noise: sampler.noise,
            window: sampler.window as u32,
            window_low: sampler.window_low as u32,
            window_high: sampler.window_high.unwrap_or(0) as u32,
            share_initial_noise: sampler.share_initial_noise,
            guidance: sampler.cfg_scale,
            cfg_low,
            cfg_high,
            cfg_renorm_min: sampler.cfg_renorm_min,
            cfg_detach: sampler.cfg_detach,
            pictures_per_pass: sampler.pictures_per_pass as u32,
            eval_every: watch.eval_every as u32,
            eval_prompts: watch.eval_prompts as u32,
            eval_pictures: watch.eval_pictures as u32,
            eval_points: sampler.eval_points as u32,
            save_every: watch.save_every as u32,
            held_out_share: watch.held_out_share,
            patience: watch.patience as u32,
            diversity_loss: watch.diversity_loss,
        }
    }
}

impl RefineNumbers {
    /// The profile of these numbers.
    ///
    /// # Errors
    /// When they make no sense together; the message says which.
    pub(crate) fn profile(&self) -> ApiResult<GrpoProfile> {
        let profile = GrpoProfile {
            epochs: self.epochs as usize,
            prompts_per_epoch: self.prompts_per_epoch as usize,
            images_per_prompt: self.images_per_prompt as usize,
            updates_per_epoch: self.updates_per_epoch as usize,
            sampler: self.sampler(),
            loss: self.loss(),
            optim: self.optim(),
            reward: self.reward(),
            watch: self.watch(),
        };
        Ok(profile.checked("the changed numbers")?)
    }

    fn sampler(&self) -> SamplerConfig {
        SamplerConfig {
            points: self.points as usize,
            shift: self.shift,
            rule: self.rule,
            noise: self.noise,
            window: self.window as usize,
            window_low: self.window_low as usize,
            window_high: Some(self.window_high as usize).filter(|high| *high > 0),
            share_initial_noise: self.share_initial_noise,
            cfg_scale: self.guidance,
            cfg_interval: [self.cfg_low, self.cfg_high],
            cfg_renorm_min: self.cfg_renorm_min,
            cfg_detach: self.cfg_detach,
            eval_points: self.eval_points as usize,
            pictures_per_pass: self.pictures_per_pass as usize,
        }
    }

    fn loss(&self) -> LossConfig {
        let is_chosen = self.clip == 0.;
        LossConfig {
            clip: if is_chosen { Clip::Auto(Auto::Auto) } else { Clip::Fixed(self.clip) },
            adv_clamp: self.adv_clamp,
            std_mode: self.std_mode,
            beta: self.beta,
            kl_form: self.kl_form,
            guard: self.guard,
        }
    }

    fn optim(&self) -> OptimConfig {
        OptimConfig {
            lr: self.learning_rate,
            betas: [self.beta1, self.beta2],
            eps: self.eps,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            ema: self.ema,
            lora_rank: self.lora_rank as usize,
            lora_alpha: self.lora_alpha,
            recompute: self.recompute,
        }
    }

    fn reward(&self) -> RewardConfig {
        RewardConfig {
            alignment: self.alignment,
            vqa: self.vqa,
            diversity: self.diversity,
            similarity: self.similarity,
            alignment_by: self.alignment_by,
            vqa_by: self.vqa_by,
            vqa_form: self.vqa_form,
            diversity_form: self.diversity_form,
            band: self.band,
            sim_low: self.sim_low,
            sim_high: self.sim_high,
            sim_slope: self.sim_slope,
            max_questions: self.max_questions as usize,
        }
    }

    fn watch(&self) -> WatchConfig {
        WatchConfig {
            eval_every: self.eval_every as usize,
            eval_prompts: self.eval_prompts as usize,
            eval_pictures: self.eval_pictures as usize,
            save_every: self.save_every as usize,
            held_out_share: self.held_out_share,
            patience: self.patience as usize,
            diversity_loss: self.diversity_loss,
        }
    }
}

/// What refining would take.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RefinePlan {
    /// Whether stage 1 has taught the character, which stage 2 builds on.
    pub is_taught: bool,
    /// Why it cannot be refined although it is taught.
    pub problem: Option<ApiError>,
    /// Profiles to choose from.
    pub profiles: Vec<String>,
    /// The one that is used; empty when it is none of them, as an earlier run's may be.
    pub profile: String,
    /// The numbers that would be used.
    pub numbers: RefineNumbers,
    /// The profile's numbers.
    pub defaults: RefineNumbers,
    /// Prompts that are learned from.
    pub num_prompts: u32,
    /// Prompts that are kept back for trials.
    pub num_held_out: u32,
    /// Whether prompts were drafted.
    pub is_drafted: bool,
    /// Pictures drawn in an epoch.
    pub images_per_epoch: u32,
    /// Minutes on this machine: a guess.
    pub minutes: f64,
    /// Memory in megabytes: a guess.
    pub memory_mb: f64,
    /// Memory or disk that is missing for it.
    pub findings: Vec<FindingItem>,
    /// What judges instead of what is missing.
    pub stand_ins: Vec<RemarkItem>,
}

/// A request to refine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct StartRefining {
    /// Whom.
    pub character_id: String,
    /// Profile; the base's when absent.
    pub profile: Option<String>,
    /// Seed; 1 when absent.
    pub seed: Option<u32>,
    /// An earlier run whose profile is used instead.
    pub from_run: Option<String>,
    /// The profile's numbers when absent.
    pub numbers: Option<RefineNumbers>,
    /// Wait for the run that is on instead of refusing.
    pub queue: bool,
}

/// Something worth knowing about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RemarkItem {
    /// Stable name; the window has its words in every language. Empty in runs of older versions.
    pub code: String,
    /// In English.
    pub text: String,
    /// Parts of the text by name.
    pub values: BTreeMap<String, String>,
}

impl From<&Remark> for RemarkItem {
    fn from(remark: &Remark) -> Self {
        let Remark { code, text, values } = remark.clone();
        Self { code, text, values }
    }
}

/// A measure with a name.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct NamedValue {
    /// Which.
    pub name: String,
    /// Its mean.
    pub value: f64,
    /// Its standard deviation over pictures, where there is one.
    pub spread: Option<f64>,
}

/// A round of refining.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EpochItem {
    /// Epochs done.
    pub epoch: u32,
    /// Mean reward.
    pub reward: f64,
    /// Its standard deviation over pictures.
    pub spread: f64,
    /// Every component.
    pub components: Vec<NamedValue>,
    /// Half of the mean squared log-ratio: how far the policy moved.
    pub kl: f64,
    /// Divergence from stage 1, where it counts.
    pub reference_kl: Option<f64>,
    /// Share of terms that were clipped.
    pub clipped: f64,
    /// Share of pictures too close to a training picture.
    pub too_close: f64,
    /// Share of pictures too far from all of them.
    pub too_far: f64,
    /// Mean gradient norm before clipping.
    pub grad_norm: f64,
}

impl From<EpochEvent> for EpochItem {
    fn from(event: EpochEvent) -> Self {
        let component = |(name, spread): (String, troupe_train::events::Spread)| NamedValue {
            name,
            value: spread.mean,
            spread: Some(spread.std),
        };
        Self {
            epoch: event.epoch as u32,
            reward: event.reward.mean,
            spread: event.reward.std,
            components: event.components.into_iter().map(component).collect(),
            kl: event.approx_kl,
            reference_kl: event.reference_kl,
            clipped: event.clip_low + event.clip_high,
            too_close: event.band.too_close,
            too_far: event.band.too_far,
            grad_norm: event.grad_norm,
        }
    }
}

/// A trial on kept-back prompts.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TrialItem {
    /// Epochs done; 0 is stage 1.
    pub epoch: u32,
    /// Mean reward.
    pub reward: f64,
    /// Its standard error.
    pub error: f64,
    /// Every component.
    pub components: Vec<NamedValue>,
    /// Measures that nothing is trained against.
    pub independent: Vec<NamedValue>,
    /// Mean distance of pictures of one prompt.
    pub diversity: f64,
}

impl From<&Trial> for TrialItem {
    fn from(trial: &Trial) -> Self {
        let named = |(name, value): (&String, &f64)| NamedValue {
            name: name.clone(),
            value: *value,
            spread: None,
        };
        Self {
            epoch: trial.epoch as u32,
            reward: trial.reward,
            error: trial.reward_error,
            components: trial.components.iter().map(named).collect(),
            independent: trial.independent.iter().map(named).collect(),
            diversity: trial.diversity,
        }
    }
}

/// A picture of a group with what it was given.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct GroupPicture {
    /// Weighted reward.
    pub reward: f64,
    /// Components before they are weighed.
    pub components: Vec<NamedValue>,
}

/// The pictures of one prompt, best first.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct GroupItem {
    /// Epoch that drew them.
    pub epoch: u32,
    /// What was asked for.
    pub prompt: String,
    /// Name in the run of the picture that holds them side by side.
    pub file: String,
    /// The pictures in that order.
    pub pictures: Vec<GroupPicture>,
}

/// What a run of refining has to show.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RefineDetail {
    /// The numbers that it uses.
    pub numbers: RefineNumbers,
    /// Rounds, oldest first.
    pub epochs: Vec<EpochItem>,
    /// Trials, oldest first.
    pub trials: Vec<TrialItem>,
    /// Groups, oldest first.
    pub groups: Vec<GroupItem>,
    /// Epochs behind what is kept; 0 is stage 1.
    pub kept: Option<u32>,
    /// Why it ended by itself.
    pub alarm: Option<RemarkItem>,
    /// What is worth knowing.
    pub notes: Vec<RemarkItem>,
}

/// A question about the pictures of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PromptQuestionItem {
    /// What is asked.
    pub question: String,
    /// `yes_no`, `multiple_choice` or `open_ended`.
    pub kind: String,
    /// The answer of a fitting picture.
    pub answer: String,
    /// Share in the prompt's score, relative to its siblings.
    pub weight: f64,
}

/// A prompt that refining draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PromptItem {
    /// Unique within the character; empty for a new one.
    pub id: String,
    /// What to draw.
    pub text: String,
    /// Drawn in trials only.
    pub is_held_out: bool,
    /// Drafted, not written by anyone yet.
    pub is_draft: bool,
    /// Questions that a fitting picture answers as expected.
    pub questions: Vec<PromptQuestionItem>,
}

impl PromptItem {
    pub(crate) fn of(prompt: &PicturePrompt, is_draft: bool) -> Self {
        let question = |q: &PromptQuestion| PromptQuestionItem {
            question: q.question.clone(),
            kind: q.kind.clone(),
            answer: q.answer.clone(),
            weight: q.weight,
        };
        Self {
            id: prompt.id.clone(),
            text: prompt.text.clone(),
            is_held_out: prompt.split == Split::Test,
            is_draft,
            questions: prompt.questions.iter().map(question).collect(),
        }
    }

    /// The record, with what `before` knew besides.
    ///
    /// # Errors
    /// When it has nothing to draw, or a weight is no share.
    pub(crate) fn over(self, before: Option<PicturePrompt>) -> ApiResult<PicturePrompt> {
        let refuse =
            |message: &str, hint: &str| Err(ApiError::new(ErrorCode::BadRequest, message, hint));
        if self.text.trim().is_empty() {
            return refuse("a prompt is empty", "Write what to draw, or remove it.");
        }
        if self.questions.iter().any(|q| !(q.weight.is_finite() && q.weight >= 0.)) {
            return refuse("the weight of a question is below 0", "Use 0 or more.");
        }
        let mut prompt = before.unwrap_or_default();
        prompt.text = self.text.trim().into();
        prompt.split = if self.is_held_out { Split::Test } else { Split::Train };
        let mut known = std::mem::take(&mut prompt.questions);
        prompt.questions = self.questions.into_iter().map(|q| q.over(&mut known)).collect();
        Ok(prompt)
    }
}

impl PromptQuestionItem {
    /// The record; what the same question knew besides comes from `known`.
    fn over(self, known: &mut Vec<PromptQuestion>) -> PromptQuestion {
        let place = known.iter().position(|q| q.question == self.question);
        let mut question = place.map(|at| known.remove(at)).unwrap_or_default();
        let is_negative = self.answer.trim().eq_ignore_ascii_case("no");
        question.is_negative =
            if self.kind == "yes_no" { is_negative } else { question.is_negative };
        question.question = self.question;
        question.kind = self.kind;
        question.answer = self.answer;
        question.weight = self.weight;
        question
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_survives_the_way_to_the_window_and_back() -> ApiResult<()> {
        for name in ["mini-cpu", "gpu-24gb", "gpu-80gb", "reference"] {
            let profile = GrpoProfile::find(name)?;
            assert_eq!(RefineNumbers::from(&profile).profile()?, profile);
        }
        let profile = GrpoProfile::find("mini-cpu")?;
        let odd = RefineNumbers { images_per_prompt: 1, ..RefineNumbers::from(&profile) };
        assert!(odd.profile().is_err_and(|e| e.message.contains("at least 2 pictures")));
        Ok(())
    }

    /// The names of choices that the window is told are those of profiles.
    #[test]
    fn the_window_knows_every_choice() {
        let usual = RefineNumbers::from(&GrpoProfile::default());
        let text = RefineNumbers::inline(&ts_rs::Config::default());
        let mut num_choices = 0;
        for (name, value) in serde_json::to_value(&usual).unwrap().as_object().unwrap() {
            let Some(usual_name) = value.as_str() else { continue };
            let kinds = text.split(&format!("{name}: ")).nth(1).unwrap().split(',').next().unwrap();
            let known: Vec<&str> = kinds.split(" | ").map(|k| k.trim_matches('\'')).collect();
            assert!(known.contains(&usual_name), "{name}: {kinds}");
            for choice in known {
                let mut changed = serde_json::to_value(&usual).unwrap();
                changed[name] = choice.into();
                let numbers: RefineNumbers = serde_json::from_value(changed.clone()).unwrap();
                assert_eq!(serde_json::to_value(numbers).unwrap(), changed);
                num_choices += 1;
            }
        }
        assert_eq!(num_choices, 20); // 4 + 3 + 2 + 2 + 2 + 3 + 2 + 2
    }

    #[test]
    fn a_prompt_keeps_what_the_window_does_not_show() -> ApiResult<()> {
        let line = r#"{"id":"p1","split":"train","text":"A garden","questions":[
            {"question":"Is it green?","type":"yes_no","category":"scene","answer":"yes",
             "weight":1.0,"is_negative":false,"note":"x"}],"colour":"blue"}"#;
        let before: PicturePrompt = serde_json::from_str(line)
            .map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string(), ""))?;
        let mut item = PromptItem::of(&before, false);
        assert_eq!(item.clone().over(Some(before.clone()))?, before);
        item.questions[0].answer = "no".into();
        let after = item.over(Some(before))?;
        assert!(after.questions[0].is_negative);
        assert_eq!(after.questions[0].extra["note"], "x");
        assert_eq!(after.extra["colour"], "blue");
        Ok(())
    }
}
