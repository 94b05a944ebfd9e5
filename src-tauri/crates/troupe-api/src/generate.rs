//! Replies and pictures in the making, on the engine's thread.

use std::{
    ops::ControlFlow,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use base64::Engine as _;
use image::RgbImage;
use troupe_character::{Character, prompts::ScenePicture};
use troupe_model::runtime::{
    DrawEvent, DrawRequest, Finish, FlowSampling, Model, ModelFiles, ReplyEvent, ReplyRequest,
};
use troupe_store::{Message, MessageState, NewPicture, PictureKind, Role, Sent};

use crate::{
    ChatSink, ModelSlot, Studio,
    characters::adapter_dirs,
    chat::MAX_REPLY_TOKENS,
    engine,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    memory,
    picture_file::{encode_png, origin_texts},
    prompting::{self, Asked, MAX_UNTAUGHT_TOKENS},
    scene,
    wire::{ChatEvent, ChatSettings, DrawnPicture, PhaseKind},
};

/// A preview is sent with every so many steps.
const PREVIEW_EVERY: usize = 2;
/// Memory of a loaded base over the size of its files, measured on `mini` and rounded up.
const LOADED_OVER_FILES: f64 = 2.5;

/// Whether a generation draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draws {
    Never,
    Always,
    /// Decided by what the reply says.
    WhenSceneChanges,
}

/// Whether a generation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Nothing,
    Reply,
    /// More at the end of what is there.
    Continuation,
}

/// A generation, queued for the engine.
pub(crate) struct Generation {
    pub(crate) studio: Studio,
    pub(crate) id: String,
    pub(crate) reply_id: String,
    pub(crate) writes: Writes,
    pub(crate) draws: Draws,
    pub(crate) seed: u32,
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) sink: ChatSink,
}

/// A phase in words, for those who show no words of their own.
pub(crate) fn phase(kind: PhaseKind, num_tokens: Option<usize>) -> ChatEvent {
    let label = match (kind, num_tokens) {
        (PhaseKind::Waiting, _) => "Waiting for other work to end".into(),
        (PhaseKind::LoadingBase, _) => engine::LOADING_BASE.into(),
        (PhaseKind::LoadingAdapter, _) => engine::LOADING_ADAPTER.into(),
        (PhaseKind::Reading, Some(count)) => format!("Reading {count} tokens"),
        (PhaseKind::Reading, None) => "Reading".into(),
        (PhaseKind::PreparingPicture, _) => "Preparing the picture".into(),
    };
    ChatEvent::Phase { label, kind, num_tokens: num_tokens.map(|count| count as u32) }
}

/// The kind of a loading phase by the engine's words.
pub(crate) fn loading(label: &str) -> PhaseKind {
    if label == engine::LOADING_ADAPTER {
        PhaseKind::LoadingAdapter
    } else {
        PhaseKind::LoadingBase
    }
}

/// The error of a request that panicked.
pub(crate) fn stumbled() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the engine stumbled over this request and was started anew",
        "Nothing was lost. Try again; the log has the details.",
    )
    .because(ErrorCause::Stumbled)
}

impl Studio {
    /// The model with the newest adapter of the character in `dir`.
    pub(crate) fn model_for<'a>(
        &self,
        slot: &'a mut ModelSlot,
        dir: &Path,
        phase: &mut dyn FnMut(&str),
    ) -> ApiResult<&'a Model> {
        let adapter = adapter_dirs(dir).into_iter().next();
        self.model_with(slot, adapter.as_deref(), phase)
    }

    /// The model with `adapter`, or bare.
    pub(crate) fn model_with<'a>(
        &self,
        slot: &'a mut ModelSlot,
        adapter: Option<&Path>,
        phase: &mut dyn FnMut(&str),
    ) -> ApiResult<&'a Model> {
        if slot.loaded().is_none() {
            self.refuse_without_room()?;
        }
        slot.ensure(self.model_dir(), &self.load_options(), adapter, phase)
    }

    /// Refuses to load the base beside a run that leaves too little memory: the system would end
    /// one of the two without a word.
    fn refuse_without_room(&self) -> ApiResult<()> {
        let teaching = self.teaching().map(|now| format!("{} is being taught", now.character_name));
        let evaluating = || self.evaluating().map(|names| format!("{names} is being evaluated"));
        let (Some(busy), Some(available)) = (teaching.or_else(evaluating), memory::available_mb())
        else {
            return Ok(());
        };
        let files = ModelFiles::find(self.model_dir())?.all();
        let needed = memory::files_mb(&files) * LOADED_OVER_FILES;
        check_room(needed, available, &busy)
    }

    pub(crate) fn drawn(&self, picture: troupe_store::Picture) -> DrawnPicture {
        DrawnPicture {
            id: picture.id,
            prompt: picture.prompt,
            seed: picture.seed as f64,
            base_hash: picture.base_hash,
            adapter_hash: picture.adapter_hash,
        }
    }

    /// Writes a drawn picture's file, then its record.
    pub(crate) fn keep_drawing(
        &self,
        model: &Model,
        character: &Character,
        request: &DrawRequest,
        image: &RgbImage,
        kind: PictureKind,
    ) -> ApiResult<troupe_store::Picture> {
        let png = encode_png(image, &origin_texts(&request.prompt, &request.flow, model))?;
        let file = format!("{}.png", uuid::Uuid::now_v7());
        crate::write_atomic(&self.pictures_dir().join(&file), &png)?;
        Ok(self.store().add_picture(&NewPicture {
            character_id: character.id.clone(),
            file,
            prompt: request.prompt.clone(),
            seed: request.flow.seed as i64,
            settings: serde_json::to_string(&request.flow).unwrap_or_default(),
            base_hash: model.base_hash().into(),
            adapter_hash: model.adapter_hash().map(Into::into),
            kind,
            ..NewPicture::default()
        })?)
    }
}

