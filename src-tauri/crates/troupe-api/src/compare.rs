//! Several sides answer the same message on the same seed: base and adapters, or two characters.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use troupe_character::{
    Character,
    prompts::{self, ScenePicture},
};
use troupe_model::runtime::{
    DrawEvent, DrawRequest, Finish, FlowSampling, Model, ReplyEvent, ReplyRequest,
};
use troupe_store::{Message, NewMessage, PictureKind};

use crate::{
    ModelSlot, Studio,
    characters::adapter_dirs,
    chat::{self, MAX_REPLY_TOKENS, random_seed},
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    generate::{guarded, loading, secs_left},
    prompting,
    wire::{
        ChatSettings, CompareAnswer, CompareEvent, CompareRequest, CompareSide, DrawnPicture,
        PhaseKind,
    },
};

/// Receives the events of a comparison, on the engine's thread.
pub type CompareSink = Box<dyn FnMut(CompareEvent) + Send>;

/// Sides of one comparison.
const MAX_SIDES: usize = 4;

/// A comparison, queued for the engine.
struct Comparison {
    studio: Studio,
    id: String,
    thread: Vec<Message>,
    settings: ChatSettings,
    sides: Vec<(Character, Option<PathBuf>, bool)>,
    text: String,
    seed: u32,
    with_pictures: bool,
    cancel: Arc<AtomicBool>,
    sink: CompareSink,
}

