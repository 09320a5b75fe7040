//! Load generators on real sockets: one loop for any number of lanes.
//!
//! A [`LoadGenerator`] decides when a request starts or ends; this loop moves its bytes over the
//! kernel's TCP and UDP.

use crate::bank::load::{Action, LoadGenerator, LoadPlan};
use crate::bank::transport::SocketKind;
use crate::measure::Instant;
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::{EventLoop, SourceId};
use crate::runtime::stream::Stream;
use bytes::Bytes;
use mio::Interest;
use mio::net::{TcpStream, UdpSocket};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::time::Duration;

/// Creates the sockets of one lane, in its namespace and with its options.
pub trait Opener: Send {
    /// A non-blocking TCP socket whose connection to the server has begun.
    /// Fails with the error of the system call.
    fn tcp(&mut self) -> io::Result<std::net::TcpStream>;

    /// A non-blocking UDP socket connected to the server.
    /// Fails with the error of the system call.
    fn udp(&mut self) -> io::Result<std::net::UdpSocket>;
}

/// A generator and the sockets of its slots.
struct Lane {
    generator: LoadGenerator,
    opener: Box<dyn Opener>,
    sockets: Vec<Option<(Socket, SourceId)>>,
}

/// The socket of one client.
pub(super) enum Socket {
    Datagram(UdpSocket),
    Stream(Stream),
}

impl Socket {
    /// Opens and registers a socket.
    pub(super) fn open<S: Copy>(
        kind: SocketKind,
        opener: &mut dyn Opener,
        events: &mut EventLoop<S>,
        source: S,
    ) -> io::Result<(Self, SourceId)> {
        match kind {
            SocketKind::Datagram => {
                let mut socket = UdpSocket::from_std(opener.udp()?);
                let id = events.register(&mut socket, Interest::READABLE, source)?;
                Ok((Self::Datagram(socket), id))
            }
            SocketKind::Stream => {
                let mut stream = Stream::connecting(TcpStream::from_std(opener.tcp()?));
                let interest = Interest::READABLE | Interest::WRITABLE;
                let id = events.register(stream.source(), interest, source)?;
                Ok((Self::Stream(stream), id))
            }
        }
    }

    /// Whether the error reports an absent server, which may come back.
    fn is_refused(&self, error: &io::Error) -> bool {
        matches!(self, Self::Datagram(_)) && error.kind() == ErrorKind::ConnectionRefused
    }

    pub(super) const fn is_established(&self) -> bool {
        match self {
            Self::Datagram(_) => true,
            Self::Stream(stream) => stream.is_established(),
        }
    }

    /// Sends a datagram, or queues bytes of the stream.
    pub(super) fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => match socket.send(&bytes) {
                // A full socket loses a datagram as a path does; the client retransmits.
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                other => other.map(drop),
            },
            Self::Stream(stream) => {
                stream.push(bytes);
                Ok(())
            }
        }
    }

    /// Sends queued bytes of an established stream; the event that establishes it sends the rest.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) if stream.is_established() => stream.flush().map(drop),
            _ => Ok(()),
        }
    }
}

/// A lane index and a slot index.
type Place = (usize, usize);

/// Progress that [`ClientLoop::run`] reports periodically.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Requests that ended in this load, over all lanes.
    pub ended: u64,
    /// Finished lanes.
    pub lanes_done: usize,
    /// Sockets that failed or were refused since bytes last came from a server.
    pub failures_in_a_row: u64,
}

/// Interval of progress reports.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Bytes per read from a connection.
const READ_BUFFER: usize = 64 * 1024;
/// Maximum socket errors kept for the caller: the first ones show the cause.
const FAILURES_KEPT_MAX: usize = 64;

/// The load generators' event loop.
pub struct ClientLoop {
    events: EventLoop<Place>,
    clock: Clock,
    lanes: Vec<Lane>,
    failures: Vec<(usize, io::Error)>,
    failures_in_a_row: u64,
    buffer: Box<[u8]>,
}

