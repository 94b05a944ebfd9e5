//! `mes_example`: blocks of example dialogue behind `<START>`, lines behind a speaker's label.

use std::collections::HashMap;

use crate::records::{Speaker, Turn};

const MARKER: &str = "<start>";

/// One block.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    /// What stands before the first label.
    pub(super) setting: String,
    /// Turns of alternating speakers; none when no line has a label.
    pub(super) turns: Vec<Turn>,
}

/// The blocks that say anything, in order. `names` are those of the character.
///
/// A label is `{{char}}:`, `{{user}}:`, one of the older `<BOT>:` and `<USER>:`, or a name. Only the
/// first colon of a line ends a label; lines without one go on with the turn before them.
pub(super) fn blocks(text: &str, names: &[&str]) -> Vec<Block> {
    let text = text.replace("\r\n", "\n");
    split(&text).into_iter().filter(|b| !b.trim().is_empty()).map(|b| block(b, names)).collect()
}

fn split(text: &str) -> Vec<&str> {
    let lower = text.to_ascii_lowercase(); // same bytes, same places
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find(MARKER) {
        parts.push(&text[from..from + at]);
        from += at + MARKER.len();
    }
    parts.push(&text[from..]);
    parts
}

fn block(text: &str, names: &[&str]) -> Block {
    let other = other_name(text, names);
    let mut block = Block::default();
    for line in text.lines() {
        let labelled = label(line).and_then(|(label, said)| {
            let is_other = other.as_deref() == Some(label);
            let role = speaker(label, names).or(is_other.then_some(Speaker::User))?;
            Some((role, said))
        });
        match (labelled, block.turns.last_mut()) {
            (Some((role, said)), Some(last)) if last.role == role => go_on(&mut last.text, said),
            (Some((role, said)), _) => block.turns.push(Turn::new(role, said)),
            (None, Some(last)) => go_on(&mut last.text, line),
            (None, None) => go_on(&mut block.setting, line),
        }
    }
    for turn in &mut block.turns {
        turn.text = turn.text.trim().to_owned();
    }
    block.setting = block.setting.trim().to_owned();
    block
}

fn go_on(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

fn label(line: &str) -> Option<(&str, &str)> {
    let (label, said) = line.split_once([':', '：'])?;
    let label = label.trim();
    (!label.is_empty() && label.chars().count() <= 40).then_some((label, said.trim()))
}

fn speaker(label: &str, names: &[&str]) -> Option<Speaker> {
    match label.to_lowercase().as_str() {
        "{{char}}" | "<bot>" | "<char>" => Some(Speaker::Character),
        "{{user}}" | "<user>" | "you" | "user" => Some(Speaker::User),
        other => {
            let is_own = names.iter().any(|name| name.trim().to_lowercase() == other);
            is_own.then_some(Speaker::Character)
        }
    }
}

/// A name that stands for the person, in a block that does not mark the person otherwise: it begins
/// two lines or more.
fn other_name(text: &str, names: &[&str]) -> Option<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (label, _) in text.lines().filter_map(label) {
        match speaker(label, names) {
            Some(Speaker::User) => return None,
            Some(Speaker::Character) => {}
            None if label.eq_ignore_ascii_case("narrator") => {}
            None => *counts.entry(label).or_default() += 1,
        }
    }
    let (label, count) = counts.into_iter().max_by_key(|&(label, count)| (count, label))?;
    (count >= 2).then(|| label.to_owned())
}
