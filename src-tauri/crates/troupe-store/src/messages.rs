//! Messages of a chat, as a tree: alternatives are messages with the same parent.

use std::collections::HashMap;

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{Result, Store, found, new_id, now_ms};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The person.
    User,
    /// The character.
    Character,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MessageState {
    /// Being written.
    Streaming,
    /// Whole.
    Complete,
    /// Ended early; what was written is kept.
    Stopped,
    /// Ended by an error; what was written is kept.
    Failed,
}

impl MessageState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "streaming" => Self::Streaming,
            "complete" => Self::Complete,
            "failed" => Self::Failed,
            _ => Self::Stopped,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique id.
    pub id: String,
    /// Its chat.
    pub chat_id: String,
    /// The message before it; none for the first.
    pub parent_id: Option<String>,
    /// Who wrote it.
    pub role: Role,
    /// What it says.
    pub text: String,
    /// How far it is.
    pub state: MessageState,
    /// Its picture.
    pub picture_id: Option<String>,
    /// Seed of a generated message.
    pub seed: Option<i64>,
    /// Settings of a generated message, JSON.
    pub settings: Option<String>,
    /// Hash of the base that wrote it.
    pub base_hash: Option<String>,
    /// Hash of the adapter that wrote it.
    pub adapter_hash: Option<String>,
    /// Creation time in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was pinned, if it is.
    pub pinned_ms: Option<i64>,
    /// File name of a picture that came with it.
    pub attachment: Option<String>,
    /// When its text was last changed by hand, if it is not as it was made.
    pub edited_ms: Option<i64>,
}

/// A message to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its chat.
    pub chat_id: String,
    /// The message before it.
    pub parent_id: Option<String>,
    /// Who writes it.
    pub role: Role,
    /// What it says so far.
    pub text: String,
    /// How far it is.
    pub state: MessageState,
    /// File name of a picture that comes with it.
    pub attachment: Option<String>,
}

impl NewMessage {
    /// A whole message of the person.
    pub fn user(chat_id: &str, parent_id: Option<&str>, text: &str) -> Self {
        Self {
            chat_id: chat_id.into(),
            parent_id: parent_id.map(Into::into),
            role: Role::User,
            text: text.into(),
            state: MessageState::Complete,
            attachment: None,
        }
    }

    /// An empty reply that is about to be written.
    pub fn reply(chat_id: &str, parent_id: &str) -> Self {
        Self {
            chat_id: chat_id.into(),
            parent_id: Some(parent_id.into()),
            role: Role::Character,
            text: String::new(),
            state: MessageState::Streaming,
            attachment: None,
        }
    }
}

/// Where a search found its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchHit {
    /// The message.
    pub message: Message,
    /// Its text around the words, which stand between `[` and `]`.
    pub snippet: String,
}

pub(crate) fn read(row: &Row) -> rusqlite::Result<Message> {
    let role: String = row.get("role")?;
    let state: String = row.get("state")?;
    Ok(Message {
        id: row.get("id")?,
        chat_id: row.get("chat_id")?,
        parent_id: row.get("parent_id")?,
        role: if role == "user" { Role::User } else { Role::Character },
        text: row.get("text")?,
        state: MessageState::parse(&state),
        picture_id: row.get("picture_id")?,
        seed: row.get("seed")?,
        settings: row.get("settings")?,
        base_hash: row.get("base_hash")?,
        adapter_hash: row.get("adapter_hash")?,
        created_ms: row.get("created_ms")?,
        pinned_ms: row.get("pinned_ms")?,
        attachment: row.get("attachment")?,
        edited_ms: row.get("edited_ms")?,
    })
}

/// Beginning of a query on the thread that ends in message `?1`.
const THREAD: &str = "WITH RECURSIVE thread (id, parent_id, depth) AS (
         SELECT id, parent_id, 0 FROM messages WHERE id = ?1
         UNION ALL
         SELECT m.id, m.parent_id, t.depth + 1 FROM messages m JOIN thread t ON m.id = t.parent_id
     ) ";

impl Store {
    /// Adds a message and shows it.
    ///
    /// # Errors
    /// When the chat or the parent does not exist.
    pub fn add_message(&self, new: &NewMessage) -> Result<Message> {
        let id = new_id();
        let role = if new.role == Role::User { "user" } else { "character" };
        self.connection.execute(
            "INSERT INTO messages
                 (id, chat_id, parent_id, role, text, state, created_ms, attachment, depth, root_id)
             VALUES (:id, :chat, :parent, :role, :text, :state, :now, :attachment,
                 coalesce((SELECT depth + 1 FROM messages WHERE id = :parent), 0),
                 coalesce((SELECT root_id FROM messages WHERE id = :parent), :id))",
            named_params! {
                ":id": id, ":chat": new.chat_id, ":parent": new.parent_id, ":role": role,
                ":text": new.text, ":state": new.state.as_str(), ":now": now_ms(),
                ":attachment": new.attachment,
            },
        )?;
        self.set_leaf(&new.chat_id, Some(&id))?;
        self.message(&id)
    }

