//! Error texts about files and messages from elsewhere, without their content: a file that is not
//! what it should be can hold secrets.

use std::ops::Range;

/// Characters of a shape, at most.
const SHAPE_MAX: usize = 32;
/// Characters of a line whose shape is shown with a mark.
const LINE_MAX: usize = 80;

/// The shape of a line: letters as `a`, digits as `0`, the first of each row.
#[must_use]
pub fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.trim().chars() {
        let class = class(c);
        if shape.len() == SHAPE_MAX {
            return shape + "…";
        }
        if !(matches!(class, 'a' | '0' | '?') && shape.ends_with(class)) {
            shape.push(class);
        }
    }
    shape
}

/// A fault by serde_json and its place, without the string, variant or field that it quotes.
#[must_use]
pub fn json_mistake(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (start, close) = match text.split_whitespace().nth(2) {
        // A string is shown with its quotes escaped, so the last one closes it.
        Some("string") => (text.find('"'), text.rfind("\", ").map(|at| at + 1)),
        _ if text.starts_with("unknown ") => {
            let start = text.find('`');
            (start, start.and_then(|at| Some(at + 1 + text[at + 1..].find('`')? + 1)))
        }
        _ => (None, None),
    };
    match start.zip(close) {
        Some((start, end)) if start < end => {
            format!("{}{}", text[..start].trim_end(), &text[end..])
        }
        _ => text,
    }
}

/// The fault in TOML and its place, with a mark below the shape of the line.
#[must_use]
pub fn toml_mistake(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let Some((before, rest)) = span.as_ref().and_then(|span| text.split_at_checked(span.start))
    else {
        return message.to_owned();
    };
    let number = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    let ahead = before.rsplit('\n').next().unwrap_or_default();
    let line = format!("{ahead}{}", rest.lines().next().unwrap_or_default());
    let masked: String = line.chars().take(LINE_MAX).map(class).collect();
    let marks = "^".repeat(span.map_or(0, |span| span.len()).clamp(1, LINE_MAX));
    format!(
        "line {number}, column {}: {message}\n    {masked}\n    {}{marks}",
        column + 1,
        " ".repeat(column)
    )
}

/// A letter as `a`, a digit as `0`, punctuation as it is.
fn class(c: char) -> char {
    match c {
        _ if c.is_alphabetic() => 'a',
        _ if c.is_numeric() => '0',
        ' '..='~' => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum One {
        Known,
    }

    #[test]
    fn a_mistake_does_not_quote_the_content() {
        let number = serde_json::from_str::<u8>("\"root:$6$secret\\\", `x\"").unwrap_err();
        let said = json_mistake(&number);
        assert_eq!(said, "invalid type: string, expected u8 at line 1 column 22");
        let variant = serde_json::from_str::<One>("\"secret\"").unwrap_err();
        assert_eq!(json_mistake(&variant), "unknown variant, expected `known` at line 1 column 8");
        assert!(matches!(serde_json::from_str("\"known\""), Ok(One::Known)));
        let cut = serde_json::from_str::<u8>("").unwrap_err();
        assert!(json_mistake(&cut).starts_with("EOF while parsing"));
        assert_eq!(shape("root:$6$Secret9:19000 \u{fc}\x1b"), "a:$0$a0:0 a?");
        assert_eq!(shape(&"-a".repeat(99)).chars().count(), SHAPE_MAX + 1);
        assert_eq!(
            toml_mistake("a = 1\nb_b = xyz\n", "wrong", Some(12..15)),
            "line 2, column 7: wrong\n    a_a = aaa\n          ^^^"
        );
    }
}
