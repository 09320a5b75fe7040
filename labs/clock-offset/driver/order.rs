//! Exchanges messages between two hosts in real packets, each stamped by its host's clock.
//!
//! B's clock is this host's clock plus the error of the scenario.

use super::{clocks, wall};
use crate::causality::{Books, Carrier, Host, Order, sender, shown};
use crate::scenario::Scenario;
use crate::timestamp::WallTime;
use mio::Interest;
use mio::unix::SourceFd;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready};
use wirelab::runtime::shutdown;
use wirelab::sys::timestamp::{receive, stamp_arrivals};

/// From the last message to the end of the wait for those in flight: longer than any path.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a message: its number, the sender's time, the sender's Lamport time.
const LENGTH: usize = 20;

/// The experiment.
#[derive(Clone, Debug)]
pub struct Playing {
    /// B's clock; the path is between the sockets.
    pub scenario: Scenario,
    /// Seed of the path's random numbers.
    pub seed: u64,
    /// Messages in all.
    pub messages: u32,
    /// Interval between messages.
    pub every: Duration,
}

/// Two hosts in one loop: they share this host's clock, and only exchange messages.
struct Hosts<'a> {
    sockets: &'a [UdpSocket; 2],
    addresses: [SocketAddr; 2],
    playing: &'a Playing,
    clock: Clock,
    books: Books,
    began: Instant,
    sent: u32,
    stopping: bool,
}

/// Sends the messages in turn and waits for them. A shutdown before the end returns those that have
/// arrived.
///
/// # Errors
/// Fails if a socket fails or the kernel refuses to wait.
pub fn play(
    sockets: &[UdpSocket; 2],
    playing: &Playing,
    clock: Clock,
    shutdown: &mut shutdown::Receiver,
) -> io::Result<Order> {
    let mut events = EventLoop::new(clock)?;
    for (host, socket) in [Host::A, Host::B].into_iter().zip(sockets) {
        socket.set_nonblocking(true)?;
        // Without kernel timestamps the program's own are used.
        let _user_stamps = stamp_arrivals(socket);
        events.register(&mut SourceFd(&socket.as_raw_fd()), Interest::READABLE, host)?;
    }
    let addresses = [sockets[0].local_addr()?, sockets[1].local_addr()?];
    let (books, began) = (Books::default(), clock.now());
    let mut hosts =
        Hosts { sockets, addresses, playing, clock, books, began, sent: 0, stopping: false };
    events.run(&mut hosts, shutdown)?;
    Ok(hosts.books.close(&playing.scenario, playing.seed, Carrier::Path))
}

impl Driver for Hosts<'_> {
    type Source = Host;

    fn poll_output(
        &mut self,
        _events: &mut EventLoop<Host>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        let messages = self.playing.messages;
        if self.stopping || self.books.arrived() >= messages as usize {
            return Ok(ControlFlow::Break(()));
        }
        while self.sent < messages && self.due(self.sent) <= now {
            self.sent += 1;
            self.send(self.sent)?;
        }
        Ok(if now >= self.end() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(if self.sent < self.playing.messages { self.due(self.sent) } else { self.end() })
    }

    fn handle_ready(
        &mut self,
        _events: &mut EventLoop<Host>,
        _now: Instant,
        ready: Ready<Host>,
    ) -> io::Result<()> {
        self.receive_all(ready.source)
    }

    /// Only messages are due: `poll_output` sends them.
    fn handle_timeout(&mut self, _events: &mut EventLoop<Host>, _now: Instant) {}

    fn handle_shutdown(&mut self, _events: &mut EventLoop<Host>, _now: Instant) {
        self.stopping = true;
    }
}

impl Hosts<'_> {
    /// When a message is sent.
    fn due(&self, number: u32) -> Instant {
        self.began + self.playing.every * number
    }

    /// When to stop waiting for messages.
    fn end(&self) -> Instant {
        self.due(self.playing.messages) + PATIENCE
    }

    fn shown(&self, host: Host, right: WallTime, at: Instant) -> WallTime {
        shown(&self.playing.scenario, host, right, at)
    }

    fn send(&mut self, number: u32) -> io::Result<()> {
        let from = sender(number);
        let lamport = self.books.handle_sent(from);
        let now = clocks(&self.clock);
        let sent = self.shown(from, now.wall, now.at);
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes[4..12].copy_from_slice(&sent.as_nanos().to_be_bytes());
        bytes[12..].copy_from_slice(&lamport.to_be_bytes());
        let to = self.addresses[1 - from as usize];
        self.sockets[from as usize].send_to(&bytes, to).map(drop)
    }

    fn receive_all(&mut self, host: Host) -> io::Result<()> {
        // One byte more than a message, so that a longer one is detected.
        let mut bytes = [0; LENGTH + 1];
        loop {
            match receive(&self.sockets[host as usize], &mut bytes) {
                Ok(got) => {
                    let now = clocks(&self.clock);
                    let right = got.kernel_ns.map_or(now.wall, wall).min(now.wall);
                    let before = now.wall.minus(right).unsigned_abs();
                    let at = now.at.as_nanos().saturating_sub(before);
                    let received = self.shown(host, right, Instant::from_nanos(at));
                    let peer = self.addresses[1 - host as usize];
                    if got.from == peer && got.length == LENGTH {
                        self.take(host, &bytes, received);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, host: Host, bytes: &[u8; LENGTH + 1], received: WallTime) {
        let part = |from: usize| -> [u8; 8] { std::array::from_fn(|index| bytes[from + index]) };
        let number = u32::from_be_bytes(std::array::from_fn(|index| bytes[index]));
        let sent = WallTime::from_nanos(i64::from_be_bytes(part(4)));
        let lamport = u64::from_be_bytes(part(12));
        if sender(number) != host {
            self.books.handle_received(number, (sent, lamport), received);
        }
    }
}
