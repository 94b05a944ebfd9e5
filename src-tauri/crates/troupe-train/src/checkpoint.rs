//! Training checkpoints: everything needed to go on as if never interrupted.
//!
//! A checkpoint is a folder, written beside its final name and renamed, so that one that exists is
//! whole. Older ones are removed only after the new one is in place.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{TrainError, TrainResult};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "state.json";
/// Checkpoints kept.
pub(crate) const KEPT: usize = 2;

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_path_buf();
    move |source| TrainError::Io { what, source, path }
}

fn name(step: usize) -> String {
    format!("step-{step:07}")
}

/// Writes a checkpoint of `step` under `dir` and returns its folder.
///
/// # Errors
/// When the disk is full or unwritable; earlier checkpoints are then untouched.
pub fn save(
    dir: &Path,
    step: usize,
    tensors: &HashMap<String, Tensor>,
    state: &impl Serialize,
) -> TrainResult<PathBuf> {
    let whole = dir.join(name(step));
    save_to(&whole, tensors, state)?;
    let mut all = list(dir);
    all.truncate(all.len().saturating_sub(KEPT));
    for old in all {
        if let Err(error) = fs::remove_dir_all(&old) {
            tracing::warn!("an old checkpoint stays: {error} ({})", old.display());
        }
    }
    Ok(whole)
}

/// Writes a checkpoint to the folder `whole`, replacing one that is there.
///
/// # Errors
/// When the disk is full or unwritable; what was there before then stays, and what was half written
/// is removed.
pub fn save_to(
    whole: &Path,
    tensors: &HashMap<String, Tensor>,
    state: &impl Serialize,
) -> TrainResult<()> {
    let text = serde_json::to_string_pretty(state).unwrap_or_default();
    replace(whole, |part| {
        let file = part.join(TENSORS);
        candle_core::safetensors::save(tensors, &file).map_err(|e| TrainError::Io {
            what: "writing a checkpoint",
            source: std::io::Error::other(e.to_string()),
            path: file.clone(),
        })?;
        sync(&file)?;
        let file = part.join(STATE);
        fs::write(&file, &text).map_err(io("writing a checkpoint", &file))?;
        sync(&file)
    })
}

/// Lets `write` fill a folder beside `whole` and puts it in its place.
fn replace(whole: &Path, write: impl FnOnce(&Path) -> TrainResult<()>) -> TrainResult<()> {
    let what = "writing a checkpoint";
    let (part, old) = (whole.with_extension("part"), whole.with_extension("old"));
    for left in [&part, &old] {
        if left.exists() {
            fs::remove_dir_all(left).map_err(io(what, left))?;
        }
    }
    fs::create_dir_all(&part).map_err(io(what, &part))?;
    if let Err(error) = write(&part) {
        // A full disk needs the room, and a torn checkpoint is of no use.
        fs::remove_dir_all(&part).ok();
        return Err(error);
    }
    sync(&part)?;
    if whole.exists() {
        fs::rename(whole, &old).map_err(io(what, whole))?;
    }
    fs::rename(&part, whole).map_err(io(what, whole))?;
    if let Some(parent) = whole.parent() {
        sync(parent)?;
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(io(what, &old))?;
    }
    Ok(())
}

/// Has the system write a file or folder to the disk. Folders cannot be opened everywhere; where
/// they cannot, their entries are as safe as the system makes them.
fn sync(path: &Path) -> TrainResult<()> {
    match fs::File::open(path) {
        Ok(file) => match file.sync_all() {
            Err(error) if !path.is_dir() => Err(io("writing a checkpoint", path)(error)),
            _ => Ok(()),
        },
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(io("writing a checkpoint", path)(error)),
    }
}

/// Whole checkpoints under `dir`, oldest first.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && !name.contains('.') && path.join(STATE).exists()
        })
        .collect();
    found.sort_unstable();
    found
}

