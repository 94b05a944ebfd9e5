//! Run folders and worker processes: start, watch, pause, stop, resume. Knows no job by name.
//!
//! A run is a folder:
//!
//! | file | what |
//! |---|---|
//! | `run.toml` | everything needed to repeat it; written once |
//! | `events.jsonl` | what happened, one JSON object a line, append-only |
//! | `state.json` | the present state, replaced atomically |
//! | `control` | a request to the worker: `pause` or `stop` |
//! | `heartbeat` | written anew every few seconds while the worker lives |
//! | `worker.lock` | held by the living worker; a dead one holds nothing |
//! | `worker.log` | the worker's standard error |

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Errors of run folders.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A file operation failed.
    #[error("{what}: {source} ({path})")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// A file is malformed.
    #[error("{what}: {reason} ({path})")]
    Malformed {
        /// What was being done.
        what: &'static str,
        /// What is wrong.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// Another process works on the run.
    #[error("another process is already working on this run")]
    Busy,
}

/// Result of run folders.
pub type Result<T> = std::result::Result<T, JobError>;

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JobError {
    let path = path.to_path_buf();
    move |source| JobError::Io { what, source, path }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Created, not started.
    Waiting,
    /// A worker is on it.
    Running,
    /// Paused; can be resumed.
    Paused,
    /// Its worker vanished; can be resumed.
    Interrupted,
    /// Done.
    Finished,
    /// Stopped by request.
    Stopped,
    /// Ended by an error; can be resumed after mending the cause.
    Failed,
}

/// Why a run failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "FailureFile")]
pub struct Failure {
    /// What happened, in English.
    pub message: String,
    /// What to try, in English.
    pub hint: String,
    /// What kind of failure, as those who run the job name it.
    pub code: String,
    /// Why, as they name it.
    pub cause: Option<String>,
    /// Parts of the message by name, to say it in another language.
    pub values: BTreeMap<String, String>,
}

/// [`Failure::cause`] of a worker that ended before it said anything.
pub const ENDED_AT_ONCE: &str = "workerEnded";

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, ..Self::default() }
    }
}

/// A failure as a state file has it: older versions wrote the message alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum FailureFile {
    Message(String),
    #[serde(rename_all = "camelCase")]
    Whole {
        message: String,
        #[serde(default)]
        hint: String,
        #[serde(default)]
        code: String,
        #[serde(default)]
        cause: Option<String>,
        #[serde(default)]
        values: BTreeMap<String, String>,
    },
}

impl From<FailureFile> for Failure {
    fn from(file: FailureFile) -> Self {
        match file {
            FailureFile::Message(message) => message.into(),
            FailureFile::Whole { message, hint, code, cause, values } => {
                Self { message, hint, code, cause, values }
            }
        }
    }
}

/// The present state of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub num_steps: usize,
    /// Seconds of work so far, over all workers.
    pub elapsed_secs: f64,
    /// Seconds left, as far as known.
    pub eta_secs: Option<f64>,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Waiting,
            step: 0,
            num_steps: 0,
            elapsed_secs: 0.,
            eta_secs: None,
            error: None,
        }
    }
}

/// A request to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Write a checkpoint and end.
    Pause,
    /// Write what was learned and end for good.
    Stop,
}

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    dir: PathBuf,
}

/// Held by the worker of a run as long as it lives.
#[derive(Debug)]
pub struct WorkerLock {
    _file: File,
}

/// Most of a worker's log that becomes the reason of its failure.
const MAX_REASON_BYTES: u64 = 2000;

/// How long a process may take from its start until it locks its run.
const STARTING: Duration = Duration::from_secs(20);
/// Time between two beats.
pub const BEAT: Duration = Duration::from_secs(2);

/// Shows that a worker lives, as long as it is held.
#[derive(Debug)]
pub struct Heartbeat {
    _ends: Sender<()>,
}

impl RunFolder {
    /// Creates a folder with its `run.toml`.
    ///
    /// # Errors
    /// When the folder exists or cannot be written.
    pub fn create(dir: &Path, run_toml: &str) -> Result<Self> {
        fs::create_dir_all(dir).map_err(io("creating the run folder", dir))?;
        let run = Self { dir: dir.to_path_buf() };
        let path = run.path("run.toml");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(io("creating the run", &path))?;
        file.write_all(run_toml.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io("writing the run's settings", &path))?;
        run.set_state(&State::default())?;
        Ok(run)
    }

