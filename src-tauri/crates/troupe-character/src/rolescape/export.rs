//! Writing a character in the published layout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::convert::{KEEP, kept};
use crate::character::Character;
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomic};
use crate::pictures;
use crate::records::{
    Picture, PicturePrompt, PromptQuestion, Question, QuestionKind, Scene, Speaker, Split, Turn,
};

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportReport {
    /// Folder of the training part.
    pub folder: PathBuf,
    /// Name of the folder, F.
    pub name: String,
    /// Prefix of the files, P.
    pub prefix: String,
    /// What has no place in the layout and was left out.
    pub left_out: Vec<String>,
}

/// Writes `character` below `target` as `data/personalized_data/{train,test}/F` and
/// `flow_grpo/dataset/personalized_t2i/<P>`. Importing that again gives the same character.
///
/// # Errors
/// When the character's folder exists there already (nothing is overwritten), a picture cannot be
/// read, or the target cannot be written; what was begun is removed then.
pub fn export(character: &Character, target: &Path) -> Result<ExportReport> {
    let names = Names::of(character);
    let data = target.join("data/personalized_data");
    let grpo = target.join("flow_grpo/dataset/personalized_t2i").join(&names.grpo);
    let train = data.join("train").join(&names.folder);
    let test = data.join("test").join(&names.folder);
    let folders = [&train, &test, &grpo];
    if let Some(path) = folders.into_iter().find(|path| path.exists()) {
        return Err(Error::AlreadyExists { path: path.clone() });
    }
    let mut exporter = Exporter { character, names, number_from_id: HashMap::new() };
    if let Err(error) = exporter.write_all(&train, &test, &grpo) {
        for folder in folders {
            // A half-written character would stand in the way of the next attempt.
            drop(std::fs::remove_dir_all(folder));
        }
        return Err(error);
    }
    Ok(ExportReport {
        folder: train,
        left_out: left_out(character),
        name: exporter.names.folder,
        prefix: exporter.names.prefix,
    })
}

struct Names {
    folder: String,
    prefix: String,
    grpo: String,
}

impl Names {
    fn of(character: &Character) -> Self {
        let source = character.source.clone().unwrap_or_default();
        let safe = |name: &String| {
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
        };
        let own: String =
            character.prompt_name().chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect();
        let own = own.trim().to_owned();
        let own = if own.is_empty() { "Character".to_owned() } else { own };
        let prefix = source.prefix.filter(safe).unwrap_or_else(|| own.clone());
        Self {
            folder: source.folder.filter(safe).unwrap_or(own),
            grpo: source.grpo_folder.filter(safe).unwrap_or_else(|| prefix.replace(' ', "_")),
            prefix,
        }
    }
}

struct Exporter<'a> {
    character: &'a Character,
    names: Names,
    /// Number in its split, by picture id.
    number_from_id: HashMap<&'a str, String>,
}

impl<'a> Exporter<'a> {
    fn pictures(&self, split: Split) -> impl Iterator<Item = &'a Picture> + use<'a> {
        let character = self.character;
        character.pictures.iter().filter(move |picture| picture.split == split)
    }

    fn write_all(&mut self, train: &Path, test: &Path, grpo: &Path) -> Result<()> {
        self.number_pictures();
        self.write_split(Split::Train, train)?;
        if self.has_test() {
            self.write_split(Split::Test, test)?;
        }
        self.write_train_only(train)?;
        self.write_stage_two(grpo)
    }

    /// Imported pictures keep their number; others follow behind.
    fn number_pictures(&mut self) {
        for split in [Split::Train, Split::Test] {
            let prefix = format!("{}-", split.as_str());
            let own = |picture: &Picture| -> Option<u64> {
                picture.id.strip_prefix(&prefix)?.parse().ok()
            };
            let mut next = self.pictures(split).filter_map(own).max().map_or(0, |n| n + 1);
            for picture in self.pictures(split) {
                let number = own(picture).unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                self.number_from_id.insert(&picture.id, number.to_string());
            }
        }
    }

