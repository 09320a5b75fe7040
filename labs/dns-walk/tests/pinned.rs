//! The records of many walks, pinned by a digest: what a walk asks, learns, finds and writes down,
//! and in which order, over lossy paths and from servers that fail in every way.

use super::walk::{PORT, config, question};
use dns_walk::batch::{BatchConfig, BatchResolver};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, FAULTS, JUDGED, SIGNATURE_FAULTS, Variant};
use dns_walk::event::{Qmin, Record, Transport};
use dns_walk::limits::Limits;
use dns_walk::walk::{Walk, WalkConfig};
use hickory_proto::op::{Message, ResponseCode};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

const SEEDS: u64 = 40;

/// FNV-1a, 64 bits: changes are to be noticed, not withstood.
struct Digest {
    hash: u64,
    records: u64,
}

impl Digest {
    const fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, records: 0 }
    }

    fn add(&mut self, tag: u64, record: &Record) {
        self.records += 1;
        let line = format!("{tag} {}\n", serde_json::to_string(record).unwrap());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What happens to one reply: of a hundred, `faulty` are changed.
fn spoil(draw: u64, faulty: u64, over: Transport, bytes: Vec<u8>) -> Vec<u8> {
    if draw % 100 >= faulty {
        return bytes;
    }
    let Ok(mut message) = Message::from_vec(&bytes) else { return bytes };
    match (draw >> 8) % 16 {
        0 if over == Transport::Udp => message.metadata.truncation = true,
        1 => message.metadata.response_code = ResponseCode::ServFail,
        2 => message.metadata.response_code = ResponseCode::Refused,
        3 => message.metadata.authoritative = false,
        4 => {
            message.metadata.response_code = ResponseCode::FormErr;
            message.edns = None;
        }
        5 => message.additionals.clear(),
        6 => message.authorities.clear(),
        7 => message.answers.clear(),
        8 => message.queries[0].name = message.queries[0].name.to_lowercase(),
        9 => message.metadata.id ^= 1,
        10 => return bytes[..bytes.len() / 2].to_vec(),
        11 => message.metadata.response_code = ResponseCode::NXDomain,
        12 => message.metadata.response_code = ResponseCode::BADVERS,
        13 => message.edns = None,
        14 => message.metadata.response_code = ResponseCode::NotImp,
        _ => message.metadata.recursion_available = true,
    }
    message.to_vec().unwrap()
}

type Arrival<Id> = (Instant, u64, Id, SocketAddr, Option<Vec<u8>>);

/// A path with draws of its own: delay, loss, copies, refusals of the host.
struct Path<'a, Id> {
    authority: &'a Authority,
    seed: u64,
    sent: u64,
    lost: u64,
    faulty: u64,
    /// Arrival, order, query, sender; no bytes where nothing listens.
    arriving: BinaryHeap<Reverse<Arrival<Id>>>,
}

impl<'a, Id: Ord + Copy> Path<'a, Id> {
    fn new(authority: &'a Authority, seed: u64, lost: u64, faulty: u64) -> Self {
        Self { authority, seed, sent: 0, lost, faulty, arriving: BinaryHeap::new() }
    }

    fn send(&mut self, now: Instant, id: Id, to: SocketAddr, over: Transport, bytes: &[u8]) {
        self.sent += 1;
        let draw = |what: u64| keyed(self.seed, self.sent << 8 | what);
        if draw(1) % 100 < self.lost && over == Transport::Udp {
            return;
        }
        let ip = if draw(2) % 100 < self.lost { "192.0.2.1".parse().unwrap() } else { to.ip() };
        let Some(reply) = self.authority.reply(to.ip(), over, bytes) else { return };
        let reply = spoil(draw(3), self.faulty, over, reply);
        let refused = draw(4) % 100 < self.lost;
        let copies = 1 + u64::from(draw(5) % 100 < self.lost);
        for copy in 0..copies {
            let at = now + Duration::from_micros(500 + draw(6 + copy) % 60_000);
            let from = SocketAddr::new(ip, to.port());
            let bytes = (!refused).then(|| reply.clone());
            self.arriving.push(Reverse((at, self.sent << 1 | copy, id, from, bytes)));
        }
    }

    /// The next datagram within `timeout`.
    fn next(
        &mut self,
        timeout: Option<Instant>,
    ) -> Option<(Instant, Id, SocketAddr, Option<Vec<u8>>)> {
        let Reverse((at, ..)) = self.arriving.peek()?;
        if timeout.is_some_and(|timeout| timeout < *at) {
            return None;
        }
        self.arriving.pop().map(|Reverse((at, _, id, from, bytes))| (at, id, from, bytes))
    }
}

fn walk(
    asked: &str,
    config: WalkConfig,
    mut path: Path<'_, dns_walk::walk::AttemptId>,
    cache: Cache,
    digest: &mut Digest,
) -> Cache {
    let hints = path.authority.hints(PORT);
    let (mut now, seed) = (Instant::ZERO + Duration::from_secs(path.seed), path.seed);
    let mut walk = Walk::new(config, hints, question(asked), seed, cache, now);
    loop {
        while let Some(query) = walk.poll_transmit() {
            path.send(now, query.attempt, query.to, query.transport, &query.bytes);
        }
        while walk.poll_release().is_some() {}
        while let Some(record) = walk.poll_event() {
            digest.add(seed, &record);
        }
        let Some(timeout) = walk.poll_timeout() else { return walk.into_cache() };
        match path.next(Some(timeout)) {
            Some((at, id, from, bytes)) => {
                now = now.max(at);
                match bytes {
                    Some(bytes) => walk.handle_reply(now, id, from, &bytes),
                    None => walk.handle_unreachable(now, id, "refused"),
                }
            }
            None => {
                now = now.max(timeout);
                walk.handle_timeout(now);
            }
        }
        if keyed(seed, 99).is_multiple_of(23) && path.sent > 5 {
            walk.cancel(now);
        }
    }
}

