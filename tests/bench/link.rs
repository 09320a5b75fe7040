//! Cost of the link model: nanoseconds per frame.
//!
//! The limit is a tenth of a frame's share of the router's thread: 6.25 µs at 160,000 frames per
//! second, the most that it was seen to forward. Nothing is allocated while timing, as in the
//! router.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bottleneck, Bytes, Corruption, Delay, Direction, Discipline, DrawKey, Frame, Link, LinkPlan,
    LossModel, Queue, QueueLimit, Rate, Reorder, apply,
};
use wirelab::runtime::clock::Clock;

const FRAMES: u32 = 1_000_000;
const ROUNDS: usize = 7;
/// A tenth of 6.25 µs.
const LIMIT_NS: f64 = 625.0;
/// A full frame.
const LENGTH: u32 = 1514;
/// Time between arrivals: 12 Mbit/s of full frames is what a link of that rate just carries.
const APART: Duration = Duration::from_millis(1);

fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

/// Every kind of plan by name.
fn plans() -> Vec<(&'static str, LinkPlan)> {
    let plain =
        || LinkPlan { delay: Delay::Constant(Duration::from_millis(10)), ..LinkPlan::default() };
    let iid = || LinkPlan { loss: LossModel::Iid(ppm(20_000)), ..plain() };
    let gilbert = LossModel::GilbertElliott {
        p: ppm(10_000),
        r: ppm(300_000),
        loss_bad: Ppm::ONE,
        loss_good: Ppm::ZERO,
    };
    let (mean, deviation) = (Duration::from_millis(40), Duration::from_millis(5));
    let jitter = LinkPlan {
        loss: gilbert,
        delay: Delay::Normal { mean, deviation },
        reorder: Reorder::ByJitter,
        ..plain()
    };
    let queue = |discipline| {
        let limit = QueueLimit::Packets(100);
        let queue = Queue { limit, discipline, ecn: false };
        LinkPlan { rate: Some(Bottleneck { rate: Rate::Constant(12_000_000), queue }), ..plain() }
    };
    let codel = Discipline::CoDel {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };
    let everything = LinkPlan {
        corrupt: Corruption { share: ppm(10_000), ..Corruption::default() },
        duplicate: ppm(10_000),
        mark: ppm(10_000),
        reorder: Reorder::Share { share: ppm(10_000), gap: NonZeroU32::MIN },
        ..jitter.clone()
    };
    vec![
        ("delay alone", plain()),
        ("loss 2%", iid()),
        ("gilbert and normal jitter", jitter),
        ("rate and drop-tail, 100 frames", queue(Discipline::DropTail)),
        ("rate and codel, 100 frames", queue(codel)),
        ("every impairment but the rate", everything),
        ("loss 2%, key content", LinkPlan { key: DrawKey::Content, ..iid() }),
    ]
}

/// Runs the benchmark and prints its table; whether every plan is within the limit.
pub(crate) fn run() -> bool {
    println!("the link model, ns per full frame, {ROUNDS} rounds, median (min-max)\n");
    let mut held = true;
    for (name, plan) in plans() {
        plan.check().unwrap();
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&plan)).collect();
        rounds.sort_by(f64::total_cmp);
        let (low, median, high) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        held &= median < LIMIT_NS;
        println!("{name:<34}{median:>8.1} ({low:.1}-{high:.1}), below {LIMIT_NS}");
    }
    held
}

/// Nanoseconds per frame.
fn round(plan: &LinkPlan) -> f64 {
    let mut link = Link::new(plan.clone(), 7, Direction::AToB).starting_at(Instant::ZERO);
    let mut bytes = datagram();
    let clock = Clock::start();
    let mut now = Instant::ZERO;
    for token in 0..FRAMES {
        now += APART;
        let frame = Frame { bytes: Bytes::Ethernet(&bytes), length: LENGTH };
        let fate = link.handle_frame(now, frame, token);
        while let Some(release) = link.poll_release(now) {
            black_box(release);
        }
        apply(&fate.mutation, &mut bytes);
        black_box(fate);
    }
    clock.now().since(Instant::ZERO).as_secs_f64() * 1e9 / f64::from(FRAMES)
}

/// A UDP datagram over IPv4 that fills a frame.
fn datagram() -> Vec<u8> {
    let mut bytes = vec![0x5a; LENGTH as usize];
    bytes[12..24].copy_from_slice(&[8, 0, 0x45, 1, 0x05, 0xdc, 0, 0, 0x40, 0, 64, 17]);
    // UDP's length.
    bytes[38..40].copy_from_slice(&1480_u16.to_be_bytes());
    bytes
}
