//! A policy in closed form: data N(0, 0.4²) in 64 numbers, `v = k(t)·x + b`, only b is learned.

use candle_core::{DType, Device, Result, Tensor, Var};
use troupe_nn::{
    adamw::{AdamW, AdamWConfig},
    noise::{Noise, Stream},
};
use troupe_train::{
    error::TrainResult,
    grpo::{
        advantage::{GroupRewards, advantages},
        profile::{GrpoProfile, SamplerConfig},
        sampler::{NoiseKey, Policy, Schedule, Trajectories, rollout, window_start},
        update::{Learner, Scored, UpdateStats},
    },
};

/// Numbers of a picture.
pub(crate) const D: usize = 64;
/// Spread of the data.
const S0: f64 = 0.4;

/// The policy.
pub(crate) struct Toy {
    /// What is learned, (1, D).
    pub(crate) b: Var,
}

/// Slope of the exact velocity of N(0, s0²) data.
pub(crate) fn slope(t: f64, s0: f64) -> f64 {
    (t - (1. - t) * s0 * s0) / ((1. - t).powi(2) * s0 * s0 + t * t)
}

impl Policy for Toy {
    fn shape(&self) -> (usize, usize) {
        (1, D)
    }

    fn num_branches(&self, _: f64) -> usize {
        1
    }

    fn branch(&self, _: usize, xs: &Tensor, t: f64, _: usize) -> Result<Tensor> {
        xs.affine(slope(t, S0), 0.)?.broadcast_add(&self.b.reshape((1, 1, D))?)
    }

    fn combine(&self, _: f64, branches: &[Tensor]) -> Result<Tensor> {
        Ok(branches[0].clone())
    }
}

/// A toy run.
pub(crate) struct ToyRun {
    /// The policy.
    pub(crate) toy: Toy,
    /// Its optimiser.
    pub(crate) optimiser: AdamW,
    /// Its numbers.
    pub(crate) profile: GrpoProfile,
    /// Its seed.
    pub(crate) seed: u64,
    /// Adds the group's mean distance to every reward, with this weight.
    pub(crate) group_diversity: f64,
    /// Hands the advantages to other pictures of the epoch.
    pub(crate) shuffled: bool,
}

/// The toy's numbers: 4 groups of 8, 60 epochs, two steps an epoch.
pub(crate) fn toy_profile() -> GrpoProfile {
    let mut profile = GrpoProfile {
        epochs: 60,
        prompts_per_epoch: 4,
        images_per_prompt: 8,
        updates_per_epoch: 2,
        ..GrpoProfile::default()
    };
    profile.optim.lr = 0.03;
    profile.optim.max_grad_norm = 0.;
    profile.loss.std_mode = troupe_train::grpo::profile::StdMode::Group;
    profile
}

/// Rewards of latents (k, 1, D): `−mean((x − 0.6)²)`.
pub(crate) fn rewards(latents: &Tensor) -> Result<Vec<f64>> {
    let far = (latents - 0.6)?.sqr()?.flatten_from(1)?.mean(1)?;
    far.neg()?.to_dtype(DType::F64)?.to_vec1()
}

impl ToyRun {
    /// A fresh run.
    pub(crate) fn new(profile: GrpoProfile, seed: u64) -> Self {
        let b = Var::zeros((1, D), DType::F32, &Device::Cpu).expect("zeros");
        let config = AdamWConfig { beta2: 0.999, eps: 1e-8, ..AdamWConfig::default() };
        let lr = profile.optim.lr;
        let optimiser = AdamW::new([("b".to_owned(), b.clone())], config, |_| lr);
        Self { toy: Toy { b }, optimiser, profile, seed, group_diversity: 0., shuffled: false }
    }

    fn key(&self, epoch: usize) -> NoiseKey {
        let p = &self.profile;
        NoiseKey {
            seed: self.seed,
            epoch,
            num_prompts: p.prompts_per_epoch,
            group: p.images_per_prompt,
        }
    }

    /// Draws an epoch's groups.
    pub(crate) fn draw(&self, epoch: usize) -> Result<Vec<Vec<Trajectories>>> {
        let sampler = &self.profile.sampler;
        let schedule = Schedule::stochastic(sampler, window_start(&self.profile, self.seed, epoch));
        (0..self.profile.prompts_per_epoch)
            .map(|p| rollout(&self.toy, &schedule, sampler, &self.key(epoch), p, &Device::Cpu))
            .collect()
    }

    /// Rewards of one group's parts.
    pub(crate) fn score(&self, parts: &[Trajectories]) -> Result<GroupRewards> {
        let mut total = Vec::new();
        for part in parts {
            total.extend(rewards(&part.latents)?);
        }
        if self.group_diversity > 0. {
            let all = Tensor::cat(&parts.iter().map(|p| &p.latents).collect::<Vec<_>>(), 0)?;
            let spread = all.broadcast_sub(&all.mean_keepdim(0)?)?.sqr()?.mean_all()?;
            let spread = f64::from(spread.to_scalar::<f32>()?);
            total.iter_mut().for_each(|r| *r += self.group_diversity * spread);
        }
        Ok(GroupRewards { components: vec![(1., total.clone())], total })
    }

    /// One epoch.
    pub(crate) fn epoch(&mut self, epoch: usize) -> TrainResult<UpdateStats> {
        let groups = self.draw(epoch)?;
        let scores: Vec<GroupRewards> =
            groups.iter().map(|g| self.score(g)).collect::<Result<_>>()?;
        let loss = &self.profile.loss;
        let mut all = advantages(&scores, loss.std_mode, loss.adv_clamp);
        if self.shuffled {
            let mut flat: Vec<f64> = all.concat();
            Noise::new(self.seed, Stream::Dropout, epoch as u64).shuffle(&mut flat);
            all = flat.chunks(self.profile.images_per_prompt).map(<[f64]>::to_vec).collect();
        }
        let scored: Vec<Scored> =
            groups.into_iter().zip(all).flat_map(|(g, a)| scored(g, &a)).collect();
        let profile = self.profile.clone();
        let mut learner =
            Learner { optimiser: &mut self.optimiser, average: None, profile: &profile };
        learner.learn(&self.toy, &scored)
    }

    /// Mean reward and its standard error over 32 noise-free pictures, the same every time.
    pub(crate) fn noise_free(&self) -> Result<(f64, f64)> {
        let sampler = SamplerConfig {
            eval_points: self.profile.sampler.points,
            pictures_per_pass: 32,
            ..self.profile.sampler.clone()
        };
        let key = NoiseKey { seed: 99, epoch: 0, num_prompts: 1, group: 32 };
        let schedule = Schedule::deterministic(&sampler);
        let parts = rollout(&self.toy, &schedule, &sampler, &key, 0, &Device::Cpu)?;
        let rewards = rewards(&parts[0].latents)?;
        let (mean, std) = troupe_train::grpo::advantage::mean_std(&rewards);
        Ok((mean, std / (rewards.len() as f64).sqrt()))
    }
}

/// Pairs a group's parts with its advantages.
pub(crate) fn scored(parts: Vec<Trajectories>, advantages: &[f64]) -> Vec<Scored> {
    let pair = |drawn: Trajectories| {
        let k = drawn.latents.dim(0).expect("pictures");
        let advantages = advantages[drawn.first..drawn.first + k].to_vec();
        Scored { drawn, advantages, reference: Vec::new() }
    };
    parts.into_iter().map(pair).collect()
}
