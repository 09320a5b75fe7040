//! The clock's bounds and estimators against a known truth, ten thousand times in virtual time.
//!
//! Every run is drawn from its number, which a failure prints: `run N` repeats it.

use clock_offset::bound::{Contradiction, Interval, Window, bounded_drift, consistent_end};
use clock_offset::client::{ClientConfig, Ended};
use clock_offset::drift::{DRIFT_MAX, DriftLimit};
use clock_offset::estimate::{Estimator, estimate};
use clock_offset::finding::{Finding, Verdict, View};
use clock_offset::hull::constant_drift;
use clock_offset::packet::Leap;
use clock_offset::scenario::{Scenario, Step, Truth, Way};
use clock_offset::sim::{Plan, RESIDENCE};
use clock_offset::timestamp::WallTime;
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};

/// Runs of the property tests.
const RUNS: u64 = 10_000;
const SECOND: i64 = 1_000_000_000;

/// Draws of one run.
struct Draw {
    run: u64,
    count: u64,
}

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.count += 1;
        keyed(self.run, self.count) % limit
    }

    /// Between `-limit` and `limit`, each power of ten about as often.
    fn signed(&mut self, limit: i64) -> i64 {
        let size = 10_i64.pow(u32::try_from(self.below(19)).unwrap()).min(limit);
        let value = i64::try_from(self.below(size.unsigned_abs())).unwrap();
        if self.below(2) == 0 { value } else { -value }
    }

    fn duration(&mut self, most: Duration) -> Duration {
        let limit = i64::try_from(most.as_nanos()).unwrap();
        Duration::from_nanos(self.signed(limit).unsigned_abs())
    }
}

/// Any scenario without steps or lies of the server.
fn plan(run: u64) -> Plan {
    let mut draw = Draw { run, count: 0 };
    let mut way = || Way {
        delay: draw.duration(Duration::from_millis(300)),
        jitter: draw.duration(Duration::from_millis(100)),
        loss: Ppm::new(u32::try_from(draw.below(300_000)).unwrap()).unwrap(),
    };
    let (out, back) = (way(), way());
    let truth = Truth {
        offset_ns: draw.signed(30 * 365 * 86_400 * SECOND),
        drift_ppb: draw.signed(i64::from(DRIFT_MAX.ppb())),
        steps: Vec::new(),
        ..Truth::default()
    };
    // 2026, a minute before era 1, in it, and a host that woke in 1970.
    let starts = [1_795_000_000, 2_085_978_436, 2_145_916_800, 60];
    let start = starts[usize::try_from(draw.below(4)).unwrap()];
    // A host in 1970 has lost its time: the server is ahead, or its era could not be known.
    let truth = Truth {
        offset_ns: if start == 60 { truth.offset_ns.abs() } else { truth.offset_ns },
        ..truth
    };
    let start = WallTime::from_nanos(start * SECOND);
    let burst_interval = Duration::from_millis(50 + draw.below(16_000));
    let config = ClientConfig {
        requests: Some(1 + u32::try_from(draw.below(40)).unwrap()),
        burst_interval,
        interval: burst_interval,
        timeout: Duration::from_secs(2),
        interleaved: run % 2 == 1,
        ..ClientConfig::default()
    };
    let local_steps = match draw.below(4) {
        0 => vec![Step {
            at: Instant::from_nanos(draw.below(100) * 1_000_000_000),
            by_ns: draw.signed(3_600 * SECOND),
        }],
        _ => Vec::new(),
    };
    let scenario = Scenario { truth, out, back, lie: None, leap: Leap::None };
    Plan {
        scenario,
        config,
        seed: run,
        start,
        local_steps,
        local_slews: Vec::new(),
        local_sleeps: Vec::new(),
    }
}

fn view() -> View {
    View { estimator: None, drift_limit: DRIFT_MAX, within_ns: None }
}

