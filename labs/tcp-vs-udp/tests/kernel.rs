//! tcp-vs-udp on the kernel's own TCP and UDP: theory, fates, ordinary users, cleanup.
//!
//! A separate binary, so that no other test runs beside it. Latencies are compared with theory
//! only if the run declares its timing trusted. A failure prints the command that repeats it.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

/// tcp-vs-udp as an ordinary user, and its cleanup.
mod privilege;

use serde_json::Value;
use std::io::BufRead;
use std::process::{Command, Stdio};
use wirelab::measure::Ppm;
use wirelab::measure::interval::clopper_pearson;
use wirelab::measure::staircase::attempt_fails;
use wirelab_tests::lab::Lab;
use wirelab_tests::namespaces::{EXIT_PRIVILEGE, alone};
use wirelab_tests::page::{self, violations};

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
            "--loss 5% --depth 1 --arms tcp,udp-once --ops 1200 --seed 7 --json --no-report \
             --events {}",
            events.display()
        );
        kernel_run(&lab, &args)?;
        let text = std::fs::read_to_string(events).unwrap();
        let mut lost: Vec<(String, String, u64)> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            // The first repetition: each begins its own sequence of frames.
            .take_while(|event| event["type"] != "stage.end")
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

/// The text, the JSON and the page of runs on the kernel agree, whatever the machine's load.
#[test]
fn text_json_and_page_agree_on_the_kernel() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    for (seed, plan) in [
        (1, "--loss 2% --depth 1 --ops 10 --arms tcp,udp-once"),
        (2, "--loss 5% --depth 1,4 --ops 600 --arm a=tcp --arm b=tcp --arm udp-once"),
        (3, "--loss 0 --depth 1 --ops 300 --arm x=tcp:quickack=on,user_timeout=2s --arms udp"),
    ] {
        let folder = format!("run-{seed}");
        let out = lab.run(&format!("{plan} --seed {seed} --out {folder}"));
        if out.code == EXIT_PRIVILEGE {
            println!("skipped on the kernel: {}", out.stderr);
            return;
        }
        let read = |name: &str| std::fs::read_to_string(lab.folder.join(&folder).join(name));
        let result: Value = serde_json::from_str(&read("result.json").unwrap()).unwrap();
        assert_eq!(violations(tcp_vs_udp::report::schema(), &result), Vec::<String>::new());
        let headline = &result["verdicts"][0];
        let sentence = headline["sentence"].as_str().unwrap();
        let words = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.starts_with(sentence), "{plan}: {sentence}\n{}", out.stdout);
        let page = read("report.html").unwrap();
        assert_eq!(page::data(&page)["result"]["verdicts"], result["verdicts"], "{plan}");
        assert_eq!(result["verdict"], sentence, "{plan}");
        let told = headline["claim"] != "cannot_tell";
        assert!(told || matches!(out.code, 1 | 3), "{plan}: exit {}, {sentence}", out.code);
        let claims = result["claims"].as_array().unwrap();
        assert!(claims.iter().all(|claim| claim["trials"].as_u64() > Some(0)), "{plan}");
    }
}

/// With fast open a request travels in the SYN: a connection per request costs no round trip.
#[test]
fn fast_open_saves_the_handshake() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let arms = "--arm tcp-reconnect --arm fast=tcp-reconnect:tfo=on";
    let args = format!("--loss 0 --depth 1 --rtt 80ms {arms} --ops 300 --json --no-report");
    let Some(result) = kernel_run(&lab, &args) else { return };
    let lane = |arm| lane_of(&result, arm, 1)["latency"]["p50"]["value_ns"].as_u64().unwrap();
    let (slow, fast) = (lane("tcp-reconnect"), lane("fast=tcp-reconnect:tfo=on"));
    // Two round trips against one; the machine may add some milliseconds to either.
    assert!(slow > 160_000_000 && fast < 150_000_000, "{slow} ns and {fast} ns");
}

/// Ctrl-C: completed repetitions are kept, requests in flight are unknown.
#[test]
fn an_interrupted_run_counts_what_was_in_flight() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let events = "--loss 1% --depth 1 --arms tcp,udp-once --ops 900000 --stage-limit 300s";
    let mut command = lab.command(&format!("{events} --json --no-report -vv"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut stopped = false;
    // Read to the end: the lab writes to it until it has stopped.
    for line in said.lines().map_while(Result::ok) {
        let measured = line.contains("requests ended") && !line.contains(": 0 of ");
        if measured && !stopped {
            stopped = true;
            assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        }
    }
    let out = child.wait_with_output().unwrap();
    if out.status.code() == Some(EXIT_PRIVILEGE) {
        println!("skipped on the kernel");
        return;
    }
    assert_eq!(out.status.code(), Some(130));
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(result["ended"], "interrupted");
    assert!(result["in_flight_unknown"].as_u64() > Some(0), "{}", result["in_flight_unknown"]);
    assert_eq!(result["verdicts"][0]["claim"], "cannot_tell");
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
