//! Pretraining of a base's generation expert on pictures with captions.
//!
//! The understanding expert reads the captions; the generation expert, the time
//! embedding and the latent projections learn to undo noise in front of them (rectified flow,
//! `BAGEL.forward` of `modeling/bagel/bagel.py`), with captions dropped at times for guidance.
//! An exponential average of the weights is what samples are drawn with and what is exported.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_model::{
    config::CodecKind,
    context::{Context, FlowQuery},
    runtime::{DrawRequest, FlowSampling, Model},
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::noise::{Noise, Stream};

use super::{
    data::{Details, PictureSet},
    following::save_sheet,
    run::{RunSettings, Stage, StepLoss, Trainer, write_half},
    vision::VISION_FILE,
};
use crate::{
    data::Deck,
    error::{TrainError, TrainResult},
    events::{Outcome, RunPhase, SampleOutput, TrainEvent, Watcher},
    recipe::TimeDraw,
    sft::{SAMPLES, is_generation, load_trainable},
};

/// Everything that determines a run of this stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainJob {
    /// What all stages are told. The base holds a `generation.safetensors` to start from.
    pub settings: RunSettings,
    /// Captions per step.
    pub captions: usize,
    /// Noise draws per caption and step.
    pub draws: usize,
    /// Chance that a caption is dropped.
    pub condition_dropout: f64,
    /// How times are drawn.
    pub time: TimeDraw,
    /// How many times the loss counts again where [`Details`] are; 0 needs none. Pixel codec only.
    pub detail_weight: f64,
}

impl Default for PretrainJob {
    fn default() -> Self {
        Self {
            settings: RunSettings::default(),
            captions: 8,
            draws: 2,
            condition_dropout: 0.1,
            time: TimeDraw { mean: 0.8, std: 1. },
            detail_weight: 0.,
        }
    }
}

/// File of the exported weights in a run, and of the starting weights in a base.
pub const GENERATION_FILE: &str = "generation.safetensors";
/// Pictures of a sample sheet.
const SHEET: usize = 16;
/// Columns of a sample sheet.
const SHEET_COLUMNS: usize = 8;
/// Held-out pictures that are validated on.
const HELD: usize = 32;
/// Seed of the held-out noise, the same in every run so that runs compare.
const HELD_SEED: u64 = 20_605;

struct Generation<'a> {
    job: &'a PretrainJob,
    model: Model,
    pictures: PictureSet,
    held: PictureSet,
    details: Option<Details>,
}

