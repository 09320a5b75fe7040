//! Priming (RFC 9609): what is asked beside the first question, what it teaches, and that a walk
//! neither waits for it nor fails with it.

use super::walk::{Ended, ONE_WAY, PORT, config, link, name, question, walk_with};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Manner, Variant};
use dns_walk::event::{AddressSource, Class, Event, Exchange, Purpose, Transport};
use dns_walk::hints::Hints;
use dns_walk::limits::{Limit, Limits};
use dns_walk::outcome::Outcome;
use dns_walk::sim::run;
use dns_walk::walk::{Walk, WalkConfig};
use hickory_proto::op::{Message, ResponseCode};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use wirelab::measure::{Instant, Ppm};

fn priming() -> WalkConfig {
    WalkConfig { prime: true, ..config() }
}

fn ip(third: u8, fourth: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 53, third, fourth))
}

/// Whether a query asks for the root's own list.
fn asks_for_the_list(query: &[u8]) -> bool {
    let message = Message::from_vec(query).unwrap();
    message.queries[0].name.is_root() && message.queries[0].query_type == "NS".parse().unwrap()
}

/// Walks through the sound hierarchy; `change` may alter what it says of the root's servers, or
/// keep it back.
fn walk(config: WalkConfig, seed: u64, change: impl Fn(Transport, &mut Message) -> bool) -> Ended {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
        let reply = authority.reply(to.ip(), over, query)?;
        if !asks_for_the_list(query) {
            return Some(reply);
        }
        let mut reply = Message::from_vec(&reply).unwrap();
        change(over, &mut reply).then(|| reply.to_vec().unwrap())
    };
    let hints = authority.hints(PORT);
    walk_with(hints, &mut responder, "www.igbank.com", config, Ppm::ZERO, seed)
}

fn primes(ended: &Ended) -> Vec<&Exchange> {
    ended.exchanges().filter(|exchange| exchange.purpose == Purpose::Prime).collect()
}

#[test]
fn the_root_is_asked_for_its_servers_and_nothing_waits_for_that() {
    let with = walk(priming(), 7, |_, _| true);
    let without = walk(config(), 7, |_, _| true);
    let [prime] = primes(&with)[..] else { panic!("not one query") };
    assert_eq!((prime.sent.name.as_str(), prime.sent.kind.as_str()), (".", "NS"));
    assert_eq!((&prime.class, prime.transport), (&Class::Answer, Transport::Udp));
    assert_eq!(prime.server.source, AddressSource::Hints);
    let learned: Vec<_> = prime.learned.iter().map(|l| l.record.data.as_str()).collect();
    assert_eq!(learned, ["a.root.", "b.root.", "127.53.0.1", "127.53.0.2"]);
    // It went out at the time of the user's own question.
    let first = with.exchanges().find(|exchange| exchange.purpose == Purpose::Answer).unwrap();
    assert_eq!(prime.sent_ns, first.sent_ns);
    let costs = |ended: &Ended| {
        let summary = &ended.summary;
        (summary.elapsed_ns, summary.best_path_ns, summary.steps)
    };
    assert_eq!(costs(&with), costs(&without));
    assert_eq!(with.summary.queries, without.summary.queries + 1);
    assert_eq!(with.data(), without.data());
    assert_eq!(with.codes(), without.codes());
}

#[test]
fn the_query_is_as_rfc_9609_wants_it() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut targets = BTreeSet::new();
    for seed in 0..20 {
        let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
            if asks_for_the_list(query) {
                let message = Message::from_vec(query).unwrap();
                assert!(!message.metadata.recursion_desired);
                assert!(message.edns.unwrap().max_payload() >= 1024);
                targets.insert(to);
            }
            authority.reply(to.ip(), over, query)
        };
        let hints = authority.hints(PORT);
        walk_with(hints, &mut responder, "www.igbank.com", priming(), Ppm::ZERO, seed);
    }
    assert_eq!(targets.len(), 2, "each server of the root is drawn");
}

