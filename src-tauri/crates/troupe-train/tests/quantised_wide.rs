//! Both experts at widths that four-bit blocks fit: how far a quantised copy is from its original, and
//! that low-rank updates learn on top of it.
//!
//! What does the format promise? Q4_K cuts the range of 32 values in 15 steps. 32 normal values of
//! deviation σ span 4.1 σ on average, so a step is 0.27 σ and rounding to it costs a relative error of
//! 0.27 / √12 = 0.08; the 6 bits of the block's scale and minimum add a hundredth: 0.085 in all. Q8_0
//! cuts twice the largest of 32 values, 2.1 σ on average, in 254 steps: 0.0165 / √12 = 0.005, and
//! activations, which the processor multiplies as 8 bits too, as much again: 0.007.
//!
//! A product over many inputs has the relative error ε of its weights. An attention or MLP branch goes
//! through three products that count (values, output and what queries and keys shift; gate, up,
//! down), so its own error is √3 ε. A residual stream to which 2 L branches add their outputs is then
//! off by at most √(2 L · 3) ε = √(6 L) ε of its size, with the head √(6 L + 1) ε.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Result, Tensor, Var};
use tempfile::TempDir;
use troupe_model::{
    context::{Context, FlowQuery},
    llm::Recompute,
    quantize::{Quantised, quantize},
    runtime::{DeviceChoice, LoadOptions, Model, Precision},
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::{
    adamw::{AdamW, AdamWConfig},
    linear::{Linear, Lora},
    noise::{Noise, Stream},
    quant::{QLinear, QuantKind},
};
use troupe_testkit::BagelShape;
use troupe_train::{
    sequence::{FlowTarget, LossWeights, SequenceBlock, sequence_loss},
    sft::load_trainable,
};

const SHAPE: BagelShape = BagelShape {
    hidden: 512,
    mlp: 1024,
    heads: 8,
    kv_heads: 2,
    layers: 2,
    vocab: 320,
    vision: 64,
    vision_layers: 1,
    codec: 32,
    picture: 64,
};
const SIDE: usize = 4;
/// Relative errors of weights, from the head of this file.
const ERRORS: [(QuantKind, f64, f64); 2] =
    [(QuantKind::Q4K, 0.085, 0.), (QuantKind::Q8_0, 0.0055, 0.0055)];

fn load(dir: &Path) -> Model {
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    Model::load(dir, &options).unwrap()
}

fn copies(kind: QuantKind) -> (TempDir, Quantised) {
    let scratch = tempfile::tempdir().unwrap();
    SHAPE.write(&scratch.path().join("base"));
    let out = scratch.path().join("copy");
    let written = quantize(&scratch.path().join("base"), &out, kind).unwrap();
    (scratch, written)
}

fn noise(shape: &[usize], step: u64) -> Result<Tensor> {
    Noise::new(1, Stream::TrainingNoise, step).normal_tensor(shape, &Device::Cpu)
}

/// Text logits and, in front of the text, velocities.
fn outputs(model: &Model) -> Result<[Tensor; 2]> {
    let reader = model.reader();
    let mut context = Context::new();
    let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, "Who are you today?").unwrap();
    let logits = reader.read_text_with_logits(&mut context, &ids)?;
    let tokens = noise(&[SIDE * SIDE, model.config().latent_token_dim()], 2)?;
    let latents = LatentInput { tokens: &tokens, time: 0.7, rows: SIDE, columns: SIDE };
    Ok([logits, reader.velocities(&[FlowQuery { latents, context: &context }])?.remove(0)])
}

/// Norm of the difference over the norm.
fn relative(got: &Tensor, want: &Tensor) -> Result<f64> {
    let norm = |t: &Tensor| -> Result<f64> {
        Ok(f64::from(t.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
    };
    Ok(norm(&(got - want)?)? / norm(want)?)
}

#[test]
fn logits_and_velocities_are_as_far_off_as_the_format_rounds() -> Result<()> {
    for (kind, of_weights, of_activations) in ERRORS {
        let (scratch, written) = copies(kind);
        // Seven layers of each expert, and the head.
        let stored = written.dtypes[&format!("{:?}", kind.ggml())];
        assert_eq!(stored, 2 * 7 * SHAPE.layers + 1, "{written:?}");
        let base = load(&scratch.path().join("base"));
        let copy = load(&scratch.path().join("copy"));
        let weight = noise(&[SHAPE.hidden, SHAPE.hidden], 3)?;
        let rounded = QLinear::quantize(&weight, kind)?.dequantize()?;
        let off = relative(&rounded, &weight)?;
        assert!((0.8 * of_weights..=of_weights).contains(&off), "{kind:?}: {off:.4}");
        let each = of_weights.hypot(of_activations);
        let bound = ((6 * SHAPE.layers + 1) as f64).sqrt() * each;
        for (got, want) in outputs(&copy)?.iter().zip(&outputs(&base)?) {
            let off = relative(got, want)?;
            assert!(off <= bound, "{kind:?}: {off:.4}, bound {bound:.4}");
            assert!(off >= each / 2., "{kind:?}: {off:.4} is nearer than the format can be");
        }
    }
    Ok(())
}

/// Adds updates that already do something to every layer of both experts.
fn attach(model: &mut Model) -> Result<BTreeMap<String, Var>> {
    let mut vars = BTreeMap::new();
    model.network_mut().visit_linears(&mut |module: &str, linear: &mut Linear| {
        if !module.contains(".layers.") {
            return Ok(());
        }
        assert!(linear.is_quantised(), "{module}");
        let (o, i) = linear.shape()?;
        let step = 100 + 2 * vars.len() as u64;
        let a = Var::from_tensor(&noise(&[4, i], step)?.affine(0.05, 0.)?)?;
        let b = Var::from_tensor(&noise(&[o, 4], step + 1)?.affine(0.02, 0.)?)?;
        linear.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 1. })?;
        vars.insert(format!("{module}.lora_A"), a);
        vars.insert(format!("{module}.lora_B"), b);
        Ok(())
    })?;
    Ok(vars)
}

