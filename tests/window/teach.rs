//! Stage 1 in the window, from the start to what stays of it.

use troupe_tests::{Scratch, wait_for};

use crate::driver::{Window, by};

/// Opens the place Teach for Dot, with so many steps wanted.
async fn ready(scratch: &Scratch, steps: &str) -> (Window, String) {
    let id = scratch.import("Dot");
    let window = Window::open(scratch, &scratch.model_dir()).await;
    window.choose(&id).await;
    window.click(&by("nav-teach")).await;
    window.click(&by("teach-expert")).await;
    window.write(&by("teach-steps"), steps).await;
    (window, id)
}

#[tokio::test]
async fn three_steps_are_taught_and_their_curve_is_seen() {
    let scratch = Scratch::new();
    let (window, id) = ready(&scratch, "3").await;
    window.write("[data-setting=knowledgeQa]", "0").await;
    window.click("[data-setting=keepBest]").await;
    window.scroll_to(&by("teach-expert")).await;
    window.shot("teach-expert").await;
    window.click(&by("setting-explain")).await;
    window.scroll_to("[data-setting=mode]").await;
    window.shot("teach-explained").await;
    window.click(&by("teach-start")).await;
    window.find(&format!("{}[data-step='3']", by("teach-step"))).await;
    window.find(&format!("{} path", by("loss-chart"))).await;
    window.find(&by("run-item")).await;
    window.scroll_to(&by("loss-chart")).await;
    window.shot("teach-curve").await;
    window.close().await;
    let studio = scratch.studio();
    let run = studio.list_runs(Some(&id)).unwrap().remove(0).id;
    let kept = studio.run(&run).unwrap();
    assert_eq!(kept.curve.len(), 3);
    assert_eq!((kept.recipe.knowledge_qa, kept.recipe.keep_best), (0, false));

    // After a restart the curve is there without being asked for.
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.find(&format!("{} path", by("loss-chart"))).await;
    window.find(&format!("{}[data-id='{run}']", by("run-item"))).await;
    window.close().await;
}

#[tokio::test]
async fn what_a_paused_run_learned_is_kept() {
    let scratch = Scratch::new();
    let (window, id) = ready(&scratch, "3000").await;
    window.click(&by("teach-start")).await;
    // Past its first step, so that there is something to keep.
    window.find(&format!("{}:not([data-step='0'])", by("teach-step"))).await;
    window.click(&by("teach-pause")).await;
    window.find(&by("teach-resume")).await;
    window.click(&by("teach-keep")).await;
    window.until_text_has(&by("confirm"), "is kept", true).await;
    window.shot("teach-keep").await;
    window.click(&by("confirm-act")).await;
    window.until_gone(&by("teach-resume")).await; // it has ended
    window.shot("teach-kept").await;
    window.close().await;
    let studio = scratch.studio();
    let run = wait_for("the run to end", || {
        let run = studio.list_runs(Some(&id)).unwrap().remove(0);
        (run.status == "stopped").then_some(run)
    });
    assert_eq!(studio.character(&id).unwrap().adapters[0].name, run.id);
}
