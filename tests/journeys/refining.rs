//! Refining a taught character: plan, prompts, run, curves.

use std::path::Path;

use troupe_api::{
    ErrorCode, Studio,
    wire::{RefineNumbers, StartRefining, StartTraining},
    work,
};
use troupe_tests::{Scratch, wait_for};
use troupe_train::events::{Control, TrainEvent};

fn teach(studio: &Studio, id: &str) {
    let request =
        StartTraining { character_id: id.into(), num_steps: Some(2), ..StartTraining::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
}

/// Two short rounds with trials around them.
fn short(numbers: RefineNumbers) -> RefineNumbers {
    RefineNumbers {
        epochs: 2,
        prompts_per_epoch: 2,
        images_per_prompt: 3,
        eval_every: 1,
        eval_prompts: 1,
        eval_pictures: 2,
        ..numbers
    }
}

#[test]
fn an_untaught_character_cannot_be_refined_and_a_taught_one_shows_its_curves() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let asked = StartRefining { character_id: id.clone(), ..StartRefining::default() };
    let plan = studio.refine_plan(&asked).unwrap();
    assert!(!plan.is_taught);
    assert_eq!((plan.profile.as_str(), &plan.numbers), ("mini-cpu", &plan.defaults));
    let numbers = short(plan.defaults);
    let request = StartRefining { numbers: Some(numbers.clone()), ..asked.clone() };
    assert_eq!(studio.start_refining(&request).unwrap_err().code, ErrorCode::BadRequest);

    teach(&studio, &id);
    let plan = studio.refine_plan(&request).unwrap();
    assert!(plan.is_taught && plan.minutes > 0. && plan.memory_mb > 0., "{plan:?}");
    let file = StartRefining { profile: Some("../x".into()), ..asked };
    assert!(studio.refine_plan(&file).is_err(), "files are no profiles here");
    let run = studio.start_refining(&request).unwrap();
    assert_eq!(run.kind, "grpo");
    let detail = wait_for("the run", || {
        let detail = studio.run(&run.id).unwrap();
        assert_ne!(detail.run.status, "failed", "{:?}", detail.run.error);
        (detail.run.status == "finished").then_some(detail)
    });
    let shown = detail.refining.unwrap();
    assert_eq!(shown.numbers, numbers);
    let epochs: Vec<u32> = shown.epochs.iter().map(|e| e.epoch).collect();
    let trials: Vec<u32> = shown.trials.iter().map(|t| t.epoch).collect();
    assert_eq!((epochs, trials), (vec![1, 2], vec![0, 1, 2]));
    assert!(shown.kept.is_some());
    let group = &shown.groups[0];
    assert_eq!(group.pictures.len(), 3);
    assert!(group.pictures.windows(2).all(|pair| pair[0].reward >= pair[1].reward));
    assert!(group.pictures[0].components.iter().any(|c| c.name == "alignment"), "{group:?}");
    assert!(studio.run_sample_file(&run.id, &group.file).unwrap().is_file());
    let csv = studio.run_csv(&run.id).unwrap();
    assert!(csv.starts_with("set,epoch,measure,value,spread\nlearned,1,reward,"), "{csv}");
    assert!(csv.contains("\nheld_out,0,reward,"), "{csv}");
    assert_eq!(studio.character(&id).unwrap().adapters[0].stage, "grpo");
}

