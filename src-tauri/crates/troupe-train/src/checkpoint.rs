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
const KEPT: usize = 2;

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
    let what = "writing a checkpoint";
    let (part, whole) = (dir.join(format!("{}.part", name(step))), dir.join(name(step)));
    if part.exists() {
        fs::remove_dir_all(&part).map_err(io(what, &part))?;
    }
    fs::create_dir_all(&part).map_err(io(what, &part))?;
    let file = part.join(TENSORS);
    candle_core::safetensors::save(tensors, &file).map_err(|e| TrainError::Malformed {
        what: "the checkpoint",
        reason: format!("it could not be written (is the disk full?): {e}"),
        path: file.clone(),
    })?;
    sync(&file)?;
    let state_file = part.join(STATE);
    let text = serde_json::to_string_pretty(state).unwrap_or_default();
    fs::write(&state_file, text).map_err(io(what, &state_file))?;
    sync(&state_file)?;
    if whole.exists() {
        fs::remove_dir_all(&whole).map_err(io(what, &whole))?;
    }
    fs::rename(&part, &whole).map_err(io(what, &whole))?;
    let mut all = list(dir);
    all.truncate(all.len().saturating_sub(KEPT));
    for old in all {
        if let Err(error) = fs::remove_dir_all(&old) {
            tracing::warn!("an old checkpoint stays: {error} ({})", old.display());
        }
    }
    Ok(whole)
}

fn sync(path: &Path) -> TrainResult<()> {
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(io("writing a checkpoint", path))
}

/// Whole checkpoints under `dir`, oldest first.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && !name.ends_with(".part") && path.join(STATE).exists()
        })
        .collect();
    found.sort_unstable();
    found
}

/// Reads the newest checkpoint under `dir`, if there is one.
///
/// # Errors
/// When it is unreadable.
pub fn load_latest<S: DeserializeOwned>(
    dir: &Path,
) -> TrainResult<Option<(HashMap<String, Tensor>, S)>> {
    let Some(folder) = list(dir).pop() else {
        return Ok(None);
    };
    let state_file = folder.join(STATE);
    let text = fs::read_to_string(&state_file).map_err(io("reading a checkpoint", &state_file))?;
    let malformed = |reason: String| TrainError::Malformed {
        what: "the checkpoint",
        reason: format!("{reason}; remove its folder to resume from the one before"),
        path: folder.clone(),
    };
    let state = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    let tensors = candle_core::safetensors::load(folder.join(TENSORS), &Device::Cpu)
        .map_err(|e| malformed(e.to_string()))?;
    Ok(Some((tensors, state)))
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
}
