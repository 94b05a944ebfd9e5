//! The character folder: `character.json` and the files beside it.
//!
//! | file | content |
//! |---|---|
//! | `character.json` | name, persona, speaking style, visual cues, greeting, lorebook, licence, credits |
//! | `scenes.jsonl` | one scene a line |
//! | `questions.jsonl` | knowledge, picture and multiple-choice questions, open prompts |
//! | `prompts.jsonl` | picture prompts with their questions |
//! | `pictures.jsonl`, `pictures/` | one line a picture, and the files |
//! | `profile.md`, `personality.md` | long texts about the character, optional |
//! | `adapters/` | what was learned; written by training, left alone here |
//!
//! Every file is written atomically, and keys that this version does not know are written back.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{
    create_folder, random, read_json, read_jsonl, read_text_if_any, stays_inside, to_json_pretty,
    to_jsonl, write_atomic,
};
use crate::pictures::{self, Added, Decoded};
use crate::records::{Crop, Picture, PicturePrompt, Question, Scene};

/// Version of the folder format that this build writes.
pub const SCHEMA: u32 = 1;

const MAIN: &str = "character.json";
const SCENES: &str = "scenes.jsonl";
const QUESTIONS: &str = "questions.jsonl";
const PROMPTS: &str = "prompts.jsonl";
const PICTURES: &str = "pictures.jsonl";
const PROFILE: &str = "profile.md";
const PERSONALITY: &str = "personality.md";
const ORIGINALS: &str = "pictures/original";

/// Text files of a character folder: what a version keeps.
pub(crate) const TEXT_FILES: [&str; 7] =
    [MAIN, SCENES, QUESTIONS, PROMPTS, PICTURES, PROFILE, PERSONALITY];

/// How the character looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VisualCues {
    /// Body, face, hair, fur, colours.
    #[serde(default)]
    pub appearance: String,
    /// Clothes and things always worn or carried.
    #[serde(default)]
    pub outfit: String,
    /// Colours that belong to the character.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub colours: String,
    /// Faces the character can make.
    #[serde(default)]
    pub expressions: Vec<Expression>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How the character talks, in parts beside the free description.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Speaking {
    /// What it does while talking.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub habits: String,
    /// Phrases it likes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catchphrases: Vec<String>,
    /// Words it never uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taboo_words: Vec<String>,
    /// Lines that sound like it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub example_lines: Vec<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Speaking {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The parts as short sentences; blank ones say nothing.
    fn sentences(&self) -> Vec<String> {
        let quoted = |lines: &[String]| -> Vec<String> {
            filled(lines).map(|line| format!("“{line}”")).collect()
        };
        let said = |head: &str, words: Vec<String>, tail: &str| {
            (!words.is_empty()).then(|| format!("{head}: {}{tail}", words.join(", ")))
        };
        let habits = self.habits.trim().trim_end_matches('.');
        [
            said("Habits", filled(&[habits.to_owned()]).map(Into::into).collect(), "."),
            said("Often says", quoted(&self.catchphrases), "."),
            said("Never says", filled(&self.taboo_words).map(Into::into).collect(), "."),
            said("Sounds like", quoted(&self.example_lines), ""),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Trimmed lines that are not blank.
fn filled(lines: &[String]) -> impl Iterator<Item = &str> {
    lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty())
}

/// A named expression with the words that draw it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Expression {
    /// Short name, shown on a button.
    pub name: String,
    /// Words for a picture prompt.
    #[serde(default)]
    pub prompt: String,
}

/// Knowledge that is added to a prompt when one of its keys is mentioned.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoreEntry {
    /// Words that trigger it.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What is added.
    #[serde(default)]
    pub content: String,
    /// Switched on.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// Where a character came from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Source {
    /// `rolescape`, `copy`, `card`, or a word of another program.
    pub kind: String,
    /// Folder name in a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// File prefix in a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Name of the folder with the stage-2 prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpo_folder: Option<String>,
    /// Id of the character this is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a person types to begin a character.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// Display name; anything but blanks.
    pub name: String,
    /// Who the character is.
    pub persona: String,
    /// How the character talks.
    pub speaking_style: String,
    /// How the character talks, in parts.
    pub speaking: Speaking,
    /// How the character looks.
    pub visual_cues: VisualCues,
    /// First line of a chat.
    pub greeting: String,
    /// Other lines that a chat may begin with.
    pub other_greetings: Vec<String>,
    /// Knowledge notes; blank for none.
    pub notes: String,
}

