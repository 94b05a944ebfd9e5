//! Packing changes where tokens stand, never what they cost.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor, Var};
use troupe_model::{context::Context, llm::Recompute, runtime::Model};
use troupe_nn::{
    fused,
    noise::{Noise, Stream},
};
use troupe_train::{
    sequence::{
        FlowTarget, SequenceBlock, SequenceLoss, VisionInput, sequence_loss,
        sequence_loss_sharing_starts,
    },
    sft::load_trainable,
};

fn base(dir: &Path) -> (Model, BTreeMap<String, Var>) {
    troupe_testkit::write_tiny_model(dir);
    let trained = |name: &str| !name.ends_with("pos_embed") && !name.starts_with("vit");
    let (model, vars) = load_trainable(dir, trained).unwrap();
    // Fresh weights are so small, some of them 0, that what a token sees hardly changes its cost.
    for (seed, var) in vars.values().filter(|var| var.rank() == 2).enumerate() {
        let (rows, columns) = var.dims2().unwrap();
        var.set(&(noise(seed as u64 + 100, (rows, columns)) * 0.3).unwrap()).unwrap();
    }
    (model, vars)
}

fn text(seed: u32, len: u32, loss: bool) -> SequenceBlock {
    let ids = (0..len).map(|i| (seed + i * 7) % 256).collect();
    SequenceBlock::Text { ids, loss_from: loss.then_some(1) }
}

/// A prompt that starts like all others and ends in its own way.
fn prompt(seed: u32) -> SequenceBlock {
    let ids = (0..40).chain((0..9).map(|i| (seed + i * 3) % 256)).collect();
    SequenceBlock::Text { ids, loss_from: None }
}

fn noise(seed: u64, shape: (usize, usize)) -> Tensor {
    Noise::new(seed, Stream::TrainingNoise, 0).normal_tensor(shape, &Device::Cpu).unwrap()
}

/// One sample of every layout: dialogue, knowledge, picture question, pictures with and without
/// their condition.
fn samples(model: &Model) -> Vec<Vec<SequenceBlock>> {
    let config = model.config();
    let width = 3 * config.latent_patch_size.pow(2);
    let picture = |seed: u64| SequenceBlock::Latents {
        tokens: noise(seed, (4, width)),
        rows: 2,
        columns: 2,
        target: Some(FlowTarget {
            noise: noise(seed + 50, (4, width)),
            time: 0.3 + 0.1 * seed as f64,
        }),
    };
    let features = noise(9, (4, config.vit_config.hidden_size));
    let seen = SequenceBlock::Vision(VisionInput::Features { features, rows: 2, columns: 2 });
    vec![
        vec![prompt(3), text(9, 14, true)],
        vec![text(50, 12, false), text(60, 5, true)],
        vec![seen, text(70, 8, false), text(80, 6, true)],
        vec![prompt(5), picture(1)],
        vec![SequenceBlock::Dropped { is_image: false }, picture(2)],
        vec![prompt(7), text(33, 21, true)],
    ]
}

fn values(tensor: Option<&Tensor>) -> Vec<f32> {
    tensor.map_or(Vec::new(), |t| t.to_vec1().unwrap())
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

#[test]
fn packed_samples_cost_what_they_cost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = base(dir.path());
    let (network, special) = (model.network(), model.tokenizer().special());
    let samples = samples(&model);
    let packed = sequence_loss(network, special, &samples).unwrap();
    let (mut ce, mut mse) = (Vec::new(), Vec::new());
    for sample in &samples {
        let alone = sequence_loss(network, special, std::slice::from_ref(sample)).unwrap();
        ce.extend(values(alone.ce.as_ref()));
        mse.extend(values(alone.mse.as_ref()));
    }
    // Loss positions: every token of an answer but the last predicts its successor, from the first
    // on; all latents of a target.
    assert_eq!((ce.len(), mse.len()), (12 + 3 + 4 + 19, 8));
    assert!(worst(&values(packed.ce.as_ref()), &ce) < 2e-5);
    assert!(worst(&values(packed.mse.as_ref()), &mse) < 2e-5);
}

