//! The router: moves every frame between a lane's two hosts through the lane's link model.
//!
//! One thread serves all lanes; this is its handle. A frame's deadline is the kernel's stamp of its
//! arrival plus the link's delay, so lateness does not accumulate; every record holds it. Every
//! frame that the router itself loses is counted.

use super::command::{Command, Reply};
use super::events::{Chunk, Streaming};
use super::forwarder::Forwarder;
use super::record::RecordConfig;
use super::topology::{FrameMode, Lane, Topology};
use crate::path::{Direction, Link, LinkPlan};
use crate::runtime::clock::Clock;
use crate::sys::error::during;
use crate::sys::host::KeepAwake;
use crate::sys::packet::{Framing, Port};
use crate::sys::poll::{Poll, Waker};
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

pub use super::capacity::{FRAMES_PER_SECOND_MAX, POOL_FRAMES_MAX, TooManyFrames};

pub use super::config::{RouterConfig, RouterSummary};
pub use super::record::{
    CAPTURE_MAX, CapturedFrame, DirectionRecord, LOST_FRAMES_MAX, LaneRecord, Lateness,
};

/// A running router. Dropping it stops it.
#[derive(Debug)]
pub struct Router {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<RouterSummary>>>,
    died: Arc<OnceLock<String>>,
    lanes: Vec<Lane>,
    /// Link drops at the last start of each lane's record.
    drops_before: Mutex<Vec<[u64; 2]>>,
    _awake: Option<KeepAwake>,
}

