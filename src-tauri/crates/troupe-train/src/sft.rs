//! Stage 1, Unified-SFT: one run teaches a character's voice and looks.
//!
//! The understanding expert learns from the text samples, the generation expert from the picture
//! samples, through low-rank updates or in full ([`Mode`]). Conditions of pictures may be read once and
//! kept ([`SftRecipe::condition_refresh`]), which is what makes a laptop's CPU enough; with 0 the flow
//! loss reaches the understanding expert as in the reference.
//!
//! Source: UniCharacter (arXiv:2605.08129), `pretrain_unified_navit_fixed.py`.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use serde::{Deserialize, Serialize};
use troupe_character::{Character, samples::SampleKind};
use troupe_model::{
    config::ModelConfig,
    context::{Context, FlowQuery},
    gguf::GgufFile,
    llm::Recompute,
    runtime::{
        DrawRequest, FlowSampling, Model, ModelFiles, ReplyRequest, TextSampling, has_tower,
        is_language_linear, load_codec, take_stored,
    },
    tokens::TextTokenizer,
    unified::{LatentInput, Network},
    weights::{SIGHT_PREFIX, hash_files},
};
use troupe_nn::{
    adamw::{AdamW, AdamWConfig, Ema},
    linear::Lora,
    noise::{Noise, Stream},
};

use crate::{
    checkpoint,
    data::{Deck, DeckState, PictureSample, TextSample, TrainingData},
    error::{TrainError, TrainResult},
    estimate::recipe_samples,
    events::{Control, Outcome, Remark, RunPhase, SampleOutput, TrainEvent, Watcher},
    recipe::{FrozenPrecision, Mode, SftRecipe},
    rehearsal::Rehearsal,
    sequence::{
        FlowTarget, LossWeights, SequenceBlock, read_sharing_starts, sequence_loss,
        sequence_loss_sharing_starts,
    },
    taught::{Material, save_sft},
    verdict::{Likeness, Observation, Observations, nearest},
};

/// Everything that determines a run; `run.toml` of its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SftJob {
    /// The base model's folder.
    pub model_dir: PathBuf,
    /// The character's folder.
    pub character_dir: PathBuf,
    /// The run's folder: samples, checkpoints and the adapter go there.
    pub run_dir: PathBuf,
    /// Seed of all choices and noise.
    pub seed: u64,
    /// The numbers.
    #[serde(default)]
    pub recipe: SftRecipe,
}

/// Folder of the checkpoints in a run.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the samples in a run.
pub const SAMPLES: &str = "samples";
/// Folder of the adapter in a run.
pub const ADAPTER: &str = "adapter";
/// Folder of the weights with the lowest held-out loss.
pub const BEST: &str = "best";
/// File of the validations in a run.
pub const OBSERVATIONS: &str = "observations.json";

/// State beside a checkpoint's tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    step: usize,
    text: DeckState,
    pictures: DeckState,
    #[serde(default)]
    rehearsal: DeckState,
    optimiser_steps: u64,
    /// Hash of the material.
    #[serde(default)]
    data: String,
}

/// Weights of the generation side, which are trained in full.
pub(crate) fn is_generation(name: &str) -> bool {
    ["_moe_gen", "vae2llm", "llm2vae", "time_embedder"].iter().any(|part| name.contains(part))
}

/// Weights that a run trains in full.
pub(crate) fn is_trained(name: &str, mode: Mode) -> bool {
    let understanding = ["language_model.model.layers.", "language_model.model.norm."];
    match mode {
        Mode::Lora => false,
        Mode::Generation => is_generation(name),
        Mode::Full => {
            is_generation(name) || understanding.iter().any(|part| name.starts_with(part))
        }
    }
}

/// Peak learning rate of a weight or of a factor of a low-rank update, of which those on the generation
/// expert learn `haste` times as fast.
fn peak_rate(recipe: &SftRecipe, haste: f64, name: &str) -> f64 {
    match (name.contains(".lora_"), is_generation(name)) {
        (true, false) => recipe.lora.learning_rate,
        (true, true) => recipe.lora.learning_rate * recipe.lora.gen_rate * haste,
        (false, _) => recipe.gen_learning_rate,
    }
}

/// Linear layers that carry low-rank updates.
pub(crate) fn takes_lora(module: &str, mode: Mode) -> bool {
    module.contains(".layers.") && (mode == Mode::Lora || !module.contains("_moe_gen"))
}

/// Seed of fresh sight adapters.
const SIGHT_SEED: u64 = 1;

