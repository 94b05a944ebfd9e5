//! Creating a character, chatting with it, coming back.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::mpsc::channel;

use troupe_api::{
    Studio,
    wire::{
        CharacterDraft, ChatDetail, ChatEvent, ChatSettings, CompareEvent, CompareRequest,
        CompareSide, ExportFormat, MessageItem, MessageStatus, PictureMode, Regenerate,
        SamplingPreset, SendMessage,
    },
};
use troupe_store::{MessageState, NewMessage, Store};
use troupe_tests::{Scratch, reply, say};

/// A character, a chat with it, and the studio that has both.
fn begin(scratch: &Scratch) -> (Studio, ChatDetail) {
    let studio = scratch.studio();
    let id = studio.create_character(draft("Dot")).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    (studio, chat)
}

/// Sends a request and waits for the reply.
fn send(studio: &Studio, request: SendMessage) -> MessageItem {
    let (sender, events) = channel();
    studio.send_message(request, Box::new(move |event| sender.send(event).unwrap())).unwrap();
    reply(&events.into_iter().collect::<Vec<_>>()).clone()
}

fn request(chat: &ChatDetail, text: &str) -> SendMessage {
    SendMessage {
        chat_id: chat.chat.id.clone(),
        text: text.into(),
        picture_mode: PictureMode::Never,
        seed: Some(5),
        ..Default::default()
    }
}

/// Makes something of a message again and waits for it.
fn again(studio: &Studio, id: &str, what: Regenerate) -> MessageItem {
    let (sender, events) = channel();
    let sink = Box::new(move |event| sender.send(event).unwrap());
    studio.regenerate(id, what, Some(9), sink).unwrap();
    reply(&events.into_iter().collect::<Vec<_>>()).clone()
}

fn texts(studio: &Studio, chat: &ChatDetail) -> Vec<String> {
    let detail = studio.chat(&chat.chat.id).unwrap();
    detail.messages.into_iter().map(|m| m.text).collect()
}

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
        ..Default::default()
    };
    let started = studio.send_message(request, sink).unwrap();
    studio.stop(&started.generation_id);
    let events: Vec<ChatEvent> = events.into_iter().collect();
    assert_eq!(reply(&events).status, MessageStatus::Stopped);
    let events = say(&studio, &chat.chat.id, "And now?");
    assert_eq!(reply(&events).status, MessageStatus::Complete);
}

/// A chat of five hundred messages is told by its ids, its end, and what is asked for.
#[test]
fn a_long_chat_is_told_in_parts() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let chat_id = &chat.chat.id;
    let ids: Vec<String> = {
        let store = Store::open(&scratch.home().join("troupe.db")).unwrap();
        let mut ids = vec![chat.thread[0].clone()];
        for number in 1..500 {
            let text = format!("number {number}");
            let new = NewMessage::user(chat_id, ids.last().map(String::as_str), &text);
            ids.push(store.add_message(&new).unwrap().id);
        }
        ids
    };
    let told = |detail: &ChatDetail| -> Vec<String> {
        detail.messages.iter().map(|message| message.id.clone()).collect()
    };
    let detail = studio.chat(chat_id).unwrap();
    assert_eq!(detail.thread, ids);
    assert_eq!(told(&detail), ids[300..]);

    // What an answer is about comes with what stands around it, each message once.
    let around = studio.select_alternative(&ids[100]).unwrap();
    assert_eq!(told(&around), [&ids[..200], &ids[300..]].concat());
    assert_eq!(told(&studio.select_alternative(&ids[290]).unwrap()), ids[190..]);
    let cut = studio.delete_message(&ids[250]).unwrap();
    assert_eq!((cut.thread.len(), told(&cut)), (250, ids[50..250].to_vec()));
    let back = studio.restore_message(&ids[250]).unwrap();
    assert_eq!((&back.thread, told(&back).first()), (&ids, Some(&ids[150])));

    let wanted = [ids[7].clone(), ids[3].clone()];
    let texts: Vec<String> =
        studio.messages(&wanted).unwrap().into_iter().map(|m| m.text).collect();
    assert_eq!(texts, ["number 7", "number 3"]);
    assert!(studio.messages(&["nobody".into()]).is_err());

    studio.pin_message(&ids[9], true).unwrap();
    studio.pin_message(&ids[4], true).unwrap();
    let pinned: Vec<String> =
        studio.pinned_messages(chat_id).unwrap().into_iter().map(|m| m.id).collect();
    assert_eq!(pinned, [ids[4].as_str(), ids[9].as_str()]);

    // What would be sent counts all of it, and reads no more than goes along.
    let preview = studio.preview_prompt(chat_id, "Now?").unwrap();
    assert_eq!((preview.num_turns, preview.num_left_out), (8, 491));
    let places = [4, 9, 494, 499].map(|number| preview.prompt.find(&format!("number {number}")));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}");
    assert!(!preview.prompt.contains("number 493"));
    let tree = studio.chat_tree(chat_id, 250, 3).unwrap();
    assert_eq!((tree.total, tree.end, tree.rows[2].id.as_str()), (500, 499, ids[252].as_str()));
}

