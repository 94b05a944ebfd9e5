//! A stage-2 run from a stage-1 adapter to a refined one, resumable to the bit.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::PathBuf,
    time::Instant,
};

use candle_core::{Device, Tensor};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_character::{Character, PicturePrompt};
use troupe_model::context::Context;
use troupe_nn::adamw::{AdamW, AdamWConfig, Ema};

use super::{
    advantage::{GroupRewards, advantages, mean_std, tied_share},
    alarm::Trials,
    judges::{FlowAlignment, Judges, Places, contexts_by_text},
    policy::{NetworkPolicy, Student},
    profile::GrpoProfile,
    prompts::{PromptSet, epoch_prompts, prompt_set},
    rewards::{
        Group,
        similarity::{SimilarityBand, take_shares},
    },
    sampler::{NoiseKey, Policy, Schedule, Trajectories, rollout, window_start},
    trial::real_pictures,
    update::{Learner, Scored, UpdateStats},
};
use crate::{
    checkpoint,
    error::{TrainError, TrainResult},
    events::{Control, EpochEvent, Outcome, Remark, RunPhase, Spread, TrainEvent, Watcher},
    sft::{BEST, CHECKPOINTS},
    taught::{Material, save_grpo},
};

/// Everything that determines a run; in `run.toml` of its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrpoJob {
    /// The base model's folder.
    pub model_dir: PathBuf,
    /// The person's own folder of judges ([`troupe_model::foreign`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judges_dir: Option<PathBuf>,
    /// The character's folder.
    pub character_dir: PathBuf,
    /// The stage-1 adapter's folder.
    pub adapter_dir: PathBuf,
    /// The run's folder: samples, checkpoints and the adapter go there.
    pub run_dir: PathBuf,
    /// Seed of all choices and noise.
    pub seed: u64,
    /// The numbers.
    pub profile: GrpoProfile,
}

impl GrpoJob {
    /// Where its judges are looked for.
    fn places(&self) -> Places<'_> {
        Places { model_dir: &self.model_dir, judges_dir: self.judges_dir.as_deref() }
    }
}

/// How a run ends that was told so.
fn ended_by(control: Control) -> Option<Outcome> {
    match control {
        Control::Continue => None,
        Control::Pause => Some(Outcome::Paused),
        Control::Stop => Some(Outcome::Stopped),
    }
}

/// File of the trials in a run.
pub const TRIALS: &str = "trials.json";

/// State beside a checkpoint's tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    epoch: usize,
    optimiser_steps: u64,
    stage1: String,
    /// Mean rewards since the last trial.
    rewards: Vec<f64>,
    /// Codes of [`Judges::notes`]: who judged what.
    #[serde(default)]
    judges: Vec<String>,
    /// The band in force, which others' pictures calibrate: there may be more of them by now.
    band: Option<SimilarityBand>,
    /// Hash of the material.
    #[serde(default)]
    data: String,
}

pub(super) struct Run<'a> {
    pub(super) job: &'a GrpoJob,
    material: Material,
    pub(super) student: Student,
    pub(super) stage1: String,
    pub(super) judges: Judges,
    pub(super) prompts: PromptSet,
    pub(super) contexts: Vec<Context>,
    pub(super) held_contexts: Vec<Context>,
    pub(super) by_text: HashMap<String, Context>,
    pub(super) empty: Context,
    pub(super) real: Vec<(Tensor, Context)>,
    pub(super) optimiser: AdamW,
    pub(super) average: Option<Ema>,
    pub(super) trials: Trials,
    pub(super) epoch: usize,
    pub(super) rewards: Vec<f64>,
}

