//! The link model's bottleneck: rates, queues, active queue management.
//! Expected values are counted here, independently of the model's own bookkeeping.

#![expect(clippy::cast_possible_truncation, reason = "a trial has few frames")]

use super::frames::{self, Kind};
use proptest::prelude::*;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::{
    Bottleneck, Bytes, Change, Delay, Direction, Discipline, DropReason, Fate, Frame, FromFile,
    Link, LinkPlan, LossModel, Overhead, Police, Queue, QueueLimit, Rate, Release, ReleaseVerdict,
    Setting, Verdict,
};

/// Nanoseconds per byte at this rate: 1,000.
const EIGHT_MBIT: Rate = Rate::Constant(8_000_000);

fn plan(rate: Rate, limit: QueueLimit, discipline: Discipline) -> LinkPlan {
    let queue = Queue { limit, discipline, ecn: false };
    LinkPlan { rate: Some(Bottleneck { rate, queue }), ..LinkPlan::default() }
}

fn drop_tail(rate: Rate, limit: QueueLimit) -> LinkPlan {
    plan(rate, limit, Discipline::DropTail)
}

const DEEP: QueueLimit = QueueLimit::Packets(100_000);

fn nanos(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// Fate and departure of every frame.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    fates: Vec<Fate>,
    releases: Vec<Release>,
}

impl Story {
    /// Departures of copies, in order.
    fn left(&self) -> Vec<(u64, Instant)> {
        let left = |release: &Release| match release.verdict {
            ReleaseVerdict::Deliver { at, .. } => Some((release.index, at)),
            ReleaseVerdict::Dropped(_) => None,
        };
        self.releases.iter().filter_map(left).collect()
    }

    fn dropped(&self, reason: DropReason) -> Vec<u64> {
        let at_once = self.fates.iter().filter(|fate| fate.verdict == Verdict::Dropped(reason));
        let later = self
            .releases
            .iter()
            .filter(|release| release.verdict == ReleaseVerdict::Dropped(reason));
        at_once.map(|fate| fate.index).chain(later.map(|release| release.index)).collect()
    }
}

/// When to ask for releases.
#[derive(Clone, Copy, Debug)]
enum Poll {
    /// When the link says so, and at every arrival.
    OnTime,
    /// After all frames have arrived.
    AtTheEnd,
    /// At this interval between arrivals.
    Every(u64),
}

fn run(plan: &LinkPlan, arrivals: &[(u64, u32)], poll: Poll) -> Story {
    plan.check().unwrap();
    let frames: Vec<_> = arrivals.iter().map(|(at, length)| (*at, *length, &[][..])).collect();
    run_frames(plan, &frames, poll)
}

fn run_frames(plan: &LinkPlan, arrivals: &[(u64, u32, &[u8])], poll: Poll) -> Story {
    let mut link = Link::new(plan.clone(), 7, Direction::AToB).starting_at(Instant::ZERO);
    let mut story = Story::default();
    for (token, (at, length, bytes)) in (0..).zip(arrivals) {
        match poll {
            Poll::OnTime => {
                while let Some(next) = link.poll_timeout().filter(|next| *next <= nanos(*at)) {
                    story.releases.extend(link.poll_release(next));
                }
            }
            Poll::Every(step) => {
                let before = story.fates.len().checked_sub(1).map_or(0, |i| arrivals[i].0);
                for now in (before..=*at).step_by(usize::try_from(step).unwrap()) {
                    story.releases.extend(link.poll_release(nanos(now)));
                }
            }
            Poll::AtTheEnd => {}
        }
        let bytes = if bytes.is_empty() { Bytes::Payload(&[]) } else { Bytes::Ethernet(bytes) };
        let frame = Frame { bytes, length: *length };
        story.fates.push(link.handle_frame(nanos(*at), frame, token));
    }
    while let Some(next) = link.poll_timeout() {
        story.releases.extend(link.poll_release(next));
    }
    assert_eq!(link.poll_release(Instant::MAX), None);
    story
}

/// Arrivals from gaps and lengths.
fn arrivals(parts: &[(u64, u32)]) -> Vec<(u64, u32)> {
    let mut now = 0;
    let arrive = |(gap, length): &(u64, u32)| {
        now += gap;
        (now, *length)
    };
    parts.iter().map(arrive).collect()
}

