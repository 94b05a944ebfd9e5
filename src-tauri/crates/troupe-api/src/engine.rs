//! The one thread that owns the model.
//!
//! Work arrives as closures over a bounded queue; each gets the model slot. A panic inside ends that
//! piece of work alone: the slot is emptied and the model loaded anew by the next.

use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use troupe_model::runtime::{LoadOptions, Model};

use crate::{
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    wire::{LoadedAdapter, LoadedModel},
};

/// Pieces of work that may wait.
const QUEUE: usize = 16;

/// Said while the base is being loaded.
pub(crate) const LOADING_BASE: &str = "Loading the base model";
/// Said while an adapter is being loaded.
pub(crate) const LOADING_ADAPTER: &str = "Loading what the character learned";

/// A piece of work.
type Work = Box<dyn FnOnce(&mut ModelSlot) + Send>;

/// Handle to the engine's thread. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    queue: SyncSender<Work>,
    facts: Facts,
}

/// What is loaded, as of the last finished piece of work.
type Facts = Arc<Mutex<Option<LoadedModel>>>;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// The loaded model, if any.
#[derive(Default)]
pub struct ModelSlot {
    loaded: Option<Loaded>,
}

struct Loaded {
    model: Model,
    dir: PathBuf,
    adapter: Option<(PathBuf, std::time::SystemTime)>,
}

impl ModelSlot {
    /// The model of `dir` with `adapter` attached, loading and switching only what differs. `phase`
    /// is told what is being done.
    ///
    /// # Errors
    /// When base or adapter cannot be loaded.
    pub fn ensure(
        &mut self,
        dir: &Path,
        options: &LoadOptions,
        adapter: Option<&Path>,
        phase: &mut dyn FnMut(&str),
    ) -> ApiResult<&Model> {
        let mut loaded = match self.loaded.take() {
            Some(loaded) if loaded.dir == dir => loaded,
            other => {
                drop(other); // frees its memory before the next one takes any
                phase(LOADING_BASE);
                Loaded { model: Model::load(dir, options)?, dir: dir.to_path_buf(), adapter: None }
            }
        };
        let wanted = adapter.map(|path| (path.to_path_buf(), modified(path)));
        if loaded.adapter != wanted {
            loaded.adapter = None;
            match adapter {
                Some(path) => {
                    phase(LOADING_ADAPTER);
                    loaded.model.attach(path)?;
                }
                None => loaded.model.detach()?,
            }
            loaded.adapter = wanted;
        }
        Ok(&self.loaded.insert(loaded).model)
    }

    /// The model as it is, if one is loaded.
    pub fn loaded(&self) -> Option<&Model> {
        self.loaded.as_ref().map(|loaded| &loaded.model)
    }

    /// Frees the model's memory.
    pub fn unload(&mut self) {
        self.loaded = None;
    }
}

/// When an adapter was last written.
fn modified(path: &Path) -> std::time::SystemTime {
    let file = troupe_model::adapter::adapter_file(path);
    std::fs::metadata(file).and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH)
}

impl Engine {
    /// Starts the thread. It ends when the last handle is dropped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start() -> ApiResult<Self> {
        let (queue, work) = sync_channel::<Work>(QUEUE);
        let facts = Facts::default();
        let published = facts.clone();
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || serve(&work, &published))
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("no engine thread: {e}"), ""))?;
        Ok(Self { queue, facts })
    }

    /// What is loaded, as of the last finished piece of work; never waits for the present one.
    pub fn loaded(&self) -> Option<LoadedModel> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues work.
    ///
    /// # Errors
    /// When too much is waiting already.
    pub fn submit(&self, work: impl FnOnce(&mut ModelSlot) + Send + 'static) -> ApiResult<()> {
        self.queue.try_send(Box::new(work)).map_err(|error| match error {
            TrySendError::Full(_) => ApiError::new(
                ErrorCode::Busy,
                "too many requests are waiting",
                "Wait for the present one or stop it.",
            )
            .because(ErrorCause::EngineBusy),
            TrySendError::Disconnected(_) => {
                ApiError::new(ErrorCode::Internal, "the engine has ended", "Restart Troupe.")
                    .because(ErrorCause::EngineEnded)
            }
        })
    }

    /// Queues work and waits for its result.
    ///
    /// # Errors
    /// When too much is waiting, or the work panicked.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ModelSlot) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let (sender, receiver) = sync_channel(1);
        self.submit(move |slot| {
            // A caller that gave up has no use for the result.
            drop(sender.send(work(slot)));
        })?;
        receiver.recv().unwrap_or_else(|_| {
            let hint = "Try again; the model is loaded anew. The log has the details.";
            let message = "the engine stumbled over this request";
            Err(ApiError::new(ErrorCode::Internal, message, hint).because(ErrorCause::Stumbled))
        })
    }
}

fn serve(work: &Receiver<Work>, facts: &Facts) {
    let mut slot = ModelSlot::default();
    while let Ok(work) = work.recv() {
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(&mut slot)));
        if done.is_err() {
            tracing::error!("a request panicked; the model will be loaded anew");
            slot = ModelSlot::default();
        }
        *facts.lock().unwrap_or_else(PoisonError::into_inner) = slot.loaded().map(describe);
    }
}

fn describe(model: &Model) -> LoadedModel {
    let info = model.info();
    LoadedModel {
        name: info.name,
        device: info.device,
        precision: info.precision,
        base_hash: info.base_hash,
        adapter: model.adapter().map(|adapter| LoadedAdapter {
            hash: adapter.hash.clone(),
            character: adapter.config.character.clone(),
            stage: adapter.config.stage.clone(),
            step: adapter.config.step as u32,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_only_its_own_work() -> ApiResult<()> {
        let engine = Engine::start()?;
        let failed: ApiResult<()> = engine.run(|_| panic!("on purpose"));
        assert_eq!(failed.map_err(|e| e.code), Err(ErrorCode::Internal));
        assert!(engine.run(|slot| Ok(slot.loaded().is_none()))?);
        Ok(())
    }
}
