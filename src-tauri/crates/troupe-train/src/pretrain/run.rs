//! The loop that every pretraining stage runs in.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor, Var};
use serde::{Deserialize, Serialize};
use troupe_nn::adamw::{AdamW, AdamWConfig, Ema};

use crate::{
    checkpoint,
    data::{Deck, DeckState},
    error::{TrainError, TrainResult},
    events::{Control, Outcome, RunPhase, TrainEvent, Watcher},
    sft::CHECKPOINTS,
};

/// Largest gradient norm.
const MAX_GRAD_NORM: f64 = 1.;
/// Keeps the order of a stage's samples apart from that of other decks.
const DECK_SALT: u64 = 3;

/// What all stages are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// The base model's folder.
    pub model_dir: PathBuf,
    /// Pictures to learn from.
    pub data_dir: PathBuf,
    /// Pictures kept back, in the same form.
    pub held_dir: PathBuf,
    /// The run's folder.
    pub run_dir: PathBuf,
    /// Seed of all choices and noise.
    pub seed: u64,
    /// Optimiser steps.
    pub num_steps: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Share of the peak rate left at the end of the cosine.
    pub final_lr_share: f64,
    /// Decay of the averaged weights.
    pub ema_decay: f64,
    /// Share of a matrix that a step of rate 1 removes.
    pub weight_decay: f64,
    /// Steps between measurements on what is kept back.
    pub sample_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::new(),
            data_dir: PathBuf::new(),
            held_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            seed: 1,
            num_steps: 6000,
            learning_rate: 8e-4,
            warmup_steps: 100,
            final_lr_share: 0.05,
            ema_decay: 0.999,
            weight_decay: 0.,
            sample_every: 250,
            checkpoint_every: 100,
        }
    }
}

/// The loss of one step.
pub(crate) struct StepLoss {
    /// A scalar with gradient.
    pub(crate) loss: Tensor,
    /// Whether it is a text loss, for the curve.
    pub(crate) is_text: bool,
}

/// What a stage learns and how it looks at itself.
pub(crate) trait Stage {
    /// The loss of step `step` (from 0) on the next samples of `deck`.
    fn loss(&mut self, step: usize, deck: &mut Deck) -> TrainResult<StepLoss>;

    /// Measures what is kept back after `step` steps; the averaged weights are in place.
    fn observe(&mut self, step: usize, watch: Watcher) -> TrainResult<()>;
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct State {
    step: usize,
    deck: DeckState,
    optimiser_steps: u64,
}

/// Variables with what moves them.
pub(crate) struct Trainer<'a> {
    settings: &'a RunSettings,
    vars: BTreeMap<String, Var>,
    optimiser: AdamW,
    ema: Ema,
    deck: Deck,
    step: usize,
}

fn named(vars: &BTreeMap<String, Var>) -> impl Iterator<Item = (&str, &Var)> {
    vars.iter().map(|(name, var)| (name.as_str(), var))
}

impl<'a> Trainer<'a> {
    /// A trainer of `vars` on `len` samples, at the run's newest checkpoint when there is one.
    /// `factor` multiplies the learning rate by name.
    pub(crate) fn new(
        settings: &'a RunSettings,
        vars: BTreeMap<String, Var>,
        len: usize,
        factor: impl Fn(&str) -> f64,
    ) -> TrainResult<Self> {
        let config = AdamWConfig {
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: settings.weight_decay,
            ..Default::default()
        };
        let all = vars.iter().map(|(name, var)| (name.clone(), var.clone()));
        let optimiser = AdamW::new(all, config, |name| settings.learning_rate * factor(name));
        let ema = Ema::new(named(&vars), settings.ema_decay)?;
        let deck = Deck::new(settings.seed, DECK_SALT, len, DeckState::default());
        let mut trainer = Self { settings, vars, optimiser, ema, deck, step: 0 };
        trainer.resume(len)?;
        Ok(trainer)
    }

