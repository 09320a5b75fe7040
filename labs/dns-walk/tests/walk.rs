//! The walk in virtual time: right answers through every fault and through loss, forgers, and the
//! records it leaves.

use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, FAULTS, JUDGED, Manner, Variant, Zone};
use dns_walk::event::{Class, Event, Exchange, Purpose, Qmin, Record, Summary, Transport};
use dns_walk::limits::Limits;
use dns_walk::outcome::Outcome;
use dns_walk::sim::{Responder, run};
use dns_walk::text::Question;
use dns_walk::text::StrayReason;
use dns_walk::trust::DropReason;
use dns_walk::walk::{AttemptId, Walk, WalkConfig};
use dns_walk::{Name, RecordType};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{Delay, LinkPlan, LossModel};

pub(crate) const PORT: u16 = 5300;
pub(crate) const ONE_WAY: Duration = Duration::from_millis(1);

/// The walk's own questions alone; priming has tests of its own.
pub(crate) fn config() -> WalkConfig {
    WalkConfig { public_only: false, prime: false, ..WalkConfig::default() }
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

pub(crate) fn question(text: &str) -> Question {
    let (asked, kind) = text.split_once(' ').unwrap_or((text, "A"));
    Question::new(name(asked), kind.parse().unwrap())
}

pub(crate) fn link(loss: Ppm) -> LinkPlan {
    let loss = if loss == Ppm::ZERO { LossModel::None } else { LossModel::Iid(loss) };
    LinkPlan { delay: Delay::Constant(ONE_WAY), loss, ..LinkPlan::default() }
}

/// Artefacts of a walk.
pub(crate) struct Ended {
    pub(crate) records: Vec<Record>,
    pub(crate) summary: Summary,
    pub(crate) cache: Cache,
}

impl Ended {
    pub(crate) fn data(&self) -> Vec<&str> {
        self.summary.answers.iter().map(|record| record.data.as_str()).collect()
    }

    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.records.iter().filter_map(|record| match &record.event {
            Event::Exchange(exchange) => Some(exchange.as_ref()),
            _ => None,
        })
    }

    /// The codes of the findings, as the JSON has them.
    pub(crate) fn codes(&self) -> Vec<String> {
        let code = |finding: &_| {
            let json = serde_json::to_value(finding).unwrap();
            json["code"].as_str().unwrap().to_owned()
        };
        self.summary.findings.iter().map(code).collect()
    }
}

/// Walks against any servers.
pub(crate) fn walk_with(
    hints: dns_walk::hints::Hints,
    responder: &mut Responder<'_>,
    asked: &str,
    config: WalkConfig,
    loss: Ppm,
    seed: u64,
) -> Ended {
    let walk = Walk::new(config, hints, question(asked), seed, Cache::default(), Instant::ZERO);
    let (records, walk) = run(walk, Instant::ZERO, responder, &link(loss), ONE_WAY, seed);
    let Some(Event::Summary(summary)) = records.last().map(|record| record.event.clone()) else {
        panic!("{asked} with seed {seed} did not end with a summary");
    };
    Ended { records, summary: *summary, cache: walk.into_cache() }
}

pub(crate) fn walk_at(
    authority: &Authority,
    asked: &str,
    config: WalkConfig,
    loss: Ppm,
    seed: u64,
) -> Ended {
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    walk_with(authority.hints(PORT), &mut responder, asked, config, loss, seed)
}

fn demo(variant: Variant, asked: &str) -> Ended {
    walk_at(&Authority::demo(variant).unwrap(), asked, config(), Ppm::ZERO, 7)
}

