//! What the window must reach, measured: `make bench-window`. Left out of the usual tests, since
//! numbers mean something on a quiet machine only.
//!
//! Times are those of the page's own clock; the start is that of the process, as `/proc` tells it.
//! `TROUPE_STUDIO` names the program to measure. Without a GPU the frames of any page take long: a plain
//! one of text is scrolled as well, at the end, and says how long at least.

#![expect(clippy::print_stdout, reason = "what is measured is told")]

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use troupe_store::{MessageState, NewMessage, NewPicture, PictureKind, Role, Store};
use troupe_tests::Scratch;

use super::bundled_model;
use crate::driver::{Window, by, studio};

/// Ticks of `/proc`'s clock in a second, the same on every Linux.
const TICKS: f64 = 100.;
/// Seconds in which an idle window is watched.
const IDLE_SECS: u64 = 10;
/// Milliseconds of a frame that still counts as one of sixty in a second, and one dropped with it.
const SMOOTH_MS: f64 = 34.;

/// Frames that are watched while a picture is drawn, which takes two seconds or more.
const DRAWN_FRAMES: u32 = 25;

/// Puts lines of black text on white in the place of everything.
const PLAIN_PAGE: &str = "const line = '<p>A line of text that is neither short nor long.</p>';
    document.body.innerHTML = `<div id=plain>${line.repeat(3000)}</div>`;
    const box = document.querySelector('#plain').style;
    Object.assign(box, { position: 'fixed', inset: 0, overflow: 'auto', background: 'white' });";

/// Prints a number beside what it must reach; true when it does.
fn told(what: &str, value: f64, limit: f64, unit: &str) -> bool {
    let verdict = if value <= limit { "reached" } else { "MISSED" };
    println!("{what}: {value:.1} {unit} (at most {limit:.0}) {verdict}");
    value <= limit
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The fields of a process after its name, which may hold blanks.
fn stat(pid: u32) -> Vec<String> {
    let text = read(format!("/proc/{pid}/stat"));
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().map(Into::into).collect()
}

fn processes() -> Vec<u32> {
    let names = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// The window's process: the program, working on this data folder.
fn process(scratch: &Scratch) -> u32 {
    let program = studio().canonicalize().unwrap();
    let home = format!("TROUPE_HOME={}", scratch.home().display());
    let is_it = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
            && read(format!("/proc/{pid}/environ")).split('\0').any(|variable| variable == home)
    };
    processes().into_iter().find(is_it).expect("the window's process")
}

/// The process and those that it started: the page and its network run in their own.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let parents: Vec<(u32, u32)> = processes()
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid).get(1)?.parse().ok()?)))
        .collect();
    let mut at = 0;
    while at < all.len() {
        let of = all[at];
        all.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

/// Seconds of processor time that the window has used, all of its processes together.
fn used_secs(pid: u32) -> f64 {
    let ticks = |pid: &u32| -> f64 {
        let fields = stat(*pid);
        fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
    };
    family(pid).iter().map(ticks).sum::<f64>() / TICKS
}

/// When the process started, in milliseconds since 1970.
fn started_ms(pid: u32) -> f64 {
    let uptime: f64 = read("/proc/uptime").split_whitespace().next().unwrap().parse().unwrap();
    let started: f64 = stat(pid)[19].parse::<f64>().unwrap() / TICKS;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    (now - (uptime - started)) * 1000.
}

/// Milliseconds from the start of the process to a page that shows its characters.
async fn start_ms(window: &Window, pid: u32) -> f64 {
    let script = "const done = arguments[0]; const look = () => {
        const mark = performance.getEntriesByName('usable')[0];
        if (mark) done(performance.timeOrigin + mark.startTime); else setTimeout(look, 20);
    }; look();";
    window.ask_later(script).await.as_f64().unwrap() - started_ms(pid)
}

/// Milliseconds from a click to two frames after `wanted` is on the page.
async fn open_ms(window: &Window, click: &str, wanted: &str) -> f64 {
    window.find(click).await;
    let script = "const [click, wanted, done] = arguments; const started = performance.now();
        document.querySelector(click).click();
        const look = () => document.querySelector(wanted)
            ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)))
            : requestAnimationFrame(look);
        look();";
    window.ask_later_with(script, vec![json!(click), json!(wanted)]).await.as_f64().unwrap()
}

