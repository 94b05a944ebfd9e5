//! Teaching: plans, runs and the worker.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use troupe_character::{Character, checks, samples};
use troupe_jobs::{Request, RunFolder, State, Status};
use troupe_nn::precision::Products;
use troupe_train::{
    estimate::{estimate, recipe_samples},
    events::{Control, Outcome, RunPhase, TrainEvent},
    grpo::{
        profile::GrpoProfile,
        trainer::{self, GrpoJob},
    },
    recipe::SftRecipe,
    sft::{self, SftJob},
};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    keeping, now_ms, refining,
    room::Needs,
    wire::{
        CurvePoint, FindingItem, KindItem, RunDetail, RunSummary, SampleItem, StartTraining,
        TrainingPlan,
    },
};

/// What `run.toml` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) kind: String,
    pub(crate) character_id: String,
    pub(crate) character_name: String,
    pub(crate) created_ms: f64,
    pub(crate) job: Job,
}

/// What a run does. Only stage 2 names an adapter, which tells the two apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Job {
    /// Stage 2.
    Grpo(Box<GrpoJob>),
    /// Stage 1.
    Sft(Box<SftJob>),
}

impl Job {
    fn num_steps(&self) -> usize {
        match self {
            Self::Grpo(job) => job.profile.epochs,
            Self::Sft(job) => job.recipe.num_steps,
        }
    }

    fn seed(&self) -> u64 {
        match self {
            Self::Grpo(job) => job.seed,
            Self::Sft(job) => job.seed,
        }
    }

    fn character_dir(&self) -> &Path {
        match self {
            Self::Grpo(job) => &job.character_dir,
            Self::Sft(job) => &job.character_dir,
        }
    }

    /// The adapter that it goes on from.
    pub(crate) fn begins_with(&self) -> Option<&Path> {
        match self {
            Self::Grpo(job) => Some(&job.adapter_dir),
            Self::Sft(_) => None,
        }
    }

    /// Numbers of stage 1; the default for a run of stage 2.
    fn recipe(&self) -> SftRecipe {
        match self {
            Self::Grpo(_) => SftRecipe::default(),
            Self::Sft(job) => job.recipe.clone(),
        }
    }
}

/// An event as it is kept, with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvents {
    /// Milliseconds since 1970.
    pub at_ms: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: TrainEvent,
}

/// Seed of runs that name none.
const SEED: u32 = 1;

pub(crate) fn run_file(run: &RunFolder) -> ApiResult<RunFile> {
    toml::from_str(&run.run_toml()?).map_err(|e| {
        let message = format!("the run's settings are unreadable: {e} ({})", run.dir().display());
        ApiError::new(ErrorCode::Storage, message, "Start a new run.")
            .because(ErrorCause::RunUnreadable)
            .with("path", run.dir().display())
    })
}

/// The recipe of an earlier run.
pub(crate) fn recipe_of(run: &RunFolder) -> ApiResult<SftRecipe> {
    match run_file(run)?.job {
        Job::Sft(job) => Ok(job.recipe),
        Job::Grpo(_) => Err(ApiError::new(
            ErrorCode::BadRequest,
            "this run belongs to stage 2 and has no recipe of stage 1",
            "Name a run of stage 1.",
        )),
    }
}

/// The profile of an earlier run.
fn profile_of(run: &RunFolder) -> ApiResult<GrpoProfile> {
    match run_file(run)?.job {
        Job::Grpo(job) => Ok(job.profile),
        Job::Sft(_) => Err(ApiError::new(
            ErrorCode::BadRequest,
            "this run belongs to stage 1 and has no profile of stage 2",
            "Name a run of stage 2.",
        )),
    }
}

/// Creates a run's folder.
pub(crate) fn write_run(dir: &Path, file: &RunFile) -> ApiResult<()> {
    let text = toml::to_string_pretty(file)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("the run's settings: {e}"), ""))?;
    RunFolder::create(dir, &text)?;
    Ok(())
}

pub(crate) fn status_word(status: Status) -> String {
    match status {
        Status::Waiting => "waiting",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Interrupted => "interrupted",
        Status::Finished => "finished",
        Status::Stopped => "stopped",
        Status::Failed => "failed",
    }
    .into()
}

/// Longest that a worker takes to free its memory and leave.
const LEAVING: Duration = Duration::from_secs(10);

