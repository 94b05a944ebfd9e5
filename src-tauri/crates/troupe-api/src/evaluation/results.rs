//! What an evaluation found, as tables.

use std::path::Path;

use troupe_eval::{
    aggregate::{ALL, Difference, METRICS, MetricInfo},
    report::Results,
    run::RunInfo,
    stats::Estimate,
};

use crate::{
    error::ApiResult,
    wire::{
        EvaluationCell, EvaluationDetail, EvaluationDifference, EvaluationRow, EvaluationSummary,
    },
};

/// The evaluation in `dir` with the numbers of its last report.
pub(super) fn detail(run: EvaluationSummary, dir: &Path) -> ApiResult<EvaluationDetail> {
    let info = RunInfo::read(dir).ok(); // not there before the worker has begun
    let text = |of: fn(&RunInfo) -> &String| info.as_ref().map(of).cloned().unwrap_or_default();
    let results = Results::last(dir)?;
    Ok(EvaluationDetail {
        run,
        model: text(|info| &info.model),
        base_hash: text(|info| &info.base_hash),
        precision: text(|info| &info.precision),
        features: text(|info| &info.features.name),
        rows: results.as_ref().map(rows).unwrap_or_default(),
        differences: results.as_ref().map(differences).unwrap_or_default(),
        has_report: dir.join("report.html").is_file(),
    })
}

fn cell(stage: &str, e: &Estimate) -> EvaluationCell {
    EvaluationCell {
        stage: stage.to_owned(),
        mean: e.mean,
        ci_low: e.ci_low,
        ci_high: e.ci_high,
        num_items: e.n_items as u32,
        num_characters: e.n_characters as u32,
    }
}

fn rows(results: &Results) -> Vec<EvaluationRow> {
    let all = &results.aggregates.aggregates;
    let row = |metric: &MetricInfo| {
        let of: Vec<_> = all.iter().filter(|a| a.metric == metric.task && a.slice == ALL).collect();
        let baseline = of.iter().find_map(|a| a.baseline);
        (!of.is_empty()).then(|| EvaluationRow {
            metric: metric.task.into(),
            label: metric.label.into(),
            more_is_better: metric.more_is_better,
            baseline,
            cells: of.iter().map(|a| cell(&a.stage, &a.estimate)).collect(),
        })
    };
    METRICS.iter().filter_map(row).collect()
}

fn differences(results: &Results) -> Vec<EvaluationDifference> {
    let difference = |d: &Difference| {
        let metric = METRICS.iter().find(|m| m.task == d.metric);
        let more_is_better = metric.and_then(|m| m.more_is_better);
        EvaluationDifference {
            metric: d.metric.clone(),
            label: metric.map_or_else(|| d.metric.clone(), |m| m.label.into()),
            stage: d.stage.clone(),
            minus: d.minus.clone(),
            mean: d.estimate.mean,
            ci_low: d.estimate.ci_low,
            ci_high: d.estimate.ci_high,
            is_clear: d.is_clear(),
            is_better: more_is_better.map(|more| (d.estimate.mean > 0.) == more),
        }
    };
    results.aggregates.differences.iter().map(difference).collect()
}
