//! A load generator over many bank clients: starts requests and records how each ended.
//!
//! Real-socket labs and the virtual-time simulation share it: the clients of a [`LoadGenerator`]
//! take operations from one sequence. Latency counts from the intended start of a request, so a
//! stalled client cannot hide queueing ("coordinated omission": G. Tene).
//!
//! The driver's loop: after every `handle_*`, take [`LoadGenerator::poll_action`] until it is
//! `None`, then wait until [`LoadGenerator::poll_timeout`] or the next input.

mod plan;
mod sample;
mod slot;
mod workload;

pub use plan::{ArrivalModel, LoadPlan};
pub use sample::{End, Sample};
pub use workload::{AMOUNT_CENTS_MAX, Workload};

use super::client::{ClientEvent, Identity, Key};
use super::frame::NO_LEASE;
use super::transport::{ClientCounters, SocketKind, Transport};
use crate::measure::draw::keyed;
use crate::measure::{Instant, nanos};
use bytes::Bytes;
use slot::{Call, ClientSlot, Link};
use std::collections::VecDeque;
use std::time::Duration;

/// An action for the driver.
#[derive(Debug)]
pub enum Action {
    /// Open a connection for this slot, then call [`LoadGenerator::handle_open`] or
    /// [`LoadGenerator::handle_closed`].
    Open {
        /// The slot.
        slot: usize,
    },
    /// Send these bytes: one datagram, or the next part of the stream.
    Send {
        /// The slot.
        slot: usize,
        /// The request.
        bytes: Bytes,
    },
    /// Close the slot's connection; no report is expected.
    Close {
        /// The slot.
        slot: usize,
    },
}

/// Many clients that share one sequence of operations.
pub struct LoadGenerator {
    transport: Box<dyn Transport>,
    /// One connection per request: one call at a time within a slot.
    per_request: bool,
    workload: Workload,
    plan: LoadPlan,
    slots: Vec<ClientSlot>,
    clients: u32,
    actions: VecDeque<Action>,
    began: Instant,
    /// Operations started so far, over all loads: the next number in the workload.
    next_op: u64,
    /// First operation of the present load in the workload.
    first_op: u64,
    /// The time limit for starting requests has passed; set at the first look after it.
    over: bool,
    samples: Vec<Sample>,
    handshakes: Vec<Duration>,
}

impl LoadGenerator {
    /// A load generator of `clients` idle clients. `seed` draws nonces and jitter.
    pub fn new(transport: Box<dyn Transport>, workload: Workload, clients: u32, seed: u64) -> Self {
        let slot = |index: u64| {
            let identity = Identity::new(keyed(seed, index << 1));
            ClientSlot::new(transport.client(identity, keyed(seed, index << 1 | 1)))
        };
        Self {
            slots: (0..clients).map(u64::from).map(slot).collect(),
            clients,
            transport,
            per_request: false,
            workload,
            plan: LoadPlan {
                arrivals: ArrivalModel::Closed { depth: 1 },
                ops: 0,
                limit: Duration::ZERO,
                spread: Duration::ZERO,
            },
            actions: VecDeque::new(),
            began: Instant::ZERO,
            next_op: 0,
            first_op: 0,
            over: false,
            samples: Vec::new(),
            handshakes: Vec::new(),
        }
    }

    /// The same with a new connection for every request.
    pub fn connection_per_request(mut self) -> Self {
        self.per_request = true;
        self
    }

    /// Begins a load. Discards samples and handshakes of the previous one; keeps connections,
    /// identities and round-trip estimates.
    pub fn begin(&mut self, now: Instant, plan: LoadPlan) {
        self.plan = plan;
        self.began = now;
        self.first_op = self.next_op;
        self.over = false;
        self.samples.clear();
        let reserve = usize::try_from(plan.ops.min(SAMPLES_RESERVE_MAX));
        self.samples.reserve(reserve.expect("invariant: the constant fits a usize"));
        self.handshakes.clear();
        for (index, slot) in (0_u32..).zip(&mut self.slots) {
            slot.not_before = now + plan.spread * index / self.clients;
            slot.first_turn = true;
        }
        if !self.per_request {
            for index in 0..self.slots.len() {
                self.connect(now, index);
            }
        }
    }

