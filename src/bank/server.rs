//! The server core: leases, duplicate detection, dispatch, and replies to datagrams.
//! A reply is never longer than the datagram it answers (no amplification).

use super::client::Key;
use super::codec::{
    self, Answer, Hello, STATUS_STORAGE_FAILED, WELCOME_LEN, Welcome, encode_answer, encode_welcome,
};
use super::frame::{
    FLAG_NO_DEDUP, Foreign, Frame, FrameError, HEADER_LEN, Header, Kind, MAX_DATAGRAM, MAX_FRAME,
    REFUSAL_LEN, TAG_PAD, VERSION, WINDOW, at_most_u32, begin, finish, wire_len,
};
use super::ledger::{self, Decision};
use super::message::{Operation, Refusal, Reply};
use super::storage::{Completion, Completions, Entry, Lease, Storage, StorageError, Transaction};
use super::violation::Violation;
use crate::measure::Instant;
use crate::measure::draw::keyed;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

/// Duplicate detection: which outcomes the server remembers.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Dedup {
    /// None: a repeated request is applied again
    Off,
    /// Outcomes, apart from the ledger: forgotten when the server ends
    Volatile,
    /// Outcomes, committed with the ledger: they last as long as the ledger
    Durable,
}

/// Server configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerConfig {
    /// Duplicate detection.
    pub dedup: Dedup,
    /// Lease time without traffic from the client. Java RMI leases last ten minutes by default.
    pub lease: Duration,
    /// Maximum leases: 1,024 with 512 records of about 90 bytes are 47 MB at most.
    pub max_leases: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { dedup: Dedup::Durable, lease: Duration::from_secs(600), max_leases: 1_024 }
    }
}

/// Maximum draws for a lease number that is neither 0 nor taken: eight collisions in 2^64 do not
/// occur.
const LEASE_DRAWS_MAX: u64 = 8;

/// Maximum leases ended by one call of `handle_timeout`: bounds its time.
const EXPIRIES_PER_TIMEOUT_MAX: usize = 256;

/// Server counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Datagrams received.
    pub datagrams: u64,
    /// Valid frames received, on both carriers.
    pub frames: u64,
    /// Requests processed, by operation.
    pub accepted: BTreeMap<&'static str, u64>,
    /// Refusals sent, by reason; a repeated one counts as a duplicate instead.
    pub refused: BTreeMap<&'static str, u64>,
    /// Unanswered input, by violation.
    pub discarded: BTreeMap<&'static str, u64>,
    /// Requests answered from recorded outcomes.
    pub duplicates: u64,
    /// Ledger entries written.
    pub applied: u64,
    /// Answers of the indefinite class: storage failures.
    pub indefinite: u64,
    /// Replies withheld because they exceeded the size of the requesting datagram.
    pub withheld: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases expired.
    pub leases_expired: u64,
}

/// The server's state of a client.
#[derive(Clone, Copy, Debug)]
struct Client {
    nonce: u64,
    acked: u64,
    /// Whether `acked` is not yet in the store.
    ack_pending: bool,
    max_seen: u64,
    last_heard: Instant,
    /// It made a request: it got the WELCOME, so its address is not forged.
    proved: bool,
}

/// The bank server, for any number of sessions and any store.
#[derive(Debug)]
pub struct Server<S> {
    config: ServerConfig,
    store: S,
    seed: u64,
    /// See [`Welcome::epoch`].
    epoch: u32,
    /// Where lease numbers come from; the seed, if `None`.
    draw: Option<fn() -> Option<u64>>,
    clients: BTreeMap<u64, Client>,
    by_nonce: BTreeMap<u64, u64>,
    /// When to check each lease; it may have been renewed since.
    expiries: BTreeSet<(Instant, u64)>,
    /// Leases without a request, oldest first; some have one by now.
    unproved: VecDeque<u64>,
    /// Leases from the store; their lease time starts with the first event.
    unstamped: Vec<u64>,
    table: Completions,
    counters: Counters,
    out: BytesMut,
    draining: bool,
}

/// The result of a request.
enum Said {
    /// A new answer.
    Fresh(Answer),
    /// A recorded outcome.
    Again(Completion),
    /// No answer: the recorded reply exceeds the limit of this datagram.
    Nothing,
}

const fn refused(refusal: Refusal) -> Said {
    Said::Fresh(Answer::Refused(refusal))
}

