//! The process that evaluates.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use troupe_character::Character;
use troupe_eval::{
    TaskLoad,
    features::best,
    report::write_report,
    run::{Plan, Progress, Subject, run},
};
use troupe_jobs::{RunFolder, State, Status};
use troupe_model::runtime::LoadOptions;

use super::{EvaluationFile, EvaluationPhase, PHASE_FILE, loads, settings};
use crate::error::{ApiError, ApiResult};

/// Least time between two writings of the state.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// An item that took less was measured before.
const KNOWN_BEFORE: Duration = Duration::from_millis(3);

/// Works on the evaluation in `dir` until it ends, is stopped or fails; true when everything is
/// measured. The report is written in every case that left records.
///
/// # Errors
/// When another process works on it, or measuring fails; the run's state then says why.
pub fn evaluate(dir: &Path) -> ApiResult<bool> {
    let folder = RunFolder::open(dir)?;
    let _lock = folder.lock()?;
    let _heart = folder.heartbeat();
    let file = EvaluationFile::read(&folder)?;
    let mut state = State { status: Status::Running, error: None, ..folder.state()? };
    folder.set_state(&state)?;
    let measured = measure(&folder, &file, &mut state);
    state.eta_secs = None;
    let ended = measured.and_then(|is_done| {
        write_report(dir)?;
        Ok(is_done)
    });
    match &ended {
        Ok(true) => state.status = Status::Finished,
        Ok(false) => state.status = Status::Paused,
        Err(error) => {
            state.status = Status::Failed;
            state.error = Some(error.into());
        }
    }
    folder.clear_request()?;
    folder.set_state(&state)?;
    ended
}

fn measure(folder: &RunFolder, file: &EvaluationFile, state: &mut State) -> ApiResult<bool> {
    let subject = |s: &super::SubjectFile| -> ApiResult<Subject> {
        Ok(Subject::find(Character::load(&s.dir)?)?)
    };
    let subjects = file.subjects.iter().map(subject).collect::<ApiResult<Vec<_>>>()?;
    let settings = settings(file.is_quick);
    let features = best(&file.model_dir, file.judges_dir.as_deref())?;
    let mut tracker = Tracker::new(&loads(&subjects, &file.stages, &settings), state.elapsed_secs);
    let plan = Plan {
        out: folder.dir().to_path_buf(),
        model_dir: file.model_dir.clone(),
        load: LoadOptions::default(),
        subjects,
        stages: file.stages.clone(),
        settings,
        features,
        judge: None,
    };
    let mut broken: Option<ApiError> = None;
    let flow = run(&plan, &mut |progress| {
        tracker.add(progress);
        if let Err(error) = tracker.tell(folder, state, progress) {
            broken = Some(error);
            return ControlFlow::Break(());
        }
        if folder.requested().is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    tracker.update(state);
    match broken {
        Some(error) => Err(error),
        None => Ok(flow?.is_continue()),
    }
}

/// Counts items and guesses the time left from how long they take compared with the estimate.
struct Tracker {
    secs_per_item: HashMap<&'static str, f64>,
    step: usize,
    left_secs: f64,
    /// Estimated and real seconds of the items that were measured now.
    estimated: f64,
    real: f64,
    before: f64,
    started: Instant,
    last_item: Instant,
    last_told: Option<Instant>,
}

impl Tracker {
    fn new(loads: &[TaskLoad], before: f64) -> Self {
        Self {
            secs_per_item: loads.iter().map(|l| (l.task, l.secs_per_item)).collect(),
            left_secs: loads.iter().map(|l| l.secs_per_item * l.num_items as f64).sum(),
            step: 0,
            estimated: 0.,
            real: 0.,
            before,
            started: Instant::now(),
            last_item: Instant::now(),
            last_told: None,
        }
    }

    fn add(&mut self, progress: &Progress) {
        let secs = self.secs_per_item.get(progress.task).copied().unwrap_or_default();
        let took = self.last_item.elapsed();
        self.last_item = Instant::now();
        self.step += 1;
        self.left_secs = (self.left_secs - secs).max(0.);
        // The first item waits for the model, too.
        if took > KNOWN_BEFORE && self.step > 1 {
            self.estimated += secs;
            self.real += took.as_secs_f64();
        }
    }

    fn update(&self, state: &mut State) {
        state.step = self.step;
        state.elapsed_secs = self.before + self.started.elapsed().as_secs_f64();
        state.eta_secs = (self.estimated > 0.).then(|| self.left_secs * self.real / self.estimated);
    }

    fn tell(
        &mut self,
        folder: &RunFolder,
        state: &mut State,
        progress: &Progress,
    ) -> ApiResult<()> {
        if self.last_told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return Ok(());
        }
        self.last_told = Some(Instant::now());
        self.update(state);
        folder.set_state(state)?;
        let phase = EvaluationPhase {
            stage: progress.stage.clone(),
            character: progress.character.clone(),
            task: progress.task.into(),
            done: progress.done as u32,
            num_items: progress.num_items as u32,
        };
        let text = serde_json::to_vec(&phase).unwrap_or_default();
        crate::write_atomic(&folder.dir().join(PHASE_FILE), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_how_long_items_take() {
        let loads = [TaskLoad { task: "pictures", num_items: 10, secs_per_item: 2. }];
        let mut tracker = Tracker::new(&loads, 5.);
        let progress = Progress {
            stage: "base".into(),
            character: "Dot".into(),
            task: "pictures",
            done: 1,
            num_items: 10,
        };
        tracker.add(&progress);
        let mut state = State::default();
        tracker.update(&mut state);
        assert_eq!((state.step, state.eta_secs), (1, None), "nothing is known yet");
        assert!(state.elapsed_secs >= 5.);
        // Items take half of the estimate: 9 are left, 18 s by the estimate.
        (tracker.estimated, tracker.real) = (4., 2.);
        tracker.update(&mut state);
        assert_eq!(state.eta_secs, Some(9.));
    }
}
