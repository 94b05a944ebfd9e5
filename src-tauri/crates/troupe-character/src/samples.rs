//! What stage 1 learns from: a character turned into training samples.
//!
//! Two groups, as in the method: *Picture* samples draw (caption in, flow loss on the latents),
//! *Text* samples answer (prompt in, cross-entropy on the reply). Nothing of a test split is ever
//! learned from; where a character has none, a small part is kept back by a hash of the ids, so
//! the choice is the same on every machine and in every run.
//!
//! Source: UniCharacter (arXiv 2605.08129), upstream `data/vlm_dataset.py`, `data/t2i_dataset.py`
//! and the published training rows. [`SampleKind::PictureDescription`] and the history of
//! multi-turn scenes are ours.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::character::Character;
use crate::prompts::{self, HistoryTurn, RolePlay, ScenePicture};
use crate::records::{Question, QuestionKind, Scene, Speaker, Split};

/// What a sample teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleKind {
    /// Reply to a user's line.
    RolePlay,
    /// Plan a picture in `<think>` and `<gen>`.
    Thinking,
    /// Answer a fact question.
    KnowledgeQa,
    /// Answer a question about a picture.
    PictureQa,
    /// Say what a picture shows; the way back of the same scene's picture.
    PictureDescription,
    /// Draw a picture from its caption.
    PicturePlain,
    /// Draw the picture of a scene.
    PictureScene,
    /// Draw the picture of a scene from its plan.
    PictureThinking,
}

impl SampleKind {
    /// All kinds, text first.
    pub const ALL: [Self; 8] = [
        Self::RolePlay,
        Self::Thinking,
        Self::KnowledgeQa,
        Self::PictureQa,
        Self::PictureDescription,
        Self::PicturePlain,
        Self::PictureScene,
        Self::PictureThinking,
    ];

    /// The group whose weight it shares.
    pub fn group(self) -> SampleGroup {
        match self {
            Self::PicturePlain | Self::PictureScene | Self::PictureThinking => SampleGroup::Picture,
            Self::RolePlay
            | Self::Thinking
            | Self::KnowledgeQa
            | Self::PictureQa
            | Self::PictureDescription => SampleGroup::Text,
        }
    }

    /// Words for a table.
    pub fn label(self) -> &'static str {
        match self {
            Self::RolePlay => "dialogue",
            Self::Thinking => "dialogue with reasoning",
            Self::KnowledgeQa => "knowledge question",
            Self::PictureQa => "picture question",
            Self::PictureDescription => "picture description",
            Self::PicturePlain => "picture from caption",
            Self::PictureScene => "picture from scene",
            Self::PictureThinking => "picture from scene with reasoning",
        }
    }
}

/// The two halves of the mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleGroup {
    /// Flow loss on a picture.
    Picture,
    /// Cross-entropy on a reply.
    Text,
}

/// Role of a text block; a model's template decides what it makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRole {
    /// What the model is asked.
    Prompt,
    /// What the model says.
    Reply,
    /// Standing instructions.
    System,
    /// What the model is to draw.
    Caption,
}

/// One block of a sample, in sequence order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum SampleBlock {
    /// A text.
    Text {
        /// Whose text it is.
        role: TextRole,
        /// The text, verbatim.
        text: String,
        /// Carries cross-entropy.
        loss: bool,
        /// May be left out at random, which teaches guidance without a condition.
        droppable: bool,
    },
    /// A picture seen through the vision tower.
    Vit {
        /// The file.
        picture: PathBuf,
    },
    /// A picture as latents.
    Vae {
        /// The file.
        picture: PathBuf,
        /// Carries the flow loss.
        loss: bool,
    },
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSample {
    /// Unique within the character and the same in every run.
    pub id: String,
    /// What it teaches.
    pub kind: SampleKind,
    /// Half of the mixture.
    pub group: SampleGroup,
    /// Relative share with which the group's samples are drawn.
    pub weight: f64,
    /// Content, in sequence order.
    pub blocks: Vec<SampleBlock>,
    /// Kept back to validate with; never learned from.
    pub held_out: bool,
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleOptions {
    /// Kinds switched on.
    pub kinds: BTreeSet<SampleKind>,
    /// Weight of the picture group.
    pub picture_weight: f64,
    /// Weight of the text group.
    pub text_weight: f64,
    /// Share kept back of scenes and of pictures where the character has no test split of them.
    pub held_out_share: f64,
    /// Chooses what is kept back.
    pub seed: u64,
}

impl Default for SampleOptions {
    /// Every kind, groups alike, a tenth kept back.
    fn default() -> Self {
        Self {
            kinds: SampleKind::ALL.into(),
            picture_weight: 1.0,
            text_weight: 1.0,
            held_out_share: 0.1,
            seed: 0,
        }
    }
}

impl SampleOptions {
    /// The reference's mixture: no consistency samples, pictures 20000 to 1.
    pub fn reference() -> Self {
        let mut options = Self { picture_weight: 20_000.0, ..Self::default() };
        options.set_consistency(false);
        options
    }

    /// Switches the way back from a picture to its description on or off.
    pub fn set_consistency(&mut self, on: bool) {
        if on {
            self.kinds.insert(SampleKind::PictureDescription);
        } else {
            self.kinds.remove(&SampleKind::PictureDescription);
        }
    }
}

/// Number of samples of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KindCount {
    /// Learned from.
    pub train: usize,
    /// Kept back.
    pub held_out: usize,
}

