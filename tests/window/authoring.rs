//! Pictures are made square, a person says who they are, and a character leaves for elsewhere.

use fantoccini::key::Key;
use serde_json::json;
use troupe_api::wire::CropItem;
use troupe_tests::Scratch;

use super::{Window, bundled_model, by, picture};

/// Width and height of a picture that has arrived.
async fn size(window: &Window, selector: &str) -> (i64, i64) {
    window.find(selector).await;
    assert!(window.is_loaded(selector).await, "{selector} is broken");
    let script = "const [selector, done] = arguments;
        const { naturalWidth, naturalHeight } = document.querySelector(selector);
        done([naturalWidth, naturalHeight]);";
    let found = window.ask_later_with(script, vec![json!(selector)]).await;
    (found[0].as_i64().unwrap(), found[1].as_i64().unwrap())
}

#[tokio::test]
async fn a_picture_is_cut_moved_and_fitted() {
    let scratch = Scratch::new();
    let file = picture(&scratch, "wide.png", 40); // 96 × 64
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &file).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("new-character")).await;
    window.write(&by("field-name"), "Lotte").await;
    window.click("#tab-pictures").await;
    window.click(&by("add-pictures")).await;
    let shown = |cut: &str| format!("{} img[src*='{cut}']", by("picture-item"));
    assert_eq!(size(&window, &format!("{} img", by("picture-item"))).await, (96, 64));

    // The largest square in the middle, moved by key: one pixel left, ten right.
    window.click(&by("crop-open")).await;
    window.find(&by("crop-square")).await;
    window.shot("crop").await;
    window.ask("document.querySelector('[data-testid=crop-square]').focus()").await;
    window.press(&[Key::Left.into()]).await;
    window.press(&[Key::Shift.into(), Key::Right.into()]).await;
    window.click(&by("crop-save")).await;
    let cut = shown("crop=25-0-64-");
    window.find(&cut).await;
    assert_eq!(window.count(&by("crop-save")).await, 0, "the dialog is closed");
    assert_eq!(size(&window, &cut).await, (64, 64));
    window.shot("crop-saved").await;

    // What was saved is where the next change begins; closing it changes nothing.
    window.click(&by("crop-open")).await;
    let left = window.find(&by("crop-square")).await;
    let style = left.attr("style").await.unwrap().unwrap_or_default();
    assert!(style.contains("left: 26.04"), "25 of 96 pixels: {style}");
    window.press(&[Key::Escape.into()]).await;
    window.find(&cut).await;

    // The whole picture on a square, filled up at the top and the bottom.
    window.click(&by("crop-open")).await;
    window.click(&by("crop-fit")).await;
    assert_eq!(window.count(&by("crop-square")).await, 0, "nothing is cut out");
    window.click(&by("crop-save")).await;
    let fitted = shown("crop=0--16-96-");
    window.find(&fitted).await;
    assert_eq!(size(&window, &fitted).await, (96, 96));
    window.shot("crop-fitted").await;

    // The newest notice takes back the newest change.
    window.click(&format!("{}:last-child {}", by("toast"), by("toast-undo"))).await;
    window.find(&cut).await;
    window.close().await;
    let kept = scratch.studio().character("Lotte").unwrap().pictures.remove(0);
    assert_eq!(kept.crop, Some(CropItem { x: 25, y: 0, side: 64, background: None }));
}

#[tokio::test]
async fn a_persona_of_the_user_is_saved_chosen_and_told() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &bundled_model()).await;
    window.chat(&id, "Hello?").await;
    let tab = |name: &str| format!("{}[data-tab={name}]", by("inspector-tab"));
    window.click(&by("inspector-toggle")).await;
    window.click(&tab("lead")).await;
    window.write(&by("user-name"), "Mara").await;
    window.write(&by("user-about"), "the keeper of the tide clock").await;
    window.click(&by("user-save")).await;
    window.find(&by("user-persona")).await;
    window.shot("persona-saved").await;

    // Somebody new, then the saved one again.
    let you = "const get = (id) => document.querySelector(`[data-testid=${id}]`).value;
        return [get('user-name'), get('user-about')]";
    window.find(&by("user-persona")).await.select_by_index(0).await.unwrap();
    assert_eq!(window.ask(you).await, json!(["", ""]));
    window.click(&tab("prompt")).await;
    window.find(&by("prompt-text")).await;
    window.until_text_has(&by("prompt-text"), "Mara", false).await;
    window.click(&tab("lead")).await;
    window.find(&by("user-persona")).await.select_by_index(1).await.unwrap();
    assert_eq!(window.ask(you).await, json!(["Mara", "the keeper of the tide clock"]));
    window.click(&tab("prompt")).await;
    window
        .until_text_has(&by("prompt-text"), "called Mara: the keeper of the tide clock", true)
        .await;
    window.shot("persona-in-prompt").await;
    window.close().await;

    // After a restart it is there, and the chat tells it.
    let window = Window::open(&scratch, &bundled_model()).await;
    window.find(&by("chat-input")).await;
    window.click(&tab("lead")).await; // details stay unfolded
    assert_eq!(window.ask(you).await, json!(["Mara", "the keeper of the tide clock"]));
    assert_eq!(window.count(&format!("{} option", by("user-persona"))).await, 2);
    window.close().await;
    let studio = scratch.studio();
    let chat = studio.list_chats(Some(&id)).unwrap().remove(0);
    let settings = studio.chat(&chat.id).unwrap().settings;
    assert_eq!(settings.user_name, "Mara");
    let report = studio.preview_prompt(&chat.id, "Who am I?").unwrap();
    assert!(report.prompt.contains("who is called Mara"), "{}", report.prompt);
}

#[tokio::test]
async fn a_character_is_exported_where_the_person_chooses() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let target = scratch.path("elsewhere");
    let answer = target.to_str().unwrap();
    let window = Window::open_answering(&scratch, &scratch.model_dir(), answer).await;
    window.click(&by("nav-characters")).await;
    window.choose(&id).await;
    window.click(&by("export-menu")).await;
    window.click(&by("export-rolescape")).await;
    window.until_text_has(&by("toast"), answer, true).await;
    window.shot("exported").await;
    // A second time nothing is written over, and the person hears it.
    window.click(&by("export-menu")).await;
    window.click(&by("export-rolescape")).await;
    window
        .until_text_has(&format!("{}:last-child", by("toast")), "nothing was overwritten", true)
        .await;
    window.close().await;
    let other = Scratch::new();
    let outcome = other.studio().import_rolescape(&target, None).unwrap();
    assert_eq!(outcome.character_ids.len(), 1, "{}", outcome.report);
    let copy = other.studio().character(&outcome.character_ids[0]).unwrap();
    let own = scratch.studio().character(&id).unwrap();
    assert_eq!((copy.draft, copy.scenes), (own.draft, own.scenes));
}
