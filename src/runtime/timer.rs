//! A timer for a mio loop that goes off at a nanosecond.
//!
//! It must never hold a deadline of its own choosing: the cores say when.

use super::clock::Clock;
use crate::measure::Instant;
use crate::sys::timer::TimerFd;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::AsRawFd;

/// A `timerfd` in a `mio::Poll`, set again only when the next deadline moved.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    set_for: Option<Instant>,
}

impl Alarm {
    /// An alarm registered under `token`.
    ///
    /// # Errors
    /// Where the timer cannot be made or registered.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    /// Makes the loop wake at `at`, at the latest.
    ///
    /// # Errors
    /// What `timerfd_settime(2)` says.
    pub fn set(&mut self, clock: &Clock, now: Instant, at: Option<Instant>) -> io::Result<()> {
        let Some(at) = at else { return Ok(()) };
        // An earlier alarm that has not gone off yet will do: the loop looks again then.
        if self.set_for.is_some_and(|set| set > now && set <= at) {
            return Ok(());
        }
        self.timer.set(clock.to_monotonic_nanos(at))?;
        self.set_for = Some(at);
        Ok(())
    }
}
