//! The vision tower and its text tower, from pictures with captions and statements.
//!
//! Both sides learn to agree where a text is true of a picture and to disagree elsewhere, each pair
//! by itself through a sigmoid. Besides its own caption, every picture brings the statements of its
//! attributes, and a statement is true of every picture of the batch that has that attribute.
//!
//! Place and background alone tell most captions of a batch apart, and of a statement the sigmoid
//! learns first what kind of picture it is said of. So each statement also has to win against the
//! other values of its attribute, through a softmax over those that the batch holds. Whether colours
//! of hair and clothes are learned hangs on the picture's side, though: with the mean of its patches
//! they were guessed after 500 steps as after 1900 without the softmax; with a projection that has
//! weights for every place ([`PatchPooling::Places`](troupe_model::scorer::PatchPooling)) clothes were
//! right in 72 % of 12 colours after 200.
//!
//! The text tower is a small transformer over the understanding expert's frozen token embeddings. Its
//! alternative, pooled hidden states of a frozen middle layer, binds words as well, but costs a pass
//! through a third of the understanding expert for every text: more than the whole picture side here,
//! in training and again in every use as a scorer. On descriptions of pictures two trained layers
//! bind colours to parts soon enough.
//!
//! Beside all this the connector learns to say in words what is stated of the picture, without a pass
//! through the language model (module `words`).
//!
//! Source: SigLIP (arXiv:2303.15343, sec. 3.2 and algorithm 1).
//! Shapes: b = pictures, m = texts, d = width of the common space.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};
use troupe_model::{
    config::ModelConfig,
    error::ModelError,
    runtime::ModelFiles,
    scorer::{BIAS_TENSOR, DualEncoder, Embedder, SCALE_TENSOR, SCORER_PREFIX},
    vit::Connector,
    weights::SIGHT_PREFIX,
};

use super::{
    data::{Asked, PictureSet, read_questions},
    run::{RunSettings, Stage, StepLoss, Trainer, write_half},
    words::Words,
};
use crate::{
    data::Deck,
    error::TrainResult,
    events::{Outcome, RunPhase, TrainEvent, Watcher},
};

/// File of the exported tower, scorer and connector, in a run and in a base.
pub const VISION_FILE: &str = "vision.safetensors";
/// Prefix of the tower's tensors.
pub(crate) const TOWER_PREFIX: &str = "vit_model.";
/// Prefix of the connector's tensors.
pub(crate) const CONNECTOR_PREFIX: &str = "connector.";
/// Position table of the vision tokens in the language model.
pub(crate) const POSITIONS_TENSOR: &str = "vit_pos_embed.pos_embed";
/// Whether a tensor leads from the tower to the language model.
pub(crate) fn is_connecting(name: &str) -> bool {
    name.starts_with(CONNECTOR_PREFIX) || name == POSITIONS_TENSOR
}
/// Initial factor of the similarities and initial offset of the logits. The paper's offset, −10, is
/// for batches of thousands, where nearly every pair is false.
const INITIAL_SCALE: f32 = 10.;
const INITIAL_BIAS: f32 = -5.;
/// How much faster than the weights those two numbers move.
const SCALAR_RATE: f64 = 10.;
/// The same for the connector, which has to tell hundreds of words apart with two layers.
const CONNECTING_RATE: f64 = 4.;
/// Captions that a picture's own has to be found among.
const RETRIEVAL: usize = 100;
/// Everything that determines a run of this stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VisionJob {
    /// What all stages are told.
    pub settings: RunSettings,
    /// Pictures per step (b).
    pub pictures: usize,
    /// Whether the base's own towers and connector go on learning instead of fresh ones.
    pub goes_on: bool,
}

impl Default for VisionJob {
    fn default() -> Self {
        let settings = RunSettings {
            num_steps: 2000,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            ema_decay: 0.99,
            ..RunSettings::default()
        };
        Self { settings, pictures: 64, goes_on: false }
    }
}

