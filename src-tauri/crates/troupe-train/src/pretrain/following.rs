//! Whether drawn pictures show what their captions ask for.
//!
//! Captions that were never trained on are drawn, and the base's own vision side, which learned from
//! rendered pictures alone, reads each asked attribute from the drawing: the value whose statement is
//! nearest. It reads the rendered pictures of the same captions as well, which says how far it can be
//! trusted. An attribute counts where the caption names its value, or where the value is that something
//! is absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::Path,
};

use image::{RgbImage, imageops::replace};
use serde::Serialize;
use troupe_model::{
    runtime::{DrawRequest, FlowSampling, LoadOptions, Model, Precision},
    scorer::{DualEncoder, Embedder},
};

use super::{
    connector::Score,
    data::{Asked, PictureSet, read_questions},
    vision::nearest_statements,
};
use crate::error::{TrainError, TrainResult};

/// Pictures drawn together.
const BATCH: usize = 4;
/// Pictures of the sheet, and in one of its rows.
const SHEET: usize = 100;
const SHEET_COLUMNS: usize = 10;
/// Files that a report holds.
const SHEET_FILE: &str = "sheet.png";
const CONFUSION_FILE: &str = "confusion.csv";
/// Words of a statement that say nothing about a value. Captions name a garment where a statement says
/// clothes.
const FILLERS: [&str; 13] = [
    "a", "an", "the", "of", "in", "on", "at", "with", "person", "picture", "portrait", "wearing",
    "clothes",
];
/// The word by which a statement says that something is absent.
const ABSENT: &str = "without";

/// How an attribute was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// Drawn pictures in which the asked value was read.
    pub drawn: Score,
    /// Rendered pictures of the same captions in which it was read.
    pub rendered: Score,
    /// Values that were chosen from.
    pub num_values: usize,
    /// How often a value was read in drawings where one was asked: asked, then read.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Reading {
    fn add(&mut self, wanted: &str, read: &str, read_rendered: &str) {
        self.drawn.add(read == wanted);
        self.rendered.add(read_rendered == wanted);
        let of_wanted = self.confusion.entry(wanted.to_owned()).or_default();
        *of_wanted.entry(read.to_owned()).or_default() += 1;
    }
}

/// How drawings follow their captions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowingMeasure {
    /// Pictures that were drawn.
    pub num_pictures: usize,
    /// By attribute.
    pub attributes: BTreeMap<String, Reading>,
}

impl std::fmt::Display for FollowingMeasure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "asked values read in {} drawn pictures", self.num_pictures)?;
        self.attributes.iter().try_for_each(|(about, reading)| {
            let Reading { drawn, rendered, num_values, .. } = reading;
            write!(f, "\n  {about}: {drawn}, {num_values} values (rendered: {rendered})")
        })
    }
}

impl FollowingMeasure {
    /// The confusion tables, a line a pair: attribute, asked, read, count.
    fn to_csv(&self) -> String {
        let mut csv = String::from("attribute,asked,read,count\n");
        for (about, reading) in &self.attributes {
            for (asked, read) in &reading.confusion {
                for (read, count) in read {
                    let _ = writeln!(csv, "{about},{asked},{read},{count}");
                }
            }
        }
        csv
    }
}

/// Whether `caption` asks for what `statement` says.
fn asks_for(caption: &str, statement: &str) -> bool {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let (named, mut wanted) = (words(caption), words(statement));
    if wanted.contains(ABSENT) {
        return true;
    }
    wanted.retain(|word| !FILLERS.contains(&word.as_str()));
    !wanted.is_empty() && wanted.is_subset(&named)
}