fn traffic() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![Just(0_u64), 0..2_000_000_u64, 0..50_000_u64];
    prop::collection::vec((gap, 60..1514_u32), 1..150).prop_map(|parts| arrivals(&parts))
}

fn any_plan() -> impl Strategy<Value = LinkPlan> {
    let limit = prop_oneof![
        (1..30_u32).prop_map(QueueLimit::Packets),
        (1514..40_000_u64).prop_map(QueueLimit::Bytes),
    ];
    let codel = Discipline::CoDel {
        target: Duration::from_micros(500),
        interval: Duration::from_millis(3),
    };
    let discipline =
        prop_oneof![Just(Discipline::DropTail), Just(Discipline::DropHead), Just(codel)];
    let trace = FromFile::new("trace", vec![1, 1, 4, 5, 9]);
    let rate = prop_oneof![(1..50_000_000_u64).prop_map(Rate::Constant), Just(Rate::Trace(trace))];
    (rate, limit, discipline).prop_map(|(rate, limit, discipline)| plan(rate, limit, discipline))
}

proptest! {
    /// Releases do not depend on when the link is asked.
    #[test]
    fn releases_do_not_depend_on_polling(
        plan in any_plan(), arrivals in traffic(), step in 1_000..3_000_000_u64,
    ) {
        let on_time = run(&plan, &arrivals, Poll::OnTime);
        prop_assert_eq!(&run(&plan, &arrivals, Poll::AtTheEnd), &on_time);
        prop_assert_eq!(&run(&plan, &arrivals, Poll::Every(step)), &on_time);
    }

    /// Every queued copy leaves once, whatever its fate.
    #[test]
    fn queues_lose_no_copy(plan in any_plan(), arrivals in traffic()) {
        let story = run(&plan, &arrivals, Poll::OnTime);
        let waited = |fate: &&Fate| matches!(fate.verdict, Verdict::Queued { .. });
        let mut queued: Vec<u64> =
            story.fates.iter().filter(waited).map(|fate| fate.index).collect();
        let mut out: Vec<u64> = story.releases.iter().map(|release| release.index).collect();
        queued.sort_unstable();
        out.sort_unstable();
        prop_assert_eq!(queued, out);
        let left = story.left();
        prop_assert!(left.is_sorted(), "a queue keeps its order");
    }

    /// In every window, at most the rate's bytes and one frame leave.
    #[test]
    fn no_window_holds_more_than_the_rate_and_a_frame(
        arrivals in traffic(), bits in 1_000..100_000_000_u64,
    ) {
        let story = run(&drop_tail(Rate::Constant(bits), DEEP), &arrivals, Poll::OnTime);
        let left = story.left();
        let length = |index: u64| u64::from(arrivals[index as usize].1);
        for (first, (_, from)) in left.iter().enumerate() {
            let mut bytes = 0;
            for (index, to) in &left[first..] {
                bytes += length(*index);
                // A nanosecond more, because times are whole.
                let window = u128::from(to.as_nanos() - from.as_nanos() + 1);
                let rate = u128::from(bits) * window;
                prop_assert!(u128::from(bytes - length(left[first].0)) * 8_000_000_000 <= rate);
            }
        }
    }

    /// Drop-tail and drop-head against a queue counted frame by frame.
    #[test]
    fn full_queues_drop_the_expected_frames(
        arrivals in traffic(), packets in 1..20_u32, head in any::<bool>(),
    ) {
        let discipline = if head { Discipline::DropHead } else { Discipline::DropTail };
        let limit = QueueLimit::Packets(packets);
        let story = run(&plan(EIGHT_MBIT, limit, discipline), &arrivals, Poll::OnTime);
        let (left, dropped) = counted(&arrivals, packets as usize, head);
        prop_assert_eq!(story.left(), left);
        let reason = if head { DropReason::QueueHead } else { DropReason::QueueTail };
        prop_assert_eq!(story.dropped(reason), dropped);
    }

    /// A trace against one played opportunity by opportunity.
    #[test]
    fn a_trace_sends_at_its_opportunities(
        arrivals in traffic(), gaps in prop::collection::vec(0..4_u32, 1..12),
    ) {
        let mut at = 0;
        let mut trace: Vec<u32> = gaps.iter().map(|gap| { at += gap; at }).collect();
        trace.push(at + 1);
        let rate = Rate::Trace(FromFile::new("trace", trace.clone()));
        let story = run(&drop_tail(rate, DEEP), &arrivals, Poll::OnTime);
        prop_assert_eq!(story.left(), played(&trace, &arrivals));
    }
}

