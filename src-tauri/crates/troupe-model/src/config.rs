//! Configuration of the unified model, in the vocabulary of the released JSON files.
//!
//! A model folder carries either BAGEL's separate `llm_config.json` and `vit_config.json`, whose
//! missing fields the reference forces in code, or one `config.json` with nested `llm_config`,
//! `vit_config` and `vae_config`. Fields that the reference lacks default to its behaviour.
//!
//! Source: ByteDance-Seed/Bagel, `modeling/bagel/bagel.py`, `qwen2_navit.py`, `autoencoder.py`;
//! UniCharacter, `inference_grpo.py`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    autoencoder::VaeConfig, error::ModelError, image_ops::ImageTransform, scorer::ScorerConfig,
    tokens::TextTemplate, vit::VitConfig,
};

/// The language model with its two experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmConfig {
    /// Width of the residual stream (H).
    pub hidden_size: usize,
    /// Width of the understanding expert's MLP (F).
    pub intermediate_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Decoder layers (L).
    pub num_hidden_layers: usize,
    /// Rows of the token embedding (V).
    pub vocab_size: usize,
    /// Longest context in tokens.
    #[serde(default = "default_max_positions")]
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    #[serde(default = "default_rms_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Whether logits use the token embedding instead of an own head.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether queries and keys are normalised per head.
    #[serde(default = "default_true")]
    pub qk_norm: bool,
    /// Ours: whether q, k and v have biases. The reference always has them.
    #[serde(default = "default_true")]
    pub attention_bias: bool,
    /// Ours: the generation expert where it differs from the understanding expert.
    #[serde(default)]
    pub gen_expert: GenExpertConfig,
}

/// Ours: how the generation expert differs from the understanding expert. Empty is BAGEL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenExpertConfig {
    /// Width of its MLP; as the understanding expert's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// Layers that have one, ascending; all when absent. Latents pass through the others untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Whether its queries and keys are normalised; as `qk_norm` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<bool>,
    /// Whether its q, k and v have biases; as `attention_bias` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_bias: Option<bool>,
}

impl LlmConfig {
    /// Width of one attention head (d).
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Whether layer `index` has a generation expert.
    pub fn has_gen_expert(&self, index: usize) -> bool {
        self.gen_expert.layers.as_ref().is_none_or(|layers| layers.contains(&index))
    }
}

/// What turns pictures into latents and back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecKind {
    /// The FLUX-shaped autoencoder of the reference.
    #[default]
    Flux,
    /// Ours: the picture itself; the latent patch is a patch of pixels (JiT, arXiv:2511.13720).
    Pixel,
}

/// What the generation head predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// The velocity ε − x₀, as the reference.
    #[default]
    Velocity,
    /// Ours: the clean sample x̂₀; the velocity is `(x_t − x̂₀) / max(t, t_min)` (JiT).
    Sample,
}

/// Texts of the special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokenNames {
    /// Opens a text block.
    pub im_start: String,
    /// Closes a text block.
    pub im_end: String,
    /// Opens an image block.
    pub vision_start: String,
    /// Closes an image block.
    pub vision_end: String,
}

impl Default for SpecialTokenNames {
    fn default() -> Self {
        Self {
            im_start: "<|im_start|>".into(),
            im_end: "<|im_end|>".into(),
            vision_start: "<|vision_start|>".into(),
            vision_end: "<|vision_end|>".into(),
        }
    }
}

/// Ids of the special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokenIds {
    /// Opens a text block.
    pub im_start: u32,
    /// Closes a text block.
    pub im_end: u32,
    /// Opens an image block.
    pub vision_start: u32,
    /// Closes an image block.
    pub vision_end: u32,
}

