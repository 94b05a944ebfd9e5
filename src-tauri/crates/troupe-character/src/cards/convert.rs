//! From the fields of a card to a [`Character`].

use serde_json::{Map, Value};

use super::dialogue;
use super::fields::Card;
use super::macros::Macros;
use crate::character::{Character, LoreEntry, SCHEMA};
use crate::files::random;
use crate::records::Scene;
use crate::rolescape::{FileCount, Findings, Records, Severity};

/// Word for the person in what describes the character.
const USER_TOLD: &str = "the user";
/// Word for the person in what is said to them.
const USER_ADDRESSED: &str = "you";
/// [`Scene::origin`] of example dialogue.
const ORIGIN: &str = "card";

/// Fills a character with the card's texts and counts what went in. `file` is what findings call it.
pub(super) fn convert(
    card: &Card,
    file: &str,
    findings: &mut Findings,
    counts: &mut Vec<FileCount>,
) -> Character {
    let spoken_name = if card.nickname.is_empty() { &card.name } else { &card.nickname };
    let mut macros = Macros::new(spoken_name);
    let mut character = Character {
        schema: SCHEMA,
        id: random(32),
        name: card.name.clone(),
        prompt_name: Some(card.nickname.clone()).filter(|n| !n.is_empty() && *n != card.name),
        persona: macros.expand(&persona(card), USER_TOLD),
        greeting: macros.expand(&card.first_mes, USER_ADDRESSED),
        tags: card.tags.clone(),
        credits: Some(card.creator.clone()).filter(|name| !name.is_empty()).into_iter().collect(),
        ..Character::default()
    };
    character.visual_cues.appearance = macros.expand(card.looks.trim(), USER_TOLD);
    let others = card.alternate_greetings.iter();
    character.other_greetings = others.map(|text| macros.expand(text, USER_ADDRESSED)).collect();
    let mut count = |what, found, kept| {
        if found > 0 {
            counts.push(FileCount { file: file.into(), what, found, kept, usable: None });
        }
    };
    let greetings = character.greetings().count();
    count(Records::Greetings, greetings, greetings);

    let blocks = dialogue::blocks(&card.mes_example, &[&card.name, &card.nickname]);
    let found = blocks.len();
    character.scenes = scenes(blocks, &mut macros);
    count(Records::Dialogue, found, character.scenes.len());
    if character.scenes.len() < found {
        let left = found - character.scenes.len();
        let message =
            format!("{left} blocks of example dialogue name no speaker; kept in card.json");
        findings.file("CARD-EXAMPLE", Severity::Warning, file, message).about(left);
    }

    character.lorebook = card.book.iter().filter_map(lore_entry).collect();
    count(Records::Lorebook, card.book.len(), character.lorebook.len());
    note_macros(&macros, file, findings);
    if !card.unused.is_empty() {
        let keys = card.unused.join(", ");
        let message = format!("kept with the character, and not used: {keys}");
        findings.file("CARD-KEPT", Severity::Warning, file, message).about(keys);
    }
    character
}

/// What describes the character in every prompt: three fields of a card, one of ours.
fn persona(card: &Card) -> String {
    let titled = |title: &str, text: &str| match text.trim() {
        "" => String::new(),
        text => format!("{title}: {text}"),
    };
    let parts = [
        card.description.trim().to_owned(),
        titled("Personality", &card.personality),
        titled("Scenario", &card.scenario),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// One scene a block; what stands before its first line is kept as its `setting`.
fn scenes(blocks: Vec<dialogue::Block>, macros: &mut Macros) -> Vec<Scene> {
    let mut scenes = Vec::new();
    for (index, mut block) in blocks.into_iter().enumerate() {
        if block.turns.is_empty() {
            continue;
        }
        for turn in &mut block.turns {
            turn.text = macros.expand(&turn.text, USER_ADDRESSED);
        }
        let mut extra = Map::new();
        if !block.setting.is_empty() {
            extra.insert("setting".into(), macros.expand(&block.setting, USER_TOLD).into());
        }
        scenes.push(Scene {
            id: format!("card-{index:03}"),
            origin: Some(ORIGIN.into()),
            turns: block.turns,
            extra,
            ..Scene::default()
        });
    }
    scenes
}

/// An entry with its keys as a list; everything else is kept as it is.
fn lore_entry(entry: &Value) -> Option<LoreEntry> {
    let mut fields = entry.as_object()?.clone();
    let keys = match fields.remove("keys") {
        Some(Value::Array(keys)) => {
            keys.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(keys)) => keys.split(',').map(|key| key.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    let content = match fields.remove("content") {
        Some(Value::String(content)) => content,
        _ => String::new(),
    };
    let enabled = fields.remove("enabled") != Some(Value::Bool(false));
    Some(LoreEntry { keys, content, enabled, extra: fields })
}

fn note_macros(macros: &Macros, file: &str, findings: &mut Findings) {
    if macros.named_user {
        let message = "{{user}} was replaced: “the user” in descriptions, “you” in what is said";
        findings.file("CARD-USER", Severity::Info, file, message);
    }
    if !macros.unknown.is_empty() {
        let left: Vec<&str> = macros.unknown.iter().map(String::as_str).take(5).collect();
        let left = left.join(" ");
        let message = format!("macros that mean nothing here were left as they are: {left}");
        findings.file("CARD-MACRO", Severity::Warning, file, message).about(left);
    }
}
