//! Errors as the window and the command line show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use troupe_character::Error as CharacterError;
use troupe_eval::EvalError;
use troupe_jobs::{Failure, JobError};
use troupe_model::error::ModelError;
use troupe_store::StoreError;
use troupe_train::error::TrainError;
use ts_rs::TS;

/// What a client may react to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
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

/// Why something failed, for a client that says it in its own words and language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum ErrorCause {
    /// Too many requests wait for the model.
    EngineBusy,
    /// The engine's thread is gone.
    EngineEnded,
    /// The engine panicked over a request and was started anew.
    Stumbled,
    /// A run leaves too little memory to chat beside it; `needed` and `available` are megabytes.
    NoRoom,
    /// The character has no expressions to draw.
    NoExpression,
    /// A drawing without a prompt.
    EmptyPrompt,
    /// A message without text.
    EmptyMessage,
    /// What the person said cannot be generated again.
    OwnMessage,
    /// The base `name` has no eyes.
    Blind,
    /// The file of an attached picture is missing or damaged.
    AttachmentGone,
    /// The bytes are no picture; `file` says where they came from.
    NotAPicture,
    /// The character has this picture already.
    PictureKnown,
    /// A picture of `width` × `height` pixels, with more than `limit` megapixels.
    PictureTooLarge,
    /// The file of a drawn picture is gone.
    PictureGone,
    /// No file manager shows the file `path`.
    NoFileManager,
    /// The system did not begin to drag.
    NoDrag,
    /// No chat shows the picture.
    NoChatOfPicture,
    /// No message, or not two to four who answer it.
    NothingToCompare,
    /// `name` has no adapter that was asked for.
    NotLearned,
    /// `name` has no stage 1 that stage 2 could refine.
    NotTaught,
    /// An evaluation of `names` is on.
    BeingEvaluated,
    /// A run of teaching is on.
    BeingTaught,
    /// The program that trains is missing.
    NoWorker,
    /// The program that trains ended before it said anything.
    WorkerEnded,
    /// A run needs `needed` gigabytes of memory, of which the machine has `had`.
    TooLittleMemory,
    /// A run needs `needed` gigabytes of disk, of which `had` are free.
    TooLittleDisk,
    /// There is nothing to learn from.
    NothingToLearn,
    /// A number of the recipe or profile makes no sense: `what`.
    BadNumbers,
    /// The loss became `loss` at step `step`.
    Diverged,
    /// A computation failed.
    ComputeFailed,
    /// The evaluation's folder holds another one.
    OtherEvaluation,
    /// The judge's endpoint failed for `reason`.
    JudgeSilent,
    /// The run has ended for good.
    RunEnded,
    /// The run or evaluation goes on, or has its turn.
    StillOn,
    /// A run of stage 2 that has not ended goes on from what this one taught.
    RunNeeded,
    /// A run without a checkpoint has nothing to keep.
    NothingLearned,
    /// Another process works on the run.
    RunBusy,
    /// The run's folder cannot be read.
    RunUnreadable,
    /// An evaluation of nobody.
    NobodyChosen,
    /// None of the chosen has learned a stage.
    StageNotLearned,
    /// Two of the chosen are called `name`.
    SameName,
    /// The chosen have nothing to measure with.
    NoMaterial,
    /// The evaluation has no report yet.
    NoReport,
    /// A chat, message, picture, run or evaluation that is not there.
    NoSuchEntry,
    /// No character has the id or name `name`.
    NoSuchCharacter,
    /// Several characters are called `name`.
    Ambiguous,
    /// `name` is bundled and not changed in place.
    ReadOnly,
    /// A character without a name.
    NoName,
    /// `name` has no such picture, scene or question.
    NoSuchRecord,
    /// Line `line` of `file` is not as expected: `problem`.
    MalformedFile,
    /// Written by a newer version.
    NewerFormat,
    /// No space is left.
    DiskFull,
    /// The system refuses access to `path`.
    PermissionDenied,
    /// `path` does not exist.
    FileMissing,
    /// A file operation on `path` failed for the system's `reason`.
    FileFailed,
    /// The folder `path` is no data set.
    NotADataset,
    /// `path` holds no character card that can be read: `problem`.
    NotACard,
    /// `path` is there already.
    AlreadyExists,
    /// A file of the base is missing or unusable.
    ModelFile,
    /// The base's weights do not fit its configuration.
    ModelWeights,
    /// An adapter was taught on another base.
    ModelAdapter,
    /// The field `field` of the base's configuration makes no sense.
    ModelConfig,
    /// The base's tokenizer has no token `token`.
    ModelToken,
    /// The model cannot do what was asked for.
    ModelRefused,
    /// An evaluation cannot be run as it was asked for.
    MeasureRefused,
    /// `count` tokens, of which the model reads `limit`.
    PromptTooLong,
    /// The database was damaged; its file was kept as `path`.
    DatabaseDamaged,
    /// SQLite failed for `reason`.
    DatabaseFailed,
}

