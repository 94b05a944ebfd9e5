//! A character on disk: persona, scenes, questions, pictures and stage-2 prompts.
//!
//! What it is for: reading and writing the character folder, the library of characters, the
//! RoleScape-20 importer and exporter, the importer of character cards, the exact prompt templates of
//! the method, the samples that stage 1 learns from, and checks in plain words.
//!
//! What it leaves to others: tokens and tensors (`troupe-model`, `troupe-train`), chats and the
//! index (`troupe-store`), and everything a window shows.

mod captions;
pub mod cards;
mod character;
pub mod checks;
mod error;
mod files;
mod library;
mod normalise;
pub mod pictures;
pub mod prompts;
mod records;
pub mod rolescape;
pub mod samples;
pub mod versions;

pub use character::{
    Character, Draft, Expression, LoreEntry, SCHEMA, Source, Speaking, VisualCues,
};
pub use error::{Error, Result};
pub use library::{Entry, Library, Trashed};
pub use pictures::Added;
pub use records::{
    Crop, Picture, PicturePrompt, PromptQuestion, Question, QuestionKind, Scene, Speaker, Split,
    Turn,
};
