//! Prompts in the words that a character's captions have in common.
//!
//! Who is taught from "Ada, a woman with red hair, laughing, ink drawing" was never shown by "Ada" alone:
//! a prompt that names her and nothing else of it is far from all that was learned, and a small base
//! then draws a blot. What all captions begin and end with is put around such a prompt.

use crate::{Character, Split};

impl Character {
    /// `prompt` with what the captions of the character's pictures begin and end with, where it begins
    /// with the character's name and captions tell more than that at their beginning; else, or where it
    /// tells looks itself, as it is.
    ///
    /// "Ada in the snow" becomes "Ada, a woman with red hair, in the snow, ink drawing". What was
    /// completed before stays the same.
    pub fn as_captioned(&self, prompt: &str) -> String {
        let Some(frame) = Frame::of(self) else { return prompt.to_owned() };
        let prompt = prompt.trim();
        let Some(rest) = prompt.strip_prefix(self.prompt_name()) else { return prompt.to_owned() };
        let is_whole_name = !rest.starts_with(|c: char| c.is_alphanumeric());
        let rest = rest.trim_start_matches([',', ' ']).trim_end_matches('.');
        let looks = self.visual_cues.appearance.trim();
        let tells_looks =
            prompt.starts_with(frame.start) || !looks.is_empty() && rest.contains(looks);
        if !is_whole_name || rest.is_empty() || tells_looks {
            return prompt.to_owned();
        }
        let end = if rest.ends_with(frame.end) { "" } else { frame.end };
        format!("{}, {rest}{end}", frame.start)
    }
}

/// What all captions have in common.
struct Frame<'a> {
    start: &'a str,
    end: &'a str,
}

impl<'a> Frame<'a> {
    /// The frame of a character whose captions begin with more than its name.
    fn of(character: &'a Character) -> Option<Self> {
        let learned = character.pictures.iter().filter(|p| p.split != Split::Test);
        let captions: Vec<&str> =
            learned.map(|p| p.caption.trim()).filter(|caption| !caption.is_empty()).collect();
        let (first, others) = captions.split_first()?;
        if others.is_empty() {
            return None;
        }
        let mut start = first.len();
        let mut end = first.len();
        for other in others {
            start = start.min(shared(first.char_indices(), other.chars(), first.len()));
            let ends =
                first.char_indices().rev().map(|(at, c)| (first.len() - at - c.len_utf8(), c));
            end = end.min(shared(ends, other.chars().rev(), first.len()));
        }
        let start = whole_phrase(&captions, start)?;
        // A part of the sentence that differs otherwise is no end.
        let end = &first[first.len() - end..];
        let end = end.find(", ").map_or("", |at| &end[at..]);
        let told = start.split_once(character.prompt_name())?;
        let words = told.0.split_whitespace().count() + told.1.split_whitespace().count();
        (words >= FEWEST_WORDS).then_some(Self { start, end })
    }
}

/// Fewest words around the name that tell looks.
const FEWEST_WORDS: usize = 4;

/// Bytes that two texts share, `len` where the first is shared whole.
fn shared(
    mut first: impl Iterator<Item = (usize, char)>,
    mut other: impl Iterator<Item = char>,
    len: usize,
) -> usize {
    first.find(|(_, c)| other.next() != Some(*c)).map_or(len, |(at, _)| at)
}

/// The first `len` bytes of the first caption, as far as they are whole phrases: up to where a caption has
/// a comma.
fn whole_phrase<'a>(captions: &[&'a str], len: usize) -> Option<&'a str> {
    let first = captions.first()?;
    let is_whole = captions.iter().any(|caption| caption[len..].starts_with(','));
    if is_whole {
        return Some(&first[..len]);
    }
    first[..len].rfind(',').map(|at| &first[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;

    fn character(name: &str, captions: &[&str]) -> Character {
        let picture = |caption: &&str| Picture { caption: (*caption).into(), ..Picture::default() };
        Character {
            name: name.into(),
            pictures: captions.iter().map(picture).collect(),
            ..Character::default()
        }
    }

    #[test]
    fn a_name_alone_gets_the_words_around_it() {
        let ada = character(
            "Ada",
            &[
                "Ada, a woman with red hair and a coat, laughing, on a beach, ink drawing",
                "Ada, a woman with red hair and a coat, sad in the snow, ink drawing",
                "Ada, a woman with red hair and a coat, sleeping, ink drawing",
            ],
        );
        let full = "Ada, a woman with red hair and a coat, in a zoo, ink drawing";
        for prompt in ["Ada in a zoo", "Ada, in a zoo.", full, "Ada in a zoo, ink drawing"] {
            assert_eq!(ada.as_captioned(prompt), full);
        }
        for other in ["a zoo", "Adam in a zoo", "Ada", "The coat of Ada"] {
            assert_eq!(ada.as_captioned(other), other);
        }
    }

    #[test]
    fn phrases_stay_whole() {
        let pip = character(
            "Pip",
            &[
                "A drawing of Pip, a boy in a hat, é.",
                "A drawing of Pip, a boy in a hat and gloves, ü.",
            ],
        );
        assert_eq!(pip.as_captioned("Pip asleep"), "A drawing of Pip, a boy in a hat, asleep");
        let cut = character("Pip", &["Pip, a ginger cat, asleep", "Pip, a ginger tabby, awake"]);
        assert_eq!(cut.as_captioned("Pip asleep"), "Pip asleep");
    }

    #[test]
    fn captions_that_differ_add_nothing() {
        let bo = character("Bo", &["Bo on a bed, furry", "Bo runs, furry", "A bone"]);
        assert_eq!(bo.as_captioned("Bo in the snow"), "Bo in the snow");
        let alike = character("Bo", &["Bo on a very long bed", "Bo on a very long bed"]);
        assert_eq!(alike.as_captioned("Bo in the snow"), "Bo in the snow");
        assert_eq!(character("Bo", &[]).as_captioned("Bo asleep"), "Bo asleep");
    }
}
