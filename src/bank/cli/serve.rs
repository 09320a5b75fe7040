//! `serve`: runs the bank until a signal, then reports counters and audits the ledger.

use super::args::{Serve, ServeFlags, Store};
use super::words::counts;
use super::{ADDRESS, Carrier, Lab, resolve};
use crate::bank::audit::{AuditReport, audit};
use crate::bank::driver::server::{LoopCounters, ServerLoop, Site};
use crate::bank::message::Cents;
use crate::bank::server::{Counters, Dedup, Server, ServerConfig};
use crate::bank::storage::{CommitIndex, Storage, StorageError};
use crate::bank::store::file::{DirectoryError, FileStore};
use crate::bank::store::log::{OpenError, TornTail};
use crate::bank::store::memory::MemoryStore;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::lab::say;
use crate::cli::stdout::complain;
use crate::measure::{human, nanos};
use crate::runtime::clock::Clock;
use crate::runtime::server::listen_tcp;
use crate::runtime::shutdown;
use crate::sys::random;
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// The result of a run.
struct Report {
    ran: Duration,
    counters: Counters,
    sockets: LoopCounters,
    books: AuditReport,
}

/// Serves until SIGINT or SIGTERM.
/// Fails if it cannot listen, or the loop fails.
pub(super) fn run<S: ServeFlags>(lab: &Lab, flags: &Serve<S>) -> Result<Exit, Failure> {
    let address = resolve(lab, "--listen", &flags.listen)?;
    let risk = "there is no authentication: any client can move the money";
    flags.beyond.check(&[address], risk, &lab.serve_at(address))?;
    let config = ServerConfig {
        dedup: flags.dedup,
        lease: flags.lease,
        max_leases: flags.max_clients as usize,
    };
    match &flags.store {
        Store::Memory => {
            let store = MemoryStore::with_accounts(flags.accounts, flags.opening);
            serve(lab, flags, address, config, store)
        }
        Store::File(directory) => {
            let (store, torn) = FileStore::open(directory, flags.accounts, flags.opening)
                .map_err(|error| cannot_open(lab, directory, &error))?;
            say_what_was_found(lab, directory, &store, torn);
            serve(lab, flags, address, config, store)
        }
    }
}

fn serve<S: ServeFlags, T: Storage>(
    lab: &Lab,
    flags: &Serve<S>,
    address: SocketAddr,
    config: ServerConfig,
    store: T,
) -> Result<Exit, Failure> {
    let (accounts, found) = (store.accounts(), store.commit_index());
    let mut server = Server::new(config, store, flags.seed.unwrap_or(0));
    if flags.seed.is_none() {
        server = server.drawing_leases(|| random::array().ok().map(u64::from_le_bytes));
    }
    let mut site = Site { server, tcp: None, udp: None, nodelay: flags.carrier.nodelay() };
    let bound = match lab.carrier {
        Carrier::Tcp => listen_tcp(address).and_then(|listener| {
            let bound = listener.local_addr();
            site.tcp = Some(listener);
            bound
        }),
        Carrier::Udp => UdpSocket::bind(address).and_then(|socket| {
            let bound = socket.local_addr();
            site.udp = Some(socket);
            bound
        }),
    }
    .map_err(|error| cannot_listen(lab, address, &error))?;
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the server failed", &error);
    let (stopper, stopped) = shutdown::pair().map_err(failed)?;
    // Before it announces the address: a reader may send a signal at once.
    stopper.on_signals().map_err(failed)?;
    let clock = Clock::start();
    let mut serving = ServerLoop::new(vec![site], flags.carrier.limits(), clock).map_err(failed)?;
    announce(lab, flags, bound, accounts, found)?;
    serving.run(stopped).map_err(|error| stopped_serving(lab, flags, &error))?;
    let ran = clock.now().since(crate::measure::Instant::ZERO);
    let sockets = serving.counters();
    let Some(server) = serving.into_servers().pop() else {
        return Err(Failure::new(Exit::Bug, "the bank is gone"));
    };
    let books = audit(server.storage(), &[], &[])
        .map_err(|error| Failure::from_error(Exit::Bug, "cannot audit the ledger", &error))?;
    let report = Report { ran, counters: server.counters().clone(), sockets, books };
    say(&if flags.json { as_json(lab, &report) } else { in_words(lab, &report) })?;
    Ok(if books.balanced { Exit::Holds } else { Exit::Fails })
}

