//! What a model folder holds, without loading it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device};
use serde::Serialize;

use crate::{
    autoencoder::AutoEncoder,
    config::{CodecKind, ModelConfig},
    error::{ModelResult, WeightMismatch},
    memory::{MemoryPlan, Planner, Purpose, Workload},
    runtime::{ModelFiles, Precision, is_language_linear},
    unified::Network,
    weights::{SIGHT_PREFIX, Weights, is_network},
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
    /// Whether the folder holds weights of the network at all.
    pub has_weights: bool,
    /// Differences between files and configuration.
    pub mismatch: WeightMismatch,
    /// What the plans of memory assume.
    pub workload: Workload,
    /// Memory of each use in each precision that it has.
    pub memory: Vec<MemoryPlan>,
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
        } else if ["vit_model.", "connector.", SIGHT_PREFIX].iter().any(|p| name.starts_with(p)) {
            sizes.vision += count;
        } else if !name.starts_with("encoder.") && !name.starts_with("decoder.") {
            sizes.heads += count;
        }
    }
    sizes
}

/// How the files hold the language model's linear layers: quantised, or as loading converts them.
pub fn stored_precision(held: &BTreeMap<String, (Vec<usize>, String)>) -> Precision {
    let linears = held.iter().filter(|(name, _)| is_language_linear(name));
    let types: Vec<&str> = linears.map(|(_, (_, dtype))| dtype.as_str()).collect();
    if types.contains(&"Q4K") {
        Precision::Q4K
    } else if types.contains(&"Q8_0") {
        Precision::Q8_0
    } else {
        Precision::F32
    }
}

/// Plans of every use in every precision that has it.
pub fn memory(
    config: &ModelConfig,
    shapes: &BTreeMap<String, Vec<usize>>,
    workload: &Workload,
) -> Vec<MemoryPlan> {
    let planner = Planner::new(config, shapes);
    let precisions =
        [Precision::F32, Precision::Bf16, Precision::F16, Precision::Q8_0, Precision::Q4K];
    [Purpose::Chat, Purpose::Sft, Purpose::Grpo]
        .into_iter()
        .flat_map(|purpose| precisions.map(|precision| (purpose, precision)))
        .filter_map(|(purpose, precision)| planner.plan(purpose, precision, workload))
        .collect()
}

/// Inspects a folder: headers are read, weights are not. They may be missing: a configuration alone
/// tells architecture, sizes and memory, before a large download for instance.
///
/// # Errors
/// When configuration or files are unreadable.
pub fn inspect(dir: &Path) -> ModelResult<Inspection> {
    let config = ModelConfig::from_dir(dir)?;
    let files = ModelFiles::list(dir)?;
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
    mismatch.unexpected = held
        .keys()
        .filter(|name| is_network(name) && !shapes.contains_key(*name))
        .cloned()
        .collect();
    let mut dtypes = BTreeMap::new();
    for (_, dtype) in held.values() {
        *dtypes.entry(dtype.clone()).or_insert(0) += 1;
    }
    let parameters = part_sizes(&shapes);
    let workload = Workload::usual(&config);
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
        has_weights: files.has_weights(),
        memory: memory(&config, &shapes, &workload),
        workload,
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
        if !types.is_empty() {
            writeln!(f, "stored as {}", types.join(", "))?;
        }
        let load = &self.workload;
        writeln!(
            f,
            "memory in GB, for a prompt of {} tokens and pictures of {} pixels; teaching with {} text \
             tokens and {} picture at a time, rank {}:",
            load.context_tokens, load.picture_size, load.text_tokens, load.pictures, load.rank
        )?;
        writeln!(
            f,
            "  {:<12} {:<5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
            "", "", "experts", "vision", "codec", "others", "working", "all", "offloaded"
        )?;
        for plan in &self.memory {
            let gb = |bytes: usize| bytes as f64 / 1e9;
            let w = &plan.weights;
            writeln!(
                f,
                "  {:<12} {:<5} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>10.2}",
                plan.purpose.label(),
                plan.precision.label(),
                gb(w.understanding + w.generation),
                gb(w.vision),
                gb(w.codec),
                gb(w.others),
                gb(plan.training + plan.working.max(plan.codec_working)),
                gb(plan.bytes()),
                gb(plan.bytes_offloaded()),
            )?;
        }
        writeln!(
            f,
            "  offloaded: without vision tower and codec, which may be kept in main memory"
        )?;
        if !self.has_weights {
            write!(
                f,
                "weights are missing: the folder holds no .safetensors or .gguf file of the network; all of \
                 the above follows from the configuration alone"
            )
        } else if self.mismatch.is_empty() {
            write!(f, "files and configuration agree")
        } else {
            write!(f, "files and configuration disagree: {}", self.mismatch)
        }
    }
}
