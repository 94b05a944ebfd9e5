//! Flow sampling: time grid, guidance, deterministic and stochastic steps.
//!
//! Convention: `x_t = (1 − t)·x₀ + t·ε`, t = 1 is noise; the network predicts `v = ε − x₀`.
//!
//! Sources: BAGEL, `modeling/bagel/bagel.py` (`generate_image`, `_forward_flow`); Flow-GRPO
//! (arXiv:2505.05470) for the SDE rule; CPS (arXiv:2509.05952) for the coefficients-preserving rule.
//! Shapes: g = latents, D = numbers in a latent token.

use std::ops::ControlFlow;

use candle_core::{D, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::{
    config::{GenerationDefaults, RenormType},
    context::{Context, FlowQuery, Reader},
    unified::LatentInput,
};

/// Keeps divisions by a norm finite; the reference's constant.
const NORM_EPS: f64 = 1e-8;

/// Times of a sampling run, `num_timesteps` values falling from 1 to 0.
///
/// There is one network evaluation fewer than there are times.
pub fn time_grid(num_timesteps: usize, shift: f64) -> Vec<f64> {
    let last = num_timesteps.saturating_sub(1).max(1) as f64;
    (0..num_timesteps)
        .map(|i| {
            let u = 1. - i as f64 / last;
            shift * u / (1. + (shift - 1.) * u)
        })
        .collect()
}

/// Guidance by contexts that lack the text or the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    /// Text scale; at most 1 switches all guidance off.
    pub text_scale: f64,
    /// Image scale; at most 1 switches image guidance off.
    pub img_scale: f64,
    /// Norm that the result may not exceed.
    pub renorm_type: RenormType,
    /// Lower bound of the scaling towards that norm.
    pub renorm_min: f64,
}

impl Guidance {
    /// Whether the text-free context is evaluated.
    pub fn is_active(&self) -> bool {
        self.text_scale > 1.
    }

    /// Whether the picture-free context is evaluated.
    pub fn uses_image(&self) -> bool {
        self.is_active() && self.img_scale > 1.
    }

    /// Combines velocities (g, D): conditional, without text, without picture.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn combine(
        &self,
        conditional: &Tensor,
        without_text: &Tensor,
        without_image: Option<&Tensor>,
    ) -> Result<Tensor> {
        let extrapolate = |from: &Tensor, to: &Tensor, scale: f64| from + ((to - from)? * scale)?;
        let with_image = |guided: Tensor| match without_image {
            Some(base) if self.img_scale > 1. => extrapolate(base, &guided, self.img_scale),
            _ => Ok(guided),
        };
        let guided = extrapolate(without_text, conditional, self.text_scale)?;
        match self.renorm_type {
            RenormType::TextChannel => {
                with_image(self.renormalise(&guided, conditional, row_norm)?)
            }
            RenormType::Channel => self.renormalise(&with_image(guided)?, conditional, row_norm),
            RenormType::Global => self.renormalise(&with_image(guided)?, conditional, global_norm),
        }
    }

    fn renormalise(
        &self,
        guided: &Tensor,
        reference: &Tensor,
        norm: fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let ratio = (norm(reference)? / (norm(guided)? + NORM_EPS)?)?;
        guided.broadcast_mul(&ratio.clamp(self.renorm_min, 1.)?)
    }
}

/// L2 norm of each row, (g, 1).
fn row_norm(xs: &Tensor) -> Result<Tensor> {
    xs.sqr()?.sum_keepdim(D::Minus1)?.sqrt()
}

/// L2 norm of everything, (1, 1).
fn global_norm(xs: &Tensor) -> Result<Tensor> {
    xs.sqr()?.sum_all()?.sqrt()?.reshape((1, 1))
}

/// The contexts of one picture.
#[derive(Debug, Clone, Copy)]
pub struct FlowContexts<'a> {
    /// Everything.
    pub main: &'a Context,
    /// Without the text.
    pub without_text: &'a Context,
    /// Without the picture.
    pub without_image: &'a Context,
}

/// Latents of a picture from which on guidance runs its branches one after the other.
pub const LARGE_PICTURE: usize = 1024;

