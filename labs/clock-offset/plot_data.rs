//! Plot data of one server's samples: points, hulls, the range of possible lines.

use super::bound::Window;
use super::drift::DriftLimit;
use super::estimate::Estimate;
use super::hull::{Point as HullPoint, constant_drift, hulls};
use super::timestamp::saturated;
use serde::{Deserialize, Serialize};
use wirelab::measure::Instant;

/// One sample, as the clock is set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Number of the request.
    pub request: u32,
    /// T1, monotonic.
    #[serde(rename = "sent_ns")]
    pub sent: Instant,
    /// T4, monotonic.
    #[serde(rename = "came_ns")]
    pub came: Instant,
    /// At T1 the offset was at most this.
    pub high_ns: i64,
    /// At T4 the offset was at least this.
    pub low_ns: i64,
    /// The offset if both ways took equally long.
    pub offset_ns: i64,
    /// The same, corrected for the estimated drift since then.
    pub level_ns: i64,
    /// Round-trip delay.
    pub delay_ns: i64,
    /// Whether the estimate rests on it.
    pub used: bool,
    /// Whether T3 is when the reply left, as the next reply reported (RFC 9769).
    #[serde(default)]
    pub interleaved: bool,
}

/// A corner of a hull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corner {
    /// When, monotonic nanoseconds of the run.
    pub at_ns: u64,
    /// The bound there.
    pub offset_ns: i64,
}

/// Between which offsets a line that passes all bounds may lie at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// When, monotonic nanoseconds of the run.
    pub at_ns: u64,
    /// At least this.
    pub low_ns: i64,
    /// At most this.
    pub high_ns: i64,
}

/// Plot data of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlotData {
    /// The samples, the last [`POINTS_MAX`].
    pub points: Vec<Point>,
    /// Below the upper bounds of the samples that the estimate rests on.
    pub upper: Vec<Corner>,
    /// Above their lower bounds.
    pub lower: Vec<Corner>,
    /// The room between, if the drift is constant.
    pub room: Vec<Room>,
    /// Of the shortest exchange that the estimate rests on: its delay and its level offset.
    pub apex: Option<(i64, i64)>,
}

/// Points drawn at most: more would be a blot.
pub const POINTS_MAX: usize = 1_024;
/// Times at which the feasible set is sampled: its edges bend at few.
const ROOM_PLACES: u64 = 24;

impl PlotData {
    /// The picture of all samples, of which the estimate rests on those of `used`.
    #[must_use]
    pub fn new(
        all: &Window,
        used: &Window,
        found: Option<&Estimate>,
        limit: DriftLimit,
        now: Instant,
    ) -> Self {
        let first = used.rows().first().map_or(Instant::MAX, |row| row.sent);
        let drift = i128::from(found.and_then(|found| found.drift_ppt).unwrap_or(0));
        let rows = &all.rows()[all.rows().len().saturating_sub(POINTS_MAX)..];
        let points: Vec<Point> = rows
            .iter()
            .map(|row| {
                let age = i128::from(now.as_nanos()) - i128::from(row.sent.as_nanos());
                let since = drift * age / 1_000_000_000_000;
                Point {
                    request: row.request,
                    sent: row.sent,
                    came: row.came,
                    high_ns: row.high_ns,
                    low_ns: row.low_ns,
                    offset_ns: row.offset_ns,
                    level_ns: row.offset_ns.saturating_add(saturated(since)),
                    delay_ns: row.delay_ns,
                    used: row.sent >= first,
                    interleaved: row.interleaved,
                }
            })
            .collect();
        let (upper, lower) = hulls(used.rows());
        let least = points.iter().filter(|point| point.used).min_by_key(|point| point.delay_ns);
        let apex = least.map(|point| (point.delay_ns, point.level_ns));
        Self {
            apex,
            upper: upper.iter().filter_map(corner).collect(),
            lower: lower.iter().filter_map(corner).collect(),
            room: room(used, limit, now),
            points,
        }
    }
}

fn corner(point: &HullPoint) -> Option<Corner> {
    let at_ns = u64::try_from(point.at).ok()?;
    Some(Corner { at_ns, offset_ns: i64::try_from(point.offset).ok()? })
}

fn room(used: &Window, limit: DriftLimit, now: Instant) -> Vec<Room> {
    let Some(first) = used.rows().first() else { return Vec::new() };
    let (from, until) = (first.sent.as_nanos(), now.as_nanos());
    let span = until.saturating_sub(from);
    let place = |part: u64| {
        let since = u128::from(span) * u128::from(part) / u128::from(ROOM_PLACES);
        let at = from + u64::try_from(since).expect("a part of the span");
        let line = constant_drift(used, limit, Instant::from_nanos(at))?;
        Some(Room { at_ns: at, low_ns: line.offset.low_ns, high_ns: line.offset.high_ns })
    };
    (0..=ROOM_PLACES).filter_map(place).collect()
}
