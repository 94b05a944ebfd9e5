//! Pictures of one stage: from prompts, and from sampled replies.

use std::{ops::ControlFlow, path::PathBuf};

use image::RgbImage;
use serde_json::json;
use troupe_character::{
    Character, Scene,
    pictures::load_rgb,
    prompts::{self, ScenePicture},
};
use troupe_model::runtime::{DrawRequest, FlowSampling};

use super::{
    Bench, Flow,
    material::{
        DrawItem, draw_items, file_name, first_exchange, reply_prompt, seed_of, test_scenes,
    },
    object,
};
use crate::{
    error::{EvalError, EvalResult},
    features::likeness,
    pictures::{against, agreement, diversity, nearest, vendi},
    records::Record,
    run::{PICTURES_FOLDER, Plan, References, sized},
};

impl Bench<'_> {
    /// Held-out captions, then held-out prompts, each with the same seeds in every stage.
    pub(super) fn pictures(&mut self) -> Flow {
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
    pub(super) fn drawn(
        &self,
        item: &str,
        prompt: &str,
        seed: u64,
    ) -> EvalResult<(String, RgbImage)> {
        let name = format!("{}-{seed}.png", file_name(item));
        let folder = [PICTURES_FOLDER, self.stage, &file_name(&self.character().name)];
        let relative: PathBuf = folder.iter().collect::<PathBuf>().join(name);
        let path = self.plan.out.join(&relative);
        let shown = relative.to_string_lossy().replace('\\', "/");
        if path.exists() {
            return Ok((shown, load_rgb(&path)?));
        }
        let flow = FlowSampling::from_defaults(&self.model.config().generation, seed);
        let request = DrawRequest::new(prompt, flow);
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
    pub(super) fn reply_pictures(&mut self) -> Flow {
        let character = self.character().clone();
        let mut scenes = test_scenes(&character);
        scenes.truncate(self.plan.settings.num_scenes);
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
}

/// What a picture's vector says, by task; the last entry is `ref_max`.
pub(super) fn compare(
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
