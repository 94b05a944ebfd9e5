//! Cards made here, as programs in use write them and as they break.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, Rgb, RgbImage};
use serde_json::{Value, json};

use super::*;
use crate::records::Speaker;

fn pixels() -> Vec<u8> {
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([x as u8 * 30, y as u8 * 30, 90]));
    pictures::encode_png(&DynamicImage::ImageRgb8(image), "test").unwrap()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

fn text_chunk(keyword: &str, text: &[u8]) -> Vec<u8> {
    chunk(b"tEXt", &[keyword.as_bytes(), b"\0", text].concat())
}

/// The picture with chunks behind its header.
fn with_chunks(chunks: &[Vec<u8>]) -> Vec<u8> {
    let picture = pixels();
    let header_end = 8 + 12 + 13;
    [&picture[..header_end], &chunks.concat(), &picture[header_end..]].concat()
}

fn packed(value: &Value) -> Vec<u8> {
    STANDARD.encode(value.to_string()).into_bytes()
}

fn png_card(value: &Value) -> Vec<u8> {
    with_chunks(&[text_chunk("chara", &packed(value))])
}

fn v1() -> Value {
    json!({
        "name": "Pip", "description": "{{char}} minds a lighthouse.", "personality": "dry, kind",
        "scenario": "{{user}} knocks in a storm.", "first_mes": "In with you, {{user}}.",
        "mes_example": "<START>\n{{user}}: Is it far?\n{{char}}: Two miles: no more.\nMind the step."
    })
}

fn v2() -> Value {
    let mut data = v1();
    data["alternate_greetings"] = json!(["Closed.", "Who is <USER>?"]);
    data["tags"] = json!(["sea", "otter"]);
    data["creator"] = "Mara".into();
    data["creator_notes"] = "Best read by lamplight.".into();
    data["extensions"] =
        json!({"fav": false, "world": "", "depth_prompt": {"prompt": "", "depth": 4}});
    data["character_book"] = json!({"entries": [
        {"keys": ["lamp"], "content": "The lamp is old.", "enabled": true, "insertion_order": 3,
         "extensions": {}}
    ]});
    json!({"spec": "chara_card_v2", "spec_version": "2.0", "data": data})
}

fn v3() -> Value {
    let mut card = v2();
    card["spec"] = "chara_card_v3".into();
    card["spec_version"] = "3.0".into();
    card["data"]["name"] = "Captain Pip".into();
    card["data"]["nickname"] = "Pip".into();
    card
}

fn parsed(bytes: &[u8]) -> Read {
    let read = read(bytes, "pip.png").unwrap();
    for finding in &read.findings.0 {
        assert!(CODES.contains(&finding.code.as_str()), "{finding}");
    }
    read
}

