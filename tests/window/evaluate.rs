//! The place Evaluate: material is browsed, searched and tried.

use std::time::{Duration, Instant};

use fantoccini::key::Key;
use serde_json::json;
use troupe_tests::{PATIENCE, Scratch};

use super::{Window, by};

/// Questions beside the scenes of the imported character.
const QUESTIONS: &str = r#"{"id":"k1","kind":"knowledge","question":"What does Dot carry?","answer":"A kettle called Morag."}
{"id":"c1","kind":"knowledge_choice","split":"test","question":"What is Dot?","options":{"A":"A boat","B":"A snail"},"answer_key":"B"}
"#;

fn write_questions(scratch: &Scratch, lines: &str) {
    let dirs = std::fs::read_dir(scratch.home().join("characters")).unwrap();
    let dir = dirs.filter_map(|d| Some(d.ok()?.path())).find(|d| d.join("character.json").exists());
    std::fs::write(dir.unwrap().join("questions.jsonl"), lines).unwrap();
}

#[tokio::test]
async fn evaluate_browser() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    write_questions(&scratch, QUESTIONS);
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-evaluate")).await;
    window.find(&by("material-item")).await;
    window.shot("evaluate").await;
    window.click(&format!("{}[data-id='{id}']", by("material-owner"))).await;

    // A slash begins the search; what is found is opened by keys alone.
    window.press(&['/']).await;
    window.type_text("morag").await;
    window.find(&format!("{}[data-count='1']", by("material-count"))).await;
    window.until_text(&format!("{} mark", by("material-item")), "Morag").await;
    window.press(&[Key::Enter.into()]).await;
    window.press(&[Key::Enter.into()]).await;
    window.find(&format!("{}[data-id=k1]", by("material-detail"))).await;
    window.click(&by("try-run")).await;
    window.find(&format!("{}[data-done=true]", by("try-answer"))).await;
    let reference = window.text(&by("try-reference")).await;
    assert!(reference.contains("A kettle called Morag."), "{reference}");
    window.shot("evaluate-question").await;

    // A scene is answered and drawn, beside its own picture.
    window.press(&['/']).await;
    window.press(&[Key::Backspace.into()]).await;
    window.click(&format!("{}[data-kind=pictureScene]", by("material-kind"))).await;
    window.click(&by("material-item")).await;
    window.find(&format!("{}[data-kind=pictureScene]", by("material-detail"))).await;
    window.click(&by("try-run")).await;
    let drawn = format!("{}[data-done=true] img", by("try-answer"));
    window.find(&drawn).await;
    assert!(window.is_loaded(&drawn).await, "the drawn picture is broken");
    let own = format!("{} img", by("try-reference"));
    assert!(window.is_loaded(&own).await, "the reference is broken");
    window.ask("document.querySelector('[data-testid=try-answer]').scrollIntoView()").await;
    window.shot("evaluate-scene").await;

    // Arrows leaf through what is open, Escape closes it.
    let first = window.attribute(&by("material-detail"), "data-id").await;
    window.ask("document.querySelector('[data-testid=material-list]').focus()").await;
    window.press(&[Key::Down.into()]).await;
    window.find(&format!("{}:not([data-id='{first}'])", by("material-detail"))).await;
    window.press(&[Key::Escape.into()]).await;
    window.find(&by("material-count")).await;
    assert_eq!(window.count(&by("material-detail")).await, 0);
    window.close().await;
}

#[tokio::test]
async fn an_evaluation_is_measured_and_read() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-evaluate")).await;
    window.click(&by("measure-tab")).await;
    window.click(&format!("{}[data-id='{id}']", by("evaluate-character"))).await;
    window.find(&by("evaluate-plan")).await;
    window.shot("evaluate-plan").await;
    window.click(&by("evaluate-start")).await;
    window.find(&format!("{}[data-status=finished]", by("evaluation-panel"))).await;
    window.find(&format!("{} tbody tr", by("evaluate-results"))).await;
    window.find(&by("evaluate-report")).await;
    window.shot("evaluate-results").await;
    window.close().await;

    // After a restart it is in the list.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-evaluate")).await;
    window.click(&by("measure-tab")).await;
    window.click(&by("evaluation-item")).await;
    window.find(&by("evaluate-results")).await;
    window.close().await;
}

/// Far more questions than are asked before somebody stops.
const MANY: usize = 2000;

/// Items that are done, as the bar has it.
async fn items_done(window: &Window) -> u64 {
    let bar = format!("{} progress", by("evaluation-panel"));
    window.find(&bar).await;
    let script = "return document.querySelector('[data-testid=evaluation-panel] progress').value";
    window.ask(script).await.as_f64().unwrap() as u64
}

/// Waits until more than `before` items are done, and says how many.
async fn until_more_done(window: &Window, before: u64) -> u64 {
    let started = Instant::now();
    loop {
        let done = items_done(window).await;
        if done > before {
            return done;
        }
        assert!(started.elapsed() < PATIENCE, "no more than {done} items are done");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_evaluation_is_stopped_and_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let question = |n: usize| {
        json!({"id": format!("k{n}"), "kind": "knowledge_choice", "split": "test",
            "question": format!("What is letter {n} about?"),
            "options": {"A": "Tea", "B": "Rain"}, "answer_key": "A"})
    };
    let lines: Vec<String> = (0..MANY).map(|n| question(n).to_string()).collect();
    write_questions(&scratch, &lines.join("\n"));
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-evaluate")).await;
    window.click(&by("measure-tab")).await;
    window.click(&format!("{}[data-id='{id}']", by("evaluate-character"))).await;
    window.click(&by("evaluate-full")).await;
    window.until_text_has(&by("evaluate-plan"), "2000", true).await;
    window.click(&by("evaluate-start")).await;
    until_more_done(&window, 2).await;
    window.click(&by("evaluate-stop")).await;
    window.find(&format!("{}[data-status=paused]", by("evaluation-panel"))).await;
    window.shot("evaluate-stopped").await;
    let before = items_done(&window).await;
    window.close().await;

    // After a restart it waits as it was left, and loses nothing by going on.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.click(&by("nav-evaluate")).await;
    window.click(&by("measure-tab")).await;
    window.find(&format!("{}[data-status=paused]", by("evaluation-panel"))).await;
    assert_eq!(items_done(&window).await, before);
    window.click(&by("evaluate-resume")).await;
    window.find(&format!("{}[data-status=running]", by("evaluation-panel"))).await;
    until_more_done(&window, before).await;
    window.click(&by("evaluate-stop")).await;
    window.find(&format!("{}[data-status=paused]", by("evaluation-panel"))).await;
    window.close().await;
    let run = scratch.studio().list_evaluations().unwrap().remove(0);
    assert!(u64::from(run.step) > before && run.step < run.num_steps, "{run:?}");
}
