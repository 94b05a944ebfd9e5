//! Checks of a character before it is taught, in plain words.

use crate::{Character, records::Speaker, rolescape::Severity};

/// Pictures from which looks are learned well enough.
const ENOUGH_PICTURES: usize = 6;
/// Replies from which a voice is learned well enough.
const ENOUGH_REPLIES: usize = 12;
/// Letters of a persona that a small model still reads well.
const LONG_PERSONA: usize = 2400;

/// Something to know before teaching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// An error makes teaching impossible, a warning makes it go badly.
    pub severity: Severity,
    /// Stable name.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// Checks `character`; the gravest findings come first.
pub fn check(character: &Character) -> Vec<Check> {
    let mut found = Vec::new();
    let mut add = |severity, code, message: String, hint| {
        found.push(Check { severity, code, message, hint });
    };
    let name = &character.name;
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
        );
    } else if pictures < ENOUGH_PICTURES {
        add(
            Severity::Warning,
            "few-pictures",
            format!("{name} has {pictures} pictures; about ten are needed to learn how it looks"),
            "Add more pictures.",
        );
    }
    if replies == 0 && pictures > 0 {
        add(
            Severity::Warning,
            "no-dialogue",
            format!("{name} has no example dialogue"),
            "Write some lines and replies.",
        );
    } else if replies > 0 && replies < ENOUGH_REPLIES {
        add(
            Severity::Info,
            "little-dialogue",
            format!("{name} has {replies} example replies; a voice shows from about twenty on"),
            "Write some more lines and replies.",
        );
    }
    if character.persona.trim().is_empty() {
        add(
            Severity::Warning,
            "no-persona",
            format!("{name} has no persona"),
            "Describe who the character is.",
        );
    }
    if character.persona.chars().count() > LONG_PERSONA {
        add(
            Severity::Info,
            "long-persona",
            format!("{name}'s persona is long: every reply begins by reading all of it"),
            "Keep what shapes replies, and move facts to the profile.",
        );
    }
    let bare = character.pictures.iter().filter(|p| p.caption.trim().is_empty()).count();
    if bare > 0 {
        add(
            Severity::Warning,
            "no-caption",
            format!(
                "{bare} of {pictures} pictures have no caption, so nothing says what they show"
            ),
            "Write a sentence for each, naming the character.",
        );
    }
    let nameless = character
        .pictures
        .iter()
        .filter(|p| !p.caption.trim().is_empty() && !p.caption.contains(name.as_str()))
        .count();
    if nameless > 0 {
        add(
            Severity::Info,
            "nameless-caption",
            format!("{nameless} captions do not name {name}, so the looks bind less to the name"),
            "Begin captions with the name.",
        );
    }
    let lost = turns()
        .filter_map(|t| t.picture.as_deref())
        .filter(|id| character.picture(id).is_none())
        .count();
    if lost > 0 {
        add(
            Severity::Warning,
            "lost-picture",
            format!("{lost} replies belong to pictures that are not there"),
            "Choose another picture for them, or none.",
        );
    }
    found.sort_by_key(|check| std::cmp::Reverse(check.severity));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Picture, Scene, Turn};

    fn codes(character: &Character) -> Vec<&'static str> {
        check(character).iter().map(|c| c.code).collect()
    }

    #[test]
    fn an_empty_character_cannot_be_taught() {
        let found = check(&Character::default());
        assert_eq!((found[0].severity, found[0].code), (Severity::Error, "nothing-to-learn"));
        assert_eq!(codes(&Character::default()), ["nothing-to-learn", "no-persona"]);
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
            ["few-pictures", "no-caption", "lost-picture", "little-dialogue", "nameless-caption"]
        );
    }
}
