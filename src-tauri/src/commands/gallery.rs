//! Commands of the gallery.

use tauri::{AppHandle, WebviewWindow, ipc::Channel};
use troupe_api::{
    ApiResult, DrawingSink,
    wire::{
        AddedToTraining, ChatDetail, DrawPicture, DrawingEvent, ExpressionSheetItem, GalleryFilter,
        GalleryPage,
    },
};

use super::Shared;
use crate::{dialogs, outgoing};

/// Side of the picture that moves with the pointer, in pixels.
const DRAGGED: u32 = 96;

#[tauri::command(async)]
pub(super) fn gallery_page(
    studio: Shared<'_>,
    filter: GalleryFilter,
    offset: u32,
    limit: u32,
) -> ApiResult<GalleryPage> {
    studio.gallery(filter, offset, limit)
}

#[tauri::command(async)]
pub(super) fn set_favourite(studio: Shared<'_>, id: &str, is_favourite: bool) -> ApiResult<()> {
    studio.set_favourite(id, is_favourite)
}

#[tauri::command(async)]
pub(super) fn set_rating(studio: Shared<'_>, id: &str, rating: Option<u8>) -> ApiResult<()> {
    studio.set_rating(id, rating)
}

#[tauri::command(async)]
pub(super) fn delete_gallery_pictures(studio: Shared<'_>, ids: Vec<String>) -> ApiResult<()> {
    studio.delete_gallery_pictures(&ids)
}

#[tauri::command(async)]
pub(super) fn restore_gallery_pictures(studio: Shared<'_>, ids: Vec<String>) -> ApiResult<()> {
    studio.restore_gallery_pictures(&ids)
}

#[tauri::command(async)]
pub(super) fn open_picture_chat(studio: Shared<'_>, id: &str) -> ApiResult<ChatDetail> {
    studio.open_picture_chat(id)
}

/// Saves copies where the person chooses: one as a file, several into a folder. None when they
/// chose nothing, else how many were written.
#[tauri::command(async)]
pub(super) fn save_pictures(
    app: AppHandle,
    studio: Shared<'_>,
    ids: Vec<String>,
    with_origin: bool,
) -> ApiResult<Option<u32>> {
    if let [id] = &ids[..] {
        let Some(file) = dialogs::save_file(&app, &studio.copy_name(id)?) else { return Ok(None) };
        studio.save_picture_copy(id, &file, with_origin)?;
        return Ok(Some(1));
    }
    let Some(folder) = dialogs::pick_folder(&app) else { return Ok(None) };
    let files = studio.save_picture_copies(&ids, &folder, with_origin)?;
    Ok(Some(files.len() as u32))
}

/// Shows a picture's file in the file manager.
#[tauri::command(async)]
pub(super) fn show_picture(studio: Shared<'_>, id: &str, with_origin: bool) -> ApiResult<()> {
    outgoing::show(&studio.picture_to_show(id, with_origin)?)
}

/// Begins to drag a picture's file to another program.
#[tauri::command(async)]
pub(super) fn drag_picture(
    window: WebviewWindow,
    studio: Shared<'_>,
    id: &str,
    with_origin: bool,
) -> ApiResult<()> {
    let image = studio.thumbnail(id, DRAGGED)?;
    outgoing::drag(&window, studio.outgoing_copy(id, with_origin)?, image)
}

#[tauri::command(async)]
pub(super) fn add_to_training(studio: Shared<'_>, id: &str) -> ApiResult<AddedToTraining> {
    studio.add_to_training(id)
}

/// Hands events to the page. A page that is gone misses them; the store holds what was drawn.
fn sink(events: Channel<DrawingEvent>) -> DrawingSink {
    Box::new(move |event| {
        if let Err(error) = events.send(event) {
            tracing::debug!("the page did not take an event: {error}");
        }
    })
}

#[tauri::command(async)]
pub(super) fn draw_picture(
    studio: Shared<'_>,
    request: DrawPicture,
    events: Channel<DrawingEvent>,
) -> ApiResult<String> {
    studio.draw_picture(request, sink(events))
}

#[tauri::command(async)]
pub(super) fn draw_again(
    studio: Shared<'_>,
    id: &str,
    seed: Option<u32>,
    events: Channel<DrawingEvent>,
) -> ApiResult<String> {
    studio.draw_again(id, seed, sink(events))
}

#[tauri::command(async)]
pub(super) fn draw_expressions(
    studio: Shared<'_>,
    character_id: &str,
    names: Vec<String>,
    seed: Option<u32>,
    events: Channel<DrawingEvent>,
) -> ApiResult<String> {
    studio.draw_expressions(character_id, &names, seed, sink(events))
}

#[tauri::command(async)]
pub(super) fn expression_sheet(
    studio: Shared<'_>,
    character_id: &str,
) -> ApiResult<Vec<ExpressionSheetItem>> {
    studio.expression_sheet(character_id)
}

#[tauri::command(async)]
pub(super) fn approve_picture(studio: Shared<'_>, id: &str, is_approved: bool) -> ApiResult<()> {
    studio.approve_picture(id, is_approved)
}

/// Writes a sprite pack where the person chooses; none when they chose nothing, else where it is.
#[tauri::command(async)]
pub(super) fn export_sprites(
    app: AppHandle,
    studio: Shared<'_>,
    character_id: &str,
    as_zip: bool,
    with_origin: bool,
) -> ApiResult<Option<String>> {
    if as_zip {
        let Some(file) = dialogs::save_file(&app, "expressions.zip") else { return Ok(None) };
        studio.export_sprites_zip(character_id, &file, with_origin)?;
        return Ok(Some(file.display().to_string()));
    }
    let Some(folder) = dialogs::pick_folder(&app) else { return Ok(None) };
    let written = studio.export_sprites_folder(character_id, &folder, with_origin)?;
    Ok(Some(written.display().to_string()))
}
