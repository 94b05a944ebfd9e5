//! Importing and exporting an invented data set, and the real one where it is at hand.

use std::path::PathBuf;

use image::{DynamicImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use super::*;
use crate::pictures::encode_png;
use crate::records::{QuestionKind, Split};
use crate::samples::{SampleBlock, SampleKind, SampleOptions, TrainingSample, training_samples};

/// An otter who keeps a lighthouse, with a good part of the real data set's oddities.
fn write_otter(root: &Path) {
    let train = root.join("data/personalized_data/train/Harbor-Pip");
    let test = root.join("data/personalized_data/test/Harbor-Pip");
    let grpo = root.join("flow_grpo/dataset/personalized_t2i/Pip");
    for dir in [&train, &test, &grpo] {
        fs::create_dir_all(dir).unwrap();
    }
    for number in 0..11u8 {
        fs::write(train.join(format!("{number}.png")), picture(number)).unwrap();
    }
    fs::write(test.join("0.png"), picture(100)).unwrap();
    fs::write(train.join(".DS_Store"), "x").unwrap();
    fs::write(root.join("data/personalized_data/train/.DS_Store"), "x").unwrap();

    let scene = |split: &str, i: usize| {
        json!([
            {"role": "user", "text": format!("{split} line {i}?")},
            {"role": "machine", "text": format!("{split} reply {i}."), "image": i.to_string()}
        ])
    };
    let full = |split: &str, i: usize| {
        let mut scene = scene(split, i);
        scene[1]["thinking_process"] = format!("Thinking {i}").into();
        scene[1]["generation_instruction"] = format!("Otter {i}").into();
        if split == "train" {
            scene[1]["qa_pairs"] = json!([{"question": format!("What is in {i}?"), "answer": "A lens.", "type": "objective"}]);
            scene[1]["mcq_items"] = json!([{"id": "q1", "question": "How many?",
                "options": {"A": 1, "B": 2, "C": 3, "D": 4}, "answer_key": "B",
                "difficulty": "easy", "rationale": "Count.", "description": "stray"}]);
        }
        scene
    };
    let head = |payload: &str, items: Vec<Value>| json!({"description": "Pip minds a lighthouse.", "opening": "", payload: items});
    let write = |path: PathBuf, value: Value| {
        fs::write(path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    };
    for (dir, split, num) in [(&train, "train", 11), (&test, "test", 1)] {
        let base = head("scenes", (0..num).map(|i| scene(split, i)).collect());
        let text = serde_json::to_string_pretty(&base).unwrap().replace('\n', "\r\n");
        fs::write(dir.join("annotation.json"), text).unwrap();
        let all = (0..num).map(|i| full(split, i)).collect();
        write(dir.join("Pip_with_image.json"), head("scenes", all));
        let items = (0..num).map(
            |i| json!({"image_id": i.to_string(), "t2i_instruction": format!("Pip {split} {i}")}),
        );
        write(dir.join("Pip_t2i_instruction.json"), head("t2i_instructions", items.collect()));
    }
    let mut extension: Vec<Value> = vec![json!([
        {"role": "user", "text": "Storm?"},
        {"role": "machine", "text": "Polish faster.", "image": "17"}
    ])];
    extension.extend((0..11).map(|i| {
        let mut scene = scene("train", i);
        scene[1].as_object_mut().unwrap().remove("image");
        scene
    }));
    write(train.join("Pip_dialogue_text_extension_train.json"), head("scenes", extension));
    let held = json!([{"role": "user", "text": "storm"}, {"role": "machine", "text": "Again?"}]);
    write(train.join("Pip_dialogue_text_extension_test.json"), head("scenes", vec![held]));
    let qa = json!([
        {"id": "qa_001", "question": "What does Pip keep?", "answer": "A lighthouse",
         "evidence": ["minds a *lighthouse*", "lamp"], "type": "habit", "difficulty": "easy",
         "reas名ons_steps": 1, "reason名_steps": ["Stated."], "confidence": 1.0},
        {"id": "qa_002", "question": "Who helps?", "answer": "Nobody", "evidence": " alone",
         "type": "fact", "difficulty": "hard", "reasoning_steps": ["Stated."], "confidence": 0.7}
    ]);
    write(train.join("Pip_knowledge_qa.json"), head("qa_items", qa.as_array().unwrap().clone()));
    let mcq = json!([{"id": "mcq_001", "question": "What does Pip keep", "options":
        {"A": "Bees", "B": "A lighthouse", "C": "Quiet", "D": "Goats"}, "answer_key": "B",
        "difficulty": "easy", "evidence": "minds a lighthouse", "rationale": "Stated."}]);
    write(
        train.join("Pip_knowledge_qa_test.json"),
        head("mcq_items", mcq.as_array().unwrap().clone()),
    );
    let open = vec![
        "Who gave you the lens?".into(),
        "*Who gave you the lens?*".into(),
        "*Do you sleep at all?*".into(),
    ];
    write(train.join("Pip_memorization_test.json"), head("test_questions", open));
    let open = vec!["\"Ever leave the lamp?\"".into(), "(Tests: duty)".into()];
    write(train.join("Pip_personality_test.json"), head("test_questions", open));
    fs::write(train.join("Pip_full_profile.txt"), "# Pip\nPip minds a lighthouse.\r\nlamp")
        .unwrap();
    fs::write(train.join("Pip_personality_simplified_profile.txt"), "Here is the part: dutiful")
        .unwrap();
    let row = json!({"text": "A photo of Pip rowing", "character": "Pip", "scene_id": "0",
        "reference_images_path": "dataset/personalized_t2i/Pip"});
    let mut asked = row.clone();
    asked["vqa_questions"] = json!([
        {"question": "Is Pip in a boat?", "type": "yes_no", "category": "action", "answer": "yes",
         "weight": 1.0, "is_negative": false},
        {"question": "Which animal?", "type": "multiple_choice", "category": "character_attributes",
         "answer": "otter", "choices": ["cat", "seal"], "weight": 0.8, "is_negative": false}
    ]);
    fs::write(grpo.join("Pip_pure_t2i.jsonl"), format!("{row}\n\n")).unwrap();
    fs::write(grpo.join("Pip_pure_t2i_with_vqa.jsonl"), format!("{asked}\n")).unwrap();
}

fn picture(shade: u8) -> Vec<u8> {
    let mut image = RgbaImage::from_pixel(40, 30, Rgba([shade, 90, 20, 255]));
    image.put_pixel(0, 0, Rgba([0, 0, 0, 0]));
    encode_png(&DynamicImage::ImageRgba8(image), "test").unwrap()
}

fn library() -> (tempfile::TempDir, Library) {
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    (home, library)
}

fn otter() -> (tempfile::TempDir, tempfile::TempDir, Library) {
    let data = tempfile::tempdir().unwrap();
    write_otter(data.path());
    let (home, library) = library();
    (data, home, library)
}

#[test]
fn every_record_arrives() {
    let (data, _home, library) = otter();
    let report = import(data.path(), None, &library).unwrap();
    assert_eq!(report.num_lost(), 0, "{report}");
    assert_eq!(report.num_findings(Severity::Error), 0, "{report}");
    let pip = library.load("pip").unwrap();
    assert_eq!(pip.persona, "Pip minds a lighthouse.");
    assert_eq!(pip.description(), "Pip minds a lighthouse.");
    assert_eq!(pip.profile.as_deref(), Some("# Pip\nPip minds a lighthouse.\r\nlamp"));
    let ids: Vec<&str> = pip.pictures.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids[9..], ["train-9", "train-10", "test-0"], "numbers, not letters");
    assert_eq!(pip.pictures[10].caption, "Pip train 10");
    assert_eq!(pip.scenes.len(), 11 + 1 + 12 + 1);
    let storm = pip.scenes.iter().find(|s| s.turns[0].text == "Storm?").unwrap();
    assert_eq!(storm.turns[1].missing_picture.as_deref(), Some("17"));
    let fact = pip.questions.iter().find(|q| q.kind == QuestionKind::Knowledge).unwrap();
    assert_eq!(fact.reasoning_steps, ["Stated."]);
    assert_eq!(fact.evidence.len(), 2);
    let choice = pip.questions.iter().find(|q| q.kind == QuestionKind::PictureChoice).unwrap();
    assert_eq!((choice.options["B"].as_str(), choice.split), ("2", Split::Test));
    assert_eq!(pip.prompts[0].questions.len(), 2);
    let dropped: Vec<_> = pip.questions.iter().filter_map(|q| q.dropped.as_deref()).collect();
    assert_eq!(dropped, ["repeat", "rater_note"]);
}

#[test]
fn oddities_are_named_with_file_and_line() {
    let (data, _home, library) = otter();
    let report = import(data.path(), Some("PIP"), &library).unwrap();
    for code in [
        "LAY-PREFIX",
        "LAY-DSSTORE",
        "LAY-MISSING",
        "ENC-CRLF",
        "ENC-BLANKLINE",
        "JSN-KEY",
        "JSN-OPTTYPE",
        "JSN-EXTRAKEY",
        "JSN-EVIDENCE",
        "JSN-QATYPE",
        "REF-DANGLING",
        "REF-EVIDENCE",
        "DUP-LEAK",
        "DUP-MCQ",
        "TXT-WS",
        "TXT-PREAMBLE",
        "TXT-TQ-ITALIC",
        "TXT-TQ-RATER_NOTE",
        "CNT-VQA",
        "CNT-EXT",
        "GRP-ANSWER",
        "IMG-ALPHA-EDGE",
        "IMG-NONSQUARE",
        "IMG-SMALL",
    ] {
        assert!(report.all_findings().any(|f| f.code == code), "{code} is missing in\n{report}");
    }
    let odd = report.all_findings().find(|f| f.code == "JSN-OPTTYPE").unwrap();
    let file = data.path().join("data/personalized_data").join(&odd.file);
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().nth(odd.line.unwrap() - 1).unwrap();
    assert!(line.contains('{'), "{odd} points at {line}");
    assert!(text.lines().nth(odd.line.unwrap()).unwrap().contains("\"id\": \"q1\""));
}

#[test]
fn any_folder_of_the_layout_will_do() {
    let (data, _home, _library) = otter();
    let inner = data.path().join("data/personalized_data");
    for folder in [
        data.path().to_path_buf(),
        data.path().join("data"),
        inner.clone(),
        inner.join("train"),
        inner.join("train/Harbor-Pip"),
        inner.join("test/Harbor-Pip"),
    ] {
        let report = inspect(&folder, None).unwrap();
        let character = &report.characters[0];
        assert_eq!((character.folder.as_str(), report.characters.len()), ("Harbor-Pip", 1));
        assert!(character.count("_with_vqa.jsonl").is_some(), "{}", folder.display());
    }
    let empty = tempfile::tempdir().unwrap();
    let error = inspect(empty.path(), None).unwrap_err();
    assert!(matches!(error, Error::NotADataset { .. }), "{error}");
    assert!(error.to_string().contains("_with_image.json"), "{error}");
    assert!(matches!(inspect(&empty.path().join("x"), None), Err(Error::Missing { .. })));
    let error = inspect(data.path(), Some("Pup")).unwrap_err().to_string();
    assert!(error.contains("it has Pip"), "{error}");
}

#[test]
fn a_second_import_changes_nothing() {
    let (data, _home, library) = otter();
    import(data.path(), None, &library).unwrap();
    let first = library.load("Pip").unwrap();
    let report = import(data.path(), None, &library).unwrap();
    assert_eq!(report.characters[0].action, Action::Unchanged);
    assert_eq!(library.list().unwrap().len(), 1);
    assert_eq!(library.load("Pip").unwrap(), first);
}

#[test]
fn edits_survive_an_update_and_are_reported() {
    let (data, _home, library) = otter();
    import(data.path(), None, &library).unwrap();
    let mut pip = library.load("Pip").unwrap();
    pip.greeting = "Ahoy.".into();
    pip.scenes[0].turns[1].text = "Mine.".into();
    pip.scenes.remove(1);
    pip.questions[0].answer = Some("A brush.".into());
    let own = crate::records::Scene { id: "own".into(), ..Default::default() };
    pip.scenes.push(own);
    library.save(&pip).unwrap();

    // The data set moves on: one edited answer, one untouched one, and a fact that disappears.
    let train = data.path().join("data/personalized_data/train/Harbor-Pip");
    let file = train.join("Pip_with_image.json");
    let text = fs::read_to_string(&file).unwrap().replace("A lens.", "A new lens.");
    fs::write(&file, text).unwrap();
    let file = train.join("Pip_knowledge_qa.json");
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    value["qa_items"].as_array_mut().unwrap().pop();
    fs::write(&file, value.to_string()).unwrap();

    let report = import(data.path(), None, &library).unwrap();
    assert_eq!(report.characters[0].action, Action::Updated);
    let updated = library.load("Pip").unwrap();
    assert_eq!(updated.greeting, "Ahoy.");
    assert_eq!(updated.scenes[0].turns[1].text, "Mine.");
    assert_eq!(updated.scenes.len(), pip.scenes.len(), "the deleted scene stays deleted");
    assert!(updated.scenes.iter().any(|scene| scene.id == "own"));
    assert_eq!(updated.questions[0].answer.as_deref(), Some("A brush."));
    assert_eq!(updated.questions[2].answer.as_deref(), Some("A new lens."));
    let facts = updated.questions.iter().filter(|q| q.kind == QuestionKind::Knowledge).count();
    assert_eq!(facts, 1);
    for code in ["EDIT-KEPT", "EDIT-CONFLICT", "EDIT-DELETED", "SRC-GONE"] {
        assert!(report.all_findings().any(|f| f.code == code), "{code} is missing");
    }
}

#[test]
fn a_copy_is_left_alone_by_imports() {
    let (data, _home, library) = otter();
    import(data.path(), None, &library).unwrap();
    let original = library.load("Pip").unwrap();
    let copy = library.duplicate(&original.id, Some("Pip the Second")).unwrap();
    import(data.path(), None, &library).unwrap();
    assert_eq!(library.list().unwrap().len(), 2);
    assert_eq!(library.load(&copy.id).unwrap(), copy);
}

/// Everything but the random id and the place on disk.
fn same(mut a: Character, mut b: Character) {
    for character in [&mut a, &mut b] {
        character.id.clear();
        character.dir = PathBuf::new();
    }
    assert_eq!(a.scenes, b.scenes);
    assert_eq!(a.questions, b.questions);
    assert_eq!(a.prompts, b.prompts);
    assert_eq!(a, b);
}

#[test]
fn export_and_import_give_the_same_character() {
    let (data, _home, library) = otter();
    import(data.path(), None, &library).unwrap();
    let pip = library.load("Pip").unwrap();
    let out = tempfile::tempdir().unwrap();
    let report = export(&pip, out.path()).unwrap();
    assert_eq!((report.name.as_str(), report.left_out.len()), ("Harbor-Pip", 0));
    let (_home, other) = self::library();
    import(out.path(), None, &other).unwrap();
    same(pip.clone(), other.load("Pip").unwrap());
    assert!(matches!(export(&pip, out.path()), Err(Error::AlreadyExists { .. })));
}

#[test]
fn an_export_that_fails_leaves_nothing_behind() {
    let (data, _home, library) = otter();
    import(data.path(), None, &library).unwrap();
    let pip = library.load("Pip").unwrap();
    let lost = pip.picture_path(pip.pictures.last().unwrap());
    let bytes = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let out = tempfile::tempdir().unwrap();
    export(&pip, out.path()).unwrap_err();
    fs::write(&lost, bytes).unwrap();
    export(&pip, out.path()).unwrap();
}

#[test]
fn damage_is_reported_and_the_rest_arrives() {
    let (data, _home, library) = otter();
    let train = data.path().join("data/personalized_data/train/Harbor-Pip");
    fs::write(train.join("Pip_knowledge_qa.json"), "{\n\"description\": ").unwrap();
    fs::write(train.join("3.png"), "no picture").unwrap();
    let report = import(data.path(), None, &library).unwrap();
    let codes: Vec<&str> = report
        .all_findings()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| f.code.as_str())
        .collect();
    assert!(codes.contains(&"JSN-SYNTAX") && codes.contains(&"IMG-BROKEN"), "{codes:?}");
    assert!(codes.contains(&"REF-PICTURE"), "a scene refers to the broken picture");
    let pip = library.load("Pip").unwrap();
    assert_eq!(pip.pictures.len(), 11);
    assert_eq!(pip.scenes.len(), 25);
}

