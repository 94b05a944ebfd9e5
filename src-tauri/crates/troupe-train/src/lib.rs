//! Training: Unified-SFT, base-model pretraining, optimisers, schedules, checkpoints.
//!
//! | module | what |
//! |---|---|
//! | [`sequence`] | packed sequences and their losses |
//! | [`recipe`] | the numbers of a run, with presets |
//! | [`plan`] | what a run would do, before it does it |
//! | [`estimate`] | what a run takes of the machine: memory, disk, time |
//! | [`data`] | a character's samples as tensors |
//! | [`sft`] | stage 1: Unified-SFT (UniCharacter, arXiv:2605.08129) |
//! | [`grpo`] | stage 2: Character-GRPO |
//! | [`taught`] | the adapters that runs leave behind |
//! | [`rehearsal`] | pictures by which a base keeps in practice while it learns |
//! | [`verdict`] | what held-out losses say about a run |
//! | [`pretrain`] | the parts of a new base, stage by stage, from captioned pictures |
//! | [`checkpoint`] | whole checkpoints, resumable to the bit |
//! | [`events`] | what a run tells and how it is steered |
//! | [`init`] | fresh weights of a new base |
//! | [`golden`] | golden numerical cases |

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod estimate;
pub mod events;
pub mod golden;
pub mod grpo;
pub mod init;
pub mod plan;
pub mod pretrain;
pub mod recipe;
mod record;
pub mod rehearsal;
pub mod sequence;
pub mod sft;
pub mod taught;
pub mod verdict;