    /// An existing folder.
    ///
    /// # Errors
    /// When it holds no `run.toml`.
    pub fn open(dir: &Path) -> Result<Self> {
        let run = Self { dir: dir.to_path_buf() };
        let path = run.path("run.toml");
        fs::metadata(&path).map_err(io("opening the run", &path))?;
        Ok(run)
    }

    /// Runs under `root`, newest first by name.
    pub fn list(root: &Path) -> Vec<Self> {
        let mut dirs: Vec<PathBuf> = fs::read_dir(root)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|dir| dir.join("run.toml").exists())
            .collect();
        dirs.sort_unstable();
        dirs.into_iter().rev().map(|dir| Self { dir }).collect()
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder's name.
    pub fn id(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The text of `run.toml`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run_toml(&self) -> Result<String> {
        let path = self.path("run.toml");
        fs::read_to_string(&path).map_err(io("reading the run's settings", &path))
    }

    /// The present state. A run whose worker vanished counts as interrupted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn state(&self) -> Result<State> {
        let path = self.path("state.json");
        let text = fs::read_to_string(&path).map_err(io("reading the run's state", &path))?;
        let mut state: State = serde_json::from_str(&text).map_err(|e| JobError::Malformed {
            what: "reading the run's state",
            reason: e.to_string(),
            path,
        })?;
        if state.status == Status::Running && !self.is_worked_on() {
            state.status = Status::Interrupted;
        }
        Ok(state)
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_state(&self, state: &State) -> Result<()> {
        let (part, path) = (self.path("state.json.part"), self.path("state.json"));
        let text = serde_json::to_string(state).unwrap_or_default();
        fs::write(&part, text).map_err(io("writing the run's state", &part))?;
        fs::rename(&part, &path).map_err(io("writing the run's state", &path))
    }

    /// True while a living process works on the run.
    pub fn is_worked_on(&self) -> bool {
        match File::open(self.path("worker.lock")) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        }
    }

    /// Whether a process works on the run, or was started to and has not locked it yet.
    pub fn is_taken(&self) -> bool {
        self.is_worked_on() || self.is_starting()
    }

    /// Whether a process was started for the run a moment ago. One that was killed before it locked the
    /// run is given up after [`STARTING`].
    fn is_starting(&self) -> bool {
        let began = fs::metadata(self.path("starting")).and_then(|about| about.modified());
        began.is_ok_and(|began| began.elapsed().unwrap_or_default() < STARTING)
    }

    fn has_started(&self) {
        fs::remove_file(self.path("starting")).ok();
    }

