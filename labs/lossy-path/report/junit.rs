//! The results of a sweep as JUnit XML, which every service for continuous integration reads.

use crate::sweep::{Cell, Run, Sweep};
use std::fmt::Write as _;

/// Renders a sweep: a test case for each run, in a class for each cell.
#[must_use]
pub fn render(sweep: &Sweep) -> String {
    let runs = || sweep.cells.iter().flat_map(|cell| &cell.runs);
    let (tests, failures) = (runs().count(), runs().filter(|run| !run.passed()).count());
    let time: f64 = runs().map(Run::seconds).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite \
         name=\"lossy-path sweep\" tests=\"{tests}\" failures=\"{failures}\" time=\"{time:.3}\">\n"
    );
    for cell in &sweep.cells {
        for run in &cell.runs {
            out += &case(cell, run);
        }
    }
    out + "</testsuite>\n</testsuites>\n"
}

fn case(cell: &Cell, run: &Run) -> String {
    let mut out = format!(
        "<testcase classname=\"{}\" name=\"seed {}\" time=\"{:.3}\"",
        escaped(&cell.settings),
        run.seed,
        run.seconds()
    );
    if run.passed() {
        return out + "/>\n";
    }
    let why = format!("exited with {}", run.code);
    let text = format!("{}\n{}", run.command, run.output);
    let _ = write!(out, "><failure message=\"{why}\">{}</failure></testcase>", escaped(&text));
    out + "\n"
}

/// Text without what XML 1.0 §2.2 and §2.4 forbid.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_programs_stays_text() {
        assert_eq!(
            escaped("<a b=\"1\">&\u{1b}[0m\n"),
            "&lt;a b=&quot;1&quot;&gt;&amp;\u{fffd}[0m\n"
        );
    }
}
