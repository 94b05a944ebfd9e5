//! A small form of an adapter, for passing on: a quarter of the size, in blocks of few bits.
//!
//! What training in full changed of a matrix is small beside the matrix, so that the *difference* to the
//! base bears four bits a value where the matrix itself would not. Low-rank factors take eight. The
//! blocks are those of GGML (Q4_0, Q8_0; 32 values and a scale each), stored as bytes under PEFT's
//! names; `packed` of the description tells their shapes. PEFT does not read this form.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QStorage, QTensor},
};
use serde::{Deserialize, Serialize};

use super::{Adapter, AdapterConfig, PEFT_PREFIX, adapter_file, write};
use crate::{
    error::{ModelError, ModelResult},
    runtime::Model,
};

/// Format of a tensor's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockFormat {
    /// Four bits a value.
    #[serde(rename = "Q4_0")]
    Q4_0,
    /// Eight bits a value.
    #[serde(rename = "Q8_0")]
    Q8_0,
}

impl BlockFormat {
    fn ggml(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q8_0 => GgmlDType::Q8_0,
        }
    }

    /// Whether the values of `tensor` fill whole blocks.
    fn fits(self, tensor: &Tensor) -> bool {
        tensor.elem_count().is_multiple_of(self.ggml().block_size())
    }
}

/// A tensor that is stored in blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its shape; blocks follow its values in memory order.
    pub shape: Vec<usize>,
    /// Their format.
    pub format: BlockFormat,
    /// Whether it is added to the base's weight instead of taking its place.
    #[serde(default)]
    pub is_difference: bool,
}

impl Packed {
    /// The values, from their blocks.
    pub(super) fn unpack(&self, name: &str, blocks: &Tensor) -> ModelResult<Tensor> {
        let kind = self.format.ggml();
        let num: usize = self.shape.iter().product();
        let is_whole = num.is_multiple_of(kind.block_size()) && blocks.dtype() == DType::U8;
        let bytes = blocks.to_dtype(DType::U8)?.flatten_all()?.to_vec1::<u8>()?;
        if !is_whole || bytes.len() != num / kind.block_size() * kind.type_size() {
            return Err(ModelError::Adapter(format!(
                "{name} has {} bytes, which are no {:?} in {:?}; export it again",
                bytes.len(),
                self.shape,
                self.format
            )));
        }
        let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, kind)?;
        let lines = QTensor::new(storage, (num / kind.block_size(), kind.block_size()))?;
        let values = lines.dequantize(&Device::Cpu)?.reshape(self.shape.as_slice())?;
        Ok(values.to_device(blocks.device())?)
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compacted {
    /// Matrices that are stored as differences.
    pub num_differences: usize,
    /// Root mean square of what the blocks miss, as a share of that of the differences.
    pub error: f64,
    /// Bytes of the tensors before.
    pub bytes_before: u64,
    /// Bytes of the tensors after.
    pub bytes_after: u64,
}

/// The tensors of a compact adapter.
#[derive(Default)]
struct Shelf {
    tensors: HashMap<String, Tensor>,
    packed: BTreeMap<String, Packed>,
}

impl Shelf {
    /// Stores `values` in blocks, and returns what the blocks say.
    fn put(
        &mut self,
        name: &str,
        values: &Tensor,
        format: BlockFormat,
        is_difference: bool,
    ) -> candle_core::Result<Tensor> {
        let name = format!("{PEFT_PREFIX}{name}");
        let kind = format.ggml();
        if !format.fits(values) {
            self.tensors.insert(name, values.to_dtype(DType::F16)?);
            return Ok(values.clone());
        }
        let lines = values.to_device(&Device::Cpu)?.reshape(((), kind.block_size()))?;
        let blocks = QTensor::quantize(&lines, kind)?;
        let bytes = blocks.data()?.into_owned();
        let len = bytes.len();
        self.tensors.insert(name.clone(), Tensor::from_vec(bytes, len, &Device::Cpu)?);
        self.packed.insert(name, Packed { shape: values.dims().to_vec(), format, is_difference });
        blocks.dequantize(&Device::Cpu)?.reshape(values.shape())
    }
}

fn sum_of_squares(xs: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(xs.sqr()?.sum_all()?.to_scalar::<f32>()?))
}

/// Writes the adapter in `from`, which belongs to the base `model`, to the folder `to` in its small
/// form.
///
/// # Errors
/// When the adapter is malformed or belongs to another base, or `to` cannot be written.
pub fn compact(model: &mut Model, from: &Path, to: &Path) -> ModelResult<Compacted> {
    let adapter = Adapter::load(from, &Device::Cpu)?;
    let made_for = &adapter.config.base_hash;
    if !made_for.is_empty() && made_for != model.base_hash() {
        return Err(ModelError::Adapter(
            "it was taught on another base, and its small form is a difference to that one; \
             name the base it was taught on"
                .into(),
        ));
    }
    let mut shelf = Shelf::default();
    for (module, lora) in &adapter.loras {
        shelf.put(&format!("{module}.lora_A.weight"), &lora.a, BlockFormat::Q8_0, false)?;
        shelf.put(&format!("{module}.lora_B.weight"), &lora.b, BlockFormat::Q8_0, false)?;
    }
    let mut weights = adapter.weights.clone();
    let (mut num_differences, mut all, mut missed) = (0, 0., 0.);
    model.network_mut().visit_linears(&mut |module, linear| {
        let key = format!("{module}.weight");
        let difference = match (adapter.differences.get(&key), weights.get(&key)) {
            (Some(difference), _) => difference.clone(),
            // One that fills no whole blocks stays a weight.
            (None, Some(weight)) if BlockFormat::Q4_0.fits(weight) => {
                (weight - linear.dense_weight()?.to_dtype(DType::F32)?)?
            }
            (None, _) => return Ok(()),
        };
        weights.remove(&key);
        let stored = shelf.put(&key, &difference, BlockFormat::Q4_0, true)?;
        num_differences += 1;
        all += sum_of_squares(&difference)?;
        missed += sum_of_squares(&(&difference - stored)?)?;
        Ok(())
    })?;
    for (name, weight) in weights {
        shelf.tensors.insert(format!("{PEFT_PREFIX}{name}"), weight.to_dtype(DType::F16)?);
    }
    let config = AdapterConfig { packed: shelf.packed, ..adapter.config };
    write(to, &config, &shelf.tensors)?;
    let size = |dir: &Path| std::fs::metadata(adapter_file(dir)).map_or(0, |data| data.len());
    Ok(Compacted {
        num_differences,
        error: if all > 0. { (missed / all).sqrt() } else { 0. },
        bytes_before: size(from),
        bytes_after: size(to),
    })
}