/// A character with everything in its folder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Character {
    /// Format version of the folder.
    #[serde(default = "first_schema")]
    pub schema: u32,
    /// Random, and stable through every rename.
    #[serde(default)]
    pub id: String,
    /// Display name, any text.
    pub name: String,
    /// Name used in prompts, where it differs from the display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_name: Option<String>,
    /// Who the character is.
    #[serde(default)]
    pub persona: String,
    /// How the character talks.
    #[serde(default)]
    pub speaking_style: String,
    /// How the character talks, in parts.
    #[serde(default, skip_serializing_if = "Speaking::is_empty")]
    pub speaking: Speaking,
    /// How the character looks.
    #[serde(default)]
    pub visual_cues: VisualCues,
    /// First line of a chat.
    #[serde(default)]
    pub greeting: String,
    /// Other lines that a chat may begin with; nothing is taught with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_greetings: Vec<String>,
    /// Background that is added when it is mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lorebook: Vec<LoreEntry>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Licence of texts and pictures, an SPDX id where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Who made what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<String>,
    /// Where it came from, if it was not written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,

    /// Lines of `pictures.jsonl`.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
    /// Lines of `scenes.jsonl`.
    #[serde(skip)]
    pub scenes: Vec<Scene>,
    /// Lines of `questions.jsonl`.
    #[serde(skip)]
    pub questions: Vec<Question>,
    /// Lines of `prompts.jsonl`.
    #[serde(skip)]
    pub prompts: Vec<PicturePrompt>,
    /// `profile.md`: everything known about the character.
    #[serde(skip)]
    pub profile: Option<String>,
    /// `personality.md`: the part about behaviour.
    #[serde(skip)]
    pub personality: Option<String>,
    /// The folder.
    #[serde(skip)]
    pub dir: PathBuf,
}

fn first_schema() -> u32 {
    1
}

impl Character {
    /// A new character in memory; `dir` is where [`Character::save`] will put it.
    ///
    /// # Errors
    /// When the name is blank.
    pub fn new(draft: Draft, dir: PathBuf) -> Result<Self> {
        let name = draft.name.trim();
        if name.is_empty() {
            return Err(Error::NoName);
        }
        Ok(Self {
            schema: SCHEMA,
            id: random(32),
            name: name.to_owned(),
            persona: draft.persona,
            speaking_style: draft.speaking_style,
            speaking: draft.speaking,
            visual_cues: draft.visual_cues,
            greeting: draft.greeting,
            other_greetings: draft.other_greetings,
            profile: Some(draft.notes).filter(|notes| !notes.trim().is_empty()),
            dir,
            ..Self::default()
        })
    }

    /// Lines that a chat may begin with, the usual one first.
    pub fn greetings(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.greeting).chain(&self.other_greetings);
        all.map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// Reads a character folder.
    ///
    /// # Errors
    /// When a file cannot be read, or a line does not have the expected form; the error names both.
    pub fn load(dir: &Path) -> Result<Self> {
        let mut character = Self::load_head(dir)?;
        character.scenes = read_records(&dir.join(SCENES), |scene: &mut Scene| &mut scene.id)?;
        character.questions = read_records(&dir.join(QUESTIONS), |q: &mut Question| &mut q.id)?;
        character.prompts = read_records(&dir.join(PROMPTS), |p: &mut PicturePrompt| &mut p.id)?;
        character.profile = read_text_if_any(&dir.join(PROFILE))?;
        character.personality = read_text_if_any(&dir.join(PERSONALITY))?;
        Ok(character)
    }

    /// Reads `character.json` and `pictures.jsonl` only; enough for a list.
    ///
    /// # Errors
    /// Like [`Character::load`].
    pub fn load_head(dir: &Path) -> Result<Self> {
        let file = dir.join(MAIN);
        let mut character: Self = read_json(&file)?;
        if character.schema > SCHEMA {
            return Err(Error::NewerSchema { found: character.schema, known: SCHEMA, file });
        }
        if character.name.trim().is_empty() {
            return Err(Error::Malformed { file, line: 1, problem: "the name is empty".into() });
        }
        if character.id.is_empty() {
            // A folder written by hand: stable as long as the folder is not moved.
            let path = blake3::hash(dir.to_string_lossy().as_bytes()).to_hex();
            character.id = path[..32].to_owned();
        }
        character.dir = dir.to_path_buf();
        let pictures = dir.join(PICTURES);
        character.pictures = read_records(&pictures, |picture: &mut Picture| &mut picture.id)?;
        for picture in &character.pictures {
            if !stays_inside(&picture.file) {
                return Err(Error::Malformed {
                    file: pictures,
                    line: 1,
                    problem: format!("picture “{}” lies outside the folder", picture.id),
                });
            }
        }
        Ok(character)
    }

