//! Likeness, copying, identity and diversity of pictures, from their features.

use crate::features::{Bands, likeness};

/// How a picture compares with the training pictures of its character.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgainstReferences {
    /// Mean likeness over all references (the DreamBooth convention).
    pub mean: f64,
    /// Likeness to the nearest reference.
    pub max: f64,
    /// The nearest reference is nearer than a copy may be.
    pub is_copy: bool,
    /// No reference is near enough to tell whose picture it is.
    pub is_lost: bool,
}

/// Compares a picture with the references; `None` without references.
pub fn against(
    picture: &[f32],
    references: &[Vec<f32>],
    bands: Bands,
) -> Option<AgainstReferences> {
    let likenesses: Vec<f64> = references.iter().map(|r| likeness(picture, r)).collect();
    let max = likenesses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (!likenesses.is_empty()).then(|| AgainstReferences {
        mean: crate::stats::mean(&likenesses),
        max,
        is_copy: max > bands.copy,
        is_lost: max < bands.lost,
    })
}

/// The middle of a character's pictures, of length 1.
pub fn centroid(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0f32; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(total, value)| *total += value);
    }
    crate::features::normalise(&mut sum);
    sum
}

/// Index of the centroid nearest to a picture; `None` when there are fewer than two to choose from.
pub fn nearest(picture: &[f32], centroids: &[Vec<f32>]) -> Option<usize> {
    if centroids.len() < 2 {
        return None;
    }
    let likenesses = centroids.iter().map(|c| likeness(picture, c));
    likenesses.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// Mean distance (1 − cosine) over all pairs; `None` for fewer than two pictures.
pub fn diversity(vectors: &[Vec<f32>]) -> Option<f64> {
    let mut distances = Vec::new();
    for (index, a) in vectors.iter().enumerate() {
        for b in &vectors[index + 1..] {
            distances.push((1. - likeness(a, b)).max(0.));
        }
    }
    (!distances.is_empty()).then(|| crate::stats::mean(&distances))
}

/// Vendi score: the effective number of different pictures, from 1 (all alike) to their number.
///
/// The exponential of the entropy of the eigenvalues of the likeness matrix over n.
///
/// Source: Friedman and Dieng (arXiv:2210.02410).
pub fn vendi(vectors: &[Vec<f32>]) -> Option<f64> {
    let n = vectors.len();
    if n == 0 {
        return None;
    }
    let matrix: Vec<Vec<f64>> = vectors
        .iter()
        .map(|a| vectors.iter().map(|b| likeness(a, b) / n as f64).collect())
        .collect();
    let entropy: f64 =
        eigenvalues(matrix).into_iter().filter(|l| *l > 1e-12).map(|l| -l * l.ln()).sum();
    Some(entropy.exp())
}

/// Eigenvalues of a small symmetric matrix by Jacobi rotations.
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    for _ in 0..64 {
        let mut off = 0.;
        for p in 0..n {
            for q in p + 1..n {
                off += a[p][q] * a[p][q];
                rotate(&mut a, p, q);
            }
        }
        if off < 1e-24 {
            break;
        }
    }
    (0..n).map(|i| a[i][i]).collect()
}

