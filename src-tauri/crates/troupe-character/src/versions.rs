//! Earlier states of a character's texts: kept now and then, compared, and brought back.
//!
//! A version is a folder `versions/<milliseconds>/` inside the character with copies of its text
//! files and a note. Pictures are not copied: what a version names and the character has since
//! removed comes back from `pictures/removed/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Character, Speaker,
    character::TEXT_FILES,
    error::{Error, Result},
    files::{create_folder, read_json, to_json_pretty, write_atomic},
};

/// Folder of the versions inside a character's.
pub(crate) const FOLDER: &str = "versions";
const NOTE: &str = "version.json";
/// Unnamed versions that are kept; older ones make room.
const MAX_UNNAMED: usize = 40;

/// A kept state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Name of its folder.
    pub id: String,
    /// When it was kept, milliseconds since 1970.
    pub saved_ms: u64,
    /// What a person called it; empty for one kept by itself.
    #[serde(default)]
    pub name: String,
}

/// One difference between two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `name`, `persona`, `expression`, `caption`, `scene` and so on.
    pub field: &'static str,
    /// Which one, where there are several: an expression's name, a picture's or scene's id.
    pub item: String,
    /// The text in the older state; none when it was not there.
    pub before: Option<String>,
    /// The text in the newer state; none when it is gone.
    pub after: Option<String>,
}

/// The versions of the character in `dir`, newest first. Unreadable ones are passed over.
pub fn list(dir: &Path) -> Vec<Version> {
    let entries = fs::read_dir(dir.join(FOLDER)).into_iter().flatten();
    let mut found: Vec<Version> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_string_lossy().into_owned();
            let note: Version = read_json(&path.join(NOTE)).ok()?;
            Some(Version { id, ..note })
        })
        .collect();
    found.sort_by(|a, b| (b.saved_ms, &b.id).cmp(&(a.saved_ms, &a.id)));
    found
}

/// Keeps the state on disk as a version, unless the newest version is the same (then that one is
/// the answer) or, for an unnamed one, is younger than `min_age_ms`.
///
/// # Errors
/// When the folder cannot be written.
pub fn keep(dir: &Path, name: &str, now_ms: u64, min_age_ms: u64) -> Result<Option<Version>> {
    let known = list(dir);
    if let Some(newest) = known.first() {
        let is_young = now_ms.saturating_sub(newest.saved_ms) < min_age_ms;
        if name.is_empty() && (is_young || is_same(dir, &folder(dir, &newest.id))) {
            return Ok(None);
        }
    }
    let taken = |ms: u64| folder(dir, &ms.to_string()).exists();
    let saved_ms = (now_ms..).find(|ms| !taken(*ms)).unwrap_or(now_ms);
    let version = Version { id: saved_ms.to_string(), saved_ms, name: name.to_owned() };
    let (part, whole) = (folder(dir, &format!(".{}", version.id)), folder(dir, &version.id));
    create_folder(&part)?;
    for file in TEXT_FILES {
        let from = dir.join(file);
        if from.exists() {
            fs::copy(&from, part.join(file))
                .map_err(|e| Error::io("keeping a version", &from, e))?;
        }
    }
    write_atomic(&part.join(NOTE), &to_json_pretty(&version)?)?;
    fs::rename(&part, &whole).map_err(|e| Error::io("keeping a version", &whole, e))?;
    prune(dir, &known);
    Ok(Some(version))
}

fn folder(dir: &Path, id: &str) -> PathBuf {
    dir.join(FOLDER).join(id)
}

fn is_same(a: &Path, b: &Path) -> bool {
    TEXT_FILES.iter().all(|file| fs::read(a.join(file)).ok() == fs::read(b.join(file)).ok())
}

/// Removes the oldest unnamed versions beyond the limit; `before` are those before the newest.
fn prune(dir: &Path, before: &[Version]) {
    let unnamed = before.iter().filter(|version| version.name.is_empty());
    for old in unnamed.skip(MAX_UNNAMED - 1) {
        let path = folder(dir, &old.id);
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("an old version stays ({error}): {}", path.display());
        }
    }
}