/// How well held-out pictures and texts find each other.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VisionMeasure {
    /// Captions that each picture's own was looked for among.
    pub among: usize,
    /// Share of pictures whose own caption came first.
    pub caption_of_picture: f64,
    /// Share of captions whose own picture came first.
    pub picture_of_caption: f64,
    /// By attribute: share of pictures for which the true statement came first, and the number of
    /// statements it was chosen from.
    pub statements: BTreeMap<String, (f64, usize)>,
}

impl std::fmt::Display for VisionMeasure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |share: f64| format!("{:.1} %", share * 100.);
        write!(
            f,
            "held-out retrieval among {}: caption {}, picture {}; statements",
            self.among,
            percent(self.caption_of_picture),
            percent(self.picture_of_caption)
        )?;
        self.statements.iter().try_for_each(|(about, (share, among))| {
            write!(f, ", {about} {} of {among}", percent(*share))
        })
    }
}

struct Vision<'a> {
    job: &'a VisionJob,
    encoder: DualEncoder,
    connecting: Connecting,
    words: Words,
    pictures: PictureSet,
    asked: Vec<Asked>,
    held: HeldOut,
}

impl Vision<'_> {
    /// For how many held-out pictures the connector says the right words, by attribute.
    fn said(&mut self) -> TrainResult<String> {
        let mut tokens = Vec::new();
        for start in (0..self.held.pictures.len()).step_by(self.job.pictures.max(1)) {
            let mut pixels = Vec::new();
            for index in start..(start + self.job.pictures).min(self.held.pictures.len()) {
                pixels.push(self.encoder.pixels(&self.held.pictures.picture(index)?)?);
            }
            let features = self.encoder.picture_features(&pixels)?;
            tokens.push(self.connecting.tokens(&features)?.detach());
        }
        let right = self.words.right(&Tensor::cat(&tokens, 0)?, &self.held.asked)?;
        let listed = |(about, (right, all)): (String, (usize, usize))| {
            format!(", {about} {:.1} % of {all}", 100. * right as f64 / all.max(1) as f64)
        };
        Ok(right.into_iter().map(listed).collect())
    }
}

/// The connector as it enters the language model.
struct Connecting {
    connector: Connector,
    positions: Tensor, // (side², h)
    places: Tensor,    // (n), rows of the table
}

impl Connecting {
    /// Vision tokens (b, n, h) of features (b, n, w).
    fn tokens(&self, features: &Tensor) -> Result<Tensor> {
        let (b, n, w) = features.dims3()?;
        let (connected, _) = self.connector.forward(&features.reshape((b * n, w))?)?;
        let positions = self.positions.index_select(&self.places, 0)?;
        connected.reshape((b, n, ()))?.broadcast_add(&positions)
    }
}

/// What is kept back.
struct HeldOut {
    pictures: PictureSet,
    asked: Vec<Asked>,
}

impl HeldOut {
    fn open(dir: &Path, size: u32) -> TrainResult<Self> {
        let pictures = PictureSet::open(dir, size)?;
        let asked = read_questions(dir, pictures.len())?;
        Ok(Self { pictures, asked })
    }
}

/// Everything that looks at pictures, to be trained, and all of its variables.
type Towers = (DualEncoder, Connecting, BTreeMap<String, Var>);