fn cannot_open(lab: &Lab, directory: &Path, error: &DirectoryError) -> Failure {
    let shown = directory.display();
    let what = format!("cannot open the store in {shown}: {error}");
    let memory = format!("{} serve --store memory", lab.name);
    match error {
        DirectoryError::InUse => Failure::new(Exit::Usage, what).or_type(
            "take another directory",
            format!("{} serve --store file:{shown}-2", lab.name),
        ),
        DirectoryError::Log(OpenError::Corrupt { .. }) => Failure::new(Exit::Fails, what)
            .because("bytes that were durable have changed; nothing was written to the log")
            .or_type("keep the evidence", format!("cp -a {shown} {shown}.corrupt"))
            .or_type("then restore a copy of it, or start with an empty bank", memory),
        _ => Failure::new(Exit::Usage, what).or_type("keep the ledger in memory", memory),
    }
}

/// Says what a crash left of the log, if it was cut.
fn say_what_was_found(lab: &Lab, directory: &Path, store: &impl Storage, torn: Option<TornTail>) {
    if let Some(TornTail { offset, bytes }) = torn {
        complain(&format!(
            "{}: {}/bank.log ended in an incomplete record of {bytes} bytes at byte {offset}, \
             from a crash; it was cut off: no reply had left for it\n",
            lab.name,
            directory.display()
        ));
    }
    tracing::info!(transactions = store.commit_index().0, "opened the store");
}

/// Why the loop ended: its store, or the loop itself.
fn stopped_serving<S: ServeFlags>(lab: &Lab, flags: &Serve<S>, error: &io::Error) -> Failure {
    let store = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
    let (Some(store), Store::File(directory)) = (store, &flags.store) else {
        return Failure::from_error(Exit::Bug, "the server failed", error);
    };
    let shown = directory.display();
    Failure::new(Exit::Network, format!("stopped serving: {store}"))
        .because("after a failed write only a restart knows what is on the disk")
        .or_type("look at the space and the state of the disk", format!("df {shown}; dmesg"))
        .or_type("then start again", format!("{} serve --store file:{shown}", lab.name))
}

fn cannot_listen(lab: &Lab, address: SocketAddr, error: &io::Error) -> Failure {
    let what = format!("cannot listen on {address}: {error}");
    let failure = Failure::new(Exit::Network, what);
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let sockets = if lab.carrier == Carrier::Tcp { "ss -ltnp" } else { "ss -lunp" };
            failure
                .because("another program listens there, perhaps another bank")
                .or_type("take a free port", format!("{} serve --listen 127.0.0.1:0", lab.name))
                .or_type("see which program it is", format!("{sockets} 'sport = :{port}'"))
        }
        io::ErrorKind::AddrNotAvailable => failure
            .because("this host has no such address")
            .or_type("on this host only", format!("{} serve --listen 127.0.0.1:{port}", lab.name))
            .or_type(
                "on all its addresses",
                format!("{} serve --listen 0.0.0.0:{port} --beyond-loopback", lab.name),
            ),
        io::ErrorKind::PermissionDenied => failure
            .because("ports below 1024 need a privilege")
            .or_type("take another port", format!("{} serve --listen {ADDRESS}", lab.name)),
        _ => failure.or_type("take the usual address", format!("{} serve", lab.name)),
    }
}