/// File that marks a run as waiting for the one that is on.
const QUEUED: &str = "queued";

pub(crate) fn is_queued(run: &RunFolder) -> bool {
    run.dir().join(QUEUED).exists()
}

/// Takes a run out of the queue; true when it was in it.
fn leave_queue(run: &RunFolder) -> bool {
    std::fs::remove_file(run.dir().join(QUEUED)).is_ok()
}

/// The error of what cannot be done while an evaluation is on.
pub(crate) fn being_evaluated(names: &str) -> ApiError {
    let hint = "Wait until it is done, or stop it under Evaluate; it can go on later.";
    ApiError::new(ErrorCode::Busy, format!("{names} is being evaluated"), hint)
        .because(ErrorCause::BeingEvaluated)
        .with("names", names)
}

fn summary(run: &RunFolder) -> ApiResult<RunSummary> {
    let (file, state) = (run_file(run)?, run.state()?);
    Ok(RunSummary {
        id: run.id(),
        character_id: file.character_id,
        character_name: file.character_name,
        kind: file.kind,
        status: if is_queued(run) { "queued".into() } else { status_word(state.status) },
        step: state.step as u32,
        num_steps: state.num_steps.max(file.job.num_steps()) as u32,
        elapsed_secs: state.elapsed_secs,
        eta_secs: state.eta_secs,
        error: state.error.map(Into::into),
        created_ms: file.created_ms,
    })
}

impl Studio {
    pub(crate) fn runs_dir(&self) -> PathBuf {
        self.home().join("runs")
    }

    /// Where a person puts networks that judge: `clip/`, `blip-vqa/`, `lpips.safetensors`.
    pub fn judges_dir(&self) -> PathBuf {
        self.home().join("judges")
    }

    /// A run by id. Ids are folder names of our own making; anything else does not exist.
    pub(crate) fn run_folder(&self, id: &str) -> ApiResult<RunFolder> {
        let safe = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let missing = || {
            let message = format!("there is no run {id}");
            ApiError::new(ErrorCode::NotFound, message, "").because(ErrorCause::NoSuchEntry)
        };
        if !safe {
            return Err(missing());
        }
        RunFolder::open(&self.runs_dir().join(id)).map_err(|_| missing())
    }

    pub(crate) fn run_summary(&self, id: &str) -> ApiResult<RunSummary> {
        summary(&self.run_folder(id)?)
    }

