//! Q8_0: blocks of 32 neighbouring weights of a row share one scale; a weight is an `i8` times it.
//!
//! Few rows are multiplied in integers against activations quantised the same way.
//! Format: llama.cpp, `ggml-quants.c`, type Q8_0, here with f32 scales.

use candle_core::{Result, bail};
use half::f16;
use rayon::prelude::*;

/// Weights that share a scale.
pub const BLOCK: usize = 32;
/// Bytes of a stored block: a half-float scale and 32 values.
const STORED_BLOCK: usize = 2 + BLOCK;
/// Output features computed by one task, at least.
const MIN_ROWS_PER_TASK: usize = 32;

#[derive(Debug)]
pub(super) struct Q8 {
    pub(super) values: Vec<i8>,  // (o, i)
    pub(super) scales: Vec<f32>, // (o, i / 32)
    pub(super) o: usize,
    pub(super) i: usize,
}

/// Adding and taking it away rounds a small number to an integer, in vector code.
const ROUND: f32 = 12_582_912.; // 1.5 · 2²³

/// Quantises one block of values; returns the scale.
fn quantise_block(values: &[f32], out: &mut [i8]) -> f32 {
    let max = values.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = max / 127.;
    let inverse = if scale > 0. { 1. / scale } else { 0. };
    for (q, x) in out.iter_mut().zip(values) {
        *q = ((x * inverse + ROUND) - ROUND) as i8;
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

impl Q8 {
    /// Quantises `values` of `o` rows of `i`.
    pub(super) fn quantise(values: &[f32], o: usize, i: usize) -> Self {
        let (values, scales) = quantise_rows(values);
        Self { values, scales, o, i }
    }

    /// Takes over stored blocks, bit for bit.
    pub(super) fn from_stored(bytes: &[u8], o: usize, i: usize) -> Result<Self> {
        if !i.is_multiple_of(BLOCK) || bytes.len() != o * i / BLOCK * STORED_BLOCK {
            bail!("{} bytes are no Q8_0 matrix of ({o}, {i})", bytes.len())
        }
        let mut values = Vec::with_capacity(o * i);
        let mut scales = Vec::with_capacity(o * i / BLOCK);
        for block in bytes.chunks_exact(STORED_BLOCK) {
            scales.push(f16::from_le_bytes([block[0], block[1]]).to_f32());
            values.extend(block[2..].iter().map(|byte| byte.cast_signed()));
        }
        Ok(Self { values, scales, o, i })
    }

    pub(super) fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        let blocks = self.i / BLOCK;
        let values = &self.values[row * self.i..(row + 1) * self.i];
        let scales = &self.scales[row * blocks..(row + 1) * blocks];
        for ((out, q), scale) in out.chunks_mut(BLOCK).zip(values.chunks(BLOCK)).zip(scales) {
            out.iter_mut().zip(q).for_each(|(x, q)| *x = f32::from(*q) * scale);
        }
    }

    pub(super) fn dequantise(&self) -> Vec<f32> {
        let mut out = vec![0f32; self.o * self.i];
        out.par_chunks_mut(self.i)
            .with_min_len(64)
            .enumerate()
            .for_each(|(row, out)| self.dequantise_row(row, out));
        out
    }

    /// Products of the rows `first..first + out.len()` with a quantised row of activations.
    fn multiply_rows(&self, first: usize, x: &[i8], x_scales: &[f32], out: &mut [f32]) {
        let (i, blocks) = (self.i, self.i / BLOCK);
        let kernel = dot_kernel();
        for (row, y) in (first..).zip(out) {
            let weights = &self.values[row * i..(row + 1) * i];
            *y = kernel(weights, &self.scales[row * blocks..(row + 1) * blocks], x, x_scales);
        }
    }
}

/// Integer product of each row of `xs` with each of the `weights`, which are of one width.
pub(super) fn multiply(weights: &[&Q8], xs: &[f32]) -> Vec<Vec<f32>> {
    let Some(i) = weights.first().map(|w| w.i) else { return Vec::new() };
    let t = xs.len() / i;
    let mut outs: Vec<Vec<f32>> = weights.iter().map(|w| vec![0f32; t * w.o]).collect();
    let num_rows: usize = weights.iter().map(|w| w.o).sum();
    let share = num_rows.div_ceil(2 * rayon::current_num_threads()).max(MIN_ROWS_PER_TASK);
    for (row, x) in xs.chunks(i).enumerate() {
        let mut quantised = vec![0i8; i];
        let blocks = quantised.chunks_mut(BLOCK).zip(x.chunks(BLOCK));
        let scales: Vec<f32> = blocks.map(|(q, x)| quantise_block(x, q)).collect();
        // One parallel section for all weights: starting one costs as much as a small product.
        let mut tasks = Vec::new();
        for (weight, out) in weights.iter().zip(&mut outs) {
            let out = &mut out[row * weight.o..(row + 1) * weight.o];
            let parts = out.chunks_mut(share).enumerate();
            tasks.extend(parts.map(|(part, out)| (weight, part * share, out)));
        }
        tasks.into_par_iter().with_max_len(1).for_each(|(weight, first, out)| {
            weight.multiply_rows(first, &quantised, &scales, out);
        });
    }
    outs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_agree() {
        let a: Vec<i8> = (0..96).map(|i| ((i * 37) % 255 - 127) as i8).collect();
        let b: Vec<i8> = (0..96).map(|i| ((i * 91) % 255 - 127) as i8).collect();
        let (sa, sb) = ([0.5, 0.25, 2.], [1., 3., 0.1]);
        let (fast, slow) = (dot_kernel()(&a, &sa, &b, &sb), dot_portable(&a, &sa, &b, &sb));
        assert!((fast - slow).abs() <= slow.abs() * 1e-5, "{fast} {slow}");
    }

    #[test]
    fn stored_blocks_are_taken_over_exactly() -> Result<()> {
        // One block: scale 0.5 (half float 0x3800), values 0, 1, 2, … with the last one −3.
        let mut bytes = vec![0x00, 0x38];
        bytes.extend((0..31_u8).chain([(-3_i8).cast_unsigned()]));
        let q = Q8::from_stored(&bytes, 1, 32)?;
        let got = q.dequantise();
        assert_eq!((got[0], got[1], got[30], got[31]), (0., 0.5, 15., -1.5));
        assert!(Q8::from_stored(&bytes[1..], 1, 32).is_err());
        Ok(())
    }
}
