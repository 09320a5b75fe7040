//! The bank's server on real sockets: one mio loop for any number of sites.
//!
//! A site is one bank with at most one TCP listener and one UDP socket; `bank-tcp serve` has one
//! site, `tcp-vs-udp` has one per lane, each in a namespace of its own.
//! It must never decide what a request means or when a client has been too slow: the cores do.

use crate::bank::client::CloseReason;
use crate::bank::server::Server;
use crate::bank::storage::Storage;
use crate::bank::stream::{ServerSession, SessionLimits};
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::shutdown;
use crate::runtime::timer::Timer;
use bytes::{Buf, Bytes};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// Connections open at once, by default: half of the 1024 descriptors that are a common limit.
pub const CONNECTIONS_MAX: usize = 512;
/// Bytes read from one connection before the others have their turn: one large read.
const READ_TURN: usize = 64 * 1024;
/// Datagrams taken from one socket before the others have their turn.
const DATAGRAM_TURN: usize = 64;
/// Connections accepted before those that are open have their turn.
const ACCEPT_TURN: usize = 64;
/// How long a stopping server waits for its last replies to be taken and its clients to leave.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// From the end of a session to the close, where the peer does not take the last replies.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// From an accept that found no descriptor to the next: a tenth of a second holds no client up
/// noticeably and costs nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longer than any datagram the bank accepts: a longer one is seen to be too long.
const DATAGRAM_BUFFER: usize = 2048;

/// What the loop itself counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoopCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because there were too many.
    pub turned_away: u64,
    /// Accepts that failed: no descriptor was left, or the client had gone.
    pub accept_failures: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Of those, how many had said no HELLO in time.
    pub closed_no_hello: u64,
    /// Of those, how many began a frame and did not complete it in time.
    pub closed_slow_frame: u64,
    /// Of those, how many had asked nothing for too long.
    pub closed_idle: u64,
    /// Of those, how many sent what is not the protocol, or more than is buffered.
    pub closed_violation: u64,
    /// Of those, how many were closed with replies that the peer had not taken.
    pub closed_unread: u64,
    /// Replies that the kernel would not take.
    pub replies_not_sent: u64,
}

const STOP: Token = Token(0);
const TIMER: Token = Token(1);
const FIRST: usize = 2;

struct Connection {
    site: usize,
    stream: TcpStream,
    session: ServerSession,
    /// What the kernel has not taken yet.
    out: Bytes,
    /// Whether there may be more to read: edges are told once.
    readable: bool,
    /// Whether the peer's end is closed, so that a short read is not the last.
    end_is_near: bool,
    peer_gone: bool,
    /// Whether it waits for its turn.
    queued: bool,
    /// When it is looked at, at the latest; its own deadline may have moved away since.
    timer: Option<Instant>,
    /// When it is closed though the peer has not taken the last replies.
    linger_until: Option<Instant>,
}

impl Connection {
    fn deadline(&self) -> Option<Instant> {
        self.linger_until.or_else(|| self.session.poll_timeout())
    }

    /// Replies that wait hold back the next requests, so that a peer that never reads cannot make
    /// the server remember more.
    fn may_read(&self) -> bool {
        self.readable && !self.peer_gone && self.out.is_empty() && self.session.wants_read()
    }
}

struct Door<S: Storage> {
    server: Server<S>,
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
    nodelay: bool,
    tcp_queued: bool,
    udp_queued: bool,
}