impl Reader<'_> {
    /// The guided velocity (rows · columns, D) of one picture, in f32.
    ///
    /// # Errors
    /// When the model cannot draw or the picture does not fit its grid.
    pub fn guided_velocity(
        &self,
        latents: &LatentInput,
        contexts: &FlowContexts,
        guidance: &Guidance,
    ) -> Result<Tensor> {
        let guided = Guided { latents: latents.clone(), contexts: *contexts, guidance };
        match self.guided_velocities(&[guided])?.pop() {
            Some(velocity) => Ok(velocity),
            None => bail!("no flow query"),
        }
    }

    /// The guided velocities of several pictures; small ones share a pass of the network.
    ///
    /// # Errors
    /// As [`guided_velocity`](Self::guided_velocity).
    pub fn guided_velocities(&self, pictures: &[Guided]) -> Result<Vec<Tensor>> {
        let mut queries = Vec::new();
        for picture in pictures {
            let Guided { latents, contexts, guidance } = picture;
            let mut ask = |context| queries.push(FlowQuery { latents: latents.clone(), context });
            ask(contexts.main);
            if guidance.is_active() {
                ask(contexts.without_text);
            }
            if guidance.uses_image() {
                ask(contexts.without_image);
            }
        }
        // Small pictures share a pass; large ones fill the processor alone, at a fraction of the memory.
        let is_large =
            |query: &FlowQuery| query.latents.rows * query.latents.columns > LARGE_PICTURE;
        let share = if queries.iter().any(is_large) { 1 } else { queries.len() };
        let mut velocities = Vec::with_capacity(queries.len());
        for together in queries.chunks(share.max(1)) {
            velocities.extend(self.velocities(together)?);
        }
        let mut velocities = velocities.into_iter();
        let combine = |picture: &Guided| {
            let guidance = picture.guidance;
            let Some(conditional) = velocities.next() else { bail!("no flow query") };
            match guidance.is_active().then(|| velocities.next()).flatten() {
                None => Ok(conditional),
                Some(without_text) => {
                    let without_image = guidance.uses_image().then(|| velocities.next()).flatten();
                    guidance.combine(&conditional, &without_text, without_image.as_ref())
                }
            }
        };
        pictures.iter().map(combine).collect()
    }
}

/// A question for a guided velocity.
#[derive(Debug, Clone)]
pub struct Guided<'a> {
    /// The noised picture.
    pub latents: LatentInput<'a>,
    /// What it is conditioned on.
    pub contexts: FlowContexts<'a>,
    /// How it is guided.
    pub guidance: &'a Guidance,
}

/// Settings of a sampling run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowSampling {
    /// Points of the time grid; one evaluation fewer is made. At least 2.
    pub num_timesteps: usize,
    /// Shift of the time grid.
    pub timestep_shift: f64,
    /// Text guidance scale.
    pub cfg_text_scale: f64,
    /// Image guidance scale.
    pub cfg_img_scale: f64,
    /// Times in which guidance applies, open below and closed above.
    pub cfg_interval: [f64; 2],
    /// Norm that a guided velocity may not exceed.
    pub cfg_renorm_type: RenormType,
    /// Lower bound of the scaling towards that norm.
    pub cfg_renorm_min: f64,
    /// Height and width in pixels; the model's default when absent.
    pub size: Option<(u32, u32)>,
    /// Seed of all noise.
    pub seed: u64,
}

impl FlowSampling {
    /// The model's defaults with a seed.
    pub fn from_defaults(defaults: &GenerationDefaults, seed: u64) -> Self {
        Self {
            num_timesteps: defaults.num_timesteps,
            timestep_shift: defaults.timestep_shift,
            cfg_text_scale: defaults.cfg_text_scale,
            cfg_img_scale: defaults.cfg_img_scale,
            cfg_interval: defaults.cfg_interval,
            cfg_renorm_type: defaults.cfg_renorm_type,
            cfg_renorm_min: defaults.cfg_renorm_min,
            size: None,
            seed,
        }
    }

