//! Runs many walks on real sockets in one loop; queries to the same server share sockets.
//!
//! Thousands of walks cost one thread and few system calls. A datagram socket is connected to one
//! server and sends it [`USES_MAX`] queries at most, each with its own ID. A forger must still
//! guess port, ID, question and 0x20 case bits of one query: the kernel chooses the port, and only
//! that server has seen it.

use super::{connected, framed, read, words};
use crate::batch::{BatchResolver, QueryId, Send as Query};
use crate::event::{Record, Transport};
use crate::input::{BadLine, Line, Lines};
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{Driver, EventLoop, Ready, SourceId};
use wirelab::runtime::shutdown;
use wirelab::runtime::stream::Stream;
use wirelab::sys::sockets::{BATCH_MAX, receive_batch, send_batch};

/// Lines read per turn.
const ASK_TURN: usize = 256;
/// Queries per socket: it spreads the cost of creating one, about 10 µs, and limits the life of a
/// port.
const USES_MAX: u32 = 64;
/// Idle sockets kept open, for the servers that are queried most.
const IDLE_MAX: usize = 128;
/// Datagrams per receive call.
pub(super) const BATCH: usize = 32;
/// Batches per socket and turn.
const TURN: usize = 8;
/// Bytes per read of the input.
const CHUNK: usize = 65_536;
/// Chunks of input queued.
const CHUNKS_WAITING: usize = 2;

/// An output of a run.
#[derive(Debug)]
pub enum Told<'a> {
    /// A record of the question in that line.
    Record(u64, &'a Record),
    /// An invalid line.
    Bad(&'a BadLine),
}

enum Socket {
    Datagram {
        socket: UdpSocket,
        used: u32,
        /// ID and name of every query in flight.
        open: Vec<(u16, QueryId)>,
        /// To be sent when the core has no more output.
        out: Vec<Vec<u8>>,
    },
    Stream {
        query: QueryId,
        stream: Stream,
        got: Vec<u8>,
    },
}

struct Slot {
    to: SocketAddr,
    id: SourceId,
    socket: Socket,
}

/// Index of a socket in a run, as its name in the event loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuerySlot(usize);

/// All sockets of a run.
pub(super) struct Sockets {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// The datagram socket of the next query to a server.
    current: BTreeMap<SocketAddr, usize>,
    queries: BTreeMap<QueryId, usize>,
    /// Sockets with a send queue.
    dirty: Vec<usize>,
    buffers: Vec<[u8; 2048]>,
}

/// Sources of a run's loop.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The thread that reads the input.
    Input,
    Query(QuerySlot),
}

impl From<QuerySlot> for Source {
    fn from(slot: QuerySlot) -> Self {
        Self::Query(slot)
    }
}

/// A run: walks, input and sockets.
struct Batch<F> {
    fleet: BatchResolver,
    list: List,
    sockets: Sockets,
    observe: F,
}

