//! The checklist of a resolver, line by line, in virtual time: what is answered without asking,
//! what an absence is worth, what was spent.

use super::walk::{Ended, PORT, config, name, question, walk_at, walk_with};
use dns_walk::RecordType;
use dns_walk::cookie::{self, Cookie};
use dns_walk::demo::{Authority, Variant};
use dns_walk::event::{Class, Event, Exchange, Transport};
use dns_walk::limits::{Limit, Limits, Spent};
use dns_walk::outcome::Outcome;
use dns_walk::text::StrayReason;
use dns_walk::walk::WalkConfig;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{RData, Record as Rr};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::{Instant, Ppm};

/// Use of one limit by a walk.
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
    let config = WalkConfig { qmin: dns_walk::event::Qmin::Off, ..config() };
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
    let unanswered = Outcome::Unanswered { zone: ".".to_owned(), any_reply: true };
    assert_eq!(ended.summary.outcome, unanswered);
    assert_eq!(question("x. A").kind, RecordType::A);
}

/// A walk through the sound hierarchy, whose replies `change` may alter; it sees which query it is.
fn changed(change: impl Fn(u32, Transport, &Message, &mut Message)) -> Ended {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut count = 0;
    let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
        count += 1;
        let reply = authority.reply(to.ip(), over, query)?;
        let mut reply = Message::from_vec(&reply).unwrap();
        change(count, over, &Message::from_vec(query).unwrap(), &mut reply);
        reply.to_vec().ok()
    };
    let hints = authority.hints(PORT);
    // The check asks servers once more.
    let config = WalkConfig { check: true, ..config() };
    walk_with(hints, &mut responder, "www.igbank.com", config, Ppm::ZERO, 3)
}

/// Replaces the cookie of a message, or takes it away.
fn set_cookie(message: &mut Message, cookie: Option<Vec<u8>>) {
    let edns = message.edns.as_mut().unwrap();
    edns.options_mut().remove(EdnsCode::Cookie);
    if let Some(bytes) = cookie {
        edns.options_mut().insert(EdnsOption::Unknown(cookie::OPTION, bytes));
    }
}

fn cookie_of(message: &Message) -> Option<Vec<u8>> {
    Cookie::of(message).map(|cookie| cookie.unwrap().bytes())
}

#[test]
fn a_server_gets_its_own_cookie_back() {
    let seen = RefCell::new(BTreeMap::<Vec<u8>, Vec<u8>>::new());
    let returned = RefCell::new(0);
    let ended = changed(|_, _, query, reply| {
        let (sent, given) = (cookie_of(query).unwrap(), cookie_of(reply).unwrap());
        // A server is known by the client's part, which no other is sent; a check has several
        // questions for a server, which do not wait for its first cookie.
        let known = seen.borrow_mut().insert(sent[..8].to_vec(), given);
        if sent.len() > 8 {
            *returned.borrow_mut() += 1;
            assert_eq!(known.unwrap(), sent);
        }
    });
    assert_eq!(ended.data(), ["203.0.113.80"]);
    let again = ended.summary.queries > u32::try_from(seen.borrow().len()).unwrap();
    assert!(again, "no server was asked twice");
    assert!(*returned.borrow() >= 2, "a later query brings the cookie back");
    assert!(ended.exchanges().all(|exchange| exchange.edns.as_ref().unwrap().cookie));
}

#[test]
fn a_reply_with_another_cookie_is_not_believed() {
    let ended = changed(|count, _, _, reply| {
        if count == 1 {
            let mut other = cookie_of(reply).unwrap();
            other[0] ^= 1;
            set_cookie(reply, Some(other));
        }
    });
    let stray = |record: &_| match record {
        Event::Stray(stray) => Some(stray.why),
        _ => None,
    };
    let strays: Vec<_> = ended.records.iter().filter_map(|r| stray(&r.event)).collect();
    assert_eq!(strays, [StrayReason::WrongCookie]);
    assert_eq!(ended.data(), ["203.0.113.80"]);
}

#[test]
fn a_server_that_leaves_its_cookie_out_is_asked_over_tcp() {
    let given = RefCell::new(BTreeSet::new());
    let ended = changed(|_, over, query, reply| {
        // The second datagram of each server has none.
        if !given.borrow_mut().insert(cookie_of(query).unwrap()[..8].to_vec())
            && over == Transport::Udp
        {
            set_cookie(reply, None);
        }
    });
    let lost: Vec<_> = ended.exchanges().filter(|e| e.class == Class::CookieLost).collect();
    assert!(!lost.is_empty());
    for exchange in lost {
        let again = |e: &&_| over_tcp_to(e, exchange.server.address);
        assert!(ended.exchanges().any(|e| again(&e)), "{exchange:?}");
    }
    assert_eq!(ended.data(), ["203.0.113.80"]);
}

fn over_tcp_to(exchange: &Exchange, address: SocketAddr) -> bool {
    exchange.transport == Transport::Tcp && exchange.server.address == address
}

#[test]
fn a_server_that_wants_a_newer_cookie_gets_it_once_and_tcp_then() {
    let ended = changed(|count, over, query, reply| {
        // Another cookie every time, and never the right one.
        let client = &cookie_of(query).unwrap()[..8];
        let fresh = u64::from(count).to_be_bytes();
        set_cookie(reply, Some([client, &fresh].concat()));
        if over == Transport::Udp {
            reply.metadata.response_code = ResponseCode::BADCOOKIE;
        }
    });
    let first: Vec<_> = ended.exchanges().take(3).map(|e| (e.transport, e.class.clone())).collect();
    assert_eq!(first[0], (Transport::Udp, Class::BadCookie));
    assert_eq!(first[1], (Transport::Udp, Class::BadCookie));
    assert_eq!(first[2].0, Transport::Tcp);
    assert_eq!(ended.data(), ["203.0.113.80"]);
}

#[test]
fn without_edns_or_by_wish_there_are_no_cookies() {
    for config in
        [WalkConfig { cookies: false, ..config() }, WalkConfig { edns: false, ..config() }]
    {
        let authority = Authority::demo(Variant::Sound).unwrap();
        let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
            assert!(Cookie::of(&Message::from_vec(query).unwrap()).is_none());
            authority.reply(to.ip(), over, query)
        };
        let hints = authority.hints(PORT);
        let ended = walk_with(hints, &mut responder, "www.igbank.com", config, Ppm::ZERO, 3);
        assert_eq!(ended.data(), ["203.0.113.80"]);
    }
}