    fn has_test(&self) -> bool {
        self.pictures(Split::Test).next().is_some()
            || self.scenes(Split::Test, true).next().is_some()
    }

    fn scenes(&self, split: Split, with_picture: bool) -> impl Iterator<Item = &'a Scene> {
        self.character.scenes.iter().filter(move |scene| {
            let is_picture_scene = match scene.origin.as_deref() {
                Some(super::convert::PICTURE_SCENES) => true,
                Some(super::convert::EXTENSION_SCENES) => false,
                _ => scene.picture().is_some(),
            };
            scene.split == split && is_picture_scene == with_picture
        })
    }

    fn file(&self, folder: &Path, ending: &str) -> PathBuf {
        folder.join(format!("{}_{ending}", self.names.prefix))
    }

    fn write(&self, path: &Path, payload: &str, items: Vec<Value>, file: &str) -> Result<()> {
        let mut head = json!({
            "description": self.character.description(),
            "opening": self.character.greeting,
            payload: items,
        });
        let source = self.character.source.as_ref();
        let more = source.and_then(|s| s.extra.get("file_keys")).and_then(|keys| keys.get(file));
        if let (Some(head), Some(more)) = (head.as_object_mut(), more.and_then(Value::as_object)) {
            head.extend(more.clone());
        }
        let text = serde_json::to_string_pretty(&head).map_err(|e| Error::Io {
            doing: "turning a record into JSON",
            path: path.to_path_buf(),
            source: e.into(),
        })?;
        write_atomic(path, text.as_bytes())
    }

    fn write_split(&self, split: Split, folder: &Path) -> Result<()> {
        create_folder(folder)?;
        for picture in self.pictures(split) {
            let from = self.character.picture_path(picture);
            let decoded = pictures::decode_file(&from)?;
            let number = &self.number_from_id[picture.id.as_str()];
            let bytes = pictures::encode_png(&decoded.image, &picture.file)?;
            write_atomic(&folder.join(format!("{number}.png")), &bytes)?;
        }
        let name = |file: &str| format!("{}/{}/{file}", split.as_str(), self.names.folder);
        let scenes: Vec<&Scene> = self.scenes(split, true).collect();
        let base = scenes.iter().filter(|s| only(s) != Some("with_image")).map(|scene| {
            kept(&scene.extra, "annotation").cloned().unwrap_or_else(|| self.scene(scene, false))
        });
        let path = folder.join("annotation.json");
        self.write(&path, "scenes", base.collect(), &name("annotation.json"))?;
        let full = scenes.iter().filter(|s| only(s) != Some("annotation"));
        let full = full.map(|scene| self.scene(scene, true)).collect();
        let file = format!("{}_with_image.json", self.names.prefix);
        self.write(&folder.join(&file), "scenes", full, &name(&file))?;
        let file = format!("{}_t2i_instruction.json", self.names.prefix);
        self.write(
            &folder.join(&file),
            "t2i_instructions",
            self.instructions(split),
            &name(&file),
        )?;
        self.write_profile(split, folder)
    }

    fn write_profile(&self, split: Split, folder: &Path) -> Result<()> {
        let source = self.character.source.as_ref();
        let own = match (split, source.and_then(|s| s.extra.get("test_profile"))) {
            (Split::Test, Some(Value::String(text))) => Some(text.clone()),
            (Split::Test, Some(Value::Null)) => None,
            _ => self.character.profile.clone(),
        };
        match own {
            Some(text) => write_atomic(&self.file(folder, "full_profile.txt"), text.as_bytes()),
            None => Ok(()),
        }
    }

    fn write_train_only(&self, train: &Path) -> Result<()> {
        let name = |file: &str| format!("train/{}/{}_{file}", self.names.folder, self.names.prefix);
        for split in [Split::Train, Split::Test] {
            let file = format!("dialogue_text_extension_{}.json", split.as_str());
            let mut scenes: Vec<Value> =
                self.scenes(split, false).map(|scene| self.scene(scene, false)).collect();
            let is_imported = self.character.scenes.iter().any(|scene| scene.origin.is_some());
            if split == Split::Train && !is_imported {
                // The layout repeats the picture scenes here, without their pictures.
                scenes.extend(self.scenes(split, true).map(|scene| self.spoken(scene)));
            }
            self.write(&self.file(train, &file), "scenes", scenes, &name(&file))?;
        }
        let questions = |kind: QuestionKind| {
            self.character.questions.iter().filter(move |question| question.kind == kind)
        };
        for (file, payload, kind) in [
            ("knowledge_qa.json", "qa_items", QuestionKind::Knowledge),
            ("knowledge_qa_test.json", "mcq_items", QuestionKind::KnowledgeChoice),
        ] {
            let items = questions(kind)
                .enumerate()
                .map(|(index, question)| match kind {
                    QuestionKind::Knowledge => knowledge_item(index, question),
                    _ => choice_item(&format!("mcq_{:03}", index + 1), question),
                })
                .collect();
            self.write(&self.file(train, file), payload, items, &name(file))?;
        }
        for (file, kind) in [
            ("memorization_test.json", QuestionKind::Memorization),
            ("personality_test.json", QuestionKind::Personality),
        ] {
            let items = questions(kind)
                .map(|question| {
                    question.raw.clone().unwrap_or_else(|| question.question.clone()).into()
                })
                .collect();
            self.write(&self.file(train, file), "test_questions", items, &name(file))?;
        }
        if let Some(text) = &self.character.personality {
            let path = self.file(train, "personality_simplified_profile.txt");
            write_atomic(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// A scene as a list of turns; `full` adds reasoning and questions.
    fn scene(&self, scene: &Scene, full: bool) -> Value {
        scene.turns.iter().map(|turn| self.turn(turn, scene, full)).collect()
    }

    fn spoken(&self, scene: &Scene) -> Value {
        scene.turns.iter().map(|turn| json!({"role": role(turn), "text": turn.text})).collect()
    }

    fn turn(&self, turn: &Turn, scene: &Scene, full: bool) -> Value {
        let mut map = Map::new();
        map.insert("role".into(), role(turn));
        map.insert("text".into(), turn.text.clone().into());
        if let Some(image) = self.image(turn) {
            map.insert("image".into(), image);
        }
        let is_extension = scene.origin.as_deref() == Some(super::convert::EXTENSION_SCENES);
        if full || is_extension {
            if let Some(text) = &turn.reasoning {
                map.insert("thinking_process".into(), text.clone().into());
            }
            if let Some(text) = &turn.instruction {
                map.insert("generation_instruction".into(), text.clone().into());
            }
            self.turn_questions(turn, scene, &mut map);
        }
        if full || is_extension {
            map.extend(others(&turn.extra));
        }
        Value::Object(map)
    }

    fn image(&self, turn: &Turn) -> Option<Value> {
        if let Some(raw) = kept(&turn.extra, "image") {
            return Some(raw.clone());
        }
        let known = turn.picture.as_deref().and_then(|id| self.number_from_id.get(id));
        known.or(turn.missing_picture.as_ref()).map(|id| id.clone().into())
    }

    /// Questions of the turn's picture, on the first scene that shows it.
    fn turn_questions(&self, turn: &Turn, scene: &Scene, map: &mut Map<String, Value>) {
        let belongs = |question: &&Question| match (&question.picture, &turn.picture) {
            (Some(of), Some(shown)) => {
                let first = self.character.scenes.iter().find(|s| s.picture() == Some(of));
                of == shown && first.is_none_or(|first| first.id == scene.id)
            }
            (None, None) => {
                turn.missing_picture.is_some()
                    && kept(&question.extra, "scene").and_then(Value::as_str) == Some(&scene.id)
            }
            _ => false,
        };
        let of = |kind: QuestionKind| {
            self.character.questions.iter().filter(move |q| q.kind == kind).filter(belongs)
        };
        let pairs: Vec<Value> = of(QuestionKind::Picture).map(picture_pair).collect();
        if !pairs.is_empty() {
            map.insert("qa_pairs".into(), pairs.into());
        }
        let items: Vec<Value> = of(QuestionKind::PictureChoice)
            .enumerate()
            .map(|(index, question)| choice_item(&format!("q{}", index + 1), question))
            .collect();
        if !items.is_empty() {
            map.insert("mcq_items".into(), items.into());
        }
    }

    fn instructions(&self, split: Split) -> Vec<Value> {
        let mut items = Vec::new();
        for picture in self.pictures(split).filter(|picture| !picture.caption.is_empty()) {
            let number = &self.number_from_id[picture.id.as_str()];
            let mut item = json!({"image_id": number, "t2i_instruction": picture.caption});
            if let Some(item) = item.as_object_mut() {
                item.extend(others(&picture.extra));
            }
            items.push(item);
        }
        for prompt in self.character.prompts.iter().filter(|prompt| prompt.split == split) {
            if let Some(reference) = kept(&prompt.extra, "image_id") {
                items.push(json!({"image_id": reference, "t2i_instruction": prompt.text}));
            }
        }
        items
    }

    fn write_stage_two(&self, folder: &Path) -> Result<()> {
        let is_caption = |prompt: &&PicturePrompt| kept(&prompt.extra, "image_id").is_some();
        let prompts: Vec<&PicturePrompt> =
            self.character.prompts.iter().filter(|prompt| !is_caption(prompt)).collect();
        if prompts.is_empty()
            && self.character.source.as_ref().is_none_or(|s| s.grpo_folder.is_none())
        {
            return Ok(());
        }
        create_folder(folder)?;
        let (mut plain, mut asked) = (Vec::new(), Vec::new());
        for (index, prompt) in prompts.into_iter().enumerate() {
            let row = self.stage_two_row(index, prompt);
            let only = kept(&prompt.extra, "only").and_then(Value::as_str);
            if only != Some("asked") {
                let own = kept(&prompt.extra, "plain").and_then(Value::as_object);
                plain.push(own.cloned().unwrap_or_else(|| row.clone()));
            }
            if only != Some("plain") {
                let mut row = row;
                let questions: Vec<Value> =
                    prompt.questions.iter().map(stage_two_question).collect();
                row.insert("vqa_questions".into(), questions.into());
                asked.push(row);
            }
        }
        let file = |ending: &str| folder.join(format!("{}_{ending}.jsonl", self.names.grpo));
        write_atomic(&file("pure_t2i"), &crate::files::to_jsonl(&plain)?)?;
        write_atomic(&file("pure_t2i_with_vqa"), &crate::files::to_jsonl(&asked)?)
    }

    fn stage_two_row(&self, index: usize, prompt: &PicturePrompt) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("text".into(), prompt.text.clone().into());
        row.extend(others(&prompt.extra));
        let folder = format!("dataset/personalized_t2i/{}", self.names.grpo);
        for (key, value) in [
            ("character", self.names.prefix.clone()),
            ("scene_id", index.to_string()),
            ("reference_images_path", folder),
        ] {
            // Rows of an import have all three; an authored prompt gets them here.
            row.entry(key).or_insert_with(|| value.into());
        }
        row
    }
}

fn only(scene: &Scene) -> Option<&str> {
    kept(&scene.extra, "only").and_then(Value::as_str)
}

fn role(turn: &Turn) -> Value {
    let word = match turn.role {
        Speaker::User => "user",
        Speaker::Character => "machine",
    };
    kept(&turn.extra, "role").cloned().unwrap_or_else(|| word.into())
}

/// Unknown keys, without the importer's own.
fn others(extra: &Map<String, Value>) -> Map<String, Value> {
    let mut extra = extra.clone();
    extra.shift_remove(KEEP);
    extra
}

fn picture_pair(question: &Question) -> Value {
    let mut map = Map::new();
    map.insert("question".into(), question.question.clone().into());
    put(&mut map, "answer", &question.answer);
    put(&mut map, "type", &question.category);
    map.extend(others(&question.extra));
    Value::Object(map)
}

fn choice_item(id: &str, question: &Question) -> Value {
    let numbers = kept(&question.extra, "number_options").and_then(Value::as_array);
    let is_number = |key: &str| numbers.is_some_and(|n| n.iter().any(|k| k == key));
    let options: Map<String, Value> = question
        .options
        .iter()
        .map(|(key, text)| {
            let number = is_number(key).then(|| serde_json::from_str(text).ok()).flatten();
            (key.clone(), number.unwrap_or_else(|| Value::from(text.clone())))
        })
        .collect();
    let mut map = Map::new();
    let own = kept(&question.extra, "id").cloned();
    map.insert("id".into(), own.unwrap_or_else(|| id.into()));
    map.insert("question".into(), question.question.clone().into());
    map.insert("options".into(), options.into());
    put(&mut map, "answer_key", &question.answer_key);
    put_evidence(&mut map, question);
    put(&mut map, "difficulty", &question.difficulty);
    put(&mut map, "rationale", &question.rationale);
    map.extend(others(&question.extra));
    Value::Object(map)
}

fn knowledge_item(index: usize, question: &Question) -> Value {
    let mut map = Map::new();
    let own = kept(&question.extra, "id").cloned();
    map.insert("id".into(), own.unwrap_or_else(|| format!("qa_{:03}", index + 1).into()));
    map.insert("question".into(), question.question.clone().into());
    put(&mut map, "answer", &question.answer);
    put_evidence(&mut map, question);
    put(&mut map, "type", &question.category);
    put(&mut map, "difficulty", &question.difficulty);
    if !question.reasoning_steps.is_empty() {
        let key = kept(&question.extra, "reasoning_key").and_then(Value::as_str);
        map.insert(
            key.unwrap_or("reasoning_steps").into(),
            question.reasoning_steps.clone().into(),
        );
    }
    if let Some(confidence) = &question.confidence {
        map.insert("confidence".into(), Value::Number(confidence.clone()));
    }
    map.extend(others(&question.extra));
    Value::Object(map)
}

fn put(map: &mut Map<String, Value>, key: &str, text: &Option<String>) {
    if let Some(text) = text {
        map.insert(key.into(), text.clone().into());
    }
}

fn put_evidence(map: &mut Map<String, Value>, question: &Question) {
    let value: Value = match question.evidence.as_slice() {
        [] if kept(&question.extra, "evidence_list").is_none() => return,
        [one] if kept(&question.extra, "evidence_list").is_none() => one.clone().into(),
        many => many.to_vec().into(),
    };
    map.insert("evidence".into(), value);
}

fn stage_two_question(question: &PromptQuestion) -> Value {
    let mut map = Map::new();
    map.insert("question".into(), question.question.clone().into());
    map.insert("type".into(), question.kind.clone().into());
    map.insert("category".into(), question.category.clone().into());
    map.insert("answer".into(), question.answer.clone().into());
    if !question.choices.is_empty() {
        map.insert("choices".into(), question.choices.clone().into());
    }
    map.insert("weight".into(), question.weight.into());
    map.insert("is_negative".into(), question.is_negative.into());
    map.extend(others(&question.extra));
    Value::Object(map)
}

/// What the layout has no place for.
fn left_out(character: &Character) -> Vec<String> {
    let mut left = Vec::new();
    if !character.lorebook.is_empty() {
        left.push(format!("{} lorebook entries", character.lorebook.len()));
    }
    if character.pictures.iter().any(|picture| !picture.expression.is_empty()) {
        left.push("expressions of pictures".into());
    }
    if !character.visual_cues.expressions.is_empty() {
        left.push("the list of expressions".into());
    }
    let test_pairs = character.questions.iter().filter(|question| {
        question.split == Split::Test
            && matches!(question.kind, QuestionKind::Knowledge | QuestionKind::Picture)
    });
    let num = test_pairs.count();
    if num > 0 {
        left.push(format!("the test mark of {num} questions with answers"));
    }
    left
}
