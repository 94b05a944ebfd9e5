//! Importing a character, teaching it, interrupting and going on.

use std::path::Path;

use troupe_api::{ErrorCause, wire::StartTraining, work};
use troupe_tests::{Scratch, reply, say, wait_for};
use troupe_train::events::{Control, Outcome, TrainEvent};

fn request(id: &str, num_steps: u32) -> StartTraining {
    StartTraining {
        character_id: id.into(),
        num_steps: Some(num_steps),
        seed: Some(1),
        ..StartTraining::default()
    }
}

#[test]
fn a_taught_character_chats_with_what_it_learned() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let chat = studio.create_chat(&id).unwrap();
    let before = reply(&say(&studio, &chat.chat.id, "Hello?")).clone();

    // In full: low-rank updates of a fresh generation expert, whose outputs are zero, change nothing yet.
    let recipe = studio.recipe(Some("mini-full"), &[], Some(3)).unwrap();
    let run = studio.create_run_with(&id, 1, recipe).unwrap();
    let mut steps = Vec::new();
    let outcome = work(&run, &mut |event| {
        if let TrainEvent::Step { step, loss, .. } = event {
            assert!(loss.is_finite());
            steps.push(*step);
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!((outcome, steps), (Outcome::Finished, vec![1, 2, 3]));
    let detail = studio.character(&id).unwrap();
    assert_eq!(detail.adapters.len(), 1);

    let chat = studio.create_chat(&id).unwrap();
    let after = reply(&say(&studio, &chat.chat.id, "Hello?")).clone();
    let adapter = |message: &troupe_api::wire::MessageItem| {
        let file = studio.drawn_picture_file(&message.picture.as_ref().unwrap().id).unwrap();
        image::open(file).unwrap().to_rgb8().into_raw()
    };
    assert_ne!(adapter(&before), adapter(&after), "the adapter changed nothing");
    // Told once the engine has finished its work.
    let loaded = wait_for("the adapter in the status", || studio.status().model?.adapter);
    assert_eq!((loaded.character.as_str(), loaded.stage.as_str(), loaded.step), ("Dot", "sft", 3));
    assert_eq!(Some(loaded.hash), after.adapter_hash);
}

#[test]
fn a_paused_run_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let whole = studio.create_run(&request(&id, 4)).unwrap();
    work(&whole, &mut |_| Control::Continue).unwrap();

    let run = studio.create_run(&request(&id, 4)).unwrap();
    let outcome = work(&run, &mut |event| match event {
        TrainEvent::Step { step: 2, .. } => Control::Pause,
        _ => Control::Continue,
    })
    .unwrap();
    assert_eq!(outcome, Outcome::Paused);
    let summary = studio.list_runs(Some(&id)).unwrap().remove(0);
    assert_eq!((summary.status.as_str(), summary.step), ("paused", 2));

    let mut steps = Vec::new();
    assert!(studio.resumable_run(&id, "grpo").is_err(), "a run of stage 1 is none of stage 2");
    let outcome = work(&studio.resumable_run(&id, "sft").unwrap(), &mut |event| {
        if let TrainEvent::Step { step, .. } = event {
            steps.push(*step);
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!((outcome, steps), (Outcome::Finished, vec![3, 4]));
    let weights =
        |run: &std::path::Path| std::fs::read(run.join("adapter/adapter_model.safetensors"));
    assert!(weights(&whole).unwrap() == weights(&run).unwrap(), "the interruption left a trace");
}

#[test]
fn material_may_change_while_it_is_learned_from() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let pictures = studio.character(&id).unwrap().pictures;
    let until = |num_steps, removed: &str, pauses_at| {
        let run = studio.create_run(&request(&id, num_steps)).unwrap();
        work(&run, &mut |event| match event {
            TrainEvent::Step { step: 1, .. } => {
                studio.remove_picture(&id, removed).unwrap();
                Control::Continue
            }
            TrainEvent::Step { step, .. } if *step == pauses_at => Control::Pause,
            _ => Control::Continue,
        })
        .unwrap()
    };
    assert_eq!(until(2, &pictures[0].id, 9), Outcome::Finished, "its file is elsewhere by now");
    assert_eq!(until(6, &pictures[1].id, 4), Outcome::Paused);
    let (mut notes, mut pictures_learned) = (Vec::new(), 0);
    let outcome = work(&studio.resumable_run(&id, "sft").unwrap(), &mut |event| {
        match event {
            TrainEvent::Note(remark) => notes.push(remark.code.clone()),
            TrainEvent::Step { mse, .. } => pictures_learned += usize::from(mse.is_some()),
            _ => {}
        }
        Control::Continue
    });
    assert_eq!((outcome.unwrap(), pictures_learned), (Outcome::Finished, 2));
    assert!(notes.iter().any(|code| code == "material-changed"), "{notes:?}");
}

#[test]
fn what_a_paused_run_learned_can_be_kept() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let until = |end| {
        let run = studio.create_run(&request(&id, 4)).unwrap();
        let outcome = work(&run, &mut |event| match event {
            TrainEvent::Step { step: 2, .. } => end,
            _ => Control::Continue,
        });
        (run, outcome.unwrap())
    };
    let (stopped, _) = until(Control::Stop);
    let (paused, outcome) = until(Control::Pause);
    assert_eq!(outcome, Outcome::Paused);
    let run_id = paused.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(studio.character(&id).unwrap().adapters.len(), 1);
    assert_eq!(studio.run_keeping(&run_id).unwrap(), 2);
    studio.keep_run(&run_id).unwrap();
    let ended = wait_for("what was learned", || {
        let run = studio.run(&run_id).unwrap().run;
        assert_ne!(run.status, "failed", "{:?}", run.error);
        (run.status == "stopped").then_some(run)
    });
    assert_eq!(ended.step, 2);
    assert_eq!(studio.character(&id).unwrap().adapters.len(), 2);
    let files = ["adapter_model.safetensors", "adapter_config.json"];
    for file in files.map(|name| Path::new("adapter").join(name)) {
        let read = |run: &Path| std::fs::read(run.join(&file)).unwrap();
        assert!(read(&stopped) == read(&paused), "{}: other than stopped there", file.display());
    }
    assert_eq!(studio.run_keeping(&run_id).unwrap_err().cause, Some(ErrorCause::RunEnded));
    assert!(!paused.join("keep").exists());
}

#[test]
fn a_run_without_a_checkpoint_has_nothing_to_keep() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let run = studio.create_run(&request(&id, 4)).unwrap();
    let run_id = run.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(studio.run_keeping(&run_id).unwrap_err().cause, Some(ErrorCause::StillOn));
    work(&run, &mut |event| match event {
        TrainEvent::Step { step: 1, .. } => Control::Pause,
        _ => Control::Continue,
    })
    .unwrap();
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let error = studio.keep_run(&run_id).unwrap_err();
    assert_eq!(error.cause, Some(ErrorCause::NothingLearned));
    assert_eq!(studio.run(&run_id).unwrap().run.status, "paused", "it can still go on");
}

#[test]
fn a_killed_worker_loses_nothing_finished() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let dir = studio.create_run(&request(&id, 4000)).unwrap();
    let run_id = dir.file_name().unwrap().to_string_lossy().into_owned();
    let state = || studio.run(&run_id).unwrap();
    let mut worker =
        scratch.troupe(&["train-worker", "--run", dir.to_str().unwrap()]).spawn().unwrap();
    wait_for("a checkpoint", || (state().run.step > 75).then_some(()));
    assert!(studio.start_training(&request(&id, 3)).is_err(), "two runs at once");
    worker.kill().unwrap();
    worker.wait().unwrap();
    let run = state();
    assert_eq!(run.run.status, "interrupted");
    assert!(run.curve.len() >= 75);

    studio.resume_run(&run_id).unwrap();
    let before = run.run.step;
    wait_for("the run to go on", || (state().run.step > before).then_some(()));
    studio.pause_run(&run_id).unwrap();
    wait_for("the run to pause", || (state().run.status == "paused").then_some(()));
    studio.stop_run(&run_id).unwrap();
    assert_eq!(state().run.status, "stopped");
    let resumed = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let starts: Vec<&str> = resumed.lines().filter(|l| l.contains(r#""type":"started""#)).collect();
    assert_eq!(starts.len(), 2);
    assert!(!starts[1].contains(r#""step":0,"#), "it began anew: {}", starts[1]);
}

#[test]
fn numbers_of_the_recipe_reach_the_run_and_its_curves_a_file() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let asked = StartTraining { num_steps: None, ..request(&id, 1) };
    let usual = studio.training_plan(&asked).unwrap();
    assert_eq!(usual.recipe, usual.defaults);
    let mut recipe = usual.defaults.clone();
    (recipe.num_steps, recipe.pictures, recipe.checkpoint_every) = (4, 2, 2);
    let asked = StartTraining { recipe: Some(recipe.clone()), ..asked };
    let plan = studio.training_plan(&asked).unwrap();
    assert!(plan.minutes < usual.minutes, "{} < {}", plan.minutes, usual.minutes);
    let run = studio.create_run(&asked).unwrap();
    work(&run, &mut |_| Control::Continue).unwrap();
    let run_id = studio.list_runs(Some(&id)).unwrap().remove(0).id;
    let detail = studio.run(&run_id).unwrap();
    assert_eq!((detail.recipe, detail.seed, detail.curve.len()), (recipe.clone(), 1., 4));
    assert!(detail.checkpoints.contains(&2), "{:?}", detail.checkpoints);
    let csv = studio.run_csv(&run_id).unwrap();
    assert!(csv.starts_with("set,step,text_loss,picture_loss\ntrain,1,"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.starts_with("train,")).count(), 4);
    let again = StartTraining {
        character_id: id.clone(),
        from_run: Some(run_id),
        ..StartTraining::default()
    };
    assert_eq!(studio.training_plan(&again).unwrap().recipe, recipe);
    recipe.num_steps = 0;
    let asked = StartTraining { recipe: Some(recipe), ..asked };
    assert!(studio.training_plan(&asked).is_err());
}

#[test]
fn window_and_command_line_plan_the_same() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let asked = StartTraining { character_id: id.clone(), ..StartTraining::default() };
    let usual = studio.training_plan(&asked).unwrap();
    assert!(usual.findings.iter().all(|f| f.code != "memory" && f.code != "disk"), "{usual:?}");
    let mut changed = usual.defaults.clone();
    (changed.num_steps, changed.pictures, changed.lora_rank) = (2000, 40, 64);
    let asked = StartTraining { recipe: Some(changed.clone()), ..asked };
    let larger = studio.training_plan(&asked).unwrap();
    for (item, window) in [(&usual.recipe, &usual), (&changed, &larger)] {
        let changes = [
            format!("num_steps={}", item.num_steps),
            format!("pictures={}", item.pictures),
            format!("lora.rank={}", item.lora_rank),
        ];
        let recipe = studio.recipe(None, &changes, None).unwrap();
        // Another process of the same user.
        let line = scratch.studio().sft_plan(&id, &recipe, 1).unwrap();
        assert_eq!(window.minutes, line.minutes);
        assert_eq!(window.memory_mb, line.memory_bytes as f64 / 1e6);
        assert_eq!(window.disk_mb, line.disk_bytes as f64 / 1e6);
        for (kind, planned) in window.kinds.iter().zip(&line.kinds) {
            assert_eq!((&kind.label, kind.num_train as usize), (&planned.label, planned.num_train));
        }
    }
    assert!(larger.minutes > usual.minutes);
    assert!(larger.memory_mb > usual.memory_mb && larger.disk_mb > usual.disk_mb);
}

#[test]
fn a_run_that_cannot_fit_is_refused_with_what_to_do() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let asked = StartTraining { character_id: id.clone(), ..StartTraining::default() };
    let mut recipe = studio.training_plan(&asked).unwrap().defaults;
    recipe.lora_rank = 100_000_000; // terabytes
    let asked = StartTraining { recipe: Some(recipe.clone()), ..asked };
    let plan = studio.training_plan(&asked).unwrap();
    let codes: Vec<(&str, &str)> =
        plan.findings.iter().map(|f| (f.severity.as_str(), f.code.as_str())).collect();
    assert!(codes.starts_with(&[("error", "memory"), ("error", "disk")]), "{codes:?}");
    let too_much =
        StartTraining { recipe: Some(recipe), num_steps: None, queue: true, ..request(&id, 1) };
    let refused = studio.start_training(&too_much).unwrap_err();
    assert!(refused.message.contains("of memory") && !refused.hint.is_empty(), "{refused:?}");
    assert_eq!(refused.cause, Some(ErrorCause::TooLittleMemory));
    assert_eq!(refused.values, plan.findings[0].values);
    assert!(studio.list_runs(None).unwrap().is_empty());
}

#[test]
fn frozen_weights_in_bf16_learn_what_those_in_f32_do() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let curve = |precision: &str| {
        let changes = ["mode=lora", "num_steps=12", "text_every=1", "lora.learning_rate=0.003"];
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        let precision = format!("precision={precision}");
        let recipe = studio.recipe(None, &[changes, vec![precision]].concat(), None).unwrap();
        let run = studio.create_run_with(&id, 1, recipe).unwrap();
        assert_eq!(work(&run, &mut |_| Control::Continue).unwrap(), Outcome::Finished);
        let id = run.file_name().unwrap().to_string_lossy().into_owned();
        let points = studio.run(&id).unwrap().curve;
        let losses = |of: fn(&troupe_api::wire::CurvePoint) -> Option<f64>| {
            points.iter().filter_map(of).collect::<Vec<f64>>()
        };
        (losses(|p| p.ce), losses(|p| p.mse))
    };
    let (exact, halved) = (curve("f32"), curve("bf16"));
    assert_ne!(exact, halved, "nothing was rounded");
    for (exact, halved) in [(&exact.0, &halved.0), (&exact.1, &halved.1)] {
        assert_eq!((exact.len(), halved.len()), (12, 12));
        // bf16 keeps 8 bits: weights are off by 0.2 % on average, losses by less.
        let off = exact.iter().zip(halved).map(|(a, b)| (a - b).abs() / a);
        assert!(off.fold(0., f64::max) < 0.01, "{exact:?}\n{halved:?}");
    }
    // Twelve steps, all of them warm-up, take off 2.5 %.
    assert!(halved.0[11] < 0.98 * halved.0[0], "it does not learn: {:?}", halved.0);
}

