//! `clock-offset order`: how often wall clocks contradict cause and effect.

use crate::LAB;
use crate::args::{Args, Order};
use crate::causality::play;
use crate::commands::kernel::{End, Path};
use crate::commands::say;
use crate::driver::order::Playing;
use crate::scenario::Scenario;
use clap::CommandFactory;
use std::io;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::run::Repeat;
use wirelab::cli::style::ColorChoice;
use wirelab::cli::{lab, stdout};
use wirelab::measure::human;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;

use crate::report;

/// Plays the messages and prints the result.
///
/// # Errors
/// Fails without a seed, or if stdout is closed.
pub(crate) fn run(flags: &Order, color: ColorChoice) -> Result<Exit, Failure> {
    let seed = flags.played.seed.or_random()?;
    let scenario = flags.played.order();
    let order = if flags.kernel {
        on_path(flags, scenario, seed)?
    } else {
        play(&scenario, seed, flags.messages, flags.every, crate::commands::ask::SIM_START)
    };
    tracing::info!("{} messages, one every {:?}, seed {seed}", flags.messages, flags.every);
    tracing::debug!("{:?}", flags.played);
    flags.json.write(&lab::json(&order)?)?;
    if !flags.json.to_stdout() {
        let text = report::order::render(&order, color.for_stdout());
        let again = Repeat::new(LAB, Args::command()).seed(Some(seed)).command();
        say(&format!("{text}\nseed {seed}: {again}\n"))?;
    }
    Ok(Exit::Holds)
}

/// The messages by packets, between two hosts with a path between them.
fn on_path(
    flags: &Order,
    scenario: Scenario,
    seed: u64,
) -> Result<crate::causality::Order, Failure> {
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the messages", &error);
    let clock = Clock::start();
    let path = Path::build(&scenario, seed, clock)?;
    let sockets = [path.socket(End::A)?, path.socket(End::B)?];
    let (stopper, mut stopped) = shutdown::pair().map_err(failed)?;
    stopper.on_signals().map_err(failed)?;
    let span = flags.every * flags.messages.saturating_sub(1);
    stdout::complain(&format!(
        "{LAB}: {} over the emulated path, about {}\n",
        human::plural(flags.messages.into(), "message", "messages"),
        human::span(span)
    ));
    let playing = Playing { scenario, seed, messages: flags.messages, every: flags.every };
    let order =
        crate::driver::order::play(&sockets, &playing, clock, &mut stopped).map_err(failed)?;
    path.finish()?;
    Ok(order)
}
