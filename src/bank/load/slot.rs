//! A client slot of a load: one client, its connection state, its calls.

use crate::bank::message::Operation;
use crate::bank::transport::Client;
use crate::measure::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The slot's connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Disconnected,
    Opening { since: Instant },
    Up,
}

/// A call in flight: its number in the workload and its intended start.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) op: u64,
    pub(super) operation: Operation,
    pub(super) intended: Instant,
}

/// A client and its calls.
pub(super) struct ClientSlot {
    pub(super) client: Box<dyn Client>,
    pub(super) link: Link,
    /// Calls in flight, by sequence number.
    pub(super) calls: BTreeMap<u64, Call>,
    /// Open loop: due calls that wait for room.
    pub(super) waiting: VecDeque<Call>,
    /// Closed loop: earliest start, so that slots do not start together.
    pub(super) not_before: Instant,
    /// Closed loop: no request of this load has started yet.
    pub(super) first_turn: bool,
    /// After a failed connection: earliest reconnect.
    pub(super) down_until: Option<Instant>,
}

impl ClientSlot {
    pub(super) fn new(client: Box<dyn Client>) -> Self {
        Self {
            client,
            link: Link::Disconnected,
            calls: BTreeMap::new(),
            waiting: VecDeque::new(),
            not_before: Instant::ZERO,
            first_turn: true,
            down_until: None,
        }
    }

    /// Whether no request is in flight or waiting.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.waiting.is_empty()
    }

    /// The connection is open; returns how long that took, unless it was open before.
    pub(super) fn handle_open(&mut self, now: Instant) -> Option<Duration> {
        let Link::Opening { since } = self.link else { return None };
        self.link = Link::Up;
        Some(now.since(since))
    }

    /// The connection ended; a pause precedes the next.
    pub(super) fn disconnect(&mut self, now: Instant) {
        self.link = Link::Disconnected;
        self.down_until = Some(now + RECONNECT_PAUSE);
    }

    /// When the slot's next request is due, if it waits for its first start in a closed loop or for
    /// a new connection. `more`: a closed loop has requests to start.
    pub(super) fn next_start(&self, more: bool) -> Option<Instant> {
        let down = self.down_until.filter(|_| more || !self.waiting.is_empty());
        down.or_else(|| (more && self.first_turn).then_some(self.not_before))
    }
}

/// Pause before a reconnect: avoids a tight loop on an absent server, short beside a restart.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
