//! Findings about the picture files, and about whole folders.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{Check, Found, material::named};
use crate::{
    Character,
    error::{Error, Result},
    pictures,
    rolescape::{self, ImportReport, Severity},
};

/// Shorter sides than this show too little at the size that the built-in base draws.
const SMALL_SIDE: u32 = 128;

/// What is known of a picture file: its size and the hash of its pixels, or why it cannot be read.
type Facts = std::result::Result<((u32, u32), String), String>;

/// A file as it is: path, time of the last change and length.
type FileKey = (PathBuf, SystemTime, u64);

/// The facts of files that were opened before.
static KNOWN: LazyLock<Mutex<HashMap<FileKey, Facts>>> = LazyLock::new(Mutex::default);

fn facts(path: &Path) -> Facts {
    let read = || {
        let decoded = pictures::decode_file(path).map_err(|error| error.to_string())?;
        Ok((decoded.original_size, pictures::pixel_hash(&decoded.image)))
    };
    let told = fs::metadata(path).and_then(|of| Ok((of.modified()?, of.len())));
    let Ok((modified, len)) = told else { return read() };
    let key = (path.to_path_buf(), modified, len);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = known().get(&key).cloned();
    kept.unwrap_or_else(|| {
        let facts = read();
        known().insert(key, facts.clone());
        facts
    })
}

/// Checks the picture files: readable, large enough, no two alike.
pub(super) fn picture_files(character: &Character, found: &mut Found) {
    let (mut broken, mut small, mut twins) = (Vec::new(), Vec::new(), Vec::new());
    let mut first: HashMap<String, &str> = HashMap::new();
    for picture in &character.pictures {
        let ((width, height), hash) = match facts(&character.picture_path(picture)) {
            Ok(facts) => facts,
            Err(reason) => {
                broken.push(format!("{} ({reason})", picture.id));
                continue;
            }
        };
        if width.min(height) < SMALL_SIDE {
            small.push(format!("{} ({width}×{height})", picture.id));
        }
        if let Some(twin) = first.insert(hash, &picture.id) {
            twins.push(format!("{twin} and {}", picture.id));
        }
    }
    if !broken.is_empty() {
        let message = format!("pictures that cannot be read: {}", named(&broken));
        let hint = "Add them again from the original.";
        found.add(Severity::Error, "broken-picture", message, hint).with_ids(&broken);
    }
    if !twins.is_empty() {
        let message = format!("the same picture twice: {}", named(&twins));
        let hint = "Remove one of each; a repeated picture is learned by heart.";
        found.add(Severity::Warning, "same-picture", message, hint).with_ids(&twins);
    }
    if !small.is_empty() {
        let message = format!("pictures smaller than {SMALL_SIDE} pixels: {}", named(&small));
        let hint = "Use larger ones if you have them.";
        found.add(Severity::Warning, "small-picture", message, hint).with_ids(&small);
    }
}

/// Findings of one character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharacterChecks {
    /// Its name, or the folder's when it cannot be read.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What was found, the gravest first.
    pub checks: Vec<Check>,
}

/// What a folder turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FolderChecks {
    /// Characters of this project.
    Characters {
        /// One entry a character.
        characters: Vec<CharacterChecks>,
    },
    /// A data set in RoleScape-20's layout.
    Rolescape {
        /// What importing it would do and notice.
        report: ImportReport,
    },
}

impl FolderChecks {
    /// Number of findings of a severity.
    pub fn num(&self, severity: Severity) -> usize {
        match self {
            Self::Characters { characters } => {
                let checks = characters.iter().flat_map(|c| &c.checks);
                checks.filter(|check| check.severity == severity).count()
            }
            Self::Rolescape { report } => report.num_findings(severity),
        }
    }
}

/// Checks a folder: one character's, one with characters in it, or a data set.
///
/// # Errors
/// When the folder is none of these.
pub fn check_folder(folder: &Path) -> Result<FolderChecks> {
    let is_character = |dir: &Path| dir.join("character.json").is_file();
    if is_character(folder) {
        return Ok(FolderChecks::Characters { characters: vec![of_folder(folder)] });
    }
    let entries =
        fs::read_dir(folder).map_err(|e| Error::io("opening a folder to check", folder, e))?;
    let mut inside: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    inside.retain(|dir| is_character(dir));
    inside.sort();
    if !inside.is_empty() {
        let characters = inside.iter().map(|dir| of_folder(dir)).collect();
        return Ok(FolderChecks::Characters { characters });
    }
    Ok(FolderChecks::Rolescape { report: rolescape::inspect(folder, None)? })
}

fn of_folder(folder: &Path) -> CharacterChecks {
    match Character::load(folder) {
        Ok(character) => CharacterChecks {
            name: character.name.clone(),
            folder: folder.to_path_buf(),
            checks: super::check_with_files(&character),
        },
        Err(error) => {
            let mut found = Found::default();
            let hint = "Mend the named line in a text editor, or restore the file.";
            found.add(Severity::Error, "unreadable", error.to_string(), hint);
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            CharacterChecks { name, folder: folder.to_path_buf(), checks: found.sorted() }
        }
    }
}
