//! What a model folder holds, without loading it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device};
use serde::Serialize;

use crate::{
    autoencoder::AutoEncoder,
    config::{CodecKind, ModelConfig},
    error::{ModelResult, WeightMismatch},
    runtime::ModelFiles,
    unified::Network,
    weights::Weights,
};

/// Parameters of each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartSizes {
    /// Understanding expert, embeddings and head.
    pub understanding: usize,
    /// Generation expert.
    pub generation: usize,
    /// Vision tower and connector.
    pub vision: usize,
    /// Drawing heads and position tables.
    pub heads: usize,
}

impl PartSizes {
    /// All parameters.
    pub fn total(&self) -> usize {
        self.understanding + self.generation + self.vision + self.heads
    }
}

/// Memory in bytes that a use would take, by precision of the weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryEstimate {
    /// What it is for.
    pub purpose: &'static str,
    /// Precision of the frozen weights.
    pub precision: &'static str,
    /// Bytes.
    pub bytes: usize,
}

/// What a model folder holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Name from the configuration.
    pub name: String,
    /// Layers, model width, query heads, key/value heads, vocabulary.
    pub architecture: String,
    /// Tensors that the configuration asks for.
    pub num_tensors: usize,
    /// Types of the files' tensors with their counts.
    pub dtypes: BTreeMap<String, usize>,
    /// Parameters of each part.
    pub parameters: PartSizes,
    /// Differences between files and configuration.
    pub mismatch: WeightMismatch,
    /// Memory of each use.
    pub memory: Vec<MemoryEstimate>,
}

/// Names and shapes of all tensors that a configuration asks for, network and codec, without
/// allocating any.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn required_tensors(config: &ModelConfig) -> ModelResult<BTreeMap<String, Vec<usize>>> {
    let recorder = Arc::new(Weights::recorder());
    let builder = recorder.builder(DType::F32, &Device::Cpu);
    Network::load(config, &builder)?;
    if config.codec == CodecKind::Flux {
        AutoEncoder::load(&config.vae_config, &builder)?;
    }
    Ok(recorder.recorded())
}

fn part_sizes(shapes: &BTreeMap<String, Vec<usize>>) -> PartSizes {
    let mut sizes = PartSizes::default();
    for (name, shape) in shapes {
        let count: usize = shape.iter().product();
        if name.contains("_moe_gen") {
            sizes.generation += count;
        } else if name.starts_with("language_model.") {
            sizes.understanding += count;
        } else if name.starts_with("vit_model.") || name.starts_with("connector.") {
            sizes.vision += count;
        } else if !name.starts_with("encoder.") && !name.starts_with("decoder.") {
            sizes.heads += count;
        }
    }
    sizes
}

/// Tokens of context that the estimates assume.
const CONTEXT_TOKENS: usize = 4096;

/// Memory of chat, LoRA fine-tuning with recomputation by layer, and GRPO of the generation expert.
fn memory(config: &ModelConfig, sizes: &PartSizes) -> Vec<MemoryEstimate> {
    let llm = &config.llm_config;
    let kv_values =
        2 * llm.num_hidden_layers * CONTEXT_TOKENS * llm.num_key_value_heads * llm.head_dim();
    let activations = |bytes: usize| {
        CONTEXT_TOKENS
            * (llm.num_hidden_layers * llm.hidden_size + 4 * llm.intermediate_size)
            * bytes
    };
    let lora_rank = 64;
    let width_sum = 4 * llm.hidden_size + 3 * (llm.hidden_size + llm.intermediate_size);
    let adapter = 2 * llm.num_hidden_layers * lora_rank * width_sum;
    let mut estimates = Vec::new();
    for (precision, weight_bits, value_bytes) in
        [("f32", 32, 4), ("bf16", 16, 2), ("q8_0", 9, 2), ("q4_k", 5, 2)]
    {
        let weights = sizes.total() * weight_bits / 8;
        let chat = weights + kv_values * value_bytes;
        // An adapter value carries a master, a gradient and two moments in f32.
        let sft = weights + activations(value_bytes) + adapter * 16;
        let grpo = sft + kv_values * value_bytes;
        for (purpose, bytes) in [("chat", chat), ("SFT (LoRA)", sft), ("GRPO (LoRA)", grpo)] {
            estimates.push(MemoryEstimate { purpose, precision, bytes });
        }
    }
    estimates
}

/// Inspects a folder: headers are read, weights are not.
///
/// # Errors
/// When configuration or files are unreadable.
pub fn inspect(dir: &Path) -> ModelResult<Inspection> {
    let config = ModelConfig::from_dir(dir)?;
    let files = ModelFiles::find(dir)?;
    let mut source = files.source()?;
    if let Some(codec) = files.codec.as_deref().filter(|_| config.codec == CodecKind::Flux) {
        source = source.file(codec)?;
    }
    let held = source.shapes();
    let shapes = required_tensors(&config)?;
    let mut mismatch = WeightMismatch::default();
    for (name, shape) in &shapes {
        match held.get(name) {
            None if name.ends_with("pos_embed") => {} // computed
            None => mismatch.missing.push(name.clone()),
            Some((found, _)) if found != shape => {
                mismatch.wrong_shape.push(format!("{name} is {found:?}, expected {shape:?}"));
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected = held.keys().filter(|name| !shapes.contains_key(*name)).cloned().collect();
    let mut dtypes = BTreeMap::new();
    for (_, dtype) in held.values() {
        *dtypes.entry(dtype.clone()).or_insert(0) += 1;
    }
    let parameters = part_sizes(&shapes);
    let llm = &config.llm_config;
    let architecture = format!(
        "{} layers × {} wide, {} query and {} key/value heads, vocabulary {}; vision {} layers × {}",
        llm.num_hidden_layers,
        llm.hidden_size,
        llm.num_attention_heads,
        llm.num_key_value_heads,
        llm.vocab_size,
        config.vit_config.num_hidden_layers,
        config.vit_config.hidden_size,
    );
    Ok(Inspection {
        name: config.name.clone(),
        architecture,
        num_tensors: shapes.len(),
        dtypes,
        memory: memory(&config, &parameters),
        parameters,
        mismatch,
    })
}

impl std::fmt::Display for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millions = |n: usize| n as f64 / 1e6;
        let p = &self.parameters;
        writeln!(f, "{}: {}", self.name, self.architecture)?;
        writeln!(f, "{} tensors, {:.1} M parameters", self.num_tensors, millions(p.total()))?;
        for (label, count) in [
            ("understanding", p.understanding),
            ("generation", p.generation),
            ("vision", p.vision),
            ("heads", p.heads),
        ] {
            writeln!(f, "  {label:<14} {:>10.1} M", millions(count))?;
        }
        let types: Vec<String> = self.dtypes.iter().map(|(t, n)| format!("{t} × {n}")).collect();
        writeln!(f, "stored as {}", types.join(", "))?;
        writeln!(f, "memory with {CONTEXT_TOKENS} tokens of context:")?;
        for estimate in &self.memory {
            let gb = estimate.bytes as f64 / 1e9;
            writeln!(f, "  {:<12} {:<5} {gb:>8.2} GB", estimate.purpose, estimate.precision)?;
        }
        if self.mismatch.is_empty() {
            write!(f, "files and configuration agree")
        } else {
            write!(f, "files and configuration disagree: {}", self.mismatch)
        }
    }
}