/// The towers and the connector of a base: what its files hold of them when they are to go on, fresh
/// ones otherwise.
///
/// Positions of vision tokens are learned, from 0 on: fixed ones are sines and cosines, beside which
/// a small language model's words would be faint (√(h / 2) long, some seven words).
fn towers(dir: &Path, seed: u64, goes_on: bool) -> TrainResult<Towers> {
    let is_ours = |name: &str| {
        [TOWER_PREFIX, CONNECTOR_PREFIX, SCORER_PREFIX].iter().any(|part| name.starts_with(part))
    };
    let cfg = ModelConfig::from_dir(dir)?;
    let (h, side) = (cfg.llm_config.hidden_size, cfg.vit_max_num_patch_per_side);
    let mut source = ModelFiles::find(dir)?.source()?;
    let goes_on = goes_on && source.shapes().contains_key(SCALE_TENSOR);
    if !goes_on || !source.shapes().contains_key(POSITIONS_TENSOR) {
        let zeros = Tensor::zeros((side * side, h), DType::F32, &Device::Cpu)?;
        source = source.memory([(POSITIONS_TENSOR.to_owned(), zeros)].into());
    }
    let weights = Arc::new(
        source
            .hiding(move |name| is_ours(name) && !goes_on)
            .fresh(seed, is_ours)
            .trainable(move |name| is_ours(name) || name == POSITIONS_TENSOR),
    );
    let encoder = DualEncoder::from_weights(dir, &weights)?;
    let vb = weights.builder(DType::F32, &Device::Cpu);
    let w = cfg.vit_config.hidden_size;
    let patches = (cfg.vit_config.image_size / cfg.vit_config.patch_size) as u32;
    let places: Vec<u32> =
        (0..patches).flat_map(|row| (0..patches).map(move |c| row * side as u32 + c)).collect();
    let connecting = Connecting {
        connector: Connector::load(w, h, &cfg.deep_connector_layers, vb.pp("connector"))?,
        positions: vb.get((side * side, h), POSITIONS_TENSOR)?,
        places: Tensor::new(places, &Device::Cpu)?,
    };
    let vars = weights.vars();
    let scalar = |name: &str, value: f32| match vars.get(name) {
        Some(var) => var.set(&Tensor::full(value, var.shape(), var.device())?),
        None => Ok(()),
    };
    if !goes_on {
        scalar(SCALE_TENSOR, INITIAL_SCALE.ln())?;
        scalar(BIAS_TENSOR, INITIAL_BIAS)?;
    }
    Ok((encoder, connecting, vars))
}

fn picture_side(config: &ModelConfig) -> u32 {
    config.picture_size as u32
}

/// Runs or resumes the stage. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, pictures or run folder are unusable, or the loss diverges. Checkpoints stay.
pub fn run(job: &VisionJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(RunPhase::LoadingBase.into());
    let settings = &job.settings;
    let (encoder, connecting, vars) = towers(&settings.model_dir, settings.seed, job.goes_on)?;
    let size = picture_side(encoder.config());
    let pictures = PictureSet::open(&settings.data_dir, size)?;
    let asked = read_questions(&settings.data_dir, pictures.len())?;
    let held = HeldOut::open(&settings.held_dir, size)?;
    let words = Words::new(&encoder, &asked, connecting.places.dim(0)?)?;
    let rate = |name: &str| match name {
        SCALE_TENSOR | BIAS_TENSOR => SCALAR_RATE,
        name if is_connecting(name) => CONNECTING_RATE,
        _ => 1.,
    };
    let mut trainer = Trainer::new(settings, vars, pictures.len(), rate)?;
    let mut stage = Vision { job, encoder, connecting, words, pictures, asked, held };
    let outcome = trainer.train(&mut stage, watch)?;
    let mut tensors = trainer.averages()?;
    let before = settings.model_dir.join(VISION_FILE);
    if job.goes_on && before.exists() {
        let kept = candle_core::safetensors::load(&before, &Device::Cpu)?;
        tensors.extend(kept.into_iter().filter(|(name, _)| name.starts_with(SIGHT_PREFIX)));
    }
    write_half(&tensors, &settings.run_dir.join(VISION_FILE))?;
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

/// Measures the towers that a base holds on the pictures of `held_dir`.
///
/// # Errors
/// When the base holds none, or the pictures are unusable.
pub fn measure(model_dir: &Path, held_dir: &Path) -> TrainResult<VisionMeasure> {
    let encoder = DualEncoder::load(model_dir)?;
    let mut held = HeldOut::open(held_dir, picture_side(encoder.config()))?;
    measure_on(&encoder, &mut held)
}

impl Stage for Vision<'_> {
    fn loss(&mut self, step: usize, deck: &mut Deck) -> TrainResult<StepLoss> {
        let (seed, batch) = (self.job.settings.seed, self.job.pictures);
        let chosen: Vec<usize> = (0..batch).filter_map(|_| deck.draw()).collect();
        let (mut pixels, mut texts) = (Vec::new(), Vec::new());
        for (slot, index) in chosen.iter().enumerate() {
            let key = (step * batch + slot) as u64;
            pixels.push(self.encoder.pixels(&self.pictures.perhaps_mirrored(*index, seed, key)?)?);
            texts.push(self.encoder.tokens(self.pictures.caption(*index))?);
        }
        let asked: Vec<&Asked> = chosen.iter().map(|index| &self.asked[*index]).collect();
        let statements = statements(&asked);
        for (_, statement) in &statements {
            texts.push(self.encoder.tokens(statement)?);
        }
        let features = self.encoder.picture_features(&pixels)?;
        let pictures = self.encoder.picture_vectors(&features)?;
        let logits = self.encoder.logits(&pictures, &self.encoder.text_vectors(&texts)?)?;
        let truth = truth(&asked, &statements, logits.device())?;
        let of_statements = logits.narrow(1, asked.len(), statements.len())?;
        let values = value_loss(&of_statements, &asked, &statements)?;
        let words = self.words.loss(&self.connecting.tokens(&features)?, &asked)?;
        let loss = ((sigmoid_loss(&logits, &truth)? + values)? + words)?;
        Ok(StepLoss { loss, is_text: false })
    }

    fn observe(&mut self, step: usize, watch: Watcher) -> TrainResult<()> {
        let measured = measure_on(&self.encoder, &mut self.held)?;
        let said = self.said()?;
        watch(TrainEvent::Note(format!("step {step}: {measured}; words{said}").into()));
        Ok(())
    }
}