    /// Folder of a run.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn run_dir(&self, id: &str) -> ApiResult<PathBuf> {
        Ok(self.run_folder(id)?.dir().to_path_buf())
    }

    /// The recipe that a request starts from: an earlier run's, else the base's.
    fn usual_recipe(&self, request: &StartTraining) -> ApiResult<SftRecipe> {
        match &request.from_run {
            Some(id) => self.recipe_of_run(id),
            None => self.recipe(None, &[], None),
        }
    }

    /// The same with the numbers of the expert panel, and another number of steps.
    fn changed_recipe(&self, request: &StartTraining) -> ApiResult<SftRecipe> {
        let mut recipe = self.usual_recipe(request)?;
        if let Some(item) = &request.recipe {
            recipe = item.over(recipe)?;
        }
        match request.num_steps {
            Some(steps) => Ok(recipe.set(&format!("num_steps={steps}"))?),
            None => Ok(recipe),
        }
    }

    /// The profile of an earlier run of stage 2.
    pub(crate) fn profile_of_run(&self, id: &str) -> ApiResult<GrpoProfile> {
        profile_of(&self.run_folder(id)?)
    }

    /// What a request to teach would take.
    ///
    /// # Errors
    /// When the character or the run does not exist, or a number is out of range.
    pub fn training_plan(&self, request: &StartTraining) -> ApiResult<TrainingPlan> {
        let (usual, recipe) = (self.usual_recipe(request)?, self.changed_recipe(request)?);
        let character = self.library().load(&request.character_id)?;
        let samples = recipe_samples(&character, &recipe, u64::from(SEED));
        let kinds = samples::counts(&samples)
            .into_iter()
            .map(|(kind, count)| KindItem {
                kind: kind.into(),
                label: kind.label().into(),
                num_train: count.train as u32,
                num_held_out: count.held_out as u32,
            })
            .collect();
        let taken = estimate(self.model_dir(), &recipe, &samples)?;
        let needs = Needs::new(taken.memory_bytes, taken.disk_bytes);
        let mut found = self.room_findings(needs);
        found.extend(findings(&character));
        Ok(TrainingPlan {
            kinds,
            num_steps: recipe.num_steps as u32,
            minutes: taken.minutes(self.trial_speed()),
            memory_mb: needs.memory_mb(),
            disk_mb: needs.disk_mb(),
            findings: found,
            busy_run: self.busy_run(),
            recipe: (&recipe).into(),
            defaults: (&usual).into(),
        })
    }

    /// What a run of stage 1 with these numbers needs.
    pub(crate) fn sft_needs(&self, wanted: &str, recipe: &SftRecipe) -> ApiResult<Needs> {
        let samples = recipe_samples(&self.library().load(wanted)?, recipe, u64::from(SEED));
        let taken = estimate(self.model_dir(), recipe, &samples)?;
        Ok(Needs::new(taken.memory_bytes, taken.disk_bytes))
    }

    /// Refuses a run of stage 1 for which this machine has not enough memory or disk.
    ///
    /// # Errors
    /// When it cannot fit, the character does not exist or the base is unusable.
    pub fn require_room(&self, wanted: &str, recipe: &SftRecipe) -> ApiResult<()> {
        self.refuse_what_cannot_fit(self.sft_needs(wanted, recipe)?)
    }

    /// What stands in the way of a run of stage 1 on this machine: memory or disk that is missing.
    ///
    /// # Errors
    /// When the character does not exist or the base is unusable.
    pub fn check_room(&self, wanted: &str, recipe: &SftRecipe) -> ApiResult<Vec<FindingItem>> {
        Ok(self.room_findings(self.sft_needs(wanted, recipe)?))
    }

    /// Findings about a character in plain words.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn check_character(&self, wanted: &str) -> ApiResult<Vec<FindingItem>> {
        Ok(findings(&self.library().load(wanted)?))
    }

    /// Who is being taught now.
    pub(crate) fn teaching(&self) -> Option<crate::wire::TeachingNow> {
        let run = RunFolder::list(&self.runs_dir()).into_iter().find(RunFolder::is_worked_on)?;
        let file = run_file(&run).ok()?;
        Some(crate::wire::TeachingNow { run_id: run.id(), character_name: file.character_name })
    }

    /// The run that is on now.
    fn busy_run(&self) -> Option<String> {
        RunFolder::list(&self.runs_dir()).into_iter().find(RunFolder::is_taken).map(|r| r.id())
    }

    /// Creates a run for a character without starting it. A bundled character is copied first.
    ///
    /// # Errors
    /// When the character does not exist or the run cannot be written.
    pub fn create_run(&self, request: &StartTraining) -> ApiResult<PathBuf> {
        let recipe = self.changed_recipe(request)?;
        self.create_run_with(&request.character_id, request.seed.unwrap_or(SEED), recipe)
    }

    /// The same with every number given.
    ///
    /// # Errors
    /// When the character does not exist or the run cannot be written.
    pub fn create_run_with(
        &self,
        character_id: &str,
        seed: u32,
        recipe: SftRecipe,
    ) -> ApiResult<PathBuf> {
        let character = self.library().editable(character_id)?;
        let id = uuid::Uuid::now_v7().to_string();
        let dir = self.runs_dir().join(&id);
        let file = RunFile {
            kind: "sft".into(),
            character_id: character.id.clone(),
            character_name: character.name.clone(),
            created_ms: now_ms(),
            job: Job::Sft(Box::new(SftJob {
                model_dir: std::path::absolute(self.model_dir())
                    .unwrap_or_else(|_| self.model_dir().into()),
                character_dir: character.dir.clone(),
                run_dir: dir.clone(),
                seed: u64::from(seed),
                recipe,
            })),
        };
        write_run(&dir, &file)?;
        Ok(dir)
    }

    /// Starts teaching in a process of its own.
    ///
    /// # Errors
    /// When another run is on, the character has nothing to learn from, or the process cannot be
    /// started.
    pub fn start_training(&self, request: &StartTraining) -> ApiResult<RunSummary> {
        let recipe = self.changed_recipe(request)?;
        let needs = self.sft_needs(&request.character_id, &recipe)?;
        self.start_or_queue(request.queue, needs, || self.create_run(request))
    }

    /// Starts the run that `create` makes, or lets it wait for the one that is on. One that cannot fit
    /// is refused.
    pub(crate) fn start_or_queue(
        &self,
        queue: bool,
        needs: Needs,
        create: impl FnOnce() -> ApiResult<PathBuf>,
    ) -> ApiResult<RunSummary> {
        self.refuse_what_cannot_fit(needs)?;
        if queue && self.busy_run().is_some() {
            let run = RunFolder::open(&create()?)?;
            crate::write_atomic(&run.dir().join(QUEUED), b"")?;
            return summary(&run);
        }
        self.refuse_when_busy()?;
        let run = RunFolder::open(&create()?)?;
        self.make_room(needs)?;
        self.spawn(&run)?;
        summary(&run)
    }

    /// Starts the run that has waited longest, unless another is on. Called when a run has ended,
    /// and when the window opens.
    ///
    /// # Errors
    /// When it does not fit any more or its process cannot be started; it then stays in the queue.
    pub fn start_next_run(&self) -> ApiResult<Option<RunSummary>> {
        if self.busy_run().is_some() || self.evaluating().is_some() {
            return Ok(None);
        }
        let waiting = RunFolder::list(&self.runs_dir()).into_iter().rfind(is_queued);
        let Some(run) = waiting else { return Ok(None) };
        if let Ok(needs) = self.needs_of(&run) {
            self.refuse_what_cannot_fit(needs)?;
            self.make_room(needs)?;
        } // else its process says what is wrong with it
        self.spawn(&run)?;
        leave_queue(&run);
        Ok(Some(summary(&run)?))
    }

    /// What a run that was created before needs.
    pub(crate) fn needs_of(&self, run: &RunFolder) -> ApiResult<Needs> {
        let file = run_file(run)?;
        match &file.job {
            Job::Sft(job) => self.sft_needs(&file.character_id, &job.recipe),
            Job::Grpo(job) => self.grpo_needs(&file.character_id, &job.profile),
        }
    }

    /// Refuses while a character is being taught or evaluated: one at a time.
    ///
    /// # Errors
    /// When one is.
    pub fn refuse_when_busy(&self) -> ApiResult<()> {
        // Whoever was paused a moment ago is as good as gone.
        for run in [self.runs_dir(), self.evaluations_dir()].iter().flat_map(|d| RunFolder::list(d))
        {
            run.wait_for_leaving(LEAVING);
        }
        if let Some(names) = self.evaluating() {
            return Err(being_evaluated(&names));
        }
        match self.busy_run() {
            Some(_) => Err(ApiError::new(
                ErrorCode::Busy,
                "another character is being taught",
                "Wait until it is done, or pause it.",
            )
            .because(ErrorCause::BeingTaught)),
            None => Ok(()),
        }
    }

    pub(crate) fn spawn(&self, run: &RunFolder) -> ApiResult<()> {
        self.spawn_worker(run, "train-worker")
    }

    /// Starts the process that works on a run, by a command of the `troupe` program.
    pub(crate) fn spawn_worker(&self, run: &RunFolder, command: &str) -> ApiResult<()> {
        let Some(worker) = &self.inner.worker else {
            let hint = "Set TROUPE_WORKER to the `troupe` program.";
            let message = "the program that teaches and evaluates is missing";
            let error = ApiError::new(ErrorCode::Internal, message, hint);
            return Err(error.because(ErrorCause::NoWorker));
        };
        // Seen as waiting at once: the process takes a moment before it says that it runs.
        let before = run.state()?;
        run.set_state(&State { status: Status::Waiting, error: None, ..before.clone() })?;
        let arguments =
            ["--home".into(), self.home().into(), command.into(), "--run".into(), run.dir().into()];
        if let Err(error) = run.spawn(worker, &arguments) {
            run.set_state(&before)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Asks a run to pause; its memory is free when its status says so.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn pause_run(&self, id: &str) -> ApiResult<()> {
        Ok(self.run_folder(id)?.request(Request::Pause)?)
    }

    /// Asks a run to stop for good and keep what it learned.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn stop_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_folder(id)?;
        let mut state = run.state()?;
        // A worker that was just started reads it soon; one that has paused may still be leaving, and
        // reads no more requests.
        if state.status == Status::Running || (state.status == Status::Waiting && run.is_taken()) {
            return Ok(run.request(Request::Stop)?);
        }
        leave_queue(&run);
        state.status = Status::Stopped;
        Ok(run.set_state(&state)?)
    }

    /// Goes on with a paused, interrupted or failed run.
    ///
    /// # Errors
    /// When another run is on or it is finished.
    pub fn resume_run(&self, id: &str) -> ApiResult<RunSummary> {
        let run = self.run_folder(id)?;
        if matches!(run.state()?.status, Status::Finished | Status::Stopped) {
            let hint = "Start a new one.";
            let error = ApiError::new(ErrorCode::BadRequest, "this run has ended", hint);
            return Err(error.because(ErrorCause::RunEnded));
        }
        self.refuse_when_busy()?;
        let needs = self.needs_of(&run)?;
        self.refuse_what_cannot_fit(needs)?;
        self.make_room(needs)?;
        keeping::take_request(&run); // of a process that ended before it read it
        self.spawn(&run)?;
        leave_queue(&run);
        summary(&run)
    }

    /// A run's curves as comma-separated values.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn run_csv(&self, id: &str) -> ApiResult<String> {
        let detail = self.run(id)?;
        if let Some(refining) = &detail.refining {
            return Ok(refining.to_csv());
        }
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let mut lines = vec!["set,step,text_loss,picture_loss".to_owned()];
        for (set, points) in [("train", &detail.curve), ("held_out", &detail.validation)] {
            lines.extend(
                points
                    .iter()
                    .map(|p| format!("{set},{},{},{}", p.step, number(p.ce), number(p.mse))),
            );
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// Writes a run's curves to `file`.
    ///
    /// # Errors
    /// When the run does not exist or the file cannot be written.
    pub fn save_run_csv(&self, id: &str, file: &Path) -> ApiResult<()> {
        crate::write_atomic(file, self.run_csv(id)?.as_bytes())
    }

    /// Runs of a character, or all, newest first. Unreadable ones are logged and left out.
    ///
    /// # Errors
    /// Never; kept for symmetry with the other operations.
    pub fn list_runs(&self, character_id: Option<&str>) -> ApiResult<Vec<RunSummary>> {
        let readable = |run: &RunFolder| {
            summary(run).inspect_err(|e| tracing::warn!("a run is unreadable: {e}")).ok()
        };
        let of = |run: &RunSummary| character_id.is_none_or(|id| run.character_id == id);
        Ok(RunFolder::list(&self.runs_dir()).iter().filter_map(readable).filter(of).collect())
    }

    /// A run with its curves and samples, from its folder alone.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn run(&self, id: &str) -> ApiResult<RunDetail> {
        let run = self.run_folder(id)?;
        let (events, _) = run.events::<RunEvents>(0)?;
        let job = run_file(&run)?.job;
        let mut detail = RunDetail {
            run: summary(&run)?,
            checkpoints: Vec::new(),
            recipe: (&job.recipe()).into(),
            refining: None,
            seed: job.seed() as f64,
            curve: Vec::new(),
            validation: Vec::new(),
            samples: Vec::new(),
            phase: None,
            notes: Vec::new(),
        };
        let events: Vec<TrainEvent> = events.into_iter().map(|e| e.event).collect();
        if let Job::Grpo(job) = &job {
            detail.refining = Some(refining::detail(&job.profile, &events));
        }
        for event in events {
            add_event(&mut detail, event);
        }
        Ok(detail)
    }

    /// File of a sample picture of a run.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn run_sample_file(&self, id: &str, name: &str) -> ApiResult<PathBuf> {
        let safe = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
            && !name.contains("..");
        let path = self.run_folder(id)?.dir().join(sft::SAMPLES).join(name);
        if safe && path.is_file() {
            Ok(path)
        } else {
            Err(ApiError::new(ErrorCode::NotFound, format!("there is no sample {name}"), ""))
        }
    }

    /// The newest unfinished run of a character and a kind (`sft`, `grpo`), to be resumed.
    ///
    /// # Errors
    /// When there is none.
    pub fn resumable_run(&self, character_id: &str, kind: &str) -> ApiResult<PathBuf> {
        let is_kind = |id: &str| {
            let file = self.run_folder(id).and_then(|run| run_file(&run));
            file.is_ok_and(|file| file.kind == kind)
        };
        let resumable = |run: &RunSummary| {
            ["paused", "interrupted", "failed", "waiting"].contains(&run.status.as_str())
                && is_kind(&run.id)
        };
        match self.list_runs(Some(character_id))?.into_iter().find(resumable) {
            Some(run) => self.run_dir(&run.id),
            None => Err(ApiError::new(
                ErrorCode::NotFound,
                "there is no unfinished run of this stage to resume",
                "Start one without --resume.",
            )),
        }
    }
}

