//! The command line as people and scripts see it, on a scratch data folder and a tiny base.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use troupe_tests::{Scratch, program};

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a command that has to succeed.
fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}", text(&output.stderr));
    text(&output.stdout)
}

/// Last line of output as JSON.
fn last_json(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// Settings that hide what differs between runs: ids and scratch folders.
fn settings(scratch: &Scratch) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let folder = scratch.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    settings.add_filter(folder, "[scratch]");
    settings.add_filter("[0-9a-f]{32}", "[id]");
    settings
}

#[test]
fn help_shows_every_command_with_an_example() {
    let help = succeed(
        Command::new(program()).arg("--help").env_remove("TROUPE_HOME").env_remove("TROUPE_MODEL"),
    );
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("help", help);
    });
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|c| !c.is_empty()));
    for command in commands.filter(|c| *c != "help") {
        let help = succeed(Command::new(program()).args([command, "--help"]));
        assert!(help.contains("Example: troupe "), "{command} has no example:\n{help}");
    }
}

#[test]
fn a_character_is_imported_listed_and_shown() {
    let scratch = Scratch::new();
    let root = scratch.rolescape("Dot");
    let import = ["import", "rolescape", root.to_str().unwrap()];
    settings(&scratch).bind(|| {
        insta::assert_snapshot!("import", succeed(&mut scratch.troupe(&import)));
        insta::assert_snapshot!("show", succeed(&mut scratch.troupe(&["show", "Dot"])));
    });
    let list = succeed(&mut scratch.troupe(&["--json", "list"]));
    let list: Value = serde_json::from_str(&list).unwrap();
    let dot = list.as_array().unwrap().iter().find(|c| c["name"] == "Dot").unwrap();
    assert_eq!(dot["numPictures"], 10);
    // A second import says what happened and changes nothing of the first.
    let again = succeed(&mut scratch.troupe(&import));
    assert!(!again.is_empty());
}

#[test]
fn an_exported_character_is_the_same_when_imported_elsewhere() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let root = scratch.rolescape("Dot");
    succeed(&mut scratch.troupe(&["import", "rolescape", root.to_str().unwrap()]));
    let out = scratch.path("out");
    let export = ["--json", "export", "rolescape", "Dot", out.to_str().unwrap()];
    let written = last_json(&succeed(&mut scratch.troupe(&export)));
    assert_eq!(written["leftOut"], json!([]));
    succeed(&mut other.troupe(&["import", "rolescape", out.to_str().unwrap()]));
    let shown = |scratch: &Scratch| {
        let mut dot = last_json(&succeed(&mut scratch.troupe(&["--json", "show", "Dot"])));
        dot["id"] = json!("");
        dot
    };
    assert_eq!(shown(&scratch), shown(&other));
    let file = scratch.path("dot.troupe");
    let file = file.to_str().unwrap();
    succeed(&mut scratch.troupe(&["export", "file", "Dot", file]));
    let third = Scratch::new();
    succeed(&mut third.troupe(&["import", "card", file]));
    assert_eq!(shown(&third)["pictures"], shown(&scratch)["pictures"]);
    // What is there already is not written over.
    let again = run(&mut scratch.troupe(&export));
    assert!(!again.status.success());
    assert!(text(&again.stdout).contains("exists"), "{}", text(&again.stdout));
}

#[test]
fn cards_are_imported_once_and_updated() {
    let scratch = Scratch::new();
    let folder = scratch.path("cards");
    fs::create_dir(&folder).unwrap();
    let card = |greeting: &str| {
        json!({"spec": "chara_card_v2", "spec_version": "2.0", "data": {
            "name": "Pip", "description": "{{char}} minds a lighthouse.", "first_mes": greeting,
            "mes_example": "<START>\n{{user}}: Far?\n{{char}}: Two miles.", "creator_notes": "Hm."
        }})
    };
    fs::write(folder.join("pip.json"), card("In with you.").to_string()).unwrap();
    fs::write(folder.join("other.json"), "{}").unwrap();
    let import = ["import", "card", folder.to_str().unwrap()];
    settings(&scratch).bind(|| {
        insta::assert_snapshot!("import-card", succeed(&mut scratch.troupe(&import)));
    });
    let shown = succeed(&mut scratch.troupe(&["--json", "show", "Pip"]));
    assert!(shown.contains("Pip minds a lighthouse."), "{shown}");
    fs::write(folder.join("pip.json"), card("Come in.").to_string()).unwrap();
    let again = last_json(&succeed(&mut scratch.troupe(&[&["--json"][..], &import].concat())));
    assert_eq!(again["characters"][0]["action"], "updated");
    assert!(succeed(&mut scratch.troupe(&["show", "Pip"])).contains("Come in."));
}

