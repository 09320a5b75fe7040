//! Memory for frames on their way: many slots for ordinary frames, few for super-frames.
//!
//! It exists so that no frame needs an allocation. It must never hand out a slot twice.

use super::record::FRAME_MAX;
use super::segments::{OFFLOAD_HEADER, SUPER_FRAME_MAX};

/// Bytes of a slot for an ordinary frame and the header in front of it.
const SMALL: usize = OFFLOAD_HEADER + FRAME_MAX;
/// The same for a super-frame.
const LARGE: usize = OFFLOAD_HEADER + SUPER_FRAME_MAX;

/// Slots of one size.
struct Slots {
    memory: Box<[u8]>,
    size: usize,
    /// The slot freed last is used next: its memory is still in the cache.
    free: Vec<u32>,
}

impl Slots {
    /// Memory is touched, and so really taken, when a slot is first used.
    fn new(count: u32, size: usize) -> Self {
        let bytes = usize::try_from(count).unwrap_or(0) * size;
        Self { memory: vec![0; bytes].into_boxed_slice(), size, free: (0..count).rev().collect() }
    }

    fn start(&self, slot: u32) -> usize {
        usize::try_from(slot).unwrap_or(usize::MAX).saturating_mul(self.size)
    }
}

/// The slots of all lanes.
pub(crate) struct Pool {
    small: Slots,
    large: Slots,
    /// Small slots in all; the numbers of large ones begin here.
    small_count: u32,
}

impl Pool {
    /// Room for so many ordinary frames and so many super-frames.
    pub(crate) fn new(small: usize, large: usize) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX / 2);
        let small_count = number(small);
        let (small, large) = (Slots::new(small_count, SMALL), Slots::new(number(large), LARGE));
        Self { small, large, small_count }
    }

    /// Whether this many ordinary frames and this many super-frames still find room.
    pub(crate) const fn has_room(&self, small: usize, large: usize) -> bool {
        self.small.free.len() >= small && self.large.free.len() >= large
    }

    /// A free slot for a message of at most this length, and its memory.
    pub(crate) fn take(&mut self, length: usize) -> Option<(u32, &mut [u8])> {
        let (slots, first) = match length {
            ..=SMALL => (&mut self.small, 0),
            _ => (&mut self.large, self.small_count),
        };
        let slot = slots.free.pop()?;
        let start = slots.start(slot);
        let memory = slots.memory.get_mut(start..start + slots.size)?;
        Some((first + slot, memory))
    }

    /// Puts a message into a free slot.
    pub(crate) fn put(&mut self, message: &[u8]) -> Option<u32> {
        let (slot, memory) = self.take(message.len())?;
        memory.get_mut(..message.len())?.copy_from_slice(message);
        Some(slot)
    }

    /// The message in a slot.
    pub(crate) fn get(&self, slot: u32, length: u32) -> &[u8] {
        let (slots, slot) = match slot.checked_sub(self.small_count) {
            None => (&self.small, slot),
            Some(slot) => (&self.large, slot),
        };
        let start = slots.start(slot);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(slots.size);
        slots.memory.get(start..start + length).unwrap_or_default()
    }

    /// Gives a slot back.
    pub(crate) fn free(&mut self, slot: u32) {
        match slot.checked_sub(self.small_count) {
            None => self.small.free.push(slot),
            Some(slot) => self.large.free.push(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_slots_until_it_has_none() {
        let mut pool = Pool::new(2, 1);
        let (one, two) = (pool.put(b"one").unwrap(), pool.put(b"two!").unwrap());
        assert_eq!(pool.put(b"three"), None);
        assert_eq!((pool.get(one, 3), pool.get(two, 4)), (&b"one"[..], &b"two!"[..]));
        pool.free(one);
        assert_eq!(pool.put(b"three"), Some(one), "the slot freed last is used first");
    }

    #[test]
    fn long_messages_have_slots_of_their_own() {
        let mut pool = Pool::new(1, 1);
        let (short, long) = (vec![1; SMALL], vec![2; LARGE]);
        let slots = (pool.put(&short).unwrap(), pool.put(&long).unwrap());
        assert!(!pool.has_room(1, 0) && !pool.has_room(0, 1) && pool.has_room(0, 0));
        assert_eq!(pool.get(slots.0, u32::try_from(SMALL).unwrap()), short);
        assert_eq!(pool.get(slots.1, u32::try_from(LARGE).unwrap()), long);
        assert_eq!(pool.put(&vec![0; SMALL + 1]), None);
        pool.free(slots.1);
        assert_eq!(pool.put(&vec![0; SMALL + 1]), Some(slots.1));
        assert_eq!(pool.take(LARGE + 1).map(|(slot, _)| slot), None);
    }
}
