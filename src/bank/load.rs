//! A load generator over many bank clients: which request starts when, and how each one ended.
//!
//! The labs on real sockets and the simulation in virtual time put the same load on the bank: the
//! clients of a [`LoadGenerator`] share one sequence of operations. Latency counts from the time a
//! request was meant to start, so a stalled client cannot hide what waited behind it ("coordinated
//! omission": G. Tene).
//!
//! The driver's loop: after every `handle_*`, take [`LoadGenerator::poll_action`] until it is
//! `None`, then wait until [`LoadGenerator::poll_timeout`] or the next input.

use super::client::{Answered, ClientEvent, Finished, Identity, Key, Outcome};
use super::codec::{Answer, encode_answer, encode_request};
use super::datagram::{DatagramClient, DatagramClientConfig};
use super::frame::{Header, Kind};
use super::message::{AccountId, Amount, Cents, Operation, Refusal, Reply, Request};
use super::stream::{StreamClient, StreamClientConfig};
use crate::measure::Instant;
use crate::measure::draw::keyed;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The sequence of operations: a pure function of a seed.
///
/// Half are deposits, three in ten ask for a balance, two in ten are transfers: what moves money is
/// what retries can spoil.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The seed of every draw.
    pub seed: u64,
    /// Accounts 1 ..= `accounts` are used; at least 2.
    pub accounts: u64,
    /// What is asked for; `None` mixes as described above.
    pub only: Option<Operation>,
}

/// Amounts are drawn from 1 ..= this many cents.
pub const AMOUNT_CENTS_MAX: u64 = 10_000;

impl Workload {
    /// Operation number `op`.
    #[must_use]
    pub fn request(&self, op: u64) -> Request {
        let draw = |stream: u64| keyed(self.seed, op << 3 | stream);
        let accounts = self.accounts.max(2);
        let first = 1 + draw(0) % accounts;
        // Another account than the first: skip 1 ..= accounts - 1 places.
        let second = 1 + (first - 1 + 1 + draw(1) % (accounts - 1)) % accounts;
        let (account, to) = (AccountId(first), AccountId(second));
        let amount = Amount::new(1 + draw(2) % AMOUNT_CENTS_MAX).expect("drawn from 1 upwards");
        let operation = self.only.unwrap_or_else(|| match draw(3) % 10 {
            0..5 => Operation::Deposit,
            5..8 => Operation::Balance,
            _ => Operation::Transfer,
        });
        match operation {
            Operation::Balance => Request::Balance { account },
            Operation::Deposit => Request::Deposit { account, amount },
            Operation::Transfer => Request::Transfer { from: account, to, amount },
            Operation::Statement => Request::Statement { account, from_entry: 0 },
            Operation::Transactions => {
                Request::Transactions { account, from_entry: 0, limit: TRANSACTIONS_PAGE }
            }
            Operation::Address => Request::Address { account },
        }
    }
}

/// Entries asked for by one `transactions` request of a workload: they fit one datagram.
const TRANSACTIONS_PAGE: u16 = 8;

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalModel {
    /// Each client keeps `depth` requests outstanding: the next starts when one ends.
    Closed {
        /// Requests outstanding per client.
        depth: u32,
    },
    /// Requests start at fixed times, independent of earlier ones: client `n` mod clients.
    Open {
        /// Time between two starts, over all clients.
        interval: Duration,
    },
}

/// How much load, and until when.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// When requests start.
    pub arrivals: ArrivalModel,
    /// Operations, at most.
    pub ops: u64,
    /// No operation starts later than this after the beginning.
    pub limit: Duration,
    /// Closed loop: the clients' first requests are spread evenly over this time.
    pub spread: Duration,
}

/// What carries the requests.
#[derive(Clone, Copy, Debug)]
pub enum Carrier {
    /// One UDP socket per client.
    Datagrams(DatagramClientConfig),
    /// One TCP connection per client.
    Stream(StreamClientConfig),
    /// One TCP connection per request. Closed loop at depth 1 within each client's slot.
    StreamPerRequest(StreamClientConfig),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered: done.
    Done,
    /// Answered: definitely not done.
    Refused,
    /// Not answered: may have been done.
    Unknown,
}

