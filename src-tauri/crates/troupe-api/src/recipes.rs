//! Recipes of runs: presets, files, single numbers, and those of earlier runs.

use troupe_jobs::RunFolder;
use troupe_model::config::ModelConfig;
use troupe_train::{
    plan::{SftPlan, plan},
    recipe::SftRecipe,
};

use crate::{Studio, error::ApiResult, training::recipe_of};

impl Studio {
    /// The recipe for the present base, or a preset or file by name, with single numbers changed.
    ///
    /// # Errors
    /// When the base, the preset or the file is unusable, or a number is unknown or out of range.
    pub fn recipe(
        &self,
        name_or_file: Option<&str>,
        assignments: &[String],
        num_steps: Option<u32>,
    ) -> ApiResult<SftRecipe> {
        let mut recipe = match name_or_file {
            Some(name) => SftRecipe::find(name)?,
            None => SftRecipe::for_base(&ModelConfig::from_dir(self.model_dir())?)?,
        };
        for assignment in assignments {
            recipe = recipe.set(assignment)?;
        }
        if let Some(steps) = num_steps {
            recipe = recipe.set(&format!("num_steps={steps}"))?;
        }
        Ok(recipe)
    }

    /// The recipe of an earlier run.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn recipe_of_run(&self, id: &str) -> ApiResult<SftRecipe> {
        recipe_of(&RunFolder::open(&self.run_dir(id)?)?)
    }

    /// What a run on a character would do, sample by sample.
    ///
    /// # Errors
    /// When the character does not exist or the base is unusable.
    pub fn sft_plan(&self, wanted: &str, recipe: &SftRecipe, seed: u32) -> ApiResult<SftPlan> {
        let character = self.library().load(wanted)?;
        Ok(plan(self.model_dir(), &character, recipe, u64::from(seed), self.trial_speed())?)
    }
}
