//! What was deleted: the list of it, and the end of it.
//!
//! Chats, messages and pictures are marked when they are deleted, and come back when the mark is taken
//! away. Discarding them removes their rows; their files are left to the caller, who removes them
//! when the rows are gone.

use rusqlite::{Connection, Row};

use crate::{Chat, Message, Picture, Result, Store, chats, messages, now_ms, pictures};

/// Something that was deleted and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted<T> {
    /// What it is.
    pub what: T,
    /// When it was deleted, in milliseconds since 1970.
    pub deleted_ms: i64,
    /// Messages that come back with it: those of a chat, or a message and what was deleted along.
    pub num_messages: usize,
}

/// What is to be discarded, by id. Of chats, messages and pictures, what is not deleted or not there is
/// left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discard {
    /// Characters: all chats with them, whether these are deleted or not.
    pub characters: Vec<String>,
    /// Chats, with their messages.
    pub chats: Vec<String>,
    /// Messages, with all that followed them.
    pub messages: Vec<String>,
    /// Pictures of the gallery. One that a message shows or another picture was drawn from stays for
    /// these, out of the gallery for good, and goes with the last of them.
    pub pictures: Vec<String>,
}

/// Files that nothing refers to any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Files of pictures.
    pub pictures: Vec<String>,
    /// Names of pictures that came with messages.
    pub attachments: Vec<String>,
}

fn deleted<T>(row: &Row, what: T) -> rusqlite::Result<Deleted<T>> {
    let num_messages: i64 = row.get("num_messages")?;
    let num_messages = num_messages as usize;
    Ok(Deleted { what, deleted_ms: row.get("deleted_ms")?, num_messages })
}

/// Texts of the first column.
fn texts(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Deletes all chats with a character.
const WITH_CHARACTER: &str = "UPDATE chats SET deleted_ms = ifnull(deleted_ms, ?2)
     WHERE character_id = ?1 RETURNING id";

/// Rows of a chat's messages that are to go.
const CHAT: &str = "INSERT OR IGNORE INTO gone
     SELECT m.id, m.attachment FROM messages m JOIN chats c ON c.id = m.chat_id
     WHERE c.id = ?1 AND c.deleted_ms IS NOT NULL";

/// Rows of a message, and of those that follow it, that are to go.
const BRANCH: &str = "WITH RECURSIVE below (id) AS (
         SELECT id FROM messages WHERE id = ?1 AND deleted_ms IS NOT NULL
         UNION ALL
         SELECT m.id FROM below b JOIN messages m ON m.parent_id = b.id
     )
     INSERT OR IGNORE INTO gone
     SELECT m.id, m.attachment FROM below b JOIN messages m ON m.id = b.id";

/// Pictures that left the gallery for good and that nothing needs any more.
const UNNEEDED: &str = "DELETE FROM pictures
     WHERE has_left AND deleted_ms IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.picture_id = pictures.id)
         AND NOT EXISTS (SELECT 1 FROM pictures p WHERE p.reference_id = pictures.id)
     RETURNING file";

