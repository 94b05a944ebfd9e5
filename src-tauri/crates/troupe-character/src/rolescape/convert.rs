//! One character of the data set, from raw files to a [`Character`].

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Number, Value, json};

use super::clean;
use super::inspect;
use super::locate::{Place, entries};
use super::raw::{Findings, RawFile, read_json, read_jsonl, read_text};
use super::report::{Action, CharacterImport, FileCount, Records, Severity};
use crate::character::{Character, SCHEMA, Source};
use crate::files::random;
use crate::pictures::{self, Decoded};
use crate::records::{
    Picture, PicturePrompt, PromptQuestion, Question, QuestionKind, Scene, Speaker, Split, Turn,
};

/// Key under which the importer keeps what only the data set's layout needs.
pub(super) const KEEP: &str = "rolescape";
/// [`Scene::origin`] of scenes of `annotation.json` and `P_with_image.json`.
pub(super) const PICTURE_SCENES: &str = "picture";
/// [`Scene::origin`] of scenes of the extension files.
pub(super) const EXTENSION_SCENES: &str = "extension";
/// Extension scenes that were generated, beside the repeated annotation scenes.
const NUM_GENERATED: usize = 180;

/// A picture's record with its pixels.
pub(crate) type DecodedPicture = (Picture, Decoded);

/// A converted character that is not stored yet.
#[derive(Debug)]
pub(crate) struct Converted {
    pub(crate) character: Character,
    pub(crate) pictures: Vec<DecodedPicture>,
    pub(crate) import: CharacterImport,
    /// Files to keep in the character's folder as they are.
    pub(crate) beside: Vec<(&'static str, Vec<u8>)>,
}

/// Reads everything of one character. Never fails: damage becomes findings.
pub(super) fn convert(place: &Place) -> Converted {
    let source = Source {
        kind: super::SOURCE_KIND.into(),
        folder: Some(place.folder.clone()),
        prefix: Some(place.prefix.clone()),
        grpo_folder: place.grpo.as_ref().map(|(name, _)| name.clone()),
        ..Source::default()
    };
    let mut converter = Converter {
        place,
        character: Character {
            schema: SCHEMA,
            id: random(32),
            name: place.prefix.clone(),
            source: Some(source),
            ..Character::default()
        },
        pictures: Vec::new(),
        findings: Findings::default(),
        counts: Vec::new(),
        raw: Vec::new(),
        head: None,
    };
    converter.run();
    let import = CharacterImport {
        folder: place.folder.clone(),
        prefix: place.prefix.clone(),
        id: String::new(),
        dir: Default::default(),
        action: Action::Inspected,
        files: converter.counts,
        findings: converter.findings.0,
    };
    Converted {
        character: converter.character,
        pictures: converter.pictures,
        import,
        beside: Vec::new(),
    }
}

struct Converter<'a> {
    place: &'a Place,
    character: Character,
    pictures: Vec<DecodedPicture>,
    findings: Findings,
    counts: Vec<FileCount>,
    raw: Vec<RawFile>,
    head: Option<(String, String)>,
}

