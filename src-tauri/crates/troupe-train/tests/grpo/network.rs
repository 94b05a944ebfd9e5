//! Stage 2 on a tiny network: what learns, what stays, and that runs resume to the bit.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::TempDir;
use troupe_character::{Character, Draft};
use troupe_model::{
    adapter::Adapter,
    context::Context,
    flow::{FlowContexts, FlowRun, FlowSampling},
    runtime::Model,
    tokens::TextRole,
};
use troupe_nn::{
    adamw::{AdamW, AdamWConfig},
    noise::{Noise, Stream},
};
use troupe_testkit::{dot_picture, write_tiny_model};
use troupe_train::{
    error::TrainResult,
    events::{Control, Outcome, RunPhase, TrainEvent},
    grpo::{
        policy::{NetworkPolicy, Student, is_trained},
        profile::{GrpoProfile, SamplerConfig},
        sampler::{NoiseKey, Policy, Schedule, Trajectories, rollout},
        trainer::{self, GrpoJob},
        update::{Learner, Scored},
    },
    recipe::SftRecipe,
    sft::{self, ADAPTER, SftJob},
};

use crate::common::scored;

fn png(image: RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image).write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

/// A base, a character and a short stage 1 in `dir`.
fn stage1(dir: &Path, mode: &str, num_steps: usize) -> TrainResult<()> {
    write_tiny_model(&dir.join("model"));
    let draft = Draft { name: "Pip".into(), ..Draft::default() };
    let mut character = Character::new(draft, dir.join("pip"))?;
    for number in 0..5 {
        character.add_picture(&png(dot_picture(number, 64)), "dot")?;
    }
    for (number, picture) in character.pictures.iter_mut().enumerate() {
        picture.caption = format!("Pip, dot {number}");
    }
    character.save()?;
    let recipe = SftRecipe { num_steps, pictures: 2, sample_every: 0, ..SftRecipe::default() }
        .set(&format!("mode={mode}"))?;
    let job = SftJob {
        model_dir: dir.join("model"),
        character_dir: dir.join("pip"),
        run_dir: dir.join("stage1"),
        seed: 1,
        recipe,
    };
    std::fs::create_dir_all(&job.run_dir).expect("a folder");
    sft::run(&job, &mut |_| Control::Continue)?;
    Ok(())
}

pub(crate) fn profile() -> GrpoProfile {
    let mut profile = GrpoProfile {
        epochs: 3,
        prompts_per_epoch: 2,
        images_per_prompt: 4,
        ..GrpoProfile::default()
    };
    profile.sampler.points = 6;
    profile.sampler.eval_points = 4;
    profile.optim.lr = 1e-3;
    profile.watch.eval_every = 1;
    profile.watch.eval_prompts = 2;
    profile.watch.eval_pictures = 2;
    profile.watch.patience = 0;
    profile.watch.diversity_loss = 1.;
    profile
}

pub(crate) fn job(dir: &Path, name: &str, profile: GrpoProfile) -> GrpoJob {
    let run_dir = dir.join(name);
    std::fs::create_dir_all(&run_dir).expect("a folder");
    GrpoJob {
        model_dir: dir.join("model"),
        judges_dir: Some(dir.join("judges")),
        character_dir: dir.join("pip"),
        adapter_dir: dir.join("stage1").join(ADAPTER),
        run_dir,
        seed: 5,
        profile,
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32));
    flat.and_then(|t| t.to_vec1()).expect("values")
}

/// Logits after a text, with and without a picture before it.
fn text_logits(model: &Model) -> TrainResult<Vec<Vec<f32>>> {
    let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, "Who are you?")?;
    let mut found = Vec::new();
    for with_picture in [false, true] {
        let mut context = Context::new();
        if with_picture {
            let picture = model.picture_for_vision(&dot_picture(1, 64))?;
            model.reader().read_picture(&mut context, &picture)?;
        }
        found.push(values(&model.reader().read_text_with_logits(&mut context, &ids)?));
    }
    Ok(found)
}

fn load(dir: &Path, adapter: &Path) -> TrainResult<Student> {
    Student::load(&dir.join("model"), adapter, &profile().optim, 1)
}