/// One Jacobi rotation that makes a[p][q] zero.
fn rotate(a: &mut [Vec<f64>], p: usize, q: usize) {
    if a[p][q].abs() < 1e-300 {
        return;
    }
    let theta = (a[q][q] - a[p][p]) / (2. * a[p][q]);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.).sqrt());
    let c = 1. / (t * t + 1.).sqrt();
    let s = t * c;
    for row in a.iter_mut() {
        let (x, y) = (row[p], row[q]);
        row[p] = c * x - s * y;
        row[q] = s * x + c * y;
    }
    let (upper, lower) = a.split_at_mut(q); // p < q
    for (x, y) in upper[p].iter_mut().zip(&mut lower[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// How much better texts fit their own pictures than those of others, one value a pair.
///
/// The likeness of each pair minus the mean likeness of the picture to the other texts: what is
/// common to all texts falls out. Empty for fewer than two pairs.
pub fn agreement(pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f64> {
    let n = pictures.len().min(texts.len());
    if n < 2 {
        return Vec::new();
    }
    let row = |i: usize| -> f64 {
        let others: Vec<f64> =
            (0..n).filter(|j| *j != i).map(|j| likeness(&pictures[i], &texts[j])).collect();
        likeness(&pictures[i], &texts[i]) - crate::stats::mean(&others)
    };
    (0..n).map(row).collect()
}

#[cfg(test)]
mod tests {
    use troupe_nn::noise::{Noise, Stream};

    use super::*;

    fn vectors(n: usize, step: u64) -> Vec<Vec<f32>> {
        let mut noise = Noise::new(9, Stream::Sampling, step);
        let mut all: Vec<Vec<f32>> = (0..n).map(|_| noise.normals(16)).collect();
        all.iter_mut().for_each(|v| crate::features::normalise(v));
        all
    }

    #[test]
    fn four_identical_pictures_have_no_diversity() {
        let one = vectors(1, 0);
        let four = vec![one[0].clone(); 4];
        assert!(diversity(&four).unwrap() < 1e-6);
        assert!((vendi(&four).unwrap() - 1.).abs() < 1e-6);
    }

    #[test]
    fn orthogonal_pictures_count_fully() {
        let unit = |i: usize| -> Vec<f32> { (0..4).map(|j| f32::from(i == j)).collect() };
        let four: Vec<Vec<f32>> = (0..4).map(unit).collect();
        assert!((vendi(&four).unwrap() - 4.).abs() < 1e-9);
        assert_eq!(diversity(&four), Some(1.));
        // Two pairs of twins: eigenvalues ½, ½, 0, 0, so two effective pictures.
        let twins = [unit(0), unit(0), unit(1), unit(1)];
        assert!((vendi(&twins).unwrap() - 2.).abs() < 1e-9);
    }

    #[test]
    fn training_pictures_are_copies_of_themselves() {
        let bands = Bands { copy: 0.9, lost: 0.5 };
        let references = vectors(5, 1);
        for picture in &references {
            assert!(against(picture, &references, bands).unwrap().is_copy);
        }
        for picture in vectors(5, 2) {
            let found = against(&picture, &references, bands).unwrap();
            assert!(!found.is_copy && found.max >= found.mean);
        }
        assert!(against(&references[0], &[], bands).is_none());
    }

    #[test]
    fn shuffled_pairs_agree_on_average_zero() {
        let (pictures, mut texts) = (vectors(60, 3), vectors(60, 4));
        // Unrelated texts: the mean of 60 differences with deviation about 1/√16 has a standard
        // error of 0.033.
        let mean = crate::stats::mean(&agreement(&pictures, &texts));
        assert!(mean.abs() < 0.1, "{mean}");
        texts.clone_from(&pictures);
        assert!(crate::stats::mean(&agreement(&pictures, &texts)) > 0.9);
        // All pairings of the same sets average to exactly zero over every cyclic shift.
        let mut total = 0.;
        for shift in 0..60 {
            texts.rotate_left(1);
            let values = agreement(&pictures, &texts);
            total += crate::stats::mean(&values);
            assert_eq!(values.len(), 60, "{shift}");
        }
        assert!(total.abs() < 1e-6, "{total}");
    }

    #[test]
    fn identity_is_the_nearest_centroid() {
        let (a, b) = (vectors(3, 5), vectors(3, 6));
        let centroids = [centroid(&a), centroid(&b)];
        assert_eq!(nearest(&a[0], &centroids), Some(0));
        assert_eq!(nearest(&b[1], &centroids), Some(1));
        assert_eq!(nearest(&a[0], &centroids[..1]), None);
    }
}
