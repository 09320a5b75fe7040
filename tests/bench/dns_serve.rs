//! `dns-walk serve` against Unbound under dnsperf, on the same hierarchy served by NSD: with an
//! empty cache, and with a full one; and a cached answer with and without validation.
//!
//! Rounds are interleaved; each starts both with an empty cache. The metric is replies per second
//! of the server's own processor time, since dnsperf and the authority share a small machine.

use super::authority::{Folder, Running, await_answer, missing};
use super::dns_names::{
    LOADS, Load, OPEN, Round, UNBOUND, asked, shown, start_hierarchy, start_unbound,
};
use super::path::{said, spread};
use dns_walk::RecordType;
use std::fs;
use std::path::Path;
use wirelab::sys::netlink::Netlink;
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;

const ROUNDS: usize = 5;
/// Minimum throughput relative to Unbound.
const RATIO_MIN: f64 = 1.0;
/// Queries per cached name: enough for some seconds of work.
const TIMES: u32 = 5;

/// Queries for one validated answer.
const VALIDATED: usize = 20_000;
/// Maximum cost of a validated answer relative to one that is not; 28 before its signatures were
/// kept.
const VALIDATED_MAX: f64 = 5.0;

const OURS: &str = "127.9.5.1";

/// Runs the benchmark; whether every target was met.
pub(crate) fn run_all() -> bool {
    if let Err(error) = acquire() {
        println!("dns-serve: skipped\n{error}");
        return true;
    }
    let absent = missing(&["nsd", "unbound", "dnsperf", "setpriv"]);
    if !absent.is_empty() {
        println!("dns-serve: skipped: {} not installed", absent.join(", "));
        return true;
    }
    // A process ends with the thread that starts it.
    Netns::new().unwrap().run(in_namespace).unwrap()
}

fn in_namespace() -> bool {
    Netlink::open().unwrap().set_up("lo").unwrap();
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
    let folder = Folder::new("dns-serve");
    let _authority = start_hierarchy(&folder.0);
    println!(
        "a server for other tools, {ROUNDS} rounds, median (min-max): dns-walk serve against \
         Unbound (one thread), both asked by dnsperf\nwith {OPEN} open; NSD is the authority of \
         both, com is known, signatures are not judged; processor time is the server's own\n"
    );
    let mut held = true;
    for load in &LOADS {
        held &= compare(&folder.0, load);
    }
    held & validated(&folder.0)
}

/// Processor time of a cached answer that is validated, beside the same without validation.
fn validated(folder: &Path) -> bool {
    let queries = folder.join("validated");
    fs::write(&queries, "www.igbank.com A\n".repeat(VALIDATED)).unwrap();
    let listen = format!("{OURS}:53");
    let cost = |last: &str| {
        let words = ["serve", "--demo", "--seed", "1", "--listen", &listen, last];
        let server = Running::start(wirelab_tests::lab::binary("dns-walk"), &words.map(Path::new));
        await_answer(OURS, "www.igbank.com.", RecordType::A, true);
        1e6 / asked(folder, &server, OURS, &queries, 1).per_cpu_s()
    };
    let rounds: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| [cost("--no-prime"), cost("--no-dnssec")]).collect();
    let of = |which: usize| spread(rounds.iter().map(|round| round[which]).collect());
    let ratio = spread(rounds.iter().map(|[signed, plain]| signed / plain).collect());
    let met = ratio.middle <= VALIDATED_MAX;
    println!("a cached answer, µs of processor time, {VALIDATED} queries, {ROUNDS} rounds");
    println!("validated {}, not validated {}", of(0).show(), of(1).show());
    println!(
        "validated / not validated: {} target <= {VALIDATED_MAX:.2}: {}\n",
        shown(&ratio),
        said(met)
    );
    met
}

/// The results of each name once, and then again.
fn pair(folder: &Path, server: &Running, address: &str, queries: &Path) -> [Round; 2] {
    [1, TIMES].map(|times| asked(folder, server, address, queries, times))
}

fn ours(folder: &Path) -> Running {
    let listen = format!("{OURS}:53");
    let hints = folder.join("hints");
    let words = ["serve", "-4", "--no-dnssec", "--seed", "1", "--listen", &listen, "--hints"];
    let arguments: Vec<&Path> = words.iter().map(Path::new).chain([hints.as_path()]).collect();
    let server = Running::start(wirelab_tests::lab::binary("dns-walk"), &arguments);
    await_answer(OURS, "com.", RecordType::NS, true);
    server
}

fn compare(folder: &Path, load: &Load) -> bool {
    let names = load.names();
    let queries = folder.join("queries");
    fs::write(&queries, names.iter().map(|n| format!("{n} A\n")).collect::<String>()).unwrap();
    let rounds: Vec<[[Round; 2]; 2]> = (0..ROUNDS)
        .map(|_| {
            let own = pair(folder, &ours(folder), OURS, &queries);
            [own, pair(folder, &start_unbound(folder), UNBOUND, &queries)]
        })
        .collect();
    println!("{} ({} names)", load.name, names.len());
    let mut met = true;
    for (phase, what, times) in [(0, "asked once", 1), (1, "known", TIMES)] {
        println!("{what:<16}{:>32}{:>32}", "answers per cpu second", "answers per second");
        for (which, name) in [(0, "dns-walk serve"), (1, "unbound")] {
            let of = |figure: fn(&Round) -> f64| {
                spread(rounds.iter().map(|round| figure(&round[which][phase])).collect()).show()
            };
            let wall = of(|round| round.names / round.wall_s);
            println!("{name:<16}{:>32}{wall:>32}", of(Round::per_cpu_s));
        }
        let ratio =
            |round: &[[Round; 2]; 2]| round[0][phase].per_cpu_s() / round[1][phase].per_cpu_s();
        let ratio = spread(rounds.iter().map(ratio).collect());
        let asked = names.len() as f64 * f64::from(times);
        let lost = rounds.iter().any(|round| round[0][phase].names < asked);
        let held = ratio.middle >= RATIO_MIN && !lost;
        met &= held;
        println!(
            "answers per cpu second, dns-walk / unbound: {} target >= {RATIO_MIN:.2}: {}\n",
            shown(&ratio),
            said(held)
        );
    }
    met
}
