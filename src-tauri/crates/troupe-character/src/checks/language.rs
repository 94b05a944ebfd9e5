//! Which language a text is in, well enough to notice that two texts differ.

/// Short words that give a language in Latin letters away.
const STOP_WORDS: [(&str, &[&str]); 6] = [
    (
        "English",
        &["the", "and", "you", "is", "of", "to", "that", "it", "with", "for", "was", "are"],
    ),
    (
        "German",
        &["der", "die", "und", "das", "ist", "nicht", "ich", "ein", "mit", "du", "auf", "sie"],
    ),
    ("French", &["le", "la", "les", "et", "est", "je", "vous", "des", "pas", "une", "que", "dans"]),
    ("Spanish", &["el", "los", "y", "es", "que", "de", "no", "una", "con", "por", "está", "las"]),
    ("Portuguese", &["o", "os", "e", "não", "que", "uma", "com", "você", "é", "do", "da", "em"]),
    (
        "Italian",
        &["il", "che", "non", "di", "è", "una", "per", "sono", "con", "della", "gli", "mi"],
    ),
];
/// Words that are needed to say anything.
const MIN_HITS: usize = 8;

/// The language of a text, or `None` when too little of it is telling.
pub(super) fn language(text: &str) -> Option<&'static str> {
    script(text).or_else(|| by_stop_words(text))
}

/// The BCP 47 tag of a language that [`language`] names.
pub(super) fn tag(language: &str) -> &'static str {
    match language {
        "English" => "en",
        "German" => "de",
        "French" => "fr",
        "Spanish" => "es",
        "Portuguese" => "pt",
        "Italian" => "it",
        "Japanese" => "ja",
        "Chinese" => "zh",
        "Korean" => "ko",
        "Russian" => "ru",
        "Greek" => "el",
        "Arabic" => "ar",
        "Thai" => "th",
        "Hindi" => "hi",
        _ => "und",
    }
}

/// Languages that their letters give away.
fn script(text: &str) -> Option<&'static str> {
    let count = |range: &dyn Fn(char) -> bool| text.chars().filter(|c| range(*c)).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let kana = count(&|c| matches!(c, '\u{3040}'..='\u{30ff}'));
    let han = count(&|c| matches!(c, '\u{3400}'..='\u{9fff}'));
    let candidates = [
        ("Japanese", if kana > 0 { kana + han } else { 0 }),
        ("Chinese", if kana == 0 { han } else { 0 }),
        ("Korean", count(&|c| matches!(c, '\u{ac00}'..='\u{d7af}'))),
        ("Russian", count(&|c| matches!(c, '\u{400}'..='\u{4ff}'))),
        ("Greek", count(&|c| matches!(c, '\u{370}'..='\u{3ff}'))),
        ("Arabic", count(&|c| matches!(c, '\u{600}'..='\u{6ff}'))),
        ("Thai", count(&|c| matches!(c, '\u{e00}'..='\u{e7f}'))),
        ("Hindi", count(&|c| matches!(c, '\u{900}'..='\u{97f}'))),
    ];
    let found = candidates.into_iter().max_by_key(|(_, num)| *num)?;
    (letters >= 4 && found.1 * 2 > letters).then_some(found.0)
}

fn by_stop_words(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphabetic()).collect();
    let hits = |list: &[&str]| words.iter().filter(|word| list.contains(word)).count();
    let mut counts: Vec<(usize, &'static str)> =
        STOP_WORDS.iter().map(|(name, list)| (hits(list), *name)).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let [best, second, ..] = counts.as_slice() else { return None };
    (best.0 >= MIN_HITS && best.0 >= second.0 * 3 / 2).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let english = "The lamp is lit and you are late. It was the storm that kept me up, and it is not over.";
        let german = "Die Lampe ist an und du bist nicht da. Ich bin mit der Katze auf dem Dach, und das ist nicht leicht.";
        assert_eq!(language(english), Some("English"));
        assert_eq!(language(german), Some("German"));
        assert_eq!(language("灯塔已经亮了，你来晚了。"), Some("Chinese"));
        assert_eq!(language("灯台はもう点いています。"), Some("Japanese"));
        assert_eq!(language("Маяк уже горит."), Some("Russian"));
        assert_eq!(language("Ahoy!"), None);
        let names = "Sun Wukong (孙悟空) is the hero of the tale and that is known to all of you, with or without the book.";
        assert_eq!(language(names), Some("English"), "a foreign name is no foreign text");
    }
}
