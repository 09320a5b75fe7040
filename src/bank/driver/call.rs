//! A bank client that makes one call at a time and waits for each reply.

use crate::bank::client::{CallError, ClientEvent, CloseReason, Finished, Identity};
use crate::bank::datagram::{DatagramClient, DatagramClientConfig};
use crate::bank::message::Request;
use crate::bank::stream::{StreamClient, StreamClientConfig};
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::EventLoop;
use crate::runtime::stream::Stream;
use mio::Interest;
use mio::net::{TcpStream, UdpSocket};
use std::io::{self, ErrorKind};
use thiserror::Error;

/// The transport of requests.
#[derive(Clone, Copy, Debug)]
pub enum Carrier {
    /// A connected UDP socket.
    Datagrams(DatagramClientConfig),
    /// A TCP connection.
    Stream(StreamClientConfig),
}

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

enum Socket {
    Datagram(UdpSocket),
    Stream(Stream),
}

#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
enum Client {
    Datagram(DatagramClient),
    Stream(StreamClient),
}

/// Called with every datagram, or piece of the stream, sent or received.
pub type Tap = Box<dyn FnMut(Way, &[u8])>;

/// A client and its socket.
pub struct Caller {
    events: EventLoop<()>,
    clock: Clock,
    socket: Socket,
    client: Client,
    tap: Tap,
    ready: bool,
    refusals: u64,
    /// Why the session ended, if it has.
    closed: Option<CloseReason>,
}

/// Longer than the largest datagram or a usual reply; longer replies take more reads.
const BUFFER: usize = 16 * 1024;

impl Caller {
    /// A client over a non-blocking TCP socket whose connection has begun.
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue.
    pub fn stream(
        config: StreamClientConfig,
        socket: std::net::TcpStream,
        nonce: u64,
        tap: Tap,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let mut events = EventLoop::new(clock)?;
        let mut stream = Stream::connecting(TcpStream::from_std(socket));
        events.register(stream.source(), Interest::READABLE | Interest::WRITABLE, ())?;
        let client = StreamClient::new(config, Identity::new(nonce), clock.now());
        Ok(Self::new(events, Socket::Stream(stream), Client::Stream(client), tap))
    }

    /// A client over a connected, non-blocking UDP socket; `seed` determines its jitter.
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue.
    pub fn datagrams(
        config: DatagramClientConfig,
        socket: std::net::UdpSocket,
        nonce: u64,
        seed: u64,
        tap: Tap,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let mut events = EventLoop::new(clock)?;
        let mut socket = UdpSocket::from_std(socket);
        events.register(&mut socket, Interest::READABLE, ())?;
        let mut client = DatagramClient::new(config, Identity::new(nonce), seed);
        client.connect(clock.now());
        Ok(Self::new(events, Socket::Datagram(socket), Client::Datagram(client), tap))
    }

    const fn new(events: EventLoop<()>, socket: Socket, client: Client, tap: Tap) -> Self {
        let clock = events.clock();
        Self { events, clock, socket, client, tap, ready: false, refusals: 0, closed: None }
    }

    /// ICMP "port unreachable" errors from the server's host.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The client's lease at the server, once it has one.
    #[must_use]
    pub const fn lease(&self) -> Option<u64> {
        match &self.client {
            Client::Datagram(client) => client.identity().lease(),
            Client::Stream(client) => client.identity().lease(),
        }
    }

    /// Waits until the server has answered HELLO.
    ///
    /// # Errors
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
    ///
    /// # Errors
    /// Fails if the request was not sent.
    pub fn call(&mut self, request: Request) -> Result<Finished, CallFailure> {
        let now = self.clock.now();
        match &mut self.client {
            Client::Datagram(client) => client.call(now, request)?,
            Client::Stream(client) => client.call(now, request)?,
        };
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
            let event = match &mut self.client {
                Client::Datagram(client) => client.poll_event(),
                Client::Stream(client) => client.poll_event(),
            };
            match event? {
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
        let deadline = match &self.client {
            Client::Datagram(client) => client.poll_timeout(),
            Client::Stream(client) => client.poll_timeout(),
        };
        // An ended client core has no deadline and nothing to wait for.
        self.events.wait(Some(deadline.unwrap_or(now)))?;
        while self.events.next_ready().is_some() {
            match self.receive() {
                Err(error) if !asked => return Err(error),
                Err(error) => self.lost(error)?,
                Ok(()) => {}
            }
        }
        let now = self.clock.now();
        match &mut self.client {
            Client::Datagram(client) => client.handle_timeout(now),
            Client::Stream(client) => client.handle_timeout(now),
        }
        Ok(())
    }

    /// The socket failed after a request may have been sent: the client decides the outcome.
    fn lost(&mut self, error: io::Error) -> io::Result<()> {
        if error.kind() == ErrorKind::ConnectionRefused {
            self.refusals += 1;
        }
        let now = self.clock.now();
        match &mut self.client {
            // A restarting server may be back before the deadline.
            Client::Datagram(_) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Client::Datagram(_) => Err(error),
            Client::Stream(client) => {
                client.handle_closed(now);
                Ok(())
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> io::Result<()> {
        match (&mut self.client, &mut self.socket) {
            (Client::Datagram(client), Socket::Datagram(socket)) => {
                while let Some(bytes) = client.poll_transmit(now) {
                    (self.tap)(Way::Sent, &bytes);
                    match socket.send(&bytes) {
                        // A full socket loses a datagram as a path does; the client retransmits.
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        other => drop(other?),
                    }
                }
                Ok(())
            }
            (Client::Stream(client), Socket::Stream(stream)) => {
                if !stream.is_established() {
                    return Ok(());
                }
                while let Some(bytes) = client.poll_transmit(now) {
                    (self.tap)(Way::Sent, &bytes);
                    stream.push(bytes);
                }
                stream.flush().map(drop)
            }
            _ => Ok(()),
        }
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
                    stream.read(&mut buffer)?.ok_or_else(|| ErrorKind::WouldBlock.into())
                }
            };
            let now = self.clock.now();
            match (got, &mut self.client) {
                (Ok(0), Client::Stream(client)) => {
                    client.handle_closed(now);
                    return Ok(());
                }
                (Ok(length), client) => {
                    (self.tap)(Way::Received, &buffer[..length]);
                    match client {
                        Client::Datagram(client) => client.handle_datagram(now, &buffer[..length]),
                        Client::Stream(client) => client.handle_stream(now, &buffer[..length]),
                    }
                }
                (Err(error), _) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                (Err(error), _) if error.kind() == ErrorKind::Interrupted => {}
                (Err(error), _) => return Err(error),
            }
        }
    }
}
