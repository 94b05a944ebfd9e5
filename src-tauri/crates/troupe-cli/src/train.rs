//! `troupe train` and its worker.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use troupe_api::{ApiError, Studio};
use troupe_nn::precision::Products;
use troupe_train::{
    events::{Control, Outcome, TrainEvent},
    recipe::SftRecipe,
};

use crate::output::Output;

/// A training stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Unified-SFT: voice and looks from examples.
    Sft,
    /// Character-GRPO: pictures that follow the prompt, from what stage 1 taught.
    Grpo,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// Name or id.
    character: String,
    /// Training stage.
    #[arg(long, value_enum, default_value_t = Stage::Sft)]
    stage: Stage,
    /// Optimiser steps, for the stage grpo epochs; the recipe's when absent.
    #[arg(long)]
    steps: Option<u32>,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// A preset (mini, mini-full, bagel-7b-24gb, bagel-7b-48gb, bagel-7b-80gb, reference; for the
    /// stage grpo mini-cpu, gpu-24gb, gpu-80gb, reference) or a TOML file.
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "like")]
    recipe: Option<String>,
    /// Take the recipe of an earlier run, by id.
    #[arg(long, value_name = "RUN")]
    like: Option<String>,
    /// Change one number of the recipe, such as `lora.rank=8`; may be given again.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Go on with the newest unfinished run.
    #[arg(long)]
    resume: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn train(
    studio: &Studio,
    arguments: &TrainArguments,
    output: &Output,
) -> Result<ExitCode> {
    let detail = studio.character(&arguments.character)?;
    if arguments.stage == Stage::Grpo {
        return refine(studio, arguments, &detail.id, &detail.draft.name, output);
    }
    let recipe = recipe(studio, arguments)?;
    if arguments.dry_run {
        let plan = studio.sft_plan(&detail.id, &recipe, arguments.seed)?;
        let mut findings = studio.check_room(&detail.id, &recipe)?;
        findings.extend(studio.check_character(&detail.id)?);
        output.result(&json!({"plan": plan, "recipe": recipe, "findings": findings}), || {
            let found =
                findings.iter().map(|f| format!("\n{}: {}. {}", f.severity, f.message, f.hint));
            format!("{}{}", plan.to_text(), found.collect::<String>())
        });
        return Ok(ExitCode::SUCCESS);
    }
    studio.refuse_when_busy()?;
    let run = if arguments.resume {
        studio.resumable_run(&detail.id, "sft")?
    } else {
        studio.require_room(&detail.id, &recipe)?;
        studio.create_run_with(&detail.id, arguments.seed, recipe)?
    };
    work(studio, &run, &detail.draft.name, output)
}

/// Stage 2.
fn refine(
    studio: &Studio,
    arguments: &TrainArguments,
    id: &str,
    name: &str,
    output: &Output,
) -> Result<ExitCode> {
    if arguments.like.is_some() {
        bail!(
            "--like takes the recipe of an earlier run of stage 1, which has none for stage 2; \
             choose one by --recipe, and change numbers by --set"
        )
    }
    let epochs = arguments.steps.map(|steps| format!("epochs={steps}"));
    let changes: Vec<String> = arguments.changes.iter().cloned().chain(epochs).collect();
    let profile = studio.grpo_profile(arguments.recipe.as_deref(), &changes)?;
    if arguments.dry_run {
        let plan = studio.grpo_plan(id, &profile)?;
        output.result(&json!({"plan": plan, "profile": profile}), || plan.to_text());
        return Ok(ExitCode::SUCCESS);
    }
    studio.refuse_when_busy()?;
    let run = if arguments.resume {
        studio.resumable_run(id, "grpo")?
    } else {
        studio.require_room_to_refine(id, &profile)?;
        studio.create_grpo_run(id, arguments.seed, profile)?
    };
    work(studio, &run, name, output)
}

/// Works on a run until it ends, then lets the next one begin that a window has queued.
fn work(studio: &Studio, run: &Path, name: &str, output: &Output) -> Result<ExitCode> {
    troupe_api::products(run)?.choose();
    let interrupts = interrupts()?;
    if !output.json {
        output.note(&format!("run folder: {}", run.display()));
        output.note("Ctrl-C pauses after this step; a second one ends at once.");
    }
    let bar = output.progress(0);
    let outcome = troupe_api::work(run, &mut |event| {
        show(event, &bar, output);
        if interrupts.load(Ordering::Relaxed) > 0 { Control::Pause } else { Control::Continue }
    })?;
    bar.finish_and_clear();
    if let Err(error) = studio.start_next_run() {
        output.note(&format!("the next run in the queue could not be started: {error}"));
    }
    output.result(&json!({"type": "result", "outcome": outcome, "run": run}), || match outcome {
        Outcome::Finished => format!("{name} has been taught. Try: troupe chat {name:?}"),
        Outcome::Paused => format!("Paused. Go on with: troupe train {name:?} --resume"),
        Outcome::Stopped => format!("Stopped. {name} keeps what was learned so far."),
    });
    Ok(ExitCode::SUCCESS)
}

