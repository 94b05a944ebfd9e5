//! Stage 2: plans and runs of refining, and what is drawn in them.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use troupe_character::PicturePrompt;
use troupe_model::{adapter::AdapterConfig, config::ModelConfig};
use troupe_train::{
    events::TrainEvent,
    grpo::{
        alarm::Trials,
        judges::Places,
        plan::{GrpoPlan, plan},
        profile::{GrpoProfile, PROFILES},
        prompts,
        trainer::GrpoJob,
    },
};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    now_ms,
    room::Needs,
    training::{Job, RunFile, file_name, write_run},
    wire::{
        EpochItem, GroupItem, GroupPicture, NamedValue, PromptItem, RefineDetail, RefinePlan,
        RemarkItem, RunSummary, StartRefining, TrialItem,
    },
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
            .because(ErrorCause::NotTaught)
            .with("name", &character.name)
        })
    }

    /// What refining a character would do.
    ///
    /// # Errors
    /// When the character does not exist or the base is unusable.
    pub fn grpo_plan(&self, wanted: &str, profile: &GrpoProfile) -> ApiResult<GrpoPlan> {
        let character = self.library().load(wanted)?;
        let judges_dir = self.judges_dir();
        let places = Places { model_dir: self.model_dir(), judges_dir: Some(&judges_dir) };
        Ok(plan(places, &character, profile, self.trial_speed())?)
    }

    /// What a run of stage 2 with these numbers needs.
    pub(crate) fn grpo_needs(&self, wanted: &str, profile: &GrpoProfile) -> ApiResult<Needs> {
        Ok(needs_of(&self.grpo_plan(wanted, profile)?))
    }

    /// Refuses a run of stage 2 for which this machine has not enough memory or disk.
    ///
    /// # Errors
    /// When it cannot fit, the character does not exist or the base is unusable.
    pub fn require_room_to_refine(&self, wanted: &str, profile: &GrpoProfile) -> ApiResult<()> {
        self.refuse_what_cannot_fit(self.grpo_needs(wanted, profile)?)
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
            judges_dir: Some(self.judges_dir()),
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

    /// The profile that a request names, an earlier run's before one of [`PROFILES`].
    fn wanted_profile(&self, request: &StartRefining) -> ApiResult<GrpoProfile> {
        match &request.from_run {
            Some(id) => self.profile_of_run(id),
            None => self.known_profile(request.profile.as_deref()),
        }
    }

    /// The profile of the numbers in a request, or the one that it names.
    fn changed_profile(&self, request: &StartRefining) -> ApiResult<GrpoProfile> {
        match &request.numbers {
            Some(numbers) => numbers.profile(),
            None => self.wanted_profile(request),
        }
    }

    /// A profile of [`PROFILES`], the base's when none is named. Files are for the command line.
    fn known_profile(&self, name: Option<&str>) -> ApiResult<GrpoProfile> {
        if let Some(name) = name.filter(|name| PROFILES.iter().all(|(known, _)| known != name)) {
            let message = format!("there is no profile {name}");
            return Err(ApiError::new(ErrorCode::BadRequest, message, "Choose one of the list."));
        }
        self.grpo_profile(name, &[])
    }

    /// What a request to refine would take, and whether it can be met.
    ///
    /// # Errors
    /// When the character, the profile or the run does not exist, or numbers make no sense together.
    pub fn refine_plan(&self, request: &StartRefining) -> ApiResult<RefinePlan> {
        let wanted = &request.character_id;
        let usual = self.wanted_profile(request)?;
        let profile = self.changed_profile(request)?;
        let is_taught = self.stage1_adapter(wanted).is_ok();
        let (found, problem) = match self.grpo_plan(wanted, &profile) {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(error)),
        };
        let needs = found.as_ref().map(needs_of).unwrap_or_default();
        let count = |of: fn(&GrpoPlan) -> usize| found.as_ref().map_or(0, of) as u32;
        let amount = |of: fn(&GrpoPlan) -> f64| found.as_ref().map_or(0., of);
        Ok(RefinePlan {
            is_taught,
            problem,
            profiles: PROFILES.iter().map(|(name, _)| (*name).to_owned()).collect(),
            profile: self.profile_name(&usual)?,
            numbers: (&profile).into(),
            defaults: (&usual).into(),
            num_prompts: count(|plan| plan.num_prompts),
            num_held_out: count(|plan| plan.num_held_out),
            is_drafted: found.as_ref().is_some_and(|plan| plan.is_drafted),
            images_per_epoch: count(|plan| plan.images_per_epoch),
            minutes: amount(|plan| plan.guessed_minutes),
            memory_mb: needs.memory_mb(),
            findings: self.room_findings(needs),
            stand_ins: found.iter().flat_map(|plan| &plan.stand_ins).map(Into::into).collect(),
        })
    }

    /// The name of a profile; empty for one that has none.
    fn profile_name(&self, profile: &GrpoProfile) -> ApiResult<String> {
        for (known, _) in PROFILES {
            if self.grpo_profile(Some(known), &[])? == *profile {
                return Ok(known.to_owned());
            }
        }
        Ok(String::new())
    }

    /// Starts refining in a process of its own, by the same queue as teaching.
    ///
    /// # Errors
    /// When another run is on and it shall not wait, the character has not been taught, a number is
    /// out of range, or the process cannot be started.
    pub fn start_refining(&self, request: &StartRefining) -> ApiResult<RunSummary> {
        let profile = self.changed_profile(request)?;
        self.stage1_adapter(&request.character_id)?;
        let needs = self.grpo_needs(&request.character_id, &profile)?;
        let create =
            || self.create_grpo_run(&request.character_id, request.seed.unwrap_or(1), profile);
        self.start_or_queue(request.queue, needs, create)
    }

    /// The prompts that refining draws, with their questions: the character's own, and drafts where
    /// those are too few.
    ///
    /// # Errors
    /// When the character does not exist.
    pub fn refine_prompts(&self, wanted: &str) -> ApiResult<Vec<PromptItem>> {
        let character = self.library().load(wanted)?;
        let own = character.prompts.iter().map(|prompt| PromptItem::of(prompt, false));
        let drafts = prompts::drafts_needed(&character);
        Ok(own.chain(drafts.iter().map(|prompt| PromptItem::of(prompt, true))).collect())
    }

    /// Saves prompts as the character's own, drafts among them too. A bundled character is copied
    /// first; the answer names whose prompts they are now.
    ///
    /// # Errors
    /// When a prompt is empty, or the character does not exist or cannot be written.
    pub fn save_prompts(&self, wanted: &str, items: Vec<PromptItem>) -> ApiResult<String> {
        let mut character = self.library().editable(wanted)?;
        let old = std::mem::take(&mut character.prompts);
        let mut old: HashMap<String, PicturePrompt> =
            old.into_iter().map(|prompt| (prompt.id.clone(), prompt)).collect();
        for item in items {
            let id = item.id.clone();
            let mut prompt = item.over(old.remove(&id))?;
            let is_new = id.is_empty() || character.prompts.iter().any(|known| known.id == id);
            prompt.id = if is_new { uuid::Uuid::now_v7().simple().to_string() } else { id };
            character.prompts.push(prompt);
        }
        self.save_character(&character)?;
        Ok(character.id)
    }
}

