//! How well a picture fits its text.
//!
//! With CLIP or the base's scorer: the cosine of picture and text, or the reference's `100·cos / 30`. Without: by
//! how much the text helps the frozen stage-1 model to explain the picture. For noised copies of
//! the picture, `gap = (L_without − L_with) / (L_without + L_with)` of the flow losses, in (−1, 1).
//! The gap needs no other network, but it is the policy's own ancestor that judges, so it can be
//! gamed and must not be the only measure on kept-back prompts.
//!
//! Sources: UniCharacter, `clip_scorer.py`; for the gap, diffusion classifiers (arXiv:2303.16203).

use std::rc::Rc;

use troupe_model::scorer::Embedder;

use super::{Group, Scorer};
use crate::error::TrainResult;

/// CLIP's factor over 30, by which the reference multiplies cosines.
pub const REFERENCE_SCALE: f64 = 100. / 30.;

/// Cosines by a network that embeds both.
pub struct ScorerAlignment {
    /// The network: CLIP or the base's scorer.
    pub encoder: Rc<dyn Embedder>,
    /// Factor of the cosine; [`REFERENCE_SCALE`] is the published one.
    pub scale: f64,
}

impl Scorer for ScorerAlignment {
    fn name(&self) -> &'static str {
        "alignment"
    }

    fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let pictures = self.encoder.embed_pictures(group.images)?; // (b, d)
        let text = self.encoder.embed_texts(&[scorer_text(group)])?; // (1, d)
        let cosines = pictures.matmul(&text.t()?)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(cosines.into_iter().map(|c| f64::from(c) * self.scale).collect())
    }
}

/// The text for scorers that do not know the character: `scorer_text` of the prompt where given.
pub fn scorer_text(group: &Group) -> String {
    let given = group.prompt.extra.get("scorer_text").and_then(|text| text.as_str());
    given.unwrap_or(&group.prompt.text).to_owned()
}

/// Losses with and without the text as a gap in (−1, 1).
pub fn gap(with_text: f64, without: f64) -> f64 {
    (without - with_text) / (without + with_text).max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_helps_is_above_zero() {
        assert!((gap(1., 3.) - 0.5).abs() < 1e-12);
        assert!(gap(3., 1.) < 0.);
        assert_eq!(gap(2., 2.), 0.);
        assert_eq!(gap(0., 0.), 0.);
    }
}