/// Runs or resumes a job. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, adapter, character or run folder are unusable, or the loss diverges. Checkpoints stay.
pub fn run(job: &GrpoJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(RunPhase::LoadingStage1.into());
    let mut run = Run::prepare(job)?;
    let has_changed = run.resume()?;
    watch(TrainEvent::Started {
        step: run.epoch,
        num_steps: job.profile.epochs,
        num_trainable: run.student.vars.values().map(|v| v.elem_count()).sum(),
        num_text_samples: 0,
        num_picture_samples: run.prompts.learned.len(),
    });
    if has_changed {
        watch(TrainEvent::Note(Remark::material_changed()));
    }
    run.tell_notes(watch);
    if !run.trials.has(run.epoch) && run.is_trial_due() {
        run.hold_trial(watch)?;
    }
    let outcome = run.train(watch)?;
    if outcome != Outcome::Paused {
        watch(RunPhase::WritingAdapter.into());
        run.export(watch)?;
    }
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

impl<'a> Run<'a> {
    fn prepare(job: &'a GrpoJob) -> TrainResult<Self> {
        let profile = &job.profile;
        let character = Character::load(&job.character_dir)?;
        let prompts = prompt_set(&character, profile.watch.held_out_share)?;
        let student = Student::load(&job.model_dir, &job.adapter_dir, &profile.optim, job.seed)?;
        let judges = Judges::prepare(job.places(), &character, profile)?;
        let texts = |all: &[PicturePrompt]| all.iter().map(|p| p.text.clone()).collect::<Vec<_>>();
        let (learned, held) = (texts(&prompts.learned), texts(&prompts.held_out));
        let all: Vec<PicturePrompt> =
            prompts.learned.iter().chain(&prompts.held_out).cloned().collect();
        let optim = &profile.optim;
        let config = AdamWConfig {
            beta1: optim.betas[0],
            beta2: optim.betas[1],
            eps: optim.eps,
            weight_decay: optim.weight_decay,
        };
        let vars = student.vars.iter().map(|(n, v)| (n.clone(), v.clone()));
        let optimiser = AdamW::new(vars, config, |_| optim.lr);
        let average = (optim.ema > 0.).then(|| Ema::new(optimiser.vars(), optim.ema));
        let file = troupe_model::adapter::adapter_file(&job.adapter_dir);
        Ok(Self {
            stage1: troupe_model::weights::hash_files(&[file])?,
            contexts: student.contexts(learned.iter().map(String::as_str))?,
            held_contexts: student.contexts(held.iter().map(String::as_str))?,
            by_text: contexts_by_text(&student, &all)?,
            real: real_pictures(&student, &character)?,
            average: average.transpose()?,
            trials: Trials::load(&job.run_dir.join(TRIALS))?,
            empty: Context::new(),
            rewards: Vec::new(),
            epoch: 0,
            optimiser,
            prompts,
            judges,
            student,
            material: Material::of(&character)?,
            job,
        })
    }

    fn tell_notes(&self, watch: Watcher) {
        if self.prompts.is_drafted {
            let text = "Prompts were drafted from looks and expressions; edit prompts.jsonl.";
            watch(TrainEvent::Note(Remark::new("drafted-prompts", text)));
        }
        for remark in &self.judges.notes {
            watch(TrainEvent::Note(remark.clone()));
        }
        let [low, high] =
            [self.judges.band.low, self.judges.band.high].map(|bound| format!("{bound:.3}"));
        let text = format!("Likeness may lie between {low} and {high}.");
        let remark = Remark::new("likeness-band", text).with("low", low).with("high", high);
        watch(TrainEvent::Note(remark));
    }

    /// Takes up the newest checkpoint, if there is one. True when its material was other than this.
    fn resume(&mut self) -> TrainResult<bool> {
        let dir = self.job.run_dir.join(CHECKPOINTS);
        let found = checkpoint::load_latest::<State>(&dir)?;
        self.trials.rewind(found.as_ref().map_or(0, |(_, state)| state.epoch));
        let Some((tensors, state)) = found else { return Ok(false) };
        if state.stage1 != self.stage1 {
            return Err(TrainError::Malformed {
                what: "the checkpoint",
                reason: "the stage-1 adapter has changed since; start a new run".into(),
                path: dir,
            });
        }
        let judges = self.judges.codes();
        if !state.judges.is_empty() && state.judges != judges {
            return Err(TrainError::Malformed {
                what: "the checkpoint",
                reason: format!(
                    "others judged so far ({}, now {}), and their rewards cannot be compared; put \
                     the files of the judges back as they were, or start a new run",
                    state.judges.join(", "),
                    judges.join(", ")
                ),
                path: dir,
            });
        }
        self.set_weights(&tensors)?;
        if let Some(average) = &mut self.average {
            average.load(&with_prefix(&tensors, "average."))?;
        }
        self.optimiser.load_state(&tensors, state.optimiser_steps)?;
        (self.epoch, self.rewards) = (state.epoch, state.rewards);
        self.judges.band = state.band.unwrap_or(self.judges.band);
        Ok(!state.data.is_empty() && state.data != self.material.hash)
    }

    fn set_weights(&self, tensors: &HashMap<String, Tensor>) -> TrainResult<()> {
        let weights = with_prefix(tensors, "weight.");
        if let Some(name) = self.student.vars.keys().find(|name| !weights.contains_key(*name)) {
            return Err(TrainError::Malformed {
                what: "the checkpoint",
                reason: format!("it does not hold {name}; it belongs to another profile"),
                path: self.job.run_dir.clone(),
            });
        }
        self.student.swap(&weights)?;
        Ok(())
    }

    pub(super) fn weights(&self) -> HashMap<String, Tensor> {
        let named = |(name, var): (&String, &candle_core::Var)| {
            (format!("weight.{name}"), var.as_tensor().clone())
        };
        self.student.vars.iter().map(named).collect()
    }

    fn save(&self, watch: Watcher) -> TrainResult<()> {
        let mut tensors = self.optimiser.state()?;
        tensors.extend(self.weights());
        if let Some(average) = &self.average {
            let averages = average.tensors(self.optimiser.vars())?;
            tensors.extend(averages.into_iter().map(|(n, t)| (format!("average.{n}"), t)));
        }
        let state = State {
            epoch: self.epoch,
            optimiser_steps: self.optimiser.num_steps(),
            stage1: self.stage1.clone(),
            rewards: self.rewards.clone(),
            judges: self.judges.codes(),
            band: Some(self.judges.band),
            data: self.material.hash.clone(),
        };
        let dir = self.job.run_dir.join(CHECKPOINTS);
        let folder = checkpoint::save(&dir, self.epoch, &tensors, &state)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        watch(TrainEvent::Checkpoint { step: self.epoch, file: format!("{CHECKPOINTS}/{name}") });
        Ok(())
    }

    fn train(&mut self, watch: Watcher) -> TrainResult<Outcome> {
        let settings = &self.job.profile.watch;
        while self.epoch < self.job.profile.epochs {
            if let Some(why) = self.trials.alarm(settings) {
                let epoch = self.epoch;
                let text = format!("Ended early: {}.", why.text);
                watch(TrainEvent::Alarm { epoch, why: Remark { text, ..why } });
                break;
            }
            let event = match self.train_epoch(watch)? {
                ControlFlow::Continue(event) => event,
                ControlFlow::Break(outcome) => {
                    self.save(watch)?;
                    return Ok(outcome);
                }
            };
            self.epoch += 1;
            let control = watch(TrainEvent::Epoch(Box::new(event)));
            let trial = self.is_trial_due();
            let save = settings.save_every;
            if trial
                || control != Control::Continue
                || (save > 0 && self.epoch.is_multiple_of(save))
            {
                self.save(watch)?;
            }
            if let Some(outcome) = ended_by(control) {
                return Ok(outcome);
            }
            if trial {
                self.hold_trial(watch)?;
            }
        }
        Ok(Outcome::Finished)
    }

    fn is_trial_due(&self) -> bool {
        let every = self.job.profile.watch.eval_every;
        self.epoch == 0
            || self.epoch == self.job.profile.epochs
            || (every > 0 && self.epoch.is_multiple_of(every))
    }

    pub(super) fn policy<'r>(&'r self, contexts: &'r [Context]) -> NetworkPolicy<'r> {
        NetworkPolicy {
            model: &self.student.model,
            contexts,
            empty: &self.empty,
            grid: self.student.grid(),
            sampler: &self.job.profile.sampler,
        }
    }

    pub(super) fn flow(&self) -> FlowAlignment<'_> {
        FlowAlignment {
            model: &self.student.model,
            contexts: &self.by_text,
            empty: &self.empty,
            grid: self.student.grid(),
        }
    }

    pub(super) fn images(&self, parts: &[Trajectories]) -> TrainResult<Vec<RgbImage>> {
        let (rows, columns) = self.student.grid();
        let mut images = Vec::new();
        for part in parts {
            for slot in 0..part.latents.dim(0)? {
                let latents = part.latents.get(slot)?;
                images.push(self.student.model.latents_picture(&latents, rows, columns)?);
            }
        }
        Ok(images)
    }

    /// One epoch: draw, score, learn. Between groups, and until it learns, it can be broken off: nothing
    /// has changed then, and the epoch is done anew later.
    fn train_epoch(&mut self, watch: Watcher) -> TrainResult<ControlFlow<Outcome, EpochEvent>> {
        let (profile, seed, epoch) = (&self.job.profile, self.job.seed, self.epoch);
        let started = Instant::now();
        let start = window_start(profile, seed, epoch);
        let schedule = Schedule::stochastic(&profile.sampler, start);
        let key = NoiseKey {
            seed,
            epoch,
            num_prompts: self.prompts.learned.len(),
            group: profile.images_per_prompt,
        };
        let chosen =
            epoch_prompts(seed, epoch, self.prompts.learned.len(), profile.prompts_per_epoch);
        let policy = self.policy(&self.contexts);
        let mut groups = Vec::new();
        for prompt in &chosen {
            if let Some(outcome) = ended_by(watch(RunPhase::Drawing.into())) {
                return Ok(ControlFlow::Break(outcome));
            }
            groups.push(rollout(
                &policy,
                &schedule,
                &profile.sampler,
                &key,
                *prompt,
                &Device::Cpu,
            )?);
        }
        let rollout_secs = started.elapsed().as_secs_f64();
        if let Some(outcome) = ended_by(watch(RunPhase::Scoring.into())) {
            return Ok(ControlFlow::Break(outcome));
        }
        let scoring = Instant::now();
        let images: Vec<Vec<RgbImage>> =
            groups.iter().map(|g| self.images(g)).collect::<TrainResult<_>>()?;
        let (rewards, measured) = self.judges.rewards(profile, self.flow())?;
        let wants_reference = profile.loss.beta > 0.;
        let (scores, references) = self.student.as_stage1(|| {
            let scores = chosen.iter().zip(&images).map(|(prompt, images)| {
                rewards.score(&Group { prompt: &self.prompts.learned[*prompt], images })
            });
            let scores: Vec<GroupRewards> = scores.collect::<TrainResult<_>>()?;
            let means = |g: &Vec<Trajectories>| {
                if wants_reference {
                    reference_means(&policy, g)
                } else {
                    Ok(vec![Vec::new(); g.len()])
                }
            };
            Ok((scores, groups.iter().map(means).collect::<TrainResult<Vec<_>>>()?))
        })?;
        let band = take_shares(&measured, &self.judges.band);
        let names = rewards.names();
        drop(rewards);
        self.show_group(&chosen, &images, &scores, &names, watch)?;
        let score_secs = scoring.elapsed().as_secs_f64();
        if let Some(outcome) = ended_by(watch(RunPhase::Learning.into())) {
            return Ok(ControlFlow::Break(outcome));
        }
        let learning = Instant::now();
        let all = advantages(&scores, profile.loss.std_mode, profile.loss.adv_clamp);
        let mut scored = Vec::new();
        for ((group, advantages), references) in groups.into_iter().zip(&all).zip(references) {
            for (drawn, reference) in group.into_iter().zip(references) {
                let end = drawn.first + drawn.latents.dim(0)?;
                let advantages = advantages[drawn.first..end].to_vec();
                scored.push(Scored { drawn, advantages, reference });
            }
        }
        let stats = self.learn(&scored)?;
        let total: Vec<f64> = scores.iter().flat_map(|s| s.total.iter().copied()).collect();
        let (tied, group_std) = tied_share(&scores);
        let reward = spread(&total);
        self.rewards.push(reward.mean);
        if !stats.loss.is_finite() || stats.grad_norms.iter().any(|n| !n.is_finite()) {
            return Err(TrainError::Diverged { step: epoch + 1, loss: stats.loss });
        }
        Ok(ControlFlow::Continue(EpochEvent {
            epoch: epoch + 1,
            num_epochs: profile.epochs,
            reward,
            group_std,
            components: components(&names, &scores),
            band,
            clip_low: stats.clip_low,
            clip_high: stats.clip_high,
            ratio_std: stats.ratio_std,
            first_log_ratio: stats.first_log_ratio,
            approx_kl: stats.approx_kl,
            reference_kl: stats.reference_kl,
            loss: stats.loss,
            grad_norm: stats.grad_norms.iter().sum::<f64>() / stats.grad_norms.len().max(1) as f64,
            tied_share: tied,
            window_start: start,
            rollout_secs,
            score_secs,
            update_secs: learning.elapsed().as_secs_f64(),
        }))
    }

    fn learn(&mut self, scored: &[Scored]) -> TrainResult<UpdateStats> {
        let policy = NetworkPolicy {
            model: &self.student.model,
            contexts: &self.contexts,
            empty: &self.empty,
            grid: self.student.grid(),
            sampler: &self.job.profile.sampler,
        };
        let mut learner = Learner {
            optimiser: &mut self.optimiser,
            average: self.average.as_mut(),
            profile: &self.job.profile,
        };
        learner.learn(&policy, scored)
    }

    /// Keeps the epoch's first group as one strip, best picture first.
    fn show_group(
        &self,
        chosen: &[usize],
        images: &[Vec<RgbImage>],
        scores: &[GroupRewards],
        names: &[&'static str],
        watch: Watcher,
    ) -> TrainResult<()> {
        let every = self.job.profile.watch.eval_every.max(1);
        let (Some(prompt), Some(images), Some(score)) =
            (chosen.first(), images.first(), scores.first())
        else {
            return Ok(());
        };
        if !self.epoch.is_multiple_of(every) {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by(|a, b| score.total[*b].total_cmp(&score.total[*a]));
        let images: Vec<&RgbImage> = order.iter().map(|i| &images[*i]).collect();
        let file = self.write_strip(&format!("epoch-{:05}-group.png", self.epoch + 1), &images)?;
        let sorted = |(name, (_, values)): (&&str, &(f64, Vec<f64>))| {
            ((*name).to_owned(), order.iter().map(|i| values[*i]).collect())
        };
        watch(TrainEvent::Group {
            epoch: self.epoch + 1,
            prompt: self.prompts.learned[*prompt].text.clone(),
            file,
            rewards: order.iter().map(|i| score.total[*i]).collect(),
            components: names.iter().zip(&score.components).map(sorted).collect(),
        });
        Ok(())
    }

    /// Writes the adapter of the best trial, or of the last epoch where none was held.
    fn export(&self, watch: Watcher) -> TrainResult<()> {
        let best = self.trials.best(&self.job.profile.watch).filter(|epoch| *epoch != self.epoch);
        let mut kept = self.epoch;
        if let Some(epoch) = best {
            let (tensors, _) = checkpoint::load_from::<usize>(&self.job.run_dir.join(BEST))?;
            self.set_weights(&tensors)?;
            kept = epoch;
        } else if let Some(average) = &self.average {
            self.student.swap(&average.tensors(self.optimiser.vars())?)?;
        }
        if let Some(remark) = self.trials.verdict(&self.job.profile.watch) {
            watch(TrainEvent::Note(remark));
        }
        save_grpo(self.job, &self.student, &self.stage1, &self.material, kept)
    }
}

/// Means of every recorded step under the weights in place.
fn reference_means(policy: &dyn Policy, group: &[Trajectories]) -> TrainResult<Vec<Vec<Tensor>>> {
    let of = |part: &Trajectories| {
        let mean = |r: &super::sampler::Record| {
            let velocity = policy.velocity(part.prompt, &r.before, r.step.t)?.detach();
            Ok(r.step.mean(&r.before, &velocity)?)
        };
        part.records.iter().map(mean).collect()
    };
    group.iter().map(of).collect()
}

fn spread(values: &[f64]) -> Spread {
    let (mean, std) = mean_std(values);
    Spread { mean, std }
}

pub(super) fn components(
    names: &[&'static str],
    scores: &[GroupRewards],
) -> BTreeMap<String, Spread> {
    let values = |slot: usize| -> Vec<f64> {
        scores.iter().flat_map(|s| s.components[slot].1.iter().copied()).collect()
    };
    names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), spread(&values(i)))).collect()
}

/// Tensors whose names start with `prefix`, without it.
fn with_prefix(tensors: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let of = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
    };
    tensors.iter().filter_map(of).collect()
}
