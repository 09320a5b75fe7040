//! The clients of a resolver on real sockets: datagrams, connections, and the loop of both sides.
//!
//! It exists so that `dig` can ask a walk. It must never decide what a client is told: the resolver
//! does. It must never keep a connection that only costs.

use super::batch::{BATCH, SOCKETS, Sockets};
use super::{framed, whole};
use crate::dnssec::UnixSeconds;
use crate::event::{Record, Transport};
use crate::resolver::{Client, Reply, Resolver};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::{Clock, utc_seconds};
use wirelab::runtime::shutdown;
use wirelab::runtime::timer::Timer;

const TIMER: Token = Token(0);
const STOP: Token = Token(1);
/// Tokens of listening sockets begin here, those of connections follow: far above those of the
/// queries' sockets.
const LISTENING: usize = 1 << 40;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// Datagrams taken from one socket before the walks have their turn.
const DATAGRAMS: usize = 256;
/// Bytes of a datagram that are read: no query is longer than what fits a packet.
const DATAGRAM: usize = 4_096;
/// Bytes that wait for a client that reads slowly before no more of its questions are read: two of
/// the longest messages.
const UNREAD_MAX: usize = 2 * 65_537;
/// How often connections are looked through for idle ones.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Attempts at a port that is free for both transports.
const PORT_TRIES: usize = 32;

/// What clients may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Connections at once; one more is closed as it comes. 256 of 64 questions each are more than
    /// a fleet has walks.
    pub connections: u32,
    /// Questions in flight on one connection; the next one is read when one is answered (RFC 7766
    /// §6.2.1.1 wants several).
    pub per_connection: u32,
    /// A connection without a whole question or a byte that the client takes is closed after this:
    /// "of the order of a few seconds" (RFC 7766 §6.2.3).
    pub idle: Duration,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self { connections: 256, per_connection: 64, idle: Duration::from_secs(10) }
    }
}

/// Sockets that clients find, bound and not yet at work.
#[derive(Debug)]
pub struct Front {
    places: Vec<(UdpSocket, TcpListener)>,
    addresses: Vec<SocketAddr>,
    limits: FrontLimits,
}

