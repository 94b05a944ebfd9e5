//! Wire types: what the window and `--json` see. camelCase, numbers small enough for JavaScript.

mod authoring;
mod evaluation;
mod gallery;
mod import;
mod material;
mod refining;
mod teaching;
mod trash;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ApiError;

pub use crate::wire_chat::{
    ChatSettings, CompareAnswer, CompareEvent, CompareRequest, CompareSide, ExportFormat,
    ExportOutcome, PhaseKind, PromptPart, PromptReport, SamplingPreset, SentPrompt, TreeNode,
    TreePage,
};
pub use authoring::{BaseFacts, ChangeItem, CropItem, VersionItem};
pub use evaluation::{
    EvaluationCell, EvaluationDetail, EvaluationDifference, EvaluationPhase, EvaluationPlan,
    EvaluationRow, EvaluationSubject, EvaluationSummary, EvaluationTask, StartEvaluation,
};
pub use gallery::{
    AddedToTraining, DrawPicture, DrawingEvent, ExpressionSheetItem, GalleryFilter, GalleryItem,
    GalleryOrder, GalleryPage, PictureUse,
};
pub use import::{
    ExportedCharacter, ImportAction, ImportFindingItem, ImportNote, ImportNoticed, ImportOutcome,
    ImportRecords, ImportedCharacter, ImportedFile,
};
pub use material::{
    MaterialCheck, MaterialCount, MaterialFilter, MaterialItem, MaterialKind, MaterialOption,
    MaterialOwner, MaterialPage, MaterialQuestion, MaterialRow, MaterialTurn, TryMaterial, Trying,
};
pub use refining::{
    EpochItem, GroupItem, GroupPicture, NamedValue, PromptItem, PromptQuestionItem, RefineDetail,
    RefineNumbers, RefinePlan, RemarkItem, StartRefining, TrialItem,
};
pub use teaching::{RecipeItem, RunDeletion, RunPhase, TaughtKind};
pub use trash::{DeletedItem, DeletedItems, DeletedKind, DeletedRef};

/// State of the program.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct AppStatus {
    /// Program version.
    pub version: String,
    /// Data folder.
    pub home: String,
    /// Base model folder.
    pub model_dir: String,
    /// Facts about the loaded base, once it is loaded.
    pub model: Option<LoadedModel>,
    /// Why the base cannot be used, if so.
    pub problem: Option<ApiError>,
    /// Memory that the program holds, where the system tells.
    pub resident_mb: Option<f64>,
    /// Memory that is free for more, where the system tells.
    pub available_mb: Option<f64>,
    /// Network connections that the program has open, where the system tells.
    pub num_connections: Option<u32>,
    /// Who is being taught now.
    pub teaching: Option<TeachingNow>,
    /// Who is being evaluated now, in words.
    pub evaluating: Option<String>,
}

/// A run that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TeachingNow {
    /// The run.
    pub run_id: String,
    /// Who is taught.
    pub character_name: String,
}

/// The loaded base and adapter.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct LoadedModel {
    /// Name of the base.
    pub name: String,
    /// `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// How weights are held.
    pub precision: String,
    /// Hash of the base.
    pub base_hash: String,
    /// The attached adapter.
    pub adapter: Option<LoadedAdapter>,
}

/// The attached adapter.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct LoadedAdapter {
    /// Its hash.
    pub hash: String,
    /// Who learned it; empty where its file does not say.
    pub character: String,
    /// Training stage.
    pub stage: String,
    /// Optimiser steps behind it.
    pub step: u32,
}

/// A character in a list.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CharacterSummary {
    /// Unique id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Start of the persona.
    pub tagline: String,
    /// Picture id of the portrait.
    pub portrait: Option<String>,
    /// Pictures in all.
    pub num_pictures: u32,
    /// Came with Troupe; copied before it is changed.
    pub is_bundled: bool,
    /// Has been taught.
    pub is_taught: bool,
    /// Why its folder cannot be read.
    pub problem: Option<String>,
}