impl<S: Storage> Server<S> {
    /// A server over a store; `seed` draws its lease numbers.
    ///
    /// Leases in the store stay valid: their time starts with the first event. A store whose leases
    /// cannot be read counts as having none, so their holders get [`Refusal::LeaseExpired`].
    pub fn new(config: ServerConfig, store: S, seed: u64) -> Self {
        let leases = store.leases().unwrap_or_default();
        let mut server = Self {
            config,
            epoch: epoch(&config, &store, keyed(seed, store.commit_index().0)),
            store,
            seed,
            draw: None,
            clients: BTreeMap::new(),
            by_nonce: BTreeMap::new(),
            expiries: BTreeSet::new(),
            unproved: VecDeque::new(),
            unstamped: Vec::with_capacity(leases.len()),
            table: Completions::default(),
            counters: Counters::default(),
            out: BytesMut::new(),
            draining: false,
        };
        for lease in leases {
            server.unstamped.push(lease.client);
            server.remember(lease, Instant::ZERO);
        }
        server
    }

    /// The same with lease numbers from this source, which must be unpredictable; every client
    /// that knows one of a seed can compute the others.
    pub fn drawing_leases(self, draw: fn() -> Option<u64>) -> Self {
        let epoch = draw().map_or(self.epoch, |drawn| epoch(&self.config, &self.store, drawn));
        Self { draw: Some(draw), epoch, ..self }
    }

    /// The configuration.
    pub const fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The store.
    pub const fn storage(&self) -> &S {
        &self.store
    }

    /// The store, to flush it.
    pub const fn storage_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store without the server, as a restart would find it.
    pub fn into_storage(self) -> S {
        self.store
    }

