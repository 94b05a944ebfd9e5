//! Tables from records: every number of a report can be made again from them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    records::Record,
    stats::{BOOTSTRAP_SEED, Estimate, NUM_RESAMPLES, estimate},
};

/// Name of the slice that holds every item.
pub const ALL: &str = "all";

/// What a metric is, for tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricInfo {
    /// The task of its records.
    pub task: &'static str,
    /// Words for a table.
    pub label: &'static str,
    /// Whether more is better, where that can be said.
    pub more_is_better: Option<bool>,
    /// What knowing nothing scores.
    pub chance: Option<f64>,
}

const fn info(
    task: &'static str,
    label: &'static str,
    more_is_better: Option<bool>,
    chance: Option<f64>,
) -> MetricInfo {
    MetricInfo { task, label, more_is_better, chance }
}

/// All metrics, in the order of the report.
pub const METRICS: [MetricInfo; 28] = [
    info("knowledge_rotation", "Knowledge, rotation accuracy", Some(true), Some(0.25)),
    info("knowledge_option", "Knowledge, likeliest option text", Some(true), Some(0.25)),
    info("knowledge_letter", "Knowledge, letter in the original order", Some(true), None),
    info("picture_rotation", "Picture questions, rotation accuracy", Some(true), Some(0.25)),
    info("picture_rotation_blind", "… with the picture withheld", None, Some(0.25)),
    info("picture_option", "Picture questions, likeliest option text", Some(true), Some(0.25)),
    info("picture_option_blind", "… with the picture withheld", None, Some(0.25)),
    info("picture_letter", "Picture questions, letter in the original order", Some(true), None),
    info("reply_nll", "Test replies, nats per token", Some(false), None),
    info("character_id", "Test replies, character identified", Some(true), None),
    info("reply_tokens", "Sampled replies, tokens", None, None),
    info("reply_distinct2", "Sampled replies, distinct pairs of words", None, None),
    info("clip_i_gt", "Picture: likeness to the held-out picture", Some(true), None),
    info("clip_i_ref", "Picture: mean likeness to the training pictures", None, None),
    info("ref_max", "Picture: likeness to the nearest training picture", None, None),
    info("copy_rate", "Picture: copies a training picture", Some(false), None),
    info("lost_identity", "Picture: identity lost", Some(false), None),
    info("identity", "Picture: nearest character is the right one", Some(true), None),
    info("clip_t", "Picture: likeness to its prompt", Some(true), None),
    info(
        "prompt_vqa",
        "Picture: questions of its prompt, answered by the base",
        Some(true),
        Some(0.5),
    ),
    info("diversity", "Picture: distance between seeds", None, Some(0.)),
    info("vendi", "Picture: effective number among seeds", None, Some(1.)),
    info("t2t2i_gt", "Reply picture: likeness to the held-out picture", Some(true), None),
    info("t2t2i_ref", "Reply picture: mean likeness to the training pictures", None, None),
    info("t2t2i_identity", "Reply picture: nearest character is the right one", Some(true), None),
    info(
        "t2t2i_agreement",
        "Reply picture: fits its reply better than others",
        Some(true),
        Some(0.),
    ),
    info("judge_memorization", "Judged memorisation, 1 to 7", Some(true), None),
    info("judge_personality", "Judged personality, 1 to 7", Some(true), None),
];

/// A metric of one stage on one part of the material.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Task of the records.
    pub metric: String,
    /// Stage or baseline.
    pub stage: String,
    /// `all`, or a part of the material.
    pub slice: String,
    /// Mean and interval.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// What knowing nothing scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
}

/// The paired difference of two stages on the same items and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Task of the records.
    pub metric: String,
    /// Later stage.
    pub stage: String,
    /// Earlier stage, which is subtracted.
    pub minus: String,
    /// Mean and interval of the differences.
    #[serde(flatten)]
    pub estimate: Estimate,
}

impl Difference {
    /// The interval excludes zero.
    pub fn is_clear(&self) -> bool {
        self.estimate.ci_low > 0. || self.estimate.ci_high < 0.
    }
}

/// Everything that follows from the records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Aggregates {
    /// One entry a metric, stage and slice.
    pub aggregates: Vec<Aggregate>,
    /// One entry a metric and pair of stages.
    pub differences: Vec<Difference>,
    /// One entry a metric, stage and character.
    pub by_character: Vec<CharacterMean>,
}

/// A metric of one stage and character.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharacterMean {
    /// Task of the records.
    pub metric: String,
    /// Stage or baseline.
    pub stage: String,
    /// Name of the character.
    pub character: String,
    /// Mean and interval over its items.
    #[serde(flatten)]
    pub estimate: Estimate,
}

type Groups<'a> = BTreeMap<&'a str, Vec<f64>>;

fn values(groups: &Groups) -> Vec<Vec<f64>> {
    groups.values().cloned().collect()
}

/// Recomputes every number from records.
pub fn aggregate(records: &[Record]) -> Aggregates {
    let mut found = Aggregates::default();
    let stages = stages_in_order(records);
    let num_characters = characters(records).len();
    for metric in METRICS {
        let of_metric: Vec<&Record> = records.iter().filter(|r| r.task == metric.task).collect();
        let chance = match metric.task {
            "character_id" | "identity" | "t2t2i_identity" if num_characters > 1 => {
                Some(chance_of(&of_metric, num_characters))
            }
            _ => metric.chance,
        };
        for stage in &stages {
            let of_stage = of_metric.iter().filter(|r| r.stage == *stage).copied();
            add_stage(&mut found, metric.task, stage, of_stage.collect(), chance);
        }
        for (index, stage) in stages.iter().enumerate() {
            for minus in &stages[..index] {
                if is_model(stage) && is_model(minus) {
                    found.differences.extend(difference(&of_metric, metric.task, stage, minus));
                }
            }
        }
    }
    found
}

