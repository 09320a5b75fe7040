//! The router: moves every frame between a lane's two hosts through the lane's link model.
//!
//! One thread serves all lanes. A frame's deadline is the kernel's stamp of its arrival plus the
//! link's delay, so the router's own lateness never adds up from frame to frame; how late it was is
//! part of every record. It must never lose a frame that the link did not, without counting it, and
//! must never allocate or make a system call per frame.

use super::clock::Clock;
use super::record::{FRAME_MAX, Recorder};
use super::topology::{DropProbe, Lane, Topology};
use crate::measure::Instant;
use crate::path::{Bytes, Direction, Frame, Link, LinkPlan, Verdict};
use crate::sys::clock::{WallBridge, monotonic_ns, set_timer_slack, thread_cpu};
use crate::sys::host::{KeepAwake, pin_to_cpu};
use crate::sys::packet::{Port, Received};
use crate::sys::poll::{Poll, Waker};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub use super::record::{
    CAPTURE_MAX, CapturedFrame, DirectionRecord, LOST_FRAMES_MAX, LaneRecord, Lateness,
};

/// Frames taken from one port before the others have their turn, and sent in one call.
const BURST: usize = 32;
/// Ethernet's type field for IPv4.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// How the router waits and how much it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// How long before a deadline to stop sleeping and watch the clock; zero never watches.
    ///
    /// It costs a processor for this long per wait. Measured on a virtual machine at 1,000 frames/s
    /// and a delay of 10 ms: median lateness 30 us without, 0.3 us with 50 us or with 100 us.
    pub spin: Duration,
    /// Slots of each port's receive ring, 2 KiB each.
    pub ring_frames: usize,
    /// Frames that can be on their way at once, all lanes together, 2 KiB each (touched when used).
    pub pool_frames: usize,
    /// The processor to bind the router's thread to.
    pub cpu: Option<usize>,
    /// Keeps all processors from halting, at the cost of all their idle time.
    pub keep_awake: bool,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(50),
            // 10 ms, the longest pause seen on a shared virtual machine, at 100,000 frames/s.
            ring_frames: 1024,
            // 100 ms at 160,000 frames/s, which is all that one thread can move.
            pool_frames: 16_384,
            cpu: None,
            keep_awake: false,
        }
    }
}

/// What the router did in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterSummary {
    /// Frames taken up, all lanes.
    pub frames: u64,
    /// Copies sent on.
    pub sent: u64,
    /// Copies that could not be sent on.
    pub send_failed: u64,
    /// Frames that a receive ring had no slot for.
    pub ring_dropped: u64,
    /// Looks at a ring while the pool was full, so that frames had to wait in it. The router does
    /// not sleep meanwhile: a pool that is ever full is too small.
    pub pool_full: u64,
    /// Processor time of the router's thread.
    pub cpu: Duration,
}

/// A running router. Dropping it stops it.
#[derive(Debug)]
pub struct Router {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<RouterSummary>>>,
    died: Arc<OnceLock<String>>,
    probes: Vec<DropProbe>,
    /// Link drops up to the last time each lane's record began.
    drops_before: Mutex<Vec<[u64; 2]>>,
    _awake: Option<KeepAwake>,
}

/// What the router's thread can be asked.
#[derive(Debug)]
enum Command {
    SetLinks { lane: usize, links: Box<[Link; 2]>, record: LaneRecord, done: SyncSender<Reply> },
    TakeRecord { lane: usize, next: LaneRecord, done: SyncSender<Reply> },
    Stop,
}

/// The record that ended.
type Reply = io::Result<LaneRecord>;

