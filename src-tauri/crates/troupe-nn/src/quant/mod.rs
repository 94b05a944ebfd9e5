//! Weight-only quantised linear layers. The gradient flows to the input, never to the weight.
//!
//! | kind | bits a weight | block | where |
//! |---|---|---|---|
//! | Q8_0 | 8.5 | 32 | own integer kernel on the CPU ([`q8`]), candle's blocks on a GPU |
//! | Q4_K | 4.5 | 256 | candle's blocks and kernels everywhere |
//!
//! Few rows (decoding) are multiplied against the quantised weight; many rows (reading a prompt,
//! training) against the dequantised one, which lives only as long as the product. The backward pass
//! dequantises again instead of keeping a copy.
//!
//! Format: llama.cpp, `ggml-quants.c`.

mod q8;

use std::{borrow::Cow, sync::Arc};

use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Layout, Module as _, Result, Shape, Tensor, bail,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};
use rayon::prelude::*;

pub use q8::BLOCK;
use q8::Q8;

use crate::{fused::with_slices, product};

/// Weights that share a super-block of Q4_K.
pub const K_BLOCK: usize = 256;
/// Up to this many rows the quantised weight itself is multiplied.
const MAX_QUANTISED_ROWS: usize = 8;

/// Rows of a weight that one thread unpacks at a time.
const UNPACKED_ROWS: usize = 64;

/// A quantised format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantKind {
    /// 8 bits, blocks of 32.
    Q8_0,
    /// 4 bits with 6-bit scales, blocks of 256.
    Q4K,
}

impl QuantKind {
    /// This format where rows of `width` fit its blocks, otherwise the next finer one that does.
    pub fn fitting(self, width: usize) -> Option<Self> {
        match self {
            Self::Q4K if width.is_multiple_of(K_BLOCK) => Some(Self::Q4K),
            Self::Q4K | Self::Q8_0 => width.is_multiple_of(BLOCK).then_some(Self::Q8_0),
        }
    }

    /// The format's name in the tensor library.
    pub fn ggml(self) -> GgmlDType {
        match self {
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4K => GgmlDType::Q4K,
        }
    }
}

#[derive(Debug, Clone)]
enum Stored {
    Q8(Arc<Q8>),
    Blocks(Arc<QTensor>),
}

/// A quantised weight (o, i).
#[derive(Debug, Clone)]
pub struct QLinear {
    weight: Stored,
    device: Device,
}

impl QLinear {
    /// Quantises a dense weight (o, i).
    ///
    /// # Errors
    /// When i is no multiple of the block size, or the device cannot hold the format.
    pub fn quantize(weight: &Tensor, kind: QuantKind) -> Result<Self> {
        let (o, i) = weight.dims2()?;
        if kind.fitting(i) != Some(kind) {
            bail!("a width of {i} cannot be quantised to {kind:?}: no multiple of its block")
        }
        let device = weight.device().clone();
        let weight = weight.to_dtype(DType::F32)?;
        if kind == QuantKind::Q8_0 && device.is_cpu() {
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            return Ok(Self { weight: Stored::Q8(Arc::new(Q8::quantise(&values, o, i))), device });
        }
        Ok(Self {
            weight: Stored::Blocks(Arc::new(QTensor::quantize(&weight, kind.ggml())?)),
            device,
        })
    }

    /// Takes over a matrix that is stored quantised, bit for bit.
    ///
    /// # Errors
    /// When it is no matrix, or a scale is not finite.
    pub fn from_stored(weight: QTensor) -> Result<Self> {
        let (o, i) = weight.shape().dims2()?;
        let device = weight.device();
        if device.is_cpu() && !has_finite_scales(weight.dtype(), &weight.data()?) {
            bail!("a quantised weight of ({o}, {i}) holds values that are not finite")
        }
        if weight.dtype() == GgmlDType::Q8_0 && device.is_cpu() {
            let q8 = Q8::from_stored(&weight.data()?, o, i)?;
            return Ok(Self { weight: Stored::Q8(Arc::new(q8)), device });
        }
        Ok(Self { weight: Stored::Blocks(Arc::new(weight)), device })
    }

    /// Rows and columns of the weight (o, i).
    fn shape(&self) -> (usize, usize) {
        match &self.weight {
            Stored::Q8(q) => (q.o, q.i),
            Stored::Blocks(q) => {
                let dims = q.shape().dims();
                (dims[0], dims[1]) // a matrix by construction
            }
        }
    }

    /// Rows of the weight (o).
    pub fn out_features(&self) -> usize {
        self.shape().0
    }

    /// Columns of the weight (i).
    pub fn in_features(&self) -> usize {
        self.shape().1
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        match &self.weight {
            Stored::Q8(q) => q.values.len() + 4 * q.scales.len(),
            Stored::Blocks(q) => q.storage_size_in_bytes(),
        }
    }