/// Chance of an identification: one over the number of choices that the records name.
fn chance_of(records: &[&Record], num_characters: usize) -> f64 {
    let choices = records.iter().find_map(|r| r.detail.get("num_choices")?.as_u64());
    1. / choices.unwrap_or(num_characters as u64).max(1) as f64
}

fn add_stage(
    found: &mut Aggregates,
    metric: &str,
    stage: &str,
    records: Vec<&Record>,
    baseline: Option<f64>,
) {
    let mut slices: BTreeSet<&str> = BTreeSet::new();
    slices.extend(records.iter().flat_map(|r| r.slices.iter().map(String::as_str)));
    for slice in std::iter::once(ALL).chain(slices) {
        let mut groups: Groups = BTreeMap::new();
        for record in &records {
            if slice == ALL || record.slices.iter().any(|s| s == slice) {
                groups.entry(&record.character).or_default().push(record.value);
            }
        }
        let Some(estimate) = estimate(&values(&groups), BOOTSTRAP_SEED, NUM_RESAMPLES) else {
            continue;
        };
        let (metric, stage, slice) = (metric.to_owned(), stage.to_owned(), slice.to_owned());
        found.aggregates.push(Aggregate { metric, stage, slice, estimate, baseline });
    }
    let mut groups: Groups = BTreeMap::new();
    for record in &records {
        groups.entry(&record.character).or_default().push(record.value);
    }
    for (character, values) in groups {
        if let Some(estimate) = estimate(&[values], BOOTSTRAP_SEED, NUM_RESAMPLES / 10) {
            let (metric, stage) = (metric.to_owned(), stage.to_owned());
            let character = character.to_owned();
            found.by_character.push(CharacterMean { metric, stage, character, estimate });
        }
    }
}

fn difference(records: &[&Record], metric: &str, stage: &str, minus: &str) -> Option<Difference> {
    let mut before = BTreeMap::new();
    for record in records.iter().filter(|r| r.stage == minus) {
        before.insert((&record.character, &record.item_id, record.seed), record.value);
    }
    let mut groups: Groups = BTreeMap::new();
    for record in records.iter().filter(|r| r.stage == stage) {
        if let Some(old) = before.get(&(&record.character, &record.item_id, record.seed)) {
            groups.entry(&record.character).or_default().push(record.value - old);
        }
    }
    let estimate = estimate(&values(&groups), BOOTSTRAP_SEED, NUM_RESAMPLES)?;
    let (metric, stage, minus) = (metric.into(), stage.into(), minus.into());
    Some(Difference { metric, stage, minus, estimate })
}

/// Stages of models, first to last.
pub const MODEL_STAGES: [&str; 3] = ["base", "sft", "grpo"];

/// True for a stage of a model, false for a baseline.
pub fn is_model(stage: &str) -> bool {
    MODEL_STAGES.contains(&stage)
}

/// Stages in the order of training, then baselines by name.
pub fn stages_in_order(records: &[Record]) -> Vec<String> {
    let all: BTreeSet<&str> = records.iter().map(|r| r.stage.as_str()).collect();
    let models = MODEL_STAGES.into_iter().filter(|stage| all.contains(stage));
    let baselines = all.iter().copied().filter(|stage| !is_model(stage));
    models.chain(baselines).map(str::to_owned).collect()
}

/// Names of the characters, sorted.
pub fn characters(records: &[Record]) -> Vec<String> {
    let all: BTreeSet<&str> = records.iter().map(|r| r.character.as_str()).collect();
    all.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stage: &str, character: &str, item: &str, value: f64) -> Record {
        Record::new(stage, character, "reply_nll", item, 0, value)
    }

    #[test]
    fn differences_are_paired() {
        // Values differ much between items but sft is always 0.5 lower, so the interval is a point.
        let mut records = Vec::new();
        for (item, value) in [("a", 1.), ("b", 5.), ("c", 9.)] {
            records.push(record("base", "Pip", item, value));
            records.push(record("sft", "Pip", item, value - 0.5));
        }
        records.push(record("sft", "Pip", "only here", 100.));
        let found = aggregate(&records);
        let [difference] = found.differences.as_slice() else { panic!("{found:?}") };
        assert_eq!((difference.stage.as_str(), difference.minus.as_str()), ("sft", "base"));
        assert_eq!(difference.estimate.n_items, 3);
        assert!((difference.estimate.ci_low + 0.5).abs() < 1e-9 && difference.is_clear());
        let base = found.aggregates.iter().find(|a| a.stage == "base").unwrap();
        assert_eq!((base.estimate.mean, base.slice.as_str()), (5., "all"));
        assert!(base.estimate.ci_high > 6.);
    }

    #[test]
    fn slices_are_reported_beside_the_whole() {
        let mut easy = record("base", "Pip", "a", 1.);
        easy.slices.push("easy".into());
        let found = aggregate(&[easy, record("base", "Pip", "b", 3.)]);
        let mean = |slice: &str| {
            found.aggregates.iter().find(|a| a.slice == slice).map(|a| a.estimate.mean)
        };
        assert_eq!((mean("all"), mean("easy"), mean("hard")), (Some(2.), Some(1.), None));
    }
}
