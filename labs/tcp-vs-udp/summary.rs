//! From samples to figures: quantiles, costs, and theory against measurement.
//! No sample is dropped: unanswered requests count as unanswered.

use super::arms::Arm;
use super::outcome::{Block, LaneOutcome};
use super::plan::Plan;
use super::result::{
    Lane, Latency, LedgerAudit, LinkAudit, LossCost, Requests, Stage, Theory, Traffic, UdpCounters,
};
use super::transport::{LaneFacts, Yardstick};
use std::collections::BTreeMap;
use std::time::Duration;
use wirelab::bank::codec::useful_bytes;
use wirelab::bank::load::{End, Sample};
use wirelab::emulator::topology::TcpCounters;
use wirelab::measure::cluster::{self, Clustered};
use wirelab::measure::compare::Estimate;
use wirelab::measure::draw::keyed;
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{Quantile, ecdf};
use wirelab::measure::{Ppm, nanos};

/// Consecutive rounds of a client that count as one cluster: requests in flight together share
/// segments, and a connection remembers a loss (its timer, its window) for some round trips.
const ROUNDS_PER_CLUSTER: u64 = 8;

/// The figures of one stage, over its repetitions.
#[must_use]
pub fn stage(plan: &Plan, loss: Ppm, blocks: &[Block]) -> Stage {
    let lanes = blocks.first().map_or(0, |block| block.lanes.len());
    let repetitions = |lane: usize| blocks.iter().map(|b| &b.lanes[lane]).collect::<Vec<_>>();
    Stage {
        loss_ppm: loss,
        verdict: String::new(),
        lanes: (0..lanes).map(|lane| self::lane(plan, loss, &repetitions(lane))).collect(),
        seeds: blocks.iter().map(|block| block.seed).collect(),
        elapsed_ns: blocks.iter().map(|block| nanos(block.elapsed)).sum(),
    }
}

/// The figures of one lane, over its repetitions.
fn lane(plan: &Plan, loss: Ppm, blocks: &[&LaneOutcome]) -> Lane {
    let first = blocks[0];
    let samples = || blocks.iter().flat_map(|block| &block.samples);
    let requests = count(samples());
    let path = [0, 1].map(|way| link(blocks.iter().map(|block| &block.path[way])));
    let udp = udp(blocks);
    let yardstick = yardstick(plan, loss, first.arm, first.depth, udp);
    let threshold = slow_threshold(plan, yardstick.as_ref());
    let theory = theory(yardstick, threshold, samples(), requests, &path);
    let clusters = clustered(first.depth, blocks);
    Lane {
        arm: first.arm,
        depth: first.depth,
        clients: first.clients,
        requests,
        latency: latency(&answered_of(&clusters), requests.started),
        loss_cost: loss_cost(&clusters, threshold),
        blocking: None,
        handshake: first.handshakes.as_ref().map(|_| handshakes(blocks)),
        traffic: traffic(samples(), &path, requests),
        theory,
        path,
        tcp: blocks.iter().map(|block| block.tcp).reduce(|a, b| Some(sum_tcp(a?, b?))).flatten(),
        udp,
        ledger: blocks.iter().map(|block| block.ledger).reduce(sum_ledgers).unwrap_or_default(),
    }
}

/// Unanswered requests in a distribution of all that were started.
const UNANSWERED: u64 = u64::MAX;

/// The latencies of a lane, unanswered ones included, with their clusters.
fn clustered(depth: u32, blocks: &[&LaneOutcome]) -> Vec<cluster::Sample> {
    let mut all = Vec::new();
    let round = u64::from(depth) * ROUNDS_PER_CLUSTER;
    for (repetition, block) in (0_u32..).zip(blocks) {
        let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
        for sample in &block.samples {
            let nth = seen.entry(sample.slot).or_insert(0);
            let chunk = *nth / round;
            *nth += 1;
            let cluster = keyed(u64::from(repetition) << 32 | sample.slot as u64, chunk);
            let unknown = sample.end == End::Unknown;
            let value_ns = if unknown { UNANSWERED } else { nanos(sample.latency()) };
            all.push(cluster::Sample { value_ns, cluster, repetition });
        }
    }
    all
}

