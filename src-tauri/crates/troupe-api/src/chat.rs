//! Chats: sending, alternatives, branches, and one-off questions and drawings.

use std::ops::ControlFlow;

use image::RgbImage;
use troupe_model::runtime::{
    DrawEvent, DrawRequest, Drawing, FlowSampling, ReplyRequest, TextSampling, Thinking,
};
use troupe_store::{Message, MessageState, NewMessage, Role, Store, Within};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    generate::{Draws, Generation, Writes, phase},
    picture_file::{encode_png, origin_texts},
    scene,
    tree::outline,
    wire::{
        ChatDetail, ChatEvent, ChatSettings, ChatSummary, MessageItem, MessageStatus, PhaseKind,
        PictureMode, Regenerate, SearchResult, SendMessage, Started, TreeNode, TreePage,
    },
};

/// Receives the events of a generation, on the engine's thread.
pub type ChatSink = Box<dyn FnMut(ChatEvent) + Send>;

/// Longest reply in tokens.
pub(crate) const MAX_REPLY_TOKENS: usize = 160;
/// Characters of a chat's title.
const TITLE: usize = 48;
/// Longest side of an attached picture that is kept.
const ATTACHED: u32 = 1024;
/// Messages that are told at once of a long thread.
const PAGE: usize = 200;
/// Most rows of a page of the tree.
const MAX_TREE_PAGE: u32 = 500;
/// Characters of a message in the tree.
const SNIPPET: usize = 64;

/// An answer to a one-off question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The answer.
    pub text: String,
    /// Hash of the base.
    pub base_hash: String,
    /// Hash of the adapter.
    pub adapter_hash: Option<String>,
}

/// How to draw one-off pictures.
#[derive(Debug, Clone, Copy)]
pub struct DrawOptions {
    /// Seed of the first picture; the others count up from it.
    pub seed: u32,
    /// Sampling steps; the model's when absent.
    pub num_steps: Option<usize>,
    /// Pictures, drawn together.
    pub count: u32,
    /// Whether the model plans in words first.
    pub thinks: bool,
}

/// A one-off drawing.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture as PNG, with what made it in its text chunks.
    pub png: Vec<u8>,
    /// The plan that it was drawn from, when thinking was wanted.
    pub thoughts: Option<String>,
    /// The settings that made it.
    pub settings: FlowSampling,
    /// Hash of the base.
    pub base_hash: String,
    /// Hash of the adapter.
    pub adapter_hash: Option<String>,
}

fn summary(chat: troupe_store::Chat) -> ChatSummary {
    ChatSummary {
        id: chat.id,
        character_id: chat.character_id,
        title: chat.title,
        updated_ms: chat.updated_ms as f64,
        is_pinned: chat.pinned_ms.is_some(),
    }
}

/// How a chat is led. Settings that a newer version wrote and this one cannot read count as unset.
pub(crate) fn settings(chat: &troupe_store::Chat) -> ChatSettings {
    serde_json::from_str(&chat.settings).unwrap_or_else(|error| {
        tracing::warn!("the settings of a chat are unreadable: {error}");
        ChatSettings::default()
    })
}

/// A message as it would be if it were saved.
pub(crate) fn unsaved(new: NewMessage) -> Message {
    Message {
        id: String::new(),
        chat_id: new.chat_id,
        parent_id: new.parent_id,
        role: new.role,
        text: new.text,
        state: new.state,
        picture_id: None,
        seed: None,
        settings: None,
        base_hash: None,
        adapter_hash: None,
        created_ms: 0,
        pinned_ms: None,
        attachment: new.attachment,
        edited_ms: None,
    }
}

fn status(state: MessageState) -> MessageStatus {
    match state {
        MessageState::Streaming => MessageStatus::Streaming,
        MessageState::Complete => MessageStatus::Complete,
        MessageState::Stopped => MessageStatus::Stopped,
        MessageState::Failed => MessageStatus::Failed,
    }
}

