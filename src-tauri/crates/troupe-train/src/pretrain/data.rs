//! Rendered pictures on disk, with captions, questions and statements.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage, imageops::flip_horizontal};
use serde::{Deserialize, de::DeserializeOwned};
use troupe_nn::noise::{Noise, Stream};

use crate::error::{TrainError, TrainResult};

/// Pictures with captions on disk; pixels are read when asked for.
#[derive(Debug)]
pub struct PictureSet {
    file: fs::File,
    path: PathBuf,
    captions: Vec<String>,
    size: u32,
}

#[derive(Deserialize)]
struct CaptionLine {
    caption: String,
}

/// What a question demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// The value of an attribute, in words.
    Open,
    /// Yes or no, equally often.
    YesNo,
    /// One of the values that the question lists.
    Choice,
    /// A caption, which can be right in many words.
    Description,
}

impl QuestionKind {
    /// Name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::YesNo => "yes/no",
            Self::Choice => "choice",
            Self::Description => "description",
        }
    }
}

/// A question about a picture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// The attribute asked about.
    pub about: String,
    /// What it demands.
    pub kind: QuestionKind,
    /// Its text.
    pub question: String,
    /// The right answer.
    pub answer: String,
}

/// What is asked and known about one picture, a line of `questions.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// Questions with answers.
    pub questions: Vec<Question>,
    /// A true sentence per attribute.
    #[serde(default)]
    pub statements: BTreeMap<String, String>,
    /// By attribute, the group of values alike to which this picture's belongs.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
}

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_path_buf();
    move |source| TrainError::Io { what: "reading the picture set", source, path }
}

/// Values of a file with one JSON document a line.
pub(super) fn read_lines<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> TrainResult<Vec<T>> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|e| {
        TrainError::Malformed { what, reason: e.to_string(), path: path.to_path_buf() }
    })
}

/// Reads `questions.jsonl` of a picture set of `len` pictures.
///
/// # Errors
/// When it is missing, malformed or of another length.
pub fn read_questions(dir: &Path, len: usize) -> TrainResult<Vec<Asked>> {
    let path = dir.join("questions.jsonl");
    let asked: Vec<Asked> = read_lines(&path, "the question list")?;
    if asked.len() != len {
        let reason = format!("it has {} lines for {len} pictures", asked.len());
        return Err(TrainError::Malformed { what: "the question list", reason, path });
    }
    Ok(asked)
}

impl PictureSet {
    /// Opens `dir`, whose pictures are `size` × `size`.
    ///
    /// # Errors
    /// When its files are missing, malformed, empty or of different lengths.
    pub fn open(dir: &Path, size: u32) -> TrainResult<Self> {
        let (path, list) = (dir.join("pictures.rgb"), dir.join("captions.jsonl"));
        let lines: Vec<CaptionLine> = read_lines(&list, "the caption list")?;
        let captions: Vec<String> = lines.into_iter().map(|line| line.caption).collect();
        if captions.is_empty() {
            return Err(TrainError::NoData(format!(
                "the picture set is empty ({})",
                dir.display()
            )));
        }
        let file = fs::File::open(&path).map_err(io(&path))?;
        let bytes = file.metadata().map_err(io(&path))?.len();
        let wanted = captions.len() as u64 * u64::from(size) * u64::from(size) * 3;
        if bytes != wanted {
            return Err(TrainError::Malformed {
                what: "the picture file",
                reason: format!(
                    "it holds {bytes} bytes; {} pictures of {size}×{size} need {wanted}",
                    captions.len()
                ),
                path,
            });
        }
        Ok(Self { file, path, captions, size })
    }

    /// Pictures in the set.
    pub fn len(&self) -> usize {
        self.captions.len()
    }

    /// True when it holds none, which [`open`](Self::open) refuses.
    pub fn is_empty(&self) -> bool {
        self.captions.is_empty()
    }

    /// Caption of a picture.
    pub fn caption(&self, index: usize) -> &str {
        &self.captions[index]
    }

