//! The server loop: listeners, datagrams and connections in front of a [`Core`].
//!
//! Each connection has one turn per round. Where places or descriptors run out, an idle connection
//! of the address that holds most is closed, so that one address cannot shut out the others.

use super::event_loop::{Driver, EventLoop, Ready, SourceId};
use super::stream::Stream;
use crate::measure::Instant;
use crate::sys::clock::realtime_ns;
use crate::sys::datagrams::{Inbox, Outgoing, send_each};
use crate::sys::limits::raise_descriptors;
use crate::sys::sockets::BATCH_MAX;
use bytes::Bytes;
use mio::Interest;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

/// Bytes read from one connection per turn: one large read.
const READ_TURN: usize = 64 * 1024;
/// Batches of datagrams per socket and turn.
const BATCHES_TURN: usize = 4;
/// Datagrams received, answered and sent together: it bounds the first reply's wait for the others.
const BATCH: usize = 16;
/// Receive buffer of a UDP socket: a second of 4,000 small datagrams, each charged 1 KiB.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Connections accepted per turn.
const ACCEPT_TURN: usize = 64;
/// How long a draining server waits for its last replies to be read and its clients to leave.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// From a failed accept to the next: 100 ms delays no client noticeably and costs nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors besides those of connections: listeners, epoll, timer, signals, and the rest of the
/// process.
const DESCRIPTORS_BESIDE: u64 = 24;
/// A connection that waits for its first reply for less than this keeps its place: a client on a
/// slow path has not yet asked.
const UNANSWERED_MIN: Duration = Duration::from_millis(100);
/// A connection that had a reply within this time keeps its place.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// One connection of a protocol, without a socket.
pub trait Session {
    /// Bytes to send, until there are none; called again when the socket is writable.
    fn poll_transmit(&mut self) -> Option<Bytes>;

    /// Whether to read more now. Nothing is read while bytes wait to be sent.
    fn wants_read(&self) -> bool;

    /// Whether buffered bytes can be handled now: the core gets an empty slice.
    fn wants_resume(&self) -> bool;

    /// Whether the session has ended: it is closed when all is sent.
    fn is_over(&self) -> bool;

    /// How long an ended session waits for its peer to read the last bytes; `None` waits for the
    /// session's own timeout.
    fn linger(&self) -> Option<Duration> {
        None
    }

    /// The peer will send no more.
    fn handle_end(&mut self);

    /// The peer's socket took bytes.
    fn handle_taken(&mut self, now: Instant) {
        let _ = now;
    }

