//! The progress line: what is waited for, on standard error, while it is waited for.
//!
//! It is drawn at a terminal alone, and is gone when it ends: nothing of it is in what a program reads.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::printable;

/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// A progress line; it is taken away when this is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shows what is waited for.
    pub(crate) fn new(what: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        let progress = Self(bar);
        progress.step(what);
        progress.0.enable_steady_tick(TICK);
        progress
    }

    /// Shows what is waited for now.
    pub(crate) fn step(&self, what: &str) {
        self.0.set_message(printable(what));
    }

    /// Prints lines on standard error above the progress line.
    pub(crate) fn say(&self, lines: &str) {
        self.0.suspend(|| eprintln!("{lines}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
