//! The queue of a bottleneck: which copies wait, which are dropped, and when each leaves.
//!
//! Every event happens at its logical time, however late or often the queue is polled.

use super::bandwidth::{Rules, Sender};
use super::bottleneck::{Discipline, QUEUE_FRAMES_MAX, Queue, QueueLimit};
use super::fate::DropReason;
use crate::measure::{Instant, nanos};
use std::collections::VecDeque;

/// A copy that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) index: u64,
    pub(super) token: u32,
    /// Length that counts toward the queue's limit.
    pub(super) bytes: u32,
    /// Length that counts at the rate, with the link layer's overhead.
    pub(super) on_wire: u32,
    pub(super) arrived: Instant,
    /// The draw of its delay.
    pub(super) delay_draw: u64,
    /// Whether the queue may mark it.
    pub(super) ecn_capable: bool,
    /// Whether it is already marked, so that the queue's mark changes nothing.
    pub(super) marked: bool,
    /// Whether it leaves without delay.
    pub(super) overtakes: bool,
}

/// A copy that has left the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) copy: Waiting,
    pub(super) how: How,
}

/// How a copy left the queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Its last bit is sent at this time.
    Sent { ends: Instant, mark: bool },
    /// It was dropped.
    Dropped(DropReason),
}

/// A queue and the sender behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Bottleneck {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// The most bytes that waited at once, without the copy in transmission.
    peak: u64,
    sender: Sender,
    codel: CoDel,
}

impl Bottleneck {
    /// Enqueues an arriving copy, after everything up to its arrival was dequeued; returns whether
    /// it was accepted.
    pub(super) fn put(
        &mut self,
        copy: Waiting,
        queue: &Queue,
        rules: Rules<'_>,
        gone: &mut dyn FnMut(Gone),
    ) -> bool {
        self.codel.longest = self.codel.longest.max(copy.bytes);
        let at_once =
            self.waiting.is_empty() && self.sender.begins(copy.arrived, rules) <= copy.arrived;
        // The copy in transmission takes no room.
        if !at_once {
            if queue.discipline == Discipline::DropHead && fits(0, 0, copy.bytes, queue.limit) {
                while !self.has_room(copy.bytes, queue.limit) {
                    let Some(head) = self.pop() else { break };
                    gone(Gone { copy: head, how: How::Dropped(DropReason::QueueHead) });
                }
            }
            if !self.has_room(copy.bytes, queue.limit) {
                return false;
            }
        }
        self.bytes += u64::from(copy.bytes);
        self.waiting.push_back(copy);
        if !at_once {
            self.peak = self.peak.max(self.bytes);
        }
        true
    }

    pub(super) const fn peak_bytes(&self) -> u64 {
        self.peak
    }

    /// Time of the next dequeue.
    pub(super) fn next(&self, rules: Rules<'_>) -> Option<Instant> {
        self.waiting.front().map(|head| self.sender.begins(head.arrived, rules))
    }

    /// Dequeues every copy due by `to`.
    pub(super) fn advance(
        &mut self,
        to: Instant,
        queue: &Queue,
        rules: Rules<'_>,
        gone: &mut dyn FnMut(Gone),
    ) {
        while let Some(at) = self.next(rules).filter(|at| *at <= to) {
            let taken = match queue.discipline {
                Discipline::CoDel { target, interval } => {
                    let limits = Limits { target: nanos(target), interval: nanos(interval) };
                    self.codel_take(at, limits, queue.ecn, gone)
                }
                _ => self.pop().map(|copy| (copy, false)),
            };
            let Some((copy, mark)) = taken else { continue };
            let ends = self.sender.send(at, copy.on_wire, rules);
            gone(Gone { copy, how: How::Sent { ends, mark } });
        }
    }

    fn has_room(&self, bytes: u32, limit: QueueLimit) -> bool {
        fits(self.waiting.len() as u64, self.bytes, bytes, limit)
    }

    fn pop(&mut self) -> Option<Waiting> {
        let copy = self.waiting.pop_front()?;
        self.bytes -= u64::from(copy.bytes);
        Some(copy)
    }
}

