//! The clock of a run: `CLOCK_MONOTONIC`, counted from the start of the run.

use crate::measure::Instant;
use crate::sys::clock::{monotonic_ns, realtime_ns};

/// Converts readings of `CLOCK_MONOTONIC` to [`Instant`]s of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    epoch_ns: u64,
    /// The wall clock at the start, only for captures and the manifest.
    epoch_utc_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { epoch_ns: monotonic_ns(), epoch_utc_ns: realtime_ns() }
    }

    /// The time now.
    pub fn now(self) -> Instant {
        self.at(monotonic_ns())
    }

    /// The instant of a reading of `CLOCK_MONOTONIC`; zero for readings before the start.
    pub const fn at(self, monotonic_ns: u64) -> Instant {
        Instant::from_nanos(monotonic_ns.saturating_sub(self.epoch_ns))
    }

    /// UTC at an instant of the run, nanoseconds since 1970-01-01, by the wall clock at the start.
    pub const fn to_utc_nanos(self, at: Instant) -> u64 {
        self.epoch_utc_ns.saturating_add(at.as_nanos())
    }

    /// The reading of `CLOCK_MONOTONIC` at an instant of the run.
    pub const fn to_monotonic_nanos(self, at: Instant) -> u64 {
        self.epoch_ns.saturating_add(at.as_nanos())
    }
}

/// UTC now, whole seconds since 1970-01-01.
pub fn utc_seconds() -> u64 {
    realtime_ns() / 1_000_000_000
}
