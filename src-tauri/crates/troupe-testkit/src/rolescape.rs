//! A small data set folder in the layout of RoleScape-20, about an invented snail.

use std::{fs, path::Path};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

/// Pictures and scenes of the data set.
const NUM_SCENES: usize = 10;

/// A picture that differs for every `number`: a dot on a green ground, `size` pixels a side.
pub fn dot_picture(number: u32, size: u32) -> RgbImage {
    let centre = (size / 4 + number * size / 24, size / 2);
    let radius = size / 5;
    RgbImage::from_fn(size, size, |x, y| {
        let away = x.abs_diff(centre.0).pow(2) + y.abs_diff(centre.1).pow(2);
        if away < radius.pow(2) { Rgb([200, 120, 60]) } else { Rgb([60, 140, 70]) }
    })
}

/// Writes the data set of one character called `name` into `root`.
pub fn write_rolescape(root: &Path, name: &str) {
    let train = root.join(format!("data/personalized_data/train/Garden-{name}"));
    fs::create_dir_all(&train).unwrap();
    for number in 0..NUM_SCENES as u32 {
        let file = train.join(format!("{number}.png"));
        dot_picture(number, 64).save_with_format(file, ImageFormat::Png).unwrap();
    }
    let head = |payload: &str, items: Vec<Value>| {
        json!({
            "description": format!("{name} is a slow snail with a fast tongue."),
            "opening": "",
            payload: items
        })
    };
    let plain = |i: usize| {
        json!([
            {"role": "user", "text": format!("Where are you off to on day {i}?")},
            {"role": "machine", "text": format!("To leaf {i}, at once and slowly."),
             "image": i.to_string()}
        ])
    };
    let full = |i: usize| {
        let mut scene = plain(i);
        scene[1]["thinking_process"] = format!("I see leaf {i} ahead.").into();
        scene[1]["generation_instruction"] = format!("{name} the snail on leaf {i}").into();
        scene
    };
    let instruction =
        |i: usize| json!({"image_id": i.to_string(), "t2i_instruction": format!("{name} {i}")});
    let write = |file: String, value: Value| {
        fs::write(train.join(file), serde_json::to_string_pretty(&value).unwrap()).unwrap();
    };
    write("annotation.json".into(), head("scenes", (0..NUM_SCENES).map(plain).collect()));
    let scenes = (0..NUM_SCENES).map(full).collect();
    write(format!("{name}_with_image.json"), head("scenes", scenes));
    let instructions = (0..NUM_SCENES).map(instruction).collect();
    write(format!("{name}_t2i_instruction.json"), head("t2i_instructions", instructions));
}
