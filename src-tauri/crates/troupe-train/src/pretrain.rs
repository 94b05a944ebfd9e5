//! Pretraining of a base's generation expert on pictures with captions.
//!
//! The understanding expert stays as it is and reads the captions; the generation expert, the time
//! embedding and the latent projections learn to undo noise in front of them (rectified flow,
//! `BAGEL.forward` of `modeling/bagel/bagel.py`), with captions dropped at times for guidance.
//! An exponential average of the weights is what samples are drawn with and what is exported.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_model::{
    context::{Context, FlowQuery},
    runtime::{DrawRequest, FlowSampling, Model},
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::{
    adamw::{AdamW, AdamWConfig, Ema},
    noise::{Noise, Stream},
};

use crate::{
    checkpoint,
    data::{Deck, DeckState},
    error::{TrainError, TrainResult},
    events::{Control, Outcome, SampleOutput, TrainEvent, Watcher},
    recipe::TimeDraw,
    sft::{CHECKPOINTS, SAMPLES, is_generation, load_trainable},
};

/// Everything that determines a pretraining run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainJob {
    /// The base model's folder, with a `generation.safetensors` to start from.
    pub model_dir: PathBuf,
    /// Pictures to learn from: `pictures.rgb` and `captions.jsonl`.
    pub data_dir: PathBuf,
    /// Pictures kept back, in the same form; their captions are sampled.
    pub held_dir: PathBuf,
    /// The run's folder.
    pub run_dir: PathBuf,
    /// Seed of all choices and noise.
    pub seed: u64,
    /// Optimiser steps.
    pub num_steps: usize,
    /// Captions per step.
    pub captions: usize,
    /// Noise draws per caption and step.
    pub draws: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Share of the peak rate left at the end of the cosine.
    pub final_lr_share: f64,
    /// Chance that a caption is dropped.
    pub condition_dropout: f64,
    /// How times are drawn.
    pub time: TimeDraw,
    /// Decay of the averaged weights.
    pub ema_decay: f64,
    /// Steps between validations with a sample sheet.
    pub sample_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for PretrainJob {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::new(),
            data_dir: PathBuf::new(),
            held_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            seed: 1,
            num_steps: 6000,
            captions: 8,
            draws: 2,
            learning_rate: 8e-4,
            warmup_steps: 100,
            final_lr_share: 0.05,
            condition_dropout: 0.1,
            time: TimeDraw { mean: 0.8, std: 1. },
            ema_decay: 0.999,
            sample_every: 250,
            checkpoint_every: 100,
        }
    }
}

/// File of the exported weights in a run, and of the starting weights in a base.
pub const GENERATION_FILE: &str = "generation.safetensors";
/// Pictures of a sample sheet.
const SHEET: usize = 16;
/// Columns of a sample sheet.
const SHEET_COLUMNS: u32 = 8;
/// Held-out pictures that are validated on.
const HELD: usize = 32;
/// Seed of the held-out noise, the same in every run so that runs compare.
const HELD_SEED: u64 = 20_605;
/// Largest gradient norm.
const MAX_GRAD_NORM: f64 = 1.;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct State {
    step: usize,
    deck: DeckState,
    optimiser_steps: u64,
}

/// Pictures with captions on disk; pixels are read when asked for.
#[derive(Debug)]
pub struct PictureSet {
    file: fs::File,
    path: PathBuf,
    captions: Vec<String>,
    size: u32,
}

#[derive(Deserialize)]
struct CaptionLine {
    caption: String,
}

impl PictureSet {
    /// Opens `dir`, whose pictures are `size` × `size`.
    ///
    /// # Errors
    /// When its files are missing, malformed or of different lengths.
    pub fn open(dir: &Path, size: u32) -> TrainResult<Self> {
        let (path, list) = (dir.join("pictures.rgb"), dir.join("captions.jsonl"));
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Io { what: "reading the picture set", source, path }
        };
        let text = fs::read_to_string(&list).map_err(io(&list))?;
        let captions = text
            .lines()
            .map(|line| serde_json::from_str::<CaptionLine>(line).map(|line| line.caption))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TrainError::Malformed {
                what: "the caption list",
                reason: e.to_string(),
                path: list.clone(),
            })?;
        let file = fs::File::open(&path).map_err(io(&path))?;
        let bytes = file.metadata().map_err(io(&path))?.len();
        let wanted = captions.len() as u64 * u64::from(size) * u64::from(size) * 3;
        if bytes != wanted {
            return Err(TrainError::Malformed {
                what: "the picture file",
                reason: format!(
                    "it holds {bytes} bytes; {} pictures of {size}×{size} need {wanted}",
                    captions.len()
                ),
                path,
            });
        }
        Ok(Self { file, path, captions, size })
    }

    /// Pictures in the set.
    pub fn len(&self) -> usize {
        self.captions.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.captions.is_empty()
    }

    /// Caption of a picture.
    pub fn caption(&self, index: usize) -> &str {
        &self.captions[index]
    }

    /// A picture.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn picture(&mut self, index: usize) -> TrainResult<RgbImage> {
        let mut pixels = vec![0; (self.size * self.size * 3) as usize];
        let at = index as u64 * pixels.len() as u64;
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut pixels))
            .map_err(|source| TrainError::Io {
                what: "reading a picture of the set",
                source,
                path: self.path.clone(),
            })?;
        RgbImage::from_raw(self.size, self.size, pixels)
            .ok_or_else(|| TrainError::NoData("a picture of the set has no pixels".into()))
    }
}

