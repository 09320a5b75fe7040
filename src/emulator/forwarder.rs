//! The router's thread: receives frames, applies the link model, transmits those that are due.
//!
//! It blocks only on the ports, makes no allocation or system call for a single frame, and counts
//! every lost one.

use super::capacity;
use super::command::Command;
use super::config::{RouterConfig, RouterSummary};
use super::frame_meta::{FRAME_MAX, FrameMeta};
use super::frame_pool::{Pending, Pool, TxQueue};
use super::gso::{Layout, OFFLOAD_HEADER, SEGMENTS_MAX};
use super::gso_burst;
use super::gso_pool::{SegmentTrain, TrainPool};
use super::lane::{Arrival, LaneState, answer, apply_mutation, forward};
use super::record::{Departure, LaneRecord, Recorder};
use crate::measure::Instant;
use crate::path::{
    Direction, DropReason, Link, LinkPlan, Mutation, Release, ReleaseVerdict, Verdict,
};
use crate::runtime::clock::Clock;
use crate::sys::clock::{WallBridge, set_timer_slack, thread_cpu};
use crate::sys::host::{pin_to_cpu, set_time_slice};
use crate::sys::packet::{Framing, Port, Received};
use crate::sys::poll::{Poll, Waker};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// Frames received from one port before the next port's turn, and sent in one call.
const BURST: usize = 32;
/// Slots that one frame can need: itself, and a duplicate or the answer to it.
const SLOTS_PER_FRAME: usize = 2;
/// Bytes sent in one call, at most: four long super-frames, about 100 µs. A frame's departure is
/// stamped before the call.
const BURST_BYTES: usize = 262_144;
/// Slots for frames per slot for a segment train. A thread moves about 40,000 super-frames of 64
/// KiB per second; if they are shorter and more numerous, some leave as single frames.
const FRAMES_PER_RUN: usize = 8;

/// One port: receives frames of one direction, transmits those of the other.
struct RxPort {
    port: Port,
    /// No further frame can have arrived before this: the ring was then empty, or its last frame
    /// came.
    floor: Instant,
    /// Frames to transmit by this port.
    due: Vec<Pending>,
    /// Copies among them, and their bytes.
    copies: usize,
    bytes: usize,
    /// Slots that the next received frame can need.
    slots_needed: usize,
    /// Whether frames may wait in the link behind this port.
    queues: bool,
}

pub(super) struct Forwarder {
    rx_ports: Vec<RxPort>,
    lanes: Vec<LaneState>,
    /// Replaced links in which frames still wait, and the ports of those frames.
    retired: Vec<(usize, Link)>,
    pool: Pool,
    on_way: TxQueue,
    poll: Poll,
    waker: Arc<Waker>,
    inbox: Receiver<Command>,
    bridge: WallBridge,
    clock: Clock,
    spin: Duration,
    summary: RouterSummary,
    /// Buffer for one segment of a train, cut out for inspection.
    scratch: Box<[u8]>,
}

/// A frame for the links.
enum FrameKind {
    /// A complete frame.
    Frame,
    /// A frame with offloaded work, as its header describes.
    Offloaded(Layout),
}

/// Classifies a received frame; only whole frames that are not noise reach the links.
fn classify(
    recorder: &mut Recorder,
    direction: Direction,
    frame: &Received<'_>,
) -> Option<FrameKind> {
    let record = recorder.direction(direction);
    if !carried(frame.bytes) {
        record.not_carried += 1;
        return None;
    }
    if frame.bytes.len() as u64 != u64::from(frame.length) {
        record.oversize += 1;
        return None;
    }
    let (kind, longest) = match frame.offload.first_chunk::<OFFLOAD_HEADER>() {
        Some(offload) => {
            let Ok(layout) = Layout::parse(offload, frame.bytes) else {
                record.bad_offload += 1;
                return None;
            };
            // The first segment is the longest.
            (FrameKind::Offloaded(layout), layout.wire_length(0))
        }
        None => {
            record.bad_checksum_status += u64::from(!frame.checksum_ready);
            (FrameKind::Frame, frame.bytes.len())
        }
    };
    if longest > FRAME_MAX {
        record.oversize += 1;
        return None;
    }
    Some(kind)
}