/// Draws up to `num` captions of `held_dir` with the base in `model_dir` and reads the pictures. A
/// sheet of the first hundred, truth below, and the confusion tables go to `report`.
///
/// # Errors
/// When base or pictures are unusable, the base cannot see, or the report cannot be written.
pub fn measure(
    model_dir: &Path,
    held_dir: &Path,
    num: usize,
    report: Option<&Path>,
) -> TrainResult<FollowingMeasure> {
    let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
    let model = Model::load(model_dir, &options)?;
    let encoder = DualEncoder::load(model_dir)?;
    let mut held = PictureSet::open(held_dir, model.config().picture_size as u32)?;
    let asked = read_questions(held_dir, held.len())?;
    let num = num.min(held.len());
    let (mut drawn, mut rendered) = (Vec::new(), Vec::new());
    for index in 0..num {
        rendered.push(held.picture(index)?);
    }
    let captions: Vec<String> = (0..num).map(|index| held.caption(index).to_owned()).collect();
    for (batch, captions) in captions.chunks(BATCH).enumerate() {
        let request = |(slot, caption): (usize, &String)| {
            let seed = (batch * BATCH + slot) as u64;
            let flow = FlowSampling::from_defaults(&model.config().generation, seed);
            DrawRequest::new(caption.clone(), flow)
        };
        let requests: Vec<DrawRequest> = captions.iter().enumerate().map(request).collect();
        let done = model.draw_many(&requests, &mut |_, _| ControlFlow::Continue(()))?;
        drawn.extend(done.into_iter().map(|drawing| drawing.image));
    }
    let measured = read(&encoder, &captions, &asked[..num], &drawn, &rendered)?;
    if let Some(report) = report {
        write_report(report, &measured, &drawn, &rendered)?;
    }
    Ok(measured)
}

fn read(
    encoder: &DualEncoder,
    captions: &[String],
    asked: &[Asked],
    drawn: &[RgbImage],
    rendered: &[RgbImage],
) -> TrainResult<FollowingMeasure> {
    let mut measured = FollowingMeasure { num_pictures: drawn.len(), ..Default::default() };
    if drawn.is_empty() {
        return Ok(measured);
    }
    let nearest = |pictures| nearest_statements(encoder, asked, &encoder.embed_pictures(pictures)?);
    for ((about, in_drawn), in_rendered) in
        nearest(drawn)?.into_iter().zip(nearest(rendered)?.into_values())
    {
        let values = in_drawn.values;
        let mut reading = Reading { num_values: values.len(), ..Reading::default() };
        let groups = groups_of(asked, &about);
        let num_groups = groups.values().collect::<BTreeSet<_>>().len();
        let mut grouped = Reading { num_values: num_groups, ..Reading::default() };
        for (index, asked) in asked.iter().enumerate() {
            let Some(wanted) = asked.statements.get(&about) else { continue };
            if values.len() < 2 || !asks_for(&captions[index], wanted) {
                continue;
            }
            let read = &values[in_drawn.places[index]];
            let read_rendered = &values[in_rendered.places[index]];
            reading.add(wanted, read, read_rendered);
            let group = |value: &String| groups.get(value.as_str()).copied();
            if let (Some(wanted), Some(read), Some(read_rendered)) =
                (group(wanted), group(read), group(read_rendered))
            {
                grouped.add(wanted, read, read_rendered);
            }
        }
        if grouped.drawn.asked > 0 {
            measured.attributes.insert(format!("{about}, by group"), grouped);
        }
        if reading.drawn.asked > 0 {
            measured.attributes.insert(about, reading);
        }
    }
    Ok(measured)
}

/// The group of each statement of an attribute that has groups.
fn groups_of<'a>(asked: &'a [Asked], about: &str) -> BTreeMap<&'a str, &'a str> {
    let both = |asked: &'a Asked| {
        Some((asked.statements.get(about)?.as_str(), asked.groups.get(about)?.as_str()))
    };
    asked.iter().filter_map(both).collect()
}