#[test]
fn a_list_that_is_cut_short_is_asked_for_over_tcp() {
    let ended = walk(priming(), 7, |over, reply| {
        reply.metadata.truncation = over == Transport::Udp;
        true
    });
    let seen: Vec<_> = primes(&ended).iter().map(|e| (e.transport, e.class.clone())).collect();
    assert_eq!(seen, [(Transport::Udp, Class::Truncated), (Transport::Tcp, Class::Answer)]);
}

#[test]
fn without_the_list_the_walk_goes_on_with_the_hints() {
    let refuses = |_: Transport, reply: &mut Message| {
        reply.metadata.response_code = ResponseCode::Refused;
        reply.answers.clear();
        true
    };
    let silent = |_: Transport, _: &mut Message| false;
    let without = walk(config(), 7, |_, _| true);
    for (refused, ended) in
        [(true, walk(priming(), 7, refuses)), (false, walk(priming(), 7, silent))]
    {
        assert_eq!(ended.data(), without.data());
        assert_eq!(ended.summary.elapsed_ns, without.summary.elapsed_ns);
        assert!(ended.cache.get(Instant::ZERO, &name("."), "NS".parse().unwrap(), RANK).is_none());
        let codes = ended.codes();
        assert_eq!(codes.contains(&"SERVER_REFUSES".to_owned()), refused, "{codes:?}");
    }
    // With `--check` the hints are tested too: a few more queries, then none.
    let check = WalkConfig { check: true, ..priming() };
    let ended = walk(check, 7, silent);
    assert_eq!(primes(&ended).len(), 3);
    assert_eq!(ended.data(), without.data());
}

const RANK: dns_walk::trust::Rank = dns_walk::trust::Rank::Referral;

#[test]
fn the_last_query_of_the_budget_is_the_users() {
    for queries in 1..=4 {
        let limits = Limits { queries, ..Limits::default() };
        let ended = walk(WalkConfig { limits, ..priming() }, 7, |_, _| true);
        assert_eq!(ended.summary.queries, queries);
        match queries {
            4 => assert_eq!(ended.summary.outcome, Outcome::Answer),
            _ => assert_eq!(ended.summary.outcome, Outcome::Limit { limit: Limit::Queries }),
        }
        assert_eq!(primes(&ended).len(), usize::from(queries > 2), "{queries}");
    }
}

/// Walks from these hints through the sound hierarchy, whose root is at 127.53.0.1 and 127.53.0.2.
fn with_hints(lines: &str) -> Vec<String> {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut responder =
        |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
    let hints = Hints::parse(lines, PORT).unwrap();
    let ended = walk_with(hints, &mut responder, "www.igbank.com", priming(), Ppm::ZERO, 7);
    assert_eq!(ended.data(), ["203.0.113.80"], "{lines}");
    ended.summary.findings.iter().map(|finding| finding.fault.words()).collect()
}

#[test]
fn hints_that_are_not_what_the_root_says_are_found() {
    let a = "a.root A 127.53.0.1\n";
    let none: [&str; 0] = [];
    for (more, found) in [
        ("b.root A 127.53.0.2\n", &none[..]),
        ("", &["the root names b.root., the hints do not"]),
        (
            "b.root A 127.53.0.2\nold.root A 127.53.0.1\n",
            &["the hints name old.root., the root itself does not"],
        ),
        (
            "B.root A 127.53.0.1\n",
            &["for b.root. the hints have 127.53.0.1, the root itself 127.53.0.2"],
        ),
        (
            "b.root A 127.53.0.2\nb.root A 127.53.0.1\n",
            &["for b.root. the hints have 127.53.0.1, 127.53.0.2, the root itself 127.53.0.2"],
        ),
        // Records missing from the reply are not a difference.
        ("b.root A 127.53.0.2\nb.root AAAA fd00::99\n", &none[..]),
    ] {
        assert_eq!(with_hints(&(a.to_owned() + more)), found, "{more}");
    }
}

