//! Many names: `dns-walk -` against Unbound under dnsperf, on the same hierarchy served by NSD.
//!
//! Rounds are interleaved; each starts both with an empty cache and queries every name once. The
//! metric is names per second of the resolver's own processor time, since the authority and dnsperf
//! share a small machine.

#![expect(clippy::disallowed_methods, reason = "it waits for programs")]

use super::authority::{
    Cost, Folder, Running, Zones, await_answer, missing, nsd, resident_bytes, run, serving_at,
    unbound_config, write_hints,
};
use super::path::{Spread, said, spread};
use dns_walk::RecordType;
use hickory_proto::op::Message;
use std::fmt::Write;
use std::fs::{self, File};
use std::hint::black_box;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::sys::netlink::Netlink;
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;

const ROUNDS: usize = 5;
/// Queries in flight of dnsperf and of Unbound. It is the fastest setting: with more, sockets of
/// either drop some, and a lost query costs dnsperf its timeout.
pub(crate) const OPEN: u32 = 100;
/// Minimum throughput relative to Unbound.
const RATIO_MIN: f64 = 1.0;
/// Walks in flight in the memory measurement.
const IN_FLIGHT: [u64; 2] = [1_000, 10_000];
/// Maximum bytes per walk in flight: 10,000 of them in 100 MB, as much as the cache that a list of
/// a million names fills.
const WALK_BYTES_MAX: f64 = 10_240.0;

pub(crate) const UNBOUND: &str = "127.9.3.1";
const SILENT: &str = "127.9.4.1";

/// Names under com: zones, and names per zone.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    letter: char,
    zones: usize,
    hosts: usize,
}

pub(crate) const LOADS: [Load; 2] = [
    Load { name: "every name in a zone of its own", letter: 'a', zones: 20_000, hosts: 1 },
    Load { name: "100 names in each zone", letter: 'b', zones: 400, hosts: 100 },
];

impl Load {
    fn zone_names(&self) -> Vec<String> {
        (0..self.zones).map(|zone| format!("{}{zone}.com.", self.letter)).collect()
    }

    /// Adjacent names are of different zones, as in a list in random order.
    pub(crate) fn names(&self) -> Vec<String> {
        let zones = self.zone_names();
        let host = |host: usize| zones.iter().map(move |zone| format!("h{host}.{zone}"));
        (0..self.hosts).flat_map(host).collect()
    }
}

/// Addresses of the servers of a level.
fn servers(level: usize) -> Vec<String> {
    (1..=2).map(|server| format!("127.9.{level}.{server}")).collect()
}

/// Zone file lines for a zone's own servers and a child zone's.
fn delegation(zone: &str, level: usize) -> String {
    let mut text = String::new();
    for (number, address) in servers(level).into_iter().enumerate() {
        let name = if zone == "@" { format!("ns{number}") } else { format!("ns{number}.{zone}") };
        let _ = write!(text, "{zone} 86400 NS {name}\n{name} 86400 A {address}\n");
    }
    text
}

const SOA: &str = "@ 3600 SOA ns0 hostmaster 1 1800 900 604800 3600\n";

/// Starts the servers of the root, com, and the zones below it, and writes the hints.
pub(crate) fn start_hierarchy(folder: &Path) -> [Running; 3] {
    let authority = start_authority(folder);
    write_hints(folder, &[("ns0.", servers(0)[0].clone()), ("ns1.", servers(0)[1].clone())]);
    for (server, name) in [(0, "com."), (1, "a0.com."), (2, "h0.a0.com."), (2, "h0.b0.com.")] {
        for address in servers(server) {
            await_answer(&address, name, RecordType::A, false);
        }
    }
    authority
}

fn start_authority(folder: &Path) -> [Running; 3] {
    let root = Zones {
        file: "root",
        text: format!("{SOA}{}{}", delegation("@", 0), delegation("com", 1)),
        names: vec![".".to_owned()],
    };
    let mut text = format!("{SOA}{}", delegation("@", 1));
    for zone in LOADS.iter().flat_map(Load::zone_names) {
        text += &delegation(zone.trim_end_matches(".com."), 2);
    }
    let com = Zones { file: "com", text, names: vec!["com.".to_owned()] };
    let leaf = |load: &Load, file| {
        let hosts = (0..load.hosts).map(|host| format!("h{host} 300 A 198.51.100.{host}\n"));
        let text = format!("{SOA}{}{}", delegation("@", 2), hosts.collect::<String>());
        Zones { file, text, names: load.zone_names() }
    };
    let leaves = [leaf(&LOADS[0], "a"), leaf(&LOADS[1], "b")];
    [
        nsd(folder, "nsd-root", &servers(0), &[root]),
        nsd(folder, "nsd-com", &servers(1), &[com]),
        nsd(folder, "nsd-zones", &servers(2), &leaves),
    ]
}

