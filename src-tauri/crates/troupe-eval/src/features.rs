//! What pictures and texts are compared by.
//!
//! | name | what | texts |
//! |---|---|---|
//! | `pixel-stats` | colours and edges in a grid; needs no weights | no |
//! | `scorer` | the dual encoder in the base model's folder | yes |
//! | `clip` | CLIP, where its files are present | yes |
//!
//! The name and hash of the features stand in every result: numbers of different features cannot
//! be compared with each other.

use std::{fmt, path::Path};

use candle_core::{DType, Tensor};
use image::{RgbImage, imageops::FilterType};
use serde::{Deserialize, Serialize};
use troupe_model::{
    clip::Clip,
    foreign,
    runtime::ModelFiles,
    scorer::{DualEncoder, Embedder, SCALE_TENSOR},
    weights::hash_files,
};

use crate::error::EvalResult;

/// Which features made a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureInfo {
    /// Short name.
    pub name: String,
    /// Hash of the weights, or the version of the recipe where there are none.
    pub hash: String,
    /// What is done to a picture first.
    pub preprocessing: String,
    /// Whether texts can be embedded beside pictures.
    pub reads_text: bool,
}

/// Likenesses above which a picture copies, and below which it is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bands {
    /// A likeness to a training picture above this is a copy.
    pub copy: f64,
    /// A likeness to every training picture below this has lost the identity.
    pub lost: f64,
}

/// Turns pictures, and perhaps texts, into vectors whose cosine is their likeness.
pub trait Features: Send {
    /// Which features these are.
    fn info(&self) -> FeatureInfo;

    /// The bands of this space.
    fn bands(&self) -> Bands;

    /// One vector a picture, each of length 1.
    ///
    /// # Errors
    /// When the network behind it fails.
    fn embed_pictures(&self, pictures: &[&RgbImage]) -> EvalResult<Vec<Vec<f32>>>;

    /// One vector a text in the same space, each of length 1; `None` when it reads no texts.
    ///
    /// # Errors
    /// When the network behind it fails.
    fn embed_texts(&self, texts: &[&str]) -> EvalResult<Option<Vec<Vec<f32>>>>;
}

/// A network that embeds pictures and texts.
///
/// Stage 2 may use it as a reward: then an improvement in it alone proves little, and `pixel-stats`
/// beside it is the number that nothing was trained on.
pub struct Scorer {
    encoder: Box<dyn Embedder + Send>,
    info: FeatureInfo,
    bands: Bands,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scorer").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Scorer {
    /// Loads the dual encoder of a base model's folder; `None` when the folder holds none.
    ///
    /// # Errors
    /// When its files are damaged.
    pub fn find(model_dir: &Path) -> EvalResult<Option<Self>> {
        let files = ModelFiles::find(model_dir)?;
        if !files.source()?.shapes().contains_key(SCALE_TENSOR) {
            return Ok(None);
        }
        let info = FeatureInfo {
            name: "scorer".into(),
            hash: hash_files(&files.all())?,
            preprocessing: "the middle square at the vision tower's size".into(),
            reads_text: true,
        };
        // The bands of the reference's reward, which were made for DINO features.
        let bands = Bands { copy: 0.9, lost: 0.5 };
        Ok(Some(Self { encoder: Box::new(DualEncoder::load(model_dir)?), info, bands }))
    }

    /// Loads CLIP from the first of `places` that holds its folder; `None` when none does.
    ///
    /// # Errors
    /// When its files are damaged.
    pub fn find_clip<'a>(places: impl IntoIterator<Item = &'a Path>) -> EvalResult<Option<Self>> {
        let Some(dir) = foreign::find(foreign::CLIP, places) else { return Ok(None) };
        let clip = Clip::load(&dir)?;
        let info = FeatureInfo {
            name: "clip".into(),
            hash: clip.hash().into(),
            preprocessing: "the middle square at CLIP's size, by its mean and deviation".into(),
            reads_text: true,
        };
        // A guess: nothing was calibrated.
        let bands = Bands { copy: 0.95, lost: 0.6 };
        Ok(Some(Self { encoder: Box::new(clip), info, bands }))
    }
}

/// The best features that there are: CLIP in one of the folders, else the base's scorer, else pixels.
///
/// # Errors
/// When files are damaged.
pub fn best<'a>(
    model_dir: &'a Path,
    judges_dir: Option<&'a Path>,
) -> EvalResult<Box<dyn Features>> {
    if let Some(clip) = Scorer::find_clip(judges_dir.into_iter().chain([model_dir]))? {
        return Ok(Box::new(clip));
    }
    Ok(match Scorer::find(model_dir)? {
        Some(scorer) => Box::new(scorer),
        None => Box::new(PixelStats),
    })
}

fn rows(vectors: &Tensor) -> EvalResult<Vec<Vec<f32>>> {
    Ok(vectors.to_dtype(DType::F32)?.to_vec2()?)
}

impl Features for Scorer {
    fn info(&self) -> FeatureInfo {
        self.info.clone()
    }

    fn bands(&self) -> Bands {
        self.bands
    }

    fn embed_pictures(&self, pictures: &[&RgbImage]) -> EvalResult<Vec<Vec<f32>>> {
        let pictures: Vec<RgbImage> = pictures.iter().map(|picture| (*picture).clone()).collect();
        rows(&self.encoder.embed_pictures(&pictures)?)
    }

