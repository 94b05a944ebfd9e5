//! Wire types of authoring.

use serde::{Deserialize, Serialize};
use troupe_character::Crop;
use ts_rs::TS;

/// A square of a picture, in pixels of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CropItem {
    /// Left edge; negative where the square begins left of the picture.
    pub x: i32,
    /// Upper edge; negative where the square begins above the picture.
    pub y: i32,
    /// Width and height.
    pub side: u32,
    /// Red, green and blue of what the picture does not cover; none for a square within it.
    pub background: Option<[u8; 3]>,
}

impl From<Crop> for CropItem {
    fn from(crop: Crop) -> Self {
        Self { x: crop.x, y: crop.y, side: crop.side, background: crop.background }
    }
}

impl From<CropItem> for Crop {
    fn from(item: CropItem) -> Self {
        Self { x: item.x, y: item.y, side: item.side, background: item.background }
    }
}

/// What an author has to know about the base.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct BaseFacts {
    /// Its name.
    pub name: String,
    /// Side of the pictures that it learns from and draws, in pixels.
    pub picture_size: u32,
    /// Longest text that it reads, in tokens.
    pub context_tokens: u32,
    /// It has learned to see pictures.
    pub can_see: bool,
}

/// An earlier state of a character.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct VersionItem {
    /// Unique within the character.
    pub id: String,
    /// When it was kept, milliseconds since 1970.
    pub saved_ms: f64,
    /// What a person called it; empty for one kept by itself.
    pub name: String,
}

/// One difference between a version and the present state.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ChangeItem {
    /// A field of the draft, `expression`, `caption` or `scene`.
    pub field: String,
    /// Which one, where there are several.
    pub item: String,
    /// The text in the version; none when it was not there.
    pub before: Option<String>,
    /// The text now; none when it is gone.
    pub after: Option<String>,
}
