//! Learning on a policy in closed form: clipping, accumulation, and that reward rises.

use crate::common::{D, ToyRun, scored, toy_profile};
use candle_core::{Device, Result, Tensor, Var};
use troupe_nn::noise::{Noise, Stream};
use troupe_train::{
    error::TrainResult,
    grpo::{
        loss::{clip_range, clipped, log_ratios, step_objective},
        profile::{Auto, Clip, KlForm, LossConfig},
        sampler::Record,
        update::{Learner, Scored},
    },
};

/// I-15: the noise-free reward rises by far more than three standard errors for every seed, and few
/// terms are clipped.
#[test]
fn reward_rises_for_every_seed() -> TrainResult<()> {
    for seed in 1..=5 {
        let mut run = ToyRun::new(toy_profile(), seed);
        let (before, before_se) = run.noise_free()?;
        assert!((before + 0.426).abs() < 0.02, "{before}");
        let mut clip = 0.;
        for epoch in 0..run.profile.epochs {
            let stats = run.epoch(epoch)?;
            assert_eq!(stats.first_log_ratio, 0., "I-8: drawing and learning agree to the bit");
            clip += (stats.clip_low + stats.clip_high) / run.profile.epochs as f64;
        }
        let (after, after_se) = run.noise_free()?;
        assert!(after > -0.12, "seed {seed}: {after}");
        assert!(after - before > 3. * before_se.hypot(after_se), "seed {seed}");
        assert!(clip < 0.1, "seed {seed}: {clip} of the terms clipped");
    }
    Ok(())
}

/// The control of I-15: advantages that belong to other pictures teach nothing.
#[test]
fn shuffled_advantages_teach_nothing() -> TrainResult<()> {
    for seed in 1..=5 {
        let mut run = ToyRun::new(toy_profile(), seed);
        run.shuffled = true;
        let (before, before_se) = run.noise_free()?;
        for epoch in 0..run.profile.epochs {
            run.epoch(epoch)?;
        }
        let (after, after_se) = run.noise_free()?;
        assert!(after - before < 3. * before_se.hypot(after_se), "seed {seed}: {before} → {after}");
    }
    Ok(())
}

/// I-15: a value that a whole group shares changes nothing.
#[test]
fn group_diversity_has_no_effect() -> TrainResult<()> {
    let finals = [0., 0.3].map(|weight| {
        let mut run = ToyRun::new(toy_profile(), 3);
        run.group_diversity = weight;
        (0..20)
            .try_for_each(|epoch| run.epoch(epoch).map(|_| ()))
            .and_then(|()| Ok(run.noise_free()?.0))
    });
    let [without, with] = finals;
    assert!((without? - with?).abs() < 1e-5);
    Ok(())
}

/// Wide advantages without a scaled clip range: why the range follows the size.
#[test]
fn an_unscaled_range_clips_many_more_terms() -> TrainResult<()> {
    let share = |clip| {
        let mut profile = toy_profile();
        profile.loss.clip = clip;
        let mut run = ToyRun::new(profile, 1);
        let mut sum = 0.;
        for epoch in 0..20 {
            let stats = run.epoch(epoch)?;
            sum += (stats.clip_low + stats.clip_high) / 20.;
        }
        TrainResult::Ok(sum)
    };
    assert!(share(Clip::Fixed(1e-5))? > 2. * share(Clip::Auto(Auto::Auto))?);
    assert!((clip_range(Clip::Auto(Auto::Auto), 65_536) - 1e-5).abs() < 1e-18);
    assert!((clip_range(Clip::Auto(Auto::Auto), 256) - 1.6e-4).abs() < 1e-12);
    Ok(())
}

/// GRPO-Guard learns as well.
#[test]
fn the_guard_learns_too() -> TrainResult<()> {
    let mut profile = toy_profile();
    profile.loss.guard = true;
    let mut run = ToyRun::new(profile, 2);
    for epoch in 0..run.profile.epochs {
        run.epoch(epoch)?;
    }
    assert!(run.noise_free()?.0 > -0.12);
    Ok(())
}

/// I-10: without advantages nothing moves, to the bit.
#[test]
fn no_advantage_no_change() -> TrainResult<()> {
    let mut run = ToyRun::new(toy_profile(), 4);
    run.epoch(0)?;
    let before = run.toy.b.flatten_all()?.to_vec1::<f32>()?;
    let mut fresh = ToyRun::new(toy_profile(), 4);
    fresh.toy.b.set(&run.toy.b)?;
    let idle: Vec<Scored> = fresh.draw(1)?.into_iter().flat_map(|g| scored(g, &[0.; 8])).collect();
    let profile = fresh.profile.clone();
    let mut learner = Learner { optimiser: &mut fresh.optimiser, average: None, profile: &profile };
    let stats = learner.learn(&fresh.toy, &idle)?;
    assert_eq!(fresh.toy.b.flatten_all()?.to_vec1::<f32>()?, before);
    assert_eq!(stats.grad_norms, [0., 0.]);
    Ok(())
}

/// I-17: gradients of terms add up however they are split.
#[test]
fn gradients_add_up_over_any_partition() -> TrainResult<()> {
    let mut whole = Vec::new();
    for per_pass in [8, 3, 1] {
        let mut profile = toy_profile();
        profile.sampler.pictures_per_pass = per_pass;
        let mut run = ToyRun::new(profile.clone(), 5);
        let groups = run.draw(0)?;
        let advantages: Vec<f64> = (0..8).map(|i| (i as f64 - 3.5) / 2.).collect();
        let all: Vec<Scored> = groups.into_iter().flat_map(|g| scored(g, &advantages)).collect();
        let learner = Learner { optimiser: &mut run.optimiser, average: None, profile: &profile };
        let (grads, _) = learner.gradients(&run.toy, &all.iter().collect::<Vec<_>>())?;
        let grad = grads.sum().and_then(|g| g.get(&run.toy.b)).expect("a gradient");
        whole.push(grad.flatten_all()?.to_vec1::<f32>()?);
    }
    for other in &whole[1..] {
        for (a, b) in whole[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-5 * (1. + a.abs()), "{a} {b}");
        }
    }
    Ok(())
}

