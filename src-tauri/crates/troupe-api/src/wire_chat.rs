//! Wire types of chats: settings, tree, prompts, comparisons, exports.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    error::ApiError,
    wire::{DrawnPicture, PictureMode},
};

/// How freely a character speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum SamplingPreset {
    /// Stays close to what is likely.
    Careful,
    /// What the method was measured with; a small base takes likelier words.
    #[default]
    Balanced,
    /// More surprises.
    Lively,
    /// As surprising as still makes sense.
    Wild,
}

/// How a chat is led.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct ChatSettings {
    /// When a reply gets a picture.
    pub picture_mode: PictureMode,
    /// How freely the character speaks.
    pub preset: SamplingPreset,
    /// What the person is called; empty when it does not matter.
    pub user_name: String,
    /// Who the person is.
    pub user_persona: String,
    /// A note to the character, sent with every message.
    pub author_note: String,
}

/// What a generation is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum PhaseKind {
    /// Other work comes first.
    Waiting,
    /// The base model is being loaded.
    LoadingBase,
    /// What the character learned is being loaded.
    LoadingAdapter,
    /// The prompt is being read.
    Reading,
    /// The picture's prompt is being read.
    PreparingPicture,
}

/// A message in the tree of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TreeNode {
    /// The message.
    pub id: String,
    /// Whether the person wrote it, or the character.
    pub is_user: bool,
    /// How many branches to the side of the oldest line it stands.
    pub lane: u32,
    /// Messages that follow it directly: beside each other when there are several.
    pub num_branches: u32,
    /// Whether it is in the thread on the screen.
    pub is_shown: bool,
    /// How it begins.
    pub snippet: String,
    /// Whether it has a picture.
    pub has_picture: bool,
    /// Whether it is pinned.
    pub is_pinned: bool,
}

/// Some rows of a chat's tree, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TreePage {
    /// The rows, in reading order.
    pub rows: Vec<TreeNode>,
    /// Rows of the whole tree: its messages.
    pub total: u32,
    /// Messages that several others follow.
    pub num_branches: u32,
    /// Row of the last message on the screen.
    pub end: u32,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PromptPart {
    /// `character`, `you`, `opening`, `history`, `note`, `message`, `frame`.
    pub name: String,
    /// Its tokens.
    pub num_tokens: u32,
}

/// What would be sent with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PromptReport {
    /// The whole prompt.
    pub prompt: String,
    /// Its tokens.
    pub num_tokens: u32,
    /// Most tokens that base can hold, reply included.
    pub limit: u32,
    /// Tokens by part.
    pub parts: Vec<PromptPart>,
    /// Earlier messages that go with it.
    pub num_turns: u32,
    /// Earlier messages that are left out.
    pub num_left_out: u32,
}

/// What the model was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SentPrompt {
    /// `text` or `picture`.
    pub kind: String,
    /// The prompt.
    pub prompt: String,
    /// Its tokens.
    pub num_tokens: u32,
    /// Sampling settings, JSON.
    pub settings: String,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CompareSide {
    /// Who answers.
    pub character_id: String,
    /// Name of the adapter; the bare base when absent.
    #[serde(default)]
    pub adapter: Option<String>,
}

/// A request to let several sides answer the same message on the same seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct CompareRequest {
    /// The chat that leads up to the message; those who are not in it answer without it.
    pub chat_id: String,
    /// The message.
    pub text: String,
    /// Who answers, in order.
    pub sides: Vec<CompareSide>,
    /// Seed of all sides; drawn when absent.
    pub seed: Option<u32>,
    /// Whether they draw, too.
    pub with_pictures: bool,
}

/// What one side answered.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CompareAnswer {
    /// Which side.
    pub side: u32,
    /// What it said.
    pub text: String,
    /// What it drew.
    pub picture: Option<DrawnPicture>,
    /// Seed of text and picture.
    pub seed: u32,
    /// Hash of the base.
    pub base_hash: String,
    /// Hash of the adapter.
    pub adapter_hash: Option<String>,
}

/// What a comparison tells its watcher.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[ts(export)]
pub enum CompareEvent {
    /// What is being done.
    Phase {
        /// Which side.
        side: u32,
        /// What.
        kind: PhaseKind,
        /// Tokens being read.
        num_tokens: Option<u32>,
    },
    /// More text.
    TextDelta {
        /// Which side.
        side: u32,
        /// The new part.
        delta: String,
    },
    /// The picture so far.
    PictureProgress {
        /// Which side.
        side: u32,
        /// Steps done.
        step: u32,
        /// Steps in all.
        num_steps: u32,
        /// Seconds left.
        eta_secs: f64,
    },
    /// One side is whole.
    SideDone {
        /// The answer.
        answer: CompareAnswer,
    },
    /// Last event.
    Done,
    /// Last event of a comparison that failed.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// A file format for chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum ExportFormat {
    /// Text with pictures in a folder beside it.
    Markdown,
    /// One page with everything inside.
    Html,
    /// SillyTavern's JSON lines, with pictures in a folder beside it.
    SillyTavern,
}

/// A chat that was written to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ExportOutcome {
    /// Where it is.
    pub path: String,
    /// Messages in it.
    pub num_messages: u32,
    /// Pictures in it.
    pub num_pictures: u32,
    /// Pictures that were left out, since their files cannot be read.
    pub num_missing: u32,
}