fn write_report(
    dir: &Path,
    measured: &FollowingMeasure,
    drawn: &[RgbImage],
    rendered: &[RgbImage],
) -> TrainResult<()> {
    let io =
        |source| TrainError::Io { what: "writing the report", source, path: dir.to_path_buf() };
    fs::create_dir_all(dir).map_err(io)?;
    fs::write(dir.join(CONFUSION_FILE), measured.to_csv()).map_err(io)?;
    let shown = drawn.len().min(SHEET);
    save_sheet(&dir.join(SHEET_FILE), &drawn[..shown], &rendered[..shown], SHEET_COLUMNS)
}

/// Saves rows of `columns` drawn pictures, the true ones below them.
pub(super) fn save_sheet(
    path: &Path,
    drawn: &[RgbImage],
    truth: &[RgbImage],
    columns: usize,
) -> TrainResult<()> {
    let side = drawn.first().map_or(0, RgbImage::width);
    let rows = drawn.len().div_ceil(columns) as u32;
    let mut sheet = RgbImage::new(columns as u32 * side, rows * 2 * side);
    for (index, (drawn, truth)) in drawn.iter().zip(truth).enumerate() {
        let x = (index % columns) as i64 * i64::from(side);
        let y = (index / columns) as i64 * 2 * i64::from(side);
        replace(&mut sheet, drawn, x, y);
        replace(&mut sheet, truth, x, y + i64::from(side));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let saved = fs::create_dir_all(folder).map_err(image::ImageError::IoError);
    saved.and_then(|()| sheet.save(path)).map_err(|e| TrainError::Malformed {
        what: "the sample sheet",
        reason: format!("it could not be written: {e}"),
        path: path.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_asks_for_what_it_names_and_for_what_is_absent() {
        let caption =
            "A person with long straight blue hair, brown skin, wearing a green top, in a garden.";
        for statement in [
            "a person with blue hair",
            "a person with long straight hair",
            "a picture in a garden",
            "a person in green clothes",
            "a person without glasses",
        ] {
            assert!(asks_for(caption, statement), "{statement}");
        }
        for statement in [
            "a person with red hair",
            "a person in red clothes",
            "a person smiling",
            "a portrait of a person",
        ] {
            assert!(!asks_for(caption, statement), "{statement}");
        }
    }

    #[test]
    fn values_alike_are_one_group() {
        let asked = |value: &str, group: Option<&str>| Asked {
            statements: [("expression".to_owned(), value.to_owned())].into(),
            groups: group
                .map(|group| ("expression".to_owned(), group.to_owned()))
                .into_iter()
                .collect(),
            ..Asked::default()
        };
        let all =
            [asked("laughing", Some("glad")), asked("smiling", Some("glad")), asked("odd", None)];
        let groups = groups_of(&all, "expression");
        assert_eq!(groups, [("laughing", "glad"), ("smiling", "glad")].into());
        assert!(groups_of(&all, "hair").is_empty());
    }

    #[test]
    fn a_report_holds_tables_and_a_sheet() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let pictures: Vec<RgbImage> =
            (0..11).map(|i| RgbImage::from_pixel(4, 4, image::Rgb([i * 20; 3]))).collect();
        let mut measured = FollowingMeasure { num_pictures: 11, ..Default::default() };
        let reading = measured.attributes.entry("hair".into()).or_default();
        reading.confusion.entry("red".into()).or_default().insert("blue".into(), 3);
        write_report(scratch.path(), &measured, &pictures, &pictures).expect("a report");
        let csv = fs::read_to_string(scratch.path().join(CONFUSION_FILE)).expect("tables");
        assert_eq!(csv, "attribute,asked,read,count\nhair,red,blue,3\n");
        let sheet = image::open(scratch.path().join(SHEET_FILE)).expect("a sheet").to_rgb8();
        assert_eq!(sheet.dimensions(), (40, 16));
        // The eleventh picture begins the second row, its truth below it.
        assert_eq!((sheet.get_pixel(0, 8)[0], sheet.get_pixel(0, 12)[0]), (200, 200));
    }
}
