//! Scaffolding of the tests that cross crates: a scratch studio on a tiny base, and its program.

#![expect(clippy::unwrap_used, reason = "only tests use this crate")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{OnceLock, mpsc::channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use troupe_api::{
    Studio, StudioOptions,
    wire::{ChatEvent, MessageItem, PictureMode, SendMessage},
};

/// Longest wait for something that a test started.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A scratch folder with a tiny base and an empty data folder.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes one.
    #[expect(clippy::new_without_default, reason = "it writes to disk")]
    pub fn new() -> Self {
        let scratch = Self { dir: tempfile::tempdir().unwrap() };
        troupe_testkit::write_tiny_model(&scratch.model_dir());
        scratch
    }

    /// A folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The base model's folder.
    pub fn model_dir(&self) -> PathBuf {
        self.path("model")
    }

    /// The data folder.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Opens the studio; a second call is a restart, once the first one has been dropped.
    pub fn studio(&self) -> Studio {
        let options = StudioOptions {
            home: Some(self.home()),
            model_dir: Some(self.model_dir()),
            worker: Some(program().into()),
        };
        Studio::open(&options).unwrap()
    }

    /// Writes a data set about `name` and returns its folder.
    pub fn rolescape(&self, name: &str) -> PathBuf {
        let root = self.path("rolescape");
        troupe_testkit::write_rolescape(&root, name);
        root
    }

    /// Imports `name` and returns its id.
    pub fn import(&self, name: &str) -> String {
        let outcome = self.studio().import_rolescape(&self.rolescape(name), None).unwrap();
        outcome.character_ids[0].clone()
    }

    /// The `troupe` program on this folder.
    pub fn troupe(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_remove("TROUPE_LOG").env("TROUPE_HOME", self.home());
        command.env("TROUPE_MODEL", self.model_dir()).args(arguments);
        command
    }
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The built `troupe` program; builds it once if needed, as the tests' own profile does.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("TROUPE_PROGRAM") {
            return path.into();
        }
        let arguments = ["build", "--quiet", "--package", "troupe-cli"];
        let status = Command::new(env!("CARGO")).args(arguments).status().unwrap();
        assert!(status.success(), "troupe does not build");
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("troupe")
    })
}

/// Says something and returns all events.
pub fn say(studio: &Studio, chat_id: &str, text: &str) -> Vec<ChatEvent> {
    let request = SendMessage {
        chat_id: chat_id.into(),
        parent_id: None,
        text: text.into(),
        picture_mode: PictureMode::Always,
        seed: Some(5),
        ..SendMessage::default()
    };
    let (sender, events) = channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    studio.send_message(request, sink).unwrap();
    events.into_iter().collect()
}

/// The reply that `events` ended with.
pub fn reply(events: &[ChatEvent]) -> &MessageItem {
    match events.last() {
        Some(ChatEvent::Done { message }) => message,
        other => panic!("the generation ended with {other:?}"),
    }
}

/// Asks `ready` again and again until it answers, for at most [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