#[test]
fn the_sound_hierarchy_answers_as_rfc_1034_says() {
    let (a, b) = ("203.0.113.80", "203.0.113.99");
    for (asked, outcome, data) in [
        ("www.igbank.com A", Outcome::Answer, vec![a]),
        ("WWW.IgBank.COM A", Outcome::Answer, vec![a]),
        ("igbank.com MX", Outcome::Answer, vec!["10 mail.igbank.com."]),
        ("login.igbank.com AAAA", Outcome::Answer, vec!["2001:db8:53::81"]),
        ("shop.igbank.com A", Outcome::Answer, vec![b]),
        ("shop.igbank.com CNAME", Outcome::Answer, vec!["edge.cdn.net."]),
        ("lisbon.branch.igbank.com A", Outcome::Answer, vec!["203.0.113.90"]),
        ("a.b.branch.igbank.com A", Outcome::Answer, vec!["203.0.113.90"]),
        ("www.old.igbank.com A", Outcome::Answer, vec![a]),
        ("igbank.com NS", Outcome::Answer, vec!["ns1.igbank.com.", "ns2.igbank.com."]),
        ("com NS", Outcome::Answer, vec!["a.gtld-servers.net.", "b.gtld-servers.net."]),
        (". NS", Outcome::Answer, vec!["a.root.", "b.root."]),
        ("www.igbank.com AAAA", Outcome::NoData, vec![]),
        // The name exists only because there are names below it.
        ("lobby.deep.igbank.com A", Outcome::NoData, vec![]),
        ("cdn.net DS", Outcome::NoData, vec![]),
        ("nowhere.igbank.com A", Outcome::NxDomain, vec![]),
        ("www.nowhere.example A", Outcome::NxDomain, vec![]),
    ] {
        for qmin in [Qmin::Off, Qmin::Relaxed, Qmin::Strict] {
            let authority = Authority::demo(Variant::Sound).unwrap();
            let config = WalkConfig { qmin, ..config() };
            let ended = walk_at(&authority, asked, config, Ppm::ZERO, 7);
            assert_eq!(ended.summary.outcome, outcome, "{asked}, {qmin:?}");
            assert_eq!(ended.data(), data, "{asked}, {qmin:?}");
            assert!(!ended.codes().iter().any(|code| code != "SINGLE_SERVER"), "{asked}");
            assert!(ended.summary.queries <= 8, "{asked}: {} queries", ended.summary.queries);
        }
    }
}

#[test]
fn servers_above_are_told_no_more_than_they_need() {
    let told = |qmin| {
        let authority = Authority::demo(Variant::Sound).unwrap();
        let config = WalkConfig { qmin, ..config() };
        let ended = walk_at(&authority, "login.igbank.com AAAA", config, Ppm::ZERO, 7);
        let sent = ended.exchanges().map(|e| format!("{} {}", e.sent.name, e.sent.kind));
        sent.map(|text| text.to_lowercase()).collect::<Vec<_>>()
    };
    let whole = "login.igbank.com. aaaa";
    assert_eq!(told(Qmin::Relaxed), ["com. a", "igbank.com. a", whole]);
    assert_eq!(told(Qmin::Off), [whole, whole, whole]);
}

#[test]
fn every_named_fault_is_met_and_named() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    for fault in FAULTS {
        for seed in 0..20 {
            let all = fault.name == "old-copy";
            let validate_at = (fault.code == Some("SERVER_BOGUS")).then_some(JUDGED);
            let config = WalkConfig { check: true, all, prime: true, validate_at, ..config() };
            let ended = walk_at(&authority, fault.ask, config, Ppm::ZERO, seed);
            let codes = ended.codes();
            let named = fault.code.is_none_or(|code| codes.iter().any(|found| found == code));
            assert!(named, "{} with seed {seed}: found {codes:?}", fault.name);
            let expected = match fault.name {
                "alias-loop" => "AliasLoop",
                "other-soa" => "NoData",
                "glue-cycle" | "no-glue" | "upward" | "babble" | "silent-zone" => "Unanswered",
                _ => "Answer",
            };
            let outcome = format!("{:?}", ended.summary.outcome);
            assert!(outcome.starts_with(expected), "{} with seed {seed}: {outcome}", fault.name);
        }
    }
}

