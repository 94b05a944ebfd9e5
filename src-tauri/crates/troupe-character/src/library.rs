//! All characters of one data folder, plus the read-only ones that came with Troupe.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::character::{Character, Draft, Source};
use crate::error::{Error, Result};
use crate::files::{
    copy_folder, create_folder, random, read_json, slug, to_json_pretty, write_atomic,
};
use crate::normalise::edit_distance;

const TRASH_NOTE: &str = "trashed.json";

/// The characters under a data folder.
#[derive(Debug, Clone)]
pub struct Library {
    root: PathBuf,
    trash: PathBuf,
    bundled: Vec<PathBuf>,
}

/// What a list shows of one character.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Id, or the folder name when the folder cannot be read.
    pub id: String,
    /// Display name, or the folder name when the folder cannot be read.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// Came with Troupe; copied before it is changed.
    pub is_bundled: bool,
    /// Id of the character this is a copy of.
    pub copy_of: Option<String>,
    /// First picture, for a portrait.
    pub portrait: Option<PathBuf>,
    /// Pictures in all.
    pub num_pictures: usize,
    /// Persona, for a subtitle.
    pub persona: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Names of the folders in `adapters/`.
    pub adapters: Vec<String>,
    /// Why the folder cannot be read.
    pub problem: Option<String>,
}

/// A deleted character that can be restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trashed {
    /// What [`Library::restore`] takes.
    pub trash_id: String,
    /// Id of the character.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Folder name that it had.
    pub folder: String,
}

impl Library {
    /// Opens `<home>/characters`, creating it if needed. Each of `bundled` is a folder of read-only
    /// characters; those that do not exist are skipped.
    ///
    /// # Errors
    /// When the folders cannot be created.
    pub fn open(home: &Path, bundled: &[PathBuf]) -> Result<Self> {
        let library = Self {
            root: home.join("characters"),
            trash: home.join("trash").join("characters"),
            bundled: bundled.iter().filter(|dir| dir.is_dir()).cloned().collect(),
        };
        create_folder(&library.root)?;
        create_folder(&library.trash)?;
        Ok(library)
    }

