//! What GTK and WebKit are told on Linux.

use std::{fs, path::Path};

use gtk::prelude::GtkSettingsExt as _;
use webkit2gtk::{HardwareAccelerationPolicy, SettingsExt as _, WebViewExt as _};

/// WebKit's own switch: 1 never composes layers, 0 always may.
const COMPOSING: &str = "WEBKIT_DISABLE_COMPOSITING_MODE";

/// Devices through which drivers reach a GPU, beside the render nodes of the kernel's own: those of
/// NVIDIA, of Windows below WSL, and of Arm.
const GPUS: [&str; 3] = ["nvidia0", "dxg", "mali0"];

/// Lets the caret stand instead of blinking: each blink draws the whole window anew, which without a
/// GPU takes 7 % of a core for as long as a field has the focus. WebKit does not rest while GTK's
/// switch for blinking is off, so the time between two blinks becomes a day.
pub(crate) fn keep_caret() {
    const DAY_MS: i32 = 24 * 60 * 60 * 1000;
    if let Some(settings) = gtk::Settings::default() {
        settings.set_gtk_cursor_blink_time(DAY_MS);
    }
}

/// Lets WebKit paint what changed, without layers, where no GPU would compose these: in software that
/// takes three times as long (a frame of scrolling 59 ms, not 17). Whoever has set [`COMPOSING`] has
/// decided otherwise.
pub(crate) fn paint_without_gpu(window: &tauri::WebviewWindow) {
    if std::env::var_os(COMPOSING).is_some() || has_gpu(Path::new("/dev")) {
        return;
    }
    let told = window.with_webview(|page| {
        if let Some(settings) = page.inner().settings() {
            settings.set_hardware_acceleration_policy(HardwareAccelerationPolicy::Never);
        }
    });
    match told {
        Ok(()) => tracing::info!("there is no GPU: the page is painted without layers"),
        Err(error) => tracing::warn!("the page composes layers in software: {error}"),
    }
}

/// Whether `dev` holds a GPU that this process may use.
fn has_gpu(dev: &Path) -> bool {
    let mut nodes = fs::read_dir(dev.join("dri")).into_iter().flatten().flatten();
    let may_render = |node: fs::DirEntry| {
        node.file_name().to_string_lossy().starts_with("renderD")
            && fs::File::options().read(true).write(true).open(node.path()).is_ok()
    };
    GPUS.iter().any(|name| dev.join(name).exists()) || nodes.any(may_render)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_known_by_its_device() {
        let dev = std::env::temp_dir().join(format!("troupe-dev-{}", std::process::id()));
        let is_known = |file: &str| {
            let path = dev.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let is_known = has_gpu(&dev);
            fs::remove_file(path).unwrap();
            is_known
        };
        assert!(!has_gpu(&dev), "a folder that is not there");
        assert!(is_known("dri/renderD128") && is_known("nvidia0") && is_known("dxg"));
        assert!(!is_known("dri/card0"), "it shows pictures that others have drawn");
        fs::remove_dir_all(dev).unwrap();
    }
}
