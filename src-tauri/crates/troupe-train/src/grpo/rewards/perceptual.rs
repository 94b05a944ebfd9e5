//! LPIPS on AlexNet features, for whoever puts its weights into the base's folder.
//!
//! Channels of the five activations are scaled to length one, squared differences weighed by
//! learned non-negative weights, averaged over places and summed over layers.
//!
//! Source: LPIPS (arXiv:1801.03924), version 0.1 with AlexNet. The file `lpips.safetensors` holds
//! `features.{0,3,6,8,10}.{weight,bias}` as torchvision names AlexNet, and `lin{0..4}.model.1.weight`.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use image::RgbImage;

use crate::error::{TrainError, TrainResult};

/// Name of the weights' file.
pub const LPIPS_FILE: &str = "lpips.safetensors";
/// Layer numbers, strides, paddings, and whether a max-pool comes before.
const LAYERS: [(usize, usize, usize, bool); 5] =
    [(0, 4, 2, false), (3, 1, 2, true), (6, 1, 1, true), (8, 1, 1, false), (10, 1, 1, false)];
/// Mean and deviation of inputs in [−1, 1].
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Keeps divisions by a length finite.
const EPS: f64 = 1e-10;

struct Layer {
    weight: Tensor, // (out, in, k, k)
    bias: Tensor,   // (1, out, 1, 1)
    lin: Tensor,    // (1, out, 1, 1)
}

/// The distance.
pub struct Lpips(Vec<Layer>);

impl Lpips {
    /// Reads the weights of a folder; none when it holds no such file.
    ///
    /// # Errors
    /// When the file is unreadable or lacks a tensor.
    pub fn find(dir: &Path) -> TrainResult<Option<Self>> {
        let path = dir.join(LPIPS_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let malformed =
            |reason: String| TrainError::Malformed { what: LPIPS_FILE, reason, path: path.clone() };
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
            .map_err(|e| malformed(e.to_string()))?;
        Self::from_tensors(&|name| {
            let found = tensors.get(name);
            Ok(found.ok_or_else(|| malformed(format!("it lacks {name}")))?.to_dtype(DType::F32)?)
        })
        .map(Some)
    }

    /// Builds it from tensors by name.
    ///
    /// # Errors
    /// When one is missing or misshapen.
    pub fn from_tensors(get: &dyn Fn(&str) -> TrainResult<Tensor>) -> TrainResult<Self> {
        let layer = |(index, (number, ..)): (usize, &(usize, usize, usize, bool))| {
            let bias = get(&format!("features.{number}.bias"))?;
            let out = bias.dim(0)?;
            let lin = get(&format!("lin{index}.model.1.weight"))?;
            Ok(Layer {
                weight: get(&format!("features.{number}.weight"))?,
                bias: bias.reshape((1, out, 1, 1))?,
                lin: lin.reshape((1, out, 1, 1))?,
            })
        };
        Ok(Self(LAYERS.iter().enumerate().map(layer).collect::<TrainResult<_>>()?))
    }

    /// Unit activations of a picture, one tensor (1, c, h, w) a layer.
    ///
    /// # Errors
    /// When the picture is too small for the network (under 63 pixels a side).
    pub fn features(&self, image: &RgbImage) -> TrainResult<Vec<Tensor>> {
        let pixels = troupe_model::image_ops::normalise(image, &Device::Cpu)?.unsqueeze(0)?;
        let three = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu)?.reshape((1, 3, 1, 1));
        let mut xs = pixels.broadcast_sub(&three(SHIFT)?)?.broadcast_div(&three(SCALE)?)?;
        let mut found = Vec::new();
        for (layer, (_, stride, padding, pooled)) in self.0.iter().zip(LAYERS) {
            if pooled {
                xs = xs.max_pool2d_with_stride(3, 2)?;
            }
            xs = xs.conv2d(&layer.weight, padding, stride, 1, 1)?;
            xs = xs.broadcast_add(&layer.bias)?.relu()?;
            found.push(unit_channels(&xs)?);
        }
        Ok(found)
    }

    /// Distance of two pictures by their activations.
    ///
    /// # Errors
    /// When the pictures differ in size.
    pub fn distance(&self, a: &[Tensor], b: &[Tensor]) -> TrainResult<f64> {
        let mut sum = 0.;
        for ((a, b), layer) in a.iter().zip(b).zip(&self.0) {
            let far = (a - b)?.sqr()?.broadcast_mul(&layer.lin)?.sum(1)?;
            sum += f64::from(far.mean_all()?.to_scalar::<f32>()?);
        }
        Ok(sum)
    }
}

fn unit_channels(xs: &Tensor) -> Result<Tensor> {
    let norm = (xs.sqr()?.sum_keepdim(1)?.sqrt()? + EPS)?;
    xs.broadcast_div(&norm)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use troupe_nn::noise::{Noise, Stream};

    use super::*;
    use crate::grpo::rewards::diversity::{Distance, mean_pairwise, to_siblings};

    fn random(name: &str) -> TrainResult<Tensor> {
        let shape: Vec<usize> = match name {
            "features.0.weight" => vec![8, 3, 11, 11],
            "features.3.weight" => vec![12, 8, 5, 5],
            "features.6.weight" | "features.8.weight" | "features.10.weight" => vec![12, 12, 3, 3],
            "features.0.bias" | "lin0.model.1.weight" => vec![8],
            _ => vec![12],
        };
        let seed = name.bytes().map(u64::from).sum();
        let xs = Noise::new(seed, Stream::Weights, 0).normal_tensor(shape, &Device::Cpu)?;
        Ok(if name.starts_with("lin") { xs.abs()? } else { (xs * 0.1)? })
    }

    /// I-18.
    #[test]
    fn a_distance_is_symmetric_zero_to_itself_and_positive() -> TrainResult<()> {
        let lpips = Lpips::from_tensors(&random)?;
        let picture =
            |n: u32| RgbImage::from_fn(64, 64, |x, y| Rgb([(x * n) as u8, (y * 3) as u8, 9]));
        let images = [picture(1), picture(3), picture(1)];
        let matrix = lpips.matrix(&images)?;
        assert!(matrix[0][1] > 1e-6 && matrix[0][1] == matrix[1][0]);
        assert_eq!((matrix[0][0], matrix[0][2]), (0., 0.));
        let back = lpips.distance(&lpips.features(&images[1])?, &lpips.features(&images[0])?)?;
        assert!((back - matrix[0][1]).abs() < 1e-9);
        let d = to_siblings(&matrix);
        assert!((mean_pairwise(&matrix) - d.iter().sum::<f64>() / 3.).abs() < 1e-12);
        Ok(())
    }
}
