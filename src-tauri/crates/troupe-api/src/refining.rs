//! Stage 2: plans and runs of refining.

use std::path::PathBuf;

use troupe_model::{adapter::AdapterConfig, config::ModelConfig};
use troupe_train::grpo::{
    plan::{GrpoPlan, plan},
    profile::GrpoProfile,
    trainer::GrpoJob,
};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCode},
    now_ms,
    training::{Job, RunFile, write_run},
};

impl Studio {
    /// The profile for the present base, or one by name or file, with single numbers changed.
    ///
    /// # Errors
    /// When the base, the profile or the file is unusable, or a number is unknown or out of range.
    pub fn grpo_profile(
        &self,
        name_or_file: Option<&str>,
        assignments: &[String],
    ) -> ApiResult<GrpoProfile> {
        let mut profile = match name_or_file {
            Some(name) => GrpoProfile::find(name)?,
            None => GrpoProfile::for_base(&ModelConfig::from_dir(self.model_dir())?)?,
        };
        for assignment in assignments {
            profile = profile.set(assignment)?;
        }
        Ok(profile)
    }

    /// The newest adapter of stage 1 that a character has.
    ///
    /// # Errors
    /// When it has none.
    pub fn stage1_adapter(&self, wanted: &str) -> ApiResult<PathBuf> {
        let character = self.library().load(wanted)?;
        let entries = std::fs::read_dir(character.dir.join("adapters"));
        // Names are times: the last is the newest.
        let mut dirs: Vec<PathBuf> =
            entries.into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
        dirs.sort_unstable();
        let is_stage1 = |dir: &PathBuf| {
            let text = std::fs::read_to_string(dir.join(troupe_model::adapter::ADAPTER_CONFIG));
            text.ok()
                .and_then(|text| serde_json::from_str::<AdapterConfig>(&text).ok())
                .is_some_and(|config| config.stage == "sft")
        };
        dirs.into_iter().rev().find(is_stage1).ok_or_else(|| {
            ApiError::new(
                ErrorCode::BadRequest,
                format!("{} has not been taught yet: there is nothing to refine", character.name),
                "Teach the character first (stage 1).",
            )
        })
    }

    /// What refining a character would do.
    ///
    /// # Errors
    /// When the character does not exist or the base is unusable.
    pub fn grpo_plan(&self, wanted: &str, profile: &GrpoProfile) -> ApiResult<GrpoPlan> {
        let character = self.library().load(wanted)?;
        Ok(plan(self.model_dir(), &character, profile)?)
    }

    /// Creates a run of stage 2 without starting it.
    ///
    /// # Errors
    /// When the character does not exist, has not been taught, or the run cannot be written.
    pub fn create_grpo_run(
        &self,
        wanted: &str,
        seed: u32,
        profile: GrpoProfile,
    ) -> ApiResult<PathBuf> {
        let character = self.library().editable(wanted)?;
        let adapter_dir = self.stage1_adapter(&character.id)?;
        let dir = self.runs_dir().join(uuid::Uuid::now_v7().to_string());
        let model_dir =
            std::path::absolute(self.model_dir()).unwrap_or_else(|_| self.model_dir().into());
        let job = GrpoJob {
            model_dir,
            character_dir: character.dir.clone(),
            adapter_dir,
            run_dir: dir.clone(),
            seed: u64::from(seed),
            profile,
        };
        let file = RunFile {
            kind: "grpo".into(),
            character_id: character.id.clone(),
            character_name: character.name.clone(),
            created_ms: now_ms(),
            job: Job::Grpo(Box::new(job)),
        };
        write_run(&dir, &file)?;
        Ok(dir)
    }
}
