//! A loaded model with text and pictures in and out.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_nn::{
    linear::Linear,
    noise::{Noise, Stream},
    quant::{QLinear, QuantKind},
    threads::compute_here,
};

use crate::{
    adapter::{self, Adapter, AdapterConfig, AdapterMatch, Replaced},
    autoencoder::{AutoEncoder, Codec, patchify, unpatchify},
    config::{CodecKind, ModelConfig},
    context::{Context, Reader},
    error::{ModelError, ModelResult},
    gguf::GgufFile,
    image_ops::{fit_square, normalise, to_rgb_image},
    prompt::ReadPrompt,
    tokens::{StreamDecoder, TextRole, TextTokenizer},
    unified::Network,
    weights::{Weights, hash_files, is_network},
};
pub use crate::{
    draw::{DrawEvent, DrawRequest, Drawing, Thinking},
    flow::FlowSampling,
    text::TextSampling,
};

/// Where to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU that this build supports and the machine has, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

impl DeviceChoice {
    /// Opens the device. A choice that cannot be had is an error; `Auto` falls back to the CPU.
    ///
    /// # Errors
    /// When the chosen device is missing or this build does not support it.
    pub fn open(self) -> ModelResult<Device> {
        let unavailable = |what: &str, e: candle_core::Error| {
            ModelError::Request(format!("{what} cannot be used: {e}. Choose the device `cpu`"))
        };
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(index) => {
                Device::new_cuda(index).map_err(|e| unavailable("the NVIDIA GPU", e))
            }
            Self::Metal => Device::new_metal(0).map_err(|e| unavailable("the Apple GPU", e)),
            Self::Auto => {
                Ok(Device::new_cuda(0).or_else(|_| Device::new_metal(0)).unwrap_or(Device::Cpu))
            }
        }
    }
}

/// How weights are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// Brain floats, for GPUs.
    Bf16,
    /// Half floats, for GPUs.
    F16,
    /// 8-bit understanding expert, the rest in 32-bit floats. CPU only.
    #[default]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4-bit understanding expert where its width allows it, the rest in 32-bit floats. CPU only.
    #[serde(rename = "q4_k")]
    Q4K,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Q8_0 | Self::Q4K => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
        }
    }

    /// Format of the understanding expert's linear layers.
    fn quantised(self) -> Option<QuantKind> {
        match self {
            Self::F32 | Self::Bf16 | Self::F16 => None,
            Self::Q8_0 => Some(QuantKind::Q8_0),
            Self::Q4K => Some(QuantKind::Q4K),
        }
    }
}

/// Options of loading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadOptions {
    /// Where to compute.
    pub device: DeviceChoice,
    /// How weights are held. Layers that the files store quantised stay as they are.
    pub precision: Precision,
    /// Keeps the vision tower, used once a picture, in main memory and computes it there.
    pub offload_vision: bool,
    /// Keeps the picture codec, used once a picture, in main memory and computes it there.
    pub offload_codec: bool,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// Name from its configuration.
    pub name: String,
    /// `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// How weights are held.
    pub precision: String,
    /// Side of its pictures in pixels.
    pub picture_size: usize,
    /// Longest context in tokens.
    pub context_tokens: usize,
    /// Hash of its files.
    pub base_hash: String,
}

/// The attached adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// Hash of its tensors.
    pub hash: String,
    /// Its description.
    pub config: AdapterConfig,
    /// How it fits the base.
    pub matched: AdapterMatch,
}

/// A request for text.
#[derive(Debug, Clone, Default)]
pub struct ReplyRequest {
    /// A picture shown before everything else.
    pub picture: Option<RgbImage>,
    /// Blocks read before the prompt: standing instructions, earlier turns.
    pub before: Vec<(TextRole, String)>,
    /// The prompt.
    pub prompt: String,
    /// How tokens are chosen.
    pub sampling: TextSampling,
    /// Most tokens of the reply.
    pub max_tokens: usize,
}

/// Progress of a reply.
#[derive(Debug)]
pub enum ReplyEvent<'a> {
    /// The prompt is being read.
    Prefilling {
        /// Its tokens.
        num_tokens: usize,
    },
    /// More text.
    Text {
        /// The new part.
        delta: &'a str,
    },
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finish {
    /// The model ended it, or all steps were made.
    Complete,
    /// The token limit was reached.
    MaxTokens,
    /// A stop text appeared.
    Stop,
    /// The caller cancelled.
    Cancelled,
}

