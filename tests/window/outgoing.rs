//! Pictures on their way to other programs.

use std::{path::PathBuf, process::Command, time::Instant};

use serde_json::json;
use troupe_tests::{PATIENCE, Scratch};

use super::{Window, by};

/// Moves and presses the real pointer: a drag that leaves the window hears no other.
fn pointer(arguments: &[&str]) {
    let status = Command::new("xdotool").args(arguments).status();
    assert!(status.expect("xdotool is not installed").success(), "xdotool {arguments:?}");
}

fn move_to((x, y): (i64, i64)) {
    pointer(&["mousemove", &x.to_string(), &y.to_string()]);
}

/// The middle of an element on the screen.
async fn middle(window: &Window, selector: &str) -> (i64, i64) {
    window.find(selector).await;
    let script = "const [selector, done] = arguments;
        const { left, top, width, height } = document.querySelector(selector).getBoundingClientRect();
        done([Math.round(screenX + left + width / 2), Math.round(screenY + top + height / 2)]);";
    let found = window.ask_later_with(script, vec![json!(selector)]).await;
    (found[0].as_i64().unwrap(), found[1].as_i64().unwrap())
}

fn outgoing(scratch: &Scratch) -> Vec<PathBuf> {
    let files = std::fs::read_dir(scratch.home().join("outgoing"));
    files.into_iter().flatten().map(|file| file.unwrap().path()).collect()
}

/// The composer hears of the drag as any other program would.
#[tokio::test]
async fn a_picture_is_dragged_as_a_file_and_shown_in_its_folder() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let window = Window::open(&scratch, &scratch.model_dir()).await;
    window.chat(&id, "Where does the lantern go?").await;

    let (x, y) = middle(&window, &by("message-picture")).await;
    move_to((x, y));
    pointer(&["mousedown", "1"]);
    let started = Instant::now();
    let mut step = 0;
    while outgoing(&scratch).is_empty() {
        assert!(started.elapsed() < PATIENCE, "the drag did not begin");
        step += 1;
        move_to((x + step % 40, y)); // a drag begins some pixels from where the button went down
    }
    let (x, y) = middle(&window, &by("chat-input")).await;
    while window.count("form.dropping").await == 0 {
        if started.elapsed() > PATIENCE {
            window.shot("failure").await;
            pointer(&["mouseup", "1"]);
            panic!("the drag did not reach the composer");
        }
        step += 1;
        move_to((x + step % 40, y));
    }
    pointer(&["mouseup", "1"]);
    window.find("form:not(.dropping)").await;
    // Dropped here it goes with the next message.
    let attached = "form .attached img";
    window.find(attached).await;
    assert!(window.is_loaded(attached).await, "the attached picture is broken");
    window.shot("chat-attached").await;
    let files = outgoing(&scratch);
    assert!(files.len() == 1 && files[0].extension().is_some_and(|e| e == "png"), "{files:?}");

    window.click(&by("nav-gallery")).await;
    window.click(&by("gallery-item")).await;
    window.click(&by("picture-show")).await;
    let told = window.text(&by("toast")).await;
    let own = scratch.home().join("pictures");
    assert!(told.contains(&own.display().to_string()), "no file manager, and no path: {told}");
    window.shot("picture-show").await;
    window.close().await;
}
