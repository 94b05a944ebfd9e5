//! Helps for writing a character: token counts, versions, crops, captions, scenes out of chats.

use troupe_character::{Character, Crop, Scene, Speaker, Turn, pictures, prompts, versions};
use troupe_model::{config::ModelConfig, runtime::ModelFiles};
use troupe_store::{Message, MessageState, Role};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    now_ms,
    wire::{BaseFacts, ChangeItem, CharacterDetail, CropItem, VersionItem},
};

/// How the names of a vision tower's tensors begin.
const VISION_TENSORS: &str = "vit_model.";
/// A version is kept by itself at the first change after so long.
const VERSION_EVERY_MS: u64 = 10 * 60 * 1000;

fn version_item(version: versions::Version) -> VersionItem {
    VersionItem { id: version.id, saved_ms: version.saved_ms as f64, name: version.name }
}

impl Studio {
    /// Saves a changed character, keeping the state before as a version now and then.
    pub(crate) fn save_character(&self, character: &Character) -> ApiResult<()> {
        // A full disk must not keep the change itself from being tried.
        if let Err(error) = versions::keep(&character.dir, "", now_ms() as u64, VERSION_EVERY_MS) {
            tracing::warn!("no version was kept: {error}");
        }
        Ok(self.library().save(character)?)
    }

    /// What an author has to know about the base, without loading it.
    ///
    /// # Errors
    /// When the base's folder is unusable.
    pub fn base_facts(&self) -> ApiResult<BaseFacts> {
        let config = ModelConfig::from_dir(self.model_dir())?;
        let can_see = config.visual_und && self.has_vision_weights()?;
        Ok(BaseFacts {
            picture_size: config.picture_size as u32,
            context_tokens: config.llm_config.max_position_embeddings as u32,
            can_see,
            name: config.name,
        })
    }

    /// The base's files hold a vision tower; only their headers are read.
    fn has_vision_weights(&self) -> ApiResult<bool> {
        let source = ModelFiles::find(self.model_dir())?.source()?;
        Ok(source.shapes().keys().any(|name| name.starts_with(VISION_TENSORS)))
    }

    /// Refuses what needs eyes on a base without; `instead` is what to do with this base.
    pub(crate) fn refuse_when_blind(&self, instead: &str) -> ApiResult<()> {
        let facts = self.base_facts()?;
        if facts.can_see {
            return Ok(());
        }
        let message = format!("the base model {} cannot see pictures", facts.name);
        let hint = format!("{instead}, or use a base that has learned to see.");
        let error = ApiError::new(ErrorCode::Model, message, hint);
        Err(error.because(ErrorCause::Blind).with("name", facts.name))
    }

