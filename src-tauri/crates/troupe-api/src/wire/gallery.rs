//! Wire types of the gallery.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{CharacterDetail, PhaseKind};

/// What a picture was drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum PictureUse {
    /// A reply in a chat.
    Chat,
    /// A prompt of the person.
    Drawing,
    /// A face of the character's list.
    Expression,
}

/// Order of a gallery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum GalleryOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
    /// Best rated first.
    Best,
}

/// Which pictures a gallery shows. Absent parts do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct GalleryFilter {
    /// Of this character.
    pub character_id: Option<String>,
    /// Drawn for this.
    pub kind: Option<PictureUse>,
    /// Favourites alone.
    pub favourites: bool,
    /// At least so many stars.
    pub min_rating: Option<u8>,
    /// All of these words stand in the prompt.
    pub words: String,
    /// In which order.
    pub order: GalleryOrder,
}

/// A picture of the gallery.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct GalleryItem {
    /// Unique id.
    pub id: String,
    /// Whom it shows.
    pub character_id: String,
    /// A few words for a list.
    pub title: String,
    /// What was asked for.
    pub prompt: String,
    /// Seed of its noise.
    pub seed: f64,
    /// Hash of the base that drew it.
    pub base_hash: String,
    /// Hash of the adapter that drew it.
    pub adapter_hash: Option<String>,
    /// Creation time, milliseconds since 1970.
    pub created_ms: f64,
    /// What it was drawn for.
    pub kind: PictureUse,
    /// Name of the expression, for a picture of one.
    pub label: String,
    /// The picture it started from.
    pub reference_id: Option<String>,
    /// A favourite.
    pub is_favourite: bool,
    /// One to five stars.
    pub rating: Option<u8>,
    /// Chosen for the sprite pack.
    pub is_approved: bool,
}

/// A part of a gallery.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct GalleryPage {
    /// Pictures in all.
    pub total: u32,
    /// Those of this part.
    pub items: Vec<GalleryItem>,
}

/// A request to draw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct DrawPicture {
    /// Whom.
    pub character_id: String,
    /// What, as the model reads it.
    pub prompt: String,
    /// Seed; drawn when absent.
    pub seed: Option<u32>,
    /// A picture of the gallery to start from.
    pub reference_id: Option<String>,
}

/// What drawing tells its watcher.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[ts(export)]
pub enum DrawingEvent {
    /// What is being done.
    Phase {
        /// What.
        kind: PhaseKind,
    },
    /// The picture so far.
    Progress {
        /// Which picture of the job, from 0.
        index: u32,
        /// Pictures of the job.
        count: u32,
        /// Name of the expression.
        label: String,
        /// Steps done.
        step: u32,
        /// Steps in all.
        num_steps: u32,
        /// Seconds left for the whole job.
        eta_secs: f64,
        /// A PNG as data URL.
        preview: Option<String>,
    },
    /// A picture is whole and kept.
    Picture {
        /// The picture.
        item: GalleryItem,
        /// Which picture of the job, from 0.
        index: u32,
        /// Pictures of the job.
        count: u32,
    },
    /// Last event of a job.
    Done {
        /// Pictures drawn.
        num_drawn: u32,
        /// It was stopped before its end.
        was_stopped: bool,
    },
    /// Last event of a job that failed; what was drawn is kept.
    Failed {
        /// Why.
        error: crate::error::ApiError,
    },
}

/// An expression with what was drawn for it.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ExpressionSheetItem {
    /// Its name.
    pub name: String,
    /// Words that draw it.
    pub prompt: String,
    /// Pictures of it, newest first.
    pub pictures: Vec<GalleryItem>,
}

/// Outcome of taking a drawn picture as a training picture.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct AddedToTraining {
    /// The character. Its id is new when a bundled one was copied.
    pub character: CharacterDetail,
    /// The picture there.
    pub picture_id: String,
    /// False when the same picture was there already.
    pub is_new: bool,
}
