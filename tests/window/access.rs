//! Every view, in both themes and two sizes: axe-core finds nothing serious, nothing is cut off, and
//! a screenshot is kept to be looked at.
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

/// Sizes of the window that views are looked at in.
const SIZES: [(u32, u32); 2] = [(1280, 800), (800, 600)];

/// Names what sticks out of the window, and labels whose text is cut without an ellipsis.
const CUT: &str = "
    const found = [];
    const name = (node) => `${node.tagName.toLowerCase()}.${node.className} “${node.innerText.slice(0, 40)}”`;
    const hides = (style) => style !== 'visible';
    const isScrolled = (node) => {
        for (let at = node.parentElement; at; at = at.parentElement) {
            if (hides(getComputedStyle(at).overflowX)) return at !== document.body;
        }
        return false;
    };
    const parts = 'button, label, legend, summary, h1, h2, h3, h4, th, td, dt, dd, p, select, input';
    for (const node of document.querySelectorAll(parts)) {
        const box = node.getBoundingClientRect();
        const style = getComputedStyle(node);
        if (box.width < 2 || box.height < 2 || style.visibility === 'hidden') continue;
        if (node.closest('.visually-hidden, .skip')) continue;
        const isCut = node.scrollWidth > node.clientWidth + 1 && hides(style.overflowX);
        if (isCut && node.tagName !== 'INPUT' && style.textOverflow !== 'ellipsis') found.push(`cut: ${name(node)}`);
        if (box.right > innerWidth + 1 && !isScrolled(node)) found.push(`outside: ${name(node)}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) found.push('the page is wider than the window');
    return found;";

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

    /// Checks what is shown, in both themes and all sizes.
    async fn check(&mut self, view: &str) {
        for (width, height) in SIZES {
            self.window.resize(width, height).await;
            let Value::Array(found) = self.window.ask(CUT).await else { panic!("no list") };
            let named = found.iter().map(|finding| format!("{view}, {width}×{height}: {finding}"));
            self.findings.extend(named);
            for theme in ["light", "dark"] {
                let set = format!("document.documentElement.dataset.theme = '{theme}'");
                self.window.ask(&set).await;
                let name = view.replace(' ', "-");
                self.window.shot(&format!("view-{name}-{width}-{theme}")).await;
            }
        }
        let (width, height) = SIZES[0];
        self.window.resize(width, height).await;
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
    let asked = StartRefining { character_id: id.clone(), ..StartRefining::default() };
    let plan = studio.refine_plan(&asked).unwrap();
    let numbers = RefineNumbers { epochs: 2, eval_every: 1, ..plan.defaults };
    let request = StartRefining { numbers: Some(numbers), ..asked };
    let run = studio.start_refining(&request).unwrap();
    wait_for("the run", || (studio.run(&run.id).unwrap().run.status == "finished").then_some(()));
    let chat = studio.create_chat(&id).unwrap();
    say(&studio, &chat.chat.id, "Hello?");
    let deleted = studio.create_chat(&id).unwrap();
    studio.delete_chat(&deleted.chat.id).unwrap();
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
    checked.window.click(&by("inspector-toggle")).await;
    checked.window.find(&by("inspector")).await;
    checked.check("versions with details").await;
    checked.window.click(&by("inspector-toggle")).await;
    checked.window.click(&by("nav-teach")).await;
    checked.window.find(&format!("{} figure", by("reward-chart"))).await;
    checked.check("teach").await;
    checked.window.click(&by("inspector-toggle")).await;
    checked.window.find(&by("inspector")).await;
    checked.check("teach with details").await;
    checked.window.click(&by("inspector-toggle")).await;
    for part in ["teach-expert", "refine-prompts", "refine-expert"] {
        checked.window.click(&by(part)).await;
    }
    checked.window.find(&by("refine-prompt")).await;
    checked.window.scroll_to(&by("teach-expert")).await;
    checked.check("expert").await;
    checked.window.scroll_to(&by("refine-card")).await;
    checked.check("refine").await;
    checked.window.click(&by("nav-chat")).await;
    checked.window.find(&by("message-reply")).await;
    checked.check("chat").await;
    checked.window.click(&by("inspector-toggle")).await;
    for tab in ["lead", "tree", "prompt", "pinned"] {
        checked.window.click(&format!("{}[data-tab={tab}]", by("inspector-tab"))).await;
        checked.check(&format!("chat with {tab}")).await;
    }
    checked.window.click(&by("inspector-toggle")).await;
    checked.window.click(&by("compare-open")).await;
    checked.window.find(&by("compare-run")).await;
    checked.check("chat side by side").await;
    checked.window.click(&by("nav-gallery")).await;
    checked.window.click(&by("gallery-item")).await;
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
    checked.window.press(&[Key::Escape.into()]).await;
    checked.window.ask("document.activeElement.blur()").await;
    checked.window.press(&['?']).await;
    checked.window.find(&by("shortcut-sheet")).await;
    checked.check("shortcuts").await;
    checked.window.press(&[Key::Escape.into()]).await;
    checked.window.click(&by("theme-menu")).await;
    checked.window.click(&by("deleted-open")).await;
    checked.window.find(&by("deleted-item")).await;
    checked.check("recently deleted").await;
    checked.window.press(&[Key::Escape.into()]).await;
    for menu in ["theme-menu", "status-chip"] {
        checked.window.click(&by(menu)).await;
        checked.check(menu).await;
        checked.window.click(&by(menu)).await;
    }
    checked.window.close().await;
    findings.extend(checked.findings);
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// More stops of the Tab key than any view has.
const MOST_STOPS: usize = 200;

/// Presses Tab until what bears this test id has the focus, and shows it.
async fn tab_to(window: &Window, id: &str) {
    let focused = "const at = document.activeElement;
        return at.matches(':focus-visible') ? at.dataset.testid ?? null : null";
    window.find(&by(id)).await;
    for _ in 0..MOST_STOPS {
        window.press(&[Key::Tab.into()]).await;
        if window.ask(focused).await == id {
            return;
        }
    }
    window.shot("failure").await;
    panic!("Tab never comes to {id}");
}

#[tokio::test]
async fn every_place_does_its_work_by_keyboard() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    let enter = [Key::Enter.into()];
    let go = |place: char| [Key::Control.into(), place];
    window.find(&by("welcome")).await;

    window.press(&go('1')).await;
    tab_to(&window, "new-character").await;
    window.press(&enter).await;
    tab_to(&window, "field-name").await;
    window.press(&go('a')).await;
    window.type_text("Nib").await;
    tab_to(&window, "field-persona").await;
    window.type_text("A pen.").await;

    // Back to Dot, and taught.
    window.press(&go('k')).await;
    window.find(&by("palette")).await;
    window.type_text("chat dot").await;
    window.press(&enter).await;
    window.find(&by("chat-input")).await;
    window.press(&go('2')).await;
    tab_to(&window, "teach-expert").await;
    window.press(&enter).await;
    tab_to(&window, "teach-steps").await;
    window.press(&go('a')).await;
    window.type_text("2").await;
    tab_to(&window, "teach-start").await;
    window.press(&enter).await;
    window.find(&format!("{}[data-step='2']", by("teach-step"))).await;

    window.press(&go('4')).await;
    tab_to(&window, "gallery-prompt").await;
    window.type_text("Dot at sea").await;
    tab_to(&window, "gallery-draw").await;
    window.press(&enter).await;
    tab_to(&window, "gallery-item").await;
    window.press(&enter).await;
    window.find(&by("gallery-again")).await;
    window.press(&[Key::Escape.into()]).await;
    window.until_gone(&by("gallery-again")).await;

    window.press(&go('5')).await;
    window.find(&by("material-item")).await;
    tab_to(&window, "material-list").await;
    window.press(&[Key::Down.into()]).await;
    window.press(&enter).await;
    window.find(&by("material-detail")).await;
    window.close().await;

    let studio = scratch.studio();
    let characters = studio.list_characters().unwrap();
    assert!(characters.iter().any(|c| c.name == "Nib"), "what was typed is saved");
    assert_eq!(studio.list_runs(Some(&id)).unwrap()[0].step, 2);
}
