//! Words as lines of text.

use super::table::width;

/// Columns of an explanation.
const WIDTH: usize = 92;
/// Characters that no line begins with.
const UNITS: [&str; 6] = ["%", "ns", "µs", "ms", "s", "…"];

/// The words in lines of an explanation.
#[must_use]
pub fn wrapped(words: &str) -> String {
    folded(words, WIDTH).join("\n")
}

/// The words in lines of at most `room` columns; a figure and its unit stay together.
#[must_use]
pub fn folded(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let glued = UNITS.iter().fold(text.to_owned(), |text, unit| {
        text.replace(&format!(" {unit} "), &format!("\u{a0}{unit} "))
    });
    for word in glued.split([' ', '\n']).filter(|word| !word.is_empty()) {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if width(&lines[last]) + 1 + width(word) <= room {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_keeps_its_unit() {
        let lines = folded("a reply took 250 ms there", 16);
        assert_eq!(lines, ["a reply took", "250 ms there"]);
    }
}
