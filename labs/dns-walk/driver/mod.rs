//! Walks on real sockets: one socket per query, which matches replies to queries; the walk judges
//! them.

mod batch;
mod frontend;
mod serve;
mod session;
mod stub;

pub use batch::{Told, many};
pub use frontend::{Front, FrontLimits};
pub use serve::{DUAL_ROUTE, Serving, serve};
pub use stub::{System, ask_server};

use crate::event::{Record, Transport};
use crate::hints::{Hints, PORT};
use crate::walk::{AttemptId, Transmit, Walk};
use mio::Interest;
use mio::net::{TcpStream, UdpSocket};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready, SourceId};
use wirelab::runtime::shutdown;
use wirelab::runtime::stream::Stream;

/// Largest datagram (RFC 768): no reply is truncated.
const DATAGRAM: usize = 65_535;
/// Datagrams per socket and turn: a flood must not delay the walk's timers.
const TURN: usize = 64;

/// The socket of one attempt.
enum Socket {
    Datagram(UdpSocket),
    Stream { stream: Stream, got: Vec<u8> },
}

struct Open {
    socket: Socket,
    id: SourceId,
    to: SocketAddr,
}

/// A walk and the sockets of its attempts.
struct Resolving<F> {
    walk: Walk,
    open: BTreeMap<AttemptId, Open>,
    buffer: Vec<u8>,
    records: Vec<Record>,
    observe: F,
}

/// Runs a walk to its end, or until shutdown; `observe` gets each record as it is made.
///
/// # Errors
/// Fails if the kernel gives no event queue; the walk handles query errors.
pub fn resolve(
    walk: Walk,
    clock: Clock,
    shutdown: &mut shutdown::Receiver,
    observe: impl FnMut(&Record),
) -> io::Result<(Vec<Record>, Walk)> {
    let (open, buffer, records) = (BTreeMap::new(), vec![0; DATAGRAM], Vec::new());
    let mut resolving = Resolving { walk, open, buffer, records, observe };
    EventLoop::new(clock)?.run(&mut resolving, shutdown)?;
    Ok((resolving.records, resolving.walk))
}

impl<F: FnMut(&Record)> Driver for Resolving<F> {
    type Source = AttemptId;

