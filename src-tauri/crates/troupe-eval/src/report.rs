//! One self-contained HTML file, and the same numbers as JSON and CSV, made from a run's folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{
        ALL, Aggregate, Aggregates, METRICS, MetricInfo, aggregate, characters, is_model,
        stages_in_order,
    },
    error::{EvalError, EvalResult},
    judge::{JUDGE_PROMPT, MEMORIZATION, MIN_ANCHOR_GAP, PERSONALITY},
    plot::{Bar, bars, escape, number},
    records::{Record, read},
    run::{RunInfo, reference_file, write},
};

const CSS: &str = include_str!("report.css");
/// Most pictures of a character that are shown side by side.
const MAX_ROWS: usize = 12;

/// Numbers of the paper as a third party lists them: for the order of magnitude only.
const PAPER: [(&str, &str); 5] = [
    ("Knowledge questions, accuracy", "77"),
    ("Picture questions, accuracy", "84"),
    ("Picture from prompt, CLIP-I", "0.88"),
    ("Picture from reply, CLIP-I", "0.86"),
    ("Memorisation, judged", "5.45"),
];

/// Files of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportFiles {
    /// For reading.
    pub html: PathBuf,
    /// For programs.
    pub json: PathBuf,
    /// For spreadsheets.
    pub csv: PathBuf,
}

/// Everything in `results.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// What was measured, with what.
    pub run: RunInfo,
    /// What follows from the records.
    #[serde(flatten)]
    pub aggregates: Aggregates,
}

impl Results {
    /// The results of the last report of a run's folder; `None` before the first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn last(folder: &Path) -> EvalResult<Option<Self>> {
        let path = folder.join("results.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(EvalError::io("reading the results", &path, e)),
        };
        let results = serde_json::from_slice(&bytes).map_err(|e| EvalError::Malformed {
            line: e.line(),
            problem: e.to_string(),
            path,
        })?;
        Ok(Some(results))
    }
}

/// Recomputes every number of a run's folder and writes the report.
///
/// # Errors
/// When the folder holds no run, or cannot be written.
pub fn write_report(folder: &Path) -> EvalResult<(Results, ReportFiles)> {
    let info = RunInfo::read(folder)?;
    let records = read(folder)?;
    let results = Results { run: info, aggregates: aggregate(&records) };
    let files = ReportFiles {
        html: folder.join("report.html"),
        json: folder.join("results.json"),
        csv: folder.join("results.csv"),
    };
    let json = serde_json::to_vec_pretty(&results)
        .map_err(|e| EvalError::io("writing the results", &files.json, std::io::Error::other(e)))?;
    write(&files.json, &json)?;
    write(&files.csv, csv(&results.aggregates).as_bytes())?;
    write(&files.html, html(folder, &results, &records).as_bytes())?;
    Ok((results, files))
}