    /// Tokens of each text, as the base counts.
    ///
    /// # Errors
    /// When the base's tokenizer is missing or fails.
    pub fn count_tokens(&self, texts: &[String]) -> ApiResult<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        let count = |text: &String| Ok(tokenizer.encode(text)?.len() as u32);
        texts.iter().map(count).collect()
    }

    /// Copies a character with its pictures and adapters.
    ///
    /// # Errors
    /// When it does not exist or the copy cannot be written.
    pub fn duplicate_character(&self, id: &str, name: &str) -> ApiResult<CharacterDetail> {
        Ok(self.detail(&self.library().duplicate(id, Some(name))?))
    }

    /// Makes a picture a square of it or around it, or shows it as it was again.
    ///
    /// # Errors
    /// When character or picture do not exist, or the square does not fit it.
    pub fn crop_picture(
        &self,
        id: &str,
        picture_id: &str,
        crop: Option<CropItem>,
    ) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        character.crop_picture(picture_id, crop.map(Crop::from))?;
        Ok(self.detail(&character))
    }

    /// File of a character's picture before it was cut.
    ///
    /// # Errors
    /// When character or picture do not exist.
    pub fn whole_picture_file(&self, id: &str, picture_id: &str) -> ApiResult<std::path::PathBuf> {
        let character = Character::load_head(&self.library().find(id)?.dir)?;
        let picture =
            character.picture(picture_id).ok_or_else(|| no_picture(&character, picture_id))?;
        Ok(character.whole_picture_path(picture))
    }

    /// Red, green and blue to put around a whole picture where it becomes a square.
    ///
    /// # Errors
    /// When character or picture do not exist, or its file cannot be read.
    pub fn border_colour(&self, id: &str, picture_id: &str) -> ApiResult<[u8; 3]> {
        let whole = pictures::decode_file(&self.whole_picture_file(id, picture_id)?)?;
        Ok(pictures::border_colour(&whole.image))
    }

    /// Lets the model say what a picture shows, as a draft of its caption.
    ///
    /// # Errors
    /// When character or picture do not exist, or the base cannot see.
    pub fn draft_caption(&self, id: &str, picture_id: &str) -> ApiResult<String> {
        self.refuse_when_blind("Write the caption yourself")?;
        let character = self.library().load(id)?;
        let picture =
            character.picture(picture_id).ok_or_else(|| no_picture(&character, picture_id))?;
        let image = pictures::load_rgb(&character.picture_path(picture))?;
        let question = prompts::ask_caption(character.prompt_name());
        Ok(self.ask(&character.id, &question, Some(image))?.text)
    }

    /// Makes a scene of example dialogue from the thread that a chat shows; with its pictures, if
    /// wanted, as training pictures.
    ///
    /// # Errors
    /// When chat or character do not exist, or the chat holds no reply to anything.
    pub fn scene_from_chat(
        &self,
        chat_id: &str,
        with_pictures: bool,
    ) -> ApiResult<CharacterDetail> {
        let (chat, thread) = {
            let store = self.store();
            (store.chat(chat_id)?, store.thread(chat_id)?)
        };
        let told = told(thread);
        if !told.iter().any(|message| message.role == Role::Character) {
            let hint = "Say something and let the character answer first.";
            return Err(ApiError::new(ErrorCode::BadRequest, "this chat holds no reply", hint));
        }
        let mut character = self.library().editable(&chat.character_id)?;
        let mut scene = Scene {
            id: uuid::Uuid::now_v7().simple().to_string(),
            origin: Some("chat".into()),
            ..Scene::default()
        };
        for message in told {
            let is_user = message.role == Role::User;
            let role = if is_user { Speaker::User } else { Speaker::Character };
            let mut turn = Turn::new(role, message.text.trim());
            if let Some(id) = message.picture_id.as_ref().filter(|_| with_pictures && !is_user) {
                let file = self.drawn_picture_file(id)?;
                turn.picture = Some(character.add_picture_file(&file)?.id().to_owned());
            }
            scene.turns.push(turn);
        }
        character.scenes.insert(0, scene);
        self.save_character(&character)?;
        Ok(self.detail(&character))
    }

    /// Earlier states of a character, newest first.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn list_versions(&self, id: &str) -> ApiResult<Vec<VersionItem>> {
        let entry = self.library().find(id)?;
        Ok(versions::list(&entry.dir).into_iter().map(version_item).collect())
    }

    /// Keeps the present state under a name.
    ///
    /// # Errors
    /// When the character does not exist or cannot be written.
    pub fn keep_version(&self, id: &str, name: &str) -> ApiResult<Vec<VersionItem>> {
        let character = self.library().editable(id)?;
        let name = Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("★");
        versions::keep(&character.dir, name, now_ms() as u64, 0)?;
        self.list_versions(&character.id)
    }

    /// What has changed since a version.
    ///
    /// # Errors
    /// When character or version do not exist.
    pub fn version_changes(&self, id: &str, version_id: &str) -> ApiResult<Vec<ChangeItem>> {
        let character = self.library().load(id)?;
        let old = versions::load(&character, version_id)?;
        let item = |change: versions::Change| ChangeItem {
            field: change.field.into(),
            item: change.item,
            before: change.before,
            after: change.after,
        };
        Ok(versions::changes(&old, &character).into_iter().map(item).collect())
    }

    /// Brings a version back; the present state becomes a version of its own.
    ///
    /// # Errors
    /// When character or version do not exist, or the folder cannot be written.
    pub fn restore_version(&self, id: &str, version_id: &str) -> ApiResult<CharacterDetail> {
        let mut character = self.library().editable(id)?;
        versions::restore(&mut character, version_id, now_ms() as u64)?;
        Ok(self.detail(&character))
    }
}

fn no_picture(character: &Character, id: &str) -> troupe_character::Error {
    let (name, id) = (character.name.clone(), id.to_owned());
    troupe_character::Error::NoSuchRecord { name, what: "picture", id }
}

/// What of a thread is dialogue: whole or stopped messages with text, from the person's first on.
/// A greeting before it is told as the opening already.
fn told(thread: Vec<Message>) -> Vec<Message> {
    let is_whole = |m: &Message| {
        matches!(m.state, MessageState::Complete | MessageState::Stopped)
            && !m.text.trim().is_empty()
    };
    thread.into_iter().filter(is_whole).skip_while(|m| m.role == Role::Character).collect()
}