#[test]
fn a_chat_begins_with_any_of_the_greetings() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let others = vec!["Slow day.".into(), " ".into(), "Rain again.".into()];
    let dot = CharacterDraft { other_greetings: others, ..draft("Dot") };
    let id = studio.create_character(dot).unwrap().id;
    let chat = studio.create_chat(&id).unwrap();
    assert_eq!(chat.messages[0].text, "Mind the trail.");
    let greetings = &chat.messages[0].alternatives;
    assert_eq!((greetings.len(), chat.thread.len()), (3, 1));
    let other = studio.select_alternative(&greetings[2]).unwrap();
    assert_eq!(other.messages[0].text, "Rain again.");
    let sent = studio.preview_prompt(&chat.chat.id, "Hello?").unwrap().prompt;
    assert!(sent.contains("Rain again.") && !sent.contains("Mind the trail."), "{sent}");
}

#[test]
fn branches_deletions_and_pins_can_be_walked_and_undone() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let first = send(&studio, request(&chat, "Hello?"));
    let second = send(&studio, request(&chat, "And now?"));

    // Said anew: the old words stay as an alternative.
    let said = first.parent_id.clone().unwrap();
    let anew = SendMessage { branch_of: Some(said.clone()), ..request(&chat, "Good morning!") };
    send(&studio, anew);
    let detail = studio.chat(&chat.chat.id).unwrap();
    assert_eq!(detail.messages[1].text, "Good morning!");
    assert_eq!(detail.messages[1].alternatives.len(), 2);
    assert_eq!(detail.messages.len(), 3, "the old answers are on the other branch");
    let tree = studio.chat_tree(&chat.chat.id, 0, 100).unwrap();
    assert_eq!((tree.rows.len(), tree.total, tree.num_branches), (7, 7, 1));
    // Said anew stands right under the greeting, with what follows it.
    assert_eq!((tree.rows[1].snippet.as_str(), tree.rows[1].lane), ("Good morning!", 1));
    assert_eq!((tree.rows[2].is_shown, tree.rows[3].is_shown, tree.end), (true, false, 2));
    let part = studio.chat_tree(&chat.chat.id, 5, 100).unwrap();
    assert_eq!((&part.rows, part.total), (&tree.rows[5..].to_vec(), 7));

    // Back to the old branch, whole.
    assert_eq!(studio.select_alternative(&said).unwrap().messages.len(), 5);
    // Branching off after the first answer hides what followed, without losing it.
    assert_eq!(studio.branch_at(&first.id).unwrap().messages.len(), 3);
    send(&studio, request(&chat, "Another way."));
    assert_eq!(studio.chat(&chat.chat.id).unwrap().messages.len(), 5);
    assert_eq!(studio.select_alternative(&second.id).unwrap().messages[4].id, second.id);

    let before = texts(&studio, &chat);
    studio.delete_message(&first.id).unwrap();
    assert_eq!(texts(&studio, &chat), before[..2]);
    studio.restore_message(&first.id).unwrap();
    assert!(studio.chat(&chat.chat.id).unwrap().messages.iter().any(|m| m.id == first.id));
    studio.pin_message(&first.id, true).unwrap();
    drop(studio);
    let detail = scratch.studio().chat(&chat.chat.id).unwrap();
    assert!(detail.messages.iter().find(|m| m.id == first.id).unwrap().is_pinned);
}

#[test]
fn a_reply_goes_on_where_it_ended_and_greetings_have_versions() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let first = send(&studio, request(&chat, "Hello?"));
    studio.edit_message(&first.id, "Once there was").unwrap();
    let more = again(&studio, &first.id, Regenerate::Continue);
    assert_eq!(more.id, first.id);
    assert!(more.text.starts_with("Once there was"), "{}", more.text);
    assert!(more.text.len() > "Once there was".len());
    assert_eq!(more.alternatives.len(), 1, "going on makes no new version");

    let greeting = &chat.messages[0].id;
    let other = again(&studio, greeting, Regenerate::Text);
    assert_eq!((other.parent_id, other.alternatives.len()), (None, 2));
    assert_eq!(studio.select_alternative(greeting).unwrap().messages[0].text, "Mind the trail.");
    let said = first.parent_id.unwrap();
    let error = studio.regenerate(&said, Regenerate::Text, None, Box::new(|_| {})).unwrap_err();
    assert!(!error.hint.is_empty());
}