/// A finished reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its text, trimmed.
    pub text: String,
    /// Tokens produced.
    pub num_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

impl Reply {
    fn cancelled() -> Self {
        Self { text: String::new(), num_tokens: 0, finish: Finish::Cancelled }
    }
}

/// Files of a model folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// Safetensors files of the network, later ones over earlier ones.
    pub weights: Vec<PathBuf>,
    /// A GGUF file of the understanding expert.
    pub gguf: Option<PathBuf>,
    /// The codec's file.
    pub codec: Option<PathBuf>,
}

/// Name of the codec's file.
const CODEC_FILE: &str = "ae.safetensors";
/// What messages call the folder.
const MODEL_FOLDER: &str = "the model folder";

impl ModelFiles {
    /// Finds the weight files of a folder.
    ///
    /// # Errors
    /// When the folder cannot be read or holds no weights.
    pub fn find(dir: &Path) -> ModelResult<Self> {
        let files = Self::list(dir)?;
        if files.has_weights() {
            return Ok(files);
        }
        Err(ModelError::Malformed {
            what: MODEL_FOLDER,
            reason: "it holds no .safetensors or .gguf weights; choose the folder that does".into(),
            path: dir.to_path_buf(),
        })
    }

    /// Lists the weight files of a folder, which may hold none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(dir: &Path) -> ModelResult<Self> {
        let entries = std::fs::read_dir(dir).map_err(|source| ModelError::Io {
            what: MODEL_FOLDER,
            source,
            path: dir.to_path_buf(),
        })?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort_unstable();
        let with = |extension: &str| {
            let matches = move |p: &&PathBuf| p.extension().is_some_and(|e| e == extension);
            paths.iter().filter(matches).cloned().collect::<Vec<_>>()
        };
        let (codec, weights): (Vec<_>, Vec<_>) =
            with("safetensors").into_iter().partition(|p| p.ends_with(CODEC_FILE));
        Ok(Self { weights, gguf: with("gguf").into_iter().next(), codec: codec.into_iter().next() })
    }

    /// Whether any file holds weights of the network.
    pub fn has_weights(&self) -> bool {
        !self.weights.is_empty() || self.gguf.is_some()
    }

    /// All files, in a fixed order.
    pub fn all(&self) -> Vec<PathBuf> {
        self.weights.iter().chain(&self.gguf).chain(&self.codec).cloned().collect()
    }

    /// A weight source over the network's files.
    ///
    /// # Errors
    /// When a file is unreadable.
    pub fn source(&self) -> ModelResult<Weights> {
        let mut source = Weights::new();
        if let Some(gguf) = &self.gguf {
            source = source.gguf(gguf)?;
        }
        self.weights.iter().try_fold(source, |source, path| source.file(path))
    }
}

/// Whether any file holds the vision tower. A base that was not taught to see has none, and is loaded
/// without: it talks and draws, and refuses pictures.
pub fn has_tower(weights: &Weights) -> bool {
    weights.shapes().keys().any(|name| name.starts_with("vit_model."))
}

/// Names of understanding-expert layers, which Q8_0 quantises.
fn is_understanding(module: &str) -> bool {
    module.starts_with("language_model.") && !module.contains("_moe_gen")
}

/// Weights of linear layers that loading takes as they are stored.
pub fn is_language_linear(name: &str) -> bool {
    name.starts_with("language_model.") && !name.contains("embed_tokens")
}

/// Takes over the weight of a linear layer whose file stores it quantised; false when it does not. A
/// weight of another shape is left for [`Weights::mismatch`] to report.
///
/// # Errors
/// Naming the layer, when the file cannot be read or the weight is not usable.
pub fn take_stored(
    weights: &Weights,
    module: &str,
    linear: &mut Linear,
    device: &Device,
) -> candle_core::Result<bool> {
    let name = format!("{module}.weight");
    let named = |e: candle_core::Error| candle_core::Error::Msg(format!("{name}: {e}"));
    let Some(blocks) = weights.blocks(&name, device).map_err(named)? else {
        return Ok(false);
    };
    let stored = QLinear::from_stored(blocks).map_err(named)?;
    if linear.shape()? == (stored.out_features(), stored.in_features()) {
        linear.set_quantised(stored)?;
    }
    Ok(true)
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    network: Network,
    codec: Codec,
    codec_device: Device,
    tokenizer: TextTokenizer,
    config: ModelConfig,
    options: LoadOptions,
    base_hash: String,
    attached: Option<(Replaced, AdapterInfo)>,
    /// The prompt of the last reply; what changes weights takes it away. None in training, where
    /// weights change unseen.
    last_prompt: Option<Mutex<ReadPrompt>>,
}

