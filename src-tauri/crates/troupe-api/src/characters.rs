//! Operations on characters.

use std::path::{Path, PathBuf};

use troupe_character::{
    Added, Character, Draft, Expression, Scene, Speaker, Speaking, Split, Turn, VisualCues, cards,
    rolescape,
};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    wire::{
        AdapterItem, AddedPictures, CharacterDetail, CharacterDraft, CharacterSummary,
        ExportedCharacter, ExpressionItem, ImportOutcome, PictureItem, SceneItem, TurnItem,
    },
};

/// Characters of a tagline.
const TAGLINE: usize = 120;

fn tagline(persona: &str) -> String {
    let line = persona.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(TAGLINE) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

fn draft(from: CharacterDraft) -> Draft {
    let expression = |e: ExpressionItem| Expression { name: e.name, prompt: e.prompt };
    Draft {
        name: from.name,
        persona: from.persona,
        speaking_style: from.speaking_style,
        speaking: Speaking {
            habits: from.habits,
            catchphrases: from.catchphrases,
            taboo_words: from.taboo_words,
            example_lines: from.example_lines,
            ..Default::default()
        },
        visual_cues: VisualCues {
            appearance: from.appearance,
            outfit: from.outfit,
            colours: from.colours,
            expressions: from.expressions.into_iter().map(expression).collect(),
            ..Default::default()
        },
        greeting: from.greeting,
        other_greetings: from.other_greetings,
        notes: from.notes,
    }
}

/// Folders of a character's adapters, newest first.
pub(crate) fn adapter_dirs(character_dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(character_dir.join("adapters"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| !dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
        .filter(|dir| troupe_model::adapter::adapter_file(dir).exists())
        .collect();
    dirs.sort_unstable();
    dirs.reverse();
    dirs
}

pub(crate) fn adapter_item(dir: &Path) -> Option<AdapterItem> {
    let text = std::fs::read_to_string(dir.join(troupe_model::adapter::ADAPTER_CONFIG)).ok()?;
    let config: troupe_model::adapter::AdapterConfig = serde_json::from_str(&text).ok()?;
    let name = dir.file_name()?.to_string_lossy().into_owned();
    Some(AdapterItem { name, stage: config.stage, step: config.step as u32 })
}

impl Studio {
    /// All characters, the user's own first.
    ///
    /// # Errors
    /// When the library cannot be read.
    pub fn list_characters(&self) -> ApiResult<Vec<CharacterSummary>> {
        let entries = self.library().list()?;
        let summary = |entry: troupe_character::Entry| {
            let portrait = entry.portrait.as_ref().and_then(|path| {
                let character = Character::load_head(&entry.dir).ok()?;
                let of = |p: &&troupe_character::Picture| character.picture_path(p) == *path;
                character.pictures.iter().find(of).map(|p| p.id.clone())
            });
            CharacterSummary {
                tagline: tagline(&entry.persona),
                portrait,
                num_pictures: entry.num_pictures as u32,
                is_bundled: entry.is_bundled,
                is_taught: !adapter_dirs(&entry.dir).is_empty(),
                problem: entry.problem,
                id: entry.id,
                name: entry.name,
            }
        };
        Ok(entries.into_iter().map(summary).collect())
    }

    /// A whole character, by id or name.
    ///
    /// # Errors
    /// When there is none, or its folder is damaged.
    pub fn character(&self, wanted: &str) -> ApiResult<CharacterDetail> {
        Ok(self.detail(&self.library().load(wanted)?))
    }

    pub(crate) fn detail(&self, character: &Character) -> CharacterDetail {
        let (cues, speaking) = (&character.visual_cues, &character.speaking);
        let expression =
            |e: &Expression| ExpressionItem { name: e.name.clone(), prompt: e.prompt.clone() };
        let picture = |p: &troupe_character::Picture| PictureItem {
            id: p.id.clone(),
            caption: p.caption.clone(),
            expression: p.expression.clone(),
            is_held_out: p.split == Split::Test,
            crop: p.crop.map(Into::into),
        };
        let turn = |t: &Turn| TurnItem {
            is_user: t.role == Speaker::User,
            text: t.text.clone(),
            picture_id: t.picture.clone(),
        };
        let scene = |s: &Scene| SceneItem {
            id: s.id.clone(),
            turns: s.turns.iter().map(turn).collect(),
            is_held_out: s.split == Split::Test,
        };
        CharacterDetail {
            id: character.id.clone(),
            draft: CharacterDraft {
                name: character.name.clone(),
                persona: character.persona.clone(),
                speaking_style: character.speaking_style.clone(),
                habits: speaking.habits.clone(),
                catchphrases: speaking.catchphrases.clone(),
                taboo_words: speaking.taboo_words.clone(),
                example_lines: speaking.example_lines.clone(),
                appearance: cues.appearance.clone(),
                outfit: cues.outfit.clone(),
                colours: cues.colours.clone(),
                expressions: cues.expressions.iter().map(expression).collect(),
                greeting: character.greeting.clone(),
                other_greetings: character.other_greetings.clone(),
                notes: character.profile.clone().unwrap_or_default(),
            },
            pictures: character.pictures.iter().map(picture).collect(),
            scenes: character.scenes.iter().map(scene).collect(),
            num_questions: character.questions.len() as u32,
            num_prompts: character.prompts.len() as u32,
            is_bundled: self.library().is_bundled(&character.dir),
            adapters: adapter_dirs(&character.dir).iter().filter_map(|d| adapter_item(d)).collect(),
            licence: character.licence.clone(),
        }
    }

    /// Begins a character.
    ///
    /// # Errors
    /// When the name is blank or the library cannot be written.
    pub fn create_character(&self, from: CharacterDraft) -> ApiResult<CharacterDetail> {
        Ok(self.detail(&self.library().create(draft(from))?))
    }

    /// Replaces what a person wrote. A bundled character is copied first; the result has the id.
    ///
    /// # Errors
    /// When the character does not exist or cannot be written.
    pub fn update_character(&self, id: &str, from: CharacterDraft) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        let new = draft(from);
        if new.name.trim().is_empty() {
            return Err(troupe_character::Error::NoName.into());
        }
        character.name = new.name.trim().to_owned();
        character.persona = new.persona;
        character.speaking_style = new.speaking_style;
        character.greeting = new.greeting;
        character.other_greetings = new.other_greetings;
        let extra = std::mem::take(&mut character.visual_cues.extra);
        character.visual_cues = VisualCues { extra, ..new.visual_cues };
        let extra = std::mem::take(&mut character.speaking.extra);
        character.speaking = Speaking { extra, ..new.speaking };
        character.profile = Some(new.notes).filter(|notes| !notes.trim().is_empty());
        self.save_character(&character)?;
        Ok(self.detail(&character))
    }

    /// Moves a character to the trash; the result restores it.
    ///
    /// # Errors
    /// When it does not exist or is bundled.
    pub fn delete_character(&self, id: &str) -> ApiResult<String> {
        Ok(self.library().delete(id)?.trash_id)
    }

    /// Brings a deleted character back.
    ///
    /// # Errors
    /// When the trash does not hold it.
    pub fn restore_character(&self, trash_id: &str) -> ApiResult<CharacterDetail> {
        Ok(self.detail(&self.library().restore(trash_id)?))
    }

    /// Adds picture files; those that are no pictures are refused with the reason.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn add_picture_files(&self, id: &str, paths: &[PathBuf]) -> ApiResult<AddedPictures> {
        self.add_pictures(id, paths, |character, path| character.add_picture_file(path))
    }

    /// Adds pictures by name and bytes (dropped or pasted).
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn add_picture_bytes(
        &self,
        id: &str,
        items: &[(String, Vec<u8>)],
    ) -> ApiResult<AddedPictures> {
        self.add_pictures(id, items, |character, (name, bytes)| character.add_picture(bytes, name))
    }

    fn add_pictures<T>(
        &self,
        id: &str,
        items: &[T],
        add: impl Fn(&mut Character, &T) -> troupe_character::Result<Added>,
    ) -> ApiResult<AddedPictures> {
        let mut character = self.library().editable(id)?;
        let mut refused = Vec::new();
        for item in items {
            match add(&mut character, item) {
                Ok(Added::New(_)) => {}
                Ok(Added::Duplicate(_)) => {
                    let text = "this picture is already there";
                    let error = ApiError::new(ErrorCode::BadRequest, text, "");
                    refused.push(error.because(ErrorCause::PictureKnown));
                }
                Err(error) => refused.push(error.into()),
            }
        }
        Ok(AddedPictures { character: self.detail(&character), refused })
    }

    /// Sets caption, expression and split of a picture.
    ///
    /// # Errors
    /// When character or picture do not exist.
    pub fn update_picture(&self, id: &str, item: &PictureItem) -> ApiResult<CharacterDetail> {
        self.update_pictures(id, std::slice::from_ref(item))
    }

    /// Sets caption, expression and split of several pictures, all or none.
    ///
    /// # Errors
    /// When the character or one of the pictures does not exist.
    pub fn update_pictures(&self, id: &str, items: &[PictureItem]) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        for item in items {
            let name = character.name.clone();
            let found = character.pictures.iter_mut().find(|p| p.id == item.id);
            let picture = found.ok_or(troupe_character::Error::NoSuchRecord {
                name,
                what: "picture",
                id: item.id.clone(),
            })?;
            picture.caption.clone_from(&item.caption);
            picture.expression.clone_from(&item.expression);
            picture.split = if item.is_held_out { Split::Test } else { Split::Train };
        }
        self.save_character(&character)?;
        Ok(self.detail(&character))
    }

    /// Removes a picture; its file is kept aside.
    ///
    /// # Errors
    /// When character or picture do not exist.
    pub fn remove_picture(&self, id: &str, picture_id: &str) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        let picture = character.remove_picture(picture_id)?;
        let note = character.dir.join("pictures/removed").join(format!("{picture_id}.json"));
        let text = serde_json::to_string(&picture).unwrap_or_default();
        crate::write_atomic(&note, text.as_bytes())?;
        Ok(self.detail(&character))
    }

    /// Brings a removed picture back.
    ///
    /// # Errors
    /// When it was not removed from this character.
    pub fn restore_picture(&self, id: &str, picture_id: &str) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        let safe = picture_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let note = character.dir.join("pictures/removed").join(format!("{picture_id}.json"));
        let gone = || {
            ApiError::new(
                ErrorCode::NotFound,
                format!("picture {picture_id} was not removed here"),
                "",
            )
        };
        let text = safe.then(|| std::fs::read_to_string(&note).ok()).flatten().ok_or_else(gone)?;
        let picture = serde_json::from_str(&text).map_err(|_| gone())?;
        character.restore_picture(picture)?;
        Ok(self.detail(&character))
    }

    /// Replaces the example dialogue. What a scene held beside texts and pictures is kept.
    ///
    /// # Errors
    /// When the character does not exist or cannot be written.
    pub fn save_scenes(&self, id: &str, scenes: Vec<SceneItem>) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        let mut old: std::collections::HashMap<String, Scene> =
            std::mem::take(&mut character.scenes).into_iter().map(|s| (s.id.clone(), s)).collect();
        for item in scenes {
            let mut scene = old.remove(&item.id).unwrap_or_default();
            if scene.id.is_empty() {
                scene.id = uuid::Uuid::now_v7().simple().to_string();
            }
            scene.split = if item.is_held_out { Split::Test } else { Split::Train };
            let mut before = std::mem::take(&mut scene.turns).into_iter();
            for turn in item.turns {
                let role = if turn.is_user { Speaker::User } else { Speaker::Character };
                let mut kept =
                    before.next().filter(|t| t.role == role).unwrap_or_else(|| Turn::new(role, ""));
                kept.text = turn.text;
                kept.picture = turn.picture_id;
                scene.turns.push(kept);
            }
            character.scenes.push(scene);
        }
        self.save_character(&character)?;
        Ok(self.detail(&character))
    }

    /// Imports RoleScape-20 characters from a folder.
    ///
    /// # Errors
    /// When the folder holds none, or none called `only`.
    pub fn import_rolescape(&self, folder: &Path, only: Option<&str>) -> ApiResult<ImportOutcome> {
        Ok(rolescape::import(folder, only, self.library())?.into())
    }

    /// Writes a character in the layout of RoleScape-20 below `folder`; importing that again gives
    /// the same character.
    ///
    /// # Errors
    /// When the character does not exist, is in `folder` already, or cannot be written.
    pub fn export_rolescape(&self, id: &str, folder: &Path) -> ApiResult<ExportedCharacter> {
        let report = rolescape::export(&self.library().load(id)?, folder)?;
        let path = report.folder.display().to_string();
        Ok(ExportedCharacter { path, left_out: report.left_out })
    }

    /// Imports character cards: PNG or JSON files, or folders of them.
    ///
    /// # Errors
    /// When no card was imported, or a folder cannot be listed.
    pub fn import_cards(&self, paths: &[PathBuf]) -> ApiResult<ImportOutcome> {
        Ok(cards::import(paths, self.library())?.into())
    }

    /// File of a character's picture.
    ///
    /// # Errors
    /// When character or picture do not exist.
    pub fn character_picture_file(&self, id: &str, picture_id: &str) -> ApiResult<PathBuf> {
        let entry = self.library().find(id)?;
        let character = Character::load_head(&entry.dir)?;
        match character.picture(picture_id) {
            Some(picture) => Ok(character.picture_path(picture)),
            None => Err(troupe_character::Error::NoSuchRecord {
                name: character.name,
                what: "picture",
                id: picture_id.into(),
            }
            .into()),
        }
    }
}
