//! The progress line on standard error: says what the command waits for.
//!
//! It is drawn only at a terminal and is removed at the end, so that no other program reads it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::printable;

/// Interval between two frames of the spinner, in milliseconds.
const TICK: Duration = Duration::from_millis(100);

/// A progress line. Dropping it removes the line.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Draws the line with this text.
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

    /// Replaces the text.
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
