//! Every class of irregularity of the published data set, each made by hand and found by its code.
//!
//! The sample that the other tests may be given shows some classes only; the data here is invented.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use super::*;
use crate::pictures::encode_png;

const FOLDER: &str = "Old Harbour-Mo Mo";
const PREFIX: &str = "Mo Mo";

/// A data set of one character whose names all differ, to which oddities are added.
struct Odd {
    root: tempfile::TempDir,
}

impl Odd {
    fn new() -> Self {
        let odd = Self { root: tempfile::tempdir().unwrap() };
        for dir in [odd.train(), odd.test(), odd.grpo()] {
            fs::create_dir_all(dir).unwrap();
        }
        for number in 0..2u8 {
            odd.picture(&format!("{number}.png"), &png(number));
        }
        let scene = |i: usize| {
            json!([{"role": "user", "text": format!("Line {i}?")},
                {"role": "machine", "text": format!("Reply {i}."), "image": i.to_string()}])
        };
        odd.write("annotation.json", "scenes", json!([scene(0), scene(1)]));
        odd.write("Mo Mo_with_image.json", "scenes", json!([scene(0), scene(1)]));
        odd
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data/personalized_data")
    }

    fn train(&self) -> PathBuf {
        self.data().join("train").join(FOLDER)
    }

    fn test(&self) -> PathBuf {
        self.data().join("test").join(FOLDER)
    }

    fn grpo(&self) -> PathBuf {
        self.root.path().join("flow_grpo/dataset/personalized_t2i/Mo_Mo")
    }

    fn picture(&self, name: &str, bytes: &[u8]) {
        fs::write(self.train().join(name), bytes).unwrap();
    }

    fn write(&self, file: &str, payload: &str, items: Value) {
        let value = json!({"description": "Mo Mo mends nets.", "opening": "", payload: items});
        fs::write(self.train().join(file), serde_json::to_string_pretty(&value).unwrap()).unwrap();
    }

    /// Rows of the stage-2 file; each question is `(question, type, answer, choices, is_negative)`.
    fn rows(&self, rows: Value) {
        let text: Vec<String> = rows.as_array().unwrap().iter().map(Value::to_string).collect();
        let file = self.grpo().join("Mo_Mo_pure_t2i_with_vqa.jsonl");
        fs::write(file, text.join("\n") + "\n").unwrap();
    }

    fn report(&self) -> ImportReport {
        let report = inspect(self.root.path(), None).unwrap();
        assert_eq!(report.characters.len(), 1);
        report
    }

    /// Findings of a code; none of them may be an error, and no record may be lost.
    fn expect(&self, code: &str, num: usize) -> Vec<ImportFinding> {
        let report = self.report();
        let hits: Vec<ImportFinding> =
            report.all_findings().filter(|f| f.code == code).cloned().collect();
        assert!(report.all_findings().all(|f| CODES.contains(&f.code.as_str())), "{report}");
        assert_eq!(hits.len(), num, "{code} in\n{report}\n{hits:?}");
        assert_eq!(report.num_findings(Severity::Error), 0, "{report}");
        assert_eq!(report.num_lost(), 0, "{report}");
        hits
    }
}

fn png(shade: u8) -> Vec<u8> {
    let image = RgbImage::from_fn(400, 400, |x, _| Rgb([shade * 90, (x / 2) as u8, 7]));
    encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
}

fn question(text: &str, kind: &str, answer: &str, choices: &[&str], negative: bool) -> Value {
    let mut value = json!({"question": text, "type": kind, "category": "scene", "answer": answer,
        "weight": 1.0, "is_negative": negative});
    if !choices.is_empty() {
        value["choices"] = json!(choices);
    }
    value
}

fn row(id: usize, text: &str, name: &str, questions: Value) -> Value {
    json!({"text": text, "character": name, "scene_id": id.to_string(),
        "reference_images_path": "dataset/personalized_t2i/Mo_Mo", "vqa_questions": questions})
}

#[test]
fn names_differ_and_have_spaces() {
    let odd = Odd::new();
    odd.expect("LAY-PREFIX", 1);
    odd.expect("LAY-SPACE", 1);
    let character = &odd.report().characters[0];
    assert_eq!((character.folder.as_str(), character.prefix.as_str()), (FOLDER, PREFIX));
}

#[test]
fn stray_files_beside_and_inside_are_named() {
    let odd = Odd::new();
    for dir in [odd.data().join("train"), odd.train(), odd.grpo()] {
        fs::write(dir.join(".DS_Store"), "x").unwrap();
    }
    fs::write(odd.data().join("black_512x512.png"), png(0)).unwrap();
    odd.expect("LAY-DSSTORE", 3);
    fs::write(odd.train().join("notes.docx"), "x").unwrap();
    odd.expect("LAY-EXTRA", 1);
    fs::create_dir_all(odd.train().join("prompts")).unwrap();
    fs::create_dir_all(odd.train().join("processed/t2i/Mo Mo_t2i_parquet")).unwrap();
    odd.expect("LAY-DERIVED", 2);
}