/// One text and one picture, as a batch of stage 1 holds them.
fn loss(model: &Model) -> Result<Tensor> {
    let special = model.tokenizer().special();
    let text = |text: &str, loss: bool| {
        let (ids, from) = model.tokenizer().text_block(TextRole::Prompt, text).unwrap();
        SequenceBlock::Text { ids, loss_from: loss.then_some(from) }
    };
    let tokens = noise(&[SIDE * SIDE, model.config().latent_token_dim()], 4)?;
    let target = Some(FlowTarget { noise: noise(tokens.dims(), 5)?, time: 0.6 });
    let picture = SequenceBlock::Latents { tokens, rows: SIDE, columns: SIDE, target };
    let samples = [
        vec![text("What do you sell?", false), text("Bread.", true)],
        vec![text("A loaf", false), picture],
    ];
    let losses = sequence_loss(model.network(), special, &samples)?;
    Ok(losses.total(&LossWeights::default())?.loss)
}

#[test]
fn updates_learn_on_four_bit_experts_that_stay_as_they_are() -> Result<()> {
    let (scratch, _) = copies(QuantKind::Q4K);
    let (mut model, trained) = load_trainable(&scratch.path().join("copy"), |_| false).unwrap();
    assert!(trained.is_empty());
    let before = outputs(&model)?;
    let vars = attach(&mut model)?;
    let named = vars.iter().map(|(n, v)| (n.clone(), v.clone()));
    let mut optimiser = AdamW::new(named, AdamWConfig::default(), |_| 2e-3);
    let first = loss(&model)?;
    let grads = first.backward()?;
    for (name, var) in &vars {
        let sum = grads.get(var).unwrap().abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite() && sum > 0., "{name}: {sum}");
    }
    for _ in 0..8 {
        let grads = loss(&model)?.backward()?;
        optimiser.step(&grads, 1., 1.)?;
    }
    let (first, last) = (first.to_scalar::<f32>()?, loss(&model)?.to_scalar::<f32>()?);
    assert!(last < 0.9 * first, "{first} → {last}");
    model.network_mut().visit_linears(&mut |_, linear| {
        linear.detach();
        Ok(())
    })?;
    for (after, before) in outputs(&model)?.iter().zip(&before) {
        assert_eq!(after.to_vec2::<f32>()?, before.to_vec2::<f32>()?, "the base has changed");
    }
    Ok(())
}

#[test]
fn layers_that_run_again_give_the_same_gradients() -> Result<()> {
    let (scratch, _) = copies(QuantKind::Q4K);
    let trained = |name: &str| name.contains("layers.1.mlp_moe_gen") || name.contains("vae2llm");
    let (mut model, mut vars) = load_trainable(&scratch.path().join("copy"), trained).unwrap();
    model.network_mut().visit_linears(&mut |module, linear| {
        if linear.is_quantised() && module.contains(".layers.") {
            let (o, i) = linear.shape()?;
            let a = Var::from_tensor(&noise(&[2, i], vars.len() as u64)?.affine(0.05, 0.)?)?;
            let b = Var::from_tensor(&noise(&[o, 2], vars.len() as u64 + 1)?.affine(0.05, 0.)?)?;
            linear.attach(Lora {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: 1.,
            })?;
            vars.insert(format!("{module}.lora_A"), a);
            vars.insert(format!("{module}.lora_B"), b);
        }
        Ok(())
    })?;
    let plain = loss(&model)?;
    let want = plain.backward()?;
    let recompute = Recompute::new(vars.values().cloned().collect());
    model.network_mut().set_recompute(Some(recompute.clone()));
    for _ in 0..2 {
        // Twice: what was collected is not counted again.
        let again = loss(&model)?;
        assert_eq!(again.to_scalar::<f32>()?, plain.to_scalar::<f32>()?);
        let mut grads = again.backward()?;
        recompute.collect(&mut grads)?;
        for (name, var) in &vars {
            let (got, want) = (grads.get(var).unwrap(), want.get(var).unwrap());
            let off = relative(got, want)?;
            assert!(off < 1e-5, "{name}: {off:.1e}");
        }
    }
    Ok(())
}

#[test]
fn a_trained_expert_is_dense_and_the_other_stays_quantised() -> Result<()> {
    let (scratch, _) = copies(QuantKind::Q4K);
    let trained = |name: &str| name.contains("_moe_gen");
    let (mut model, vars) = load_trainable(&scratch.path().join("copy"), trained).unwrap();
    model.network_mut().visit_linears(&mut |module, linear| {
        let is_frozen = module.starts_with("language_model.") && !trained(module);
        assert_eq!(linear.is_quantised(), is_frozen, "{module}");
        Ok(())
    })?;
    let grads = loss(&model)?.backward()?;
    for (name, var) in &vars {
        assert_eq!(var.dtype(), DType::F32);
        let sum = grads.get(var).unwrap().abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite() && sum > 0., "{name}: {sum}");
    }
    Ok(())
}