/// What is true of any of the pictures, each different text once: (attribute, statement), in order.
fn statements(asked: &[&Asked]) -> Vec<(String, String)> {
    let all: BTreeSet<_> = asked.iter().flat_map(|asked| &asked.statements).collect();
    all.into_iter().map(|(about, statement)| (about.clone(), statement.clone())).collect()
}

/// Signs (b, b + statements): +1 where a text is true of a picture, −1 elsewhere. The first b texts
/// are the pictures' own captions.
fn truth(asked: &[&Asked], statements: &[(String, String)], device: &Device) -> Result<Tensor> {
    let (b, width) = (asked.len(), asked.len() + statements.len());
    let mut signs = vec![-1f32; b * width];
    for (row, asked) in asked.iter().enumerate() {
        signs[row * width + row] = 1.;
        for (column, (about, statement)) in statements.iter().enumerate() {
            if asked.statements.get(about) == Some(statement) {
                signs[row * width + b + column] = 1.;
            }
        }
    }
    Tensor::from_vec(signs, (b, width), device)
}

/// Sum over texts and mean over pictures of −ln σ(sign · logit).
fn sigmoid_loss(logits: &Tensor, signs: &Tensor) -> Result<Tensor> {
    let wrong = (logits * signs)?.neg()?; // (b, m)
    // ln(1 + eˣ) without overflow.
    let softplus = (wrong.relu()? + (wrong.abs()?.neg()?.exp()? + 1.)?.log()?)?;
    softplus.sum_all()? / logits.dim(0)? as f64
}

/// Sum over attributes of the mean cross-entropy of the true statement among those of its attribute.
/// `logits` are (b, statements); an attribute with a single value in the batch has no loss.
fn value_loss(
    logits: &Tensor,
    asked: &[&Asked],
    statements: &[(String, String)],
) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F32, logits.device())?;
    let mut start = 0;
    for values in statements.chunk_by(|a, b| a.0 == b.0) {
        let about = &values[0].0;
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for (row, asked) in asked.iter().enumerate() {
            let value = asked.statements.get(about);
            if let Some(value) = values.iter().position(|(_, text)| Some(text) == value) {
                rows.push(row as u32);
                truth.push(value as u32);
            }
        }
        if values.len() > 1 {
            let num = rows.len();
            let rows = Tensor::from_vec(rows, num, logits.device())?;
            let truth = Tensor::from_vec(truth, num, logits.device())?;
            let of_attribute = logits.narrow(1, start, values.len())?.contiguous()?;
            let of_attribute = of_attribute.index_select(&rows, 0)?;
            sum = (sum + candle_nn::loss::cross_entropy(&of_attribute, &truth)?)?;
        }
        start += values.len();
    }
    Ok(sum)
}