/// Runs the benchmark; whether every target was met.
pub(crate) fn run_all() -> bool {
    if let Err(error) = acquire() {
        println!("dns-names: skipped\n{error}");
        return true;
    }
    let absent = missing(&["nsd", "unbound", "dnsperf", "setpriv"]);
    if !absent.is_empty() {
        println!("dns-names: skipped: {} not installed", absent.join(", "));
        return true;
    }
    // A process ends with the thread that starts it.
    Netns::new().unwrap().run(in_namespace).unwrap()
}

fn in_namespace() -> bool {
    Netlink::open().unwrap().set_up("lo").unwrap();
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
    let folder = Folder::new("dns-names");
    let _authority = start_hierarchy(&folder.0);
    println!(
        "many names, {ROUNDS} rounds, median (min-max): dns-walk - against Unbound (one thread) \
         asked by dnsperf with {OPEN} open;\nNSD is the authority of both, com is known, every \
         name is asked once; processor time is the resolver's own, user and system\n"
    );
    let mut held = true;
    let mut decoded = Vec::new();
    for load in &LOADS {
        let (met, rate) = compare(&folder.0, load);
        held &= met;
        decoded.push(rate);
    }
    codec_limit(&decoded);
    held & memory(&folder.0)
}

/// The result of a resolver's round.
pub(crate) struct Round {
    /// Answered names.
    pub(crate) names: f64,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    /// Messages decoded, if known.
    messages: f64,
}

impl Round {
    pub(crate) fn per_cpu_s(&self) -> f64 {
        self.names / self.cpu_s
    }
}

fn compare(folder: &Path, load: &Load) -> (bool, f64) {
    let names = load.names();
    let list = folder.join("names");
    fs::write(&list, names.iter().map(|name| format!("{name}\n")).collect::<String>()).unwrap();
    let queries = folder.join("queries");
    fs::write(&queries, names.iter().map(|n| format!("{n} A\n")).collect::<String>()).unwrap();
    let rounds: Vec<[Round; 2]> =
        (0..ROUNDS).map(|_| [ours(folder, &list), unbound(folder, &queries)]).collect();
    let of = |which: usize, figure: fn(&Round) -> f64| {
        spread(rounds.iter().map(|round| figure(&round[which])).collect())
    };
    println!("{} ({} names)", load.name, names.len());
    println!(
        "{:<12}{:>30}{:>30}{:>26}",
        "", "names per cpu second", "names per second", "answered"
    );
    for (which, name) in [(0, "dns-walk -"), (1, "unbound")] {
        let per_cpu = of(which, Round::per_cpu_s).show();
        let per_wall = of(which, |round| round.names / round.wall_s).show();
        let answered = of(which, |round| round.names).show();
        println!("{name:<12}{per_cpu:>30}{per_wall:>30}{answered:>26}");
    }
    let ratio = spread(rounds.iter().map(|r| r[0].per_cpu_s() / r[1].per_cpu_s()).collect());
    let all = of(0, |round| round.names).low >= names.len() as f64;
    let met = ratio.middle >= RATIO_MIN && all;
    println!(
        "names per cpu second, dns-walk / unbound: {} target >= {RATIO_MIN:.2}: {}\n",
        shown(&ratio),
        said(met)
    );
    (met, of(0, |round| round.messages / round.cpu_s).middle)
}

pub(crate) fn shown(Spread { low, middle, high }: &Spread) -> String {
    format!("{middle:.2} ({low:.2}-{high:.2})")
}

fn walk_list(folder: &Path, list: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(wirelab_tests::lab::binary("dns-walk"));
    command.args(["-", "-4", "--no-dnssec", "--seed", "1", "--hints"]).arg(folder.join("hints"));
    command.args(more).stdin(Stdio::from(File::open(list).unwrap()));
    command
}