#[test]
fn a_shared_start_changes_neither_losses_nor_gradients() {
    let dir = tempfile::tempdir().unwrap();
    let (model, vars) = base(dir.path());
    let (network, special) = (model.network(), model.tokenizer().special());
    let all = samples(&model);
    let samples = vec![all[0].clone(), all[5].clone()]; // in the order that sharing keeps
    let apart = sequence_loss(network, special, &samples).unwrap();
    let shared = sequence_loss_sharing_starts(network, special, &samples).unwrap();
    assert_eq!(apart.position_ids.len() - shared.position_ids.len(), 40);
    assert_eq!(apart.ce_labels, shared.ce_labels);
    assert!(worst(&values(apart.ce.as_ref()), &values(shared.ce.as_ref())) < 2e-5);
    let grads = |loss: &Tensor| loss.mean_all().unwrap().backward().unwrap();
    let (a, b) = (grads(apart.ce.as_ref().unwrap()), grads(shared.ce.as_ref().unwrap()));
    let mut compared = 0;
    for (name, var) in &vars {
        if let (Some(a), Some(b)) = (a.get(var), b.get(var)) {
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(worst(&flat(a), &flat(b)) < 2e-5, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} gradients");
}

#[test]
fn a_picture_joins_deeper_layers_and_leaves_text_alone() {
    check_what_acts_on_pictures("connector.deep.1.weight");
}

#[test]
fn sight_adapters_act_behind_a_picture_and_leave_text_alone() {
    check_what_acts_on_pictures("sight.1.up.weight");
}

fn check_what_acts_on_pictures(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, vars) = base(dir.path());
    let special = model.tokenizer().special();
    let samples = samples(&model);
    let acting = &vars[name];
    let run = |model: &Model| sequence_loss(model.network(), special, &samples).unwrap();
    let gradient = |loss: &SequenceLoss, recompute: Option<&Recompute>| {
        let mut grads = loss.ce.as_ref().unwrap().mean_all().unwrap().backward().unwrap();
        recompute.iter().for_each(|recompute| recompute.collect(&mut grads).unwrap());
        grads.get(acting).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let plain = run(&model);
    let wanted = gradient(&plain, None);
    let recompute = Recompute::new(vars.values().cloned().collect());
    model.network_mut().set_recompute(Some(recompute.clone()));
    let recomputed = run(&model);
    let ce = |loss: &SequenceLoss| values(loss.ce.as_ref());
    assert!(worst(&ce(&plain), &ce(&recomputed)) < 2e-5);
    assert!(worst(&wanted, &gradient(&recomputed, Some(&recompute))) < 2e-5);
    model.network_mut().set_recompute(None);
    acting.set(&acting.zeros_like().unwrap()).unwrap();
    let (with, without) = (ce(&plain), ce(&run(&model)));
    // Losses of the only sample with a picture stand behind those of two texts.
    let (texts, seen) = (12 + 3, 12 + 3 + 4);
    assert!(worst(&with[texts..seen], &without[texts..seen]) > 1e-2);
    assert_eq!((&with[..texts], &with[seen..]), (&without[..texts], &without[seen..]));
}

#[test]
fn a_picture_in_a_context_costs_what_it_costs_packed() {
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = base(dir.path());
    let side = model.config().picture_size;
    let pixels = noise(4, (3 * side, side)).reshape((3, side, side)).unwrap();
    let (question, answer) = (text(70, 8, false), text(80, 6, true));
    let ids = |block: &SequenceBlock| match block {
        SequenceBlock::Text { ids, .. } => ids.clone(),
        _ => Vec::new(),
    };
    let (asked, answered) = (ids(&question), ids(&answer));
    let picture = SequenceBlock::Vision(VisionInput::Pixels(pixels.clone()));
    let samples = [vec![picture, question, answer]];
    let special = model.tokenizer().special();
    let packed = sequence_loss(model.network(), special, &samples).unwrap();
    let reader = model.reader();
    let mut context = Context::new();
    reader.read_picture(&mut context, &pixels).unwrap();
    reader.read_text(&mut context, &asked).unwrap();
    let logits = reader.read_text_with_logits(&mut context, &answered).unwrap();
    let labels = &answered[2..];
    let logits = logits.narrow(0, 1, labels.len()).unwrap().contiguous().unwrap();
    let losses = fused::cross_entropy(&logits, labels).unwrap();
    assert!(worst(&values(packed.ce.as_ref()), &values(Some(&losses))) < 2e-5);
}

#[test]
fn a_sample_is_blind_to_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = base(dir.path());
    let (network, special) = (model.network(), model.tokenizer().special());
    let mut samples = samples(&model);
    let before = sequence_loss(network, special, &samples).unwrap();
    samples[1] = vec![text(99, 12, false), text(60, 5, true)];
    let after = sequence_loss(network, special, &samples).unwrap();
    let (before, after) = (values(before.ce.as_ref()), values(after.ce.as_ref()));
    let others = worst(&before[..12], &after[..12]).max(worst(&before[15..], &after[15..]));
    let own = worst(&before[12..15], &after[12..15]);
    assert!(others < 1e-5 && own > 1e-2, "{others:e}, {own:e}");
}
