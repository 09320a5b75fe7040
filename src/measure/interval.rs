//! Binomial proportions with exact intervals (Clopper and Pearson, Biometrika 26, 1934).
//! The normal approximation would fail here: many proportions are near zero.

use serde::{Deserialize, Serialize};

/// A share `hits / trials` with its exact 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Number of occurrences.
    pub hits: u64,
    /// Number of trials.
    pub trials: u64,
    /// `hits / trials`; 0 without trials.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Default for Share {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Share {
    /// The share of `hits` in `trials`; `hits` above `trials` count as `trials`.
    pub fn new(hits: u64, trials: u64) -> Self {
        let hits = hits.min(trials);
        if trials == 0 {
            return Self { hits, trials, share: 0.0, low: 0.0, high: 1.0 };
        }
        let (low, high) = clopper_pearson(hits, trials, ALPHA);
        Self { hits, trials, share: ratio(hits, trials), low, high }
    }

    /// Whether `expected` lies in the interval.
    pub fn agrees_with(&self, expected: f64) -> bool {
        self.low <= expected && expected <= self.high
    }
}

/// One minus the confidence of every interval wirelab prints.
pub const ALPHA: f64 = 0.05;

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// The exact interval of a binomial proportion at confidence `1 - alpha`.
pub fn clopper_pearson(hits: u64, trials: u64, alpha: f64) -> (f64, f64) {
    let low = if hits == 0 {
        0.0
    } else {
        // P(X >= hits | low) = alpha / 2
        bisect(|p| 1.0 - binomial_cdf(hits - 1, trials, p) < alpha / 2.0)
    };
    let high = if hits == trials {
        1.0
    } else {
        // P(X <= hits | high) = alpha / 2
        bisect(|p| binomial_cdf(hits, trials, p) > alpha / 2.0)
    };
    (low, high)
}

/// The interval of a share at `hits` of `trials`, neither of them whole (effective samples).
#[must_use]
pub(super) fn beta_interval(hits: f64, trials: f64, alpha: f64) -> (f64, f64) {
    let misses = trials - hits;
    let low = if hits <= 0.0 {
        0.0
    } else {
        bisect(|p| incomplete_beta(p, hits, misses + 1.0) < alpha / 2.0)
    };
    let high = if misses <= 0.0 {
        1.0
    } else {
        bisect(|p| incomplete_beta(p, hits + 1.0, misses) < 1.0 - alpha / 2.0)
    };
    (low, high)
}

/// The normal quantile of a two-sided interval at [`ALPHA`].
pub(super) const NORMAL: f64 = 1.959_963_984_540_054;

/// Half-width of an interval in standard errors, by Student's t with `df` degrees of freedom.
#[must_use]
pub(super) fn student(df: f64, alpha: f64) -> f64 {
    // P(|T| > t) = I_x(df / 2, 1 / 2) with x = df / (df + t^2) (DLMF 8.17.5).
    let x = bisect(|x| incomplete_beta(x, df / 2.0, 0.5) < alpha);
    (df * (1.0 - x) / x).sqrt()
}

/// Bisection steps on [0, 1]: the result is within 2^-60.
const HALVINGS: u32 = 60;

/// The `p` at which `below` turns from true to false.
fn bisect(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// P(X <= k) for X binomial with `n` trials of probability `p`.
///
/// By the regularised incomplete beta function: `I_{1-p}(n - k, k + 1)`.
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let (a, b) = (ratio(n - k, 1), ratio(k + 1, 1));
    incomplete_beta(1.0 - p, a, b)
}

/// `I_x(a, b)` by Lentz's continued fraction (DLMF 8.17.22).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    let front =
        (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// Maximum terms of the fraction: it needs about sqrt(max(a, b)), so this covers 10^7 trials.
const FRACTION_TERMS_MAX: u32 = 20_000;

fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for term in 1..=FRACTION_TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
    }
    value
}

/// ln Γ(x) for x > 0, by Lanczos with g = 7 (Numerical Recipes §6.1), within 10^-13 relative.
pub fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + G + 0.5;
    let sum = C.iter().skip(1).zip(1_u32..).fold(C[0], |sum, (c, i)| sum + c / (x + f64::from(i)));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_intervals() {
        // By the plain binomial sum in exact arithmetic.
        for (hits, trials, low, high) in [
            (0, 10, 0.0, 0.308_497_1),
            (1, 10, 0.002_528_579, 0.445_016_1),
            (5, 10, 0.187_086_0, 0.812_914_0),
            (10, 10, 0.691_502_9, 1.0),
            (41, 800, 0.037_025_4, 0.068_887_0),
        ] {
            let share = Share::new(hits, trials);
            assert!((share.low - low).abs() < 2e-5, "{hits}/{trials}: low {}", share.low);
            assert!((share.high - high).abs() < 2e-5, "{hits}/{trials}: high {}", share.high);
        }
    }

    #[test]
    fn cdf_agrees_with_the_plain_sum() {
        for (n, p) in [(12_u64, 0.3_f64), (40, 0.02), (40, 0.98)] {
            let mut sum = 0.0;
            let mut term = (1.0 - p).powi(i32::try_from(n).unwrap());
            for k in 0..n {
                sum += term;
                assert!((binomial_cdf(k, n, p) - sum).abs() < 1e-10, "n {n} p {p} k {k}");
                term *= ratio(n - k, k + 1) * p / (1.0 - p);
            }
        }
    }

    #[test]
    fn student_agrees_with_the_tables() {
        for (df, t) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (60.0, 2.000)] {
            let got = student(df, ALPHA);
            assert!((got - t).abs() < 6e-4, "{df}: {got}");
        }
        let (low, high) = beta_interval(5.0, 10.0, ALPHA);
        assert!((low - 0.187_086).abs() < 2e-5 && (high - 0.812_914).abs() < 2e-5);
    }

    #[test]
    fn no_trials_give_the_whole_interval() {
        let share = Share::new(0, 0);
        assert_eq!((share.low, share.high), (0.0, 1.0));
    }
}
