//! tcp-vs-udp on the kernel's own TCP and UDP: theory, fates, ordinary users, cleanup.
//!
//! A separate binary, so that no other test runs beside it. Latencies are compared with theory
//! only if the run declares its timing trusted. A failure prints the command that repeats it.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

/// tcp-vs-udp as an ordinary user, and its cleanup.
mod privilege;

use serde_json::Value;
use wirelab::measure::Ppm;
use wirelab::measure::interval::clopper_pearson;
use wirelab::measure::staircase::attempt_fails;
use wirelab_tests::lab::Lab;
use wirelab_tests::namespaces::{EXIT_PRIVILEGE, alone};

/// Runs the lab on the kernel; reports and returns `None` if the machine forbids it.
fn kernel_run(lab: &Lab, args: &str) -> Option<Value> {
    let out = lab.run(args);
    if out.code == EXIT_PRIVILEGE {
        println!("skipped on the kernel: {}", out.stderr);
        assert!(out.stderr.contains("--sim"), "the refusal must offer --sim: {}", out.stderr);
        return None;
    }
    assert!(matches!(out.code, 0 | 1 | 3), "{args}: exit {}\n{}", out.code, out.stderr);
    Some(
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{args}: {e}\n{}", out.stdout)),
    )
}

fn lane_of<'a>(result: &'a Value, arm: &str, depth: u64) -> &'a Value {
    let lanes = result["stages"][0]["lanes"].as_array().unwrap();
    lanes.iter().find(|l| l["arm"] == arm && l["depth"] == depth).unwrap()
}

#[test]
fn kernel_tcp_and_udp_agree_with_theory_over_seeds() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let mut late = [(0, 0); 2];
    let mut stairs = [(0, 0); 2];
    for seed in 1..=4 {
        let args = format!(
            "--loss 2% --depth 1 --arms tcp,udp-retry --ops 1200 --seed {seed} --json --no-report"
        );
        let Some(result) = kernel_run(&lab, &args) else { return };
        for (place, arm) in ["tcp", "udp-retry"].into_iter().enumerate() {
            let lane = lane_of(&result, arm, 1);
            let read = |value: &Value| {
                (value["hits"].as_u64().unwrap(), value["trials"].as_u64().unwrap())
            };
            for link in lane["path"].as_array().unwrap() {
                assert_eq!(link["kernel_dropped"], 0, "{args}");
                assert_eq!(link["oversize"], 0, "{args}");
                let (lost, offered) = read(&link["loss"]);
                let (low, high) = clopper_pearson(lost, offered, 1e-5);
                assert!(low <= 0.02 && 0.02 <= high, "{args}: lost {lost} of {offered}");
            }
            if result["timing"]["verdict"] != "trusted" {
                println!("skipped: latencies of seed {seed}, {}", result["timing"]["reason"]);
                continue;
            }
            let (hits, trials) = read(&lane["theory"]["slow_observed"]);
            late[place] = (late[place].0 + hits, late[place].1 + trials);
            let (hits, trials) = read(&lane["theory"]["on_stairs"]);
            stairs[place] = (stairs[place].0 + hits, stairs[place].1 + trials);
        }
    }
    let expected = attempt_fails(Ppm::new(20_000).unwrap());
    for (arm, ((hits, trials), (on, slow))) in
        ["tcp", "udp-retry"].iter().zip(late.iter().zip(stairs))
    {
        let (low, high) = clopper_pearson(*hits, *trials, 1e-4);
        assert!(
            low <= expected && expected <= high,
            "{arm}: {hits} of {trials} slow, expected {expected}, interval {low} to {high}"
        );
        assert!(on * 100 >= slow * 85, "{arm}: {on} of {slow} slow requests on the staircase");
    }
}

#[test]
fn equal_seeds_give_equal_fates_on_the_kernel() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let lost = |run: u32| {
        let events = lab.folder.join(format!("events-{run}.ndjson"));
        let args = format!(
            "--loss 5% --depth 1 --arms tcp,udp-once --ops 400 --seed 7 --json --no-report \
             --events {}",
            events.display()
        );
        kernel_run(&lab, &args)?;
        let text = std::fs::read_to_string(events).unwrap();
        let mut lost: Vec<(String, String, u64)> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["type"] == "frame.lost")
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (
                    text(&event["lane"]["arm"]),
                    text(&event["direction"]),
                    event["index"].as_u64().unwrap(),
                )
            })
            .collect();
        lost.sort();
        Some(lost)
    };
    let (Some(first), Some(second)) = (lost(1), lost(2)) else { return };
    for arm in ["tcp", "udp-once"] {
        for direction in ["a_to_b", "b_to_a"] {
            let of = |all: &[(String, String, u64)]| -> Vec<u64> {
                let mine = all.iter().filter(|(a, d, _)| a == arm && d == direction);
                mine.map(|(_, _, index)| *index).collect()
            };
            let (a, b) = (of(&first), of(&second));
            // One run may have offered a few more frames than the other.
            let common = a.len().min(b.len());
            assert!(common > 10, "{arm} {direction}: only {common} losses");
            assert_eq!(a[..common], b[..common], "{arm} {direction}");
        }
    }
}

#[test]
fn too_few_descriptors_are_named() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let out = lab.shell("--loss 2% --ops 50 --depth 1 --no-report", "ulimit -n 16;", "");
    assert_eq!(out.code, EXIT_PRIVILEGE, "{}", out.stderr);
    if out.stderr.contains("cannot make a network namespace") {
        println!("skipped on the kernel: {}", out.stderr);
        return;
    }
    assert!(out.stderr.contains("ulimit -n 4096"), "{}", out.stderr);
}
