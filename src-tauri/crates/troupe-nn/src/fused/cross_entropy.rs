//! Cross-entropy of each token, from logits or behind a frozen output layer.
//!
//! Shapes: t = tokens, v = vocabulary, i = width of the output layer's input.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{
    exp::{exp, max, sum_exp},
    f32_slice, for_rows, is_fusable, with_slices,
};
use crate::{
    gemm::{MatMut, par_gemm_by_rows},
    product::{add_product, for_blocks, matrix},
};

struct CrossEntropy {
    labels: Vec<u32>,
}

/// Largest value and log-sum-exp of a row.
fn log_sum_exp(row: &[f32]) -> f32 {
    let max = max(row);
    max + sum_exp(row, max).ln()
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, v) = layout.shape().dims2()?;
        let logits = f32_slice(logits, layout)?;
        let mut out = vec![0f32; t];
        out.par_iter_mut().enumerate().for_each(|(i, loss)| {
            let row = &logits[i * v..(i + 1) * v];
            *loss = log_sum_exp(row) - row[self.labels[i] as usize];
        });
        Ok((CpuStorage::F32(out), Shape::from(t)))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, v) = logits.dims2()?;
        let out = with_slices([logits, grad], |[logits, grad]| {
            let mut out = vec![0f32; logits.len()];
            for_rows(&mut out, v, |i, row| {
                let x = &logits[i * v..(i + 1) * v];
                let lse = log_sum_exp(x);
                for (d, x) in row.iter_mut().zip(x) {
                    *d = grad[i] * exp(x - lse);
                }
                row[self.labels[i] as usize] -= grad[i];
            });
            Ok(out)
        })?;
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
    }
}

/// Negative log-likelihood (t) of `labels` (t) under `logits` (t, v).
///
/// # Errors
/// When the counts differ or a label is outside the vocabulary.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let (t, v) = logits.dims2()?;
    if labels.len() != t || labels.iter().any(|l| *l as usize >= v) {
        bail!("cross_entropy: {} labels for {t} rows of {v} logits", labels.len())
    }
    if is_fusable(logits) {
        return logits.contiguous()?.apply_op1(CrossEntropy { labels: labels.to_vec() });
    }
    let logits = logits.to_dtype(DType::F32)?;
    let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let index = Tensor::new(labels, logits.device())?.unsqueeze(1)?;
    log_probs.gather(&index, 1)?.squeeze(1)?.neg()
}

/// Words of the vocabulary whose logits are held at a time.
const HELD_WORDS: usize = 4096;

/// Cross-entropy behind an output layer that is not trained. Logits are made for some words at a time,
/// and again for the gradient: of all at once, logits and gradient would take 8 bytes a word and token.
struct HeadCrossEntropy {
    weight: Tensor, // (v, i)
    labels: Vec<u32>,
    /// Log-sum-exp of each token, found on the way forward.
    log_sums: OnceLock<Vec<f32>>,
}

/// What is known of a token's logits so far.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    /// Sum of exponentials below `max`.
    sum: f32,
    label: f32,
}

impl HeadCrossEntropy {
    /// Runs `f` on the logits (t, w) of words: the first word, its weight's rows and theirs (w, i).
    fn for_logits(&self, xs: &[f32], mut f: impl FnMut(usize, &mut [f32], &[f32])) -> Result<()> {
        let (_, i) = self.weight.dims2()?;
        let t = self.labels.len();
        let mut logits = Vec::new();
        for_blocks(&self.weight, |first, block| {
            for (index, rows) in block.chunks(HELD_WORDS * i.max(1)).enumerate() {
                let width = rows.len() / i.max(1);
                logits.resize(t * width, 0f32);
                let out = MatMut::rows(&mut logits, 0, t, width, width);
                par_gemm_by_rows(out, 0., 1., matrix(xs, t, i), rows, (width, i));
                f(first + index * HELD_WORDS, &mut logits, rows);
            }
        })
    }
}

