//! Pictures out of a loaded model: one or several at a time, after thinking or at once.
//!
//! Source: BAGEL, `inferencer.py` (`interleave_inference`): which texts and pictures enter which of
//! the three contexts of guidance.

use std::ops::ControlFlow;

use candle_core::Tensor;
use image::RgbImage;
use troupe_nn::noise::{Noise, Stream};

use crate::{
    autoencoder::{Codec, unpatchify},
    context::Context,
    error::{ModelError, ModelResult},
    flow::{FlowContexts, FlowRun, FlowSampling},
    image_ops::{resize_bicubic, to_rgb_image},
    runtime::{Finish, Model},
    text::TextSampling,
    tokens::TextRole,
    unified::LatentInput,
};

/// What a base is told when it shall plan before it draws (BAGEL, `GEN_THINK_SYSTEM_PROMPT`).
const THINKING_PROMPT: &str = "You should first think about the planning process in the mind and \
    then generate the image. \nThe planning process is enclosed within <think> </think> tags, i.e. \
    <think> planning process here </think> image here";

/// Planning in words before drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Thinking {
    /// Most tokens of the plan.
    pub max_tokens: usize,
    /// How they are chosen.
    pub sampling: TextSampling,
}

impl Default for Thinking {
    /// BAGEL's: greedy, up to 1000 tokens with the start token.
    fn default() -> Self {
        Self { max_tokens: 999, sampling: TextSampling::greedy() }
    }
}

/// A request for a picture.
#[derive(Debug, Clone)]
pub struct DrawRequest {
    /// What to draw.
    pub prompt: String,
    /// A picture to start from (editing).
    pub reference: Option<RgbImage>,
    /// Planning before drawing, if wanted.
    pub thinking: Option<Thinking>,
    /// Sampling settings.
    pub flow: FlowSampling,
}

impl DrawRequest {
    /// A picture from a prompt alone, drawn at once.
    pub fn new(prompt: impl Into<String>, flow: FlowSampling) -> Self {
        Self { prompt: prompt.into(), reference: None, thinking: None, flow }
    }
}

/// Progress of a picture.
#[derive(Debug)]
pub enum DrawEvent {
    /// The prompt is being read.
    Prefilling {
        /// Its tokens.
        num_tokens: usize,
    },
    /// One more token of the plan is there.
    Thinking {
        /// Tokens so far.
        num_tokens: usize,
    },
    /// A step is done.
    Step {
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
        /// What the picture looks like so far, in low resolution, when cheap.
        preview: Option<RgbImage>,
    },
}

/// A finished picture.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// The picture; the estimate so far when cancelled.
    pub image: RgbImage,
    /// The plan that it was drawn from, when thinking was wanted.
    pub thoughts: Option<String>,
    /// Why it ended.
    pub finish: Finish,
}

/// Receives progress and may cancel.
type Listener<'a> = &'a mut dyn FnMut(DrawEvent) -> ControlFlow<()>;

/// A picture that is ready to be sampled.
struct Prepared {
    main: Context,
    without_text: Context,
    without_image: Option<Context>, // the main one when absent
    height: u32,
    width: u32,
    rows: usize,
    columns: usize,
    thoughts: Option<String>,
}

impl Prepared {
    fn contexts(&self) -> FlowContexts<'_> {
        FlowContexts {
            main: &self.main,
            without_text: &self.without_text,
            without_image: self.without_image.as_ref().unwrap_or(&self.main),
        }
    }
}

impl Model {
    /// Draws a picture. `on` receives progress and may cancel between two tokens or steps.
    ///
    /// # Errors
    /// When the prompt is too long, the size is impossible or the network fails.
    pub fn draw(&self, request: &DrawRequest, on: Listener) -> ModelResult<Drawing> {
        let requests = std::slice::from_ref(request);
        let mut drawings = self.draw_many(requests, &mut |_, event| on(event))?;
        drawings.pop().ok_or_else(|| ModelError::Request("no picture was asked for".into()))
    }

