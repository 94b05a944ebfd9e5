//! Networks of others as judges of a run.

use std::{collections::BTreeMap, fs, path::Path};

use troupe_character::Character;
use troupe_model::foreign::{BLIP, CLIP};
use troupe_train::{
    error::{TrainError, TrainResult},
    events::{Control, Outcome, TrainEvent},
    grpo::{
        judges::Places,
        plan::{GrpoPlan, plan},
        profile::GrpoProfile,
        rewards::{Alignment, VqaBy},
        trainer,
    },
};

use crate::network::{job, profile, scratch};

/// Operations a second of an imagined machine.
const SPEED: f64 = 1e9;

/// Copies the folder of a tiny judge to where a person puts one.
fn put(judge: &str, dir: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/judges");
    let target = dir.join("judges").join(judge);
    fs::create_dir_all(&target).expect("a folder");
    for entry in fs::read_dir(golden.join(judge)).expect("the golden folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), target.join(entry.file_name())).expect("a copy");
    }
}

fn planned(dir: &Path, profile: &GrpoProfile) -> TrainResult<GrpoPlan> {
    let (model, judges) = (dir.join("model"), dir.join("judges"));
    let places = Places { model_dir: &model, judges_dir: Some(&judges) };
    plan(places, &Character::load(&dir.join("pip"))?, profile, SPEED)
}

fn codes(plan: &GrpoPlan) -> Vec<&str> {
    plan.stand_ins.iter().map(|remark| remark.code.as_str()).collect()
}

#[test]
fn clip_and_blip_judge_where_their_files_are_present() -> TrainResult<()> {
    let scratch = scratch("lora", 2)?;
    let dir = scratch.path();
    let mut profile = GrpoProfile { epochs: 1, ..profile() };
    profile.reward.vqa = 0.3;
    let without = planned(dir, &profile)?;
    assert!(codes(&without).contains(&"answers-by-stage1"), "{:?}", codes(&without));
    put(CLIP, dir);
    put(BLIP, dir);
    let with = planned(dir, &profile)?;
    for code in ["alignment-by-clip", "answers-by-blip"] {
        assert!(codes(&with).contains(&code), "{code} of {:?}", codes(&with));
    }
    assert!(with.memory_bytes > without.memory_bytes, "judges take memory");
    assert!(with.guessed_minutes > without.guessed_minutes, "judges take time");

    let mut components = BTreeMap::new();
    trainer::run(&job(dir, "stage2", profile), &mut |event| {
        if let TrainEvent::Epoch(epoch) = event {
            components.clone_from(&epoch.components);
        }
        Control::Continue
    })?;
    for name in ["alignment", "vqa"] {
        assert!(components.contains_key(name), "{name} of {components:?}");
    }
    Ok(())
}

#[test]
fn a_judge_that_was_asked_for_and_is_not_there_is_named_with_its_place() -> TrainResult<()> {
    let scratch = scratch("lora", 2)?;
    let dir = scratch.path();
    let (mut by_clip, mut by_blip) = (profile(), profile());
    by_clip.reward.alignment_by = Alignment::Clip;
    (by_blip.reward.vqa, by_blip.reward.vqa_by) = (0.3, VqaBy::Blip);
    for (profile, field, folder) in
        [(by_clip, "alignment_by", "judges/clip"), (by_blip, "vqa_by", "judges/blip-vqa")]
    {
        match planned(dir, &profile) {
            Err(TrainError::Recipe { what, reason }) => {
                assert!(what.ends_with(field) && reason.contains(folder), "{what}: {reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

#[test]
fn a_run_goes_on_with_the_judges_that_it_began_with() -> TrainResult<()> {
    let scratch = scratch("lora", 2)?;
    let dir = scratch.path();
    let job = job(dir, "stage2", GrpoProfile { epochs: 2, ..profile() });
    let mut pause = |event| match event {
        TrainEvent::Epoch(_) => Control::Pause,
        _ => Control::Continue,
    };
    assert_eq!(trainer::run(&job, &mut pause)?, Outcome::Paused);
    put(CLIP, dir);
    match trainer::run(&job, &mut |_| Control::Continue) {
        Err(TrainError::Malformed { reason, .. }) => {
            assert!(reason.contains("now alignment-by-clip"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    fs::remove_dir_all(dir.join("judges")).expect("the folder goes");
    assert_eq!(trainer::run(&job, &mut |_| Control::Continue)?, Outcome::Finished);
    Ok(())
}
