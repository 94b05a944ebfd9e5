//! A base model of a few hundred kilobytes with random weights.

use std::{fs, path::Path, sync::Arc};

use candle_core::{DType, Device};
use serde_json::{Map, Value, json};
use troupe_model::{config::ModelConfig, unified::Network, weights::Weights};

/// Special tokens, after the 256 bytes.
pub(crate) const SPECIAL: [&str; 4] =
    ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"];
/// Seed of the weights.
const SEED: u64 = 7;

/// Writes a model folder to `dir`: two layers of width 32, 32×32 pictures, a tokenizer whose tokens
/// are single bytes. It says and draws noise, through the same code as any other base.
pub fn write_tiny_model(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config().to_string()).unwrap();
    fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let config = ModelConfig::from_dir(dir).unwrap();
    let made = |name: &str| name.ends_with("pos_embed");
    let source = Weights::new().fresh(SEED, move |name| !made(name)).trainable(|_| true);
    let weights = Arc::new(source);
    Network::load(&config, &weights.builder(DType::F32, &Device::Cpu)).unwrap();
    let vars = weights.vars();
    let fresh = weights.fresh_names().into_iter();
    let tensors = fresh.map(|name| (name.clone(), vars[&name].as_tensor().clone())).collect();
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
}

fn config() -> Value {
    json!({
        "name": "tiny",
        "llm_config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "num_hidden_layers": 2,
            "vocab_size": 256 + SPECIAL.len(),
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": true,
            "qk_norm": false,
            "attention_bias": false
        },
        "vit_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "image_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "patch_size": 16
        },
        "codec": "pixel",
        "prediction": "sample",
        "latent_patch_size": 16,
        "max_latent_size": 4,
        "vit_max_num_patch_per_side": 2,
        "deep_connector_layers": [1],
        "sight_width": 8,
        "latent_markers": false,
        "picture_size": 32,
        "square_pictures": true,
        "vae_transform": {"max_size": 32, "min_size": 32, "stride": 16, "max_pixels": 1024},
        "vit_transform": {"max_size": 32, "min_size": 32, "stride": 16, "max_pixels": 1024},
        "special_token_names": {
            "im_start": SPECIAL[0],
            "im_end": SPECIAL[1],
            "vision_start": SPECIAL[2],
            "vision_end": SPECIAL[3]
        },
        "generation": {
            "num_timesteps": 5,
            "timestep_shift": 1.0,
            "cfg_text_scale": 2.0,
            "cfg_img_scale": 1.0,
            "cfg_interval": [0.1, 1.0],
            "cfg_renorm_min": 0.0,
            "cfg_renorm_type": "global"
        }
    })
}

/// The character that byte-level tokenizers write for `byte` (GPT-2's table: printable bytes stand
/// for themselves, the others follow from U+0100).
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

/// A tokenizer whose tokens are single bytes and the [`SPECIAL`] ones.
pub(crate) fn tokenizer() -> Value {
    let vocab: Map<String, Value> =
        (0..=255_u8).map(|byte| (byte_char(byte).to_string(), json!(byte))).collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(index, content)| {
            json!({
                "id": 256 + index, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true
            })
        })
        .collect();
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": level,
        "post_processor": null,
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": []
        }
    })
}
