//! Training: Unified-SFT, base-model pretraining, optimisers, schedules, checkpoints.

pub mod golden;
pub mod sequence;
