//! Pictures by which a base keeps in practice while it learns a character.
//!
//! A generation expert that sees nothing but ten pictures soon knows nothing else: captions unlike
//! theirs come out as pieces of them. A few captioned pictures of the kind that the base was made from,
//! mixed into every step, keep what it could draw (rehearsal, or experience replay, as in "Experience
//! Replay for Continual Learning", arXiv:1811.11682; prior preservation in DreamBooth, arXiv:2208.12242,
//! is the same with pictures of the model's own).
//!
//! They lie in the base's folder: [`FOLDER`] holds `captions.jsonl`, one `{"caption"}` a line, and
//! `sheet.png`, the pictures in the same order, row by row, each as large as the base draws.

use std::{fs, path::Path};

use image::{RgbImage, imageops::crop_imm};
use serde::Deserialize;
use troupe_model::image_ops::load_picture;

use crate::error::{TrainError, TrainResult};

/// Folder in a base's folder.
pub const FOLDER: &str = "rehearsal";
const CAPTIONS_FILE: &str = "captions.jsonl";
const SHEET_FILE: &str = "sheet.png";

#[derive(Deserialize)]
struct Line {
    caption: String,
}

/// Captioned pictures of a base.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// Captions with their pictures.
    pub pictures: Vec<(String, RgbImage)>,
}

impl Rehearsal {
    /// How many the base in `model_dir` brings, as far as that can be read.
    pub fn count(model_dir: &Path) -> usize {
        let captions = fs::read_to_string(model_dir.join(FOLDER).join(CAPTIONS_FILE));
        captions.map_or(0, |text| text.lines().count())
    }

    /// Those of the base in `model_dir`, whose pictures are `side` × `side`; none when it has none.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    pub fn of_base(model_dir: &Path, side: usize) -> TrainResult<Self> {
        let folder = model_dir.join(FOLDER);
        if !folder.is_dir() {
            return Ok(Self::default());
        }
        let path = folder.join(CAPTIONS_FILE);
        let text = fs::read_to_string(&path).map_err(|source| TrainError::Io {
            what: "reading the base's rehearsal captions",
            source,
            path: path.clone(),
        })?;
        let malformed = |path: &Path, reason: String| TrainError::Malformed {
            what: "the base's rehearsal set",
            reason,
            path: path.to_path_buf(),
        };
        let lines: Vec<Line> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|e| malformed(&path, e.to_string()))?;
        let path = folder.join(SHEET_FILE);
        let (sheet, side) = (load_picture(&path)?, side.max(1) as u32);
        let columns = sheet.width() / side;
        let room = columns * (sheet.height() / side);
        if (room as usize) < lines.len() {
            let reason = format!(
                "{} captions, but the sheet has room for {room} pictures of {side}×{side}",
                lines.len()
            );
            return Err(malformed(&path, reason));
        }
        let cut = |index: u32| {
            crop_imm(&sheet, index % columns * side, index / columns * side, side, side).to_image()
        };
        let pictures =
            lines.into_iter().zip(0..).map(|(line, index)| (line.caption, cut(index))).collect();
        Ok(Self { pictures })
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn write(dir: &Path, captions: &str, width: u32, height: u32) {
        fs::create_dir_all(dir.join(FOLDER)).expect("a folder");
        fs::write(dir.join(FOLDER).join(CAPTIONS_FILE), captions).expect("captions");
        let cell = |x, y| Rgb([(x / 4 * 40) as u8, (y / 4 * 40) as u8, 7]);
        RgbImage::from_fn(width, height, cell)
            .save(dir.join(FOLDER).join(SHEET_FILE))
            .expect("a sheet");
    }

    #[test]
    fn pictures_stand_row_by_row() -> TrainResult<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        assert!(Rehearsal::of_base(dir.path(), 4)?.pictures.is_empty());
        assert_eq!(Rehearsal::count(dir.path()), 0);
        let captions = "{\"caption\":\"a\"}\n{\"caption\":\"b\"}\n{\"caption\":\"c\"}\n";
        write(dir.path(), captions, 8, 8);
        let read = Rehearsal::of_base(dir.path(), 4)?.pictures;
        let names: Vec<&str> = read.iter().map(|(caption, _)| caption.as_str()).collect();
        assert_eq!((names.as_slice(), Rehearsal::count(dir.path())), (&["a", "b", "c"][..], 3));
        assert_eq!(read[2].1, RgbImage::from_pixel(4, 4, Rgb([0, 40, 7])));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        write(dir.path(), "{\"caption\":\"a\"}\n{\"caption\":\"b\"}\n", 4, 4);
        let error = Rehearsal::of_base(dir.path(), 4).expect_err("one picture for two captions");
        assert!(error.to_string().contains("room for 1 pictures of 4×4"), "{error}");
        write(dir.path(), "{\"caption\":1}\n", 4, 4);
        assert!(Rehearsal::of_base(dir.path(), 4).is_err());
    }
}
