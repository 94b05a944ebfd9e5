//! Ways of loading that must not change a result: shards, parts kept on the processor, adapters that
//! come and go.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use candle_core::{DType, Device, Tensor, safetensors};
use troupe_model::{
    adapter::{ADAPTER_CONFIG, Adapter, AdapterConfig, compact},
    context::{Context, FlowQuery},
    runtime::{DeviceChoice, LoadOptions, Model, Precision},
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::{
    linear::{Linear, Lora},
    noise::{Noise, Stream},
};
use troupe_testkit::BagelShape;

const OPTIONS: LoadOptions = LoadOptions {
    device: DeviceChoice::Cpu,
    precision: Precision::F32,
    offload_vision: false,
    offload_codec: false,
};

fn noise(shape: &[usize], step: u64) -> Tensor {
    Noise::new(1, Stream::InitialNoise, step).normal_tensor(shape, &Device::Cpu).unwrap()
}

/// Logits after a picture and velocities in front of both, as numbers.
fn outputs(model: &Model) -> Vec<f32> {
    let (reader, mut context) = (model.reader(), Context::new());
    reader.read_picture(&mut context, &noise(&[3, 28, 42], 1)).unwrap();
    let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, "Who is it?").unwrap();
    let logits = reader.read_text_with_logits(&mut context, &ids).unwrap();
    let tokens = noise(&[16, model.config().latent_token_dim()], 2);
    let latents = LatentInput { tokens: &tokens, time: 0.7, rows: 4, columns: 4 };
    let velocities = reader.velocities(&[FlowQuery { latents, context: &context }]).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    [values(&logits), values(&velocities[0])].concat()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

#[test]
fn shards_and_offloaded_parts_give_the_same_numbers() {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    let whole = Model::load(scratch.path(), &OPTIONS).unwrap();
    let want = outputs(&whole);
    let away = LoadOptions { offload_vision: true, offload_codec: true, ..OPTIONS };
    let model = Model::load(scratch.path(), &away).unwrap();
    assert_eq!(outputs(&model), want);
    // The tower stays in single precision when it is kept away from a half-precision model.
    let half = LoadOptions { precision: Precision::Bf16, ..away };
    let model = Model::load(scratch.path(), &half).unwrap();
    let features = model.network().vision_features(&noise(&[3, 28, 42], 1)).unwrap();
    assert_eq!(features.dtype(), DType::F32);
    // As other programs split large files.
    let file = scratch.path().join("model.safetensors");
    let mut tensors: Vec<_> = safetensors::load(&file, &Device::Cpu).unwrap().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let size = tensors.len().div_ceil(3);
    for (number, part) in tensors.chunks(size).enumerate() {
        let part: HashMap<String, Tensor> = part.iter().cloned().collect();
        let name = format!("model-{:05}-of-00003.safetensors", number + 1);
        safetensors::save(&part, scratch.path().join(name)).unwrap();
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(outputs(&Model::load(scratch.path(), &OPTIONS).unwrap()), want);
    fs::remove_file(scratch.path().join("model-00002-of-00003.safetensors")).unwrap();
    let error = Model::load(scratch.path(), &OPTIONS).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}

/// An update on some layers of both experts.
fn write_adapter(dir: &Path, seed: u64, prefix: &str, base_hash: &str) {
    let mut loras = BTreeMap::new();
    for (index, module) in ["self_attn.q_proj", "mlp_moe_gen.up_proj"].iter().enumerate() {
        let o = if index == 0 { 64 } else { 160 };
        let (a, b) = (noise(&[2, 64], seed), noise(&[o, 2], seed + 1));
        let module = format!("{prefix}.layers.1.{module}");
        loras.insert(module, Lora { a: (a * 0.2).unwrap(), b, scale: 0.5 });
    }
    let (lora_alpha, base_hash) = (1., base_hash.to_owned());
    let config = AdapterConfig { r: 2, lora_alpha, base_hash, ..AdapterConfig::default() };
    Adapter::save(dir, &config, &loras, &BTreeMap::new(), DType::F32).unwrap();
}

#[test]
fn adapters_come_go_and_merge_without_loading_the_base_again() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    BagelShape::default().write(&at("base"));
    let mut model = Model::load(&at("base"), &OPTIONS).unwrap();
    let base = outputs(&model);
    write_adapter(&at("one"), 10, "language_model.model", model.base_hash());
    write_adapter(&at("two"), 20, "language_model.model", "another");
    write_adapter(&at("foreign"), 30, "transformer", "");
    let info = model.attach(&at("one")).unwrap();
    assert_eq!((info.matched.matched.len(), info.matched.other_base), (2, false));
    let one = outputs(&model);
    assert!(furthest(&one, &base) > 0.01);
    assert!(model.attach(&at("two")).unwrap().matched.other_base);
    assert!(furthest(&outputs(&model), &one) > 0.01);
    model.attach(&at("one")).unwrap();
    assert_eq!(outputs(&model), one, "switching leaves no trace");
    model.merge_adapter().unwrap();
    assert!(furthest(&outputs(&model), &one) < 1e-4, "merged is what was attached");
    model.unmerge_adapter().unwrap();
    assert_eq!(outputs(&model), one);
    model.detach().unwrap();
    assert_eq!(outputs(&model), base);
    let error = model.attach(&at("foreign")).unwrap_err().to_string();
    assert!(error.contains("none of its 2 tensors"), "{error}");
    assert!(error.contains("transformer.layers.1"), "{error}");
    assert_eq!(outputs(&model), base);
}

#[test]
fn the_small_form_of_an_adapter_does_what_the_whole_one_does() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    BagelShape::default().write(&at("base"));
    let mut model = Model::load(&at("base"), &OPTIONS).unwrap();
    let base = outputs(&model);
    // Low-rank updates, and weights of the generation expert that differ a little from the base's.
    write_adapter(&at("loras"), 10, "language_model.model", model.base_hash());
    let adapter = Adapter::load(&at("loras"), &Device::Cpu).unwrap();
    let mut weights = BTreeMap::new();
    let mut changed = |module: &str, linear: &mut Linear| {
        if module.contains("self_attn.o_proj_moe_gen") {
            let (weight, step) = (linear.dense_weight()?, weights.len() as u64);
            let change = (noise(weight.dims(), 40 + step) * 0.02)?;
            weights.insert(format!("{module}.weight"), (weight + change)?);
        }
        Ok(())
    };
    model.network_mut().visit_linears(&mut changed).unwrap();
    assert!(!weights.is_empty());
    Adapter::save(&at("whole"), &adapter.config, &adapter.loras, &weights, DType::F32).unwrap();
    let written = compact(&mut model, &at("whole"), &at("small")).unwrap();
    assert_eq!(written.num_differences, weights.len());
    assert!(written.error > 0.01 && written.error < 0.12, "{}", written.error);
    assert!(written.bytes_after * 3 < written.bytes_before, "{written:?}");

    model.attach(&at("whole")).unwrap();
    let whole = outputs(&model);
    let info = model.attach(&at("small")).unwrap();
    assert_eq!((info.matched.matched.len(), info.matched.other_base), (2 + weights.len(), false));
    assert!(info.matched.unmatched.is_empty());
    let (missed, changed) = (furthest(&outputs(&model), &whole), furthest(&whole, &base));
    assert!(missed < 0.1 * changed, "{missed} of {changed}");
    model.detach().unwrap();
    assert_eq!(outputs(&model), base, "the base is as it was");

    // With the base's weights added, it is an ordinary adapter; made small again, it stays the same.
    let mut restored = Adapter::load(&at("small"), &Device::Cpu).unwrap();
    assert_eq!((restored.weights.len(), restored.differences.len()), (0, weights.len()));
    restored.add_base(model.network_mut()).unwrap();
    for (name, weight) in &weights {
        let difference = (weight - &restored.weights[name]).unwrap().abs().unwrap();
        assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 0.02, "{name}");
    }
    compact(&mut model, &at("small"), &at("again")).unwrap();
    let read = |name: &str| fs::read(at(name).join("adapter_model.safetensors")).unwrap();
    assert!(read("again") == read("small"));

    write_adapter(&at("other"), 10, "language_model.model", "another");
    let error = compact(&mut model, &at("other"), &at("none")).unwrap_err().to_string();
    assert!(error.contains("another base"), "{error}");
    // A description of another shape than the bytes.
    let file = at("small").join(ADAPTER_CONFIG);
    let text = fs::read_to_string(&file).unwrap();
    let mut description: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packed = description["packed"].as_object_mut().unwrap();
    let (name, entry) = packed.iter_mut().next().unwrap();
    entry["shape"] = serde_json::json!([64, 64, 3]);
    let name = name.clone();
    fs::write(&file, description.to_string()).unwrap();
    let error = model.attach(&at("small")).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("bytes"), "{error}");
}