/// Runs or resumes pretraining. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, pictures or run folder are unusable, or the loss diverges. Checkpoints stay.
pub fn run(job: &PretrainJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(RunPhase::LoadingBase.into());
    let settings = &job.settings;
    let (model, vars) = load_trainable(&settings.model_dir, is_generation)?;
    let size = model.config().picture_size as u32;
    let pictures = PictureSet::open(&settings.data_dir, size)?;
    let held = PictureSet::open(&settings.held_dir, size)?;
    let bad_weight = |reason: &str| TrainError::Recipe {
        what: format!("the weight {} of details", job.detail_weight),
        reason: reason.into(),
    };
    if !job.detail_weight.is_finite() || job.detail_weight < 0. {
        return Err(bad_weight("it is a number from 0 on; 0 weighs all alike"));
    }
    let details = if job.detail_weight > 0. {
        if model.config().codec != CodecKind::Pixel {
            return Err(bad_weight(
                "details are places in a picture, and this base learns from latents of an \
                 autoencoder; leave it at 0",
            ));
        }
        Some(Details::open(&settings.data_dir, pictures.len(), size)?)
    } else {
        None
    };
    let mut trainer = Trainer::new(settings, vars, pictures.len(), |_| 1.)?;
    let mut stage = Generation { job, model, pictures, held, details };
    let outcome = trainer.train(&mut stage, watch)?;
    export(settings, &trainer)?;
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

/// Writes the base's own weights with the averages in place of what was trained, in half precision.
/// What another file of the base holds over them, as a trained vision tower, is left out.
fn export(settings: &RunSettings, trainer: &Trainer) -> TrainResult<()> {
    let start = settings.model_dir.join(GENERATION_FILE);
    let mut tensors = candle_core::safetensors::load(&start, &Device::Cpu)?;
    let over = settings.model_dir.join(VISION_FILE);
    if over.exists() {
        let over = candle_core::safetensors::load(&over, &Device::Cpu)?;
        tensors.retain(|name, _| !over.contains_key(name));
    }
    tensors.extend(trainer.averages()?);
    write_half(&tensors, &settings.run_dir.join(GENERATION_FILE))
}

impl Stage for Generation<'_> {
    fn loss(&mut self, step: usize, deck: &mut Deck) -> TrainResult<StepLoss> {
        let (job, seed) = (self.job, self.job.settings.seed);
        let chosen: Vec<usize> = (0..job.captions).filter_map(|_| deck.draw()).collect();
        let captions: Vec<&str> =
            chosen.iter().map(|index| self.pictures.caption(*index)).collect();
        let contexts = read_captions(&self.model, &captions)?;
        let mut items = Vec::new();
        for (index, context) in chosen.into_iter().zip(contexts) {
            let weights = self.weights(index)?;
            items.push((latents(&self.model, &self.pictures.picture(index)?)?, context, weights));
        }
        let empty = Context::new();
        let mut noised = Vec::new();
        for (slot, (latents, context, weights)) in items.iter().enumerate() {
            for draw in 0..job.draws {
                let key = ((step * job.captions + slot) * job.draws + draw) as u64;
                let logit = Noise::new(seed, Stream::TrainingTimes, key).normal();
                let time = 1. / (1. + (-(logit * job.time.std + job.time.mean)).exp());
                let noise = Noise::new(seed, Stream::TrainingNoise, key);
                let dropped = Noise::new(seed, Stream::Dropout, key).uniform();
                let context = if dropped < job.condition_dropout { &empty } else { context };
                let made = Noised::new(latents, context, time, noise)?;
                noised.push(Noised { weights: weights.clone(), ..made });
            }
        }
        Ok(StepLoss { loss: flow_loss(&self.model, &noised)?, is_text: false })
    }

    /// Validates and draws a sheet.
    fn observe(&mut self, step: usize, watch: Watcher) -> TrainResult<()> {
        let (mut sum, held) = (0., HELD.min(self.held.len()));
        for index in 0..held {
            let latents = latents(&self.model, &self.held.picture(index)?)?;
            let contexts = read_captions(&self.model, &[self.held.caption(index)])?;
            let time = (index as f64 + 0.5) / held as f64;
            let noise = Noise::new(HELD_SEED, Stream::TrainingNoise, index as u64);
            let noised = [Noised::new(&latents, &contexts[0], time.max(0.05), noise)?];
            sum += f64::from(flow_loss(&self.model, &noised)?.to_scalar::<f32>()?);
        }
        let mse = Some(sum / held as f64);
        watch(TrainEvent::Validation { step, ce: None, mse });
        let count = SHEET.min(self.held.len());
        let (mut drawn, mut truth) = (Vec::new(), Vec::new());
        for index in 0..count {
            let flow = FlowSampling::from_defaults(&self.model.config().generation, 7);
            let request = DrawRequest::new(self.held.caption(index), flow);
            drawn.push(self.model.draw(&request, &mut |_| ControlFlow::Continue(()))?.image);
            truth.push(self.held.picture(index)?);
        }
        let file = format!("{SAMPLES}/step-{step:07}.png");
        save_sheet(&self.job.settings.run_dir.join(&file), &drawn, &truth, SHEET_COLUMNS)?;
        watch(TrainEvent::Sample {
            step,
            kind: SampleOutput::Picture,
            prompt: "drawn above, truth below".into(),
            text: None,
            file: Some(file),
        });
        Ok(())
    }
}