#[test]
fn characters_and_folders_are_checked_and_mended() {
    let scratch = Scratch::new();
    let root = scratch.rolescape("Dot");
    let checked = succeed(&mut scratch.troupe(&["--json", "validate", root.to_str().unwrap()]));
    assert_eq!(last_json(&checked)["kind"], "rolescape");
    scratch.import("Dot");
    let found = last_json(&succeed(&mut scratch.troupe(&["--json", "validate", "Dot"])));
    let codes: Vec<&str> =
        found.as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"small-picture") && codes.contains(&"no-greeting"), "{codes:?}");

    let library = scratch.home().join("characters");
    let dot = fs::read_dir(&library).unwrap().next().unwrap().unwrap().path();
    let scenes = dot.join("scenes.jsonl");
    let whole = fs::read_to_string(&scenes).unwrap();
    let empty = "{\"id\":\"x\",\"turns\":[{\"role\":\"user\",\"text\":\" \"}]}";
    fs::write(&scenes, format!("{whole}{empty}\n")).unwrap();
    let fixed = last_json(&succeed(&mut scratch.troupe(&["--json", "validate", "Dot", "--fix"])));
    assert_eq!(fixed["fixed"].as_array().unwrap().len(), 1, "{fixed}");
    assert_eq!(fs::read_to_string(&scenes).unwrap(), whole);
    fs::write(&scenes, "{oops\n").unwrap();
    let output = run(&mut scratch.troupe(&["validate", library.to_str().unwrap()]));
    assert!(!output.status.success());
    assert!(text(&output.stdout).contains("line 1"), "{}", text(&output.stdout));
}

#[test]
fn an_evaluation_is_made_and_its_report_made_again() {
    let scratch = Scratch::new();
    scratch.import("Dot");
    let out = scratch.path("run");
    let folder = out.to_str().unwrap();
    let made = succeed(&mut scratch.troupe(&["--json", "eval", "Dot", "--quick", "--out", folder]));
    let results = last_json(&made)["results"].clone();
    assert_eq!(results["stages"], Value::Null);
    assert_eq!(results["run"]["stages"], serde_json::json!(["base"]));
    assert!(results["aggregates"].as_array().unwrap().iter().any(|a| a["metric"] == "reply_nll"));
    for file in ["report.html", "results.csv"] {
        fs::remove_file(out.join(file)).unwrap();
    }
    let again = succeed(&mut scratch.troupe(&["--json", "eval", "report", folder]));
    assert_eq!(last_json(&again)["results"], results);
    assert!(out.join("report.html").exists() && out.join("results.csv").exists());
    let output = run(&mut scratch.troupe(&["eval", "Dot", "--stages", "grpo", "--quick"]));
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("train it first"), "{}", text(&output.stderr));
}

