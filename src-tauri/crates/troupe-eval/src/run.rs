//! A run: characters × stages × tasks, in a folder that can be resumed.
//!
//! | file | content |
//! |---|---|
//! | `run.json` | what was measured, with what: hashes, settings, features |
//! | `records.jsonl` | one line a measured item |
//! | `pictures/<stage>/<character>/` | every picture that was drawn |
//! | `report.html`, `results.json`, `results.csv` | made from the above, at any time again |

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use troupe_character::{Character, Split, pictures::load_rgb};
use troupe_model::{
    adapter::{ADAPTER_CONFIG, AdapterConfig, adapter_file},
    config::ModelConfig,
    image_ops::fit_square,
    runtime::{LoadOptions, Model, ModelFiles},
    weights::hash_files,
};

use crate::{
    error::{EvalError, EvalResult},
    features::{FeatureInfo, Features},
    judge::Judge,
    pictures::centroid,
    records::RecordLog,
    tasks::{Bench, Flow, file_name},
};

/// File that says what a run measures.
pub const RUN_FILE: &str = "run.json";
/// Folder of the drawn pictures.
pub const PICTURES_FOLDER: &str = "pictures";
/// Name of the protocol.
pub const SUITE: &str = "rolescape";
/// Version of the protocol: numbers of different versions are not mixed.
const VERSION: u32 = 2;

/// How much of the material is measured. Seeds and prompts are the same in every stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name shown in the report.
    pub name: String,
    /// Multiple-choice items about the character.
    pub num_knowledge: usize,
    /// Multiple-choice items about pictures.
    pub num_picture_choices: usize,
    /// Test replies whose likelihood is measured.
    pub num_replies: usize,
    /// Test replies that are identified among the characters.
    pub num_identified: usize,
    /// Test replies that are sampled and shown.
    pub num_sampled: usize,
    /// Captions of held-out pictures that are drawn.
    pub num_captions: usize,
    /// Held-out picture prompts that are drawn.
    pub num_prompts: usize,
    /// Seeds a drawn prompt.
    pub num_seeds: usize,
    /// Test scenes that are answered and drawn.
    pub num_scenes: usize,
    /// Seeds a scene.
    pub num_scene_seeds: usize,
    /// Most tokens of a sampled reply.
    pub max_reply_tokens: usize,
    /// Open prompts a kind that a judge reads.
    pub num_judged: usize,
}

impl Settings {
    /// Everything.
    pub fn full() -> Self {
        Self {
            name: "full".into(),
            num_knowledge: usize::MAX >> 32,
            num_picture_choices: usize::MAX >> 32,
            num_replies: usize::MAX >> 32,
            num_identified: usize::MAX >> 32,
            num_sampled: 10,
            num_captions: usize::MAX >> 32,
            num_prompts: 8,
            num_seeds: 4,
            num_scenes: usize::MAX >> 32,
            num_scene_seeds: 3,
            max_reply_tokens: 200,
            num_judged: usize::MAX >> 32,
        }
    }

    /// Enough to see a direction within minutes on two processor cores.
    pub fn quick() -> Self {
        Self {
            name: "quick".into(),
            num_knowledge: 10,
            num_picture_choices: 8,
            num_replies: 20,
            num_identified: 6,
            num_sampled: 3,
            num_captions: 3,
            num_prompts: 2,
            num_seeds: 2,
            num_scenes: 3,
            num_scene_seeds: 1,
            max_reply_tokens: 80,
            num_judged: 4,
        }
    }
}

/// A character to measure, with what was learned for it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The character.
    pub character: Character,
    /// Adapter folder by stage (`sft`, `grpo`).
    pub adapters: BTreeMap<String, PathBuf>,
}

impl Subject {
    /// A character with the newest adapter of each stage in its `adapters` folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(character: Character) -> EvalResult<Self> {
        let folder = character.dir.join("adapters");
        let mut found: BTreeMap<String, (std::time::SystemTime, PathBuf)> = BTreeMap::new();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(Result::ok).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(EvalError::io("looking for adapters", &folder, e)),
        };
        for entry in entries {
            let dir = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let Ok(text) = std::fs::read_to_string(dir.join(ADAPTER_CONFIG)) else { continue };
            let Ok(config) = serde_json::from_str::<AdapterConfig>(&text) else { continue };
            let file = adapter_file(&dir);
            let Ok(time) = std::fs::metadata(&file).and_then(|m| m.modified()) else { continue };
            let stage = if config.stage.is_empty() { "sft".into() } else { config.stage };
            let newer = found.get(&stage).is_none_or(|(old, _)| time > *old);
            if newer && !hidden {
                found.insert(stage, (time, dir));
            }
        }
        let adapters = found.into_iter().map(|(stage, (_, dir))| (stage, dir)).collect();
        Ok(Self { character, adapters })
    }
}

