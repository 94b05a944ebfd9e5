//! What a chat offers besides talking: a picture to ask about, going on, pins, and when to draw.

use troupe_tests::Scratch;

use super::{Window, bundled_model, by, picture};

/// The newest row of the chat.
fn last(part: &str) -> String {
    format!("[data-row]:nth-last-child(2) {part}")
}

async fn say(window: &Window, text: &str) {
    window.write(&by("chat-input"), text).await;
    window.click(&by("chat-send")).await;
    let said = format!("[data-row]:nth-last-child(3) {}", by("message-user"));
    window.until_text_has(&said, text, true).await;
    window.find(&by("chat-send")).await;
}

#[tokio::test]
async fn a_picture_is_attached_and_asked_about() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let file = picture(&scratch, "sea.png", 40); // 96 × 64
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &file).await;
    window.chat(&id, "Hello?").await;

    // One that was attached can be taken away again.
    window.click(&by("attach-picture")).await;
    let waiting = format!("form {}", by("attached-picture"));
    window.find(&waiting).await;
    window.click(&by("attached-remove")).await;
    window.until_gone(&waiting).await;

    window.click(&by("attach-picture")).await;
    assert!(window.is_loaded(&waiting).await, "the attached picture is broken");
    window.shot("chat-attaching").await;
    say(&window, "What do you see here?").await;
    window.until_gone(&waiting).await;
    let shown = format!("{} {}", by("message-user"), by("attached-picture"));
    assert!(window.is_loaded(&shown).await, "the picture in the message is broken");
    window.shot("chat-attached").await;
    window.close().await;

    // After a restart it is there; the next message has none.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    assert!(window.is_loaded(&shown).await, "the picture is broken after a restart");
    say(&window, "And now?").await;
    assert_eq!(window.count(&shown).await, 1);
    window.close().await;
    let studio = scratch.studio();
    let chat = studio.list_chats(Some(&id)).unwrap().remove(0);
    let thread = studio.chat(&chat.id).unwrap().messages;
    let attached: Vec<_> = thread.iter().filter_map(|m| m.attachment.as_ref()).collect();
    assert_eq!(attached.len(), 1);
    let kept = image::open(studio.attachment_file(attached[0]).unwrap()).unwrap();
    assert_eq!((kept.width(), kept.height()), (96, 64));
}

/// Letters and digits alone: marks of emphasis close when more words come.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[tokio::test]
async fn a_reply_that_was_stopped_goes_on() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &bundled_model()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    window.find(&by("picture-mode")).await.select_by_value("never").await.unwrap();
    window.write(&by("chat-input"), "Tell me everything about the sea.").await;
    window.click(&by("chat-send")).await;
    window.find(&last("[data-testid=message-text] p")).await;
    window.click(&by("chat-stop")).await;
    window.find(&by("chat-send")).await;
    let before = letters(&window.text(&last(&by("message-text"))).await);
    assert!(!before.is_empty());

    window.click(&last(&by("message-menu"))).await;
    window.click(&last(&by("continue-reply"))).await;
    let more = |text: &str| letters(text).len() > before.len();
    window.until(&last(&by("message-text")), "more than before", more).await;
    window.click(&by("chat-stop")).await;
    window.find(&by("chat-send")).await;
    let after = letters(&window.text(&last(&by("message-text"))).await);
    assert!(after.starts_with(&before), "{after:?} does not go on from {before:?}");
    // The same reply, not another version of it.
    assert_eq!(window.count(&last(&by("swipe-count"))).await, 0);
    window.shot("chat-continued").await;
    window.close().await;
}

#[tokio::test]
async fn a_message_is_pinned_listed_and_found_again() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.chat(&id, "The key is under the mat.").await;
    window.click(&by("message-user")).await; // its tools are shown under the pointer
    let first = format!("[data-row]:has({})", by("message-user"));
    window.click(&format!("{first} {}", by("message-menu"))).await;
    window.click(&format!("{first} {}", by("pin-message"))).await;
    window.find(&format!("{first} .pinned")).await;
    window.click(&by("inspector-toggle")).await;
    window.click(&format!("{}[data-tab=pinned]", by("inspector-tab"))).await;
    window.until_text(&by("pinned-message"), "The key is under the mat.").await;
    window.shot("chat-pinned").await;
    window.close().await;

    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.find(&format!("{first} .pinned")).await;
    window.click(&format!("{}[data-tab=pinned]", by("inspector-tab"))).await; // stays unfolded
    window.click(&by("pinned-message")).await;
    window.click(&format!("{first} {}", by("message-menu"))).await;
    window.click(&format!("{first} {}", by("pin-message"))).await;
    window.until_gone(&by("pinned-message")).await;
    window.close().await;
    let studio = scratch.studio();
    let chat = studio.list_chats(Some(&id)).unwrap().remove(0);
    assert!(studio.pinned_messages(&chat.id).unwrap().is_empty());
}

#[tokio::test]
async fn pictures_come_when_they_are_wanted() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    let drawn = last(&by("message-picture"));
    for (mode, text, is_drawn) in [
        ("never", "Show me a picture!", false),
        ("onRequest", "How are you?", false),
        ("onRequest", "Show me a picture!", true),
        ("always", "How are you now?", true),
    ] {
        window.find(&by("picture-mode")).await.select_by_value(mode).await.unwrap();
        say(&window, text).await;
        let count = window.count(&drawn).await;
        assert_eq!(count == 1, is_drawn, "{mode}: {text}");
    }
    window.find(&by("picture-mode")).await.select_by_value("never").await.unwrap();
    window.shot("chat-picture-modes").await;
    window.close().await;

    // The choice is the chat's and stays; a picture can still be asked for by its button.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.until_value(&by("picture-mode"), "never").await;
    say(&window, "And now?").await;
    assert_eq!(window.count(&drawn).await, 0);
    window.click(&last(&by("again-picture"))).await;
    assert!(window.is_loaded(&drawn).await, "the picture is broken");
    window.close().await;
}