/// An error with a code, a message and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
#[ts(export)]
pub struct ApiError {
    /// What a client may react to.
    pub code: ErrorCode,
    /// Why, where it is one of the known reasons.
    pub cause: Option<ErrorCause>,
    /// Parts of the message by name, to say it in another language.
    pub values: BTreeMap<String, String>,
    /// What happened, in English.
    pub message: String,
    /// What to try, in English.
    pub hint: String,
}

/// Result of the API.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error from its parts.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { code, cause: None, values: BTreeMap::new(), message, hint }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, cause: ErrorCause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// The same with a part of its message named.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.values.insert(name.into(), value.to_string());
        self
    }
}

/// The name of a code or cause on the wire.
fn wire_name(value: impl Serialize) -> Option<String> {
    Some(serde_json::to_value(value).ok()?.as_str()?.to_owned())
}

fn from_wire_name<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(name.into()).ok()
}

impl From<&ApiError> for Failure {
    fn from(error: &ApiError) -> Self {
        let ApiError { code, cause, values, message, hint } = error.clone();
        let code = wire_name(code).unwrap_or_default();
        Self { message, hint, code, cause: cause.and_then(wire_name), values }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let Failure { message, hint, code, cause, values } = failure;
        let code = from_wire_name(&code).unwrap_or(ErrorCode::Internal);
        Self { code, cause: cause.as_deref().and_then(from_wire_name), values, message, hint }
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
        character_values(Self::new(code, chain(&error), error.hint()), &error)
    }
}