pub(crate) fn scratch(mode: &str, num_steps: usize) -> TrainResult<TempDir> {
    let dir = tempfile::tempdir().expect("a scratch folder");
    stage1(dir.path(), mode, num_steps)?;
    Ok(dir)
}

/// I-12, and that a run does all it should: the adapter of stage 2 differs from stage 1's in the
/// generation expert alone, and text logits are equal to the bit.
#[test]
fn only_the_generation_expert_learns() -> TrainResult<()> {
    for (mode, rank) in [("generation", 0), ("lora", 0), ("lora", 4)] {
        let dir = scratch(mode, 2)?;
        let dir = dir.path();
        let mut profile = profile();
        (profile.optim.lora_rank, profile.optim.lora_alpha) = (rank, 8.);
        // Keeps the last epoch whatever the trials say.
        profile.watch.eval_every = 0;
        let job = job(dir, "run", profile);
        let (mut epochs, mut trials, mut groups) = (0, 0, 0);
        let outcome = trainer::run(&job, &mut |event| {
            match event {
                TrainEvent::Epoch(done) => {
                    epochs += 1;
                    assert!(done.first_log_ratio == 0., "I-8: {}", done.first_log_ratio);
                    assert!(done.reward.mean.is_finite() && done.components.len() == 3);
                }
                TrainEvent::Trial(_) => trials += 1,
                TrainEvent::Group { file, .. } => {
                    assert!(job.run_dir.join(file).is_file());
                    groups += 1;
                }
                _ => {}
            }
            Control::Continue
        })?;
        assert_eq!((outcome, epochs, trials), (Outcome::Finished, 3, 2));
        assert!(groups > 0);
        let before = load(dir, &dir.join("stage1").join(ADAPTER))?;
        let after = load(dir, &job.run_dir.join(ADAPTER))?;
        assert_eq!(text_logits(&before.model)?, text_logits(&after.model)?, "{mode} {rank}");
        let read = |path: &Path| Adapter::load(path, &Device::Cpu);
        let (one, two) =
            (read(&dir.join("stage1").join(ADAPTER))?, read(&job.run_dir.join(ADAPTER))?);
        assert_eq!(two.config.stage, "grpo");
        for (name, weight) in one.weights.iter().filter(|(name, _)| !is_trained(name)) {
            assert_eq!(values(weight), values(&two.weights[name]), "{name}");
        }
        for (module, lora) in one.loras.iter().filter(|(module, _)| !is_trained(module)) {
            assert_eq!(values(&lora.b), values(&two.loras[module].b), "{module}");
        }
    }
    Ok(())
}

/// I-21: a paused run ends with the same weights as one that never paused.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() -> TrainResult<()> {
    let dir = scratch("generation", 2)?;
    let dir = dir.path();
    let (whole, parts) = (job(dir, "whole", profile()), job(dir, "parts", profile()));
    trainer::run(&whole, &mut |_| Control::Continue)?;
    let paused = trainer::run(&parts, &mut |event| match event {
        TrainEvent::Epoch(done) if done.epoch == 1 => Control::Pause,
        _ => Control::Continue,
    })?;
    assert_eq!(paused, Outcome::Paused);
    // In the middle of an epoch, whose pictures are drawn anew.
    for phase in [RunPhase::Drawing, RunPhase::Learning] {
        let paused = trainer::run(&parts, &mut |event| match event {
            TrainEvent::Phase { phase: Some(now), .. } if now == phase => Control::Pause,
            TrainEvent::Epoch(_) => panic!("the epoch was ended first"),
            _ => Control::Continue,
        })?;
        assert_eq!(paused, Outcome::Paused);
    }
    trainer::run(&parts, &mut |_| Control::Continue)?;
    let weights = |job: &GrpoJob| -> TrainResult<BTreeMap<String, Vec<f32>>> {
        let read = Adapter::load(&job.run_dir.join(ADAPTER), &Device::Cpu)?;
        Ok(read.weights.iter().map(|(name, t)| (name.clone(), values(t))).collect())
    };
    assert_eq!(weights(&whole)?, weights(&parts)?);
    Ok(())
}

