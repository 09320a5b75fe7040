//! The textbook's offset estimators, each on the same samples.
//!
//! None of them can see a path that is slower one way than the other: that is what the bound is
//! for.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "estimates are of microseconds; offsets are taken relative to one of them first"
)]

use super::bound::{Row, Window};
use super::drift::DriftLimit;
use super::hull::{Point, hulls};
use super::likelihood::{self, POINTS_MIN, Posterior};
use super::wander::Bend;
use serde::{Deserialize, Serialize};
use std::fmt;
use wirelab::measure::Instant;

/// How to estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// The posterior mean, if queues are exponential and the drift is within its limit.
    Likelihood,
    /// The middle of what all samples leave room for: the shortest way out and the shortest way
    /// back, which need not be of one exchange.
    Intersection,
    /// The sample of least delay, older ones counting as longer (RFC 5905's dispersion, 15 ppm).
    MinDelay,
    /// The line midway between both hulls: drift from the edges that queues did not touch.
    Hull,
    /// Least squares over all samples.
    Regression,
    /// Least squares, samples of long delay counting less (as chrony weighs them).
    Weighted,
    /// The clock filter of RFC 5905 §10: least delay of the last eight.
    ClockFilter,
    /// Cristian 1989: server's time plus half of the shortest round trip.
    Cristian,
    /// The last sample.
    Last,
    /// The mean of all samples: the mistake of averaging, for comparison.
    Mean,
}

impl Estimator {
    /// All, the best first.
    pub const ALL: [Self; 10] = [
        Self::Likelihood,
        Self::Hull,
        Self::Intersection,
        Self::MinDelay,
        Self::Weighted,
        Self::Regression,
        Self::ClockFilter,
        Self::Cristian,
        Self::Last,
        Self::Mean,
    ];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Likelihood => "likelihood",
            Self::Intersection => "intersection",
            Self::MinDelay => "min-delay",
            Self::Hull => "hull",
            Self::Regression => "regression",
            Self::Weighted => "weighted",
            Self::ClockFilter => "clock-filter",
            Self::Cristian => "cristian",
            Self::Last => "last",
            Self::Mean => "mean",
        }
    }

    /// The one for these samples: two give no floor, three do.
    #[must_use]
    pub fn best_for(window: &Window) -> Self {
        if window.rows().len() < POINTS_MIN { Self::Intersection } else { Self::Likelihood }
    }
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Samples that RFC 5905's clock filter keeps (§10, NSTAGE).
const STAGES: usize = 8;
/// How fast an old sample is taken to lose worth: 15 ppm (RFC 5905 §7.3, PHI).
const PHI: f64 = 15e-6;

/// A likely offset. It says nothing of how unlike the two ways of the path may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// How it was made.
    pub estimator: Estimator,
    /// Server minus this host, at the end of the run.
    pub offset_ns: i64,
    /// How far the samples themselves scatter it, as a standard error would: on a path that is
    /// equally long both ways, about two of three lie within. `None` where there are too few.
    pub spread_ns: Option<i64>,
    /// How much faster the server's clock runs, parts per trillion, where the estimator says.
    pub drift_ppt: Option<i64>,
    /// How far the samples scatter the drift, parts per trillion, as `spread_ns` the offset.
    pub drift_spread_ppt: Option<i64>,
    /// Samples that it rests on.
    pub samples: u32,
}

impl Estimate {
    /// With what a wandering rate adds to the scatter of a line.
    pub(super) fn bent(self, bend: &Bend) -> Self {
        if self.estimator != Estimator::Likelihood {
            return self;
        }
        let wider = |value: i64, by: f64| (value as f64).hypot(by).ceil() as i64;
        Self {
            spread_ns: self.spread_ns.map(|spread| wider(spread, bend.offset)),
            drift_spread_ppt: self.drift_spread_ppt.map(|spread| wider(spread, bend.slope * 1e12)),
            ..self
        }
    }
}