/// Cause and values of an error about characters.
fn character_values(told: ApiError, error: &CharacterError) -> ApiError {
    use CharacterError as E;
    match error {
        E::Malformed { file, line, problem } => told
            .because(ErrorCause::MalformedFile)
            .with("file", file.display())
            .with("line", line)
            .with("problem", problem),
        E::NewerSchema { .. } => told.because(ErrorCause::NewerFormat),
        E::DiskFull { path, .. } => told.because(ErrorCause::DiskFull).with("path", path.display()),
        E::PermissionDenied { path, .. } => {
            told.because(ErrorCause::PermissionDenied).with("path", path.display())
        }
        E::Missing { path, .. } => {
            told.because(ErrorCause::FileMissing).with("path", path.display())
        }
        E::Io { path, source, .. } => {
            told.because(ErrorCause::FileFailed).with("path", path.display()).with("reason", source)
        }
        E::NoSuchCharacter { asked, .. } => {
            told.because(ErrorCause::NoSuchCharacter).with("name", asked)
        }
        E::Ambiguous { asked, .. } => told.because(ErrorCause::Ambiguous).with("name", asked),
        E::ReadOnly { name } => told.because(ErrorCause::ReadOnly).with("name", name),
        E::NoName => told.because(ErrorCause::NoName),
        E::NoSuchRecord { name, .. } => told.because(ErrorCause::NoSuchRecord).with("name", name),
        E::NotAPicture { label, .. } => told.because(ErrorCause::NotAPicture).with("file", label),
        E::PictureTooLarge { label, width, height, limit_megapixels } => told
            .because(ErrorCause::PictureTooLarge)
            .with("file", label)
            .with("width", width)
            .with("height", height)
            .with("limit", limit_megapixels),
        E::NotADataset { folder, .. } => {
            told.because(ErrorCause::NotADataset).with("path", folder.display())
        }
        E::NotACard { file, problem } => {
            told.because(ErrorCause::NotACard).with("path", file.display()).with("problem", problem)
        }
        E::AlreadyExists { path } => {
            told.because(ErrorCause::AlreadyExists).with("path", path.display())
        }
        _ => told,
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
            ModelError::Io { .. }
            | ModelError::Malformed { .. }
            | ModelError::Weights(_)
            | ModelError::Config { .. }
            | ModelError::MissingToken { .. } => {
                "Choose another model folder, or restore this one from a fresh copy."
            }
            ModelError::PromptTooLong { .. } => "Shorten the text or start a new chat.",
            ModelError::Adapter(_) => "Teach the character again on this base model.",
            _ => "",
        };
        let told = Self::new(ErrorCode::Model, chain(&error), hint);
        match &error {
            ModelError::Io { what: PICTURE, .. } | ModelError::Malformed { what: PICTURE, .. } => {
                told.because(ErrorCause::NotAPicture).with("file", PICTURE)
            }
            ModelError::Io { path, .. } | ModelError::Malformed { path, .. } => {
                told.because(ErrorCause::ModelFile).with("path", path.display())
            }
            ModelError::Weights(_) => told.because(ErrorCause::ModelWeights),
            ModelError::PromptTooLong { num_tokens, limit } => told
                .because(ErrorCause::PromptTooLong)
                .with("count", num_tokens)
                .with("limit", limit),
            ModelError::Adapter(_) => told.because(ErrorCause::ModelAdapter),
            ModelError::Config { field, .. } => {
                told.because(ErrorCause::ModelConfig).with("field", field)
            }
            ModelError::MissingToken { token, .. } => {
                told.because(ErrorCause::ModelToken).with("token", token)
            }
            ModelError::Request(_) => told.because(ErrorCause::ModelRefused),
            ModelError::Compute { .. } => told.because(ErrorCause::ComputeFailed),
            _ => told,
        }
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let (code, hint) = match &error {
            EvalError::OtherRun { .. } => (
                ErrorCode::BadRequest,
                "Begin a new evaluation: numbers of the two cannot be mixed.",
            ),
            EvalError::NoAdapter { .. } | EvalError::Request(_) => (ErrorCode::BadRequest, ""),
            EvalError::Io { .. } => (
                ErrorCode::Storage,
                "Is the disk full or the folder write-protected? Make room, then go on.",
            ),
            _ => (ErrorCode::Internal, ""),
        };
        let told = Self::new(code, chain(&error), hint);
        match error {
            EvalError::Model(error) => error.into(),
            EvalError::Character(error) => error.into(),
            EvalError::Compute(_) => told.because(ErrorCause::ComputeFailed),
            EvalError::Io { path, source, .. } => told
                .because(ErrorCause::FileFailed)
                .with("path", path.display())
                .with("reason", source),
            EvalError::Malformed { line, problem, path } => told
                .because(ErrorCause::MalformedFile)
                .with("file", path.display())
                .with("line", line)
                .with("problem", problem),
            EvalError::OtherRun { .. } => told.because(ErrorCause::OtherEvaluation),
            EvalError::NoAdapter { character, .. } => {
                told.because(ErrorCause::NotLearned).with("name", character)
            }
            EvalError::Judge { reason } => {
                told.because(ErrorCause::JudgeSilent).with("reason", reason)
            }
            EvalError::Request(_) => told.because(ErrorCause::MeasureRefused),
            _ => told,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound { .. } => ErrorCode::NotFound,
            _ => ErrorCode::Storage,
        };
        let told = Self::new(code, chain(&error), "");
        match &error {
            StoreError::NotFound { .. } => told.because(ErrorCause::NoSuchEntry),
            StoreError::Damaged { kept, .. } => {
                told.because(ErrorCause::DatabaseDamaged).with("path", kept.display())
            }
            StoreError::TooNew { .. } => told.because(ErrorCause::NewerFormat),
            StoreError::Sqlite(reason) => {
                told.because(ErrorCause::DatabaseFailed).with("reason", reason)
            }
            StoreError::Io { path, source, .. } => told
                .because(ErrorCause::FileFailed)
                .with("path", path.display())
                .with("reason", source),
            _ => told,
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let (code, hint) = match &error {
            JobError::Busy => (ErrorCode::Busy, "Wait until it has ended, or pause it."),
            _ => (ErrorCode::Storage, "Is the disk full or the folder write-protected?"),
        };
        let told = Self::new(code, chain(&error), hint);
        match &error {
            JobError::Busy => told.because(ErrorCause::RunBusy),
            JobError::Io { path, source, .. } => told
                .because(ErrorCause::FileFailed)
                .with("path", path.display())
                .with("reason", source),
            JobError::Malformed { path, .. } => {
                told.because(ErrorCause::RunUnreadable).with("path", path.display())
            }
            _ => told,
        }
    }
}

