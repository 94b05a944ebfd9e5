//! The fields of a card, whichever version wrote them, with what had to be guessed.
//!
//! Source: character card specs V1 and V2 (malfoyslastname/character-card-spec-v2) and V3
//! (kwaroran/character-card-spec-v3).

use serde_json::{Map, Value};

use crate::rolescape::{Findings, Severity};

/// Placeholder of an old editor, written by nobody.
const TEMPLATE_NOTES: &str = "Creator's notes go here.";

/// Names of V1 fields in the dialect of Pygmalion.
const DIALECT: [(&str, &str); 5] = [
    ("name", "char_name"),
    ("description", "char_persona"),
    ("scenario", "world_scenario"),
    ("first_mes", "char_greeting"),
    ("mes_example", "example_dialogue"),
];

/// Fields that become part of the character; the others are only kept.
const USED: [&str; 12] = [
    "name",
    "nickname",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "alternate_greetings",
    "tags",
    "creator",
    "character_book",
    "extensions",
];

/// Keys that say nothing about a character.
const SILENT: [&str; 12] = [
    "spec",
    "spec_version",
    "avatar",
    "chat",
    "fav",
    "create_date",
    "creation_date",
    "modification_date",
    "talkativeness",
    "json_data",
    "date_added",
    "metadata",
];

/// A card as the importer needs it; texts are raw, with their macros.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) nickname: String,
    pub(super) description: String,
    pub(super) personality: String,
    pub(super) scenario: String,
    pub(super) first_mes: String,
    pub(super) mes_example: String,
    pub(super) alternate_greetings: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) creator: String,
    pub(super) book: Vec<Value>,
    /// Words that the author draws the character with.
    pub(super) looks: String,
    /// Filled fields that the character has no use for.
    pub(super) unused: Vec<String>,
}

/// True for an object that has what only cards have.
pub(super) fn is_card(object: &Map<String, Value>) -> bool {
    let object = unwrapped(object);
    let spec = object.get("spec").and_then(Value::as_str).unwrap_or_default();
    match object.get("data").and_then(Value::as_object) {
        Some(data) => spec.starts_with("chara_card") || num_own_fields(data) > 0,
        None => num_own_fields(object) > 1, // a single “description” is in many kinds of file
    }
}

/// How many of the fields that cards have in common are there, besides the name.
fn num_own_fields(object: &Map<String, Value>) -> usize {
    let has = |key: &str| usize::from(object.contains_key(key));
    let dialect = DIALECT.iter().skip(1).map(|(key, other)| has(key).max(has(other)));
    dialect.sum::<usize>() + has("personality")
}

/// The name a card gives, before any fall-back.
pub(super) fn name(object: &Map<String, Value>) -> &str {
    let object = unwrapped(object);
    let data = object.get("data").and_then(Value::as_object).unwrap_or(object);
    data.get("name").and_then(Value::as_str).unwrap_or_default().trim()
}

/// Reads a card. `file` is what findings call it; its stem is the last resort for a name.
pub(super) fn read(object: &Map<String, Value>, file: &str, findings: &mut Findings) -> Card {
    let top = unwrapped(object);
    let data = match top.get("data").and_then(Value::as_object) {
        Some(data) => {
            check_version(top, file, findings);
            data
        }
        None => {
            if top.contains_key("spec") {
                let message = "the card says it is V2 or V3 but has no “data”; read as V1";
                findings.file("CARD-NODATA", Severity::Warning, file, message);
            }
            top
        }
    };
    let mut reader = Reader { data, file, findings };
    let mut card = Card {
        name: reader.text("name").trim().to_owned(),
        nickname: reader.text("nickname").trim().to_owned(),
        description: reader.text("description"),
        personality: reader.text("personality"),
        scenario: reader.text("scenario"),
        first_mes: reader.text("first_mes"),
        mes_example: reader.text("mes_example"),
        alternate_greetings: reader.list("alternate_greetings"),
        tags: reader.tags(),
        creator: reader.text("creator").trim().to_owned(),
        book: reader.book(),
        looks: reader.looks(),
        unused: reader.unused(),
    };
    if !std::ptr::eq(top, data) {
        compare_mirror(top, data, file, findings);
        let outside = top.iter().filter(|(key, value)| {
            let key = key.as_str();
            !data.contains_key(key)
                && !["data", "creatorcomment"].contains(&key)
                && !SILENT.contains(&key)
                && !is_blank(value)
        });
        card.unused.extend(outside.map(|(key, _)| key.clone()));
    }
    if card.name.is_empty() {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let top_name = top.get("name").and_then(Value::as_str).unwrap_or_default();
        let names = [card.nickname.as_str(), top_name.trim(), stem.trim(), "Unnamed"];
        card.name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
        let message = format!("the card has no name; called “{}”", card.name);
        findings.file("CARD-NAME", Severity::Warning, file, message).about(&card.name);
    }
    card
}

/// The card within the envelopes that some programs put round it.
fn unwrapped(object: &Map<String, Value>) -> &Map<String, Value> {
    let inner = ["card", "character", "chara_card"]
        .into_iter()
        .filter_map(|key| object.get(key).and_then(Value::as_object));
    let has_card = |inner: &&Map<String, Value>| {
        ["data", "description", "first_mes", "char_persona"].iter().any(|k| inner.contains_key(*k))
    };
    if object.contains_key("data") {
        return object;
    }
    inner.into_iter().find(has_card).unwrap_or(object)
}

