//! The chain of trust in virtual time: every status with its reason, and a fetch that fails.

use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, EXPIRATION, JUDGED, Manner, SIGNATURE_FAULTS, Variant};
use dns_walk::dnssec::{Status, UnixSeconds};
use dns_walk::event::{Event, Record, Security, Summary, Transport};
use dns_walk::sim::run;
use dns_walk::text::Question;
use dns_walk::walk::{Walk, WalkConfig};
use dns_walk::{Name, RecordType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::{Delay, LinkPlan};

const ONE_WAY: Duration = Duration::from_millis(1);

fn config(at: UnixSeconds) -> WalkConfig {
    WalkConfig { public_only: false, validate_at: Some(at), ..WalkConfig::default() }
}

fn question(text: &str) -> Question {
    let (name, kind) = text.split_once(' ').unwrap();
    let kind: RecordType = kind.parse().unwrap();
    Question::new(Name::from_ascii(name).unwrap(), kind)
}

struct Ended {
    records: Vec<Record>,
    summary: Summary,
    cache: Cache,
}

impl Ended {
    fn security(&self) -> &Security {
        self.summary.security.as_ref().unwrap()
    }

    fn why(&self) -> String {
        let json = serde_json::to_value(self.security()).unwrap();
        json["why"].as_str().unwrap().to_owned()
    }
}

fn walk(authority: &Authority, asked: &str, config: WalkConfig, cache: Cache) -> Ended {
    let link = LinkPlan { delay: Delay::Constant(ONE_WAY), ..LinkPlan::default() };
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let (hints, start) = (authority.hints(5300), Instant::ZERO);
    let walk = Walk::new(config, hints, question(asked), 7, cache, start);
    let (records, walk) = run(walk, start, &mut responder, &link, ONE_WAY, 7);
    let Some(Event::Summary(summary)) = records.last().map(|record| record.event.clone()) else {
        panic!("{asked} did not end with a summary");
    };
    Ended { records, summary: *summary, cache: walk.into_cache() }
}

#[test]
fn the_sound_hierarchy_is_secure_where_it_is_signed() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    for (asked, status, why) in [
        ("www.igbank.com. A", Status::Secure, "signed"),
        ("igbank.com. MX", Status::Secure, "signed"),
        ("igbank.com. DS", Status::Secure, "signed"),
        ("igbank.com. DNSKEY", Status::Secure, "signed"),
        (". NS", Status::Secure, "signed"),
        ("lisbon.branch.igbank.com. A", Status::Secure, "signed"),
        ("a.b.branch.igbank.com. A", Status::Secure, "signed"),
        ("www.old.igbank.com. A", Status::Secure, "signed"),
        ("www.igbank.com. AAAA", Status::Secure, "denied"),
        ("lobby.deep.igbank.com. A", Status::Secure, "denied"),
        ("lisbon.branch.igbank.com. AAAA", Status::Secure, "denied"),
        ("nowhere.igbank.com. A", Status::Secure, "denied"),
        ("nowhere.example. A", Status::Secure, "denied"),
        // net. has NSEC3 with opt-out: an unsigned zone cannot be ruled out.
        ("edge.cdn.net. A", Status::Insecure, "no_ds"),
        ("shop.igbank.com. A", Status::Insecure, "no_ds"),
        ("nowhere.net. A", Status::Insecure, "opt_out"),
        ("cdn.net. DS", Status::Insecure, "opt_out"),
    ] {
        let ended = walk(&authority, asked, config(JUDGED), Cache::default());
        let security = ended.security();
        assert_eq!(security.status, status, "{asked}: {}", security.words);
        assert_eq!(ended.why(), why, "{asked}: {}", security.words);
        assert!(ended.summary.queries <= ended.summary.budget);
    }
}

