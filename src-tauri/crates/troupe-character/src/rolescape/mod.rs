//! RoleScape-20, the data set published with UniCharacter (arXiv 2605.08129): import and export.
//!
//! The importer reads the raw files of the published layout and leaves the derived ones
//! (`processed/`, generator prompts) alone. It is lenient: whatever a record looks like, it arrives
//! or is named in the [`ImportReport`], with file and line. Importing again updates the same
//! character record by record; what a person changed since stays, and the report says so.
//!
//! | raw file (F folder, P prefix) | becomes |
//! |---|---|
//! | `annotation.json`, `P_with_image.json` | scenes with pictures, reasoning, picture questions |
//! | `P_dialogue_text_extension_{train,test}.json` | scenes without pictures |
//! | `P_t2i_instruction.json` | captions of the pictures |
//! | `P_knowledge_qa.json`, `P_knowledge_qa_test.json` | knowledge questions, multiple choice |
//! | `P_memorization_test.json`, `P_personality_test.json` | open prompts, cleaned, with the raw string |
//! | `P_full_profile.txt`, `P_personality_simplified_profile.txt` | `profile.md`, `personality.md` |
//! | `<dir>_pure_t2i.jsonl`, `<dir>_pure_t2i_with_vqa.jsonl` | stage-2 prompts with their questions |

mod clean;
mod convert;
mod export;
mod inspect;
mod lines;
mod locate;
mod merge;
mod raw;
mod report;

use std::fs;
use std::path::Path;

use crate::character::Character;
use crate::error::{Error, Result};
use crate::files::{random, write_atomic};
use crate::library::Library;

pub(crate) use convert::{Converted, DecodedPicture};
pub use export::{ExportReport, export};
pub(crate) use raw::Findings;
pub use report::{
    Action, CODES, CharacterImport, FileCount, ImportFinding, ImportReport, Records, Severity,
};

/// File in an imported character's folder that remembers what the data set said.
pub(crate) const RECORD_FILE: &str = "import.json";

/// Word in [`crate::Source::kind`] of an imported character.
pub(crate) const SOURCE_KIND: &str = "rolescape";

/// Imports every character of a folder, or the one called `only` (folder name or file prefix,
/// upper and lower case alike).
///
/// `folder` may be the top of the published repository, its `data` folder, the folder that holds
/// `train` and `test`, or one character's folder.
///
/// # Errors
/// When nothing of that layout is there, no character is called `only`, or the library cannot be
/// written. Damage inside a character's files is a finding of the report instead.
pub fn import(folder: &Path, only: Option<&str>, library: &Library) -> Result<ImportReport> {
    let dataset = locate::locate(folder)?;
    let chosen = locate::choose(&dataset, only)?;
    let mut report = ImportReport { findings: dataset.findings.clone(), ..ImportReport::default() };
    for place in chosen {
        let converted = convert::convert(place);
        let existing = find_existing(&converted.character, library)?;
        report.characters.push(store(converted, existing, library)?);
    }
    Ok(report)
}

/// Reads a data set without storing anything; what `validate` shows for a folder.
///
/// # Errors
/// When nothing of that layout is there, or no character is called `only`.
pub fn inspect(folder: &Path, only: Option<&str>) -> Result<ImportReport> {
    let dataset = locate::locate(folder)?;
    let chosen = locate::choose(&dataset, only)?;
    let mut report = ImportReport { findings: dataset.findings.clone(), ..ImportReport::default() };
    for place in chosen {
        report.characters.push(convert::convert(place).import);
    }
    Ok(report)
}

/// Names of the characters in a folder, as `(folder, prefix)`.
///
/// # Errors
/// When nothing of that layout is there.
pub fn names(folder: &Path) -> Result<Vec<(String, String)>> {
    let dataset = locate::locate(folder)?;
    Ok(dataset.characters.into_iter().map(|place| (place.folder, place.prefix)).collect())
}

/// Writes a converted character as a new one, or brings `existing` up to date with it.
pub(crate) fn store(
    converted: Converted,
    existing: Option<Character>,
    library: &Library,
) -> Result<CharacterImport> {
    let Converted { character: mut fresh, pictures, mut import, beside } = converted;
    let record = merge::Record::of(&fresh)?;
    match existing {
        None => {
            // Everything is written to a hidden folder first, so a crash leaves no half character.
            let hidden = library.root().join(format!(".import-{}", random(12)));
            fresh.dir = hidden.clone();
            let stored = write_all(&fresh, &pictures, &record)
                .and_then(|()| write_beside(&hidden, &beside))
                .and_then(|()| library.adopt(&hidden, &fresh.name));
            if stored.is_err() {
                discard(&hidden);
            }
            import.dir = stored?;
            import.id = fresh.id;
            import.action = Action::Created;
        }
        Some(mut current) => {
            let old_record = merge::Record::load(&current.dir)?;
            let outcome = merge::merge(&mut current, fresh, &old_record, &mut import.findings)?;
            for (picture, decoded) in &pictures {
                if outcome.pictures_to_store.contains(&picture.id) {
                    let hash = picture.hash.clone().unwrap_or_default();
                    current.store_picture(decoded, picture.id.clone(), hash, &picture.file)?;
                }
            }
            current.save()?;
            write_beside(&current.dir, &beside)?;
            record.save(&current.dir)?;
            import.id = current.id;
            import.dir = current.dir;
            import.action = if outcome.changed { Action::Updated } else { Action::Unchanged };
        }
    }
    Ok(import)
}

fn write_beside(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    files.iter().try_for_each(|(name, bytes)| write_atomic(&dir.join(name), bytes))
}

fn write_all(
    character: &Character,
    pictures: &[DecodedPicture],
    record: &merge::Record,
) -> Result<()> {
    for (picture, decoded) in pictures {
        let hash = picture.hash.clone().unwrap_or_default();
        character.store_picture(decoded, picture.id.clone(), hash, &picture.file)?;
    }
    character.save()?;
    record.save(&character.dir)
}

fn discard(hidden: &Path) {
    if let Err(error) = fs::remove_dir_all(hidden)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("could not remove a temporary folder ({error}): {}", hidden.display());
    }
}

/// The library's character that came from the same folder of the data set.
fn find_existing(fresh: &Character, library: &Library) -> Result<Option<Character>> {
    let key = |character: &Character| {
        let source = character.source.clone()?;
        (source.kind == SOURCE_KIND).then_some(source.folder).flatten()
    };
    let wanted = key(fresh);
    for entry in library.list()? {
        if entry.is_bundled || entry.problem.is_some() {
            continue;
        }
        match Character::load_head(&entry.dir) {
            Ok(head) if key(&head) == wanted => return Character::load(&entry.dir).map(Some),
            Ok(_) | Err(Error::Malformed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod classes;