impl Studio {
    /// Lets several sides answer a message. Nothing is added to the chat; pictures are kept. The
    /// result stops it.
    ///
    /// # Errors
    /// When the message is empty, there are not two to four sides, or one of them does not exist.
    pub fn compare(&self, request: CompareRequest, sink: CompareSink) -> ApiResult<String> {
        let text = request.text.trim().to_owned();
        if text.is_empty() || !(2..=MAX_SIDES).contains(&request.sides.len()) {
            let hint = "Write a message and choose two to four who answer it.";
            let error = ApiError::new(ErrorCode::BadRequest, "there is nothing to compare", hint);
            return Err(error.because(ErrorCause::NothingToCompare));
        }
        let (chat, thread) = {
            let store = self.store();
            (store.chat(&request.chat_id)?, store.thread(&request.chat_id)?)
        };
        let side = |side: &CompareSide| -> ApiResult<(Character, Option<PathBuf>, bool)> {
            let character = self.library().load(&side.character_id)?;
            let adapter = side.adapter.as_ref().map(|name| self.adapter(&character, name));
            let is_in_chat = character.id == chat.character_id;
            Ok((character, adapter.transpose()?, is_in_chat))
        };
        let sides = request.sides.iter().map(side).collect::<ApiResult<Vec<_>>>()?;
        let id = uuid::Uuid::new_v4().to_string();
        let comparison = Comparison {
            studio: self.clone(),
            settings: chat::settings(&chat),
            seed: request.seed.unwrap_or_else(random_seed),
            with_pictures: request.with_pictures,
            cancel: self.register(&id),
            id: id.clone(),
            thread,
            sides,
            text,
            sink,
        };
        if let Err(error) = self.engine().submit(move |slot| comparison.run(slot)) {
            self.unregister(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// Folder of a character's adapter by name.
    pub(crate) fn adapter(&self, character: &Character, name: &str) -> ApiResult<PathBuf> {
        let named = |dir: &PathBuf| dir.file_name().is_some_and(|file| *file == *name);
        adapter_dirs(&character.dir).into_iter().find(named).ok_or_else(|| {
            let message = format!("{} has learned nothing called {name}", character.name);
            ApiError::new(ErrorCode::NotFound, message, "Choose another one.")
                .because(ErrorCause::NotLearned)
                .with("name", &character.name)
        })
    }
}

impl Comparison {
    fn run(mut self, slot: &mut ModelSlot) {
        let result = guarded(slot, |slot| self.make(slot));
        self.studio.unregister(&self.id);
        (self.sink)(match result {
            Ok(()) => CompareEvent::Done,
            Err(error) => {
                tracing::error!("a comparison failed: {error}");
                CompareEvent::Failed { error }
            }
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn make(&mut self, slot: &mut ModelSlot) -> ApiResult<()> {
        let sides = std::mem::take(&mut self.sides);
        for (index, (character, adapter, is_in_chat)) in sides.iter().enumerate() {
            if self.is_cancelled() {
                break;
            }
            let side = index as u32;
            let studio = self.studio.clone();
            let model = studio.model_with(slot, adapter.as_deref(), &mut |label| {
                let kind = loading(label);
                (self.sink)(CompareEvent::Phase { side, kind, num_tokens: None });
            })?;
            let text = self.write(model, side, character, *is_in_chat)?;
            let picture = if self.with_pictures && !self.is_cancelled() {
                self.draw(model, side, character, &text)?
            } else {
                None
            };
            let answer = CompareAnswer {
                side,
                text,
                picture,
                seed: self.seed,
                base_hash: model.base_hash().into(),
                adapter_hash: model.adapter_hash().map(Into::into),
            };
            (self.sink)(CompareEvent::SideDone { answer });
        }
        Ok(())
    }

    fn answering(&mut self, side: u32) -> Answering<'_> {
        Answering { side, sink: &mut self.sink, cancel: &self.cancel }
    }

    fn write(
        &mut self,
        model: &Model,
        side: u32,
        character: &Character,
        is_in_chat: bool,
    ) -> ApiResult<String> {
        let mut thread = if is_in_chat { self.thread.clone() } else { Vec::new() };
        thread.push(chat::unsaved(NewMessage::user("", None, &self.text)));
        // The base is asked as the stages are, so that they differ in nothing but the adapter.
        let request = ReplyRequest {
            prompt: prompting::ReplyParts::new(character, &self.settings, &thread).text(),
            sampling: prompting::reply_sampling(model.config(), self.settings.preset, self.seed),
            max_tokens: MAX_REPLY_TOKENS,
            ..ReplyRequest::default()
        };
        self.answering(side).reply(model, &request)
    }

    fn draw(
        &mut self,
        model: &Model,
        side: u32,
        character: &Character,
        text: &str,
    ) -> ApiResult<Option<DrawnPicture>> {
        let prompt = prompts::scene_picture(&ScenePicture {
            description: &character.description(),
            user: &self.text,
            response: text,
        });
        let flow = FlowSampling::from_defaults(&model.config().generation, u64::from(self.seed));
        let request = DrawRequest::new(prompt, flow);
        let studio = self.studio.clone();
        self.answering(side).draw(&studio, model, character, &request, PictureKind::Chat)
    }
}

/// A side that is answering: its words and steps go to the sink, until it is cancelled.
pub(crate) struct Answering<'a> {
    /// Which side.
    pub(crate) side: u32,
    pub(crate) sink: &'a mut CompareSink,
    pub(crate) cancel: &'a AtomicBool,
}

impl Answering<'_> {
    fn flow(&self) -> ControlFlow<()> {
        if self.cancel.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// What the model replies.
    pub(crate) fn reply(&mut self, model: &Model, request: &ReplyRequest) -> ApiResult<String> {
        let side = self.side;
        let reply = model.reply(request, &mut |event| {
            (self.sink)(match event {
                ReplyEvent::Prefilling { num_tokens } => CompareEvent::Phase {
                    side,
                    kind: PhaseKind::Reading,
                    num_tokens: Some(num_tokens as u32),
                },
                ReplyEvent::Text { delta } => CompareEvent::TextDelta { side, delta: delta.into() },
            });
            self.flow()
        })?;
        Ok(reply.text)
    }

    /// What the model draws, kept as a picture of `kind`; `None` when it was cancelled.
    pub(crate) fn draw(
        &mut self,
        studio: &Studio,
        model: &Model,
        character: &Character,
        request: &DrawRequest,
        kind: PictureKind,
    ) -> ApiResult<Option<DrawnPicture>> {
        let (side, mut started) = (self.side, Instant::now());
        let drawing = model.draw(request, &mut |event| {
            (self.sink)(match event {
                DrawEvent::Prefilling { num_tokens } => {
                    started = Instant::now();
                    let num_tokens = Some(num_tokens as u32);
                    CompareEvent::Phase { side, kind: PhaseKind::PreparingPicture, num_tokens }
                }
                DrawEvent::Thinking { num_tokens } => {
                    let num_tokens = Some(num_tokens as u32);
                    CompareEvent::Phase { side, kind: PhaseKind::PreparingPicture, num_tokens }
                }
                DrawEvent::Step { step, num_steps, .. } => CompareEvent::PictureProgress {
                    side,
                    step: step as u32,
                    num_steps: num_steps as u32,
                    eta_secs: secs_left(started, step, num_steps),
                },
            });
            self.flow()
        })?;
        if drawing.finish == Finish::Cancelled {
            return Ok(None);
        }
        let kept = studio.keep_drawing(model, character, request, &drawing.image, kind)?;
        Ok(Some(studio.drawn(kept)))
    }
}
