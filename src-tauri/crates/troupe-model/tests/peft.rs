//! Adapters that the PEFT library wrote for a tiny Qwen2, against the logits that it computed:
//! `tests/reference/peft_adapters.py` made `tests/golden/peft`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use candle_core::{DType, Device, Tensor, safetensors};
use troupe_model::{
    adapter::{self, Adapter},
    config::{ModelConfig, SpecialTokenIds},
    context::{Context, Reader},
    unified::Network,
    weights::Weights,
};

const IDS: [u32; 10] = [3, 41, 7, 7, 60, 12, 33, 5, 28, 19];
const SPECIAL: SpecialTokenIds =
    SpecialTokenIds { im_start: 0, im_end: 1, vision_start: 2, vision_end: 4 };

fn at(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/peft").join(name)
}

fn network() -> Network {
    let config = ModelConfig::from_dir(&at("")).unwrap();
    let weights = Arc::new(Weights::new().file(&at("model.safetensors")).unwrap());
    let network = Network::load(&config, &weights.builder(DType::F32, &Device::Cpu)).unwrap();
    let mismatch = weights.mismatch(|_| true);
    assert!(mismatch.is_empty(), "{mismatch}");
    network
}

fn logits(network: &Network) -> Tensor {
    let reader = Reader { network, special: SPECIAL };
    reader.read_text_with_logits(&mut Context::new(), &IDS).unwrap()
}

/// Largest difference over the largest value.
fn furthest(got: &Tensor, want: &Tensor) -> f32 {
    let largest = |t: &Tensor| {
        t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
    };
    largest(&(got - want).unwrap()) / largest(want)
}

fn wanted() -> HashMap<String, Tensor> {
    safetensors::load(at("logits.safetensors"), &Device::Cpu).unwrap()
}

#[test]
fn adapters_written_by_peft_give_its_logits() {
    let (mut network, wanted) = (network(), wanted());
    assert!(furthest(&logits(&network), &wanted["base"]) < 1e-5);
    // Modules of each: seven kinds or two kinds of linear layers in two layers; biases, norms and head.
    for (name, num_loras) in [("patterns", 14), ("saved", 4), ("decoder", 4)] {
        let adapter = Adapter::load(&at(name), &Device::Cpu).unwrap();
        assert_eq!(adapter.loras.len(), num_loras, "{name}");
        let (replaced, matched) = adapter::attach(&mut network, &adapter, "").unwrap();
        assert_eq!(matched.unmatched, Vec::<String>::new(), "{name}");
        let found = logits(&network);
        assert!(furthest(&found, &wanted["base"]) > 0.05, "{name} changes something");
        let worst = furthest(&found, &wanted[name]);
        assert!(worst < 1e-5, "{name}: {worst}");
        adapter::detach(&mut network, replaced).unwrap();
        assert!(furthest(&logits(&network), &wanted["base"]) < 1e-5);
    }
}

#[test]
fn an_adapter_of_another_width_names_the_layer() {
    let mut network = network();
    let mut adapter = Adapter::load(&at("decoder"), &Device::Cpu).unwrap();
    let (module, lora) = adapter.loras.iter_mut().next().unwrap();
    lora.a = Tensor::zeros((2, 48), DType::F32, &Device::Cpu).unwrap();
    let module = module.clone();
    let error = adapter::attach(&mut network, &adapter, "").unwrap_err().to_string();
    assert!(error.contains(&module) && error.contains("48"), "{error}");
    assert!(furthest(&logits(&network), &wanted()["base"]) < 1e-5, "nothing stays attached");
}
