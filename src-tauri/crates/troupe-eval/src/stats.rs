//! Means over characters, and how sure they are.
//!
//! A metric is the mean over characters of each character's mean. Its interval comes from the
//! bootstrap: characters are drawn with replacement, then items within each drawn character. Noise
//! is counter-based, so the same values and seed give the same interval everywhere.

use serde::{Deserialize, Serialize};
use troupe_nn::noise::{Noise, Stream};

/// Resamples behind every interval.
pub const NUM_RESAMPLES: usize = 10_000;
/// Seed of all intervals.
pub const BOOTSTRAP_SEED: u64 = 0x5eed_0b00;
/// Share of resamples below and above an interval.
const TAIL: f64 = 0.025;

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over characters of the means of their items.
    pub mean: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
    /// Items behind it.
    pub n_items: usize,
    /// Characters behind it.
    pub n_characters: usize,
}

/// Mean of some values; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The estimate for values grouped by character. Empty groups do not count; `None` without values.
pub fn estimate(groups: &[Vec<f64>], seed: u64, num_resamples: usize) -> Option<Estimate> {
    let groups: Vec<&Vec<f64>> = groups.iter().filter(|group| !group.is_empty()).collect();
    if groups.is_empty() {
        return None;
    }
    let means: Vec<f64> = groups.iter().map(|group| mean(group)).collect();
    let mut resampled: Vec<f64> =
        (0..num_resamples).map(|index| resample(&groups, seed, index as u64)).collect();
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| -> f64 {
        let last = resampled.len().saturating_sub(1);
        let index = (share * last as f64).round() as usize;
        resampled.get(index).copied().unwrap_or_else(|| mean(&means))
    };
    Some(Estimate {
        mean: mean(&means),
        ci_low: at(TAIL),
        ci_high: at(1. - TAIL),
        n_items: groups.iter().map(|group| group.len()).sum(),
        n_characters: groups.len(),
    })
}

fn resample(groups: &[&Vec<f64>], seed: u64, index: u64) -> f64 {
    let mut noise = Noise::new(seed, Stream::Sampling, index);
    let mut total = 0.;
    for _ in 0..groups.len() {
        let group = groups[noise.below(groups.len())];
        let sum: f64 = (0..group.len()).map(|_| group[noise.below(group.len())]).sum();
        total += sum / group.len() as f64;
    }
    total / groups.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: usize) -> Vec<f64> {
        Noise::new(3, Stream::Sampling, 0).normals(n).into_iter().map(f64::from).collect()
    }

    #[test]
    fn intervals_shrink_as_one_over_root_n() {
        // One character with n standard normal values: half-width ≈ 1.96/√n, so 16 times the items
        // give a quarter of the width (the sample deviations differ by a few percent).
        let width = |n| {
            let e = estimate(&[group(n)], 1, 4000).unwrap();
            e.ci_high - e.ci_low
        };
        let ratio = width(100) / width(1600);
        assert!((3.2..4.8).contains(&ratio), "{ratio}");
        assert!((width(1600) - 2. * 1.96 / 40.).abs() < 0.012, "{}", width(1600));
    }

    #[test]
    fn seeds_decide() {
        let groups = [group(30), group(12)];
        let one = estimate(&groups, 5, 500).unwrap();
        assert_eq!(one, estimate(&groups, 5, 500).unwrap());
        let other = estimate(&groups, 6, 500).unwrap();
        assert_eq!(one.mean, other.mean);
        assert_ne!((one.ci_low, one.ci_high), (other.ci_low, other.ci_high));
    }

    #[test]
    fn characters_count_alike() {
        // Means 1 and 0: the macro mean is 1/2 although 3 of 4 items are 1.
        let e = estimate(&[vec![1., 1., 1.], vec![0.], vec![]], 1, 200).unwrap();
        assert_eq!((e.mean, e.n_items, e.n_characters), (0.5, 4, 2));
        assert_eq!((e.ci_low, e.ci_high), (0., 1.), "either character may be drawn twice");
        assert!(estimate(&[vec![]], 1, 10).is_none());
    }
}
