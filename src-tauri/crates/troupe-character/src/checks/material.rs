//! Findings about dialogue, questions and prompts.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Found,
    language::{self, language},
};
use crate::{
    Character, QuestionKind, Speaker, Split,
    normalise::loose,
    records::{Question, Scene},
    rolescape::Severity::{Error, Info, Warning},
};

/// Share of one letter among the keys from which the keys count as unbalanced.
const UNBALANCED: f64 = 0.5;
/// Choice items from which balance can be judged.
const ENOUGH_CHOICES: usize = 8;
/// Ids named in a finding; the rest is counted.
pub(super) const NAMED: usize = 4;

/// `a, b, c and 5 more`.
pub(super) fn named<S: AsRef<str>>(ids: &[S]) -> String {
    let mut shown: Vec<&str> = ids.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = format!("{} more", ids.len().saturating_sub(NAMED));
    if ids.len() > NAMED {
        shown.push(&more);
    }
    shown.join(", ")
}

pub(super) fn dialogue(character: &Character, found: &mut Found) {
    if character.greeting.trim().is_empty() {
        let message =
            format!("{} has no greeting, so every chat begins with silence", character.name);
        found
            .add(Info, "no-greeting", message, "Write the first line of a chat.")
            .with("name", &character.name);
    }
    let empty: Vec<&str> =
        character.scenes.iter().filter(|s| has_empty_turn(s)).map(|s| s.id.as_str()).collect();
    if !empty.is_empty() {
        let message = format!("scenes with an empty turn: {}", named(&empty));
        found
            .fixable(Warning, "empty-turn", message, "Fill the turns, or remove them.")
            .with_ids(&empty);
    }
    let alone: Vec<&str> = character
        .scenes
        .iter()
        .filter(|scene| !has_exchange(scene))
        .map(|scene| scene.id.as_str())
        .collect();
    if !alone.is_empty() {
        let message = format!("scenes in which nobody is answered: {}", named(&alone));
        let hint = "Give each at least a line of the person and the character's reply.";
        found.add(Warning, "no-exchange", message, hint).with_ids(&alone);
    }
    leaks(character, found);
    repeated_replies(character, found);
    other_language(character, found);
}

fn has_empty_turn(scene: &Scene) -> bool {
    scene.turns.iter().any(|turn| turn.text.trim().is_empty())
}

fn has_exchange(scene: &Scene) -> bool {
    scene.turns.windows(2).any(|pair| {
        pair[0].role == Speaker::User
            && pair[1].role == Speaker::Character
            && pair.iter().all(|turn| !turn.text.trim().is_empty())
    })
}

fn leaks(character: &Character, found: &mut Found) {
    let lines = |split: Split| {
        let scenes = character.scenes.iter().filter(move |scene| scene.split == split);
        scenes.filter_map(|scene| {
            Some((scene, scene.turns.iter().find(|t| t.role == Speaker::User)?))
        })
    };
    let known: HashSet<String> = lines(Split::Train).map(|(_, turn)| loose(&turn.text)).collect();
    let leaked: Vec<&str> = lines(Split::Test)
        .filter(|(_, turn)| known.contains(&loose(&turn.text)))
        .map(|(scene, _)| scene.id.as_str())
        .collect();
    if !leaked.is_empty() {
        let message = format!("test scenes whose line is also learned from: {}", named(&leaked));
        let hint = "Write other lines for the test; evaluation reports these apart.";
        found.add(Warning, "test-leak", message, hint).with_ids(&leaked);
    }
}

fn repeated_replies(character: &Character, found: &mut Found) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut repeats = Vec::new();
    let text_scenes = character.scenes.iter().filter(|scene| scene.picture().is_none());
    for scene in text_scenes {
        for turn in scene.turns.iter().filter(|t| t.role == Speaker::Character) {
            let key = loose(&turn.text);
            if key.split(' ').count() > 3
                && let Some(first) = seen.insert(key, &scene.id)
                && first != scene.id
            {
                repeats.push(format!("{first} and {}", scene.id));
            }
        }
    }
    if !repeats.is_empty() {
        let message = format!("the same reply twice: {}", named(&repeats));
        found
            .add(Info, "repeated-reply", message, "Say it differently, or remove one.")
            .with_ids(&repeats);
    }
}

