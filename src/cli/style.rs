//! Whether to use colour, and how wide the terminal is.

use crate::report::style::Style;
use clap::ValueEnum;
use std::env;
use std::io::IsTerminal;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// Columns where nothing says how many there are.
pub const WIDTH_DEFAULT: usize = 100;

impl ColorChoice {
    /// Whether to colour, given the stream and the environment.
    ///
    /// `variable` looks one up. A `NO_COLOR` that is set and not empty means none (no-color.org).
    #[must_use]
    pub fn colors(self, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let forbidden = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = variable("TERM").is_some_and(|value| value == "dumb");
                terminal && !forbidden && !dumb
            }
        }
    }

    /// The style for text on stdout.
    #[must_use]
    pub fn for_stdout(self) -> Style {
        self.style(std::io::stdout().is_terminal())
    }

    /// The style for text on stderr.
    #[must_use]
    pub fn for_stderr(self) -> Style {
        self.style(std::io::stderr().is_terminal())
    }

    fn style(self, terminal: bool) -> Style {
        Style { color: self.colors(terminal, |name| env::var(name).ok()), width: width() }
    }
}

/// `COLUMNS` where it is set, else what the terminal says, else [`WIDTH_DEFAULT`].
fn width() -> usize {
    let told = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    told.or_else(terminal).filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_takes_it() {
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        for (choice, terminal, name, value, colors) in [
            (ColorChoice::Auto, true, "TERM", "xterm", true),
            (ColorChoice::Auto, false, "TERM", "xterm", false),
            (ColorChoice::Auto, true, "TERM", "dumb", false),
            (ColorChoice::Auto, true, "NO_COLOR", "1", false),
            (ColorChoice::Auto, true, "NO_COLOR", "", true),
            (ColorChoice::Always, false, "NO_COLOR", "1", true),
            (ColorChoice::Never, true, "TERM", "xterm", false),
        ] {
            assert_eq!(choice.colors(terminal, with(name, value)), colors, "{choice:?} {name}");
        }
    }
}
