//! Watching for rewards that are gamed: trials on kept-back prompts, with measures that nothing was
//! trained against, and what they say.
//!
//! A run ends when an independent measure has fallen trial after trial while the reward rose, or
//! when it has lost its diversity. What is kept is the trial with the best reward on kept-back
//! prompts among those whose independent measures held; stage 1 itself is one of them.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::profile::WatchConfig;
use crate::{error::TrainResult, events::Remark, record};

/// Relative fall of a measure that counts.
const NOTABLE: f64 = 0.01;
/// Relative fall of an independent measure below stage 1 that a kept trial may have.
const TOLERATED: f64 = 0.05;

/// A trial on kept-back prompts. All measures are better when higher.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Epochs behind it; 0 is stage 1.
    pub epoch: usize,
    /// Mean reward.
    pub reward: f64,
    /// Its standard error.
    pub reward_error: f64,
    /// Mean of every component.
    pub components: BTreeMap<String, f64>,
    /// Measures that nothing is trained against.
    pub independent: BTreeMap<String, f64>,
    /// Mean distance of pictures of one prompt, with noise of their own.
    pub diversity: f64,
    /// Mean reward of the epochs since the trial before.
    pub learned_reward: Option<f64>,
}

/// All trials of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trials {
    all: Vec<Trial>,
}

/// `now` against `before` as a share of its size.
fn change(now: f64, before: f64) -> f64 {
    (now - before) / before.abs().max(1e-9)
}

impl Trials {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file is unreadable.
    pub fn load(file: &Path) -> TrainResult<Self> {
        record::load("the run's trials", file)
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path) -> TrainResult<()> {
        record::save("writing the run's trials", file, self)
    }

    /// Forgets trials after `epoch`, which a resumed run makes again.
    pub fn rewind(&mut self, epoch: usize) {
        self.all.retain(|t| t.epoch <= epoch);
    }

    /// Whether an epoch was tried.
    pub fn has(&self, epoch: usize) -> bool {
        self.all.iter().any(|t| t.epoch == epoch)
    }