/// Everything that shapes the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Name shown to people.
    #[serde(default = "default_name")]
    pub name: String,
    /// The language model.
    pub llm_config: LlmConfig,
    /// The vision tower.
    pub vit_config: VitConfig,
    /// Ours: the text tower that compares pictures with texts.
    #[serde(default)]
    pub scorer_config: ScorerConfig,
    /// The picture codec's network; unused by the pixel codec.
    #[serde(default)]
    pub vae_config: VaeConfig,
    /// Which codec is used.
    #[serde(default)]
    pub codec: CodecKind,
    /// What the generation head predicts.
    #[serde(default)]
    pub prediction: Prediction,
    /// Side of the square of latents that forms one token.
    #[serde(default = "default_latent_patch")]
    pub latent_patch_size: usize,
    /// Side and row stride of the latent position table.
    #[serde(default = "default_max_latent")]
    pub max_latent_size: usize,
    /// Side and row stride of the vision position table.
    #[serde(default = "default_vit_side")]
    pub vit_max_num_patch_per_side: usize,
    /// Activation of the connector; only the tanh GELU is supported.
    #[serde(default = "default_connector_act")]
    pub connector_act: String,
    /// Ours: layers of the language model before which the connector joins the vision tokens once
    /// more; none in the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deep_connector_layers: Vec<usize>,
    /// Ours: width of the adapters that act on a picture and behind one
    /// ([`SightAdapters`](crate::vit::SightAdapters)); 0 is none, as in the reference.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sight_width: usize,
    /// Interpolated position ids; unsupported, the reference leaves it off.
    #[serde(default)]
    pub interpolate_pos: bool,
    /// Shift of the training times.
    #[serde(default = "default_one")]
    pub timestep_shift: f64,
    /// Whether the model draws.
    #[serde(default = "default_true")]
    pub visual_gen: bool,
    /// Whether the model sees.
    #[serde(default = "default_true")]
    pub visual_und: bool,
    /// Ours: whether latent blocks are enclosed in marker tokens. Without them a flow step never
    /// touches the understanding expert.
    #[serde(default = "default_true")]
    pub latent_markers: bool,
    /// Ours: role words inside text blocks.
    #[serde(default)]
    pub text_template: TextTemplate,
    /// Ours: texts of the special tokens.
    #[serde(default)]
    pub special_token_names: SpecialTokenNames,
    /// Ids of the special tokens where no tokenizer is at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<SpecialTokenIds>,
    /// Ours: side in pixels of the square pictures drawn by default; 1024 in the reference.
    #[serde(default = "default_picture_size")]
    pub picture_size: usize,
    /// Resize rule before the codec.
    #[serde(default = "default_vae_transform")]
    pub vae_transform: ImageTransform,
    /// Resize rule before the vision tower.
    #[serde(default = "default_vit_transform")]
    pub vit_transform: ImageTransform,
    /// Ours: whether pictures are cropped to their central square of `picture_size` first.
    #[serde(default)]
    pub square_pictures: bool,
    /// Ours: sampling settings that suit this model.
    #[serde(default)]
    pub generation: GenerationDefaults,
}

/// Ours: default settings of the flow sampler, where a model wants others than the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationDefaults {
    /// Points of the time grid.
    pub num_timesteps: usize,
    /// Shift of the time grid.
    pub timestep_shift: f64,
    /// Text guidance scale.
    pub cfg_text_scale: f64,
    /// Image guidance scale.
    pub cfg_img_scale: f64,
    /// Times in which guidance applies, open below and closed above.
    pub cfg_interval: [f64; 2],
    /// Lower bound of the guidance renormalisation.
    pub cfg_renorm_min: f64,
    /// Norm used by the guidance renormalisation.
    pub cfg_renorm_type: RenormType,
}

impl Default for GenerationDefaults {
    /// UniCharacter's `generate_image`.
    fn default() -> Self {
        Self {
            num_timesteps: 50,
            timestep_shift: 3.,
            cfg_text_scale: 4.,
            cfg_img_scale: 1.,
            cfg_interval: [0.4, 1.],
            cfg_renorm_min: 0.,
            cfg_renorm_type: RenormType::Global,
        }
    }
}

/// Over what the guided velocity's norm is limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenormType {
    /// The whole latent.
    #[default]
    Global,
    /// Each token.
    Channel,
    /// Each token, before image guidance.
    TextChannel,
}

fn default_vae_transform() -> ImageTransform {
    ImageTransform::VAE
}
fn default_vit_transform() -> ImageTransform {
    ImageTransform::VIT
}
fn default_true() -> bool {
    true
}
fn default_one() -> f64 {
    1.
}
fn default_max_positions() -> usize {
    32_768
}
fn default_rms_eps() -> f64 {
    1e-6
}
fn default_rope_theta() -> f64 {
    1e4
}
fn default_latent_patch() -> usize {
    2
}
fn default_max_latent() -> usize {
    64
}
fn default_vit_side() -> usize {
    70
}
fn default_connector_act() -> String {
    "gelu_pytorch_tanh".into()
}
fn default_picture_size() -> usize {
    1024
}
fn default_name() -> String {
    "unnamed".into()
}

/// Vision layers that the reference drops from the released `vit_config.json` (27 becomes 26).
const RELEASED_VIT_LAYERS_DROPPED: usize = 1;

/// Width from which a base counts as large.
pub const WIDE: usize = 2048;

impl ModelConfig {
    /// Whether the base is narrower than [`WIDE`], as those for a processor are.
    pub fn is_small(&self) -> bool {
        self.llm_config.hidden_size < WIDE
    }

    /// Pixels per side that one latent token covers.
    pub fn pixels_per_token(&self) -> usize {
        match self.codec {
            CodecKind::Flux => self.vae_config.downsample * self.latent_patch_size,
            CodecKind::Pixel => self.latent_patch_size,
        }
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        match self.codec {
            CodecKind::Flux => self.vae_config.z_channels,
            CodecKind::Pixel => self.vae_config.in_channels,
        }
    }

