//! SQLite store: chats as message trees, pictures, full-text search.
//!
//! One file, write-ahead log, migrations by `user_version`. Large things (pictures) are files; the
//! store keeps their records. What it leaves to others: characters (folders), runs (folders) and
//! everything about models.

mod chats;
mod messages;
mod migrations;
mod pictures;
mod sent;
mod trash;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use chats::Chat;
pub use messages::{Message, MessageState, NewMessage, Role, SearchHit, Within};
pub use pictures::{NewPicture, Picture, PictureFilter, PictureKind, PictureOrder};
pub use sent::Sent;
pub use trash::{Deleted, Discard, Orphans};

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
        let alternatives = store.alternatives(&store.message(&second)?)?;
        assert_eq!(alternatives.len(), 2);
        store.select(&alternatives[0])?;
        let thread = store.thread(&chat)?;
        assert_eq!((thread[1].text.as_str(), thread[1].state), ("Wo", MessageState::Stopped));
        assert_eq!(store.search("woof", Within::Chat(&chat), 10)?.len(), 1);
        for (character, num) in [("bo", 1), ("dot", 0)] {
            let characters = [character.to_owned()];
            let found = store.search("woof", Within::Characters(&characters), 10)?;
            assert_eq!(found.len(), num, "{character}");
        }
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
    fn a_deleted_message_takes_what_follows_and_brings_it_back() -> Result<()> {
        let path = scratch("delete-message.db");
        let store = Store::open(&path)?;
        let chat = store.create_chat("bo", "Hello")?.id;
        let add = |parent: Option<&str>, text| {
            Ok::<_, StoreError>(store.add_message(&NewMessage::user(&chat, parent, text))?.id)
        };
        let texts = || -> Result<Vec<String>> {
            Ok(store.thread(&chat)?.into_iter().map(|m| m.text).collect())
        };
        let root = add(None, "root")?;
        let other = add(Some(&root), "other")?;
        let gone = add(Some(&root), "gone")?;
        let below = add(Some(&gone), "below")?;
        // Deleted on its own before: not what a later undo brings back.
        store.delete_message(&below)?;
        assert_eq!(texts()?, ["root", "gone"]);
        let last = add(Some(&gone), "last")?;
        assert_eq!(store.thread_ids(&chat)?, [root.as_str(), &gone, &last]);
        std::thread::sleep(std::time::Duration::from_millis(2)); // times of deletion differ
        store.delete_message(&gone)?;
        assert_eq!(texts()?, ["root", "other"]);
        assert_eq!(store.alternatives(&store.message(&other)?)?, [other.as_str()]);
        assert_eq!(store.tree(&chat)?.len(), 2);
        assert!(store.search("last", Within::Chat(&chat), 9)?.is_empty());
        store.restore_message(&gone)?;
        assert_eq!(texts()?, ["root", "gone", "last"]);
        assert_eq!(store.search("last", Within::Chat(&chat), 9)?[0].message.id, last);
        store.delete_message(&root)?;
        assert!(texts()?.is_empty() && store.chat(&chat)?.active_leaf.is_none());
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn an_edit_is_told_until_the_text_is_again_as_it_was_made() -> Result<()> {
        let path = scratch("edits.db");
        let store = Store::open(&path)?;
        let chat = store.create_chat("bo", "Hello")?.id;
        let said = store.add_message(&NewMessage::user(&chat, None, "Hi"))?.id;
        let reply = store.add_message(&NewMessage::reply(&chat, &said))?.id;
        store.set_text(&reply, "Woof", MessageState::Stopped)?;
        let is_after = |text: &str, is_edited: bool, state| -> Result<()> {
            store.edit_text(&reply, text)?;
            let now = store.message(&reply)?;
            assert_eq!((now.text.as_str(), now.edited_ms.is_some()), (text, is_edited), "{text}");
            assert_eq!(now.state, state, "{text}");
            Ok(())
        };
        is_after("Woof", false, MessageState::Stopped)?; // nothing was changed
        is_after("Meow", true, MessageState::Complete)?;
        is_after("Moo", true, MessageState::Complete)?;
        is_after("Meow", true, MessageState::Complete)?; // the last edit undone
        is_after("Woof", false, MessageState::Stopped)?; // and the one before
        // A model that goes on from an edited text made neither it nor the one before it.
        is_after("Meow", true, MessageState::Complete)?;
        store.set_origin(&reply, 1, "{}", "b", None)?;
        store.set_text(&reply, "Meow!", MessageState::Complete)?;
        is_after("Woof", true, MessageState::Complete)?;
        assert!(matches!(store.edit_text("nope", "x"), Err(StoreError::NotFound { .. })));
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn the_end_of_a_thread_comes_with_its_first_and_pinned_messages() -> Result<()> {
        let path = scratch("thread-end.db");
        let store = Store::open(&path)?;
        let chat = store.create_chat("bo", "Hello")?.id;
        let end = |num| -> Result<(String, usize)> {
            let (told, num_left_out) = store.thread_end(&chat, num)?;
            Ok((told.into_iter().map(|m| m.text).collect(), num_left_out))
        };
        assert_eq!(end(3)?, (String::new(), 0));
        store.add_message(&NewMessage::user(&chat, None, "x"))?;
        let mut last: Option<String> = None;
        for text in ["a", "b", "c", "d", "e", "f"] {
            let added = store.add_message(&NewMessage::user(&chat, last.as_deref(), text))?.id;
            if text == "c" || text == "e" {
                store.pin_message(&added, true)?;
            }
            last = Some(added);
        }
        assert_eq!(end(2)?, ("acef".into(), 2));
        assert_eq!(end(5)?, ("abcdef".into(), 0));
        assert_eq!(end(6)?, ("abcdef".into(), 0));
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn chinese_is_found_within_a_sentence() -> Result<()> {
        let path = scratch("chinese.db");
        let store = Store::open(&path)?;
        let chat = store.create_chat("bo", "Hello")?.id;
        let text = "今天早上我在灯塔旁边看见了一只很大的白色海鸟在飞";
        store.add_message(&NewMessage::user(&chat, None, text))?;
        store.add_message(&NewMessage::user(&chat, None, "灯塔 lighthouse"))?;
        let snippets = |words: &str, within: Within| -> Result<Vec<String>> {
            Ok(store.search(words, within, 9)?.into_iter().map(|hit| hit.snippet).collect())
        };
        let characters = ["dot".to_owned(), "bo".to_owned()];
        let all = Within::Characters(&characters);
        assert_eq!(snippets("海鸟", all)?, ["…旁边看见了一只很大的白色[海鸟]在飞"]);
        assert_eq!(snippets("灯塔 海鸟", Within::Chat(&chat))?.len(), 1);
        assert_eq!(snippets("灯塔", all)?.len(), 2);
        assert!(snippets("灯塔", Within::Characters(&characters[..1]))?.is_empty());
        assert!(snippets("灯塔", Within::Chat("other"))?.is_empty());
        assert!(snippets("沙漠", all)?.is_empty());
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn a_file_of_the_first_version_is_brought_up_to_date() -> Result<()> {
        let path = scratch("old.db");
        {
            let connection = Connection::open(&path)?;
            connection.execute_batch(migrations::FIRST)?;
            connection.pragma_update(None, "user_version", 1)?;
            connection.execute_batch(
                "INSERT INTO chats VALUES ('c', 'bo', 'Old', 1, 1, 'm', NULL);
                 INSERT INTO messages (id, chat_id, role, text, state, created_ms)
                 VALUES ('m', 'c', 'user', 'kept', 'complete', 1);",
            )?;
        }
        let store = Store::open(&path)?;
        assert_eq!(store.thread("c")?[0].text, "kept");
        assert!(store.message("m")?.edited_ms.is_none());
        store.edit_text("m", "changed")?;
        assert!(store.message("m")?.edited_ms.is_some());
        store.edit_text("m", "kept")?;
        let later = store.add_message(&NewMessage::user("c", Some("m"), "later"))?.id;
        let (told, num_left_out) = store.thread_end("c", 1)?;
        assert_eq!((told[0].id.as_str(), &told[1].id, num_left_out), ("m", &later, 0));
        assert_eq!(store.chat("c")?.settings, "{}");
        assert_eq!(store.search("kept", Within::Chat("c"), 9)?.len(), 1);
        assert!(path.with_extension("v1.backup.db").exists(), "no copy was kept");
        std::fs::remove_file(path.with_extension("v1.backup.db")).ok();
        std::fs::remove_file(&path).ok();
        Ok(())
    }

    #[test]
    fn pins_settings_and_prompts_are_kept() -> Result<()> {
        let path = scratch("pins.db");
        let store = Store::open(&path)?;
        let (old, new) = (store.create_chat("bo", "old")?.id, store.create_chat("bo", "new")?.id);
        store.pin_chat(&old, true)?;
        store.set_chat_settings(&old, r#"{"preset":"lively"}"#)?;
        let chats = store.chats(None)?;
        assert_eq!([&chats[0].id, &chats[1].id], [&old, &new]);
        assert_eq!(chats[0].settings, r#"{"preset":"lively"}"#);
        let message = store.add_message(&NewMessage::user(&old, None, "Hi"))?.id;
        store.pin_message(&message, true)?;
        assert!(store.message(&message)?.pinned_ms.is_some());
        let later = store.add_message(&NewMessage::user(&old, Some(&message), "later"))?.id;
        store.pin_message(&later, true)?;
        let beside = store.add_message(&NewMessage::user(&old, Some(&message), "beside"))?.id;
        store.pin_message(&beside, true)?;
        let pinned = || -> Result<Vec<String>> {
            Ok(store.pinned_in_thread(&old)?.into_iter().map(|m| m.text).collect())
        };
        assert_eq!(pinned()?, ["Hi", "beside"]);
        store.select(&later)?;
        assert_eq!(pinned()?, ["Hi", "later"]);
        for (kind, prompt) in [("picture", "p"), ("text", "t"), ("text", "again")] {
            let (message_id, prompt) = (message.clone(), prompt.into());
            let settings = "{}".into();
            store.set_sent(&Sent {
                message_id,
                kind: kind.into(),
                prompt,
                num_tokens: 1,
                settings,
            })?;
        }
        let sent: Vec<String> = store.sent(&message)?.into_iter().map(|s| s.prompt).collect();
        assert_eq!(sent, ["again", "p"]);
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
