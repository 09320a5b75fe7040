//! How far a rate that wanders bends a line, and from how many samples a line is drawn best.
//!
//! Random-walk frequency noise of `w` per root second bends the end of a least-squares line over T
//! by `w T^1.5 / sqrt(105)`, its slope by `w sqrt(13 T / 35)`, and sets the slopes of two adjacent
//! parts of length T apart by `w sqrt(26 T / 35)`. The last one is how `w` is found.

use super::bound::{Row, Window};
use super::drift::DriftLimit;
use super::estimate::line;

/// Fewest samples of a part.
const PART_MIN: usize = 8;
/// The wander that is tried: from 0.03 ppb per root second (none that shows) to 3 ppm, four to a
/// decade.
const LEAST: f64 = 0.03e-9;
const STEPS: i32 = 21;
/// A line through floors rests on fewer samples than least squares do, and the window of least
/// scatter is more often one whose scatter looks too small: found by simulation.
const FEWER: f64 = 1.7;
/// Degrees of freedom of a slope's scatter.
const FREEDOM: f64 = 5.0;
const SECOND: f64 = 1e9;
/// The quantile of the wander that is reckoned with where the samples show some, and where not:
/// too little costs more than too much.
const CAUTIOUS: [f64; 2] = [0.85, 0.6];
/// How much likelier (logarithm) than none a wander is that the samples show.
const SHOWN: f64 = 2.0;

/// What wander adds to the scatter of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bend {
    /// To its end, nanoseconds.
    pub(super) offset: f64,
    /// To its slope.
    pub(super) slope: f64,
}

/// The last samples from which the line scatters least, wander included, and what wander adds.
pub(super) fn best_end(window: &Window, limit: DriftLimit) -> (Window, Bend) {
    let rows = window.rows();
    if rows.len() < 2 * PART_MIN {
        return (window.clone(), Bend::default());
    }
    let wander = wander(rows, limit);
    let mut best: Option<(f64, usize, Bend)> = None;
    let mut size = rows.len();
    while size >= PART_MIN {
        let end = &rows[rows.len() - size..];
        let span = span(end) / SECOND;
        let bend = Bend {
            offset: wander * FEWER * (span.powi(3) / 105.0).sqrt() * SECOND,
            slope: wander * FEWER * (span * 13.0 / 35.0).sqrt(),
        };
        let scatter = line(end, limit).map(|found| found.spread.hypot(bend.offset));
        if let Some(scatter) = scatter.filter(|s| best.is_none_or(|(least, ..)| *s < least)) {
            best = Some((scatter, size, bend));
        }
        size = size.div_ceil(2);
    }
    best.map_or_else(
        || (window.clone(), Bend::default()),
        |(_, size, bend)| (window.last(size), bend),
    )
}

#[expect(clippy::cast_precision_loss, reason = "spans of runs, in nanoseconds")]
fn span(rows: &[Row]) -> f64 {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return 0.0 };
    last.came.since(first.sent).as_nanos() as f64
}

/// The wander per root second that is reckoned with, by the slopes of adjacent parts of every size.
fn wander(rows: &[Row], limit: DriftLimit) -> f64 {
    // What two slopes differ by, its variance without wander, and with wander of one.
    let mut seen: Vec<(f64, f64, f64)> = Vec::new();
    let mut size = rows.len() / 2;
    while size >= PART_MIN {
        for pair in rows.rchunks_exact(2 * size) {
            let (before, after) = pair.split_at(size);
            let Some((a, b)) = line(before, limit).zip(line(after, limit)) else { continue };
            let noise = a.slope_spread.powi(2) + b.slope_spread.powi(2);
            seen.push((a.slope - b.slope, noise, 26.0 / 35.0 * span(after) / SECOND));
        }
        size /= 2;
    }
    let walk = |step: i32| LEAST * 10_f64.powf(f64::from(step) / 4.0);
    let log = |wander: f64| -> f64 {
        let of = |(apart, noise, unit): &(f64, f64, f64)| {
            let variance = noise + wander.powi(2) * unit;
            // Student's distribution: slopes of few samples have heavy tails.
            let square = apart.powi(2) / variance / FREEDOM;
            -f64::midpoint(FREEDOM, 1.0) * square.ln_1p() - variance.ln() / 2.0
        };
        seen.iter().map(of).sum()
    };
    let logs: Vec<f64> = (0..STEPS).map(|step| log(walk(step))).collect();
    let best = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - best).exp()).collect();
    let total: f64 = weights.iter().sum();
    let shown = logs.first().is_some_and(|none| best - none > SHOWN);
    let quantile = CAUTIOUS[usize::from(!shown)];
    let mut sum = 0.0;
    let found = (0..STEPS).zip(&weights).find(|(_, weight)| {
        sum += **weight;
        sum >= quantile * total
    });
    found.map_or(0.0, |(step, _)| walk(step))
}
