//! The chunks of a PNG card: texts on one side, the picture without them on the other.
//!
//! Source: PNG (W3C, third edition, sec. 5 and 11.3.3); keywords of the V2 and V3 card specs.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Most bytes that a compressed text may unpack to.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// A text of the file.
#[derive(Debug)]
pub(super) struct Text {
    /// Lower case.
    pub(super) keyword: String,
    pub(super) bytes: Vec<u8>,
    pub(super) has_good_checksum: bool,
}

/// A PNG, taken apart.
#[derive(Debug, Default)]
pub(super) struct Png {
    pub(super) texts: Vec<Text>,
    /// The same file without texts.
    pub(super) picture: Vec<u8>,
    /// It ends before its last chunk does.
    pub(super) is_cut_off: bool,
    pub(super) is_animated: bool,
}

/// Walks the chunks up to `IEND` or the end of the bytes; never fails.
pub(super) fn read(bytes: &[u8]) -> Png {
    let mut png = Png { picture: SIGNATURE.to_vec(), is_cut_off: true, ..Png::default() };
    let mut rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    while let Some((chunk, after)) = split(rest) {
        match chunk.kind {
            b"tEXt" | b"zTXt" | b"iTXt" => png.texts.extend(text(&chunk)),
            kind => {
                png.is_animated |= kind == b"acTL";
                png.picture.extend_from_slice(chunk.whole);
            }
        }
        rest = after;
        if chunk.kind == b"IEND" {
            png.is_cut_off = false;
            break;
        }
    }
    if png.is_cut_off {
        png.picture.extend_from_slice(rest); // for the decoder to say what is missing
    }
    png
}

struct Chunk<'a> {
    kind: &'a [u8; 4],
    data: &'a [u8],
    /// Length, type, data and checksum.
    whole: &'a [u8],
}

/// The first chunk and what follows; `None` when the bytes end within it.
fn split(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let data = rest.get(..length)?;
    let end = length.checked_add(12)?;
    let (whole, after) = (bytes.get(..end)?, bytes.get(end..)?);
    Some((Chunk { kind, data, whole }, after))
}

fn text(chunk: &Chunk<'_>) -> Option<Text> {
    let (keyword, rest) = cut(chunk.data)?;
    let bytes = match chunk.kind {
        b"zTXt" => inflate(rest.get(1..)?)?,
        b"iTXt" => {
            let (flags, rest) = rest.split_first_chunk::<2>()?;
            let (_language, rest) = cut(rest)?;
            let (_translated, rest) = cut(rest)?;
            if flags[0] == 1 { inflate(rest)? } else { rest.to_vec() }
        }
        _ => rest.to_vec(),
    };
    let stored = chunk.whole.last_chunk::<4>().map(|sum| u32::from_be_bytes(*sum));
    let summed = &chunk.whole[4..chunk.whole.len() - 4];
    let mut crc = flate2::Crc::new();
    crc.update(summed);
    Some(Text {
        keyword: String::from_utf8_lossy(keyword).to_ascii_lowercase(),
        bytes,
        has_good_checksum: stored == Some(crc.sum()),
    })
}

/// Before and after the first zero byte.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(bytes).take(MAX_TEXT_BYTES + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= MAX_TEXT_BYTES).then_some(text)
}
