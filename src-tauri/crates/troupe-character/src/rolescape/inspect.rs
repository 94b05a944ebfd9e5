//! What is odd about a character's files, beyond what converting them stumbles over.
//!
//! Nothing here is an error: the published data set must import without one.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use image::ImageFormat;
use serde_json::Value;

use super::clean::Cleaned;
use super::convert::{EXTENSION_SCENES, PICTURE_SCENES, group_by_text, item_id, kept, scalar};
use super::locate::{Place, entries};
use super::raw::{Findings, RawFile};
use super::report::Severity::{Info, Warning};
use crate::character::Character;
use crate::normalise::loose;
use crate::pictures::{self, Decoded};
use crate::records::{Question, QuestionKind, Scene, Speaker, Split};
use crate::samples::{self, SampleBlock, SampleKind, SampleOptions};

/// Words for `type` that the authors' generator was offered.
const QUESTION_TYPES: [&str; 14] = [
    "fact",
    "definition",
    "list",
    "reasoning",
    "comparison",
    "timeline",
    "procedure",
    "numeric",
    "quote",
    "location",
    "role",
    "capability",
    "limitation",
    "preference",
];
/// Shorter sides than this are small for the reference's pictures.
const SMALL_SIDE: u32 = 377;
const LARGE_SIDE: u32 = 1024;
/// Share of transparent pixels from which transparency is meant rather than an edge effect.
const REAL_TRANSPARENCY: f64 = 0.01;

/// Names of folders and files.
pub(super) fn layout(place: &Place, findings: &mut Findings) {
    let Place { folder, prefix, .. } = place;
    let train = format!("train/{folder}");
    if folder != prefix {
        let message = format!("the files are called {prefix}_…; both names were kept");
        findings.file("LAY-PREFIX", Info, &train, message);
    }
    if folder.contains(' ') {
        findings.file("LAY-SPACE", Info, &train, "the folder name has spaces");
    }
    folder_contents(&place.train, &train, prefix, findings);
    if let Some(test) = &place.test {
        folder_contents(test, &format!("test/{folder}"), prefix, findings);
    }
    if let Some((name, dir)) = &place.grpo {
        folder_contents(dir, &format!("grpo/{name}"), name, findings);
    }
}

fn folder_contents(dir: &Path, name: &str, prefix: &str, findings: &mut Findings) {
    let known = [
        "with_image.json",
        "t2i_instruction.json",
        "dialogue_text_extension_train.json",
        "dialogue_text_extension_test.json",
        "knowledge_qa.json",
        "knowledge_qa_test.json",
        "memorization_test.json",
        "personality_test.json",
        "full_profile.txt",
        "personality_simplified_profile.txt",
        "pure_t2i.jsonl",
        "pure_t2i_with_vqa.jsonl",
    ];
    for (file, path) in entries(dir).unwrap_or_default() {
        let full = format!("{name}/{file}");
        let ending = file.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
        if file == ".DS_Store" {
            findings.file("LAY-DSSTORE", Info, &full, "left by a file browser, ignored");
        } else if path.is_dir() {
            let message =
                "derived or generator files; not imported, because they follow from the raw files";
            findings.file("LAY-DERIVED", Info, &full, message);
        } else if file != "annotation.json"
            && !ending.is_some_and(|ending| known.contains(&ending))
            && !is_picture_name(&file)
        {
            findings.file("LAY-EXTRA", Info, &full, "no file of the layout, not imported");
        }
    }
}

fn is_picture_name(file: &str) -> bool {
    let ending = file.rsplit('.').next().unwrap_or_default().to_lowercase();
    ["png", "jpg", "jpeg", "webp"].contains(&ending.as_str())
}

