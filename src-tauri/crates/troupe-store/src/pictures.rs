//! Records of generated pictures. The picture itself is a file.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{Result, Store, StoreError, found, new_id, now_ms};

/// What a picture was drawn for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PictureKind {
    /// A reply in a chat.
    #[default]
    Chat,
    /// A prompt of the person.
    Drawing,
    /// A face of the character's list.
    Expression,
}

impl PictureKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Drawing => "drawing",
            Self::Expression => "expression",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "drawing" => Self::Drawing,
            "expression" => Self::Expression,
            _ => Self::Chat,
        }
    }
}

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
    /// What it was drawn for.
    pub kind: PictureKind,
    /// Name of the expression, for a picture of one.
    pub label: String,
    /// The picture it started from.
    pub reference_id: Option<String>,
    /// Marked as a favourite.
    pub is_favourite: bool,
    /// One to five stars.
    pub rating: Option<u8>,
    /// Chosen for the sprite pack.
    pub is_approved: bool,
}

/// A picture to be recorded; its file exists already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// What it was drawn for.
    pub kind: PictureKind,
    /// Name of the expression, for a picture of one.
    pub label: String,
    /// The picture it started from.
    pub reference_id: Option<String>,
}

/// Order of a gallery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
    /// Best rated first, then newest.
    Best,
}

/// Which pictures a gallery shows. Absent parts do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureFilter {
    /// Of this character.
    pub character_id: Option<String>,
    /// Drawn for this.
    pub kind: Option<PictureKind>,
    /// Favourites alone.
    pub favourites: bool,
    /// At least so many stars.
    pub min_rating: Option<u8>,
    /// All of these words stand in the prompt.
    pub words: String,
    /// In which order.
    pub order: PictureOrder,
}

pub(crate) fn read(row: &Row) -> rusqlite::Result<Picture> {
    let kind: String = row.get("kind")?;
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
        kind: PictureKind::parse(&kind),
        label: row.get("label")?,
        reference_id: row.get("reference_id")?,
        is_favourite: row.get("favourite")?,
        rating: row.get("rating")?,
        is_approved: row.get("approved")?,
    })
}

