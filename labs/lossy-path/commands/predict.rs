//! The three figures of `--predict`.

use crate::plan::Plan;
use crate::result::{PathResult, Way};
use wirelab::cli::predict::Guess;

/// The questions about a run through this plan's path.
pub(super) fn questions(plan: &Plan) -> Vec<Guess> {
    let ways = if plan.localhost { "towards servers and back" } else { "from a to b and back" };
    vec![
        Guess::new("offered", &format!("frames that the program causes, {ways}"), ""),
        Guess::new("lost", &format!("frames lost, {ways}"), ""),
        Guess::new("elapsed_ms", "time until the program ends", "ms"),
    ]
}

/// Fills in what was seen.
#[expect(clippy::cast_precision_loss, reason = "a figure is shown with few digits")]
pub(super) fn answer(guesses: &mut [Guess], result: &PathResult) {
    let sum = |of: fn(&Way) -> u64| (of(&result.a_to_b) + of(&result.b_to_a)) as f64;
    for guess in guesses {
        guess.seen = match guess.figure.as_str() {
            "offered" => Some(sum(|way| way.offered)),
            "lost" => Some(sum(|way| way.dropped.iter().map(|dropped| dropped.frames).sum())),
            "elapsed_ms" => Some(result.program.elapsed_ns as f64 / 1e6),
            _ => None,
        };
    }
}