// ---- the real data set, where the person running the tests has it ----

fn real_data() -> Option<PathBuf> {
    let found = std::env::var_os("TROUPE_ROLESCAPE").map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: set TROUPE_ROLESCAPE to a folder with RoleScape characters");
    }
    found
}

/// Pictures, extension scenes, facts, choices, picture choices, picture questions, open prompts
/// (all and usable), captions and stage-2 rows and questions, for the characters known here.
fn known(folder: &str) -> Option<[usize; 15]> {
    // train/test pictures, ext train/test, facts, mcq, picture mcq, vqa,
    // memorization all/usable, personality all/usable, has an opening, grpo rows, grpo questions
    Some(match folder {
        "Bo" => [12, 3, 192, 20, 100, 10, 60, 239, 20, 20, 16, 16, 0, 41, 264],
        "Mam" => [12, 3, 192, 20, 100, 10, 60, 238, 20, 20, 20, 20, 0, 40, 978],
        "Genshin-Furina" => [9, 3, 189, 20, 100, 10, 45, 180, 20, 20, 20, 20, 1, 41, 971],
        "Mahjong Soul-Saber" => [10, 3, 190, 20, 100, 10, 50, 199, 20, 19, 20, 11, 1, 0, 0],
        "Friends-Joey" => [11, 3, 191, 20, 100, 10, 55, 219, 20, 20, 15, 15, 0, 32, 787],
        "Wukong" => [7, 3, 187, 20, 100, 10, 35, 139, 20, 20, 20, 17, 0, 0, 0],
        _ => return None,
    })
}

