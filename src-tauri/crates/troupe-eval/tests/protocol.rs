//! Whole runs on a tiny model: what is measured, resumed, and left alone by stage 2.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, collections::HashMap, fs, ops::ControlFlow, path::Path};

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use troupe_character::{
    Character, Library, PicturePrompt, PromptQuestion, Question, QuestionKind, Scene, Speaker,
    Split, Turn, pictures::load_rgb,
};
use troupe_eval::{
    EvalError,
    aggregate::{ALL, aggregate},
    features::PixelStats,
    records::{RECORDS_FILE, Record, read},
    report::write_report,
    run::{Plan, Settings, Subject, run},
};
use troupe_model::{
    runtime::{LoadOptions, Model},
    yes_no::balanced,
};
use troupe_testkit::{write_rolescape, write_tiny_model};

/// Characters with every kind of material, on a tiny model.
struct Bench {
    folder: tempfile::TempDir,
}

fn choice(id: &str, kind: QuestionKind, key: &str, picture: Option<&str>) -> Question {
    let options = ["leaf", "stone", "rain", "snail"];
    Question {
        id: id.into(),
        kind,
        split: Split::Test,
        question: format!("Which one is {id}?"),
        options: ["A", "B", "C", "D"]
            .map(String::from)
            .into_iter()
            .zip(options.map(String::from))
            .collect(),
        answer_key: Some(key.into()),
        picture: picture.map(Into::into),
        difficulty: Some("easy".into()),
        ..Question::default()
    }
}

fn character(library: &Library, data: &Path, name: &str) -> Character {
    write_rolescape(data, name);
    let report = troupe_character::rolescape::import(data, Some(name), library).unwrap();
    let mut character = library.load(&report.characters[0].id).unwrap();
    for number in 0..2 {
        let id = character.pictures[number].id.clone();
        character.questions.push(choice(
            &format!("k{number}"),
            QuestionKind::KnowledgeChoice,
            "B",
            None,
        ));
        character.questions.push(choice(
            &format!("p{number}"),
            QuestionKind::PictureChoice,
            "C",
            Some(&id),
        ));
    }
    let held = character.pictures[9].id.clone();
    character.pictures[9].split = Split::Test;
    for scene in character.scenes.iter_mut().filter(|scene| scene.picture() == Some(&held)) {
        scene.split = Split::Test;
    }
    for number in 0..2 {
        character.scenes.push(Scene {
            id: format!("test-{number}"),
            split: Split::Test,
            turns: vec![
                Turn::new(Speaker::User, format!("Is it wet {number}?")),
                Turn::new(Speaker::Character, "Wet and slow."),
            ],
            ..Scene::default()
        });
    }
    library.save(&character).unwrap();
    library.load(&character.id).unwrap()
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_tiny_model(&folder.path().join("model"));
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self, names: &[&str], stages: &[&str]) -> Plan {
        let library = Library::open(&self.path("home"), &[]).unwrap();
        let subjects = names.iter().map(|name| {
            let found = library
                .load(name)
                .unwrap_or_else(|_| character(&library, &self.path(&format!("data-{name}")), name));
            Subject::find(found).unwrap()
        });
        Plan {
            subjects: subjects.collect(),
            out: self.path("run"),
            model_dir: self.path("model"),
            load: LoadOptions::default(),
            stages: stages.iter().map(|stage| (*stage).to_owned()).collect(),
            settings: Settings { max_reply_tokens: 6, ..Settings::quick() },
            features: Box::new(PixelStats),
            judge: None,
        }
    }

    fn run(&self, plan: &Plan) -> Vec<Record> {
        assert!(run(plan, &mut |_| ControlFlow::Continue(())).unwrap().is_continue());
        read(&plan.out).unwrap()
    }
}

fn values(records: &[Record], stage: &str, task: &str) -> Vec<f64> {
    records.iter().filter(|r| r.stage == stage && r.task == task).map(|r| r.value).collect()
}