    /// Number of clients; slots are numbered from 0.
    pub const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether the slots send datagrams: sockets without connections.
    pub fn uses_datagrams(&self) -> bool {
        self.transport.socket() == SocketKind::Datagram
    }

    /// Whether every operation that will start has ended.
    pub fn is_done(&self, now: Instant) -> bool {
        self.all_started(now) && self.slots.iter().all(ClientSlot::is_idle)
    }

    /// The requests of the present load that have ended, in the order they ended.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How long each connection of the present load took to open.
    pub fn handshakes(&self) -> &[Duration] {
        &self.handshakes
    }

    /// Totals of the clients since creation, and their mean retransmission timeout now.
    pub fn counters(&self) -> ClientCounters {
        let mut all = ClientCounters::default();
        for counters in self.slots.iter().map(|slot| slot.client.counters()) {
            all.retries += counters.retries;
            all.late_replies += counters.late_replies;
            all.rto = match (all.rto, counters.rto) {
                (Some(sum), Some(rto)) => Some(sum + rto),
                (sum, rto) => sum.or(rto),
            };
        }
        all.rto = all.rto.map(|sum| sum / self.clients);
        all
    }

    /// The slot's connection is open (streams only).
    pub fn handle_open(&mut self, now: Instant, slot: usize) {
        self.handshakes.extend(self.slots[slot].handle_open(now));
        self.settle(now, slot);
    }

    /// Handles bytes from the slot's connection, or one datagram.
    pub fn handle_bytes(&mut self, now: Instant, slot: usize, bytes: &[u8]) {
        self.slots[slot].client.handle_bytes(now, bytes);
        self.settle(now, slot);
    }

    /// The slot's connection ended, or could not be opened.
    pub fn handle_closed(&mut self, now: Instant, slot: usize) {
        self.slots[slot].client.handle_closed(now);
        self.slots[slot].disconnect(now);
        self.settle(now, slot);
    }

