//! A resolver on real sockets: its clients and the walks behind it, in one loop.

use super::batch::{QuerySlot, Sockets};
use super::session::{DnsSession, SessionLimits};
use crate::dnssec::UnixSeconds;
use crate::event::{Record, Transport};
use crate::resolver::admission::{Admission, Admitted};
use crate::resolver::{Client, Reply, Resolver};
use bytes::Bytes;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::ControlFlow;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::{Clock, utc_seconds};
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready, SourceId};
use wirelab::runtime::server::{self, Core, Limits, ListenerConfig, Output, Server, listen_tcp};
use wirelab::runtime::shutdown;
use wirelab::sys::error::during;

/// Maximum bytes read of a datagram: a query fits in a packet.
const DATAGRAM: usize = 4_096;
/// Attempts to find a port that is free for both transports.
const PORT_TRIES: usize = 32;

/// Limits of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Open connections; one more is accepted and closed. 256 with 64 queries each exceed the
    /// resolver's walks.
    pub connections: u32,
    /// Queries in flight per connection; a reply makes room for the next (RFC 7766 §6.2.1.1 wants
    /// several).
    pub per_connection: u32,
    /// Idle timeout: from the last complete query, or byte that the client took, to the close; "of
    /// the order of a few seconds" (RFC 7766 §6.2.3).
    pub idle: Duration,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self { connections: 256, per_connection: 64, idle: Duration::from_secs(10) }
    }
}

/// Bound sockets for clients.
#[derive(Debug)]
pub struct Front {
    listeners: Vec<ListenerConfig>,
    addresses: Vec<SocketAddr>,
    limits: FrontLimits,
    admission: Admission,
}