impl Router {
    /// Starts the router of a topology. Until links are set, frames pass without loss or delay.
    ///
    /// # Errors
    /// Where a port, the poll set or the thread cannot be made.
    pub fn start(topology: &Topology, config: RouterConfig, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(&poll)?);
        let names = || topology.lanes.iter().flat_map(Lane::ports);
        let open = || names().map(|name| open_port(name, config.ring_frames)).collect();
        let ports: Vec<Port> = topology.router.run::<io::Result<_>>(open)??;
        for port in &ports {
            poll.add(port.as_fd())?;
        }
        let (commands, inbox) = channel();
        let engine = Engine::new(ports, poll, Arc::clone(&waker), inbox, config, clock);
        let died = Arc::new(OnceLock::new());
        let obituary = Obituary(Arc::clone(&died));
        let thread = Builder::new().name("router".to_owned()).spawn(move || {
            let end = engine.run(config);
            obituary.write(&end);
            end
        })?;
        let probes: Vec<_> = topology.lanes.iter().map(Lane::drop_probe).collect();
        let drops_before = Mutex::new(vec![[0; 2]; probes.len()]);
        let awake = if config.keep_awake { Some(KeepAwake::start()?) } else { None };
        let thread = Some(thread);
        Ok(Self { commands, waker, thread, died, probes, drops_before, _awake: awake })
    }

    /// Replaces both links of a lane by fresh ones, whose next frame has index 0, and begins a new
    /// record; what the lane's old record held is gone. Returns when the links are in force.
    ///
    /// Frames already on their way are still delivered, by the old links, and appear in no record.
    /// At most [`CAPTURE_MAX`] frames are captured.
    ///
    /// # Errors
    /// Where there is no such lane, or the router has ended.
    pub fn set_links(
        &self,
        lane: usize,
        a_to_b: &LinkPlan,
        b_to_a: &LinkPlan,
        seed: u64,
        capture_frames: u32,
    ) -> io::Result<()> {
        let drops = self.probe(lane)?.read()?;
        let link = |plan: &LinkPlan, direction| Link::new(plan.clone(), seed, direction);
        let links = Box::new([link(a_to_b, Direction::AToB), link(b_to_a, Direction::BToA)]);
        // Made here, so that the router's thread does not spend time on it.
        let record = LaneRecord::new(capture_frames, true);
        self.ask(|done| Command::SetLinks { lane, links, record, done })?;
        self.replace_drops(lane, drops);
        Ok(())
    }

    /// Ends a lane's record and gives it. The links stay in force, unrecorded.
    ///
    /// # Errors
    /// Where there is no such lane, or the router has ended.
    pub fn take_record(&self, lane: usize) -> io::Result<LaneRecord> {
        let probe = self.probe(lane)?;
        let next = LaneRecord::new(0, false);
        let mut record = self.ask(|done| Command::TakeRecord { lane, next, done })?;
        let drops = probe.read()?;
        let before = self.replace_drops(lane, drops);
        for ((direction, now), before) in record.directions.iter_mut().zip(drops).zip(before) {
            direction.kernel_dropped += now.saturating_sub(before);
        }
        Ok(record)
    }

    /// Whether the router still works.
    ///
    /// # Errors
    /// Why it ended.
    pub fn check(&self) -> io::Result<()> {
        self.died
            .get()
            .map_or(Ok(()), |why| Err(io::Error::other(format!("the router ended: {why}"))))
    }

    /// Stops the router. Frames on their way are dropped.
    ///
    /// # Errors
    /// What had ended it before.
    pub fn stop(mut self) -> io::Result<RouterSummary> {
        self.end()
    }

    fn end(&mut self) -> io::Result<RouterSummary> {
        let Some(thread) = self.thread.take() else { return Ok(RouterSummary::default()) };
        // Where the thread has ended by itself, the join says so.
        let _ = self.commands.send(Command::Stop);
        self.waker.wake()?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the router panicked")))
    }

    fn probe(&self, lane: usize) -> io::Result<&DropProbe> {
        self.probes.get(lane).ok_or_else(|| io::Error::other(format!("there is no lane {lane}")))
    }

    fn replace_drops(&self, lane: usize, drops: [u64; 2]) -> [u64; 2] {
        let mut before = self.drops_before.lock().unwrap_or_else(PoisonError::into_inner);
        before.get_mut(lane).map_or(drops, |before| std::mem::replace(before, drops))
    }

    fn ask(&self, command: impl FnOnce(SyncSender<Reply>) -> Command) -> Reply {
        let (done, answer) = sync_channel(1);
        let gone = || self.check().err().unwrap_or_else(|| io::Error::other("the router ended"));
        self.commands.send(command(done)).map_err(|_| gone())?;
        self.waker.wake()?;
        // The sender goes with the thread, so this ends even if the thread does not answer.
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.end();
    }
}

fn open_port(name: &str, ring_frames: usize) -> io::Result<Port> {
    Port::open(name, ring_frames)
        .map_err(|error| io::Error::new(error.kind(), format!("open port {name}: {error}")))
}

/// Leaves word of how the thread ended, even by a panic.
struct Obituary(Arc<OnceLock<String>>);