/// A queue at 1,000 ns per byte: departures and drops.
fn counted(arrivals: &[(u64, u32)], packets: usize, head: bool) -> (Vec<(u64, Instant)>, Vec<u64>) {
    let mut waiting: Vec<(u64, u64, u64)> = Vec::new();
    let (mut free_at, mut left, mut dropped) = (0, Vec::new(), Vec::new());
    let serve = |until: u64, free_at: &mut u64, waiting: &mut Vec<(u64, u64, u64)>| {
        let mut left = Vec::new();
        while let Some((index, arrived, length)) = waiting.first().copied() {
            let begins = arrived.max(*free_at);
            if begins > until {
                break;
            }
            *free_at = begins + length * 1_000;
            left.push((index, nanos(*free_at)));
            waiting.remove(0);
        }
        left
    };
    for (index, (at, length)) in (0..).zip(arrivals) {
        left.extend(serve(*at, &mut free_at, &mut waiting));
        if waiting.len() == packets {
            if head {
                dropped.push(waiting.remove(0).0);
            } else {
                dropped.push(index);
                continue;
            }
        }
        waiting.push((index, *at, u64::from(*length)));
    }
    left.extend(serve(u64::MAX, &mut free_at, &mut waiting));
    (left, dropped)
}

/// Each opportunity sends 1,504 bytes of the frames that have arrived by then, in order.
fn played(trace: &[u32], arrivals: &[(u64, u32)]) -> Vec<(u64, Instant)> {
    let period = u64::from(*trace.last().unwrap());
    let mut left = Vec::new();
    let mut missing: Vec<u64> = arrivals.iter().map(|(_, length)| u64::from(*length)).collect();
    for cycle in 0.. {
        for ms in trace {
            let now = (cycle * period + u64::from(*ms)) * 1_000_000;
            let mut room = 1504;
            for (index, (at, _)) in arrivals.iter().enumerate().skip(left.len()) {
                if *at > now || room == 0 {
                    break;
                }
                let taken = room.min(missing[index]);
                room -= taken;
                missing[index] -= taken;
                if missing[index] == 0 {
                    left.push((index as u64, nanos(now)));
                }
            }
            if left.len() == arrivals.len() {
                return left;
            }
        }
    }
    unreachable!("a trace has no end")
}

#[test]
fn a_burst_queues_behind_earlier_frames() {
    let burst = vec![(5_000_000, 1_000); 50];
    let story = run(&drop_tail(EIGHT_MBIT, DEEP), &burst, Poll::OnTime);
    for (before, (_, left)) in (1..).zip(story.left()) {
        assert_eq!(left.as_nanos(), 5_000_000 + before * 1_000_000);
    }
    // The delay comes after the queue.
    let delay = Delay::Constant(Duration::from_millis(40));
    let delayed = LinkPlan { delay, ..drop_tail(EIGHT_MBIT, DEEP) };
    let last = run(&delayed, &burst, Poll::OnTime).left().last().unwrap().1;
    assert_eq!(last.as_nanos(), 5_000_000 + 50_000_000 + 40_000_000);
}

#[test]
fn a_byte_limit_excludes_the_frame_in_transmission() {
    // One is being sent, two of 1,000 bytes fit, then another 100 bytes.
    let all = [(0, 1_000), (0, 1_000), (0, 1_000), (0, 1_000), (0, 100), (0, 14)];
    let plan = drop_tail(EIGHT_MBIT, QueueLimit::Bytes(2_100));
    let story = run(&plan, &all, Poll::OnTime);
    assert_eq!(story.dropped(DropReason::QueueTail), [3, 5]);
}

