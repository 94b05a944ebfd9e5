//! Every operation of the studio as a plain function, with wire types and error codes.
//!
//! [`Studio`] is the application without a window: library, chats, runs and the engine that owns
//! the model. The command line and the window are thin layers over it.

mod authoring;
mod characters;
mod chat;
mod compare;
mod discard;
mod drawing;
mod engine;
pub mod error;
mod evaluation;
mod export;
mod gallery;
mod generate;
mod keeping;
mod material;
mod memory;
mod package;
mod picture_file;
mod prompting;
mod recipes;
mod refining;
mod room;
mod scene;
mod speed;
mod sprites;
mod training;
mod trash;
mod tree;
pub mod wire;
mod wire_chat;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use troupe_character::Library;
use troupe_model::{runtime::LoadOptions, tokens::TextTokenizer};
use troupe_store::Store;

pub use chat::{Asked, ChatSink, DrawOptions, Drawn};
pub use compare::CompareSink;
pub use drawing::DrawingSink;
pub use engine::{Engine, ModelSlot};
pub use error::{ApiError, ApiResult, ErrorCause, ErrorCode};
pub use evaluation::evaluate;
pub use package::ENDING;
pub use training::{RunEvents, products, work};
pub use trash::KEPT_DAYS;

/// Where things are.
#[derive(Debug, Clone)]
pub struct StudioOptions {
    /// Data folder; the system's place for this user when absent.
    pub home: Option<PathBuf>,
    /// Base model folder; the bundled one when absent.
    pub model_dir: Option<PathBuf>,
    /// Program that trains in its own process.
    pub worker: Option<PathBuf>,
}

/// The application without a window. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Studio {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: PathBuf,
    model_dir: PathBuf,
    worker: Option<PathBuf>,
    library: Library,
    store: Mutex<Store>,
    engine: Engine,
    cancels: Mutex<HashMap<String, Arc<AtomicBool>>>,
    material: Mutex<material::MaterialIndex>,
    /// Of the base; read when first counted with.
    tokenizer: OnceLock<TextTokenizer>,
    /// What this process measured of the machine.
    trial_speed: Mutex<Option<f64>>,
}

/// The data folder of this user.
fn default_home() -> ApiResult<PathBuf> {
    directories::ProjectDirs::from("", "", "Troupe")
        .map(|dirs| dirs.data_dir().to_path_buf())
        .ok_or_else(|| {
            let hint = "Name a data folder with --home or TROUPE_HOME.";
            ApiError::new(ErrorCode::Storage, "this user has no home folder", hint)
        })
}

/// Finds a shipped folder: beside the program, in its resources, or above it and the current folder
/// in a source checkout.
pub fn shipped(relative: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let starts = [program, std::env::current_dir().ok()];
    for start in starts.into_iter().flatten() {
        for dir in start.ancestors() {
            for place in ["", "resources", "lib/troupe-studio", "lib/Troupe"] {
                let candidate = dir.join(place).join(relative);
                if candidate.is_dir() {
                    return Some(candidate);
                }
            }
        }
    }
    None
}

impl Studio {
    /// Opens the data folder, creating it if needed. The model is loaded when first used.
    ///
    /// # Errors
    /// When the data folder cannot be used.
    pub fn open(options: &StudioOptions) -> ApiResult<Self> {
        let home = match &options.home {
            Some(home) => std::path::absolute(home).unwrap_or_else(|_| home.clone()),
            None => default_home()?,
        };
        std::fs::create_dir_all(&home).map_err(|e| {
            let message = format!("the data folder cannot be created: {e} ({})", home.display());
            ApiError::new(ErrorCode::Storage, message, "Choose another one with --home.")
        })?;
        let bundled: Vec<PathBuf> =
            shipped("characters").filter(|dir| !dir.starts_with(&home)).into_iter().collect();
        let library = Library::open(&home, &bundled)?;
        let model_dir = options
            .model_dir
            .clone()
            .or_else(|| shipped("assets/models/mini"))
            .unwrap_or_else(|| home.join("models").join("mini"));
        let inner = Inner {
            store: Mutex::new(Store::open(&home.join("troupe.db"))?),
            worker: options.worker.clone(),
            engine: Engine::start()?,
            cancels: Mutex::default(),
            material: Mutex::default(),
            tokenizer: OnceLock::new(),
            trial_speed: Mutex::default(),
            library,
            model_dir,
            home,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The data folder.
    pub fn home(&self) -> &Path {
        &self.inner.home
    }

    /// The base model's folder.
    pub fn model_dir(&self) -> &Path {
        &self.inner.model_dir
    }

    /// The characters.
    pub fn library(&self) -> &Library {
        &self.inner.library
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // SQLite keeps the database whole whatever a panicking thread left undone.
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_options(&self) -> LoadOptions {
        LoadOptions::default()
    }

    /// Marks replies that a crash left half-written as stopped. The window calls it once at start.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn recover(&self) -> ApiResult<usize> {
        Ok(self.store().recover()?)
    }

    /// State of the program. Never waits for the engine to finish other work.
    pub fn status(&self) -> wire::AppStatus {
        let config = troupe_model::config::ModelConfig::from_dir(self.model_dir());
        wire::AppStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            home: self.home().display().to_string(),
            model_dir: self.model_dir().display().to_string(),
            problem: config.err().map(Into::into),
            model: self.engine().loaded(),
            resident_mb: memory::resident_mb(),
            available_mb: memory::available_mb(),
            num_connections: memory::num_connections(),
            teaching: self.teaching(),
            evaluating: self.evaluating(),
        }
    }

    pub(crate) fn register(&self, id: &str) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut cancels = self.inner.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels.insert(id.into(), flag.clone());
        flag
    }

    pub(crate) fn unregister(&self, id: &str) {
        self.inner.cancels.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Stops a generation at its next token or step. Unknown ids are ignored: it may just have ended.
    pub fn stop(&self, generation_id: &str) {
        let cancels = self.inner.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flag) = cancels.get(generation_id) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Folder of pictures drawn in chats.
    pub fn pictures_dir(&self) -> PathBuf {
        self.home().join("pictures")
    }

    /// File of a drawn picture.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn drawn_picture_file(&self, id: &str) -> ApiResult<PathBuf> {
        Ok(self.pictures_dir().join(self.store().picture(id)?.file))
    }
}

/// Writes a file whole or not at all.
fn write_atomic(path: &Path, bytes: &[u8]) -> ApiResult<()> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&part, bytes)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|e| {
        let message = format!("writing a file failed: {e} ({})", path.display());
        ApiError::new(ErrorCode::Storage, message, "Is the disk full or write-protected?")
            .because(ErrorCause::FileFailed)
            .with("path", path.display())
            .with("reason", e)
    })
}

/// Milliseconds since 1970.
fn now_ms() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0., |d| d.as_secs_f64() * 1000.).floor()
}
