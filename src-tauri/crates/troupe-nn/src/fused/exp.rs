//! The exponential function in a form that the compiler turns into vector code.

use std::f32::consts::LOG2_E;

/// Adding it rounds to an integer, which then lies in the low bits.
const ROUND: f32 = 12_582_912.; // 1.5 · 2²³
/// ln 2 in two parts, the first with few bits so that multiples of it are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Outside of it the result is the nearest normal number.
const RANGE: (f32, f32) = (-87.3, 88.3);

/// eˣ within 2 units in the last place; at least the smallest and at most about the largest normal
/// number. NaN stays NaN.
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(RANGE.0, RANGE.1);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW; // within ± ln 2 / 2
    // Taylor's series: the first term left out is below 1e-8.
    let series = 1. / 5040.;
    let series = series * r + 1. / 720.;
    let series = series * r + 1. / 120.;
    let series = series * r + 1. / 24.;
    let series = series * r + 1. / 6.;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    series * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// `1 / (1 + e⁻ˣ)`.
pub(super) fn sigmoid(x: f32) -> f32 {
    1. / (1. + exp(-x))
}

/// Partial sums side by side: vector code, and better rounded than one sum.
const LANES: usize = 16;

/// Sum of values.
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + tail
}

/// Largest value; −∞ of none.
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.into_iter().fold(tail, larger)
}

/// Σ e^(x − shift).
pub(super) fn sum_exp(values: &[f32], shift: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|x| exp(x - shift)).sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += exp(x - shift));
    }
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_exponential() {
        let mut worst = 0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / want - 1.).abs());
        }
        assert!(worst < 2. * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!(exp(0.), 1.);
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_value() {
        for len in [0, 1, 15, 16, 17, 50] {
            let values: Vec<f32> = (0..len).map(|i| ((i * 7) % 50) as f32 / 50.).collect();
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-4;
            assert!(near(sum(&values), values.iter().sum()));
            assert!(near(sum_exp(&values, 0.5), values.iter().map(|x| (x - 0.5).exp()).sum()));
            assert_eq!(max(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
