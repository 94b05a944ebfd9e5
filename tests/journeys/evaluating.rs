//! An evaluation from the window: planned, stopped, resumed in a process of its own, and read.

use troupe_api::{ErrorCode, wire::StartEvaluation};
use troupe_tests::{Scratch, wait_for};

#[test]
fn an_evaluation_is_planned_stopped_resumed_and_read() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let request =
        StartEvaluation { character_ids: vec![id.clone()], is_quick: true, ..Default::default() };
    let plan = studio.evaluation_plan(&request).unwrap();
    assert_eq!((plan.stages.as_slice(), plan.problem), (["base".to_owned()].as_slice(), None));
    assert!(plan.num_items > 0 && plan.minutes > 0. && plan.memory_mb > 0.);
    let untaught = StartEvaluation { stages: vec!["sft".into()], ..request.clone() };
    assert!(studio.evaluation_plan(&untaught).unwrap().problem.is_some());

    let started = studio.start_evaluation(&request).unwrap();
    studio.stop_evaluation(&started.id).unwrap();
    let of = || studio.list_evaluations().unwrap().remove(0);
    wait_for("the evaluation to stop", || {
        ["paused", "finished"].contains(&of().status.as_str()).then_some(())
    });
    if of().status == "paused" {
        studio.resume_evaluation(&started.id).unwrap();
    }
    let done =
        wait_for("the evaluation to end", || Some(of()).filter(|run| run.status == "finished"));
    assert_eq!((done.step, done.num_steps), (plan.num_items, plan.num_items), "every item is told");

    let detail = studio.evaluation(&started.id).unwrap();
    assert!(detail.has_report && !detail.rows.is_empty());
    assert!(detail.rows.iter().any(|row| row.metric == "ref_max"), "{:?}", detail.rows);
    let csv = scratch.path("results.csv");
    studio.save_evaluation_file(&started.id, "results.csv", &csv).unwrap();
    assert!(std::fs::read_to_string(csv).unwrap().starts_with("kind,metric"));
    let outside = studio.evaluation_file(&started.id, "run.toml").unwrap_err();
    assert_eq!(outside.code, ErrorCode::NotFound);
    let again = studio.resume_evaluation(&started.id).unwrap_err();
    assert_eq!(again.code, ErrorCode::BadRequest, "it is finished");
}

#[test]
fn evaluations_and_trainings_do_not_run_at_once() {
    let scratch = Scratch::new();
    let id = scratch.import("Dot");
    let studio = scratch.studio();
    let request = troupe_api::wire::StartTraining {
        character_id: id.clone(),
        num_steps: Some(3000),
        ..Default::default()
    };
    let run = studio.start_training(&request).unwrap();
    let of = || studio.list_runs(Some(&id)).unwrap().remove(0);
    wait_for("teaching to begin", || (of().status == "running").then_some(()));
    let evaluation = StartEvaluation { character_ids: vec![id.clone()], ..Default::default() };
    assert!(studio.evaluation_plan(&evaluation).unwrap().busy.is_some());
    assert_eq!(studio.start_evaluation(&evaluation).unwrap_err().code, ErrorCode::Busy);
    studio.stop_run(&run.id).unwrap();
    wait_for("teaching to stop", || (of().status == "stopped").then_some(()));
}
