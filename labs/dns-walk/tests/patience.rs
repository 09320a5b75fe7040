//! Servers of one zone that differ: nothing is bogus or unanswered before every server was asked,
//! and the guilty one is named.

use super::walk::{Ended, PORT, config, name, question, walk_at};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Flaw, JUDGED, Manner, SignPlan, Zone};
use dns_walk::dnssec::Status;
use dns_walk::event::Event;
use dns_walk::finding::{Fault, Finding};
use dns_walk::outcome::Outcome;
use dns_walk::walk::{Walk, WalkConfig};
use std::net::{IpAddr, Ipv4Addr};
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};

const ADDRESS: &str = "203.0.113.7";
const DEEP: &str = "203.0.113.8";

/// A signed hierarchy: root, com. and patient.com., whose servers behave in these ways each.
pub(crate) fn servers(root: &[Manner], com: &[Manner], zone: &[Manner]) -> Authority {
    flawed(root, com, zone, "", None)
}

/// The same with more records in com., and with a flaw in the last zone.
fn flawed(
    root: &[Manner],
    com: &[Manner],
    zone: &[Manner],
    more: &str,
    flaw: Option<Flaw>,
) -> Authority {
    let at = |third: u8, fourth: usize| {
        IpAddr::V4(Ipv4Addr::new(127, 53, third, u8::try_from(fourth).unwrap() + 1))
    };
    let roots = (0..root.len()).map(|n| (name(&format!("{n}.root.")), at(0, n)));
    let mut authority = Authority::new(roots.collect());
    let zones = [(".", "", root), ("com.", ".com", com), ("patient.com.", ".patient.com", zone)];
    let mut texts = [String::new(), String::new(), String::new()];
    for (third, (origin, suffix, manners)) in (0_u8..).zip(zones) {
        let level = usize::from(third);
        texts[level] += "@ 3600 SOA 0.root. h.root. 1 7200 900 1209600 60\n";
        for (n, manner) in manners.iter().enumerate() {
            let (label, address) = (if level == 0 { "root" } else { "ns" }, at(third, n));
            let server = match level {
                0 => format!("{n}.{label}."),
                _ => format!("{label}{n}{suffix}."),
            };
            let lines = format!("{origin} 3600 NS {server}\n{server} 3600 A {address}\n");
            texts[level] += &lines;
            if level > 0 {
                texts[level - 1] += &lines;
            }
            authority.add_host(address, vec![name(origin)], *manner);
        }
    }
    texts[2] += &format!(
        "www 300 A {ADDRESS}\nalias 300 CNAME www.patient.com.\na.deep 300 A 203.0.113.8\n"
    );
    texts[1] += more;
    let mut plans = Vec::new();
    for ((origin, ..), text) in zones.iter().zip(&texts) {
        authority.add_zone(Zone::parse(&name(origin), text).unwrap());
        let flaw = flaw.filter(|_| *origin == zones[2].0);
        plans.push((name(origin), SignPlan { flaw, ..SignPlan::SOUND }));
    }
    authority.sign(&plans);
    authority
}

fn judged(authority: &Authority, asked: &str, seed: u64) -> Ended {
    let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
    walk_at(authority, asked, config, Ppm::ZERO, seed)
}

fn status(ended: &Ended) -> Status {
    ended.summary.security.as_ref().unwrap().status
}

/// The servers that are said to give what does not hold.
fn guilty(ended: &Ended) -> Vec<&str> {
    let bogus = |finding: &&Finding| matches!(finding.fault, Fault::ServerBogus { .. });
    let found = ended.summary.findings.iter().filter(bogus);
    let mut names: Vec<&str> = found.map(|finding| finding.server.as_deref().unwrap()).collect();
    names.dedup();
    names
}

#[test]
fn one_stale_secondary_makes_no_good_name_bogus() {
    use Manner::{Expired, Keyless, Sound, Stripped};
    for (asked, outcome) in [
        ("www.patient.com A", Outcome::Answer),
        ("alias.patient.com A", Outcome::Answer),
        ("nowhere.patient.com A", Outcome::NxDomain),
        ("www.patient.com MX", Outcome::NoData),
    ] {
        for stale in [Expired, Stripped, Keyless] {
            let one = servers(&[Sound], &[Sound], &[Sound, stale]);
            let above = servers(&[Sound, stale], &[stale, Sound], &[Sound]);
            let mut met = 0;
            for seed in 0..40 {
                for (authority, which) in [(&one, "zone"), (&above, "above")] {
                    let ended = judged(authority, asked, seed);
                    let of = format!("{asked}, {stale:?} {which}, seed {seed}");
                    assert_eq!(ended.summary.outcome, outcome, "{of}");
                    let why = &ended.summary.security.as_ref().unwrap().words;
                    assert_eq!(status(&ended), Status::Secure, "{of}: {why}");
                    let stale = ["ns1.patient.com.", "1.root.", "ns0.com."];
                    assert!(guilty(&ended).iter().all(|server| stale.contains(server)), "{of}");
                    met += usize::from(!guilty(&ended).is_empty());
                }
            }
            assert!(met > 10, "{asked}, {stale:?}: met in {met} of 80");
        }
    }
}

