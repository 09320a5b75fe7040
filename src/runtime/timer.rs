//! Timer of a mio loop with nanosecond resolution.

use super::clock::Clock;
use crate::measure::Instant;
use crate::sys::timer::TimerFd;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::AsRawFd;

/// A `timerfd` in a `mio::Poll`, set again only when the deadline moved.
#[derive(Debug)]
pub struct Timer {
    timer: TimerFd,
    set_for: Option<Instant>,
}

impl Timer {
    /// A timer registered under `token`.
    /// Fails if the timer cannot be made or registered.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    /// The timer has expired, perhaps early: under an interposed clock (libfaketime) its time and
    /// that of the loop differ. It is set again by the next [`set`](Self::set).
    pub const fn expired(&mut self) {
        self.set_for = None;
    }

    /// Wakes the loop at `at` or earlier.
    /// Fails with the error of `timerfd_settime(2)`.
    pub fn set(&mut self, clock: &Clock, now: Instant, at: Option<Instant>) -> io::Result<()> {
        let Some(at) = at else { return Ok(()) };
        // An earlier pending expiry is enough: the loop then computes the next one.
        if self.set_for.is_some_and(|set| set > now && set <= at) {
            return Ok(());
        }
        self.timer.set(clock.to_monotonic_nanos(at))?;
        self.set_for = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn a_timer_that_expired_early_is_armed_again() {
        let mut poll = Poll::new().unwrap();
        let clock = Clock::start();
        let mut timer = Timer::new(poll.registry(), Token(1)).unwrap();
        let mut events = Events::with_capacity(4);
        // The loop's clock stands still, as an interposed one may: the deadline never comes.
        let (now, at) = (clock.now(), clock.now() + Duration::from_millis(1));
        for _ in 0..3 {
            timer.set(&clock, now, Some(at)).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
            assert!(!events.is_empty(), "it was not armed again");
            timer.expired();
        }
    }
}
