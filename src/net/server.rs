//! The bank's server on real sockets: one mio loop for any number of sites.
//!
//! A site is one bank with at most one TCP listener and one UDP socket; `bank-tcp serve` has one
//! site, `tcp-vs-udp` has one per lane, each in a namespace of its own.
//! It must never decide what a request means or when a client has been too slow: the cores do.

use super::alarm::Alarm;
use super::clock::Clock;
use super::stop::Stopped;
use crate::bank::server::Server;
use crate::bank::storage::Storage;
use crate::bank::stream::{ServerSession, SessionLimits};
use crate::measure::Instant;
use bytes::{Buf, Bytes};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// One bank and where it listens.
pub struct Site<S: Storage> {
    /// The bank.
    pub server: Server<S>,
    /// Where streams arrive.
    pub tcp: Option<std::net::TcpListener>,
    /// Where datagrams arrive.
    pub udp: Option<std::net::UdpSocket>,
    /// Whether accepted connections send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
}

/// Limits of the loop itself; the session has its own.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections open at once, over all sites; one more is accepted and closed.
    pub connections: usize,
    /// Limits of each session.
    pub session: SessionLimits,
}

/// Connections open at once, by default: half of what 1024 descriptors, a common limit, allow twice
/// over.
pub const CONNECTIONS_MAX: usize = 512;
/// Bytes read from one connection before the others have their turn: one large read.
const READ_TURN: usize = 64 * 1024;
/// Datagrams taken from one socket before the others have their turn.
const DATAGRAM_TURN: usize = 64;
/// How long a stopping server waits for its last replies to be taken.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Longer than any datagram the bank accepts: a longer one is seen to be too long.
const DATAGRAM_BUFFER: usize = 2048;

/// What the loop itself counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because there were too many.
    pub turned_away: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Replies that the kernel would not take.
    pub replies_not_sent: u64,
}

const STOP: Token = Token(0);
const ALARM: Token = Token(1);
const FIRST: usize = 2;

struct Connection {
    site: usize,
    stream: TcpStream,
    session: ServerSession,
    out: Bytes,
    peer_gone: bool,
}

struct Door<S: Storage> {
    server: Server<S>,
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
    nodelay: bool,
}

/// The loop.
pub struct ServerLoop<S: Storage> {
    poll: Poll,
    clock: Clock,
    limits: ServerLimits,
    doors: Vec<Door<S>>,
    connections: BTreeMap<usize, Connection>,
    next_token: usize,
    /// Work that no new edge will announce.
    again: VecDeque<Token>,
    counters: LoopCounters,
    draining: Option<Instant>,
}

impl<S: Storage> ServerLoop<S> {
    /// A loop over these sites; their sockets are made non-blocking.
    ///
    /// # Errors
    /// Where a socket cannot be registered.
    pub fn new(sites: Vec<Site<S>>, limits: ServerLimits, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut doors = Vec::new();
        for (index, site) in sites.into_iter().enumerate() {
            let mut door =
                Door { server: site.server, tcp: None, udp: None, nodelay: site.nodelay };
            if let Some(listener) = site.tcp {
                listener.set_nonblocking(true)?;
                let mut listener = TcpListener::from_std(listener);
                poll.registry().register(&mut listener, tcp_token(index), Interest::READABLE)?;
                door.tcp = Some(listener);
            }
            if let Some(socket) = site.udp {
                socket.set_nonblocking(true)?;
                let mut socket = UdpSocket::from_std(socket);
                poll.registry().register(&mut socket, udp_token(index), Interest::READABLE)?;
                door.udp = Some(socket);
            }
            doors.push(door);
        }
        let next_token = FIRST + 2 * doors.len();
        Ok(Self {
            poll,
            clock,
            limits,
            doors,
            connections: BTreeMap::new(),
            next_token,
            again: VecDeque::new(),
            counters: LoopCounters::default(),
            draining: None,
        })
    }

    /// What the loop counted.
    pub const fn counters(&self) -> &LoopCounters {
        &self.counters
    }

    /// The banks, in the order of their sites.
    pub fn into_servers(self) -> Vec<Server<S>> {
        self.doors.into_iter().map(|door| door.server).collect()
    }

    /// The banks, in the order of their sites.
    pub fn servers(&self) -> impl Iterator<Item = &Server<S>> {
        self.doors.iter().map(|door| &door.server)
    }

