//! Journeys over the studio's operations on a scratch data folder and a tiny base.

#![expect(clippy::unwrap_used, reason = "tests")]

mod authoring;
mod bad_input;
mod chatting;
mod deleting;
mod evaluating;
mod gallery;
mod kills;
mod material;
mod packages;
mod refining;
mod teaching;