/// Spreads by which a drift must be beyond its limit to be reported.
const BEYOND: f64 = 6.0;
/// Fewest samples that show a drift beyond its limit.
const BEYOND_MIN: usize = 8;

/// The drift that the samples show, parts per trillion, where it is certainly beyond the limit.
pub(super) fn drift_beyond(window: &Window, limit: DriftLimit) -> Option<i64> {
    let rows = window.rows();
    let found = (rows.len() >= BEYOND_MIN).then(|| line(rows, limit.tenfold())).flatten()?;
    let beyond = found.slope.abs() - BEYOND * found.slope_spread > limit.slope();
    beyond.then_some((found.slope * 1e12) as i64)
}

/// The estimate at `at`; `None` without samples.
#[must_use]
pub fn estimate(
    estimator: Estimator,
    window: &Window,
    limit: DriftLimit,
    at: Instant,
) -> Option<Estimate> {
    let rows = window.rows();
    let first = rows.first()?;
    let frame = Frame { base: first.offset_ns, at };
    let found = match estimator {
        Estimator::Likelihood => {
            posterior(&frame, rows, limit).or_else(|| intersection(&frame, rows))
        }
        Estimator::Intersection => intersection(&frame, rows),
        Estimator::MinDelay => min_delay(&frame, rows),
        Estimator::Hull => {
            between_hulls(&frame, rows, limit).or_else(|| intersection(&frame, rows))
        }
        Estimator::Regression => regression(&frame, rows, limit, |_| 1.0),
        Estimator::Weighted => regression(&frame, rows, limit, chrony_weight(rows)),
        Estimator::ClockFilter => clock_filter(&frame, rows),
        Estimator::Cristian => cristian(&frame, rows),
        Estimator::Last => rows.last().map(|row| Found::point(&frame, row.offset_ns)),
        Estimator::Mean => mean(&frame, rows),
    }?;
    Some(Estimate {
        estimator,
        offset_ns: frame.base.saturating_add(found.offset as i64),
        spread_ns: found.spread.map(|spread| spread.ceil() as i64),
        drift_ppt: found.slope.map(|slope| (slope * 1e12) as i64),
        drift_spread_ppt: found.slope_spread.map(|spread| (spread * 1e12).ceil() as i64),
        samples: super::sample::count(found.used.unwrap_or(rows.len())),
    })
}

/// Offsets are taken relative to `base` and times relative to `at`, so that f64 keeps its digits.
struct Frame {
    base: i64,
    at: Instant,
}

impl Frame {
    fn offset(&self, nanos: i64) -> f64 {
        (i128::from(nanos) - i128::from(self.base)) as f64
    }

    /// Nanoseconds from `at`; below zero before it.
    fn time(&self, when: Instant) -> f64 {
        (i128::from(when.as_nanos()) - i128::from(self.at.as_nanos())) as f64
    }

    /// The middle of an exchange.
    fn middle(&self, row: &Row) -> f64 {
        f64::midpoint(self.time(row.sent), self.time(row.came))
    }
}

#[derive(Default)]
struct Found {
    offset: f64,
    spread: Option<f64>,
    slope: Option<f64>,
    slope_spread: Option<f64>,
    used: Option<usize>,
}

impl Found {
    fn point(frame: &Frame, nanos: i64) -> Self {
        Self { offset: frame.offset(nanos), used: Some(1), ..Self::default() }
    }
}

/// The mean of the first gaps between sorted values: how densely they lie at their floor.
///
/// The least of n exponential values lies one gap above the floor on average.
fn floor_gap(mut delays: Vec<f64>) -> Option<f64> {
    const GAPS: usize = 3;
    delays.sort_by(f64::total_cmp);
    let gaps = delays.len().checked_sub(1).filter(|gaps| *gaps > 0)?.min(GAPS);
    Some((delays[gaps] - delays[0]) / gaps as f64)
}

