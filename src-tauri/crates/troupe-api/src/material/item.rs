//! One item with everything in it.

use troupe_character::{Character, PicturePrompt, PromptQuestion, Question, Turn};

use super::{Indexed, Place};
use crate::wire::{
    MaterialCheck, MaterialItem, MaterialOption, MaterialQuestion, MaterialRow, MaterialTurn,
};

/// The whole item behind `row`.
pub(super) fn whole(character: &Character, item: &Indexed, row: MaterialRow) -> MaterialItem {
    let caption = item.picture_id.as_deref().and_then(|id| character.picture(id));
    let mut whole = MaterialItem {
        caption: caption.map(|picture| picture.caption.clone()),
        turns: Vec::new(),
        question: None,
        checks: Vec::new(),
        row: MaterialRow { text: String::new(), ..row },
    };
    match item.place {
        Place::Scene(at) => whole.turns = character.scenes[at].turns.iter().map(turn).collect(),
        Place::Question(at) => whole.question = Some(question(&character.questions[at])),
        Place::Prompt(at) => {
            whole.row.text = character.prompts[at].text.clone();
            whole.checks = checks(&character.prompts[at]);
        }
    }
    whole
}

fn turn(turn: &Turn) -> MaterialTurn {
    MaterialTurn {
        is_user: turn.role == troupe_character::Speaker::User,
        text: turn.text.clone(),
        picture_id: turn.picture.clone(),
        reasoning: turn.reasoning.clone(),
        instruction: turn.instruction.clone(),
        missing_picture: turn.missing_picture.clone(),
    }
}

fn question(question: &Question) -> MaterialQuestion {
    let option = |(key, text): (&String, &String)| MaterialOption {
        key: key.clone(),
        text: text.clone(),
        is_right: question.answer_key.as_ref() == Some(key),
    };
    MaterialQuestion {
        question: question.question.clone(),
        answer: question.answer.clone(),
        options: question.options.iter().map(option).collect(),
        category: question.category.clone(),
        difficulty: question.difficulty.clone(),
        confidence: question.confidence.as_ref().and_then(serde_json::Number::as_f64),
        evidence: question.evidence.clone(),
        reasoning_steps: question.reasoning_steps.clone(),
        rationale: question.rationale.clone(),
        raw: question.raw.clone(),
        dropped: question.dropped.clone(),
    }
}

/// Every question of a prompt; those that do not count are marked.
fn checks(prompt: &PicturePrompt) -> Vec<MaterialCheck> {
    let usable = prompt.usable_questions();
    let sum: f64 = usable.iter().map(|q| q.weight.max(0.)).sum();
    let check = |question: &PromptQuestion| {
        let counts = usable.iter().any(|&other| std::ptr::eq(other, question));
        let share = if counts && sum > 0. { question.weight.max(0.) / sum } else { 0. };
        MaterialCheck {
            question: question.question.clone(),
            kind: question.kind.clone(),
            category: question.category.clone(),
            answer: question.answer.clone(),
            choices: question.choices.clone(),
            weight: question.weight,
            share,
            is_negative: question.is_negative,
            is_left_out: !counts,
        }
    };
    prompt.questions.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_what_counts_add_up_and_repeats_get_none() {
        let ask = |question: &str, answer: &str, weight: f64| PromptQuestion {
            question: question.into(),
            answer: answer.into(),
            weight,
            ..PromptQuestion::default()
        };
        let prompt = PicturePrompt {
            questions: vec![
                ask("Is it day?", "yes", 3.),
                ask("is it day", "yes", 3.),
                ask("A hat?", "no", 1.),
            ],
            ..PicturePrompt::default()
        };
        let found = checks(&prompt);
        let shares: Vec<f64> = found.iter().map(|check| check.share).collect();
        assert_eq!(shares, [0.75, 0., 0.25]);
        assert!(found[1].is_left_out && !found[2].is_left_out);
    }
}
