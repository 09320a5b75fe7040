//! How fast two clocks may drift apart.

use super::timestamp::saturated;
use serde::{Deserialize, Serialize};

const BILLION: i128 = 1_000_000_000;

/// How fast two clocks may drift apart, parts per billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriftLimit(u32);

/// The default limit: 100 ppm.
///
/// Crystals are within 50 ppm of each other's rate at most (ClockBound takes 50, RFC 5905 takes
/// 15), and two clocks may err in opposite directions. A clock that is being slewed hard (500 ppm,
/// adjtimex(2)) is beyond it.
pub const DRIFT_MAX: DriftLimit = DriftLimit(100_000);

/// How fast a server's clock is taken to leave the truth that it last knew: 15 ppm (RFC 5905 §7.3,
/// PHI).
pub const PHI: DriftLimit = DriftLimit(15_000);

impl DriftLimit {
    /// This many parts per billion; `None` above 10 %, which is no clock.
    #[must_use]
    pub const fn from_ppb(ppb: u32) -> Option<Self> {
        if ppb <= 100_000_000 { Some(Self(ppb)) } else { None }
    }

    /// Parts per billion.
    #[must_use]
    pub const fn ppb(self) -> u32 {
        self.0
    }

    /// The limit as a slope.
    #[must_use]
    pub fn slope(self) -> f64 {
        f64::from(self.0) / 1e9
    }

    /// Ten times as much, as far as a limit goes.
    #[must_use]
    pub fn tenfold(self) -> Self {
        Self(self.0.saturating_mul(10).min(100_000_000))
    }

    /// How far apart two clocks may drift over this many nanoseconds, rounded up.
    #[must_use]
    pub fn over(self, nanos: u64) -> i64 {
        let parts = i128::from(nanos) * i128::from(self.0);
        saturated((parts + BILLION - 1).div_euclid(BILLION))
    }
}
