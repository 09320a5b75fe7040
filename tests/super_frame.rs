//! Super-frames as the kernel delivers them, and their segments, built field by field.
//! An independent check of the cutter, so it never calls it.

use proptest::prelude::*;
use wirelab::emulator::gso::{OFFLOAD_HEADER, SEGMENTS_MAX};

/// Offsets of the flags and the kind in an offload header.
const OFFLOAD_FLAGS: usize = 0;
pub(crate) const OFFLOAD_KIND: usize = 1;

/// The recipe of a super-frame.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// Bytes of IPv4 and TCP options, multiples of 4.
    pub(crate) options: [usize; 2],
    pub(crate) sequence: u32,
    pub(crate) id: u16,
    /// FIN, PSH and CWR among them.
    pub(crate) flags: u8,
    pub(crate) each: usize,
    pub(crate) payload: Vec<u8>,
}

/// A frame and its offload header.
pub(crate) type Offloaded = ([u8; OFFLOAD_HEADER], Vec<u8>);

impl Recipe {
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.payload.len().div_ceil(self.each)).unwrap()
    }

    fn network(&self) -> usize {
        if self.v6 { 40 } else { 20 + self.options[0] }
    }

    fn transport(&self) -> usize {
        if self.udp { 8 } else { 20 + self.options[1] }
    }

    /// Offset of the payload.
    pub(crate) fn header(&self) -> usize {
        14 + self.network() + self.transport()
    }

    /// The frame as the kernel delivers it: with the pseudo-header sum instead of the checksum.
    pub(crate) fn super_frame(&self) -> Offloaded {
        let (network, transport) = (self.network(), self.transport());
        let protocol = if self.udp { 17 } else { 6 };
        let number = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 0, 10];
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(number(transport + self.payload.len()));
            frame.extend([protocol, 64]);
            frame.extend((0..32).map(|n: u8| n.wrapping_mul(57)));
        } else {
            let words = u8::try_from(network / 4).unwrap();
            frame.extend([8, 0, 0x40 | words, 0]);
            frame.extend(number(network + transport + self.payload.len()));
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            // "No operation" (RFC 791 §3.1).
            frame.resize(14 + network, 1);
            let sum = checksum(&frame[14..]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame.extend([0x30, 0x39, 0x01, 0xbb]);
        if self.udp {
            frame.extend(number(8 + self.payload.len()));
            frame.extend([0; 2]);
        } else {
            frame.extend(self.sequence.to_be_bytes());
            frame.extend([1, 2, 3, 4]);
            let words = u8::try_from(transport / 4).unwrap();
            frame.extend([words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            frame.resize(self.header(), 1);
        }
        frame.extend(&self.payload);
        let field = if self.udp { 6 } else { 16 };
        let start = 14 + network;
        let pseudo = !checksum(&pseudo_header(&frame, self.v6, frame.len() - start));
        frame[start + field..][..2].copy_from_slice(&pseudo.to_be_bytes());
        (self.offload(start, field), frame)
    }

    fn offload(&self, start: usize, field: usize) -> [u8; OFFLOAD_HEADER] {
        let mut offload = [0; OFFLOAD_HEADER];
        let number = |n: usize| u16::try_from(n).unwrap().to_ne_bytes();
        offload[OFFLOAD_FLAGS] = 1;
        if self.count() > 1 {
            let ecn = if self.flags & 0x80 != 0 && !self.udp { 0x80 } else { 0 };
            offload[OFFLOAD_KIND] = match (self.udp, self.v6) {
                (true, _) => 5,
                (_, false) => 1 | ecn,
                (_, true) => 4 | ecn,
            };
            offload[2..4].copy_from_slice(&number(self.header()));
            offload[4..6].copy_from_slice(&number(self.each));
        }
        offload[6..8].copy_from_slice(&number(start));
        offload[8..].copy_from_slice(&number(field));
        offload
    }

    /// Segment `n` as on the wire, built field by field.
    pub(crate) fn segment(&self, n: usize) -> Vec<u8> {
        let (_, whole) = self.super_frame();
        let part = n * self.each..self.payload.len().min((n + 1) * self.each);
        let mut frame = whole[..self.header()].to_vec();
        frame.extend(&self.payload[part.clone()]);
        let number = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
        let length = frame.len();
        if self.v6 {
            frame[18..20].copy_from_slice(&number(length - 54));
        } else {
            frame[16..18].copy_from_slice(&number(length - 14));
            let id = self.id.wrapping_add(u16::try_from(n).unwrap());
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&frame[14..14 + self.network()]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let start = 14 + self.network();
        let field = start + if self.udp { 6 } else { 16 };
        if self.udp {
            frame[start + 4..start + 6].copy_from_slice(&number(length - start));
        } else {
            let sequence = self.sequence.wrapping_add(u32::try_from(part.start).unwrap());
            frame[start + 4..start + 8].copy_from_slice(&sequence.to_be_bytes());
            let last = n + 1 == usize::from(self.count());
            let keep = if n == 0 { 0xff } else { 0x7f } & if last { 0xff } else { 0xf6 };
            frame[start + 13] &= keep;
        }
        frame[field..field + 2].fill(0);
        let mut summed = pseudo_header(&frame, self.v6, length - start);
        summed.extend(&frame[start..]);
        let sum = match checksum(&summed) {
            0 if self.udp => 0xffff,
            sum => sum,
        };
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

fn pseudo_header(frame: &[u8], v6: bool, length: usize) -> Vec<u8> {
    let (addresses, protocol) =
        if v6 { (&frame[22..54], frame[20]) } else { (&frame[26..34], frame[23]) };
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [addresses, &length, &[0, 0, 0, protocol]].concat()
}

/// The Internet checksum, with the carry folded after every word (unlike RFC 1071 §4.1).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (next, carry) = sum.overflowing_add(word);
        sum = next + u16::from(carry);
    }
    !sum
}

pub(crate) fn recipes() -> impl Strategy<Value = Recipe> {
    let shape = (any::<bool>(), any::<bool>(), 0..=3_usize, 0..=10_usize);
    let numbers = (any::<u32>(), any::<u16>(), any::<u8>());
    // With the longest headers here, a segment is 1,500 bytes.
    let sizes = (1..=1_400_usize, 1..=SEGMENTS_MAX).prop_flat_map(|(each, count)| {
        let most = (each * usize::from(count)).min(60_000);
        (Just(each), proptest::collection::vec(any::<u8>(), most - (each.min(most) - 1)..=most))
    });
    (shape, numbers, sizes).prop_map(
        |((v6, udp, ip_options, tcp_options), (sequence, id, flags), (each, payload))| Recipe {
            v6,
            udp,
            options: [ip_options * 4, tcp_options * 4],
            sequence,
            id,
            // SYN and RST never occur in a super-frame.
            flags: flags & !0x06,
            each,
            payload,
        },
    )
}