fn check_version(top: &Map<String, Value>, file: &str, findings: &mut Findings) {
    let spec = top.get("spec").and_then(Value::as_str).unwrap_or_default();
    let version = top.get("spec_version").map(plain).unwrap_or_default();
    let is_known = ["chara_card_v2", "chara_card_v3"].contains(&spec);
    let is_newer = version.trim().parse::<f64>().is_ok_and(|version| version > 3.0);
    if !is_known || is_newer {
        let said = format!("{spec} {version}").trim().to_owned();
        let message = format!("a version this importer does not know ({said}); read like V3");
        findings.file("CARD-VERSION", Severity::Warning, file, message).about(said);
    }
}

/// V2 and V3 cards often repeat the V1 fields outside `data`, and the copies go stale.
fn compare_mirror(
    top: &Map<String, Value>,
    data: &Map<String, Value>,
    file: &str,
    findings: &mut Findings,
) {
    let fields = ["name", "description", "personality", "scenario", "first_mes", "mes_example"];
    let differing: Vec<&str> = fields
        .into_iter()
        .filter(|key| top.get(*key).is_some_and(|v| !is_blank(v) && Some(v) != data.get(*key)))
        .collect();
    if !differing.is_empty() {
        let keys = differing.join(", ");
        let message = format!("the copy outside “data” differs and was not used: {keys}");
        findings.file("CARD-MIRROR", Severity::Warning, file, message).about(keys);
    }
}

struct Reader<'a> {
    data: &'a Map<String, Value>,
    file: &'a str,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    /// A field, or its name in the other dialect where that is the one with a text.
    fn value(&self, key: &str) -> Option<&Value> {
        let other = DIALECT.iter().find(|(ours, _)| *ours == key).map(|(_, other)| *other);
        let found = |key: &str| self.data.get(key).filter(|value| !is_blank(value));
        found(key).or_else(|| other.and_then(found))
    }

    fn text(&mut self, key: &str) -> String {
        let text = match self.value(key) {
            None => return String::new(),
            Some(Value::String(text)) => return text.clone(),
            Some(Value::Array(_) | Value::Object(_)) => String::new(),
            Some(plain_value) => plain(plain_value),
        };
        self.odd_kind(key);
        text
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        let (items, is_odd) = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => {
                let is_odd = items.iter().any(|item| !item.is_string());
                (items.iter().map(plain).collect(), is_odd)
            }
            Some(Value::Object(_)) => (Vec::new(), true),
            Some(one) => (vec![plain(one)], true),
        };
        if is_odd {
            self.odd_kind(key);
        }
        items.into_iter().filter(|item: &String| !item.trim().is_empty()).collect()
    }

    fn tags(&mut self) -> Vec<String> {
        let tags = match self.data.get("tags") {
            Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
            _ => self.list("tags"),
        };
        tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
    }

    /// Entries of the lorebook: a list, or an object by number.
    fn book(&mut self) -> Vec<Value> {
        let entries = match self.data.get("character_book").and_then(|book| book.get("entries")) {
            Some(Value::Array(entries)) => entries.clone(),
            Some(Value::Object(by_number)) => {
                let mut entries: Vec<(&String, &Value)> = by_number.iter().collect();
                entries.sort_by_key(|(key, _)| key.parse::<u64>().unwrap_or(u64::MAX));
                entries.into_iter().map(|(_, entry)| entry.clone()).collect()
            }
            _ => Vec::new(),
        };
        entries.into_iter().filter(Value::is_object).collect()
    }

    fn looks(&self) -> String {
        let looks = self.data.get("extensions").and_then(|all| all.get("sd_character_prompt"));
        looks.and_then(|l| l.get("positive")).and_then(Value::as_str).unwrap_or_default().into()
    }

    fn unused(&self) -> Vec<String> {
        let dialect = |key: &str| DIALECT.iter().any(|(_, other)| *other == key);
        let mut unused: Vec<String> = self
            .data
            .iter()
            .filter(|(key, value)| {
                !USED.contains(&key.as_str())
                    && !SILENT.contains(&key.as_str())
                    && !dialect(key)
                    && !is_blank(value)
                    && value.as_str() != Some(TEMPLATE_NOTES)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if self.data.get("character_book").is_some_and(|book| !is_blank(book)) {
            unused.push("character_book".into());
        }
        let extensions = self.data.get("extensions").and_then(Value::as_object);
        let extensions = extensions.into_iter().flatten();
        unused.extend(
            extensions
                .filter(|(key, value)| {
                    let is_used = key.as_str() == "sd_character_prompt";
                    !is_used && !SILENT.contains(&key.as_str()) && !is_empty_within(value)
                })
                .map(|(key, _)| format!("extensions.{key}")),
        );
        unused
    }

    fn odd_kind(&mut self, key: &str) {
        let message = format!("“{key}” is not of the kind it should be; read as far as it goes");
        self.findings.file("CARD-TYPE", Severity::Warning, self.file, message).about(key);
    }
}

/// The text of a plain value; lists and objects have none.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Blank, or an object of blanks and settings such as a depth without a prompt.
fn is_empty_within(value: &Value) -> bool {
    match value {
        Value::Object(fields) => match fields.get("prompt") {
            Some(prompt) => is_blank(prompt),
            None => fields.values().all(is_blank),
        },
        other => is_blank(other),
    }
}
