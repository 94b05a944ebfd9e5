//! Where tensors come from: safetensors and GGUF files, memory, fresh initial values.
//!
//! [`Weights`] answers the loaders' requests through candle's `VarBuilder`, notes what was asked
//! for, and after loading tells exactly which tensors were missing, unexpected or misshapen.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{
    DType, Device, Result, Shape, Tensor, Var, quantized::QTensor, safetensors::MmapedSafetensors,
};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use troupe_nn::noise::{Noise, Stream};

use crate::{
    error::{ModelError, ModelResult, WeightMismatch},
    gguf::GgufFile,
};

/// One place that holds tensors.
enum Source {
    File { tensors: Box<MmapedSafetensors>, names: BTreeMap<String, String> }, // ours → the file's
    Gguf(Box<GgufFile>),
    Memory(HashMap<String, Tensor>),
}

impl Source {
    fn names(&self) -> Vec<String> {
        match self {
            Self::File { names, .. } => names.keys().cloned().collect(),
            Self::Gguf(file) => file.names(),
            Self::Memory(tensors) => tensors.keys().cloned().collect(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::File { names, .. } => names.contains_key(name),
            Self::Gguf(file) => file.names().iter().any(|n| n == name),
            Self::Memory(tensors) => tensors.contains_key(name),
        }
    }

    /// Shape and type of every tensor.
    fn shapes(&self) -> BTreeMap<String, (Vec<usize>, String)> {
        match self {
            Self::File { tensors, .. } => tensors
                .tensors()
                .into_iter()
                .map(|(name, view)| {
                    (prefixed(name), (view.shape().to_vec(), view.dtype().to_string()))
                })
                .collect(),
            Self::Gguf(file) => file.shapes(),
            Self::Memory(tensors) => tensors
                .iter()
                .map(|(n, t)| (n.clone(), (t.dims().to_vec(), t.dtype().as_str().to_owned())))
                .collect(),
        }
    }

    fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        match self {
            Self::File { tensors, names } => {
                tensors.load(names.get(name).map_or(name, String::as_str), device)
            }
            Self::Gguf(file) => file.dequantize(name, device),
            Self::Memory(tensors) => match tensors.get(name) {
                Some(tensor) => tensor.to_device(device),
                None => Err(candle_core::Error::CannotFindTensor { path: name.into() }.bt()),
            },
        }
    }
}

/// The checkpoint's name of a tensor: files that hold only the language model, as the reference's
/// stage 2 writes them, leave its prefix out.
fn prefixed(name: String) -> String {
    if name.starts_with("model.") || name.starts_with("lm_head.") {
        format!("language_model.{name}")
    } else {
        name
    }
}

type Chooser = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// What loading found and made.
#[derive(Default)]
struct Ledger {
    used: BTreeSet<String>,
    mismatch: WeightMismatch,
    fresh: Vec<String>,
    vars: BTreeMap<String, Var>,
    cache: HashMap<String, Tensor>,
    recorded: BTreeMap<String, Vec<usize>>,
}

/// Tensors for a network, with a record of what the network asked for.
///
/// Later sources win over earlier ones, so a trained part can lie over a base.
pub struct Weights {
    sources: Vec<Source>,
    trainable: Option<Chooser>,
    fresh: Option<(Chooser, u64)>,
    hidden: Option<Chooser>,
    is_recorder: bool,
    leaves_blocks: Option<Chooser>,
    ledger: Mutex<Ledger>,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::new()
    }
}

impl Weights {
    /// No sources yet.
    pub fn new() -> Self {
        Self {
            sources: Vec::new(),
            trainable: None,
            fresh: None,
            hidden: None,
            is_recorder: false,
            leaves_blocks: None,
            ledger: Mutex::default(),
        }
    }

