//! Importing a second time: record by record, without touching what a person changed.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RECORD_FILE;
use super::report::{ImportFinding, Severity};
use crate::character::Character;
use crate::error::{Error, Result};
use crate::files::{read_json, to_json_pretty, write_atomic};

/// Hashes of everything as the data set had it, by record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn of(character: &Character) -> Result<Self> {
        let mut hashes = BTreeMap::new();
        for part in parts(character)? {
            hashes.insert(part.key, part.hash);
        }
        Ok(Self { hashes })
    }

    /// The record of the last import; an empty one if it is gone, which makes everything look edited.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        match read_json(&dir.join(RECORD_FILE)) {
            Err(Error::Missing { .. }) => Ok(Self::default()),
            other => other,
        }
    }

    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        write_atomic(&dir.join(RECORD_FILE), &to_json_pretty(self)?)
    }
}

/// What merging did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changed: bool,
    /// Ids of pictures whose file must be written.
    pub(super) pictures_to_store: HashSet<String>,
}

struct Part {
    key: String,
    hash: String,
}

/// Fields that the importer fills, each its own record; those of cards only where one was the source.
fn fields(character: &Character) -> Result<Vec<(&'static str, Value)>> {
    let mut fields: Vec<(&str, Value)> = vec![
        ("name", character.name.clone().into()),
        ("persona", character.persona.clone().into()),
        ("greeting", character.greeting.clone().into()),
        ("profile", character.profile.clone().into()),
        ("personality", character.personality.clone().into()),
    ];
    if character.source.as_ref().is_some_and(|source| source.kind == crate::cards::SOURCE_KIND) {
        fields.push(("prompt_name", character.prompt_name.clone().into()));
        fields.push(("appearance", character.visual_cues.appearance.clone().into()));
        fields.push(("other_greetings", character.other_greetings.clone().into()));
        fields.push(("tags", character.tags.clone().into()));
        fields.push(("credits", character.credits.clone().into()));
        let lorebook = to_json_pretty(&character.lorebook)?;
        fields.push(("lorebook", String::from_utf8_lossy(&lorebook).into()));
    }
    Ok(fields)
}

fn set_field(character: &mut Character, field: &str, from: &Character) {
    match field {
        "name" => character.name.clone_from(&from.name),
        "persona" => character.persona.clone_from(&from.persona),
        "greeting" => character.greeting.clone_from(&from.greeting),
        "profile" => character.profile.clone_from(&from.profile),
        "personality" => character.personality.clone_from(&from.personality),
        "prompt_name" => character.prompt_name.clone_from(&from.prompt_name),
        "appearance" => {
            character.visual_cues.appearance.clone_from(&from.visual_cues.appearance);
        }
        "other_greetings" => character.other_greetings.clone_from(&from.other_greetings),
        "tags" => character.tags.clone_from(&from.tags),
        "credits" => character.credits.clone_from(&from.credits),
        "lorebook" => character.lorebook.clone_from(&from.lorebook),
        _ => {}
    }
}

fn parts(character: &Character) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (field, value) in fields(character)? {
        parts.push(Part { key: format!("field/{field}"), hash: hash(&value)? });
    }
    for picture in &character.pictures {
        parts.push(Part { key: format!("picture/{}", picture.id), hash: hash(picture)? });
    }
    for scene in &character.scenes {
        parts.push(Part { key: format!("scene/{}", scene.id), hash: hash(scene)? });
    }
    for question in &character.questions {
        parts.push(Part { key: format!("question/{}", question.id), hash: hash(question)? });
    }
    for prompt in &character.prompts {
        parts.push(Part { key: format!("prompt/{}", prompt.id), hash: hash(prompt)? });
    }
    Ok(parts)
}

fn hash<T: Serialize>(value: &T) -> Result<String> {
    let bytes = to_json_pretty(value)?;
    Ok(blake3::hash(&bytes).to_hex()[..24].to_owned())
}

