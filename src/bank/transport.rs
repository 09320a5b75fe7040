//! The transport traits that the load generator drives.
//!
//! A transport is one file that implements both traits, such as [`super::datagram`] and
//! [`super::stream`]. Its client converts calls to bytes for one socket and bytes from that socket
//! to outcomes; encryption and internal streams stay inside.

use super::client::{CallError, ClientEvent, Identity, Key};
use super::message::Request;
use crate::measure::Instant;
use bytes::Bytes;
use std::fmt::Debug;
use std::time::Duration;

/// The kind of socket that a client's bytes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A UDP socket: each buffer is one datagram.
    Datagram,
    /// A TCP connection, opened before the first byte and reopened after it ends.
    Stream,
}

/// A transport of bank requests.
pub trait Transport: Debug + Send {
    /// The socket that each client needs.
    fn socket(&self) -> SocketKind;

    /// Maximum calls in flight per client.
    fn max_in_flight(&self) -> usize;

    /// A disconnected client; `seed` draws its jitter.
    fn client(&self, identity: Identity, seed: u64) -> Box<dyn Client>;
}

/// One client of a transport, without its socket.
///
/// After every method, poll [`Self::poll_event`] and [`Self::poll_transmit`].
pub trait Client: Debug + Send {
    /// Begins a session; no effect if there is one. Keeps lease and key counter.
    fn connect(&mut self, now: Instant);

    /// Starts a call and returns its sequence number.
    /// Fails if there is no session or too many calls are in flight.
    fn send(&mut self, now: Instant, request: Request) -> Result<u64, CallError>;

    /// Repeats a key whose outcome is unknown, with the same request as before, of which `attempts`
    /// were sent so far. Fails like [`Self::send`], or if the key has been released.
    fn ask_again(
        &mut self,
        now: Instant,
        key: Key,
        attempts: u16,
        request: Request,
    ) -> Result<u64, CallError> {
        let _ = (now, key, attempts, request);
        Err(CallError::KeyGone)
    }

    /// Handles one datagram, or the next bytes of the stream.
    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]);

    /// The peer closed the socket, or it could not be opened. Open calls end.
    fn handle_closed(&mut self, now: Instant);

    /// The time of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When to call [`Self::handle_timeout`] at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram or stream bytes; they count as sent at `now`.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes>;

    /// The next event, oldest first.
    fn poll_event(&mut self) -> Option<ClientEvent>;

    /// Ends the session without an event. No call may be in flight.
    fn close(&mut self);

    /// The lease and the key counter.
    fn identity(&self) -> &Identity;

    /// The client's counters; all zero if the kernel retransmits.
    fn counters(&self) -> ClientCounters {
        ClientCounters::default()
    }
}

/// Counters of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Requests retransmitted.
    pub retries: u64,
    /// Replies to calls that had ended.
    pub late_replies: u64,
    /// Current retransmission timeout; `None` if the kernel has the timer.
    pub rto: Option<Duration>,
}