fn csv(aggregates: &Aggregates) -> String {
    let mut text = String::from(
        "kind,metric,stage,minus,slice,character,n_items,n_characters,mean,ci_low,ci_high,baseline\n",
    );
    let mut row = |kind: &str, keys: [&str; 5], e: &crate::stats::Estimate, base: Option<f64>| {
        let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
        let base = base.map_or(String::new(), |b| b.to_string());
        let _ = writeln!(
            text,
            "{kind},{},{},{},{},{},{},{base}",
            keys.join(","),
            e.n_items,
            e.n_characters,
            e.mean,
            e.ci_low,
            e.ci_high
        );
    };
    for a in &aggregates.aggregates {
        row("mean", [&a.metric, &a.stage, "", &a.slice, ""], &a.estimate, a.baseline);
    }
    for d in &aggregates.differences {
        row("difference", [&d.metric, &d.stage, &d.minus, ALL, ""], &d.estimate, Some(0.));
    }
    for c in &aggregates.by_character {
        row("character", [&c.metric, &c.stage, "", ALL, &c.character], &c.estimate, None);
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

fn html(folder: &Path, results: &Results, records: &[Record]) -> String {
    let names: Vec<&str> = results.run.characters.iter().map(|c| c.name.as_str()).collect();
    let title = format!("Evaluation: {}", names.join(", "));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{CSS}</style></head><body><h1>{0}</h1>",
        escape(&title)
    );
    page.push_str(&about(&results.run));
    page.push_str(&main_table(&results.aggregates, records));
    page.push_str(&difference_table(&results.aggregates));
    page.push_str(&plots(&results.aggregates));
    page.push_str(&slice_table(&results.aggregates));
    page.push_str(&character_table(&results.aggregates));
    for name in characters(records) {
        let own: Vec<&Record> = records.iter().filter(|r| r.character == name).collect();
        let _ = write!(page, "<h2>{}, side by side</h2>", escape(&name));
        page.push_str(&picture_rows(folder, &own));
        page.push_str(&reply_table(&own));
    }
    page.push_str(&judge_section(results, records));
    page.push_str(&paper_table());
    page.push_str("</body></html>\n");
    page
}

fn about(run: &RunInfo) -> String {
    let short = |hash: &str| escape(hash.get(..16).unwrap_or(hash));
    let mut out = format!(
        "<p>Protocol <b>{}</b>, version {}, <b>{}</b>. Base <b>{}</b> <code>{}</code>, weights held as {}. Pictures compared by <b>{}</b> <code>{}</code> ({}).",
        escape(&run.suite),
        run.version,
        escape(&run.settings.name),
        escape(&run.model),
        short(&run.base_hash),
        escape(&run.precision),
        escape(&run.features.name),
        short(&run.features.hash),
        escape(&run.features.preprocessing)
    );
    if !run.features.reads_text {
        out.push_str(" These features read no texts, so likeness to a prompt and the fit of picture and reply are not measured.");
    }
    out.push_str("</p><p class=\"soft\">Means are over characters of each character's mean. Intervals are 95 %: bootstrap over characters, then items, 10 000 resamples. Stages answer the same prompts with the same seeds. One training seed. Numbers of a small base or of other features cannot be compared with published ones; look at the differences between stages.</p>");
    out.push_str(
        "<div class=\"wide\"><table><tr><th>Character</th><th>Material</th><th>Adapters</th></tr>",
    );
    for character in &run.characters {
        let adapters: Vec<String> = character
            .adapters
            .iter()
            .map(|(stage, hash)| format!("{} <code>{}</code>", escape(stage), short(hash)))
            .collect();
        let adapters = if adapters.is_empty() { "none".into() } else { adapters.join("<br>") };
        let _ = write!(
            out,
            "<tr><td>{}</td><td><code>{}</code></td><td>{adapters}</td></tr>",
            escape(&character.name),
            short(&character.data_hash)
        );
    }
    out.push_str("</table></div>");
    out
}

fn find<'a>(all: &'a Aggregates, metric: &str, stage: &str) -> Option<&'a Aggregate> {
    all.aggregates.iter().find(|a| a.metric == metric && a.stage == stage && a.slice == ALL)
}

fn interval(a: &crate::stats::Estimate) -> String {
    format!("{} <small>[{}, {}]</small>", number(a.mean), number(a.ci_low), number(a.ci_high))
}

fn stage_label(stage: &str) -> &str {
    match stage {
        "base" => "base",
        "sft" => "stage 1",
        "grpo" => "stage 2",
        "real" => "real pictures",
        "copy" => "copied training pictures",
        "other" => "another character",
        "constant" => "constant letter",
        other => other,
    }
}

fn measured(all: &Aggregates) -> impl Iterator<Item = &'static MetricInfo> {
    METRICS
        .iter()
        .filter(|m| all.aggregates.iter().any(|a| a.metric == m.task && is_model(&a.stage)))
}

fn arrow(metric: &MetricInfo) -> &'static str {
    match metric.more_is_better {
        Some(true) => " ↑",
        Some(false) => " ↓",
        None => "",
    }
}

fn main_table(all: &Aggregates, records: &[Record]) -> String {
    let stages = stages_in_order(records);
    let models: Vec<&String> = stages.iter().filter(|s| is_model(s)).collect();
    let mut out = String::from("<h2>Results</h2><div class=\"wide\"><table><tr><th>Metric</th>");
    for stage in &models {
        let _ = write!(out, "<th>{}</th>", stage_label(stage));
    }
    out.push_str("<th>Chance</th><th>Baselines</th><th>Items</th></tr>");
    for metric in measured(all) {
        let _ = write!(out, "<tr><td>{}{}</td>", escape(metric.label), arrow(metric));
        let mut chance = metric.chance;
        let mut items = 0;
        for stage in &models {
            let found = find(all, metric.task, stage);
            chance = found.and_then(|a| a.baseline).or(chance);
            items = found.map_or(items, |a| a.estimate.n_items);
            let shown = found.map_or("–".into(), |a| interval(&a.estimate));
            let _ = write!(out, "<td>{shown}</td>");
        }
        let baselines: Vec<String> = stages
            .iter()
            .filter(|stage| !is_model(stage))
            .filter_map(|stage| Some((stage, find(all, metric.task, stage)?)))
            .map(|(stage, a)| format!("{} {}", stage_label(stage), number(a.estimate.mean)))
            .collect();
        let _ = write!(
            out,
            "<td class=\"n\">{}</td><td class=\"soft\">{}</td><td class=\"n\">{items}</td></tr>",
            chance.map_or("–".into(), number),
            baselines.join("<br>")
        );
    }
    out.push_str("</table></div>");
    out
}