fn measure_on(encoder: &DualEncoder, held: &mut HeldOut) -> TrainResult<VisionMeasure> {
    let num = held.pictures.len();
    let mut pictures = Vec::new();
    for index in 0..num {
        pictures.push(held.pictures.picture(index)?);
    }
    let pictures = encoder.embed_pictures(&pictures)?; // (num, d)
    let captions: Vec<String> = (0..num).map(|i| held.pictures.caption(i).to_owned()).collect();
    let captions = encoder.embed_texts(&captions)?;
    let among = RETRIEVAL.min(num);
    let (mut captions_found, mut pictures_found, mut tried) = (0, 0, 0);
    for start in (0..=num - among).step_by(among) {
        let (p, c) = (pictures.narrow(0, start, among)?, captions.narrow(0, start, among)?);
        let likeness = p.matmul(&c.t()?)?;
        captions_found += num_on_diagonal(&likeness)?;
        pictures_found += num_on_diagonal(&likeness.t()?.contiguous()?)?;
        tried += among;
    }
    Ok(VisionMeasure {
        among,
        caption_of_picture: captions_found as f64 / tried as f64,
        picture_of_caption: pictures_found as f64 / tried as f64,
        statements: measure_statements(encoder, &held.asked, &pictures)?,
    })
}

/// Rows whose largest value is on the diagonal.
fn num_on_diagonal(likeness: &Tensor) -> TrainResult<usize> {
    let best = likeness.argmax(1)?.to_vec1::<u32>()?;
    Ok(best.iter().enumerate().filter(|(row, best)| *row == **best as usize).count())
}

/// Which statement of an attribute is nearest to each of some pictures.
pub(super) struct Nearest {
    /// The statements that there are.
    pub(super) values: Vec<String>,
    /// For every picture, the place of the nearest among them.
    pub(super) places: Vec<usize>,
}

/// The nearest statements to `pictures` (b, d) by attribute, of all that `asked` knows.
pub(super) fn nearest_statements(
    encoder: &DualEncoder,
    asked: &[Asked],
    pictures: &Tensor,
) -> TrainResult<BTreeMap<String, Nearest>> {
    let mut by_attribute: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (about, statement) in asked.iter().flat_map(|asked| &asked.statements) {
        by_attribute.entry(about.clone()).or_default().insert(statement);
    }
    let nearest = |(about, values): (String, BTreeSet<&str>)| {
        let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        let vectors = encoder.embed_texts(&values)?;
        let places = pictures.matmul(&vectors.t()?)?.argmax(1)?.to_vec1::<u32>()?;
        Ok((about, Nearest { values, places: places.into_iter().map(|p| p as usize).collect() }))
    };
    by_attribute.into_iter().map(nearest).collect()
}

fn measure_statements(
    encoder: &DualEncoder,
    asked: &[Asked],
    pictures: &Tensor,
) -> TrainResult<BTreeMap<String, (f64, usize)>> {
    let share = |(about, Nearest { values, places }): (String, Nearest)| {
        let (mut right, mut tried) = (0, 0);
        for (asked, place) in asked.iter().zip(places) {
            let Some(truth) = asked.statements.get(&about) else { continue };
            right += usize::from(values[place] == *truth);
            tried += 1;
        }
        (about, (right as f64 / f64::from(tried.max(1)), values.len()))
    };
    Ok(nearest_statements(encoder, asked, pictures)?.into_iter().map(share).collect())
}

