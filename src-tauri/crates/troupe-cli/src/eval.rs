//! `troupe eval`: measuring characters, and the report.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use troupe_api::Studio;
use troupe_eval::{
    aggregate::{ALL, is_model},
    features::{Features, PixelStats, Scorer, best},
    judge::Judge,
    report::{self, Results},
    run::{Plan, Settings, Subject, run},
};
use troupe_model::runtime::LoadOptions;

use crate::{output::Output, train::interrupts};

/// First word that asks for a report instead of a run.
const REPORT: &str = "report";

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The tasks of RoleScape-20.
    Rolescape,
}

/// What pictures are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeatureChoice {
    /// CLIP where its files are present, else the base's scorer, else pixel-stats.
    Auto,
    /// CLIP, from the folder `clip` of the base or of `judges` in the data folder; reads texts too.
    Clip,
    /// The base's scorer; reads texts too.
    Scorer,
    /// Colours and edges, without weights.
    PixelStats,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArguments {
    /// Names or ids; or `report` and the folder of a run, to make its report again.
    #[arg(required = true, value_name = "CHARACTER")]
    characters: Vec<String>,
    /// Protocol.
    #[arg(long, value_enum, default_value_t = Suite::Rolescape)]
    suite: Suite,
    /// Stages, of base, sft and grpo; those that were learned when absent.
    #[arg(long, value_delimiter = ',')]
    stages: Vec<String>,
    /// A small part of the material, done in minutes.
    #[arg(long)]
    quick: bool,
    /// Folder of the run; an unfinished run in it goes on. `evaluations/<characters>` of the data
    /// folder when absent.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// What pictures are compared by.
    #[arg(long, value_enum, default_value_t = FeatureChoice::Auto)]
    features: FeatureChoice,
    /// Address of an OpenAI-compatible endpoint (up to /v1) that judges open replies. Replies and
    /// profile are sent there; nothing is sent anywhere when absent.
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,
    /// Model that judges.
    #[arg(long, value_name = "NAME")]
    judge_model: Option<String>,
    /// Token that the endpoint wants.
    #[arg(long, env = "TROUPE_JUDGE_KEY", hide_env_values = true, value_name = "TOKEN")]
    judge_key: Option<String>,
}

