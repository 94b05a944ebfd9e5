//! Pictures unlike the base's own are learned faster, also by a run that was paused.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{Device, Tensor, safetensors};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use troupe_character::{Character, Draft};
use troupe_testkit::write_tiny_model;
use troupe_train::{
    error::TrainResult,
    events::{Control, TrainEvent},
    recipe::SftRecipe,
    rehearsal::FOLDER,
    sft::{self, ADAPTER, SftJob},
};

const SIDE: u32 = 32;
const GREY: [u8; 3] = [128, 128, 128];
const WHITE: [u8; 3] = [255, 255, 255];

fn flat(colour: [u8; 3], side: u32) -> RgbImage {
    RgbImage::from_pixel(side, side, Rgb(colour))
}

/// Fills what a fresh base has as zeros, so that its drawing learns from the first step.
fn fill_zeros(file: &Path) -> candle_core::Result<()> {
    let mut tensors = safetensors::load(file, &Device::Cpu)?;
    for tensor in tensors.values_mut() {
        if tensor.abs()?.sum_all()?.to_scalar::<f32>()? == 0. {
            let values = Tensor::arange(0f32, tensor.elem_count() as f32, &Device::Cpu)?;
            *tensor = (values.sin()? * 0.1)?.reshape(tensor.shape())?;
        }
    }
    safetensors::save(&tensors, file)
}

/// A base whose own pictures are grey, and a character of pictures in `colour`.
fn write_material(dir: &Path, colour: [u8; 3]) -> TrainResult<()> {
    write_tiny_model(&dir.join("model"));
    fill_zeros(&dir.join("model").join("model.safetensors"))?;
    let folder = dir.join("model").join(FOLDER);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("captions.jsonl"), "{\"caption\":\"Grey\"}\n").expect("captions");
    flat(GREY, SIDE).save(folder.join("sheet.png")).expect("a sheet");
    let draft = Draft { name: "Pip".into(), ..Draft::default() };
    let mut character = Character::new(draft, dir.join("pip"))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(flat(colour, 64));
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    character.add_picture(&bytes.into_inner(), "flat")?;
    for picture in &mut character.pictures {
        picture.caption = "Pip, close".into();
    }
    Ok(character.save()?)
}

/// Values by the tensor's name.
type Weights = BTreeMap<String, Vec<f32>>;

/// What is learned of pictures in `colour`, after a pause at `pause_at`.
fn learned(colour: [u8; 3], unlike_rate: f64, pause_at: Option<usize>) -> TrainResult<Weights> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    write_material(scratch.path(), colour)?;
    let recipe = SftRecipe {
        num_steps: 4,
        pictures: 2,
        rehearsal: 1,
        condition_refresh: 2,
        sample_every: 0,
        ..SftRecipe::default()
    };
    let job = SftJob {
        model_dir: scratch.path().join("model"),
        character_dir: scratch.path().join("pip"),
        run_dir: scratch.path().join("run"),
        seed: 1,
        recipe: recipe.set("mode=lora")?.set(&format!("lora.unlike_rate={unlike_rate}"))?,
    };
    fs::create_dir_all(&job.run_dir).expect("a folder");
    if pause_at.is_some() {
        sft::run(&job, &mut |event| match event {
            TrainEvent::Step { step, .. } if Some(step) == pause_at => Control::Pause,
            _ => Control::Continue,
        })?;
    }
    sft::run(&job, &mut |_| Control::Continue)?;
    let file = job.run_dir.join(ADAPTER).join("adapter_model.safetensors");
    let values =
        |(name, tensor): (String, Tensor)| Ok((name, tensor.flatten_all()?.to_vec1::<f32>()?));
    safetensors::load(file, &Device::Cpu)?.into_iter().map(values).collect()
}

#[test]
fn pictures_unlike_the_bases_own_are_learned_faster() -> TrainResult<()> {
    assert!(learned(WHITE, 3., None)? != learned(WHITE, 1., None)?, "white is unlike grey");
    assert!(learned(GREY, 3., None)? == learned(GREY, 1., None)?, "grey is like grey");
    Ok(())
}

#[test]
fn a_run_that_goes_on_learns_as_fast() -> TrainResult<()> {
    assert!(learned(WHITE, 3., Some(2))? == learned(WHITE, 3., None)?);
    Ok(())
}
