//! Drawing outside chats: single pictures, again from a record, and whole expression sheets.
//!
//! A job draws one picture a turn of the engine's queue and then waits its turn again, so that a
//! chat in between is answered after one picture, not after the last.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use image::RgbImage;
use troupe_character::{Character, Expression};
use troupe_model::{
    adapter::adapter_file,
    runtime::{DrawEvent, DrawRequest, Finish, FlowSampling, Model},
    weights,
};
use troupe_store::{NewPicture, Picture, PictureFilter, PictureKind};

use crate::{
    ModelSlot, Studio,
    characters::adapter_dirs,
    chat::random_seed,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    gallery,
    generate::loading,
    picture_file::{data_url, encode_png, origin_texts},
    wire::{DrawPicture, DrawingEvent, ExpressionSheetItem, GalleryItem, PhaseKind},
};

/// Receives the events of a drawing job, on the engine's thread.
pub type DrawingSink = Box<dyn FnMut(DrawingEvent) + Send>;

/// A preview is sent with every so many steps.
const PREVIEW_EVERY: usize = 2;
/// Pictures of an expression that the sheet offers.
const MAX_TAKES: usize = 6;

/// One picture of a job.
#[derive(Debug, Clone)]
struct Task {
    prompt: String,
    label: String,
    kind: PictureKind,
    reference_id: Option<String>,
    seed: u32,
    /// Settings of the record that is drawn again; the base's defaults when absent.
    flow: Option<FlowSampling>,
    by: By,
}

/// What draws.
#[derive(Debug, Clone)]
enum By {
    /// The character's newest adapter.
    Newest,
    /// The base alone.
    Base,
    /// The adapter of this hash; the newest when it is gone.
    Adapter(String),
}

impl By {
    fn adapter(&self, character_dir: &Path) -> Option<PathBuf> {
        let mut dirs = adapter_dirs(character_dir).into_iter();
        match self {
            Self::Newest => dirs.next(),
            Self::Base => None,
            Self::Adapter(hash) => {
                let hash_of = |dir: &Path| weights::hash_files(&[adapter_file(dir)]).ok();
                let newest = dirs.as_slice().first().cloned();
                dirs.find(|dir| hash_of(dir).as_ref() == Some(hash)).or(newest)
            }
        }
    }
}

/// A job, queued for the engine.
struct Job {
    studio: Studio,
    id: String,
    character_id: String,
    character_dir: PathBuf,
    tasks: VecDeque<Task>,
    count: u32,
    num_drawn: u32,
    working_secs: f64,
    cancel: Arc<AtomicBool>,
    sink: DrawingSink,
    has_ended: bool,
}

