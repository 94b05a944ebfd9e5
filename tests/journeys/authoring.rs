//! Versions, copies, captions in bulk, token counts, scenes out of chats.

use troupe_api::{
    ErrorCode,
    wire::{CharacterDraft, CropItem},
};
use troupe_tests::{Scratch, reply, say};

fn draft(persona: &str) -> CharacterDraft {
    CharacterDraft {
        name: "Dot".into(),
        persona: persona.into(),
        catchphrases: vec!["Mind the trail!".into()],
        colours: "grey and moss".into(),
        notes: "# Dot\nLives in Ada's garden.".into(),
        greeting: "Hello.".into(),
        other_greetings: vec!["Back so soon?".into(), "Rain again.".into()],
        ..CharacterDraft::default()
    }
}

fn png(shade: u8) -> Vec<u8> {
    let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([shade, x as u8, y as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_draft_is_kept_in_all_its_parts_and_its_past_comes_back() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("A slow snail.")).unwrap().id;
    assert_eq!(studio.character(&id).unwrap().draft, draft("A slow snail."));
    studio.update_character(&id, draft("A fast snail.")).unwrap();
    studio.update_character(&id, draft("A very fast snail.")).unwrap();
    let versions = studio.list_versions(&id).unwrap();
    assert_eq!(versions.len(), 1, "one version a session, of the state before it");
    let changes = studio.version_changes(&id, &versions[0].id).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].field, "persona");
    assert_eq!(changes[0].before.as_deref(), Some("A slow snail."));
    assert_eq!(changes[0].after.as_deref(), Some("A very fast snail."));
    let restored = studio.restore_version(&id, &versions[0].id).unwrap();
    assert_eq!(restored.draft, draft("A slow snail."));
    assert_eq!(studio.list_versions(&id).unwrap().len(), 2, "the state before the restore is kept");
    let named = studio.keep_version(&id, "good").unwrap();
    assert_eq!(named[0].name, "good");
    let copy = studio.duplicate_character(&id, "Dot the second").unwrap();
    assert_eq!((copy.draft.name.as_str(), copy.id == id), ("Dot the second", false));
}

#[test]
fn captions_change_together_or_not_at_all() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("A snail.")).unwrap().id;
    let files = [("a.png".to_owned(), png(1)), ("b.png".to_owned(), png(2))];
    let mut items = studio.add_picture_bytes(&id, &files).unwrap().character.pictures;
    for item in &mut items {
        item.caption = format!("Dot, {}", item.id);
        item.is_held_out = true;
    }
    assert_eq!(studio.update_pictures(&id, &items).unwrap().pictures, items);
    let good = items.clone();
    items[0].caption = "lost".into();
    items[1].id = "nope".into();
    assert_eq!(studio.update_pictures(&id, &items).unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(studio.character(&id).unwrap().pictures, good);

    let square = CropItem { x: 5, y: 0, side: 30, background: None };
    let cut = studio.crop_picture(&id, &good[0].id, Some(square)).unwrap();
    assert_eq!(cut.pictures[0].crop, Some(square));
    let size = |path| image::image_dimensions(path).unwrap();
    assert_eq!(size(studio.character_picture_file(&id, &good[0].id).unwrap()), (30, 30));
    assert_eq!(size(studio.whole_picture_file(&id, &good[0].id).unwrap()), (40, 30));
    // Its rows 0 and 29: blue is 0 in one and 29 in the other, 40 pixels each; the upper median.
    let colour = studio.border_colour(&id, &good[0].id).unwrap();
    assert_eq!((colour[0], colour[2]), (1, 29));
    let around = CropItem { x: 0, y: -5, side: 40, background: Some(colour) };
    let fitted = studio.crop_picture(&id, &good[0].id, Some(around)).unwrap();
    assert_eq!(fitted.pictures[0].crop, Some(around));
    assert_eq!(size(studio.character_picture_file(&id, &good[0].id).unwrap()), (40, 40));
    studio.crop_picture(&id, &good[0].id, None).unwrap();
    assert_eq!(size(studio.character_picture_file(&id, &good[0].id).unwrap()), (40, 30));
}

#[test]
fn texts_are_counted_as_the_base_counts() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    // The tiny base has one token a byte: 5, 0, and 3 for the sign.
    let texts = ["snail", "", "名"].map(Into::into);
    assert_eq!(studio.count_tokens(&texts).unwrap(), [5, 0, 3]);
    let facts = studio.base_facts().unwrap();
    assert_eq!((facts.picture_size, facts.context_tokens, facts.can_see), (32, 8192, true));
}

#[test]
fn captions_are_drafted_by_a_base_that_sees_and_refused_by_one_that_does_not() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("A snail.")).unwrap().id;
    let added = studio.add_picture_bytes(&id, &[("a.png".to_owned(), png(1))]).unwrap();
    let picture = &added.character.pictures[0].id;
    studio.draft_caption(&id, picture).unwrap();
    assert_eq!(studio.draft_caption(&id, "nope").unwrap_err().code, ErrorCode::NotFound);
    let file = scratch.model_dir().join("config.json");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replacen('{', "{\"visual_und\":false,", 1)).unwrap();
    let error = studio.draft_caption(&id, picture).unwrap_err();
    assert!(error.message.contains("cannot see"), "{error}");
}

#[test]
fn a_chat_becomes_a_scene_with_its_pictures() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("A snail.")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    let refused = studio.scene_from_chat(&chat.chat.id, true).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BadRequest, "a greeting is no dialogue");
    let answer = reply(&say(&studio, &chat.chat.id, "Where to?")).text.clone();
    let detail = studio.scene_from_chat(&chat.chat.id, true).unwrap();
    let turns = &detail.scenes[0].turns;
    assert_eq!(turns.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(), ["Where to?", &answer]);
    assert_eq!(turns[1].picture_id, Some(detail.pictures[0].id.clone()));
    let bare = studio.scene_from_chat(&chat.chat.id, false).unwrap();
    assert_eq!((bare.scenes.len(), bare.pictures.len()), (2, 1));
    assert_eq!(bare.scenes[0].turns[1].picture_id, None);
}

/// The window says findings and remarks in its own languages: each code has its words there.
#[test]
fn every_code_has_words_in_the_window() {
    let read = |file: &str| {
        let messages = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/src/lib/messages");
        std::fs::read_to_string(format!("{messages}/{file}/en.ts")).unwrap()
    };
    let catalogue = read("told") + &read("imports");
    let checks = troupe_character::checks::CODES
        .iter()
        .flat_map(|code| [format!("finding.{code}"), format!("finding.{code}.hint")]);
    let noticed = troupe_character::rolescape::CODES
        .iter()
        .chain(troupe_character::cards::CODES.iter())
        .map(|code| format!("import.{code}"));
    let remarks = troupe_train::events::REMARKS.iter().map(|code| format!("remark.{code}"));
    for key in checks.chain(noticed).chain(remarks) {
        assert!(catalogue.contains(&format!("'{key}':")), "{key} has no words");
    }
}
