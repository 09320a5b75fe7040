//! Checks the table of arms against every list of arms kept by hand.

use crate::fixture;
use std::collections::BTreeSet;
use tcp_vs_udp::arms::{Arm, Side};
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::report;

#[test]
fn schemas_and_page_list_the_arms_of_the_table() {
    let names: Vec<&str> = Arm::all().map(Arm::name).collect();
    for schema in [report::schema(), report::events_schema()] {
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["$defs"]["arm"]["enum"], serde_json::json!(names));
    }
    let page = include_str!("../README.md");
    let rows: Vec<&str> = names.iter().copied().filter(|n| page.contains(&row(n))).collect();
    assert_eq!(rows, names, "the README explains every arm");
}

fn row(name: &str) -> String {
    format!("| `{name}` | ")
}

#[test]
fn arms_have_unique_names_styles_and_positions() {
    let names: BTreeSet<&str> = Arm::all().map(Arm::name).collect();
    assert_eq!(names.len(), Arm::all().count(), "names are unique");
    let looks: BTreeSet<_> = Arm::all().map(|a| (a.row().look.colour, a.row().look.line)).collect();
    assert_eq!(looks.len(), names.len(), "no two arms look alike");
    let style = report::html::render(&fixture::result(), &[]);
    for arm in Arm::all() {
        assert_eq!(Arm::named(arm.name()), Some(arm));
        let colour = format!("--{}: #", arm.row().look.colour);
        // In the light and the dark theme.
        assert_eq!(style.matches(&colour).count(), 2, "{}", arm.name());
    }
    let sorted: BTreeSet<Arm> = Arm::all().collect();
    assert!(sorted.into_iter().eq(Arm::all()), "the order of the table");
}

#[test]
fn default_arms() {
    let names: Vec<&str> = Plan::default().arms.iter().map(|arm| arm.name()).collect();
    let six = ["tcp", "tcp-tuned", "tcp-reconnect", "udp", "udp-retry", "udp-once"];
    assert_eq!(names, six);
}

#[test]
fn each_side_of_a_verdict_has_ranks_without_gaps() {
    for side in [Side::Tcp, Side::Udp] {
        let ranks = Arm::all().filter_map(|arm| arm.row().contender);
        let ranks: BTreeSet<u8> = ranks.filter(|(of, _)| *of == side).map(|(_, r)| r).collect();
        assert!(ranks.iter().copied().eq(0..u8::try_from(ranks.len()).unwrap()), "{side:?}");
    }
}