    /// Adds a safetensors file, memory-mapped.
    ///
    /// # Errors
    /// When the file cannot be read or is truncated.
    pub fn file(mut self, path: &Path) -> ModelResult<Self> {
        std::fs::File::open(path).map_err(|source| ModelError::Io {
            what: "the model's weights",
            source,
            path: path.to_path_buf(),
        })?;
        #[expect(unsafe_code, reason = "mapping a file; Troupe never writes to a mapped file")]
        // SAFETY: weights are replaced by renaming a new file over them, never written in place.
        let mapped = unsafe { MmapedSafetensors::new(path) };
        let tensors = mapped.map_err(|e| ModelError::Malformed {
            what: "the weight file",
            reason: format!("{}; it may be incomplete: copy or download it again", pathless(&e)),
            path: path.to_path_buf(),
        })?;
        let names =
            tensors.tensors().into_iter().map(|(name, _)| (prefixed(name.clone()), name)).collect();
        self.sources.push(Source::File { tensors: Box::new(tensors), names });
        Ok(self)
    }

    /// Adds a GGUF file, whose tensors are renamed to the checkpoint's vocabulary.
    ///
    /// # Errors
    /// When the file cannot be read or is truncated.
    pub fn gguf(mut self, path: &Path) -> ModelResult<Self> {
        self.sources.push(Source::Gguf(Box::new(GgufFile::open(path)?)));
        Ok(self)
    }

    /// Adds tensors from memory.
    pub fn memory(mut self, tensors: HashMap<String, Tensor>) -> Self {
        self.sources.push(Source::Memory(tensors));
        self
    }

    /// Answers every request with a tensor without storage and records what was asked for.
    pub fn recorder() -> Self {
        Self { is_recorder: true, ..Self::new() }
    }

    /// Names and shapes that were asked of a recorder.
    pub fn recorded(&self) -> BTreeMap<String, Vec<usize>> {
        self.ledger().recorded.clone()
    }

    /// Shape and type of every tensor that the sources hold; later sources win.
    pub fn shapes(&self) -> BTreeMap<String, (Vec<usize>, String)> {
        self.sources.iter().flat_map(Source::shapes).collect()
    }

    /// Tensors chosen by `chooser` become trainable variables.
    pub fn trainable(mut self, chooser: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.trainable = Some(Box::new(chooser));
        self
    }

    /// Tensors chosen by `chooser` count as missing, whatever the sources hold.
    pub fn hiding(mut self, chooser: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.hidden = Some(Box::new(chooser));
        self
    }

    /// Missing tensors chosen by `chooser` get initial values drawn from `seed` instead of being
    /// reported.
    pub fn fresh(
        mut self,
        seed: u64,
        chooser: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.fresh = Some((Box::new(chooser), seed));
        self
    }

    /// Tensors chosen by `chooser` that are stored in quantised blocks are checked for their shape but
    /// not dequantised: the builder hands out a placeholder, and the caller takes the
    /// [`blocks`](Self::blocks) instead.
    pub fn leave_blocks(mut self, chooser: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.leaves_blocks = Some(Box::new(chooser));
        self
    }

