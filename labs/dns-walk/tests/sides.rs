//! `--side`: the two sides of a delegation walked apart, and the side that is wrong named.

use super::walk::{Ended, PORT, config, name, question, walk_at};
use dns_walk::demo::{Authority, JUDGED, Manner, SignPlan, Variant, Zone};
use dns_walk::dnssec::Status;
use dns_walk::event::{Event, Side};
use dns_walk::outcome::Outcome;
use dns_walk::report::{events_schema, heading, sides_verdict};
use dns_walk::walk::WalkConfig;
use std::net::{IpAddr, Ipv4Addr};
use wirelab::measure::Ppm;
use wirelab_tests::lab::Lab;

const SOA: &str = "@ 300 SOA ns.example. host.example. 1 1800 900 604800 300\n";

fn at(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// Root, `example.` and `low.example.`: what the two upper zones say of the lowest one's servers,
/// and what it says itself. A sound server of it is at 192.0.2.3 and at 192.0.2.5.
fn sided(above: &str, own: &str, elsewhere: &str) -> Authority {
    let root = "example. 3600 NS ns.example.\nns.example. 3600 A 192.0.2.2\n\
                other. 3600 NS ns.other.\nns.other. 3600 A 192.0.2.4\n";
    let example = format!("@ 300 NS ns.example.\nns 300 A 192.0.2.2\n{above}");
    let low = format!("{own}www 300 A 203.0.113.7\n");
    let other = format!("@ 300 NS ns.other.\nns 300 A 192.0.2.4\n{elsewhere}");
    let mut authority = Authority::new(vec![(name("root."), at(1))]);
    let zones = [(".", root), ("example.", &example), ("low.example.", &low), ("other.", &other)];
    for (origin, text) in zones {
        authority.add_zone(Zone::parse(&name(origin), &(SOA.to_owned() + text)).unwrap());
    }
    for (last, zone) in [(1, "."), (2, "example."), (3, "low.example."), (4, "other.")] {
        authority.add_host(at(last), vec![name(zone)], Manner::Sound);
    }
    authority.add_host(at(5), vec![name("low.example.")], Manner::Sound);
    let plans = zones.map(|(origin, _)| (name(origin), SignPlan::SOUND));
    authority.sign(&plans);
    authority
}

fn of_side(authority: &Authority, asked: &str, side: Option<Side>, seed: u64) -> Ended {
    let config = WalkConfig { side, validate_at: Some(JUDGED), ..config() };
    walk_at(authority, asked, config, Ppm::ZERO, seed)
}

/// Both sides, and the line that compares them.
fn both(authority: &Authority, asked: &str, seed: u64) -> (Ended, Ended, String) {
    let parent = of_side(authority, asked, Some(Side::Parent), seed);
    let child = of_side(authority, asked, Some(Side::Child), seed);
    let walks = [parent.records.clone(), child.records.clone()];
    assert!(heading(&walks, 1).unwrap().starts_with("Child's side"));
    let verdict = sides_verdict(&walks).unwrap();
    (parent, child, verdict)
}

#[test]
fn where_the_zones_own_list_leads_nowhere_the_childs_side_is_wrong() {
    let own = ["@ 300 NS gone.other.\n", "@ 300 NS ns.low.example.\nns 300 A 192.0.2.9\n"];
    for own in own {
        let above = "low 300 NS ns.low.example.\nns.low 300 A 192.0.2.3\n";
        let authority = sided(above, own, "");
        for seed in 0..20 {
            let (parent, child, verdict) = both(&authority, "www.low.example A", seed);
            assert_eq!(parent.data(), ["203.0.113.7"], "seed {seed}, {own}");
            let status = parent.summary.security.as_ref().unwrap().status;
            assert_eq!(status, Status::Secure, "seed {seed}, {own}");
            let zone = "low.example.".to_owned();
            let failed = matches!(&child.summary.outcome,
                Outcome::Unanswered { zone: of, .. } if *of == zone);
            assert!(failed, "seed {seed}, {own}: {:?}", child.summary.outcome);
            assert!(verdict.starts_with("the child's is wrong: "), "seed {seed}: {verdict}");
            let usual = of_side(&authority, "www.low.example A", None, seed);
            assert_eq!(usual.data(), ["203.0.113.7"], "seed {seed}, {own}");
        }
    }
}

#[test]
fn where_the_address_from_above_leads_nowhere_the_parents_side_is_wrong() {
    let above = "low 300 NS a.low.example.\nlow 300 NS b.low.example.\n\
                 a.low 300 A 192.0.2.9\nb.low 300 A 192.0.2.9\n";
    let own = "@ 300 NS a.low.example.\na 300 A 192.0.2.3\n";
    let (parent, child, verdict) = both(&sided(above, own, ""), "www.low.example A", 7);
    let nowhere = |ended: &Ended| matches!(ended.summary.outcome, Outcome::Unanswered { .. });
    assert!(nowhere(&parent) && nowhere(&child), "no way leads to the zone");
    assert!(verdict.starts_with("neither leads to an answer"), "{verdict}");
    // A server in a sibling zone, with an old address above.
    let above = "low 300 NS ns.side.example.\nside 300 NS ns.side.example.\n\
                 ns.side 300 A 192.0.2.9\n";
    let own = "@ 300 NS ns.side.example.\n";
    let mut authority = sided(above, own, "");
    let side = "@ 300 NS ns.side.example.\nns 300 A 192.0.2.5\n";
    authority.add_zone(Zone::parse(&name("side.example."), &(SOA.to_owned() + side)).unwrap());
    let zones = vec![name("side.example."), name("low.example.")];
    authority.add_host(at(5), zones.clone(), Manner::Sound);
    authority.add_host(at(9), zones[..1].to_vec(), Manner::Sound);
    for seed in 0..20 {
        let (parent, child, verdict) = both(&authority, "www.low.example A", seed);
        assert!(nowhere(&parent), "seed {seed}");
        assert_eq!(child.data(), ["203.0.113.7"], "seed {seed}: {:?}", child.summary.outcome);
        assert!(verdict.starts_with("the parent's is wrong: "), "seed {seed}: {verdict}");
        let usual = of_side(&authority, "www.low.example A", None, seed);
        assert_eq!(usual.data(), ["203.0.113.7"], "seed {seed}");
        let json = serde_json::to_value(&usual.summary.findings).unwrap();
        let wrong = json.as_array().unwrap().iter().find(|one| one["code"] == "SIDE_FAILS");
        assert_eq!(wrong.unwrap()["side"], "parent", "seed {seed}: {json}");
    }
}

#[test]
fn a_list_of_its_own_that_an_earlier_walk_learned_and_that_fails_is_named() {
    let above = "low 300 NS ns.low.example.\nns.low 300 A 192.0.2.3\n";
    let authority = sided(above, "@ 300 NS gone.other.\n", "gone 300 A 192.0.2.9\n");
    // Without signatures nothing in the first walk asks the servers that it learns.
    let first = walk_at(&authority, "low.example NS", config(), Ppm::ZERO, 7);
    assert_eq!(first.data(), ["gone.other."]);
    let judged = of_side(&authority, "low.example NS", None, 7);
    assert!(judged.codes().contains(&"SIDE_FAILS".to_owned()), "{:?}", judged.codes());
    let config = WalkConfig { validate_at: Some(JUDGED), ..config() };
    let (hints, start) = (authority.hints(PORT), wirelab::measure::Instant::ZERO);
    let asked = question("www.low.example A");
    let walk = dns_walk::walk::Walk::new(config, hints, asked, 7, first.cache, start);
    let mut responder = |to: std::net::SocketAddr, transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query)
    };
    let link = super::walk::link(Ppm::ZERO);
    let ended = dns_walk::sim::run(walk, start, &mut responder, &link, super::walk::ONE_WAY, 7);
    let Some(Event::Summary(summary)) = ended.0.last().map(|record| &record.event) else {
        panic!("no summary");
    };
    assert_eq!(summary.outcome, Outcome::Answer);
    let json = serde_json::to_value(&summary.findings).unwrap();
    let wrong = json.as_array().unwrap().iter().find(|one| one["code"] == "SIDE_FAILS");
    assert_eq!(wrong.unwrap()["side"], "child", "{json}");
}