struct Run<'a> {
    job: &'a PretrainJob,
    model: Model,
    vars: BTreeMap<String, Var>,
    optimiser: AdamW,
    ema: Ema,
    pictures: PictureSet,
    held: PictureSet,
    deck: Deck,
    step: usize,
}

/// Runs or resumes pretraining. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, pictures or run folder are unusable, or the loss diverges. Checkpoints stay.
pub fn run(job: &PretrainJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(TrainEvent::Phase { label: "loading the base model".into() });
    let mut run = Run::prepare(job)?;
    run.resume()?;
    watch(TrainEvent::Started {
        step: run.step,
        num_steps: job.num_steps,
        num_trainable: run.vars.values().map(|v| v.elem_count()).sum(),
        num_text_samples: 0,
        num_picture_samples: run.pictures.len(),
    });
    let outcome = run.train(watch)?;
    run.export()?;
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

fn named(vars: &BTreeMap<String, Var>) -> impl Iterator<Item = (&str, &Var)> {
    vars.iter().map(|(name, var)| (name.as_str(), var))
}

impl<'a> Run<'a> {
    fn prepare(job: &'a PretrainJob) -> TrainResult<Self> {
        let (model, vars) = load_trainable(&job.model_dir, is_generation)?;
        let size = model.config().picture_size as u32;
        let (pictures, held) =
            (PictureSet::open(&job.data_dir, size)?, PictureSet::open(&job.held_dir, size)?);
        if pictures.is_empty() || held.is_empty() {
            return Err(TrainError::NoData("the picture sets are empty".into()));
        }
        let config = AdamWConfig { beta2: 0.99, eps: 1e-8, ..Default::default() };
        let all = vars.iter().map(|(name, var)| (name.clone(), var.clone()));
        let optimiser = AdamW::new(all, config, |_| job.learning_rate);
        let ema = Ema::new(named(&vars), job.ema_decay)?;
        let deck = Deck::new(job.seed, 3, pictures.len(), DeckState::default());
        Ok(Self { job, model, vars, optimiser, ema, pictures, held, deck, step: 0 })
    }

    fn resume(&mut self) -> TrainResult<()> {
        let dir = self.job.run_dir.join(CHECKPOINTS);
        let Some((tensors, state)) = checkpoint::load_latest::<State>(&dir)? else { return Ok(()) };
        for (name, var) in &self.vars {
            let saved = tensors.get(&format!("weight.{name}"));
            var.set(saved.ok_or_else(|| TrainError::Malformed {
                what: "the checkpoint",
                reason: format!("it does not hold {name}; it belongs to another base"),
                path: dir.clone(),
            })?)?;
        }
        self.optimiser.load_state(&tensors, state.optimiser_steps)?;
        let averages = tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("ema.")?.to_owned(), t.clone())))
            .collect();
        self.ema.load(&averages)?;
        self.deck = Deck::new(self.job.seed, 3, self.pictures.len(), state.deck);
        self.step = state.step;
        Ok(())
    }

    fn save(&self, watch: Watcher) -> TrainResult<()> {
        let mut tensors = self.optimiser.state()?;
        for (name, var) in &self.vars {
            tensors.insert(format!("weight.{name}"), var.as_tensor().clone());
        }
        for (name, tensor) in self.ema.tensors(named(&self.vars))? {
            tensors.insert(format!("ema.{name}"), tensor);
        }
        let state = State {
            step: self.step,
            deck: self.deck.state(),
            optimiser_steps: self.optimiser.num_steps(),
        };
        let dir = self.job.run_dir.join(CHECKPOINTS);
        let folder = checkpoint::save(&dir, self.step, &tensors, &state)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        watch(TrainEvent::Checkpoint { step: self.step, file: format!("{CHECKPOINTS}/{name}") });
        Ok(())
    }

    fn lr_share(&self) -> f64 {
        let job = self.job;
        if self.step < job.warmup_steps {
            return (self.step + 1) as f64 / job.warmup_steps as f64;
        }
        let span = job.num_steps.saturating_sub(job.warmup_steps).max(1) as f64;
        let progress = ((self.step - job.warmup_steps) as f64 / span).min(1.);
        let cosine = 0.5 * (1. + (std::f64::consts::PI * progress).cos());
        job.final_lr_share + (1. - job.final_lr_share) * cosine
    }

    fn train(&mut self, watch: Watcher) -> TrainResult<Outcome> {
        while self.step < self.job.num_steps {
            let rate = self.lr_share();
            let (loss, grad_norm) = self.train_step(rate)?;
            self.step += 1;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { step: self.step, loss });
            }
            let control = watch(TrainEvent::Step {
                step: self.step,
                num_steps: self.job.num_steps,
                loss,
                ce: None,
                mse: Some(loss),
                lr: rate,
                grad_norm,
            });
            let last = self.step == self.job.num_steps;
            let due = |every: usize| every > 0 && self.step.is_multiple_of(every);
            if last || due(self.job.checkpoint_every) || control != Control::Continue {
                self.save(watch)?;
            }
            match control {
                Control::Pause => return Ok(Outcome::Paused),
                Control::Stop => return Ok(Outcome::Stopped),
                Control::Continue => {}
            }
            if last || due(self.job.sample_every) {
                self.observe(watch)?;
            }
        }
        Ok(Outcome::Finished)
    }

    fn train_step(&mut self, rate: f64) -> TrainResult<(f64, f64)> {
        let job = self.job;
        let chosen: Vec<usize> = (0..job.captions).filter_map(|_| self.deck.draw()).collect();
        let mut items = Vec::new();
        for index in chosen {
            let latents = latents(&self.model, &self.pictures.picture(index)?)?;
            let context = read_caption(&self.model, self.pictures.caption(index))?;
            items.push((latents, context));
        }
        let empty = Context::new();
        let mut noised = Vec::new();
        for (slot, (latents, context)) in items.iter().enumerate() {
            for draw in 0..job.draws {
                let key = ((self.step * job.captions + slot) * job.draws + draw) as u64;
                let logit = Noise::new(job.seed, Stream::TrainingTimes, key).normal();
                let time = 1. / (1. + (-(logit * job.time.std + job.time.mean)).exp());
                let noise = Noise::new(job.seed, Stream::TrainingNoise, key);
                let dropped = Noise::new(job.seed, Stream::Dropout, key).uniform();
                let context = if dropped < job.condition_dropout { &empty } else { context };
                noised.push(Noised::new(latents, context, time, noise)?);
            }
        }
        let loss = flow_loss(&self.model, &noised)?;
        let grads = loss.backward()?;
        let grad_norm = self.optimiser.grad_norm(&grads)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        if loss.is_finite() && grad_norm.is_finite() {
            let clip = (MAX_GRAD_NORM / (grad_norm + 1e-6)).min(1.);
            self.optimiser.step(&grads, rate, clip)?;
            self.ema.update(named(&self.vars), self.step as u64)?;
        }
        Ok((loss, grad_norm))
    }

    /// Validates and draws a sheet with the averaged weights, then puts the present ones back.
    fn observe(&mut self, watch: Watcher) -> TrainResult<()> {
        watch(TrainEvent::Phase { label: "drawing samples".into() });
        let averages = self.ema.tensors(named(&self.vars))?;
        let mut present = HashMap::new();
        for (name, var) in &self.vars {
            present.insert(name.clone(), var.as_tensor().copy()?);
            if let Some(average) = averages.get(name) {
                var.set(average)?;
            }
        }
        let seen = self.observe_as_is(watch);
        for (name, var) in &self.vars {
            if let Some(value) = present.get(name) {
                var.set(value)?;
            }
        }
        seen
    }

    fn observe_as_is(&mut self, watch: Watcher) -> TrainResult<()> {
        let (mut sum, held) = (0., HELD.min(self.held.len()));
        for index in 0..held {
            let latents = latents(&self.model, &self.held.picture(index)?)?;
            let context = read_caption(&self.model, self.held.caption(index))?;
            let time = (index as f64 + 0.5) / held as f64;
            let noise = Noise::new(HELD_SEED, Stream::TrainingNoise, index as u64);
            let noised = [Noised::new(&latents, &context, time.max(0.05), noise)?];
            sum += f64::from(flow_loss(&self.model, &noised)?.to_scalar::<f32>()?);
        }
        let mse = Some(sum / held as f64);
        watch(TrainEvent::Validation { step: self.step, ce: None, mse });
        let size = self.model.config().picture_size as u32;
        let count = SHEET.min(self.held.len()) as u32;
        let mut sheet =
            RgbImage::new(SHEET_COLUMNS * size, count.div_ceil(SHEET_COLUMNS) * 2 * size);
        for index in 0..count {
            let flow = FlowSampling::from_defaults(&self.model.config().generation, 7);
            let prompt = self.held.caption(index as usize).to_owned();
            let request = DrawRequest { prompt, reference: None, flow };
            let drawn = self.model.draw(&request, &mut |_| ControlFlow::Continue(()))?;
            let (x, y) = (index % SHEET_COLUMNS * size, index / SHEET_COLUMNS * 2 * size);
            image::imageops::replace(&mut sheet, &drawn.image, x.into(), y.into());
            let truth = self.held.picture(index as usize)?;
            image::imageops::replace(&mut sheet, &truth, x.into(), (y + size).into());
        }
        let file = format!("{SAMPLES}/step-{:07}.png", self.step);
        let path = self.job.run_dir.join(&file);
        let saved = fs::create_dir_all(self.job.run_dir.join(SAMPLES))
            .map_err(image::ImageError::IoError)
            .and_then(|()| sheet.save(&path));
        saved.map_err(|e| TrainError::Malformed {
            what: "the sample sheet",
            reason: format!("it could not be written: {e}"),
            path,
        })?;
        watch(TrainEvent::Sample {
            step: self.step,
            kind: SampleOutput::Picture,
            prompt: "drawn above, truth below".into(),
            text: None,
            file: Some(file),
        });
        Ok(())
    }

    /// Writes the base's own weights with the averages in place of what was trained, in half
    /// precision.
    fn export(&self) -> TrainResult<()> {
        let start = self.job.model_dir.join(GENERATION_FILE);
        let mut tensors = candle_core::safetensors::load(&start, &Device::Cpu)?;
        for (name, average) in self.ema.tensors(named(&self.vars))? {
            tensors.insert(name, average.to_dtype(DType::F16)?);
        }
        let (part, whole) = (
            self.job.run_dir.join(format!("{GENERATION_FILE}.part")),
            self.job.run_dir.join(GENERATION_FILE),
        );
        candle_core::safetensors::save(&tensors, &part)?;
        fs::rename(&part, &whole).map_err(|source| TrainError::Io {
            what: "writing the weights",
            source,
            path: whole.clone(),
        })
    }
}

