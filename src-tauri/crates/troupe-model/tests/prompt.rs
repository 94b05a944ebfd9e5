//! A kept prompt never shows in a reply.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{ops::ControlFlow, path::Path};

use candle_core::{Device, Tensor};
use image::RgbImage;
use troupe_model::{
    context::Context,
    runtime::{DeviceChoice, LoadOptions, Model, Precision, ReplyRequest, TextSampling},
    tokens::TextRole,
};
use troupe_nn::{
    linear::Lora,
    noise::{Noise, Stream},
};
use troupe_testkit::BagelShape;

fn load(dir: &Path) -> Model {
    let options =
        LoadOptions { device: DeviceChoice::Cpu, precision: Precision::F32, ..Default::default() };
    Model::load(dir, &options).unwrap()
}

fn reply(model: &Model, prompt: &str) -> String {
    let request = ReplyRequest {
        prompt: prompt.into(),
        sampling: TextSampling { temperature: 1., seed: 4, ..Default::default() },
        max_tokens: 12,
        ..ReplyRequest::default()
    };
    model.reply(&request, &mut |_| ControlFlow::Continue(())).unwrap().text
}

/// A prompt of more than two passes.
fn long_prompt(model: &Model, end: &str) -> String {
    let mut prompt = String::new();
    while model.count_tokens(&prompt).unwrap() < 300 {
        prompt += "Once there was a fox who kept a shop of clocks. ";
    }
    prompt + end
}

#[test]
fn replies_are_those_of_a_model_that_has_read_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let model = load(scratch.path());
    let first = long_prompt(&model, "Hello");
    let longer = first.clone() + " there, what time is it? " + &first;
    let other = format!("Never. {first}");
    let cut = first[..first.len() / 2].to_owned();
    for prompt in [&first, &first, &longer, &other, &longer, &cut, &first] {
        assert_eq!(reply(&model, prompt), reply(&load(scratch.path()), prompt), "{prompt}");
    }
    assert_ne!(reply(&model, &first), reply(&model, &longer), "prompts count");
}

#[test]
fn changed_weights_read_the_prompt_again() {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let change = |model: &mut Model| {
        let mut drawn = 0;
        let attach = &mut |module: &str, linear: &mut troupe_nn::linear::Linear| {
            if !module.contains("k_proj") {
                return Ok(());
            }
            let (o, i) = linear.shape()?;
            drawn += 1;
            let mut noise = Noise::new(3, Stream::Weights, drawn);
            let a: Tensor = noise.normal_tensor(&[1, i], &Device::Cpu)?;
            let b = noise.normal_tensor(&[o, 1], &Device::Cpu)?;
            linear.attach(Lora { a, b, scale: 1. })
        };
        model.network_mut().visit_linears(attach).unwrap();
    };
    let mut model = load(scratch.path());
    let prompt = long_prompt(&model, "Hello");
    let before = reply(&model, &prompt);
    change(&mut model);
    let mut fresh = load(scratch.path());
    change(&mut fresh);
    assert_eq!(reply(&model, &prompt), reply(&fresh, &prompt));
    assert_ne!(reply(&model, &prompt), before, "the change counts");
}

/// Questions that share a pass are answered as each would be alone, and leave no trace in what was seen.
#[test]
fn texts_behind_a_picture_are_read_each_for_itself() {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let model = load(scratch.path());
    let reader = model.reader();
    let mut seen = Context::new();
    let picture = RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 90]));
    reader.read_picture(&mut seen, &model.picture_for_vision(&picture).unwrap()).unwrap();
    let texts: Vec<Vec<u32>> = ["Is it a fox?", "No?", "Is it wet, and why does it sing?"]
        .iter()
        .map(|text| model.tokenizer().text_block(TextRole::Prompt, text).unwrap().0)
        .collect();
    let length = seen.len();
    let together = reader.next_logits_each(&seen, &texts).unwrap();
    assert_eq!((seen.len(), together.dims()[0]), (length, texts.len()));
    let worst = |a: &Tensor, b: &Tensor| -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    };
    for (index, text) in texts.iter().enumerate() {
        let alone = reader.next_logits(&mut seen.fork().unwrap(), text).unwrap();
        let found = worst(&together.get(index).unwrap(), &alone);
        assert!(found < 1e-4, "text {index} differs by {found}");
        let blind = reader.next_logits(&mut Context::new(), text).unwrap();
        assert!(worst(&blind, &alone) > 1e-3, "the picture counts");
    }
    assert!(reader.next_logits_each(&seen, &[]).is_err());
}
