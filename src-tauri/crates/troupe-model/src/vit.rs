//! The vision tower: a SigLIP encoder over patches of any aspect ratio, and its connector.
//!
//! Source: BAGEL, `modeling/bagel/siglip_navit.py` and `modeling_utils.py`.
//! Checkpoint prefixes: `vit_model.vision_model`, `connector`.
//! Shapes: n = patches, p = patch side, w = tower width, f = MLP width, h = model width.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use troupe_nn::{fused, linear::Linear, mask::AttnMask};

use crate::llm::load_linear;

/// Hyper-parameters, under their names in `vit_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Width (w).
    pub hidden_size: usize,
    /// Side of the largest square picture.
    pub image_size: usize,
    /// MLP width (f).
    pub intermediate_size: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Layers whose weights are in the file. The released 27 stand for 26.
    pub num_hidden_layers: usize,
    /// Patch side (p).
    pub patch_size: usize,
    /// Channels of a picture.
    #[serde(default = "default_channels")]
    pub num_channels: usize,
    /// Epsilon of every LayerNorm.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    /// Rotary positions; unsupported, the reference leaves them off.
    #[serde(default)]
    pub rope: bool,
}

fn default_channels() -> usize {
    3
}

fn default_eps() -> f64 {
    1e-6
}

#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(cfg: &VitConfig, vb: &VarBuilder) -> Result<Self> {
        let w = cfg.hidden_size;
        Ok(Self { weight: vb.get(w, "weight")?, bias: vb.get(w, "bias")?, eps: cfg.layer_norm_eps })
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        fused::layer_norm(xs, &self.weight, &self.bias, self.eps)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct EncoderLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    num_heads: usize,
}

impl EncoderLayer {
    pub(crate) fn load(cfg: &VitConfig, vb: &VarBuilder) -> Result<Self> {
        let (w, f) = (cfg.hidden_size, cfg.intermediate_size);
        let attn = vb.pp("self_attn");
        let square = |name: &str| load_linear(&attn.pp(name), w, w, true);
        Ok(Self {
            layer_norm1: LayerNorm::load(cfg, &vb.pp("layer_norm1"))?,
            q_proj: square("q_proj")?,
            k_proj: square("k_proj")?,
            v_proj: square("v_proj")?,
            out_proj: square("out_proj")?,
            layer_norm2: LayerNorm::load(cfg, &vb.pp("layer_norm2"))?,
            fc1: load_linear(&vb.pp("mlp").pp("fc1"), w, f, true)?,
            fc2: load_linear(&vb.pp("mlp").pp("fc2"), f, w, true)?,
            num_heads: cfg.num_attention_heads,
        })
    }

    pub(crate) fn forward(&self, xs: &Tensor, mask: &AttnMask) -> Result<Tensor> {
        let (n, w) = xs.dims2()?;
        let d = w / self.num_heads;
        let normed = self.layer_norm1.forward(xs)?;
        let heads = |linear: &Linear| linear.forward(&normed)?.reshape((n, self.num_heads, d));
        let (q, k, v) = (heads(&self.q_proj)?, heads(&self.k_proj)?, heads(&self.v_proj)?);
        let attended = fused::attention(&q, &k, &v, mask, 1. / (d as f64).sqrt())?;
        let xs = (xs + self.out_proj.forward(&attended.reshape((n, w))?)?)?;
        let hidden = self.fc1.forward(&self.layer_norm2.forward(&xs)?)?;
        &xs + self.fc2.forward(&fused::gelu_tanh(&hidden)?)?
    }
}

/// The encoder.
#[derive(Debug, Clone)]
pub struct VisionTower {
    patch_embedding: Linear,
    position_embedding: Tensor, // (side², w)
    layers: Vec<EncoderLayer>,
    post_layernorm: LayerNorm,
}

