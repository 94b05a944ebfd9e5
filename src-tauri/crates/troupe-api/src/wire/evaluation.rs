//! Wire types of evaluations.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ApiError;

/// A request to measure characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct StartEvaluation {
    /// Whom.
    pub character_ids: Vec<String>,
    /// Of `base`, `sft` and `grpo`; the base and all that was learned when empty.
    pub stages: Vec<String>,
    /// A small part of the material.
    pub is_quick: bool,
}

/// A character that could be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationSubject {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Stages that it has learned.
    pub stages: Vec<String>,
}

/// A task of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationTask {
    /// What it is, as phases name it.
    pub task: String,
    /// Items over all characters and stages.
    pub num_items: u32,
}

/// What an evaluation would take.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationPlan {
    /// Whom it measures.
    pub subjects: Vec<EvaluationSubject>,
    /// Stages that it measures.
    pub stages: Vec<String>,
    /// What it does.
    pub tasks: Vec<EvaluationTask>,
    /// Items in all.
    pub num_items: u32,
    /// Estimate on two processor cores with the built-in base.
    pub minutes: f64,
    /// Estimate of memory.
    pub memory_mb: f64,
    /// Why it cannot begin now, if so.
    pub busy: Option<ApiError>,
    /// Why it cannot begin at all, if so.
    pub problem: Option<ApiError>,
}

/// What an evaluation is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationPhase {
    /// Stage.
    pub stage: String,
    /// Name of the character.
    pub character: String,
    /// Task.
    pub task: String,
    /// Items of the task that are done.
    pub done: u32,
    /// Items of the task.
    pub num_items: u32,
}

/// An evaluation in a list.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationSummary {
    /// Its id.
    pub id: String,
    /// Names of the characters.
    pub names: Vec<String>,
    /// Stages.
    pub stages: Vec<String>,
    /// It measures a small part of the material.
    pub is_quick: bool,
    /// `waiting`, `running`, `paused`, `interrupted`, `finished`, `failed`.
    pub status: String,
    /// Items done.
    pub step: u32,
    /// Items in all.
    pub num_steps: u32,
    /// Seconds of work so far.
    pub elapsed_secs: f64,
    /// Seconds left.
    pub eta_secs: Option<f64>,
    /// Why it failed.
    pub error: Option<ApiError>,
    /// Creation time, milliseconds since 1970.
    pub created_ms: f64,
    /// What it is doing.
    pub phase: Option<EvaluationPhase>,
}

/// A metric of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationCell {
    /// Stage, or a baseline such as `real`.
    pub stage: String,
    /// Mean over characters of the means of their items.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
    /// Items behind it.
    pub num_items: u32,
    /// Characters behind it.
    pub num_characters: u32,
}

/// A metric over all stages.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationRow {
    /// Its name in records.
    pub metric: String,
    /// Words for it.
    pub label: String,
    /// Whether more is better, where that can be said.
    pub more_is_better: Option<bool>,
    /// What knowing nothing scores.
    pub baseline: Option<f64>,
    /// One a stage, in order.
    pub cells: Vec<EvaluationCell>,
}

/// The paired difference of two stages.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationDifference {
    /// Metric.
    pub metric: String,
    /// Words for it.
    pub label: String,
    /// Later stage.
    pub stage: String,
    /// Earlier stage, which is subtracted.
    pub minus: String,
    /// Mean of the differences.
    pub mean: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
    /// The interval excludes zero.
    pub is_clear: bool,
    /// The later stage is better; none where that cannot be said.
    pub is_better: Option<bool>,
}

/// An evaluation with what it found so far.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct EvaluationDetail {
    /// As in the list.
    pub run: EvaluationSummary,
    /// Name of the base.
    pub model: String,
    /// Hash of the base.
    pub base_hash: String,
    /// How the weights were held.
    pub precision: String,
    /// What pictures were compared by.
    pub features: String,
    /// Metrics of the last report; empty before the first.
    pub rows: Vec<EvaluationRow>,
    /// Differences between stages.
    pub differences: Vec<EvaluationDifference>,
    /// A report has been written.
    pub has_report: bool,
}