#[test]
fn a_change_of_rate_counts_from_the_next_frame() {
    let change = |at: u64, bits| Change {
        at: Duration::from_nanos(at),
        lasting: None,
        what: Setting::Rate(Rate::Constant(bits)),
    };
    let base = drop_tail(EIGHT_MBIT, DEEP);
    let plan = LinkPlan { timetable: vec![change(1_500_000, 80_000_000)], ..base };
    let story = run(&plan, &[(0, 1_000); 4], Poll::OnTime);
    let left: Vec<u64> = story.left().iter().map(|(_, at)| at.as_nanos()).collect();
    assert_eq!(left, [1_000_000, 2_000_000, 2_100_000, 2_200_000]);
    // A trace with a long gap does not hold a frame back from the next rate.
    let trace = Rate::Trace(FromFile::new("slow", vec![60_000]));
    let plan =
        LinkPlan { timetable: vec![change(1_500_000, 80_000_000)], ..drop_tail(trace, DEEP) };
    let story = run(&plan, &[(0, 1_000); 1], Poll::OnTime);
    assert_eq!(story.left(), [(0, nanos(1_600_000))]);
}

#[test]
fn both_copies_wait() {
    let base = drop_tail(EIGHT_MBIT, DEEP);
    let plan = LinkPlan { duplicate: wirelab::measure::Ppm::ONE, ..base };
    let story = run(&plan, &[(0, 1_000); 2], Poll::OnTime);
    assert!(story.fates.iter().all(|fate| fate.verdict == Verdict::Queued { copies: 2 }));
    let left: Vec<u64> = story.left().iter().map(|(_, at)| at.as_nanos()).collect();
    assert_eq!(left, [1_000_000, 2_000_000, 3_000_000, 4_000_000]);
}

const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

/// A minute of 1,000-byte frames at 8 Mbit/s plus `percent` %.
fn overload(percent: u64) -> Vec<(u64, u32)> {
    let frames = 60_000 * (100 + percent) / 100;
    (0..frames).map(|n| (n * 100_000_000 / (100 + percent), 1_000)).collect()
}

/// The median wait and the number of departures in the second half, for frames of 1 ms each.
fn standing(story: &Story, arrivals: &[(u64, u32)]) -> Duration {
    let wait =
        |(index, left): &(u64, Instant)| left.as_nanos() - 1_000_000 - arrivals[*index as usize].0;
    let left = story.left();
    let mut waits: Vec<u64> = left[left.len() / 2..].iter().map(wait).collect();
    waits.sort_unstable();
    Duration::from_nanos(waits[waits.len() / 2])
}

#[test]
fn codel_keeps_the_standing_queue_near_its_target() {
    let codel = Discipline::CoDel { target: TARGET, interval: INTERVAL };
    let limit = QueueLimit::Packets(1_000);
    // The senders do not slow down, so the wait oscillates, more with more excess load.
    for (percent, most) in [(2, TARGET * 4), (10, TARGET * 8)] {
        let arrivals = overload(percent);
        let controlled = run(&plan(EIGHT_MBIT, limit, codel), &arrivals, Poll::OnTime);
        let plain = run(&plan(EIGHT_MBIT, limit, Discipline::DropTail), &arrivals, Poll::OnTime);
        let (with, without) = (standing(&controlled, &arrivals), standing(&plain, &arrivals));
        assert!(with < most && with > TARGET / 4, "{percent} %: the standing queue is {with:?}");
        assert!(without > Duration::from_millis(600), "drop-tail: {without:?}");
        // The excess load must be dropped.
        let too_much = arrivals.len() - 60_000;
        let dropped = controlled.dropped(DropReason::CoDel).len();
        assert!(dropped.abs_diff(too_much) < too_much / 10, "{dropped} dropped of {too_much}");
        assert!(controlled.dropped(DropReason::QueueTail).is_empty());
    }
}

