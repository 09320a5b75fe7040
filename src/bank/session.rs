//! The server's side of one stream: framing, timeouts, buffer limits, drain.
//! Buffers grow with received bytes, never with a claimed length.

use super::client::CloseReason;
use super::codec::{Answer, encode_answer, encode_goaway};
use super::frame::{
    Frame, FrameError, Header, Kind, MAX_FRAME, MAX_FRAME_BEFORE_HELLO, MIN_MAX_FRAME, frame_len,
};
use super::message::Refusal;
use super::server::Server;
use super::storage::Storage;
use super::violation::Violation;
use crate::measure::Instant;
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// Maximum bytes per call of `handle_stream`.
const MAX_READ: usize = 4 * MAX_FRAME;

/// Maximum unread bytes of a session: a partial frame and one call's input.
pub const MAX_BUFFERED_IN: usize = MAX_FRAME + MAX_READ;

/// Limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From accept to a complete HELLO: three retransmissions of TCP's one-second timer.
    pub hello_deadline: Duration,
    /// From the first byte of a frame to its last: 64 KiB at 64 kbit/s take 8 s.
    pub frame_deadline: Duration,
    /// From one frame to the next: more than twice TCP's minimum of 100 s for giving up on a
    /// segment (RFC 1122 §4.2.3.5), so that a request in flight is not cut off.
    pub idle_timeout: Duration,
    /// From GOAWAY to the close: many round trips of a slow path.
    pub drain_grace: Duration,
    /// Unsent bytes above which no requests are taken: four of the largest replies.
    pub max_buffered_out: usize,
}

impl SessionLimits {
    /// The limits of PROTOCOL.md.
    pub const DEFAULT: Self = Self {
        hello_deadline: Duration::from_secs(7),
        frame_deadline: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(240),
        drain_grace: Duration::from_secs(5),
        max_buffered_out: 4 * MAX_FRAME,
    };
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One stream on the server's side.
///
/// Driver loop: read while [`wants_read`](Self::wants_read), pass the bytes to
/// [`handle_stream`](Self::handle_stream), write [`poll_transmit`](Self::poll_transmit)'s output;
/// if [`wants_resume`](Self::wants_resume) then, call `handle_stream` with no bytes.
/// If [`closing`](Self::closing): write the rest and close.
#[derive(Debug)]
pub struct ServerSession {
    limits: SessionLimits,
    input: BytesMut,
    output: BytesMut,
    /// Bytes of replies that wait elsewhere for the store.
    held: usize,
    /// Arrival of the bytes that wait for output space.
    stalled_since: Option<Instant>,
    /// Arrival of the first byte of the frame at the front of the input.
    begun: Option<Instant>,
    opened: Instant,
    last_frame: Instant,
    /// The largest reply the peer accepts; 0 before its HELLO.
    peer_max_frame: usize,
    last_seq: u64,
    drain_until: Option<Instant>,
    closing: Option<CloseReason>,
}

impl ServerSession {
    /// A newly accepted stream.
    pub fn new(now: Instant, limits: SessionLimits) -> Self {
        Self {
            limits,
            input: BytesMut::new(),
            output: BytesMut::new(),
            held: 0,
            stalled_since: None,
            begun: None,
            opened: now,
            last_frame: now,
            peer_max_frame: 0,
            last_seq: 0,
            drain_until: None,
            closing: None,
        }
    }

    /// Handles bytes of the stream, at most 256 KiB, and answers every complete frame.
    pub fn handle_stream<S: Storage>(
        &mut self,
        now: Instant,
        server: &mut Server<S>,
        bytes: &[u8],
    ) {
        if self.closing.is_some() {
            return;
        }
        if self.input.len() + bytes.len() > MAX_BUFFERED_IN {
            self.closing = Some(CloseReason::Overrun);
            return;
        }
        let arrived = self.stalled_since.take().unwrap_or(now);
        if self.input.is_empty() {
            // Whole frames are parsed in place; only a remainder is copied.
            let used = self.take_frames(now, arrived, server, bytes);
            let rest = bytes.get(used..).unwrap_or_default();
            self.input.extend_from_slice(rest);
        } else {
            self.input.extend_from_slice(bytes);
            let input = self.input.split();
            let used = self.take_frames(now, arrived, server, &input);
            self.input = input;
            bytes::Buf::advance(&mut self.input, used);
        }
        self.after_frames(now, arrived);
    }

    /// Answers whole frames from the front while there is output space; returns the bytes used.
    fn take_frames<S: Storage>(
        &mut self,
        now: Instant,
        arrived: Instant,
        server: &mut Server<S>,
        bytes: &[u8],
    ) -> usize {
        let mut used = 0;
        while self.closing.is_none() && self.has_room() {
            let rest = bytes.get(used..).unwrap_or_default();
            let limit = if self.is_open() { MAX_FRAME } else { MAX_FRAME_BEFORE_HELLO };
            match frame_len(rest, limit) {
                Ok(Some(len)) => {
                    let Some(frame) = rest.get(..len) else { break };
                    used += len;
                    self.last_frame = now;
                    self.begun = None;
                    self.take_frame(now, arrived, server, frame);
                }
                Ok(None) => break,
                Err(_) => self.violate(server, Violation::Length),
            }
        }
        used
    }

