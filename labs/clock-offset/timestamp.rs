//! NTP's two formats of time on the wire, and the eras of the longer one.

use serde::{Deserialize, Serialize};
use std::fmt;

const NANOS: i128 = 1_000_000_000;
/// Seconds from 1900-01-01, where era 0 begins, to 1970-01-01 (RFC 5905 Figure 4).
const UNIX_EPOCH_S: i64 = 2_208_988_800;
const UNIX_EPOCH: i128 = UNIX_EPOCH_S as i128;
/// Seconds of an era (RFC 5905 §6): 136 years.
const ERA: i128 = 1 << 32;

/// Time of day: nanoseconds since 1970-01-01, leap seconds not counted.
///
/// It says nothing of whether the clock is right. Reaches from 1677 to 2262.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(i64);

impl WallTime {
    /// From nanoseconds since 1970.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// `self - earlier`, nanoseconds.
    #[must_use]
    pub const fn minus(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later (or earlier).
    #[must_use]
    pub const fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// NTP's 64-bit timestamp: 32 bits of seconds within an era, 32 bits of fraction (RFC 5905 §6).
///
/// Zero means that there is no time. One unit is 233 ps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// No time.
    pub const NONE: Self = Self(0);

    /// From the bits on the wire.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it says that there is no time.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The last timestamp that is not after `time`; the era is lost.
    #[must_use]
    pub fn at(time: WallTime) -> Self {
        const SECOND: i64 = 1_000_000_000;
        let (seconds, rest) = (time.0.div_euclid(SECOND), time.0.rem_euclid(SECOND));
        // Bits above 32 of the seconds are the era, which the wire does not carry.
        let seconds = (seconds + UNIX_EPOCH_S).cast_unsigned() << 32;
        // The rest is below 2^30.
        Self(seconds | ((rest.cast_unsigned() << 32) / SECOND.cast_unsigned()))
    }

    /// The time of day in the era that brings it nearest to `pivot`, both roundings of it.
    ///
    /// //= RFC 5905 §6: era 0 ends in 2036; between eras only nearness decides.
    /// `None` beyond what [`WallTime`] reaches.
    #[must_use]
    pub fn near(self, pivot: WallTime) -> Option<Rounded> {
        let units = i128::from(self.0);
        let pivot = (i128::from(pivot.as_nanos()) + UNIX_EPOCH * NANOS) * ERA / NANOS;
        let half = ERA * ERA / 2;
        let era = (pivot - units + half).div_euclid(ERA * ERA);
        let whole = units + era * ERA * ERA;
        let (down, rest) = ((whole * NANOS).div_euclid(ERA), (whole * NANOS).rem_euclid(ERA));
        let time = |nanos: i128| i64::try_from(nanos - UNIX_EPOCH * NANOS).ok().map(WallTime);
        Some(Rounded { down: time(down)?, up: time(down + i128::from(rest != 0))? })
    }
}

/// A wire time in whole nanoseconds, rounded both ways: a bound takes the one that is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// Not after the wire time.
    pub down: WallTime,
    /// Not before the wire time.
    pub up: WallTime,
}

/// Sixteen digits, with a point between seconds and fraction.
impl fmt::Display for NtpTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}.{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// As text, because JSON numbers lose bits beyond 2^53.
impl Serialize for NtpTimestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NtpTimestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.split_once('.').filter(|(s, f)| s.len() == 8 && f.len() == 8);
        let bits = digits.and_then(|(seconds, fraction)| {
            u64::from_str_radix(&format!("{seconds}{fraction}"), 16).ok()
        });
        bits.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected an NTP timestamp such as \"ecf9d080.00000000\", got {text:?}"
            ))
        })
    }
}

/// NTP's 32-bit duration: 16 bits of seconds, 16 of fraction (RFC 5905 §6). A unit is 15.26 us.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ShortDuration(u32);

impl ShortDuration {
    /// From the bits on the wire.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Nanoseconds, rounded up: these values are added to a bound.
    #[must_use]
    pub fn nanos_up(self) -> i64 {
        let nanos = (i128::from(self.0) * NANOS + 0xffff) >> 16;
        i64::try_from(nanos).expect("16 bits of seconds")
    }

    /// The shortest wire value of at least this many nanoseconds; the longest where none is.
    #[must_use]
    pub fn at_least(nanos: u64) -> Self {
        let bits = (u128::from(nanos) << 16).div_ceil(1_000_000_000);
        Self(u32::try_from(bits.min(u32::MAX.into())).expect("at most the longest"))
    }
}

/// The value as 64 bits; what lies beyond them becomes the end that is nearest to it.
#[must_use]
pub fn saturated(value: i128) -> i64 {
    let value = value.clamp(i64::MIN.into(), i64::MAX.into());
    i64::try_from(value).expect("clamped to 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn known_dates_agree_with_the_table_of_rfc_5905() {
        // RFC 5905 Figure 4: first day of UNIX, last day of era 0, first of era 1.
        for (unix_s, seconds) in [
            (0, 2_208_988_800_u64),
            (2_085_978_495, 0xffff_ffff),
            (2_085_978_496, 0),
            (63_072_000, 2_272_060_800),
        ] {
            let wire = NtpTimestamp::at(WallTime::from_nanos(unix_s * SECOND));
            assert_eq!(wire.bits() >> 32, seconds, "{unix_s}");
        }
        assert_eq!(NtpTimestamp::at(WallTime::from_nanos(SECOND / 2)).bits() << 32, 1 << 63);
    }

    #[test]
    fn the_era_is_the_nearest() {
        let in_2035 = WallTime::from_nanos(2_070_000_000 * SECOND);
        let in_2038 = WallTime::from_nanos(2_145_916_800 * SECOND);
        assert_eq!(NtpTimestamp::at(in_2038).near(in_2035).unwrap().down, in_2038);
        assert_eq!(NtpTimestamp::at(in_2035).near(in_2038).unwrap().down, in_2035);
        let text = serde_json::to_string(&NtpTimestamp::at(in_2038)).unwrap();
        assert_eq!(serde_json::from_str::<NtpTimestamp>(&text).unwrap(), NtpTimestamp::at(in_2038));
        assert!(serde_json::from_str::<NtpTimestamp>("\"1.2\"").is_err());
    }

    proptest! {
        #[test]
        fn a_time_survives_the_wire(nanos in -4_000_000_000 * SECOND..9_000_000_000 * SECOND,
                                    away in -2_000_000_000 * SECOND..2_000_000_000 * SECOND) {
            let time = WallTime::from_nanos(nanos);
            let pivot = WallTime::from_nanos(nanos.saturating_add(away));
            let back = NtpTimestamp::at(time).near(pivot).unwrap();
            prop_assert_eq!(back.up, time);
            prop_assert!(back.down.as_nanos() >= nanos - 1);
        }

        #[test]
        fn a_duration_is_rounded_up(nanos in 0_u64..60_000_000_000_000) {
            let wire = ShortDuration::at_least(nanos);
            prop_assert!(wire.nanos_up().unsigned_abs() >= nanos);
            prop_assert!(wire.nanos_up().unsigned_abs() < nanos + 15_260);
        }
    }
}
