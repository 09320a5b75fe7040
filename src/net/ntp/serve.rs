//! An NTP server on a real socket, with a clock that is wrong as told, behind a path as told.
//!
//! It exists for demonstrations: the offset is known, because it is added to this host's clock.
//! The server plays the path: T2 is later than the request came, and the reply leaves late.
//! It must never answer with more bytes than it was asked with, nor set a clock.

use super::{DATAGRAM_MAX, clocks, wall};
use crate::clock::nts::server::{Authenticity, Master};
use crate::clock::packet::HEADER_LEN;
use crate::clock::server::{Ignored, ServerConfig, reply};
use crate::clock::timestamp::WallTime;
use crate::clock::truth::{Fate, Scenario};
use crate::measure::Instant;
use crate::net::alarm::Alarm;
use crate::net::clock::Clock;
use crate::net::stop::Stopped;
use crate::sys::timestamp::{receive, stamp_arrivals};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What the server plays.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Its clock and the path to it.
    pub scenario: Scenario,
    /// What fates are drawn from.
    pub seed: u64,
    /// What it says of itself.
    pub config: ServerConfig,
}

/// What a server has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that were answered, or whose path lost them or their reply.
    pub requests: u64,
    /// Replies sent.
    pub replies: u64,
    /// Requests and replies that the path lost, as told.
    pub lost: u64,
    /// Replies that the kernel would not take, or that had no room to wait.
    pub not_sent: u64,
    /// Datagrams that got no answer, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

const STOP: Token = Token(0);
const ALARM: Token = Token(1);
const SOCKET: Token = Token(2);
/// Replies that wait for their time: at 2 s of delay this is 8192 requests a second.
const WAITING_MAX: usize = 16_384;
/// Datagrams read before the replies that are due have their turn.
const TURN: usize = 64;
/// From the arrival of a request at the server to its reply, where a path is played.
const RESIDENCE: Duration = Duration::from_micros(50);

/// A reply that waits for its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Instant,
    order: u64,
    bytes: Reply,
    to: SocketAddr,
}

/// A reply: as long as a header, and so without memory of its own, or with its proof.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reply {
    Plain([u8; HEADER_LEN]),
    Proved(Vec<u8>),
}

impl Reply {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Proved(bytes) => bytes,
        }
    }
}

/// What makes replies that are proved.
struct Prover {
    master: Master,
    entropy: File,
}

/// A server on one socket.
pub struct Server {
    poll: Poll,
    alarm: Alarm,
    clock: Clock,
    socket: UdpSocket,
    serving: Serving,
    waiting: BinaryHeap<Reverse<Waiting>>,
    counts: Counts,
    buffer: Vec<u8>,
    prover: Option<Prover>,
}