#[test]
fn what_every_server_gives_alike_is_bogus_and_says_so() {
    use Manner::Expired;
    for seed in 0..20 {
        let manners = [Expired, Expired, Expired];
        let authority = servers(&[Manner::Sound], &[Manner::Sound], &manners);
        let config = WalkConfig { validate_at: Some(JUDGED), check: true, ..config() };
        let ended = walk_at(&authority, "www.patient.com A", config, Ppm::ZERO, seed);
        assert_eq!((status(&ended), &ended.summary.outcome), (Status::Bogus, &Outcome::Answer));
        assert_eq!(ended.data(), [ADDRESS], "the answer is shown as it came");
        let agreed = ended.summary.findings.iter().find_map(|finding| match &finding.fault {
            Fault::AnswerBogus { subject, servers, .. } => {
                Some((subject.as_str(), *servers, finding))
            }
            _ => None,
        });
        let (subject, servers, finding) = agreed.unwrap();
        assert_eq!(subject, "www.patient.com. A");
        assert_eq!(servers, 3, "seed {seed}: {}", finding.fault.words());
        assert!(finding.server.is_some() && finding.step > 0, "the step and the server");
        assert!(finding.fault.words().contains("all 3 servers that answered agree"));
        assert!(ended.summary.queries <= 40, "{} queries", ended.summary.queries);
        let probed = ended.exchanges().filter(|e| e.zone == "patient.com." && e.attempt == 1);
        assert!(probed.count() >= 6, "the check is not skipped");
    }
}

/// The alias holds, its end does not, and the other server of the end brings nothing: the answer
/// stays whole, and as bogus as it was.
#[test]
fn an_answer_that_no_other_server_has_stays_whole_and_bogus() {
    use Manner::{Dead, Fails, Sound};
    let alias = "to 300 CNAME www.patient.com.\n";
    let unreachable = "patient 3600 NS ns.dead.com.\ndead 3600 NS ns0.dead.com.\n\
                       ns0.dead 3600 A 127.53.9.1\n";
    for (zone, more) in
        [(vec![Sound, Dead], ""), (vec![Sound, Fails], ""), (vec![Sound], unreachable)]
    {
        let com = format!("{alias}{more}");
        let authority = flawed(&[Sound; 2], &[Sound], &zone, &com, Some(Flaw::BadSignature));
        for seed in 0..40 {
            let ended = judged(&authority, "to.com A", seed);
            let of = format!("{zone:?}, {more:?}, seed {seed}");
            assert_eq!(ended.summary.outcome, Outcome::Answer, "{of}");
            assert_eq!(ended.data(), [ADDRESS], "{of}");
            assert_eq!(status(&ended), Status::Bogus, "{of}");
        }
    }
}

#[test]
fn a_check_judges_the_signatures_of_every_server() {
    use Manner::{Expired, Sound};
    let authority = servers(&[Sound], &[Sound], &[Sound, Sound, Expired, Sound]);
    for seed in 0..10 {
        let config = WalkConfig { validate_at: Some(JUDGED), check: true, ..config() };
        let ended = walk_at(&authority, "www.patient.com A", config, Ppm::ZERO, seed);
        assert_eq!(status(&ended), Status::Secure);
        assert_eq!(guilty(&ended), ["ns2.patient.com."], "seed {seed}");
    }
}

#[test]
fn where_nothing_is_wrong_nothing_more_is_sent() {
    let authority = servers(&[Manner::Sound; 2], &[Manner::Sound; 2], &[Manner::Sound; 3]);
    for (asked, queries) in
        [("www.patient.com A", 6), ("nowhere.patient.com A", 6), ("a.deep.patient.com A", 7)]
    {
        for seed in 0..20 {
            let ended = judged(&authority, asked, seed);
            assert_eq!(status(&ended), Status::Secure);
            assert_eq!(ended.summary.queries, queries, "{asked}, seed {seed}");
        }
    }
}

/// Ways in which a server may be wrong while a name can still be resolved by it, or by another.
const WRONG: [Manner; 13] = [
    Manner::Sound,
    Manner::Dead,
    Manner::Expired,
    Manner::Stripped,
    Manner::Keyless,
    Manner::NoAuthority,
    Manner::RejectsCookies,
    Manner::DropsEdns,
    Manner::DropsParts,
    Manner::DeniesParts,
    Manner::TcpOnly,
    Manner::CutsAll,
    Manner::Fails,
];

/// Whether a server that behaves so gives the records of a signed zone, and their signatures; one
/// that drops queries for names without records drops the proof that they have no DS.
const fn proves(manner: Manner) -> bool {
    matches!(
        manner,
        Manner::Sound
            | Manner::NoAuthority
            | Manner::RejectsCookies
            | Manner::DeniesParts
            | Manner::TcpOnly
    )
}