    /// Draws several pictures together: every step of all of them is one pass of the network. `on`
    /// also hears which picture an event is about; cancelling ends all. Their time grids must agree.
    ///
    /// # Errors
    /// As [`draw`](Self::draw), and when the time grids differ.
    pub fn draw_many(
        &self,
        requests: &[DrawRequest],
        on: &mut dyn FnMut(usize, DrawEvent) -> ControlFlow<()>,
    ) -> ModelResult<Vec<Drawing>> {
        let mut prepared = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            match self.prepare(request, &mut |event| on(index, event))? {
                Some(one) => prepared.push(one),
                None => return Ok(requests.iter().map(|r| self.cancelled(r)).collect()),
            }
        }
        let (mut runs, mut noises) = (Vec::new(), Vec::new());
        for (one, request) in prepared.iter().zip(requests) {
            let (rows, columns) = (one.rows, one.columns);
            runs.push(FlowRun { contexts: one.contexts(), sampling: &request.flow, rows, columns });
            let shape = (rows * columns, self.config().latent_token_dim());
            noises.push(
                Noise::new(request.flow.seed, Stream::InitialNoise, 0)
                    .normal_tensor(shape, self.network().device())?,
            );
        }
        let (latents, flow) =
            self.reader().sample_many(&runs, noises, &mut |index, progress| {
                let one = &prepared[index];
                let preview = self.preview(progress.clean, one.rows, one.columns);
                let (step, num_steps) = (progress.step, progress.num_steps);
                on(index, DrawEvent::Step { step, num_steps, preview })
            })?;
        let finish = if flow.is_break() { Finish::Cancelled } else { Finish::Complete };
        let drawing = |(one, latents): (&Prepared, &Tensor)| {
            let image = self.latents_picture(latents, one.rows, one.columns)?;
            debug_assert_eq!((image.height(), image.width()), (one.height, one.width));
            Ok(Drawing { image, thoughts: one.thoughts.clone(), finish })
        };
        prepared.iter().zip(&latents).map(drawing).collect()
    }

    fn cancelled(&self, request: &DrawRequest) -> Drawing {
        let side = self.config().picture_size as u32;
        let (height, width) = request.flow.size.unwrap_or((side, side));
        Drawing { image: RgbImage::new(width, height), thoughts: None, finish: Finish::Cancelled }
    }

    /// Reads everything that a picture is drawn from; `None` when cancelled.
    fn prepare(&self, request: &DrawRequest, on: Listener) -> ModelResult<Option<Prepared>> {
        let (ids, _) = self.tokenizer().text_block(TextRole::Caption, &request.prompt)?;
        let system = match &request.thinking {
            Some(_) => self.tokenizer().text_block(TextRole::System, THINKING_PROMPT)?.0,
            None => Vec::new(),
        };
        let plan = request.thinking.as_ref().map_or(0, |thinking| thinking.max_tokens);
        self.check_length(system.len() + ids.len() + plan)?;
        let side = self.config().picture_size as u32;
        let (mut height, mut width) = request.flow.size.unwrap_or((side, side));
        let num_tokens = system.len() + ids.len();
        if on(DrawEvent::Prefilling { num_tokens }).is_break() {
            return Ok(None);
        }
        let reader = self.reader();
        let mut main = Context::new();
        if !system.is_empty() {
            reader.read_text(&mut main, &system)?;
        }
        let needs_apart = request.thinking.is_some() || request.reference.is_some();
        let mut without_image =
            if needs_apart && request.flow.cfg_img_scale > 1. { Some(main.fork()?) } else { None };
        let per_token = self.config().pixels_per_token();
        if let Some(reference) = &request.reference {
            let (tokens, rows, columns) = self.picture_latents(reference, request.flow.seed, 0)?;
            (height, width) = ((rows * per_token) as u32, (columns * per_token) as u32);
            let latents = LatentInput { tokens: &tokens, time: 0., rows, columns };
            reader.read_latents(&mut main, &latents)?;
            reader.read_picture(&mut main, &self.picture_for_vision(reference)?)?;
        }
        // Everything but the prompt, standing instructions included.
        let without_text = main.fork()?;
        reader.read_text(&mut main, &ids)?;
        if let Some(context) = &mut without_image {
            reader.read_text(context, &ids)?;
        }
        let thoughts = match &request.thinking {
            Some(thinking) => match self.think(&mut main, thinking, on)? {
                Some(thoughts) => Some(thoughts),
                None => return Ok(None),
            },
            None => None,
        };
        let (rows, columns) = (height as usize / per_token, width as usize / per_token);
        let limit = self.config().max_latent_size;
        if rows == 0 || columns == 0 || rows > limit || columns > limit {
            let (low, high) = (per_token, per_token * limit);
            return Err(ModelError::Request(format!(
                "a picture of {width}×{height} cannot be drawn; sides go from {low} to {high} pixels"
            )));
        }
        let (height, width) = ((rows * per_token) as u32, (columns * per_token) as u32);
        Ok(Some(Prepared {
            main,
            without_text,
            without_image,
            height,
            width,
            rows,
            columns,
            thoughts,
        }))
    }

    /// Plans in words and reads the plan into `context`; `None` when cancelled.
    fn think(
        &self,
        context: &mut Context,
        thinking: &Thinking,
        on: Listener,
    ) -> ModelResult<Option<String>> {
        let prefix = self.tokenizer().block_start(TextRole::Reply)?;
        let mut num_tokens = 0;
        let decoded = self.reader().decode(
            context,
            &prefix,
            thinking.max_tokens + 1,
            &thinking.sampling,
            &mut |_, _| {
                num_tokens += 1;
                on(DrawEvent::Thinking { num_tokens })
            },
        )?;
        if decoded.stopped {
            return Ok(None);
        }
        let thoughts = self.tokenizer().decode(&decoded.tokens[prefix.len()..])?;
        let (ids, _) = self.tokenizer().text_block(TextRole::Reply, &thoughts)?;
        self.reader().read_text(context, &ids)?;
        Ok(Some(thoughts.trim().to_owned()))
    }

    /// A cheap look at clean latents: the picture itself for the pixel codec; for the autoencoder
    /// three latent channels in grey and tint, one pixel per latent.
    fn preview(&self, clean: &Tensor, rows: usize, columns: usize) -> Option<RgbImage> {
        let latent = unpatchify(clean, rows, columns, self.config().latent_patch_size).ok()?;
        match self.codec() {
            Codec::Pixel => to_rgb_image(&latent).ok(),
            Codec::Flux(_) => {
                let three = latent.narrow(0, 0, 3).ok()?;
                let peak = three.abs().ok()?.flatten_all().ok()?.max(0).ok()?;
                let scaled = three.broadcast_div(&(peak + 1e-6).ok()?).ok()?;
                let small = to_rgb_image(&scaled).ok()?;
                let side = |n: u32| n as usize * PREVIEW_SCALE;
                Some(resize_bicubic(&small, side(small.width()), side(small.height())))
            }
        }
    }
}

/// Enlargement of an autoencoder's preview.
const PREVIEW_SCALE: usize = 2;