    fn resume(&mut self, len: usize) -> TrainResult<()> {
        let dir = self.settings.run_dir.join(CHECKPOINTS);
        let Some((tensors, state)) = checkpoint::load_latest::<State>(&dir)? else { return Ok(()) };
        for (name, var) in &self.vars {
            let saved = tensors.get(&format!("weight.{name}"));
            var.set(saved.ok_or_else(|| TrainError::Malformed {
                what: "the checkpoint",
                reason: format!("it does not hold {name}; it belongs to another base or stage"),
                path: dir.clone(),
            })?)?;
        }
        self.optimiser.load_state(&tensors, state.optimiser_steps)?;
        let averages = tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("ema.")?.to_owned(), t.clone())))
            .collect();
        self.ema.load(&averages)?;
        self.deck = Deck::new(self.settings.seed, DECK_SALT, len, state.deck);
        self.step = state.step;
        Ok(())
    }

    fn save(&self, watch: Watcher) -> TrainResult<()> {
        let mut tensors = self.optimiser.state()?;
        for (name, var) in &self.vars {
            tensors.insert(format!("weight.{name}"), var.as_tensor().clone());
        }
        for (name, tensor) in self.averages()? {
            tensors.insert(format!("ema.{name}"), tensor);
        }
        let state = State {
            step: self.step,
            deck: self.deck.state(),
            optimiser_steps: self.optimiser.num_steps(),
        };
        let dir = self.settings.run_dir.join(CHECKPOINTS);
        let folder = checkpoint::save(&dir, self.step, &tensors, &state)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        watch(TrainEvent::Checkpoint { step: self.step, file: format!("{CHECKPOINTS}/{name}") });
        Ok(())
    }

    /// The averaged weights by name.
    pub(crate) fn averages(&self) -> TrainResult<HashMap<String, Tensor>> {
        Ok(self.ema.tensors(named(&self.vars))?)
    }

    fn lr_share(&self) -> f64 {
        let RunSettings { warmup_steps, num_steps, final_lr_share, .. } = *self.settings;
        if self.step < warmup_steps {
            return (self.step + 1) as f64 / warmup_steps as f64;
        }
        let span = num_steps.saturating_sub(warmup_steps).max(1) as f64;
        let progress = ((self.step - warmup_steps) as f64 / span).min(1.);
        let cosine = 0.5 * (1. + (std::f64::consts::PI * progress).cos());
        final_lr_share + (1. - final_lr_share) * cosine
    }

    /// Runs `stage` to the end, or until `watch` says otherwise.
    pub(crate) fn train(&mut self, stage: &mut dyn Stage, watch: Watcher) -> TrainResult<Outcome> {
        watch(TrainEvent::Started {
            step: self.step,
            num_steps: self.settings.num_steps,
            num_trainable: self.vars.values().map(|v| v.elem_count()).sum(),
            num_text_samples: 0,
            num_picture_samples: self.deck.len(),
        });
        while self.step < self.settings.num_steps {
            let control = self.train_step(stage, watch)?;
            let last = self.step == self.settings.num_steps;
            let due = |every: usize| every > 0 && self.step.is_multiple_of(every);
            if last || due(self.settings.checkpoint_every) || control != Control::Continue {
                self.save(watch)?;
            }
            match control {
                Control::Pause => return Ok(Outcome::Paused),
                Control::Stop => return Ok(Outcome::Stopped),
                Control::Continue => {}
            }
            if last || due(self.settings.sample_every) {
                self.observe(stage, watch)?;
            }
        }
        Ok(Outcome::Finished)
    }

    fn train_step(&mut self, stage: &mut dyn Stage, watch: Watcher) -> TrainResult<Control> {
        let rate = self.lr_share();
        let StepLoss { loss, is_text } = stage.loss(self.step, &mut self.deck)?;
        let grads = loss.backward()?;
        let grad_norm = self.optimiser.grad_norm(&grads)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        if loss.is_finite() && grad_norm.is_finite() {
            let clip = (MAX_GRAD_NORM / (grad_norm + 1e-6)).min(1.);
            self.optimiser.step(&grads, rate, clip)?;
            self.ema.update(named(&self.vars), self.step as u64)?;
        }
        self.step += 1;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: self.step, loss });
        }
        Ok(watch(TrainEvent::Step {
            step: self.step,
            num_steps: self.settings.num_steps,
            loss,
            ce: is_text.then_some(loss),
            mse: (!is_text).then_some(loss),
            lr: rate,
            grad_norm,
        }))
    }

    /// Lets the stage look at itself with the averaged weights, then puts the present ones back.
    fn observe(&mut self, stage: &mut dyn Stage, watch: Watcher) -> TrainResult<()> {
        watch(RunPhase::Measuring.into());
        let averages = self.averages()?;
        let mut present = HashMap::new();
        for (name, var) in &self.vars {
            present.insert(name.clone(), var.as_tensor().copy()?);
            if let Some(average) = averages.get(name) {
                var.set(average)?;
            }
        }
        let seen = stage.observe(self.step, watch);
        for (name, var) in &self.vars {
            if let Some(value) = present.get(name) {
                var.set(value)?;
            }
        }
        seen
    }
}

/// Writes `tensors` in half precision to `file`, whole or not at all.
pub(crate) fn write_half(tensors: &HashMap<String, Tensor>, file: &Path) -> TrainResult<()> {
    let half = tensors.iter().map(|(name, t)| Ok((name.clone(), t.to_dtype(DType::F16)?)));
    let half: HashMap<String, Tensor> = half.collect::<TrainResult<_>>()?;
    let part = file.with_extension("safetensors.part");
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(|source| TrainError::Io {
            what: "making the run's folder",
            source,
            path: parent.to_path_buf(),
        })?;
    }
    candle_core::safetensors::save(&half, &part)?;
    fs::rename(&part, file).map_err(|source| TrainError::Io {
        what: "writing the weights",
        source,
        path: file.to_path_buf(),
    })
}
