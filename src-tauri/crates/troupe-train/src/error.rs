//! What can go wrong in training.

use std::path::PathBuf;

use troupe_model::error::ModelError;

/// Errors of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The base model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The character could not be read.
    #[error(transparent)]
    Character(#[from] troupe_character::Error),
    /// A computation failed.
    #[error("training: {0}")]
    Compute(#[from] candle_core::Error),
    /// A file of the run could not be read or written.
    #[error("{what}: {source} ({path})")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// A file of the run is malformed.
    #[error("{what} is not usable: {reason} ({path})")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// What is wrong.
        reason: String,
        /// Where it is.
        path: PathBuf,
    },
    /// There is nothing to learn from.
    #[error("there is nothing to learn from: {0}")]
    NoData(String),
    /// A recipe is not usable.
    #[error("the recipe {what}: {reason}")]
    Recipe {
        /// Which recipe or number.
        what: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The loss became infinite or not a number.
    #[error("the loss became {loss} at step {step}; lower the learning rate and resume")]
    Diverged {
        /// Steps done.
        step: usize,
        /// The loss.
        loss: f64,
    },
}

/// Result of training.
pub type TrainResult<T> = Result<T, TrainError>;
