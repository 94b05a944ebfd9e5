//! Pictures that leave the window: shown in the file manager, dragged to another program.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
};

use tauri::{Runtime, WebviewWindow};
use troupe_api::{ApiError, ApiResult, ErrorCause, ErrorCode};

/// Opens the file manager where `file` lies, with the file selected.
pub(crate) fn show(file: &Path) -> ApiResult<()> {
    tauri_plugin_opener::reveal_item_in_dir(file).map_err(|e| {
        let message = format!("no file manager could be opened: {e} ({})", file.display());
        ApiError::new(ErrorCode::Internal, message, "Open the folder yourself.")
            .because(ErrorCause::NoFileManager)
            .with("path", file.display())
    })
}

/// Begins to drag `file` with the mouse button that is down; `image` moves with the pointer.
pub(crate) fn drag<R: Runtime>(
    window: &WebviewWindow<R>,
    file: PathBuf,
    image: Vec<u8>,
) -> ApiResult<()> {
    let (told, hears) = mpsc::channel();
    let dragged = window.clone();
    let work = move || {
        // Nobody hears it when the command has been given up.
        told.send(begin(&dragged, file, image)).ok();
    };
    let began = window.run_on_main_thread(work).map_err(|e| e.to_string());
    began.and_then(|()| hears.recv().map_err(|e| e.to_string())?).map_err(|reason| {
        let message = format!("the picture cannot be dragged: {reason}");
        ApiError::new(ErrorCode::Internal, message, "Save a copy instead.")
            .because(ErrorCause::NoDrag)
    })
}

fn begin<R: Runtime>(
    window: &WebviewWindow<R>,
    file: PathBuf,
    image: Vec<u8>,
) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    let (window, file) =
        (&window.gtk_window().map_err(|e| e.to_string())?, PathBuf::from(escaped(&file)));
    let item = drag::DragItem::Files(vec![file]);
    let image = drag::Image::Raw(image);
    drag::start_drag(window, item, image, |_, _| {}, drag::Options::default())
        .map_err(|e| e.to_string())
}

/// A path as it stands in a URI; `drag` puts no more than `file://` before it on Linux.
#[cfg(target_os = "linux")]
fn escaped(file: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    /// What may stand in the path of a URI as it is, besides letters and digits.
    const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::percent_encode(file.as_os_str().as_bytes(), ESCAPED).to_string()
}
