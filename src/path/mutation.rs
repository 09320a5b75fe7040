//! Changes to a frame's bytes: flipped bits and the ECN mark.
//!
//! It preserves the frame's length and accepts bytes that are no packet.

use super::fate::{CorruptDraw, Mutation};
use super::packet::{ETHERNET, Transport, Version, be16, ecn, layout, version};
use crate::measure::draw::keyed;
use std::ops::Range;

/// Applies a mutation to a frame, Ethernet header first; returns whether a byte changed.
///
/// Without repair, one flipped bit always fails a checksum of the receiver, with two exceptions: it
/// turns the checksum of a UDP datagram over IPv4 into 0, which means none (one bit of that field,
/// and only where it is the last one set); or no checksum covers it, as in an IPv6 hop limit.
/// Several bits may also cancel each other in a 16-bit sum. With repair, only the application can
/// notice.
pub fn apply(mutation: &Mutation, frame: &mut [u8]) -> bool {
    let corrupted = mutation.corrupt.is_some_and(|corrupt| {
        if corrupt.repair {
            flip_and_repair(corrupt, frame)
        } else {
            flip(corrupt, frame.get_mut(ETHERNET..).unwrap_or_default(), |_, _, _| {})
        }
    });
    let marked = mutation.mark && mark(frame);
    corrupted || marked
}

/// Applies a mutation to a payload without headers; returns whether a byte changed.
///
/// Only repaired corruption is visible there: the receiver's checksum catches the other kind.
pub fn apply_to_payload(mutation: &Mutation, payload: &mut [u8]) -> bool {
    mutation.corrupt.is_some_and(|corrupt| corrupt.repair && flip(corrupt, payload, |_, _, _| {}))
}

/// Flips as many different bits as the draw selects, or all there are, and reports each: the byte's
/// offset, and its value before and after.
fn flip(draw: CorruptDraw, bytes: &mut [u8], mut tell: impl FnMut(usize, u8, u8)) -> bool {
    let all = bytes.len() * 8;
    let wanted = usize::from(draw.bits.max(1)).min(all);
    let mut flipped = [usize::MAX; u8::MAX as usize];
    for n in 0..wanted {
        let wide = u128::from(keyed(draw.key, n as u64)) * all as u128;
        let mut bit = usize::try_from(wide >> 64).expect("below the number of bits");
        // A bit that was already flipped would be flipped back: take the next one. At most 254 are
        // taken.
        while flipped[..n].contains(&bit) {
            bit = (bit + 1) % all;
        }
        flipped[n] = bit;
        let byte = &mut bytes[bit / 8];
        let before = *byte;
        *byte ^= 0x80 >> (bit % 8);
        tell(bit / 8, before, *byte);
    }
    wanted > 0
}

/// Flips bits of a TCP or UDP payload and corrects the checksum.
fn flip_and_repair(draw: CorruptDraw, frame: &mut [u8]) -> bool {
    let Some(layout) = layout(frame) else { return false };
    let Some(offset) = layout.transport.checksum_offset() else { return false };
    let checksum_at = layout.transport_at + offset;
    let Some(checksum) = be16(frame, checksum_at) else { return false };
    let Range { start, end } = layout.payload;
    let mut sum = Sum::of(checksum);
    let Some(payload) = frame.get_mut(start..end) else { return false };
    let changed = flip(draw, payload, |at, before, after| {
        // Even offsets in the segment are the high bytes of its words; headers have even lengths.
        let shift = if at % 2 == 0 { 8 } else { 0 };
        sum.replace(u16::from(before) << shift, u16::from(after) << shift);
    });
    // //= RFC 768: a checksum of 0 means none; a computed 0 is sent as all ones.
    let none = layout.transport == Transport::Udp && checksum == 0;
    if changed && !none {
        let checksum = match (sum.checksum(), layout.transport) {
            (0, Transport::Udp) => u16::MAX,
            (checksum, _) => checksum,
        };
        frame[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    changed
}

/// Sets both ECN bits of an ECN-capable frame (RFC 3168 §5).
fn mark(frame: &mut [u8]) -> bool {
    if !matches!(ecn(frame), 1 | 2) {
        return false;
    }
    let Some(first) = be16(frame, ETHERNET) else { return false };
    match version(frame) {
        Some(Version::Six) => frame[ETHERNET + 1] |= 0x30,
        _ => {
            const CHECKSUM: usize = ETHERNET + 10;
            let Some(checksum) = be16(frame, CHECKSUM) else { return false };
            let mut sum = Sum::of(checksum);
            sum.replace(first, first | 3);
            frame[ETHERNET + 1] |= 3;
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        }
    }
    true
}

/// //= RFC 1624 §3, equation 3: updates a checksum for replaced words.
struct Sum(u32);

impl Sum {
    fn of(checksum: u16) -> Self {
        Self(u32::from(!checksum))
    }

    fn replace(&mut self, before: u16, after: u16) {
        self.0 += u32::from(!before) + u32::from(after);
        self.0 = (self.0 & 0xffff) + (self.0 >> 16);
    }

    fn checksum(self) -> u16 {
        internet_checksum_of(self.0)
    }
}

/// The Internet checksum (RFC 1071) from the plain sum of the words.
pub(super) fn internet_checksum_of(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("two folds leave 16 bits of 32")
}