#[test]
fn derived_files_may_be_stale_misnamed_and_based_elsewhere() {
    let odd = Odd::new();
    let vlm = odd.train().join("processed/vlm");
    let t2i = odd.train().join("processed/t2i");
    for dir in [&vlm, &t2i] {
        fs::create_dir_all(dir).unwrap();
    }
    let old = json!({"id": 0, "conversations": [{"from": "human", "value": "Old?"}, {"from": "gpt", "value": "Gone."}]});
    fs::write(vlm.join(format!("{FOLDER}_full.jsonl")), format!("{old}\n")).unwrap();
    let path = json!({"text": "x", "image": "y"})
        .to_string()
        .replace("\"image\":\"y\"", "\"image\": \"data/personalized_data/x/0.png\"");
    fs::write(t2i.join("Mo Mo_t2i_full.jsonl"), format!("{path}\n")).unwrap();
    odd.expect("STL-FULL", 1);
    odd.expect("LAY-FULLPREFIX", 1);
    odd.expect("LAY-EXTRA", 1);
    odd.expect("REF-PATHBASE", 1);
}

#[test]
fn configurations_that_ask_for_other_numbers_are_named() {
    let odd = Odd::new();
    let configs = odd.root.path().join("data/configs").join(FOLDER);
    fs::create_dir_all(&configs).unwrap();
    let yaml = "vlm_sft:\n  dataset_names:\n  - mo_mo_vlm_thinking\n  num_used_data:\n  - 11\n";
    fs::write(configs.join("mo_mo_full.yaml"), yaml).unwrap();
    let hits = odd.expect("CFG-USED", 1);
    assert_eq!(hits[0].line, Some(5));
    assert!(hits[0].message.contains("11"), "{}", hits[0].message);
}

#[test]
fn encodings_line_ends_and_blank_lines() {
    let odd = Odd::new();
    let file = odd.train().join("annotation.json");
    let text = fs::read_to_string(&file).unwrap().replace('\n', "\r\n");
    fs::write(&file, text).unwrap();
    odd.expect("ENC-CRLF", 1);
    let mut rows = row(0, "Mo Mo rows", "Mo_Mo", json!([]));
    rows.as_object_mut().unwrap().shift_remove("vqa_questions");
    fs::write(odd.grpo().join("Mo_Mo_pure_t2i.jsonl"), format!("{rows}\n\n")).unwrap();
    let hits = odd.expect("ENC-BLANKLINE", 1);
    assert_eq!(hits[0].line, Some(2));
}

#[test]
fn scripts_of_other_languages_are_noted_and_kept() {
    let odd = Odd::new();
    let scenes = json!([
        [{"role": "user", "text": "Phở ngon không?"}, {"role": "machine", "text": "Ngon lắm.", "image": "30"}],
        [{"role": "user", "text": "名?"}, {"role": "machine", "text": "ももだよ。"}],
    ]);
    odd.write("Mo Mo_dialogue_text_extension_test.json", "scenes", scenes);
    odd.expect("LNG-VI", 2);
    odd.expect("LNG-CJK", 2);
    let hits = odd.expect("REF-DANGLING", 1);
    assert!(hits[0].message.contains("30..30"), "{}", hits[0].message);
}

#[test]
fn counts_repeats_and_leaks_of_dialogue() {
    let odd = Odd::new();
    let scene = |user: &str, reply: &str| json!([{"role": "user", "text": user}, {"role": "machine", "text": reply}]);
    let train: Vec<Value> = (0..179)
        .map(|i| scene(&format!("Number {}?", i.max(1)), &format!("R{i}.")))
        .chain([scene("Line 0?", "Reply 0."), scene("Line 1?", "Reply 1.")])
        .collect();
    odd.write("Mo Mo_dialogue_text_extension_train.json", "scenes", json!(train));
    let test = json!([scene("number 7", "Other."), scene("New?", "Yes.")]);
    odd.write("Mo Mo_dialogue_text_extension_test.json", "scenes", test);
    let hits = odd.expect("CNT-EXT", 1);
    assert!(hits[0].message.starts_with("179 "), "{}", hits[0].message);
    odd.expect("DUP-EXT", 1);
    let hits = odd.expect("DUP-LEAK", 1);
    assert_eq!(hits[0].place, "scenes [0]");
}

