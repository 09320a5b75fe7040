//! A load generator over many bank clients: who sends which request when, and how each one ended.
//!
//! It exists so that the labs on real sockets and the simulation in virtual time put the same load
//! on the bank: a [`Fleet`] of clients shares one sequence of operations. Latency counts from the
//! time a request was meant to start, so a stalled client cannot hide what waited behind it
//! ("coordinated omission": G. Tene).
//! It must never open a connection or wait: it says [`Action`]s and takes what came of them.
//!
//! The loop that drives it: after every `handle_*`, take [`Fleet::poll_action`] until it is `None`,
//! then wait until [`Fleet::poll_timeout`] or the next input.

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
pub enum Pace {
    /// Each client keeps `depth` requests outstanding: the next starts when one ends.
    Closed {
        /// Requests outstanding per client.
        depth: u32,
    },
    /// Requests start at fixed times, whatever became of the ones before: client `n` mod clients.
    Open {
        /// Time between two starts, over all clients.
        interval: Duration,
    },
}

/// How much load, and until when.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// When requests start.
    pub pace: Pace,
    /// Operations, at most.
    pub ops: u64,
    /// No operation starts later than this after the beginning.
    pub limit: Duration,
    /// Closed loop: the clients' first requests are spread evenly over this time.
    pub spread: Duration,
}

/// What carries the requests of a fleet.
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
    /// The client (member of the fleet) that sent it.
    pub member: usize,
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
    /// Open a connection for this member, then say [`Fleet::handle_open`] or
    /// [`Fleet::handle_closed`].
    Open {
        /// The member.
        member: usize,
    },
    /// Send these bytes: one datagram, or the next part of the stream.
    Send {
        /// The member.
        member: usize,
        /// What to send.
        bytes: Bytes,
    },
    /// Close the member's connection; nothing more will be said of it.
    Close {
        /// The member.
        member: usize,
    },
}

enum Client {
    Datagram(Box<DatagramClient>),
    Stream(Box<StreamClient>),
    /// Between two connections.
    Away(Identity),
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

struct Member {
    client: Client,
    link: Link,
    calls: BTreeMap<u64, Call>,
    /// Open loop: meant to have started, waiting for room.
    waiting: VecDeque<Call>,
    /// Closed loop: no request before this, so that members do not begin together.
    not_before: Instant,
    stale: bool,
    /// After a connection that failed: no new one before this.
    away_until: Option<Instant>,
}

/// Counters over all clients of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetStats {
    /// Requests sent again.
    pub retries: u64,
    /// Replies to calls that had ended.
    pub late_replies: u64,
    /// Mean retransmission timeout of the clients now, nanoseconds; 0 on streams.
    pub rto_ns: u64,
}

/// Many clients that share one sequence of operations.
pub struct Fleet {
    carrier: Carrier,
    workload: Workload,
    plan: LoadPlan,
    members: Vec<Member>,
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

impl Fleet {
    /// A fleet of `clients`, none of which has sent anything. `seed` gives nonces and jitter.
    #[must_use]
    pub fn new(carrier: Carrier, workload: Workload, clients: usize, seed: u64) -> Self {
        let member = |index: u64| {
            let identity = Identity::new(keyed(seed, index << 1));
            let client = match carrier {
                Carrier::Datagrams(config) => Client::Datagram(Box::new(DatagramClient::new(
                    config,
                    identity,
                    keyed(seed, index << 1 | 1),
                ))),
                Carrier::Stream(_) | Carrier::StreamPerRequest(_) => Client::Away(identity),
            };
            Member {
                client,
                link: Link::Down,
                calls: BTreeMap::new(),
                waiting: VecDeque::new(),
                not_before: Instant::ZERO,
                stale: true,
                away_until: None,
            }
        };
        Self {
            carrier,
            workload,
            plan: LoadPlan {
                pace: Pace::Closed { depth: 1 },
                ops: 0,
                limit: Duration::ZERO,
                spread: Duration::ZERO,
            },
            members: (0..clients as u64).map(member).collect(),
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
        let clients = u32::try_from(self.members.len()).unwrap_or(u32::MAX).max(1);
        for (index, member) in (0_u32..).zip(&mut self.members) {
            member.not_before = now + plan.spread * index / clients;
            member.stale = true;
        }
        for index in 0..self.members.len() {
            self.start_connection(now, index);
        }
    }

    /// How many clients there are; members are numbered from 0.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members.len()
    }

