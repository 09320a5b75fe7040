//! Answers equal Unbound's, and our authority equals NSD, on hierarchies drawn from seeds.
//!
//! It has a `main` of its own because a user namespace must be entered before any thread exists.
//! Everything happens in a network namespace with nothing but a loopback interface, so nothing can
//! leave the machine. It must never assert how fast anything is.
//!
//! `WIRELAB_FULL=1` draws 100 hierarchies instead of 20; `WIRELAB_DNS_SEEDS=1000` draws that many,
//! `=17..18` one.
//! With `WIRELAB_DNS_SIGNED=1` the root and most hierarchies are signed, some with a flaw, and the
//! verdicts are compared too.
//! With `WIRELAB_DNS_SHOW=1` their zones and servers are printed, and nothing is compared.
#![expect(clippy::print_stdout, reason = "it is its own test harness")]
#![expect(clippy::disallowed_methods, reason = "it waits for real servers")]

/// Zones from seeds.
#[path = "right_hierarchy.rs"]
mod hierarchy;
/// NSD, Unbound and our own.
#[path = "right_servers.rs"]
mod servers;
/// Signed zones and their parameters.
#[path = "right_signing.rs"]
mod signing;

use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Flaw, JUDGED};
use dns_walk::dnssec::Status;
use dns_walk::driver as net;
use dns_walk::event::{Event, Record, Summary, Transport};
use dns_walk::outcome::Outcome;
use dns_walk::question::{self};
use dns_walk::text::RecordText;
use dns_walk::text::{Question, name_text, record_text};
use dns_walk::walk::{Walk, WalkConfig};
use dns_walk::{Name, RecordType};
use hickory_proto::op::{Message, ResponseCode};
use hierarchy::{Hierarchy, Host};
use servers::{Folder, Running};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::{Delay, LinkPlan};
use wirelab::report::style::Style;
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;

/// Hierarchies of a usual run: the fewest in which both kinds of difference to Unbound occur, and
/// some more.
const SEEDS: Range<u64> = 40..60;
/// Those of a full run.
const SEEDS_FULL: Range<u64> = 0..100;
/// Questions that wait for an answer at once.
const IN_FLIGHT: usize = 64;
/// For how long to wait for one answer, and how often to ask: Unbound may take a minute to give up
/// a zone whose servers are dead.
const PATIENCE: Duration = Duration::from_secs(20);
const ASKED: u32 = 5;
/// How often to ask Unbound again where a walk differs: if one of two servers is asked first by
/// lot, all of so many tries begin with the same one once in 128.
const COLD_TRIES: u32 = 8;

/// Differences that are printed, at most.
const SHOWN: usize = 1000;

struct World {
    hierarchies: Vec<Hierarchy>,
    authority: Authority,
    folder: Folder,
    _servers: Vec<Running>,
    _ours: net::Serving,
    _dead: Vec<std::net::UdpSocket>,
}

