//! Verdicts on signed zones, good and broken, equal those of BIND's delv.
//!
//! The zones are signed by dnssec-signzone and served by NSD; what no tool would sign is changed on
//! the way. The real dns-walk walks from the root; delv asks a server that has every zone. It has a
//! `main` of its own because a user namespace must be entered before any thread exists. It must
//! never let a difference pass that is not explained by name.
//!
//! A usual run has every flaw with one algorithm; `WIRELAB_FULL=1` has good zones of every
//! algorithm and denial too.
#![expect(clippy::print_stdout, reason = "it is its own test harness")]
#![expect(clippy::disallowed_methods, reason = "it waits for real servers")]

/// Zone contents that no tool signs.
#[path = "delv_lies.rs"]
mod lies;
/// Real servers, and addresses for them; of the zones made from seeds only the hosts are used.
#[path = "right_servers.rs"]
#[expect(dead_code, reason = "the comparison of answers uses the rest")]
mod servers;
/// How zones made from seeds are signed.
#[path = "right_signing.rs"]
mod signing;
/// A question and its expected result.
#[path = "delv_cases.rs"]
mod table;
/// The zones.
#[path = "delv_zones.rs"]
mod zones;

#[path = "right_hierarchy.rs"]
#[expect(dead_code, reason = "the comparison of answers uses the rest")]
mod hierarchy;

use dns_walk::Name;
use hickory_proto::op::{Message, ResponseCode};
use lies::{Keys, Secret, Told};
use servers::{Folder, Running, program};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use table::{BROKEN, Broken, Denial, EXPLAINED, Explained, GOOD, Good, SPECIAL, UNSIGNED};
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;
use zones::{Ds, Sign, Zone};

/// Questions that are asked at once: each is a process or two that mostly wait.
const AT_ONCE: usize = 4;
/// Seconds after which a program is ended: both give up far earlier by themselves.
const PATIENCE_S: &str = "60";

/// How far something is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Secure,
    Insecure,
    Indeterminate,
    Bogus,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Secure => "secure",
            Self::Insecure => "insecure",
            Self::Indeterminate => "indeterminate",
            Self::Bogus => "bogus",
        })
    }
}

/// A verdict, and why.
#[derive(Clone, Debug)]
struct Judged {
    verdict: Verdict,
    why: String,
}

/// A question, and what should come of it.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    kind: &'static str,
    want: Verdict,
    lied: bool,
}

struct World {
    folder: Folder,
    cases: Vec<Case>,
    anchor: PathBuf,
    delvs_anchor: PathBuf,
    hints: PathBuf,
    /// Whether Unbound is installed for comparison.
    unbound: bool,
    _servers: Vec<Running>,
}