fn codes(read: &Read) -> Vec<&str> {
    read.findings.0.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn a_v1_card_becomes_a_character() {
    let read = parsed(&png_card(&v1()));
    let pip = &read.character;
    assert_eq!(pip.name, "Pip");
    assert_eq!(
        pip.persona,
        "Pip minds a lighthouse.\n\nPersonality: dry, kind\n\nScenario: the user knocks in a storm."
    );
    assert_eq!(pip.greeting, "In with you, you.");
    let turns = &pip.scenes[0].turns;
    assert_eq!((turns[0].role, turns[0].text.as_str()), (Speaker::User, "Is it far?"));
    assert_eq!(turns[1].role, Speaker::Character);
    assert_eq!(turns[1].text, "Two miles: no more.\nMind the step.");
    assert_eq!(pip.pictures.len(), 1);
    assert_eq!(codes(&read), ["CARD-USER"]);
}

#[test]
fn a_v2_card_brings_greetings_tags_and_its_lorebook() {
    let read = parsed(v2().to_string().as_bytes());
    let pip = &read.character;
    assert_eq!(pip.other_greetings, ["Closed.", "Who is you?"]);
    assert_eq!(pip.tags, ["sea", "otter"]);
    assert_eq!(pip.credits, ["Mara"]);
    assert_eq!(pip.lorebook[0].keys, ["lamp"]);
    assert_eq!(pip.lorebook[0].extra["insertion_order"], 3);
    let kept = read.findings.0.iter().find(|f| f.code == "CARD-KEPT").unwrap();
    assert_eq!(kept.detail, "creator_notes, character_book");
    let count = |what| read.counts.iter().find(|c| c.what == what).unwrap().kept;
    assert_eq!(count(Records::Greetings), 3);
    assert_eq!(count(Records::Lorebook), 1);
    assert!(read.portrait.is_none());
}

#[test]
fn of_two_cards_in_a_file_v3_is_used_in_any_order() {
    let chunks = [text_chunk("chara", &packed(&v2())), text_chunk("ccv3", &packed(&v3()))];
    let reversed = [chunks[1].clone(), chunks[0].clone()];
    for chunks in [chunks, reversed] {
        let read = parsed(&with_chunks(&chunks));
        assert_eq!(read.character.name, "Captain Pip");
        assert_eq!(read.character.prompt_name(), "Pip");
        assert!(read.character.persona.starts_with("Pip minds"), "the nickname is spoken");
        assert!(codes(&read).contains(&"CARD-BOTH"));
        assert_eq!(read.beside.len(), 2, "both cards are kept");
    }
}

#[test]
fn a_broken_v3_card_falls_back_to_the_other() {
    let broken = text_chunk("ccv3", b"%%% no base64 %%%");
    let read = parsed(&with_chunks(&[broken.clone(), text_chunk("chara", &packed(&v2()))]));
    assert_eq!(read.character.name, "Pip");
    assert!(codes(&read).contains(&"CARD-CHUNK"));
    let error = super::read(&with_chunks(&[broken]), "x").unwrap_err();
    assert!(error.starts_with("the card in “ccv3”: its base64 is damaged"), "{error}");
}

#[test]
fn every_way_to_write_the_payload_is_read() {
    let json = v2().to_string();
    let base64 = STANDARD.encode(&json);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(60).map(|c| str::from_utf8(c).unwrap()).collect();
    let with_mark = STANDARD.encode(format!("\u{feff}{json}"));
    let url_alphabet = base64.replace('+', "-").replace('/', "_");
    let texts = [
        base64.clone(),
        lines.join("\r\n"),
        url_alphabet,
        base64.trim_end_matches('=').to_owned(),
        with_mark,
        json.clone(),
    ];
    for text in &texts {
        let read = parsed(&with_chunks(&[text_chunk("Chara", text.as_bytes())]));
        assert_eq!(read.character.name, "Pip", "{text}");
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(base64.as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();
    let compressed = [
        chunk(b"zTXt", &[b"chara\0\0", &zlib[..]].concat()),
        chunk(b"iTXt", &[b"chara\0\x01\0\0\0", &zlib[..]].concat()),
        chunk(b"iTXt", &[b"chara\0\0\0\0\0", base64.as_bytes()].concat()),
    ];
    for chunk in compressed {
        assert_eq!(parsed(&with_chunks(&[chunk])).character.name, "Pip");
    }
}

#[test]
fn json_may_have_a_mark_another_encoding_or_small_damage() {
    let json = v2().to_string();
    assert_eq!(parsed(format!("\u{feff} {json}").as_bytes()).character.name, "Pip");

    let damaged = json.replace("[\"sea\",\"otter\"]", "[\"sea\",\"ot\\\",]ter\", ]");
    let read = parsed(format!("{damaged}\0x").as_bytes());
    assert_eq!(read.character.tags, ["sea", "ot\",]ter"], "commas in strings stay");
    assert!(codes(&read).contains(&"CARD-REPAIRED"));

    // é is E9 in Windows-1252, and no UTF-8 by itself.
    let latin: Vec<u8> =
        json.replace("Mara", "Ren\u{e9}").chars().map(|c| c as u32 as u8).collect();
    let read = parsed(&latin);
    assert_eq!(read.character.credits, ["René"]);
    assert!(codes(&read).contains(&"CARD-ENCODING"));
}

#[test]
fn fields_of_other_kinds_are_read_as_far_as_they_go() {
    let mut card = v2();
    card["data"]["description"] = Value::Null;
    card["data"]["personality"] = 7.into();
    card["data"]["scenario"] = json!(["a list"]);
    card["data"]["tags"] = "sea, , otter".into();
    card["data"]["alternate_greetings"] = "Closed.".into();
    card["data"]["character_book"] =
        json!({"entries": {"10": {"keys": "b, c"}, "2": {"keys": ["a"]}}});
    card["data"].as_object_mut().unwrap().remove("extensions");
    let read = parsed(card.to_string().as_bytes());
    assert_eq!(read.character.persona, "Personality: 7");
    assert_eq!(read.character.tags, ["sea", "otter"]);
    assert_eq!(read.character.other_greetings, ["Closed."]);
    assert_eq!(read.character.lorebook[1].keys, ["b", "c"], "entries by number");
    assert_eq!(codes(&read).iter().filter(|code| **code == "CARD-TYPE").count(), 3);
    let mut emptied = v2();
    emptied["data"]["character_book"] = Value::Null;
    assert!(parsed(emptied.to_string().as_bytes()).character.lorebook.is_empty());
}

#[test]
fn a_card_without_a_name_is_called_like_its_file() {
    let mut card = v2();
    card["data"]["name"] = " ".into();
    let read = parsed(&png_card(&card));
    assert_eq!(read.character.name, "pip");
    assert!(codes(&read).contains(&"CARD-NAME"));
    card["data"]["nickname"] = "Lamp".into();
    assert_eq!(parsed(&png_card(&card)).character.name, "Lamp");
}

#[test]
fn dialects_envelopes_and_odd_versions_are_read() {
    let dialect = json!({"char_name": "Pip", "char_persona": "An otter.", "char_greeting": "Hm."});
    assert_eq!(parsed(dialect.to_string().as_bytes()).character.greeting, "Hm.");
    let envelope = json!({"card": v2()});
    assert_eq!(parsed(envelope.to_string().as_bytes()).character.name, "Pip");
    let mut newer = v3();
    newer["spec_version"] = "3.1".into();
    assert!(codes(&parsed(newer.to_string().as_bytes())).contains(&"CARD-VERSION"));
    let mut flat = v1();
    flat["spec"] = "chara_card_v2".into();
    assert!(codes(&parsed(flat.to_string().as_bytes())).contains(&"CARD-NODATA"));
    let mut stale = v2();
    stale["description"] = "An older text.".into();
    assert!(codes(&parsed(stale.to_string().as_bytes())).contains(&"CARD-MIRROR"));
}

#[test]
fn cut_huge_and_wrong_chunks_do_no_harm() {
    let whole = png_card(&v2());
    for end in 0..whole.len() {
        let _read_or_refused = super::read(&whole[..end], "x");
    }
    // The card is whole, the picture behind it is not.
    let read = parsed(&whole[..whole.len() - 30]);
    assert!(codes(&read).contains(&"CARD-CUT"));
    assert_eq!(read.character.name, "Pip");

    let mut huge = whole.clone();
    huge[33..37].copy_from_slice(&u32::MAX.to_be_bytes()); // length of the text chunk
    let error = super::read(&huge, "x").unwrap_err();
    assert_eq!(error, "the file is cut off before any card");

    let text_end = whole.len() - (pixels().len() - 33);
    let mut bad_sum = whole.clone();
    bad_sum[text_end - 1] ^= 1;
    let read = parsed(&bad_sum);
    assert!(codes(&read).contains(&"CARD-CRC"));
    assert_eq!(read.character.pictures.len(), 1);

    let behind = [&whole[..], b"more bytes"].concat();
    assert_eq!(codes(&parsed(&behind)), codes(&parsed(&whole)));
}

#[test]
fn what_is_no_card_is_named() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (&pixels(), "it is a picture without a card"),
        (b"PK\x03\x04rest", "it is an archive (CHARX or BYAF), which is not read yet"),
        (b"\xff\xd8\xff\xe0", "it is a picture without a card"),
        (
            b"{\"name\":\"x\",\"description\":\"a package\"}",
            "it is JSON, but not of a character card",
        ),
        (b"hello", "it is neither a PNG picture nor JSON"),
    ];
    for (bytes, problem) in cases {
        assert_eq!(super::read(bytes, "x").unwrap_err(), problem);
    }
    let error = super::read(b"{\n\"data\": oops}", "x").unwrap_err();
    assert!(error.starts_with("line 2: "), "{error}");
    let deep = format!("{}{}", "{\"data\":".repeat(5000), "}".repeat(5000));
    assert!(super::read(deep.as_bytes(), "x").is_err(), "deep nesting is refused, not followed");
    let protected = with_chunks(&[text_chunk("ccv3", b"rcc||rccv1||AAAA||x||y")]);
    assert!(super::read(&protected, "x").unwrap_err().contains("protected by RisuAI"));
}

#[test]
fn unknown_macros_stay_and_are_named() {
    let mut card = v1();
    card["description"] = "{{CHAR}} rolls {{roll:6}}, {{ user }}. {a} <b> {{".into();
    let read = parsed(card.to_string().as_bytes());
    assert!(read.character.persona.starts_with("Pip rolls {{roll:6}}, the user. {a} <b> {{"));
    let finding = read.findings.0.iter().find(|f| f.code == "CARD-MACRO").unwrap();
    assert_eq!(finding.detail, "{{roll:6}}");
}

#[test]
fn example_dialogue_keeps_blocks_speakers_and_settings() {
    let text = "Rain.\n{{char}}: Hm.\n<start>\r\nAnon: Hello\nPip: Yes?\nPip: Well?\nAnon: Bye\n<START>\nNo speaker.\n<START>";
    let blocks = dialogue::blocks(text, &["Pip", ""]);
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[0].setting, "Rain.");
    let said: Vec<(Speaker, &str)> =
        blocks[1].turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect();
    let expected =
        [(Speaker::User, "Hello"), (Speaker::Character, "Yes?\nWell?"), (Speaker::User, "Bye")];
    assert_eq!(said, expected);
    assert!(blocks[2].turns.is_empty());

    let mut card = v1();
    card["mes_example"] = text.into();
    let read = parsed(card.to_string().as_bytes());
    assert_eq!(read.character.scenes.len(), 2);
    assert!(codes(&read).contains(&"CARD-EXAMPLE"));
    assert_eq!(dialogue::blocks("<START>\n", &["Pip"]), []);
}

