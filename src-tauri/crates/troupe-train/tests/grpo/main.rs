//! Stage 2 against closed forms and on a tiny network.

mod common;
mod judging;
mod learning;
mod network;
mod sampler;