impl Model {
    /// Loads a model folder. The calling thread is taken for the one that will compute
    /// ([`compute_here`]).
    ///
    /// # Errors
    /// When a file is missing, malformed, or weights and configuration disagree.
    pub fn load(dir: &Path, options: &LoadOptions) -> ModelResult<Self> {
        compute_here();
        let files = ModelFiles::find(dir)?;
        let mut config = ModelConfig::from_dir(dir)?;
        let device = options.device.open()?;
        let gguf = files.gguf.as_deref().map(GgufFile::open).transpose()?;
        let names = &config.special_token_names;
        let tokenizer = TextTokenizer::from_dir(dir, gguf.as_ref(), names, &config.text_template)?;
        let quantised = options.precision.quantised().filter(|_| device.is_cpu());
        let weights = Arc::new(files.source()?.leave_blocks(is_language_linear));
        config.visual_und &= has_tower(&weights);
        let dtype = options.precision.dtype();
        let builder = weights.builder(dtype, &device);
        let vision = if options.offload_vision {
            weights.builder(DType::F32, &Device::Cpu)
        } else {
            builder.clone()
        };
        let mut is_stored_quantised = false;
        let prepare = &mut |module: &str, linear: &mut Linear| {
            if take_stored(&weights, module, linear, &device)? {
                is_stored_quantised = true;
                return Ok(());
            }
            let kind = quantised.and_then(|kind| kind.fitting(linear.shape().ok()?.1));
            match kind.filter(|_| is_understanding(module)) {
                Some(kind) => linear.quantise(kind),
                None => linear.order_by_columns(),
            }
        };
        let mut network = Network::load_with(&config, &builder, &vision, prepare)?;
        if dtype == DType::F32 && (quantised.is_some() || is_stored_quantised) {
            network.halve_embedding(DType::F16)?;
        }
        let mismatch = weights.mismatch(is_network);
        if !mismatch.is_empty() {
            return Err(ModelError::Weights(mismatch));
        }
        let codec_device = if options.offload_codec { Device::Cpu } else { device };
        let codec = load_codec(&config, files.codec.as_deref(), dir, &codec_device)?;
        Ok(Self {
            network,
            codec_device,
            codec,
            tokenizer,
            options: *options,
            base_hash: hash_files(&files.all())?,
            attached: None,
            last_prompt: Some(Mutex::default()),
            config,
        })
    }

