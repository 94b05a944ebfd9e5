//! The bundled cast: every character whole, none like another.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

use troupe_character::{Character, Question, QuestionKind, Speaker, Split};
use troupe_eval::choice::key_counts;

/// Words of a run that two characters may not share.
const RUN: usize = 8;

fn cast() -> Vec<(String, Character)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../characters");
    let mut found: Vec<(String, Character)> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("character.json").is_file())
        .map(|dir| {
            let slug = dir.file_name().unwrap().to_string_lossy().into_owned();
            (slug, Character::load(&dir).unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty(), "no characters in {}", folder.display());
    found
}

fn of(character: &Character, kind: QuestionKind) -> impl Iterator<Item = &Question> {
    character.questions.iter().filter(move |q| q.kind == kind)
}

/// Replies of a split, with the scene's id.
fn replies(character: &Character, split: Split) -> Vec<(&str, &str)> {
    let scenes = character.scenes.iter().filter(|scene| scene.split == split);
    scenes
        .flat_map(|scene| scene.turns.iter().map(|turn| (scene.id.as_str(), turn)))
        .filter(|(_, turn)| turn.role == Speaker::Character && !turn.text.trim().is_empty())
        .map(|(id, turn)| (id, turn.text.as_str()))
        .collect()
}

/// What a character lacks of its share, in words.
fn lacks(character: &Character) -> Vec<String> {
    let pictures = |split| character.pictures.iter().filter(|p| p.split == split).count();
    let picture_scenes = character.scenes.iter().filter(|scene| {
        let turns = scene.turns.iter();
        turns.clone().any(|turn| turn.picture.is_some())
    });
    let open = |kind| of(character, kind).filter(|q| q.dropped.is_none()).count();
    let counts = [
        ("training pictures", pictures(Split::Train), 10),
        ("test pictures", pictures(Split::Test), 3),
        ("picture scenes", picture_scenes.count(), 12),
        ("training replies", replies(character, Split::Train).len(), 120),
        ("test replies", replies(character, Split::Test).len(), 20),
        ("knowledge questions", of(character, QuestionKind::Knowledge).count(), 60),
        ("multiple-choice questions", of(character, QuestionKind::KnowledgeChoice).count(), 10),
        ("stage-2 prompts", character.prompts.len(), 30),
        ("memorisation prompts", open(QuestionKind::Memorization), 10),
        ("personality prompts", open(QuestionKind::Personality), 10),
        ("expressions", character.visual_cues.expressions.len(), 6),
    ];
    let mut found: Vec<String> = counts
        .into_iter()
        .filter(|(_, num, least)| num < least)
        .map(|(what, num, least)| format!("{num} {what}, at least {least}"))
        .collect();
    for picture in &character.pictures {
        let about = of(character, QuestionKind::Picture)
            .filter(|q| q.picture.as_deref() == Some(&picture.id))
            .count();
        if about < 5 {
            found.push(format!("{about} questions about picture {}, at least 5", picture.id));
        }
        if picture.caption.trim().is_empty() {
            found.push(format!("picture {} has no caption", picture.id));
        }
    }
    if let Some(bare) = character.prompts.iter().find(|prompt| prompt.questions.is_empty()) {
        found.push(format!("prompt {} has no questions", bare.id));
    }
    let keys = key_counts(of(character, QuestionKind::KnowledgeChoice));
    if ["A", "B", "C", "D"].iter().any(|key| !(2..=3).contains(keys.get(*key).unwrap_or(&0))) {
        found.push(format!("the answer keys are not balanced: {keys:?}"));
    }
    let credits = character.credits.join("; ");
    for (what, text) in [
        ("persona", &character.persona),
        ("speaking style", &character.speaking_style),
        ("appearance", &character.visual_cues.appearance),
        ("greeting", &character.greeting),
        ("licence", &character.licence),
        ("credits", &credits),
    ] {
        if text.trim().is_empty() {
            found.push(format!("no {what}"));
        }
    }
    if character.profile.as_deref().unwrap_or_default().trim().is_empty() {
        found.push("no profile".into());
    }
    found
}

#[test]
fn every_character_has_its_share() {
    let mut text = String::new();
    for (slug, character) in cast() {
        for what in lacks(&character) {
            text.push_str(&format!("{slug}: {what}\n"));
        }
    }
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn no_character_has_an_error_or_warning() {
    let mut text = String::new();
    for (slug, character) in cast() {
        for check in troupe_character::checks::check_with_files(&character) {
            if check.severity > troupe_character::rolescape::Severity::Info {
                text.push_str(&format!("{slug}: {} ({})\n", check.message, check.code));
            }
        }
    }
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn ids_and_names_are_unique_and_lines_are_not_in_both_splits() {
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for (slug, character) in cast() {
        assert!(ids.insert(character.id.clone()), "{slug} shares its id");
        assert!(names.insert(character.name.clone()), "{slug} shares its name");
        let lines = |split: Split| -> BTreeSet<String> {
            let scenes = character.scenes.iter().filter(|scene| scene.split == split);
            let turns = scenes.flat_map(|scene| &scene.turns);
            let user = turns.filter(|turn| turn.role == Speaker::User);
            user.map(|turn| words(&turn.text).join(" ")).collect()
        };
        let both: Vec<String> =
            lines(Split::Train).intersection(&lines(Split::Test)).cloned().collect();
        assert!(both.is_empty(), "{slug}: lines in both splits: {both:?}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Runs of words that occur in replies of two characters.
fn shared_runs(cast: &[(String, Vec<String>)]) -> Vec<String> {
    let mut owner: HashMap<Vec<String>, &str> = HashMap::new();
    let mut shared = Vec::new();
    for (slug, replies) in cast {
        for reply in replies {
            for run in words(reply).windows(RUN) {
                let first = *owner.entry(run.to_vec()).or_insert(slug);
                if first != slug {
                    shared.push(format!("{first} and {slug}: {}", run.join(" ")));
                }
            }
        }
    }
    shared
}

#[test]
fn no_two_characters_say_the_same() {
    let spoken: Vec<(String, Vec<String>)> = cast()
        .into_iter()
        .map(|(slug, character)| {
            let both = [Split::Train, Split::Test];
            let all = both.iter().flat_map(|split| replies(&character, *split));
            (slug, all.map(|(_, text)| text.to_owned()).collect())
        })
        .collect();
    let shared = shared_runs(&spoken);
    assert!(shared.is_empty(), "{shared:#?}");
    let planted = |slug: &str, tail: &str| {
        (slug.to_owned(), vec![format!("One two, three four five six seven eight {tail}")])
    };
    assert_eq!(shared_runs(&[planted("a", "x"), planted("b", "y")]).len(), 1);
}

/// Nine human, four animal and seven drawn characters.
#[test]
fn the_twenty_are_in_the_proportions_of_the_data_set() {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for (slug, character) in cast() {
        let group = character.extra.get("group").and_then(|g| g.as_str()).unwrap_or_default();
        assert!(["human", "animal", "drawn"].contains(&group), "{slug}: group “{group}”");
        *groups.entry(group.to_owned()).or_default() += 1;
    }
    let count = |group: &str| groups.get(group).copied().unwrap_or_default();
    assert_eq!((count("human"), count("animal"), count("drawn")), (9, 4, 7));
}
