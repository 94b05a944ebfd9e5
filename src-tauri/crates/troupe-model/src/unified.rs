//! The unified network: language model, vision tower, codec and what joins them.
//!
//! Source: BAGEL (arXiv:2505.14683), `modeling/bagel/bagel.py`, `modeling_utils.py`.
//! Checkpoint prefixes: `language_model`, `vit_model`, `connector`, `vit_pos_embed`,
//! `latent_pos_embed`, `time_embedder`, `vae2llm`, `llm2vae`; ours: `sight`.
//! Shapes: g = latents, h = model width, D = numbers in a latent token.

use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use troupe_nn::linear::Linear;

use crate::{
    config::{LlmConfig, ModelConfig, Prediction},
    layout::Layout,
    llm::{Hidden, Kv, LinearVisitor, MotLm, Recompute, TensorVisitor, load_linear},
    vit::{Connector, DeepRows, Sight, SightAdapters, VisionTower, patchify_picture, sincos_table},
};

/// Sinusoidal features of a time: as many cosines as sines.
const TIME_FEATURES: usize = 256;
/// Longest period of the time features.
const TIME_MAX_PERIOD: f64 = 10_000.;
/// Smallest time by which a predicted sample is turned into a velocity (JiT, arXiv:2511.13720).
pub const SAMPLE_PREDICTION_MIN_TIME: f64 = 0.05;

/// Sinusoidal features of a flow time followed by a two-layer MLP.
#[derive(Debug, Clone)]
struct TimeEmbedder {
    fc_in: Linear,
    fc_out: Linear,
    freqs: Tensor, // (TIME_FEATURES / 2), f32
    dtype: DType,
}

impl TimeEmbedder {
    fn load(hidden: usize, vb: &VarBuilder) -> Result<Self> {
        let half = TIME_FEATURES / 2;
        let freqs: Vec<f32> = (0..half)
            .map(|k| (-TIME_MAX_PERIOD.ln() * k as f64 / half as f64).exp() as f32)
            .collect();
        Ok(Self {
            fc_in: load_linear(&vb.pp("mlp").pp(0), TIME_FEATURES, hidden, true)?,
            fc_out: load_linear(&vb.pp("mlp").pp(2), hidden, hidden, true)?, // mlp.1 is the SiLU
            freqs: Tensor::new(freqs, vb.device())?,
            dtype: vb.dtype(),
        })
    }

    /// Embeds `times` in [0, 1] as (t, h). Times are not scaled by 1000.
    fn forward(&self, times: &[f64]) -> Result<Tensor> {
        let times: Vec<f32> = times.iter().map(|t| *t as f32).collect();
        let times = Tensor::new(times, self.freqs.device())?.unsqueeze(1)?; // (t, 1)
        let angles = times.broadcast_mul(&self.freqs)?; // (t, f / 2)
        let feats = Tensor::cat(&[angles.cos()?, angles.sin()?], D::Minus1)?; // (t, f)
        let hidden = self.fc_in.forward(&feats.to_dtype(self.dtype)?)?.silu()?; // (t, h)
        self.fc_out.forward(&hidden)
    }
}

/// The vision side of the network.
#[derive(Debug, Clone)]
struct Vision {
    tower: VisionTower,
    connector: Connector,
    positions: Tensor, // (side², h)
}

impl Vision {
    fn load(cfg: &ModelConfig, vb: &VarBuilder) -> Result<Self> {
        let h = cfg.llm_config.hidden_size;
        let side = cfg.vit_max_num_patch_per_side;
        Ok(Self {
            tower: VisionTower::load(&cfg.vit_config, vb.pp("vit_model").pp("vision_model"))?,
            connector: Connector::load(
                cfg.vit_config.hidden_size,
                h,
                &cfg.deep_connector_layers,
                vb.pp("connector"),
            )?,
            positions: position_table(&vb.pp("vit_pos_embed"), side, h)?,
        })
    }
}

/// The drawing side of the network.
#[derive(Debug, Clone)]
struct Drawing {
    time_embedder: TimeEmbedder,
    vae2llm: Linear,
    llm2vae: Linear,
    positions: Tensor, // (side², h)
}

/// A picture seen through the vision tower, as the language model takes it.
#[derive(Debug, Clone)]
pub struct VisionTokens {
    /// The connector's output, (n, h).
    pub connected: Tensor,
    /// With positions: what enters the language model, (n, h).
    pub tokens: Tensor,
    /// What joins these tokens before later layers, each (n, h).
    pub deep: DeepRows,
}