/// The name at the end of a path that an event tells.
pub(crate) fn file_name(path: &str) -> Option<String> {
    Some(Path::new(path).file_name()?.to_string_lossy().into_owned())
}

/// Folds an event into what a window shows. Steps done again after a crash replace their points.
fn add_event(detail: &mut RunDetail, event: TrainEvent) {
    let push = |points: &mut Vec<CurvePoint>, point: CurvePoint| {
        points.retain(|p| p.step < point.step);
        points.push(point);
    };
    match event {
        TrainEvent::Step { step, ce, mse, .. } => {
            detail.phase = None;
            push(&mut detail.curve, CurvePoint { step: step as u32, ce, mse });
        }
        TrainEvent::Validation { step, ce, mse } => {
            push(&mut detail.validation, CurvePoint { step: step as u32, ce, mse });
        }
        TrainEvent::Sample { step, prompt, text, file, .. } => {
            let file = file.as_deref().and_then(file_name);
            detail.samples.retain(|s| {
                s.step != step as u32 || s.prompt != prompt || s.file.is_some() != file.is_some()
            });
            detail.samples.push(SampleItem { step: step as u32, prompt, text, file });
        }
        TrainEvent::Phase { phase, .. } => detail.phase = phase.map(Into::into),
        TrainEvent::Ended { .. } => detail.phase = None,
        TrainEvent::Checkpoint { step, .. } => {
            detail.checkpoints.retain(|known| *known < step as u32);
            detail.checkpoints.push(step as u32);
        }
        TrainEvent::Epoch(_) => detail.phase = None,
        // Of stage 2 they are told with its trials; one without a code is a verdict on the losses,
        // which windows give themselves.
        TrainEvent::Note(remark) if detail.refining.is_none() && !remark.code.is_empty() => {
            detail.notes.retain(|known| known.code != remark.code);
            detail.notes.push((&remark).into());
        }
        TrainEvent::Started { .. }
        | TrainEvent::Group { .. }
        | TrainEvent::Note(_)
        | TrainEvent::Trial(_)
        | TrainEvent::Alarm { .. } => {}
    }
}

