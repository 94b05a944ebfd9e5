//! Two hundred steps on the golden base whose losses `tests/reference/sft_losses.py` computes anew in
//! PyTorch. Prints one JSON line a step.
//!
//! `cargo run -p troupe-train --example reference_run -- tests/golden/tiny-a > losses.jsonl`

#![expect(clippy::print_stdout, reason = "a program that prints what it computed")]

use std::{path::PathBuf, sync::Arc};

use candle_core::{DType, Device, Tensor};
use troupe_model::{config::ModelConfig, unified::Network, weights::Weights};
use troupe_nn::adamw::{AdamW, AdamWConfig};
use troupe_train::sequence::{FlowTarget, LossWeights, SequenceBlock, sequence_loss};

const STEPS: usize = 200;
const RATE: f64 = 1e-3;
const SIDE: usize = 4;

fn main() -> anyhow::Result<()> {
    let dir =
        PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "tests/golden/tiny-a".into()));
    let config = ModelConfig::from_dir(&dir)?;
    let special = config.special_tokens.ok_or_else(|| anyhow::anyhow!("no special tokens"))?;
    let frozen =
        |name: &str| ["vit_model", "connector", "pos_embed"].iter().any(|part| name.contains(part));
    let weights = Weights::new().file(&dir.join("model.safetensors"))?;
    let weights = Arc::new(weights.trainable(move |name| !frozen(name)));
    let network = Network::load(&config, &weights.builder(DType::F32, &Device::Cpu))?;
    let settings = AdamWConfig { eps: 1e-8, ..AdamWConfig::default() };
    let mut optimiser = AdamW::new(weights.vars(), settings, |_| RATE);
    for step in 0..STEPS {
        let losses = sequence_loss(&network, special, &batch(&config, step)?)?;
        let total = losses.total(&LossWeights::default())?;
        let grads = total.loss.backward()?;
        let norm = optimiser.grad_norm(&grads)?;
        optimiser.step(&grads, 1., (1. / (norm + 1e-6)).min(1.))?;
        let value = |t: &Option<Tensor>| match t {
            Some(t) => t.to_scalar::<f32>(),
            None => Ok(f32::NAN),
        };
        let (ce, mse) = (value(&total.ce)?, value(&total.mse)?);
        println!("{{\"step\": {step}, \"ce\": {ce}, \"mse\": {mse}, \"norm\": {norm}}}");
    }
    Ok(())
}

/// One dialogue and one picture with its caption, chosen by formula so that both programs have them.
fn batch(config: &ModelConfig, step: usize) -> anyhow::Result<Vec<Vec<SequenceBlock>>> {
    let text = |content: Vec<usize>, loss_from: Option<usize>| {
        let ids = [150].into_iter().chain(content.iter().map(|x| (x % 149) as u32)).chain([151]);
        SequenceBlock::Text { ids: ids.collect(), loss_from }
    };
    let (line, scene) = (step % 8, step % 6);
    let prompt = text((0..12).map(|i| line * 7 + i * 3 + 1).collect(), None);
    let reply = text((0..9).map(|i| line * 5 + i * i).collect(), Some(0));
    let caption = text((0..10).map(|i| scene * 11 + i * 2).collect(), None);
    let width = config.latent_token_dim();
    let table = |f: &dyn Fn(f64) -> f64| {
        let values: Vec<f32> = (0..SIDE * SIDE * width).map(|k| f(k as f64) as f32).collect();
        Tensor::from_vec(values, (SIDE * SIDE, width), &Device::Cpu)
    };
    let tokens = table(&|k| (0.1 * (k + 1.) * (scene + 1) as f64).sin())?;
    let noise = table(&|k| 1.3 * (1.7 * k + 0.9 * step as f64).cos())?;
    let time = 0.1 + 0.8 * ((step * 37) % 100) as f64 / 100.;
    let target = Some(FlowTarget { noise, time });
    let picture = SequenceBlock::Latents { tokens, rows: SIDE, columns: SIDE, target };
    Ok(vec![vec![prompt, reply], vec![caption, picture]])
}