fn answered_of(samples: &[cluster::Sample]) -> Clustered {
    Clustered::new(samples.iter().filter(|s| s.value_ns != UNANSWERED).copied().collect())
}

/// The difference of the medians of slow and other requests, and how many were slow.
fn loss_cost(samples: &[cluster::Sample], threshold: u64) -> LossCost {
    let part = |slow: bool| {
        let answered = samples.iter().filter(|s| s.value_ns != UNANSWERED);
        Clustered::new(answered.filter(|s| (s.value_ns > threshold) == slow).copied().collect())
    };
    let (slow, fast) = (part(true), part(false));
    let (late, usual) = (slow.quantile(500), fast.quantile(500));
    let extra = match (Estimate::of(&late), Estimate::of(&usual)) {
        (Some(late), Some(usual)) => {
            let extra = late.minus(&usual);
            let [value, low, high] = [extra.value, extra.low, extra.high].map(|ns| Some(whole(ns)));
            Quantile { value_ns: value, low_ns: low, high_ns: high }
        }
        _ => Quantile {
            value_ns: late.value_ns.zip(usual.value_ns).map(|(late, usual)| late - usual),
            ..Quantile::default()
        },
    };
    let met = Clustered::new(samples.to_vec()).share_above(threshold);
    LossCost { extra, met, slow: slow.values().len() as u64 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at 0")]
fn whole(ns: f64) -> u64 {
    ns.max(0.0).round() as u64
}

fn handshakes(blocks: &[&LaneOutcome]) -> Latency {
    let mut samples = Vec::new();
    for (repetition, block) in (0_u32..).zip(blocks) {
        for handshake in block.handshakes.iter().flatten() {
            let (value_ns, cluster) = (nanos(*handshake), samples.len() as u64);
            samples.push(cluster::Sample { value_ns, cluster, repetition });
        }
    }
    let count = samples.len() as u64;
    latency(&Clustered::new(samples), count)
}

/// The sum of a direction's counters; of lateness the worst repetition.
fn link<'a>(links: impl Iterator<Item = &'a LinkAudit>) -> LinkAudit {
    let mut sum = LinkAudit::default();
    let mut digest = 0;
    for link in links {
        sum.offered += link.offered;
        sum.bytes += link.bytes;
        sum.lost += link.lost;
        sum.duplicated += link.duplicated;
        sum.kernel_dropped += link.kernel_dropped;
        sum.oversize += link.oversize;
        sum.send_failed += link.send_failed;
        sum.late_p50_ns = sum.late_p50_ns.max(link.late_p50_ns);
        sum.late_p99_ns = sum.late_p99_ns.max(link.late_p99_ns);
        sum.late_max_ns = sum.late_max_ns.max(link.late_max_ns);
        let own = u64::from_str_radix(&link.fates_digest, 16);
        digest = keyed(digest, own.expect("invariant: a digest is hexadecimal"));
    }
    sum.loss = Share::new(sum.lost, sum.offered);
    sum.fates_digest = format!("{digest:016x}");
    sum
}

const fn sum_tcp(a: TcpCounters, b: TcpCounters) -> TcpCounters {
    TcpCounters {
        retransmitted_segments: a.retransmitted_segments + b.retransmitted_segments,
        timeouts: a.timeouts + b.timeouts,
        loss_probes: a.loss_probes + b.loss_probes,
        fast_retransmits: a.fast_retransmits + b.fast_retransmits,
        syn_retransmits: a.syn_retransmits + b.syn_retransmits,
        spurious: a.spurious + b.spurious,
    }
}

const fn sum_ledgers(a: LedgerAudit, b: LedgerAudit) -> LedgerAudit {
    LedgerAudit {
        acknowledged: a.acknowledged + b.acknowledged,
        acknowledged_missing: a.acknowledged_missing + b.acknowledged_missing,
        applied_twice: a.applied_twice + b.applied_twice,
        surplus_cents: a.surplus_cents + b.surplus_cents,
        unknown_applied: a.unknown_applied + b.unknown_applied,
        unknown_not_applied: a.unknown_not_applied + b.unknown_not_applied,
        repeats_answered: a.repeats_answered + b.repeats_answered,
        balances_cents: a.balances_cents + b.balances_cents,
        expected_cents: a.expected_cents + b.expected_cents,
        balanced: a.balanced && b.balanced,
    }
}

/// The sum of the clients' counters, and the mean of their timers.
fn udp(blocks: &[&LaneOutcome]) -> Option<UdpCounters> {
    let all: Vec<UdpCounters> = blocks.iter().filter_map(|block| block.udp).collect();
    let mean = all.iter().map(|udp| udp.rto_ns).sum::<u64>().checked_div(all.len() as u64)?;
    Some(UdpCounters {
        retries: all.iter().map(|udp| udp.retries).sum(),
        late_replies: all.iter().map(|udp| udp.late_replies).sum(),
        rto_ns: mean,
    })
}

fn count<'a>(samples: impl Iterator<Item = &'a Sample>) -> Requests {
    let mut requests = Requests::default();
    for sample in samples {
        requests.started += 1;
        match sample.end {
            End::Done => requests.done += 1,
            End::Refused => requests.refused += 1,
            End::Unknown => requests.unknown += 1,
        }
    }
    requests
}