/// The character as it was. Its folder is the present one.
///
/// # Errors
/// When there is no such version, or its files are damaged.
pub fn load(current: &Character, id: &str) -> Result<Character> {
    let known = list(&current.dir).into_iter().any(|version| version.id == id);
    if !known {
        return Err(Error::NoSuchRecord {
            name: current.name.clone(),
            what: "version",
            id: id.into(),
        });
    }
    let mut old = Character::load(&folder(&current.dir, id))?;
    old.dir.clone_from(&current.dir);
    old.id.clone_from(&current.id);
    Ok(old)
}

/// Brings a version back, after keeping the present state. Pictures removed since come back,
/// pictures added since are removed in the way that can be undone.
///
/// # Errors
/// When there is no such version, or the folder cannot be written.
pub fn restore(current: &mut Character, id: &str, now_ms: u64) -> Result<()> {
    let mut old = load(current, id)?;
    keep(&current.dir, "", now_ms, 0)?;
    for picture in &old.pictures {
        let is_there = current.picture(&picture.id).is_some();
        if !is_there && let Err(error) = current.restore_picture(picture.clone()) {
            tracing::warn!("a picture of the version is gone: {error}");
        }
    }
    let added: Vec<String> = current
        .pictures
        .iter()
        .filter(|picture| old.picture(&picture.id).is_none())
        .map(|picture| picture.id.clone())
        .collect();
    for id in added {
        current.remove_picture(&id)?;
    }
    let there = |id: &str| current.picture(id).is_some();
    old.pictures.retain(|picture| there(&picture.id));
    for picture in &mut old.pictures {
        // The files are as they are now; a version keeps words.
        if let Some(now) = current.picture(&picture.id) {
            picture.crop = now.crop;
            picture.hash.clone_from(&now.hash);
        }
    }
    old.save()?;
    *current = old;
    Ok(())
}

