//! What stands beside the models: real and copied pictures, a constant letter, the judge's anchors.

use troupe_character::{Character, QuestionKind, Split};

use super::{drawing::compare, material::first_exchange};
use crate::{
    choice,
    error::EvalResult,
    features::likeness,
    records::{Record, RecordLog},
    run::{Plan, References},
};

/// Real replies that the judge sees for each character.
const NUM_ANCHORS: usize = 3;

/// Baselines beside the models: real held-out pictures, copied training pictures, pictures of
/// another character, and the constant letter.
pub(crate) fn baselines(
    plan: &Plan,
    references: &[References],
    log: &mut RecordLog,
) -> EvalResult<()> {
    for (index, subject) in plan.subjects.iter().enumerate() {
        let (own, name) = (&references[index], &subject.character.name);
        let mut records = Vec::new();
        for (id, truth) in &own.held_out {
            records.push(Record::new("real", name, "clip_i_gt", id, 0, likeness(truth, truth)));
            for (task, value) in compare(plan, references, index, truth) {
                records.push(Record::new("real", name, task, id, 0, value));
            }
            for (copied, picture) in own.train.iter().enumerate() {
                let value = likeness(picture, truth);
                records.push(Record::new("copy", name, "clip_i_gt", id, copied as u64, value));
            }
        }
        for (copied, picture) in own.train.iter().enumerate() {
            for (task, value) in compare(plan, references, index, picture) {
                let item = format!("train-{copied}");
                records.push(Record::new("copy", name, task, &item, 0, value));
            }
        }
        let other = &references[(index + 1) % references.len()];
        if references.len() > 1 {
            for (id, picture) in &other.held_out {
                for (task, value) in compare(plan, references, index, picture) {
                    records.push(Record::new("other", name, task, id, 0, value));
                }
            }
        }
        records.extend(constant_letter(plan, &subject.character));
        log.append(records)?;
    }
    Ok(())
}

/// Real replies of the character and of another one, scored by the judge: their distance says
/// whether the judge is of use.
pub(crate) fn judge_anchors(plan: &Plan, log: &mut RecordLog) -> EvalResult<()> {
    let Some(judge) = &plan.judge else { return Ok(()) };
    for (index, subject) in plan.subjects.iter().enumerate() {
        let own = train_exchanges(&subject.character);
        let other = &plan.subjects[(index + 1) % plan.subjects.len()].character;
        let strange = train_exchanges(other);
        for (number, (user, reply)) in own.iter().take(NUM_ANCHORS).enumerate() {
            let mut anchors = vec![("real", *reply)];
            if plan.subjects.len() > 1 {
                anchors.extend(strange.get(number).map(|(_, reply)| ("other", *reply)));
            }
            for (stage, reply) in anchors {
                let (name, task) = (&subject.character.name, "judge_personality");
                let mut record = Record::new(stage, name, task, &format!("anchor-{number}"), 0, 0.);
                if log.has(&record.key()) {
                    continue;
                }
                let kind = QuestionKind::Personality;
                if let Some(verdict) = judge.score(&subject.character, kind, user, reply)? {
                    record.value = verdict.score;
                    log.append(vec![record])?;
                }
            }
        }
    }
    Ok(())
}

fn train_exchanges(character: &Character) -> Vec<(&str, &str)> {
    let train = character.scenes.iter().filter(|scene| scene.split == Split::Train);
    train.filter_map(first_exchange).collect()
}

/// What always answering the commonest key of all given characters scores in the original order.
fn constant_letter(plan: &Plan, character: &Character) -> Vec<Record> {
    let mut records = Vec::new();
    for (kind, task) in [
        (QuestionKind::KnowledgeChoice, "knowledge_letter"),
        (QuestionKind::PictureChoice, "picture_letter"),
    ] {
        let all = plan.subjects.iter().flat_map(|s| &s.character.questions);
        let counts = choice::key_counts(all.filter(|q| q.kind == kind));
        let Some((letter, _)) = counts.iter().max_by_key(|(_, count)| **count) else { continue };
        for question in character.questions.iter().filter(|q| q.kind == kind) {
            let value = f64::from(u8::from(question.answer_key.as_ref() == Some(letter)));
            let (stage, name) = ("constant", &character.name);
            records.push(Record::new(stage, name, task, &question.id, 0, value));
        }
    }
    records
}
