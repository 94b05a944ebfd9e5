//! The language model: a Qwen2/Llama decoder whose layers carry two experts.
//!
//! Text, vision tokens and image markers go through the understanding expert, latents through the
//! generation expert; all meet in one attention. A layer may lack a generation expert, in which
//! case latents pass it untouched.
//!
//! Source: BAGEL (arXiv:2505.14683), `modeling/bagel/qwen2_navit.py`, class `Qwen2MoTDecoderLayer`.
//! Checkpoint prefix: `language_model`.
//! Shapes: t = tokens, u = understanding tokens, g = latents, s = keys, n = query heads,
//! m = key/value heads, d = head width, h = model width, f = MLP width.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use troupe_nn::{fused, linear::Linear, rope::rope_tables};

use crate::{
    config::LlmConfig,
    layout::Layout,
    vit::{DeepRows, Sight},
};

mod recompute;

pub use recompute::Recompute;

/// Suffix of the generation expert's module names.
const GEN: &str = "_moe_gen";

/// A function applied to every linear layer with its module name.
pub type LinearVisitor<'a> = &'a mut dyn FnMut(&str, &mut Linear) -> Result<()>;

/// A function applied to every norm's weight with its name.
pub type TensorVisitor<'a> = &'a mut dyn FnMut(&str, &mut Tensor) -> Result<()>;

/// Reads a linear layer under `vb`'s prefix.
///
/// # Errors
/// When a tensor is missing or of another shape.
pub fn load_linear(vb: &VarBuilder, i: usize, o: usize, bias: bool) -> Result<Linear> {
    let weight = vb.get((o, i), "weight")?;
    let bias = if bias { Some(vb.get(o, "bias")?) } else { None };
    Linear::new(weight, bias)
}

/// Sizes of one expert.
#[derive(Debug, Clone, Copy)]
struct ExpertShape {
    hidden: usize,
    mlp: usize,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    qk_norm: bool,
    bias: bool,
    eps: f64,
}

/// The weights of one expert in one layer.
#[derive(Debug, Clone)]
struct Expert {
    input_layernorm: Tensor, // (h)
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    qk_norm: Option<(Tensor, Tensor)>, // (d), (d)
    post_attention_layernorm: Tensor,  // (h)
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    shape: ExpertShape,
    suffix: &'static str,
}

impl Expert {
    fn load(shape: ExpertShape, suffix: &'static str, vb: &VarBuilder) -> Result<Self> {
        let ExpertShape { hidden: h, mlp: f, num_heads: n, num_kv_heads: m, head_dim: d, .. } =
            shape;
        let attn = vb.pp("self_attn");
        let mlp = vb.pp(format!("mlp{suffix}"));
        let at = |name: &str| attn.pp(format!("{name}{suffix}"));
        let norm = |name: &str, vb: &VarBuilder, width: usize| {
            vb.pp(format!("{name}{suffix}")).get(width, "weight")
        };
        let qk_norm = if shape.qk_norm {
            Some((norm("q_norm", &attn, d)?, norm("k_norm", &attn, d)?))
        } else {
            None
        };
        Ok(Self {
            input_layernorm: norm("input_layernorm", vb, h)?,
            q_proj: load_linear(&at("q_proj"), h, n * d, shape.bias)?,
            k_proj: load_linear(&at("k_proj"), h, m * d, shape.bias)?,
            v_proj: load_linear(&at("v_proj"), h, m * d, shape.bias)?,
            o_proj: load_linear(&at("o_proj"), n * d, h, false)?,
            qk_norm,
            post_attention_layernorm: norm("post_attention_layernorm", vb, h)?,
            gate_proj: load_linear(&mlp.pp("gate_proj"), h, f, false)?,
            up_proj: load_linear(&mlp.pp("up_proj"), h, f, false)?,
            down_proj: load_linear(&mlp.pp("down_proj"), f, h, false)?,
            shape,
            suffix,
        })
    }

