//! A bank client that makes one call at a time and waits for each reply.

use super::client::{Opener, Socket};
use crate::bank::client::{CallError, ClientEvent, CloseReason, Finished, Identity, Key};
use crate::bank::message::Request;
use crate::bank::transport::{Client, Transport};
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::EventLoop;
use std::io::{self, ErrorKind};
use thiserror::Error;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Sent,
    /// From the server.
    Received,
}

/// Why there is no outcome; nothing was applied.
#[derive(Debug, Error)]
pub enum CallFailure {
    /// The socket failed before any request was sent.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The session ended before any request was sent.
    #[error("{0}")]
    Closed(CloseReason),
    /// The client core refused the call.
    #[error("{0}")]
    Call(#[from] CallError),
}

/// Called with every datagram, or piece of the stream, sent or received.
pub type Tap = Box<dyn FnMut(Way, &[u8])>;

/// A client and its socket.
pub struct Caller {
    events: EventLoop<()>,
    clock: Clock,
    socket: Socket,
    client: Box<dyn Client>,
    tap: Tap,
    ready: bool,
    refusals: u64,
    /// Why the session ended, if it has.
    closed: Option<CloseReason>,
}

/// Longer than the largest datagram or a usual reply; longer replies take more reads.
const BUFFER: usize = 16 * 1024;

impl Caller {
    /// Opens a socket and begins a session; the nonce of the identity draws the jitter.
    /// Fails with the error of the system call.
    pub fn new(
        transport: &dyn Transport,
        opener: &mut dyn Opener,
        identity: Identity,
        tap: Tap,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let mut events = EventLoop::new(clock)?;
        let (socket, _) = Socket::open(transport.socket(), opener, &mut events, ())?;
        let nonce = identity.nonce();
        let mut client = transport.client(identity, nonce);
        client.connect(clock.now());
        Ok(Self { events, clock, socket, client, tap, ready: false, refusals: 0, closed: None })
    }

    /// ICMP "port unreachable" errors from the server's host.
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The client's lease at the server, once it has one.
    pub fn lease(&self) -> Option<u64> {
        self.client.identity().lease()
    }

    /// Waits until the server has answered HELLO.
    /// Fails if it does not; no request was sent yet.
    pub fn greet(&mut self) -> Result<(), CallFailure> {
        while !self.ready {
            if let Some(reason) = self.closed {
                return Err(CallFailure::Closed(reason));
            }
            self.turn(false)?;
            self.events();
        }
        Ok(())
    }

    /// Makes a call and waits for its end; call [`greet`](Self::greet) before.
    /// Fails if the request was not sent.
    pub fn call(&mut self, request: Request) -> Result<Finished, CallFailure> {
        self.client.send(self.clock.now(), request)?;
        self.finish()
    }

    /// Repeats the key of an earlier call; otherwise like [`call`](Self::call).
    pub fn repeat(&mut self, key: Key, request: Request) -> Result<Finished, CallFailure> {
        self.client.ask_again(self.clock.now(), key, 1, request)?;
        self.finish()
    }

    fn finish(&mut self) -> Result<Finished, CallFailure> {
        let now = self.clock.now();
        loop {
            self.transmit(now).or_else(|error| self.lost(error))?;
            if let Some(finished) = self.events() {
                return Ok(finished);
            }
            if let Some(reason) = self.closed {
                return Err(CallFailure::Closed(reason));
            }
            self.turn(true)?;
        }
    }

    /// The end of the call, if it is among the client's events.
    fn events(&mut self) -> Option<Finished> {
        loop {
            match self.client.poll_event()? {
                ClientEvent::Ready => self.ready = true,
                ClientEvent::Finished(finished) => return Some(finished),
                ClientEvent::Closed(reason) => self.closed = Some(reason),
                ClientEvent::Late { .. } => {}
            }
        }
    }

    /// Waits for the socket or the timer and passes input to the client.
    fn turn(&mut self, asked: bool) -> io::Result<()> {
        let now = self.clock.now();
        // HELLO is sent here; an absent server is an error until a request was sent.
        match self.transmit(now) {
            Err(error) if !asked => return Err(error),
            Err(error) => self.lost(error)?,
            Ok(()) => {}
        }
        // An ended client core has no deadline and nothing to wait for.
        self.events.wait(Some(self.client.poll_timeout().unwrap_or(now)))?;
        while self.events.next_ready().is_some() {
            match self.receive() {
                Err(error) if !asked => return Err(error),
                Err(error) => self.lost(error)?,
                Ok(()) => {}
            }
        }
        self.client.handle_timeout(self.clock.now());
        Ok(())
    }

    /// The socket failed after a request may have been sent: the client decides the outcome.
    fn lost(&mut self, error: io::Error) -> io::Result<()> {
        let refused = error.kind() == ErrorKind::ConnectionRefused;
        self.refusals += u64::from(refused);
        match &self.socket {
            // A restarting server may be back before the deadline.
            Socket::Datagram(_) if refused => Ok(()),
            Socket::Datagram(_) => Err(error),
            Socket::Stream(_) => {
                self.client.handle_closed(self.clock.now());
                Ok(())
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> io::Result<()> {
        if !self.socket.is_established() {
            return Ok(());
        }
        while let Some(bytes) = self.client.poll_transmit(now) {
            (self.tap)(Way::Sent, &bytes);
            self.socket.send(bytes)?;
        }
        self.socket.flush()
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0_u8; BUFFER];
        loop {
            let got = match &mut self.socket {
                Socket::Datagram(socket) => socket.recv(&mut buffer),
                Socket::Stream(stream) => {
                    if !stream.establish()? {
                        return Ok(());
                    }
                    match stream.read(&mut buffer)? {
                        Some(0) => {
                            self.client.handle_closed(self.clock.now());
                            return Ok(());
                        }
                        got => got.ok_or_else(|| ErrorKind::WouldBlock.into()),
                    }
                }
            };
            match got {
                Ok(length) => {
                    (self.tap)(Way::Received, &buffer[..length]);
                    self.client.handle_bytes(self.clock.now(), &buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
