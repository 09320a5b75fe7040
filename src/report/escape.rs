//! Text from elsewhere (saved runs, file names, error messages) made harmless for a terminal.
//!
//! Control characters, C1 controls and characters that change the direction of text or are not seen
//! are spelt `\u001b`, which JSON reads back as the same character.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// Codes of the colours that wirelab uses (ECMA-48 §8.3.117), and the end of a coloured span.
const SPANS: [&str; 6] = ["0", "1", "2", "1;32", "1;31", "33"];

/// Whether a terminal or a reader takes a character for something other than what is seen.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // C0, DEL and C1 controls.
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => true,
        // Soft hyphen, marks and embeddings of direction, zero width, separators, byte order mark.
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// The text with every hidden character spelt out.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// The same, with the spans of `span` as the sequences that a terminal understands.
#[must_use]
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let span = SPANS.iter().find_map(|code| {
            let mark = mark(code);
            rest.strip_prefix(mark.as_str()).map(|after| (code, after))
        });
        let span = if c == '\x1b' { span } else { None };
        if let Some((code, after)) = span {
            let _ = write!(out, "\x1b[{code}m");
            rest = after;
        } else {
            push(&mut out, c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Cow::Owned(out)
}

/// The text as a span of this colour, which [`for_terminal`] lets through.
pub(super) fn span(code: &str, text: &str) -> String {
    format!("{}{text}{}", mark(code), mark(SPANS[0]))
}

/// A colour sequence with a number that only this process knows.
fn mark(code: &str) -> String {
    static OWN: OnceLock<u64> = OnceLock::new();
    let own = OWN.get_or_init(|| RandomState::new().build_hasher().finish());
    format!("\x1b[{code};{own}m")
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~'))
}

fn push(out: &mut String, c: char) {
    if is_hidden(c) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A String takes every text.
            let _ = write!(out, "\\u{unit:04x}");
        }
    } else {
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_spans_reach_a_terminal() {
        let evil = "a\x1b[1;31mb\x1b[0m\r\u{9b}2J\x1b]0;t\x07\u{202e}\u{2066}\u{e0041}é\n\t";
        let safe = "a\\u001b[1;31mb\\u001b[0m\\u000d\\u009b2J\\u001b]0;t\\u0007\\u202e\\u2066\
                    \\udb40\\udc41é\n\t";
        assert_eq!((visible(evil), for_terminal(evil)), (safe.into(), safe.into()));
        let own = span("1;31", evil);
        assert_eq!(for_terminal(&own), format!("\x1b[1;31m{safe}\x1b[0m"));
        assert!(!visible(&own).contains('\x1b'));
        let json = serde_json::to_string(&evil).unwrap();
        let read: String = serde_json::from_str(&for_terminal(&json)).unwrap();
        assert_eq!(read, evil, "JSON stays what it is");
        assert!(matches!(for_terminal("plain\n"), Cow::Borrowed(_)));
    }
}
