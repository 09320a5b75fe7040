//! Odd hierarchies and odd timing: replies that all come late, a zone whose own list of servers is
//! worse than the one above, a server that has a zone and those below it, one that knows no EDNS.

use super::walk::{PORT, config, name, question, walk_at};
use dns_walk::cache::Cache;
use dns_walk::cookie::Cookie;
use dns_walk::demo::{Authority, JUDGED, Manner, SignPlan, Variant, Zone};
use dns_walk::dnssec::Status;
use dns_walk::entropy::{SECRET_LEN, Secret};
use dns_walk::event::{Exchange, Purpose};
use dns_walk::hints::Hints;
use dns_walk::limits::Limits;
use dns_walk::outcome::Outcome;
use dns_walk::survey::levels;
use dns_walk::walk::{Walk, WalkConfig};
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use wirelab::measure::{Instant, Ppm};

#[test]
fn replies_that_come_late_and_all_at_once_do_not_double_the_attempts_of_a_step() {
    let most = usize::try_from(Limits::default().step_attempts).unwrap();
    let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let roots = (1..=13).map(|last| (name("a.root."), address(last))).collect();
    let asked = question("com A");
    let hints = Hints::new(roots, PORT);
    let mut walk = Walk::new(config(), hints, asked, 1, Cache::default(), Instant::ZERO);
    let (mut sent, mut now) = (Vec::new(), Instant::ZERO);
    loop {
        sent.extend(std::iter::from_fn(|| walk.poll_transmit()));
        if sent.len() >= most {
            break;
        }
        now = walk.poll_timeout().expect("nothing more was sent, and the walk has ended");
        walk.handle_timeout(now);
    }
    assert_eq!(sent.len(), most);
    for query in sent {
        let mut reply = Message::from_vec(&query.bytes).unwrap();
        reply.metadata.message_type = hickory_proto::op::MessageType::Response;
        reply.metadata.truncation = true;
        let bytes = reply.to_vec().unwrap();
        walk.handle_reply(now, query.attempt, query.to, &bytes);
        assert_eq!(walk.poll_transmit(), None, "{} was asked once more", query.to);
    }
    while let Some(next) = walk.poll_timeout() {
        walk.handle_timeout(next);
        assert_eq!(walk.poll_transmit(), None);
    }
    assert!(walk.is_done());
}

/// One server has `example.` and the zone below it; the lower zone's own list names a server that
/// cannot be found, the list above does not.
fn with_a_worse_list() -> Authority {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let soa = "@ 300 SOA ns.example. host.example. 1 1800 900 604800 300\n";
    let root = "example. 3600 NS ns.example.\nns.example. 3600 A 192.0.2.2\n";
    let above = "@ 300 NS ns.example.\nns 300 A 192.0.2.2\nlow 300 NS good.example.\n\
                 good 300 A 192.0.2.3\n";
    let low = "@ 300 NS gone.example.\nwww 300 A 203.0.113.7\nwww.a.b 300 A 203.0.113.8\n";
    let mut authority = Authority::new(vec![(name("root."), ip(1))]);
    for (origin, text) in [(".", root), ("example.", above), ("low.example.", low)] {
        authority.add_zone(Zone::parse(&name(origin), &(soa.to_owned() + text)).unwrap());
    }
    let zones = |names: &[&str]| names.iter().map(|text| name(text)).collect();
    authority.add_host(ip(1), zones(&["."]), Manner::Sound);
    authority.add_host(ip(2), zones(&["example."]), Manner::Sound);
    authority.add_host(ip(3), zones(&["low.example."]), Manner::Sound);
    authority
}

#[test]
fn where_a_zones_own_list_of_servers_fails_the_list_above_is_tried_once_more() {
    let authority = with_a_worse_list();
    // The first answer is the zone's own list, which leads nowhere.
    let first = walk_at(&authority, "low.example NS", config(), Ppm::ZERO, 7);
    assert_eq!(first.data(), ["gone.example."]);
    let (hints, start) = (authority.hints(PORT), Instant::ZERO);
    let asked = question("www.a.b.low.example A");
    let walk = Walk::new(config(), hints, asked, 7, first.cache, start);
    let mut responder = |to: std::net::SocketAddr, transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let link = super::walk::link(Ppm::ZERO);
    let (records, _) =
        dns_walk::sim::run(walk, start, &mut responder, &link, super::walk::ONE_WAY, 7);
    let Some(dns_walk::event::Event::Summary(summary)) = records.last().map(|r| &r.event) else {
        panic!("no summary");
    };
    assert_eq!(summary.outcome, Outcome::Answer);
    assert_eq!(summary.answers[0].data, "203.0.113.8");
    let json = serde_json::to_string(&summary.findings).unwrap();
    assert!(json.contains("NS_NOT_IN_PARENT") && json.contains("gone.example."), "{json}");
}