/// Counts by kind; kinds without samples are absent.
pub fn counts(samples: &[TrainingSample]) -> BTreeMap<SampleKind, KindCount> {
    let mut counts: BTreeMap<SampleKind, KindCount> = BTreeMap::new();
    for sample in samples {
        let count = counts.entry(sample.kind).or_default();
        if sample.held_out {
            count.held_out += 1;
        } else {
            count.train += 1;
        }
    }
    counts
}

/// Builds every sample of a character, learned and held out, in a fixed order.
///
/// Records that cannot become a sample (a reply without a user line, a reference to a picture that
/// is not there, a question without an answer) are left out; [`crate::checks::check`] names them.
pub fn training_samples(character: &Character, options: &SampleOptions) -> Vec<TrainingSample> {
    let mut builder = Builder::new(character, options);
    for scene in &character.scenes {
        builder.add_scene(scene);
    }
    for question in &character.questions {
        builder.add_question(question);
    }
    for index in 0..character.pictures.len() {
        builder.add_picture(index);
    }
    builder.samples.sort_by_key(|sample| sample.kind);
    builder.samples
}

/// An exchange: a user's line, the reply, and what came before.
struct Exchange {
    history: Vec<(Speaker, String)>,
    user: String,
    reply: String,
    picture: Option<String>,
    reasoning: Option<String>,
    instruction: Option<String>,
}

/// Splits a scene into exchanges. Neighbouring turns of one speaker count as one.
fn exchanges(scene: &Scene) -> Vec<Exchange> {
    let mut merged: Vec<crate::records::Turn> = Vec::new();
    for turn in scene.turns.iter().filter(|turn| !turn.text.trim().is_empty()) {
        match merged.last_mut().filter(|last| last.role == turn.role) {
            Some(last) => {
                last.text.push('\n');
                last.text.push_str(&turn.text);
                last.picture = last.picture.take().or_else(|| turn.picture.clone());
                last.reasoning = last.reasoning.take().or_else(|| turn.reasoning.clone());
                last.instruction = last.instruction.take().or_else(|| turn.instruction.clone());
            }
            None => merged.push(turn.clone()),
        }
    }
    let mut found = Vec::new();
    for (index, pair) in merged.windows(2).enumerate() {
        let [user, reply] = pair else { continue };
        if user.role == Speaker::User && reply.role == Speaker::Character {
            found.push(Exchange {
                history: merged[..index].iter().map(|t| (t.role, t.text.clone())).collect(),
                user: user.text.clone(),
                reply: reply.text.clone(),
                picture: reply.picture.clone(),
                reasoning: reply.reasoning.clone(),
                instruction: reply.instruction.clone(),
            });
        }
    }
    found
}

struct Builder<'a> {
    character: &'a Character,
    options: &'a SampleOptions,
    description: String,
    /// Lines of scenes without pictures; a picture scene repeated there is not said twice.
    told: HashSet<(Split, Vec<&'a str>)>,
    held_scenes: HashSet<&'a str>,
    held_pictures: HashSet<&'a str>,
    samples: Vec<TrainingSample>,
}

