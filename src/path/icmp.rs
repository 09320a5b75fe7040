//! ICMP answers to packets that are too long, for path-MTU discovery.
//!
//! ICMP errors are not answered, nor packets that are not unicast (RFC 1122 §3.2.2, RFC 4443 §2.4).
//! The source of the answer is the packet's destination: the path has no router with an address,
//! and a host accepts the answer from any routable one. An IPv4 packet without DF is dropped and
//! answered too, where a real router would fragment it. IPv6 requires an MTU of 1,280 bytes (RFC
//! 8200 §5): a host that is given less keeps sending packets of 1,280, so below that limit the path
//! is a black hole for them.

use super::mutation::internet_checksum_of;
use super::packet::{ETHERNET, Layout, Version, be16, layout, number};

/// Bytes of an answer at most, without the Ethernet header: RFC 1812 §4.3.2.3.
const ANSWER4_MAX: usize = 576;
/// The same for IPv6: RFC 4443 §2.4 (c).
const ANSWER6_MAX: usize = 1280;
/// Hop limit of the answer; the usual value of both protocols.
const HOPS: u8 = 64;
/// "Destination unreachable", "fragmentation needed" (RFC 792).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// "Packet too big" (RFC 4443 §3.2).
const PACKET_TOO_BIG: [u8; 2] = [2, 0];

/// The frame to send back to the sender of `original`: ICMP "fragmentation needed" (RFC 792 and
/// 1191) or `ICMPv6` "packet too big" (RFC 4443 §3.2), Ethernet header included.
///
/// `None` for a packet that must not be answered, or is neither IPv4 nor IPv6.
#[must_use]
pub fn icmp_too_big(original: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let layout = layout(original)?;
    let group = original.first()? & 1 == 1;
    if group || layout.later_fragment || is_icmp_error(original, &layout) {
        return None;
    }
    let packet = original.get(ETHERNET..layout.payload.end)?;
    let mut answer = Vec::with_capacity(ETHERNET + ANSWER6_MAX);
    // Back to the sender.
    answer.extend_from_slice(original.get(6..12)?);
    answer.extend_from_slice(original.get(..6)?);
    answer.extend_from_slice(original.get(12..14)?);
    match layout.version {
        Version::Four => answer4(&mut answer, packet, mtu)?,
        Version::Six => answer6(&mut answer, packet, mtu)?,
    }
    Some(answer)
}

fn is_icmp_error(frame: &[u8], layout: &Layout) -> bool {
    let Some(kind) = frame.get(layout.transport_at) else { return false };
    match layout.protocol {
        // Unreachable, quench, redirect, time exceeded, parameter problem (RFC 1122 §3.2.2).
        number::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Errors have the high bit clear (RFC 4443 §2.1); a redirect counts as one (§2.4).
        number::ICMPV6 => *kind < 128 || *kind == 137,
        _ => false,
    }
}

fn answer4(answer: &mut Vec<u8>, packet: &[u8], mtu: u16) -> Option<()> {
    const HEADER: usize = 20;
    let (source, destination) = (packet.get(12..16)?, packet.get(16..20)?);
    // This network, multicast and above: no host (RFC 1122 §3.2.1.3).
    let one_host = |address: &[u8]| address[0] != 0 && address[0] < 224;
    if !one_host(source) || !one_host(destination) {
        return None;
    }
    let quoted = packet.get(..packet.len().min(ANSWER4_MAX - HEADER - 8))?;
    let total = u16::try_from(HEADER + 8 + quoted.len()).ok()?;
    let header_at = answer.len();
    answer.extend_from_slice(&[0x45, 0]);
    answer.extend_from_slice(&total.to_be_bytes());
    // No identification, don't fragment, checksum filled in below.
    answer.extend_from_slice(&[0, 0, 0x40, 0, HOPS, number::ICMP, 0, 0]);
    answer.extend_from_slice(destination);
    answer.extend_from_slice(source);
    put_checksum(answer, header_at..header_at + HEADER, header_at + 10, 0);
    let icmp_at = answer.len();
    answer.extend_from_slice(&FRAGMENTATION_NEEDED);
    // //= RFC 1191 §4: the MTU is in the low half of the unused word.
    answer.extend_from_slice(&[0, 0, 0, 0]);
    answer.extend_from_slice(&mtu.to_be_bytes());
    answer.extend_from_slice(quoted);
    let end = answer.len();
    put_checksum(answer, icmp_at..end, icmp_at + 2, 0);
    Some(())
}

fn answer6(answer: &mut Vec<u8>, packet: &[u8], mtu: u16) -> Option<()> {
    const HEADER: usize = 40;
    let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
    // Multicast or unspecified (RFC 4291 §2).
    let one_host = |address: &[u8]| address[0] != 0xff && address.iter().any(|byte| *byte != 0);
    if !one_host(source) || !one_host(destination) {
        return None;
    }
    let quoted = packet.get(..packet.len().min(ANSWER6_MAX - HEADER - 8))?;
    let length = u16::try_from(8 + quoted.len()).ok()?;
    answer.extend_from_slice(&[0x60, 0, 0, 0]);
    answer.extend_from_slice(&length.to_be_bytes());
    answer.extend_from_slice(&[number::ICMPV6, HOPS]);
    answer.extend_from_slice(destination);
    answer.extend_from_slice(source);
    let icmp_at = answer.len();
    answer.extend_from_slice(&PACKET_TOO_BIG);
    answer.extend_from_slice(&[0, 0]);
    answer.extend_from_slice(&u32::from(mtu).to_be_bytes());
    answer.extend_from_slice(quoted);
    // //= RFC 8200 §8.1: the pseudo-header is both addresses, length and protocol.
    let addresses = sum(&answer[icmp_at - 32..icmp_at]);
    let pseudo = addresses + u32::from(length) + u32::from(number::ICMPV6);
    let end = answer.len();
    put_checksum(answer, icmp_at..end, icmp_at + 2, pseudo);
    Some(())
}

/// Writes the checksum of a range, plus the sum `beside`, to its field, which holds zero.
fn put_checksum(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize, beside: u32) {
    let checksum = internet_checksum_of(sum(&bytes[range]) + beside);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The plain sum of 16-bit words; at most 1,280 bytes, so that it fits 32 bits.
fn sum(bytes: &[u8]) -> u32 {
    let last =
        if bytes.len() % 2 == 1 { bytes.last().map_or(0, |b| u32::from(*b) << 8) } else { 0 };
    let words = (0..bytes.len() / 2).filter_map(|word| be16(bytes, word * 2));
    words.map(u32::from).sum::<u32>() + last
}
