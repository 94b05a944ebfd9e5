//! The connector from the vision tower to the understanding expert, from questions about pictures.
//!
//! The tower and the understanding expert stay as they are; the connector, and what acts in the language
//! model behind a picture ([`SightAdapters`](troupe_model::vit::SightAdapters)), learn. The connector
//! begins with the words that the stage before it has taught. On mini that and layers in the middle of the language model
//! ([`Connector`](troupe_model::vit::Connector)) brought the loss of held-out answers to 1.33 after 1600
//! pictures, where a fresh connector at the input alone, beside fixed positions, stood at 1.81 after
//! 1500.
//!
//! A picture becomes the vision tokens of an ordinary picture block, each question and its answer the
//! two text blocks of an ordinary exchange, and only the tokens of answers have a loss. A picture runs
//! once for all its questions, which do not see each other.
//!
//! Sources: BAGEL (arXiv:2505.14683), block layout of `data/dataset_base.py`; training a projection
//! into a frozen language model as in LLaVA's first stage (arXiv:2304.08485, sec. 4.2).

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use troupe_model::{
    runtime::{LoadOptions, Model, ModelFiles, Precision, has_tower},
    tokens::TextRole,
    weights::SIGHT_PREFIX,
};
use troupe_nn::noise::{Noise, Stream};

use super::{
    data::{Asked, PictureSet, Question, QuestionKind, read_questions},
    run::{RunSettings, Stage, StepLoss, Trainer, write_half},
    vision::{VISION_FILE, is_connecting, needs_tower},
};
use crate::{
    data::Deck,
    error::{TrainError, TrainResult},
    events::{Outcome, RunPhase, SampleOutput, TrainEvent, Watcher},
    sequence::{PictureQuestions, SequenceBlock, VisionInput, picture_questions_answers},
    sft::load_trainable,
};

/// Questions shown as samples at every measurement.
const SHOWN: usize = 9;
/// Pictures whose questions run together when measured.
const MEASURE_BATCH: usize = 4;

/// Everything that determines a run of this stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectorJob {
    /// What all stages are told.
    pub settings: RunSettings,
    /// Pictures per step.
    pub pictures: usize,
    /// Questions per picture and step.
    pub questions: usize,
    /// Held-out pictures whose questions are asked at every measurement.
    pub held_pictures: usize,
}

impl Default for ConnectorJob {
    fn default() -> Self {
        let settings = RunSettings {
            num_steps: 1000,
            learning_rate: 1e-3,
            warmup_steps: 20,
            ema_decay: 0.98,
            ..RunSettings::default()
        };
        Self { settings, pictures: 4, questions: 4, held_pictures: 64 }
    }
}

/// Share of right answers, with how many were asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Right answers.
    pub right: usize,
    /// Questions.
    pub asked: usize,
}

impl Score {
    pub(crate) fn add(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.asked += 1;
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.right += other.right;
        self.asked += other.asked;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100. * self.right as f64 / self.asked.max(1) as f64;
        write!(f, "{share:.1} % of {}", self.asked)
    }
}

/// How many held-out questions were answered right, to the letter.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AnswerMeasure {
    /// Mean loss of an answer's token.
    pub loss: f64,
    /// By what the questions demand.
    pub by_kind: BTreeMap<&'static str, Score>,
    /// By the attribute, open questions only.
    pub open_by_attribute: BTreeMap<String, Score>,
    /// By the attribute, yes/no questions only.
    pub yes_no_by_attribute: BTreeMap<String, Score>,
}

impl AnswerMeasure {
    fn add(&mut self, question: &Question, is_right: bool) {
        if question.kind == QuestionKind::Description {
            return;
        }
        self.by_kind.entry(question.kind.label()).or_default().add(is_right);
        let by_attribute = match question.kind {
            QuestionKind::Open => &mut self.open_by_attribute,
            QuestionKind::YesNo => &mut self.yes_no_by_attribute,
            QuestionKind::Choice | QuestionKind::Description => return,
        };
        by_attribute.entry(question.about.clone()).or_default().add(is_right);
    }
}

impl std::fmt::Display for AnswerMeasure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "held-out answers: loss {:.3}", self.loss)?;
        let mut list = |name: &str, score: &Score| write!(f, "; {name} {score}");
        self.by_kind.iter().try_for_each(|(kind, score)| list(kind, score))?;
        self.open_by_attribute
            .iter()
            .try_for_each(|(about, score)| list(&format!("open {about}"), score))?;
        self.yes_no_by_attribute
            .iter()
            .try_for_each(|(about, score)| list(&format!("yes/no {about}"), score))
    }
}