/// Loads a base for training: what `trainable` names as variables, everything in f32. Linear layers of
/// the language model that the files store quantised and that are not trained stay quantised. Sight
/// adapters that the files lack begin with no effect.
///
/// # Errors
/// When the base cannot be loaded.
pub fn load_trainable(
    model_dir: &Path,
    trainable: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> TrainResult<(Model, BTreeMap<String, Var>)> {
    load_mixed(model_dir, FrozenPrecision::F32, trainable)
}

/// As [`load_trainable`], with the language model's linear layers and token embedding held in
/// `precision` where they are not trained.
///
/// # Errors
/// As [`load_trainable`].
pub fn load_mixed(
    model_dir: &Path,
    precision: FrozenPrecision,
    trainable: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> TrainResult<(Model, BTreeMap<String, Var>)> {
    let is_halved = precision == FrozenPrecision::Bf16;
    troupe_nn::threads::compute_here();
    let device = Device::Cpu;
    let files = ModelFiles::find(model_dir)?;
    let mut config = ModelConfig::from_dir(model_dir)?;
    let gguf = files.gguf.as_deref().map(GgufFile::open).transpose()?;
    let names = &config.special_token_names;
    let tokenizer =
        TextTokenizer::from_dir(model_dir, gguf.as_ref(), names, &config.text_template)?;
    let source = files.source()?;
    config.visual_und &= has_tower(&source);
    let trainable = Arc::new(trainable);
    let (trained, left) = (trainable.clone(), trainable.clone());
    let source = source
        .fresh(SIGHT_SEED, |name| name.starts_with(SIGHT_PREFIX))
        .trainable(move |name| trained(name));
    let weights = Arc::new(source.leave_blocks(move |n| is_language_linear(n) && !left(n)));
    let builder = weights.builder(DType::F32, &device);
    let mut is_quantised = false;
    let mut network = Network::load_with(&config, &builder, &builder, &mut |module, linear| {
        if trainable(&format!("{module}.weight")) {
            return Ok(());
        }
        let is_stored = take_stored(&weights, module, linear, &device)?;
        is_quantised |= is_stored;
        if is_halved && !is_stored { linear.hold_halved() } else { Ok(()) }
    })?;
    if is_quantised {
        network.halve_embedding(DType::F16)?;
    } else if is_halved {
        network.halve_embedding(DType::BF16)?;
    }
    let mismatch = weights.mismatch(troupe_model::weights::is_network);
    if !mismatch.is_empty() {
        return Err(troupe_model::error::ModelError::Weights(mismatch).into());
    }
    let codec = load_codec(&config, files.codec.as_deref(), model_dir, &device)?;
    let base_hash = hash_files(&files.all())?;
    Ok((Model::from_parts(network, codec, tokenizer, base_hash), weights.vars()))
}

/// Initial down projections: uniform in ±√(1 / width), as PEFT's default.
fn attach_loras(
    model: &mut Model,
    recipe: &SftRecipe,
    seed: u64,
) -> TrainResult<BTreeMap<String, Var>> {
    let mut vars = BTreeMap::new();
    let mut index = 0;
    let (rank, alpha, mode) = (recipe.lora.rank, recipe.lora.alpha, recipe.mode);
    model.network_mut().visit_linears(&mut |module, linear| {
        if rank == 0 || !takes_lora(module, mode) {
            return Ok(());
        }
        let (o, i) = linear.shape()?;
        let bound = 1. / (i as f64).sqrt();
        let mut noise = Noise::new(seed, Stream::Weights, index);
        index += 1;
        let values: Vec<f32> =
            (0..rank * i).map(|_| ((noise.uniform() * 2. - 1.) * bound) as f32).collect();
        let a = Var::from_tensor(&Tensor::from_vec(values, (rank, i), &Device::Cpu)?)?;
        let b = Var::zeros((o, rank), DType::F32, &Device::Cpu)?;
        let (ta, tb) = (a.as_tensor().clone(), b.as_tensor().clone());
        linear.attach(Lora { a: ta, b: tb, scale: alpha / rank as f64 })?;
        vars.insert(format!("{module}.lora_A"), a);
        vars.insert(format!("{module}.lora_B"), b);
        Ok(())
    })?;
    Ok(vars)
}

/// A run in progress.
struct Run<'a> {
    job: &'a SftJob,
    material: Material,
    model: Model,
    data: TrainingData,
    lora_vars: BTreeMap<String, Var>,
    gen_vars: BTreeMap<String, Var>,
    optimiser: AdamW,
    /// Moving averages of the weights, if the recipe wants them.
    average: Option<Ema>,
    /// Text samples of a pass, by index; one may stand there more than once.
    text_pass: Vec<usize>,
    /// The same of picture samples.
    picture_pass: Vec<usize>,
    text_deck: Deck,
    picture_deck: Deck,
    rehearsal_deck: Deck,
    observations: Observations,
    recompute: Option<Recompute>,
    conditions: HashMap<usize, Context>,
    /// Low-rank updates with which the kept conditions were read.
    condition_loras: HashMap<String, Tensor>,
    step: usize,
    /// Batches done of the present step.
    batch: usize,
}

/// What a step measured.
struct Measured {
    loss: f64,
    ce: Option<f64>,
    mse: Option<f64>,
    grad_norm: f64,
}

/// Runs or resumes a job. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, character or run folder are unusable, or the loss diverges. Checkpoints stay.
pub fn run(job: &SftJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(RunPhase::LoadingBase.into());
    let mut run = Run::prepare(job, watch)?;
    let has_changed = run.resume()?;
    let started = TrainEvent::Started {
        step: run.step,
        num_steps: job.recipe.num_steps,
        num_trainable: run.vars().map(|(_, v)| v.elem_count()).sum(),
        num_text_samples: run.data.text.len(),
        num_picture_samples: run.data.pictures.len(),
    };
    watch(started);
    if has_changed {
        watch(TrainEvent::Note(Remark::material_changed()));
    }
    if run.is_observation_due() && !run.observations.has(run.step) {
        run.observe(watch)?;
    }
    let outcome = run.train(watch)?;
    if outcome != Outcome::Paused {
        watch(RunPhase::WritingAdapter.into());
        run.export(outcome, watch)?;
    }
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

impl<'a> Run<'a> {
    fn prepare(job: &'a SftJob, watch: Watcher) -> TrainResult<Self> {
        let recipe = &job.recipe;
        let character = Character::load(&job.character_dir)?;
        let (in_full, mode) = (recipe.gen_learning_rate > 0., recipe.mode);
        let (mut model, gen_vars) = load_mixed(&job.model_dir, recipe.precision, move |name| {
            in_full && is_trained(name, mode)
        })?;
        let lora_vars = attach_loras(&mut model, recipe, job.seed)?;
        watch(RunPhase::ReadingMaterial.into());
        let samples = recipe_samples(&character, recipe, job.seed);
        let mut data = TrainingData::prepare(&model, &samples, job.seed)?;
        if data.text.is_empty() && data.pictures.is_empty() {
            return Err(TrainError::NoData(format!(
                "{} has no dialogue, questions or captioned pictures; add some first",
                character.name
            )));
        }
        if recipe.rehearsal > 0 && !data.pictures.is_empty() {
            let rehearsal = Rehearsal::of_base(&job.model_dir, model.config().picture_size)?;
            data.rehearse(&model, &rehearsal, job.seed)?;
        }
        let all = lora_vars.iter().chain(&gen_vars).map(|(n, v)| (n.clone(), v.clone()));
        let (eps, weight_decay) = (recipe.eps, recipe.weight_decay);
        let config = AdamWConfig { eps, weight_decay, ..Default::default() };
        // The low-rank updates have no effect yet, whatever a checkpoint will set them to: a run that
        // goes on finds the same rate.
        let mut haste = 1.;
        if recipe.lora.unlike_rate > 1. {
            let unlike = unlikeness(&model, &data)?.unwrap_or(1.);
            haste = unlike.clamp(1., recipe.lora.unlike_rate);
            let text = format!(
                "The flow loss of these pictures is {unlike:.2} times that of the base's own: \
                 pictures are learned {haste:.2} times as fast."
            );
            watch(TrainEvent::Note(text.into()));
        }
        let optimiser = AdamW::new(all, config, |name| peak_rate(recipe, haste, name));
        let recompute = recipe
            .recompute
            .then(|| Recompute::new(optimiser.vars().map(|(_, var)| var.clone()).collect()));
        model.network_mut().set_recompute(recompute.clone());
        let average = (recipe.ema_decay > 0.).then(|| Ema::new(optimiser.vars(), recipe.ema_decay));
        let repeated = |kinds: Vec<SampleKind>| -> Vec<usize> {
            let times = |kind| recipe.repeats.get(kind).copied().unwrap_or(1);
            let items = kinds.iter().enumerate();
            items.flat_map(|(index, kind)| std::iter::repeat_n(index, times(kind))).collect()
        };
        let mut run = Self {
            average: average.transpose()?,
            text_pass: repeated(data.text.iter().map(|s| s.kind).collect()),
            picture_pass: repeated(data.pictures.iter().map(|s| s.kind).collect()),
            observations: Observations::load(&job.run_dir.join(OBSERVATIONS))?,
            job,
            material: Material::of(&character)?,
            model,
            data,
            lora_vars,
            gen_vars,
            optimiser,
            text_deck: Deck::new(job.seed, 1, 0, DeckState::default()),
            picture_deck: Deck::new(job.seed, 2, 0, DeckState::default()),
            rehearsal_deck: Deck::new(job.seed, 3, 0, DeckState::default()),
            recompute,
            conditions: HashMap::new(),
            condition_loras: HashMap::new(),
            step: 0,
            batch: 0,
        };
        run.set_decks([DeckState::default(); 3]);
        Ok(run)
    }

    fn set_decks(&mut self, [text, pictures, rehearsal]: [DeckState; 3]) {
        let seed = self.job.seed;
        self.text_deck = Deck::new(seed, 1, self.text_pass.len(), text);
        self.picture_deck = Deck::new(seed, 2, self.picture_pass.len(), pictures);
        self.rehearsal_deck = Deck::new(seed, 3, self.data.rehearsal.len(), rehearsal);
    }

    fn vars(&self) -> impl Iterator<Item = (&String, &Var)> {
        self.lora_vars.iter().chain(&self.gen_vars)
    }

    /// Takes up the newest checkpoint, if there is one. True when its material was other than this.
    fn resume(&mut self) -> TrainResult<bool> {
        let dir = self.job.run_dir.join(CHECKPOINTS);
        let found = checkpoint::load_latest::<State>(&dir)?;
        self.observations.rewind(found.as_ref().map_or(0, |(_, state)| state.step));
        let Some((tensors, state)) = found else {
            return Ok(false);
        };
        self.set_weights(&tensors, &dir)?;
        if let Some(average) = &mut self.average {
            average.load(&with_prefix(&tensors, "average."))?;
        }
        self.optimiser.load_state(&tensors, state.optimiser_steps)?;
        self.condition_loras = with_prefix(&tensors, "condition.");
        self.step = state.step;
        self.set_decks([state.text, state.pictures, state.rehearsal]);
        Ok(!state.data.is_empty() && state.data != self.material.hash)
    }

    /// Sets all weights from a checkpoint's tensors.
    fn set_weights(&self, tensors: &HashMap<String, Tensor>, dir: &Path) -> TrainResult<()> {
        let missing = |name: &str| TrainError::Malformed {
            what: "the checkpoint",
            reason: format!("it does not hold {name}; it belongs to another recipe"),
            path: dir.to_path_buf(),
        };
        for (name, var) in self.vars() {
            var.set(tensors.get(&format!("weight.{name}")).ok_or_else(|| missing(name))?)?;
        }
        Ok(())
    }

    fn weights(&self) -> HashMap<String, Tensor> {
        let named =
            |(name, var): (&String, &Var)| (format!("weight.{name}"), var.as_tensor().clone());
        self.vars().map(named).collect()
    }

    fn save(&self, watch: Watcher) -> TrainResult<()> {
        let mut tensors = self.optimiser.state()?;
        tensors.extend(self.weights());
        if let Some(average) = &self.average {
            let averages = average.tensors(self.optimiser.vars())?;
            tensors.extend(averages.into_iter().map(|(n, t)| (format!("average.{n}"), t)));
        }
        for (name, tensor) in &self.condition_loras {
            tensors.insert(format!("condition.{name}"), tensor.clone());
        }
        let state = State {
            step: self.step,
            data: self.material.hash.clone(),
            text: self.text_deck.state(),
            pictures: self.picture_deck.state(),
            rehearsal: self.rehearsal_deck.state(),
            optimiser_steps: self.optimiser.num_steps(),
        };
        let folder =
            checkpoint::save(&self.job.run_dir.join(CHECKPOINTS), self.step, &tensors, &state)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        watch(TrainEvent::Checkpoint { step: self.step, file: format!("{CHECKPOINTS}/{name}") });
        Ok(())
    }

    fn train(&mut self, watch: Watcher) -> TrainResult<Outcome> {
        let recipe = &self.job.recipe;
        while self.step < recipe.num_steps {
            if self.observations.has_turned(recipe.patience) {
                let text = "It no longer gets better at what it has not seen: ended early.";
                watch(TrainEvent::Note(Remark::new("ended-early", text)));
                break;
            }
            let measured = self.train_step()?;
            self.step += 1;
            if !measured.loss.is_finite() {
                return Err(TrainError::Diverged { step: self.step, loss: measured.loss });
            }
            let control = watch(TrainEvent::Step {
                step: self.step,
                num_steps: recipe.num_steps,
                loss: measured.loss,
                ce: measured.ce,
                mse: measured.mse,
                lr: recipe.lr_share(self.step - 1),
                grad_norm: measured.grad_norm,
            });
            let every = recipe.checkpoint_every;
            let observe = self.is_observation_due();
            if observe
                || control != Control::Continue
                || (every > 0 && self.step.is_multiple_of(every))
            {
                self.save(watch)?;
            }
            match control {
                Control::Pause => return Ok(Outcome::Paused),
                Control::Stop => return Ok(Outcome::Stopped),
                Control::Continue => {}
            }
            if observe {
                self.observe(watch)?;
            }
        }
        Ok(Outcome::Finished)
    }

    /// Whether the present step is one to validate after: the first, the last, and some between.
    fn is_observation_due(&self) -> bool {
        let (every, last) = (self.job.recipe.sample_every, self.job.recipe.num_steps);
        self.step == 0 || self.step == last || (every > 0 && self.step.is_multiple_of(every))
    }

    /// One optimiser step.
    fn train_step(&mut self) -> TrainResult<Measured> {
        let recipe = &self.job.recipe;
        let mut sums = Sums::default();
        for batch in 0..recipe.accumulate {
            self.batch = batch;
            self.add_batch(&mut sums)?;
        }
        let Sums { grads, loss, ce, mse } = sums;
        let (ce, mse) = (ce.value(), mse.value());
        let Some(grads) = grads else {
            return Ok(Measured { loss: 0., ce, mse, grad_norm: 0. });
        };
        let grad_norm = self.optimiser.grad_norm(&grads)?;
        if loss.is_finite() && grad_norm.is_finite() {
            let clip = (recipe.max_grad_norm / (grad_norm + 1e-6)).min(1.);
            self.optimiser.step(&grads, recipe.lr_share(self.step), clip)?;
            if let Some(average) = &mut self.average {
                average.update(self.optimiser.vars(), self.optimiser.num_steps())?;
            }
        }
        Ok(Measured { loss, ce, mse, grad_norm })
    }

    /// Adds losses and gradients of the next batch. Texts and pictures that share no gradient run one
    /// after the other, so that only one of them takes memory.
    fn add_batch(&mut self, sums: &mut Sums) -> TrainResult<()> {
        let recipe = &self.job.recipe;
        let has_text = recipe.text_every > 0 && self.step.is_multiple_of(recipe.text_every);
        let text = if has_text { self.draw_text() } else { Vec::new() };
        let mut pictures: Vec<usize> = (0..recipe.pictures)
            .filter_map(|_| self.picture_deck.draw())
            .map(|item| self.picture_pass[item])
            .collect();
        let own = self.data.pictures.len();
        let rehearsed = (0..recipe.rehearsal).filter_map(|_| self.rehearsal_deck.draw());
        pictures.extend(rehearsed.map(|item| own + item));
        if recipe.condition_refresh == 0 {
            let (ce, mse) = self.joint_losses(&text, &pictures)?;
            return self.add_losses(sums, ce, mse);
        }
        self.refresh_conditions()?;
        let ce = self.text_loss(&text)?;
        self.add_losses(sums, ce, None)?;
        let mse = self.picture_loss(&pictures)?;
        self.add_losses(sums, None, mse)
    }

    fn add_losses(
        &self,
        sums: &mut Sums,
        ce: Option<Tensor>,
        mse: Option<Tensor>,
    ) -> TrainResult<()> {
        let recipe = &self.job.recipe;
        let weighted = [(&ce, recipe.ce_weight), (&mse, recipe.mse_weight)];
        let Some(total) = weighted_sum(weighted, recipe.accumulate)? else {
            return Ok(());
        };
        let mut grads = total.backward()?;
        if let Some(recompute) = &self.recompute {
            recompute.collect(&mut grads)?;
        }
        sums.grads = Some(match sums.grads.take() {
            Some(before) => self.add_gradients(before, &grads)?,
            None => grads,
        });
        sums.loss += scalar(&total)?;
        sums.ce.add(ce.as_ref().map(scalar).transpose()?);
        sums.mse.add(mse.as_ref().map(scalar).transpose()?);
        Ok(())
    }

    fn add_gradients(&self, mut sum: GradStore, more: &GradStore) -> TrainResult<GradStore> {
        for (_, var) in self.optimiser.vars() {
            let added = match (sum.get(var), more.get(var)) {
                (Some(a), Some(b)) => (a + b)?,
                (None, Some(b)) => b.clone(),
                (_, None) => continue,
            };
            sum.insert(var, added);
        }
        Ok(sum)
    }

    /// Text samples within the step's token budget, at least one.
    fn draw_text(&mut self) -> Vec<usize> {
        let (mut chosen, mut tokens) = (Vec::new(), 0);
        while chosen.len() < self.text_pass.len() {
            let Some(index) = self.text_deck.peek().map(|item| self.text_pass[item]) else {
                break;
            };
            tokens += self.data.text[index].num_tokens;
            if tokens > self.job.recipe.text_tokens && !chosen.is_empty() {
                break;
            }
            self.text_deck.draw();
            chosen.push(index);
        }
        chosen
    }

    fn text_loss(&self, chosen: &[usize]) -> TrainResult<Option<Tensor>> {
        let samples: Vec<_> = chosen.iter().map(|i| &self.data.text[*i]).collect();
        mean_ce(&self.model, &samples)
    }

    /// Number of a picture among all that the run ever draws.
    fn slot_key(&self, slot: usize) -> u64 {
        let recipe = &self.job.recipe;
        let batch = self.step * recipe.accumulate + self.batch;
        (batch * recipe.pictures_per_step().max(1) + slot) as u64
    }

    /// Noise and time of a picture in this step.
    fn flow_target(&self, slot: usize, latents: &Tensor) -> TrainResult<FlowTarget> {
        let key = self.slot_key(slot);
        let time = &self.job.recipe.time;
        let logit =
            Noise::new(self.job.seed, Stream::TrainingTimes, key).normal() * time.std + time.mean;
        let noise = Noise::new(self.job.seed, Stream::TrainingNoise, key)
            .normal_tensor(latents.shape(), latents.device())?;
        Ok(FlowTarget { noise, time: 1. / (1. + (-logit).exp()) })
    }

    fn is_dropped(&self, slot: usize) -> bool {
        Noise::new(self.job.seed, Stream::Dropout, self.slot_key(slot)).uniform()
            < self.job.recipe.condition_dropout
    }

    /// Flow loss of pictures whose conditions are kept.
    fn picture_loss(&self, chosen: &[usize]) -> TrainResult<Option<Tensor>> {
        if chosen.is_empty() {
            return Ok(None);
        }
        let empty = Context::new();
        let mut items = Vec::new();
        for (slot, index) in chosen.iter().enumerate() {
            let sample = self.data.picture(*index);
            let context = match self.conditions.get(index) {
                Some(context) if !self.is_dropped(slot) => context,
                _ => &empty,
            };
            items.push((sample, context, self.flow_target(slot, &sample.latents)?));
        }
        Ok(Some(mean_flow_loss(&self.model, &items)?))
    }

    /// Losses of a whole packed batch, conditions included.
    fn joint_losses(
        &self,
        text: &[usize],
        pictures: &[usize],
    ) -> TrainResult<(Option<Tensor>, Option<Tensor>)> {
        let mut samples: Vec<Vec<SequenceBlock>> =
            text.iter().map(|i| self.data.text[*i].blocks.clone()).collect();
        for (slot, index) in pictures.iter().enumerate() {
            let sample = self.data.picture(*index);
            let condition = if self.is_dropped(slot) {
                SequenceBlock::Dropped { is_image: false }
            } else {
                SequenceBlock::Text { ids: sample.ids.clone(), loss_from: None }
            };
            let target = Some(self.flow_target(slot, &sample.latents)?);
            let latents = SequenceBlock::Latents {
                tokens: sample.latents.clone(),
                rows: sample.rows,
                columns: sample.columns,
                target,
            };
            samples.push(vec![condition, latents]);
        }
        if samples.is_empty() {
            return Ok((None, None));
        }
        let special = self.model.tokenizer().special();
        let losses = sequence_loss(self.model.network(), special, &samples)?;
        let total = losses.total(&LossWeights { ce: 1., mse: 1., ce_reweighting: false })?;
        Ok((total.ce, total.mse))
    }

    /// Reads the conditions of all pictures when they are due or, after a resume, missing.
    fn refresh_conditions(&mut self) -> TrainResult<()> {
        let due = self.batch == 0 && self.step.is_multiple_of(self.job.recipe.condition_refresh);
        if due {
            self.condition_loras = self
                .lora_vars
                .iter()
                .map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?)))
                .collect::<Result<_, candle_core::Error>>()?;
        } else if !self.conditions.is_empty() || self.data.pictures.is_empty() {
            return Ok(());
        }
        // After a resume the conditions must be those of the last refresh, not of today's weights.
        let present = swap(&self.lora_vars, &self.condition_loras)?;
        self.track_loras(false)?;
        let read = self.read_all_conditions();
        self.track_loras(true)?;
        swap(&self.lora_vars, &present)?;
        self.conditions = read?;
        Ok(())
    }

    /// Conditions by the number of the picture.
    fn read_all_conditions(&self) -> TrainResult<HashMap<usize, Context>> {
        let mut conditions = read_conditions(&self.model, &self.data.pictures)?;
        let own = self.data.pictures.len();
        let rehearsed = read_conditions(&self.model, &self.data.rehearsal)?;
        conditions.extend(rehearsed.into_iter().map(|(index, context)| (own + index, context)));
        Ok(conditions)
    }

    /// Held-out losses and samples, of the average if there is one.
    fn observe(&mut self, watch: Watcher) -> TrainResult<()> {
        watch(RunPhase::Trying.into());
        let present = self.use_average()?;
        self.track_loras(false)?;
        let seen = self.look(watch);
        self.track_loras(true)?;
        let tensors = copies(self.weights());
        if let Some(present) = present {
            swap(&self.lora_vars, &present)?;
            swap(&self.gen_vars, &present)?;
        }
        let (seen, tensors) = (seen?, tensors?);
        self.observations.add(seen);
        let best = self.observations.best() == Some(self.step);
        if best && self.job.recipe.keep_best {
            checkpoint::save_to(&self.job.run_dir.join(BEST), &tensors, &self.step)?;
        }
        self.observations.save(&self.job.run_dir.join(OBSERVATIONS))?;
        if let Some(text) = self.observations.verdict() {
            watch(TrainEvent::Note(text.into()));
        }
        if let Some(remark) = self.observations.copying() {
            watch(TrainEvent::Note(remark));
        }
        Ok(())
    }

    /// Whether passes remember what a gradient through the low-rank updates would need. Looking on
    /// without it takes far less memory; the values are the same variables'.
    fn track_loras(&mut self, on: bool) -> TrainResult<()> {
        let vars = &self.lora_vars;
        self.model.network_mut().visit_linears(&mut |module, linear| {
            let Some(scale) = linear.lora().map(|lora| lora.scale) else {
                return Ok(());
            };
            let factor = |part: &str| {
                let tensor = vars.get(&format!("{module}.{part}"))?.as_tensor();
                Some(if on { tensor.clone() } else { tensor.detach() })
            };
            match (factor("lora_A"), factor("lora_B")) {
                (Some(a), Some(b)) => linear.attach(Lora { a, b, scale }),
                _ => Ok(()),
            }
        })?;
        Ok(())
    }

    /// Puts the averages in the variables' place and returns what they held.
    fn use_average(&self) -> TrainResult<Option<HashMap<String, Tensor>>> {
        let Some(average) = &self.average else {
            return Ok(None);
        };
        let averages = average.tensors(self.optimiser.vars())?;
        let mut present = swap(&self.lora_vars, &averages)?;
        present.extend(swap(&self.gen_vars, &averages)?);
        Ok(Some(present))
    }

    fn look(&self, watch: Watcher) -> TrainResult<Observation> {
        let (step, ce, mse) = (self.step, self.held_out_ce()?, self.held_out_mse()?);
        if ce.is_some() || mse.is_some() {
            watch(TrainEvent::Validation { step, ce, mse });
        }
        self.sample_replies(watch)?;
        let copying = self.sample_pictures(watch)?;
        Ok(Observation { step, ce, mse, copying })
    }

    fn held_out_ce(&self) -> TrainResult<Option<f64>> {
        let held: Vec<&TextSample> = self.data.held_text.iter().take(HELD_TEXTS).collect();
        let ce = mean_ce(&self.model, &held)?;
        Ok(ce.map(|ce| ce.detach().to_scalar::<f32>()).transpose()?.map(f64::from))
    }

    fn held_out_mse(&self) -> TrainResult<Option<f64>> {
        let held = &self.data.held_pictures[..self.data.held_pictures.len().min(HELD_PICTURES)];
        if held.is_empty() {
            return Ok(None);
        }
        let contexts = read_conditions(&self.model, held)?;
        let items = held.iter().enumerate().map(|(index, sample)| (sample, &contexts[&index]));
        Ok(Some(fixed_flow_loss(&self.model, items)?))
    }

    fn sample_replies(&self, watch: Watcher) -> TrainResult<()> {
        let source =
            if self.data.held_text.is_empty() { &self.data.text } else { &self.data.held_text };
        let dialogue = source.iter().filter(|s| s.kind == SampleKind::RolePlay);
        for sample in dialogue.take(SAMPLED_REPLIES) {
            let request = ReplyRequest {
                prompt: sample.prompt.clone(),
                sampling: TextSampling { seed: self.job.seed, ..Default::default() },
                max_tokens: SAMPLE_TOKENS,
                ..ReplyRequest::default()
            };
            let reply = self.model.reply(&request, &mut |_| ControlFlow::Continue(()))?;
            watch(TrainEvent::Sample {
                step: self.step,
                kind: SampleOutput::Reply,
                prompt: last_line_of_user(&sample.prompt),
                text: Some(reply.text),
                file: None,
            });
        }
        Ok(())
    }

    /// Draws pictures; says how like a picture from a held-out caption is to learned ones.
    fn sample_pictures(&self, watch: Watcher) -> TrainResult<Option<Likeness>> {
        let mut copying = None;
        let held = self.data.held_pictures.iter().take(1);
        let learned = self.data.pictures.iter().take(SAMPLED_PICTURES);
        let folder = self.job.run_dir.join(SAMPLES);
        let io = |source| TrainError::Io { what: "writing a sample", source, path: folder.clone() };
        std::fs::create_dir_all(&folder).map_err(io)?;
        for (index, sample) in held.chain(learned).enumerate() {
            let flow = FlowSampling::from_defaults(&self.model.config().generation, self.job.seed);
            let request = DrawRequest::new(sample.caption.clone(), flow);
            let drawing = self.model.draw(&request, &mut |_| ControlFlow::Continue(()))?;
            if index < self.data.held_pictures.len().min(1) {
                copying = self.likeness(&drawing.image, sample)?;
            }
            let name = format!("step-{:07}-{index}.png", self.step);
            drawing.image.save(folder.join(&name)).map_err(|e| TrainError::Malformed {
                what: "the sample",
                reason: format!("it could not be written: {e}"),
                path: folder.join(&name),
            })?;
            watch(TrainEvent::Sample {
                step: self.step,
                kind: SampleOutput::Picture,
                prompt: sample.caption.clone(),
                text: None,
                file: Some(format!("{SAMPLES}/{name}")),
            });
        }
        Ok(copying)
    }

    fn likeness(
        &self,
        drawn: &image::RgbImage,
        wanted: &PictureSample,
    ) -> TrainResult<Option<Likeness>> {
        let (latents, ..) = self.model.picture_latents(drawn, self.job.seed, 0)?;
        let learned = || self.data.pictures.iter().map(|sample| &sample.latents);
        let (drawn, natural) =
            (nearest(&latents, learned())?, nearest(&wanted.latents, learned())?);
        Ok(drawn.zip(natural).map(|(drawn, natural)| Likeness { drawn, natural }))
    }

    /// Takes the weights that are worth keeping; returns their step.
    fn choose_weights(&self, outcome: Outcome, watch: Watcher) -> TrainResult<usize> {
        let dir = self.job.run_dir.join(BEST);
        let best = self.observations.best().filter(|step| *step != self.step);
        if let Some(step) =
            best.filter(|_| self.job.recipe.keep_best && outcome == Outcome::Finished)
        {
            let (tensors, _) = checkpoint::load_from::<usize>(&dir)?;
            self.set_weights(&tensors, &dir)?;
            let text = format!("Kept step {step}, the best at what it has not seen.");
            watch(TrainEvent::Note(Remark::new("kept-step", text).with("step", step)));
            return Ok(step);
        }
        self.use_average()?;
        Ok(self.step)
    }

    /// Writes the adapter folder.
    fn export(&self, outcome: Outcome, watch: Watcher) -> TrainResult<()> {
        let step = self.choose_weights(outcome, watch)?;
        let vars = self.lora_vars.iter().chain(&self.gen_vars);
        let learned = vars.map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        save_sft(self.job, &learned, self.model.base_hash(), &self.material, step)
    }
}