#[test]
fn where_nothing_is_wrong_both_sides_lead_to_the_same_answer() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    for asked in ["www.igbank.com A", "shop.igbank.com A", "nowhere.igbank.com A", "com NS"] {
        for seed in 0..10 {
            let (parent, child, verdict) = both(&authority, asked, seed);
            assert_eq!(verdict, "both lead to the same answer", "{asked}, seed {seed}");
            for ended in [parent, child] {
                let status = ended.summary.security.as_ref().unwrap().status;
                assert_ne!(status, Status::Bogus, "{asked}, seed {seed}");
                assert!(ended.summary.queries < 40, "{} queries", ended.summary.queries);
            }
        }
    }
    let none = of_side(&authority, "www.igbank.com A", None, 7);
    let walks = [none.records];
    assert_eq!((heading(&walks, 0), sides_verdict(&walks)), (None, None));
}

#[test]
fn the_side_that_is_wrong_is_said_first_and_again_of_a_saved_run() {
    let lab = Lab::new("dns-walk");
    let asked = "www.igbank.com --demo broken --sim --seed 7 --side";
    let out = lab.run(&format!("{asked} both"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stdout.starts_with("sides     both lead to the same answer\n"), "{}", out.stdout);
    let heads = ["Parent's side: the servers that", "Child's side: the servers that"];
    assert!(heads.iter().all(|head| out.stdout.contains(head)), "{}", out.stdout);
    assert_eq!(lab.run("show").stdout, out.stdout);
    let child = lab.run(&format!("{asked} child --events -"));
    assert!(child.stdout.contains(r#""for":"own_servers","zone":"igbank.com.""#));
    let schema = serde_json::from_str(events_schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let parent = lab.run(&format!("{asked} parent --events -"));
    for line in child.stdout.lines().chain(parent.stdout.lines()) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let faults: Vec<String> = schema.iter_errors(&record).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{line}: {faults:?}");
    }
    let warm = lab.run(&format!("{asked} both --warm"));
    assert_eq!(warm.code, 2, "{}", warm.stdout);
}