    fn take_frame<S: Storage>(
        &mut self,
        now: Instant,
        arrived: Instant,
        server: &mut Server<S>,
        bytes: &[u8],
    ) {
        let taken = match Frame::parse(bytes) {
            Err(FrameError::Garbage(violation, _)) => Err(violation),
            Err(FrameError::Version(foreign)) => server.handle_foreign(foreign, &mut self.output),
            Ok(frame) => {
                let header = *frame.header();
                let first = !self.is_open();
                if first != (header.kind == Kind::Hello) {
                    Err(Violation::UnexpectedKind)
                } else {
                    if first {
                        self.peer_max_frame = peer_max_frame(&frame);
                    } else {
                        self.last_seq = self.last_seq.max(header.seq);
                    }
                    let room = self.peer_max_frame;
                    server.handle_frame(now, arrived, &frame, room, &mut self.output)
                }
            }
        };
        if let Err(violation) = taken {
            self.violate(server, violation);
        }
    }

    fn violate<S: Storage>(&mut self, server: &mut Server<S>, violation: Violation) {
        server.discard(violation);
        self.closing = Some(CloseReason::Protocol(violation));
    }

    fn after_frames(&mut self, now: Instant, arrived: Instant) {
        if self.closing.is_some() {
            self.input = BytesMut::new();
            self.begun = None;
        } else if self.input.is_empty() {
            // An idle stream holds no buffer.
            self.input = BytesMut::new();
        } else if !self.has_room() {
            self.stalled_since = Some(arrived);
        } else if self.begun.is_none() {
            self.begun = Some(now);
        }
    }

    fn has_room(&self) -> bool {
        self.output.len() + self.held < self.limits.max_buffered_out
    }

    const fn is_open(&self) -> bool {
        self.peer_max_frame != 0
    }

    /// Ends the session if a deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing.is_none()
            && let Some((at, reason)) = self.next_deadline()
            && at <= now
        {
            self.closing = Some(reason);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        self.next_deadline().map(|(at, _)| at)
    }

    fn next_deadline(&self) -> Option<(Instant, CloseReason)> {
        let hello = (!self.is_open())
            .then(|| (self.opened + self.limits.hello_deadline, CloseReason::HelloDeadline));
        let frame =
            self.begun.map(|at| (at + self.limits.frame_deadline, CloseReason::FrameDeadline));
        let idle = Some((self.last_frame + self.limits.idle_timeout, CloseReason::IdleTimeout));
        let drain = self.drain_until.map(|at| (at, CloseReason::Drained));
        [hello, frame, idle, drain].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Everything to write, in one buffer.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    /// Bytes of output that wait to be transmitted.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Takes the output above `from` bytes out of the session until [`release`](Self::release):
    /// replies that wait for the store still take their room.
    pub fn hold(&mut self, from: usize) -> Option<Bytes> {
        let replies = self.output.split_off(from.min(self.output.len())).freeze();
        self.held += replies.len();
        (!replies.is_empty()).then_some(replies)
    }

    /// Puts held replies back, to be transmitted.
    pub fn release(&mut self, replies: &[u8]) {
        self.held = self.held.saturating_sub(replies.len());
        self.output.extend_from_slice(replies);
    }

    /// Whether replies are held.
    pub const fn is_holding(&self) -> bool {
        self.held > 0
    }

    /// Bytes buffered: unprocessed input, and output that is held or untransmitted.
    pub fn buffered(&self) -> usize {
        self.input.len() + self.output.len() + self.held
    }

    /// Whether to read from the stream; false while output is pending.
    pub fn wants_read(&self) -> bool {
        self.closing.is_none() && self.stalled_since.is_none() && self.has_room()
    }

    /// Whether buffered requests can be processed because there is output space again.
    pub fn wants_resume(&self) -> bool {
        self.closing.is_none() && self.stalled_since.is_some() && self.has_room()
    }

    /// Why the session has ended, if so: write the rest, then close.
    pub const fn closing(&self) -> Option<CloseReason> {
        self.closing
    }

    /// Says why the stream is closed, if another client needs its place: WELCOME with the refusal
    /// before HELLO, GOAWAY after it.
    pub fn evict(&mut self) {
        if self.is_open() {
            encode_goaway(&mut self.output, self.last_seq);
        } else {
            let header = Header::of(Kind::Welcome);
            encode_answer(&mut self.output, &header, &Answer::Refused(Refusal::Busy));
        }
        self.closing.get_or_insert(CloseReason::Evicted);
    }

    /// Sends GOAWAY: requests above the last one taken are not processed. [`Server::drain`] makes
    /// the server refuse later ones; the session ends after the grace period.
    pub fn begin_drain(&mut self, now: Instant) {
        if self.drain_until.is_none() && self.closing.is_none() {
            encode_goaway(&mut self.output, self.last_seq);
            self.drain_until = Some(now + self.limits.drain_grace);
        }
    }
}

/// The largest frame the sender of a HELLO accepts, at most our own limit.
fn peer_max_frame(hello: &Frame<'_>) -> usize {
    let claimed = super::codec::decode_hello(hello).map_or(0, |hello| hello.max_frame as usize);
    claimed.clamp(MIN_MAX_FRAME, MAX_FRAME)
}
