//! Memory for segment trains: segments in flight that leave together as one super-frame.

use super::frame_meta::{FrameMeta, SlotMeta};
use super::gso::{Checksums, Layout, OFFLOAD_HEADER, SUPER_FRAME_MAX};
use std::ops::Range;

/// Bytes of a slot: a super-frame and the header in front of it.
const SLOT: usize = OFFLOAD_HEADER + SUPER_FRAME_MAX;

/// Segments in flight as one super-frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentTrain {
    /// Metadata of the first segment.
    pub(super) first: SlotMeta,
    pub(super) segments: u16,
    /// Length of the last segment as a frame; all others are as long as the first.
    last_length: u16,
    /// Bytes in the slot.
    length: usize,
}

impl SegmentTrain {
    /// The record's metadata of each segment.
    pub(super) fn frames(&self) -> impl Iterator<Item = FrameMeta> {
        let Self { first, segments, last_length, .. } = *self;
        (0..segments).map(move |n| FrameMeta {
            index: first.frame.index + u64::from(n),
            // They were captured consecutively.
            captured: first.frame.captured.map(|place| place + u32::from(n)),
            length: if n + 1 == segments { last_length } else { first.frame.length },
            ..first.frame
        })
    }
}

/// Memory for trains, in slots of equal size, touched when used.
pub(super) struct TrainPool {
    memory: Box<[u8]>,
    runs: Vec<SegmentTrain>,
    free: Vec<u32>,
    slots: usize,
}

impl TrainPool {
    /// The memory of this many slots.
    pub(super) const fn bytes(slots: usize) -> u64 {
        slots as u64 * (SLOT + size_of::<SegmentTrain>() + size_of::<u32>()) as u64
    }

    pub(super) fn new(slots: usize) -> Self {
        Self {
            memory: vec![0; slots * SLOT].into_boxed_slice(),
            runs: Vec::with_capacity(slots),
            free: Vec::with_capacity(slots),
            slots,
        }
    }

    /// Stores a train of a super-frame's segments; returns its slot, if one is free.
    pub(super) fn keep(
        &mut self,
        layout: &Layout,
        frame: &[u8],
        run: &Range<u16>,
        first: SlotMeta,
    ) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.runs.len() < self.slots => u32::try_from(self.runs.len()).ok()?,
            None => return None,
        };
        let memory = &mut self.memory[place(slot) * SLOT..][..SLOT];
        // It cannot fail: the train is part of the frame, and no frame is longer than a slot.
        let length = layout.write(frame, run.clone(), Checksums::AsTheyCame, memory)?;
        let last_length = segment_length(layout, run.end - 1);
        let kept = SegmentTrain { first, segments: run.end - run.start, last_length, length };
        match self.runs.get_mut(place(slot)) {
            Some(run) => *run = kept,
            None => self.runs.push(kept),
        }
        Some(slot)
    }

    pub(super) fn get(&self, slot: u32) -> &SegmentTrain {
        &self.runs[place(slot)]
    }

    /// The super-frame in a slot, behind its header.
    pub(super) fn message(&self, slot: u32) -> &[u8] {
        &self.memory[place(slot) * SLOT..][..self.get(slot).length]
    }

    pub(super) fn put_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

const fn place(slot: u32) -> usize {
    slot as usize
}

pub(super) fn segment_length(layout: &Layout, number: u16) -> u16 {
    u16::try_from(layout.wire_length(number)).expect("oversize segments are dropped on arrival")
}