#[test]
fn an_edited_reply_says_so_until_the_edit_is_undone() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let made = send(&studio, request(&chat, "Hello?"));
    assert!(!made.is_edited && made.base_hash.is_some());
    assert!(studio.edit_message(&made.id, "By hand.").unwrap().is_edited);
    drop(studio);
    let studio = scratch.studio();
    let shown = studio.chat(&chat.chat.id).unwrap().messages;
    assert!(shown.iter().find(|m| m.id == made.id).unwrap().is_edited, "forgotten by a restart");
    let path = scratch.path("talk.md");
    studio.export_chat(&chat.chat.id, ExportFormat::Markdown, &path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().matches("(edited):**").count(), 1);
    let undone = studio.edit_message(&made.id, &made.text).unwrap();
    assert_eq!(undone, made);
    // What goes on from words of a person is not the model's alone, whatever it is changed to.
    studio.edit_message(&made.id, "Once there was").unwrap();
    assert!(again(&studio, &made.id, Regenerate::Continue).is_edited);
    assert!(studio.edit_message(&made.id, &made.text).unwrap().is_edited);
}

#[test]
fn an_edit_of_a_stopped_reply_is_undone_to_a_stopped_one() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let made = send(&studio, request(&chat, "Hello?"));
    drop(studio);
    let store = Store::open(&scratch.home().join("troupe.db")).unwrap();
    store.set_text(&made.id, "Cut", MessageState::Stopped).unwrap();
    drop(store);
    let studio = scratch.studio();
    assert_eq!(studio.edit_message(&made.id, "Whole").unwrap().status, MessageStatus::Complete);
    let undone = studio.edit_message(&made.id, "Cut").unwrap();
    assert_eq!((undone.status, undone.is_edited), (MessageStatus::Stopped, false));
}

#[test]
fn what_is_previewed_is_what_is_sent() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let settings = ChatSettings {
        preset: SamplingPreset::Lively,
        user_name: "Ines".into(),
        author_note: "It rains.".into(),
        ..Default::default()
    };
    studio.set_chat_settings(&chat.chat.id, &settings).unwrap();
    let preview = studio.preview_prompt(&chat.chat.id, "Hello?").unwrap();
    let counted: u32 = preview.parts.iter().map(|part| part.num_tokens).sum();
    assert_eq!(counted, preview.num_tokens);
    // The testkit's tokens are bytes.
    assert_eq!(preview.num_tokens as usize, preview.prompt.len());
    let message = send(&studio, request(&chat, "Hello?"));
    let sent = studio.sent_prompts(&message.id).unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0].prompt, sent[0].num_tokens), (&preview.prompt, preview.num_tokens));
    assert!(sent[0].prompt.contains("Ines") && sent[0].prompt.contains("[It rains.]"));
    let used: serde_json::Value = serde_json::from_str(&sent[0].settings).unwrap();
    assert_eq!(used["temperature"], 0.6, "of a small base");
    assert_eq!(studio.chat(&chat.chat.id).unwrap().settings, settings);
}

#[test]
fn pictures_come_when_they_are_wanted() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let say = |text: &str, picture_mode| {
        send(&studio, SendMessage { picture_mode, ..request(&chat, text) }).picture.is_some()
    };
    assert!(!say("How are you?", PictureMode::OnRequest));
    assert!(say("Show me a picture!", PictureMode::OnRequest));
    assert!(!say("Show me a picture!", PictureMode::Never));
    assert!(say("Let us go outside.", PictureMode::SceneChange));
    let last = studio.chat(&chat.chat.id).unwrap().messages.pop().unwrap();
    let kinds: Vec<String> =
        studio.sent_prompts(&last.id).unwrap().into_iter().map(|s| s.kind).collect();
    assert_eq!(kinds, ["text", "picture"]);
}