impl Front {
    /// Listens at each address over UDP and TCP; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// Where an address cannot be listened on; the error names it.
    pub fn listen(at: &[SocketAddr], limits: FrontLimits) -> io::Result<Self> {
        let mut places = Vec::new();
        let mut addresses = Vec::new();
        for address in at {
            let (udp, tcp) = bind(*address).map_err(|error| {
                io::Error::new(error.kind(), format!("{address} over UDP and TCP: {error}"))
            })?;
            addresses.push(udp.local_addr()?);
            places.push((udp, tcp));
        }
        Ok(Self { places, addresses, limits })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers clients until stopped, then ends what is in flight; `observe` is told what happens
    /// in the walks, where they tell their steps. Signatures are judged at the time of day, unless
    /// `fixed_time`.
    ///
    /// # Errors
    /// Where the kernel gives no event queue, or `observe` fails.
    pub fn run(
        self,
        resolver: Resolver,
        clock: Clock,
        stopped: &mut shutdown::Receiver,
        fixed_time: bool,
        mut observe: impl FnMut(u64, &Record) -> io::Result<()>,
    ) -> io::Result<Resolver> {
        let mut desk = Desk::new(self, resolver, clock, stopped)?;
        let mut events = Events::with_capacity(EVENTS);
        let mut buffers = vec![[0; 2048]; BATCH];
        loop {
            if !fixed_time {
                desk.resolver.judge_at(UnixSeconds(utc_seconds()));
            }
            desk.attend();
            while let Some((number, record)) = desk.resolver.poll_record() {
                observe(number, &record)?;
            }
            if desk.stopping && desk.resolver.is_idle() {
                desk.poll.registry().deregister(stopped.source())?;
                return Ok(desk.resolver);
            }
            desk.wait(&mut events)?;
            for token in events.iter().map(mio::event::Event::token) {
                if token == STOP {
                    desk.stopping |= stopped.is_stopped();
                } else if let Some(at) = token.0.checked_sub(LISTENING) {
                    desk.client(at);
                } else if let Some(slot) = token.0.checked_sub(SOCKETS) {
                    let fleet = desk.resolver.fleet_mut();
                    desk.sockets.ready(fleet, clock, slot, &mut buffers);
                }
            }
            let now = clock.now();
            for place in std::mem::take(&mut desk.unread) {
                desk.datagrams(place);
            }
            desk.resolver.fleet_mut().handle_timeout(now);
            if desk.stopping {
                desk.resolver.fleet_mut().cancel(now);
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::new(ErrorKind::AddrInUse, "no port is free for both");
    for _ in 0..PORT_TRIES {
        let udp = UdpSocket::bind(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() == 0 => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Datagram { place: usize, peer: SocketAddr },
    Connection(usize),
}

struct Connection {
    stream: TcpStream,
    got: Vec<u8>,
    out: Vec<u8>,
    in_flight: u32,
    /// A whole question came, or the client took a byte.
    last: Instant,
    /// The client will send no more.
    ended: bool,
    /// Something may be left to read.
    readable: bool,
}

/// Everything at work.
struct Desk {
    poll: Poll,
    timer: Timer,
    clock: Clock,
    resolver: Resolver,
    sockets: Sockets,
    places: Vec<(UdpSocket, TcpListener)>,
    limits: FrontLimits,
    clients: HashMap<u64, Origin>,
    connections: BTreeMap<usize, Connection>,
    next_client: u64,
    next_connection: usize,
    next_sweep: Instant,
    /// Sockets of datagrams that were left with something to read.
    unread: Vec<usize>,
    stopping: bool,
}

impl Desk {
    fn new(
        front: Front,
        resolver: Resolver,
        clock: Clock,
        stopped: &mut shutdown::Receiver,
    ) -> io::Result<Self> {
        let Front { mut places, limits, .. } = front;
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        for (at, (udp, tcp)) in places.iter_mut().enumerate() {
            let token = LISTENING + 2 * at;
            poll.registry().register(udp, Token(token), Interest::READABLE)?;
            poll.registry().register(tcp, Token(token + 1), Interest::READABLE)?;
        }
        Ok(Self {
            sockets: Sockets::new(poll.registry().try_clone()?),
            next_connection: 2 * places.len(),
            poll,
            timer,
            clock,
            resolver,
            places,
            limits,
            clients: HashMap::new(),
            connections: BTreeMap::new(),
            next_client: 0,
            next_sweep: Instant::ZERO,
            unread: Vec::new(),
            stopping: false,
        })
    }

    /// Sends what both sides have to send.
    fn attend(&mut self) {
        loop {
            self.sockets.drain(self.resolver.fleet_mut(), self.clock);
            self.resolver.settle(self.clock.now());
            let mut any = false;
            while let Some(reply) = self.resolver.poll_reply() {
                any = true;
                self.reply(reply);
            }
            // A reply may make room on a connection, and its next question may send something.
            if !any {
                return;
            }
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.clock.now();
        self.sweep(now);
        let walks = self.resolver.fleet_mut().poll_timeout();
        let sweep = Some(self.next_sweep).filter(|_| !self.connections.is_empty());
        let next = walks.into_iter().chain(sweep).min();
        self.timer.set(&self.clock, now, next)?;
        let at_once = Some(Duration::ZERO).filter(|_| !self.unread.is_empty() || self.stopping);
        match self.poll.poll(events, at_once) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Closes connections that only cost.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_EVERY;
        let idle = self.limits.idle;
        self.connections.retain(|_, connection| {
            // While it waits for an answer it is not the client who is late.
            let waits = connection.in_flight > 0 && connection.out.is_empty();
            waits || now.since(connection.last) < idle
        });
    }

    /// A client's socket has something to say.
    fn client(&mut self, at: usize) {
        if at >= 2 * self.places.len() {
            if let Some(connection) = self.connections.get_mut(&at) {
                connection.readable = true;
                self.talk(at);
            }
        } else if at.is_multiple_of(2) {
            self.datagrams(at / 2);
        } else {
            self.accept(at / 2);
        }
    }

    fn datagrams(&mut self, place: usize) {
        let mut buffer = [0; DATAGRAM];
        for _ in 0..DATAGRAMS {
            match self.places[place].0.recv_from(&mut buffer) {
                // Nobody can be replied to there.
                Ok((_, peer)) if peer.port() == 0 => {}
                Ok((length, peer)) => {
                    let origin = Origin::Datagram { place, peer };
                    self.query(origin, Transport::Udp, &buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier reply: its client has gone.
                Err(_) => {}
            }
        }
        self.unread.push(place);
    }

    /// A message came; whether a reply will follow.
    fn query(&mut self, origin: Origin, transport: Transport, bytes: &[u8]) -> bool {
        if self.stopping {
            return false;
        }
        self.next_client += 1;
        let client = Client(self.next_client);
        let now = self.clock.now();
        let follows = self.resolver.handle_query(now, client, transport, bytes);
        if follows {
            self.clients.insert(client.0, origin);
        }
        follows
    }

    fn accept(&mut self, place: usize) {
        loop {
            let (mut stream, _) = match self.places[place].1.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let most = usize::try_from(self.limits.connections).unwrap_or(usize::MAX);
            if self.connections.len() >= most || self.stopping {
                continue;
            }
            let at = self.next_connection;
            self.next_connection += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if registry.register(&mut stream, Token(LISTENING + at), interest).is_ok() {
                // A question and its answer are small; none waits for the next.
                let _ = stream.set_nodelay(true);
                let connection = Connection {
                    stream,
                    got: Vec::new(),
                    out: Vec::new(),
                    in_flight: 0,
                    last: self.clock.now(),
                    ended: false,
                    readable: false,
                };
                self.connections.insert(at, connection);
            }
        }
    }

    /// Reads questions while the connection may ask more, writes what it takes, and closes it
    /// where nothing more is to come.
    fn talk(&mut self, at: usize) {
        let now = self.clock.now();
        let Some(mut connection) = self.connections.remove(&at) else { return };
        let mut sound = connection.write(now).is_ok();
        while sound && let Some(message) = connection.next(&self.limits) {
            match message {
                Ok(bytes) => {
                    connection.last = now;
                    // What is no question on a connection ends it: nobody knows what follows.
                    sound = self.query(Origin::Connection(at), Transport::Tcp, &bytes);
                    connection.in_flight += u32::from(sound);
                }
                Err(_) => sound = false,
            }
        }
        let over = connection.ended && connection.in_flight == 0 && connection.out.is_empty();
        if sound && !over {
            self.connections.insert(at, connection);
        }
    }

    fn reply(&mut self, reply: Reply) {
        match self.clients.remove(&reply.client.0) {
            Some(Origin::Datagram { place, peer }) => {
                // A full socket loses a datagram as a path does.
                let _ = self.places[place].0.send_to(&reply.bytes, peer);
            }
            Some(Origin::Connection(at)) => {
                if let Some(connection) = self.connections.get_mut(&at) {
                    connection.in_flight = connection.in_flight.saturating_sub(1);
                    connection.out.extend(framed(&reply.bytes));
                    self.talk(at);
                }
            }
            None => {}
        }
    }
}

impl Connection {
    /// Writes what the client takes.
    fn write(&mut self, now: Instant) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
                Ok(count) => {
                    self.out.drain(..count);
                    self.last = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next whole message, if there is one and the connection may ask more now.
    fn next(&mut self, limits: &FrontLimits) -> Option<io::Result<Vec<u8>>> {
        if self.in_flight >= limits.per_connection || self.out.len() > UNREAD_MAX {
            return None;
        }
        let mut buffer = [0; 4_096];
        loop {
            if let Some(message) = whole(&mut self.got) {
                return Some(Ok(message));
            }
            if !self.readable {
                return None;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => (self.ended, self.readable) = (true, false),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
