//! Drawing for the gallery, marking, exporting, going back to the chat.

use std::sync::mpsc::channel;

use troupe_api::{
    DrawingSink, ErrorCause, ErrorCode, Studio,
    wire::{
        CharacterDraft, DrawPicture, DrawingEvent, ExpressionItem, GalleryFilter, GalleryItem,
        PhaseKind, PictureUse,
    },
};
use troupe_tests::{Scratch, reply, say, wait_for};

use crate::deleting::teach;

/// A character with three faces.
fn dot(studio: &Studio) -> String {
    let face = |name: &str| ExpressionItem { name: name.into(), prompt: format!("a {name} face") };
    let draft = CharacterDraft {
        name: "Dot".into(),
        persona: "A slow snail.".into(),
        appearance: "a grey snail".into(),
        expressions: ["Calm", "Very angry", "calm"].map(face).into(),
        ..CharacterDraft::default()
    };
    studio.create_character(draft).unwrap().id
}

/// Starts a job and waits for its end.
fn drawn(start: impl FnOnce(DrawingSink) -> String) -> Vec<DrawingEvent> {
    let (sender, events) = channel();
    start(Box::new(move |event| sender.send(event).unwrap()));
    events.into_iter().collect()
}

fn items(events: &[DrawingEvent]) -> Vec<GalleryItem> {
    let item = |event: &DrawingEvent| match event {
        DrawingEvent::Picture { item, .. } => Some(item.clone()),
        _ => None,
    };
    events.iter().filter_map(item).collect()
}

fn pixels(studio: &Studio, id: &str) -> Vec<u8> {
    image::open(studio.drawn_picture_file(id).unwrap()).unwrap().to_rgb8().into_raw()
}

fn all() -> GalleryFilter {
    GalleryFilter::default()
}

#[test]
fn a_picture_is_drawn_again_marked_and_found() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = dot(&studio);
    let request = DrawPicture {
        character_id: id.clone(),
        prompt: "Dot on a leaf".into(),
        seed: Some(3),
        reference_id: None,
    };
    let events = drawn(|sink| studio.draw_picture(request, sink).unwrap());
    assert!(matches!(events.last(), Some(DrawingEvent::Done { num_drawn: 1, was_stopped: false })));
    let prepares =
        |e: &DrawingEvent| matches!(e, DrawingEvent::Phase { kind: PhaseKind::PreparingPicture });
    assert!(events.iter().any(prepares), "nothing is said before the first step");
    let first = items(&events).remove(0);
    assert_eq!(
        (first.seed, first.kind, first.title.as_str()),
        (3., PictureUse::Drawing, "Dot on a leaf")
    );
    let same = items(&drawn(|sink| studio.draw_again(&first.id, None, sink).unwrap())).remove(0);
    let other =
        items(&drawn(|sink| studio.draw_again(&first.id, Some(4), sink).unwrap())).remove(0);
    // The tiny base draws everything grey, so that seeds are told apart by their records alone.
    assert_eq!(pixels(&studio, &first.id), pixels(&studio, &same.id));
    assert_eq!((same.seed, other.seed, other.prompt.as_str()), (3., 4., "Dot on a leaf"));
    let request = DrawPicture {
        character_id: id.clone(),
        prompt: "Dot on a leaf".into(),
        seed: Some(3),
        reference_id: Some(first.id.clone()),
    };
    let from = items(&drawn(|sink| studio.draw_picture(request, sink).unwrap())).remove(0);
    assert_eq!(from.reference_id.as_deref(), Some(first.id.as_str()));

    studio.set_favourite(&other.id, true).unwrap();
    studio.set_rating(&other.id, Some(5)).unwrap();
    drop(studio);
    let studio = scratch.studio();
    let favourites = GalleryFilter { favourites: true, ..all() };
    let page = studio.gallery(favourites, 0, 10).unwrap();
    assert_eq!((page.total, page.items[0].rating), (1, Some(5)));
    let page = studio.gallery(GalleryFilter { words: "leaf".into(), ..all() }, 2, 10).unwrap();
    assert_eq!((page.total, page.items.len()), (4, 2), "two of four are left from the third on");
    let ids = vec![first.id.clone(), same.id];
    studio.delete_gallery_pictures(&ids).unwrap();
    assert_eq!(studio.gallery(all(), 0, 10).unwrap().total, 2);
    studio.restore_gallery_pictures(&ids).unwrap();
    assert_eq!(studio.gallery(all(), 0, 10).unwrap().total, 4);

    let added = studio.add_to_training(&first.id).unwrap();
    assert!(added.is_new);
    assert_eq!(added.character.pictures[0].caption, "Dot on a leaf");
    assert!(!studio.add_to_training(&first.id).unwrap().is_new);
}

