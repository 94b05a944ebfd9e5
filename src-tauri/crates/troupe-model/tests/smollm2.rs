//! SmolLM2 from its GGUF file against an independent implementation: `tests/golden/smollm2/make.py`
//! writes what the Llama of the Python package transformers makes of the same file.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use serde_json::Value;
use troupe_model::{
    context::Context,
    runtime::{DeviceChoice, LoadOptions, Model, Precision},
    text::argmax,
};

fn at(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path)
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("a list");
    list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// Largest difference over the largest magnitude.
fn relative(got: &Tensor, want: &Tensor) -> f32 {
    let max = |t: Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    let difference = (got - want).and_then(max).expect("equal shapes");
    difference / max(want.clone()).expect("values")
}

#[test]
fn logits_tokens_and_continuations_agree() {
    let folder = at("tests/golden/smollm2");
    let text = std::fs::read_to_string(folder.join("cases.json")).expect("the cases");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let tensors = candle_core::safetensors::load(folder.join("logits.safetensors"), &Device::Cpu)
        .expect("the logits");
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    let model = Model::load(&at("assets/models/mini"), &options).expect("mini");
    let columns = Tensor::new(ids(&golden["columns"]), &Device::Cpu).expect("ids");
    for (number, case) in golden["cases"].as_array().expect("a list").iter().enumerate() {
        let prompt = ids(&case["ids"]);
        let words = case["prompt"].as_str().expect("text");
        if !words.contains("<|") {
            // Special tokens are never read from a person's text.
            let encoded = model.tokenizer().encode(words).expect("tokens");
            assert_eq!(encoded, prompt, "tokens of prompt {number}");
        }
        let mut context = Context::new();
        let logits = model.reader().read_text_with_logits(&mut context, &prompt).expect("logits");
        let last = logits.get(prompt.len() - 1).expect("a row");
        let error = relative(&last, &tensors[&format!("last.{number}")]);
        assert!(error < 1e-3, "prompt {number}: {error}");
        if number == 0 {
            let some = logits.index_select(&columns, 1).expect("columns");
            let error = relative(&some, &tensors["columns.0"]);
            assert!(error < 1e-3, "every position: {error}");
        }
        let mut next = argmax(&last.to_vec1::<f32>().expect("values"));
        let mut produced = Vec::new();
        let greedy = ids(&case["greedy"]);
        for _ in 0..greedy.len() {
            produced.push(next);
            let logits = model.reader().next_logits(&mut context, &[next]).expect("logits");
            next = argmax(&logits.to_vec1::<f32>().expect("values"));
        }
        assert_eq!(produced, greedy, "continuation {number}");
    }
}
