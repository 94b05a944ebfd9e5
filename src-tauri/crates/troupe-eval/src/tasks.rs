//! The tasks of the protocol, each item of which becomes records.

use std::{collections::HashSet, ops::ControlFlow, path::PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use troupe_character::{
    Character, Picture, PicturePrompt, Question, QuestionKind, Scene, Speaker, Split,
    pictures::load_rgb,
    prompts::{self, RolePlay, ScenePicture},
    samples::{SampleBlock, SampleKind, SampleOptions, training_samples},
};
use troupe_model::runtime::{DrawRequest, FlowSampling, Model, ReplyRequest, TextSampling};

use crate::{
    choice::{self, Item},
    error::{EvalError, EvalResult},
    features::likeness,
    likelihood::Asked,
    pictures::{against, agreement, diversity, nearest, vendi},
    records::{Record, RecordLog},
    run::{PICTURES_FOLDER, Plan, Progress, References, Watch, sized},
};

/// Share of stage-2 prompts that are kept for evaluation where none is marked.
const HELD_OUT_PROMPTS: usize = 5;

/// Real replies that the judge sees for each character.
const NUM_ANCHORS: usize = 3;

/// One stage of one character, with everything that measuring it needs.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) model: &'a Model,
    pub(crate) stage: &'a str,
    /// Which subject.
    pub(crate) index: usize,
    pub(crate) references: &'a [References],
    pub(crate) log: &'a mut RecordLog,
    pub(crate) watch: Watch<'a>,
}

type Flow = EvalResult<ControlFlow<()>>;

