//! Reads the kernel clocks, and converts wall-clock stamps to the monotonic clock.
//!
//! Packet rings stamp frames with `CLOCK_REALTIME`, while every wait needs `CLOCK_MONOTONIC`. A
//! converted stamp is never early: a frame would leave too early.
#![expect(unsafe_code, reason = "clock_gettime and prctl have no safe wrapper in std")]

use super::error::{check, fits};
use crate::measure::nanos;
use std::io;
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// Reads a clock, nanoseconds since its own epoch.
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to for the whole call.
    // The call cannot fail: the clocks used here exist on every Linux that has namespaces.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // These clocks count from 1970 or boot.
    fits::<_, u64>(time.tv_sec) * NANOS + fits::<_, u64>(time.tv_nsec)
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME`, nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Processor time used by the calling thread.
#[must_use]
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// Processor time used by this process, all threads.
#[must_use]
pub fn process_cpu() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// Sets how late the kernel may wake the calling thread to save power; the default is 50 µs.
///
/// # Errors
/// The error of `prctl(PR_SET_TIMERSLACK)`.
pub fn set_timer_slack(slack: Duration) -> io::Result<()> {
    // Zero would mean "back to the default".
    let ns = nanos(slack).max(1);
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns) })
}

/// Two readings of the monotonic clock further apart than this were interrupted in between.
/// A reading through the vDSO takes 20-50 ns, so five undisturbed ones are well below it.
const BRACKET_MAX_NS: u64 = 1_000;
/// Attempts at an undisturbed bracket before the best one is taken.
const BRACKET_TRIES: u32 = 8;
/// How long an offset is used. The wall clock is slewed by at most 500 ppm: 1 µs in this time.
const OFFSET_LIFE_NS: u64 = 2_000_000;

/// The offset from `CLOCK_REALTIME` to `CLOCK_MONOTONIC`, refreshed as it ages.
#[derive(Debug)]
pub struct WallBridge {
    /// Added (wrapping) to a wall-clock stamp, gives a monotonic one.
    offset: u64,
    taken_at: u64,
}

impl WallBridge {
    /// A converter with a fresh offset.
    #[must_use]
    pub fn new() -> Self {
        let (offset, taken_at) = bracket();
        Self { offset, taken_at }
    }

    /// Refreshes the offset if it has aged; call it once per batch of stamps.
    pub fn renew(&mut self, monotonic_now: u64) {
        if monotonic_now.saturating_sub(self.taken_at) >= OFFSET_LIFE_NS {
            (self.offset, self.taken_at) = bracket();
        }
    }

    /// The monotonic time of a wall-clock stamp; late by less than a bracket, never early.
    #[must_use]
    pub const fn monotonic(&self, wall_ns: u64) -> u64 {
        wall_ns.wrapping_add(self.offset)
    }
}

impl Default for WallBridge {
    fn default() -> Self {
        Self::new()
    }
}

/// Every clock of the host at about the same time, read in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllClocks {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since 1970-01-01 UTC.
    pub wall_ns: u64,
    /// `CLOCK_MONOTONIC_RAW`, nanoseconds.
    pub raw_ns: u64,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub boot_ns: u64,
    /// Monotonic time that passed during the reading.
    pub width_ns: u64,
}

/// Reads every clock; retries if interrupted.
#[must_use]
pub fn all_clocks() -> AllClocks {
    let mut best = read_all();
    for _ in 1..BRACKET_TRIES {
        if best.width_ns <= BRACKET_MAX_NS {
            break;
        }
        let again = read_all();
        if again.width_ns < best.width_ns {
            best = again;
        }
    }
    best
}

fn read_all() -> AllClocks {
    let (monotonic_ns, wall_ns) = (monotonic_ns(), realtime_ns());
    let (raw_ns, boot_ns) = (read(libc::CLOCK_MONOTONIC_RAW), read(libc::CLOCK_BOOTTIME));
    let width_ns = read(libc::CLOCK_MONOTONIC) - monotonic_ns;
    AllClocks { monotonic_ns, wall_ns, raw_ns, boot_ns, width_ns }
}

/// The offset from wall to monotonic, and when it was taken.
fn bracket() -> (u64, u64) {
    let all = all_clocks();
    // With the later reading the offset is too large by at most the width: stamps are late, not
    // early.
    let after = all.monotonic_ns + all.width_ns;
    (after.wrapping_sub(all.wall_ns), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_converted_stamp_is_never_early() {
        let bridge = WallBridge::new();
        for _ in 0..1_000 {
            let before = monotonic_ns();
            let wall = read(libc::CLOCK_REALTIME);
            // The wall clock may be slewed while the test runs: 1 µs covers 2 ms at 500 ppm.
            assert!(bridge.monotonic(wall) + 1_000 >= before);
        }
    }
}
