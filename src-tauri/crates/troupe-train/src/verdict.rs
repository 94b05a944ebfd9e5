//! What validations say about a run: which was best, when to end, and what to tell a person.

use std::path::Path;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{error::TrainResult, events::Remark, record};

/// One validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Steps done.
    pub step: usize,
    /// Text loss on held-out samples.
    pub ce: Option<f64>,
    /// Flow loss on held-out samples.
    pub mse: Option<f64>,
    /// Likeness of a picture drawn from a new caption to the nearest learned one.
    pub copying: Option<Likeness>,
}

/// How like a picture is to learned ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likeness {
    /// Correlation of the drawn picture with the nearest learned one.
    pub drawn: f64,
    /// Correlation of the true picture of that caption with the nearest learned one.
    pub natural: f64,
}

/// Correlation from which a drawn picture may be a copy.
const COPY: f64 = 0.95;
/// By how much a copy is nearer to a learned picture than the true one is.
const COPY_MARGIN: f64 = 0.02;
/// Relative change of the held-out loss that counts.
const NOTABLE: f64 = 0.005;

impl Likeness {
    /// Whether the drawn picture looks like a copy.
    pub fn is_copy(&self) -> bool {
        self.drawn >= COPY && self.drawn >= self.natural + COPY_MARGIN
    }
}

/// All validations of a run, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    all: Vec<Observation>,
}

impl Observations {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file is unreadable.
    pub fn load(file: &Path) -> TrainResult<Self> {
        record::load("the run's validations", file)
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path) -> TrainResult<()> {
        record::save("writing the run's validations", file, self)
    }

    /// Forgets validations after `step`, which a resumed run will make again.
    pub fn rewind(&mut self, step: usize) {
        self.all.retain(|o| o.step <= step);
    }

    /// Whether `step` was validated.
    pub fn has(&self, step: usize) -> bool {
        self.all.iter().any(|o| o.step == step)
    }

    /// Adds one, replacing an earlier one of the same step.
    pub fn add(&mut self, observation: Observation) {
        self.rewind(observation.step);
        self.all.retain(|o| o.step != observation.step);
        self.all.push(observation);
    }

    /// What a validation is judged by: the held-out text loss, or the flow loss where no text was kept
    /// back; lower is better. With ten pictures the flow loss says little: the one or two kept back
    /// show other places, so it rises while what is drawn turns from a blur into the character.
    fn score(&self, observation: &Observation) -> Option<f64> {
        if self.all.iter().any(|o| o.ce.is_some()) { observation.ce } else { observation.mse }
    }

    fn scores(&self) -> Vec<(usize, f64)> {
        self.all.iter().filter_map(|o| Some((o.step, self.score(o)?))).collect()
    }

    /// The step with the lowest held-out loss, the base itself left out; of those that hardly differ
    /// from it the last, since what is drawn goes on gaining when the text has been learned.
    pub fn best(&self) -> Option<usize> {
        let learned: Vec<_> = self.scores().into_iter().filter(|(step, _)| *step > 0).collect();
        let lowest = learned.iter().map(|(_, score)| *score).min_by(f64::total_cmp)?;
        let is_alike = |score: f64| score <= lowest * (1. + NOTABLE);
        learned.into_iter().rfind(|(_, score)| is_alike(*score)).map(|(step, _)| step)
    }

    /// Whether the last `patience` validations are all worse than the best one.
    pub fn has_turned(&self, patience: usize) -> bool {
        let Some(best) = self.best() else { return false };
        patience > 0 && self.all.iter().filter(|o| o.step > best).count() >= patience
    }

    /// What the newest validation means, in words.
    pub fn verdict(&self) -> Option<String> {
        let scores = self.scores();
        let progress = match scores.as_slice() {
            [] => {
                "Nothing is held back to compare with; add scenes or pictures to see more.".into()
            }
            [_] => return None,
            [.., (_, before), (step, now)] => {
                let best = self.best().unwrap_or(*step);
                let is_worse = *now > before * (1. + NOTABLE);
                if is_worse && best != *step {
                    format!("Getting worse at what it has not seen; step {best} was the best.")
                } else if is_worse {
                    "Not yet learning: the untaught base does better at what it has not seen."
                        .into()
                } else if *now < before * (1. - NOTABLE) {
                    "Still learning: it gets better at what it has not seen.".into()
                } else {
                    "Learned: it hardly changes at what it has not seen.".into()
                }
            }
        };
        Some(progress)
    }

    /// That new pictures are copies of learned ones, where the newest validation says so.
    pub fn copying(&self) -> Option<Remark> {
        let likeness = self.all.last()?.copying.filter(Likeness::is_copy)?;
        let percent = format!("{:.0}", likeness.drawn * 100.);
        let text =
            format!("It starts to copy its pictures: a new one is {percent} % like a learned one.");
        Some(Remark::new("copies-pictures", text).with("percent", percent))
    }
}