/// What the batches of a step come to.
#[derive(Debug, Default)]
struct Sums {
    grads: Option<GradStore>,
    loss: f64,
    ce: Mean,
    mse: Mean,
}

/// A mean of what there is.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        self.sum += value.unwrap_or(0.);
        self.count += usize::from(value.is_some());
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn scalar(tensor: &Tensor) -> Result<f64, candle_core::Error> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}

/// Σ weight · part, divided by the batches of a step; none without parts.
fn weighted_sum(
    parts: [(&Option<Tensor>, f64); 2],
    batches: usize,
) -> Result<Option<Tensor>, candle_core::Error> {
    let mut sum: Option<Tensor> = None;
    for (part, weight) in parts {
        let Some(part) = part else { continue };
        let part = (part * (weight / batches as f64))?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    Ok(sum)
}

/// Tensors whose names start with `prefix`, without it.
fn with_prefix(tensors: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let of = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
    };
    tensors.iter().filter_map(of).collect()
}

/// Deep copies, which later steps do not change.
fn copies(tensors: HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>, candle_core::Error> {
    tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
}

/// Held-out texts that are validated on.
pub(crate) const HELD_TEXTS: usize = 16;
/// Held-out pictures that are validated on.
pub(crate) const HELD_PICTURES: usize = 6;
/// Times at which held-out pictures are noised.
pub(crate) const HELD_TIMES: [f64; 3] = [0.9, 0.7, 0.4];
/// Seed of the held-out noise, the same in every run so that runs compare.
const HELD_SEED: u64 = 20_605;
/// Replies sampled while training.
pub(crate) const SAMPLED_REPLIES: usize = 2;
/// Learned pictures sampled while training, besides a held-out one.
pub(crate) const SAMPLED_PICTURES: usize = 2;
/// Longest sampled reply.
pub(crate) const SAMPLE_TOKENS: usize = 60;

/// Mean text loss of samples in one packed pass.
fn mean_ce(model: &Model, samples: &[&TextSample]) -> TrainResult<Option<Tensor>> {
    if samples.is_empty() {
        return Ok(None);
    }
    let blocks: Vec<Vec<SequenceBlock>> = samples.iter().map(|s| s.blocks.clone()).collect();
    let special = model.tokenizer().special();
    let losses = sequence_loss_sharing_starts(model.network(), special, &blocks)?;
    Ok(losses.ce.map(|ce| ce.mean_all()).transpose()?)
}

/// Mean flow loss of pictures behind their conditions at [`HELD_TIMES`], with the same noise in every run.
fn fixed_flow_loss<'a>(
    model: &Model,
    pictures: impl Iterator<Item = (&'a PictureSample, &'a Context)>,
) -> TrainResult<f64> {
    let mut items = Vec::new();
    for (index, (sample, context)) in pictures.enumerate() {
        for (slot, time) in HELD_TIMES.into_iter().enumerate() {
            let key = (index * HELD_TIMES.len() + slot) as u64;
            let noise = Noise::new(HELD_SEED, Stream::TrainingNoise, key)
                .normal_tensor(sample.latents.shape(), sample.latents.device())?;
            items.push((sample, context, FlowTarget { noise, time }));
        }
    }
    Ok(f64::from(mean_flow_loss(model, &items)?.detach().to_scalar::<f32>()?))
}