/// The zone that separates the tools: a dead server, one that refuses, a delegation that differs on
/// both sides, an alias into another zone.
fn broken_zone(loss: Ppm) -> Vec<u64> {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut elapsed_ms = Vec::new();
    for seed in 0..100 {
        let config = WalkConfig { check: true, ..config() };
        let ended = walk_at(&authority, "www.igbank.com A", config, loss, seed);
        let Ended { summary, .. } = &ended;
        assert_eq!(ended.data(), ["203.0.113.99"], "seed {seed}: {:?}", summary.outcome);
        assert!(summary.queries <= summary.budget, "seed {seed}");
        let codes = ended.codes();
        for (code, server) in [
            ("SERVER_UNRESPONSIVE", Some("ns2.igbank.com.")),
            ("SERVER_REFUSES", Some("ns.hoster.net.")),
            ("NS_NOT_IN_CHILD", None),
        ] {
            let named = (0..codes.len())
                .any(|at| codes[at] == code && summary.findings[at].server.as_deref() == server);
            assert!(named, "seed {seed}: {code} of {server:?} is missing in {codes:?}");
        }
        elapsed_ms.push(summary.elapsed_ns / 1_000_000);
    }
    elapsed_ms.sort_unstable();
    elapsed_ms
}

#[test]
fn the_broken_zone_is_right_100_of_100_and_every_fault_is_named() {
    let elapsed_ms = broken_zone(Ppm::ZERO);
    // Virtual time: the same on every machine.
    assert!(elapsed_ms[50] < 500 && elapsed_ms[99] < 2_000, "{elapsed_ms:?}");
}

#[test]
fn the_broken_zone_is_right_100_of_100_through_10_percent_loss() {
    let elapsed_ms = broken_zone(Ppm::new(100_000).unwrap());
    assert!(elapsed_ms[50] < 500 && elapsed_ms[99] < 2_000, "{elapsed_ms:?}");
}

#[test]
fn a_reply_that_is_cut_short_is_asked_for_again_over_tcp() {
    let ended = demo(Variant::Sound, "big.igbank.com TXT");
    assert_eq!(ended.summary.answers.len(), 8);
    let last: Vec<_> = ended.exchanges().filter(|e| e.zone == "igbank.com.").collect();
    assert_eq!((&last[0].class, last[0].transport), (&Class::Truncated, Transport::Udp));
    assert_eq!((&last[1].class, last[1].transport), (&Class::Answer, Transport::Tcp));
    assert_eq!(last[0].server, last[1].server);
    // Without EDNS a plain datagram does as well, for what fits.
    let plain = WalkConfig { edns: false, ..config() };
    let authority = Authority::demo(Variant::Sound).unwrap();
    let ended = walk_at(&authority, "www.igbank.com A", plain, Ppm::ZERO, 1);
    assert!(ended.exchanges().all(|e| e.edns.is_none() && e.bytes_sent < 40));
}

#[test]
fn a_circle_of_aliases_is_told_once_around() {
    let ended = demo(Variant::Broken, "loop.igbank.com A");
    let told: Vec<_> = ended.summary.aliases.iter().map(|alias| alias.data.as_str()).collect();
    assert_eq!(told, ["loop2.igbank.com.", "loop3.igbank.com.", "loop.igbank.com."]);
    let back = Outcome::AliasLoop { at: "loop.igbank.com.".to_owned() };
    assert_eq!(ended.summary.outcome, back);
    // A DNAME moves a whole branch, and is shown by its target.
    let ended = demo(Variant::Sound, "www.old.igbank.com A");
    assert_eq!(ended.summary.aliases[0].data, "igbank.com.");
}

#[test]
fn a_server_without_edns_is_asked_plainly_and_remembered() {
    let ended = demo(Variant::Broken, "www.noedns.com A");
    let classes: Vec<_> = ended.exchanges().skip(2).map(|e| e.class.clone()).collect();
    assert_eq!(classes, [Class::NoEdns, Class::Answer]);
}

