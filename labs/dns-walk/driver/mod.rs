//! Walks on real sockets: one socket for every query.
//!
//! It exists so that the walk need not wait. It must never judge what arrives beyond whose socket
//! it came to: that is the walk's.

mod batch;
mod frontend;
mod serve;
mod stub;

pub use batch::{Told, many};
pub use frontend::{Front, FrontLimits};
pub use serve::{DUAL_ROUTE, Serving, serve};
pub use stub::{System, ask_server};

use crate::event::{Record, Transport};
use crate::hints::{Hints, PORT};
use crate::walk::{AttemptId, Transmit, Walk};
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Registry, Token};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::runtime::timer::Timer;

const TIMER: Token = Token(0);
const STOP: Token = Token(1);
/// Tokens of sockets begin here.
const SOCKETS: usize = 2;
/// Events taken from the kernel at a time; a walk has seldom more than a few open.
const EVENTS: usize = 32;
/// Largest datagram (RFC 768): nothing is cut that a server may send.
const DATAGRAM: usize = 65_535;
/// Datagrams of one socket before the others and the clock have their turn: a server that sends
/// faster than they are read must not hold the walk past its time.
const TURN: usize = 64;

/// The socket of one attempt.
enum Socket {
    Datagram(UdpSocket),
    Stream { stream: TcpStream, out: Vec<u8>, written: usize, got: Vec<u8> },
}

impl Socket {
    /// Has the event queue tell once more what is there already.
    fn again(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => registry.reregister(socket, token, Interest::READABLE),
            // It can be written to, so that this comes at once.
            Self::Stream { stream, .. } => {
                registry.reregister(stream, token, Interest::READABLE | Interest::WRITABLE)
            }
        }
    }
}

struct Open {
    socket: Socket,
    to: SocketAddr,
}

fn token(attempt: AttemptId) -> Token {
    Token(usize::try_from(attempt.0).unwrap_or_default() + SOCKETS)
}

/// Runs a walk to its end, or until it is told to stop; `observe` sees each record as it is made.
///
/// # Errors
/// Where the kernel gives no event queue; what happens to one query is the walk's business.
pub fn resolve(
    mut walk: Walk,
    clock: Clock,
    stopped: &mut shutdown::Receiver,
    mut observe: impl FnMut(&Record),
) -> io::Result<(Vec<Record>, Walk)> {
    let mut poll = Poll::new()?;
    let mut timer = Timer::new(poll.registry(), TIMER)?;
    poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
    let mut open: BTreeMap<AttemptId, Open> = BTreeMap::new();
    let mut events = Events::with_capacity(EVENTS);
    let mut records = Vec::new();
    loop {
        drain(&mut walk, clock, poll.registry(), &mut open);
        while let Some(record) = walk.poll_event() {
            observe(&record);
            records.push(record);
        }
        if walk.is_done() {
            poll.registry().deregister(stopped.source())?;
            return Ok((records, walk));
        }
        let now = clock.now();
        let timeout = walk.poll_timeout();
        if timeout.is_some_and(|at| at <= now) {
            walk.handle_timeout(now);
            continue;
        }
        timer.set(&clock, now, timeout)?;
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        if stopped.is_stopped() {
            walk.cancel(clock.now());
        }
        for token in events.iter().map(mio::event::Event::token) {
            let id = token.0.checked_sub(SOCKETS).and_then(|id| u32::try_from(id).ok());
            if let Some(id) = id.map(AttemptId) {
                ready(&mut walk, clock, id, poll.registry(), &mut open)?;
            }
        }
    }
}

/// Sends what the walk wants to send, and closes what it needs no more.
fn drain(walk: &mut Walk, clock: Clock, registry: &Registry, open: &mut BTreeMap<AttemptId, Open>) {
    loop {
        while let Some(id) = walk.poll_release() {
            open.remove(&id);
        }
        let Some(transmit) = walk.poll_transmit() else { return };
        let (id, to) = (transmit.attempt, transmit.to);
        match begin(registry, transmit) {
            Ok(socket) => drop(open.insert(id, Open { socket, to })),
            Err(error) => walk.handle_unreachable(clock.now(), id, &words(&error)),
        }
    }
}