impl VisionTower {
    /// Reads all tensors under `vb`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or the configuration asks for rotary positions.
    pub fn load(cfg: &VitConfig, vb: VarBuilder) -> Result<Self> {
        if cfg.rope {
            bail!("vit_config.rope is not supported; no released checkpoint uses it")
        }
        let (w, p) = (cfg.hidden_size, cfg.patch_size);
        if w % cfg.num_attention_heads != 0 {
            bail!(
                "vit_config.hidden_size {w} does not split into {} heads",
                cfg.num_attention_heads
            )
        }
        let side = cfg.image_size / p;
        let embeddings = vb.pp("embeddings");
        let patch = embeddings.pp("patch_embedding");
        Ok(Self {
            patch_embedding: load_linear(&patch, p * p * cfg.num_channels, w, true)?,
            position_embedding: embeddings
                .pp("position_embedding")
                .get((side * side, w), "weight")?,
            layers: (0..cfg.num_hidden_layers)
                .map(|i| EncoderLayer::load(cfg, &vb.pp("encoder").pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(cfg, &vb.pp("post_layernorm"))?,
        })
    }

    /// Features (n, w) of patches (n, p·p·3) at `position_ids` (n); `mask` keeps several packed
    /// pictures apart and may be absent for one.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &self,
        patches: &Tensor,
        position_ids: &Tensor,
        mask: Option<&AttnMask>,
    ) -> Result<Tensor> {
        let n = patches.dim(0)?;
        let positions = self.position_embedding.index_select(position_ids, 0)?;
        let mut xs = (self.patch_embedding.forward(patches)? + positions)?;
        let full = AttnMask::full(n, n);
        for layer in &self.layers {
            xs = layer.forward(&xs, mask.unwrap_or(&full))?;
        }
        self.post_layernorm.forward(&xs)
    }
}

/// What joins the residual stream of understanding tokens before a layer: (layer, rows of width h).
pub type DeepRows = Vec<(usize, Tensor)>;

/// Two-layer MLP from the tower's width to the language model's.
///
/// Ours: it may have further second layers, whose outputs join the vision tokens in the middle of the
/// language model (DeepStack, arXiv:2406.04334, sec. 3.2). A small frozen language model takes little
/// from what is said at its input alone; this way the picture reaches it at any depth, and text
/// without a picture is left exactly as it was.
#[derive(Debug, Clone)]
pub struct Connector {
    fc1: Linear,
    fc2: Linear,
    deep: Vec<(usize, Linear)>,
}

impl Connector {
    /// Reads `fc1`, `fc2`, and `deep.{layer}` for every layer of `deep_layers`, under `vb`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(w: usize, h: usize, deep_layers: &[usize], vb: VarBuilder) -> Result<Self> {
        let deep = |layer: &usize| Ok((*layer, load_linear(&vb.pp("deep").pp(layer), h, h, true)?));
        Ok(Self {
            fc1: load_linear(&vb.pp("fc1"), w, h, true)?,
            fc2: load_linear(&vb.pp("fc2"), h, h, true)?,
            deep: deep_layers.iter().map(deep).collect::<Result<_>>()?,
        })
    }

    /// Maps features (n, w) to (n, h): what enters the language model, and what joins it later.
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward(&self, features: &Tensor) -> Result<(Tensor, DeepRows)> {
        let hidden = fused::gelu_tanh(&self.fc1.forward(features)?)?;
        let deep = |(layer, linear): &(usize, Linear)| Ok((*layer, linear.forward(&hidden)?));
        Ok((self.fc2.forward(&hidden)?, self.deep.iter().map(deep).collect::<Result<_>>()?))
    }
}

/// Bottlenecks in the language model's residual stream, one before every layer, for the tokens of a
/// picture and those behind one in the same context.
///
/// Ours: what a small frozen language model lacks is less the picture than the habit of comparing it
/// with a question. Adapters (arXiv:1902.00751, sec. 2.1) that only act where there is something to see
/// leave text without a picture exactly as it was. Checkpoint prefix: `sight`.
#[derive(Debug)]
pub struct SightAdapters {
    layers: Vec<SightAdapter>,
    eps: f64,
}

#[derive(Debug)]
struct SightAdapter {
    norm: Tensor, // (h)
    down: Linear, // (r, h)
    up: Linear,   // (h, r); 0 at first
}