/// Prints the address, how to call it and how to stop.
fn announce<S: ServeFlags>(
    lab: &Lab,
    flags: &Serve<S>,
    bound: SocketAddr,
    accounts: u64,
    found: CommitIndex,
) -> Result<(), Failure> {
    if !bound.ip().is_loopback() {
        complain(&format!(
            "{}: {bound} can be reached from other hosts, and there is no authentication: any \
             client can move the money\n",
            lab.name
        ));
    }
    // From this host every unspecified address is reached at loopback.
    let ask_at = match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    };
    let carrier = if lab.carrier == Carrier::Tcp { "tcp" } else { "udp" };
    if flags.json {
        let line = json!({
            "type": "listening", "lab": lab.name, "address": bound.to_string(),
            "carrier": carrier, "accounts": accounts, "opening_cents": flags.opening,
            "dedup": flags.dedup, "seed": flags.seed, "store": flags.store.to_string(),
            "transactions_found": found,
        });
        return say(&format!("{line}\n"));
    }
    let server =
        if ask_at.to_string() == ADDRESS { String::new() } else { format!("--server {ask_at} ") };
    let memory = match flags.dedup {
        Dedup::Off => "a repeated request is done again",
        Dedup::Volatile => "a repeated request is done once (remembered apart from the ledger)",
        Dedup::Durable => "a repeated request is done once (remembered with the ledger)",
    };
    let seed = flags.seed.map(|seed| format!("\n  seed {seed}: any client can predict the leases"));
    let seed = seed.unwrap_or_default();
    let name = lab.name;
    let opening = flags.opening;
    let kept = match &flags.store {
        Store::Memory => format!("{accounts} accounts of {opening}, in memory until it stops"),
        Store::File(directory) if found.0 == 0 => {
            format!("{accounts} accounts, a new bank in {}", directory.display())
        }
        Store::File(directory) => {
            let found = human::plural(found.0, "transaction", "transactions");
            format!("{accounts} accounts, {found} found in {}", directory.display())
        }
    };
    say(&format!(
        "{name} listens on {bound} ({carrier})\n  \
         {kept}{seed}\n  \
         {memory}\n  \
         call it, in another terminal: {name} call {server}deposit 1 12.34\n  \
         stop it:                      Ctrl-C\n",
    ))
}

fn as_json(lab: &Lab, report: &Report) -> String {
    let line = json!({
        "type": "stopped", "lab": lab.name,
        "ran_ns": nanos(report.ran),
        "counters": report.counters, "sockets": report.sockets, "books": report.books,
    });
    format!("{line}\n")
}

fn in_words(lab: &Lab, report: &Report) -> String {
    let Report { counters, sockets, books, .. } = report;
    let mut out =
        format!("\n{} stopped after {}\n", lab.name, { human::latency(nanos(report.ran)) });
    let mut row = |label: &str, text: &str| out.push_str(&format!("  {label:<12} {text}\n"));
    match lab.carrier {
        Carrier::Tcp => row("connections", &connections(sockets)),
        Carrier::Udp => {
            let lost = match sockets.sockets.datagrams_not_sent {
                0 => String::new(),
                lost => format!(", {} not sent", human::plural(lost, "reply", "replies")),
            };
            row("datagrams", &format!("{}{lost}", counters.datagrams));
        }
    }
    row("requests", &counts(&counters.accepted));
    row("refused", &counts(&counters.refused));
    row("discarded", &counts(&counters.discarded));
    row("duplicates", &format!("{} answered from memory, not done again", counters.duplicates));
    if counters.indefinite > 0 {
        row("unknown", &format!("{}: the store failed", counters.indefinite));
    }
    if counters.withheld > 0 {
        row(
            "withheld",
            &format!(
                "{} longer than the request",
                human::plural(counters.withheld, "reply", "replies")
            ),
        );
    }
    row("clients", &format!("{} had a lease", counters.leases_granted));
    row("ledger", &balance(books));
    out
}

fn connections(counted: &LoopCounters) -> String {
    let sockets = &counted.sockets;
    let mut text = format!("{} accepted", sockets.accepted);
    for (count, what) in [
        (sockets.turned_away, "turned away: no place"),
        (sockets.evicted, "closed: idle, for others"),
        (counted.closed_no_hello, "closed: no HELLO in time"),
        (counted.closed_slow_frame, "closed: a frame took too long"),
        (counted.closed_idle, "closed: idle too long"),
        (counted.closed_violation, "closed: not the protocol"),
        (sockets.closed_unread, "closed: did not read their replies"),
        (sockets.accept_failures, "attempts to accept failed"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn balance(books: &AuditReport) -> String {
    let sum = Cents(books.sum_cents);
    let AuditReport { entries, accounts, .. } = books;
    let holders = human::plural(*accounts, "account holds", "accounts hold");
    let mut text = format!("{}, {holders} {sum}", human::plural(*entries, "entry", "entries"));
    if books.balanced {
        text.push_str(": balanced");
    } else {
        text.push_str(&format!(
            ": NOT BALANCED, expected {}; {} below zero, {} not explained by the ledger",
            Cents(books.expected_sum_cents),
            human::plural(books.negative_accounts, "account", "accounts"),
            books.unexplained_accounts
        ));
    }
    if books.keys_applied_twice > 0 {
        text.push_str(&format!(
            "; {} done more than once, {} too much",
            human::plural(books.keys_applied_twice, "request was", "requests were"),
            Cents(books.cents_beyond_first)
        ));
    }
    text
}
