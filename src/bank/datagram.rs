//! The datagram client: retries with an RFC 6298 timer, RFC 8085 back-off and seeded jitter.

use super::client::{CallError, Calls, ClientEvent, CloseReason, Delivery, Identity, Key, Matched};
use super::codec::{Hello, decode_welcome, encode_hello};
use super::frame::{Frame, FrameError, Kind, MAX_DATAGRAM, NO_LEASE, VERSION, wire_len};
use super::message::{Refusal, Request};
use super::rtt::{RtoConfig, RttEstimator};
use super::transport::{Client, ClientCounters, SocketKind, Transport};
use super::violation::Violation;
use crate::measure::Instant;
use crate::measure::draw::keyed;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Configuration of a datagram client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DatagramClientConfig {
    /// Delivery guarantee.
    pub delivery: Delivery,
    /// Time from a call to giving it up.
    pub deadline: Duration,
    /// Retransmission timer settings.
    pub rto: RtoConfig,
    /// Maximum calls in flight.
    pub max_in_flight: usize,
}

impl Default for DatagramClientConfig {
    fn default() -> Self {
        Self {
            delivery: Delivery::ExactlyOnce,
            deadline: Duration::from_secs(10),
            rto: RtoConfig::default(),
            max_in_flight: 64,
        }
    }
}

impl Transport for DatagramClientConfig {
    fn socket(&self) -> SocketKind {
        SocketKind::Datagram
    }

    fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    fn client(&self, identity: Identity, seed: u64) -> Box<dyn Client> {
        Box::new(DatagramClient::new(*self, identity, seed))
    }
}

/// Counters of a datagram client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientStats {
    /// Datagrams sent, HELLO included.
    pub sent: u64,
    /// Of those, attempts after the first, HELLO included.
    pub retries: u64,
    /// Datagrams received, valid or not.
    pub received: u64,
    /// Responses to calls that had ended: duplicates, and answers after the deadline.
    pub late: u64,
    /// Retries that were unnecessary: the answer to an earlier attempt was on its way.
    pub spurious_retries: u64,
    /// Answers of the indefinite class: the server's storage failed.
    pub indefinite: u64,
    /// Datagrams dropped, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
}

/// State of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `connect` was not called.
    Idle,
    /// HELLO was sent or is queued.
    Greeting { attempts: u16, sent: Instant, timer: Instant, until: Instant, busy: bool },
    /// The client has a lease.
    Ready,
}

/// The next transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    Hello,
    Attempt(u64),
}

/// A client of one server over datagrams.
#[derive(Debug)]
pub struct DatagramClient {
    config: DatagramClientConfig,
    calls: Calls,
    rtt: RttEstimator,
    seed: u64,
    draws: u64,
    phase: Phase,
    queue: VecDeque<Send>,
    /// Calls that wait for a lease.
    waiting: VecDeque<u64>,
    stats: ClientStats,
    out: BytesMut,
}

impl DatagramClient {
    /// A new client; `seed` draws its jitter.
    pub fn new(config: DatagramClientConfig, identity: Identity, seed: u64) -> Self {
        Self {
            config,
            calls: Calls::new(identity, config.delivery),
            rtt: RttEstimator::new(config.rto),
            seed,
            draws: 0,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            stats: ClientStats::default(),
            out: BytesMut::new(),
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.calls.events.push_back(ClientEvent::Ready);
        self.queue.extend(self.waiting.drain(..).map(Send::Attempt));
    }

    fn enqueue(&mut self, seq: u64) {
        if self.phase == Phase::Ready {
            self.queue.push_back(Send::Attempt(seq));
        } else {
            self.waiting.push_back(seq);
        }
    }

    fn welcome(&mut self, now: Instant, frame: &Frame<'_>) {
        let Phase::Greeting { attempts, sent, .. } = self.phase else {
            // A duplicate, or the answer to a repeated HELLO.
            self.stats.late += 1;
            return;
        };
        match decode_welcome(frame) {
            Ok(Ok(welcome)) => {
                //= RFC 6298 §3: no sample from a segment that was retransmitted. HELLO has no
                //= attempt number to echo, so Karn's rule holds for it.
                if attempts == 1 {
                    self.rtt.sample(now.since(sent));
                }
                self.calls.identity.welcome(frame.header().client, welcome.dedup != 0);
                self.ready();
            }
            // A lease may become free before the deadline.
            Ok(Err(Refusal::Busy)) => {
                if let Phase::Greeting { busy, .. } = &mut self.phase {
                    *busy = true;
                }
            }
            Ok(Err(refusal)) => self.disconnect(now, CloseReason::Refused(refusal)),
            Err(_) => self.discard(Violation::Field.name()),
        }
    }

    fn response(&mut self, now: Instant, frame: &Frame<'_>) {
        match self.calls.handle_response(now, frame) {
            Matched::Ended { rtt, spurious, lease_lost } => {
                self.stats.spurious_retries += u64::from(spurious);
                if let Some(rtt) = rtt {
                    self.rtt.sample(rtt);
                }
                if lease_lost {
                    self.calls.identity.lease_lost();
                    self.phase = Phase::Idle;
                    self.connect(now);
                }
            }
            Matched::Late => self.stats.late += 1,
            Matched::Indefinite => {
                self.stats.indefinite += 1;
                // A later retry may still get a definite answer.
                if self.config.delivery == Delivery::AtMostOnce {
                    self.calls.give_up(now, frame.header().seq, Refusal::NotSent);
                }
            }
            Matched::UnknownSeq => self.discard("unknown_seq"),
            Matched::Malformed => self.discard("malformed"),
        }
    }

    fn discard(&mut self, reason: &'static str) {
        *self.stats.discarded.entry(reason).or_insert(0) += 1;
    }

    /// The handshake failed: calls that wait for it end; `connect` may be called again.
    fn disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.phase = Phase::Idle;
        self.queue.retain(|send| *send != Send::Hello);
        for seq in std::mem::take(&mut self.waiting) {
            self.calls.give_up(now, seq, Refusal::NotSent);
        }
        self.calls.events.push_back(ClientEvent::Closed(reason));
    }