/// Reads the newest readable checkpoint under `dir`, if there is one. Unreadable ones are logged
/// and passed over: the one before leads to the same weights, only later.
///
/// # Errors
/// When there are checkpoints and none is readable.
pub fn load_latest<S: DeserializeOwned>(
    dir: &Path,
) -> TrainResult<Option<(HashMap<String, Tensor>, S)>> {
    let mut last = None;
    for folder in list(dir).into_iter().rev() {
        match load_from(&folder) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => {
                tracing::warn!("{error}");
                last.get_or_insert(error);
            }
        }
    }
    last.map_or(Ok(None), Err)
}

/// Reads the checkpoint in a folder.
///
/// # Errors
/// When it is unreadable.
pub fn load_from<S: DeserializeOwned>(folder: &Path) -> TrainResult<(HashMap<String, Tensor>, S)> {
    let state_file = folder.join(STATE);
    let text = fs::read_to_string(&state_file).map_err(io("reading a checkpoint", &state_file))?;
    let malformed = |reason: String| TrainError::Malformed {
        what: "the checkpoint",
        reason: format!("{reason}; start a new run"),
        path: folder.to_path_buf(),
    };
    let state = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    let tensors = candle_core::safetensors::load(folder.join(TENSORS), &Device::Cpu)
        .map_err(|e| malformed(e.to_string()))?;
    Ok((tensors, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_two_and_ignores_torn_ones() -> TrainResult<()> {
        let dir = std::env::temp_dir().join(format!("troupe-checkpoint-{}", std::process::id()));
        let tensor = |x: f32| Tensor::new(&[x], &Device::Cpu);
        for step in [1usize, 2, 3] {
            save(&dir, step, &HashMap::from([("x".to_owned(), tensor(step as f32)?)]), &step)?;
        }
        fs::create_dir_all(dir.join("step-0000009.part")).map_err(io("test", &dir))?;
        assert_eq!(list(&dir).len(), 2);
        let latest: Option<(HashMap<String, Tensor>, usize)> = load_latest(&dir)?;
        let (tensors, step) = latest.expect("a checkpoint");
        assert_eq!((step, tensors["x"].to_vec1::<f32>()?), (3, vec![3.]));
        fs::remove_dir_all(&dir).map_err(io("test", &dir))
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("troupe-{name}-{}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        dir
    }

    #[test]
    fn a_full_disk_costs_nothing_that_was_there() -> TrainResult<()> {
        let dir = scratch("full-disk");
        let tensors = HashMap::from([("x".to_owned(), Tensor::new(&[1f32], &Device::Cpu)?)]);
        let whole = save(&dir, 1, &tensors, &1usize)?;
        let full = replace(&whole, |part| {
            let file = part.join(TENSORS);
            fs::write(&file, [0; 64]).map_err(io("test", &file))?;
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            Err(io("writing a checkpoint", &file)(source))
        });
        assert!(full.is_err());
        assert!(!whole.with_extension("part").exists(), "the room is given back");
        let latest: Option<(HashMap<String, Tensor>, usize)> = load_latest(&dir)?;
        assert_eq!(latest.map(|(_, step)| step), Some(1));
        fs::remove_dir_all(&dir).map_err(io("test", &dir))
    }

    #[test]
    fn a_torn_checkpoint_is_passed_over() -> TrainResult<()> {
        let dir = scratch("torn");
        let tensors = HashMap::from([("x".to_owned(), Tensor::new(&[1f32], &Device::Cpu)?)]);
        save(&dir, 1, &tensors, &1usize)?;
        let newer = save(&dir, 2, &tensors, &2usize)?;
        let file = newer.join(TENSORS);
        let bytes = fs::read(&file).map_err(io("test", &file))?;
        fs::write(&file, &bytes[..bytes.len() / 2]).map_err(io("test", &file))?;
        let latest: Option<(HashMap<String, Tensor>, usize)> = load_latest(&dir)?;
        assert_eq!(latest.map(|(_, step)| step), Some(1));
        fs::remove_dir_all(dir.join("step-0000001")).map_err(io("test", &dir))?;
        assert!(load_latest::<usize>(&dir).is_err());
        fs::remove_dir_all(&dir).map_err(io("test", &dir))
    }
}
