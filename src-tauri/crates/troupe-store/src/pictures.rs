//! Records of generated pictures. The picture itself is a file.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{Result, Store, found, new_id, now_ms};

/// A generated picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Unique id.
    pub id: String,
    /// Whom it shows.
    pub character_id: String,
    /// File name in the pictures folder.
    pub file: String,
    /// What was asked for.
    pub prompt: String,
    /// Seed of its noise.
    pub seed: i64,
    /// Settings, JSON.
    pub settings: String,
    /// Hash of the base that drew it.
    pub base_hash: String,
    /// Hash of the adapter that drew it.
    pub adapter_hash: Option<String>,
    /// Creation time in milliseconds since 1970.
    pub created_ms: i64,
}

/// A picture to be recorded; its file exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPicture {
    /// Whom it shows.
    pub character_id: String,
    /// File name in the pictures folder.
    pub file: String,
    /// What was asked for.
    pub prompt: String,
    /// Seed of its noise.
    pub seed: i64,
    /// Settings, JSON.
    pub settings: String,
    /// Hash of the base that drew it.
    pub base_hash: String,
    /// Hash of the adapter that drew it.
    pub adapter_hash: Option<String>,
}

fn read(row: &Row) -> rusqlite::Result<Picture> {
    Ok(Picture {
        id: row.get("id")?,
        character_id: row.get("character_id")?,
        file: row.get("file")?,
        prompt: row.get("prompt")?,
        seed: row.get("seed")?,
        settings: row.get("settings")?,
        base_hash: row.get("base_hash")?,
        adapter_hash: row.get("adapter_hash")?,
        created_ms: row.get("created_ms")?,
    })
}

impl Store {
    /// Records a picture.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_picture(&self, new: &NewPicture) -> Result<Picture> {
        let id = new_id();
        self.connection.execute(
            "INSERT INTO pictures
                 (id, character_id, file, prompt, seed, settings, base_hash, adapter_hash, created_ms)
             VALUES (:id, :character, :file, :prompt, :seed, :settings, :base, :adapter, :now)",
            named_params! {
                ":id": id, ":character": new.character_id, ":file": new.file,
                ":prompt": new.prompt, ":seed": new.seed, ":settings": new.settings,
                ":base": new.base_hash, ":adapter": new.adapter_hash, ":now": now_ms(),
            },
        )?;
        self.picture(&id)
    }

    /// One picture.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn picture(&self, id: &str) -> Result<Picture> {
        let sql = "SELECT * FROM pictures WHERE id = ?1";
        found("picture", id, self.connection.query_row(sql, [id], read))
    }

    /// Pictures of a chat's messages.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chat_pictures(&self, chat_id: &str) -> Result<Vec<Picture>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM pictures WHERE id IN (SELECT picture_id FROM messages WHERE chat_id = ?1)",
        )?;
        let rows = statement.query_map([chat_id], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