    /// Whether the members send datagrams: they need a socket and no connection.
    #[must_use]
    pub const fn uses_datagrams(&self) -> bool {
        matches!(self.carrier, Carrier::Datagrams(_))
    }

    /// Whether every operation that will start has ended.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        self.no_more(now) && self.members.iter().all(|m| m.calls.is_empty() && m.waiting.is_empty())
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

    /// Counters since the fleet was made.
    #[must_use]
    pub fn stats(&self) -> FleetStats {
        let mut stats = FleetStats::default();
        let mut rto_sum = 0_u128;
        for member in &self.members {
            if let Client::Datagram(client) = &member.client {
                stats.retries += client.stats().retries;
                stats.late_replies += client.stats().late;
                rto_sum += client.rtt().rto().as_nanos();
            }
        }
        let mean = rto_sum / (self.members.len() as u128).max(1);
        stats.rto_ns = u64::try_from(mean).unwrap_or(u64::MAX);
        stats
    }

    /// The member's connection is open (streams only).
    pub fn handle_open(&mut self, now: Instant, member: usize) {
        if let Link::Opening { since } = self.members[member].link {
            self.handshakes.push(now.since(since));
            self.members[member].link = Link::Up;
        }
        self.settle(now, member);
    }

    /// Bytes from the member's connection, or one datagram.
    pub fn handle_bytes(&mut self, now: Instant, member: usize, bytes: &[u8]) {
        match &mut self.members[member].client {
            Client::Datagram(client) => client.handle_datagram(now, bytes),
            Client::Stream(client) => client.handle_stream(now, bytes),
            Client::Away(_) => {}
        }
        self.settle(now, member);
    }

