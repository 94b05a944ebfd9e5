//! What a training run tells its watcher, and what the watcher answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grpo::{alarm::Trial, rewards::similarity::BandShares};

/// The watcher's answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Write a checkpoint and end the process; the run can be resumed.
    Pause,
    /// Write a checkpoint and the adapter so far, and end the run.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// Paused; can be resumed.
    Paused,
    /// Stopped early by request; the adapter holds what was learned until then.
    Stopped,
}

/// Kind of a sample made while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SampleOutput {
    /// A reply.
    Reply,
    /// A picture.
    Picture,
}

/// A mean and its spread over pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// What an epoch of stage 2 came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochEvent {
    /// Epochs done.
    pub epoch: usize,
    /// Epochs in all.
    pub num_epochs: usize,
    /// Weighted reward.
    pub reward: Spread,
    /// Mean spread within a group.
    pub group_std: f64,
    /// Every component.
    pub components: BTreeMap<String, Spread>,
    /// Where likeness to the character's pictures lay.
    pub band: BandShares,
    /// Share of terms clipped below.
    pub clip_low: f64,
    /// Share of terms clipped above.
    pub clip_high: f64,
    /// Standard deviation of the ratios.
    pub ratio_std: f64,
    /// Largest log-ratio before the first step; 0 unless drawing and learning disagree.
    pub first_log_ratio: f64,
    /// Half of the mean squared log-ratio.
    pub approx_kl: f64,
    /// Mean divergence from stage 1, where it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_kl: Option<f64>,
    /// Mean of the objective.
    pub loss: f64,
    /// Mean gradient norm before clipping.
    pub grad_norm: f64,
    /// Share of groups whose pictures all have the same reward.
    pub tied_share: f64,
    /// First step of the stochastic window.
    pub window_start: usize,
    /// Seconds of drawing.
    pub rollout_secs: f64,
    /// Seconds of scoring.
    pub score_secs: f64,
    /// Seconds of learning.
    pub update_secs: f64,
}

/// What a run does between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunPhase {
    /// The base is read.
    LoadingBase,
    /// The base and the adapter of stage 1 are read.
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

impl RunPhase {
    /// The phase in words.
    pub fn label(self) -> &'static str {
        match self {
            Self::LoadingBase => "loading the base model",
            Self::LoadingStage1 => "loading the base model and what stage 1 taught",
            Self::ReadingMaterial => "reading pictures and dialogue",
            Self::Trying => "trying it out",
            Self::TryingPrompts => "trying it on kept-back prompts",
            Self::Drawing => "drawing",
            Self::Scoring => "scoring",
            Self::Learning => "learning",
            Self::Measuring => "measuring",
            Self::WritingAdapter => "writing the adapter",
        }
    }
}

/// Codes that [`Remark::code`] can be.
pub const REMARKS: [&str; 20] = [
    "material-changed",
    "ended-early",
    "kept-step",
    "copies-pictures",
    "drafted-prompts",
    "likeness-band",
    "alignment-by-clip",
    "alignment-by-flow",
    "likeness-by-clip",
    "likeness-by-colours",
    "diversity-by-features",
    "answers-by-blip",
    "answers-by-stage1",
    "answers-exact",
    "lost-diversity",
    "fallen-reward",
    "fallen-measure",
    "kept-stage1",
    "kept-epoch",
    "kept-epoch-chance",
];

/// Something worth knowing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remark {
    /// In English words.
    pub text: String,
    /// One of [`REMARKS`], for those who show words of their own; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Parts of the text by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

impl Remark {
    /// Said by a run that goes on with other material than it began with.
    pub(crate) fn material_changed() -> Self {
        let text =
            "The material has changed since this run began; it goes on with what is there now.";
        Self::new("material-changed", text)
    }

    /// A remark with a code.
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into(), values: BTreeMap::new() }
    }

    /// The same with a part of its text named.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.values.insert(name.into(), value.to_string());
        self
    }
}

impl From<String> for Remark {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<RunPhase> for TrainEvent {
    fn from(phase: RunPhase) -> Self {
        Self::Phase { label: phase.label().into(), phase: Some(phase) }
    }
}

/// One event of a run, a line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TrainEvent {
    /// The run starts or resumes.
    Started {
        /// Steps done before.
        step: usize,
        /// Steps in all.
        num_steps: usize,
        /// Values that are trained.
        num_trainable: usize,
        /// Text samples learned from.
        num_text_samples: usize,
        /// Picture samples learned from.
        num_picture_samples: usize,
    },
    /// What is being done between steps.
    Phase {
        /// In English words.
        label: String,
        /// For those who show words of their own; runs of older versions lack it.
        #[serde(default)]
        phase: Option<RunPhase>,
    },
    /// A step is done.
    Step {
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
        /// Weighted loss.
        loss: f64,
        /// Text loss of this step, if it had text.
        #[serde(skip_serializing_if = "Option::is_none")]
        ce: Option<f64>,
        /// Flow loss of this step, if it had pictures.
        #[serde(skip_serializing_if = "Option::is_none")]
        mse: Option<f64>,
        /// Learning rate of this step as a share of the peak.
        lr: f64,
        /// Norm of the gradient before clipping.
        grad_norm: f64,
    },
    /// Losses on held-out samples.
    Validation {
        /// Steps done.
        step: usize,
        /// Text loss.
        #[serde(skip_serializing_if = "Option::is_none")]
        ce: Option<f64>,
        /// Flow loss.
        #[serde(skip_serializing_if = "Option::is_none")]
        mse: Option<f64>,
    },
    /// A sample with fixed prompt and seed.
    Sample {
        /// Steps done.
        step: usize,
        /// Reply or picture.
        kind: SampleOutput,
        /// What was asked.
        prompt: String,
        /// The reply.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The picture's file, relative to the run folder.
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Its folder, relative to the run folder.
        file: String,
    },
    /// An epoch of stage 2 is done.
    Epoch(Box<EpochEvent>),
    /// A group of stage 2.
    Group {
        /// Epochs done.
        epoch: usize,
        /// What was drawn.
        prompt: String,
        /// Its pictures side by side, best first; relative to the run folder.
        file: String,
        /// Their rewards, in that order.
        rewards: Vec<f64>,
        /// Every component of theirs before it is weighed, in that order.
        #[serde(default)]
        components: BTreeMap<String, Vec<f64>>,
    },
    /// A trial of stage 2 on kept-back prompts.
    Trial(Box<Trial>),
    /// Stage 2 ended by itself because its reward was being gamed.
    Alarm {
        /// Epochs done.
        epoch: usize,
        /// Why.
        #[serde(flatten)]
        why: Remark,
    },
    /// Something worth knowing.
    Note(Remark),
    /// The last event of a process.
    Ended {
        /// How it ended.
        outcome: Outcome,
    },
}

/// Receives events and steers the run.
pub type Watcher<'a> = &'a mut dyn FnMut(TrainEvent) -> Control;