/// The whole process: it reads the list, walks, and writes JSON to `/dev/null`.
fn ours(folder: &Path, list: &Path) -> Round {
    let Cost { wall, cpu, stderr, ok, .. } = run(folder, &mut walk_list(folder, list, &[]), false);
    assert!(ok, "dns-walk: {stderr}");
    // "N names in S s (...): N answered, ..." and "N queries (...".
    let number = |line: usize, before: &str| -> f64 {
        let line = stderr.lines().nth(line).unwrap_or_default();
        let head = line.split(before).next().unwrap_or_default();
        head.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    Round {
        names: number(0, " answered"),
        wall_s: wall.as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        messages: number(1, " queries ("),
    }
}

/// Unbound, with the servers of com in its cache.
pub(crate) fn start_unbound(folder: &Path) -> Running {
    let limits = "  num-queries-per-thread: 4096\n  outgoing-range: 8192\n  \
                  msg-cache-size: 256m\n  rrset-cache-size: 256m\n";
    let config = unbound_config(folder, &(serving_at(UNBOUND) + limits));
    let server = Running::start("unbound", &[Path::new("-d"), Path::new("-c"), &config]);
    await_answer(UNBOUND, "com.", RecordType::NS, true);
    server
}

/// Unbound from its first query on.
fn unbound(folder: &Path, queries: &Path) -> Round {
    let server = start_unbound(folder);
    asked(folder, &server, UNBOUND, queries, 1)
}

/// A server under dnsperf, which sends the queries of the file so many times.
pub(crate) fn asked(
    folder: &Path,
    server: &Running,
    address: &str,
    queries: &Path,
    times: u32,
) -> Round {
    let before = server.cpu();
    let mut dnsperf = Command::new("dnsperf");
    dnsperf.args(["-s", address, "-n", &times.to_string(), "-c", "1", "-q", &OPEN.to_string()]);
    let Cost { stdout, stderr, ok, .. } = run(folder, dnsperf.arg("-d").arg(queries), true);
    assert!(ok, "dnsperf: {stderr}");
    let cpu_s = (server.cpu() - before).as_secs_f64();
    let figure = |label: &str| -> f64 {
        let rest = stdout.lines().find_map(|line| line.trim().strip_prefix(label));
        let word = rest.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let (names, wall_s) = (figure("Queries completed:"), figure("Run time (s):"));
    Round { names, wall_s, cpu_s, messages: 0.0 }
}

// ---- decoding alone -----------------------------------------------------------------------------

/// Messages of these kinds that hickory-proto decodes per second of one processor.
fn codec_limit(decoded: &[f64]) {
    const MESSAGES: usize = 200_000;
    let referral = await_answer(&servers(1)[0], "a7.com.", RecordType::A, false);
    let answer = await_answer(&servers(2)[0], "h0.a7.com.", RecordType::A, false);
    let rate = |messages: &[&[u8]]| {
        let rounds = (0..ROUNDS).map(|_| {
            let clock = Clock::start();
            for message in messages.iter().cycle().take(MESSAGES) {
                black_box(Message::from_vec(black_box(message)).unwrap());
            }
            MESSAGES as f64 / clock.now().since(Instant::ZERO).as_secs_f64()
        });
        spread(rounds.collect())
    };
    let limits = [rate(&[&referral, &answer]), rate(&[&answer])];
    println!("messages decoded per cpu second, against decoding them alone (hickory-proto)");
    for ((load, limit), decoded) in LOADS.iter().zip(limits).zip(decoded) {
        println!(
            "{:<34} dns-walk {decoded:>9.0}   alone {:>28}   {:.0} % of the limit, no target",
            load.name,
            limit.show(),
            100.0 * decoded / limit.middle
        );
    }
    println!();
}

// ---- memory -------------------------------------------------------------------------------------

/// Memory of walks in flight, all waiting for a server that never replies.
fn memory(folder: &Path) -> bool {
    let silent = UdpSocket::bind((SILENT, 53)).unwrap();
    let home = folder.join("silent");
    fs::create_dir_all(&home).unwrap();
    write_hints(&home, &[("ns.", SILENT.to_owned())]);
    let most = IN_FLIGHT.into_iter().max().unwrap_or_default();
    let list: PathBuf = home.join("names");
    let names = (0..2 * most).map(|n| format!("www.name-{n}.example\n"));
    fs::write(&list, names.collect::<String>()).unwrap();
    let resident = |in_flight: u64| {
        let count = in_flight.to_string();
        // Full names: with minimisation all would wait for one query about the top level.
        let more = ["--qmin", "off", "--in-flight", &count, "--per-server", &count];
        let mut command = walk_list(&home, &list, &more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Each has sent three queries by then; the first gives up after 6 s.
        sleep(Duration::from_secs(2));
        let bytes = resident_bytes(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        bytes as f64
    };
    let one = resident(1);
    println!("memory of walks in flight, resident, against one walk ({:.1} MB)", one / 1e6);
    let mut met = true;
    for in_flight in IN_FLIGHT {
        let bytes = (resident(in_flight) - one) / (in_flight - 1) as f64;
        met &= bytes <= WALK_BYTES_MAX;
        println!(
            "{in_flight:>7} in flight: {bytes:.0} bytes a walk, target <= {WALK_BYTES_MAX:.0}: {}",
            said(bytes <= WALK_BYTES_MAX)
        );
    }
    drop(silent);
    met
}