    fn poll_output(
        &mut self,
        events: &mut EventLoop<AttemptId>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        self.transmit(events, now);
        while let Some(record) = self.walk.poll_event() {
            (self.observe)(&record);
            self.records.push(record);
        }
        Ok(if self.walk.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.walk.poll_timeout()
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<AttemptId>,
        _now: Instant,
        ready: Ready<AttemptId>,
    ) -> io::Result<()> {
        let (clock, attempt) = (events.clock(), ready.source);
        let Self { walk, open, buffer, .. } = self;
        let Some(Open { socket, to, .. }) = open.get_mut(&attempt) else { return Ok(()) };
        let mut reply = |bytes: &[u8]| walk.handle_reply(clock.now(), attempt, *to, bytes);
        let more = match socket {
            Socket::Datagram(socket) => datagrams(socket, buffer, &mut reply),
            Socket::Stream { stream, got } => {
                stream.flush().and_then(|_| read(stream, got)).map(|whole| {
                    whole.is_some_and(|message| {
                        reply(&message);
                        true
                    })
                })
            }
        };
        match more {
            Ok(true) => events.requeue(ready.id),
            Ok(false) => {}
            Err(error) => walk.handle_unreachable(clock.now(), attempt, &words(&error)),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _events: &mut EventLoop<AttemptId>, now: Instant) {
        if self.walk.poll_timeout().is_some_and(|at| at <= now) {
            self.walk.handle_timeout(now);
        }
    }

    fn handle_shutdown(&mut self, _events: &mut EventLoop<AttemptId>, now: Instant) {
        self.walk.cancel(now);
    }
}

impl<F> Resolving<F> {
    /// Sends the walk's output, and closes sockets that it no longer needs.
    fn transmit(&mut self, events: &mut EventLoop<AttemptId>, now: Instant) {
        loop {
            while let Some(attempt) = self.walk.poll_release() {
                if let Some(Open { socket, id, .. }) = self.open.remove(&attempt) {
                    drop(socket);
                    events.release(id);
                }
            }
            let Some(transmit) = self.walk.poll_transmit() else { return };
            let (attempt, to) = (transmit.attempt, transmit.to);
            match begin(events, transmit) {
                Ok((socket, id)) => drop(self.open.insert(attempt, Open { socket, id, to })),
                Err(error) => self.walk.handle_unreachable(now, attempt, &words(&error)),
            }
        }
    }
}

/// Opens the socket of an attempt and sends, or starts to connect.
fn begin(events: &mut EventLoop<AttemptId>, transmit: Transmit) -> io::Result<(Socket, SourceId)> {
    let Transmit { attempt, to, transport, bytes } = transmit;
    match transport {
        Transport::Udp => {
            let mut socket = connected(to)?;
            let id = events.register(&mut socket, Interest::READABLE, attempt)?;
            if let Err(error) = socket.send(&bytes) {
                events.deregister(&mut socket, id);
                return Err(error);
            }
            Ok((Socket::Datagram(socket), id))
        }
        Transport::Tcp => {
            let mut stream = Stream::connecting(TcpStream::connect(to)?);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let id = events.register(stream.source(), interest, attempt)?;
            stream.push(framed(&bytes).into());
            Ok((Socket::Stream { stream, got: Vec::new() }, id))
        }
    }
}

/// A connected UDP socket: it receives from one server only, and ICMP errors.
fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    // The kernel chooses the port at random (RFC 5452 §9.2).
    let any = if to.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}

/// The message with its length prefix (RFC 1035 §4.2.2).
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("invariant: no DNS message exceeds 64 KiB");
    [&length.to_be_bytes(), message].concat()
}

/// Passes on the datagrams of one turn; whether there may be more.
fn datagrams(
    socket: &UdpSocket,
    buffer: &mut [u8],
    reply: &mut impl FnMut(&[u8]),
) -> io::Result<bool> {
    for _ in 0..TURN {
        match socket.recv(buffer) {
            Ok(length) => reply(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A message, once complete; the walk's timeout limits a slow server.
///
/// Later bytes are kept: the right reply may follow one to another query.
fn read(stream: &mut Stream, got: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = whole(got) {
            return Ok(Some(message));
        }
        match stream.read(&mut buffer)? {
            None => return Ok(None),
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(count) => got.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Takes the first message, if complete.
fn whole(got: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = message_end(got)?;
    Some(got.drain(..end).skip(2).collect())
}

/// End of the first message with its length prefix, if complete.
fn message_end(got: &[u8]) -> Option<usize> {
    let (length, _) = got.split_first_chunk::<2>()?;
    let end = 2 + usize::from(u16::from_be_bytes(*length));
    (got.len() >= end).then_some(end)
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there (connection refused)".to_owned(),
        ErrorKind::UnexpectedEof => "the connection was closed without an answer".to_owned(),
        ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether this host has a route to an address: connecting a datagram socket only looks it up.
#[must_use]
pub fn has_route(to: IpAddr) -> bool {
    let any = |v4| {
        if v4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) }
    };
    let socket = std::net::UdpSocket::bind((any(to.is_ipv4()), 0));
    socket.and_then(|socket| socket.connect((to, PORT))).is_ok()
}

/// Whether this host has routes to servers over IPv4 and over IPv6: to any of the hints' servers of
/// that family, or to the Internet if there are none.
#[must_use]
pub fn families(hints: &Hints) -> [bool; 2] {
    /// A root server's two addresses.
    const SOMEWHERE: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
    ];
    SOMEWHERE.map(|somewhere| {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == somewhere.is_ipv4();
        let mut own = hints.roots.iter().map(|(_, ip)| *ip).filter(of_family).peekable();
        if own.peek().is_some() { own.any(has_route) } else { has_route(somewhere) }
    })
}
