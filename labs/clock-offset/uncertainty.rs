//! What follows for programs from clocks that differ: a duration below zero, an update that is
//! lost, events that no clock orders; and what an interval around each time decides.
//!
//! The messages bound the offset of B's clock themselves, as replies of NTP do: one from A was
//! received at least the offset later than it was sent, by both clocks, one from B at least minus
//! the offset. With an interval around each time two events are ordered for certain or not at
//! all, and
//! a write that waits until its interval has passed is never contradicted (commit wait, Corbett and
//! others, OSDI 2012).

use super::bound::Interval;
use super::causality::{Host, Message};
use serde::Serialize;

/// Two components, A's and B's: how many events of each host are known.
pub type VectorClock = [u64; 2];

/// A duration of 5 ms on B, in the middle of which NTP sets its clock right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SetBack {
    /// By the clock of the day.
    pub wall_ns: i64,
    /// By the monotonic clock.
    pub monotonic_ns: i64,
}

/// What follows for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Consequences {
    /// A duration.
    pub set_back: SetBack,
    /// Pairs of sends that follow each other, one of each host.
    pub pairs: u64,
    /// Of these, concurrent by their vector clocks: neither host knew of the other's.
    pub concurrent: u64,
    /// Of these, ordered by Lamport clocks nevertheless.
    pub ordered_by_lamport: u64,
    /// Messages whose receiver overwrites the value that came, where the last write wins, and
    /// whose own write has the earlier time: it is lost.
    pub updates_lost: u64,
    /// Where the offset of B's clock must lie, by the messages alone.
    pub offset: Option<Interval>,
    /// Messages whose sending is before their receipt for certain, with these intervals.
    pub certain: u64,
    /// Messages for which they overlap.
    pub overlapping: u64,
    /// How long a sender waits before it sends, so that no receipt seems earlier.
    pub commit_wait_ns: Option<i64>,
    /// Messages that contradict nevertheless.
    pub contradicted_after_wait: u64,
}

/// Length of the duration.
const TASK_NS: i64 = 5_000_000;

impl Consequences {
    /// Of these messages, where B's clock is ahead by `ahead_ns`; `sends` are the vector and
    /// Lamport clocks of all sends, in the order of their numbers.
    #[must_use]
    pub fn of(messages: &[Message], sends: &[(VectorClock, u64)], ahead_ns: i64) -> Self {
        let offset = bound(messages);
        let width = offset.map(|offset| offset.width_ns());
        let wait = offset.map(|offset| offset.high_ns.max(offset.low_ns.saturating_neg()).max(0));
        let count = |holds: &dyn Fn(&Message) -> bool| {
            messages.iter().filter(|message| holds(message)).count() as u64
        };
        let certain = offset.map_or(0, |offset| {
            count(&|message| {
                // The receipt by the sender's clock, at the earliest.
                let earliest = match message.from {
                    Host::A => took(message).saturating_sub(offset.high_ns),
                    Host::B => took(message).saturating_add(offset.low_ns),
                };
                earliest > 0
            })
        });
        let pairs = || sends.windows(2);
        let apart = |pair: &&[(VectorClock, u64)]| concurrent(&pair[0].0, &pair[1].0);
        let ordered = |pair: &&[(VectorClock, u64)]| pair[0].1 != pair[1].1;
        Self {
            set_back: SetBack { wall_ns: TASK_NS - ahead_ns, monotonic_ns: TASK_NS },
            pairs: pairs().count() as u64,
            concurrent: pairs().filter(apart).count() as u64,
            ordered_by_lamport: pairs().filter(apart).filter(ordered).count() as u64,
            // The receiver writes at once: its write is the later one, with the earlier time.
            updates_lost: count(&Message::contradicts),
            offset,
            certain,
            overlapping: width.map_or(0, |_| messages.len() as u64 - certain),
            commit_wait_ns: wait,
            contradicted_after_wait: wait
                .map_or(0, |wait| count(&|message| took(message).saturating_add(wait) < 0)),
        }
    }
}

/// How long a message took, by both clocks.
fn took(message: &Message) -> i64 {
    message.received.minus(message.sent)
}

fn bound(messages: &[Message]) -> Option<Interval> {
    let least = |from| messages.iter().filter(|m| m.from == from).map(took).min();
    let (high_ns, low_ns) = (least(Host::A)?, least(Host::B)?.saturating_neg());
    // A clock that drifted or was set meanwhile has no one offset.
    (low_ns <= high_ns).then_some(Interval { low_ns, high_ns })
}

/// Whether neither of two events knew of the other.
#[must_use]
pub fn concurrent(a: &VectorClock, b: &VectorClock) -> bool {
    let known = |a: &VectorClock, b: &VectorClock| a.iter().zip(b).all(|(a, b)| a <= b);
    !known(a, b) && !known(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::play;
    use crate::scenario::{Scenario, Truth, Way};
    use crate::timestamp::WallTime;
    use std::time::Duration;
    use wirelab::measure::Ppm;

    #[test]
    fn the_interval_decides_and_a_commit_wait_leaves_no_contradiction() {
        for (seed, ahead_ms) in [(1, 8), (2, -12), (3, 0), (4, 300)] {
            let way = |delay, jitter| Way {
                delay: Duration::from_millis(delay),
                jitter: Duration::from_millis(jitter),
                loss: Ppm::new(50_000).unwrap(),
            };
            let ahead = ahead_ms * 1_000_000;
            let truth = Truth { offset_ns: ahead, ..Truth::default() };
            let (out, back) = (way(15, 1), way(5, 1));
            let scenario = Scenario { truth, out, back, ..Scenario::default() };
            let every = Duration::from_millis(10);
            let order = play(&scenario, seed, 1_000, every, WallTime::default());
            let found = order.consequences;
            let offset = found.offset.unwrap();
            assert!(offset.contains(ahead), "seed {seed}: {offset:?}");
            assert!(offset.width_ns() < 21_000_000, "seed {seed}: {offset:?}");
            assert_eq!(found.contradicted_after_wait, 0, "seed {seed}: {found:?}");
            let arrived = order.messages.len() as u64;
            assert_eq!(found.certain + found.overlapping, arrived, "seed {seed}");
            let lost: u64 = order.directions.iter().map(|way| way.contradicted.hits).sum();
            assert_eq!(found.updates_lost, lost, "seed {seed}");
            assert_eq!(found.set_back.wall_ns, 5_000_000 - ahead, "seed {seed}");
            // A message of 10 ms is on its way when the other host sends: nothing is known of it.
            assert!(found.concurrent > 0 && found.concurrent <= found.pairs, "seed {seed}");
        }
    }

    #[test]
    fn vector_clocks_tell_concurrent_events_from_ordered_ones() {
        assert!(concurrent(&[1, 0], &[0, 1]));
        assert!(!concurrent(&[1, 0], &[1, 1]) && !concurrent(&[2, 2], &[1, 2]));
        assert!(!concurrent(&[3, 3], &[3, 3]));
    }
}
