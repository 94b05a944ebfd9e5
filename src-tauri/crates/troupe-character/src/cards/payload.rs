//! From the bytes of a chunk or file to a JSON object, as forgiving as cards in the wild need.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::files::json_problem;

/// Most bytes of JSON that are read.
pub(super) const MAX_JSON_BYTES: usize = 32 << 20;

/// Padding may be missing, and bits after the end are ignored.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A card's JSON and what reading it took.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) object: Map<String, Value>,
    /// As it was found.
    pub(super) text: String,
    /// It was no UTF-8, and read as Windows-1252.
    pub(super) is_transcoded: bool,
    /// It was no valid JSON before small damage was mended.
    pub(super) is_repaired: bool,
}

/// A card in the text of a PNG chunk: base64 of JSON, or the JSON itself.
///
/// The error says in words what is wrong.
pub(super) fn from_chunk(bytes: &[u8]) -> Result<Payload, String> {
    if bytes.starts_with(b"rcc||") {
        return Err("it is protected by RisuAI, which alone can open it".into());
    }
    let packed: Vec<u8> = bytes
        .iter()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    match FORGIVING.decode(packed) {
        Ok(json) if begins_object(&json) => from_json(json),
        _ if begins_object(bytes) => from_json(bytes.to_vec()),
        Ok(_) => Err("the text in it is no JSON object".into()),
        Err(error) => Err(format!("its base64 is damaged: {error}")),
    }
}

/// A card as plain JSON, with or without a byte order mark.
pub(super) fn from_json(bytes: Vec<u8>) -> Result<Payload, String> {
    if bytes.len() > MAX_JSON_BYTES {
        return Err(format!("more than {} MB of text", MAX_JSON_BYTES >> 20));
    }
    let (text, is_transcoded) = match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => (error.as_bytes().iter().map(|&b| windows_1252(b)).collect(), true),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let (value, is_repaired) = match serde_json::from_str::<Value>(&text) {
        Ok(value) => (value, false),
        Err(error) => {
            let mended = serde_json::from_str(&mend(&text));
            let problem = || format!("line {}: {}", error.line(), json_problem(&error));
            (mended.map_err(|_| problem())?, true)
        }
    };
    match value {
        Value::Object(object) => Ok(Payload { object, text, is_transcoded, is_repaired }),
        _ => Err("the text in it is no JSON object".into()),
    }
}

/// True for bytes that begin like a JSON object, after blanks and a byte order mark.
pub(super) fn begins_object(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// Leaves out zero bytes, commas before a closing bracket, and what follows the last brace.
fn mend(text: &str) -> String {
    let end = text.rfind('}').map_or(text.len(), |at| at + 1);
    let mut mended = String::with_capacity(end);
    let (mut in_string, mut is_escaped) = (false, false);
    for c in text[..end].chars().filter(|&c| c != '\0') {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if matches!(c, '}' | ']') {
            let kept = mended.trim_end();
            if let Some(kept) = kept.strip_suffix(',').map(str::len) {
                mended.truncate(kept);
            }
        }
        mended.push(c);
    }
    mended
}

/// Source: WHATWG Encoding, index windows-1252.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}
