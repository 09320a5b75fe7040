//! State shared by both clients: identity, keys, outcomes, and open calls.
//! A refusal counts as `Unknown` if an earlier attempt may have been applied.

use super::codec::{self, Answer};
use super::frame::{FLAG_NO_DEDUP, Frame, Header, Kind, WINDOW, at_most_u32};
use super::message::{Refusal, Reply, Request};
use super::violation::Violation;
use crate::measure::{Instant, nanos};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// Idempotency key: identifies an operation across its attempts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Key {
    /// The client's lease.
    pub client: u64,
    /// The client's sequence number of the operation, from 1.
    pub seq: u64,
}

/// Delivery guarantee.
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
pub enum Delivery {
    /// Ask once
    AtMostOnce,
    /// Ask until an answer comes; the server may apply the request twice
    AtLeastOnce,
    /// Ask until an answer comes, under one key, which the server applies once
    ExactlyOnce,
}

/// The final outcome of an operation, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Applied; the reply.
    Done(Reply),
    /// Not applied, and never will be.
    Refused(Refusal),
    /// Possibly applied, now or later; retry with the key to find out.
    Unknown(Key),
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// Sequence number of the call.
    pub seq: u64,
    /// Its outcome.
    pub outcome: Outcome,
    /// When the call was made.
    pub started: Instant,
    /// When the outcome was known.
    pub finished: Instant,
    /// Attempts sent.
    pub attempts: u16,
    /// The answered attempt; `None` if the client gave up or no longer remembers it.
    pub answered: Option<Answered>,
    /// The server no longer knows the lease of the key, so it cannot tell the outcome.
    pub forgotten: bool,
}

/// The attempt echoed by a reply; the round trip is `finished - sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// Its number, from 1.
    pub attempt: u16,
    /// When it was sent.
    pub sent: Instant,
}

/// An event for the client's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server granted or confirmed a lease: calls are sent.
    Ready,
    /// A call has ended.
    Finished(Finished),
    /// A reply came for a call that had ended.
    Late {
        /// Sequence number of the call.
        seq: u64,
        /// The echoed attempt.
        attempt: u16,
    },
    /// The client has ended; open calls ended before this.
    Closed(CloseReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The peer closed or reset the connection.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// No HELLO, or no answer to it, in time.
    #[error("no HELLO within its deadline")]
    HelloDeadline,
    /// A frame was not completed in time.
    #[error("a frame was begun and not completed in time")]
    FrameDeadline,
    /// The session was idle too long.
    #[error("no request came for too long")]
    IdleTimeout,
    /// The peer violated the protocol.
    #[error("the peer sent what is not the protocol: {0}")]
    Protocol(Violation),
    /// The server refused the HELLO.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The server is shutting down, and every open call has ended.
    #[error("the server is shutting down")]
    Drained,
    /// The server needed the connection's place for another client.
    #[error("the server had no place left for this connection")]
    Evicted,
    /// The peer sent more than the session buffers.
    #[error("the peer sent more than the session buffers")]
    Overrun,
}

/// Why a call was not made; it has no key and is never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Too many calls are open.
    #[error("too many calls are open; wait for one to end")]
    TooManyInFlight,
    /// The oldest open call is [`WINDOW`] numbers back.
    #[error("the oldest open call is too far back; wait for it to end")]
    WindowFull,
    /// The session has ended or is draining.
    #[error("the session has ended; connect again")]
    Closed,
    /// The key is open, was acknowledged, or belongs to another lease.
    #[error("this key cannot be used again")]
    KeyGone,
}

/// The client's identity: it survives connections, and its key counter never decreases.
#[derive(Clone, Debug)]
pub struct Identity {
    nonce: u64,
    lease: Option<u64>,
    deduplicates: bool,
    next_seq: u64,
    ack_upto: u64,
    answered: BTreeSet<u64>,
}

impl Identity {
    /// An identity without a lease. `nonce` distinguishes clients: draw it at random.
    pub const fn new(nonce: u64) -> Self {
        Self {
            nonce,
            lease: None,
            deduplicates: false,
            next_seq: 1,
            ack_upto: 0,
            answered: BTreeSet::new(),
        }
    }

    /// An identity that has used the numbers below `next_seq` of a lease, perhaps in another
    /// process; their keys can be repeated.
    pub fn resuming(nonce: u64, lease: u64, next_seq: u64) -> Self {
        Self { lease: Some(lease), deduplicates: true, next_seq, ..Self::new(nonce) }
    }

    /// The nonce of the HELLO.
    pub const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The lease, once granted.
    pub const fn lease(&self) -> Option<u64> {
        self.lease
    }

    /// The sequence number of the next call.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// All calls up to this number are answered or given up.
    pub const fn ack_upto(&self) -> u64 {
        self.ack_upto
    }

    pub(crate) const fn welcome(&mut self, lease: u64, deduplicates: bool) {
        self.lease = Some(lease);
        self.deduplicates = deduplicates;
    }

