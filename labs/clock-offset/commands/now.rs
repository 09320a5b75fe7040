//! `clock-offset now`: the time as an interval, by a run that was saved.

use crate::LAB;
use crate::commands::ask::FIRST;
use crate::driver::clocks;
use crate::finding::{Finding, Verdict};
use crate::timestamp::WallTime;
use std::path::Path;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab::say;
use wirelab::cli::run::Saved;
use wirelab::runtime::clock::Clock;

/// Prints the earliest and the latest time that it can be.
///
/// It holds while this host's clock was not set since the run: each second that has passed widens
/// the interval by the drift limit.
///
/// # Errors
/// Fails without a run, or if its interval is none of a real clock.
pub(crate) fn run(run: Option<&Path>) -> Result<Exit, Failure> {
    let finding: Finding = Saved::find(LAB, run, FIRST)?.result(LAB, FIRST)?;
    let Some(together) = finding.together.filter(|_| finding.verdict == Verdict::Usable) else {
        return Err(Failure::new(Exit::Inconclusive, "that run knows no interval that holds"));
    };
    let now = clocks(&Clock::start()).wall;
    let age = now.minus(finding.now.wall);
    if finding.checked.is_some() || age < 0 {
        return Err(Failure::new(Exit::Inconclusive, "that run is not one of this host's clock")
            .because("it was a demonstration, or the clock was set back since")
            .or_type("ask a server first", format!("{LAB} 127.0.0.1:11123")));
    }
    let aged = finding.view.drift_limit.over(age.unsigned_abs());
    let interval = together.utc.widened(aged);
    say(&format!("{} {}\n", shown(now.plus(interval.low_ns)), shown(now.plus(interval.high_ns))))?;
    Ok(Exit::Holds)
}

/// Seconds since 1970 with all nine decimals.
fn shown(time: WallTime) -> String {
    let nanos = time.as_nanos();
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}