/// EtherTypes of IPv4 and IPv6 (RFC 894, RFC 2464).
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// IPv6's next-header values (RFC 8200 §4.3, RFC 4443 §1).
const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;
/// Bytes of an Ethernet header and of an IPv6 header.
const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// Whether links carry a frame: IPv4, and IPv6 except link-local control traffic (NDP,
/// MLD), which no application sends.
fn carried(frame: &[u8]) -> bool {
    match frame.get(12..ETHERNET) {
        Some(kind) if kind == ETHERTYPE_IPV4 => true,
        Some(kind) if kind == ETHERTYPE_IPV6 => !is_housekeeping(&frame[ETHERNET..]),
        _ => false,
    }
}

/// Multicast listener reports (types 130-132, 143) and router and neighbour discovery (133-137):
/// RFC 2710, RFC 9777, RFC 4861.
fn is_housekeeping(packet: &[u8]) -> bool {
    let (Some(next), Some(rest)) = (packet.get(6), packet.get(IPV6..)) else { return false };
    // Listener reports carry a router alert in a hop-by-hop header.
    let (next, rest) = match (*next, rest) {
        (HOP_BY_HOP, [next, length, ..]) => {
            // Counted in 8 bytes, without the first 8 (RFC 8200 §4.3).
            (*next, rest.get(8 * (usize::from(*length) + 1)..).unwrap_or(&[]))
        }
        (next, rest) => (next, rest),
    };
    next == ICMPV6 && rest.first().is_some_and(|kind| matches!(kind, 130..=137 | 143))
}

/// Sends frames, skipping refused ones; returns a bit for each of those.
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

impl Forwarder {
    pub(super) fn new(
        (ports, looped): (Vec<Port>, &[bool]),
        poll: Poll,
        waker: Arc<Waker>,
        inbox: Receiver<Command>,
        config: RouterConfig,
        clock: Clock,
    ) -> Self {
        let fresh = |direction| Link::new(LinkPlan::default(), 0, direction);
        let lane = |looped: &bool| LaneState {
            links: Direction::BOTH.map(fresh),
            recorder: Recorder::new(LaneRecord::counts()),
            generation: 0,
            looped: *looped,
        };
        let segmented = |port: &Port| port.framing() == Framing::Offloaded;
        let any = ports.iter().any(segmented);
        // Room for at least one super-frame in each direction.
        let least = if any { 4 * SLOTS_PER_FRAME * usize::from(SEGMENTS_MAX) } else { 0 };
        let slots = config.pool_frames.max(least);
        let runs = if any { slots.div_ceil(FRAMES_PER_RUN) } else { 0 };
        let pool_frames = slots as u64;
        let summary = RouterSummary {
            pool_frames,
            pool_bytes: capacity::bytes(pool_frames) + TrainPool::bytes(runs),
            ring_bytes: ports.iter().map(|port| port.ring_bytes() as u64).sum(),
            ..RouterSummary::default()
        };
        let floor = clock.now();
        let rx_port = |port| {
            let due = Vec::with_capacity(BURST);
            let segments = if segmented(&port) { SEGMENTS_MAX.into() } else { 1 };
            let slots_needed = SLOTS_PER_FRAME * segments;
            RxPort { port, floor, due, copies: 0, bytes: 0, slots_needed, queues: false }
        };
        Self {
            rx_ports: ports.into_iter().map(rx_port).collect(),
            lanes: looped.iter().map(lane).collect(),
            retired: Vec::new(),
            pool: Pool::new(slots, runs),
            on_way: TxQueue::new(slots + runs),
            poll,
            waker,
            inbox,
            bridge: WallBridge::new(),
            clock,
            spin: config.spin,
            summary,
            scratch: vec![0; OFFLOAD_HEADER + FRAME_MAX].into_boxed_slice(),
        }
    }

