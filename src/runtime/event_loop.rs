//! The event loop: waits for sockets, a deadline or a shutdown, and drives a [`Driver`].
//!
//! Sources are edge-triggered. Each ready source has one turn per round; one with more to do asks
//! for another with [`EventLoop::requeue`] and is queued behind the others.

use super::clock::Clock;
use super::shutdown;
use super::timer::Timer;
use crate::measure::Instant;
use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::time::Duration;

/// Events per `epoll_wait`; more come with the next round.
const EVENTS: usize = 1024;
const TIMER: Token = Token(usize::MAX);
const SHUTDOWN: Token = Token(usize::MAX - 1);
/// A token is a slot's generation above its index.
const INDEX_BITS: u32 = usize::BITS / 2;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;

/// The program of a loop: it owns the sockets and calls the cores.
///
/// A round: [`poll_output`](Self::poll_output), a wait until [`poll_timeout`](Self::poll_timeout),
/// [`handle_ready`](Self::handle_ready) for every ready source, then
/// [`handle_timeout`](Self::handle_timeout): input comes before timeouts, since the loop itself may
/// be late.
pub trait Driver {
    /// Names a registered source.
    type Source: Copy;

    /// Does what can be done at once: sends, opens, closes. `Break` ends the loop.
    /// An error ends the loop.
    fn poll_output(
        &mut self,
        events: &mut EventLoop<Self::Source>,
        now: Instant,
    ) -> io::Result<ControlFlow<()>>;

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// A source is ready or was requeued.
    /// An error ends the loop.
    fn handle_ready(
        &mut self,
        events: &mut EventLoop<Self::Source>,
        now: Instant,
        ready: Ready<Self::Source>,
    ) -> io::Result<()>;

    /// The time is `now`; called in every round.
    fn handle_timeout(&mut self, events: &mut EventLoop<Self::Source>, now: Instant);

    /// A shutdown was requested: finish, and break in `poll_output` when done.
    fn handle_shutdown(&mut self, events: &mut EventLoop<Self::Source>, now: Instant);
}

/// A registered source; never reused, even after it was deregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

/// A source that has its turn.
#[derive(Clone, Copy, Debug)]
pub struct Ready<S> {
    /// The name it was registered with.
    pub source: S,
    /// Its registration.
    pub id: SourceId,
    /// It became readable since the last turn.
    pub readable: bool,
    /// Its peer closed or it failed since the last turn: a short read is not the last.
    pub closed: bool,
    /// Its error queue was filled since the last turn.
    pub error: bool,
}

/// One slot of the table of sources.
#[derive(Debug)]
struct Slot<S> {
    generation: usize,
    source: Option<S>,
    queued: bool,
    flags: Flags,
}

/// Events of a source since its last turn.
#[derive(Debug, Default)]
struct Flags {
    readable: bool,
    closed: bool,
    error: bool,
}

/// Waits for sources named by `S`.
#[derive(Debug)]
pub struct EventLoop<S> {
    poll: Poll,
    timer: Timer,
    clock: Clock,
    events: Events,
    slots: Vec<Slot<S>>,
    free: Vec<usize>,
    /// Sources that wait for a turn, each at most once.
    ready_queue: VecDeque<SourceId>,
    shutdown_ready: bool,
}

impl<S: Copy> EventLoop<S> {
    /// A loop without sources.
    /// Fails if the process has no descriptors left.
    pub fn new(clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        Ok(Self {
            poll,
            timer,
            clock,
            events: Events::with_capacity(EVENTS),
            slots: Vec::new(),
            free: Vec::new(),
            ready_queue: VecDeque::new(),
            shutdown_ready: false,
        })
    }

    /// The clock of the run.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Drives `driver` until it breaks or fails, and watches `shutdown`.
    /// Fails if the kernel refuses to wait, or with the driver's error.
    pub fn run<D: Driver<Source = S>>(
        &mut self,
        driver: &mut D,
        shutdown: &mut shutdown::Receiver,
    ) -> io::Result<()> {
        self.poll.registry().register(shutdown.source(), SHUTDOWN, Interest::READABLE)?;
        // An earlier loop may have read the request.
        self.shutdown_ready = true;
        let outcome = self.drive(driver, shutdown);
        self.poll.registry().deregister(shutdown.source())?;
        outcome
    }