#[test]
fn every_task_leaves_records_and_the_report_is_whole() {
    let bench = Bench::new();
    let plan = bench.plan(&["Dot", "Fern"], &["base"]);
    let records = bench.run(&plan);
    for (task, num) in [
        ("knowledge_rotation", 4),
        ("knowledge_option", 4),
        ("picture_rotation", 4),
        ("picture_rotation_blind", 4),
        ("reply_nll", 6),
        ("character_id", 6),
        ("reply_tokens", 6),
        ("clip_i_gt", 4),
        ("ref_max", 4),
        ("identity", 4),
        ("diversity", 2),
        ("vendi", 2),
        ("t2t2i_gt", 2),
        ("t2t2i_ref", 2),
    ] {
        assert_eq!(values(&records, "base", task).len(), num, "{task}");
    }
    assert!(records.iter().all(|record| record.value.is_finite()));
    assert!(values(&records, "base", "clip_t").is_empty(), "pixel-stats read no texts");
    // A constant letter: every key is B, so always answering B is always right; under rotation a
    // model that sees nothing is right in a quarter.
    assert_eq!(values(&records, "constant", "knowledge_letter"), [1.; 4]);
    let quarters = values(&records, "base", "knowledge_rotation");
    assert!(quarters.iter().all(|score| (score * 4.).fract() == 0.), "{quarters:?}");

    let (results, files) = write_report(&plan.out).unwrap();
    assert_eq!(results.aggregates, aggregate(&records));
    let html = fs::read_to_string(&files.html).unwrap();
    assert!(html.contains("data:image/png;base64,") && html.contains("<svg"));
    assert_eq!(html.matches("alt=\"held-out picture\"").count(), 2 * 2 + 2, "beside every seed");
    for outside in ["http://", "https://", "<link", "<script", "src=\"pictures"] {
        assert!(!html.contains(outside), "the report refers to {outside}");
    }
    let lines = fs::read_to_string(&files.csv).unwrap().lines().count();
    let all = &results.aggregates;
    assert_eq!(lines, 1 + all.aggregates.len() + all.differences.len() + all.by_character.len());
}

#[test]
fn a_real_test_picture_is_its_own_truth_and_no_copy() {
    let bench = Bench::new();
    let records = bench.run(&bench.plan(&["Dot"], &["base"]));
    let near_one = |values: Vec<f64>| values.iter().all(|v| (v - 1.).abs() < 1e-6);
    assert!(near_one(values(&records, "real", "clip_i_gt")));
    assert_eq!(values(&records, "copy", "copy_rate"), [1.; 9], "training pictures are copies");
    assert_eq!(values(&records, "real", "copy_rate"), [0.]);
}

#[test]
fn a_stopped_run_goes_on_without_repeating_and_another_is_refused() {
    let bench = Bench::new();
    let mut plan = bench.plan(&["Dot"], &["base"]);
    let whole = bench.run(&plan);
    plan.out = bench.path("again");
    let mut left = 3;
    let flow = run(&plan, &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(flow.unwrap().is_break());
    let part = read(&plan.out).unwrap();
    assert!(part.len() < whole.len() && !part.is_empty());
    assert_eq!(bench.run(&plan), whole, "same records in the same order");
    let bytes = fs::read(plan.out.join(RECORDS_FILE)).unwrap();
    bench.run(&plan);
    assert_eq!(fs::read(plan.out.join(RECORDS_FILE)).unwrap(), bytes, "nothing is done twice");

    plan.settings.num_seeds += 1;
    let error = run(&plan, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, EvalError::OtherRun { what: "settings", .. }), "{error}");
    plan.out = bench.path("third");
    plan.stages = vec!["sft".into()];
    let error = run(&plan, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("train it first"), "{error}");
}

/// Writes an adapter that changes weights whose names `chooses` accepts.
fn write_adapter(model: &Path, dir: &Path, stage: &str, chooses: impl Fn(&str) -> bool) {
    let weights =
        candle_core::safetensors::load(model.join("model.safetensors"), &Device::Cpu).unwrap();
    let changed: HashMap<String, Tensor> = weights
        .into_iter()
        .filter(|(name, _)| chooses(name))
        .map(|(name, tensor)| {
            (name, ((tensor.to_dtype(DType::F32).unwrap() * 1.5).unwrap() + 0.1).unwrap())
        })
        .collect();
    assert!(!changed.is_empty());
    fs::create_dir_all(dir).unwrap();
    candle_core::safetensors::save(&changed, dir.join("adapter.safetensors")).unwrap();
    let base_hash = Model::load(model, &LoadOptions::default()).unwrap().base_hash().to_owned();
    let config = json!({"peft_type": "LORA", "stage": stage, "base_hash": base_hash});
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
}