impl Front {
    /// Listens at each address over UDP and TCP; port 0 finds one that is free for both.
    ///
    /// # Errors
    /// Fails if an address cannot be bound; the error names it.
    pub fn listen(at: &[SocketAddr], limits: FrontLimits) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in at {
            let (udp, tcp) =
                bind(*address).map_err(during(format!("{address} over UDP and TCP")))?;
            addresses.push(udp.local_addr()?);
            // Queries and replies are small; none waits for the next.
            listeners.push(ListenerConfig { tcp: Some(tcp), udp: Some(udp), nodelay: true });
        }
        Ok(Self { listeners, addresses, limits, admission: Admission::default() })
    }

    /// Answers the clients of this rule alone.
    #[must_use]
    pub fn admitting(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The bound addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until shutdown, then ends what is in flight; `observe` gets the walks' events if they
    /// are recorded. Signatures are validated at the current time, or at `fixed_time`.
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue, or `observe` fails.
    pub fn run(
        self,
        resolver: Resolver,
        clock: Clock,
        shutdown: &mut shutdown::Receiver,
        fixed_time: bool,
        observe: impl FnMut(u64, &Record) -> io::Result<()>,
    ) -> io::Result<Resolver> {
        let Self { listeners, limits, admission, .. } = self;
        let mut events = EventLoop::new(clock)?;
        let session = SessionLimits { in_flight: limits.per_connection, idle: limits.idle };
        let connections =
            usize::try_from(limits.connections).expect("invariant: usize holds a u32 on Linux");
        let core = ResolverCore {
            resolver,
            admission,
            session,
            clients: HashMap::new(),
            next_client: 0,
            stopping: false,
        };
        let limits = Limits { connections, datagram: DATAGRAM };
        let server = Server::new(&mut events, core, listeners, limits)?;
        let mut frontend = Frontend { server, sockets: Sockets::new(), fixed_time, observe };
        events.run(&mut frontend, shutdown)?;
        Ok(frontend.server.into_core().resolver)
    }
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::new(ErrorKind::AddrInUse, "no port is free for both");
    for _ in 0..PORT_TRIES {
        let udp = UdpSocket::bind(address)?;
        match listen_tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() == 0 => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The receiver of a reply.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Datagram { listener: usize, peer: SocketAddr },
    Connection(SourceId),
}

/// The resolver as a server core.
struct ResolverCore {
    resolver: Resolver,
    admission: Admission,
    session: SessionLimits,
    clients: HashMap<u64, Origin>,
    next_client: u64,
    stopping: bool,
}

impl ResolverCore {
    /// Passes a query to the resolver; whether a reply will follow.
    fn query(&mut self, now: Instant, origin: Origin, transport: Transport, bytes: &[u8]) -> bool {
        if self.stopping {
            return false;
        }
        self.next_client += 1;
        let client = Client(self.next_client);
        let admitted = match origin {
            Origin::Datagram { peer, .. } => self.admission.datagram(now, peer.ip()),
            Origin::Connection(_) => Admitted::Yes,
        };
        let follows = if admitted == Admitted::Yes {
            self.resolver.handle_query(now, client, transport, bytes)
        } else {
            self.resolver.turn_down(client, admitted, bytes)
        };
        if follows {
            self.clients.insert(client.0, origin);
        }
        follows
    }
}

impl Core for ResolverCore {
    type Session = DnsSession;

    fn admits(&self, client: IpAddr) -> bool {
        self.admission.permits(client)
    }

    fn handle_open(&mut self, now: Instant, listener: usize) -> DnsSession {
        DnsSession::new(listener, self.session, now)
    }

    fn handle_stream(
        &mut self,
        now: Instant,
        connection: SourceId,
        session: &mut DnsSession,
        bytes: &[u8],
    ) {
        session.feed(bytes);
        while let Some(message) = session.next_query(now) {
            if !self.query(now, Origin::Connection(connection), Transport::Tcp, &message) {
                session.abort();
            }
        }
    }

    fn handle_datagram(&mut self, now: Instant, listener: usize, from: SocketAddr, bytes: &[u8]) {
        // No reply can reach port 0.
        if from.port() != 0 {
            let origin = Origin::Datagram { listener, peer: from };
            self.query(now, origin, Transport::Udp, bytes);
        }
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        self.resolver.settle(now);
        loop {
            let Reply { client, bytes } = self.resolver.poll_reply()?;
            let bytes = Bytes::from(bytes);
            match self.clients.remove(&client.0) {
                Some(Origin::Datagram { listener, peer: to }) => {
                    return Some(Output::Datagram { listener, to, bytes });
                }
                Some(Origin::Connection(connection)) => {
                    return Some(Output::Stream { connection, bytes });
                }
                None => {}
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.resolver.fleet().poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.resolver.fleet_mut().handle_timeout(now);
        if self.stopping {
            self.resolver.fleet_mut().cancel(now);
        }
    }

    fn begin_drain(&mut self, now: Instant) {
        self.stopping = true;
        self.resolver.fleet_mut().cancel(now);
    }

    fn is_drained(&self) -> bool {
        self.resolver.is_idle()
    }
}

/// Sources of the loop.
#[derive(Clone, Copy, Debug)]
enum Source {
    Clients(server::Source),
    Query(QuerySlot),
}

impl From<server::Source> for Source {
    fn from(source: server::Source) -> Self {
        Self::Clients(source)
    }
}

impl From<QuerySlot> for Source {
    fn from(slot: QuerySlot) -> Self {
        Self::Query(slot)
    }
}

/// Both sides: clients' sockets and walks' sockets.
struct Frontend<F> {
    server: Server<ResolverCore>,
    sockets: Sockets,
    fixed_time: bool,
    observe: F,
}

impl<F: FnMut(u64, &Record) -> io::Result<()>> Driver for Frontend<F> {
    type Source = Source;

    fn poll_output(
        &mut self,
        events: &mut EventLoop<Source>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        let Self { server, sockets, fixed_time, observe } = self;
        if !*fixed_time {
            server.core_mut().resolver.judge_at(UnixSeconds(utc_seconds()));
        }
        // A failed query may end a walk, and a reply may make room for another query.
        loop {
            sockets.drain(events, server.core_mut().resolver.fleet_mut());
            if !server.transmit(events, now) {
                break;
            }
        }
        while let Some((number, record)) = server.core_mut().resolver.poll_record() {
            observe(number, &record)?;
        }
        let drained = server.is_drained(events, now);
        Ok(if drained { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.server.next_deadline()
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<Source>,
        now: Instant,
        ready: Ready<Source>,
    ) -> io::Result<()> {
        let Self { server, sockets, .. } = self;
        match ready.source {
            Source::Clients(source) => server.serve(events, now, source, ready),
            Source::Query(slot) => {
                sockets.ready(events, server.core_mut().resolver.fleet_mut(), slot);
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, events: &mut EventLoop<Source>, now: Instant) {
        self.server.expire(events, now);
    }

    fn handle_shutdown(&mut self, events: &mut EventLoop<Source>, now: Instant) {
        self.server.begin_drain(events, now);
    }
}