    pub(crate) const fn lease_lost(&mut self) {
        self.lease = None;
    }

    /// The outcome of `seq` is known: the server may discard its record.
    fn answered(&mut self, seq: u64) {
        if seq > self.ack_upto {
            self.answered.insert(seq);
            self.advance();
        }
    }

    fn advance(&mut self) {
        while self.answered.first() == Some(&(self.ack_upto + 1)) {
            self.answered.pop_first();
            self.ack_upto += 1;
        }
    }

    /// The next number; `None` if the window is full of open calls.
    ///
    /// A call that ended unknown keeps its key until the window needs the slot.
    fn take_seq(&mut self, is_open: impl Fn(u64) -> bool) -> Option<u64> {
        let seq = self.next_seq;
        if seq > self.ack_upto + WINDOW {
            if is_open(self.ack_upto + 1) {
                return None;
            }
            self.ack_upto += 1;
            self.advance();
        }
        self.next_seq += 1;
        Some(seq)
    }
}

/// Attempts whose send time is kept: with doubling timers, 8 span 255 first timers.
const ATTEMPTS_REMEMBERED: usize = 8;

/// A call whose outcome is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// The lease it was first sent under, part of its key.
    client: Option<u64>,
    started: Instant,
    pub(crate) deadline: Instant,
    /// Attempts sent before this call was opened, by an earlier call with the same key.
    before: u16,
    /// The number of the last attempt.
    pub(crate) attempt: u16,
    sent: [Instant; ATTEMPTS_REMEMBERED],
    timer: Instant,
}

impl Call {
    pub(crate) const fn was_sent(&self) -> bool {
        self.attempt > self.before
    }

    pub(crate) const fn attempts(&self) -> u16 {
        self.attempt - self.before
    }

    fn answered(&self, attempt: u16) -> Option<Answered> {
        let remembered = attempt > self.before
            && attempt <= self.attempt
            && usize::from(self.attempt - attempt) < ATTEMPTS_REMEMBERED;
        remembered.then(|| Answered {
            attempt,
            sent: self.sent[usize::from(attempt) % ATTEMPTS_REMEMBERED],
        })
    }
}

/// The effect of a RESPONSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// A call ended; the round trip if known, and the number of spurious retries.
    Ended { rtt: Option<Duration>, spurious: u16, lease_lost: bool },
    /// The server does not know the outcome; the call stays open.
    Indefinite,
    /// The call had ended.
    Late,
    /// The key belongs to no call of this client.
    UnknownSeq,
    /// The body cannot be decoded.
    Malformed,
}

/// The calls of one client, their timers and the events for the user.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) identity: Identity,
    pub(crate) events: VecDeque<ClientEvent>,
    delivery: Delivery,
    open: BTreeMap<u64, Call>,
    timers: BTreeSet<(Instant, u64)>,
}

