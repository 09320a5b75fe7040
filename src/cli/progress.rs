//! A progress bar on stderr if that is a terminal, else one line at the start.

use super::stdout::complain;
use crate::report::escape::visible;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// How far a run has come.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins `total` steps and says `what` will be done; quiet shows nothing at all.
    #[must_use]
    pub fn start(total: u64, what: &str, quiet: bool) -> Self {
        if !quiet {
            complain(&format!("{what}\n"));
        }
        if quiet || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(total);
        let template = "{bar:30} {percent:>3} %  {msg}  (about {eta} left)";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self { bar }
    }

    /// Counts what has no known end; shows nothing where stderr is not a terminal.
    #[must_use]
    pub fn count() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Steps done so far.
    pub fn at(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// The current activity.
    pub fn says(&self, what: &str) {
        self.bar.set_message(visible(what).into_owned());
    }

    /// Writes a line above the bar, or a plain line where there is none.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| {
            complain(&format!("{text}\n"));
        });
    }
}

impl Drop for Progress {
    /// The bar goes, so that the result stands alone.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