impl ClientLoop {
    /// A loop over these generators. Sockets are opened on a generator's request.
    /// Fails if the kernel gives no event queue.
    pub fn new(
        generators: Vec<(LoadGenerator, Box<dyn Opener>)>,
        clock: Clock,
    ) -> io::Result<Self> {
        let lane = |(generator, opener): (LoadGenerator, Box<dyn Opener>)| {
            let sockets = (0..generator.slots()).map(|_| None).collect();
            Lane { generator, opener, sockets }
        };
        Ok(Self {
            events: EventLoop::new(clock)?,
            clock,
            lanes: generators.into_iter().map(lane).collect(),
            failures: Vec::new(),
            failures_in_a_row: 0,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        })
    }

    /// The generators, in the order given.
    pub fn generators(&self) -> impl Iterator<Item = &LoadGenerator> {
        self.lanes.iter().map(|lane| &lane.generator)
    }

    /// Socket errors since the last call, each with its lane; the first 64 of them.
    pub fn take_failures(&mut self) -> Vec<(usize, io::Error)> {
        std::mem::take(&mut self.failures)
    }

    /// Closes every socket; the generators keep their measurements.
    pub fn hang_up(&mut self) {
        for socket in self.lanes.iter_mut().flat_map(|lane| &mut lane.sockets) {
            if let Some((socket, id)) = socket.take() {
                drop(socket);
                self.events.release(id);
            }
        }
    }

    /// Starts a load on every generator and drives them to the end, or until `observer` breaks:
    /// requests in flight are then unknown.
    /// Fails if the kernel refuses to wait; [`Self::take_failures`] reports socket errors.
    pub fn run(
        &mut self,
        plans: &[LoadPlan],
        mut observer: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let now = self.clock.now();
        for (index, plan) in plans.iter().enumerate().take(self.lanes.len()) {
            self.lanes[index].generator.begin(now, *plan);
            self.act(index);
        }
        let mut next_progress = now;
        loop {
            let now = self.clock.now();
            let progress = self.progress(now);
            if now >= next_progress {
                next_progress = now + PROGRESS_EVERY;
                if observer(progress).is_break() {
                    self.lanes.iter_mut().for_each(|lane| lane.generator.abandon(now));
                    return Ok(ControlFlow::Break(()));
                }
            }
            if progress.lanes_done == self.lanes.len() {
                return Ok(ControlFlow::Continue(()));
            }
            let deadline = self.lanes.iter().filter_map(|lane| lane.generator.poll_timeout()).min();
            let wake = deadline.map_or(next_progress, |at| at.min(next_progress));
            self.events.wait(Some(wake))?;
            while let Some(ready) = self.events.next_ready() {
                let (lane, slot) = ready.source;
                // A short read does not empty a socket whose peer has closed.
                self.ready(lane, slot, ready.closed);
            }
            self.expire();
        }
    }

    fn progress(&self, now: Instant) -> Progress {
        let ended = self.lanes.iter().map(|lane| lane.generator.samples().len() as u64).sum();
        let lanes_done = self.lanes.iter().filter(|lane| lane.generator.is_done(now)).count();
        Progress { ended, lanes_done, failures_in_a_row: self.failures_in_a_row }
    }

    fn failed(&mut self, index: usize, error: io::Error) {
        tracing::info!(lane = index, %error, "a client's socket failed");
        self.failures_in_a_row += 1;
        if self.failures.len() < FAILURES_KEPT_MAX {
            self.failures.push((index, error));
        }
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        for index in 0..self.lanes.len() {
            if self.lanes[index].generator.poll_timeout().is_some_and(|at| at <= now) {
                self.lanes[index].generator.handle_timeout(now);
                self.act(index);
            }
        }
    }