/// //= RFC 5905 §10: lambda = delta / 2 + epsilon, and epsilon grows by PHI with age.
fn min_delay(frame: &Frame, rows: &[Row]) -> Option<Found> {
    let lambda = |row: &Row| row.delay_ns as f64 / 2.0 - PHI * frame.middle(row);
    let best = rows.iter().min_by(|a, b| lambda(a).total_cmp(&lambda(b)))?;
    let gap = floor_gap(rows.iter().map(|row| 2.0 * lambda(row)).collect());
    // A delay is the sum of two queues, so short ones are rare: the least lies about two gaps above
    // the floor (as in a Weibull law of shape 2), and half of that shifts the offset.
    let spread = gap.map(|gap| gap + PHI * -frame.middle(best) + best.slack_ns as f64);
    Some(Found { spread, used: Some(rows.len()), ..Found::point(frame, best.offset_ns) })
}

fn posterior(frame: &Frame, rows: &[Row], limit: DriftLimit) -> Option<Found> {
    let found = through(frame, rows, limit)?;
    Some(Found {
        offset: found.offset,
        spread: Some(found.spread),
        slope: Some(found.slope),
        slope_spread: Some(found.slope_spread),
        used: None,
    })
}

/// The line through the floors of these samples, at the last of them.
pub(super) fn line(rows: &[Row], limit: DriftLimit) -> Option<Posterior> {
    let frame = Frame { base: rows.first()?.offset_ns, at: rows.last()?.came };
    through(&frame, rows, limit)
}

fn through(frame: &Frame, rows: &[Row], limit: DriftLimit) -> Option<Posterior> {
    let high = |row: &Row| (frame.time(row.sent), frame.offset(row.high_ns - row.slack_ns));
    let low = |row: &Row| (frame.time(row.came), frame.offset(row.low_ns + row.slack_ns));
    let highs: Vec<_> = rows.iter().map(high).collect();
    let lows: Vec<_> = rows.iter().map(low).collect();
    let found = likelihood::line(&highs, &lows, limit.slope())?;
    let slack = rows.iter().map(|row| row.slack_ns).min().unwrap_or(0) as f64;
    Some(Posterior { spread: found.spread.hypot(slack), ..found })
}

/// Queues on the two ways are independent: the shortest way out of eight and the shortest way back
/// of eight are each nearer to their floor than those of the one exchange of least delay.
fn intersection(frame: &Frame, rows: &[Row]) -> Option<Found> {
    let (highs, lows) = aged(frame, rows);
    let least = |values: &[f64]| values.iter().copied().min_by(f64::total_cmp);
    let offset = f64::midpoint(least(&highs)?, -least(&lows)?);
    let slack = rows.iter().map(|row| row.slack_ns).min().unwrap_or(0) as f64;
    // Half of what a drift of PHI can have moved over the samples.
    let drifted = PHI * -frame.time(rows.first()?.sent) / 2.0;
    let spread = floors(frame, rows).map(|(out, back)| out.hypot(back) / 2.0 + drifted + slack);
    Some(Found { offset, spread, ..Found::default() })
}

/// Upper bounds, and lower bounds with their sign turned, older ones counting as longer.
fn aged(frame: &Frame, rows: &[Row]) -> (Vec<f64>, Vec<f64>) {
    let high = |r: &Row| frame.offset(r.high_ns) - PHI * frame.time(r.sent);
    let low = |r: &Row| -frame.offset(r.low_ns) - PHI * frame.time(r.came);
    (rows.iter().map(high).collect(), rows.iter().map(low).collect())
}

/// How well the floors of the way out and the way back are known.
fn floors(frame: &Frame, rows: &[Row]) -> Option<(f64, f64)> {
    let (highs, lows) = aged(frame, rows);
    floor_gap(highs).zip(floor_gap(lows))
}

fn mean(frame: &Frame, rows: &[Row]) -> Option<Found> {
    let n = rows.len() as f64;
    let offset = rows.iter().map(|row| frame.offset(row.offset_ns)).sum::<f64>() / n;
    let square = |row: &Row| (frame.offset(row.offset_ns) - offset).powi(2);
    let deviation = (rows.iter().map(square).sum::<f64>() / (n - 1.0)).sqrt();
    let spread = (rows.len() > 1).then(|| deviation / n.sqrt());
    Some(Found { offset, spread, ..Found::default() })
}

