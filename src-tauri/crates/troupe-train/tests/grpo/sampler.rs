//! Steps and trajectories against closed forms.

use crate::common::{D, ToyRun, slope, toy_profile};
use candle_core::{Device, Result, Tensor};
use troupe_model::flow::{FlowStep, StepRule, time_grid};
use troupe_nn::noise::{Noise, Stream};
use troupe_train::{
    error::TrainResult,
    grpo::{
        profile::{GrpoProfile, SamplerConfig},
        sampler::{NoiseKey, Policy, Schedule, rollout, window_start},
    },
};

const GRID: [f64; 15] = [
    1., 0.975, 0.947368, 0.916667, 0.882353, 0.84375, 0.8, 0.75, 0.692308, 0.625, 0.545455, 0.45,
    0.333333, 0.1875, 0.,
];

fn steps(
    points: usize,
    rule: StepRule,
    noise: f64,
    window: std::ops::Range<usize>,
) -> Vec<FlowStep> {
    let config =
        SamplerConfig { points, rule, noise, window: window.len(), ..SamplerConfig::default() };
    Schedule::stochastic(&config, window.start).steps
}

/// I-1.
#[test]
fn the_grid_is_the_published_one() {
    let got = time_grid(15, 3.);
    for (got, want) in got.iter().zip(GRID) {
        assert!((got - want).abs() < 1e-6);
    }
    assert!(got.windows(2).all(|pair| pair[0] > pair[1]));
    assert_eq!((got[0], got[14], steps(15, StepRule::Sde, 1., 0..3).len()), (1., 0., 14));
}

/// I-3: coefficients of the first seven steps at two levels.
#[test]
fn sde_coefficients_are_the_published_ones() {
    let strong = [
        (0.155000, -0.025000, 1.300000),
        (0.066053, -0.050980, 1.349517),
        (0.507083, -0.056645, 0.966410),
        (0.652059, -0.063309, 0.798682),
        (0.722734, -0.071222, 0.699494),
        (0.763400, -0.080719, 0.631872),
        (0.788750, -0.092250, 0.581378),
    ];
    let mild = [
        (0.755000, -0.025000, 0.700000),
        (0.729211, -0.034401, 0.726663),
        (0.857083, -0.038224, 0.520374),
        (0.899118, -0.042721, 0.430059),
        (0.919609, -0.048061, 0.376651),
        (0.931400, -0.054469, 0.340239),
        (0.938750, -0.062250, 0.313050),
    ];
    for (level, table) in [(1.3, strong), (0.7, mild)] {
        for (step, (x, v, s)) in steps(15, StepRule::Sde, level, 0..14).iter().zip(table) {
            let c = step.coefficients();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
            assert!(near(c.x_weight, x) && near(c.v_weight, v) && near(c.std, s), "{c:?}");
        }
    }
}

/// Mean and variance after all steps for data N(0.5, 0.3²): every step is affine.
fn propagate(steps: &[FlowStep]) -> (f64, f64) {
    let (m, s0) = (0.5, 0.3);
    let (mut mean, mut var) = (0., 1.);
    for step in steps {
        let (c, k) = (step.coefficients(), slope(step.t, s0));
        let gain = c.x_weight + c.v_weight * k;
        mean = gain * mean + c.v_weight * (-k * (1. - step.t) * m - m);
        var = gain * gain * var + c.std * c.std;
    }
    (mean, var)
}

