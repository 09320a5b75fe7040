//! Bounds the offset now from past exchanges and a drift limit, in integers rounded outwards.
//!
//! Each sample bounds the offset from above at T1 and from below at T4. If the two clocks drift
//! apart by at most [`DriftLimit`], every bound holds now too, wider by drift times age, and all
//! hold at once. Where they cannot, something was set or something lies: that is the result, not an
//! error.

use super::drift::DriftLimit;
use super::sample::{Sample, TimePair};
use super::timestamp::saturated;
use serde::{Deserialize, Serialize};
use wirelab::measure::Instant;

const BILLION: i128 = 1_000_000_000;

/// The offset lies between these, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// At least this.
    pub low_ns: i64,
    /// At most this.
    pub high_ns: i64,
}

impl Interval {
    /// Whether a value lies in it.
    #[must_use]
    pub const fn contains(&self, nanos: i64) -> bool {
        self.low_ns <= nanos && nanos <= self.high_ns
    }

    /// Upper end minus lower end.
    #[must_use]
    pub const fn width_ns(&self) -> i64 {
        self.high_ns.saturating_sub(self.low_ns)
    }

    /// The middle, rounded down.
    #[must_use]
    pub fn middle_ns(&self) -> i64 {
        let sum = i128::from(self.low_ns) + i128::from(self.high_ns);
        i64::try_from(sum.div_euclid(2)).expect("the mean of two values lies between them")
    }

    /// From a value in it to the further end.
    #[must_use]
    pub fn reach(&self, nanos: i64) -> i64 {
        self.high_ns.saturating_sub(nanos).max(nanos.saturating_sub(self.low_ns))
    }

    /// Wider by this on each side.
    #[must_use]
    pub const fn widened(&self, nanos: i64) -> Self {
        Self {
            low_ns: self.low_ns.saturating_sub(nanos),
            high_ns: self.high_ns.saturating_add(nanos),
        }
    }

    /// The intersection; `None` if empty.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let (low_ns, high_ns) = (self.low_ns.max(other.low_ns), self.high_ns.min(other.high_ns));
        (low_ns <= high_ns).then_some(Self { low_ns, high_ns })
    }
}

/// A sample as the estimators see it: offsets of the clock as it is set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the request.
    pub request: u32,
    /// T1, monotonic.
    pub sent: Instant,
    /// T4, monotonic.
    pub came: Instant,
    /// At T1 the offset was at most this.
    pub high_ns: i64,
    /// At T4 the offset was at least this.
    pub low_ns: i64,
    /// The offset if both ways took equally long.
    pub offset_ns: i64,
    /// Both ways together.
    pub delay_ns: i64,
    /// Widening of `low_ns` and `high_ns` for the clocks' resolution.
    pub slack_ns: i64,
    /// Whether T3 is when the reply left, as the next reply reported (RFC 9769).
    pub interleaved: bool,
}

/// Oldest sample that is used, and so the largest difference of times here: 2^60 ns, 36 years.
///
/// With offsets below 2^63 ns, every product of the exact arithmetic stays below 2^126.
pub const SPAN_MAX_NS: u64 = 1 << 60;

/// Samples of one server, in the order of sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    rows: Vec<Row>,
}

impl Window {
    /// The samples as they bear on the clock at `now`: where it was set since, they are shifted;
    /// where the host has slept since, they bear on it no more.
    #[must_use]
    pub fn new(samples: &[Sample], now: &TimePair) -> Self {
        let apart = |a: Instant| a.as_nanos().abs_diff(now.at.as_nanos());
        let mut rows: Vec<Row> = samples
            .iter()
            .filter(|s| s.record.t4.slept_until(now) == 0)
            .filter(|s| apart(s.record.t1.at).max(apart(s.record.t4.at)) <= SPAN_MAX_NS)
            .map(|sample| row(sample, now))
            .collect();
        rows.sort_by_key(|row| row.sent);
        Self { rows }
    }

