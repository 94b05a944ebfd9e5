//! Chats.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{Result, Store, StoreError, found, new_id, now_ms};

/// A conversation with one character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Unique id.
    pub id: String,
    /// Whom it is with.
    pub character_id: String,
    /// Shown in lists.
    pub title: String,
    /// Creation time in milliseconds since 1970.
    pub created_ms: i64,
    /// Time of the last change.
    pub updated_ms: i64,
    /// Last message of the thread that is shown.
    pub active_leaf: Option<String>,
    /// How it is led: JSON of the caller's making, `{}` when nothing was set.
    pub settings: String,
    /// When it was pinned, if it is.
    pub pinned_ms: Option<i64>,
}

pub(crate) fn read(row: &Row) -> rusqlite::Result<Chat> {
    Ok(Chat {
        id: row.get("id")?,
        character_id: row.get("character_id")?,
        title: row.get("title")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
        active_leaf: row.get("active_leaf")?,
        settings: row.get("settings")?,
        pinned_ms: row.get("pinned_ms")?,
    })
}

impl Store {
    /// Starts a chat.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn create_chat(&self, character_id: &str, title: &str) -> Result<Chat> {
        let id = new_id();
        self.connection.execute(
            "INSERT INTO chats (id, character_id, title, created_ms, updated_ms)
             VALUES (:id, :character, :title, :now, :now)",
            named_params! {":id": id, ":character": character_id, ":title": title, ":now": now_ms()},
        )?;
        self.chat(&id)
    }

    /// One chat.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn chat(&self, id: &str) -> Result<Chat> {
        let sql = "SELECT * FROM chats WHERE id = ?1";
        found("chat", id, self.connection.query_row(sql, [id], read))
    }

    /// Chats with a character, or all: pinned ones first, then newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chats(&self, character_id: Option<&str>) -> Result<Vec<Chat>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM chats WHERE deleted_ms IS NULL AND (?1 IS NULL OR character_id = ?1)
             ORDER BY pinned_ms IS NULL, updated_ms DESC, id DESC",
        )?;
        let rows = statement.query_map([character_id], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn update_chat(&self, id: &str, sql: &str, value: &dyn rusqlite::ToSql) -> Result<()> {
        match self.connection.execute(sql, rusqlite::params![id, value])? {
            0 => Err(StoreError::NotFound { what: "chat", id: id.into() }),
            _ => Ok(()),
        }
    }

    /// Renames a chat.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn rename_chat(&self, id: &str, title: &str) -> Result<()> {
        self.update_chat(id, "UPDATE chats SET title = ?2 WHERE id = ?1", &title)
    }

    /// Hides a chat; it can be restored.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn delete_chat(&self, id: &str) -> Result<()> {
        self.update_chat(id, "UPDATE chats SET deleted_ms = ?2 WHERE id = ?1", &now_ms())
    }

    /// Brings a deleted chat back.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn restore_chat(&self, id: &str) -> Result<()> {
        self.update_chat(id, "UPDATE chats SET deleted_ms = ?2 WHERE id = ?1", &None::<i64>)
    }

    /// Replaces the settings of a chat.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_chat_settings(&self, id: &str, settings: &str) -> Result<()> {
        self.update_chat(id, "UPDATE chats SET settings = ?2 WHERE id = ?1", &settings)
    }

    /// Keeps a chat at the top of lists, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn pin_chat(&self, id: &str, is_pinned: bool) -> Result<()> {
        let when = is_pinned.then(now_ms);
        self.update_chat(id, "UPDATE chats SET pinned_ms = ?2 WHERE id = ?1", &when)
    }

    pub(crate) fn set_leaf(&self, chat_id: &str, leaf: Option<&str>) -> Result<()> {
        self.update_chat(chat_id, "UPDATE chats SET active_leaf = ?2 WHERE id = ?1", &leaf)?;
        self.update_chat(chat_id, "UPDATE chats SET updated_ms = ?2 WHERE id = ?1", &now_ms())
    }
}
