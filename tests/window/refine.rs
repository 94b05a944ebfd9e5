//! Stage 2 in the window: prompts, a run that is paused, resumed and stopped, its curves and groups.

use serde_json::json;
use troupe_api::{wire::StartTraining, work};
use troupe_tests::Scratch;
use troupe_train::events::Control;

use crate::driver::{Window, by};

/// Teaches two steps, without a window.
fn teach(scratch: &Scratch, id: &str) {
    let studio = scratch.studio();
    let request =
        StartTraining { character_id: id.into(), num_steps: Some(2), ..StartTraining::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
}

#[tokio::test]
async fn a_taught_character_is_refined_and_its_curves_are_seen() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    let card = by("refine-card");
    window.find(&format!("{card} {}:disabled", by("refine-start"))).await;
    assert!(window.text(&card).await.contains("Teach Dot first"));
    window.close().await;

    teach(&scratch, &id);
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    window.click(&by("refine-prompts")).await;
    window.write(&format!("{} input", by("refine-prompt")), "Dot on a lighthouse").await;
    window.find(&format!("{}[data-state=saved]", by("refine-state"))).await;
    window.scroll_to(&card).await;
    window.shot("refine-plan").await;
    window.click(&by("refine-prompts")).await;
    window.click(&by("refine-expert")).await;
    window.write(&by("refine-epochs"), "3000").await;
    window.find("[data-setting=rule]").await.select_by_value("sde").await.unwrap();

    // What cannot be used stays to be seen, also when something else is changed.
    let size = "[data-setting=imagesPerPrompt]";
    let refusal = format!("{card} {}", by("error-message"));
    window.write(size, "1").await;
    window.click("[data-setting=guard]").await;
    window.find(&format!("{size}[aria-invalid=true]")).await;
    window.find(&refusal).await;
    window.until_value(size, "1").await;
    window.shot("refine-refused").await;
    window.click(&format!(".setting:has({size}) button")).await;
    window.until_gone(&refusal).await;
    window.until_value(size, "8").await;
    window.scroll_to(&by("refine-expert")).await;
    window.shot("refine-expert").await;
    window.click(&format!("{card} {}", by("setting-explain"))).await;
    window.scroll_to("[data-setting=rule]").await;
    window.shot("refine-explained").await;
    window.click(&by("refine-start")).await;
    window.find(&format!("{} figure", by("reward-chart"))).await;
    window.find(&by("group-picture")).await;
    window.click(&by("teach-pause")).await;
    window.find(&by("teach-resume")).await;
    window.shot("refine-paused").await;
    window.click(&by("teach-resume")).await;
    window.click(&by("teach-stop")).await;
    window.click(&by("confirm-act")).await;
    window.find(&by("refine-start")).await;
    let img = format!("{} img", by("group-picture"));
    assert!(window.is_loaded(&img).await, "the group's picture is broken");
    for theme in ["light", "dark"] {
        window.ask(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
        for (name, part) in [("chart", "reward-chart"), ("group", "group-viewer")] {
            window.scroll_to(&by(part)).await;
            window.shot(&format!("refine-{name}-{theme}")).await;
        }
    }
    window.close().await;

    let studio = scratch.studio();
    let run = studio.list_runs(Some(&id)).unwrap().remove(0);
    assert_eq!((run.kind.as_str(), run.status.as_str()), ("grpo", "stopped"));
    let shown = studio.run(&run.id).unwrap().refining.unwrap();
    let numbers = serde_json::to_value(&shown.numbers).unwrap();
    assert_eq!((&numbers["rule"], &numbers["guard"]), (&json!("sde"), &json!(true)));
    assert_eq!(numbers["imagesPerPrompt"], 8);
    assert!(!shown.epochs.is_empty() && !shown.trials.is_empty());
    assert_eq!(studio.refine_prompts(&id).unwrap()[0].text, "Dot on a lighthouse");
    assert_eq!(studio.character(&id).unwrap().adapters[0].stage, "grpo");
}