/// Words that draw a face: who, how they look, and the expression's own.
pub(crate) fn expression_prompt(character: &Character, expression: &Expression) -> String {
    let cues = &character.visual_cues;
    let face = match expression.prompt.trim() {
        "" => expression.name.trim(),
        prompt => prompt,
    };
    let short = format!("{}, {face}", character.prompt_name());
    let captioned = character.as_captioned(&short);
    if captioned != short {
        return captioned;
    }
    [character.prompt_name(), &cues.appearance, &cues.outfit, face]
        .into_iter()
        .map(|part| part.trim().trim_end_matches('.'))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

fn nothing_to_draw() -> ApiError {
    let hint = "Write at least one expression under Looks.";
    ApiError::new(ErrorCode::BadRequest, "there is no expression to draw", hint)
        .because(ErrorCause::NoExpression)
}

impl Studio {
    /// Draws a picture for the gallery. Returns at once with what stops it; `sink` hears the rest.
    ///
    /// # Errors
    /// When the prompt is blank, character or reference do not exist, or too much is waiting.
    pub fn draw_picture(&self, request: DrawPicture, sink: DrawingSink) -> ApiResult<String> {
        if request.prompt.trim().is_empty() {
            let hint = "Say what to draw.";
            let error = ApiError::new(ErrorCode::BadRequest, "the prompt is empty", hint);
            return Err(error.because(ErrorCause::EmptyPrompt));
        }
        if let Some(id) = &request.reference_id {
            self.store().picture(id)?;
        }
        let task = Task {
            prompt: request.prompt.trim().to_owned(),
            label: String::new(),
            kind: PictureKind::Drawing,
            reference_id: request.reference_id,
            seed: request.seed.unwrap_or_else(random_seed),
            flow: None,
            by: By::Newest,
        };
        self.start_drawing(&request.character_id, vec![task], sink)
    }

    /// Draws a picture of the gallery again: with its own seed and what drew it, or with another seed and
    /// what the character has learned by now.
    ///
    /// # Errors
    /// When the picture or its character do not exist, or too much is waiting.
    pub fn draw_again(&self, id: &str, seed: Option<u32>, sink: DrawingSink) -> ApiResult<String> {
        let picture = self.store().picture(id)?;
        let kept = u32::try_from(picture.seed).unwrap_or_default();
        let task = Task {
            by: match (seed, picture.adapter_hash) {
                (Some(_), _) => By::Newest,
                (None, None) => By::Base,
                (None, Some(hash)) => By::Adapter(hash),
            },
            flow: serde_json::from_str(&picture.settings).ok(),
            seed: seed.unwrap_or(kept),
            kind: match picture.kind {
                PictureKind::Expression => PictureKind::Expression,
                PictureKind::Chat | PictureKind::Drawing => PictureKind::Drawing,
            },
            prompt: picture.prompt,
            label: picture.label,
            reference_id: picture.reference_id,
        };
        self.start_drawing(&picture.character_id, vec![task], sink)
    }

    /// Draws a character's expressions in one job, all on one seed; only those called `names` when
    /// there are any.
    ///
    /// # Errors
    /// When the character does not exist, has no such expression, or too much is waiting.
    pub fn draw_expressions(
        &self,
        character_id: &str,
        names: &[String],
        seed: Option<u32>,
        sink: DrawingSink,
    ) -> ApiResult<String> {
        let character = self.library().load(character_id)?;
        let seed = seed.unwrap_or_else(random_seed);
        let expressions = character.visual_cues.expressions.iter();
        let tasks: Vec<Task> = expressions
            .filter(|e| !e.name.trim().is_empty())
            .filter(|e| names.is_empty() || names.contains(&e.name))
            .map(|expression| Task {
                prompt: expression_prompt(&character, expression),
                label: expression.name.clone(),
                kind: PictureKind::Expression,
                reference_id: None,
                seed,
                flow: None,
                by: By::Newest,
            })
            .collect();
        if tasks.is_empty() {
            return Err(nothing_to_draw());
        }
        self.start_drawing(&character.id, tasks, sink)
    }

    /// A character's expressions with what was drawn for each.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn expression_sheet(&self, character_id: &str) -> ApiResult<Vec<ExpressionSheetItem>> {
        let character = self.library().load(character_id)?;
        let filter = PictureFilter {
            character_id: Some(character.id.clone()),
            kind: Some(PictureKind::Expression),
            ..PictureFilter::default()
        };
        let drawn = self.store().pictures(&filter, 0, usize::from(u16::MAX))?;
        let of = |name: &str| -> Vec<GalleryItem> {
            let mut mine: Vec<Picture> =
                drawn.iter().filter(|p| p.label == name).cloned().collect();
            mine.sort_by_key(|p| !p.is_approved); // stable: the chosen one first, then by time
            mine.truncate(MAX_TAKES);
            mine.into_iter().map(gallery::item).collect()
        };
        let expressions = character.visual_cues.expressions.iter();
        Ok(expressions
            .filter(|e| !e.name.trim().is_empty())
            .map(|e| ExpressionSheetItem {
                name: e.name.clone(),
                prompt: e.prompt.clone(),
                pictures: of(&e.name),
            })
            .collect())
    }

    /// Chooses a picture for its expression, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn approve_picture(&self, id: &str, is_approved: bool) -> ApiResult<()> {
        Ok(self.store().set_approved(id, is_approved)?)
    }

    fn start_drawing(
        &self,
        character_id: &str,
        tasks: Vec<Task>,
        sink: DrawingSink,
    ) -> ApiResult<String> {
        let entry = self.library().find(character_id)?;
        let id = uuid::Uuid::new_v4().to_string();
        let job = Job {
            studio: self.clone(),
            character_id: entry.id,
            character_dir: entry.dir,
            count: tasks.len() as u32,
            tasks: tasks.into(),
            num_drawn: 0,
            working_secs: 0.,
            cancel: self.register(&id),
            sink,
            has_ended: false,
            id: id.clone(),
        };
        self.engine().submit(move |slot| job.turn(slot))?;
        Ok(id)
    }
}

impl Drop for Job {
    /// A job that a panic or a full queue ended still says so.
    fn drop(&mut self) {
        self.studio.unregister(&self.id);
        if !self.has_ended {
            let hint = "Try again; what was drawn is kept.";
            let error = ApiError::new(ErrorCode::Internal, "drawing ended early", hint)
                .because(ErrorCause::Stumbled);
            (self.sink)(DrawingEvent::Failed { error });
        }
    }
}