    /// These samples, which come in the order of sending.
    pub(super) const fn of(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// The samples.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The longest run of samples up to the last of which `holds` is true; it must be true of
    /// every part of one of which it is true.
    #[must_use]
    pub fn longest_end(&self, holds: impl Fn(&Self) -> bool) -> Self {
        if holds(self) {
            return self.clone();
        }
        let (mut good, mut bad) = (0, self.rows.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if holds(&self.last(middle)) { good = middle } else { bad = middle }
        }
        self.last(good)
    }

    /// The last `count` samples.
    #[must_use]
    pub fn last(&self, count: usize) -> Self {
        Self { rows: self.rows[self.rows.len().saturating_sub(count)..].to_vec() }
    }
}

fn row(sample: &Sample, now: &TimePair) -> Row {
    // Set forward by so much, the clock is behind the server by so much less.
    let step = sample.record.t1.step_until(now);
    let blur = if step == 0 {
        0
    } else {
        i64::from(sample.record.t1.width_ns) + i64::from(now.width_ns) + 1
    };
    Row {
        request: sample.record.request,
        sent: sample.record.t1.at,
        came: sample.record.t4.at,
        high_ns: sample.high_ns().saturating_sub(step).saturating_add(blur),
        low_ns: sample.low_ns().saturating_sub(step).saturating_sub(blur),
        offset_ns: sample.offset_ns().saturating_sub(step),
        delay_ns: sample.delay_ns(),
        slack_ns: sample.slack_ns.saturating_add(blur),
        interleaved: sample.record.interleaved,
    }
}

/// Two samples that cannot both be true of clocks that drift within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// The earlier request.
    pub earlier: u32,
    /// The later request.
    pub later: u32,
    /// The offset has jumped by at least this between them: up, or down where negative.
    pub jump_ns: i64,
}

/// Where the offset must lie at `at`, if the clocks drift apart within `limit`.
///
/// `Ok(None)` without samples.
///
/// # Errors
/// The two samples that contradict each other most: a clock was set, or the server lies.
pub fn bounded_drift(
    window: &Window,
    limit: DriftLimit,
    at: Instant,
) -> Result<Option<Interval>, Contradiction> {
    if let Some(contradiction) = contradiction(window, limit) {
        return Err(contradiction);
    }
    let aged = |from: Instant| limit.over(at.as_nanos().abs_diff(from.as_nanos()));
    let high = window.rows.iter().map(|row| row.high_ns.saturating_add(aged(row.sent))).min();
    let low = window.rows.iter().map(|row| row.low_ns.saturating_sub(aged(row.came))).max();
    Ok(low.zip(high).map(|(low_ns, high_ns)| Interval { low_ns, high_ns }))
}

/// The worst pair of bounds that no clock within the limit can satisfy.
///
/// A clock that drifts by at most phi satisfies all bounds if it satisfies every pair of an upper
/// and a lower one (Lipschitz functions extend); each sweep finds the worst pair in one direction.
fn contradiction(window: &Window, limit: DriftLimit) -> Option<Contradiction> {
    let drift = i128::from(limit.ppb());
    let mut ends: Vec<End> = Vec::with_capacity(2 * window.rows.len());
    for row in &window.rows {
        let end = |at: Instant, offset: i64, upper| End {
            at: i128::from(at.as_nanos()),
            offset: i128::from(offset) * BILLION,
            request: row.request,
            upper,
        };
        ends.push(end(row.sent, row.high_ns, true));
        ends.push(end(row.came, row.low_ns, false));
    }
    // At equal times the upper bounds come first, so that every sweep sees the pair.
    ends.sort_by_key(|end| (end.at, !end.upper));
    let up = worst(ends.iter(), -drift);
    ends.sort_by_key(|end| (-end.at, !end.upper));
    let down = worst(ends.iter(), drift);
    let up = up.map(|(excess, first, then)| (excess, 1, first, then));
    let down = down.map(|(excess, first, then)| (excess, -1, then, first));
    let (excess, sign, earlier, later) = up.into_iter().chain(down).max_by_key(|found| found.0)?;
    let jump = sign * (excess / BILLION).max(1);
    Some(Contradiction { earlier, later, jump_ns: saturated(jump) })
}

/// One bound in time; its offset is in units of 1e-9 ns, so that drift in ppb times ns is whole.
struct End {
    at: i128,
    offset: i128,
    request: u32,
    upper: bool,
}

/// The largest excess of a lower bound over an upper one seen before it, and both requests.
fn worst<'a>(ends: impl Iterator<Item = &'a End>, drift: i128) -> Option<(i128, u32, u32)> {
    let mut least: Option<(i128, u32)> = None;
    let mut found: Option<(i128, u32, u32)> = None;
    for end in ends {
        let level = end.offset + drift * end.at;
        if end.upper {
            if least.is_none_or(|(other, _)| level < other) {
                least = Some((level, end.request));
            }
        } else if let Some((upper, request)) = least {
            let excess = level - upper;
            if excess > 0 && found.is_none_or(|(other, ..)| excess > other) {
                found = Some((excess, request, end.request));
            }
        }
    }
    found
}

/// The longest run of samples up to the last that has no contradiction in it.
#[must_use]
pub fn consistent_end(window: &Window, limit: DriftLimit) -> Window {
    window.longest_end(|end| contradiction(end, limit).is_none())
}
