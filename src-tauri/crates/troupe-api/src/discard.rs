//! Runs and evaluations that leave the history, and their way back.
//!
//! What is deleted moves into `trash/` of the data folder, with the adapter that a character had from
//! it, and can be brought back from there until it is discarded (`trash.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use troupe_jobs::{RunFolder, Status};

use crate::{
    Studio,
    characters::{adapter_dirs, adapter_item},
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    training::{being_evaluated, is_queued, run_file},
    wire::{RunDeletion, RunSummary},
};

/// Of an entry of the trash: what the history had, and what the character had.
pub(crate) const RUN: &str = "run";
const ADAPTER: &str = "adapter";

fn not_there(id: &str) -> ApiError {
    let message = format!("nothing called {id} was deleted here");
    ApiError::new(ErrorCode::NotFound, message, "").because(ErrorCause::NoSuchEntry)
}

/// Where a character has what the run `id` taught it.
fn adapter_of(character_dir: &Path, id: &str) -> PathBuf {
    character_dir.join("adapters").join(id)
}

/// Refuses what goes on or is about to.
pub(crate) fn require_ended(run: &RunFolder) -> ApiResult<()> {
    let is_on = matches!(run.state()?.status, Status::Waiting | Status::Running);
    if is_on || run.is_taken() || is_queued(run) {
        let hint = "Stop it first, or wait until it has ended.";
        let error = ApiError::new(ErrorCode::Busy, "this is still going on or has its turn", hint);
        return Err(error.because(ErrorCause::StillOn));
    }
    Ok(())
}

/// Bytes of the files under `dir`; those that cannot be read count as nothing.
pub(crate) fn folder_bytes(dir: &Path) -> f64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
        Ok(about) => about.len() as f64,
        Err(_) => 0.,
    };
    entries.map(bytes).sum()
}

pub(crate) fn move_folder(from: &Path, to: &Path) -> ApiResult<()> {
    let moved = match to.parent() {
        Some(parent) => fs::create_dir_all(parent).and_then(|()| fs::rename(from, to)),
        None => fs::rename(from, to),
    };
    moved.map_err(|e| {
        let message = format!("a folder could not be moved: {e} ({})", from.display());
        ApiError::new(ErrorCode::Storage, message, "Is the folder write-protected or in use?")
            .because(ErrorCause::FileFailed)
            .with("path", from.display())
            .with("reason", e)
    })
}

/// Moves `from` to `to`, and takes the move of `before` back when that fails.
fn move_after(before: (&Path, &Path), from: &Path, to: &Path) -> ApiResult<()> {
    move_folder(from, to).inspect_err(|_| {
        if let Err(error) = move_folder(before.1, before.0) {
            tracing::error!("what was half moved could not be moved back: {error}");
        }
    })
}

impl Studio {
    /// Folder that holds what was deleted of a kind.
    pub(crate) fn trash(&self, kind: &str) -> PathBuf {
        self.home().join("trash").join(kind)
    }

    /// An entry of the trash. Ids are names of folders there; anything else does not exist.
    fn trashed(&self, kind: &str, id: &str) -> ApiResult<PathBuf> {
        let is_name = !id.is_empty() && !id.starts_with('.') && !id.contains(['/', '\\']);
        let holder = self.trash(kind).join(id);
        if is_name && holder.join(RUN).is_dir() { Ok(holder) } else { Err(not_there(id)) }
    }

    /// Folder of the character whom a run taught, wherever that is now; none when it is gone.
    fn taught_character(&self, run: &RunFolder) -> ApiResult<Option<PathBuf>> {
        let character = self.library().find(&run_file(run)?.character_id);
        Ok(character.ok().map(|entry| entry.dir))
    }

    /// Refuses to take away an adapter that something which goes on is made from.
    fn require_unneeded(&self, character_dir: &Path, adapter: &Path) -> ApiResult<()> {
        let begins_here = |run: &RunFolder| {
            run_file(run).is_ok_and(|file| file.job.begins_with() == Some(adapter))
                && run
                    .state()
                    .is_ok_and(|state| !matches!(state.status, Status::Finished | Status::Stopped))
        };
        if RunFolder::list(&self.runs_dir()).iter().any(begins_here) {
            let hint = "Let that run end, or delete it first.";
            let message = "a run of stage 2 goes on from what this one taught";
            let error = ApiError::new(ErrorCode::Busy, message, hint);
            return Err(error.because(ErrorCause::RunNeeded));
        }
        match self.evaluation_of(character_dir) {
            Some(names) => Err(being_evaluated(&names)),
            None => Ok(()),
        }
    }

