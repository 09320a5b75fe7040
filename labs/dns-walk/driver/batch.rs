//! A fleet of walks on real sockets: one loop, its sockets shared by the queries at one server.
//!
//! It exists so that thousands of walks cost one thread and few system calls. It must never judge
//! what arrives beyond whose query it may answer: that is the walk's.
//!
//! A datagram socket is connected to one server and gives it [`USES_MAX`] queries at most, each
//! with a number of its own. A forger must still guess port, number, question and capitals of one
//! query: the port is drawn by the kernel, and only that server has seen it.

use super::{framed, read, words, write};
use crate::batch::{Fleet, QueryId, Send as Query};
use crate::event::{Record, Transport};
use crate::input::{BadLine, Line, Lines};
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::runtime::timer::Timer;
use wirelab::sys::sockets::{BATCH_MAX, receive_batch, send_batch};

const TIMER: Token = Token(0);
const STOP: Token = Token(1);
const INPUT: Token = Token(2);
/// Tokens of sockets begin here.
pub(super) const SOCKETS: usize = 3;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// Queries from one socket: it spreads the cost of making one, about 10 us, and keeps the life of a
/// port short.
const USES_MAX: u32 = 64;
/// Sockets kept open while nothing is in flight on them: the servers that are asked most.
const IDLE_MAX: usize = 128;
/// Datagrams taken at a time.
pub(super) const BATCH: usize = 32;
/// Batches of one socket before the others and the clock have their turn.
const TURN: usize = 8;
/// Bytes read from the list at a time.
const CHUNK: usize = 65_536;
/// Pieces of the list that wait to be asked.
const CHUNKS_WAITING: usize = 2;

