//! The gallery: everything that was drawn, with favourites, ratings and copies.

use std::path::{Path, PathBuf};

use troupe_character::{Added, Character};
use troupe_store::{Picture, PictureFilter, PictureKind, PictureOrder};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    picture_file::{encode_png, without_texts},
    wire::{
        AddedToTraining, ChatDetail, GalleryFilter, GalleryItem, GalleryOrder, GalleryPage,
        PictureUse,
    },
};

/// Characters of a picture's title.
const TITLE: usize = 90;
/// Longest prompt that serves as a caption.
const CAPTION: usize = 300;
/// Most pictures of one page.
const MAX_PAGE: u32 = 500;

fn kind_item(kind: PictureKind) -> PictureUse {
    match kind {
        PictureKind::Chat => PictureUse::Chat,
        PictureKind::Drawing => PictureUse::Drawing,
        PictureKind::Expression => PictureUse::Expression,
    }
}

fn filter(from: GalleryFilter) -> PictureFilter {
    PictureFilter {
        character_id: from.character_id,
        kind: from.kind.map(|kind| match kind {
            PictureUse::Chat => PictureKind::Chat,
            PictureUse::Drawing => PictureKind::Drawing,
            PictureUse::Expression => PictureKind::Expression,
        }),
        favourites: from.favourites,
        min_rating: from.min_rating,
        words: from.words,
        order: match from.order {
            GalleryOrder::Newest => PictureOrder::Newest,
            GalleryOrder::Oldest => PictureOrder::Oldest,
            GalleryOrder::Best => PictureOrder::Best,
        },
    }
}

