//! SQLite store: chats as message trees, pictures, full-text search.
//!
//! One file, write-ahead log, migrations by `user_version`. Large things (pictures) are files; the
//! store keeps their records. What it leaves to others: characters (folders), runs (folders) and
//! everything about models.

mod chats;
mod messages;
mod migrations;
mod pictures;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use chats::Chat;
pub use messages::{Message, MessageState, NewMessage, Role, SearchHit};
pub use pictures::{NewPicture, Picture, PictureFilter, PictureKind, PictureOrder};

/// Errors of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is no database or is damaged.
    #[error("the chat database is damaged: {reason}. Its file was kept as {}; start again for a new one", kept.display())]
    Damaged {
        /// What SQLite found.
        reason: String,
        /// Where the damaged file is now.
        kept: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "the chat database has version {found}, this program knows {known}; update the program"
    )]
    TooNew {
        /// Version in the file.
        found: i64,
        /// Version this program writes.
        known: i64,
    },
    /// Something that was asked for is not there.
    #[error("there is no {what} {id}; it may have been deleted")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// SQLite failed.
    #[error("the chat database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file operation failed.
    #[error("{what}: {source} ({path})")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// An open store. One connection; share it behind a lock.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// A new id: time-ordered and unique.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Store {
    /// Opens or creates the database at `path` and brings it to the present version. Messages that
    /// a crash left half-written are kept as stopped.
    ///
    /// # Errors
    /// When the file is damaged (it is moved aside), too new, or unwritable.
    pub fn open(path: &Path) -> Result<Self> {
        match Self::open_once(path) {
            Err(StoreError::Sqlite(error)) if is_damage(&error) => {
                let kept = path.with_extension(format!("damaged-{}.db", now_ms()));
                std::fs::rename(path, &kept).map_err(|source| StoreError::Io {
                    what: "keeping the damaged chat database",
                    source,
                    path: path.to_path_buf(),
                })?;
                Err(StoreError::Damaged { reason: error.to_string(), kept })
            }
            other => other,
        }
    }

    fn open_once(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| StoreError::Io {
                what: "creating the data folder",
                source,
                path: parent.to_path_buf(),
            })?;
        }
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        migrations::run(&mut connection, path)?;
        Ok(Self { connection })
    }

    /// Marks messages that a crash left half-written as stopped. Call once at the start of the one
    /// program that writes chats.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn recover(&self) -> Result<usize> {
        let sql = "UPDATE messages SET state = 'stopped' WHERE state = 'streaming'";
        Ok(self.connection.execute(sql, [])?)
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(NotADatabase | DatabaseCorrupt))
}

fn found<T>(what: &'static str, id: &str, result: rusqlite::Result<T>) -> Result<T> {
    match result {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            Err(StoreError::NotFound { what, id: id.into() })
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("troupe-store-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_tree_of_alternatives_survives_reopening() -> Result<()> {
        let path = scratch("tree.db");
        let (chat, second);
        {
            let store = Store::open(&path)?;
            chat = store.create_chat("bo", "Hello")?.id;
            let user = store.add_message(&NewMessage::user(&chat, None, "Hi"))?;
            let first = store.add_message(&NewMessage::reply(&chat, &user.id))?;
            store.set_text(&first.id, "Wo", MessageState::Streaming)?;
            second = store.add_message(&NewMessage::reply(&chat, &user.id))?.id;
            store.set_text(&second, "Woof!", MessageState::Complete)?;
        }
        let store = Store::open(&path)?;
        assert_eq!(store.recover()?, 1);
        let thread = store.thread(&chat)?;
        assert_eq!(thread.iter().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["Hi", "Woof!"]);
        let alternatives = store.alternatives(&second)?;
        assert_eq!(alternatives.len(), 2);
        store.select(&alternatives[0].id)?;
        let thread = store.thread(&chat)?;
        assert_eq!((thread[1].text.as_str(), thread[1].state), ("Wo", MessageState::Stopped));
        assert_eq!(store.search("woof", None, 10)?.len(), 1);
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn deleting_can_be_undone() -> Result<()> {
        let path = scratch("undo.db");
        let store = Store::open(&path)?;
        let chat = store.create_chat("bo", "Hello")?;
        store.delete_chat(&chat.id)?;
        assert!(store.chats(None)?.is_empty());
        store.restore_chat(&chat.id)?;
        assert_eq!(store.chats(Some("bo"))?.len(), 1);
        assert!(matches!(store.chat("nope"), Err(StoreError::NotFound { .. })));
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_kept_and_named() {
        let path = scratch("damaged.db");
        std::fs::write(&path, vec![7u8; 4096]).expect("a scratch file");
        let error = Store::open(&path).expect_err("no database");
        let StoreError::Damaged { kept, .. } = &error else { panic!("{error}") };
        assert!(kept.exists() && !path.exists());
        std::fs::remove_file(kept).ok();
        assert!(Store::open(&path).is_ok());
        std::fs::remove_file(&path).ok();
    }
}
