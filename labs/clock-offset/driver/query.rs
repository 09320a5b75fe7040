//! Queries any number of NTP servers at once, each request from its own socket.
//!
//! RFC 9109 recommends a port per request: a forged reply has to guess 16 bits more.

use super::nts::{Established, KeError, KeySource};
use super::{DATAGRAM_MAX, clocks, reading, wall};
use crate::client::{Client, ClientConfig, Event};
use crate::finding::{Gathered, Note};
use crate::host_clocks::{HostClockMonitor, HostClocks};
use crate::nts::session::Session;
use crate::packet::HEADER_LEN;
use crate::random::Random;
use crate::sample::{Arrival, TimePair};
use mio::unix::SourceFd;
use mio::{Interest, Waker};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready, SourceId};
use wirelab::runtime::shutdown;
use wirelab::sys::random;
use wirelab::sys::timestamp::{drain_errors, receive, report_unreachable, stamp_arrivals};
use wirelab::sys::tx_timestamp::{Told, read_departures, stamp_departures};

/// A server named by the user, with every address of that name.
#[derive(Debug)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// Its addresses: all are asked at once.
    pub addresses: Vec<SocketAddr>,
    /// Whether all of them are asked to the end, and not only the first that gives a sample.
    pub all: bool,
    /// NTS keys, for the first address only, and where to get new ones.
    pub nts: Option<(Session, KeySource)>,
}

/// Sources of the loop.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The key establishment threads.
    Keys,
    /// The socket of the request in that slot.
    Request(usize),
}

/// Datagrams read per socket and turn: a flood must not starve the others.
const TURN: usize = 64;

/// A server being queried.
struct Member {
    client: Client,
    gathered: Gathered,
    /// The name it is an address of, where the first to give a sample is enough.
    race: Option<usize>,
    /// Another address of the name gave a sample first.
    beaten: bool,
    /// Where to get new keys.
    source: Option<KeySource>,
}

/// The result of a member's key establishment.
type Keys = (usize, Result<Established, KeError>);

/// The socket of one request.
struct Slot {
    member: usize,
    request: u32,
    socket: UdpSocket,
    id: SourceId,
}

/// Warm-up sends to this process, never read.
///
/// The first send after a pause runs with cold caches, and takes microseconds longer after T1 than
/// the server's does after T3: half of that would be in the estimate.
struct Rehearsal([Option<UdpSocket>; 2]);

impl Rehearsal {
    fn new() -> Self {
        let sink = |ip: IpAddr| {
            let socket = UdpSocket::bind((ip, 0)).ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        };
        Self([sink(Ipv4Addr::LOCALHOST.into()), sink(Ipv6Addr::LOCALHOST.into())])
    }

    /// Sends a request as to `server`, but to this process.
    fn play(&self, socket: &UdpSocket, server: SocketAddr) {
        let Some(sink) = &self.0[usize::from(server.is_ipv6())] else { return };
        let Ok(to) = sink.local_addr() else { return };
        let mut request = [0; HEADER_LEN];
        for _ in 0..REHEARSALS {
            // Failure is harmless: the sample's interval holds in any case.
            let _ = socket.send_to(&request, to);
            let _ = sink.recv(&mut request);
        }
    }
}

/// The first loads code and data into the caches, the second runs from them.
const REHEARSALS: u32 = 2;

/// A query of servers, until all have ended.
pub struct Query {
    events: EventLoop<Source>,
    asking: Asking,
}

/// The servers and their sockets, without the loop.
struct Asking {
    clock: Clock,
    config: ClientConfig,
    members: Vec<Member>,
    slots: BTreeMap<usize, Slot>,
    next_slot: usize,
    rehearsal: Rehearsal,
    /// Monitors this host's clocks during the query.
    panel: HostClockMonitor,
    buffer: Vec<u8>,
    /// Results of key establishment, which blocks and so runs in a thread.
    agreed: (mpsc::Sender<Keys>, mpsc::Receiver<Keys>),
    waker: Arc<Waker>,
}

impl Query {
    /// A query of these servers; sends nothing before [`run`](Self::run).
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue, timer or random bits.
    pub fn new(asked: Vec<Asked>, config: ClientConfig, clock: Clock) -> io::Result<Self> {
        let mut events = EventLoop::new(clock)?;
        let waker = Arc::new(events.waker(Source::Keys)?);
        let mut asking = Asking {
            clock,
            config,
            members: Vec::new(),
            slots: BTreeMap::new(),
            next_slot: 0,
            rehearsal: Rehearsal::new(),
            panel: HostClockMonitor::default(),
            buffer: vec![0; DATAGRAM_MAX],
            agreed: mpsc::channel(),
            waker,
        };
        for (number, Asked { name, addresses, all, nts }) in asked.into_iter().enumerate() {
            match nts {
                None => asking.add(&name, &addresses, (!all).then_some(number), clock.now()),
                Some((session, source)) => asking.add_proved(name, &addresses, session, source),
            }
        }
        Ok(Self { events, asking })
    }

