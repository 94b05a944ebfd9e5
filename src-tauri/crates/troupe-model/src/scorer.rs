//! How well a picture fits a text: the model's vision tower beside a small text tower.
//!
//! Both sides end in vectors of length one whose product is a similarity. The picture side is the
//! tower that the language model sees through; the text side reads the understanding expert's
//! token embeddings, which stay as they are.
//!
//! Source: SigLIP (arXiv:2303.15343), with the mean of a text's tokens and, of a picture's patches, the
//! mean or all of them side by side ([`PatchPooling`]) instead of a pooling head.
//! Checkpoint prefixes: `vit_model.vision_model`, `scorer`.
//! Shapes: b = pictures or texts, n = patches or tokens of all, w = tower width, h = model width,
//! d = width of the common space.

use std::{path::Path, sync::Arc};

use candle_core::{D, DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_nn::{
    linear::Linear,
    mask::{AttnMask, AttnSpan},
};

use crate::{
    config::ModelConfig,
    error::{ModelError, ModelResult},
    gguf::GgufFile,
    image_ops::{fit_square, normalise},
    llm::load_linear,
    runtime::ModelFiles,
    tokens::TextTokenizer,
    vit::{EncoderLayer, LayerNorm, VisionTower, VitConfig, patchify_picture},
    weights::Weights,
};

/// Prefix of the tensors that only the scorer uses.
pub const SCORER_PREFIX: &str = "scorer.";
/// Tensor by which a folder is known to hold a scorer.
pub const SCALE_TENSOR: &str = "scorer.logit_scale";
/// Tensor of the similarity's offset.
pub const BIAS_TENSOR: &str = "scorer.logit_bias";
/// The understanding expert's token embeddings.
const EMBEDDING_TENSOR: &str = "language_model.model.embed_tokens.weight";

/// How the features of a picture's patches become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchPooling {
    /// Their mean: where something is has to be told by the features themselves, which a small tower
    /// learns slowly.
    #[default]
    Mean,
    /// All of them side by side, so that the projection has weights of its own for every place.
    Places,
}

/// Sizes of the text tower; its layers are shaped like the vision tower's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScorerConfig {
    /// Layers of the text tower.
    pub num_hidden_layers: usize,
    /// Width of the common space (d).
    pub projection_dim: usize,
    /// Tokens read of a text; the rest is cut off.
    pub max_tokens: usize,
    /// What the picture's projection reads.
    pub patch_pooling: PatchPooling,
}

impl Default for ScorerConfig {
    fn default() -> Self {
        Self {
            num_hidden_layers: 3,
            projection_dim: 256,
            max_tokens: 64,
            patch_pooling: PatchPooling::default(),
        }
    }
}

/// Everything that a caption passes through.
#[derive(Debug, Clone)]
struct TextTower {
    embedding: Tensor, // (v, h), not trained
    token_projection: Linear,
    position_embedding: Tensor, // (max_tokens, w)
    layers: Vec<EncoderLayer>,
    final_layernorm: LayerNorm,
    projection: Linear,
}

impl TextTower {
    fn load(cfg: &ModelConfig, embedding: Tensor, vb: &VarBuilder) -> Result<Self> {
        let (scorer, vit) = (&cfg.scorer_config, &cfg.vit_config);
        let (w, h) = (vit.hidden_size, cfg.llm_config.hidden_size);
        let layers = vb.pp("encoder").pp("layers");
        Ok(Self {
            embedding,
            token_projection: load_linear(&vb.pp("token_projection"), h, w, true)?,
            position_embedding: vb
                .pp("position_embedding")
                .get((scorer.max_tokens, w), "weight")?,
            layers: (0..scorer.num_hidden_layers)
                .map(|i| EncoderLayer::load(vit, &layers.pp(i)))
                .collect::<Result<_>>()?,
            final_layernorm: LayerNorm::load(vit, &vb.pp("final_layernorm"))?,
            projection: load_linear(&vb.pp("projection"), w, scorer.projection_dim, false)?,
        })
    }