/// Milliseconds between `frames` in each of which `act`, a statement that knows `element`, is done: the
/// value that 95 of 100 stay below, and the largest.
async fn frames_ms(window: &Window, element: &str, act: &str, frames: u32) -> (f64, f64) {
    let script = format!(
        "const [selector, frames, done] = arguments;
        const element = document.querySelector(selector); const gaps = []; let last = null;
        const move = (now) => {{
            if (last !== null) gaps.push(now - last);
            last = now;
            {act}
            if (gaps.length < frames) requestAnimationFrame(move);
            else {{ gaps.sort((a, b) => a - b); done([gaps[Math.floor(gaps.length * 0.95)], gaps.at(-1)]); }}
        }};
        requestAnimationFrame(move);"
    );
    let arguments = vec![json!(element), json!(frames)];
    let Value::Array(found) = window.ask_later_with(&script, arguments).await else { panic!() };
    (found[0].as_f64().unwrap(), found[1].as_f64().unwrap())
}

/// [`frames_ms`] while `scroller` moves by `pixels` in each.
async fn scroll_ms(window: &Window, scroller: &str, pixels: i32, frames: u32) -> (f64, f64) {
    frames_ms(window, scroller, &format!("element.scrollTop += {pixels};"), frames).await
}

/// [`frames_ms`] while a letter is typed in each.
async fn type_ms(window: &Window, field: &str, frames: u32) -> (f64, f64) {
    let letter = "element.value += 'a';
        element.dispatchEvent(new InputEvent('input', { bubbles: true, data: 'a' }));";
    frames_ms(window, field, letter, frames).await
}

/// A share of one core, in percent, that the window uses while nobody touches it.
async fn used_percent(pid: u32) -> f64 {
    let before = used_secs(pid);
    tokio::time::sleep(Duration::from_secs(IDLE_SECS)).await; // the time that is measured
    (used_secs(pid) - before) / IDLE_SECS as f64 * 100.
}

/// Of a core, once what the last click asked for is done; what the seconds after it took is printed.
async fn idle_percent(pid: u32) -> f64 {
    println!("the {IDLE_SECS} seconds after a click: {:.1} %", used_percent(pid).await);
    used_percent(pid).await
}

/// A chat of 10,000 messages, every tenth of them swiped once.
fn long_chat(store: &Store, character_id: &str) -> String {
    let chat = store.create_chat(character_id, "A long chat").unwrap().id;
    let mut parent: Option<String> = None;
    for number in 0..10_000 {
        let role = if number % 2 == 0 { Role::User } else { Role::Character };
        let text =
            format!("**{number}**: ") + &"the lantern goes to the garden. ".repeat(1 + number % 9);
        let new = NewMessage { role, ..NewMessage::user(&chat, parent.as_deref(), &text) };
        if number % 10 == 1 {
            store.add_message(&NewMessage { state: MessageState::Stopped, ..new.clone() }).unwrap();
        }
        parent = Some(store.add_message(&new).unwrap().id);
    }
    chat
}

/// 5,000 pictures of 128×128, as the bundled base draws them.
fn large_gallery(store: &Store, scratch: &Scratch, character_id: &str) {
    let folder = scratch.home().join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..5_000_u32 {
        let file = format!("{number}.png");
        let [red, green] = [(number % 256) as u8, (number / 20) as u8];
        let picture =
            image::RgbImage::from_fn(128, 128, |x, y| image::Rgb([red ^ x as u8, green, y as u8]));
        picture.save(folder.join(&file)).unwrap();
        let new = NewPicture {
            character_id: character_id.into(),
            file,
            prompt: format!("Dot in the garden, number {number}"),
            settings: "{}".into(),
            base_hash: "base".into(),
            kind: PictureKind::Drawing,
            ..NewPicture::default()
        };
        store.add_picture(&new).unwrap();
    }
}

