//! A character as one file, with its pictures, its dialogue and what it learned, for others to import.
//!
//! The file is a zip archive with the ending `.troupe`. Its first entry, `troupe.json`, says what it
//! is; the others are the character's folder as it is on disk, without its versions and without what
//! an importer noted. Nothing is compressed: pictures and weights hardly would be, and an archive
//! that is no larger unpacked cannot fill a disk by surprise.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use troupe_character::{Character, Library};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    wire::{
        ImportAction, ImportNoticed, ImportOutcome, ImportRecords, ImportedCharacter, ImportedFile,
    },
};

/// Ending of such files.
pub const ENDING: &str = "troupe";
const MANIFEST: &str = "troupe.json";
const FORMAT: u32 = 1;
/// Parts of a character's folder that are the owner's alone.
const LEFT_OUT: [&str; 2] = ["versions", "import.json"];

/// The first entry: what the file is.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Version of the layout.
    format: u32,
    /// Name of the character.
    name: String,
    /// Version of the program that wrote it.
    troupe: String,
}

fn failed(path: &Path, error: &io::Error) -> ApiError {
    let message = format!("{error} ({})", path.display());
    let hint = "Is the disk full or write-protected? Choose another place.";
    let error_of = ApiError::new(ErrorCode::Storage, message, hint);
    error_of.because(ErrorCause::FileFailed).with("path", path.display()).with("reason", error)
}

fn unreadable(path: &Path, problem: impl ToString) -> ApiError {
    let problem = problem.to_string();
    let message = format!("this is no character that can be read: {problem} ({})", path.display());
    ApiError::new(ErrorCode::BadRequest, message, "Choose a file that Troupe exported.")
        .because(ErrorCause::NotACard)
        .with("path", path.display())
        .with("problem", problem)
}

/// Files under `folder` that belong to the character, relative to it, in a stable order.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        for entry in std::fs::read_dir(folder.join(&inside))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_hidden = name.to_string_lossy().starts_with('.');
            let is_left_out = inside.as_os_str().is_empty() && LEFT_OUT.iter().any(|l| name == *l);
            let kind = entry.file_type()?;
            if is_hidden || is_left_out {
                continue;
            } else if kind.is_dir() {
                open.push(inside.join(name));
            } else if kind.is_file() {
                found.push(inside.join(name));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn write(character: &Character, target: &Path) -> io::Result<()> {
    let mut archive = ZipWriter::new(BufWriter::new(File::create(target)?));
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let manifest = Manifest {
        format: FORMAT,
        name: character.name.clone(),
        troupe: env!("CARGO_PKG_VERSION").into(),
    };
    archive.start_file(MANIFEST, options)?;
    archive.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
    for inside in files_in(&character.dir)? {
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        archive.start_file(parts.join("/"), options)?;
        io::copy(&mut File::open(character.dir.join(&inside))?, &mut archive)?;
    }
    archive.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Writes the character in `file` to the empty folder `target`.
fn unpack(file: &Path, target: &Path) -> ApiResult<()> {
    let opened = File::open(file).map_err(|e| failed(file, &e))?;
    let bad = |e: zip::result::ZipError| unreadable(file, e);
    let mut archive = ZipArchive::new(BufReader::new(opened)).map_err(bad)?;
    let manifest = archive.by_name(MANIFEST).map_err(bad)?;
    let manifest: Manifest = serde_json::from_reader(manifest).map_err(|e| unreadable(file, e))?;
    if manifest.format > FORMAT {
        let message = format!("a newer Troupe wrote this file ({})", file.display());
        return Err(ApiError::new(ErrorCode::BadRequest, message, "Update Troupe.")
            .because(ErrorCause::NewerFormat)
            .with("path", file.display()));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(bad)?;
        // A name that leads out of the folder is nobody's by accident.
        let inside = entry.enclosed_name().ok_or_else(|| unreadable(file, "an unsafe name"))?;
        if inside == Path::new(MANIFEST) || entry.is_dir() {
            continue;
        }
        let path = target.join(inside);
        let mut copy = || -> io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(target))?;
            io::copy(&mut entry, &mut File::create_new(&path)?)?;
            Ok(())
        };
        copy().map_err(|e| failed(&path, &e))?;
    }
    Ok(())
}

