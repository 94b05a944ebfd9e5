//! Errors as the window and the command line show them.

use serde::Serialize;
use troupe_character::Error as CharacterError;
use troupe_eval::EvalError;
use troupe_jobs::JobError;
use troupe_model::error::ModelError;
use troupe_store::StoreError;
use troupe_train::error::TrainError;
use ts_rs::TS;

/// What a client may react to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum ErrorCode {
    /// Something that was asked for does not exist.
    NotFound,
    /// The request makes no sense as it is.
    BadRequest,
    /// The base model is missing or unusable.
    Model,
    /// The generation was cancelled.
    Cancelled,
    /// Another run or generation is in the way.
    Busy,
    /// Files could not be read or written.
    Storage,
    /// Anything else.
    Internal,
}

/// An error with a code, a message and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
#[ts(export)]
pub struct ApiError {
    /// What a client may react to.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// What to try.
    pub hint: String,
}

/// Result of the API.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error from its parts.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = next.source();
    }
    text
}

impl From<CharacterError> for ApiError {
    fn from(error: CharacterError) -> Self {
        let code = match &error {
            CharacterError::NoSuchRecord { .. } => ErrorCode::NotFound,
            _ => ErrorCode::BadRequest,
        };
        Self::new(code, chain(&error), error.hint())
    }
}

/// What the model calls a picture file in its errors.
const PICTURE: &str = "the picture";

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        let hint = match &error {
            ModelError::Io { what: PICTURE, .. } | ModelError::Malformed { what: PICTURE, .. } => {
                "Choose a PNG, JPEG or WebP file."
            }
            ModelError::Io { .. } | ModelError::Malformed { .. } | ModelError::Weights(_) => {
                "Choose another model folder, or restore this one from a fresh copy."
            }
            ModelError::PromptTooLong { .. } => "Shorten the text or start a new chat.",
            ModelError::Adapter(_) => "Teach the character again on this base model.",
            _ => "",
        };
        Self::new(ErrorCode::Model, chain(&error), hint)
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Model(error) => error.into(),
            EvalError::Character(error) => error.into(),
            EvalError::OtherRun { .. } => Self::new(
                ErrorCode::BadRequest,
                chain(&error),
                "Begin a new evaluation: numbers of the two cannot be mixed.",
            ),
            EvalError::NoAdapter { .. } | EvalError::Request(_) => {
                Self::new(ErrorCode::BadRequest, chain(&error), "")
            }
            EvalError::Io { .. } => Self::new(
                ErrorCode::Storage,
                chain(&error),
                "Is the disk full or the folder write-protected? Make room, then go on.",
            ),
            error => Self::new(ErrorCode::Internal, chain(&error), ""),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound { .. } => ErrorCode::NotFound,
            _ => ErrorCode::Storage,
        };
        Self::new(code, chain(&error), "")
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let (code, hint) = match &error {
            JobError::Busy => (ErrorCode::Busy, "Wait until it has ended, or pause it."),
            _ => (ErrorCode::Storage, "Is the disk full or the folder write-protected?"),
        };
        Self::new(code, chain(&error), hint)
    }
}

impl From<TrainError> for ApiError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Model(error) => error.into(),
            TrainError::Character(error) => error.into(),
            TrainError::Io { .. } => Self::new(
                ErrorCode::Storage,
                chain(&error),
                "Is the disk full or the folder write-protected? Make room, then resume the run.",
            ),
            TrainError::Recipe { .. } => {
                Self::new(ErrorCode::BadRequest, chain(&error), "Mend the recipe, or leave it out.")
            }
            error => Self::new(ErrorCode::Internal, chain(&error), ""),
        }
    }
}