/// One picture's file.
pub(super) fn picture(name: &str, decoded: &Decoded, findings: &mut Findings) {
    let (width, height) = decoded.original_size;
    let lower = name.to_lowercase();
    let fits = match decoded.format {
        ImageFormat::Png => lower.ends_with(".png"),
        ImageFormat::Jpeg => lower.ends_with(".jpg") || lower.ends_with(".jpeg"),
        ImageFormat::WebP => lower.ends_with(".webp"),
        _ => false,
    };
    if !fits {
        let message = format!("{:?} data; read by its content", decoded.format);
        findings.file("IMG-FORMAT", Info, name, message);
    }
    let share = pictures::transparent_share(&decoded.image);
    if share > 0.0 {
        let code = if share < REAL_TRANSPARENCY { "IMG-ALPHA-EDGE" } else { "IMG-ALPHA" };
        let message =
            format!("{:.2}% of pixels not opaque; shown and learned on white", share * 100.0);
        findings.file(code, Info, name, message);
    }
    let size = format!("{width}x{height}");
    if width.abs_diff(height) > 2 {
        findings.file("IMG-NONSQUARE", Info, name, size.clone());
    }
    if width.min(height) < SMALL_SIDE {
        findings.file("IMG-SMALL", Info, name, size.clone());
    }
    if width.max(height) > LARGE_SIDE {
        findings.file("IMG-LARGE", Info, name, format!("{size}; stored smaller"));
    }
    if decoded.had_metadata {
        findings.file("IMG-META", Info, name, "EXIF, XMP or colour profile; not kept");
    }
}

/// Scripts, line breaks, stray blanks and odd keys, in every string of a raw file.
pub(super) fn strings(file: &RawFile, findings: &mut Findings) {
    walk(&file.value, &mut "$".to_owned(), file, findings);
}

