//! Words that are looked for.

use memchr::memmem::Finder;

/// Letters of an excerpt.
const EXCERPT: usize = 220;
/// Letters before the first found word.
const LEAD: usize = 60;

/// Words in lower case, all of which must occur.
#[derive(Debug, Default)]
pub(super) struct Query {
    words: Vec<Finder<'static>>,
}

impl Query {
    /// Words between blanks, and phrases between double quotes.
    pub(super) fn new(text: &str) -> Self {
        let mut words = Vec::new();
        for (at, part) in text.split('"').enumerate() {
            let part = part.to_lowercase();
            if at % 2 == 1 {
                words.push(part.trim().to_owned());
            } else {
                words.extend(part.split_whitespace().map(Into::into));
            }
        }
        words.retain(|word: &String| !word.is_empty());
        Self { words: words.iter().map(|word| Finder::new(word).into_owned()).collect() }
    }

    /// All words occur in a text in lower case.
    pub(super) fn matches(&self, folded: &str) -> bool {
        self.words.iter().all(|word| word.find(folded.as_bytes()).is_some())
    }

    /// The beginning of a text, or what is around the first found word; in one line.
    pub(super) fn excerpt(&self, text: &str) -> String {
        let start = self.first_hit(text).map_or(0, |at| at.saturating_sub(LEAD));
        let mut letters = text.chars().skip(start);
        let mut excerpt: String = letters.by_ref().take(EXCERPT).collect();
        if start > 0 {
            excerpt.insert(0, '…');
        }
        if letters.next().is_some() {
            excerpt.push('…');
        }
        excerpt.replace('\n', " · ")
    }

    /// Place of the first found word, in letters. Lower case may be longer than what it is made of,
    /// so a place in the folded text would not do.
    fn first_hit(&self, text: &str) -> Option<usize> {
        let word = std::str::from_utf8(self.words.first()?.needle()).ok()?;
        let folded: Vec<(usize, char)> = text
            .chars()
            .enumerate()
            .flat_map(|(at, c)| c.to_lowercase().map(move |lower| (at, lower)))
            .collect();
        let word: Vec<char> = word.chars().collect();
        let is_here = |part: &[(usize, char)]| part.iter().map(|p| p.1).eq(word.iter().copied());
        let at = folded.windows(word.len()).position(is_here)?;
        Some(folded[at].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_wanted_and_phrases_stay_together() {
        let text = "the kettle is called morag";
        assert!(Query::new("").matches(text));
        assert!(Query::new("Morag KETT").matches(text));
        assert!(!Query::new("morag tea").matches(text));
        assert!(Query::new("\"kettle is\"").matches(text));
        assert!(!Query::new("\"is kettle\"").matches(text));
        assert!(Query::new("\"").matches(text), "a quote that is still being typed");
    }

    #[test]
    fn an_excerpt_shows_what_was_found() {
        let text = format!("{}İstanbul\nby night", "word ".repeat(100));
        let excerpt = Query::new("stanbul night").excerpt(&text);
        assert!(excerpt.starts_with('…') && excerpt.contains("İstanbul · by night"), "{excerpt}");
        assert_eq!(Query::new("").excerpt("short"), "short");
        assert!(Query::new("").excerpt(&text).ends_with('…'));
    }
}
