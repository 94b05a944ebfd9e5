//! The lines of `scenes.jsonl`, `questions.jsonl`, `prompts.jsonl` and `pictures.jsonl`.
//!
//! Keys that this version does not know are kept and written back.

use std::collections::BTreeMap;

use image::{DynamicImage, Rgba, RgbaImage, imageops};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::error::Error;

/// Whether a record is learned from, or kept back to measure with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Learned from.
    #[default]
    Train,
    /// Never learned from.
    Test,
}

impl Split {
    /// The word used on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The person.
    User,
    /// The character.
    #[serde(alias = "machine", alias = "assistant", alias = "char")]
    Character,
}

impl Speaker {
    /// The word that prompt templates use for this speaker in a history.
    pub fn template_role(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Character => "machine",
        }
    }
}

/// One picture of the character.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Picture {
    /// Unique within the character.
    #[serde(default)]
    pub id: String,
    /// Path relative to the character's folder, with `/`.
    pub file: String,
    /// What the picture shows, naming the character; the plain picture prompt of stage 1.
    #[serde(default)]
    pub caption: String,
    /// Name of the expression shown, if it is one of the character's list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expression: String,
    /// Learned from, or kept back.
    #[serde(default)]
    pub split: Split,
    /// BLAKE3 of size and pixels; finds exact duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Square of the whole picture that `file` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Keys of other programs and of the importer.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A square of a picture, in pixels of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// Left edge; negative where the square begins left of the picture.
    pub x: i32,
    /// Upper edge; negative where the square begins above the picture.
    pub y: i32,
    /// Width and height.
    pub side: u32,
    /// Red, green and blue of what the picture does not cover. Without it the square lies within
    /// the picture; with it the square is at most as wide as the picture is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
}

impl Crop {
    /// The square of `image`; `label` is what an error calls it.
    pub(crate) fn cut(self, image: &DynamicImage, label: &str) -> crate::Result<DynamicImage> {
        let (width, height) = (image.width(), image.height());
        let refuse = || {
            let reason = format!("the square lies outside its {width} × {height} pixels");
            Error::NotAPicture { label: label.into(), reason }
        };
        if self.side == 0 || self.side > width.max(height) {
            return Err(refuse());
        }
        if let Some([r, g, b]) = self.background {
            let mut square = RgbaImage::from_pixel(self.side, self.side, Rgba([r, g, b, u8::MAX]));
            let (x, y) = (-i64::from(self.x), -i64::from(self.y));
            imageops::overlay(&mut square, &image.to_rgba8(), x, y);
            return Ok(DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(square).into_rgb8()));
        }
        let start = |start: i32, size: u32| {
            let start = u32::try_from(start).ok()?;
            (start.checked_add(self.side)? <= size).then_some(start)
        };
        let x = start(self.x, width).ok_or_else(refuse)?;
        let y = start(self.y, height).ok_or_else(refuse)?;
        Ok(image.crop_imm(x, y, self.side, self.side))
    }
}

/// One turn of a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub role: Speaker,
    /// What is said.
    #[serde(default)]
    pub text: String,
    /// Id of the picture that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Why the picture looks as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// One sentence that a picture model could draw from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Picture id of an import whose file does not exist there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_picture: Option<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Turn {
    /// A plain turn.
    pub fn new(role: Speaker, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            picture: None,
            reasoning: None,
            instruction: None,
            missing_picture: None,
            extra: Map::new(),
        }
    }
}

/// A short exchange, one line of `scenes.jsonl`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Scene {
    /// Unique within the character.
    #[serde(default)]
    pub id: String,
    /// Learned from, or kept back.
    #[serde(default)]
    pub split: Split,
    /// Which file of an import it came from (`picture` or `extension`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is said, in order.
    pub turns: Vec<Turn>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Scene {
    /// Id of the first picture any turn carries.
    pub fn picture(&self) -> Option<&str> {
        self.turns.iter().find_map(|turn| turn.picture.as_deref())
    }
}

/// What a question is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// A fact about the character, with its answer.
    #[default]
    Knowledge,
    /// About one picture, with its answer.
    Picture,
    /// Multiple choice about the character.
    KnowledgeChoice,
    /// Multiple choice about one picture.
    PictureChoice,
    /// Open prompt that tests what the character remembers; no answer.
    Memorization,
    /// Open prompt that tests how the character behaves; no answer.
    Personality,
}