    /// A picture.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn picture(&mut self, index: usize) -> TrainResult<RgbImage> {
        let mut pixels = vec![0; (self.size * self.size * 3) as usize];
        let at = index as u64 * pixels.len() as u64;
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut pixels))
            .map_err(|source| TrainError::Io {
                what: "reading a picture of the set",
                source,
                path: self.path.clone(),
            })?;
        RgbImage::from_raw(self.size, self.size, pixels)
            .ok_or_else(|| TrainError::NoData("a picture of the set has no pixels".into()))
    }

    /// A picture, mirrored every other time: what is said of a picture does not tell left from right.
    /// `seed` and `key` decide.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn perhaps_mirrored(&mut self, index: usize, seed: u64, key: u64) -> TrainResult<RgbImage> {
        let picture = self.picture(index)?;
        let is_mirrored = Noise::new(seed, Stream::Window, key).uniform() < 0.5;
        Ok(if is_mirrored { flip_horizontal(&picture) } else { picture })
    }
}

/// File with the details of a picture set, which not every set holds.
const DETAILS_FILE: &str = "details.u8";
/// Cells of details in a row of a picture.
const DETAIL_CELLS: u32 = 32;

/// How much of each cell of a picture small words of its caption decide, such as its expression: what
/// is little of a picture and much of what is seen.
#[derive(Debug)]
pub struct Details {
    cells: Vec<u8>,
    size: u32,
}

impl Details {
    /// Opens the details of a set of `len` pictures of `size` × `size` in `dir`.
    ///
    /// # Errors
    /// When the file is missing or of another length.
    pub fn open(dir: &Path, len: usize, size: u32) -> TrainResult<Self> {
        let path = dir.join(DETAILS_FILE);
        let cells = fs::read(&path).map_err(io(&path))?;
        let wanted = len * (DETAIL_CELLS * DETAIL_CELLS) as usize;
        if cells.len() != wanted {
            let reason = format!("it holds {} bytes; {len} pictures need {wanted}", cells.len());
            return Err(TrainError::Malformed { what: "the file of details", reason, path });
        }
        Ok(Self { cells, size })
    }

    /// The details of a picture as a grey picture of its size, white where there is nothing else.
    pub fn picture(&self, index: usize) -> RgbImage {
        let num = (DETAIL_CELLS * DETAIL_CELLS) as usize;
        let cells = &self.cells[index * num..(index + 1) * num];
        RgbImage::from_fn(self.size, self.size, |x, y| {
            let place = |at: u32| at * DETAIL_CELLS / self.size;
            Rgb([cells[(place(y) * DETAIL_CELLS + place(x)) as usize]; 3])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_cover_their_cells_and_notice_a_short_file() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let mut cells = vec![0; 2 * 32 * 32];
        cells[32 * 32 + 33] = 200;
        fs::write(dir.path().join(DETAILS_FILE), &cells).expect("writable");
        let details = Details::open(dir.path(), 2, 64)?;
        assert!(details.picture(0).as_raw().iter().all(|v| *v == 0));
        let second = details.picture(1);
        let is_marked = |x, y| second.get_pixel(x, y).0 == [200; 3];
        assert!(is_marked(2, 2) && is_marked(3, 3) && !is_marked(4, 2) && !is_marked(2, 1));
        assert!(Details::open(dir.path(), 3, 64).is_err());
        Ok(())
    }

    #[test]
    fn a_picture_set_reads_back_and_notices_a_short_file() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let lines = "{\"caption\":\"a\",\"source\":\"x\"}\n{\"caption\":\"b\"}\n";
        fs::write(dir.path().join("captions.jsonl"), lines).expect("writable");
        let pixels: Vec<u8> = (0..2 * 2 * 2 * 3).collect();
        fs::write(dir.path().join("pictures.rgb"), &pixels).expect("writable");
        let mut set = PictureSet::open(dir.path(), 2)?;
        assert_eq!((set.len(), set.caption(1)), (2, "b"));
        assert_eq!(set.picture(1)?.as_raw()[..], pixels[12..]);
        fs::write(dir.path().join("pictures.rgb"), &pixels[1..]).expect("writable");
        assert!(PictureSet::open(dir.path(), 2).is_err());
        Ok(())
    }

    #[test]
    fn questions_are_one_line_a_picture() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let line = r#"{"questions":[{"about":"hat","kind":"yes-no","question":"A hat?","answer":"No."}],"statements":{"hat":"no hat"}}"#;
        fs::write(dir.path().join("questions.jsonl"), format!("{line}\n")).expect("writable");
        let asked = read_questions(dir.path(), 1)?;
        assert_eq!(asked[0].questions[0].kind, QuestionKind::YesNo);
        assert_eq!(asked[0].statements["hat"], "no hat");
        assert!(read_questions(dir.path(), 2).is_err());
        Ok(())
    }
}