impl Obituary {
    fn write(&self, end: &io::Result<RouterSummary>) {
        let why =
            end.as_ref().err().map_or_else(|| "it was stopped".to_owned(), io::Error::to_string);
        let _ = self.0.set(why);
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let _ = self.0.set("it panicked".to_owned());
    }
}

/// A frame on its way. Ordered by deadline, then by order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    deadline: Instant,
    order: u64,
    slot: u32,
    length: u16,
    copies: u8,
    port_out: u16,
    /// Which record of its lane it belongs to.
    generation: u32,
    captured: Option<u32>,
}

/// Memory for frames on their way, in slots of equal size.
struct Pool {
    memory: Box<[u8]>,
    /// The slot freed last is used next: its memory is still in the cache.
    free: Vec<u32>,
}

impl Pool {
    fn new(frames: usize) -> Self {
        let count = u32::try_from(frames).unwrap_or(u32::MAX);
        Self { memory: vec![0; frames * FRAME_MAX].into_boxed_slice(), free: (0..count).collect() }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<u32> {
        let slot = self.free.pop()?;
        let start = Self::start(slot);
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        Some(slot)
    }

    fn get(&self, slot: u32, length: u16) -> &[u8] {
        let start = Self::start(slot);
        &self.memory[start..start + usize::from(length)]
    }

    fn start(slot: u32) -> usize {
        usize::try_from(slot).unwrap_or(usize::MAX).saturating_mul(FRAME_MAX)
    }
}

/// One port: where frames of one direction come in.
struct Inlet {
    port: Port,
    /// No further frame can have come before this: the ring was empty then, or its last frame came.
    floor: Instant,
}

/// A lane's links and the record being written.
struct LaneState {
    links: [Link; 2],
    recorder: Recorder,
    generation: u32,
}

struct Engine {
    inlets: Vec<Inlet>,
    lanes: Vec<LaneState>,
    pool: Pool,
    on_way: BinaryHeap<Reverse<Pending>>,
    due: Vec<Pending>,
    poll: Poll,
    waker: Arc<Waker>,
    inbox: Receiver<Command>,
    bridge: WallBridge,
    clock: Clock,
    spin: Duration,
    summary: RouterSummary,
}

/// What the router knows of a frame beside its bytes.
#[derive(Clone, Copy)]
struct Ticket {
    inlet: usize,
    order: u64,
    arrived: Instant,
}

/// Decides a frame's fate and records it; gives its way on, if it has one.
fn admit(
    lane: &mut LaneState,
    pool: &mut Pool,
    frame: &Received<'_>,
    ticket: Ticket,
) -> Option<Pending> {
    let direction = Direction::BOTH[ticket.inlet % 2];
    let record = lane.recorder.direction(direction);
    if frame.bytes.get(12..14) != Some(&ETHERTYPE_IPV4) {
        record.not_ipv4 += 1;
        return None;
    }
    record.bad_checksum_status += u64::from(!frame.checksum_ready);
    if frame.bytes.len() > FRAME_MAX || frame.bytes.len() as u64 != u64::from(frame.length) {
        record.oversize += 1;
        return None;
    }
    let seen = Frame { bytes: Bytes::Ethernet(frame.bytes), length: frame.length };
    let fate = lane.links[direction.index()].handle_frame(ticket.arrived, seen, 0);
    let captured = lane.recorder.note(direction, &fate, ticket.arrived, frame.bytes);
    let Verdict::Deliver { at, copies } = fate.verdict else { return None };
    Some(Pending {
        deadline: at,
        order: ticket.order,
        // The caller has seen that there is a free slot.
        slot: pool.put(frame.bytes)?,
        length: u16::try_from(frame.bytes.len()).ok()?,
        copies,
        // Ports come in pairs, an end's own and the other end's.
        port_out: u16::try_from(ticket.inlet ^ 1).ok()?,
        generation: lane.generation,
        captured,
    })
}

/// Sends frames, skipping those that are refused; gives a bit for each refused one.
fn send_all(port: &Port, frames: &[&[u8]]) -> u64 {
    let (mut refused, mut at) = (0, 0);
    while at < frames.len() {
        match port.send(&frames[at..]) {
            Ok(sent) if sent > 0 => at += sent,
            _ => {
                refused |= 1 << at;
                at += 1;
            }
        }
    }
    refused
}

impl Engine {
    fn new(
        ports: Vec<Port>,
        poll: Poll,
        waker: Arc<Waker>,
        inbox: Receiver<Command>,
        config: RouterConfig,
        clock: Clock,
    ) -> Self {
        let lanes = ports.len() / 2;
        let fresh = |direction| Link::new(LinkPlan::default(), 0, direction);
        let lane = || LaneState {
            links: [fresh(Direction::AToB), fresh(Direction::BToA)],
            recorder: Recorder::new(LaneRecord::new(0, false)),
            generation: 0,
        };
        let floor = clock.now();
        Self {
            inlets: ports.into_iter().map(|port| Inlet { port, floor }).collect(),
            lanes: (0..lanes).map(|_| lane()).collect(),
            pool: Pool::new(config.pool_frames),
            on_way: BinaryHeap::with_capacity(config.pool_frames),
            due: Vec::with_capacity(BURST),
            poll,
            waker,
            inbox,
            bridge: WallBridge::new(),
            clock,
            spin: config.spin,
            summary: RouterSummary::default(),
        }
    }

