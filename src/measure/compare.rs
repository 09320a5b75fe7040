//! Comparison of two estimates: difference or ratio with its interval, and what it proves.
//!
//! The interval of a difference follows from both intervals by square-and-add (Newcombe, Statistics
//! in Medicine 17, 1998; MOVER of Zou and Donner, Statistics in Medicine 27, 2008). Two values are
//! level if the whole interval lies within an equivalence bound (Schuirmann, Journal of
//! Pharmacokinetics and Biopharmaceutics 15, 1987).

use super::quantile::Quantile;
use serde::{Deserialize, Serialize};

/// A value between the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Conclusion that an interval allows about a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first value is smaller.
    Less,
    /// They differ by less than the bound.
    Level,
    /// The first value is larger.
    Greater,
    /// The interval contains 1 and reaches beyond the bound.
    Open,
}

impl Estimate {
    /// A quantile with both ends; `None` if one is open.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "latencies stay far below 2^52 ns, 52 days")]
    pub fn of(quantile: &Quantile) -> Option<Self> {
        let (value, low, high) = (quantile.value_ns?, quantile.low_ns?, quantile.high_ns?);
        Some(Self { value: value as f64, low: low as f64, high: high as f64 })
    }

    /// This value less another.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let value = self.value - other.value;
        let down = (self.value - self.low).hypot(other.high - other.value);
        let up = (self.high - self.value).hypot(other.value - other.low);
        Self { value, low: value - down, high: value + up }
    }

    /// This value over another, by the difference of logarithms; `None` unless all are positive.
    #[must_use]
    pub fn over(&self, other: &Self) -> Option<Self> {
        let positive = |e: &Self| e.low > 0.0 && e.value > 0.0 && e.high.is_finite();
        let map = |e: &Self, f: fn(f64) -> f64| Self {
            value: f(e.value),
            low: f(e.low),
            high: f(e.high),
        };
        (positive(self) && positive(other))
            .then(|| map(&map(self, f64::ln).minus(&map(other, f64::ln)), f64::exp))
    }

    /// The conclusion about this ratio; level means within a factor of 1 ± `bound`.
    #[must_use]
    pub fn order(&self, bound: f64) -> Order {
        if self.low >= 1.0 - bound && self.high <= 1.0 + bound {
            Order::Level
        } else if self.high < 1.0 {
            Order::Less
        } else if self.low > 1.0 {
            Order::Greater
        } else {
            Order::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn estimate(value: f64, low: f64, high: f64) -> Estimate {
        Estimate { value, low, high }
    }

    #[test]
    fn differences_and_ratios_square_and_add() {
        let (a, b) = (estimate(10.0, 7.0, 14.0), estimate(6.0, 2.0, 9.0));
        let difference = a.minus(&b);
        assert!((difference.low - (4.0 - 18.0_f64.sqrt())).abs() < 1e-12, "{difference:?}");
        assert!((difference.high - (4.0 + 32.0_f64.sqrt())).abs() < 1e-12, "{difference:?}");
        let ratio = a.over(&a).unwrap();
        assert!((ratio.value - 1.0).abs() < 1e-12 && (ratio.low * ratio.high - 1.0).abs() < 1e-12);
        assert_eq!(a.over(&estimate(1.0, 0.0, 2.0)), None);
    }

    #[test]
    fn an_order_needs_its_interval() {
        for (low, high, order) in [
            (0.98, 1.03, Order::Level),
            // Different, but by less than the bound.
            (1.01, 1.04, Order::Level),
            (1.01, 1.20, Order::Greater),
            (0.50, 0.97, Order::Less),
            (0.90, 1.20, Order::Open),
        ] {
            assert_eq!(estimate(1.0, low, high).order(0.05), order, "{low} to {high}");
        }
    }
}
