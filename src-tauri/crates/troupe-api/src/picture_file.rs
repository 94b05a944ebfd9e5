//! Picture files of our own making: PNG with text chunks that say how they were made.
//!
//! Two chunks: `parameters` in the manner of other picture tools (prompt, then one line of
//! `Key: value` pairs), and `troupe`, JSON with everything needed to draw the picture again.

use base64::Engine as _;
use image::RgbImage;
use troupe_model::runtime::{FlowSampling, Model};

use crate::error::{ApiError, ApiResult, ErrorCode};

/// Digits of a model hash that other tools show.
const SHORT_HASH: usize = 10;

/// A picture as PNG with text chunks.
pub(crate) fn encode_png(image: &RgbImage, texts: &[(&str, String)]) -> ApiResult<Vec<u8>> {
    let failed = |e: png::EncodingError| {
        ApiError::new(ErrorCode::Internal, format!("the picture cannot be encoded: {e}"), "")
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (key, text) in texts {
        // The plain chunk holds Latin-1 alone, and is what every reader knows.
        let is_plain = text.chars().all(|c| u32::from(c) < 256);
        if is_plain {
            encoder.add_text_chunk((*key).to_owned(), text.clone()).map_err(failed)?;
        } else {
            encoder.add_itxt_chunk((*key).to_owned(), text.clone()).map_err(failed)?;
        }
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(image.as_raw()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Text chunks that say how a picture was made.
pub(crate) fn origin_texts(
    prompt: &str,
    flow: &FlowSampling,
    model: &Model,
) -> Vec<(&'static str, String)> {
    let side = model.config().picture_size as u32;
    let (height, width) = flow.size.unwrap_or((side, side));
    let short = |hash: &str| hash.chars().take(SHORT_HASH).collect::<String>();
    let mut parameters = format!(
        "{prompt}\nSteps: {}, Sampler: Flow Euler, CFG scale: {}, Seed: {}, Size: {width}x{height}, Model hash: {}, Model: {}",
        flow.num_timesteps.saturating_sub(1),
        flow.cfg_text_scale,
        flow.seed,
        short(model.base_hash()),
        model.config().name,
    );
    if let Some(hash) = model.adapter_hash() {
        parameters.push_str(&format!(", Adapter hash: {}", short(hash)));
    }
    parameters.push_str(concat!(", Version: Troupe ", env!("CARGO_PKG_VERSION")));
    let origin = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"), "prompt": prompt, "settings": flow,
        "baseHash": model.base_hash(), "adapterHash": model.adapter_hash(),
    });
    vec![("parameters", parameters), ("troupe", origin.to_string())]
}

/// The same pixels without any text chunk.
pub(crate) fn without_texts(bytes: &[u8]) -> ApiResult<Vec<u8>> {
    let image = image::load_from_memory(bytes).map_err(|e| {
        ApiError::new(ErrorCode::Storage, format!("the picture cannot be read: {e}"), "")
    })?;
    encode_png(&image.to_rgb8(), &[])
}

/// A picture for the page, for previews.
pub(crate) fn data_url(image: RgbImage) -> Option<String> {
    let png = encode_png(&image, &[]).ok()?;
    let text = base64::engine::general_purpose::STANDARD.encode(png);
    Some(format!("data:image/png;base64,{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text chunks of a PNG by key, in the order plain, international.
    fn texts(bytes: &[u8]) -> Vec<(String, String)> {
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info();
        let info = reader.expect("a picture").info().clone();
        let plain = info.uncompressed_latin1_text.into_iter().map(|c| (c.keyword, c.text));
        let wide = info.utf8_text.into_iter().map(|c| {
            let text = c.get_text().expect("a text");
            (c.keyword, text)
        });
        plain.chain(wide).collect()
    }

    #[test]
    fn texts_are_read_back_and_taken_out() -> ApiResult<()> {
        let image = RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8 * 9, y as u8, 7]));
        let wanted = [("parameters", "Zoë waves\nSteps: 4".to_owned()), ("troupe", "名前".into())];
        let bytes = encode_png(&image, &wanted)?;
        let found = texts(&bytes);
        assert_eq!(found[0], ("parameters".into(), "Zoë waves\nSteps: 4".into()));
        assert_eq!(found[1], ("troupe".into(), "名前".into()));
        let bare = without_texts(&bytes)?;
        assert!(texts(&bare).is_empty());
        let pixels = image::load_from_memory(&bare).map(|i| i.to_rgb8());
        assert_eq!(pixels.ok(), Some(image));
        Ok(())
    }
}
