//! Things are deleted, come back, and go for good.

use troupe_api::{
    ErrorCause, Studio,
    wire::{DeletedKind, DeletedRef, SendMessage, StartEvaluation, StartTraining},
    work,
};
use troupe_tests::{Scratch, copy, reply, say, wait_for};
use troupe_train::events::{Control, TrainEvent};

fn request(id: &str, num_steps: u32) -> StartTraining {
    StartTraining {
        character_id: id.into(),
        num_steps: Some(num_steps),
        ..StartTraining::default()
    }
}

/// Teaches a character; the id of the run.
pub(crate) fn teach(studio: &Studio, id: &str, num_steps: u32) -> String {
    let run = studio.create_run(&request(id, num_steps)).unwrap();
    work(&run, &mut |_| Control::Continue).unwrap();
    run.file_name().unwrap().to_string_lossy().into_owned()
}

/// Hash of the adapter with which a character speaks and draws.
fn spoken_with(studio: &Studio, id: &str) -> Option<String> {
    let chat = studio.create_chat(id).unwrap().chat;
    let message = reply(&say(studio, &chat.id, "Hello?")).clone();
    assert_eq!(message.picture.unwrap().adapter_hash, message.adapter_hash);
    message.adapter_hash
}

fn cause<T: std::fmt::Debug>(result: troupe_api::ApiResult<T>) -> Option<ErrorCause> {
    result.unwrap_err().cause
}

#[test]
fn a_deleted_run_takes_along_what_it_taught_and_brings_it_back() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let (first, second) = (teach(&studio, &id, 2), teach(&studio, &id, 3));
    let newest = spoken_with(&studio, &id);

    // The older one is not in use, and has nothing to go back to.
    let older = studio.run_deletion(&first).unwrap();
    assert!(!older.is_in_use && older.falls_back_to.is_none(), "{older:?}");
    let deletion = studio.run_deletion(&second).unwrap();
    assert!(deletion.is_in_use);
    assert_eq!(deletion.falls_back_to.unwrap().name, first);
    let adapter = studio.run_dir(&second).unwrap().join("adapter/adapter_model.safetensors");
    let bytes = std::fs::metadata(adapter).unwrap().len() as f64;
    assert!(deletion.size_bytes > 2. * bytes, "the character has a copy: {bytes}");

    studio.delete_run(&second).unwrap();
    let runs: Vec<String> = studio.list_runs(None).unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(runs, [first.as_str()]);
    assert_eq!(studio.character(&id).unwrap().adapters.len(), 1);
    let fallback = spoken_with(&studio, &id);
    assert!(fallback.is_some() && fallback != newest);

    // Without the last one the base speaks alone.
    let last = studio.run_deletion(&first).unwrap();
    assert!(last.is_in_use && last.falls_back_to.is_none(), "{last:?}");
    studio.delete_run(&first).unwrap();
    assert_eq!(spoken_with(&studio, &id), None);

    studio.restore_run(&first).unwrap();
    assert_eq!(spoken_with(&studio, &id), fallback);
    let back = studio.restore_run(&second).unwrap();
    assert_eq!((back.id.as_str(), back.status.as_str()), (second.as_str(), "finished"));
    assert_eq!(spoken_with(&studio, &id), newest);
    assert_eq!(studio.run(&second).unwrap().curve.len(), 3);
    assert_eq!(cause(studio.restore_run(&second)), Some(ErrorCause::NoSuchEntry));
}

/// Lets a folder of the trash look as if it had come there so many days ago.
fn age(scratch: &Scratch, folder: &str, days: u64) {
    let folder = std::fs::File::open(scratch.home().join("trash").join(folder)).unwrap();
    let long = std::time::Duration::from_secs(days * 24 * 60 * 60);
    folder.set_modified(std::time::SystemTime::now() - long).unwrap();
}

fn deleted(studio: &Studio) -> Vec<(DeletedKind, String)> {
    studio.deleted().unwrap().items.into_iter().map(|item| (item.kind, item.id)).collect()
}

