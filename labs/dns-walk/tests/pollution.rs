//! Polluted replies: servers and addresses that come unasked beside an answer, a denial or an alias
//! are never learned (CVE-2025-11411).

use super::walk::{PORT, config, name, question};
use dns_walk::batch::{BatchConfig, BatchResolver, QueryId};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Variant};
use dns_walk::trust::Rank;
use dns_walk::walk::WalkConfig;
use dns_walk::{Name, RecordType};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{A, NS};
use hickory_proto::rr::{RData, Record};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

const EVIL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
const TTL_S: u32 = 86_400;
/// Zones whose servers the forger would like to replace: the name's own, those above, a sibling.
const VICTIMS: [&str; 8] = [
    ".",
    "com.",
    "net.",
    "igbank.com.",
    "cdn.net.",
    "hoster.net.",
    "www.igbank.com.",
    "branch.igbank.com.",
];
/// Names of the forger's servers, and good ones whose address would be replaced.
const SERVERS: [&str; 7] = [
    "ns.evil.example.",
    "evil.igbank.com.",
    "evil.com.",
    "ns1.igbank.com.",
    "a.gtld-servers.net.",
    "ns.hoster.net.",
    "a.root.",
];
/// An answer, a denial of the name and of the type, an alias into another zone, a DNAME, a
/// wildcard.
const ASKED: [&str; 8] = [
    "www.igbank.com A",
    "nowhere.igbank.com A",
    "www.igbank.com AAAA",
    "shop.igbank.com A",
    "www.old.igbank.com A",
    "lisbon.branch.igbank.com A",
    "igbank.com MX",
    "edge.cdn.net A",
];

fn pick<'a>(of: &[&'a str], draw: u64) -> &'a str {
    of[usize::try_from(draw % 1_000).unwrap() % of.len()]
}

/// Adds the forger's servers, with their addresses, to an authoritative reply.
fn pollute(reply: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(reply).ok()?;
    if !message.metadata.authoritative || message.queries[0].query_type == RecordType::NS {
        return None;
    }
    for round in 0..1 + keyed(seed, 1) % 3 {
        let draw = |salt| keyed(seed, round << 8 | salt);
        let victim = match draw(2) % 3 {
            0 => message.queries[0].name.clone(),
            _ => name(pick(&VICTIMS, draw(3))),
        };
        let server = name(pick(&SERVERS, draw(4)));
        let ns = Record::from_rdata(victim, TTL_S, RData::NS(NS(server.clone())));
        let glue = Record::from_rdata(server, TTL_S, RData::A(A(EVIL)));
        match draw(5) % 4 {
            0 => message.add_answer(ns),
            _ => message.add_authority(ns),
        };
        match draw(6) % 4 {
            0 => message.add_answer(glue),
            1 => message.add_authority(glue),
            _ => message.add_additional(glue),
        };
    }
    message.to_vec().ok()
}

/// Forged records in the cache.
fn learned(cache: &Cache, now: Instant) -> Vec<String> {
    let names = VICTIMS.iter().chain(&SERVERS).map(|text| name(text));
    let asked = ASKED.iter().map(|text| question(text).name);
    let all: Vec<Name> = names.chain(asked).collect();
    let sets = all.iter().flat_map(|name| {
        [RecordType::NS, RecordType::A].map(|kind| cache.get(now, name, kind, Rank::Glue))
    });
    let records = sets.flatten().flat_map(|entry| &entry.records);
    let text = records.map(ToString::to_string);
    text.filter(|record| record.contains("evil") || record.contains("203.0.113.66")).collect()
}

/// Asks until so many replies were polluted; every walk goes on with what all before it learned.
fn poison(judged: bool, wanted: u64) {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let validate_at = judged.then_some(dns_walk::demo::JUDGED);
    let walk = WalkConfig { validate_at, summary_only: true, ..config() };
    let config = BatchConfig { walk, in_flight: 8, per_server: 8 };
    let (mut polluted, mut seed) = (0, 0);
    while polluted < wanted {
        let cache = Cache::default();
        let mut batch = BatchResolver::new(config, authority.hints(PORT), seed, cache);
        let mut waiting: VecDeque<&str> =
            (0..40).map(|at| pick(&ASKED, keyed(seed, 1_000 + at))).collect();
        let mut arriving: VecDeque<(Instant, QueryId, SocketAddr, Vec<u8>)> = VecDeque::new();
        let mut now = Instant::ZERO;
        loop {
            while batch.has_room()
                && let Some(asked) = waiting.pop_front()
            {
                batch.ask(now, question(asked), 0);
            }
            while batch.poll_release().is_some() {}
            while batch.poll_event().is_some() {}
            while let Some(query) = batch.poll_transmit() {
                let reply = authority.reply(query.to.ip(), query.transport, &query.bytes).unwrap();
                polluted += 1;
                let reply = pollute(&reply, keyed(seed, polluted)).unwrap_or_else(|| {
                    polluted -= 1;
                    reply
                });
                arriving.push_back((now + Duration::from_millis(2), query.query, query.to, reply));
            }
            match (arriving.pop_front(), batch.poll_timeout()) {
                (Some((at, query, from, reply)), _) => {
                    now = at;
                    batch.handle_reply(now, query, from, &reply);
                }
                (None, Some(at)) => {
                    now = at;
                    batch.handle_timeout(now);
                }
                (None, None) => break,
            }
            let found = learned(batch.cache(), now);
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
        seed += 1;
    }
}

/// Polluted replies of each test.
const WANTED: u64 = 5_000;

#[test]
fn servers_that_come_unasked_are_never_learned() {
    poison(false, WANTED);
}

#[test]
fn nor_where_signatures_are_judged() {
    poison(true, WANTED);
}
