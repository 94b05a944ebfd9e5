//! The material of all characters in one list: scenes, questions and prompts, filtered and searched.
//!
//! The index is kept in memory. Twenty imported characters are some fifteen thousand items and a few
//! megabytes of text; looking through all of them for words takes milliseconds, finds words inside
//! words and in languages without spaces, and needs nothing written that could go stale. A
//! character whose files have changed is read anew when the browser is opened.

mod item;
mod query;
mod trial;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError},
    time::SystemTime,
};

use troupe_character::{Character, Entry, QuestionKind, Split};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCode},
    wire::{
        MaterialCount, MaterialFilter, MaterialItem, MaterialKind, MaterialOwner, MaterialPage,
        MaterialRow,
    },
};
use query::Query;

/// Files whose change makes a character be read anew.
const FILES: [&str; 5] =
    ["character.json", "scenes.jsonl", "questions.jsonl", "prompts.jsonl", "pictures.jsonl"];
/// Most items of one page.
const MAX_PAGE: u32 = 500;

/// Where a record is in its character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Scene(usize),
    Question(usize),
    Prompt(usize),
}

/// One item of the index.
#[derive(Debug)]
struct Indexed {
    kind: MaterialKind,
    place: Place,
    id: String,
    /// Everything that can be found, one part a line.
    text: String,
    /// The same in lower case.
    folded: String,
    picture_id: Option<String>,
    is_held_out: bool,
}

/// A character with its items.
#[derive(Debug)]
struct Owned {
    character: Character,
    items: Vec<Indexed>,
    stamp: Vec<Option<(SystemTime, u64)>>,
}

/// Everybody's material, in the order of the list of characters.
#[derive(Debug, Default)]
pub(crate) struct MaterialIndex {
    owners: Vec<Arc<Owned>>,
    is_read: bool,
}