    /// Vectors (b, d) of texts, before normalisation.
    fn forward(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let longest = self.position_embedding.dim(0)?;
        let texts: Vec<&[u32]> = texts.iter().map(|ids| &ids[..ids.len().min(longest)]).collect();
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let device = self.position_embedding.device();
        let positions: Vec<u32> = lengths.iter().flat_map(|n| 0..*n as u32).collect();
        let ids = Tensor::new(texts.concat(), device)?;
        let dtype = self.position_embedding.dtype();
        let words = self.embedding.index_select(&ids, 0)?.to_dtype(dtype)?; // (n, h)
        let positions =
            self.position_embedding.index_select(&Tensor::new(positions, device)?, 0)?;
        let mut xs = (self.token_projection.forward(&words)? + positions)?; // (n, w)
        let mask = side_by_side(&lengths);
        for layer in &self.layers {
            xs = layer.forward(&xs, &mask)?;
        }
        let xs = self.final_layernorm.forward(&xs)?;
        let pool = mean_pool(&lengths, device)?.to_dtype(dtype)?; // (b, n)
        self.projection.forward(&pool.matmul(&xs)?)
    }
}

/// Each item sees itself and no other.
fn side_by_side(lengths: &[usize]) -> AttnMask {
    let mut start = 0;
    let spans = lengths
        .iter()
        .map(|n| {
            let range = start..start + n;
            start += n;
            AttnSpan { queries: range.clone(), keys: vec![range], causal: false }
        })
        .collect();
    AttnMask { num_queries: start, num_keys: start, spans }
}

/// Matrix (b, n) that takes the mean of each item's rows.
fn mean_pool(lengths: &[usize], device: &Device) -> Result<Tensor> {
    let total: usize = lengths.iter().sum();
    let mut cells = vec![0f32; lengths.len() * total];
    let mut start = 0;
    for (row, n) in lengths.iter().enumerate() {
        cells[row * total + start..][..*n].fill(1. / *n as f32);
        start += n;
    }
    Tensor::from_vec(cells, (lengths.len(), total), device)
}

