//! The bank's server on real sockets: one loop for any number of sites.
//!
//! A site is one bank with at most one TCP listener and one UDP socket; `bank-tcp serve` has one
//! site, `tcp-vs-udp` has one per lane, each in its own namespace.

use crate::bank::client::CloseReason;
use crate::bank::codec::{Answer, encode_answer};
use crate::bank::frame::{Header, Kind};
use crate::bank::held::Held;
use crate::bank::message::Refusal;
use crate::bank::server::Server as Bank;
use crate::bank::storage::{Storage, StorageError};
use crate::bank::stream::{ServerSession, SessionLimits};
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::{EventLoop, SourceId};
use crate::runtime::server::{
    Core, Counters, Limits, ListenerConfig, Output, Server, Session, Source,
};
use crate::runtime::shutdown;
use crate::sys::timestamp::stamp_arrivals;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A bank and its sockets.
pub struct Site<S: Storage> {
    /// The bank.
    pub server: Bank<S>,
    /// TCP listener.
    pub tcp: Option<std::net::TcpListener>,
    /// UDP socket.
    pub udp: Option<std::net::UdpSocket>,
    /// Whether accepted connections send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
}

/// Limits of the loop; sessions have their own.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Open connections over all sites; one more takes an idle one's place or is refused.
    pub connections: usize,
    /// Limits of each session.
    pub session: SessionLimits,
}

/// Default for open connections: half of 1024 descriptors, a common limit.
pub const CONNECTIONS_MAX: usize = 512;
/// From the end of a session to the close, if the peer does not read the last replies.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// Longer than any datagram the bank accepts, so that a longer one is noticed.
const DATAGRAM_BUFFER: usize = 2048;

/// Counters of the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoopCounters {
    /// Connections and datagrams.
    #[serde(flatten)]
    pub sockets: Counters,
    /// Closed connections that sent no HELLO in time.
    pub closed_no_hello: u64,
    /// Of those, how many did not complete a frame in time.
    pub closed_slow_frame: u64,
    /// Of those, how many were idle for too long.
    pub closed_idle: u64,
    /// Of those, how many violated the protocol, or sent more than is buffered.
    pub closed_violation: u64,
}

/// The banks of one loop.
struct Banks<S: Storage> {
    servers: Vec<Bank<S>>,
    limits: SessionLimits,
    /// The reply to the last datagram.
    reply: Option<Output>,
    /// Replies that wait for the store of each bank.
    held: Vec<Held<Output>>,
    /// Why a store stopped.
    failure: Option<StorageError>,
    /// Session endings by reason; the loop counts the rest.
    counters: LoopCounters,
}

/// A client's session at a bank.
struct BankSession {
    site: usize,
    session: ServerSession,
    peer_gone: bool,
}

impl Session for BankSession {
    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.session.poll_transmit()
    }

    fn wants_read(&self) -> bool {
        self.session.wants_read()
    }

    fn wants_resume(&self) -> bool {
        self.session.wants_resume()
    }

    fn is_over(&self) -> bool {
        let ended = self.peer_gone || self.session.closing().is_some();
        ended && !self.session.is_holding()
    }

    fn handle_output(&mut self, bytes: Bytes) {
        self.session.release(&bytes);
    }

    /// No linger after a timeout.
    fn linger(&self) -> Option<Duration> {
        self.session.closing().map(|reason| match reason {
            CloseReason::HelloDeadline | CloseReason::FrameDeadline | CloseReason::IdleTimeout => {
                Duration::ZERO
            }
            _ => LINGER_LIMIT,
        })
    }

    fn handle_end(&mut self) {
        self.peer_gone = true;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    fn handle_eviction(&mut self) {
        self.session.evict();
    }

    /// Sends GOAWAY; the client disconnects when it has its replies.
    fn begin_drain(&mut self, now: Instant) {
        self.session.begin_drain(now);
    }
}

impl<S: Storage> Core for Banks<S> {
    type Session = BankSession;

    fn handle_open(&mut self, now: Instant, site: usize) -> BankSession {
        BankSession { site, session: ServerSession::new(now, self.limits), peer_gone: false }
    }

    fn handle_stream(
        &mut self,
        now: Instant,
        connection: SourceId,
        BankSession { site, session, .. }: &mut BankSession,
        bytes: &[u8],
    ) {
        let (server, held) = (&mut self.servers[*site], &mut self.held[*site]);
        let before = session.unsent();
        session.handle_stream(now, server, bytes);
        if held.must_wait(server.storage())
            && let Some(bytes) = session.hold(before)
        {
            held.push(server.storage(), Output::Stream { connection, bytes });
        }
    }

    /// WELCOME with the refusal.
    fn no_place(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let header = Header::of(Kind::Welcome);
        encode_answer(&mut out, &header, &Answer::Refused(Refusal::Busy));
        out.freeze()
    }

