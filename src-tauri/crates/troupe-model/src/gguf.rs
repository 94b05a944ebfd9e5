//! Reads GGUF files: Llama-shaped ones as the understanding expert of a unified model, and our own,
//! which [`crate::quantize`] writes, as the whole network.
//!
//! Tensors of a Llama-shaped file appear under the checkpoint's names, with llama.cpp's permutation
//! of query and key rows undone (llama.cpp, `convert_hf_to_gguf.py`, `LlamaModel.permute`). Our own
//! files carry the architecture `troupe` and the checkpoint's names.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use candle_core::{
    Device, Result, Shape, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{Content, Value},
    },
};

use crate::error::{ModelError, ModelResult};

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    content: Content,
    reader: Mutex<BufReader<File>>,
    names: BTreeMap<String, String>, // ours → the file's
    is_own: bool,
    path: PathBuf,
}

/// Numbers of a Llama-shaped GGUF, under their names in our configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GgufShape {
    /// Model width.
    pub hidden_size: usize,
    /// MLP width.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Longest context.
    pub max_position_embeddings: usize,
}

/// Value of `general.architecture` in files that hold a whole network under the checkpoint's names.
pub const OWN_ARCHITECTURE: &str = "troupe";

/// The checkpoint's name of a GGUF tensor.
fn our_name(theirs: &str) -> Option<String> {
    const MODEL: &str = "language_model.model";
    match theirs {
        "token_embd.weight" => return Some(format!("{MODEL}.embed_tokens.weight")),
        "output_norm.weight" => return Some(format!("{MODEL}.norm.weight")),
        "output.weight" => return Some("language_model.lm_head.weight".into()),
        _ => {}
    }
    let (layer, rest) = theirs.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let module = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("{MODEL}.layers.{layer}.{module}.{kind}"))
}

