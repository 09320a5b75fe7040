//! Detects a jump of the offset that the delays do not explain: a clock that was set by less than
//! a round trip, a lie, or a path whose two ways changed against each other.
//!
//! On a path of constant propagation delay a queue of q moves the offset by at most q / 2. So every
//! sample bounds the offset to half of its delay above the floor, on each side, and two samples
//! whose bounds exclude each other (drift allowed for) tell of a change. The floor itself lies
//! below the shortest delay seen by an unknown margin, which is estimated from the delays: for
//! exponential queues on both ways the false-alarm rate is below 1 in 1,000 runs.

use super::bound::{Row, Window, bounded_drift, consistent_end};
use super::drift::DriftLimit;
use serde::{Deserialize, Serialize};
use wirelab::measure::Instant;

/// A jump of the offset at nearly equal delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The last request before it.
    pub earlier: u32,
    /// The first request after it.
    pub later: u32,
    /// By about how much the offset jumped between them, nanoseconds.
    pub jump_ns: i64,
    /// By how much the delay changed, nanoseconds.
    pub delay_ns: i64,
}

/// Fewest samples: below, the floor of the delay is not known.
const SAMPLES_MIN: usize = 6;
/// The margin of the floor is this many times the median excess delay, divided by the samples:
/// of n sums of two exponential queues the least is above it once in 10,000 runs.
const MARGIN: i64 = 24;
/// Smallest margin, as a part of the median excess delay.
const EXCESS_PART: i64 = 2;
/// Smallest margin, as a part of the shortest delay: a route may change by so much.
const DELAY_PART: i64 = 32;
/// Smallest margin in nanoseconds: what scheduling and caches do on loopback.
const MARGIN_MIN_NS: i64 = 20_000;

/// Samples on each side whose medians give the size of a jump.
const NEAR: usize = 8;

fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// The samples since the last change, and that change.
#[must_use]
pub fn since_change(window: &Window, limit: DriftLimit) -> (Window, Option<Change>) {
    let rows = window.rows();
    let Some(narrow) = narrowed(rows) else { return (window.clone(), None) };
    let holds = |rows: &Window| bounded_drift(rows, limit, Instant::ZERO).is_ok();
    let end = consistent_end(&narrow, limit).rows().len();
    let Some(before) = rows.len().checked_sub(end + 1) else { return (window.clone(), None) };
    // The first sample after `before` that contradicts it: what lies between may be of either side.
    let part = |until: usize| Window::of(narrow.rows()[before..=until].to_vec());
    let after = (before + 1..rows.len()).find(|until| !holds(&part(*until)));
    let after = after.unwrap_or(before + 1);
    let sides = [
        &rows[before.saturating_sub(NEAR - 1)..=before],
        &rows[after..rows.len().min(after + NEAR)],
    ];
    let moved = |of: fn(&Row) -> i64| {
        let [earlier, later] = sides.map(|side| median(side.iter().map(of).collect()));
        later.saturating_sub(earlier)
    };
    let change = Change {
        earlier: rows[before].request,
        later: rows[after].request,
        jump_ns: moved(|row| row.offset_ns),
        delay_ns: moved(|row| row.delay_ns),
    };
    (window.last(rows.len() - after), Some(change))
}

/// The samples with the bounds that hold if the propagation delays were constant.
fn narrowed(rows: &[Row]) -> Option<Window> {
    let mut delays: Vec<i64> = rows.iter().map(|row| row.delay_ns).collect();
    delays.sort_unstable();
    let count = i64::try_from(delays.len()).ok()?;
    let floor = *delays.first().filter(|_| delays.len() >= SAMPLES_MIN)?;
    let excess = delays[delays.len() / 2] - floor;
    let margin = (excess.saturating_mul(MARGIN) / count)
        .max(excess / EXCESS_PART)
        .max(floor / DELAY_PART)
        .max(MARGIN_MIN_NS);
    let narrow = |row: &Row| {
        let half = (row.delay_ns - floor).saturating_add(margin) / 2 + row.slack_ns;
        Row {
            high_ns: row.offset_ns.saturating_add(half),
            low_ns: row.offset_ns.saturating_sub(half),
            ..*row
        }
    };
    Some(Window::of(rows.iter().map(narrow).collect()))
}