#[test]
fn knowledge_with_odd_keys_types_evidence_and_repeats() {
    let odd = Odd::new();
    fs::write(odd.train().join("Mo Mo_full_profile.txt"), "Sure! Mo Mo mends nets.").unwrap();
    let item = |id: &str, question: &str, evidence: Value, kind: &str| {
        json!({"id": id, "question": question, "answer": "Nets", "evidence": evidence, "type": kind,
            "difficulty": "easy", "reasoning_steps": ["Stated."], "confidence": 1.0})
    };
    let mut misspelt = item("qa_003", "Where?", json!("mends\nnets"), "fact");
    misspelt.as_object_mut().unwrap().shift_remove("reasoning_steps");
    misspelt["reason出来了_steps"] = json!(["Seen."]);
    let items = json!([
        item("qa_001", "What does Mo mend?", json!(["mends nets", " nets"]), "linguistic habit"),
        item("qa_002", "what does mo mend", json!("never said"), "fact"),
        misspelt,
    ]);
    odd.write("Mo Mo_knowledge_qa.json", "qa_items", items);
    let choice = json!([{"id": "mcq_001", "question": "What does Mo mend?!", "options":
        {"A": "Nets", "B": "Cars", "C": "Clocks", "D": "Shoes"}, "answer_key": "A",
        "difficulty": "easy", "evidence": "mends nets", "rationale": "Stated."}]);
    odd.write("Mo Mo_knowledge_qa_test.json", "mcq_items", choice);
    odd.expect("JSN-EVIDENCE", 1);
    odd.expect("JSN-QATYPE", 1);
    odd.expect("JSN-KEY", 2); // the key itself, and what it was read as
    odd.expect("DUP-KQA", 1);
    odd.expect("DUP-MCQ", 1);
    odd.expect("TXT-NEWLINE", 1);
    odd.expect("TXT-WS", 1);
    odd.expect("TXT-PREAMBLE", 1);
    let hits = odd.expect("REF-EVIDENCE", 1);
    assert_eq!(hits[0].place, "qa_002");
}

#[test]
fn picture_items_may_be_few_typed_or_carry_more_keys() {
    let odd = Odd::new();
    let choice = |id: &str, options: Value| {
        json!({"id": id, "question": "How many?", "options": options, "answer_key": "D",
            "difficulty": "easy", "rationale": "Count.", "description": "stray"})
    };
    let texts = json!({"A": "1", "B": "2", "C": "3", "D": "一"});
    let items = json!([choice("q1", json!({"A": 1, "B": 2, "C": 3, "D": 4})), choice("q2", texts)]);
    let pairs: Vec<Value> = (0..19)
        .map(|i| json!({"question": format!("Q{i}?"), "answer": "A.", "type": "objective"}))
        .collect();
    let mut scenes = vec![];
    for i in 0..2 {
        scenes.push(json!([{"role": "user", "text": format!("Line {i}?")},
            {"role": "machine", "text": format!("Reply {i}."), "image": i.to_string(),
             "qa_pairs": pairs, "mcq_items": items}]));
    }
    odd.write("Mo Mo_with_image.json", "scenes", json!(scenes));
    odd.expect("CNT-VQA", 2);
    odd.expect("CNT-VMCQ", 2);
    odd.expect("JSN-OPTTYPE", 2);
    odd.expect("JSN-EXTRAKEY", 4);
    odd.expect("LNG-CJK", 2);
}

#[test]
fn debris_of_open_prompts() {
    let odd = Odd::new();
    let prompts = json!([
        "\"Is it wet?\"",
        "> \"Is it dry?\"",
        "3. **\"Is it late?\"**",
        "*Is it early?*",
        "“Will it hold?”",
        "Here are 20 inputs that probe the character:",
        "*(Tests: patience)*",
        "Tone & Language: Are responses calm?",
        "Does the reply avoid slang?",
        "\"Is it wet\"",
    ]);
    odd.write("Mo Mo_personality_test.json", "test_questions", prompts);
    for code in ["CNT-TQ", "TXT-TQ-QUOTED", "TXT-TQ-BLOCKQUOTE", "TXT-TQ-NUMBERED", "TXT-TQ-BOLD"] {
        odd.expect(code, 1);
    }
    for code in ["TXT-TQ-ITALIC", "TXT-TQ-META", "TXT-TQ-RATER_NOTE", "TXT-TQ-REPEAT"] {
        odd.expect(code, 1);
    }
    let hits = odd.expect("TXT-TQ-RUBRIC", 1);
    assert_eq!(hits[0].place, "[7, 8]");
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    import(odd.root.path(), None, &library).unwrap();
    let usable: Vec<String> = library
        .load(PREFIX)
        .unwrap()
        .questions
        .into_iter()
        .filter(|q| q.dropped.is_none())
        .map(|q| q.question)
        .collect();
    assert_eq!(
        usable,
        ["Is it wet?", "Is it dry?", "Is it late?", "Is it early?", "Will it hold?"]
    );
}

