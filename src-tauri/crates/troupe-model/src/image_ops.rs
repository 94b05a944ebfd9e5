//! From picture files to tensors and back.
//!
//! Source: UniCharacter, `data/transforms.py` and `data/data_utils.py`; resampling as Pillow 10
//! (`Resample.c`, bicubic a = −0.5).

use std::{io::Cursor, path::Path};

use candle_core::{DType, Device, Result, Tensor};
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, ModelResult};

/// Limits of a resized picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTransform {
    /// Longest side in pixels.
    pub max_size: usize,
    /// Shortest side in pixels; elongated pictures may fall below.
    pub min_size: usize,
    /// Sides are multiples of this.
    pub stride: usize,
    /// Most pixels.
    #[serde(default = "default_max_pixels")]
    pub max_pixels: usize,
}

fn default_max_pixels() -> usize {
    14 * 14 * 9 * 1024
}

impl ImageTransform {
    /// The codec's transform in the reference.
    pub const VAE: Self = Self { max_size: 1024, min_size: 512, stride: 16, max_pixels: 1_806_336 };
    /// The vision tower's transform at inference.
    pub const VIT: Self = Self { max_size: 980, min_size: 224, stride: 14, max_pixels: 1_806_336 };
    /// The vision tower's transform in training.
    pub const VIT_TRAINING: Self =
        Self { max_size: 980, min_size: 378, stride: 14, max_pixels: 2_007_040 };

    /// Width and height after resizing a `width`×`height` picture, one of `num_pictures`.
    ///
    /// Rounds half to even. The correction for too many pixels uses the ratio of areas as a factor
    /// of lengths, as the reference does.
    pub fn target_size(&self, width: usize, height: usize, num_pictures: usize) -> (usize, usize) {
        let (max, min) = (self.max_size as f64, self.min_size as f64);
        let stride = self.stride as f64;
        let fit = |v: f64| ((v / stride).round_ties_even() * stride).max(stride);
        let scaled = |w: f64, h: f64, s: f64| {
            (fit((w * s).round_ties_even()), fit((h * s).round_ties_even()))
        };
        let (w, h) = (width as f64, height as f64);
        let s = (max / w.max(h)).min(1.).max(min / w.min(h));
        let (mut w, mut h) = scaled(w, h, s);
        let budget = self.max_pixels as f64 / num_pictures.max(1) as f64;
        if w * h > budget {
            (w, h) = scaled(w, h, budget / (w * h));
        }
        if w.max(h) > max {
            (w, h) = scaled(w, h, max / w.max(h));
        }
        (w as usize, h as usize)
    }

    /// Resizes a picture.
    pub fn apply(&self, picture: &RgbImage, num_pictures: usize) -> RgbImage {
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        let (w, h) = self.target_size(w, h, num_pictures);
        resize_bicubic(picture, w, h)
    }
}

/// Bits of a fixed-point filter weight.
const WEIGHT_BITS: u32 = 22;

/// First source index and fixed-point weights of one output coordinate.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1. {
        ((A + 2.) * x - (A + 3.)) * x * x + 1.
    } else if x < 2. {
        (((x - 5.) * x + 8.) * x - 4.) * A
    } else {
        0.
    }
}

fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let filter = scale.max(1.);
    let support = 2. * filter;
    let at = |o: usize| {
        let centre = (o as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.) as usize;
        let end = ((centre + support + 0.5) as usize).min(input);
        let weights: Vec<f64> =
            (first..end).map(|i| cubic((i as f64 - centre + 0.5) / filter)).collect();
        let sum: f64 = weights.iter().sum();
        let one = f64::from(1u32 << WEIGHT_BITS);
        let weights = weights.iter().map(|w| (w / sum * one).round() as i64).collect();
        Taps { first, weights }
    };
    (0..output).map(at).collect()
}

fn round_weighted(sum: i64) -> u8 {
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Bicubic resize, antialiased, in 8 bits per pass: rows first, then columns.
pub fn resize_bicubic(picture: &RgbImage, width: usize, height: usize) -> RgbImage {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let mut pixels = picture.as_raw().clone();
    if w != width {
        let taps = taps(w, width);
        let mut out = vec![0u8; width * h * 3];
        out.par_chunks_mut(width * 3).zip(pixels.par_chunks(w * 3)).for_each(|(out, row)| {
            for (pixel, taps) in out.chunks_exact_mut(3).zip(&taps) {
                for (c, value) in pixel.iter_mut().enumerate() {
                    let source = row[taps.first * 3 + c..].iter().step_by(3);
                    let sum = taps.weights.iter().zip(source).map(|(w, p)| w * i64::from(*p)).sum();
                    *value = round_weighted(sum);
                }
            }
        });
        pixels = out;
    }
    if h != height {
        let taps = taps(h, height);
        let stride = width * 3;
        let mut out = vec![0u8; stride * height];
        out.par_chunks_mut(stride).zip(&taps).for_each(|(out, taps)| {
            for (x, value) in out.iter_mut().enumerate() {
                let source = pixels[taps.first * stride + x..].iter().step_by(stride);
                let sum = taps.weights.iter().zip(source).map(|(w, p)| w * i64::from(*p)).sum();
                *value = round_weighted(sum);
            }
        });
        pixels = out;
    }
    let [width, height] = [width, height].map(|side| side as u32);
    RgbImage::from_raw(width, height, pixels).unwrap_or_else(|| RgbImage::new(width, height))
}

/// RGB; transparent pixels over white, in Pillow's integer arithmetic.
pub fn to_rgb(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u32::from);
        image::Rgb([r, g, b].map(|p| {
            let t = p * a + 255 * (255 - a) + 128;
            (((t >> 8) + t) >> 8) as u8
        }))
    })
}