fn difference_table(all: &Aggregates) -> String {
    if all.differences.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Paired differences</h2><p class=\"soft\">On the same items and seeds. Bold: the interval excludes zero.</p><div class=\"wide\"><table><tr><th>Metric</th><th>Stages</th><th>Difference</th><th>Items</th></tr>",
    );
    for difference in &all.differences {
        let Some(metric) = METRICS.iter().find(|m| m.task == difference.metric) else { continue };
        let class = if difference.is_clear() { " class=\"clear\"" } else { "" };
        let _ = write!(
            out,
            "<tr><td>{}{}</td><td>{} − {}</td><td{class}>{}</td><td class=\"n\">{}</td></tr>",
            escape(metric.label),
            arrow(metric),
            stage_label(&difference.stage),
            stage_label(&difference.minus),
            interval(&difference.estimate),
            difference.estimate.n_items
        );
    }
    out.push_str("</table></div>");
    out
}

fn plots(all: &Aggregates) -> String {
    let mut out = String::from("<h2>Plots</h2><div class=\"plots\">");
    for metric in measured(all) {
        let of_metric = all.aggregates.iter().filter(|a| a.metric == metric.task && a.slice == ALL);
        let shown: Vec<&Aggregate> = of_metric.collect();
        let entries: Vec<Bar> = shown
            .iter()
            .map(|a| Bar {
                label: stage_label(&a.stage),
                estimate: a.estimate,
                class: if is_model(&a.stage) { &a.stage } else { "reference" },
            })
            .collect();
        let chance = shown.iter().find_map(|a| a.baseline);
        out.push_str(&bars(metric.label, &entries, chance));
    }
    out.push_str("</div>");
    out
}

fn slice_table(all: &Aggregates) -> String {
    let mut out = String::new();
    for a in all.aggregates.iter().filter(|a| a.slice != ALL && is_model(&a.stage)) {
        let Some(metric) = METRICS.iter().find(|m| m.task == a.metric) else { continue };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
            escape(metric.label),
            escape(&a.slice),
            stage_label(&a.stage),
            interval(&a.estimate),
            a.estimate.n_items
        );
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<h2>Parts of the material</h2><p class=\"soft\">“seen”: the question or line also occurs in the training material; “clean”: it does not.</p><details><summary>Show</summary><div class=\"wide\"><table><tr><th>Metric</th><th>Part</th><th>Stage</th><th>Mean</th><th>Items</th></tr>{out}</table></div></details>"
    )
}

