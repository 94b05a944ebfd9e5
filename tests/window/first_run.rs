//! What somebody sees who has just installed the program.

use troupe_tests::Scratch;

use super::bundled_model;
use crate::driver::{Window, by};

#[tokio::test]
async fn one_click_leads_to_a_character_that_talks() {
    let scratch = Scratch::new();
    let window = Window::open(&scratch, &bundled_model()).await;
    window.find(&by("welcome")).await;
    window.shot("welcome-first").await;
    window.click(&by("welcome-talk")).await; // the first of those that came along
    window.find(&by("chat-input")).await;
    assert_eq!(window.count(&by("untaught")).await, 0, "somebody comes first who was taught");
    window.write(&by("chat-input"), "Hello, who are you?").await;
    window.click(&by("chat-send")).await;
    let reply = format!("{}:last-of-type", by("message-reply"));
    let picture = format!("{reply} {}", by("message-picture"));
    window.find(&picture).await;
    assert!(window.is_loaded(&picture).await, "the picture is broken");
    let words = window.text(&format!("{reply} {}", by("message-text"))).await;
    assert!(!words.trim().is_empty());
    window.shot("first-run").await;
    window.close().await;
}
