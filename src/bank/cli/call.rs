//! `call`: makes one request to the bank; without a reply its outcome is unknown.

use super::args::{Ask, Call, ClientFlags, ServeFlags, page_limit};
use super::{Carrier, Lab, frames, resolve, words};
use crate::bank::client::{CloseReason, Finished, Identity, Key, Outcome};
use crate::bank::driver::call::{CallFailure, Caller, Tap};
use crate::bank::driver::remote::Remote;
use crate::bank::message::{AccountId, EntryView, Refusal, Reply, Request};
use crate::cli::args::Common;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::lab::say;
use crate::cli::run::Repeat;
use crate::cli::seed;
use crate::cli::stdout::complain;
use crate::measure::human;
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Maximum pages: 64 entries each are over six million.
const PAGES_MAX: usize = 100_000;

/// The number of the first operation of a client.
const FIRST: u64 = 1;

/// A call makes one request at a time.
const IN_FLIGHT_MAX: usize = 1;

/// The result of the request.
struct Answer {
    request: Request,
    /// The last call: `transactions` makes one per page.
    finished: Finished,
    entries: Vec<EntryView>,
    pages: usize,
    elapsed_ns: u64,
    lease: Option<u64>,
    /// ICMP "port unreachable" errors from the server's host.
    absent: u64,
    seed: u64,
    lab: &'static str,
}

/// Makes the request and prints the answer.
/// Fails if no request was sent: no server, no bank there.
pub(super) fn run<S: ServeFlags, X: ClientFlags>(
    lab: &Lab,
    flags: &Call<X>,
    common: &Common,
) -> Result<Exit, Failure> {
    let address = resolve(lab, "--server", &flags.server)?;
    let seed = nonce(flags.seed).map_err(|error| seed::no_random(&error))?;
    let style = common.color.for_stderr();
    let answer = match ask(lab, flags, address, seed, common.verbose) {
        Ok(answer) => answer,
        Err(failure) => {
            let failure = explain(lab, address, &failure);
            let why = json!({
                "lab": lab.name, "server": address.to_string(), "outcome": "not_asked",
                "error": failure.what, "seed": seed,
            });
            flags.json.write(&format!("{why:#}\n"))?;
            return Err(failure);
        }
    };
    let exit = match answer.finished.outcome {
        Outcome::Done(_) => Exit::Holds,
        Outcome::Refused(_) => Exit::Fails,
        Outcome::Unknown(_) => Exit::Inconclusive,
    };
    flags.json.write(&format!("{:#}\n", as_json(lab, flags, address, &answer)))?;
    if flags.json.to_stdout() {
        return Ok(exit);
    }
    if answer.pages > 0 && (!answer.entries.is_empty() || exit == Exit::Holds) {
        say(&words::entries(&answer.entries))?;
    }
    match &answer.finished.outcome {
        Outcome::Done(reply) => say(&done(&answer, reply))?,
        Outcome::Refused(refusal) => complain(&refused(*refusal).render(lab.name, style)),
        Outcome::Unknown(key) => {
            let repeat = Repeat::new(lab.name, lab.command::<S, X>());
            let failure = unknown(repeat, flags.ask.account(), &answer, *key);
            complain(&failure.render(lab.name, style));
        }
    }
    Ok(exit)
}

/// The client's name. Two clients of one name would be taken for one, so it is longer than other
/// seeds; every JSON reader represents 52 bits exactly.
fn nonce(given: Option<u64>) -> io::Result<u64> {
    if let Some(seed) = given {
        return Ok(seed);
    }
    let (high, low) = (seed::or_random(None)?, seed::or_random(None)?);
    Ok(high << 20 | (low & 0xf_ffff))
}

