//! Counter-based noise: every number is a function of (seed, stream, step), so a picture or a
//! training run can be made again, resumed or run in another order with the same result.
//!
//! ChaCha8 keyed by the seed; the stream selects ChaCha's stream id, the step its word position.

use candle_core::{Device, Result, Shape, Tensor};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Independent uses of one seed. The numbers are part of the result of every seed: never reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Initial noise of a picture.
    InitialNoise,
    /// Noise added within a stochastic sampling step.
    StepNoise,
    /// Noise of the picture codec's posterior.
    Posterior,
    /// Choice of text tokens.
    Tokens,
    /// Noise mixed into training targets.
    TrainingNoise,
    /// Times drawn in training.
    TrainingTimes,
    /// Order and choice of training samples.
    Sampling,
    /// Initial values of new weights.
    Weights,
    /// Dropped conditions in training.
    Dropout,
    /// Placement of stochastic windows.
    Window,
}

impl Stream {
    fn id(self) -> u64 {
        match self {
            Self::InitialNoise => 1,
            Self::StepNoise => 2,
            Self::Posterior => 3,
            Self::Tokens => 4,
            Self::TrainingNoise => 5,
            Self::TrainingTimes => 6,
            Self::Sampling => 7,
            Self::Weights => 8,
            Self::Dropout => 9,
            Self::Window => 10,
        }
    }
}

/// Words reserved for one step of a stream: 2³⁴ of 4 bytes.
const WORDS_PER_STEP: u32 = 34;

/// A generator positioned at (seed, stream, step).
#[derive(Debug, Clone)]
pub struct Noise(ChaCha8Rng);

impl Noise {
    /// Positions a generator. Two calls with equal arguments give equal numbers.
    pub fn new(seed: u64, stream: Stream, step: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream.id());
        rng.set_word_pos(u128::from(step) << WORDS_PER_STEP);
        Self(rng)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 when n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// A pair of independent standard normal numbers (Box–Muller).
    fn normal_pair(&mut self) -> (f64, f64) {
        let radius = (-2. * (1. - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        (radius * angle.cos(), radius * angle.sin())
    }

    /// One standard normal number.
    pub fn normal(&mut self) -> f64 {
        self.normal_pair().0
    }

    /// `n` standard normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(n + 1);
        while values.len() < n {
            let (a, b) = self.normal_pair();
            values.push(a as f32);
            values.push(b as f32);
        }
        values.truncate(n);
        values
    }

    /// A tensor of standard normal numbers, f32.
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn normal_tensor(&mut self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        Tensor::from_vec(self.normals(shape.elem_count()), shape, device)
    }

    /// Puts `items` into a random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_key_same_numbers_other_key_others() {
        let a = Noise::new(7, Stream::InitialNoise, 3).normals(5);
        assert_eq!(a, Noise::new(7, Stream::InitialNoise, 3).normals(5));
        assert_ne!(a, Noise::new(8, Stream::InitialNoise, 3).normals(5));
        assert_ne!(a, Noise::new(7, Stream::StepNoise, 3).normals(5));
        assert_ne!(a, Noise::new(7, Stream::InitialNoise, 4).normals(5));
    }

    #[test]
    fn normals_have_unit_variance_and_no_correlation() {
        // Standard error of the mean of 40 000 values is 0.005, of the variance 0.007.
        let xs = Noise::new(1, Stream::Weights, 0).normals(40_000);
        let mean = xs.iter().map(|x| f64::from(*x)).sum::<f64>() / xs.len() as f64;
        let var = xs.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / xs.len() as f64;
        let lag = xs.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / xs.len() as f64;
        assert!(mean.abs() < 0.02 && (var - 1.).abs() < 0.03 && lag.abs() < 0.02);
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..50).collect();
        Noise::new(2, Stream::Sampling, 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
