//! What a transport of bank requests is: the trait that the load generator drives.
//!
//! A transport is one file that implements both traits here, as [`super::datagram`] and
//! [`super::stream`] do. A client of it turns calls into bytes for one socket and bytes from that
//! socket into outcomes, so encryption and streams of its own are its private matter.

use super::client::{CallError, ClientEvent, Identity};
use super::message::Request;
use crate::measure::Instant;
use bytes::Bytes;
use std::fmt::Debug;
use std::time::Duration;

/// What the bytes of a client travel through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A UDP socket: each piece of bytes is one datagram.
    Datagram,
    /// A TCP connection, opened before the first byte and opened again after it ended.
    Stream,
}

/// A way to reach the bank.
pub trait Transport: Debug + Send {
    /// The socket that each of its clients needs.
    fn socket(&self) -> SocketKind;

    /// Calls that one client may have in flight.
    fn max_in_flight(&self) -> usize;

    /// A client that is not connected; `seed` draws its jitter.
    fn client(&self, identity: Identity, seed: u64) -> Box<dyn Client>;
}

/// One client of a transport, without its socket.
///
/// After every method, [`Self::poll_event`] and [`Self::poll_transmit`] may have something.
pub trait Client: Debug + Send {
    /// Begins a session; without effect while there is one. Lease and key counter stay.
    fn connect(&mut self, now: Instant);

    /// Starts a call and returns its sequence number.
    ///
    /// # Errors
    /// If there is no session or too many calls are in flight.
    fn send(&mut self, now: Instant, request: Request) -> Result<u64, CallError>;

    /// One datagram, or the next bytes of the stream.
    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]);

    /// The socket was closed by the peer, or could not be opened. Open calls end.
    fn handle_closed(&mut self, now: Instant);

    /// The time of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When to call [`Self::handle_timeout`] at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram or piece of the stream; it counts as sent at `now`.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes>;

    /// The next event, oldest first.
    fn poll_event(&mut self) -> Option<ClientEvent>;

    /// Ends the session without an event. No call may be in flight.
    fn close(&mut self);

    /// The lease and the key counter.
    fn identity(&self) -> &Identity;

    /// What the client counted; all zero where the kernel retransmits.
    fn counters(&self) -> ClientCounters {
        ClientCounters::default()
    }
}

/// What a client counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Requests sent again.
    pub retries: u64,
    /// Replies to calls that had ended.
    pub late_replies: u64,
    /// Its retransmission timeout now; `None` where the kernel has the timer.
    pub rto: Option<Duration>,
}
