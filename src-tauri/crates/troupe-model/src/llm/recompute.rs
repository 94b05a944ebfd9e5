//! Layers that are run again for their gradients instead of keeping what they computed.
//!
//! A layer's graph holds some twenty rows of model width a token and, over a quantised weight, nine of
//! MLP width. Run again in the backward pass, a layer leaves one row a token behind, and only one
//! layer's graph exists at a time; training takes a third more arithmetic.
//!
//! Source: Training Deep Nets with Sublinear Memory Cost (arXiv:1604.06174, sec. 3), a segment a layer.
//! Shapes: as in the parent module; rows are understanding tokens, then latents, (u + g, h).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, Layout as Strides, Result, Shape, Tensor, Var, backprop::GradStore, bail,
};
use troupe_nn::{fused, mask::AttnMask};

use super::{Hidden, Layer, MotLm, RopeTables, join_rows};
use crate::layout::Layout;

/// Gradients that arise inside layers which are run again. They are not in the store that `backward`
/// returns until [`collect`](Self::collect) puts them there.
#[derive(Debug, Clone, Default)]
pub struct Recompute {
    vars: Arc<Vec<Var>>,
    found: Arc<Mutex<Vec<Option<Tensor>>>>, // one a variable
}

impl Recompute {
    /// For the variables whose gradients are wanted.
    pub fn new(vars: Vec<Var>) -> Self {
        let found = Arc::new(Mutex::new(vec![None; vars.len()]));
        Self { vars: Arc::new(vars), found }
    }

    /// Adds what `grads` says about the variables.
    fn note(&self, grads: &GradStore) -> Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (var, sum) in self.vars.iter().zip(found.iter_mut()) {
            if let Some(grad) = grads.get(var) {
                *sum = Some(match sum.take() {
                    Some(before) => (before + grad)?,
                    None => grad.clone(),
                });
            }
        }
        Ok(())
    }

    /// Moves what was found since the last call into `grads`, the result of `backward`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn collect(&self, grads: &mut GradStore) -> Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (var, sum) in self.vars.iter().zip(found.iter_mut()) {
            let Some(inside) = sum.take() else { continue };
            let sum = match grads.get(var) {
                Some(outside) => (outside + inside)?,
                None => inside,
            };
            grads.insert(var, sum);
        }
        Ok(())
    }
}

/// One layer over the tokens of a pass without cache.
struct Segment {
    layer: Layer,
    und_rope: RopeTables,
    gen_rope: RopeTables,
    mask: AttnMask,
    scale: f64,
    num_und: usize,
    recompute: Recompute,
}

impl Segment {
    /// The layer's output rows for its input rows.
    fn run(&self, rows: &Tensor) -> Result<Tensor> {
        let num_gen = rows.dim(0)? - self.num_und;
        let part = |start: usize, len: usize| {
            (len > 0).then(|| rows.narrow(0, start, len)).transpose() // a view
        };
        let (und, latent) = (part(0, self.num_und)?, part(self.num_und, num_gen)?);
        let expert = latent.as_ref().zip(self.layer.latent.as_ref());
        let und_qkv = und.as_ref().map(|xs| self.layer.und.qkv(xs, &self.und_rope)).transpose()?;
        let gen_qkv = expert.map(|(xs, expert)| expert.qkv(xs, &self.gen_rope)).transpose()?;
        let join = |index: usize| join_rows(und_qkv.as_ref(), gen_qkv.as_ref(), index);
        let attended = fused::attention(&join(0)?, &join(1)?, &join(2)?, &self.mask, self.scale)?;
        let mut out = Vec::with_capacity(2);
        if let Some(xs) = &und {
            out.push(self.layer.und.finish(xs, &attended.narrow(0, 0, self.num_und)?)?);
        }
        match (expert, latent.as_ref()) {
            (Some((xs, expert)), _) => {
                out.push(expert.finish(xs, &attended.narrow(0, self.num_und, num_gen)?)?);
            }
            (None, Some(xs)) => out.push(xs.clone()), // latents pass the layer untouched
            (None, None) => {}
        }
        Tensor::cat(&out, 0)
    }
}

impl CustomOp1 for Segment {
    fn name(&self) -> &'static str {
        "recomputed_layer"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, strides: &Strides) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (rows, strides.contiguous_offsets())
        else {
            bail!("a recomputed layer takes contiguous f32 rows")
        };
        let shape = strides.shape().clone();
        let rows = Tensor::from_slice(&values[start..end], &shape, &candle_core::Device::Cpu)?;
        let out = self.run(&rows)?.flatten_all()?.to_vec1::<f32>()?;
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, rows: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let input = Var::from_tensor(&rows.detach())?;
        let grads = (self.run(&input)? * grad)?.sum_all()?.backward()?;
        self.recompute.note(&grads)?;
        Ok(grads.get(&input).cloned())
    }
}

impl MotLm {
    /// As [`forward`](Self::forward) without cache, keeping one row a token and layer for the backward
    /// pass. f32 on the CPU.
    ///
    /// # Errors
    /// When the rows do not match `layout`, or are of another type or device.
    pub fn forward_recomputing(
        &self,
        hidden: Hidden,
        layout: &Layout,
        recompute: &Recompute,
    ) -> Result<Hidden> {
        let num = |rows: &Option<Tensor>| rows.as_ref().map_or(Ok(0), |xs| xs.dim(0));
        let (num_und, num_gen) = (num(&hidden.und)?, num(&hidden.latent)?);
        let parts: Vec<&Tensor> = hidden.und.iter().chain(&hidden.latent).collect();
        if parts.is_empty() {
            bail!("a pass without tokens")
        }
        let mut rows = Tensor::cat(&parts, 0)?.contiguous()?;
        if !rows.track_op() {
            // The first layer's own variables need a gradient even where its input needs none.
            rows = Var::from_tensor(&rows)?.as_tensor().clone();
        }
        let und_rope = self.rope(&layout.und_positions())?;
        let gen_rope = self.rope(&layout.gen_positions())?;
        for (i, layer) in self.layers.iter().enumerate() {
            if num_und == 0 && layer.latent.is_none() {
                continue;
            }
            if num_und > 0
                && let Some(joining) = hidden.joining(i, &rows.narrow(0, 0, num_und)?)?
            {
                rows = (rows + joining.pad_with_zeros(0, 0, num_gen)?)?;
            }
            let mask = if layer.latent.is_some() { layout.mask_all() } else { layout.mask_und() };
            rows = rows.apply_op1(Segment {
                layer: layer.clone(),
                und_rope: und_rope.clone(),
                gen_rope: gen_rope.clone(),
                mask: mask.clone(),
                scale: 1. / (self.cfg.head_dim() as f64).sqrt(),
                num_und,
                recompute: recompute.clone(),
            })?;
        }
        let part = |start: usize, len: usize| {
            (len > 0).then(|| rows.narrow(0, start, len)?.contiguous()).transpose()
        };
        let (und, latent) = (part(0, num_und)?, part(num_und, num_gen)?);
        self.normed(Hidden { und, latent, ..Hidden::default() })
    }
}