/// Texts of a character by field and item.
type Texts = BTreeMap<(usize, &'static str, String), String>;

fn texts(of: &Character) -> Texts {
    let mut texts = Texts::new();
    let cues = &of.visual_cues;
    let plain = [
        ("name", of.name.clone()),
        ("persona", of.persona.clone()),
        ("speakingStyle", of.speaking_style.clone()),
        ("habits", of.speaking.habits.clone()),
        ("catchphrases", of.speaking.catchphrases.join("\n")),
        ("tabooWords", of.speaking.taboo_words.join("\n")),
        ("exampleLines", of.speaking.example_lines.join("\n")),
        ("appearance", cues.appearance.clone()),
        ("outfit", cues.outfit.clone()),
        ("colours", cues.colours.clone()),
        ("greeting", of.greeting.clone()),
        ("otherGreetings", of.other_greetings.join("\n\n")),
        ("notes", of.profile.clone().unwrap_or_default()),
    ];
    for (place, (field, text)) in plain.into_iter().enumerate() {
        if !text.is_empty() {
            texts.insert((place, field, String::new()), text);
        }
    }
    let mut add = |field: &'static str, item: &str, text: String| {
        texts.insert((usize::MAX, field, item.to_owned()), text);
    };
    for expression in &cues.expressions {
        add("expression", &expression.name, expression.prompt.clone());
    }
    for picture in &of.pictures {
        add("caption", &picture.id, picture.caption.clone());
    }
    for scene in &of.scenes {
        let line = |turn: &crate::Turn| {
            let who = if turn.role == Speaker::User { "–" } else { of.name.as_str() };
            format!("{who}: {}", turn.text)
        };
        add("scene", &scene.id, scene.turns.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    texts
}

/// What differs from `old` to `new`: fields first, then expressions, captions and scenes.
pub fn changes(old: &Character, new: &Character) -> Vec<Change> {
    let (old, new) = (texts(old), texts(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change {
            field: key.1,
            item: key.2.clone(),
            before: old.get(key).cloned(),
            after: new.get(key).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;
    use crate::{Draft, Library};

    fn studio() -> (tempfile::TempDir, Library, Character) {
        let home = tempfile::tempdir().unwrap();
        let library = Library::open(home.path(), &[]).unwrap();
        let draft = Draft { name: "Pip".into(), persona: "An otter.".into(), ..Draft::default() };
        let pip = library.create(draft).unwrap();
        (home, library, pip)
    }

    fn png(shade: u8) -> Vec<u8> {
        let image = RgbImage::from_pixel(8, 8, Rgb([shade, 1, 2]));
        crate::pictures::encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
    }

    #[test]
    fn versions_are_kept_when_something_changed_and_time_has_passed() {
        let (_home, library, mut pip) = studio();
        assert!(keep(&pip.dir, "", 1_000, 500).unwrap().is_some());
        assert!(keep(&pip.dir, "", 9_000, 500).unwrap().is_none(), "nothing has changed");
        pip.persona = "A brave otter.".into();
        library.save(&pip).unwrap();
        assert!(keep(&pip.dir, "", 1_400, 500).unwrap().is_none(), "too soon");
        assert!(keep(&pip.dir, "", 1_500, 500).unwrap().is_some());
        assert!(keep(&pip.dir, "good", 1_500, 500).unwrap().is_some(), "asked for by name");
        let ids: Vec<String> = list(&pip.dir).into_iter().map(|v| v.id).collect();
        assert_eq!(ids, ["1501", "1500", "1000"]);
    }

    #[test]
    fn a_version_comes_back_with_its_pictures_and_can_be_left_again() {
        let (_home, library, mut pip) = studio();
        let first = pip.add_picture(&png(1), "a.png").unwrap().id().to_owned();
        let version = keep(&pip.dir, "first", 1, 0).unwrap().unwrap();
        let before = Character::load(&pip.dir).unwrap();

        pip.persona = "A cat.".into();
        library.save(&pip).unwrap();
        pip.remove_picture(&first).unwrap();
        let second = pip.add_picture(&png(2), "b.png").unwrap().id().to_owned();
        let after = Character::load(&pip.dir).unwrap();

        let found = changes(&load(&pip, &version.id).unwrap(), &pip);
        let fields: Vec<_> = found.iter().map(|c| (c.field, c.item.as_str())).collect();
        let mut pictures = [first.as_str(), second.as_str()];
        pictures.sort_unstable();
        assert_eq!(fields, [("persona", ""), ("caption", pictures[0]), ("caption", pictures[1])]);
        assert_eq!(found[0].before.as_deref(), Some("An otter."));
        assert_eq!(found[0].after.as_deref(), Some("A cat."));

        restore(&mut pip, &version.id, 5).unwrap();
        assert_eq!(pip, before);
        assert_eq!(Character::load(&pip.dir).unwrap(), before);
        assert!(pip.picture_path(pip.picture(&first).unwrap()).exists());

        let newest = list(&pip.dir).remove(0);
        restore(&mut pip, &newest.id, 9).unwrap();
        assert_eq!(pip, after, "what was there before the restore is a version too");
        assert!(load(&pip, "../../x").is_err());
    }

    #[test]
    fn old_unnamed_versions_make_room() {
        let (_home, library, mut pip) = studio();
        keep(&pip.dir, "mine", 1, 0).unwrap();
        for n in 0..MAX_UNNAMED as u64 + 5 {
            pip.persona = format!("An otter of {n} years.");
            library.save(&pip).unwrap();
            keep(&pip.dir, "", 10 + n, 0).unwrap();
        }
        let known = list(&pip.dir);
        assert_eq!(known.iter().filter(|v| v.name.is_empty()).count(), MAX_UNNAMED);
        assert!(known.iter().any(|v| v.name == "mine"), "a named one stays");
    }

    #[test]
    fn a_copy_begins_without_versions() {
        let (_home, library, pip) = studio();
        keep(&pip.dir, "", 1, 0).unwrap();
        let copy = library.duplicate(&pip.id, Some("Pip 2")).unwrap();
        assert!(list(&copy.dir).is_empty());
        assert_eq!(list(&pip.dir).len(), 1);
    }
}