/// A student with one prompt read, and guidance.
struct Bench {
    _dir: TempDir,
    student: Student,
    contexts: Vec<Context>,
    empty: Context,
    sampler: SamplerConfig,
}

impl Bench {
    fn new(cfg_scale: f64, cfg_detach: bool) -> TrainResult<Self> {
        Self::taught(cfg_scale, cfg_detach, 2)
    }

    fn taught(cfg_scale: f64, cfg_detach: bool, num_steps: usize) -> TrainResult<Self> {
        let dir = scratch("generation", num_steps)?;
        let student = load(dir.path(), &dir.path().join("stage1").join(ADAPTER))?;
        let contexts = student.contexts(["Pip in the sun"].into_iter())?;
        let sampler = SamplerConfig { cfg_scale, cfg_detach, ..profile().sampler };
        Ok(Self { _dir: dir, student, contexts, empty: Context::new(), sampler })
    }

    fn policy(&self) -> NetworkPolicy<'_> {
        NetworkPolicy {
            model: &self.student.model,
            contexts: &self.contexts,
            empty: &self.empty,
            grid: self.student.grid(),
            sampler: &self.sampler,
        }
    }

    fn draw(&self) -> TrainResult<Vec<Trajectories>> {
        let schedule = Schedule::stochastic(&self.sampler, 0);
        let key = NoiseKey { seed: 3, epoch: 0, num_prompts: 1, group: 4 };
        Ok(rollout(&self.policy(), &schedule, &self.sampler, &key, 0, &Device::Cpu)?)
    }

    fn gradient(&self, recompute: bool, all: &[Scored]) -> TrainResult<BTreeMap<String, Vec<f32>>> {
        let mut profile = profile();
        profile.optim.recompute = recompute;
        let vars = self.student.vars.iter().map(|(n, v)| (n.clone(), v.clone()));
        let mut optimiser = AdamW::new(vars, AdamWConfig::default(), |_| 1e-3);
        let learner = Learner { optimiser: &mut optimiser, average: None, profile: &profile };
        let (grads, _) = learner.gradients(&self.policy(), &all.iter().collect::<Vec<_>>())?;
        let sum = grads.sum().expect("gradients");
        let of =
            |(name, var): (&String, &candle_core::Var)| Some((name.clone(), values(sum.get(var)?)));
        Ok(self.student.vars.iter().filter_map(of).collect())
    }
}

/// I-2: without noise the rollout is the deterministic sampler, to the bit.
#[test]
fn no_noise_equals_the_deterministic_sampler() -> TrainResult<()> {
    for scale in [1., 3.] {
        let bench = Bench::new(scale, true)?;
        let key = NoiseKey { seed: 3, epoch: 0, num_prompts: 1, group: 1 };
        let schedule = Schedule::deterministic(&bench.sampler);
        let sampler = &bench.sampler;
        let parts = rollout(&bench.policy(), &schedule, sampler, &key, 0, &Device::Cpu)?;
        let model = &bench.student.model;
        let mut sampling = FlowSampling::from_defaults(&model.config().generation, 3);
        sampling.num_timesteps = sampler.eval_points;
        sampling.timestep_shift = sampler.shift;
        sampling.cfg_text_scale = scale;
        sampling.cfg_interval = sampler.cfg_interval;
        let (rows, columns) = bench.student.grid();
        let main = &bench.contexts[0];
        let contexts = FlowContexts { main, without_text: &bench.empty, without_image: main };
        let run = FlowRun { contexts, sampling: &sampling, rows, columns };
        let noise = Noise::new(3, Stream::InitialNoise, 0)
            .normal_tensor(bench.policy().shape(), &Device::Cpu)?;
        let (latents, _) = model
            .reader()
            .sample_latents(&run, &noise, &mut |_| std::ops::ControlFlow::Continue(()))?;
        let (got, want) = (values(&parts[0].latents), values(&latents));
        let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
        // Guided branches share one pass there and have one each here.
        assert!(far <= if scale > 1. { 1e-4 } else { 0. }, "{scale}: {far}");
    }
    Ok(())
}

