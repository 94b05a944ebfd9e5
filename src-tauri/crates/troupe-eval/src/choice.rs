//! Multiple choice without a favourite letter.
//!
//! The keys of the published items are far from balanced (always answering B scores 57 % of the
//! picture items), so an item is asked in all cyclic rotations of its options and scores the share
//! of rotations answered rightly: a strategy that always says one letter scores exactly 1/4.

use std::collections::BTreeMap;

use image::RgbImage;
use troupe_character::Question;
use troupe_model::runtime::Model;

use crate::{
    error::{EvalError, EvalResult},
    likelihood::Asked,
};

/// Letters of the options, in order.
pub const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// A multiple-choice item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id within the character.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The options, in the order of their letters.
    pub options: Vec<String>,
    /// Index of the right option.
    pub right: usize,
}

impl Item {
    /// An item of a question; `None` when it has no options, more than four, or no right one.
    pub fn of(question: &Question) -> Option<Self> {
        let options: Vec<(&String, &String)> = question.options.iter().collect();
        let key = question.answer_key.as_ref()?;
        let right = options.iter().position(|(letter, _)| *letter == key)?;
        (2..=LETTERS.len()).contains(&options.len()).then(|| Self {
            id: question.id.clone(),
            question: question.question.clone(),
            options: options.into_iter().map(|(_, text)| text.clone()).collect(),
            right,
        })
    }

    /// The item with its options moved round by `shift`: option `i` takes the place of letter
    /// `(i + shift) mod n`.
    pub fn rotated(&self, shift: usize) -> Self {
        let mut rotated = self.clone();
        let n = self.options.len();
        rotated.options.rotate_right(shift % n);
        rotated.right = (self.right + shift) % n;
        rotated
    }

    /// What the model is asked.
    pub fn prompt(&self) -> String {
        let mut prompt = format!("{}\n", self.question.trim());
        for (letter, option) in LETTERS.iter().zip(&self.options) {
            prompt.push_str(&format!("{letter}. {}\n", option.trim()));
        }
        prompt.push_str("Answer with the letter of the right option only.");
        prompt
    }
}

/// Outcome of asking an item in every rotation.
#[derive(Debug, Clone, PartialEq)]
pub struct RotationScore {
    /// Share of rotations answered rightly.
    pub score: f64,
    /// Chosen letter of each rotation, by index.
    pub chosen: Vec<usize>,
    /// The original order was answered rightly.
    pub is_right_unrotated: bool,
}

/// Asks an item in every rotation. `answer` returns the index of the chosen letter.
///
/// # Errors
/// Those of `answer`.
pub fn by_rotation(
    item: &Item,
    mut answer: impl FnMut(&Item) -> EvalResult<usize>,
) -> EvalResult<RotationScore> {
    let mut chosen = Vec::new();
    let mut num_right = 0;
    for shift in 0..item.options.len() {
        let rotated = item.rotated(shift);
        let choice = answer(&rotated)?;
        num_right += usize::from(choice == rotated.right);
        chosen.push(choice);
    }
    Ok(RotationScore {
        score: num_right as f64 / item.options.len() as f64,
        is_right_unrotated: chosen.first() == Some(&item.right),
        chosen,
    })
}

/// The letter whose token is likeliest to begin the model's reply.
///
/// # Errors
/// When the network fails, or the letters do not begin with different tokens.
pub fn letter(model: &Model, picture: Option<&RgbImage>, item: &Item) -> EvalResult<usize> {
    let logits = Asked::read(model, picture, &item.prompt())?.first_logits()?;
    let mut best: Option<(usize, f32)> = None;
    let mut seen = Vec::new();
    for (index, letter) in LETTERS.iter().take(item.options.len()).enumerate() {
        let id = model.tokenizer().encode(letter)?.first().copied();
        let id = id.filter(|id| !seen.contains(id)).ok_or_else(|| {
            EvalError::Request("this model's tokenizer cannot tell the letters A to D apart".into())
        })?;
        seen.push(id);
        let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((index, logit));
        }
    }
    Ok(best.map_or(0, |(index, _)| index))
}

/// The option whose text is the likeliest answer to the bare question, by mean log-likelihood of
/// its tokens.
///
/// # Errors
/// When the network fails.
pub fn option_text(model: &Model, picture: Option<&RgbImage>, item: &Item) -> EvalResult<usize> {
    let asked = Asked::read(model, picture, &item.question)?;
    let mut best: Option<(usize, f64)> = None;
    for (index, option) in item.options.iter().enumerate() {
        let surprise = asked.surprise(option.trim(), false)?.per_token();
        if best.is_none_or(|(_, least)| surprise < least) {
            best = Some((index, surprise));
        }
    }
    Ok(best.map_or(0, |(index, _)| index))
}

/// How often each letter is the key.
pub fn key_counts<'a>(questions: impl Iterator<Item = &'a Question>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for question in questions {
        if let Some(key) = &question.answer_key {
            *counts.entry(key.clone()).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use troupe_nn::noise::{Noise, Stream};

    use super::*;

    fn item(right: usize) -> Item {
        Item {
            id: "i".into(),
            question: "Which?".into(),
            options: ["w", "x", "y", "z"].map(String::from).into(),
            right,
        }
    }

    #[test]
    fn rotations_move_the_right_option_through_all_letters() {
        let item = item(1);
        let letters: Vec<usize> = (0..4).map(|shift| item.rotated(shift).right).collect();
        assert_eq!(letters, [1, 2, 3, 0]);
        for shift in 0..4 {
            let rotated = item.rotated(shift);
            assert_eq!(rotated.options[rotated.right], "x");
        }
        assert_eq!(item.prompt().lines().nth(2), Some("B. x"));
    }

    #[test]
    fn perfect_constant_and_random_answers_score_as_they_should() {
        for right in 0..4 {
            let perfect = by_rotation(&item(right), |i| Ok(i.right)).unwrap();
            assert_eq!((perfect.score, perfect.is_right_unrotated), (1., true));
            for constant in 0..4 {
                let score = by_rotation(&item(right), |_| Ok(constant)).unwrap();
                assert_eq!(score.score, 0.25);
            }
        }
        let mut noise = Noise::new(1, Stream::Sampling, 0);
        let scores: Vec<f64> = (0..2000)
            .map(|n| by_rotation(&item(n % 4), |_| Ok(noise.below(4))).unwrap().score)
            .collect();
        // 8000 independent answers: standard error √(0.25·0.75/8000) = 0.0048.
        let e = crate::stats::estimate(&[scores], 1, 2000).unwrap();
        assert!((e.mean - 0.25).abs() < 0.02 && e.ci_low < 0.25 && e.ci_high > 0.23, "{e:?}");
    }
}