impl Generation<'_> {
    /// Weights of the loss by latent token and channel: 1, and more where details are.
    fn weights(&self, index: usize) -> TrainResult<Option<Tensor>> {
        let Some(details) = &self.details else { return Ok(None) };
        let marks = details.picture(index);
        Ok(Some(detail_weights(&self.model, &marks, self.job.detail_weight)?))
    }
}

/// Weights by latent token and channel: 1 where `marks` is black, `1 + weight` where it is white.
fn detail_weights(model: &Model, marks: &RgbImage, weight: f64) -> TrainResult<Tensor> {
    let (marks, ..) = latents(model, marks)?; // the pixel codec holds black as -1 and white as 1
    Ok(marks.affine(weight / 2., 1. + weight / 2.)?)
}

/// Latent tokens with their rows and columns.
type Latents = (Tensor, usize, usize);

fn latents(model: &Model, picture: &RgbImage) -> TrainResult<Latents> {
    Ok(model.picture_latents(picture, 0, 0)?)
}

fn read_captions(model: &Model, captions: &[&str]) -> TrainResult<Vec<Context>> {
    let ids = captions.iter().map(|caption| {
        let (ids, _) = model.tokenizer().text_block(TextRole::Caption, caption)?;
        Ok(ids)
    });
    let ids: Vec<Vec<u32>> = ids.collect::<TrainResult<_>>()?;
    let mut contexts = model.reader().read_texts(&ids)?;
    for context in &mut contexts {
        context.keep_for_drawing(model.network())?;
    }
    Ok(contexts)
}

/// A noised picture in front of its caption, and the velocity it should show.
struct Noised<'a> {
    tokens: Tensor,
    velocity: Tensor,
    /// Weights of the loss, of the shape of `tokens`; all 1 when absent.
    weights: Option<Tensor>,
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
        Ok(Self { tokens, velocity, weights: None, time, rows: *rows, columns: *columns, context })
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
    let error = (got - Tensor::cat(&wanted, 0)?)?.sqr()?;
    let weights: Option<Vec<&Tensor>> = noised.iter().map(|n| n.weights.as_ref()).collect();
    let error = match weights {
        Some(weights) => (error * Tensor::cat(&weights, 0)?)?,
        None => error,
    };
    Ok(error.mean_all()?)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn errors_count_again_where_details_are() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        troupe_testkit::write_tiny_model(dir.path());
        let (model, _) = load_trainable(dir.path(), is_generation)?;
        let side = model.config().picture_size as u32;
        let picture = RgbImage::from_fn(side, side, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, 90]));
        let clean = latents(&model, &picture)?;
        let empty = Context::new();
        let loss = |marks: Option<RgbImage>| -> TrainResult<f32> {
            let noise = Noise::new(1, Stream::TrainingNoise, 0);
            let weights = marks.map(|marks| detail_weights(&model, &marks, 6.)).transpose()?;
            let noised = Noised { weights, ..Noised::new(&clean, &empty, 0.5, noise)? };
            Ok(flow_loss(&model, &[noised])?.to_scalar()?)
        };
        let half =
            |is_left: bool| {
                RgbImage::from_fn(side, side, |x, _| {
                    Rgb([255 * u8::from((x < side / 2) == is_left); 3])
                })
            };
        let plain = loss(None)?;
        let near = |got: f32, want: f32| (got / want - 1.).abs() < 1e-4;
        assert!(near(loss(Some(RgbImage::new(side, side)))?, plain), "no details, no difference");
        let white = RgbImage::from_pixel(side, side, Rgb([255; 3]));
        assert!(near(loss(Some(white))?, 7. * plain), "details everywhere count six times more");
        let (left, right) = (loss(Some(half(true)))?, loss(Some(half(false)))?);
        assert!(left > plain && right > plain && near(left + right, 8. * plain));
        Ok(())
    }
}