    /// Writes every file that changed, each atomically.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written; files not yet written keep their old
    /// content.
    pub fn save(&self) -> Result<()> {
        create_folder(&self.dir)?;
        self.save_pictures()?;
        self.save_rows(SCENES, &self.scenes)?;
        self.save_rows(QUESTIONS, &self.questions)?;
        self.save_rows(PROMPTS, &self.prompts)?;
        self.save_text(PROFILE, self.profile.as_deref())?;
        self.save_text(PERSONALITY, self.personality.as_deref())?;
        write_atomic(&self.dir.join(MAIN), &to_json_pretty(self)?)
    }

    fn save_pictures(&self) -> Result<()> {
        self.save_rows(PICTURES, &self.pictures)
    }

    fn save_rows<T: Serialize>(&self, name: &str, rows: &[T]) -> Result<()> {
        let path = self.dir.join(name);
        if rows.is_empty() && !path.exists() {
            return Ok(());
        }
        write_atomic(&path, &to_jsonl(rows)?)
    }

    fn save_text(&self, name: &str, text: Option<&str>) -> Result<()> {
        let path = self.dir.join(name);
        match text {
            Some(text) => write_atomic(&path, text.as_bytes()),
            None if path.exists() => {
                fs::remove_file(&path).map_err(|e| Error::io("removing a text", &path, e))
            }
            None => Ok(()),
        }
    }

    /// Name that prompts use for the character.
    pub fn prompt_name(&self) -> &str {
        match self.prompt_name.as_deref().map(str::trim) {
            Some(name) if !name.is_empty() => name,
            _ => &self.name,
        }
    }

    /// The text that stands for `{description}` in prompts.
    ///
    /// The persona alone when there is nothing else (so an imported description arrives exactly),
    /// else persona, speaking style and looks as short sentences.
    pub fn description(&self) -> String {
        let cues = &self.visual_cues;
        let looks = [&cues.appearance, &cues.outfit, &cues.colours];
        let looks: Vec<&str> = looks
            .into_iter()
            .map(|text| text.trim().trim_end_matches('.'))
            .filter(|text| !text.is_empty())
            .collect();
        let style = self.style();
        if style.is_empty() && looks.is_empty() {
            return self.persona.clone();
        }
        let mut parts = Vec::new();
        if !self.persona.trim().is_empty() {
            parts.push(self.persona.trim().to_owned());
        }
        if !style.is_empty() {
            parts.push(format!("Speaking style: {style}"));
        }
        if !looks.is_empty() {
            parts.push(format!("Looks: {}.", looks.join("; ")));
        }
        parts.join(" ")
    }

    /// Speaking style with its parts, as short sentences.
    fn style(&self) -> String {
        let free = Some(self.speaking_style.trim().to_owned()).filter(|text| !text.is_empty());
        free.into_iter().chain(self.speaking.sentences()).collect::<Vec<_>>().join(" ")
    }

    /// The picture with this id.
    pub fn picture(&self, id: &str) -> Option<&Picture> {
        self.pictures.iter().find(|picture| picture.id == id)
    }

    /// Absolute path of a picture's file.
    pub fn picture_path(&self, picture: &Picture) -> PathBuf {
        self.dir.join(&picture.file)
    }

    /// Adds a picture from bytes; `label` is what an error calls it, for example a file name.
    ///
    /// The picture is checked, turned upright, stripped of metadata, scaled to at most 1024 pixels
    /// and stored as a new file; `pictures.jsonl` is written. The caption stays empty.
    ///
    /// # Errors
    /// When it is no readable picture, is too large, or cannot be stored.
    pub fn add_picture(&mut self, bytes: &[u8], label: &str) -> Result<Added> {
        let decoded = pictures::decode(bytes, label)?;
        let hash = pictures::pixel_hash(&decoded.image);
        if let Some(known) = self.picture_with_hash(&hash)? {
            return Ok(Added::Duplicate(known));
        }
        let id = loop {
            let id = format!("p-{}", random(10));
            if self.picture(&id).is_none() {
                break id;
            }
        };
        let picture = self.store_picture(&decoded, id.clone(), hash, label)?;
        self.pictures.push(picture);
        self.save_pictures()?;
        Ok(Added::New(id))
    }