fn import_one(path: &Path, library: &Library) -> CharacterImport {
    import(&[path.to_path_buf()], library).unwrap().characters.remove(0)
}

#[test]
fn importing_again_updates_and_keeps_what_was_changed() {
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    let file = home.path().join("pip.png");
    fs::write(&file, png_card(&v2())).unwrap();
    let first = import_one(&file, &library);
    assert_eq!(first.action, Action::Created);
    let kept: Value =
        serde_json::from_slice(&fs::read(first.dir.join(CARD_FILE)).unwrap()).unwrap();
    assert_eq!(kept, v2());
    assert_eq!(import_one(&file, &library).action, Action::Unchanged);

    let elsewhere = home.path().join("a copy.png");
    fs::write(&elsewhere, png_card(&v2())).unwrap();
    let copy = import_one(&elsewhere, &library);
    assert_eq!((copy.action, &copy.id), (Action::Unchanged, &first.id));

    let mut mine = library.load(&first.id).unwrap();
    mine.greeting = "My own greeting.".into();
    library.save(&mine).unwrap();
    let mut newer = v2();
    newer["data"]["first_mes"] = "Hello.".into();
    newer["data"]["tags"] = json!(["sea"]);
    newer["data"]["mes_example"] = "".into();
    fs::write(&file, png_card(&newer)).unwrap();
    let updated = import_one(&file, &library);
    assert_eq!((updated.action, &updated.id), (Action::Updated, &first.id));
    let now = library.load(&first.id).unwrap();
    assert_eq!(now.greeting, "My own greeting.");
    assert_eq!(now.tags, ["sea"]);
    assert!(now.scenes.is_empty());
    assert!(updated.findings.iter().any(|f| f.code == "EDIT-CONFLICT"));
    assert_eq!(library.list().unwrap().len(), 1);
}

