//! The link model's byte effects: flipped bits, marks, content keys, ICMP "too big".
//! Checksums are verified by [`frames`](crate::frames), independently of the model.

#![expect(clippy::cast_possible_truncation, reason = "a frame is shorter than 64 KiB")]

use super::frames::{ETHERNET, KINDS, Kind, MAC_A, MAC_B, checksums_right, frame, sum};
use bytes::BytesMut;
use proptest::prelude::*;
use wirelab::bank::codec::{Message, encode_request};
use wirelab::bank::frame::{FrameError, Header, Kind as FrameKind};
use wirelab::bank::message::{AccountId, Amount, Request};
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bytes, CorruptDraw, Corruption, Direction, DrawKey, DropReason, Fate, Frame, Link, LinkPlan,
    LossModel, MtuLimit, Mutation, Verdict, apply, apply_to_payload, icmp_too_big,
};

fn flips(key: u64, bits: u8, repair: bool) -> Mutation {
    Mutation { corrupt: Some(CorruptDraw { key, bits, repair }), mark: false }
}

fn kinds() -> impl Strategy<Value = Kind> {
    (0..4_usize).prop_map(|which| KINDS[which])
}

/// Number of differing bits.
fn distance(a: &[u8], b: &[u8]) -> u32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

proptest! {
    #[test]
    fn repaired_corruption_keeps_checksums_correct(
        kind in kinds(),
        payload in prop::collection::vec(any::<u8>(), 1..300),
        key in any::<u64>(), bits in 1..=255_u8,
    ) {
        let before = frame(kind, 0, &payload);
        prop_assert!(checksums_right(kind, &before));
        let mut after = before.clone();
        prop_assert!(apply(&flips(key, bits, true), &mut after));
        let at = kind.payload_at();
        let wanted = u32::from(bits).min(payload.len() as u32 * 8);
        prop_assert_eq!(distance(&before[at..], &after[at..]), wanted);
        prop_assert!(checksums_right(kind, &after));
        // Only the checksum has changed besides.
        prop_assert!(distance(&before[..at], &after[..at]) <= 16);
        prop_assert_eq!(&before[..kind.transport_at()], &after[..kind.transport_at()]);
    }

    #[test]
    fn unrepaired_corruption_flips_the_configured_bits(
        kind in kinds(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        key in any::<u64>(), bits in 1..=255_u8,
    ) {
        let before = frame(kind, 0, &payload);
        let mut after = before.clone();
        prop_assert!(apply(&flips(key, bits, false), &mut after));
        let all = (before.len() - ETHERNET) as u32 * 8;
        prop_assert_eq!(distance(&before, &after), u32::from(bits).min(all));
        prop_assert_eq!(&before[..ETHERNET], &after[..ETHERNET]);
    }

    #[test]
    fn one_bit_never_passes_an_ipv4_receiver(
        tcp in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        key in any::<u64>(),
    ) {
        let kind = Kind { six: false, tcp };
        let mut bytes = frame(kind, 0, &payload);
        apply(&flips(key, 1, false), &mut bytes);
        // If the length or the header's length changed, the sum covers other bytes: the IP
        // header's own checksum shows that.
        prop_assert!(!checksums_right(kind, &bytes));
    }

    #[test]
    fn a_mark_changes_two_bits_at_most_and_keeps_checksums(
        kind in kinds(), ecn in 0..4_u8, payload in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let before = frame(kind, ecn, &payload);
        let mut after = before.clone();
        let changed = apply(&Mutation { corrupt: None, mark: true }, &mut after);
        prop_assert_eq!(changed, ecn == 1 || ecn == 2);
        let expected = if changed { frame(kind, 3, &payload) } else { before };
        prop_assert_eq!(after, expected);
    }

    /// Arbitrary frames do not panic the model.
    #[test]
    fn arbitrary_bytes_do_not_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![Just([0x08, 0x00]), Just([0x86, 0xdd]), any::<[u8; 2]>()],
        version in prop_oneof![Just(0x45), Just(0x46), Just(0x60), any::<u8>()],
        key in any::<u64>(),
    ) {
        if bytes.len() > ETHERNET {
            bytes[12..14].copy_from_slice(&kind);
            bytes[ETHERNET] = version;
        }
        let plan = LinkPlan {
            key: DrawKey::Content,
            mark: Ppm::ONE,
            ..LinkPlan::default()
        };
        let mut link = Link::new(plan, 1, Direction::AToB);
        let seen = Frame { bytes: Bytes::Ethernet(&bytes), length: bytes.len() as u32 };
        link.handle_frame(Instant::ZERO, seen, 0);
        let _ = icmp_too_big(&bytes, 1280);
        for repair in [false, true] {
            let mut edited = bytes.clone();
            let corrupt = flips(key, 9, repair).corrupt;
            let changed = apply(&Mutation { corrupt, mark: true }, &mut edited);
            prop_assert_eq!(edited.len(), bytes.len());
            prop_assert!(changed || edited == bytes);
        }
    }
}

