//! Chats: sending, generating, alternatives, and one-off questions and drawings.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use image::RgbImage;
use troupe_character::{
    Character,
    prompts::{self, HistoryTurn, RolePlay, ScenePicture},
};
use troupe_model::runtime::{
    DrawEvent, DrawRequest, Finish, FlowSampling, Model, ReplyEvent, ReplyRequest, TextSampling,
};
use troupe_store::{Message, MessageState, NewMessage, NewPicture, Role};

use crate::{
    ModelSlot, Studio,
    characters::adapter_dirs,
    error::{ApiError, ApiResult, ErrorCode},
    picture_file::{data_url, encode_png, origin_texts},
    wire::{
        ChatDetail, ChatEvent, ChatSummary, DrawnPicture, MessageItem, MessageStatus, PictureMode,
        Regenerate, SearchResult, SendMessage, Started,
    },
};

/// Receives the events of a generation, on the engine's thread.
pub type ChatSink = Box<dyn FnMut(ChatEvent) + Send>;

/// Longest reply in tokens.
const MAX_REPLY_TOKENS: usize = 160;
/// Earlier turns that a prompt carries.
const MAX_HISTORY_TURNS: usize = 6;
/// Characters of a chat's title.
const TITLE: usize = 48;
/// A preview is sent with every so many steps.
const PREVIEW_EVERY: usize = 2;

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

/// A one-off drawing.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture as PNG, with what made it in its text chunks.
    pub png: Vec<u8>,
    /// The settings that made it.
    pub settings: FlowSampling,
    /// Hash of the base.
    pub base_hash: String,
    /// Hash of the adapter.
    pub adapter_hash: Option<String>,
}

/// What a generation makes.
#[derive(Debug, Clone, Copy)]
struct Parts {
    text: bool,
    picture: bool,
}

/// A generation, queued for the engine.
struct Generation {
    studio: Studio,
    id: String,
    reply_id: String,
    parts: Parts,
    seed: u32,
    cancel: Arc<AtomicBool>,
    sink: ChatSink,
}

