//! Messages between two hosts by real packets, each stamped by the clock of its host.
//!
//! It exists so that the order of events is shown on a path as well as in virtual time.
//! It must never set a clock: what B's shows is this host's clock and the error that it is to have.

use super::{clocks, wall};
use crate::causality::{Books, Carrier, Host, Order, sender, shown};
use crate::scenario::Scenario;
use crate::timestamp::WallTime;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::runtime::timer::Timer;
use wirelab::sys::timestamp::{receive, stamp_arrivals};

const STOP: Token = Token(2);
const TIMER: Token = Token(3);
/// From the last message to giving up those that have not arrived: longer than any way.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a message: its number, the sender's time, the sender's Lamport time.
const LENGTH: usize = 20;

/// What is played.
#[derive(Clone, Debug)]
pub struct Playing {
    /// B's clock; the path is whatever lies between the sockets.
    pub scenario: Scenario,
    /// What the path drew from.
    pub seed: u64,
    /// Messages in all.
    pub messages: u32,
    /// From one to the next.
    pub every: Duration,
}

/// Two hosts in one loop: they share this host's clock, and nothing but the messages.
struct Hosts<'a> {
    sockets: &'a [UdpSocket; 2],
    addresses: [SocketAddr; 2],
    playing: &'a Playing,
    clock: Clock,
    books: Books,
}

/// Sends the messages in turn and waits for them to arrive. Where somebody says stop before the
/// end, those that have arrived are what there is.
///
/// # Errors
/// Where a socket or the wait fails.
pub fn play(
    sockets: &[UdpSocket; 2],
    playing: &Playing,
    clock: Clock,
    stopped: &mut shutdown::Receiver,
) -> io::Result<Order> {
    let mut poll = Poll::new()?;
    let mut timer = Timer::new(poll.registry(), TIMER)?;
    poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
    for (index, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true)?;
        // Without kernel stamps the program's own are taken.
        let _user_stamps = stamp_arrivals(socket);
        let fd = socket.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    let addresses = [sockets[0].local_addr()?, sockets[1].local_addr()?];
    let mut hosts = Hosts { sockets, addresses, playing, clock, books: Books::default() };
    let mut events = Events::with_capacity(8);
    let (began, mut sent) = (clock.now(), 0);
    let due = |number: u32| began + playing.every * number;
    let end = due(playing.messages) + PATIENCE;
    while hosts.books.arrived() < playing.messages as usize && !stopped.is_stopped() {
        let now = clock.now();
        while sent < playing.messages && due(sent) <= now {
            sent += 1;
            hosts.send(sent)?;
        }
        if now >= end {
            break;
        }
        let next = if sent < playing.messages { due(sent) } else { end };
        timer.set(&clock, now, Some(next))?;
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        hosts.receive_all()?;
    }
    Ok(hosts.books.close(&playing.scenario, playing.seed, Carrier::Path))
}

impl Hosts<'_> {
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

    fn receive_all(&mut self) -> io::Result<()> {
        for host in [Host::A, Host::B] {
            // One byte more than a message, so that a longer one is seen to be none.
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
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
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