/// I-14: the host's branch equals the objective with maximum and clamp under autograd.
#[test]
fn the_branch_equals_a_clamped_objective() -> TrainResult<()> {
    let range = 0.01;
    let config = LossConfig { clip: Clip::Fixed(range), ..LossConfig::default() };
    let run = ToyRun::new(toy_profile(), 6);
    let record = run.draw(0)?[0][0].records[0].clone();
    for (sign, scale) in [(1., 0.3), (-1., 0.3), (1., -0.3), (-1., -0.3), (1., 0.001)] {
        // Means moved along the noise raise the ratio, against it lower it.
        let moved = ((&record.after - &record.mean)?.affine(scale, 0.)? + &record.mean)?;
        let leaf = Var::from_tensor(&moved)?;
        let advantages = [sign; 8];
        let (stats, scalar) =
            step_objective(&config, &record, leaf.as_tensor(), None, &advantages)?;
        let ratio = log_ratios(&record, leaf.as_tensor())?.exp()?;
        let loss = (&ratio * -sign)?
            .maximum(&(ratio.clamp(1. - range, 1. + range)? * -sign)?)?
            .sum_all()?;
        assert!((loss.to_scalar::<f64>()? - stats.loss).abs() < 1e-9);
        let want = loss.backward()?;
        let want = want.get(&leaf).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        match scalar {
            None => assert!(want.iter().all(|g| *g == 0.), "every term is flat"),
            Some(scalar) => {
                let got = scalar.backward()?;
                let got = got.get(&leaf).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
                for (a, b) in got.iter().zip(&want) {
                    assert!((a - b).abs() < 1e-6, "{a} {b}");
                }
            }
        }
    }
    let e = 1e-3;
    assert!(clipped(1., 1. + 2. * e, e).is_some() && clipped(1., 1. - 2. * e, e).is_none());
    assert!(clipped(-1., 1. - 2. * e, e).is_some() && clipped(-1., 1. + 2. * e, e).is_none());
    Ok(())
}

fn record() -> Result<Record> {
    Ok(ToyRun::new(toy_profile(), 7).draw(0)?[0][0].records[0].clone())
}

/// I-9: the mean log-ratio of an antithetic pair is `−mean(δ²) / 2s²`, and the stable form equals the
/// difference of densities in f64.
#[test]
fn antithetic_noise_shows_the_shift_to_the_left() -> TrainResult<()> {
    let mut record = record()?;
    let std = record.step.coefficients().std;
    let delta =
        Noise::new(1, Stream::Weights, 0).normal_tensor(record.mean.shape(), &Device::Cpu)?;
    let delta = delta.affine(0.05, 0.)?;
    let mean = (&record.mean + &delta)?;
    let noise = (&record.after - &record.mean)?;
    let up = log_ratios(&record, &mean)?.to_vec1::<f64>()?;
    for (slot, value) in up.iter().enumerate() {
        let row = |t: &Tensor| -> Result<Vec<f64>> {
            Ok(t.get(slot)?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
        };
        let (x, new, old) = (row(&record.after)?, row(&mean)?, row(&record.mean)?);
        let density = |m: &[f64]| {
            x.iter().zip(m).map(|(x, m)| -(x - m).powi(2)).sum::<f64>()
                / D as f64
                / (2. * std * std)
        };
        assert!((density(&new) - density(&old) - value).abs() < 1e-6);
    }
    record.after = (&record.mean - noise)?;
    let down = log_ratios(&record, &mean)?.to_vec1::<f64>()?;
    let squares = delta.sqr()?.flatten_from(1)?.mean(1)?.to_vec1::<f32>()?;
    for ((a, b), square) in up.iter().zip(&down).zip(squares) {
        let want = -f64::from(square) / (2. * std * std);
        assert!((0.5 * (a + b) - want).abs() < 1e-6 * (1. + want.abs()));
    }
    Ok(())
}

/// The divergence by hand, in both forms, and that it pulls back.
#[test]
fn divergences_in_both_forms() -> TrainResult<()> {
    let record = record()?;
    let other = (&record.mean + 0.1)?;
    let variance = record.step.coefficients().std.powi(2);
    let length = record.step.t - record.step.t_next;
    for (form, want) in [
        (KlForm::Exact, 0.01 / (2. * variance)),
        (KlForm::Reference, 0.01 / (2. * variance / length)),
    ] {
        let config = LossConfig { beta: 0.5, kl_form: form, ..LossConfig::default() };
        let leaf = Var::from_tensor(&record.mean)?;
        let (stats, scalar) =
            step_objective(&config, &record, leaf.as_tensor(), Some(&other), &[0.; 8])?;
        assert!(
            (stats.divergences[0] - want).abs() < 1e-4 * want,
            "{:?} {want}",
            stats.divergences
        );
        let grads = scalar.expect("the divergence counts").backward()?;
        let grad = grads.get(&leaf).expect("a gradient").max_all()?.to_scalar::<f32>()?;
        assert!(grad < 0., "descending raises the mean towards the other");
    }
    Ok(())
}
