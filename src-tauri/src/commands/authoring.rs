//! Commands for writing a character.

use std::path::PathBuf;

use tauri::AppHandle;
use troupe_api::{
    ApiResult,
    wire::{BaseFacts, ChangeItem, CharacterDetail, CropItem, PictureItem, VersionItem},
};

use super::Shared;
use crate::dialogs;

#[tauri::command(async)]
pub(super) fn base_facts(studio: Shared<'_>) -> ApiResult<BaseFacts> {
    studio.base_facts()
}

#[tauri::command(async)]
pub(super) fn count_tokens(studio: Shared<'_>, texts: Vec<String>) -> ApiResult<Vec<u32>> {
    studio.count_tokens(&texts)
}

#[tauri::command(async)]
pub(super) fn duplicate_character(
    studio: Shared<'_>,
    id: &str,
    name: &str,
) -> ApiResult<CharacterDetail> {
    studio.duplicate_character(id, name)
}

/// Writes a character as one file where the person chooses; answers where, if anywhere.
#[tauri::command(async)]
pub(super) fn export_character(
    app: AppHandle,
    studio: Shared<'_>,
    id: &str,
    name: &str,
) -> ApiResult<Option<PathBuf>> {
    let Some(file) = dialogs::pick_save(&app, name, troupe_api::ENDING) else { return Ok(None) };
    studio.export_character(id, &file)?;
    Ok(Some(file))
}

#[tauri::command(async)]
pub(super) fn update_pictures(
    studio: Shared<'_>,
    id: &str,
    pictures: Vec<PictureItem>,
) -> ApiResult<CharacterDetail> {
    studio.update_pictures(id, &pictures)
}

#[tauri::command(async)]
pub(super) fn crop_picture(
    studio: Shared<'_>,
    id: &str,
    picture_id: &str,
    crop: Option<CropItem>,
) -> ApiResult<CharacterDetail> {
    studio.crop_picture(id, picture_id, crop)
}

#[tauri::command(async)]
pub(super) fn border_colour(studio: Shared<'_>, id: &str, picture_id: &str) -> ApiResult<[u8; 3]> {
    studio.border_colour(id, picture_id)
}

#[tauri::command(async)]
pub(super) fn draft_caption(studio: Shared<'_>, id: &str, picture_id: &str) -> ApiResult<String> {
    studio.draft_caption(id, picture_id)
}

#[tauri::command(async)]
pub(super) fn scene_from_chat(
    studio: Shared<'_>,
    chat_id: &str,
    with_pictures: bool,
) -> ApiResult<CharacterDetail> {
    studio.scene_from_chat(chat_id, with_pictures)
}

#[tauri::command(async)]
pub(super) fn list_versions(studio: Shared<'_>, id: &str) -> ApiResult<Vec<VersionItem>> {
    studio.list_versions(id)
}

#[tauri::command(async)]
pub(super) fn keep_version(
    studio: Shared<'_>,
    id: &str,
    name: &str,
) -> ApiResult<Vec<VersionItem>> {
    studio.keep_version(id, name)
}

#[tauri::command(async)]
pub(super) fn version_changes(
    studio: Shared<'_>,
    id: &str,
    version_id: &str,
) -> ApiResult<Vec<ChangeItem>> {
    studio.version_changes(id, version_id)
}

#[tauri::command(async)]
pub(super) fn restore_version(
    studio: Shared<'_>,
    id: &str,
    version_id: &str,
) -> ApiResult<CharacterDetail> {
    studio.restore_version(id, version_id)
}
