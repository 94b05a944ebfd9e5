//! The picture codec: a convolutional autoencoder of FLUX shape, or the picture itself.
//!
//! Source: FLUX.1 autoencoder as in BAGEL, `modeling/autoencoder.py`; the pixel codec follows JiT
//! (arXiv:2511.13720). Checkpoint: a file of its own, prefixes `encoder` and `decoder`.
//! Shapes: c = channels, z = latent channels, p = latent patch.

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::{Conv2d, Conv2dConfig, Module, VarBuilder, ops::softmax};
use serde::{Deserialize, Serialize};

/// Shape of the autoencoder. The defaults are FLUX.1's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels at full resolution.
    pub ch: usize,
    /// Channel factor of each level, from full resolution down.
    pub ch_mult: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Latent channels (z).
    pub z_channels: usize,
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_ch: usize,
    /// Pixels per latent along a side.
    pub downsample: usize,
    /// Scale of normalised latents.
    pub scale_factor: f64,
    /// Shift of normalised latents.
    pub shift_factor: f64,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            ch: 128,
            ch_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            z_channels: 16,
            in_channels: 3,
            out_ch: 3,
            downsample: 8,
            scale_factor: 0.3611,
            shift_factor: 0.1159,
        }
    }
}

const GROUPS: usize = 32;
const GROUP_NORM_EPS: f64 = 1e-6;

fn conv(
    i: usize,
    o: usize,
    kernel: usize,
    padding: usize,
    stride: usize,
    vb: &VarBuilder,
) -> Result<Conv2d> {
    let config = Conv2dConfig { padding, stride, ..Default::default() };
    let weight = vb.get((o, i, kernel, kernel), "weight")?;
    Ok(Conv2d::new(weight, Some(vb.get(o, "bias")?), config))
}

/// Group normalisation composed of differentiable operations.
#[derive(Debug, Clone)]
struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    fn load(channels: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get(channels, "weight")?, bias: vb.get(channels, "bias")? })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = xs.dims4()?;
        let grouped = xs.reshape((b, GROUPS, c / GROUPS * h * w))?;
        let centred = grouped.broadcast_sub(&grouped.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = centred.broadcast_div(&(variance + GROUP_NORM_EPS)?.sqrt()?)?;
        let shape = (1, c, 1, 1);
        normed
            .reshape((b, c, h, w))?
            .broadcast_mul(&self.weight.reshape(shape)?)?
            .broadcast_add(&self.bias.reshape(shape)?)
    }
}

#[derive(Debug, Clone)]
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn load(i: usize, o: usize, vb: &VarBuilder) -> Result<Self> {
        let shortcut =
            if i == o { None } else { Some(conv(i, o, 1, 0, 1, &vb.pp("nin_shortcut"))?) };
        Ok(Self {
            norm1: GroupNorm::load(i, &vb.pp("norm1"))?,
            conv1: conv(i, o, 3, 1, 1, &vb.pp("conv1"))?,
            norm2: GroupNorm::load(o, &vb.pp("norm2"))?,
            conv2: conv(o, o, 3, 1, 1, &vb.pp("conv2"))?,
            shortcut,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let hidden = self.conv1.forward(&self.norm1.forward(xs)?.silu()?)?;
        let hidden = self.conv2.forward(&self.norm2.forward(&hidden)?.silu()?)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(xs)? + hidden,
            None => xs + hidden,
        }
    }
}

/// Queries handled at once in the middle attention, so that 1024² pictures need no 1 GB of scores.
const QUERY_CHUNK: usize = 1024;