/// One request, from the time it was meant to start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its number in the workload.
    pub op: u64,
    /// The client slot that sent it.
    pub slot: usize,
    /// The idempotency key; client 0 where the request was never given one.
    pub key: Key,
    /// What it asked for.
    pub operation: Operation,
    /// When it was meant to start.
    pub intended: Instant,
    /// When it ended.
    pub finished: Instant,
    /// How it ended.
    pub end: End,
    /// How often it was sent.
    pub attempts: u16,
    /// Which attempt was answered.
    pub answered: Option<Answered>,
    /// Why it was refused, where it was.
    pub refusal: Option<Refusal>,
}

impl Sample {
    /// From the intended start to the end.
    #[must_use]
    pub const fn latency(&self) -> Duration {
        self.finished.since(self.intended)
    }
}

/// What the driver must do.
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
        /// What to send.
        bytes: Bytes,
    },
    /// Close the slot's connection; no report is expected.
    Close {
        /// The slot.
        slot: usize,
    },
}

enum Client {
    Datagram(Box<DatagramClient>),
    Stream(Box<StreamClient>),
    /// Between two connections.
    Disconnected(Identity),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Opening { since: Instant },
    Up,
}

/// A call in flight: its number in the workload and when it was meant to start.
#[derive(Clone, Copy)]
struct Call {
    op: u64,
    operation: Operation,
    intended: Instant,
}

struct ClientSlot {
    client: Client,
    link: Link,
    calls: BTreeMap<u64, Call>,
    /// Open loop: meant to have started, waiting for room.
    waiting: VecDeque<Call>,
    /// Closed loop: no request before this, so that slots do not begin together.
    not_before: Instant,
    first_turn: bool,
    /// After a connection that failed: no new one before this.
    down_until: Option<Instant>,
}

/// Counters over all clients of a generator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounters {
    /// Requests sent again.
    pub retries: u64,
    /// Replies to calls that had ended.
    pub late_replies: u64,
    /// Mean retransmission timeout of the clients now, nanoseconds; 0 on streams.
    pub rto_ns: u64,
}

/// Many clients that share one sequence of operations.
pub struct LoadGenerator {
    carrier: Carrier,
    workload: Workload,
    plan: LoadPlan,
    slots: Vec<ClientSlot>,
    actions: VecDeque<Action>,
    began: Instant,
    /// Operations begun so far, over all loads: the next number in the workload.
    next_op: u64,
    /// Where the present load began in the workload.
    first_op: u64,
    /// The time to begin requests is over; set at the first look after the limit.
    over: bool,
    samples: Vec<Sample>,
    handshakes: Vec<Duration>,
}

impl LoadGenerator {
    /// A generator of `clients`, none of which has sent anything. `seed` gives nonces and jitter.
    #[must_use]
    pub fn new(carrier: Carrier, workload: Workload, clients: usize, seed: u64) -> Self {
        let slot = |index: u64| {
            let identity = Identity::new(keyed(seed, index << 1));
            let client = match carrier {
                Carrier::Datagrams(config) => Client::Datagram(Box::new(DatagramClient::new(
                    config,
                    identity,
                    keyed(seed, index << 1 | 1),
                ))),
                Carrier::Stream(_) | Carrier::StreamPerRequest(_) => Client::Disconnected(identity),
            };
            ClientSlot {
                client,
                link: Link::Down,
                calls: BTreeMap::new(),
                waiting: VecDeque::new(),
                not_before: Instant::ZERO,
                first_turn: true,
                down_until: None,
            }
        };
        Self {
            carrier,
            workload,
            plan: LoadPlan {
                arrivals: ArrivalModel::Closed { depth: 1 },
                ops: 0,
                limit: Duration::ZERO,
                spread: Duration::ZERO,
            },
            slots: (0..clients as u64).map(slot).collect(),
            actions: VecDeque::new(),
            began: Instant::ZERO,
            next_op: 0,
            first_op: 0,
            over: false,
            samples: Vec::new(),
            handshakes: Vec::new(),
        }
    }

    /// Begins a load. The samples and handshakes of the one before are thrown away; connections,
    /// identities and round-trip estimates stay.
    pub fn begin(&mut self, now: Instant, plan: LoadPlan) {
        self.plan = plan;
        self.began = now;
        self.first_op = self.next_op;
        self.over = false;
        self.samples.clear();
        self.samples.reserve(usize::try_from(plan.ops).unwrap_or(0).min(SAMPLES_RESERVE_MAX));
        self.handshakes.clear();
        let clients = u32::try_from(self.slots.len()).unwrap_or(u32::MAX).max(1);
        for (index, slot) in (0_u32..).zip(&mut self.slots) {
            slot.not_before = now + plan.spread * index / clients;
            slot.first_turn = true;
        }
        for index in 0..self.slots.len() {
            self.start_connection(now, index);
        }
    }