    /// One message.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn message(&self, id: &str) -> Result<Message> {
        let mut statement =
            self.connection.prepare_cached("SELECT * FROM messages WHERE id = ?1")?;
        found("message", id, statement.query_row([id], read))
    }

    /// Sets text and state.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_text(&self, id: &str, text: &str, state: MessageState) -> Result<()> {
        let sql = "UPDATE messages SET text = ?2, state = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id, text, state.as_str()))?;
        Ok(())
    }

    /// Changes by hand what a message says. One that says again what it said when it was made counts
    /// as never edited, and is as far as it was then.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn edit_text(&self, id: &str, text: &str) -> Result<()> {
        let message = self.message(id)?;
        if message.text == text {
            return Ok(());
        }
        let sql = "SELECT made_text IS ?2 FROM messages WHERE id = ?1";
        let is_as_made = self.connection.query_row(sql, [id, text], |row| row.get(0))?;
        if is_as_made {
            self.connection.execute(
                "UPDATE messages SET text = made_text, state = made_state,
                     edited_ms = NULL, made_text = NULL, made_state = NULL WHERE id = ?1",
                [id],
            )?;
            return Ok(());
        }
        self.connection.execute(
            "UPDATE messages SET text = ?2, state = 'complete', edited_ms = ?3,
                 made_text = CASE WHEN edited_ms IS NULL THEN text ELSE made_text END,
                 made_state = CASE WHEN edited_ms IS NULL THEN state ELSE made_state END
             WHERE id = ?1",
            (id, text, now_ms()),
        )?;
        Ok(())
    }

    /// Records what made a reply: seed, settings (JSON), hashes of base and adapter. What these went on
    /// from, if that was edited, stays marked: no text is theirs alone any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_origin(
        &self,
        id: &str,
        seed: i64,
        settings: &str,
        base_hash: &str,
        adapter_hash: Option<&str>,
    ) -> Result<()> {
        let sql = "UPDATE messages SET seed = ?2, settings = ?3, base_hash = ?4, adapter_hash = ?5,
                       made_text = NULL, made_state = NULL
                   WHERE id = ?1";
        self.connection.execute(sql, (id, seed, settings, base_hash, adapter_hash))?;
        Ok(())
    }

    /// Sets or replaces a message's picture.
    ///
    /// # Errors
    /// When the picture does not exist.
    pub fn set_message_picture(&self, id: &str, picture_id: &str) -> Result<()> {
        let sql = "UPDATE messages SET picture_id = ?2 WHERE id = ?1";
        self.connection.execute(sql, (id, picture_id))?;
        Ok(())
    }

    /// The thread that ends in `leaf`, first message first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn thread_to(&self, leaf: &str) -> Result<Vec<Message>> {
        let mut statement = self.connection.prepare_cached(
            &(THREAD.to_owned()
                + "SELECT m.* FROM messages m JOIN thread t ON m.id = t.id ORDER BY t.depth DESC"),
        )?;
        let rows = statement.query_map([leaf], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The thread that a chat shows.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn thread(&self, chat_id: &str) -> Result<Vec<Message>> {
        match self.chat(chat_id)?.active_leaf {
            Some(leaf) => self.thread_to(&leaf),
            None => Ok(Vec::new()),
        }
    }

    /// What goes along with the last `num` messages of the thread that a chat shows, first message
    /// first: those, pinned ones, and the very first. Also how many are left out. Cheap however long
    /// the thread is, unless something in the chat is pinned.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn thread_end(&self, chat_id: &str, num: usize) -> Result<(Vec<Message>, usize)> {
        let mut last = Vec::new();
        let mut next = self.chat(chat_id)?.active_leaf;
        while let Some(id) = next.take().filter(|_| last.len() < num) {
            let message = self.message(&id)?;
            next.clone_from(&message.parent_id);
            last.push(message);
        }
        last.reverse();
        let Some(earliest) = last.first() else { return Ok((last, 0)) };
        let sql = "SELECT depth, root_id FROM messages WHERE id = ?1";
        let (num_before, root): (i64, String) = self
            .connection
            .prepare_cached(sql)?
            .query_row([&earliest.id], |row| Ok((row.get("depth")?, row.get("root_id")?)))?;
        if num_before == 0 {
            return Ok((last, 0));
        }
        let mut told = vec![self.message(&root)?];
        let is_told = |id: &str| id == root || last.iter().any(|message| message.id == id);
        let pinned = self.pinned_in_thread(chat_id)?;
        told.extend(pinned.into_iter().filter(|message| !is_told(&message.id)));
        let num_left_out = (num_before as usize).saturating_sub(told.len());
        told.append(&mut last);
        Ok((told, num_left_out))
    }

    /// Ids of the thread that a chat shows, first message first: cheap where the texts are not.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn thread_ids(&self, chat_id: &str) -> Result<Vec<String>> {
        let mut statement = self
            .connection
            .prepare_cached(&(THREAD.to_owned() + "SELECT id FROM thread ORDER BY depth DESC"))?;
        let rows = statement.query_map([self.chat(chat_id)?.active_leaf], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Messages that are pinned in the thread that a chat shows, first message first.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn pinned_in_thread(&self, chat_id: &str) -> Result<Vec<Message>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM messages
             WHERE chat_id = ?1 AND pinned_ms IS NOT NULL AND deleted_ms IS NULL",
        )?;
        let rows = statement.query_map([chat_id], read)?;
        let mut pinned = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        if pinned.is_empty() {
            return Ok(pinned); // nearly every chat: no need to walk its thread
        }
        let ids = self.thread_ids(chat_id)?;
        let place: HashMap<&str, usize> =
            ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        pinned.retain(|message| place.contains_key(message.id.as_str()));
        pinned.sort_by_key(|message| place.get(message.id.as_str()).copied());
        Ok(pinned)
    }

    /// Whether the person wrote something in the thread that a chat shows.
    ///
    /// # Errors
    /// When the chat does not exist.
    pub fn has_own_words(&self, chat_id: &str) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(
            &(THREAD.to_owned()
                + "SELECT 1 FROM messages m JOIN thread t ON m.id = t.id WHERE m.role = 'user' LIMIT 1"),
        )?;
        Ok(statement.exists([self.chat(chat_id)?.active_leaf])?)
    }

    /// Ids of a message and its siblings, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn alternatives(&self, message: &Message) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM messages WHERE chat_id = ?1 AND parent_id IS ?2 AND deleted_ms IS NULL
             ORDER BY created_ms, id",
        )?;
        let rows = statement.query_map((&message.chat_id, &message.parent_id), |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Shows the newest thread that goes through a message.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn select(&self, id: &str) -> Result<()> {
        let message = self.message(id)?;
        let mut leaf = message.id.clone();
        let newest = "SELECT id FROM messages
                      WHERE chat_id = ?1 AND parent_id = ?2 AND deleted_ms IS NULL
                      ORDER BY created_ms DESC, id DESC";
        let mut statement = self.connection.prepare_cached(newest)?;
        loop {
            match statement.query_row([&message.chat_id, &leaf], |row| row.get::<_, String>(0)) {
                Ok(child) => leaf = child,
                Err(rusqlite::Error::QueryReturnedNoRows) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.set_leaf(&message.chat_id, Some(&leaf))
    }

    /// Ends the thread that is shown in a message, so that the next one branches off there.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn branch_at(&self, id: &str) -> Result<()> {
        let message = self.message(id)?;
        self.set_leaf(&message.chat_id, Some(id))
    }

    /// Ids of all messages of a chat that are not deleted, each with that of the message before it,
    /// oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tree_ids(&self, chat_id: &str) -> Result<Vec<(String, Option<String>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, parent_id FROM messages WHERE chat_id = ?1 AND deleted_ms IS NULL
             ORDER BY created_ms, id",
        )?;
        let rows = statement.query_map([chat_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// All messages of a chat that are not deleted, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tree(&self, chat_id: &str) -> Result<Vec<Message>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM messages WHERE chat_id = ?1 AND deleted_ms IS NULL
             ORDER BY created_ms, id",
        )?;
        let rows = statement.query_map([chat_id], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Hides a message and all that follow it, and shows the newest thread beside or before it.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn delete_message(&self, id: &str) -> Result<()> {
        let message = self.message(id)?;
        self.mark_from(&message, None, Some(now_ms()))?;
        let beside = self.alternatives(&message)?.pop();
        match (beside, &message.parent_id) {
            (Some(beside), _) => self.select(&beside),
            (None, parent) => self.set_leaf(&message.chat_id, parent.as_deref()),
        }
    }

    /// Brings a deleted message back, with what was deleted along with it, and shows it.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn restore_message(&self, id: &str) -> Result<()> {
        let sql = "SELECT deleted_ms FROM messages WHERE id = ?1";
        let when: Option<i64> = found(
            "message",
            id,
            self.connection.query_row(sql, [id], |row| row.get("deleted_ms")),
        )?;
        if when.is_some() {
            self.mark_from(&self.message(id)?, when, None)?;
        }
        self.select(id)
    }

    /// Sets the time of deletion of a message and all that follow it, where it was `from`.
    fn mark_from(&self, first: &Message, from: Option<i64>, to: Option<i64>) -> Result<()> {
        self.connection.execute(
            "WITH RECURSIVE below (id) AS (
                 SELECT ?1
                 UNION ALL
                 SELECT m.id FROM below b JOIN messages m ON m.chat_id = ?4 AND m.parent_id = b.id
             )
             UPDATE messages SET deleted_ms = ?3
             WHERE id IN (SELECT id FROM below) AND deleted_ms IS ?2",
            (&first.id, from, to, &first.chat_id),
        )?;
        Ok(())
    }

    /// Marks a message to be found again, or no longer.
    ///
    /// # Errors
    /// When the message does not exist.
    pub fn pin_message(&self, id: &str, is_pinned: bool) -> Result<()> {
        self.message(id)?;
        let sql = "UPDATE messages SET pinned_ms = ?2 WHERE id = ?1";
        self.connection.execute(sql, (id, is_pinned.then(now_ms)))?;
        Ok(())
    }

    /// Messages that contain all `words`, best first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn search(&self, words: &str, within: Within, limit: usize) -> Result<Vec<SearchHit>> {
        let terms: Vec<String> = words
            .split_whitespace()
            .map(|word| format!("\"{}\"*", word.replace('"', "\"\"")))
            .collect();
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        if words.chars().any(is_unspaced) {
            return self.search_letters(words, within, limit);
        }
        let sql = format!(
            "SELECT m.*, snippet(message_words, 0, '[', ']', '…', 12) AS snippet
             FROM message_words JOIN messages m ON m.rowid = message_words.rowid
             JOIN chats c ON c.id = m.chat_id
             WHERE message_words MATCH ? AND {WITHIN} ORDER BY rank LIMIT ?"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let (chat, characters) = within.values();
        let values = (terms.join(" "), chat, characters, limit as i64);
        let rows = statement.query_map(values, |row| {
            Ok(SearchHit { message: read(row)?, snippet: row.get("snippet")? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// [`Self::search`] for scripts without spaces, whose words the index cannot tell apart: every
    /// stretch of `words` must occur as it is. Newest first.
    fn search_letters(&self, words: &str, within: Within, limit: usize) -> Result<Vec<SearchHit>> {
        let stretches: Vec<&str> = words.split_whitespace().collect();
        let condition = vec!["instr(lower(m.text), lower(?)) > 0"; stretches.len()].join(" AND ");
        let sql = format!(
            "SELECT m.* FROM messages m JOIN chats c ON c.id = m.chat_id
             WHERE {condition} AND {WITHIN} ORDER BY m.created_ms DESC LIMIT ?"
        );
        let mut values: Vec<rusqlite::types::Value> =
            stretches.iter().map(|text| (*text).to_owned().into()).collect();
        let (chat, characters) = within.values();
        values.extend([chat.map(str::to_owned).into(), characters.into(), (limit as i64).into()]);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
            let message = read(row)?;
            let snippet = around(&message.text, stretches[0]);
            Ok(SearchHit { message, snippet })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Where words are looked for: in what is not deleted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within<'a> {
    /// One chat.
    Chat(&'a str),
    /// All chats with these characters, by id.
    Characters(&'a [String]),
}

impl Within<'_> {
    /// What [`WITHIN`] takes.
    fn values(&self) -> (Option<&str>, Option<String>) {
        match self {
            Self::Chat(id) => (Some(id), None),
            Self::Characters(ids) => (None, Some(serde_json::json!(ids).to_string())),
        }
    }
}

/// Whether chat `c` and message `m` are there and [`Within`] what was asked for.
const WITHIN: &str = "c.deleted_ms IS NULL AND m.deleted_ms IS NULL
     AND ifnull(c.id = ?, c.character_id IN (SELECT value FROM json_each(?)))";

/// Letters of scripts that put no spaces between words: Han, kana, Hangul's neighbours, Thai.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0e7f}' | '\u{2e80}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Characters before and after the words of a snippet.
const AROUND: usize = 12;

/// `text` around the first place of `wanted`, which stands between `[` and `]`.
fn around(text: &str, wanted: &str) -> String {
    let Some(at) = text.find(wanted) else {
        return text.chars().take(2 * AROUND).collect();
    };
    let (before, after) = (&text[..at], &text[at + wanted.len()..]);
    let skipped = before.chars().count().saturating_sub(AROUND);
    let head: String = before.chars().skip(skipped).collect();
    let tail: String = after.chars().take(AROUND).collect();
    let (start, end) =
        (if skipped > 0 { "…" } else { "" }, if tail.len() < after.len() { "…" } else { "" });
    format!("{start}{head}[{wanted}]{tail}{end}")
}