    /// Queries, keys and values of `xs` (t, h): (t, n, d), (t, m, d), (t, m, d).
    fn qkv(&self, xs: &Tensor, rope: &RopeTables) -> Result<[Tensor; 3]> {
        let ExpertShape { num_heads: n, num_kv_heads: m, head_dim: d, eps, .. } = self.shape;
        let t = xs.dim(0)?;
        let xs = fused::rms_norm(xs, &self.input_layernorm, eps)?;
        let [q, k, v] = Linear::forward_together([&self.q_proj, &self.k_proj, &self.v_proj], &xs)?;
        let (mut q, mut k) = (q.reshape((t, n, d))?, k.reshape((t, m, d))?);
        let v = v.reshape((t, m, d))?;
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = fused::rms_norm(&q, q_norm, eps)?;
            k = fused::rms_norm(&k, k_norm, eps)?;
        }
        let q = fused::rope(&q, &rope.cos, &rope.sin)?;
        let k = fused::rope(&k, &rope.cos, &rope.sin)?;
        Ok([q, k, v])
    }

    /// The layer's second half: attention output `attended` (t, n, d) into the residual `xs`.
    fn finish(&self, xs: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let (t, n, d) = attended.dims3()?;
        let xs = (xs + self.o_proj.forward(&attended.reshape((t, n * d))?)?)?; // (t, h)
        let normed = fused::rms_norm(&xs, &self.post_attention_layernorm, self.shape.eps)?;
        let both = [&self.gate_proj, &self.up_proj];
        let [gate, up] = Linear::forward_together(both, &normed)?; // (t, f)
        xs + self.down_proj.forward(&fused::swiglu(&gate, &up)?)?
    }

    fn visit_norms(&mut self, prefix: &str, visitor: TensorVisitor) -> Result<()> {
        let s = self.suffix;
        visitor(&format!("{prefix}.input_layernorm{s}.weight"), &mut self.input_layernorm)?;
        let post = &mut self.post_attention_layernorm;
        visitor(&format!("{prefix}.post_attention_layernorm{s}.weight"), post)?;
        if let Some((q_norm, k_norm)) = &mut self.qk_norm {
            visitor(&format!("{prefix}.self_attn.q_norm{s}.weight"), q_norm)?;
            visitor(&format!("{prefix}.self_attn.k_norm{s}.weight"), k_norm)?;
        }
        Ok(())
    }

    fn visit(&mut self, prefix: &str, visitor: LinearVisitor) -> Result<()> {
        let s = self.suffix;
        visitor(&format!("{prefix}.self_attn.q_proj{s}"), &mut self.q_proj)?;
        visitor(&format!("{prefix}.self_attn.k_proj{s}"), &mut self.k_proj)?;
        visitor(&format!("{prefix}.self_attn.v_proj{s}"), &mut self.v_proj)?;
        visitor(&format!("{prefix}.self_attn.o_proj{s}"), &mut self.o_proj)?;
        visitor(&format!("{prefix}.mlp{s}.gate_proj"), &mut self.gate_proj)?;
        visitor(&format!("{prefix}.mlp{s}.up_proj"), &mut self.up_proj)?;
        visitor(&format!("{prefix}.mlp{s}.down_proj"), &mut self.down_proj)
    }
}

#[derive(Debug, Clone)]
struct Layer {
    und: Expert,
    latent: Option<Expert>,
}

impl Layer {
    fn visit(&mut self, prefix: &str, visitor: LinearVisitor) -> Result<()> {
        self.und.visit(prefix, visitor)?;
        match &mut self.latent {
            Some(latent) => latent.visit(prefix, visitor),
            None => Ok(()),
        }
    }
}

/// Name of the output head.
const LM_HEAD: &str = "language_model.lm_head";

fn layer_prefix(index: usize) -> String {
    format!("language_model.model.layers.{index}")
}

/// Rotary tables of one row of tokens, each (t, d / 2).
#[derive(Debug, Clone)]
struct RopeTables {
    cos: Tensor,
    sin: Tensor,
}

/// The residual stream in two rows; a row is absent when it has no tokens.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    /// Understanding tokens, (u, h).
    pub und: Option<Tensor>,
    /// Latents, (g, h).
    pub latent: Option<Tensor>,
    /// What joins the understanding tokens before a layer, each (u, h); not used up by the layers.
    pub deep: DeepRows,
    /// What acts on understanding tokens of a picture or behind one; none where there is no picture.
    pub sight: Option<Sight>,
}

