//! The direction of a packet between a host and itself, which no address tells.

use crate::path::Direction;

/// Bytes of an Ethernet header, and of the shortest IPv4 header (RFC 791 §3.1).
const ETHERNET: usize = 14;
const IPV4: usize = 20;
// IANA protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// ICMP echo request (RFC 792).
const ECHO_REQUEST: u8 = 8;

/// The direction in which a looped IPv4 frame crosses the path: towards the lower port, where
/// servers are, is from A to B; so is an echo request. One flow has one direction each way.
///
/// Other protocols and later fragments, which have no ports, count as from A to B.
pub(super) fn direction(frame: &[u8]) -> Direction {
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    let Some([version, _, _, _, _, _, f0, f1, _, protocol, ..]) = packet.first_chunk::<IPV4>()
    else {
        return Direction::AToB;
    };
    let first = u16::from_be_bytes([*f0, *f1]) & 0x1fff == 0;
    let payload = packet.get(4 * usize::from(version & 0xf)..).unwrap_or_default();
    let back = match (*protocol, payload) {
        (TCP | UDP, [s0, s1, d0, d1, ..]) if first => [s0, s1] < [d0, d1],
        (ICMP, [kind, ..]) if first => *kind != ECHO_REQUEST,
        _ => false,
    };
    if back { Direction::BToA } else { Direction::AToB }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + IPV4];
        frame[ETHERNET] = 0x45;
        frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&fragment.to_be_bytes());
        frame[ETHERNET + 9] = protocol;
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_flow_has_one_direction_each_way() {
        let ports = |source: u16, destination: u16| {
            [source.to_be_bytes(), destination.to_be_bytes()].concat()
        };
        for protocol in [TCP, UDP] {
            let there = frame(protocol, 0x4000, &ports(40_000, 8_080));
            let back = frame(protocol, 0x4000, &ports(8_080, 40_000));
            assert_eq!([direction(&there), direction(&back)], Direction::BOTH);
        }
        assert_eq!(direction(&frame(ICMP, 0, &[ECHO_REQUEST, 0])), Direction::AToB);
        assert_eq!(direction(&frame(ICMP, 0, &[0, 0])), Direction::BToA);
    }

    #[test]
    fn what_has_no_ports_goes_from_a_to_b() {
        for frame in [frame(UDP, 185, &[0; 8]), frame(132, 0, &[0, 1, 0, 2]), frame(TCP, 0, &[])] {
            assert_eq!(direction(&frame), Direction::AToB);
        }
        assert_eq!(direction(&[]), Direction::AToB);
    }
}
