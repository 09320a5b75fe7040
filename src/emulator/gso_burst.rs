//! Applies the link model to each segment of a super-frame, and forwards segments with the same
//! fate together.
//!
//! Each segment draws its own fate, and has its own index, length and place in the record, as if it
//! had arrived as a frame of its own.

use super::frame_meta::{FRAME_MAX, FrameMeta, SlotMeta};
use super::frame_pool::{Pool, TxQueue};
use super::gso::{Checksums, Layout, OFFLOAD_HEADER};
use super::gso_pool::segment_length;
use super::lane::{Arrival, LaneState, answer, forward};
use crate::measure::Instant;
use crate::path::{DrawKey, DropReason, Mutation, Verdict};
use std::ops::Range;

/// One segment of a super-frame as a frame of its own, with complete checksums.
pub(super) fn segment<'a>(message: &[u8], number: u16, out: &'a mut [u8]) -> &'a [u8] {
    let cut = message.split_first_chunk().and_then(|(offload, frame)| {
        let layout = Layout::parse(offload, frame).ok()?;
        layout.write(frame, number..number + 1, Checksums::Complete, out)
    });
    out.get(OFFLOAD_HEADER..cut.unwrap_or(0)).unwrap_or_default()
}

/// A received super-frame, and its pending train: decided segments with the same fate so far.
struct Admission<'a> {
    frame: Arrival<'a>,
    layout: Layout,
    run: Range<u16>,
    /// Departure of the train, and metadata of its first segment.
    way: Option<(Instant, SlotMeta)>,
    /// Whether the link or record inspects the payload, which needs each segment as on a wire.
    looked_into: bool,
    /// Whether a segment waits at the link's bottleneck.
    waits: bool,
}

/// Decides the fates of a super-frame's segments in order and records them; keeps those that are
/// not dropped. Returns whether one waits at the link's bottleneck. An ordinary frame has one
/// segment.
///
/// The caller has checked that enough slots are free.
pub(super) fn admit(
    lane: &mut LaneState,
    pool: &mut Pool,
    on_way: &mut TxQueue,
    frame: Arrival<'_>,
    layout: Layout,
) -> bool {
    let plan = lane.links[frame.direction().index()].plan();
    let looked_into =
        plan.key == DrawKey::Content || plan.mtu.is_some() || lane.recorder.keeps_bytes();
    let mut admission =
        Admission { frame, layout, run: 0..0, way: None, looked_into, waits: false };
    for number in 0..layout.segments() {
        admission.decide(lane, pool, on_way, number);
    }
    admission.flush(pool, on_way);
    admission.waits
}

impl Admission<'_> {
    fn decide(&mut self, lane: &mut LaneState, pool: &mut Pool, on_way: &mut TxQueue, number: u16) {
        let Some(slot) = pool.take() else { return };
        let length = self.layout.wire_length(number);
        if self.looked_into {
            self.cut(pool, slot, number, true);
        }
        // Without payload inspection the front of the super-frame suffices: its headers are those
        // of all segments, except lengths, numbers and checksums.
        let bytes = if self.looked_into {
            &pool.memory(slot)[OFFLOAD_HEADER..OFFLOAD_HEADER + length]
        } else {
            &self.frame.bytes[..length]
        };
        let arrival = Arrival { bytes, ..self.frame };
        let (fate, meta) = lane.decide(arrival, slot);
        if let Verdict::Dropped(reason) = fate.verdict {
            if reason == DropReason::TooBig {
                // Copied out of the slot, which the answer may reuse.
                let mut copy = [0; FRAME_MAX];
                copy[..length].copy_from_slice(bytes);
                let arrival = Arrival { bytes: &copy[..length], ..self.frame };
                answer(lane, pool, on_way, arrival, meta);
            }
            pool.put_back(slot);
            self.flush(pool, on_way);
            return;
        }
        let whole = fate.mutation == Mutation::default();
        if let (Verdict::Deliver { at, copies: 1 }, true) = (fate.verdict, whole) {
            pool.put_back(slot);
            self.join(pool, on_way, number, at, meta);
            return;
        }
        self.flush(pool, on_way);
        if !self.looked_into {
            self.cut(pool, slot, number, !whole);
        }
        pool.set_meta(slot, meta);
        self.waits |= forward(pool, on_way, slot, &fate);
    }

    /// Writes a segment into a slot, with complete checksums if it is changed or inspected.
    fn cut(&self, pool: &mut Pool, slot: u32, number: u16, complete: bool) {
        let checksums = if complete { Checksums::Complete } else { Checksums::AsTheyCame };
        let memory = pool.memory_mut(slot);
        // It cannot fail: no segment is longer than a slot.
        let _ = self.layout.write(self.frame.bytes, number..number + 1, checksums, memory);
    }

    /// Adds a segment to the train if it leaves together with it.
    fn join(
        &mut self,
        pool: &mut Pool,
        on_way: &mut TxQueue,
        number: u16,
        at: Instant,
        meta: SlotMeta,
    ) {
        if self.way.is_none_or(|(due, _)| due != at) {
            self.flush(pool, on_way);
            self.way = Some((at, meta));
            self.run = number..number;
        }
        self.run.end = number + 1;
    }

    /// Schedules the train, as one super-frame if it has several segments.
    fn flush(&mut self, pool: &mut Pool, on_way: &mut TxQueue) {
        let Some((due, first)) = self.way.take() else { return };
        if self.run.len() > 1 {
            let run = pool.runs.keep(&self.layout, self.frame.bytes, &self.run, first);
            if let Some(run) = run {
                on_way.push(due, Pool::of_run(run), 1);
                return;
            }
        }
        // A single segment, or no slot for a train: each segment leaves as a frame.
        for (n, number) in (0..).zip(self.run.clone()) {
            let Some(slot) = pool.take() else { return };
            self.cut(pool, slot, number, self.looked_into);
            let frame = FrameMeta {
                index: first.frame.index + u64::from(n),
                captured: first.frame.captured.map(|place| place + n),
                length: segment_length(&self.layout, number),
                ..first.frame
            };
            pool.set_meta(slot, SlotMeta { frame, ..first });
            on_way.push(due, slot, 1);
        }
    }
}