    /// A tensor as it is stored, when the winning source stores it in quantised blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn blocks(&self, name: &str, device: &Device) -> Result<Option<QTensor>> {
        match self.sources.iter().rev().find(|source| source.contains(name)) {
            Some(Source::Gguf(file)) => file.blocks(name, device),
            _ => Ok(None),
        }
    }

    /// Shares the weights with a `VarBuilder` that hands tensors to the loaders.
    pub fn builder(self: &Arc<Self>, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Shared(self.clone())), dtype, device.clone())
    }

    /// Differences found so far; `expected` tells which unused tensors count as unexpected.
    pub fn mismatch(&self, expected: impl Fn(&str) -> bool) -> WeightMismatch {
        let ledger = self.ledger();
        let mut mismatch = ledger.mismatch.clone();
        mismatch.unexpected = self
            .sources
            .iter()
            .flat_map(Source::names)
            .filter(|name| !ledger.used.contains(name) && expected(name))
            .collect();
        mismatch.unexpected.sort_unstable();
        mismatch.unexpected.dedup();
        mismatch
    }

    /// Trainable variables made so far, by name.
    pub fn vars(&self) -> BTreeMap<String, Var> {
        self.ledger().vars.clone()
    }

    /// Names of the tensors that got fresh values.
    pub fn fresh_names(&self) -> Vec<String> {
        self.ledger().fresh.clone()
    }

    /// Names used so far.
    pub fn used_names(&self) -> BTreeSet<String> {
        self.ledger().used.clone()
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        // A panic while noting a name leaves the notes usable.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self, shape: &Shape, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        if self.is_recorder {
            self.ledger().recorded.insert(name.into(), shape.dims().to_vec());
            return placeholder(shape, device);
        }
        if let Some(tensor) = self.ledger().cache.get(name) {
            return Ok(tensor.clone()); // tied weights
        }
        let tensor = self.read(shape, name, device)?.to_dtype(dtype)?;
        let mut ledger = self.ledger();
        ledger.used.insert(name.into());
        if self.trainable.as_ref().is_some_and(|chosen| chosen(name)) {
            let var = Var::from_tensor(&tensor.contiguous()?)?;
            let tensor = var.as_tensor().clone();
            ledger.vars.insert(name.into(), var);
            ledger.cache.insert(name.into(), tensor.clone());
            return Ok(tensor);
        }
        Ok(tensor)
    }

    fn note_wrong_shape(&self, name: &str, found: &[usize], expected: &Shape) {
        let both = format!("{name} is {found:?}, expected {:?}", expected.dims());
        self.ledger().mismatch.wrong_shape.push(both);
    }

    fn read(&self, shape: &Shape, name: &str, device: &Device) -> Result<Tensor> {
        let is_hidden = self.hidden.as_ref().is_some_and(|hides| hides(name));
        let source = self.sources.iter().rev().find(|source| source.contains(name));
        let Some(source) = source.filter(|_| !is_hidden) else {
            return match &self.fresh {
                Some((chosen, seed)) if chosen(name) => {
                    self.ledger().fresh.push(name.into());
                    fresh_tensor(shape, name, *seed, device)
                }
                _ => {
                    self.ledger().mismatch.missing.push(name.into());
                    placeholder(shape, device)
                }
            };
        };
        if let Source::Gguf(file) = source
            && self.leaves_blocks.as_ref().is_some_and(|chosen| chosen(name))
            && let Some(stored) = file.blocks_shape(name)
        {
            if &stored != shape {
                self.note_wrong_shape(name, stored.dims(), shape);
            }
            return placeholder(shape, device);
        }
        let tensor = source.load(name, device)?;
        if tensor.shape() != shape {
            self.note_wrong_shape(name, tensor.dims(), shape);
            self.ledger().used.insert(name.into());
            return placeholder(shape, device);
        }
        if !is_finite(&tensor)? {
            self.ledger().mismatch.not_finite.push(name.into());
        }
        Ok(tensor)
    }
}

/// The reason alone: what tells the path already must not tell it twice.
fn pathless(error: &candle_core::Error) -> &candle_core::Error {
    match error {
        candle_core::Error::WithPath { inner, .. }
        | candle_core::Error::WithBacktrace { inner, .. } => pathless(inner),
        other => other,
    }
}

/// Stands in for a tensor that cannot be had, so that loading can go on and report all of them.
fn placeholder(shape: &Shape, device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::F32, device)?.broadcast_as(shape)
}

/// False when a value is infinite or not a number.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    if !tensor.dtype().is_float() {
        return Ok(true);
    }
    let max = tensor.flatten_all()?.abs()?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    Ok(max.is_finite())
}

/// Prefix of the sight adapters' tensors ([`SightAdapters`](crate::vit::SightAdapters)).
pub const SIGHT_PREFIX: &str = "sight.";

/// Standard deviation of fresh weight matrices, as in Qwen2's `initializer_range`.
const INITIAL_STD: f64 = 0.02;