#[test]
fn every_server_on_the_way_to_where_a_dname_leads_is_asked_too() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let config = WalkConfig { all: true, ..config() };
    let ended = walk_at(&authority, "www.old.igbank.com A", config, Ppm::ZERO, 7);
    assert_eq!(ended.summary.aliases[0].kind, "DNAME");
    let levels = levels(&ended.records);
    for asked in ["www.old.igbank.com. A", "www.igbank.com. A"] {
        let zones = levels.iter().filter(|level| level.question == asked);
        let zones: Vec<&str> = zones.map(|level| level.zone.as_str()).collect();
        assert_eq!(zones, [".", "com.", "igbank.com."], "{asked}");
    }
}

#[test]
fn a_server_that_leaves_zones_out_does_not_break_the_chain_of_trust() {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let soa = "@ 300 SOA ns.example. host.example. 1 1800 900 604800 300\n";
    let ns = "@ 300 NS ns.example.\n";
    let root = "example. 3600 NS ns.example.\nns.example. 3600 A 192.0.2.1\n";
    let example = "ns 300 A 192.0.2.1\nmid 300 NS ns.example.\n";
    let mid = "low 300 NS ns2.example.\n";
    let low = "@ 300 NS ns2.example.\nwww 300 A 203.0.113.7\n";
    let mut authority = Authority::new(vec![(name("root."), ip(1))]);
    let zones = [
        (".", root.to_owned()),
        ("example.", ns.to_owned() + example + "ns2 300 A 192.0.2.2\n"),
        ("mid.example.", ns.to_owned() + mid),
        ("low.mid.example.", low.to_owned()),
    ];
    for (origin, text) in &zones {
        authority.add_zone(Zone::parse(&name(origin), &(soa.to_owned() + text)).unwrap());
    }
    let all: Vec<_> = zones.iter().map(|(origin, _)| name(origin)).collect();
    // The root's server has all zones but the last, and refers to that one at once.
    authority.add_host(ip(1), all[..3].to_vec(), Manner::Sound);
    authority.add_host(ip(2), all[3..].to_vec(), Manner::Sound);
    authority.sign(&all.into_iter().map(|zone| (zone, SignPlan::SOUND)).collect::<Vec<_>>());
    let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
    for asked in ["www.low.mid.example A", "gone.low.mid.example A", "mid.example SOA"] {
        let ended = walk_at(&authority, asked, config, Ppm::ZERO, 7);
        let security = ended.summary.security.unwrap();
        assert_eq!(security.status, Status::Secure, "{asked}: {}", security.words);
    }
}

#[test]
fn where_signatures_are_wanted_a_server_without_edns_is_asked_after_the_others() {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let soa = "@ 300 SOA ns.example. host.example. 1 1800 900 604800 300\n";
    let servers = "ns1.example. 3600 A 192.0.2.2\nns2.example. 3600 A 192.0.2.3\n";
    let delegation = "example. 3600 NS ns1.example.\nexample. 3600 NS ns2.example.\n";
    let zones = [
        (".", delegation.to_owned() + servers),
        ("example.", delegation.to_owned() + servers + "www 300 A 203.0.113.7\n"),
    ];
    let walks = |second| {
        let mut authority = Authority::new(vec![(name("root."), ip(1))]);
        for (origin, text) in &zones {
            authority.add_zone(Zone::parse(&name(origin), &(soa.to_owned() + text)).unwrap());
        }
        let all: Vec<_> = zones.iter().map(|(origin, _)| name(origin)).collect();
        authority.add_host(ip(1), all[..1].to_vec(), Manner::Sound);
        authority.add_host(ip(2), all[1..].to_vec(), Manner::NoEdns);
        authority.add_host(ip(3), all[1..].to_vec(), second);
        authority.sign(&all.into_iter().map(|zone| (zone, SignPlan::SOUND)).collect::<Vec<_>>());
        let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
        (0..32).map(move |seed| walk_at(&authority, "www.example A", config, Ppm::ZERO, seed))
    };
    let mut met = 0;
    for (seed, ended) in walks(Manner::Sound).enumerate() {
        let security = ended.summary.security.as_ref().unwrap();
        assert_eq!(security.status, Status::Secure, "seed {seed}: {}", security.words);
        met += u32::from(ended.codes().contains(&"SERVER_NO_EDNS".to_owned()));
    }
    assert!(met > 0, "no walk asked the server without EDNS first");
    // With no other server it is asked again without; what it then sends has no proof.
    for (seed, ended) in walks(Manner::NoEdns).enumerate() {
        assert_eq!(ended.data(), ["203.0.113.7"], "seed {seed}");
        assert_eq!(ended.summary.security.unwrap().status, Status::Bogus, "seed {seed}");
    }
}

