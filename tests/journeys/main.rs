//! Journeys over the studio's operations on a scratch data folder and a tiny base.

mod bad_input;
mod chatting;
mod kills;
mod teaching;