/// What changes when a character's files do.
fn stamp(dir: &Path) -> Vec<Option<(SystemTime, u64)>> {
    let of = |name: &&str| {
        let meta = std::fs::metadata(dir.join(name)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    FILES.iter().map(of).collect()
}

fn scene_kind(scene: &troupe_character::Scene) -> MaterialKind {
    let names_picture =
        |t: &troupe_character::Turn| t.picture.is_some() || t.missing_picture.is_some();
    if scene.turns.iter().any(names_picture) {
        MaterialKind::PictureScene
    } else {
        MaterialKind::Dialogue
    }
}

fn question_kind(kind: QuestionKind) -> MaterialKind {
    match kind {
        QuestionKind::Knowledge => MaterialKind::Knowledge,
        QuestionKind::Picture => MaterialKind::PictureQuestion,
        QuestionKind::KnowledgeChoice => MaterialKind::KnowledgeChoice,
        QuestionKind::PictureChoice => MaterialKind::PictureChoice,
        QuestionKind::Memorization => MaterialKind::Memorization,
        QuestionKind::Personality => MaterialKind::Personality,
    }
}

impl Indexed {
    fn new(kind: MaterialKind, place: Place, id: &str, parts: &[&str]) -> Self {
        let parts: Vec<&str> = parts.iter().map(|p| p.trim()).filter(|p| !p.is_empty()).collect();
        let text = parts.join("\n");
        let folded = text.to_lowercase();
        let id = id.to_owned();
        Self { kind, place, id, text, folded, picture_id: None, is_held_out: false }
    }
}

fn items_of(character: &Character) -> Vec<Indexed> {
    let scenes = character.scenes.iter().enumerate().map(|(at, scene)| {
        let mut parts: Vec<&str> = scene.turns.iter().map(|t| t.text.as_str()).collect();
        for turn in &scene.turns {
            parts.extend(turn.reasoning.as_deref());
            parts.extend(turn.instruction.as_deref());
        }
        Indexed {
            picture_id: scene.picture().map(Into::into),
            is_held_out: scene.split == Split::Test,
            ..Indexed::new(scene_kind(scene), Place::Scene(at), &scene.id, &parts)
        }
    });
    let questions = character.questions.iter().enumerate().map(|(at, q)| {
        let mut parts = vec![q.question.as_str()];
        parts.extend(q.answer.as_deref());
        parts.extend(q.options.values().map(String::as_str));
        parts.extend(q.rationale.as_deref());
        parts.extend(q.evidence.iter().map(String::as_str));
        Indexed {
            picture_id: q.picture.clone(),
            is_held_out: q.split == Split::Test,
            ..Indexed::new(question_kind(q.kind), Place::Question(at), &q.id, &parts)
        }
    });
    let prompts = character.prompts.iter().enumerate().map(|(at, prompt)| {
        let mut parts = vec![prompt.text.as_str()];
        parts.extend(prompt.questions.iter().map(|q| q.question.as_str()));
        Indexed {
            is_held_out: prompt.split == Split::Test,
            ..Indexed::new(MaterialKind::PicturePrompt, Place::Prompt(at), &prompt.id, &parts)
        }
    });
    let mut items: Vec<Indexed> = scenes.chain(questions).chain(prompts).collect();
    items.sort_by_key(|item| item.kind); // stable: within a kind as in the files
    items
}

/// Numbers of items by kind.
fn counted(of: impl Iterator<Item = MaterialKind>) -> Vec<MaterialCount> {
    let mut counts = MaterialKind::ALL.map(|kind| MaterialCount { kind, count: 0 });
    for kind in of {
        counts[kind as usize].count += 1;
    }
    counts.to_vec()
}

impl Owned {
    fn read(dir: &Path) -> troupe_character::Result<Self> {
        let stamp = stamp(dir);
        let character = Character::load(dir)?;
        Ok(Self { items: items_of(&character), character, stamp })
    }

    fn row(&self, item: &Indexed, query: &Query) -> MaterialRow {
        MaterialRow {
            character_id: self.character.id.clone(),
            character_name: self.character.name.clone(),
            kind: item.kind,
            id: item.id.clone(),
            text: query.excerpt(&item.text),
            picture_id: item.picture_id.clone(),
            is_held_out: item.is_held_out,
        }
    }

    fn owner(&self, entry: &Entry) -> MaterialOwner {
        let character = &self.character;
        let pictures =
            |split| character.pictures.iter().filter(|p| p.split == split).count() as u32;
        let group = character.extra.get("group").and_then(serde_json::Value::as_str);
        MaterialOwner {
            id: character.id.clone(),
            name: character.name.clone(),
            group: group.unwrap_or_default().to_owned(),
            is_rolescape: character.source.as_ref().is_some_and(|s| s.kind == "rolescape"),
            is_bundled: entry.is_bundled,
            num_train_pictures: pictures(Split::Train),
            num_test_pictures: pictures(Split::Test),
            counts: counted(self.items.iter().map(|item| item.kind)),
            problem: None,
        }
    }
}

fn unreadable(entry: &Entry, problem: troupe_character::Error) -> MaterialOwner {
    MaterialOwner {
        id: entry.id.clone(),
        name: entry.name.clone(),
        group: String::new(),
        is_rolescape: false,
        is_bundled: entry.is_bundled,
        num_train_pictures: 0,
        num_test_pictures: 0,
        counts: counted(std::iter::empty()),
        problem: Some(problem.into()),
    }
}

impl MaterialIndex {
    /// Takes over who is there, reading only those whose files have changed.
    fn refresh(&mut self, entries: &[Entry]) -> Vec<MaterialOwner> {
        let mut before: HashMap<PathBuf, Arc<Owned>> =
            self.owners.drain(..).map(|o| (o.character.dir.clone(), o)).collect();
        let mut owners = Vec::new();
        for entry in entries {
            let known = before.remove(&entry.dir).filter(|o| o.stamp == stamp(&entry.dir));
            let read = known.map_or_else(|| Owned::read(&entry.dir).map(Arc::new), Ok);
            match read {
                Ok(owned) => {
                    owners.push(owned.owner(entry));
                    self.owners.push(owned);
                }
                Err(error) => owners.push(unreadable(entry, error)),
            }
        }
        self.is_read = true;
        owners
    }

    fn page(&self, filter: &MaterialFilter, offset: u32, limit: u32) -> MaterialPage {
        let query = Query::new(&filter.words);
        let (first, limit) = (offset as usize, limit.min(MAX_PAGE) as usize);
        let (mut kinds, mut items, mut total) = (Vec::new(), Vec::new(), 0);
        for owned in &self.owners {
            if filter.character_id.as_ref().is_some_and(|id| *id != owned.character.id) {
                continue;
            }
            for item in &owned.items {
                let splits_differ = filter.is_held_out.is_some_and(|held| held != item.is_held_out);
                if splits_differ || !query.matches(&item.folded) {
                    continue;
                }
                kinds.push(item.kind);
                if filter.kind.is_some_and(|kind| kind != item.kind) {
                    continue;
                }
                if total >= first && items.len() < limit {
                    items.push(owned.row(item, &query));
                }
                total += 1;
            }
        }
        MaterialPage { total: total as u32, counts: counted(kinds.into_iter()), items }
    }

    fn find(
        &self,
        character_id: &str,
        kind: MaterialKind,
        id: &str,
    ) -> Option<(Arc<Owned>, usize)> {
        let owned = self.owners.iter().find(|o| o.character.id == character_id)?;
        let at = owned.items.iter().position(|item| item.kind == kind && item.id == id)?;
        Some((owned.clone(), at))
    }
}

impl Studio {
    fn material_index(&self) -> MutexGuard<'_, MaterialIndex> {
        self.inner.material.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody with the numbers of their material; reads what has changed since it was last asked.
    ///
    /// # Errors
    /// When the library cannot be read. A character that cannot is listed with its problem.
    pub fn material_owners(&self) -> ApiResult<Vec<MaterialOwner>> {
        let entries = self.library().list()?;
        Ok(self.material_index().refresh(&entries))
    }

    /// Part of the material that a filter leaves, as of the last [`Studio::material_owners`].
    ///
    /// # Errors
    /// When the library has to be read first and cannot be.
    pub fn material(
        &self,
        filter: &MaterialFilter,
        offset: u32,
        limit: u32,
    ) -> ApiResult<MaterialPage> {
        self.read_material_once()?;
        Ok(self.material_index().page(filter, offset, limit))
    }

    /// One item with everything in it.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn material_item(
        &self,
        character_id: &str,
        kind: MaterialKind,
        id: &str,
    ) -> ApiResult<MaterialItem> {
        let (owned, at) = self.found_material(character_id, kind, id)?;
        Ok(item::whole(
            &owned.character,
            &owned.items[at],
            owned.row(&owned.items[at], &Query::new("")),
        ))
    }

    fn read_material_once(&self) -> ApiResult<()> {
        if !self.material_index().is_read {
            self.material_owners()?;
        }
        Ok(())
    }

    fn found_material(
        &self,
        character_id: &str,
        kind: MaterialKind,
        id: &str,
    ) -> ApiResult<(Arc<Owned>, usize)> {
        self.read_material_once()?;
        self.material_index().find(character_id, kind, id).ok_or_else(|| {
            let hint = "It may have been changed elsewhere; open the browser anew.";
            ApiError::new(ErrorCode::NotFound, format!("there is no item {id}"), hint)
        })
    }
}
