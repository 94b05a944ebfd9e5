//! The built application in a real window, driven through WebDriver.
//!
//! Needs a display (Xvfb will do), `tauri-driver` and `WebKitWebDriver`; `make test-window` brings
//! them. `TROUPE_STUDIO` names the program, `target/debug/troupe-studio` when absent. Screenshots
//! go to `target/window/`, to be looked at.

#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod asking;
mod authoring;
mod bench;
mod chat;
mod driver;
mod evaluate;
mod first_run;
mod gallery;
mod importing;
mod outgoing;
mod refine;
mod teach;
mod trash;
mod versions;

use driver::{Window, by};
use troupe_api::{wire::StartTraining, work};
use troupe_tests::{Scratch, copy};
use troupe_train::events::Control;

/// The bundled base: what a person gets who has just installed the program.
fn bundled_model() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/mini")
}

#[tokio::test]
async fn a_message_gets_text_and_a_picture_that_survive_a_restart() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &bundled_model()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    window.shot("chat-empty").await;
    window.write(&by("chat-input"), "Where are you off to?").await;
    window.click(&by("chat-send")).await;
    let reply = format!("{}:last-of-type", by("message-reply"));
    let picture = format!("{reply} {}", by("message-picture"));
    window.find(&picture).await;
    let text = window.text(&format!("{reply} {}", by("message-text"))).await;
    assert!(!text.trim().is_empty());
    window.shot("chat-reply").await;
    let (beside, below) = window.places(&reply, &picture).await;
    assert!(beside.1 <= below.0, "the picture is not beside the text: {beside:?} {below:?}");
    assert!(window.is_loaded(&picture).await, "the picture is broken");
    window.close().await;

    let window = Window::open(&scratch, &bundled_model()).await;
    window.choose(&id).await;
    window.click(&by("nav-chat")).await;
    window.find(&picture).await;
    assert_eq!(window.text(&format!("{reply} {}", by("message-text"))).await, text);
    assert!(window.is_loaded(&picture).await, "the picture is broken after a restart");
    window.shot("chat-restarted").await;
    window.close().await;
}

#[tokio::test]
async fn a_character_is_written_and_kept() {
    let scratch = Scratch::new();
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("new-character")).await;
    window.write(&by("field-name"), "Lotte 名前").await;
    window.write(&by("field-persona"), "A lighthouse keeper who is afraid of the dark.").await;
    window.find(&format!("{}[data-state=saved]", by("save-state"))).await;
    window.shot("author").await;
    window.close().await;
    let studio = scratch.studio();
    let kept = studio.character("Lotte 名前").unwrap();
    assert_eq!(kept.draft.persona, "A lighthouse keeper who is afraid of the dark.");
}

#[tokio::test]
async fn teaching_is_started_paused_and_resumed() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    window.click(&by("teach-expert")).await;
    window.write(&by("teach-steps"), "3000").await;
    window.click(&by("teach-start")).await;
    window.find(&by("loss-chart")).await;
    window.click(&by("teach-pause")).await;
    window.find(&by("teach-resume")).await;
    window.shot("teach-paused").await;
    window.click(&by("teach-resume")).await;
    window.click(&by("teach-stop")).await;
    window.click(&by("confirm-act")).await;
    window.find(&by("teach-start")).await;
    window.shot("teach-stopped").await;
    window.close().await;
    let studio = scratch.studio();
    let run = studio.list_runs(Some(&id)).unwrap().remove(0);
    assert_eq!(run.status, "stopped");
}

#[tokio::test]
async fn a_run_is_deleted_and_brought_back() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let request =
        StartTraining { character_id: id.clone(), num_steps: Some(2), ..StartTraining::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
    let run = studio.list_runs(Some(&id)).unwrap().remove(0).id;
    drop(studio);

    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    let item = format!("{}[data-id='{run}']", by("run-item"));
    window.find(&item).await;
    window.scroll_to(&item).await;
    window.shot("teach-history").await;
    window.click(&format!("{}[data-id='{run}']", by("run-delete"))).await;
    // Dot speaks with it, and has nothing else that it learned.
    window.until_text_has(&by("confirm"), "bare base model", true).await;
    window.shot("run-delete").await;
    window.click(&by("confirm-act")).await;
    window.find(&by("toast-undo")).await;
    assert_eq!(window.count(&by("run-item")).await, 0);
    window.shot("run-deleted").await;
    window.click(&by("toast-undo")).await;
    window.find(&item).await;
    window.find(&by("loss-chart")).await;
    window.close().await;
    let studio = scratch.studio();
    assert_eq!(studio.run(&run).unwrap().run.status, "finished");
    assert_eq!(studio.character(&id).unwrap().adapters[0].name, run);
}

