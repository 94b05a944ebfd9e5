//! Character cards of SillyTavern and its kin, V1, V2 and V3, as PNG or JSON: import.
//!
//! A card is read by its content, whatever its file is called. The reader takes what programs in use
//! write, not only what the specs allow; what it had to guess or mend is in the [`ImportReport`].
//! The card itself stays beside the character as `card.json`, so nothing of it is lost. Importing
//! the same card or the same file again updates the character; an equal name alone never does.
//!
//! | field of the card | becomes |
//! |---|---|
//! | `name`, `nickname` | name, and the name in prompts |
//! | `description`, `personality`, `scenario` | persona |
//! | `first_mes`, `alternate_greetings` | greeting, other greetings |
//! | `mes_example` | one scene a block |
//! | `tags`, `creator` | tags, credits |
//! | `extensions.sd_character_prompt` | appearance |
//! | `character_book` | lorebook, kept and not used in chats |
//! | the PNG | the first picture |
//! | everything else | `card.json` only, listed in the report |
//!
//! Source: the card specs V1 and V2 (github.com/malfoyslastname/character-card-spec-v2) and V3
//! (github.com/kwaroran/character-card-spec-v3).

mod convert;
mod dialogue;
mod fields;
mod macros;
mod payload;
mod png;

use std::fs;
use std::path::{Path, PathBuf};

use crate::character::{Character, Source};
use crate::error::{Error, Result};
use crate::library::Library;
use crate::pictures;
use crate::records::Picture;
use crate::rolescape::{
    Action, CharacterImport, Converted, DecodedPicture, FileCount, Findings, ImportReport, Records,
    Severity, store,
};
use payload::Payload;

/// Word in [`Source::kind`] of a character that came from a card.
pub(crate) const SOURCE_KIND: &str = "card";

/// The card as it was found, in the character's folder.
const CARD_FILE: &str = "card.json";
/// An older card that the same picture carried.
const OLDER_CARD_FILE: &str = "card-v2.json";
/// Id of the picture that a card is.
const PORTRAIT: &str = "card";
/// Keys of [`Source::extra`]: hash of the card's content, and of where its file was.
const CONTENT: &str = "card_content";
const PLACE: &str = "card_place";

/// Files larger than this are not read.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Codes that a finding about a card can have, besides those of
/// [importing again](crate::rolescape::CODES).
pub const CODES: [&str; 20] = [
    "CARD-ANIMATED",
    "CARD-ASSETS",
    "CARD-BOTH",
    "CARD-CHUNK",
    "CARD-CRC",
    "CARD-CUT",
    "CARD-ENCODING",
    "CARD-EXAMPLE",
    "CARD-FAILED",
    "CARD-KEPT",
    "CARD-MACRO",
    "CARD-MIRROR",
    "CARD-NAME",
    "CARD-NODATA",
    "CARD-NONE",
    "CARD-PICTURE",
    "CARD-REPAIRED",
    "CARD-TYPE",
    "CARD-USER",
    "CARD-VERSION",
];

/// Imports cards: files, or folders whose PNG and JSON files are looked through.
///
/// A file of which nothing comes is a finding of the report as long as another one is imported.
///
/// # Errors
/// When nothing was imported (the first file's reason), or a folder cannot be listed.
pub fn import(paths: &[PathBuf], library: &Library) -> Result<ImportReport> {
    let mut report = ImportReport::default();
    let mut findings = Findings::default();
    let mut refused = None;
    for path in files(paths)? {
        match read_file(&path).and_then(|card| keep(card, &path, library)) {
            Ok(import) => report.characters.push(import),
            Err(error) => {
                note_failure(&error, &file_name(&path), &mut findings);
                refused.get_or_insert(error);
            }
        }
    }
    report.findings = findings.0;
    match refused {
        Some(error) if report.characters.is_empty() => Err(error),
        None if report.characters.is_empty() => Err(Error::NotACard {
            file: paths.first().cloned().unwrap_or_default(),
            problem: "there are no PNG or JSON files".into(),
        }),
        _ => Ok(report),
    }
}

/// Says why nothing came of a file.
fn note_failure(error: &Error, file: &str, findings: &mut Findings) {
    if let Error::NotACard { problem, .. } = error {
        findings.file("CARD-NONE", Severity::Warning, file, problem).about(problem);
    } else {
        let message = format!("not imported: {error}");
        findings.file("CARD-FAILED", Severity::Error, file, message).about(error);
    }
}

