//! Fleets of bank clients on real sockets: one mio loop for any number of lanes.
//!
//! It exists so that the same [`Fleet`] that runs in virtual time runs over the kernel's TCP and
//! UDP. It must never decide when a request starts or ends: the fleet does.

use super::alarm::Alarm;
use super::clock::Clock;
use crate::bank::load::{Action, Fleet, LoadPlan};
use crate::measure::Instant;
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
}

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Bytes read at once from a connection.
const READ_BUFFER: usize = 64 * 1024;
const ALARM: Token = Token(0);
const FIRST: usize = 1;

/// The loop.
pub struct ClientLoop {
    poll: Poll,
    clock: Clock,
    lanes: Vec<Lane>,
    alarm: Alarm,
    failures: Vec<(usize, io::Error)>,
}

impl ClientLoop {
    /// A loop over these fleets. Sockets are opened when a fleet asks for them.
    ///
    /// # Errors
    /// Where the kernel gives no event queue.
    pub fn new(fleets: Vec<(Fleet, Box<dyn Opener>)>, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let mut lanes = Vec::new();
        let mut first_token = FIRST;
        for (fleet, opener) in fleets {
            let sockets: Vec<Socket> = (0..fleet.members()).map(|_| Socket::None).collect();
            let count = sockets.len();
            lanes.push(Lane { fleet, opener, sockets, first_token });
            first_token += count;
        }
        Ok(Self { poll, clock, lanes, alarm, failures: Vec::new() })
    }

    /// The fleets, in the order given.
    pub fn fleets(&self) -> impl Iterator<Item = &Fleet> {
        self.lanes.iter().map(|lane| &lane.fleet)
    }

    /// Errors of sockets since the last call, with the lane they belong to.
    pub fn take_failures(&mut self) -> Vec<(usize, io::Error)> {
        std::mem::take(&mut self.failures)
    }

    /// Gives every fleet its load and drives them all to the end, or until `observer` breaks.
    ///
    /// # Errors
    /// Where the kernel refuses to wait; a failing socket is only reported by
    /// [`Self::take_failures`].
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
            self.alarm.set(&self.clock, now, Some(wake))?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if let Some((lane, member)) = self.place(event.token()) {
                    self.ready(lane, member);
                }
            }
            self.expire();
        }
    }

    fn progress(&self, now: Instant) -> Progress {
        let ended = self.lanes.iter().map(|lane| lane.fleet.samples().len() as u64).sum();
        let lanes_done = self.lanes.iter().filter(|lane| lane.fleet.is_done(now)).count();
        Progress { ended, lanes_done }
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
    fn ready(&mut self, index: usize, member: usize) {
        let now = self.clock.now();
        let lane = &mut self.lanes[index];
        let over = match &mut lane.sockets[member] {
            Socket::None => false,
            Socket::Datagram(socket) => {
                receive_all(socket, &mut lane.fleet, &self.clock, member);
                false
            }
            Socket::Stream { stream, connected, out } => {
                if !*connected {
                    match established(stream) {
                        Ok(true) => {
                            *connected = true;
                            lane.fleet.handle_open(now, member);
                        }
                        Ok(false) => return,
                        Err(error) => {
                            self.failures.push((index, error));
                            return self.lost(index, member);
                        }
                    }
                }
                read_all(stream, &mut lane.fleet, &self.clock, member) || !write_all(stream, out)
            }
        };
        if over {
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
                self.failures.push((index, error));
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
                Err(error) if is_loss(&error) => Ok(()),
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

fn is_loss(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused)
}

/// Whether a connection that was begun is established.
fn established(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

fn receive_all(socket: &UdpSocket, fleet: &mut Fleet, clock: &Clock, member: usize) {
    let mut buffer = [0_u8; 2048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => fleet.handle_bytes(clock.now(), member, &buffer[..length]),
            // The kernel reports an absent server once, then goes on.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

/// Reads until there is no more; true when the connection is over.
fn read_all(stream: &mut TcpStream, fleet: &mut Fleet, clock: &Clock, member: usize) -> bool {
    let mut buffer = [0_u8; READ_BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(length) => {
                fleet.handle_bytes(clock.now(), member, &buffer[..length]);
                // A short read emptied the socket (epoll(7)).
                if length < buffer.len() {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// Writes until the kernel takes no more; false when the connection is over.
fn write_all(stream: &mut TcpStream, out: &mut VecDeque<Bytes>) -> bool {
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
