//! Damaged and contradictory model folders, and requests that do not fit: every message names the
//! file, tensor, field or token at fault.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, fs, ops::ControlFlow, path::Path};

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};
use tempfile::TempDir;
use troupe_model::{
    adapter::{Adapter, AdapterConfig},
    error::ModelError,
    quantize::{QUANTISED_FILE, quantize},
    runtime::{
        DeviceChoice, DrawRequest, FlowSampling, LoadOptions, Model, Precision, ReplyRequest,
        TextSampling,
    },
};
use troupe_nn::{linear::Lora, quant::QuantKind};
use troupe_testkit::BagelShape;

const WEIGHTS: &str = "model.safetensors";
const GATE: &str = "language_model.model.layers.1.mlp_moe_gen.gate_proj.weight";

fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    BagelShape::default().write(scratch.path());
    scratch
}

fn load(dir: &Path) -> Result<Model, ModelError> {
    let options = LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::default() };
    Model::load(dir, &options)
}

fn complaint(dir: &Path) -> String {
    load(dir).map(|_| ()).unwrap_err().to_string()
}

fn cut(file: &Path, keep: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes.truncate(keep(bytes.len()));
    fs::write(file, bytes).unwrap();
}

/// Changes the tensors of a safetensors file.
fn edit(file: &Path, change: impl Fn(&mut HashMap<String, Tensor>)) {
    let mut tensors = safetensors::load(file, &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, file).unwrap();
}

fn edit_config(dir: &Path, change: impl Fn(&mut Value)) {
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut config);
    fs::write(file, config.to_string()).unwrap();
}

/// The tensor with its last value replaced.
fn with_last(tensor: &Tensor, value: f32) -> Tensor {
    let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    *values.last_mut().unwrap() = value;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

fn assert_names(message: &str, names: &[&str]) {
    for name in names {
        assert!(message.contains(name), "no {name} in: {message}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_named() {
    for keep in [0, 5, 2000, usize::MAX] {
        for file in [WEIGHTS, "ae.safetensors"] {
            let scratch = scratch();
            cut(&scratch.path().join(file), |all| keep.min(all - 1));
            let said = complaint(scratch.path());
            assert_names(&said, &[file, "incomplete"]);
            assert_eq!(said.matches(file).count(), 1, "the path is told once: {said}");
        }
    }
    let scratch = scratch();
    let out = scratch.path().join("q8");
    quantize(scratch.path(), &out, QuantKind::Q8_0).unwrap();
    cut(&out.join(QUANTISED_FILE), |all| all - 1);
    assert_names(&complaint(&out), &[QUANTISED_FILE, "incomplete", "tensor "]);
}

#[test]
fn a_configuration_that_disagrees_with_the_weights_names_tensors_and_shapes() {
    let wider = scratch();
    edit_config(wider.path(), |c| c["llm_config"]["intermediate_size"] = json!(192));
    let shapes = ["wrong shape", "gate_proj", "[160, 64]", "[192, 64]"];
    assert_names(&complaint(wider.path()), &shapes);
    let deeper = scratch();
    edit_config(deeper.path(), |c| c["llm_config"]["num_hidden_layers"] = json!(4));
    assert_names(&complaint(deeper.path()), &["missing", "layers.3."]);
    let shallower = scratch();
    edit_config(shallower.path(), |c| c["llm_config"]["num_hidden_layers"] = json!(2));
    assert_names(&complaint(shallower.path()), &["unexpected", "layers.2."]);
    let narrower = scratch();
    edit_config(narrower.path(), |c| c["vae_config"]["ch"] = json!(64));
    assert_names(&complaint(narrower.path()), &["wrong shape", "encoder.down.0"]);
    // The same for a quantised copy, whose blocks are never unpacked.
    let copied = scratch();
    let out = copied.path().join("q8");
    quantize(copied.path(), &out, QuantKind::Q8_0).unwrap();
    edit_config(&out, |c| c["llm_config"]["intermediate_size"] = json!(192));
    assert_names(&complaint(&out), &shapes);
}

#[test]
fn a_configuration_that_contradicts_itself_names_the_field() {
    let cases = [
        ("num_attention_heads", json!(5)),
        ("num_key_value_heads", json!(3)),
        ("gen_expert.layers", json!([7])),
    ];
    for (field, value) in cases {
        let scratch = scratch();
        edit_config(scratch.path(), |config| {
            let mut place = &mut config["llm_config"];
            for part in field.split('.') {
                place = &mut place[part];
            }
            *place = value.clone();
        });
        assert_names(&complaint(scratch.path()), &["llm_config.", field]);
    }
    let scratch = scratch();
    edit_config(scratch.path(), |config| {
        config["llm_config"].as_object_mut().unwrap().remove("vocab_size");
    });
    assert_names(&complaint(scratch.path()), &["vocab_size", "config.json"]);
    cut(&scratch.path().join("config.json"), |all| all / 2);
    assert_names(&complaint(scratch.path()), &["config.json", "configuration"]);
}

#[test]
fn weights_that_are_no_numbers_are_named_whatever_their_type() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let scratch = scratch();
            edit(&scratch.path().join(WEIGHTS), |tensors| {
                let spoilt = with_last(&tensors[GATE], bad);
                tensors.insert(GATE.into(), spoilt);
                for tensor in tensors.values_mut() {
                    *tensor = tensor.to_dtype(dtype).unwrap();
                }
            });
            assert_names(&complaint(scratch.path()), &["1 not finite", GATE]);
            let out = scratch.path().join("copy");
            let refused = quantize(scratch.path(), &out, QuantKind::Q8_0).unwrap_err().to_string();
            assert_names(&refused, &["not finite", GATE]);
            assert!(!out.exists());
        }
    }
    let scratch = scratch();
    edit(&scratch.path().join("ae.safetensors"), |tensors| {
        let spoilt = with_last(&tensors["decoder.conv_in.bias"], f32::NAN);
        tensors.insert("decoder.conv_in.bias".into(), spoilt);
    });
    assert_names(&complaint(scratch.path()), &["not finite", "decoder.conv_in.bias"]);
}