impl Hidden {
    /// Lets what is meant for `layer` join the understanding tokens.
    fn join_deep(&mut self, layer: usize) -> Result<()> {
        if let Some(und) = &self.und
            && let Some(update) = self.joining(layer, und)?
        {
            self.und = Some((und + update)?);
        }
        Ok(())
    }

    /// What joins the understanding tokens `und` (u, h) before `layer`, (u, h).
    fn joining(&self, layer: usize, und: &Tensor) -> Result<Option<Tensor>> {
        let deep = self.deep.iter().find(|(at, _)| *at == layer).map(|(_, rows)| rows);
        let sight = self.sight.as_ref().map(|sight| sight.update(layer, und)).transpose()?;
        match (deep, sight) {
            (Some(deep), Some(sight)) => Ok(Some((deep + sight)?)),
            (Some(deep), None) => Ok(Some(deep.clone())),
            (None, sight) => Ok(sight),
        }
    }
}

/// Keys and values of one layer, in storage that grows by doubling.
#[derive(Debug)]
struct LayerCache {
    keys: Tensor,   // (capacity, m, d)
    values: Tensor, // (capacity, m, d)
    len: usize,
}

/// Smallest number of tokens that a cache reserves.
const MIN_CACHE_TOKENS: usize = 64;

impl LayerCache {
    fn with_capacity(capacity: usize, like: &Tensor) -> Result<Self> {
        let (_, m, d) = like.dims3()?;
        let zeros = || Tensor::zeros((capacity, m, d), like.dtype(), like.device());
        Ok(Self { keys: zeros()?, values: zeros()?, len: 0 })
    }

    fn keys(&self) -> Result<Tensor> {
        self.keys.narrow(0, 0, self.len)
    }

    fn values(&self) -> Result<Tensor> {
        self.values.narrow(0, 0, self.len)
    }

    fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<()> {
        let (t, capacity) = (keys.dim(0)?, self.keys.dim(0)?);
        if self.len + t > capacity {
            let mut grown = Self::with_capacity((self.len + t).max(2 * capacity), &self.keys)?;
            if self.len > 0 {
                grown.append(&self.keys()?.contiguous()?, &self.values()?.contiguous()?)?;
            }
            *self = grown;
        }
        self.keys.slice_set(&keys.contiguous()?, 0, self.len)?;
        self.values.slice_set(&values.contiguous()?, 0, self.len)?;
        self.len += t;
        Ok(())
    }
}

/// Keys and values of everything read so far, one entry per layer.
///
/// Keys are stored after normalisation and rotation. Layers without a generation expert hold no
/// latents, so their length differs once a picture has been read as latents.
#[derive(Debug, Default)]
pub struct KvCache {
    layers: Vec<LayerCache>,
}

