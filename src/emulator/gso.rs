//! Parses and splits super-frames: several segments of a stream (or datagrams of one send) that the
//! kernel passes as one.
//!
//! Moving segments one by one runs at a seventh of the speed. Instead the kernel leaves them
//! joined, with a header in front that gives their size (`struct virtio_net_hdr`,
//! `PACKET_VNET_HDR`); the router decides segment by segment, and splits only between different
//! fates. The result equals the kernel's own (`tcp_gso_segment`, `__udp_gso_segment`), byte for
//! byte. No input panics, and an unknown header is an error.

use std::ops::Range;
use thiserror::Error;

/// Bytes of `struct virtio_net_hdr`, which stands in front of every frame of a segmented port.
pub const OFFLOAD_HEADER: usize = 10;
/// Segments of one super-frame, at most, set on the hosts (`IFLA_GSO_MAX_SEGS`); 64 KiB in segments
/// of 1,448 bytes are 46, and `UDP_MAX_SEGMENTS` was 64 until Linux 6.9.
pub const SEGMENTS_MAX: u16 = 64;
/// Bytes of the longest super-frame, from its Ethernet header on, set on the hosts
/// (`IFLA_GSO_MAX_SIZE`): 64 KiB less 128 bytes, so that a ring slot of 64 KiB holds it behind the
/// ring's own header (76 bytes) and the one above.
pub const SUPER_FRAME_MAX: usize = 65_408;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Ethernet's type fields.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Bytes of an IPv6 header.
const IPV6: usize = 40;
/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of TCP (RFC 9293 §3.1, RFC 3168 §6.1).
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
/// Offsets of sequence number and flags in a TCP header.
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;

// linux/virtio_net.h.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// A frame whose header is unsupported or does not fit its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// Unsupported flags.
    #[error("offload flags: expected at most 0x03, got {0:#04x}")]
    Flags(u8),
    /// An unsupported kind of super-frame.
    #[error("segmentation type: expected none, TCP over IPv4 or IPv6, or UDP, got {0:#04x}")]
    Kind(u8),
    /// A checksum outside the frame.
    #[error("checksum field at byte {at}: expected it inside a frame of {length} bytes")]
    ChecksumField {
        /// Offset of its first byte.
        at: usize,
        /// The length of the frame.
        length: usize,
    },
    /// A header that contradicts the segmentation type, or is truncated.
    #[error("{what} at byte {at}: expected {expected}, got {got}")]
    Header {
        /// The field.
        what: &'static str,
        /// Its offset in the frame.
        at: usize,
        /// The expected value.
        expected: usize,
        /// The value found.
        got: usize,
    },
    /// A frame that ends within its headers.
    #[error("frame of {length} bytes: expected at least {needed}")]
    Short {
        /// Bytes that the headers need.
        needed: usize,
        /// Bytes in the frame.
        length: usize,
    },
    /// No segments, or too many.
    #[error("{0} segments: expected 1 to {SEGMENTS_MAX}")]
    Count(usize),
}

/// Whether checksums are computed, or left to the frame's receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// As received: a checksum that the sender left out stays out. Nothing is summed.
    AsTheyCame,
    /// All complete, as on a wire. For single segments.
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    V4,
    V6,
}

/// A checksum that is still to be computed, from `start` to the frame's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unfinished {
    start: u16,
    /// From `start`.
    field: u16,
}

/// Layout of a super-frame's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Joined {
    network: Network,
    /// [`TCP`] or [`UDP`].
    protocol: u8,
    /// Offset of the transport header.
    transport: usize,
    /// Offset of the payload.
    payload: usize,
    /// Bytes of payload in each segment but the last.
    each: usize,
    /// Whether its first segment has CWR set, which the others do not repeat.
    ecn: bool,
}

/// Structure of a frame, from its offload header and its own headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    length: usize,
    count: u16,
    unfinished: Option<Unfinished>,
    joined: Option<Joined>,
}

