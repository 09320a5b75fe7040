//! Preallocated memory of frames in flight, and the order of their departure.

use super::frame_meta::{FRAME_MAX, SlotMeta};
use super::gso::OFFLOAD_HEADER;
use super::gso_pool::{SegmentTrain, TrainPool};
use crate::measure::Instant;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Bytes of a slot: a frame, and room for an offload header in front of it.
const SLOT: usize = OFFLOAD_HEADER + FRAME_MAX;
/// The bit that marks the number of a train's slot.
const RUN: u32 = 1 << 31;

/// Memory for frames, in slots of equal size, and for segment trains.
///
/// Fresh slots are used in order, and the last freed first: unused memory is never touched, and
/// used memory is still in the cache.
pub(super) struct Pool {
    memory: Box<[u8]>,
    meta: Vec<SlotMeta>,
    free: Vec<u32>,
    slots: usize,
    pub(super) runs: TrainPool,
}

impl Pool {
    /// Memory of one slot: the frame, its metadata, its entry in the free list.
    pub(super) const SLOT_BYTES: usize = SLOT + size_of::<SlotMeta>() + size_of::<u32>();

    pub(super) fn new(slots: usize, runs: usize) -> Self {
        Self {
            memory: vec![0; slots * SLOT].into_boxed_slice(),
            meta: Vec::with_capacity(slots),
            free: Vec::with_capacity(slots),
            slots,
            runs: TrainPool::new(runs),
        }
    }

    /// The number of a train in the departure order.
    pub(super) const fn of_run(slot: u32) -> u32 {
        slot | RUN
    }

    /// The train of a number, if it is one's.
    pub(super) fn run(&self, slot: u32) -> Option<&SegmentTrain> {
        (slot & RUN != 0).then(|| self.runs.get(slot & !RUN))
    }

    /// Number of free slots.
    pub(super) fn room(&self) -> usize {
        self.free.len() + (self.slots - self.meta.len())
    }

    /// Most slots in use at once.
    pub(super) fn peak(&self) -> usize {
        self.meta.len()
    }

    /// Allocates a slot.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let slot = u32::try_from(self.meta.len()).ok()?;
        (self.meta.len() < self.slots).then(|| {
            self.meta.push(SlotMeta::NOTHING);
            slot
        })
    }

    /// Frees a slot.
    pub(super) fn put_back(&mut self, slot: u32) {
        if slot & RUN == 0 {
            self.free.push(slot);
        } else {
            self.runs.put_back(slot & !RUN);
        }
    }

    /// Fills an allocated slot with a complete frame.
    pub(super) fn fill(&mut self, slot: u32, meta: SlotMeta, bytes: &[u8]) {
        let (header, frame) = self.memory_mut(slot).split_at_mut(OFFLOAD_HEADER);
        header.fill(0);
        frame[..bytes.len()].copy_from_slice(bytes);
        self.set_meta(slot, meta);
    }

    /// Sets the metadata of a filled slot.
    pub(super) fn set_meta(&mut self, slot: u32, meta: SlotMeta) {
        self.meta[place(slot)] = meta;
    }

    /// All memory of an allocated slot, the header first.
    pub(super) fn memory(&self, slot: u32) -> &[u8] {
        &self.memory[start(slot)..start(slot) + SLOT]
    }

    /// The same, mutable.
    pub(super) fn memory_mut(&mut self, slot: u32) -> &mut [u8] {
        &mut self.memory[start(slot)..start(slot) + SLOT]
    }

    /// The bytes for a port that expects this many bytes of header in front of a frame.
    pub(super) fn message(&self, slot: u32, header: usize) -> &[u8] {
        if slot & RUN != 0 {
            return self.runs.message(slot & !RUN);
        }
        let end = OFFLOAD_HEADER + usize::from(self.meta(slot).frame.length);
        &self.memory(slot)[OFFLOAD_HEADER - header.min(OFFLOAD_HEADER)..end]
    }

    /// Duplicates a frame that waits.
    pub(super) fn add_duplicate(&mut self, slot: u32) -> Option<u32> {
        let duplicate = self.take()?;
        self.memory.copy_within(start(slot)..start(slot) + SLOT, start(duplicate));
        self.meta[place(duplicate)] = self.meta[place(slot)];
        let first = &mut self.meta[place(slot)];
        // Its duplicate leaves before it.
        first.frame.copy = 1;
        first.duplicate = Some(duplicate);
        Some(duplicate)
    }

    /// The next copy to leave among those that wait under a token.
    pub(super) fn next_copy(&mut self, token: u32) -> u32 {
        self.meta[place(token)].duplicate.take().unwrap_or(token)
    }

    /// Metadata of a slot; for a train, of its first segment.
    pub(super) fn meta(&self, slot: u32) -> &SlotMeta {
        self.run(slot).map_or_else(|| &self.meta[place(slot)], |run| &run.first)
    }

    pub(super) fn meta_mut(&mut self, slot: u32) -> &mut SlotMeta {
        &mut self.meta[place(slot)]
    }

    /// The frame in a slot.
    pub(super) fn bytes(&self, slot: u32) -> &[u8] {
        self.message(slot, 0)
    }

    /// The same, mutable.
    pub(super) fn bytes_mut(&mut self, slot: u32) -> &mut [u8] {
        let end = OFFLOAD_HEADER + usize::from(self.meta(slot).frame.length);
        &mut self.memory_mut(slot)[OFFLOAD_HEADER..end]
    }
}