fn needs_of(plan: &GrpoPlan) -> Needs {
    Needs::new(plan.memory_bytes, plan.disk_bytes)
}

/// What a run's events have to show. Rounds done again after a crash replace their first try.
pub(crate) fn detail(profile: &GrpoProfile, events: &[TrainEvent]) -> RefineDetail {
    let mut trials = Trials::default();
    let mut shown = RefineDetail {
        numbers: profile.into(),
        epochs: Vec::new(),
        trials: Vec::new(),
        groups: Vec::new(),
        kept: None,
        alarm: None,
        notes: Vec::new(),
    };
    for event in events {
        match event {
            TrainEvent::Epoch(done) => {
                let item = EpochItem::from((**done).clone());
                shown.epochs.retain(|known| known.epoch < item.epoch);
                shown.epochs.push(item);
            }
            TrainEvent::Trial(trial) => trials.add((**trial).clone()),
            TrainEvent::Group { epoch, prompt, file, rewards, components } => {
                let (epoch, file) = (*epoch as u32, file_name(file).unwrap_or_default());
                let pictures = pictures(rewards, components);
                shown.groups.retain(|known| known.epoch < epoch);
                shown.groups.push(GroupItem { epoch, prompt: prompt.clone(), file, pictures });
            }
            TrainEvent::Alarm { why, .. } => shown.alarm = Some(why.into()),
            TrainEvent::Note(remark) => {
                let item = RemarkItem::from(remark);
                if !shown.notes.contains(&item) {
                    shown.notes.push(item);
                }
            }
            _ => {}
        }
    }
    shown.kept = trials.best(&profile.watch).map(|epoch| epoch as u32);
    shown.trials = trials.all().iter().map(TrialItem::from).collect();
    shown
}

fn pictures(rewards: &[f64], components: &BTreeMap<String, Vec<f64>>) -> Vec<GroupPicture> {
    let of = |slot: usize| {
        let named = |(name, values): (&String, &Vec<f64>)| {
            let value = *values.get(slot)?;
            Some(NamedValue { name: name.clone(), value, spread: None })
        };
        components.iter().filter_map(named).collect()
    };
    let picture =
        |(slot, reward): (usize, &f64)| GroupPicture { reward: *reward, components: of(slot) };
    rewards.iter().enumerate().map(picture).collect()
}

impl RefineDetail {
    /// All measures as comma-separated values, one a line. The spread of a trial's reward is its
    /// standard error, all others are standard deviations over pictures.
    pub(crate) fn to_csv(&self) -> String {
        let mut lines = vec!["set,epoch,measure,value,spread".to_owned()];
        for epoch in &self.epochs {
            let mut add = |name: &str, value: f64, spread: Option<f64>| {
                lines.push(line("learned", epoch.epoch, name, value, spread));
            };
            add("reward", epoch.reward, Some(epoch.spread));
            epoch.components.iter().for_each(|c| add(&c.name, c.value, c.spread));
            add("kl", epoch.kl, None);
            if let Some(kl) = epoch.reference_kl {
                add("kl to stage 1", kl, None);
            }
            add("clipped", epoch.clipped, None);
            add("too close", epoch.too_close, None);
            add("too far", epoch.too_far, None);
            add("gradient norm", epoch.grad_norm, None);
        }
        for trial in &self.trials {
            let mut add = |name: &str, value: f64, spread: Option<f64>| {
                lines.push(line("held_out", trial.epoch, name, value, spread));
            };
            add("reward", trial.reward, Some(trial.error));
            trial.components.iter().for_each(|c| add(&c.name, c.value, None));
            trial.independent.iter().for_each(|c| add(&c.name, c.value, None));
            add("diversity of trials", trial.diversity, None);
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn line(set: &str, epoch: u32, name: &str, value: f64, spread: Option<f64>) -> String {
    let spread = spread.map_or(String::new(), |spread| spread.to_string());
    format!("{set},{epoch},{name},{value},{spread}")
}
