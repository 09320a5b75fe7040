//! Builds and checks frames with correct checksums, independently of the library.

#![expect(clippy::cast_possible_truncation, reason = "a frame is shorter than 64 KiB")]

pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
pub(crate) const ETHERNET: usize = 14;

/// IP version and transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) six: bool,
    pub(crate) tcp: bool,
}

pub(crate) const KINDS: [Kind; 4] = [
    Kind { six: false, tcp: false },
    Kind { six: false, tcp: true },
    Kind { six: true, tcp: false },
    Kind { six: true, tcp: true },
];

impl Kind {
    pub(crate) const fn transport_at(self) -> usize {
        ETHERNET + if self.six { 40 } else { 20 }
    }

    pub(crate) const fn payload_at(self) -> usize {
        self.transport_at() + if self.tcp { 32 } else { 8 }
    }

    const fn checksum_at(self) -> usize {
        self.transport_at() + if self.tcp { 16 } else { 6 }
    }

    const fn protocol(self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }
}

/// The folded ones' complement sum of big-endian words; 0xffff if an included checksum is correct.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) * 256 + u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = sum % 0x10000 + sum / 0x10000;
    }
    sum as u16
}

/// A frame from A to B; TCP has twelve bytes of options, as Linux sends them.
pub(crate) fn frame(kind: Kind, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let segment_len = kind.payload_at() - kind.transport_at() + payload.len();
    let mut out = [MAC_B, MAC_A].concat();
    if kind.six {
        out.extend([0x86, 0xdd, 0x60, ecn << 4, 0, 0]);
        out.extend((segment_len as u16).to_be_bytes());
        out.extend([kind.protocol(), 64]);
        let address = |host: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
        out.extend(address(1));
        out.extend(address(2));
    } else {
        out.extend([0x08, 0x00, 0x45, ecn]);
        out.extend((segment_len as u16 + 20).to_be_bytes());
        out.extend([0x12, 0x34, 0x40, 0, 64, kind.protocol(), 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = !sum(&[&out[ETHERNET..ETHERNET + 20]]);
        out[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    out.extend([0x9c, 0x40, 0x1f, 0x90]);
    if kind.tcp {
        out.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 0]);
        out.extend([1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6]);
    } else {
        out.extend((segment_len as u16).to_be_bytes());
        out.extend([0, 0]);
    }
    out.extend(payload);
    let checksum = match !transport_sum(kind, &out) {
        0 if !kind.tcp => 0xffff,
        checksum => checksum,
    };
    out[kind.checksum_at()..kind.checksum_at() + 2].copy_from_slice(&checksum.to_be_bytes());
    out
}

fn transport_sum(kind: Kind, frame: &[u8]) -> u16 {
    let segment = &frame[kind.transport_at()..];
    let addresses = if kind.six { &frame[ETHERNET + 8..ETHERNET + 40] } else { &frame[26..34] };
    let length = (segment.len() as u16).to_be_bytes();
    sum(&[addresses, &length, &[0, kind.protocol()], segment])
}

/// Whether a receiver would accept every checksum of the frame.
pub(crate) fn checksums_right(kind: Kind, frame: &[u8]) -> bool {
    let header = kind.six || sum(&[&frame[ETHERNET..ETHERNET + 20]]) == 0xffff;
    let field = &frame[kind.checksum_at()..kind.checksum_at() + 2];
    let absent = !kind.tcp && field == [0, 0];
    header && if absent { !kind.six } else { transport_sum(kind, frame) == 0xffff }
}