/// What a folder without a trained tower is told.
pub(crate) fn needs_tower(dir: &Path) -> ModelError {
    ModelError::Malformed {
        what: "the model folder",
        reason: "no file in it holds a vision tower; train one with `troupe pretrain vision`"
            .into(),
        path: dir.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use troupe_nn::noise::{Noise, Stream};

    use super::*;

    #[test]
    fn the_loss_is_the_sum_of_the_logistic_losses() -> Result<()> {
        // Two pictures, one text: ln(1 + e⁻²) for a true pair at 2, ln(1 + e¹) for a false one at 1.
        let logits = Tensor::new(&[[2f32], [1.]], &Device::Cpu)?;
        let signs = Tensor::new(&[[1f32], [-1.]], &Device::Cpu)?;
        let want = ((1. + (-2f32).exp()).ln() + (1. + 1f32.exp()).ln()) / 2.;
        let got = sigmoid_loss(&logits, &signs)?.to_scalar::<f32>()?;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
        Ok(())
    }

    #[test]
    fn gradients_reach_every_weight_of_both_towers() -> TrainResult<()> {
        for pooling in ["mean", "places"] {
            gradients_reach_every_weight(pooling)?;
        }
        Ok(())
    }

    fn gradients_reach_every_weight(pooling: &str) -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        troupe_testkit::write_tiny_model(dir.path());
        let config = dir.path().join("config.json");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["scorer_config"]["patch_pooling"] = pooling.into();
        std::fs::write(&config, value.to_string()).expect("writable");
        let (encoder, _, vars) = towers(dir.path(), 3, false)?;
        let pixels: Vec<Tensor> = (1..4)
            .map(|seed| {
                Noise::new(seed, Stream::InitialNoise, 0).normal_tensor((3, 32, 32), &Device::Cpu)
            })
            .collect::<Result<_>>()?;
        let texts = ["a cat", "two dogs", "red"].map(|text| encoder.tokens(text));
        let texts: Vec<Vec<u32>> = texts.into_iter().collect::<std::result::Result<_, _>>()?;
        let (pictures, texts) = (
            encoder.picture_vectors(&encoder.picture_features(&pixels)?)?,
            encoder.text_vectors(&texts)?,
        );
        let logits = encoder.logits(&pictures, &texts)?;
        let signs = Tensor::eye(3, DType::F32, &Device::Cpu)?.affine(2., -1.)?;
        let grads = sigmoid_loss(&logits, &signs)?.backward()?;
        assert!(vars.keys().any(|name| name.starts_with(TOWER_PREFIX)));
        // A key's bias adds the same to every score of a query, which softmax takes out.
        let of_towers = |name: &str| !name.ends_with("k_proj.bias") && !is_connecting(name);
        for (name, var) in vars.iter().filter(|(name, _)| of_towers(name)) {
            let grad = grads.get(var).map(|grad| grad.abs()?.sum_all()?.to_scalar::<f32>());
            let size = grad.transpose()?;
            assert!(size.is_some_and(|size| size.is_finite() && size > 0.), "{name}: {size:?}");
        }
        Ok(())
    }

    #[test]
    fn a_statement_is_true_of_every_picture_that_it_fits() -> Result<()> {
        let asked = |hair: &str| Asked {
            statements: [("hair".to_owned(), hair.to_owned())].into(),
            ..Asked::default()
        };
        let all = [asked("red"), asked("blue"), asked("red")];
        let all: Vec<&Asked> = all.iter().collect();
        let chosen = statements(&all);
        assert_eq!(chosen.len(), 2, "blue and red, each once");
        let signs = truth(&all, &chosen, &Device::Cpu)?.to_vec2::<f32>()?;
        assert_eq!(signs[0], [1., -1., -1., -1., 1.]);
        assert_eq!(signs[1], [-1., 1., -1., 1., -1.]);
        Ok(())
    }

    #[test]
    fn a_statement_competes_with_the_values_of_its_attribute() -> Result<()> {
        let asked = |facts: &[(&str, &str)]| Asked {
            statements: facts.iter().map(|(a, s)| ((*a).to_owned(), (*s).to_owned())).collect(),
            ..Asked::default()
        };
        let all =
            [asked(&[("hair", "red"), ("hat", "none")]), asked(&[("hair", "blue")]), asked(&[])];
        let all: Vec<&Asked> = all.iter().collect();
        let statements = statements(&all); // hair blue, hair red, hat none
        let logits = Tensor::new(&[[1f32, 3., -9.], [0., 1., 9.], [5., -5., 9.]], &Device::Cpu)?;
        // ln(1 + e⁻²) for red by two, ln(1 + e¹) for blue against by one; one kind of hat says nothing.
        let want = ((1. + (-2f32).exp()).ln() + (1. + 1f32.exp()).ln()) / 2.;
        let got = value_loss(&logits, &all, &statements)?.to_scalar::<f32>()?;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
        Ok(())
    }
}