#[tokio::test]
#[ignore = "measures; run it with `make bench-window`"]
async fn the_window_is_quick_and_quiet() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let chat = {
        let store = Store::open(&scratch.home().join("troupe.db")).unwrap();
        large_gallery(&store, &scratch, &id);
        long_chat(&store, &id)
    };
    let base = bundled_model();
    let open = || Window::open_with(&scratch, &base, &[]);
    open().await.close().await; // warms the disk
    let window = open().await;
    let pid = process(&scratch);
    let mut reached = vec![told("usable after start", start_ms(&window, pid).await, 1500., "ms")];

    window.choose(&id).await;
    reached.push(told("idle, characters", idle_percent(pid).await, 1., "%"));
    let row = "[data-row]";
    for time in ["the first time", "again"] {
        window.find(&by("new-character")).await;
        let taken = open_ms(&window, &by("nav-chat"), row).await;
        reached.push(told(&format!("chat of 10,000 messages opens {time}"), taken, 300., "ms"));
        window.click(&by("nav-characters")).await;
    }
    window.click(&by("nav-chat")).await;
    window.find(&format!("{}[data-id='{chat}']", by("chat-item"))).await;
    window.find(row).await;
    reached.push(told("idle, chat", idle_percent(pid).await, 1., "%"));
    for (what, pixels) in [("steadily", -40), ("fast", -2000)] {
        let (usual, longest) = scroll_ms(&window, "[role=log]", pixels, 240).await;
        println!("frames while it scrolls {what}: longest {longest:.0} ms");
        reached.push(told(&format!("chat scrolls {what}, 95 % of frames"), usual, SMOOTH_MS, "ms"));
    }
    window.write(&by("chat-input"), "Hello?").await;
    window.click(&by("chat-send")).await;
    window.find("figure progress").await;
    let (usual, longest) = scroll_ms(&window, "[role=log]", -40, DRAWN_FRAMES).await;
    let (typed, longest_typed) = type_ms(&window, &by("chat-input"), DRAWN_FRAMES).await;
    let is_drawing = window.count(&by("chat-stop")).await > 0;
    println!(
        "frames while a picture is drawn in the chat: longest {longest:.0} ms, {longest_typed:.0} typing; \
         still drawing: {is_drawing}"
    );
    reached.push(told("chat scrolls while drawing, 95 % of frames", usual, SMOOTH_MS, "ms"));
    reached.push(told("typing while drawing, 95 % of frames", typed, SMOOTH_MS, "ms"));
    if is_drawing {
        window.click(&by("chat-stop")).await;
    }
    window.find(&by("chat-send")).await;

    let tile = format!("{} img", by("gallery-item"));
    let taken = open_ms(&window, &by("nav-gallery"), &tile).await;
    reached.push(told("gallery of 5,000 pictures opens", taken, 300., "ms"));
    reached.push(told("idle, gallery", idle_percent(pid).await, 1., "%"));
    for (what, pixels) in [("steadily", 40), ("fast", 600)] {
        let (usual, longest) = scroll_ms(&window, &by("gallery-grid"), pixels, 240).await;
        println!("frames while it scrolls {what}: longest {longest:.0} ms");
        reached.push(told(
            &format!("gallery scrolls {what}, 95 % of frames"),
            usual,
            SMOOTH_MS,
            "ms",
        ));
    }
    window.ask(&format!("document.querySelector('{}').scrollTop = 0", by("gallery-grid"))).await;
    window.write(&by("gallery-prompt"), "Dot in the garden").await;
    window.click(&by("gallery-draw")).await;
    window.find("progress").await;
    let (usual, longest) = scroll_ms(&window, &by("gallery-grid"), 40, DRAWN_FRAMES).await;
    let is_drawing = window.count("progress").await > 0;
    println!(
        "frames while a picture is drawn: longest {longest:.0} ms; still drawing: {is_drawing}"
    );
    reached.push(told("gallery scrolls while drawing, 95 % of frames", usual, SMOOTH_MS, "ms"));
    window.ask(PLAIN_PAGE).await;
    let (usual, longest) = scroll_ms(&window, "#plain", 40, 240).await;
    println!("a plain page scrolls, 95 % of frames: {usual:.0} ms, longest {longest:.0} ms");
    window.close().await;
    assert!(reached.iter().all(|reached| *reached), "something was missed");
}