/// The central square of a picture, resized to `side`×`side`.
pub fn fit_square(picture: &RgbImage, side: usize) -> RgbImage {
    let short = picture.width().min(picture.height());
    if [picture.width(), picture.height()].iter().all(|length| *length as usize == side) {
        return picture.clone();
    }
    let (x, y) = ((picture.width() - short) / 2, (picture.height() - short) / 2);
    let square = image::imageops::crop_imm(picture, x, y, short, short).to_image();
    resize_bicubic(&square, side, side)
}

/// A picture as (3, H, W) in −1…1, f32.
///
/// # Errors
/// When the device refuses the copy.
pub fn normalise(picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let shape = (picture.height() as usize, picture.width() as usize, 3);
    let values: Vec<f32> =
        picture.as_raw().iter().map(|p| (f32::from(*p) / 255. - 0.5) / 0.5).collect();
    Tensor::from_vec(values, shape, device)?.permute((2, 0, 1))?.contiguous()
}

/// A picture from (3, H, W) in −1…1; clamps, and truncates to 8 bits as the reference does.
///
/// # Errors
/// When the tensor is not of that shape.
pub fn to_rgb_image(picture: &Tensor) -> Result<RgbImage> {
    let (_, height, width) = picture.dims3()?;
    let pixels: Vec<u8> = picture
        .to_dtype(DType::F32)?
        .permute((1, 2, 0))?
        .flatten_all()?
        .to_vec1::<f32>()?
        .into_iter()
        .map(|x| ((0.5 * x + 0.5).clamp(0., 1.) * 255.) as u8)
        .collect();
    match RgbImage::from_raw(width as u32, height as u32, pixels) {
        Some(image) => Ok(image),
        None => candle_core::bail!("a picture needs 3 channels, got {:?}", picture.dims()),
    }
}

/// Largest picture that is read, in pixels.
pub const MAX_PICTURE_PIXELS: u64 = 100_000_000;

/// Decodes a picture and turns it upright.
///
/// # Errors
/// When the bytes are no PNG, JPEG or WebP picture, or it is larger than [`MAX_PICTURE_PIXELS`].
pub fn decode_picture(bytes: &[u8], path: &Path) -> ModelResult<RgbImage> {
    let malformed = |reason: String| ModelError::Malformed {
        what: "the picture",
        reason,
        path: path.to_path_buf(),
    };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| malformed(e.to_string()))?;
    if reader.format().is_none() {
        return Err(malformed("it is not a PNG, JPEG or WebP file".into()));
    }
    let mut decoder = reader.into_decoder().map_err(|e| malformed(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PICTURE_PIXELS {
        let limit = MAX_PICTURE_PIXELS / 1_000_000;
        return Err(malformed(format!(
            "{width}×{height} pixels are more than {limit} million; make it smaller first"
        )));
    }
    let orientation = decoder.orientation().map_err(|e| malformed(e.to_string()))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| malformed(e.to_string()))?;
    picture.apply_orientation(orientation);
    Ok(to_rgb(&picture))
}

/// Reads a picture file.
///
/// # Errors
/// When it cannot be read, or as [`decode_picture`].
pub fn load_picture(path: &Path) -> ModelResult<RgbImage> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
        what: "the picture",
        source,
        path: path.to_path_buf(),
    })?;
    decode_picture(&bytes, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_match_the_reference_transform() {
        let cases = [
            ((1024, 1024), (1024, 1024), (980, 980), (980, 980)),
            ((512, 512), (512, 512), (518, 518), (518, 518)),
            ((452, 571), (512, 640), (448, 574), (448, 574)),
            ((478, 478), (512, 512), (476, 476), (476, 476)),
            ((968, 968), (960, 960), (966, 966), (966, 966)),
            ((872, 1104), (816, 1024), (770, 980), (770, 980)),
            ((2000, 300), (1024, 160), (980, 140), (980, 140)),
            ((4000, 3000), (1024, 768), (980, 728), (980, 728)),
            ((100, 100), (512, 512), (224, 224), (378, 378)),
            ((37, 211), (176, 1024), (168, 980), (168, 980)),
        ];
        for ((w, h), vae, vit, vit_training) in cases {
            assert_eq!(ImageTransform::VAE.target_size(w, h, 1), vae, "{w}×{h}");
            assert_eq!(ImageTransform::VIT.target_size(w, h, 1), vit, "{w}×{h}");
            assert_eq!(ImageTransform::VIT_TRAINING.target_size(w, h, 1), vit_training, "{w}×{h}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let picture = RgbImage::from_pixel(37, 21, image::Rgb([200, 3, 77]));
        let resized = resize_bicubic(&picture, 16, 64);
        assert!(resized.pixels().all(|p| p.0 == [200, 3, 77]));
    }

    #[test]
    fn transparency_goes_over_white() {
        let rgba = image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 100, 255, 128]));
        // 0·128/255 + 255·127/255 = 127; 100·128/255 + 127 = 177.2; 255.
        assert_eq!(to_rgb(&DynamicImage::ImageRgba8(rgba)).get_pixel(0, 0).0, [127, 177, 255]);
    }

    #[test]
    fn tensors_round_trip() -> Result<()> {
        let picture = RgbImage::from_fn(5, 4, |x, y| image::Rgb([x as u8 * 50, y as u8 * 60, 255]));
        let back = to_rgb_image(&normalise(&picture, &Device::Cpu)?)?;
        let worst = picture.iter().zip(back.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1)); // truncation may lose one level
        Ok(())
    }

    #[test]
    fn says_what_a_file_is_not() {
        let error = decode_picture(b"hello", Path::new("a.png")).unwrap_err().to_string();
        assert!(error.contains("not a PNG, JPEG or WebP"), "{error}");
    }
}