fn summary(chat: troupe_store::Chat) -> ChatSummary {
    ChatSummary {
        id: chat.id,
        character_id: chat.character_id,
        title: chat.title,
        updated_ms: chat.updated_ms as f64,
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

fn title_of(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(TITLE) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

pub(crate) fn random_seed() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

impl Studio {
    /// Chats with a character, or all, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list_chats(&self, character_id: Option<&str>) -> ApiResult<Vec<ChatSummary>> {
        Ok(self.store().chats(character_id)?.into_iter().map(summary).collect())
    }

    /// Starts a chat. A greeting, if the character has one, is its first message.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn create_chat(&self, character_id: &str) -> ApiResult<ChatDetail> {
        let character = self.library().load(character_id)?;
        let store = self.store();
        let chat = store.create_chat(&character.id, &format!("Chat with {}", character.name))?;
        if !character.greeting.trim().is_empty() {
            let greeting = NewMessage {
                role: Role::Character,
                ..NewMessage::user(&chat.id, None, character.greeting.trim())
            };
            store.add_message(&greeting)?;
        }
        drop(store);
        self.chat(&chat.id)
    }

    /// A chat with the thread that is shown.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn chat(&self, chat_id: &str) -> ApiResult<ChatDetail> {
        let (chat, thread) = {
            let store = self.store();
            (store.chat(chat_id)?, store.thread(chat_id)?)
        };
        let messages =
            thread.into_iter().map(|m| self.message_item(m)).collect::<ApiResult<_>>()?;
        Ok(ChatDetail { chat: summary(chat), messages })
    }

    fn message_item(&self, message: Message) -> ApiResult<MessageItem> {
        let store = self.store();
        let picture = match &message.picture_id {
            Some(id) => {
                let p = store.picture(id)?;
                Some(DrawnPicture {
                    id: p.id,
                    prompt: p.prompt,
                    seed: p.seed as f64,
                    base_hash: p.base_hash,
                    adapter_hash: p.adapter_hash,
                })
            }
            None => None,
        };
        let alternatives = store.alternatives(&message.id)?.into_iter().map(|m| m.id).collect();
        Ok(MessageItem {
            is_user: message.role == Role::User,
            status: status(message.state),
            adapter_hash: message.adapter_hash,
            seed: message.seed.map(|s| s as f64),
            parent_id: message.parent_id,
            text: message.text,
            id: message.id,
            alternatives,
            picture,
        })
    }

    fn message_by_id(&self, id: &str) -> ApiResult<MessageItem> {
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
        let chat_id = {
            let store = self.store();
            store.select(message_id)?;
            store.message(message_id)?.chat_id
        };
        self.chat(&chat_id)
    }

    /// Changes a message's text in place.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn edit_message(&self, message_id: &str, text: &str) -> ApiResult<MessageItem> {
        {
            let store = self.store();
            store.message(message_id)?;
            store.set_text(message_id, text, MessageState::Complete)?;
        }
        self.message_by_id(message_id)
    }

    /// Finds words in chats.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn search_chats(&self, words: &str, chat_id: Option<&str>) -> ApiResult<Vec<SearchResult>> {
        let hits = self.store().search(words, chat_id, 50)?;
        let result = |hit: troupe_store::SearchHit| SearchResult {
            chat_id: hit.message.chat_id,
            message_id: hit.message.id,
            snippet: hit.snippet,
        };
        Ok(hits.into_iter().map(result).collect())
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
            ));
        }
        let (user, reply) = {
            let store = self.store();
            let chat = store.chat(&request.chat_id)?;
            let is_first = store.thread(&chat.id)?.iter().all(|m| m.role == Role::Character);
            let parent = request.parent_id.or(chat.active_leaf);
            let text = request.text.trim();
            let user = store.add_message(&NewMessage::user(&chat.id, parent.as_deref(), text))?;
            if is_first {
                store.rename_chat(&chat.id, &title_of(text))?;
            }
            let reply = store.add_message(&NewMessage::reply(&chat.id, &user.id))?;
            (user, reply)
        };
        let parts = Parts { text: true, picture: request.picture_mode == PictureMode::Always };
        let generation_id = self.generate(&reply.id, parts, request.seed, sink)?;
        let user_message = Some(self.message_item(user)?);
        Ok(Started { generation_id, user_message, reply: self.message_item(reply)? })
    }

    /// Makes a reply again, or only its picture. `sink` hears the rest.
    ///
    /// # Errors
    /// When the message does not exist or is not a reply to anything.
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
            let (Role::Character, Some(parent)) = (message.role, &message.parent_id) else {
                let hint = "Only replies can be made again.";
                return Err(ApiError::new(ErrorCode::BadRequest, "this is no reply", hint));
            };
            match what {
                Regenerate::Picture => message,
                Regenerate::Text | Regenerate::Both => {
                    store.add_message(&NewMessage::reply(&message.chat_id, parent))?
                }
            }
        };
        let parts = Parts { text: what != Regenerate::Picture, picture: what != Regenerate::Text };
        let generation_id = self.generate(&target.id, parts, seed, sink)?;
        Ok(Started { generation_id, user_message: None, reply: self.message_item(target)? })
    }

    fn generate(
        &self,
        reply_id: &str,
        parts: Parts,
        seed: Option<u32>,
        sink: ChatSink,
    ) -> ApiResult<String> {
        let id = uuid::Uuid::new_v4().to_string();
        let generation = Generation {
            studio: self.clone(),
            reply_id: reply_id.into(),
            parts,
            seed: seed.unwrap_or_else(random_seed),
            cancel: self.register(&id),
            sink,
            id: id.clone(),
        };
        let queued = self.engine().submit(move |slot| generation.run(slot));
        if let Err(error) = queued {
            self.unregister(&id);
            self.store().set_text(reply_id, "", MessageState::Failed)?;
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

    /// Draws a character from a prompt as it is. `on` hears of every step.
    ///
    /// # Errors
    /// When the character does not exist or the model fails.
    pub fn draw(
        &self,
        wanted: &str,
        prompt: &str,
        seed: u32,
        num_steps: Option<usize>,
        mut on: impl FnMut(usize, usize) + Send + 'static,
    ) -> ApiResult<Drawn> {
        let entry = self.library().find(wanted)?;
        let (studio, prompt) = (self.clone(), prompt.to_owned());
        self.engine().run(move |slot| {
            let model = studio.model_for(slot, &entry.dir, &mut |_| {})?;
            let mut flow = FlowSampling::from_defaults(&model.config().generation, u64::from(seed));
            if let Some(steps) = num_steps {
                flow.num_timesteps = steps + 1;
            }
            let request = DrawRequest { prompt: prompt.clone(), reference: None, flow };
            let drawing = model.draw(&request, &mut |event| {
                if let DrawEvent::Step { step, num_steps, .. } = event {
                    on(step, num_steps);
                }
                ControlFlow::Continue(())
            })?;
            let texts = origin_texts(&prompt, &request.flow, model);
            Ok(Drawn {
                png: encode_png(&drawing.image, &texts)?,
                settings: request.flow,
                base_hash: model.base_hash().into(),
                adapter_hash: model.adapter_hash().map(Into::into),
            })
        })
    }

    /// The model with the newest adapter of the character in `dir`.
    pub(crate) fn model_for<'a>(
        &self,
        slot: &'a mut ModelSlot,
        dir: &Path,
        phase: &mut dyn FnMut(&str),
    ) -> ApiResult<&'a Model> {
        let adapter = adapter_dirs(dir).into_iter().next();
        slot.ensure(self.model_dir(), &self.load_options(), adapter.as_deref(), phase)
    }
}

