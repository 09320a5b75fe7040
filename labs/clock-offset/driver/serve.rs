//! An NTP server on a real socket that plays a scenario: a clock with a known offset from this
//! host's, behind an emulated path.
//!
//! The server plays the path: T2 is later than the request's arrival, and the reply leaves late. A
//! reply is never longer than its request.

use super::{clocks, wall};
use crate::interleaved::{Memory, Reply as Said, unmarked};
use crate::nts::server::{Authenticity, Master};
use crate::packet::{HEADER_LEN, Packet, TRANSMIT_AT};
use crate::sample::TimePair;
use crate::scenario::{Fate, Scenario};
use crate::server::{Ignored, ServerConfig, reply_by};
use crate::timestamp::{NtpTimestamp, WallTime};
use mio::Interest;
use mio::unix::SourceFd;
use serde::Serialize;
use socket2::SockAddr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready as Turn};
use wirelab::runtime::shutdown;
use wirelab::sys::datagrams::{Datagram, Inbox, Outgoing, report_destinations, send_each};
use wirelab::sys::random;
use wirelab::sys::timestamp::stamp_arrivals;
use wirelab::sys::tx_timestamp::{Told, read_departures, stamp_departures_on_request};

/// Configuration of a server.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The server's clock and the path to it.
    pub scenario: Scenario,
    /// Seed of the path's random numbers.
    pub seed: u64,
    /// The server's claims about itself.
    pub config: ServerConfig,
}

/// Counters of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that were answered, or lost, or whose reply was lost, by the path.
    pub requests: u64,
    /// Replies sent.
    pub replies: u64,
    /// Replies with the transmit time of the previous one (RFC 9769).
    pub interleaved: u64,
    /// Requests and replies lost by the emulated path.
    pub lost: u64,
    /// Replies that the kernel refused, or that the queue could not hold.
    pub not_sent: u64,
    /// Ignored datagrams, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// Maximum delayed replies: at 2 s of delay this is 8192 requests a second.
const WAITING_MAX: usize = 16_384;
/// Datagrams per receive call.
const BATCH: usize = 32;
/// Batches read before due replies are sent.
const TURN: usize = 2;
/// Replies per send call, with one T3: the last leaves seven sends later. With eight sleeping
/// clients on a busy host of two processors the first had its reply 9 µs after T3, the last 53 µs
/// (medians of 200), within their widened intervals. Interleaved mode reports each reply's own
/// transmit time, 1 to 3 µs before its arrival there.
const GROUP: usize = 8;
/// Oldest transmit timestamp accepted; chrony allows as much (MAX_TS_DELAY).
const DEPARTURE_MAX_NS: i64 = 1_000_000_000;
/// From a request's arrival to its reply, if a path is played.
const RESIDENCE: Duration = Duration::from_micros(50);

/// A delayed reply.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Instant,
    order: u64,
    bytes: Reply,
    to: SocketAddr,
    from: Option<IpAddr>,
}

/// A reply: a header without allocation, or an authenticated packet.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reply {
    Plain([u8; HEADER_LEN]),
    Proved(Vec<u8>),
}

/// A reply that is sent at once.
struct Ready {
    bytes: Reply,
    to: SockAddr,
    from: Option<IpAddr>,
    lie_ns: i64,
    said: Said,
}

impl Reply {
    /// Sets T3 in an unauthenticated reply.
    fn stamp(&mut self, t3: NtpTimestamp) {
        if let Self::Plain(bytes) = self {
            let t3 = unmarked(t3);
            bytes[TRANSMIT_AT..].copy_from_slice(&t3.bits().to_be_bytes());
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Proved(bytes) => bytes,
        }
    }
}

/// A server on one socket.
pub struct Server {
    events: EventLoop<()>,
    responder: Responder,
}

/// The server without its loop.
struct Responder {
    clock: Clock,
    socket: UdpSocket,
    serving: Serving,
    waiting: BinaryHeap<Reverse<Waiting>>,
    counts: Counts,
    inbox: Inbox,
    ready: Vec<Ready>,
    prover: Option<Master>,
    /// State for clients in interleaved mode.
    memory: Memory,
    /// A reply was sent with a timestamp request.
    asked_to_stamp: bool,
    stopping: bool,
}

impl Server {
    /// A server on a bound socket; the scenario's times count from the start of `clock`.
    ///
    /// # Errors
    /// Fails if the kernel gives no event queue or timer.
    pub fn new(socket: UdpSocket, serving: Serving, clock: Clock) -> io::Result<Self> {
        let mut events = EventLoop::new(clock)?;
        socket.set_nonblocking(true)?;
        // Without kernel timestamps the program's own are used.
        let _user_stamps = stamp_arrivals(&socket);
        let _user_stamps = stamp_departures_on_request(&socket);
        let local = socket.local_addr()?.ip();
        if local.is_unspecified() {
            // A reply leaves from the address that the request was sent to.
            report_destinations(&socket, local)?;
        }
        let fd = socket.as_raw_fd();
        events.register(&mut SourceFd(&fd), Interest::READABLE, ())?;
        let responder = Responder {
            clock,
            socket,
            serving,
            waiting: BinaryHeap::new(),
            counts: Counts::default(),
            inbox: Inbox::new(BATCH),
            ready: Vec::with_capacity(BATCH),
            prover: None,
            memory: Memory::default(),
            asked_to_stamp: false,
            stopping: false,
        };
        Ok(Self { events, responder })
    }