/// The recipe that the arguments describe.
fn recipe(studio: &Studio, arguments: &TrainArguments) -> Result<SftRecipe> {
    let steps = arguments.steps.map(|steps| format!("num_steps={steps}"));
    let changes: Vec<String> = arguments.changes.iter().cloned().chain(steps).collect();
    let Some(run) = &arguments.like else {
        return Ok(studio.recipe(arguments.recipe.as_deref(), &changes, None)?);
    };
    let mut recipe = studio.recipe_of_run(run)?;
    for change in &changes {
        recipe = recipe.set(change).map_err(ApiError::from)?;
    }
    Ok(recipe)
}

/// Counts interrupts: the first asks for a pause, the second ends the process at once.
pub(crate) fn interrupts() -> Result<Arc<AtomicUsize>> {
    let interrupts = Arc::new(AtomicUsize::new(0));
    let seen = interrupts.clone();
    ctrlc::set_handler(move || {
        if seen.fetch_add(1, Ordering::Relaxed) > 0 {
            std::process::exit(130);
        }
    })
    .context("listening for Ctrl-C")?;
    Ok(interrupts)
}

/// Shows an event to a person, or prints it as a JSON line.
pub(crate) fn show(event: &TrainEvent, bar: &indicatif::ProgressBar, output: &Output) {
    if output.json {
        output.json(event);
        return;
    }
    match event {
        TrainEvent::Started {
            step,
            num_steps,
            num_trainable,
            num_text_samples,
            num_picture_samples,
        } => {
            bar.set_length(*num_steps as u64);
            bar.set_position(*step as u64);
            let millions = *num_trainable as f64 / 1e6;
            output.note(&format!(
                "{num_text_samples} texts, {num_picture_samples} picture samples, {millions:.1} M values to learn"
            ));
        }
        TrainEvent::Phase { label, .. } => bar.set_message(label.clone()),
        TrainEvent::Step { step, ce, mse, .. } => {
            bar.set_position(*step as u64);
            let part = |label: &str, x: &Option<f64>| {
                x.map_or(String::new(), |x| format!("{label} {x:.3} "))
            };
            bar.set_message(format!("{}{}", part("text", ce), part("picture", mse)));
        }
        TrainEvent::Validation { step, ce, mse } => {
            let part = |x: &Option<f64>| x.map_or("-".into(), |x| format!("{x:.3}"));
            bar.suspend(|| {
                output.note(&format!(
                    "step {step}: held-out text {}, pictures {}",
                    part(ce),
                    part(mse)
                ))
            });
        }
        TrainEvent::Sample { step, prompt, text: Some(text), .. } => {
            bar.suspend(|| output.note(&format!("step {step}: {prompt}\n    → {text}")));
        }
        TrainEvent::Sample { step, file: Some(file), .. } => {
            bar.suspend(|| output.note(&format!("step {step}: picture {file}")));
        }
        TrainEvent::Epoch(done) => {
            bar.set_position(done.epoch as u64);
            bar.suspend(|| {
                output.note(&format!(
                    "epoch {}: reward {:.4} ± {:.4}, {:.0} % clipped",
                    done.epoch,
                    done.reward.mean,
                    done.reward.std,
                    (done.clip_low + done.clip_high) * 100.
                ))
            });
        }
        TrainEvent::Group { epoch, prompt, file, .. } => {
            bar.suspend(|| output.note(&format!("epoch {epoch}: {prompt}: {file}")));
        }
        TrainEvent::Trial(trial) => {
            let other: String =
                trial.independent.iter().map(|(name, x)| format!(", {name} {x:.4}")).collect();
            bar.suspend(|| {
                output.note(&format!(
                    "epoch {}: kept-back prompts {:.4} ± {:.4}, diversity {:.4}{other}",
                    trial.epoch, trial.reward, trial.reward_error, trial.diversity
                ))
            });
        }
        TrainEvent::Alarm { why: remark, .. } | TrainEvent::Note(remark) => {
            bar.suspend(|| output.note(&remark.text))
        }
        TrainEvent::Sample { .. } | TrainEvent::Checkpoint { .. } | TrainEvent::Ended { .. } => {}
    }
}

pub(crate) fn worker(
    run: &Path,
    output: &Output,
    open: impl FnOnce() -> Result<Studio>,
) -> Result<ExitCode> {
    let run: PathBuf = run.to_path_buf();
    let worked = troupe_api::products(&run)
        .map(Products::choose)
        .and_then(|()| troupe_api::work(&run, &mut |_| Control::Continue))
        .inspect_err(|error| output.note(&format!("training failed: {error}")));
    // The next in the queue begins even when no window is open, and whatever became of this one.
    let next = open().and_then(|studio| Ok(studio.start_next_run()?));
    if let Err(error) = next {
        output.note(&format!("the next run in the queue could not be started: {error:#}"));
    }
    worked?;
    Ok(ExitCode::SUCCESS)
}