/// Pictures of each kind that [`unlikeness`] looks at, and those in a pass.
const COMPARED_PICTURES: usize = 12;
const COMPARED_AT_ONCE: usize = 4;

/// How many times the flow loss of what is to be learned is that of the base's own pictures, without
/// captions: about 1 for pictures of their kind. `None` where the base brings none.
fn unlikeness(model: &Model, data: &TrainingData) -> TrainResult<Option<f64>> {
    if data.pictures.is_empty() || data.rehearsal.is_empty() {
        return Ok(None);
    }
    let empty = Context::new();
    let mean_loss = |samples: &[PictureSample]| {
        let apart = samples.len().div_ceil(COMPARED_PICTURES);
        let some: Vec<_> = samples.iter().step_by(apart).collect();
        let mut sum = 0.;
        for samples in some.chunks(COMPARED_AT_ONCE) {
            let pictures = samples.iter().map(|sample| (*sample, &empty));
            sum += fixed_flow_loss(model, pictures)? * samples.len() as f64;
        }
        TrainResult::Ok(sum / some.len() as f64)
    };
    let (new, own) = (mean_loss(&data.pictures)?, mean_loss(&data.rehearsal)?);
    Ok(Some(new / own.max(f64::MIN_POSITIVE)))
}

/// Mean flow loss of pictures in front of their conditions, in one pass.
fn mean_flow_loss(
    model: &Model,
    items: &[(&PictureSample, &Context, FlowTarget)],
) -> TrainResult<Tensor> {
    let mut noised = Vec::with_capacity(items.len());
    let mut wanted = Vec::with_capacity(items.len());
    for (sample, _, target) in items {
        let clean = sample.latents.affine(1. - target.time, 0.)?;
        noised.push((clean + target.noise.affine(target.time, 0.)?)?);
        wanted.push((&target.noise - &sample.latents)?);
    }
    let queries: Vec<FlowQuery> = items
        .iter()
        .zip(&noised)
        .map(|((sample, context, target), tokens)| FlowQuery {
            latents: LatentInput {
                tokens,
                time: target.time,
                rows: sample.rows,
                columns: sample.columns,
            },
            context,
        })
        .collect();
    let got = Tensor::cat(&model.reader().velocities(&queries)?, 0)?;
    Ok((got - Tensor::cat(&wanted, 0)?)?.sqr()?.mean_all()?)
}