struct Connecting<'a> {
    job: &'a ConnectorJob,
    model: Model,
    pictures: PictureSet,
    asked: Vec<Asked>,
    held: PictureSet,
    held_asked: Vec<Asked>,
}

/// Refuses a base whose files hold no vision tower.
fn check_tower(dir: &Path) -> TrainResult<()> {
    if has_tower(&ModelFiles::find(dir)?.source()?) { Ok(()) } else { Err(needs_tower(dir).into()) }
}

/// Runs or resumes the stage. Events go to `watch`, whose answers steer the run.
///
/// # Errors
/// When base, pictures or run folder are unusable, the base has no tower, or the loss diverges.
/// Checkpoints stay.
pub fn run(job: &ConnectorJob, watch: Watcher) -> TrainResult<Outcome> {
    watch(RunPhase::LoadingBase.into());
    let settings = &job.settings;
    check_tower(&settings.model_dir)?;
    let learns = |name: &str| is_connecting(name) || name.starts_with(SIGHT_PREFIX);
    let (model, vars) = load_trainable(&settings.model_dir, learns)?;
    let size = model.config().picture_size as u32;
    let pictures = PictureSet::open(&settings.data_dir, size)?;
    let asked = read_questions(&settings.data_dir, pictures.len())?;
    let held = PictureSet::open(&settings.held_dir, size)?;
    let held_asked = read_questions(&settings.held_dir, held.len())?;
    let mut trainer = Trainer::new(settings, vars, pictures.len(), |_| 1.)?;
    let mut stage = Connecting { job, model, pictures, asked, held, held_asked };
    let outcome = trainer.train(&mut stage, watch)?;
    export(settings, &trainer.averages()?)?;
    watch(TrainEvent::Ended { outcome });
    Ok(outcome)
}

/// Writes the base's vision file with the connector's averages in it; the connector alone for a base
/// whose tower lies elsewhere.
fn export(settings: &RunSettings, connector: &HashMap<String, Tensor>) -> TrainResult<()> {
    let start = settings.model_dir.join(VISION_FILE);
    let mut tensors = if start.exists() {
        candle_core::safetensors::load(&start, &Device::Cpu)?
    } else {
        HashMap::new()
    };
    tensors.extend(connector.iter().map(|(name, t)| (name.clone(), t.clone())));
    write_half(&tensors, &settings.run_dir.join(VISION_FILE))
}

/// Measures a base's answers to the questions about the first `num` pictures of `held_dir`.
///
/// # Errors
/// When the base has no tower, or the pictures are unusable.
pub fn measure(model_dir: &Path, held_dir: &Path, num: usize) -> TrainResult<AnswerMeasure> {
    check_tower(model_dir)?;
    let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
    let model = Model::load(model_dir, &options)?;
    let mut held = PictureSet::open(held_dir, model.config().picture_size as u32)?;
    let asked = read_questions(held_dir, held.len())?;
    measure_on(&model, &mut held, &asked, num, &mut |_, _, _| {})
}

/// A picture for the tower.
fn features(model: &Model, picture: &image::RgbImage) -> TrainResult<VisionInput> {
    let pixels = model.picture_for_vision(picture)?;
    let patch = model.config().vit_config.patch_size;
    let (_, height, width) = pixels.dims3()?;
    let features = model.network().vision_features(&pixels)?.detach();
    Ok(VisionInput::Features { features, rows: height / patch, columns: width / patch })
}

/// A question and its answer as blocks, with a loss on the answer.
fn exchange(model: &Model, question: &Question) -> TrainResult<Vec<SequenceBlock>> {
    let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, &question.question)?;
    let asked = SequenceBlock::Text { ids, loss_from: None };
    let (ids, from) = model.tokenizer().text_block(TextRole::Reply, &question.answer)?;
    Ok(vec![asked, SequenceBlock::Text { ids, loss_from: Some(from) }])
}

/// At most `num` of a picture's questions in random order; yes/no questions about one attribute, of
/// which only the picture tells apart whose answer is yes, stay together.
fn chosen(questions: &[Question], num: usize, mut noise: Noise) -> Vec<&Question> {
    let mut order: Vec<usize> = (0..questions.len()).collect();
    noise.shuffle(&mut order);
    let place = |index: usize| {
        let (question, is_yes_no) = (&questions[index], |kind| kind == QuestionKind::YesNo);
        let is_partner = |other: &usize| {
            let other = &questions[*other];
            is_yes_no(question.kind) && is_yes_no(other.kind) && question.about == other.about
        };
        order.iter().position(|other| *other == index || is_partner(other))
    };
    let mut all: Vec<usize> = (0..questions.len()).collect();
    all.sort_by_key(|index| place(*index));
    all.truncate(num);
    all.into_iter().map(|index| &questions[index]).collect()
}

