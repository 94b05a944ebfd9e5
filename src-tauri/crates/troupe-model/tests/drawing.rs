//! Pictures drawn together, and after thinking.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;

use image::RgbImage;
use troupe_model::{
    context::Context,
    runtime::{
        DeviceChoice, DrawEvent, DrawRequest, Drawing, Finish, FlowSampling, LoadOptions, Model,
        Precision, TextSampling, Thinking,
    },
    tokens::TextRole,
};
use troupe_testkit::BagelShape;

fn model() -> Model {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    Model::load(scratch.path(), &options).unwrap()
}

fn flow(model: &Model, seed: u64) -> FlowSampling {
    FlowSampling {
        num_timesteps: 4,
        cfg_img_scale: 1.5,
        cfg_interval: [0., 1.],
        ..FlowSampling::from_defaults(&model.config().generation, seed)
    }
}

fn drawn(model: &Model, request: &DrawRequest) -> Drawing {
    model.draw(request, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Largest difference of two pictures in steps of 255.
fn difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn pictures_drawn_together_are_those_drawn_alone() {
    let model = model();
    let reference = Some(troupe_testkit::dot_picture(1, 64));
    let requests = [
        DrawRequest::new("A dot", flow(&model, 1)),
        DrawRequest::new("Two dots in the rain", flow(&model, 2)),
        DrawRequest { reference, ..DrawRequest::new("A dot", flow(&model, 1)) },
    ];
    let mut steps = [0; 3];
    let together = model.draw_many(&requests, &mut |index, event| {
        if let DrawEvent::Step { num_steps, .. } = event {
            assert_eq!(num_steps, 3);
            steps[index] += 1;
        }
        ControlFlow::Continue(())
    });
    assert_eq!(steps, [3; 3]);
    for (request, together) in requests.iter().zip(together.unwrap()) {
        // Sums are taken in another order: a value may round to its neighbour.
        assert!(difference(&together.image, &drawn(&model, request).image) <= 1);
        assert_eq!(together.finish, Finish::Complete);
    }
}

#[test]
fn pictures_of_other_time_grids_are_not_drawn_together() {
    let model = model();
    let longer = FlowSampling { num_timesteps: 5, ..flow(&model, 1) };
    let requests = [DrawRequest::new("A", flow(&model, 1)), DrawRequest::new("A", longer)];
    let error = model.draw_many(&requests, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("one time grid"), "{error}");
}

#[test]
fn thinking_plans_in_words_that_the_picture_is_drawn_from() {
    let model = model();
    let sampling = TextSampling { min_tokens: 6, ..TextSampling::greedy() };
    let thinking = Some(Thinking { max_tokens: 6, sampling: sampling.clone() });
    let plain = DrawRequest::new("A dot", flow(&model, 1));
    let request = DrawRequest { thinking, ..plain.clone() };
    let mut heard = Vec::new();
    let thought = model
        .draw(&request, &mut |event| {
            if let DrawEvent::Thinking { num_tokens } = event {
                heard.push(num_tokens);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(heard.starts_with(&[1, 2, 3]), "{heard:?}");
    assert!(difference(&thought.image, &drawn(&model, &plain).image) > 0, "thinking counts");
    assert_eq!(drawn(&model, &plain).thoughts, None);

    // The same by hand: instructions, prompt, plan.
    let system = "You should first think about the planning process in the mind and then generate \
        the image. \nThe planning process is enclosed within <think> </think> tags, i.e. <think> \
        planning process here </think> image here";
    let (reader, tokenizer) = (model.reader(), model.tokenizer());
    let mut context = Context::new();
    for (role, text) in [(TextRole::System, system), (TextRole::Caption, "A dot")] {
        reader.read_text(&mut context, &tokenizer.text_block(role, text).unwrap().0).unwrap();
    }
    let prefix = tokenizer.block_start(TextRole::Reply).unwrap();
    let decoded = reader
        .decode(&context, &prefix, 7, &sampling, &mut |_, _| ControlFlow::Continue(()))
        .unwrap();
    let plan = tokenizer.decode(&decoded.tokens[prefix.len()..]).unwrap();
    assert_eq!(thought.thoughts.as_deref(), Some(plan.trim()));
}

#[test]
fn a_plan_can_be_cancelled() {
    let model = model();
    let sampling = TextSampling { min_tokens: 6, ..TextSampling::greedy() };
    let thinking = Some(Thinking { max_tokens: 6, sampling });
    let request = DrawRequest { thinking, ..DrawRequest::new("A dot", flow(&model, 1)) };
    let stopped = model.draw(&request, &mut |event| match event {
        DrawEvent::Thinking { num_tokens: 2 } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(stopped.unwrap().finish, Finish::Cancelled);
}
