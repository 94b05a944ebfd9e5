//! Evaluations: plans, runs in a process of their own, and what they found.
//!
//! An evaluation is a folder under `evaluations/` of the data folder. It is a run of `troupe-jobs`
//! (state, requests, lock) and a run of `troupe-eval` (records, report) at once, so it survives the
//! window, can be stopped after any item and goes on there. Evaluations of the command line, which
//! have no `run.toml`, are listed with what they found.

mod results;
mod worker;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use troupe_eval::{
    TaskLoad,
    run::{RUN_FILE, RunInfo, Settings, Subject},
    workload,
};
use troupe_jobs::{Request, RunFolder, Status};
use troupe_model::runtime::ModelFiles;

use crate::{
    Studio,
    discard::require_ended,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    memory, now_ms,
    room::Needs,
    training::status_word,
    wire::{
        EvaluationDetail, EvaluationPhase, EvaluationPlan, EvaluationSubject, EvaluationSummary,
        EvaluationTask, StartEvaluation,
    },
};

pub use worker::evaluate;

/// Stages, in order.
const STAGES: [&str; 3] = ["base", "sft", "grpo"];
/// File that says what a run is doing.
const PHASE_FILE: &str = "phase.json";
/// Memory of an evaluation over the size of the base's files: a guess on the safe side, not yet
/// measured.
const MEMORY_OVER_FILES: f64 = 3.;
/// Seconds of loading model and pictures, and of writing the report.
const SECS_BESIDE_ITEMS: f64 = 20.;

/// A character of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SubjectFile {
    id: String,
    name: String,
    dir: PathBuf,
}

/// What `run.toml` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EvaluationFile {
    kind: String,
    created_ms: f64,
    model_dir: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judges_dir: Option<PathBuf>,
    stages: Vec<String>,
    is_quick: bool,
    num_items: usize,
    subjects: Vec<SubjectFile>,
}

impl EvaluationFile {
    fn read(run: &RunFolder) -> ApiResult<Self> {
        toml::from_str(&run.run_toml()?).map_err(|e| {
            let message = format!("the evaluation is unreadable: {e} ({})", run.dir().display());
            ApiError::new(ErrorCode::Storage, message, "Begin a new one.")
        })
    }

    fn names(&self) -> Vec<String> {
        self.subjects.iter().map(|s| s.name.clone()).collect()
    }
}

fn settings(is_quick: bool) -> Settings {
    if is_quick { Settings::quick() } else { Settings::full() }
}

/// A character's stages among those that are measured.
fn measured<'a>(subject: &'a Subject, stages: &'a [String]) -> impl Iterator<Item = &'a String> {
    stages.iter().filter(|stage| *stage == "base" || subject.adapters.contains_key(*stage))
}

/// Tasks over all characters and stages.
fn loads(subjects: &[Subject], stages: &[String], settings: &Settings) -> Vec<TaskLoad> {
    let mut sums: Vec<TaskLoad> = Vec::new();
    let mut secs: Vec<f64> = Vec::new();
    for subject in subjects {
        let times = measured(subject, stages).count();
        for (at, load) in workload(subject, subjects.len(), settings).into_iter().enumerate() {
            let num_items = load.num_items * times;
            match sums.get_mut(at) {
                Some(sum) => {
                    sum.num_items += num_items;
                    secs[at] += load.secs_per_item * num_items as f64;
                }
                None => {
                    secs.push(load.secs_per_item * num_items as f64);
                    sums.push(TaskLoad { num_items, ..load });
                }
            }
        }
    }
    for (sum, secs) in sums.iter_mut().zip(secs) {
        sum.secs_per_item = secs / sum.num_items.max(1) as f64;
    }
    sums
}

fn summary(run: &RunFolder) -> ApiResult<EvaluationSummary> {
    let (file, state) = (EvaluationFile::read(run)?, run.state()?);
    let phase = std::fs::read(run.dir().join(PHASE_FILE)).ok();
    let is_running = state.status == Status::Running;
    Ok(EvaluationSummary {
        id: run.id(),
        names: file.names(),
        stages: file.stages,
        is_quick: file.is_quick,
        status: status_word(state.status),
        step: state.step as u32,
        num_steps: file.num_items as u32,
        elapsed_secs: state.elapsed_secs,
        eta_secs: state.eta_secs,
        error: state.error.map(Into::into),
        created_ms: file.created_ms,
        phase: phase.filter(|_| is_running).and_then(|b| serde_json::from_slice(&b).ok()),
    })
}