#[test]
fn real_counts_are_the_published_ones() {
    let Some(data) = real_data() else { return };
    let (_home, library) = library();
    let report = import(&data, None, &library).unwrap();
    assert_eq!(report.num_findings(Severity::Error), 0, "{report}");
    assert_eq!(report.num_lost(), 0, "{report}");
    for import in &report.characters {
        let Some(want) = known(&import.folder) else {
            continue;
        };
        let it = library.load(&import.id).unwrap();
        let pictures = |split| it.pictures.iter().filter(|p| p.split == split).count();
        let scenes = |origin: &str, split| {
            let all = it.scenes.iter().filter(|s| s.origin.as_deref() == Some(origin));
            all.filter(|s| s.split == split).count()
        };
        let of = |kind| it.questions.iter().filter(move |q| q.kind == kind);
        let usable = |kind| of(kind).filter(|q| q.dropped.is_none()).count();
        use QuestionKind::*;
        let stage2 = import.count("_with_vqa.jsonl").unwrap().kept;
        let asked: usize = it.prompts.iter().map(|p| p.questions.len()).sum();
        let mut got = [
            pictures(Split::Train),
            pictures(Split::Test),
            scenes("extension", Split::Train),
            scenes("extension", Split::Test),
            of(Knowledge).count(),
            of(KnowledgeChoice).count(),
            of(PictureChoice).count(),
            of(Picture).count(),
            of(Memorization).count(),
            usable(Memorization),
            of(Personality).count(),
            usable(Personality),
            usize::from(!it.greeting.is_empty()),
            stage2,
            asked,
        ];
        if want[13] == 0 {
            got[13..].fill(0);
        }
        assert_eq!(got, want, "{}", import.folder);
        assert_eq!(scenes("picture", Split::Train), want[0]);
        assert_eq!(scenes("picture", Split::Test), want[1]);
        assert!(it.pictures.iter().all(|p| !p.caption.is_empty()));
    }
    let again = import_all_again(&data, &library);
    assert!(again.characters.iter().all(|c| c.action == Action::Unchanged), "{again}");
    assert_eq!(library.list().unwrap().len(), report.characters.len());
}