    /// Guidance in force at time `t`.
    pub fn guidance_at(&self, t: f64) -> Guidance {
        let [low, high] = self.cfg_interval;
        let inside = low < t && t <= high;
        let scale = |scale: f64| if inside { scale } else { 1. };
        Guidance {
            text_scale: scale(self.cfg_text_scale),
            img_scale: scale(self.cfg_img_scale),
            renorm_type: self.cfg_renorm_type,
            renorm_min: self.cfg_renorm_min,
        }
    }

    /// Times of the run.
    pub fn times(&self) -> Vec<f64> {
        time_grid(self.num_timesteps, self.timestep_shift)
    }
}

/// How a stochastic step adds noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepRule {
    /// Euler–Maruyama step of the reverse SDE with the ODE's marginals (Flow-GRPO).
    Sde,
    /// Keeps the scheduled sizes of signal and noise (CPS).
    Cps,
}

/// One step of the time grid, stochastic when `noise_level` is not 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowStep {
    /// Time before the step.
    pub t: f64,
    /// Time after it.
    pub t_next: f64,
    /// Second value of the grid; stands in for t = 1 where the SDE rule divides by 1 − t.
    pub t_1: f64,
    /// Level of the noise: the SDE's a, CPS's η.
    pub noise_level: f64,
    /// Which rule adds it.
    pub rule: StepRule,
}

/// Mean = `x_weight · x + v_weight · v`, and the standard deviation of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCoefficients {
    /// Weight of the state.
    pub x_weight: f64,
    /// Weight of the velocity.
    pub v_weight: f64,
    /// Standard deviation of the transition; 0 for a deterministic step.
    pub std: f64,
}

impl FlowStep {
    /// Coefficients of the step.
    ///
    /// SDE: σ = a·√(t / (1 − t)), μ = x·(1 + σ²/2t·dt) + v·(1 + σ²(1 − t)/2t)·dt, s = σ·√−dt.
    /// CPS: s = t'·sin(η·π/2), μ = (1 − t')·x̂₀ + √(t'² − s²)·ε̂.
    /// Either with level 0 is the Euler step.
    pub fn coefficients(&self) -> StepCoefficients {
        let Self { t, t_next, noise_level, .. } = *self;
        let dt = t_next - t;
        if noise_level == 0. {
            return StepCoefficients { x_weight: 1., v_weight: dt, std: 0. };
        }
        match self.rule {
            StepRule::Sde => {
                let clipped = if t == 1. { self.t_1 } else { t };
                let sigma2 = noise_level * noise_level * t / (1. - clipped);
                StepCoefficients {
                    x_weight: 1. + sigma2 / (2. * t) * dt,
                    v_weight: (1. + sigma2 * (1. - t) / (2. * t)) * dt,
                    std: (sigma2 * -dt).sqrt(),
                }
            }
            StepRule::Cps => {
                // x̂₀ = x − t·v and ε̂ = x + (1 − t)·v.
                let std = t_next * (noise_level * std::f64::consts::FRAC_PI_2).sin();
                let noise = (t_next * t_next - std * std).max(0.).sqrt();
                StepCoefficients {
                    x_weight: (1. - t_next) + noise,
                    v_weight: -(1. - t_next) * t + noise * (1. - t),
                    std,
                }
            }
        }
    }

