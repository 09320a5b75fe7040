//! The clock's demonstrations by real packets over the emulated path, where that is allowed.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use crate::usage::{json, lab};
use std::process::Command;
use wirelab_tests::lab::{Lab, Output};

/// Exit code of a privilege that is missing (`cli::exit`).
const FORBIDDEN: i32 = 4;

/// Whether the path could be built; if not, the reason and a remedy were printed.
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
    let schema = serde_json::from_str(clock_offset::report::order::schema()).unwrap();
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

/// Forbids user namespaces, and takes the rights that would do without one.
const NO_USER_NAMESPACE: &str = "echo 0 >/proc/sys/user/max_user_namespaces && \
     exec setpriv --bounding-set=-all --inh-caps=-all -- \"$0\" \"$@\"";
/// Leaves the rights, and forbids network namespaces.
const NO_NETWORK_NAMESPACE: &str =
    "echo 0 >/proc/sys/user/max_net_namespaces && exec \"$0\" \"$@\"";

/// Runs the lab in a user namespace with a rule of its own, which holds only there and ends with
/// it; `None` where not even that can be made, which is said.
fn under(rule: &str, lab: &Lab, args: &str) -> Option<Output> {
    let inside = |program: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", rule]);
        command.arg(program.get_program()).args(program.get_args()).current_dir(&lab.folder);
        command.output()
    };
    match inside(&Command::new("true")) {
        Ok(tried) if tried.status.success() => {
            let out = inside(&lab.command(args)).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let code = out.status.code().unwrap_or(-1);
            Some(Output { code, stdout: text(&out.stdout), stderr: text(&out.stderr) })
        }
        tried => {
            println!("skipped: no namespace to forbid namespaces in: {tried:?}");
            None
        }
    }
}

#[test]
fn where_namespaces_are_forbidden_it_says_what_failed_why_and_what_works_without() {
    let lab = lab();
    for (rule, what, why) in [
        (NO_USER_NAMESPACE, "unshare(CLONE_NEWUSER) failed", "user.max_user_namespaces is 0"),
        (NO_NETWORK_NAMESPACE, "unshare(CLONE_NEWNET) failed", "user.max_net_namespaces is 0"),
    ] {
        for (args, without) in [
            ("--demo --kernel --seed 1 --requests 2", "--demo --requests 2 --seed 1"),
            ("order --kernel --messages 4 --seed 1", "order --messages 4 --seed 1"),
        ] {
            let Some(out) = under(rule, &lab, args) else { return };
            assert_eq!(out.code, FORBIDDEN, "{args}: {}{}", out.stdout, out.stderr);
            assert_eq!(out.stdout, "", "{args}");
            let typed = format!("clock-offset {without}");
            for part in [what, why, "sudo sysctl -w", "lossy-path doctor", &typed] {
                assert!(out.stderr.contains(part), "{args}: no {part:?} in\n{}", out.stderr);
            }
            // What it says works there does.
            let out = under(rule, &lab, without).unwrap();
            assert_eq!(out.code, 0, "{without}: {}{}", out.stdout, out.stderr);
        }
    }
    // A run that could not begin leaves no folder behind.
    let runs = std::fs::read_dir(lab.folder.join("wirelab-runs")).unwrap();
    let runs = runs.filter(|run| !run.as_ref().unwrap().file_type().unwrap().is_symlink());
    assert_eq!(runs.count(), 2, "one for each run of the demonstration that worked");
}
