//! When a reply deserves a picture: by request in the message, or because the scene changed.
//!
//! Both are plain rules over words, so that they can be explained and never cost a model call.

use std::collections::HashSet;

/// A picture is due after so many replies without one, whatever they say.
const PICTURE_AFTER: usize = 5;
/// Share of new content words above which a reply counts as another scene.
const NEW_WORDS: f64 = 0.8;
/// Replies shorter than this many content words change no scene by their words alone.
const FEW_WORDS: usize = 6;

/// Words that ask for a picture.
const REQUESTS: [&str; 9] =
    ["draw", "paint", "sketch", "picture", "photo", "selfie", "image", "portrait", "show"];
/// The same in Chinese, found anywhere in the text.
const REQUESTS_HAN: [&str; 10] =
    ["画", "畫", "图片", "圖片", "照片", "自拍", "拍张", "拍張", "给我看", "給我看"];

/// Words that carry a scene elsewhere.
const MOVES: [&str; 22] = [
    "arrive",
    "arrives",
    "arrived",
    "enter",
    "enters",
    "entered",
    "leave",
    "leaves",
    "left",
    "outside",
    "inside",
    "upstairs",
    "downstairs",
    "later",
    "morning",
    "evening",
    "night",
    "tomorrow",
    "suddenly",
    "wears",
    "wearing",
    "dressed",
];
/// The same in Chinese.
const MOVES_HAN: [&str; 12] = [
    "来到", "來到", "走进", "走進", "离开", "離開", "外面", "后来", "後來", "早上", "晚上", "突然",
];

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Words long enough to mean something.
fn content(text: &str) -> HashSet<String> {
    words(text).into_iter().filter(|word| word.chars().count() > 3).collect()
}

/// Whether a message asks for a picture.
pub(crate) fn asks_for_picture(message: &str) -> bool {
    words(message).iter().any(|word| REQUESTS.contains(&word.as_str()))
        || REQUESTS_HAN.iter().any(|word| message.contains(word))
}

/// Whether a reply shows something else than the last picture.
///
/// `since` are the texts of the replies since the last picture, that one's own first, without the
/// new one; empty when there is no picture yet.
pub(crate) fn scene_changes(message: &str, reply: &str, since: &[&str]) -> bool {
    if since.is_empty() || since.len() >= PICTURE_AFTER || asks_for_picture(message) {
        return true;
    }
    let moves = |text: &str| {
        words(text).iter().any(|word| MOVES.contains(&word.as_str()))
            || MOVES_HAN.iter().any(|word| text.contains(word))
    };
    if moves(message) || moves(reply) {
        return true;
    }
    let known: HashSet<String> = since.iter().flat_map(|text| content(text)).collect();
    let now = content(reply);
    let new = now.difference(&known).count();
    now.len() >= FEW_WORDS && new as f64 / now.len() as f64 > NEW_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_heard_as_words_not_as_letters() {
        for yes in ["Draw me a boat!", "May I see a PHOTO?", "给我看你的花园", "畫一張圖"]
        {
            assert!(asks_for_picture(yes), "{yes}");
        }
        for no in ["Close the drawer.", "I withdraw that.", "How are you?", ""] {
            assert!(!asks_for_picture(no), "{no}");
        }
    }

    #[test]
    fn scenes_change_by_first_picture_move_or_time() {
        let shop = "The bakery smells of warm bread and sugar today, my friend.";
        assert!(scene_changes("Hello", shop, &[]), "the first picture");
        assert!(!scene_changes("And?", "Warm bread, sugar, my bakery friend today.", &[shop]));
        assert!(!scene_changes("And?", "Yes.", &[shop]), "too short to be elsewhere");
        assert!(scene_changes("Let us go outside.", "Yes.", &[shop]));
        assert!(scene_changes("And?", "后来，我们走了。", &[shop]));
        assert!(scene_changes("And?", "Yes.", &[shop, "b", "c", "d", "e"]), "five replies without");
        let other = "Thunder rolls above the frozen mountain while wolves gather around campfires.";
        assert!(scene_changes("And?", other, &[shop]));
    }
}
