//! Models of BAGEL's architecture at any size, with random weights that do not vanish.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{Device, Result, Tensor};
use serde_json::{Value, json};
use troupe_model::{config::ModelConfig, inspect::required_tensors};
use troupe_nn::noise::{Noise, Stream};

use crate::model::{SPECIAL, tokenizer};

/// Sizes of a model: everything that BAGEL has (query-key norms, biases, a head of its own, markers,
/// velocities, the convolutional codec), at other widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BagelShape {
    /// Width of the residual stream; even per head and divisible by 4.
    pub hidden: usize,
    /// Width of both experts' MLPs.
    pub mlp: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Rows of the token embedding, at least 260.
    pub vocab: usize,
    /// Width of the vision tower, whose MLP is twice as wide.
    pub vision: usize,
    /// Layers of the vision tower.
    pub vision_layers: usize,
    /// Channels of the codec at full resolution, a multiple of 32.
    pub codec: usize,
    /// Side of the pictures in pixels, a multiple of 16.
    pub picture: usize,
}

impl Default for BagelShape {
    /// Three layers of width 64.
    fn default() -> Self {
        Self {
            hidden: 64,
            mlp: 160,
            heads: 4,
            kv_heads: 2,
            layers: 3,
            vocab: 320,
            vision: 48,
            vision_layers: 2,
            codec: 32,
            picture: 64,
        }
    }
}

impl BagelShape {
    /// Writes a model folder to `dir`: configuration, byte tokenizer, network and codec.
    pub fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), self.config().to_string()).unwrap();
        fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        let config = ModelConfig::from_dir(dir).unwrap();
        let (mut network, mut codec) = (HashMap::new(), HashMap::new());
        for (index, (name, shape)) in required_tensors(&config).unwrap().into_iter().enumerate() {
            let is_codec = name.starts_with("encoder.") || name.starts_with("decoder.");
            if !name.ends_with("pos_embed") {
                let tensor = values(&name, &shape, index as u64).unwrap();
                if is_codec { &mut codec } else { &mut network }.insert(name, tensor);
            }
        }
        candle_core::safetensors::save(&network, dir.join("model.safetensors")).unwrap();
        candle_core::safetensors::save(&codec, dir.join("ae.safetensors")).unwrap();
    }

    fn config(&self) -> Value {
        let side = self.picture / 16;
        let transform = |stride: usize, max_size: usize| {
            json!({
                "max_size": max_size, "min_size": 2 * stride, "stride": stride,
                "max_pixels": max_size * max_size
            })
        };
        json!({
            "name": "random",
            "llm_config": {
                "model_type": "qwen2",
                "hidden_size": self.hidden,
                "intermediate_size": self.mlp,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads,
                "num_hidden_layers": self.layers,
                "vocab_size": self.vocab,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1e6
            },
            "vit_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": self.vision,
                "image_size": 224,
                "intermediate_size": 2 * self.vision,
                "num_attention_heads": self.vision / 16,
                "num_hidden_layers": self.vision_layers,
                "patch_size": 14
            },
            "vae_config": {"ch": self.codec, "ch_mult": [1, 2, 2, 2]},
            "max_latent_size": side,
            "vit_max_num_patch_per_side": 16,
            "picture_size": self.picture,
            "vae_transform": transform(16, self.picture),
            "vit_transform": transform(14, 224),
            "special_token_names": {
                "im_start": SPECIAL[0],
                "im_end": SPECIAL[1],
                "vision_start": SPECIAL[2],
                "vision_end": SPECIAL[3]
            }
        })
    }
}

/// Values that keep activations near 1: norms around 1, small biases, embeddings of deviation 1,
/// everything else of deviation 1/√(inputs).
fn values(name: &str, shape: &[usize], step: u64) -> Result<Tensor> {
    let noise = Noise::new(5, Stream::Weights, step).normal_tensor(shape, &Device::Cpu)?;
    let inputs: usize = shape.iter().skip(1).product();
    if name.ends_with(".bias") {
        noise.affine(0.02, 0.)
    } else if shape.len() == 1 {
        noise.affine(0.1, 1.) // norms
    } else if name.contains("embed_tokens") || name.contains("position_embedding") {
        Ok(noise)
    } else {
        noise.affine(1. / (inputs as f64).sqrt(), 0.)
    }
}