fn walk(value: &Value, path: &mut String, file: &RawFile, findings: &mut Findings) {
    let len = path.len();
    match value {
        Value::String(text) => string(text, path, file, findings),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(item, path, file, findings);
                path.truncate(len);
            }
        }
        Value::Object(map) => {
            if let Some(key) = map.keys().find(|key| !key.is_ascii()) {
                let message = format!("key with other than ASCII letters: {key}");
                findings.at("JSN-KEY", Info, file, path, message);
            }
            for (key, item) in map {
                path.push('.');
                path.push_str(key);
                walk(item, path, file, findings);
                path.truncate(len);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn string(text: &str, path: &str, file: &RawFile, findings: &mut Findings) {
    let num_cjk = text.chars().filter(|&c| is_cjk(c)).count();
    if num_cjk > 0 {
        let message = format!("{num_cjk} Chinese or Japanese characters");
        findings.at("LNG-CJK", Info, file, path, message);
    }
    let num_vietnamese = text.chars().filter(|&c| is_vietnamese(c)).count();
    if num_vietnamese > 0 {
        findings.at("LNG-VI", Info, file, path, format!("{num_vietnamese} Vietnamese letters"));
    }
    let num_breaks = text.matches('\n').count();
    if num_breaks > 0 {
        findings.at("TXT-NEWLINE", Info, file, path, format!("{num_breaks} newlines"));
    }
    if text.trim() != text {
        findings.at("TXT-WS", Info, file, path, "blanks at an end; kept as they are");
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

fn is_vietnamese(c: char) -> bool {
    matches!(
        c,
        '\u{1ea0}'
            ..='\u{1ef9}' | 'ă' | 'Ă' | 'đ' | 'Đ' | 'ơ' | 'Ơ' | 'ư' | 'Ư' | 'ĩ' | 'Ĩ' | 'ũ' | 'Ũ'
    )
}

/// Counts, repeats, overlaps and quotes that are none.
pub(super) fn content(character: &Character, raw: &[RawFile], findings: &mut Findings) {
    let file = |ending: &str| {
        raw.iter().find(|file| file.name.starts_with("train/") && file.name.ends_with(ending))
    };
    if let Some(file) = file("_with_image.json") {
        per_picture_counts(character, file, findings);
    }
    let of = |kind: QuestionKind| -> Vec<&Question> {
        character.questions.iter().filter(|q| q.kind == kind).collect()
    };
    let knowledge = of(QuestionKind::Knowledge);
    let choices = of(QuestionKind::KnowledgeChoice);
    let profile = character.profile.as_deref().map(squeeze);
    if let Some(file) = file("_knowledge_qa.json") {
        question_items(&knowledge, file, findings);
        not_in_profile(&knowledge, profile.as_deref(), file, findings);
    }
    if let Some(file) = file("_knowledge_qa_test.json") {
        let known: HashSet<String> = knowledge.iter().map(|q| loose(&q.question)).collect();
        let seen: Vec<&str> = choices
            .iter()
            .filter(|q| known.contains(&loose(&q.question)))
            .map(|q| item_id(q))
            .collect();
        if !seen.is_empty() {
            let message = "question is also in knowledge_qa (training)";
            findings.add("DUP-MCQ", Info, &file.name, None, seen.join(" "), message);
        }
        if choices.len() != 10 {
            findings.file("CNT-MCQ", Info, &file.name, format!("{} instead of 10", choices.len()));
        }
        not_in_profile(&choices, profile.as_deref(), file, findings);
    }
    extension_overlap(character, file, findings);
}

fn per_picture_counts(character: &Character, file: &RawFile, findings: &mut Findings) {
    let scenes = character.scenes.iter().filter(|scene| {
        scene.split == Split::Train && scene.origin.as_deref() == Some(PICTURE_SCENES)
    });
    for (index, scene) in scenes.enumerate() {
        for (code, kind, usual, what) in [
            ("CNT-VQA", QuestionKind::Picture, 20, "picture questions"),
            ("CNT-VMCQ", QuestionKind::PictureChoice, 5, "picture multiple-choice items"),
        ] {
            let num = character.questions.iter().filter(|q| {
                q.kind == kind && q.picture.is_some() && q.picture.as_deref() == scene.picture()
            });
            let num = num.count();
            if num != usual {
                let path = format!("$.scenes[{index}]");
                let message = format!("{num} {what} instead of {usual}");
                findings.at(code, Info, file, &path, message);
            }
        }
    }
}

fn question_items(knowledge: &[&Question], file: &RawFile, findings: &mut Findings) {
    for (index, question) in knowledge.iter().enumerate() {
        let line = file.line(&format!("$.qa_items[{index}]"));
        let mut note = |code: &str, message: String| {
            findings.add(code, Info, &file.name, line, item_id(question), message);
        };
        if kept(&question.extra, "evidence_list").is_some() {
            note("JSN-EVIDENCE", format!("evidence is a list of {}", question.evidence.len()));
        }
        if let Some(word) = &question.category
            && !QUESTION_TYPES.contains(&word.as_str())
        {
            note("JSN-QATYPE", format!("free type “{word}”"));
        }
    }
    let groups = group_by_text(knowledge.iter().map(|q| (q.question.as_str(), ())));
    let repeats = knowledge.len() - groups.len();
    if repeats > 0 {
        let message = format!("{repeats} of {} questions repeat an earlier one", knowledge.len());
        findings.file("DUP-KQA", Info, &file.name, message);
    }
    if knowledge.len() != 100 {
        findings.file("CNT-KQA", Info, &file.name, format!("{} instead of 100", knowledge.len()));
    }
}

fn not_in_profile(
    questions: &[&Question],
    profile: Option<&str>,
    file: &RawFile,
    findings: &mut Findings,
) {
    let Some(profile) = profile else { return };
    let missing: Vec<&str> = questions
        .iter()
        .filter(|q| q.evidence.iter().any(|quote| !profile.contains(&squeeze(quote))))
        .map(|q| item_id(q))
        .collect();
    if !missing.is_empty() {
        let message = "evidence is no quote from the full profile";
        findings.add("REF-EVIDENCE", Info, &file.name, None, missing.join(" "), message);
    }
}

/// Text without case, blanks, Markdown marks and quote styles.
fn squeeze(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_whitespace()
                && !matches!(c, '*' | '_' | '#' | '`' | '>' | '"' | '“' | '”' | '\'' | '‘' | '’')
        })
        .flat_map(char::to_lowercase)
        .collect()
}

fn user_line(scene: &Scene) -> &str {
    let turn = scene.turns.iter().find(|turn| turn.role == Speaker::User);
    turn.map_or("", |turn| turn.text.as_str())
}

fn extension_overlap<'a>(
    character: &Character,
    file: impl Fn(&str) -> Option<&'a RawFile>,
    findings: &mut Findings,
) {
    let scenes = |split: Split| -> Vec<&Scene> {
        let is_it = |s: &&Scene| s.split == split && s.origin.as_deref() == Some(EXTENSION_SCENES);
        character.scenes.iter().filter(is_it).collect()
    };
    for split in [Split::Train, Split::Test] {
        let scenes = scenes(split);
        let groups = group_by_text(scenes.iter().map(|scene| (user_line(scene), ())));
        let repeats = scenes.len() - groups.len();
        let ending = format!("_extension_{}.json", split.as_str());
        if let Some(file) = file(&ending).filter(|_| repeats > 0) {
            let message = format!("{repeats} scenes repeat an earlier user line");
            findings.file("DUP-EXT", Info, &file.name, message);
        }
    }
    let known: HashSet<String> =
        scenes(Split::Train).into_iter().map(|s| loose(user_line(s))).collect();
    let leaked: Vec<usize> = scenes(Split::Test)
        .into_iter()
        .enumerate()
        .filter(|(_, scene)| known.contains(&loose(user_line(scene))))
        .map(|(index, _)| index)
        .collect();
    if let Some(file) = file("_extension_test.json").filter(|_| !leaked.is_empty()) {
        let place = format!("scenes {leaked:?}");
        let message = "the user line is also in the training extension";
        findings.add("DUP-LEAK", Warning, &file.name, None, place, message);
    }
}

/// Debris of open prompts, one finding a kind.
pub(super) fn test_questions(file: &RawFile, cleaned: &[Cleaned], findings: &mut Findings) {
    if cleaned.len() != 20 {
        findings.file("CNT-TQ", Info, &file.name, format!("{} instead of 20", cleaned.len()));
    }
    type Test = fn(&Cleaned) -> bool;
    let kinds: [(&str, &str, Test); 11] = [
        ("TXT-TQ-META", "words of the assistant that wrote the list; left out", |c| {
            c.dropped == Some("meta")
        }),
        ("TXT-TQ-RATER_NOTE", "a note for the rater; left out", |c| {
            c.dropped == Some("rater_note")
        }),
        ("TXT-TQ-RUBRIC", "a scoring criterion; left out", |c| c.dropped == Some("rubric")),
        ("TXT-TQ-REPEAT", "repeats an earlier prompt; left out", |c| c.dropped == Some("repeat")),
        ("TXT-TQ-EMPTY", "empty; left out", |c| c.dropped == Some("empty")),
        ("TXT-TQ-SUSPECT", "looks like a scoring criterion; kept", |c| c.is_suspect),
        ("TXT-TQ-NUMBERED", "numbered; number removed", |c| c.numbered),
        ("TXT-TQ-BOLD", "bold; marks removed", |c| c.bold),
        ("TXT-TQ-ITALIC", "italic; marks removed", |c| c.italic && c.dropped.is_none()),
        ("TXT-TQ-BLOCKQUOTE", "quoted with >; mark removed", |c| c.block_quote),
        ("TXT-TQ-QUOTED", "in quote marks; removed", |c| c.quoted),
    ];
    for (code, message, is_it) in kinds {
        let hits: Vec<usize> =
            cleaned.iter().enumerate().filter(|(_, c)| is_it(c)).map(|(index, _)| index).collect();
        if let Some(first) = hits.first() {
            let line = file.line(&format!("$.test_questions[{first}]"));
            findings.add(code, Info, &file.name, line, format!("{hits:?}"), message);
        }
    }
}

/// Stage-2 rows and their questions.
pub(super) fn stage_two(
    file: &str,
    folder: &str,
    rows: &[(usize, Value)],
    findings: &mut Findings,
) {
    let mut scenes_from_text: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for (line, row) in rows {
        let scene_id = scalar(&row["scene_id"]);
        let name = scalar(&row["character"]);
        if !names.contains(&name) {
            names.push(name);
        }
        scenes_from_text.entry(scalar(&row["text"])).or_default().push((*line, scene_id.clone()));
        let questions = row["vqa_questions"].as_array().cloned().unwrap_or_default();
        stage_two_questions(file, *line, &scene_id, &questions, findings);
    }
    if names.len() == 1 && names[0].contains(' ') {
        let message = format!("character “{}”, folder {folder}", names[0]);
        findings.file("GRP-CHARNAME", Info, file, message);
    }
    for scenes in scenes_from_text.into_values().filter(|scenes| scenes.len() > 1) {
        let ids: Vec<&str> = scenes.iter().map(|(_, id)| id.as_str()).collect();
        let place = format!("scene_id {}", ids.join(","));
        findings.add("GRP-DUPPROMPT", Info, file, Some(scenes[0].0), place, "same prompt text");
    }
}

fn stage_two_questions(
    file: &str,
    line: usize,
    scene_id: &str,
    questions: &[Value],
    findings: &mut Findings,
) {
    let mut answers: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut repeats = 0;
    for (index, question) in questions.iter().enumerate() {
        let mut note = |code: &str, message: String| {
            let place = format!("scene_id {scene_id} q[{index}]");
            findings.add(code, Info, file, Some(line), place, message);
        };
        repeats += usize::from(!seen.insert(question.to_string()));
        let answer = scalar(&question["answer"]);
        let lower = answer.trim().to_lowercase();
        let is_yes_no = question["type"] == "yes_no";
        answers.entry(scalar(&question["question"])).or_default().insert(lower.clone());
        let choices: Vec<String> = question["choices"]
            .as_array()
            .map(|c| c.iter().map(scalar).collect())
            .unwrap_or_default();
        if question["type"] == "multiple_choice" && !choices.contains(&answer) {
            note("GRP-ANSWER", "the answer is not among the choices".into());
        }
        if is_yes_no && !choices.is_empty() {
            note("GRP-CHOICES", "choices on a yes/no question".into());
        }
        if is_yes_no && lower != "yes" && lower != "no" {
            note("GRP-YESNO", format!("answered “{answer}”"));
        } else if is_yes_no && answer != lower {
            note("GRP-CASE", answer.clone());
        }
        if is_yes_no && question["is_negative"] == true && lower != "no" {
            note("GRP-NEG", "meant to be answered “no” but is not".into());
        }
    }
    let place = format!("scene_id {scene_id}");
    if answers.values().any(|answers| answers.len() > 1) {
        let message = "one question, different expected answers; left out when scoring";
        findings.add("GRP-CONFLICT", Warning, file, Some(line), place.clone(), message);
    }
    if repeats > 0 {
        let message = format!("{repeats} of {} questions are repeats", questions.len());
        findings.add("GRP-REPEAT", Info, file, Some(line), place, message);
    }
}

/// The derived dialogue files, which are stale in the published data.
pub(super) fn derived(place: &Place, character: &Character, findings: &mut Findings) {
    let Place { folder, prefix, train, .. } = place;
    let drawn = train.join("processed/t2i");
    let known = ["pure_t2i", "t2i", "t2i_with_thinking", "t2i_generation_instruction_only"];
    for (file, path) in entries(&drawn).unwrap_or_default() {
        let Some(stem) = file.strip_suffix(".jsonl") else {
            continue;
        };
        let kind = stem.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
        if kind.is_some_and(|kind| known.contains(&kind)) {
            continue;
        }
        let name = format!("train/{folder}/processed/t2i/{file}");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let message = format!("{} rows, no file of the layout", text.lines().count());
        findings.file("LAY-EXTRA", Info, &name, message);
        if text.contains("\"image\": \"data/") {
            let message = "picture paths start with data/ instead of personalized_data/";
            findings.file("REF-PATHBASE", Info, &name, message);
        }
    }
    let file = format!("{folder}_full.jsonl");
    let name = format!("train/{folder}/processed/vlm/{file}");
    let Ok(text) = std::fs::read_to_string(train.join("processed/vlm").join(&file)) else {
        return;
    };
    if folder != prefix {
        let message = format!("its siblings are called {prefix}_…");
        findings.file("LAY-FULLPREFIX", Info, &name, message);
    }
    let rows = answers_by_prompt(character);
    let (mut total, mut equal) = (0, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        total += 1;
        let row: Value = serde_json::from_str(line).unwrap_or_default();
        let value = |index: usize| scalar(&row["conversations"][index]["value"]);
        equal += usize::from(rows.contains(&(value(0), value(1))));
    }
    let yields = num_derivable(character);
    if equal < total {
        let message = format!(
            "stale: {equal} of {total} rows follow from the raw files, which yield {yields}"
        );
        findings.file("STL-FULL", Info, &name, message);
    }
}

/// Prompt and answer of every text sample, as the derived files spell them.
fn answers_by_prompt(character: &Character) -> HashSet<(String, String)> {
    let options = SampleOptions { held_out_share: 0.0, ..SampleOptions::reference() };
    let mut rows = HashSet::new();
    for sample in samples::training_samples(character, &options) {
        let texts: Vec<&String> = sample
            .blocks
            .iter()
            .filter_map(|block| match block {
                SampleBlock::Text { text, .. } => Some(text),
                SampleBlock::Vit { .. } | SampleBlock::Vae { .. } => None,
            })
            .collect();
        if let [prompt, answer] = texts.as_slice() {
            let mark = if sample.kind == SampleKind::PictureQa { "<image>" } else { "" };
            rows.insert((format!("{mark}{prompt}"), (*answer).clone()));
        }
    }
    rows
}

fn num_derivable(character: &Character) -> usize {
    let kinds = kind_rows(character);
    ["vlm_extension", "vlm_thinking", "knowledge_qa", "vqa"]
        .iter()
        .filter_map(|k| kinds.get(*k))
        .sum()
}

/// Rows that each derived file would have.
fn kind_rows(character: &Character) -> BTreeMap<&'static str, usize> {
    let scenes = |origin: &str| {
        let train = character.scenes.iter().filter(|scene| scene.split == Split::Train);
        train.filter(|scene| scene.origin.as_deref() == Some(origin)).count()
    };
    let questions = |kind: QuestionKind| {
        let train = character.questions.iter().filter(|q| q.split == Split::Train);
        train.filter(|q| q.kind == kind).count()
    };
    BTreeMap::from([
        ("vlm", scenes(PICTURE_SCENES)),
        ("vlm_thinking", scenes(PICTURE_SCENES)),
        ("vlm_extension", scenes(EXTENSION_SCENES)),
        ("knowledge_qa", questions(QuestionKind::Knowledge)),
        ("vqa", questions(QuestionKind::Picture)),
    ])
}

