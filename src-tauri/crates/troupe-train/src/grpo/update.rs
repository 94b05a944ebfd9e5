//! Optimiser steps of an epoch.
//!
//! One recorded step of the pictures of one pass is run anew, forward and backward, before the next
//! one is touched, so the memory of an epoch is that of one pass. With guidance each branch may be
//! run anew as well: first both without gradient, then each alone against the gradient of the loss
//! with respect to its output, which takes the memory of one branch.

use candle_core::{Tensor, Var, backprop::GradStore};
use troupe_nn::adamw::{AdamW, Ema};

use super::{
    loss::{StepStats, step_objective},
    profile::GrpoProfile,
    sampler::{Policy, Record, Trajectories},
};
use crate::error::TrainResult;

/// Trajectories with their advantages.
#[derive(Debug, Clone)]
pub struct Scored {
    /// What was drawn.
    pub drawn: Trajectories,
    /// Advantages, one a picture.
    pub advantages: Vec<f64>,
    /// Stage 1's means of every recorded step, where a divergence is measured.
    pub reference: Vec<Tensor>,
}

/// What an epoch's optimiser steps came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateStats {
    /// Mean of the objective.
    pub loss: f64,
    /// Share of terms clipped below.
    pub clip_low: f64,
    /// Share of terms clipped above.
    pub clip_high: f64,
    /// Mean ratio.
    pub ratio_mean: f64,
    /// Standard deviation of the ratios.
    pub ratio_std: f64,
    /// Largest distance of a ratio from 1.
    pub ratio_max: f64,
    /// Half of the mean squared log-ratio.
    pub approx_kl: f64,
    /// Mean divergence from stage 1, where it was measured.
    pub reference_kl: Option<f64>,
    /// Gradient norms before clipping, one an optimiser step.
    pub grad_norms: Vec<f64>,
    /// Largest absolute log-ratio of the first optimiser step, when the policy is still the one that
    /// drew: 0 unless drawing and learning disagree.
    pub first_log_ratio: f64,
}

impl UpdateStats {
    fn of(all: &[StepStats], grad_norms: Vec<f64>, first: f64) -> Self {
        let ratios: Vec<f64> = all.iter().flat_map(|s| s.ratios.iter().copied()).collect();
        let logs = all.iter().flat_map(|s| &s.log_ratios);
        let far: Vec<f64> = all.iter().flat_map(|s| s.divergences.iter().copied()).collect();
        let n = ratios.len().max(1) as f64;
        let (ratio_mean, ratio_std) = super::advantage::mean_std(&ratios);
        let count = |of: fn(&StepStats) -> usize| all.iter().map(of).sum::<usize>() as f64 / n;
        Self {
            loss: all.iter().map(|s| s.loss).sum::<f64>() / n,
            clip_low: count(|s| s.clipped.0),
            clip_high: count(|s| s.clipped.1),
            ratio_mean,
            ratio_std,
            ratio_max: ratios.iter().map(|r| (r - 1.).abs()).fold(0., f64::max),
            approx_kl: logs.map(|l| 0.5 * l * l).sum::<f64>() / n,
            reference_kl: (!far.is_empty()).then(|| far.iter().sum::<f64>() / far.len() as f64),
            grad_norms,
            first_log_ratio: first,
        }
    }
}

/// Gradients that add up, for some variables.
#[derive(Debug, Default)]
pub struct Gradients(Option<GradStore>);

impl Gradients {
    /// Adds the gradients of `scalar` with respect to `vars`.
    ///
    /// # Errors
    /// When a computation fails.
    pub fn add<'a>(
        &mut self,
        scalar: &Tensor,
        vars: impl Iterator<Item = &'a Var>,
    ) -> TrainResult<()> {
        let more = scalar.backward()?;
        let Some(sum) = &mut self.0 else {
            self.0 = Some(more);
            return Ok(());
        };
        for var in vars {
            let Some(new) = more.get(var) else { continue };
            let added = match sum.get(var) {
                Some(old) => (old + new)?,
                None => new.clone(),
            };
            sum.insert(var, added);
        }
        Ok(())
    }

    /// What was added up, if anything was.
    pub fn sum(&self) -> Option<&GradStore> {
        self.0.as_ref()
    }
}

/// What changes weights.
pub struct Learner<'a> {
    /// Moments and variables.
    pub optimiser: &'a mut AdamW,
    /// Moving averages, if wanted.
    pub average: Option<&'a mut Ema>,
    /// The run's numbers.
    pub profile: &'a GrpoProfile,
}

