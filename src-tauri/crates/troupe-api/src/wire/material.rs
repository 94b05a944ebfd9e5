//! Wire types of the material browser.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ApiError;

/// What a piece of a character's material is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum MaterialKind {
    /// An exchange with a picture.
    PictureScene,
    /// An exchange without.
    Dialogue,
    /// A question about the character, with its answer.
    Knowledge,
    /// A question about a picture, with its answer.
    PictureQuestion,
    /// Multiple choice about the character.
    KnowledgeChoice,
    /// Multiple choice about a picture.
    PictureChoice,
    /// An open prompt that tests what the character remembers.
    Memorization,
    /// An open prompt that tests how the character behaves.
    Personality,
    /// A picture prompt of stage 2, with its weighted questions.
    PicturePrompt,
}

impl MaterialKind {
    /// All kinds, in the order of a list.
    pub const ALL: [Self; 9] = [
        Self::PictureScene,
        Self::Dialogue,
        Self::Knowledge,
        Self::PictureQuestion,
        Self::KnowledgeChoice,
        Self::PictureChoice,
        Self::Memorization,
        Self::Personality,
        Self::PicturePrompt,
    ];
}

/// Which material is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct MaterialFilter {
    /// Whose; everybody's when absent.
    pub character_id: Option<String>,
    /// Of which kind; all when absent.
    pub kind: Option<MaterialKind>,
    /// Only what is kept back for measuring, or only the rest; both when absent.
    pub is_held_out: Option<bool>,
    /// Words that must all occur, as they are written but for upper and lower case; words between
    /// double quotes must follow each other.
    pub words: String,
}

/// A number of items of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialCount {
    /// The kind.
    pub kind: MaterialKind,
    /// How many.
    pub count: u32,
}

/// A character as the browser shows it.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialOwner {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it belongs with, such as `human` or `animal`; empty when nobody said.
    pub group: String,
    /// It came from RoleScape-20.
    pub is_rolescape: bool,
    /// It came with the program.
    pub is_bundled: bool,
    /// Pictures to learn from.
    pub num_train_pictures: u32,
    /// Pictures kept back.
    pub num_test_pictures: u32,
    /// Items of every kind.
    pub counts: Vec<MaterialCount>,
    /// Why its folder cannot be read, if so.
    pub problem: Option<ApiError>,
}

/// An item in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialRow {
    /// Whose.
    pub character_id: String,
    /// Their name.
    pub character_name: String,
    /// What it is.
    pub kind: MaterialKind,
    /// Its id; unique within character and kind.
    pub id: String,
    /// Its beginning, or what is around the first word that was looked for.
    pub text: String,
    /// Picture that goes with it.
    pub picture_id: Option<String>,
    /// Kept back for measuring.
    pub is_held_out: bool,
}

/// Part of the list of items that a filter leaves.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialPage {
    /// All items of the filter.
    pub total: u32,
    /// Items by kind, whatever kind the filter asks for.
    pub counts: Vec<MaterialCount>,
    /// This part.
    pub items: Vec<MaterialRow>,
}

/// One turn of a scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialTurn {
    /// The person speaks.
    pub is_user: bool,
    /// What is said.
    pub text: String,
    /// Picture that goes with it.
    pub picture_id: Option<String>,
    /// Why the picture looks as it does.
    pub reasoning: Option<String>,
    /// The sentence that it is drawn from.
    pub instruction: Option<String>,
    /// A picture that the import named and did not hold.
    pub missing_picture: Option<String>,
}

/// One option of a multiple-choice question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialOption {
    /// Its letter.
    pub key: String,
    /// Its text.
    pub text: String,
    /// It is the right one.
    pub is_right: bool,
}

/// Everything about a question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialQuestion {
    /// What is asked.
    pub question: String,
    /// Reference answer.
    pub answer: Option<String>,
    /// Options of a multiple choice.
    pub options: Vec<MaterialOption>,
    /// Free word such as `fact` or `objective`.
    pub category: Option<String>,
    /// `easy`, `medium` or `hard`.
    pub difficulty: Option<String>,
    /// 0 to 1, as the author put it.
    pub confidence: Option<f64>,
    /// Quotes that support the answer.
    pub evidence: Vec<String>,
    /// How the answer follows.
    pub reasoning_steps: Vec<String>,
    /// Why the right option is right.
    pub rationale: Option<String>,
    /// The imported text, where it was cleaned.
    pub raw: Option<String>,
    /// Why the imported line is no question.
    pub dropped: Option<String>,
}

/// A question about what a prompt's picture must show.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialCheck {
    /// What is asked.
    pub question: String,
    /// `yes_no`, `multiple_choice` or `open_ended`.
    pub kind: String,
    /// Free word such as `scene`.
    pub category: String,
    /// Expected answer.
    pub answer: String,
    /// Offered answers.
    pub choices: Vec<String>,
    /// Weight as the author put it.
    pub weight: f64,
    /// Share in the prompt's score, 0 to 1; 0 when it does not count.
    pub share: f64,
    /// Built to be answered with no.
    pub is_negative: bool,
    /// A repeat, or two answers are expected: it does not count.
    pub is_left_out: bool,
}

/// An item with everything in it.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MaterialItem {
    /// As in the list.
    pub row: MaterialRow,
    /// Turns of a scene.
    pub turns: Vec<MaterialTurn>,
    /// A question.
    pub question: Option<MaterialQuestion>,
    /// Questions of a picture prompt.
    pub checks: Vec<MaterialCheck>,
    /// Caption of the picture that goes with it.
    pub caption: Option<String>,
}

/// A request to let a model answer an item.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TryMaterial {
    /// Whose item.
    pub character_id: String,
    /// Its kind.
    pub kind: MaterialKind,
    /// Its id.
    pub id: String,
    /// Who answers, in order: names of adapters, or the bare base.
    pub adapters: Vec<Option<String>>,
    /// Seed of all answers.
    pub seed: u32,
    /// Whether a question's picture is shown to the model, and a scene's is drawn by it. Picture
    /// prompts always are.
    pub with_picture: bool,
}

/// An item that a model is answering.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Trying {
    /// What stops it.
    pub id: String,
    /// What the model is asked, as it reads it.
    pub prompt: String,
}