#[test]
fn what_was_deleted_goes_by_itself_in_a_month() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let (old, new) = (teach(&studio, &id, 2), teach(&studio, &id, 2));
    studio.delete_run(&old).unwrap();
    studio.delete_run(&new).unwrap();
    let character = studio.delete_character(&id).unwrap();
    age(&scratch, &format!("runs/{old}"), u64::from(troupe_api::KEPT_DAYS) + 1);
    age(&scratch, &format!("runs/{new}"), u64::from(troupe_api::KEPT_DAYS) - 1);
    age(&scratch, &format!("characters/{character}"), u64::from(troupe_api::KEPT_DAYS) - 2);
    studio.discard_old().join().unwrap();
    let left = [(DeletedKind::Character, character.clone()), (DeletedKind::Run, new.clone())];
    assert_eq!(deleted(&studio), left);
    assert_eq!(cause(studio.restore_run(&old)), Some(ErrorCause::NoSuchEntry));
    let discarded = scratch.home().join("trash/discarded");
    assert_eq!(std::fs::read_dir(discarded).unwrap().count(), 0, "their space is freed");
    studio.restore_character(&character).unwrap();
    studio.restore_run(&new).unwrap();
    assert!(deleted(&studio).is_empty());
}

#[test]
fn all_that_was_deleted_is_in_one_list_and_goes_when_that_is_emptied() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let run = teach(&studio, &id, 2);
    let chat = studio.create_chat(&id).unwrap().chat.id;
    let said = studio.attach_picture(&png()).unwrap();
    let request = SendMessage {
        chat_id: chat.clone(),
        text: "What is this?\nTell me.".into(),
        attachment: Some(said.clone()),
        ..SendMessage::default()
    };
    let (sender, events) = std::sync::mpsc::channel();
    studio.send_message(request, Box::new(move |event| sender.send(event).unwrap())).unwrap();
    let answer = reply(&events.into_iter().collect::<Vec<_>>()).clone();
    let picture = answer.picture.unwrap().id;
    let question = answer.parent_id.unwrap();
    let other = studio.create_chat(&id).unwrap().chat.id;

    studio.delete_run(&run).unwrap();
    studio.delete_gallery_pictures(std::slice::from_ref(&picture)).unwrap();
    studio.delete_message(&question).unwrap();
    studio.delete_chat(&other).unwrap();
    let items = studio.deleted().unwrap().items;
    let of = |kind| items.iter().find(|item| item.kind == kind).unwrap();
    assert_eq!(items.len(), 4, "{items:?}");
    let message = of(DeletedKind::Message);
    assert_eq!((message.title.as_str(), message.num_messages), ("What is this?", 2));
    assert_eq!(message.owner, Some(studio.chat(&chat).unwrap().chat.title));
    assert_eq!(of(DeletedKind::Chat).owner.as_deref(), Some("Dot"));
    assert!(of(DeletedKind::Picture).size_bytes.unwrap() > 0.);
    let taught = of(DeletedKind::Run);
    assert_eq!((taught.owner.as_deref(), taught.stage.as_deref()), (Some("Dot"), Some("sft")));
    assert!(taught.size_bytes.unwrap() > 1000.);

    let found = || studio.search_chats("hello", None).unwrap().len();
    say(&studio, &chat, "Hello?");
    assert_eq!(found(), 1);
    let character = studio.delete_character(&id).unwrap();
    assert_eq!(found(), 0, "it comes back with the character");
    assert_eq!(studio.search_chats("hello", Some(&chat)).unwrap().len(), 1);
    let items = studio.deleted().unwrap().items;
    assert_eq!((items[0].id.as_str(), items[0].title.as_str()), (character.as_str(), "Dot"));
    assert_eq!(items.len(), 5);
    let file = studio.drawn_picture_file(&picture).unwrap();
    let refs: Vec<DeletedRef> =
        items.into_iter().map(|item| DeletedRef { kind: item.kind, id: item.id }).collect();
    // Ids are names of folders, not paths.
    let outside = DeletedRef { kind: DeletedKind::Run, id: "../../pictures".into() };
    studio.discard(&[outside]).unwrap().join().unwrap();
    assert!(file.exists());
    studio.discard(&refs).unwrap().join().unwrap();
    assert!(deleted(&studio).is_empty());
    assert!(!file.exists(), "the message that showed it is gone too");
    assert!(studio.attachment_file(&said).is_err());
    assert!(studio.restore_character(&character).is_err());
    assert_eq!(cause(studio.restore_run(&run)), Some(ErrorCause::NoSuchEntry));
    assert!(studio.restore_message(&question).is_err() && studio.chat(&other).is_err());
    assert!(studio.chat(&chat).is_err(), "nobody is there to talk with");
    studio.discard(&refs).unwrap().join().unwrap(); // a list that is no longer true
}