impl VisionTokens {
    /// The block's rows with its marker tokens, each (1, h), around them.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn between(self, start: &Tensor, end: &Tensor) -> Result<(Tensor, DeepRows)> {
        let rows = Tensor::cat(&[start, &self.tokens, end], 0)?;
        let padded = |(layer, rows): (usize, Tensor)| Ok((layer, rows.pad_with_zeros(0, 1, 1)?));
        Ok((rows, self.deep.into_iter().map(padded).collect::<Result<_>>()?))
    }
}

/// A picture of latents that enters the network: a clean condition (`time` 0) or a noised target.
#[derive(Debug, Clone)]
pub struct LatentInput<'a> {
    /// Latent tokens, (rows · columns, D).
    pub tokens: &'a Tensor,
    /// Flow time in [0, 1].
    pub time: f64,
    /// Rows of tokens.
    pub rows: usize,
    /// Columns of tokens.
    pub columns: usize,
}

/// All weights but the codec's.
#[derive(Debug, Clone)]
pub struct Network {
    lm: MotLm,
    vision: Option<Vision>,
    drawing: Option<Drawing>,
    sight: Option<Arc<SightAdapters>>,
    cfg: ModelConfig,
    dtype: DType,
    device: Device,
    recompute: Option<Recompute>,
}

/// A position table from the checkpoint, or computed when the checkpoint has none.
fn position_table(vb: &VarBuilder, side: usize, width: usize) -> Result<Tensor> {
    if vb.contains_tensor("pos_embed") {
        return vb.get((side * side, width), "pos_embed");
    }
    sincos_table(side, width)?.to_device(vb.device())?.to_dtype(vb.dtype())
}