impl Learner<'_> {
    /// Takes the epoch's optimiser steps, groups in the order drawn.
    ///
    /// # Errors
    /// When the network fails.
    pub fn learn(&mut self, policy: &dyn Policy, scored: &[Scored]) -> TrainResult<UpdateStats> {
        let (mut all, mut norms, mut first) = (Vec::new(), Vec::new(), 0f64);
        for (index, half) in halves(scored, self.profile.updates_per_epoch).iter().enumerate() {
            let (grads, stats) = self.gradients(policy, half)?;
            if index == 0 {
                let logs = stats.iter().flat_map(|s| &s.log_ratios);
                first = logs.fold(0., |max: f64, l| max.max(l.abs()));
            }
            norms.push(self.step(&grads, stats.iter().map(|s| s.ratios.len()).sum())?);
            all.extend(stats);
        }
        Ok(UpdateStats::of(&all, norms, first))
    }

    /// Sum of the gradients of all terms, not divided by their number, with what happened.
    ///
    /// # Errors
    /// When the network fails.
    pub fn gradients(
        &self,
        policy: &dyn Policy,
        scored: &[&Scored],
    ) -> TrainResult<(Gradients, Vec<StepStats>)> {
        let (mut grads, mut all) = (Gradients::default(), Vec::new());
        for part in scored {
            for (index, record) in part.drawn.records.iter().enumerate() {
                let is_idle = part.advantages.iter().all(|a| *a == 0.);
                if is_idle && part.reference.is_empty() {
                    all.push(StepStats {
                        ratios: vec![1.; part.advantages.len()],
                        log_ratios: vec![0.; part.advantages.len()],
                        idle: part.advantages.len(),
                        ..StepStats::default()
                    });
                    continue;
                }
                let reference = part.reference.get(index);
                all.push(self.term(policy, part, record, reference, &mut grads)?);
            }
        }
        Ok((grads, all))
    }

    /// Adds the gradient of one recorded step.
    fn term(
        &self,
        policy: &dyn Policy,
        part: &Scored,
        record: &Record,
        reference: Option<&Tensor>,
        grads: &mut Gradients,
    ) -> TrainResult<StepStats> {
        let (prompt, t) = (part.drawn.prompt, record.step.t);
        let objective = |velocity: &Tensor| {
            let mean = record.step.mean(&record.before, velocity)?;
            step_objective(&self.profile.loss, record, &mean, reference, &part.advantages)
        };
        let vars = || self.optimiser.vars().map(|(_, var)| var);
        if !self.profile.optim.recompute || policy.num_branches(t) == 1 {
            let (stats, scalar) = objective(&policy.velocity(prompt, &record.before, t)?)?;
            if let Some(scalar) = scalar {
                grads.add(&scalar, vars())?;
            }
            return Ok(stats);
        }
        let leaves: Vec<Var> = (0..policy.num_branches(t))
            .map(|b| Var::from_tensor(&policy.branch(prompt, &record.before, t, b)?.detach()))
            .collect::<Result<_, _>>()?;
        let values: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
        let (stats, scalar) = objective(&policy.combine(t, &values)?)?;
        let Some(scalar) = scalar else { return Ok(stats) };
        let outer = scalar.backward()?;
        for (branch, leaf) in leaves.iter().enumerate() {
            // A detached branch has no gradient and is not run again.
            let Some(grad) = outer.get(leaf) else { continue };
            let velocity = policy.branch(prompt, &record.before, t, branch)?;
            grads.add(&(velocity * grad.detach())?.sum_all()?, vars())?;
        }
        Ok(stats)
    }

    /// One optimiser step with the mean over `terms`; returns the norm before clipping.
    fn step(&mut self, grads: &Gradients, terms: usize) -> TrainResult<f64> {
        let Some(sum) = grads.sum() else { return Ok(0.) };
        let mean = 1. / terms.max(1) as f64;
        let norm = self.optimiser.grad_norm(sum)? * mean;
        let limit = self.profile.optim.max_grad_norm;
        let clip = if limit > 0. { (limit / (norm + 1e-6)).min(1.) } else { 1. };
        if norm.is_finite() {
            self.optimiser.step(sum, 1., mean * clip)?;
            if let Some(average) = &mut self.average {
                average.update(self.optimiser.vars(), self.optimiser.num_steps())?;
            }
        }
        Ok(norm)
    }
}

/// Splits whole groups into `n` parts of about the same number, in order.
fn halves(scored: &[Scored], n: usize) -> Vec<Vec<&Scored>> {
    let mut groups: Vec<Vec<&Scored>> = Vec::new();
    for part in scored {
        match groups.last_mut() {
            Some(group) if part.drawn.first > 0 => group.push(part),
            _ => groups.push(vec![part]),
        }
    }
    let size = groups.len().div_ceil(n.max(1)).max(1);
    groups.chunks(size).map(|chunk| chunk.concat()).collect()
}