/// Opens the socket of an attempt and sends, or begins to connect.
fn begin(registry: &Registry, transmit: Transmit) -> io::Result<Socket> {
    let token = token(transmit.attempt);
    let to = transmit.to;
    match transmit.transport {
        Transport::Udp => {
            // The kernel draws the port (RFC 5452 §9.2). A connected socket hears nobody else, and
            // learns where nobody listens.
            let any = if to.is_ipv4() {
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
            } else {
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
            };
            let mut socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            socket.send(&transmit.bytes)?;
            Ok(Socket::Datagram(socket))
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(to)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, token, interest)?;
            let out = framed(&transmit.bytes);
            Ok(Socket::Stream { stream, out, written: 0, got: Vec::new() })
        }
    }
}

/// The message with its length before it (RFC 1035 §4.2.2); a query is far shorter than 64 KiB.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// A socket has something to say.
fn ready(
    walk: &mut Walk,
    clock: Clock,
    id: AttemptId,
    registry: &Registry,
    open: &mut BTreeMap<AttemptId, Open>,
) -> io::Result<()> {
    let Some(Open { socket, to }) = open.get_mut(&id) else { return Ok(()) };
    let more = match socket {
        Socket::Datagram(socket) => datagrams(walk, clock, id, *to, socket),
        Socket::Stream { stream, out, written, got } => {
            write(stream, out, written).and_then(|()| read(stream, got)).map(|whole| {
                whole.is_some_and(|message| {
                    walk.handle_reply(clock.now(), id, *to, &message);
                    true
                })
            })
        }
    };
    match more {
        Ok(true) => socket.again(registry, token(id))?,
        Ok(false) => {}
        Err(error) => walk.handle_unreachable(clock.now(), id, &words(&error)),
    }
    Ok(())
}

/// Hands over what came, as far as one turn goes; whether there may be more.
fn datagrams(
    walk: &mut Walk,
    clock: Clock,
    id: AttemptId,
    to: SocketAddr,
    socket: &UdpSocket,
) -> io::Result<bool> {
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..TURN {
        match socket.recv(&mut buffer) {
            Ok(length) => walk.handle_reply(clock.now(), id, to, &buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write(stream: &mut TcpStream, out: &[u8], written: &mut usize) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    while *written < out.len() {
        match stream.write(&out[*written..]) {
            Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
            Ok(count) => *written += count,
            // Not connected yet, or the kernel's buffer is full: the next event says when.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A message, once all of it is there; a server that drips it meets the walk's patience.
///
/// What follows it stays: a reply to somebody else is no reason not to hear the right one.
fn read(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = whole(got) {
            return Ok(Some(message));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes the first message, if it is whole.
fn whole(got: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, _) = got.split_first_chunk::<2>()?;
    let end = 2 + usize::from(u16::from_be_bytes(*length));
    (got.len() >= end).then(|| got.drain(..end).skip(2).collect())
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
        ErrorKind::UnexpectedEof => "the connection was closed without an answer".to_owned(),
        ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether this host has a way to an address: it need not send anything to know, for connecting a
/// datagram socket only looks the route up.
#[must_use]
pub fn has_route(to: IpAddr) -> bool {
    let any = |v4| {
        if v4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) }
    };
    let socket = std::net::UdpSocket::bind((any(to.is_ipv4()), 0));
    socket.and_then(|socket| socket.connect((to, PORT))).is_ok()
}

/// Whether this host has a way to servers over IPv4, and over IPv6: to any of the hints' servers of
/// that family, or to the Internet where they have none of it.
#[must_use]
pub fn families(hints: &Hints) -> [bool; 2] {
    /// A server of the root, by both of its addresses.
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
