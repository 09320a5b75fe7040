//! Probabilities in whole parts per million.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A probability in parts per million: 0 is never, 1,000,000 is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Ppm(u32);

impl Ppm {
    /// Never.
    pub const ZERO: Self = Self(0);
    /// Always.
    pub const ONE: Self = Self(1_000_000);

    /// The probability `parts` / 1,000,000; `None` above one.
    pub const fn new(parts: u32) -> Option<Self> {
        if parts <= 1_000_000 { Some(Self(parts)) } else { None }
    }

    /// Parts per million.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The probability as a fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl<'de> Deserialize<'de> for Ppm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = u32::deserialize(deserializer)?;
        Self::new(parts).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected at most 1000000 parts per million, got {parts}"
            ))
        })
    }
}

/// Percent without trailing zeros: `2 %`, `0.05 %`.
impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        write!(f, "{} %", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_percent_without_padding() {
        for (ppm, text) in [(0, "0 %"), (20_000, "2 %"), (500, "0.05 %"), (1_000_000, "100 %")] {
            assert_eq!(Ppm::new(ppm).unwrap().to_string(), text);
        }
        assert_eq!(Ppm::new(1_000_001), None);
    }
}
