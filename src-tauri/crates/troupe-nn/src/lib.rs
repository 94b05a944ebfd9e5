//! Layers, attention, rotary embeddings, norms, adapters and optimiser steps. Knows no model.
//!
//! | module | what |
//! |---|---|
//! | [`fused`] | CPU kernels with gradients: attention, norms, rotary embedding, SwiGLU, losses |
//! | [`linear`] | a linear layer that is plain or quantised and may carry a LoRA adapter |
//! | [`mask`] | visibility of attention as rectangles |
//! | [`noise`] | counter-based random numbers |
//! | [`quant`] | weight-only quantised linear layers |
//! | [`precision`] | how exact large products are |
//! | [`rope`] | rotary tables |
//! | [`threads`] | the pool of threads that all kernels share |
//! | [`trial`] | a piece of work by whose duration a machine is known |
//! | [`adamw`] | optimiser step, gradient norm, moving average |
//!
//! # Kernels and gradients
//!
//! There is no mode to choose between kernels for inference and kernels for training, because no
//! kernel here cuts the gradient: the fused ones bring their own backward pass, the composed ones are
//! made of differentiable operations. So a training run cannot pick the wrong path, and training,
//! drawing and scoring compute the same numbers. What a call runs follows from what it is given:
//!
//! | given | runs |
//! |---|---|
//! | f32 on the CPU | the fused kernel, with its backward pass |
//! | another type or device | the same function composed of candle's operations, in f32 where it matters |
//! | a frozen dense weight, a frozen norm | an operation whose backward pass leaves the weight's gradient out |
//! | a dense weight that is a variable | a product with both gradients |
//! | a quantised weight | a product with the gradient of its input; the weight has none |
//! | a few rows that need no gradient | three quantised products in one section, as decoding wants it |
//! | queries that need no gradient, composed | their scores in turns, so that large pictures fit |
//!
//! How exact the large products among them are is chosen once for a process ([`precision`]): learning
//! may round where the processor has instructions for bf16, everything else computes in f32.
//!
//! "Needs no gradient" is candle's `track_op` of the tensors: true for a variable and for whatever was
//! computed from one.
//!
//! candle's own `softmax_last_dim`, `rms_norm`, `layer_norm`, `rope`, `sdpa` and the layers on top of
//! them have no backward pass and do not say so; `.clippy.toml` forbids them in the whole workspace. Each
//! kernel's tests compare its gradients with those of its composed twin, and the training crate's
//! `tests/gradient_reach.rs` shows for f32 and for bf16 that every update of a network is reached
//! and no frozen weight is.

pub mod adamw;
pub mod fused;
mod gemm;
pub mod linear;
pub mod mask;
pub mod noise;
pub mod precision;
mod product;
pub mod quant;
pub mod rope;
pub mod threads;
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), path = "no_tiles.rs")]
mod tiles;
pub mod trial;