#[test]
fn teaching_then_talking_drawing_and_asking() {
    let scratch = Scratch::new();
    scratch.import("Dot");
    let taught = succeed(&mut scratch.troupe(&["--json", "train", "Dot", "--steps", "2"]));
    assert_eq!(last_json(&taught)["outcome"], "finished");
    let steps = taught.lines().filter(|l| l.contains(r#""type":"step""#)).count();
    assert_eq!(steps, 2);

    let out = scratch.path("out");
    let say = ["chat", "Dot", "--say", "Where to?", "--seed", "3", "--out", out.to_str().unwrap()];
    succeed(&mut scratch.troupe(&say));
    assert!(image::open(out.join("reply-001.png")).is_ok());
    let transcript = fs::read_to_string(out.join("transcript.md")).unwrap();
    assert!(transcript.starts_with("**You:** Where to?\n\n**Dot:** "), "{transcript}");
    // A second talk into the same folder overwrites nothing.
    succeed(&mut scratch.troupe(&say));
    assert!(out.join("reply-002.png").exists());

    let file = scratch.path("drawing.png");
    let draw = ["draw", "Dot", "Dot on a leaf", "--steps", "3", "--out", file.to_str().unwrap()];
    succeed(&mut scratch.troupe(&draw));
    let first = fs::read(&file).unwrap();
    succeed(&mut scratch.troupe(&draw));
    assert_eq!(first, fs::read(&file).unwrap(), "the same seed drew another picture");
    let two = [&draw[..], &["--count", "2", "--think"]].concat();
    succeed(&mut scratch.troupe(&two));
    assert!(image::open(scratch.path("drawing-1.png")).is_ok());
    assert_ne!(
        fs::read(scratch.path("drawing-1.png")).unwrap(),
        fs::read(scratch.path("drawing-2.png")).unwrap(),
        "seeds count up"
    );

    let picture = file.to_str().unwrap();
    let answer = ["--json", "ask", "Dot", "What is this?", "--picture", picture];
    assert!(last_json(&succeed(&mut scratch.troupe(&answer)))["answer"].is_string());

    let shown = ["chat", "Dot", "--say", "Do you see it?", "--attach", picture];
    succeed(&mut scratch.troupe(&shown));
    let studio = scratch.studio();
    let chats = studio.list_chats(None).unwrap();
    let said = chats.iter().flat_map(|chat| studio.chat(&chat.id).unwrap().messages);
    let seen: Vec<String> = said.filter(|m| m.attachment.is_some()).map(|m| m.text).collect();
    assert_eq!(seen, ["Do you see it?"]);
}

#[test]
fn a_killed_talk_leaves_what_was_said() {
    let scratch = Scratch::new();
    scratch.import("Dot");
    let mut command = scratch.troupe(&["--json", "chat", "Dot", "--say", "Tell me everything."]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("textDelta")));
    child.kill().unwrap();
    child.wait().unwrap();

    let studio = scratch.studio();
    studio.recover().unwrap();
    let id = studio.character("Dot").unwrap().id;
    let chat = studio.list_chats(Some(&id)).unwrap().remove(0);
    let messages = studio.chat(&chat.id).unwrap().messages;
    assert!(messages.iter().any(|m| m.text == "Tell me everything."));
    let streaming = troupe_api::wire::MessageStatus::Streaming;
    assert!(messages.iter().all(|m| m.status != streaming));
    succeed(&mut scratch.troupe(&["chat", "Dot", "--say", "Still there?"]));
}

#[test]
fn failures_say_what_and_what_next() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).unwrap();
    let empty = scratch.path("empty");
    let empty = empty.to_str().unwrap();
    let cases: [(&str, &[&str]); 7] = [
        ("unknown-character", &["show", "Nobody"]),
        ("empty-import", &["import", "rolescape", empty]),
        ("no-card", &["import", "card", empty]),
        ("climbing-name", &["show", "../../x"]),
        ("no-model", &["--model", empty, "draw", "Dot", "x", "--out", "x.png"]),
        ("no-picture", &["ask", "Dot", "What?", "--picture", "/dev/null"]),
        ("nothing-to-resume", &["train", "Dot", "--resume"]),
    ];
    scratch.import("Dot");
    settings(&scratch).bind(|| {
        for (name, arguments) in cases {
            let output = run(&mut scratch.troupe(arguments));
            assert!(!output.status.success(), "{name} succeeded");
            assert!(output.stdout.is_empty(), "{name}: {}", text(&output.stdout));
            insta::assert_snapshot!(name, text(&output.stderr));
            let mut machine = vec!["--json"];
            machine.extend(arguments);
            let output = run(&mut scratch.troupe(&machine));
            assert!(last_json(&text(&output.stdout))["error"]["message"].is_string(), "{name}");
        }
    });
}

/// A disk without room, as far as one process can tell: its files may not grow past a limit.
#[cfg(unix)]
#[test]
fn a_full_disk_fails_clearly_and_the_run_goes_on_later() {
    let scratch = Scratch::new();
    scratch.import("Dot");
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" train Dot --steps 2";
    let mut full = Command::new("sh");
    full.args(["-c", script]).arg(program());
    full.env("TROUPE_HOME", scratch.home()).env("TROUPE_MODEL", scratch.model_dir());
    let output = run(&mut full);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error: ") && message.contains("too large"), "{message}");
    let resumed = succeed(&mut scratch.troupe(&["--json", "train", "Dot", "--resume"]));
    assert_eq!(last_json(&resumed)["outcome"], "finished");
}
