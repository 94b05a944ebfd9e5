//! Rewards: whole groups in, one number a picture out.
//!
//! | component | what | module |
//! |---|---|---|
//! | alignment | how well a picture fits its text | [`alignment`] |
//! | vqa | whether questions about it are answered as expected | [`vqa`] |
//! | diversity | how far it is from its siblings | [`diversity`] |
//! | similarity | whether it is the character without being a copy | [`similarity`] |
//!
//! `R = Σ weight · component`, a component with a weight of 0 or less is not computed. Every
//! component also has the reference's exact form.
//!
//! Source: UniCharacter (arXiv:2605.08129), `rewards.py` and the scorers it loads.

pub mod alignment;
pub mod diversity;
pub mod features;
pub mod perceptual;
pub mod similarity;
pub mod vqa;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_character::PicturePrompt;

use super::advantage::GroupRewards;
use crate::error::TrainResult;

/// The pictures drawn for one prompt.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// What was asked for.
    pub prompt: &'a PicturePrompt,
    /// What was drawn.
    pub images: &'a [RgbImage],
}

/// Scores the pictures of a group, one value each.
pub trait Scorer {
    /// Name of the component in curves.
    fn name(&self) -> &'static str;

    /// One value per picture, higher is better.
    ///
    /// # Errors
    /// When a computation fails. A scorer that cannot judge says so instead of answering 0.
    fn score(&self, group: &Group) -> TrainResult<Vec<f64>>;
}

/// What judges text–image alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// CLIP where its files are present, else the base's own scorer, else the flow gap.
    #[default]
    Auto,
    /// CLIP, from a folder of its files.
    Clip,
    /// The base's own scorer.
    Scorer,
    /// By how much the text helps the frozen stage-1 model to explain the picture.
    Flow,
}

/// Who answers questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VqaBy {
    /// BLIP where its files are present, otherwise the frozen stage-1 model.
    #[default]
    Auto,
    /// BLIP, from a folder of its files.
    Blip,
    /// The frozen stage-1 model.
    Stage1,
}

/// How answers to questions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VqaForm {
    /// Probabilities of yes and no, expected yes and no weighing the same.
    #[default]
    Soft,
    /// Weighted share of exactly matching answers, as the reference counts.
    Exact,
}

/// How diversity counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiversityForm {
    /// A picture's mean distance to its siblings.
    #[default]
    PerImage,
    /// The group's mean distance for every picture, as in the paper; it has no effect on advantages
    /// within a group.
    Group,
}

/// Where the band of similarity lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Found from the character's pictures against each other and against those of others.
    #[default]
    Calibrated,
    /// `sim_low` to `sim_high`.
    Fixed,
}

/// What is rewarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
    /// Weight of alignment.
    pub alignment: f64,
    /// Weight of questions answered.
    pub vqa: f64,
    /// Weight of diversity.
    pub diversity: f64,
    /// Weight of the similarity band.
    pub similarity: f64,
    /// What judges alignment.
    pub alignment_by: Alignment,
    /// Who answers questions.
    pub vqa_by: VqaBy,
    /// How answers count.
    pub vqa_form: VqaForm,
    /// How diversity counts.
    pub diversity_form: DiversityForm,
    /// Where the band lies.
    pub band: Band,
    /// Lower end of a fixed band.
    pub sim_low: f64,
    /// Upper end of a fixed band.
    pub sim_high: f64,
    /// Penalty per unit outside the band.
    pub sim_slope: f64,
    /// Most questions asked about a picture; 0 asks all.
    pub max_questions: usize,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            alignment: 0.45,
            vqa: 0.,
            diversity: 0.1,
            similarity: 0.15,
            alignment_by: Alignment::Auto,
            vqa_by: VqaBy::Auto,
            vqa_form: VqaForm::Soft,
            diversity_form: DiversityForm::PerImage,
            band: Band::Calibrated,
            sim_low: 0.5,
            sim_high: 0.9,
            sim_slope: 2.,
            max_questions: 4,
        }
    }
}

impl RewardConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        let weights = [self.alignment, self.vqa, self.diversity, self.similarity];
        if weights.iter().any(|w| !w.is_finite()) || !self.sim_slope.is_finite() {
            return Err("weights of rewards are numbers".into());
        }
        if weights.iter().all(|w| *w <= 0.) {
            return Err("at least one reward needs a weight above 0".into());
        }
        if self.sim_low >= self.sim_high {
            return Err("sim_low lies below sim_high".into());
        }
        Ok(())
    }
}

/// Weighted scorers.
#[derive(Default)]
pub struct Rewards<'a>(Vec<(f64, Box<dyn Scorer + 'a>)>);

impl<'a> Rewards<'a> {
    /// Adds a scorer; one with a weight of 0 or less is left out, as in the reference.
    pub fn add(&mut self, weight: f64, scorer: Box<dyn Scorer + 'a>) {
        if weight > 0. {
            self.0.push((weight, scorer));
        }
    }

    /// Names of the components, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(_, scorer)| scorer.name()).collect()
    }

    /// Total and components of every picture of a group.
    ///
    /// # Errors
    /// The scorers'.
    pub fn score(&self, group: &Group) -> TrainResult<GroupRewards> {
        let mut out = GroupRewards { total: vec![0.; group.images.len()], components: Vec::new() };
        for (weight, scorer) in &self.0 {
            let values = scorer.score(group)?;
            for (total, value) in out.total.iter_mut().zip(&values) {
                *total += weight * value;
            }
            out.components.push((*weight, values));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(&'static str, f64);

    impl Scorer for Constant {
        fn name(&self) -> &'static str {
            self.0
        }

        fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
            Ok(vec![self.1; group.images.len()])
        }
    }

    #[test]
    fn components_are_weighed_and_weightless_ones_left_out() -> TrainResult<()> {
        let mut rewards = Rewards::default();
        rewards.add(0.3, Box::new(Constant("vqa", 1.)));
        rewards.add(-1., Box::new(Constant("similarity", 9.)));
        rewards.add(0.5, Box::new(Constant("alignment", 2.)));
        let prompt = PicturePrompt::default();
        let images = [RgbImage::new(2, 2), RgbImage::new(2, 2)];
        let scored = rewards.score(&Group { prompt: &prompt, images: &images })?;
        assert_eq!(rewards.names(), ["vqa", "alignment"]);
        assert_eq!(scored.total, [1.3, 1.3]);
        assert_eq!(scored.components[1], (0.5, vec![2., 2.]));
        Ok(())
    }
}