/// Rows (b, d) scaled to length one.
fn unit(xs: &Tensor) -> Result<Tensor> {
    let norm = (xs.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
    xs.broadcast_div(&norm)
}

/// Pictures and texts as vectors in a common space.
pub trait Embedder {
    /// Unit vectors (b, d) of pictures of any size.
    ///
    /// # Errors
    /// When there is no picture or the computation fails.
    fn embed_pictures(&self, pictures: &[RgbImage]) -> ModelResult<Tensor>;

    /// Unit vectors (b, d) of texts.
    ///
    /// # Errors
    /// When there is no text or the computation fails.
    fn embed_texts(&self, texts: &[String]) -> ModelResult<Tensor>;
}

/// A picture side and a text side with a common space.
///
/// ```no_run
/// # use std::path::Path;
/// # use troupe_model::scorer::{DualEncoder, Embedder};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scorer = DualEncoder::load(Path::new("assets/models/mini"))?;
/// let picture = image::open("cat.png")?.to_rgb8();
/// let pictures = scorer.embed_pictures(&[picture])?; // (1, d)
/// let texts = scorer.embed_texts(&["A cat.".into(), "A dog.".into()])?; // (2, d)
/// let similarity = pictures.matmul(&texts.t()?)?; // (1, 2), cosines
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DualEncoder {
    tower: VisionTower,
    picture_projection: Linear,
    text: TextTower,
    logit_scale: Tensor, // (1), natural logarithm of the factor
    logit_bias: Tensor,  // (1)
    tokenizer: TextTokenizer,
    cfg: ModelConfig,
}

/// Pictures or texts that run together when embedded for use.
const EMBED_BATCH: usize = 32;

impl DualEncoder {
    /// Loads the scorer of a model folder, on the CPU. The language model is not loaded, only its
    /// token embeddings.
    ///
    /// # Errors
    /// When the folder is unusable or holds no scorer.
    pub fn load(dir: &Path) -> ModelResult<Self> {
        let files = ModelFiles::find(dir)?;
        let weights = Arc::new(files.source()?);
        if !weights.shapes().contains_key(SCALE_TENSOR) {
            return Err(ModelError::Malformed {
                what: "the model folder",
                reason: "it cannot compare pictures with texts: no file in it holds `scorer.` \
                         tensors; train them with `troupe pretrain vision`"
                    .into(),
                path: dir.to_path_buf(),
            });
        }
        let mut scorer = Self::from_weights(dir, &weights)?;
        scorer.text.embedding = scorer.text.embedding.to_dtype(DType::F16)?;
        Ok(scorer)
    }

    /// Builds the scorer from `weights`, which may make some of them fresh or trainable.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the folder has no tokenizer.
    pub fn from_weights(dir: &Path, weights: &Arc<Weights>) -> ModelResult<Self> {
        let cfg = ModelConfig::from_dir(dir)?;
        let gguf = ModelFiles::find(dir)?.gguf.as_deref().map(GgufFile::open).transpose()?;
        let (names, template) = (&cfg.special_token_names, &cfg.text_template);
        let tokenizer = TextTokenizer::from_dir(dir, gguf.as_ref(), names, template)?;
        let vb = weights.builder(DType::F32, &Device::Cpu);
        let (w, d) = (cfg.vit_config.hidden_size, cfg.scorer_config.projection_dim);
        let llm = &cfg.llm_config;
        let embedding = vb.get((llm.vocab_size, llm.hidden_size), EMBEDDING_TENSOR)?.detach();
        let scorer = vb.pp("scorer");
        let pooled = match cfg.scorer_config.patch_pooling {
            PatchPooling::Mean => w,
            PatchPooling::Places => {
                w * (cfg.vit_config.image_size / cfg.vit_config.patch_size).pow(2)
            }
        };
        let made = Self {
            tower: VisionTower::load(&cfg.vit_config, vb.pp("vit_model").pp("vision_model"))?,
            picture_projection: load_linear(
                &scorer.pp("picture").pp("projection"),
                pooled,
                d,
                false,
            )?,
            text: TextTower::load(&cfg, embedding, &scorer.pp("text"))?,
            logit_scale: scorer.get(1, "logit_scale")?,
            logit_bias: scorer.get(1, "logit_bias")?,
            tokenizer,
            cfg,
        };
        let mismatch = weights.mismatch(|_| false);
        if mismatch.is_empty() { Ok(made) } else { Err(ModelError::Weights(mismatch)) }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.cfg
    }

    /// Width of the common space (d).
    pub fn dim(&self) -> usize {
        self.cfg.scorer_config.projection_dim
    }

    /// A picture as the tower wants it, (3, s, s): the middle square, resized to the tower's side.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn pixels(&self, picture: &RgbImage) -> Result<Tensor> {
        normalise(&fit_square(picture, self.cfg.vit_config.image_size), &Device::Cpu)
    }

    /// Tokens of a text: those of the text alone, at least one.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn tokens(&self, text: &str) -> ModelResult<Vec<u32>> {
        let mut ids = self.tokenizer.encode(text)?;
        if ids.is_empty() {
            ids.push(self.tokenizer.special().im_end);
        }
        Ok(ids)
    }

    /// The understanding expert's embeddings (t, h) of tokens.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn word_vectors(&self, ids: &[u32]) -> Result<Tensor> {
        let embedding = &self.text.embedding;
        embedding.index_select(&Tensor::new(ids, embedding.device())?, 0)?.to_dtype(DType::F32)
    }

    /// Features (b, n, w) of pictures made by [`pixels`](Self::pixels), as the tower gives them;
    /// gradients flow.
    ///
    /// # Errors
    /// When there is no picture or one is of another size.
    pub fn picture_features(&self, pictures: &[Tensor]) -> Result<Tensor> {
        let VitConfig { patch_size, image_size, hidden_size, .. } = self.cfg.vit_config;
        let side = image_size / patch_size;
        let patches: Vec<Tensor> =
            pictures.iter().map(|p| patchify_picture(p, patch_size)).collect::<Result<_>>()?;
        if let Some(odd) = patches.iter().find(|p| p.dims().first() != Some(&(side * side))) {
            bail!("scorer: a picture has {:?} patches instead of {}", odd.dims(), side * side)
        }
        let ids: Vec<u32> = (0..pictures.len()).flat_map(|_| 0..(side * side) as u32).collect();
        let mask = side_by_side(&vec![side * side; pictures.len()]);
        let patches = Tensor::cat(&patches, 0)?; // (n, p·p·3)
        let ids = Tensor::new(ids, patches.device())?;
        let features = self.tower.forward(&patches, &ids, Some(&mask))?;
        features.reshape((pictures.len(), side * side, hidden_size))
    }

    /// Unit vectors (b, d) of pictures with these [features](Self::picture_features); gradients flow.
    ///
    /// # Errors
    /// When the features are of another size.
    pub fn picture_vectors(&self, features: &Tensor) -> Result<Tensor> {
        let pooled = match self.cfg.scorer_config.patch_pooling {
            PatchPooling::Mean => features.mean(1)?,
            PatchPooling::Places => features.flatten_from(1)?,
        };
        unit(&self.picture_projection.forward(&pooled)?)
    }

    /// Unit vectors (b, d) of texts made by [`tokens`](Self::tokens); gradients flow.
    ///
    /// # Errors
    /// When there is no text or one is empty.
    pub fn text_vectors(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        if texts.is_empty() || texts.iter().any(Vec::is_empty) {
            bail!("scorer: a text without tokens")
        }
        unit(&self.text.forward(texts)?)
    }

    /// How likely each picture and text belong together, as logits (pictures, texts).
    ///
    /// # Errors
    /// When the widths differ.
    pub fn logits(&self, pictures: &Tensor, texts: &Tensor) -> Result<Tensor> {
        let scale = self.logit_scale.exp()?;
        pictures.matmul(&texts.t()?)?.broadcast_mul(&scale)?.broadcast_add(&self.logit_bias)
    }
}