#[test]
fn who_knows_the_seed_foretells_nothing_where_there_is_a_secret() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let sent = |seed, secret| {
        let config = WalkConfig { secret: Some(Secret::new([secret; SECRET_LEN])), ..config() };
        let question = question("www.igbank.com A");
        let hints = authority.hints(PORT);
        let mut walk = Walk::new(config, hints, question, seed, Cache::default(), Instant::ZERO);
        let bytes = walk.poll_transmit().unwrap().bytes;
        let query = Message::from_vec(&bytes).unwrap();
        (query.metadata.id, Cookie::of(&query).unwrap().unwrap().bytes())
    };
    assert_eq!(sent(7, 1), sent(7, 1), "the same draws where both are the same");
    let numbers: BTreeSet<u16> = (0..64).map(|secret| sent(7, secret).0).collect();
    let cookies: BTreeSet<Vec<u8>> = (0..64).map(|secret| sent(7, secret).1).collect();
    // A pair of 64 numbers below 65,536 may be alike.
    assert!(numbers.len() >= 60, "{numbers:?}");
    assert_eq!(cookies.len(), 64);
}

/// Zones below `example.`, each named by the other's server and without an address above.
fn circle(servers: u8, below: &[(&str, &[u8])]) -> Authority {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let soa = "@ 300 SOA ns.example. host.example. 1 1800 900 604800 300\n";
    let numbers = 2..2 + servers;
    let above: String = numbers
        .clone()
        .map(|last| {
            format!("example. 3600 NS ns{last}.example.\nns{last}.example. 3600 A 192.0.2.{last}\n")
        })
        .collect();
    let cuts = "left.example. 300 NS ns.right.example.\nright.example. 300 NS ns.left.example.\n";
    let mut authority = Authority::new(vec![(name("root."), ip(1))]);
    let mut add = |origin: &str, text: &str| {
        authority.add_zone(Zone::parse(&name(origin), &(soa.to_owned() + text)).unwrap());
    };
    add(".", &above);
    add("example.", &(above.clone() + cuts));
    let left = "@ 300 NS ns.right.example.\nwww 300 A 203.0.113.7\nns 300 A 192.0.2.3\n";
    add("left.example.", left);
    add("right.example.", "@ 300 NS ns.left.example.\nns 300 A 192.0.2.2\n");
    authority.add_host(ip(1), vec![name(".")], Manner::Sound);
    for last in numbers {
        let own = below.iter().filter(|(_, hosts)| hosts.contains(&last));
        let zones = own.map(|(zone, _)| name(zone)).chain([name("example.")]).collect();
        authority.add_host(ip(last), zones, Manner::Sound);
    }
    authority
}

#[test]
fn where_a_referral_leads_to_nobody_another_server_of_the_zone_above_is_asked() {
    let authority = circle(2, &[("left.example.", &[2]), ("right.example.", &[3])]);
    let mut passed_over = 0;
    for seed in 0..64 {
        let ended = walk_at(&authority, "www.left.example A", config(), Ppm::ZERO, seed);
        assert_eq!(ended.data(), ["203.0.113.7"], "seed {seed}");
        let referred = |exchange: &&Exchange| exchange.zone == "example.";
        passed_over += usize::from(ended.exchanges().filter(referred).count() > 2);
    }
    assert!(passed_over > 0, "no walk met the server that knows of no address first");
}

