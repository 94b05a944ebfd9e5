//! Half-precision weights and activations give the single-precision results within their rounding.
//!
//! How far apart may they be? A format of p significant bits rounds by at most u = 2⁻ᵖ (bf16: p = 8,
//! f16: p = 11), on average by u/√3. On the way through half a layer (attention or MLP) the residual
//! stream meets about 12 roundings of that size: its own sum, two in the norm, three in the products
//! that follow, the head's norm and rotation, the softmax weights, the product with the values, and
//! the weights of each product. Roundings are independent and norms keep the values near 1, so L
//! layers make a relative error of about √(2 · L · 12 / 3) · u = √(8L) · u, the heads before and after
//! count as one layer more. A single row can be worse than the whole by chance: the bound is twice
//! that, 2 · √(8 (L + 1)) · u.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use candle_core::{DType, Device, Result, Tensor};
use image::RgbImage;
use troupe_model::{
    adapter::{Adapter, AdapterConfig},
    context::{Context, FlowQuery},
    runtime::{
        DeviceChoice, DrawRequest, FlowSampling, LoadOptions, Model, Precision, ReplyRequest,
        TextSampling,
    },
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::{
    linear::Lora,
    noise::{Noise, Stream},
};
use troupe_testkit::BagelShape;

const SIDE: usize = 4;

fn load(dir: &Path, precision: Precision) -> Model {
    let options = LoadOptions { device: DeviceChoice::Cpu, precision, ..LoadOptions::default() };
    Model::load(dir, &options).unwrap()
}

/// Text logits after a picture, vision features, and velocities in front of both.
fn outputs(model: &Model) -> Result<[Tensor; 3]> {
    let noise = |shape: &[usize], step| {
        Noise::new(1, Stream::InitialNoise, step).normal_tensor(shape, &Device::Cpu)
    };
    let picture = noise(&[3, 56, 42], 1)?;
    let features = model.network().vision_features(&picture)?;
    let mut context = Context::new();
    let reader = model.reader();
    reader.read_picture(&mut context, &picture)?;
    let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, "What is it?").unwrap();
    let logits = reader.read_text_with_logits(&mut context, &ids)?;
    let tokens = noise(&[SIDE * SIDE, model.config().latent_token_dim()], 2)?;
    let latents = LatentInput { tokens: &tokens, time: 0.7, rows: SIDE, columns: SIDE };
    let velocities = reader.velocities(&[FlowQuery { latents, context: &context }])?.remove(0);
    Ok([logits, features, velocities])
}

/// Norm of the difference over the norm, the whole and the worst row.
fn relative(got: &Tensor, want: &Tensor) -> Result<(f64, f64)> {
    let squares = |t: &Tensor| -> Result<Vec<f64>> {
        t.to_dtype(DType::F64)?.sqr()?.sum(1)?.to_vec1::<f64>()
    };
    let want = want.to_dtype(DType::F64)?;
    let (off, all) = (squares(&(got.to_dtype(DType::F64)? - &want)?)?, squares(&want)?);
    let whole = (off.iter().sum::<f64>() / all.iter().sum::<f64>()).sqrt();
    let worst = off.iter().zip(&all).map(|(o, a)| (o / a).sqrt()).fold(0., f64::max);
    Ok((whole, worst))
}

#[test]
fn half_precision_stays_within_its_rounding() -> Result<()> {
    let scratch = tempfile::tempdir().unwrap();
    let shape = BagelShape::default();
    shape.write(scratch.path());
    let want = outputs(&load(scratch.path(), Precision::F32))?;
    let layers = [shape.layers, shape.vision_layers, shape.layers];
    let mut measured = Vec::new();
    for (precision, bits) in [(Precision::Bf16, 8), (Precision::F16, 11)] {
        let rounding = 0.5f64.powi(bits);
        let got = outputs(&load(scratch.path(), precision))?;
        assert_eq!((got[0].dtype(), got[1].dtype()), (precision_type(precision), got[0].dtype()));
        let parts = ["logits", "vision features", "velocities"];
        for (((part, got), want), layers) in parts.iter().zip(&got).zip(&want).zip(layers) {
            let bound = 2. * (8. * (layers + 1) as f64).sqrt() * rounding;
            let (whole, worst) = relative(got, want)?;
            let label = precision.label();
            assert!(worst <= bound, "{label} {part}: worst row {worst:.2e}, bound {bound:.2e}");
            // No better than the rounding of its own output: otherwise nothing was rounded.
            assert!(whole >= rounding / 8., "{label} {part}: {whole:.2e} is that of f32");
            measured.push(whole);
        }
    }
    // Three bits more make errors eight times smaller, whatever the constants above.
    for (bf16, f16) in measured[..3].iter().zip(&measured[3..]) {
        assert!((4. ..16.).contains(&(bf16 / f16)), "{measured:?}");
    }
    Ok(())
}