impl Network {
    /// Reads all tensors under `vb`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(cfg: &ModelConfig, vb: &VarBuilder) -> Result<Self> {
        Self::load_with(cfg, vb, vb, &mut |_, _| Ok(()))
    }

    /// As [`load`](Self::load), with the vision tower from `vision`, which may be on another device
    /// and of another type; `prepare` sees every linear layer of the language model as soon as it is
    /// read.
    ///
    /// # Errors
    /// As [`load`](Self::load), and those of `prepare`.
    pub fn load_with(
        cfg: &ModelConfig,
        vb: &VarBuilder,
        vision: &VarBuilder,
        prepare: LinearVisitor,
    ) -> Result<Self> {
        let h = cfg.llm_config.hidden_size;
        let vision = if cfg.visual_und { Some(Vision::load(cfg, vision)?) } else { None };
        let sight = if vision.is_some() && cfg.sight_width > 0 {
            let LlmConfig { num_hidden_layers, rms_norm_eps, .. } = cfg.llm_config;
            let (width, vb) = (cfg.sight_width, vb.pp("sight"));
            Some(SightAdapters::load(num_hidden_layers, h, width, rms_norm_eps, &vb)?)
        } else {
            None
        };
        let drawing = if cfg.visual_gen {
            Some(Drawing {
                time_embedder: TimeEmbedder::load(h, &vb.pp("time_embedder"))?,
                vae2llm: load_linear(&vb.pp("vae2llm"), cfg.latent_token_dim(), h, true)?,
                llm2vae: load_linear(&vb.pp("llm2vae"), h, cfg.latent_token_dim(), true)?,
                positions: position_table(&vb.pp("latent_pos_embed"), cfg.max_latent_size, h)?,
            })
        } else {
            None
        };
        Ok(Self {
            lm: MotLm::load(&cfg.llm_config, cfg.visual_gen, &vb.pp("language_model"), prepare)?,
            vision,
            drawing,
            sight: sight.map(Arc::new),
            cfg: cfg.clone(),
            dtype: vb.dtype(),
            device: vb.device().clone(),
            recompute: None,
        })
    }

    /// From now on, passes without cache run every layer again in the backward pass; gradients that
    /// arise there are in [`Recompute::collect`].
    pub fn set_recompute(&mut self, recompute: Option<Recompute>) {
        self.recompute = recompute;
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.cfg
    }

    /// Where the weights live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Type of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Applies `visitor` to the linear layers of both experts and the drawing heads.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit_linears(&mut self, visitor: LinearVisitor) -> Result<()> {
        self.lm.visit_linears(visitor)?;
        if let Some(drawing) = &mut self.drawing {
            visitor("time_embedder.mlp.0", &mut drawing.time_embedder.fc_in)?;
            visitor("time_embedder.mlp.2", &mut drawing.time_embedder.fc_out)?;
            visitor("vae2llm", &mut drawing.vae2llm)?;
            visitor("llm2vae", &mut drawing.llm2vae)?;
        }
        Ok(())
    }

    /// Applies `visitor` to the weight of every norm of the language model.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit_norms(&mut self, visitor: TensorVisitor) -> Result<()> {
        self.lm.visit_norms(visitor)
    }

    /// Stores the token embedding in half precision.
    ///
    /// # Errors
    /// When the conversion fails.
    pub fn halve_embedding(&mut self, half: DType) -> Result<()> {
        self.lm.halve_embedding(half)
    }

    fn vision(&self) -> Result<&Vision> {
        match &self.vision {
            Some(vision) => Ok(vision),
            None => bail!(
                "this model cannot see: it has no vision tower (`troupe pretrain vision` trains one), \
                 or its configuration has visual_und = false"
            ),
        }
    }

    fn drawing(&self) -> Result<&Drawing> {
        match &self.drawing {
            Some(drawing) => Ok(drawing),
            None => bail!("this model cannot draw: its configuration has visual_gen = false"),
        }
    }

    /// Embeddings of text tokens, (t, h).
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn embed_text(&self, ids: &[u32]) -> Result<Tensor> {
        self.lm.embed(ids)?.to_dtype(self.dtype)
    }

    /// Position ids of a grid of patches in a table of `side` columns.
    fn grid_ids(rows: usize, columns: usize, side: usize, what: &str) -> Result<Vec<u32>> {
        if rows > side || columns > side {
            bail!("a picture of {rows}×{columns} {what} exceeds the model's {side}×{side}")
        }
        Ok((0..rows).flat_map(|r| (0..columns).map(move |c| (r * side + c) as u32)).collect())
    }

    /// Position ids of a picture's vision patches.
    fn patch_ids(&self, rows: usize, columns: usize) -> Result<Tensor> {
        let side = self.cfg.vit_max_num_patch_per_side;
        let ids = Self::grid_ids(rows, columns, side, "vision patches")?;
        Tensor::new(ids, self.vision_device())
    }

    /// Where pictures are looked at.
    pub fn vision_device(&self) -> &Device {
        self.vision.as_ref().map_or(&self.device, |vision| vision.positions.device())
    }

    /// What acts on understanding tokens of a picture or behind one, all of them where there is no
    /// `mask` (u, 1); none for a base without such adapters.
    pub fn sight(&self, mask: Option<Tensor>) -> Option<Sight> {
        self.sight.clone().map(|adapters| Sight { adapters, mask })
    }

    /// As [`sight`](Self::sight), for tokens of which `sees` tells one by one.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn sight_where(&self, sees: &[bool]) -> Result<Option<Sight>> {
        if self.sight.is_none() || !sees.contains(&true) {
            return Ok(None);
        }
        let mask: Vec<f32> = sees.iter().map(|sees| f32::from(u8::from(*sees))).collect();
        let mask = Tensor::new(mask, &self.device)?.unsqueeze(1)?.to_dtype(self.dtype)?;
        Ok(self.sight(Some(mask)))
    }

    /// Output of the vision tower for a normalised picture (3, H, W), (n, vision width).
    ///
    /// # Errors
    /// When the sides are no multiples of the patch or exceed the position table.
    pub fn vision_features(&self, picture: &Tensor) -> Result<Tensor> {
        let patch = self.cfg.vit_config.patch_size;
        let (_, height, width) = picture.dims3()?;
        let ids = self.patch_ids(height / patch, width / patch)?;
        let vision = self.vision()?;
        let picture = picture.to_dtype(vision.positions.dtype())?;
        vision.tower.forward(&patchify_picture(&picture, patch)?, &ids, None) // (n, p·p·3) in
    }

    /// Vision features (n, vision width) of a `rows`×`columns` grid as tokens.
    ///
    /// # Errors
    /// When the grid exceeds the position table.
    pub fn vision_tokens(
        &self,
        features: &Tensor,
        rows: usize,
        columns: usize,
    ) -> Result<VisionTokens> {
        let vision = self.vision()?;
        let (connected, deep) = vision.connector.forward(features)?;
        let ids = self.patch_ids(rows, columns)?;
        let positions = vision.positions.index_select(&ids, 0)?;
        let tokens = (&connected + positions)?;
        Ok(VisionTokens { connected, tokens, deep })
    }

    /// Vision tokens of a normalised picture (3, H, W), where the language model is.
    ///
    /// # Errors
    /// As [`vision_features`](Self::vision_features).
    pub fn embed_picture(&self, picture: &Tensor) -> Result<VisionTokens> {
        let patch = self.cfg.vit_config.patch_size;
        let (_, height, width) = picture.dims3()?;
        let features = self.vision_features(picture)?;
        let seen = self.vision_tokens(&features, height / patch, width / patch)?;
        let moved = |rows: Tensor| rows.to_device(&self.device)?.to_dtype(self.dtype);
        let deep = |(layer, rows)| Ok((layer, moved(rows)?));
        Ok(VisionTokens {
            connected: moved(seen.connected)?,
            tokens: moved(seen.tokens)?,
            deep: seen.deep.into_iter().map(deep).collect::<Result<_>>()?,
        })
    }

    /// Latent tokens of several pictures, one after the other, (g, h).
    ///
    /// # Errors
    /// When a picture's grid exceeds the position table or disagrees with its tokens.
    pub fn embed_latents(&self, inputs: &[LatentInput]) -> Result<Tensor> {
        let drawing = self.drawing()?;
        let times: Vec<f64> = inputs.iter().map(|input| input.time).collect();
        let times = drawing.time_embedder.forward(&times)?; // (pictures, h)
        let side = self.cfg.max_latent_size;
        let (mut tokens, mut ids, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (owner, input) in inputs.iter().enumerate() {
            let num = input.tokens.dim(0)?;
            if num != input.rows * input.columns {
                bail!("{num} latent tokens do not form a {}×{} grid", input.rows, input.columns)
            }
            tokens.push(input.tokens.to_dtype(self.dtype)?);
            ids.extend(Self::grid_ids(input.rows, input.columns, side, "latents")?);
            owners.extend(std::iter::repeat_n(owner as u32, num));
        }
        let xs = drawing.vae2llm.forward(&Tensor::cat(&tokens, 0)?)?; // (g, h)
        let positions = drawing.positions.index_select(&Tensor::new(ids, &self.device)?, 0)?;
        let times = times.index_select(&Tensor::new(owners, &self.device)?, 0)?;
        (xs + times)? + positions
    }

    /// Runs the language model over embedded rows.
    ///
    /// # Errors
    /// When rows and layout disagree.
    pub fn forward(&self, hidden: Hidden, layout: &Layout, kv: Kv) -> Result<Hidden> {
        match (&self.recompute, kv) {
            (Some(recompute), Kv::None) => self.lm.forward_recomputing(hidden, layout, recompute),
            (_, kv) => self.lm.forward(hidden, layout, kv),
        }
    }

    /// The language model.
    pub fn lm(&self) -> &MotLm {
        &self.lm
    }

    /// Velocities (g, D) in f32 from final latents (g, h) and the inputs they came from.
    ///
    /// # Errors
    /// When the model cannot draw or shapes disagree.
    pub fn velocities(&self, hidden: &Tensor, inputs: &[LatentInput]) -> Result<Tensor> {
        let predicted = self.drawing()?.llm2vae.forward(hidden)?.to_dtype(DType::F32)?; // (g, D)
        match self.cfg.prediction {
            Prediction::Velocity => Ok(predicted),
            Prediction::Sample => {
                let noised: Vec<&Tensor> = inputs.iter().map(|input| input.tokens).collect();
                let noised = Tensor::cat(&noised, 0)?.to_dtype(DType::F32)?; // (g, D)
                let weights: Vec<f32> = inputs
                    .iter()
                    .flat_map(|input| {
                        let t = input.time.max(SAMPLE_PREDICTION_MIN_TIME) as f32;
                        std::iter::repeat_n(1. / t, input.rows * input.columns)
                    })
                    .collect();
                let weights = Tensor::new(weights, &self.device)?.unsqueeze(1)?; // (g, 1)
                (noised - predicted)?.broadcast_mul(&weights)
            }
        }
    }
}