/// A named expression.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ExpressionItem {
    /// Short name.
    pub name: String,
    /// Words for a picture prompt.
    pub prompt: String,
}

/// What a person writes about a character.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct CharacterDraft {
    /// Display name.
    pub name: String,
    /// Who the character is.
    pub persona: String,
    /// How it talks.
    pub speaking_style: String,
    /// What it does while talking.
    pub habits: String,
    /// Phrases it likes.
    pub catchphrases: Vec<String>,
    /// Words it never uses.
    pub taboo_words: Vec<String>,
    /// Lines that sound like it.
    pub example_lines: Vec<String>,
    /// Body, face.
    pub appearance: String,
    /// Clothes and things.
    pub outfit: String,
    /// Colours that belong to it.
    pub colours: String,
    /// Faces it can make.
    pub expressions: Vec<ExpressionItem>,
    /// First line of a chat.
    pub greeting: String,
    /// Other lines that a chat may begin with.
    pub other_greetings: Vec<String>,
    /// Knowledge notes.
    pub notes: String,
}

/// A picture of a character.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PictureItem {
    /// Unique within the character.
    pub id: String,
    /// What it shows.
    pub caption: String,
    /// Name of the expression.
    pub expression: String,
    /// Kept back from teaching.
    pub is_held_out: bool,
    /// Square of or around the whole picture that is shown and learned from; set by cropping alone.
    #[serde(default)]
    pub crop: Option<CropItem>,
}

/// A line of a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TurnItem {
    /// Whether the person speaks, or the character.
    pub is_user: bool,
    /// What is said.
    pub text: String,
    /// Picture that goes with it.
    pub picture_id: Option<String>,
}

/// A scene of example dialogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SceneItem {
    /// Unique within the character; empty for a new one.
    pub id: String,
    /// What is said, in order.
    pub turns: Vec<TurnItem>,
    /// Kept back from teaching.
    pub is_held_out: bool,
}

/// Something to know about a character before teaching.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct FindingItem {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// Stable name of the finding; the window has its words in every language.
    pub code: String,
    /// What was found, in English.
    pub message: String,
    /// What to do, in English.
    pub hint: String,
    /// Parts of the message by name.
    pub values: BTreeMap<String, String>,
}

/// A whole character.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CharacterDetail {
    /// Unique id.
    pub id: String,
    /// What a person writes.
    pub draft: CharacterDraft,
    /// Its pictures.
    pub pictures: Vec<PictureItem>,
    /// Its example dialogue.
    pub scenes: Vec<SceneItem>,
    /// Questions of all kinds.
    pub num_questions: u32,
    /// Stage-2 prompts.
    pub num_prompts: u32,
    /// Came with Troupe.
    pub is_bundled: bool,
    /// Adapters, newest first.
    pub adapters: Vec<AdapterItem>,
    /// Licence of texts and pictures.
    pub licence: String,
}

/// A taught adapter.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct AdapterItem {
    /// Its folder's name.
    pub name: String,
    /// Training stage.
    pub stage: String,
    /// Optimiser steps behind it.
    pub step: u32,
}

/// Outcome of adding pictures.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct AddedPictures {
    /// The character, with its new pictures. Its id is new when a bundled one was copied.
    pub character: CharacterDetail,
    /// Files that were not added, with the reason.
    pub refused: Vec<ApiError>,
}

