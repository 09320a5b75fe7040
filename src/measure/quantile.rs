//! Quantiles with distribution-free intervals, and thinned empirical distributions.
//!
//! The interval of a quantile is the pair of order statistics whose ranks enclose it with 95 %
//! confidence by the binomial law (Conover, "Practical Nonparametric Statistics", §3.2). It assumes
//! only independent samples.

use super::interval::{ALPHA, binomial_cdf};
use serde::{Deserialize, Serialize};

/// A quantile and its 95 % interval, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantile {
    /// The value: the smallest sample with at least this share of samples at or below it.
    pub value_ns: Option<u64>,
    /// Lower bound; `None` if there are too few samples.
    pub low_ns: Option<u64>,
    /// Upper bound; `None` if there are too few samples.
    pub high_ns: Option<u64>,
}

/// A point of a distribution: this share of the samples is at or below this value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EcdfPoint {
    /// Nanoseconds.
    pub at_ns: u64,
    /// Share of all samples at or below it.
    pub share: f64,
}

/// The quantile `per_mille`/1000 of sorted samples.
///
/// # Panics
/// If `per_mille` is 0 or above 999, or (in debug builds) the samples are not sorted.
pub fn quantile(sorted: &[u64], per_mille: u16) -> Quantile {
    assert!(
        (1..1000).contains(&per_mille),
        "a quantile lies between 0 and 1, got {per_mille}/1000"
    );
    debug_assert!(sorted.is_sorted(), "samples must be sorted");
    let n = sorted.len();
    if n == 0 {
        return Quantile::default();
    }
    let rank = (n * usize::from(per_mille)).div_ceil(1000).max(1);
    let q = f64::from(per_mille) / 1000.0;
    let (low, high) = rank_interval(n as u64, q);
    Quantile {
        value_ns: Some(sorted[rank - 1]),
        low_ns: low.map(|rank| sorted[rank - 1]),
        high_ns: high.map(|rank| sorted[rank - 1]),
    }
}

/// Ranks (from 1) of the order statistics that enclose the quantile `q` of `n` samples.
///
/// Lower: the largest r with P(X < r) <= alpha/2. Upper: the smallest s with
/// P(X < s) >= 1 - alpha/2, X binomial(n, q).
pub(super) fn rank_interval(n: u64, q: f64) -> (Option<usize>, Option<usize>) {
    let below = |rank: u64| if rank == 0 { 0.0 } else { binomial_cdf(rank - 1, n, q) };
    let low = partition(1, n, |rank| below(rank) <= ALPHA / 2.0);
    let first_high = partition(1, n, |rank| rank == n + 1 || below(rank) < 1.0 - ALPHA / 2.0) + 1;
    // Below rank n the sum is less than one; there is no sample n + 1.
    let high = (first_high <= n && below(first_high) >= 1.0 - ALPHA / 2.0).then_some(first_high);
    let rank = |r: u64| usize::try_from(r).ok();
    ((low >= 1).then_some(low).and_then(rank), high.and_then(rank))
}

/// The last value in `first..=last` for which `holds` is true, or `first - 1`.
///
/// `holds` must be monotonic: once false, it stays false.
fn partition(first: u64, last: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low - 1
}

/// Maximum points of a thinned distribution.
pub const ECDF_POINTS_MAX: usize = 200;

/// The distribution of sorted samples in at most [`ECDF_POINTS_MAX`] points.
///
/// Half of the points are even in share, half in the logarithm of the share above, to resolve the
/// tail.
#[expect(clippy::cast_precision_loss, reason = "sample counts stay far below 2^52")]
pub fn ecdf(sorted: &[u64], of: u64) -> Vec<EcdfPoint> {
    let n = sorted.len();
    let point =
        |rank: usize| EcdfPoint { at_ns: sorted[rank - 1], share: rank as f64 / of.max(1) as f64 };
    if n <= ECDF_POINTS_MAX {
        return (1..=n).map(point).collect();
    }
    let half = ECDF_POINTS_MAX / 2;
    let mut ranks: Vec<usize> = (0..half).map(|i| 1 + i * (n - 1) / half).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and n")]
    ranks.extend((0..half).map(|i| {
        let above = (n as f64).powf(1.0 - i as f64 / (half - 1) as f64);
        n - (above as usize).clamp(1, n) + 1
    }));
    ranks.sort_unstable();
    ranks.dedup();
    ranks.into_iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_agree_with_the_tables() {
        // Conover, table for the median: n = 20 gives ranks 6 and 15.
        assert_eq!(rank_interval(20, 0.5), (Some(6), Some(15)));
        // 1 - 0.999^n >= 0.975 from n = 3688 on: no upper end of p99.9 below that.
        assert_eq!(rank_interval(3_600, 0.999).1, None);
        assert_eq!(rank_interval(3_700, 0.999).1, Some(3_700));
        assert_eq!(rank_interval(3, 0.5), (None, None));
    }

    #[test]
    fn a_quantile_is_a_sample_and_lies_in_its_interval() {
        let sorted: Vec<u64> = (1..=10_000).collect();
        for (per_mille, value) in [(500, 5_000), (990, 9_900), (999, 9_990)] {
            let q = quantile(&sorted, per_mille);
            assert_eq!(q.value_ns, Some(value));
            assert!(q.low_ns.unwrap() < value && q.high_ns.unwrap() > value, "{q:?}");
        }
        assert_eq!(quantile(&[], 500), Quantile::default());
        assert_eq!(quantile(&[7], 990).value_ns, Some(7));
    }

    #[test]
    fn a_thinned_distribution_keeps_both_ends() {
        let sorted: Vec<u64> = (1..=100_000).collect();
        let points = ecdf(&sorted, 100_000);
        assert!(points.len() <= ECDF_POINTS_MAX);
        assert_eq!(points.first().unwrap().at_ns, 1);
        assert_eq!(points.last().unwrap().at_ns, 100_000);
        assert!((points.last().unwrap().share - 1.0).abs() < 1e-12);
        assert!(points.is_sorted_by_key(|p| p.at_ns));
    }
}
