//! Checks of a character before it is taught, in plain words, and what can be mended by itself.

mod files;
mod fix;
mod language;
mod material;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Character, records::Speaker, rolescape::Severity};

pub use files::{CharacterChecks, FolderChecks, check_folder};
pub use fix::{fix, fix_and_save};

/// Pictures from which looks are learned well enough.
const ENOUGH_PICTURES: usize = 6;
/// Replies from which a voice is learned well enough.
const ENOUGH_REPLIES: usize = 12;
/// Letters of a persona that a small model still reads well.
const LONG_PERSONA: usize = 2400;

/// Something to know before teaching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// An error makes teaching impossible, a warning makes it go badly.
    pub severity: Severity,
    /// Stable name; one of [`CODES`], unless it is about a whole folder.
    pub code: String,
    /// What was found, in English.
    pub message: String,
    /// What to do, in English.
    pub hint: String,
    /// Parts of the message by name, to say it in another language.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// Whether [`fix`] mends it.
    pub can_fix: bool,
}

impl Check {
    /// Names a part of the message.
    fn with(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.values.insert(name.into(), value.to_string());
        self
    }

    /// Names the records that the message is about.
    fn with_ids<S: AsRef<str>>(&mut self, ids: &[S]) -> &mut Self {
        let shown: Vec<&str> = ids.iter().take(material::NAMED).map(AsRef::as_ref).collect();
        let more = if ids.len() > shown.len() { ", …" } else { "" };
        self.with("ids", shown.join(", ") + more).with("count", ids.len())
    }
}

/// Codes of the findings of [`check_with_files`].
pub const CODES: [&str; 30] = [
    "nothing-to-learn",
    "few-pictures",
    "no-dialogue",
    "little-dialogue",
    "no-persona",
    "long-persona",
    "no-caption",
    "nameless-caption",
    "lost-picture",
    "no-greeting",
    "empty-turn",
    "no-exchange",
    "test-leak",
    "repeated-reply",
    "other-language",
    "no-answer",
    "no-question",
    "no-answer-key",
    "lost-question",
    "repeated-question",
    "choice-leak",
    "unbalanced-keys",
    "repeated-prompt",
    "nameless-prompt",
    "odd-answer",
    "repeated-prompt-question",
    "conflicting-question",
    "broken-picture",
    "same-picture",
    "small-picture",
];

/// Findings on the way.
#[derive(Debug, Default)]
struct Found(Vec<Check>);

