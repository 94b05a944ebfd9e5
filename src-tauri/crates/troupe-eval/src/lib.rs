//! Measuring a model on characters: protocols, metrics, records and reports.
//!
//! | module | what |
//! |---|---|
//! | [`run`] | a run over characters and stages, resumable item by item |
//! | [`choice`] | multiple choice by rotation and by option text |
//! | [`likelihood`] | how surprised the model is by a text |
//! | [`features`] | what pictures are compared by |
//! | [`pictures`] | likeness, copying, identity, diversity |
//! | [`judge`] | scores by a language model that the user names; off by default |
//! | [`stats`] | means and bootstrap intervals |
//! | [`records`] | one line a measured item |
//! | [`aggregate`] | tables from records |
//! | [`report`] | one HTML file, CSV and JSON |
//!
//! The protocol is this project's own; the paper (arXiv 2605.08129) names tasks and metrics, but
//! its evaluation code is not published. Nothing here knows of the window or of chats.

pub mod aggregate;
pub mod choice;
mod error;
pub mod features;
pub mod judge;
pub mod likelihood;
pub mod pictures;
mod plot;
pub mod records;
pub mod report;
pub mod run;
pub mod stats;
mod tasks;

pub use error::{EvalError, EvalResult};
pub use tasks::{TaskLoad, workload};