impl Router {
    /// Starts the router of a topology. Until links are set, frames pass without loss or delay.
    ///
    /// # Errors
    /// If a port, the poll set or the thread cannot be made.
    pub fn start(topology: &Topology, config: RouterConfig, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(&poll)?);
        let open = || open_ports(&topology.lanes, config.ring_frames);
        let ports: Vec<Port> = topology.router.run::<io::Result<_>>(open)??;
        for port in &ports {
            poll.add(port.as_fd())?;
        }
        let (commands, inbox) = channel();
        let looped: Vec<bool> = topology.lanes.iter().map(Lane::looped).collect();
        let ports = (ports, &looped[..]);
        let engine = Forwarder::new(ports, poll, Arc::clone(&waker), inbox, config, clock);
        let died = Arc::new(OnceLock::new());
        let obituary = Obituary(Arc::clone(&died));
        let thread = Builder::new().name("router".to_owned()).spawn(move || {
            let end = engine.run(config);
            obituary.write(&end);
            end
        })?;
        let lanes = topology.lanes.clone();
        let drops_before = Mutex::new(vec![[0; 2]; lanes.len()]);
        let awake = if config.keep_awake { Some(KeepAwake::start()?) } else { None };
        let thread = Some(thread);
        Ok(Self { commands, waker, thread, died, lanes, drops_before, _awake: awake })
    }

    /// Replaces both links of a lane by new ones, whose next frame has index 0, and begins a new
    /// record, discarding the old one. Returns when the links are in force.
    ///
    /// The old links still deliver frames in flight, which appear in no record. At most
    /// [`CAPTURE_MAX`] frames are captured.
    ///
    /// # Errors
    /// If there is no such lane, or the router has ended.
    pub fn set_links(
        &self,
        lane: usize,
        a_to_b: &LinkPlan,
        b_to_a: &LinkPlan,
        seed: u64,
        capture_frames: u32,
    ) -> io::Result<()> {
        let link = |plan: &LinkPlan, direction| Link::new(plan.clone(), seed, direction);
        let links = Box::new([link(a_to_b, Direction::AToB), link(b_to_a, Direction::BToA)]);
        self.set_link_pair(lane, links, RecordConfig { capture_frames, stream: Streaming::Off })
    }

    /// The same, with the caller's links, `[a_to_b, b_to_a]`, and recording options.
    ///
    /// # Errors
    /// If there is no such lane, or the router has ended.
    pub fn set_link_pair(
        &self,
        lane: usize,
        links: Box<[Link; 2]>,
        record: RecordConfig,
    ) -> io::Result<()> {
        let drops = self.lane(lane)?.link_drops()?;
        // Allocated here to spare the router's thread.
        let record = LaneRecord::new(record);
        self.ask(|done| Command::SetLinks { lane, links, record, done })?;
        self.replace_drops(lane, drops);
        Ok(())
    }

    /// Returns the events of a lane since the last chunk, or since its record began; the record
    /// goes on. `spare` is cleared and receives the next events, so it must be made for the
    /// record's [`RecordConfig`]; two alternating chunks serve any run.
    ///
    /// A chunk holds 100 ms at the router's maximum rate, so fetch one about that often;
    /// [`Chunk::missed`] counts what a late fetch lost. The last chunk is the record's
    /// [`LaneRecord::rest`].
    ///
    /// # Errors
    /// If there is no such lane, or the router has ended.
    pub fn take_chunk(&self, lane: usize, mut spare: Chunk) -> io::Result<Chunk> {
        self.lane(lane)?;
        spare.clear();
        self.ask(|done| Command::SwapChunk { lane, spare, done })
    }

    /// Changes the plans of a lane's links, `[a_to_b, b_to_a]`, within their record; frame numbers
    /// and draws go on (see [`Link::adopt_plan`]). Returns when the plans are in force.
    ///
    /// # Errors
    /// If there is no such lane, or the router has ended.
    pub fn change_plans(&self, lane: usize, plans: [LinkPlan; 2]) -> io::Result<()> {
        self.lane(lane)?;
        let [a_to_b, b_to_a] = plans;
        // Built here to spare the router's thread.
        let links = Box::new([
            Link::new(a_to_b, 0, Direction::AToB),
            Link::new(b_to_a, 0, Direction::BToA),
        ]);
        self.ask(|done| Command::ChangePlans { lane, links, done })
    }

    /// Ends a lane's record and returns it. The links stay in force, unrecorded.
    ///
    /// # Errors
    /// If there is no such lane, or the router has ended.
    pub fn take_record(&self, lane: usize) -> io::Result<LaneRecord> {
        let links = self.lane(lane)?;
        let next = LaneRecord::counts();
        let mut record = self.ask(|done| Command::TakeRecord { lane, next, done })?;
        let drops = links.link_drops()?;
        let before = self.replace_drops(lane, drops);
        for ((direction, now), before) in record.directions.iter_mut().zip(drops).zip(before) {
            direction.kernel_dropped += now.saturating_sub(before);
        }
        Ok(record)
    }

    /// Checks that the router still runs.
    ///
    /// # Errors
    /// Why it ended.
    pub fn check(&self) -> io::Result<()> {
        self.died
            .get()
            .map_or(Ok(()), |why| Err(io::Error::other(format!("the router ended: {why}"))))
    }

    /// Stops the router. Frames in flight are dropped.
    ///
    /// # Errors
    /// Why it had ended before.
    pub fn stop(mut self) -> io::Result<RouterSummary> {
        self.end()
    }

    fn end(&mut self) -> io::Result<RouterSummary> {
        let Some(thread) = self.thread.take() else { return Ok(RouterSummary::default()) };
        // If the thread has already ended, the join reports it.
        let _ = self.commands.send(Command::Stop);
        self.waker.wake()?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the router panicked")))
    }

    fn lane(&self, lane: usize) -> io::Result<&Lane> {
        self.lanes.get(lane).ok_or_else(|| io::Error::other(format!("there is no lane {lane}")))
    }

    fn replace_drops(&self, lane: usize, drops: [u64; 2]) -> [u64; 2] {
        let mut before = self.drops_before.lock().unwrap_or_else(PoisonError::into_inner);
        before.get_mut(lane).map_or(drops, |before| std::mem::replace(before, drops))
    }

    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> io::Result<T> {
        let (done, answer) = sync_channel(1);
        let gone = || self.check().err().unwrap_or_else(|| io::Error::other("the router ended"));
        self.commands.send(command(done)).map_err(|_| gone())?;
        self.waker.wake()?;
        // The sender is dropped with the thread, so this ends even without an answer.
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // No receiver is left.
        let _ = self.end();
    }
}

/// The router's ends of all lanes, an A and a B for each.
fn open_ports(lanes: &[Lane], ring_frames: usize) -> io::Result<Vec<Port>> {
    let mut ports = Vec::with_capacity(2 * lanes.len());
    for lane in lanes {
        let framing = match lane.frames() {
            FrameMode::MtuSized => Framing::Whole,
            FrameMode::Segmented => Framing::Offloaded,
        };
        for name in lane.ports() {
            let port = Port::open(name, ring_frames, framing)
                .map_err(during(format!("open port {name}")))?;
            ports.push(port);
        }
    }
    Ok(ports)
}

/// Records why the thread exited, even by a panic.
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
}
