//! What the model was really given for each reply and picture.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{Result, Store};

/// A prompt as it went to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The message that came of it.
    pub message_id: String,
    /// `text` or `picture`.
    pub kind: String,
    /// The prompt.
    pub prompt: String,
    /// Its tokens.
    pub num_tokens: i64,
    /// Sampling settings, JSON.
    pub settings: String,
}

fn read(row: &Row) -> rusqlite::Result<Sent> {
    Ok(Sent {
        message_id: row.get("message_id")?,
        kind: row.get("kind")?,
        prompt: row.get("prompt")?,
        num_tokens: row.get("num_tokens")?,
        settings: row.get("settings")?,
    })
}

impl Store {
    /// Records what was sent; the last one of its kind counts.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_sent(&self, sent: &Sent) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO sent (message_id, kind, prompt, num_tokens, settings)
             VALUES (:message, :kind, :prompt, :tokens, :settings)",
            named_params! {
                ":message": sent.message_id, ":kind": sent.kind, ":prompt": sent.prompt,
                ":tokens": sent.num_tokens, ":settings": sent.settings,
            },
        )?;
        Ok(())
    }

    /// What was sent for a message, its text before its picture.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sent(&self, message_id: &str) -> Result<Vec<Sent>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM sent WHERE message_id = ?1 ORDER BY kind = 'picture'")?;
        let rows = statement.query_map([message_id], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