fn findings(character: &Character) -> Vec<FindingItem> {
    let item = |check: checks::Check| FindingItem {
        severity: check.severity.to_string(),
        code: check.code,
        message: check.message,
        hint: check.hint,
        values: check.values,
    };
    checks::check_with_files(character).into_iter().map(item).collect()
}

/// How exact the products of the run in `dir` are to be: stage 1 says it in its recipe. Stage 2 compares
/// a policy with itself and needs more than bf16 holds.
///
/// # Errors
/// When there is no run.
pub fn products(dir: &Path) -> ApiResult<Products> {
    Ok(match run_file(&RunFolder::open(dir)?)?.job {
        Job::Sft(job) => job.recipe.products,
        Job::Grpo(_) => Products::Split,
    })
}

/// Works on the run in `dir` until it ends, pauses or fails: events and state go to its folder,
/// what was learned to the character. `on` hears every event and may ask to pause or stop.
///
/// # Errors
/// When another process works on it, or training fails; the run's state then says why.
pub fn work(dir: &Path, on: &mut dyn FnMut(&TrainEvent) -> Control) -> ApiResult<Outcome> {
    let run = RunFolder::open(dir)?;
    let _lock = run.lock()?;
    let _heart = run.heartbeat();
    run.clear_request()?;
    let file = run_file(&run)?;
    let mut state = run.state()?;
    if state.status == Status::Stopped {
        return Ok(Outcome::Stopped); // between being started and this
    }
    let started = std::time::Instant::now();
    let (before, first_step) = (state.elapsed_secs, std::cell::Cell::new(None));
    state.status = Status::Running;
    state.error = None;
    run.set_state(&state)?;
    if keeping::take_request(&run) {
        return keep(&run, &file, state);
    }
    let mut broken = None;
    let mut hear = |event: TrainEvent| {
        state.elapsed_secs = before + started.elapsed().as_secs_f64();
        track(&mut state, &event, &first_step, started.elapsed().as_secs_f64());
        let kept = run
            .append(&RunEvents { at_ms: now_ms(), event: event.clone() })
            .and_then(|()| run.set_state(&state));
        let wanted = on(&event);
        if let Err(error) = kept {
            broken.get_or_insert(error);
            return Control::Pause;
        }
        match run.requested() {
            Some(Request::Stop) => Control::Stop,
            Some(Request::Pause) if wanted == Control::Continue => Control::Pause,
            _ => wanted,
        }
    };
    let result = match &file.job {
        Job::Sft(job) => sft::run(job, &mut hear),
        Job::Grpo(job) => trainer::run(job, &mut hear),
    };
    state.eta_secs = None;
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = ApiError::from(error);
            fail(&run, &mut state, &error)?;
            return Err(error);
        }
    };
    if let Some(error) = broken {
        let error = ApiError::from(error);
        fail(&run, &mut state, &error)?;
        return Err(error);
    }
    if outcome != Outcome::Paused {
        install(&run, &file)?;
    }
    state.status = match outcome {
        Outcome::Finished => Status::Finished,
        Outcome::Paused => Status::Paused,
        Outcome::Stopped => Status::Stopped,
    };
    run.set_state(&state)?;
    run.clear_request()?;
    Ok(outcome)
}

