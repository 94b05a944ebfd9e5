//! Commands of evaluations.

use std::process::{Command, Stdio};

use tauri::AppHandle;
use troupe_api::{
    ApiError, ApiResult, ErrorCode,
    wire::{EvaluationDetail, EvaluationPlan, EvaluationSummary, StartEvaluation},
};

use super::Shared;
use crate::dialogs;

/// The report that is read.
const REPORT: &str = "report.html";

#[tauri::command(async)]
pub(super) fn evaluation_plan(
    studio: Shared<'_>,
    request: StartEvaluation,
) -> ApiResult<EvaluationPlan> {
    studio.evaluation_plan(&request)
}

#[tauri::command(async)]
pub(super) fn start_evaluation(
    studio: Shared<'_>,
    request: StartEvaluation,
) -> ApiResult<EvaluationSummary> {
    studio.start_evaluation(&request)
}

#[tauri::command(async)]
pub(super) fn stop_evaluation(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.stop_evaluation(id)
}

#[tauri::command(async)]
pub(super) fn resume_evaluation(studio: Shared<'_>, id: &str) -> ApiResult<EvaluationSummary> {
    studio.resume_evaluation(id)
}

/// Bytes that deleting an evaluation frees.
#[tauri::command(async)]
pub(super) fn evaluation_deletion(studio: Shared<'_>, id: &str) -> ApiResult<f64> {
    studio.evaluation_deletion(id)
}

#[tauri::command(async)]
pub(super) fn delete_evaluation(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.delete_evaluation(id)
}

#[tauri::command(async)]
pub(super) fn restore_evaluation(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.restore_evaluation(id)
}

#[tauri::command(async)]
pub(super) fn list_evaluations(studio: Shared<'_>) -> ApiResult<Vec<EvaluationSummary>> {
    studio.list_evaluations()
}

#[tauri::command(async)]
pub(super) fn get_evaluation(studio: Shared<'_>, id: &str) -> ApiResult<EvaluationDetail> {
    studio.evaluation(id)
}

/// Saves a file of the report where the person chooses; none when they chose nothing, else where.
#[tauri::command(async)]
pub(super) fn save_evaluation(
    app: AppHandle,
    studio: Shared<'_>,
    id: &str,
    name: &str,
) -> ApiResult<Option<String>> {
    studio.evaluation_file(id, name)?;
    let Some(file) = dialogs::save_file(&app, name) else { return Ok(None) };
    studio.save_evaluation_file(id, name, &file)?;
    Ok(Some(file.display().to_string()))
}

/// Shows the report in the person's own browser.
#[tauri::command(async)]
pub(super) fn open_evaluation_report(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    let file = studio.evaluation_file(id, REPORT)?;
    let program = if cfg!(target_os = "windows") {
        "explorer"
    } else if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| {
        let message = format!("the report cannot be opened: {e}");
        ApiError::new(ErrorCode::Internal, message, format!("Open it yourself: {}", file.display()))
    })?;
    std::thread::spawn(move || child.wait()); // so that it leaves no zombie
    Ok(())
}