/// Latent tokens with their rows and columns.
type Latents = (Tensor, usize, usize);

fn latents(model: &Model, picture: &RgbImage) -> TrainResult<Latents> {
    Ok(model.picture_latents(picture, 0, 0)?)
}

fn read_caption(model: &Model, caption: &str) -> TrainResult<Context> {
    let (ids, _) = model.tokenizer().text_block(TextRole::Caption, caption)?;
    let mut context = Context::new();
    model.reader().read_text(&mut context, &ids)?;
    context.keep_for_drawing(model.network())?;
    Ok(context)
}

/// A noised picture in front of its caption, and the velocity it should show.
struct Noised<'a> {
    tokens: Tensor,
    velocity: Tensor,
    time: f64,
    rows: usize,
    columns: usize,
    context: &'a Context,
}

impl<'a> Noised<'a> {
    fn new(
        latents: &Latents,
        context: &'a Context,
        time: f64,
        mut noise: Noise,
    ) -> TrainResult<Self> {
        let (clean, rows, columns) = latents;
        let noise = noise.normal_tensor(clean.shape(), clean.device())?;
        let tokens = (clean.affine(1. - time, 0.)? + noise.affine(time, 0.)?)?;
        let velocity = (noise - clean)?;
        Ok(Self { tokens, velocity, time, rows: *rows, columns: *columns, context })
    }
}