impl<'a> Builder<'a> {
    fn new(character: &'a Character, options: &'a SampleOptions) -> Self {
        let told = character.scenes.iter().filter(|scene| scene.picture().is_none());
        let mut builder = Self {
            character,
            options,
            description: character.description(),
            told: told.map(|scene| (scene.split, lines(scene))).collect(),
            held_scenes: HashSet::new(),
            held_pictures: HashSet::new(),
            samples: Vec::new(),
        };
        let pictures = character.pictures.iter().map(|p| (p.id.as_str(), p.split));
        builder.held_pictures = kept_back("picture", pictures.collect(), 6, options);
        let texts = character.scenes.iter().filter(|scene| scene.picture().is_none());
        builder.held_scenes =
            kept_back("scene", texts.map(|s| (s.id.as_str(), s.split)).collect(), 10, options);
        let of_held_pictures = character.scenes.iter().filter(|scene| {
            scene.split == Split::Test
                || scene.picture().is_some_and(|id| builder.held_pictures.contains(id))
        });
        builder.held_scenes.extend(of_held_pictures.map(|scene| scene.id.as_str()));
        builder
    }

    fn push(&mut self, kind: SampleKind, id: String, held_out: bool, blocks: Vec<SampleBlock>) {
        if !self.options.kinds.contains(&kind) {
            return;
        }
        let group = kind.group();
        let weight = match group {
            SampleGroup::Picture => self.options.picture_weight,
            SampleGroup::Text => self.options.text_weight,
        };
        self.samples.push(TrainingSample { id, kind, group, weight, blocks, held_out });
    }

    fn path(&self, id: &str) -> Option<PathBuf> {
        self.character.picture(id).map(|picture| self.character.picture_path(picture))
    }

    fn add_scene(&mut self, scene: &Scene) {
        let held_out = self.held_scenes.contains(scene.id.as_str());
        let repeated =
            scene.picture().is_some() && self.told.contains(&(scene.split, lines(scene)));
        for (index, exchange) in exchanges(scene).into_iter().enumerate() {
            let id = format!("{}.{index}", scene.id);
            if !repeated {
                self.add_reply(&id, held_out, &exchange);
            }
            self.add_scene_picture(&id, held_out, &exchange);
        }
    }

    fn add_reply(&mut self, id: &str, held_out: bool, exchange: &Exchange) {
        let history: Vec<HistoryTurn<'_>> = exchange
            .history
            .iter()
            .map(|(speaker, text)| HistoryTurn { role: speaker.template_role(), text })
            .collect();
        let prompt = prompts::role_play(&RolePlay {
            description: &self.description,
            opening: &self.character.greeting,
            history: &history,
            user: &exchange.user,
            name: self.character.prompt_name(),
        });
        let blocks = vec![prompt_block(prompt), reply_block(exchange.reply.clone())];
        self.push(SampleKind::RolePlay, format!("role-play/{id}"), held_out, blocks);
    }

    fn add_scene_picture(&mut self, id: &str, held_out: bool, exchange: &Exchange) {
        let scene = ScenePicture {
            description: &self.description,
            user: &exchange.user,
            response: &exchange.reply,
        };
        let plain = prompts::scene_picture(&scene);
        let plan = match (&exchange.reasoning, &exchange.instruction) {
            (Some(thinking), Some(instruction)) => Some((
                prompts::thinking_request(&scene),
                prompts::thinking_answer(thinking, instruction),
                prompts::scene_picture_with_thinking(&scene, thinking, instruction),
            )),
            _ => None,
        };
        let path = exchange.picture.as_deref().and_then(|picture| self.path(picture));
        if let Some(path) = &path {
            let blocks = drawing(plain, path);
            self.push(SampleKind::PictureScene, format!("picture-scene/{id}"), held_out, blocks);
        }
        if let Some((request, answer, caption)) = plan {
            let blocks = vec![prompt_block(request), reply_block(answer)];
            self.push(SampleKind::Thinking, format!("thinking/{id}"), held_out, blocks);
            if let Some(path) = &path {
                let blocks = drawing(caption, path);
                let id = format!("picture-thinking/{id}");
                self.push(SampleKind::PictureThinking, id, held_out, blocks);
            }
        }
        if let (Some(path), Some(instruction)) = (path, &exchange.instruction) {
            let ask = prompts::ask_description(self.character.prompt_name());
            let blocks = seeing(path, ask, instruction.clone());
            let id = format!("description/{id}");
            self.push(SampleKind::PictureDescription, id, held_out, blocks);
        }
    }