#[test]
fn what_a_paused_run_refined_can_be_kept() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    teach(&studio, &id);
    let asked = StartRefining { character_id: id.clone(), ..StartRefining::default() };
    let changes = ["epochs=2", "updates_per_epoch=1", "prompts_per_epoch=1", "images_per_prompt=3"];
    let changes = changes.map(str::to_owned);
    let profile = studio.grpo_profile(None, &changes).unwrap();
    let until = |end| {
        let run = studio.create_grpo_run(&asked.character_id, 7, profile.clone()).unwrap();
        work(&run, &mut |event| match event {
            TrainEvent::Epoch(_) => end,
            _ => Control::Continue,
        })
        .unwrap();
        run
    };
    // What goes on from an adapter begins with the newest: both runs are to begin with stage 1.
    let paused = until(Control::Pause);
    let stopped = until(Control::Stop);
    let run_id = paused.file_name().unwrap().to_string_lossy().into_owned();
    let step = studio.run_keeping(&run_id).unwrap();
    studio.keep_run(&run_id).unwrap();
    let ended = wait_for("what was learned", || {
        let run = studio.run(&run_id).unwrap().run;
        assert_ne!(run.status, "failed", "{:?}", run.error);
        (run.status == "stopped").then_some(run)
    });
    assert_eq!(ended.step, step);
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let read = |run: &Path| std::fs::read(run.join("adapter").join(file)).unwrap();
        assert!(read(&stopped) == read(&paused), "{file}: other than stopped there");
    }
    assert_eq!(studio.character(&id).unwrap().adapters.len(), 3);
}

/// What no field of the window shows comes from the earlier run, too.
#[test]
fn refining_again_takes_every_number_of_the_earlier_run() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    teach(&studio, &id);
    let hidden = "loss.adv_clamp=2.5".to_owned();
    let profile = studio.grpo_profile(Some("gpu-24gb"), &[hidden]).unwrap();
    let first = studio.create_grpo_run(&id, 7, profile.clone()).unwrap();
    let first = first.file_name().unwrap().to_string_lossy().into_owned();
    let again = StartRefining {
        character_id: id.clone(),
        from_run: Some(first),
        numbers: Some(RefineNumbers { epochs: 3, ..(&profile).into() }),
        ..StartRefining::default()
    };
    let plan = studio.refine_plan(&again).unwrap();
    assert_eq!(plan.profile, "", "it is none of the list");
    assert_eq!((plan.numbers.epochs, plan.defaults.epochs as usize), (3, profile.epochs));
    let second = studio.start_refining(&again).unwrap().id;
    studio.stop_run(&second).unwrap();
    let text = std::fs::read_to_string(studio.run_dir(&second).unwrap().join("run.toml")).unwrap();
    assert!(text.contains("adv_clamp = 2.5") && text.contains("epochs = 3"), "{text}");

    let wrong = StartTraining { from_run: Some(second), ..StartTraining::default() };
    let error = studio.training_plan(&wrong).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest, "a run of stage 2 has no recipe of stage 1");
}

#[test]
fn drafted_prompts_are_shown_edited_and_kept() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let draft = troupe_api::wire::CharacterDraft { name: "Lotte".into(), ..Default::default() };
    let id = studio.create_character(draft).unwrap().id;
    let mut prompts = studio.refine_prompts(&id).unwrap();
    assert!(prompts.len() > 4 && prompts.iter().all(|p| p.is_draft && !p.questions.is_empty()));

    prompts.truncate(4);
    prompts[0].text = "Lotte on the gallery of her lighthouse".into();
    prompts[1].is_held_out = true;
    prompts[2].questions[0].answer = "no".into();
    assert_eq!(studio.save_prompts(&id, prompts.clone()).unwrap(), id);
    let kept = studio.refine_prompts(&id).unwrap();
    let (own, drafts): (Vec<_>, Vec<_>) = kept.into_iter().partition(|p| !p.is_draft);
    prompts.iter_mut().for_each(|p| p.is_draft = false);
    assert_eq!(own, prompts);
    assert!(!drafts.is_empty(), "three prompts to learn from are too few");

    prompts[1].is_held_out = false;
    studio.save_prompts(&id, prompts.clone()).unwrap();
    assert_eq!(studio.refine_prompts(&id).unwrap(), prompts);
    prompts[3].text = "  ".into();
    assert_eq!(studio.save_prompts(&id, prompts).unwrap_err().code, ErrorCode::BadRequest);
}
