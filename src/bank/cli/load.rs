//! `load`: sends many requests from many clients and reports rate, latency and outcomes.

use super::args::{ClientFlags, Load, OPS_MAX};
use super::words::counts;
use super::{Carrier, Lab, resolve};
use crate::bank::client::Delivery;
use crate::bank::driver::client::{ClientLoop, Opener};
use crate::bank::driver::remote::Remote;
use crate::bank::load::{ArrivalModel, End, LoadGenerator, LoadPlan, Sample, Workload};
use crate::bank::transport::Transport;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::lab::say;
use crate::cli::predict::{Guess, table};
use crate::cli::progress::Progress;
use crate::cli::seed;
use crate::cli::signals::Stop;
use crate::measure::draw::keyed;
use crate::measure::quantile::{Quantile, quantile};
use crate::measure::{Instant, human, nanos};
use crate::runtime::clock::Clock;
use crate::sys::limits;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

/// Default duration if neither a number nor a time is given.
const LIMIT_DEFAULT: Duration = Duration::from_secs(5);
/// If only a number is given.
const LIMIT_NONE: Duration = Duration::from_secs(u64::MAX / 2_000_000_000);
/// Descriptors besides the clients' sockets: streams, epoll, timer, waker, signals.
const DESCRIPTORS_BESIDE: u64 = 16;
/// Rounds of failing sockets over all clients, without a reply, until the server counts as lost.
const FAILED_ROUNDS_MAX: u64 = 3;

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    /// Every request ended.
    Finished,
    /// The user stopped it.
    Interrupted,
    /// The server went away.
    ServerLost,
}

/// The workload.
struct Run<'a, X: ClientFlags> {
    lab: &'a Lab,
    flags: &'a Load<X>,
    address: SocketAddr,
    seed: u64,
}

/// The result of a load.
struct Outcome {
    ended: Ended,
    guesses: Vec<Guess>,
    /// Until the last successful request.
    elapsed: Duration,
    done: u64,
    unknown: u64,
    refused: BTreeMap<&'static str, u64>,
    retries: u64,
    late_replies: u64,
    /// Latencies of sent requests, ascending.
    latencies_ns: Vec<u64>,
}