#[test]
fn codel_marks_ecn_capable_frames_instead() {
    let codel = Discipline::CoDel { target: TARGET, interval: INTERVAL };
    let queue = Queue { limit: QueueLimit::Packets(100), discipline: codel, ecn: true };
    let rate = Some(Bottleneck { rate: EIGHT_MBIT, queue });
    let plan = LinkPlan { rate, ..LinkPlan::default() };
    let udp = Kind { six: false, tcp: false };
    let capable = frames::frame(udp, 2, &[0; 100]);
    let not = frames::frame(udp, 0, &[0; 100]);
    let marked = |story: &Story| {
        let marks = |release: &&Release| {
            matches!(release.verdict, ReleaseVerdict::Deliver { mark: true, .. })
        };
        story.releases.iter().filter(marks).count()
    };
    for (bytes, marks) in [(&capable, true), (&not, false)] {
        let arrivals: Vec<_> =
            overload(10).iter().map(|(at, length)| (*at, *length, &bytes[..])).collect();
        let story = run_frames(&plan, &arrivals, Poll::OnTime);
        assert_eq!(marked(&story) > 100, marks);
        assert_eq!(story.dropped(DropReason::CoDel).is_empty(), marks);
    }
    // A marked frame is neither marked again nor dropped.
    let seen = frames::frame(udp, 3, &[0; 100]);
    let arrivals: Vec<_> = overload(10).iter().map(|(at, n)| (*at, *n, &seen[..])).collect();
    let story = run_frames(&plan, &arrivals, Poll::OnTime);
    assert_eq!((marked(&story), story.dropped(DropReason::CoDel).len()), (0, 0));
}

#[test]
fn codel_leaves_a_burst_alone_that_drains_within_an_interval() {
    let codel = Discipline::CoDel { target: TARGET, interval: INTERVAL };
    let burst = vec![(0, 1_000); 90];
    let story = run(&plan(EIGHT_MBIT, DEEP, codel), &burst, Poll::OnTime);
    assert_eq!(story.left().len(), 90);
}

#[test]
fn link_layer_overhead_counts_towards_the_rate() {
    // Ethernet's preamble, check sequence and gap are 24 bytes; its shortest frame takes 84. An
    // acknowledgement of 40 bytes over PPPoA (RFC 2364, 10 bytes) fills two ATM cells.
    for (overhead, length, counts) in [
        ("0B", 54, 54),
        ("24B", 1514, 1538),
        ("24B,mpu=84B", 54, 84),
        ("24B,mpu=84B", 61, 85),
        ("-14B", 1514, 1500),
        ("-4B,atm", 54, 106),
        ("-4B,atm", 52, 53),
        ("-4B,atm", 1514, 32 * 53),
        ("0B,mpu=64B,atm", 20, 106),
    ] {
        let overhead: Overhead = overhead.parse().unwrap();
        let plan = LinkPlan { overhead, ..drop_tail(EIGHT_MBIT, DEEP) };
        let story = run(&plan, &[(0, length), (0, length)], Poll::OnTime);
        let times: Vec<_> = story.left().iter().map(|(_, at)| at.as_nanos() / 1_000).collect();
        assert_eq!(times, [counts, 2 * counts], "{overhead}, a frame of {length} bytes");
    }
}

#[test]
fn link_layer_overhead_does_not_change_the_packet_limit() {
    let plain = drop_tail(EIGHT_MBIT, QueueLimit::Bytes(10_000));
    let overhead = Overhead { bytes: 300, ..Overhead::default() };
    let arrivals = vec![(0, 1_000); 30];
    for plan in [plain.clone(), LinkPlan { overhead, ..plain }] {
        let story = run(&plan, &arrivals, Poll::OnTime);
        assert_eq!(story.left().len(), 11, "one being sent, ten waiting");
    }
}

/// 8 Mbit/s, or one byte per microsecond, and a bucket of 10,000 bytes.
const POLICE: Police = Police { rate: 8_000_000, burst: 10_000 };

fn policed(police: Police) -> LinkPlan {
    LinkPlan { police: Some(police), ..LinkPlan::default() }
}

/// The numbers of the frames that a policer passed; none may be late.
fn passed(plan: &LinkPlan, arrivals: &[(u64, u32)]) -> Vec<usize> {
    let story = run(plan, arrivals, Poll::OnTime);
    let mut passed = Vec::new();
    for (n, fate) in story.fates.iter().enumerate() {
        match fate.verdict {
            Verdict::Dropped(reason) => assert_eq!(reason, DropReason::Policed),
            verdict => {
                assert_eq!(verdict, Verdict::Deliver { at: nanos(arrivals[n].0), copies: 1 });
                passed.push(n);
            }
        }
    }
    passed
}

