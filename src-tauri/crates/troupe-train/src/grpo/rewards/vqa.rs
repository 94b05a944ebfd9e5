//! Whether questions about a picture are answered as expected.
//!
//! Soft: yes/no questions alone, `q = p(expected) / (p(yes) + p(no))`, expected yes and expected no
//! weighing the same, so that an answerer who always says yes earns a half. Exact: the weighted
//! share of answers that match to the letter, as the reference counts.
//!
//! Source: UniCharacter, `vqa_scorer.py`, which asks BLIP. So does this where BLIP's files are present;
//! else the frozen stage-1 model answers, which needs no other network but can be gamed.

use image::RgbImage;
use troupe_character::PromptQuestion;
use troupe_model::yes_no::balanced;

use super::{Group, Scorer, VqaForm};
use crate::error::TrainResult;

/// Answers questions about a picture.
pub trait Answerer {
    /// Probabilities of yes and of no for each question, as the first word.
    ///
    /// # Errors
    /// When the network fails.
    fn yes_no(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<(f64, f64)>>;

    /// A short answer to each question.
    ///
    /// # Errors
    /// When the network fails.
    fn answers(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<String>>;
}

/// Weighted share of exactly matching answers; `None` without weights.
pub fn exact_score(answers: &[String], questions: &[&PromptQuestion]) -> Option<f64> {
    let weights: f64 = questions.iter().map(|q| q.weight).sum();
    let matches =
        |answer: &str, q: &PromptQuestion| answer.trim().to_lowercase() == q.answer.to_lowercase();
    let earned: f64 = answers
        .iter()
        .zip(questions)
        .filter(|(answer, q)| matches(answer, q))
        .map(|(_, q)| q.weight)
        .sum();
    (weights > 0.).then(|| earned / weights)
}

/// The reference's score of a prompt without questions, from the reply to the fallback question.
pub fn fallback_score(reply: &str) -> f64 {
    let reply = reply.to_lowercase();
    if ["yes", "true", "correct"].iter().any(|word| reply.contains(word)) {
        1.
    } else if ["no", "false", "incorrect"].iter().any(|word| reply.contains(word)) {
        0.
    } else {
        0.5
    }
}

/// Scores answers.
pub struct VqaScorer<'a> {
    /// Who answers.
    pub answerer: Box<dyn Answerer + 'a>,
    /// How answers count.
    pub form: VqaForm,
    /// Most questions of a picture; 0 asks all.
    pub max_questions: usize,
}

impl VqaScorer<'_> {
    fn chosen<'g>(&self, group: &Group<'g>) -> Vec<&'g PromptQuestion> {
        let all = group.prompt.usable_questions().into_iter();
        let mut kept: Vec<&PromptQuestion> = match self.form {
            VqaForm::Soft => all.filter(|q| q.expects_yes().is_some()).collect(),
            VqaForm::Exact => all.collect(),
        };
        if self.max_questions > 0 {
            kept.truncate(self.max_questions);
        }
        kept
    }

    fn soft(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let kept = self.chosen(group);
        let texts: Vec<String> = kept.iter().map(|q| q.question.clone()).collect();
        let wants: Vec<bool> = kept.iter().map(|q| q.expects_yes() == Some(true)).collect();
        group
            .images
            .iter()
            .map(|image| {
                if texts.is_empty() {
                    return Ok(0.5); // nothing can be told
                }
                Ok(balanced(&self.answerer.yes_no(image, &texts)?, &wants).unwrap_or(0.5))
            })
            .collect()
    }

    fn exact(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let kept = self.chosen(group);
        let mut texts: Vec<String> = kept.iter().map(|q| q.question.clone()).collect();
        if group.prompt.questions.is_empty() {
            texts = vec![format!("Does this image accurately show: {}?", group.prompt.text)];
        }
        group
            .images
            .iter()
            .map(|image| {
                let answers = self.answerer.answers(image, &texts)?;
                Ok(match answers.first() {
                    Some(reply) if group.prompt.questions.is_empty() => fallback_score(reply),
                    _ => exact_score(&answers, &kept).unwrap_or(0.),
                })
            })
            .collect()
    }
}

impl Scorer for VqaScorer<'_> {
    fn name(&self) -> &'static str {
        "vqa"
    }

    fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
        match self.form {
            VqaForm::Soft => self.soft(group),
            VqaForm::Exact => self.exact(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use troupe_character::PicturePrompt;

    use super::*;

    fn ask(question: &str, answer: &str, weight: f64) -> PromptQuestion {
        PromptQuestion {
            question: question.into(),
            answer: answer.into(),
            weight,
            ..PromptQuestion::default()
        }
    }

    struct AlwaysYes;

    impl Answerer for AlwaysYes {
        fn yes_no(&self, _: &RgbImage, questions: &[String]) -> TrainResult<Vec<(f64, f64)>> {
            Ok(vec![(0.5, 0.); questions.len()])
        }

        fn answers(&self, _: &RgbImage, questions: &[String]) -> TrainResult<Vec<String>> {
            Ok(vec![" Yes".into(); questions.len()])
        }
    }

    /// I-18: a case by hand.
    #[test]
    fn exact_answers_earn_their_weights() {
        let questions = [ask("a?", "Yes", 1.), ask("b?", "no", 0.5), ask("c?", "blue", 0.5)];
        let kept: Vec<&PromptQuestion> = questions.iter().collect();
        let answers = ["yes ".to_owned(), "yes".into(), "Blue".into()];
        assert_eq!(exact_score(&answers, &kept), Some(0.75)); // (1 + 0.5) / 2
        assert_eq!(exact_score(&[], &[]), None);
        assert_eq!(
            [fallback_score("Yes."), fallback_score("No"), fallback_score("hm")],
            [1., 0., 0.5]
        );
    }

    #[test]
    fn always_yes_earns_a_half_when_soft() -> TrainResult<()> {
        let prompt = PicturePrompt {
            questions: vec![ask("a?", "yes", 1.), ask("b?", "yes", 1.), ask("c?", "no", 0.1)],
            ..PicturePrompt::default()
        };
        let images = [RgbImage::new(2, 2)];
        let group = Group { prompt: &prompt, images: &images };
        let scorer = |form| VqaScorer { answerer: Box::new(AlwaysYes), form, max_questions: 0 };
        assert_eq!(scorer(VqaForm::Soft).score(&group)?, [0.5]);
        assert!((scorer(VqaForm::Exact).score(&group)?[0] - 2. / 2.1).abs() < 1e-12);
        assert_eq!(balanced(&[(0.3, 0.1)], &[true]), Some(0.3 / 0.4));
        Ok(())
    }
}