/// A run to be made.
pub struct Plan {
    /// Folder of the run.
    pub out: PathBuf,
    /// Base model.
    pub model_dir: PathBuf,
    /// How it is loaded.
    pub load: LoadOptions,
    /// The characters, each identified among all.
    pub subjects: Vec<Subject>,
    /// Stages to measure: `base`, `sft`, `grpo`.
    pub stages: Vec<String>,
    /// How much is measured.
    pub settings: Settings,
    /// What pictures are compared by.
    pub features: Box<dyn Features>,
    /// Who judges open prompts; nobody by default.
    pub judge: Option<Judge>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("out", &self.out).field("stages", &self.stages).finish()
    }
}

/// A character in `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Hash of its material.
    pub data_hash: String,
    /// Hash of the adapter of each stage.
    pub adapters: BTreeMap<String, String>,
}

/// What a run measures, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the protocol.
    pub version: u32,
    /// Name of the protocol.
    pub suite: String,
    /// Name of the base.
    pub model: String,
    /// Hash of the base.
    pub base_hash: String,
    /// How the weights are held, and where.
    pub precision: String,
    /// How much is measured.
    pub settings: Settings,
    /// What pictures are compared by.
    pub features: FeatureInfo,
    /// Who judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// Stages.
    pub stages: Vec<String>,
    /// Characters.
    pub characters: Vec<SubjectInfo>,
}

impl RunInfo {
    /// Reads what a run measures.
    ///
    /// # Errors
    /// When the folder holds no run.
    pub fn read(folder: &Path) -> EvalResult<Self> {
        let path = folder.join(RUN_FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| EvalError::io("reading the run's description", &path, e))?;
        serde_json::from_str(&text).map_err(|e| EvalError::Malformed {
            line: e.line(),
            problem: e.to_string(),
            path,
        })
    }

    /// What differs from another run, if anything that makes its numbers incomparable.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        if self.version != other.version {
            return Some("protocol version");
        }
        if self.base_hash != other.base_hash || self.precision != other.precision {
            return Some("base model");
        }
        if self.settings != other.settings {
            return Some("settings");
        }
        if self.features != other.features {
            return Some("picture features");
        }
        if self.characters != other.characters {
            return Some("characters, or characters that changed since");
        }
        (self.judge != other.judge).then_some("judge")
    }

    fn of(plan: &Plan) -> EvalResult<Self> {
        let config = ModelConfig::from_dir(&plan.model_dir)?;
        let mut characters = Vec::new();
        for subject in &plan.subjects {
            let mut adapters = BTreeMap::new();
            for (stage, dir) in &subject.adapters {
                if plan.stages.contains(stage) {
                    adapters.insert(stage.clone(), hash_files(&[adapter_file(dir)])?);
                }
            }
            characters.push(SubjectInfo {
                id: subject.character.id.clone(),
                name: subject.character.name.clone(),
                data_hash: subject.character.data_hash()?,
                adapters,
            });
        }
        Ok(Self {
            version: VERSION,
            suite: SUITE.into(),
            model: config.name.clone(),
            base_hash: hash_files(&ModelFiles::find(&plan.model_dir)?.all())?,
            precision: plan.load.precision.label().into(),
            settings: plan.settings.clone(),
            features: plan.features.info(),
            judge: plan.judge.as_ref().map(Judge::name),
            stages: plan.stages.clone(),
            characters,
        })
    }
}

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Stage.
    pub stage: String,
    /// Name of the character.
    pub character: String,
    /// Words for the task.
    pub task: &'static str,
    /// Items of the task that are done.
    pub done: usize,
    /// Items of the task.
    pub num_items: usize,
}

/// Is told of every item and may stop the run after it.
pub type Watch<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// Pictures of a subject, as vectors.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Vectors of the training pictures.
    pub(crate) train: Vec<Vec<f32>>,
    /// Vectors of the held-out pictures by id.
    pub(crate) held_out: BTreeMap<String, Vec<f32>>,
    /// The middle of the training pictures.
    pub(crate) centroid: Vec<f32>,
}