impl Job {
    /// Draws the next picture, then queues the rest behind what waits.
    fn turn(mut self, slot: &mut ModelSlot) {
        loop {
            let Some(task) = self.tasks.pop_front().filter(|_| !self.is_cancelled()) else {
                return self.end();
            };
            if let Err(error) = self.draw(slot, &task) {
                tracing::error!("a picture failed: {error}");
                self.has_ended = true;
                return (self.sink)(DrawingEvent::Failed { error });
            }
            if self.tasks.is_empty() || self.is_cancelled() {
                return self.end();
            }
            match self.requeue() {
                None => return,
                Some(job) => self = job, // the queue is full: go on at once
            }
        }
    }

    /// Queues the job; gives it back when the queue is full.
    fn requeue(self) -> Option<Self> {
        let engine = self.studio.engine().clone();
        let shared = Arc::new(Mutex::new(Some(self)));
        let take =
            |job: &Mutex<Option<Self>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
        let queued = shared.clone();
        let submitted = engine.submit(move |slot| {
            if let Some(job) = take(&queued) {
                job.turn(slot);
            }
        });
        if submitted.is_err() { take(&shared) } else { None }
    }

    fn end(mut self) {
        self.has_ended = true;
        let was_stopped = self.is_cancelled();
        (self.sink)(DrawingEvent::Done { num_drawn: self.num_drawn, was_stopped });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn reference(&self, task: &Task) -> ApiResult<Option<RgbImage>> {
        let Some(id) = &task.reference_id else { return Ok(None) };
        let file = self.studio.drawn_picture_file(id)?;
        let image = troupe_character::pictures::load_rgb(&file)?;
        Ok(Some(image))
    }

    fn draw(&mut self, slot: &mut ModelSlot, task: &Task) -> ApiResult<()> {
        let studio = self.studio.clone();
        let reference = self.reference(task)?;
        let dir = self.character_dir.clone();
        let adapter = task.by.adapter(&dir);
        let model = studio.model_with(slot, adapter.as_deref(), &mut |label| {
            (self.sink)(DrawingEvent::Phase { kind: loading(label) });
        })?;
        let seed = u64::from(task.seed);
        let flow = match &task.flow {
            Some(kept) => FlowSampling { seed, ..kept.clone() },
            None => FlowSampling::from_defaults(&model.config().generation, seed),
        };
        let prompt = Character::load(&dir)?.as_captioned(&task.prompt);
        let request = DrawRequest { reference, ..DrawRequest::new(prompt, flow) };
        let started = Instant::now();
        let index = self.num_drawn;
        let drawing = model.draw(&request, &mut |event| {
            match event {
                DrawEvent::Prefilling { .. } | DrawEvent::Thinking { .. } => {
                    (self.sink)(DrawingEvent::Phase { kind: PhaseKind::PreparingPicture });
                }
                DrawEvent::Step { step, num_steps, preview } => {
                    let share = step as f64 / num_steps.max(1) as f64;
                    let elapsed = self.working_secs + started.elapsed().as_secs_f64();
                    let whole = elapsed / (f64::from(index) + share) * f64::from(self.count);
                    (self.sink)(DrawingEvent::Progress {
                        index,
                        count: self.count,
                        label: task.label.clone(),
                        step: step as u32,
                        num_steps: num_steps as u32,
                        eta_secs: (whole - elapsed).max(0.),
                        preview: preview.filter(|_| step % PREVIEW_EVERY == 0).and_then(data_url),
                    });
                }
            }
            if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.working_secs += started.elapsed().as_secs_f64();
        if drawing.finish == Finish::Cancelled {
            return Ok(()); // a half-drawn picture is not kept
        }
        let picture = self.keep(model, task, &request, &drawing.image)?;
        self.num_drawn += 1;
        let item = gallery::item(picture);
        (self.sink)(DrawingEvent::Picture { item, index, count: self.count });
        Ok(())
    }

    /// Writes the file, then the record.
    fn keep(
        &self,
        model: &Model,
        task: &Task,
        request: &DrawRequest,
        image: &RgbImage,
    ) -> ApiResult<Picture> {
        let png = encode_png(image, &origin_texts(&request.prompt, &request.flow, model))?;
        let file = format!("{}.png", uuid::Uuid::now_v7());
        crate::write_atomic(&self.studio.pictures_dir().join(&file), &png)?;
        Ok(self.studio.store().add_picture(&NewPicture {
            character_id: self.character_id.clone(),
            file,
            prompt: request.prompt.clone(),
            seed: i64::from(task.seed),
            settings: serde_json::to_string(&request.flow).unwrap_or_default(),
            base_hash: model.base_hash().into(),
            adapter_hash: model.adapter_hash().map(Into::into),
            kind: task.kind,
            label: task.label.clone(),
            reference_id: task.reference_id.clone(),
        })?)
    }
}
