//! Intervals for samples that come in clusters (one segment, one connection) and repetitions.
//!
//! Correlated samples count as fewer independent ones: n divided by the design effect of the
//! clusters (Kish, "Survey Sampling", 1965, §5.4), with Student's correction for few clusters (Korn
//! and Graubard, "Confidence intervals for proportions with small expected number of positive
//! counts", Survey Methodology 24, 1998). Quantiles invert the share below them (Woodruff, JASA 47,
//! 1952) and then cover what another repetition gives: Student's interval over the repetitions.

use super::interval::{ALPHA, NORMAL, Share, beta_interval, student};
use super::quantile::{Quantile, rank_interval};

/// A sample, its cluster and its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// The measured value, nanoseconds.
    pub value_ns: u64,
    /// Its cluster; numbers need not be dense, and no cluster spans repetitions.
    pub cluster: u64,
    /// Its repetition, from 0.
    pub repetition: u32,
}

/// Samples in ascending order, and their clusters.
#[derive(Clone, Debug, Default)]
pub struct Clustered {
    sorted: Vec<Sample>,
    /// Cluster of each sorted sample, numbered densely.
    cluster_of: Vec<usize>,
    cluster_sizes: Vec<u32>,
}

/// Repetitions whose quantiles differ by more than this factor lie on different steps of a
/// discrete distribution, where Student's interval means nothing.
pub const CLIFF_FACTOR: f64 = 1.25;

impl Clustered {
    /// The samples in any order.
    #[must_use]
    pub fn new(mut samples: Vec<Sample>) -> Self {
        samples.sort_unstable();
        let mut clusters: Vec<u64> = samples.iter().map(|s| s.cluster).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let place = |s: &Sample| clusters.partition_point(|c| *c < s.cluster);
        let cluster_of: Vec<usize> = samples.iter().map(place).collect();
        let mut cluster_sizes = vec![0; clusters.len()];
        cluster_of.iter().for_each(|cluster| cluster_sizes[*cluster] += 1);
        Self { sorted: samples, cluster_of, cluster_sizes }
    }

    /// The values, ascending.
    #[must_use]
    pub fn values(&self) -> Vec<u64> {
        self.sorted.iter().map(|s| s.value_ns).collect()
    }

    /// Independent samples that carry as much information about the share above `threshold_ns` as
    /// these do, at most the number of samples.
    #[must_use]
    pub fn effective(&self, threshold_ns: u64) -> f64 {
        let n = float(self.sorted.len());
        let first_above = self.sorted.partition_point(|s| s.value_ns <= threshold_ns);
        let p = float(self.sorted.len() - first_above) / n;
        let m = float(self.cluster_sizes.len());
        if m < 2.0 {
            return 1.0;
        }
        if p == 0.0 || p == 1.0 {
            return n;
        }
        let mut above = vec![0_u32; self.cluster_sizes.len()];
        self.cluster_of[first_above..].iter().for_each(|cluster| above[*cluster] += 1);
        let residuals = above.iter().zip(&self.cluster_sizes);
        let squares: f64 =
            residuals.map(|(y, b)| (f64::from(*y) - p * f64::from(*b)).powi(2)).sum();
        let variance = m / (m - 1.0) * squares / (n * n);
        let effect = (variance / (p * (1.0 - p) / n)).max(1.0);
        n / effect * (NORMAL / student(m - 1.0, ALPHA)).powi(2)
    }

    /// The quantile `per_mille`/1000; an end is `None` where too few clusters support it.
    ///
    /// # Panics
    /// If `per_mille` is 0 or above 999.
    #[must_use]
    pub fn quantile(&self, per_mille: u16) -> Quantile {
        assert!((1..1000).contains(&per_mille), "a quantile lies between 0 and 1: {per_mille}");
        let n = self.sorted.len();
        let Some(value) = self.rank_value(rank(n, per_mille)) else { return Quantile::default() };
        let q = f64::from(per_mille) / 1000.0;
        // Few samples lie above p99.9: what is known of clusters comes from p99 as well.
        let (n_effective, thinner) = (self.effective(value), self.rank_value(rank(n, 990)));
        let n_effective = match thinner.filter(|_| per_mille > 990) {
            Some(p99) => n_effective.min(self.effective(p99)),
            None => n_effective,
        };
        let whole = truncated(n_effective).clamp(1, n);
        let (low, high) = rank_interval(whole as u64, q);
        // A rank among independent samples is a run of ranks among all: take its outer end.
        let low = low.and_then(|rank| self.rank_value((rank - 1) * n / whole + 1));
        let high = high.and_then(|rank| self.rank_value((rank * n).div_ceil(whole).min(n)));
        let within = low.zip(high).filter(|_| n_effective < FEW);
        let within = within.map(|(low, high)| as_float(high - low) / (2.0 * NORMAL));
        let (least, most) = self.between_repetitions(per_mille, value, n_effective, within);
        Quantile {
            value_ns: Some(value),
            low_ns: low.map(|low| low.min(least)),
            high_ns: high.map(|high| high.max(most)),
        }
    }