/// I-16, I-20: running branches anew gives the same gradient, guidance never lengthens a velocity,
/// and equal contexts are no guidance.
#[test]
fn guidance_and_recomputed_gradients() -> TrainResult<()> {
    let bench = Bench::new(3., false)?;
    let all = scored(bench.draw()?, &[1., -0.5, 0.25, -0.75]);
    let (direct, again) = (bench.gradient(false, &all)?, bench.gradient(true, &all)?);
    assert_eq!(direct.len(), again.len());
    assert!(direct.len() > 10 && direct.keys().all(|name| is_trained(name)));
    for (name, a) in &direct {
        let top = a.iter().fold(0f32, |top, x| top.max(x.abs()));
        for (a, b) in a.iter().zip(&again[name]) {
            assert!((a - b).abs() <= 1e-3 * top + 1e-7, "{name}: {a} {b}");
        }
    }
    let xs = &all[0].drawn.records[0].before;
    let policy = bench.policy();
    let length = |t: &Tensor| values(t).iter().map(|x| x * x).sum::<f32>().sqrt();
    let (plain, guided) = (policy.branch(0, xs, 0.7, 0)?, policy.velocity(0, xs, 0.7)?);
    for picture in 0..4 {
        assert!(length(&guided.get(picture)?) <= length(&plain.get(picture)?) * 1.00001);
    }
    let same = policy.combine(0.7, &[plain.clone(), plain.clone()])?;
    let far = (same - &plain)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(far < 1e-4, "{far}");
    let detached = Bench::new(3., true)?;
    let (a, b) = (policy.velocity(0, xs, 0.7)?, detached.policy().velocity(0, xs, 0.7)?);
    assert!((a - b)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
    Ok(())
}

/// I-13, I-22: updates start at stage 1, stage 1 can be put back, and rewarding brightness brightens.
#[test]
fn rewarding_brightness_brightens() -> TrainResult<()> {
    // Fresh weights draw the same grey whatever the noise: there would be nothing to choose from.
    let bench = Bench::taught(1., true, 60)?;
    let brightness = || -> TrainResult<f32> {
        let schedule = Schedule::deterministic(&bench.sampler);
        let key = NoiseKey { seed: 9, epoch: 0, num_prompts: 1, group: 4 };
        let drawn = rollout(&bench.policy(), &schedule, &bench.sampler, &key, 0, &Device::Cpu)?;
        Ok(drawn[0].latents.mean_all()?.to_scalar::<f32>()?)
    };
    let before = brightness()?;
    let mut profile = profile();
    profile.updates_per_epoch = 1;
    let vars = bench.student.vars.iter().map(|(n, v)| (n.clone(), v.clone()));
    let mut optimiser = AdamW::new(vars, AdamWConfig::default(), |_| 1e-3);
    for epoch in 0..60 {
        let schedule = Schedule::stochastic(&bench.sampler, 0);
        let key = NoiseKey { seed: 3, epoch, num_prompts: 1, group: 16 };
        let sampler = &bench.sampler;
        let drawn = rollout(&bench.policy(), &schedule, sampler, &key, 0, &Device::Cpu)?;
        let of = |part: &Trajectories| part.latents.flatten_from(1)?.mean(1);
        let parts: Vec<Tensor> = drawn.iter().map(of).collect::<Result<_, _>>()?;
        let light: Vec<f64> = values(&Tensor::cat(&parts, 0)?).into_iter().map(f64::from).collect();
        let (mean, std) = troupe_train::grpo::advantage::mean_std(&light);
        let advantages: Vec<f64> = light.iter().map(|x| (x - mean) / (std + 1e-6)).collect();
        let all = scored(drawn, &advantages);
        let mut learner = Learner { optimiser: &mut optimiser, average: None, profile: &profile };
        learner.learn(&bench.policy(), &all)?;
    }
    let after = brightness()?;
    assert!(after > before + 0.004, "{before} → {after}");
    assert_eq!(bench.student.as_stage1(brightness)?, before, "stage 1 is put back to the bit");
    assert_eq!(brightness()?, after);
    Ok(())
}
