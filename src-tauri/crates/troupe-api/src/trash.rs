//! All that was deleted, in one list, and the end of it.
//!
//! Each kind is deleted and restored where it is at home: characters in the library, runs and
//! evaluations as folders (`discard.rs`), chats, messages and pictures in the store. Here they are
//! seen together, and go for good: when the person wants it, or [`KEPT_DAYS`] after their deletion.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use troupe_character::Trashed;
use troupe_jobs::RunFolder;
use troupe_store::{Deleted, Discard, Message, Orphans};

use crate::{
    Studio,
    chat::title_of,
    discard::{RUN, folder_bytes, move_folder},
    error::ApiResult,
    evaluation::told_evaluation,
    gallery::item,
    now_ms,
    training::run_file,
    wire::{DeletedItem, DeletedItems, DeletedKind, DeletedRef},
};

/// Days for which something deleted can be brought back.
pub const KEPT_DAYS: u32 = 30;

const DAY_MS: f64 = 24. * 60. * 60. * 1000.;

/// When a folder of the trash came to hold what it holds.
fn held_since(holder: &Path) -> Option<f64> {
    let when = fs::metadata(holder).and_then(|about| about.modified()).ok()?;
    let since = when.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((since.as_secs_f64() * 1000.).floor())
}

/// What lies in a folder; nothing in one that is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn file_bytes(path: &Path) -> Option<f64> {
    fs::metadata(path).ok().map(|about| about.len() as f64)
}

/// An entry that is a folder of the trash; none when that is gone.
fn held(kind: DeletedKind, holder: &Path) -> Option<DeletedItem> {
    let id = holder.file_name()?.to_str()?.to_owned();
    Some(DeletedItem {
        kind,
        title: id.clone(), // of what cannot be read
        id,
        owner: None,
        num_messages: 0,
        stage: None,
        made_ms: None,
        deleted_ms: held_since(holder)?,
        size_bytes: Some(folder_bytes(holder)),
    })
}

/// An entry of the store.
fn marked<T>(kind: DeletedKind, id: &str, deleted: &Deleted<T>) -> DeletedItem {
    DeletedItem {
        kind,
        id: id.into(),
        title: String::new(),
        owner: None,
        num_messages: deleted.num_messages as u32,
        stage: None,
        made_ms: None,
        deleted_ms: deleted.deleted_ms as f64,
        size_bytes: None,
    }
}

impl Studio {
    /// Folders of a kind in the trash that hold something.
    fn holders(&self, kind: &str) -> Vec<PathBuf> {
        let all = entries(&self.trash(kind)).into_iter();
        all.filter(|holder| holder.join(RUN).is_dir()).collect()
    }

    fn deleted_characters(&self) -> ApiResult<Vec<DeletedItem>> {
        let all = self.library().trashed()?.into_iter();
        let entry = |trashed: Trashed| {
            let holder = self.trash("characters").join(&trashed.trash_id);
            Some(DeletedItem { title: trashed.name, ..held(DeletedKind::Character, &holder)? })
        };
        Ok(all.filter_map(entry).collect())
    }

    fn deleted_runs(&self) -> Vec<DeletedItem> {
        let entry = |holder: PathBuf| {
            let found = held(DeletedKind::Run, &holder)?;
            let run = RunFolder::open(&holder.join(RUN)).map_err(Into::into);
            Some(match run.and_then(|run| run_file(&run)) {
                Ok(file) => DeletedItem {
                    title: String::new(),
                    owner: Some(file.character_name),
                    stage: Some(file.kind),
                    made_ms: Some(file.created_ms),
                    ..found
                },
                Err(_) => found,
            })
        };
        self.holders("runs").into_iter().filter_map(entry).collect()
    }

    fn deleted_evaluations(&self) -> Vec<DeletedItem> {
        let entry = |holder: PathBuf| {
            let found = held(DeletedKind::Evaluation, &holder)?;
            Some(match told_evaluation(&holder.join(RUN)) {
                Some(told) => DeletedItem {
                    title: told.names.join(", "),
                    made_ms: Some(told.created_ms),
                    ..found
                },
                None => found,
            })
        };
        self.holders("evaluations").into_iter().filter_map(entry).collect()
    }

    /// What the store has of it. `names` are those of characters, by their ids.
    fn deleted_records(&self, names: &HashMap<String, String>) -> ApiResult<Vec<DeletedItem>> {
        let store = self.store();
        let mut items = Vec::new();
        for deleted in store.deleted_chats()? {
            let chat = &deleted.what;
            items.push(DeletedItem {
                title: chat.title.clone(),
                owner: names.get(&chat.character_id).cloned(),
                ..marked(DeletedKind::Chat, &chat.id, &deleted)
            });
        }
        let mut titles: HashMap<String, String> = HashMap::new();
        for deleted in store.deleted_messages()? {
            let Message { id, chat_id, text, .. } = &deleted.what;
            if !titles.contains_key(chat_id) {
                titles.insert(chat_id.clone(), store.chat(chat_id)?.title);
            }
            items.push(DeletedItem {
                title: title_of(text),
                owner: titles.get(chat_id).cloned(),
                ..marked(DeletedKind::Message, id, &deleted)
            });
        }
        for deleted in store.deleted_pictures()? {
            let picture = item(deleted.what.clone());
            items.push(DeletedItem {
                owner: names.get(&picture.character_id).cloned(),
                size_bytes: file_bytes(&self.pictures_dir().join(&deleted.what.file)),
                title: picture.title,
                ..marked(DeletedKind::Picture, &picture.id, &deleted)
            });
        }
        Ok(items)
    }

