//! The clock's demonstrations by real packets over the emulated path, where that is allowed.
//!
//! It must never assert how late this machine is: only that a truth which the test has made holds.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use crate::clock_lab::{json, lab};
use crate::lab::Output;

/// Exit code of a privilege that is missing (`cli::exit`).
const FORBIDDEN: i32 = 4;

/// Whether the path could be built; where not, the reason and the way out were told.
fn allowed(out: &Output) -> bool {
    if out.code != FORBIDDEN {
        return true;
    }
    println!("skipped: this machine forbids namespaces: {}", out.stderr);
    assert!(out.stderr.contains("with the path played inside the program"), "{}", out.stderr);
    false
}

#[test]
fn the_demonstration_holds_its_truth_over_the_path() {
    let lab = lab();
    for flags in ["", "--loss 20% --delay-out 60ms --drift=-90ppm", "--interleaved"] {
        let out = lab.run(&format!("--demo --kernel --seed 7 --json {flags}"));
        if !allowed(&out) {
            return;
        }
        assert_eq!(out.code, 0, "{flags}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains("the path: out 8 packets"), "{}", out.stderr);
        let found = json(&out);
        let checked = &found["checked"];
        assert_eq!(checked["inside"], true, "{flags}: {checked}");
        assert_eq!(checked["samples_inside"], checked["samples"], "{flags}: {checked}");
        // The hosts are the lab's own: host B's address, not loopback's.
        let server = &found["servers"][0];
        assert!(server["address"].as_str().unwrap().starts_with("10.0.0.2:"), "{server}");
        let told = server["counts"]["interleaved"].as_u64().unwrap_or(0);
        assert_eq!(told, if flags == "--interleaved" { 6 } else { 0 }, "{server}");
    }
}

#[test]
fn messages_over_the_path_contradict_where_the_clock_is_ahead_by_more_than_the_way() {
    let lab = lab();
    let schema = serde_json::from_str(wirelab::report::order::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let flags = "--messages 60 --every 5ms --seed 1 --json";
    // Ten seconds ahead, which no way takes: every message of B's contradicts, none of A's.
    let out = lab.run(&format!("order --kernel --offset 10s {flags}"));
    if !allowed(&out) {
        return;
    }
    let value = json(&out);
    let faults: Vec<String> =
        schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(value["carrier"], "path");
    assert_eq!(value["lamport_contradicted"], 0);
    let hits = |index: usize| value["directions"][index]["contradicted"]["hits"].as_u64();
    assert_eq!((hits(0), hits(1)), (Some(0), Some(30)), "{value:#}");
    // With one clock for both nothing contradicts, on whatever machine.
    let right = json(&lab.run(&format!("order --kernel --offset 0ms {flags}")));
    let hits = |index: usize| right["directions"][index]["contradicted"]["hits"].as_u64();
    assert_eq!((hits(0), hits(1)), (Some(0), Some(0)), "{right:#}");
}
