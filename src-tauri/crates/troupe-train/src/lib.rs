//! Training: Unified-SFT, base-model pretraining, optimisers, schedules, checkpoints.
