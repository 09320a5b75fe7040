//! From samples to figures: quantiles, costs, and theory held against what was seen.
//!
//! It must never look at a clock or a socket, and never drop a sample: what was not answered counts
//! as not answered.

use super::outcome::LaneOutcome;
use super::plan::{Arm, Plan};
use super::result::{Lane, Latency, Requests, Theory, Traffic};
use std::time::Duration;
use wirelab::bank::load::{End, Sample, useful_bytes};
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{ecdf, quantile};
use wirelab::measure::staircase::{Stair, attempt_fails, staircase};
use wirelab::measure::{Ppm, human};

/// The kernel's retransmission-timeout floor where nothing lowers it (`TCP_RTO_MIN`, 200 ms).
pub const KERNEL_RTO_MIN: Duration = Duration::from_millis(200);
/// The timer of a connection request (RFC 6298 §2.1): the first five repeats come 1 s apart on
/// Linux (`tcp_syn_linear_timeouts`).
pub const SYN_TIMEOUT: Duration = Duration::from_secs(1);

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
        handshake: outcome.arm.is_tcp().then(|| {
            let count = outcome.handshakes.len() as u64;
            latency(outcome.handshakes.iter().copied(), count)
        }),
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A distribution; its shares are of all `started`, so one that ends below 1 shows what never came.
fn latency(samples: impl Iterator<Item = Duration>, started: u64) -> Latency {
    let mut sorted: Vec<u64> = samples.map(nanos).collect();
    sorted.sort_unstable();
    let count = sorted.len() as u64;
    let sum: u128 = sorted.iter().map(|ns| u128::from(*ns)).sum();
    Latency {
        count,
        mean_ns: u64::try_from(sum / u128::from(count.max(1))).unwrap_or(u64::MAX),
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

/// The yardstick of a lane: what it assumes, its steps, the share of requests above the first step.
struct Yardstick {
    model: String,
    stairs: Vec<Stair>,
    slow_expected: f64,
    /// Latency of a request that meets no loss.
    base: Duration,
    /// What the first loss adds.
    timer: Duration,
}

fn yardstick(plan: &Plan, loss: Ppm, outcome: &LaneOutcome) -> Option<Yardstick> {
    let q = attempt_fails(loss);
    let (rtt, deadline) = (plan.rtt, plan.deadline);
    match outcome.arm {
        Arm::Tcp | Arm::TcpTuned if outcome.depth == 1 => {
            let floor = if outcome.arm == Arm::Tcp { KERNEL_RTO_MIN } else { plan.tuned_rto_min };
            Some(Yardstick {
                model: format!(
                    "one packet in flight, so every loss waits for the kernel's timer, RTT + {}: \
                     a probe, the same timer again, then doubling (RFC 8985 §7, RFC 6298 §5)",
                    human::duration(floor)
                ),
                stairs: tcp_stairs(rtt, rtt + floor, loss, deadline),
                slow_expected: q,
                base: rtt,
                timer: rtt + floor,
            })
        }
        Arm::TcpReconnect => Some(Yardstick {
            model: format!(
                "a handshake, then the request: a lost SYN waits 1s, a lost request or reply RTT \
                 + {}",
                human::duration(KERNEL_RTO_MIN)
            ),
            stairs: reconnect_stairs(rtt, loss, deadline),
            slow_expected: 1.0 - (1.0 - q).powi(2),
            base: rtt * 2,
            timer: rtt + KERNEL_RTO_MIN,
        }),
        Arm::Udp => Some(Yardstick {
            model: "one attempt: answered after one RTT, or never".to_owned(),
            stairs: staircase(rtt, deadline, loss, deadline),
            slow_expected: q,
            base: rtt,
            // What is answered at all was not lost, however late it came.
            timer: deadline * 2,
        }),
        Arm::UdpRetry | Arm::UdpOnce => {
            let timer = Duration::from_nanos(outcome.udp.map_or(0, |udp| udp.rto_ns));
            Some(Yardstick {
                model: "each loss waits for the client's own timer, measured, doubling \
                        (RFC 6298 §5.5), jittered by up to 5 %"
                    .to_owned(),
                stairs: staircase(rtt, timer, loss, deadline),
                slow_expected: q,
                base: rtt,
                timer,
            })
        }
        Arm::Tcp | Arm::TcpTuned => None,
    }
}

/// A lone segment on Linux: a tail loss probe after one timer, the timer again from there, then it
/// doubles (RFC 8985 §7.3; RFC 6298 §5.5).
fn tcp_stairs(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Stair> {
    let q = attempt_fails(loss);
    let mut stairs = staircase(rtt, rto, loss, deadline);
    let mut at = rtt;
    let mut timer = rto;
    for stair in &mut stairs {
        stair.at_ns = nanos(at);
        at += timer;
        if stair.failures > 0 {
            timer *= 2;
        }
    }
    // The ladder with the probe rises more slowly, so another step may fit below the deadline.
    if let Some(last) = stairs.last().copied()
        && at <= deadline
        && q > 0.0
    {
        let share = 1.0 - (1.0 - last.share) * q;
        stairs.push(Stair { failures: last.failures + 1, at_ns: nanos(at), share });
    }
    stairs
}

/// Every combination of lost handshakes and lost exchanges, in order of latency.
fn reconnect_stairs(rtt: Duration, loss: Ppm, deadline: Duration) -> Vec<Stair> {
    let q = attempt_fails(loss);
    let exchange = tcp_stairs(rtt, rtt + KERNEL_RTO_MIN, loss, deadline);
    let mut steps: Vec<(u64, u32, f64)> = Vec::new();
    let mut open = rtt;
    let mut opened = 1.0 - q;
    for syn_failures in 0.. {
        if open > deadline || (syn_failures > 0 && q == 0.0) {
            break;
        }
        let mut below = 0.0;
        for stair in &exchange {
            let at = open + Duration::from_nanos(stair.at_ns);
            if at <= deadline {
                let failures = stair.failures + syn_failures;
                steps.push((nanos(at), failures, opened * (stair.share - below)));
            }
            below = stair.share;
        }
        open += SYN_TIMEOUT;
        opened *= q;
    }
    steps.sort_by_key(|step| step.0);
    let mut share = 0.0;
    let cumulate = |(at_ns, failures, weight): (u64, u32, f64)| {
        share += weight;
        Stair { failures, at_ns, share }
    };
    steps.into_iter().map(cumulate).collect()
}

/// How far from a step still counts as on it: a tick of a kernel at HZ=250 and a wake-up, an eighth
/// of the timer (the kernel's timer wheel is that coarse), and what the path itself was late; never
/// so far that steps meet.
fn tolerance(timer: Duration, late: Duration) -> Duration {
    (Duration::from_millis(6) + timer / 8 + late).min(timer * 2 / 5)
}

fn theory(plan: &Plan, loss: Ppm, outcome: &LaneOutcome, requests: Requests) -> Theory {
    let yardstick = yardstick(plan, loss, outcome);
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

/// Half-way up the first step; half a round trip above one where there is no yardstick.
fn slow_threshold(plan: &Plan, yardstick: Option<&Yardstick>) -> u64 {
    let (base, step) = yardstick.map_or((plan.rtt, plan.rtt), |y| (y.base, y.timer));
    nanos(base + step / 2)
}
