//! The chat from the first message to finding everything again.

use fantoccini::key::Key;
use troupe_api::{wire::StartTraining, work};
use troupe_tests::Scratch;
use troupe_train::events::Control;

use super::{Window, bundled_model, by};

fn last(id: &str) -> String {
    // Rows of the list, newest last.
    format!("[data-row]:nth-last-child(2) {}", by(id))
}

#[tokio::test]
async fn replies_are_swiped_redrawn_branched_deleted_and_found_again() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.chat(&id, "Where does the lantern go?").await;
    let first = window.text(&last("message-text")).await;

    // A new version beside the first one.
    window.click(&last("swipe-next")).await;
    window.until_text(&last("swipe-count"), "2/2").await;
    window.find(&by("chat-send")).await;
    window.click(&last("swipe-previous")).await;
    window.until_text(&last("swipe-count"), "1/2").await;
    window.until_text(&last("message-text"), &first).await;

    // Another picture, the same words.
    let picture = window.attribute(&last("message-picture"), "data-id").await;
    window.click(&last("again-picture")).await;
    let other = format!("{}:not([data-id='{picture}'])", last("message-picture"));
    window.find(&other).await;
    window.find(&by("chat-send")).await;
    window.until_text(&last("message-text"), &first).await;
    assert!(window.is_loaded(&last("message-picture")).await, "the new picture is broken");

    // Said anew by key: a branch beside the old words.
    window.click(&by("chat-input")).await;
    window.press(&[Key::Alt.into(), Key::Up.into()]).await;
    window.write(&by("edit-field"), "Where does the boat go?").await;
    window.click(&by("edit-branch")).await;
    window
        .until_text(
            &format!("{} {}", by("message-user"), by("message-text")),
            "Where does the boat go?",
        )
        .await;
    window.find(&last("message-picture")).await;
    window.find(&by("chat-send")).await;

    // The tree knows both, and brings the old one back.
    window.click(&by("inspector-toggle")).await;
    window.click(&format!("{}[data-tab=tree]", by("inspector-tab"))).await;
    window.find(&format!("li:nth-child(5) {}", by("tree-row"))).await;
    window.shot("chat-tree").await;
    let rows = window.count(&by("tree-row")).await;
    let script = "return [...document.querySelectorAll('[data-testid=tree-row]')]
        .find(row => row.innerText.includes('lantern')).dataset.id";
    let old = window.ask(script).await;
    window.click(&format!("{}[data-id='{}']", by("tree-row"), old.as_str().unwrap())).await;
    let said = format!("{} {}", by("message-user"), by("message-text"));
    window.until_text(&said, "Where does the lantern go?").await;
    // Its newest version is shown: the second one.
    window.until_text(&last("swipe-count"), "2/2").await;
    let second = window.text(&last("message-text")).await;
    window.click(&format!("{}[data-tab=prompt]", by("inspector-tab"))).await;
    window.find(&by("prompt-text")).await;
    window.shot("chat-prompt").await;
    window.click(&by("inspector-toggle")).await;

    // Deleted and brought back.
    window.click(&last("message-menu")).await;
    window.click(&last("delete-message")).await;
    window.click(&format!("{} button:not(.quiet)", by("toast"))).await;
    window.until_text(&last("message-text"), &second).await;
    window.close().await;

    // After a restart all of it is there, and can be found.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.until_text(&last("message-text"), &second).await;
    window.write(&by("chat-search"), "boat").await;
    window.click(&by("search-hit")).await;
    window.until_text(&said, "Where does the boat go?").await;
    window.shot("chat-found").await;
    // It becomes something to learn from.
    window.click(&by("chat-teach")).await;
    window.find(&by("toast")).await;
    window.close().await;
    let studio = scratch.studio();
    let learned = &studio.character(&id).unwrap().scenes[0];
    assert_eq!(learned.turns[0].text, "Where does the boat go?");
    let chat = studio.list_chats(Some(&id)).unwrap().remove(0);
    let tree = studio.chat_tree(&chat.id, 0, 500).unwrap();
    assert_eq!(tree.rows.len(), rows, "nothing was lost");
}

#[tokio::test]
async fn an_edited_reply_says_so_until_the_edit_is_taken_back() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.chat(&id, "Where does the lantern go?").await;
    for is_undone in [true, false] {
        window.click(&last("edit-message")).await;
        window.write(&last("edit-field"), "To the garden.").await;
        window.click(&last("edit-save")).await;
        window.until_text(&last("message-text"), "To the garden.").await;
        window.find(&last("message-edited")).await;
        if is_undone {
            window.click(&by("toast-undo")).await;
            window.until_gone(&last("message-edited")).await;
        }
    }

    // The model is not said to have made these words.
    window.click(&last("message-menu")).await;
    window.click(&last("inspect-sent")).await;
    window.find(&by("made-edited")).await;
    window.shot("chat-edited").await;
    window.close().await;

    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.until_text(&last("message-text"), "To the garden.").await;
    window.find(&last("message-edited")).await;
    window.close().await;
}

