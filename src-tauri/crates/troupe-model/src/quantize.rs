//! Writes a model folder with the linear layers of both experts quantised.
//!
//! The result is one GGUF file of our own ([`crate::gguf::OWN_ARCHITECTURE`]) with the checkpoint's
//! tensor names, beside a nested `config.json`, the tokenizer and the codec. Linear layers of the
//! language model are quantised; embeddings, vision tower and drawing heads become half floats, norms
//! and biases stay f32. A width that does not fit the blocks of Q4_K takes Q8_0.

use std::{
    collections::BTreeMap,
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{
    DType, Device,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use serde::Serialize;
use troupe_nn::quant::QuantKind;

use crate::{
    config::ModelConfig,
    error::{ModelError, ModelResult},
    gguf::{GgufFile, OWN_ARCHITECTURE},
    inspect::required_tensors,
    runtime::ModelFiles,
    weights::Weights,
};

/// Name of the written file.
pub const QUANTISED_FILE: &str = "model.gguf";
/// Files that are copied as they are.
const COPIED: [&str; 5] =
    ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "ae.safetensors"];

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantised {
    /// Tensors by stored type.
    pub dtypes: BTreeMap<String, usize>,
    /// Bytes of the weights before, as stored.
    pub bytes_before: u64,
    /// Bytes of the written file.
    pub bytes_after: u64,
    /// The file.
    pub file: PathBuf,
}

/// How a tensor of this name and shape is stored.
fn stored_as(name: &str, shape: &[usize], kind: QuantKind) -> GgmlDType {
    let [_, width] = shape else { return GgmlDType::F32 };
    let is_linear = name.starts_with("language_model.") && !name.contains("embed_tokens");
    match kind.fitting(*width) {
        Some(fitting) if is_linear => fitting.ggml(),
        _ => GgmlDType::F16,
    }
}

/// Quantises the model in `dir` into the new folder `out`. Needs about the size of the result in
/// memory.
///
/// # Errors
/// When `out` exists, the model cannot be read or disagrees with its configuration, or the disk is
/// full; nothing is left behind then.
pub fn quantize(dir: &Path, out: &Path, kind: QuantKind) -> ModelResult<Quantised> {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = out.with_file_name(name);
    // Neither is ever written into: what stands there may be somebody's.
    if let Some(taken) = [out, &part].into_iter().find(|path| path.exists()) {
        let path = taken.display();
        return Err(ModelError::Request(format!(
            "{path} exists already; name a new folder, or delete it if it is an unfinished copy"
        )));
    }
    let written = write_folder(dir, &part, kind).and_then(|mut written| {
        fs::rename(&part, out).map_err(|e| io("the new model folder", out)(e))?;
        written.file = out.join(QUANTISED_FILE);
        Ok(written)
    });
    if written.is_err()
        && part.exists()
        && let Err(error) = fs::remove_dir_all(&part)
    {
        tracing::warn!("an unfinished copy could not be removed: {error} ({})", part.display());
    }
    written
}

fn io(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> ModelError {
    let path = path.to_path_buf();
    move |source| ModelError::Io { what, source, path: path.clone() }
}

fn write_folder(dir: &Path, part: &Path, kind: QuantKind) -> ModelResult<Quantised> {
    let (config, files) = (ModelConfig::from_dir(dir)?, ModelFiles::find(dir)?);
    fs::create_dir_all(part).map_err(io("the new model folder", part))?;
    let text = serde_json::to_string_pretty(&config)
        .map_err(|e| ModelError::Request(format!("the configuration cannot be written: {e}")))?;
    fs::write(part.join("config.json"), text).map_err(io("the new configuration", part))?;
    for name in COPIED.iter().filter(|name| dir.join(name).exists()) {
        fs::copy(dir.join(name), part.join(name)).map_err(io("a model file", part))?;
    }
    let mut metadata = vec![(
        "general.architecture".to_owned(),
        gguf_file::Value::String(OWN_ARCHITECTURE.into()),
    )];
    if let Some(gguf) = &files.gguf {
        metadata.extend(GgufFile::open(gguf)?.metadata_under("tokenizer."));
    }
    let tensors = quantise_all(&config, &Arc::new(files.source()?), kind)?;
    let mut dtypes = BTreeMap::new();
    for (_, tensor) in &tensors {
        *dtypes.entry(format!("{:?}", tensor.dtype())).or_insert(0) += 1;
    }
    let file = part.join(QUANTISED_FILE);
    let writer = fs::File::create(&file).map_err(io("the new weights", &file))?;
    let metadata: Vec<(&str, &gguf_file::Value)> =
        metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let views: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut BufWriter::new(writer), &metadata, &views)?;
    let size = |path: &PathBuf| fs::metadata(path).map(|m| m.len()).map_err(io("weights", path));
    Ok(Quantised {
        dtypes,
        bytes_before: files.weights.iter().chain(&files.gguf).map(size).sum::<Result<_, _>>()?,
        bytes_after: size(&file)?,
        file,
    })
}

/// Every tensor that the configuration asks for, one at a time in f32.
fn quantise_all(
    config: &ModelConfig,
    weights: &Arc<Weights>,
    kind: QuantKind,
) -> ModelResult<Vec<(String, QTensor)>> {
    let builder = weights.builder(DType::F32, &Device::Cpu);
    let mut tensors = Vec::new();
    let network = required_tensors(config)?.into_iter().filter(|(name, _)| {
        !name.starts_with("encoder.") && !name.starts_with("decoder.") // the codec has its own file
    });
    for (name, shape) in network {
        if name.ends_with("pos_embed") && !builder.contains_tensor(&name) {
            continue; // computed
        }
        let tensor = builder.get(shape.as_slice(), &name)?;
        let stored = stored_as(&name, &shape, kind);
        tensors.push((name, QTensor::quantize(&tensor, stored)?));
    }
    let mismatch = weights.mismatch(|_| true);
    if mismatch.is_empty() { Ok(tensors) } else { Err(ModelError::Weights(mismatch)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_language_models_matrices_are_quantised() {
        let q4 = |name: &str, shape: &[usize]| stored_as(name, shape, QuantKind::Q4K);
        let layer = "language_model.model.layers.0.mlp_moe_gen.gate_proj.weight";
        assert_eq!(q4(layer, &[8, 512]), GgmlDType::Q4K);
        assert_eq!(q4(layer, &[8, 576]), GgmlDType::Q8_0);
        assert_eq!(q4(layer, &[8, 20]), GgmlDType::F16);
        assert_eq!(q4("language_model.model.embed_tokens.weight", &[8, 512]), GgmlDType::F16);
        assert_eq!(q4("vae2llm.weight", &[8, 512]), GgmlDType::F16);
        assert_eq!(q4("language_model.model.norm.weight", &[512]), GgmlDType::F32);
    }
}