/// Whether it gives the records.
const fn answers(manner: Manner) -> bool {
    proves(manner)
        || matches!(
            manner,
            Manner::Expired
                | Manner::Stripped
                | Manner::Keyless
                | Manner::DropsEdns
                | Manner::DropsParts
        )
}

/// Up to three servers, drawn; of the root, whose replies need authority, others than of zones.
fn drawn(seed: u64, salt: u64) -> Vec<Manner> {
    let draw = |n: u64| usize::try_from(keyed(seed, salt << 8 | n) % 1_000).unwrap();
    let wrong = |n: u64| WRONG[draw(n) % WRONG.len()];
    (0..1 + u64::try_from(draw(99) % 3).unwrap()).map(wrong).collect()
}

#[test]
fn where_one_server_of_each_zone_answers_so_does_the_walk() {
    let seeds = if std::env::var_os("WIRELAB_FULL").is_some() { 3_000 } else { 300 };
    let (mut answered, mut secure, mut wrong) = (0, 0, Vec::new());
    for seed in 0..seeds {
        let (com, zone) = (drawn(seed, 1), drawn(seed, 2));
        let authority = servers(&[Manner::Sound; 2], &com, &zone);
        for (asked, data) in [("www.patient.com A", ADDRESS), ("a.deep.patient.com A", DEEP)] {
            let of = format!("{asked}, seed {seed}: com. {com:?}, patient.com. {zone:?}");
            let plain = walk_at(&authority, asked, config(), Ppm::ZERO, seed);
            let ended = judged(&authority, asked, seed);
            for (ended, how) in [(&plain, "plain"), (&ended, "judged")] {
                assert!(ended.summary.queries <= ended.summary.budget, "{how} {of}");
                // A validating walk spends its time on servers that return signatures.
                let of_use = |manner: &Manner| {
                    answers(*manner) && !(how == "judged" && *manner == Manner::DropsEdns)
                };
                if com.iter().any(of_use) && zone.iter().any(of_use) {
                    answered += 1;
                    if ended.data() != [data] {
                        wrong.push(format!("{how} {of}: {:?}", ended.summary.outcome));
                    }
                }
            }
            // Dead servers may take the time that the end of the chain needs.
            let in_time = ended.summary.spent.iter().all(|spent| !spent.refused);
            if in_time && com.iter().copied().any(proves) && zone.iter().copied().any(proves) {
                secure += 1;
                let why = &ended.summary.security.as_ref().unwrap().words;
                if status(&ended) != Status::Secure {
                    wrong.push(format!("{of}: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(answered > seeds && secure > seeds / 3, "{answered} answered, {secure} secure");
}

#[test]
fn where_no_server_replies_the_network_is_named_once() {
    let authority = servers(&[Manner::Dead; 4], &[Manner::Sound], &[Manner::Sound]);
    let ended = walk_at(&authority, "www.patient.com A", config(), Ppm::ZERO, 7);
    assert_eq!(ended.codes(), ["NOTHING_REPLIES"]);
    let words = ended.summary.findings[0].fault.words();
    assert!(words.contains("none of 4 servers replies"), "{words}");
}

#[test]
fn a_host_without_a_route_says_so_once() {
    let hints = servers(&[Manner::Sound; 4], &[Manner::Sound], &[Manner::Sound]).hints(PORT);
    let asked = question("www.patient.com A");
    let mut walk = Walk::new(config(), hints, asked, 7, Cache::default(), Instant::ZERO);
    while let Some(query) = walk.poll_transmit() {
        walk.handle_unreachable(Instant::ZERO, query.attempt, "network is unreachable");
    }
    let mut records = Vec::new();
    while let Some(record) = walk.poll_event() {
        records.push(record);
    }
    let summary = dns_walk::sim::summary(&records).unwrap();
    let words: Vec<String> = summary.findings.iter().map(|found| found.fault.words()).collect();
    let one = "none of 4 servers can be reached from this host: network is unreachable";
    assert_eq!(words, [one]);
}

#[test]
fn a_reply_from_another_address_is_named_and_not_believed() {
    let authority = servers(&[Manner::Sound], &[Manner::Sound], &[Manner::Sound]);
    let asked = question("www.patient.com A");
    let hints = authority.hints(PORT);
    let mut walk = Walk::new(config(), hints, asked, 7, Cache::default(), Instant::ZERO);
    let query = walk.poll_transmit().unwrap();
    let reply = authority.reply(query.to.ip(), query.transport, &query.bytes).unwrap();
    let elsewhere = "192.0.2.9:53".parse().unwrap();
    walk.handle_reply(Instant::ZERO, query.attempt, elsewhere, &reply);
    assert!(walk.is_open(query.attempt), "the wait goes on");
    walk.cancel(Instant::ZERO);
    let mut found = Vec::new();
    while let Some(record) = walk.poll_event() {
        if let Event::Summary(summary) = record.event {
            found.extend(summary.findings.into_iter().map(|finding| finding.fault));
        }
    }
    assert!(found.contains(&Fault::ReplyFromElsewhere { from: elsewhere }), "{found:?}");
}
