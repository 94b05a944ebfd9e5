//! Products with the weight of a linear layer, with exactly the gradients that are needed.
//!
//! Shapes: t = tokens, i = input width, o = output width, r = adapter rank.
//!
//! A weight (o, i) is transposed into scratch memory before it meets many rows: read across, as
//! `x Wᵀ` wants it, a product takes up to four times as long (power-of-two widths throw each other
//! out of the cache).
//!
//! A frozen weight may be held in half precision: a block of its rows at a time is unpacked, and the
//! products are f32's.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};
use rayon::prelude::*;

use crate::{
    fused::{f32_slice, with_slices},
    gemm::{MatMut, MatRef, par_gemm, par_gemm_by_rows, transposed},
};

/// A matrix (o, i) in the memory order of (i, o).
pub(crate) fn to_columns(w: &Tensor) -> Result<Tensor> {
    let (o, i) = w.dims2()?;
    if w.t()?.is_contiguous() {
        return Ok(w.clone());
    }
    let values = with_slices([w], |[w]| Ok(transposed(w, o, i)))?;
    Tensor::from_vec(values, (i, o), w.device())?.t()
}

/// A whole row-major matrix.
pub(crate) fn matrix(values: &[f32], rows: usize, columns: usize) -> MatRef<'_> {
    MatRef::rows(values, 0, rows, columns, columns)
}

/// `keep · out + scale · a b`, where `out` is a whole row-major matrix.
pub(crate) fn add_product(
    out: &mut [f32],
    (rows, columns): (usize, usize),
    keep: f32,
    scale: f32,
    a: MatRef,
    b: MatRef,
) {
    par_gemm(MatMut::rows(out, 0, rows, columns, columns), keep, scale, a, b);
}

/// Rows of a weight in half precision that are unpacked at a time.
const UNPACKED_ROWS: usize = 1024;

/// Runs `f` on the values of a frozen weight (o, i): the first row of a block and the block's values.
/// In f32 the whole weight is one block.
pub(crate) fn for_blocks(weight: &Tensor, mut f: impl FnMut(usize, &[f32])) -> Result<()> {
    let width = weight.dim(1)?;
    let (storage, layout) = weight.storage_and_layout();
    let candle_core::Storage::Cpu(values) = &*storage else {
        bail!("a frozen linear takes a weight on the CPU")
    };
    match (values, layout.contiguous_offsets()) {
        (CpuStorage::BF16(halves), Some((start, end))) => unpack(&halves[start..end], width, f),
        (CpuStorage::F16(halves), Some((start, end))) => unpack(&halves[start..end], width, f),
        _ => f(0, f32_slice(values, layout)?),
    }
    Ok(())
}

fn unpack<H: Copy + Sync + Into<f32>>(
    halves: &[H],
    width: usize,
    mut f: impl FnMut(usize, &[f32]),
) {
    let size = UNPACKED_ROWS * width.max(1);
    let mut unpacked = vec![0f32; size.min(halves.len())];
    for (index, block) in halves.chunks(size).enumerate() {
        let unpacked = &mut unpacked[..block.len()];
        let rows = unpacked.par_chunks_mut(width.max(1)).zip(block.par_chunks(width.max(1)));
        rows.for_each(|(out, row)| {
            out.iter_mut().zip(row).for_each(|(x, half)| *x = (*half).into())
        });
        f(index * UNPACKED_ROWS, unpacked);
    }
}

/// `ys = xs wᵀ` for xs (t, i) and a frozen w (o, i).
fn multiply_frozen(xs: &[f32], w: &Tensor, (t, o, i): (usize, usize, usize)) -> Result<Vec<f32>> {
    let mut ys = vec![0f32; t * o];
    for_blocks(w, |first, block| {
        let rows = block.len() / i.max(1);
        let out = MatMut::rows(&mut ys, first, t, rows, o);
        par_gemm_by_rows(out, 0., 1., matrix(xs, t, i), block, (rows, i));
    })?;
    Ok(ys)
}

/// `dx = grad w` for grad (t, o) and a frozen w (o, i).
fn input_gradient(grad: &[f32], w: &Tensor, (t, o, i): (usize, usize, usize)) -> Result<Vec<f32>> {
    let mut dx = vec![0f32; t * i];
    for_blocks(w, |first, block| {
        let (rows, keep) = (block.len() / i.max(1), if first == 0 { 0. } else { 1. });
        let grad = MatRef::rows(grad, first, t, rows, o);
        add_product(&mut dx, (t, i), keep, 1., grad, matrix(block, rows, i));
    })?;
    Ok(dx)
}

/// `dx = grad w` for grad (t, o) and w (o, i).
pub(crate) fn input_gradient_of(
    grad: &[f32],
    w: &[f32],
    (t, o, i): (usize, usize, usize),
) -> Vec<f32> {
    let mut dx = vec![0f32; t * i];
    add_product(&mut dx, (t, i), 0., 1., matrix(grad, t, o), matrix(w, o, i));
    dx
}

/// `ys = xs wᵀ` for xs (t, i) and w (o, i).
pub(crate) fn multiply(xs: &[f32], w: &[f32], (t, o, i): (usize, usize, usize)) -> Vec<f32> {
    let mut ys = vec![0f32; t * o];
    par_gemm_by_rows(MatMut::rows(&mut ys, 0, t, o, o), 0., 1., matrix(xs, t, i), w, (o, i));
    ys
}

