//! Questions, replies and judged replies of one stage.

use std::{collections::HashSet, ops::ControlFlow};

use image::RgbImage;
use serde_json::json;
use troupe_character::{Question, QuestionKind, pictures::load_rgb};
use troupe_model::runtime::{ReplyRequest, TextSampling};

use super::{
    Bench, Flow,
    material::{
        TestReply, choices, distinct2, known_questions, reply_prompt, seed_of, seen_slice, spread,
        test_replies, train_lines,
    },
    object,
};
use crate::{
    choice::{self, Item},
    error::EvalResult,
    likelihood::Asked,
    records::Record,
};

impl Bench<'_> {
    pub(super) fn knowledge(&mut self) -> Flow {
        let known = known_questions(self.character(), QuestionKind::Knowledge);
        let items = choices(self.character(), QuestionKind::KnowledgeChoice);
        let items: Vec<(Item, Question)> =
            spread(items, self.plan.settings.num_knowledge).collect();
        for (done, (item, question)) in items.iter().enumerate() {
            if !self.is_done("knowledge_option", &item.id, 0) {
                let records = self.choice_records("knowledge", item, question, None, &known)?;
                self.log.append(records)?;
            }
            if self.tell("knowledge questions", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn picture_choices(&mut self) -> Flow {
        let known = known_questions(self.character(), QuestionKind::Picture);
        let mut items = choices(self.character(), QuestionKind::PictureChoice);
        items.retain(|(_, question)| question.picture.is_some());
        let items: Vec<(Item, Question)> =
            spread(items, self.plan.settings.num_picture_choices).collect();
        for (done, (item, question)) in items.iter().enumerate() {
            if !self.is_done("picture_option", &item.id, 0) {
                let id = question.picture.as_deref().unwrap_or_default();
                let Some(picture) = self.picture(id)? else { continue };
                let mut records = self.choice_records("picture", item, question, None, &known)?;
                for record in &mut records {
                    record.task.push_str("_blind");
                }
                records.retain(|record| record.task != "picture_letter_blind");
                let seen =
                    self.choice_records("picture", item, question, Some(&picture), &known)?;
                records.extend(seen);
                self.log.append(records)?;
            }
            if self.tell("picture questions", done + 1, items.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A picture of the character by id, at the model's size.
    fn picture(&self, id: &str) -> EvalResult<Option<RgbImage>> {
        let character = self.character();
        match character.picture(id) {
            Some(picture) => Ok(Some(load_rgb(&character.picture_path(picture))?)),
            None => Ok(None),
        }
    }

    fn choice_records(
        &self,
        what: &str,
        item: &Item,
        question: &Question,
        picture: Option<&RgbImage>,
        known: &HashSet<String>,
    ) -> EvalResult<Vec<Record>> {
        let rotated = choice::by_rotation(item, |item| choice::letter(self.model, picture, item))?;
        let by_text = choice::option_text(self.model, picture, item)?;
        let mut slices = vec![seen_slice(known, &item.question).to_owned()];
        slices.extend(question.difficulty.clone());
        let detail = json!({
            "question": item.question, "right": item.options[item.right],
            "chosen": item.options[by_text], "letters": rotated.chosen,
        });
        let value = |is_right: bool| f64::from(u8::from(is_right));
        let values = [
            ("rotation", rotated.score),
            ("letter", value(rotated.is_right_unrotated)),
            ("option", value(by_text == item.right)),
        ];
        let records = values.into_iter().map(|(form, value)| {
            let mut record = self.record(&format!("{what}_{form}"), &item.id, 0, value);
            record.slices.clone_from(&slices);
            record.detail = object(&detail);
            record
        });
        Ok(records.collect())
    }

    pub(super) fn reply_likelihood(&mut self) -> Flow {
        let replies = test_replies(self.character());
        let known = train_lines(self.character());
        let replies: Vec<TestReply> = spread(replies, self.plan.settings.num_replies).collect();
        for (done, reply) in replies.iter().enumerate() {
            if !self.is_done("reply_nll", &reply.id, 0) {
                let asked = Asked::read(self.model, None, &reply.prompt)?;
                let surprise = asked.surprise(&reply.text, true)?;
                let mut record = self.record("reply_nll", &reply.id, 0, surprise.per_token());
                record.slices.push(seen_slice(&known, &reply.user).into());
                record.detail = object(&json!({"tokens": surprise.num_tokens}));
                self.log.append(vec![record])?;
            }
            if self.tell("test replies", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whose reply is it? Each is scored under the description, opening and name of every
    /// character, with this character's model.
    pub(super) fn identification(&mut self) -> Flow {
        if self.plan.subjects.len() < 2 {
            return Ok(ControlFlow::Continue(()));
        }
        let replies: Vec<TestReply> =
            spread(test_replies(self.character()), self.plan.settings.num_identified).collect();
        for (done, reply) in replies.iter().enumerate() {
            if !self.is_done("character_id", &reply.id, 0) {
                let mut best: Option<(usize, f64)> = None;
                for (index, subject) in self.plan.subjects.iter().enumerate() {
                    let prompt = reply_prompt(&subject.character, &reply.user);
                    let asked = Asked::read(self.model, None, &prompt)?;
                    let nats = asked.surprise(&reply.text, true)?.nats;
                    if best.is_none_or(|(_, least)| nats < least) {
                        best = Some((index, nats));
                    }
                }
                let chosen = best.map_or(self.index, |(index, _)| index);
                let value = f64::from(u8::from(chosen == self.index));
                let mut record = self.record("character_id", &reply.id, 0, value);
                let name = &self.plan.subjects[chosen].character.name;
                let num = self.plan.subjects.len();
                record.detail = object(&json!({"num_choices": num, "chosen": name}));
                self.log.append(vec![record])?;
            }
            if self.tell("whose reply", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn sampled_replies(&mut self) -> Flow {
        let replies: Vec<TestReply> =
            spread(test_replies(self.character()), self.plan.settings.num_sampled).collect();
        for (done, reply) in replies.iter().enumerate() {
            let seed = seed_of(&self.character().name, &reply.prompt, 0);
            if !self.is_done("reply_distinct2", &reply.id, seed) {
                let (text, num_tokens) = self.say(&reply.prompt, seed)?;
                let detail = object(&json!({
                    "user": reply.user, "reference": reply.text, "reply": text,
                    "adapter": self.model.adapter_hash(),
                }));
                let mut length = self.record("reply_tokens", &reply.id, seed, num_tokens as f64);
                length.detail = detail;
                let distinct = self.record("reply_distinct2", &reply.id, seed, distinct2(&text));
                self.log.append(vec![length, distinct])?;
            }
            if self.tell("sampled replies", done + 1, replies.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn say(&self, prompt: &str, seed: u64) -> EvalResult<(String, usize)> {
        let request = ReplyRequest {
            prompt: prompt.into(),
            sampling: TextSampling { seed, ..TextSampling::default() },
            max_tokens: self.plan.settings.max_reply_tokens,
            ..ReplyRequest::default()
        };
        let reply = self.model.reply(&request, &mut |_| ControlFlow::Continue(()))?;
        Ok((reply.text, reply.num_tokens))
    }

    /// Open prompts, answered by the model and scored by the judge that the user named.
    pub(super) fn judged(&mut self) -> Flow {
        let Some(judge) = &self.plan.judge else { return Ok(ControlFlow::Continue(())) };
        let character = self.character().clone();
        for (kind, task) in [
            (QuestionKind::Memorization, "judge_memorization"),
            (QuestionKind::Personality, "judge_personality"),
        ] {
            let questions = character.questions.iter().filter(|q| q.kind == kind);
            let questions: Vec<&Question> = questions.filter(|q| q.dropped.is_none()).collect();
            let questions: Vec<&Question> =
                spread(questions, self.plan.settings.num_judged).collect();
            for (done, question) in questions.iter().enumerate() {
                let seed = seed_of(&character.name, &question.question, 0);
                if !self.is_done(task, &question.id, seed) {
                    let (reply, _) =
                        self.say(&reply_prompt(&character, &question.question), seed)?;
                    let verdict = judge.score(&character, kind, &question.question, &reply)?;
                    if let Some(verdict) = verdict {
                        let mut record = self.record(task, &question.id, seed, verdict.score);
                        record.detail = object(&json!({
                            "user": question.question, "reply": reply,
                            "reasoning": verdict.reasoning, "adapter": self.model.adapter_hash(),
                        }));
                        self.log.append(vec![record])?;
                    } else {
                        let record = self.record("judge_unreadable", &question.id, seed, 1.);
                        self.log.append(vec![record])?;
                    }
                }
                if self.tell("judged replies", done + 1, questions.len()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