/// //= RFC 5905 §10: the offset of least delay; jitter is the RMS of the differences to it.
fn clock_filter(frame: &Frame, rows: &[Row]) -> Option<Found> {
    let stages = &rows[rows.len().saturating_sub(STAGES)..];
    let best = stages.iter().min_by_key(|row| row.delay_ns)?;
    let square = |row: &Row| (frame.offset(row.offset_ns) - frame.offset(best.offset_ns)).powi(2);
    let rest = stages.len() - 1;
    let jitter = (stages.iter().map(square).sum::<f64>() / rest.max(1) as f64).sqrt();
    let spread = (rest > 0).then_some(jitter);
    Some(Found { spread, used: Some(stages.len()), ..Found::point(frame, best.offset_ns) })
}

/// Cristian, Distributed Computing 3, 1989: of the shortest round trip, T3 + RTT / 2 - T4.
fn cristian(frame: &Frame, rows: &[Row]) -> Option<Found> {
    let round_trip = |row: &Row| row.came.since(row.sent).as_nanos();
    let best = rows.iter().min_by_key(|row| round_trip(row))?;
    let half = round_trip(best) as f64 / 2.0;
    let back = frame.offset(best.low_ns.saturating_add(best.slack_ns));
    Some(Found { offset: back + half, spread: Some(half), used: Some(1), ..Found::default() })
}

/// chrony's weight: 1 / (1 + excess / deviation)^2 of the delay.
fn chrony_weight(rows: &[Row]) -> impl Fn(&Row) -> f64 + use<> {
    let least = rows.iter().map(|row| row.delay_ns).min().unwrap_or(0);
    let excess = move |row: &Row| (row.delay_ns - least) as f64;
    let deviation = (rows.iter().map(|row| excess(row).powi(2)).sum::<f64>() / rows.len() as f64)
        .sqrt()
        .max(1.0);
    move |row| (1.0 + excess(row) / deviation).powi(-2)
}

/// A straight line through the means, by least squares.
struct Fit {
    /// The weighted means of time and offset.
    x: f64,
    y: f64,
    slope: f64,
    /// The sums of the weights, and of the weighted squares of time.
    sum: f64,
    sxx: f64,
}

fn fit(frame: &Frame, rows: &[Row], weight: impl Fn(&Row) -> f64) -> Option<Fit> {
    let all = || rows.iter().map(|r| (weight(r), frame.middle(r), frame.offset(r.offset_ns)));
    let sum = all().map(|(w, ..)| w).sum::<f64>();
    let (x, y) = all().fold((0.0, 0.0), |(x, y), (w, t, o)| (x + w * t / sum, y + w * o / sum));
    let sxx = all().map(|(w, t, _)| w * (t - x).powi(2)).sum::<f64>();
    let sxy = all().map(|(w, t, o)| w * (t - x) * (o - y)).sum::<f64>();
    (rows.len() >= 3 && sxx > 0.0).then(|| Fit { x, y, slope: sxy / sxx, sum, sxx })
}

/// How far each sample lies from the line that fits them, weighed as chrony weighs them.
pub(super) fn residuals(window: &Window) -> Vec<f64> {
    let rows = window.rows();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
    let frame = Frame { base: first.offset_ns, at: last.came };
    let Some(line) = fit(&frame, rows, chrony_weight(rows)) else { return Vec::new() };
    let away = |row: &Row| {
        frame.offset(row.offset_ns) - line.y - line.slope * (frame.middle(row) - line.x)
    };
    rows.iter().map(away).collect()
}

