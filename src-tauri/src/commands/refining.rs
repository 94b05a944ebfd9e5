//! Commands of refining, stage 2. Its runs are paused, resumed and stopped like those of stage 1.

use troupe_api::{
    ApiResult,
    wire::{PromptItem, RefinePlan, RunSummary, StartRefining},
};

use super::Shared;

#[tauri::command(async)]
pub(super) fn refine_plan(studio: Shared<'_>, request: StartRefining) -> ApiResult<RefinePlan> {
    studio.refine_plan(&request)
}

#[tauri::command(async)]
pub(super) fn start_refining(studio: Shared<'_>, request: StartRefining) -> ApiResult<RunSummary> {
    studio.start_refining(&request)
}

#[tauri::command(async)]
pub(super) fn refine_prompts(studio: Shared<'_>, character_id: &str) -> ApiResult<Vec<PromptItem>> {
    studio.refine_prompts(character_id)
}

#[tauri::command(async)]
pub(super) fn save_prompts(
    studio: Shared<'_>,
    character_id: &str,
    prompts: Vec<PromptItem>,
) -> ApiResult<String> {
    studio.save_prompts(character_id, prompts)
}