    fn drive<D: Driver<Source = S>>(
        &mut self,
        driver: &mut D,
        shutdown: &mut shutdown::Receiver,
    ) -> io::Result<()> {
        let mut stopping = false;
        loop {
            if std::mem::take(&mut self.shutdown_ready) && !stopping && shutdown.is_stopped() {
                stopping = true;
                driver.handle_shutdown(self, self.clock.now());
            }
            if driver.poll_output(self, self.clock.now())?.is_break() {
                return Ok(());
            }
            let now = self.wait(driver.poll_timeout())?;
            // Sources requeued during the round have their turn in the next one.
            for _ in 0..self.ready_queue.len() {
                if let Some(ready) = self.next_ready() {
                    driver.handle_ready(self, now, ready)?;
                }
            }
            driver.handle_timeout(self, self.clock.now());
        }
    }

    /// Waits until a source is ready, a signal arrives, or `deadline`; returns the time after. Does
    /// not wait while a source is queued.
    /// Fails if the kernel refuses to wait.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Instant> {
        let now = self.clock.now();
        let at_once = !self.ready_queue.is_empty() || deadline.is_some_and(|at| at <= now);
        if !at_once {
            self.timer.set(&self.clock, now, deadline)?;
        }
        match self.poll.poll(&mut self.events, at_once.then_some(Duration::ZERO)) {
            // After a failed wait the list still holds the previous events.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        let Self { events, slots, ready_queue, shutdown_ready, timer, .. } = self;
        for event in &*events {
            match event.token() {
                TIMER => timer.expired(),
                SHUTDOWN => *shutdown_ready = true,
                token => note(slots, ready_queue, SourceId(token.0), event),
            }
        }
        Ok(self.clock.now())
    }

    /// The next source in the queue.
    pub fn next_ready(&mut self) -> Option<Ready<S>> {
        while let Some(id) = self.ready_queue.pop_front() {
            let Some(slot) = slot(&mut self.slots, id) else { continue };
            let Some(source) = slot.source else { continue };
            slot.queued = false;
            let Flags { readable, closed, error } = std::mem::take(&mut slot.flags);
            return Some(Ready { source, id, readable, closed, error });
        }
        None
    }

    /// Whether the queue is empty.
    pub fn is_idle(&self) -> bool {
        self.ready_queue.is_empty()
    }

    /// Gives a source a turn in the next round without a new event.
    pub fn requeue(&mut self, id: SourceId) {
        if let Some(slot) = slot(&mut self.slots, id) {
            enqueue(slot, &mut self.ready_queue, id);
        }
    }

    /// Registers a source; events name it `source`.
    /// Fails if the kernel accepts no further descriptor.
    pub fn register(
        &mut self,
        socket: &mut impl Source,
        interest: Interest,
        source: S,
    ) -> io::Result<SourceId> {
        let id = self.claim(source);
        let registered = self.poll.registry().register(socket, Token(id.0), interest);
        if registered.is_err() {
            self.release(id);
        }
        registered.map(|()| id)
    }

    /// Deregisters a source.
    pub fn deregister(&mut self, socket: &mut impl Source, id: SourceId) {
        // Closing the descriptor has the same effect, and the caller is about to.
        let _closed_before = self.poll.registry().deregister(socket);
        self.release(id);
    }

    /// Forgets a source whose descriptor was closed, which deregistered it in the kernel.
    pub fn release(&mut self, id: SourceId) {
        if let Some(slot) = slot(&mut self.slots, id) {
            slot.generation = (slot.generation + 1) & INDEX_MASK;
            slot.source = None;
            self.free.push(id.0 & INDEX_MASK);
        }
    }

    /// A waker that makes `source` ready from another thread.
    /// Fails if the process has no descriptors left.
    pub fn waker(&mut self, source: S) -> io::Result<Waker> {
        let id = self.claim(source);
        Waker::new(self.poll.registry(), Token(id.0))
    }

