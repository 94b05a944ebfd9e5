//! Times one text step and one picture step of a base at given sizes.
//!
//! `cargo run --release -p troupe-train --example step_time -- <model folder> [tokens] [samples]`

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::{path::PathBuf, time::Instant};

use candle_core::{DType, Device, Tensor, Var};
use troupe_model::{config::ModelConfig, unified::Network, weights::Weights};
use troupe_nn::{
    linear::Lora,
    noise::{Noise, Stream},
};
use troupe_train::sequence::{SequenceBlock, sequence_loss_sharing_starts};

const SHARED: usize = 300;
const REPLY: usize = 60;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model_dir = PathBuf::from(arguments.next().unwrap_or_else(|| "assets/models/mini".into()));
    let mut number =
        |otherwise: usize| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (tokens, samples) = (number(2048), number(5));
    let config = ModelConfig::from_dir(&model_dir)?;
    let made = |name: &str| name.ends_with("pos_embed");
    let weights = std::sync::Arc::new(
        Weights::new().fresh(1, move |name| !made(name)).trainable(|name| name.contains("_gen")),
    );
    let mut network = Network::load(&config, &weights.builder(DType::F32, &Device::Cpu))?;
    network.visit_linears(&mut |module, linear| {
        if !module.contains(".layers.") || module.contains("_moe_gen") {
            return Ok(());
        }
        let (o, i) = linear.shape()?;
        let values = Noise::new(1, Stream::Weights, 0).normal_tensor((16, i), &Device::Cpu)?;
        let a = Var::from_tensor(&(values * 0.02)?)?;
        let b = Var::zeros((o, 16), DType::F32, &Device::Cpu)?;
        linear.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 2. })
    })?;
    let each = (tokens / samples.max(1)).max(SHARED + REPLY + 2);
    let sample = |index: usize| {
        let ids = |from: usize, len: usize| (from..from + len).map(|i| (i % 997) as u32).collect();
        let mut prompt: Vec<u32> = ids(0, SHARED);
        prompt.extend::<Vec<u32>>(ids(100 + index * 31, each - SHARED - REPLY));
        vec![
            SequenceBlock::Text { ids: prompt, loss_from: None },
            SequenceBlock::Text { ids: ids(7, REPLY), loss_from: Some(0) },
        ]
    };
    let batch: Vec<_> = (0..samples).map(sample).collect();
    let special = troupe_model::config::SpecialTokenIds {
        im_start: 1,
        im_end: 2,
        vision_start: 3,
        vision_end: 4,
    };
    for _ in 0..3 {
        let started = Instant::now();
        let losses = sequence_loss_sharing_starts(&network, special, &batch)?;
        let run = losses.position_ids.len();
        let loss: Tensor = losses.total(&Default::default())?.loss;
        let forward = started.elapsed().as_secs_f64();
        let _grads = loss.backward()?;
        let whole = started.elapsed().as_secs_f64();
        println!(
            "{tokens} tokens in {samples} samples, {run} run: forward {forward:.2} s, backward {:.2} s",
            whole - forward
        );
    }
    Ok(())
}