const fn place(slot: u32) -> usize {
    slot as usize
}

fn start(slot: u32) -> usize {
    place(slot).saturating_mul(SLOT)
}

/// A frame with a known departure. Ordered by that, then by when it became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pending {
    pub(super) due: Instant,
    order: u64,
    pub(super) slot: u32,
    pub(super) copies: u8,
}

/// All frames with a known departure.
///
/// Constant delays keep frames in order: those are in a FIFO, the others in a heap.
pub(super) struct TxQueue {
    line: VecDeque<Pending>,
    heap: BinaryHeap<Reverse<Pending>>,
    order: u64,
}

impl TxQueue {
    pub(super) fn new(room: usize) -> Self {
        let (line, heap) = (VecDeque::with_capacity(room), BinaryHeap::with_capacity(room));
        Self { line, heap, order: 0 }
    }

    pub(super) fn push(&mut self, due: Instant, slot: u32, copies: u8) {
        let pending = Pending { due, order: self.order, slot, copies };
        self.order += 1;
        if self.line.back().is_none_or(|last| last.due <= due) {
            self.line.push_back(pending);
        } else {
            self.heap.push(Reverse(pending));
        }
    }

    /// The next departure.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let line = self.line.front().map(|next| next.due);
        let heap = self.heap.peek().map(|Reverse(next)| next.due);
        line.into_iter().chain(heap).min()
    }

    /// The next frame, if due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Pending> {
        let line = self.line.front();
        let heap = self.heap.peek().map(|Reverse(next)| next);
        let first = line.into_iter().chain(heap).min()?;
        if first.due > now {
            return None;
        }
        if line == Some(first) {
            self.line.pop_front()
        } else {
            self.heap.pop().map(|Reverse(next)| next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::draw::keyed;

    #[test]
    fn frames_leave_when_due_and_then_in_the_order_of_their_coming() {
        for seed in 0..50 {
            let mut on_way = TxQueue::new(100);
            let mut all: Vec<(u64, u32)> = Vec::new();
            for slot in 0..100 {
                // Few distinct times, so that many are equal.
                let due = keyed(seed, u64::from(slot)) % 20;
                on_way.push(Instant::from_nanos(due), slot, 1);
                all.push((due, slot));
            }
            all.sort_unstable();
            assert_eq!(on_way.next_due(), Some(Instant::from_nanos(all[0].0)), "seed {seed}");
            let early = Instant::from_nanos(9);
            let mut left: Vec<u32> = Vec::new();
            left.extend(std::iter::from_fn(|| on_way.pop_due(early)).map(|next| next.slot));
            assert_eq!(left.len(), all.iter().filter(|(due, _)| *due <= 9).count(), "seed {seed}");
            left.extend(std::iter::from_fn(|| on_way.pop_due(Instant::MAX)).map(|next| next.slot));
            assert!(left.iter().eq(all.iter().map(|(_, slot)| slot)), "seed {seed}: {left:?}");
        }
    }

    fn put(pool: &mut Pool, bytes: &[u8]) -> Option<u32> {
        let slot = pool.take()?;
        let mut meta = SlotMeta::NOTHING;
        meta.frame.length = u16::try_from(bytes.len()).unwrap();
        pool.fill(slot, meta, bytes);
        Some(slot)
    }

    #[test]
    fn a_pool_gives_slots_until_it_has_none() {
        let mut pool = Pool::new(2, 0);
        assert_eq!((pool.room(), pool.peak()), (2, 0));
        let (one, two) = (put(&mut pool, b"one").unwrap(), put(&mut pool, b"two!").unwrap());
        assert_eq!(put(&mut pool, b"three"), None);
        assert_eq!((pool.bytes(one), pool.bytes(two)), (&b"one"[..], &b"two!"[..]));
        pool.put_back(one);
        assert_eq!((pool.room(), pool.peak()), (1, 2));
        assert_eq!(put(&mut pool, b"three"), Some(one), "the slot freed last is used first");
    }

    #[test]
    fn duplicates_leave_one_by_one_and_are_marked_apart() {
        let mut pool = Pool::new(2, 0);
        let token = put(&mut pool, b"same").unwrap();
        let duplicate = pool.add_duplicate(token).unwrap();
        let first = pool.next_copy(token);
        assert_eq!((first, pool.meta(first).frame.copy), (duplicate, 0));
        pool.bytes_mut(first)[0] = b'S';
        let second = pool.next_copy(token);
        assert_eq!((second, pool.meta(second).frame.copy), (token, 1));
        assert_eq!(pool.bytes(second), b"same");
        assert_eq!(pool.bytes(first), b"Same");
    }
}
