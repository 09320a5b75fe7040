//! Hex dump: offsets, 16 bytes per line, ASCII, and a caret under the byte of a decode error.

use super::DecodeError;
use std::fmt::Write as _;

/// Bytes per line.
const WIDTH: usize = 16;

/// Maximum bytes shown: four datagrams of 1200 bytes; longer input ends with a count.
pub const BYTES_MAX: usize = 4_800;

/// The bytes as lines of `offset  hex  |ascii|`.
pub fn dump(bytes: &[u8]) -> String {
    render(bytes, None)
}

/// The bytes with a caret under the byte that `error` points at, and the error below it.
pub fn explain(bytes: &[u8], error: &DecodeError) -> String {
    render(bytes, Some(error))
}

/// Two hex digits per byte, without separators.
pub fn compact(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses hex digits; spaces are skipped.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn render(bytes: &[u8], error: Option<&DecodeError>) -> String {
    let shown = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let mut text = String::new();
    let mut pointed = false;
    for (index, line) in shown.chunks(WIDTH).enumerate() {
        let start = index * WIDTH;
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        let ascii: String = line.iter().map(|b| printable(*b)).collect();
        let _ = writeln!(text, "{start:04x}  {:<47}  |{ascii}|", hex.join(" "));
        if let Some(error) = error.filter(|e| (start..start + line.len()).contains(&e.offset)) {
            point(&mut text, error.offset - start, error);
            pointed = true;
        }
    }
    if bytes.len() > shown.len() {
        let _ = writeln!(text, "...   {} more bytes", bytes.len() - shown.len());
    }
    if let Some(error) = error.filter(|_| !pointed) {
        // The missing byte is the one after the last.
        point(&mut text, shown.len() % WIDTH, error);
    }
    text
}

fn point(text: &mut String, column: usize, error: &DecodeError) {
    let _ = writeln!(text, "      {:>width$} {error}", "^^", width = 3 * column + 2);
}

fn printable(byte: u8) -> char {
    if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fault;

    #[test]
    fn the_caret_is_under_the_faulty_byte() {
        let bytes: Vec<u8> = (0x41..0x41 + 20).collect();
        let fault = Fault::Value { expected: "zero", got: 0x53 };
        let view = explain(&bytes, &DecodeError { layer: "test", offset: 18, fault });
        let lines: Vec<&str> = view.lines().collect();
        assert_eq!(lines[1].find("53"), lines[2].find("^^"));
        assert!(lines[2].ends_with("test at byte 18: expected zero, got 0x53"), "{view}");
        assert!(lines[0].ends_with("|ABCDEFGHIJKLMNOP|"), "{view}");
    }

    #[test]
    fn the_caret_points_at_a_missing_byte() {
        let fault = Fault::Short { needed: 4, had: 0, claimed_by: "len" };
        let view = explain(&[1, 2], &DecodeError { layer: "test", offset: 2, fault });
        assert_eq!(view.lines().nth(1).unwrap().find("^^"), Some(12), "{view}");
    }

    #[test]
    fn hex_round_trips() {
        let bytes = [0, 255, 16, 1];
        assert_eq!(parse(&compact(&bytes)).unwrap(), bytes);
        assert_eq!(parse("0"), None);
        assert_eq!(parse("zz"), None);
        assert!(dump(&vec![0; BYTES_MAX + 3]).contains("3 more bytes"));
    }
}
