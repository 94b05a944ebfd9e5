//! Cross-entropy of each token.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};

use super::{
    exp::{exp, max, sum_exp},
    f32_slice, for_rows, is_fusable, with_slices,
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
        use rayon::prelude::*;
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
        candle_core::bail!("cross_entropy: {} labels for {t} rows of {v} logits", labels.len())
    }
    if is_fusable(logits) {
        return logits.contiguous()?.apply_op1(CrossEntropy { labels: labels.to_vec() });
    }
    let logits = logits.to_dtype(DType::F32)?;
    let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let index = Tensor::new(labels, logits.device())?.unsqueeze(1)?;
    log_probs.gather(&index, 1)?.squeeze(1)?.neg()
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

    #[test]
    fn uniform_logits_cost_the_log_of_the_vocabulary() -> Result<()> {
        let logits = Tensor::zeros((1, 8), DType::F32, &candle_core::Device::Cpu)?;
        let loss = cross_entropy(&logits, &[3])?.get(0)?.to_scalar::<f32>()?;
        assert!((loss - 8f32.ln()).abs() < 1e-6);
        assert!(cross_entropy(&logits, &[8]).is_err());
        Ok(())
    }
}