    /// Folder that holds the user's characters.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All characters, the user's first, each part by name. A folder that cannot be read is listed
    /// with its problem rather than hidden.
    ///
    /// # Errors
    /// When the library folder itself cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = entries_in(&self.root, false)?;
        for folder in &self.bundled {
            entries.extend(entries_in(folder, true)?);
        }
        entries.sort_by_key(|e| (e.is_bundled, e.name.to_lowercase(), e.dir.clone()));
        Ok(entries)
    }

    /// Finds one character by id, folder name or display name (upper and lower case alike).
    ///
    /// A user's own character comes before a bundled one of the same name.
    ///
    /// # Errors
    /// When nothing matches (with names that look alike), or a name matches several.
    pub fn find(&self, wanted: &str) -> Result<Entry> {
        let wanted = wanted.trim();
        let entries = self.list()?;
        if let Some(entry) = entries.iter().find(|e| e.id == wanted) {
            return Ok(entry.clone());
        }
        for is_bundled in [false, true] {
            let named: Vec<&Entry> = entries
                .iter()
                .filter(|e| e.is_bundled == is_bundled && answers_to(e, wanted))
                .collect();
            match named.as_slice() {
                [] => {}
                [one] => return Ok((*one).clone()),
                many => {
                    return Err(Error::Ambiguous {
                        asked: wanted.into(),
                        ids: many.iter().map(|e| e.id.clone()).collect(),
                    });
                }
            }
        }
        Err(Error::NoSuchCharacter { asked: wanted.into(), similar: similar(&entries, wanted) })
    }

    /// Reads one character, found as by [`Library::find`].
    ///
    /// # Errors
    /// Like [`Library::find`] and [`Character::load`].
    pub fn load(&self, wanted: &str) -> Result<Character> {
        Character::load(&self.find(wanted)?.dir)
    }

    /// True when the folder belongs to a bundled character.
    pub fn is_bundled(&self, dir: &Path) -> bool {
        self.bundled.iter().any(|folder| dir.starts_with(folder))
    }

    /// Starts a new character in a folder of its own.
    ///
    /// # Errors
    /// When the name is blank or the folder cannot be written.
    pub fn create(&self, draft: Draft) -> Result<Character> {
        let mut character = Character::new(draft, PathBuf::new())?;
        self.place(&mut character)?;
        Ok(character)
    }

    /// Gives a character without a folder its folder, appearing whole or not at all.
    pub(crate) fn place(&self, character: &mut Character) -> Result<()> {
        let hidden = self.root.join(format!(".new-{}", random(12)));
        character.dir = hidden.clone();
        let placed = character.save().and_then(|()| self.adopt(&hidden, &character.name));
        if placed.is_err() {
            remove_hidden(&hidden);
        }
        character.dir = placed?;
        Ok(())
    }

    /// Gives a finished hidden folder its place among the characters.
    pub(crate) fn adopt(&self, hidden: &Path, name: &str) -> Result<PathBuf> {
        let target = self.free_folder(name);
        rename(hidden, &target, "creating a character")?;
        Ok(target)
    }

    /// Saves a changed character.
    ///
    /// # Errors
    /// When it is a bundled one, its name is blank, or the folder cannot be written.
    pub fn save(&self, character: &Character) -> Result<()> {
        if self.is_bundled(&character.dir) {
            return Err(Error::ReadOnly { name: character.name.clone() });
        }
        if character.name.trim().is_empty() {
            return Err(Error::NoName);
        }
        character.save()
    }

    /// Copies a character with its pictures and adapters under a new id.
    ///
    /// # Errors
    /// Like [`Library::find`], or when the copy cannot be written.
    pub fn duplicate(&self, wanted: &str, name: Option<&str>) -> Result<Character> {
        let original = self.load(wanted)?;
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let name = name.unwrap_or(&original.name).to_owned();
        let target = self.free_folder(&name);
        let hidden = self.root.join(format!(".new-{}", random(12)));
        let copied = copy_folder(&original.dir, &hidden).and_then(|()| {
            let mut copy =
                Character { dir: hidden.clone(), id: random(32), name, ..original.clone() };
            let source = copy.source.get_or_insert_default();
            source.copy_of = Some(original.id.clone());
            if ["", crate::rolescape::SOURCE_KIND, crate::cards::SOURCE_KIND]
                .contains(&source.kind.as_str())
            {
                // A copy goes its own way: importing again must not touch it.
                source.kind = "copy".into();
            }
            remove_if_there(&hidden.join(crate::rolescape::RECORD_FILE))?;
            remove_hidden(&hidden.join(crate::versions::FOLDER)); // the original's past, not its own
            copy.save()?;
            rename(&hidden, &target, "copying a character")?;
            copy.dir = target;
            Ok(copy)
        });
        if copied.is_err() {
            remove_hidden(&hidden);
        }
        copied
    }

    /// The character itself when it may be changed; for a bundled one the user's copy, which is
    /// made on first use.
    ///
    /// # Errors
    /// Like [`Library::duplicate`].
    pub fn editable(&self, wanted: &str) -> Result<Character> {
        let entry = self.find(wanted)?;
        if !entry.is_bundled {
            return Character::load(&entry.dir);
        }
        let copy = self.list()?.into_iter().find(|other| {
            !other.is_bundled
                && other.problem.is_none()
                && other.copy_of.as_ref() == Some(&entry.id)
        });
        match copy {
            Some(copy) => Character::load(&copy.dir),
            None => self.duplicate(&entry.id, None),
        }
    }

    /// Moves a character to the trash.
    ///
    /// # Errors
    /// When it is bundled, is not found, or cannot be moved.
    pub fn delete(&self, wanted: &str) -> Result<Trashed> {
        let entry = self.find(wanted)?;
        if entry.is_bundled {
            return Err(Error::ReadOnly { name: entry.name });
        }
        let folder = entry.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let trashed = Trashed { trash_id: random(16), id: entry.id, name: entry.name, folder };
        let holder = self.trash.join(&trashed.trash_id);
        create_folder(&holder)?;
        write_atomic(&holder.join(TRASH_NOTE), &to_json_pretty(&trashed)?)?;
        rename(&entry.dir, &holder.join(&trashed.folder), "moving a character to the trash")?;
        Ok(trashed)
    }

    /// What is in the trash.
    ///
    /// # Errors
    /// When the trash cannot be read.
    pub fn trashed(&self) -> Result<Vec<Trashed>> {
        let mut found = Vec::new();
        for holder in folders_in(&self.trash)? {
            match read_json::<Trashed>(&holder.join(TRASH_NOTE)) {
                Ok(trashed) if holder.join(&trashed.folder).is_dir() => found.push(trashed),
                Ok(_) => {} // restored; only the empty holder is left
                Err(error) => tracing::warn!("skipped an entry of the trash: {error}"),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Brings a character back from the trash.
    ///
    /// # Errors
    /// When the trash has no such entry, or the folder cannot be moved.
    pub fn restore(&self, trash_id: &str) -> Result<Character> {
        let trashed = self.trashed()?.into_iter().find(|t| t.trash_id == trash_id);
        let Some(trashed) = trashed else {
            return Err(Error::NoSuchCharacter { asked: trash_id.into(), similar: Vec::new() });
        };
        let holder = self.trash.join(&trashed.trash_id);
        let wanted = self.root.join(&trashed.folder);
        let target = if wanted.exists() { self.free_folder(&trashed.name) } else { wanted };
        rename(&holder.join(&trashed.folder), &target, "restoring a character")?;
        remove_hidden(&holder);
        Character::load(&target)
    }

    fn free_folder(&self, name: &str) -> PathBuf {
        loop {
            let folder = self.root.join(format!("{}-{}", slug(name), random(6)));
            if !folder.exists() {
                return folder;
            }
        }
    }
}

fn answers_to(entry: &Entry, wanted: &str) -> bool {
    entry.name.to_lowercase() == wanted.to_lowercase()
        || entry.dir.file_name().is_some_and(|folder| folder == wanted)
}

fn similar(entries: &[Entry], wanted: &str) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(usize, &str)> = entries
        .iter()
        .filter_map(|entry| {
            let name = entry.name.to_lowercase();
            let distance = edit_distance(&name, &wanted);
            let part = !wanted.is_empty() && (name.contains(&wanted) || wanted.contains(&name));
            let close = distance * 3 <= wanted.chars().count().max(3);
            (part || close).then_some((if part { 0 } else { distance }, entry.name.as_str()))
        })
        .collect();
    scored.sort();
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

fn entries_in(folder: &Path, is_bundled: bool) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for dir in folders_in(folder)? {
        if dir.join("character.json").exists() {
            entries.push(entry(dir, is_bundled));
        }
    }
    Ok(entries)
}

fn entry(dir: PathBuf, is_bundled: bool) -> Entry {
    let adapters = folders_in(&dir.join("adapters")).unwrap_or_default();
    let adapters = adapters
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    match Character::load_head(&dir) {
        Ok(character) => Entry {
            portrait: character.pictures.first().map(|p| character.picture_path(p)),
            num_pictures: character.pictures.len(),
            copy_of: character.source.as_ref().and_then(|s: &Source| s.copy_of.clone()),
            id: character.id,
            name: character.name,
            persona: character.persona,
            tags: character.tags,
            dir,
            is_bundled,
            adapters,
            problem: None,
        },
        Err(error) => {
            let folder = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Entry {
                id: folder.clone(),
                name: folder,
                dir,
                is_bundled,
                copy_of: None,
                portrait: None,
                num_pictures: 0,
                persona: String::new(),
                tags: Vec::new(),
                adapters,
                problem: Some(error.to_string()),
            }
        }
    }
}

/// Sub-folders in name order, without hidden ones. A folder that does not exist has none.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = "listing a folder";
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(doing, folder, error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(doing, folder, e))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn rename(from: &Path, to: &Path, doing: &'static str) -> Result<()> {
    if to.exists() {
        return Err(Error::AlreadyExists { path: to.to_path_buf() });
    }
    fs::rename(from, to).map_err(|e| Error::io(doing, to, e))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("copying a character", path, error))
        }
        _ => Ok(()),
    }
}

