//! What was deleted is found, brought back, or gone for good.

use fantoccini::key::Key;
use troupe_tests::{Scratch, say};

use crate::driver::{Window, by};

#[tokio::test]
async fn what_was_deleted_comes_back_or_goes_for_good() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let [kept, gone] = ["Where does the lantern go?", "Forget this."].map(|text| {
        let chat = studio.create_chat(&id).unwrap().chat.id;
        say(&studio, &chat, text);
        studio.delete_chat(&chat).unwrap();
        chat
    });
    drop(studio);

    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    window.find(&by("chat-input")).await;
    assert_eq!(window.count(&format!("{}[data-id='{kept}']", by("chat-item"))).await, 0);

    // By key: the palette knows the list.
    window.press(&[Key::Control.into(), 'k']).await;
    window.find(&by("palette")).await;
    window.type_text("recently").await;
    window.press(&[Key::Enter.into()]).await;
    window.find(&by("deleted-dialog")).await;
    let item = format!("{}[data-id='{kept}']", by("deleted-item"));
    assert!(window.text(&item).await.contains("30 days left"));
    window.shot("deleted").await;
    window.click(&format!("{item} {}", by("deleted-restore"))).await;
    window.find(&format!("{}[data-id='{gone}']:only-child", by("deleted-item"))).await;
    let focused = "return document.activeElement.closest('[data-testid=deleted-item]')?.dataset.id";
    assert_eq!(window.ask(focused).await, gone.as_str(), "the focus goes on to the next");

    window.click(&by("deleted-empty")).await;
    window.until_text_has(&by("confirm"), "cannot be undone", true).await;
    window.shot("deleted-sure").await;
    window.click(&by("confirm-act")).await;
    window.until_text_has(&by("deleted-dialog"), "Nothing was deleted", true).await;
    window.press(&[Key::Escape.into()]).await;

    // The place behind it shows what came back.
    window.click(&format!("{}[data-id='{kept}']", by("chat-item"))).await;
    window.until_text_has("[role=log]", "Where does the lantern go?", true).await;
    window.close().await;
    let studio = scratch.studio();
    assert!(studio.chat(&kept).is_ok() && studio.chat(&gone).is_err());
}
