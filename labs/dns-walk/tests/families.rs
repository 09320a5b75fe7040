//! Addresses of both families: the demonstration over IPv6, and what is said of those left out.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use super::walk::{Ended, PORT, config, walk_at};
use dns_walk::demo::{Authority, FAULTS, JUDGED, Variant};
use dns_walk::driver::families;
use dns_walk::event::{Family, SkipReason, Skipped};
use dns_walk::hints::Hints;
use dns_walk::walk::WalkConfig;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use wirelab::measure::Ppm;
use wirelab_tests::lab::Lab;

/// Walks over IPv4, over IPv6, over both.
const OVER: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

fn dual(asked: &str, (v4, v6): (bool, bool), seed: u64) -> Ended {
    let authority = Authority::demo_dual(Variant::Sound).unwrap();
    let config = WalkConfig { v4, v6, prime: true, ..config() };
    walk_at(&authority, asked, config, Ppm::ZERO, seed)
}

#[test]
fn the_demonstration_answers_the_same_over_either_family() {
    for asked in ["www.igbank.com", "shop.igbank.com", "igbank.com MX", "nowhere.igbank.com"] {
        let plain =
            walk_at(&Authority::demo(Variant::Sound).unwrap(), asked, config(), Ppm::ZERO, 7);
        let mut both = [0, 0];
        for (over, seed) in OVER.into_iter().flat_map(|over| (0..10).map(move |n| (over, n))) {
            let ended = dual(asked, over, seed);
            assert_eq!(ended.data(), plain.data(), "{asked}, {over:?}, seed {seed}");
            assert_eq!(ended.summary.outcome, plain.summary.outcome);
            assert!(!ended.codes().iter().any(|code| code != "SINGLE_SERVER"), "{asked}");
            for exchange in ended.exchanges() {
                let v4 = exchange.server.address.is_ipv4();
                assert!(if v4 { over.0 } else { over.1 }, "{asked}: {:?}", exchange.server);
                both[usize::from(v4)] += usize::from(over == (true, true));
            }
        }
        assert!(both.iter().all(|seen| *seen > 0), "{asked}: each family is used: {both:?}");
    }
}

#[test]
fn every_named_fault_is_met_over_ipv6_too() {
    let authority = Authority::demo_dual(Variant::Broken).unwrap();
    for (fault, (v4, v6)) in FAULTS.into_iter().flat_map(|fault| OVER.map(|over| (fault, over))) {
        let validate_at = (fault.code == Some("SERVER_BOGUS")).then_some(JUDGED);
        let config = WalkConfig { v4, v6, check: true, all: true, validate_at, ..config() };
        let config = WalkConfig { prime: true, ..config };
        let ended = walk_at(&authority, fault.ask, config, Ppm::ZERO, 7);
        let codes = ended.codes();
        let named = fault.code.is_none_or(|code| codes.iter().any(|found| found == code));
        assert!(named, "{} over {v4} {v6}: found {codes:?}", fault.name);
    }
}

#[test]
fn addresses_of_a_family_that_is_left_out_are_counted_and_told() {
    let skipped = |over| dual("www.igbank.com", over, 7).summary.skipped;
    let of = |family| Skipped { family, addresses: 6, why: SkipReason::NotWanted };
    // Two servers of the root, of com and of igbank.com.
    assert_eq!(skipped((true, false)), Some(of(Family::IPv6)));
    assert_eq!(skipped((false, true)), Some(of(Family::IPv4)));
    assert_eq!(skipped((true, true)), None);
    let authority = Authority::demo_dual(Variant::Sound).unwrap();
    let without = WalkConfig { v6: false, left_out: SkipReason::NoRoute, ..config() };
    let ended = walk_at(&authority, "www.igbank.com", without, Ppm::ZERO, 7);
    let told = ended.summary.skipped.unwrap().to_string();
    assert_eq!(told, "6 addresses of IPv6: no route");
    // Where there are none, nothing was left out.
    let authority = Authority::demo(Variant::Sound).unwrap();
    assert_eq!(walk_at(&authority, "www.igbank.com", without, Ppm::ZERO, 7).summary.skipped, None);
}

#[test]
fn a_host_is_asked_for_its_routes_and_not_the_network() {
    let has_v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let hints = |text| Hints::parse(text, PORT).unwrap();
    assert!(families(&hints("a.root A 127.0.0.1\n"))[0]);
    assert_eq!(families(&hints("a.root AAAA ::1\n"))[1], has_v6);
    // Any of them will do: 240.0.0.0/4 leads nowhere on any host.
    assert!(families(&hints("a.root A 255.255.255.255\nb.root A 127.0.0.1\n"))[0]);
}

#[test]
fn the_flags_choose_the_families_and_the_verdict_says_what_was_left_out() {
    let lab = Lab::new("dns-walk");
    let v4 = "6 addresses of IPv4: IPv6 only, as told";
    let v6 = "6 addresses of IPv6: IPv4 only, as told";
    for (flags, shown, hidden) in [
        ("-6", Some(v4), " 127.53."),
        ("--dual -6", Some(v4), " 127.53."),
        ("--dual -4", Some(v6), "[fd53::"),
        ("-4", None, "[fd53::"),
        ("--dual", None, "skipped"),
    ] {
        for view in ["", "--explain"] {
            let args = format!("www.igbank.com --demo --sim --seed 7 --no-report {flags} {view}");
            let out = lab.run(&args);
            assert_eq!(out.code, 0, "{args}: {}", out.stderr);
            assert!(out.stdout.contains(shown.unwrap_or_default()), "{args}: {}", out.stdout);
            assert!(!out.stdout.contains(hidden), "{args}: {}", out.stdout);
        }
    }
    let out = lab.run("www.igbank.com -4 -6 --demo");
    assert_eq!(out.code, 2, "{}", out.stderr);
}

#[test]
fn without_its_addresses_the_demonstration_says_how_to_have_them() {
    let routes = Command::new("ip").args(["-6", "route", "show", "table", "all"]).output();
    if routes.is_ok_and(|routes| String::from_utf8_lossy(&routes.stdout).contains("fd53:")) {
        println!("skipped: this host has the addresses of the demonstration over IPv6");
        return;
    }
    let out = Lab::new("dns-walk").run("www.igbank.com --demo -6 --no-report");
    assert_eq!(out.code, 5, "{}", out.stdout);
    assert!(out.stderr.contains("ip -6 route add local fd53::/16 dev lo"), "{}", out.stderr);
}

#[test]
fn real_packets_go_over_ipv6_where_the_host_has_the_addresses() {
    let lab = Lab::new("dns-walk");
    let script = format!(
        "ip link set lo up && ip -6 route add local fd53::/16 dev lo && \
         exec {} www.igbank.com --demo broken -6 --check --seed 7 --no-report",
        lab.command("").get_program().display()
    );
    // A network of its own, for which no privilege is needed where the kernel allows it.
    let made = Command::new("unshare").args(["-Urn", "sh", "-c", "ip link set lo up"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: no namespaces here, or no unshare and ip");
        return;
    }
    let out = Command::new("unshare").args(["-Urn", "sh", "-c", &script]).output().unwrap();
    let [stdout, stderr] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("www.igbank.com. A is 203.0.113.99"), "{stdout}");
    let asked_v4 = |line: &str| line.contains(" UDP ") && line.contains(" 127.53.");
    assert!(stdout.contains("[fd53::2:1]:") && !stdout.lines().any(asked_v4), "{stdout}");
    assert!(stdout.contains("[fd53::3:1]:"), "{stdout}");
}
