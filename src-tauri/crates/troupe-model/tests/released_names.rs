//! The released full-size checkpoint, by names and shapes alone: nothing is allocated.
//!
//! `tests/golden/bagel-7b` holds the released configuration files and the names, types and shapes
//! of `ema.safetensors` (1223 tensors) and of the autoencoder's `ae.safetensors` (244).

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use troupe_model::{
    config::ModelConfig,
    inspect::{inspect, memory, required_tensors},
    memory::{MemoryPlan, Purpose, Workload},
    runtime::Precision,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/bagel-7b")
}

fn listed(file: &str) -> BTreeMap<String, Vec<usize>> {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let (name, shape) = (fields.next().unwrap(), fields.nth(1).unwrap());
        (name.to_owned(), serde_json::from_str(shape).unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn every_released_tensor_is_consumed_and_no_other_is_asked_for() {
    let config = ModelConfig::from_dir(&folder()).unwrap();
    let required = required_tensors(&config).unwrap();
    let (network, codec) = (listed("tensors.tsv"), listed("ae-tensors.tsv"));
    assert_eq!((network.len(), codec.len()), (1223, 244));
    let released: BTreeMap<_, _> = network.into_iter().chain(codec).collect();
    let names = |of: &BTreeMap<String, Vec<usize>>| of.keys().cloned().collect::<BTreeSet<_>>();
    let (asked, held) = (names(&required), names(&released));
    assert_eq!(asked.difference(&held).collect::<Vec<_>>(), Vec::<&String>::new(), "not released");
    assert_eq!(held.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "left over");
    for (name, shape) in &released {
        assert_eq!(shape, &required[name], "{name}");
    }
}

#[test]
fn its_parameters_add_up_to_the_published_sizes() {
    let config = ModelConfig::from_dir(&folder()).unwrap();
    let count = |file: &str| -> usize {
        listed(file).values().map(|shape| shape.iter().product::<usize>()).sum()
    };
    assert_eq!(count("tensors.tsv"), 14_607_260_128);
    assert_eq!(count("ae-tensors.tsv"), 83_819_683);
    let required: usize =
        required_tensors(&config).unwrap().values().map(|s| s.iter().product::<usize>()).sum();
    assert_eq!(required, 14_607_260_128 + 83_819_683);
}

/// What the full-size model needs, for a prompt of 4096 tokens and pictures of 1024 pixels.
#[test]
fn four_bits_chat_in_12_gb_and_learn_in_24_gb() {
    let config = ModelConfig::from_dir(&folder()).unwrap();
    let workload = Workload::usual(&config);
    let plans = memory(&config, &required_tensors(&config).unwrap(), &workload);
    for plan in &plans {
        let gb = |bytes: usize| bytes as f64 / 1e9;
        println!(
            "{} {}: {:.1} GB, {:.1} GB with vision tower and codec elsewhere",
            plan.purpose.label(),
            plan.precision.label(),
            gb(plan.bytes()),
            gb(plan.bytes_offloaded())
        );
    }
    let find = |purpose, precision| -> &MemoryPlan {
        plans.iter().find(|p| p.purpose == purpose && p.precision == precision).unwrap()
    };
    // q, o; k, v; gate, up, down of two experts in 28 layers, and the head: 4.5 bits each.
    let layer = 2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18_944;
    let chat = find(Purpose::Chat, Precision::Q4K);
    let experts = chat.weights.understanding + chat.weights.generation;
    assert_eq!(experts, (2 * 28 * layer + 152_064 * 3584) * 9 / 16);
    assert!(chat.bytes_offloaded() < 12_000_000_000);
    assert!(find(Purpose::Chat, Precision::Q8_0).bytes_offloaded() > 12_000_000_000);
    assert!(find(Purpose::Sft, Precision::Q4K).bytes() < 24_000_000_000);
    assert!(find(Purpose::Sft, Precision::Q8_0).bytes() > 24_000_000_000);
}

#[test]
fn a_folder_without_weights_is_inspected_from_its_configuration() {
    let report = inspect(&folder()).unwrap();
    assert!(!report.has_weights);
    assert_eq!(report.num_tensors, 1223 + 244);
    assert_eq!(report.parameters.generation, 6_525_628_928);
    // The latent position table is computed when no file holds it; so is the vision tower's.
    assert_eq!(report.mismatch.missing.len(), 1223 - 2 + 244);
    let text = report.to_string();
    for part in ["28 layers × 3584 wide", "14607.3 M", "chat", "SFT", "GRPO", "weights are missing"]
    {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(!text.contains("stored as"), "{text}");
}