/// Verdicts of the three validators on one question.
struct Opinions {
    delv: Judged,
    unbound: Option<Judged>,
    ours: Judged,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = acquire() {
        println!("{error}\nskipped: dnssec-delv: this machine allows no network namespaces");
        return ExitCode::SUCCESS;
    }
    if !servers::have(&["nsd", "delv", "dnssec-signzone", "dnssec-keygen", "setpriv", "timeout"]) {
        println!("skipped: dnssec-delv: nsd, delv, dnssec-signzone or setpriv is not installed");
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let world = World::begin();
    let wanted = |case: &&Case| filter.as_ref().is_none_or(|filter| case.name.contains(filter));
    let cases: Vec<&Case> = world.cases.iter().filter(wanted).collect();
    let said = world.ask_all(&cases);
    if compare(&cases, &said, filter.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether an explanation is about a case.
fn is_about(row: &Explained, case: &Case) -> bool {
    row.zones.iter().any(|zone| {
        let named = |(relative, kind): &(&str, &str)| {
            case.name == full(relative, zone) && *kind == case.kind
        };
        let below = case.name.strip_suffix(zone);
        let within = below.is_some_and(|below| below.is_empty() || below.ends_with('.'));
        if row.asked.is_empty() { within } else { row.asked.iter().any(named) }
    })
}

/// Says what was compared; whether every verdict is equal, or explained.
fn compare(cases: &[&Case], said: &[Opinions], all: bool) -> bool {
    let (mut wrong, mut unbounds) = (0, 0);
    let mut used = vec![0; EXPLAINED.len()];
    let mut counts: BTreeMap<(bool, Verdict), usize> = BTreeMap::new();
    for (case, Opinions { delv, unbound, ours }) in cases.iter().zip(said) {
        *counts.entry((case.lied, delv.verdict)).or_default() += 1;
        unbounds += usize::from(unbound.is_some());
        let (name, kind) = (&case.name, case.kind);
        let third = unbound.as_ref().map(|judged| judged.verdict.to_string());
        let third = third.as_deref().unwrap_or("not asked");
        let line = format!(
            "{name} {kind}: delv {} ({}), dns-walk {} ({}), unbound {third}",
            delv.verdict, delv.why, ours.verdict, ours.why
        );
        let row = EXPLAINED.iter().position(|row| is_about(row, case));
        let want = row.map_or([case.want; 3], |at| {
            used[at] += 1;
            let row = &EXPLAINED[at];
            [row.delv, row.unbound, row.ours]
        });
        let third = unbound.as_ref().map_or(want[1], |judged| judged.verdict);
        if [delv.verdict, third, ours.verdict] != want {
            println!("FAILED {line}; expected {}, unbound {}, {}", want[0], want[1], want[2]);
            wrong += 1;
        } else if std::env::var_os("WIRELAB_VERBOSE").is_some() {
            println!("ok     {line}");
        }
    }
    for ((lied, verdict), count) in counts {
        println!(
            "{count:4} {verdict} by delv, of {}",
            if lied { "broken zones" } else { "others" }
        );
    }
    for (row, count) in EXPLAINED.iter().zip(&used).filter(|(_, count)| **count > 0) {
        let Explained { delv, unbound, ours, because, .. } = row;
        println!("{count:4} differ: delv {delv}, unbound {unbound}, dns-walk {ours}: {because}");
    }
    println!(
        "{} verdicts compared with delv's, {unbounds} with unbound's, of {} kinds of broken zones: \
         {} differ as explained, {wrong} wrong",
        cases.len(),
        BROKEN.iter().filter(|one| one.want == Verdict::Bogus).count(),
        used.iter().sum::<usize>()
    );
    let idle = all && used.contains(&0);
    if idle {
        println!("FAILED an explanation is there for what is no longer asked");
    }
    wrong == 0 && !idle
}

/// The name of a question of a zone: `@` is the zone itself.
fn full(relative: &str, origin: &str) -> String {
    if relative == "@" { origin.to_owned() } else { format!("{relative}.{origin}") }
}

impl World {
    fn begin() -> Self {
        // For good: all threads and programs of this process live there.
        Netns::new().and_then(|netns| netns.enter()).unwrap();
        servers::prepare_loopback();
        let folder = Folder::new();
        let at = folder.0.clone();
        let mut cases = Vec::new();
        let mut all: Vec<Zone> = Vec::new();
        for tld in ["test.", "three.", "out."] {
            tops(&at, tld, &mut all, &mut cases);
        }
        let broken = broken(&at, &mut all, &mut cases);
        let root = root(&at, &all);
        let (anchor, delvs_anchor) = zones::anchors(&at, &root);
        let hints = at.join("hints");
        fs::write(&hints, format!("ns. A {}\n", zones::ROOT)).unwrap();
        all.push(root);
        let mut running = Vec::new();
        for host in [zones::ROOT, zones::TLD, zones::LEAF, zones::SUB] {
            let own: Vec<&Zone> = all.iter().filter(|zone| zone.host == host).collect();
            running.push(zones::serve(&at, host, &own));
        }
        running.push(zones::serve(&at, zones::ALL, &all.iter().collect::<Vec<_>>()));
        let broken = Arc::new(broken);
        let unbound = servers::have(&["unbound"]);
        lies::stand(zones::LYING_TLD, zones::TLD, &broken);
        lies::stand(zones::LYING_LEAF, zones::LEAF, &broken);
        lies::stand(zones::LYING_ALL, zones::ALL, &broken);
        if unbound {
            running.push(zones::unbound(&at, &anchor));
        } else {
            println!("skipped: dnssec-delv: unbound is not installed, its opinion is missing");
        }
        Self { folder, cases, anchor, delvs_anchor, hints, unbound, _servers: running }
    }

    /// Asks all, several questions at once, in order.
    fn ask_all(&self, cases: &[&Case]) -> Vec<Opinions> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                let Some(case) = cases.get(at) else { return done };
                let unbound = self.unbound.then(|| unbound(case));
                done.push((at, Opinions { delv: self.delv(case), unbound, ours: self.walk(case) }));
            }
        };
        let mut all: Vec<(usize, Opinions)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, said)| said).collect()
    }

    fn delv(&self, case: &Case) -> Judged {
        let server = if case.lied { zones::LYING_ALL } else { zones::ALL };
        let mut command = program("timeout");
        command.args([PATIENCE_S, "delv", "-4", "-p", "53", "+root=.", "-a"]);
        command.arg(&self.delvs_anchor).arg(format!("@{server}")).args([&case.name, case.kind]);
        command.current_dir(&self.folder.0).stdin(Stdio::null());
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        let mut worst: Option<Judged> = None;
        for line in text.lines() {
            let failed = line.strip_prefix(";; resolution failed: ");
            let verdict = match failed {
                Some(why) if why.starts_with("ncache") => continue,
                Some(_) => Verdict::Bogus,
                None if line.starts_with("; ") && line.ends_with("fully validated") => {
                    Verdict::Secure
                }
                None if line.starts_with("; ") && line.ends_with("unsigned answer") => {
                    Verdict::Insecure
                }
                None => continue,
            };
            if worst.as_ref().is_none_or(|known| verdict > known.verdict) {
                let why = failed.unwrap_or_else(|| line.trim_start_matches("; ")).to_owned();
                worst = Some(Judged { verdict, why });
            }
        }
        let none = || Judged { verdict: Verdict::Indeterminate, why: format!("says {text:?}") };
        worst.unwrap_or_else(none)
    }

    fn walk(&self, case: &Case) -> Judged {
        let mut command = program("timeout");
        command.arg(PATIENCE_S).arg(env!("CARGO_BIN_EXE_dns-walk"));
        command.args([
            &case.name,
            case.kind,
            "--json",
            "--no-report",
            "--seed",
            "1",
            "--special-names",
        ]);
        command.arg("--hints").arg(&self.hints).arg("--anchor").arg(&self.anchor);
        command.current_dir(&self.folder.0).stdin(Stdio::null());
        let out = command.output().unwrap();
        let document = serde_json::from_slice::<serde_json::Value>(&out.stdout);
        let complaint = || {
            let text = String::from_utf8_lossy(&out.stderr);
            Judged { verdict: Verdict::Indeterminate, why: format!("complains {text:?}") }
        };
        let Ok(document) = document else { return complaint() };
        let last = document["walks"][0].as_array().and_then(|walk| walk.last()).unwrap();
        let security = &last["security"];
        let verdict = match security["status"].as_str() {
            Some("secure") => Verdict::Secure,
            Some("insecure") => Verdict::Insecure,
            Some("bogus") => Verdict::Bogus,
            _ => Verdict::Indeterminate,
        };
        let why = format!("{}: {}", last["outcome"], security["words"]).replace('"', "");
        Judged { verdict, why }
    }
}