    /// Numbers in one latent token (D).
    pub fn latent_token_dim(&self) -> usize {
        self.latent_patch_size * self.latent_patch_size * self.latent_channels()
    }

    /// Reads the configuration of a model folder.
    ///
    /// # Errors
    /// When no configuration is there, or it is malformed or contradicts itself.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelError> {
        let nested = dir.join("config.json");
        // The released folder has a config.json too, which is not even JSON; only its other files count.
        let is_released = dir.join("llm_config.json").exists();
        if let Ok(text) = std::fs::read_to_string(&nested) {
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) if value.get("llm_config").is_some() => {
                    let config: Self =
                        serde_json::from_value(value).map_err(|e| malformed(&nested, &e))?;
                    config.validate()?;
                    return Ok(config);
                }
                Err(error) if !is_released => return Err(malformed(&nested, &error)),
                _ => {}
            }
        }
        let config = Self::from_released(dir)?;
        config.validate()?;
        Ok(config)
    }

    /// BAGEL's separate files, with the fields that the reference forces in code.
    fn from_released(dir: &Path) -> Result<Self, ModelError> {
        let mut llm_config: LlmConfig = read_json(&dir.join("llm_config.json"))?;
        llm_config.qk_norm = true;
        llm_config.tie_word_embeddings = false;
        let mut vit_config: VitConfig = read_json(&dir.join("vit_config.json"))?;
        vit_config.num_hidden_layers =
            vit_config.num_hidden_layers.saturating_sub(RELEASED_VIT_LAYERS_DROPPED);
        let name = dir.file_name().map_or_else(default_name, |n| n.to_string_lossy().into_owned());
        let rest = serde_json::json!({
            "name": name, "llm_config": llm_config, "vit_config": vit_config,
        });
        serde_json::from_value(rest).map_err(|e| malformed(dir, &e))
    }

    /// Checks that the fields fit each other.
    ///
    /// # Errors
    /// Naming the first field that does not.
    pub fn validate(&self) -> Result<(), ModelError> {
        let llm = &self.llm_config;
        let check = |ok: bool, field: &str, reason: String| {
            if ok { Ok(()) } else { Err(ModelError::Config { field: field.into(), reason }) }
        };
        let (h, n, kv) = (llm.hidden_size, llm.num_attention_heads, llm.num_key_value_heads);
        check(
            n > 0 && h > 0 && h % n == 0 && (h / n) % 2 == 0,
            "llm_config.num_attention_heads",
            format!("hidden_size {h} must split into {n} heads of even width"),
        )?;
        check(
            kv > 0 && n % kv == 0,
            "llm_config.num_key_value_heads",
            format!("{kv} does not divide num_attention_heads {n}"),
        )?;
        check(
            h % 4 == 0,
            "llm_config.hidden_size",
            format!("{h} must be divisible by 4 for the position tables"),
        )?;
        check(
            llm.vocab_size > 0 && llm.num_hidden_layers > 0,
            "llm_config",
            "vocab_size and num_hidden_layers must not be 0".into(),
        )?;
        check(
            ascends_below(llm.gen_expert.layers.iter().flatten(), llm.num_hidden_layers),
            "llm_config.gen_expert.layers",
            format!("must ascend and stay below {}", llm.num_hidden_layers),
        )?;
        check(
            self.connector_act == default_connector_act(),
            "connector_act",
            format!("`{}` is not supported, only gelu_pytorch_tanh", self.connector_act),
        )?;
        let deep = &self.deep_connector_layers;
        check(
            ascends_below(deep.iter(), llm.num_hidden_layers),
            "deep_connector_layers",
            format!("must ascend and stay below {}", llm.num_hidden_layers),
        )?;
        check(!self.interpolate_pos, "interpolate_pos", "is not supported".into())?;
        check(
            self.latent_patch_size > 0 && self.max_latent_size > 0,
            "latent_patch_size",
            "must not be 0".into(),
        )
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Whether layers ascend, each once, and are of the first `num`.
fn ascends_below<'a>(layers: impl Iterator<Item = &'a usize> + Clone, num: usize) -> bool {
    layers.clone().all(|i| *i < num) && layers.clone().zip(layers.skip(1)).all(|(a, b)| a < b)
}

fn malformed(path: &Path, error: &serde_json::Error) -> ModelError {
    ModelError::Malformed {
        what: "the model's configuration",
        reason: error.to_string(),
        path: path.to_path_buf(),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io {
        what: "the model's configuration",
        source,
        path: path.to_path_buf(),
    })?;
    serde_json::from_str(&text).map_err(|e| malformed(path, &e))
}