impl Layout {
    /// Parses a frame and its offload header.
    ///
    /// # Errors
    /// The unexpected value, and its offset.
    pub fn parse(offload: &[u8; OFFLOAD_HEADER], frame: &[u8]) -> Result<Self, Invalid> {
        let [flags, kind, _, _, each0, each1, start0, start1, field0, field1] = *offload;
        if flags & !(NEEDS_CSUM | DATA_VALID) != 0 {
            return Err(Invalid::Flags(flags));
        }
        let start = u16::from_ne_bytes([start0, start1]);
        let field = u16::from_ne_bytes([field0, field1]);
        let length = frame.len();
        let unfinished = (flags & NEEDS_CSUM != 0).then_some(Unfinished { start, field });
        let at = usize::from(start) + usize::from(field);
        if unfinished.is_some() && at + 2 > length {
            return Err(Invalid::ChecksumField { at, length });
        }
        if kind == GSO_NONE {
            return Ok(Self { length, count: 1, unfinished, joined: None });
        }
        let each = usize::from(u16::from_ne_bytes([each0, each1]));
        let joined = Joined::parse(kind, each, frame)?;
        let sum_at = joined.transport + joined.checksum_field();
        expect("checksum field", at, sum_at, if unfinished.is_some() { at } else { 0 })?;
        let payload = length - joined.payload;
        let count = payload.checked_div(each).map_or(0, |_| payload.div_ceil(each));
        let fits = u16::try_from(count).ok().filter(|count| (1..=SEGMENTS_MAX).contains(count));
        let count = fits.ok_or(Invalid::Count(count))?;
        Ok(Self { length, count, unfinished, joined: Some(joined) })
    }

    /// Number of segments; 1 for an ordinary frame.
    #[must_use]
    pub const fn segments(&self) -> u16 {
        self.count
    }

    /// Length of one segment as a frame of its own, Ethernet header included.
    #[must_use]
    pub fn wire_length(&self, segment: u16) -> usize {
        self.run_length(segment..segment.saturating_add(1))
    }

    /// Length of the frame of a segment train.
    #[must_use]
    pub fn run_length(&self, run: Range<u16>) -> usize {
        self.joined.map_or(self.length, |joined| joined.payload + self.payload(joined, &run).len())
    }

    /// The bytes of the super-frame that are a train's payload.
    fn payload(&self, joined: Joined, run: &Range<u16>) -> Range<usize> {
        let at = |n: u16| (joined.payload + usize::from(n) * joined.each).min(self.length);
        at(run.start)..at(run.end.max(run.start))
    }

    /// Writes a train as a frame of its own, behind an offload header; returns the bytes written.
    ///
    /// A train of several stays a super-frame. `None` if `out` is too short, the train is empty or
    /// out of range, `frame` is not the parsed one, or a train of several needs complete checksums.
    pub fn write(
        &self,
        frame: &[u8],
        run: Range<u16>,
        checksums: Checksums,
        out: &mut [u8],
    ) -> Option<usize> {
        let several = run.len() > 1;
        let complete = checksums == Checksums::Complete;
        if run.is_empty() || run.end > self.count || frame.len() != self.length {
            return None;
        }
        if several && complete {
            return None;
        }
        let length = OFFLOAD_HEADER + self.run_length(run.clone());
        let (offload, cut) = out.get_mut(..length)?.split_first_chunk_mut::<OFFLOAD_HEADER>()?;
        match self.joined {
            Some(joined) => {
                let (header, rest) = cut.split_at_mut_checked(joined.payload)?;
                header.copy_from_slice(frame.get(..joined.payload)?);
                rest.copy_from_slice(frame.get(self.payload(joined, &run))?);
                joined.mend(cut, &run, run.end == self.count)?;
            }
            None => cut.copy_from_slice(frame),
        }
        *offload = [0; OFFLOAD_HEADER];
        if let Some(unfinished) = self.unfinished {
            if complete {
                // A TCP segment may have a sum of 0. UDP takes that for none (RFC 768), and the
                // payload of an ordinary frame is not parsed; all ones are equivalent.
                let tcp = self.joined.is_some_and(|joined| joined.protocol == TCP);
                finish(cut, unfinished, if tcp { 0 } else { 0xffff })?;
            } else {
                self.announce(offload, unfinished, several, run.start);
            }
        }
        Some(length)
    }