#[test]
fn what_a_server_says_of_others_is_dropped_with_the_reason() {
    let ended = demo(Variant::Broken, "www.liar.com A");
    assert_eq!(ended.data(), ["203.0.113.100"]);
    let last = ended.exchanges().last().unwrap();
    let lie = last.dropped.iter().find(|d| d.record.name == "www.igbank.com.").unwrap();
    assert_eq!((lie.why, lie.record.data.as_str()), (DropReason::OutOfBailiwick, "203.0.113.66"));
    assert!(ended.codes().contains(&"OUT_OF_BAILIWICK".to_owned()));
    // And it is not in the cache for the next walk.
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let at = Instant::ZERO + Duration::from_secs(1);
    let asked = question("www.igbank.com A");
    let walk = Walk::new(config(), authority.hints(PORT), asked, 1, ended.cache, at);
    let (records, _) = run(walk, at, &mut responder, &link(Ppm::ZERO), ONE_WAY, 1);
    let Event::Summary(summary) = &records.last().unwrap().event else { panic!() };
    assert_eq!(summary.answers[0].data, "203.0.113.99");
}

#[test]
fn a_missing_address_is_walked_for_below_the_step_that_needs_it() {
    // Both servers with an address are useless, so the third one's address is needed.
    let mut authority = Authority::demo(Variant::Broken).unwrap();
    let ip = |last| IpAddr::V4(Ipv4Addr::new(127, 53, 2, last));
    authority.add_host(ip(1), vec![], Manner::Sound);
    let hoster = IpAddr::V4(Ipv4Addr::new(127, 53, 3, 1));
    let zones = ["hoster.net.", "cdn.net.", "igbank.com."].map(name);
    authority.add_host(hoster, zones.to_vec(), Manner::Sound);
    let ended = walk_at(&authority, "www.igbank.com A", config(), Ppm::ZERO, 3);
    assert_eq!(ended.data(), ["203.0.113.99"]);
    let needed: Vec<_> = ended
        .exchanges()
        .filter(
            |e| matches!(&e.purpose, Purpose::Address { server, .. } if server == "ns.hoster.net."),
        )
        .collect();
    let step = ended.exchanges().find(|e| e.zone == "igbank.com.").unwrap().step;
    assert_eq!(needed.len(), 3, "root, net., hoster.net.");
    assert!(needed.iter().all(|e| e.parent == Some(step)));
}

#[test]
fn a_second_walk_asks_nothing_and_a_neighbour_little() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let first = demo(Variant::Sound, "www.igbank.com A");
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let mut again = |asked: &str, after_s: u64| {
        let at = Instant::ZERO + Duration::from_secs(after_s);
        let (asked, cache) = (question(asked), first.cache.clone());
        let walk = Walk::new(config(), authority.hints(PORT), asked, 1, cache, at);
        let (records, _) = run(walk, at, &mut responder, &link(Ppm::ZERO), ONE_WAY, 1);
        let Event::Summary(summary) = &records.last().unwrap().event else { panic!() };
        assert_eq!(summary.outcome, Outcome::Answer);
        (summary.queries, summary.cache_hits)
    };
    assert_eq!(again("www.igbank.com A", 299), (0, 1));
    // Its own TTL is over, the delegation's is not.
    assert_eq!(again("www.igbank.com A", 301), (1, 0));
    assert_eq!(again("login.igbank.com A", 1), (1, 0));
    assert_eq!(again("edge.cdn.net A", 1), (3, 0));
}

#[test]
fn absences_are_remembered_and_cover_what_lies_below() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let first = demo(Variant::Sound, "nowhere.igbank.com A");
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let at = Instant::ZERO + Duration::from_secs(10);
    let below = question("deep.nowhere.igbank.com MX");
    let walk = Walk::new(config(), authority.hints(PORT), below, 1, first.cache, at);
    let (records, _) = run(walk, at, &mut responder, &link(Ppm::ZERO), ONE_WAY, 1);
    let Event::Summary(summary) = &records.last().unwrap().event else { panic!() };
    assert_eq!((&summary.outcome, summary.queries), (&Outcome::NxDomain, 0));
}