impl CustomOp1 for HeadCrossEntropy {
    fn name(&self) -> &'static str {
        "head_cross_entropy"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let t = self.labels.len();
        let unseen = Running { max: f32::NEG_INFINITY, sum: 0., label: 0. };
        let mut running = vec![unseen; t];
        self.for_logits(f32_slice(xs, layout)?, |first, logits, _| {
            let width = logits.len() / t;
            let rows = running.par_iter_mut().zip(logits.par_chunks(width)).zip(&self.labels);
            rows.for_each(|((known, row), label)| {
                let top = max(row).max(known.max);
                known.sum = known.sum * exp(known.max - top) + sum_exp(row, top);
                known.max = top;
                let place = (*label as usize).checked_sub(first);
                if let Some(logit) = place.and_then(|place| row.get(place)) {
                    known.label = *logit;
                }
            });
        })?;
        let log_sums: Vec<f32> = running.iter().map(|known| known.max + known.sum.ln()).collect();
        let losses = log_sums.iter().zip(&running).map(|(sum, known)| sum - known.label).collect();
        self.log_sums.get_or_init(|| log_sums);
        Ok((CpuStorage::F32(losses), Shape::from(t)))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (t, i) = xs.dims2()?;
        let Some(log_sums) = self.log_sums.get() else {
            bail!("head_cross_entropy: a gradient before the loss")
        };
        let dx = with_slices([xs, grad], |[xs, grad]| {
            let mut dx = vec![0f32; t * i];
            self.for_logits(xs, |first, logits, words| {
                let width = logits.len() / t;
                logits.par_chunks_mut(width).enumerate().for_each(|(token, row)| {
                    row.iter_mut().for_each(|x| *x = grad[token] * exp(*x - log_sums[token]));
                    let place = (self.labels[token] as usize).checked_sub(first);
                    if let Some(x) = place.and_then(|place| row.get_mut(place)) {
                        *x -= grad[token];
                    }
                });
                let keep = if first == 0 { 0. } else { 1. };
                let (out, words) = ((t, i), matrix(words, width, i));
                add_product(&mut dx, out, keep, 1., matrix(logits, t, width), words);
            })?;
            Ok(dx)
        })?;
        Ok(Some(Tensor::from_vec(dx, (t, i), xs.device())?))
    }
}

/// Negative log-likelihood (t) of `labels` (t) under `xs wᵀ` for xs (t, i) in f32 on the CPU and a frozen
/// `weight` (v, i), which may be in half precision.
///
/// # Errors
/// When counts or widths differ, or a label is outside the vocabulary.
pub(crate) fn head_cross_entropy(xs: &Tensor, weight: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let ((t, i), (v, width)) = (xs.dims2()?, weight.dims2()?);
    if labels.len() != t || i != width || labels.iter().any(|l| *l as usize >= v) {
        bail!("cross_entropy: {} labels for ({t}, {i}) under ({v}, {width})", labels.len())
    }
    if t == 0 {
        return xs.sum(1); // no tokens, no losses
    }
    let (weight, labels) = (weight.contiguous()?, labels.to_vec());
    xs.contiguous()?.apply_op1(HeadCrossEntropy { weight, labels, log_sums: OnceLock::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_same_gradients, var};

    #[test]
    fn equals_the_composed_form() -> Result<()> {
        let x = var(&[6, 5000], 1)?;
        let labels = [0, 4999, 17, 17, 3, 256];
        let composed = || {
            let log_probs = candle_nn::ops::log_softmax(&x, D::Minus1)?;
            let index = Tensor::new(&labels, x.device())?.unsqueeze(1)?;
            log_probs.gather(&index, 1)?.squeeze(1)?.neg()
        };
        assert_same_gradients(&[&x], || cross_entropy(&x, &labels), composed, 1e-5)
    }

    /// The vocabulary is larger than what is held at a time, and no multiple of it.
    #[test]
    fn behind_a_frozen_layer_it_equals_the_one_of_its_logits() -> Result<()> {
        let x = var(&[5, 24], 2)?;
        let words = 2 * HELD_WORDS + 77;
        let weight = var(&[words, 24], 3)?.as_tensor().detach();
        let labels = [0, words as u32 - 1, HELD_WORDS as u32, 17, HELD_WORDS as u32 - 1];
        let whole = |weight: &Tensor| cross_entropy(&x.matmul(&weight.t()?)?, &labels);
        assert_same_gradients(
            &[&x],
            || head_cross_entropy(&x, &weight, &labels),
            || whole(&weight),
            1e-5,
        )?;
        for kind in [DType::F16, DType::BF16] {
            let half = weight.to_dtype(kind)?;
            let same = half.to_dtype(DType::F32)?;
            assert_same_gradients(
                &[&x],
                || head_cross_entropy(&x, &half, &labels),
                || whole(&same),
                1e-5,
            )?;
        }
        assert!(head_cross_entropy(&x, &weight, &[words as u32; 5]).is_err());
        assert_eq!(head_cross_entropy(&x.narrow(0, 0, 0)?, &weight, &[])?.dims(), [0]);
        Ok(())
    }

    #[test]
    fn uniform_logits_cost_the_log_of_the_vocabulary() -> Result<()> {
        let logits = Tensor::zeros((1, 8), DType::F32, &candle_core::Device::Cpu)?;
        let loss = cross_entropy(&logits, &[3])?.get(0)?.to_scalar::<f32>()?;
        assert!((loss - 8f32.ln()).abs() < 1e-6);
        assert!(cross_entropy(&logits, &[8]).is_err());
        Ok(())
    }
}