    /// Assembles a model from parts, for training and tests.
    pub fn from_parts(
        network: Network,
        codec: Codec,
        tokenizer: TextTokenizer,
        base_hash: String,
    ) -> Self {
        let config = network.config().clone();
        let options = LoadOptions {
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
            ..LoadOptions::default()
        };
        let codec_device = network.device().clone();
        Self {
            network,
            codec,
            codec_device,
            tokenizer,
            config,
            options,
            base_hash,
            attached: None,
            last_prompt: None,
        }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network, to be changed.
    pub fn network_mut(&mut self) -> &mut Network {
        self.take_last_prompt();
        &mut self.network
    }

    /// The picture codec.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Hash of the base's files.
    pub fn base_hash(&self) -> &str {
        &self.base_hash
    }

    /// The attached adapter.
    pub fn adapter(&self) -> Option<&AdapterInfo> {
        self.attached.as_ref().map(|(_, info)| info)
    }

    /// Its hash.
    pub fn adapter_hash(&self) -> Option<&str> {
        self.adapter().map(|info| info.hash.as_str())
    }

    /// Facts for display.
    pub fn info(&self) -> ModelInfo {
        let device = match self.network.device().location() {
            candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
        };
        ModelInfo {
            name: self.config.name.clone(),
            device,
            precision: self.options.precision.label().to_owned(),
            picture_size: self.config.picture_size,
            context_tokens: self.config.llm_config.max_position_embeddings,
            base_hash: self.base_hash.clone(),
        }
    }

    /// Attaches an adapter folder or file, replacing an attached one. The base stays loaded.
    ///
    /// # Errors
    /// When it cannot be read or nothing in it fits; the model is then as without adapter.
    pub fn attach(&mut self, path: &Path) -> ModelResult<AdapterInfo> {
        let adapter = Adapter::load(path, self.network.device())?;
        self.detach()?;
        let (replaced, matched) = adapter::attach(&mut self.network, &adapter, &self.base_hash)?;
        let info = AdapterInfo { hash: adapter.hash, config: adapter.config, matched };
        self.attached = Some((replaced, info.clone()));
        Ok(info)
    }

    /// Removes the attached adapter, if any.
    ///
    /// # Errors
    /// Never in practice: what was replaced is put back.
    pub fn detach(&mut self) -> ModelResult<()> {
        self.take_last_prompt();
        match self.attached.take() {
            Some((replaced, _)) => adapter::detach(&mut self.network, replaced),
            None => Ok(()),
        }
    }

    /// Adds the attached adapter's low-rank updates to the weights, which makes every step cheaper.
    ///
    /// # Errors
    /// When a layer is quantised; the adapter then stays attached everywhere.
    pub fn merge_adapter(&mut self) -> ModelResult<()> {
        self.take_last_prompt();
        let merged = self.network.visit_linears(&mut |_, linear| linear.merge());
        merged.map_err(|error| match self.unmerge_adapter() {
            Ok(()) => error.into(),
            Err(second) => second,
        })
    }

    /// Undoes [`merge_adapter`](Self::merge_adapter) exactly.
    ///
    /// # Errors
    /// Never in practice.
    pub fn unmerge_adapter(&mut self) -> ModelResult<()> {
        self.take_last_prompt();
        Ok(self.network.visit_linears(&mut |_, linear| {
            linear.unmerge();
            Ok(())
        })?)
    }

    /// Tokens of a text.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn count_tokens(&self, text: &str) -> ModelResult<usize> {
        Ok(self.tokenizer.encode(text)?.len())
    }