/// Ends the surrounding function when the watcher stopped the run.
macro_rules! go_on {
    ($flow:expr) => {
        if $flow?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

impl Bench<'_> {
    /// Measures everything that is not in the log yet.
    pub(crate) fn run(&mut self) -> Flow {
        go_on!(self.knowledge());
        go_on!(self.picture_choices());
        go_on!(self.reply_likelihood());
        go_on!(self.identification());
        go_on!(self.sampled_replies());
        go_on!(self.pictures());
        go_on!(self.reply_pictures());
        self.judged()
    }

    fn character(&self) -> &Character {
        &self.plan.subjects[self.index].character
    }

    fn record(&self, task: &str, item: &str, seed: u64, value: f64) -> Record {
        Record::new(self.stage, &self.character().name, task, item, seed, value)
    }

    fn is_done(&self, last_task: &str, item: &str, seed: u64) -> bool {
        self.log.has(&self.record(last_task, item, seed, 0.).key())
    }

    fn tell(&mut self, task: &'static str, done: usize, num_items: usize) -> ControlFlow<()> {
        let progress = Progress {
            stage: self.stage.into(),
            character: self.character().name.clone(),
            task,
            done,
            num_items,
        };
        (self.watch)(&progress)
    }

    fn knowledge(&mut self) -> Flow {
        let known = known_questions(self.character(), QuestionKind::Knowledge);
        let items = choices(self.character(), QuestionKind::KnowledgeChoice);
        let items: Vec<(Item, Question)> =
            spread(items, self.plan.settings.num_knowledge).collect();
        for (done, (item, question)) in items.iter().enumerate() {
            if !self.is_done("knowledge_option", &item.id, 0) {
                let records = self.choice_records("knowledge", item, question, None, &known)?;
                self.log.append(records)?;
            }
            if self.tell("knowledge questions", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn picture_choices(&mut self) -> Flow {
        let known = known_questions(self.character(), QuestionKind::Picture);
        let mut items = choices(self.character(), QuestionKind::PictureChoice);
        items.retain(|(_, question)| question.picture.is_some());
        let items: Vec<(Item, Question)> =
            spread(items, self.plan.settings.num_picture_choices).collect();
        for (done, (item, question)) in items.iter().enumerate() {
            if !self.is_done("picture_option", &item.id, 0) {
                let id = question.picture.as_deref().unwrap_or_default();
                let Some(picture) = self.picture(id)? else { continue };
                let mut records = self.choice_records("picture", item, question, None, &known)?;
                for record in &mut records {
                    record.task.push_str("_blind");
                }
                records.retain(|record| record.task != "picture_letter_blind");
                let seen =
                    self.choice_records("picture", item, question, Some(&picture), &known)?;
                records.extend(seen);
                self.log.append(records)?;
            }
            if self.tell("picture questions", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A picture of the character by id, at the model's size.
    fn picture(&self, id: &str) -> EvalResult<Option<RgbImage>> {
        let character = self.character();
        match character.picture(id) {
            Some(picture) => Ok(Some(load_rgb(&character.picture_path(picture))?)),
            None => Ok(None),
        }
    }

    fn choice_records(
        &self,
        what: &str,
        item: &Item,
        question: &Question,
        picture: Option<&RgbImage>,
        known: &HashSet<String>,
    ) -> EvalResult<Vec<Record>> {
        let rotated = choice::by_rotation(item, |item| choice::letter(self.model, picture, item))?;
        let by_text = choice::option_text(self.model, picture, item)?;
        let mut slices = vec![seen_slice(known, &item.question).to_owned()];
        slices.extend(question.difficulty.clone());
        let detail = json!({
            "question": item.question, "right": item.options[item.right],
            "chosen": item.options[by_text], "letters": rotated.chosen,
        });
        let value = |is_right: bool| f64::from(u8::from(is_right));
        let values = [
            ("rotation", rotated.score),
            ("letter", value(rotated.is_right_unrotated)),
            ("option", value(by_text == item.right)),
        ];
        let records = values.into_iter().map(|(form, value)| {
            let mut record = self.record(&format!("{what}_{form}"), &item.id, 0, value);
            record.slices.clone_from(&slices);
            record.detail = object(&detail);
            record
        });
        Ok(records.collect())
    }

    fn reply_likelihood(&mut self) -> Flow {
        let replies = test_replies(self.character());
        let known = train_lines(self.character());
        let replies: Vec<TestReply> = spread(replies, self.plan.settings.num_replies).collect();
        for (done, reply) in replies.iter().enumerate() {
            if !self.is_done("reply_nll", &reply.id, 0) {
                let asked = Asked::read(self.model, None, &reply.prompt)?;
                let surprise = asked.surprise(&reply.text, true)?;
                let mut record = self.record("reply_nll", &reply.id, 0, surprise.per_token());
                record.slices.push(seen_slice(&known, &reply.user).into());
                record.detail = object(&json!({"tokens": surprise.num_tokens}));
                self.log.append(vec![record])?;
            }
            if self.tell("test replies", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whose reply is it? Each is scored under the description, opening and name of every
    /// character, with this character's model.
    fn identification(&mut self) -> Flow {
        if self.plan.subjects.len() < 2 {
            return Ok(ControlFlow::Continue(()));
        }
        let replies: Vec<TestReply> =
            spread(test_replies(self.character()), self.plan.settings.num_identified).collect();
        for (done, reply) in replies.iter().enumerate() {
            if !self.is_done("character_id", &reply.id, 0) {
                let mut best: Option<(usize, f64)> = None;
                for (index, subject) in self.plan.subjects.iter().enumerate() {
                    let prompt = reply_prompt(&subject.character, &reply.user);
                    let asked = Asked::read(self.model, None, &prompt)?;
                    let nats = asked.surprise(&reply.text, true)?.nats;
                    if best.is_none_or(|(_, least)| nats < least) {
                        best = Some((index, nats));
                    }
                }
                let chosen = best.map_or(self.index, |(index, _)| index);
                let value = f64::from(u8::from(chosen == self.index));
                let mut record = self.record("character_id", &reply.id, 0, value);
                let name = &self.plan.subjects[chosen].character.name;
                let num = self.plan.subjects.len();
                record.detail = object(&json!({"num_choices": num, "chosen": name}));
                self.log.append(vec![record])?;
            }
            if self.tell("whose reply", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn sampled_replies(&mut self) -> Flow {
        let replies: Vec<TestReply> =
            spread(test_replies(self.character()), self.plan.settings.num_sampled).collect();
        for (done, reply) in replies.iter().enumerate() {
            let seed = seed_of(&self.character().name, &reply.prompt, 0);
            if !self.is_done("reply_distinct2", &reply.id, seed) {
                let (text, num_tokens) = self.say(&reply.prompt, seed)?;
                let detail = object(&json!({
                    "user": reply.user, "reference": reply.text, "reply": text,
                    "adapter": self.model.adapter_hash(),
                }));
                let mut length = self.record("reply_tokens", &reply.id, seed, num_tokens as f64);
                length.detail = detail;
                let distinct = self.record("reply_distinct2", &reply.id, seed, distinct2(&text));
                self.log.append(vec![length, distinct])?;
            }
            if self.tell("sampled replies", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn say(&self, prompt: &str, seed: u64) -> EvalResult<(String, usize)> {
        let request = ReplyRequest {
            prompt: prompt.into(),
            sampling: TextSampling { seed, ..TextSampling::default() },
            max_tokens: self.plan.settings.max_reply_tokens,
            picture: None,
        };
        let reply = self.model.reply(&request, &mut |_| ControlFlow::Continue(()))?;
        Ok((reply.text, reply.num_tokens))
    }

    /// Held-out captions, then held-out prompts, each with the same seeds in every stage.
    fn pictures(&mut self) -> Flow {
        let items = draw_items(self.character(), &self.plan.settings);
        for (done, item) in items.iter().enumerate() {
            let mut vectors = Vec::new();
            for index in 0..self.plan.settings.num_seeds {
                let seed = seed_of(&self.character().name, &item.prompt, index);
                vectors.push(self.draw_one(item, seed)?);
            }
            if !self.is_done("vendi", &item.id, 0) {
                let mut records = Vec::new();
                if let (Some(spread), Some(number)) = (diversity(&vectors), vendi(&vectors)) {
                    records.push(self.record("diversity", &item.id, 0, spread));
                    records.push(self.record("vendi", &item.id, 0, number));
                }
                self.log.append(records)?;
            }
            if self.tell("pictures", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Draws, or finds the picture drawn before; returns its vector.
    fn draw_one(&mut self, item: &DrawItem, seed: u64) -> EvalResult<Vec<f32>> {
        let (file, picture) = self.drawn(&item.id, &item.prompt, seed)?;
        let vector = self.embed(&picture)?;
        if !self.is_done("ref_max", &item.id, seed) {
            let mut records = self.picture_records(&item.id, seed, &vector);
            if let Some(truth) = item.truth(&self.references[self.index]) {
                let value = likeness(&vector, truth);
                records.insert(0, self.record("clip_i_gt", &item.id, seed, value));
            }
            if let Some(texts) = self.plan.features.embed_texts(&[&item.prompt])? {
                let value = texts.first().map_or(0., |text| likeness(&vector, text));
                records.insert(0, self.record("clip_t", &item.id, seed, value));
            }
            let detail = object(&json!({
                "prompt": item.prompt, "file": file, "adapter": self.model.adapter_hash(),
                "truth": item.picture,
            }));
            for record in &mut records {
                record.slices.push(item.slice.into());
                record.detail.clone_from(&detail);
            }
            self.log.append(records)?;
        }
        Ok(vector)
    }

    fn embed(&self, picture: &RgbImage) -> EvalResult<Vec<f32>> {
        let picture = sized(picture, self.model.config());
        let mut vectors = self.plan.features.embed_pictures(&[&picture])?;
        vectors.pop().ok_or_else(|| EvalError::Request("the features gave no vector".into()))
    }

    fn picture_records(&self, item: &str, seed: u64, vector: &[f32]) -> Vec<Record> {
        compare(self.plan, self.references, self.index, vector)
            .into_iter()
            .map(|(task, value)| self.record(task, item, seed, value))
            .collect()
    }

    /// The picture of a prompt and seed and its file in the run's folder.
    fn drawn(&self, item: &str, prompt: &str, seed: u64) -> EvalResult<(String, RgbImage)> {
        let name = format!("{}-{seed}.png", file_name(item));
        let folder = [PICTURES_FOLDER, self.stage, &file_name(&self.character().name)];
        let relative: PathBuf = folder.iter().collect::<PathBuf>().join(name);
        let path = self.plan.out.join(&relative);
        let shown = relative.to_string_lossy().replace('\\', "/");
        if path.exists() {
            return Ok((shown, load_rgb(&path)?));
        }
        let flow = FlowSampling::from_defaults(&self.model.config().generation, seed);
        let request = DrawRequest { prompt: prompt.into(), reference: None, flow };
        let drawing = self.model.draw(&request, &mut |_| ControlFlow::Continue(()))?;
        let mut bytes = std::io::Cursor::new(Vec::new());
        let doing = "saving a drawn picture";
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| EvalError::io(doing, folder, e))?;
        }
        drawing
            .image
            .write_to(&mut bytes, image::ImageFormat::Png)
            .map_err(|e| EvalError::io(doing, &path, std::io::Error::other(e)))?;
        crate::run::write(&path, bytes.get_ref())?;
        Ok((shown, drawing.image))
    }

    /// Test scenes: the person's line, a sampled reply, and the picture of both.
    fn reply_pictures(&mut self) -> Flow {
        let character = self.character().clone();
        let scenes: Vec<&Scene> = character
            .scenes
            .iter()
            .filter(|scene| scene.split == Split::Test && scene.picture().is_some())
            .take(self.plan.settings.num_scenes)
            .collect();
        let (mut vectors, mut replies, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (done, scene) in scenes.iter().enumerate() {
            let Some((user, _)) = first_exchange(scene) else { continue };
            for index in 0..self.plan.settings.num_scene_seeds {
                let seed = seed_of(&character.name, &scene.id, index);
                let (vector, reply) = self.answer_and_draw(&character, scene, user, seed)?;
                vectors.push(vector);
                replies.push(reply);
                ids.push((scene.id.clone(), seed));
            }
            if self.tell("reply pictures", done + 1, scenes.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let texts: Vec<&str> = replies.iter().map(String::as_str).collect();
        if let Some(texts) = self.plan.features.embed_texts(&texts)? {
            let values = agreement(&vectors, &texts);
            let records = ids
                .iter()
                .zip(values)
                .map(|((id, seed), value)| self.record("t2t2i_agreement", id, *seed, value));
            let records = records.collect();
            self.log.append(records)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn answer_and_draw(
        &mut self,
        character: &Character,
        scene: &Scene,
        user: &str,
        seed: u64,
    ) -> EvalResult<(Vec<f32>, String)> {
        let done = self.record("t2t2i_ref", &scene.id, seed, 0.).key();
        let before = self.log.records().iter().find(|record| record.key() == done);
        let reply = match before.map(|record| record.text("reply").to_owned()) {
            Some(reply) => reply,
            None => self.say(&reply_prompt(character, user), seed)?.0,
        };
        let description = character.description();
        let prompt = prompts::scene_picture(&ScenePicture {
            description: &description,
            user,
            response: &reply,
        });
        let item = format!("scene-{}", scene.id);
        let (file, picture) = self.drawn(&item, &prompt, seed)?;
        let vector = self.embed(&picture)?;
        if !self.log.has(&done) {
            let references = &self.references[self.index];
            let mut records = Vec::new();
            if let Some(truth) = scene.picture().and_then(|id| references.held_out.get(id)) {
                let value = likeness(&vector, truth);
                records.push(self.record("t2t2i_gt", &scene.id, seed, value));
            }
            for (task, value) in compare(self.plan, self.references, self.index, &vector) {
                match task {
                    "clip_i_ref" => {
                        records.push(self.record("t2t2i_ref", &scene.id, seed, value));
                    }
                    "identity" => {
                        records.push(self.record("t2t2i_identity", &scene.id, seed, value));
                    }
                    _ => {}
                }
            }
            // The record that marks the item as done is written last.
            records.sort_by_key(|record| record.task == "t2t2i_ref");
            let detail = object(&json!({
                "user": user, "reply": reply, "file": file, "truth": scene.picture(),
                "adapter": self.model.adapter_hash(),
            }));
            records.iter_mut().for_each(|record| record.detail.clone_from(&detail));
            self.log.append(records)?;
        }
        Ok((vector, reply))
    }

    /// Open prompts, answered by the model and scored by the judge that the user named.
    fn judged(&mut self) -> Flow {
        let Some(judge) = &self.plan.judge else { return Ok(ControlFlow::Continue(())) };
        let character = self.character().clone();
        for (kind, task) in [
            (QuestionKind::Memorization, "judge_memorization"),
            (QuestionKind::Personality, "judge_personality"),
        ] {
            let questions = character.questions.iter().filter(|q| q.kind == kind);
            let questions: Vec<&Question> = questions.filter(|q| q.dropped.is_none()).collect();
            let questions: Vec<&Question> =
                spread(questions, self.plan.settings.num_judged).collect();
            for (done, question) in questions.iter().enumerate() {
                let seed = seed_of(&character.name, &question.question, 0);
                if !self.is_done(task, &question.id, seed) {
                    let (reply, _) =
                        self.say(&reply_prompt(&character, &question.question), seed)?;
                    let verdict = judge.score(&character, kind, &question.question, &reply)?;
                    if let Some(verdict) = verdict {
                        let mut record = self.record(task, &question.id, seed, verdict.score);
                        record.detail = object(&json!({
                            "user": question.question, "reply": reply,
                            "reasoning": verdict.reasoning, "adapter": self.model.adapter_hash(),
                        }));
                        self.log.append(vec![record])?;
                    } else {
                        let record = self.record("judge_unreadable", &question.id, seed, 1.);
                        self.log.append(vec![record])?;
                    }
                }
                if self.tell("judged replies", done + 1, questions.len()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What a picture's vector says, by task; the last entry is `ref_max`.
fn compare(
    plan: &Plan,
    references: &[References],
    index: usize,
    vector: &[f32],
) -> Vec<(&'static str, f64)> {
    let mut values = Vec::new();
    let flag = |is: bool| f64::from(u8::from(is));
    let with_pictures: Vec<usize> =
        (0..references.len()).filter(|i| !references[*i].train.is_empty()).collect();
    let centroids: Vec<Vec<f32>> =
        with_pictures.iter().map(|i| references[*i].centroid.clone()).collect();
    if let Some(found) = nearest(vector, &centroids) {
        values.push(("identity", flag(with_pictures[found] == index)));
    }
    let bands = plan.features.bands();
    if let Some(found) = against(vector, &references[index].train, bands) {
        values.push(("copy_rate", flag(found.is_copy)));
        values.push(("lost_identity", flag(found.is_lost)));
        values.push(("clip_i_ref", found.mean));
        values.push(("ref_max", found.max));
    }
    values
}

/// Baselines beside the models: real held-out pictures, copied training pictures, pictures of
/// another character, and the constant letter.
pub(crate) fn baselines(
    plan: &Plan,
    references: &[References],
    log: &mut RecordLog,
) -> EvalResult<()> {
    for (index, subject) in plan.subjects.iter().enumerate() {
        let (own, name) = (&references[index], &subject.character.name);
        let mut records = Vec::new();
        for (id, truth) in &own.held_out {
            records.push(Record::new("real", name, "clip_i_gt", id, 0, likeness(truth, truth)));
            for (task, value) in compare(plan, references, index, truth) {
                records.push(Record::new("real", name, task, id, 0, value));
            }
            for (copied, picture) in own.train.iter().enumerate() {
                let value = likeness(picture, truth);
                records.push(Record::new("copy", name, "clip_i_gt", id, copied as u64, value));
            }
        }
        for (copied, picture) in own.train.iter().enumerate() {
            for (task, value) in compare(plan, references, index, picture) {
                let item = format!("train-{copied}");
                records.push(Record::new("copy", name, task, &item, 0, value));
            }
        }
        let other = &references[(index + 1) % references.len()];
        if references.len() > 1 {
            for (id, picture) in &other.held_out {
                for (task, value) in compare(plan, references, index, picture) {
                    records.push(Record::new("other", name, task, id, 0, value));
                }
            }
        }
        records.extend(constant_letter(plan, &subject.character));
        log.append(records)?;
    }
    Ok(())
}

/// Real replies of the character and of another one, scored by the judge: their distance says
/// whether the judge is of use.
pub(crate) fn judge_anchors(plan: &Plan, log: &mut RecordLog) -> EvalResult<()> {
    let Some(judge) = &plan.judge else { return Ok(()) };
    for (index, subject) in plan.subjects.iter().enumerate() {
        let own = train_exchanges(&subject.character);
        let other = &plan.subjects[(index + 1) % plan.subjects.len()].character;
        let strange = train_exchanges(other);
        for (number, (user, reply)) in own.iter().take(NUM_ANCHORS).enumerate() {
            let mut anchors = vec![("real", *reply)];
            if plan.subjects.len() > 1 {
                anchors.extend(strange.get(number).map(|(_, reply)| ("other", *reply)));
            }
            for (stage, reply) in anchors {
                let (name, task) = (&subject.character.name, "judge_personality");
                let mut record = Record::new(stage, name, task, &format!("anchor-{number}"), 0, 0.);
                if log.has(&record.key()) {
                    continue;
                }
                let kind = QuestionKind::Personality;
                if let Some(verdict) = judge.score(&subject.character, kind, user, reply)? {
                    record.value = verdict.score;
                    log.append(vec![record])?;
                }
            }
        }
    }
    Ok(())
}

fn train_exchanges(character: &Character) -> Vec<(&str, &str)> {
    let train = character.scenes.iter().filter(|scene| scene.split == Split::Train);
    train.filter_map(first_exchange).collect()
}

/// What always answering the commonest key of all given characters scores in the original order.
fn constant_letter(plan: &Plan, character: &Character) -> Vec<Record> {
    let mut records = Vec::new();
    for (kind, task) in [
        (QuestionKind::KnowledgeChoice, "knowledge_letter"),
        (QuestionKind::PictureChoice, "picture_letter"),
    ] {
        let all = plan.subjects.iter().flat_map(|s| &s.character.questions);
        let counts = choice::key_counts(all.filter(|q| q.kind == kind));
        let Some((letter, _)) = counts.iter().max_by_key(|(_, count)| **count) else { continue };
        for question in character.questions.iter().filter(|q| q.kind == kind) {
            let value = f64::from(u8::from(question.answer_key.as_ref() == Some(letter)));
            let (stage, name) = ("constant", &character.name);
            records.push(Record::new(stage, name, task, &question.id, 0, value));
        }
    }
    records
}

/// A test reply with its prompt.
struct TestReply {
    id: String,
    prompt: String,
    user: String,
    text: String,
}

/// Replies kept back from training, with the prompts of training.
fn test_replies(character: &Character) -> Vec<TestReply> {
    let options = SampleOptions { kinds: [SampleKind::RolePlay].into(), ..Default::default() };
    let samples = training_samples(character, &options);
    let held = samples.into_iter().filter(|sample| sample.held_out);
    held.filter_map(|sample| match sample.blocks.as_slice() {
        [SampleBlock::Text { text: prompt, .. }, SampleBlock::Text { text, .. }] => {
            let user = prompt.split("\n\nUser Input: ").nth(1)?;
            let user = user.split("\n\nBased on the character description").next()?;
            Some(TestReply {
                id: sample.id,
                prompt: prompt.clone(),
                user: user.to_owned(),
                text: text.clone(),
            })
        }
        _ => None,
    })
    .collect()
}

/// The prompt of a reply to a first line.
pub(crate) fn reply_prompt(character: &Character, user: &str) -> String {
    prompts::role_play(&RolePlay {
        description: &character.description(),
        opening: &character.greeting,
        history: &[],
        user,
        name: character.prompt_name(),
    })
}

/// First line of the person with the reply to it.
fn first_exchange(scene: &Scene) -> Option<(&str, &str)> {
    scene.turns.windows(2).find_map(|pair| match pair {
        [user, reply] if user.role == Speaker::User && reply.role == Speaker::Character => {
            Some((user.text.as_str(), reply.text.as_str()))
        }
        _ => None,
    })
}

fn train_lines(character: &Character) -> HashSet<String> {
    let train = character.scenes.iter().filter(|scene| scene.split == Split::Train);
    let turns = train.flat_map(|scene| &scene.turns);
    turns.filter(|turn| turn.role == Speaker::User).map(|turn| loose(&turn.text)).collect()
}

fn known_questions(character: &Character, kind: QuestionKind) -> HashSet<String> {
    let train = character.questions.iter().filter(|q| q.split == Split::Train && q.kind == kind);
    train.map(|q| loose(&q.question)).collect()
}

/// `seen` when the text occurs in the training material, else `clean`.
fn seen_slice(known: &HashSet<String>, text: &str) -> &'static str {
    if known.contains(&loose(text)) { "seen" } else { "clean" }
}

/// Letters and digits of a text in lower case.
fn loose(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn choices(character: &Character, kind: QuestionKind) -> Vec<(Item, Question)> {
    let questions = character.questions.iter().filter(|q| q.kind == kind);
    questions.filter_map(|q| Some((Item::of(q)?, q.clone()))).collect()
}

/// At most `limit` items, spread evenly over the list, in its order.
fn spread<T>(items: Vec<T>, limit: usize) -> impl Iterator<Item = T> {
    let n = items.len();
    let keep = limit.min(n);
    let chosen: HashSet<usize> = (0..keep).map(|i| i * n / keep.max(1)).collect();
    items.into_iter().enumerate().filter(move |(i, _)| chosen.contains(i)).map(|(_, item)| item)
}

/// A prompt to draw.
struct DrawItem {
    id: String,
    prompt: String,
    slice: &'static str,
    /// Id of the held-out picture of the same prompt.
    picture: Option<String>,
}

impl DrawItem {
    fn truth<'a>(&self, references: &'a References) -> Option<&'a Vec<f32>> {
        references.held_out.get(self.picture.as_ref()?)
    }
}

fn draw_items(character: &Character, settings: &crate::run::Settings) -> Vec<DrawItem> {
    let captioned = |split: Split| -> Vec<&Picture> {
        let pictures = character.pictures.iter().filter(move |p| p.split == split);
        pictures.filter(|p| !p.caption.trim().is_empty()).collect()
    };
    let (mut pictures, mut slice) = (captioned(Split::Test), "captions");
    if pictures.is_empty() {
        (pictures, slice) = (captioned(Split::Train), "seen captions");
        pictures.truncate(settings.num_captions.min(3));
    }
    let captions = spread(pictures, settings.num_captions).map(|picture| DrawItem {
        id: picture.id.clone(),
        prompt: picture.caption.clone(),
        slice,
        picture: (picture.split == Split::Test).then(|| picture.id.clone()),
    });
    let prompts = spread(held_out_prompts(character), settings.num_prompts);
    let prompts = prompts.map(|prompt| DrawItem {
        id: format!("prompt-{}", prompt.id),
        prompt: prompt.text.clone(),
        slice: "prompts",
        picture: None,
    });
    captions.chain(prompts).collect()
}

/// Picture prompts that stage 2 must not learn from: those marked as test, else a fifth chosen by
/// the hash of their text, so that repeats of one prompt stay together.
pub(crate) fn held_out_prompts(character: &Character) -> Vec<&PicturePrompt> {
    let marked: Vec<&PicturePrompt> =
        character.prompts.iter().filter(|prompt| prompt.split == Split::Test).collect();
    let mut texts = HashSet::new();
    if !marked.is_empty() {
        return marked.into_iter().filter(|prompt| texts.insert(loose(&prompt.text))).collect();
    }
    let mut unmarked: Vec<&PicturePrompt> =
        character.prompts.iter().filter(|prompt| texts.insert(loose(&prompt.text))).collect();
    let keep = unmarked.len() / HELD_OUT_PROMPTS;
    unmarked.sort_by_cached_key(|prompt| *blake3::hash(prompt.text.as_bytes()).as_bytes());
    unmarked.truncate(keep);
    unmarked
}

/// Seed of a character's item: the same in every stage and on every machine. It fits the seeds of
/// the command line, so that every picture can be made again with `troupe draw`.
pub(crate) fn seed_of(character: &str, item: &str, index: usize) -> u64 {
    let hash = blake3::hash(format!("{character}\n{item}\n{index}").as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d]) >> 1)
}

/// Share of neighbouring word pairs that are different; 1 for fewer than two words.
fn distinct2(text: &str) -> f64 {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let pairs: HashSet<&[String]> = words.windows(2).collect();
    if words.len() < 2 { 1. } else { pairs.len() as f64 / (words.len() - 1) as f64 }
}

fn file_name(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = text.chars().map(safe).take(60).collect();
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        name.push_str(&blake3::hash(text.as_bytes()).to_hex()[..6]);
    }
    name
}

fn object(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_takes_evenly_and_keeps_the_order() {
        let taken: Vec<usize> = spread((0..10).collect(), 4).collect();
        assert_eq!(taken, [0, 2, 5, 7]);
        assert_eq!(spread(vec![1, 2], 9).count(), 2);
        assert_eq!(spread(Vec::<u8>::new(), 9).count(), 0);
    }

    #[test]
    fn pairs_of_words_are_counted() {
        // "a b", "b a", "a b": two of three differ.
        assert!((distinct2("a b a b") - 2. / 3.).abs() < 1e-12);
        assert_eq!(distinct2("one"), 1.);
    }

    #[test]
    fn seeds_differ_by_item_and_never_by_machine() {
        assert_eq!(seed_of("Pip", "x", 0), seed_of("Pip", "x", 0));
        assert_ne!(seed_of("Pip", "x", 0), seed_of("Pip", "x", 1));
        assert!(seed_of("Pip", "x", 0) <= u64::from(u32::MAX));
    }

    #[test]
    fn a_fifth_of_unmarked_prompts_is_held_out_once_a_text() {
        let prompt = |id: usize, text: String| PicturePrompt {
            id: id.to_string(),
            text,
            ..Default::default()
        };
        let mut character = Character {
            prompts: (0..20).map(|i| prompt(i, format!("Pip {}", i / 2))).collect(),
            ..Character::default()
        };
        assert_eq!(held_out_prompts(&character).len(), 2, "a fifth of ten different texts");
        character.prompts[3].split = Split::Test;
        assert_eq!(held_out_prompts(&character).len(), 1);
    }
}