    fn write_hello(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let Phase::Greeting { attempts, until, busy, .. } = self.phase else { return false };
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            max_frame: wire_len(MAX_DATAGRAM),
            nonce: self.calls.identity.nonce(),
            features: 0,
        };
        encode_hello(out, NO_LEASE, &hello);
        let timer = now + self.timer(attempts);
        self.stats.retries += u64::from(attempts > 0);
        let attempts = attempts.saturating_add(1);
        self.phase = Phase::Greeting { attempts, sent: now, timer, until, busy };
        true
    }

    fn write_attempt(&mut self, now: Instant, seq: u64, out: &mut BytesMut) -> bool {
        // Answered or given up while queued.
        let Some(call) = self.calls.get(seq) else { return false };
        let failures = call.attempts();
        if !self.calls.write_attempt(now, seq, true, out) {
            self.waiting.push_back(seq);
            return false;
        }
        self.stats.retries += u64::from(failures > 0);
        if self.config.delivery != Delivery::AtMostOnce {
            let timer = self.timer(failures);
            self.calls.set_timer(seq, now + timer);
        }
        true
    }

    fn timer(&mut self, failures: u16) -> Duration {
        self.draws += 1;
        self.rtt.timer(failures, keyed(self.seed, self.draws))
    }

    /// The counters.
    pub const fn stats(&self) -> &ClientStats {
        &self.stats
    }

    /// The round-trip estimate.
    pub const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Open calls.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }
}

impl Client for DatagramClient {
    /// An identity with a lease is ready at once. HELLO is retried until the deadline, which emits
    /// `Closed`.
    fn connect(&mut self, now: Instant) {
        if self.phase != Phase::Idle {
            return;
        }
        if self.calls.identity.lease().is_some() {
            self.ready();
            return;
        }
        let until = now + self.config.deadline;
        self.phase = Phase::Greeting { attempts: 0, sent: now, timer: until, until, busy: false };
        self.queue.push_back(Send::Hello);
    }

    /// The call is sent once there is a lease.
    fn send(&mut self, now: Instant, request: Request) -> Result<u64, CallError> {
        if self.calls.len() >= self.config.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        let seq = self.calls.open(now, request, self.config.deadline)?;
        self.enqueue(seq);
        Ok(seq)
    }

    fn ask_again(
        &mut self,
        now: Instant,
        key: Key,
        attempts: u16,
        request: Request,
    ) -> Result<u64, CallError> {
        if self.calls.len() >= self.config.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        self.calls.reopen(now, key, attempts, request, self.config.deadline)?;
        self.enqueue(key.seq);
        Ok(key.seq)
    }

    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.stats.received += 1;
        if bytes.len() > MAX_DATAGRAM {
            return self.discard(Violation::Length.name());
        }
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(FrameError::Garbage(violation, _)) => return self.discard(violation.name()),
            Err(FrameError::Version(_)) => return self.discard(Violation::Version.name()),
        };
        match frame.header().kind {
            Kind::Welcome => self.welcome(now, &frame),
            Kind::Response => self.response(now, &frame),
            Kind::Hello | Kind::Request | Kind::GoAway => {
                self.discard(Violation::UnexpectedKind.name());
            }
        }
    }

    /// A datagram socket has no peer that could close it.
    fn handle_closed(&mut self, _now: Instant) {}

    /// Retransmits calls whose timer expired, and ends calls whose deadline has passed.
    fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Greeting { timer, until, busy, .. } = &mut self.phase {
            let refused = CloseReason::Refused(Refusal::Busy);
            let reason = if *busy { refused } else { CloseReason::HelloDeadline };
            if *until <= now {
                self.disconnect(now, reason);
            } else if *timer <= now {
                *timer = *until;
                self.queue.push_back(Send::Hello);
            }
        }
        while let Some(seq) = self.calls.due(now) {
            let Some(deadline) = self.calls.get(seq).map(|call| call.deadline) else { break };
            if deadline <= now {
                self.calls.give_up(now, seq, Refusal::NotSent);
            } else {
                // The next timer is set when the attempt is sent.
                self.calls.set_timer(seq, deadline);
                self.queue.push_back(Send::Attempt(seq));
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let greeting = match self.phase {
            Phase::Greeting { timer, until, .. } => Some(timer.min(until)),
            Phase::Idle | Phase::Ready => None,
        };
        greeting.into_iter().chain(self.calls.next_timer()).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        while let Some(send) = self.queue.pop_front() {
            let mut out = std::mem::take(&mut self.out);
            let written = match send {
                Send::Hello => self.write_hello(now, &mut out),
                Send::Attempt(seq) => self.write_attempt(now, seq, &mut out),
            };
            let datagram = written.then(|| out.split().freeze());
            self.out = out;
            if datagram.is_some() {
                self.stats.sent += 1;
                return datagram;
            }
        }
        None
    }

    fn poll_event(&mut self) -> Option<ClientEvent> {
        self.calls.events.pop_front()
    }

    /// The lease and the round-trip estimate outlive the socket.
    fn close(&mut self) {}

    fn identity(&self) -> &Identity {
        &self.calls.identity
    }

    fn counters(&self) -> ClientCounters {
        ClientCounters {
            retries: self.stats.retries,
            late_replies: self.stats.late,
            rto: Some(self.rtt.rto()),
        }
    }
}