impl GgufFile {
    /// Opens a file and reads its directory.
    ///
    /// # Errors
    /// When it cannot be read, is no GGUF file or is truncated.
    pub fn open(path: &Path) -> ModelResult<Self> {
        let what = "the GGUF file";
        let file = File::open(path).map_err(|source| ModelError::Io {
            what,
            source,
            path: path.to_path_buf(),
        })?;
        let size = file
            .metadata()
            .map_err(|source| ModelError::Io { what, source, path: path.to_path_buf() })?
            .len();
        let malformed =
            |reason: String| ModelError::Malformed { what, reason, path: path.to_path_buf() };
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader).map_err(|e| malformed(e.to_string()))?;
        for (name, info) in &content.tensor_infos {
            let block = info.ggml_dtype.block_size();
            let bytes = info.shape.elem_count() / block * info.ggml_dtype.type_size();
            if content.tensor_data_offset + info.offset + bytes as u64 > size {
                return Err(malformed(format!(
                    "tensor {name} lies beyond its end; the file is incomplete: copy it again"
                )));
            }
        }
        let is_own = matches!(content.metadata.get("general.architecture"),
            Some(Value::String(name)) if name == OWN_ARCHITECTURE);
        let ours = |theirs: &str| if is_own { Some(theirs.to_owned()) } else { our_name(theirs) };
        let names = content
            .tensor_infos
            .keys()
            .filter_map(|theirs| Some((ours(theirs)?, theirs.clone())))
            .collect();
        Ok(Self { content, reader: Mutex::new(reader), names, is_own, path: path.to_path_buf() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file holds a whole network under the checkpoint's names.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Names of the tensors, in the checkpoint's vocabulary.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Shape and type of every tensor.
    pub fn shapes(&self) -> BTreeMap<String, (Vec<usize>, String)> {
        let info = |theirs: &String| {
            let info = self.content.tensor_infos.get(theirs)?;
            Some((info.shape.dims().to_vec(), format!("{:?}", info.ggml_dtype)))
        };
        self.names.iter().filter_map(|(ours, theirs)| Some((ours.clone(), info(theirs)?))).collect()
    }

    /// True when the file holds the tensor.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// A tensor as it is stored, when it is stored in blocks under the checkpoint's name; files of
    /// other programs have their rows in another order and give nothing.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn blocks(&self, name: &str, device: &Device) -> Result<Option<QTensor>> {
        if self.blocks_shape(name).is_none() {
            return Ok(None);
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.content.tensor(&mut *reader, name, device).map(Some)
    }

    /// Shape of a tensor that [`blocks`](Self::blocks) would give.
    pub fn blocks_shape(&self, name: &str) -> Option<Shape> {
        let info = self.content.tensor_infos.get(name).filter(|_| self.is_own)?;
        let is_plain = matches!(info.ggml_dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        (!is_plain).then(|| info.shape.clone())
    }

    /// Metadata under `prefix`, such as the tokenizer's.
    pub fn metadata_under(&self, prefix: &str) -> Vec<(String, Value)> {
        let under = self.content.metadata.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut under: Vec<_> = under.map(|(k, v)| (k.clone(), v.clone())).collect();
        under.sort_by(|a, b| a.0.cmp(&b.0));
        under
    }

    /// A metadata value.
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    fn number(&self, key: &str) -> ModelResult<usize> {
        let architecture = match self.metadata("general.architecture") {
            Some(Value::String(name)) => name.as_str(),
            _ => "llama",
        };
        let key = format!("{architecture}.{key}");
        self.metadata(&key).and_then(|v| v.to_u32().ok()).map(|v| v as usize).ok_or_else(|| {
            ModelError::Malformed {
                what: "the GGUF file",
                reason: format!("it has no number `{key}`"),
                path: self.path.clone(),
            }
        })
    }

    /// The network's numbers.
    ///
    /// # Errors
    /// When one is missing.
    pub fn shape(&self) -> ModelResult<GgufShape> {
        Ok(GgufShape {
            hidden_size: self.number("embedding_length")?,
            intermediate_size: self.number("feed_forward_length")?,
            num_hidden_layers: self.number("block_count")?,
            num_attention_heads: self.number("attention.head_count")?,
            num_key_value_heads: self.number("attention.head_count_kv")?,
            max_position_embeddings: self.number("context_length")?,
        })
    }

    /// A tensor in f32.
    ///
    /// # Errors
    /// When the file does not hold it or cannot be read.
    pub fn dequantize(&self, name: &str, device: &Device) -> Result<Tensor> {
        let Some(theirs) = self.names.get(name) else {
            return Err(candle_core::Error::CannotFindTensor { path: name.into() }.bt());
        };
        let tensor = {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            self.content.tensor(&mut *reader, theirs, &Device::Cpu)?
        };
        let tensor = tensor.dequantize(&Device::Cpu)?;
        let heads = match theirs.rsplit('.').nth(1) {
            Some("attn_q") => Some("attention.head_count"),
            Some("attn_k") => Some("attention.head_count_kv"),
            _ => None,
        };
        let tensor = match heads {
            Some(key) => {
                let heads = self.number(key).map_err(candle_core::Error::wrap)?;
                unpermute(&tensor, heads)?
            }
            None => tensor,
        };
        tensor.to_device(device)
    }
}

/// Rows in llama.cpp's order (head, pair, half) as (head, half, pair).
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (o, i) = weight.dims2()?;
    weight.reshape((heads, o / heads / 2, 2, i))?.transpose(1, 2)?.contiguous()?.reshape((o, i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_checkpoint() {
        assert_eq!(
            our_name("blk.7.attn_q.weight").as_deref(),
            Some("language_model.model.layers.7.self_attn.q_proj.weight")
        );
        assert_eq!(our_name("rope_freqs.weight"), None);
    }

    #[test]
    fn rows_return_to_their_halves() -> Result<()> {
        // One head of width 4: the file holds rows 0, 2, 1, 3 of the original.
        let file = Tensor::new(&[[0f32], [2.], [1.], [3.]], &Device::Cpu)?;
        assert_eq!(unpermute(&file, 1)?.flatten_all()?.to_vec1::<f32>()?, [0., 1., 2., 3.]);
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_gguf_says_so() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("troupe-{}-not.gguf", std::process::id()));
        std::fs::write(&path, b"not a model")?;
        let error = GgufFile::open(&path).unwrap_err().to_string();
        std::fs::remove_file(&path)?;
        assert!(error.contains("the GGUF file is not usable"), "{error}");
        Ok(())
    }
}