impl Converter<'_> {
    fn run(&mut self) {
        inspect::layout(self.place, &mut self.findings);
        self.read_pictures(Split::Train);
        self.read_pictures(Split::Test);
        self.read_scenes(Split::Train);
        self.read_scenes(Split::Test);
        self.read_extension(Split::Train);
        self.read_extension(Split::Test);
        self.read_instructions(Split::Train);
        self.read_instructions(Split::Test);
        self.read_knowledge();
        self.read_choices();
        self.read_prompts_without_answer("memorization", QuestionKind::Memorization);
        self.read_prompts_without_answer("personality", QuestionKind::Personality);
        self.read_profiles();
        self.read_stage_two();
        if let Some((description, opening)) = self.head.take() {
            self.character.persona = description;
            self.character.greeting = opening;
        }
        for file in &self.raw {
            inspect::strings(file, &mut self.findings);
        }
        inspect::content(&self.character, &self.raw, &mut self.findings);
        inspect::derived(self.place, &self.character, &mut self.findings);
        inspect::configs(self.place, &self.character, &mut self.findings);
    }

    fn folder(&self, split: Split) -> Option<&Path> {
        match split {
            Split::Train => Some(&self.place.train),
            Split::Test => self.place.test.as_deref(),
        }
    }

    fn name(&self, split: Split, file: &str) -> String {
        format!("{}/{}/{file}", split.as_str(), self.place.folder)
    }

    fn prefixed(&self, ending: &str) -> String {
        format!("{}_{ending}", self.place.prefix)
    }

    fn count(&mut self, file: &str, what: Records, found: usize, kept: usize) -> &mut FileCount {
        self.counts.push(FileCount { file: file.into(), what, found, kept, usable: None });
        let last = self.counts.len() - 1;
        &mut self.counts[last]
    }

    /// Reads one raw JSON file of a split, checks its head, and remembers it.
    fn open(&mut self, split: Split, file: &str, payload: &str, required: bool) -> Option<usize> {
        let folder = self.folder(split)?.to_path_buf();
        let name = self.name(split, file);
        let before = self.findings.0.len();
        let raw = read_json(&folder.join(file), &name, &mut self.findings);
        let Some(raw) = raw else {
            if self.findings.0.len() == before {
                let severity = if required { Severity::Warning } else { Severity::Info };
                self.findings.file("LAY-MISSING", severity, &name, "the file is missing");
            }
            return None;
        };
        self.check_head(&raw, payload);
        self.raw.push(raw);
        Some(self.raw.len() - 1)
    }

    fn check_head(&mut self, raw: &RawFile, payload: &str) {
        let Some(object) = raw.value.as_object() else {
            self.findings.at("JSN-TYPE", Severity::Error, raw, "$", "expected an object");
            return;
        };
        let mut text = |key: &str| match object.get(key) {
            Some(Value::String(text)) => text.clone(),
            _ => {
                let message = format!("“{key}” is missing or no text");
                self.findings.at("JSN-MISSING", Severity::Warning, raw, "$", message).about(key);
                String::new()
            }
        };
        let head = (text("description"), text("opening"));
        match &self.head {
            None => self.head = Some(head),
            Some(first) if *first != head => {
                let message =
                    "description or opening differs from the first file's, which was used";
                self.findings.at("HEAD-DIFFERS", Severity::Warning, raw, "$", message);
            }
            Some(_) => {}
        }
        let known = ["description", "opening", payload];
        let extra: Map<String, Value> = object
            .iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !extra.is_empty() {
            let keys = join_keys(&extra);
            let message = format!("unknown keys, kept: {keys}");
            self.findings.at("JSN-EXTRAKEY", Severity::Warning, raw, "$", message).about(keys);
            let source = self.character.source.get_or_insert_default();
            let kept = source.extra.entry("file_keys").or_insert_with(|| json!({}));
            if let Some(kept) = kept.as_object_mut() {
                kept.insert(raw.name.clone(), Value::Object(extra));
            }
        }
    }

    fn read_pictures(&mut self, split: Split) {
        let Some(folder) = self.folder(split) else {
            let name = format!("test/{}", self.place.folder);
            self.findings.file("LAY-NOTEST", Severity::Info, &name, "there is no test folder");
            return;
        };
        let files = match entries(folder) {
            Ok(files) => files,
            Err(error) => {
                let name = self.name(split, "");
                self.findings
                    .file("LAY-UNREADABLE", Severity::Error, &name, error.to_string())
                    .about(error);
                return;
            }
        };
        let mut numbered: Vec<(u64, String)> = Vec::new();
        for (file, path) in files {
            let Some((stem, ending)) = file.rsplit_once('.') else {
                continue;
            };
            let is_picture =
                ["png", "jpg", "jpeg", "webp"].contains(&ending.to_lowercase().as_str());
            if !is_picture || file.starts_with('.') || path.is_dir() {
                continue;
            }
            match stem.parse::<u64>() {
                Ok(number) => numbered.push((number, file)),
                Err(_) => {
                    let name = self.name(split, &file);
                    let message = "the name is no number; not imported";
                    self.findings.file("IMG-NAME", Severity::Warning, &name, message);
                }
            }
        }
        numbered.sort(); // by number: 2.png before 10.png
        let found = numbered.len();
        let before = self.pictures.len();
        for (_, file) in numbered {
            self.read_picture(split, &file);
        }
        let kept = self.pictures.len() - before;
        self.count(&self.name(split, "*.png"), Records::Pictures, found, kept);
    }

    fn read_picture(&mut self, split: Split, file: &str) {
        let name = self.name(split, file);
        let Some(folder) = self.folder(split) else {
            return;
        };
        let decoded = fs::read(folder.join(file))
            .map_err(|e| e.to_string())
            .and_then(|bytes| pictures::decode(&bytes, &name).map_err(|e| e.to_string()));
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(message) => {
                let detail = message.clone();
                self.findings.file("IMG-BROKEN", Severity::Error, &name, message).about(detail);
                return;
            }
        };
        inspect::picture(&name, &decoded, &mut self.findings);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let id = picture_id(split, stem);
        let hash = pictures::pixel_hash(&decoded.image);
        if let Some(first) =
            self.character.pictures.iter().find(|p| p.hash.as_deref() == Some(&hash))
        {
            let message = format!("the same pixels as picture {}", first.id);
            self.findings.file("IMG-DUPLICATE", Severity::Warning, &name, message).about(&first.id);
        }
        if self.character.picture(&id).is_some() {
            let message = "another file has the same number; not imported";
            self.findings.file("IMG-NAME", Severity::Warning, &name, message);
            return;
        }
        let picture = Picture {
            file: format!("pictures/{id}.png"),
            id,
            split,
            hash: Some(hash),
            ..Picture::default()
        };
        self.character.pictures.push(picture.clone());
        self.pictures.push((picture, decoded));
    }

    /// Id of the picture that a reference means, if there is such a file.
    fn resolve(&self, split: Split, reference: &str) -> Option<String> {
        let split = if reference.contains("test/") {
            Split::Test
        } else if reference.contains("train/") {
            Split::Train
        } else {
            split
        };
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
        let id = picture_id(split, stem);
        self.character.picture(&id).map(|picture| picture.id.clone())
    }

    fn read_scenes(&mut self, split: Split) {
        if self.folder(split).is_none() {
            return;
        }
        let required = true;
        let base = self.open(split, "annotation.json", "scenes", required);
        let full_name = self.prefixed("with_image.json");
        let full = self.open(split, &full_name, "scenes", required);
        let list = |this: &mut Self, index: Option<usize>| -> Vec<Value> {
            index.map_or(Vec::new(), |i| this.raw[i].payload("scenes", &mut this.findings).to_vec())
        };
        let (base_rows, full_rows) = (list(self, base), list(self, full));
        let mut kept = 0;
        for index in 0..base_rows.len().max(full_rows.len()) {
            let (file, value) = match (full_rows.get(index), base_rows.get(index)) {
                (Some(value), _) => (full, value),
                (None, Some(value)) => (base, value),
                (None, None) => continue,
            };
            let Some(file) = file else { continue };
            let id = format!("{}-scene-{index:03}", split.as_str());
            let path = format!("$.scenes[{index}]");
            let Some(mut scene) = self.scene(file, &path, value, split, id) else {
                continue;
            };
            scene.origin = Some(PICTURE_SCENES.into());
            self.compare_scene(&mut scene, index, base_rows.get(index), full_rows.get(index), file);
            kept += 1;
            self.character.scenes.push(scene);
        }
        if base.is_some() {
            let name = self.name(split, "annotation.json");
            self.count(&name, Records::Scenes, base_rows.len(), base_rows.len().min(kept));
        }
        if full.is_some() {
            let name = self.name(split, &full_name);
            let found = full_rows.len();
            self.count(&name, Records::ScenesWithReasoning, found, found.min(kept));
            if split == Split::Train {
                self.count_picture_questions(&name, &full_rows);
            }
        }
    }

    fn count_picture_questions(&mut self, name: &str, rows: &[Value]) {
        let turns = || rows.iter().filter_map(Value::as_array).flatten();
        let in_file = |key: &str| -> usize {
            turns().filter_map(|turn| turn[key].as_array()).map(Vec::len).sum()
        };
        for (key, what, kind) in [
            ("qa_pairs", Records::PictureQuestions, QuestionKind::Picture),
            ("mcq_items", Records::PictureChoices, QuestionKind::PictureChoice),
        ] {
            let kept = self.character.questions.iter().filter(|q| q.kind == kind).count();
            self.count(name, what, in_file(key), kept);
        }
    }

    /// The two scene files repeat each other; what differs is reported and kept.
    fn compare_scene(
        &mut self,
        scene: &mut Scene,
        index: usize,
        base: Option<&Value>,
        full: Option<&Value>,
        file: usize,
    ) {
        let path = format!("$.scenes[{index}]");
        let core = |value: &Value| -> Vec<[Value; 3]> {
            let turns = value.as_array().cloned().unwrap_or_default();
            turns.iter().map(|t| ["role", "text", "image"].map(|key| t[key].clone())).collect()
        };
        let (only, message) = match (base, full) {
            (Some(base), Some(full)) if core(base) == core(full) => return,
            (Some(base), Some(_)) => {
                keep(&mut scene.extra, "annotation", base.clone());
                (None, "differs from annotation.json; both were kept")
            }
            (Some(_), None) => (Some("annotation"), "is only in annotation.json"),
            _ => (Some("with_image"), "is missing in annotation.json"),
        };
        if let Some(only) = only {
            keep(&mut scene.extra, "only", only.into());
        }
        self.findings.at("SCN-DIFFERS", Severity::Warning, &self.raw[file], &path, message);
    }

    fn read_extension(&mut self, split: Split) {
        let ending = format!("dialogue_text_extension_{}.json", split.as_str());
        let name = self.prefixed(&ending);
        // Both extension files live in the train folder; `split` is the second, independent split.
        let Some(file) = self.open(Split::Train, &name, "scenes", true) else {
            return;
        };
        let rows = self.raw[file].payload("scenes", &mut self.findings).to_vec();
        let mut dangling: Vec<String> = Vec::new();
        let mut kept = 0;
        for (index, value) in rows.iter().enumerate() {
            let id = format!("{}-extension-{index:03}", split.as_str());
            let path = format!("$.scenes[{index}]");
            let Some(mut scene) = self.scene(file, &path, value, split, id) else {
                continue;
            };
            scene.origin = Some(EXTENSION_SCENES.into());
            dangling.extend(scene.turns.iter().filter_map(|turn| turn.missing_picture.clone()));
            kept += 1;
            self.character.scenes.push(scene);
        }
        let name = self.name(Split::Train, &name);
        self.count(&name, Records::Dialogue, rows.len(), kept);
        if !dangling.is_empty() {
            let numbers: Vec<u64> = dangling.iter().filter_map(|id| id.parse().ok()).collect();
            let range = match (numbers.iter().min(), numbers.iter().max()) {
                (Some(low), Some(high)) => format!(" (ids {low}..{high})"),
                _ => String::new(),
            };
            let message = format!(
                "{} of {} scenes carry an image id with no file{range}; kept without a picture",
                dangling.len(),
                rows.len()
            );
            let detail = format!("{} / {}{range}", dangling.len(), rows.len());
            self.findings.file("REF-DANGLING", Severity::Warning, &name, message).about(detail);
        }
        let repeated = self.character.scenes.iter().filter(|scene| {
            scene.origin.as_deref() == Some(PICTURE_SCENES) && scene.split == Split::Train
        });
        let generated = rows.len().saturating_sub(repeated.count());
        if split == Split::Train && generated != NUM_GENERATED {
            let message = format!("{generated} generated scenes instead of {NUM_GENERATED}");
            self.findings.file("CNT-EXT", Severity::Info, &name, message);
        }
    }

    fn scene(
        &mut self,
        file: usize,
        path: &str,
        value: &Value,
        split: Split,
        id: String,
    ) -> Option<Scene> {
        let Some(turns) = value.as_array() else {
            let message = "a scene must be a list of turns; not imported";
            self.findings.at("JSN-TYPE", Severity::Error, &self.raw[file], path, message);
            return None;
        };
        let mut scene = Scene { id, split, ..Scene::default() };
        for (index, turn) in turns.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(turn) = self.turn(file, &path, turn, &scene) {
                scene.turns.push(turn);
            }
        }
        Some(scene)
    }

    fn turn(&mut self, file: usize, path: &str, value: &Value, scene: &Scene) -> Option<Turn> {
        let mut object = self.object(file, path, value)?;
        let role = object.text("role").unwrap_or_default();
        let speaker = match role.as_str() {
            "user" => Speaker::User,
            "machine" => Speaker::Character,
            other => {
                let message = format!("unknown role “{other}”, taken as the character's");
                let raw = &self.raw[file];
                self.findings.at("JSN-ROLE", Severity::Warning, raw, path, message).about(other);
                Speaker::Character
            }
        };
        let mut turn = Turn::new(speaker, object.text("text").unwrap_or_default());
        if turn.text.trim().is_empty() {
            self.findings.at(
                "TXT-EMPTY",
                Severity::Warning,
                &self.raw[file],
                path,
                "an empty turn",
            );
        }
        if role != "user" && role != "machine" {
            keep(&mut turn.extra, "role", role.into());
        }
        turn.reasoning = object.text("thinking_process");
        turn.instruction = object.text("generation_instruction");
        if let Some(reference) = object.text("image") {
            self.link(file, path, &mut turn, reference, scene.split);
        }
        let number = scene.id.rsplit('-').next().unwrap_or_default().to_owned();
        for (index, pair) in object.list("qa_pairs").iter().enumerate() {
            let path = format!("{path}.qa_pairs[{index}]");
            let id = format!("{}-vqa-{number}-{index:02}", scene.split.as_str());
            self.picture_question(file, &path, pair, id, &turn, scene);
        }
        for (index, item) in object.list("mcq_items").iter().enumerate() {
            let path = format!("{path}.mcq_items[{index}]");
            let id = format!("{}-choice-{number}-{index:02}", scene.split.as_str());
            self.picture_choice(file, &path, item, id, &turn, scene);
        }
        self.keep_rest(file, path, object, &mut turn.extra);
        Some(turn)
    }

    fn link(&mut self, file: usize, path: &str, turn: &mut Turn, reference: String, split: Split) {
        match self.resolve(split, &reference) {
            Some(id) => {
                if picture_id(split, &reference) != id {
                    keep(&mut turn.extra, "image", reference.into());
                }
                turn.picture = Some(id);
            }
            None => {
                let raw = &self.raw[file];
                if !raw.name.contains("_extension_") {
                    let message = format!("there is no picture “{reference}”");
                    self.findings
                        .at("REF-PICTURE", Severity::Error, raw, path, message)
                        .about(&reference);
                }
                turn.missing_picture = Some(reference);
            }
        }
    }

    fn picture_question(
        &mut self,
        file: usize,
        path: &str,
        value: &Value,
        id: String,
        turn: &Turn,
        scene: &Scene,
    ) {
        let Some(mut object) = self.object(file, path, value) else {
            return;
        };
        let mut question = Question {
            id,
            kind: QuestionKind::Picture,
            split: scene.split,
            picture: turn.picture.clone(),
            question: object.text("question").unwrap_or_default(),
            answer: object.text("answer"),
            category: object.text("type"),
            ..Question::default()
        };
        if question.picture.is_none() {
            keep(&mut question.extra, "scene", scene.id.clone().into());
        }
        self.keep_rest(file, path, object, &mut question.extra);
        self.character.questions.push(question);
    }

    fn picture_choice(
        &mut self,
        file: usize,
        path: &str,
        value: &Value,
        id: String,
        turn: &Turn,
        scene: &Scene,
    ) {
        let Some(mut question) = self.choice(file, path, value, id) else {
            return;
        };
        question.kind = QuestionKind::PictureChoice;
        question.picture = turn.picture.clone();
        if question.picture.is_none() {
            keep(&mut question.extra, "scene", scene.id.clone().into());
        }
        self.character.questions.push(question);
    }

    /// A multiple-choice item of either kind. No training file uses them: they are all tests.
    fn choice(&mut self, file: usize, path: &str, value: &Value, id: String) -> Option<Question> {
        let mut object = self.object(file, path, value)?;
        let mut question = Question {
            id,
            split: Split::Test,
            question: object.text("question").unwrap_or_default(),
            answer_key: object.text("answer_key"),
            difficulty: object.text("difficulty"),
            rationale: object.text("rationale"),
            ..Question::default()
        };
        if let Some(item_id) = object.text("id") {
            keep(&mut question.extra, "id", item_id.into());
        }
        self.options(file, path, &mut object, &mut question);
        object.evidence(&mut question);
        let raw = &self.raw[file];
        let is_valid =
            question.answer_key.as_ref().is_some_and(|key| question.options.contains_key(key));
        if !is_valid {
            let key = question.answer_key.clone().unwrap_or_default();
            let message = format!("the answer key “{key}” is none of the options");
            self.findings.at("JSN-ANSWERKEY", Severity::Error, raw, path, message).about(key);
        }
        self.keep_rest(file, path, object, &mut question.extra);
        Some(question)
    }

    fn options(&mut self, file: usize, path: &str, object: &mut Object, question: &mut Question) {
        let options = match object.map.shift_remove("options") {
            Some(Value::Object(options)) => options,
            Some(Value::Array(list)) => {
                let letters = ('A'..='Z').map(String::from);
                letters.zip(list).collect()
            }
            _ => Map::new(),
        };
        let mut numbers = Vec::new();
        for (key, value) in options {
            if !value.is_string() {
                numbers.push(Value::from(key.clone()));
            }
            question.options.insert(key, scalar(&value));
        }
        if !numbers.is_empty() {
            let message = "options are no texts; kept as texts";
            self.findings.at("JSN-OPTTYPE", Severity::Warning, &self.raw[file], path, message);
            keep(&mut question.extra, "number_options", numbers.into());
        }
    }

    fn read_instructions(&mut self, split: Split) {
        if self.folder(split).is_none() {
            return;
        }
        let name = self.prefixed("t2i_instruction.json");
        let Some(file) = self.open(split, &name, "t2i_instructions", true) else {
            return;
        };
        let rows = self.raw[file].payload("t2i_instructions", &mut self.findings).to_vec();
        let mut kept = 0;
        for (index, value) in rows.iter().enumerate() {
            let path = format!("$.t2i_instructions[{index}]");
            let Some(mut object) = self.object(file, &path, value) else {
                continue;
            };
            let reference = object.text("image_id").unwrap_or_default();
            let text = object.text("t2i_instruction").unwrap_or_default();
            let mut extra = Map::new();
            self.keep_rest(file, &path, object, &mut extra);
            kept += 1;
            let target = self.resolve(split, &reference).and_then(|id| {
                self.character.pictures.iter_mut().find(|p| p.id == id && p.caption.is_empty())
            });
            if let Some(picture) = target {
                picture.caption = text;
                picture.extra.extend(extra);
                continue;
            }
            let message = format!("no picture “{reference}” without a caption; kept as a prompt");
            let raw = &self.raw[file];
            self.findings.at("REF-PICTURE", Severity::Error, raw, &path, message).about(&reference);
            keep(&mut extra, "image_id", reference.into());
            let id = format!("{}-instruction-{index:03}", split.as_str());
            let questions = Vec::new();
            self.character.prompts.push(PicturePrompt { id, split, text, questions, extra });
        }
        let name = self.name(split, &name);
        self.count(&name, Records::Captions, rows.len(), kept);
    }

    fn read_knowledge(&mut self) {
        let name = self.prefixed("knowledge_qa.json");
        let Some(file) = self.open(Split::Train, &name, "qa_items", true) else {
            return;
        };
        let rows = self.raw[file].payload("qa_items", &mut self.findings).to_vec();
        let mut kept = 0;
        for (index, value) in rows.iter().enumerate() {
            let path = format!("$.qa_items[{index}]");
            let Some(mut object) = self.object(file, &path, value) else {
                continue;
            };
            let mut question = Question {
                id: format!("knowledge-{index:03}"),
                kind: QuestionKind::Knowledge,
                question: object.text("question").unwrap_or_default(),
                answer: object.text("answer"),
                category: object.text("type"),
                difficulty: object.text("difficulty"),
                ..Question::default()
            };
            if let Some(item_id) = object.text("id") {
                keep(&mut question.extra, "id", item_id.into());
            }
            object.evidence(&mut question);
            question.confidence = object.number("confidence");
            self.reasoning_steps(file, &path, &mut object, &mut question);
            self.keep_rest(file, &path, object, &mut question.extra);
            kept += 1;
            self.character.questions.push(question);
        }
        let name = self.name(Split::Train, &name);
        self.count(&name, Records::KnowledgeQuestions, rows.len(), kept);
    }

    /// `reasoning_steps`, or a misspelt key that can only mean it.
    fn reasoning_steps(
        &mut self,
        file: usize,
        path: &str,
        object: &mut Object,
        question: &mut Question,
    ) {
        if object.map.contains_key("reasoning_steps") {
            question.reasoning_steps = object.list("reasoning_steps").iter().map(scalar).collect();
            return;
        }
        let misspelt =
            object.map.keys().find(|key| key.starts_with("reason") && key.ends_with("_steps"));
        if let Some(key) = misspelt.cloned() {
            question.reasoning_steps = object.list(&key).iter().map(scalar).collect();
            let message = format!("“{key}” was read as “reasoning_steps”");
            let raw = &self.raw[file];
            self.findings.at("JSN-KEY", Severity::Warning, raw, path, message).about(&key);
            keep(&mut question.extra, "reasoning_key", key.into());
        }
    }

    fn read_choices(&mut self) {
        let name = self.prefixed("knowledge_qa_test.json");
        let Some(file) = self.open(Split::Train, &name, "mcq_items", true) else {
            return;
        };
        let rows = self.raw[file].payload("mcq_items", &mut self.findings).to_vec();
        let mut kept = 0;
        for (index, value) in rows.iter().enumerate() {
            let path = format!("$.mcq_items[{index}]");
            let id = format!("choice-{index:03}");
            if let Some(mut question) = self.choice(file, &path, value, id) {
                question.kind = QuestionKind::KnowledgeChoice;
                kept += 1;
                self.character.questions.push(question);
            }
        }
        let name = self.name(Split::Train, &name);
        self.count(&name, Records::KnowledgeChoices, rows.len(), kept);
    }

    fn read_prompts_without_answer(&mut self, word: &str, kind: QuestionKind) {
        let name = self.prefixed(&format!("{word}_test.json"));
        let Some(file) = self.open(Split::Train, &name, "test_questions", true) else {
            return;
        };
        let raw = &self.raw[file];
        let rows = raw.payload("test_questions", &mut self.findings);
        let texts: Vec<String> = rows.iter().map(scalar).collect();
        let cleaned = clean::clean_all(&texts);
        inspect::test_questions(raw, &cleaned, &mut self.findings);
        let usable = cleaned.iter().filter(|item| item.dropped.is_none()).count();
        for (index, (item, text)) in cleaned.into_iter().zip(texts).enumerate() {
            let raw = (item.text != text).then_some(text);
            self.character.questions.push(Question {
                id: format!("{word}-{index:03}"),
                kind,
                split: Split::Test,
                question: item.text,
                raw,
                dropped: item.dropped.map(str::to_owned),
                ..Question::default()
            });
        }
        let found = rows.len();
        let name = self.name(Split::Train, &name);
        let what = match kind {
            QuestionKind::Memorization => Records::MemorizationPrompts,
            _ => Records::PersonalityPrompts,
        };
        self.count(&name, what, found, found).usable = Some(usable);
    }

    fn read_profiles(&mut self) {
        let full = self.prefixed("full_profile.txt");
        let short = self.prefixed("personality_simplified_profile.txt");
        self.character.profile = self.profile(&full);
        self.character.personality = self.profile(&short);
        let Some(test) = self.folder(Split::Test).map(|dir| dir.join(&full)) else {
            return;
        };
        let name = self.name(Split::Test, &full);
        let copy = read_text(&test, &name, &mut self.findings);
        let source = self.character.source.get_or_insert_default();
        match copy {
            None => {
                if self.character.profile.is_some() {
                    source.extra.insert("test_profile".into(), Value::Null);
                }
                self.findings.file("LAY-MISSING", Severity::Info, &name, "no copy of the profile");
            }
            Some(text) => {
                let differs = self.character.profile.as_ref() != Some(&text);
                if differs {
                    source.extra.insert("test_profile".into(), text.into());
                    let message = "differs from the train profile; kept beside it";
                    self.findings.file("LAY-DIFFERS", Severity::Warning, &name, message);
                }
                self.count(&name, Records::ProfileCopy, 1, 1);
            }
        }
    }

    fn profile(&mut self, file: &str) -> Option<String> {
        let name = self.name(Split::Train, file);
        let text = read_text(&self.place.train.join(file), &name, &mut self.findings);
        match &text {
            None => {
                self.findings.file("LAY-MISSING", Severity::Warning, &name, "no such profile");
            }
            Some(text) => {
                if clean::has_preamble(text) {
                    let message = "begins with a sentence of the assistant that wrote it";
                    self.findings.add("TXT-PREAMBLE", Severity::Info, &name, Some(1), "", message);
                }
                self.count(&name, Records::Profile, 1, 1);
            }
        }
        text
    }

    fn read_stage_two(&mut self) {
        let Some((folder, dir)) = self.place.grpo.clone() else {
            let name = format!("grpo/{}", self.place.prefix);
            let message = "no stage-2 prompts for this character";
            self.findings.file("LAY-NOGRPO", Severity::Info, &name, message);
            return;
        };
        let name = |file: &str| format!("grpo/{folder}/{file}");
        let plain_file = format!("{folder}_pure_t2i.jsonl");
        let asked_file = format!("{folder}_pure_t2i_with_vqa.jsonl");
        let mut read = |file: &str| {
            let rows = read_jsonl(&dir.join(file), &name(file), &mut self.findings);
            if rows.is_none() {
                let message = "the file is missing";
                self.findings.file("LAY-MISSING", Severity::Warning, &name(file), message);
            }
            rows
        };
        let (plain, asked) = (read(&plain_file), read(&asked_file));
        let (num_plain, num_asked) = (plain.as_ref().map(Vec::len), asked.as_ref().map(Vec::len));
        let (plain, asked) = (plain.unwrap_or_default(), asked.unwrap_or_default());
        let before = self.character.prompts.len();
        for index in 0..plain.len().max(asked.len()) {
            let id = format!("stage2-{index:03}");
            let prompt = match (asked.get(index), plain.get(index)) {
                (Some((line, row)), other) => {
                    self.stage_two_row(id, &name(&asked_file), *line, row, other.map(|r| &r.1))
                }
                (None, Some((line, row))) => {
                    let mut prompt =
                        self.stage_two_row(id, &name(&plain_file), *line, row, Some(row));
                    if let Some(prompt) = prompt.as_mut().filter(|_| num_asked.is_some()) {
                        keep(&mut prompt.extra, "only", "plain".into());
                    }
                    prompt
                }
                (None, None) => None,
            };
            self.character.prompts.extend(prompt);
        }
        let kept = self.character.prompts.len() - before;
        let questions = |rows: &[(usize, Value)]| -> usize {
            rows.iter().filter_map(|(_, row)| row["vqa_questions"].as_array()).map(Vec::len).sum()
        };
        if let Some(found) = num_plain {
            self.count(&name(&plain_file), Records::Stage2Prompts, found, found.min(kept));
        }
        if let Some(found) = num_asked {
            let file = name(&asked_file);
            self.count(&file, Records::Stage2Prompts, found, found.min(kept));
            let kept = self.character.prompts[before..].iter().map(|p| p.questions.len()).sum();
            self.count(&file, Records::Stage2Questions, questions(&asked), kept);
            inspect::stage_two(&file, &folder, &asked, &mut self.findings);
        }
    }

    fn stage_two_row(
        &mut self,
        id: String,
        file: &str,
        line: usize,
        row: &Value,
        plain: Option<&Value>,
    ) -> Option<PicturePrompt> {
        let Some(map) = row.as_object().cloned() else {
            let message = "expected an object; not imported";
            self.findings.add("JSN-TYPE", Severity::Error, file, Some(line), "", message);
            return None;
        };
        let mut object = Object { map };
        let mut prompt = PicturePrompt {
            id,
            text: object.text("text").unwrap_or_default(),
            ..Default::default()
        };
        for question in object.list("vqa_questions") {
            match prompt_question(&question) {
                Some(question) => prompt.questions.push(question),
                None => {
                    let message = "a question is no object; not imported";
                    self.findings.add("JSN-TYPE", Severity::Error, file, Some(line), "", message);
                }
            }
        }
        prompt.extra = object.map;
        let mut without = row.clone();
        if let Some(map) = without.as_object_mut() {
            map.shift_remove("vqa_questions");
        }
        match plain {
            Some(plain) if *plain != without && plain.get("vqa_questions").is_none() => {
                keep(&mut prompt.extra, "plain", plain.clone());
                let message = "the row of the file without questions differs; both were kept";
                self.findings.add("GRP-DIFFERS", Severity::Warning, file, Some(line), "", message);
            }
            Some(_) => {}
            None => keep(&mut prompt.extra, "only", "asked".into()),
        }
        Some(prompt)
    }

    fn object(&mut self, file: usize, path: &str, value: &Value) -> Option<Object> {
        match value.as_object() {
            Some(map) => Some(Object { map: map.clone() }),
            None => {
                let message = "expected an object; not imported";
                self.findings.at("JSN-TYPE", Severity::Error, &self.raw[file], path, message);
                None
            }
        }
    }

    /// Keys that nothing asked for: kept, and reported.
    fn keep_rest(
        &mut self,
        file: usize,
        path: &str,
        object: Object,
        extra: &mut Map<String, Value>,
    ) {
        if object.map.is_empty() {
            return;
        }
        let message = format!("unknown keys, kept: {}", join_keys(&object.map));
        self.findings.at("JSN-EXTRAKEY", Severity::Info, &self.raw[file], path, message);
        extra.extend(object.map);
    }
}

