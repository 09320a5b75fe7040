//! A client's TCP connection to a DNS server: length-prefixed messages (RFC 1035 §4.2.2).

use super::{framed, message_end};
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::server::Session;

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLimits {
    /// Queries in flight; a reply makes room for the next.
    pub(super) in_flight: u32,
    /// From the last complete query, or byte that the client took, to the close.
    pub(super) idle: Duration,
}

/// A client's connection.
pub(super) struct DnsSession {
    /// The listener that accepted it.
    pub(super) listener: usize,
    limits: SessionLimits,
    input: BytesMut,
    output: Vec<u8>,
    in_flight: u32,
    /// When the last query was complete, or the client took a byte.
    last: Instant,
    /// The client has closed, or the server reads no more.
    ended: bool,
    /// Closed for a timeout or a violation.
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

    /// Adds received bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next complete query, within the limit; it counts as in flight.
    pub(super) fn next_query(&mut self, now: Instant) -> Option<BytesMut> {
        if !self.may_ask() {
            return None;
        }
        let end = message_end(&self.input)?;
        self.last = now;
        self.in_flight += 1;
        Some(self.input.split_to(end).split_off(2))
    }

    /// Ends the connection at once: the start of the next message is unknown.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
    }

    /// The reply to one query; `None` if there is none.
    pub(super) fn reply(&mut self, message: Option<&[u8]>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(message) = message {
            self.output.extend(framed(message));
        }
    }

    const fn may_ask(&self) -> bool {
        !self.aborted && self.in_flight < self.limits.in_flight
    }

    /// While a reply is pending the client is not idle.
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