impl From<TrainError> for ApiError {
    fn from(error: TrainError) -> Self {
        let (code, hint) = match &error {
            TrainError::Io { .. } => (
                ErrorCode::Storage,
                "Is the disk full or the folder write-protected? Make room, then resume the run.",
            ),
            TrainError::Recipe { .. } => {
                (ErrorCode::BadRequest, "Mend the recipe, or leave it out.")
            }
            _ => (ErrorCode::Internal, ""),
        };
        let told = Self::new(code, chain(&error), hint);
        match error {
            TrainError::Model(error) => error.into(),
            TrainError::Character(error) => error.into(),
            TrainError::Compute(_) => told.because(ErrorCause::ComputeFailed),
            TrainError::Io { path, source, .. } => told
                .because(ErrorCause::FileFailed)
                .with("path", path.display())
                .with("reason", source),
            TrainError::Malformed { path, .. } => {
                told.because(ErrorCause::RunUnreadable).with("path", path.display())
            }
            TrainError::NoData(_) => told.because(ErrorCause::NothingToLearn),
            TrainError::Recipe { what, .. } => {
                told.because(ErrorCause::BadNumbers).with("what", what)
            }
            TrainError::Diverged { step, loss } => {
                told.because(ErrorCause::Diverged).with("step", step).with("loss", loss)
            }
            _ => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these reaches the window, which says it in its own language by its cause.
    #[test]
    fn what_model_and_measures_refuse_has_a_cause() {
        let (field, reason) = ("vocab_size".to_owned(), "must be positive".to_owned());
        let config = ApiError::from(ModelError::Config { field, reason });
        assert_eq!(config.cause, Some(ErrorCause::ModelConfig));
        assert_eq!(config.values["field"], "vocab_size");
        let token = ModelError::MissingToken { token: "<|im_end|>".into(), role: "end" };
        assert_eq!(ApiError::from(token).cause, Some(ErrorCause::ModelToken));
        let refused = TrainError::from(ModelError::Request("no picture was asked for".into()));
        let refused = ApiError::from(refused);
        assert_eq!(refused.cause, Some(ErrorCause::ModelRefused));
        assert_eq!(refused.message, "no picture was asked for");
        let measured = ApiError::from(EvalError::Request("name a character".into()));
        assert_eq!(measured.cause, Some(ErrorCause::MeasureRefused));
    }

    #[test]
    fn an_error_survives_the_run_that_it_ended() {
        let error = ApiError::from(TrainError::Diverged { step: 7, loss: f64::INFINITY });
        assert_eq!(error.cause, Some(ErrorCause::Diverged));
        assert_eq!(ApiError::from(Failure::from(&error)), error);
        let ended =
            Failure { cause: Some(troupe_jobs::ENDED_AT_ONCE.into()), ..Failure::default() };
        assert_eq!(ApiError::from(ended).cause, Some(ErrorCause::WorkerEnded));
        let newer = Failure { cause: Some("moonFell".into()), ..String::from("why").into() };
        let told = ApiError::from(newer);
        assert_eq!((told.cause, told.message.as_str()), (None, "why"));
    }
}