#[tokio::test]
async fn two_sides_answer_the_same_on_the_same_seed() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let request =
        StartTraining { character_id: id.clone(), num_steps: Some(2), ..Default::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
    drop(studio);

    // The base beside what was learned: told apart by their hashes.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.chat(&id, "Hello?").await;
    window.click(&by("compare-open")).await;
    window.write(&by("compare-text"), "Where does the lantern go?").await;
    window.click(&by("compare-run")).await;
    let side = |index: u32| format!("{}:nth-of-type({index})", by("compare-side"));
    for index in [1, 2] {
        window.find(&format!("{} img", side(index))).await;
    }
    window.find(&by("compare-run")).await;
    window.until_text_has(".compare [role=status]", "Same base, same seed", true).await;
    window.shot("compare-answered").await;
    assert_eq!(window.count(&format!("{} {}", side(1), by("hash"))).await, 1, "the base alone");
    assert_eq!(window.count(&format!("{} {}", side(2), by("hash"))).await, 2);
    window.close().await;
}

#[tokio::test]
async fn a_reply_is_stopped_and_kept() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &bundled_model()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    window.write(&by("chat-input"), "Tell me everything about the sea.").await;
    window.click(&by("chat-send")).await;
    // Words have come; the rest takes the bundled base a while.
    let words = format!("{} p", last("message-text"));
    window.find(&words).await;
    window.click(&by("chat-stop")).await;
    window.find(&by("chat-send")).await;
    assert!(!window.text(&words).await.trim().is_empty());
    assert_eq!(window.count(&last("message-picture")).await, 0);
    window.shot("chat-stopped").await;

    // A picture has a stop of its own, which leaves what was said.
    window.write(&by("chat-input"), "Hello?").await;
    window.click(&by("chat-send")).await;
    window.find("figure progress").await;
    window.shot("chat-drawing").await;
    window.click(&by("picture-stop")).await;
    window.find(&by("chat-send")).await;
    assert!(!window.text(&last("message-text")).await.trim().is_empty());
    assert_eq!(window.count(&last("message-picture")).await, 0);
    window.close().await;
}

#[tokio::test]
async fn everything_is_reached_by_keyboard() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.find(&by("welcome")).await;
    window.shot("welcome").await;
    let focused = "const at = document.activeElement;
        return at.matches(':focus-visible') ? at.dataset.testid ?? at.getAttribute('href') : null";

    // The first stop of the Tab key skips the rail; the rail follows, with a visible focus.
    window.press(&[Key::Tab.into()]).await;
    assert_eq!(window.ask(focused).await, "#main");
    window.press(&[Key::Tab.into()]).await;
    assert_eq!(window.ask(focused).await, "nav-characters");

    // The palette finds the character and goes to its chat.
    window.press(&[Key::Control.into(), 'k']).await;
    window.find(&by("palette")).await;
    window.shot("palette").await;
    window.type_text("chat dot").await;
    window.press(&[Key::Enter.into()]).await;
    window.find(&by("chat-input")).await;
    assert_eq!(window.count(&by("palette")).await, 0);
    assert_eq!(window.ask(focused).await, "chat-input", "the field is ready to be typed in");

    window.type_text("Hello?").await;
    window.press(&[Key::Enter.into()]).await;
    window.find(&last("message-picture")).await;
    window.find(&by("chat-send")).await;

    // Question marks are letters in a field, and open the sheet elsewhere.
    window.press(&['?']).await;
    assert_eq!(window.count(&by("shortcut-sheet")).await, 0);
    window.press(&[Key::Control.into(), '.']).await;
    window.find(&by("inspector")).await;
    window.press(&[Key::Control.into(), 'f']).await;
    assert_eq!(window.ask(focused).await, "chat-search");
    window.press(&[Key::Control.into(), '1']).await;
    window.find(&by("new-character")).await;
    window.press(&[Key::Tab.into()]).await;
    window.ask("document.activeElement.blur()").await;
    window.press(&['?']).await;
    window.find(&by("shortcut-sheet")).await;
    window.shot("shortcuts").await;
    window.press(&[Key::Escape.into()]).await;

    // Twice as large, everything still fits the width.
    for _ in 0..5 {
        window.press(&[Key::Control.into(), '+']).await;
    }
    window.press(&[Key::Control.into(), '3']).await;
    window.find(&by("chat-input")).await;
    window.shot("zoomed").await;
    let fits = window.ask("return document.documentElement.scrollWidth <= innerWidth").await;
    assert_eq!(fits, true, "the page is wider than the window at 200 %");
    let is_whole = "const bottom = (id) =>
            document.querySelector(`[data-testid=${id}]`).getBoundingClientRect().bottom;
        return ['nav-evaluate', 'theme-menu', 'status-chip'].every((id) => bottom(id) <= innerHeight)";
    assert_eq!(window.ask(is_whole).await, true, "the rail is cut off at 200 %");
    window.until_text_has(&by("status-chip"), "CPU", true).await;
    window.close().await;
    let chats = scratch.studio().list_chats(Some(&id)).unwrap();
    assert_eq!(chats.len(), 1);
}