#[test]
fn a_spoilt_scale_of_a_quantised_file_is_named() {
    // Widths of 256 so that both formats apply; 2 bytes of a block's scale become a NaN.
    let shape = BagelShape { hidden: 256, mlp: 256, layers: 1, ..BagelShape::default() };
    for kind in [QuantKind::Q8_0, QuantKind::Q4K] {
        let scratch = tempfile::tempdir().unwrap();
        shape.write(&scratch.path().join("base"));
        let out = scratch.path().join("copy");
        quantize(&scratch.path().join("base"), &out, kind).unwrap();
        load(&out).unwrap();
        let name = GATE.replace("layers.1", "layers.0");
        let file = out.join(QUANTISED_FILE);
        let mut bytes = fs::read(&file).unwrap();
        let at = {
            let mut reader = std::io::Cursor::new(&bytes);
            let content = candle_core::quantized::gguf_file::Content::read(&mut reader).unwrap();
            (content.tensor_data_offset + content.tensor_infos[&name].offset) as usize
        };
        bytes[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
        fs::write(&file, bytes).unwrap();
        assert_names(&complaint(&out), &[&name, "not finite"]);
    }
}

#[test]
fn an_adapter_that_is_no_number_is_refused_and_the_base_stays() {
    let scratch = scratch();
    let mut model = load(scratch.path()).unwrap();
    let module = GATE.trim_end_matches(".weight").to_owned();
    let a = Tensor::full(f32::NAN, (2, 64), &Device::Cpu).unwrap();
    let b = Tensor::zeros((160, 2), DType::F32, &Device::Cpu).unwrap();
    let loras = [(module.clone(), Lora { a, b, scale: 1. })].into();
    let dir = scratch.path().join("adapter");
    Adapter::save(&dir, &AdapterConfig::default(), &loras, &[].into(), DType::F32).unwrap();
    assert_names(&model.attach(&dir).unwrap_err().to_string(), &[&module, "not finite"]);
    assert!(model.adapter_hash().is_none());
}

#[test]
fn a_tokenizer_without_the_special_tokens_names_the_missing_one() {
    let scratch = scratch();
    let file = scratch.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    tokenizer["added_tokens"].as_array_mut().unwrap().remove(2);
    fs::write(&file, tokenizer.to_string()).unwrap();
    assert_names(&complaint(scratch.path()), &["<|vision_start|>", "the start of a picture"]);
    fs::write(&file, "{").unwrap();
    assert_names(&complaint(scratch.path()), &["tokenizer.json"]);
    fs::remove_file(&file).unwrap();
    assert_names(&complaint(scratch.path()), &["tokenizer.json", "vocab.json"]);
}

#[test]
fn a_prompt_longer_than_the_context_says_both_lengths() {
    let scratch = scratch();
    edit_config(scratch.path(), |c| c["llm_config"]["max_position_embeddings"] = json!(64));
    let model = load(scratch.path()).unwrap();
    let ask = |length: usize, max_tokens: usize| {
        let request = ReplyRequest {
            prompt: "a".repeat(length),
            sampling: TextSampling::greedy(),
            max_tokens,
            ..ReplyRequest::default()
        };
        model.reply(&request, &mut |_| ControlFlow::Continue(()))
    };
    // A byte is a token here; two enclose the prompt, one opens the reply.
    assert_eq!(ask(57, 4).unwrap().num_tokens, 4);
    let error = ask(58, 4).unwrap_err();
    assert!(matches!(error, ModelError::PromptTooLong { num_tokens: 65, limit: 64 }), "{error}");
    assert_names(&error.to_string(), &["65 tokens", "at most 64"]);
    let flow = FlowSampling::from_defaults(&model.config().generation, 1);
    let request = DrawRequest::new("a".repeat(63), flow);
    let error = model.draw(&request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_names(&error.to_string(), &["65 tokens", "at most 64"]);
}

#[test]
fn half_files_load_in_any_precision() {
    // A bf16 file as released, in every precision of the options.
    let scratch = scratch();
    edit(&scratch.path().join(WEIGHTS), |tensors| {
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::BF16).unwrap();
        }
    });
    for precision in
        [Precision::F32, Precision::Bf16, Precision::F16, Precision::Q8_0, Precision::Q4K]
    {
        let options = LoadOptions { device: DeviceChoice::Cpu, precision, ..Default::default() };
        Model::load(scratch.path(), &options).unwrap();
    }
}
