//! Fused CPU kernels with gradients.
//!
//! Each function runs a multi-threaded f32 kernel on the CPU, with its own backward pass, and
//! falls back to composed candle operations for other types and devices. Unlike candle's own fused
//! operations, none of them cuts the gradient.
//!
//! Results do not depend on the number of threads.

mod attention;
mod cross_entropy;
mod elementwise;
mod exp;
mod norm;
mod rope;

pub use attention::{MAX_SCORES, Past, attention, attention_after};
pub use cross_entropy::cross_entropy;
pub(crate) use cross_entropy::head_cross_entropy;
pub use elementwise::{gelu_tanh, swiglu};
pub use norm::{layer_norm, rms_norm};
pub use rope::rope;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Values below which a loop is not worth splitting over threads.
const MIN_PARALLEL: usize = 1 << 14;

/// True when the fused kernels apply.
fn is_fusable(xs: &Tensor) -> bool {
    xs.device().is_cpu() && xs.dtype() == DType::F32
}

/// The values of a contiguous f32 storage.
pub(crate) fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("fused kernels take f32 values") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("fused kernels take contiguous tensors"),
    }
}

/// Calls `f` with the values of contiguous f32 CPU tensors.
pub(crate) fn with_slices<const N: usize, T>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let tensors = tensors.map(Tensor::contiguous);
    let mut owned = Vec::with_capacity(N);
    for tensor in tensors {
        owned.push(tensor?);
    }
    let guards: Vec<_> = owned.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else { bail!("fused kernels run on the CPU") };
        *slice = f32_slice(storage, layout)?;
    }
    f(slices)
}

/// Fills rows of `width` values with `f(row index, row)`, in parallel when it pays.
fn for_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if width == 0 {
        return;
    }
    if out.len() < MIN_PARALLEL {
        out.chunks_mut(width).enumerate().for_each(|(i, row)| f(i, row));
    } else {
        let rows = (MIN_PARALLEL / width).max(1);
        out.par_chunks_mut(width * rows).enumerate().for_each(|(chunk, block)| {
            let first = chunk * rows;
            block.chunks_mut(width).enumerate().for_each(|(i, row)| f(first + i, row));
        });
    }
}

#[cfg(test)]
pub(crate) mod check {
    //! Gradient checks shared by the kernels' tests.

    use candle_core::{Device, Result, Tensor, Var};

    use crate::noise::{Noise, Stream};

    /// A variable of standard normal values.
    pub(crate) fn var(shape: &[usize], seed: u64) -> Result<Var> {
        let noise = Noise::new(seed, Stream::Weights, 0).normal_tensor(shape, &Device::Cpu)?;
        Var::from_tensor(&noise)
    }

    /// Asserts equal shapes and a small largest difference.
    pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tol: f32) -> Result<()> {
        assert_eq!(got.dims(), want.dims());
        let worst = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(worst <= tol, "largest difference {worst} exceeds {tol}");
        Ok(())
    }

    /// Compares values and gradients of a fused operation with those of its composed twin, under a
    /// random linear functional of the output.
    pub(crate) fn assert_same_gradients(
        vars: &[&Var],
        fused: impl Fn() -> Result<Tensor>,
        composed: impl Fn() -> Result<Tensor>,
        tol: f32,
    ) -> Result<()> {
        let (a, b) = (fused()?, composed()?);
        assert_close(&a, &b, tol)?;
        let weights = Noise::new(99, Stream::Weights, 0).normal_tensor(a.shape(), &Device::Cpu)?;
        let ga = (&a * &weights)?.sum_all()?.backward()?;
        let gb = (&b * &weights)?.sum_all()?.backward()?;
        for var in vars {
            let (Some(x), Some(y)) = (ga.get(var), gb.get(var)) else {
                candle_core::bail!("a gradient is missing")
            };
            assert!(y.abs()?.sum_all()?.to_scalar::<f32>()? > 0.);
            assert_close(x, y, tol)?;
        }
        Ok(())
    }
}