    /// Handles the passage of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.over |= self.all_started(now);
        for index in 0..self.slots.len() {
            let more = self.has_more();
            let slot = &mut self.slots[index];
            if due(slot.client.poll_timeout(), now) {
                slot.client.handle_timeout(now);
            } else if !due(slot.next_start(more), now) {
                continue;
            }
            self.settle(now, index);
        }
        self.release_open_loop(now);
    }

    /// Ends every request in flight as unknown: the load stops before their replies.
    pub fn abandon(&mut self, now: Instant) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let client = slot.client.identity().lease().unwrap_or(NO_LEASE);
            for (seq, call) in std::mem::take(&mut slot.calls) {
                self.samples.push(Sample::abandoned(index, Key { client, seq }, call, now));
            }
        }
    }

    /// The next action, or `None` until the next input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let more = self.has_more();
        let clients = self.slots.iter().filter_map(|slot| slot.client.poll_timeout());
        let starts = self.slots.iter().filter_map(|slot| slot.next_start(more));
        let begun = self.next_op - self.first_op;
        let limit = (!self.over && begun < self.plan.ops).then(|| self.began + self.plan.limit);
        clients.chain(starts).chain(self.next_open_start()).chain(limit).min()
    }

    fn all_started(&self, now: Instant) -> bool {
        let begun = self.next_op - self.first_op;
        let over = match self.plan.arrivals {
            ArrivalModel::Closed { .. } => now >= self.began + self.plan.limit,
            // A request whose intended start lies within the limit is sent, however late the loop
            // is; otherwise a stall would drop the requests it delayed from the count.
            ArrivalModel::Open { interval } => times(interval, begun) >= self.plan.limit,
        };
        over || begun >= self.plan.ops
    }

    /// Whether a closed loop has requests to start.
    const fn has_more(&self) -> bool {
        let closed = matches!(self.plan.arrivals, ArrivalModel::Closed { .. });
        closed && !self.over && self.next_op - self.first_op < self.plan.ops
    }

    fn next_open_start(&self) -> Option<Instant> {
        let ArrivalModel::Open { interval } = self.plan.arrivals else { return None };
        let begun = self.next_op - self.first_op;
        let after = times(interval, begun);
        (begun < self.plan.ops && after < self.plan.limit).then(|| self.began + after)
    }

    /// Open loop: hands every operation that is due to its client.
    fn release_open_loop(&mut self, now: Instant) {
        while let Some(at) = self.next_open_start() {
            if at > now {
                break;
            }
            let call = self.take_op(at);
            let index = usize::try_from(call.op % u64::from(self.clients))
                .expect("invariant: below the number of slots");
            self.slots[index].waiting.push_back(call);
            self.settle(now, index);
        }
    }

    fn take_op(&mut self, intended: Instant) -> Call {
        let op = self.next_op;
        self.next_op += 1;
        Call { op, operation: self.workload.request(op).operation(), intended }
    }

    /// Processes a slot until idle: events out, new calls in, bytes out.
    fn settle(&mut self, now: Instant, index: usize) {
        self.drain_events(now, index);
        self.start_calls(now, index);
        self.drain_transmits(now, index);
    }

    fn drain_events(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        while let Some(event) = slot.client.poll_event() {
            match event {
                ClientEvent::Finished(finished) => {
                    let client = slot.client.identity().lease().unwrap_or(NO_LEASE);
                    if let Some(call) = slot.calls.remove(&finished.seq) {
                        self.samples.push(Sample::of(index, client, call, &finished));
                    }
                }
                ClientEvent::Closed(_) => {
                    slot.disconnect(now);
                    self.actions.push_back(Action::Close { slot: index });
                }
                ClientEvent::Ready | ClientEvent::Late { .. } => {}
            }
        }
        if self.per_request && slot.calls.is_empty() && slot.link != Link::Disconnected {
            slot.link = Link::Disconnected;
            self.actions.push_back(Action::Close { slot: index });
        }
        if slot.link == Link::Disconnected {
            slot.client.close();
        }
    }

    fn room(&self, index: usize) -> bool {
        let in_flight = self.slots[index].calls.len();
        match self.plan.arrivals {
            _ if self.per_request => in_flight == 0,
            ArrivalModel::Closed { depth } => in_flight < depth as usize,
            ArrivalModel::Open { .. } => in_flight < self.transport.max_in_flight(),
        }
    }

    fn start_calls(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        if slot.down_until.is_some_and(|until| until > now) {
            return;
        }
        slot.down_until = None;
        while self.room(index) {
            let Some(call) = self.next_call(now, index) else { break };
            self.connect(now, index);
            let request = self.workload.request(call.op);
            let slot = &mut self.slots[index];
            match slot.client.send(now, request) {
                Ok(seq) => {
                    slot.calls.insert(seq, call);
                }
                Err(_) => {
                    slot.waiting.push_front(call);
                    break;
                }
            }
        }
    }

    fn next_call(&mut self, now: Instant, index: usize) -> Option<Call> {
        if let Some(call) = self.slots[index].waiting.pop_front() {
            return Some(call);
        }
        let ArrivalModel::Closed { .. } = self.plan.arrivals else { return None };
        let slot = &mut self.slots[index];
        if now < slot.not_before {
            return None;
        }
        slot.first_turn = false;
        if self.all_started(now) {
            return None;
        }
        Some(self.take_op(now))
    }

    /// Starts a session if there is none, and requests its connection.
    fn connect(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        if slot.link != Link::Disconnected {
            return;
        }
        slot.client.connect(now);
        match self.transport.socket() {
            SocketKind::Datagram => {
                slot.link = Link::Up;
                self.drain_transmits(now, index);
            }
            SocketKind::Stream => {
                slot.link = Link::Opening { since: now };
                self.actions.push_back(Action::Open { slot: index });
            }
        }
    }

    fn drain_transmits(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        if slot.link != Link::Up && self.transport.socket() == SocketKind::Stream {
            return;
        }
        while let Some(bytes) = slot.client.poll_transmit(now) {
            self.actions.push_back(Action::Send { slot: index, bytes });
        }
    }
}

