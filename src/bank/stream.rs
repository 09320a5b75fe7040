//! The client on a stream, and beside it the server's [`ServerSession`].
//! It never retries: the caller decides, with the same key.

pub use super::session::{MAX_BUFFERED_IN, ServerSession, SessionLimits};

use super::client::{CallError, Calls, ClientEvent, CloseReason, Delivery, Identity, Key, Matched};
use super::codec::{Hello, decode_welcome, encode_hello};
use super::frame::{Frame, FrameError, Kind, MAX_FRAME, NO_LEASE, VERSION, frame_len, wire_len};
use super::message::{Refusal, Request};
use super::transport::{Client, SocketKind, Transport};
use super::violation::Violation;
use crate::measure::Instant;
use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// Stream client configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamClientConfig {
    /// Time from a call to giving it up.
    pub deadline: Duration,
    /// Maximum open calls.
    pub max_in_flight: usize,
    /// At-least-once disables duplicate detection at the server; the others behave alike here.
    pub delivery: Delivery,
}

impl Default for StreamClientConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            max_in_flight: 64,
            delivery: Delivery::ExactlyOnce,
        }
    }
}

impl Transport for StreamClientConfig {
    fn socket(&self) -> SocketKind {
        SocketKind::Stream
    }

    fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    fn client(&self, identity: Identity, _seed: u64) -> Box<dyn Client> {
        Box::new(StreamClient::disconnected(*self, identity))
    }
}

/// Stream client counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamStats {
    /// Requests written.
    pub sent: u64,
    /// Responses read.
    pub received: u64,
    /// Responses to calls that had ended.
    pub late: u64,
    /// Responses without a matching call, or unreadable.
    pub discarded: u64,
}

/// State of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// HELLO is sent or queued.
    Greeting,
    /// WELCOME was received.
    Open,
    /// GOAWAY was received: no new calls.
    Draining,
    /// Ended.
    Closed,
}

/// A client on one connection.
#[derive(Debug)]
pub struct StreamClient {
    config: StreamClientConfig,
    calls: Calls,
    phase: Phase,
    /// Deadline of the WELCOME.
    greeting_until: Instant,
    /// Calls not yet written.
    unsent: VecDeque<u64>,
    input: BytesMut,
    output: BytesMut,
    stats: StreamStats,
}

impl StreamClient {
    /// A client on a connection that is being opened; the first write carries its HELLO.
    ///
    /// An identity with a lease resumes it: requests follow in the same write.
    pub fn new(config: StreamClientConfig, identity: Identity, now: Instant) -> Self {
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            max_frame: wire_len(MAX_FRAME),
            nonce: identity.nonce(),
            features: 0,
        };
        let mut client = Self::disconnected(config, identity);
        let lease = client.identity().lease().unwrap_or(NO_LEASE);
        encode_hello(&mut client.output, lease, &hello);
        client.phase = Phase::Greeting;
        client.greeting_until = now + config.deadline;
        client
    }

    /// A client before its first connection; see [`Client::connect`].
    fn disconnected(config: StreamClientConfig, identity: Identity) -> Self {
        Self {
            config,
            calls: Calls::new(identity, config.delivery),
            phase: Phase::Closed,
            greeting_until: Instant::ZERO,
            unsent: VecDeque::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            stats: StreamStats::default(),
        }
    }

    fn may_call(&self) -> Result<(), CallError> {
        if matches!(self.phase, Phase::Draining | Phase::Closed) {
            return Err(CallError::Closed);
        }
        if self.calls.len() >= self.config.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        Ok(())
    }

    fn take_frames(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.phase != Phase::Closed {
            let rest = bytes.get(used..).unwrap_or_default();
            let len = match frame_len(rest, MAX_FRAME) {
                Ok(Some(len)) => len,
                Ok(None) => break,
                Err(_) => {
                    self.end(now, CloseReason::Protocol(Violation::Length));
                    break;
                }
            };
            let Some(frame) = rest.get(..len) else { break };
            used += len;
            match Frame::parse(frame) {
                Ok(frame) => self.take_frame(now, &frame),
                Err(FrameError::Garbage(violation, _)) => {
                    self.end(now, CloseReason::Protocol(violation));
                }
                Err(FrameError::Version(_)) => {
                    self.end(now, CloseReason::Protocol(Violation::Version));
                }
            }
        }
        used
    }

    fn take_frame(&mut self, now: Instant, frame: &Frame<'_>) {
        match (frame.header().kind, self.phase) {
            (Kind::Welcome, Phase::Greeting) => self.welcome(now, frame),
            (Kind::Response, _) => self.response(now, frame),
            (Kind::GoAway, _) => self.goaway(now, frame.header().seq),
            _ => self.end(now, CloseReason::Protocol(Violation::UnexpectedKind)),
        }
    }

    fn welcome(&mut self, now: Instant, frame: &Frame<'_>) {
        match decode_welcome(frame) {
            Ok(Ok(welcome)) => {
                self.calls.identity.welcome(frame.header().client, welcome.dedup != 0);
                self.phase = Phase::Open;
                self.calls.events.push_back(ClientEvent::Ready);
            }
            Ok(Err(refusal)) => self.end(now, CloseReason::Refused(refusal)),
            Err(_) => self.end(now, CloseReason::Protocol(Violation::Field)),
        }
    }

    fn response(&mut self, now: Instant, frame: &Frame<'_>) {
        self.stats.received += 1;
        match self.calls.handle_response(now, frame) {
            Matched::Ended { .. } => {}
            Matched::Late => self.stats.late += 1,
            // The only attempt on this connection has been answered.
            Matched::Indefinite => {
                self.calls.give_up(now, frame.header().seq, Refusal::NotSent);
            }
            Matched::UnknownSeq | Matched::Malformed => self.stats.discarded += 1,
        }
    }

    /// The server takes nothing above `last_seq`: later calls are definitely refused.
    fn goaway(&mut self, now: Instant, last_seq: u64) {
        self.phase = Phase::Draining;
        self.unsent.clear();
        for seq in self.calls.seqs() {
            let unsent = self.calls.get(seq).is_some_and(|call| !call.was_sent());
            if unsent || seq > last_seq {
                self.calls.refuse(now, seq, Refusal::Draining);
            }
        }
        self.close_if_drained();
    }

    fn close_if_drained(&mut self) {
        if self.phase == Phase::Draining && self.calls.len() == 0 {
            self.phase = Phase::Closed;
            self.calls.events.push_back(ClientEvent::Closed(CloseReason::Drained));
        }
    }

    fn end(&mut self, now: Instant, reason: CloseReason) {
        if self.phase == Phase::Closed {
            return;
        }
        self.close();
        for seq in self.calls.seqs() {
            self.calls.give_up(now, seq, Refusal::NotSent);
        }
        self.calls.events.push_back(ClientEvent::Closed(reason));
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Open calls.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Bytes buffered: incomplete input and untransmitted output.
    pub fn buffered(&self) -> usize {
        self.input.len() + self.output.len()
    }

    /// The counters.
    pub const fn stats(&self) -> &StreamStats {
        &self.stats
    }
}