#[test]
fn the_truth_lies_in_every_interval() {
    let (mut heard, mut narrowed, mut alarms) = (0, 0, Vec::new());
    for run in 0..RUNS {
        let plan = plan(run);
        let (gathered, now) = plan.play();
        let finding = Finding::new(vec![gathered], view(), now);
        let truth = plan.offset_at(now.at);
        let server = &finding.servers[0];
        let before_floor = server.counts.refused.get("before_floor").copied().unwrap_or(0);
        let Some(together) = finding.together else {
            assert_eq!(finding.verdict, Verdict::NoReply, "run {run}");
            continue;
        };
        heard += 1;
        assert_eq!(before_floor, 0, "run {run}");
        if server.bound.unwrap().change.is_some() {
            alarms.push(run);
        } else {
            assert_eq!(finding.verdict, Verdict::Usable, "run {run}: {:?}", server.bound);
        }
        assert!(together.interval.contains(truth), "run {run}: {truth} outside {together:?}");
        assert!(together.interval.contains(together.estimate_ns), "run {run}: {together:?}");
        let bound = server.bound.unwrap();
        let line = bound.constant_drift.unwrap_or_else(|| panic!("run {run}: no line passes"));
        assert!(line.offset.contains(truth), "run {run}: {truth} outside {line:?}");
        let drift_ppt = plan.scenario.truth.drift_ppb * 1000;
        let drifts = line.drift_low_ppt..=line.drift_high_ppt;
        assert!(drifts.contains(&drift_ppt), "run {run}: {drift_ppt} outside {line:?}");
        assert!(line.offset.and(&bound.interval).is_some(), "run {run}: {bound:?}");
        narrowed += u32::from(line.offset.width_ns() < bound.interval.width_ns());
        let check = |sample: &clock_offset::sample::Sample| {
            let apart = |at: Instant| plan.offset_at(at);
            let (t1, t4) = (sample.record.t1.at, sample.record.t4.at);
            sample.high_ns() >= apart(t1) && sample.low_ns() <= apart(t4)
        };
        assert!(server.samples.iter().all(check), "run {run}");
    }
    // The false-alarm rate that the change detection states.
    assert!(alarms.len() as u64 * 1_000 <= RUNS, "false alarms: runs {alarms:?}");
    assert!(heard > RUNS * 9 / 10, "only {heard} of {RUNS} runs had a reply");
    assert!(u64::from(narrowed) > heard / 20, "constant drift narrowed only {narrowed} of {heard}");
}

/// What the delays themselves say: which steps can be seen, by every pair of a request and a reply.
fn visible(plan: &Plan, limit: DriftLimit) -> i64 {
    let (gathered, _) = plan.play();
    let mut worst = i64::MIN;
    for a in &gathered.samples {
        for b in &gathered.samples {
            let fate = |s: &clock_offset::sample::Sample| {
                let fate = plan.scenario.fate(plan.seed, u64::from(s.record.request));
                (fate.out.unwrap(), fate.back.unwrap(), fate.lie_ns)
            };
            let (t1, t4) = (a.record.t1.at, b.record.t4.at);
            let (out, ..) = fate(a);
            let (_, back, _) = fate(b);
            let received = plan.scenario.truth.offset_at(t1 + out) + fate(a).2;
            let replied = plan.scenario.truth.offset_at(t4 - back) + fate(b).2;
            let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap();
            let (high, low) = (received + nanos(out), replied - nanos(back));
            let apart = t4.as_nanos().abs_diff(t1.as_nanos());
            worst = worst.max(low - high - limit.over(apart) - a.slack_ns - b.slack_ns);
        }
    }
    worst
}

#[test]
fn a_step_is_proved_exactly_where_the_delays_let_it_be_seen() {
    let (mut seen, mut hidden) = (0, 0);
    for run in 0..RUNS {
        let mut plan = plan(run);
        let mut draw = Draw { run, count: 1_000 };
        plan.local_steps.clear();
        plan.scenario.truth.offset_ns %= 1_000 * SECOND;
        let span = u64::from(plan.config.requests.unwrap());
        let span = span * u64::try_from(plan.config.burst_interval.as_nanos()).unwrap();
        if draw.below(2) == 0 {
            let at = Instant::from_nanos(draw.below(span));
            plan.scenario.truth.steps = vec![Step { at, by_ns: draw.signed(SECOND) }];
        } else {
            let (by_ns, share) = (draw.signed(SECOND), Ppm::new(300_000).unwrap());
            plan.scenario.lie = Some(clock_offset::scenario::Falseticker { by_ns, share });
        }
        let (gathered, now) = plan.play();
        let window = Window::new(&gathered.samples, &now);
        let found = bounded_drift(&window, DRIFT_MAX, now.at);
        let worst = visible(&plan, DRIFT_MAX);
        // Timestamps are rounded to whole nanoseconds outwards.
        if worst > -8 && worst < 8 {
            continue;
        }
        if worst > 0 {
            seen += 1;
            let Contradiction { jump_ns, .. } =
                found.expect_err(&format!("run {run}: {worst} ns beyond doubt were not seen"));
            let jump = i64::try_from(jump_ns.unsigned_abs()).unwrap();
            assert!((jump - worst).abs() < 8, "run {run}: {jump} for {worst}");
            let line = constant_drift(&window, DRIFT_MAX, now.at);
            assert_eq!(line, None, "run {run}: a line passes through a contradiction");
            let end = consistent_end(&window, DRIFT_MAX);
            assert!(!end.rows().is_empty() && end.rows().len() < window.rows().len(), "run {run}");
            assert!(bounded_drift(&end, DRIFT_MAX, now.at).is_ok(), "run {run}");
        } else {
            hidden += 1;
            assert!(found.is_ok(), "run {run}: a false alarm, {found:?}");
        }
    }
    assert!(seen > 500 && hidden > 500, "{seen} seen, {hidden} hidden");
}

