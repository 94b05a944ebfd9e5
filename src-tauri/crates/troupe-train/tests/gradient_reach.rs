//! Where gradients go, with the fused kernels (f32) and with the composed operations (bf16): to every
//! low-rank update, and to no frozen weight.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device, Result, Tensor, Var};
use troupe_model::{config::ModelConfig, unified::Network, weights::Weights};
use troupe_nn::{
    linear::{Linear, Lora},
    noise::{Noise, Stream},
};
use troupe_train::sequence::{FlowTarget, LossWeights, SequenceBlock, VisionInput, sequence_loss};

fn noise(shape: &[usize], step: u64) -> Result<Tensor> {
    Noise::new(3, Stream::Weights, step).normal_tensor(shape, &Device::Cpu)
}

/// A text after a picture, and a picture after a text.
fn loss(config: &ModelConfig, network: &Network) -> Result<Tensor> {
    let special = config.special_tokens.expect("special tokens");
    let text = |ids: &[u32], loss_from| SequenceBlock::Text {
        ids: [&[special.im_start], ids, &[special.im_end]].concat(),
        loss_from,
    };
    let width = config.latent_token_dim();
    let tokens = noise(&[4, width], 1)?;
    let target = Some(FlowTarget { noise: noise(&[4, width], 2)?, time: 0.6 });
    let side = 2 * config.vit_config.patch_size;
    let seen = SequenceBlock::Vision(VisionInput::Pixels(noise(&[3, side, side], 3)?));
    let samples = [
        vec![seen, text(&[5, 6, 7], None), text(&[9, 10], Some(0))],
        vec![text(&[11, 12], None), SequenceBlock::Latents { tokens, rows: 2, columns: 2, target }],
    ];
    let losses = sequence_loss(network, special, &samples)?;
    Ok(losses.total(&LossWeights::default())?.loss)
}

fn check(name: &str, dtype: DType) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden").join(name);
    let config = ModelConfig::from_dir(&folder).expect("a configuration");
    let weights = Weights::new().file(&folder.join("model.safetensors")).expect("weights");
    let mut network = Network::load(&config, &Arc::new(weights).builder(dtype, &Device::Cpu))?;
    let (mut vars, mut frozen) = (Vec::new(), BTreeMap::new());
    network.visit_linears(&mut |module: &str, linear: &mut Linear| {
        frozen.insert(format!("{module}.weight"), linear.dense_weight()?);
        if let Some(bias) = linear.bias() {
            frozen.insert(format!("{module}.bias"), bias.clone());
        }
        let (o, i) = linear.shape()?;
        let step = 10 + 2 * vars.len() as u64;
        let draw = |shape: &[usize], step| -> Result<Var> {
            Var::from_tensor(&(noise(shape, step)? * 0.1)?.to_dtype(dtype)?)
        };
        let (a, b) = (draw(&[2, i], step)?, draw(&[o, 2], step + 1)?);
        linear.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 1. })?;
        vars.extend([(format!("{module}.lora_A"), a), (format!("{module}.lora_B"), b)]);
        Ok(())
    })?;
    network.visit_norms(&mut |name, norm| {
        frozen.insert(name.to_owned(), norm.clone());
        Ok(())
    })?;
    let grads = loss(&config, &network)?.backward()?;
    for (name, var) in &vars {
        let Some(grad) = grads.get(var) else { panic!("{name} gets no gradient in {dtype:?}") };
        let size = grad.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(size.is_finite() && size > 0., "{name}: {size} in {dtype:?}");
    }
    // Fourteen layers of two experts in each decoder layer, the head, and the drawing heads.
    assert_eq!(vars.len(), 2 * (14 * config.llm_config.num_hidden_layers + 5));
    for (name, weight) in &frozen {
        assert!(grads.get(weight).is_none(), "{name} is frozen and gets a gradient in {dtype:?}");
    }
    Ok(())
}

#[test]
fn every_update_gets_a_gradient_and_no_frozen_weight_does() -> Result<()> {
    for name in ["tiny-a", "tiny-b", "tiny-d"] {
        check(name, DType::F32)?;
        check(name, DType::BF16)?;
    }
    Ok(())
}
