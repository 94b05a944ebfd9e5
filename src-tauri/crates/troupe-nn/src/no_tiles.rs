//! Stands in for the matrix unit where no processor has one.

use gemm::Parallelism;

use crate::{
    gemm::{MatMut, MatRef},
    precision::Products,
};

/// There is no unit to choose.
pub(crate) fn choose(_: Products) -> bool {
    false
}

/// Never here.
pub(crate) fn chosen(_: usize, _: usize, _: usize) -> Option<Products> {
    None
}

/// Never called: [`chosen`] names no way.
pub(crate) fn product(
    _: Products,
    _: MatMut,
    _: f32,
    _: f32,
    _: MatRef,
    _: MatRef,
    _: Parallelism,
) {
}