#[test]
fn a_policer_passes_its_rate_in_the_long_run_and_its_burst_at_once() {
    // Twice the rate for ten seconds: the bucket, and its refill until the last arrival.
    let arrivals: Vec<(u64, u32)> = (0..20_000).map(|n| (n * 500_000, 1_000)).collect();
    let bytes = passed(&policed(POLICE), &arrivals).len() as u64 * 1_000;
    let most = POLICE.burst + arrivals[19_999].0 / 1_000;
    assert!((most - 1_000..=most).contains(&bytes), "{bytes} of {most}");
    // A full bucket holds ten frames, and no more after any pause.
    for pause in [10_000_000, 10_000_000_000_000] {
        let burst: Vec<(u64, u32)> = [vec![(0, 1_000); 30], vec![(pause, 1_000); 30]].concat();
        let expected: Vec<usize> = (0..10).chain(30..40).collect();
        assert_eq!(passed(&policed(POLICE), &burst), expected, "after {pause} ns");
    }
    // Half the rate loses nothing.
    let arrivals: Vec<(u64, u32)> = (0..1_000).map(|n| (n * 2_000_000, 1_000)).collect();
    assert_eq!(passed(&policed(POLICE), &arrivals).len(), 1_000);
}

proptest! {
    /// The bucket's law without a bucket: a frame passes exactly if no window that ends with it has
    /// passed more than the burst and the rate's bytes.
    #[test]
    fn a_policer_keeps_its_bound_in_every_window(
        parts in prop::collection::vec((0..3_000_000_u64, 60..1_515_u32), 1..60),
        rate in 1..20_000_000_u64, burst in 1_514..6_000_u64, bytes in -14..100_i16,
    ) {
        let overhead = Overhead { bytes, ..Overhead::default() };
        prop_assume!(u64::from(overhead.on_wire(1514)) <= burst);
        let plan = LinkPlan { overhead, ..policed(Police { rate, burst }) };
        let arrivals = arrivals(&parts);
        // Bits times a billion, so that nothing is rounded.
        let size = |length: u32| u128::from(overhead.on_wire(length)) * 8_000_000_000;
        let mut expected: Vec<usize> = Vec::new();
        for (n, (at, length)) in arrivals.iter().enumerate() {
            let mut sum = size(*length);
            let fits = expected.iter().rev().all(|first| {
                let (begin, length) = arrivals[*first];
                sum += size(length);
                let filled = u128::from(rate) * u128::from(at - begin);
                sum <= u128::from(burst) * 8_000_000_000 + filled
            });
            if fits {
                expected.push(n);
            }
        }
        prop_assert_eq!(passed(&plan, &arrivals), expected);
    }
}

#[test]
fn a_policer_comes_after_loss_and_before_the_queue() {
    // Lost frames consume no tokens.
    let lost: Vec<u64> = (0..5).collect();
    let loss = LossModel::Recorded(FromFile::new("first", lost));
    let plan = LinkPlan { loss, ..policed(POLICE) };
    let story = run(&plan, &[(0, 1_000); 30], Poll::OnTime);
    assert_eq!(story.dropped(DropReason::Policed), (15..30).collect::<Vec<u64>>());
    // Of a frame's two copies, the bucket has room for one.
    let police = Police { burst: 2_500, ..POLICE };
    let plan = LinkPlan { duplicate: wirelab::measure::Ppm::ONE, ..policed(police) };
    let story = run(&plan, &[(0, 1_000); 3], Poll::OnTime);
    let copies = |fate: &Fate| match fate.verdict {
        Verdict::Deliver { copies, .. } => copies,
        _ => 0,
    };
    assert_eq!(story.fates.iter().map(copies).collect::<Vec<_>>(), [2, 0, 0]);
    let police = Police { burst: 3_500, ..POLICE };
    let plan = LinkPlan { police: Some(police), ..plan };
    let story = run(&plan, &[(0, 1_000); 3], Poll::OnTime);
    assert_eq!(story.fates.iter().map(copies).collect::<Vec<_>>(), [2, 1, 0]);
    // A policed frame never waits: ten frames pass, and leave a bottleneck one by one.
    let plan = LinkPlan { police: Some(POLICE), ..drop_tail(EIGHT_MBIT, DEEP) };
    let story = run(&plan, &[(0, 1_000); 30], Poll::OnTime);
    let left: Vec<u64> = story.left().iter().map(|(_, at)| at.as_nanos() / 1_000_000).collect();
    assert_eq!(left, (1..=10).collect::<Vec<u64>>());
}