impl SightAdapters {
    /// Reads `{layer}.norm`, `{layer}.down` and `{layer}.up` of `num` layers of model width `h`
    /// and bottleneck `r` under `vb`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(num: usize, h: usize, r: usize, eps: f64, vb: &VarBuilder) -> Result<Self> {
        let layer = |index: usize| {
            let vb = vb.pp(index);
            Ok(SightAdapter {
                norm: vb.pp("norm").get(h, "weight")?,
                down: load_linear(&vb.pp("down"), h, r, false)?,
                up: load_linear(&vb.pp("up"), r, h, false)?,
            })
        };
        Ok(Self { layers: (0..num).map(layer).collect::<Result<_>>()?, eps })
    }

    /// What joins `xs` (u, h) before `layer`, (u, h).
    ///
    /// # Errors
    /// When there is no such layer, or the width differs.
    pub fn update(&self, layer: usize, xs: &Tensor) -> Result<Tensor> {
        let Some(adapter) = self.layers.get(layer) else {
            bail!("there are {} sight adapters, none before layer {layer}", self.layers.len())
        };
        let normed = fused::rms_norm(&xs.contiguous()?, &adapter.norm, self.eps)?;
        adapter.up.forward(&adapter.down.forward(&normed)?.silu()?)
    }
}

/// Sight adapters at work on a row of understanding tokens.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The adapters.
    pub adapters: Arc<SightAdapters>,
    /// 1 for tokens of a picture or behind one and 0 for others, (u, 1); all are when absent.
    pub mask: Option<Tensor>,
}

impl Sight {
    /// What joins `xs` (u, h) before `layer`, (u, h).
    ///
    /// # Errors
    /// As [`SightAdapters::update`].
    pub fn update(&self, layer: usize, xs: &Tensor) -> Result<Tensor> {
        let update = self.adapters.update(layer, xs)?;
        match &self.mask {
            Some(mask) => update.broadcast_mul(mask),
            None => Ok(update),
        }
    }
}

/// A picture (3, H, W) as patches (n, p·p·3) in row-major order, channel fastest inside a patch.
///
/// # Errors
/// When the sides are no multiples of `p`.
pub fn patchify_picture(picture: &Tensor, p: usize) -> Result<Tensor> {
    crate::autoencoder::patchify(picture, p)
}

/// Longest period of the position tables.
const MAX_PERIOD: f64 = 10_000.;

/// Fixed 2-D sine-cosine table (side², width): column half first, sines before cosines.
///
/// Computed in f64, stored in f32. Source: BAGEL, `modeling_utils.py`.
///
/// # Errors
/// When `width` is no multiple of 4.
pub fn sincos_table(side: usize, width: usize) -> Result<Tensor> {
    if !width.is_multiple_of(4) {
        bail!("a position table needs a width divisible by 4, got {width}")
    }
    let quarter = width / 4;
    let freqs: Vec<f64> =
        (0..quarter).map(|k| MAX_PERIOD.powf(-(k as f64) / quarter as f64)).collect();
    let mut values = Vec::with_capacity(side * side * width);
    for row in 0..side {
        for column in 0..side {
            for coordinate in [column, row] {
                let angles = freqs.iter().map(|f| coordinate as f64 * f);
                values.extend(angles.clone().map(|a| a.sin() as f32));
                values.extend(angles.map(|a| a.cos() as f32));
            }
        }
    }
    Tensor::from_vec(values, (side * side, width), &Device::Cpu)?.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_matches_the_published_values() -> Result<()> {
        let row = sincos_table(64, 3584)?.get(5 * 64 + 3)?.to_vec1::<f32>()?;
        let wanted = [
            (0, 0.14112001),
            (1, 0.17142204),
            (895, 3.0309972e-4),
            (896, -0.989_992_5),
            (1792, -0.958_924_3),
            (2688, 0.283_662_2),
        ];
        for (i, want) in wanted {
            assert!((row[i] - want).abs() < 2e-7, "{i}: {} {want}", row[i]);
        }
        Ok(())
    }
}