#[test]
fn a_forger_is_counted_shown_and_not_believed() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let asked = question("www.igbank.com A");
    let hints = authority.hints(PORT);
    let mut walk = Walk::new(config(), hints, asked, 7, Cache::default(), Instant::ZERO);
    let sent = walk.poll_transmit().unwrap();
    let right = authority.reply(sent.to.ip(), Transport::Udp, &sent.bytes).unwrap();
    let elsewhere: SocketAddr = "127.0.0.9:53".parse().unwrap();
    let now = Instant::ZERO + ONE_WAY;
    let mut wrong_id = right.clone();
    wrong_id[0] ^= 1;
    let mut wrong_question = right.clone();
    wrong_question[13] = b'x';
    walk.handle_reply(now, sent.attempt, elsewhere, &right);
    walk.handle_reply(now, sent.attempt, sent.to, &wrong_id);
    walk.handle_reply(now, sent.attempt, sent.to, &wrong_question);
    walk.handle_reply(now, sent.attempt, sent.to, &sent.bytes);
    walk.handle_reply(now, AttemptId(99), sent.to, &right);
    assert!(walk.poll_transmit().is_none(), "nothing of that was an answer");
    walk.handle_reply(now, sent.attempt, sent.to, &right);
    assert!(walk.poll_transmit().is_some(), "the wait went on, and the right reply counts");
    let mut strays = Vec::new();
    while let Some(record) = walk.poll_event() {
        if let Event::Stray(stray) = record.event {
            strays.push(stray.why);
        }
    }
    use StrayReason::{NotAReply, NothingOpen, WrongAddress, WrongId, WrongQuestion};
    assert_eq!(strays, [WrongAddress, WrongId, WrongQuestion, NotAReply, NothingOpen]);
}

#[test]
fn other_capitals_are_proved_over_a_connection() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        let mut reply = authority.reply(to.ip(), transport, query)?;
        if transport == Transport::Udp {
            reply[13..].make_ascii_lowercase();
        }
        Some(reply)
    };
    let hints = authority.hints(PORT);
    let ended = walk_with(hints, &mut responder, "www.igbank.com", config(), Ppm::ZERO, 7);
    assert_eq!(ended.data(), ["203.0.113.80"]);
    assert!(ended.exchanges().any(|e| e.class == Class::CaseLost));
    assert!(ended.codes().contains(&"SERVER_CHANGES_CASE".to_owned()));
}

#[test]
fn addresses_of_the_users_own_network_are_not_asked() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let public = WalkConfig { public_only: true, ..config() };
    let ended = walk_at(&authority, "www.igbank.com A", public, Ppm::ZERO, 7);
    assert_eq!(ended.summary.queries, 0);
    let unanswered = Outcome::Unanswered { zone: ".".to_owned(), any_reply: false };
    assert_eq!(ended.summary.outcome, unanswered);
}

#[test]
fn silence_everywhere_ends_in_time_and_says_so() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut silent = |_: SocketAddr, _: Transport, _: &[u8]| None;
    let hints = authority.hints(PORT);
    let ended = walk_with(hints, &mut silent, "www.igbank.com", config(), Ppm::ZERO, 7);
    let silent = Outcome::Unanswered { zone: ".".to_owned(), any_reply: false };
    assert_eq!(ended.summary.outcome, silent);
    assert!(ended.summary.elapsed_ns < Limits::default().time_ns);
    assert_eq!(ended.codes(), ["SERVER_UNRESPONSIVE", "SERVER_UNRESPONSIVE"]);
}

#[test]
fn roots_that_answer_as_resolvers_are_not_themselves() {
    let mut authority = Authority::demo(Variant::Sound).unwrap();
    for last in [1, 2] {
        let root = IpAddr::V4(Ipv4Addr::new(127, 53, 0, last));
        let everything = [".", "com.", "igbank.com."].map(name);
        authority.add_host(root, everything.to_vec(), Manner::Resolver);
    }
    let ended = walk_at(&authority, "www.igbank.com A", config(), Ppm::ZERO, 7);
    let unanswered = Outcome::Unanswered { zone: ".".to_owned(), any_reply: true };
    assert_eq!(ended.summary.outcome, unanswered);
    assert!(ended.codes().contains(&"ROOT_INTERCEPTED".to_owned()), "{:?}", ended.codes());
}