#[test]
fn stage_two_questions_are_odd_in_every_known_way() {
    let odd = Odd::new();
    let questions = json!([
        question("Which?", "multiple_choice", "otter", &["cat", "seal"], false),
        question("Wet?", "yes_no", "Yes", &[], false),
        question("Late?", "yes_no", "not specified", &[], false),
        question("Red?", "yes_no", "yes", &[], true),
        question("Blue?", "yes_no", "no", &["yes", "no"], false),
        question("Blue?", "yes_no", "yes", &[], false),
        question("Wet?", "yes_no", "Yes", &[], false),
    ]);
    odd.rows(json!([
        row(0, "Mo Mo mends a net", "Mo Mo", questions),
        row(1, "Mo Mo mends a net", "Mo Mo", json!([])),
    ]));
    for (code, num) in [
        ("GRP-ANSWER", 1),
        ("GRP-CASE", 2),
        ("GRP-YESNO", 1),
        ("GRP-NEG", 1),
        ("GRP-CHOICES", 1),
        ("GRP-CONFLICT", 1),
        ("GRP-REPEAT", 1),
        ("GRP-DUPPROMPT", 1),
        ("GRP-CHARNAME", 1),
    ] {
        odd.expect(code, num);
    }
    let underscores = Odd::new();
    underscores.rows(json!([row(0, "Mo Mo rows", "Mo_Mo", json!([]))]));
    underscores.expect("GRP-CHARNAME", 0);
    let counted = underscores.report();
    assert_eq!(counted.characters[0].count("_with_vqa.jsonl").unwrap().kept, 1);
}

#[test]
fn pictures_of_every_odd_kind() {
    let odd = Odd::new();
    let mut jpeg = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(400, 400, Rgb([9, 9, 90])).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    odd.picture("2.png", jpeg.get_ref());
    let alpha = |share: u32| {
        let image = RgbaImage::from_fn(400, 400, |x, y| {
            Rgba([80, 200, 30, if y * 400 + x < share { 0 } else { 255 }])
        });
        encode_png(&DynamicImage::ImageRgba8(image), "test").unwrap()
    };
    odd.picture("3.png", &alpha(400 * 200));
    odd.picture("4.png", &alpha(20));
    let plain = |width, height, shade| {
        let image = RgbImage::from_pixel(width, height, Rgb([shade, 1, 2]));
        encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
    };
    odd.picture("5.png", &plain(1685, 1685, 3));
    odd.picture("6.png", &plain(996, 707, 4));
    odd.picture("7.png", &plain(240, 238, 5));
    odd.picture("10.png", &plain(400, 400, 6));
    for code in
        ["IMG-FORMAT", "IMG-ALPHA", "IMG-ALPHA-EDGE", "IMG-LARGE", "IMG-NONSQUARE", "IMG-SMALL"]
    {
        odd.expect(code, 1);
    }
    let count = odd.report();
    let pictures = count.characters[0].files.iter().find(|f| f.what == Records::Pictures).unwrap();
    assert_eq!((pictures.found, pictures.kept), (9, 9));
}

#[test]
fn a_missing_test_profile_is_no_warning() {
    let odd = Odd::new();
    fs::write(odd.train().join("Mo Mo_full_profile.txt"), "Mo Mo mends nets.").unwrap();
    let hits = odd.expect(
        "LAY-MISSING",
        odd.report().all_findings().filter(|f| f.code == "LAY-MISSING").count(),
    );
    let profile = hits.iter().find(|f| f.file == format!("test/{FOLDER}/Mo Mo_full_profile.txt"));
    assert_eq!(profile.unwrap().severity, Severity::Info);
}

/// Whatever is odd: exported and imported again, the character is the same.
#[test]
fn odd_characters_survive_a_round_trip() {
    let odd = Odd::new();
    odd.rows(json!([row(
        0,
        "Mo Mo rows",
        "Mo Mo",
        json!([question("Wet?", "yes_no", "Yes", &["yes", "no"], true)])
    ),]));
    odd.write(
        "Mo Mo_personality_test.json",
        "test_questions",
        json!(["> \"Is it?\"", "Here are 20:"]),
    );
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) =
        (Library::open(home.path(), &[]).unwrap(), Library::open(other.path(), &[]).unwrap());
    import(odd.root.path(), None, &first).unwrap();
    let mut original = first.load(PREFIX).unwrap();
    let out = tempfile::tempdir().unwrap();
    assert!(export(&original, out.path()).unwrap().left_out.is_empty());
    import(out.path(), None, &second).unwrap();
    let mut again = second.load(PREFIX).unwrap();
    for character in [&mut original, &mut again] {
        character.id.clear();
        character.dir = Path::new("").to_path_buf();
    }
    assert_eq!(original, again);
}