fn other_language(character: &Character, found: &mut Found) {
    let turns = character.scenes.iter().flat_map(|scene| &scene.turns);
    let replies: Vec<&str> =
        turns.filter(|t| t.role == Speaker::Character).map(|t| t.text.as_str()).collect();
    let (persona, spoken) = (language(&character.persona), language(&replies.join("\n")));
    if let (Some(persona), Some(spoken)) = (persona, spoken)
        && persona != spoken
    {
        let message = format!("the persona is in {persona}, the example replies are in {spoken}");
        let hint = "Write both in the language that the character speaks.";
        found
            .add(Warning, "other-language", message, hint)
            .with("persona", language::tag(persona))
            .with("spoken", language::tag(spoken));
    }
}

fn ids<'a>(questions: impl Iterator<Item = &'a Question>) -> Vec<&'a str> {
    questions.map(|question| question.id.as_str()).collect()
}

pub(super) fn questions(character: &Character, found: &mut Found) {
    let usable = || character.questions.iter().filter(|q| q.dropped.is_none());
    let needs_answer = |q: &&Question| {
        matches!(q.kind, QuestionKind::Knowledge | QuestionKind::Picture)
            && q.answer.as_deref().unwrap_or_default().trim().is_empty()
    };
    let unanswered = ids(usable().filter(needs_answer));
    if !unanswered.is_empty() {
        let message = format!("questions without an answer: {}", named(&unanswered));
        found
            .add(Warning, "no-answer", message, "Answer them, or remove them.")
            .with_ids(&unanswered);
    }
    let blank = ids(usable().filter(|q| q.question.trim().is_empty()));
    if !blank.is_empty() {
        let message = format!("answers without a question: {}", named(&blank));
        found.add(Warning, "no-question", message, "Write what is asked.").with_ids(&blank);
    }
    let is_choice = |q: &&Question| {
        matches!(q.kind, QuestionKind::KnowledgeChoice | QuestionKind::PictureChoice)
    };
    let keyless = ids(usable()
        .filter(is_choice)
        .filter(|q| !q.answer_key.as_ref().is_some_and(|key| q.options.contains_key(key))));
    if !keyless.is_empty() {
        let message = format!("multiple choice without a right option: {}", named(&keyless));
        found
            .add(Error, "no-answer-key", message, "Name the letter of the right option.")
            .with_ids(&keyless);
    }
    let about_pictures =
        |q: &&Question| matches!(q.kind, QuestionKind::Picture | QuestionKind::PictureChoice);
    let lost = ids(usable()
        .filter(about_pictures)
        .filter(|q| q.picture.as_ref().is_none_or(|id| character.picture(id).is_none())));
    if !lost.is_empty() {
        let message = format!("picture questions without their picture: {}", named(&lost));
        found.add(Warning, "lost-question", message, "Choose a picture for them.").with_ids(&lost);
    }
    repeated_questions(character, found);
    unbalanced_keys(character, found);
}

fn repeated_questions(character: &Character, found: &mut Found) {
    let mut seen = HashSet::new();
    let repeats = ids(character.questions.iter().filter(|q| {
        q.kind == QuestionKind::Knowledge && q.dropped.is_none() && !seen.insert(loose(&q.question))
    }));
    if !repeats.is_empty() {
        let message =
            format!("knowledge questions that repeat an earlier one: {}", named(&repeats));
        found
            .add(Info, "repeated-question", message, "Ask something else, or remove them.")
            .with_ids(&repeats);
    }
    let known: HashSet<String> = character
        .questions
        .iter()
        .filter(|q| q.kind == QuestionKind::Knowledge && q.split == Split::Train)
        .map(|q| loose(&q.question))
        .collect();
    let leaked = ids(character.questions.iter().filter(|q| {
        q.kind == QuestionKind::KnowledgeChoice && known.contains(&loose(&q.question))
    }));
    if !leaked.is_empty() {
        let message = format!("multiple choice that is also learned from: {}", named(&leaked));
        let hint = "Ask something else; evaluation reports these apart.";
        found.add(Info, "choice-leak", message, hint).with_ids(&leaked);
    }
}

