//! Bounds offset and drift together under constant drift, in integers rounded outwards.
//!
//! A line `offset = a t + b` must pass below every upper bound and above every lower one: a linear
//! programme in two unknowns, solved exactly on the two convex hulls (after Moon, Skelly, Towsley,
//! INFOCOM 1999, and Zhang, Liu, Xia, INFOCOM 2002, who bound one side). Where no line passes, the
//! rate was not constant: a step, a lie, or wander.

use super::bound::{Interval, Row, Window};
use super::drift::DriftLimit;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use wirelab::measure::Instant;

/// Bounds under constant drift within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstantDrift {
    /// Where the offset must lie.
    pub offset: Interval,
    /// The drift is at least this, parts per trillion; positive where the server is faster.
    pub drift_low_ppt: i64,
    /// The drift is at most this, parts per trillion.
    pub drift_high_ppt: i64,
}

/// Parts per trillion in one.
pub const TRILLION: i128 = 1_000_000_000_000;

/// A bound in time: nanoseconds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: i128,
    pub(super) offset: i128,
}

/// An exact fraction; the denominator is above zero.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    num: i128,
    den: i128,
}

impl Ratio {
    fn compare(&self, other: &Self) -> Ordering {
        (self.num * other.den).cmp(&(other.num * self.den))
    }
}

/// The convex hull of points on one side: the lower hull of upper bounds, or the upper hull of
/// lower ones.
///
/// `below` says which. Points come in the order of time.
pub(super) fn hull(points: &[Point], below: bool) -> Vec<Point> {
    let side = if below { 1 } else { -1 };
    let mut hull: Vec<Point> = Vec::new();
    for point in points {
        // Of two at the same time the tighter one counts.
        if let Some(last) = hull.last().copied().filter(|last| last.at == point.at) {
            if side * (point.offset - last.offset) >= 0 {
                continue;
            }
            hull.pop();
        }
        while let [.., a, b] = hull.as_slice() {
            let turn = (b.offset - a.offset) * (point.at - b.at)
                - (point.offset - b.offset) * (b.at - a.at);
            if side * turn < 0 {
                break;
            }
            hull.pop();
        }
        hull.push(*point);
    }
    hull
}

/// Both hulls of a window: (below the upper bounds, above the lower bounds).
pub(super) fn hulls(rows: &[Row]) -> (Vec<Point>, Vec<Point>) {
    let point = |at: Instant, offset: i64| Point {
        at: i128::from(at.as_nanos()),
        offset: i128::from(offset),
    };
    let mut uppers: Vec<Point> = rows.iter().map(|row| point(row.sent, row.high_ns)).collect();
    let mut lowers: Vec<Point> = rows.iter().map(|row| point(row.came, row.low_ns)).collect();
    uppers.sort_by_key(|point| point.at);
    lowers.sort_by_key(|point| point.at);
    (hull(&uppers, true), hull(&lowers, false))
}

/// Where offset and drift must lie at `at`; `None` where no line passes, or without samples.
#[must_use]
pub fn constant_drift(window: &Window, limit: DriftLimit, at: Instant) -> Option<ConstantDrift> {
    let (uppers, lowers) = hulls(window.rows());
    if uppers.is_empty() || lowers.is_empty() {
        return None;
    }
    let (least, most) = slopes(&uppers, &lowers, limit)?;
    let at = i128::from(at.as_nanos());
    // The largest value at `at` is found with the largest slope, the smallest, or in between.
    let high = values(&uppers, at, &least, &most, true)?;
    let low = values(&lowers, at, &least, &most, false)?;
    let end = |value: i128| i64::try_from(value).ok();
    Some(ConstantDrift {
        offset: Interval { low_ns: end(low)?, high_ns: end(high)? },
        drift_low_ppt: end(per_trillion(&least, false))?,
        drift_high_ppt: end(per_trillion(&most, true))?,
    })
}

/// A slope in parts per trillion, rounded down or up.
fn per_trillion(slope: &Ratio, up: bool) -> i128 {
    // In two steps, so that the product stays within 128 bits.
    let (whole, rest) = (slope.num.div_euclid(slope.den), slope.num.rem_euclid(slope.den));
    let (part, left) = (rest * TRILLION / slope.den, rest * TRILLION % slope.den);
    whole * TRILLION + part + i128::from(up && left != 0)
}

/// The longest run of samples up to the last through which a line passes.
///
/// Before it the rate was another, or the clock was set by little: an estimator that draws a line
/// does better without.
#[must_use]
pub fn steady_end(window: &Window, limit: DriftLimit) -> Window {
    window.longest_end(|end| {
        let (uppers, lowers) = hulls(end.rows());
        slopes(&uppers, &lowers, limit).is_some()
    })
}

/// The smallest and the largest slope of a line that passes; `None` where none does.
///
/// Eliminating the offset (Fourier-Motzkin) leaves one condition on the slope per pair of an upper
/// and a lower bound; only corners of the hulls matter.
fn slopes(uppers: &[Point], lowers: &[Point], limit: DriftLimit) -> Option<(Ratio, Ratio)> {
    let bound = i128::from(limit.ppb());
    let mut least = Ratio { num: -bound, den: 1_000_000_000 };
    let mut most = Ratio { num: bound, den: 1_000_000_000 };
    for upper in uppers {
        for lower in lowers {
            let room = upper.offset - lower.offset;
            let apart = upper.at - lower.at;
            match apart.cmp(&0) {
                Ordering::Equal if room < 0 => return None,
                Ordering::Equal => {}
                Ordering::Greater => {
                    let slope = Ratio { num: room, den: apart };
                    if slope.compare(&most).is_lt() {
                        most = slope;
                    }
                }
                Ordering::Less => {
                    let slope = Ratio { num: -room, den: -apart };
                    if slope.compare(&least).is_gt() {
                        least = slope;
                    }
                }
            }
        }
    }
    least.compare(&most).is_le().then_some((least, most))
}

/// The largest (or smallest) value at `at` of a line that passes, rounded outwards.
fn values(hull: &[Point], at: i128, least: &Ratio, most: &Ratio, largest: bool) -> Option<i128> {
    let mut candidates = vec![*least, *most];
    // The edge over `at` is the best slope where it is allowed.
    for pair in hull.windows(2) {
        let edge = Ratio { num: pair[1].offset - pair[0].offset, den: pair[1].at - pair[0].at };
        let over = pair[0].at <= at && at <= pair[1].at;
        if over && edge.compare(least).is_ge() && edge.compare(most).is_le() {
            candidates.push(edge);
        }
    }
    let sign = if largest { 1 } else { -1 };
    let reach = candidates.iter().filter_map(|slope| {
        // The tightest corner for this slope.
        let values = hull.iter().map(|p| sign * (p.offset * slope.den + slope.num * (at - p.at)));
        values.min().map(|value| (value + slope.den - 1).div_euclid(slope.den))
    });
    reach.max().map(|value| sign * value)
}