#[test]
fn a_datagram_without_a_checksum_still_has_none() {
    let kind = Kind { six: false, tcp: false };
    let mut bytes = frame(kind, 0, b"balance");
    let field = kind.transport_at() + 6;
    bytes[field..field + 2].fill(0);
    for key in 0..100 {
        let mut edited = bytes.clone();
        assert!(apply(&flips(key, 3, true), &mut edited));
        assert_eq!(edited[field..field + 2], [0, 0], "key {key}");
    }
}

#[test]
fn nothing_is_repaired_where_there_is_no_payload() {
    for kind in KINDS {
        let mut bytes = frame(kind, 0, b"");
        assert!(!apply(&flips(1, 1, true), &mut bytes), "{kind:?}");
        assert_eq!(bytes, frame(kind, 0, b""));
    }
}

#[test]
fn payload_only_corruption_changes_only_the_payload() {
    let mut payload = *b"transfer 5.00";
    assert!(!apply_to_payload(&flips(1, 3, false), &mut payload));
    assert!(apply_to_payload(&flips(1, 3, true), &mut payload));
    assert_eq!(distance(b"transfer 5.00", &payload), 3);
}

// ---- content keys -----------------------------------------------------------------------------

fn meet(link: &mut Link, bytes: Bytes<'_>) -> Fate {
    link.handle_frame(Instant::ZERO, Frame { bytes, length: 100 }, 0)
}

#[test]
fn a_payload_meets_one_fate_on_every_transport() {
    let plan = LinkPlan {
        key: DrawKey::Content,
        loss: LossModel::Iid(Ppm::new(300_000).unwrap()),
        ..LinkPlan::default()
    };
    for seed in 0..20 {
        let mut links: Vec<Link> =
            (0..5).map(|_| Link::new(plan.clone(), seed, Direction::AToB)).collect();
        let mut lost = 0;
        for round in 0..200_u32 {
            // Every payload comes several times, as attempts of a request do.
            let payload = format!("request {}", round / 3);
            let mut draws = Vec::new();
            for (link, kind) in links.iter_mut().zip(KINDS) {
                // TCP acknowledges in between; that must not affect the count.
                if kind.tcp {
                    meet(link, Bytes::Ethernet(&frame(kind, 0, b"")));
                }
                let fate = meet(link, Bytes::Ethernet(&frame(kind, 0, payload.as_bytes())));
                draws.push(fate.loss_draw_ppm);
            }
            let alone = meet(&mut links[4], Bytes::Payload(payload.as_bytes()));
            assert!(draws.iter().all(|draw| *draw == alone.loss_draw_ppm), "seed {seed}");
            lost += u32::from(matches!(alone.verdict, Verdict::Dropped(_)));
        }
        // 60 expected, deviation 6.5: five of them.
        assert!((28..=92).contains(&lost), "seed {seed}: {lost} lost");
    }
}

#[test]
fn attempts_and_bare_acknowledgements_have_separate_draws() {
    let plan = LinkPlan { key: DrawKey::Content, ..LinkPlan::default() };
    let tcp = Kind { six: false, tcp: true };
    for payload in [&b"deposit"[..], b""] {
        let mut link = Link::new(plan.clone(), 3, Direction::AToB);
        let bytes = frame(tcp, 0, payload);
        let mut draws: Vec<u32> =
            (0..50).map(|_| meet(&mut link, Bytes::Ethernet(&bytes)).loss_draw_ppm).collect();
        draws.sort_unstable();
        draws.dedup();
        // Fifty of a million draws collide with probability 1/800.
        assert_eq!(draws.len(), 50);
    }
}

// ---- exceeding the MTU ------------------------------------------------------------------------

#[test]
fn the_mtu_is_a_limit_on_the_packet() {
    let mtu = Some(MtuLimit { bytes: 1400, black_hole: false });
    let mut link = Link::new(LinkPlan { mtu, ..LinkPlan::default() }, 1, Direction::AToB);
    let mut verdict = |length| {
        link.handle_frame(Instant::ZERO, Frame { bytes: Bytes::Payload(&[]), length }, 0).verdict
    };
    assert_eq!(verdict(1414), Verdict::Deliver { at: Instant::ZERO, copies: 1 });
    assert_eq!(verdict(1415), Verdict::Dropped(DropReason::TooBig));
}