    fn add_question(&mut self, question: &Question) {
        let Some(answer) = question.answer.as_ref().filter(|a| !a.trim().is_empty()) else {
            return;
        };
        if question.question.trim().is_empty() || question.dropped.is_some() {
            return;
        }
        let id = &question.id;
        let mut held_out = question.split == Split::Test;
        match question.kind {
            QuestionKind::Knowledge => {
                let blocks =
                    vec![prompt_block(question.question.clone()), reply_block(answer.clone())];
                self.push(SampleKind::KnowledgeQa, format!("knowledge/{id}"), held_out, blocks);
            }
            QuestionKind::Picture => {
                let Some(picture) = &question.picture else {
                    return;
                };
                let Some(path) = self.path(picture) else {
                    return;
                };
                held_out |= self.held_pictures.contains(picture.as_str());
                let blocks = seeing(path, question.question.clone(), answer.clone());
                self.push(SampleKind::PictureQa, format!("picture-qa/{id}"), held_out, blocks);
            }
            QuestionKind::KnowledgeChoice
            | QuestionKind::PictureChoice
            | QuestionKind::Memorization
            | QuestionKind::Personality => {} // kept for evaluation
        }
    }

    fn add_picture(&mut self, index: usize) {
        let picture = &self.character.pictures[index];
        if picture.caption.trim().is_empty() {
            return;
        }
        let held_out = self.held_pictures.contains(picture.id.as_str());
        let path = self.character.picture_path(picture);
        let blocks = drawing(picture.caption.clone(), &path);
        let id = format!("picture-plain/{}", picture.id);
        self.push(SampleKind::PicturePlain, id, held_out, blocks);
        let ask = prompts::ask_caption(self.character.prompt_name());
        let blocks = seeing(path, ask, picture.caption.clone());
        let id = format!("caption/{}", picture.id);
        self.push(SampleKind::PictureDescription, id, held_out, blocks);
    }
}

fn prompt_block(text: String) -> SampleBlock {
    SampleBlock::Text { role: TextRole::Prompt, text, loss: false, droppable: false }
}

fn reply_block(text: String) -> SampleBlock {
    SampleBlock::Text { role: TextRole::Reply, text, loss: true, droppable: false }
}

fn drawing(caption: String, picture: &std::path::Path) -> Vec<SampleBlock> {
    vec![
        SampleBlock::Text { role: TextRole::Caption, text: caption, loss: false, droppable: true },
        SampleBlock::Vae { picture: picture.to_path_buf(), loss: true },
    ]
}

fn seeing(picture: PathBuf, question: String, answer: String) -> Vec<SampleBlock> {
    vec![SampleBlock::Vit { picture }, prompt_block(question), reply_block(answer)]
}

fn lines(scene: &Scene) -> Vec<&str> {
    scene.turns.iter().map(|turn| turn.text.as_str()).collect()
}