impl Store {
    /// Deleted chats, the last one first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn deleted_chats(&self) -> Result<Vec<Deleted<Chat>>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.*, (SELECT COUNT(*) FROM messages m
                          WHERE m.chat_id = c.id AND m.deleted_ms IS NULL) AS num_messages
             FROM chats c WHERE c.deleted_ms IS NOT NULL ORDER BY c.deleted_ms DESC",
        )?;
        let rows = statement.query_map([], |row| deleted(row, chats::read(row)?))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Deleted messages, the last one first: not those that were deleted along with the one before
    /// them, nor those that could not be shown, since what they answer or their chat is deleted too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn deleted_messages(&self) -> Result<Vec<Deleted<Message>>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT m.*, (
                 WITH RECURSIVE below (id) AS (
                     SELECT m.id
                     UNION ALL
                     SELECT f.id FROM below b JOIN messages f ON f.parent_id = b.id
                     WHERE f.deleted_ms = m.deleted_ms
                 )
                 SELECT COUNT(*) FROM below
             ) AS num_messages
             FROM messages m JOIN chats c ON c.id = m.chat_id
                 LEFT JOIN messages before ON before.id = m.parent_id
             WHERE m.deleted_ms IS NOT NULL AND c.deleted_ms IS NULL AND before.deleted_ms IS NULL
             ORDER BY m.deleted_ms DESC",
        )?;
        let rows = statement.query_map([], |row| deleted(row, messages::read(row)?))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Pictures that were deleted from the gallery, the last one first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn deleted_pictures(&self) -> Result<Vec<Deleted<Picture>>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT *, 0 AS num_messages FROM pictures
             WHERE deleted_ms IS NOT NULL AND NOT has_left ORDER BY deleted_ms DESC",
        )?;
        let rows = statement.query_map([], |row| deleted(row, pictures::read(row)?))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Removes what was deleted for good; returns the files that it leaves behind.
    ///
    /// # Errors
    /// When the database cannot be written; then nothing is removed.
    pub fn discard(&self, what: &Discard) -> Result<Orphans> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS gone (id TEXT PRIMARY KEY, attachment TEXT);
             DELETE FROM gone;",
        )?;
        let mut chats = what.chats.clone();
        for id in &what.characters {
            let mut statement = transaction.prepare_cached(WITH_CHARACTER)?;
            let of_it = statement.query_map((id, now_ms()), |row| row.get(0))?;
            chats.extend(of_it.collect::<rusqlite::Result<Vec<String>>>()?);
        }
        for (ids, sql) in [(&chats, CHAT), (&what.messages, BRANCH)] {
            for id in ids {
                transaction.execute(sql, [id])?;
            }
        }
        transaction.execute_batch(
            "DELETE FROM sent WHERE message_id IN (SELECT id FROM gone);
             DELETE FROM messages WHERE id IN (SELECT id FROM gone);",
        )?;
        for id in &chats {
            let sql = "DELETE FROM chats WHERE id = ?1 AND deleted_ms IS NOT NULL";
            transaction.execute(sql, [id])?;
        }
        for id in &what.pictures {
            let sql = "UPDATE pictures SET has_left = 1 WHERE id = ?1 AND deleted_ms IS NOT NULL";
            transaction.execute(sql, [id])?;
        }
        let mut orphans = Orphans {
            attachments: texts(
                &transaction,
                "SELECT attachment FROM gone WHERE attachment IS NOT NULL
                 EXCEPT SELECT attachment FROM messages",
            )?,
            ..Orphans::default()
        };
        loop {
            let files = texts(&transaction, UNNEEDED)?;
            if files.is_empty() {
                break;
            }
            orphans.pictures.extend(files); // those that they were drawn from may go now
        }
        transaction.commit()?;
        Ok(orphans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewMessage, NewPicture, Sent, Within};

    fn store(name: &str) -> (Store, std::path::PathBuf) {
        let file = format!("troupe-store-{}-trash-{name}.db", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::remove_file(&path).ok();
        (Store::open(&path).expect("a scratch database"), path)
    }

    fn say(store: &Store, chat: &str, parent: Option<&str>, text: &str) -> Result<String> {
        Ok(store.add_message(&NewMessage::user(chat, parent, text))?.id)
    }

    fn later() {
        std::thread::sleep(std::time::Duration::from_millis(2)); // times of deletion differ
    }

    fn listed(store: &Store) -> Result<Vec<(String, usize)>> {
        let all = store.deleted_messages()?;
        Ok(all.into_iter().map(|d| (d.what.text, d.num_messages)).collect())
    }

    #[test]
    fn messages_are_listed_by_what_was_deleted_at_once() -> Result<()> {
        let (store, path) = store("messages");
        let chat = store.create_chat("bo", "Hello")?.id;
        let root = say(&store, &chat, None, "root")?;
        let first = say(&store, &chat, Some(&root), "first")?;
        let below = say(&store, &chat, Some(&first), "below")?;
        store.delete_message(&below)?;
        assert_eq!(listed(&store)?, [("below".into(), 1)]);
        say(&store, &chat, Some(&first), "beside")?;
        later();
        store.delete_message(&first)?;
        // What was deleted before cannot be shown without what it answers.
        assert_eq!(listed(&store)?, [("first".into(), 2)]);
        store.restore_message(&first)?;
        assert_eq!(listed(&store)?, [("below".into(), 1)]);
        store.delete_chat(&chat)?;
        assert!(listed(&store)?.is_empty(), "its chat stands for it");
        let chats = store.deleted_chats()?;
        assert_eq!((chats[0].what.id.as_str(), chats[0].num_messages), (chat.as_str(), 3));
        std::fs::remove_file(path).ok();
        Ok(())
    }

    #[test]
    fn what_is_discarded_takes_along_what_follows_and_nothing_else() -> Result<()> {
        let (store, path) = store("discard");
        let (chat, other) = (store.create_chat("bo", "a")?.id, store.create_chat("bo", "b")?.id);
        let root = say(&store, &chat, None, "root")?;
        let with = |attachment: &str| NewMessage {
            attachment: Some(attachment.into()),
            ..NewMessage::user(&chat, Some(&root), "look")
        };
        let gone = store.add_message(&with("gone.png"))?.id;
        let shared =
            store.add_message(&NewMessage { parent_id: Some(gone.clone()), ..with("both.png") })?;
        store.add_message(&with("both.png"))?;
        store.set_sent(&Sent {
            message_id: shared.id.clone(),
            kind: "text".into(),
            prompt: "Bo".into(),
            num_tokens: 1,
            settings: "{}".into(),
        })?;
        say(&store, &other, None, "stays")?;

        // Neither of them is deleted.
        let all = Discard {
            chats: vec![other.clone(), "nope".into()],
            messages: vec![gone.clone()],
            ..Discard::default()
        };
        assert_eq!(store.discard(&all)?, Orphans::default());
        assert_eq!(store.tree(&chat)?.len(), 4);

        store.delete_message(&gone)?;
        let orphans = store.discard(&all)?;
        assert_eq!(orphans.attachments, ["gone.png"], "a message still shows the other");
        assert!(store.message(&shared.id).is_err() && store.sent(&shared.id)?.is_empty());
        assert_eq!(store.tree(&chat)?.len(), 2);
        assert_eq!(store.search("look", Within::Chat(&chat), 9)?.len(), 1);
        assert!(store.restore_message(&gone).is_err());

        store.delete_chat(&chat)?;
        let all = Discard { chats: vec![chat.clone(), other.clone()], ..Discard::default() };
        assert_eq!(store.discard(&all)?.attachments, ["both.png"]);
        assert!(store.chat(&chat).is_err() && store.message(&root).is_err());
        assert_eq!(store.thread(&other)?[0].text, "stays");

        // With a character go its chats, of whatever state; those with others stay.
        let (dot, dots) = (store.create_chat("dot", "c")?.id, store.create_chat("dot", "d")?.id);
        say(&store, &dot, None, "goes")?;
        store.delete_chat(&dots)?;
        let with_dot = Discard { characters: vec!["dot".into()], ..Discard::default() };
        store.discard(&with_dot)?;
        assert!(store.chat(&dot).is_err() && store.chat(&dots).is_err());
        assert_eq!(store.thread(&other)?[0].text, "stays");
        std::fs::remove_file(path).ok();
        Ok(())
    }

    #[test]
    fn a_picture_stays_for_what_needs_it() -> Result<()> {
        let (store, path) = store("pictures");
        let draw = |file: &str, reference: Option<&String>| {
            let new = NewPicture {
                character_id: "dot".into(),
                file: file.into(),
                reference_id: reference.cloned(),
                ..NewPicture::default()
            };
            Ok::<_, crate::StoreError>(store.add_picture(&new)?.id)
        };
        let shown = draw("shown.png", None)?;
        let source = draw("source.png", None)?;
        let from = draw("from.png", Some(&source))?;
        let kept = draw("kept.png", None)?;
        let chat = store.create_chat("dot", "Hello")?.id;
        let message = say(&store, &chat, None, "Hi")?;
        store.set_message_picture(&message, &shown)?;
        let all = Discard {
            pictures: [&shown, &source, &kept].map(Clone::clone).into(),
            ..Discard::default()
        };
        for id in [&shown, &source] {
            store.delete_picture(id)?;
        }
        assert_eq!(store.deleted_pictures()?.len(), 2);
        assert_eq!(store.discard(&all)?, Orphans::default());
        assert!(store.deleted_pictures()?.is_empty(), "they are out of the gallery for good");
        assert!(store.picture(&shown).is_ok() && store.picture(&source).is_ok());

        // Each goes with what it stayed for; a chain in one go.
        store.delete_chat(&chat)?;
        let chats = Discard { chats: vec![chat], ..Discard::default() };
        assert_eq!(store.discard(&chats)?.pictures, ["shown.png"]);
        store.delete_picture(&from)?;
        let last = Discard { pictures: vec![from], ..Discard::default() };
        assert_eq!(store.discard(&last)?.pictures, ["from.png", "source.png"]);
        assert!(store.picture(&kept).is_ok());
        std::fs::remove_file(path).ok();
        Ok(())
    }

    /// One long chat goes in well under a second; without an index of what follows what, each
    /// message would look at all others.
    #[test]
    fn a_long_chat_is_discarded_at_once() -> Result<()> {
        let (store, path) = store("long");
        let chat = store.create_chat("bo", "Hello")?.id;
        store.connection.execute_batch("BEGIN")?;
        let mut last: Option<String> = None;
        for _ in 0..10_000 {
            last = Some(say(&store, &chat, last.as_deref(), "Woof")?);
        }
        store.connection.execute_batch("COMMIT")?;
        store.delete_chat(&chat)?;
        let started = std::time::Instant::now();
        store.discard(&Discard { chats: vec![chat], ..Discard::default() })?;
        let elapsed = started.elapsed();
        assert!(elapsed.as_secs() < 2, "it took {elapsed:?}");
        std::fs::remove_file(path).ok();
        Ok(())
    }
}