    /// Waits, at most `limit`, for a worker that has said how the run ended to let go of it: between the
    /// two it frees its memory. A worker that is still at it is not waited for.
    pub fn wait_for_leaving(&self, limit: Duration) {
        let began = Instant::now();
        let has_ended = || {
            let status = self.state().map(|state| state.status);
            status.is_ok_and(|status| !matches!(status, Status::Waiting | Status::Running))
        };
        while self.is_worked_on() && has_ended() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Becomes the run's worker until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// When another process is, or the folder cannot be written.
    pub fn lock(&self) -> Result<WorkerLock> {
        let path = self.path("worker.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("locking the run", &path))?;
        match file.try_lock() {
            Ok(()) => {
                self.has_started();
                Ok(WorkerLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(JobError::Busy),
            Err(TryLockError::Error(source)) => Err(io("locking the run", &path)(source)),
        }
    }

    /// Starts writing the run's heartbeat, until what is returned is dropped. A beat that cannot be
    /// written is left out: the lock tells life from death, the beat only a working process from one
    /// that hangs.
    pub fn heartbeat(&self) -> Heartbeat {
        let (ends, ended) = channel();
        let path = self.path("heartbeat");
        std::thread::spawn(move || {
            let mut beats = 0u64;
            while ended.recv_timeout(if beats == 0 { Duration::ZERO } else { BEAT })
                == Err(RecvTimeoutError::Timeout)
            {
                beats += 1;
                fs::write(&path, beats.to_string()).ok();
            }
        });
        Heartbeat { _ends: ends }
    }

    /// When the worker last gave a sign of life.
    pub fn last_beat(&self) -> Option<SystemTime> {
        fs::metadata(self.path("heartbeat")).and_then(|file| file.modified()).ok()
    }

    /// Appends an event. A line is written in one piece.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn append(&self, event: &impl Serialize) -> Result<()> {
        let path = self.path("events.jsonl");
        let mut line = serde_json::to_string(event).unwrap_or_default();
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(io("writing the run's events", &path))
    }

    /// Events from byte `offset` on, and the offset to go on from. Torn and unreadable lines are
    /// passed over; a line still being written is left for the next call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events<E: DeserializeOwned>(&self, offset: u64) -> Result<(Vec<E>, u64)> {
        let path = self.path("events.jsonl");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), offset)),
            Err(e) => return Err(io("reading the run's events", &path)(e)),
        };
        file.seek(SeekFrom::Start(offset)).map_err(io("reading the run's events", &path))?;
        let mut reader = BufReader::new(file);
        let (mut events, mut next, mut line) = (Vec::new(), offset, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            let read = read.map_err(io("reading the run's events", &path))?;
            if read == 0 || line.last() != Some(&b'\n') {
                return Ok((events, next));
            }
            next += read as u64;
            match serde_json::from_slice(&line) {
                Ok(event) => events.push(event),
                Err(error) => tracing::warn!("an event is unreadable: {error}"),
            }
        }
    }

    /// Asks the worker to pause or stop at its next step.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn request(&self, request: Request) -> Result<()> {
        let path = self.path("control");
        let text = match request {
            Request::Pause => "pause",
            Request::Stop => "stop",
        };
        fs::write(&path, text).map_err(io("asking the run to stop", &path))
    }

    /// The pending request, if any.
    pub fn requested(&self) -> Option<Request> {
        match fs::read_to_string(self.path("control")).ok()?.trim() {
            "pause" => Some(Request::Pause),
            "stop" => Some(Request::Stop),
            _ => None,
        }
    }

    /// Forgets a pending request.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn clear_request(&self) -> Result<()> {
        match fs::remove_file(self.path("control")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(io("clearing a request", &self.path("control"))(e))
            }
            _ => Ok(()),
        }
    }

    /// Starts `program` with `arguments` as this run's worker, in a process group of its own, so
    /// that it outlives the caller. Its standard error goes to `worker.log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, program: &Path, arguments: &[OsString]) -> Result<()> {
        self.clear_request()?;
        let log_path = self.path("worker.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(io("opening the worker's log", &log_path))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mark = self.path("starting");
        fs::write(&mark, "").map_err(io("marking the run", &mark))?;
        let mut child =
            command.spawn().map_err(io("starting the worker", program)).inspect_err(|_| {
                self.has_started();
            })?;
        // Reap the worker when it ends while this process lives; otherwise init does.
        let run = self.clone();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                run.note_early_end(status);
            }
        });
        Ok(())
    }

    /// A worker that ended before it wrote its first state has failed; without this the run would
    /// wait for ever.
    fn note_early_end(&self, status: std::process::ExitStatus) {
        self.has_started();
        match self.state() {
            Ok(state) if state.status == Status::Waiting && !self.is_worked_on() => {
                let log = self.log_tail(MAX_REASON_BYTES);
                let message = format!("the worker ended at once ({status}). {}", log.trim());
                let cause = Some(ENDED_AT_ONCE.to_owned());
                let error = Some(Failure { cause, ..message.into() });
                let failed = State { status: Status::Failed, error, ..state };
                self.set_state(&failed).unwrap_or_else(|e| tracing::warn!("{e}"));
            }
            _ => {}
        }
    }

    /// The end of the worker's log, at most `max_bytes`.
    pub fn log_tail(&self, max_bytes: u64) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.path("worker.log"))?;
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(max_bytes)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("troupe-jobs-{}-{name}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        dir
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_that_never_began_has_failed() -> Result<()> {
        let run = RunFolder::create(&scratch("early"), "seed = 1\n")?;
        let script = "echo no such base >&2; exit 3".into();
        run.spawn(Path::new("/bin/sh"), &["-c".into(), script])?;
        let started = SystemTime::now();
        let state = loop {
            let state = run.state()?;
            let waited = started.elapsed().unwrap_or_default();
            if state.status != Status::Waiting || waited > Duration::from_secs(60) {
                break state;
            }
            std::thread::yield_now();
        };
        assert_eq!(state.status, Status::Failed);
        let told = state.error.unwrap_or_default();
        assert!(told.message.contains("no such base") && told.message.contains('3'), "{told:?}");
        assert_eq!(told.cause.as_deref(), Some(ENDED_AT_ONCE));
        Ok(())
    }

    #[test]
    fn a_failure_survives_the_file_and_older_ones_are_read() -> Result<()> {
        let run = RunFolder::create(&scratch("failure"), "seed = 1\n")?;
        let values = [("path".to_owned(), "/dot".to_owned())].into();
        let cause = Some("diskFull".to_owned());
        let error = Some(Failure { cause, values, ..String::from("the disk is full").into() });
        let state = State { status: Status::Failed, error, ..State::default() };
        run.set_state(&state)?;
        assert_eq!(run.state()?, state);
        let old = r#"{"status":"failed","step":1,"numSteps":2,"elapsedSecs":0.0,"etaSecs":null,
            "error":"the disk is full"}"#;
        let path = run.path("state.json");
        fs::write(&path, old).map_err(io("writing the run's state", &path))?;
        assert_eq!(run.state()?.error, Some(String::from("the disk is full").into()));
        Ok(())
    }

    #[test]
    fn events_survive_a_torn_line() -> Result<()> {
        let dir = scratch("events");
        let run = RunFolder::create(&dir, "seed = 1\n")?;
        run.append(&1)?;
        let path = dir.join("events.jsonl");
        let append = |text: &str| {
            let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
            file.write_all(text.as_bytes()).expect("a write");
        };
        append("{torn");
        let (events, offset): (Vec<i32>, u64) = run.events(0)?;
        assert_eq!(events, [1]);
        append("\n3\n");
        let (events, _): (Vec<i32>, u64) = run.events(offset)?;
        assert_eq!(events, [3]);
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }

    #[test]
    fn a_run_without_worker_is_interrupted() -> Result<()> {
        let dir = scratch("lock");
        let run = RunFolder::create(&dir, "")?;
        assert!(RunFolder::create(&dir, "").is_err(), "a run is never overwritten");
        let running = State { status: Status::Running, ..State::default() };
        run.set_state(&running)?;
        let lock = run.lock()?;
        assert!(matches!(run.lock(), Err(JobError::Busy)));
        assert_eq!(run.state()?.status, Status::Running);
        drop(lock);
        assert_eq!(run.state()?.status, Status::Interrupted);
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }

    #[test]
    fn only_a_worker_that_has_ended_is_waited_for() -> Result<()> {
        let dir = scratch("leaving");
        let run = RunFolder::create(&dir, "")?;
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(30));
        let lock = run.lock()?;
        run.set_state(&State { status: Status::Running, ..State::default() })?;
        run.wait_for_leaving(long);
        assert!(run.is_worked_on(), "it is at work");
        run.set_state(&State { status: Status::Paused, ..State::default() })?;
        run.wait_for_leaving(short);
        assert!(run.is_worked_on(), "no longer than the limit");
        let leaves = std::thread::spawn(move || drop(lock));
        run.wait_for_leaving(long);
        assert!(!run.is_worked_on());
        leaves.join().expect("the worker");
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }

    #[test]
    fn requests_reach_the_worker_once() -> Result<()> {
        let dir = scratch("control");
        let run = RunFolder::create(&dir, "")?;
        assert_eq!(run.requested(), None);
        run.request(Request::Pause)?;
        assert_eq!(run.requested(), Some(Request::Pause));
        run.clear_request()?;
        assert_eq!(run.requested(), None);
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }

    /// Otherwise another worker that has ended could start the next run beside this one.
    #[cfg(unix)]
    #[test]
    fn a_run_is_taken_from_the_moment_its_worker_is_started() -> Result<()> {
        let dir = scratch("taken");
        let run = RunFolder::create(&dir, "")?;
        assert!(!run.is_taken());
        assert!(run.spawn(Path::new("/nowhere/troupe"), &[]).is_err());
        assert!(!run.is_taken(), "nothing was started");
        run.spawn(Path::new("/bin/sh"), &["-c".into(), "read line".into()])?;
        assert!(run.is_taken() || run.state()?.status == Status::Failed);
        let began = std::time::Instant::now();
        while run.state()?.status == Status::Waiting {
            assert!(began.elapsed() < Duration::from_secs(60), "its end was not noticed");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!run.is_taken(), "it ended before it locked the run");
        let lock = run.lock()?;
        assert!(run.is_taken());
        drop(lock);
        assert!(!run.is_taken());
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }

    #[test]
    fn a_heart_beats_while_it_is_held() -> Result<()> {
        let dir = scratch("heartbeat");
        let run = RunFolder::create(&dir, "")?;
        assert_eq!(run.last_beat(), None);
        let heart = run.heartbeat();
        let started = std::time::Instant::now();
        while run.last_beat().is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "no beat");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(heart);
        fs::remove_dir_all(&dir).ok();
        Ok(())
    }
}
