//! Recorded digests of the fates of sixteen plans, by seed.
//!
//! A change here changes every recorded seed, and needs a new major version.

#![expect(clippy::cast_possible_truncation, reason = "3,000 frames of at most 1,300 bytes")]

use super::frames::{KINDS, frame};
use std::fmt::Write;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;
use wirelab::path::{Bytes, Direction, Fate, Frame, Link, LinkPlan, Recording, Verdict};

/// A plan as text, words separated by semicolons, and the digest of its fates.
const GOLDEN: [(&str, u64); 16] = [
    ("", 0xf8fc_b63b_c73a_3cf1),
    ("loss=2%", 0xb7fd_9b97_be87_80ae),
    ("loss=gilbert:1%,30%;max-burst=2", 0xf98f_8414_b519_5243),
    ("loss=gemodel:2%,20%,90%,1%;key=time:3ms", 0xae97_c72f_669d_2ea7),
    ("loss=4state:2%,20%,15%,30%,2%;duplicate=3%", 0x3ac9_b61a_feae_4e78),
    ("loss=list:losses;corrupt=5%,bits=3,repair", 0x9369_fd11_e4b1_ec91),
    ("loss=5%;corrupt=5%;duplicate=5%;mark=10%;key=content", 0xb90b_9428_9c8b_01c0),
    ("mtu=700;duplicate=5%;mark=50%;delay=3ms", 0x9666_bfd3_accc_d056),
    ("mtu=900,blackhole;rate=3Mbit;queue=8kB;duplicate=20%", 0xcd2d_4f41_d24e_f9bd),
    ("rate=2Mbit;queue=drophead:20p;delay=uniform:9ms,4ms;reorder=jitter", 0xf1fa_1d35_ac15_e568),
    ("rate=2Mbit;queue=codel,ecn:60p;delay=normal:20ms,5ms;mark=5%", 0xc898_958e_e634_03ce),
    ("rate=trace:trace;queue=30p;delay=pareto:9ms,3ms;loss=3%", 0x12a4_0379_023a_d3a0),
    ("delay=table:delays;reorder=25%,gap=5;duplicate=10%", 0x289a_171a_7d5f_510d),
    (
        "rate=5Mbit;queue=codel,target=1ms,interval=20ms:40p;delay=rtt-table:delays;reorder=9%",
        0x5a98_8352_6907_624e,
    ),
    (
        "loss=1%;delay=5ms;at=1s down for 200ms;at=2s loss gilbert:5%,20% for 1s;\
         at=2500ms delay uniform:9ms,9ms;at=500ms corrupt 20%,bits=2;at=3s duplicate 30% for 2s",
        0xa291_aee6_9ca3_6552,
    ),
    (
        "key=time:10ms;loss=gilbert:5%,30%;rate=4Mbit;delay=1ms;at=1s rate trace:trace for 1s;\
         at=1500ms rate 500kbit for 2s;at=2s loss gilbert:5%,30%;at=2s down for 30ms",
        0x118a_b1fd_4079_bccb,
    ),
];

fn files(name: &str) -> Result<String, String> {
    match name {
        "losses" => Ok((0..2_000).filter(|n| n * n % 7 == 1).fold(String::new(), |mut text, n| {
            writeln!(text, "{n}").unwrap();
            text
        })),
        "delays" => Ok("1ms\n3ms\n4ms\n9ms\n9.5ms\n30ms\n".to_owned()),
        "trace" => Ok("1\n2\n2\n7\n12\n13\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

fn line(text: &mut String, fate: &Fate) {
    let Fate { index, loss_draw_ppm, verdict, mutation, reordered } = *fate;
    write!(text, "{index} {loss_draw_ppm} {reordered} {} ", mutation.mark).unwrap();
    if let Some(draw) = mutation.corrupt {
        write!(text, "{} {} {} ", draw.key, draw.bits, draw.repair).unwrap();
    }
    match verdict {
        Verdict::Deliver { at, copies } => writeln!(text, "at {} {copies}", at.as_nanos()),
        Verdict::Queued { copies } => writeln!(text, "queued {copies}"),
        Verdict::Dropped(reason) => writeln!(text, "{}", reason.word()),
    }
    .unwrap();
}

/// All events of a link for 3,000 frames that arrive within about five seconds.
fn story(plan: &LinkPlan, seed: u64, direction: Direction) -> String {
    let mut link = Link::new(plan.clone(), seed, direction);
    let mut recording = Recording::new([plan.mtu, None]);
    let (mut text, mut now) = (String::new(), Instant::from_nanos(5_000));
    let release = |link: &mut Link, recording: &mut Recording, text: &mut String, now| {
        while let Some(release) = link.poll_release(now) {
            recording.note_release(direction, &release);
            writeln!(text, "{release:?}").unwrap();
        }
    };
    for n in 0..3_000_u32 {
        let draw = keyed(seed ^ 0x601d, u64::from(n));
        now += Duration::from_nanos(draw % 3_300_000);
        release(&mut link, &mut recording, &mut text, now);
        let kind = KINDS[usize::try_from(draw >> 40).unwrap() % KINDS.len()];
        // Some payloads repeat, so that content keys count them.
        let length = [0, 9, 300, 660, 1_200][usize::try_from(draw >> 50).unwrap() % 5];
        let bytes = frame(kind, u8::try_from(draw >> 33 & 3).unwrap(), &vec![n as u8 / 9; length]);
        let seen = Frame { bytes: Bytes::Ethernet(&bytes), length: bytes.len() as u32 };
        let fate = link.handle_frame(now, seen, n);
        recording.note(direction, now, &fate);
        line(&mut text, &fate);
    }
    release(&mut link, &mut recording, &mut text, now + Duration::from_secs(100));
    text + &recording.to_string()
}

#[test]
fn recorded_seeds_give_the_recorded_fates() {
    let mut now = Vec::new();
    for (words, digest) in GOLDEN {
        let pairs: Vec<_> = words.split(';').filter_map(|pair| pair.split_once('=')).collect();
        let mut plan = LinkPlan::default();
        plan.set_all(&pairs, &mut files).unwrap_or_else(|error| panic!("{words}: {error}"));
        let mut got = plan.settings().iter().fold(0, |sum, (word, text)| {
            word.bytes().chain(text.bytes()).fold(sum, |sum, byte| keyed(sum, u64::from(byte)))
        });
        for seed in [1, 77] {
            for direction in Direction::BOTH {
                let story = story(&plan, seed, direction);
                got = story.bytes().fold(got, |sum, byte| keyed(sum, u64::from(byte)));
            }
        }
        now.push((words, got, digest));
    }
    let changed: Vec<_> = now.iter().filter(|(_, got, digest)| got != digest).collect();
    assert!(changed.is_empty(), "{changed:#x?}");
}