/// An adapter with an update on every projection of both experts, and one norm and head in full.
fn write_adapter(model: &Model, dir: &Path) {
    let (mut loras, mut weights) = (BTreeMap::new(), BTreeMap::new());
    let mut network = model.network().clone();
    let mut drawn = 0;
    let mut draw = |shape: &[usize]| {
        drawn += 1;
        Noise::new(2, Stream::Weights, drawn).normal_tensor(shape, &Device::Cpu)
    };
    network
        .visit_linears(&mut |module, linear| {
            let (o, i) = linear.shape()?;
            if module.contains(".layers.") {
                let a = draw(&[2, i])?.affine(1. / (i as f64).sqrt(), 0.)?;
                loras.insert(module.to_owned(), Lora { a, b: draw(&[o, 2])?, scale: 0.5 });
            } else if module == "llm2vae" {
                let weight = draw(&[o, i])?.affine(1. / (i as f64).sqrt(), 0.)?;
                weights.insert(format!("{module}.weight"), weight);
            }
            Ok(())
        })
        .unwrap();
    let width = model.config().llm_config.hidden_size;
    let norm = draw(&[width]).unwrap().affine(0.1, 1.).unwrap();
    weights.insert("language_model.model.norm_moe_gen.weight".into(), norm);
    let config = AdapterConfig { r: 2, lora_alpha: 1., ..AdapterConfig::default() };
    Adapter::save(dir, &config, &loras, &weights, DType::F32).unwrap();
}

#[test]
fn an_adapter_counts_the_same_in_every_precision() -> Result<()> {
    let scratch = tempfile::tempdir().unwrap();
    let (base, adapter) = (scratch.path().join("base"), scratch.path().join("adapter"));
    let shape = BagelShape::default();
    shape.write(&base);
    let mut model = load(&base, Precision::F32);
    write_adapter(&model, &adapter);
    let plain = outputs(&model)?;
    model.attach(&adapter).unwrap();
    let want = outputs(&model)?;
    for (precision, bits) in [(Precision::Bf16, 8), (Precision::F16, 11)] {
        let mut model = load(&base, precision);
        let before = outputs(&model)?;
        assert!(model.attach(&adapter).unwrap().matched.unmatched.is_empty());
        let got = outputs(&model)?;
        // The update of a projection is one rounded product more beside it.
        let bound = 4. * (8. * (shape.layers + 1) as f64).sqrt() * 0.5f64.powi(bits);
        for part in [0, 2] {
            assert!(relative(&want[part], &plain[part])?.0 > 0.1, "the adapter changes much");
            let (_, worst) = relative(&got[part], &want[part])?;
            assert!(worst <= bound, "{} output {part}: {worst:.2e}", precision.label());
        }
        model.detach().unwrap();
        let after = outputs(&model)?;
        for (a, b) in before.iter().zip(&after) {
            assert_eq!(relative(a, b)?.0, 0., "detaching leaves the base");
        }
    }
    Ok(())
}

fn precision_type(precision: Precision) -> DType {
    match precision {
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
        _ => DType::F32,
    }
}

#[test]
fn half_precision_talks_sees_and_draws() {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let picture = troupe_testkit::dot_picture(1, 64);
    for precision in [Precision::Bf16, Precision::F16] {
        let model = load(scratch.path(), precision);
        let request = ReplyRequest {
            picture: Some(picture.clone()),
            prompt: "Hello".into(),
            sampling: TextSampling::default(),
            max_tokens: 4,
            ..ReplyRequest::default()
        };
        let reply = model.reply(&request, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(reply.num_tokens <= 4, "{reply:?}");
        let defaults = FlowSampling::from_defaults(&model.config().generation, 1);
        let flow = FlowSampling { num_timesteps: 3, ..defaults };
        let draw = |reference: Option<RgbImage>| {
            let request = DrawRequest { reference, ..DrawRequest::new("A dot", flow.clone()) };
            model.draw(&request, &mut |_| ControlFlow::Continue(())).unwrap().image
        };
        assert_eq!(draw(None).dimensions(), (64, 64));
        assert_ne!(draw(Some(picture.clone())), draw(None), "the reference counts");
    }
}