#[test]
fn a_name_that_leads_to_nobody_costs_no_query_to_each_server_above() {
    let authority = circle(9, &[]);
    for seed in 0..16 {
        let ended = walk_at(&authority, "www.left.example A", config(), Ppm::ZERO, seed);
        let zone = "left.example.".to_owned();
        assert_eq!(ended.summary.outcome, Outcome::Unanswered { zone, any_reply: false });
        // The user's question comes to it, and those for two addresses of each family.
        let mut asked: BTreeMap<(&Purpose, &str), BTreeSet<&str>> = BTreeMap::new();
        for exchange in ended.exchanges().filter(|exchange| exchange.zone == "example.") {
            let question = (&exchange.purpose, exchange.meant.kind.as_str());
            asked.entry(question).or_default().insert(&exchange.server.name);
        }
        assert!(asked.values().all(|servers| servers.len() <= 4), "seed {seed}: {asked:?}");
        assert!(asked.values().any(|servers| servers.len() == 4), "seed {seed}: {asked:?}");
    }
}

#[test]
fn questions_for_every_type_and_for_signatures_have_answers() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    for seed in 0..10 {
        for (asked, kinds, status) in [
            ("www.igbank.com ANY", &["A", "RRSIG"][..], Status::Secure),
            ("igbank.com ANY", &["A", "MX", "NS", "SOA", "DNSKEY", "RRSIG"], Status::Secure),
            ("shop.igbank.com ANY", &["CNAME", "RRSIG"], Status::Secure),
            ("www.igbank.com RRSIG", &["RRSIG"], Status::Indeterminate),
            // What a DNAME makes is as secure as the DNAME.
            ("x.old.igbank.com CNAME", &["CNAME"], Status::Secure),
            ("x.old.igbank.com ANY", &["CNAME"], Status::Secure),
            ("edge.cdn.net ANY", &["A"], Status::Insecure),
        ] {
            let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
            let ended = walk_at(&authority, asked, config, Ppm::ZERO, seed);
            let security = ended.summary.security.as_ref().unwrap();
            assert_eq!(ended.summary.outcome, Outcome::Answer, "{asked}, seed {seed}");
            assert_eq!(security.status, status, "{asked}, seed {seed}: {}", security.words);
            let found: BTreeSet<&str> =
                ended.summary.answers.iter().map(|answer| answer.kind.as_str()).collect();
            let kept: Vec<&&str> = kinds.iter().filter(|kind| !found.contains(**kind)).collect();
            assert!(kept.is_empty(), "{asked}, seed {seed}: {found:?} without {kept:?}");
        }
    }
}

#[test]
fn a_signature_in_a_denial_has_the_ttl_of_what_it_covers() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let soa = |asked| {
        let mut seen = BTreeSet::new();
        let mut responder = |to: std::net::SocketAddr, transport, query: &[u8]| {
            let bytes = authority.reply(to.ip(), transport, query)?;
            let reply = Message::from_vec(&bytes).unwrap();
            for record in &reply.authorities {
                let ttl = record.ttl;
                match &record.data {
                    RData::SOA(_) => seen.insert((record.name.to_ascii(), "SOA", ttl)),
                    RData::DNSSEC(DNSSECRData::RRSIG(signature))
                        if signature.input().type_covered == RecordType::SOA =>
                    {
                        seen.insert((record.name.to_ascii(), "RRSIG", ttl))
                    }
                    _ => false,
                };
            }
            Some(bytes)
        };
        let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
        let hints = authority.hints(PORT);
        super::walk::walk_with(hints, &mut responder, asked, config, Ppm::ZERO, 7);
        seen
    };
    for asked in ["nowhere.igbank.com A", "www.igbank.com AAAA"] {
        let seen = soa(asked);
        let of = |kind: &str| -> BTreeSet<(String, u32)> {
            let found = seen.iter().filter(|(_, of, _)| *of == kind);
            found.map(|(name, _, ttl)| (name.clone(), *ttl)).collect()
        };
        assert!(!of("SOA").is_empty(), "{asked}");
        assert_eq!(of("SOA"), of("RRSIG"), "{asked}");
    }
}