/// Stage 2 moves the generation expert only, so everything read or said stays bit for bit.
#[test]
fn text_metrics_do_not_move_with_the_generation_expert() {
    let bench = Bench::new();
    let plan = bench.plan(&["Dot"], &["base"]);
    let adapters = plan.subjects[0].character.dir.join("adapters");
    let model = bench.path("model");
    write_adapter(&model, &adapters.join("two"), "grpo", |name| {
        name.contains("_moe_gen") || name.starts_with("llm2vae")
    });
    let plan = bench.plan(&["Dot"], &["base", "grpo"]);
    let records = bench.run(&plan);
    for task in [
        "knowledge_rotation",
        "knowledge_option",
        "picture_rotation",
        "picture_rotation_blind",
        "reply_nll",
        "reply_tokens",
        "reply_distinct2",
    ] {
        let base = values(&records, "base", task);
        assert!(!base.is_empty(), "{task}");
        assert_eq!(base, values(&records, "grpo", task), "{task}");
    }
    let pictures = |stage: &str| -> Vec<Vec<u8>> {
        let drawn = records.iter().filter(|r| r.stage == stage && r.task == "ref_max");
        drawn.map(|r| fs::read(plan.out.join(r.text("file"))).unwrap()).collect()
    };
    assert_ne!(pictures("base"), pictures("grpo"), "but the pictures do");
    let found = aggregate(&records);
    let nll = found.differences.iter().find(|d| d.metric == "reply_nll").unwrap();
    assert_eq!((nll.estimate.mean, nll.estimate.ci_low, nll.is_clear()), (0., 0., false));

    // And the comparison can fail: an adapter of the understanding expert moves them.
    let understanding = |name: &str| name.contains("_proj.weight") && !name.contains("_moe_gen");
    write_adapter(&model, &adapters.join("one"), "sft", understanding);
    let mut plan = bench.plan(&["Dot"], &["base", "sft"]);
    plan.out = bench.path("second");
    let records = bench.run(&plan);
    assert_ne!(values(&records, "base", "reply_nll"), values(&records, "sft", "reply_nll"));
}

/// What judges is the base alone, whatever stage drew: a taught model would judge itself.
#[test]
fn questions_of_prompts_are_answered_by_the_base() {
    let bench = Bench::new();
    let adapters = bench.plan(&["Dot"], &[]).subjects[0].character.dir.join("adapters");
    let model = bench.path("model");
    write_adapter(&model, &adapters.join("one"), "sft", |name| {
        name.contains("_proj.weight") && !name.contains("_moe_gen")
    });
    let mut plan = bench.plan(&["Dot"], &["base", "sft"]);
    let ask = |question: &str, answer: &str| PromptQuestion {
        question: question.into(),
        answer: answer.into(),
        ..PromptQuestion::default()
    };
    plan.subjects[0].character.prompts = vec![PicturePrompt {
        id: "hill".into(),
        split: Split::Test,
        text: "Dot on a hill".into(),
        questions: vec![ask("Is it Dot?", "yes"), ask("Is it wet?", "Yes"), ask("Where?", "hill")],
        ..PicturePrompt::default()
    }];
    let records = bench.run(&plan);
    let questions = ["Is it Dot?", "Is it wet?"].map(str::to_owned);
    let answer = |model: &Model, record: &Record| {
        let picture = load_rgb(&plan.out.join(record.text("file"))).unwrap();
        balanced(&model.yes_no(&picture, &questions).unwrap(), &[true, true]).unwrap()
    };
    let mut judge = Model::load(&model, &LoadOptions::default()).unwrap();
    for stage in ["base", "sft"] {
        let of = |r: &&Record| r.stage == stage && r.task == "prompt_vqa";
        let asked: Vec<&Record> = records.iter().filter(of).collect();
        assert_eq!(asked.len(), plan.settings.num_seeds, "{stage}");
        for record in asked {
            assert!((record.value - answer(&judge, record)).abs() < 1e-9, "{stage}");
        }
    }
    judge.attach(&adapters.join("one")).unwrap();
    let record = records.iter().find(|r| r.stage == "sft" && r.task == "prompt_vqa").unwrap();
    assert!((record.value - answer(&judge, record)).abs() > 1e-6, "the taught one says otherwise");
}

#[test]
fn the_macro_mean_is_over_characters() {
    let bench = Bench::new();
    let records = bench.run(&bench.plan(&["Dot", "Fern"], &["base"]));
    let mut by_character: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.task == "reply_nll") {
        by_character.entry(&record.character).or_default().push(record.value);
    }
    let means: Vec<f64> =
        by_character.values().map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
    let found = aggregate(&records);
    let all = found.aggregates.iter().find(|a| a.metric == "reply_nll" && a.slice == ALL).unwrap();
    assert!((all.estimate.mean - (means[0] + means[1]) / 2.).abs() < 1e-12);
    assert_eq!(all.estimate.n_characters, 2);
}