/// What a chat is called that begins with `text`.
pub(crate) fn title_of(text: &str) -> String {
    shortened(text, TITLE)
}

fn shortened(text: &str, len: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(len) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

pub(crate) fn random_seed() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

impl Studio {
    /// Chats with a character, or all with those that are not deleted, newest first.
    ///
    /// # Errors
    /// When the database or the library cannot be read.
    pub fn list_chats(&self, character_id: Option<&str>) -> ApiResult<Vec<ChatSummary>> {
        let chats = self.store().chats(character_id)?.into_iter().map(summary);
        if character_id.is_some() {
            return Ok(chats.collect());
        }
        let living = self.living()?;
        Ok(chats.filter(|chat| living.contains(&chat.character_id)).collect())
    }

    /// Ids of the characters that are not deleted.
    fn living(&self) -> ApiResult<Vec<String>> {
        Ok(self.library().list()?.into_iter().map(|entry| entry.id).collect())
    }

    /// Starts a chat. A greeting, if the character has one, is its first message; its other greetings
    /// are alternatives of that.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn create_chat(&self, character_id: &str) -> ApiResult<ChatDetail> {
        let character = self.library().load(character_id)?;
        let store = self.store();
        let chat = store.create_chat(&character.id, &format!("Chat with {}", character.name))?;
        let mut usual = None;
        for text in character.greetings() {
            let greeting =
                NewMessage { role: Role::Character, ..NewMessage::user(&chat.id, None, text) };
            let added = store.add_message(&greeting)?;
            usual.get_or_insert(added.id);
        }
        if let Some(usual) = usual {
            store.select(&usual)?;
        }
        drop(store);
        self.chat(&chat.id)
    }

    /// A chat with the thread that is shown.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn chat(&self, chat_id: &str) -> ApiResult<ChatDetail> {
        self.chat_around(chat_id, None)
    }

    /// A chat with the end of its thread, and what stands around a message, or around the one before
    /// it where the thread does without it.
    fn chat_around(&self, chat_id: &str, message: Option<&Message>) -> ApiResult<ChatDetail> {
        let store = self.store();
        let chat = store.chat(chat_id)?;
        let thread = store.thread_ids(chat_id)?;
        let end = thread.len().saturating_sub(PAGE);
        let place = |id: &str| thread.iter().position(|known| known == id);
        let at = message.and_then(|m| place(&m.id).or_else(|| place(m.parent_id.as_ref()?)));
        let around = at
            .map_or(end..end, |at| at.saturating_sub(PAGE / 2).min(end)..(at + PAGE / 2).min(end));
        let messages = thread[around].iter().chain(&thread[end..]);
        let messages = messages
            .map(|id| self.message_of(&store, store.message(id)?))
            .collect::<ApiResult<_>>()?;
        Ok(ChatDetail { settings: settings(&chat), chat: summary(chat), thread, messages })
    }

    /// Messages by their ids, in that order: more of a long thread.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn messages(&self, ids: &[String]) -> ApiResult<Vec<MessageItem>> {
        let store = self.store();
        ids.iter().map(|id| self.message_of(&store, store.message(id)?)).collect()
    }

    /// Pinned messages of the thread that is shown, first message first.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn pinned_messages(&self, chat_id: &str) -> ApiResult<Vec<MessageItem>> {
        let store = self.store();
        let pinned = store.pinned_in_thread(chat_id)?;
        pinned.into_iter().map(|message| self.message_of(&store, message)).collect()
    }

    pub(crate) fn message_item(&self, message: Message) -> ApiResult<MessageItem> {
        self.message_of(&self.store(), message)
    }

    fn message_of(&self, store: &Store, message: Message) -> ApiResult<MessageItem> {
        let picture = match &message.picture_id {
            Some(id) => Some(self.drawn(store.picture(id)?)),
            None => None,
        };
        Ok(MessageItem {
            alternatives: store.alternatives(&message)?,
            is_user: message.role == Role::User,
            status: status(message.state),
            adapter_hash: message.adapter_hash,
            base_hash: message.base_hash,
            seed: message.seed.map(|s| s as f64),
            created_ms: message.created_ms as f64,
            is_pinned: message.pinned_ms.is_some(),
            is_edited: message.edited_ms.is_some(),
            attachment: message.attachment,
            parent_id: message.parent_id,
            text: message.text,
            id: message.id,
            picture,
        })
    }

    pub(crate) fn message_by_id(&self, id: &str) -> ApiResult<MessageItem> {
        let message = self.store().message(id)?;
        self.message_item(message)
    }

    /// Renames a chat.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn rename_chat(&self, chat_id: &str, title: &str) -> ApiResult<()> {
        Ok(self.store().rename_chat(chat_id, title)?)
    }

    /// Hides a chat; it can be restored.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn delete_chat(&self, chat_id: &str) -> ApiResult<()> {
        Ok(self.store().delete_chat(chat_id)?)
    }

    /// Brings a deleted chat back.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn restore_chat(&self, chat_id: &str) -> ApiResult<()> {
        Ok(self.store().restore_chat(chat_id)?)
    }

    /// Shows the newest thread through a message.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn select_alternative(&self, message_id: &str) -> ApiResult<ChatDetail> {
        self.after(message_id, |store| store.select(message_id))
    }

    /// The message's chat, after a change.
    fn after(
        &self,
        message_id: &str,
        change: impl FnOnce(&Store) -> troupe_store::Result<()>,
    ) -> ApiResult<ChatDetail> {
        let message = {
            let store = self.store();
            change(&store)?;
            store.message(message_id)?
        };
        self.chat_around(&message.chat_id, Some(&message))
    }

    /// Ends the shown thread in a message, so that what is said next branches off there.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn branch_at(&self, message_id: &str) -> ApiResult<ChatDetail> {
        self.after(message_id, |store| store.branch_at(message_id))
    }

    /// Hides a message and all that follow it; it can be restored.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn delete_message(&self, message_id: &str) -> ApiResult<ChatDetail> {
        self.after(message_id, |store| store.delete_message(message_id))
    }

    /// Brings a deleted message back, with what followed it.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn restore_message(&self, message_id: &str) -> ApiResult<ChatDetail> {
        self.after(message_id, |store| store.restore_message(message_id))
    }

    /// Marks a message to be found again and always sent, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn pin_message(&self, message_id: &str, is_pinned: bool) -> ApiResult<MessageItem> {
        self.store().pin_message(message_id, is_pinned)?;
        self.message_by_id(message_id)
    }

    /// Keeps a chat at the top of lists, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn pin_chat(&self, chat_id: &str, is_pinned: bool) -> ApiResult<()> {
        Ok(self.store().pin_chat(chat_id, is_pinned)?)
    }

    /// Sets how a chat is led.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_chat_settings(&self, chat_id: &str, settings: &ChatSettings) -> ApiResult<()> {
        let text = serde_json::to_string(settings).unwrap_or_default();
        Ok(self.store().set_chat_settings(chat_id, &text)?)
    }

    /// The messages of a chat as a tree in reading order: `limit` of its rows from `offset` on.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn chat_tree(&self, chat_id: &str, offset: u32, limit: u32) -> ApiResult<TreePage> {
        let store = self.store();
        let leaf = store.chat(chat_id)?.active_leaf;
        let messages = store.tree_ids(chat_id)?;
        let outline = outline(&messages, leaf.as_deref());
        let shown = outline.iter().skip(offset as usize).take(limit.min(MAX_TREE_PAGE) as usize);
        let rows = shown
            .map(|row| {
                let message = store.message(row.id)?;
                Ok(TreeNode {
                    snippet: shortened(&message.text, SNIPPET),
                    is_user: message.role == Role::User,
                    has_picture: message.picture_id.is_some(),
                    is_pinned: message.pinned_ms.is_some(),
                    lane: row.lane,
                    num_branches: row.num_branches,
                    is_shown: row.is_shown,
                    id: message.id,
                })
            })
            .collect::<ApiResult<_>>()?;
        Ok(TreePage {
            rows,
            total: outline.len() as u32,
            num_branches: outline.iter().filter(|row| row.num_branches > 1).count() as u32,
            end: outline.iter().position(|row| Some(row.id) == leaf.as_deref()).unwrap_or(0) as u32,
        })
    }

    /// Keeps a picture to go with a message; the result is its name.
    ///
    /// # Errors
    /// When it is no picture that can be read, or cannot be written.
    pub fn attach_picture(&self, bytes: &[u8]) -> ApiResult<String> {
        let image = image::load_from_memory(bytes).map_err(|e| {
            let message = format!("this is no picture that can be read: {e}");
            ApiError::new(ErrorCode::BadRequest, message, "Choose a PNG, JPEG or WebP file.")
                .because(ErrorCause::NotAPicture)
                .with("file", "")
        })?;
        let is_large = image.width().max(image.height()) > ATTACHED;
        let image = if is_large { image.thumbnail(ATTACHED, ATTACHED) } else { image };
        let png = encode_png(&image.to_rgb8(), &[])?;
        let name = format!("{}.png", uuid::Uuid::now_v7());
        crate::write_atomic(&self.attachments_dir().join(&name), &png)?;
        Ok(name)
    }

    /// Keeps a copy of a drawn picture to go with a message; the result is its name.
    ///
    /// # Errors
    /// When the picture does not exist, or cannot be read or written.
    pub fn attach_drawn(&self, picture_id: &str) -> ApiResult<String> {
        let file = self.store().picture(picture_id)?.file;
        self.attach_picture(&self.picture_bytes(&file)?)
    }

    pub(crate) fn attachments_dir(&self) -> std::path::PathBuf {
        self.home().join("attachments")
    }

    /// File of an attached picture.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn attachment_file(&self, name: &str) -> ApiResult<std::path::PathBuf> {
        let safe = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
            && !name.contains("..");
        let path = self.attachments_dir().join(name);
        if safe && path.is_file() {
            return Ok(path);
        }
        let hint = "It may have been removed from the data folder.";
        Err(ApiError::new(
            ErrorCode::NotFound,
            format!("there is no attached picture {name}"),
            hint,
        )
        .because(ErrorCause::AttachmentGone))
    }

    pub(crate) fn attachment(&self, name: &str) -> ApiResult<RgbImage> {
        let bytes = std::fs::read(self.attachment_file(name)?).map_err(|e| {
            let message = format!("an attached picture cannot be read: {e}");
            ApiError::new(ErrorCode::Storage, message, "Attach it again.")
                .because(ErrorCause::AttachmentGone)
        })?;
        let image = image::load_from_memory(&bytes).map_err(|e| {
            let message = format!("an attached picture is damaged: {e}");
            ApiError::new(ErrorCode::Storage, message, "Attach it again.")
                .because(ErrorCause::AttachmentGone)
        })?;
        Ok(image.to_rgb8())
    }

    /// Changes a message's text in place, and records that. To change it back takes the record back.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn edit_message(&self, message_id: &str, text: &str) -> ApiResult<MessageItem> {
        self.store().edit_text(message_id, text)?;
        self.message_by_id(message_id)
    }

    /// Finds words in a chat, or in all chats with characters that are not deleted.
    ///
    /// # Errors
    /// When the database or the library cannot be read.
    pub fn search_chats(&self, words: &str, chat_id: Option<&str>) -> ApiResult<Vec<SearchResult>> {
        let characters = if chat_id.is_some() { Vec::new() } else { self.living()? };
        let within = chat_id.map_or(Within::Characters(&characters), Within::Chat);
        let store = self.store();
        let mut results = Vec::new();
        for hit in store.search(words, within, 50)? {
            let chat = store.chat(&hit.message.chat_id)?;
            results.push(SearchResult {
                chat_id: chat.id,
                chat_title: chat.title,
                character_id: chat.character_id,
                message_id: hit.message.id,
                snippet: hit.snippet,
            });
        }
        Ok(results)
    }

    /// Says something and lets the character answer. Returns at once; `sink` hears the rest.
    ///
    /// # Errors
    /// When the text is blank, the chat does not exist or too much is waiting.
    pub fn send_message(&self, request: SendMessage, sink: ChatSink) -> ApiResult<Started> {
        if request.text.trim().is_empty() {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                "the message is empty",
                "Write something first.",
            )
            .because(ErrorCause::EmptyMessage));
        }
        if let Some(name) = &request.attachment {
            self.attachment_file(name)?;
            self.refuse_when_blind("Take the picture away and describe it")?;
        }
        let text = request.text.trim();
        let (user, reply) = {
            let store = self.store();
            let chat = store.chat(&request.chat_id)?;
            let is_first = !store.has_own_words(&chat.id)?;
            let parent = match &request.branch_of {
                Some(id) => store.message(id)?.parent_id,
                None => request.parent_id.or(chat.active_leaf),
            };
            let attachment = request.attachment.clone();
            let new = NewMessage::user(&chat.id, parent.as_deref(), text);
            let user = store.add_message(&NewMessage { attachment, ..new })?;
            if is_first {
                store.rename_chat(&chat.id, &title_of(text))?;
            }
            let reply = store.add_message(&NewMessage::reply(&chat.id, &user.id))?;
            (user, reply)
        };
        let draws = match request.picture_mode {
            PictureMode::Always => Draws::Always,
            PictureMode::SceneChange => Draws::WhenSceneChanges,
            PictureMode::OnRequest if scene::asks_for_picture(text) => Draws::Always,
            PictureMode::OnRequest | PictureMode::Never => Draws::Never,
        };
        let generation_id = self.generate(&reply.id, Writes::Reply, draws, request.seed, sink)?;
        let user_message = Some(self.message_item(user)?);
        Ok(Started { generation_id, user_message, reply: self.message_item(reply)? })
    }

    /// Makes a reply or greeting again, or only its picture, or more of its text. `sink` hears the
    /// rest.
    ///
    /// # Errors
    /// When the message does not exist or is the person's own.
    pub fn regenerate(
        &self,
        message_id: &str,
        what: Regenerate,
        seed: Option<u32>,
        sink: ChatSink,
    ) -> ApiResult<Started> {
        let target = {
            let store = self.store();
            let message = store.message(message_id)?;
            if message.role != Role::Character {
                let hint = "Edit it instead; the character then answers anew.";
                let text = "what you said cannot be made again";
                let error = ApiError::new(ErrorCode::BadRequest, text, hint);
                return Err(error.because(ErrorCause::OwnMessage));
            }
            match what {
                Regenerate::Picture => message,
                Regenerate::Continue => {
                    store.set_text(message_id, &message.text, MessageState::Streaming)?;
                    store.message(message_id)?
                }
                Regenerate::Text | Regenerate::Both => {
                    let new = NewMessage::reply(&message.chat_id, "");
                    store.add_message(&NewMessage { parent_id: message.parent_id, ..new })?
                }
            }
        };
        let (writes, draws) = match what {
            Regenerate::Text => (Writes::Reply, Draws::Never),
            Regenerate::Picture => (Writes::Nothing, Draws::Always),
            Regenerate::Both => (Writes::Reply, Draws::Always),
            Regenerate::Continue => (Writes::Continuation, Draws::Never),
        };
        let generation_id = self.generate(&target.id, writes, draws, seed, sink)?;
        Ok(Started { generation_id, user_message: None, reply: self.message_item(target)? })
    }

    fn generate(
        &self,
        reply_id: &str,
        writes: Writes,
        draws: Draws,
        seed: Option<u32>,
        mut sink: ChatSink,
    ) -> ApiResult<String> {
        let id = uuid::Uuid::new_v4().to_string();
        sink(phase(PhaseKind::Waiting, None));
        let generation = Generation {
            studio: self.clone(),
            reply_id: reply_id.into(),
            writes,
            draws,
            seed: seed.unwrap_or_else(random_seed),
            cancel: self.register(&id),
            sink,
            id: id.clone(),
        };
        let queued = self.engine().submit(move |slot| generation.run(slot));
        if let Err(error) = queued {
            self.unregister(&id);
            let store = self.store();
            let text = store.message(reply_id)?.text;
            store.set_text(reply_id, &text, MessageState::Failed)?;
            return Err(error);
        }
        Ok(id)
    }

    /// Asks a character a question as it is, perhaps about a picture; greedy.
    ///
    /// # Errors
    /// When the character does not exist or the model fails.
    pub fn ask(&self, wanted: &str, question: &str, picture: Option<RgbImage>) -> ApiResult<Asked> {
        let entry = self.library().find(wanted)?;
        let request = ReplyRequest {
            picture,
            prompt: question.into(),
            sampling: TextSampling::greedy(),
            max_tokens: MAX_REPLY_TOKENS,
            ..ReplyRequest::default()
        };
        let studio = self.clone();
        self.engine().run(move |slot| {
            let model = studio.model_for(slot, &entry.dir, &mut |_| {})?;
            let reply = model.reply(&request, &mut |_| ControlFlow::Continue(()))?;
            Ok(Asked {
                text: reply.text,
                base_hash: model.base_hash().into(),
                adapter_hash: model.adapter_hash().map(Into::into),
            })
        })
    }

    /// Draws a character from a prompt as it is. `on` hears of every step of the first picture.
    ///
    /// # Errors
    /// When the character does not exist, no picture is asked for, or the model fails.
    pub fn draw(
        &self,
        wanted: &str,
        prompt: &str,
        options: DrawOptions,
        mut on: impl FnMut(usize, usize) + Send + 'static,
    ) -> ApiResult<Vec<Drawn>> {
        let entry = self.library().find(wanted)?;
        let prompt = troupe_character::Character::load(&entry.dir)?.as_captioned(prompt);
        let studio = self.clone();
        self.engine().run(move |slot| {
            let model = studio.model_for(slot, &entry.dir, &mut |_| {})?;
            let request = |seed: u32| {
                let defaults = &model.config().generation;
                let mut flow = FlowSampling::from_defaults(defaults, u64::from(seed));
                if let Some(steps) = options.num_steps {
                    flow.num_timesteps = steps + 1;
                }
                let thinking = options.thinks.then(Thinking::default);
                DrawRequest { thinking, ..DrawRequest::new(prompt.clone(), flow) }
            };
            let seeds = (0..options.count).map(|n| options.seed.wrapping_add(n));
            let requests: Vec<DrawRequest> = seeds.map(request).collect();
            let drawings = model.draw_many(&requests, &mut |index, event| {
                if let DrawEvent::Step { step, num_steps, .. } = event
                    && index == 0
                {
                    on(step, num_steps);
                }
                ControlFlow::Continue(())
            })?;
            let drawn = |(request, drawing): (DrawRequest, Drawing)| {
                let texts = origin_texts(&request.prompt, &request.flow, model);
                Ok(Drawn {
                    png: encode_png(&drawing.image, &texts)?,
                    thoughts: drawing.thoughts,
                    settings: request.flow,
                    base_hash: model.base_hash().into(),
                    adapter_hash: model.adapter_hash().map(Into::into),
                })
            };
            requests.into_iter().zip(drawings).map(drawn).collect()
        })
    }
}