type Case = (&'static str, fn(&World));
const CASES: &[Case] = &[
    ("our authority answers as NSD", authority_as_nsd),
    ("walks answer as Unbound", walks_as_unbound),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("WIRELAB_DNS_SHOW").is_some() {
        seeds().map(hierarchy::hierarchy).for_each(|hierarchy| show(&hierarchy));
        return ExitCode::SUCCESS;
    }
    if let Err(error) = acquire() {
        println!("{error}\nskipped: dns-right: this machine allows no network namespaces");
        return ExitCode::SUCCESS;
    }
    if !servers::have(&["nsd", "unbound", "unbound-control", "setpriv"]) {
        println!("skipped: dns-right: nsd, unbound with its control, or setpriv is not installed");
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let world = World::begin(seeds());
    println!(
        "{} hierarchies, {} zones, {} questions",
        world.hierarchies.len(),
        world.hierarchies.iter().map(|h| h.zones.len()).sum::<usize>(),
        world.hierarchies.iter().map(|h| h.questions.len()).sum::<usize>(),
    );
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let ok = catch_unwind(AssertUnwindSafe(|| case(&world))).is_ok();
        println!("{} {name}", if ok { "ok    " } else { "FAILED" });
        failed += usize::from(!ok);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("WIRELAB_DNS_SEEDS") else {
        let full = std::env::var_os("WIRELAB_FULL").is_some();
        return if full { SEEDS_FULL } else { SEEDS };
    };
    let number = |text: &str| -> u64 { text.parse().expect("a number, or FROM..TO") };
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

/// Prints a hierarchy, to look into a difference.
fn show(hierarchy: &Hierarchy) {
    println!("; hierarchy {}, in the root\n{}", hierarchy.seed, hierarchy.delegations.join("\n"));
    let plans = signing::plans(hierarchy);
    for zone in &hierarchy.zones {
        let hosts = zone.hosts.iter().map(|host| format!("{host:?} {}", host.addresses()[0]));
        let hosts: Vec<String> = hosts.collect();
        let signed = plans
            .get(&zone.origin)
            .map_or_else(|| "unsigned".to_owned(), |plan| format!("{plan:?}"));
        println!("\n; {} at {}; {signed}", zone.origin, hosts.join(", "));
        println!("{}", zone.lines.join("\n"));
    }
}

impl World {
    fn begin(seeds: Range<u64>) -> Self {
        // For good: all threads and programs of this process live there.
        Netns::new().and_then(|netns| netns.enter()).unwrap();
        servers::prepare_loopback();
        let hierarchies: Vec<Hierarchy> = seeds.map(hierarchy::hierarchy).collect();
        let folder = Folder::new();
        let authority = servers::authority(&hierarchies);
        let mut running: Vec<Running> = servers::real_hosts()
            .into_iter()
            .map(|host| servers::nsd(&folder.0, &hierarchies, &authority, host))
            .collect();
        running.push(servers::unbound(&folder.0));
        let ours = servers::faulty(&authority);
        let dead = servers::dead();
        for host in servers::real_hosts() {
            servers::await_server(servers::endpoint(&host.addresses()[0]));
        }
        servers::await_server(servers::UNBOUND.parse().unwrap());
        Self { hierarchies, authority, folder, _servers: running, _ours: ours, _dead: dead }
    }
}

/// Does `work` for all items, many at once, and gives the results in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(0..items.len());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| {
                loop {
                    let Some(at) = next.lock().unwrap().next() else { return };
                    let result = work(&items[at]);
                    results.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Differences, said all at once with how to see each again.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn none(self, of: usize) {
        let shown: Vec<&str> = self.0.iter().take(SHOWN).map(String::as_str).collect();
        assert!(
            self.0.is_empty(),
            "{} differences of {of}; WIRELAB_DNS_SEEDS=N..N+1 repeats hierarchy N alone:\n{}",
            self.0.len(),
            shown.join("\n")
        );
        println!("       {of} compared");
    }
}

// ---- our authority ------------------------------------------------------------------------------

/// What an authority says, as far as it is not left to the server.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    rcode: String,
    flags: Vec<String>,
    answers: BTreeSet<String>,
    authorities: BTreeSet<String>,
    glue: BTreeSet<String>,
}

fn said(bytes: &[u8]) -> Said {
    let message = Message::from_vec(bytes).unwrap();
    let texts = |records: &[hickory_proto::rr::Record]| {
        records.iter().map(|record| record_text(record).to_string()).collect()
    };
    let mut said = Said {
        rcode: question::rcode(&message),
        flags: question::flags(&message),
        answers: texts(&message.answers),
        authorities: texts(&message.authorities),
        glue: texts(&message.additionals),
    };
    // Beside an answer a server may say what it likes.
    if !message.answers.is_empty() && message.metadata.authoritative {
        said.authorities.retain(|text| !text.contains(" NS "));
        said.glue.clear();
    }
    said
}

/// The real servers that have a zone above the name; all others refuse.
fn hosts_of(hierarchy: &Hierarchy, name: &str) -> BTreeSet<Host> {
    let above = |origin: &str| name == origin || name.ends_with(&format!(".{origin}"));
    let zones = hierarchy.zones.iter().filter(|zone| above(&zone.origin));
    let hosts = zones.flat_map(|zone| zone.hosts.iter().copied());
    hosts.filter(|host| matches!(host, Host::Sound(_))).chain([Host::Sound(0)]).collect()
}

/// Whether a record is a DNAME whose target lies below its owner: each step makes the name longer.
/// Where to stop is left to each server.
fn leads_below_itself(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let at = words.iter().position(|word| *word == "DNAME");
    at.is_some_and(|at| words[at + 1].ends_with(&format!(".{}", words[0])))
}

fn authority_as_nsd(world: &World) {
    let mut asks = Vec::new();
    for hierarchy in &world.hierarchies {
        for (name, kind, why) in &hierarchy.questions {
            for host in hosts_of(hierarchy, name) {
                asks.push((hierarchy.seed, host, name, *kind, *why));
            }
        }
    }
    let compared = in_parallel(&asks, |(seed, host, name, kind, why)| {
        let [v4, _] = host.addresses();
        let query = servers::query(1, name, kind.parse_type(), false);
        let theirs = servers::exchange(servers::endpoint(&v4), &query, PATIENCE).unwrap();
        let ours = world.authority.reply(v4.parse().unwrap(), Transport::Tcp, &query).unwrap();
        let (theirs, ours) = (said(&theirs), said(&ours));
        (theirs != ours && !theirs.answers.iter().any(|text| leads_below_itself(text))).then(|| {
            format!(
                "hierarchy {seed}: {name} {kind} ({why}) at {v4}\n  NSD  {theirs:?}\n  \
                 ours {ours:?}"
            )
        })
    });
    Differences(compared.into_iter().flatten().collect()).none(asks.len());
}

trait ParseType {
    fn parse_type(&self) -> RecordType;
}

impl ParseType for &str {
    fn parse_type(&self) -> RecordType {
        match *self {
            "DNAME" => RecordType::DNAME,
            other => other.parse().unwrap(),
        }
    }
}

// ---- walks --------------------------------------------------------------------------------------

/// Reply to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    rcode: String,
    answers: BTreeSet<String>,
    /// The verdict over both; where it is bogus they are what came unchecked.
    security: Option<Status>,
}

fn without_ttl(record: &RecordText) -> String {
    format!("{} {} {}", record.name, record.kind, record.data)
}

fn ask(server: &str, name: &str, kind: RecordType) -> Option<Told> {
    let at: SocketAddr = server.parse().unwrap();
    // As a stub resolver does: where nothing comes in time, it asks again.
    let ask = |unchecked| {
        let query = servers::query_verdict(1, name, kind, unchecked);
        let reply = (0..ASKED).find_map(|_| servers::exchange(at, &query, PATIENCE))?;
        Some(Message::from_vec(&reply).unwrap())
    };
    let told = |message: &Message, security: Option<Status>| {
        let rcode = question::rcode(message);
        // What came before a failure is worth nothing to who asked.
        let answers = message.answers.iter().filter(|_| rcode != "SERVFAIL");
        let answers = answers.map(|record| without_ttl(&record_text(record))).collect();
        Told { rcode, answers, security: security.filter(|_| signing::wanted()) }
    };
    let message = ask(false)?;
    if message.metadata.response_code != ResponseCode::ServFail || !signing::wanted() {
        let secure = message.metadata.authentic_data;
        let status = if secure { Status::Secure } else { Status::Insecure };
        return Some(told(&message, Some(status)));
    }
    // A failure may be that of the verdict alone.
    let message = ask(true)?;
    let failed = message.metadata.response_code == ResponseCode::ServFail;
    Some(told(&message, Some(Status::Bogus).filter(|_| !failed)))
}

/// The same by a walk in virtual time, served by our authority.
fn walk(world: &World, name: &str, kind: RecordType, seed: u64) -> (Told, Vec<Record>) {
    let validate_at = Some(JUDGED).filter(|_| signing::wanted());
    let config = WalkConfig { public_only: false, validate_at, ..WalkConfig::default() };
    let question = Question::new(Name::from_ascii(name).unwrap(), kind);
    let start = Instant::ZERO;
    let walk =
        Walk::new(config, world.authority.hints(53), question, seed, Cache::default(), start);
    let mut reply =
        |to: SocketAddr, transport, query: &[u8]| world.authority.reply(to.ip(), transport, query);
    let delay = Duration::from_millis(1);
    let plan = LinkPlan { delay: Delay::Constant(delay), ..LinkPlan::default() };
    let (records, _) = dns_walk::sim::run(walk, start, &mut reply, &plan, delay, seed);
    let summary = summary_of(&records);
    let rcode = match summary.outcome {
        Outcome::Answer | Outcome::NoData => "NOERROR",
        Outcome::NxDomain => "NXDOMAIN",
        _ => "SERVFAIL",
    };
    let mut answers = BTreeSet::new();
    if rcode != "SERVFAIL" {
        let mut now = name_text(&Name::from_ascii(name).unwrap());
        for alias in &summary.aliases {
            if alias.kind == "DNAME" {
                let start = now.strip_suffix(&alias.name).unwrap();
                let next = format!("{start}{}", alias.data);
                answers.insert(format!("{now} CNAME {next}"));
                now = next;
            } else {
                now.clone_from(&alias.data);
            }
        }
        answers.extend(summary.aliases.iter().chain(&summary.answers).map(without_ttl));
    }
    let security = summary.security.as_ref().map(|security| security.status);
    let security = security.filter(|_| rcode != "SERVFAIL");
    (Told { rcode: rcode.to_owned(), answers, security }, records)
}

/// A reason, and whether it holds for what Unbound says and for the records of the walk.
type Exception = (&'static str, fn(&Told, &[Record]) -> bool);

/// Why a walk may differ from Unbound. Everything else is a mistake of ours.
const EXCEPTIONS: [Exception; 2] = [
    (
        "a DNAME leads below itself: the name grows with each step. Unbound stops somewhere and \
         gives the chain so far as an answer; the walk ends with too many aliases",
        |theirs, records| {
            let aliases = summary_of(records).aliases.iter();
            let mut all = aliases.map(without_ttl).chain(theirs.answers.iter().cloned());
            all.any(|text| leads_below_itself(&text))
        },
    ),
    (
        "a DNAME makes a name that is too long (YXDOMAIN, RFC 6672 §2.2). Unbound passes the code \
         on; the walk has no such outcome, and ends unanswered",
        |theirs, records| {
            theirs.rcode == "YXDOMAIN"
                && records.iter().any(|record| match &record.event {
                    Event::Exchange(exchange) => exchange.rcode.as_deref() == Some("YXDOMAIN"),
                    _ => false,
                })
        },
    ),
];

/// Unbound looks at the flag of revocation in trust anchors only (RFC 5011 §2.1); delv, asked the
/// same in `dnssec-delv`, judges as the walk does.
fn key_was_revoked(world: &World, open: &Open<'_>) -> bool {
    let Some(theirs) = &open.theirs else { return false };
    let same = theirs.rcode == open.ours.rcode && theirs.answers == open.ours.answers;
    let words = summary_of(&open.records).security.as_ref().map_or("", |s| s.words.as_str());
    let hierarchy = world.hierarchies.iter().find(|hierarchy| hierarchy.seed == open.asked.0);
    let plans = hierarchy.map(signing::plans).unwrap_or_default();
    let mut revoked = plans.iter().filter(|(_, plan)| plan.flaw == Some(Flaw::KeyRevoked));
    same && open.ours.security == Some(Status::Bogus)
        && revoked.any(|(zone, _)| words.contains(&format!("none of the keys of {zone} ")))
}

/// Where the server of an alias serves the zone of its end too, it gives both (RFC 1034 §4.3.2,
/// step 3a), and the walk believes it. Unbound asks the end's own servers, and fails where none can
/// be reached.
fn end_came_along(open: &Open<'_>) -> bool {
    let summary = summary_of(&open.records);
    let failed = |told: &Told| told.rcode == "SERVFAIL";
    let (false, Some(end)) = (summary.aliases.is_empty(), summary.answers.first()) else {
        return false;
    };
    let (_, _, kind, _) = open.asked;
    open.theirs.as_ref().is_some_and(failed)
        && ask(servers::UNBOUND, &end.name, kind.parse_type()).as_ref().is_some_and(failed)
}

fn summary_of(records: &[Record]) -> &Summary {
    match records.last().map(|record| &record.event) {
        Some(Event::Summary(summary)) => summary,
        _ => panic!("no summary"),
    }
}

/// A question about a hierarchy: its seed, name, type, and why it is asked.
type Asked<'a> = (u64, &'a String, &'static str, &'static str);

/// A walk that ended otherwise than Unbound, for no reason that [`EXCEPTIONS`] has.
struct Open<'a> {
    asked: Asked<'a>,
    theirs: Option<Told>,
    ours: Told,
    records: Vec<Record>,
    /// Unbound ended so too, once it knew nothing.
    reached: bool,
}

