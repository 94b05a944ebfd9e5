//! The few-shot measure on identities made here.

use std::{fs, path::Path};

use troupe_testkit::{dot_picture, write_tiny_model};
use troupe_train::{
    error::TrainResult,
    events::Control,
    pretrain::few_shot::{FewShotJob, measure},
    recipe::SftRecipe,
};

const NAMES: [&str; 2] = ["ada", "bo"];
const SIDE: u32 = 32;

/// What `fewshot.mjs` writes, of two identities with two pictures and one expression asked for.
fn write_identities(dir: &Path) -> std::io::Result<()> {
    let (mut asked, truth) = (String::new(), dir.join("truth/green"));
    fs::create_dir_all(&truth)?;
    for (number, name) in (0..).zip(NAMES) {
        let folder = dir.join("characters").join(name);
        fs::create_dir_all(folder.join("pictures"))?;
        let character = serde_json::json!({
            "schema": 1, "id": format!("{number:032}"), "name": name, "group": "drawn",
            "persona": "Makes faces.", "speaking_style": "Short.",
            "visual_cues": {"appearance": "a dot", "outfit": "none", "expressions": []},
            "greeting": "Which face?", "source": {"kind": "written"},
        });
        fs::write(folder.join("character.json"), character.to_string())?;
        fs::write(folder.join("profile.md"), "Makes faces.\n")?;
        let mut pictures = String::new();
        for picture in 0..2 {
            let file = format!("pictures/face-{picture}.png");
            dot_picture(number * 5 + picture, SIDE)
                .save(folder.join(&file))
                .map_err(std::io::Error::other)?;
            let caption = format!("A picture of {name}, face {picture}.");
            let line = serde_json::json!({
                "id": format!("face-{picture}"), "file": file, "caption": caption, "split": "train",
            });
            pictures += &format!("{line}\n");
        }
        fs::write(folder.join("pictures.jsonl"), pictures)?;
        fs::write(folder.join("scenes.jsonl"), "")?;
        let line = serde_json::json!({
            "character": name, "caption": format!("A picture of {name}, face 7."), "expression": 7,
            "ground": "green",
        });
        asked += &format!("{line}\n");
        let file = truth.join(format!("{name}-7.png"));
        dot_picture(number * 5 + 3, SIDE).save(file).map_err(std::io::Error::other)?;
    }
    fs::write(dir.join("asked.jsonl"), asked)
}

/// A quick measure in `dir`, with a base and identities of its own.
fn job(dir: &Path, draws: usize) -> FewShotJob {
    let (model_dir, data_dir) = (dir.join("model"), dir.join("data"));
    write_tiny_model(&model_dir);
    write_identities(&data_dir).expect("identities");
    let recipe = SftRecipe { num_steps: 2, pictures: 2, sample_every: 0, ..SftRecipe::default() };
    FewShotJob {
        model_dir,
        data_dir,
        run_dir: dir.join("run"),
        seed: 1,
        recipe,
        identities: 2,
        draws,
    }
}

#[test]
fn identities_are_taught_once_and_counted() -> TrainResult<()> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let job = job(scratch.path(), 2);
    let mut names = Vec::new();
    let measured = measure(&job, &mut |_| Control::Continue, &mut |result| {
        names.push(result.character.clone());
    })?
    .expect("it was not paused");
    assert_eq!(names, NAMES);
    assert_eq!((measured.num_identities, measured.identity.asked), (2, 4));
    // One expression is asked for, so every drawing shows it.
    assert_eq!((measured.expression.right, measured.expression.asked), (4, 4));
    assert!(measured.distance > 0. && measured.distance < 255., "{measured}");
    assert!(job.run_dir.join("ada/sheet.png").is_file());
    let again = measure(&job, &mut |_| panic!("nothing is taught again"), &mut |_| ())?
        .expect("it was not paused");
    assert_eq!((again.identity, again.expression), (measured.identity, measured.expression));
    // A number read back from JSON may differ in its last bit.
    assert!((again.distance - measured.distance).abs() < 1e-9, "{again}");
    Ok(())
}

#[test]
fn a_pause_ends_the_measure() -> TrainResult<()> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let job = job(scratch.path(), 1);
    let paused = measure(&job, &mut |_| Control::Pause, &mut |_| panic!("no identity is done"))?;
    assert!(paused.is_none());
    assert!(measure(&job, &mut |_| Control::Continue, &mut |_| ())?.is_some());
    Ok(())
}
