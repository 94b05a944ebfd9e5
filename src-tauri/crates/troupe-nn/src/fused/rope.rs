//! Rotation of queries and keys, half-split convention.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::{f32_slice, for_rows, is_fusable, with_slices};

struct Rope {
    heads: usize,
}

/// Turns every head of every token by its angle; `direction` −1 turns back.
fn rotate(
    xs: &[f32],
    cos: &[f32],
    sin: &[f32],
    heads: usize,
    half: usize,
    direction: f32,
) -> Vec<f32> {
    let mut out = vec![0f32; xs.len()];
    for_rows(&mut out, 2 * half, |i, row| {
        let token = i / heads;
        let angle = token * half..(token + 1) * half;
        let (cos, sin) = (&cos[angle.clone()], &sin[angle]);
        let x = &xs[i * 2 * half..(i + 1) * 2 * half];
        let (low, high) = x.split_at(half);
        let (out_low, out_high) = row.split_at_mut(half);
        for j in 0..half {
            let s = direction * sin[j];
            out_low[j] = low[j] * cos[j] - high[j] * s;
            out_high[j] = high[j] * cos[j] + low[j] * s;
        }
    });
    out
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let half = layout.shape().dims3()?.2 / 2;
        let (cos, sin) = (f32_slice(cos, cos_layout)?, f32_slice(sin, sin_layout)?);
        let out = rotate(f32_slice(xs, layout)?, cos, sin, self.heads, half, 1.);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let half = xs.dims3()?.2 / 2;
        let out = with_slices([grad, cos, sin], |[grad, cos, sin]| {
            Ok(rotate(grad, cos, sin, self.heads, half, -1.))
        })?;
        Ok((Some(Tensor::from_vec(out, xs.shape(), xs.device())?), None, None))
    }
}

/// Rotates `xs` (t, heads, d) by tables (t, d / 2). The tables get no gradient.
///
/// # Errors
/// When the tables do not fit.
pub fn rope(xs: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (t, heads, d) = xs.dims3()?;
    if cos.dims2()? != (t, d / 2) || sin.dims2()? != (t, d / 2) {
        candle_core::bail!("rope: tables {:?} do not fit {:?}", cos.dims(), xs.dims())
    }
    if is_fusable(xs) {
        let (cos, sin) = (cos.contiguous()?, sin.contiguous()?);
        return xs.contiguous()?.apply_op3(&cos, &sin, Rope { heads });
    }
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // (t, 1, d / 2)
    let (low, high) = (xs.narrow(2, 0, d / 2)?, xs.narrow(2, d / 2, d / 2)?);
    let out_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let out_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[out_low, out_high], D::Minus1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fused::check::{assert_same_gradients, var},
        rope::rope_tables,
    };
    use candle_core::Device;

    #[test]
    fn equals_the_composed_form() -> Result<()> {
        let x = var(&[5, 3, 8], 1)?;
        let (cos, sin) = rope_tables(&[0, 1, 7, 7, 30], 8, 1e4, &Device::Cpu)?;
        let composed = || {
            let (c, s) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
            let (a, b) = (x.narrow(2, 0, 4)?, x.narrow(2, 4, 4)?);
            let low = (a.broadcast_mul(&c)? - b.broadcast_mul(&s)?)?;
            let high = (b.broadcast_mul(&c)? + a.broadcast_mul(&s)?)?;
            Tensor::cat(&[low, high], D::Minus1)
        };
        assert_same_gradients(&[&x], || rope(&x, &cos, &sin), composed, 1e-6)
    }
}