#[test]
fn chats_stay_for_a_character_that_is_still_there() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let chat = studio.create_chat(&id).unwrap().chat.id;
    say(&studio, &chat, "Hello?");
    let discard = |trash_id: &str| {
        let item = DeletedRef { kind: DeletedKind::Character, id: trash_id.into() };
        studio.discard(&[item]).unwrap().join().unwrap();
    };
    let copy_by_hand = |name: &str| {
        let root = scratch.home().join("characters");
        let folder = std::fs::read_dir(&root).unwrap().next().unwrap().unwrap().path();
        copy(&folder, &root.join(name));
    };
    copy_by_hand("another");
    discard(&studio.delete_character(&id).unwrap());
    assert_eq!(studio.search_chats("hello", None).unwrap().len(), 1);
    copy_by_hand("third");
    let second = studio.delete_character(&id).unwrap();
    let third = studio.delete_character(&id).unwrap();
    discard(&second);
    assert!(studio.chat(&chat).is_ok(), "the other may be restored");
    discard(&third);
    assert!(studio.chat(&chat).is_err());
}

/// A small picture of one colour.
fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 20, 20]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn runs_that_go_on_or_are_gone_on_from_stay() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let taught = teach(&studio, &id, 2);
    let on = studio.start_training(&request(&id, 3000)).unwrap().id;
    let queued =
        studio.start_training(&StartTraining { queue: true, ..request(&id, 2) }).unwrap().id;
    for id in [&on, &queued] {
        assert_eq!(cause(studio.delete_run(id)), Some(ErrorCause::StillOn));
    }
    studio.stop_run(&queued).unwrap();
    studio.stop_run(&on).unwrap();
    wait_for("the run to stop", || studio.delete_run(&on).ok());
    studio.delete_run(&queued).unwrap();
    assert_eq!(cause(studio.delete_run("../characters")), Some(ErrorCause::NoSuchEntry));

    // Stage 2 reads what stage 1 taught whenever it goes on.
    let profile = studio.grpo_profile(None, &[]).unwrap();
    let refining = studio.create_grpo_run(&id, 1, profile).unwrap();
    let refining = refining.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(cause(studio.delete_run(&taught)), Some(ErrorCause::RunNeeded));
    studio.stop_run(&refining).unwrap();
    studio.delete_run(&taught).unwrap();
    assert_eq!(studio.list_runs(None).unwrap().len(), 1, "the stopped run of stage 2");
}

#[test]
fn a_paused_run_goes_on_after_it_was_brought_back() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let run = studio.create_run(&request(&id, 4)).unwrap();
    let mut pause = |event: &TrainEvent| match event {
        TrainEvent::Step { step: 2, .. } => Control::Pause,
        _ => Control::Continue,
    };
    work(&run, &mut pause).unwrap();
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    studio.delete_run(&name).unwrap();
    assert!(studio.resumable_run(&id, "sft").is_err());
    assert_eq!(studio.restore_run(&name).unwrap().status, "paused");
    let mut steps = Vec::new();
    work(&run, &mut |event| {
        if let TrainEvent::Step { step, .. } = event {
            steps.push(*step);
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!(steps, [3, 4]);
}

#[test]
fn what_a_run_taught_waits_for_its_character() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let run = teach(&studio, &id, 2);
    studio.delete_run(&run).unwrap();
    let character = studio.delete_character(&id).unwrap();
    assert_eq!(cause(studio.restore_run(&run)), Some(ErrorCause::NoSuchCharacter));
    assert!(studio.list_runs(None).unwrap().is_empty());
    studio.restore_character(&character).unwrap();
    studio.restore_run(&run).unwrap();
    assert_eq!(studio.character(&id).unwrap().adapters[0].name, run);
}

#[test]
fn an_evaluation_is_deleted_once_it_has_ended_and_comes_back() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let asked =
        StartEvaluation { character_ids: vec![id], is_quick: true, ..StartEvaluation::default() };
    let started = studio.start_evaluation(&asked).unwrap().id;
    assert_eq!(cause(studio.evaluation_deletion(&started)), Some(ErrorCause::StillOn));
    assert_eq!(cause(studio.delete_evaluation(&started)), Some(ErrorCause::StillOn));
    studio.stop_evaluation(&started).unwrap();
    let bytes = wait_for("the evaluation to stop", || studio.evaluation_deletion(&started).ok());
    assert!(bytes > 0.);
    let before = studio.list_evaluations().unwrap();
    studio.delete_evaluation(&started).unwrap();
    assert!(studio.list_evaluations().unwrap().is_empty());
    assert!(studio.evaluation(&started).is_err());
    studio.restore_evaluation(&started).unwrap();
    assert_eq!(studio.list_evaluations().unwrap(), before);
    assert_eq!(cause(studio.restore_evaluation(&started)), Some(ErrorCause::NoSuchEntry));
    assert_eq!(cause(studio.restore_evaluation("../runs")), Some(ErrorCause::NoSuchEntry));
}
