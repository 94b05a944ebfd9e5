//! Rollout: trajectories that are deterministic but for a short stochastic window.
//!
//! Only the steps of the window have densities, so only they are kept and learned from. All noise
//! follows from (seed, epoch, prompt, picture, step), so a resumed run draws the same pictures.
//!
//! Sources: Flow-GRPO (arXiv:2505.05470) for the SDE rule and the window of its fast variant;
//! CPS (arXiv:2509.05952); MixGRPO (arXiv:2507.21802) for shared noise and prefixes.
//! Shapes: k = pictures, g = latents of a picture, D = numbers of a latent.

use candle_core::{Device, Result, Tensor, bail};
use troupe_model::flow::{FlowStep, time_grid};
use troupe_nn::noise::{Noise, Stream};

use super::profile::{GrpoProfile, SamplerConfig};

/// What draws: a velocity for several pictures of one prompt at one time.
///
/// A guided policy has two branches, with and without the text; others have one. Gradients flow
/// from a branch to the weights and through [`combine`](Self::combine).
pub trait Policy {
    /// Latents of a picture and numbers of a latent, (g, D).
    fn shape(&self) -> (usize, usize);

    /// Branches at time `t`: 1, or 2 where guidance applies.
    fn num_branches(&self, t: f64) -> usize;

    /// Velocities (k, g, D) in f32 of one branch; 0 is the conditional one.
    ///
    /// # Errors
    /// When the network fails.
    fn branch(&self, prompt: usize, xs: &Tensor, t: f64, branch: usize) -> Result<Tensor>;

    /// The velocities (k, g, D) that the branches come to.
    ///
    /// # Errors
    /// When shapes differ.
    fn combine(&self, t: f64, branches: &[Tensor]) -> Result<Tensor>;

    /// Velocities (k, g, D) with everything that applies at `t`.
    ///
    /// # Errors
    /// When the network fails.
    fn velocity(&self, prompt: usize, xs: &Tensor, t: f64) -> Result<Tensor> {
        let branches: Vec<Tensor> = (0..self.num_branches(t))
            .map(|branch| self.branch(prompt, xs, t, branch))
            .collect::<Result<_>>()?;
        self.combine(t, &branches)
    }
}

/// Steps of a trajectory, with the noise level of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// All steps in order; those outside the window have level 0.
    pub steps: Vec<FlowStep>,
    /// First step of the window.
    pub start: usize,
    /// Steps of the window; 0 makes everything deterministic.
    pub size: usize,
}

impl Schedule {
    /// The steps of a rollout whose window starts at `start`.
    pub fn stochastic(config: &SamplerConfig, start: usize) -> Self {
        let times = time_grid(config.points, config.shift);
        let window = start..start + config.window;
        let step = |(index, pair): (usize, &[f64])| FlowStep {
            t: pair[0],
            t_next: pair[1],
            t_1: times[1],
            noise_level: if window.contains(&index) { config.noise } else { 0. },
            rule: config.rule,
        };
        let steps = times.windows(2).enumerate().map(step).collect();
        Self { steps, start, size: config.window }
    }

    /// The noise-free steps of a trial.
    pub fn deterministic(config: &SamplerConfig) -> Self {
        let trial = SamplerConfig { points: config.eval_points, noise: 0., ..config.clone() };
        Self { size: 0, ..Self::stochastic(&trial, 0) }
    }

    fn is_stochastic(&self, index: usize) -> bool {
        (self.start..self.start + self.size).contains(&index)
    }
}

/// Where the window starts in an epoch: drawn anew for every epoch, the same for all its groups.
pub fn window_start(profile: &GrpoProfile, seed: u64, epoch: usize) -> usize {
    let (low, high) = profile.window_starts();
    low + Noise::new(seed, Stream::Window, epoch as u64).below(high - low + 1)
}

/// A stochastic step of several pictures, as it was taken.
#[derive(Debug, Clone)]
pub struct Record {
    /// The step.
    pub step: FlowStep,
    /// States before, (k, g, D).
    pub before: Tensor,
    /// States after, (k, g, D).
    pub after: Tensor,
    /// Means of the transition under the policy that took it, (k, g, D).
    pub mean: Tensor,
}

