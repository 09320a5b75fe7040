//! The bank over datagrams in virtual time: the same cores and link model without sockets.
//! For machines that forbid namespaces; a run is bit-identical by seed.

use crate::bank::frame::wire_len;
use crate::bank::load::{Action, LoadGenerator, LoadPlan};
use crate::bank::server::Server;
use crate::bank::storage::Storage;
use crate::measure::Instant;
use crate::path::{
    Bytes as FrameBytes, DATAGRAM_HEADERS, Direction, Fate, Frame, Link, LinkPlan, Mutation,
    Record, Release, ReleaseVerdict, Verdict, apply_to_payload,
};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A datagram in flight, ordered by arrival time, then send time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Instant,
    order: u64,
    direction: Direction,
    slot: usize,
    bytes: Bytes,
}

/// A datagram queued at a link's bottleneck.
struct Waiting {
    fate: Fate,
    at: Instant,
    length: u32,
    /// Copies still queued.
    copies: u8,
    slot: usize,
    bytes: Bytes,
}

/// A load generator and a server with a path between them.
pub struct World<S: Storage> {
    /// The clients.
    pub generator: LoadGenerator,
    /// The bank.
    pub server: Server<S>,
    links: [Link; 2],
    records: [Record; 2],
    /// Datagrams queued at each link, by token.
    waiting: [BTreeMap<u32, Waiting>; 2],
    next_token: u32,
    checksum_discards: [u64; 2],
    on_the_way: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    now: Instant,
}

impl<S: Storage> World<S> {
    /// A world at time zero.
    pub fn new(
        generator: LoadGenerator,
        server: Server<S>,
        plans: &[LinkPlan; 2],
        seed: u64,
    ) -> Self {
        let mut world = Self {
            generator,
            server,
            links: Direction::BOTH.map(|d| Link::new(plans[d.index()].clone(), seed, d)),
            records: [Record::default(), Record::default()],
            waiting: [BTreeMap::new(), BTreeMap::new()],
            next_token: 0,
            checksum_discards: [0; 2],
            on_the_way: BinaryHeap::new(),
            order: 0,
            now: Instant::ZERO,
        };
        world.set_links(plans, seed);
        world
    }

    /// Replaces both links by new ones that start now, and starts new records. Datagrams queued at
    /// the old links are dropped.
    pub fn set_links(&mut self, plans: &[LinkPlan; 2], seed: u64) {
        let fresh = |d: Direction| Link::new(plans[d.index()].clone(), seed, d);
        self.links = Direction::BOTH.map(|d| fresh(d).starting_at(self.now));
        self.records = [Record::default(), Record::default()];
        self.waiting = [BTreeMap::new(), BTreeMap::new()];
        self.checksum_discards = [0; 2];
    }

    /// The virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Link statistics since the links were set.
    pub const fn records(&self) -> &[Record; 2] {
        &self.records
    }

    /// Datagrams of each direction that arrived with flipped bits since the links were set; a
    /// host's checksums would have discarded them.
    pub const fn checksum_discards(&self) -> [u64; 2] {
        self.checksum_discards
    }

    /// Applies a load and runs until every request has ended.
    pub fn run(&mut self, plan: LoadPlan) {
        self.generator.begin(self.now, plan);
        self.act();
        while !self.generator.is_done(self.now) {
            let Some(next) = self.next_event() else { return };
            self.now = next.max(self.now);
            self.step();
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.on_the_way.peek().map(|Reverse(arrival)| arrival.at);
        let [a, b] = &self.links;
        let links = [a.poll_timeout(), b.poll_timeout()];
        let rest = [arrival, self.generator.poll_timeout(), self.server.poll_timeout()];
        links.into_iter().chain(rest).flatten().min()
    }

    /// Processes all due events: queue releases, then arrivals, then timers.
    fn step(&mut self) {
        self.release();
        while self.on_the_way.peek().is_some_and(|Reverse(next)| next.at <= self.now) {
            let Some(Reverse(arrival)) = self.on_the_way.pop() else { break };
            match arrival.direction {
                Direction::AToB => {
                    if let Some(reply) = self.server.handle_datagram(self.now, &arrival.bytes) {
                        self.send(Direction::BToA, arrival.slot, reply);
                    }
                }
                Direction::BToA => {
                    self.generator.handle_bytes(self.now, arrival.slot, &arrival.bytes);
                    self.act();
                }
            }
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        if self.generator.poll_timeout().is_some_and(|at| at <= self.now) {
            self.generator.handle_timeout(self.now);
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.generator.poll_action() {
            match action {
                Action::Send { slot, bytes } => self.send(Direction::AToB, slot, bytes),
                // Streams are not supported: close at once.
                Action::Open { slot } => self.generator.handle_closed(self.now, slot),
                Action::Close { .. } => {}
            }
        }
    }

    fn send(&mut self, direction: Direction, slot: usize, bytes: Bytes) {
        let length = wire_len(bytes.len()) + DATAGRAM_HEADERS;
        let frame = Frame { bytes: FrameBytes::Payload(&bytes), length };
        let side = direction.index();
        // Numbers wrap long after the datagrams that had them left the queue.
        let token = self.next_token;
        self.next_token = token.wrapping_add(1);
        let fate = self.links[side].handle_frame(self.now, frame, token);
        self.records[side].note(&fate, self.now, length);
        match fate.verdict {
            Verdict::Queued { copies } => {
                let waiting = Waiting { fate, at: self.now, length, copies, slot, bytes };
                self.waiting[side].insert(token, waiting);
            }
            Verdict::Deliver { at, copies } => {
                for _ in 0..copies {
                    self.deliver(direction, at, slot, &bytes, &fate.mutation);
                }
            }
            _ => {}
        }
    }

    /// Releases due datagrams from the queues.
    fn release(&mut self) {
        for direction in Direction::BOTH {
            while let Some(release) = self.links[direction.index()].poll_release(self.now) {
                self.release_one(direction, &release);
            }
        }
    }

    fn release_one(&mut self, direction: Direction, release: &Release) {
        let queue = &mut self.waiting[direction.index()];
        let Some(waiting) = queue.get_mut(&release.token) else { return };
        self.records[direction.index()].note_release(
            release,
            &waiting.fate,
            waiting.at,
            waiting.length,
        );
        let (slot, bytes, mutation) = (waiting.slot, waiting.bytes.clone(), waiting.fate.mutation);
        waiting.copies -= 1;
        if waiting.copies == 0 {
            queue.remove(&release.token);
        }
        if let ReleaseVerdict::Deliver { at, .. } = release.verdict {
            self.deliver(direction, at, slot, &bytes, &mutation);
        }
    }

    /// Delivers a copy. Drops it if flipped bits would fail the checksums, as a kernel does.
    fn deliver(
        &mut self,
        direction: Direction,
        at: Instant,
        slot: usize,
        bytes: &Bytes,
        mutation: &Mutation,
    ) {
        if mutation.corrupt.is_some_and(|corrupt| !corrupt.repair) {
            self.checksum_discards[direction.index()] += 1;
            return;
        }
        let mut bytes = bytes.clone();
        if mutation.corrupt.is_some() {
            let mut edited = bytes.to_vec();
            apply_to_payload(mutation, &mut edited);
            bytes = edited.into();
        }
        let order = self.order;
        self.order += 1;
        self.on_the_way.push(Reverse(Arrival { at, order, direction, slot, bytes }));
    }
}