    /// [`Character::add_picture`] from a file.
    ///
    /// # Errors
    /// Like [`Character::add_picture`], or when the file cannot be read.
    pub fn add_picture_file(&mut self, path: &Path) -> Result<Added> {
        let bytes = fs::read(path).map_err(|e| Error::io("reading a picture", path, e))?;
        self.add_picture(&bytes, &path.display().to_string())
    }

    /// Writes a decoded picture as `pictures/<id>.png` and returns its record.
    pub(crate) fn store_picture(
        &self,
        decoded: &Decoded,
        id: String,
        hash: String,
        label: &str,
    ) -> Result<Picture> {
        let file = format!("pictures/{id}.png");
        create_folder(&self.dir.join("pictures"))?;
        let bytes = pictures::encode_png(&decoded.image, label)?;
        write_atomic(&self.dir.join(&file), &bytes)?;
        Ok(Picture { id, file, hash: Some(hash), ..Picture::default() })
    }

    fn picture_with_hash(&self, hash: &str) -> Result<Option<String>> {
        for picture in &self.pictures {
            let same = match &picture.hash {
                Some(known) => known == hash,
                // Added by hand, without a hash; unreadable files are the checks' business.
                None => pictures::decode_file(&self.picture_path(picture))
                    .is_ok_and(|old| pictures::pixel_hash(&old.image) == hash),
            };
            if same {
                return Ok(Some(picture.id.clone()));
            }
        }
        Ok(None)
    }

    /// Removes a picture from the character. Its file moves to `pictures/removed/`, and scenes and
    /// questions keep their reference, so that [`Character::restore_picture`] undoes it exactly.
    ///
    /// # Errors
    /// When there is no such picture, or the folder cannot be written.
    pub fn remove_picture(&mut self, id: &str) -> Result<Picture> {
        let index = self.pictures.iter().position(|p| p.id == id).ok_or_else(|| {
            Error::NoSuchRecord { name: self.name.clone(), what: "picture", id: id.into() }
        })?;
        let picture = self.pictures.remove(index);
        self.save_pictures()?;
        let from = self.picture_path(&picture);
        let to = self.removed_path(&picture);
        if from.exists() {
            create_folder(&self.dir.join("pictures/removed"))?;
            fs::rename(&from, &to).map_err(|e| Error::io("removing a picture", &from, e))?;
        }
        Ok(picture)
    }

    /// Undoes [`Character::remove_picture`].
    ///
    /// # Errors
    /// When the removed file is gone, or its place was taken.
    pub fn restore_picture(&mut self, picture: Picture) -> Result<()> {
        let (from, to) = (self.removed_path(&picture), self.picture_path(&picture));
        if to.exists() {
            return Err(Error::AlreadyExists { path: to });
        }
        fs::rename(&from, &to).map_err(|e| Error::io("restoring a picture", &from, e))?;
        self.pictures.push(picture);
        self.save_pictures()
    }

    /// Makes a picture a square of its original, or shows it as it was again. The original is kept.
    ///
    /// # Errors
    /// When there is no such picture, the square does not fit it, or files cannot be
    /// written.
    pub fn crop_picture(&mut self, id: &str, crop: Option<Crop>) -> Result<()> {
        let picture = self.picture(id).cloned().ok_or_else(|| Error::NoSuchRecord {
            name: self.name.clone(),
            what: "picture",
            id: id.into(),
        })?;
        let (shown, original) = (self.picture_path(&picture), self.original_path(&picture));
        let source = if original.exists() { &original } else { &shown };
        let bytes = fs::read(source).map_err(|e| Error::io("cropping a picture", source, e))?;
        let label = &picture.file;
        let mut image = pictures::decode(&bytes, label)?.image;
        if let Some(square) = crop {
            image = square.cut(&image, label)?;
            create_folder(&self.dir.join(ORIGINALS))?;
            write_atomic(&original, &bytes)?;
        }
        write_atomic(&shown, &pictures::encode_png(&image, label)?)?;
        let hash = pictures::pixel_hash(&image);
        for picture in self.pictures.iter_mut().filter(|p| p.id == id) {
            picture.crop = crop;
            picture.hash = Some(hash.clone());
        }
        self.save_pictures()
    }

