//! Figures as readers see them: milliseconds, shares, intervals, counts.
//!
//! It exists so that text and HTML write the same figure the same way.
//! It must never add, divide or otherwise make a figure of its own.

use crate::compare::result::{Holds, Lane, RunResult};
use crate::measure::interval::Share;
use crate::measure::quantile::Quantile;

/// What stands where there is no figure.
pub(super) const NONE: &str = "–";

/// Nanoseconds as milliseconds, three digits, no unit: `20.3`, `243`, `1560`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn ms(nanos: u64) -> String {
    let value = nanos as f64 / 1e6;
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}")
}

/// The same, or a dash.
pub(super) fn ms_or_none(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| NONE.to_owned(), ms)
}

/// The interval of a quantile: `241..265`, an open end as a dash, empty where there is no value.
pub(super) fn interval(quantile: &Quantile) -> String {
    match (quantile.value_ns, quantile.low_ns, quantile.high_ns) {
        (None, ..) => String::new(),
        (_, None, None) => NONE.to_owned(),
        (_, low, high) => format!("{}..{}", ms_or_none(low), ms_or_none(high)),
    }
}

/// A share of one in percent, three digits at most: `3.96 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", percent_number(share))
}

/// The same without the sign.
pub(super) fn percent_number(share: f64) -> String {
    let value = share * 100.0;
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let decimals = if value == 0.0 || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.decimals$}")
}

/// An observed share with its interval: `4.1 % (3.3..5.0)`.
pub(super) fn share(share: &Share) -> String {
    if share.trials == 0 {
        return NONE.to_owned();
    }
    let (low, high) = (percent_number(share.low), percent_number(share.high));
    format!("{} ({low}..{high})", percent(share.share))
}

/// A number with this many decimals, or a dash where it is none.
pub(super) fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { NONE.to_owned() }
}

/// A count with thousands apart: `38,212`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Requests or segments sent again, by whoever sends again on this arm.
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

/// Whether more than one request in a hundred went without an answer, so that the 99th percentile
/// of the answered ones says little about all of them.
pub(super) const fn answered_only(lane: &Lane) -> bool {
    lane.requests.unknown.saturating_mul(100) > lane.requests.started
}

/// Whether this lane's p99 is the lowest of `lanes` at its depth, or cannot be told from it.
///
/// Lanes that left more than 1 % unanswered do not compete: see [`answered_only`].
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

/// The depths of a result, in order, each once.
pub(super) fn depths(result: &RunResult) -> Vec<u32> {
    let mut depths: Vec<u32> =
        result.stages.iter().flat_map(|s| s.lanes.iter().map(|l| l.depth)).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// The arms that have a lane at this depth, in the order of the table.
pub(super) fn arms_at(result: &RunResult, depth: u32) -> Vec<crate::compare::plan::Arm> {
    let lanes = || result.stages.iter().flat_map(|s| &s.lanes).filter(|l| l.depth == depth);
    let mut arms = arms(result);
    arms.retain(|arm| lanes().any(|lane| lane.arm == *arm));
    arms
}

/// The arms of a result that were run, in the order of the table.
pub(super) fn arms(result: &RunResult) -> Vec<crate::compare::plan::Arm> {
    let mut arms: Vec<_> =
        result.stages.iter().flat_map(|s| s.lanes.iter().map(|l| l.arm)).collect();
    arms.sort_unstable();
    arms.dedup();
    arms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        for (nanos, text) in [(20_300_000, "20.3"), (243_100_000, "243"), (1_560_000_000, "1560")] {
            assert_eq!(ms(nanos), text);
        }
        for (value, text) in [(0.0396, "3.96 %"), (0.0, "0 %"), (1.0, "100 %"), (0.416, "41.6 %")] {
            assert_eq!(percent(value), text);
        }
        assert_eq!(percent(f64::NAN), "– %");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn open_intervals_show_a_dash() {
        let quantile = Quantile { value_ns: Some(5), low_ns: Some(2_000_000), high_ns: None };
        assert_eq!(interval(&quantile), "2.00..–");
        assert_eq!(interval(&Quantile::default()), "");
    }
}