/// A chat in a list.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ChatSummary {
    /// Unique id.
    pub id: String,
    /// Whom it is with.
    pub character_id: String,
    /// Shown in lists.
    pub title: String,
    /// Last change, milliseconds since 1970.
    pub updated_ms: f64,
    /// Kept at the top.
    pub is_pinned: bool,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum MessageStatus {
    /// Being written.
    Streaming,
    /// Whole.
    Complete,
    /// Ended early.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// A picture drawn in a chat.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DrawnPicture {
    /// Unique id.
    pub id: String,
    /// What was asked for.
    pub prompt: String,
    /// Seed of its noise.
    pub seed: f64,
    /// Hash of the base that drew it.
    pub base_hash: String,
    /// Hash of the adapter that drew it.
    pub adapter_hash: Option<String>,
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MessageItem {
    /// Unique id.
    pub id: String,
    /// The message before it.
    pub parent_id: Option<String>,
    /// Whether the person wrote it, or the character.
    pub is_user: bool,
    /// What it says.
    pub text: String,
    /// How far it is.
    pub status: MessageStatus,
    /// Its picture.
    pub picture: Option<DrawnPicture>,
    /// Ids of its alternatives, itself included, oldest first.
    pub alternatives: Vec<String>,
    /// Hash of the adapter that wrote it.
    pub adapter_hash: Option<String>,
    /// Seed that it was made with.
    pub seed: Option<f64>,
    /// Hash of the base that wrote it.
    pub base_hash: Option<String>,
    /// Creation time, milliseconds since 1970.
    pub created_ms: f64,
    /// Marked to be found again; always sent.
    pub is_pinned: bool,
    /// Its text was changed by hand: it is not, or not alone, what base and adapter wrote.
    pub is_edited: bool,
    /// Name of a picture that came with it.
    pub attachment: Option<String>,
}

/// A chat with the thread that is shown. Of a long thread only a part is told at once; the rest
/// comes by its ids.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ChatDetail {
    /// The chat.
    pub chat: ChatSummary,
    /// Ids of the whole thread, first message first.
    pub thread: Vec<String>,
    /// The end of the thread, and what stands around the message that was asked about; in the
    /// thread's order. A short thread is here as a whole.
    pub messages: Vec<MessageItem>,
    /// How it is led.
    pub settings: ChatSettings,
}

/// When a reply gets a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum PictureMode {
    /// With every reply.
    #[default]
    Always,
    /// When the reply goes somewhere else, or after a while.
    SceneChange,
    /// When the message asks for one.
    OnRequest,
    /// Only by the button of a message.
    Never,
}

/// A request to say something.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SendMessage {
    /// The chat.
    pub chat_id: String,
    /// The message it follows; the end of the shown thread when absent.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// What the person says.
    pub text: String,
    /// Whether the reply gets a picture.
    #[serde(default)]
    pub picture_mode: PictureMode,
    /// Seed; drawn when absent.
    #[serde(default)]
    pub seed: Option<u32>,
    /// The message that this one is an alternative of.
    #[serde(default)]
    pub branch_of: Option<String>,
    /// Name of a picture to go with it, as attaching gave it.
    #[serde(default)]
    pub attachment: Option<String>,
}

/// What to make again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum Regenerate {
    /// The text, as a new alternative without picture.
    Text,
    /// The picture of this message.
    Picture,
    /// Both, as a new alternative.
    Both,
    /// More text at the end of this message.
    Continue,
}

/// What a generation tells its watcher.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[ts(export)]
pub enum ChatEvent {
    /// What is being done, in words.
    Phase {
        /// The words.
        label: String,
        /// What.
        kind: PhaseKind,
        /// Tokens being read.
        num_tokens: Option<u32>,
    },
    /// More text.
    TextDelta {
        /// The message.
        message_id: String,
        /// The new part.
        delta: String,
    },
    /// The text is whole.
    TextDone {
        /// The message.
        message: MessageItem,
    },
    /// The picture so far.
    PictureProgress {
        /// The message.
        message_id: String,
        /// Steps done.
        step: u32,
        /// Steps in all.
        num_steps: u32,
        /// Seconds left.
        eta_secs: f64,
        /// A PNG as data URL.
        preview: Option<String>,
    },
    /// The picture is whole.
    PictureDone {
        /// The message.
        message: MessageItem,
    },
    /// Last event of a generation.
    Done {
        /// The message as it is now.
        message: MessageItem,
    },
    /// Last event of a generation that failed; what was written is kept.
    Failed {
        /// The message as it is now.
        message: Option<MessageItem>,
        /// Why.
        error: ApiError,
    },
}

