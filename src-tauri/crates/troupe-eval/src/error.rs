//! What can go wrong in an evaluation.

use std::path::{Path, PathBuf};

/// Result of an evaluation.
pub type EvalResult<T> = Result<T, EvalError>;

/// Errors of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] troupe_model::error::ModelError),
    /// A character could not be read.
    #[error(transparent)]
    Character(#[from] troupe_character::Error),
    /// A computation failed.
    #[error("measuring: {0}")]
    Compute(#[from] candle_core::Error),
    /// A file of the run could not be read or written.
    #[error("{doing}: {source} ({path})")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// A file of the run is malformed.
    #[error("line {line} of the run's file is not usable: {problem} ({path})")]
    Malformed {
        /// One-based line.
        line: usize,
        /// What is wrong.
        problem: String,
        /// Which file.
        path: PathBuf,
    },
    /// The folder holds another run.
    #[error(
        "the folder holds a run with other {what}; choose another folder, or remove this one ({path})"
    )]
    OtherRun {
        /// What differs.
        what: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// A stage was asked for that nothing was learned for.
    #[error("{character} has no adapter of stage {stage}; train it first, or leave the stage out")]
    NoAdapter {
        /// Name of the character.
        character: String,
        /// The stage.
        stage: String,
    },
    /// The judge's endpoint failed.
    #[error("the judge did not answer: {reason}; check address, model name and that it is running")]
    Judge {
        /// What came back.
        reason: String,
    },
    /// A request that cannot be served.
    #[error("{0}")]
    Request(String),
}

impl EvalError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing, source, path: path.to_path_buf() }
    }
}