    fn run(mut self, config: RouterConfig) -> io::Result<RouterSummary> {
        if let Some(cpu) = config.cpu {
            pin_to_cpu(cpu)?;
        }
        // The slack of a thread adds to every sleep; the default would be 50 us.
        set_timer_slack(Duration::from_nanos(1))?;
        loop {
            let mut moved = false;
            let looked_at = self.clock.now();
            self.bridge.renew(monotonic_ns());
            for inlet in 0..self.inlets.len() {
                moved |= self.receive(inlet, looked_at) > 0;
            }
            let now = self.clock.now();
            moved |= self.send_due(now);
            match self.inbox.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break,
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) if moved => {}
                Err(TryRecvError::Empty) => self.rest(now)?,
            }
        }
        for inlet in &self.inlets {
            self.summary.ring_dropped += inlet.port.take_drops()?;
        }
        self.summary.cpu = thread_cpu();
        Ok(self.summary)
    }

    /// Sleeps until a frame comes or the next deadline is near, then leaves the rest to watching.
    fn rest(&self, now: Instant) -> io::Result<()> {
        let sleep = self.on_way.peek().map(|Reverse(next)| {
            let left = next.deadline.since(now);
            left.saturating_sub(self.spin)
        });
        if sleep == Some(Duration::ZERO) {
            std::hint::spin_loop();
            return Ok(());
        }
        self.poll.wait(sleep)?;
        self.waker.clear();
        Ok(())
    }

    /// Takes up to [`BURST`] frames from a port's ring; gives how many there were.
    fn receive(&mut self, inlet: usize, looked_at: Instant) -> usize {
        let mut taken = 0;
        while taken < BURST {
            if self.pool.free.is_empty() {
                self.summary.pool_full += 1;
                break;
            }
            let Inlet { port, floor } = &mut self.inlets[inlet];
            let Some(frame) = port.receive() else {
                *floor = looked_at.max(*floor);
                break;
            };
            taken += 1;
            let mut arrived = self.clock.at(self.bridge.monotonic(frame.wall_ns));
            if arrived > looked_at {
                // No frame comes from the future, whatever was done to the wall clock.
                arrived = arrived.min(self.clock.now());
            }
            arrived = arrived.max(*floor);
            *floor = arrived;
            let ticket = Ticket { inlet, order: self.summary.frames, arrived };
            let pending = admit(&mut self.lanes[inlet / 2], &mut self.pool, &frame, ticket);
            self.on_way.extend(pending.map(Reverse));
            self.summary.frames += 1;
        }
        taken
    }

    /// Sends every frame whose time has come, in bursts per port.
    fn send_due(&mut self, now: Instant) -> bool {
        let mut sent_any = false;
        loop {
            self.due.clear();
            let mut copies = 0;
            while let Some(Reverse(next)) = self.on_way.peek() {
                let same_port =
                    self.due.first().is_none_or(|first| first.port_out == next.port_out);
                if next.deadline > now || !same_port || copies + usize::from(next.copies) > BURST {
                    break;
                }
                copies += usize::from(next.copies);
                self.due.extend(self.on_way.pop().map(|Reverse(next)| next));
            }
            if self.due.is_empty() {
                return sent_any;
            }
            sent_any = true;
            self.send_burst();
        }
    }

    /// Hands the frames in `due` to their port, and notes how late they were.
    fn send_burst(&mut self) {
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        let mut count = 0;
        for pending in &self.due {
            for _ in 0..pending.copies {
                frames[count] = self.pool.get(pending.slot, pending.length);
                count += 1;
            }
        }
        let port_out = usize::from(self.due[0].port_out);
        // Before the call: the receiver's answer may be stamped before it returns.
        let departed = self.clock.now();
        let refused = send_all(&self.inlets[port_out].port, &frames[..count]);
        self.summary.sent += count as u64 - u64::from(refused.count_ones());
        let mut place = 0;
        for pending in &self.due {
            self.pool.free.push(pending.slot);
            let lane = &mut self.lanes[port_out / 2];
            let ours = lane.generation == pending.generation;
            for _ in 0..pending.copies {
                let failed = refused >> place & 1 == 1;
                place += 1;
                self.summary.send_failed += u64::from(failed);
                if ours {
                    // It leaves by the port of the other end.
                    let direction = Direction::BOTH[1 - port_out % 2];
                    let record = lane.recorder.direction(direction);
                    record.send_failed += u64::from(failed);
                    record.lateness.note(departed.since(pending.deadline));
                }
            }
            if let (true, Some(captured)) = (ours, pending.captured) {
                lane.recorder.note_departure(captured, departed);
            }
        }
    }

    /// Takes what has arrived on a lane so far, then does as told.
    fn obey(&mut self, command: Command) {
        let (lane, links, record, done) = match command {
            Command::SetLinks { lane, links, record, done } => (lane, Some(links), record, done),
            Command::TakeRecord { lane, next, done } => (lane, None, next, done),
            Command::Stop => return,
        };
        let reply = self.turn_page(lane, links, record);
        // Where nobody waits any more, the record is not wanted.
        let _ = done.send(reply);
    }

    fn turn_page(
        &mut self,
        lane: usize,
        links: Option<Box<[Link; 2]>>,
        record: LaneRecord,
    ) -> Reply {
        for inlet in [2 * lane, 2 * lane + 1] {
            while self.receive(inlet, self.clock.now()) == BURST {
                self.send_due(self.clock.now());
            }
        }
        let drops = [self.take_ring_drops(2 * lane)?, self.take_ring_drops(2 * lane + 1)?];
        let state = &mut self.lanes[lane];
        if let Some(links) = links {
            state.links = *links;
        }
        state.generation = state.generation.wrapping_add(1);
        let mut ended = std::mem::replace(&mut state.recorder, Recorder::new(record)).finish();
        for (direction, drops) in ended.directions.iter_mut().zip(drops) {
            direction.kernel_dropped += drops;
        }
        Ok(ended)
    }

    fn take_ring_drops(&mut self, inlet: usize) -> io::Result<u64> {
        let drops = self.inlets[inlet].port.take_drops()?;
        self.summary.ring_dropped += drops;
        Ok(drops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_word() {
        let died = Arc::new(OnceLock::new());
        let obituary = Obituary(Arc::clone(&died));
        let end = std::thread::spawn(move || {
            let _kept = obituary;
            panic!("the router's thread dies");
        });
        assert!(end.join().is_err());
        assert_eq!(died.get().map(String::as_str), Some("it panicked"));
    }

    #[test]
    fn frames_leave_by_deadline_and_then_by_arrival() {
        let pending = |deadline, order| {
            let deadline = Instant::from_nanos(deadline);
            let (slot, length, copies, port_out) = (0, 0, 1, 0);
            let (generation, captured) = (0, None);
            Pending { deadline, order, slot, length, copies, port_out, generation, captured }
        };
        let mut heap: BinaryHeap<_> =
            [(20, 0), (10, 2), (10, 1)].map(|(at, order)| Reverse(pending(at, order))).into();
        let orders = std::iter::from_fn(|| heap.pop()).map(|Reverse(next)| next.order);
        assert_eq!(orders.collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn a_pool_gives_slots_until_it_has_none() {
        let mut pool = Pool::new(2);
        let (one, two) = (pool.put(b"one").unwrap(), pool.put(b"two!").unwrap());
        assert_eq!(pool.put(b"three"), None);
        assert_eq!((pool.get(one, 3), pool.get(two, 4)), (&b"one"[..], &b"two!"[..]));
        pool.free.push(one);
        assert_eq!(pool.put(b"three"), Some(one), "the slot freed last is used first");
    }
}