/// An evaluation of the command line.
fn foreign(dir: &Path) -> Option<EvaluationSummary> {
    let info = RunInfo::read(dir).ok()?;
    let made = std::fs::metadata(dir.join(RUN_FILE)).and_then(|m| m.modified()).ok()?;
    let since = made.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(EvaluationSummary {
        id: dir.file_name()?.to_str()?.to_owned(),
        names: info.characters.iter().map(|c| c.name.clone()).collect(),
        stages: info.stages,
        is_quick: info.settings == Settings::quick(),
        status: status_word(Status::Finished),
        step: 0,
        num_steps: 0,
        elapsed_secs: 0.,
        eta_secs: None,
        error: None,
        created_ms: (since.as_secs_f64() * 1000.).floor(),
        phase: None,
    })
}

/// The evaluation in a folder, wherever that is; none when it cannot be read.
pub(crate) fn told_evaluation(dir: &Path) -> Option<EvaluationSummary> {
    match RunFolder::open(dir) {
        Ok(run) => summary(&run).ok(),
        Err(_) => foreign(dir),
    }
}

impl Studio {
    pub(crate) fn evaluations_dir(&self) -> PathBuf {
        self.home().join("evaluations")
    }

    /// Folder of an evaluation. Ids are names of folders there; anything else does not exist.
    fn evaluation_dir(&self, id: &str) -> ApiResult<PathBuf> {
        let is_name = !id.is_empty() && !id.starts_with('.') && !id.contains(['/', '\\']);
        let dir = self.evaluations_dir().join(id);
        if is_name && (dir.join("run.toml").exists() || dir.join(RUN_FILE).exists()) {
            return Ok(dir);
        }
        Err(ApiError::new(ErrorCode::NotFound, format!("there is no evaluation {id}"), ""))
    }

    fn evaluation_run(&self, id: &str) -> ApiResult<RunFolder> {
        RunFolder::open(&self.evaluation_dir(id)?).map_err(|_| {
            let hint = "Go on with it on the command line, by the command that began it.";
            ApiError::new(ErrorCode::BadRequest, "the window did not begin this one", hint)
        })
    }

    /// Folder of an evaluation that nothing works on. Whether the command line still does is not
    /// known; its report says that it has ended.
    pub(crate) fn ended_evaluation_dir(&self, id: &str) -> ApiResult<PathBuf> {
        let dir = self.evaluation_dir(id)?;
        match RunFolder::open(&dir) {
            Ok(run) => require_ended(&run)?,
            Err(_) => {
                self.evaluation_file(id, "report.html")?;
            }
        }
        Ok(dir)
    }

    /// The evaluation that is on now.
    fn present_evaluation(&self) -> Option<EvaluationFile> {
        let runs = RunFolder::list(&self.evaluations_dir());
        EvaluationFile::read(&runs.into_iter().find(RunFolder::is_taken)?).ok()
    }

    /// Names of those who are being evaluated now.
    pub(crate) fn evaluating(&self) -> Option<String> {
        Some(self.present_evaluation()?.names().join(", "))
    }

    /// The same if the character in `dir` is among them.
    pub(crate) fn evaluation_of(&self, dir: &Path) -> Option<String> {
        let file = self.present_evaluation()?;
        file.subjects.iter().any(|subject| subject.dir == dir).then(|| file.names().join(", "))
    }

    fn subjects(&self, ids: &[String]) -> ApiResult<Vec<Subject>> {
        ids.iter().map(|id| Ok(Subject::find(self.library().load(id)?)?)).collect()
    }

