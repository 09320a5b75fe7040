//! Draw keys from payloads: request n, attempt k meets the same fate on every transport.
//!
//! Memory is bounded, and the order of eviction depends on the frames alone.

use super::frame::Bytes;
use super::packet::{ETHERNET, layout};
use crate::measure::draw::keyed;

/// Payloads per set; a full set evicts the least recently seen.
const WAYS: usize = 4;
/// Sets. With [`WAYS`] this remembers 65,536 payloads (1 MiB), far more than can be in flight and
/// still be retransmitted; an evicted payload counts from zero again.
const SETS: usize = 1 << 14;
/// The key of frames without payload, such as a bare acknowledgement: any constant.
const EMPTY: u64 = 0;

/// Occurrences of each payload.
#[derive(Clone, Debug)]
pub(super) struct ContentKeys {
    /// Latest first: hash and count.
    sets: Vec<[(u64, u32); WAYS]>,
    empty: u64,
}

impl ContentKeys {
    pub(super) fn new() -> Self {
        Self { sets: vec![[(0, 0); WAYS]; SETS], empty: 0 }
    }

    /// The key of a frame; counts its payload.
    pub(super) fn key(&mut self, bytes: Bytes<'_>) -> u64 {
        let payload = match bytes {
            Bytes::Payload(payload) => payload,
            Bytes::Ethernet(frame) => layout(frame)
                .map_or_else(|| frame.get(ETHERNET..), |layout| frame.get(layout.payload))
                .unwrap_or_default(),
        };
        if payload.is_empty() {
            self.empty += 1;
            return keyed(EMPTY, self.empty - 1);
        }
        let hash = hash(payload);
        keyed(hash, u64::from(self.occurrence(hash)))
    }

    /// Previous occurrences of this hash.
    fn occurrence(&mut self, hash: u64) -> u32 {
        let index = usize::try_from(hash % SETS as u64).expect("below the number of sets");
        let set = &mut self.sets[index];
        let free_or_known = |&(known, count): &(u64, u32)| count == 0 || known == hash;
        let way = set.iter().position(free_or_known).unwrap_or(WAYS - 1);
        let (known, count) = set[way];
        let before = if known == hash { count } else { 0 };
        set[..=way].rotate_right(1);
        set[0] = (hash, before.saturating_add(1));
        before
    }
}

/// A hash that is the same on every machine: each eight bytes, little-endian, are mixed in by a
/// folded multiplication; the length distinguishes a short end from zeros.
///
/// Four lanes alternate, so that multiplications of different lanes overlap.
fn hash(bytes: &[u8]) -> u64 {
    /// Odd constants of wyhash (public domain).
    const A: u64 = 0xa076_1d64_78bd_642f;
    const B: u64 = 0xe703_7ed1_a0b4_28db;
    let mix = |state: u64, word: u64| fold(u128::from(state ^ word ^ B) * u128::from(A));
    let word =
        |part: &[u8]| part.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    let mut lanes = [A, B, A.rotate_left(32), B.rotate_left(32)];
    let blocks = bytes.chunks_exact(32);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, part) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = mix(*lane, part.try_into().map_or(0, u64::from_le_bytes));
        }
    }
    let state = lanes.into_iter().fold(keyed(A, bytes.len() as u64), mix);
    rest.chunks(8).map(word).fold(state, mix)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
const fn fold(wide: u128) -> u64 {
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_occurrence_of_a_payload_has_its_own_key() {
        let mut keys = ContentKeys::new();
        let first: Vec<u64> = (0..4).map(|_| keys.key(Bytes::Payload(b"transfer"))).collect();
        let other = keys.key(Bytes::Payload(b"transfes"));
        let mut again = ContentKeys::new();
        assert_eq!(again.key(Bytes::Payload(b"transfes")), other);
        let second: Vec<u64> = (0..4).map(|_| again.key(Bytes::Payload(b"transfer"))).collect();
        assert_eq!(first, second);
        assert_ne!(keys.key(Bytes::Payload(&[])), keys.key(Bytes::Payload(&[])));
        for (i, key) in first.iter().enumerate() {
            assert!(!first[..i].contains(key) && *key != other);
        }
    }

    #[test]
    fn zeros_and_lengths_are_distinguished() {
        let hashes: Vec<u64> = (0..40).map(|length| hash(&vec![0; length])).collect();
        for (i, value) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(value), "{i}");
        }
    }

    #[test]
    fn a_full_set_evicts_the_least_recently_seen() {
        let mut keys = ContentKeys::new();
        let in_one_set = |n: u64| 5 + n * SETS as u64;
        for n in 0..4 {
            assert_eq!(keys.occurrence(in_one_set(n)), 0);
        }
        assert_eq!(keys.occurrence(in_one_set(0)), 1);
        assert_eq!(keys.occurrence(in_one_set(4)), 0);
        assert_eq!(keys.occurrence(in_one_set(0)), 2);
        assert_eq!(keys.occurrence(in_one_set(1)), 0, "forgotten");
    }
}