#[test]
fn a_queued_run_starts_when_the_one_before_has_ended() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let first = studio.start_training(&request(&id, 3000)).unwrap();
    let status = |id: &str| studio.run(id).unwrap().run.status;
    wait_for("the first run", || (status(&first.id) == "running").then_some(()));
    let refused = studio.start_training(&request(&id, 2)).unwrap_err();
    assert_eq!(refused.code, troupe_api::ErrorCode::Busy);
    let queued = StartTraining { queue: true, ..request(&id, 2) };
    let second = studio.start_training(&queued).unwrap();
    let third = studio.start_training(&queued).unwrap();
    assert_eq!((status(&second.id).as_str(), status(&third.id).as_str()), ("queued", "queued"));
    studio.stop_run(&third.id).unwrap();
    assert_eq!(status(&third.id), "stopped");
    studio.stop_run(&first.id).unwrap();
    wait_for("the second run", || (status(&second.id) == "finished").then_some(()));
    assert_eq!(status(&first.id), "stopped");
}

#[test]
fn every_mode_changes_what_it_may_and_its_adapter_loads() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let set = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        studio.recipe(None, &changes, Some(2)).unwrap()
    };
    let cases = [
        (set(&["mode=lora"]), "lora_A"),
        (set(&["mode=generation"]), "lora_A"),
        (set(&["condition_refresh=0", "mode=full", "lora.rank=0"]), "mlp.up_proj.weight"),
    ];
    for (recipe, expected) in cases {
        let run = studio.create_run_with(&id, 1, recipe).unwrap();
        let outcome = work(&run, &mut |_| Control::Continue).unwrap();
        assert_eq!(outcome, Outcome::Finished);
        let file = run.join("adapter/adapter_model.safetensors");
        let names = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(names.contains(expected), "no {expected} was learned");
        let chat = studio.create_chat(&id).unwrap();
        reply(&say(&studio, &chat.chat.id, "Hello?"));
    }
}