/// I-4: final variances of the exact model, whose table is rounded to six places.
#[test]
fn variances_of_the_exact_model() {
    let tables = [
        (15, [0.046277, 0.065655, 0.095152, 0.034281]),
        (50, [0.074959, 0.081034, 0.087033, 0.047958]),
        (200, [0.086049, 0.087836, 0.089050, 0.054594]),
        (2000, [0.089599, 0.089882, 0.089899, 0.057988]),
    ];
    let rules =
        [(StepRule::Sde, 0.), (StepRule::Sde, 0.7), (StepRule::Sde, 1.3), (StepRule::Cps, 0.8)];
    for (points, wants) in tables {
        for ((rule, level), want) in rules.into_iter().zip(wants) {
            let (mean, var) = propagate(&steps(points, rule, level, 0..points - 1));
            assert!((var - want).abs() < 1.5e-6, "{points} {rule:?} {level}: {var} {want}");
            assert!((mean - 0.5).abs() < 1e-9);
        }
    }
    let windows = [
        (StepRule::Sde, 1.3, [0.0715, 0.0641, 0.0590, 0.0569, 0.0561]),
        (StepRule::Sde, 0.7, [0.0524, 0.0511, 0.0490, 0.0484, 0.0483]),
        (StepRule::Cps, 0.8, [0.0463, 0.0462, 0.0462, 0.0462, 0.0461]),
    ];
    for (rule, level, wants) in windows {
        for (start, want) in wants.into_iter().enumerate() {
            let (_, var) = propagate(&steps(15, rule, level, start..start + 3));
            assert!((var - want).abs() < 6e-5, "{rule:?} {level} {start}: {var} {want}");
        }
    }
}

/// A strong level swells the variance at once: of the exact model after the first step, and after a window
/// of three, beside the deterministic sampler's.
#[test]
fn a_strong_level_swells_the_first_steps() {
    for (level, wants) in [(1.3, [1.707, 1.30]), (0., [0.951, 0.84])] {
        for (num, (want, digits)) in [1, 3].into_iter().zip(wants.into_iter().zip([5e-4, 5e-3])) {
            let (_, var) = propagate(&steps(15, StepRule::Sde, level, 0..3)[..num]);
            assert!((var - want).abs() < digits, "{level} after {num}: {var} {want}");
        }
    }
}

/// I-5: CPS keeps the scheduled noise.
#[test]
fn cps_keeps_the_noise() {
    for step in &steps(15, StepRule::Cps, 0.8, 0..13)[..13] {
        let std = step.coefficients().std;
        let rest = step.t_next * (0.8 * std::f64::consts::FRAC_PI_2).cos();
        assert!((rest * rest + std * std - step.t_next * step.t_next).abs() < 1e-12);
    }
}

/// I-6: with its constants, the density is a sum of independent Gaussians.
#[test]
fn densities_are_gaussian() -> Result<()> {
    let step = steps(15, StepRule::Sde, 0.7, 0..14)[2];
    let draw = |n| Noise::new(n, Stream::Weights, 0).normal_tensor((5, 7), &Device::Cpu);
    let (mean, next) = (draw(1)?, draw(2)?);
    let std = step.coefficients().std;
    let pairs = mean
        .flatten_all()?
        .to_vec1::<f32>()?
        .into_iter()
        .zip(next.flatten_all()?.to_vec1::<f32>()?);
    let want: f64 = pairs
        .map(|(m, x)| {
            let z = (f64::from(x) - f64::from(m)) / std;
            ((-0.5 * z * z).exp() / (std * std::f64::consts::TAU.sqrt())).ln()
        })
        .sum();
    let d = 35.;
    let got = d * f64::from(step.log_prob(&mean, &next)?.to_scalar::<f32>()?)
        - d * std.ln()
        - d / 2. * std::f64::consts::TAU.ln();
    assert!((got - want).abs() < 1e-5 * want.abs(), "{got} {want}");
    Ok(())
}

fn draw(profile: &GrpoProfile, start: usize, group: usize) -> TrainResult<Vec<Vec<Vec<f32>>>> {
    let run = ToyRun::new(profile.clone(), 1);
    let key = NoiseKey { seed: 1, epoch: 2, num_prompts: 3, group };
    let schedule = Schedule::stochastic(&profile.sampler, start);
    let parts = rollout(&run.toy, &schedule, &profile.sampler, &key, 1, &Device::Cpu)?;
    let values = |t: &Tensor| t.flatten_from(1)?.to_vec2::<f32>();
    Ok(parts.iter().map(|part| values(&part.latents)).collect::<Result<_>>()?)
}

