//! `troupe pretrain`: the stages of making a base model.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use troupe_api::ApiError;
use troupe_model::config::ModelConfig;
use troupe_nn::precision::Products;
use troupe_train::{
    error::TrainResult,
    events::{Control, Outcome, Watcher},
    pretrain::{
        self, GENERATION_FILE, PretrainJob, RunSettings, VISION_FILE, connector::ConnectorJob,
        few_shot::FewShotJob, vision::VisionJob,
    },
    recipe::SftRecipe,
};

use crate::{
    output::Output,
    train::{interrupts, show},
};

/// A stage of making a base model.
#[derive(Debug, Subcommand)]
pub(crate) enum PretrainStage {
    /// The vision tower with its text tower, by comparing pictures with captions.
    #[command(
        after_help = "Example: troupe pretrain vision --model my-model --data pictures --held held --out run"
    )]
    Vision {
        #[command(flatten)]
        common: StageArguments,
        /// Pictures per step.
        #[arg(long, default_value_t = VisionJob::default().pictures)]
        pictures: usize,
        /// Let the towers and the connector that the base holds go on learning, not fresh ones.
        #[arg(long)]
        go_on: bool,
    },
    /// The connector to the understanding expert, by questions about pictures.
    #[command(
        after_help = "Example: troupe pretrain connector --model my-model --data pictures --held held --out run"
    )]
    Connector {
        #[command(flatten)]
        common: StageArguments,
        /// Pictures per step.
        #[arg(long, default_value_t = ConnectorJob::default().pictures)]
        pictures: usize,
        /// Questions per picture and step.
        #[arg(long, default_value_t = ConnectorJob::default().questions)]
        questions: usize,
        /// Held-out pictures that are asked about when measuring.
        #[arg(long, default_value_t = ConnectorJob::default().held_pictures)]
        held_pictures: usize,
    },
    /// The generation expert, by flow matching on captioned pictures.
    #[command(
        after_help = "Example: troupe pretrain generation --model my-model --data pictures --held held --out run"
    )]
    Generation {
        #[command(flatten)]
        common: StageArguments,
        /// Captions per step.
        #[arg(long, default_value_t = PretrainJob::default().captions)]
        captions: usize,
        /// Noise draws per caption; more of them share the reading of the caption.
        #[arg(long, default_value_t = PretrainJob::default().draws)]
        draws: usize,
        /// How many times the loss counts again where `details.u8` of the pictures marks what small words
        /// decide, such as expressions.
        #[arg(long, default_value_t = PretrainJob::default().detail_weight, value_name = "WEIGHT")]
        details: f64,
        /// With --measure: captions that are drawn and read.
        #[arg(long, default_value_t = 200)]
        prompts: usize,
        /// With --measure: folder for a sheet of the pictures and the confusion tables.
        #[arg(long)]
        report: Option<PathBuf>,
    },
}

/// What `troupe pretrain` does.
#[derive(Debug, Subcommand)]
pub(crate) enum PretrainCommand {
    #[command(flatten)]
    Stage(PretrainStage),
    /// Teach identities from ten pictures each and ask for expressions that they were never shown with.
    #[command(
        after_help = "Example: troupe pretrain few-shot --model my-model --data identities --out run"
    )]
    FewShot(FewShotArguments),
}

#[derive(Debug, Args)]
pub(crate) struct FewShotArguments {
    /// Folder that `fewshot.mjs` wrote.
    #[arg(long)]
    data: PathBuf,
    /// Folder for adapters, sheets and results; what it holds already is not done again.
    #[arg(long)]
    out: PathBuf,
    /// Identities, at most.
    #[arg(long, default_value_t = 20)]
    identities: usize,
    /// Drawings of each caption.
    #[arg(long, default_value_t = 1)]
    draws: usize,
    /// Seed of teaching and drawing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A preset of `troupe train` or a TOML file; the base's recipe when absent.
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Change one number of the recipe, such as `num_steps=100`; may be given again.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

/// What all stages are told.
#[derive(Debug, Args)]
pub(crate) struct StageArguments {
    /// Folder that `render.mjs` wrote, to learn from.
    #[arg(long, required_unless_present = "measure")]
    data: Option<PathBuf>,
    /// The same with pictures that are kept back.
    #[arg(long)]
    held: PathBuf,
    /// The run's folder; an unfinished run in it goes on.
    #[arg(long, required_unless_present = "measure")]
    out: Option<PathBuf>,
    /// Optimiser steps; the stage's when absent.
    #[arg(long)]
    steps: Option<usize>,
    /// Peak learning rate; the stage's when absent.
    #[arg(long)]
    rate: Option<f64>,
    /// Steps between measurements; the stage's when absent.
    #[arg(long)]
    sample_every: Option<usize>,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only measure what the base can do on the pictures that are kept back.
    #[arg(long, conflicts_with_all = ["data", "out", "steps"])]
    measure: bool,
}

impl StageArguments {
    fn settings(&self, model: &Path, stage: RunSettings) -> RunSettings {
        RunSettings {
            model_dir: model.to_path_buf(),
            data_dir: self.data.clone().unwrap_or_default(),
            held_dir: self.held.clone(),
            run_dir: self.out.clone().unwrap_or_default(),
            seed: self.seed,
            num_steps: self.steps.unwrap_or(stage.num_steps),
            learning_rate: self.rate.unwrap_or(stage.learning_rate),
            sample_every: self.sample_every.unwrap_or(stage.sample_every),
            ..stage
        }
    }
}

impl PretrainStage {
    fn common(&self) -> &StageArguments {
        match self {
            Self::Vision { common, .. }
            | Self::Connector { common, .. }
            | Self::Generation { common, .. } => common,
        }
    }