impl Server {
    /// A server on a bound socket; `clock` is what the scenario's times count from.
    ///
    /// # Errors
    /// Where the kernel gives no event queue or timer.
    pub fn new(socket: UdpSocket, serving: Serving, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        socket.set_nonblocking(true)?;
        // Without kernel stamps the program's own are taken.
        let _user_stamps = stamp_arrivals(&socket);
        let fd = socket.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), SOCKET, Interest::READABLE)?;
        let (waiting, counts) = (BinaryHeap::new(), Counts::default());
        let buffer = vec![0; DATAGRAM_MAX];
        let prover = None;
        Ok(Self { poll, alarm, clock, socket, serving, waiting, counts, buffer, prover })
    }

    /// The same, where requests with a cookie of this master are answered with proof (RFC 8915).
    ///
    /// # Errors
    /// Where the kernel gives no random bits.
    pub fn proving(mut self, master: Master) -> io::Result<Self> {
        self.prover = Some(Prover { master, entropy: File::open("/dev/urandom")? });
        Ok(self)
    }

    /// Serves until somebody says stop; gives what was counted.
    ///
    /// # Errors
    /// Where waiting fails.
    pub fn run(mut self, stopped: &mut Stopped) -> io::Result<Counts> {
        self.poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
        let mut events = Events::with_capacity(8);
        let mut more = false;
        while !stopped.is_stopped() {
            let now = self.clock.now();
            self.send_due(now);
            self.alarm.set(&self.clock, now, self.waiting.peek().map(|Reverse(w)| w.at))?;
            let wait = more.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            if more || events.iter().any(|event| event.token() == SOCKET) {
                more = self.receive_some();
            }
        }
        Ok(self.counts)
    }

    /// Whether there may be more to read.
    fn receive_some(&mut self) -> bool {
        for _ in 0..TURN {
            match receive(&self.socket, &mut self.buffer) {
                Ok(got) => self.answer(got.length, got.from, got.kernel_ns.map(wall)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // What ICMP says of an earlier reply is nobody's concern.
                Err(_) => {}
            }
        }
        true
    }

    fn answer(&mut self, length: usize, from: SocketAddr, kernel: Option<WallTime>) {
        let user = clocks(&self.clock);
        let stamp = kernel.filter(|stamp| *stamp <= user.wall).unwrap_or(user.wall);
        let before = user.wall.minus(stamp).unsigned_abs();
        let came = Instant::from_nanos(user.at.as_nanos().saturating_sub(before));
        let Serving { scenario, seed, config } = &self.serving;
        let request = self.counts.requests + 1;
        let Fate { out, back, lie_ns } = scenario.fate(*seed, request);
        let shown =
            |wall: WallTime, at: Instant| wall.plus(scenario.truth.offset_at(at)).plus(lie_ns);
        let bytes = &self.buffer[..length];
        let way = out.unwrap_or_default();
        let plays = !way.is_zero() || back.is_some_and(|back| !back.is_zero());
        let late = |by: Duration| stamp.plus(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
        let t2 = shown(late(way), came + way);
        let stay = if plays { RESIDENCE } else { Duration::ZERO };
        let made = if plays {
            let leaves = way + stay;
            reply(config, bytes, t2, shown(late(leaves), came + leaves))
        } else {
            // As late as can be: right before it is sent.
            let now = clocks(&self.clock);
            reply(config, bytes, t2, shown(now.wall, now.at))
        };
        let made = made.and_then(|header| finish(self.prover.as_mut(), bytes, header));
        let bytes = match made {
            Ok(reply) => reply,
            Err(ignored) => {
                *self.counts.ignored.entry(ignored.name()).or_default() += 1;
                return;
            }
        };
        self.counts.requests = request;
        match (out, back) {
            (Some(_), Some(_)) if !plays => self.send(bytes.bytes(), from),
            (Some(out), Some(back)) => {
                if self.waiting.len() == WAITING_MAX {
                    self.counts.not_sent += 1;
                    return;
                }
                let at = came + out + stay + back;
                self.waiting.push(Reverse(Waiting { at, order: request, bytes, to: from }));
            }
            _ => self.counts.lost += 1,
        }
    }

    fn send_due(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.at <= now) {
            if let Some(Reverse(next)) = self.waiting.pop() {
                self.send(next.bytes.bytes(), next.to);
            }
        }
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        match self.socket.send_to(bytes, to) {
            Ok(_) => self.counts.replies += 1,
            Err(_) => self.counts.not_sent += 1,
        }
    }
}

/// The reply with its proof, where one was asked for.
fn finish(
    prover: Option<&mut Prover>,
    request: &[u8],
    header: [u8; HEADER_LEN],
) -> Result<Reply, Ignored> {
    let Some(Prover { master, entropy }) = prover else { return Ok(Reply::Plain(header)) };
    let asked = match master.judge(request)? {
        Authenticity::Plain => return Ok(Reply::Plain(header)),
        Authenticity::Refused(bytes) => return Ok(Reply::Proved(bytes)),
        Authenticity::Proved(asked) => asked,
    };
    let mut drawn = true;
    let mut random = |bytes: &mut [u8]| drawn &= entropy.read_exact(bytes).is_ok();
    let bytes = master.prove(&asked, &header, &mut random);
    // Cookies whose nonces can be guessed are none to give.
    if drawn { Ok(Reply::Proved(bytes)) } else { Err(Ignored::Entropy) }
}