    /// What measuring would take.
    ///
    /// # Errors
    /// When a character does not exist.
    pub fn evaluation_plan(&self, request: &StartEvaluation) -> ApiResult<EvaluationPlan> {
        let subjects = self.subjects(&request.character_ids)?;
        let stages = stages(&subjects, &request.stages);
        let loads = loads(&subjects, &stages, &settings(request.is_quick));
        let num_items: usize = loads.iter().map(|load| load.num_items).sum();
        let secs: f64 = loads.iter().map(|l| l.secs_per_item * l.num_items as f64).sum();
        let subject = |subject: &Subject| EvaluationSubject {
            id: subject.character.id.clone(),
            name: subject.character.name.clone(),
            stages: subject.adapters.keys().cloned().collect(),
        };
        let task = |load: &TaskLoad| EvaluationTask {
            task: load.task.into(),
            num_items: load.num_items as u32,
        };
        Ok(EvaluationPlan {
            subjects: subjects.iter().map(subject).collect(),
            tasks: loads.iter().filter(|l| l.num_items > 0).map(task).collect(),
            num_items: num_items as u32,
            minutes: (secs + SECS_BESIDE_ITEMS) / 60.,
            memory_mb: self.evaluation_memory_mb(),
            busy: self.refuse_when_busy().err(),
            problem: problem(&subjects, &stages, num_items),
            stages,
        })
    }

    /// Begins an evaluation in a process of its own.
    ///
    /// # Errors
    /// When a character does not exist, there is nothing to measure, a training or another evaluation
    /// is on, or the process cannot be started.
    pub fn start_evaluation(&self, request: &StartEvaluation) -> ApiResult<EvaluationSummary> {
        self.refuse_when_busy()?;
        let plan = self.evaluation_plan(request)?;
        if let Some(problem) = plan.problem {
            return Err(problem);
        }
        let subjects = self.subjects(&request.character_ids)?;
        let subject = |s: &Subject| SubjectFile {
            id: s.character.id.clone(),
            name: s.character.name.clone(),
            dir: s.character.dir.clone(),
        };
        let model_dir = std::path::absolute(self.model_dir());
        let file = EvaluationFile {
            kind: "evaluation".into(),
            created_ms: now_ms(),
            model_dir: model_dir.unwrap_or_else(|_| self.model_dir().into()),
            judges_dir: Some(self.judges_dir()),
            stages: plan.stages,
            is_quick: request.is_quick,
            num_items: plan.num_items as usize,
            subjects: subjects.iter().map(subject).collect(),
        };
        let text = toml::to_string_pretty(&file).map_err(|e| {
            ApiError::new(ErrorCode::Internal, format!("the evaluation's settings: {e}"), "")
        })?;
        let dir = self.evaluations_dir().join(uuid::Uuid::now_v7().to_string());
        let run = RunFolder::create(&dir, &text)?;
        self.spawn_evaluation(&run)?;
        summary(&run)
    }

    /// Megabytes that an evaluation takes.
    fn evaluation_memory_mb(&self) -> f64 {
        let files = ModelFiles::find(self.model_dir()).map(|files| memory::files_mb(&files.all()));
        files.unwrap_or_default() * MEMORY_OVER_FILES
    }

    fn spawn_evaluation(&self, run: &RunFolder) -> ApiResult<()> {
        let memory = self.evaluation_memory_mb() * memory::MB;
        self.make_room(Needs { memory, disk: 0. })?;
        self.spawn_worker(run, "eval-worker")
    }

