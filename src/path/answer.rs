//! What a router answers to a packet that is too long for the next link.
//!
//! It must never answer an ICMP error, nor anything that was not sent to one host by one host.

/// The frame to send back to the sender of `original`: ICMP "fragmentation needed" (RFC 792 and
/// 1191) or ICMPv6 "packet too big" (RFC 4443 §3.2), Ethernet header included.
///
/// `None` for what must not be answered, or is neither IPv4 nor IPv6.
#[must_use]
pub fn icmp_too_big(original: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let _ = (original, mtu);
    None
}