/// Asks Unbound again where it differs, with nothing in its caches. Where the servers of one zone
/// say different things, the end depends on who is asked first and on what is known already.
fn ask_again_cold(world: &World, open: &mut [Open<'_>]) {
    for _ in 0..COLD_TRIES {
        let mut left: Vec<&mut Open<'_>> = open.iter_mut().filter(|open| !open.reached).collect();
        while !left.is_empty() {
            // Questions about one hierarchy teach something for the next: one at a time.
            let mut seen = BTreeSet::new();
            let (now, later): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|open| seen.insert(open.asked.0));
            servers::make_cold(&world.folder.0);
            let told = in_parallel(&now, |open: &&mut Open<'_>| {
                let (_, name, kind, _) = open.asked;
                ask(servers::UNBOUND, name, kind.parse_type())
            });
            for (open, told) in now.into_iter().zip(told) {
                open.reached = told.as_ref() == Some(&open.ours);
            }
            left = later;
        }
    }
}

fn walks_as_unbound(world: &World) {
    let mut asks: Vec<Asked<'_>> = Vec::new();
    for hierarchy in &world.hierarchies {
        for (name, kind, why) in &hierarchy.questions {
            asks.push((hierarchy.seed, name, *kind, *why));
        }
    }
    let theirs =
        in_parallel(&asks, |(_, name, kind, _)| ask(servers::UNBOUND, name, kind.parse_type()));
    let ours =
        in_parallel(&asks, |(seed, name, kind, _)| walk(world, name, kind.parse_type(), *seed));
    let mut excepted = [0; EXCEPTIONS.len()];
    let mut open = Vec::new();
    for ((asked, theirs), (ours, records)) in asks.iter().zip(theirs).zip(ours) {
        if theirs.as_ref() == Some(&ours) {
            continue;
        }
        let reason = theirs
            .as_ref()
            .and_then(|theirs| EXCEPTIONS.iter().position(|(_, holds)| holds(theirs, &records)));
        match reason {
            Some(at) => excepted[at] += 1,
            None => open.push(Open { asked: *asked, theirs, ours, records, reached: false }),
        }
    }
    let (revoked, open): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|open| key_was_revoked(world, open));
    // It tries a dead server for minutes.
    let failed = |open: &Open<'_>| open.theirs.is_none() && open.ours.rcode == "SERVFAIL";
    let (silent, mut open): (Vec<_>, Vec<_>) = open.into_iter().partition(failed);
    ask_again_cold(world, &mut open);
    println!(
        "       {} excepted: Unbound has no answer after {} s, and no server has one for the walk",
        silent.len(),
        PATIENCE.as_secs() * u64::from(ASKED)
    );
    println!(
        "       {} excepted: a zone's key is revoked; Unbound looks at that in trust anchors only",
        revoked.len()
    );
    for ((why, _), count) in EXCEPTIONS.iter().zip(excepted) {
        println!("       {count} excepted: {why}");
    }
    let reached: Vec<&Open<'_>> = open.iter().filter(|open| open.reached).collect();
    let seeds: BTreeSet<u64> = reached.iter().map(|open| open.asked.0).collect();
    println!(
        "       {} as Unbound when asked again with empty caches; hierarchies {seeds:?}",
        reached.len()
    );
    let (along, open): (Vec<_>, Vec<_>) = open
        .into_iter()
        .filter(|open| !open.reached)
        .partition(|open| open.theirs.is_some() && end_came_along(open));
    println!(
        "       {} excepted: the end of an alias came along with it, and Unbound cannot reach the \
         end's own servers",
        along.len()
    );
    let mut differences = Differences::default();
    for Open { asked: (seed, name, kind, why), theirs, ours, records, .. } in &open {
        let name = name_text(&Name::from_ascii(name).unwrap());
        let tree = dns_walk::report::tree(records, Style { color: false, width: 160 });
        differences.0.push(format!(
            "hierarchy {seed}: {name} {kind} ({why})\n  Unbound {theirs:?}\n  \
             walk    {ours:?}\n{tree}"
        ));
    }
    differences.none(asks.len());
}
