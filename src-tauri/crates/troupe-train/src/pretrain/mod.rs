//! Pretraining of a base's own parts, stage by stage.
//!
//! | stage | learns | from |
//! |---|---|---|
//! | [`vision`] | vision tower and text tower, the connector's first words | pictures with captions and statements |
//! | [`connector`] | connector through the understanding expert | questions about pictures |
//! | [`generation`] | generation expert, time embedding, latent projections | pictures with captions |
//!
//! The understanding expert stays as it is in all of them. Every stage has the same loop, in
//! [`run`]: an exponential average of the weights is what is measured and exported, checkpoints hold
//! everything that a run needs to go on as if never stopped. The connector needs a trained tower, so
//! `vision` comes before `connector`; `generation` stands alone. [`following`] measures what the first
//! and the last have learned together: whether drawn pictures show what was asked. [`few_shot`] measures
//! how well the base learns an identity.

pub mod connector;
pub mod data;
pub mod few_shot;
pub mod following;
pub mod generation;
pub mod run;
pub mod vision;
mod words;

pub use generation::{GENERATION_FILE, PretrainJob, run};
pub use run::RunSettings;
pub use vision::VISION_FILE;
