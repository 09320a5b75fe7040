//! How often the printed ± holds the truth: in 62 to 74 % of runs, as 68 % says.
//!
//! `WIRELAB_FULL=1` plays 1,000 seeds of each case instead of 100. A failure names case and seeds.

use clock_offset::bound::Window;
use clock_offset::client::ClientConfig;
use clock_offset::drift::DRIFT_MAX;
use clock_offset::estimate::{Estimator, estimate};
use clock_offset::finding::{Finding, View};
use clock_offset::scenario::{RandomWalkFm, Scenario, Truth, Way};
use clock_offset::sim::Plan;
use clock_offset::timestamp::WallTime;
use std::time::Duration;
use wirelab::measure::Ppm;

/// What a run is drawn from.
#[derive(Clone, Copy, Debug)]
struct Case {
    requests: u32,
    every_s: u64,
    drift_ppb: i64,
    /// Mean queues, microseconds.
    out_us: u64,
    back_us: u64,
    loss_ppm: u32,
    wander_ppb: u32,
}

/// Eight requests as by default, on the path of the demonstration with equal ways.
const BASE: Case = Case {
    requests: 8,
    every_s: 2,
    drift_ppb: 20_000,
    out_us: 1_000,
    back_us: 1_000,
    loss_ppm: 0,
    wander_ppb: 0,
};
/// Seventeen minutes.
const LONG: Case = Case { requests: 64, every_s: 16, ..BASE };

fn plan(case: Case, seed: u64) -> Plan {
    let way = |jitter| Way {
        delay: Duration::from_millis(10),
        jitter: Duration::from_micros(jitter),
        loss: Ppm::new(case.loss_ppm).unwrap(),
    };
    let walks = case.wander_ppb > 0;
    let wander = walks.then_some(RandomWalkFm { ppb_per_root_s: case.wander_ppb, seed });
    let drift_ppb = case.drift_ppb;
    let truth = Truth { offset_ns: 7_000_000, drift_ppb, wander, ..Truth::default() };
    let every = Duration::from_secs(case.every_s);
    let (out, back) = (way(case.out_us), way(case.back_us));
    Plan {
        scenario: Scenario { truth, out, back, ..Scenario::default() },
        config: ClientConfig {
            requests: Some(case.requests),
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

/// Of the runs of a case.
#[derive(Debug, Default)]
struct Seen {
    runs: u32,
    offset_held: u32,
    drift_held: u32,
    bias_ns: i64,
    errors: Vec<u64>,
    filter_errors: Vec<u64>,
}

fn played(case: Case) -> Seen {
    let seeds = if std::env::var_os("WIRELAB_FULL").is_some() { 1_000 } else { 100 };
    let mut seen = Seen::default();
    for seed in 0..seeds {
        let plan = plan(case, seed);
        let (gathered, now) = plan.play();
        let window = Window::new(&gathered.samples, &now);
        if window.rows().len() < 3 {
            continue;
        }
        let view = View { estimator: None, drift_limit: DRIFT_MAX, within_ns: None };
        let finding = Finding::new(vec![gathered], view, now);
        let truth = plan.offset_at(now.at);
        let found = finding.servers[0].estimate.unwrap();
        let interval = finding.servers[0].bound.unwrap().interval;
        assert!(interval.contains(found.offset_ns), "{case:?}, seed {seed}: {found:?}");
        let Some((spread, drift)) = found.spread_ns.zip(found.drift_ppt) else {
            // Too few since a jump that there was not: it counts as one that does not hold.
            seen.runs += 1;
            continue;
        };
        assert!(spread <= interval.width_ns(), "{case:?}, seed {seed}: {found:?}");
        assert!(drift.abs() <= 100_000_000, "{case:?}, seed {seed}");
        let error = found.offset_ns - truth;
        seen.runs += 1;
        seen.bias_ns += error / seeds.cast_signed();
        seen.offset_held += u32::from(error.abs() <= spread);
        let drift_error = drift - case.drift_ppb * 1_000;
        seen.drift_held += u32::from(drift_error.abs() <= found.drift_spread_ppt.unwrap());
        seen.errors.push(error.unsigned_abs());
        let filter = estimate(Estimator::ClockFilter, &window, DRIFT_MAX, now.at).unwrap();
        seen.filter_errors.push(filter.offset_ns.abs_diff(truth));
    }
    seen.errors.sort_unstable();
    seen.filter_errors.sort_unstable();
    seen
}

/// 62 to 74 %, and three standard errors of a share of so many runs.
fn holds(held: u32, runs: u32) -> bool {
    let (share, runs) = (f64::from(held) / f64::from(runs), f64::from(runs));
    // Of a hundred runs the share itself is known to a few percent only.
    let error = if runs < 900.0 { 3.0 * (0.68 * 0.32 / runs).sqrt() - 0.04 } else { 0.0 };
    (0.62 - error..=0.74 + error).contains(&share)
}

#[test]
fn the_noise_that_is_printed_holds_in_two_of_three_runs() {
    for case in [
        Case { drift_ppb: 0, ..BASE },
        BASE,
        Case { drift_ppb: -60_000, ..BASE },
        Case { out_us: 5_000, ..BASE },
        Case { back_us: 0, ..BASE },
        Case { requests: 16, loss_ppm: 150_000, ..BASE },
        LONG,
        Case { out_us: 5_000, ..LONG },
    ] {
        let seen = played(case);
        let Seen { runs, offset_held, drift_held, bias_ns, .. } = seen;
        assert!(holds(offset_held, runs), "{case:?}: {offset_held} of {runs}");
        // One way without a queue tells the drift nearly without error.
        let drift = holds(drift_held, runs) || drift_held > runs * 62 / 100;
        assert!(drift, "{case:?}: the drift in {drift_held} of {runs}");
        // No bias beyond a part of the scatter.
        let spread = i64::try_from(seen.errors[seen.errors.len() * 68 / 100]).unwrap();
        assert!(bias_ns.abs() * 3 < spread, "{case:?}: bias {bias_ns} ns of {spread}");
    }
}

#[test]
fn a_rate_that_wanders_is_in_the_noise_and_beats_the_clock_filter() {
    for case in [
        Case { drift_ppb: 0, wander_ppb: 100, ..LONG },
        Case { drift_ppb: 0, wander_ppb: 10, out_us: 200, back_us: 200, ..LONG },
        Case { drift_ppb: 0, wander_ppb: 100, out_us: 5_000, ..LONG },
        Case { requests: 200, drift_ppb: 0, wander_ppb: 100, ..BASE },
        Case { drift_ppb: 0, wander_ppb: 10, ..LONG },
    ] {
        let seen = played(case);
        let Seen { runs, offset_held, .. } = seen;
        let [error, filter] =
            [&seen.errors, &seen.filter_errors].map(|errors| errors[errors.len() / 2]);
        assert!(error <= filter, "{case:?}: {error} ns, the clock filter {filter} ns");
        // Of a wander that hides behind the queues nothing is known.
        let held = f64::from(offset_held) / f64::from(runs);
        assert!((0.4..=0.85).contains(&held), "{case:?}: {offset_held} of {runs}");
    }
}