#[test]
fn a_picture_is_made_again_by_what_drew_it() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let draw = || {
        let request = DrawPicture {
            character_id: id.clone(),
            prompt: "Dot on a leaf".into(),
            ..DrawPicture::default()
        };
        items(&drawn(|sink| studio.draw_picture(request, sink).unwrap())).remove(0)
    };
    let again = |of: &GalleryItem, seed| {
        items(&drawn(|sink| studio.draw_again(&of.id, seed, sink).unwrap())).remove(0).adapter_hash
    };
    let by_base = draw();
    let first = teach(&studio, &id, 2);
    let by_first = draw();
    teach(&studio, &id, 3);
    let by_second = draw();
    assert!(by_base.adapter_hash.is_none() && by_first.adapter_hash != by_second.adapter_hash);
    for picture in [&by_base, &by_first, &by_second] {
        assert_eq!(again(picture, None), picture.adapter_hash);
        assert_eq!(again(picture, Some(4)), by_second.adapter_hash);
    }
    studio.delete_run(&first).unwrap();
    assert_eq!(again(&by_first, None), by_second.adapter_hash, "what drew it is gone");
}

#[test]
fn copies_say_how_they_were_made_unless_told_not_to() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = dot(&studio);
    let request = DrawPicture {
        character_id: id,
        prompt: "Dot 名".into(),
        seed: Some(3),
        ..Default::default()
    };
    let item = items(&drawn(|sink| studio.draw_picture(request, sink).unwrap())).remove(0);
    let folder = scratch.path("copies");
    let with = studio.save_picture_copies(std::slice::from_ref(&item.id), &folder, true).unwrap();
    let without = studio.save_picture_copies(&[item.id], &folder, false).unwrap();
    assert_ne!(with, without, "a copy never replaces another");
    let read = |files: &[std::path::PathBuf]| std::fs::read(&files[0]).unwrap();
    let has = |bytes: &[u8], words: &str| bytes.windows(words.len()).any(|w| w == words.as_bytes());
    let (with, without) = (read(&with), read(&without));
    for words in [
        "parameters",
        "Dot 名\nSteps: 4, Sampler: Flow Euler, CFG scale: 2, Seed: 3, Size: 32x32",
        "troupe",
        "baseHash",
    ] {
        assert!(has(&with, words), "{words} is missing");
        assert!(!has(&without, words), "{words} is still there");
    }
    let decoded = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().to_rgb8();
    assert_eq!(decoded(&with), decoded(&without));
}

#[test]
fn other_programs_are_given_copies_and_the_person_is_shown_the_file() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let request =
        DrawPicture { character_id: dot(&studio), prompt: "Dot".into(), ..Default::default() };
    let id = items(&drawn(|sink| studio.draw_picture(request, sink).unwrap())).remove(0).id;
    let own = studio.drawn_picture_file(&id).unwrap();
    assert_eq!(studio.picture_to_show(&id, true).unwrap(), own);
    let whole = studio.outgoing_copy(&id, true).unwrap();
    assert!(whole != own && whole.is_absolute(), "whoever takes it must not take ours");
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&own).unwrap());
    let bare = studio.picture_to_show(&id, false).unwrap();
    let bytes = std::fs::read(&bare).unwrap();
    assert!(bare != own && !bytes.windows(10).any(|w| w == b"parameters"));
    let small = image::load_from_memory(&studio.thumbnail(&id, 16).unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (16, 16));
    studio.discard_outgoing();
    assert!(own.is_file() && !bare.exists());
    std::fs::remove_file(&own).unwrap();
    let error = studio.picture_to_show(&id, true).unwrap_err();
    assert_eq!(error.cause, Some(ErrorCause::PictureGone));
}

