//! A quantised copy of a model answers like the original, and low-rank updates learn on top of it.

use std::{fs, path::Path, sync::Arc};

use candle_core::{DType, Device, Result, Tensor, Var};
use troupe_model::{
    config::ModelConfig, llm::LinearVisitor, quantize::quantize, unified::Network, weights::Weights,
};
use troupe_nn::{
    linear::{Linear, Lora},
    noise::{Noise, Stream},
    quant::{QLinear, QuantKind},
};
use troupe_train::sequence::{FlowTarget, LossWeights, SequenceBlock, sequence_loss};

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/tiny-a")
}

fn base(folder: &Path) -> std::path::PathBuf {
    let base = folder.join("base");
    fs::create_dir(&base).expect("a scratch folder");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden().join(name), base.join(name)).expect("a copy");
    }
    base
}

fn dense(config: &ModelConfig, dir: &Path) -> Result<Network> {
    let weights = Weights::new().file(&dir.join("model.safetensors")).expect("weights");
    Network::load(config, &Arc::new(weights).builder(DType::F32, &Device::Cpu))
}

/// The network of a quantised folder; every stored block is taken over.
fn quantised(config: &ModelConfig, dir: &Path, taken: &mut usize) -> Result<Network> {
    let weights = Arc::new(Weights::new().gguf(&dir.join("model.gguf")).expect("weights"));
    let builder = weights.builder(DType::F32, &Device::Cpu);
    let prepare: LinearVisitor = &mut |module, linear| {
        if let Some(blocks) = weights.blocks(&format!("{module}.weight"), &Device::Cpu)? {
            *taken += 1;
            linear.set_quantised(QLinear::from_stored(blocks)?)?;
        }
        Ok(())
    };
    let network = Network::load_with(config, &builder, &builder, prepare)?;
    assert!(weights.mismatch(|_| true).is_empty(), "{}", weights.mismatch(|_| true));
    Ok(network)
}

fn loss(config: &ModelConfig, network: &Network) -> Result<Tensor> {
    let special = config.special_tokens.expect("special tokens");
    let latent = Noise::new(3, Stream::TrainingNoise, 1)
        .normal_tensor((config.latent_channels(), 4, 4), &Device::Cpu)?;
    let noise = Noise::new(4, Stream::TrainingNoise, 2)
        .normal_tensor((4, config.latent_token_dim()), &Device::Cpu)?;
    let tokens = troupe_model::autoencoder::patchify(&latent, config.latent_patch_size)?;
    let text = |ids: &[u32], loss_from| SequenceBlock::Text {
        ids: [&[special.im_start], ids, &[special.im_end]].concat(),
        loss_from,
    };
    let target = Some(FlowTarget { noise, time: 0.6 });
    let picture = SequenceBlock::Latents { tokens, rows: 2, columns: 2, target };
    let samples = [
        vec![text(&[5, 6, 7, 8], None), text(&[9, 10], Some(0))],
        vec![text(&[11, 12], None), picture],
    ];
    let losses = sequence_loss(network, special, &samples)?;
    Ok(losses.total(&LossWeights::default())?.loss)
}

#[test]
fn a_quantised_copy_is_smaller_and_close() -> Result<()> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (base, out) = (base(scratch.path()), scratch.path().join("q8"));
    let config = ModelConfig::from_dir(&base).expect("a configuration");
    let written = quantize(&base, &out, QuantKind::Q4K).expect("a copy");
    assert!(written.bytes_after * 2 < written.bytes_before, "{written:?}");
    let mut taken = 0;
    let network =
        quantised(&ModelConfig::from_dir(&out).expect("it reads back"), &out, &mut taken)?;
    // Six of the seven layers of each expert: the MLP's width does not fit any block.
    assert!(taken >= 6 * 2 * config.llm_config.num_hidden_layers, "both experts: {taken}");
    let (a, b) = (loss(&config, &dense(&config, &base)?)?, loss(&config, &network)?);
    let (a, b) = (a.to_scalar::<f32>()?, b.to_scalar::<f32>()?);
    // Half-float embeddings and 8-bit layers (the widths do not fit 4-bit blocks).
    assert!(a != b && (a - b).abs() < 0.01 * a.abs(), "{a} {b}");
    let again = quantize(&base, &out, QuantKind::Q8_0).unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
    Ok(())
}

#[test]
fn a_failed_copy_leaves_nothing_and_touches_nothing() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let base = base(scratch.path());
    let (out, part) = (scratch.path().join("copy.q8"), scratch.path().join("copy.q8.part"));
    fs::create_dir(&part).expect("a folder");
    fs::write(part.join("mine"), "kept").expect("a file");
    assert!(quantize(&base, &out, QuantKind::Q8_0).is_err());
    assert_eq!(fs::read_to_string(part.join("mine")).expect("kept"), "kept");
    fs::remove_dir_all(&part).expect("removed");
    fs::remove_file(base.join("model.safetensors")).expect("removed");
    assert!(quantize(&base, &out, QuantKind::Q8_0).is_err());
    assert!(!out.exists() && !part.exists());
}

#[test]
fn every_update_on_a_quantised_layer_gets_a_gradient() -> Result<()> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (base, out) = (base(scratch.path()), scratch.path().join("q8"));
    let config = ModelConfig::from_dir(&base).expect("a configuration");
    quantize(&base, &out, QuantKind::Q8_0).expect("a copy");
    let mut network = quantised(&config, &out, &mut 0)?;
    let mut vars = Vec::new();
    network.visit_linears(&mut |module: &str, linear: &mut Linear| {
        if !module.contains(".layers.") {
            return Ok(());
        }
        let (o, i) = linear.shape()?;
        assert_eq!(linear.is_quantised(), i.is_multiple_of(troupe_nn::quant::BLOCK), "{module}");
        let draw = |shape: (usize, usize)| -> Result<Var> {
            let noise = Noise::new(9, Stream::Weights, vars.len() as u64);
            Var::from_tensor(&({ noise }.normal_tensor(shape, &Device::Cpu)? * 0.05)?)
        };
        let (a, b) = (draw((4, i))?, draw((o, 4))?);
        linear.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 1. })?;
        vars.push((module.to_owned(), a, b));
        Ok(())
    })?;
    let grads = loss(&config, &network)?.backward()?;
    // In the last layer no loss depends on what its text queries read of latents, and the other way
    // round, but every projection of both experts carries one of the two losses.
    for (module, a, b) in &vars {
        for var in [a, b] {
            let sum = match grads.get(var) {
                Some(grad) => grad.abs()?.sum_all()?.to_scalar::<f32>()?,
                None => 0.,
            };
            assert!(sum.is_finite() && sum > 0., "{module}: {sum}");
        }
    }
    Ok(())
}
