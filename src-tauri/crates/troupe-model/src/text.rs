//! Text decoding: choosing tokens from logits, and the decoding loop.
//!
//! Source of the loop: BAGEL, `modeling/bagel/bagel.py` (`generate_text`).

use std::ops::ControlFlow;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use troupe_nn::noise::{Noise, Stream};

use crate::context::{Context, Reader};

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TextSampling {
    /// Softmax temperature; 0 takes the likeliest token.
    pub temperature: f32,
    /// Keep this many likeliest tokens.
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Keep tokens at least this likely relative to the likeliest.
    pub min_p: Option<f32>,
    /// Divides the scores of tokens already produced; 1 does nothing.
    pub repetition_penalty: f32,
    /// Fewest tokens of a reply: the end token is not chosen before them.
    pub min_tokens: usize,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// Seed of all choices.
    pub seed: u64,
}

impl Default for TextSampling {
    /// UniCharacter's role play: plain sampling at temperature 0.7.
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.,
            min_tokens: 0,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

impl TextSampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0., ..Self::default() }
    }

    /// Chooses token number `step` from `logits`; `produced` are the tokens so far.
    ///
    /// Ties go to the lower id. Not-a-number scores are never chosen.
    pub fn choose(&self, mut logits: Vec<f32>, produced: &[u32], step: u64) -> u32 {
        self.penalise(&mut logits, produced);
        if self.temperature <= 0. {
            return argmax(&logits);
        }
        let mut ranked: Vec<(usize, f64)> = logits
            .iter()
            .enumerate()
            .filter(|(_, x)| x.is_finite())
            .map(|(id, x)| (id, f64::from(*x) / f64::from(self.temperature)))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let Some(&(best, top)) = ranked.first() else {
            return argmax(&logits);
        };
        ranked.truncate(self.top_k.unwrap_or(usize::MAX).max(1));
        ranked.iter_mut().for_each(|(_, x)| *x = (*x - top).exp());
        if let Some(min_p) = self.min_p {
            ranked.retain(|(_, p)| *p >= f64::from(min_p));
        }
        if let Some(top_p) = self.top_p {
            keep_mass(&mut ranked, f64::from(top_p));
        }
        let total: f64 = ranked.iter().map(|(_, p)| p).sum();
        let mut left = Noise::new(self.seed, Stream::Tokens, step).uniform() * total;
        for (id, p) in &ranked {
            left -= p;
            if left < 0. {
                return *id as u32;
            }
        }
        best as u32
    }

    fn penalise(&self, logits: &mut [f32], produced: &[u32]) {
        if self.repetition_penalty == 1. {
            return;
        }
        let mut ids = produced.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(x) = logits.get_mut(id as usize) {
                *x = if *x > 0. {
                    *x / self.repetition_penalty
                } else {
                    *x * self.repetition_penalty
                };
            }
        }
    }
}

/// Drops the tail of likelihoods beyond the share `top_p` of their sum; keeps at least one.
fn keep_mass(ranked: &mut Vec<(usize, f64)>, top_p: f64) {
    let total: f64 = ranked.iter().map(|(_, p)| p).sum();
    let mut mass = 0.;
    let kept = ranked
        .iter()
        .take_while(|(_, p)| {
            let below = mass < top_p * total;
            mass += p;
            below
        })
        .count();
    ranked.truncate(kept.max(1));
}

/// Index of the largest value; the first of several.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, x) in logits.iter().enumerate() {
        if *x > best.1 {
            best = (id, *x);
        }
    }
    best.0 as u32
}

/// What a decoding run produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Tokens fed to the model, from the first one of the prefix on; never the end token.
    pub tokens: Vec<u32>,
    /// Whether the end token was chosen.
    pub ended: bool,
    /// Whether the callback stopped the run.
    pub stopped: bool,
}

impl Reader<'_> {
    /// Decodes from a copy of `context`, feeding `prefix` (the start token and any role word) first.
    ///
    /// `on` receives every produced token and may stop the run. `max_length` counts the start
    /// token, as in the reference, so at most `max_length − 1` tokens are produced.
    ///
    /// # Errors
    /// When the network fails.
    pub fn decode(
        &self,
        context: &Context,
        prefix: &[u32],
        max_length: usize,
        sampling: &TextSampling,
        on: &mut dyn FnMut(u32, &Tensor) -> ControlFlow<()>,
    ) -> Result<Decoded> {
        let mut context = context.fork()?;
        let mut decoded = Decoded { tokens: prefix.to_vec(), ended: false, stopped: false };
        let mut next = prefix.to_vec();
        for step in 1..=max_length {
            let logits = self.next_logits(&mut context, &next)?;
            let produced = &decoded.tokens[prefix.len()..];
            let mut scores = logits.to_vec1()?;
            if produced.len() < sampling.min_tokens
                && let Some(end) = scores.get_mut(self.special.im_end as usize)
            {
                *end = f32::NEG_INFINITY;
            }
            let token = sampling.choose(scores, produced, step as u64);
            if on(token, &logits).is_break() {
                decoded.stopped = true;
                break;
            }
            if token == self.special.im_end {
                decoded.ended = true;
                break;
            }
            if step == max_length {
                break; // the reference discards the token of the last iteration
            }
            decoded.tokens.push(token);
            next = vec![token];
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(TextSampling::greedy().choose(vec![0., 3., 3., 1.], &[], 1), 1);
        assert_eq!(TextSampling::greedy().choose(vec![f32::NAN, 3.], &[], 1), 1);
    }

    #[test]
    fn filters_leave_only_what_they_promise() {
        // Probabilities proportional to 8, 4, 2, 1 (temperature 1).
        let logits: Vec<f32> = [8f32, 4., 2., 1.].map(f32::ln).to_vec();
        let seen = |sampling: TextSampling| {
            let mut seen = [false; 4];
            for step in 0..400 {
                seen[sampling.choose(logits.clone(), &[], step) as usize] = true;
            }
            seen
        };
        let plain = TextSampling { temperature: 1., ..Default::default() };
        assert_eq!(seen(plain.clone()), [true; 4]);
        assert_eq!(
            seen(TextSampling { top_k: Some(2), ..plain.clone() }),
            [true, true, false, false]
        );
        // 8/15 = 0.533 alone is below 0.6, with 4/15 it is reached.
        assert_eq!(
            seen(TextSampling { top_p: Some(0.6), ..plain.clone() }),
            [true, true, false, false]
        );
        assert_eq!(seen(TextSampling { min_p: Some(0.2), ..plain }), [true, true, true, false]);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let sampling = TextSampling { temperature: 1., seed: 5, ..Default::default() };
        let logits = vec![3f32.ln(), 0.];
        let hits =
            (0..4000).filter(|step| sampling.choose(logits.clone(), &[], *step) == 0).count();
        // Expected 3000, standard deviation 27.
        assert!((2890..3110).contains(&hits), "{hits}");
    }

    #[test]
    fn a_penalty_moves_the_choice_away() {
        let sampling = TextSampling { repetition_penalty: 2., ..TextSampling::greedy() };
        assert_eq!(sampling.choose(vec![1., 1.5], &[1], 1), 0);
    }
}
