//! Weight-only quantised linear layers with fast CPU kernels.
//!
//! Q8_0: blocks of 32 neighbouring weights of a row share one scale; a weight is an `i8` times the
//! scale. Few rows (decoding) are multiplied in integers against activations quantised the same way;
//! many rows (reading a prompt) are multiplied in f32 against the dequantised weight. The gradient
//! flows to the input.
//!
//! Format: llama.cpp, `ggml-quants.c`, type Q8_0, here with f32 scales.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Weights that share a scale.
pub const BLOCK: usize = 32;
/// Up to this many rows the integer kernel is used.
const MAX_INTEGER_ROWS: usize = 8;
/// Output features computed by one task.
const ROWS_PER_TASK: usize = 64;

/// A quantised format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantKind {
    /// 8 bits, blocks of 32.
    Q8_0,
}

#[derive(Debug)]
struct Q8 {
    values: Vec<i8>,  // (o, i)
    scales: Vec<f32>, // (o, i / 32)
    o: usize,
    i: usize,
}

/// A quantised weight (o, i).
#[derive(Debug, Clone)]
pub struct QLinear {
    weight: Arc<Q8>,
    device: Device,
}

/// Quantises one block of values; returns the scale.
fn quantise_block(values: &[f32], out: &mut [i8]) -> f32 {
    let max = values.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = max / 127.;
    let inverse = if scale > 0. { 1. / scale } else { 0. };
    for (q, x) in out.iter_mut().zip(values) {
        *q = (x * inverse).round() as i8;
    }
    scale
}

fn quantise_rows(values: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let mut quantised = vec![0i8; values.len()];
    let scales = quantised
        .par_chunks_mut(BLOCK)
        .zip(values.par_chunks(BLOCK))
        .with_min_len(256)
        .map(|(q, x)| quantise_block(x, q))
        .collect();
    (quantised, scales)
}

impl QLinear {
    /// Quantises a dense weight (o, i).
    ///
    /// # Errors
    /// When i is no multiple of the block size, or the weight is not on the CPU.
    pub fn quantize(weight: &Tensor, kind: QuantKind) -> Result<Self> {
        let (o, i) = weight.dims2()?;
        if i % BLOCK != 0 {
            bail!("a width of {i} cannot be quantised to {kind:?}: no multiple of {BLOCK}")
        }
        let device = weight.device().clone();
        let values = weight.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (values, scales) = quantise_rows(&values);
        Ok(Self { weight: Arc::new(Q8 { values, scales, o, i }), device })
    }

    /// Rows of the weight (o).
    pub fn out_features(&self) -> usize {
        self.weight.o
    }

    /// Columns of the weight (i).
    pub fn in_features(&self) -> usize {
        self.weight.i
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.weight.values.len() + 4 * self.weight.scales.len()
    }

    /// The weight in f32, (o, i).
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn dequantize(&self) -> Result<Tensor> {
        Tensor::from_vec(self.weight.dequantise(), (self.weight.o, self.weight.i), &self.device)
    }

    /// Some rows of the weight in f32, (rows, i): an embedding lookup.
    ///
    /// # Errors
    /// When a row does not exist.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let Q8 { o, i, .. } = *self.weight;
        let mut out = vec![0f32; rows.len() * i];
        for (row, out) in rows.iter().zip(out.chunks_mut(i)) {
            if *row as usize >= o {
                bail!("row {row} of {o}")
            }
            self.weight.dequantise_row(*row as usize, out);
        }
        Tensor::from_vec(out, (rows.len(), i), &self.device)
    }

    /// `xs Wᵀ` for xs (t, i), giving (t, o).
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, i) = xs.dims2()?;
        if i != self.weight.i {
            bail!("quantised linear: width {i}, expected {}", self.weight.i)
        }
        xs.contiguous()?.apply_op1(Forward(self.weight.clone()))
    }
}

