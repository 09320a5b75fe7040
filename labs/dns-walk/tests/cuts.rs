//! Delegation data of the zone above against the zone's own: addresses and TTLs.

use super::walk::{Ended, PORT, config, name, walk_with};
use dns_walk::demo::{Authority, Variant};
use dns_walk::event::{Exchange, Transport};
use dns_walk::finding::{Fault, Severity};
use dns_walk::survey::levels;
use dns_walk::walk::WalkConfig;
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use std::net::{IpAddr, SocketAddr};
use wirelab::measure::Ppm;

/// Walks through the broken hierarchy with a check after it; `change` may alter the replies of the
/// zone's own servers.
fn walk(asked: &str, all: bool, change: impl Fn(&mut Message)) -> Ended {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
        let reply = authority.reply(to.ip(), over, query)?;
        let mut reply = Message::from_vec(&reply).unwrap();
        if reply.metadata.authoritative {
            change(&mut reply);
        }
        reply.to_vec().ok()
    };
    let config = WalkConfig { check: true, all, ..config() };
    walk_with(authority.hints(PORT), &mut responder, asked, config, Ppm::ZERO, 7)
}

fn differs(ended: &Ended) -> Vec<(Vec<IpAddr>, Vec<IpAddr>)> {
    let sides = |fault: &Fault| match fault {
        Fault::GlueDiffers { subject, above, own } => {
            assert_eq!(subject, "ns.moved.com.");
            Some((above.clone(), own.clone()))
        }
        _ => None,
    };
    ended.summary.findings.iter().filter_map(|finding| sides(&finding.fault)).collect()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn glue_that_is_not_what_the_zone_says_is_found_with_both_sides() {
    let ended = walk("www.moved.com", false, |_| {});
    assert_eq!(differs(&ended), [(addresses(&["127.53.4.13"]), addresses(&["127.53.4.11"]))]);
    let found =
        ended.summary.findings.iter().find(|f| matches!(f.fault, Fault::GlueDiffers { .. }));
    let found = found.unwrap();
    assert_eq!((found.severity, found.zone.as_str()), (Severity::Warning, "moved.com."));
    assert_eq!(
        found.fault.words(),
        "for ns.moved.com. the zone above has 127.53.4.13, the zone itself 127.53.4.11"
    );
}

/// Whether a server was asked for its own address.
fn asks_itself(exchange: &Exchange) -> bool {
    exchange.meant.kind == "A" && exchange.meant.name == exchange.server.name
}

#[test]
fn a_server_that_keeps_its_address_to_itself_is_asked_for_it() {
    let told = walk("www.moved.com", true, |_| {});
    assert!(!told.exchanges().any(asks_itself), "it had said so already");
    let silent = |reply: &mut Message| reply.additionals.clear();
    let ended = walk("www.moved.com", true, silent);
    assert_eq!(ended.exchanges().filter(|e| asks_itself(e)).count(), 1);
    assert_eq!(differs(&ended), differs(&told));
    // That question is the check's own: not a level on the way to the name.
    let zones = |ended: &Ended| levels(&ended.records).into_iter().map(|level| level.question);
    assert_eq!(zones(&ended).collect::<Vec<_>>(), zones(&told).collect::<Vec<_>>());
    // And that it has no such address at all is an answer too.
    let ended = walk("www.moved.com", false, |reply| {
        reply.additionals.clear();
        if reply.queries[0].name == name("ns.moved.com.") {
            reply.answers.clear();
        }
    });
    assert_eq!(differs(&ended), [(addresses(&["127.53.4.13"]), Vec::new())]);
}

/// The same with an address of IPv6.
fn twin(record: &Record) -> Record {
    let address = RData::AAAA("fd53::1".parse().unwrap());
    Record::from_rdata(record.name.clone(), record.ttl, address)
}

#[test]
fn glue_of_a_family_that_the_referral_leaves_out_is_no_difference() {
    let ended = walk("www.stale.com", true, |reply| {
        let six: Vec<Record> = reply.additionals.iter().map(twin).collect();
        reply.additionals.extend(six);
    });
    assert_eq!(differs(&ended), []);
}

#[test]
fn times_to_live_that_differ_are_a_notice_that_says_which_counts() {
    for check in [false, true] {
        let authority = Authority::demo(Variant::Broken).unwrap();
        let mut responder =
            |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
        let config = WalkConfig { check, ..config() };
        let hints = authority.hints(PORT);
        let ended = walk_with(hints, &mut responder, "www.brief.com", config, Ppm::ZERO, 7);
        let fault = Fault::TtlDiffers { above_s: 172_800, own_s: 300 };
        let found: Vec<_> =
            ended.summary.findings.iter().filter(|finding| finding.fault == fault).collect();
        let [found] = found[..] else { panic!("check {check}: {:?}", ended.codes()) };
        assert_eq!((found.severity, found.zone.as_str()), (Severity::Notice, "brief.com."));
        assert_eq!(
            fault.words(),
            "its NS records may be kept for 172800 s by the zone above, for 300 s by the zone \
             itself; what the zone itself says counts (RFC 2181 §5.4.1)"
        );
    }
}

#[test]
fn the_sound_hierarchy_says_the_same_on_both_sides() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    for asked in ["www.igbank.com", "shop.igbank.com", "igbank.com NS", "ns1.igbank.com", ". NS"] {
        let mut responder =
            |to: SocketAddr, over: Transport, query: &[u8]| authority.reply(to.ip(), over, query);
        let config = WalkConfig { all: true, prime: true, ..config() };
        let hints = authority.hints(PORT);
        let ended = walk_with(hints, &mut responder, asked, config, Ppm::ZERO, 7);
        let codes = ended.codes();
        assert!(!codes.iter().any(|code| code != "SINGLE_SERVER"), "{asked}: {codes:?}");
    }
}
