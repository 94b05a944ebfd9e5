//! A worker killed again and again arrives at the weights of one left alone.

use std::{path::Path, time::Duration};

use troupe_api::wire::RunDetail;
use troupe_tests::{Scratch, wait_for};
use troupe_train::recipe::SftRecipe;

/// Kills of a quick run; `TROUPE_KILLS` asks for more (`make test-kills`).
const KILLS: usize = 4;
/// Steps of the run for each kill.
const STEPS_PER_KILL: usize = 7;

/// Everything that has state: adapters and full weights, an average, several batches a step, kept
/// conditions, pictures of the base, validations, a best checkpoint.
fn recipe(kills: usize) -> SftRecipe {
    SftRecipe {
        num_steps: kills * STEPS_PER_KILL + 10,
        warmup_steps: 3,
        text_tokens: 300,
        text_every: 2,
        pictures: 2,
        rehearsal: 1,
        accumulate: 2,
        condition_refresh: 4,
        ema_decay: 0.9,
        sample_every: 9,
        checkpoint_every: 3,
        patience: 0,
        ..SftRecipe::default()
    }
}

/// Gives the base pictures to keep in practice by.
fn write_rehearsal(model: &Path) {
    let folder = model.join(troupe_train::rehearsal::FOLDER);
    std::fs::create_dir(&folder).unwrap();
    let captions = ["A dot", "Another dot", "Grass"].map(|c| format!("{{\"caption\":\"{c}\"}}\n"));
    std::fs::write(folder.join("captions.jsonl"), captions.concat()).unwrap();
    troupe_testkit::dot_picture(3, 64).save(folder.join("sheet.png")).unwrap(); // four of 32 × 32
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn weights(run: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(run.join("adapter/adapter_model.safetensors"))
}

#[test]
fn kills_leave_no_trace_in_the_weights() {
    let kills = std::env::var("TROUPE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let scratch = Scratch::new();
    write_rehearsal(&scratch.model_dir());
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let worker = |dir: &Path| {
        scratch.troupe(&["train-worker", "--run", dir.to_str().unwrap()]).spawn().unwrap()
    };
    let whole = studio.create_run_with(&id, 1, recipe(kills)).unwrap();
    assert!(worker(&whole).wait().unwrap().success());

    let dir = studio.create_run_with(&id, 1, recipe(kills)).unwrap();
    let run_id = dir.file_name().unwrap().to_string_lossy().into_owned();
    let detail = || -> RunDetail { studio.run(&run_id).unwrap() };
    let (mut dice, mut killed, mut while_training) = (Dice(5), 0, 0);
    while killed < kills {
        let mut child = worker(&dir);
        let (before, wanted) = (detail().run.step, dice.below(2 * STEPS_PER_KILL as u64) as u32);
        let ended = wait_for("the worker to get on", || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || detail().run.step >= before + wanted).then_some(ended)
        });
        if ended {
            break;
        }
        std::thread::sleep(Duration::from_millis(dice.below(80)));
        child.kill().unwrap(); // SIGKILL: nothing of the worker runs after it
        child.wait().unwrap();
        killed += 1;
        while_training += usize::from(detail().run.status == "interrupted");
    }
    assert!(worker(&dir).wait().unwrap().success());
    assert!(while_training * 2 >= kills, "only {while_training} of {kills} kills hit a run");
    assert_eq!(detail().run.status, "finished");
    assert!(weights(&whole).unwrap() == weights(&dir).unwrap(), "{killed} kills left a trace");
    eprintln!("{killed} kills, {while_training} of them while it trained, same weights");
}
