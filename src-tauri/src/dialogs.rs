//! File dialogs of the system.
//!
//! A native dialog cannot be driven from outside, so window tests name the answer beforehand in
//! `TROUPE_TEST_DIALOG`: paths with a line break between them.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use tauri::{AppHandle, Runtime};
use tauri_plugin_dialog::{DialogExt as _, FilePath};
use troupe_api::{ApiError, ApiResult, ErrorCode};

/// What the person has chosen so far. The page may have that read, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Picked(Mutex<HashSet<PathBuf>>);

impl Picked {
    /// Adds what was chosen.
    pub(crate) fn add<'a>(&self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        let mut picked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        picked.extend(paths.into_iter().cloned());
    }

    /// Refuses paths that nobody chose.
    pub(crate) fn check(&self, paths: &[PathBuf]) -> ApiResult<()> {
        let picked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match paths.iter().find(|path| !picked.contains(*path)) {
            None => Ok(()),
            Some(path) => {
                let message = format!("{} was not chosen in a dialog", path.display());
                let hint = "Choose it again.";
                Err(ApiError::new(ErrorCode::BadRequest, message, hint))
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_chose_is_not_read() {
        let picked = Picked::default();
        let [chosen, other] = ["/home/a.png", "/etc/passwd"].map(PathBuf::from);
        picked.add([&chosen]);
        assert!(picked.check(std::slice::from_ref(&chosen)).is_ok());
        let error = picked.check(&[chosen, other]).expect_err("one of them was not chosen");
        assert!(error.message.contains("/etc/passwd"), "{error:?}");
    }
}