/// Initial values: norms 1, biases and output projections 0, everything else N(0, 0.02²).
///
/// Zero output projections make a fresh expert, and what connector and sight adapters add to later
/// layers, start as the identity (as in adaLN-Zero, DiT, arXiv:2212.09748, sec. 3.2).
fn fresh_tensor(shape: &Shape, name: &str, seed: u64, device: &Device) -> Result<Tensor> {
    let is_norm = name.contains("norm");
    if name.ends_with(".bias") {
        return Tensor::zeros(shape, DType::F32, device);
    }
    if is_norm {
        return Tensor::ones(shape, DType::F32, device);
    }
    let is_output =
        ["o_proj", "down_proj", "llm2vae", "connector.deep"].iter().any(|part| name.contains(part));
    if is_output || (name.starts_with(SIGHT_PREFIX) && name.contains(".up.")) {
        return Tensor::zeros(shape, DType::F32, device);
    }
    let step = u64::from_le_bytes(first_bytes(blake3::hash(name.as_bytes()).as_bytes())) >> 32;
    let noise = Noise::new(seed, Stream::Weights, step).normal_tensor(shape, device)?;
    noise.affine(INITIAL_STD, 0.)
}

fn first_bytes(hash: &[u8; 32]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    bytes
}

/// The `VarBuilder` side of shared weights.
struct Shared(Arc<Weights>);

impl SimpleBackend for Shared {
    fn get(&self, s: Shape, name: &str, _: Init, dtype: DType, dev: &Device) -> Result<Tensor> {
        self.0.fetch(&s, name, dtype, dev)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was requested without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.is_recorder || self.0.sources.iter().any(|source| source.contains(name))
    }
}

/// Above this size a file is hashed by its head and evenly spaced samples.
const FULL_HASH_BYTES: u64 = 1 << 30;
/// Samples taken of a larger file.
const HASH_SAMPLES: u64 = 256;
/// Size of one sample.
const HASH_SAMPLE_BYTES: usize = 1 << 20;

/// Whether a tensor belongs to the network itself, not to the scorer that may lie beside it.
pub fn is_network(name: &str) -> bool {
    !name.starts_with(crate::scorer::SCORER_PREFIX)
}

/// Hash of files by name and content, in hex; large files by length, head and samples.
///
/// # Errors
/// When a file cannot be read.
pub fn hash_files(paths: &[PathBuf]) -> ModelResult<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        let io = |source| ModelError::Io { what: "a model file", source, path: path.clone() };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.update(&size.to_le_bytes());
        if size <= FULL_HASH_BYTES {
            hasher.update_reader(file).map_err(io)?;
            continue;
        }
        let mut chunk = vec![0; HASH_SAMPLE_BYTES];
        for i in 0..HASH_SAMPLES {
            let offset = (size - HASH_SAMPLE_BYTES as u64) / (HASH_SAMPLES - 1) * i;
            file.seek(SeekFrom::Start(offset)).map_err(io)?;
            file.read_exact(&mut chunk).map_err(io)?;
            hasher.update(&chunk);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(tensors: &[(&str, Tensor)]) -> Arc<Weights> {
        let tensors = tensors.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
        Arc::new(Weights::new().memory(tensors))
    }

    #[test]
    fn reports_every_kind_of_difference() -> Result<()> {
        let dev = Device::Cpu;
        let nan = Tensor::new(&[f32::NAN, 1.], &dev)?;
        let w = weights(&[
            ("a", nan),
            ("b", Tensor::zeros(3, DType::F32, &dev)?),
            ("d", Tensor::zeros(1, DType::F32, &dev)?),
        ]);
        let vb = w.builder(DType::F32, &dev);
        vb.get(2, "a")?;
        vb.get(4, "b")?;
        vb.get(4, "c")?;
        let mismatch = w.mismatch(|_| true);
        assert_eq!(mismatch.not_finite, ["a"]);
        assert_eq!(mismatch.wrong_shape, ["b is [3], expected [4]"]);
        assert_eq!(mismatch.missing, ["c"]);
        assert_eq!(mismatch.unexpected, ["d"]);
        Ok(())
    }

    #[test]
    fn fresh_values_do_not_depend_on_the_order_of_requests() -> Result<()> {
        let make = |first: &str, second: &str| -> Result<Vec<f32>> {
            let w = Arc::new(Weights::new().fresh(3, |_| true));
            let vb = w.builder(DType::F32, &Device::Cpu);
            vb.get((2, 2), first)?;
            vb.get((2, 2), second)?;
            vb.get((2, 2), "x.weight")?.flatten_all()?.to_vec1()
        };
        assert_eq!(make("a", "x.weight")?, make("x.weight", "b")?);
        Ok(())
    }
}