    /// Writes the offload header of a train.
    fn announce(
        &self,
        offload: &mut [u8; OFFLOAD_HEADER],
        unfinished: Unfinished,
        several: bool,
        first: u16,
    ) {
        offload[0] = NEEDS_CSUM;
        offload[6..8].copy_from_slice(&unfinished.start.to_ne_bytes());
        offload[8..].copy_from_slice(&unfinished.field.to_ne_bytes());
        if let (true, Some(joined)) = (several, self.joined) {
            offload[1] = joined.kind(first);
            let number = |n: usize| u16::try_from(n).expect("from 16-bit fields").to_ne_bytes();
            // The kernel keeps this much contiguous, and the rest in pages.
            offload[2..4].copy_from_slice(&number(joined.payload));
            offload[4..6].copy_from_slice(&number(joined.each));
        }
    }
}

impl Joined {
    /// Checks that the headers match the segmentation type.
    fn parse(kind: u8, each: usize, frame: &[u8]) -> Result<Self, Invalid> {
        let ecn = kind & GSO_ECN != 0;
        let short = |needed| Invalid::Short { needed, length: frame.len() };
        let byte = |at: usize| frame.get(at).copied().ok_or_else(|| short(at + 1));
        let word = |at: usize| match frame.get(at..at + 2) {
            Some(bytes) => Ok(usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
            None => Err(short(at + 2)),
        };
        let found = [byte(12)?, byte(13)?];
        let (network, protocol) = match (kind & !GSO_ECN, found) {
            (GSO_TCPV4, _) => (Network::V4, TCP),
            (GSO_TCPV6, _) => (Network::V6, TCP),
            (GSO_UDP_L4, ETHERTYPE_IPV6) => (Network::V6, UDP),
            (GSO_UDP_L4, _) => (Network::V4, UDP),
            _ => return Err(Invalid::Kind(kind)),
        };
        if ecn && protocol == UDP {
            return Err(Invalid::Kind(kind));
        }
        let whole = frame.len() - ETHERNET;
        let transport = match network {
            Network::V4 => {
                let ethertype = usize::from(u16::from_be_bytes(ETHERTYPE_IPV4));
                expect("type of the packet", 12, ethertype, word(12)?)?;
                expect("version", 14, 4, usize::from(byte(14)? >> 4))?;
                let header = usize::from(byte(14)? & 15) * 4;
                expect("header length", 14, header.max(20), header)?;
                expect("total length", 16, whole, word(16)?)?;
                // The flag "more fragments" and the offset of a fragment.
                expect("fragment", 20, 0, word(20)? & 0x3fff)?;
                expect("protocol", 23, usize::from(protocol), usize::from(byte(23)?))?;
                ETHERNET + header
            }
            Network::V6 => {
                let ethertype = usize::from(u16::from_be_bytes(ETHERTYPE_IPV6));
                expect("type of the packet", 12, ethertype, word(12)?)?;
                expect("version", 14, 6, usize::from(byte(14)? >> 4))?;
                expect("payload length", 18, whole.saturating_sub(IPV6), word(18)?)?;
                // Extension headers would need a walk; no sender joins such packets here.
                expect("next header", 20, usize::from(protocol), usize::from(byte(20)?))?;
                ETHERNET + IPV6
            }
        };
        let header = match protocol {
            TCP => usize::from(byte(transport + 12)? >> 4) * 4,
            _ => 8,
        };
        if protocol == TCP {
            expect("data offset", transport + 12, header.max(20), header)?;
        }
        let payload = transport + header;
        if payload >= frame.len() {
            return Err(short(payload + 1));
        }
        Ok(Self { network, protocol, transport, payload, each, ecn })
    }

    /// Offset of the checksum in the transport header (RFC 9293 §3.1, RFC 768).
    const fn checksum_field(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// The segmentation type of a super-frame that begins with this segment.
    const fn kind(&self, first: u16) -> u8 {
        let ecn = if self.ecn && first == 0 { GSO_ECN } else { 0 };
        match (self.protocol, self.network) {
            (UDP, _) => GSO_UDP_L4,
            (_, Network::V4) => GSO_TCPV4 | ecn,
            (_, Network::V6) => GSO_TCPV6 | ecn,
        }
    }

    /// Turns a copy of the super-frame's headers into those of a train.
    fn mend(&self, cut: &mut [u8], run: &Range<u16>, last: bool) -> Option<()> {
        let packet = cut.len() - ETHERNET;
        match self.network {
            Network::V4 => {
                put(cut, 16, &u16::try_from(packet).ok()?.to_be_bytes())?;
                // Each segment is a packet with its own identification.
                let id = cut.get(18..20)?.first_chunk().map(|id| u16::from_be_bytes(*id))?;
                put(cut, 18, &id.wrapping_add(run.start).to_be_bytes())?;
                put(cut, 24, &[0; 2])?;
                let sum = !fold(sum(cut.get(ETHERNET..self.transport)?));
                put(cut, 24, &sum.to_be_bytes())?;
            }
            Network::V6 => {
                put(cut, 18, &u16::try_from(packet.checked_sub(IPV6)?).ok()?.to_be_bytes())?;
            }
        }
        let transport = self.transport;
        let length = u16::try_from(cut.len() - transport).ok()?;
        if self.protocol == TCP {
            let at = transport + TCP_SEQUENCE;
            let first = cut.get(at..)?.first_chunk().map(|s| u32::from_be_bytes(*s))?;
            let skipped = u32::try_from(usize::from(run.start) * self.each).ok()?;
            put(cut, at, &first.wrapping_add(skipped).to_be_bytes())?;
            let flags = cut.get_mut(transport + TCP_FLAGS)?;
            // CWR belongs to the first segment; FIN and PSH to the last.
            *flags &= if run.start > 0 { !CWR } else { !0 };
            *flags &= if last { !0 } else { !(FIN | PSH) };
        } else {
            put(cut, transport + 4, &length.to_be_bytes())?;
        }
        // Until the sum is computed, the field holds the sum of the pseudo-header alone (RFC 9293
        // §3.1, RFC 8200 §8.1).
        let addresses = match self.network {
            Network::V4 => cut.get(26..34)?,
            Network::V6 => cut.get(22..54)?,
        };
        let pseudo = fold(sum(addresses) + u64::from(self.protocol) + u64::from(length));
        put(cut, transport + self.checksum_field(), &pseudo.to_be_bytes())
    }
}

fn expect(what: &'static str, at: usize, expected: usize, got: usize) -> Result<(), Invalid> {
    if expected == got { Ok(()) } else { Err(Invalid::Header { what, at, expected, got }) }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + value.len())?.copy_from_slice(value);
    Some(())
}

/// Computes a checksum whose field holds the sum of the pseudo-header.
fn finish(frame: &mut [u8], unfinished: Unfinished, zero: u16) -> Option<()> {
    let start = usize::from(unfinished.start);
    let whole = !fold(sum(frame.get(start..)?));
    let value = if whole == 0 { zero } else { whole };
    put(frame, start + usize::from(unfinished.field), &value.to_be_bytes())
}

/// The sum of 16-bit words of the Internet checksum (RFC 1071 §1); an odd last byte is the high
/// one. It cannot overflow below 2^48 words.
fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>() + last
}

/// Folds the carries into 16 bits (RFC 1071 §2(1)).
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}