    /// Adds one, replacing those of the same or later epochs.
    pub fn add(&mut self, trial: Trial) {
        self.all.retain(|t| t.epoch < trial.epoch);
        self.all.push(trial);
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[Trial] {
        &self.all
    }

    /// Whether a trial's independent measures and diversity held against stage 1.
    fn holds(&self, trial: &Trial, watch: &WatchConfig) -> bool {
        let Some(base) = self.all.first() else { return true };
        let held = |name: &String, now: f64| {
            base.independent.get(name).is_none_or(|before| change(now, *before) >= -TOLERATED)
        };
        trial.independent.iter().all(|(name, now)| held(name, *now))
            && change(trial.diversity, base.diversity) >= -watch.diversity_loss
    }

    /// The epoch whose weights are worth keeping.
    pub fn best(&self, watch: &WatchConfig) -> Option<usize> {
        let kept = self.all.iter().filter(|t| self.holds(t, watch));
        // Of equal ones the earlier: it is nearer to stage 1.
        let better =
            |a: &&Trial, b: &&Trial| a.reward.total_cmp(&b.reward).then(b.epoch.cmp(&a.epoch));
        kept.max_by(better).map(|t| t.epoch)
    }

    /// Why the run should end now, if it should.
    pub fn alarm(&self, watch: &WatchConfig) -> Option<Remark> {
        let (base, last) = (self.all.first()?, self.all.last()?);
        let lost = -change(last.diversity, base.diversity);
        if watch.diversity_loss < 1. && lost > watch.diversity_loss {
            let percent = format!("{:.0}", lost * 100.);
            let text = format!("pictures of one prompt have lost {percent} % of their diversity");
            return Some(Remark::new("lost-diversity", text).with("percent", percent));
        }
        if watch.patience == 0 || self.all.len() <= watch.patience {
            return None;
        }
        let recent = &self.all[self.all.len() - watch.patience - 1..];
        let learned: Vec<f64> = recent.iter().filter_map(|t| t.learned_reward).collect();
        let rose = matches!((learned.first(), learned.last()), (Some(a), Some(b)) if b > a);
        if !rose {
            return None;
        }
        let reward = recent.iter().map(|t| t.reward).collect::<Vec<_>>();
        let mut watched = vec![(None, reward)];
        for name in base.independent.keys() {
            let values = recent.iter().filter_map(|t| t.independent.get(name).copied()).collect();
            watched.push((Some(name), values));
        }
        let fallen = |values: &[f64]| {
            values.len() == recent.len()
                && values.windows(2).all(|pair| pair[1] < pair[0])
                && change(values[values.len() - 1], values[0]) < -NOTABLE
        };
        let (name, _) = watched.into_iter().find(|(_, values)| fallen(values))?;
        let n = watch.patience;
        let fell = format!("has fallen {n} times in a row while the reward rose");
        let remark = match name {
            None => Remark::new("fallen-reward", format!("the reward on kept-back prompts {fell}")),
            Some(name) => {
                let text = format!("{name}, which nothing is trained against, {fell}");
                Remark::new("fallen-measure", text).with("measure", name)
            }
        };
        Some(remark.with("count", n))
    }

    /// What became of the best against stage 1.
    pub fn verdict(&self, watch: &WatchConfig) -> Option<Remark> {
        let (base, best) = (self.all.first()?, self.best(watch)?);
        if best == 0 {
            return Some(Remark::new(
                "kept-stage1",
                "No trial on kept-back prompts was better than stage 1 with every other measure \
                 held: the character keeps drawing as before.",
            ));
        }
        let best = self.all.iter().find(|t| t.epoch == best)?;
        let error = base.reward_error.hypot(best.reward_error);
        let diff = best.reward - base.reward;
        let (code, sure) = if diff > 2. * error {
            ("kept-epoch", "")
        } else {
            ("kept-epoch-chance", ", which may be chance")
        };
        let (epoch, diff, error) = (best.epoch, format!("{diff:+.3}"), format!("{error:.3}"));
        let text = format!(
            "Kept epoch {epoch}: reward on kept-back prompts {diff} ± {error} against stage 1{sure}."
        );
        let remark = Remark::new(code, text).with("epoch", epoch);
        Some(remark.with("difference", diff).with("error", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(epoch: usize, reward: f64, shape: f64, learned: f64) -> Trial {
        Trial {
            epoch,
            reward,
            independent: BTreeMap::from([("shape".into(), shape)]),
            diversity: 0.5,
            learned_reward: (epoch > 0).then_some(learned),
            ..Trial::default()
        }
    }

    fn trials(all: &[Trial]) -> Trials {
        let mut trials = Trials::default();
        all.iter().cloned().for_each(|t| trials.add(t));
        trials
    }

    #[test]
    fn a_gamed_reward_ends_the_run_and_an_earlier_trial_is_kept() {
        let watch = WatchConfig::default();
        let gamed = trials(&[
            trial(0, 0.5, 0.8, 0.),
            trial(5, 0.6, 0.79, 0.5),
            trial(10, 0.7, 0.7, 0.6),
            trial(15, 0.8, 0.6, 0.7),
        ]);
        assert!(gamed.alarm(&watch).is_some_and(|why| why.text.contains("shape")));
        assert_eq!(gamed.best(&watch), Some(5));
        let honest = trials(&[
            trial(0, 0.5, 0.8, 0.),
            trial(5, 0.6, 0.79, 0.5),
            trial(10, 0.7, 0.81, 0.6),
            trial(15, 0.8, 0.8, 0.7),
        ]);
        assert_eq!((honest.alarm(&watch), honest.best(&watch)), (None, Some(15)));
        assert_eq!(gamed.alarm(&WatchConfig { patience: 0, ..watch }), None);
    }

    #[test]
    fn overfitting_to_prompts_and_lost_diversity_are_seen() {
        let watch = WatchConfig::default();
        let overfit = trials(&[
            trial(0, 0.5, 0.8, 0.),
            trial(5, 0.48, 0.8, 0.5),
            trial(10, 0.46, 0.8, 0.6),
            trial(15, 0.44, 0.8, 0.7),
        ]);
        assert!(overfit.alarm(&watch).is_some_and(|why| why.text.contains("kept-back")));
        assert_eq!(overfit.best(&watch), Some(0));
        assert!(overfit.verdict(&watch).is_some_and(|said| said.text.contains("as before")));
        let same = Trial { diversity: 0.3, ..trial(5, 0.6, 0.8, 0.5) };
        let collapsed = trials(&[trial(0, 0.5, 0.8, 0.), same]);
        assert!(collapsed.alarm(&watch).is_some_and(|why| why.text.contains("diversity")));
        assert_eq!(collapsed.best(&watch), Some(0));
    }

    #[test]
    fn a_resumed_run_makes_later_trials_again() {
        let mut all = trials(&[trial(0, 0.5, 0.8, 0.), trial(5, 0.6, 0.8, 0.5)]);
        all.rewind(3);
        assert!(all.has(0) && !all.has(5));
    }
}
