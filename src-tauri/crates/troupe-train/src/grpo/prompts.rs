//! What stage 2 draws: prompts with questions, from the character or drafted for it.
//!
//! Prompts of `prompts.jsonl` count as they are, so those of RoleScape do after an import. A
//! character without any gets drafts from its looks and its pictures' captions, made to be edited.
//!
//! Source of the format: RoleScape-20's `*_pure_t2i_with_vqa.jsonl`.

use std::collections::BTreeSet;

use troupe_character::{Character, PicturePrompt, PromptQuestion, Split};
use troupe_nn::noise::{Noise, Stream};

use crate::error::{TrainError, TrainResult};

/// Prompts of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptSet {
    /// Drawn and learned from.
    pub learned: Vec<PicturePrompt>,
    /// Drawn in trials alone.
    pub held_out: Vec<PicturePrompt>,
    /// Whether they were drafted.
    pub is_drafted: bool,
}

/// Fewest prompts that a run learns from; below, drafts are added.
const FEWEST: usize = 4;
/// Places that drafts go through.
const PLACES: [&str; 8] = [
    "in a sunny garden",
    "on a beach",
    "in the snow",
    "at night under the stars",
    "in a kitchen",
    "in front of a plain blue wall",
    "in a forest",
    "in a busy street",
];
/// Faces for characters that name none.
const FACES: [&str; 3] = ["smiling", "looking surprised", "looking sad"];

/// The prompts of a character. Repeated texts count once; a `share` is kept back where the character
/// keeps none.
///
/// # Errors
/// When nothing can be drafted because the character has no name.
pub fn prompt_set(character: &Character, share: f64) -> TrainResult<PromptSet> {
    let (mut all, drafts) = own_and_drafts(character);
    let is_drafted = drafts.is_some();
    all.extend(drafts.unwrap_or_default());
    if all.is_empty() {
        return Err(TrainError::NoData(format!(
            "{} has no prompts to draw; write some into prompts.jsonl",
            character.name
        )));
    }
    let keeps_some = all.iter().any(|p| p.split == Split::Test);
    let is_held = |p: &PicturePrompt| {
        if keeps_some { p.split == Split::Test } else { is_kept_back(&p.text, share) }
    };
    let (mut held_out, mut learned): (Vec<_>, Vec<_>) = all.into_iter().partition(is_held);
    if learned.is_empty() {
        std::mem::swap(&mut held_out, &mut learned);
    }
    if held_out.is_empty() && learned.len() > 1 {
        held_out.extend(learned.pop());
    }
    for prompt in learned.iter_mut().chain(&mut held_out) {
        prompt.text = character.as_captioned(&prompt.text);
    }
    Ok(PromptSet { learned, held_out, is_drafted })
}

/// Prompts that are drafted because the character's own are too few to learn from.
pub fn drafts_needed(character: &Character) -> Vec<PicturePrompt> {
    own_and_drafts(character).1.unwrap_or_default()
}

/// The character's own prompts, and drafts where those are too few; each text once.
fn own_and_drafts(character: &Character) -> (Vec<PicturePrompt>, Option<Vec<PicturePrompt>>) {
    let mut seen = BTreeSet::new();
    let mut is_new = |prompt: &PicturePrompt| {
        let key = prompt.text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        !key.is_empty() && seen.insert(key)
    };
    let own: Vec<PicturePrompt> = character.prompts.iter().filter(|p| is_new(p)).cloned().collect();
    let is_short = own.iter().filter(|p| p.split != Split::Test).count() < FEWEST;
    let drafts = is_short.then(|| draft(character).into_iter().filter(|p| is_new(p)).collect());
    (own, drafts)
}

/// Whether a text falls into a share, by its hash: the same in every run.
fn is_kept_back(text: &str, share: f64) -> bool {
    let hash = blake3::hash(text.trim().as_bytes());
    let [a, b, ..] = *hash.as_bytes();
    f64::from(u16::from_le_bytes([a, b])) < share * 65_536.
}

/// Drafts of prompts with questions: every place with a face in turn.
pub fn draft(character: &Character) -> Vec<PicturePrompt> {
    let name = character.prompt_name();
    if name.trim().is_empty() {
        return Vec::new();
    }
    let cues = &character.visual_cues;
    let faces: Vec<&str> = match cues.expressions.as_slice() {
        [] => FACES.to_vec(),
        some => {
            some.iter().map(|e| if e.prompt.is_empty() { &*e.name } else { &*e.prompt }).collect()
        }
    };
    let rounds = 3;
    (0..PLACES.len() * rounds)
        .map(|index| {
            let place = PLACES[index % PLACES.len()];
            let other = PLACES[(index + 3) % PLACES.len()];
            let face = faces[(index % PLACES.len() + index / PLACES.len()) % faces.len()];
            let mut questions = vec![
                ask(format!("Is the picture set {place}?"), "scene", true),
                ask(format!("Is the picture set {other}?"), "scene", false),
                ask(format!("Does the picture show {face}?"), "expression", true),
            ];
            if let Some(looks) = first_part(&cues.appearance) {
                questions.push(ask(format!("Is this {looks}?"), "character_attributes", true));
            }
            if let Some(outfit) = first_part(&cues.outfit) {
                let text = format!("Can {outfit} be seen?");
                questions.push(ask(text, "character_attributes", true));
            }
            questions.push(ask("Is the picture empty?".into(), "scene", false));
            PicturePrompt {
                id: format!("draft-{index:03}"),
                text: format!("{name}, {face}, {place}"),
                questions,
                ..PicturePrompt::default()
            }
        })
        .collect()
}

