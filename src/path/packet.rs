//! Offsets of a packet's headers and payload in an Ethernet frame.
//!
//! Parsing never fails: an unsupported packet is bytes behind an Ethernet header.

use std::ops::Range;

/// Bytes of an Ethernet header: two addresses and a type.
pub(super) const ETHERNET: usize = 14;
/// IPv6 extension headers to skip; RFC 8200 §4.1 names seven kinds, each of which occurs once (one
/// of them twice).
const EXTENSIONS_MAX: usize = 8;

/// Protocol numbers (IANA).
pub(super) mod number {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
}

/// The internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// IPv4, RFC 791.
    Four,
    /// IPv6, RFC 8200.
    Six,
}

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// ICMP of either version.
    Icmp,
    /// Any other, a fragment, or a header that is cut off.
    Other,
}

impl Transport {
    /// Offset of the checksum in the transport header.
    pub(super) const fn checksum_offset(self) -> Option<usize> {
        match self {
            Self::Tcp => Some(16),
            Self::Udp => Some(6),
            Self::Icmp | Self::Other => None,
        }
    }
}

/// The parts of a frame that holds an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Version,
    pub(super) transport: Transport,
    /// The number of the protocol behind the IP header and its extensions.
    pub(super) protocol: u8,
    /// Offset of the transport header.
    pub(super) transport_at: usize,
    /// The payload of the transport.
    pub(super) payload: Range<usize>,
    /// Whether it is a fragment other than the first.
    pub(super) later_fragment: bool,
}

/// Big-endian 16 bits at an offset.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// The internet protocol that the frame's type field names.
pub(super) fn version(frame: &[u8]) -> Option<Version> {
    match (be16(frame, 12)?, frame.get(ETHERNET)? >> 4) {
        (0x0800, 4) => Some(Version::Four),
        (0x86dd, 6) => Some(Version::Six),
        _ => None,
    }
}

/// The two ECN bits (RFC 3168 §5): 0 not capable, 1 and 2 capable, 3 congestion experienced.
pub(super) fn ecn(frame: &[u8]) -> u8 {
    let Some(second) = frame.get(ETHERNET + 1) else { return 0 };
    match version(frame) {
        Some(Version::Four) => second & 3,
        Some(Version::Six) => second >> 4 & 3,
        None => 0,
    }
}

/// Parses a frame; `None` unless it holds a whole IP packet.
pub(super) fn layout(frame: &[u8]) -> Option<Layout> {
    match version(frame)? {
        Version::Four => layout4(frame),
        Version::Six => layout6(frame),
    }
}

fn layout4(frame: &[u8]) -> Option<Layout> {
    let header = usize::from(frame.get(ETHERNET)? & 15) * 4;
    let total = usize::from(be16(frame, ETHERNET + 2)?);
    if header < 20 || total < header || ETHERNET + total > frame.len() {
        return None;
    }
    let fragment = be16(frame, ETHERNET + 6)?;
    let inner = Inner {
        version: Version::Four,
        protocol: *frame.get(ETHERNET + 9)?,
        // More fragments, or an offset.
        fragment: fragment & 0x3fff != 0,
        later_fragment: fragment & 0x1fff != 0,
        range: ETHERNET + header..ETHERNET + total,
    };
    Some(inner.layout(frame))
}

fn layout6(frame: &[u8]) -> Option<Layout> {
    const HEADER: usize = 40;
    let end = ETHERNET + HEADER + usize::from(be16(frame, ETHERNET + 4)?);
    if end > frame.len() {
        return None;
    }
    let mut inner = Inner {
        version: Version::Six,
        protocol: *frame.get(ETHERNET + 6)?,
        fragment: false,
        later_fragment: false,
        range: ETHERNET + HEADER..end,
    };
    for _ in 0..EXTENSIONS_MAX {
        let at = inner.range.start;
        let length = match inner.protocol {
            // Hop-by-hop, routing, destination options: RFC 8200 §4.3 to §4.6.
            0 | 43 | 60 => usize::from(*frame.get(at + 1)?) * 8 + 8,
            number::FRAGMENT => {
                let place = be16(frame, at + 2)?;
                // The offset, then two reserved bits and "more fragments".
                inner.fragment = place & 0xfff9 != 0;
                inner.later_fragment = place & 0xfff8 != 0;
                8
            }
            _ => break,
        };
        if at + length > end {
            return None;
        }
        inner.protocol = *frame.get(at)?;
        inner.range.start = at + length;
        if inner.fragment {
            break;
        }
    }
    Some(inner.layout(frame))
}

/// The payload that an IP header describes.
struct Inner {
    version: Version,
    protocol: u8,
    fragment: bool,
    later_fragment: bool,
    range: Range<usize>,
}

impl Inner {
    fn layout(self, frame: &[u8]) -> Layout {
        let Range { start, end } = self.range;
        let (transport, payload) = self.transport(frame).unwrap_or((Transport::Other, start..end));
        Layout {
            version: self.version,
            transport,
            protocol: self.protocol,
            transport_at: start,
            payload,
            later_fragment: self.later_fragment,
        }
    }

    fn transport(&self, frame: &[u8]) -> Option<(Transport, Range<usize>)> {
        let Range { start, end } = self.range.clone();
        if self.fragment {
            return None;
        }
        let (transport, header, end) = match (self.protocol, self.version) {
            (number::TCP, _) => {
                let words = *frame.get(start + 12)? >> 4;
                (Transport::Tcp, usize::from(words.max(5)) * 4, end)
            }
            (number::UDP, _) => {
                let length = usize::from(be16(frame, start + 4)?);
                (Transport::Udp, 8, end.min(start + length))
            }
            (number::ICMP, Version::Four) | (number::ICMPV6, Version::Six) => {
                (Transport::Icmp, 8, end)
            }
            _ => return None,
        };
        (start + header <= end).then_some((transport, start + header..end))
    }
}