/// Clears away a half-made folder of ours; if that fails it stays hidden and harmless.
fn remove_hidden(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("could not remove a temporary folder ({error}): {}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Draft {
        Draft { name: name.into(), ..Draft::default() }
    }

    #[test]
    fn odd_names_are_harmless_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let library = Library::open(home.path(), &[]).unwrap();
        for name in ["../../x", "名前", "a/b\\c", "CON", "Pip"] {
            let made = library.create(named(name)).unwrap();
            assert_eq!(made.dir.parent().unwrap(), library.root(), "{name}");
            assert_eq!(library.load(name).unwrap().name, name);
        }
        assert!(matches!(library.create(named("  ")), Err(Error::NoName)));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn found_by_id_and_name_with_suggestions() {
        let home = tempfile::tempdir().unwrap();
        let library = Library::open(home.path(), &[]).unwrap();
        let pip = library.create(named("Harbour Pip")).unwrap();
        assert_eq!(library.load(&pip.id).unwrap(), pip);
        assert_eq!(library.load("harbour PIP").unwrap(), pip);
        let error = library.load("Harbor Pip").unwrap_err().to_string();
        assert!(error.contains("did you mean “Harbour Pip”?"), "{error}");
        library.create(named("harbour pip")).unwrap();
        assert!(matches!(library.load("harbour pip"), Err(Error::Ambiguous { .. })));
    }

    #[test]
    fn deleted_characters_come_back() {
        let home = tempfile::tempdir().unwrap();
        let library = Library::open(home.path(), &[]).unwrap();
        let pip = library.create(named("Pip")).unwrap();
        let trashed = library.delete("pip").unwrap();
        assert!(library.list().unwrap().is_empty());
        assert_eq!(library.trashed().unwrap(), vec![trashed.clone()]);
        assert_eq!(library.restore(&trashed.trash_id).unwrap(), pip);
        assert!(library.trashed().unwrap().is_empty());
    }

    #[test]
    fn bundled_characters_are_copied_on_edit() {
        let home = tempfile::tempdir().unwrap();
        let shipped = tempfile::tempdir().unwrap();
        let author = Library::open(shipped.path(), &[]).unwrap();
        let original = author.create(named("Pip")).unwrap();
        let library = Library::open(home.path(), &[author.root().to_path_buf()]).unwrap();
        assert!(library.find("pip").unwrap().is_bundled);
        assert!(matches!(library.save(&original), Err(Error::ReadOnly { .. })));
        assert!(matches!(library.delete("pip"), Err(Error::ReadOnly { .. })));
        let mut copy = library.editable("pip").unwrap();
        assert_ne!(copy.id, original.id);
        copy.greeting = "Ahoy.".into();
        library.save(&copy).unwrap();
        assert_eq!(library.editable(&original.id).unwrap(), copy, "the same copy again");
        assert_eq!(library.load("pip").unwrap(), copy, "the user's own comes first");
        assert_eq!(Character::load(&original.dir).unwrap(), original);
    }

    #[test]
    fn broken_folders_are_listed_with_their_problem() {
        let home = tempfile::tempdir().unwrap();
        let library = Library::open(home.path(), &[]).unwrap();
        let pip = library.create(named("Pip")).unwrap();
        fs::write(pip.dir.join("character.json"), "{").unwrap();
        let entries = library.list().unwrap();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].problem.as_ref().unwrap().contains("line 1"));
    }
}
