//! Every view, in both themes, under axe-core: nothing serious or critical may be found.
//!
//! `axe-core` comes from `ui/node_modules`, where it is a development dependency.

use fantoccini::key::Key;
use serde_json::Value;
use troupe_api::{
    wire::{RefineNumbers, StartRefining, StartTraining},
    work,
};
use troupe_tests::{Scratch, say, wait_for};
use troupe_train::events::Control;

use crate::driver::{Window, by};

/// A window with axe-core, and what it has found so far.
struct Checked {
    window: Window,
    findings: Vec<String>,
}

impl Checked {
    async fn open(scratch: &Scratch) -> Self {
        let window = Window::open(scratch, &scratch.model_dir()).await;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(file).expect("npm --prefix ui ci brings axe-core");
        window.ask(&axe).await;
        Self { window, findings: Vec::new() }
    }

    /// Checks what is shown, in both themes.
    async fn check(&mut self, view: &str) {
        for theme in ["light", "dark"] {
            let set = "document.documentElement.dataset.theme =";
            self.window.ask(&format!("{set} '{theme}'")).await;
            let script = "const done = arguments[0];
                axe.run({ resultTypes: ['violations'] }).then(
                    (found) => done(found.violations
                        .filter((v) => v.impact === 'serious' || v.impact === 'critical')
                        .flatMap((v) => v.nodes.map((n) =>
                            `${v.id}: ${n.target} ${n.any.map((a) => a.message)} ${n.html.slice(0, 120)}`))),
                    (error) => done([`axe failed: ${error}`]));";
            let Value::Array(found) = self.window.ask_later(script).await else {
                panic!("axe-core answered nothing about {view}")
            };
            let named = found.iter().map(|finding| format!("{view}, {theme}: {finding}"));
            self.findings.extend(named);
        }
    }
}

/// A character with one stage of each, and a chat.
fn prepare(scratch: &Scratch) -> String {
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let request =
        StartTraining { character_id: id.clone(), num_steps: Some(2), ..StartTraining::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
    let plan = studio.refine_plan(&id, None, None).unwrap();
    let numbers = RefineNumbers { epochs: 2, eval_every: 1, ..plan.defaults };
    let request = StartRefining {
        character_id: id.clone(),
        numbers: Some(numbers),
        ..StartRefining::default()
    };
    let run = studio.start_refining(&request).unwrap();
    wait_for("the run", || (studio.run(&run.id).unwrap().run.status == "finished").then_some(()));
    let chat = studio.create_chat(&id).unwrap();
    say(&studio, &chat.chat.id, "Hello?");
    id
}

#[tokio::test]
async fn no_view_keeps_anyone_out() {
    let scratch = Scratch::new();
    let mut checked = Checked::open(&scratch).await;
    checked.window.find(&by("welcome")).await;
    checked.check("welcome").await;
    checked.window.close().await;
    let mut findings = checked.findings;

    let id = prepare(&scratch);
    let mut checked = Checked::open(&scratch).await;
    checked.window.choose(&id).await;
    for tab in ["persona", "voice", "looks", "pictures", "dialogue", "checks", "versions"] {
        checked.window.click(&format!("#tab-{tab}")).await;
        checked.check(tab).await;
    }
    checked.window.click(&by("nav-teach")).await;
    for part in ["teach-expert", "refine-prompts", "refine-expert"] {
        checked.window.click(&by(part)).await;
    }
    checked.window.find(&by("refine-prompt")).await;
    checked.window.find(&format!("{} figure", by("reward-chart"))).await;
    checked.check("teach").await;
    checked.window.click(&by("nav-chat")).await;
    checked.window.find(&by("message-reply")).await;
    checked.check("chat").await;
    checked.window.click(&by("inspector-toggle")).await;
    for tab in ["tree", "prompt"] {
        checked.window.click(&format!("{}[data-tab={tab}]", by("inspector-tab"))).await;
        checked.check(&format!("chat with {tab}")).await;
    }
    checked.window.click(&by("nav-gallery")).await;
    checked.window.find(&by("gallery-item")).await;
    checked.check("gallery").await;
    checked.window.click(&by("sheet-tab")).await;
    checked.check("expressions").await;
    checked.window.click(&by("nav-evaluate")).await;
    checked.window.click(&by("material-item")).await;
    checked.window.find(&by("material-detail")).await;
    checked.check("evaluate").await;
    checked.window.click(&by("measure-tab")).await;
    checked.window.find(&by("evaluate-character")).await;
    checked.check("measure").await;
    checked.window.press(&[Key::Control.into(), 'k']).await;
    checked.window.find(&by("palette")).await;
    checked.check("palette").await;
    checked.window.close().await;
    findings.extend(checked.findings);
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
