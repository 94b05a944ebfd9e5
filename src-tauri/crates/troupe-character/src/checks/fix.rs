//! Mending what can be mended without deciding anything for the author.

use std::collections::HashSet;

use crate::{Character, error::Result, normalise::loose, pictures};

/// Mends a character in memory; the result says what was done, in words.
///
/// Blanks around short texts go, empty turns and scenes without turns go, replies that point at
/// pictures which are not there keep the id as a lost one, yes/no answers become lower-case,
/// repeated prompt questions go, and pictures without a hash get one. Nothing else is touched.
pub fn fix(character: &mut Character) -> Vec<String> {
    let mut done = Vec::new();
    let mut say = |num: usize, what: &str| {
        if num > 0 {
            done.push(format!("{num} {what}"));
        }
    };
    say(trim(character), "texts without blanks around them now");
    say(empty_turns(character), "empty turns or scenes removed");
    say(lost_pictures(character), "replies no longer point at pictures that are not there");
    say(prompt_questions(character), "prompt questions written once and in lower case");
    say(hashes(character), "pictures with a hash to find copies by");
    done
}

/// [`fix`] on the files of a character, each written whole or not at all.
///
/// # Errors
/// When the folder cannot be written; files not yet written keep their old content.
pub fn fix_and_save(character: &mut Character) -> Result<Vec<String>> {
    let done = fix(character);
    if !done.is_empty() {
        character.save()?;
    }
    Ok(done)
}

fn trim_one(text: &mut String) -> usize {
    let trimmed = text.trim();
    if trimmed.len() == text.len() {
        return 0;
    }
    *text = trimmed.to_owned();
    1
}

fn trim(character: &mut Character) -> usize {
    // Persona and greeting of imports go into prompts byte by byte, so they stay as they are.
    let is_import = character.source.as_ref().is_some_and(|s| s.kind == "rolescape");
    if is_import {
        return 0;
    }
    let mut num = trim_one(&mut character.persona) + trim_one(&mut character.greeting);
    num += trim_one(&mut character.speaking_style);
    num += character.pictures.iter_mut().map(|p| trim_one(&mut p.caption)).sum::<usize>();
    for question in &mut character.questions {
        num += trim_one(&mut question.question);
        num += question.answer.as_mut().map_or(0, trim_one);
    }
    num
}

fn empty_turns(character: &mut Character) -> usize {
    let mut num = 0;
    for scene in &mut character.scenes {
        let before = scene.turns.len();
        scene.turns.retain(|turn| !turn.text.trim().is_empty() || turn.picture.is_some());
        num += before - scene.turns.len();
    }
    let before = character.scenes.len();
    character.scenes.retain(|scene| !scene.turns.is_empty());
    num + before - character.scenes.len()
}

fn lost_pictures(character: &mut Character) -> usize {
    let known: HashSet<String> = character.pictures.iter().map(|p| p.id.clone()).collect();
    let mut num = 0;
    for turn in character.scenes.iter_mut().flat_map(|scene| &mut scene.turns) {
        if turn.picture.as_ref().is_some_and(|id| !known.contains(id)) {
            turn.missing_picture = turn.picture.take();
            num += 1;
        }
    }
    num
}

fn prompt_questions(character: &mut Character) -> usize {
    let mut num = 0;
    for prompt in &mut character.prompts {
        for question in &mut prompt.questions {
            let lower = question.answer.trim().to_lowercase();
            let is_word = lower == "yes" || lower == "no";
            if question.kind == "yes_no" && is_word && lower != question.answer {
                question.answer = lower;
                num += 1;
            }
        }
        let before = prompt.questions.len();
        let mut seen = HashSet::new();
        prompt
            .questions
            .retain(|q| seen.insert((loose(&q.question), q.answer.trim().to_lowercase())));
        num += before - prompt.questions.len();
    }
    num
}

fn hashes(character: &mut Character) -> usize {
    let mut num = 0;
    for index in 0..character.pictures.len() {
        let path = character.picture_path(&character.pictures[index]);
        if character.pictures[index].hash.is_none()
            && let Ok(decoded) = pictures::decode_file(&path)
        {
            character.pictures[index].hash = Some(pictures::pixel_hash(&decoded.image));
            num += 1;
        }
    }
    num
}