impl Generation {
    fn run(mut self, slot: &mut ModelSlot) {
        let result = self.make(slot);
        self.studio.unregister(&self.id);
        let message = self.studio.message_by_id(&self.reply_id);
        let last = match (result, message) {
            (Ok(()), Ok(message)) => ChatEvent::Done { message },
            (Err(error), message) => {
                tracing::error!("a reply failed: {error}");
                self.keep_what_there_is();
                let message = self.studio.message_by_id(&self.reply_id).ok().or(message.ok());
                ChatEvent::Failed { message, error }
            }
            (Ok(()), Err(error)) => ChatEvent::Failed { message: None, error },
        };
        (self.sink)(last);
    }

    /// Marks a half-written reply as failed without losing its text.
    fn keep_what_there_is(&self) {
        let store = self.studio.store();
        let kept = store.message(&self.reply_id).and_then(|m| match m.state {
            MessageState::Streaming => store.set_text(&m.id, &m.text, MessageState::Failed),
            _ => Ok(()),
        });
        if let Err(error) = kept {
            tracing::error!("the failed reply could not be marked: {error}");
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn make(&mut self, slot: &mut ModelSlot) -> ApiResult<()> {
        let (chat, thread) = {
            let store = self.studio.store();
            let reply = store.message(&self.reply_id)?;
            (store.chat(&reply.chat_id)?, store.thread_to(&self.reply_id)?)
        };
        let character = self.studio.library().load(&chat.character_id)?;
        let studio = self.studio.clone();
        let model = studio.model_for(slot, &character.dir, &mut |label| {
            (self.sink)(ChatEvent::Phase { label: label.into() });
        })?;
        if self.parts.text {
            self.write_text(model, &character, &thread)?;
        }
        if self.parts.picture && !self.is_cancelled() {
            self.draw_picture(model, &character, &thread)?;
        }
        Ok(())
    }

    fn write_text(
        &mut self,
        model: &Model,
        character: &Character,
        thread: &[Message],
    ) -> ApiResult<()> {
        let prompt = reply_prompt(character, thread);
        let request = ReplyRequest {
            picture: None,
            prompt,
            sampling: TextSampling { seed: u64::from(self.seed), ..TextSampling::default() },
            max_tokens: MAX_REPLY_TOKENS,
        };
        let settings = serde_json::to_string(&request.sampling).unwrap_or_default();
        self.studio.store().set_origin(
            &self.reply_id,
            i64::from(self.seed),
            &settings,
            model.base_hash(),
            model.adapter_hash(),
        )?;
        let (mut text, mut failed) = (String::new(), None);
        let reply = model.reply(&request, &mut |event| {
            match event {
                ReplyEvent::Prefilling { num_tokens } => {
                    (self.sink)(ChatEvent::Phase { label: format!("Reading {num_tokens} tokens") });
                }
                ReplyEvent::Text { delta } => {
                    text.push_str(delta);
                    let shown = text.trim_start();
                    let store = self.studio.store();
                    if let Err(error) =
                        store.set_text(&self.reply_id, shown, MessageState::Streaming)
                    {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                    drop(store);
                    let message_id = self.reply_id.clone();
                    (self.sink)(ChatEvent::TextDelta { message_id, delta: delta.into() });
                }
            }
            if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let state = match reply.finish {
            Finish::Cancelled => MessageState::Stopped,
            Finish::Complete | Finish::MaxTokens | Finish::Stop => MessageState::Complete,
        };
        self.studio.store().set_text(&self.reply_id, &reply.text, state)?;
        let message = self.studio.message_by_id(&self.reply_id)?;
        (self.sink)(ChatEvent::TextDone { message });
        Ok(())
    }

    fn draw_picture(
        &mut self,
        model: &Model,
        character: &Character,
        thread: &[Message],
    ) -> ApiResult<()> {
        let reply = self.studio.store().message(&self.reply_id)?;
        let user = thread.iter().rev().find(|m| m.role == Role::User);
        let prompt = prompts::scene_picture(&ScenePicture {
            description: &character.description(),
            user: user.map_or("", |m| m.text.as_str()),
            response: &reply.text,
        });
        let flow = FlowSampling::from_defaults(&model.config().generation, u64::from(self.seed));
        let request = DrawRequest { prompt, reference: None, flow };
        let (mut started, message_id) = (Instant::now(), self.reply_id.clone());
        let drawing = model.draw(&request, &mut |event| {
            match event {
                DrawEvent::Prefilling { .. } => {
                    (self.sink)(ChatEvent::Phase { label: "Preparing the picture".into() });
                    started = Instant::now();
                }
                DrawEvent::Step { step, num_steps, preview } => {
                    let left = (num_steps - step) as f64;
                    let eta_secs = started.elapsed().as_secs_f64() / step as f64 * left;
                    let preview = preview.filter(|_| step % PREVIEW_EVERY == 0).and_then(data_url);
                    (self.sink)(ChatEvent::PictureProgress {
                        message_id: message_id.clone(),
                        step: step as u32,
                        num_steps: num_steps as u32,
                        eta_secs,
                        preview,
                    });
                }
            }
            if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if drawing.finish == Finish::Cancelled {
            return Ok(()); // a half-drawn picture is not kept
        }
        self.keep_picture(model, character, &request, &drawing.image)?;
        let message = self.studio.message_by_id(&self.reply_id)?;
        (self.sink)(ChatEvent::PictureDone { message });
        Ok(())
    }

    /// Writes the file, then the record, then the link from the message.
    fn keep_picture(
        &self,
        model: &Model,
        character: &Character,
        request: &DrawRequest,
        image: &RgbImage,
    ) -> ApiResult<()> {
        let png = encode_png(image, &origin_texts(&request.prompt, &request.flow, model))?;
        let file = format!("{}.png", uuid::Uuid::now_v7());
        crate::write_atomic(&self.studio.pictures_dir().join(&file), &png)?;
        let store = self.studio.store();
        let picture = store.add_picture(&NewPicture {
            character_id: character.id.clone(),
            file,
            prompt: request.prompt.clone(),
            seed: i64::from(self.seed),
            settings: serde_json::to_string(&request.flow).unwrap_or_default(),
            base_hash: model.base_hash().into(),
            adapter_hash: model.adapter_hash().map(Into::into),
            ..NewPicture::default()
        })?;
        Ok(store.set_message_picture(&self.reply_id, &picture.id)?)
    }
}

/// The prompt of the reply at the end of `thread`: the last user line, with earlier turns as history.
fn reply_prompt(character: &Character, thread: &[Message]) -> String {
    let earlier = &thread[..thread.len().saturating_sub(1)];
    let (user, before) = match earlier.split_last() {
        Some((last, before)) if last.role == Role::User => (last.text.as_str(), before),
        _ => ("", earlier),
    };
    // The greeting is told as the opening, not as history.
    let before = match before.split_first() {
        Some((first, rest)) if first.role == Role::Character => rest,
        _ => before,
    };
    let recent = &before[before.len().saturating_sub(MAX_HISTORY_TURNS)..];
    let history: Vec<HistoryTurn> = recent
        .iter()
        .map(|m| HistoryTurn {
            role: if m.role == Role::User { "user" } else { "machine" },
            text: &m.text,
        })
        .collect();
    prompts::role_play(&RolePlay {
        description: &character.description(),
        opening: &character.greeting,
        history: &history,
        user,
        name: character.prompt_name(),
    })
}
