//! Open test prompts of the data set often carry the debris of the chat that made them.

use crate::normalise::loose;

/// What one string of `test_questions` turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cleaned {
    /// The prompt without wrappers.
    pub(super) text: String,
    /// Why it is no prompt.
    pub(super) dropped: Option<&'static str>,
    /// Looks like a scoring criterion but is kept.
    pub(super) is_suspect: bool,
    pub(super) numbered: bool,
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) block_quote: bool,
    pub(super) quoted: bool,
}

/// Cleans a whole list; later repeats of a prompt are dropped.
pub(super) fn clean_all(raw: &[String]) -> Vec<Cleaned> {
    let mut cleaned: Vec<Cleaned> = raw.iter().map(|text| strip(text)).collect();
    let num_quoted = cleaned.iter().filter(|c| c.quoted).count();
    let mut seen: Vec<String> = Vec::new();
    for (item, text) in cleaned.iter_mut().zip(raw) {
        item.dropped = reason(text, item);
        if item.dropped.is_none() && looks_like_rubric(item) {
            // Among quoted prompts an unquoted criterion stands out; elsewhere it is only suspected.
            if num_quoted * 2 >= raw.len() && !starts_like_criterion(&item.text) {
                item.dropped = Some("rubric");
            } else {
                item.is_suspect = true;
            }
        }
        if item.dropped.is_none() {
            let key = loose(&item.text);
            if seen.contains(&key) {
                item.dropped = Some("repeat");
            } else {
                seen.push(key);
            }
        }
    }
    cleaned
}

fn strip(raw: &str) -> Cleaned {
    let mut item = Cleaned::default();
    let mut text = raw.trim();
    if let Some(rest) = text.strip_prefix('>') {
        item.block_quote = true;
        text = rest.trim();
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0
        && let Some(rest) = text[digits..].strip_prefix(['.', ')'])
        && rest.starts_with(' ')
    {
        item.numbered = true;
        text = rest.trim();
    }
    if let Some(rest) = pair(text, "**", "**") {
        item.bold = true;
        text = rest;
    } else if let Some(rest) = pair(text, "*", "*") {
        item.italic = true;
        text = rest;
    }
    if let Some(rest) = pair(text, "\"", "\"").or_else(|| pair(text, "“", "”")) {
        item.quoted = true;
        text = rest;
    }
    item.text = text.trim().to_owned();
    item
}

fn pair<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?.strip_suffix(close)?;
    (!inner.is_empty()).then_some(inner)
}

fn reason(raw: &str, item: &Cleaned) -> Option<&'static str> {
    if item.text.is_empty() {
        return Some("empty");
    }
    let bare = raw.trim().trim_matches(|c| matches!(c, '*' | '_' | '>' | ' '));
    let lower = bare.to_lowercase();
    let about_testing =
        ["tests", "test:", "testing", "evaluates", "evaluating", "checks", "probes", "assesses"];
    if bare.starts_with('(') && bare.ends_with(')')
        || !item.quoted && about_testing.iter().any(|word| lower.starts_with(word))
    {
        return Some("rater_note");
    }
    let preamble = [
        "here are",
        "here is",
        "here’s",
        "here's",
        "below are",
        "below is",
        "each input",
        "each prompt",
        "each question",
        "each of these",
        "these inputs",
        "these prompts",
        "these questions",
        "the following",
        "certainly",
        "sure,",
        "sure!",
        "of course",
        "absolutely",
        "let me know",
        "as an ai",
        "note:",
    ];
    let heading = bare.starts_with('#') || bare.chars().all(|c| matches!(c, '-' | '=' | '*'));
    if !item.quoted && (heading || preamble.iter().any(|start| lower.starts_with(start))) {
        return Some("meta");
    }
    None
}

/// `Use of "…" in appropriate moments.`: kept, because the published counts keep it.
fn starts_like_criterion(text: &str) -> bool {
    let criterion = ["Use of ", "Uses ", "Avoids ", "Shows ", "Demonstrates ", "Maintains "];
    criterion.iter().any(|start| text.starts_with(start))
}

