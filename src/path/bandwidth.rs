//! Transmission times at a bottleneck: a constant rate, or the opportunities of a trace.
//!
//! The fraction of a nanosecond left by one frame is carried to the next.

use super::bottleneck::Rate;
use super::timetable::Timetable;
use crate::measure::{Instant, saturated};

/// Bytes that one line of a mahimahi trace delivers.
const OPPORTUNITY_BYTES: u32 = 1504;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MS: u64 = 1_000_000;

/// A timetable, and the time at which it starts.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) timetable: &'a Timetable,
    pub(super) start: Instant,
}

impl<'a> Rules<'a> {
    pub(super) fn elapsed(self, at: Instant) -> u64 {
        at.as_nanos().saturating_sub(self.start.as_nanos())
    }

    /// The rate in a phase, and its source.
    fn rate(self, phase: usize) -> Option<(&'a Rate, u32)> {
        let phase = self.timetable.phase(phase);
        phase.plan.rate.as_ref().map(|bottleneck| (&bottleneck.rate, phase.rate))
    }
}

/// The transmitter of a bottleneck: one frame at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    /// When its last frame is sent.
    free_at: Instant,
    /// The phase of the timetable at `free_at`.
    phase: usize,
    /// Source of the rate that the remainder belongs to.
    setting: u32,
    /// Remainder of the last nanosecond, in bits times a billion.
    carry: u64,
    /// The opportunity in use, and its bytes left.
    open_at: Instant,
    open_left: u32,
    /// The first unused opportunity.
    next: u64,
}

impl Sender {
    /// When transmission of the next frame begins, given its arrival.
    pub(super) fn begins(&self, arrived: Instant, rules: Rules<'_>) -> Instant {
        let mut at = arrived.max(self.free_at);
        let mut phase = self.phase;
        loop {
            phase = rules.timetable.at(rules.elapsed(at), phase);
            let begins = match rules.rate(phase) {
                Some((Rate::Trace(trace), setting)) => {
                    let own = setting == self.setting;
                    if own && self.open_left > 0 && self.open_at >= at {
                        self.open_at
                    } else {
                        let first = first_from(&trace.values, rules.elapsed(at));
                        let next = if own { first.max(self.next) } else { first };
                        opportunity(&trace.values, next, rules.start)
                    }
                }
                _ => at,
            };
            // Another rate may apply before the opportunity comes.
            match rules
                .timetable
                .next(phase)
                .map(|next| rules.start.as_nanos().saturating_add(next))
            {
                Some(next) if begins.as_nanos() >= next => {
                    at = at.max(Instant::from_nanos(next));
                }
                _ => return begins,
            }
        }
    }

    /// Sends a frame from `begins` on; returns when its last bit is sent.
    pub(super) fn send(&mut self, begins: Instant, bytes: u32, rules: Rules<'_>) -> Instant {
        self.phase = rules.timetable.at(rules.elapsed(begins), self.phase);
        let Some((rate, setting)) = rules.rate(self.phase) else {
            return begins;
        };
        if setting != self.setting {
            let free_at = self.free_at;
            *self = Self { setting, free_at, phase: self.phase, ..Self::default() };
        }
        let ends = match rate {
            Rate::Constant(bits) => {
                if begins > self.free_at {
                    self.carry = 0;
                }
                begins + std::time::Duration::from_nanos(self.takes(bytes, (*bits).max(1)))
            }
            Rate::Trace(trace) => self.through(&trace.values, begins, bytes, rules),
        };
        self.free_at = ends;
        ends
    }

    /// Nanoseconds for a frame at a constant rate.
    fn takes(&mut self, bytes: u32, bits_per_second: u64) -> u64 {
        let bits = u64::from(bytes) * 8;
        let short = bits.checked_mul(NANOS_PER_SECOND).and_then(|n| n.checked_add(self.carry));
        if let Some(all) = short {
            self.carry = all % bits_per_second;
            return all / bits_per_second;
        }
        let all = u128::from(bits) * u128::from(NANOS_PER_SECOND) + u128::from(self.carry);
        let rate = u128::from(bits_per_second);
        self.carry = u64::try_from(all % rate).expect("below a 64-bit rate");
        saturated(all / rate)
    }

    /// Uses opportunities, the first at `begins`, until a frame is sent.
    fn through(&mut self, trace: &[u32], begins: Instant, bytes: u32, rules: Rules<'_>) -> Instant {
        if self.open_left == 0 || self.open_at < begins {
            self.next = self.next.max(first_from(trace, rules.elapsed(begins)));
            self.open(trace, rules);
        }
        let mut left = bytes;
        loop {
            let now = left.min(self.open_left);
            left -= now;
            self.open_left -= now;
            if left == 0 {
                return self.open_at;
            }
            self.open(trace, rules);
        }
    }

    fn open(&mut self, trace: &[u32], rules: Rules<'_>) {
        self.open_at = opportunity(trace, self.next, rules.start);
        self.open_left = OPPORTUNITY_BYTES;
        self.next += 1;
    }
}

/// When an opportunity comes.
fn opportunity(trace: &[u32], number: u64, start: Instant) -> Instant {
    let length = trace.len().max(1) as u64;
    let period = u64::from(trace.last().copied().unwrap_or(1));
    let within = usize::try_from(number % length).expect("below the trace's length");
    let ms = (number / length)
        .saturating_mul(period)
        .saturating_add(u64::from(trace.get(within).copied().unwrap_or(1)));
    let nanos = ms.saturating_mul(NANOS_PER_MS);
    Instant::from_nanos(start.as_nanos().saturating_add(nanos))
}

/// The first opportunity at or after a time counted from the link's start.
fn first_from(trace: &[u32], elapsed: u64) -> u64 {
    let ms = elapsed.div_ceil(NANOS_PER_MS);
    let period = u64::from(trace.last().copied().unwrap_or(1)).max(1);
    // The end of a period belongs to it: its last opportunity comes then.
    let (cycle, within) = match (ms / period, ms % period) {
        (cycle @ 1.., 0) => (cycle - 1, period),
        other => other,
    };
    let passed = trace.partition_point(|time| u64::from(*time) < within) as u64;
    cycle.saturating_mul(trace.len().max(1) as u64).saturating_add(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_opportunity_from_a_time_is_found_as_by_counting() {
        for trace in [&[1][..], &[0, 0, 3], &[2, 2, 5, 9], &[0, 7, 7]] {
            let at = |number| opportunity(trace, number, Instant::ZERO).as_nanos();
            for elapsed in (0..40_000_000).step_by(250_000) {
                let counted = (0..).find(|number| at(*number) >= elapsed).unwrap();
                assert_eq!(first_from(trace, elapsed), counted, "{trace:?} {elapsed}");
            }
        }
    }

    #[test]
    fn fractions_of_a_nanosecond_are_not_lost() {
        // 3 bits per second: a byte takes 2.666... s.
        let mut sender = Sender::default();
        let sum: u64 = (0..3).map(|_| sender.takes(1, 3)).sum();
        assert_eq!(sum, 8 * NANOS_PER_SECOND);
        // Beyond 64 bits the same.
        let mut large = Sender::default();
        assert_eq!(large.takes(u32::MAX, 8), u64::from(u32::MAX) * NANOS_PER_SECOND);
    }
}