fn batch(config: BatchConfig, mut path: Path<'_, dns_walk::batch::QueryId>, digest: &mut Digest) {
    let hints = path.authority.hints(PORT);
    let mut now = Instant::ZERO;
    let mut fleet = BatchResolver::new(config, hints, path.seed, Cache::default());
    let names = names();
    let seed = path.seed;
    let pick = |tag| names[usize::try_from(keyed(seed, tag) % 1_000).unwrap() % names.len()];
    let mut waiting = (0..80_u64).map(|tag| (tag, pick(tag)));
    let mut next = waiting.next();
    loop {
        while fleet.has_room()
            && let Some((tag, asked)) = next.take()
        {
            fleet.ask(now, question(asked), tag);
            next = waiting.next();
        }
        while fleet.poll_release().is_some() {}
        while let Some(query) = fleet.poll_transmit() {
            path.send(now, query.query, query.to, query.transport, &query.bytes);
        }
        while let Some((tag, record)) = fleet.poll_event() {
            digest.add(tag, &record);
        }
        let Some(timeout) = fleet.poll_timeout() else { return };
        if fleet.is_idle() && next.is_none() {
            return;
        }
        match path.next(Some(timeout)) {
            Some((at, id, from, bytes)) => {
                now = now.max(at);
                match bytes {
                    Some(bytes) => fleet.handle_reply(now, id, from, &bytes),
                    None => fleet.handle_unreachable(now, id, "refused"),
                }
            }
            None => {
                now = now.max(timeout);
                fleet.handle_timeout(now);
            }
        }
    }
}

/// Names with faults, and without.
fn names() -> Vec<&'static str> {
    let faulty = FAULTS.iter().map(|fault| fault.ask);
    let signed = SIGNATURE_FAULTS.iter().map(|fault| fault.ask);
    let others = [
        "www.igbank.com A",
        "shop.igbank.com A",
        "igbank.com MX",
        "lobby.deep.igbank.com A",
        "a.b.branch.igbank.com A",
        "www.old.igbank.com A",
        "nowhere.igbank.com A",
        "www.nowhere.example A",
        "igbank.com DS",
        ". NS",
        "printer.local A",
    ];
    faulty.chain(signed).chain(others).collect()
}

/// Ways to walk, each with its name.
fn ways() -> Vec<(&'static str, WalkConfig)> {
    let usual = WalkConfig { prime: true, messages: true, ..config() };
    let tight = Limits { queries: 12, depth: 2, referrals: 3, step_attempts: 4, ..usual.limits };
    let judged = WalkConfig { validate_at: Some(JUDGED), ..usual };
    vec![
        ("usual", usual),
        ("plain", WalkConfig { qmin: Qmin::Off, edns: false, random_case: false, ..config() }),
        ("strict", WalkConfig { qmin: Qmin::Strict, cookies: false, ..usual }),
        ("tcp", WalkConfig { tcp: true, ..usual }),
        ("tight", WalkConfig { limits: tight, ..judged }),
        ("check", WalkConfig { check: true, ..usual }),
        ("all", WalkConfig { all: true, ..judged }),
        ("judged", judged),
        ("v6", WalkConfig { v4: false, check: true, ..usual }),
        ("v4", WalkConfig { v6: false, ..judged }),
    ]
}

#[test]
fn the_records_of_many_walks_are_those_of_the_file() {
    let servers = [
        ("sound", Authority::demo(Variant::Sound).unwrap()),
        ("broken", Authority::demo(Variant::Broken).unwrap()),
        ("dual", Authority::demo_dual(Variant::Broken).unwrap()),
    ];
    let mut now = String::new();
    for (which, authority) in &servers {
        for (how, config) in ways() {
            let (mut digest, mut cache) = (Digest::new(), Cache::default());
            let names = names();
            for seed in 0..SEEDS {
                let asked = names[usize::try_from(seed).unwrap() * 7 % names.len()];
                let path = Path::new(authority, seed, seed % 7, seed % 5 * 8);
                let known = if seed % 3 == 0 { Cache::default() } else { cache };
                cache = walk(asked, config, path, known, &mut digest);
            }
            writeln!(now, "{which} {how} {} {:016x}", digest.records, digest.hash).unwrap();
            let mut digest = Digest::new();
            let limits = Limits { cache_entries: 300, ..config.limits };
            for (seed, per_server) in [(1, 1), (2, 3), (3, 100)] {
                let config = WalkConfig { limits, ..config };
                let config = BatchConfig { walk: config, in_flight: 30, per_server };
                batch(config, Path::new(authority, seed, 3, 5), &mut digest);
            }
            writeln!(now, "{which} {how} batch {} {:016x}", digest.records, digest.hash).unwrap();
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pinned.txt");
    if std::env::var_os("WIRELAB_BLESS").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    let renew = "WIRELAB_BLESS=1 cargo test -p dns-walk --test suite pinned";
    assert_eq!(kept, now, "where the change is meant: {renew}");
}