/// Measures everything that the plan asks for and the folder does not hold yet; `Break` when the
/// watcher stopped it.
///
/// # Errors
/// When the folder holds another run, an adapter is missing, or model, files or judge fail. What
/// was measured by then is kept.
pub fn run(plan: &Plan, watch: Watch) -> EvalResult<ControlFlow<()>> {
    check(plan)?;
    let info = RunInfo::of(plan)?;
    prepare(plan, &info)?;
    let mut log = RecordLog::open(&plan.out)?;
    let mut model = Model::load(&plan.model_dir, &plan.load)?;
    let references = references(plan, model.config())?;
    crate::tasks::baselines(plan, &references, &mut log)?;
    crate::tasks::judge_anchors(plan, &mut log)?;
    let mut all = Vec::new();
    for stage in &plan.stages {
        for (index, subject) in plan.subjects.iter().enumerate() {
            // `check` made sure that somebody has it.
            if stage == "base" || subject.adapters.contains_key(stage) {
                all.push((stage.as_str(), index));
            }
        }
    }
    let mut bench = |model: &Model, (stage, index), part: fn(&mut Bench) -> Flow| {
        let (references, log, watch) = (&references[..], &mut log, &mut *watch);
        part(&mut Bench { plan, model, stage, index, references, log, watch })
    };
    for (stage, index) in &all {
        model.detach()?;
        if let Some(adapter) = plan.subjects[*index].adapters.get(*stage) {
            model.attach(adapter)?;
        }
        if bench(&model, (*stage, *index), |bench| bench.run())?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    model.detach()?;
    for measured in all {
        if bench(&model, measured, |bench| bench.prompt_questions())?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn check(plan: &Plan) -> EvalResult<()> {
    if plan.subjects.is_empty() {
        return Err(EvalError::Request("name at least one character to evaluate".into()));
    }
    for (index, subject) in plan.subjects.iter().enumerate() {
        let name = &subject.character.name;
        if plan.subjects[..index].iter().any(|other| other.character.name == *name) {
            let message = format!("two characters are called {name}; evaluate them one by one");
            return Err(EvalError::Request(message));
        }
    }
    for stage in &plan.stages {
        if !crate::aggregate::is_model(stage) {
            let message = format!("there is no stage “{stage}”; there are base, sft and grpo");
            return Err(EvalError::Request(message));
        }
        let has_it = |subject: &Subject| stage == "base" || subject.adapters.contains_key(stage);
        if !plan.subjects.iter().any(has_it) {
            let names: Vec<&str> =
                plan.subjects.iter().map(|s| s.character.name.as_str()).collect();
            let (character, stage) = (names.join(", "), stage.clone());
            return Err(EvalError::NoAdapter { character, stage });
        }
    }
    Ok(())
}

/// Creates the folder and its description, or makes sure that the one there is of the same run.
fn prepare(plan: &Plan, info: &RunInfo) -> EvalResult<()> {
    std::fs::create_dir_all(&plan.out)
        .map_err(|e| EvalError::io("creating the run's folder", &plan.out, e))?;
    if plan.out.join(RUN_FILE).exists() {
        let before = RunInfo::read(&plan.out)?;
        if let Some(what) = before.differs(info) {
            return Err(EvalError::OtherRun { what, path: plan.out.clone() });
        }
    }
    let text = serde_json::to_string_pretty(info)
        .map_err(|e| EvalError::io("describing the run", &plan.out, std::io::Error::other(e)))?;
    write(&plan.out.join(RUN_FILE), text.as_bytes())
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> EvalResult<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| EvalError::io("writing a file of the run", path, e))
}

/// A picture as the model draws them, so that only content is compared.
pub(crate) fn sized(picture: &RgbImage, config: &ModelConfig) -> RgbImage {
    if config.square_pictures {
        fit_square(picture, config.picture_size)
    } else {
        config.vae_transform.apply(picture, 1)
    }
}

/// File of a held-out picture in the run's folder, which a report shows beside the drawn ones.
pub(crate) fn reference_file(character: &str, id: &str) -> PathBuf {
    let name = format!("{}.png", file_name(id));
    [PICTURES_FOLDER, "real", &file_name(character), &name].iter().collect()
}

fn save_reference(plan: &Plan, character: &str, id: &str, picture: &RgbImage) -> EvalResult<()> {
    let path = plan.out.join(reference_file(character, id));
    let doing = "saving a held-out picture";
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| EvalError::io(doing, folder, e))?;
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| EvalError::io(doing, &path, std::io::Error::other(e)))?;
    write(&path, bytes.get_ref())
}

fn references(plan: &Plan, config: &ModelConfig) -> EvalResult<Vec<References>> {
    let mut all = Vec::new();
    for subject in &plan.subjects {
        let mut found = References::default();
        let character = &subject.character;
        for picture in &character.pictures {
            let pixels = sized(&load_rgb(&character.picture_path(picture))?, config);
            let mut vectors = plan.features.embed_pictures(&[&pixels])?;
            let Some(vector) = vectors.pop() else { continue };
            match picture.split {
                Split::Train => found.train.push(vector),
                Split::Test => {
                    save_reference(plan, &character.name, &picture.id, &pixels)?;
                    found.held_out.insert(picture.id.clone(), vector);
                }
            }
        }
        found.centroid = centroid(&found.train);
        all.push(found);
    }
    Ok(all)
}