#[test]
fn the_same_seed_is_the_same_walk_and_another_is_another() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let loss = Ppm::new(100_000).unwrap();
    let at = |seed| {
        let ended = walk_at(&authority, "www.igbank.com A", config(), loss, seed);
        serde_json::to_string(&ended.records).unwrap()
    };
    assert_eq!(at(5), at(5));
    assert_ne!(at(5), at(6));
}

/// A hierarchy made of a seed: chains of zones, glue or none, aliases, dead and refusing servers.
fn made_hierarchy(seed: u64) -> (Authority, Vec<String>) {
    let draw = |key: u64, below: u64| keyed(seed, key) % below;
    let ip = |n: u64| IpAddr::V4(Ipv4Addr::from(0x7f36_0000 + u32::try_from(n).unwrap() + 1));
    let zones = 3 + draw(0, 6);
    // Each zone lies below an earlier one.
    let mut origins = vec![".".to_owned()];
    let mut texts = vec!["@ 60 SOA a.root. h.root. 1 1 1 1 60\n@ 60 NS a.root.\n".to_owned()];
    let mut authority = Authority::new(vec![(name("a.root."), ip(0))]);
    texts[0] += &format!("a.root. 60 A {}\n", ip(0));
    let mut asked = Vec::new();
    for n in 1..=zones {
        let parent = usize::try_from(draw(10 * n, n)).unwrap();
        let above = origins[parent].trim_start_matches('.').to_owned();
        let origin = format!("z{n}.{above}");
        let mut text = format!("@ 60 SOA s.{origin} h.{origin} 1 1 1 1 60\n");
        let servers = 1 + draw(10 * n + 1, 3);
        for k in 0..servers {
            let sound = k == 0;
            let address = ip(16 * n + k);
            // A server elsewhere has its address in the root's zone, so it must be walked for.
            let inside = draw(100 * n + k, 3) > 0;
            let server = if inside { format!("s{k}.{origin}") } else { format!("s{n}x{k}.far.") };
            texts[parent] += &format!("{origin} 60 NS {server}\n");
            text += &format!("@ 60 NS {server}\n");
            let record = format!("{server} 60 A {address}\n");
            if inside {
                texts[parent] += &record;
                text += &record;
            } else {
                texts[0] += &record;
            }
            let manner = match (sound, draw(1_000 * n + k, 4)) {
                (true, _) | (false, 0) => Manner::Sound,
                (false, 1) => Manner::Dead,
                (false, 2) => Manner::Resolver,
                (false, _) => Manner::NoEdns,
            };
            authority.add_host(address, vec![name(&origin)], manner);
        }
        text += &format!("www 60 A 192.0.2.{n}\n*.wild 60 A 192.0.2.{n}\n");
        text += &format!("deep.er.node 60 TXT n{n}\n");
        let to = 1 + draw(10 * n + 2, n);
        if let Some(target) = origins.get(usize::try_from(to).unwrap()) {
            text += &format!("alias 60 CNAME www.{target}\n");
            asked.push(format!("alias.{origin} A"));
        }
        for question in ["www A", "any.wild A", "er.node A", "none A", "www MX"] {
            let (label, kind) = question.split_once(' ').unwrap();
            asked.push(format!("{label}.{origin} {kind}"));
        }
        origins.push(origin);
        texts.push(text);
    }
    for (origin, text) in origins.iter().zip(&texts) {
        authority.add_zone(Zone::parse(&name(origin), text).unwrap());
    }
    authority.add_host(ip(0), vec![Name::root()], Manner::Sound);
    (authority, asked)
}