impl KvCache {
    /// A deep copy: writing to one never shows in the other.
    ///
    /// # Errors
    /// When memory runs out on the device.
    pub fn fork(&self) -> Result<Self> {
        let copy = |layer: &LayerCache| -> Result<LayerCache> {
            let capacity = (layer.len + layer.len / 4).max(MIN_CACHE_TOKENS);
            let mut copied = LayerCache::with_capacity(capacity, &layer.keys)?;
            copied.append(&layer.keys()?, &layer.values()?)?;
            Ok(copied)
        };
        Ok(Self { layers: self.layers.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Keys and values (s, m, d) of one layer.
    ///
    /// # Errors
    /// When the layer does not exist or nothing was read yet.
    pub fn layer(&self, index: usize) -> Result<(Tensor, Tensor)> {
        match self.layers.get(index) {
            Some(layer) => Ok((layer.keys()?, layer.values()?)),
            None => bail!("the cache holds {} layers, not layer {index}", self.layers.len()),
        }
    }

    /// Cached tokens of one layer.
    pub fn len_of(&self, index: usize) -> usize {
        self.layers.get(index).map_or(0, |layer| layer.len)
    }

    /// Frees the keys and values of layers that `needed` rejects; they must not be read again.
    ///
    /// # Errors
    /// When a new, empty storage cannot be made.
    pub fn retain_layers(&mut self, needed: impl Fn(usize) -> bool) -> Result<()> {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if !needed(index) {
                *layer = LayerCache::with_capacity(1, &layer.keys)?;
            }
        }
        Ok(())
    }

    /// Forgets everything after the first `len` tokens of every layer that holds more.
    pub fn truncate(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.len = layer.len.min(len));
    }
}

/// What a forward pass does with cached keys.
#[derive(Debug)]
pub enum Kv<'a> {
    /// There are none.
    None,
    /// Reads the caches of all samples, in sample order.
    Read(&'a [&'a KvCache]),
    /// Reads one cache and appends the tokens of the pass's only block to it.
    Append(&'a mut KvCache),
    /// Appends the tokens of each text block to the empty cache of the same number.
    Fill(&'a mut [KvCache]),
}

/// The decoder with both experts.
#[derive(Debug, Clone)]
pub struct MotLm {
    embed_tokens: Tensor, // (v, h)
    layers: Vec<Layer>,
    norm: Tensor,             // (h)
    norm_gen: Option<Tensor>, // (h)
    lm_head: Linear,
    cfg: LlmConfig,
    device: Device,
}

impl MotLm {
    /// Reads everything under `language_model`. `visual_gen` decides whether generation experts
    /// exist at all; `prepare` sees every linear layer as soon as it is read, so that a layer can be
    /// quantised before the next one takes memory.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(
        cfg: &LlmConfig,
        visual_gen: bool,
        vb: &VarBuilder,
        prepare: LinearVisitor,
    ) -> Result<Self> {
        let (h, v) = (cfg.hidden_size, cfg.vocab_size);
        let model = vb.pp("model");
        let und = ExpertShape {
            hidden: h,
            mlp: cfg.intermediate_size,
            num_heads: cfg.num_attention_heads,
            num_kv_heads: cfg.num_key_value_heads,
            head_dim: cfg.head_dim(),
            qk_norm: cfg.qk_norm,
            bias: cfg.attention_bias,
            eps: cfg.rms_norm_eps,
        };
        let gen_shape = ExpertShape {
            mlp: cfg.gen_expert.intermediate_size.unwrap_or(und.mlp),
            qk_norm: cfg.gen_expert.qk_norm.unwrap_or(und.qk_norm),
            bias: cfg.gen_expert.attention_bias.unwrap_or(und.bias),
            ..und
        };
        let mut layer = |i: usize| -> Result<Layer> {
            let vb = model.pp("layers").pp(i);
            let latent = if visual_gen && cfg.has_gen_expert(i) {
                Some(Expert::load(gen_shape, GEN, &vb)?)
            } else {
                None
            };
            let mut layer = Layer { und: Expert::load(und, "", &vb)?, latent };
            layer.visit(&layer_prefix(i), prepare)?;
            Ok(layer)
        };
        let layers = (0..cfg.num_hidden_layers).map(&mut layer).collect::<Result<_>>()?;
        let embed_tokens = model.pp("embed_tokens").get((v, h), "weight")?;
        let mut lm_head = if cfg.tie_word_embeddings {
            Linear::new(embed_tokens.clone(), None)?
        } else {
            load_linear(&vb.pp("lm_head"), h, v, false)?
        };
        prepare(LM_HEAD, &mut lm_head)?;
        let norm_gen =
            if visual_gen { Some(model.pp(format!("norm{GEN}")).get(h, "weight")?) } else { None };
        Ok(Self {
            layers,
            norm: model.pp("norm").get(h, "weight")?,
            norm_gen,
            lm_head,
            cfg: cfg.clone(),
            device: vb.device().clone(),
            embed_tokens,
        })
    }

    /// Applies `visitor` to every linear layer, with names such as
    /// `language_model.model.layers.0.self_attn.q_proj_moe_gen`.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit_linears(&mut self, visitor: LinearVisitor) -> Result<()> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.visit(&layer_prefix(i), visitor)?;
        }
        visitor(LM_HEAD, &mut self.lm_head)
    }

    /// Applies `visitor` to the weight of every norm.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit_norms(&mut self, visitor: TensorVisitor) -> Result<()> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.und.visit_norms(&layer_prefix(i), visitor)?;
            if let Some(latent) = &mut layer.latent {
                latent.visit_norms(&layer_prefix(i), visitor)?;
            }
        }
        visitor("language_model.model.norm.weight", &mut self.norm)?;
        match &mut self.norm_gen {
            Some(norm) => visitor("language_model.model.norm_moe_gen.weight", norm),
            None => Ok(()),
        }
    }

    /// Stores the token embedding in half precision of type `half`; lookups convert back.
    ///
    /// # Errors
    /// When the conversion fails.
    pub fn halve_embedding(&mut self, half: DType) -> Result<()> {
        self.embed_tokens = self.embed_tokens.to_dtype(half)?;
        Ok(())
    }

    /// Embeddings of `ids`, (t, h).
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.cfg.vocab_size) {
            bail!("token {id} is outside the vocabulary of {}", self.cfg.vocab_size)
        }
        let ids = Tensor::new(ids, self.embed_tokens.device())?;
        self.embed_tokens.index_select(&ids, 0)
    }

    /// Logits (t, v) of hidden states (t, h).
    ///
    /// # Errors
    /// When the width differs.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden)
    }

    /// Negative log-likelihood (t) of `labels` (t) behind finished hidden states (t, h).
    ///
    /// # Errors
    /// When the width or the counts differ, or a label is outside the vocabulary.
    pub fn token_losses(&self, hidden: &Tensor, labels: &[u32]) -> Result<Tensor> {
        self.lm_head.cross_entropy(hidden, labels)
    }

    /// Runs all layers and the final norms.
    ///
    /// # Errors
    /// When the rows do not match `layout`, or `Kv::Append` meets more than one block.
    pub fn forward(&self, hidden: Hidden, layout: &Layout, kv: Kv) -> Result<Hidden> {
        self.normed(self.run_layers(hidden, layout, kv, self.layers.len())?)
    }

    /// The final norms.
    fn normed(&self, hidden: Hidden) -> Result<Hidden> {
        let eps = self.cfg.rms_norm_eps;
        let und = hidden.und.map(|xs| fused::rms_norm(&xs, &self.norm, eps)).transpose()?;
        let latent = match (hidden.latent, &self.norm_gen) {
            (Some(xs), Some(norm)) => Some(fused::rms_norm(&xs, norm, eps)?),
            (Some(_), None) => bail!("this model has no generation expert"),
            (None, _) => None,
        };
        Ok(Hidden { und, latent, ..Hidden::default() })
    }

    /// Reads a block into `cache` without computing what only the final output would need.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn read(&self, hidden: Hidden, layout: &Layout, cache: &mut KvCache) -> Result<()> {
        self.run_layers(hidden, layout, Kv::Append(cache), self.layers.len() - 1)?;
        Ok(())
    }

    /// As [`read`](Self::read) for several texts, one block and one empty cache each.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn read_many(&self, hidden: Hidden, layout: &Layout, caches: &mut [KvCache]) -> Result<()> {
        self.run_layers(hidden, layout, Kv::Fill(caches), self.layers.len() - 1)?;
        Ok(())
    }

    /// Runs the layers; after layer `last_full` only keys and values are computed.
    fn run_layers(
        &self,
        mut hidden: Hidden,
        layout: &Layout,
        mut kv: Kv,
        last_full: usize,
    ) -> Result<Hidden> {
        if let Kv::Append(cache) = &mut kv {
            if layout.blocks().len() != 1 {
                bail!("a cache takes one block at a time, got {}", layout.blocks().len())
            }
            self.prepare(cache)?;
        }
        if let Kv::Fill(caches) = &mut kv {
            if layout.blocks().len() != caches.len() || layout.num_gen() > 0 {
                bail!("{} caches for {} text blocks", caches.len(), layout.blocks().len())
            }
            caches.iter_mut().try_for_each(|cache| self.prepare(cache))?;
        }
        let und_rope = self.rope(&layout.und_positions())?;
        let gen_rope = self.rope(&layout.gen_positions())?;
        for (i, layer) in self.layers.iter().enumerate() {
            hidden.join_deep(i)?;
            let und = hidden.und.as_ref();
            // Latents pass a layer without a generation expert untouched.
            let latent = hidden.latent.as_ref().zip(layer.latent.as_ref());
            if und.is_none() && latent.is_none() {
                continue;
            }
            let mask = if layer.latent.is_some() { layout.mask_all() } else { layout.mask_und() };
            let und_qkv = und.map(|xs| layer.und.qkv(xs, &und_rope)).transpose()?;
            let gen_qkv = latent.map(|(xs, expert)| expert.qkv(xs, &gen_rope)).transpose()?;
            let join = |index: usize| join_rows(und_qkv.as_ref(), gen_qkv.as_ref(), index);
            let mut past = Vec::new();
            let (keys, values) = match &mut kv {
                Kv::None => (join(1)?, join(2)?),
                Kv::Read(caches) => {
                    past = cached(caches, i)?;
                    (join(1)?, join(2)?)
                }
                Kv::Append(cache) => {
                    let cached = &mut cache.layers[i];
                    let order =
                        |row: usize| in_sequence_order(und_qkv.as_ref(), gen_qkv.as_ref(), row);
                    cached.append(&order(1)?, &order(2)?)?;
                    (cached.keys()?, cached.values()?)
                }
                Kv::Fill(caches) => {
                    let (keys, values) = (join(1)?, join(2)?);
                    let mut start = 0;
                    for (cache, block) in caches.iter_mut().zip(layout.blocks()) {
                        let rows = |xs: &Tensor| xs.narrow(0, start, block.num_und);
                        cache.layers[i].append(&rows(&keys)?, &rows(&values)?)?;
                        start += block.num_und;
                    }
                    (keys, values)
                }
            };
            if i >= last_full {
                break;
            }
            let scale = 1. / (self.cfg.head_dim() as f64).sqrt();
            let queries = join(0)?;
            let attended = fused::attention_after(&past, &queries, &keys, &values, mask, scale)?; // (t, n, d)
            let num_und = und.map_or(Ok(0), |xs| xs.dim(0))?;
            let next_und =
                und.map(|xs| layer.und.finish(xs, &attended.narrow(0, 0, num_und)?)).transpose()?;
            let next_latent = latent
                .map(|(xs, expert)| expert.finish(xs, &attended.narrow(0, num_und, xs.dim(0)?)?))
                .transpose()?;
            hidden.und = next_und;
            if next_latent.is_some() {
                hidden.latent = next_latent;
            }
        }
        Ok(hidden)
    }

    fn rope(&self, positions: &[u32]) -> Result<RopeTables> {
        let (cos, sin) =
            rope_tables(positions, self.cfg.head_dim(), self.cfg.rope_theta, &self.device)?;
        let dtype = self.norm.dtype();
        Ok(RopeTables { cos: cos.to_dtype(dtype)?, sin: sin.to_dtype(dtype)? })
    }

    fn prepare(&self, cache: &mut KvCache) -> Result<()> {
        if cache.layers.is_empty() {
            let shape = (1, self.cfg.num_key_value_heads, self.cfg.head_dim());
            let like = Tensor::zeros(shape, self.norm.dtype(), &self.device)?;
            cache.layers = (0..self.layers.len())
                .map(|_| LayerCache::with_capacity(MIN_CACHE_TOKENS, &like))
                .collect::<Result<_>>()?;
        }
        Ok(())
    }
}

