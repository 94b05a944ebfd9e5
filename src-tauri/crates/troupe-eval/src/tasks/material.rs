//! Which parts of a character are measured, and the seeds that measure them.

use std::collections::HashSet;

use troupe_character::{
    Character, Picture, PicturePrompt, Question, QuestionKind, Scene, Speaker, Split,
    prompts::{self, RolePlay},
    samples::{SampleBlock, SampleKind, SampleOptions, training_samples},
};

use crate::{choice::Item, run::References};

/// Share of stage-2 prompts that are kept for evaluation where none is marked.
const HELD_OUT_PROMPTS: usize = 5;

/// A test reply with its prompt.
pub(super) struct TestReply {
    pub(super) id: String,
    pub(super) prompt: String,
    pub(super) user: String,
    pub(super) text: String,
}

/// Replies kept back from training, with the prompts of training.
pub(super) fn test_replies(character: &Character) -> Vec<TestReply> {
    let options = SampleOptions { kinds: [SampleKind::RolePlay].into(), ..Default::default() };
    let samples = training_samples(character, &options);
    let held = samples.into_iter().filter(|sample| sample.held_out);
    held.filter_map(|sample| match sample.blocks.as_slice() {
        [SampleBlock::Text { text: prompt, .. }, SampleBlock::Text { text, .. }] => {
            let user = prompt.split("\n\nUser Input: ").nth(1)?;
            let user = user.split("\n\nBased on the character description").next()?;
            Some(TestReply {
                id: sample.id,
                prompt: prompt.clone(),
                user: user.to_owned(),
                text: text.clone(),
            })
        }
        _ => None,
    })
    .collect()
}

/// The prompt of a reply to a first line.
pub(super) fn reply_prompt(character: &Character, user: &str) -> String {
    prompts::role_play(&RolePlay {
        description: &character.description(),
        opening: &character.greeting,
        history: &[],
        user,
        name: character.prompt_name(),
    })
}

/// Test scenes with a picture.
pub(super) fn test_scenes(character: &Character) -> Vec<&Scene> {
    let held = character.scenes.iter().filter(|scene| scene.split == Split::Test);
    held.filter(|scene| scene.picture().is_some()).collect()
}

/// First line of the person with the reply to it.
pub(super) fn first_exchange(scene: &Scene) -> Option<(&str, &str)> {
    scene.turns.windows(2).find_map(|pair| match pair {
        [user, reply] if user.role == Speaker::User && reply.role == Speaker::Character => {
            Some((user.text.as_str(), reply.text.as_str()))
        }
        _ => None,
    })
}

pub(super) fn train_lines(character: &Character) -> HashSet<String> {
    let train = character.scenes.iter().filter(|scene| scene.split == Split::Train);
    let turns = train.flat_map(|scene| &scene.turns);
    turns.filter(|turn| turn.role == Speaker::User).map(|turn| loose(&turn.text)).collect()
}

pub(super) fn known_questions(character: &Character, kind: QuestionKind) -> HashSet<String> {
    let train = character.questions.iter().filter(|q| q.split == Split::Train && q.kind == kind);
    train.map(|q| loose(&q.question)).collect()
}

/// `seen` when the text occurs in the training material, else `clean`.
pub(super) fn seen_slice(known: &HashSet<String>, text: &str) -> &'static str {
    if known.contains(&loose(text)) { "seen" } else { "clean" }
}

/// Letters and digits of a text in lower case.
pub(super) fn loose(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(super) fn choices(character: &Character, kind: QuestionKind) -> Vec<(Item, Question)> {
    let questions = character.questions.iter().filter(|q| q.kind == kind);
    questions.filter_map(|q| Some((Item::of(q)?, q.clone()))).collect()
}

/// At most `limit` items, spread evenly over the list, in its order.
pub(super) fn spread<T>(items: Vec<T>, limit: usize) -> impl Iterator<Item = T> {
    let n = items.len();
    let keep = limit.min(n);
    let chosen: HashSet<usize> = (0..keep).map(|i| i * n / keep.max(1)).collect();
    items.into_iter().enumerate().filter(move |(i, _)| chosen.contains(i)).map(|(_, item)| item)
}

/// A prompt to draw.
pub(super) struct DrawItem {
    pub(super) id: String,
    pub(super) prompt: String,
    pub(super) slice: &'static str,
    /// Id of the held-out picture of the same prompt.
    pub(super) picture: Option<String>,
    /// Yes/no questions about what is drawn, and whether yes is expected.
    pub(super) questions: Vec<(String, bool)>,
}

impl DrawItem {
    pub(super) fn truth<'a>(&self, references: &'a References) -> Option<&'a Vec<f32>> {
        references.held_out.get(self.picture.as_ref()?)
    }
}

