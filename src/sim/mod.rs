//! The bank over datagrams in virtual time: the same cores, the same link model, no socket.
//!
//! It exists for machines that forbid namespaces, and because a run here is bit-identical by seed.
//! It must never read a clock; time jumps from one event to the next.

pub mod clock;

use crate::bank::load::{Action, Fleet, LoadPlan};
use crate::bank::server::Server;
use crate::bank::storage::Storage;
use crate::measure::Instant;
use crate::path::{Bytes as FrameBytes, Direction, Frame, Link, LinkPlan, Record, Verdict};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Headers in front of a datagram on the path: Ethernet 14, IPv4 20 (RFC 791), UDP 8 (RFC 768).
pub const DATAGRAM_HEADERS: u32 = 42;

/// A datagram on its way, ordered by time of arrival, then by time of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Instant,
    order: u64,
    direction: Direction,
    member: usize,
    bytes: Bytes,
}

/// A fleet and a server with a path between them.
pub struct World<S: Storage> {
    /// The clients.
    pub fleet: Fleet,
    /// The bank.
    pub server: Server<S>,
    links: [Link; 2],
    records: [Record; 2],
    on_the_way: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    now: Instant,
}

impl<S: Storage> World<S> {
    /// A world at time zero.
    #[must_use]
    pub fn new(fleet: Fleet, server: Server<S>, plans: &[LinkPlan; 2], seed: u64) -> Self {
        let mut world = Self {
            fleet,
            server,
            links: Direction::BOTH.map(|d| Link::new(plans[d.index()].clone(), seed, d)),
            records: [Record::default(), Record::default()],
            on_the_way: BinaryHeap::new(),
            order: 0,
            now: Instant::ZERO,
        };
        world.set_links(plans, seed);
        world
    }

    /// Replaces both links with fresh ones and begins new records.
    pub fn set_links(&mut self, plans: &[LinkPlan; 2], seed: u64) {
        self.links = Direction::BOTH.map(|d| Link::new(plans[d.index()].clone(), seed, d));
        self.records = [Record::default(), Record::default()];
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What the links did since they were set.
    #[must_use]
    pub const fn records(&self) -> &[Record; 2] {
        &self.records
    }

    /// Puts a load on the bank and runs until every request has ended.
    pub fn run(&mut self, plan: LoadPlan) {
        self.fleet.begin(self.now, plan);
        self.act();
        while !self.fleet.is_done(self.now) {
            let Some(next) = self.next_event() else { return };
            self.now = next.max(self.now);
            self.step();
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.on_the_way.peek().map(|Reverse(arrival)| arrival.at);
        [arrival, self.fleet.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min()
    }

    /// Everything that is due now: arrivals first, then timers.
    fn step(&mut self) {
        while self.on_the_way.peek().is_some_and(|Reverse(next)| next.at <= self.now) {
            let Some(Reverse(arrival)) = self.on_the_way.pop() else { break };
            match arrival.direction {
                Direction::AToB => {
                    if let Some(reply) = self.server.handle_datagram(self.now, &arrival.bytes) {
                        self.send(Direction::BToA, arrival.member, reply);
                    }
                }
                Direction::BToA => {
                    self.fleet.handle_bytes(self.now, arrival.member, &arrival.bytes);
                    self.act();
                }
            }
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        if self.fleet.poll_timeout().is_some_and(|at| at <= self.now) {
            self.fleet.handle_timeout(self.now);
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.fleet.poll_action() {
            match action {
                Action::Send { member, bytes } => self.send(Direction::AToB, member, bytes),
                // There is no stream here: an opened one is closed at once.
                Action::Open { member } => self.fleet.handle_closed(self.now, member),
                Action::Close { .. } => {}
            }
        }
    }

    fn send(&mut self, direction: Direction, member: usize, bytes: Bytes) {
        let length =
            u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(DATAGRAM_HEADERS);
        let frame = Frame { bytes: FrameBytes::Payload(&bytes), length };
        let fate = self.links[direction.index()].handle_frame(self.now, frame, 0);
        self.records[direction.index()].note(&fate, self.now, length);
        if let Verdict::Deliver { at, copies } = fate.verdict {
            for _ in 0..copies {
                let bytes = bytes.clone();
                let order = self.order;
                self.order += 1;
                self.on_the_way.push(Reverse(Arrival { at, order, direction, member, bytes }));
            }
        }
    }
}
