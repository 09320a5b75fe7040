//! tcp-vs-udp, held against theory by its statistics and never by the clock.
//!
//! The simulation runs in this process; the kernel's TCP and UDP run in the lab's own process,
//! which makes its namespaces before it has threads. A failure prints the command that repeats it.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use crate::lab::{self, Lab};
use serde_json::Value;
use std::ops::ControlFlow;
use wirelab::compare::plan::{Arm, Plan};
use wirelab::compare::result::{Host, Lane};
use wirelab::compare::run::{Identity, in_virtual_time};
use wirelab::measure::Ppm;
use wirelab::measure::interval::clopper_pearson;
use wirelab::measure::staircase::attempt_fails;

fn percent(parts: u32) -> Ppm {
    Ppm::new(parts * 10_000).unwrap()
}

fn simulate(plan: &Plan, seed: u64) -> wirelab::compare::run::Run {
    plan.check().unwrap();
    let identity = Identity { seed, command: String::new(), host: Host::default() };
    in_virtual_time(plan, identity, |_| ControlFlow::Continue(()))
}

fn sim_plan(loss: u32, duplicate: u32) -> Plan {
    Plan {
        loss_ppm: vec![percent(loss)],
        duplicate_ppm: percent(duplicate),
        arms: vec![Arm::Udp, Arm::UdpRetry, Arm::UdpOnce],
        ops: 600,
        ..Plan::default()
    }
}

fn lanes(run: &wirelab::compare::run::Run, arm: Arm) -> Vec<&Lane> {
    run.result.stages.iter().flat_map(|s| &s.lanes).filter(|l| l.arm == arm).collect()
}

#[test]
fn exactly_once_holds_and_at_least_once_does_not() {
    let plan = sim_plan(10, 10);
    let mut twice = 0;
    for seed in 0..20 {
        let run = simulate(&plan, seed);
        for lane in lanes(&run, Arm::UdpOnce) {
            let ledger = &lane.ledger;
            assert!(ledger.acknowledged > 0, "seed {seed}: nothing acknowledged");
            assert_eq!(ledger.acknowledged_missing, 0, "seed {seed}: {ledger:?}");
            assert_eq!(ledger.applied_twice, 0, "seed {seed}: {ledger:?}");
            assert_eq!(ledger.surplus_cents, 0, "seed {seed}: {ledger:?}");
            assert!(ledger.balanced, "seed {seed}: {ledger:?}");
            assert!(ledger.repeats_answered > 0, "seed {seed}: no repeat ever came");
        }
        for lane in lanes(&run, Arm::UdpRetry) {
            twice += lane.ledger.applied_twice;
            assert_eq!(lane.ledger.acknowledged_missing, 0, "seed {seed}: {:?}", lane.ledger);
            assert!(lane.ledger.balanced, "seed {seed}: {:?}", lane.ledger);
        }
        // A duplicated datagram must not deposit twice where nothing is retried either.
        for lane in lanes(&run, Arm::Udp) {
            assert_eq!(lane.ledger.applied_twice, 0, "seed {seed}: {:?}", lane.ledger);
            assert!(lane.ledger.balanced, "seed {seed}: {:?}", lane.ledger);
        }
    }
    // A reply is lost in a tenth of the exchanges, and a tenth of the requests arrive twice.
    assert!(twice > 1_000, "only {twice} operations were applied twice over 20 seeds");
}

#[test]
fn virtual_time_is_bit_identical_by_seed() {
    let plan = sim_plan(5, 1);
    let text = |seed| serde_json::to_string(&simulate(&plan, seed).result).unwrap();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn virtual_time_agrees_with_the_staircase() {
    for loss in [1, 2, 5, 10] {
        let plan = Plan { ops: 3_000, ..sim_plan(loss, 0) };
        let (mut late, mut started, mut on, mut slow) = (0, 0, 0, 0);
        for seed in 0..8 {
            let run = simulate(&plan, seed);
            for lane in run.result.stages.iter().flat_map(|s| &s.lanes) {
                // The lanes of a run share their fates: one arm counts.
                if lane.arm != Arm::UdpRetry || lane.depth != 1 {
                    continue;
                }
                late += lane.theory.slow_observed.hits;
                started += lane.theory.slow_observed.trials;
                let stairs = lane.theory.on_stairs.unwrap();
                on += stairs.hits;
                slow += stairs.trials;
                assert_eq!(lane.latency.p50.value_ns, Some(20_000_000), "seed {seed}");
            }
        }
        let expected = attempt_fails(percent(loss));
        let (low, high) = clopper_pearson(late, started, 1e-4);
        assert!(
            low <= expected && expected <= high,
            "{loss} %: {late} of {started} late, expected {expected}, interval {low} to {high}"
        );
        assert!(on * 100 >= slow * 95, "{loss} %: {on} of {slow} slow requests on the staircase");
    }
}

#[test]
fn virtual_time_books_the_at_most_once_unknowns() {
    let run = simulate(&sim_plan(10, 0), 3);
    for lane in lanes(&run, Arm::Udp) {
        let (requests, ledger) = (&lane.requests, &lane.ledger);
        assert!(requests.unknown > 0);
        assert_eq!(requests.started, requests.done + requests.refused + requests.unknown);
        assert!(ledger.unknown_applied > 0 && ledger.unknown_not_applied > 0, "{ledger:?}");
        assert!(ledger.unknown_applied + ledger.unknown_not_applied <= requests.unknown);
    }
}

/// Runs the lab on the kernel; `None` where the machine forbids it, which is said.
fn kernel_run(lab: &Lab, args: &str) -> Option<Value> {
    let out = lab.run(args);
    if out.code == lab::EXIT_PRIVILEGE {
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
            let (hits, trials) = read(&lane["theory"]["slow_observed"]);
            late[place] = (late[place].0 + hits, late[place].1 + trials);
            let (hits, trials) = read(&lane["theory"]["on_stairs"]);
            stairs[place] = (stairs[place].0 + hits, stairs[place].1 + trials);
            for link in lane["path"].as_array().unwrap() {
                assert_eq!(link["kernel_dropped"], 0, "{args}");
                assert_eq!(link["oversize"], 0, "{args}");
                let (lost, offered) = read(&link["loss"]);
                let (low, high) = clopper_pearson(lost, offered, 1e-5);
                assert!(low <= 0.02 && 0.02 <= high, "{args}: lost {lost} of {offered}");
            }
        }
    }
    let expected = attempt_fails(percent(2));
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
    let lab = Lab::new("tcp-vs-udp");
    let lost = |run: u32| {
        let events = lab.path(&format!("events-{run}.ndjson"));
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
            // One run may have offered a few frames more than the other.
            let common = a.len().min(b.len());
            assert!(common > 10, "{arm} {direction}: only {common} losses");
            assert_eq!(a[..common], b[..common], "{arm} {direction}");
        }
    }
}
