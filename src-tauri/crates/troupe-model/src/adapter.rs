//! What was learned for one character: low-rank updates and replaced weights, attached to a base at
//! run time.
//!
//! A folder holds `adapter_model.safetensors` and `adapter_config.json`, as the PEFT library writes and
//! reads them: low-rank factors are `base_model.model.<module>.lora_A.weight`, and weights that were
//! trained in full (`modules_to_save`) `base_model.model.<module>.weight`. `<module>` may begin at the
//! whole model, at the language model or at its decoder, whichever PEFT had wrapped.
//!
//! | field of the description | here |
//! |---|---|
//! | `rank_pattern`, `alpha_pattern`, `use_rslora` | as PEFT; ranks are those of the tensors |
//! | `modules_to_save`, `bias` | weights and biases replace the base's |
//! | `target_modules`, `fan_in_fan_out` | not needed: the tensors tell their modules; all layers are `[out, in]` |
//! | `peft_type` other than `LORA`; variants such as `use_dora`, `lora_bias`, `layer_replication` | refused |
//!
//! For passing on, [`compact`] writes a small form in blocks of few bits, which PEFT does not read.
//!
//! Updates of the token embedding are refused too, rather than left out. `tests/peft.rs` holds all this
//! against adapters that PEFT wrote.

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

mod compact;
mod patterns;

pub use compact::{BlockFormat, Compacted, Packed, compact};
pub use patterns::Patterns;

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
    /// Ranks of modules that differ from `r`; filled in by [`Adapter::save`].
    #[serde(default)]
    pub rank_pattern: Patterns,
    /// Alphas of modules that differ from `lora_alpha`.
    #[serde(default)]
    pub alpha_pattern: Patterns,
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
    /// Ours: tensors of the file that are blocks of few bits, by name ([`compact`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packed: BTreeMap<String, Packed>,
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

/// Fields of PEFT's description that make another method of LoRA when they are set.
const REFUSED_FIELDS: [&str; 9] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "layer_replication",
    "alora_invocation_tokens",
    "target_parameters",
    "trainable_token_indices",
    "kasa_config",
];

/// Refuses a description that asks for what would change the result and is not understood.
fn refuse_other_methods(description: &serde_json::Value) -> ModelResult<()> {
    use serde_json::Value;
    let is_set = |field: &&&str| match &description[**field] {
        Value::Null | Value::Bool(false) => false,
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => true,
    };
    let method = description["peft_type"].as_str().unwrap_or("LORA");
    let asked = if method.is_empty() || method.eq_ignore_ascii_case("lora") {
        REFUSED_FIELDS.iter().find(is_set).map(|field| format!("`{field}`"))
    } else {
        Some(format!("`peft_type` {method}"))
    };
    match asked {
        Some(field) => Err(ModelError::Adapter(format!(
            "{ADAPTER_CONFIG} asks for {field}, which is not supported; plain LoRA is"
        ))),
        None => Ok(()),
    }
}

/// Ranks and alphas of modules, from a description.
struct Scales<'a> {
    config: &'a AdapterConfig,
    ranks: patterns::Matcher,
    alphas: patterns::Matcher,
}

impl<'a> Scales<'a> {
    fn new(config: &'a AdapterConfig) -> ModelResult<Self> {
        Ok(Self {
            config,
            ranks: config.rank_pattern.matcher("rank_pattern")?,
            alphas: config.alpha_pattern.matcher("alpha_pattern")?,
        })
    }

    /// Scale of the update of rank `rank` that PEFT would give to `module`.
    fn scale(&self, module: &str, rank: usize) -> ModelResult<f64> {
        let rank = rank as f64;
        if let Some(stated) = self.ranks.value(module).filter(|stated| *stated != rank) {
            return Err(ModelError::Adapter(format!(
                "{module} has rank {rank}, but rank_pattern of {ADAPTER_CONFIG} says {stated}"
            )));
        }
        let alpha = self.alphas.value(module).unwrap_or(self.config.lora_alpha);
        let alpha = if alpha > 0. { alpha } else { rank };
        Ok(alpha / if self.config.use_rslora { rank.sqrt() } else { rank })
    }
}

/// What a tensor of an adapter's file is.
enum Part {
    /// Down projection of a module.
    A(String),
    /// Up projection of a module.
    B(String),
    /// A weight or bias that replaces the base's.
    Replacement(String),
}

/// Kinds of tensors that must not be left out silently.
const REFUSED_PARTS: [(&str, &str); 4] = [
    (".lora_magnitude_vector", "a magnitude of DoRA"),
    (".lora_embedding_", "an update of the token embedding"),
    (".trainable_tokens_", "an update of the token embedding"),
    (".lora_B.bias", "a bias of an update"),
];