    /// How many clients there are; slots are numbered from 0.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether the slots send datagrams: they need a socket and no connection.
    #[must_use]
    pub const fn uses_datagrams(&self) -> bool {
        matches!(self.carrier, Carrier::Datagrams(_))
    }

    /// Whether every operation that will start has ended.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        self.all_started(now)
            && self.slots.iter().all(|s| s.calls.is_empty() && s.waiting.is_empty())
    }

    /// The requests of the present load that have ended, in the order they ended.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How long each connection of the present load took to open.
    #[must_use]
    pub fn handshakes(&self) -> &[Duration] {
        &self.handshakes
    }

    /// Counters since the generator was made.
    #[must_use]
    pub fn stats(&self) -> LoadCounters {
        let mut stats = LoadCounters::default();
        let mut rto_sum = 0_u128;
        for slot in &self.slots {
            if let Client::Datagram(client) = &slot.client {
                stats.retries += client.stats().retries;
                stats.late_replies += client.stats().late;
                rto_sum += client.rtt().rto().as_nanos();
            }
        }
        let mean = rto_sum / (self.slots.len() as u128).max(1);
        stats.rto_ns = u64::try_from(mean).unwrap_or(u64::MAX);
        stats
    }

    /// The slot's connection is open (streams only).
    pub fn handle_open(&mut self, now: Instant, slot: usize) {
        if let Link::Opening { since } = self.slots[slot].link {
            self.handshakes.push(now.since(since));
            self.slots[slot].link = Link::Up;
        }
        self.settle(now, slot);
    }

    /// Bytes from the slot's connection, or one datagram.
    pub fn handle_bytes(&mut self, now: Instant, slot: usize, bytes: &[u8]) {
        match &mut self.slots[slot].client {
            Client::Datagram(client) => client.handle_datagram(now, bytes),
            Client::Stream(client) => client.handle_stream(now, bytes),
            Client::Disconnected(_) => {}
        }
        self.settle(now, slot);
    }

    /// The slot's connection ended, or could not be opened.
    pub fn handle_closed(&mut self, now: Instant, slot: usize) {
        if let Client::Stream(client) = &mut self.slots[slot].client {
            client.handle_closed(now);
        }
        self.slots[slot].link = Link::Down;
        self.slots[slot].down_until = Some(now + RECONNECT_PAUSE);
        self.drain_events(now, slot);
        self.disconnect(slot);
        self.settle(now, slot);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.over |= self.all_started(now);
        for index in 0..self.slots.len() {
            let starts = self.next_start(index).is_some_and(|at| at <= now);
            match &mut self.slots[index].client {
                Client::Datagram(client) if due(client.poll_timeout(), now) => {
                    client.handle_timeout(now);
                }
                Client::Stream(client) if due(client.poll_timeout(), now) => {
                    client.handle_timeout(now);
                }
                _ if starts => {}
                _ => continue,
            }
            self.settle(now, index);
        }
        self.release_open_loop(now);
    }

    /// What to do next, or `None` when there is nothing more until the next input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.slots.iter().filter_map(|m| match &m.client {
            Client::Datagram(client) => client.poll_timeout(),
            Client::Stream(client) => client.poll_timeout(),
            Client::Disconnected(_) => None,
        });
        let starts = (0..self.slots.len()).filter_map(|index| self.next_start(index));
        let begun = self.next_op - self.first_op;
        let limit = (!self.over && begun < self.plan.ops).then(|| self.began + self.plan.limit);
        clients.chain(starts).chain(self.next_open_start()).chain(limit).min()
    }

    fn all_started(&self, now: Instant) -> bool {
        let begun = self.next_op - self.first_op;
        let over = match self.plan.arrivals {
            ArrivalModel::Closed { .. } => now >= self.began + self.plan.limit,
            // A request that was meant to start in time is asked, however late the loop is:
            // else a stall would take its own victims out of the count.
            ArrivalModel::Open { interval } => times(interval, begun) >= self.plan.limit,
        };
        over || begun >= self.plan.ops
    }

    /// When the slot's next request is due, if it waits for its first turn of a closed loop or
    /// for a new connection.
    fn next_start(&self, index: usize) -> Option<Instant> {
        let slot = &self.slots[index];
        let more = !self.over && self.next_op - self.first_op < self.plan.ops;
        let closed = more && matches!(self.plan.arrivals, ArrivalModel::Closed { .. });
        let away = slot.down_until.filter(|_| closed || !slot.waiting.is_empty());
        let first = (closed && slot.first_turn).then_some(slot.not_before);
        if away.is_some() { away } else { first }
    }

    fn next_open_start(&self) -> Option<Instant> {
        let ArrivalModel::Open { interval } = self.plan.arrivals else { return None };
        let begun = self.next_op - self.first_op;
        let after = times(interval, begun);
        (begun < self.plan.ops && after < self.plan.limit).then(|| self.began + after)
    }

    /// Open loop: hands every operation whose time has come to its client.
    fn release_open_loop(&mut self, now: Instant) {
        while let Some(at) = self.next_open_start() {
            if at > now {
                break;
            }
            let call = self.take_op(at);
            let index = usize::try_from(call.op).unwrap_or(0) % self.slots.len();
            self.slots[index].waiting.push_back(call);
            self.settle(now, index);
        }
    }

    fn take_op(&mut self, intended: Instant) -> Call {
        let op = self.next_op;
        self.next_op += 1;
        Call { op, operation: self.workload.request(op).operation(), intended }
    }

    /// Brings a slot to rest: events out, new calls in, bytes out.
    fn settle(&mut self, now: Instant, index: usize) {
        self.drain_events(now, index);
        self.start_calls(now, index);
        self.drain_transmits(now, index);
    }

    fn drain_events(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        loop {
            let event = match &mut slot.client {
                Client::Datagram(client) => client.poll_event(),
                Client::Stream(client) => client.poll_event(),
                Client::Disconnected(_) => None,
            };
            match event {
                Some(ClientEvent::Finished(finished)) => {
                    let client = identity(&slot.client).lease().unwrap_or(0);
                    if let Some(call) = slot.calls.remove(&finished.seq) {
                        self.samples.push(sample(index, client, call, &finished));
                    }
                }
                Some(ClientEvent::Closed(_)) => {
                    slot.link = Link::Down;
                    slot.down_until = Some(now + RECONNECT_PAUSE);
                    self.actions.push_back(Action::Close { slot: index });
                }
                Some(ClientEvent::Ready | ClientEvent::Late { .. }) => {}
                None => break,
            }
        }
        let per_request = matches!(self.carrier, Carrier::StreamPerRequest(_));
        if per_request && slot.calls.is_empty() && slot.link != Link::Down {
            slot.link = Link::Down;
            self.actions.push_back(Action::Close { slot: index });
        }
        if self.slots[index].link == Link::Down {
            self.disconnect(index);
        }
    }

    /// Keeps the identity of a stream client whose connection is over.
    fn disconnect(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Client::Stream(client) = &slot.client {
            slot.client = Client::Disconnected(client.identity().clone());
        }
    }

    fn room(&self, index: usize) -> bool {
        let in_flight = self.slots[index].calls.len();
        match (self.carrier, self.plan.arrivals) {
            (Carrier::StreamPerRequest(_), _) => in_flight == 0,
            (_, ArrivalModel::Closed { depth }) => in_flight < depth as usize,
            (Carrier::Datagrams(config), ArrivalModel::Open { .. }) => {
                in_flight < config.max_in_flight
            }
            (Carrier::Stream(config), ArrivalModel::Open { .. }) => {
                in_flight < config.max_in_flight
            }
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
            if matches!(self.carrier, Carrier::StreamPerRequest(_)) {
                self.start_connection_for(now, index);
            } else {
                self.start_connection(now, index);
            }
            let request = self.workload.request(call.op);
            let slot = &mut self.slots[index];
            let started = match &mut slot.client {
                Client::Datagram(client) => client.call(now, request),
                Client::Stream(client) => client.call(now, request),
                Client::Disconnected(_) => break,
            };
            match started {
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

    /// Opens what lasts: a datagram client's lease, a stream client's connection.
    fn start_connection(&mut self, now: Instant, index: usize) {
        match self.carrier {
            Carrier::Datagrams(_) => {
                let slot = &mut self.slots[index];
                if let (Client::Datagram(client), Link::Down) = (&mut slot.client, slot.link) {
                    client.connect(now);
                    slot.link = Link::Up;
                    self.drain_transmits(now, index);
                }
            }
            Carrier::Stream(_) => self.start_connection_for(now, index),
            Carrier::StreamPerRequest(_) => {}
        }
    }

    fn start_connection_for(&mut self, now: Instant, index: usize) {
        let (Carrier::Stream(config) | Carrier::StreamPerRequest(config)) = self.carrier else {
            return;
        };
        let slot = &mut self.slots[index];
        if let Client::Disconnected(identity) = &slot.client {
            slot.client =
                Client::Stream(Box::new(StreamClient::new(config, identity.clone(), now)));
            slot.link = Link::Opening { since: now };
            self.actions.push_back(Action::Open { slot: index });
        }
    }

    fn drain_transmits(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        loop {
            let bytes = match (&mut slot.client, slot.link) {
                (Client::Datagram(client), _) => client.poll_transmit(now),
                (Client::Stream(client), Link::Up) => client.poll_transmit(now),
                _ => None,
            };
            match bytes {
                Some(bytes) => self.actions.push_back(Action::Send { slot: index, bytes }),
                None => break,
            }
        }
    }
}

/// Bytes of one request and one reply message, without padding or any header below the message:
/// what an exchange is for. Lists count without their elements.
#[must_use]
pub fn useful_bytes(operation: Operation) -> u64 {
    let account = AccountId(1);
    let amount = Amount::new(1).expect("1 is an amount");
    let zero = Cents::ZERO;
    let (request, reply) = match operation {
        Operation::Balance => {
            (Request::Balance { account }, Reply::Balance { balance: zero, commit: 0 })
        }
        Operation::Deposit => {
            (Request::Deposit { account, amount }, Reply::Deposited { balance: zero, entry: 0 })
        }
        Operation::Transfer => (
            Request::Transfer { from: account, to: account, amount },
            Reply::Transferred { balance: zero, entry: 0 },
        ),
        Operation::Statement => (
            Request::Statement { account, from_entry: 0 },
            Reply::Statement {
                opening: zero,
                credits: zero,
                debits: zero,
                closing: zero,
                entries: 0,
                commit: 0,
            },
        ),
        Operation::Transactions => (
            Request::Transactions { account, from_entry: 0, limit: 0 },
            Reply::Transactions { entries: Vec::new(), next: None },
        ),
        Operation::Address => {
            (Request::Address { account }, Reply::Address { text: String::new() })
        }
    };
    let mut bytes = BytesMut::new();
    encode_request(&mut bytes, &Header::of(Kind::Request), &request, 0);
    encode_answer(&mut bytes, &Header::of(Kind::Response), &Answer::Done(reply));
    bytes.len() as u64
}

/// Room for samples made in advance, at most: what a default run of a lab needs, with a margin.
const SAMPLES_RESERVE_MAX: usize = 100_000;

/// From a connection that failed to the next: an absent server is not to be asked in a circle, and
/// a tenth of a second is short beside any restart.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

fn due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

fn times(interval: Duration, count: u64) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(count));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn identity(client: &Client) -> &Identity {
    match client {
        Client::Datagram(client) => client.identity(),
        Client::Stream(client) => client.identity(),
        Client::Disconnected(identity) => identity,
    }
}

fn sample(slot: usize, client: u64, call: Call, finished: &Finished) -> Sample {
    Sample {
        op: call.op,
        slot,
        key: Key { client, seq: finished.seq },
        operation: call.operation,
        intended: call.intended,
        finished: finished.finished,
        end: match finished.outcome {
            Outcome::Done(_) => End::Done,
            Outcome::Refused(_) => End::Refused,
            Outcome::Unknown(_) => End::Unknown,
        },
        attempts: finished.attempts,
        answered: finished.answered,
        refusal: match finished.outcome {
            Outcome::Refused(refusal) => Some(refusal),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn generator() -> LoadGenerator {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        LoadGenerator::new(Carrier::Datagrams(DatagramClientConfig::default()), workload, 2, 1)
    }

    #[test]
    fn an_open_loop_asks_everything_that_was_meant_to_start_however_late_it_looks() {
        let mut generator = generator();
        let arrivals = ArrivalModel::Open { interval: SECOND / 10 };
        let plan = LoadPlan { arrivals, ops: 1_000, limit: SECOND, spread: Duration::ZERO };
        generator.begin(Instant::ZERO, plan);
        // The loop stalls until long after the limit.
        let late = Instant::ZERO + 3 * SECOND;
        assert!(!generator.is_done(late));
        generator.handle_timeout(late);
        // Nobody answers: every one of them ends at its deadline, counted from its own start.
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
    fn a_fleet_without_a_server_does_not_go_in_a_circle() {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        let carrier = Carrier::Stream(StreamClientConfig::default());
        let mut generator = LoadGenerator::new(carrier, workload, 1, 1);
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