#[test]
fn the_broken_demonstration_has_old_hints_and_says_so() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut responder =
        |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
    let hints = authority.hints(PORT);
    let ended = walk_with(hints, &mut responder, ". NS", config(), Ppm::ZERO, 7);
    // The user's own question is the one that priming asks.
    assert_eq!((ended.summary.queries, primes(&ended).len()), (1, 0));
    let finding = &ended.summary.findings[0];
    assert_eq!(
        finding.fault.words(),
        "for b.root. the hints have 127.53.0.3, the root itself 127.53.0.2"
    );
    assert!(finding.fault.remedy().contains("named.root"));
}

/// A second walk with what the first one learned; its exchanges.
fn second(authority: &Authority, first: Cache, asked: &str, after: Duration, seed: u64) -> Ended {
    let mut responder =
        |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
    let at = Instant::ZERO + after;
    let walk = Walk::new(priming(), authority.hints(PORT), question(asked), seed, first, at);
    let (records, walk) = run(walk, at, &mut responder, &link(Ppm::ZERO), ONE_WAY, seed);
    let Some(Event::Summary(summary)) = records.last().map(|record| record.event.clone()) else {
        panic!("{asked} did not end with a summary");
    };
    Ended { records, summary: *summary, cache: walk.into_cache() }
}

#[test]
fn a_walk_that_knows_the_list_asks_for_it_no_more() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let first = walk(priming(), 7, |_, _| true);
    let again = |after_s| {
        let after = Duration::from_secs(after_s);
        let ended = second(&authority, first.cache.clone(), "edge.cdn.net", after, 7);
        primes(&ended).len()
    };
    // The list may be kept for six days.
    assert_eq!((again(1), again(518_399), again(518_401)), (0, 0, 1));
}

#[test]
fn an_address_that_the_root_left_out_stays_as_the_hints_have_it() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let first = walk(priming(), 7, |_, reply| {
        reply.additionals.retain(|record| record.name == name("a.root."));
        true
    });
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let ended = second(&authority, first.cache.clone(), "edge.cdn.net", ONE_WAY * 20, seed);
        let root = ended.exchanges().find(|exchange| exchange.zone == ".").unwrap();
        let from_hints = root.server.source == AddressSource::Hints;
        seen.insert((root.server.name.clone(), from_hints));
    }
    let both = [("a.root.".to_owned(), false), ("b.root.".to_owned(), true)];
    assert_eq!(seen, both.into_iter().collect());
}

#[test]
fn where_the_roots_own_list_leads_nowhere_the_hints_are_tried_again() {
    let mut authority = Authority::demo(Variant::Sound).unwrap();
    let hints = authority.hints(PORT);
    // Behind the addresses that the root gives no server answers; behind those of the hints, as
    // behind an address that a firewall translates, the servers do.
    for (last, behind) in [(1, 101), (2, 102)] {
        authority.add_host(ip(0, behind), vec![name(".")], Manner::Sound);
        authority.add_host(ip(0, last), vec![name(".")], Manner::Dead);
    }
    let moved = |address: IpAddr| if address == ip(0, 1) { ip(0, 101) } else { ip(0, 102) };
    let roots = hints.roots.into_iter().map(|(name, at)| (name, moved(at))).collect();
    let hints = Hints { roots, ..authority.hints(PORT) };
    let mut responder =
        |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
    // The alias leads to the root a second time, when the list is known.
    let ended = walk_with(hints, &mut responder, "shop.igbank.com", priming(), Ppm::ZERO, 7);
    assert_eq!(ended.data(), ["203.0.113.99"]);
    assert!(ended.codes().contains(&"HINTS_ADDRESSES_DIFFER".to_owned()), "{:?}", ended.codes());
    assert_eq!(primes(&ended).len(), 1, "it is not asked for twice");
}