/// One line of `questions.jsonl`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Question {
    /// Unique within the character.
    #[serde(default)]
    pub id: String,
    /// What it is for.
    #[serde(default)]
    pub kind: QuestionKind,
    /// Learned from, or kept back.
    #[serde(default)]
    pub split: Split,
    /// Picture it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// What is asked, cleaned of wrappers.
    pub question: String,
    /// Reference answer of an open question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Options of a multiple-choice question by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Key of the right option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_key: Option<String>,
    /// Free word such as `fact`, `objective` or `subjective`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// `easy`, `medium` or `hard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<String>,
    /// Quotes of the profile that support the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// How the answer follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning_steps: Vec<String>,
    /// 0 to 1, as the author put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Number>,
    /// Why the answer key is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
    /// The string as it was imported, where cleaning changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Why an imported line is no question (`meta`, `rater_note`, `rubric`, `repeat`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A yes/no, multiple-choice or open question about what a prompt's picture must show.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PromptQuestion {
    /// What is asked about the picture.
    pub question: String,
    /// `yes_no`, `multiple_choice` or `open_ended`.
    #[serde(default = "yes_no", rename = "type")]
    pub kind: String,
    /// Free word such as `scene` or `expression`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// Expected answer.
    #[serde(default)]
    pub answer: String,
    /// Offered answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Share in the prompt's score, relative to its siblings.
    #[serde(default = "one")]
    pub weight: f64,
    /// Built to be answered "no".
    #[serde(default)]
    pub is_negative: bool,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn yes_no() -> String {
    "yes_no".into()
}

fn one() -> f64 {
    1.0
}

impl PromptQuestion {
    /// Whether the answer is expected to be yes; `None` where it is neither yes nor no.
    pub fn expects_yes(&self) -> Option<bool> {
        match self.answer.trim().to_lowercase().as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        }
    }
}

/// A picture prompt for stage 2 and for evaluation, one line of `prompts.jsonl`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PicturePrompt {
    /// Unique within the character.
    #[serde(default)]
    pub id: String,
    /// Learned from, or kept back.
    #[serde(default)]
    pub split: Split,
    /// What to draw.
    pub text: String,
    /// Questions that a fitting picture answers as expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<PromptQuestion>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl PicturePrompt {
    /// The questions worth asking: no repeats, nothing empty, and none that the same prompt
    /// expects to be answered in two ways.
    pub fn usable_questions(&self) -> Vec<&PromptQuestion> {
        let mut answers: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
        for (index, q) in self.questions.iter().enumerate() {
            if q.question.trim().is_empty() || q.answer.trim().is_empty() {
                continue;
            }
            let seen = answers.entry(crate::normalise::loose(&q.question)).or_default();
            let answer = q.answer.trim().to_lowercase();
            if seen.iter().all(|(other, _)| *other != answer) {
                seen.push((answer, index));
            }
        }
        let mut kept: Vec<usize> = answers
            .into_values()
            .filter(|answers| answers.len() == 1)
            .map(|answers| answers[0].1)
            .collect();
        kept.sort_unstable();
        kept.into_iter().map(|index| &self.questions[index]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_survive() {
        let line = r#"{"id":"s1","split":"test","turns":[{"role":"user","text":"Hi","mood":"odd"}],"colour":"blue"}"#;
        let scene: Scene = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&scene).unwrap(), line);
    }

    #[test]
    fn conflicting_and_repeated_prompt_questions_are_left_out() {
        let ask = |question: &str, answer: &str| PromptQuestion {
            question: question.into(),
            answer: answer.into(),
            ..Default::default()
        };
        let prompt = PicturePrompt {
            questions: vec![
                ask("Is it day?", "yes"),
                ask("Is it  day?", "Yes"),
                ask("A hat?", "yes"),
                ask("a hat", "no"),
                ask("", "no"),
            ],
            ..Default::default()
        };
        let usable = prompt.usable_questions();
        assert_eq!(usable.len(), 1);
        assert_eq!(usable[0].question, "Is it day?");
    }

    #[test]
    fn a_square_around_a_picture_is_filled_with_its_background() {
        let wide =
            RgbaImage::from_fn(4, 2, |x, _| Rgba([x as u8, 0, 0, if x == 0 { 0 } else { 255 }]));
        let wide = DynamicImage::ImageRgba8(wide);
        let around = Crop { x: 0, y: -1, side: 4, background: Some([7, 8, 9]) };
        let square = around.cut(&wide, "wide").unwrap();
        let rows: Vec<Vec<u8>> =
            square.to_rgb8().rows().map(|row| row.map(|pixel| pixel.0[0]).collect()).collect();
        // Its two rows in the middle; where the picture is transparent, the background shows.
        assert_eq!(rows, [[7, 7, 7, 7], [7, 1, 2, 3], [7, 1, 2, 3], [7, 7, 7, 7]]);
        assert!(!square.color().has_alpha());
        let cut = |crop: Crop| crop.cut(&wide, "wide");
        assert!(cut(Crop { background: None, ..around }).is_err(), "nothing to fill it with");
        assert!(cut(Crop { side: 5, ..around }).is_err(), "larger than the picture is long");
        assert!(cut(Crop { side: 0, ..around }).is_err());
    }

    #[test]
    fn a_crop_of_before_backgrounds_is_read_and_written_as_it_was() {
        let line = r#"{"x":10,"y":8,"side":40}"#;
        let crop: Crop = serde_json::from_str(line).unwrap();
        assert_eq!(crop, Crop { x: 10, y: 8, side: 40, background: None });
        assert_eq!(serde_json::to_string(&crop).unwrap(), line);
    }
}