/// What comes out of a run.
#[derive(Debug)]
pub enum Told<'a> {
    /// A record of the question in that line.
    Record(u64, &'a Record),
    /// A line that cannot be asked.
    Bad(&'a BadLine),
}

enum Socket {
    Datagram {
        socket: UdpSocket,
        used: u32,
        /// Number and name of every query in flight.
        open: Vec<(u16, QueryId)>,
        /// What is to be sent when the core has said all it has to say.
        out: Vec<Vec<u8>>,
    },
    Stream {
        query: QueryId,
        stream: TcpStream,
        out: Vec<u8>,
        written: usize,
        got: Vec<u8>,
    },
}

struct Slot {
    to: SocketAddr,
    socket: Socket,
}

/// All sockets of a run.
pub(super) struct Sockets {
    registry: Registry,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// The datagram socket that the next query to a server leaves from.
    current: BTreeMap<SocketAddr, usize>,
    queries: BTreeMap<QueryId, usize>,
    /// Sockets with something to send.
    dirty: Vec<usize>,
}

/// Asks every line of `input` and tells `observe` what becomes of it, or nothing before it waits;
/// ends with the list, or when stopped.
///
/// # Errors
/// Where the kernel gives no event queue, or `observe` fails; what happens to one query is the
/// walk's business.
pub fn many(
    mut fleet: Fleet,
    clock: Clock,
    stopped: &mut shutdown::Receiver,
    input: impl Read + Send + 'static,
    lines: Lines,
    mut observe: impl FnMut(Option<Told<'_>>) -> io::Result<()>,
) -> io::Result<Fleet> {
    let mut poll = Poll::new()?;
    let mut timer = Timer::new(poll.registry(), TIMER)?;
    poll.registry().register(stopped.source(), STOP, Interest::READABLE)?;
    let waker = Arc::new(Waker::new(poll.registry(), INPUT)?);
    let mut list = List::start(input, lines, waker)?;
    let mut sockets = Sockets::new(poll.registry().try_clone()?);
    let mut events = Events::with_capacity(EVENTS);
    let mut buffers = vec![[0; 2048]; BATCH.min(BATCH_MAX)];
    loop {
        let over = list.ask(&mut fleet, clock, &mut observe)?;
        sockets.drain(&mut fleet, clock);
        while let Some((line, record)) = fleet.poll_event() {
            observe(Some(Told::Record(line, &record)))?;
        }
        if fleet.is_idle() && over {
            poll.registry().deregister(stopped.source())?;
            return Ok(fleet);
        }
        if fleet.has_room() && list.is_ready() {
            continue;
        }
        observe(None)?;
        let now = clock.now();
        timer.set(&clock, now, fleet.poll_timeout())?;
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        // What has arrived comes before what is overdue: this loop may itself have been late.
        for token in events.iter().map(mio::event::Event::token) {
            if let Some(slot) = token.0.checked_sub(SOCKETS) {
                sockets.ready(&mut fleet, clock, slot, &mut buffers);
            } else if token == STOP && stopped.is_stopped() {
                list.stop();
                fleet.cancel(clock.now());
            }
        }
        fleet.handle_timeout(clock.now());
    }
}

/// The list, read by a thread of its own: a file cannot be waited for.
struct List {
    receiver: Option<Receiver<io::Result<Vec<Line>>>>,
    waiting: VecDeque<Line>,
    /// There was nothing more when it was last looked at; the thread wakes the loop.
    empty: bool,
    /// A waker that is dropped takes its last call with it.
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
        // It ends with the list, or with the process: nothing can end a read of a terminal.
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
                    // First, so that the loop finds nobody there when it wakes.
                    drop(sender);
                    let _ = waker.wake();
                    return;
                }
                // A loop that has ended needs no waking.
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

    /// Asks while there is room; whether the list is at its end.
    fn ask(
        &mut self,
        fleet: &mut Fleet,
        clock: Clock,
        observe: &mut impl FnMut(Option<Told<'_>>) -> io::Result<()>,
    ) -> io::Result<bool> {
        // A loop that only asks would leave its replies waiting.
        for _ in 0..EVENTS {
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
    pub(super) const fn new(registry: Registry) -> Self {
        Self {
            registry,
            slots: Vec::new(),
            free: Vec::new(),
            current: BTreeMap::new(),
            queries: BTreeMap::new(),
            dirty: Vec::new(),
        }
    }

    /// Sends what the fleet wants to send, and closes what it needs no more.
    pub(super) fn drain(&mut self, fleet: &mut Fleet, clock: Clock) {
        loop {
            while let Some(query) = fleet.poll_release() {
                self.release(query);
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
            if let Err(error) = self.begin(query) {
                fleet.handle_unreachable(clock.now(), id, &words(&error));
            }
        }
    }

    fn begin(&mut self, query: Query) -> io::Result<()> {
        let Query { query, to, transport, bytes } = query;
        if transport == Transport::Tcp {
            let out = framed(&bytes);
            let index = self.open(to, || {
                let stream = TcpStream::connect(to)?;
                Ok(Socket::Stream { query, stream, out, written: 0, got: Vec::new() })
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
                let index = self.open(to, || datagram_socket(to))?;
                let before = self.current.insert(to, index);
                before.into_iter().for_each(|old| self.close_if_unused(old));
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

    /// Makes a socket and has it waited for.
    fn open(
        &mut self,
        to: SocketAddr,
        make: impl FnOnce() -> io::Result<Socket>,
    ) -> io::Result<usize> {
        let mut socket = make()?;
        let index = self.free.pop().unwrap_or(self.slots.len());
        let token = Token(SOCKETS + index);
        let registered = match &mut socket {
            Socket::Datagram { socket, .. } => {
                self.registry.register(socket, token, Interest::READABLE)
            }
            Socket::Stream { stream, .. } => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.registry.register(stream, token, interest)
            }
        };
        if index == self.slots.len() {
            self.slots.push(None);
        }
        if let Err(error) = registered {
            self.free.push(index);
            return Err(error);
        }
        self.slots[index] = Some(Slot { to, socket });
        Ok(index)
    }

    fn release(&mut self, query: QueryId) {
        let Some(index) = self.queries.remove(&query) else { return };
        if let Some(slot) = &mut self.slots[index] {
            match &mut slot.socket {
                Socket::Datagram { open, .. } => open.retain(|(_, other)| *other != query),
                Socket::Stream { .. } => return self.close(index),
            }
        }
        self.close_if_unused(index);
    }

    fn close_if_unused(&mut self, index: usize) {
        let Some(slot) = &self.slots[index] else { return };
        let Socket::Datagram { used, open, out, .. } = &slot.socket else { return };
        let many = self.slots.len() - self.free.len() > IDLE_MAX;
        let current = self.current.get(&slot.to) == Some(&index);
        if open.is_empty() && out.is_empty() && (*used >= USES_MAX || many || !current) {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        let Some(slot) = self.slots[index].take() else { return };
        if self.current.get(&slot.to) == Some(&index) {
            self.current.remove(&slot.to);
        }
        self.free.push(index);
    }

    /// Sends what has been gathered; whether that told the fleet something.
    fn flush(&mut self, fleet: &mut Fleet, clock: Clock) -> bool {
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
                        // Of this or of an earlier query: nobody listens there for any of them.
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

    /// A socket has something to say.
    pub(super) fn ready(
        &mut self,
        fleet: &mut Fleet,
        clock: Clock,
        index: usize,
        buffers: &mut [[u8; 2048]],
    ) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        let (to, token) = (slot.to, Token(SOCKETS + index));
        // What is left over is told of once more: nobody holds the loop.
        let again = match &mut slot.socket {
            Socket::Datagram { socket, open, .. } => {
                match datagrams(fleet, clock, to, socket, open, buffers) {
                    Ok(false) => Ok(()),
                    Ok(true) => self.registry.reregister(socket, token, Interest::READABLE),
                    Err(error) => Err(error),
                }
            }
            Socket::Stream { query, stream, out, written, got } => {
                match write(stream, out, written).and_then(|()| read(stream, got)) {
                    Ok(None) => Ok(()),
                    Ok(Some(message)) => {
                        fleet.handle_reply(clock.now(), *query, to, &message);
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        self.registry.reregister(stream, token, interest)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = again {
            let asked = match &slot.socket {
                Socket::Datagram { open, .. } => open.iter().map(|(_, query)| *query).collect(),
                Socket::Stream { query, .. } => vec![*query],
            };
            for query in asked {
                fleet.handle_unreachable(clock.now(), query, &words(&error));
            }
        }
    }
}

fn datagram_socket(to: SocketAddr) -> io::Result<Socket> {
    let any = if to.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    // The kernel draws the port (RFC 5452 §9.2). A connected socket hears nobody else.
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(Socket::Datagram { socket, used: 0, open: Vec::new(), out: Vec::new() })
}

/// Hands every datagram of a turn to the query of its number; others answer nothing. Whether there
/// may be more.
///
/// A datagram beyond the buffer is cut: it is far more than was asked for.
fn datagrams(
    fleet: &mut Fleet,
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
            // The queue was empty; what comes later is a new event.
            return Ok(false);
        }
    }
    Ok(true)
}