fn ask<X: ClientFlags>(
    lab: &Lab,
    flags: &Call<X>,
    address: SocketAddr,
    seed: u64,
    verbose: u8,
) -> Result<Answer, CallFailure> {
    let tap: Tap = if verbose > 0 {
        Box::new(|way, bytes| complain(&frames::explain(way, bytes)))
    } else {
        Box::new(|_, _| {})
    };
    let transport = lab.transport(&flags.carrier, flags.deadline, IN_FLIGHT_MAX);
    let mut remote = Remote { address, nodelay: flags.carrier.nodelay() };
    let identity = match flags.lease {
        Some(lease) => Identity::resuming(seed, lease, FIRST + 1),
        None => Identity::new(seed),
    };
    let mut caller = Caller::new(&*transport, &mut remote, identity, tap)?;
    tracing::info!("saying HELLO to {address}");
    caller.greet()?;
    tracing::info!("lease {:x?}; asking {:?}", caller.lease(), flags.ask);
    let mut request = flags.ask.request();
    let mut answer = Answer {
        request,
        finished: match flags.lease {
            Some(client) => caller.repeat(Key { client, seq: FIRST }, request)?,
            None => caller.call(request)?,
        },
        entries: Vec::new(),
        pages: 0,
        elapsed_ns: 0,
        lease: caller.lease(),
        absent: 0,
        seed,
        lab: lab.name,
    };
    loop {
        let Finished { started, finished, ref outcome, .. } = answer.finished;
        answer.elapsed_ns += finished.as_nanos() - started.as_nanos();
        answer.absent = caller.refusals();
        answer.pages += usize::from(matches!(flags.ask, Ask::Transactions { .. }));
        let Outcome::Done(Reply::Transactions { entries, next }) = outcome else { break };
        answer.entries.extend_from_slice(entries);
        match next_page(&flags.ask, *next, answer.entries.len()) {
            Some(next) if answer.pages < PAGES_MAX => request = next,
            _ => break,
        }
        answer.finished = caller.call(request)?;
    }
    Ok(answer)
}

/// The request for the next page, if there is one.
fn next_page(ask: &Ask, next: Option<u64>, got: usize) -> Option<Request> {
    let Ask::Transactions { account, limit, .. } = *ask else { return None };
    let got = u32::try_from(got).expect("invariant: at most PAGES_MAX pages of 2,045 entries");
    let left = limit.map(|limit| limit.saturating_sub(got));
    if left == Some(0) {
        return None;
    }
    Some(Request::Transactions { account, from_entry: next?, limit: page_limit(left) })
}

/// Why no request was sent, and what to type.
fn explain(lab: &Lab, address: SocketAddr, failure: &CallFailure) -> Failure {
    let serve = lab.serve_at(address);
    let other = if lab.carrier == Carrier::Tcp { "bank-udp" } else { "bank-tcp" };
    let closed = CallFailure::Closed(CloseReason::PeerClosed);
    let failure = match failure {
        // Closing with unread bytes resets a connection.
        CallFailure::Socket(error) if error.kind() == ErrorKind::ConnectionReset => &closed,
        other => other,
    };
    match failure {
        CallFailure::Socket(error) if error.kind() == ErrorKind::ConnectionRefused => Failure::new(
            Exit::Network,
            format!("nothing listens on {address}; no request was sent"),
        )
        .or_type("start the bank, in another terminal", serve)
        .or_type("if it listens elsewhere", format!("{} call --server ADDR …", lab.name)),
        CallFailure::Closed(CloseReason::Refused(refusal)) => {
            let what = format!("the bank takes no client: {}", refusal.name());
            Failure::new(Exit::Fails, what).because(refusal.to_string())
        }
        CallFailure::Closed(reason) => {
            let why = match reason {
                CloseReason::HelloDeadline => "it did not answer HELLO before the deadline",
                CloseReason::PeerClosed => {
                    "it closed the connection before it answered HELLO: it may have too many \
                     connections, or be no bank"
                }
                _ => "what it sent is not the bank's protocol",
            };
            Failure::new(
                Exit::Network,
                format!("no bank answers on {address}; no request was sent"),
            )
            .because(why)
            .because(format!("a bank that was started as {other} is not reached from here"))
            .or_type("start the bank, in another terminal", serve)
        }
        other => Failure::from_error(Exit::Network, format!("cannot ask {address}"), other)
            .or_type("start the bank, in another terminal", serve),
    }
}

