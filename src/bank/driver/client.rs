//! Fleets of bank clients on real sockets: one mio loop for any number of lanes.
//!
//! It exists so that the [`Fleet`] of virtual time also runs over the kernel's TCP and UDP.
//! It must never decide when a request starts or ends: the fleet does.

use crate::bank::load::{Action, Fleet, LoadPlan};
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::timer::Timer;
use bytes::{Buf, Bytes};
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::time::Duration;

/// Makes the sockets of one lane, in the lane's namespace and with its options.
pub trait Opener: Send {
    /// A TCP socket whose connection to the server has been begun, non-blocking.
    ///
    /// # Errors
    /// What the kernel says.
    fn tcp(&mut self) -> io::Result<std::net::TcpStream>;

    /// A UDP socket connected to the server, non-blocking.
    ///
    /// # Errors
    /// What the kernel says.
    fn udp(&mut self) -> io::Result<std::net::UdpSocket>;
}

/// A fleet and the sockets of its members.
struct Lane {
    fleet: Fleet,
    opener: Box<dyn Opener>,
    sockets: Vec<Socket>,
    first_token: usize,
}

enum Socket {
    None,
    Datagram(UdpSocket),
    Stream { stream: TcpStream, connected: bool, out: VecDeque<Bytes> },
}

/// What [`ClientLoop::run`] tells its caller now and then.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Requests that ended, over all lanes, in this load.
    pub ended: u64,
    /// Lanes that are done.
    pub lanes_done: usize,
    /// Sockets that failed or were refused since bytes last came from a server.
    pub failures_in_a_row: u64,
}

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Bytes read at once from a connection.
const READ_BUFFER: usize = 64 * 1024;
/// Errors of sockets kept for the caller, at most: the first ones tell what is wrong.
const FAILURES_KEPT_MAX: usize = 64;
const TIMER: Token = Token(0);
const FIRST: usize = 1;

/// The loop.
pub struct ClientLoop {
    poll: Poll,
    clock: Clock,
    lanes: Vec<Lane>,
    timer: Timer,
    failures: Vec<(usize, io::Error)>,
    failures_in_a_row: u64,
    buffer: Box<[u8]>,
}

impl ClientLoop {
    /// A loop over these fleets. Sockets are opened when a fleet asks for them.
    ///
    /// # Errors
    /// Where the kernel gives no event queue.
    pub fn new(fleets: Vec<(Fleet, Box<dyn Opener>)>, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let mut lanes = Vec::new();
        let mut first_token = FIRST;
        for (fleet, opener) in fleets {
            let sockets: Vec<Socket> = (0..fleet.members()).map(|_| Socket::None).collect();
            let count = sockets.len();
            lanes.push(Lane { fleet, opener, sockets, first_token });
            first_token += count;
        }
        let buffer = vec![0; READ_BUFFER].into_boxed_slice();
        Ok(Self { poll, clock, lanes, timer, failures: Vec::new(), failures_in_a_row: 0, buffer })
    }

    /// The fleets, in the order given.
    pub fn fleets(&self) -> impl Iterator<Item = &Fleet> {
        self.lanes.iter().map(|lane| &lane.fleet)
    }

    /// Errors of sockets since the last call, with the lane they belong to; the first 64 of them.
    pub fn take_failures(&mut self) -> Vec<(usize, io::Error)> {
        std::mem::take(&mut self.failures)
    }

    /// Closes every socket; the fleets and what they measured stay.
    pub fn hang_up(&mut self) {
        for socket in self.lanes.iter_mut().flat_map(|lane| &mut lane.sockets) {
            *socket = Socket::None;
        }
    }

    /// Gives every fleet its load and drives them all to the end, or until `observer` breaks.
    ///
    /// # Errors
    /// Where the kernel refuses to wait; [`Self::take_failures`] tells of a failing socket.
    pub fn run(
        &mut self,
        plans: &[LoadPlan],
        mut observer: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let now = self.clock.now();
        for (index, plan) in plans.iter().enumerate().take(self.lanes.len()) {
            self.lanes[index].fleet.begin(now, *plan);
            self.act(index);
        }
        let mut events = Events::with_capacity(1024);
        let mut next_progress = now;
        loop {
            let now = self.clock.now();
            let progress = self.progress(now);
            if now >= next_progress {
                next_progress = now + PROGRESS_EVERY;
                if observer(progress).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if progress.lanes_done == self.lanes.len() {
                return Ok(ControlFlow::Continue(()));
            }
            let deadline = self.lanes.iter().filter_map(|lane| lane.fleet.poll_timeout()).min();
            let wake = deadline.map_or(next_progress, |at| at.min(next_progress));
            self.timer.set(&self.clock, now, Some(wake))?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if let Some((lane, member)) = self.place(event.token()) {
                    // A short read does not empty a socket whose end is behind it.
                    self.ready(lane, member, event.is_read_closed() || event.is_error());
                }
            }
            self.expire();
        }
    }

    fn progress(&self, now: Instant) -> Progress {
        let ended = self.lanes.iter().map(|lane| lane.fleet.samples().len() as u64).sum();
        let lanes_done = self.lanes.iter().filter(|lane| lane.fleet.is_done(now)).count();
        Progress { ended, lanes_done, failures_in_a_row: self.failures_in_a_row }
    }

    fn failed(&mut self, index: usize, error: io::Error) {
        self.failures_in_a_row += 1;
        if self.failures.len() < FAILURES_KEPT_MAX {
            self.failures.push((index, error));
        }
    }