    /// Student's interval over the quantiles of the repetitions, as far as they spread more than
    /// the standard error `within` explains, if one is given. On a cliff it means nothing: there
    /// the range of those that are too far from the rest to be chance.
    fn between_repetitions(
        &self,
        per_mille: u16,
        value: u64,
        n_effective: f64,
        within: Option<f64>,
    ) -> (u64, u64) {
        let repetitions = self.sorted.iter().map(|s| s.repetition + 1).max().unwrap_or(0);
        let own = |repetition: u32| {
            let samples = self.sorted.iter().filter(|s| s.repetition == repetition);
            samples.map(|s| s.value_ns).collect::<Vec<_>>()
        };
        let own: Vec<Vec<u64>> = (0..repetitions).map(own).filter(|own| !own.is_empty()).collect();
        let quantile_of = |own: &Vec<u64>| own[rank(own.len(), per_mille) - 1];
        let range =
            |values: &[u64]| values.iter().fold((value, value), |(l, m), v| (l.min(*v), m.max(*v)));
        let values: Vec<u64> = own.iter().map(quantile_of).collect();
        let (least, most) = range(&values);
        if values.len() < 2 {
            return (value, value);
        }
        if as_float(most) > CLIFF_FACTOR * as_float(least) {
            let expected = 1.0 - f64::from(per_mille) / 1000.0;
            let apart = |own: &&Vec<u64>| {
                let n = n_effective * float(own.len()) / float(self.sorted.len());
                let above = |first: usize| n * float(own.len() - first) / float(own.len());
                let below_it = own.partition_point(|v| *v < value);
                let up_to_it = own.partition_point(|v| *v <= value);
                let few = beta_interval(above(below_it), n, ALPHA).1 < expected;
                few || beta_interval(above(up_to_it), n, ALPHA).0 > expected
            };
            return range(&own.iter().filter(apart).map(quantile_of).collect::<Vec<_>>());
        }
        let (mean, half) = student_over(&values, within);
        (whole_ns(mean - half).min(value), whole_ns(mean + half).max(value))
    }

    fn rank_value(&self, rank: usize) -> Option<u64> {
        self.sorted.get(rank.checked_sub(1)?).map(|s| s.value_ns)
    }

    /// The share of samples above `threshold_ns`, its interval by effective samples.
    #[must_use]
    pub fn share_above(&self, threshold_ns: u64) -> Share {
        let n = self.sorted.len() as u64;
        let above = self.sorted.partition_point(|s| s.value_ns <= threshold_ns) as u64;
        let plain = Share::new(n - above, n);
        if n == 0 {
            return plain;
        }
        let n_effective = self.effective(threshold_ns);
        let (low, high) = beta_interval(plain.share * n_effective, n_effective, ALPHA);
        Share { low: low.min(plain.low), high: high.max(plain.high), ..plain }
    }
}

/// Below so many effective samples chance decides how repetitions differ; above, the machine.
const FEW: f64 = 60.0;
/// Spread of repetitions, as a multiple of the median spread by chance, up to which it is taken for
/// chance, and from which Student's interval holds in full. Between them the interval grows evenly,
/// so that its coverage stays above 93 % whatever the spread.
const CHANCE: (f64, f64) = (0.7, 3.0);

/// The mean of the repetitions' values and half of its interval; `within` is the standard error of
/// all samples together.
fn student_over(values: &[u64], within: Option<f64>) -> (f64, f64) {
    let (count, df) = (float(values.len()), float(values.len() - 1));
    let mean = values.iter().map(|v| as_float(*v)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (as_float(*v) - mean).powi(2)).sum();
    let between = (squares / df / count).sqrt();
    // At half the error: three repetitions of a spread that is not normal fall short.
    let full = student(df, ALPHA / 2.0) * between;
    let Some(within) = within.filter(|within| *within > 0.0) else { return (mean, full) };
    // Median of chi-squared over its degrees of freedom (Wilson and Hilferty, PNAS 17, 1931).
    let chance = (1.0 - 2.0 / (9.0 * df)).powi(3);
    let excess = (between / within).powi(2) / chance;
    let weight = ((excess - CHANCE.0) / (CHANCE.1 - CHANCE.0)).clamp(0.0, 1.0);
    (mean, full * weight + (NORMAL * within).min(full) * (1.0 - weight))
}

/// The rank, from 1, of the quantile `per_mille`/1000 of `n` samples.
const fn rank(n: usize, per_mille: u16) -> usize {
    (n * per_mille as usize).div_ceil(1000)
}