    /// Bytes of [`Output::Stream`], to be sent after those queued.
    fn handle_output(&mut self, bytes: Bytes) {
        let _ = bytes;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The time is `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// The server shuts down: end as soon as pending replies are sent.
    fn begin_drain(&mut self, now: Instant);

    /// Another client gets this place: what to send before the close.
    fn handle_eviction(&mut self) {}
}

/// Output of a core.
#[derive(Debug)]
pub enum Output {
    /// A datagram from the UDP socket of a listener.
    Datagram {
        /// The listener's index in the list given to [`Server::new`].
        listener: usize,
        /// The receiver.
        to: SocketAddr,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Bytes for a connection; dropped if it has ended.
    Stream {
        /// The connection.
        connection: SourceId,
        /// Handed to its session.
        bytes: Bytes,
    },
}

/// The protocol of a server, without sockets, clocks or threads.
pub trait Core {
    /// One connection.
    type Session: Session;

    /// Whether a client may connect; others are closed at once.
    fn admits(&self, client: IpAddr) -> bool {
        let _ = client;
        true
    }

    /// A connection was accepted.
    fn handle_open(&mut self, now: Instant, listener: usize) -> Self::Session;

    /// Bytes arrived on a connection, or buffered bytes can be handled now.
    fn handle_stream(
        &mut self,
        now: Instant,
        connection: SourceId,
        session: &mut Self::Session,
        bytes: &[u8],
    );

    /// Frame sent to a client above the limit, before the close.
    fn no_place(&mut self) -> Bytes {
        Bytes::new()
    }

    /// A connection has ended.
    fn handle_closed(&mut self, session: Self::Session) {
        drop(session);
    }

    /// A datagram arrived; bytes beyond [`Limits::datagram`] are truncated.
    fn handle_datagram(&mut self, now: Instant, listener: usize, from: SocketAddr, bytes: &[u8]);

    /// The same with the arrival, if the kernel stamped it: earlier than `now` by the time that the
    /// datagram waited for the server.
    fn handle_arrival(
        &mut self,
        now: Instant,
        arrived: Instant,
        listener: usize,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let _ = arrived;
        self.handle_datagram(now, listener, from, bytes);
    }

    /// The next output, until there is none.
    fn poll_output(&mut self, now: Instant) -> Option<Output>;

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The time is `now`; called in every round.
    fn handle_timeout(&mut self, now: Instant);

    /// The server shuts down: accept no new work.
    fn begin_drain(&mut self, now: Instant);

    /// Fails if the core can serve no longer: the loop ends with its error, and every connection is
    /// closed.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a draining server need not wait for the core.
    fn is_drained(&self) -> bool {
        true
    }
}

/// Bound sockets of one listener.
#[derive(Debug, Default)]
pub struct ListenerConfig {
    /// Where streams arrive.
    pub tcp: Option<std::net::TcpListener>,
    /// Where datagrams arrive.
    pub udp: Option<std::net::UdpSocket>,
    /// Whether accepted connections send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
}

/// Accept queue of a listener: the kernel's own default limit since Linux 5.4
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A TCP listener with a long accept queue and `SO_REUSEADDR`.
/// Fails with the error of the system call: the port is in use, the address is not this host's.
pub fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Limits of a server; sessions have their own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections over all listeners; fewer where the process may not have the descriptors.
    pub connections: usize,
    /// Maximum bytes read of a datagram.
    pub datagram: usize,
}

/// Counters of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because no place was free, or their client is not served.
    pub turned_away: u64,
    /// Connections closed to give their place to another.
    pub evicted: u64,
    /// Failed accepts: no descriptor was left, or the client had disconnected.
    pub accept_failures: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Of those, how many with bytes that the peer had not read.
    pub closed_unread: u64,
    /// Datagrams that the kernel refused.
    #[serde(rename = "replies_not_sent")]
    pub datagrams_not_sent: u64,
}

/// Sources of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// New connections of a listener.
    Accept(usize),
    /// Datagrams of a listener.
    Datagrams(usize),
    /// A connection.
    Connection,
    /// Work of the core that another thread has finished.
    Core,
}

struct Listener {
    tcp: Option<(TcpListener, SourceId)>,
    udp: Option<(UdpSocket, SourceId)>,
    nodelay: bool,
}

struct Connection<S> {
    stream: Stream,
    session: S,
    network: IpAddr,
    opened: Instant,
    /// When bytes were last sent.
    replied: Option<Instant>,
    /// Whether it had a turn: what it sent before is not yet read.
    served: bool,
    /// Whether there may be more to read: events are edge-triggered.
    readable: bool,
    /// Whether the peer has closed, so that a short read is not the last.
    end_is_near: bool,
    ended: bool,
    /// When to check it, at the latest; its own deadline may be later by now.
    timer: Option<Instant>,
    /// When to close it even if the peer has not read the last bytes.
    linger_until: Option<Instant>,
}

impl<S: Session> Connection<S> {
    const fn new(stream: Stream, session: S, network: IpAddr, now: Instant) -> Self {
        Self {
            stream,
            session,
            network,
            opened: now,
            replied: None,
            served: false,
            readable: false,
            end_is_near: false,
            ended: false,
            timer: None,
            linger_until: None,
        }
    }

    /// Order of eviction: those that had no reply yet, then those that had none for longest.
    fn rank(&self) -> (bool, Instant) {
        (self.replied.is_some(), self.replied.unwrap_or(self.opened))
    }

    /// Whether it has waited long enough to lose its place to a client of a smaller share or its
    /// own address.
    fn is_idle(&self, now: Instant) -> bool {
        match self.replied {
            None => self.served && now.since(self.opened) >= UNANSWERED_MIN,
            Some(at) => now.since(at) >= IDLE_MIN && !self.stream.has_unsent(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.linger_until.or_else(|| self.session.poll_timeout())
    }

    /// Unsent bytes pause reading, so that a peer that never reads cannot make the server buffer
    /// more.
    fn may_read(&self) -> bool {
        self.readable && !self.ended && !self.stream.has_unsent() && self.session.wants_read()
    }

    /// Sends as much as possible; false if the socket is full.
    fn transmit(&mut self, now: Instant) -> io::Result<bool> {
        loop {
            if !self.stream.has_unsent() {
                match self.session.poll_transmit() {
                    Some(bytes) => self.stream.push(bytes),
                    None => return Ok(true),
                }
            }
            if self.stream.flush()? > 0 {
                self.replied = Some(now);
                self.session.handle_taken(now);
            }
            if self.stream.has_unsent() {
                return Ok(false);
            }
        }
    }
}

/// When to accept again after descriptors ran out.
#[derive(Debug, Default)]
struct AcceptPause {
    until: Option<Instant>,
    /// No accept has succeeded since; reported once.
    reported: bool,
}

/// A core and its sockets.
pub struct Server<C: Core> {
    core: C,
    limits: Limits,
    listeners: Vec<Listener>,
    connections: BTreeMap<SourceId, Connection<C::Session>>,
    /// Connections of each network.
    shares: BTreeMap<IpAddr, usize>,
    /// Checks of connections by time; at most one entry each.
    timers: BTreeSet<(Instant, SourceId)>,
    pause: AcceptPause,
    counters: Counters,
    draining: Option<Instant>,
    buffer: Box<[u8]>,
    inbox: Inbox,
    outbox: Outbox,
}

impl<C: Core> Server<C> {
    /// A server at these listeners; makes their sockets non-blocking.
    /// Fails if a socket cannot be registered.
    pub fn new<S: Copy + From<Source>>(
        events: &mut EventLoop<S>,
        core: C,
        listeners: Vec<ListenerConfig>,
        mut limits: Limits,
    ) -> io::Result<Self> {
        if listeners.iter().any(|config| config.tcp.is_some()) {
            limits.connections = places(limits.connections)?;
        }
        let mut made = Vec::new();
        for (index, config) in listeners.into_iter().enumerate() {
            let mut listener = Listener { tcp: None, udp: None, nodelay: config.nodelay };
            if let Some(tcp) = config.tcp {
                tcp.set_nonblocking(true)?;
                let mut tcp = TcpListener::from_std(tcp);
                let source = Source::Accept(index).into();
                let id = events.register(&mut tcp, Interest::READABLE, source)?;
                listener.tcp = Some((tcp, id));
            }
            if let Some(udp) = config.udp {
                udp.set_nonblocking(true)?;
                // The kernel grants up to `net.core.rmem_max`; the default loses bursts.
                let _granted = SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER);
                let mut udp = UdpSocket::from_std(udp);
                let source = Source::Datagrams(index).into();
                let id = events.register(&mut udp, Interest::READABLE, source)?;
                listener.udp = Some((udp, id));
            }
            made.push(listener);
        }
        Ok(Self {
            core,
            limits,
            listeners: made,
            connections: BTreeMap::new(),
            shares: BTreeMap::new(),
            timers: BTreeSet::new(),
            pause: AcceptPause::default(),
            counters: Counters::default(),
            draining: None,
            buffer: vec![0; READ_TURN].into_boxed_slice(),
            inbox: Inbox::with_size(BATCH, limits.datagram),
            outbox: Outbox::default(),
        })
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The core.
    pub const fn core(&self) -> &C {
        &self.core
    }

    /// The core.
    pub const fn core_mut(&mut self) -> &mut C {
        &mut self.core
    }

    /// The core; closes every socket.
    pub fn into_core(self) -> C {
        self.core
    }

    /// Sends the core's output; whether there was any.
    pub fn transmit<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant) -> bool {
        let any = self.gather(events, now);
        self.flush_outbox();
        any
    }

    /// Takes the core's output; datagrams are batched.
    fn gather<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant) -> bool {
        let mut any = false;
        while let Some(output) = self.core.poll_output(now) {
            any = true;
            match output {
                Output::Datagram { listener, to, bytes } => {
                    if self.outbox.is_full_for(listener) {
                        self.flush_outbox();
                    }
                    self.outbox.push(listener, to, bytes);
                }
                Output::Stream { connection, bytes } => {
                    if let Some(open) = self.connections.get_mut(&connection) {
                        open.session.handle_output(bytes);
                        self.flush(events, now, connection);
                    }
                }
            }
        }
        any
    }

    fn flush_outbox(&mut self) {
        let socket = self.listeners.get(self.outbox.listener).and_then(|l| l.udp.as_ref());
        if let Some((socket, _)) = socket {
            // A full socket loses a datagram as a network does. The client retries.
            self.counters.datagrams_not_sent += self.outbox.send(socket);
        }
        self.outbox.messages.clear();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let connections = self.timers.first().map(|(at, _)| *at);
        let drain = self.draining.map(|since| since + DRAIN_LIMIT);
        let core = self.core.poll_timeout();
        core.into_iter().chain(connections).chain(self.pause.until).chain(drain).min()
    }

    /// A source is ready or was requeued.
    pub fn serve<S: Copy + From<Source>>(
        &mut self,
        events: &mut EventLoop<S>,
        now: Instant,
        source: Source,
        ready: Ready<S>,
    ) {
        match source {
            Source::Accept(listener) => self.accept(events, now, listener),
            Source::Datagrams(listener) => self.receive(events, now, listener),
            // The round's `handle_timeout` takes it up.
            Source::Core => {}
            Source::Connection => {
                let Some(connection) = self.connections.get_mut(&ready.id) else { return };
                connection.served = true;
                connection.readable |= ready.readable;
                connection.end_is_near |= ready.closed;
                self.serve_connection(events, now, ready.id);
            }
        }
    }

    fn accept<S: Copy + From<Source>>(
        &mut self,
        events: &mut EventLoop<S>,
        now: Instant,
        listener: usize,
    ) {
        for _ in 0..ACCEPT_TURN {
            let Some((socket, _)) = &self.listeners[listener].tcp else { return };
            match socket.accept() {
                Ok((_, from)) if !self.core.admits(from.ip()) => self.counters.turned_away += 1,
                Ok((stream, from)) => {
                    self.pause.reported = false;
                    self.admit(events, now, listener, (stream, network(from.ip())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The client disconnected in the queue; the next one has not.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
                    self.counters.accept_failures += 1;
                }
                Err(error) => return self.pause_accepting(events, now, &error),
            }
        }
        if let Some((_, id)) = &self.listeners[listener].tcp {
            events.requeue(*id);
        }
    }

    /// No descriptor is left. Clients wait in the accept queue without a new edge: a timer or the
    /// next closed connection resumes.
    fn pause_accepting<S: Copy>(
        &mut self,
        events: &mut EventLoop<S>,
        now: Instant,
        error: &io::Error,
    ) {
        self.counters.accept_failures += 1;
        if !std::mem::replace(&mut self.pause.reported, true) {
            let open = self.connections.len();
            tracing::warn!(%error, open, "cannot accept (see `ulimit -n`); new clients wait");
        }
        self.pause.until = Some(now + ACCEPT_PAUSE);
        if let Some(id) = self.dispensable(now, None) {
            self.evict(events, now, id);
        }
    }

    /// The connection that loses its place to a newcomer from this network, if any: of the networks
    /// with the largest share the one that is longest without a reply.
    fn dispensable(&self, now: Instant, newcomer: Option<IpAddr>) -> Option<SourceId> {
        let share = |network: IpAddr| {
            let held = self.shares.get(&network).copied().unwrap_or(0);
            held + usize::from(newcomer == Some(network))
        };
        let own = newcomer.map_or(0, share);
        let most = self.shares.keys().map(|network| share(*network)).max()?.max(own);
        let open = self.connections.iter().filter(|(_, open)| share(open.network) == most);
        let fair = newcomer.is_some() && own < most;
        let open = open.filter(|(_, open)| fair || open.is_idle(now));
        open.min_by_key(|(_, open)| open.rank()).map(|(id, _)| *id)
    }

    fn evict<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant, id: SourceId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.session.handle_eviction();
        // A peer that reads nothing loses the reason too.
        let _unsent = connection.transmit(now);
        self.counters.evicted += 1;
        self.close(events, id);
    }

    fn resume_accepting<S: Copy>(&mut self, events: &mut EventLoop<S>) {
        self.pause.until = None;
        for (_, id) in self.listeners.iter().filter_map(|listener| listener.tcp.as_ref()) {
            events.requeue(*id);
        }
    }

    fn admit<S: Copy + From<Source>>(
        &mut self,
        events: &mut EventLoop<S>,
        now: Instant,
        listener: usize,
        (mut socket, from): (TcpStream, IpAddr),
    ) {
        self.counters.accepted += 1;
        let open = self.connections.len();
        if open >= self.limits.connections {
            let Some(id) = self.dispensable(now, Some(from)) else {
                self.counters.turned_away += 1;
                tracing::debug!(open, "no place for a connection");
                return turn_away(&mut socket, &self.core.no_place());
            };
            self.evict(events, now, id);
        }
        if self.listeners[listener].nodelay
            && let Err(error) = socket.set_nodelay(true)
        {
            tracing::warn!(%error, "TCP_NODELAY");
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        match events.register(&mut socket, interest, Source::Connection.into()) {
            Ok(id) => {
                tracing::info!(open = self.connections.len() + 1, "accepted a connection");
                let session = self.core.handle_open(now, listener);
                let connection = Connection::new(Stream::accepted(socket), session, from, now);
                self.connections.insert(id, connection);
                *self.shares.entry(from).or_insert(0) += 1;
                self.watch(id);
                tracing::debug!(?id, listener, open, "connection accepted");
            }
            Err(error) => tracing::warn!(%error, "cannot wait for a connection"),
        }
    }

    fn receive<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant, listener: usize) {
        for _ in 0..BATCHES_TURN {
            let Some((socket, _)) = &self.listeners[listener].udp else { return };
            match self.inbox.fill(socket) {
                Ok(came) => {
                    let read_ns = realtime_ns();
                    for index in 0..came {
                        let datagram = self.inbox.get(index);
                        let from = datagram.and_then(|datagram| datagram.from.as_socket());
                        if let (Some(datagram), Some(from)) = (datagram, from) {
                            let waited = datagram.kernel_ns.map(|at| read_ns.saturating_sub(at));
                            let arrived = now - Duration::from_nanos(waited.unwrap_or(0));
                            let bytes = datagram.bytes;
                            self.core.handle_arrival(now, arrived, listener, from, bytes);
                            self.gather(events, now);
                        }
                    }
                    self.flush_outbox();
                    if came < self.inbox.room() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier reply: its client is gone.
                Err(_) => {}
            }
        }
        if let Some((_, id)) = &self.listeners[listener].udp {
            events.requeue(*id);
        }
    }

    fn serve_connection<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant, id: SourceId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Connection { stream, session, .. } = connection;
        if !stream.has_unsent() && session.wants_resume() {
            self.core.handle_stream(now, id, session, &[]);
        }
        if connection.may_read() {
            match connection.stream.read(&mut self.buffer) {
                Ok(Some(0)) => {
                    connection.ended = true;
                    connection.session.handle_end();
                }
                Ok(Some(length)) => {
                    // A short read emptied the socket (epoll(7)), unless the peer has closed.
                    connection.readable = length == self.buffer.len() || connection.end_is_near;
                    let bytes = &self.buffer[..length];
                    self.core.handle_stream(now, id, &mut connection.session, bytes);
                }
                Ok(None) => connection.readable = false,
                Err(_) => return self.close(events, id),
            }
        }
        self.flush(events, now, id);
    }

    /// Sends the session's output; closes it when it has ended.
    fn flush<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant, id: SourceId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.transmit(now) {
            Err(_) => self.close(events, id),
            Ok(false) => {
                if let Some(linger) = connection.session.linger() {
                    connection.linger_until.get_or_insert(now + linger);
                }
                self.watch(id);
            }
            Ok(true) if connection.session.wants_resume() || connection.may_read() => {
                // Requests wait for this space, without a new edge.
                events.requeue(id);
                self.watch(id);
            }
            Ok(true) if connection.session.is_over() => self.close(events, id),
            Ok(true) => self.watch(id),
        }
    }

    /// Schedules a check of the connection at its deadline.
    fn watch(&mut self, id: SourceId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(deadline) = connection.deadline() else { return };
        // An earlier check is enough, and saves moving the timer with every request.
        if connection.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        if let Some(timer) = connection.timer.replace(deadline) {
            self.timers.remove(&(timer, id));
        }
        self.timers.insert((deadline, id));
    }

    fn close<S: Copy>(&mut self, events: &mut EventLoop<S>, id: SourceId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if let Some(timer) = connection.timer {
            self.timers.remove(&(timer, id));
        }
        events.deregister(connection.stream.source(), id);
        if let Some(share) = self.shares.get_mut(&connection.network) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&connection.network);
            }
        }
        self.counters.closed += 1;
        self.counters.closed_unread += u64::from(connection.stream.has_unsent());
        tracing::debug!(?id, unsent = connection.stream.has_unsent(), "connection closed");
        self.core.handle_closed(connection.session);
        if self.pause.until.is_some() {
            // A descriptor is free.
            self.resume_accepting(events);
        }
    }

    /// The time is `now`.
    pub fn expire<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant) {
        self.core.handle_timeout(now);
        if self.pause.until.is_some_and(|at| at <= now) {
            self.resume_accepting(events);
        }
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.timer = None;
            if connection.linger_until.is_some_and(|until| until <= now) {
                self.close(events, id);
                continue;
            }
            connection.session.handle_timeout(now);
            self.flush(events, now, id);
        }
    }

    /// Stops listening and drains every session; datagrams already received are answered.
    pub fn begin_drain<S: Copy>(&mut self, events: &mut EventLoop<S>, now: Instant) {
        tracing::info!(open = self.connections.len(), "shutting down");
        self.draining = Some(now);
        self.pause.until = None;
        self.core.begin_drain(now);
        for listener in &mut self.listeners {
            if let Some((mut socket, id)) = listener.tcp.take() {
                events.deregister(&mut socket, id);
            }
            if let Some((_, id)) = &listener.udp {
                events.requeue(*id);
            }
        }
        let ids: Vec<SourceId> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.session.begin_drain(now);
            }
            self.flush(events, now, id);
        }
    }

    /// Whether draining is done. Clients that stay beyond the limit are disconnected.
    pub fn is_drained<S: Copy>(&self, events: &EventLoop<S>, now: Instant) -> bool {
        self.draining.is_some_and(|since| {
            let done = self.connections.is_empty() && events.is_idle() && self.core.is_drained();
            done || now >= since + DRAIN_LIMIT
        })
    }
}

impl<C: Core> Driver for Server<C> {
    type Source = Source;

    fn poll_output(
        &mut self,
        events: &mut EventLoop<Source>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        self.core.check()?;
        self.transmit(events, now);
        let drained = self.is_drained(events, now);
        Ok(if drained { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<Source>,
        now: Instant,
        ready: Ready<Source>,
    ) -> io::Result<()> {
        self.serve(events, now, ready.source, ready);
        Ok(())
    }

    fn handle_timeout(&mut self, events: &mut EventLoop<Source>, now: Instant) {
        self.expire(events, now);
    }

    fn handle_shutdown(&mut self, events: &mut EventLoop<Source>, now: Instant) {
        self.begin_drain(events, now);
    }
}

/// The connections that the limit on descriptors allows, at most `wanted`; raises the limit.
fn places(wanted: usize) -> io::Result<usize> {
    let descriptors = (wanted as u64).saturating_add(DESCRIPTORS_BESIDE);
    let allowed = raise_descriptors(descriptors)?;
    if allowed >= descriptors {
        return Ok(wanted);
    }
    let places = usize::try_from(allowed.saturating_sub(DESCRIPTORS_BESIDE).max(1));
    let places = places.expect("invariant: below `wanted`, a usize");
    tracing::warn!("{places} connections at most, not {wanted}: raise the limit with `ulimit -n`");
    Ok(places)
}

/// Addresses that count as one client: an IPv4 address, or an IPv6 subnet, in which a host chooses
/// its addresses (RFC 4291 §2.5.1).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Closes a connection that finds no place, after the reason.
fn turn_away(socket: &mut TcpStream, reason: &[u8]) {
    // The reason is a courtesy: a client that has closed does without.
    let _ = socket.write(reason);
    let _ = socket.shutdown(Shutdown::Write);
    // Unread bytes would turn the close into a reset, which overtakes the reason.
    let _ = socket.read(&mut [0; 4096]);
}

/// Datagrams of one listener for one call.
#[derive(Debug, Default)]
struct Outbox {
    listener: usize,
    messages: Vec<(SockAddr, Bytes)>,
}

impl Outbox {
    fn is_full_for(&self, listener: usize) -> bool {
        let other = self.listener != listener && !self.messages.is_empty();
        other || self.messages.len() == BATCH_MAX
    }

    fn push(&mut self, listener: usize, to: SocketAddr, bytes: Bytes) {
        self.listener = listener;
        self.messages.push((to.into(), bytes));
    }

    /// Sends all; returns how many the kernel refused.
    fn send(&self, socket: &UdpSocket) -> u64 {
        let (mut sent, mut failed) = (0, 0);
        while let Some(rest) = self.messages.get(sent..).filter(|rest| !rest.is_empty()) {
            let messages =
                rest.iter().map(|(to, bytes)| Outgoing { bytes, to, from: None, stamped: false });
            match send_each(socket, messages) {
                Ok(taken @ 1..) => sent += taken,
                // Skip the refused datagram; send those after it.
                Ok(_) | Err(_) => (sent, failed) = (sent + 1, failed + 1),
            }
        }
        failed
    }
}