impl Part {
    /// Reads a name without PEFT's prefix. Newer versions put the wrapped layer's own parts under
    /// `base_layer`, and states that were not exported keep the adapter's name.
    fn of(name: &str) -> ModelResult<Self> {
        if let Some((_, what)) = REFUSED_PARTS.iter().find(|(part, _)| name.contains(part)) {
            return Err(ModelError::Adapter(format!(
                "{name} is {what}, which is not supported; plain LoRA is"
            )));
        }
        let factor = |which: &str| {
            let (module, rest) = name.split_once(which)?;
            rest.ends_with("weight").then(|| module.to_owned())
        };
        if let Some(module) = factor(".lora_A.") {
            return Ok(Self::A(module));
        }
        if let Some(module) = factor(".lora_B.") {
            return Ok(Self::B(module));
        }
        let plain = name.replace(".modules_to_save.default.", ".");
        Ok(Self::Replacement(plain.replace(".modules_to_save.", ".").replace(".base_layer.", ".")))
    }
}

/// The checkpoint's name of a module or tensor that PEFT names from what it wrapped.
fn from_the_top(name: String) -> String {
    let starts = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    if starts(&["model.", "lm_head"]) {
        format!("language_model.{name}")
    } else if starts(&["layers.", "norm.", "norm_moe_gen.", "embed_tokens."]) {
        format!("language_model.model.{name}")
    } else {
        name
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
    /// What is added to weights, by name.
    pub differences: BTreeMap<String, Tensor>,
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
        let malformed = |path: &Path, reason: String| {
            let path = path.to_path_buf();
            ModelError::Malformed { what, reason, path }
        };
        let unreadable = |e: serde_json::Error| malformed(&config, format!("its description: {e}"));
        let description: serde_json::Value = serde_json::from_str(&text).map_err(unreadable)?;
        refuse_other_methods(&description)?;
        let config: AdapterConfig = serde_json::from_value(description).map_err(unreadable)?;
        std::fs::metadata(&file).map_err(|source| ModelError::Io {
            what,
            source,
            path: file.clone(),
        })?;
        let tensors = candle_core::safetensors::load(&file, device)
            .map_err(|e| malformed(&file, format!("{e}; it may be incomplete: export it again")))?;
        let hash = crate::weights::hash_files(std::slice::from_ref(&file))?;
        Self::from_tensors(config, tensors, hash)
    }

    /// Sorts tensors into low-rank updates and weights.
    fn from_tensors(
        config: AdapterConfig,
        tensors: HashMap<String, Tensor>,
        hash: String,
    ) -> ModelResult<Self> {
        let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
        let (mut weights, mut differences) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            let packed = config.packed.get(&name);
            let tensor = match packed {
                Some(packed) => packed.unpack(&name, &tensor)?,
                None => tensor.to_dtype(DType::F32)?,
            };
            if !crate::weights::is_finite(&tensor)? {
                return Err(ModelError::Adapter(format!(
                    "{name} holds values that are not finite; export or teach it again"
                )));
            }
            match Part::of(name.strip_prefix(PEFT_PREFIX).unwrap_or(&name))? {
                Part::A(module) => a.insert(module, tensor),
                Part::B(module) => b.insert(module, tensor),
                Part::Replacement(name) if packed.is_some_and(|packed| packed.is_difference) => {
                    differences.insert(from_the_top(name), tensor)
                }
                Part::Replacement(name) => weights.insert(from_the_top(name), tensor),
            };
        }
        let scales = Scales::new(&config)?;
        let mut loras = BTreeMap::new();
        for (module, a) in a {
            let Some(b) = b.remove(&module) else {
                return Err(ModelError::Adapter(format!("{module} has lora_A but no lora_B")));
            };
            let scale = scales.scale(&module, a.dim(0)?)?;
            loras.insert(from_the_top(module), Lora { a, b, scale });
        }
        if let Some(module) = b.keys().next() {
            return Err(ModelError::Adapter(format!("{module} has lora_B but no lora_A")));
        }
        Ok(Self { config, loras, weights, differences, hash })
    }

    /// Makes weights of the differences to those of `network`, which carries no adapter.
    ///
    /// # Errors
    /// When a difference has another shape than its weight.
    pub fn add_base(&mut self, network: &mut Network) -> ModelResult<()> {
        let Self { weights, differences, .. } = self;
        network.visit_linears(&mut |module, linear| {
            let key = format!("{module}.weight");
            if let Some(difference) = differences.remove(&key) {
                let base = linear.dense_weight()?.to_dtype(DType::F32)?;
                weights.insert(key, (base + difference)?);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes an adapter folder. Weights are stored in `dtype`, low-rank factors as they are.
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
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for (module, lora) in loras {
            tensors.insert(format!("{PEFT_PREFIX}{module}.lora_A.weight"), lora.a.contiguous()?);
            tensors.insert(format!("{PEFT_PREFIX}{module}.lora_B.weight"), lora.b.contiguous()?);
        }
        for (name, tensor) in weights {
            tensors.insert(format!("{PEFT_PREFIX}{name}"), tensor.to_dtype(dtype)?.contiguous()?);
        }
        let config = AdapterConfig {
            modules_to_save: modules_of(weights),
            packed: BTreeMap::new(),
            ..with_ranks(config.clone(), loras)?
        };
        write(dir, &config, &tensors)
    }
}

/// Writes the two files of an adapter folder.
fn write(dir: &Path, config: &AdapterConfig, tensors: &HashMap<String, Tensor>) -> ModelResult<()> {
    let io = |source| ModelError::Io { what: "the adapter folder", source, path: dir.into() };
    std::fs::create_dir_all(dir).map_err(io)?;
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
    safetensors::serialize_to_file(tensors, Some(metadata), &temporary).map_err(|e| {
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

/// `config` with the ranks of `loras`, without which PEFT could not read them.
fn with_ranks(
    mut config: AdapterConfig,
    loras: &BTreeMap<String, Lora>,
) -> ModelResult<AdapterConfig> {
    let mut ranks = Vec::with_capacity(loras.len());
    for (module, lora) in loras {
        ranks.push((module.clone(), lora.a.dim(0)?));
    }
    if config.r == 0 {
        config.r = ranks.first().map_or(0, |(_, rank)| *rank);
    }
    let others = ranks.into_iter().filter(|(_, rank)| *rank != config.r);
    config.rank_pattern = others.map(|(module, rank)| (module, rank as f64)).collect();
    Ok(config)
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
        let keys = [format!("{module}.weight"), format!("{module}.bias")];
        let [weight, bias] = keys.each_ref().map(|key| adapter.weights.get(key));
        let (lora, difference) = (adapter.loras.get(module), adapter.differences.get(&keys[0]));
        if weight.is_none() && bias.is_none() && lora.is_none() && difference.is_none() {
            return Ok(());
        }
        let named = |e: candle_core::Error| candle_core::Error::Msg(format!("{module}: {e}"));
        let in_dtype = |tensor: Option<&Tensor>| tensor.map(|t| t.to_dtype(dtype)).transpose();
        if let Some(weight) = in_dtype(weight)? {
            let bias = linear.bias().cloned();
            linear.set_weight(weight, bias).map_err(named)?;
        }
        if let Some(difference) = in_dtype(difference)? {
            let (weight, bias) = (linear.dense_weight()?.to_dtype(dtype)?, linear.bias().cloned());
            linear.set_weight((weight + difference).map_err(named)?, bias)?;
        }
        if let Some(bias) = in_dtype(bias)? {
            linear.set_bias(bias).map_err(named)?;
        }
        if let Some(lora) = lora {
            let (a, b) = (lora.a.to_dtype(dtype)?, lora.b.to_dtype(dtype)?);
            linear.attach(Lora { a, b, scale: lora.scale }).map_err(named)?;
            matched.insert(module.to_owned());
        }
        let is_used = |key: &String| {
            adapter.weights.contains_key(key) || adapter.differences.contains_key(key)
        };
        matched.extend(keys.into_iter().filter(is_used));
        replaced.linears.insert(module.to_owned(), original);
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
    let keys = adapter.loras.keys().chain(adapter.weights.keys()).chain(adapter.differences.keys());
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
        let scale = |config: &AdapterConfig, module: &str, rank: usize| {
            Scales::new(config).unwrap().scale(module, rank).unwrap()
        };
        assert_eq!(scale(&plain, "model.q_proj", 16), 2.);
        let stable = config(
            r#"{"lora_alpha": 32, "use_rslora": true, "modules_to_save": null,
                "alpha_pattern": {"k_proj": 8}}"#,
        );
        assert_eq!(scale(&stable, "model.q_proj", 16), 8.); // 32 / √16
        assert_eq!(scale(&stable, "model.k_proj", 16), 2.); // 8 / √16
        assert_eq!(scale(&config("{}"), "q_proj", 4), 1.); // no alpha: that of the rank
    }

    #[test]
    fn a_factor_without_its_partner_is_named() {
        let a = Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let tensors = HashMap::from([("base_model.model.x.lora_A.weight".to_owned(), a)]);
        let error = Adapter::from_tensors(config("{}"), tensors, String::new()).unwrap_err();
        assert!(error.to_string().contains("x has lora_A but no lora_B"), "{error}");
    }

    fn zeros(shape: (usize, usize)) -> Tensor {
        Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
    }

    fn read(text: &str, names: &[&str]) -> ModelResult<Adapter> {
        let tensor = |name: &&str| {
            let shape = if name.contains("lora_B") { (4, 2) } else { (2, 4) };
            (format!("base_model.model.{name}"), zeros(shape))
        };
        Adapter::from_tensors(config(text), names.iter().map(tensor).collect(), String::new())
    }

    #[test]
    fn names_are_those_of_the_checkpoint_whatever_was_wrapped() {
        let names = [
            "layers.0.self_attn.q_proj.lora_A.weight",
            "layers.0.self_attn.q_proj.lora_B.weight",
            "model.layers.1.self_attn.q_proj.lora_A.default.weight",
            "model.layers.1.self_attn.q_proj.lora_B.default.weight",
            "model.layers.1.self_attn.q_proj.base_layer.bias",
            "language_model.model.layers.2.mlp_moe_gen.up_proj.lora_A.weight",
            "language_model.model.layers.2.mlp_moe_gen.up_proj.lora_B.weight",
            "lm_head.modules_to_save.default.weight",
            "norm.weight",
        ];
        let adapter = read("{}", &names).unwrap();
        let at = "language_model.model.layers";
        let loras = [".0.self_attn.q_proj", ".1.self_attn.q_proj", ".2.mlp_moe_gen.up_proj"];
        assert_eq!(
            adapter.loras.keys().cloned().collect::<Vec<_>>(),
            loras.map(|l| format!("{at}{l}"))
        );
        let weights = [
            "language_model.lm_head.weight".to_owned(),
            format!("{at}.1.self_attn.q_proj.bias"),
            "language_model.model.norm.weight".to_owned(),
        ];
        assert_eq!(adapter.weights.keys().cloned().collect::<Vec<_>>(), weights);
    }

    #[test]
    fn a_rank_pattern_that_disagrees_with_the_tensors_is_named() {
        let names = ["model.q_proj.lora_A.weight", "model.q_proj.lora_B.weight"];
        let text = |rank: usize| format!(r#"{{"r": 8, "rank_pattern": {{"q_proj": {rank}}}}}"#);
        assert_eq!(read(&text(2), &names).unwrap().loras.len(), 1);
        let error = read(&text(3), &names).unwrap_err().to_string();
        assert!(error.contains("model.q_proj has rank 2") && error.contains("says 3"), "{error}");
    }

    #[test]
    fn what_is_no_plain_lora_is_refused_by_name() {
        for (text, field) in [
            (r#"{"peft_type": "IA3"}"#, "`peft_type` IA3"),
            (r#"{"use_dora": true}"#, "`use_dora`"),
            (r#"{"lora_bias": true}"#, "`lora_bias`"),
            (r#"{"layer_replication": [[0, 2], [1, 3]]}"#, "`layer_replication`"),
        ] {
            let description = serde_json::from_str(text).unwrap();
            let error = refuse_other_methods(&description).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        let plain = r#"{"peft_type": "LORA", "fan_in_fan_out": true, "layer_replication": null}"#;
        refuse_other_methods(&serde_json::from_str(plain).unwrap()).unwrap();
        for name in [
            "model.embed_tokens.lora_embedding_A",
            "model.layers.0.q_proj.lora_magnitude_vector",
            "model.layers.0.q_proj.lora_B.bias",
        ] {
            let error = read("{}", &[name]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = read("{}", &["model.x.lora_B.weight"]).unwrap_err().to_string();
        assert!(error.contains("model.x has lora_B but no lora_A"), "{error}");
    }

    #[test]
    fn saved_ranks_can_be_read_by_peft() {
        let lora = |rank| Lora { a: zeros((rank, 4)), b: zeros((4, rank)), scale: 1. };
        let loras =
            BTreeMap::from([("x.q_proj".to_owned(), lora(2)), ("x.v_proj".to_owned(), lora(5))]);
        let saved = with_ranks(AdapterConfig { r: 2, ..AdapterConfig::default() }, &loras).unwrap();
        let text = serde_json::to_string(&saved).unwrap();
        assert!(text.contains(r#""rank_pattern":{"x.v_proj":5}"#), "{text}");
        assert_eq!(with_ranks(AdapterConfig::default(), &loras).unwrap().r, 2);
    }
}