/// The loop.
pub struct ServerLoop<S: Storage> {
    poll: Poll,
    clock: Clock,
    limits: ServerLimits,
    doors: Vec<Door<S>>,
    connections: BTreeMap<usize, Connection>,
    /// When to look at which connection; at most one entry each.
    timers: BTreeSet<(Instant, usize)>,
    next_token: usize,
    /// Whose turn comes; each is in it once at most.
    turns: VecDeque<Token>,
    /// When to accept again after there was no descriptor.
    accept_again: Option<Instant>,
    counters: LoopCounters,
    draining: Option<Instant>,
    buffer: Box<[u8]>,
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
            let mut door = Door {
                server: site.server,
                tcp: None,
                udp: None,
                nodelay: site.nodelay,
                tcp_queued: false,
                udp_queued: false,
            };
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
            timers: BTreeSet::new(),
            next_token,
            turns: VecDeque::new(),
            accept_again: None,
            counters: LoopCounters::default(),
            draining: None,
            buffer: vec![0; READ_TURN].into_boxed_slice(),
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
    pub fn run(&mut self, mut stopped: shutdown::Receiver) -> io::Result<()> {
        self.poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        let mut timer = Timer::new(self.poll.registry(), TIMER)?;
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.clock.now();
            timer.set(&self.clock, now, self.next_deadline())?;
            let wait = (!self.turns.is_empty()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            let now = self.clock.now();
            let mut stop = false;
            for event in &events {
                match event.token() {
                    STOP => stop |= stopped.is_stopped(),
                    TIMER => {}
                    token => self.note(token, event),
                }
            }
            // One turn each: who has more to do stands at the end of the next round.
            for token in std::mem::take(&mut self.turns) {
                self.serve(now, token);
            }
            self.expire(now);
            if stop {
                self.begin_drain(now);
            }
            if self.is_drained(now) {
                return Ok(());
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let connections = self.timers.first().map(|(at, _)| *at);
        let servers = self.doors.iter().filter_map(|door| door.server.poll_timeout());
        let drain = self.draining.map(|since| since + DRAIN_LIMIT);
        servers.chain(connections).chain(self.accept_again).chain(drain).min()
    }

    /// Stops listening and says GOAWAY; datagrams that have come already are answered.
    fn begin_drain(&mut self, now: Instant) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now);
        self.accept_again = None;
        for site in 0..self.doors.len() {
            let door = &mut self.doors[site];
            door.server.drain();
            if let Some(mut listener) = door.tcp.take() {
                // It is dropped either way.
                let _gone = self.poll.registry().deregister(&mut listener);
            }
            self.enqueue(udp_token(site));
        }
        let tokens: Vec<usize> = self.connections.keys().copied().collect();
        for token in tokens {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.session.begin_drain(now);
            }
            self.flush(now, Token(token));
        }
    }

    /// A client that was told to go away leaves when it has its replies; who stays is cut off.
    fn is_drained(&self, now: Instant) -> bool {
        self.draining.is_some_and(|since| {
            let done = self.connections.is_empty() && self.turns.is_empty();
            done || now >= since + DRAIN_LIMIT
        })
    }

    /// Remembers what an event says and gives its source a turn.
    fn note(&mut self, token: Token, event: &Event) {
        if let Some(connection) = self.connections.get_mut(&token.0) {
            connection.readable |= event.is_readable();
            connection.end_is_near |= event.is_read_closed() || event.is_error();
        }
        self.enqueue(token);
    }

    fn enqueue(&mut self, token: Token) {
        let Some(place) = token.0.checked_sub(FIRST) else { return };
        let queued = if let Some(door) = self.doors.get_mut(place / 2) {
            if place.is_multiple_of(2) { &mut door.tcp_queued } else { &mut door.udp_queued }
        } else {
            let Some(connection) = self.connections.get_mut(&token.0) else { return };
            &mut connection.queued
        };
        if !std::mem::replace(queued, true) {
            self.turns.push_back(token);
        }
    }

    fn serve(&mut self, now: Instant, token: Token) {
        let Some(place) = token.0.checked_sub(FIRST) else { return };
        let site = place / 2;
        if site >= self.doors.len() {
            self.serve_connection(now, token);
        } else if place.is_multiple_of(2) {
            self.doors[site].tcp_queued = false;
            self.accept(now, site);
        } else {
            self.doors[site].udp_queued = false;
            self.serve_datagrams(now, site);
        }
    }

    fn accept(&mut self, now: Instant, site: usize) {
        for _ in 0..ACCEPT_TURN {
            let Some(listener) = &self.doors[site].tcp else { return };
            match listener.accept() {
                Ok((stream, _)) => self.admit(now, site, stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accept_again = None;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The client left while it waited; the next one has not.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
                    self.counters.accept_failures += 1;
                }
                Err(error) => return self.pause_accepting(now, &error),
            }
        }
        self.enqueue(tcp_token(site));
    }

    /// No descriptor is left. The clients wait in the kernel's queue, and no new edge will tell of
    /// them: a timer does, and every connection that ends.
    fn pause_accepting(&mut self, now: Instant, error: &io::Error) {
        self.counters.accept_failures += 1;
        if self.accept_again.is_none() {
            let open = self.connections.len();
            tracing::warn!(%error, open, "cannot accept; new clients wait until others leave");
        }
        self.accept_again = Some(now + ACCEPT_PAUSE);
    }

    fn admit(&mut self, now: Instant, site: usize, mut stream: TcpStream) {
        self.counters.accepted += 1;
        if self.connections.len() >= self.limits.connections {
            self.counters.turned_away += 1;
            return;
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
            return;
        }
        let connection = Connection {
            site,
            stream,
            session: ServerSession::new(now, self.limits.session),
            out: Bytes::new(),
            readable: false,
            end_is_near: false,
            peer_gone: false,
            queued: false,
            timer: None,
            linger_until: None,
        };
        self.connections.insert(token.0, connection);
        self.watch(token);
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
        self.enqueue(udp_token(site));
    }

    fn serve_connection(&mut self, now: Instant, token: Token) {
        let Some(connection) = self.connections.get_mut(&token.0) else { return };
        connection.queued = false;
        let server = &mut self.doors[connection.site].server;
        if connection.out.is_empty() && connection.session.wants_resume() {
            connection.session.handle_stream(now, server, &[]);
        }
        if connection.may_read() {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => connection.peer_gone = true,
                Ok(length) => {
                    // A short read emptied the socket (epoll(7)), unless its end is behind it.
                    connection.readable = length == self.buffer.len() || connection.end_is_near;
                    connection.session.handle_stream(now, server, &self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(token);
                    return;
                }
            }
        }
        self.flush(now, token);
    }

    /// Sends what the session has to say; closes where it has said all it will.
    fn flush(&mut self, now: Instant, token: Token) {
        let Some(connection) = self.connections.get_mut(&token.0) else { return };
        match write_out(connection) {
            Err(_) => self.close(token),
            Ok(false) => {
                if let Some(reason) = connection.session.closing() {
                    // Who was too slow is not waited for once more.
                    let grace = if is_deadline(reason) { Duration::ZERO } else { LINGER_LIMIT };
                    connection.linger_until.get_or_insert(now + grace);
                }
                self.watch(token);
            }
            Ok(true) if connection.session.wants_resume() || connection.may_read() => {
                // Requests wait for this room, and no new edge will tell of them.
                self.enqueue(token);
                self.watch(token);
            }
            Ok(true) if connection.peer_gone || connection.session.closing().is_some() => {
                self.close(token);
            }
            Ok(true) => self.watch(token),
        }
    }

    /// Sees to it that the connection is looked at when its deadline comes.
    fn watch(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token.0) else { return };
        let Some(deadline) = connection.deadline() else { return };
        // An earlier look will do, and saves moving the timer with every request.
        if connection.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        if let Some(timer) = connection.timer.replace(deadline) {
            self.timers.remove(&(timer, token.0));
        }
        self.timers.insert((deadline, token.0));
    }

    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(&token.0) else { return };
        if let Some(timer) = connection.timer {
            self.timers.remove(&(timer, token.0));
        }
        // The descriptor closes with the stream, whatever the registry says.
        let _gone = self.poll.registry().deregister(&mut connection.stream);
        let counters = &mut self.counters;
        counters.closed += 1;
        counters.closed_unread += u64::from(!connection.out.is_empty());
        match connection.session.closing() {
            Some(CloseReason::HelloDeadline) => counters.closed_no_hello += 1,
            Some(CloseReason::FrameDeadline) => counters.closed_slow_frame += 1,
            Some(CloseReason::IdleTimeout) => counters.closed_idle += 1,
            Some(CloseReason::Protocol(_) | CloseReason::Overrun) => counters.closed_violation += 1,
            _ => {}
        }
        drop(connection);
        if self.accept_again.is_some() {
            // A descriptor is free again.
            self.accept_all();
        }
    }

    fn accept_all(&mut self) {
        for site in 0..self.doors.len() {
            self.enqueue(tcp_token(site));
        }
    }

    fn expire(&mut self, now: Instant) {
        for door in &mut self.doors {
            if door.server.poll_timeout().is_some_and(|at| at <= now) {
                door.server.handle_timeout(now);
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = Some(now + ACCEPT_PAUSE);
            self.accept_all();
        }
        while let Some((at, token)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, token));
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            connection.timer = None;
            if connection.linger_until.is_some_and(|until| until <= now) {
                self.close(Token(token));
                continue;
            }
            connection.session.handle_timeout(now);
            self.flush(now, Token(token));
        }
    }
}

/// Whether the session ended because the peer was too slow.
const fn is_deadline(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::HelloDeadline | CloseReason::FrameDeadline | CloseReason::IdleTimeout
    )
}

/// Writes what there is; false where the kernel takes no more for now.
fn write_out(connection: &mut Connection) -> io::Result<bool> {
    loop {
        if connection.out.is_empty() {
            match connection.session.poll_transmit() {
                Some(bytes) => connection.out = bytes,
                None => return Ok(true),
            }
        }
        match connection.stream.write(&connection.out) {
            Ok(written) => connection.out.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

const fn tcp_token(site: usize) -> Token {
    Token(FIRST + 2 * site)
}

const fn udp_token(site: usize) -> Token {
    Token(FIRST + 2 * site + 1)
}
