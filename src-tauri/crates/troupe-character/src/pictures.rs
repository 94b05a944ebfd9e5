//! Reading pictures of unknown origin safely, and storing them in one form.
//!
//! A stored picture is a PNG of at most [`MAX_STORED_SIDE`] pixels without metadata; transparency
//! is kept in the file and composited on white wherever the picture is shown or learned from.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{
    DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage,
    imageops::FilterType,
};

use crate::error::{Error, Result};

/// Longest side of a stored picture, in pixels.
pub const MAX_STORED_SIDE: u32 = 1024;

/// Pictures with more pixels than this are refused, in megapixels.
pub const MAX_MEGAPIXELS: u64 = 100;

/// Memory that decoding one picture may take: 100 megapixels of RGBA with 16 bits a channel, and some.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// Outcome of adding a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// Stored under this id.
    New(String),
    /// The same pixels were there already, under this id; nothing was stored.
    Duplicate(String),
}

impl Added {
    /// Id of the picture, new or old.
    pub fn id(&self) -> &str {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

/// A decoded picture and what was noticed on the way.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Pixels, upright, at most [`MAX_STORED_SIDE`] on the long side.
    pub image: DynamicImage,
    /// Format found in the bytes.
    pub format: ImageFormat,
    /// Size before any downscaling.
    pub original_size: (u32, u32),
    /// The file carried EXIF, XMP or colour-profile data, which storing drops.
    pub had_metadata: bool,
}

/// Decodes a picture by its content, whatever its name says.
///
/// `label` is what an error message calls it.
///
/// # Errors
/// When the bytes are no PNG, JPEG or WebP, are damaged, or hold more than [`MAX_MEGAPIXELS`].
pub fn decode(bytes: &[u8], label: &str) -> Result<Decoded> {
    let refuse = |reason: String| Error::NotAPicture { label: label.into(), reason };
    if bytes.is_empty() {
        return Err(refuse("the file is empty".into()));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| refuse(e.to_string()))?;
    let format =
        reader.format().ok_or_else(|| refuse("it starts like no known picture format".into()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| refuse(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_MEGAPIXELS * 1_000_000 {
        return Err(Error::PictureTooLarge {
            label: label.into(),
            width,
            height,
            limit_megapixels: MAX_MEGAPIXELS,
        });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let had_metadata = [decoder.exif_metadata(), decoder.xmp_metadata(), decoder.icc_profile()]
        .into_iter()
        .any(|found| matches!(found, Ok(Some(data)) if !data.is_empty()));
    let image = DynamicImage::from_decoder(decoder).map_err(|e| refuse(e.to_string()))?;
    let original_size = image.dimensions();
    let mut image = to_eight_bit(shrink(image));
    image.apply_orientation(orientation);
    Ok(Decoded { image, format, original_size, had_metadata })
}

/// Reads and decodes a picture file.
///
/// # Errors
/// Like [`decode`], or when the file cannot be read.
pub fn decode_file(path: &Path) -> Result<Decoded> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("reading a picture", path, e))?;
    decode(&bytes, &path.display().to_string())
}

/// The picture as it is shown and learned from: RGB, transparency on white.
///
/// # Errors
/// Like [`decode_file`].
pub fn load_rgb(path: &Path) -> Result<RgbImage> {
    Ok(on_white(&decode_file(path)?.image))
}

/// Composites transparency on white.
pub fn on_white(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let rgba = image.to_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (target, source) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(source.0[3]);
        for (out, &value) in target.0.iter_mut().zip(&source.0[..3]) {
            // Rounded value·a + white·(1 − a); at most 255, so the cast keeps it.
            *out = ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}

/// A colour to put around a picture that is not square: per channel the median of the two edges
/// that the surroundings touch, the upper and lower ones of a wide picture.
pub fn border_colour(image: &DynamicImage) -> [u8; 3] {
    let rgb = on_white(image);
    let (width, height) = rgb.dimensions();
    let is_end = |place: u32, size: u32| place == 0 || place + 1 == size;
    let edges: Vec<[u8; 3]> = rgb
        .enumerate_pixels()
        .filter(|(x, y, _)| if width > height { is_end(*y, height) } else { is_end(*x, width) })
        .map(|(_, _, pixel)| pixel.0)
        .collect();
    std::array::from_fn(|channel| {
        let mut values: Vec<u8> = edges.iter().map(|pixel| pixel[channel]).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(u8::MAX)
    })
}

/// Share of pixels that are not fully opaque, 0 to 1.
pub fn transparent_share(image: &DynamicImage) -> f64 {
    if !image.color().has_alpha() {
        return 0.0;
    }
    let rgba = image.to_rgba8();
    let open = rgba.pixels().filter(|p| p.0[3] < 255).count();
    open as f64 / f64::from(rgba.width().max(1)) / f64::from(rgba.height().max(1))
}

/// BLAKE3 of size and visible pixels, as hex; equal for equal pictures in any lossless format.
pub fn pixel_hash(image: &DynamicImage) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&image.width().to_le_bytes());
    hasher.update(&image.height().to_le_bytes());
    let mut pixels = image.to_rgba8();
    for pixel in pixels.pixels_mut().filter(|p| p.0[3] == 0) {
        pixel.0 = [0; 4]; // the colour under full transparency is nobody's intention
    }
    hasher.update(pixels.as_raw());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Encodes a picture as PNG without metadata.
///
/// # Errors
/// When the encoder fails, which it does only for pictures without pixels.
pub(crate) fn encode_png(image: &DynamicImage, label: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|e| Error::NotAPicture { label: label.into(), reason: e.to_string() })?;
    Ok(bytes)
}

fn shrink(image: DynamicImage) -> DynamicImage {
    let long = image.width().max(image.height());
    if long <= MAX_STORED_SIDE {
        return image;
    }
    // Averaging down to twice the target first makes a 40-megapixel photo cheap.
    let image = if long > 4 * MAX_STORED_SIDE {
        image.thumbnail(2 * MAX_STORED_SIDE, 2 * MAX_STORED_SIDE)
    } else {
        image
    };
    image.resize(MAX_STORED_SIDE, MAX_STORED_SIDE, FilterType::Lanczos3)
}

fn to_eight_bit(image: DynamicImage) -> DynamicImage {
    match image {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => image,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
        encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"hello, I am text", &png(8, 8)[..30]] {
            let error = decode(bytes, "x.png").unwrap_err();
            assert!(matches!(error, Error::NotAPicture { .. }), "{error}");
        }
    }

    /// A PNG header that promises 20000 × 20000 pixels is refused before anything is allocated.
    #[test]
    fn four_hundred_megapixels_are_refused() {
        let mut bytes = png(1, 1);
        bytes[16..20].copy_from_slice(&20_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&20_000u32.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode(&bytes, "big.png").unwrap_err();
        assert!(matches!(error, Error::PictureTooLarge { width: 20_000, .. }), "{error}");
    }

    #[test]
    fn forty_megapixels_are_stored_small() {
        let decoded = decode(&png(8000, 5000), "photo.png").unwrap();
        assert_eq!(decoded.original_size, (8000, 5000));
        assert_eq!(decoded.image.dimensions(), (1024, 640));
    }

    #[test]
    fn format_comes_from_the_bytes() {
        let mut jpeg = Vec::new();
        DynamicImage::new_rgb8(20, 10)
            .write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg)
            .unwrap();
        assert_eq!(decode(&jpeg, "0.png").unwrap().format, ImageFormat::Jpeg);
    }

    #[test]
    fn transparency_goes_on_white() {
        let mut rgba = RgbaImage::from_pixel(2, 1, Rgba([10, 20, 30, 255]));
        rgba.put_pixel(1, 0, Rgba([0, 0, 0, 0]));
        let image = DynamicImage::ImageRgba8(rgba.clone());
        let rgb = on_white(&image);
        assert_eq!(rgb.get_pixel(0, 0).0, [10, 20, 30]);
        assert_eq!(rgb.get_pixel(1, 0).0, [255, 255, 255]);
        assert!((transparent_share(&image) - 0.5).abs() < 1e-9);
        rgba.put_pixel(1, 0, Rgba([9, 9, 9, 0]));
        assert_eq!(pixel_hash(&image), pixel_hash(&DynamicImage::ImageRgba8(rgba)));
    }

    #[test]
    fn the_colour_around_a_picture_is_that_of_its_long_edges() {
        // Wide: rows 0 and 2 are 5, but for one pixel; the middle row and the sides do not count.
        let wide = RgbImage::from_fn(5, 3, |x, y| match (x, y) {
            (3, 0) => image::Rgb([200, 0, 0]),
            (_, 1) => image::Rgb([90, 90, 90]),
            _ => image::Rgb([5, 6, 7]),
        });
        let tall = image::imageops::rotate90(&wide);
        assert_eq!(border_colour(&DynamicImage::ImageRgb8(wide)), [5, 6, 7]);
        assert_eq!(border_colour(&DynamicImage::ImageRgb8(tall)), [5, 6, 7]);
        let clear = RgbaImage::from_pixel(3, 2, Rgba([1, 2, 3, 0]));
        assert_eq!(border_colour(&DynamicImage::ImageRgba8(clear)), [255, 255, 255]);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }
}