    /// All that was deleted and can be brought back, the last one first.
    ///
    /// # Errors
    /// When library or database cannot be read.
    pub fn deleted(&self) -> ApiResult<DeletedItems> {
        let mut names: HashMap<String, String> =
            self.library().trashed()?.into_iter().map(|gone| (gone.id, gone.name)).collect();
        names.extend(self.library().list()?.into_iter().map(|entry| (entry.id, entry.name)));
        let mut items = self.deleted_records(&names)?;
        items.extend(self.deleted_characters()?);
        items.extend(self.deleted_runs());
        items.extend(self.deleted_evaluations());
        items.sort_by(|a, b| b.deleted_ms.total_cmp(&a.deleted_ms));
        Ok(DeletedItems { items, kept_days: KEPT_DAYS })
    }

    /// Discards for good what was deleted; what was restored since, or is gone, is left alone. With a
    /// character go the chats with it; pictures that it drew stay in the gallery. Space on disk is freed
    /// afterwards, by the thread that is returned.
    ///
    /// # Errors
    /// When the database cannot be written, or a folder cannot be moved.
    pub fn discard(&self, items: &[DeletedRef]) -> ApiResult<JoinHandle<()>> {
        let of = |kind: DeletedKind| {
            items.iter().filter(move |item| item.kind == kind).map(|item| item.id.clone())
        };
        let characters = self.leaving(items)?;
        let orphans = self.store().discard(&Discard {
            characters,
            chats: of(DeletedKind::Chat).collect(),
            messages: of(DeletedKind::Message).collect(),
            pictures: of(DeletedKind::Picture).collect(),
        })?;
        let folders = [
            ("characters", DeletedKind::Character),
            ("runs", DeletedKind::Run),
            ("evaluations", DeletedKind::Evaluation),
        ];
        for (folder, kind) in folders {
            let known = entries(&self.trash(folder));
            for id in of(kind) {
                if let Some(holder) = known.iter().find(|dir| dir.file_name() == Some(id.as_ref()))
                {
                    self.set_aside(holder)?;
                }
            }
        }
        let studio = self.clone();
        Ok(std::thread::spawn(move || studio.free(&orphans)))
    }

    /// Ids of the characters of which nothing is left, in the library or the trash, without `items`.
    fn leaving(&self, items: &[DeletedRef]) -> ApiResult<Vec<String>> {
        let is_item = |trashed: &Trashed| {
            items.iter().any(|i| i.kind == DeletedKind::Character && i.id == trashed.trash_id)
        };
        let (leaving, staying): (Vec<_>, Vec<_>) =
            self.library().trashed()?.into_iter().partition(is_item);
        if leaving.is_empty() {
            return Ok(Vec::new());
        }
        let living = self.library().list()?;
        let stays = |id: &String| {
            living.iter().any(|entry| entry.id == *id) || staying.iter().any(|t| t.id == *id)
        };
        Ok(leaving.into_iter().map(|trashed| trashed.id).filter(|id| !stays(id)).collect())
    }

    /// Moves a folder of the trash to where it can no longer be brought back from.
    fn set_aside(&self, holder: &Path) -> ApiResult<()> {
        move_folder(holder, &self.trash("discarded").join(uuid::Uuid::now_v7().to_string()))
    }

    /// Removes the files of what was discarded, also of what an earlier start was too short for.
    fn free(&self, orphans: &Orphans) {
        let attachments = orphans.attachments.iter().map(|name| self.attachments_dir().join(name));
        let pictures = orphans.pictures.iter().map(|file| self.pictures_dir().join(file));
        for path in attachments.chain(pictures) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("a discarded picture stays: {error} ({})", path.display());
            }
        }
        for dir in entries(&self.trash("discarded")) {
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::warn!("what was discarded stays on disk: {error} ({})", dir.display());
            }
        }
    }

    /// Discards what was deleted more than [`KEPT_DAYS`] ago. The window calls it once at start and
    /// does not wait for its end.
    pub fn discard_old(&self) -> JoinHandle<()> {
        let studio = self.clone();
        std::thread::spawn(move || {
            let oldest = now_ms() - f64::from(KEPT_DAYS) * DAY_MS;
            let discarded = studio.deleted().and_then(|all| {
                let old = all.items.into_iter().filter(|item| item.deleted_ms < oldest);
                let old = old.map(|item| DeletedRef { kind: item.kind, id: item.id });
                studio.discard(&old.collect::<Vec<_>>())
            });
            match discarded {
                Ok(freeing) => {
                    if freeing.join().is_err() {
                        tracing::error!("freeing the space of what was discarded panicked");
                    }
                }
                Err(error) => tracing::warn!("what was deleted long ago is still kept: {error}"),
            }
        })
    }
}