/// The sizes (t, o, i) of a product.
fn sizes(xs: &Layout, w: &Shape) -> Result<(usize, usize, usize)> {
    let ((t, i), (o, width)) = (xs.shape().dims2()?, w.dims2()?);
    if i != width {
        bail!("linear: input of width {i} for a weight of ({o}, {width})")
    }
    Ok((t, o, i))
}

/// Product with a weight that is trained.
pub(crate) struct TrainedProduct;

impl CustomOp2 for TrainedProduct {
    fn name(&self) -> &'static str {
        "trained_linear"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, o, i) = sizes(xs_layout, w_layout.shape())?;
        let ys = multiply(f32_slice(xs, xs_layout)?, f32_slice(w, w_layout)?, (t, o, i));
        Ok((CpuStorage::F32(ys), Shape::from((t, o))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((t, i), o) = (xs.dims2()?, w.dim(0)?);
        let mut dw = vec![0f32; o * i];
        let dx = with_slices([xs, w, grad], |[x, w, grad]| {
            add_product(&mut dw, (o, i), 0., 1., matrix(grad, t, o).t(), matrix(x, t, i));
            Ok(xs.track_op().then(|| input_gradient_of(grad, w, (t, o, i))))
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, (t, i), xs.device())).transpose()?;
        Ok((dx, Some(Tensor::from_vec(dw, (o, i), w.device())?)))
    }
}

/// Product with a weight that is not trained.
pub(crate) struct FrozenProduct(pub(crate) Tensor);

impl CustomOp1 for FrozenProduct {
    fn name(&self) -> &'static str {
        "frozen_linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, o, i) = sizes(layout, self.0.shape())?;
        let xs = f32_slice(xs, layout)?;
        let ys = multiply_frozen(xs, &self.0, (t, o, i))?;
        Ok((CpuStorage::F32(ys), Shape::from((t, o))))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let ((t, i), o) = (xs.dims2()?, self.0.dim(0)?);
        let dx = with_slices([grad], |[grad]| input_gradient(grad, &self.0, (t, o, i)))?;
        Ok(Some(Tensor::from_vec(dx, (t, i), xs.device())?))
    }
}

/// Product with a weight that is not trained and an adapter that is, without intermediate results
/// of the output's size.
pub(crate) struct AdaptedProduct {
    weight: Tensor, // (o, i)
    scale: f32,
}

impl AdaptedProduct {
    /// A product with the frozen `weight` (o, i) whose adapter counts `scale` times.
    pub(crate) fn new(weight: &Tensor, scale: f64) -> Result<Self> {
        Ok(Self { weight: weight.contiguous()?, scale: scale as f32 })
    }

    /// `xs (w + scale · b a)ᵀ` for xs (t, i), a (r, i), b (o, r).
    pub(crate) fn apply(self, xs: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        xs.contiguous()?.apply_op3(&a.contiguous()?, &b.contiguous()?, self)
    }
}

impl CustomOp3 for AdaptedProduct {
    fn name(&self) -> &'static str {
        "adapted_linear"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, o, i) = sizes(xs_layout, self.weight.shape())?;
        let r = a_layout.shape().dims2()?.0;
        let (xs, a, b) =
            (f32_slice(xs, xs_layout)?, f32_slice(a, a_layout)?, f32_slice(b, b_layout)?);
        let mut low = vec![0f32; t * r];
        add_product(&mut low, (t, r), 0., 1., matrix(xs, t, i), matrix(a, r, i).t());
        let mut ys = multiply_frozen(xs, &self.weight, (t, o, i))?;
        add_product(&mut ys, (t, o), 1., self.scale, matrix(&low, t, r), matrix(b, o, r).t());
        Ok((CpuStorage::F32(ys), Shape::from((t, o))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((t, i), (o, r)) = (xs.dims2()?, b.dims2()?);
        let (mut dx, mut da, mut db) = (Vec::new(), vec![0f32; r * i], vec![0f32; o * r]);
        with_slices([xs, a, b, grad], |[x, a, b, grad]| {
            let (x, a, b) = (matrix(x, t, i), matrix(a, r, i), matrix(b, o, r));
            let g = matrix(grad, t, o);
            let (mut low, mut back) = (vec![0f32; t * r], vec![0f32; t * r]);
            add_product(&mut low, (t, r), 0., 1., x, a.t());
            add_product(&mut back, (t, r), 0., self.scale, g, b);
            add_product(&mut db, (o, r), 0., self.scale, g.t(), matrix(&low, t, r));
            add_product(&mut da, (r, i), 0., 1., matrix(&back, t, r).t(), x);
            if xs.track_op() {
                dx = input_gradient(grad, &self.weight, (t, o, i))?;
                add_product(&mut dx, (t, i), 1., 1., matrix(&back, t, r), a);
            }
            Ok(())
        })?;
        let dev = xs.device();
        let dx = if xs.track_op() { Some(Tensor::from_vec(dx, (t, i), dev)?) } else { None };
        Ok((dx, Some(Tensor::from_vec(da, (r, i), dev)?), Some(Tensor::from_vec(db, (o, r), dev)?)))
    }
}
