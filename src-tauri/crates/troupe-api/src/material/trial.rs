//! “Try it”: a model answers an item, beside the item's own answer.
//!
//! The model is asked in the words of training and evaluation: scenes and open prompts as role play,
//! questions as they are, multiple choice with its options and a request for the letter. Questions
//! are answered greedily; role play is sampled on the given seed.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use image::RgbImage;
use troupe_character::{
    Character, Question, QuestionKind, Scene, Speaker, Turn,
    pictures::load_rgb,
    prompts::{self, HistoryTurn, RolePlay, ScenePicture},
};
use troupe_eval::choice;
use troupe_model::runtime::{DrawRequest, FlowSampling, Model, ReplyRequest, TextSampling};
use troupe_store::PictureKind;

use super::Place;
use crate::{
    CompareSink, ModelSlot, Studio,
    chat::MAX_REPLY_TOKENS,
    compare::Answering,
    error::{ApiError, ApiResult, ErrorCode},
    generate::{guarded, loading},
    prompting,
    wire::{CompareAnswer, CompareEvent, DrawnPicture, SamplingPreset, TryMaterial, Trying},
};

/// Most who answer at once.
const MAX_SIDES: usize = 4;

/// What a model is to do with an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    /// Reply in character, and draw what goes with the reply to `user`.
    Play { prompt: String, user: String, draws: bool },
    /// Answer a question, perhaps about a picture.
    Answer { prompt: String, picture: Option<PathBuf> },
    /// Draw.
    Draw { prompt: String },
}

impl Task {
    fn prompt(&self) -> &str {
        match self {
            Self::Play { prompt, .. } | Self::Answer { prompt, .. } | Self::Draw { prompt } => {
                prompt
            }
        }
    }
}

/// An item that is being answered, queued for the engine.
struct Trial {
    studio: Studio,
    id: String,
    character: Character,
    task: Task,
    adapters: Vec<Option<PathBuf>>,
    seed: u32,
    cancel: Arc<AtomicBool>,
    sink: CompareSink,
}

fn refuse(message: &str, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message, hint)
}

impl Studio {
    /// Lets a model answer an item, once an adapter. Returns at once with what stops it; `sink` hears
    /// the rest. Pictures are kept in the gallery.
    ///
    /// # Errors
    /// When item or adapter do not exist, there is nothing to answer, the item's picture cannot be
    /// shown to this base, or too much is waiting.
    pub fn try_material(&self, request: &TryMaterial, sink: CompareSink) -> ApiResult<Trying> {
        if !(1..=MAX_SIDES).contains(&request.adapters.len()) {
            return Err(refuse("nobody was asked", "Choose one to four who answer."));
        }
        let (owned, at) = self.found_material(&request.character_id, request.kind, &request.id)?;
        let character = owned.character.clone();
        let task = task(&character, owned.items[at].place, request.with_picture)?;
        if matches!(&task, Task::Answer { picture: Some(_), .. }) {
            self.refuse_when_blind("Ask without the picture")?;
        }
        let adapter = |name: &Option<String>| {
            name.as_deref().map(|name| self.adapter(&character, name)).transpose()
        };
        let adapters = request.adapters.iter().map(adapter).collect::<ApiResult<Vec<_>>>()?;
        let id = uuid::Uuid::new_v4().to_string();
        let trying = Trying { id: id.clone(), prompt: task.prompt().to_owned() };
        let trial = Trial {
            studio: self.clone(),
            cancel: self.register(&id),
            id: id.clone(),
            seed: request.seed,
            character,
            task,
            adapters,
            sink,
        };
        if let Err(error) = self.engine().submit(move |slot| trial.run(slot)) {
            self.unregister(&id);
            return Err(error);
        }
        Ok(trying)
    }
}

fn task(character: &Character, place: Place, with_picture: bool) -> ApiResult<Task> {
    match place {
        Place::Scene(at) => scene_task(character, &character.scenes[at], with_picture),
        Place::Question(at) => question_task(character, &character.questions[at], with_picture),
        Place::Prompt(at) => {
            Ok(Task::Draw { prompt: character.as_captioned(&character.prompts[at].text) })
        }
    }
}

/// The character's last turn that answers the person is asked for again, with what came before.
fn scene_task(character: &Character, scene: &Scene, draws: bool) -> ApiResult<Task> {
    let answers =
        |pair: &[Turn]| pair[0].role == Speaker::User && pair[1].role == Speaker::Character;
    let Some(at) = scene.turns.windows(2).rposition(answers) else {
        let hint = "A scene needs a line of the person and a reply to it.";
        return Err(refuse("this scene holds no reply that could be tried", hint));
    };
    let user = scene.turns[at].text.as_str();
    let history: Vec<HistoryTurn> = scene.turns[..at]
        .iter()
        .map(|turn| HistoryTurn { role: turn.role.template_role(), text: &turn.text })
        .collect();
    Ok(Task::Play { prompt: role_play(character, &history, user), user: user.into(), draws })
}