fn unbalanced_keys(character: &Character, found: &mut Found) {
    for (kind, what) in
        [(QuestionKind::KnowledgeChoice, "knowledge"), (QuestionKind::PictureChoice, "picture")]
    {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let keys = character.questions.iter().filter(|q| q.kind == kind);
        keys.filter_map(|q| q.answer_key.as_deref())
            .for_each(|key| *counts.entry(key).or_default() += 1);
        let total: usize = counts.values().sum();
        if let Some((key, count)) = counts.iter().max_by_key(|(_, count)| **count)
            && total >= ENOUGH_CHOICES
            && *count as f64 > UNBALANCED * total as f64
        {
            let message = format!(
                "{key} is right in {count} of {total} {what} choices, so saying {key} scores well without knowing anything"
            );
            let hint = "Move the right options about; evaluation rotates them.";
            found
                .add(Info, "unbalanced-keys", message, hint)
                .with("key", key)
                .with("count", count)
                .with("total", total);
        }
    }
}

pub(super) fn prompts(character: &Character, found: &mut Found) {
    let mut texts = HashSet::new();
    let (mut repeated, mut nameless, mut odd, mut again, mut conflicts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for prompt in &character.prompts {
        let id = prompt.id.as_str();
        if !texts.insert(loose(&prompt.text)) {
            repeated.push(id);
        }
        let name = character.prompt_name().to_lowercase();
        if !prompt.text.to_lowercase().contains(&name) {
            nameless.push(id);
        }
        let mut answers: HashMap<String, HashSet<String>> = HashMap::new();
        let mut rows = HashSet::new();
        let (mut is_odd, mut is_again) = (false, false);
        for question in &prompt.questions {
            let answer = question.answer.trim().to_lowercase();
            is_odd |= match question.kind.as_str() {
                "yes_no" => answer != "yes" && answer != "no",
                "multiple_choice" => !question.choices.contains(&question.answer),
                _ => false,
            };
            let asked = loose(&question.question);
            is_again |= !rows.insert((asked.clone(), answer.clone()));
            answers.entry(asked).or_default().insert(answer);
        }
        odd.extend(is_odd.then_some(id));
        again.extend(is_again.then_some(id));
        conflicts.extend(answers.values().any(|a| a.len() > 1).then_some(id));
    }
    let mut say = |ids: Vec<&str>, fix: bool, code, what: &str, hint| {
        if !ids.is_empty() {
            let message = format!("{what}: {}", named(&ids));
            found.add(Info, code, message, hint).with_ids(&ids).can_fix = fix;
        }
    };
    say(
        repeated,
        false,
        "repeated-prompt",
        "picture prompts with the text of another",
        "Write something else.",
    );
    say(
        nameless,
        false,
        "nameless-prompt",
        "picture prompts that do not name the character",
        "Begin with the name.",
    );
    say(
        odd,
        false,
        "odd-answer",
        "prompts with a question whose answer is not among its choices",
        "Answer yes/no questions with yes or no, others with one of the choices.",
    );
    say(
        again,
        true,
        "repeated-prompt-question",
        "prompts that ask a question twice",
        "Ask it once; its weight counts once.",
    );
    say(
        conflicts,
        false,
        "conflicting-question",
        "prompts that expect two answers to one question",
        "Keep one; scoring leaves both out.",
    );
}