    /// The whole picture before it was cut, if it was; else the picture itself.
    pub fn whole_picture_path(&self, picture: &Picture) -> PathBuf {
        let original = self.original_path(picture);
        if picture.crop.is_some() && original.exists() {
            original
        } else {
            self.picture_path(picture)
        }
    }

    fn original_path(&self, picture: &Picture) -> PathBuf {
        let name = Path::new(&picture.file).file_name().unwrap_or_default();
        self.dir.join(ORIGINALS).join(name)
    }

    fn removed_path(&self, picture: &Picture) -> PathBuf {
        let name = Path::new(&picture.file).file_name().unwrap_or_default();
        self.dir.join("pictures/removed").join(name)
    }

    /// BLAKE3 of everything that training reads, as hex: the honest label of a data set.
    ///
    /// # Errors
    /// When a picture file cannot be read.
    pub fn data_hash(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.prompt_name().as_bytes());
        part(self.description().as_bytes());
        part(self.greeting.as_bytes());
        part(&to_jsonl(&self.scenes)?);
        part(&to_jsonl(&self.questions)?);
        part(&to_jsonl(&self.prompts)?);
        part(&to_jsonl(&self.pictures)?);
        for picture in &self.pictures {
            let path = self.picture_path(picture);
            part(&fs::read(&path).map_err(|e| Error::io("reading a picture", &path, e))?);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Reads a jsonl file, gives lines without an id one, and refuses two lines with the same id.
fn read_records<T: DeserializeOwned + Serialize>(
    path: &Path,
    id_of: impl Fn(&mut T) -> &mut String,
) -> Result<Vec<T>> {
    let mut first_line: HashMap<String, usize> = HashMap::new();
    let mut records = Vec::new();
    for (line, mut record) in read_jsonl::<T>(path)? {
        if id_of(&mut record).is_empty() {
            let text = to_jsonl(std::slice::from_ref(&record))?;
            let mut id = format!("h-{}", &blake3::hash(&text).to_hex()[..10]);
            while first_line.contains_key(&id) {
                id.push('x'); // the same line twice
            }
            *id_of(&mut record) = id;
        }
        let id = id_of(&mut record).clone();
        if let Some(first) = first_line.insert(id.clone(), line) {
            return Err(Error::Malformed {
                file: path.to_path_buf(),
                line,
                problem: format!("the id “{id}” is already used in line {first}"),
            });
        }
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;
    use crate::records::{Speaker, Turn};

    fn sample(dir: &Path) -> Character {
        let draft = Draft { name: "Pip".into(), persona: "An otter.".into(), ..Draft::default() };
        let mut pip = Character::new(draft, dir.join("pip")).unwrap();
        pip.scenes.push(Scene {
            id: "s1".into(),
            turns: vec![
                Turn::new(Speaker::User, "Is the lamp lit?"),
                Turn::new(Speaker::Character, "Lit, polished and admired."),
            ],
            ..Scene::default()
        });
        pip
    }

    fn png(shade: u8) -> Vec<u8> {
        let image = RgbImage::from_pixel(64, 48, Rgb([shade, 1, 2]));
        pictures::encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
    }

    #[test]
    fn a_saved_character_loads_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut pip = sample(dir.path());
        pip.profile = Some("# Pip\r\nkeeps a lighthouse".into());
        pip.extra.insert("colour".into(), "brown".into());
        pip.save().unwrap();
        assert_eq!(Character::load(&pip.dir).unwrap(), pip);
    }

    #[test]
    fn errors_of_hand_edited_files_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let pip = sample(dir.path());
        pip.save().unwrap();
        let scenes = pip.dir.join("scenes.jsonl");
        let good = fs::read_to_string(&scenes).unwrap();
        fs::write(&scenes, format!("{good}\n{good}")).unwrap();
        let text = Character::load(&pip.dir).unwrap_err().to_string();
        assert!(text.contains("line 3") && text.contains("line 1"), "{text}");
        fs::write(&scenes, format!("{good}{{\"turns\": 3}}\n")).unwrap();
        let text = Character::load(&pip.dir).unwrap_err().to_string();
        assert!(text.starts_with("line 2") && text.contains("scenes.jsonl"), "{text}");
        fs::write(pip.dir.join(MAIN), "{\n\"name\": \"Pip\",\n oops").unwrap();
        let text = Character::load(&pip.dir).unwrap_err().to_string();
        assert!(text.starts_with("line 3") && text.contains("character.json"), "{text}");
    }

    #[test]
    fn pictures_outside_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pip = sample(dir.path());
        pip.save().unwrap();
        fs::write(pip.dir.join(PICTURES), "{\"id\":\"a\",\"file\":\"../../etc/passwd\"}\n")
            .unwrap();
        assert!(Character::load(&pip.dir).is_err());
    }