    /// Asks an evaluation to end after the present item; it can go on there later.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn stop_evaluation(&self, id: &str) -> ApiResult<()> {
        let run = self.evaluation_run(id)?;
        if run.is_worked_on() {
            return Ok(run.request(Request::Pause)?);
        }
        let state = run.state()?;
        if state.status == Status::Waiting {
            // Its process has not begun yet, and finds the request when it does.
            run.request(Request::Pause)?;
        }
        Ok(())
    }

    /// Goes on with an evaluation that was stopped, interrupted or failed.
    ///
    /// # Errors
    /// When it is finished, or a training or another evaluation is on.
    pub fn resume_evaluation(&self, id: &str) -> ApiResult<EvaluationSummary> {
        let run = self.evaluation_run(id)?;
        if run.state()?.status == Status::Finished {
            let message = "this evaluation is finished";
            return Err(ApiError::new(ErrorCode::BadRequest, message, "Begin a new one."));
        }
        self.refuse_when_busy()?;
        self.spawn_evaluation(&run)?;
        summary(&run)
    }

    /// All evaluations, newest first. Unreadable ones are logged and left out.
    ///
    /// # Errors
    /// Never; kept for symmetry with the other operations.
    pub fn list_evaluations(&self) -> ApiResult<Vec<EvaluationSummary>> {
        let folder = self.evaluations_dir();
        let readable = |run: &RunFolder| {
            summary(run).inspect_err(|e| tracing::warn!("an evaluation is unreadable: {e}")).ok()
        };
        let mut found: Vec<EvaluationSummary> =
            RunFolder::list(&folder).iter().filter_map(readable).collect();
        let dirs = std::fs::read_dir(&folder).into_iter().flatten();
        let dirs = dirs.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(dirs.filter(|dir| !dir.join("run.toml").exists()).filter_map(|d| foreign(&d)));
        found.sort_by(|a, b| b.created_ms.total_cmp(&a.created_ms));
        Ok(found)
    }

    /// An evaluation with what it found by its last report.
    ///
    /// # Errors
    /// When it does not exist or its results are damaged.
    pub fn evaluation(&self, id: &str) -> ApiResult<EvaluationDetail> {
        let dir = self.evaluation_dir(id)?;
        let run = match RunFolder::open(&dir) {
            Ok(run) => summary(&run)?,
            Err(_) => foreign(&dir).ok_or_else(|| {
                ApiError::new(ErrorCode::Storage, "this evaluation is unreadable", "")
            })?,
        };
        results::detail(run, &dir)
    }

    /// A file of an evaluation's report: `report.html`, `results.csv` or `results.json`.
    ///
    /// # Errors
    /// When there is no such file, or no report yet.
    pub fn evaluation_file(&self, id: &str, name: &str) -> ApiResult<PathBuf> {
        let path = self.evaluation_dir(id)?.join(name);
        if ["report.html", "results.csv", "results.json"].contains(&name) && path.is_file() {
            return Ok(path);
        }
        let hint = "It is written when the evaluation ends or is stopped.";
        let error = ApiError::new(ErrorCode::NotFound, "there is no report yet", hint);
        Err(error.because(ErrorCause::NoReport))
    }

    /// Copies a file of an evaluation's report to where the person wants it.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be written there.
    pub fn save_evaluation_file(&self, id: &str, name: &str, to: &Path) -> ApiResult<()> {
        let from = self.evaluation_file(id, name)?;
        let bytes = std::fs::read(&from).map_err(|e| {
            let message = format!("the report cannot be read: {e} ({})", from.display());
            ApiError::new(ErrorCode::Storage, message, "")
        })?;
        crate::write_atomic(to, &bytes)
    }
}

/// The wanted stages in their order; the base and all that was learned when none is named.
fn stages(subjects: &[Subject], wanted: &[String]) -> Vec<String> {
    let learned = |stage: &str| subjects.iter().any(|s| s.adapters.contains_key(stage));
    let is_in = |stage: &&str| {
        if wanted.is_empty() {
            *stage == "base" || learned(stage)
        } else {
            wanted.iter().any(|w| w == stage)
        }
    };
    STAGES.into_iter().filter(is_in).map(Into::into).collect()
}

/// Why nothing could be measured.
fn problem(subjects: &[Subject], stages: &[String], num_items: usize) -> Option<ApiError> {
    let refuse = |message: String, cause| {
        Some(ApiError::new(ErrorCode::BadRequest, message, "Choose others.").because(cause))
    };
    if subjects.is_empty() {
        return refuse("nobody is chosen".into(), ErrorCause::NobodyChosen);
    }
    for stage in stages {
        if !subjects.iter().any(|s| stage == "base" || s.adapters.contains_key(stage)) {
            let message = format!("nobody of them has learned stage {stage}");
            return refuse(message, ErrorCause::StageNotLearned);
        }
    }
    for (at, subject) in subjects.iter().enumerate() {
        let name = &subject.character.name;
        if subjects[..at].iter().any(|other| other.character.name == *name) {
            let error = refuse(format!("two of them are called {name}"), ErrorCause::SameName);
            return error.map(|error| error.with("name", name));
        }
    }
    if num_items == 0 {
        return refuse("they have no material to measure with".into(), ErrorCause::NoMaterial);
    }
    None
}
