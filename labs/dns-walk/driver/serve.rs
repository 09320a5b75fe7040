//! Authoritative servers of a demonstration: a UDP socket and a TCP listener per address.
//!
//! They listen on loopback only, so that a walk sends real packets without a network.

use super::session::{DnsSession, SessionLimits};
use crate::demo::{Authority, is_demo_v6};
use crate::event::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::{Direction, Frame, Link, LinkPlan, Verdict};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{EventLoop, SourceId};
use wirelab::runtime::server::{Core, Limits, ListenerConfig, Output, Server};
use wirelab::runtime::shutdown;

/// Open connections; a walk has one, a user few.
const CONNECTIONS_MAX: usize = 64;
/// Limits of a connection, as for the resolver's clients.
const SESSION: SessionLimits = SessionLimits { in_flight: 64, idle: Duration::from_secs(10) };
/// Maximum datagrams on the emulated path; more are lost, as in a full queue.
const WAITING_MAX: usize = 10_000;
/// Accept queue of a listener.
const BACKLOG: i32 = 128;
/// Adds the demonstration's IPv6 addresses to this host; needs root, once.
pub const DUAL_ROUTE: &str = "ip -6 route add local fd53::/16 dev lo";
/// Attempts to find a port that is free on every address.
const PORT_TRIES: usize = 32;
/// Headers before a datagram on a path: Ethernet, IPv4, UDP.
const HEADERS: usize = 42;
/// Maximum bytes read of a query.
const DATAGRAM: usize = 65_535;

/// Servers in a thread; they end when this is dropped.
#[derive(Debug)]
pub struct Serving {
    port: u16,
    stopper: shutdown::Sender,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// The port of every server.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Serves until shutdown.
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue.
    pub fn until(self, shutdown: &mut shutdown::Receiver) -> io::Result<()> {
        shutdown.wait()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

/// Starts the servers of `authority`; datagrams pass a link of `plan` in each direction.
///
/// `port` is the port for all addresses; if absent, one that is free everywhere is found.
///
/// # Errors
/// Fails if an address cannot be bound, or is not a loopback address.
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
    let (port, listeners) = bind_all(&addresses, port)?;
    let (stopper, mut shutdown) = shutdown::pair()?;
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), seed, direction));
    let core = Hierarchy { authority, addresses, links, waiting: BinaryHeap::new(), order: 0 };
    let limits = Limits { connections: CONNECTIONS_MAX, datagram: DATAGRAM };
    let mut events = EventLoop::new(Clock::start())?;
    let mut server = Server::new(&mut events, core, listeners, limits)?;
    let thread = std::thread::Builder::new().name("dns-demo".to_owned()).spawn(move || {
        if let Err(error) = events.run(&mut server, &mut shutdown) {
            tracing::error!("the demonstration's servers stopped: {error}");
        }
    })?;
    Ok(Serving { port, stopper, thread: Some(thread) })
}

fn bind_all(addresses: &[IpAddr], port: Option<u16>) -> io::Result<(u16, Vec<ListenerConfig>)> {
    let mut last = io::Error::new(ErrorKind::InvalidInput, "no address to listen on");
    for _ in 0..PORT_TRIES {
        let Some(first) = addresses.first() else { break };
        let wanted = match port {
            Some(port) => port,
            None => UdpSocket::bind((*first, 0))?.local_addr()?.port(),
        };
        let bind = |address: &IpAddr| -> io::Result<ListenerConfig> {
            let at = SocketAddr::new(*address, wanted);
            let (udp, tcp) = if address.is_loopback() {
                (UdpSocket::bind(at)?, TcpListener::bind(at)?)
            } else {
                on_loopback(at)?
            };
            Ok(ListenerConfig { udp: Some(udp), tcp: Some(tcp), nodelay: false })
        };
        match addresses.iter().map(bind).collect() {
            Ok(sockets) => return Ok((wanted, sockets)),
            Err(error) if port.is_none() && error.kind() == ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Binds at an address that may be reachable from other hosts, but accepts loopback only.
///
/// # Errors
/// Fails if the address has no route over loopback, or is taken.
fn on_loopback(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let probe = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    probe.bind_device(Some(b"lo"))?;
    probe.connect(&at.into())?;
    let bind = |kind, protocol| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
        socket.bind_device(Some(b"lo"))?;
        // A host with a whole local prefix has none of its addresses by name.
        socket.set_freebind_v6(true)?;
        socket.set_reuse_address(kind == Type::STREAM)?;
        socket.bind(&at.into())?;
        Ok(socket)
    };
    let udp = bind(Type::DGRAM, Protocol::UDP)?;
    let tcp = bind(Type::STREAM, Protocol::TCP)?;
    tcp.listen(BACKLOG)?;
    Ok((udp.into(), tcp.into()))
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

/// The servers of a hierarchy as a server core, behind an emulated path for datagrams.
struct Hierarchy {
    authority: Authority,
    /// The servers', in the order of their listeners.
    addresses: Vec<IpAddr>,
    links: [Link; 2],
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
}

impl Hierarchy {
    /// Sends a datagram over the path.
    fn carry(
        &mut self,
        now: Instant,
        direction: Direction,
        host: usize,
        client: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let length = u32::try_from(bytes.len() + HEADERS)
            .expect("invariant: a datagram and its headers are shorter than 4 GiB");
        let frame = Frame { bytes: wirelab::path::Bytes::Payload(&bytes), length };
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
    }
}

impl Core for Hierarchy {
    type Session = DnsSession;

    fn handle_open(&mut self, now: Instant, host: usize) -> DnsSession {
        DnsSession::new(host, SESSION, now)
    }

    fn handle_stream(
        &mut self,
        now: Instant,
        _connection: SourceId,
        session: &mut DnsSession,
        bytes: &[u8],
    ) {
        session.feed(bytes);
        let address = self.addresses[session.listener];
        while let Some(query) = session.next_query(now) {
            let reply = self.authority.reply(address, Transport::Tcp, &query);
            session.reply(reply.as_deref());
        }
    }

    fn handle_datagram(&mut self, now: Instant, host: usize, from: SocketAddr, bytes: &[u8]) {
        self.carry(now, Direction::AToB, host, from, bytes.to_vec());
    }

    /// Datagrams due at the end of the path: a query is answered, a reply is sent.
    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        while self.waiting.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Reverse(Waiting { host, client, to_server, bytes, .. }) = self.waiting.pop()?;
            if !to_server {
                return Some(Output::Datagram { listener: host, to: client, bytes: bytes.into() });
            }
            let reply = self.authority.reply(self.addresses[host], Transport::Udp, &bytes);
            if let Some(reply) = reply {
                self.carry(now, Direction::BToA, host, client, reply);
            }
        }
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.at)
    }

    /// Only output is due: `poll_output` returns it.
    fn handle_timeout(&mut self, _now: Instant) {}

    fn begin_drain(&mut self, _now: Instant) {}
}