/// Resolves every line of `input` and passes results to `observe`, or `None` before it waits; ends
/// with the input or at a shutdown.
///
/// # Errors
/// Fails if the kernel gives no event queue, or `observe` fails; the walk handles query errors.
pub fn many(
    fleet: BatchResolver,
    clock: Clock,
    shutdown: &mut shutdown::Receiver,
    input: impl Read + Send + 'static,
    lines: Lines,
    observe: impl FnMut(Option<Told<'_>>) -> io::Result<()>,
) -> io::Result<BatchResolver> {
    let mut events = EventLoop::new(clock)?;
    let waker = Arc::new(events.waker(Source::Input)?);
    let list = List::start(input, lines, waker)?;
    let mut batch = Batch { fleet, list, sockets: Sockets::new(), observe };
    events.run(&mut batch, shutdown)?;
    Ok(batch.fleet)
}

impl<F> Batch<F> {
    /// Whether another line can start at once.
    fn may_ask(&self) -> bool {
        self.fleet.has_room() && self.list.is_ready()
    }
}

impl<F: FnMut(Option<Told<'_>>) -> io::Result<()>> Driver for Batch<F> {
    type Source = Source;

    fn poll_output(
        &mut self,
        events: &mut EventLoop<Source>,
        _now: Instant,
    ) -> io::Result<ControlFlow<()>> {
        let over = self.list.ask(&mut self.fleet, events.clock(), &mut self.observe)?;
        self.sockets.drain(events, &mut self.fleet);
        while let Some((line, record)) = self.fleet.poll_event() {
            (self.observe)(Some(Told::Record(line, &record)))?;
        }
        if self.fleet.is_idle() && over {
            return Ok(ControlFlow::Break(()));
        }
        if !self.may_ask() {
            (self.observe)(None)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.may_ask() { Some(Instant::ZERO) } else { self.fleet.poll_timeout() }
    }

    fn handle_ready(
        &mut self,
        events: &mut EventLoop<Source>,
        _now: Instant,
        ready: Ready<Source>,
    ) -> io::Result<()> {
        if let Source::Query(slot) = ready.source {
            self.sockets.ready(events, &mut self.fleet, slot);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _events: &mut EventLoop<Source>, now: Instant) {
        self.fleet.handle_timeout(now);
    }

    fn handle_shutdown(&mut self, _events: &mut EventLoop<Source>, now: Instant) {
        self.list.stop();
        self.fleet.cancel(now);
    }
}

/// The input, read by a thread: epoll cannot wait for a file.
struct List {
    receiver: Option<Receiver<io::Result<Vec<Line>>>>,
    waiting: VecDeque<Line>,
    /// Empty at the last look; the thread wakes the loop.
    empty: bool,
    /// Dropping the `Waker` loses a pending wake-up.
    _waker: Arc<Waker>,
}

impl List {
    fn start(
        mut input: impl Read + Send + 'static,
        mut lines: Lines,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(CHUNKS_WAITING);
        let kept = Arc::clone(&waker);
        // Ends with the input or the process: nothing can interrupt a read of a terminal.
        std::thread::Builder::new().name("list".to_owned()).spawn(move || {
            let mut buffer = vec![0; CHUNK];
            loop {
                let mut out = Vec::new();
                let read = input.read(&mut buffer);
                match &read {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(count @ 1..) => lines.feed(&buffer[..*count], &mut out),
                    _ => lines.end(&mut out),
                }
                let last = !matches!(read, Ok(1..));
                let gone = sender.send(Ok(out)).is_err()
                    || read.is_err_and(|error| sender.send(Err(error)).is_err());
                if last || gone {
                    // First, so that the woken loop finds the channel closed.
                    drop(sender);
                    let _ = waker.wake();
                    return;
                }
                // If the loop has ended, the wake-up is not needed.
                let _ = waker.wake();
            }
        })?;
        Ok(Self { receiver: Some(receiver), waiting: VecDeque::new(), empty: false, _waker: kept })
    }

    const fn is_ready(&self) -> bool {
        !self.empty
    }

    fn stop(&mut self) {
        self.receiver = None;
        self.waiting.clear();
        self.empty = true;
    }

    /// Starts walks while there is room; whether the input has ended.
    fn ask(
        &mut self,
        fleet: &mut BatchResolver,
        clock: Clock,
        observe: &mut impl FnMut(Option<Told<'_>>) -> io::Result<()>,
    ) -> io::Result<bool> {
        // Limited, so that replies have their turn.
        for _ in 0..ASK_TURN {
            if !fleet.has_room() {
                return Ok(false);
            }
            match self.waiting.pop_front() {
                Some(Ok((number, question))) => fleet.ask(clock.now(), question, number),
                Some(Err(bad)) => observe(Some(Told::Bad(&bad)))?,
                None => {
                    self.empty = true;
                    let Some(receiver) = &self.receiver else { return Ok(true) };
                    match receiver.try_recv() {
                        Ok(lines) => {
                            self.waiting.extend(lines?);
                            self.empty = false;
                        }
                        Err(TryRecvError::Empty) => return Ok(false),
                        Err(TryRecvError::Disconnected) => self.receiver = None,
                    }
                }
            }
        }
        Ok(self.receiver.is_none() && self.waiting.is_empty())
    }
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            current: BTreeMap::new(),
            queries: BTreeMap::new(),
            dirty: Vec::new(),
            buffers: vec![[0; 2048]; BATCH.min(BATCH_MAX)],
        }
    }

    /// Sends the walks' output, and closes sockets that it no longer needs.
    pub(super) fn drain<S: Copy + From<QuerySlot>>(
        &mut self,
        events: &mut EventLoop<S>,
        fleet: &mut BatchResolver,
    ) {
        let clock = events.clock();
        loop {
            while let Some(query) = fleet.poll_release() {
                self.release(events, query);
            }
            let Some(query) = fleet.poll_transmit() else {
                if !self.flush(fleet, clock) {
                    return;
                }
                continue;
            };
            if !fleet.is_open(query.query) {
                continue;
            }
            let id = query.query;
            if let Err(error) = self.begin(events, query) {
                fleet.handle_unreachable(clock.now(), id, &words(&error));
            }
        }
    }

    fn begin<S: Copy + From<QuerySlot>>(
        &mut self,
        events: &mut EventLoop<S>,
        query: Query,
    ) -> io::Result<()> {
        let Query { query, to, transport, bytes } = query;
        if transport == Transport::Tcp {
            let index = self.open(events, to, || {
                let mut stream = Stream::connecting(TcpStream::connect(to)?);
                stream.push(framed(&bytes).into());
                Ok(Socket::Stream { query, stream, got: Vec::new() })
            })?;
            self.queries.insert(query, index);
            return Ok(());
        }
        let number = bytes.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
        let fits = |slot: &Slot| match &slot.socket {
            Socket::Datagram { used, open, .. } => {
                *used < USES_MAX && open.iter().all(|(taken, _)| *taken != number)
            }
            Socket::Stream { .. } => false,
        };
        let current = self.current.get(&to).copied();
        let known = current.filter(|at| self.slots[*at].as_ref().is_some_and(fits));
        let index = match known {
            Some(index) => index,
            None => {
                let index = self.open(events, to, || datagram_socket(to))?;
                let before = self.current.insert(to, index);
                before.into_iter().for_each(|old| self.close_if_unused(events, old));
                index
            }
        };
        if let Some(Slot { socket: Socket::Datagram { used, open, out, .. }, .. }) =
            &mut self.slots[index]
        {
            *used += 1;
            open.push((number, query));
            if out.is_empty() {
                self.dirty.push(index);
            }
            out.push(bytes);
        }
        self.queries.insert(query, index);
        Ok(())
    }

    /// Creates and registers a socket.
    fn open<S: Copy + From<QuerySlot>>(
        &mut self,
        events: &mut EventLoop<S>,
        to: SocketAddr,
        make: impl FnOnce() -> io::Result<Socket>,
    ) -> io::Result<usize> {
        let mut socket = make()?;
        let index = self.free.last().copied().unwrap_or(self.slots.len());
        let source = QuerySlot(index).into();
        let id = match &mut socket {
            Socket::Datagram { socket, .. } => {
                events.register(socket, Interest::READABLE, source)?
            }
            Socket::Stream { stream, .. } => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                events.register(stream.source(), interest, source)?
            }
        };
        let slot = Some(Slot { to, id, socket });
        match self.free.pop() {
            Some(free) => self.slots[free] = slot,
            None => self.slots.push(slot),
        }
        Ok(index)
    }

    fn release<S: Copy>(&mut self, events: &mut EventLoop<S>, query: QueryId) {
        let Some(index) = self.queries.remove(&query) else { return };
        if let Some(slot) = &mut self.slots[index] {
            match &mut slot.socket {
                Socket::Datagram { open, .. } => open.retain(|(_, other)| *other != query),
                Socket::Stream { .. } => return self.close(events, index),
            }
        }
        self.close_if_unused(events, index);
    }

    fn close_if_unused<S: Copy>(&mut self, events: &mut EventLoop<S>, index: usize) {
        let Some(slot) = &self.slots[index] else { return };
        let Socket::Datagram { used, open, out, .. } = &slot.socket else { return };
        let many = self.slots.len() - self.free.len() > IDLE_MAX;
        let current = self.current.get(&slot.to) == Some(&index);
        if open.is_empty() && out.is_empty() && (*used >= USES_MAX || many || !current) {
            self.close(events, index);
        }
    }

    fn close<S: Copy>(&mut self, events: &mut EventLoop<S>, index: usize) {
        let Some(Slot { to, id, socket }) = self.slots[index].take() else { return };
        drop(socket);
        events.release(id);
        if self.current.get(&to) == Some(&index) {
            self.current.remove(&to);
        }
        self.free.push(index);
    }

    /// Sends queued datagrams; whether that reported something to the resolver.
    fn flush(&mut self, fleet: &mut BatchResolver, clock: Clock) -> bool {
        let mut told = false;
        for index in std::mem::take(&mut self.dirty) {
            let Some(slot) = &mut self.slots[index] else { continue };
            let Socket::Datagram { socket, open, out, .. } = &mut slot.socket else { continue };
            let out = std::mem::take(out);
            let parts: Vec<&[u8]> = out.iter().map(Vec::as_slice).collect();
            let mut rest = parts.as_slice();
            while !rest.is_empty() {
                match send_batch(socket, rest) {
                    Ok(count) => rest = &rest[count..],
                    // A full buffer loses a datagram as a path does.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        // For this or an earlier query: the port is closed for all of them.
                        let why = words(&error);
                        for (_, query) in open.clone() {
                            fleet.handle_unreachable(clock.now(), query, &why);
                        }
                        told = true;
                        break;
                    }
                }
            }
        }
        told
    }

    /// Passes on received messages, and sends what is queued on a connection.
    pub(super) fn ready<S: Copy>(
        &mut self,
        events: &mut EventLoop<S>,
        fleet: &mut BatchResolver,
        QuerySlot(index): QuerySlot,
    ) {
        let clock = events.clock();
        let Some(Some(Slot { to, id, socket })) = self.slots.get_mut(index) else { return };
        let more = match socket {
            Socket::Datagram { socket, open, .. } => {
                datagrams(fleet, clock, *to, socket, open, &mut self.buffers)
            }
            Socket::Stream { query, stream, got } => {
                stream.flush().and_then(|_| read(stream, got)).map(|whole| {
                    whole.is_some_and(|message| {
                        fleet.handle_reply(clock.now(), *query, *to, &message);
                        true
                    })
                })
            }
        };
        match more {
            Ok(true) => events.requeue(*id),
            Ok(false) => {}
            Err(error) => {
                let asked = match socket {
                    Socket::Datagram { open, .. } => open.iter().map(|(_, query)| *query).collect(),
                    Socket::Stream { query, .. } => vec![*query],
                };
                for query in asked {
                    fleet.handle_unreachable(clock.now(), query, &words(&error));
                }
            }
        }
    }
}

