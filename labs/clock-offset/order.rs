//! `clock-offset order`: how often wall clocks contradict cause and effect.
//!
//! It must never touch a clock: it plays in virtual time.

use crate::args::Order;
use crate::say;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::seed;
use wirelab::cli::style::ColorChoice;
use wirelab::clock::order::play;
use wirelab::report;

/// Plays the messages and says what came of them.
///
/// # Errors
/// Where there is no seed, or nobody to print for.
pub(crate) fn run(flags: &Order, color: ColorChoice) -> Result<Exit, Failure> {
    let seed = seed::or_random(flags.played.seed)
        .map_err(|error| Failure::from_error(Exit::Bug, "no random seed", &error))?;
    let scenario = flags.played.order();
    let order = play(&scenario, seed, flags.messages, flags.every, crate::ask::SIM_START);
    if flags.json {
        let text = serde_json::to_string_pretty(&order).map_err(|error| {
            Failure::from_error(Exit::Bug, "the result cannot be written", &error)
        })?;
        say(&(text + "\n"))?;
    } else {
        let text = report::order::render(&order, color.for_stdout());
        say(&format!("{text}\nseed {seed}\n"))?;
    }
    Ok(Exit::Holds)
}