/// Pictures that ran through the network together, with the steps to learn from.
#[derive(Debug, Clone)]
pub struct Trajectories {
    /// Index of the prompt.
    pub prompt: usize,
    /// First of these pictures within the group.
    pub first: usize,
    /// Steps of the window, in order.
    pub records: Vec<Record>,
    /// Clean latents, (k, g, D).
    pub latents: Tensor,
}

/// Names the noise of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, counted from 0.
    pub epoch: usize,
    /// Prompts there are.
    pub num_prompts: usize,
    /// Pictures of a group.
    pub group: usize,
}

impl NoiseKey {
    /// Noise (g, D) of a picture: its start with `step` 0, its `step`-th step otherwise.
    fn draw(
        &self,
        at: (usize, usize, usize),
        shape: (usize, usize),
        on: &Device,
    ) -> Result<Tensor> {
        let (prompt, picture, step) = at;
        /// More than the steps of any trajectory.
        const STEPS: usize = 1024;
        let stream = if step == 0 { Stream::InitialNoise } else { Stream::StepNoise };
        let place = (self.epoch * self.num_prompts + prompt) * self.group + picture;
        Noise::new(self.seed, stream, (place * STEPS + step) as u64).normal_tensor(shape, on)
    }
}

/// Draws the pictures of a group, `per_pass` of them at a time.
///
/// # Errors
/// When the network fails.
pub fn rollout(
    policy: &dyn Policy,
    schedule: &Schedule,
    config: &SamplerConfig,
    key: &NoiseKey,
    prompt: usize,
    on: &Device,
) -> Result<Vec<Trajectories>> {
    let (g, d) = policy.shape();
    let start = |picture: usize| key.draw((prompt, picture, 0), (g, d), on)?.unsqueeze(0);
    let prefix = if config.share_initial_noise && schedule.size > 0 {
        let mut xs = start(0)?; // (1, g, D)
        for step in &schedule.steps[..schedule.start] {
            xs = step.next(&xs, &policy.velocity(prompt, &xs, step.t)?, None)?.detach();
        }
        Some(xs)
    } else {
        None
    };
    let mut parts = Vec::new();
    let mut first = 0;
    while first < key.group {
        let size = config.pictures_per_pass.min(key.group - first);
        let (xs, from) = match &prefix {
            Some(xs) => (xs.repeat((size, 1, 1))?, schedule.start),
            None => {
                let starts: Vec<Tensor> =
                    (first..first + size).map(start).collect::<Result<_>>()?;
                (Tensor::cat(&starts, 0)?, 0)
            }
        };
        parts.push(run(policy, schedule, key, (prompt, first, from), xs)?);
        first += size;
    }
    Ok(parts)
}

/// Steps pictures `first..` of a prompt from step `from` on.
fn run(
    policy: &dyn Policy,
    schedule: &Schedule,
    key: &NoiseKey,
    (prompt, first, from): (usize, usize, usize),
    mut xs: Tensor,
) -> Result<Trajectories> {
    let (k, g, d) = xs.dims3()?;
    let mut records = Vec::with_capacity(schedule.size);
    for (index, step) in schedule.steps.iter().enumerate().skip(from) {
        let velocity = policy.velocity(prompt, &xs, step.t)?.detach();
        if !schedule.is_stochastic(index) {
            xs = step.next(&xs, &velocity, None)?;
            continue;
        }
        let noises: Vec<Tensor> = (first..first + k)
            .map(|picture| key.draw((prompt, picture, index + 1), (g, d), xs.device()))
            .collect::<Result<_>>()?;
        let after = step.next(&xs, &velocity, Some(&Tensor::stack(&noises, 0)?))?;
        let mean = step.mean(&xs, &velocity)?;
        records.push(Record { step: *step, before: xs, after: after.clone(), mean });
        xs = after;
    }
    if records.len() != schedule.size {
        bail!("a trajectory of {} steps has no window at {}", schedule.steps.len(), schedule.start)
    }
    Ok(Trajectories { prompt, first, records, latents: xs })
}
