//! What was learned for one character: low-rank updates and replaced weights, attached to a base at
//! run time.
//!
//! A folder holds `adapter.safetensors` and `adapter_config.json`. Low-rank factors carry the PEFT
//! library's names (`base_model.model.<module>.lora_A.weight`); weights that were trained in full
//! (PEFT's `modules_to_save`) carry the checkpoint's names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use candle_core::{DType, Device, Result, Tensor};
use serde::{Deserialize, Serialize};
use troupe_nn::linear::{Linear, Lora};

use crate::{
    error::{ModelError, ModelResult},
    unified::Network,
};

/// File of the tensors.
pub const ADAPTER_FILE: &str = "adapter.safetensors";
/// File of the description.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
const PEFT_PREFIX: &str = "base_model.model.";

/// Description of an adapter. The first fields are PEFT's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Always `LORA`.
    #[serde(default = "default_peft_type")]
    pub peft_type: String,
    /// Rank of the low-rank updates.
    #[serde(default)]
    pub r: usize,
    /// Scale times rank of the low-rank updates.
    #[serde(default)]
    pub lora_alpha: f64,
    /// Modules that carry low-rank updates.
    #[serde(default)]
    pub target_modules: Vec<String>,
    /// Ours: hash of the base it was trained on.
    #[serde(default)]
    pub base_hash: String,
    /// Ours: training stage, `sft` or `grpo`.
    #[serde(default)]
    pub stage: String,
    /// Ours: hash of the training data.
    #[serde(default)]
    pub data_hash: String,
    /// Ours: name of the character.
    #[serde(default)]
    pub character: String,
    /// Ours: optimiser steps behind it.
    #[serde(default)]
    pub step: usize,
    /// Ours: settings of the run.
    #[serde(default)]
    pub settings: serde_json::Value,
}

fn default_peft_type() -> String {
    "LORA".into()
}

/// A loaded adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Its description.
    pub config: AdapterConfig,
    /// Low-rank updates by module.
    pub loras: BTreeMap<String, Lora>,
    /// Replaced weights by name.
    pub weights: BTreeMap<String, Tensor>,
    /// Hash of its tensors.
    pub hash: String,
}

/// How an adapter met a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdapterMatch {
    /// Keys that found their place.
    pub matched: Vec<String>,
    /// Keys that found none.
    pub unmatched: Vec<String>,
    /// Whether it was trained on another base.
    pub other_base: bool,
}

impl Adapter {
    /// Reads an adapter folder, or a bare safetensors file.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn load(path: &Path, device: &Device) -> ModelResult<Self> {
        let (file, config) = if path.is_dir() {
            let file = [ADAPTER_FILE, "adapter_model.safetensors"]
                .map(|name| path.join(name))
                .into_iter()
                .find(|file| file.exists())
                .unwrap_or_else(|| path.join(ADAPTER_FILE));
            (file, path.join(ADAPTER_CONFIG))
        } else {
            (path.to_path_buf(), path.with_file_name(ADAPTER_CONFIG))
        };
        let what = "the adapter";
        let text = std::fs::read_to_string(&config).map_err(|source| ModelError::Io {
            what,
            source,
            path: config.clone(),
        })?;
        let malformed = |reason: String| ModelError::Malformed { what, reason, path: file.clone() };
        let config: AdapterConfig =
            serde_json::from_str(&text).map_err(|e| malformed(format!("its description: {e}")))?;
        std::fs::metadata(&file).map_err(|source| ModelError::Io {
            what,
            source,
            path: file.clone(),
        })?;
        let tensors = candle_core::safetensors::load(&file, device)
            .map_err(|e| malformed(format!("{e}; it may be incomplete: export it again")))?;
        let hash = crate::weights::hash_files(std::slice::from_ref(&file))?;
        Self::from_tensors(config, tensors, hash)
    }

    /// Sorts tensors into low-rank updates and weights.
    fn from_tensors(
        config: AdapterConfig,
        tensors: HashMap<String, Tensor>,
        hash: String,
    ) -> ModelResult<Self> {
        let (mut a, mut b, mut weights) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            let tensor = tensor.to_dtype(DType::F32)?;
            let bare = name.strip_prefix(PEFT_PREFIX).unwrap_or(&name);
            if let Some(module) = bare.strip_suffix(".lora_A.weight") {
                a.insert(module.to_owned(), tensor);
            } else if let Some(module) = bare.strip_suffix(".lora_B.weight") {
                b.insert(module.to_owned(), tensor);
            } else {
                weights.insert(bare.to_owned(), tensor);
            }
        }
        let mut loras = BTreeMap::new();
        for (module, a) in a {
            let Some(b) = b.remove(&module) else {
                return Err(ModelError::Adapter(format!("{module} has lora_A but no lora_B")));
            };
            let rank = a.dim(0)?;
            let alpha = if config.lora_alpha > 0. { config.lora_alpha } else { rank as f64 };
            loras.insert(module, Lora { a, b, scale: alpha / rank as f64 });
        }
        Ok(Self { config, loras, weights, hash })
    }

    /// Writes an adapter folder. Weights are stored in `dtype`, low-rank factors in f32.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(
        dir: &Path,
        config: &AdapterConfig,
        loras: &BTreeMap<String, Lora>,
        weights: &BTreeMap<String, Tensor>,
        dtype: DType,
    ) -> ModelResult<()> {
        let io = |source| ModelError::Io { what: "the adapter folder", source, path: dir.into() };
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for (module, lora) in loras {
            tensors.insert(format!("{PEFT_PREFIX}{module}.lora_A.weight"), lora.a.contiguous()?);
            tensors.insert(format!("{PEFT_PREFIX}{module}.lora_B.weight"), lora.b.contiguous()?);
        }
        for (name, tensor) in weights {
            tensors.insert(name.clone(), tensor.to_dtype(dtype)?.contiguous()?);
        }
        // One entry only: the format keeps entries in no fixed order, and equal adapters should be
        // equal files.
        let origin = serde_json::json!({
            "base_hash": config.base_hash,
            "stage": config.stage,
            "data_hash": config.data_hash,
            "settings": config.settings,
        });
        let metadata = HashMap::from([("troupe".to_owned(), origin.to_string())]);
        let temporary = dir.join(format!("{ADAPTER_FILE}.part"));
        safetensors::serialize_to_file(&tensors, Some(metadata), &temporary).map_err(|e| {
            ModelError::Malformed {
                what: "the adapter",
                reason: format!("it could not be written: {e}"),
                path: temporary.clone(),
            }
        })?;
        std::fs::rename(&temporary, dir.join(ADAPTER_FILE)).map_err(io)?;
        let text = serde_json::to_string_pretty(config).unwrap_or_default();
        std::fs::write(dir.join(ADAPTER_CONFIG), text).map_err(io)
    }
}