/// `Does the reply …?`, `Are responses …?`: a question about the answer, not to the character.
fn asks_about_answers(text: &str) -> bool {
    let lower = text.to_lowercase();
    let subject = ["response", "reply", "replies", "answer", "model", "output", "character"];
    let starts = ["does ", "do ", "are ", "is ", "should "].iter().any(|s| lower.starts_with(s));
    let second: Vec<&str> = lower.split_whitespace().skip(1).take(2).collect();
    starts && second.iter().any(|word| subject.iter().any(|s| word.starts_with(s)))
}

/// `Tone & Language: Are responses …?`, `Use of "…" in appropriate moments.`
fn looks_like_rubric(item: &Cleaned) -> bool {
    if item.quoted {
        return false;
    }
    if starts_like_criterion(&item.text) || asks_about_answers(&item.text) {
        return true;
    }
    let Some((label, rest)) = item.text.split_once(": ") else {
        return false;
    };
    let label = label.trim_matches('*');
    let words: Vec<&str> = label.split_whitespace().collect();
    let titled = words.iter().all(|word| {
        word.starts_with(|c: char| c.is_uppercase() || !c.is_alphabetic())
            || ["and", "of", "the", "with", "in", "to", "for"].contains(word)
    });
    let asks = [
        "Does ",
        "Do ",
        "Did ",
        "Are ",
        "Is ",
        "Should ",
        "Must ",
        "Can ",
        "Will ",
        "How ",
        "Whether ",
        "Use",
        "Avoid",
        "Show",
        "The ",
        "Expect",
        "Look",
        "Reflect",
        "Maintain",
        "Demonstrat",
        "Consisten",
        "Respon",
    ];
    (1..=6).contains(&words.len()) && titled && asks.iter().any(|start| rest.starts_with(start))
}

/// True when a profile begins with a sentence of the assistant that wrote it.
pub(super) fn has_preamble(profile: &str) -> bool {
    let first = profile.trim_start().lines().next().unwrap_or_default().to_lowercase();
    let starts = [
        "here is",
        "here are",
        "here’s",
        "here's",
        "certainly",
        "sure",
        "of course",
        "below is",
        "below are",
        "absolutely",
        "based on",
        "okay",
        "the following",
    ];
    starts.iter().any(|start| first.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_come_off_in_order() {
        let item = strip("> 3. **\"Is the lamp lit?\"**");
        assert_eq!(item.text, "Is the lamp lit?");
        assert!(item.block_quote && item.numbered && item.bold && item.quoted && !item.italic);
        assert_eq!(strip("*You again?*").text, "You again?");
        assert_eq!(strip("“Well?”").text, "Well?");
        assert_eq!(strip("2 lamps or 3?").text, "2 lamps or 3?");
    }

    #[test]
    fn notes_preambles_rubrics_and_repeats_are_told_apart() {
        let raw: Vec<String> = [
            "\"Is the lamp lit?\"",
            "\"Who gave you the lens?\"",
            "\"Do you like storms?\"",
            "Here are 20 inputs that test Pip:",
            "1. **\"Is the lamp lit\"**",
            "*(Tests: patience)*",
            "Tone & Voice: Does he speak of himself as the keeper?",
            "Use of \"ahoy\" in suitable moments.",
            "\"What do you see?\"",
            "\"Who is there?\"",
            "Does the response stay calm?",
            "Pip: are you awake?",
        ]
        .map(String::from)
        .into();
        let reasons: Vec<Option<&str>> = clean_all(&raw).iter().map(|c| c.dropped).collect();
        assert_eq!(
            reasons,
            [
                None,
                None,
                None,
                Some("meta"),
                Some("repeat"),
                Some("rater_note"),
                Some("rubric"),
                None,
                None,
                None,
                Some("rubric"),
                None
            ]
        );
        assert!(clean_all(&raw)[7].is_suspect);
    }
}
