//! From samples to figures: quantiles, costs, and theory against measurement.
//! No sample is dropped: unanswered requests count as unanswered.

use super::outcome::LaneOutcome;
use super::plan::Plan;
use super::result::{Lane, Latency, Requests, Theory, Traffic};
use super::transport::{LaneFacts, Yardstick};
use std::time::Duration;
use wirelab::bank::codec::useful_bytes;
use wirelab::bank::load::{End, Sample};
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{ecdf, quantile};
use wirelab::measure::{Ppm, nanos};

/// The figures of one lane.
#[must_use]
pub fn lane(plan: &Plan, loss: Ppm, outcome: &LaneOutcome) -> Lane {
    let requests = count(&outcome.samples);
    let theory = theory(plan, loss, outcome, requests);
    Lane {
        arm: outcome.arm,
        depth: outcome.depth,
        clients: outcome.clients,
        requests,
        latency: latency(answered(&outcome.samples), requests.started),
        handshake: outcome
            .handshakes
            .as_ref()
            .map(|handshakes| latency(handshakes.iter().copied(), handshakes.len() as u64)),
        traffic: traffic(outcome, requests),
        theory,
        path: outcome.path.clone(),
        tcp: outcome.tcp,
        udp: outcome.udp,
        ledger: outcome.ledger,
    }
}

fn count(samples: &[Sample]) -> Requests {
    let ended = |end: End| samples.iter().filter(|s| s.end == end).count() as u64;
    Requests {
        started: samples.len() as u64,
        done: ended(End::Done),
        refused: ended(End::Refused),
        unknown: ended(End::Unknown),
    }
}

fn answered(samples: &[Sample]) -> impl Iterator<Item = Duration> {
    samples.iter().filter(|s| s.end != End::Unknown).map(Sample::latency)
}

/// A distribution; shares are of all `started`, so it ends below 1 if requests went unanswered.
fn latency(samples: impl Iterator<Item = Duration>, started: u64) -> Latency {
    let mut sorted: Vec<u64> = samples.map(nanos).collect();
    sorted.sort_unstable();
    let count = sorted.len() as u64;
    let sum: u128 = sorted.iter().map(|ns| u128::from(*ns)).sum();
    Latency {
        count,
        mean_ns: u64::try_from(sum / u128::from(count.max(1)))
            .expect("invariant: a mean is no larger than the largest sample"),
        p50: quantile(&sorted, 500),
        p99: quantile(&sorted, 990),
        p999: quantile(&sorted, 999),
        max_ns: sorted.last().copied().unwrap_or(0),
        ecdf: ecdf(&sorted, started),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn traffic(outcome: &LaneOutcome, requests: Requests) -> Traffic {
    let frames = outcome.path.iter().map(|link| link.offered).sum();
    let bytes = outcome.path.iter().map(|link| link.bytes).sum();
    let answered = requests.done + requests.refused;
    let useful = outcome.samples.iter().filter(|s| s.end != End::Unknown);
    let useful: u64 = useful.map(|s| useful_bytes(s.operation)).sum();
    Traffic {
        frames,
        bytes,
        frames_per_request: ratio(frames, answered),
        bytes_per_request: ratio(bytes, answered),
        useful_share: ratio(useful, bytes),
    }
}

/// Maximum distance from a step that counts as on it: a tick of a kernel at HZ=250 and a wake-up,
/// an eighth of the timer (the granularity of the kernel's timer wheel), and the path's lateness;
/// capped so that steps do not overlap.
fn tolerance(timer: Duration, late: Duration) -> Duration {
    (Duration::from_millis(6) + timer / 8 + late).min(timer * 2 / 5)
}

fn theory(plan: &Plan, loss: Ppm, outcome: &LaneOutcome, requests: Requests) -> Theory {
    let client_rto = outcome.udp.map(|udp| Duration::from_nanos(udp.rto_ns));
    let facts = LaneFacts { loss, depth: outcome.depth, client_rto };
    let yardstick = outcome.arm.transport().yardstick(plan.conditions(), facts);
    let threshold = slow_threshold(plan, yardstick.as_ref());
    let stairs = yardstick.as_ref().map_or(&[][..], |y| &y.stairs);
    let slow: Vec<u64> =
        answered(&outcome.samples).map(nanos).filter(|ns| *ns > threshold).collect();
    let late = slow.len() as u64 + requests.unknown;
    let late_ns: u64 = outcome.path.iter().map(|link| link.late_p99_ns).sum();
    let timer = yardstick.as_ref().map_or(Duration::ZERO, |y| y.timer);
    let tolerance = nanos(tolerance(timer, Duration::from_nanos(late_ns)));
    let on = slow.iter().filter(|ns| stairs.iter().any(|s| s.at_ns.abs_diff(**ns) <= tolerance));
    let lost: u64 = outcome.path.iter().map(|link| link.lost).sum();
    Theory {
        slow_threshold_ns: threshold,
        slow_expected: yardstick.as_ref().map_or(0.0, |y| y.slow_expected),
        slow_observed: Share::new(late, requests.started),
        on_stairs: (stairs.len() > 1).then(|| Share::new(on.count() as u64, slow.len() as u64)),
        tolerance_ns: tolerance,
        slow_per_lost_frame: (lost > 0).then(|| ratio(late, lost)),
        model: yardstick.as_ref().map_or_else(String::new, |y| y.model.clone()),
        stairs: yardstick.map_or_else(Vec::new, |y| y.stairs),
    }
}

/// Half-way up the first step; half a round trip above the base without a model.
fn slow_threshold(plan: &Plan, yardstick: Option<&Yardstick>) -> u64 {
    let (base, step) = yardstick.map_or((plan.rtt, plan.rtt), |y| (y.base, y.timer));
    nanos(base + step / 2)
}