#[test]
fn a_picture_is_asked_about_and_kept() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let name = studio.attach_picture(png.get_ref()).unwrap();
    let asked = request(&chat, "What is this?");
    let with = send(&studio, SendMessage { attachment: Some(name.clone()), ..asked.clone() });
    // The question goes out as it is, behind the picture.
    assert_eq!(studio.sent_prompts(&with.id).unwrap()[0].prompt, "What is this?");
    let detail = studio.chat(&chat.chat.id).unwrap();
    assert_eq!(detail.messages[1].attachment.as_ref(), Some(&name));
    assert_eq!(image::open(studio.attachment_file(&name).unwrap()).unwrap().width(), 40);
    assert!(studio.attachment_file("../troupe.db").is_err());
    assert!(studio.attach_picture(b"no picture").is_err());
    let gone = SendMessage { attachment: Some("gone.png".into()), ..asked };
    assert!(studio.send_message(gone, Box::new(|_| {})).is_err());
}

#[test]
fn two_characters_answer_the_same_on_the_same_seed() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let other = studio.create_character(draft("Lot")).unwrap().id;
    let side =
        |character_id: &str| CompareSide { character_id: character_id.into(), adapter: None };
    let own = chat.chat.character_id.as_str();
    let run = |sides: Vec<CompareSide>| {
        let request = CompareRequest {
            chat_id: chat.chat.id.clone(),
            text: "Hello?".into(),
            sides,
            seed: Some(7),
            with_pictures: true,
        };
        let (sender, events) = channel();
        studio.compare(request, Box::new(move |event| sender.send(event).unwrap())).unwrap();
        let events: Vec<CompareEvent> = events.into_iter().collect();
        assert_eq!(events.last(), Some(&CompareEvent::Done));
        let answer = |event| match event {
            CompareEvent::SideDone { answer } => Some(answer),
            _ => None,
        };
        events.into_iter().filter_map(answer).collect::<Vec<_>>()
    };
    let same = run(vec![side(own), side(own)]);
    assert_eq!(same[0].text, same[1].text);
    assert_eq!((same[0].seed, same[1].seed), (7, 7));
    let pixels = |index: usize| {
        let id = &same[index].picture.as_ref().unwrap().id;
        image::open(studio.drawn_picture_file(id).unwrap()).unwrap().to_rgb8().into_raw()
    };
    assert_eq!(pixels(0), pixels(1));
    let both = run(vec![side(own), side(&other)]);
    assert_eq!(both[0].base_hash, both[1].base_hash);
    assert_eq!((both[0].side, both[1].side), (0, 1));
    assert_eq!(texts(&studio, &chat).len(), 1, "a comparison adds nothing to the chat");
    let missing = CompareSide { adapter: Some("none".into()), ..side(own) };
    let request = CompareRequest {
        chat_id: chat.chat.id.clone(),
        text: "Hello?".into(),
        sides: vec![side(own), missing],
        ..Default::default()
    };
    assert!(studio.compare(request, Box::new(|_| {})).is_err());
}

#[test]
fn a_chat_is_exported_with_its_pictures() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    reply(&say(&studio, &chat.chat.id, "Hello?"));
    for (format, name) in [
        (ExportFormat::Markdown, "talk.md"),
        (ExportFormat::Html, "talk.html"),
        (ExportFormat::SillyTavern, "talk.jsonl"),
    ] {
        let path = scratch.path("out").join(name);
        let outcome = studio.export_chat(&chat.chat.id, format, &path).unwrap();
        assert_eq!((outcome.num_messages, outcome.num_pictures), (3, 1));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Mind the trail.") && text.contains("Hello?"), "{name}");
    }
    let pictures = std::fs::read_dir(scratch.path("out").join("talk-pictures")).unwrap();
    for picture in pictures {
        assert_eq!(image::open(picture.unwrap().path()).unwrap().width(), 32);
    }
}

#[test]
fn a_panic_costs_one_reply_and_no_conversation() {
    let scratch = Scratch::new();
    let (studio, chat) = begin(&scratch);
    let (sender, events) = channel();
    let mut has_panicked = false;
    let sink = Box::new(move |event| {
        if matches!(event, ChatEvent::TextDelta { .. }) && !has_panicked {
            has_panicked = true;
            panic!("on purpose, in the middle of a reply");
        }
        sender.send(event).unwrap();
    });
    studio.send_message(request(&chat, "Hello?"), sink).unwrap();
    let events: Vec<ChatEvent> = events.into_iter().collect();
    let Some(ChatEvent::Failed { message: Some(message), error }) = events.last() else {
        panic!("it ended with {:?}", events.last())
    };
    assert_eq!(message.status, MessageStatus::Failed);
    assert!(!message.text.is_empty(), "what was written is kept");
    assert!(!error.hint.is_empty());
    // The engine is there for the next message, and the conversation is whole.
    assert_eq!(send(&studio, request(&chat, "Again?")).status, MessageStatus::Complete);
    assert_eq!(texts(&studio, &chat).len(), 5);
}