/// The filter as a condition with its values; what a person typed never becomes SQL.
fn condition(filter: &PictureFilter) -> (String, Vec<rusqlite::types::Value>) {
    let mut sql = String::from("deleted_ms IS NULL");
    let mut values: Vec<rusqlite::types::Value> = Vec::new();
    let mut add = |part: &str, value: rusqlite::types::Value| {
        sql.push_str(part);
        values.push(value);
    };
    if let Some(id) = &filter.character_id {
        add(" AND character_id = ?", id.clone().into());
    }
    if let Some(kind) = filter.kind {
        add(" AND kind = ?", kind.as_str().to_owned().into());
    }
    if let Some(rating) = filter.min_rating {
        add(" AND rating >= ?", i64::from(rating).into());
    }
    for word in filter.words.split_whitespace() {
        let escaped = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let like = format!("%{escaped}%");
        add(" AND (prompt || ' ' || label) LIKE ? ESCAPE '\\'", like.into());
    }
    if filter.favourites {
        sql.push_str(" AND favourite = 1");
    }
    (sql, values)
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
                 (id, character_id, file, prompt, seed, settings, base_hash, adapter_hash,
                  created_ms, kind, label, reference_id)
             VALUES (:id, :character, :file, :prompt, :seed, :settings, :base, :adapter,
                     :now, :kind, :label, :reference)",
            named_params! {
                ":id": id, ":character": new.character_id, ":file": new.file,
                ":prompt": new.prompt, ":seed": new.seed, ":settings": new.settings,
                ":base": new.base_hash, ":adapter": new.adapter_hash, ":now": now_ms(),
                ":kind": new.kind.as_str(), ":label": new.label, ":reference": new.reference_id,
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

    /// At most `limit` pictures from `offset` on, in the filter's order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pictures(
        &self,
        filter: &PictureFilter,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<Picture>> {
        let (condition, mut values) = condition(filter);
        let order = match filter.order {
            PictureOrder::Newest => "created_ms DESC, id DESC",
            PictureOrder::Oldest => "created_ms, id",
            PictureOrder::Best => "COALESCE(rating, 0) DESC, created_ms DESC, id DESC",
        };
        values.push((limit as i64).into());
        values.push((offset as i64).into());
        let sql =
            format!("SELECT * FROM pictures WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How many pictures a filter leaves.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count_pictures(&self, filter: &PictureFilter) -> Result<usize> {
        let (condition, values) = condition(filter);
        let sql = format!("SELECT COUNT(*) FROM pictures WHERE {condition}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let count: i64 =
            statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0))?;
        Ok(count as usize)
    }

    fn mark_picture(&self, id: &str, sql: &str, value: &dyn rusqlite::ToSql) -> Result<()> {
        match self.connection.execute(sql, rusqlite::params![id, value])? {
            0 => Err(StoreError::NotFound { what: "picture", id: id.into() }),
            _ => Ok(()),
        }
    }

    /// Makes a picture a favourite, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_favourite(&self, id: &str, is_favourite: bool) -> Result<()> {
        let sql = "UPDATE pictures SET favourite = ?2 WHERE id = ?1";
        self.mark_picture(id, sql, &is_favourite)
    }

    /// Rates a picture with one to five stars, or takes the rating away.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_rating(&self, id: &str, rating: Option<u8>) -> Result<()> {
        let sql = "UPDATE pictures SET rating = ?2 WHERE id = ?1";
        self.mark_picture(id, sql, &rating.map(|stars| stars.clamp(1, 5)))
    }

    /// Chooses a picture for its expression; the one chosen before is no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_approved(&self, id: &str, is_approved: bool) -> Result<()> {
        let picture = self.picture(id)?;
        self.connection.execute(
            "UPDATE pictures SET approved = (id = ?1 AND ?4)
             WHERE character_id = ?2 AND label = ?3 AND kind = 'expression'",
            (id, picture.character_id, picture.label, is_approved),
        )?;
        Ok(())
    }

    /// Hides a picture from the gallery; its chat keeps it, and it can be restored.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn delete_picture(&self, id: &str) -> Result<()> {
        let sql = "UPDATE pictures SET deleted_ms = ?2 WHERE id = ?1";
        self.mark_picture(id, sql, &now_ms())
    }

    /// Brings a hidden picture back.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn restore_picture(&self, id: &str) -> Result<()> {
        let sql = "UPDATE pictures SET deleted_ms = ?2, has_left = 0 WHERE id = ?1";
        self.mark_picture(id, sql, &None::<i64>)
    }

    /// Id of the newest message that shows a picture, in a chat that is not deleted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn message_with_picture(&self, picture_id: &str) -> Result<Option<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT m.id FROM messages m JOIN chats c ON c.id = m.chat_id
             WHERE m.picture_id = ?1 AND c.deleted_ms IS NULL ORDER BY m.created_ms DESC LIMIT 1",
        )?;
        let mut rows = statement.query([picture_id])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> (Store, std::path::PathBuf) {
        let file = format!("troupe-store-{}-{name}.db", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::remove_file(&path).ok();
        (Store::open(&path).expect("a scratch database"), path)
    }

    fn new(character: &str, prompt: &str, kind: PictureKind) -> NewPicture {
        NewPicture {
            character_id: character.into(),
            file: "x.png".into(),
            prompt: prompt.into(),
            settings: "{}".into(),
            base_hash: "b".into(),
            kind,
            ..NewPicture::default()
        }
    }

    #[test]
    fn filters_leave_what_they_name() -> Result<()> {
        let (store, path) = store("filters");
        let bread = store.add_picture(&new("dot", "Dot with 100% bread", PictureKind::Chat))?;
        let rain = store.add_picture(&new("dot", "Dot in the rain", PictureKind::Drawing))?;
        let bo = store.add_picture(&new("bo", "Bo in the rain", PictureKind::Chat))?;
        let ids = |filter: PictureFilter| -> Result<Vec<String>> {
            let found = store.pictures(&filter, 0, 10)?;
            assert_eq!(found.len(), store.count_pictures(&filter)?);
            Ok(found.into_iter().map(|p| p.id).collect())
        };
        let all = PictureFilter::default();
        assert_eq!(ids(all.clone())?, [bo.id.clone(), rain.id.clone(), bread.id.clone()]);
        let of = |words: &str| PictureFilter { words: words.into(), ..PictureFilter::default() };
        assert_eq!(ids(of("RAIN bo"))?, std::slice::from_ref(&bo.id));
        assert_eq!(ids(of("100%"))?, std::slice::from_ref(&bread.id));
        assert_eq!(ids(of("1_0%"))?, Vec::<String>::new(), "wildcards are plain characters");
        let dots = PictureFilter { character_id: Some("dot".into()), ..all.clone() };
        assert_eq!(
            ids(PictureFilter { kind: Some(PictureKind::Drawing), ..dots })?,
            std::slice::from_ref(&rain.id)
        );

        store.set_favourite(&bread.id, true)?;
        store.set_rating(&rain.id, Some(4))?;
        store.set_rating(&bo.id, Some(9))?;
        assert_eq!(
            ids(PictureFilter { favourites: true, ..all.clone() })?,
            std::slice::from_ref(&bread.id)
        );
        let rated = PictureFilter { min_rating: Some(5), ..all.clone() };
        assert_eq!(ids(rated)?, std::slice::from_ref(&bo.id), "nine stars are five");
        let best = PictureFilter { order: PictureOrder::Best, ..all.clone() };
        assert_eq!(ids(best)?, [bo.id.clone(), rain.id.clone(), bread.id.clone()]);

        store.delete_picture(&bo.id)?;
        assert_eq!(store.count_pictures(&all)?, 2);
        store.restore_picture(&bo.id)?;
        assert_eq!(store.count_pictures(&all)?, 3);
        assert!(store.set_favourite("nope", true).is_err());
        std::fs::remove_file(path).ok();
        Ok(())
    }

    #[test]
    fn an_expression_has_one_chosen_picture() -> Result<()> {
        let (store, path) = store("approved");
        let face = |label: &str| NewPicture {
            label: label.into(),
            ..new("dot", "Dot", PictureKind::Expression)
        };
        let (first, second) =
            (store.add_picture(&face("calm"))?, store.add_picture(&face("calm"))?);
        let other = store.add_picture(&face("angry"))?;
        for id in [&other.id, &first.id, &second.id] {
            store.set_approved(id, true)?;
        }
        let chosen =
            [&first.id, &second.id, &other.id].map(|id| store.picture(id).map(|p| p.is_approved));
        assert!(matches!(chosen, [Ok(false), Ok(true), Ok(true)]), "{chosen:?}");
        store.set_approved(&second.id, false)?;
        assert!(!store.picture(&second.id)?.is_approved);
        std::fs::remove_file(path).ok();
        Ok(())
    }

    #[test]
    fn a_picture_leads_back_to_its_newest_message() -> Result<()> {
        let (store, path) = store("messages");
        let picture = store.add_picture(&new("dot", "Dot", PictureKind::Chat))?;
        assert_eq!(store.message_with_picture(&picture.id)?, None);
        let chat = store.create_chat("dot", "Hello")?;
        let message = store.add_message(&crate::NewMessage::user(&chat.id, None, "Hi"))?;
        store.set_message_picture(&message.id, &picture.id)?;
        assert_eq!(store.message_with_picture(&picture.id)?, Some(message.id));
        store.delete_chat(&chat.id)?;
        assert_eq!(store.message_with_picture(&picture.id)?, None);
        std::fs::remove_file(path).ok();
        Ok(())
    }

    /// 5,000 pictures with prompts of a kilobyte: a page and its count come in milliseconds even
    /// when words are looked for. The bound is wide; the cost is linear.
    #[test]
    fn a_large_gallery_answers_at_once() -> Result<()> {
        let (store, path) = store("large");
        let prompt = "Dot sits on the counter and waits for the rain to end. ".repeat(20);
        store.connection.execute_batch("BEGIN")?;
        for _ in 0..5_000 {
            store.add_picture(&new("dot", &prompt, PictureKind::Chat))?;
        }
        store.connection.execute_batch("COMMIT")?;
        let filter = PictureFilter { words: "counter rain".into(), ..PictureFilter::default() };
        let started = std::time::Instant::now();
        assert_eq!(store.count_pictures(&filter)?, 5_000);
        assert_eq!(store.pictures(&filter, 4_900, 200)?.len(), 100);
        let elapsed = started.elapsed();
        assert!(elapsed.as_millis() < 300, "it took {elapsed:?}");
        std::fs::remove_file(path).ok();
        Ok(())
    }
}
