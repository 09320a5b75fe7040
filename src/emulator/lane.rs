//! A lane of the router: its links, their input, and the changes and answers that they make.

use super::frame_meta::{FRAME_MAX, FrameMeta, SlotMeta};
use super::frame_pool::{Pool, TxQueue};
use super::loopback;
use super::record::Recorder;
use crate::measure::Instant;
use crate::path::{self, Bytes, Direction, Fate, Frame, Link, Mutation, Verdict};

/// A lane's links and the record being written.
pub(super) struct LaneState {
    pub(super) links: [Link; 2],
    pub(super) recorder: Recorder,
    pub(super) generation: u32,
    /// Whether both links are between host A and itself.
    pub(super) looped: bool,
}

impl LaneState {
    /// The port, of the lane's pair, on which a frame counts as received.
    pub(super) fn counted_on(&self, rx_port: usize, frame: &[u8]) -> usize {
        if self.looped { rx_port & !1 | loopback::direction(frame).index() } else { rx_port }
    }

    /// The port that moves the frames of one of the lane's pair: host A's for both where A talks to
    /// itself.
    pub(super) const fn moved_by(&self, port: usize) -> usize {
        if self.looped { port & !1 } else { port }
    }

    /// Decides the fate of a frame in a slot and records it.
    pub(super) fn decide(&mut self, arrival: Arrival<'_>, slot: u32) -> (Fate, SlotMeta) {
        let Arrival { at, bytes, .. } = arrival;
        let (direction, mut meta) = (arrival.direction(), arrival.meta(self.generation));
        let seen = Frame { bytes: Bytes::Ethernet(bytes), length: u32::from(meta.frame.length) };
        let fate = self.links[direction.index()].handle_frame(at, seen, slot);
        meta.frame.index = fate.index;
        meta.frame.draw_ppm = fate.loss_draw_ppm;
        meta.frame.mutation = fate.mutation;
        meta.frame.captured = self.recorder.note(direction, &fate, at, bytes);
        (fate, meta)
    }
}

/// Mutates and schedules a frame that is not dropped; returns whether it waits at the bottleneck.
pub(super) fn forward(pool: &mut Pool, on_way: &mut TxQueue, slot: u32, fate: &Fate) -> bool {
    apply_mutation(pool, slot, &fate.mutation);
    match fate.verdict {
        Verdict::Deliver { at, copies } => on_way.push(at, slot, copies),
        Verdict::Queued { copies } if copies > 1 => drop(pool.add_duplicate(slot)),
        Verdict::Queued { .. } | Verdict::Dropped(_) => {}
    }
    matches!(fate.verdict, Verdict::Queued { .. })
}

/// A frame to decide on, and its metadata.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) rx_port: usize,
    pub(super) at: Instant,
    pub(super) bytes: &'a [u8],
}

impl Arrival<'_> {
    pub(super) fn direction(&self) -> Direction {
        Direction::BOTH[self.rx_port % 2]
    }

    /// Slot metadata if it is forwarded.
    pub(super) fn meta(&self, generation: u32) -> SlotMeta {
        let frame = FrameMeta {
            direction: self.direction(),
            index: 0,
            copy: 0,
            captured: None,
            length: u16::try_from(self.bytes.len()).expect("the caller drops oversize frames"),
            draw_ppm: 0,
            mutation: Mutation::default(),
        };
        // Ports come in pairs, one per end.
        let port_out = u16::try_from(self.rx_port ^ 1).expect("there are at most 128 ports");
        SlotMeta { frame, port_out, generation, answer: false, duplicate: None }
    }
}

pub(super) fn apply_mutation(pool: &mut Pool, slot: u32, mutation: &Mutation) {
    if *mutation != Mutation::default() {
        path::apply(mutation, pool.bytes_mut(slot));
    }
}

/// Answers "too big" to the sender of a frame, unless the link is a black hole.
pub(super) fn answer(
    lane: &mut LaneState,
    pool: &mut Pool,
    on_way: &mut TxQueue,
    arrival: Arrival<'_>,
    meta: SlotMeta,
) {
    let direction = arrival.direction();
    let limit = lane.links[direction.index()].plan().mtu.filter(|limit| !limit.black_hole);
    let message = limit.and_then(|limit| path::icmp_too_big(arrival.bytes, limit.bytes));
    let Some(message) = message.filter(|message| message.len() <= FRAME_MAX) else { return };
    let Some(slot) = pool.take() else { return };
    lane.recorder.note_answer(direction, meta.frame.index, arrival.at, &message);
    let length = u16::try_from(message.len()).expect("at most FRAME_MAX");
    let frame = FrameMeta { length, ..meta.frame };
    // It leaves by the port that the frame arrived on.
    let meta = SlotMeta { frame, port_out: meta.port_out ^ 1, answer: true, ..meta };
    pool.fill(slot, meta, &message);
    on_way.push(arrival.at, slot, 1);
}
