//! Diversity of a group.
//!
//! A value that a whole group shares vanishes from advantages that are centred by group, so the
//! paper's scalar cannot act there. The form per picture, its mean distance to the siblings, has
//! the same mean and ranks pictures by what they add:
//! `Div(G) − Div(G without i) = 2/|G| · (d_i − Div(G without i))`.
//!
//! Source: UniCharacter, `diversity_scorer.py` (mean pairwise LPIPS).

use std::rc::Rc;

use image::RgbImage;

use super::{DiversityForm, Group, Scorer, features::Features, perceptual::Lpips};
use crate::error::TrainResult;

/// A distance between pictures of a group.
pub trait Distance {
    /// All distances, symmetric with zeros on the diagonal.
    ///
    /// # Errors
    /// When a computation fails.
    fn matrix(&self, images: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>>;
}

/// One minus the product of features.
pub struct FeatureDistance(pub Rc<dyn Features>);

impl Distance for FeatureDistance {
    fn matrix(&self, images: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>> {
        let vectors = self.0.vectors(images)?;
        let far = |a: &Vec<f64>, b: &Vec<f64>| (1. - super::features::cosine(a, b)).max(0.);
        symmetric(images.len(), |i, j| Ok(far(&vectors[i], &vectors[j])))
    }
}

impl Distance for Lpips {
    fn matrix(&self, images: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>> {
        let features =
            images.iter().map(|image| self.features(image)).collect::<TrainResult<Vec<_>>>()?;
        symmetric(images.len(), |i, j| self.distance(&features[i], &features[j]))
    }
}

fn symmetric(
    n: usize,
    far: impl Fn(usize, usize) -> TrainResult<f64>,
) -> TrainResult<Vec<Vec<f64>>> {
    let mut matrix: Vec<Vec<f64>> = vec![vec![0.; n]; n];
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    for (i, j) in pairs {
        let distance = far(i, j)?;
        matrix[i][j] = distance;
        matrix[j][i] = distance;
    }
    Ok(matrix)
}

/// Mean distance of each picture to the others; 0 for a lone one.
pub fn to_siblings(matrix: &[Vec<f64>]) -> Vec<f64> {
    let others = matrix.len().saturating_sub(1).max(1) as f64;
    matrix.iter().map(|row| row.iter().sum::<f64>() / others).collect()
}

/// Mean distance of all unordered pairs; 0 for a lone picture.
pub fn mean_pairwise(matrix: &[Vec<f64>]) -> f64 {
    let d = to_siblings(matrix);
    d.iter().sum::<f64>() / d.len().max(1) as f64
}

/// Scores diversity.
pub struct DiversityScorer {
    /// How far apart pictures are.
    pub distance: Rc<dyn Distance>,
    /// Whose distance counts.
    pub form: DiversityForm,
}

impl Scorer for DiversityScorer {
    fn name(&self) -> &'static str {
        "diversity"
    }

    fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let matrix = self.distance.matrix(group.images)?;
        Ok(match self.form {
            DiversityForm::PerImage => to_siblings(&matrix),
            DiversityForm::Group => vec![mean_pairwise(&matrix); group.images.len()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I-18: the mean of `d_i` is the mean pairwise distance, and the marginal identity holds.
    #[test]
    fn distances_to_siblings_say_what_a_picture_adds() -> TrainResult<()> {
        let matrix = symmetric(4, |i, j| Ok((i * 3 + j * j) as f64 / 7.))?;
        let d = to_siblings(&matrix);
        let pairs: f64 =
            (0..4).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| matrix[i][j]).sum();
        assert!((mean_pairwise(&matrix) - pairs / 6.).abs() < 1e-12);
        for (i, d_i) in d.iter().enumerate() {
            let rest: Vec<Vec<f64>> = (0..4)
                .filter(|r| *r != i)
                .map(|r| (0..4).filter(|c| *c != i).map(|c| matrix[r][c]).collect())
                .collect();
            let without = mean_pairwise(&rest);
            let marginal = mean_pairwise(&matrix) - without;
            assert!((marginal - 2. / 4. * (d_i - without)).abs() < 1e-12);
        }
        assert_eq!(to_siblings(&[vec![0.]]), [0.]);
        Ok(())
    }

    #[test]
    fn identical_pictures_are_not_diverse() -> TrainResult<()> {
        let image = RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, 7]));
        let images = vec![image; 3];
        let distance: Rc<dyn Distance> =
            Rc::new(FeatureDistance(Rc::new(super::super::features::Colours)));
        for form in [DiversityForm::PerImage, DiversityForm::Group] {
            let scorer = DiversityScorer { distance: distance.clone(), form };
            let prompt = Default::default();
            let scores = scorer.score(&Group { prompt: &prompt, images: &images })?;
            assert!(scores.iter().all(|s| s.abs() < 1e-9), "{scores:?}");
        }
        Ok(())
    }
}
