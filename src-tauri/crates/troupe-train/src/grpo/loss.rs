//! Ratios, clipping and divergences of stochastic steps.
//!
//! The log-density of a step is the mean over all numbers of a picture, without constants, so one
//! scalar a picture and step: `mean[−(x' − μ)²] / 2s²`. Differences of log-densities are never
//! taken from two separately reduced means: the clip range is about 1e-5.
//!
//! Sources: Flow-GRPO (arXiv:2505.05470, sec. 4.2); GRPO-Guard (arXiv:2510.22319).
//! Shapes: k = pictures, g = latents of a picture, D = numbers of a latent.

use candle_core::{DType, Result, Tensor};

use super::{
    profile::{Clip, KlForm, LossConfig},
    sampler::Record,
};

/// Size of a picture for which the published clip range was found.
const PUBLISHED_NUMBERS: f64 = 65_536.;
/// The published clip range.
const PUBLISHED_CLIP: f64 = 1e-5;

/// Clip range for pictures of `numbers` numbers: the spread of a mean over n numbers falls with √n.
pub fn clip_range(clip: Clip, numbers: usize) -> f64 {
    match clip {
        Clip::Fixed(range) => range,
        Clip::Auto(_) => PUBLISHED_CLIP * (PUBLISHED_NUMBERS / numbers.max(1) as f64).sqrt(),
    }
}

/// On which side a ratio is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipped {
    /// Below the range, with a negative advantage.
    Low,
    /// Above the range, with a positive advantage.
    High,
}

/// Whether the objective `min(A·r, A·clip(r))` is flat at this ratio, and on which side.
pub fn clipped(advantage: f64, ratio: f64, range: f64) -> Option<Clipped> {
    if advantage > 0. && ratio > 1. + range {
        Some(Clipped::High)
    } else if advantage < 0. && ratio < 1. - range {
        Some(Clipped::Low)
    } else {
        None
    }
}

/// Mean over a picture's numbers, (k), in f64: an f32 sum of 10⁵ numbers errs by the clip range.
fn picture_mean(xs: &Tensor) -> Result<Tensor> {
    xs.to_dtype(DType::F64)?.flatten_from(1)?.mean(1)
}

/// Log-ratios (k) of a recorded step under new means (k, g, D), exactly 0 where they are the old
/// ones: `mean[δ·(2x' − μ_new − μ_old)] / 2s²` with δ = μ_new − μ_old. Gradients flow to the means.
///
/// # Errors
/// When shapes differ.
pub fn log_ratios(record: &Record, mean: &Tensor) -> Result<Tensor> {
    let std = record.step.coefficients().std;
    let delta = (mean - &record.mean)?;
    let rest = ((record.after.affine(2., 0.)? - mean)? - &record.mean)?;
    picture_mean(&(delta.to_dtype(DType::F64)? * rest.to_dtype(DType::F64)?)?)?
        .affine(0.5 / (std * std), 0.)
}

/// Centred log-ratios (k): `mean[(x' − μ_old)·δ] / s`, without the shift to the left by which plain
/// ratios let positive advantages run.
///
/// # Errors
/// When shapes differ.
pub fn guarded_log_ratios(record: &Record, mean: &Tensor) -> Result<Tensor> {
    let std = record.step.coefficients().std;
    let noise = (&record.after - &record.mean)?;
    picture_mean(&(noise * (mean - &record.mean)?)?)?.affine(1. / std, 0.)
}

/// Divergence (k) of the transition from that of other means, per number.
///
/// Exact: `mean[(μ − μ_ref)²] / 2s²` with s² = σ²·|dt|. The reference's form divides by 2σ².
///
/// # Errors
/// When shapes differ.
pub fn divergences(record: &Record, mean: &Tensor, other: &Tensor, form: KlForm) -> Result<Tensor> {
    let variance = record.step.coefficients().std.powi(2);
    let scale = match form {
        KlForm::Exact => 0.5 / variance,
        KlForm::Reference => 0.5 * (record.step.t - record.step.t_next) / variance,
    };
    picture_mean(&(mean - other)?.sqr()?)?.affine(scale, 0.)
}

/// What one step of several pictures says about the policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepStats {
    /// Ratios by which terms are clipped, one a picture.
    pub ratios: Vec<f64>,
    /// Plain log-ratios, one a picture.
    pub log_ratios: Vec<f64>,
    /// Divergences from stage 1, one a picture, where they were asked for.
    pub divergences: Vec<f64>,
    /// Terms clipped below and above.
    pub clipped: (usize, usize),
    /// Terms without an advantage.
    pub idle: usize,
    /// Sum of the objective's terms, to be minimised.
    pub loss: f64,
}

/// The objective of a recorded step.
///
/// `reference` holds stage 1's means where a divergence counts. Returns what happened and a scalar
/// whose gradient, divided by the number of all terms, is the objective's; none when every term is
/// flat, so that no backward pass is needed.
///
/// # Errors
/// When shapes differ.
pub fn step_objective(
    config: &LossConfig,
    record: &Record,
    mean: &Tensor,
    reference: Option<&Tensor>,
    advantages: &[f64],
) -> Result<(StepStats, Option<Tensor>)> {
    let (_, g, d) = mean.dims3()?;
    let range = clip_range(config.clip, g * d);
    let plain = log_ratios(record, mean)?;
    let used = if config.guard { guarded_log_ratios(record, mean)? } else { plain.clone() };
    let scale = if config.guard { 1. / (record.step.t - record.step.t_next) } else { 1. };
    let mut stats = StepStats {
        log_ratios: plain.detach().to_vec1()?,
        ratios: used.detach().to_vec1::<f64>()?.into_iter().map(f64::exp).collect(),
        ..StepStats::default()
    };
    let mut weights = vec![0.; advantages.len()];
    for (slot, (a, ratio)) in advantages.iter().zip(&stats.ratios).enumerate() {
        let limited = ratio.clamp(1. - range, 1. + range);
        stats.loss += (-a * ratio).max(-a * limited) * scale;
        match clipped(*a, *ratio, range) {
            Some(Clipped::Low) => stats.clipped.0 += 1,
            Some(Clipped::High) => stats.clipped.1 += 1,
            None if *a == 0. => stats.idle += 1,
            // The gradient of −A·r is −A·r times that of the log-ratio.
            None => weights[slot] = -a * ratio * scale,
        }
    }
    let is_flat = weights.iter().all(|w| *w == 0.);
    let k = weights.len();
    let mut total = None;
    if !is_flat {
        total = Some((used * Tensor::from_vec(weights, k, mean.device())?)?.sum_all()?);
    }
    if let Some(reference) = reference {
        let far = divergences(record, mean, reference, config.kl_form)?;
        stats.divergences = far.detach().to_vec1()?;
        stats.loss += config.beta * stats.divergences.iter().sum::<f64>();
        if config.beta > 0. {
            let far = far.sum_all()?.affine(config.beta, 0.)?;
            total = Some(match total {
                Some(total) => (total + far)?,
                None => far,
            });
        }
    }
    Ok((stats, total))
}
