//! Schema versions. Additive; an existing file is copied aside before it is changed.

use std::path::Path;

use rusqlite::Connection;

use crate::{Result, StoreError};

/// Chats as message trees, pictures, search.
pub(crate) const FIRST: &str = "
CREATE TABLE chats (
    id TEXT PRIMARY KEY,
    character_id TEXT NOT NULL,
    title TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    active_leaf TEXT,
    deleted_ms INTEGER
);
CREATE INDEX chats_by_character ON chats (character_id, updated_ms);
CREATE TABLE pictures (
    id TEXT PRIMARY KEY,
    character_id TEXT NOT NULL,
    file TEXT NOT NULL,
    prompt TEXT NOT NULL,
    seed INTEGER NOT NULL,
    settings TEXT NOT NULL,
    base_hash TEXT NOT NULL,
    adapter_hash TEXT,
    created_ms INTEGER NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0,
    rating INTEGER,
    deleted_ms INTEGER
);
CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    chat_id TEXT NOT NULL REFERENCES chats (id),
    parent_id TEXT REFERENCES messages (id),
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    state TEXT NOT NULL,
    picture_id TEXT REFERENCES pictures (id),
    seed INTEGER,
    settings TEXT,
    base_hash TEXT,
    adapter_hash TEXT,
    created_ms INTEGER NOT NULL
);
CREATE INDEX messages_by_parent ON messages (chat_id, parent_id, created_ms);
CREATE VIRTUAL TABLE message_words USING fts5 (text, content='messages', content_rowid='rowid');
CREATE TRIGGER message_words_insert AFTER INSERT ON messages BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.rowid, new.text);
END;
CREATE TRIGGER message_words_update AFTER UPDATE OF text ON messages BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.rowid, old.text);
    INSERT INTO message_words (rowid, text) VALUES (new.rowid, new.text);
END;
CREATE TRIGGER message_words_delete AFTER DELETE ON messages BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.rowid, old.text);
END;
";

/// What the gallery sorts and filters by.
const GALLERY: &str = "
ALTER TABLE pictures ADD COLUMN kind TEXT NOT NULL DEFAULT 'chat';
ALTER TABLE pictures ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE pictures ADD COLUMN approved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pictures ADD COLUMN reference_id TEXT;
CREATE INDEX pictures_by_time ON pictures (created_ms, id);
CREATE INDEX pictures_by_character ON pictures (character_id, created_ms);
CREATE INDEX messages_by_picture ON messages (picture_id);
";

/// What chats and messages remember: settings, pins, deletions, attachments, what was sent.
const CHAT_TOOLS: &str = "
ALTER TABLE chats ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE chats ADD COLUMN pinned_ms INTEGER;
ALTER TABLE messages ADD COLUMN pinned_ms INTEGER;
ALTER TABLE messages ADD COLUMN deleted_ms INTEGER;
ALTER TABLE messages ADD COLUMN attachment TEXT;
CREATE TABLE sent (
    message_id TEXT NOT NULL REFERENCES messages (id),
    kind TEXT NOT NULL,
    prompt TEXT NOT NULL,
    num_tokens INTEGER NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (message_id, kind)
);
";

/// Where a message stands: how many come before it in its thread, and the first of those.
const PLACES: &str = "
ALTER TABLE messages ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN root_id TEXT;
WITH RECURSIVE placed (id, chat_id, depth, root_id) AS (
    SELECT id, chat_id, 0, id FROM messages WHERE parent_id IS NULL
    UNION ALL
    SELECT m.id, m.chat_id, p.depth + 1, p.root_id
    FROM placed p JOIN messages m ON m.chat_id = p.chat_id AND m.parent_id = p.id
)
UPDATE messages SET depth = placed.depth, root_id = placed.root_id
FROM placed WHERE messages.id = placed.id;
";

/// What an edit of a message leaves of it: when, and text and state as they were made.
const EDITS: &str = "
ALTER TABLE messages ADD COLUMN edited_ms INTEGER;
ALTER TABLE messages ADD COLUMN made_text TEXT;
ALTER TABLE messages ADD COLUMN made_state TEXT;
";

/// What was deleted: found at once, and discarded without looking at all the rest. A picture that left
/// the gallery for good may stay for a chat.
const TRASH: &str = "
ALTER TABLE pictures ADD COLUMN has_left INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_deleted ON messages (deleted_ms) WHERE deleted_ms IS NOT NULL;
CREATE INDEX messages_after ON messages (parent_id);
CREATE INDEX pictures_by_reference ON pictures (reference_id) WHERE reference_id IS NOT NULL;
";

/// Statements of each version, in order.
const MIGRATIONS: &[&str] = &[FIRST, GALLERY, CHAT_TOOLS, PLACES, EDITS, TRASH];

/// Brings `connection`, opened from `path`, to the newest version.
pub(crate) fn run(connection: &mut Connection, path: &Path) -> Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        let copy = path.with_extension(format!("v{found}.backup.db"));
        connection.backup("main", &copy, None::<fn(rusqlite::backup::Progress)>)?;
    }
    let transaction = connection.transaction()?;
    for (version, statements) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of the first version gains the gallery's columns, keeps its rows, and is copied
    /// aside before.
    #[test]
    fn an_older_file_is_brought_up_to_date_with_its_rows() -> Result<()> {
        let path =
            std::env::temp_dir().join(format!("troupe-store-{}-first.db", std::process::id()));
        {
            let old = Connection::open(&path)?;
            old.execute_batch(FIRST)?;
            old.pragma_update(None, "user_version", 1)?;
            old.execute_batch(
                "INSERT INTO pictures
                     (id, character_id, file, prompt, seed, settings, base_hash, created_ms)
                 VALUES ('p', 'dot', 'p.png', 'Dot', 1, '{}', 'b', 7)",
            )?;
        }
        let store = crate::Store::open(&path)?;
        let picture = store.picture("p")?;
        assert_eq!((picture.kind, picture.created_ms), (crate::PictureKind::Chat, 7));
        let copy = path.with_extension("v1.backup.db");
        assert!(copy.exists());
        std::fs::remove_file(copy).ok();
        std::fs::remove_file(&path).ok();
        Ok(())
    }
}
