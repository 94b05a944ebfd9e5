//! The tasks of the protocol, each item of which becomes records.

mod answering;
mod baselines;
mod drawing;
mod material;
mod text;
mod workload;

use std::ops::ControlFlow;

use serde_json::Value;
use troupe_character::Character;
use troupe_model::runtime::Model;

use crate::{
    error::EvalResult,
    records::{Record, RecordLog},
    run::{Plan, Progress, References, Watch},
};

pub(crate) use baselines::{baselines, judge_anchors};
pub(crate) use material::file_name;
pub use workload::{TaskLoad, workload};

/// One stage of one character, with everything that measuring it needs.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) model: &'a Model,
    pub(crate) stage: &'a str,
    /// Which subject.
    pub(crate) index: usize,
    pub(crate) references: &'a [References],
    pub(crate) log: &'a mut RecordLog,
    pub(crate) watch: Watch<'a>,
}

pub(crate) type Flow = EvalResult<ControlFlow<()>>;

/// Ends the surrounding function when the watcher stopped the run.
macro_rules! go_on {
    ($flow:expr) => {
        if $flow?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

impl Bench<'_> {
    /// Measures everything that is not in the log yet.
    pub(crate) fn run(&mut self) -> Flow {
        go_on!(self.knowledge());
        go_on!(self.picture_choices());
        go_on!(self.reply_likelihood());
        go_on!(self.identification());
        go_on!(self.sampled_replies());
        go_on!(self.pictures());
        go_on!(self.reply_pictures());
        self.judged()
    }

    fn character(&self) -> &Character {
        &self.plan.subjects[self.index].character
    }

    fn record(&self, task: &str, item: &str, seed: u64, value: f64) -> Record {
        Record::new(self.stage, &self.character().name, task, item, seed, value)
    }

    fn is_done(&self, last_task: &str, item: &str, seed: u64) -> bool {
        self.log.has(&self.record(last_task, item, seed, 0.).key())
    }

    fn tell(&mut self, task: &'static str, done: usize, num_items: usize) -> ControlFlow<()> {
        let progress = Progress {
            stage: self.stage.into(),
            character: self.character().name.clone(),
            task,
            done,
            num_items,
        };
        (self.watch)(&progress)
    }
}

fn object(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
