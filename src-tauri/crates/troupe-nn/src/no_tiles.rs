//! Stands in for the matrix unit where no processor has one.

use gemm::Parallelism;

use crate::{
    gemm::{MatMut, MatRef},
    precision::Products,
};

/// There is no unit to choose.
pub(crate) fn choose(_: Products) {}

/// Always elsewhere.
pub(crate) fn parts(_: usize, _: usize, _: usize) -> u8 {
    0
}

/// Never called: [`parts`] sends every product elsewhere.
pub(crate) fn product(_: u8, _: MatMut, _: f32, _: f32, _: MatRef, _: MatRef, _: Parallelism) {}