fn import_all_again(data: &Path, library: &Library) -> ImportReport {
    import(data, None, library).unwrap()
}

#[test]
fn real_characters_survive_a_round_trip() {
    let Some(data) = real_data() else { return };
    let (_home, first) = library();
    let (_home2, second) = library();
    let out = tempfile::tempdir().unwrap();
    for import in import(&data, None, &first).unwrap().characters {
        let original = first.load(&import.id).unwrap();
        export(&original, out.path()).unwrap();
    }
    for import in import(out.path(), None, &second).unwrap().characters {
        let again = second.load(&import.id).unwrap();
        same(first.load(&import.prefix).unwrap(), again);
    }
}

/// Every row of every derived file that is not stale, rebuilt from the raw files.
#[test]
fn real_rows_are_rebuilt_exactly() {
    let Some(data) = real_data() else { return };
    let (_home, library) = library();
    let dataset = locate::locate(&data).unwrap();
    for place in &dataset.characters {
        let report = import(&data, Some(&place.folder), &library).unwrap();
        let it = library.load(&report.characters[0].id).unwrap();
        let samples = training_samples(&it, &SampleOptions::reference());
        let mut num_rows = 0;
        for (kind, file, held_out) in [
            (SampleKind::RolePlay, "vlm/P_vlm_extension.jsonl", false),
            (SampleKind::Thinking, "vlm/P_vlm_thinking.jsonl", false),
            (SampleKind::KnowledgeQa, "vlm/P_knowledge_qa.jsonl", false),
            (SampleKind::PictureQa, "vlm/P_vqa.jsonl", false),
            (SampleKind::PicturePlain, "t2i/P_pure_t2i.jsonl", false),
            (SampleKind::PictureScene, "t2i/P_t2i.jsonl", false),
            (SampleKind::PictureThinking, "t2i/P_t2i_with_thinking.jsonl", false),
            (SampleKind::PicturePlain, "t2i/P_pure_t2i.jsonl", true),
            (SampleKind::PictureScene, "t2i/P_t2i.jsonl", true),
            (SampleKind::PictureThinking, "t2i/P_t2i_with_thinking.jsonl", true),
        ] {
            let file = file.replace('P', &place.prefix);
            let dir = if held_out { place.test.clone().unwrap() } else { place.train.clone() };
            let text = fs::read_to_string(dir.join("processed").join(&file)).unwrap();
            let mut rows: Vec<Vec<String>> = text
                .lines()
                .map(|line| {
                    let row: Value = serde_json::from_str(line).unwrap();
                    match &row["conversations"] {
                        Value::Null => vec![row["text"].as_str().unwrap().to_owned()],
                        turns => {
                            let value = |i: usize| turns[i]["value"].as_str().unwrap().to_owned();
                            vec![value(0).replacen("<image>", "", 1), value(1)]
                        }
                    }
                })
                .collect();
            let mine = |s: &&TrainingSample| s.kind == kind && s.held_out == held_out;
            let mut built: Vec<Vec<String>> = samples.iter().filter(mine).map(texts).collect();
            num_rows += rows.len();
            rows.sort();
            built.sort();
            assert!(
                built == rows,
                "{} {file}: {} rows, {} built",
                place.folder,
                rows.len(),
                built.len()
            );
        }
        eprintln!("{}: {num_rows} rows equal", place.folder);
    }
}

fn texts(sample: &TrainingSample) -> Vec<String> {
    let texts = sample.blocks.iter().filter_map(|block| match block {
        SampleBlock::Text { text, .. } => Some(text.clone()),
        SampleBlock::Vit { .. } | SampleBlock::Vae { .. } => None,
    });
    texts.collect()
}