/// Both experts' part `index` (query, key or value), understanding tokens first.
fn join_rows(
    und: Option<&[Tensor; 3]>,
    latent: Option<&[Tensor; 3]>,
    index: usize,
) -> Result<Tensor> {
    match (und, latent) {
        (Some(und), Some(latent)) => Tensor::cat(&[&und[index], &latent[index]], 0),
        (Some(one), None) | (None, Some(one)) => Ok(one[index].clone()),
        (None, None) => bail!("a layer without tokens"),
    }
}

/// As [`join_rows`] for a single block, with its latents between the two markers.
fn in_sequence_order(
    und: Option<&[Tensor; 3]>,
    latent: Option<&[Tensor; 3]>,
    index: usize,
) -> Result<Tensor> {
    match (und, latent) {
        (Some(und), Some(latent)) => {
            let start = und[index].narrow(0, 0, 1)?;
            let end = und[index].narrow(0, 1, und[index].dim(0)? - 1)?;
            Tensor::cat(&[&start, &latent[index], &end], 0)
        }
        _ => join_rows(und, latent, index),
    }
}

/// Keys and values of one layer of all caches that hold any.
fn cached(caches: &[&KvCache], layer: usize) -> Result<Vec<fused::Past>> {
    let past = |cache: &&KvCache| {
        let (keys, values) = cache.layer(layer)?;
        Ok(fused::Past { keys, values })
    };
    caches.iter().filter(|cache| cache.len_of(layer) > 0).map(past).collect()
}