impl Embedder for DualEncoder {
    fn embed_pictures(&self, pictures: &[RgbImage]) -> ModelResult<Tensor> {
        let parts = pictures.chunks(EMBED_BATCH).map(|chunk| {
            let pixels: Vec<Tensor> =
                chunk.iter().map(|p| self.pixels(p)).collect::<Result<_>>()?;
            Ok(self.picture_vectors(&self.picture_features(&pixels)?)?.detach())
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    fn embed_texts(&self, texts: &[String]) -> ModelResult<Tensor> {
        let parts = texts.chunks(EMBED_BATCH).map(|chunk| {
            let ids: Vec<Vec<u32>> =
                chunk.iter().map(|text| self.tokens(text)).collect::<ModelResult<_>>()?;
            Ok(self.text_vectors(&ids)?.detach())
        });
        Ok(Tensor::cat(&parts.collect::<ModelResult<Vec<_>>>()?, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_takes_means_and_the_mask_keeps_items_apart() -> Result<()> {
        let xs = Tensor::new(&[[1f32], [3.], [10.]], &Device::Cpu)?;
        let got = mean_pool(&[2, 1], &Device::Cpu)?.matmul(&xs)?.to_vec2::<f32>()?;
        assert_eq!(got, [[2.], [10.]]);
        let dense = side_by_side(&[2, 1]).dense(DType::F32, &Device::Cpu)?.to_vec2::<f32>()?;
        let no = f32::NEG_INFINITY;
        assert_eq!(dense, [[0., 0., no], [0., 0., no], [no, no, 0.]]);
        Ok(())
    }
}
