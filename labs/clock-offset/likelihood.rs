//! The posterior of offset and drift, if queues on both ways are exponential and of unknown means.
//!
//! Upper bounds lie above a line by what queued on the way out, lower bounds below one by what
//! queued on the way back. Given a drift, the likelihood of each floor has a closed form (means and
//! floors with their usual flat priors), so only the drift needs a grid. The longest delays of each
//! way count as censored, so that a queue with a heavier tail does not stretch the floor.
#![expect(clippy::cast_precision_loss, reason = "counts of samples are small")]

/// What is known of a line at time zero; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posterior {
    pub(super) offset: f64,
    /// Half of the width that holds 68 % of the probability around `offset`.
    pub(super) spread: f64,
    pub(super) slope: f64,
    /// The same of the slope.
    pub(super) slope_spread: f64,
}

/// Fewest bounds on a side: of fewer the mean does not exist.
pub(super) const POINTS_MIN: usize = 3;
/// Slopes per refinement of the grid.
const SLOPES: usize = 49;
/// Slopes whose probability is e^-8 of the best are left out.
const LEFT_OUT: f64 = -8.0;
/// Fewest slopes of the last grid that count.
const OCCUPIED_MIN: usize = 20;
/// Refinements at most: each makes the grid finer by two at least.
const ROUNDS: usize = 40;
/// Draws of both floors per slope.
const DRAWS: usize = 8;
/// The share of a normal distribution within one standard deviation.
const ONE_SIGMA: f64 = 0.6827;

/// One way: bounds as (time, value above a floor).
struct Side<'a> {
    points: &'a [(f64, f64)],
    /// Bounds that are not censored.
    kept: usize,
    residuals: Vec<f64>,
}

impl<'a> Side<'a> {
    fn new(points: &'a [(f64, f64)]) -> Self {
        Self { points, kept: points.len() - points.len() / 4, residuals: Vec::new() }
    }

    /// The floor at time zero for a slope, and the sum of what lies above it.
    fn above(&mut self, slope: f64) -> (f64, f64) {
        self.residuals.clear();
        self.residuals.extend(self.points.iter().map(|(at, value)| value - slope * at));
        let last = self.kept - 1;
        let (below, censored, _) = self.residuals.select_nth_unstable_by(last, f64::total_cmp);
        let censored = *censored;
        let least = below.iter().copied().fold(censored, f64::min);
        let n = self.points.len();
        let sum: f64 = below.iter().map(|value| value - least).sum();
        // A nanosecond each, as clocks do not count less.
        (least, sum + (n - last) as f64 * (censored - least) + n as f64)
    }

    /// How far the floor lies below the least bound at a quantile of its posterior.
    fn depth(&self, sum: f64, quantile: f64) -> f64 {
        let power = -1.0 / (self.kept as f64 - 1.0);
        sum / self.points.len() as f64 * ((1.0 - quantile).powf(power) - 1.0)
    }

    fn mean_depth(&self, sum: f64) -> f64 {
        sum / self.points.len() as f64 / (self.kept as f64 - 2.0)
    }
}

/// The posterior at time zero: `uppers` and `lowers` as (time, bound), slopes within `limit`.
///
/// `None` where there are too few.
pub(super) fn line(uppers: &[(f64, f64)], lowers: &[(f64, f64)], limit: f64) -> Option<Posterior> {
    if uppers.len() < POINTS_MIN || lowers.len() < POINTS_MIN {
        return None;
    }
    let turned: Vec<(f64, f64)> = lowers.iter().map(|(at, value)| (*at, -value)).collect();
    let (mut out, mut back) = (Side::new(uppers), Side::new(&turned));
    let slopes = grid(&mut out, &mut back, limit);
    let total: f64 = slopes.iter().map(|(_, weight)| weight).sum();
    let mean = |of: &mut dyn FnMut(f64) -> f64| {
        slopes.iter().map(|(slope, weight)| of(*slope) * weight).sum::<f64>() / total
    };
    let slope = mean(&mut |slope| slope);
    let offset = mean(&mut |slope| {
        let ((upper, above), (lower, below)) = (out.above(slope), back.above(-slope));
        (upper - out.mean_depth(above) - lower + back.mean_depth(below)) / 2.0
    });
    let slope_spread = quantile(slopes.iter().map(|(at, weight)| ((at - slope).abs(), *weight)));
    let mut away = Vec::with_capacity(slopes.len() * DRAWS);
    for (index, (slope, weight)) in slopes.iter().enumerate() {
        let ((upper, above), (lower, below)) = (out.above(*slope), back.above(-slope));
        for draw in 0..DRAWS {
            // Evenly spread pairs (the R2 sequence).
            let number = (index * DRAWS + draw) as f64;
            let even = |step: f64| (0.5 + number * step).fract();
            let up = upper - out.depth(above, even(0.754_877_666_246_692_7));
            let low = back.depth(below, even(0.569_840_290_998_053_2)) - lower;
            away.push((((up + low) / 2.0 - offset).abs(), *weight));
        }
    }
    Some(Posterior { offset, spread: quantile(away.into_iter()), slope, slope_spread })
}

/// Slopes and their probabilities, as fine as the samples tell them apart.
fn grid(out: &mut Side<'_>, back: &mut Side<'_>, limit: f64) -> Vec<(f64, f64)> {
    let (mut low, mut high) = (-limit, limit);
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        let cell = (high - low) / (SLOPES - 1) as f64;
        let slopes = (0..SLOPES).map(|index| low + cell * index as f64);
        let power = |side: &Side<'_>| side.kept as f64 - 1.0;
        let likely = |slope: f64| {
            let (above, below) = (out.above(slope).1, back.above(-slope).1);
            (slope, -power(out) * above.ln() - power(back) * below.ln())
        };
        let logs: Vec<(f64, f64)> = slopes.map(likely).collect();
        let best = logs.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        found = logs
            .into_iter()
            .map(|(slope, log)| (slope, log - best))
            .filter(|(_, log)| *log > LEFT_OUT)
            .map(|(slope, log)| (slope, log.exp()))
            .collect();
        let (Some((first, _)), Some((last, _))) = (found.first(), found.last()) else { break };
        if found.len() >= OCCUPIED_MIN || cell <= 0.0 {
            break;
        }
        (low, high) = ((first - cell).max(-limit), (last + cell).min(limit));
    }
    found
}

/// The value below which 68 % of the weight lies.
fn quantile(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut values: Vec<(f64, f64)> = values.collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    let reached = values.iter().find(|(_, weight)| {
        sum += weight;
        sum >= ONE_SIGMA * total
    });
    reached.map_or(0.0, |(value, _)| *value)
}
