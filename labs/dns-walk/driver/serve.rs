//! The servers of a demonstration on loopback: one UDP socket and one listener per address.
//!
//! It exists so that a walk sends real packets with no network. It must never listen beyond
//! loopback, nor answer what the authority would not.

use super::{framed, whole};
use crate::demo::{Authority, is_demo_v6};
use crate::event::Transport;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;
use wirelab::measure::Instant;
use wirelab::path::{Bytes, Direction, Frame, Link, LinkPlan, Verdict};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::runtime::timer::Timer;

const TIMER: Token = Token(0);
const STOP: Token = Token(1);
/// Tokens of sockets: two per address, then the connections.
const SOCKETS: usize = 2;
/// Connections open at once; a walk has one, a curious person a few.
const CONNECTIONS_MAX: usize = 64;
/// Datagrams on the emulated path at once; more are lost, as in a queue that is full.
const WAITING_MAX: usize = 10_000;
/// Connections that wait to be accepted; more are refused.
const BACKLOG: i32 = 128;
/// What gives this host the addresses of the demonstration over IPv6; it needs root, once.
pub const DUAL_ROUTE: &str = "ip -6 route add local fd53::/16 dev lo";
/// Attempts at a port that is free on every address.
const PORT_TRIES: usize = 32;
/// Headers before a datagram on a path: Ethernet, IPv4, UDP.
const HEADERS: usize = 42;
/// Largest query that is read.
const DATAGRAM: usize = 65_535;