#[expect(clippy::cast_precision_loss, reason = "sample counts stay far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "latencies stay far below 2^52 ns, 52 days")]
fn as_float(nanos: u64) -> f64 {
    nanos as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
fn truncated(count: f64) -> usize {
    count.max(0.0) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at 0")]
fn whole_ns(nanos: f64) -> u64 {
    nanos.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::draw::keyed;

    /// 3 repetitions of `rounds` clusters of `depth` samples; `shared`: equal within a cluster.
    fn drawn(seed: u64, rounds: u64, depth: u64, shared: bool) -> Clustered {
        let mut samples = Vec::new();
        for cluster in 0..3 * rounds {
            for place in 0..depth {
                let key = if shared { cluster * depth } else { cluster * depth + place };
                let uniform = keyed(seed, key) >> 24;
                let repetition = u32::try_from(cluster / rounds).unwrap();
                samples.push(Sample { value_ns: uniform, cluster, repetition });
            }
        }
        Clustered::new(samples)
    }

    #[test]
    fn equal_samples_of_a_cluster_count_once() {
        let (shared, free) = (drawn(7, 160, 8, true), drawn(7, 160, 8, false));
        let middle = 1 << 39;
        let (shared, free) = (shared.effective(middle), free.effective(middle));
        assert!((380.0..=480.0).contains(&shared), "{shared} of 480 clusters");
        assert!(free > 2_500.0, "{free} of 3,840 samples");
    }

    /// Coverage of quantiles of a uniform distribution, whose values are known.
    #[test]
    fn intervals_cover_the_true_quantile() {
        let runs = if std::env::var_os("WIRELAB_FULL").is_some() { 400 } else { 100 };
        for (depth, shared) in [(1, false), (8, true), (8, false)] {
            for per_mille in [500, 990, 999] {
                let truth = (u64::from(per_mille) << 40) / 1000;
                let covered = (0..runs).filter(|seed| {
                    let rounds = 1_300 / depth;
                    let q = drawn(keyed(11, *seed), rounds, depth, shared).quantile(per_mille);
                    q.low_ns.is_none_or(|low| low <= truth)
                        && q.high_ns.is_none_or(|high| truth <= high)
                });
                let covered = covered.count() as u64;
                assert!(
                    covered * 100 >= 93 * runs,
                    "depth {depth}, shared {shared}, {per_mille}: {covered} of {runs}"
                );
            }
        }
    }

    /// Medians of repetitions that differ by nothing, by as much as by chance, and by far more.
    #[test]
    fn intervals_cover_what_another_repetition_gives() {
        let runs: u64 = if std::env::var_os("WIRELAB_FULL").is_some() { 2_000 } else { 400 };
        let normal = |seed: u64, key: u64| {
            let unit = |n: u64| as_float(keyed(seed, 12 * key + n) >> 40) / f64::from(1 << 24);
            (0..12).map(unit).sum::<f64>() - 6.0
        };
        // The standard error of a median of 16 normal values is 0.3.
        for spread in [0.0, 0.15, 0.3, 0.6, 2.0] {
            let (mut covered, mut width) = (0, 0.0);
            for seed in 0..runs {
                let value = |cluster: u64| {
                    let repetition = cluster / 16;
                    let offset = spread * normal(keyed(seed, 1), repetition);
                    let value = 1e9 + 1e7 * (normal(keyed(seed, 2), cluster) + offset);
                    let repetition = u32::try_from(repetition).unwrap();
                    Sample { value_ns: whole_ns(value), cluster, repetition }
                };
                let q = Clustered::new((0..48).map(value).collect()).quantile(500);
                let (low, high) = (q.low_ns.unwrap(), q.high_ns.unwrap());
                covered += u64::from((low..=high).contains(&1_000_000_000));
                width += as_float(high - low) / 1e7 / as_float(runs);
            }
            assert!(covered * 100 >= 93 * runs, "spread {spread}: {covered} of {runs}");
            assert!(spread > 0.0 || width < 1.6, "mean width {width} without a spread");
        }
    }

    #[test]
    fn few_clusters_leave_the_upper_end_open() {
        // 1,300 / 8 rounds of 8 equal samples, three times: 486 clusters, too few for p99.9.
        let q = drawn(1, 162, 8, true).quantile(999);
        assert!(q.value_ns.is_some() && q.high_ns.is_none(), "{q:?}");
        assert_eq!(Clustered::new(Vec::new()).quantile(500), Quantile::default());
    }

    #[test]
    fn an_interval_reaches_over_the_repetitions() {
        let shifted = |n: u64| Sample {
            value_ns: 1_000_000 + 10_000 * (n % 3) + n,
            cluster: n,
            repetition: u32::try_from(n % 3).unwrap(),
        };
        let q = Clustered::new((0..900).map(shifted).collect()).quantile(500);
        // Repetitions at 1.00, 1.01 and 1.02 ms: half of Student's interval is 36 µs.
        assert!(q.low_ns.unwrap() < 990_000 && q.high_ns.unwrap() > 1_030_000, "{q:?}");
    }

    #[test]
    fn a_share_of_clusters_has_a_wider_interval() {
        let (shared, free) = (drawn(3, 160, 8, true), drawn(3, 160, 8, false));
        let threshold = (9 << 40) / 10;
        let width = |s: Share| s.high - s.low;
        let (shared, free) = (shared.share_above(threshold), free.share_above(threshold));
        assert!(width(shared) > 2.0 * width(free), "{shared:?} {free:?}");
    }
}