    fn embed_texts(&self, texts: &[&str]) -> EvalResult<Option<Vec<Vec<f32>>>> {
        if texts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Ok(Some(rows(&self.encoder.embed_texts(&texts)?)?))
    }
}

/// Colours and edges of a picture, without any learned weights.
///
/// The picture is scaled to 64×64. Three parts of equal weight: mean colours of an 8×8 grid around
/// the picture's own mean; shares of 4×4×4 colours, square-rooted; and strengths of edges in eight
/// directions in a 4×4 grid. It sees layout and palette, not meaning: use it to notice copies, and
/// to compare runs when nothing better is at hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct PixelStats;

const SIDE: u32 = 64;
const COLOUR_GRID: u32 = 8;
const EDGE_GRID: u32 = 4;
const DIRECTIONS: usize = 8;

impl Features for PixelStats {
    fn info(&self) -> FeatureInfo {
        FeatureInfo {
            name: "pixel-stats".into(),
            hash: "recipe-1".into(),
            preprocessing: "transparency on white, scaled to 64×64 with a triangle filter".into(),
            reads_text: false,
        }
    }

    fn bands(&self) -> Bands {
        // Same pictures give 1. Different pictures of one character in one style stay below 0.97,
        // unrelated ones below about 0.5.
        Bands { copy: 0.97, lost: 0.5 }
    }

    fn embed_pictures(&self, pictures: &[&RgbImage]) -> EvalResult<Vec<Vec<f32>>> {
        Ok(pictures.iter().map(|picture| describe(picture)).collect())
    }

    fn embed_texts(&self, _texts: &[&str]) -> EvalResult<Option<Vec<Vec<f32>>>> {
        Ok(None)
    }
}

fn describe(picture: &RgbImage) -> Vec<f32> {
    let small = image::imageops::resize(picture, SIDE, SIDE, FilterType::Triangle);
    let mut all = Vec::new();
    for mut part in [colours(&small), palette(&small), edges(&small)] {
        normalise(&mut part);
        all.extend(part);
    }
    normalise(&mut all);
    all
}

/// Mean colours of the grid's cells, around the mean of the picture.
fn colours(picture: &RgbImage) -> Vec<f32> {
    let cell = SIDE / COLOUR_GRID;
    let mut sums = vec![0f32; (COLOUR_GRID * COLOUR_GRID * 3) as usize];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let at = ((y / cell) * COLOUR_GRID + x / cell) as usize * 3;
        for (channel, value) in pixel.0.into_iter().enumerate() {
            sums[at + channel] += f32::from(value) / 255. / (cell * cell) as f32;
        }
    }
    for channel in 0..3 {
        let own: Vec<f32> = sums.iter().skip(channel).step_by(3).copied().collect();
        let mean = own.iter().sum::<f32>() / own.len() as f32;
        sums.iter_mut().skip(channel).step_by(3).for_each(|value| *value -= mean);
    }
    sums
}

fn palette(picture: &RgbImage) -> Vec<f32> {
    let mut counts = vec![0f32; 64];
    for pixel in picture.pixels() {
        let [r, g, b] = pixel.0.map(|value| usize::from(value / 64));
        counts[r * 16 + g * 4 + b] += 1.;
    }
    counts.into_iter().map(f32::sqrt).collect()
}

fn edges(picture: &RgbImage) -> Vec<f32> {
    let grey = |x: u32, y: u32| -> f32 {
        let [r, g, b] = picture.get_pixel(x, y).0.map(f32::from);
        (0.299 * r + 0.587 * g + 0.114 * b) / 255.
    };
    let cell = SIDE / EDGE_GRID;
    let mut sums = vec![0f32; (EDGE_GRID * EDGE_GRID) as usize * DIRECTIONS];
    for y in 1..SIDE - 1 {
        for x in 1..SIDE - 1 {
            let dx = grey(x + 1, y) - grey(x - 1, y);
            let dy = grey(x, y + 1) - grey(x, y - 1);
            let turn = dy.atan2(dx) / std::f32::consts::TAU + 0.5; // 0 to 1
            let direction = ((turn * DIRECTIONS as f32) as usize).min(DIRECTIONS - 1);
            let at = ((y / cell) * EDGE_GRID + x / cell) as usize * DIRECTIONS + direction;
            sums[at] += dx.hypot(dy);
        }
    }
    sums
}

/// Scales a vector to length 1; a zero vector stays.
pub(crate) fn normalise(values: &mut [f32]) {
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    if norm > 1e-6 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
}

/// Cosine of two vectors of length 1.
pub fn likeness(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use troupe_testkit::dot_picture;

    use super::*;

    #[test]
    fn the_same_picture_at_another_size_is_alike_and_another_is_not() {
        let pictures = [dot_picture(1, 64), dot_picture(1, 128), dot_picture(11, 64)];
        let all: Vec<&RgbImage> = pictures.iter().collect();
        let vectors = PixelStats.embed_pictures(&all).unwrap();
        let same = likeness(&vectors[0], &vectors[1]);
        let other = likeness(&vectors[0], &vectors[2]);
        assert!((likeness(&vectors[0], &vectors[0]) - 1.).abs() < 1e-5);
        assert!(same > 0.9 && other < same - 0.3, "{same} {other}");
    }
}