#[test]
fn an_expression_sheet_is_drawn_approved_and_exported() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = dot(&studio);
    let refused = studio.export_sprites_zip(&id, &scratch.path("none.zip"), true).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BadRequest);
    let events = drawn(|sink| studio.draw_expressions(&id, &[], Some(7), sink).unwrap());
    let faces = items(&events);
    assert_eq!(
        faces.iter().map(|f| f.label.as_str()).collect::<Vec<_>>(),
        ["Calm", "Very angry", "calm"]
    );
    assert_eq!(faces[1].prompt, "Dot, a grey snail, a Very angry face");
    assert!(faces.iter().all(|face| face.seed == 7.));
    for face in &faces {
        studio.approve_picture(&face.id, true).unwrap();
    }
    let sheet = studio.expression_sheet(&id).unwrap();
    assert!(sheet.iter().all(|e| e.pictures.len() == 1 && e.pictures[0].is_approved));

    let folder = studio.export_sprites_folder(&id, &scratch.path("out"), true).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["calm-2.png", "calm.png", "very-angry.png"]);
    assert_eq!(
        image::open(folder.join("very-angry.png")).unwrap().to_rgb8().into_raw(),
        pixels(&studio, &faces[1].id)
    );
    let zip = scratch.path("dot.zip");
    assert_eq!(studio.export_sprites_zip(&id, &zip, false).unwrap(), 3);
    let bytes = std::fs::read(zip).unwrap();
    assert!(bytes.starts_with(b"PK\x03\x04"));
    assert!(bytes.windows(14).any(|w| w == b"very-angry.png"));
}

#[test]
fn a_sheet_can_be_stopped_and_lets_a_chat_in_between() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = dot(&studio);
    let (sender, events) = channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    let job = studio.draw_expressions(&id, &[], Some(7), sink).unwrap();
    let chat = studio.create_chat(&id).unwrap();
    reply(&say(&studio, &chat.chat.id, "Hello?")); // answered while the sheet is under way
    studio.stop(&job);
    let events: Vec<DrawingEvent> = events.into_iter().collect();
    let last = events.last().unwrap();
    assert!(matches!(last, DrawingEvent::Done { .. }), "{last:?}");

    let (sender, events) = channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    let job = studio.draw_expressions(&id, &["Calm".into()], Some(8), sink).unwrap();
    studio.stop(&job);
    let events: Vec<DrawingEvent> = events.into_iter().collect();
    let last = events.last().unwrap();
    assert!(matches!(last, DrawingEvent::Done { num_drawn: 0, was_stopped: true }), "{last:?}");
    let none = studio.draw_expressions(&id, &["Bored".into()], None, Box::new(|_| {}));
    assert_eq!(none.unwrap_err().code, ErrorCode::BadRequest);
}

#[test]
fn a_picture_leads_back_to_its_chat() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = dot(&studio);
    let chat = studio.create_chat(&id).unwrap();
    let message = reply(&say(&studio, &chat.chat.id, "Where to?")).clone();
    let picture = studio.gallery(all(), 0, 1).unwrap().items.remove(0);
    assert_eq!(picture.kind, PictureUse::Chat);
    // Long lines are cut and end in dots.
    let (line, title) = (message.text.lines().next().unwrap_or_default(), &picture.title);
    assert!(line.starts_with(title.trim_end_matches('…')) && !title.is_empty(), "{title}");
    studio.create_chat(&id).unwrap();
    let shown = studio.open_picture_chat(&picture.id).unwrap();
    assert_eq!(shown.messages.last().unwrap().id, message.id);
    // Times are whole milliseconds: a second call is surely later than the other chat.
    wait_for("the chat to come first", || {
        studio.open_picture_chat(&picture.id).unwrap();
        (studio.list_chats(Some(&id)).unwrap()[0].id == chat.chat.id).then_some(())
    });
}