    /// Serves until told to stop, then lets every client have its last replies.
    ///
    /// # Errors
    /// Where the kernel refuses to wait or a timer fails; a failing connection is only closed.
    pub fn run(&mut self, mut stopped: Stopped) -> io::Result<()> {
        self.poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        let mut alarm = Alarm::new(self.poll.registry(), ALARM)?;
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.clock.now();
            alarm.set(&self.clock, now, self.next_deadline())?;
            let wait = (!self.again.is_empty()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            let now = self.clock.now();
            for token in std::mem::take(&mut self.again) {
                self.serve(now, token);
            }
            for event in &events {
                match event.token() {
                    STOP if stopped.is_stopped() => self.begin_drain(now),
                    STOP | ALARM => {}
                    token => self.serve(now, token),
                }
            }
            self.expire(now);
            if self.is_drained(now) {
                return Ok(());
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.connections.values().filter_map(|c| c.session.poll_timeout());
        let servers = self.doors.iter().filter_map(|door| door.server.poll_timeout());
        sessions.chain(servers).chain(self.draining.map(|since| since + DRAIN_LIMIT)).min()
    }

    fn begin_drain(&mut self, now: Instant) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now);
        for door in &mut self.doors {
            door.server.drain();
            if let Some(mut listener) = door.tcp.take() {
                // It is dropped either way.
                let _gone = self.poll.registry().deregister(&mut listener);
            }
        }
        let tokens: Vec<usize> = self.connections.keys().copied().collect();
        for token in tokens {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.session.begin_drain(now);
            }
            self.flush(Token(token));
        }
    }

    fn is_drained(&self, now: Instant) -> bool {
        self.draining.is_some_and(|since| {
            let idle = self.connections.values().all(|c| c.out.is_empty());
            idle || now >= since + DRAIN_LIMIT
        })
    }

    fn serve(&mut self, now: Instant, token: Token) {
        let Some(place) = token.0.checked_sub(FIRST) else { return };
        if place >= 2 * self.doors.len() {
            self.serve_connection(now, token);
        } else if place.is_multiple_of(2) {
            self.accept(now, place / 2);
        } else {
            self.serve_datagrams(now, place / 2);
        }
    }

    fn accept(&mut self, now: Instant, site: usize) {
        loop {
            let Some(listener) = &self.doors[site].tcp else { return };
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Out of descriptors, or the client left: the next edge tries again.
                    tracing::warn!(%error, "accept");
                    return;
                }
            };
            self.counters.accepted += 1;
            if self.connections.len() >= self.limits.connections {
                self.counters.turned_away += 1;
                continue;
            }
            if self.doors[site].nodelay
                && let Err(error) = stream.set_nodelay(true)
            {
                tracing::warn!(%error, "TCP_NODELAY");
            }
            let token = Token(self.next_token);
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
                tracing::warn!(%error, "register");
                continue;
            }
            let session = ServerSession::new(now, self.limits.session);
            let connection =
                Connection { site, stream, session, out: Bytes::new(), peer_gone: false };
            self.connections.insert(token.0, connection);
        }
    }

    fn serve_datagrams(&mut self, now: Instant, site: usize) {
        let door = &mut self.doors[site];
        let Some(socket) = &door.udp else { return };
        let mut buffer = [0_u8; DATAGRAM_BUFFER];
        for _ in 0..DATAGRAM_TURN {
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            if let Some(reply) = door.server.handle_datagram(now, &buffer[..length])
                && socket.send_to(&reply, from).is_err()
            {
                // The network may lose a reply; so may a full socket. The client asks again.
                self.counters.replies_not_sent += 1;
            }
        }
        self.again.push_back(udp_token(site));
    }

    fn serve_connection(&mut self, now: Instant, token: Token) {
        let mut buffer = [0_u8; READ_TURN];
        let Some(connection) = self.connections.get_mut(&token.0) else { return };
        if connection.session.wants_resume() {
            let server = &mut self.doors[connection.site].server;
            connection.session.handle_stream(now, server, &[]);
        }
        if connection.session.wants_read() && !connection.peer_gone {
            match connection.stream.read(&mut buffer) {
                Ok(0) => connection.peer_gone = true,
                Ok(length) => {
                    let server = &mut self.doors[connection.site].server;
                    connection.session.handle_stream(now, server, &buffer[..length]);
                    // There may be more, and no new edge will say so.
                    self.again.push_back(token);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => self.again.push_back(token),
                Err(_) => {
                    self.close(token);
                    return;
                }
            }
        }
        self.flush(token);
    }

    /// Sends what the session has to say; closes where it has said all it will.
    fn flush(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token.0) else { return };
        loop {
            if connection.out.is_empty() {
                match connection.session.poll_transmit() {
                    Some(bytes) => connection.out = bytes,
                    None => break,
                }
            }
            match connection.stream.write(&connection.out) {
                Ok(written) => connection.out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(token);
                    return;
                }
            }
        }
        if connection.session.wants_resume() {
            // The replies are out: take the requests that waited for room.
            self.again.push_back(token);
        } else if connection.peer_gone || connection.session.closing().is_some() {
            self.close(token);
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(mut connection) = self.connections.remove(&token.0) {
            // The descriptor closes with the stream, whatever the registry says.
            let _gone = self.poll.registry().deregister(&mut connection.stream);
            self.counters.closed += 1;
        }
    }

    fn expire(&mut self, now: Instant) {
        for door in &mut self.doors {
            if door.server.poll_timeout().is_some_and(|at| at <= now) {
                door.server.handle_timeout(now);
            }
        }
        let late = |c: &Connection| c.session.poll_timeout().is_some_and(|at| at <= now);
        let tokens: Vec<usize> =
            self.connections.iter().filter(|(_, c)| late(c)).map(|(token, _)| *token).collect();
        for token in tokens {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.session.handle_timeout(now);
            }
            self.flush(Token(token));
        }
    }
}

const fn tcp_token(site: usize) -> Token {
    Token(FIRST + 2 * site)
}

const fn udp_token(site: usize) -> Token {
    Token(FIRST + 2 * site + 1)
}