    pub(super) fn run(mut self, config: RouterConfig) -> io::Result<RouterSummary> {
        if let Some(cpu) = config.cpu {
            pin_to_cpu(cpu)?;
        }
        // Timer slack adds to every sleep; the default is 50 µs.
        set_timer_slack(Duration::from_nanos(1))?;
        if let Some(slice) = config.slice {
            // If the kernel refuses, the thread keeps its default.
            let _ = set_time_slice(slice);
        }
        loop {
            let looked_at = self.clock.now();
            self.bridge.renew(self.clock.to_monotonic_nanos(looked_at));
            let mut moved = false;
            for rx_port in 0..self.rx_ports.len() {
                moved |= self.receive(rx_port, looked_at) > 0;
            }
            self.release_due();
            let now = self.clock.now();
            moved |= self.send_due(now);
            match self.inbox.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break,
                Ok(command) => self.handle_command(command),
                Err(TryRecvError::Empty) if moved => {}
                Err(TryRecvError::Empty) => self.idle(now)?,
            }
        }
        for rx_port in &self.rx_ports {
            self.summary.ring_dropped += rx_port.port.take_drops()?;
        }
        self.summary.pool_peak = self.pool.peak() as u64;
        self.summary.cpu = thread_cpu();
        Ok(self.summary)
    }

    /// Sleeps until a frame arrives or the next deadline is near, then leaves the rest to polling.
    fn idle(&self, now: Instant) -> io::Result<()> {
        let next = self.on_way.next_due().into_iter().chain(self.next_release()).min();
        let sleep = next.map(|next| next.since(now).saturating_sub(self.spin));
        if sleep == Some(Duration::ZERO) {
            std::hint::spin_loop();
            return Ok(());
        }
        self.poll.wait(sleep)?;
        self.waker.clear();
        Ok(())
    }

    // ---- receiving ------------------------------------------------------------------------------

    /// Receives up to [`BURST`] frames from a port's ring; returns their number.
    fn receive(&mut self, rx_port: usize, looked_at: Instant) -> usize {
        let mut taken = 0;
        let lane = &mut self.lanes[rx_port / 2];
        let fed = if lane.looped { [rx_port & !1, rx_port | 1] } else { [rx_port; 2] };
        let waiting = fed.iter().any(|port| self.rx_ports[*port].queues);
        // Whether frames wait in the link behind each port of the lane, for those received now.
        let mut queued = [false; 2];
        let RxPort { port, floor, slots_needed, .. } = &mut self.rx_ports[rx_port];
        while taken < BURST {
            if self.pool.room() < *slots_needed {
                self.summary.pool_full += 1;
                lane.recorder.direction(Direction::BOTH[rx_port % 2]).pool_full += 1;
                if waiting || queued != [false; 2] {
                    // Slots become free only as the queue's time advances.
                    *floor = looked_at.max(*floor);
                }
                break;
            }
            let Some(frame) = port.receive() else {
                *floor = looked_at.max(*floor);
                break;
            };
            taken += 1;
            let mut at = self.clock.at(self.bridge.monotonic(frame.wall_ns));
            if at > looked_at {
                // An arrival is never in the future, even after a step of the wall clock.
                at = at.min(self.clock.now());
            }
            at = at.max(*floor);
            *floor = at;
            self.summary.frames += 1;
            let counted_on = lane.counted_on(rx_port, frame.bytes);
            let arrival = Arrival { rx_port: counted_on, at, bytes: frame.bytes };
            let (pool, on_way) = (&mut self.pool, &mut self.on_way);
            queued[counted_on % 2] |=
                match classify(&mut lane.recorder, arrival.direction(), &frame) {
                    Some(FrameKind::Frame) => admit(lane, pool, on_way, arrival),
                    Some(FrameKind::Offloaded(layout)) => {
                        gso_burst::admit(lane, pool, on_way, arrival, layout)
                    }
                    None => false,
                }
        }
        for (port, queued) in self.rx_ports[rx_port & !1..].iter_mut().zip(queued) {
            port.queues |= queued;
        }
        taken
    }

    // ---- bottlenecks ----------------------------------------------------------------------------

    /// When the next copy leaves a bottleneck.
    fn next_release(&self) -> Option<Instant> {
        let queues = self.rx_ports.iter().enumerate().filter(|(_, rx_port)| rx_port.queues);
        let now = queues.map(|(rx_port, _)| &self.lanes[rx_port / 2].links[rx_port % 2]);
        let before = self.retired.iter().map(|(_, link)| link);
        now.chain(before).filter_map(Link::poll_timeout).min()
    }

    /// Takes the copies that have left the bottlenecks.
    ///
    /// Links are polled for no later time than the earliest possible next arrival, so an arrival
    /// never finds a queue that is ahead of it.
    fn release_due(&mut self) {
        let Self { rx_ports, lanes, retired, pool, on_way, .. } = self;
        for number in 0..rx_ports.len() {
            if !rx_ports[number].queues {
                continue;
            }
            let floor = rx_ports[lanes[number / 2].moved_by(number)].floor;
            let LaneState { links, recorder, generation, .. } = &mut lanes[number / 2];
            let link = &mut links[number % 2];
            while let Some(release) = link.poll_release(floor) {
                settle(recorder, *generation, (pool, on_way), &release, floor);
            }
            rx_ports[number].queues = link.poll_timeout().is_some();
        }
        for (number, link) in retired.iter_mut() {
            let lane = &mut lanes[*number / 2];
            // No more frames arrive there.
            let floor = rx_ports[lane.moved_by(*number)].floor;
            while let Some(release) = link.poll_release(floor) {
                settle(&mut lane.recorder, lane.generation, (pool, on_way), &release, floor);
            }
        }
        retired.retain(|(_, link)| link.poll_timeout().is_some());
    }

    // ---- sending --------------------------------------------------------------------------------

    /// Sends every due frame, in bursts per port.
    fn send_due(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(next) = self.on_way.pop_due(now) {
            any = true;
            let port = usize::from(self.pool.meta(next.slot).port_out);
            let port = self.lanes[port / 2].moved_by(port);
            let copies = usize::from(next.copies);
            let bytes = copies * self.pool.bytes(next.slot).len();
            let rx_port = &self.rx_ports[port];
            if rx_port.copies + copies > BURST || rx_port.bytes + bytes > BURST_BYTES {
                self.send_burst(port);
            }
            let rx_port = &mut self.rx_ports[port];
            rx_port.copies += copies;
            rx_port.bytes += bytes;
            rx_port.due.push(next);
        }
        if any {
            for port in 0..self.rx_ports.len() {
                if self.rx_ports[port].copies > 0 {
                    self.send_burst(port);
                }
            }
        }
        any
    }

    /// Passes due frames to their port, and records their lateness.
    fn send_burst(&mut self, port: usize) {
        let RxPort { port: out, due, copies, bytes, .. } = &mut self.rx_ports[port];
        let header = out.framing().header();
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        let copied = due.iter().flat_map(|next| (0..next.copies).map(|_| next.slot));
        for (frame, slot) in frames.iter_mut().zip(copied) {
            *frame = self.pool.message(slot, header);
        }
        // Read before the call: the receiver may reply before it returns.
        let departed = self.clock.now();
        let refused = send_all(out, &frames[..*copies]);
        let lane = &mut self.lanes[port / 2];
        let mut place = 0;
        for next in due.iter() {
            let meta = *self.pool.meta(next.slot);
            let segments = self.pool.run(next.slot).map_or(1, |run| run.segments);
            for copy in 0..next.copies {
                let failed = refused >> place & 1 == 1;
                place += 1;
                self.summary.sent += if failed { 0 } else { segments.into() };
                self.summary.send_failed += if failed { segments.into() } else { 0 };
                if meta.generation != lane.generation || meta.answer {
                    continue;
                }
                let left = Departure { due: next.due, at: departed, failed };
                if self.pool.run(next.slot).is_some() {
                    note_run(&mut lane.recorder, &self.pool, next.slot, left, &mut self.scratch);
                } else {
                    let frame = FrameMeta { copy: meta.frame.copy + copy, ..meta.frame };
                    lane.recorder.note_departure(&frame, left, self.pool.bytes(next.slot));
                }
            }
            self.pool.put_back(next.slot);
        }
        due.clear();
        (*copies, *bytes) = (0, 0);
    }

    // ---- commands -------------------------------------------------------------------------------

    /// Receives what has arrived on a lane so far, then executes the command.
    fn handle_command(&mut self, command: Command) {
        // A dropped receiver does not want the answer.
        match command {
            Command::SetLinks { lane, links, record, done } => {
                let _ = done.send(self.rotate_record(lane, Some(links), record));
            }
            Command::ChangePlans { lane, links, done } => {
                for (link, new) in self.lanes[lane].links.iter_mut().zip(*links) {
                    link.adopt_plan(new);
                }
                let _ = done.send(Ok(()));
            }
            Command::TakeRecord { lane, next, done } => {
                let _ = done.send(self.rotate_record(lane, None, next));
            }
            Command::SwapChunk { lane, spare, done } => {
                let _ = done.send(Ok(self.lanes[lane].recorder.swap_chunk(spare)));
            }
            Command::Stop => {}
        }
    }

    fn rotate_record(
        &mut self,
        lane: usize,
        links: Option<Box<[Link; 2]>>,
        record: LaneRecord,
    ) -> io::Result<LaneRecord> {
        let pair = [2 * lane, 2 * lane + 1];
        for rx_port in pair {
            while self.receive(rx_port, self.clock.now()) == BURST {
                self.send_due(self.clock.now());
            }
        }
        let drops = [self.take_ring_drops(pair[0])?, self.take_ring_drops(pair[1])?];
        let state = &mut self.lanes[lane];
        let of_links = state.links.each_ref().map(|link| (link.beyond(), link.queue_peak_bytes()));
        if let Some(links) = links {
            let old = std::mem::replace(&mut state.links, *links);
            for (rx_port, old) in pair.into_iter().zip(old) {
                self.rx_ports[rx_port].queues = false;
                if old.poll_timeout().is_some() {
                    self.retired.push((rx_port, old));
                }
            }
        }
        state.generation = state.generation.wrapping_add(1);
        let mut ended = std::mem::replace(&mut state.recorder, Recorder::new(record)).finish();
        for ((direction, drops), (beyond, queue_peak)) in
            ended.directions.iter_mut().zip(drops).zip(of_links)
        {
            direction.kernel_dropped += drops;
            direction.beyond = beyond;
            direction.queue_peak_bytes = queue_peak;
        }
        Ok(ended)
    }

    fn take_ring_drops(&mut self, rx_port: usize) -> io::Result<u64> {
        let drops = self.rx_ports[rx_port].port.take_drops()?;
        self.summary.ring_dropped += drops;
        Ok(drops)
    }
}