#[test]
fn an_equal_name_is_no_reason_to_overwrite() {
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    let (one, other) = (home.path().join("pip.png"), home.path().join("pip.json"));
    fs::write(&one, png_card(&v2())).unwrap();
    fs::write(&other, v1().to_string()).unwrap();
    let report = import(&[one.clone(), other], &library).unwrap();
    assert!(report.characters.iter().all(|c| c.action == Action::Created));
    assert_eq!(library.list().unwrap().len(), 2);
    // A copy goes its own way.
    let id = report.characters[0].id.clone();
    library.duplicate(&id, Some("Pip two")).unwrap();
    assert_eq!(import_one(&one, &library).id, id);
}

#[test]
fn a_folder_of_cards_is_imported_and_the_rest_named() {
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    let folder = home.path().join("cards");
    fs::create_dir(&folder).unwrap();
    let error = import(std::slice::from_ref(&folder), &library).unwrap_err();
    assert!(error.to_string().contains("there are no PNG or JSON files"), "{error}");
    fs::write(folder.join("plain.png"), pixels()).unwrap();
    let error = import(std::slice::from_ref(&folder), &library).unwrap_err();
    assert!(error.to_string().contains("a picture without a card"), "{error}");
    fs::write(folder.join("pip.PNG"), png_card(&v3())).unwrap();
    fs::write(folder.join("readme.txt"), "x").unwrap();
    let report = import(&[folder], &library).unwrap();
    assert_eq!(report.characters.len(), 1);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].code, "CARD-NONE");
    assert_eq!(report.num_lost(), 0);
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_what_was_imported() {
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    let [one, gone, other] =
        ["one.json", "gone.json", "other.png"].map(|name| home.path().join(name));
    fs::write(&one, v1().to_string()).unwrap();
    fs::write(&other, png_card(&v2())).unwrap();
    let report = import(&[one, gone.clone(), other], &library).unwrap();
    assert_eq!(report.characters.len(), 2);
    assert_eq!(report.findings.len(), 1);
    let finding = &report.findings[0];
    assert_eq!((finding.code.as_str(), finding.file.as_str()), ("CARD-FAILED", "gone.json"));
    assert_eq!(finding.severity, Severity::Error);
    let error = import(&[gone], &library).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}
