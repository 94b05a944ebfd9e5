//! What a run remembers of itself in a small JSON file.

use std::{io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{TrainError, TrainResult};

/// Reads a file; the default value when there is none. `what` names it in errors.
pub(crate) fn load<T: DeserializeOwned + Default>(
    what: &'static str,
    file: &Path,
) -> TrainResult<T> {
    let malformed =
        |reason: String| TrainError::Malformed { what, reason, path: file.to_path_buf() };
    match std::fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| malformed(e.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Writes a file, whole or not at all. `what` says what was being done in errors.
pub(crate) fn save<T: Serialize>(what: &'static str, file: &Path, value: &T) -> TrainResult<()> {
    let part = file.with_extension("part");
    let write = || -> io::Result<()> {
        std::fs::write(&part, serde_json::to_string_pretty(value)?)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, file)
    };
    write().map_err(|source| TrainError::Io { what, source, path: file.into() })
}