#[test]
fn frames_above_the_mtu_get_an_icmp_error() {
    for kind in KINDS {
        let original = frame(kind, 0, &[0xab; 1400]);
        let answer = icmp_too_big(&original, 1300).unwrap();
        assert_eq!(answer[..12], [MAC_A, MAC_B].concat(), "{kind:?}: back to A");
        assert_eq!(answer[12..14], original[12..14]);
        let packet = &answer[ETHERNET..];
        if kind.six {
            assert_eq!(packet.len(), 1280, "as much as fits");
            assert_eq!(packet[8..24], original[ETHERNET + 24..ETHERNET + 40], "from B");
            assert_eq!(packet[24..40], original[ETHERNET + 8..ETHERNET + 24], "to A");
            assert_eq!(packet[40..42], [2, 0]);
            assert_eq!(packet[44..48], 1300_u32.to_be_bytes());
            assert_eq!(packet[48..], original[ETHERNET..ETHERNET + 1280 - 48]);
            let length = &packet[4..6];
            assert_eq!(sum(&[&packet[8..40], length, &[0, 58], &packet[40..]]), 0xffff);
        } else {
            assert_eq!(packet.len(), 576);
            assert_eq!(packet[2..4], 576_u16.to_be_bytes());
            assert_eq!(sum(&[&packet[..20]]), 0xffff);
            assert_eq!((&packet[12..16], &packet[16..20]), (&original[30..34], &original[26..30]));
            assert_eq!(packet[20..22], [3, 4]);
            assert_eq!(packet[26..28], 1300_u16.to_be_bytes());
            assert_eq!(packet[28..], original[ETHERNET..ETHERNET + 576 - 28]);
            assert_eq!(sum(&[&packet[20..]]), 0xffff);
        }
        // The answer is an ICMP error, and errors are never answered.
        assert_eq!(icmp_too_big(&answer, 600), None, "{kind:?}");
    }
}

#[test]
fn zero_and_multicast_sources_are_not_answered() {
    let udp = Kind { six: false, tcp: false };
    let plain = frame(udp, 0, &[0; 1400]);
    let with = |at: usize, byte: u8| {
        let mut bytes = plain.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(icmp_too_big(&plain, 1300).is_some());
    for (what, bytes) in [
        ("a group of stations", with(0, 1)),
        ("a group of hosts", with(30, 224)),
        ("from no address", with(26, 0)),
        ("a later fragment", with(21, 7)),
        ("no IP packet", with(12, 9)),
        ("a packet cut off", plain[..100].to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(icmp_too_big(&bytes, 1300), None, "{what}");
    }
    // A ping is not an error.
    let mut ping = with(ETHERNET + 9, 1);
    ping[udp.transport_at()] = 8;
    assert!(icmp_too_big(&ping, 1300).is_some());
}

/// A bank frame in a datagram: requests of all kinds, for any accounts and amounts.
fn bank_datagram(seed: u64, number: u64) -> Vec<u8> {
    let draw = |n: u64| keyed(keyed(seed, number), n);
    let [account, to] = [1, 2].map(|n| AccountId(draw(n)));
    let amount = Amount::new(draw(3) % 1_000_000 + 1).unwrap();
    let request = match draw(0) % 6 {
        0 => Request::Balance { account },
        1 => Request::Deposit { account, amount },
        2 => Request::Transfer { from: account, to, amount },
        3 => Request::Statement { account, from_entry: draw(4) },
        4 => Request::Transactions { account, from_entry: draw(4), limit: draw(5) as u16 },
        _ => Request::Address { account },
    };
    let header =
        Header { client: draw(6), seq: number + 1, attempt: 1, ..Header::of(FrameKind::Request) };
    let mut out = BytesMut::new();
    encode_request(&mut out, &header, &request, (draw(7) % 400) as usize);
    out.to_vec()
}

#[test]
fn the_banks_own_checksum_refuses_what_a_repairing_link_corrupts() {
    const FRAMES: u64 = 20_000;
    let mut refused = 0;
    for (seed, bits) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)] {
        let corrupt = Corruption { share: Ppm::new(500_000).unwrap(), bits, repair: true };
        let plan = LinkPlan { corrupt, ..LinkPlan::default() };
        let mut link = Link::new(plan, seed, Direction::AToB);
        for number in 0..FRAMES {
            let what = || format!("seed {seed}, {bits} bits, frame {number}");
            let kind = Kind { six: number % 2 == 1, tcp: false };
            let sent = bank_datagram(seed, number);
            let mut bytes = frame(kind, 0, &sent);
            let seen = Frame { bytes: Bytes::Ethernet(&bytes), length: bytes.len() as u32 };
            let fate = link.handle_frame(Instant::ZERO, seen, 0);
            let changed = apply(&fate.mutation, &mut bytes);
            assert!(checksums_right(kind, &bytes), "{}: the kernel would refuse it", what());
            let came = &bytes[kind.payload_at()..];
            assert_eq!(changed, came != sent, "{}", what());
            match Message::decode(came) {
                Ok(message) => {
                    assert!(!changed, "{}: {message:?}", what());
                    assert_eq!(message, Message::decode(&sent).unwrap(), "{}", what());
                }
                // CRC32C finds any 1 to 5 wrong bits in frames of up to 655 bytes (Koopman,
                // "32-bit cyclic redundancy codes for Internet applications", DSN 2002); lengths
                // are checked before.
                Err(error) => {
                    assert!(matches!(error, FrameError::Garbage(..)), "{}: {error:?}", what());
                    assert!(changed, "{}: {error:?}", what());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 6 * FRAMES * 49 / 100, "{refused} were corrupted and refused");
}