    #[test]
    fn pictures_are_added_once_removed_and_restored() {
        let dir = tempfile::tempdir().unwrap();
        let mut pip = sample(dir.path());
        pip.save().unwrap();
        let first = pip.add_picture(&png(1), "a.png").unwrap();
        assert!(matches!(first, Added::New(_)));
        let again = pip.add_picture(&png(1), "b.png").unwrap();
        assert_eq!(again, Added::Duplicate(first.id().to_owned()));
        pip.add_picture(&png(2), "c.png").unwrap();
        assert!(pip.add_picture(b"no picture", "d.png").is_err());
        assert_eq!(Character::load(&pip.dir).unwrap().pictures.len(), 2);

        let removed = pip.remove_picture(first.id()).unwrap();
        assert_eq!(Character::load(&pip.dir).unwrap().pictures.len(), 1);
        let path = pip.picture_path(&removed);
        assert!(!path.exists());
        pip.restore_picture(removed).unwrap();
        assert!(path.exists());
        assert_eq!(Character::load(&pip.dir).unwrap(), pip);
    }

    #[test]
    fn descriptions_are_compact_and_imports_stay_exact() {
        let mut pip = sample(Path::new("x"));
        pip.persona = " An otter. ".into();
        assert_eq!(pip.description(), " An otter. ");
        pip.speaking_style = "Short sentences.".into();
        pip.visual_cues.appearance = "Brown fur.".into();
        pip.visual_cues.outfit = "a yellow oilskin".into();
        assert_eq!(
            pip.description(),
            "An otter. Speaking style: Short sentences. Looks: Brown fur; a yellow oilskin."
        );
        pip.speaking_style = String::new();
        pip.visual_cues = VisualCues { colours: "brass and brown".into(), ..VisualCues::default() };
        pip.speaking = Speaking {
            habits: "Hums.".into(),
            catchphrases: vec!["Mark the tide!".into(), " ".into()],
            taboo_words: vec!["cat".into(), "dry land".into()],
            ..Speaking::default()
        };
        assert_eq!(
            pip.description(),
            "An otter. Speaking style: Habits: Hums. Often says: “Mark the tide!”. \
             Never says: cat, dry land. Looks: brass and brown."
        );
    }

    #[test]
    fn a_cut_picture_can_be_shown_whole_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut pip = sample(dir.path());
        pip.save().unwrap();
        let id = pip.add_picture(&png(1), "a.png").unwrap().id().to_owned();
        let before = pip.picture(&id).unwrap().clone();
        let size = |pip: &Character| {
            let file = pip.picture_path(pip.picture(&id).unwrap());
            image::image_dimensions(file).unwrap()
        };
        let square = |x, y, side| Crop { x, y, side, background: None };
        pip.crop_picture(&id, Some(square(10, 8, 40))).unwrap();
        assert_eq!(size(&pip), (40, 40));
        assert_eq!(Character::load(&pip.dir).unwrap(), pip);
        pip.crop_picture(&id, Some(square(0, 0, 48))).unwrap();
        assert_eq!(size(&pip), (48, 48), "the second cut is made from the whole picture");
        let outside = pip.crop_picture(&id, Some(square(20, 8, 45)));
        assert!(outside.is_err(), "64 × 48 ends before 20 + 45");
        let whole = Crop { x: 0, y: -8, side: 64, background: Some([9, 9, 9]) };
        pip.crop_picture(&id, Some(whole)).unwrap();
        assert_eq!(size(&pip), (64, 64));
        assert_eq!(Character::load(&pip.dir).unwrap(), pip);
        pip.crop_picture(&id, None).unwrap();
        assert_eq!(size(&pip), (64, 48));
        assert_eq!(*pip.picture(&id).unwrap(), before);
    }

    #[test]
    fn data_hash_follows_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let mut pip = sample(dir.path());
        let before = pip.data_hash().unwrap();
        pip.tags.push("otter".into());
        assert_eq!(pip.data_hash().unwrap(), before, "tags are not learned");
        pip.greeting = "Ahoy.".into();
        assert_ne!(pip.data_hash().unwrap(), before);
    }
}
