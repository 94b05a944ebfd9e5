//! What goes to standard output and standard error.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result: as JSON, or as the text that `text` makes.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json { self.json(value) } else { self.line(&text()) }
    }

    /// Prints one JSON document on a line.
    pub(crate) fn json(&self, value: &impl Serialize) {
        self.line(&serde_json::to_string(value).unwrap_or_default());
    }

    /// Prints a line of a result. A reader that has gone away is no error.
    pub(crate) fn line(&self, text: &str) {
        self.raw(&format!("{text}\n"));
    }

    /// Prints part of a line.
    pub(crate) fn raw(&self, text: &str) {
        let mut out = std::io::stdout();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// Tells a person something beside the result.
    pub(crate) fn note(&self, text: &str) {
        let mut err = std::io::stderr();
        drop(writeln!(err, "{text}"));
    }

    /// A progress bar on standard error; invisible unless a person is watching.
    pub(crate) fn progress(&self, len: u64) -> ProgressBar {
        let visible = !self.json && std::io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        let template = "{bar:32} {pos}/{len} {elapsed} (left {eta}) {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
}