    /// What deleting a run would mean.
    ///
    /// # Errors
    /// When it does not exist, goes on or has its turn, or something that goes on needs what it
    /// taught.
    pub fn run_deletion(&self, id: &str) -> ApiResult<RunDeletion> {
        let run = self.run_folder(id)?;
        require_ended(&run)?;
        let mut deletion = RunDeletion {
            size_bytes: folder_bytes(run.dir()),
            is_in_use: false,
            falls_back_to: None,
        };
        if let Some(character) = self.taught_character(&run)? {
            let (adapter, all) = (adapter_of(&character, id), adapter_dirs(&character));
            if adapter.exists() {
                self.require_unneeded(&character, &adapter)?;
            }
            deletion.size_bytes += folder_bytes(&adapter);
            deletion.is_in_use = all.first() == Some(&adapter);
            let next = all.get(1).filter(|_| deletion.is_in_use);
            deletion.falls_back_to = next.and_then(|dir| adapter_item(dir));
        }
        Ok(deletion)
    }

    /// Moves a run to the trash, with what its character learned from it.
    ///
    /// # Errors
    /// Like [`Studio::run_deletion`], or when a folder cannot be moved; then all is as it was.
    pub fn delete_run(&self, id: &str) -> ApiResult<()> {
        self.run_deletion(id)?;
        let run = self.run_folder(id)?;
        let adapter = self.taught_character(&run)?.map(|dir| adapter_of(&dir, id));
        let holder = self.trash("runs").join(id);
        // In this order a process that is killed in between leaves the character as it was.
        move_folder(run.dir(), &holder.join(RUN))?;
        match adapter.filter(|dir| dir.exists()) {
            Some(dir) => move_after((run.dir(), &holder.join(RUN)), &dir, &holder.join(ADAPTER)),
            None => Ok(()),
        }
    }

    /// Brings a deleted run back, with what its character had learned from it.
    ///
    /// # Errors
    /// When the trash does not hold it, its character is gone, or a folder cannot be moved; then all
    /// is as it was.
    pub fn restore_run(&self, id: &str) -> ApiResult<RunSummary> {
        let holder = self.trashed("runs", id)?;
        let (kept, back) = (holder.join(RUN), self.runs_dir().join(id));
        let adapter = holder.join(ADAPTER);
        if !adapter.exists() {
            move_folder(&kept, &back)?;
        } else {
            let run = RunFolder::open(&kept)?;
            let Some(character) = self.taught_character(&run)? else {
                let name = run_file(&run)?.character_name;
                let message = format!("{name} is not there to take back what the run taught");
                let error = ApiError::new(ErrorCode::NotFound, message, "Restore it first.");
                return Err(error.because(ErrorCause::NoSuchCharacter).with("name", name));
            };
            let taught = adapter_of(&character, id);
            move_folder(&adapter, &taught)?;
            move_after((&adapter, &taught), &kept, &back)?;
        }
        discard_empty(&holder);
        self.run_summary(id)
    }

    /// Bytes that deleting an evaluation frees.
    ///
    /// # Errors
    /// When it does not exist, or goes on or has its turn.
    pub fn evaluation_deletion(&self, id: &str) -> ApiResult<f64> {
        Ok(folder_bytes(&self.ended_evaluation_dir(id)?))
    }

    /// Moves an evaluation to the trash.
    ///
    /// # Errors
    /// Like [`Studio::evaluation_deletion`], or when its folder cannot be moved.
    pub fn delete_evaluation(&self, id: &str) -> ApiResult<()> {
        let dir = self.ended_evaluation_dir(id)?;
        move_folder(&dir, &self.trash("evaluations").join(id).join(RUN))
    }

    /// Brings a deleted evaluation back.
    ///
    /// # Errors
    /// When the trash does not hold it, or its folder cannot be moved.
    pub fn restore_evaluation(&self, id: &str) -> ApiResult<()> {
        let holder = self.trashed("evaluations", id)?;
        move_folder(&holder.join(RUN), &self.evaluations_dir().join(id))?;
        discard_empty(&holder);
        Ok(())
    }
}

/// Clears an entry of the trash away that has nothing left.
fn discard_empty(holder: &Path) {
    if let Err(error) = fs::remove_dir(holder) {
        tracing::debug!("an empty folder stays in the trash: {error} ({})", holder.display());
    }
}