fn flow_loss(model: &Model, noised: &[Noised]) -> TrainResult<Tensor> {
    let queries: Vec<FlowQuery> = noised
        .iter()
        .map(|n| FlowQuery {
            latents: LatentInput {
                tokens: &n.tokens,
                time: n.time,
                rows: n.rows,
                columns: n.columns,
            },
            context: n.context,
        })
        .collect();
    let got = Tensor::cat(&model.reader().velocities(&queries)?, 0)?;
    let wanted: Vec<&Tensor> = noised.iter().map(|n| &n.velocity).collect();
    Ok((got - Tensor::cat(&wanted, 0)?)?.sqr()?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_set_reads_back_and_notices_a_short_file() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let lines = "{\"caption\":\"a\",\"source\":\"x\"}\n{\"caption\":\"b\"}\n";
        fs::write(dir.path().join("captions.jsonl"), lines).expect("writable");
        let pixels: Vec<u8> = (0..2 * 2 * 2 * 3).collect();
        fs::write(dir.path().join("pictures.rgb"), &pixels).expect("writable");
        let mut set = PictureSet::open(dir.path(), 2)?;
        assert_eq!((set.len(), set.caption(1)), (2, "b"));
        assert_eq!(set.picture(1)?.as_raw()[..], pixels[12..]);
        fs::write(dir.path().join("pictures.rgb"), &pixels[1..]).expect("writable");
        assert!(PictureSet::open(dir.path(), 2).is_err());
        Ok(())
    }
}