    /// The member's connection ended, or could not be opened.
    pub fn handle_closed(&mut self, now: Instant, member: usize) {
        if let Client::Stream(client) = &mut self.members[member].client {
            client.handle_closed(now);
        }
        self.members[member].link = Link::Down;
        self.members[member].away_until = Some(now + RECONNECT_PAUSE);
        self.drain_events(now, member);
        self.put_away(member);
        self.settle(now, member);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.over |= self.no_more(now);
        for index in 0..self.members.len() {
            let starts = self.wakes(index).is_some_and(|at| at <= now);
            match &mut self.members[index].client {
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
        let clients = self.members.iter().filter_map(|m| match &m.client {
            Client::Datagram(client) => client.poll_timeout(),
            Client::Stream(client) => client.poll_timeout(),
            Client::Away(_) => None,
        });
        let starts = (0..self.members.len()).filter_map(|index| self.wakes(index));
        let begun = self.next_op - self.first_op;
        let limit = (!self.over && begun < self.plan.ops).then(|| self.began + self.plan.limit);
        clients.chain(starts).chain(self.next_open_start()).chain(limit).min()
    }

    fn no_more(&self, now: Instant) -> bool {
        let begun = self.next_op - self.first_op;
        let over = match self.plan.pace {
            Pace::Closed { .. } => now >= self.began + self.plan.limit,
            // A request that was meant to start in time is asked, however late the loop is:
            // else a stall would take its own victims out of the count.
            Pace::Open { interval } => times(interval, begun) >= self.plan.limit,
        };
        over || begun >= self.plan.ops
    }

    /// When the member's next request is due, if it waits for its first turn of a closed loop or
    /// for a new connection.
    fn wakes(&self, index: usize) -> Option<Instant> {
        let member = &self.members[index];
        let more = !self.over && self.next_op - self.first_op < self.plan.ops;
        let closed = more && matches!(self.plan.pace, Pace::Closed { .. });
        let away = member.away_until.filter(|_| closed || !member.waiting.is_empty());
        let first = (closed && member.stale).then_some(member.not_before);
        if away.is_some() { away } else { first }
    }

    fn next_open_start(&self) -> Option<Instant> {
        let Pace::Open { interval } = self.plan.pace else { return None };
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
            let index = usize::try_from(call.op).unwrap_or(0) % self.members.len();
            self.members[index].waiting.push_back(call);
            self.settle(now, index);
        }
    }

    fn take_op(&mut self, intended: Instant) -> Call {
        let op = self.next_op;
        self.next_op += 1;
        Call { op, operation: self.workload.request(op).operation(), intended }
    }

    /// Brings a member to rest: events out, new calls in, bytes out.
    fn settle(&mut self, now: Instant, index: usize) {
        self.drain_events(now, index);
        self.start_calls(now, index);
        self.drain_transmits(now, index);
    }

    fn drain_events(&mut self, now: Instant, index: usize) {
        let member = &mut self.members[index];
        loop {
            let event = match &mut member.client {
                Client::Datagram(client) => client.poll_event(),
                Client::Stream(client) => client.poll_event(),
                Client::Away(_) => None,
            };
            match event {
                Some(ClientEvent::Finished(finished)) => {
                    let client = identity(&member.client).lease().unwrap_or(0);
                    if let Some(call) = member.calls.remove(&finished.seq) {
                        self.samples.push(sample(index, client, call, &finished));
                    }
                }
                Some(ClientEvent::Closed(_)) => {
                    member.link = Link::Down;
                    member.away_until = Some(now + RECONNECT_PAUSE);
                    self.actions.push_back(Action::Close { member: index });
                }
                Some(ClientEvent::Ready | ClientEvent::Late { .. }) => {}
                None => break,
            }
        }
        let per_request = matches!(self.carrier, Carrier::StreamPerRequest(_));
        if per_request && member.calls.is_empty() && member.link != Link::Down {
            member.link = Link::Down;
            self.actions.push_back(Action::Close { member: index });
        }
        if self.members[index].link == Link::Down {
            self.put_away(index);
        }
    }

    /// Keeps the identity of a stream client whose connection is over.
    fn put_away(&mut self, index: usize) {
        let member = &mut self.members[index];
        if let Client::Stream(client) = &member.client {
            member.client = Client::Away(client.identity().clone());
        }
    }

    fn room(&self, index: usize) -> bool {
        let in_flight = self.members[index].calls.len();
        match (self.carrier, self.plan.pace) {
            (Carrier::StreamPerRequest(_), _) => in_flight == 0,
            (_, Pace::Closed { depth }) => in_flight < depth as usize,
            (Carrier::Datagrams(config), Pace::Open { .. }) => in_flight < config.max_in_flight,
            (Carrier::Stream(config), Pace::Open { .. }) => in_flight < config.max_in_flight,
        }
    }

    fn start_calls(&mut self, now: Instant, index: usize) {
        let member = &mut self.members[index];
        if member.away_until.is_some_and(|until| until > now) {
            return;
        }
        member.away_until = None;
        while self.room(index) {
            let Some(call) = self.next_call(now, index) else { break };
            if matches!(self.carrier, Carrier::StreamPerRequest(_)) {
                self.start_connection_for(now, index);
            } else {
                self.start_connection(now, index);
            }
            let request = self.workload.request(call.op);
            let member = &mut self.members[index];
            let started = match &mut member.client {
                Client::Datagram(client) => client.call(now, request),
                Client::Stream(client) => client.call(now, request),
                Client::Away(_) => break,
            };
            match started {
                Ok(seq) => {
                    member.calls.insert(seq, call);
                }
                Err(_) => {
                    member.waiting.push_front(call);
                    break;
                }
            }
        }
    }

    fn next_call(&mut self, now: Instant, index: usize) -> Option<Call> {
        if let Some(call) = self.members[index].waiting.pop_front() {
            return Some(call);
        }
        let Pace::Closed { .. } = self.plan.pace else { return None };
        let member = &mut self.members[index];
        if now < member.not_before {
            return None;
        }
        member.stale = false;
        if self.no_more(now) {
            return None;
        }
        Some(self.take_op(now))
    }

    /// Opens what lasts: a datagram client's lease, a stream client's connection.
    fn start_connection(&mut self, now: Instant, index: usize) {
        match self.carrier {
            Carrier::Datagrams(_) => {
                let member = &mut self.members[index];
                if let (Client::Datagram(client), Link::Down) = (&mut member.client, member.link) {
                    client.connect(now);
                    member.link = Link::Up;
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
        let member = &mut self.members[index];
        if let Client::Away(identity) = &member.client {
            member.client =
                Client::Stream(Box::new(StreamClient::new(config, identity.clone(), now)));
            member.link = Link::Opening { since: now };
            self.actions.push_back(Action::Open { member: index });
        }
    }

    fn drain_transmits(&mut self, now: Instant, index: usize) {
        let member = &mut self.members[index];
        loop {
            let bytes = match (&mut member.client, member.link) {
                (Client::Datagram(client), _) => client.poll_transmit(now),
                (Client::Stream(client), Link::Up) => client.poll_transmit(now),
                _ => None,
            };
            match bytes {
                Some(bytes) => self.actions.push_back(Action::Send { member: index, bytes }),
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
        Client::Away(identity) => identity,
    }
}

fn sample(member: usize, client: u64, call: Call, finished: &Finished) -> Sample {
    Sample {
        op: call.op,
        member,
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

    fn fleet() -> Fleet {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        Fleet::new(Carrier::Datagrams(DatagramClientConfig::default()), workload, 2, 1)
    }

    #[test]
    fn an_open_loop_asks_everything_that_was_meant_to_start_however_late_it_looks() {
        let mut fleet = fleet();
        let pace = Pace::Open { interval: SECOND / 10 };
        let plan = LoadPlan { pace, ops: 1_000, limit: SECOND, spread: Duration::ZERO };
        fleet.begin(Instant::ZERO, plan);
        // The loop stalls until long after the limit.
        let late = Instant::ZERO + 3 * SECOND;
        assert!(!fleet.is_done(late));
        fleet.handle_timeout(late);
        // Nobody answers: every one of them ends at its deadline, counted from its own start.
        let mut now = late;
        while !fleet.is_done(now) {
            while fleet.poll_action().is_some() {}
            now = fleet.poll_timeout().unwrap().max(now + Duration::from_millis(1));
            fleet.handle_timeout(now);
        }
        assert_eq!(fleet.samples().len(), 10);
        let intended: Vec<Instant> = fleet.samples().iter().map(|s| s.intended).collect();
        assert!(intended.contains(&Instant::ZERO), "{intended:?}");
        assert!(fleet.samples().iter().all(|s| s.latency() > 2 * SECOND));
    }

    #[test]
    fn a_fleet_without_a_server_does_not_go_in_a_circle() {
        let workload = Workload { seed: 1, accounts: 2, only: None };
        let carrier = Carrier::Stream(StreamClientConfig::default());
        let mut fleet = Fleet::new(carrier, workload, 1, 1);
        let pace = Pace::Closed { depth: 1 };
        let plan = LoadPlan { pace, ops: 1_000_000, limit: SECOND, spread: Duration::ZERO };
        let mut now = Instant::ZERO;
        fleet.begin(now, plan);
        let mut opened = 0;
        while !fleet.is_done(now) {
            while let Some(action) = fleet.poll_action() {
                if let Action::Open { member } = action {
                    opened += 1;
                    fleet.handle_closed(now, member);
                }
            }
            now = fleet.poll_timeout().unwrap_or(now).max(now + Duration::from_millis(1));
            fleet.handle_timeout(now);
        }
        assert!((5..=12).contains(&opened), "one attempt a pause, not {opened}");
    }
}