pub(super) fn draw_items(character: &Character, settings: &crate::run::Settings) -> Vec<DrawItem> {
    let captioned = |split: Split| -> Vec<&Picture> {
        let pictures = character.pictures.iter().filter(move |p| p.split == split);
        pictures.filter(|p| !p.caption.trim().is_empty()).collect()
    };
    let (mut pictures, mut slice) = (captioned(Split::Test), "captions");
    if pictures.is_empty() {
        (pictures, slice) = (captioned(Split::Train), "seen captions");
        pictures.truncate(settings.num_captions.min(3));
    }
    let captions = spread(pictures, settings.num_captions).map(|picture| DrawItem {
        id: picture.id.clone(),
        prompt: picture.caption.clone(),
        slice,
        picture: (picture.split == Split::Test).then(|| picture.id.clone()),
        questions: Vec::new(),
    });
    let prompts = spread(held_out_prompts(character), settings.num_prompts);
    let prompts = prompts.map(|prompt| DrawItem {
        id: format!("prompt-{}", prompt.id),
        prompt: character.as_captioned(&prompt.text),
        slice: "prompts",
        picture: None,
        questions: yes_no_questions(prompt),
    });
    captions.chain(prompts).collect()
}

/// Questions of a prompt that are answered by yes or no, and whether yes is expected.
fn yes_no_questions(prompt: &PicturePrompt) -> Vec<(String, bool)> {
    let usable = prompt.usable_questions().into_iter();
    usable.filter_map(|q| Some((q.question.clone(), q.expects_yes()?))).collect()
}

/// Picture prompts that stage 2 must not learn from: those marked as test, else a fifth chosen by
/// the hash of their text, so that repeats of one prompt stay together.
pub(super) fn held_out_prompts(character: &Character) -> Vec<&PicturePrompt> {
    let marked: Vec<&PicturePrompt> =
        character.prompts.iter().filter(|prompt| prompt.split == Split::Test).collect();
    let mut texts = HashSet::new();
    if !marked.is_empty() {
        return marked.into_iter().filter(|prompt| texts.insert(loose(&prompt.text))).collect();
    }
    let mut unmarked: Vec<&PicturePrompt> =
        character.prompts.iter().filter(|prompt| texts.insert(loose(&prompt.text))).collect();
    let keep = unmarked.len() / HELD_OUT_PROMPTS;
    unmarked.sort_by_cached_key(|prompt| *blake3::hash(prompt.text.as_bytes()).as_bytes());
    unmarked.truncate(keep);
    unmarked
}

/// Seed of a character's item: the same in every stage and on every machine. It fits the seeds of
/// the command line, so that every picture can be made again with `troupe draw`.
pub(super) fn seed_of(character: &str, item: &str, index: usize) -> u64 {
    let hash = blake3::hash(format!("{character}\n{item}\n{index}").as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d]) >> 1)
}

/// Share of neighbouring word pairs that are different; 1 for fewer than two words.
pub(super) fn distinct2(text: &str) -> f64 {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let pairs: HashSet<&[String]> = words.windows(2).collect();
    if words.len() < 2 { 1. } else { pairs.len() as f64 / (words.len() - 1) as f64 }
}

/// A text as part of a file's name; different texts stay different.
pub(crate) fn file_name(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = text.chars().map(safe).take(60).collect();
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        name.push_str(&blake3::hash(text.as_bytes()).to_hex()[..6]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_takes_evenly_and_keeps_the_order() {
        let taken: Vec<usize> = spread((0..10).collect(), 4).collect();
        assert_eq!(taken, [0, 2, 5, 7]);
        assert_eq!(spread(vec![1, 2], 9).count(), 2);
        assert_eq!(spread(Vec::<u8>::new(), 9).count(), 0);
    }

    #[test]
    fn pairs_of_words_are_counted() {
        // "a b", "b a", "a b": two of three differ.
        assert!((distinct2("a b a b") - 2. / 3.).abs() < 1e-12);
        assert_eq!(distinct2("one"), 1.);
    }

    #[test]
    fn seeds_differ_by_item_and_never_by_machine() {
        assert_eq!(seed_of("Pip", "x", 0), seed_of("Pip", "x", 0));
        assert_ne!(seed_of("Pip", "x", 0), seed_of("Pip", "x", 1));
        assert!(seed_of("Pip", "x", 0) <= u64::from(u32::MAX));
    }

    #[test]
    fn a_fifth_of_unmarked_prompts_is_held_out_once_a_text() {
        let prompt = |id: usize, text: String| PicturePrompt {
            id: id.to_string(),
            text,
            ..Default::default()
        };
        let mut character = Character {
            prompts: (0..20).map(|i| prompt(i, format!("Pip {}", i / 2))).collect(),
            ..Character::default()
        };
        assert_eq!(held_out_prompts(&character).len(), 2, "a fifth of ten different texts");
        character.prompts[3].split = Split::Test;
        assert_eq!(held_out_prompts(&character).len(), 1);
    }
}
