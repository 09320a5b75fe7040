//! The three figures of `--predict`.

use crate::finding::Finding;
use crate::sample::Sample;
use wirelab::cli::predict::{Guess, table};

/// The questions; the error of an estimate is only known where the truth is.
pub(crate) fn questions(known: bool) -> Vec<Guess> {
    let first = if known {
        Guess::new("error_ms", "how far the estimate is from the truth", "ms")
    } else {
        Guess::new("offset_ms", "how far this clock is off", "ms")
    };
    let delay = Guess::new("least_delay_ms", "the shortest round trip", "ms");
    vec![first, Guess::new("half_width_ms", "half the width of the interval", "ms"), delay]
}

/// The guesses with what the run gave.
pub(crate) fn compared(mut guesses: Vec<Guess>, finding: &Finding) -> Vec<Guess> {
    let samples = finding.servers.iter().flat_map(|server| &server.samples);
    let least = samples.map(Sample::delay_ns).min();
    for guess in &mut guesses {
        let seen = match guess.figure.as_str() {
            "error_ms" => finding.checked.as_ref().and_then(|checked| checked.error_ns),
            "offset_ms" => finding.together.map(|together| together.estimate_ns),
            "half_width_ms" => finding.together.map(|together| together.interval.width_ns() / 2),
            _ => least,
        };
        guess.seen = seen.map(milliseconds);
    }
    guesses
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
const fn milliseconds(ns: i64) -> f64 {
    ns.unsigned_abs() as f64 / 1e6
}

/// Guesses beside what was seen; empty without guesses.
pub(crate) fn shown(finding: &Finding) -> String {
    if finding.predictions.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&finding.predictions))
}