    /// The same, with NTS (RFC 8915) for requests with a cookie of this master.
    ///
    /// # Errors
    /// Fails if the kernel gives no random bits.
    pub fn proving(mut self, master: Master) -> io::Result<Self> {
        self.responder.prover = Some(master);
        Ok(self)
    }

    /// Serves until a shutdown; returns the counters.
    ///
    /// # Errors
    /// Fails if the kernel refuses to wait.
    pub fn run(mut self, shutdown: &mut shutdown::Receiver) -> io::Result<Counts> {
        self.events.run(&mut self.responder, shutdown)?;
        Ok(self.responder.counts)
    }
}

impl Driver for Responder {
    type Source = ();

    fn poll_output(
        &mut self,
        _events: &mut EventLoop<()>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        if self.stopping {
            return Ok(ControlFlow::Break(()));
        }
        self.send_due(now);
        Ok(ControlFlow::Continue(()))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.at)
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<()>,
        _now: Instant,
        ready: Turn<()>,
    ) -> io::Result<()> {
        if ready.error {
            self.read_departures();
        }
        if self.receive_some() {
            events.requeue(ready.id);
        }
        Ok(())
    }

    /// Only replies are due: `poll_output` sends them.
    fn handle_timeout(&mut self, _events: &mut EventLoop<()>, _now: Instant) {}

    fn handle_shutdown(&mut self, _events: &mut EventLoop<()>, _now: Instant) {
        self.stopping = true;
    }
}

