//! The adapters that runs leave behind.
//!
//! A run writes its adapter when it ends; that of one that stands still is made from a checkpoint.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor};
use troupe_character::Character;
use troupe_model::adapter::{Adapter, AdapterConfig};
use troupe_nn::linear::Lora;

use crate::{
    error::TrainResult,
    grpo::{policy::Student, trainer::GrpoJob},
    sft::{ADAPTER, SftJob},
};

/// What a run learns from. Taken when it begins: pictures may be removed while it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// Display name of the character.
    pub character: String,
    /// [`Character::data_hash`].
    pub hash: String,
}

impl Material {
    /// That of a character as it is now.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub fn of(character: &Character) -> TrainResult<Self> {
        Ok(Self { character: character.name.clone(), hash: character.data_hash()? })
    }
}

/// Writes the adapter of a stage-1 run. `learned` holds all that was trained by its name: low-rank
/// updates as `<module>.lora_A` and `<module>.lora_B`, everything else as the checkpoint names it.
///
/// # Errors
/// When the adapter cannot be written.
pub fn save_sft(
    job: &SftJob,
    learned: &HashMap<String, Tensor>,
    base_hash: &str,
    material: &Material,
    step: usize,
) -> TrainResult<()> {
    let recipe = &job.recipe;
    let scale = recipe.lora.alpha / recipe.lora.rank.max(1) as f64;
    let (mut loras, mut weights) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in learned {
        if let Some(module) = name.strip_suffix(".lora_A") {
            if let Some(b) = learned.get(&format!("{module}.lora_B")) {
                let lora = Lora { a: tensor.clone(), b: b.clone(), scale };
                loras.insert(module.to_owned(), lora);
            }
        } else if !name.ends_with(".lora_B") {
            weights.insert(name.clone(), tensor.clone());
        }
    }
    let config = AdapterConfig {
        peft_type: "LORA".into(),
        r: recipe.lora.rank,
        lora_alpha: recipe.lora.alpha,
        target_modules: loras.keys().cloned().collect(),
        base_hash: base_hash.into(),
        stage: "sft".into(),
        data_hash: material.hash.clone(),
        character: material.character.clone(),
        step,
        settings: serde_json::json!({ "seed": job.seed, "recipe": recipe }),
        ..AdapterConfig::default()
    };
    Adapter::save(&job.run_dir.join(ADAPTER), &config, &loras, &weights, DType::F16)?;
    Ok(())
}

/// Writes the adapter of a stage-2 run: what `student` is now, of that `epoch`. `stage1` is the hash of
/// the adapter that it began with.
///
/// # Errors
/// Like [`save_sft`].
pub fn save_grpo(
    job: &GrpoJob,
    student: &Student,
    stage1: &str,
    material: &Material,
    epoch: usize,
) -> TrainResult<()> {
    let config = AdapterConfig {
        peft_type: "LORA".into(),
        stage: "grpo".into(),
        data_hash: material.hash.clone(),
        character: material.character.clone(),
        step: epoch,
        settings: serde_json::json!({
            "seed": job.seed, "profile": job.profile, "stage1": stage1
        }),
        ..AdapterConfig::default()
    };
    student.save(&job.run_dir.join(ADAPTER), config)
}