#[test]
fn every_flaw_has_its_status_and_its_reason() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    for fault in SIGNATURE_FAULTS {
        let ended = walk(&authority, fault.ask, config(JUDGED), Cache::default());
        let security = ended.security();
        let status = security.status.to_string();
        assert_eq!(status, fault.status, "{}: {}", fault.zone, security.words);
        assert_eq!(ended.why(), fault.why, "{}: {}", fault.zone, security.words);
        assert!(ended.summary.queries <= ended.summary.budget);
    }
}

#[test]
fn a_failed_fetch_is_indeterminate_and_never_bogus() {
    let mut authority = Authority::demo(Variant::Sound).unwrap();
    let first = walk(&authority, "www.igbank.com. A", config(JUDGED), Cache::default());
    assert_eq!(first.security().status, Status::Secure);
    // The root's servers do not answer any more: what lies below is known, its keys are not.
    let plain = WalkConfig { validate_at: None, ..config(JUDGED) };
    let known = walk(&authority, "login.igbank.com. A", plain, Cache::default());
    for last in [1, 2] {
        let root = IpAddr::V4(Ipv4Addr::new(127, 53, 0, last));
        authority.add_host(root, vec![Name::root()], Manner::Dead);
    }
    let ended = walk(&authority, "www.igbank.com. A", config(JUDGED), known.cache);
    assert_eq!(ended.security().status, Status::Indeterminate, "{}", ended.security().words);
    assert_eq!(ended.why(), "fetch_failed");
    let ended = walk(&authority, "www.igbank.com. A", config(JUDGED), first.cache);
    assert_eq!(ended.security().status, Status::Secure, "a second walk has the proofs still");
    assert_eq!(ended.summary.queries, 0);
}

#[test]
fn the_time_is_given_and_judged_by() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    for (at, why) in
        [("2023-12-31", "signature_not_yet_valid"), ("2045-01-01", "signature_expired")]
    {
        let at = UnixSeconds::parse(at).unwrap();
        let ended = walk(&authority, "www.igbank.com. A", config(at), Cache::default());
        assert_eq!((ended.security().status, ended.why().as_str()), (Status::Bogus, why));
        let link = ended.records.iter().find_map(|record| match &record.event {
            Event::Chain(link) => Some(link),
            _ => None,
        });
        assert_eq!(link.unwrap().subject.to_string(), ". DNSKEY", "the first link breaks");
    }
}

#[test]
fn what_will_break_is_found_before_it_does() {
    let signing = [
        "DS_MATCHES_NO_KEY",
        "DIGEST_DEPRECATED",
        "ALGORITHM_DEPRECATED",
        "SIGNATURE_EXPIRES_SOON",
        "NSEC3_ITERATIONS",
    ];
    let found = |ended: &Ended| -> Vec<String> {
        let codes = ended.summary.findings.iter().map(|finding| {
            let json = serde_json::to_value(finding).unwrap();
            json["code"].as_str().unwrap().to_owned()
        });
        codes.filter(|code| signing.contains(&code.as_str())).collect()
    };
    let broken = Authority::demo(Variant::Broken).unwrap();
    for (asked, code) in
        [("www.wrongds.com. A", "DS_MATCHES_NO_KEY"), ("nowhere.rounds.com. A", "NSEC3_ITERATIONS")]
    {
        let ended = walk(&broken, asked, config(JUDGED), Cache::default());
        assert_eq!(found(&ended), [code], "{asked}");
    }
    let sound = Authority::demo(Variant::Sound).unwrap();
    let asked = "www.igbank.com. A";
    let ended = walk(&sound, asked, config(JUDGED), Cache::default());
    assert!(found(&ended).is_empty());
    let last_hour = UnixSeconds(EXPIRATION.0 - 3_600);
    let ended = walk(&sound, asked, config(last_hour), Cache::default());
    assert_eq!(ended.security().status, Status::Secure, "it holds still");
    assert!(found(&ended).iter().all(|code| code == "SIGNATURE_EXPIRES_SOON"));
    assert!(found(&ended).len() >= 3, "the root's, com's and igbank.com's");
}
