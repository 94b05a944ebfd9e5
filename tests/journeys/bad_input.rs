//! Input that is wrong: a clear message each, nothing lost.

use std::fs;

use image::{GrayImage, ImageFormat, Luma};
use troupe_api::{
    ErrorCode, Studio, StudioOptions,
    wire::{CharacterDraft, ChatEvent},
};
use troupe_tests::{Scratch, say};

fn named(name: &str) -> CharacterDraft {
    CharacterDraft { name: name.into(), persona: "Somebody.".into(), ..Default::default() }
}

#[test]
fn an_empty_folder_is_no_data_set() {
    let scratch = Scratch::new();
    let empty = scratch.path("empty");
    fs::create_dir(&empty).unwrap();
    for folder in [empty, scratch.path("absent")] {
        let error = scratch.studio().import_rolescape(&folder, None).unwrap_err();
        assert!(error.message.contains(folder.file_name().unwrap().to_str().unwrap()), "{error}");
        assert!(!error.hint.is_empty());
    }
    assert!(scratch.studio().library().list().unwrap().iter().all(|e| e.is_bundled));
}

#[test]
fn files_that_are_no_pictures_are_refused_one_by_one() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(named("Dot")).unwrap().id;
    let (text, good) = (scratch.path("notes.png"), scratch.path("good.png"));
    fs::write(&text, "not a picture").unwrap();
    troupe_testkit::dot_picture(1, 64).save_with_format(&good, ImageFormat::Png).unwrap();
    let absent = scratch.path("absent.png");
    let added = studio.add_picture_files(&id, &[text, good, absent]).unwrap();
    assert_eq!(added.character.pictures.len(), 1);
    assert_eq!(added.refused.len(), 2);
    assert!(added.refused[0].message.contains("notes.png"), "{}", added.refused[0]);
    assert!(added.refused[1].message.contains("absent.png"), "{}", added.refused[1]);
}

#[test]
fn a_large_photograph_is_made_smaller_and_a_vast_one_refused() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(named("Dot")).unwrap().id;
    let (large, vast) = (scratch.path("large.png"), scratch.path("vast.png"));
    let plain = |width, height| GrayImage::from_pixel(width, height, Luma([90]));
    plain(8000, 5000).save_with_format(&large, ImageFormat::Png).unwrap();
    plain(10_100, 10_000).save_with_format(&vast, ImageFormat::Png).unwrap();
    let added = studio.add_picture_files(&id, &[large, vast]).unwrap();
    assert_eq!(added.character.pictures.len(), 1);
    let file = studio.character_picture_file(&id, &added.character.pictures[0].id).unwrap();
    assert_eq!(image::image_dimensions(file).unwrap(), (1024, 640));
    assert!(added.refused[0].message.contains("100 megapixels"), "{}", added.refused[0]);
}

#[test]
fn names_never_become_paths() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    for name in ["../../x", "名前", "a/b", "CON", "..", "x\u{0}y"] {
        match studio.create_character(named(name)) {
            Ok(made) => {
                let entry = studio.library().find(&made.id).unwrap();
                assert_eq!(entry.dir.parent().unwrap(), scratch.home().join("characters"));
                assert_eq!(studio.character(name).unwrap().draft.name, made.draft.name);
            }
            Err(error) => assert_eq!(error.code, ErrorCode::BadRequest, "{name:?}: {error}"),
        }
    }
    assert!(!scratch.path("x").exists());
    assert!(studio.character("名前").is_ok());
    assert!(studio.create_character(named("   ")).is_err());
    assert!(studio.character("../../x/..").is_err());
}

#[test]
fn a_second_character_of_a_name_leaves_the_first_alone() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let first = studio.create_character(named("Dot")).unwrap();
    let second = studio.create_character(named("Dot")).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(studio.character(&first.id).unwrap().draft, first.draft);
}

#[test]
fn a_missing_model_is_named_and_the_message_kept() {
    let scratch = Scratch::new();
    fs::remove_file(scratch.model_dir().join("model.safetensors")).unwrap();
    let studio = scratch.studio();
    let id = studio.create_character(named("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    let events = say(&studio, &chat.chat.id, "Anyone there?");
    let Some(ChatEvent::Failed { error, .. }) = events.last() else {
        panic!("it went well without a model: {events:?}")
    };
    assert_eq!(error.code, ErrorCode::Model);
    assert!(error.message.contains("model"), "{error}");
    let detail = studio.chat(&chat.chat.id).unwrap();
    assert!(detail.messages.iter().any(|m| m.text == "Anyone there?"));

    let absent = StudioOptions {
        home: Some(scratch.home()),
        model_dir: Some(scratch.path("nowhere")),
        worker: None,
    };
    let status = Studio::open(&absent).unwrap().status();
    assert!(status.problem.unwrap().message.contains("nowhere"));
}

#[test]
fn damaged_weights_are_refused() {
    let scratch = Scratch::new();
    let file = scratch.model_dir().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&file, bytes).unwrap();
    let studio = scratch.studio();
    let id = studio.create_character(named("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    let events = say(&studio, &chat.chat.id, "Anyone there?");
    let Some(ChatEvent::Failed { error, .. }) = events.last() else {
        panic!("it went well with half a file")
    };
    assert!(error.message.contains("model.safetensors"), "{error}");
}