/// Least squares of offset against time, read off at `at`; the slope stays within its limit.
fn regression(
    frame: &Frame,
    rows: &[Row],
    limit: DriftLimit,
    weight: impl Fn(&Row) -> f64,
) -> Option<Found> {
    let Some(Fit { x, y, slope, sum, sxx }) = fit(frame, rows, &weight) else {
        return mean(frame, rows);
    };
    let slope = slope.clamp(-limit.slope(), limit.slope());
    let square = |row: &Row| {
        let away = frame.offset(row.offset_ns) - y - slope * (frame.middle(row) - x);
        weight(row) * away.powi(2)
    };
    let variance = rows.iter().map(square).sum::<f64>() / (rows.len() as f64 - 2.0);
    let spread = (variance * (1.0 / sum + x * x / sxx)).sqrt();
    let slope_spread = Some((variance / sxx).sqrt());
    let offset = y - slope * x;
    Some(Found { offset, spread: Some(spread), slope: Some(slope), slope_spread, used: None })
}

/// A line relative to a frame.
struct Line {
    slope: f64,
    /// Its value at the pivot.
    value: f64,
    /// How far the nearest points lie from it: small where queues seldom touched that side.
    gap: f64,
}

/// The line midway between both hulls.
///
/// The edge of each hull over the middle of the samples is the line that lies nearest to them all
/// on that side (Moon et al.). Both slopes estimate one drift; the side less touched by queues
/// weighs more. The offset needs both sides equally.
fn between_hulls(frame: &Frame, rows: &[Row], limit: DriftLimit) -> Option<Found> {
    if rows.len() < 3 {
        return None;
    }
    let (uppers, lowers) = hulls(rows);
    let pivot = rows.iter().map(|row| frame.middle(row)).sum::<f64>() / rows.len() as f64;
    let above = rows.iter().map(|row| (frame.time(row.sent), frame.offset(row.high_ns)));
    let below = rows.iter().map(|row| (frame.time(row.came), frame.offset(row.low_ns)));
    let upper = edge(frame, &uppers, pivot, above)?;
    let lower = edge(frame, &lowers, pivot, below)?;
    let weight = |line: &Line| 1.0 / (line.gap + 1.0).powi(2);
    let (up, down) = (weight(&upper), weight(&lower));
    let slope = (upper.slope * up + lower.slope * down) / (up + down);
    let slope = slope.clamp(-limit.slope(), limit.slope());
    let offset = f64::midpoint(upper.value, lower.value) - slope * pivot;
    // Each line stands off its floor by about its gap, the more the further it is drawn out.
    let begin = rows.first().map_or(0.0, |row| frame.time(row.sent));
    let reach = 1.0 + 2.0 * (pivot / begin.min(-1.0)).abs();
    let slack = rows.iter().map(|row| row.slack_ns).min().unwrap_or(0) as f64;
    let spread = f64::midpoint(upper.gap, lower.gap) * reach + slack;
    // A slope is known to the gap over half of the span, by the side that queues touched less.
    let slope_spread = (upper.gap.min(lower.gap) + slack) * 2.0 / -begin.min(-1.0);
    let slope_spread = Some(slope_spread);
    Some(Found { offset, spread: Some(spread), slope: Some(slope), slope_spread, used: None })
}

/// The edge of a hull over the pivot, with the gap to the points nearest to it.
fn edge(
    frame: &Frame,
    hull: &[Point],
    pivot: f64,
    points: impl Iterator<Item = (f64, f64)>,
) -> Option<Line> {
    let place = |p: &Point| {
        let at = (p.at - i128::from(frame.at.as_nanos())) as f64;
        (at, (p.offset - i128::from(frame.base)) as f64)
    };
    let over = hull.windows(2).find(|pair| place(&pair[1]).0 >= pivot)?;
    let ((ax, ay), (bx, by)) = (place(&over[0]), place(&over[1]));
    let slope = (by - ay) / (bx - ax);
    let value = ay + slope * (pivot - ax);
    let mut away: Vec<f64> = points.map(|(x, y)| (y - value - slope * (x - pivot)).abs()).collect();
    away.sort_by(f64::total_cmp);
    // Two points lie on the edge itself.
    let gap = floor_gap(away.split_off(1)).unwrap_or(0.0);
    Some(Line { slope, value, gap })
}
