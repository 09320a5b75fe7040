//! The grammar of arms, and the places that list the named ones.

use crate::fixture;
use std::collections::BTreeSet;
use tcp_vs_udp::arms::Arm;
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::report;

#[test]
fn schemas_and_page_list_the_named_arms() {
    let page = include_str!("../README.md");
    for arm in Arm::all() {
        assert!(report::schema().contains(arm.name()), "{}", arm.name());
        assert!(page.contains(&format!("| `{}` | ", arm.name())), "the page has {}", arm.name());
    }
}

#[test]
fn arms_have_unique_names_and_styles() {
    let names: BTreeSet<&str> = Arm::all().map(Arm::name).collect();
    assert_eq!(names.len(), Arm::all().count(), "names are unique");
    let looks: BTreeSet<_> =
        Arm::all().map(|a| (a.look().colour, a.look().line, a.look().marker)).collect();
    assert_eq!(looks.len(), names.len(), "no two named arms look alike");
    let style = report::html::render(&fixture::result(), &[]);
    for arm in Arm::all() {
        assert_eq!(Arm::parse(arm.name()), Ok(arm));
        let colour = format!("--{}: #", arm.look().colour);
        // In the light and the dark theme.
        assert_eq!(style.matches(&colour).count(), 2, "{}", arm.name());
    }
}

#[test]
fn default_arms() {
    let names: Vec<&str> = Plan::default().arms.iter().map(|arm| arm.name()).collect();
    let six = ["tcp", "tcp-tuned", "tcp-reconnect", "udp", "udp-retry", "udp-once"];
    assert_eq!(names, six);
}

#[test]
fn lines_are_read_and_written_as_typed() {
    for (line, name) in [
        ("a=udp:delivery=once", "a"),
        ("tcp:rto_min=5ms,cc=bbr,nodelay=off", "tcp:rto_min=5ms,cc=bbr,nodelay=off"),
        ("tcp:quickack=off", "tcp:quickack=off"),
        ("tcp:user_timeout=2s", "tcp:user_timeout=2s"),
        ("tcp:tfo=on", "tcp:tfo=on"),
        ("udp:retry=fixed/30ms", "udp:retry=fixed/30ms"),
        ("udp:retry=rfc6298,delivery=once", "udp:retry=rfc6298,delivery=once"),
        ("quick=tcp-tuned:rto_min=5ms", "quick"),
    ] {
        let arm = Arm::parse(line).unwrap();
        assert_eq!((arm.name(), arm.line()), (name, line));
        let json = serde_json::to_string(&arm).unwrap();
        assert_eq!(serde_json::from_str::<Arm>(&json).unwrap(), arm);
        assert_eq!(Arm::parse(line).unwrap(), arm, "parsed once");
    }
    assert_ne!(Arm::parse("a=udp").unwrap(), Arm::parse("b=udp").unwrap());
}

#[test]
fn mistakes_in_a_line_say_what_exists() {
    for (line, part) in [
        ("sctp", "expected one of tcp, tcp-tuned"),
        ("tcp:rtomin=5ms", "expected one of nodelay, rto_min, connect, cc"),
        ("udp:rto=5ms", "expected one of delivery, retry"),
        ("tcp:nodelay=yes", "expected on or off"),
        ("tcp:rto_min=5", "did you mean 5ms?"),
        ("tcp:nodelay", "expected key=value"),
        ("udp:retry=fixed", "expected off, rfc6298 or fixed/TIME"),
        ("udp:retry=off,delivery=once", "at-most-once"),
        ("udp:delivery=twice", "expected once, at-least-once"),
        ("=udp", "expected a name"),
        ("a b=udp", "without spaces"),
    ] {
        let error = Arm::parse(line).unwrap_err();
        assert!(error.contains(part), "{line}: expected {part:?} in {error}");
    }
}
