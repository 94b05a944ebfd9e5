//! Trials on kept-back prompts, and the pictures that a run leaves behind.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use image::RgbImage;
use troupe_character::{Character, PicturePrompt, Split};
use troupe_model::{context::Context, image_ops::load_picture};

use super::{
    advantage::{GroupRewards, mean_std},
    alarm::Trial,
    judges::real_loss,
    policy::Student,
    rewards::{Group, Rewards},
    sampler::{NoiseKey, Schedule, rollout},
    trainer::{Run, TRIALS, components},
};
use crate::{
    checkpoint,
    error::{TrainError, TrainResult},
    events::{RunPhase, SampleOutput, TrainEvent, Watcher},
    sft::{BEST, SAMPLES},
};

/// Seed of trials, so that all trials of all runs draw from the same noise.
const TRIAL_SEED: u64 = 20_606;
/// Most real pictures that a trial explains.
const REAL_PICTURES: usize = 6;

impl Run<'_> {
    /// A trial on kept-back prompts, of the average if there is one.
    pub(super) fn hold_trial(&mut self, watch: Watcher) -> TrainResult<()> {
        watch(RunPhase::TryingPrompts.into());
        let present = match &self.average {
            Some(average) => Some(self.student.swap(&average.tensors(self.optimiser.vars())?)?),
            None => None,
        };
        let trial = self.trial(watch);
        let tensors: HashMap<String, Tensor> = self
            .weights()
            .into_iter()
            .map(|(n, t)| Ok((n, t.copy()?)))
            .collect::<Result<_, candle_core::Error>>()?;
        if let Some(present) = present {
            self.student.swap(&present)?;
        }
        let trial = trial?;
        self.rewards.clear();
        self.trials.add(trial.clone());
        if self.trials.best(&self.job.profile.watch) == Some(self.epoch) {
            checkpoint::save_to(&self.job.run_dir.join(BEST), &tensors, &self.epoch)?;
        }
        self.trials.save(&self.job.run_dir.join(TRIALS))?;
        watch(TrainEvent::Trial(Box::new(trial)));
        Ok(())
    }

    fn trial(&self, watch: Watcher) -> TrainResult<Trial> {
        let profile = &self.job.profile;
        let schedule = Schedule::deterministic(&profile.sampler);
        let num = self.prompts.held_out.len().min(profile.watch.eval_prompts);
        let key = NoiseKey {
            seed: TRIAL_SEED,
            epoch: 0,
            num_prompts: num.max(1),
            group: profile.watch.eval_pictures.max(2),
        };
        let policy = self.policy(&self.held_contexts);
        let mut drawn = Vec::new();
        for prompt in 0..num {
            let parts = rollout(&policy, &schedule, &profile.sampler, &key, prompt, &Device::Cpu)?;
            drawn.push(self.images(&parts)?);
        }
        let real = real_loss(&self.student.model, self.student.grid(), &self.real)?;
        let (rewards, _) = self.judges.rewards(profile, self.flow())?;
        let prompts = &self.prompts.held_out;
        let scores = self.student.as_stage1(|| score_all(&rewards, prompts, &drawn))?;
        let (mut likeness, mut variety) = (Vec::new(), Vec::new());
        for (index, images) in drawn.iter().enumerate() {
            let (near, far) = self.judges.shapes_of(images)?;
            likeness.push(near);
            variety.push(far);
            let name = format!("epoch-{:05}-trial-{index}.png", self.epoch);
            let file = self.write_strip(&name, &images.iter().collect::<Vec<_>>())?;
            watch(TrainEvent::Sample {
                step: self.epoch,
                kind: SampleOutput::Picture,
                prompt: prompts[index].text.clone(),
                text: None,
                file: Some(file),
            });
        }
        let total: Vec<f64> = scores.iter().flat_map(|s| s.total.iter().copied()).collect();
        let (mean, std) = mean_std(&total);
        let named = components(&rewards.names(), &scores);
        Ok(Trial {
            epoch: self.epoch,
            reward: mean,
            reward_error: std / (total.len().max(1) as f64).sqrt(),
            components: named.into_iter().map(|(name, s)| (name, s.mean)).collect(),
            independent: BTreeMap::from([
                ("likeness by shapes".into(), mean_std(&likeness).0),
                ("fit to real pictures".into(), -real),
            ]),
            diversity: mean_std(&variety).0,
            learned_reward: (!self.rewards.is_empty()).then(|| mean_std(&self.rewards).0),
        })
    }

    pub(super) fn write_strip(&self, name: &str, images: &[&RgbImage]) -> TrainResult<String> {
        let folder = self.job.run_dir.join(SAMPLES);
        let io = |source| TrainError::Io { what: "writing a sample", source, path: folder.clone() };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let (width, height) = images.first().map_or((1, 1), |i| i.dimensions());
        let mut strip = RgbImage::new(width * images.len().max(1) as u32, height);
        for (slot, image) in images.iter().enumerate() {
            image::imageops::replace(&mut strip, *image, i64::from(width) * slot as i64, 0);
        }
        let path = folder.join(name);
        strip.save(&path).map_err(|e| TrainError::Malformed {
            what: "the sample",
            reason: format!("it could not be written: {e}"),
            path: path.clone(),
        })?;
        Ok(format!("{SAMPLES}/{name}"))
    }
}

fn score_all(
    rewards: &Rewards,
    prompts: &[PicturePrompt],
    drawn: &[Vec<RgbImage>],
) -> TrainResult<Vec<GroupRewards>> {
    let group = |(prompt, images)| rewards.score(&Group { prompt, images });
    prompts.iter().zip(drawn.iter().map(Vec::as_slice)).map(group).collect()
}

/// Kept-back real pictures with their captions read; the learned ones where none are kept back.
pub(super) fn real_pictures(
    student: &Student,
    character: &Character,
) -> TrainResult<Vec<(Tensor, Context)>> {
    let with = |split: Split| {
        character.pictures.iter().filter(move |p| p.split == split && !p.caption.is_empty())
    };
    let mut chosen: Vec<_> = with(Split::Test).take(REAL_PICTURES).collect();
    if chosen.is_empty() {
        chosen = with(Split::Train).take(REAL_PICTURES).collect();
    }
    let contexts = student.contexts(chosen.iter().map(|p| p.caption.as_str()))?;
    let latents = chosen.iter().map(|picture| {
        let image = load_picture(&character.picture_path(picture))?;
        Ok(student.model.picture_latents(&image, TRIAL_SEED, 0)?.0)
    });
    Ok(latents.collect::<TrainResult<Vec<_>>>()?.into_iter().zip(contexts).collect())
}