/// I-7: records chain, and only the window is recorded.
#[test]
fn records_chain_and_outside_the_window_nothing_is_kept() -> TrainResult<()> {
    for (shared, start) in [(true, 0), (true, 2), (false, 3)] {
        let mut profile = toy_profile();
        profile.sampler.share_initial_noise = shared;
        let run = ToyRun::new(profile.clone(), 1);
        let key = NoiseKey { seed: 1, epoch: 0, num_prompts: 1, group: 8 };
        let schedule = Schedule::stochastic(&profile.sampler, start);
        let parts = rollout(&run.toy, &schedule, &profile.sampler, &key, 0, &Device::Cpu)?;
        let records = &parts[0].records;
        assert_eq!(records.len(), 2);
        for pair in records.windows(2) {
            let far = (&pair[0].after - &pair[1].before)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert_eq!(far, 0.);
            assert_eq!(pair[0].step.t_next, pair[1].step.t);
        }
        assert_eq!(records[0].step.t, schedule.steps[start].t);
        let first = records[0].before.flatten_from(1)?.to_vec2::<f32>()?;
        assert_eq!(first[0] == first[7], shared, "a shared start");
        let last = parts[0].latents.flatten_from(1)?.to_vec2::<f32>()?;
        assert_ne!(last[0], last[7]);
    }
    Ok(())
}

/// Noise follows from its place: passes of any size draw the same pictures.
#[test]
fn pictures_do_not_depend_on_passes() -> TrainResult<()> {
    let mut profile = toy_profile();
    let whole = draw(&profile, 1, 6)?.concat();
    profile.sampler.pictures_per_pass = 4;
    assert_eq!(draw(&profile, 1, 6)?.concat(), whole);
    assert_eq!(draw(&profile, 1, 6)?.len(), 2);
    Ok(())
}

/// I-2 on the closed form: without noise both rules are the Euler step, and nothing is recorded.
#[test]
fn no_noise_is_the_euler_sampler() -> TrainResult<()> {
    let profile = toy_profile();
    let run = ToyRun::new(profile.clone(), 1);
    let sampler = SamplerConfig { eval_points: 10, ..profile.sampler.clone() };
    let key = NoiseKey { seed: 1, epoch: 0, num_prompts: 1, group: 2 };
    let schedule = Schedule::deterministic(&sampler);
    let parts = rollout(&run.toy, &schedule, &sampler, &key, 0, &Device::Cpu)?;
    assert!(parts[0].records.is_empty());
    let mut xs = Noise::new(1, Stream::InitialNoise, 0).normal_tensor((1, 1, D), &Device::Cpu)?;
    for pair in time_grid(10, 3.).windows(2) {
        xs = (&xs + run.toy.velocity(0, &xs, pair[0])?.affine(pair[1] - pair[0], 0.)?)?;
    }
    let got = parts[0].latents.narrow(0, 0, 1)?;
    assert_eq!((got - xs)?.abs()?.max_all()?.to_scalar::<f32>()?, 0.);
    for rule in [StepRule::Sde, StepRule::Cps] {
        for step in steps(15, rule, 1e-9, 0..13) {
            let c = step.coefficients();
            assert!(
                (c.x_weight - 1.).abs() < 1e-6
                    && (c.v_weight - (step.t_next - step.t)).abs() < 1e-6
            );
        }
    }
    Ok(())
}

#[test]
fn windows_are_drawn_anew_and_stay_in_range() -> TrainResult<()> {
    let profile = GrpoProfile::find("reference")?;
    let starts: Vec<usize> = (0..200).map(|epoch| window_start(&profile, 42, epoch)).collect();
    for start in 0..=4 {
        assert!(starts.iter().filter(|s| **s == start).count() > 20, "{start}");
    }
    assert!(starts.iter().all(|s| *s <= 4));
    assert_eq!(starts[7], window_start(&profile, 42, 7));
    Ok(())
}