/// The telling part of a prompt: what the character answered, else its beginning.
fn title(prompt: &str) -> String {
    const ANSWER: &str = "Character Response: ";
    let telling = prompt.find(ANSWER).map_or(prompt, |at| &prompt[at + ANSWER.len()..]);
    let line = telling.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(TITLE) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

pub(crate) fn item(picture: Picture) -> GalleryItem {
    GalleryItem {
        title: if picture.label.is_empty() {
            title(&picture.prompt)
        } else {
            picture.label.clone()
        },
        id: picture.id,
        character_id: picture.character_id,
        prompt: picture.prompt,
        seed: picture.seed as f64,
        base_hash: picture.base_hash,
        adapter_hash: picture.adapter_hash,
        created_ms: picture.created_ms as f64,
        kind: kind_item(picture.kind),
        label: picture.label,
        reference_id: picture.reference_id,
        is_favourite: picture.is_favourite,
        rating: picture.rating,
        is_approved: picture.is_approved,
    }
}

/// A harmless file name part: letters of any script, digits, single hyphens; never empty.
pub(crate) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().to_lowercase().chars().take(60) {
        if c.is_alphanumeric() || c == '_' {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "picture".into() } else { name.into() }
}

impl Studio {
    /// Pictures that a filter leaves, `limit` from `offset` on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn gallery(&self, from: GalleryFilter, offset: u32, limit: u32) -> ApiResult<GalleryPage> {
        let (filter, store) = (filter(from), self.store());
        let limit = limit.min(MAX_PAGE) as usize;
        let items = store.pictures(&filter, offset as usize, limit)?;
        Ok(GalleryPage {
            total: store.count_pictures(&filter)? as u32,
            items: items.into_iter().map(item).collect(),
        })
    }

    /// Makes a picture a favourite, or no longer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_favourite(&self, id: &str, is_favourite: bool) -> ApiResult<()> {
        Ok(self.store().set_favourite(id, is_favourite)?)
    }

    /// Rates a picture with one to five stars, or takes the rating away.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn set_rating(&self, id: &str, rating: Option<u8>) -> ApiResult<()> {
        Ok(self.store().set_rating(id, rating)?)
    }

    /// Hides pictures from the gallery; chats keep them.
    ///
    /// # Errors
    /// When one does not exist; those before it are hidden.
    pub fn delete_gallery_pictures(&self, ids: &[String]) -> ApiResult<()> {
        let store = self.store();
        Ok(ids.iter().try_for_each(|id| store.delete_picture(id))?)
    }

    /// Brings hidden pictures back.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn restore_gallery_pictures(&self, ids: &[String]) -> ApiResult<()> {
        let store = self.store();
        Ok(ids.iter().try_for_each(|id| store.restore_picture(id))?)
    }

    /// Shows the chat that a picture belongs to, at its message.
    ///
    /// # Errors
    /// When no chat shows it.
    pub fn open_picture_chat(&self, id: &str) -> ApiResult<ChatDetail> {
        let message = self.store().message_with_picture(id)?;
        match message {
            Some(message) => self.select_alternative(&message),
            None => Err(ApiError::new(
                ErrorCode::NotFound,
                "no chat shows this picture",
                "It was drawn in the gallery, or its reply has another picture by now.",
            )
            .because(ErrorCause::NoChatOfPicture)),
        }
    }

    pub(crate) fn picture_bytes(&self, file: &str) -> ApiResult<Vec<u8>> {
        let path = self.pictures_dir().join(file);
        std::fs::read(&path).map_err(|e| {
            let message = format!("the picture's file cannot be read: {e} ({})", path.display());
            ApiError::new(
                ErrorCode::Storage,
                message,
                "Draw it again: its prompt and seed are kept.",
            )
            .because(ErrorCause::PictureGone)
            .with("path", path.display())
        })
    }

    /// A picture's file for others: as it is, or without the text that says how it was made.
    pub(crate) fn picture_copy(&self, picture: &Picture, with_origin: bool) -> ApiResult<Vec<u8>> {
        let bytes = self.picture_bytes(&picture.file)?;
        if with_origin { Ok(bytes) } else { without_texts(&bytes) }
    }

    /// A name for a copy of a picture.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn copy_name(&self, id: &str) -> ApiResult<String> {
        let picture = self.store().picture(id)?;
        let entry = self.library().find(&picture.character_id);
        let name = entry.map_or_else(|_| "picture".into(), |entry| file_name(&entry.name));
        let short: String = picture.id.chars().rev().take(6).collect();
        Ok(format!("{name}-{}-{short}.png", picture.seed))
    }

    /// Writes a copy of a picture to `file`.
    ///
    /// # Errors
    /// When it does not exist or the file cannot be written.
    pub fn save_picture_copy(&self, id: &str, file: &Path, with_origin: bool) -> ApiResult<()> {
        let picture = self.store().picture(id)?;
        crate::write_atomic(file, &self.picture_copy(&picture, with_origin)?)
    }

    /// Writes copies of pictures into `folder` under names that are free there.
    ///
    /// # Errors
    /// When one does not exist or cannot be written; those before it are there.
    pub fn save_picture_copies(
        &self,
        ids: &[String],
        folder: &Path,
        with_origin: bool,
    ) -> ApiResult<Vec<PathBuf>> {
        let mut files = Vec::new();
        for id in ids {
            let file = free_path(folder, &self.copy_name(id)?);
            self.save_picture_copy(id, &file, with_origin)?;
            files.push(file);
        }
        Ok(files)
    }

    /// A copy of a picture for another program to take. It lies in a folder of its own until
    /// [`Studio::discard_outgoing`].
    ///
    /// # Errors
    /// When the picture does not exist or the copy cannot be written.
    pub fn outgoing_copy(&self, id: &str, with_origin: bool) -> ApiResult<PathBuf> {
        let file = self.outgoing_dir().join(self.copy_name(id)?);
        self.save_picture_copy(id, &file, with_origin)?;
        Ok(file)
    }

    /// The file of a picture for the person to find: the studio's own, which says how the picture was
    /// made, or a copy that does not.
    ///
    /// # Errors
    /// When the picture does not exist or the copy cannot be written.
    pub fn picture_to_show(&self, id: &str, with_origin: bool) -> ApiResult<PathBuf> {
        if !with_origin {
            return self.outgoing_copy(id, with_origin);
        }
        let file = self.store().picture(id)?.file;
        self.picture_bytes(&file)?;
        Ok(absolute(&self.pictures_dir().join(file)))
    }

    /// A picture made small, as PNG: what moves with the pointer while it is dragged.
    ///
    /// # Errors
    /// When the picture does not exist or is damaged.
    pub fn thumbnail(&self, id: &str, side: u32) -> ApiResult<Vec<u8>> {
        let file = self.store().picture(id)?.file;
        let image = image::load_from_memory(&self.picture_bytes(&file)?).map_err(|e| {
            let path = self.pictures_dir().join(file);
            let message = format!("a picture is damaged: {e} ({})", path.display());
            let hint = "Draw it again: its prompt and seed are kept.";
            ApiError::new(ErrorCode::Storage, message, hint)
                .because(ErrorCause::PictureGone)
                .with("path", path.display())
        })?;
        encode_png(&image.thumbnail(side, side).to_rgb8(), &[])
    }

    /// Removes the copies that other programs could take until now.
    pub fn discard_outgoing(&self) {
        let dir = self.outgoing_dir();
        if dir.exists()
            && let Err(error) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!("copies for other programs stay: {error} ({})", dir.display());
        }
    }

    fn outgoing_dir(&self) -> PathBuf {
        absolute(&self.home().join("outgoing"))
    }

    /// Adds a drawn picture to the character's own, to be learned from.
    ///
    /// # Errors
    /// When picture or character do not exist, or the character cannot be written.
    pub fn add_to_training(&self, id: &str) -> ApiResult<AddedToTraining> {
        let picture = self.store().picture(id)?;
        let mut character = self.library().editable(&picture.character_id)?;
        let added = character.add_picture(&self.picture_bytes(&picture.file)?, "the picture")?;
        let picture_id = added.id().to_owned();
        let is_new = matches!(added, Added::New(_));
        if is_new {
            describe(&mut character, &picture_id, &picture);
            self.library().save(&character)?;
        }
        Ok(AddedToTraining { character: self.character(&character.id)?, picture_id, is_new })
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// Gives a new training picture the caption that its prompt allows; the prompt of a chat does not
/// say what the picture shows.
fn describe(character: &mut Character, picture_id: &str, drawn: &Picture) {
    let is_caption = drawn.kind != PictureKind::Chat && drawn.prompt.chars().count() <= CAPTION;
    if let Some(new) = character.pictures.iter_mut().find(|p| p.id == picture_id) {
        new.expression.clone_from(&drawn.label);
        if is_caption {
            new.caption.clone_from(&drawn.prompt);
        }
    }
}

/// `name` in `folder`, with a number behind it where the name is taken.
pub(crate) fn free_path(folder: &Path, name: &str) -> PathBuf {
    let wanted = folder.join(name);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (name, String::new()),
    };
    let numbered = (2..).map(|n| folder.join(format!("{stem}-{n}{extension}")));
    std::iter::once(wanted).chain(numbered).find(|path| !path.exists()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_tell_the_answer_of_a_scene() {
        let prompt = "Character Description: long\n\nUser Input: Hi\n\nCharacter Response: Woof!\n\nPlease generate";
        assert_eq!(title(prompt), "Woof!");
        assert_eq!(title("Dot in the rain"), "Dot in the rain");
        assert_eq!(title(&"é".repeat(200)).chars().count(), TITLE + 1);
    }

    #[test]
    fn file_names_are_harmless() {
        assert_eq!(file_name("../Zoë O'Neil/"), "zoë-o-neil");
        assert_eq!(file_name("  "), "picture");
        assert_eq!(file_name("喜び"), "喜び");
    }
}