/// Runs in which an estimator is tried.
const TRIES: u64 = 200;

/// The errors of an estimator at the last sample over many runs, absolute, sorted; and how many
/// were within the spread that it gave.
fn errors(
    which: Estimator,
    requests: u32,
    every: Duration,
    out: Way,
    back: Way,
) -> (Vec<u64>, usize) {
    let truth =
        Truth { offset_ns: SECOND / 2, drift_ppb: 50_000, steps: Vec::new(), ..Truth::default() };
    let scenario = Scenario { truth, out, back, ..Scenario::default() };
    let config = ClientConfig {
        requests: Some(requests),
        burst_interval: every,
        interval: every,
        ..ClientConfig::default()
    };
    let start = WallTime::from_nanos(1_795_000_000 * SECOND);
    let mut within = 0;
    let mut errors: Vec<u64> = (0..TRIES)
        .map(|seed| {
            let scenario = scenario.clone();
            let plan = Plan {
                scenario,
                config,
                seed,
                start,
                local_steps: Vec::new(),
                local_slews: Vec::new(),
                local_sleeps: Vec::new(),
            };
            let (gathered, now) = plan.play();
            let window = Window::new(&gathered.samples, &now);
            let found = estimate(which, &window, DRIFT_MAX, now.at).unwrap();
            let error = found.offset_ns.abs_diff(plan.offset_at(now.at));
            within += usize::from(found.spread_ns.is_some_and(|s| error <= s.unsigned_abs()));
            error
        })
        .collect();
    errors.sort_unstable();
    (errors, within)
}

fn way(delay_ms: u64, jitter_ms: u64) -> Way {
    let (delay, jitter) = (Duration::from_millis(delay_ms), Duration::from_millis(jitter_ms));
    Way { delay, jitter, loss: Ppm::ZERO }
}

#[test]
fn the_better_estimators_are_better() {
    let median = |which, requests, every: u64, out, back| {
        errors(which, requests, Duration::from_secs(every), out, back).0[100]
    };
    let (out, back) = (way(10, 5), way(10, 1));
    let long = |which| median(which, 64, 16, out, back);
    let (hull, weighted, plain) =
        (long(Estimator::Hull), long(Estimator::Weighted), long(Estimator::Regression));
    assert!(hull * 10 <= plain * 3, "hull {hull} ns, regression {plain} ns");
    assert!(hull < weighted, "hull {hull} ns, weighted {weighted} ns");
    let short = |which| median(which, 8, 2, out, back);
    let (least, last, mean) =
        (short(Estimator::MinDelay), short(Estimator::Last), short(Estimator::Mean));
    let apex = short(Estimator::Intersection);
    assert!(apex * 10 <= least * 9, "intersection {apex} ns, min-delay {least} ns");
    assert!(least * 2 <= last, "min-delay {least} ns, last {last} ns");
    assert!(least * 2 <= mean, "min-delay {least} ns, mean {mean} ns");
    // A spread is worth its name.
    for (which, requests, every, jitter) in [
        (Estimator::MinDelay, 8, 2, 5),
        (Estimator::MinDelay, 8, 2, 1),
        (Estimator::Intersection, 8, 2, 5),
        (Estimator::Hull, 64, 16, 5),
        (Estimator::Hull, 64, 16, 1),
    ] {
        let every = Duration::from_secs(every);
        let (_, within) = errors(which, requests, every, way(10, jitter), way(10, 1));
        assert!((120..195).contains(&within), "{which}, {jitter} ms: {within} of {TRIES}");
    }
    // What no estimator can see: the ways differ by 10 ms, and all of them are wrong by 5; those
    // that know no drift are wrong by up to 14 s at 50 ppm besides.
    for which in Estimator::ALL {
        let unequal = median(which, 8, 2, way(15, 0), way(5, 0));
        assert!(unequal.abs_diff(5_000_000) < 750_000, "{which}: {unequal} ns");
    }
}

#[test]
fn a_line_that_passes_is_never_excluded_and_the_ends_are_reached() {
    for run in 0..500 {
        let mut plan = plan(run);
        plan.local_steps.clear();
        let (gathered, now) = plan.play();
        let window = Window::new(&gathered.samples, &now);
        let Some(line) = constant_drift(&window, DRIFT_MAX, now.at) else { continue };
        // Each end is reached by a line through the bound, within a nanosecond for rounding.
        for (offset, drift) in
            [(line.offset.high_ns, line.drift_high_ppt), (line.offset.low_ns, line.drift_low_ppt)]
        {
            let room = |at: Instant| {
                let back = i128::from(now.at.as_nanos()) - i128::from(at.as_nanos());
                i128::from(offset) - i128::from(drift) * back / 1_000_000_000_000
            };
            for row in window.rows() {
                let slack = 3 + i128::from(now.at.since(row.sent).as_secs() / 1_000);
                assert!(room(row.sent) <= i128::from(row.high_ns) + slack, "run {run}: {row:?}");
                assert!(room(row.came) >= i128::from(row.low_ns) - slack, "run {run}: {row:?}");
            }
        }
    }
}