fn done(answer: &Answer, reply: &Reply) -> String {
    let mut text = match reply {
        Reply::Transactions { .. } => {
            let entries = human::plural(answer.entries.len() as u64, "entry", "entries");
            format!("{entries}, {}.\n", human::plural(answer.pages as u64, "page", "pages"))
        }
        reply => words::reply(&answer.request, reply),
    };
    let attempts = match answer.finished.attempts {
        1 => String::new(),
        more => format!(", {more} attempts"),
    };
    let trip = human::latency(answer.elapsed_ns);
    text.push_str(&format!("round trip {trip}{attempts}; seed {}\n", answer.seed));
    text
}

fn refused(refusal: Refusal) -> Failure {
    Failure::new(Exit::Fails, format!("refused, and certainly not done: {}", refusal.name()))
        .because(refusal.to_string())
}

/// No reply: what that means, and how to retry under the same key.
fn unknown(repeat: Repeat, account: AccountId, answer: &Answer, key: Key) -> Failure {
    let attempts = answer.finished.attempts;
    let times = human::times(attempts.into());
    let waited = human::latency(answer.elapsed_ns);
    if answer.finished.forgotten {
        let what = format!("unknown: the bank has forgotten the lease of key {key}");
        return Failure::new(Exit::Inconclusive, what)
            .because("it was restarted, or the lease ended: an earlier attempt may be applied")
            .because("repeating it under a new lease could apply it twice")
            .or_type("look for it", format!("{} call transactions {}", answer.lab, account.0));
    }
    let mut failure = Failure::new(
        Exit::Inconclusive,
        format!("unknown: asked {times} in {waited}, and no reply came (key {key})"),
    );
    if answer.absent > 0 {
        failure = failure.because("its host reported that nothing listens there");
    }
    if !answer.request.operation().changes_the_ledger() {
        return failure
            .because("a read changes nothing: it can be repeated")
            .or_type("ask again", repeat.command());
    }
    let again = repeat.without("lease").seed(Some(answer.seed)).command();
    failure
        .because(
            "the request or its answer was lost: the bank may have done it, or may yet, or not",
        )
        .because("a new request would be a second one; the same key is done once, within the lease")
        .or_type("ask again, same key", format!("{again} --lease {:016x}", key.client))
}

fn as_json<X: ClientFlags>(
    lab: &Lab,
    flags: &Call<X>,
    address: SocketAddr,
    answer: &Answer,
) -> Value {
    let Answer { finished, entries, .. } = answer;
    let (outcome, reply, refusal) = match &finished.outcome {
        Outcome::Done(reply) => ("done", json!(reply), Value::Null),
        Outcome::Refused(refusal) => ("refused", Value::Null, json!(refusal)),
        Outcome::Unknown(_) => ("unknown", Value::Null, Value::Null),
    };
    let remedy = match &finished.outcome {
        Outcome::Refused(refusal) => json!(refusal.to_string()),
        _ => Value::Null,
    };
    let reply = match reply {
        // One list over all pages.
        Value::Object(_) if answer.pages > 0 => json!({ "op": "transactions", "entries": entries }),
        reply => reply,
    };
    json!({
        "lab": lab.name,
        "server": address.to_string(),
        "operation": answer.request.operation(),
        "delivery": flags.carrier.delivery(),
        "outcome": outcome,
        "reply": reply,
        "refusal": refusal,
        "remedy": remedy,
        // A lease has 64 bits, more than some JSON readers represent exactly.
        "lease": answer.lease.map(|lease| format!("{lease:016x}")),
        "sequence": finished.seq,
        "forgotten": finished.forgotten,
        "attempts": finished.attempts,
        "pages": answer.pages,
        "round_trip_ns": answer.elapsed_ns,
        "seed": answer.seed,
    })
}