    /// Mean of the transition.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn mean(&self, xs: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let c = self.coefficients();
        xs.affine(c.x_weight, 0.)? + velocity.affine(c.v_weight, 0.)?
    }

    /// The next state; `noise` is ignored by a deterministic step.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn next(&self, xs: &Tensor, velocity: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let mean = self.mean(xs, velocity)?;
        match (noise, self.coefficients().std) {
            (Some(noise), std) if std > 0. => mean + noise.affine(std, 0.)?,
            _ => Ok(mean),
        }
    }

    /// Log-density of `next`, averaged over all numbers, without its constants: a scalar.
    ///
    /// # Errors
    /// When the step is deterministic or shapes differ.
    pub fn log_prob(&self, mean: &Tensor, next: &Tensor) -> Result<Tensor> {
        let std = self.stochastic_std()?;
        (next - mean)?.sqr()?.mean_all()?.affine(-0.5 / (std * std), 0.)
    }

    /// `log_prob` under `mean_new` minus that under `mean_old`, exactly 0 when the means agree:
    /// `mean[δ·(2x' − μ_new − μ_old)] / 2s²` with δ = μ_new − μ_old.
    ///
    /// # Errors
    /// When the step is deterministic or shapes differ.
    pub fn log_ratio(&self, mean_new: &Tensor, mean_old: &Tensor, next: &Tensor) -> Result<Tensor> {
        let std = self.stochastic_std()?;
        let delta = (mean_new - mean_old)?;
        let rest = ((next.affine(2., 0.)? - mean_new)? - mean_old)?;
        (delta * rest)?.mean_all()?.affine(0.5 / (std * std), 0.)
    }

    fn stochastic_std(&self) -> Result<f64> {
        let std = self.coefficients().std;
        if std > 0. { Ok(std) } else { bail!("a deterministic step has no density") }
    }
}

/// State of a run after a step.
#[derive(Debug)]
pub struct FlowProgress<'a> {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub num_steps: usize,
    /// Time after the step.
    pub time: f64,
    /// Latents (g, D) after the step.
    pub latents: &'a Tensor,
    /// Estimate of the clean latents (g, D).
    pub clean: &'a Tensor,
}

/// A picture to be sampled.
#[derive(Debug, Clone, Copy)]
pub struct FlowRun<'a> {
    /// What it is conditioned on.
    pub contexts: FlowContexts<'a>,
    /// Settings.
    pub sampling: &'a FlowSampling,
    /// Rows of latents.
    pub rows: usize,
    /// Columns of latents.
    pub columns: usize,
}

