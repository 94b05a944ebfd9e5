//! The expression sheet: drawn in one batch, approved, saved as a pack.

use troupe_api::wire::ExpressionItem;
use troupe_tests::Scratch;

use super::{Window, by};

fn expression(name: &str) -> ExpressionItem {
    ExpressionItem { name: name.into(), prompt: format!("{name} face") }
}

#[tokio::test]
async fn an_expression_sheet_is_drawn_approved_and_saved() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let mut draft = studio.character(&id).unwrap().draft;
    draft.expressions = ["calm", "cross", "glad"].map(expression).into();
    studio.update_character(&id, draft).unwrap();
    drop(studio);
    let pack = scratch.path("pack.zip");
    let answer = pack.display().to_string();
    let window = Window::open_answering(&scratch, &scratch.model_dir(), &answer).await;
    window.choose(&id).await;
    window.click(&by("nav-gallery")).await;
    window.click(&by("sheet-tab")).await;
    let card = |name: &str| format!("{}[data-name={name}]", by("sheet-item"));
    window.find(&card("glad")).await;
    assert_eq!(window.count(&format!("{} img", by("sheet-item"))).await, 0);
    window.click(&by("sheet-draw")).await;
    for name in ["calm", "cross", "glad"] {
        window.find(&format!("{} input:not(:disabled)", card(name))).await;
        assert!(window.is_loaded(&format!("{} .picture img", card(name))).await, "{name}");
    }
    // One alone is drawn again and is the newest of two takes.
    window.click(&format!("{} {}", card("cross"), by("sheet-again"))).await;
    window.find(&format!("{} .takes button:nth-child(2)", card("cross"))).await;
    assert_eq!(window.count(&format!("{} .takes", card("calm"))).await, 0);

    // Nothing is in the pack before it is approved; one is taken back.
    window.find(&format!("{}:disabled", by("sheet-zip"))).await;
    window.click(&by("sheet-approve-all")).await;
    window.find(&format!("{}.approved", card("glad"))).await;
    window.click(&format!("{} input[type=checkbox]", card("calm"))).await;
    window.find(&format!("{}:not(.approved)", card("calm"))).await;
    window.shot("sheet").await;
    window.click(&by("sheet-zip")).await;
    window.until_text_has(&format!("{}:last-child", by("toast")), "pack.zip", true).await;
    window.close().await;

    let bytes = std::fs::read(&pack).unwrap();
    let has = |name: &str| bytes.windows(name.len()).any(|part| part == name.as_bytes());
    let names = ["calm.png", "cross.png", "glad.png"].map(has);
    assert_eq!(names, [false, true, true], "approved expressions alone are in the pack");
    let sheet = scratch.studio().expression_sheet(&id).unwrap();
    let takes: Vec<_> = sheet.iter().map(|item| item.pictures.len()).collect();
    assert_eq!(takes, [1, 2, 1]);
}