    fn claim(&mut self, source: S) -> SourceId {
        let index = self.free.pop().unwrap_or_else(|| {
            let flags = Flags::default();
            self.slots.push(Slot { generation: 0, source: None, queued: false, flags });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.source = Some(source);
        (slot.queued, slot.flags) = (false, Flags::default());
        SourceId(slot.generation << INDEX_BITS | index)
    }
}

/// The slot of a registered source.
fn slot<S>(slots: &mut [Slot<S>], id: SourceId) -> Option<&mut Slot<S>> {
    let slot = slots.get_mut(id.0 & INDEX_MASK)?;
    (slot.generation == id.0 >> INDEX_BITS).then_some(slot)
}

fn enqueue<S>(slot: &mut Slot<S>, ready_queue: &mut VecDeque<SourceId>, id: SourceId) {
    if !std::mem::replace(&mut slot.queued, true) {
        ready_queue.push_back(id);
    }
}

/// Records an event and queues its source.
fn note<S>(
    slots: &mut [Slot<S>],
    ready_queue: &mut VecDeque<SourceId>,
    id: SourceId,
    event: &Event,
) {
    let Some(slot) = slot(slots, id) else { return };
    slot.flags.readable |= event.is_readable();
    slot.flags.closed |= event.is_read_closed() || event.is_error();
    slot.flags.error |= event.is_error();
    enqueue(slot, ready_queue, id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::UnixStream;
    use std::io::Write;

    fn readable() -> (UnixStream, UnixStream) {
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        (far, near)
    }

    #[test]
    fn a_turn_of_an_ended_source_is_dropped() {
        let mut events = EventLoop::new(Clock::start()).unwrap();
        let (_far, mut first) = readable();
        let old = events.register(&mut first, Interest::READABLE, "first").unwrap();
        events.wait(None).unwrap();
        events.deregister(&mut first, old);
        let (mut far, mut second) = UnixStream::pair().unwrap();
        let new = events.register(&mut second, Interest::READABLE, "second").unwrap();
        assert_ne!(old, new);
        events.requeue(old);
        assert!(events.next_ready().is_none());
        far.write_all(b"x").unwrap();
        events.wait(None).unwrap();
        let ready = events.next_ready().unwrap();
        assert!((ready.source, ready.id, ready.readable) == ("second", new, true));
    }

    /// Requeues itself at every turn, beside a source that is ready once.
    struct Greedy {
        turns: u32,
        other: bool,
    }

    impl Driver for Greedy {
        type Source = bool;

        fn poll_output(
            &mut self,
            _events: &mut EventLoop<bool>,
            _now: Instant,
        ) -> io::Result<ControlFlow<()>> {
            Ok(if self.other { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }

        fn poll_timeout(&self) -> Option<Instant> {
            None
        }

        fn handle_ready(
            &mut self,
            events: &mut EventLoop<bool>,
            _now: Instant,
            ready: Ready<bool>,
        ) -> io::Result<()> {
            if ready.source {
                self.turns += 1;
                events.requeue(ready.id);
            } else {
                self.other = true;
            }
            Ok(())
        }

        fn handle_timeout(&mut self, _events: &mut EventLoop<bool>, _now: Instant) {}

        fn handle_shutdown(&mut self, _events: &mut EventLoop<bool>, _now: Instant) {
            self.other = true;
        }
    }

    #[test]
    fn each_source_has_one_turn_per_round() {
        let mut events = EventLoop::new(Clock::start()).unwrap();
        let (_far, mut greedy) = readable();
        let (_other_far, mut other) = readable();
        events.register(&mut greedy, Interest::READABLE, true).unwrap();
        events.register(&mut other, Interest::READABLE, false).unwrap();
        let mut driver = Greedy { turns: 0, other: false };
        let (_sender, mut shutdown) = shutdown::pair().unwrap();
        events.run(&mut driver, &mut shutdown).unwrap();
        assert_eq!(driver.turns, 1);
    }

    #[test]
    fn shutdown_ends_a_busy_loop_even_if_an_earlier_loop_read_it() {
        let mut events = EventLoop::new(Clock::start()).unwrap();
        let (_far, mut greedy) = readable();
        events.register(&mut greedy, Interest::READABLE, true).unwrap();
        let (sender, mut shutdown) = shutdown::pair().unwrap();
        sender.stop();
        assert!(shutdown.is_stopped());
        for _ in 0..2 {
            let mut driver = Greedy { turns: 0, other: false };
            events.run(&mut driver, &mut shutdown).unwrap();
        }
    }
}
