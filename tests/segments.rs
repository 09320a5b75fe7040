//! Segmentation of super-frames, against independent code.
//! `tests/offload.rs` compares it with the kernel.

use crate::super_frame::{OFFLOAD_KIND, Offloaded, Recipe, recipes};
use proptest::prelude::*;
use std::ops::Range;
use wirelab::emulator::gso::{Checksums, Invalid, Layout, OFFLOAD_HEADER, SEGMENTS_MAX};

/// A run of a super-frame as its own frame.
fn cut(layout: &Layout, frame: &[u8], run: Range<u16>, checksums: Checksums) -> Offloaded {
    let mut out = vec![0xaa; 70_000];
    let length = layout.write(frame, run.clone(), checksums, &mut out).unwrap();
    assert_eq!(length, OFFLOAD_HEADER + layout.run_length(run));
    assert!(out[length..].iter().all(|byte| *byte == 0xaa), "nothing is written behind the end");
    (*out.first_chunk().unwrap(), out[OFFLOAD_HEADER..length].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_segment_is_what_the_sender_would_have_sent(recipe in recipes()) {
        let (offload, frame) = recipe.super_frame();
        let layout = Layout::parse(&offload, &frame).unwrap();
        prop_assert_eq!(layout.segments(), recipe.count());
        for n in 0..layout.segments() {
            let expected = recipe.segment(n.into());
            let (header, got) = cut(&layout, &frame, n..n + 1, Checksums::Complete);
            prop_assert_eq!(header, [0; OFFLOAD_HEADER]);
            prop_assert_eq!(layout.wire_length(n), expected.len());
            prop_assert_eq!(got, expected, "segment {}", n);
        }
    }

    #[test]
    fn runs_taken_apart_again_are_the_same_segments(
        recipe in recipes(),
        ends in proptest::collection::btree_set(1..SEGMENTS_MAX, 0..8),
    ) {
        let (offload, frame) = recipe.super_frame();
        let layout = Layout::parse(&offload, &frame).unwrap();
        let mut start = 0;
        let ends = ends.into_iter().filter(|end| *end < layout.segments());
        for end in ends.chain([layout.segments()]) {
            let (header, run) = cut(&layout, &frame, start..end, Checksums::AsTheyCame);
            prop_assert_eq!(header[OFFLOAD_KIND] != 0, end - start > 1);
            let again = Layout::parse(&header, &run).unwrap();
            prop_assert_eq!(again.segments(), end - start);
            for n in 0..again.segments() {
                let (_, got) = cut(&again, &run, n..n + 1, Checksums::Complete);
                prop_assert_eq!(got, recipe.segment((start + n).into()), "segment {}", start + n);
            }
            start = end;
        }
    }

    #[test]
    fn a_whole_super_frame_is_written_unchanged(recipe in recipes()) {
        let (offload, frame) = recipe.super_frame();
        let layout = Layout::parse(&offload, &frame).unwrap();
        let (header, whole) = cut(&layout, &frame, 0..layout.segments(), Checksums::AsTheyCame);
        prop_assert_eq!(header, offload);
        prop_assert_eq!(whole, frame);
    }

    #[test]
    fn a_changed_header_is_refused_or_still_fits(
        recipe in recipes(), at in 0..100_usize, with in any::<u8>(),
    ) {
        let (mut offload, mut frame) = recipe.super_frame();
        let place = at % (OFFLOAD_HEADER + recipe.header());
        match place.checked_sub(OFFLOAD_HEADER) {
            None => offload[place] ^= with,
            Some(place) => frame[place] ^= with,
        }
        check_total(&offload, &frame);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        offload in any::<[u8; OFFLOAD_HEADER]>(),
        frame in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        check_total(&offload, &frame);
    }
}

/// Whatever is accepted can be cut at every place, and nothing is written past a short buffer.
fn check_total(offload: &[u8; OFFLOAD_HEADER], frame: &[u8]) {
    let Ok(layout) = Layout::parse(offload, frame) else { return };
    for n in 0..layout.segments() {
        for checksums in [Checksums::AsTheyCame, Checksums::Complete] {
            cut(&layout, frame, n..n + 1, checksums);
        }
        let mut short = vec![0; OFFLOAD_HEADER + layout.wire_length(n) - 1];
        assert_eq!(layout.write(frame, n..n + 1, Checksums::AsTheyCame, &mut short), None);
    }
}

fn recipe() -> Recipe {
    let payload = vec![7; 3_000];
    let (options, sequence, id) = ([0, 12], u32::MAX - 1_000, u16::MAX);
    Recipe { v6: false, udp: false, options, sequence, id, flags: 0x99, each: 1_448, payload }
}

#[test]
fn invalid_headers_are_refused_with_the_position() {
    let (offload, frame) = recipe().super_frame();
    let parse = |change: &dyn Fn(&mut [u8; OFFLOAD_HEADER], &mut Vec<u8>)| {
        let (mut offload, mut frame) = (offload, frame.clone());
        change(&mut offload, &mut frame);
        Layout::parse(&offload, &frame).map(|_| ()).unwrap_err()
    };
    let header = |what, at, expected, got| Invalid::Header { what, at, expected, got };
    assert_eq!(parse(&|o, _| o[0] = 4), Invalid::Flags(4));
    // UFO, which Linux no longer produces.
    assert_eq!(parse(&|o, _| o[1] = 3), Invalid::Kind(3));
    assert_eq!(parse(&|o, _| o[1] = 0x85), Invalid::Kind(0x85));
    assert_eq!(parse(&|o, _| o[0] = 0), header("checksum field", 50, 50, 0));
    assert_eq!(
        parse(&|o, _| o[6..8].fill(0xff)),
        Invalid::ChecksumField { at: 65_551, length: 3_066 }
    );
    assert_eq!(parse(&|o, _| o[4..6].fill(0)), Invalid::Count(0));
    assert_eq!(parse(&|o, _| o[4..6].copy_from_slice(&46_u16.to_ne_bytes())), Invalid::Count(66));
    assert_eq!(parse(&|_, f| f.truncate(3_000)), header("total length", 16, 2_986, 3_052));
    assert_eq!(parse(&|_, f| f[20] = 0x20), header("fragment", 20, 0, 0x2000));
    assert_eq!(parse(&|_, f| f[23] = 17), header("protocol", 23, 6, 17));
    assert_eq!(parse(&|_, f| f[13] = 6), header("type of the packet", 12, 0x800, 0x806));
}

#[test]
fn psh_fin_and_cwr_are_set_once() {
    let (offload, frame) = recipe().super_frame();
    let layout = Layout::parse(&offload, &frame).unwrap();
    let flags = |run| cut(&layout, &frame, run, Checksums::AsTheyCame).1[14 + 20 + 13];
    assert_eq!([flags(0..1), flags(1..2), flags(2..3)], [0x90, 0x10, 0x19]);
    assert_eq!([flags(0..2), flags(1..3), flags(0..3)], [0x90, 0x19, 0x99]);
}

#[test]
fn missing_runs_are_refused() {
    let (offload, frame) = recipe().super_frame();
    let layout = Layout::parse(&offload, &frame).unwrap();
    let mut out = vec![0; 70_000];
    let mut write = |frame: &[u8], run, checksums| layout.write(frame, run, checksums, &mut out);
    assert_eq!(write(&frame, 1..1, Checksums::AsTheyCame), None);
    assert_eq!(write(&frame, 2..4, Checksums::AsTheyCame), None);
    assert_eq!(write(&frame, 0..2, Checksums::Complete), None);
    assert_eq!(write(&frame[1..], 0..1, Checksums::AsTheyCame), None);
    assert_eq!(write(&frame, 0..2, Checksums::AsTheyCame), Some(10 + 66 + 2 * 1_448));
}