/// An object whose known keys are taken out one by one.
struct Object {
    map: Map<String, Value>,
}

impl Object {
    fn text(&mut self, key: &str) -> Option<String> {
        self.map.shift_remove(key).filter(|value| !value.is_null()).map(|value| scalar(&value))
    }

    fn list(&mut self, key: &str) -> Vec<Value> {
        match self.map.shift_remove(key) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) | None => Vec::new(),
            Some(single) => vec![single],
        }
    }

    fn number(&mut self, key: &str) -> Option<Number> {
        match self.map.get(key) {
            Some(Value::Number(number)) => {
                let number = number.clone();
                self.map.shift_remove(key);
                Some(number)
            }
            _ => None, // anything else stays with the unknown keys
        }
    }

    /// A string or a list of strings; the list form is remembered.
    fn evidence(&mut self, question: &mut Question) {
        if let Some(value) = self.map.get("evidence") {
            if value.is_array() {
                keep(&mut question.extra, "evidence_list", true.into());
            }
            question.evidence = self.list("evidence").iter().map(scalar).collect();
        }
    }
}

fn prompt_question(value: &Value) -> Option<PromptQuestion> {
    let mut object = Object { map: value.as_object()?.clone() };
    let question = PromptQuestion {
        question: object.text("question").unwrap_or_default(),
        kind: object.text("type").unwrap_or_default(),
        category: object.text("category").unwrap_or_default(),
        answer: object.text("answer").unwrap_or_default(),
        choices: object.list("choices").iter().map(scalar).collect(),
        weight: object.number("weight").and_then(|n| n.as_f64()).unwrap_or(1.0),
        is_negative: object.map.shift_remove("is_negative").is_some_and(|v| v == true),
        extra: Map::new(),
    };
    Some(PromptQuestion { extra: object.map, ..question })
}

/// A JSON value as text; strings without their quotes.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Remembers something under the importer's own key.
fn keep(extra: &mut Map<String, Value>, key: &str, value: Value) {
    let own = extra.entry(KEEP).or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        own.insert(key.into(), value);
    }
}

/// What [`keep`] remembered.
pub(super) fn kept<'a>(extra: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    extra.get(KEEP)?.get(key)
}

fn join_keys(map: &Map<String, Value>) -> String {
    map.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn picture_id(split: Split, stem: &str) -> String {
    format!("{}-{stem}", split.as_str())
}

/// Ids of items as the data set spells them, for findings.
pub(super) fn item_id(question: &Question) -> &str {
    kept(&question.extra, "id").and_then(Value::as_str).unwrap_or(&question.id)
}

/// Groups records by a text that ignores case and punctuation.
pub(super) fn group_by_text<'a, T>(
    items: impl Iterator<Item = (&'a str, T)>,
) -> BTreeMap<String, Vec<T>> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (text, item) in items {
        groups.entry(crate::normalise::loose(text)).or_default().push(item);
    }
    groups
}
