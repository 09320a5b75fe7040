//! The checklist of a resolver, line by line, in virtual time: what is answered without asking,
//! what an absence is worth, what was spent.

use super::dns::{Ended, PORT, config, name, question, walk_at, walk_with};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{RData, Record as Rr};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::dns::RecordType;
use wirelab::dns::demo::{Authority, Variant};
use wirelab::dns::event::{Class, Event, Outcome, Transport};
use wirelab::dns::limits::{Limit, Limits, Spent};
use wirelab::dns::walk::WalkConfig;
use wirelab::measure::{Instant, Ppm};

/// What a walk spent of one limit.
fn spent(ended: &Ended, limit: Limit) -> Spent {
    *ended.summary.spent.iter().find(|spent| spent.limit == limit).unwrap()
}

/// One server for everything that says what `say` makes of each question.
fn made(asked: &str, config: WalkConfig, say: impl Fn(&mut Message)) -> Ended {
    let hints = Authority::demo(Variant::Sound).unwrap().hints(PORT);
    let mut responder = |_: SocketAddr, _: Transport, query: &[u8]| {
        let query = Message::from_vec(query).ok()?;
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.queries = query.queries;
        reply.metadata.authoritative = true;
        say(&mut reply);
        reply.to_vec().ok()
    };
    walk_with(hints, &mut responder, asked, config, Ppm::ZERO, 3)
}

fn soa(ttl: u32, minimum: u32) -> Rr {
    let soa = SOA::new(name("a.root."), name("h.root."), 1, 1, 1, 1, minimum);
    Rr::from_rdata(name("."), ttl, RData::SOA(soa))
}

#[test]
fn special_names_need_no_packet_wherever_they_come_from() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let ended = walk_at(&authority, "www.test A", config(), Ppm::ZERO, 1);
    assert_eq!((&ended.summary.outcome, ended.summary.queries), (&Outcome::NxDomain, 0));
    let Event::Local(local) = &ended.records[1].event else { panic!("{:?}", ended.records[1]) };
    assert_eq!((local.domain.as_str(), local.document.as_str()), ("test.", "RFC 6761 §6.2"));
    // An alias must not lead there either.
    let alias = |reply: &mut Message| {
        let asked = reply.queries[0].name.clone();
        let data = RData::CNAME(CNAME(name("secret.onion.")));
        reply.add_answer(Rr::from_rdata(asked, 60, data));
    };
    let ended = made("www.igbank.com", config(), alias);
    assert_eq!(ended.summary.outcome, Outcome::NxDomain);
    assert!(ended.exchanges().all(|e| !e.meant.name.contains("onion")));
    // Nor an alias to this machine, which is answered; it is a person's to ask, not a zone's.
    let asked_all_the_same = WalkConfig { special_names: false, ..config() };
    let ended = walk_at(&authority, "www.test A", asked_all_the_same, Ppm::ZERO, 1);
    assert!(ended.summary.queries > 0);
}

#[test]
fn an_absence_is_believed_for_the_lesser_of_both_times() {
    for (ttl, minimum, code, believed_s) in [
        (600, 60, ResponseCode::NXDomain, 60),
        (60, 600, ResponseCode::NoError, 60),
        (90_000, 90_000, ResponseCode::NoError, 3 * 3_600),
    ] {
        let deny = |reply: &mut Message| {
            reply.metadata.response_code = code;
            reply.add_authority(soa(ttl, minimum));
        };
        let ended =
            made("www.igbank.com", WalkConfig { qmin: Default::default(), ..config() }, deny);
        let learned = ended.records.last().unwrap().t_ns;
        let known = |after_s: u64| {
            let now = learned + Duration::from_secs(after_s);
            ended.cache.absence(now, &question("www.igbank.com")).is_some()
        };
        assert!(known(believed_s - 1), "{ttl} {minimum}");
        assert!(!known(believed_s + 1), "{ttl} {minimum}");
    }
    // Without a SOA an absence is the answer, and is not remembered (RFC 2308 §5).
    let ended = made("www.igbank.com", config(), |_| {});
    assert_eq!(ended.summary.outcome, Outcome::NoData);
    assert_eq!(ended.cache.absence(Instant::ZERO, &question("www.igbank.com")), None);
}

#[test]
fn the_response_code_belongs_to_the_end_of_the_aliases() {
    // RFC 6604 §3: NXDOMAIN beside an alias is said of its target.
    let say = |reply: &mut Message| {
        let asked = reply.queries[0].name.clone();
        reply.metadata.response_code = ResponseCode::NXDomain;
        if asked == name("www.igbank.com.") {
            reply.add_answer(Rr::from_rdata(asked, 60, RData::CNAME(CNAME(name("gone.com.")))));
        }
        reply.add_authority(soa(60, 60));
    };
    let config = WalkConfig { qmin: wirelab::dns::event::Qmin::Off, ..config() };
    let ended = made("www.igbank.com", config, say);
    assert_eq!(ended.summary.outcome, Outcome::NxDomain);
    assert_eq!(ended.summary.aliases.len(), 1);
    let now = ended.records.last().unwrap().t_ns;
    assert_eq!(ended.cache.absence(now, &question("www.igbank.com")), None, "the alias exists");
    assert!(ended.cache.absence(now, &question("gone.com")).is_some());
}

#[test]
fn the_account_says_what_was_spent_of_every_limit() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let limits = Limits::default();
    let ended = walk_at(&authority, "www.igbank.com A", config(), Ppm::ZERO, 7);
    assert_eq!(ended.summary.spent.len(), Limit::ALL.len());
    let of = |limit| spent(&ended, limit);
    assert_eq!(of(Limit::Queries).spent, u64::from(ended.summary.queries));
    assert_eq!((of(Limit::Aliases).spent, of(Limit::Servers).spent), (1, 3));
    assert!(ended.summary.spent.iter().all(|spent| spent.spent <= spent.allowed && !spent.refused));
    let few = WalkConfig { limits: Limits { queries: 2, ..limits }, ..config() };
    let ended = walk_at(&authority, "www.igbank.com A", few, Ppm::ZERO, 7);
    let of = |limit| spent(&ended, limit);
    assert_eq!((of(Limit::Queries).spent, of(Limit::Queries).refused), (2, true));
    assert_eq!(ended.summary.outcome, Outcome::Limit { limit: Limit::Queries });
}

#[test]
fn a_refusal_of_one_server_is_no_refusal_of_its_zone() {
    let ended = made("www.igbank.com", config(), |reply| {
        reply.metadata.response_code = ResponseCode::YXDomain;
    });
    assert!(ended.exchanges().all(|e| e.class == Class::OtherCode));
    assert!(ended.exchanges().count() >= 2, "each server of the root was asked");
    let nobody = Outcome::Unanswered { zone: ".".to_owned(), any_reply: true };
    assert_eq!(ended.summary.outcome, nobody);
    assert_eq!(question("x. A").kind, RecordType::A);
}