impl Responder {
    /// Whether there may be more to read.
    fn receive_some(&mut self) -> bool {
        for _ in 0..TURN {
            match self.inbox.fill(&self.socket) {
                Ok(came) => {
                    self.answer_all(came);
                    self.flush();
                    if came < self.inbox.room() {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier reply is ignored.
                Err(_) => {}
            }
        }
        true
    }

    fn answer_all(&mut self, came: usize) {
        let user = clocks(&self.clock);
        // Moved out, because answering borrows the whole server.
        let inbox = std::mem::replace(&mut self.inbox, Inbox::empty());
        for index in 0..came {
            if let Some(datagram) = inbox.get(index) {
                self.answer(&datagram, &user);
            }
        }
        self.inbox = inbox;
    }

    fn answer(&mut self, datagram: &Datagram<'_>, user: &TimePair) {
        let kernel = datagram.kernel_ns.map(wall).filter(|stamp| *stamp <= user.wall);
        let stamp = kernel.unwrap_or(user.wall);
        let before = user.wall.minus(stamp).unsigned_abs();
        let came = Instant::from_nanos(user.at.as_nanos().saturating_sub(before));
        let Serving { scenario, seed, config } = &self.serving;
        let request = self.counts.requests + 1;
        let Fate { out, back, lie_ns } = scenario.fate(*seed, request);
        let way = out.unwrap_or_default();
        let plays = !way.is_zero() || back.is_some_and(|back| !back.is_zero());
        let late = |by: Duration| {
            let nanos = i64::try_from(by.as_nanos());
            stamp.plus(nanos.expect("invariant: a way takes less than 292 years"))
        };
        let t2 = shown(scenario, late(way), came + way, lie_ns);
        let stay = if plays { RESIDENCE } else { Duration::ZERO };
        let t3 = if plays {
            shown(scenario, late(way + stay), came + way + stay, lie_ns)
        } else {
            // An authenticated reply cannot be stamped again when it is sent.
            let now = if self.prover.is_some() { clocks(&self.clock) } else { *user };
            shown(scenario, now.wall, now.at, lie_ns)
        };
        let bytes = if datagram.whole { Ok(datagram.bytes) } else { Err(Ignored::TooLong) };
        let made = bytes.and_then(|bytes| {
            let (header, said) = reply_by(&mut self.memory, config, bytes, t2, t3)?;
            Ok((finish(self.prover.as_ref(), bytes, header)?, said))
        });
        let (bytes, said) = match made {
            Ok(made) => made,
            Err(ignored) => {
                tracing::info!("{:?} ignored: {}", datagram.from.as_socket(), ignored.name());
                *self.counts.ignored.entry(ignored.name()).or_default() += 1;
                return;
            }
        };
        tracing::info!("request {request} from {:?}", datagram.from.as_socket());
        self.counts.requests = request;
        self.counts.interleaved += u64::from(said.left.is_some());
        if said.remembered {
            // The best known, until the kernel's timestamp arrives.
            self.memory.handle_sent(said.receive, NtpTimestamp::at(t3));
        }
        match (out, back) {
            (Some(_), Some(_)) if !plays => {
                let (to, from) = (datagram.from.clone(), datagram.to);
                self.ready.push(Ready { bytes, to, from, lie_ns, said });
            }
            (Some(out), Some(back)) => {
                let Some(to) = datagram.from.as_socket() else { return };
                if self.waiting.len() == WAITING_MAX {
                    self.counts.not_sent += 1;
                    return;
                }
                let at = came + out + stay + back;
                let from = datagram.to;
                self.waiting.push(Reverse(Waiting { at, order: request, bytes, to, from }));
            }
            _ => self.counts.lost += 1,
        }
    }

    /// Sends ready replies, each stamped right before the send call.
    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.ready.len() {
            let end = self.ready.len().min(sent + GROUP);
            let group = &mut self.ready[sent..end];
            let now = clocks(&self.clock);
            for ready in group.iter_mut() {
                let t3 = shown(&self.serving.scenario, now.wall, now.at, ready.lie_ns);
                if ready.said.left.is_none() {
                    ready.bytes.stamp(NtpTimestamp::at(t3));
                }
                if ready.said.remembered {
                    self.memory.handle_sent(ready.said.receive, NtpTimestamp::at(t3));
                    self.asked_to_stamp = true;
                }
            }
            let messages = group.iter().map(|ready| Outgoing {
                bytes: ready.bytes.bytes(),
                to: &ready.to,
                from: ready.from,
                stamped: ready.said.remembered,
            });
            match send_each(&self.socket, messages) {
                Ok(taken @ 1..) => {
                    self.counts.replies += taken as u64;
                    sent += taken;
                }
                // Skip the refused datagram; send those after it.
                Ok(_) | Err(_) => {
                    self.counts.not_sent += 1;
                    sent += 1;
                }
            }
        }
        self.ready.clear();
        if std::mem::take(&mut self.asked_to_stamp) {
            self.read_departures();
        }
    }

    /// Reads transmit timestamps: available at once on loopback, later from a device.
    fn read_departures(&mut self) {
        let Self { socket, memory, serving, clock, .. } = self;
        let now = clocks(clock);
        read_departures(socket, |told| {
            let Told::Left(at, bytes) = told else { return };
            // An authenticated reply has more after its header, and keeps the time that it states.
            let header = bytes.last_chunk::<HEADER_LEN>().and_then(|b| Packet::open(b).ok());
            let Some(Packet { header, .. }) = header else { return };
            let wall = wall(at);
            let ago = now.wall.minus(wall);
            // A stamp of another clock: ours was set meanwhile.
            if !(0..DEPARTURE_MAX_NS).contains(&ago) {
                return;
            }
            let at = Instant::from_nanos(now.at.as_nanos().saturating_sub(ago.unsigned_abs()));
            // A false clock counts in its own way, which the timestamp does not reflect.
            if serving.scenario.lie.is_none() {
                let left = shown(&serving.scenario, wall, at, 0);
                memory.handle_sent(header.receive, NtpTimestamp::at(left));
            }
        });
    }

    fn send_due(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.at <= now) {
            if let Some(Reverse(next)) = self.waiting.pop() {
                let (bytes, to, from) = (next.bytes.bytes(), &SockAddr::from(next.to), next.from);
                let message = Outgoing { bytes, to, from, stamped: false };
                match send_each(&self.socket, std::iter::once(message)) {
                    Ok(_) => self.counts.replies += 1,
                    Err(_) => self.counts.not_sent += 1,
                }
            }
        }
    }
}

/// The reading of the server's clock.
fn shown(scenario: &Scenario, wall: WallTime, at: Instant, lie_ns: i64) -> WallTime {
    wall.plus(scenario.truth.offset_at(at)).plus(lie_ns)
}

/// The authenticated reply, if requested.
fn finish(
    prover: Option<&Master>,
    request: &[u8],
    header: [u8; HEADER_LEN],
) -> Result<Reply, Ignored> {
    let Some(master) = prover else { return Ok(Reply::Plain(header)) };
    let asked = match master.judge(request)? {
        Authenticity::Plain => return Ok(Reply::Plain(header)),
        Authenticity::Refused(bytes) => return Ok(Reply::Proved(bytes)),
        Authenticity::Proved(asked) => asked,
    };
    let mut drawn = true;
    let mut random = |bytes: &mut [u8]| drawn &= random::fill(bytes).is_ok();
    let bytes = master.prove(&asked, &header, &mut random);
    // A cookie needs an unpredictable nonce.
    if drawn { Ok(Reply::Proved(bytes)) } else { Err(Ignored::Entropy) }
}