impl Stage for Connecting<'_> {
    fn loss(&mut self, step: usize, deck: &mut Deck) -> TrainResult<StepLoss> {
        let (seed, batch) = (self.job.settings.seed, self.job.pictures);
        let mut items = Vec::new();
        for slot in 0..batch {
            let Some(index) = deck.draw() else { continue };
            let key = (step * batch + slot) as u64;
            let picture = self.pictures.perhaps_mirrored(index, seed, key)?;
            let noise = Noise::new(seed, Stream::Tokens, key);
            let questions = chosen(&self.asked[index].questions, self.job.questions, noise);
            let exchanges =
                questions.iter().map(|q| exchange(&self.model, q)).collect::<TrainResult<_>>()?;
            items.push(PictureQuestions { picture: features(&self.model, &picture)?, exchanges });
        }
        let special = self.model.tokenizer().special();
        let answers = picture_questions_answers(self.model.network(), special, &items)?;
        let Some(answers) = answers else {
            return Err(TrainError::NoData("no picture of the batch has a question".into()));
        };
        Ok(StepLoss { loss: answers.loss()?, is_text: true })
    }

    fn observe(&mut self, step: usize, watch: Watcher) -> TrainResult<()> {
        let mut shown = Vec::new();
        let tokenizer = self.model.tokenizer();
        let num = self.job.held_pictures;
        let measured =
            measure_on(&self.model, &mut self.held, &self.held_asked, num, &mut |q, said, _| {
                if shown.len() < SHOWN {
                    let said = tokenizer.decode(said).unwrap_or_default();
                    shown.push((format!("{} ({})", q.question, q.answer), said));
                }
            })?;
        for (prompt, text) in shown {
            let (kind, text) = (SampleOutput::Reply, Some(text));
            watch(TrainEvent::Sample { step, kind, prompt, text, file: None });
        }
        watch(TrainEvent::Validation { step, ce: Some(measured.loss), mse: None });
        watch(TrainEvent::Note(format!("step {step}: {measured}").into()));
        Ok(())
    }
}

/// What is said to a question: tokens, and whether they are the right ones.
type OnAnswer<'a> = &'a mut dyn FnMut(&Question, &[u32], bool);

fn measure_on(
    model: &Model,
    held: &mut PictureSet,
    asked: &[Asked],
    num: usize,
    on: OnAnswer,
) -> TrainResult<AnswerMeasure> {
    let (mut measured, mut sum, mut tokens) = (AnswerMeasure::default(), 0., 0);
    let indexes: Vec<usize> = (0..num.min(held.len())).collect();
    for batch in indexes.chunks(MEASURE_BATCH) {
        let mut items = Vec::new();
        for index in batch {
            let picture = features(model, &held.picture(*index)?)?;
            let questions = asked[*index].questions.iter();
            let exchanges = questions.map(|q| exchange(model, q)).collect::<TrainResult<_>>()?;
            items.push(PictureQuestions { picture, exchanges });
        }
        let special = model.tokenizer().special();
        let Some(answers) = picture_questions_answers(model.network(), special, &items)? else {
            continue;
        };
        sum += f64::from(answers.losses()?.sum_all()?.to_scalar::<f32>()?);
        tokens += answers.num_tokens();
        let questions = batch.iter().flat_map(|index| &asked[*index].questions);
        for (question, (said, right)) in questions.zip(answers.greedy()?) {
            let is_right = said == right;
            measured.add(question, is_right);
            on(question, &said, is_right);
        }
    }
    measured.loss = sum / f64::from(tokens.max(1) as u32);
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_no_questions_about_an_attribute_stay_together() {
        let question = |about: &str, kind, answer: &str| Question {
            about: about.into(),
            kind,
            question: String::new(),
            answer: answer.into(),
        };
        let (open, yes_no) = (QuestionKind::Open, QuestionKind::YesNo);
        let all = [
            question("hair", open, "Red."),
            question("skin", yes_no, "No."),
            question("hair", yes_no, "Yes."),
            question("skin", yes_no, "Yes."),
            question("hair", yes_no, "No."),
        ];
        let mut firsts = std::collections::BTreeSet::new();
        for key in 0..20 {
            let noise = Noise::new(1, Stream::Tokens, key);
            let three = chosen(&all, 3, noise);
            assert_eq!(three.len(), 3);
            firsts.insert((three[0].about.clone(), three[0].kind));
            let pair = if three[0].kind == open { &three[1..] } else { &three[..2] };
            assert!(pair.iter().all(|q| q.about == pair[0].about && q.kind == yes_no));
            assert_ne!(pair[0].answer, pair[1].answer);
        }
        assert_eq!(firsts.len(), 3, "each may come first");
    }
}