impl Calls {
    pub(crate) const fn new(identity: Identity, delivery: Delivery) -> Self {
        Self {
            identity,
            events: VecDeque::new(),
            delivery,
            open: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Call> {
        self.open.get(&seq)
    }

    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A call whose timer has expired.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, seq)| *seq)
    }

    pub(crate) fn set_timer(&mut self, seq: u64, at: Instant) {
        if let Some(call) = self.open.get_mut(&seq) {
            let at = at.min(call.deadline);
            self.timers.remove(&(call.timer, seq));
            call.timer = at;
            self.timers.insert((at, seq));
        }
    }

    pub(crate) fn open(
        &mut self,
        now: Instant,
        request: Request,
        deadline: Duration,
    ) -> Result<u64, CallError> {
        let Self { identity, open, .. } = self;
        let seq = identity.take_seq(|seq| open.contains_key(&seq)).ok_or(CallError::WindowFull)?;
        self.insert(now, seq, None, 0, request, deadline);
        Ok(seq)
    }

    /// Reopens a call for a key whose outcome is unknown.
    pub(crate) fn reopen(
        &mut self,
        now: Instant,
        key: Key,
        attempts_before: u16,
        request: Request,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let identity = &self.identity;
        let gone = key.seq <= identity.ack_upto
            || key.seq >= identity.next_seq
            || identity.answered.contains(&key.seq)
            || self.open.contains_key(&key.seq);
        if gone {
            return Err(CallError::KeyGone);
        }
        // Counts as a second attempt: a refusal of this attempt alone is not definite.
        let before = attempts_before.max(1);
        self.insert(now, key.seq, Some(key.client), before, request, deadline);
        Ok(())
    }

    fn insert(
        &mut self,
        now: Instant,
        seq: u64,
        client: Option<u64>,
        before: u16,
        request: Request,
        deadline: Duration,
    ) {
        let deadline = now + deadline;
        let call = Call {
            request,
            client,
            started: now,
            deadline,
            before,
            attempt: before,
            sent: [now; ATTEMPTS_REMEMBERED],
            timer: deadline,
        };
        self.open.insert(seq, call);
        self.timers.insert((deadline, seq));
    }

    /// Writes the next attempt of a call; false if there is no such call or no lease yet.
    pub(crate) fn write_attempt(
        &mut self,
        now: Instant,
        seq: u64,
        datagram: bool,
        out: &mut BytesMut,
    ) -> bool {
        let (Some(call), Some(lease)) = (self.open.get_mut(&seq), self.identity.lease) else {
            return false;
        };
        let client = *call.client.get_or_insert(lease);
        // After 65,535 attempts the number stays the same.
        call.attempt = call.attempt.saturating_add(1);
        call.sent[usize::from(call.attempt) % ATTEMPTS_REMEMBERED] = now;
        let remaining = nanos(call.deadline.since(now)).div_ceil(1_000);
        let no_dedup = self.delivery == Delivery::AtLeastOnce;
        let header = Header {
            kind: Kind::Request,
            op: call.request.operation() as u8,
            flags: if no_dedup { FLAG_NO_DEDUP } else { 0 },
            status: 0,
            client,
            seq,
            ack_upto: self.identity.ack_upto.min(seq - 1),
            // 0 would mean no deadline.
            deadline_us: at_most_u32(remaining.into()).max(1),
            attempt: call.attempt,
        };
        let pad = if datagram { codec::reply_room(&call.request) } else { 0 };
        codec::encode_request(out, &header, &call.request, pad);
        true
    }

    /// Handles a RESPONSE and ends the call it answers.
    pub(crate) fn handle_response(&mut self, now: Instant, frame: &Frame<'_>) -> Matched {
        let header = frame.header();
        let Some(call) = self.open.get(&header.seq).filter(|call| call.was_sent()) else {
            if header.seq == 0 || header.seq >= self.identity.next_seq {
                return Matched::UnknownSeq;
            }
            let (seq, attempt) = (header.seq, header.attempt);
            self.events.push_back(ClientEvent::Late { seq, attempt });
            return Matched::Late;
        };
        if call.client != Some(header.client) {
            return Matched::UnknownSeq;
        }
        let Ok(answer) = codec::decode_answer(frame) else {
            return Matched::Malformed;
        };
        let answered = call.answered(header.attempt);
        let spurious = answered.map_or(0, |a| call.attempt - a.attempt);
        let (mut lease_lost, mut forgotten) = (false, false);
        let outcome = match answer {
            Answer::Done(reply) if reply.operation() == call.request.operation() => {
                Outcome::Done(reply)
            }
            Answer::Done(_) => return Matched::Malformed,
            Answer::Indefinite { .. } => return Matched::Indefinite,
            Answer::Refused(refusal) => {
                forgotten = refusal == Refusal::LeaseExpired;
                lease_lost = forgotten && self.identity.lease == Some(header.client);
                if self.is_definite(call, refusal) {
                    Outcome::Refused(refusal)
                } else {
                    Outcome::Unknown(Key { client: header.client, seq: header.seq })
                }
            }
        };
        self.finish(now, header.seq, outcome, answered, forgotten);
        Matched::Ended { rtt: answered.map(|a| now.since(a.sent)), spurious, lease_lost }
    }

    /// Whether a refusal proves that no attempt of the call was or will be applied.
    fn is_definite(&self, call: &Call, refusal: Refusal) -> bool {
        if call.attempt == 1 || !call.request.operation().changes_the_ledger() {
            return true;
        }
        let one_key = self.delivery != Delivery::AtLeastOnce && self.identity.deduplicates;
        one_key && !refusal.speaks_of_one_attempt()
    }

    /// Ends an unanswered call: refused if never sent, otherwise unknown.
    pub(crate) fn give_up(&mut self, now: Instant, seq: u64, unsent: Refusal) {
        let Some(call) = self.open.get(&seq) else { return };
        let outcome = match call.client {
            Some(client) if call.attempt > 0 => Outcome::Unknown(Key { client, seq }),
            _ => Outcome::Refused(unsent),
        };
        self.finish(now, seq, outcome, None, false);
    }

    /// Ends a sent call that the server is known not to have accepted.
    pub(crate) fn refuse(&mut self, now: Instant, seq: u64, refusal: Refusal) {
        if self.open.get(&seq).is_some_and(|call| call.before == 0) {
            self.finish(now, seq, Outcome::Refused(refusal), None, false);
        } else {
            self.give_up(now, seq, refusal);
        }
    }

    fn finish(
        &mut self,
        now: Instant,
        seq: u64,
        outcome: Outcome,
        answered: Option<Answered>,
        forgotten: bool,
    ) {
        let Some(call) = self.open.remove(&seq) else { return };
        self.timers.remove(&(call.timer, seq));
        if !matches!(outcome, Outcome::Unknown(_)) {
            self.identity.answered(seq);
        }
        self.events.push_back(ClientEvent::Finished(Finished {
            seq,
            outcome,
            started: call.started,
            finished: now,
            attempts: call.attempts(),
            answered,
            forgotten,
        }));
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.client, self.seq)
    }
}
