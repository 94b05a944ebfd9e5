//! Fresh weights for the parts of a base that no file holds yet.

use std::{collections::HashMap, path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use troupe_model::{
    config::ModelConfig, error::ModelError, runtime::ModelFiles, unified::Network,
    weights::is_network,
};

use crate::error::{TrainError, TrainResult};

/// Writes initial values of all tensors that the folder's configuration needs and its files lack,
/// as half floats, to `file`. Returns their names.
///
/// # Errors
/// When the folder is unusable or `file` cannot be written.
pub fn write_fresh_weights(model_dir: &Path, file: &Path, seed: u64) -> TrainResult<Vec<String>> {
    let config = ModelConfig::from_dir(model_dir)?;
    let made = |name: &str| name.ends_with("pos_embed");
    let source = ModelFiles::find(model_dir)?.source()?;
    let weights = Arc::new(source.fresh(seed, move |name| !made(name)).trainable(|_| true));
    Network::load(&config, &weights.builder(DType::F32, &Device::Cpu))?;
    let mismatch = weights.mismatch(is_network);
    if !mismatch.is_empty() {
        return Err(ModelError::Weights(mismatch).into());
    }
    let vars = weights.vars();
    let names = weights.fresh_names();
    let tensors: HashMap<String, Tensor> = names
        .iter()
        .filter_map(|name| Some((name.clone(), vars.get(name)?.as_tensor().to_dtype(DType::F16))))
        .map(|(name, tensor)| Ok((name, tensor?)))
        .collect::<TrainResult<_>>()?;
    candle_core::safetensors::save(&tensors, file).map_err(|e| TrainError::Malformed {
        what: "the weight file",
        reason: format!("it could not be written: {e}"),
        path: file.to_path_buf(),
    })?;
    Ok(names)
}