fn datagram_socket(to: SocketAddr) -> io::Result<Socket> {
    Ok(Socket::Datagram { socket: connected(to)?, used: 0, open: Vec::new(), out: Vec::new() })
}

/// Passes every datagram of a turn to the query with its ID, and ignores others. Whether there may
/// be more.
///
/// A datagram beyond the buffer is truncated: it is far larger than requested.
fn datagrams(
    fleet: &mut BatchResolver,
    clock: Clock,
    to: SocketAddr,
    socket: &UdpSocket,
    open: &[(u16, QueryId)],
    buffers: &mut [[u8; 2048]],
) -> io::Result<bool> {
    let mut lengths = [0; BATCH];
    for _ in 0..TURN {
        let came = match receive_batch(socket, buffers, &mut lengths) {
            Ok(came) => came,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (buffer, length) in buffers.iter().zip(lengths).take(came) {
            let bytes = &buffer[..length.min(buffer.len())];
            let Some(number) = bytes.first_chunk::<2>() else { continue };
            let number = u16::from_be_bytes(*number);
            if let Some((_, query)) = open.iter().find(|(id, _)| *id == number) {
                fleet.handle_reply(clock.now(), *query, to, bytes);
            }
        }
        if came < buffers.len() {
            // The socket was empty; later datagrams are a new event.
            return Ok(false);
        }
    }
    Ok(true)
}
