//! Stands in for the matrix unit where no processor has one.

use gemm::Parallelism;

use crate::{
    gemm::{MatMut, MatRef},
    precision::Products,
};

/// There is none.
pub(crate) enum Kernel {}

/// There is nothing to choose.
pub(crate) fn choose(_: Products) {}

/// Always elsewhere.
pub(crate) fn kernel(_: usize, _: usize, _: usize) -> Option<Kernel> {
    None
}

/// Never called: every product is done elsewhere.
pub(crate) fn product(
    kernel: Kernel,
    _: MatMut,
    _: f32,
    _: f32,
    _: MatRef,
    _: MatRef,
    _: Parallelism,
) {
    match kernel {}
}