/// Maximum samples reserved in advance: the need of a default lab run, with a margin.
const SAMPLES_RESERVE_MAX: u64 = 100_000;

fn due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

fn times(interval: Duration, count: u64) -> Duration {
    Duration::from_nanos(nanos(interval).saturating_mul(count))
}

#[cfg(test)]
mod tests {
    use super::super::datagram::DatagramClientConfig;
    use super::super::stream::StreamClientConfig;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn generator() -> LoadGenerator {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        LoadGenerator::new(Box::new(DatagramClientConfig::default()), workload, 2, 1)
    }

    #[test]
    fn a_stalled_open_loop_sends_every_due_request() {
        let mut generator = generator();
        let arrivals = ArrivalModel::Open { interval: SECOND / 10 };
        let plan = LoadPlan { arrivals, ops: 1_000, limit: SECOND, spread: Duration::ZERO };
        generator.begin(Instant::ZERO, plan);
        // The loop stalls until long after the limit.
        let late = Instant::ZERO + 3 * SECOND;
        assert!(!generator.is_done(late));
        generator.handle_timeout(late);
        // Without a server each ends at its deadline, counted from its own start.
        let mut now = late;
        while !generator.is_done(now) {
            while generator.poll_action().is_some() {}
            now = generator.poll_timeout().unwrap().max(now + Duration::from_millis(1));
            generator.handle_timeout(now);
        }
        assert_eq!(generator.samples().len(), 10);
        let intended: Vec<Instant> = generator.samples().iter().map(|s| s.intended).collect();
        assert!(intended.contains(&Instant::ZERO), "{intended:?}");
        assert!(generator.samples().iter().all(|s| s.latency() > 2 * SECOND));
    }

    #[test]
    fn requests_in_flight_at_the_end_are_unknown() {
        let mut generator = generator();
        let arrivals = ArrivalModel::Closed { depth: 3 };
        let plan = LoadPlan { arrivals, ops: 100, limit: SECOND, spread: Duration::ZERO };
        generator.begin(Instant::ZERO, plan);
        generator.handle_timeout(Instant::ZERO);
        generator.abandon(Instant::ZERO + SECOND / 2);
        assert_eq!(generator.samples().len(), 6);
        assert!(generator.samples().iter().all(|s| s.end == End::Unknown));
    }

    #[test]
    fn a_load_without_a_server_does_not_spin() {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        let transport = Box::new(StreamClientConfig::default());
        let mut generator = LoadGenerator::new(transport, workload, 1, 1);
        let arrivals = ArrivalModel::Closed { depth: 1 };
        let plan = LoadPlan { arrivals, ops: 1_000_000, limit: SECOND, spread: Duration::ZERO };
        let mut now = Instant::ZERO;
        generator.begin(now, plan);
        let mut opened = 0;
        while !generator.is_done(now) {
            while let Some(action) = generator.poll_action() {
                if let Action::Open { slot } = action {
                    opened += 1;
                    generator.handle_closed(now, slot);
                }
            }
            now = generator.poll_timeout().unwrap_or(now).max(now + Duration::from_millis(1));
            generator.handle_timeout(now);
        }
        assert!((5..=12).contains(&opened), "one attempt a pause, not {opened}");
    }
}