/// Records the departure of a train's segments.
fn note_run(recorder: &mut Recorder, pool: &Pool, slot: u32, left: Departure, scratch: &mut [u8]) {
    let message = pool.message(slot, OFFLOAD_HEADER);
    let wanted = recorder.streams_bytes();
    let frames = pool.run(slot).into_iter().flat_map(SegmentTrain::frames);
    for (number, frame) in (0..).zip(frames) {
        let bytes = if wanted { gso_burst::segment(message, number, scratch) } else { &[] };
        recorder.note_departure(&frame, left, bytes);
    }
}

/// Decides a frame's fate and records it; keeps the frame unless it is dropped. Returns whether it
/// waits at the link's bottleneck.
///
/// The caller has checked that [`SLOTS_PER_FRAME`] slots are free.
fn admit(
    lane: &mut LaneState,
    pool: &mut Pool,
    on_way: &mut TxQueue,
    arrival: Arrival<'_>,
) -> bool {
    let Some(slot) = pool.take() else { return false };
    let (fate, meta) = lane.decide(arrival, slot);
    if let Verdict::Dropped(reason) = fate.verdict {
        pool.put_back(slot);
        if reason == DropReason::TooBig {
            answer(lane, pool, on_way, arrival, meta);
        }
        return false;
    }
    pool.fill(slot, meta, arrival.bytes);
    forward(pool, on_way, slot, &fate)
}