/// A validating resolver's opinion, by flag and code (RFC 4035 §3.2.3, §5.5).
fn unbound(case: &Case) -> Judged {
    let kind = case.kind.parse().unwrap();
    let mut query = servers::query(7, &case.name, kind, true);
    // AD: the flag is understood (RFC 6840 §5.7).
    query[3] |= 0x20;
    let at = servers::endpoint(zones::UNBOUND);
    let reply = servers::exchange(at, &query, Duration::from_secs(20));
    let reply = reply.and_then(|bytes| Message::from_vec(&bytes).ok());
    let Some(meta) = reply.map(|message| message.metadata) else {
        return Judged { verdict: Verdict::Indeterminate, why: "no reply".to_owned() };
    };
    let verdict = match meta.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain if meta.authentic_data => Verdict::Secure,
        ResponseCode::NoError | ResponseCode::NXDomain => Verdict::Insecure,
        _ => Verdict::Bogus,
    };
    Judged { verdict, why: meta.response_code.to_string() }
}

/// A top-level domain with its zones, all served honestly.
fn tops(folder: &std::path::Path, tld: &str, all: &mut Vec<Zone>, cases: &mut Vec<Case>) {
    let mut below: Vec<Zone> = Vec::new();
    let every = std::env::var_os("WIRELAB_FULL").is_some();
    let wanted = |good: &&Good| good.tlds.contains(&tld) && (every || good.is_usual());
    for good in GOOD.iter().filter(wanted) {
        let origin = format!("{}.{tld}", good.label);
        let lines = zones::leaf(&origin, zones::LEAF);
        let sign = Sign { algorithm: good.algorithm, words: good.denial.words(), ds: good.ds() };
        below.push(zones::make(folder, &origin, zones::LEAF, &lines, sign));
        let sub = format!("sub.{origin}");
        all.push(zones::make(folder, &sub, zones::SUB, &zones::sub(&sub), UNSIGNED));
        for (relative, kind, want) in good.questions(tld) {
            cases.push(Case { name: full(relative, &origin), kind, want, lied: false });
        }
    }
    for special in SPECIAL.iter().filter(|_| tld == "test.") {
        let origin = format!("{}.{tld}", special.label);
        let lines = zones::leaf(&origin, zones::LEAF);
        below.push(zones::make(folder, &origin, zones::LEAF, &lines, special.sign));
        for (relative, kind) in special.ask {
            let (name, want) = (full(relative, &origin), special.want);
            cases.push(Case { name, kind, want, lied: false });
        }
    }
    let refer: Vec<(&Zone, &str)> = below.iter().map(|zone| (zone, zones::LEAF)).collect();
    let lines = zones::delegating(tld, zones::TLD, &refer);
    let (algorithm, words): (&str, &[&str]) = match tld {
        "three." => ("ECDSAP384SHA384", Denial::Nsec3.words()),
        "out." => ("ED25519", Denial::OptOut.words()),
        _ => ("RSASHA256", Denial::Nsec.words()),
    };
    let sign = Sign { algorithm: Some(algorithm), words, ds: Ds::Right };
    let zone = zones::make(folder, tld, zones::TLD, &lines, sign);
    for (relative, kind, want) in table::of_tld(tld) {
        cases.push(Case { name: full(relative, tld), kind, want, lied: false });
    }
    all.append(&mut below);
    all.push(zone);
}