    /// Reads and writes what a slot's socket is ready for.
    fn ready(&mut self, index: usize, slot: usize, to_the_end: bool) {
        let now = self.clock.now();
        let lane = &mut self.lanes[index];
        let mut inbox = Inbox {
            generator: &mut lane.generator,
            clock: &self.clock,
            slot,
            buffer: &mut self.buffer,
            failures_in_a_row: &mut self.failures_in_a_row,
        };
        let over = match &mut lane.sockets[slot] {
            None => false,
            Some((Socket::Datagram(socket), _)) => {
                inbox.receive_all(socket);
                false
            }
            Some((Socket::Stream(stream), _)) => {
                if !stream.is_established() {
                    match stream.establish() {
                        Ok(true) => inbox.generator.handle_open(now, slot),
                        Ok(false) => return,
                        Err(error) => {
                            self.failed(index, error);
                            self.lost(index, slot);
                            return self.act(index);
                        }
                    }
                }
                inbox.read_all(stream, to_the_end) || stream.flush().is_err()
            }
        };
        if over {
            self.failures_in_a_row += 1;
            self.lost(index, slot);
        }
        self.act(index);
    }

    /// The slot's connection has ended.
    fn lost(&mut self, index: usize, slot: usize) {
        let now = self.clock.now();
        self.close(index, slot);
        self.lanes[index].generator.handle_closed(now, slot);
    }

    fn close(&mut self, index: usize, slot: usize) {
        if let Some((socket, id)) = self.lanes[index].sockets[slot].take() {
            drop(socket);
            self.events.release(id);
        }
    }

    /// Executes the generator's output.
    fn act(&mut self, index: usize) {
        while let Some(action) = self.lanes[index].generator.poll_action() {
            let (slot, done) = match action {
                Action::Open { slot } => (slot, self.open(index, slot)),
                Action::Send { slot, bytes } => (slot, self.send(index, slot, bytes)),
                Action::Close { slot } => {
                    self.close(index, slot);
                    continue;
                }
            };
            if let Err(error) = done {
                self.failed(index, error);
                self.lost(index, slot);
            }
        }
    }

    fn open(&mut self, index: usize, slot: usize) -> io::Result<()> {
        self.close(index, slot);
        let lane = &mut self.lanes[index];
        tracing::debug!(lane = index, client = slot, "connecting");
        let datagrams = lane.generator.uses_datagrams();
        let kind = if datagrams { SocketKind::Datagram } else { SocketKind::Stream };
        let opened = Socket::open(kind, &mut *lane.opener, &mut self.events, (index, slot))?;
        lane.sockets[slot] = Some(opened);
        Ok(())
    }

    fn send(&mut self, index: usize, slot: usize, bytes: Bytes) -> io::Result<()> {
        let lane = &self.lanes[index];
        if lane.sockets[slot].is_none() && lane.generator.uses_datagrams() {
            self.open(index, slot)?;
        }
        let Some((socket, _)) = &mut self.lanes[index].sockets[slot] else { return Ok(()) };
        match socket.send(bytes).and_then(|()| socket.flush()) {
            // An absent server loses a datagram.
            Err(error) if socket.is_refused(&error) => {
                self.failures_in_a_row += 1;
                Ok(())
            }
            sent => sent,
        }
    }
}

/// Receiver of a slot's input.
struct Inbox<'a> {
    generator: &'a mut LoadGenerator,
    clock: &'a Clock,
    slot: usize,
    buffer: &'a mut [u8],
    failures_in_a_row: &'a mut u64,
}

impl Inbox<'_> {
    fn take(&mut self, length: usize) {
        *self.failures_in_a_row = 0;
        self.generator.handle_bytes(self.clock.now(), self.slot, &self.buffer[..length]);
    }

    fn receive_all(&mut self, socket: &UdpSocket) {
        loop {
            match socket.recv(self.buffer) {
                Ok(length) => self.take(length),
                // The kernel reports an absent server once, then continues.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    *self.failures_in_a_row += 1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reads until the socket is empty; true if the connection has ended.
    fn read_all(&mut self, stream: &mut Stream, to_the_end: bool) -> bool {
        loop {
            match stream.read(self.buffer) {
                Ok(Some(0)) | Err(_) => return true,
                Ok(Some(length)) => {
                    self.take(length);
                    // A short read emptied the socket (epoll(7)).
                    if length < self.buffer.len() && !to_the_end {
                        return false;
                    }
                }
                Ok(None) => return false,
            }
        }
    }
}
