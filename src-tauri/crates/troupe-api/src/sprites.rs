//! Sprite packs: the chosen picture of every expression as `<expression>.png`.

use std::{
    collections::HashSet,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
};

use troupe_store::{Picture, PictureFilter, PictureKind};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCode},
    gallery::{file_name, free_path},
};

/// File names of a pack with their bytes.
type Sprites = Vec<(String, Vec<u8>)>;

fn unzippable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("the pack cannot be written: {error}"), "")
}

/// A zip archive. PNG is compressed already, so files are stored as they are.
fn zipped(sprites: &Sprites) -> ApiResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in sprites {
        archive.start_file(name.as_str(), options).map_err(unzippable)?;
        archive.write_all(bytes).map_err(unzippable)?;
    }
    Ok(archive.finish().map_err(unzippable)?.into_inner())
}

/// A name for each picture: its expression's, with a number where two would be the same.
fn names(pictures: &[Picture]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |label: &str| {
        let stem = file_name(label);
        let numbered = (2..).map(|n| format!("{stem}-{n}.png"));
        let mut names = std::iter::once(format!("{stem}.png")).chain(numbered);
        names.find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    pictures.iter().map(|picture| free(&picture.label)).collect()
}

impl Studio {
    fn sprites(&self, character_id: &str, with_origin: bool) -> ApiResult<(String, Sprites)> {
        let character = self.library().load(character_id)?;
        let filter = PictureFilter {
            character_id: Some(character.id.clone()),
            kind: Some(PictureKind::Expression),
            ..PictureFilter::default()
        };
        let mut chosen = self.store().pictures(&filter, 0, usize::from(u16::MAX))?;
        chosen.retain(|picture| picture.is_approved);
        chosen.sort_by(|a, b| a.label.cmp(&b.label));
        if chosen.is_empty() {
            let message = format!("no expression of {} has been approved yet", character.name);
            let hint = "Draw the sheet and approve the faces that fit.";
            return Err(ApiError::new(ErrorCode::BadRequest, message, hint));
        }
        let copies = chosen.iter().map(|p| self.picture_copy(p, with_origin));
        let copies = copies.collect::<ApiResult<Vec<_>>>()?;
        Ok((file_name(&character.name), names(&chosen).into_iter().zip(copies).collect()))
    }

    /// Writes the approved expressions as a zip archive to `file`; answers how many there are.
    ///
    /// # Errors
    /// When the character does not exist, nothing is approved, or the file cannot be written.
    pub fn export_sprites_zip(
        &self,
        character_id: &str,
        file: &Path,
        with_origin: bool,
    ) -> ApiResult<u32> {
        let (_, sprites) = self.sprites(character_id, with_origin)?;
        crate::write_atomic(file, &zipped(&sprites)?)?;
        Ok(sprites.len() as u32)
    }

    /// Writes the approved expressions into a new folder inside `folder`; answers where.
    ///
    /// # Errors
    /// When the character does not exist, nothing is approved, or the folder cannot be written.
    pub fn export_sprites_folder(
        &self,
        character_id: &str,
        folder: &Path,
        with_origin: bool,
    ) -> ApiResult<PathBuf> {
        let (name, sprites) = self.sprites(character_id, with_origin)?;
        let target = free_path(folder, &format!("{name}-expressions"));
        for (file, bytes) in sprites {
            crate::write_atomic(&target.join(file), &bytes)?;
        }
        Ok(target)
    }
}