    /// Refuses every new operation with [`Refusal::Draining`] from now on; recorded outcomes are
    /// still repeated.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Handles one datagram that arrived now; returns the reply, never longer than the datagram.
    pub fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) -> Option<Bytes> {
        self.handle_arrival(now, now, bytes)
    }

    /// The same for a datagram that waited since `arrived`, from which its deadline counts.
    pub fn handle_arrival(
        &mut self,
        now: Instant,
        arrived: Instant,
        bytes: &[u8],
    ) -> Option<Bytes> {
        self.counters.datagrams += 1;
        if bytes.len() < REFUSAL_LEN {
            self.discard(Violation::TooShort);
            return None;
        }
        if bytes.len() > MAX_DATAGRAM {
            self.discard(Violation::Length);
            return None;
        }
        // The buffer is released when the last reply made from it is dropped.
        let mut out = mem::take(&mut self.out);
        out.reserve(bytes.len());
        let taken = match Frame::parse(bytes) {
            Ok(frame) => self.handle_frame(now, arrived, &frame, bytes.len(), &mut out),
            Err(FrameError::Version(foreign)) => self.handle_foreign(foreign, &mut out),
            Err(FrameError::Garbage(violation, _)) => Err(violation),
        };
        if let Err(violation) = taken {
            self.discard(violation);
        }
        if out.len() > bytes.len() {
            self.counters.withheld += 1;
            out.clear();
        }
        let reply = (!out.is_empty()).then(|| out.split().freeze());
        self.out = out;
        reply
    }

    /// Handles a frame of this version; appends the reply, of at most `room` bytes, to `out`.
    ///
    /// `arrived`: arrival of its bytes, from which its deadline counts.
    pub(crate) fn handle_frame(
        &mut self,
        now: Instant,
        arrived: Instant,
        frame: &Frame<'_>,
        room: usize,
        out: &mut BytesMut,
    ) -> Result<(), Violation> {
        self.stamp(now);
        match frame.header().kind {
            Kind::Hello => self.hello(now, frame, room, out),
            Kind::Request => self.request(now, arrived, frame, room, out),
            Kind::Welcome | Kind::Response | Kind::GoAway => {
                return Err(Violation::UnexpectedKind);
            }
        }
        self.counters.frames += 1;
        Ok(())
    }

    /// Answers a frame of another version in the fields that all versions share.
    pub(crate) fn handle_foreign(
        &mut self,
        foreign: Foreign,
        out: &mut BytesMut,
    ) -> Result<(), Violation> {
        let kind = match Kind::from_byte(foreign.kind) {
            Some(Kind::Hello) => Kind::Welcome,
            Some(Kind::Request) => Kind::Response,
            // A reply is never answered; otherwise two servers could loop.
            _ => return Err(Violation::Version),
        };
        let Foreign { client, seq, attempt, .. } = foreign;
        let header = Header { client, seq, attempt, ..Header::of(kind) };
        let refusal = Refusal::UnsupportedVersion { min: VERSION, max: VERSION };
        self.refuse(&header, refusal, out);
        Ok(())
    }

    pub(crate) fn discard(&mut self, violation: Violation) {
        *self.counters.discarded.entry(violation.name()).or_insert(0) += 1;
    }

    /// Ends expired leases.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.stamp(now);
        for _ in 0..EXPIRIES_PER_TIMEOUT_MAX {
            let Some((at, lease)) = self.expiries.first().copied().filter(|(at, _)| *at <= now)
            else {
                return;
            };
            self.expiries.remove(&(at, lease));
            let Some(client) = self.clients.get(&lease).copied() else { continue };
            let until = client.last_heard + self.config.lease;
            if until > now {
                self.expiries.insert((until, lease));
                continue;
            }
            let expire = Transaction { expire: Some(lease), ..Transaction::default() };
            if self.store.commit(expire).is_err() {
                // The client keeps its lease; check again after another lease time.
                self.expiries.insert((now + self.config.lease, lease));
                continue;
            }
            self.forget(lease);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    fn stamp(&mut self, now: Instant) {
        for lease in mem::take(&mut self.unstamped) {
            if let Some(client) = self.clients.get_mut(&lease) {
                client.last_heard = now;
                self.expiries.insert((now + self.config.lease, lease));
            }
        }
    }

    fn remember(&mut self, lease: Lease, now: Instant) {
        // A volatile server loses acknowledgements at a restart.
        let acked = if self.config.dedup == Dedup::Durable { lease.acked } else { 0 };
        let client = Client {
            nonce: lease.nonce,
            acked,
            ack_pending: false,
            // Unknown after a restart: look up every key until a higher one is seen.
            max_seen: u64::MAX,
            last_heard: now,
            proved: true,
        };
        self.clients.insert(lease.client, client);
        self.by_nonce.insert(lease.nonce, lease.client);
    }

    fn hello(&mut self, now: Instant, frame: &Frame<'_>, room: usize, out: &mut BytesMut) {
        let header = Header { client: frame.header().client, ..Header::of(Kind::Welcome) };
        match self.admit(now, frame, room) {
            Err(refusal) => self.refuse(&header, refusal, out),
            Ok(lease) => {
                let welcome = Welcome {
                    version: VERSION,
                    dedup: self.promise() as u8,
                    window: u16::try_from(WINDOW).expect("invariant: 512 fits"),
                    max_frame: wire_len(MAX_FRAME),
                    lease_ms: at_most_u32(self.config.lease.as_millis()),
                    epoch: self.epoch,
                    features: 0,
                };
                encode_welcome(out, lease, &welcome);
            }
        }
    }

    /// The duplicate detection that the store can keep.
    fn promise(&self) -> Dedup {
        match self.config.dedup {
            Dedup::Durable if !self.store.is_durable() => Dedup::Volatile,
            kept => kept,
        }
    }

    /// The lease for a HELLO: the one it names, the one of its nonce, or a new one.
    fn admit(&mut self, now: Instant, frame: &Frame<'_>, room: usize) -> Result<u64, Refusal> {
        if let Some(tag) = frame.unknown_critical() {
            return Err(Refusal::UnsupportedField { tag });
        }
        let hello: Hello = codec::decode_hello(frame).map_err(|_| Refusal::Malformed)?;
        if !(hello.min_version..=hello.max_version).contains(&VERSION) {
            return Err(Refusal::UnsupportedVersion { min: VERSION, max: VERSION });
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        if room < WELCOME_LEN {
            return Err(Refusal::ReplyTooLarge { needed: wire_len(WELCOME_LEN) });
        }
        let named = frame.header().client;
        let same = self.clients.get(&named).is_some_and(|client| client.nonce == hello.nonce);
        let known = if same { Some(named) } else { self.by_nonce.get(&hello.nonce).copied() };
        if let Some(lease) = known {
            if let Some(client) = self.clients.get_mut(&lease) {
                client.last_heard = now;
            }
            return Ok(lease);
        }
        self.grant(now, hello.nonce)
    }

    fn grant(&mut self, now: Instant, nonce: u64) -> Result<u64, Refusal> {
        let full = self.clients.len() >= self.config.max_leases;
        let expire = if full { Some(self.unproved_lease().ok_or(Refusal::Busy)?) } else { None };
        let base = self.store.leases_granted().wrapping_mul(LEASE_DRAWS_MAX);
        let client = (0..LEASE_DRAWS_MAX)
            .filter_map(|draw| match self.draw {
                Some(source) => source(),
                None => Some(keyed(self.seed, base.wrapping_add(draw))),
            })
            .find(|lease| *lease != 0 && !self.clients.contains_key(lease))
            .ok_or(Refusal::Busy)?;
        let lease = Lease { client, nonce, acked: 0 };
        let grant = Transaction { grant: Some(lease), expire, ..Transaction::default() };
        self.store.commit(grant).map_err(|_| Refusal::Busy)?;
        if let Some(expired) = expire {
            self.forget(expired);
        }
        self.remember(lease, now);
        if let Some(state) = self.clients.get_mut(&client) {
            (state.max_seen, state.proved) = (0, false);
        }
        self.unproved.push_back(client);
        if self.unproved.len() > 2 * self.config.max_leases {
            let clients = &self.clients;
            self.unproved.retain(|lease| clients.get(lease).is_some_and(|client| !client.proved));
        }
        self.expiries.insert((now + self.config.lease, client));
        self.counters.leases_granted += 1;
        Ok(client)
    }

    /// The oldest lease that was never used: a HELLO with a forged address gets one, too.
    fn unproved_lease(&mut self) -> Option<u64> {
        while let Some(lease) = self.unproved.pop_front() {
            if self.clients.get(&lease).is_some_and(|client| !client.proved) {
                return Some(lease);
            }
        }
        None
    }

    /// Drops the state of a lease that the store no longer has.
    fn forget(&mut self, lease: u64) {
        if let Some(client) = self.clients.remove(&lease) {
            self.by_nonce.remove(&client.nonce);
        }
        self.table.forget_upto(Key { client: lease, seq: u64::MAX });
        self.counters.leases_expired += 1;
    }

    fn refuse(&mut self, header: &Header, refusal: Refusal, out: &mut BytesMut) {
        *self.counters.refused.entry(refusal.name()).or_insert(0) += 1;
        encode_answer(out, header, &Answer::Refused(refusal));
    }

    fn request(
        &mut self,
        now: Instant,
        arrived: Instant,
        frame: &Frame<'_>,
        room: usize,
        out: &mut BytesMut,
    ) {
        let &Header { op, client, seq, attempt, .. } = frame.header();
        let header = Header { op, client, seq, attempt, ..Header::of(Kind::Response) };
        let said = self.answer(now, arrived, frame, room).unwrap_or_else(|_| {
            self.counters.indefinite += 1;
            Said::Fresh(Answer::Indefinite { status: STATUS_STORAGE_FAILED })
        });
        match said {
            Said::Fresh(Answer::Refused(refusal)) => self.refuse(&header, refusal, out),
            Said::Fresh(answer) => encode_answer(out, &header, &answer),
            Said::Again(completion) => {
                self.counters.duplicates += 1;
                repeat(out, &header, &completion);
            }
            Said::Nothing => self.counters.withheld += 1,
        }
    }

    /// Duplicate check (RIFL, SOSP 2015), decision, commit.
    fn answer(
        &mut self,
        now: Instant,
        arrived: Instant,
        frame: &Frame<'_>,
        room: usize,
    ) -> Result<Said, StorageError> {
        let header = frame.header();
        let key = Key { client: header.client, seq: header.seq };
        if !self.heard(now, key, header.ack_upto) {
            return Ok(refused(Refusal::LeaseExpired));
        }
        if key.seq == 0 || header.ack_upto >= key.seq {
            return Ok(refused(Refusal::Malformed));
        }
        let request = codec::decode_request(frame);
        // Reads may be repeated: they use no key.
        let keyed = request.map_or(true, |request| request.operation().changes_the_ledger());
        let checked = keyed && self.config.dedup != Dedup::Off && header.flags & FLAG_NO_DEDUP == 0;
        if checked && let Some(said) = self.earlier(key, frame, room)? {
            return Ok(said);
        }
        let allowed = Duration::from_micros(header.deadline_us.into());
        let late = header.deadline_us != 0 && now.since(arrived) >= allowed && now > arrived;
        let decision = match request {
            Err(refusal) => Decision::Refuse(refusal),
            Ok(_) if self.draining => Decision::Refuse(Refusal::Draining),
            Ok(_) if late => Decision::Refuse(Refusal::DeadlinePassed),
            Ok(request) => ledger::decide(&self.store, key, &request, room)?,
        };
        if let Some(operation) = Operation::from_byte(header.op) {
            *self.counters.accepted.entry(operation.name()).or_insert(0) += 1;
        }
        let completion = |status, block| Completion {
            fingerprint: fingerprint(frame),
            op: header.op,
            status,
            block,
        };
        match decision {
            Decision::Read(reply) => Ok(Said::Fresh(Answer::Done(reply))),
            Decision::Refuse(refusal) => {
                if checked {
                    let (status, detail) = codec::status_of(refusal);
                    self.record(key, completion(status, [detail, 0]), None)?;
                }
                Ok(refused(refusal))
            }
            Decision::Apply(entry, reply) => {
                let block = match &reply {
                    Reply::Deposited { balance, entry } | Reply::Transferred { balance, entry } => {
                        [balance.word(), *entry]
                    }
                    _ => [0, 0],
                };
                if checked {
                    self.record(key, completion(0, block), Some(entry))?;
                } else {
                    self.commit(key.client, Some(entry), None)?;
                }
                self.counters.applied += 1;
                Ok(Said::Fresh(Answer::Done(reply)))
            }
        }
    }

    /// Renews a lease and processes an acknowledgement; false if the lease does not exist.
    fn heard(&mut self, now: Instant, key: Key, ack_upto: u64) -> bool {
        let Some(client) = self.clients.get_mut(&key.client) else { return false };
        client.last_heard = now;
        client.proved = true;
        if ack_upto > client.acked && ack_upto < key.seq {
            client.acked = ack_upto;
            client.ack_pending = true;
            self.table.forget_upto(Key { client: key.client, seq: ack_upto });
        }
        true
    }

    /// The result implied by an earlier attempt under this key; `None` if there was none.
    fn earlier(
        &mut self,
        key: Key,
        frame: &Frame<'_>,
        room: usize,
    ) -> Result<Option<Said>, StorageError> {
        let Some(client) = self.clients.get_mut(&key.client) else {
            return Ok(Some(refused(Refusal::LeaseExpired)));
        };
        if key.seq <= client.acked {
            return Ok(Some(refused(Refusal::StaleKey)));
        }
        if key.seq - client.acked > WINDOW {
            return Ok(Some(refused(Refusal::OutsideWindow)));
        }
        if key.seq > client.max_seen {
            client.max_seen = key.seq;
            return Ok(None);
        }
        let found = match self.config.dedup {
            Dedup::Durable => self.store.completion(key)?,
            Dedup::Volatile | Dedup::Off => self.table.get(key),
        };
        Ok(found.map(|found| {
            if found.fingerprint != fingerprint(frame) {
                refused(Refusal::KeyReused)
            } else if HEADER_LEN + found.block_len() > room {
                // Any other answer would contradict the recorded one.
                Said::Nothing
            } else {
                Said::Again(found)
            }
        }))
    }

    fn record(
        &mut self,
        key: Key,
        completion: Completion,
        entry: Option<Entry>,
    ) -> Result<(), StorageError> {
        if self.config.dedup == Dedup::Durable {
            return self.commit(key.client, entry, Some((key, completion)));
        }
        if entry.is_some() {
            self.commit(key.client, entry, None)?;
        }
        self.table.insert(key, completion);
        Ok(())
    }

    /// Commits entry, completion and acknowledgement in one transaction.
    fn commit(
        &mut self,
        client: u64,
        entry: Option<Entry>,
        completion: Option<(Key, Completion)>,
    ) -> Result<(), StorageError> {
        let state = self.clients.get_mut(&client);
        let pending = state.filter(|state| state.ack_pending);
        let acknowledged = pending.as_ref().map(|state| Key { client, seq: state.acked });
        let transaction = Transaction { entry, completion, acknowledged, ..Transaction::default() };
        self.store.commit(transaction)?;
        if let Some(state) = pending {
            state.ack_pending = false;
        }
        Ok(())
    }
}

/// The epoch of a server that starts: 0 if it finds every lease and outcome again.
fn epoch(config: &ServerConfig, store: &impl Storage, drawn: u64) -> u32 {
    let keeps = config.dedup == Dedup::Durable && store.is_durable();
    let [a, b, c, d, ..] = drawn.to_le_bytes();
    if keeps { 0 } else { u32::from_le_bytes([a, b, c, d]).max(1) }
}

/// Writes a recorded outcome: the original bytes except for the echoed attempt.
fn repeat(out: &mut BytesMut, header: &Header, completion: &Completion) {
    let Completion { op, status, block: [first, second], .. } = *completion;
    let header = Header { op, status, ..*header };
    let start = match status {
        0 => begin(out, &header, [first, second]),
        _ => begin(out, &header, [first]),
    };
    finish(out, start);
}

/// Hash of a request's operation, block and fields, excluding padding, attempt and deadline.
fn fingerprint(frame: &Frame<'_>) -> u64 {
    let fold = |hash: u64, bytes: &[u8]| {
        let hash = keyed(hash, bytes.len() as u64);
        bytes.chunks(8).fold(hash, |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            keyed(hash, u64::from_le_bytes(word))
        })
    };
    let hash = fold(frame.header().op.into(), frame.block());
    frame
        .fields()
        .filter(|(tag, _)| *tag != TAG_PAD)
        .fold(hash, |hash, (tag, content)| fold(keyed(hash, tag.into()), content))
}