    fn place(&self, token: Token) -> Option<(usize, usize)> {
        let lane = self.lanes.partition_point(|lane| lane.first_token <= token.0).checked_sub(1)?;
        Some((lane, token.0 - self.lanes[lane].first_token))
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        for index in 0..self.lanes.len() {
            if self.lanes[index].fleet.poll_timeout().is_some_and(|at| at <= now) {
                self.lanes[index].fleet.handle_timeout(now);
                self.act(index);
            }
        }
    }

    /// Reads and writes what a member's socket is ready for.
    fn ready(&mut self, index: usize, member: usize, to_the_end: bool) {
        let now = self.clock.now();
        let lane = &mut self.lanes[index];
        let mut inbox = Inbox {
            fleet: &mut lane.fleet,
            clock: &self.clock,
            member,
            buffer: &mut self.buffer,
            failures_in_a_row: &mut self.failures_in_a_row,
        };
        let over = match &mut lane.sockets[member] {
            Socket::None => false,
            Socket::Datagram(socket) => {
                inbox.receive_all(socket);
                false
            }
            Socket::Stream { stream, connected, out } => {
                if !*connected {
                    match established(stream) {
                        Ok(true) => {
                            *connected = true;
                            inbox.fleet.handle_open(now, member);
                        }
                        Ok(false) => return,
                        Err(error) => {
                            self.failed(index, error);
                            return self.lost(index, member);
                        }
                    }
                }
                inbox.read_all(stream, to_the_end) || !write_all(stream, out)
            }
        };
        if over {
            self.failures_in_a_row += 1;
            self.lost(index, member);
        }
        self.act(index);
    }

    /// The member's connection is over.
    fn lost(&mut self, index: usize, member: usize) {
        let now = self.clock.now();
        let lane = &mut self.lanes[index];
        // Dropping the socket closes it and takes it out of the queue.
        lane.sockets[member] = Socket::None;
        lane.fleet.handle_closed(now, member);
        self.act(index);
    }

    /// Does everything the fleet says.
    fn act(&mut self, index: usize) {
        while let Some(action) = self.lanes[index].fleet.poll_action() {
            let done = match action {
                Action::Open { member } => self.open(index, member).map_err(|e| (member, e)),
                Action::Close { member } => {
                    self.lanes[index].sockets[member] = Socket::None;
                    Ok(())
                }
                Action::Send { member, bytes } => {
                    self.send(index, member, bytes).map_err(|error| (member, error))
                }
            };
            if let Err((member, error)) = done {
                self.failed(index, error);
                let now = self.clock.now();
                self.lanes[index].sockets[member] = Socket::None;
                self.lanes[index].fleet.handle_closed(now, member);
            }
        }
    }

    fn open(&mut self, index: usize, member: usize) -> io::Result<()> {
        let lane = &mut self.lanes[index];
        let mut stream = TcpStream::from_std(lane.opener.tcp()?);
        let token = Token(lane.first_token + member);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        lane.sockets[member] = Socket::Stream { stream, connected: false, out: VecDeque::new() };
        Ok(())
    }

    fn send(&mut self, index: usize, member: usize, bytes: Bytes) -> io::Result<()> {
        let lane = &mut self.lanes[index];
        if matches!(lane.sockets[member], Socket::None) && lane.fleet.uses_datagrams() {
            let mut socket = UdpSocket::from_std(lane.opener.udp()?);
            let token = Token(lane.first_token + member);
            self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
            lane.sockets[member] = Socket::Datagram(socket);
        }
        match &mut lane.sockets[member] {
            Socket::None => Ok(()),
            Socket::Datagram(socket) => match socket.send(&bytes) {
                // A datagram may be lost; a full socket or an absent server loses it here.
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.failures_in_a_row += 1;
                    Ok(())
                }
                other => other.map(drop),
            },
            Socket::Stream { stream, connected, out } => {
                out.push_back(bytes);
                if *connected && !write_all(stream, out) {
                    return Err(ErrorKind::ConnectionReset.into());
                }
                Ok(())
            }
        }
    }
}

/// Whether a connection that was begun is established.
pub(super) fn established(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where what a member receives goes.
struct Inbox<'a> {
    fleet: &'a mut Fleet,
    clock: &'a Clock,
    member: usize,
    buffer: &'a mut [u8],
    failures_in_a_row: &'a mut u64,
}

impl Inbox<'_> {
    fn take(&mut self, length: usize) {
        *self.failures_in_a_row = 0;
        self.fleet.handle_bytes(self.clock.now(), self.member, &self.buffer[..length]);
    }

    fn receive_all(&mut self, socket: &UdpSocket) {
        loop {
            match socket.recv(self.buffer) {
                Ok(length) => self.take(length),
                // The kernel reports an absent server once, then goes on.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    *self.failures_in_a_row += 1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reads until there is no more; true when the connection is over.
    fn read_all(&mut self, stream: &mut TcpStream, to_the_end: bool) -> bool {
        loop {
            match stream.read(self.buffer) {
                Ok(0) => return true,
                Ok(length) => {
                    self.take(length);
                    // A short read emptied the socket (epoll(7)).
                    if length < self.buffer.len() && !to_the_end {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

/// Writes until the kernel takes no more; false when the connection is over.
pub(super) fn write_all(stream: &mut TcpStream, out: &mut VecDeque<Bytes>) -> bool {
    while let Some(bytes) = out.front_mut() {
        match stream.write(bytes) {
            Ok(written) => {
                bytes.advance(written);
                if bytes.is_empty() {
                    out.pop_front();
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}
