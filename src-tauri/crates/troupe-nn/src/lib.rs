//! Layers, attention, rotary embeddings, norms, adapters and optimiser steps. Knows no model.
//!
//! | module | what |
//! |---|---|
//! | [`fused`] | CPU kernels with gradients: attention, norms, rotary embedding, SwiGLU, losses |
//! | [`linear`] | a linear layer that is plain or quantised and may carry a LoRA adapter |
//! | [`mask`] | visibility of attention as rectangles |
//! | [`noise`] | counter-based random numbers |
//! | [`quant`] | weight-only quantised linear layers |
//! | [`rope`] | rotary tables |
//! | [`threads`] | the pool of threads that all kernels share |
//! | [`adamw`] | optimiser step, gradient norm, moving average |

pub mod adamw;
pub mod fused;
mod gemm;
pub mod linear;
pub mod mask;
pub mod noise;
mod product;
pub mod quant;
pub mod rope;
pub mod threads;