#[derive(Debug, Clone)]
struct AttnBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttnBlock {
    fn load(c: usize, vb: &VarBuilder) -> Result<Self> {
        let one = |name: &str| conv(c, c, 1, 0, 1, &vb.pp(name));
        Ok(Self {
            norm: GroupNorm::load(c, &vb.pp("norm"))?,
            q: one("q")?,
            k: one("k")?,
            v: one("v")?,
            proj_out: one("proj_out")?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = xs.dims4()?;
        let normed = self.norm.forward(xs)?;
        let flat = |conv: &Conv2d| conv.forward(&normed)?.reshape((b, c, h * w));
        let q = flat(&self.q)?.transpose(1, 2)?.contiguous()?; // (b, h·w, c)
        let (k, v) = (flat(&self.k)?, flat(&self.v)?); // (b, c, h·w)
        let v = v.transpose(1, 2)?.contiguous()?; // (b, h·w, c)
        let scale = 1. / (c as f64).sqrt();
        let mut parts = Vec::new();
        for start in (0..h * w).step_by(QUERY_CHUNK) {
            let len = QUERY_CHUNK.min(h * w - start);
            let scores = (q.narrow(1, start, len)?.contiguous()?.matmul(&k)? * scale)?;
            parts.push(softmax(&scores, D::Minus1)?.matmul(&v)?);
        }
        let out = Tensor::cat(&parts, 1)?.transpose(1, 2)?.reshape((b, c, h, w))?;
        xs + self.proj_out.forward(&out)?
    }
}

#[derive(Debug, Clone)]
struct Middle {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Middle {
    fn load(c: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            block_1: ResnetBlock::load(c, c, &vb.pp("block_1"))?,
            attn_1: AttnBlock::load(c, &vb.pp("attn_1"))?,
            block_2: ResnetBlock::load(c, c, &vb.pp("block_2"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.block_2.forward(&self.attn_1.forward(&self.block_1.forward(xs)?)?)
    }
}

/// A level: residual blocks, then a change of resolution.
#[derive(Debug, Clone)]
struct Level {
    blocks: Vec<ResnetBlock>,
    resample: Option<Conv2d>,
}

#[derive(Debug, Clone)]
struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn load(cfg: &VaeConfig, vb: &VarBuilder) -> Result<Self> {
        let mut width = cfg.ch;
        let mut down = Vec::new();
        for (i, mult) in cfg.ch_mult.iter().enumerate() {
            let vb = vb.pp("down").pp(i);
            let out = cfg.ch * mult;
            let blocks = (0..cfg.num_res_blocks)
                .map(|j| {
                    let from = if j == 0 { width } else { out };
                    ResnetBlock::load(from, out, &vb.pp("block").pp(j))
                })
                .collect::<Result<_>>()?;
            width = out;
            let resample = if i + 1 < cfg.ch_mult.len() {
                Some(conv(width, width, 3, 0, 2, &vb.pp("downsample").pp("conv"))?)
            } else {
                None
            };
            down.push(Level { blocks, resample });
        }
        Ok(Self {
            conv_in: conv(cfg.in_channels, cfg.ch, 3, 1, 1, &vb.pp("conv_in"))?,
            down,
            mid: Middle::load(width, &vb.pp("mid"))?,
            norm_out: GroupNorm::load(width, &vb.pp("norm_out"))?,
            conv_out: conv(width, 2 * cfg.z_channels, 3, 1, 1, &vb.pp("conv_out"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = self.conv_in.forward(xs)?;
        for level in &self.down {
            for block in &level.blocks {
                xs = block.forward(&xs)?;
            }
            if let Some(conv) = &level.resample {
                // One row and column of zeros, at the bottom and right only.
                xs = conv.forward(&xs.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?)?;
            }
        }
        let xs = self.norm_out.forward(&self.mid.forward(&xs)?)?.silu()?;
        self.conv_out.forward(&xs)
    }
}

#[derive(Debug, Clone)]
struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    up: Vec<Level>, // from the lowest resolution up
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn load(cfg: &VaeConfig, vb: &VarBuilder) -> Result<Self> {
        let mut width = cfg.ch * cfg.ch_mult.last().copied().unwrap_or(1);
        let conv_in = conv(cfg.z_channels, width, 3, 1, 1, &vb.pp("conv_in"))?;
        let mid = Middle::load(width, &vb.pp("mid"))?;
        let mut up = Vec::new();
        for (i, mult) in cfg.ch_mult.iter().enumerate().rev() {
            let vb = vb.pp("up").pp(i);
            let out = cfg.ch * mult;
            let blocks = (0..=cfg.num_res_blocks)
                .map(|j| {
                    let from = if j == 0 { width } else { out };
                    ResnetBlock::load(from, out, &vb.pp("block").pp(j))
                })
                .collect::<Result<_>>()?;
            width = out;
            let resample = if i > 0 {
                Some(conv(width, width, 3, 1, 1, &vb.pp("upsample").pp("conv"))?)
            } else {
                None
            };
            up.push(Level { blocks, resample });
        }
        let norm_out = GroupNorm::load(width, &vb.pp("norm_out"))?;
        let conv_out = conv(width, cfg.out_ch, 3, 1, 1, &vb.pp("conv_out"))?;
        Ok(Self { conv_in, mid, up, norm_out, conv_out })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = self.mid.forward(&self.conv_in.forward(xs)?)?;
        for level in &self.up {
            for block in &level.blocks {
                xs = block.forward(&xs)?;
            }
            if let Some(conv) = &level.resample {
                let (_, _, h, w) = xs.dims4()?;
                xs = conv.forward(&xs.upsample_nearest2d(2 * h, 2 * w)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&xs)?.silu()?)
    }
}

/// The FLUX-shaped autoencoder.
#[derive(Debug, Clone)]
pub struct AutoEncoder {
    encoder: Encoder,
    decoder: Decoder,
    cfg: VaeConfig,
}

impl AutoEncoder {
    /// Reads `encoder.*` and `decoder.*`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or channels do not split into 32 groups.
    pub fn load(cfg: &VaeConfig, vb: &VarBuilder) -> Result<Self> {
        if !cfg.ch.is_multiple_of(GROUPS) || cfg.ch_mult.is_empty() {
            bail!("vae_config.ch must be a multiple of {GROUPS} and ch_mult not empty")
        }
        Ok(Self {
            encoder: Encoder::load(cfg, &vb.pp("encoder"))?,
            decoder: Decoder::load(cfg, &vb.pp("decoder"))?,
            cfg: cfg.clone(),
        })
    }

    /// Mean and log-variance (2z, H/8, W/8) of a picture (3, H, W).
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn moments(&self, picture: &Tensor) -> Result<Tensor> {
        self.encoder.forward(&picture.unsqueeze(0)?)?.squeeze(0)
    }

    /// Normalised latents (z, H/8, W/8): `s·(mean + exp(logvar / 2)·eps − shift)`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn encode(&self, picture: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let moments = self.moments(picture)?;
        let z = self.cfg.z_channels;
        let (mean, logvar) = (moments.narrow(0, 0, z)?, moments.narrow(0, z, z)?);
        let sample = (mean + ((logvar * 0.5)?.exp()? * eps)?)?;
        sample.affine(self.cfg.scale_factor, -self.cfg.scale_factor * self.cfg.shift_factor)
    }

    /// A picture (3, H, W) from normalised latents.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        let latent = latent.affine(1. / self.cfg.scale_factor, self.cfg.shift_factor)?;
        self.decoder.forward(&latent.unsqueeze(0)?)?.squeeze(0)
    }
}

/// Latents (c, h·p, w·p) as tokens (h·w, p·p·c), channel fastest inside a token.
///
/// # Errors
/// When the sides are no multiples of `p`.
pub fn patchify(latent: &Tensor, p: usize) -> Result<Tensor> {
    let (c, height, width) = latent.dims3()?;
    if height % p != 0 || width % p != 0 {
        bail!("a latent of {height}×{width} does not split into patches of {p}")
    }
    latent
        .reshape((c, height / p, p, width / p, p))?
        .permute((1, 3, 2, 4, 0))?
        .contiguous()?
        .reshape((height / p * (width / p), p * p * c))
}

/// The inverse of [`patchify`] for an `h`×`w` grid of tokens.
///
/// # Errors
/// When the tokens do not form that grid.
pub fn unpatchify(tokens: &Tensor, h: usize, w: usize, p: usize) -> Result<Tensor> {
    let (_, d) = tokens.dims2()?;
    let c = d / (p * p);
    tokens.reshape((h, w, p, p, c))?.permute((4, 0, 2, 1, 3))?.contiguous()?.reshape((
        c,
        h * p,
        w * p,
    ))
}

/// Turns pictures into latents and back.
#[derive(Debug, Clone)]
pub enum Codec {
    /// The convolutional autoencoder.
    Flux(Box<AutoEncoder>),
    /// The picture itself.
    Pixel,
}

impl Codec {
    /// Shape (c, h, w) of the latent of a picture of `height`×`width`.
    pub fn latent_shape(&self, height: usize, width: usize) -> (usize, usize, usize) {
        match self {
            Self::Flux(vae) => {
                let f = vae.cfg.downsample;
                (vae.cfg.z_channels, height / f, width / f)
            }
            Self::Pixel => (3, height, width),
        }
    }

    /// Latents of a normalised picture (3, H, W); `eps` has the latents' shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn encode(&self, picture: &Tensor, eps: &Tensor) -> Result<Tensor> {
        match self {
            Self::Flux(vae) => vae.encode(picture, eps),
            Self::Pixel => picture.to_dtype(DType::F32),
        }
    }

    /// A picture (3, H, W) from latents.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        match self {
            Self::Flux(vae) => vae.decode(latent),
            Self::Pixel => Ok(latent.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn tokens_hold_row_column_channel() -> Result<()> {
        // Two channels of 2×4, patches of 2: the first token is rows 0–1, columns 0–1.
        let latent = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((2, 2, 4))?;
        let tokens = patchify(&latent, 2)?;
        assert_eq!(
            tokens.to_vec2::<f32>()?,
            [[0., 8., 1., 9., 4., 12., 5., 13.], [2., 10., 3., 11., 6., 14., 7., 15.]]
        );
        let back = unpatchify(&tokens, 1, 2, 2)?;
        assert_eq!(back.to_vec3::<f32>()?, latent.to_vec3::<f32>()?);
        Ok(())
    }
}
