//! Atomic writing, line-by-line reading, and safe names.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// Writes `bytes` so that a reader sees the old file or the new one, never a part.
///
/// Does nothing when the file already holds these bytes.
///
/// # Errors
/// When the folder cannot be written; the old file is then untouched.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let doing = "writing a file";
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = folder.join(format!(".{name}.{}.tmp", random(8)));
    let written = File::create(&temp)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temp, path));
    if let Err(error) = written {
        if temp.exists()
            && let Err(left) = fs::remove_file(&temp)
        {
            tracing::debug!("left a temporary file behind ({left}): {}", temp.display());
        }
        return Err(Error::io(doing, path, error));
    }
    sync_folder(folder);
    Ok(())
}

/// Makes a rename durable where the platform can; elsewhere the rename itself is the promise.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Err(error) = File::open(folder).and_then(|dir| dir.sync_all())
    {
        tracing::debug!("could not sync a folder ({error}): {}", folder.display());
    }
}

/// Reads a text file, without a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io("reading a file", path, e))?;
    decode(path, bytes)
}

/// Like [`read_text`], but a file that does not exist is `None`.
pub(crate) fn read_text_if_any(path: &Path) -> Result<Option<String>> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Error::Malformed {
            file: path.to_path_buf(),
            line: 1 + valid.iter().filter(|&&b| b == b'\n').count(),
            problem: "not UTF-8 text".into(),
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// One JSON value per line; blank lines are skipped.
pub(crate) fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>> {
    let Some(text) = read_text_if_any(path)? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(line).map_err(|error| Error::Malformed {
            file: path.to_path_buf(),
            line: index + 1,
            problem: json_problem(&error),
        })?;
        rows.push((index + 1, row));
    }
    Ok(rows)
}

/// One JSON value for the whole file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Error::Malformed {
        file: path.to_path_buf(),
        line: error.line().max(1),
        problem: json_problem(&error),
    })
}

/// serde_json's message without its own "at line 1 column 7", which counts within one line.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} (column {})", &text[..at], error.column()),
        None => text,
    }
}

/// Serialises rows, one a line, ending with a newline; no rows give an empty file.
pub(crate) fn to_jsonl<T: Serialize>(rows: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend(to_json_line(row)?);
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn to_json_line<T: Serialize>(row: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(row).map_err(|e| Error::Io {
        doing: "turning a record into JSON",
        path: PathBuf::new(),
        source: e.into(),
    })
}

/// Serialises one value over several lines, ending with a newline.
pub(crate) fn to_json_pretty<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::Io {
        doing: "turning a record into JSON",
        path: PathBuf::new(),
        source: e.into(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("creating a folder", path, e))
}

/// Copies a folder with everything in it. The target must not exist.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).map_err(|e| Error::io("copying a character", to, e))?;
    let entries = fs::read_dir(from).map_err(|e| Error::io("copying a character", from, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("copying a character", from, e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| Error::io("copying a character", &source, e))?;
        if kind.is_dir() {
            copy_folder(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(|e| Error::io("copying a character", &target, e))?;
        } else {
            tracing::warn!("left out a link or device: {}", source.display());
        }
    }
    Ok(())
}

/// `len` random lower-case hex digits (at most 32).
pub(crate) fn random(len: usize) -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(len);
    id
}

/// A harmless folder name: ASCII letters, digits and single hyphens, never empty.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.nfkd().filter(|c| !('\u{300}'..='\u{36f}').contains(c)) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 40 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "character".into() } else { slug.into() }
}

/// True for a relative path that stays below its folder.
pub(crate) fn stays_inside(file: &str) -> bool {
    !file.is_empty()
        && !file.contains('\\')
        && Path::new(file).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_harmless() {
        assert_eq!(slug("../../x"), "x");
        assert_eq!(slug("名前"), "character");
        assert_eq!(slug("Zoë  O'Neil"), "zoe-o-neil");
        assert_eq!(slug("///"), "character");
        assert!(slug(&"a ".repeat(100)).len() <= 40);
    }

    #[test]
    fn inside_means_inside() {
        assert!(stays_inside("pictures/a.png"));
        for bad in ["", "../a", "/a", "a/../../b", "C:\\x", "./a"] {
            assert!(!stays_inside(bad), "{bad}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scenes.jsonl");
        fs::write(&file, "{\"a\":1}\n\n{\"a\":\n").unwrap();
        let error = read_jsonl::<serde_json::Value>(&file).unwrap_err();
        assert!(error.to_string().starts_with("line 3: "), "{error}");
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        write_atomic(&file, b"old").unwrap();
        // A folder in the way of the rename makes it fail after the temporary was written.
        let blocked = dir.path().join("b");
        fs::create_dir_all(blocked.join("x")).unwrap();
        assert!(write_atomic(&blocked, b"new").is_err());
        assert_eq!(fs::read(&file).unwrap(), b"old");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "no temporary file stays behind");
    }
}