fn role_play(character: &Character, history: &[HistoryTurn<'_>], user: &str) -> String {
    prompts::role_play(&RolePlay {
        description: &character.description(),
        opening: &character.greeting,
        history,
        user,
        name: character.prompt_name(),
    })
}

fn question_task(character: &Character, question: &Question, shows: bool) -> ApiResult<Task> {
    let picture = question.picture.as_deref().filter(|_| shows);
    let picture = picture.map(|id| match character.picture(id) {
        Some(picture) => Ok(character.picture_path(picture)),
        None => Err(refuse(&format!("picture {id} of this question is missing"), "")),
    });
    let prompt = match question.kind {
        QuestionKind::Memorization | QuestionKind::Personality => {
            let user = question.question.clone();
            let prompt = role_play(character, &[], &user);
            return Ok(Task::Play { prompt, user, draws: false });
        }
        QuestionKind::KnowledgeChoice | QuestionKind::PictureChoice => {
            let item = choice::Item::of(question).ok_or_else(|| {
                refuse("this question has no two to four options with a right one", "")
            })?;
            item.prompt()
        }
        QuestionKind::Knowledge | QuestionKind::Picture => question.question.clone(),
    };
    Ok(Task::Answer { prompt, picture: picture.transpose()? })
}

impl Trial {
    fn run(mut self, slot: &mut ModelSlot) {
        let result = guarded(slot, |slot| self.make(slot));
        self.studio.unregister(&self.id);
        (self.sink)(match result {
            Ok(()) => CompareEvent::Done,
            Err(error) => {
                tracing::error!("trying an item failed: {error}");
                CompareEvent::Failed { error }
            }
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn make(&mut self, slot: &mut ModelSlot) -> ApiResult<()> {
        let studio = self.studio.clone();
        for (index, adapter) in self.adapters.clone().iter().enumerate() {
            if self.is_cancelled() {
                break;
            }
            let side = index as u32;
            let model = studio.model_with(slot, adapter.as_deref(), &mut |label| {
                let kind = loading(label);
                (self.sink)(CompareEvent::Phase { side, kind, num_tokens: None });
            })?;
            let (text, picture) = self.answer(model, side)?;
            let answer = CompareAnswer {
                side,
                text,
                picture,
                seed: self.seed,
                base_hash: model.base_hash().into(),
                adapter_hash: model.adapter_hash().map(Into::into),
            };
            (self.sink)(CompareEvent::SideDone { answer });
        }
        Ok(())
    }

    fn answer(&mut self, model: &Model, side: u32) -> ApiResult<(String, Option<DrawnPicture>)> {
        match self.task.clone() {
            Task::Play { prompt, user, draws } => {
                let sampling =
                    prompting::reply_sampling(model.config(), SamplingPreset::Balanced, self.seed);
                let text = self.reply(model, side, prompt, None, sampling)?;
                if !draws || self.is_cancelled() {
                    return Ok((text, None));
                }
                let prompt = prompts::scene_picture(&ScenePicture {
                    description: &self.character.description(),
                    user: &user,
                    response: &text,
                });
                let picture = self.draw(model, side, prompt)?;
                Ok((text, picture))
            }
            Task::Answer { prompt, picture } => {
                let picture = picture.map(|path| load_rgb(&path)).transpose()?;
                let text = self.reply(model, side, prompt, picture, TextSampling::greedy())?;
                Ok((text, None))
            }
            Task::Draw { prompt } => Ok((String::new(), self.draw(model, side, prompt)?)),
        }
    }

    fn reply(
        &mut self,
        model: &Model,
        side: u32,
        prompt: String,
        picture: Option<RgbImage>,
        sampling: TextSampling,
    ) -> ApiResult<String> {
        let request = ReplyRequest {
            picture,
            prompt,
            sampling,
            max_tokens: MAX_REPLY_TOKENS,
            ..ReplyRequest::default()
        };
        let mut answering = Answering { side, sink: &mut self.sink, cancel: &self.cancel };
        Ok(answering.reply(model, &request)?.trim().to_owned())
    }

    fn draw(
        &mut self,
        model: &Model,
        side: u32,
        prompt: String,
    ) -> ApiResult<Option<DrawnPicture>> {
        let flow = FlowSampling::from_defaults(&model.config().generation, u64::from(self.seed));
        let request = DrawRequest::new(prompt, flow);
        let mut answering = Answering { side, sink: &mut self.sink, cancel: &self.cancel };
        answering.draw(&self.studio, model, &self.character, &request, PictureKind::Drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot() -> Character {
        Character { name: "Dot".into(), persona: "A lighthouse.".into(), ..Character::default() }
    }

    #[test]
    fn the_last_reply_is_tried_with_what_came_before() -> ApiResult<()> {
        let turns = vec![
            Turn::new(Speaker::User, "First?"),
            Turn::new(Speaker::Character, "One."),
            Turn::new(Speaker::User, "Second?"),
            Turn::new(Speaker::Character, "Two."),
        ];
        let scene = Scene { turns, ..Scene::default() };
        let task = scene_task(&dot(), &scene, true)?;
        let Task::Play { prompt, user, draws } = &task else { panic!("{task:?}") };
        assert_eq!((user.as_str(), *draws), ("Second?", true));
        assert!(prompt.contains("One.") && !prompt.contains("Two."), "{prompt}");
        let silent = Scene { turns: vec![Turn::new(Speaker::User, "Hi")], ..Scene::default() };
        assert!(scene_task(&dot(), &silent, true).is_err());
        Ok(())
    }

    #[test]
    fn choices_are_asked_with_their_options_and_without_the_key() -> ApiResult<()> {
        let question = Question {
            kind: QuestionKind::KnowledgeChoice,
            question: "What is Dot?".into(),
            options: [("A", "A boat"), ("B", "A lighthouse")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            answer_key: Some("B".into()),
            ..Question::default()
        };
        let task = question_task(&dot(), &question, false)?;
        assert!(task.prompt().contains("A. A boat\nB. A lighthouse\n"), "{}", task.prompt());
        let broken = Question { answer_key: None, ..question };
        assert!(question_task(&dot(), &broken, false).is_err());
        Ok(())
    }
}
