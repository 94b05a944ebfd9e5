//! A common start run once gives the losses and gradients of samples run apart.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Result, Tensor};
use troupe_model::{
    config::ModelConfig,
    context::{Context, Reader},
    unified::Network,
    weights::Weights,
};
use troupe_train::sequence::{
    LossWeights, SequenceBlock, read_sharing_starts, sequence_loss, sequence_loss_sharing_starts,
};

fn text(ids: &[u32], loss_from: Option<usize>) -> SequenceBlock {
    SequenceBlock::Text { ids: ids.to_vec(), loss_from }
}

/// Configuration and weights of a golden case.
fn tiny() -> (ModelConfig, Weights) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/tiny-a");
    let config = ModelConfig::from_dir(&folder).expect("a configuration");
    let weights = Weights::new().file(&folder.join("model.safetensors")).expect("weights");
    (config, weights)
}

#[test]
fn losses_and_gradients_are_the_same() -> Result<()> {
    let (config, weights) = tiny();
    let special = config.special_tokens.expect("special tokens");
    let weights = Arc::new(weights.trainable(|name| {
        name.contains("layers.1.self_attn.q_proj.weight") && name.starts_with("language_model")
    }));
    let network = Network::load(&config, &weights.builder(DType::F32, &Device::Cpu))?;
    let start: Vec<u32> = std::iter::once(special.im_start).chain(10..40).collect();
    let prompt = |rest: &[u32]| text(&[&start, rest, &[special.im_end]].concat(), None);
    let reply =
        |ids: &[u32]| text(&[&[special.im_start], ids, &[special.im_end]].concat(), Some(0));
    let samples = vec![
        vec![prompt(&[5, 6, 7]), reply(&[50, 51])],
        vec![reply(&[60, 61, 62])],
        vec![prompt(&[5, 9]), reply(&[52])],
        vec![prompt(&[8]), reply(&[53, 54, 55, 56])],
    ];
    let apart = sequence_loss(&network, special, &samples)?;
    let shared = sequence_loss_sharing_starts(&network, special, &samples)?;
    assert!(shared.position_ids.len() + 60 <= apart.position_ids.len(), "the start is run once");
    let gradient = |losses: &troupe_train::sequence::SequenceLoss| -> Result<(f32, Vec<Tensor>)> {
        let total = losses.total(&LossWeights::default())?;
        let grads = total.loss.backward()?;
        let all = weights.vars();
        let all = all.values().map(|v| grads.get(v).cloned().expect("a gradient")).collect();
        Ok((total.loss.to_scalar()?, all))
    };
    let ((a, ga), (b, gb)) = (gradient(&apart)?, gradient(&shared)?);
    assert!((a - b).abs() < 1e-6, "{a} {b}");
    for (x, y) in ga.iter().zip(&gb) {
        let worst = (x - y)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(worst < 1e-6, "gradients differ by {worst}");
        assert!(x.abs()?.sum_all()?.to_scalar::<f32>()? > 0.);
    }
    Ok(())
}

#[test]
fn contexts_go_on_alike() -> Result<()> {
    let (config, weights) = tiny();
    let special = config.special_tokens.expect("special tokens");
    let weights = Arc::new(weights);
    let network = Network::load(&config, &weights.builder(DType::F32, &Device::Cpu))?;
    let reader = Reader { network: &network, special };
    let start: Vec<u32> = std::iter::once(special.im_start).chain(10..40).collect();
    let text = |rest: &[u32]| [&start, rest, &[special.im_end]].concat();
    let alone = |id| vec![special.im_start, id, special.im_end];
    let texts = [text(&[5, 6, 7]), alone(60), text(&[5, 9]), text(&[]), alone(61)];
    let next = [special.im_start, 70, 71];
    let mut seen = Vec::new();
    let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    read_sharing_starts(reader, &all, |index, mut shared| {
        let mut apart = Context::new();
        reader.read_text(&mut apart, &texts[index])?;
        assert_eq!((shared.len(), shared.rope()), (apart.len(), apart.rope()));
        let shared = reader.next_logits(&mut shared, &next)?;
        let apart = reader.next_logits(&mut apart, &next)?;
        let worst = (shared - apart)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(worst < 1e-5, "text {index} differs by {worst}");
        seen.push(index);
        Ok(())
    })?;
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    Ok(())
}
