//! How exact large products of f32 are.

use serde::{Deserialize, Serialize};

use crate::tiles;

/// How large products of f32 are computed. Weights, sums and everything between products are f32
/// in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Products {
    /// In f32: a term's relative error is below 2⁻²⁴.
    Exact,
    /// From two bf16 parts of every value: below 2⁻¹⁶, and two to three times as fast on a matrix
    /// unit; exact without one.
    Split,
    /// From values rounded to bf16, as mixed precision has it: below 2⁻⁸, and three to five times as
    /// fast on a matrix unit, up to twice with the vectors of AMD's processors; exact with Intel's.
    Bf16,
}

impl Products {
    /// Computes so from now on, where the processor has instructions for bf16 and gains by them; where it
    /// does not, all products stay exact.
    ///
    /// It holds for the whole process: one that learns says it once, at its start, and chats and
    /// measurements stay exact.
    pub fn choose(self) {
        tiles::choose(self);
    }
}