    fn run(&self, model: &Path, watch: Watcher) -> TrainResult<Outcome> {
        match self {
            Self::Vision { common, pictures, go_on } => {
                let settings = common.settings(model, VisionJob::default().settings);
                let job = VisionJob { settings, pictures: *pictures, goes_on: *go_on };
                pretrain::vision::run(&job, watch)
            }
            Self::Connector { common, pictures, questions, held_pictures } => {
                let settings = common.settings(model, ConnectorJob::default().settings);
                let (pictures, questions) = (*pictures, *questions);
                let held_pictures = *held_pictures;
                let job = ConnectorJob { settings, pictures, questions, held_pictures };
                pretrain::connector::run(&job, watch)
            }
            Self::Generation { common, captions, draws, details, .. } => {
                let job = PretrainJob::default();
                let settings = common.settings(model, job.settings.clone());
                let (captions, draws, detail_weight) = (*captions, *draws, *details);
                let job = PretrainJob { settings, captions, draws, detail_weight, ..job };
                pretrain::run(&job, watch)
            }
        }
    }

    fn measure(&self, model: &Path, output: &Output) -> Result<()> {
        let held = &self.common().held;
        match self {
            Self::Vision { .. } => {
                let measured = pretrain::vision::measure(model, held).map_err(ApiError::from)?;
                output.result(&measured, || measured.to_string());
            }
            Self::Connector { held_pictures, .. } => {
                let measured = pretrain::connector::measure(model, held, *held_pictures)
                    .map_err(ApiError::from)?;
                output.result(&measured, || measured.to_string());
            }
            Self::Generation { prompts, report, .. } => {
                let report = report.as_deref();
                let measured = pretrain::following::measure(model, held, *prompts, report)
                    .map_err(ApiError::from)?;
                output.result(&measured, || measured.to_string());
            }
        }
        Ok(())
    }
}

pub(crate) fn pretrain(
    command: &PretrainCommand,
    model: Option<&Path>,
    output: &Output,
) -> Result<ExitCode> {
    let model = model.context("name the base model's folder with --model")?;
    let stage = match command {
        PretrainCommand::Stage(stage) => stage,
        PretrainCommand::FewShot(arguments) => return few_shot(arguments, model, output),
    };
    let common = stage.common();
    if common.measure {
        stage.measure(model, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    Products::Bf16.choose();
    let (interrupts, bar) = (interrupts()?, output.progress(0));
    let outcome = stage
        .run(model, &mut |event| {
            show(&event, &bar, output);
            if interrupts.load(Ordering::Relaxed) > 0 { Control::Pause } else { Control::Continue }
        })
        .map_err(ApiError::from)?;
    bar.finish_and_clear();
    let file = match stage {
        PretrainStage::Generation { .. } => GENERATION_FILE,
        PretrainStage::Vision { .. } | PretrainStage::Connector { .. } => VISION_FILE,
    };
    output.result(&json!({"type": "result", "outcome": outcome, "run": common.out}), || {
        let file = common.out.clone().unwrap_or_default().join(file);
        format!("{outcome:?}. The weights so far: {}", file.display())
    });
    Ok(ExitCode::SUCCESS)
}

fn few_shot(arguments: &FewShotArguments, model: &Path, output: &Output) -> Result<ExitCode> {
    let mut recipe = match &arguments.recipe {
        Some(name) => SftRecipe::find(name),
        None => SftRecipe::for_base(&ModelConfig::from_dir(model).map_err(ApiError::from)?),
    }
    .map_err(ApiError::from)?;
    for change in &arguments.changes {
        recipe = recipe.set(change).map_err(ApiError::from)?;
    }
    let job = FewShotJob {
        model_dir: model.to_path_buf(),
        data_dir: arguments.data.clone(),
        run_dir: arguments.out.clone(),
        seed: arguments.seed,
        recipe,
        identities: arguments.identities,
        draws: arguments.draws,
    };
    job.recipe.products.choose();
    let (interrupts, bar) = (interrupts()?, output.progress(0));
    let measured = pretrain::few_shot::measure(
        &job,
        &mut |event| {
            show(&event, &bar, output);
            if interrupts.load(Ordering::Relaxed) > 0 { Control::Pause } else { Control::Continue }
        },
        &mut |result| bar.suspend(|| output.note(&result.to_string())),
    )
    .map_err(ApiError::from)?;
    bar.finish_and_clear();
    match measured {
        Some(measured) => output.result(&measured, || measured.to_string()),
        None => output.note("Paused. The same command goes on."),
    }
    Ok(ExitCode::SUCCESS)
}
