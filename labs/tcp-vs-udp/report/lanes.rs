//! Helpers shared by the reports: lanes, depths, arms and marks of a result.

use crate::arms::Arm;
use crate::result::{Holds, Lane, RunResult};

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

/// Whether this lane's p99 is the lowest of `lanes` at its depth, or indistinguishable from it.
///
/// Lanes with more than 1 % unanswered are excluded: see [`answered_only`].
pub(super) fn is_fastest(lane: &Lane, lanes: &[Lane]) -> bool {
    let competes = |l: &&Lane| l.depth == lane.depth && !answered_only(l);
    let best = lanes
        .iter()
        .filter(competes)
        .filter_map(|l| Some((l.latency.p99.value_ns?, l.latency.p99.high_ns)))
        .min();
    let Some((value, high)) = best else { return false };
    let p99 = &lane.latency.p99;
    let Some(own) = p99.value_ns else { return false };
    !answered_only(lane)
        && (own == value || p99.low_ns.is_some_and(|low| low <= high.unwrap_or(value)))
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