    /// The weight in f32, (o, i).
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn dequantize(&self) -> Result<Tensor> {
        self.weight.dequantise(&self.device)
    }

    /// The products of the same few rows `xs` (t, i) with several weights, in one parallel section:
    /// (t, o) of each. `None` when only one after the other is possible.
    ///
    /// # Errors
    /// When a width differs.
    pub fn forward_together<const N: usize>(
        layers: [&Self; N],
        xs: &Tensor,
    ) -> Result<Option<[Tensor; N]>> {
        let (t, i) = xs.dims2()?;
        let is_plain = xs.device().is_cpu() && xs.dtype() == DType::F32 && !xs.track_op();
        let mut weights = Vec::with_capacity(N);
        for layer in layers {
            match &layer.weight {
                Stored::Q8(q) if q.i == i => weights.push(&**q),
                _ => return Ok(None),
            }
        }
        if !is_plain || t > MAX_QUANTISED_ROWS {
            return Ok(None);
        }
        let products = with_slices([xs], |[xs]| Ok(q8::multiply(&weights, xs)))?;
        let tensors: Result<Vec<Tensor>> = products
            .into_iter()
            .zip(&weights)
            .map(|(values, q)| Tensor::from_vec(values, (t, q.o), &Device::Cpu))
            .collect();
        Ok(tensors?.try_into().ok())
    }

    /// `xs Wᵀ` for xs (t, i), giving (t, o).
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (t, i) = xs.dims2()?;
        if i != self.in_features() {
            bail!("quantised linear: width {i}, expected {}", self.in_features())
        }
        let dtype = xs.dtype();
        let xs = xs.contiguous()?;
        if self.device.is_cpu() && dtype == DType::F32 {
            return xs.apply_op1(Forward(self.weight.clone()));
        }
        match &self.weight {
            Stored::Blocks(q) if t <= MAX_QUANTISED_ROWS && !xs.track_op() => {
                let product = QMatMul::from_arc(q.clone())?.forward(&xs.to_dtype(DType::F32)?)?;
                product.to_dtype(dtype)
            }
            _ => xs.matmul(&self.dequantize()?.to_dtype(dtype)?.t()?),
        }
    }
}

/// False when a half-precision scale of Q8_0 or Q4_K blocks is infinite or not a number.
fn has_finite_scales(dtype: GgmlDType, blocks: &[u8]) -> bool {
    // A block of Q8_0 opens with one scale, one of Q4_K with scale and minimum.
    let num_scales = match dtype {
        GgmlDType::Q8_0 => 1,
        GgmlDType::Q4K => 2,
        _ => return true,
    };
    blocks.chunks_exact(dtype.type_size()).all(|block| {
        block[..2 * num_scales]
            .chunks_exact(2)
            .all(|two| half::f16::from_le_bytes([two[0], two[1]]).is_finite())
    })
}

impl Stored {
    fn dequantise(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Q8(q) => Tensor::from_vec(q.dequantise(), (q.o, q.i), device),
            Self::Blocks(q) => q.dequantize(device),
        }
    }

    /// The weight in f32 by rows, unpacked by all threads.
    fn values(&self) -> Result<Vec<f32>> {
        let q = match self {
            Self::Q8(q) => return Ok(q.dequantise()),
            Self::Blocks(q) => q,
        };
        let (o, i) = self.shape();
        let (blocks, kind) = (q.data()?, q.dtype());
        let row_bytes = i / kind.block_size() * kind.type_size();
        let mut values = vec![0f32; o * i];
        let parts = values.par_chunks_mut(UNPACKED_ROWS * i);
        parts.zip(blocks.par_chunks(UNPACKED_ROWS * row_bytes)).try_for_each(|(out, blocks)| {
            let storage = QStorage::from_data(Cow::Borrowed(blocks), &Device::Cpu, kind)?;
            let rows = QTensor::new(storage, (out.len() / i, i))?.dequantize(&Device::Cpu)?;
            with_slices([&rows], |[rows]| {
                out.copy_from_slice(rows);
                Ok(())
            })
        })?;
        Ok(values)
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Q8(q) => (q.o, q.i),
            Self::Blocks(q) => (q.shape().dims()[0], q.shape().dims()[1]),
        }
    }
}