#[test]
fn made_hierarchies_are_resolved_as_their_zones_say() {
    for seed in 0..200 {
        let (authority, asked) = made_hierarchy(seed);
        for (n, asked) in asked.iter().enumerate() {
            let walk_seed = seed * 100 + n as u64;
            let config = WalkConfig { prime: true, ..config() };
            let ended = walk_at(&authority, asked, config, Ppm::ZERO, walk_seed);
            let outcome = &ended.summary.outcome;
            let expected = match asked.split(['.', ' ']).next().unwrap() {
                "none" => Outcome::NxDomain,
                "er" => Outcome::NoData,
                "www" if asked.ends_with("MX") => Outcome::NoData,
                _ => Outcome::Answer,
            };
            assert_eq!(*outcome, expected, "hierarchy {seed}, {asked}, walk seed {walk_seed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Servers whose replies are damaged anywhere: the walk ends, within its budget and its time.
    #[test]
    fn damaged_replies_end_a_walk_within_its_budget(
        seed: u64,
        damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..40),
    ) {
        let authority = Authority::demo(Variant::Broken).unwrap();
        let mut turn = 0;
        let mut sent = 0_u32;
        let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
            sent += 1;
            let mut reply = authority.reply(to.ip(), transport, query)?;
            let (at, with) = damage[turn % damage.len()];
            turn += 1;
            let length = reply.len();
            // Behind the number, so that most replies are looked into.
            reply[2 + usize::from(at) % (length - 2)] ^= with;
            Some(reply)
        };
        let config = WalkConfig { check: true, prime: true, ..config() };
        let hints = authority.hints(PORT);
        let ended = walk_with(hints, &mut responder, "www.igbank.com", config, Ppm::ZERO, seed);
        let limits = Limits::default();
        prop_assert!(sent <= limits.queries);
        prop_assert!(ended.summary.elapsed_ns <= limits.time_ns);
    }
}

#[test]
fn the_records_of_the_demo_walk_are_those_of_the_file() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let config = WalkConfig { check: true, prime: true, ..config() };
    let ended = walk_at(&authority, "www.igbank.com A", config, Ppm::ZERO, 7);
    let line = |record| serde_json::to_string(record).unwrap() + "\n";
    let now: String = ended.records.iter().map(line).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/broken.ndjson");
    if std::env::var_os("WIRELAB_BLESS").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    let renew = "WIRELAB_BLESS=1 cargo test --test suite the_records_of_the_demo";
    for (number, (kept, now)) in kept.lines().zip(now.lines()).enumerate() {
        assert_eq!(kept, now, "line {}; where the change is meant: {renew}", number + 1);
    }
    assert_eq!(kept.lines().count(), now.lines().count(), "where this is meant: {renew}");
    for line in kept.lines() {
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line, "a record can be read again");
    }
}

#[test]
fn every_record_is_as_the_schema_says() {
    let schema = serde_json::from_str(dns_walk::report::events_schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let authority = Authority::demo(Variant::Broken).unwrap();
    for asked in FAULTS.map(|fault| fault.ask) {
        let config = WalkConfig { check: true, messages: true, prime: true, ..config() };
        let ended = walk_at(&authority, asked, config, Ppm::new(50_000).unwrap(), 3);
        for record in &ended.records {
            let value = serde_json::to_value(record).unwrap();
            let wrong: Vec<String> =
                schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert_eq!(wrong, Vec::<String>::new(), "{asked}: {value}");
            let mut more = value;
            more["surprise"] = 1.into();
            assert!(!schema.is_valid(&more), "an unknown field must not pass");
        }
    }
}

#[test]
fn the_type_of_a_question_may_be_any() {
    let ended = demo(Variant::Sound, "igbank.com ANY");
    assert_eq!(ended.summary.outcome, Outcome::Answer);
    let kinds: BTreeSet<&str> =
        ended.summary.answers.iter().map(|answer| answer.kind.as_str()).collect();
    assert!(["SOA", "NS", "MX"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert_eq!(question("x. A").kind, RecordType::A);
}
