//! Matrix products over strided views, by the `gemm` crate or from bf16 values where that is chosen.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::tiles;

/// A read-only matrix view.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

/// Index just past the last element of a view.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row_stride + (columns - 1) * column_stride + 1
    }
}

impl<'a> MatRef<'a> {
    /// `rows` rows of `columns` neighbouring values, `row_stride` apart, from `offset` on.
    pub(crate) fn rows(
        data: &'a [f32],
        offset: usize,
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let end = offset + extent(rows, columns, row_stride, 1);
        Self { data: &data[offset..end], rows, columns, row_stride, column_stride: 1 }
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix view that is written.
pub(crate) struct MatMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// As [`MatRef::rows`].
    pub(crate) fn rows(
        data: &'a mut [f32],
        offset: usize,
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(row_stride >= columns, "rows of an output must not overlap");
        let end = offset + extent(rows, columns, row_stride, 1);
        Self { data: &mut data[offset..end], rows, columns, row_stride }
    }
}

/// `out = keep · out + scale · a b` on the calling thread; callers split work themselves.
pub(crate) fn gemm(out: MatMut, keep: f32, scale: f32, a: MatRef, b: MatRef) {
    product(out, keep, scale, a, b, Parallelism::None);
}

/// The same on all threads.
pub(crate) fn par_gemm(out: MatMut, keep: f32, scale: f32, a: MatRef, b: MatRef) {
    product(out, keep, scale, a, b, Parallelism::Rayon(0));
}

/// From this many rows on, transposing the right side first costs less than reading it across.
const MIN_TRANSPOSED_ROWS: usize = 16;
/// Side of the squares in which a matrix is transposed: a cache line of values.
const TILE: usize = 16;

/// The transposed copy (columns, rows) of a row-major matrix (rows, columns).
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    assert_eq!(values.len(), rows * columns, "matrix size");
    let mut out = vec![0f32; values.len()];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(TILE * rows).enumerate().for_each(|(band, out)| {
        let first = band * TILE;
        let width = TILE.min(columns - first);
        let mut tile = [[0f32; TILE]; TILE];
        for row in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - row);
            for j in 0..height {
                let line = &values[(row + j) * columns + first..][..width];
                line.iter().zip(&mut tile).for_each(|(x, out)| out[j] = *x);
            }
            for (out, line) in out.chunks_mut(rows).zip(&tile) {
                out[row..row + height].copy_from_slice(&line[..height]);
            }
        }
    });
    out
}

/// `out = keep · out + scale · a wᵀ` on all threads, for a whole row-major `w` (o, i).
pub(crate) fn par_gemm_by_rows(
    out: MatMut,
    keep: f32,
    scale: f32,
    a: MatRef,
    w: &[f32],
    (o, i): (usize, usize),
) {
    if a.rows < MIN_TRANSPOSED_ROWS || tiles::kernel(a.rows, o, i).is_some() {
        par_gemm(out, keep, scale, a, MatRef::rows(w, 0, o, i, i).t());
    } else {
        let w = transposed(w, o, i);
        par_gemm(out, keep, scale, a, MatRef::rows(&w, 0, i, o, o));
    }
}

fn product(out: MatMut, keep: f32, scale: f32, a: MatRef, b: MatRef, threads: Parallelism) {
    assert_eq!(
        (a.rows, b.columns, a.columns),
        (out.rows, out.columns, b.rows),
        "matrix product shapes"
    );
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    if let Some(kernel) = tiles::kernel(out.rows, out.columns, a.columns) {
        return tiles::product(kernel, out, keep, scale, a, b, threads);
    }
    let stride = |s: usize| s as isize;
    #[expect(unsafe_code, reason = "the gemm crate's interface takes raw pointers")]
    // SAFETY: the views' constructors check that every index lies within the slices, and `out` is
    // borrowed mutably, so it cannot overlap the inputs.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.data.as_mut_ptr(),
            1,
            stride(out.row_stride),
            keep != 0.,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            keep,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_moves_every_value() {
        for (rows, columns) in [(1, 1), (16, 16), (37, 50), (50, 37), (3, 0)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let got = transposed(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(got[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }

    #[test]
    fn products_by_rows_do_not_depend_on_their_way() {
        let (o, i) = (37, 19);
        let w: Vec<f32> = (0..o * i).map(|k| (k % 11) as f32 - 5.).collect();
        for rows in [1, MIN_TRANSPOSED_ROWS - 1, MIN_TRANSPOSED_ROWS, 40] {
            let a: Vec<f32> = (0..rows * i).map(|k| (k % 7) as f32 - 3.).collect();
            let mut out = vec![1f32; rows * o];
            let a_view = MatRef::rows(&a, 0, rows, i, i);
            par_gemm_by_rows(MatMut::rows(&mut out, 0, rows, o, o), 1., 2., a_view, &w, (o, i));
            for (k, got) in out.iter().enumerate() {
                let (row, column) = (k / o, k % o);
                let sum: f32 = (0..i).map(|j| a[row * i + j] * w[column * i + j]).sum();
                assert_eq!(*got, 1. + 2. * sum);
            }
        }
    }

    #[test]
    fn multiplies_strided_and_transposed_views() {
        // a = [1 2; 3 4] inside rows of 3, b = [1 0; 2 1]; a bᵀ = [1 4; 3 10].
        let a = [1., 2., 9., 3., 4., 9.];
        let b = [1., 0., 2., 1.];
        let mut out = [100f32; 5];
        let view = MatRef::rows(&a, 0, 2, 2, 3);
        gemm(MatMut::rows(&mut out, 0, 2, 2, 3), 0., 1., view, MatRef::rows(&b, 0, 2, 2, 2).t());
        assert_eq!(out, [1., 4., 100., 3., 10.]);
        gemm(MatMut::rows(&mut out, 0, 2, 2, 3), 1., 2., view, MatRef::rows(&b, 0, 2, 2, 2).t());
        assert_eq!(out, [3., 12., 100., 9., 30.]);
    }
}