/// Reads the captions of pictures; what several begin with, as a description of the character, once.
fn read_conditions(
    model: &Model,
    pictures: &[PictureSample],
) -> TrainResult<HashMap<usize, Context>> {
    let texts: Vec<&[u32]> = pictures.iter().map(|sample| sample.ids.as_slice()).collect();
    let mut conditions = HashMap::new();
    read_sharing_starts(model.reader(), &texts, |index, mut context| {
        context.keep_for_drawing(model.network())?;
        conditions.insert(index, context);
        Ok(())
    })?;
    Ok(conditions)
}

/// Sets variables to `values` where given and returns what they held.
fn swap(
    vars: &BTreeMap<String, Var>,
    values: &HashMap<String, Tensor>,
) -> TrainResult<HashMap<String, Tensor>> {
    let mut before = HashMap::new();
    for (name, var) in vars {
        before.insert(name.clone(), var.as_tensor().copy()?);
        if let Some(value) = values.get(name) {
            var.set(value)?;
        }
    }
    Ok(before)
}

/// The user's line within a role-play prompt, for display.
fn last_line_of_user(prompt: &str) -> String {
    let after = prompt.rsplit_once("User Input: ").map_or(prompt, |(_, rest)| rest);
    after.split("\n\n").next().unwrap_or(after).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::LoraConfig;

    #[test]
    fn every_kind_of_weight_has_its_rate() {
        let lora = LoraConfig { learning_rate: 1e-3, gen_rate: 2., ..LoraConfig::default() };
        let recipe = SftRecipe { lora, gen_learning_rate: 5e-4, ..SftRecipe::default() };
        let rate = |name| peak_rate(&recipe, 1.5, &format!("language_model.model.layers.2.{name}"));
        assert_eq!(rate("self_attn.q_proj.lora_A"), 1e-3);
        assert_eq!(rate("self_attn.q_proj_moe_gen.lora_B"), 3e-3);
        assert_eq!(rate("self_attn.q_proj_moe_gen.weight"), 5e-4);
    }
}
