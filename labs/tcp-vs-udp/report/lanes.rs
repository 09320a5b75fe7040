//! Helpers shared by the reports: lanes, depths, arms and marks of a result.

use crate::arms::Arm;
use crate::result::{Holds, Lane, RunResult};
use crate::transport::Step;
use wirelab::measure::cluster::CLIFF_FACTOR;
use wirelab::measure::compare::Estimate;
use wirelab::measure::human::{latency, ms, ms_or_none, plural, range};
use wirelab::measure::quantile::Quantile;

/// Retransmitted requests or segments, by client or kernel.
pub(super) fn resent(lane: &Lane) -> u64 {
    let tcp = lane.tcp.map(|tcp| tcp.retransmitted_segments);
    tcp.or_else(|| lane.udp.map(|udp| udp.retries)).unwrap_or(0)
}

/// `✓`, `✗`, `?`.
pub(super) const fn mark(holds: Holds) -> &'static str {
    match holds {
        Holds::Yes => "✓",
        Holds::No => "✗",
        Holds::Unknown => "?",
    }
}

/// Whether more than 1 % of the requests went unanswered, so that the p99 of the answered ones
/// says little about all of them.
pub(super) const fn answered_only(lane: &Lane) -> bool {
    lane.requests.unknown.saturating_mul(100) > lane.requests.started
}

/// Whether a quantile may lie on either of two steps.
pub(super) fn on_cliff(quantile: &Quantile) -> Option<(u64, u64)> {
    let estimate = Estimate::of(quantile)?;
    (estimate.high > CLIFF_FACTOR * estimate.low).then_some((quantile.low_ns?, quantile.high_ns?))
}

/// A quantile in milliseconds: `51.6`, or `51.2–113` where it may lie on either of two steps.
pub(super) fn quantile(quantile: &Quantile) -> String {
    match on_cliff(quantile) {
        Some((low, high)) => range(&ms(low), &ms(high)),
        None => ms_or_none(quantile.value_ns),
    }
}

/// An arm and its depth, for a row.
pub(super) fn lane_name(lane: &Lane) -> String {
    format!("{} {}", lane.arm.name(), lane.depth)
}

/// The most frequent steps after the first, by time: `240 ms tail-loss probe, then …`.
pub(super) fn steps(lane: &Lane, most: usize) -> String {
    let mut steps: Vec<(&Step, f64)> = Vec::new();
    let mut below = 0.0;
    for step in &lane.theory.stairs {
        steps.push((step, step.stair.share - below));
        below = step.stair.share;
    }
    steps.retain(|(step, share)| step.stair.failures > 0 && *share > 0.0);
    steps.sort_by(|a, b| b.1.total_cmp(&a.1));
    steps.truncate(most);
    steps.sort_by_key(|(step, _)| step.stair.at_ns);
    let shown = steps.iter().map(|(s, _)| format!("{} {}", latency(s.stair.at_ns), s.mechanism));
    shown.collect::<Vec<_>>().join(" → ")
}

/// Requests and replies in lost frames, or blocked behind them, in a capture.
pub(super) fn blocking(lane: &Lane) -> Option<String> {
    let seen = lane.blocking.filter(|seen| seen.lost_frames > 0)?;
    Some(format!(
        "{}: {} held {} inside (batching) and {} behind (head-of-line)",
        lane_name(lane),
        plural(seen.lost_frames, "lost frame", "lost frames"),
        plural(seen.inside, "message", "messages"),
        seen.behind
    ))
}

/// The depths of a result, ascending, without repeats.
pub(super) fn depths(result: &RunResult) -> Vec<u32> {
    let mut depths: Vec<u32> =
        result.stages.iter().flat_map(|s| s.lanes.iter().map(|l| l.depth)).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// The arms with a lane at this depth, in table order.
pub(super) fn arms_at(result: &RunResult, depth: u32) -> Vec<Arm> {
    let lanes = || result.stages.iter().flat_map(|s| &s.lanes).filter(|l| l.depth == depth);
    let mut arms = arms(result);
    arms.retain(|arm| lanes().any(|lane| lane.arm == *arm));
    arms
}

/// The arms of a result that ran, in table order.
pub(super) fn arms(result: &RunResult) -> Vec<Arm> {
    let mut arms: Vec<_> =
        result.stages.iter().flat_map(|s| s.lanes.iter().map(|l| l.arm)).collect();
    arms.sort_unstable();
    arms.dedup();
    arms
}