/// Largest correlation of `picture` with any of `others`; those of another size are left out.
///
/// # Errors
/// When a tensor cannot be read.
pub fn nearest<'a>(
    picture: &Tensor,
    others: impl Iterator<Item = &'a Tensor>,
) -> Result<Option<f64>> {
    let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    let wanted = values(picture)?;
    let mut nearest: Option<f64> = None;
    for other in others.filter(|other| other.dims() == picture.dims()) {
        let likeness = correlation(&wanted, &values(other)?);
        nearest = Some(nearest.map_or(likeness, |best| best.max(likeness)));
    }
    Ok(nearest)
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len().max(1) as f64;
    let mean = |xs: &[f32]| xs.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0., 0., 0.);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - mean_a, f64::from(*y) - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt().max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn observations(losses: &[(f64, f64)]) -> Observations {
        let mut all = Observations::default();
        for (index, (ce, mse)) in losses.iter().enumerate() {
            let (ce, mse) = (Some(*ce), Some(*mse));
            all.add(Observation { step: index * 10, ce, mse, copying: None });
        }
        all
    }

    #[test]
    fn text_decides_and_the_base_is_never_best() {
        let all = observations(&[(4., 0.2), (2., 0.3), (3.2, 0.1)]);
        assert_eq!(all.best(), Some(10));
        assert_eq!(observations(&[(1., 1.), (2., 2.), (3., 3.)]).best(), Some(10));
        assert_eq!(observations(&[(1., 1.)]).best(), None);
    }

    #[test]
    fn of_those_alike_the_last_is_best() {
        let losses = [(4., 0.2), (3.6, 0.2), (3.5, 0.3), (3.51, 0.3), (3.6, 0.3)];
        assert_eq!(observations(&losses).best(), Some(30));
        assert_eq!(observations(&losses[..4]).best(), Some(30), "known as soon as it is seen");
    }

    #[test]
    fn pictures_decide_where_no_text_was_kept_back() {
        let mut all = Observations::default();
        for (step, mse) in [(0, 0.3), (10, 0.2), (20, 0.1), (30, 0.15)] {
            all.add(Observation { step, ce: None, mse: Some(mse), copying: None });
        }
        assert_eq!(all.best(), Some(20));
        assert!(all.has_turned(1));
    }

    #[test]
    fn ends_after_so_many_worse_ones() {
        let all = observations(&[(4., 1.), (2., 0.5), (2.1, 0.5), (2.2, 0.5)]);
        assert!(all.has_turned(2) && !all.has_turned(3) && !all.has_turned(0));
        assert!(!observations(&[(4., 1.), (2., 0.5), (2.1, 0.5), (1.9, 0.5)]).has_turned(1));
    }

    #[test]
    fn says_what_the_losses_mean() {
        let verdict = |losses: &[(f64, f64)]| observations(losses).verdict().unwrap_or_default();
        assert!(verdict(&[(4., 1.), (2., 0.5)]).starts_with("Still learning"));
        assert!(verdict(&[(4., 1.), (2., 0.5), (2.001, 0.5)]).starts_with("Learned"));
        assert!(verdict(&[(4., 1.), (2., 0.5), (2.5, 0.5)]).contains("step 10 was the best"));
        assert!(verdict(&[(4., 1.), (4.5, 0.5)]).starts_with("Not yet learning"));
        let mut all = observations(&[(4., 1.), (2., 0.5)]);
        let copying = Some(Likeness { drawn: 0.99, natural: 0.6 });
        all.add(Observation { step: 20, ce: Some(1.), mse: Some(0.4), copying });
        let copying = all.copying().unwrap_or_default();
        assert!(copying.text.contains("copy its pictures: a new one is 99 %"), "{copying:?}");
        assert_eq!(copying.values["percent"], "99");
    }

    #[test]
    fn a_near_twin_in_the_data_is_no_copy() {
        assert!(Likeness { drawn: 0.97, natural: 0.6 }.is_copy());
        assert!(!Likeness { drawn: 0.97, natural: 0.96 }.is_copy());
        assert!(!Likeness { drawn: 0.9, natural: 0.6 }.is_copy());
    }

    #[test]
    fn finds_the_nearest_picture() -> Result<()> {
        let picture = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let a = picture(&[1., 2., 3., 4.])?;
        let others =
            [picture(&[2., 4., 6., 8.])?, picture(&[4., 3., 2., 1.])?, picture(&[1., 2.])?];
        let near = nearest(&a, others.iter())?.unwrap_or_default();
        assert!((near - 1.).abs() < 1e-9);
        let far = nearest(&a, others[1..].iter())?.unwrap_or_default();
        assert!((far + 1.).abs() < 1e-9);
        assert_eq!(nearest(&a, others[2..].iter())?, None);
        Ok(())
    }

    #[test]
    fn a_resumed_run_forgets_what_it_will_do_again() {
        let mut all = observations(&[(4., 1.), (2., 0.5), (3., 0.5)]);
        all.rewind(15);
        assert!(all.has(10) && !all.has(20));
    }
}