    /// Queries until every server has ended, or a shutdown. `observe` gets every event after it was
    /// processed.
    ///
    /// # Errors
    /// Fails if the kernel refuses to wait; network errors are in the gathered counts.
    pub fn run(
        &mut self,
        shutdown: &mut shutdown::Receiver,
        observe: impl FnMut(&Gathered, &Event, &TimePair),
    ) -> io::Result<()> {
        let Self { events, asking } = self;
        events.run(&mut Observed { asking, observe }, shutdown)
    }

    /// Changes of this host's clocks during the query.
    #[must_use]
    pub fn host_clocks(&mut self) -> Option<HostClocks> {
        self.asking.panel.take(reading(&self.asking.clock));
        self.asking.panel.clocks()
    }

    /// The results.
    #[must_use]
    pub fn into_gathered(self) -> Vec<Gathered> {
        let members = self.asking.members.into_iter().filter(|member| !member.beaten);
        members.map(|member| member.gathered).collect()
    }
}

/// The query and the observer of its events.
struct Observed<'a, F> {
    asking: &'a mut Asking,
    observe: F,
}

impl<F: FnMut(&Gathered, &Event, &TimePair)> Driver for Observed<'_, F> {
    type Source = Source;

    fn poll_output(
        &mut self,
        events: &mut EventLoop<Source>,
        _now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        let Self { asking, observe } = self;
        asking.send_all(events)?;
        asking.tell(events, observe);
        if asking.members.iter().all(|member| member.client.is_ended()) {
            return Ok(ControlFlow::Break(()));
        }
        if events.now() >= asking.panel.due() {
            asking.panel.take(reading(&asking.clock));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.asking.members.iter().filter_map(|m| m.client.poll_timeout());
        clients.chain([self.asking.panel.due()]).min()
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<Source>,
        _now: Instant,
        ready: Ready<Source>,
    ) -> io::Result<()> {
        match ready.source {
            Source::Keys => self.asking.take_keys(),
            Source::Request(slot) => self.asking.receive_all(events, slot),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _events: &mut EventLoop<Source>, now: Instant) {
        for member in &mut self.asking.members {
            member.client.handle_timeout(now);
        }
    }

    fn handle_shutdown(&mut self, _events: &mut EventLoop<Source>, _now: Instant) {
        for member in &mut self.asking.members {
            member.client.stop();
        }
    }
}

impl Asking {
    fn add(&mut self, name: &str, addresses: &[SocketAddr], race: Option<usize>, now: Instant) {
        for address in addresses {
            let client = Client::new(*address, self.config, now);
            let mut gathered = Gathered::new(name.to_owned(), *address);
            gathered.local = seen_from(*address);
            self.members.push(Member { client, gathered, race, beaten: false, source: None });
        }
    }

    /// One address of a name gave a sample: the others are asked no more.
    fn settle_race(&mut self, winner: usize) {
        let Some(race) = self.members[winner].race.take() else { return };
        let others = self.members.iter_mut().filter(|member| member.race == Some(race));
        for member in others.filter(|member| member.gathered.samples.is_empty()) {
            member.client.stop();
            member.beaten = true;
        }
    }

    /// No other address is tried: no request may go out unauthenticated.
    fn add_proved(
        &mut self,
        name: String,
        addresses: &[SocketAddr],
        session: Session,
        source: KeySource,
    ) {
        let Some(address) = addresses.first() else { return };
        let client = Client::new(*address, self.config, self.clock.now()).authenticated(session);
        let gathered = Gathered::new(name, *address);
        let source = Some(source);
        self.members.push(Member { client, gathered, race: None, beaten: false, source });
    }

    /// Requests new keys, in a thread.
    fn want_keys(&self, index: usize) {
        let Some(source) = self.members[index].source.clone() else { return };
        let (tell, waker) = (self.agreed.0.clone(), Arc::clone(&self.waker));
        std::thread::spawn(move || {
            // The query may have ended, without a receiver.
            let _ = tell.send((index, source.establish()));
            let _ = waker.wake();
        });
    }

    fn take_keys(&mut self) {
        let now = self.clock.now();
        while let Ok((index, result)) = self.agreed.1.try_recv() {
            let Member { client, gathered, .. } = &mut self.members[index];
            let session = match result {
                Ok(established) if established.servers.contains(&client.server()) => {
                    Some(established.session)
                }
                // Keys for another server: this one is not queried again.
                Ok(_) => None,
                Err(error) => {
                    gathered.notes.push(Note {
                        request: client.counts().sent,
                        from: client.server(),
                        at: now,
                        reason: "nts_keys".into(),
                        section: error.section().into(),
                        text: error.to_string(),
                    });
                    None
                }
            };
            client.handle_keys(now, session);
        }
    }

    fn send_all(&mut self, events: &mut EventLoop<Source>) -> io::Result<()> {
        let now = self.clock.now();
        for index in 0..self.members.len() {
            let random = random::array::<{ Random::LEN }>()?;
            let member = &mut self.members[index];
            let random = Random::from_bytes(&random);
            let Some(transmit) = member.client.poll_transmit(now, random) else { continue };
            let server = member.client.server();
            // A request that cannot be sent counts as unreachable.
            match self.open(events, index, transmit.request, server) {
                Ok((slot, port)) => {
                    let Slot { socket, .. } = &self.slots[&slot];
                    self.rehearsal.play(socket, server);
                    if self.config.interleaved {
                        // Without a kernel timestamp T1 stays the program's own.
                        let _user_stamps = stamp_departures(socket);
                    }
                    let t1 = clocks(&self.clock);
                    let sent = socket.send_to(&transmit.bytes, server);
                    let client = &mut self.members[index].client;
                    client.handle_sent(transmit.request, port, t1);
                    if self.config.interleaved {
                        take_departures(socket, client, transmit.request);
                    }
                    if sent.is_err() {
                        client.handle_unreachable(transmit.request);
                    }
                }
                Err(_) => {
                    let t1 = clocks(&self.clock);
                    let client = &mut self.members[index].client;
                    client.handle_sent(transmit.request, 0, t1);
                    client.handle_unreachable(transmit.request);
                }
            }
        }
        Ok(())
    }

    /// Opens a socket for one request; returns its slot and its port.
    fn open(
        &mut self,
        events: &mut EventLoop<Source>,
        member: usize,
        request: u32,
        to: SocketAddr,
    ) -> io::Result<(usize, u16)> {
        // Not connected: a reply from another address is then seen, counted and explained.
        let socket = UdpSocket::bind(any(to))?;
        socket.set_nonblocking(true)?;
        // Without kernel timestamps the program's own are used, and the samples say so.
        let _user_stamps = stamp_arrivals(&socket);
        report_unreachable(&socket, to)?;
        let port = socket.local_addr()?.port();
        let slot = self.next_slot;
        self.next_slot += 1;
        let fd = socket.as_raw_fd();
        let source = Source::Request(slot);
        let id = events.register(&mut SourceFd(&fd), Interest::READABLE, source)?;
        self.slots.insert(slot, Slot { member, request, socket, id });
        Ok((slot, port))
    }

    fn receive_all(&mut self, events: &mut EventLoop<Source>, slot: usize) {
        let Some(slot) = self.slots.get(&slot) else { return };
        let client = &mut self.members[slot.member].client;
        // A device reports its transmit timestamp later than loopback does.
        if self.config.interleaved {
            take_departures(&slot.socket, client, slot.request);
        }
        for _ in 0..TURN {
            match receive(&slot.socket, &mut self.buffer) {
                Ok(got) => {
                    let user = clocks(&self.clock);
                    let arrival = Arrival { user, kernel: got.kernel_ns.map(wall) };
                    let bytes = &self.buffer[..got.length];
                    let now = user.at;
                    client.handle_datagram(now, slot.request, got.from, bytes, &arrival);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    drain_errors(&slot.socket);
                    client.handle_unreachable(slot.request);
                }
            }
        }
        events.requeue(slot.id);
    }

    /// Reports the clients' events.
    fn tell(
        &mut self,
        events: &mut EventLoop<Source>,
        observe: &mut impl FnMut(&Gathered, &Event, &TimePair),
    ) {
        let (mut winners, mut keyless) = (Vec::new(), Vec::new());
        for (index, member) in self.members.iter_mut().enumerate() {
            while let Some(event) = member.client.poll_event() {
                if let Event::Closed { request } = event {
                    let ended = |slot: &Slot| slot.member == index && slot.request == request;
                    let slot = self.slots.iter().find(|(_, slot)| ended(slot));
                    let slot = slot.map(|(index, _)| *index).and_then(|i| self.slots.remove(&i));
                    if let Some(slot) = slot {
                        events.deregister(&mut SourceFd(&slot.socket.as_raw_fd()), slot.id);
                    }
                }
                if event == Event::KeysNeeded {
                    keyless.push(index);
                }
                member.gathered.take(event.clone());
                member.gathered.counts = member.client.counts().clone();
                observe(&member.gathered, &event, &clocks(&self.clock));
                if matches!(event, Event::Sample(_)) {
                    winners.push(index);
                }
            }
        }
        for index in keyless {
            self.want_keys(index);
        }
        for index in winners {
            self.settle_race(index);
        }
    }
}

/// The address of this host that a server sees; no packet is sent.
fn seen_from(server: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any(server)).ok()?;
    socket.connect(server).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Any address and port of the family of another.
fn any(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// Passes the error queue to the client: transmit timestamps and ICMP errors.
fn take_departures(socket: &UdpSocket, client: &mut Client, request: u32) {
    read_departures(socket, |told| match told {
        Told::Left(at, _) => client.handle_left(request, wall(at)),
        Told::Failed => client.handle_unreachable(request),
    });
}
