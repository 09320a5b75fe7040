//! Steps below a round trip are reported, or the interval holds; false alarms are rare.
//!
//! `WIRELAB_FULL=1` plays 100 seeds of each step instead of 12. A failure names seed and scenario.

use clock_offset::client::ClientConfig;
use clock_offset::drift::DRIFT_MAX;
use clock_offset::finding::{Finding, Verdict, View};
use clock_offset::scenario::{Falseticker, Scenario, Step, Truth, Way};
use clock_offset::sim::Plan;
use clock_offset::timestamp::WallTime;
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};

const MS: i64 = 1_000_000;

fn full() -> bool {
    std::env::var_os("WIRELAB_FULL").is_some()
}

/// A path of `out` and `back` milliseconds with queues of `jitter` microseconds on both ways.
fn plan(requests: u32, seed: u64, [out, back, jitter]: [u64; 3]) -> Plan {
    let way = |delay| Way {
        delay: Duration::from_millis(delay),
        jitter: Duration::from_micros(jitter),
        loss: Ppm::ZERO,
    };
    let truth = Truth { offset_ns: 10 * MS, drift_ppb: 20_000, ..Truth::default() };
    let every = Duration::from_secs(2);
    Plan {
        scenario: Scenario { truth, out: way(out), back: way(back), ..Scenario::default() },
        config: ClientConfig {
            requests: Some(requests),
            burst_interval: every,
            interval: every,
            ..ClientConfig::default()
        },
        seed,
        start: WallTime::from_nanos(1_795_000_000_000_000_000),
        local_steps: Vec::new(),
        local_slews: Vec::new(),
        local_sleeps: Vec::new(),
    }
}

fn found(plan: &Plan) -> (Finding, bool) {
    let view = View { estimator: None, drift_limit: DRIFT_MAX, within_ns: None };
    let (gathered, now) = plan.play();
    let finding = Finding::new(vec![gathered], view, now);
    let truth = plan.offset_at(now.at);
    let inside = finding.together.is_some_and(|found| found.interval.contains(truth));
    (finding, inside)
}

#[test]
fn no_step_passes_silently() {
    let seeds = if full() { 100 } else { 12 };
    let (mut reported, mut runs) = (0, 0);
    for path in [[10, 10, 200], [15, 5, 200], [10, 10, 1_000]] {
        for quarters in [1, 2, 3, 4, 8] {
            for requests in [8, 16, 64] {
                for (host, sign) in [(false, 1), (false, -1), (true, 1), (true, -1)] {
                    for seed in 0..seeds {
                        let mut plan = plan(requests, seed, path);
                        let by_ns = sign * quarters * 5 * MS;
                        let span = 2_000 * u64::from(requests - 1);
                        let at = Instant::ZERO + Duration::from_millis(keyed(seed, 77) % span + 1);
                        let step = vec![Step { at, by_ns }];
                        if host {
                            plan.local_steps = step;
                        } else {
                            plan.scenario.truth.steps = step;
                        }
                        let (finding, inside) = found(&plan);
                        let told = finding.verdict == Verdict::Contradiction;
                        (reported, runs) = (reported + u32::from(told && !host), runs + 1);
                        assert!(
                            told || inside,
                            "path {path:?}, {quarters}/4 of a round trip, {requests} requests, \
                             host {host}, sign {sign}, seed {seed}: {:?}",
                            finding.together
                        );
                    }
                }
            }
        }
    }
    assert!(reported * 3 > runs, "{reported} of {runs} were reported");
}

#[test]
fn false_alarms_are_at_most_one_in_a_thousand() {
    let runs = if full() { 4_000 } else { 1_000 };
    for (path, requests) in
        [([10, 10, 200], 8), ([15, 5, 1_000], 8), ([15, 5, 1_000], 64), ([1, 1, 5_000], 16)]
    {
        let runs = if requests > 8 { runs / 4 } else { runs };
        let alarm = |seed: &u64| found(&plan(requests, *seed, path)).0.verdict != Verdict::Usable;
        let alarms: Vec<u64> = (0..runs).filter(alarm).collect();
        let most = usize::try_from(runs / 1_000).unwrap().max(1);
        assert!(alarms.len() <= most, "path {path:?}, {requests} requests: seeds {alarms:?}");
    }
}

#[test]
fn a_step_of_three_quarters_is_described() {
    let mut plan = plan(12, 3, [10, 10, 200]);
    let at = Instant::ZERO + Duration::from_secs(11);
    plan.scenario.truth.steps = vec![Step { at, by_ns: 15 * MS }];
    let (finding, inside) = found(&plan);
    assert_eq!((finding.verdict, inside), (Verdict::Contradiction, true));
    let change = finding.servers[0].bound.unwrap().change.unwrap();
    assert_eq!((change.earlier, change.later), (6, 7));
    assert!(change.jump_ns.abs_diff(15 * MS) < 500_000, "{change:?}");
    assert!(change.delay_ns.abs() < MS, "{change:?}");
    assert_eq!(finding.servers[0].excluded.change, 6);
}

#[test]
fn a_lie_in_a_quarter_of_the_replies_is_reported() {
    let mut silent = Vec::new();
    for seed in 0..100 {
        let mut plan = plan(16, seed, [10, 10, 200]);
        let share = Ppm::new(250_000).unwrap();
        plan.scenario.lie = Some(Falseticker { by_ns: 5 * MS, share });
        let lies = |number| plan.scenario.fate(seed, number).lie_ns != 0;
        if (1..=16).any(lies) && found(&plan).0.verdict == Verdict::Usable {
            silent.push(seed);
        }
    }
    assert_eq!(silent, Vec::<u64>::new());
}
