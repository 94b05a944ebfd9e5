//! RMSNorm and LayerNorm over the last dimension.

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::{f32_slice, for_rows, is_fusable, with_slices};

struct RmsNorm {
    eps: f32,
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight partial sums: vectorisable, and better rounded than one.
    let mut sums = [0f32; 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = ca.remainder().iter().zip(cb.remainder()).map(|(x, y)| x * y).sum();
    for (xs, ys) in ca.zip(cb) {
        for ((sum, x), y) in sums.iter_mut().zip(xs).zip(ys) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + tail
}

impl RmsNorm {
    fn inverse(&self, row: &[f32]) -> f32 {
        1. / (dot(row, row) / row.len() as f32 + self.eps).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (xs, weight) = (f32_slice(xs, layout)?, f32_slice(weight, weight_layout)?);
        let width = weight.len();
        let mut out = vec![0f32; xs.len()];
        for_rows(&mut out, width, |i, row| {
            let x = &xs[i * width..(i + 1) * width];
            let inverse = self.inverse(x);
            for ((y, x), w) in row.iter_mut().zip(x).zip(weight) {
                *y = x * inverse * w;
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    // With r = 1/rms and n = x·r: dx = r·(g·w − n·mean(g·w·n)), dw = Σ g·n.
    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let is_trained = weight.track_op();
        let (dx, dw) = with_slices([xs, weight, grad], |[xs, weight, grad]| {
            let width = weight.len();
            let mut dx = vec![0f32; xs.len()];
            for_rows(&mut dx, width, |i, row| {
                let at = i * width..(i + 1) * width;
                let (x, g) = (&xs[at.clone()], &grad[at]);
                let inverse = self.inverse(x);
                for ((d, g), w) in row.iter_mut().zip(g).zip(weight) {
                    *d = g * w;
                }
                let mean = dot(row, x) * inverse * inverse / width as f32;
                for (d, x) in row.iter_mut().zip(x) {
                    *d = inverse * (*d - x * mean);
                }
            });
            if !is_trained {
                return Ok((dx, None));
            }
            let mut dw = vec![0f32; width];
            for (x, g) in xs.chunks_exact(width).zip(grad.chunks_exact(width)) {
                let inverse = self.inverse(x);
                for ((d, x), g) in dw.iter_mut().zip(x).zip(g) {
                    *d += g * x * inverse;
                }
            }
            Ok((dx, Some(dw)))
        })?;
        let dx = Tensor::from_vec(dx, xs.shape(), xs.device())?;
        let dw = dw.map(|dw| Tensor::from_vec(dw, weight.shape(), xs.device())).transpose()?;
        Ok((Some(dx), dw))
    }
}

/// `weight · xs / rms(xs)` over the last dimension; statistics in f32, cast back before the weight.
///
/// `xs` is (…, d), `weight` (d).
///
/// # Errors
/// When the widths differ.
pub fn rms_norm(xs: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if xs.dim(D::Minus1)? != weight.dims1()? {
        candle_core::bail!("rms_norm: width {:?} and weight {:?}", xs.dims(), weight.dims())
    }
    if is_fusable(xs) {
        let op = RmsNorm { eps: eps as f32 };
        return xs.contiguous()?.apply_op2(&weight.contiguous()?, op);
    }
    let wide = xs.to_dtype(DType::F32)?;
    let mean = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean + eps)?.sqrt()?)?;
    normed.to_dtype(xs.dtype())?.broadcast_mul(weight)
}

/// LayerNorm over the last dimension with weight and bias (d), statistics in f32.
///
/// # Errors
/// When the widths differ.
pub fn layer_norm(xs: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = xs.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    if is_fusable(xs) {
        // A centred row's RMS is its standard deviation.
        return rms_norm(&centred, weight, eps)?.broadcast_add(bias);
    }
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.to_dtype(xs.dtype())?.broadcast_mul(weight)?.broadcast_add(bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_same_gradients, var};

    #[test]
    fn rms_norm_equals_the_composed_form() -> Result<()> {
        let (x, w) = (var(&[50, 7, 24], 1)?, var(&[24], 2)?);
        let composed = || {
            let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
            x.broadcast_div(&(mean + 1e-5)?.sqrt()?)?.broadcast_mul(&w)
        };
        assert_same_gradients(&[&x, &w], || rms_norm(&x, &w, 1e-5), composed, 5e-5)
    }

    #[test]
    fn layer_norm_equals_the_composed_form() -> Result<()> {
        let (x, w, b) = (var(&[40, 33], 1)?, var(&[33], 2)?, var(&[33], 3)?);
        let composed = || candle_nn::ops::layer_norm_slow(&x, &w, &b, 1e-6);
        assert_same_gradients(&[&x, &w, &b], || layer_norm(&x, &w, &b, 1e-6), composed, 5e-5)
    }
}