/// Runs a load and prints its result.
/// Fails if there is no server, or the loop fails.
pub(super) fn run<X: ClientFlags>(lab: &Lab, flags: &Load<X>) -> Result<Exit, Failure> {
    let address = resolve(lab, "--server", &flags.server)?;
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the load failed", &error);
    let seed = flags.seed.or_random()?;
    limits::allow_descriptors(u64::from(flags.clients) + DESCRIPTORS_BESIDE).map_err(|error| {
        let what = format!("{} clients need a socket each", flags.clients);
        Failure::from_error(Exit::Privilege, what, &error)
            .or_type("with fewer clients", format!("{} load --clients 4", lab.name))
    })?;
    let guesses = flags.predict.ask(questions())?;
    let stop = Stop::install().map_err(failed)?;
    let plan = plan(flags);
    let remote = Remote { address, nodelay: flags.carrier.nodelay() };
    let workload = Workload { seed, accounts: flags.accounts, only: flags.only };
    // Not derived from the seed alone: a bank that saw these names before would take the requests
    // for retries.
    let names = keyed(seed, seed::or_random(None).map_err(failed)?);
    let generator = LoadGenerator::new(transport(lab, flags), workload, flags.clients, names);
    tracing::info!("{} clients ask {address}, seed {seed}: {plan:?}", flags.clients);
    let clock = Clock::start();
    let opener: Box<dyn Opener> = Box::new(remote);
    let mut clients = ClientLoop::new(vec![(generator, opener)], clock).map_err(failed)?;
    let bar = Progress::start(steps(flags), &format!("requests to {address}"), false);
    let gone_after = FAILED_ROUNDS_MAX * u64::from(flags.clients);
    let mut ended = Ended::Finished;
    let begun = clock.now();
    // The loop ends by itself when the load does.
    let _ = clients
        .run(&[plan], |progress| {
            let elapsed = clock.now().since(begun);
            bar.at(if flags.ops.is_some() { progress.ended } else { millis(elapsed) });
            if stop.requested() {
                ended = Ended::Interrupted;
            } else if progress.failures_in_a_row >= gone_after {
                ended = Ended::ServerLost;
            }
            if ended == Ended::Finished {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(failed)?;
    let elapsed = clock.now().since(begun);
    drop(bar);
    let generator = clients.generators().next().expect("invariant: the loop has one generator");
    let outcome = sum_up(generator, ended, begun, elapsed, guesses);
    finish(&Run { lab, flags, address, seed }, &outcome, &clients.take_failures())
}

/// The questions of `--predict`.
fn questions() -> Vec<Guess> {
    vec![
        Guess::new("done_per_second", "requests done per second", ""),
        Guess::new("p50_ms", "median latency", "ms"),
        Guess::new("p99_ms", "p99 latency", "ms"),
    ]
}

fn finish<X: ClientFlags>(
    run: &Run<'_, X>,
    outcome: &Outcome,
    failures: &[(usize, io::Error)],
) -> Result<Exit, Failure> {
    let Run { lab, flags, address, .. } = run;
    flags.json.write(&as_json(run, outcome))?;
    if !flags.json.to_stdout() {
        say(&in_words(run, outcome))?;
    }
    let refused: u64 = outcome.refused.values().sum();
    match outcome.ended {
        Ended::Interrupted => Ok(Exit::Interrupted),
        Ended::ServerLost => {
            let when = if outcome.done == 0 { "no bank answers" } else { "the bank went away" };
            let failure = Failure::new(Exit::Network, format!("{when} on {address}"))
                .or_type("start the bank, in another terminal", lab.serve_at(*address));
            // The first error names the cause; later ones repeat it.
            Err(failures.iter().take(1).fold(failure, |f, (_, error)| f.because(error.to_string())))
        }
        Ended::Finished if outcome.done > 0 => Ok(Exit::Holds),
        Ended::Finished if refused > 0 && outcome.unknown == 0 => Ok(Exit::Fails),
        Ended::Finished => Err(Failure::new(
            Exit::Network,
            format!("no answer from {address} within {}", human::span(flags.deadline)),
        )),
    }
}

fn plan<X: ClientFlags>(flags: &Load<X>) -> LoadPlan {
    let arrivals = match flags.rate {
        Some(rate) => {
            ArrivalModel::Open { interval: Duration::from_nanos(1_000_000_000 / rate.max(1)) }
        }
        None => ArrivalModel::Closed { depth: depth(flags) },
    };
    let unsaid = if flags.ops.is_some() { LIMIT_NONE } else { LIMIT_DEFAULT };
    let limit = flags.limit.unwrap_or(unsaid);
    LoadPlan { arrivals, ops: flags.ops.unwrap_or(OPS_MAX), limit, spread: Duration::ZERO }
}

fn depth<X: ClientFlags>(flags: &Load<X>) -> u32 {
    flags.depth.unwrap_or(1)
}

/// Maximum requests in flight per client of an open loop: more are queued, and their wait is part
/// of their latency.
const OPEN_IN_FLIGHT_MAX: usize = 256;

fn transport<X: ClientFlags>(lab: &Lab, flags: &Load<X>) -> Box<dyn Transport> {
    let max_in_flight = match flags.rate {
        Some(_) => OPEN_IN_FLIGHT_MAX,
        None => depth(flags) as usize,
    };
    lab.transport(&flags.carrier, flags.deadline, max_in_flight)
}

/// Steps of the progress bar: requests if they are limited, else milliseconds.
fn steps<X: ClientFlags>(flags: &Load<X>) -> u64 {
    flags.ops.unwrap_or_else(|| millis(flags.limit.unwrap_or(LIMIT_DEFAULT)))
}

fn millis(time: Duration) -> u64 {
    nanos(time) / 1_000_000
}

fn sum_up(
    generator: &LoadGenerator,
    ended: Ended,
    begun: Instant,
    elapsed: Duration,
    guesses: Vec<Guess>,
) -> Outcome {
    let samples = generator.samples();
    let count = |end: End| samples.iter().filter(|s| s.end == end).count() as u64;
    let mut refused = BTreeMap::new();
    for refusal in samples.iter().filter_map(|sample| sample.refusal) {
        *refused.entry(refusal.name()).or_insert(0) += 1;
    }
    let sent = samples.iter().filter(|sample| sample.attempts > 0);
    let mut latencies_ns: Vec<u64> = sent.map(Sample::latency).map(nanos).collect();
    latencies_ns.sort_unstable();
    let stats = generator.counters();
    // Waiting for abandoned requests is not part of the rate.
    let last_done = samples.iter().filter(|s| s.end == End::Done).map(|s| s.finished).max();
    let mut outcome = Outcome {
        ended,
        guesses,
        elapsed: last_done.map_or(elapsed, |last| last.since(begun)),
        done: count(End::Done),
        unknown: count(End::Unknown),
        refused,
        retries: stats.retries,
        late_replies: stats.late_replies,
        latencies_ns,
    };
    let ms = |per_mille| quantile(&outcome.latencies_ns, per_mille).value_ns.map(in_ms);
    let seen = [Some(per_second(&outcome)), ms(500), ms(990)];
    for (guess, seen) in outcome.guesses.iter_mut().zip(seen) {
        guess.seen = seen;
    }
    outcome
}

fn headline<X: ClientFlags>(run: &Run<'_, X>) -> String {
    let Run { lab, flags, address, seed } = run;
    let clients = human::plural(flags.clients.into(), "client", "clients");
    let arrivals = match flags.rate {
        Some(rate) => {
            let requests = human::plural(rate, "request", "requests");
            format!("open loop, {requests} per second over {clients}")
        }
        None => format!("closed loop, {clients}, {} outstanding each", depth(flags)),
    };
    format!("{} load on {address}: {arrivals}; seed {seed}", lab.name)
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn in_ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Successful requests per second.
#[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
fn per_second(outcome: &Outcome) -> f64 {
    outcome.done as f64 / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

const FROM_ACTUAL: [&str; 2] = [
    "closed loop: counted from when a request was really sent; while the bank",
    "stalls no new request is sent, so a stall counts once per client (see --rate)",
];
const FROM_INTENDED: [&str; 2] = [
    "open loop: counted from when a request was meant to be sent,",
    "so that waiting behind a stall is counted too",
];

fn in_words<X: ClientFlags>(run: &Run<'_, X>, outcome: &Outcome) -> String {
    let Run { lab, flags, .. } = run;
    let mut out = headline(run);
    out.push('\n');
    let mut row = |label: &str, text: &str| out.push_str(&format!("  {label:<9} {text}\n"));
    let elapsed = human::latency(nanos(outcome.elapsed));
    let how = match outcome.ended {
        Ended::Finished => "",
        Ended::Interrupted => " (interrupted; requests in flight are unknown)",
        Ended::ServerLost => " (the bank was lost)",
    };
    row("rate", &format!("{:.0} done per second, for {elapsed}{how}", per_second(outcome)));
    let refused: u64 = outcome.refused.values().sum();
    let reasons =
        if refused > 0 { format!(" ({})", counts(&outcome.refused)) } else { String::new() };
    row(
        "outcomes",
        &format!("{} done, {refused} refused{reasons}, {} unknown", outcome.done, outcome.unknown),
    );
    for (label, per_mille) in QUANTILES {
        row(label, &in_interval(quantile(&outcome.latencies_ns, per_mille)));
    }
    for line in if flags.rate.is_some() { FROM_INTENDED } else { FROM_ACTUAL } {
        row("", line);
    }
    if outcome.unknown > 0 {
        row("", "an unknown one counts until it was given up");
    }
    if lab.carrier == Carrier::Udp {
        let late = human::plural(outcome.late_replies, "late reply", "late replies");
        row("retries", &format!("{}; {late}", outcome.retries));
    }
    if outcome.refused.contains_key("unknown_account") {
        row("hint", "the bank has fewer accounts than --accounts says");
    }
    if outcome.refused.contains_key("not_sent") {
        row("hint", "not_sent: no connection, or the bank took no more clients");
        row("", "(serve --max-clients; on TCP also --max-connections)");
    }
    if flags.carrier.delivery() == Delivery::AtLeastOnce && outcome.retries > 0 {
        row("hint", "each retry may have been done again: see the audit of serve when it stops");
    }
    out.push_str(&table(&outcome.guesses));
    out
}

const QUANTILES: [(&str, u16); 3] = [("p50", 500), ("p99", 990), ("p99.9", 999)];

fn in_interval(quantile: Quantile) -> String {
    let Some(value) = quantile.value_ns else { return "no request was sent".to_owned() };
    let end = |end: Option<u64>| end.map_or_else(|| "?".to_owned(), human::latency);
    let value = human::latency(value);
    match (quantile.low_ns, quantile.high_ns) {
        (None, None) => format!("{value} (too few requests for an interval)"),
        (low, high) => format!("{value} (95 %: {} to {})", end(low), end(high)),
    }
}

fn as_json<X: ClientFlags>(run: &Run<'_, X>, outcome: &Outcome) -> String {
    let Run { lab, flags, address, seed } = run;
    let latency: BTreeMap<&str, Quantile> = QUANTILES
        .iter()
        .map(|(name, per_mille)| (*name, quantile(&outcome.latencies_ns, *per_mille)))
        .collect();
    let document = json!({
        "lab": lab.name,
        "server": address.to_string(),
        "loop": if flags.rate.is_some() { "open" } else { "closed" },
        "latency_counts_from": if flags.rate.is_some() { "intended_start" } else { "actual_start" },
        "clients": flags.clients,
        "depth": if flags.rate.is_some() { None } else { Some(depth(flags)) },
        "rate_per_second": flags.rate,
        "only": flags.only,
        "accounts": flags.accounts,
        "delivery": flags.carrier.delivery(),
        "seed": seed,
        "ended": outcome.ended,
        "elapsed_ns": nanos(outcome.elapsed),
        "done": outcome.done,
        "done_per_second": per_second(outcome),
        "refused": outcome.refused,
        "unknown": outcome.unknown,
        "retries": outcome.retries,
        "late_replies": outcome.late_replies,
        "latency": latency,
        "predictions": outcome.guesses,
    });
    format!("{document:#}\n")
}