/// Training configurations that ask for another number of rows than there are.
pub(super) fn configs(place: &Place, character: &Character, findings: &mut Findings) {
    let Some(dir) = &place.configs else { return };
    let rows = kind_rows(character);
    for (file, path) in entries(dir).unwrap_or_default() {
        let Some(stem) = file.strip_suffix(".yaml") else {
            continue;
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let name = format!("configs/{}/{file}", place.folder);
        for (data_set, line, used) in text_sets(&text) {
            let kinds = rows.iter().filter(|(kind, _)| data_set.ends_with(&format!("_{kind}")));
            // The longest name wins: `bo_vlm_extension` is no `vlm`.
            let Some((_, &present)) = kinds.max_by_key(|(kind, _)| kind.len()) else {
                continue;
            };
            if used != present {
                let message = format!("{data_set}: num_used_data {used}, rows {present}");
                findings.add("CFG-USED", Info, &name, Some(line), stem, message);
            }
        }
    }
}

/// `dataset_names` of the text group with their `num_used_data` and its line.
fn text_sets(yaml: &str) -> Vec<(String, usize, usize)> {
    let (mut group, mut key) = ("", "");
    let (mut names, mut used) = (Vec::new(), Vec::new());
    for (index, line) in yaml.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(item) = trimmed.strip_prefix("- ") {
            match (group, key) {
                ("vlm_sft", "dataset_names") => names.push(item.to_owned()),
                ("vlm_sft", "num_used_data") => used.push((index + 1, item.parse().unwrap_or(0))),
                _ => {}
            }
        } else if let Some((name, _)) = trimmed.split_once(':') {
            if line.starts_with(' ') {
                key = name;
            } else {
                (group, key) = (name, "");
            }
        }
    }
    names.into_iter().zip(used).map(|(name, (line, used))| (name, line, used)).collect()
}