pub(crate) fn eval(
    open: impl FnOnce() -> Result<Studio>,
    arguments: &EvalArguments,
    output: &Output,
) -> Result<ExitCode> {
    if arguments.characters.first().is_some_and(|word| word == REPORT) {
        let [_, folder] = arguments.characters.as_slice() else {
            bail!("name the folder of one run: troupe eval report <folder>")
        };
        finish(Path::new(folder), output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(&open()?, arguments)?;
    let interrupts = interrupts()?;
    let bar = output.progress(0);
    if !output.json {
        output.note(&format!("run folder: {}", plan.out.display()));
        output.note("Ctrl-C ends after this item; the same command goes on from there.");
    }
    let flow = run(&plan, &mut |progress| {
        bar.set_length(progress.num_items as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} · {} · {}", progress.character, progress.stage, progress.task));
        if interrupts.load(Ordering::Relaxed) > 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    bar.finish_and_clear();
    finish(&plan.out, output)?;
    if flow.is_break() {
        output.note("Not finished: the report holds what was measured so far.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Works on an evaluation that the studio began, then lets a queued run begin.
pub(crate) fn worker(
    run: &Path,
    output: &Output,
    open: impl FnOnce() -> Result<Studio>,
) -> Result<ExitCode> {
    let worked = troupe_api::evaluate(run)
        .inspect_err(|error| output.note(&format!("evaluating failed: {error}")));
    let next = open().and_then(|studio| Ok(studio.start_next_run()?));
    if let Err(error) = next {
        output.note(&format!("the next run in the queue could not be started: {error:#}"));
    }
    worked?;
    Ok(ExitCode::SUCCESS)
}

fn plan(studio: &Studio, arguments: &EvalArguments) -> Result<Plan> {
    let Suite::Rolescape = arguments.suite;
    let mut subjects = Vec::new();
    for wanted in &arguments.characters {
        subjects.push(Subject::find(studio.library().load(wanted)?)?);
    }
    let mut stages: Vec<String> = arguments.stages.clone();
    if stages.is_empty() {
        let learned = |stage: &str| subjects.iter().any(|s| s.adapters.contains_key(stage));
        let all = ["base", "sft", "grpo"].into_iter();
        stages = all.filter(|s| *s == "base" || learned(s)).map(Into::into).collect();
    }
    let names: Vec<&str> = subjects.iter().map(|s| s.character.name.as_str()).collect();
    let settings = if arguments.quick { Settings::quick() } else { Settings::full() };
    let judge = arguments.judge_url.clone().zip(arguments.judge_model.clone());
    Ok(Plan {
        out: arguments.out.clone().unwrap_or_else(|| default_folder(studio, &names, &settings)),
        model_dir: studio.model_dir().to_path_buf(),
        load: LoadOptions::default(),
        subjects,
        stages,
        settings,
        features: features(studio, arguments.features)?,
        judge: judge.map(|(url, model)| Judge { url, model, key: arguments.judge_key.clone() }),
    })
}

/// What pictures are compared by.
fn features(studio: &Studio, choice: FeatureChoice) -> Result<Box<dyn Features>> {
    let (model_dir, judges_dir) = (studio.model_dir(), studio.judges_dir());
    Ok(match choice {
        FeatureChoice::Auto => best(model_dir, Some(&judges_dir))?,
        FeatureChoice::PixelStats => Box::new(PixelStats),
        FeatureChoice::Scorer => match Scorer::find(model_dir)? {
            Some(scorer) => Box::new(scorer),
            None => bail!("this base holds no scorer; leave --features out to use what is there"),
        },
        FeatureChoice::Clip => match Scorer::find_clip([judges_dir.as_path(), model_dir])? {
            Some(clip) => Box::new(clip),
            None => bail!(
                "there is no CLIP; put config.json, model.safetensors and tokenizer.json of \
                 openai/clip-vit-large-patch14 into {}",
                judges_dir.join(troupe_model::foreign::CLIP).display()
            ),
        },
    })
}

fn default_folder(studio: &Studio, names: &[&str], settings: &Settings) -> PathBuf {
    let safe = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut name: String = names.join("-").chars().take(48).map(safe).collect();
    if names.len() > 4 {
        name = format!("{}-characters", names.len());
    }
    studio.home().join("evaluations").join(format!("{name}-{}", settings.name))
}

/// Writes the report and prints its main table.
fn finish(folder: &Path, output: &Output) -> Result<()> {
    let (results, files) = report::write_report(folder)?;
    let value = json!({"type": "result", "files": files, "results": results});
    output.result(&value, || format!("{}\n{}", table(&results), files.html.display()));
    Ok(())
}

fn table(results: &Results) -> String {
    let all = &results.aggregates;
    let mut lines = Vec::new();
    for a in all.aggregates.iter().filter(|a| a.slice == ALL && is_model(&a.stage)) {
        let e = &a.estimate;
        lines.push(format!(
            "{:<24} {:<5} {:>8.3}  [{:.3}, {:.3}]  n {}",
            a.metric, a.stage, e.mean, e.ci_low, e.ci_high, e.n_items
        ));
    }
    for d in &all.differences {
        let e = &d.estimate;
        let mark = if d.is_clear() { "  *" } else { "" };
        lines.push(format!(
            "{:<24} {} − {} {:>+8.3}  [{:+.3}, {:+.3}]{mark}",
            d.metric, d.stage, d.minus, e.mean, e.ci_low, e.ci_high
        ));
    }
    lines.join("\n")
}
