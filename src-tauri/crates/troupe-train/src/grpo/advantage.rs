//! Advantages: how much better a picture is than its group.
//!
//! Source: Flow-GRPO (arXiv:2505.05470, sec. 4.1) after DeepSeekMath (arXiv:2402.03300);
//! UniCharacter, `stat_tracking.py`. Statistics never reach beyond an epoch, and two prompts never
//! share a mean.

use super::profile::StdMode;

/// Keeps the division finite; the reference's constant.
const STD_EPS: f64 = 1e-4;
/// Spread below which a group counts as tied.
const TIED: f64 = 1e-9;

/// Mean and population standard deviation; zeros for nothing.
pub fn mean_std(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0., 0.);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, var.sqrt())
}

/// Rewards of one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupRewards {
    /// Sum of the weighted components, one a picture.
    pub total: Vec<f64>,
    /// Components with their weights, each one value a picture.
    pub components: Vec<(f64, Vec<f64>)>,
}

/// Share of groups whose pictures all have the same reward, and the mean spread of a group.
pub fn tied_share(groups: &[GroupRewards]) -> (f64, f64) {
    let stds: Vec<f64> = groups.iter().map(|g| mean_std(&g.total).1).collect();
    let tied = stds.iter().filter(|std| **std < TIED).count();
    (tied as f64 / groups.len().max(1) as f64, mean_std(&stds).0)
}

/// Advantages of an epoch, one list a group, within ±`clamp`. A group whose pictures are tied gets
/// zeros, so it moves nothing.
///
/// Group: `(R − mean) / (std + 1e-4)`. Batch: the same with the spread of all pictures. Component:
/// every component divided by its own spread in the group, then weighed.
pub fn advantages(groups: &[GroupRewards], mode: StdMode, clamp: f64) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flat_map(|g| g.total.iter().copied()).collect();
    let batch = mean_std(&all).1;
    groups
        .iter()
        .map(|group| {
            let raw = match mode {
                StdMode::Group => centred(&group.total, mean_std(&group.total).1),
                StdMode::Batch => centred(&group.total, batch),
                StdMode::Component => by_component(group),
            };
            raw.into_iter().map(|a| a.clamp(-clamp, clamp)).collect()
        })
        .collect()
}

fn centred(values: &[f64], std: f64) -> Vec<f64> {
    let (mean, own) = mean_std(values);
    if own < TIED {
        return vec![0.; values.len()];
    }
    values.iter().map(|x| (x - mean) / (std + STD_EPS)).collect()
}

fn by_component(group: &GroupRewards) -> Vec<f64> {
    let mut sum = vec![0.; group.total.len()];
    for (weight, values) in &group.components {
        for (total, a) in sum.iter_mut().zip(centred(values, mean_std(values).1)) {
            *total += weight * a;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(total: &[f64]) -> GroupRewards {
        GroupRewards { total: total.to_vec(), components: vec![(1., total.to_vec())] }
    }

    fn near(a: &[f64], b: &[f64], tol: f64) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < tol), "{a:?} {b:?}");
    }

    const MODES: [StdMode; 3] = [StdMode::Group, StdMode::Batch, StdMode::Component];

    #[test]
    fn a_group_by_hand() {
        // Mean 2, population deviation √(2/3).
        let got = advantages(&[group(&[1., 2., 3.])], StdMode::Group, 5.);
        let unit = 1. / ((2f64 / 3.).sqrt() + 1e-4);
        near(&got[0], &[-unit, 0., unit], 1e-12);
    }

    /// I-11.
    #[test]
    fn shifts_scales_orders_and_neighbours_change_nothing() {
        let base = [0.3, 0.9, 0.1, 0.5];
        for mode in MODES {
            let a = advantages(&[group(&base)], mode, 5.);
            assert!(a[0].iter().sum::<f64>().abs() < 1e-9, "they sum to 0");
            let shifted: Vec<f64> = base.iter().map(|x| x + 7.).collect();
            near(&advantages(&[group(&shifted)], mode, 5.)[0], &a[0], 1e-6);
            let scaled: Vec<f64> = base.iter().map(|x| x * 1000.).collect();
            near(&advantages(&[group(&scaled)], mode, 5.)[0], &a[0], 2e-3);
            let turned = [base[2], base[0], base[3], base[1]];
            let b = advantages(&[group(&turned)], mode, 5.);
            near(&b[0], &[a[0][2], a[0][0], a[0][3], a[0][1]], 1e-12);
        }
        // Another group's level is no matter: only in batch mode may its spread count.
        for mode in [StdMode::Group, StdMode::Component] {
            let alone = advantages(&[group(&base)], mode, 5.);
            let beside = advantages(&[group(&base), group(&[9., 4., 8., 0.])], mode, 5.);
            near(&beside[0], &alone[0], 1e-12);
        }
        let both = advantages(&[group(&base), group(&[100., 101.])], StdMode::Batch, 5.);
        assert!(both.iter().all(|g| g.iter().sum::<f64>().abs() < 1e-9));
    }

    #[test]
    fn tied_groups_and_outliers() {
        for mode in MODES {
            assert_eq!(advantages(&[group(&[0.4; 4])], mode, 5.)[0], [0.; 4]);
        }
        let mut far = vec![0.; 99];
        far.push(1.);
        let got = advantages(&[group(&far)], StdMode::Group, 5.);
        assert_eq!(got[0][99], 5.);
        let (share, _) = tied_share(&[group(&[1., 1.]), group(&[0., 1.])]);
        assert_eq!(share, 0.5);
    }

    #[test]
    fn components_count_by_weight_and_not_by_scale() {
        let a = vec![0., 1., 2., 3.];
        let b = vec![300., 0., 100., 200.];
        let total = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let groups = [GroupRewards { total, components: vec![(2., a.clone()), (1., b)] }];
        let got = advantages(&groups, StdMode::Component, 5.);
        let std = mean_std(&a).1 + 1e-4;
        // 2 · (0 − 1.5) / std + (300 − 150) / (100 · std), both with the deviation √1.25.
        assert!((got[0][0] - (-3. + 1.5) / std).abs() < 1e-3);
    }
}