impl Q8 {
    fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        let blocks = self.i / BLOCK;
        let values = &self.values[row * self.i..(row + 1) * self.i];
        let scales = &self.scales[row * blocks..(row + 1) * blocks];
        for ((out, q), scale) in out.chunks_mut(BLOCK).zip(values.chunks(BLOCK)).zip(scales) {
            out.iter_mut().zip(q).for_each(|(x, q)| *x = f32::from(*q) * scale);
        }
    }

    fn dequantise(&self) -> Vec<f32> {
        let mut out = vec![0f32; self.o * self.i];
        out.par_chunks_mut(self.i)
            .with_min_len(64)
            .enumerate()
            .for_each(|(row, out)| self.dequantise_row(row, out));
        out
    }

    /// Integer product of each row of `xs` with the weight.
    fn multiply(&self, xs: &[f32]) -> Vec<f32> {
        let (o, i) = (self.o, self.i);
        let blocks = i / BLOCK;
        let mut out = vec![0f32; xs.len() / i * o];
        let kernel = dot_kernel();
        for (x, out) in xs.chunks(i).zip(out.chunks_mut(o)) {
            let mut quantised = vec![0i8; i];
            let scales: Vec<f32> = quantised
                .chunks_mut(BLOCK)
                .zip(x.chunks(BLOCK))
                .map(|(q, x)| quantise_block(x, q))
                .collect();
            out.par_chunks_mut(ROWS_PER_TASK).enumerate().for_each(|(task, out)| {
                for (j, y) in out.iter_mut().enumerate() {
                    let row = task * ROWS_PER_TASK + j;
                    let weights = &self.values[row * i..(row + 1) * i];
                    let weight_scales = &self.scales[row * blocks..(row + 1) * blocks];
                    *y = kernel(weights, weight_scales, &quantised, &scales);
                }
            });
        }
        out
    }
}

/// Dot product of two quantised rows: values, scales, values, scales.
type DotKernel = fn(&[i8], &[f32], &[i8], &[f32]) -> f32;

/// The fastest kernel of this processor.
fn dot_kernel() -> DotKernel {
    #[cfg(target_arch = "x86_64")]
    {
        if x86::is_supported() {
            return x86::dot;
        }
    }
    dot_portable
}