/// Ends a run with what its newest checkpoint holds. The steps after that are undone.
fn keep(run: &RunFolder, file: &RunFile, mut state: State) -> ApiResult<Outcome> {
    let tell = |event| Ok::<_, ApiError>(run.append(&RunEvents { at_ms: now_ms(), event })?);
    tell(RunPhase::WritingAdapter.into())?;
    let kept = keeping::export(&file.job).and_then(|step| install(run, file).map(|()| step));
    match kept {
        Ok(step) => state.step = step,
        Err(error) => {
            fail(run, &mut state, &error)?;
            return Err(error);
        }
    }
    let outcome = Outcome::Stopped;
    tell(TrainEvent::Ended { outcome })?;
    (state.status, state.eta_secs) = (Status::Stopped, None);
    run.set_state(&state)?;
    Ok(outcome)
}

fn fail(run: &RunFolder, state: &mut State, error: &ApiError) -> ApiResult<()> {
    state.status = Status::Failed;
    state.error = Some(error.into());
    Ok(run.set_state(state)?)
}

/// Keeps step and time left up to date.
fn track(
    state: &mut State,
    event: &TrainEvent,
    first: &std::cell::Cell<Option<(usize, f64)>>,
    now: f64,
) {
    match event {
        TrainEvent::Started { step, num_steps, .. } => {
            state.step = *step;
            state.num_steps = *num_steps;
        }
        TrainEvent::Step { step, num_steps, .. } => {
            state.step = *step;
            let (first_step, first_secs) = first.get().unwrap_or((*step, now));
            first.set(Some((first_step, first_secs)));
            let done = step - first_step;
            if done > 0 {
                let per_step = (now - first_secs) / done as f64;
                state.eta_secs = Some(per_step * (num_steps - step) as f64);
            }
        }
        TrainEvent::Epoch(done) => {
            let (step, num_steps) = (done.epoch, done.num_epochs);
            state.step = step;
            let (first_step, first_secs) = first.get().unwrap_or((step, now));
            first.set(Some((first_step, first_secs)));
            if step > first_step {
                let per_step = (now - first_secs) / (step - first_step) as f64;
                state.eta_secs = Some(per_step * num_steps.saturating_sub(step) as f64);
            }
        }
        _ => {}
    }
}

/// Copies the run's adapter into the character's folder, whole or not at all.
fn install(run: &RunFolder, file: &RunFile) -> ApiResult<()> {
    let from = run.dir().join(sft::ADAPTER);
    let adapters = file.job.character_dir().join("adapters");
    let (part, whole) = (adapters.join(format!(".part-{}", run.id())), adapters.join(run.id()));
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(&part)?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let to = part.join(entry.file_name());
            std::fs::copy(entry.path(), &to)?;
            std::fs::File::open(&to)?.sync_all()?;
        }
        if whole.exists() {
            std::fs::remove_dir_all(&whole)?;
        }
        std::fs::rename(&part, &whole)
    };
    copy().map_err(|e| {
        let message = format!("what was learned could not be copied: {e} ({})", adapters.display());
        ApiError::new(
            ErrorCode::Storage,
            message,
            "Free some disk space; the run's folder still has it.",
        )
    })
}