/// Ids to validate with: those of the test split if there is one; else, of at least `enough`
/// records, the share with the smallest hashes, one at least.
fn kept_back<'a>(
    what: &str,
    records: Vec<(&'a str, Split)>,
    enough: usize,
    options: &SampleOptions,
) -> HashSet<&'a str> {
    let test: HashSet<&str> =
        records.iter().filter(|(_, split)| *split == Split::Test).map(|(id, _)| *id).collect();
    if !test.is_empty() || records.len() < enough || options.held_out_share <= 0.0 {
        return test;
    }
    let wanted = (records.len() as f64 * options.held_out_share.min(0.5)).round() as usize;
    let mut ids: Vec<&str> = records.into_iter().map(|(id, _)| id).collect();
    ids.sort_by_cached_key(|id| {
        let key = format!("{}/{what}/{id}", options.seed);
        *blake3::hash(key.as_bytes()).as_bytes()
    });
    ids.into_iter().take(wanted.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Picture, Turn};

    fn pip() -> Character {
        let mut pip = Character {
            name: "Pip".into(),
            persona: "An otter.".into(),
            greeting: "Ahoy.".into(),
            dir: "/pip".into(),
            ..Character::default()
        };
        let picture = Picture {
            id: "a".into(),
            file: "pictures/a.png".into(),
            caption: "Pip polishing a lens".into(),
            ..Picture::default()
        };
        pip.pictures.push(picture);
        let mut reply = Turn::new(Speaker::Character, "Lit.");
        reply.picture = Some("a".into());
        reply.reasoning = Some("He is proud.".into());
        reply.instruction = Some("An otter beside a lens".into());
        pip.scenes.push(Scene {
            id: "s".into(),
            turns: vec![Turn::new(Speaker::User, "Is the lamp lit?"), reply],
            ..Scene::default()
        });
        pip
    }

    fn text(sample: &TrainingSample, index: usize) -> &str {
        match &sample.blocks[index] {
            SampleBlock::Text { text, .. } => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    #[test]
    fn one_picture_scene_gives_every_direction() {
        let samples = training_samples(&pip(), &SampleOptions::default());
        let kinds: Vec<SampleKind> = samples.iter().map(|s| s.kind).collect();
        use SampleKind::*;
        assert_eq!(
            kinds,
            [
                RolePlay,
                Thinking,
                PictureDescription,
                PictureDescription,
                PicturePlain,
                PictureScene,
                PictureThinking
            ]
        );
        assert!(samples.iter().all(|sample| !sample.held_out));
        assert_eq!(
            text(&samples[1], 1),
            "<think>He is proud.</think>\n<gen>An otter beside a lens</gen>"
        );
        let scene = &samples[5];
        assert!(matches!(
            scene.blocks[0],
            SampleBlock::Text { loss: false, droppable: true, role: TextRole::Caption, .. }
        ));
        assert!(
            matches!(&scene.blocks[1], SampleBlock::Vae { picture, loss: true } if picture.ends_with("pictures/a.png"))
        );
        let without = training_samples(&pip(), &SampleOptions::reference());
        assert_eq!(without.len(), 5, "the reference has no way back");
    }

    #[test]
    fn later_turns_carry_their_history() {
        let mut pip = pip();
        pip.scenes = vec![Scene {
            id: "s".into(),
            turns: vec![
                Turn::new(Speaker::Character, "Ahoy."),
                Turn::new(Speaker::User, "One?"),
                Turn::new(Speaker::Character, "First."),
                Turn::new(Speaker::User, "Two?"),
                Turn::new(Speaker::User, "Well?"),
                Turn::new(Speaker::Character, "Second."),
            ],
            ..Scene::default()
        }];
        let options =
            SampleOptions { kinds: [SampleKind::RolePlay].into(), ..SampleOptions::default() };
        let samples = training_samples(&pip, &options);
        assert_eq!(samples.len(), 2);
        assert!(
            text(&samples[0], 0)
                .contains("Conversation History:\nmachine: Ahoy.\n\nUser Input: One?\n")
        );
        assert!(text(&samples[1], 0).contains(
            "Conversation History:\nmachine: Ahoy.\nuser: One?\nmachine: First.\n\nUser Input: Two?\nWell?\n"
        ));
        assert_eq!(text(&samples[1], 1), "Second.");
    }

    #[test]
    fn test_records_are_only_held_out() {
        let mut pip = pip();
        pip.pictures[0].split = Split::Test;
        pip.questions.push(Question {
            id: "q".into(),
            kind: QuestionKind::Picture,
            picture: Some("a".into()),
            question: "What is it?".into(),
            answer: Some("A lens.".into()),
            ..Question::default()
        });
        let samples = training_samples(&pip, &SampleOptions::default());
        assert_eq!(samples.len(), 8);
        assert!(samples.iter().all(|sample| sample.held_out), "{samples:?}");
    }

    #[test]
    fn the_automatic_split_is_stable_and_small() {
        let mut pip = pip();
        for index in 0..40 {
            pip.scenes.push(Scene {
                id: format!("t{index}"),
                turns: vec![
                    Turn::new(Speaker::User, format!("Line {index}?")),
                    Turn::new(Speaker::Character, format!("Answer {index}.")),
                ],
                ..Scene::default()
            });
        }
        let held = |pip: &Character| -> Vec<String> {
            training_samples(pip, &SampleOptions::default())
                .into_iter()
                .filter(|sample| sample.held_out)
                .map(|sample| sample.id)
                .collect()
        };
        let first = held(&pip);
        assert_eq!(first.len(), 4, "a tenth of forty");
        pip.scenes.reverse();
        let again: HashSet<String> = held(&pip).into_iter().collect();
        assert_eq!(again, first.into_iter().collect::<HashSet<_>>(), "order does not matter");
    }

    #[test]
    fn a_scene_told_twice_is_learned_once() {
        let mut pip = pip();
        let mut again = pip.scenes[0].clone();
        again.id = "again".into();
        for turn in &mut again.turns {
            *turn = Turn::new(turn.role, turn.text.clone());
        }
        pip.scenes.push(again);
        let counts = counts(&training_samples(&pip, &SampleOptions::default()));
        assert_eq!(counts[&SampleKind::RolePlay].train, 1);
        assert_eq!(counts[&SampleKind::PictureScene].train, 1);
    }
}