/// Servers at work in a thread of their own; they end when this is dropped.
#[derive(Debug)]
pub struct Serving {
    port: u16,
    stopper: shutdown::Sender,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// The port at which every server listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Where the kernel gives no event queue.
    pub fn until(self, stopped: &mut shutdown::Receiver) -> io::Result<()> {
        let mut poll = Poll::new()?;
        poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        let mut events = Events::with_capacity(1);
        while !stopped.is_stopped() {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

/// Starts the servers of `authority`; datagrams go through a link of `plan` in each direction.
///
/// `port` is the port for all addresses; absent, one that is free everywhere is found.
///
/// # Errors
/// Where an address cannot be listened on, or is not a loopback address.
pub fn serve(
    authority: Authority,
    port: Option<u16>,
    plan: &LinkPlan,
    seed: u64,
) -> io::Result<Serving> {
    let addresses: Vec<IpAddr> = authority.addresses().collect();
    let inside = |address: &&IpAddr| address.is_loopback() || is_demo_v6(**address);
    if let Some(beyond) = addresses.iter().find(|address| !inside(address)) {
        let why = format!("expected loopback addresses, got {beyond}");
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    let (port, sockets) = bind_all(&addresses, port)?;
    let (stopper, stopped) = shutdown::pair()?;
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), seed, direction));
    let server = Server::new(authority, sockets, links, stopped)?;
    let thread = std::thread::Builder::new().name("dns-demo".to_owned()).spawn(move || {
        let mut server = server;
        if let Err(error) = server.run() {
            tracing::error!("the demonstration's servers stopped: {error}");
        }
    })?;
    Ok(Serving { port, stopper, thread: Some(thread) })
}

type Pair = (IpAddr, UdpSocket, TcpListener);

fn bind_all(addresses: &[IpAddr], port: Option<u16>) -> io::Result<(u16, Vec<Pair>)> {
    let mut last = io::Error::new(ErrorKind::InvalidInput, "no address to listen on");
    for _ in 0..PORT_TRIES {
        let Some(first) = addresses.first() else { break };
        let wanted = match port {
            Some(port) => port,
            None => std::net::UdpSocket::bind((*first, 0))?.local_addr()?.port(),
        };
        let bind = |address: &IpAddr| -> io::Result<Pair> {
            let at = SocketAddr::new(*address, wanted);
            if !address.is_loopback() {
                return on_loopback(at).map(|(udp, tcp)| (*address, udp, tcp));
            }
            Ok((*address, UdpSocket::bind(at)?, TcpListener::bind(at)?))
        };
        match addresses.iter().map(bind).collect() {
            Ok(sockets) => return Ok((wanted, sockets)),
            Err(error) if port.is_none() && error.kind() == ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Binds at an address that somebody beyond this host might reach, and hears loopback alone.
///
/// # Errors
/// Where there is no way to that address over loopback, or it is taken.
fn on_loopback(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let probe = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    probe.bind_device(Some(b"lo"))?;
    probe.connect(&at.into())?;
    let bind = |kind, protocol| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
        socket.bind_device(Some(b"lo"))?;
        // A host that has a whole prefix has none of its addresses by name.
        socket.set_freebind_v6(true)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(kind == Type::STREAM)?;
        socket.bind(&at.into())?;
        Ok(socket)
    };
    let udp = bind(Type::DGRAM, Protocol::UDP)?;
    let tcp = bind(Type::STREAM, Protocol::TCP)?;
    tcp.listen(BACKLOG)?;
    Ok((UdpSocket::from_std(udp.into()), TcpListener::from_std(tcp.into())))
}

/// A datagram on the emulated path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Instant,
    order: u64,
    host: usize,
    client: SocketAddr,
    to_server: bool,
    bytes: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    host: IpAddr,
    got: Vec<u8>,
    out: Vec<u8>,
}

struct Server {
    authority: Authority,
    sockets: Vec<Pair>,
    links: [Link; 2],
    stopped: shutdown::Receiver,
    poll: Poll,
    timer: Timer,
    clock: Clock,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    connections: BTreeMap<usize, Connection>,
    next_token: usize,
}

impl Server {
    fn new(
        authority: Authority,
        mut sockets: Vec<Pair>,
        links: [Link; 2],
        mut stopped: shutdown::Receiver,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        for (index, (_, udp, tcp)) in sockets.iter_mut().enumerate() {
            let token = SOCKETS + 2 * index;
            poll.registry().register(udp, Token(token), Interest::READABLE)?;
            poll.registry().register(tcp, Token(token + 1), Interest::READABLE)?;
        }
        let next_token = SOCKETS + 2 * sockets.len();
        Ok(Self {
            authority,
            sockets,
            links,
            stopped,
            poll,
            timer,
            clock: Clock::start(),
            waiting: BinaryHeap::new(),
            order: 0,
            connections: BTreeMap::new(),
            next_token,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !self.stopped.is_stopped() {
            let now = self.clock.now();
            self.due(now);
            let next = self.waiting.peek().map(|Reverse(waiting)| waiting.at);
            self.timer.set(&self.clock, now, next)?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            let first_connection = SOCKETS + 2 * self.sockets.len();
            for Token(token) in events.iter().map(mio::event::Event::token) {
                match token.checked_sub(SOCKETS) {
                    None => {}
                    Some(_) if token >= first_connection => self.connection(token),
                    Some(place) if place % 2 == 0 => self.datagrams(place / 2),
                    Some(place) => self.accept(place / 2),
                }
            }
        }
        Ok(())
    }

    /// Everything that has come to the end of the path by now.
    fn due(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(arrived)) = self.waiting.pop() else { return };
            let Some((host, socket, _)) = self.sockets.get(arrived.host) else { continue };
            if !arrived.to_server {
                // A full socket loses a datagram as a path does.
                let _ = socket.send_to(&arrived.bytes, arrived.client);
            } else if let Some(reply) = self.authority.reply(*host, Transport::Udp, &arrived.bytes)
            {
                self.carry(now, Direction::BToA, arrived.host, arrived.client, reply);
            }
        }
    }

    /// Puts a datagram on the path.
    fn carry(
        &mut self,
        now: Instant,
        direction: Direction,
        host: usize,
        client: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let length = u32::try_from(bytes.len() + HEADERS).unwrap_or(u32::MAX);
        let frame = Frame { bytes: Bytes::Payload(&bytes), length };
        let fate = self.links[direction.index()].handle_frame(now, frame, 0);
        let Verdict::Deliver { at, copies } = fate.verdict else { return };
        let to_server = direction == Direction::AToB;
        for _ in 0..copies {
            if self.waiting.len() >= WAITING_MAX {
                return;
            }
            let (order, bytes) = (self.order, bytes.clone());
            self.order += 1;
            self.waiting.push(Reverse(Waiting { at, order, host, client, to_server, bytes }));
        }
        self.due(now);
    }

    fn datagrams(&mut self, host: usize) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let Some((_, socket, _)) = self.sockets.get(host) else { return };
            match socket.recv_from(&mut buffer) {
                Ok((length, client)) => {
                    let now = self.clock.now();
                    self.carry(now, Direction::AToB, host, client, buffer[..length].to_vec());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An ICMP error of an earlier reply: its sender has gone.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }

    fn accept(&mut self, host: usize) {
        while let Some((address, _, listener)) = self.sockets.get(host) {
            let Ok((mut stream, _)) = listener.accept() else { return };
            if self.connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let token = self.next_token;
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(token), interest).is_ok() {
                let (host, got, out) = (*address, Vec::new(), Vec::new());
                self.connections.insert(token, Connection { stream, host, got, out });
            }
        }
    }

    fn connection(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if talk(connection, &self.authority).is_err() {
            self.connections.remove(&token);
        }
    }
}

/// Reads queries and writes replies until the connection has nothing more to say.
fn talk(connection: &mut Connection, authority: &Authority) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let ended = loop {
        match connection.stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => connection.got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        while let Some(query) = whole(&mut connection.got) {
            if let Some(reply) = authority.reply(connection.host, Transport::Tcp, &query) {
                connection.out.extend(framed(&reply));
            }
        }
    };
    while !connection.out.is_empty() {
        match connection.stream.write(&connection.out) {
            Ok(count) => drop(connection.out.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if ended { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