/// A picture of one colour, as a file.
fn picture(scratch: &Scratch, name: &str, shade: u8) -> String {
    let path = scratch.path(name);
    let image = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([shade, x as u8, y as u8]));
    image.save(&path).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_character_with_pictures_is_authored_drawn_and_compared() {
    let scratch = Scratch::new();
    let files = [picture(&scratch, "a.png", 10), picture(&scratch, "b.png", 200)].join("\n");
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &files).await;
    window.click(&by("nav-characters")).await; // past the welcome of a first start
    window.click(&by("new-character")).await;
    window.write(&by("field-name"), "Lotte").await;
    window.write(&by("field-persona"), "A lighthouse keeper.").await;
    window.find(&format!("{}[data-state=blocked]", by("readiness"))).await;
    window.click("#tab-voice").await;
    window.write(&by("field-catchphrases"), "Mark the tide!").await;
    window.click("#tab-pictures").await;
    window.click(&by("add-pictures")).await;
    window.find(&format!("{}:nth-of-type(2)", by("picture-item"))).await;
    window.find(&format!("{}[data-state=better]", by("readiness"))).await;
    window.click(&by("bulk-all")).await;
    window.write(&by("bulk-prefix"), "Lotte").await;
    window.click(&by("bulk-apply")).await;
    window.find(&by("toast")).await;
    window.shot("author-pictures").await;

    window.click(&by("nav-gallery")).await;
    for (number, prompt) in [(1, "Lotte waves"), (2, "Lotte sleeps")] {
        window.write(&by("gallery-prompt"), prompt).await;
        window.click(&by("gallery-draw")).await;
        window.find(&format!("{}[data-count='{number}']", by("gallery-count"))).await;
    }
    let tile = |index: u32| format!("{}[data-index='{index}']", by("gallery-item"));
    window.click(&tile(1)).await;
    window.press_key("f").await;
    window.click(&by("gallery-favourites")).await;
    window.find(&format!("{}[data-count='1']", by("gallery-count"))).await;
    window.click(&by("gallery-favourites")).await;
    window.find(&format!("{}[data-count='2']", by("gallery-count"))).await;
    for index in [0, 1] {
        window.click(&tile(index)).await;
        window.press_key(" ").await;
    }
    window.click(&by("gallery-compare")).await;
    window.find(&format!("{} {}", by("compare-dialog"), by("compare-slider"))).await;
    window.shot("gallery-compare").await;
    window.close().await;

    let studio = scratch.studio();
    let lotte = studio.character("Lotte").unwrap();
    assert_eq!(lotte.draft.catchphrases, ["Mark the tide!"]);
    assert!(
        lotte.pictures.iter().all(|picture| picture.caption == "Lotte"),
        "{:?}",
        lotte.pictures
    );
    let filter = troupe_api::wire::GalleryFilter { favourites: true, ..Default::default() };
    let favourites = studio.gallery(filter, 0, 10).unwrap();
    assert_eq!(favourites.items[0].prompt, "Lotte waves", "the older of the two");
}

#[tokio::test]
async fn what_the_window_remembers_stays_with_its_data_folder() {
    let first = Scratch::new();
    let id = first.import("Dot");
    let window = Window::open(&first, &first.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    window.find(&by("teach-start")).await;
    window.close().await;

    // The same character, as a bundled one would be, in another data folder.
    let second = Scratch::new();
    let (from, to) = (first.home().join("characters"), second.home().join("characters"));
    copy(&from, &to);
    let window = Window::open(&second, &second.model_dir()).await;
    window.find(&by("welcome")).await;
    window.close().await;

    let window = Window::open(&first, &first.model_dir()).await;
    window.find(&by("teach-start")).await;
    window.close().await;
}