/// A generation that was started.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Started {
    /// What stops it.
    pub generation_id: String,
    /// The person's new message, if there is one.
    pub user_message: Option<MessageItem>,
    /// The reply that is being written.
    pub reply: MessageItem,
}

/// Where a search found its words.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SearchResult {
    /// The chat.
    pub chat_id: String,
    /// Its title.
    pub chat_title: String,
    /// Whom it is with.
    pub character_id: String,
    /// The message.
    pub message_id: String,
    /// The text around the words, which stand between `[` and `]`.
    pub snippet: String,
}

/// Samples of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct KindItem {
    /// What they teach.
    pub kind: TaughtKind,
    /// The same in English words.
    pub label: String,
    /// Learned from.
    pub num_train: u32,
    /// Kept back.
    pub num_held_out: u32,
}

/// What teaching would take.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TrainingPlan {
    /// Samples by kind.
    pub kinds: Vec<KindItem>,
    /// Optimiser steps.
    pub num_steps: u32,
    /// Estimate on this machine's CPU.
    pub minutes: f64,
    /// Estimate of memory.
    pub memory_mb: f64,
    /// Estimate of disk.
    pub disk_mb: f64,
    /// What to know before.
    pub findings: Vec<FindingItem>,
    /// A run that is on now, whoever it is for.
    pub busy_run: Option<String>,
    /// The numbers that would be used.
    pub recipe: RecipeItem,
    /// The numbers that are used unless they are changed.
    pub defaults: RecipeItem,
}

/// A request to teach.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct StartTraining {
    /// Whom.
    pub character_id: String,
    /// Steps; the recipe's when absent.
    pub num_steps: Option<u32>,
    /// Seed; 1 when absent.
    pub seed: Option<u32>,
    /// An earlier run whose recipe is used instead of the base's.
    pub from_run: Option<String>,
    /// All numbers of the recipe; the usual ones when absent.
    pub recipe: Option<RecipeItem>,
    /// Wait for the run that is on instead of refusing.
    pub queue: bool,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RunSummary {
    /// Unique id.
    pub id: String,
    /// Whom it teaches.
    pub character_id: String,
    /// Their name.
    pub character_name: String,
    /// Stage: `sft` or `grpo`.
    pub kind: String,
    /// `queued`, `waiting`, `running`, `paused`, `interrupted`, `finished`, `stopped`, `failed`.
    pub status: String,
    /// Steps done.
    pub step: u32,
    /// Steps in all.
    pub num_steps: u32,
    /// Seconds of work so far.
    pub elapsed_secs: f64,
    /// Seconds left.
    pub eta_secs: Option<f64>,
    /// Why it failed.
    pub error: Option<ApiError>,
    /// Creation time, milliseconds since 1970.
    pub created_ms: f64,
}

/// One point of a training curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CurvePoint {
    /// Step.
    pub step: u32,
    /// Text loss.
    pub ce: Option<f64>,
    /// Flow loss.
    pub mse: Option<f64>,
}

/// A sample made while teaching.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SampleItem {
    /// Step.
    pub step: u32,
    /// What was asked.
    pub prompt: String,
    /// The reply.
    pub text: Option<String>,
    /// The picture's name in the run.
    pub file: Option<String>,
}

/// A run with its curves and samples.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RunDetail {
    /// The run.
    pub run: RunSummary,
    /// Losses by step.
    pub curve: Vec<CurvePoint>,
    /// Held-out losses.
    pub validation: Vec<CurvePoint>,
    /// Samples, oldest first.
    pub samples: Vec<SampleItem>,
    /// Steps at which a checkpoint was written.
    pub checkpoints: Vec<u32>,
    /// The numbers that it uses; the usual ones for a run of stage 2.
    pub recipe: RecipeItem,
    /// What a run of stage 2 has to show.
    pub refining: Option<RefineDetail>,
    /// Seed of all its choices.
    pub seed: f64,
    /// What it is doing between steps.
    pub phase: Option<RunPhase>,
    /// What is worth knowing about a run of stage 1, the newest of each kind.
    pub notes: Vec<RemarkItem>,
}
