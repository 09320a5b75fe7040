//! tcp-vs-udp in virtual time against theory, by its statistics, never by the clock.
//! A failure prints the command that repeats it.

use crate::fixture::arm;
use std::ops::ControlFlow;
use tcp_vs_udp::arms::Arm;
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::result::{Host, Lane};
use tcp_vs_udp::run::{Identity, in_virtual_time};
use wirelab::measure::Ppm;
use wirelab::measure::interval::clopper_pearson;
use wirelab::measure::staircase::attempt_fails;

fn percent(parts: u32) -> Ppm {
    Ppm::new(parts * 10_000).unwrap()
}

fn simulate(plan: &Plan, seed: u64) -> tcp_vs_udp::run::Run {
    plan.check().unwrap();
    let identity = Identity { seed, command: String::new(), host: Host::default() };
    in_virtual_time(plan, identity, |_| ControlFlow::Continue(()))
}

fn sim_plan(loss: u32, duplicate: u32) -> Plan {
    Plan {
        loss_ppm: vec![percent(loss)],
        duplicate_ppm: percent(duplicate),
        arms: ["udp", "udp-retry", "udp-once"].map(arm).to_vec(),
        ops: 600,
        ..Plan::default()
    }
}

fn lanes(run: &tcp_vs_udp::run::Run, arm: Arm) -> Vec<&Lane> {
    run.result.stages.iter().flat_map(|s| &s.lanes).filter(|l| l.arm == arm).collect()
}

#[test]
fn exactly_once_holds_and_at_least_once_does_not() {
    let plan = sim_plan(10, 10);
    let mut twice = 0;
    for seed in 0..20 {
        let run = simulate(&plan, seed);
        for lane in lanes(&run, arm("udp-once")) {
            let ledger = &lane.ledger;
            assert!(ledger.acknowledged > 0, "seed {seed}: nothing acknowledged");
            assert_eq!(ledger.acknowledged_missing, 0, "seed {seed}: {ledger:?}");
            assert_eq!(ledger.applied_twice, 0, "seed {seed}: {ledger:?}");
            assert_eq!(ledger.surplus_cents, 0, "seed {seed}: {ledger:?}");
            assert!(ledger.balanced, "seed {seed}: {ledger:?}");
            assert!(ledger.repeats_answered > 0, "seed {seed}: no repeat ever came");
        }
        for lane in lanes(&run, arm("udp-retry")) {
            twice += lane.ledger.applied_twice;
            assert_eq!(lane.ledger.acknowledged_missing, 0, "seed {seed}: {:?}", lane.ledger);
            assert!(lane.ledger.balanced, "seed {seed}: {:?}", lane.ledger);
        }
        // Without retries, a duplicated datagram must not deposit twice either.
        for lane in lanes(&run, arm("udp")) {
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
                // The lanes of a run share their fates: test one arm.
                if lane.arm != arm("udp-retry") || lane.depth != 1 {
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
fn virtual_time_accounts_for_at_most_once_unknowns() {
    let run = simulate(&sim_plan(10, 0), 3);
    for lane in lanes(&run, arm("udp")) {
        let (requests, ledger) = (&lane.requests, &lane.ledger);
        assert!(requests.unknown > 0);
        assert_eq!(requests.started, requests.done + requests.refused + requests.unknown);
        assert!(ledger.unknown_applied > 0 && ledger.unknown_not_applied > 0, "{ledger:?}");
        assert!(ledger.unknown_applied + ledger.unknown_not_applied <= requests.unknown);
    }
}