/// Applies the bottleneck's verdict to a copy.
fn settle(
    recorder: &mut Recorder,
    generation: u32,
    (pool, on_way): (&mut Pool, &mut TxQueue),
    release: &Release,
    now: Instant,
) {
    let slot = pool.next_copy(release.token);
    if let ReleaseVerdict::Deliver { mark: true, .. } = release.verdict {
        apply_mutation(pool, slot, &Mutation { corrupt: None, mark: true });
        pool.meta_mut(slot).frame.mutation.mark = true;
    }
    let meta = pool.meta(slot);
    if meta.generation == generation {
        recorder.note_release(&meta.frame, release, now);
    }
    match release.verdict {
        ReleaseVerdict::Deliver { at, .. } => on_way.push(at, slot, 1),
        ReleaseVerdict::Dropped(_) => pool.put_back(slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_carry_ip_and_not_what_keeps_house() {
        let frame = |kind: u16, packet: &[u8]| [&[0; 12][..], &kind.to_be_bytes(), packet].concat();
        let ipv6 = |next: u8, payload: &[u8]| {
            let mut header = [0; IPV6];
            header[6] = next;
            frame(0x86dd, &[&header[..], payload].concat())
        };
        assert!(carried(&frame(0x0800, &[])));
        assert!(!carried(&frame(0x0806, &[0; 28])), "ARP");
        assert!(!carried(&[0; 13]), "cut short");
        assert!(carried(&ipv6(6, &[0; 20])) && carried(&ipv6(17, &[0; 8])));
        for kind in 0..=255 {
            let noise = (130..=137).contains(&kind) || kind == 143;
            assert_eq!(carried(&ipv6(ICMPV6, &[kind, 0, 0, 0])), !noise, "type {kind}");
            let alert = [ICMPV6, 0, 5, 2, 0, 0, 1, 0, kind];
            assert_eq!(carried(&ipv6(HOP_BY_HOP, &alert)), !noise, "type {kind}, router alert");
        }
        // A truncated frame is not link-local control traffic.
        assert!(carried(&ipv6(HOP_BY_HOP, &[ICMPV6, 9])) && carried(&frame(0x86dd, &[0; 3])));
    }
}
