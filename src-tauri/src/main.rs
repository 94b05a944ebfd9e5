//! The Troupe window: commands, pictures, log. Every operation lives in `troupe-api`.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod commands;
mod dialogs;
#[cfg(target_os = "linux")]
mod linux;
mod outgoing;
mod pictures;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};
use troupe_api::{Studio, StudioOptions};

/// Days of log that are kept.
const LOG_FILES: usize = 7;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    require_display()?;
    let options = StudioOptions {
        home: folder("TROUPE_HOME"),
        model_dir: folder("TROUPE_MODEL"),
        worker: worker(),
    };
    let studio = Studio::open(&options).context("opening the studio")?;
    let _log = start_log(studio.home());
    match studio.recover() {
        Ok(0) => {}
        Ok(count) => tracing::info!("{count} unfinished replies were closed"),
        Err(error) => tracing::warn!("unfinished replies could not be closed: {error}"),
    }
    studio.discard_outgoing();
    studio.discard_old();
    if let Err(error) = studio.start_next_run() {
        tracing::warn!("the next run in the queue could not be started: {error}");
    }
    // What the window remembers belongs to the data folder whose characters it names.
    let memory = studio.home().join("window");
    let place = tauri_plugin_window_state::Builder::new()
        .with_filename(memory.join("place.json").display().to_string());
    pictures::register(tauri::Builder::default(), &studio)
        .plugin(tauri_plugin_dialog::init())
        .plugin(place.build())
        .manage(studio)
        .manage(dialogs::Picked::default())
        .invoke_handler(commands::handler())
        .setup(move |app| {
            #[cfg(target_os = "linux")]
            linux::keep_caret();
            Ok(open_window(app, memory)?)
        })
        .run(tauri::generate_context!())
        .context("running the window")
}

/// Opens the window of the configuration, with its own storage kept in `memory`.
fn open_window(app: &tauri::App, memory: PathBuf) -> Result<()> {
    std::fs::create_dir_all(&memory).context("creating the window's folder")?;
    let config = app.config().app.windows.first().context("there is no window to open")?;
    let window = tauri::WebviewWindowBuilder::from_config(app.handle(), config)
        .and_then(|window| window.data_directory(memory).on_navigation(is_own_page).build())
        .context("opening the window")?;
    #[cfg(target_os = "linux")]
    linux::paint_without_gpu(&window);
    drop(window); // it stays open
    Ok(())
}

/// Whether the window may show what lies there: its own pages, also those of a development server. A
/// file that is dropped beside its place, or a link, never takes their place.
fn is_own_page(url: &tauri::Url) -> bool {
    matches!(url.scheme(), "tauri" | "about")
        || matches!(url.host_str(), Some("tauri.localhost" | "localhost"))
}

/// Says in words what GTK would only panic about.
fn require_display() -> Result<()> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        anyhow::bail!(
            "there is no display to open a window on (DISPLAY and WAYLAND_DISPLAY are unset). \
             The command line needs none: try `make demo`, or `troupe --help`"
        );
    }
    Ok(())
}

fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The program that trains: named by `TROUPE_WORKER`, else `troupe` beside this program.
fn worker() -> Option<PathBuf> {
    let beside = || {
        let name = format!("troupe{}", std::env::consts::EXE_SUFFIX);
        std::env::current_exe().ok().map(|program| program.with_file_name(name))
    };
    folder("TROUPE_WORKER").or_else(beside).filter(|program| program.is_file())
}

/// Log to standard error and to a file a day under the data folder; stops when dropped.
fn start_log(home: &Path) -> Option<tracing_appender::non_blocking::WorkerGuard> {
    let filter = EnvFilter::try_from_env("TROUPE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,troupe=info"));
    let logs = home.join("logs");
    if let Err(error) = std::fs::create_dir_all(&logs) {
        eprintln!("the log folder cannot be created: {error}");
    }
    let file = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("troupe")
        .filename_suffix("log")
        .max_log_files(LOG_FILES)
        .build(logs);
    let (layer, guard) = match file {
        Ok(file) => {
            let (writer, guard) = tracing_appender::non_blocking(file);
            (Some(fmt::layer().with_ansi(false).with_writer(writer)), Some(guard))
        }
        Err(error) => {
            eprintln!("the log is not kept in a file: {error}");
            (None, None)
        }
    };
    let console = fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(console).with(layer).init();
    guard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_its_own_are_shown() {
        let shown = |url: &str| url.parse().is_ok_and(|url| is_own_page(&url));
        assert!(shown("tauri://localhost/") && shown("http://tauri.localhost/index.html"));
        assert!(shown("http://localhost:1420/"));
        assert!(!shown("file:///home/me/cat.png") && !shown("https://example.org/localhost"));
    }
}
