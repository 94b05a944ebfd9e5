//! Wire types of what was deleted.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A kind of things that are kept for a while when they are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum DeletedKind {
    /// A character.
    Character,
    /// A chat.
    Chat,
    /// A message, with what followed it.
    Message,
    /// A picture of the gallery.
    Picture,
    /// A run, with what it taught.
    Run,
    /// An evaluation.
    Evaluation,
}

/// Names something that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DeletedRef {
    /// What it is.
    pub kind: DeletedKind,
    /// What it is restored by.
    pub id: String,
}

/// Something that was deleted and can be brought back.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DeletedItem {
    /// What it is.
    pub kind: DeletedKind,
    /// What it is restored by.
    pub id: String,
    /// What it is called: name, title, or the beginning of its words. Empty when it has none.
    pub title: String,
    /// Whose it is: the character's name; of a message the title of its chat.
    pub owner: Option<String>,
    /// Messages that come back with it.
    pub num_messages: u32,
    /// Of a run: `sft` or `grpo`.
    pub stage: Option<String>,
    /// When it was made, milliseconds since 1970, where that tells it from others.
    pub made_ms: Option<f64>,
    /// When it was deleted.
    pub deleted_ms: f64,
    /// Bytes that it takes, where that is known.
    pub size_bytes: Option<f64>,
}

/// All that can be brought back.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DeletedItems {
    /// What was deleted last comes first.
    pub items: Vec<DeletedItem>,
    /// Days after which something goes for good.
    pub kept_days: u32,
}