/// What came in, for the report.
fn told(character: &Character, file: &Path) -> ImportedCharacter {
    let count = |file: &str, what, number: usize| {
        let number = number as u32;
        ImportedFile { file: file.into(), what, found: number, kept: number, usable: None }
    };
    ImportedCharacter {
        name: character.name.clone(),
        folder: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        action: ImportAction::Created,
        files: vec![
            count("pictures/", ImportRecords::Pictures, character.pictures.len()),
            count("scenes.jsonl", ImportRecords::Scenes, character.scenes.len()),
            count("prompts.jsonl", ImportRecords::Stage2Prompts, character.prompts.len()),
        ],
        noticed: ImportNoticed::default(),
    }
}

impl Studio {
    /// Writes a character with all it learned as one file, whole or not at all.
    ///
    /// # Errors
    /// When the character does not exist or cannot be read, or the file cannot be written.
    pub fn export_character(&self, id: &str, file: &Path) -> ApiResult<()> {
        let character = self.library().load(id)?;
        let part = file.with_extension("part");
        let written = write(&character, &part).and_then(|()| std::fs::rename(&part, file));
        written.map_err(|e| {
            drop(std::fs::remove_file(&part)); // it may not be there
            failed(file, &e)
        })
    }

    /// Imports a file that [`Studio::export_character`] wrote. The character is a new one, also where
    /// one of its name or its origin is there already.
    fn import_package(&self, file: &Path) -> ApiResult<Character> {
        let incoming = self.home().join(format!(".incoming-{}", uuid::Uuid::new_v4().simple()));
        let folder = incoming.join("character");
        let read = || -> ApiResult<Character> {
            unpack(file, &folder)?;
            let mut character = Character::load(&folder)?;
            // Not that of the original, which may be in this library.
            character.id = uuid::Uuid::new_v4().simple().to_string();
            character.save()?;
            let library = Library::open(self.home(), std::slice::from_ref(&incoming))?;
            Ok(library.duplicate(&character.id, None)?)
        };
        let imported = read();
        if let Err(error) = std::fs::remove_dir_all(&incoming)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("what was unpacked for an import stays: {error}");
        }
        imported
    }

    /// Imports character cards, and files that [`Studio::export_character`] wrote.
    ///
    /// # Errors
    /// When a file is none of them, or nothing was imported.
    pub fn import_character_files(&self, paths: &[PathBuf]) -> ApiResult<ImportOutcome> {
        let is_package = |path: &&PathBuf| {
            path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING))
        };
        let (packages, cards): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(is_package);
        let cards: Vec<PathBuf> = cards.into_iter().cloned().collect();
        let mut outcome = if cards.is_empty() && !packages.is_empty() {
            ImportOutcome::default()
        } else {
            self.import_cards(&cards)?
        };
        for file in packages {
            let character = self.import_package(file)?;
            outcome.characters.push(told(&character, file));
            outcome.character_ids.push(character.id);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs entries and tries to unpack them; the answer says whether anything got outside.
    fn unpacked(entries: &[(&str, &str)]) -> (ApiResult<()>, bool) {
        let name = format!("troupe-package-{}", uuid::Uuid::new_v4());
        let dir = std::env::temp_dir().join(name);
        let (file, target) = (dir.join("x.troupe"), dir.join("in").join("character"));
        std::fs::create_dir_all(&target).unwrap();
        let mut archive = ZipWriter::new(File::create(&file).unwrap());
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, text) in entries {
            archive.start_file(*name, stored).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        let result = unpack(&file, &target);
        let is_outside = dir.join("outside.txt").exists() || dir.join("in/outside.txt").exists();
        std::fs::remove_dir_all(&dir).unwrap();
        (result, is_outside)
    }

    #[test]
    fn what_is_no_character_file_is_refused() {
        let manifest = r#"{"format": 1, "name": "Dot", "troupe": "0.1.0"}"#;
        let newer = r#"{"format": 2, "name": "Dot", "troupe": "9.0.0"}"#;
        for (entries, cause) in [
            (vec![("character.json", "{}")], ErrorCause::NotACard),
            (vec![(MANIFEST, "soup")], ErrorCause::NotACard),
            (vec![(MANIFEST, newer)], ErrorCause::NewerFormat),
            (vec![(MANIFEST, manifest), ("../outside.txt", "x")], ErrorCause::NotACard),
            (vec![(MANIFEST, manifest), ("a/../../../outside.txt", "x")], ErrorCause::NotACard),
        ] {
            let (result, is_outside) = unpacked(&entries);
            assert_eq!(result.unwrap_err().cause, Some(cause), "{entries:?}");
            assert!(!is_outside, "{entries:?}");
        }
        let inside = [(MANIFEST, manifest), ("pictures/a.png", "x")];
        assert!(unpacked(&inside).0.is_ok());
    }
}