fn dot_portable(a: &[i8], a_scales: &[f32], b: &[i8], b_scales: &[f32]) -> f32 {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let scales = a_scales.iter().zip(b_scales);
    blocks
        .zip(scales)
        .map(|((a, b), (sa, sb))| {
            let sum: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            sum as f32 * (sa * sb)
        })
        .sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! AVX2 kernel, chosen at run time.

    use std::arch::x86_64::{
        __m256, __m256i, _mm_add_ps, _mm_cvtss_f32, _mm_hadd_ps, _mm256_abs_epi8,
        _mm256_castps256_ps128, _mm256_cvtepi32_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_sign_epi8,
    };

    use super::BLOCK;

    pub(super) fn is_supported() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    pub(super) fn dot(a: &[i8], a_scales: &[f32], b: &[i8], b_scales: &[f32]) -> f32 {
        assert!(
            a.len() == b.len()
                && a.len() == a_scales.len() * BLOCK
                && a_scales.len() == b_scales.len()
        );
        #[expect(unsafe_code, reason = "the processor's instruction set is checked by the caller")]
        // SAFETY: `dot_kernel` returns this function only when `is_supported`.
        unsafe {
            dot_avx2(a, a_scales, b, b_scales)
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn load(block: &[i8]) -> __m256i {
        assert!(block.len() >= BLOCK);
        #[expect(unsafe_code, reason = "unaligned load of a checked block")]
        // SAFETY: the block holds at least 32 bytes.
        unsafe {
            _mm256_loadu_si256(block.as_ptr().cast())
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn horizontal_sum(x: __m256) -> f32 {
        let half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let quarter = _mm_hadd_ps(half, half);
        _mm_cvtss_f32(_mm_hadd_ps(quarter, quarter))
    }

    #[target_feature(enable = "avx2,fma")]
    fn dot_avx2(a: &[i8], a_scales: &[f32], b: &[i8], b_scales: &[f32]) -> f32 {
        let ones = _mm256_set1_epi16(1);
        let mut sum = _mm256_setzero_ps();
        let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
        for ((a, b), (sa, sb)) in blocks.zip(a_scales.iter().zip(b_scales)) {
            let (a, b) = (load(a), load(b));
            // maddubs wants one unsigned side: |a| · (b with a's sign).
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            let quads = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            sum = _mm256_fmadd_ps(quads, _mm256_set1_ps(sa * sb), sum);
        }
        horizontal_sum(sum)
    }
}

struct Forward(Arc<Q8>);

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "quantised_linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(values) = xs else { bail!("quantised linear takes f32 values") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("quantised linear takes contiguous values")
        };
        let xs = &values[start..end];
        let t = xs.len() / self.0.i;
        let out = if t <= MAX_INTEGER_ROWS {
            self.0.multiply(xs)
        } else {
            let weight = Tensor::from_vec(self.0.dequantise(), (self.0.o, self.0.i), &Device::Cpu)?;
            let xs = Tensor::from_slice(xs, (t, self.0.i), &Device::Cpu)?;
            xs.matmul(&weight.t()?)?.flatten_all()?.to_vec1()?
        };
        Ok((CpuStorage::F32(out), Shape::from((t, self.0.o))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let weight = Tensor::from_vec(self.0.dequantise(), (self.0.o, self.0.i), grad.device())?;
        Ok(Some(grad.matmul(&weight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_close, var};

    #[test]
    fn values_survive_within_half_a_step() -> Result<()> {
        let weight = var(&[8, 64], 1)?;
        let back = QLinear::quantize(&weight, QuantKind::Q8_0)?.dequantize()?;
        let max = weight.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert_close(&back, &weight, max / 127. * 0.5 + 1e-6)
    }

    #[test]
    fn integer_and_dense_products_agree() -> Result<()> {
        let (weight, x) = (var(&[130, 96], 1)?, var(&[3, 96], 2)?);
        let q = QLinear::quantize(&weight, QuantKind::Q8_0)?;
        let want = x.matmul(&q.dequantize()?.t()?)?;
        // Activations carry 8 bits: error of a product of 96 terms about 96^½ · 3 · 3/254.
        assert_close(&q.forward(&x)?, &want, 0.35)?;
        let many = var(&[20, 96], 3)?;
        assert_close(&q.forward(&many)?, &many.matmul(&q.dequantize()?.t()?)?, 1e-4)
    }

    #[test]
    fn kernels_agree() {
        let a: Vec<i8> = (0..96).map(|i| ((i * 37) % 255 - 127) as i8).collect();
        let b: Vec<i8> = (0..96).map(|i| ((i * 91) % 255 - 127) as i8).collect();
        let (sa, sb) = ([0.5, 0.25, 2.], [1., 3., 0.1]);
        let (fast, slow) = (dot_kernel()(&a, &sa, &b, &sb), dot_portable(&a, &sa, &b, &sb));
        assert!((fast - slow).abs() <= slow.abs() * 1e-5, "{fast} {slow}");
    }

    #[test]
    fn gradient_reaches_the_input() -> Result<()> {
        let (weight, x) = (var(&[6, 32], 1)?, var(&[2, 32], 2)?);
        let q = QLinear::quantize(&weight, QuantKind::Q8_0)?;
        let grads = q.forward(&x)?.sum_all()?.backward()?;
        let want = Tensor::ones((2, 6), candle_core::DType::F32, &Device::Cpu)?
            .matmul(&q.dequantize()?)?;
        match grads.get(&x) {
            Some(grad) => assert_close(grad, &want, 1e-5),
            None => bail!("no gradient"),
        }
    }
}
