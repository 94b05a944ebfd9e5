//! The stages that teach a base to see, on a tiny base and drawn pictures.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, fmt::Write as _, fs, path::Path};

use candle_core::{Device, Tensor};
use troupe_model::{
    runtime::{LoadOptions, Model},
    scorer::DualEncoder,
};
use troupe_nn::noise::{Noise, Stream};
use troupe_train::{
    events::{Control, Outcome, TrainEvent},
    pretrain::{
        RunSettings, VISION_FILE,
        connector::{self, ConnectorJob},
        vision::{self, VisionJob},
    },
};

const SIDE: usize = 32;
const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 40, 40]),
    ("blue", [40, 60, 220]),
    ("green", [40, 180, 60]),
    ("white", [250; 3]),
];

/// Pictures of one colour above another, with captions, questions and statements.
fn write_pictures(dir: &Path, shade: u8) {
    fs::create_dir_all(dir).unwrap();
    let (mut pixels, mut captions, mut questions) = (Vec::new(), String::new(), String::new());
    for (top, above) in COLOURS {
        for (bottom, below) in COLOURS {
            for row in 0..SIDE {
                let colour = if row < SIDE / 2 { above } else { below };
                (0..SIDE).for_each(|_| pixels.extend(colour.map(|c| c.saturating_sub(shade))));
            }
            writeln!(captions, r#"{{"caption":"{top} on {bottom}"}}"#).unwrap();
            let ask = |about: &str, kind: &str, question: &str, answer: &str| {
                format!(
                    r#"{{"about":"{about}","kind":"{kind}","question":"{question}","answer":"{answer}"}}"#
                )
            };
            let is_red = if top == "red" { "Yes" } else { "No" };
            let (open, closed) =
                (ask("top", "open", "top?", top), ask("top", "yes-no", "red?", is_red));
            writeln!(
                questions,
                r#"{{"questions":[{open},{closed}],"statements":{{"top":"{top} top"}}}}"#
            )
            .unwrap();
        }
    }
    fs::write(dir.join("pictures.rgb"), pixels).unwrap();
    fs::write(dir.join("captions.jsonl"), captions).unwrap();
    fs::write(dir.join("questions.jsonl"), questions).unwrap();
}

/// Gives the understanding expert output projections that are not zero. A fresh expert's are, and its
/// answers would not depend on the picture.
fn open_outputs(file: &Path) {
    let mut tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    for (name, tensor) in &mut tensors {
        let is_output = name.ends_with("o_proj.weight") || name.ends_with("mlp.down_proj.weight");
        if is_output {
            let mut noise = Noise::new(name.len() as u64, Stream::Weights, 0);
            let values = noise.normal_tensor(tensor.shape(), &Device::Cpu).unwrap();
            *tensor = (values * 0.2).unwrap();
        }
    }
    candle_core::safetensors::save(&tensors, file).unwrap();
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        let base = scratch.0.path().join("base");
        troupe_testkit::write_tiny_model(&base);
        open_outputs(&base.join("model.safetensors"));
        write_pictures(&scratch.0.path().join("data"), 0);
        write_pictures(&scratch.0.path().join("held"), 20);
        scratch
    }

    fn settings(&self, run: &str, num_steps: usize) -> RunSettings {
        let path = |name: &str| self.0.path().join(name);
        RunSettings {
            model_dir: path("base"),
            data_dir: path("data"),
            held_dir: path("held"),
            run_dir: path(run),
            num_steps,
            learning_rate: 3e-3,
            warmup_steps: 2,
            ema_decay: 0.5,
            sample_every: 0,
            checkpoint_every: 0,
            ..RunSettings::default()
        }
    }

    fn weights(&self, run: &str) -> HashMap<String, Tensor> {
        let file = self.0.path().join(run).join(VISION_FILE);
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    }
}

/// Runs a stage; gives its losses. `pause_at` stops it after that step.
fn losses(
    pause_at: Option<usize>,
    run: impl FnOnce(&mut dyn FnMut(TrainEvent) -> Control) -> Outcome,
) -> Vec<f64> {
    let mut losses = Vec::new();
    run(&mut |event| match event {
        TrainEvent::Step { step, loss, .. } => {
            losses.push(loss);
            if Some(step) == pause_at { Control::Pause } else { Control::Continue }
        }
        _ => Control::Continue,
    });
    losses
}

fn see(scratch: &Scratch, run: &str, num_steps: usize, pause_at: Option<usize>) -> Vec<f64> {
    let settings = scratch.settings(run, num_steps);
    let job = VisionJob { settings, pictures: 8, goes_on: false };
    losses(pause_at, |watch| vision::run(&job, watch).unwrap())
}

