//! How text is printed: the width of the terminal, and colours by meaning.

use super::escape::span;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub color: bool,
    /// Columns of the terminal; below 80 lines may be longer than this.
    pub width: usize,
}

/// Role of a piece of text, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// Text to read first.
    Strong,
    /// Text to read last.
    Dim,
    /// A promise kept.
    Good,
    /// A promise broken.
    Bad,
    /// A value that cannot be determined.
    Doubt,
}

impl Style {
    /// The text in its ink, or as it is without colour.
    #[must_use]
    pub fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Strong => "1",
            Ink::Dim => "2",
            Ink::Good => "1;32",
            Ink::Bad => "1;31",
            Ink::Doubt => "33",
        };
        if self.color && !text.is_empty() { span(code, text) } else { text.to_owned() }
    }
}