/// What an attached adapter replaced, to be put back.
#[derive(Debug, Default)]
pub struct Replaced {
    linears: BTreeMap<String, Linear>,
    norms: BTreeMap<String, Tensor>,
}

/// Attaches `adapter` to `network` and returns what was replaced.
///
/// # Errors
/// When nothing matches, or a matched tensor has another shape.
pub fn attach(
    network: &mut Network,
    adapter: &Adapter,
    base_hash: &str,
) -> ModelResult<(Replaced, AdapterMatch)> {
    let mut replaced = Replaced::default();
    let mut matched = BTreeSet::new();
    let mut on_linear = |module: &str, linear: &mut Linear| -> Result<()> {
        let original = linear.clone();
        let key = |part: &str| format!("{module}.{part}");
        let mut touched = false;
        if let Some(weight) = adapter.weights.get(&key("weight")) {
            let bias = adapter.weights.get(&key("bias")).or(linear.bias()).cloned();
            linear.set_weight(weight.clone(), bias)?;
            matched.insert(key("weight"));
            if adapter.weights.contains_key(&key("bias")) {
                matched.insert(key("bias"));
            }
            touched = true;
        }
        if let Some(lora) = adapter.loras.get(module) {
            linear.attach(lora.clone())?;
            matched.insert(module.to_owned());
            touched = true;
        }
        if touched {
            replaced.linears.insert(module.to_owned(), original);
        }
        Ok(())
    };
    let attached = network.visit_linears(&mut on_linear).and_then(|()| {
        network.visit_norms(&mut |name, norm| {
            if let Some(weight) = adapter.weights.get(name) {
                if weight.dims() != norm.dims() {
                    candle_core::bail!("{name} is {:?}, expected {:?}", weight.dims(), norm.dims())
                }
                replaced.norms.insert(name.to_owned(), std::mem::replace(norm, weight.clone()));
                matched.insert(name.to_owned());
            }
            Ok(())
        })
    });
    if let Err(error) = attached {
        detach(network, replaced)?;
        return Err(ModelError::Adapter(error.to_string()));
    }
    let keys = adapter.loras.keys().chain(adapter.weights.keys());
    let unmatched: Vec<String> = keys.filter(|key| !matched.contains(*key)).cloned().collect();
    if matched.is_empty() {
        return Err(ModelError::Adapter(format!(
            "none of its {} tensors belongs to this model, e.g. {}",
            unmatched.len(),
            unmatched.first().map_or("-", String::as_str)
        )));
    }
    let other_base = !adapter.config.base_hash.is_empty() && adapter.config.base_hash != base_hash;
    let matched = matched.into_iter().collect();
    Ok((replaced, AdapterMatch { matched, unmatched, other_base }))
}

/// Puts back what an adapter replaced.
///
/// # Errors
/// Never for a network that `replaced` came from.
pub fn detach(network: &mut Network, mut replaced: Replaced) -> ModelResult<()> {
    network.visit_linears(&mut |module, linear| {
        if let Some(original) = replaced.linears.remove(module) {
            *linear = original;
        }
        Ok(())
    })?;
    network.visit_norms(&mut |name, norm| {
        if let Some(original) = replaced.norms.remove(name) {
            *norm = original;
        }
        Ok(())
    })?;
    Ok(())
}