/// The zones about which is lied, and those that are signed wrongly.
fn broken(
    folder: &std::path::Path,
    all: &mut Vec<Zone>,
    cases: &mut Vec<Case>,
) -> BTreeMap<Name, Told> {
    let mut below: Vec<(Zone, &Broken)> = Vec::new();
    for one in BROKEN {
        let origin = format!("{}.broken.", one.label);
        let lines = zones::leaf(&origin, zones::LYING_LEAF);
        below.push((zones::make(folder, &origin, zones::LEAF, &lines, one.sign), one));
        for (relative, kind) in one.ask {
            cases.push(Case { name: full(relative, &origin), kind, want: one.want, lied: true });
        }
    }
    let refer: Vec<(&Zone, &str)> =
        below.iter().map(|(zone, _)| (zone, zones::LYING_LEAF)).collect();
    let lines = zones::delegating("broken.", zones::LYING_TLD, &refer);
    let sign = Sign { algorithm: Some("ECDSAP256SHA256"), words: &[], ds: Ds::Right };
    let tld = zones::make(folder, "broken.", zones::TLD, &lines, sign);
    let keys = |zone: &Zone| Keys {
        zone: Name::from_ascii(&zone.origin).unwrap(),
        ksk: Secret::read(folder, &zone.keys[0]),
        zsk: Secret::read(folder, &zone.keys[1]),
    };
    let parent = Arc::new(keys(&tld));
    let told = below.iter().filter_map(|(zone, one)| {
        let (own, parent) = (one.lie.map(|liar| (keys(zone), liar))?, Arc::clone(&parent));
        Some((own.0.zone.clone(), Told { own: own.0, parent, liar: own.1 }))
    });
    let told = told.collect();
    all.extend(below.into_iter().map(|(zone, _)| zone));
    all.push(tld);
    told
}

fn root(folder: &std::path::Path, all: &[Zone]) -> Zone {
    let tops = all.iter().filter(|zone| zone.origin.matches('.').count() == 1);
    let address = |zone: &Zone| {
        if zone.origin == "broken." { zones::LYING_TLD } else { zones::TLD }
    };
    let refer: Vec<(&Zone, &str)> = tops.map(|zone| (zone, address(zone))).collect();
    let lines = zones::delegating(".", zones::ROOT, &refer);
    let sign = Sign { algorithm: Some("RSASHA256"), words: &[], ds: Ds::Right };
    zones::make(folder, ".", zones::ROOT, &lines, sign)
}