struct Forward(Stored);

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
        let (o, i) = self.0.shape();
        let t = xs.len() / i;
        let out = match &self.0 {
            Stored::Q8(q) if t <= MAX_QUANTISED_ROWS => q8::multiply(&[&**q], xs).remove(0),
            Stored::Blocks(q) if t <= MAX_QUANTISED_ROWS => {
                let xs = Tensor::from_slice(xs, (t, i), &Device::Cpu)?;
                QMatMul::from_arc(q.clone())?.forward(&xs)?.flatten_all()?.to_vec1()?
            }
            stored => product::multiply(xs, &stored.values()?, (t, o, i)),
        };
        Ok((CpuStorage::F32(out), Shape::from((t, o))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let ((t, o), i) = (grad.dims2()?, self.0.shape().1);
        let weight = self.0.values()?;
        let dx = with_slices([&grad.contiguous()?], |[grad]| {
            Ok(product::input_gradient_of(grad, &weight, (t, o, i)))
        })?;
        Ok(Some(Tensor::from_vec(dx, (t, i), &Device::Cpu)?))
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
    fn four_bits_keep_values_within_a_step() -> Result<()> {
        // 32 values share a range of at most twice the largest value, cut in 15 steps.
        let weight = var(&[8, 256], 1)?;
        let back = QLinear::quantize(&weight, QuantKind::Q4K)?.dequantize()?;
        let max = weight.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert_close(&back, &weight, 2. * max / 15.)
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
    fn weights_multiplied_together_give_what_each_gives_alone() -> Result<()> {
        let layers: Vec<QLinear> = [130, 96, 7]
            .iter()
            .map(|rows| {
                QLinear::quantize(var(&[*rows, 64], *rows as u64)?.as_tensor(), QuantKind::Q8_0)
            })
            .collect::<Result<_>>()?;
        let all = [&layers[0], &layers[1], &layers[2]];
        let few = var(&[3, 64], 2)?.as_tensor().detach();
        let Some(together) = QLinear::forward_together(all, &few)? else { bail!("refused") };
        for (layer, got) in layers.iter().zip(&together) {
            assert_close(got, &layer.forward(&few)?, 0.)?;
        }
        // Many rows, and rows that a gradient flows to, go one after the other.
        let many = var(&[MAX_QUANTISED_ROWS + 1, 64], 2)?.as_tensor().detach();
        assert!(QLinear::forward_together(all, &many)?.is_none());
        assert!(QLinear::forward_together(all, var(&[3, 64], 2)?.as_tensor())?.is_none());
        Ok(())
    }

    #[test]
    fn four_bit_products_agree_for_few_and_many_rows() -> Result<()> {
        let weight = var(&[150, 256], 1)?;
        let q = QLinear::quantize(&weight, QuantKind::Q4K)?;
        for (rows, tol) in [(3, 0.6), (20, 1e-4)] {
            // As above for 3 rows, with 256 terms: 256^½ · 3 · 3/254.
            let x = var(&[rows, 256], 2)?;
            assert_close(&q.forward(&x)?, &x.matmul(&q.dequantize()?.t()?)?, tol)?;
        }
        Ok(())
    }

    #[test]
    fn a_stored_matrix_is_taken_over_bit_for_bit() -> Result<()> {
        let weight = var(&[6, 256], 4)?;
        for kind in [QuantKind::Q8_0, QuantKind::Q4K] {
            let stored = QTensor::quantize(weight.as_tensor(), kind.ggml())?;
            let want = stored.dequantize(&Device::Cpu)?.to_vec2::<f32>()?;
            assert_eq!(QLinear::from_stored(stored)?.dequantize()?.to_vec2::<f32>()?, want);
        }
        Ok(())
    }

    #[test]
    fn a_stored_scale_that_is_no_number_is_refused() -> Result<()> {
        for kind in [QuantKind::Q8_0, QuantKind::Q4K] {
            let good = QTensor::quantize(var(&[2, 256], 4)?.as_tensor(), kind.ggml())?;
            let mut bytes = good.data()?.to_vec();
            assert!(has_finite_scales(kind.ggml(), &bytes));
            let last = bytes.len() - kind.ggml().type_size();
            bytes[last..last + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
            assert!(!has_finite_scales(kind.ggml(), &bytes));
        }
        Ok(())
    }

    #[test]
    fn a_width_that_does_not_fit_takes_the_finer_format() {
        assert_eq!(QuantKind::Q4K.fitting(512), Some(QuantKind::Q4K));
        assert_eq!(QuantKind::Q4K.fitting(576), Some(QuantKind::Q8_0));
        assert_eq!(QuantKind::Q4K.fitting(27), None);
    }

    #[test]
    fn gradient_reaches_the_input() -> Result<()> {
        for (kind, rows) in [(QuantKind::Q8_0, 2), (QuantKind::Q4K, 2), (QuantKind::Q4K, 12)] {
            let (weight, x) = (var(&[6, 256], 1)?, var(&[rows, 256], 2)?);
            let q = QLinear::quantize(&weight, kind)?;
            let grads = q.forward(&x)?.sum_all()?.backward()?;
            let want =
                Tensor::ones((rows, 6), DType::F32, &Device::Cpu)?.matmul(&q.dequantize()?)?;
            match grads.get(&x) {
                Some(grad) => assert_close(grad, &want, 1e-4)?,
                None => bail!("no gradient for {kind:?}"),
            }
        }
        Ok(())
    }
}
