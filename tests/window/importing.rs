//! Characters come in: from a folder of the data set's layout, and from cards.

use serde_json::json;
use troupe_tests::Scratch;

use super::{Window, by};

#[tokio::test]
async fn a_folder_is_imported_once_and_says_what_it_brought() {
    let scratch = Scratch::new();
    let folder = scratch.rolescape("Dot").display().to_string();
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &folder).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("import-rolescape")).await;
    window.until_text_has(&format!("{} h3", by("import-report")), "Dot", true).await;
    window.until_text_has(&by("import-report"), "pictures", true).await;
    window.shot("import-report").await;
    let dot = format!("{}[data-name=Dot]", by("character-item"));
    window.find(&dot).await;

    // Another time it is the same character, and says so.
    window.click(&by("import-rolescape")).await;
    window.until_text_has(&format!("{} h3", by("import-report")), "unchanged", true).await;
    assert_eq!(window.count(&dot).await, 1);

    // What came in can be opened at once.
    window.click(&dot).await;
    window.find(&by("field-persona")).await;
    window.click("#tab-pictures").await;
    let picture = format!("{} img", by("picture-item"));
    assert!(window.is_loaded(&picture).await, "an imported picture is broken");
    window.close().await;
    let dot = scratch.studio().character("Dot").unwrap();
    assert!(!dot.draft.persona.is_empty() && !dot.pictures.is_empty() && !dot.scenes.is_empty());
}

#[tokio::test]
async fn a_folder_that_holds_no_characters_is_refused_in_words() {
    let scratch = Scratch::new();
    let empty = scratch.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let answer = empty.display().to_string();
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &answer).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("import-rolescape")).await;
    window.find(&by("toast")).await;
    window.shot("import-refused").await;
    assert_eq!(window.count(&by("import-report")).await, 0);
    // It can be tried again.
    window.find(&format!("{}:not(:disabled)", by("import-rolescape"))).await;
    window.close().await;
    let all = scratch.studio().list_characters().unwrap();
    assert!(all.iter().all(|character| character.is_bundled), "{all:?}");
}

#[tokio::test]
async fn a_card_becomes_a_character() {
    let scratch = Scratch::new();
    let card = json!({"spec": "chara_card_v2", "spec_version": "2.0", "data": {
        "name": "Ines", "description": "Keeps the tide clock.", "personality": "patient",
        "scenario": "", "first_mes": "Mind the third step.", "mes_example": "",
        "alternate_greetings": [], "tags": [], "extensions": {},
    }});
    let path = scratch.path("ines.json");
    std::fs::write(&path, card.to_string()).unwrap();
    let answer = path.display().to_string();
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &answer).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("import-cards")).await;
    window.until_text_has(&by("import-report"), "Ines", true).await;
    window.click(&format!("{}[data-name=Ines]", by("character-item"))).await;
    window.find(&by("field-greeting")).await;
    let greeting = "return document.querySelector('[data-testid=field-greeting]').value";
    assert_eq!(window.ask(greeting).await, "Mind the third step.");
    window.close().await;
    let ines = scratch.studio().character("Ines").unwrap();
    assert!(ines.draft.persona.contains("Keeps the tide clock."), "{}", ines.draft.persona);
}

#[tokio::test]
async fn a_character_goes_out_as_one_file_and_comes_in_elsewhere() {
    let here = Scratch::new();
    let id = here.import("Dot");
    let file = here.path("dot.troupe");
    let answer = file.display().to_string();
    let window = Window::open_answering(&here, &here.model_dir(), &answer).await;
    window.choose(&id).await;
    window.write(&by("field-persona"), "A snail who delivers letters.").await;
    window.click(&by("export-menu")).await;
    window.click(&by("export-character")).await; // also what was typed a moment ago
    window.until_text_has(&by("toast"), "dot.troupe", true).await;
    window.shot("export-character").await;
    window.close().await;

    let there = Scratch::new();
    let window = Window::open_answering(&there, &there.model_dir(), &answer).await;
    window.click(&by("nav-characters")).await;
    window.click(&by("import-cards")).await;
    window.until_text_has(&by("import-report"), "scenes.jsonl", true).await;
    window.shot("import-character").await;
    window.click(&format!("{}[data-name=Dot]", by("character-item"))).await;
    window.until_value(&by("field-persona"), "A snail who delivers letters.").await;
    window.close().await;
    let (original, copy) =
        (here.studio().character(&id).unwrap(), there.studio().character("Dot").unwrap());
    assert_eq!(copy.draft, original.draft);
    assert_eq!(copy.pictures, original.pictures);
}