/// A distribution; shares are of all `started`, so it ends below 1 if requests went unanswered.
fn latency(samples: &Clustered, started: u64) -> Latency {
    let sorted = samples.values();
    let count = sorted.len() as u64;
    let sum: u128 = sorted.iter().map(|ns| u128::from(*ns)).sum();
    Latency {
        count,
        mean_ns: u64::try_from(sum / u128::from(count.max(1)))
            .expect("invariant: a mean is no larger than the largest sample"),
        p50: samples.quantile(500),
        p99: samples.quantile(990),
        p999: samples.quantile(999),
        max_ns: sorted.last().copied().unwrap_or(0),
        ecdf: ecdf(&sorted, started),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn traffic<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    path: &[LinkAudit; 2],
    requests: Requests,
) -> Traffic {
    let frames = path.iter().map(|link| link.offered).sum();
    let bytes = path.iter().map(|link| link.bytes).sum();
    let answered = requests.done + requests.refused;
    let useful = samples.filter(|s| s.end != End::Unknown).map(|s| useful_bytes(s.operation)).sum();
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

fn yardstick(
    plan: &Plan,
    loss: Ppm,
    arm: Arm,
    depth: u32,
    udp: Option<UdpCounters>,
) -> Option<Yardstick> {
    let client_rto = udp.map(|udp| Duration::from_nanos(udp.rto_ns));
    arm.transport().yardstick(plan.conditions(), LaneFacts { loss, depth, client_rto })
}

fn theory<'a>(
    yardstick: Option<Yardstick>,
    threshold: u64,
    samples: impl Iterator<Item = &'a Sample>,
    requests: Requests,
    path: &[LinkAudit; 2],
) -> Theory {
    let stairs = yardstick.as_ref().map_or(&[][..], |y| &y.stairs);
    let answered = samples.filter(|s| s.end != End::Unknown).map(|s| nanos(s.latency()));
    let slow: Vec<u64> = answered.filter(|ns| *ns > threshold).collect();
    let late = slow.len() as u64 + requests.unknown;
    let late_ns: u64 = path.iter().map(|link| link.late_p99_ns).sum();
    let timer = yardstick.as_ref().map_or(Duration::ZERO, |y| y.timer);
    let tolerance = nanos(tolerance(timer, Duration::from_nanos(late_ns)));
    let on_a_step = |ns: &&u64| stairs.iter().any(|s| s.stair.at_ns.abs_diff(**ns) <= tolerance);
    let on = slow.iter().filter(on_a_step).count() as u64;
    let lost: u64 = path.iter().map(|link| link.lost).sum();
    Theory {
        slow_threshold_ns: threshold,
        slow_expected: yardstick.as_ref().map_or(0.0, |y| y.slow_expected),
        slow_observed: Share::new(late, requests.started),
        on_stairs: (stairs.len() > 1).then(|| Share::new(on, slow.len() as u64)),
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