/// The files themselves, and those of folders that may be cards.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let broken = |error| Error::io("listing a folder", path, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(broken)? {
            let file = entry.map_err(broken)?.path();
            let ending = file.extension().unwrap_or_default().to_ascii_lowercase();
            if (ending == "png" || ending == "json") && file.is_file() {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Read> {
    let doing = "reading a card";
    let size = fs::metadata(path).map_err(|e| Error::io(doing, path, e))?.len();
    let refuse = |problem: String| Error::NotACard { file: path.to_path_buf(), problem };
    if size > MAX_FILE_BYTES {
        return Err(refuse(format!("the file has more than {} MB", MAX_FILE_BYTES >> 20)));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(doing, path, e))?;
    read(&bytes, &file_name(path)).map_err(refuse)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// A card that is not stored yet.
#[derive(Debug)]
struct Read {
    character: Character,
    portrait: Option<DecodedPicture>,
    findings: Findings,
    counts: Vec<FileCount>,
    /// Files to keep beside the character.
    beside: Vec<(&'static str, Vec<u8>)>,
}

/// Reads a card from the bytes of its file; the error says in words why there is none.
fn read(bytes: &[u8], file: &str) -> std::result::Result<Read, String> {
    let mut findings = Findings::default();
    let (found, portrait) = if bytes.starts_with(png::SIGNATURE) {
        let taken_apart = png::read(bytes);
        let found = from_png(&taken_apart, file, &mut findings)?;
        let portrait = portrait(&taken_apart, file, &mut findings);
        (found, portrait)
    } else if payload::begins_object(bytes) {
        (Found { card: payload::from_json(bytes.to_vec())?, older: None }, None)
    } else {
        return Err(other_kind(bytes).into());
    };
    let Found { card: payload, older } = found;
    if !fields::is_card(&payload.object) {
        return Err("it is JSON, but not of a character card".into());
    }
    note_mending(&payload, file, &mut findings);
    let mut counts = Vec::new();
    let card = fields::read(&payload.object, file, &mut findings);
    let mut character = convert::convert(&card, file, &mut findings, &mut counts);
    if let Some((picture, _)) = &portrait {
        character.pictures.push(picture.clone());
        let what = Records::Pictures;
        counts.insert(0, FileCount { file: file.into(), what, found: 1, kept: 1, usable: None });
    }
    let mut source = Source { kind: SOURCE_KIND.into(), ..Source::default() };
    source.folder = Some(file.into());
    source.extra.insert(CONTENT.into(), content_hash(&payload, portrait.as_ref()).into());
    character.source = Some(source);
    let mut beside = vec![(CARD_FILE, payload.text.into_bytes())];
    beside.extend(older.map(|older| (OLDER_CARD_FILE, older.text.into_bytes())));
    Ok(Read { character, portrait, findings, counts, beside })
}

/// Why bytes that are neither PNG nor JSON hold no card.
fn other_kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "the file is empty",
        [b'P', b'K', 3, 4, ..] => "it is an archive (CHARX or BYAF), which is not read yet",
        [0xff, 0xd8, 0xff, ..] | [b'R', b'I', b'F', b'F', ..] => "it is a picture without a card",
        _ => "it is neither a PNG picture nor JSON",
    }
}

#[derive(Debug)]
struct Found {
    card: Payload,
    /// The V2 card beside a V3 card.
    older: Option<Payload>,
}

/// The V3 card where it can be read, else the older one.
fn from_png(
    png: &png::Png,
    file: &str,
    findings: &mut Findings,
) -> std::result::Result<Found, String> {
    let mut problem = None;
    let mut first = |keyword: &str, findings: &mut Findings| {
        for text in png.texts.iter().filter(|text| text.keyword == keyword) {
            let read = payload::from_chunk(&text.bytes);
            let is_card = |payload: &Payload| fields::is_card(&payload.object);
            match read {
                Ok(payload) if is_card(&payload) => {
                    if !text.has_good_checksum {
                        let message = "the checksum of the card is wrong; read all the same";
                        findings.file("CARD-CRC", Severity::Warning, file, message);
                    }
                    return Some(payload);
                }
                Ok(_) => {
                    problem.get_or_insert((keyword.to_owned(), "no card is in it".to_owned()));
                }
                Err(why) => {
                    problem.get_or_insert((keyword.to_owned(), why));
                }
            }
        }
        None
    };
    let (newer, older) = (first("ccv3", findings), first("chara", findings));
    let found = match (newer, older) {
        (Some(card), older) => {
            let differs = older
                .as_ref()
                .is_some_and(|older| fields::name(&older.object) != fields::name(&card.object));
            if differs {
                let message = "the V2 card in the file has another name; the V3 card was used";
                findings.file("CARD-BOTH", Severity::Warning, file, message);
            }
            Some(Found { card, older })
        }
        (None, Some(card)) => Some(Found { card, older: None }),
        (None, None) => None,
    };
    match (found, problem) {
        (Some(found), None) => Ok(found),
        (Some(found), Some((keyword, why))) => {
            let message = format!("a card in the file cannot be read, another one was used: {why}");
            let detail = format!("{keyword}: {why}");
            findings.file("CARD-CHUNK", Severity::Warning, file, message).about(detail);
            Ok(found)
        }
        (None, Some((keyword, why))) => Err(format!("the card in “{keyword}”: {why}")),
        (None, None) if png.is_cut_off => Err("the file is cut off before any card".into()),
        (None, None) => Err("it is a picture without a card".into()),
    }
}

/// The picture that the card is, without its texts.
fn portrait(png: &png::Png, file: &str, findings: &mut Findings) -> Option<DecodedPicture> {
    if png.is_cut_off {
        let message = "the file is cut off; what is there was read";
        findings.file("CARD-CUT", Severity::Warning, file, message);
    }
    if png.is_animated {
        let message = "an animated picture; its first frame was kept";
        findings.file("CARD-ANIMATED", Severity::Warning, file, message);
    }
    let assets = png.texts.iter().filter(|t| t.keyword.starts_with("chara-ext-asset_")).count();
    if assets > 0 {
        let message = format!("{assets} files within the card were not imported");
        findings.file("CARD-ASSETS", Severity::Warning, file, message).about(assets);
    }
    match pictures::decode(&png.picture, file) {
        Ok(decoded) => {
            let picture = Picture {
                id: PORTRAIT.into(),
                file: format!("pictures/{PORTRAIT}.png"),
                hash: Some(pictures::pixel_hash(&decoded.image)),
                ..Picture::default()
            };
            Some((picture, decoded))
        }
        Err(error) => {
            let message = format!("imported without its picture: {error}");
            findings.file("CARD-PICTURE", Severity::Warning, file, message).about(error);
            None
        }
    }
}

fn note_mending(payload: &Payload, file: &str, findings: &mut Findings) {
    if payload.is_transcoded {
        let message = "the card is not UTF-8; read as Windows-1252";
        findings.file("CARD-ENCODING", Severity::Warning, file, message);
    }
    if payload.is_repaired {
        let message = "the card is damaged JSON; small damage was mended";
        findings.file("CARD-REPAIRED", Severity::Warning, file, message);
    }
}

/// The same for the same card with the same picture, wherever it lies.
fn content_hash(payload: &Payload, portrait: Option<&DecodedPicture>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(payload.text.as_bytes());
    let pixels = portrait.and_then(|(picture, _)| picture.hash.as_deref());
    hasher.update(pixels.unwrap_or_default().as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Stores a card, in the character that came from it where there is one.
fn keep(read: Read, path: &Path, library: &Library) -> Result<CharacterImport> {
    let Read { mut character, portrait, findings, counts, beside } = read;
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let place = blake3::hash(whole.to_string_lossy().as_bytes()).to_hex()[..32].to_owned();
    let source = character.source.get_or_insert_default();
    source.extra.insert(PLACE.into(), place.into());
    let existing = find_existing(&character, library)?;
    if let Some(known) = existing.as_ref().and_then(|known| known.source.clone())
        && mark(&known, CONTENT) == character.source.as_ref().and_then(|s| mark(s, CONTENT))
    {
        character.source = Some(known); // a copy of the file elsewhere is nothing new
    }
    let import = CharacterImport {
        folder: file_name(path),
        prefix: character.name.clone(),
        id: String::new(),
        dir: PathBuf::new(),
        action: Action::Inspected,
        files: counts,
        findings: findings.0,
    };
    let pictures = portrait.into_iter().collect();
    store(Converted { character, pictures, import, beside }, existing, library)
}

fn mark(source: &Source, key: &str) -> Option<String> {
    source.extra.get(key)?.as_str().map(str::to_owned)
}

/// The character that came from the same card, or from the same file under the same name.
fn find_existing(fresh: &Character, library: &Library) -> Result<Option<Character>> {
    let Some(wanted) = &fresh.source else {
        return Ok(None);
    };
    let mut from_file = None;
    for entry in library.list()? {
        if entry.is_bundled || entry.problem.is_some() {
            continue;
        }
        let head = match Character::load_head(&entry.dir) {
            Ok(head) => head,
            Err(Error::Malformed { .. }) => continue,
            Err(error) => return Err(error),
        };
        let Some(source) = head.source.filter(|source| source.kind == SOURCE_KIND) else {
            continue;
        };
        if mark(&source, CONTENT) == mark(wanted, CONTENT) {
            return Character::load(&entry.dir).map(Some);
        }
        if mark(&source, PLACE) == mark(wanted, PLACE) && head.name == fresh.name {
            from_file = Some(entry.dir);
        }
    }
    from_file.map(|dir| Character::load(&dir)).transpose()
}

#[cfg(test)]
mod tests;
