//! CLIP, for whoever puts its files into a folder: how well a picture fits a text, by a network that
//! none of ours was trained on.
//!
//! The folder holds `config.json`, `model.safetensors` and `tokenizer.json` as Hugging Face keeps them
//! (`openai/clip-vit-large-patch14` is the one that the reference's stage 2 uses), and perhaps
//! `preprocessor_config.json`. The network is candle-transformers', which knows the activation
//! `quick_gelu` alone.
//! Shapes: b = pictures or texts, d = width of the common space, s = side of a picture.
//!
//! Source: CLIP (arXiv:2103.00020); `modeling_clip.py` of transformers; the middle square of a picture is
//! resized (bicubic), a text cut off at the network's length keeps its end token.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::clip::{
    ClipConfig, ClipModel, div_l2_norm,
    text_model::{Activation, ClipTextConfig},
    vision_model::ClipVisionConfig,
};
use image::RgbImage;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::{
    error::{ModelError, ModelResult},
    foreign::{Folder, Pixels, tokens},
    image_ops::fit_square,
    scorer::Embedder,
    weights::Weights,
};

/// What the folder is called in errors.
const WHAT: &str = "the CLIP folder";
/// The end of a text, whose place is where a text's vector is read.
const END: &str = "<|endoftext|>";
/// The activation that the network computes.
const ACTIVATION: &str = "quick_gelu";
/// Pictures that run together.
const BATCH: usize = 8;

/// `config.json`, as far as it matters; what is missing there has the published default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Config {
    projection_dim: Option<usize>,
    text_config: Text,
    vision_config: Vision,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Text {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: ACTIVATION.into(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Vision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: ACTIVATION.into(),
        }
    }
}

impl Config {
    /// The same in the network's terms.
    fn network(&self) -> ClipConfig {
        const DEFAULT_PROJECTION: usize = 512;
        let projection_dim = self.projection_dim.unwrap_or(DEFAULT_PROJECTION);
        let (text, vision) = (&self.text_config, &self.vision_config);
        ClipConfig {
            text_config: ClipTextConfig {
                vocab_size: text.vocab_size,
                embed_dim: text.hidden_size,
                activation: Activation::QuickGelu,
                intermediate_size: text.intermediate_size,
                max_position_embeddings: text.max_position_embeddings,
                pad_with: None,
                num_hidden_layers: text.num_hidden_layers,
                num_attention_heads: text.num_attention_heads,
                projection_dim,
            },
            vision_config: ClipVisionConfig {
                embed_dim: vision.hidden_size,
                activation: Activation::QuickGelu,
                intermediate_size: vision.intermediate_size,
                num_hidden_layers: vision.num_hidden_layers,
                num_attention_heads: vision.num_attention_heads,
                projection_dim,
                num_channels: 3,
                image_size: vision.image_size,
                patch_size: vision.patch_size,
            },
            logit_scale_init_value: 2.6592,
            image_size: vision.image_size,
        }
    }
}

/// A picture side and a text side with a common space, on the CPU.
#[derive(Debug)]
pub struct Clip {
    network: ClipModel,
    tokenizer: Tokenizer,
    pixels: Pixels,
    side: usize,
    max_tokens: usize,
    end: u32,
    hash: String,
}

impl Clip {
    /// Loads the network of a folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, the weights do not fit the configuration, or the network has
    /// another activation.
    pub fn load(dir: &Path) -> ModelResult<Self> {
        let folder = Folder { dir, what: WHAT };
        let config: Config = folder.json("config.json")?;
        let (text, vision) = (&config.text_config, &config.vision_config);
        if let Some(other) =
            [&text.hidden_act, &vision.hidden_act].into_iter().find(|act| *act != ACTIVATION)
        {
            return Err(folder.malformed(&format!(
                "its activation is `{other}`, and only `{ACTIVATION}` is known; take \
                 openai/clip-vit-large-patch14"
            )));
        }
        folder.require_multiples(&[
            (text.hidden_size, text.num_attention_heads),
            (vision.hidden_size, vision.num_attention_heads),
            (vision.image_size, vision.patch_size),
        ])?;
        let tokenizer = folder.tokenizer()?;
        let end = folder.token(&tokenizer, END)?;
        let weights = Arc::new(Weights::new().file(&folder.file("model.safetensors"))?);
        let network = ClipModel::new(weights.builder(DType::F32, &Device::Cpu), &config.network());
        let mismatch = weights.mismatch(|_| false);
        if !mismatch.is_empty() {
            return Err(ModelError::Weights(mismatch));
        }
        Ok(Self {
            network: network?,
            tokenizer,
            pixels: folder.pixels()?,
            side: vision.image_size,
            max_tokens: text.max_position_embeddings,
            end,
            hash: folder.hash()?,
        })
    }

    /// Hash of weights, configuration and tokenizer.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn tokens(&self, text: &str) -> ModelResult<Vec<u32>> {
        let mut ids = tokens(&self.tokenizer, text)?;
        if ids.last() != Some(&self.end) {
            ids.push(self.end);
        }
        if ids.len() > self.max_tokens {
            ids.truncate(self.max_tokens.saturating_sub(1));
            ids.push(self.end);
        }
        Ok(ids)
    }
}

impl Embedder for Clip {
    fn embed_pictures(&self, pictures: &[RgbImage]) -> ModelResult<Tensor> {
        let parts = pictures.chunks(BATCH).map(|chunk| {
            let pixels = chunk.iter().map(|p| self.pixels.of(&fit_square(p, self.side)));
            let pixels = Tensor::stack(&pixels.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
            div_l2_norm(&self.network.get_image_features(&pixels)?)
        });
        Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }

    fn embed_texts(&self, texts: &[String]) -> ModelResult<Tensor> {
        // One at a time: without padding, nothing depends on what it is padded with.
        let parts = texts.iter().map(|text| {
            let ids = Tensor::new(self.tokens(text)?, &Device::Cpu)?.unsqueeze(0)?;
            Ok(div_l2_norm(&self.network.get_text_features(&ids)?)?)
        });
        Ok(Tensor::cat(&parts.collect::<ModelResult<Vec<_>>>()?, 0)?)
    }
}
