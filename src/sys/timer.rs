//! A timerfd, which wakes an event loop with nanosecond resolution.
//!
//! `epoll_wait`, and so mio, rounds a timeout up to whole milliseconds; a retry timer of 30 ms that
//! is 1 ms late shows in a latency report.
#![expect(unsafe_code, reason = "timerfd has no safe wrapper in the standard library")]

use super::error::{check, made};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A `timerfd` on `CLOCK_MONOTONIC`: readable from its deadline until it is set again.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A disarmed timer.
    ///
    /// # Errors
    /// The error of `timerfd_create(2)`.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes two numbers, and the descriptor is new.
        unsafe { made(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags)) }.map(Self)
    }

    /// Arms the timer for `nanos` on `CLOCK_MONOTONIC` (expires at once if that is past).
    ///
    /// # Errors
    /// The error of `timerfd_settime(2)`.
    pub fn set(&self, nanos: u64) -> io::Result<()> {
        // Zero would disarm the timer.
        let nanos = nanos.max(1);
        let part = |n: u64| i64::try_from(n).expect("invariant: u64::MAX ns are 2^34 s");
        let spec = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: part(nanos / 1_000_000_000),
                tv_nsec: part(nanos % 1_000_000_000),
            },
        };
        let (fd, flags) = (self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: `spec` lives across the call; the old value is not requested.
        check(unsafe { libc::timerfd_settime(fd, flags, &raw const spec, std::ptr::null_mut()) })
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
