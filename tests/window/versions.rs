//! Versions of a character are kept, compared and brought back; a copy is one of its own.

use troupe_tests::Scratch;

use super::{Window, by};

const BEFORE: &str = "A snail who delivers letters.";
const AFTER: &str = "A snail who delivers parcels.";

async fn write_persona(window: &Window, text: &str) {
    window.click("#tab-persona").await;
    window.write(&by("field-persona"), text).await;
    window.find(&format!("{}[data-state=saved]", by("save-state"))).await;
}

/// Waits until the persona in the editor is `wanted`.
async fn until_persona(window: &Window, wanted: &str) {
    window.click("#tab-persona").await;
    window.until_value(&by("field-persona"), wanted).await;
}

#[tokio::test]
async fn a_version_is_kept_compared_and_restored() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    write_persona(&window, BEFORE).await;
    window.click("#tab-versions").await;
    window.write(&by("version-name"), "with letters").await;
    window.click(&by("version-keep")).await;
    window.until_text_has(&by("version-item"), "with letters", true).await; // the newest comes first
    let kept = window.attribute(&by("version-item"), "data-id").await;
    let kept = format!("{}[data-id='{kept}']", by("version-item"));

    // What changed since stands word by word.
    write_persona(&window, AFTER).await;
    window.click("#tab-versions").await;
    window.click(&format!("{kept} {}", by("version-compare"))).await;
    window.until_text_has(&format!("{kept} del"), "letters", true).await;
    window.until_text_has(&format!("{kept} ins"), "parcels", true).await;
    window.shot("version-changes").await;

    // Brought back, and that taken back.
    window.click(&format!("{kept} {}", by("version-restore"))).await;
    window.find(&by("toast-undo")).await;
    until_persona(&window, BEFORE).await;
    window.click(&by("toast-undo")).await;
    until_persona(&window, AFTER).await;
    window.click("#tab-versions").await;
    window.click(&format!("{kept} {}", by("version-restore"))).await;
    until_persona(&window, BEFORE).await;
    window.close().await;

    // After a restart both are there: what was kept, and what was there before it came back.
    let studio = scratch.studio();
    assert_eq!(studio.character(&id).unwrap().draft.persona, BEFORE);
    let versions = studio.list_versions(&id).unwrap();
    assert!(versions.iter().any(|version| version.name == "with letters"));
    assert!(versions.len() >= 2, "{versions:?}");
}

#[tokio::test]
async fn a_copy_is_changed_without_its_original() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let before = scratch.studio().character(&id).unwrap();
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("duplicate")).await;
    let copy = format!("{}[aria-current=true]:not([data-id='{id}'])", by("character-item"));
    let copy = window.attribute(&copy, "data-id").await;
    window.until_value(&by("field-persona"), &before.draft.persona).await;
    write_persona(&window, AFTER).await;
    window.shot("duplicate").await;
    window.choose(&id).await;
    window.until_value(&by("field-persona"), &before.draft.persona).await;
    window.close().await;
    let studio = scratch.studio();
    let (original, copy) = (studio.character(&id).unwrap(), studio.character(&copy).unwrap());
    assert_eq!(original, before);
    assert_eq!(copy.draft.persona, AFTER);
    assert_eq!(copy.pictures.len(), before.pictures.len());
    assert_eq!(copy.scenes.len(), before.scenes.len());
}
