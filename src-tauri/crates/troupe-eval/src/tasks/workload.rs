//! How much there is to measure, before it is measured.

use troupe_character::QuestionKind;

use super::material::{choices, draw_items, test_replies, test_scenes};
use crate::run::{Settings, Subject};

/// Items of one task of one stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskLoad {
    /// Words for the task, as progress tells them.
    pub task: &'static str,
    /// Items.
    pub num_items: usize,
    /// Estimate of one item on two processor cores with the built-in base.
    pub secs_per_item: f64,
}

/// The tasks of one stage of a subject that is measured among `num_subjects`, in order.
///
/// Judged prompts are left out: how long the judge takes is not known here.
pub fn workload(subject: &Subject, num_subjects: usize, settings: &Settings) -> Vec<TaskLoad> {
    let character = &subject.character;
    let num_replies = test_replies(character).len();
    let seen = choices(character, QuestionKind::PictureChoice);
    let num_seen = seen.iter().filter(|(_, q)| q.picture.is_some()).count();
    let load = |task, num_items, secs_per_item| TaskLoad { task, num_items, secs_per_item };
    let num_knowledge = choices(character, QuestionKind::KnowledgeChoice).len();
    let identified = if num_subjects < 2 { 0 } else { num_replies.min(settings.num_identified) };
    let drawn = draw_items(character, settings);
    let num_asked = drawn.iter().filter(|item| !item.questions.is_empty()).count();
    vec![
        load("knowledge questions", num_knowledge.min(settings.num_knowledge), 3.),
        load("picture questions", num_seen.min(settings.num_picture_choices), 7.),
        load("test replies", num_replies.min(settings.num_replies), 2.5),
        load("whose reply", identified, 2.5 * num_subjects as f64),
        load("sampled replies", num_replies.min(settings.num_sampled), 4.),
        load("pictures", drawn.len(), 3. * settings.num_seeds as f64),
        load(
            "reply pictures",
            test_scenes(character).len().min(settings.num_scenes),
            6. * settings.num_scene_seeds as f64,
        ),
        load("questions about pictures", num_asked, 2. * settings.num_seeds as f64),
    ]
}