/// Brings `current` up to date with `fresh`.
pub(super) fn merge(
    current: &mut Character,
    fresh: Character,
    record: &Record,
    findings: &mut Vec<ImportFinding>,
) -> Result<Outcome> {
    let mut merger = Merger { record, findings, changed: false };
    let (old_fields, new_fields) = (fields(current)?, fields(&fresh)?);
    for ((field, old), (_, new)) in old_fields.iter().zip(&new_fields) {
        if merger.choose("field", field, old, new)? {
            set_field(current, field, &fresh);
        }
    }
    let source = fresh.source.clone();
    if current.source != source {
        current.source = source;
        merger.changed = true;
    }
    let old_hashes: HashSet<(String, Option<String>)> =
        current.pictures.iter().map(|p| (p.id.clone(), p.hash.clone())).collect();
    merger.rows("picture", &mut current.pictures, fresh.pictures, |p| &p.id)?;
    merger.rows("scene", &mut current.scenes, fresh.scenes, |s| &s.id)?;
    merger.rows("question", &mut current.questions, fresh.questions, |q| &q.id)?;
    merger.rows("prompt", &mut current.prompts, fresh.prompts, |p| &p.id)?;
    let changed = merger.changed;
    let pictures_to_store = current
        .pictures
        .iter()
        .filter(|p| {
            !old_hashes.contains(&(p.id.clone(), p.hash.clone()))
                || !current.picture_path(p).exists()
        })
        .map(|p| p.id.clone())
        .collect();
    Ok(Outcome { changed, pictures_to_store })
}

struct Merger<'a> {
    record: &'a Record,
    findings: &'a mut Vec<ImportFinding>,
    changed: bool,
}

impl Merger<'_> {
    fn say(&mut self, code: &str, severity: Severity, place: &str, message: &str) {
        self.findings.push(ImportFinding {
            code: code.into(),
            severity,
            file: "library".into(),
            line: None,
            place: place.into(),
            message: message.into(),
            detail: String::new(),
        });
    }

    /// True when the data set's version replaces the present one.
    fn choose<T: Serialize>(&mut self, what: &str, id: &str, old: &T, new: &T) -> Result<bool> {
        let key = format!("{what}/{id}");
        let (old_hash, new_hash) = (hash(old)?, hash(new)?);
        if old_hash == new_hash {
            return Ok(false);
        }
        let recorded = self.record.hashes.get(&key);
        if recorded == Some(&old_hash) {
            self.changed = true;
            return Ok(true);
        }
        if recorded == Some(&new_hash) {
            self.say("EDIT-KEPT", Severity::Info, &key, "your change was kept");
        } else {
            let message = "changed by you and in what is imported; your version was kept";
            self.say("EDIT-CONFLICT", Severity::Warning, &key, message);
        }
        Ok(false)
    }

    fn rows<T: Serialize>(
        &mut self,
        what: &str,
        old: &mut Vec<T>,
        new: Vec<T>,
        id_of: impl Fn(&T) -> &String,
    ) -> Result<()> {
        let mut new_from_id: BTreeMap<String, T> = BTreeMap::new();
        let mut order = Vec::new();
        for row in new {
            order.push(id_of(&row).clone());
            new_from_id.insert(id_of(&row).clone(), row);
        }
        let mut merged = Vec::new();
        for row in old.drain(..) {
            let id = id_of(&row).clone();
            if let Some(fresh) = new_from_id.remove(&id) {
                let replace = self.choose(what, &id, &row, &fresh)?;
                merged.push(if replace { fresh } else { row });
            } else if !self.is_gone(what, &id, &row)? {
                merged.push(row);
            }
        }
        for id in order {
            let Some(row) = new_from_id.remove(&id) else {
                continue;
            };
            let key = format!("{what}/{id}");
            if self.record.hashes.contains_key(&key) {
                self.say("EDIT-DELETED", Severity::Info, &key, "removed by you, not brought back");
            } else {
                self.changed = true;
                merged.push(row);
            }
        }
        *old = merged;
        Ok(())
    }

    /// A record the data set no longer has goes, unless a person wrote or changed it.
    fn is_gone<T: Serialize>(&mut self, what: &str, id: &str, row: &T) -> Result<bool> {
        let key = format!("{what}/{id}");
        match self.record.hashes.get(&key) {
            None => Ok(false),
            Some(recorded) if *recorded == hash(row)? => {
                self.changed = true;
                self.say(
                    "SRC-GONE",
                    Severity::Info,
                    &key,
                    "no longer in what is imported, removed",
                );
                Ok(true)
            }
            Some(_) => {
                let message = "no longer in what is imported; kept because you changed it";
                self.say("EDIT-CONFLICT", Severity::Warning, &key, message);
                Ok(false)
            }
        }
    }
}
