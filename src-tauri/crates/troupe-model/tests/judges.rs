//! Networks that others trained, beside what transformers computes with the same tiny weights
//! (`tests/reference/judges.py`).

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use image::{Rgb, RgbImage};
use serde_json::Value;
use troupe_model::{
    blip::Blip,
    clip::Clip,
    error::ModelError,
    foreign::{self, BLIP, CLIP},
    scorer::Embedder,
};

const TOLERANCE: f64 = 1e-5;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/judges")
}

fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(golden().join("expected.json")).unwrap()).unwrap()
}

fn picture(index: u32) -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| {
        Rgb([0, 1, 2].map(|c| ((7 * x + 11 * y + 40 * c + 60 * index) % 256) as u8))
    })
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn assert_rows(found: &Tensor, want: &Value) {
    let found = found.to_vec2::<f32>().unwrap();
    assert_eq!(found.len(), want.as_array().unwrap().len());
    for (row, want) in found.iter().zip(want.as_array().unwrap()) {
        let want = numbers(want);
        assert_eq!(row.len(), want.len());
        let worst =
            row.iter().zip(&want).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0., f64::max);
        assert!(worst < TOLERANCE, "{worst}: {row:?} for {want:?}");
    }
}

/// A copy of a golden folder that a test may damage.
fn copied(name: &str) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join(name);
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(golden().join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    scratch
}

#[test]
fn clip_gives_the_vectors_of_transformers() {
    let want = &expected()["clip"];
    let clip = Clip::load(&golden().join(CLIP)).unwrap();
    // The third text is longer than the network reads.
    assert_rows(&clip.embed_texts(&texts(&want["texts"])).unwrap(), &want["textVectors"]);
    assert_rows(&clip.embed_pictures(&[picture(0), picture(1)]).unwrap(), &want["pictureVectors"]);
}

#[test]
fn blip_answers_as_transformers_does() {
    let want = &expected()["blip"];
    let blip = Blip::load(&golden().join(BLIP)).unwrap();
    let seen = blip.look(&picture(0)).unwrap();
    let questions = texts(&want["questions"]);
    for (question, want) in questions.iter().zip(want["yesNo"].as_array().unwrap()) {
        let (yes, no) = blip.yes_no(&seen, question).unwrap();
        let want = numbers(want);
        assert!((yes - want[0]).abs() < TOLERANCE && (no - want[1]).abs() < TOLERANCE);
    }
    for (question, want) in questions.iter().zip(texts(&want["answers"])) {
        assert_eq!(blip.answer(&seen, question).unwrap(), want);
    }
}

#[test]
fn a_folder_counts_when_it_is_complete_and_says_what_is_wrong() {
    let scratch = copied(CLIP);
    let folder = scratch.path().join(CLIP);
    assert_eq!(foreign::find(CLIP, [Path::new("/nowhere"), scratch.path()]), Some(folder.clone()));
    let cost = foreign::cost(&folder).unwrap();
    let size = fs::metadata(folder.join("model.safetensors")).unwrap().len() as f64;
    assert!(cost.bytes > 0.7 * size && cost.bytes <= size, "{cost:?} of {size}");

    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    fs::write(folder.join("config.json"), config.replace("quick_gelu", "gelu")).unwrap();
    let error = Clip::load(&folder).unwrap_err().to_string();
    assert!(error.contains("quick_gelu") && error.contains("clip-vit-large-patch14"), "{error}");
    fs::write(folder.join("config.json"), config.replace(": 24", ": 48")).unwrap();
    assert!(matches!(Clip::load(&folder), Err(ModelError::Weights(_))));
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert_eq!(foreign::find(CLIP, [scratch.path()]), None);
}