fn connect(scratch: &Scratch, run: &str, num_steps: usize, pause_at: Option<usize>) -> Vec<f64> {
    let settings = scratch.settings(run, num_steps);
    let job = ConnectorJob { settings, pictures: 2, questions: 2, held_pictures: 16 };
    losses(pause_at, |watch| connector::run(&job, watch).unwrap())
}

fn assert_same(a: &HashMap<String, Tensor>, b: &HashMap<String, Tensor>) {
    assert_eq!(a.len(), b.len());
    for (name, tensor) in a {
        let bytes = |t: &Tensor| {
            let t = t.flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap();
            t.to_vec1::<f32>().unwrap()
        };
        assert_eq!(bytes(tensor), bytes(&b[name]), "{name}");
    }
}

#[test]
fn the_towers_learn_and_a_paused_run_goes_on_to_the_bit() {
    let scratch = Scratch::new();
    let whole = see(&scratch, "whole", 40, None);
    let (early, late) = (whole[0], whole[39]);
    assert!(late < 0.6 * early, "the loss went from {early} to {late}");
    let mut parts = see(&scratch, "parts", 40, Some(13));
    assert_eq!(parts.len(), 13);
    parts.extend(see(&scratch, "parts", 40, None));
    assert_eq!(whole, parts);
    assert_same(&scratch.weights("whole"), &scratch.weights("parts"));
}

#[test]
fn towers_of_the_base_go_on() {
    let scratch = Scratch::new();
    let first = see(&scratch, "first", 40, None);
    let base = scratch.0.path().join("base");
    fs::copy(scratch.0.path().join("first").join(VISION_FILE), base.join(VISION_FILE)).unwrap();
    let settings = scratch.settings("second", 2);
    let job = VisionJob { settings, pictures: 8, goes_on: true };
    let second = losses(None, |watch| vision::run(&job, watch).unwrap());
    let (start, end) = (first[0], first[39]);
    assert!(second[0] < (start + end) / 2., "{start} to {end}, then {}", second[0]);
}

#[test]
fn exported_towers_load_and_find_captions() {
    let scratch = Scratch::new();
    let base = scratch.0.path().join("base");
    assert!(DualEncoder::load(&base).is_err(), "nothing compares yet");
    see(&scratch, "run", 400, None);
    fs::copy(scratch.0.path().join("run").join(VISION_FILE), base.join(VISION_FILE)).unwrap();
    Model::load(&base, &LoadOptions::default()).unwrap();
    let measured = vision::measure(&base, &scratch.0.path().join("held")).unwrap();
    assert_eq!(measured.among, 16);
    // One in 16 and one in 4 by chance. The tiny base reads bytes, and half the captions have the
    // same ones as another.
    assert!(measured.caption_of_picture > 0.2, "{measured}");
    assert!(measured.statements["top"].0 > 0.4, "{measured}");
}

#[test]
fn the_connector_learns_alone_and_a_paused_run_goes_on_to_the_bit() {
    let scratch = Scratch::new();
    let base = scratch.0.path().join("base");
    see(&scratch, "towers", 5, None);
    fs::copy(scratch.0.path().join("towers").join(VISION_FILE), base.join(VISION_FILE)).unwrap();
    let whole = connect(&scratch, "whole", 30, None);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (early, late) = (mean(&whole[..5]), mean(&whole[25..]));
    assert!(late < early, "the loss went from {early} to {late}");
    let mut parts = connect(&scratch, "parts", 30, Some(11));
    parts.extend(connect(&scratch, "parts", 30, None));
    assert_eq!(whole, parts);
    let (whole, parts) = (scratch.weights("whole"), scratch.weights("parts"));
    assert_same(&whole, &parts);
    for (name, before) in scratch.weights("towers") {
        let distance = (&whole[&name] - before).unwrap().abs().unwrap().sum_all().unwrap();
        let moved = distance.to_dtype(candle_core::DType::F32).unwrap().to_scalar::<f32>().unwrap();
        let is_connecting = name.starts_with("connector.") || name == "vit_pos_embed.pos_embed";
        assert_eq!(moved > 0., is_connecting, "{name} moved by {moved}");
    }
    fs::copy(scratch.0.path().join("whole").join(VISION_FILE), base.join(VISION_FILE)).unwrap();
    let measured = connector::measure(&base, &scratch.0.path().join("held"), 3).unwrap();
    assert_eq!(measured.by_kind["yes/no"].asked, 3);
    assert_eq!(measured.by_kind["open"].asked, 3);
}