/// Up to the first comma or full stop, if there is anything.
fn first_part(text: &str) -> Option<&str> {
    let part = text.split([',', '.', ';']).next()?.trim();
    (!part.is_empty()).then_some(part)
}

fn ask(question: String, category: &str, is_yes: bool) -> PromptQuestion {
    PromptQuestion {
        question,
        kind: "yes_no".into(),
        category: category.into(),
        answer: if is_yes { "yes" } else { "no" }.into(),
        weight: if is_yes { 1. } else { 0.5 },
        is_negative: !is_yes,
        ..PromptQuestion::default()
    }
}

/// The prompts of an epoch, distinct ones of `num_prompts`. A pass goes through all of them in an
/// order of its own before any comes again; what does not fill an epoch waits for the next pass.
pub fn epoch_prompts(seed: u64, epoch: usize, num_prompts: usize, per_epoch: usize) -> Vec<usize> {
    let per_epoch = per_epoch.min(num_prompts).max(1);
    let per_pass = (num_prompts / per_epoch).max(1);
    let (pass, place) = (epoch / per_pass, epoch % per_pass);
    let mut order: Vec<usize> = (0..num_prompts).collect();
    Noise::new(seed, Stream::Sampling, pass as u64).shuffle(&mut order);
    order.into_iter().skip(place * per_epoch).take(per_epoch).collect()
}

#[cfg(test)]
mod tests {
    use troupe_character::VisualCues;

    use super::*;

    fn character(texts: &[(&str, Split)]) -> Character {
        Character {
            name: "Pip".into(),
            visual_cues: VisualCues {
                appearance: "a small otter, brown".into(),
                outfit: "a green scarf".into(),
                ..VisualCues::default()
            },
            prompts: texts
                .iter()
                .map(|(text, split)| PicturePrompt {
                    text: (*text).into(),
                    split: *split,
                    ..PicturePrompt::default()
                })
                .collect(),
            ..Character::default()
        }
    }

    #[test]
    fn own_prompts_are_kept_apart_and_counted_once() -> TrainResult<()> {
        let train = Split::Train;
        let own = character(&[
            ("Pip a", train),
            ("pip  A", train),
            ("Pip b", train),
            ("Pip c", train),
            ("Pip d", train),
            ("Pip e", Split::Test),
        ]);
        let set = prompt_set(&own, 0.5)?;
        assert!(!set.is_drafted);
        assert_eq!((set.learned.len(), set.held_out.len()), (4, 1));
        assert_eq!(set.held_out[0].text, "Pip e");
        Ok(())
    }

    #[test]
    fn prompts_are_drawn_in_the_words_of_captions() -> TrainResult<()> {
        let train = Split::Train;
        let texts = ["Pip a", "Pip b", "Pip c", "Pip d"].map(|text| (text, train));
        let mut own = character(&[&texts[..], &[("Pip e", Split::Test)]].concat());
        own.pictures = ["asleep", "awake"]
            .map(|what| troupe_character::Picture {
                caption: format!("Pip, a small brown otter, {what}, ink"),
                ..troupe_character::Picture::default()
            })
            .into();
        let set = prompt_set(&own, 0.5)?;
        assert_eq!(set.learned[0].text, "Pip, a small brown otter, a, ink");
        assert_eq!(set.held_out[0].text, "Pip, a small brown otter, e, ink");
        Ok(())
    }

    #[test]
    fn drafts_name_the_character_and_ask_both_ways() -> TrainResult<()> {
        let set = prompt_set(&character(&[]), 0.2)?;
        assert!(set.is_drafted && set.learned.len() >= 12 && !set.held_out.is_empty());
        for prompt in set.learned.iter().chain(&set.held_out) {
            assert!(prompt.text.starts_with("Pip, "));
            let usable = prompt.usable_questions();
            assert!(
                usable.iter().any(|q| q.answer == "yes") && usable.iter().any(|q| q.answer == "no")
            );
        }
        let again = prompt_set(&character(&[]), 0.2)?;
        assert_eq!(set, again, "the same are kept back every time");
        Ok(())
    }

    #[test]
    fn an_epoch_has_distinct_prompts_and_a_pass_has_each_once() {
        let pass: Vec<Vec<usize>> = (0..3).map(|epoch| epoch_prompts(1, epoch, 12, 4)).collect();
        let mut all = pass.concat();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert_ne!(epoch_prompts(1, 0, 12, 4), epoch_prompts(1, 3, 12, 4));
        assert_eq!(epoch_prompts(1, 5, 3, 8).len(), 3);
    }
}