impl Reader<'_> {
    /// Integrates from `noise` (g, D) to clean latents; `on` is told of every step and may stop.
    ///
    /// # Errors
    /// When the grid has fewer than two points, or the network fails.
    pub fn sample_latents(
        &self,
        run: &FlowRun,
        noise: &Tensor,
        on: &mut dyn FnMut(&FlowProgress) -> ControlFlow<()>,
    ) -> Result<(Tensor, ControlFlow<()>)> {
        let runs = [*run];
        let (mut xs, flow) = self.sample_many(&runs, vec![noise.clone()], &mut |_, p| on(p))?;
        match xs.pop() {
            Some(xs) => Ok((xs, flow)),
            None => bail!("no picture to sample"),
        }
    }

    /// As [`sample_latents`](Self::sample_latents) for several pictures, which share every pass of
    /// the network. Their runs share one time grid; `on` is also told which picture it is about, and
    /// stops all.
    ///
    /// # Errors
    /// When the grids differ or have fewer than two points, or the network fails.
    pub fn sample_many(
        &self,
        runs: &[FlowRun],
        noises: Vec<Tensor>,
        on: &mut dyn FnMut(usize, &FlowProgress) -> ControlFlow<()>,
    ) -> Result<(Vec<Tensor>, ControlFlow<()>)> {
        let times = runs.first().map(|run| run.sampling.times()).unwrap_or_default();
        if runs.len() != noises.len() || runs.iter().any(|run| run.sampling.times() != times) {
            bail!("pictures drawn together need one noise each and one time grid")
        }
        if times.len() < 2 {
            bail!("a picture needs at least 2 timesteps, got {}", times.len())
        }
        let mut all = noises;
        for (step, pair) in times.windows(2).enumerate() {
            let (t, t_next) = (pair[0], pair[1]);
            let guidance: Vec<Guidance> = runs.iter().map(|r| r.sampling.guidance_at(t)).collect();
            let pictures: Vec<Guided> = runs
                .iter()
                .zip(&all)
                .zip(&guidance)
                .map(|((run, tokens), guidance)| {
                    let (rows, columns) = (run.rows, run.columns);
                    let latents = LatentInput { tokens, time: t, rows, columns };
                    Guided { latents, contexts: run.contexts, guidance }
                })
                .collect();
            let velocities = self.guided_velocities(&pictures)?;
            let (mut flow, mut cleaned) = (ControlFlow::Continue(()), Vec::new());
            for (index, velocity) in velocities.iter().enumerate() {
                let clean = (&all[index] - velocity.affine(t, 0.)?)?;
                all[index] = (&all[index] + velocity.affine(t_next - t, 0.)?)?;
                let progress = FlowProgress {
                    step: step + 1,
                    num_steps: times.len() - 1,
                    time: t_next,
                    latents: &all[index],
                    clean: &clean,
                };
                if on(index, &progress).is_break() {
                    flow = ControlFlow::Break(());
                }
                cleaned.push(clean);
            }
            if flow.is_break() {
                return Ok((cleaned, flow));
            }
        }
        Ok((all, ControlFlow::Continue(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn time_grid_matches_the_published_schedule() {
        let times = time_grid(50, 3.);
        let first = [1., 0.993103, 0.986014, 0.978723, 0.971223, 0.963504];
        let last = [0.163636, 0.113208, 0.058824, 0.];
        for (got, want) in times.iter().zip(first).chain(times[46..].iter().zip(last)) {
            assert!((got - want).abs() < 5e-7, "{got} {want}");
        }
        let guided = |t: &&f64| 0.4 < **t && **t <= 1.;
        assert_eq!(times[..49].iter().filter(guided).count(), 41);
    }

    #[test]
    fn scalar_steps_match_hand_worked_values() -> Result<()> {
        // t = 0.8, t' = 0.6, x = 0.3, v = −0.4, ε = 0.5. SDE a = 0.7: σ = 1.4.
        let step =
            FlowStep { t: 0.8, t_next: 0.6, t_1: 0.9, noise_level: 0.7, rule: StepRule::Sde };
        let one = |x: f64| Tensor::new(&[[x]], &Device::Cpu);
        let value = |t: Tensor| t.flatten_all()?.get(0)?.to_scalar::<f64>();
        let (x, v, e) = (one(0.3)?, one(-0.4)?, one(0.5)?);
        assert!((value(step.mean(&x, &v)?)? - 0.3261).abs() < 1e-12);
        assert!((step.coefficients().std - 0.6260990337).abs() < 1e-9);
        let next = step.next(&x, &v, Some(&e))?;
        assert!((value(next.clone())? - 0.6391495168).abs() < 1e-9);
        let log_prob = step.log_prob(&step.mean(&x, &v)?, &next)?.to_scalar::<f64>()?;
        assert!((log_prob + 0.125).abs() < 1e-12);
        let density = log_prob - step.coefficients().std.ln() - std::f64::consts::TAU.ln() / 2.;
        assert!((density + 0.5756918136).abs() < 1e-9, "{density}");
        let cps = FlowStep { noise_level: 0.8, rule: StepRule::Cps, ..step };
        assert!((cps.coefficients().std - 0.5706339098).abs() < 1e-9);
        assert!((value(cps.mean(&x, &v)?)? - 0.2887902433).abs() < 1e-9);
        assert!((value(cps.next(&x, &v, Some(&e))?)? - 0.5741071981).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn either_rule_without_noise_is_the_euler_step() {
        for rule in [StepRule::Sde, StepRule::Cps] {
            let step = FlowStep { t: 0.8, t_next: 0.6, t_1: 0.9, noise_level: 1e-9, rule };
            let c = step.coefficients();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-8;
            assert!(near(c.x_weight, 1.) && near(c.v_weight, -0.2) && near(c.std, 0.));
        }
    }

    #[test]
    fn guidance_never_lengthens_the_velocity() -> Result<()> {
        let v = Tensor::new(&[[3f32, 4.]], &Device::Cpu)?; // length 5
        let base = Tensor::new(&[[0f32, 0.]], &Device::Cpu)?;
        for renorm_type in [RenormType::Global, RenormType::Channel, RenormType::TextChannel] {
            let guidance = Guidance { text_scale: 4., img_scale: 1., renorm_type, renorm_min: 0. };
            let guided = guidance.combine(&v, &base, None)?.to_vec2::<f32>()?;
            assert!((guided[0][0] - 3.).abs() < 1e-5 && (guided[0][1] - 4.).abs() < 1e-5);
        }
        Ok(())
    }
}