    fn handle_closed(&mut self, session: BankSession) {
        let counters = &mut self.counters;
        tracing::info!(why = ?session.session.closing(), "closed a connection");
        match session.session.closing() {
            Some(CloseReason::HelloDeadline) => counters.closed_no_hello += 1,
            Some(CloseReason::FrameDeadline) => counters.closed_slow_frame += 1,
            Some(CloseReason::IdleTimeout) => counters.closed_idle += 1,
            Some(CloseReason::Protocol(_) | CloseReason::Overrun) => counters.closed_violation += 1,
            _ => {}
        }
    }

    fn handle_datagram(&mut self, now: Instant, site: usize, from: SocketAddr, bytes: &[u8]) {
        self.handle_arrival(now, now, site, from, bytes);
    }

    fn handle_arrival(
        &mut self,
        now: Instant,
        arrived: Instant,
        site: usize,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let (server, held) = (&mut self.servers[site], &mut self.held[site]);
        let reply = server.handle_arrival(now, arrived, bytes);
        let replied = reply.as_ref().map_or(0, |reply| reply.len());
        tracing::info!("{} bytes from {from}, {replied} in reply", bytes.len());
        let reply = reply.map(|bytes| Output::Datagram { listener: site, to: from, bytes });
        match reply {
            Some(reply) if held.must_wait(server.storage()) => held.push(server.storage(), reply),
            reply => self.reply = reply,
        }
    }

    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        let released = || {
            let mut banks = self.servers.iter().zip(&mut self.held);
            banks.find_map(|(server, held)| held.pop(server.storage()))
        };
        self.reply.take().or_else(released)
    }

    fn check(&self) -> io::Result<()> {
        self.failure.clone().map_or(Ok(()), |failure| Err(io::Error::other(failure)))
    }

    fn is_drained(&self) -> bool {
        let durable = |store: &S| store.durable() >= store.commit_index();
        self.failure.is_some()
            || self.servers.iter().all(|server| durable(server.storage()))
                && self.held.iter().all(Held::is_empty)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.servers.iter().filter_map(Bank::poll_timeout).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        for server in &mut self.servers {
            if server.poll_timeout().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
            // Once per round: what the round's requests staged goes to the disk together.
            if let Err(failure) = server.storage_mut().flush() {
                self.failure.get_or_insert(failure);
            }
        }
        if self.failure.is_some() {
            self.held.iter_mut().for_each(Held::clear);
        }
    }

    fn begin_drain(&mut self, _now: Instant) {
        self.servers.iter_mut().for_each(Bank::drain);
    }
}

/// The event loop of the servers.
pub struct ServerLoop<S: Storage> {
    events: EventLoop<Source>,
    server: Server<Banks<S>>,
}

impl<S: Storage> ServerLoop<S> {
    /// A loop over these sites; makes their sockets non-blocking.
    /// Fails if a socket cannot be registered.
    pub fn new(sites: Vec<Site<S>>, limits: ServerLimits, clock: Clock) -> io::Result<Self> {
        let mut events = EventLoop::new(clock)?;
        let waker = Arc::new(events.waker(Source::Core)?);
        let (mut servers, mut listeners) = (Vec::new(), Vec::new());
        for Site { mut server, tcp, udp, nodelay } in sites {
            let waker = Arc::clone(&waker);
            server.storage_mut().wake_with(Box::new(move || {
                // Without it the write is taken up in the next round.
                let _ = waker.wake();
            }));
            servers.push(server);
            // Without stamps a deadline counts from the read.
            let _user_stamps = udp.as_ref().map(stamp_arrivals);
            listeners.push(ListenerConfig { tcp, udp, nodelay });
        }
        let ServerLimits { connections, session: limits } = limits;
        let held = servers.iter().map(|_| Held::default()).collect();
        let counters = LoopCounters::default();
        let banks = Banks { servers, limits, reply: None, held, failure: None, counters };
        let limits = Limits { connections, datagram: DATAGRAM_BUFFER };
        let server = Server::new(&mut events, banks, listeners, limits)?;
        Ok(Self { events, server })
    }

    /// The counters of the loop.
    pub const fn counters(&self) -> LoopCounters {
        LoopCounters { sockets: *self.server.counters(), ..self.server.core().counters }
    }

    /// The banks, in the order of their sites.
    pub fn into_servers(self) -> Vec<Bank<S>> {
        self.server.into_core().servers
    }

    /// Serves until shutdown, then lets every client have its last replies.
    /// Fails if the kernel refuses to wait; a failing connection is only closed.
    pub fn run(&mut self, mut shutdown: shutdown::Receiver) -> io::Result<()> {
        self.events.run(&mut self.server, &mut shutdown)
    }
}
