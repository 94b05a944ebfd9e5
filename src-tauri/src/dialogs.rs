//! File dialogs of the system.
//!
//! A native dialog cannot be driven from outside, so window tests name the answer beforehand in
//! `TROUPE_TEST_DIALOG`: paths with a line break between them.

use std::path::PathBuf;

use tauri::{AppHandle, Runtime};
use tauri_plugin_dialog::{DialogExt as _, FilePath};

/// Picture formats that can be added.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

fn prepared() -> Option<Vec<PathBuf>> {
    let answer = std::env::var("TROUPE_TEST_DIALOG").ok()?;
    Some(answer.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect())
}

fn paths(picked: Vec<FilePath>) -> Vec<PathBuf> {
    picked.into_iter().filter_map(|file| file.into_path().ok()).collect()
}

/// Lets the person choose picture files; empty when they chose none.
pub(crate) fn pick_pictures<R: Runtime>(app: &AppHandle<R>) -> Vec<PathBuf> {
    prepared().unwrap_or_else(|| {
        let dialog = app.dialog().file().add_filter("PNG, JPEG, WebP", &PICTURES);
        paths(dialog.blocking_pick_files().unwrap_or_default())
    })
}

/// Lets the person choose character cards and exported characters; empty when they chose none.
pub(crate) fn pick_cards<R: Runtime>(app: &AppHandle<R>) -> Vec<PathBuf> {
    prepared().unwrap_or_else(|| {
        let endings = ["png", "json", troupe_api::ENDING];
        let dialog = app.dialog().file().add_filter("PNG, JSON, Troupe", &endings);
        paths(dialog.blocking_pick_files().unwrap_or_default())
    })
}

/// Lets the person choose a folder.
pub(crate) fn pick_folder<R: Runtime>(app: &AppHandle<R>) -> Option<PathBuf> {
    prepared()
        .unwrap_or_else(|| paths(app.dialog().file().blocking_pick_folder().into_iter().collect()))
        .pop()
}

/// Lets the person choose where to save a file called `name`.
pub(crate) fn save_file<R: Runtime>(app: &AppHandle<R>, name: &str) -> Option<PathBuf> {
    prepared()
        .unwrap_or_else(|| {
            let dialog = app.dialog().file().set_file_name(name);
            paths(dialog.blocking_save_file().into_iter().collect())
        })
        .pop()
}

/// Lets the person choose where to save a file called `name` with `extension`.
pub(crate) fn pick_save<R: Runtime>(
    app: &AppHandle<R>,
    name: &str,
    extension: &str,
) -> Option<PathBuf> {
    let safe: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || " -_".contains(c) { c } else { '-' })
        .collect();
    let path = save_file(app, &format!("{}.{extension}", safe.trim()))?;
    Some(if path.extension().is_some() { path } else { path.with_extension(extension) })
}
