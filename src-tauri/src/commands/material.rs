//! Commands of the material browser.

use tauri::ipc::Channel;
use troupe_api::{
    ApiResult,
    wire::{
        CompareEvent, MaterialFilter, MaterialItem, MaterialKind, MaterialOwner, MaterialPage,
        TryMaterial, Trying,
    },
};

use super::Shared;

#[tauri::command(async)]
pub(super) fn material_owners(studio: Shared<'_>) -> ApiResult<Vec<MaterialOwner>> {
    studio.material_owners()
}

#[tauri::command(async)]
pub(super) fn material_page(
    studio: Shared<'_>,
    filter: MaterialFilter,
    offset: u32,
    limit: u32,
) -> ApiResult<MaterialPage> {
    studio.material(&filter, offset, limit)
}

#[tauri::command(async)]
pub(super) fn material_item(
    studio: Shared<'_>,
    character_id: &str,
    kind: MaterialKind,
    id: &str,
) -> ApiResult<MaterialItem> {
    studio.material_item(character_id, kind, id)
}

#[tauri::command(async)]
pub(super) fn try_material(
    studio: Shared<'_>,
    request: TryMaterial,
    events: Channel<CompareEvent>,
) -> ApiResult<Trying> {
    studio.try_material(&request, super::compare_sink(events))
}
