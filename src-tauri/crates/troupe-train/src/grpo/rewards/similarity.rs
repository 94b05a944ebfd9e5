//! The band of similarity to the character's own pictures: nearer is a copy, farther is somebody
//! else.
//!
//! `S = max over references of the cosine`; the reward is 0 inside the band and falls by `slope` per
//! unit outside, never above 0.
//!
//! Source: UniCharacter, `dino_scorer.py` (slope 2, band 0.5 to 0.9 on DINOv2 features). Other
//! features have other scales, so the band may be calibrated instead.

use std::{cell::RefCell, rc::Rc};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{
    Group, Scorer,
    features::{Features, cosine},
};
use crate::error::{TrainError, TrainResult};

/// Room that is left above the nearest pair of real pictures, as a share of what is left to 1.
const COPY_ROOM: f64 = 0.5;
/// Where the lower end lies between others' pictures and the character's own.
const IDENTITY_SHARE: f64 = 0.5;
/// By how much an own picture may be farther than the farthest of the others, without pictures of
/// other characters to compare with.
const FALLBACK_MARGIN: f64 = 0.1;

/// The band and its slope.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimilarityBand {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Penalty per unit outside.
    pub slope: f64,
}

impl SimilarityBand {
    /// The reward of similarity `s`.
    pub fn penalty(&self, s: f64) -> f64 {
        -self.slope * ((s - self.high).max(0.) + (self.low - s).max(0.))
    }
}

/// Largest product with any of `others`; −1 without others.
pub(in crate::grpo) fn nearest<'a>(
    vector: &[f64],
    others: impl Iterator<Item = &'a Vec<f64>>,
) -> f64 {
    others.map(|other| cosine(vector, other)).fold(-1., f64::max)
}

/// Finds the band from real pictures: the upper end lies half-way between the nearest pair of the
/// character's own and identity, the lower end half-way between what others' pictures reach (their
/// median) and what own pictures reach among each other (theirs).
pub fn calibrate(own: &[Vec<f64>], others: &[Vec<f64>], slope: f64) -> SimilarityBand {
    let mut among: Vec<f64> = (0..own.len())
        .map(|i| nearest(&own[i], own.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, v)| v)))
        .collect();
    let mut across: Vec<f64> = others.iter().map(|v| nearest(v, own.iter())).collect();
    let top = among.iter().copied().fold(0., f64::max).clamp(0., 1.);
    let high = top + COPY_ROOM * (1. - top);
    let own_level = median(&mut among).unwrap_or(high);
    let low = match median(&mut across) {
        Some(other_level) => other_level + IDENTITY_SHARE * (own_level - other_level).max(0.),
        None => among.first().copied().unwrap_or(0.) - FALLBACK_MARGIN,
    };
    SimilarityBand { low: low.min(high - 0.01), high, slope }
}

/// Sorts and takes the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Where the pictures of an epoch lay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BandShares {
    /// Mean similarity.
    pub mean: f64,
    /// Share above the band.
    pub too_close: f64,
    /// Share below the band.
    pub too_far: f64,
}

/// Similarities that a scorer has measured and nobody has asked for yet.
pub type Measured = Rc<RefCell<Vec<f64>>>;

/// Scores by the band.
pub struct BandScorer {
    features: Rc<dyn Features>,
    references: Rc<[Vec<f64>]>,
    band: SimilarityBand,
    measured: Measured,
}

impl BandScorer {
    /// A scorer against the character's pictures.
    ///
    /// # Errors
    /// When there are none: without them a silent 0 would reward forgetting the character.
    pub fn new(
        features: Rc<dyn Features>,
        references: Rc<[Vec<f64>]>,
        band: SimilarityBand,
    ) -> TrainResult<Self> {
        if references.is_empty() {
            return Err(TrainError::NoData(
                "the character has no pictures to stay similar to; add some".into(),
            ));
        }
        Ok(Self { features, references, band, measured: Measured::default() })
    }

    /// Where the similarities measured from now on are kept.
    pub fn measured(&self) -> Measured {
        self.measured.clone()
    }

    /// Similarity of each picture to the nearest reference.
    ///
    /// # Errors
    /// When the features fail.
    pub fn similarities(&self, images: &[RgbImage]) -> TrainResult<Vec<f64>> {
        let vectors = self.features.vectors(images)?;
        Ok(vectors.iter().map(|v| nearest(v, self.references.iter())).collect())
    }
}

impl Scorer for BandScorer {
    fn name(&self) -> &'static str {
        "similarity"
    }

    fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let found = self.similarities(group.images)?;
        self.measured.borrow_mut().extend(&found);
        Ok(found.into_iter().map(|s| self.band.penalty(s)).collect())
    }
}

/// Takes what was measured and says where it lay.
pub fn take_shares(measured: &Measured, band: &SimilarityBand) -> BandShares {
    let values = std::mem::take(&mut *measured.borrow_mut());
    let n = values.len().max(1) as f64;
    let share = |out: &dyn Fn(f64) -> bool| values.iter().filter(|s| out(**s)).count() as f64 / n;
    BandShares {
        mean: values.iter().sum::<f64>() / n,
        too_close: share(&|s| s > band.high),
        too_far: share(&|s| s < band.low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I-18: the published band at five points.
    #[test]
    fn the_published_band() {
        let band = SimilarityBand { low: 0.5, high: 0.9, slope: 2. };
        for (s, want) in [(0.4, -0.2), (0.5, 0.), (0.7, 0.), (0.9, 0.), (0.95, -0.1)] {
            assert!((band.penalty(s) - want).abs() < 1e-12, "{s}");
        }
    }

    #[test]
    fn a_calibrated_band_holds_own_pictures_and_leaves_others_out() {
        let at = |degrees: f64| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let own = [at(0.), at(20.), at(45.)];
        let band = calibrate(&own, &[at(120.), at(140.), at(160.)], 2.);
        assert!(band.high > 20f64.to_radians().cos() && band.high < 1.);
        assert_eq!(band.penalty(20f64.to_radians().cos()), 0.);
        assert!(band.penalty(1.) < 0., "a copy");
        assert!(band.penalty(75f64.to_radians().cos()) < 0., "somebody else");
        let alone = calibrate(&own, &[], 2.);
        assert_eq!(alone.penalty(25f64.to_radians().cos()), 0.);
    }
}
