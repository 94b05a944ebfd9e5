//! What was learned for one character: low-rank updates and replaced weights, attached to a base at
//! run time.
//!
//! A folder holds `adapter_model.safetensors` and `adapter_config.json`, as the PEFT library writes and
//! reads them: low-rank factors are `base_model.model.<module>.lora_A.weight`, and weights that were
//! trained in full (`modules_to_save`) `base_model.model.<module>.weight`. PEFT's patterns of ranks and
//! alphas and its rank-stabilised scale are understood.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use troupe_nn::linear::{Linear, Lora};

use crate::{
    error::{ModelError, ModelResult},
    unified::Network,
};

/// File of the tensors.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// Name that earlier versions gave it.
const EARLIER_ADAPTER_FILE: &str = "adapter.safetensors";
/// File of the description.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
const PEFT_PREFIX: &str = "base_model.model.";

/// The file of the tensors in an adapter folder, also under its earlier name; it need not exist.
pub fn adapter_file(dir: &Path) -> PathBuf {
    let earlier = dir.join(EARLIER_ADAPTER_FILE);
    let present = dir.join(ADAPTER_FILE);
    if earlier.exists() && !present.exists() { earlier } else { present }
}

/// Description of an adapter. The first fields are PEFT's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Modules that carry low-rank updates; PEFT also allows one pattern, which is kept as it is.
    #[serde(default, deserialize_with = "one_or_many")]
    pub target_modules: Vec<String>,
    /// Modules that were trained in full; filled in by [`Adapter::save`].
    #[serde(default, deserialize_with = "one_or_many")]
    pub modules_to_save: Vec<String>,
    /// Whether the scale is `alpha / √rank` (rsLoRA, arXiv:2312.03732).
    #[serde(default)]
    pub use_rslora: bool,
    /// Alphas of modules, by the end of their names, that differ from `lora_alpha`.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
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

/// A list of names, a single one, or nothing.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Names>::deserialize(from)? {
        None => Vec::new(),
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
    })
}

impl AdapterConfig {
    /// Scale of a module's update of rank `rank`.
    fn scale(&self, module: &str, rank: usize) -> f64 {
        let ends = |pattern: &str| module == pattern || module.ends_with(&format!(".{pattern}"));
        let alpha = self.alpha_pattern.iter().find(|(pattern, _)| ends(pattern));
        let alpha = alpha.map_or(self.lora_alpha, |(_, alpha)| *alpha);
        let rank = rank as f64;
        let alpha = if alpha > 0. { alpha } else { rank };
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
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
            let file = adapter_file(path);
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
            if !crate::weights::is_finite(&tensor)? {
                return Err(ModelError::Adapter(format!(
                    "{name} holds values that are not finite; export or teach it again"
                )));
            }
            let bare = name.strip_prefix(PEFT_PREFIX).unwrap_or(&name);
            if let Some(module) = bare.strip_suffix(".lora_A.weight") {
                a.insert(module.to_owned(), tensor);
            } else if let Some(module) = bare.strip_suffix(".lora_B.weight") {
                b.insert(module.to_owned(), tensor);
            } else {
                weights.insert(bare.replace(".modules_to_save.default.", "."), tensor);
            }
        }
        let mut loras = BTreeMap::new();
        for (module, a) in a {
            let Some(b) = b.remove(&module) else {
                return Err(ModelError::Adapter(format!("{module} has lora_A but no lora_B")));
            };
            let scale = config.scale(&module, a.dim(0)?);
            loras.insert(module, Lora { a, b, scale });
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
            tensors.insert(format!("{PEFT_PREFIX}{name}"), tensor.to_dtype(dtype)?.contiguous()?);
        }
        let config = &AdapterConfig { modules_to_save: modules_of(weights), ..config.clone() };
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

/// Modules that a set of weights belongs to.
fn modules_of(weights: &BTreeMap<String, Tensor>) -> Vec<String> {
    let module = |name: &String| Some(name.rsplit_once('.')?.0.to_owned());
    let modules: BTreeSet<String> = weights.keys().filter_map(module).collect();
    modules.into_iter().collect()
}

/// What an attached adapter replaced, to be put back.
#[derive(Debug, Default)]
pub struct Replaced {
    linears: BTreeMap<String, Linear>,
    norms: BTreeMap<String, Tensor>,
}

/// Attaches `adapter` to `network`, in the network's type, and returns what was replaced.
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
    let dtype = network.dtype();
    let mut on_linear = |module: &str, linear: &mut Linear| -> candle_core::Result<()> {
        let original = linear.clone();
        let key = |part: &str| format!("{module}.{part}");
        let mut touched = false;
        if let Some(weight) = adapter.weights.get(&key("weight")) {
            let bias = adapter.weights.get(&key("bias")).or(linear.bias());
            let bias = bias.map(|bias| bias.to_dtype(dtype)).transpose()?;
            linear.set_weight(weight.to_dtype(dtype)?, bias)?;
            matched.insert(key("weight"));
            if adapter.weights.contains_key(&key("bias")) {
                matched.insert(key("bias"));
            }
            touched = true;
        }
        if let Some(lora) = adapter.loras.get(module) {
            let (a, b) = (lora.a.to_dtype(dtype)?, lora.b.to_dtype(dtype)?);
            linear.attach(Lora { a, b, scale: lora.scale })?;
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
                let weight = weight.to_dtype(dtype)?;
                replaced.norms.insert(name.to_owned(), std::mem::replace(norm, weight));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> AdapterConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_scale_follows_pefts_fields() {
        let plain = config(r#"{"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}"#);
        assert_eq!(plain.target_modules, ["all-linear"]);
        assert_eq!(plain.scale("model.q_proj", 16), 2.);
        let stable = config(
            r#"{"lora_alpha": 32, "use_rslora": true, "modules_to_save": null,
                "alpha_pattern": {"k_proj": 8}}"#,
        );
        assert_eq!(stable.scale("model.q_proj", 16), 8.); // 32 / √16
        assert_eq!(stable.scale("model.k_proj", 16), 2.); // 8 / √16
        assert_eq!(config("{}").scale("q_proj", 4), 1.); // no alpha: that of the rank
    }

    #[test]
    fn a_factor_without_its_partner_is_named() {
        let a = Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let tensors = HashMap::from([("base_model.model.x.lora_A.weight".to_owned(), a)]);
        let error = Adapter::from_tensors(config("{}"), tensors, String::new()).unwrap_err();
        assert!(error.to_string().contains("x has lora_A but no lora_B"), "{error}");
    }
}