impl Found {
    /// Adds a finding and returns it, for its parts to be named.
    fn add(&mut self, severity: Severity, code: &str, message: String, hint: &str) -> &mut Check {
        let (code, hint) = (code.into(), hint.into());
        let values = BTreeMap::new();
        self.0.push(Check { severity, code, message, hint, values, can_fix: false });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// The same for one that [`fix`] mends.
    fn fixable(
        &mut self,
        severity: Severity,
        code: &str,
        message: String,
        hint: &str,
    ) -> &mut Check {
        let check = self.add(severity, code, message, hint);
        check.can_fix = true;
        check
    }

    /// The findings, the gravest first.
    fn sorted(mut self) -> Vec<Check> {
        self.0.sort_by_key(|check| std::cmp::Reverse(check.severity));
        self.0
    }
}

/// Checks `character` without opening its pictures; the gravest findings come first.
pub fn check(character: &Character) -> Vec<Check> {
    let mut found = Found::default();
    everything_but_files(character, &mut found);
    found.sorted()
}

/// Checks `character` and its picture files; the gravest findings come first. A file is opened once for
/// as long as it stays as it is.
pub fn check_with_files(character: &Character) -> Vec<Check> {
    let mut found = Found::default();
    everything_but_files(character, &mut found);
    files::picture_files(character, &mut found);
    found.sorted()
}

fn everything_but_files(character: &Character, found: &mut Found) {
    amounts(character, found);
    captions(character, found);
    material::dialogue(character, found);
    material::questions(character, found);
    material::prompts(character, found);
}

/// Enough to learn from, and a persona.
fn amounts(character: &Character, found: &mut Found) {
    let name = &character.name;
    let mut add = |severity, code, message: String, hint, count: usize| {
        found.add(severity, code, message, hint).with("name", name).with("count", count);
    };
    let turns = || character.scenes.iter().flat_map(|s| &s.turns);
    let replies =
        turns().filter(|t| t.role == Speaker::Character && !t.text.trim().is_empty()).count();
    let pictures = character.pictures.len();
    if pictures == 0 && replies == 0 {
        add(
            Severity::Error,
            "nothing-to-learn",
            format!("{name} has neither pictures nor example dialogue"),
            "Add about ten pictures and some lines with replies.",
            pictures,
        );
    } else if pictures < ENOUGH_PICTURES {
        add(
            Severity::Warning,
            "few-pictures",
            format!("{name} has {pictures} pictures; about ten are needed to learn how it looks"),
            "Add more pictures.",
            pictures,
        );
    }
    if replies == 0 && pictures > 0 {
        add(
            Severity::Warning,
            "no-dialogue",
            format!("{name} has no example dialogue"),
            "Write some lines and replies.",
            replies,
        );
    } else if replies > 0 && replies < ENOUGH_REPLIES {
        add(
            Severity::Info,
            "little-dialogue",
            format!("{name} has {replies} example replies; a voice shows from about twenty on"),
            "Write some more lines and replies.",
            replies,
        );
    }
    if character.persona.trim().is_empty() {
        add(
            Severity::Warning,
            "no-persona",
            format!("{name} has no persona"),
            "Describe who the character is.",
            0,
        );
    }
    let letters = character.persona.chars().count();
    if letters > LONG_PERSONA {
        add(
            Severity::Info,
            "long-persona",
            format!("{name}'s persona is long: every reply begins by reading all of it"),
            "Keep what shapes replies, and move facts to the profile.",
            letters,
        );
    }
}

/// What the pictures' words say, and whether replies find their pictures.
fn captions(character: &Character, found: &mut Found) {
    let (name, pictures) = (character.prompt_name(), character.pictures.len());
    let bare = character.pictures.iter().filter(|p| p.caption.trim().is_empty()).count();
    if bare > 0 {
        let message = format!(
            "{bare} of {pictures} pictures have no caption, so nothing says what they show"
        );
        let hint = "Write a sentence for each, naming the character.";
        found
            .add(Severity::Warning, "no-caption", message, hint)
            .with("count", bare)
            .with("total", pictures);
    }
    let lower = name.to_lowercase();
    let nameless = character
        .pictures
        .iter()
        .filter(|p| !p.caption.trim().is_empty() && !p.caption.to_lowercase().contains(&lower))
        .count();
    if nameless > 0 {
        let message =
            format!("{nameless} captions do not name {name}, so the looks bind less to the name");
        found
            .add(Severity::Info, "nameless-caption", message, "Begin captions with the name.")
            .with("count", nameless)
            .with("name", name);
    }
    let lost = character
        .scenes
        .iter()
        .flat_map(|scene| &scene.turns)
        .filter_map(|t| t.picture.as_deref())
        .filter(|id| character.picture(id).is_none())
        .count();
    if lost > 0 {
        let message = format!("{lost} replies belong to pictures that are not there");
        let hint = "Choose another picture for them, or none.";
        found.fixable(Severity::Warning, "lost-picture", message, hint).with("count", lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{
        Picture, PicturePrompt, PromptQuestion, Question, QuestionKind, Scene, Split, Turn,
    };

    fn codes(character: &Character) -> Vec<String> {
        let codes: Vec<String> = check(character).into_iter().map(|c| c.code).collect();
        for code in &codes {
            assert!(CODES.contains(&code.as_str()), "{code} is missing in the list of codes");
        }
        codes
    }

    #[test]
    fn an_empty_character_cannot_be_taught() {
        let found = check(&Character::default());
        assert_eq!(
            (found[0].severity, found[0].code.as_str()),
            (Severity::Error, "nothing-to-learn")
        );
        assert_eq!(codes(&Character::default()), ["nothing-to-learn", "no-persona", "no-greeting"]);
        let dot = Character { name: "Dot".into(), ..Character::default() };
        assert_eq!(check(&dot)[0].values["name"], "Dot");
    }

    #[test]
    fn captions_and_links_are_looked_at() {
        let picture = |id: &str, caption: &str| Picture {
            id: id.into(),
            caption: caption.into(),
            ..Default::default()
        };
        let mut reply = Turn::new(Speaker::Character, "Slowly.");
        reply.picture = Some("gone".into());
        let character = Character {
            name: "Dot".into(),
            persona: "A snail.".into(),
            pictures: vec![picture("a", ""), picture("b", "a snail"), picture("c", "Dot asleep")],
            scenes: vec![Scene { turns: vec![reply], ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(
            codes(&character),
            [
                "few-pictures",
                "no-caption",
                "lost-picture",
                "no-exchange",
                "little-dialogue",
                "nameless-caption",
                "no-greeting"
            ]
        );
    }

    fn question(id: &str, kind: QuestionKind, answer: &str) -> Question {
        Question {
            id: id.into(),
            kind,
            question: format!("What about {id}?"),
            answer: Some(answer.into()),
            ..Default::default()
        }
    }

    #[test]
    fn dialogue_questions_and_prompts_are_looked_at() {
        let scene = |id: &str, split, user: &str, reply: &str| Scene {
            id: id.into(),
            split,
            turns: vec![Turn::new(Speaker::User, user), Turn::new(Speaker::Character, reply)],
            ..Default::default()
        };
        let german =
            "Das ist die Lampe und ich bin nicht der Koch, du bist mit der Katze auf dem Dach.";
        let asked = |question: &str, answer: &str| PromptQuestion {
            question: question.into(),
            kind: "yes_no".into(),
            answer: answer.into(),
            ..Default::default()
        };
        let mut choice = question("c", QuestionKind::KnowledgeChoice, "");
        choice.answer_key = Some("E".into());
        let character = Character {
            name: "Dot".into(),
            persona: "Dot is the snail of the garden, and it is known to all that she is slow. You are the guest of it.".into(),
            scenes: vec![
                scene("a", Split::Train, "Where to?", german),
                scene("b", Split::Test, "where to", "Slowly."),
                scene("c", Split::Train, "And then?", german),
                scene("d", Split::Train, "Hm?", " "),
            ],
            questions: vec![question("q", QuestionKind::Knowledge, " "), choice],
            prompts: vec![PicturePrompt {
                id: "p".into(),
                text: "a leaf".into(),
                questions: vec![
                    asked("Wet?", "yes"),
                    asked("Wet?", "Yes"),
                    asked("Dry?", "maybe"),
                    asked("Dry?", "no"),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let found = codes(&character);
        for code in [
            "other-language",
            "test-leak",
            "repeated-reply",
            "empty-turn",
            "no-exchange",
            "no-answer",
            "no-answer-key",
            "nameless-prompt",
            "odd-answer",
            "repeated-prompt-question",
            "conflicting-question",
        ] {
            assert!(found.iter().any(|c| c == code), "{code} is missing in {found:?}");
        }
    }

    #[test]
    fn fixing_mends_exactly_what_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let mut lost = Turn::new(Speaker::Character, "Slowly.");
        lost.picture = Some("gone".into());
        let mut character = Character {
            name: "Dot".into(),
            greeting: " Hello. ".into(),
            dir: dir.path().join("dot"),
            scenes: vec![
                Scene {
                    id: "a".into(),
                    turns: vec![Turn::new(Speaker::User, "Hm?"), lost],
                    ..Default::default()
                },
                Scene {
                    id: "b".into(),
                    turns: vec![Turn::new(Speaker::User, "  ")],
                    ..Default::default()
                },
            ],
            ..Default::default()
        };
        let fixable = |c: &Character| check(c).iter().filter(|check| check.can_fix).count();
        assert_eq!(fixable(&character), 2);
        let done = fix_and_save(&mut character).unwrap();
        assert_eq!(done.len(), 3, "{done:?}");
        assert_eq!(fixable(&character), 0);
        let saved = Character::load(&character.dir).unwrap();
        assert_eq!((saved.greeting.as_str(), saved.scenes.len()), ("Hello.", 1));
        assert_eq!(saved.scenes[0].turns[1].missing_picture.as_deref(), Some("gone"));
        assert!(fix(&mut character).is_empty(), "twice changes nothing");
    }

    #[test]
    fn folders_are_recognised_and_pictures_opened() {
        let dir = tempfile::tempdir().unwrap();
        let draft = crate::Draft { name: "Dot".into(), ..Default::default() };
        let mut dot = Character::new(draft, dir.path().join("all/dot")).unwrap();
        dot.save().unwrap();
        let small = image::DynamicImage::ImageRgb8(image::RgbImage::new(40, 40));
        let bytes = crate::pictures::encode_png(&small, "test").unwrap();
        dot.add_picture(&bytes, "a").unwrap();
        let mut twin = dot.pictures[0].clone();
        twin.id = "twin".into();
        let mut broken = twin.clone();
        (broken.id, broken.file) = ("broken".into(), "pictures/none.png".into());
        dot.pictures.extend([twin, broken]);
        dot.save().unwrap();
        for folder in ["all", "all/dot"] {
            let FolderChecks::Characters { characters } =
                check_folder(&dir.path().join(folder)).unwrap()
            else {
                panic!("no characters")
            };
            let found: Vec<&str> = characters[0].checks.iter().map(|c| c.code.as_str()).collect();
            for code in ["broken-picture", "same-picture", "small-picture"] {
                assert!(found.contains(&code), "{code} is missing in {found:?}");
            }
        }
        std::fs::write(dir.path().join("all/dot/scenes.jsonl"), "{oops\n").unwrap();
        let found = check_folder(&dir.path().join("all")).unwrap();
        assert_eq!(found.num(Severity::Error), 1, "{found:?}");
        assert!(check_folder(dir.path()).is_err());
    }
}