fn character_table(all: &Aggregates) -> String {
    let names: BTreeSet<&str> = all.by_character.iter().map(|c| c.character.as_str()).collect();
    if names.len() < 2 {
        return String::new();
    }
    let mut out = String::from(
        "<h2>By character</h2><details><summary>Show</summary><div class=\"wide\"><table><tr><th>Metric</th><th>Stage</th>",
    );
    for name in &names {
        let _ = write!(out, "<th>{}</th>", escape(name));
    }
    out.push_str("</tr>");
    let mut rows: BTreeMap<(usize, &str), BTreeMap<&str, f64>> = BTreeMap::new();
    for entry in all.by_character.iter().filter(|c| is_model(&c.stage)) {
        let Some(at) = METRICS.iter().position(|m| m.task == entry.metric) else { continue };
        let row = rows.entry((at, &entry.stage)).or_default();
        row.insert(&entry.character, entry.estimate.mean);
    }
    for ((at, stage), means) in rows {
        let label = escape(METRICS[at].label);
        let _ = write!(out, "<tr><td>{label}</td><td>{}</td>", stage_label(stage));
        for name in &names {
            let shown = means.get(name).map_or("–".into(), |mean| number(*mean));
            let _ = write!(out, "<td class=\"n\">{shown}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div></details>");
    out
}

/// A file as a data address, so that the report is whole wherever it is copied to.
fn embedded(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

fn figure(folder: &Path, record: &Record) -> String {
    let Some(source) = embedded(&folder.join(record.text("file"))) else { return String::new() };
    let adapter = record.text("adapter");
    let adapter = adapter.get(..10).unwrap_or(adapter);
    let made = if adapter.is_empty() { "no adapter".into() } else { format!("adapter {adapter}") };
    let label = stage_label(&record.stage);
    format!(
        "<figure><img src=\"{source}\" alt=\"{label}\"><figcaption>{label}<br>{}<br>seed {}</figcaption></figure>",
        escape(&made),
        record.seed
    )
}

/// The held-out picture of a record's prompt, where there is one.
fn reference(folder: &Path, record: &Record) -> String {
    let truth = record.text("truth");
    let file = folder.join(reference_file(&record.character, truth));
    match embedded(&file).filter(|_| !truth.is_empty()) {
        Some(source) => format!(
            "<figure><img src=\"{source}\" alt=\"held-out picture\"><figcaption>held-out picture<br>{}</figcaption></figure>",
            escape(truth)
        ),
        None => String::new(),
    }
}

/// Pictures of the same prompt and seed beside each other.
fn picture_rows(folder: &Path, records: &[&Record]) -> String {
    let mut rows: BTreeMap<(&str, &str, u64), Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| is_model(&r.stage)) {
        let kind = match record.task.as_str() {
            "ref_max" => "Prompt",
            "t2t2i_ref" => "Reply",
            _ => continue,
        };
        rows.entry((kind, &record.item_id, record.seed)).or_default().push(record);
    }
    let mut out = String::new();
    for ((kind, ..), mut row) in rows.into_iter().take(MAX_ROWS) {
        row.sort_by_key(|r| crate::aggregate::MODEL_STAGES.iter().position(|s| *s == r.stage));
        let Some(first) = row.first() else { continue };
        let text = if kind == "Reply" {
            format!("In a chat, after: “{}”", first.text("user"))
        } else {
            first.text("prompt").to_owned()
        };
        let _ = write!(out, "<blockquote>{}</blockquote><div class=\"row\">", escape(&text));
        out.push_str(&reference(folder, first));
        for record in &row {
            out.push_str(&figure(folder, record));
        }
        out.push_str("</div>");
    }
    if out.is_empty() { out } else { format!("<h3>Pictures</h3>{out}") }
}

fn reply_table(records: &[&Record]) -> String {
    let mut rows: BTreeMap<(&str, u64), Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.task == "reply_tokens") {
        rows.entry((&record.item_id, record.seed)).or_default().push(record);
    }
    let mut out = String::new();
    for (_, row) in rows {
        let Some(first) = row.first() else { continue };
        let _ = write!(
            out,
            "<tr><td rowspan=\"{}\">{}</td>",
            row.len() + 1,
            escape(first.text("user"))
        );
        let _ = write!(out, "<td>reference</td><td>{}</td></tr>", escape(first.text("reference")));
        for record in &row {
            let adapter = record.text("adapter");
            let _ = write!(
                out,
                "<tr><td>{} <small>{}</small></td><td>{}</td></tr>",
                stage_label(&record.stage),
                escape(adapter.get(..10).unwrap_or(adapter)),
                escape(record.text("reply"))
            );
        }
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<h3>Replies</h3><div class=\"wide\"><table><tr><th>Someone says</th><th>Stage</th><th>Reply</th></tr>{out}</table></div>"
    )
}

fn judge_section(results: &Results, records: &[Record]) -> String {
    let Some(judge) = &results.run.judge else { return String::new() };
    let mean = |stage: &str| find(&results.aggregates, "judge_personality", stage);
    let gap = match (mean("real"), mean("other")) {
        (Some(real), Some(other)) => Some(real.estimate.mean - other.estimate.mean),
        _ => None,
    };
    let verdict = match gap {
        Some(gap) if gap < MIN_ANCHOR_GAP => format!("Real replies score only {gap:.2} above a stranger's: <b>this judge is of no use here</b>."),
        Some(gap) => format!("Real replies score {gap:.2} above a stranger's."),
        None => "With one character alone there is no stranger to compare with, so nothing says whether the judge is of use.".into(),
    };
    let unreadable = records.iter().filter(|r| r.task == "judge_unreadable").count();
    format!(
        "<h2>Judge</h2><p>{}, temperature 0, two calls averaged, one dimension a call. {verdict} Answers without a score: {unreadable}.</p><pre>{}</pre><p class=\"soft\">Memorisation: {MEMORIZATION}<br>Personality: {PERSONALITY}</p>",
        escape(judge),
        escape(JUDGE_PROMPT)
    )
}

fn paper_table() -> String {
    let mut out = String::from(
        "<h2>The paper's numbers, unverified</h2><p class=\"soft\">As a third-party tracker lists them for arXiv 2605.08129. Which rows of the paper they are, its scorers, judge and reference pictures are unknown, and its letters are not permuted: always answering C scores 49.5 % of its knowledge items, always B 56.6 % of its picture items. For the order of magnitude only.</p><table>",
    );
    for (what, value) in PAPER {
        let _ = write!(out, "<tr><td>{what}</td><td class=\"n\">{value}</td></tr>");
    }
    out.push_str("</table>");
    out
}