fn check_room(needed_mb: f64, available_mb: f64, busy: &str) -> ApiResult<()> {
    if needed_mb <= available_mb {
        return Ok(());
    }
    let (needed, available) = (needed_mb.ceil(), available_mb.floor());
    Err(ApiError::new(
        ErrorCode::Busy,
        format!(
            "{busy}, and the rest of the memory is too small to chat beside it: \
             about {needed} MB are needed, {available} MB are free"
        ),
        "Pause it, or wait until it is done.",
    )
    .because(ErrorCause::NoRoom)
    .with("needed", needed)
    .with("available", available))
}

/// Does something with the model. A panic becomes an error, and the model is loaded anew afterwards:
/// whatever state the panic left behind is not trusted.
pub(crate) fn guarded(
    slot: &mut ModelSlot,
    make: impl FnOnce(&mut ModelSlot) -> ApiResult<()>,
) -> ApiResult<()> {
    std::panic::catch_unwind(AssertUnwindSafe(|| make(slot))).unwrap_or_else(|_| {
        slot.unload();
        Err(stumbled())
    })
}

impl Generation {
    pub(crate) fn run(mut self, slot: &mut ModelSlot) {
        let result = guarded(slot, |slot| self.make(slot));
        self.studio.unregister(&self.id);
        let last = match result {
            Ok(()) => match self.studio.message_by_id(&self.reply_id) {
                Ok(message) => ChatEvent::Done { message },
                Err(error) => ChatEvent::Failed { message: None, error },
            },
            Err(error) => {
                tracing::error!("a reply failed: {error}");
                self.keep_what_there_is();
                let message = self.studio.message_by_id(&self.reply_id).ok();
                ChatEvent::Failed { message, error }
            }
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
        let settings = crate::chat::settings(&chat);
        let character = self.studio.library().load(&chat.character_id)?;
        let studio = self.studio.clone();
        let model = studio.model_for(slot, &character.dir, &mut |label| {
            (self.sink)(phase(loading(label), None));
        })?;
        if self.writes != Writes::Nothing {
            self.write_text(model, &character, &settings, &thread)?;
        }
        if !self.is_cancelled() && self.is_picture_due(&thread)? {
            self.draw_picture(model, &character, &thread)?;
        }
        Ok(())
    }

    fn is_picture_due(&self, thread: &[Message]) -> ApiResult<bool> {
        match self.draws {
            Draws::Never => Ok(false),
            Draws::Always => Ok(true),
            Draws::WhenSceneChanges => {
                let reply = self.studio.store().message(&self.reply_id)?;
                let before = &thread[..thread.len().saturating_sub(1)];
                let user = before.iter().rev().find(|m| m.role == Role::User);
                let replies: Vec<&Message> =
                    before.iter().filter(|m| m.role == Role::Character).collect();
                let last = replies.iter().rposition(|m| m.picture_id.is_some());
                let since: Vec<&str> = last
                    .map(|at| replies[at..].iter().map(|m| m.text.as_str()).collect())
                    .unwrap_or_default();
                let message = user.map_or("", |m| m.text.as_str());
                Ok(scene::scene_changes(message, &reply.text, &since))
            }
        }
    }

    /// What the model is asked, and the same as one text: the role play, or the question about a
    /// picture as it is, which is how it was taught to look at pictures.
    fn request(
        &self,
        model: &Model,
        character: &Character,
        settings: &ChatSettings,
        thread: &[Message],
    ) -> ApiResult<(ReplyRequest, String)> {
        let before = &thread[..thread.len().saturating_sub(1)];
        let attached = before.last().and_then(|m| Some((m, m.attachment.as_deref()?)));
        let (asked, picture) = match attached {
            Some((message, name)) => {
                let asked = Asked { before: Vec::new(), prompt: message.text.clone() };
                (asked, Some(self.studio.attachment(name)?))
            }
            None => {
                let parts = prompting::ReplyParts::new(character, settings, before);
                (parts.asked(model.adapter_hash().is_some(), model.tokenizer()), None)
            }
        };
        let (sampling, max_tokens) = if asked.before.is_empty() {
            (
                prompting::reply_sampling(model.config(), settings.preset, self.seed),
                MAX_REPLY_TOKENS,
            )
        } else {
            (prompting::untaught_sampling(settings.preset, self.seed), MAX_UNTAUGHT_TOKENS)
        };
        let sent = asked.text();
        let Asked { before, prompt } = asked;
        let request = ReplyRequest { picture, before, prompt, sampling, max_tokens };
        Ok((request, sent))
    }

    fn record_sent(
        &self,
        model: &Model,
        kind: &str,
        prompt: &str,
        settings: String,
    ) -> ApiResult<()> {
        let num_tokens = model.count_tokens(prompt)? as i64;
        let (message_id, kind, prompt) = (self.reply_id.clone(), kind.into(), prompt.into());
        Ok(self.studio.store().set_sent(&Sent {
            message_id,
            kind,
            prompt,
            num_tokens,
            settings,
        })?)
    }

    fn write_text(
        &mut self,
        model: &Model,
        character: &Character,
        settings: &ChatSettings,
        thread: &[Message],
    ) -> ApiResult<()> {
        let (request, sent) = self.request(model, character, settings, thread)?;
        let begun = match self.writes {
            Writes::Continuation => thread.last().map(|m| m.text.clone()).unwrap_or_default(),
            Writes::Reply | Writes::Nothing => String::new(),
        };
        let how = serde_json::to_string(&request.sampling).unwrap_or_default();
        self.record_sent(model, "text", &format!("{sent}{begun}"), how.clone())?;
        self.studio.store().set_origin(
            &self.reply_id,
            i64::from(self.seed),
            &how,
            model.base_hash(),
            model.adapter_hash(),
        )?;
        let (mut text, mut failed) = (begun.clone(), None);
        let reply = model.reply_from(&request, &begun, &mut |event| {
            match event {
                ReplyEvent::Prefilling { num_tokens } => {
                    (self.sink)(phase(PhaseKind::Reading, Some(num_tokens)));
                }
                ReplyEvent::Text { delta } => {
                    text.push_str(delta);
                    let store = self.studio.store();
                    let kept =
                        store.set_text(&self.reply_id, text.trim_start(), MessageState::Streaming);
                    drop(store);
                    if let Err(error) = kept {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
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
        let whole = format!("{begun}{}", reply.text);
        self.studio.store().set_text(&self.reply_id, whole.trim(), state)?;
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
        let before = &thread[..thread.len().saturating_sub(1)];
        let user = before.iter().rev().find(|m| m.role == Role::User);
        let scene = ScenePicture {
            description: &character.description(),
            user: user.map_or("", |m| m.text.as_str()),
            response: &reply.text,
        };
        let is_taught = model.adapter_hash().is_some();
        let prompt = prompting::picture(character, &scene, is_taught, model.tokenizer());
        let flow = FlowSampling::from_defaults(&model.config().generation, u64::from(self.seed));
        let how = serde_json::to_string(&flow).unwrap_or_default();
        self.record_sent(model, "picture", &prompt, how)?;
        let request = DrawRequest::new(prompt, flow);
        let (mut started, message_id) = (Instant::now(), self.reply_id.clone());
        let drawing = model.draw(&request, &mut |event| {
            match event {
                DrawEvent::Prefilling { num_tokens } => {
                    (self.sink)(phase(PhaseKind::PreparingPicture, Some(num_tokens)));
                    started = Instant::now();
                }
                DrawEvent::Thinking { num_tokens } => {
                    (self.sink)(phase(PhaseKind::PreparingPicture, Some(num_tokens)));
                }
                DrawEvent::Step { step, num_steps, preview } => {
                    let preview = preview.filter(|_| step % PREVIEW_EVERY == 0).and_then(data_url);
                    (self.sink)(ChatEvent::PictureProgress {
                        message_id: message_id.clone(),
                        step: step as u32,
                        num_steps: num_steps as u32,
                        eta_secs: secs_left(started, step, num_steps),
                        preview,
                    });
                }
            }
            if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if drawing.finish == Finish::Cancelled {
            return Ok(()); // a half-drawn picture is not kept
        }
        let picture = self.studio.keep_drawing(
            model,
            character,
            &request,
            &drawing.image,
            PictureKind::Chat,
        )?;
        self.studio.store().set_message_picture(&self.reply_id, &picture.id)?;
        let message = self.studio.message_by_id(&self.reply_id)?;
        (self.sink)(ChatEvent::PictureDone { message });
        Ok(())
    }
}

/// Seconds left at the present speed.
pub(crate) fn secs_left(started: Instant, step: usize, num_steps: usize) -> f64 {
    started.elapsed().as_secs_f64() / step.max(1) as f64 * num_steps.saturating_sub(step) as f64
}

fn data_url(image: RgbImage) -> Option<String> {
    let png = encode_png(&image, &[]).ok()?;
    let text = base64::engine::general_purpose::STANDARD.encode(png);
    Some(format!("data:image/png;base64,{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_beside_a_run_is_refused_only_without_room() {
        assert!(check_room(400., 400., "Dot is being taught").is_ok());
        let error = check_room(400.2, 399.9, "Dot is being taught").expect_err("too little");
        assert_eq!(error.code, ErrorCode::Busy);
        assert!(error.message.contains("about 401 MB are needed, 399 MB are free"), "{error}");
    }
}
