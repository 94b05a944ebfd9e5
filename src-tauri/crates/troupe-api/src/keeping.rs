//! What a run that stands still has learned, kept for good.
//!
//! A running run that is stopped writes its adapter itself. One that is paused, was interrupted or
//! failed has only its checkpoints: a worker makes the adapter from the newest of them, as stopping
//! there would have, without a further step.

use std::{collections::HashMap, path::Path};

use candle_core::Tensor;
use serde::Deserialize;
use troupe_character::Character;
use troupe_jobs::{RunFolder, Status};
use troupe_model::{adapter::adapter_file, runtime::ModelFiles, weights::hash_files};
use troupe_train::{
    checkpoint,
    error::{TrainError, TrainResult},
    grpo::{
        alarm::Trials,
        policy::Student,
        trainer::{GrpoJob, TRIALS},
    },
    sft::{BEST, CHECKPOINTS, SftJob},
    taught::{Material, save_grpo, save_sft},
};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    training::{Job, run_file},
    wire::RunSummary,
};

/// File that asks a run's worker to keep what there is instead of going on.
const MARK: &str = "keep";

/// Of a checkpoint of stage 1: how far it is.
#[derive(Debug, Deserialize)]
struct SftState {
    step: usize,
}

/// Of a checkpoint of stage 2: how far it is, and the hash of the adapter that it began with.
#[derive(Debug, Deserialize)]
struct GrpoState {
    epoch: usize,
    stage1: String,
}

fn no_checkpoint() -> ApiError {
    let hint = "Resume it, or delete it.";
    ApiError::new(ErrorCode::BadRequest, "this run has no checkpoint to keep", hint)
        .because(ErrorCause::NothingLearned)
}

/// The step of the newest checkpoint, by the name of its folder.
fn newest(run_dir: &Path) -> Option<usize> {
    let last = checkpoint::list(&run_dir.join(CHECKPOINTS)).pop()?;
    last.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

/// The epoch whose weights are worth keeping, of those up to `epoch`.
fn best_epoch(job: &GrpoJob, epoch: usize) -> TrainResult<usize> {
    let mut trials = Trials::load(&job.run_dir.join(TRIALS))?;
    trials.rewind(epoch);
    Ok(trials.best(&job.profile.watch).unwrap_or(epoch))
}

/// Takes the request to keep what there is from a run's folder; true when there was one.
pub(crate) fn take_request(run: &RunFolder) -> bool {
    std::fs::remove_file(run.dir().join(MARK)).is_ok()
}

/// Writes the adapter of a run from its newest checkpoint; returns the step it is of.
pub(crate) fn export(job: &Job) -> ApiResult<usize> {
    let exported = match job {
        Job::Sft(job) => export_sft(job)?,
        Job::Grpo(job) => export_grpo(job)?,
    };
    exported.ok_or_else(no_checkpoint)
}

/// Tensors of a checkpoint by the names of what learned: its averages where it has them.
fn learned(tensors: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let named = |prefix: &str| -> HashMap<String, Tensor> {
        let of = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        tensors.iter().filter_map(of).collect()
    };
    let mut learned = named("weight.");
    learned.extend(named("average."));
    learned
}

fn export_sft(job: &SftJob) -> TrainResult<Option<usize>> {
    let found = checkpoint::load_latest::<SftState>(&job.run_dir.join(CHECKPOINTS))?;
    let Some((tensors, state)) = found else { return Ok(None) };
    let base_hash = hash_files(&ModelFiles::find(&job.model_dir)?.all())?;
    let character = Character::load(&job.character_dir)?;
    save_sft(job, &learned(&tensors), &base_hash, &Material::of(&character)?, state.step)?;
    Ok(Some(state.step))
}

fn export_grpo(job: &GrpoJob) -> TrainResult<Option<usize>> {
    let found = checkpoint::load_latest::<GrpoState>(&job.run_dir.join(CHECKPOINTS))?;
    let Some((mut tensors, state)) = found else { return Ok(None) };
    let stage1 = hash_files(&[adapter_file(&job.adapter_dir)])?;
    if stage1 != state.stage1 {
        return Err(TrainError::Malformed {
            what: "the checkpoint",
            reason: "the stage-1 adapter has changed since; start a new run".into(),
            path: job.adapter_dir.clone(),
        });
    }
    let kept = best_epoch(job, state.epoch)?;
    if kept != state.epoch {
        (tensors, _) = checkpoint::load_from::<usize>(&job.run_dir.join(BEST))?;
    }
    let student = Student::load(&job.model_dir, &job.adapter_dir, &job.profile.optim, job.seed)?;
    student.swap(&learned(&tensors))?;
    let character = Character::load(&job.character_dir)?;
    save_grpo(job, &student, &stage1, &Material::of(&character)?, kept)?;
    Ok(Some(kept))
}

impl Studio {
    /// A run that stands still with something to keep, and the step whose weights that is.
    fn keepable(&self, id: &str) -> ApiResult<(RunFolder, Job, usize)> {
        let run = self.run_folder(id)?;
        match run.state()?.status {
            Status::Paused | Status::Interrupted | Status::Failed => {}
            Status::Finished | Status::Stopped => {
                let error = ApiError::new(ErrorCode::BadRequest, "this run has ended", "");
                return Err(error.because(ErrorCause::RunEnded));
            }
            Status::Waiting | Status::Running => {
                let message = "this is still going on or has its turn";
                let error =
                    ApiError::new(ErrorCode::Busy, message, "Stop it, or wait for its end.");
                return Err(error.because(ErrorCause::StillOn));
            }
        }
        let job = run_file(&run)?.job;
        let newest = newest(run.dir()).ok_or_else(no_checkpoint)?;
        let step = match &job {
            Job::Sft(_) => newest,
            Job::Grpo(job) => best_epoch(job, newest)?,
        };
        Ok((run, job, step))
    }

    /// The step (of stage 2: the epoch) whose weights [`Studio::keep_run`] would keep.
    ///
    /// # Errors
    /// When the run does not exist, goes on, has ended, or has no checkpoint.
    pub fn run_keeping(&self, id: &str) -> ApiResult<u32> {
        Ok(self.keepable(id)?.2 as u32)
    }

    /// Ends a paused, interrupted or failed run for good and gives its character what it learned until
    /// its newest checkpoint, in a process of its own.
    ///
    /// # Errors
    /// Like [`Studio::run_keeping`], when another run is on, or when the process cannot be started.
    pub fn keep_run(&self, id: &str) -> ApiResult<RunSummary> {
        let (run, job, _) = self.keepable(id)?;
        self.refuse_when_busy()?;
        if let Job::Grpo(_) = job {
            self.make_room(self.needs_of(&run)?)?; // it loads the base; stage 1 does not
        }
        crate::write_atomic(&run.dir().join(MARK), b"")?;
        if let Err(error) = self.spawn(&run) {
            take_request(&run);
            return Err(error);
        }
        self.run_summary(id)
    }
}
