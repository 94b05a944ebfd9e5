//! Creating a character, chatting with it, coming back.

use troupe_api::wire::{CharacterDraft, ChatEvent, MessageStatus, Regenerate};
use troupe_tests::{Scratch, reply, say};

fn draft(name: &str) -> CharacterDraft {
    CharacterDraft {
        name: name.into(),
        persona: "A slow snail with a fast tongue.".into(),
        speaking_style: "Short and cheeky.".into(),
        greeting: "Mind the trail.".into(),
        ..Default::default()
    }
}

#[test]
fn a_chat_streams_draws_and_outlives_a_restart() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    assert_eq!(chat.messages[0].text, "Mind the trail.");

    let events = say(&studio, &chat.chat.id, "Where are you off to?");
    let deltas: String = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::TextDelta { delta, .. } => Some(delta.as_str()),
            _ => None,
        })
        .collect();
    let done = reply(&events);
    assert_eq!(deltas.trim(), done.text);
    assert!(!done.text.is_empty());
    let previews = events
        .iter()
        .filter(|e| matches!(e, ChatEvent::PictureProgress { preview: Some(_), .. }))
        .count();
    assert!(previews > 0, "no preview while drawing");
    let picture = done.picture.clone().unwrap();
    let text = done.text.clone();
    drop(studio);

    let again = scratch.studio();
    assert_eq!(again.recover().unwrap(), 0);
    let detail = again.chat(&chat.chat.id).unwrap();
    let texts: Vec<&str> = detail.messages.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(texts, ["Mind the trail.", "Where are you off to?", text.as_str()]);
    assert_eq!(detail.chat.title, "Where are you off to?");
    let file = again.drawn_picture_file(&picture.id).unwrap();
    assert_eq!(image::open(file).unwrap().width(), 32);
}

#[test]
fn the_same_seed_says_and_draws_the_same() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("Dot")).unwrap().id;
    let both = [(); 2].map(|()| {
        let chat = studio.create_chat(&id).unwrap();
        let events = say(&studio, &chat.chat.id, "Hello?");
        let message = reply(&events).clone();
        let file = studio.drawn_picture_file(&message.picture.unwrap().id).unwrap();
        (message.text, image::open(file).unwrap().to_rgb8().into_raw())
    });
    assert_eq!(both[0], both[1]);
}

#[test]
fn a_second_answer_stands_beside_the_first() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    let first = reply(&say(&studio, &chat.chat.id, "Hello?")).clone();
    let (sender, events) = std::sync::mpsc::channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    studio.regenerate(&first.id, Regenerate::Text, Some(9), sink).unwrap();
    let events: Vec<ChatEvent> = events.into_iter().collect();
    let second = reply(&events).clone();
    assert_ne!(first.id, second.id);
    let shown = |studio: &troupe_api::Studio| {
        studio.chat(&chat.chat.id).unwrap().messages.last().unwrap().id.clone()
    };
    assert_eq!(shown(&studio), second.id);
    studio.select_alternative(&first.id).unwrap();
    assert_eq!(shown(&studio), first.id);
}

#[test]
fn stopping_keeps_what_was_written() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let id = studio.create_character(draft("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    let (sender, events) = std::sync::mpsc::channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    let request = troupe_api::wire::SendMessage {
        chat_id: chat.chat.id.clone(),
        parent_id: None,
        text: "Tell me everything.".into(),
        picture_mode: troupe_api::wire::PictureMode::Always,
        seed: Some(5),
    };
    let started = studio.send_message(request, sink).unwrap();
    studio.stop(&started.generation_id);
    let events: Vec<ChatEvent> = events.into_iter().collect();
    assert_eq!(reply(&events).status, MessageStatus::Stopped);
    let events = say(&studio, &chat.chat.id, "And now?");
    assert_eq!(reply(&events).status, MessageStatus::Complete);
}
