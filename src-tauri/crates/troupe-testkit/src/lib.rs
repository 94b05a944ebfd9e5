//! What the tests share: a tiny base model with a real tokenizer, and a data set folder to import.
//!
//! Everything is made on the spot from seeds, so no test needs the bundled base, a network or data
//! that may not be passed on. Functions panic when the scratch folder cannot be written: there is
//! nothing a test could do about it.

#![expect(clippy::unwrap_used, reason = "only tests use this crate")]

mod bagel;
mod model;
mod rolescape;

pub use bagel::BagelShape;
pub use model::write_tiny_model;
pub use rolescape::{dot_picture, write_rolescape};