#[test]
fn an_estimate_rests_on_samples_of_one_rate() {
    // After 320 s the server runs 50 ppm faster: 800 us more every 16 s.
    let changes = (20..40_u32).map(|sample| Step {
        at: Instant::ZERO + Duration::from_secs(16) * sample - Duration::from_secs(1),
        by_ns: 800_000,
    });
    let way = Way {
        delay: Duration::from_micros(50),
        jitter: Duration::from_micros(20),
        ..Way::default()
    };
    let truth = Truth { steps: changes.collect(), ..Truth::default() };
    let scenario = Scenario { truth, out: way, back: way, ..Scenario::default() };
    let every = Duration::from_secs(16);
    let config = ClientConfig {
        requests: Some(40),
        burst_interval: every,
        interval: every,
        ..ClientConfig::default()
    };
    for seed in 0..50 {
        let (scenario, start) = (scenario.clone(), WallTime::from_nanos(1_795_000_000 * SECOND));
        let plan = Plan {
            scenario,
            config,
            seed,
            start,
            local_steps: Vec::new(),
            local_slews: Vec::new(),
            local_sleeps: Vec::new(),
        };
        let (gathered, now) = plan.play();
        let finding = Finding::new(vec![gathered], view(), now);
        assert_eq!(finding.verdict, Verdict::Usable, "run {seed}: 50 ppm are within the limit");
        let server = &finding.servers[0];
        let (bound, found) = (server.bound.unwrap(), server.estimate.unwrap());
        assert_eq!(bound.constant_drift, None, "run {seed}: the rate was not constant");
        assert_eq!(bound.samples, 40, "run {seed}");
        // The runs test cuts one window in twenty without a cause.
        let one_rate = found.samples + server.excluded.wander;
        assert!((14..=24).contains(&one_rate), "run {seed}: {found:?}");
        let error = found.offset_ns.abs_diff(plan.offset_at(now.at));
        assert!(error < 50_000, "run {seed}: wrong by {error} ns, {found:?}");
    }
}

#[test]
fn a_lossy_server_ends_with_what_it_gave() {
    let mut plan = plan(1);
    plan.scenario.out.loss = Ppm::ONE;
    plan.config.requests = Some(3);
    let (gathered, now) = plan.play();
    assert_eq!(
        (gathered.ended, gathered.counts.lost, gathered.counts.sent),
        (Ended::Complete, 3, 3)
    );
    let finding = Finding::new(vec![gathered], view(), now);
    assert_eq!((finding.verdict, finding.together), (Verdict::NoReply, None));
    assert!(RESIDENCE < Duration::from_millis(1));
}

#[test]
fn a_wrong_server_among_three_is_named() {
    let mut plans: Vec<Plan> = (0..3).map(|_| plan(3)).collect();
    for (number, plan) in (0_u64..).zip(&mut plans) {
        (plan.scenario.out, plan.scenario.back) = (way(10, 1), way(10, 1));
        (plan.seed, plan.local_steps) = (number, Vec::new());
        plan.scenario.truth = Truth { offset_ns: SECOND, ..Truth::default() };
    }
    plans[1].scenario.truth.offset_ns = 2 * SECOND;
    let played = |plans: &[Plan]| {
        let mut played: Vec<_> = plans.iter().map(Plan::play).collect();
        // Three servers, not one under three names.
        for (port, (gathered, _)) in (123..).zip(&mut played) {
            gathered.address.set_port(port);
        }
        let now = played.iter().map(|(_, now)| *now).max_by_key(|now| now.at).unwrap();
        Finding::new(played.into_iter().map(|(gathered, _)| gathered).collect(), view(), now)
    };
    let finding = played(&plans);
    let together = finding.together.unwrap();
    assert_eq!(finding.verdict, Verdict::Usable);
    assert!(
        together.interval.contains(SECOND) && together.estimate_ns.abs_diff(SECOND) < 5_000_000
    );
    let wrong = format!("{:?}", finding.agreement);
    assert!(wrong.contains("falsetickers: [1]"), "{wrong}");
    let finding = played(&plans[..2]);
    assert_eq!((finding.verdict, finding.together), (Verdict::Disagreement, None));
    let never = Interval { low_ns: 0, high_ns: -1 };
    assert!(!never.contains(0));
}
