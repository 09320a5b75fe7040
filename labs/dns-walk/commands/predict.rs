//! The three figures of `--predict`.

use crate::event::Record;
use crate::report::summary;
use wirelab::cli::predict::Guess;

/// The questions.
pub(crate) fn questions() -> Vec<Guess> {
    vec![
        Guess::new("queries", "queries that the walk sends", ""),
        Guess::new("unanswered", "queries without a reply", ""),
        Guess::new("best_path_ms", "time of the replies that lead to the answer", "ms"),
    ]
}

/// The guesses with what the first walk gave.
pub(crate) fn compared(mut guesses: Vec<Guess>, walks: &[Vec<Record>]) -> Vec<Guess> {
    let Some(end) = walks.first().and_then(|records| summary(records)) else { return guesses };
    for guess in &mut guesses {
        guess.seen = Some(match guess.figure.as_str() {
            "queries" => f64::from(end.queries),
            "unanswered" => f64::from(end.unanswered),
            _ => milliseconds(end.best_path_ns),
        });
    }
    guesses
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
const fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