impl Client for StreamClient {
    fn connect(&mut self, now: Instant) {
        if self.phase == Phase::Closed {
            *self = Self::new(self.config, self.identity().clone(), now);
        }
    }

    fn send(&mut self, now: Instant, request: Request) -> Result<u64, CallError> {
        self.may_call()?;
        let seq = self.calls.open(now, request, self.config.deadline)?;
        self.unsent.push_back(seq);
        Ok(seq)
    }

    fn ask_again(
        &mut self,
        now: Instant,
        key: Key,
        attempts: u16,
        request: Request,
    ) -> Result<u64, CallError> {
        self.may_call()?;
        self.calls.reopen(now, key, attempts, request, self.config.deadline)?;
        self.unsent.push_back(key.seq);
        Ok(key.seq)
    }

    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if self.phase == Phase::Closed {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        if input.is_empty() {
            let used = self.take_frames(now, bytes);
            input.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            input.extend_from_slice(bytes);
            let used = self.take_frames(now, &input);
            input.advance(used);
        }
        if self.phase != Phase::Closed && !input.is_empty() {
            self.input = input;
        }
        self.close_if_drained();
    }

    fn handle_closed(&mut self, now: Instant) {
        self.end(now, CloseReason::PeerClosed);
    }

    /// Ends calls whose deadline has passed, and a handshake that takes too long.
    fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Greeting && self.greeting_until <= now {
            self.end(now, CloseReason::HelloDeadline);
        }
        while let Some(seq) = self.calls.due(now) {
            self.calls.give_up(now, seq, Refusal::NotSent);
        }
        self.close_if_drained();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let greeting = (self.phase == Phase::Greeting).then_some(self.greeting_until);
        greeting.into_iter().chain(self.calls.next_timer()).min()
    }

    /// All output in one buffer.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.calls.identity.lease().is_some() && self.phase != Phase::Closed {
            while let Some(seq) = self.unsent.pop_front() {
                let written = self.calls.write_attempt(now, seq, false, &mut self.output);
                self.stats.sent += u64::from(written);
            }
        }
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    fn poll_event(&mut self) -> Option<ClientEvent> {
        self.calls.events.pop_front()
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.output.clear();
        self.input.clear();
        self.unsent.clear();
    }

    fn identity(&self) -> &Identity {
        &self.calls.identity
    }
}