    /// The reader over this model's network.
    pub fn reader(&self) -> Reader<'_> {
        Reader { network: &self.network, special: self.tokenizer.special() }
    }

    /// A picture as the vision tower wants it, (3, H, W).
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn picture_for_vision(&self, picture: &RgbImage) -> ModelResult<Tensor> {
        let picture = self.sized(picture);
        let picture = self.config.vit_transform.apply(&picture, 1);
        Ok(normalise(&picture, self.network.vision_device())?)
    }

    /// A picture at the codec's size.
    fn sized(&self, picture: &RgbImage) -> RgbImage {
        if self.config.square_pictures {
            fit_square(picture, self.config.picture_size)
        } else {
            self.config.vae_transform.apply(picture, 1)
        }
    }

    /// Latent tokens of a picture, with rows and columns. `seed` and `step` choose the codec's noise.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn picture_latents(
        &self,
        picture: &RgbImage,
        seed: u64,
        step: u64,
    ) -> ModelResult<(Tensor, usize, usize)> {
        let picture = self.sized(picture);
        let pixels = normalise(&picture, &self.codec_device)?;
        let (_, height, width) = pixels.dims3()?;
        let shape = self.codec.latent_shape(height, width);
        let eps = match self.codec {
            Codec::Flux(_) => {
                Noise::new(seed, Stream::Posterior, step).normal_tensor(shape, pixels.device())?
            }
            Codec::Pixel => Tensor::zeros((), DType::F32, pixels.device())?, // has no posterior
        };
        let latent = self.codec.encode(&pixels, &eps)?.to_device(self.network.device())?;
        let patch = self.config.latent_patch_size;
        Ok((patchify(&latent, patch)?, shape.1 / patch, shape.2 / patch))
    }

    /// The picture of latent tokens.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn latents_picture(
        &self,
        tokens: &Tensor,
        rows: usize,
        columns: usize,
    ) -> ModelResult<RgbImage> {
        let latent = unpatchify(tokens, rows, columns, self.config.latent_patch_size)?;
        Ok(to_rgb_image(&self.codec.decode(&latent.to_device(&self.codec_device)?)?)?)
    }

    pub(crate) fn check_length(&self, num_tokens: usize) -> ModelResult<()> {
        let limit = self.config.llm_config.max_position_embeddings;
        if num_tokens > limit {
            Err(ModelError::PromptTooLong { num_tokens, limit })
        } else {
            Ok(())
        }
    }

    /// Generates text. `on` receives progress and may cancel between two tokens.
    ///
    /// # Errors
    /// When the prompt is too long or the network fails.
    pub fn reply(
        &self,
        request: &ReplyRequest,
        on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>,
    ) -> ModelResult<Reply> {
        let mut reply = self.reply_from(request, "", on)?;
        reply.text = reply.text.trim().to_owned();
        Ok(reply)
    }

    /// Goes on with a reply that has `begun`. The result is the new part alone, untrimmed.
    ///
    /// # Errors
    /// When the prompt is too long or the network fails.
    pub fn reply_from(
        &self,
        request: &ReplyRequest,
        begun: &str,
        on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>,
    ) -> ModelResult<Reply> {
        let mut ids = Vec::new();
        for (role, text) in &request.before {
            ids.extend(self.tokenizer.text_block(*role, text)?.0);
        }
        ids.extend(self.tokenizer.text_block(TextRole::Prompt, &request.prompt)?.0);
        let mut prefix = self.tokenizer.block_start(TextRole::Reply)?;
        prefix.extend(self.tokenizer.encode(begun)?);
        self.check_length(ids.len() + prefix.len() + request.max_tokens)?;
        if on(ReplyEvent::Prefilling { num_tokens: ids.len() }).is_break() {
            return Ok(Reply::cancelled());
        }
        let reader = self.reader();
        let Some(picture) = &request.picture else {
            let read = self.take_last_prompt().read(reader, ids)?;
            let reply = self.decode_reply(request, read.context(), begun, &prefix, on);
            if let Some(last) = &self.last_prompt {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = read.worth_keeping();
            }
            return reply;
        };
        let mut context = Context::new();
        reader.read_picture(&mut context, &self.picture_for_vision(picture)?)?;
        reader.read_text(&mut context, &ids)?;
        self.decode_reply(request, &context, begun, &prefix, on)
    }

    fn take_last_prompt(&self) -> ReadPrompt {
        self.last_prompt.as_ref().map_or_else(ReadPrompt::default, |last| {
            std::mem::take(&mut *last.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Decodes a reply behind `context`; `prefix` starts it and holds what has `begun`.
    fn decode_reply(
        &self,
        request: &ReplyRequest,
        context: &Context,
        begun: &str,
        prefix: &[u32],
        on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>,
    ) -> ModelResult<Reply> {
        let reader = self.reader();
        let mut sampling = request.sampling.clone();
        for attempt in 1.. {
            let mut stream = ReplyStream::new(self, &request.sampling.stop);
            let decoded = reader.decode(
                context,
                prefix,
                request.max_tokens,
                &sampling,
                &mut |token, _| stream.push(token, on),
            )?;
            if let Some(error) = stream.error.take() {
                return Err(error);
            }
            let finish = match (decoded.ended, decoded.stopped, stream.stopped) {
                (_, _, true) => Finish::Stop,
                (true, ..) => Finish::Complete,
                (_, true, _) => Finish::Cancelled,
                _ => Finish::MaxTokens,
            };
            // A sampled reply without a word says nothing to anyone: the dice are cast again.
            let is_empty = begun.is_empty() && stream.text.trim().is_empty();
            let may_differ = sampling.temperature > 0. && finish != Finish::Cancelled;
            if !is_empty || !may_differ || attempt == MAX_ATTEMPTS {
                stream.flush(on);
                return Ok(Reply { text: stream.text, num_tokens: stream.num_tokens, finish });
            }
            sampling.seed = sampling.seed.wrapping_add(1 << 32); // beyond the seeds people choose
        }
        Ok(Reply::cancelled())
    }
}

/// Loads the tokenizer of a model folder without its weights.
///
/// # Errors
/// When the folder holds none, or it does not fit the configuration.
pub fn load_tokenizer(dir: &Path) -> ModelResult<TextTokenizer> {
    let config = ModelConfig::from_dir(dir)?;
    let gguf = ModelFiles::find(dir)?.gguf;
    let gguf = gguf.as_deref().map(GgufFile::open).transpose()?;
    TextTokenizer::from_dir(dir, gguf.as_ref(), &config.special_token_names, &config.text_template)
}

/// Loads the codec that `config` names.
///
/// # Errors
/// When its file is missing or does not fit.
pub fn load_codec(
    config: &ModelConfig,
    file: Option<&Path>,
    dir: &Path,
    device: &Device,
) -> ModelResult<Codec> {
    match config.codec {
        CodecKind::Pixel => Ok(Codec::Pixel),
        CodecKind::Flux => {
            let Some(file) = file else {
                return Err(ModelError::Malformed {
                    what: "the model folder",
                    reason: format!("it has no {CODEC_FILE}; download the picture codec too"),
                    path: dir.to_path_buf(),
                });
            };
            let weights = Arc::new(Weights::new().file(file)?);
            let vae = AutoEncoder::load(&config.vae_config, &weights.builder(DType::F32, device))?;
            let mismatch = weights.mismatch(|_| true);
            if !mismatch.is_empty() {
                return Err(ModelError::Weights(mismatch));
            }
            Ok(Codec::Flux(Box::new(vae)))
        }
    }
}

/// How often a reply without a word is sampled.
const MAX_ATTEMPTS: usize = 5;

/// Text arriving token by token, watched for stop texts. What may still become a stop text is held
/// back, as is white space before the first word.
struct ReplyStream<'a> {
    model: &'a Model,
    stop: &'a [String],
    state: StreamDecoder,
    text: String,
    num_told: usize, // bytes
    num_tokens: usize,
    stopped: bool,
    error: Option<ModelError>,
}

/// Bytes at the end of `text` that begin one of the texts `stop`.
fn num_held(text: &str, stop: &[String]) -> usize {
    let begins = |stop: &String| {
        let lens = stop.char_indices().map(|(at, _)| at).rev();
        lens.clone().find(|len| text.ends_with(&stop[..*len])).unwrap_or(0)
    };
    stop.iter().map(begins).max().unwrap_or(0)
}

impl<'a> ReplyStream<'a> {
    fn new(model: &'a Model, stop: &'a [String]) -> Self {
        Self {
            model,
            stop,
            state: StreamDecoder::default(),
            text: String::new(),
            num_told: 0,
            num_tokens: 0,
            stopped: false,
            error: None,
        }
    }

    fn push(
        &mut self,
        token: u32,
        on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if token == self.model.tokenizer.special().im_end {
            return ControlFlow::Continue(());
        }
        let delta = match self.state.push(&self.model.tokenizer, token) {
            Ok(delta) => delta,
            Err(error) => {
                self.error = Some(error);
                return ControlFlow::Break(());
            }
        };
        self.num_tokens += 1;
        self.text.push_str(&delta);
        let stops = self.stop.iter().filter(|s| !s.is_empty());
        if let Some(at) = stops.filter_map(|s| self.text.find(s.as_str())).min() {
            self.text.truncate(at);
            self.stopped = true;
            return ControlFlow::Break(());
        }
        self.tell(self.text.len() - num_held(&self.text, self.stop), on)
    }

    /// Tells what is new among the first `end` bytes.
    fn tell(
        &mut self,
        end: usize,
        on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if end <= self.num_told || self.text[..end].trim().is_empty() {
            return ControlFlow::Continue(());
        }
        let delta = &self.text[self.num_told..end];
        self.num_told = end;
        on(ReplyEvent::Text { delta })
    }

    /// Tells what was held back and turned out to be no stop text.
    fn flush(&mut self, on: &mut dyn FnMut(ReplyEvent) -> ControlFlow<()>) {
        // The reply is over: there is nothing left to cancel.
        let _ = self.tell(self.text.len(), on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_a_stop_text_is_held_back() {
        let stop = ["\nUser:".to_owned(), "é!".to_owned(), String::new()];
        let held = |text: &str| num_held(text, &stop);
        assert_eq!(held("Hello"), 0);
        assert_eq!(held("Hello\n"), 1);
        assert_eq!(held("Hello\nUser"), 5);
        assert_eq!(held("Hello\nUsed"), 0);
        assert_eq!(held("caf\u{e9}"), 2);
        assert_eq!(held(""), 0);
    }
}