/// Whether a frame fits beside this many frames and bytes.
fn fits(frames: u64, bytes: u64, more: u32, limit: QueueLimit) -> bool {
    frames < u64::from(QUEUE_FRAMES_MAX)
        && match limit {
            QueueLimit::Packets(most) => frames < u64::from(most),
            QueueLimit::Bytes(most) => bytes.saturating_add(u64::from(more)) <= most,
        }
}

/// `CoDel`'s two times, nanoseconds.
#[derive(Clone, Copy)]
struct Limits {
    target: u64,
    interval: u64,
}

impl Limits {
    /// //= RFC 8289 §5.3: the next drop comes after interval / sqrt(count).
    fn next_drop(self, from: u64, count: u32) -> u64 {
        let squared = u128::from(self.interval) * u128::from(self.interval);
        let step = (squared / u128::from(count.max(1))).isqrt();
        from.saturating_add(u64::try_from(step).expect("the root of a 64-bit number squared"))
    }
}

/// `CoDel`'s state, with the names of RFC 8289 §5.
#[derive(Clone, Debug, Default)]
struct CoDel {
    /// When the wait will have exceeded the target for an interval.
    first_above: Option<u64>,
    drop_next: u64,
    count: u32,
    last_count: u32,
    dropping: bool,
    /// The longest frame so far, as the RFC's MTU: fewer bytes waiting are no standing queue.
    longest: u32,
}

impl Bottleneck {
    /// Dequeues the head; returns whether it may be dropped.
    fn codel_pop(&mut self, now: u64, limits: Limits) -> Option<(Waiting, bool)> {
        let Some(copy) = self.pop() else {
            self.codel.first_above = None;
            return None;
        };
        let waited = now.saturating_sub(copy.arrived.as_nanos());
        if waited < limits.target || self.bytes <= u64::from(self.codel.longest) {
            self.codel.first_above = None;
            return Some((copy, false));
        }
        let from_now = now.saturating_add(limits.interval);
        let above = *self.codel.first_above.get_or_insert(from_now);
        Some((copy, now >= above))
    }

    /// //= RFC 8289 §5.5: the dequeue routine.
    fn codel_take(
        &mut self,
        at: Instant,
        limits: Limits,
        ecn: bool,
        gone: &mut dyn FnMut(Gone),
    ) -> Option<(Waiting, bool)> {
        let now = at.as_nanos();
        let (mut copy, mut late) = self.codel_pop(now, limits)?;
        if !self.codel.dropping {
            if !late {
                return Some((copy, false));
            }
            self.codel_begin(now, limits);
            if ecn && copy.ecn_capable {
                return Some((copy, true));
            }
            gone(Gone { copy, how: How::Dropped(DropReason::CoDel) });
            return self.codel_pop(now, limits).map(|(copy, _)| (copy, false));
        }
        // Every round drops one copy, so the queue bounds the loop.
        while late && now >= self.codel.drop_next {
            self.codel.count = self.codel.count.saturating_add(1);
            let next_drop = limits.next_drop(self.codel.drop_next, self.codel.count);
            if ecn && copy.ecn_capable {
                self.codel.drop_next = next_drop;
                return Some((copy, true));
            }
            gone(Gone { copy, how: How::Dropped(DropReason::CoDel) });
            let Some(next) = self.codel_pop(now, limits) else {
                self.codel.dropping = false;
                return None;
            };
            (copy, late) = next;
            if late {
                self.codel.drop_next = next_drop;
            }
        }
        self.codel.dropping = late;
        Some((copy, false))
    }

    /// Enters the dropping state; soon after the last one, at nearly its last drop rate.
    fn codel_begin(&mut self, now: u64, limits: Limits) {
        let codel = &mut self.codel;
        codel.dropping = true;
        let since = codel.count.saturating_sub(codel.last_count);
        let soon = now.saturating_sub(codel.drop_next) < limits.interval.saturating_mul(16);
        codel.count = if since > 1 && soon { since } else { 1 };
        codel.drop_next = limits.next_drop(now, codel.count);
        codel.last_count = codel.count;
    }
}
