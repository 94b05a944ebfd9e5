//! Folders of networks that others trained, as Hugging Face keeps them.
//!
//! [`CLIP`] and [`BLIP`] are looked for in a base's folder and in a folder of the person's own; a base or
//! a person who has them gets judges that nothing here was trained by.

use std::path::{Path, PathBuf};

use candle_core::{Device, Result, Tensor};
use image::RgbImage;
use serde::{Deserialize, de::DeserializeOwned};
use tokenizers::Tokenizer;

use crate::{
    error::{ModelError, ModelResult},
    weights::hash_files,
};

/// Folder of [`Clip`](crate::clip::Clip).
pub const CLIP: &str = "clip";
/// Folder of [`Blip`](crate::blip::Blip).
pub const BLIP: &str = "blip-vqa";

/// Files by which a folder is known to be one, and which make its hash.
const FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// A folder, and what it is called in errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folder<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) what: &'static str,
}

impl Folder<'_> {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn malformed(&self, reason: &str) -> ModelError {
        ModelError::Malformed {
            what: self.what,
            reason: reason.into(),
            path: self.dir.to_path_buf(),
        }
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> ModelResult<T> {
        let path = self.file(name);
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Io {
            what: self.what,
            source,
            path: path.clone(),
        })?;
        serde_json::from_str(&text).map_err(|e| self.malformed(&format!("{name}: {e}")))
    }

    pub(crate) fn tokenizer(&self) -> ModelResult<Tokenizer> {
        let path = self.file("tokenizer.json");
        let mut tokenizer = Tokenizer::from_file(&path)
            .map_err(|e| self.malformed(&format!("tokenizer.json: {e}")))?;
        // Texts go in one at a time, and are cut off where the network ends.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| self.malformed(&format!("tokenizer.json: {e}")))?;
        Ok(tokenizer)
    }

    /// Refuses sizes of which the first is no multiple of the second.
    pub(crate) fn require_multiples(&self, sizes: &[(usize, usize)]) -> ModelResult<()> {
        if sizes.iter().any(|(whole, part)| *part == 0 || whole % part != 0) {
            return Err(self.malformed("sizes in config.json do not divide each other"));
        }
        Ok(())
    }

    pub(crate) fn token(&self, tokenizer: &Tokenizer, token: &str) -> ModelResult<u32> {
        let id = tokenizer.token_to_id(token);
        id.ok_or_else(|| self.malformed(&format!("tokenizer.json has no token `{token}`")))
    }

    /// What `preprocessor_config.json` says, or CLIP's numbers.
    pub(crate) fn pixels(&self) -> ModelResult<Pixels> {
        const NAME: &str = "preprocessor_config.json";
        if self.file(NAME).exists() { self.json(NAME) } else { Ok(Pixels::default()) }
    }

    pub(crate) fn hash(&self) -> ModelResult<String> {
        hash_files(&FILES.map(|name| self.file(name)))
    }
}

/// Tokens of a text, with those that begin and end it.
pub(crate) fn tokens(tokenizer: &Tokenizer, text: &str) -> ModelResult<Vec<u32>> {
    let encoding = tokenizer.encode(text, true);
    let encoding =
        encoding.map_err(|e| ModelError::Request(format!("the text cannot be tokenised: {e}")))?;
    Ok(encoding.get_ids().to_vec())
}

/// The first folder `name` in one of `places` that holds all the files of such a network.
pub fn find<'a>(name: &str, places: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    let is_complete = |dir: &PathBuf| FILES.iter().all(|file| dir.join(file).is_file());
    places.into_iter().map(|place| place.join(name)).find(is_complete)
}

/// What a network costs beside the one that learns.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Bytes of its weights in f32.
    pub bytes: f64,
    /// Operations of looking at a picture: two per weight of the tower and patch.
    pub per_picture: f64,
}

/// What the network of a folder costs, from its files' sizes and its configuration.
///
/// # Errors
/// When the folder is unusable.
pub fn cost(dir: &Path) -> ModelResult<Cost> {
    #[derive(Deserialize)]
    #[serde(default)]
    struct Tower {
        hidden_size: f64,
        intermediate_size: f64,
        num_hidden_layers: f64,
        image_size: f64,
        patch_size: f64,
    }
    impl Default for Tower {
        fn default() -> Self {
            Self {
                hidden_size: 768.,
                intermediate_size: 3072.,
                num_hidden_layers: 12.,
                image_size: 224.,
                patch_size: 32.,
            }
        }
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Config {
        vision_config: Tower,
    }
    let folder = Folder { dir, what: "a judge's folder" };
    let Config { vision_config: tower } = folder.json("config.json")?;
    let weights = crate::weights::Weights::new().file(&folder.file("model.safetensors"))?;
    let shapes = weights.shapes();
    let numbers: usize = shapes.values().map(|(shape, _)| shape.iter().product::<usize>()).sum();
    let (width, patches) =
        (tower.hidden_size, (tower.image_size / tower.patch_size.max(1.)).powi(2));
    let layer = width * (4. * width + 2. * tower.intermediate_size);
    Ok(Cost {
        bytes: 4. * numbers as f64,
        per_picture: 2. * layer * tower.num_hidden_layers * (patches + 1.),
    })
}

/// How colours become numbers.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct Pixels {
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

impl Default for Pixels {
    fn default() -> Self {
        Self {
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

impl Pixels {
    /// A picture as (3, height, width): shares of full colour, minus the mean, over the deviation.
    pub(crate) fn of(&self, picture: &RgbImage) -> Result<Tensor> {
        let values: Vec<f32> = picture
            .as_raw()
            .chunks_exact(3)
            .flat_map(|pixel| {
                (0..3)
                    .map(|c| (f32::from(pixel[c]) / 255. - self.image_mean[c]) / self.image_std[c])
            })
            .collect();
        let shape = (picture.height() as usize, picture.width() as usize, 3);
        Tensor::from_vec(values, shape, &Device::Cpu)?.permute((2, 0, 1))?.contiguous()
    }
}
