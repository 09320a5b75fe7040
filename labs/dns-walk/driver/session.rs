//! A client's connection to a DNS server: messages with a length before each (RFC 1035 §4.2.2).

use super::{framed, message_end};
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::server::Session;

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLimits {
    /// Questions in flight; the next one is handled when one is answered.
    pub(super) in_flight: u32,
    /// From the last whole question, or byte that the client took, to the close.
    pub(super) idle: Duration,
}

/// One connection of a client.
pub(super) struct DnsSession {
    /// The listener that accepted it.
    pub(super) listener: usize,
    limits: SessionLimits,
    input: BytesMut,
    output: Vec<u8>,
    in_flight: u32,
    /// A whole question came, or the client took a byte.
    last: Instant,
    /// The client will send no more, or the server takes no more.
    ended: bool,
    /// Cut off: too slow, or not the protocol.
    aborted: bool,
}

impl DnsSession {
    pub(super) fn new(listener: usize, limits: SessionLimits, now: Instant) -> Self {
        Self {
            listener,
            limits,
            input: BytesMut::new(),
            output: Vec::new(),
            in_flight: 0,
            last: now,
            ended: false,
            aborted: false,
        }
    }

    /// Adds bytes that came.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next whole question, while the connection may ask more; it counts as in flight.
    pub(super) fn next_query(&mut self, now: Instant) -> Option<BytesMut> {
        if !self.may_ask() {
            return None;
        }
        let end = message_end(&self.input)?;
        self.last = now;
        self.in_flight += 1;
        Some(self.input.split_to(end).split_off(2))
    }

    /// Ends the connection at once: nothing tells where the next message would begin.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
    }

    /// The reply to one question; `None` where there is none.
    pub(super) fn reply(&mut self, message: Option<&[u8]>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(message) = message {
            self.output.extend(framed(message));
        }
    }

    const fn may_ask(&self) -> bool {
        !self.aborted && self.in_flight < self.limits.in_flight
    }

    /// While it waits for an answer it is not the client who is late.
    const fn waits_for_server(&self) -> bool {
        self.in_flight > 0 && self.output.is_empty()
    }
}

impl Session for DnsSession {
    fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output).into())
    }

    fn wants_read(&self) -> bool {
        self.may_ask() && !self.ended
    }

    fn wants_resume(&self) -> bool {
        self.may_ask() && message_end(&self.input).is_some()
    }

    fn is_over(&self) -> bool {
        self.aborted || (self.ended && self.in_flight == 0)
    }

    fn linger(&self) -> Option<Duration> {
        self.aborted.then_some(Duration::ZERO)
    }

    fn handle_end(&mut self) {
        self.ended = true;
    }

    fn handle_taken(&mut self, now: Instant) {
        self.last = now;
    }

    fn handle_output(&mut self, bytes: Bytes) {
        self.reply(Some(&bytes));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.aborted && !self.waits_for_server()).then(|| self.last + self.limits.idle)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.aborted |= self.poll_timeout().is_some_and(|at| at <= now);
    }

    fn begin_drain(&mut self, _now: Instant) {
        self.ended = true;
        self.input.clear();
    }
}
