//! The audit: compares what the path did with the plan, and gives a verdict on the run.
//!
//! Any deviation from the plan, such as a frame too long, dropped by the kernel, sent too late, or
//! beyond a recording's end, is a reason with a remedy.

use super::plan::Plan;
use super::result::{Dropped, Rate, Reason, Status, Verdict, Way};
use super::run::Outcome;
use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use wirelab::emulator::events::{Chunk, Event};
use wirelab::emulator::router::{DirectionRecord, Lateness};
use wirelab::measure::human::{latency, plural};
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, nanos, saturated};
use wirelab::path::{
    Counts, Delay, DropReason, LinkPlan, ReleaseVerdict, Reorder, Setting, Verdict as FateVerdict,
};

/// p99 lateness above which timing is suspect, as a fraction of the plan's delay.
const LATE_PART_OF_DELAY: u32 = 20;
/// Lateness below which timing is never suspect: the cost of two wake-ups on a shared machine.
const LATE_FLOOR: Duration = Duration::from_millis(1);
/// Seconds of a run with separate counts of deliveries, at most: eleven days; 8 MB.
const SECONDS_MAX: usize = 1_000_000;

/// Counts that the record lacks: deliveries per second, and waiting copies.
#[derive(Debug, Default)]
pub struct Meter([WayMeter; 2]);

#[derive(Debug, Default)]
struct WayMeter {
    /// Bytes that left in each second of the run.
    seconds: Vec<u64>,
    waiting: VecDeque<Waiting>,
    /// How long copies are on the path by the plan.
    held: Lateness,
}

/// A copy that waits at the bottleneck.
#[derive(Debug)]
struct Waiting {
    index: u64,
    length: u32,
    since: Instant,
}

impl WayMeter {
    fn leaves(&mut self, since: Instant, at: Instant, length: u32) {
        self.held.note(at.since(since));
        let second = usize::try_from(at.as_nanos() / 1_000_000_000).ok();
        if let Some(second) = second.filter(|second| *second < SECONDS_MAX) {
            if self.seconds.len() <= second {
                self.seconds.resize(second + 1, 0);
            }
            self.seconds[second] += u64::from(length);
        }
    }

    /// Removes a waiting copy; the first of that index, which is near the front.
    fn done_waiting(&mut self, index: u64) -> Option<Waiting> {
        let place = self.waiting.iter().position(|waits| waits.index == index)?;
        self.waiting.remove(place)
    }
}

impl Meter {
    /// Counts the events of a chunk.
    pub fn note(&mut self, chunk: &Chunk) {
        for (note, _) in chunk.iter() {
            let way = &mut self.0[note.direction.index()];
            match note.what {
                Event::Arrived { fate, length } => match fate.verdict {
                    FateVerdict::Deliver { at, copies } => {
                        (0..copies).for_each(|_| way.leaves(note.at, at, length));
                    }
                    FateVerdict::Queued { copies } => {
                        let (index, since) = (note.index, note.at);
                        let waits = |_| Waiting { index, length, since };
                        way.waiting.extend((0..copies).map(waits));
                    }
                    FateVerdict::Dropped(_) => {}
                },
                Event::Released(release) => {
                    let waited = way.done_waiting(release.index);
                    if let (Some(copy), ReleaseVerdict::Deliver { at, .. }) =
                        (waited, release.verdict)
                    {
                        way.leaves(copy.since, at, copy.length);
                    }
                }
                Event::Left { .. } | Event::SendFailed { .. } | Event::Answered => {}
            }
        }
    }
}

/// How a program ended, in the result's words.
#[must_use]
pub fn status(status: ExitStatus) -> Status {
    let small = |n: i32| u8::try_from(n).expect("codes have 8 bits, signals 7 (wait(2))");
    status.signal().map_or_else(
        || Status::Exited(small(status.code().expect("no signal ended it, so it exited"))),
        |signal| Status::Killed(small(signal)),
    )
}

/// Counters of the path in both directions.
#[must_use]
pub fn ways(outcome: &Outcome, plan: &Plan, meter: &Meter) -> [Way; 2] {
    // What was asked for then is not the plan.
    let replayed = outcome.recorded.is_some() || outcome.changes > 0;
    [0, 1].map(|way: usize| {
        let record = &outcome.record.directions[way];
        let frames = outcome.recorded.map_or(u64::MAX, |frames| frames[way]);
        let beyond = record.offered.saturating_sub(frames);
        one_way(record, &plan.links[way], &meter.0[way], beyond, replayed)
    })
}

/// Bits per second from the first departure to the last.
fn rate(record: &DirectionRecord) -> Option<u64> {
    let (first, last) = record.sent_between?;
    let nanos = last.since(first).as_nanos();
    let bits = u128::from(record.sent_bytes) * 8 * 1_000_000_000;
    (nanos > 0).then(|| saturated(bits / nanos))
}

/// Parts per million, rounded; 0 of 0 is 0.
fn ppm_of(part: u64, whole: u64) -> u32 {
    let parts = (u128::from(part) * 1_000_000 + u128::from(whole / 2)) / u128::from(whole.max(1));
    u32::try_from(parts).expect("invariant: a part is at most the whole")
}

/// Drops by reason, without those that are none.
fn by_reason(counts: &Counts) -> Vec<Dropped> {
    let all = DropReason::ALL.into_iter();
    let all = all.map(|reason| Dropped { reason, frames: counts.dropped[reason.index()] });
    all.filter(|dropped| dropped.frames > 0).collect()
}

fn one_way(
    record: &DirectionRecord,
    link: &LinkPlan,
    meter: &WayMeter,
    beyond_recording: u64,
    replayed: bool,
) -> Way {
    let counts = &record.counts;
    let dropped = |reason: DropReason| counts.dropped[reason.index()];
    let drawn = dropped(DropReason::Loss) + dropped(DropReason::Burst);
    // Frames lost to the timetable or a list had no draw.
    let exposed = record.offered - dropped(DropReason::Down) - dropped(DropReason::Recorded);
    let steady = |changes: fn(&Setting) -> bool| {
        !replayed && !link.timetable.iter().any(|change| changes(&change.what))
    };
    let asked = |wanted: Option<u32>, steady: bool| wanted.filter(|_| steady);
    let loss = link.expected_loss().map(wirelab::measure::Ppm::get);
    let steady_loss = steady(|what| matches!(what, Setting::Loss(_))) && link.max_burst.is_none();
    // The policer drops frames, or one copy of two, whatever their draws.
    let spared = exposed.saturating_sub(drawn + dropped(DropReason::Policed));
    let steady_duplicates = steady(|what| matches!(what, Setting::Duplicate(_)));
    let steady_delay = steady(|what| matches!(what, Setting::Delay(_)));
    Way {
        offered: record.offered,
        offered_bytes: record.bytes,
        delivered: record.sent,
        delivered_bytes: record.sent_bytes,
        delivered_bit_per_s: rate(record),
        peak_bit_per_s: meter.seconds.iter().max().map_or(0, |bytes| bytes * 8),
        queue_peak_bytes: record.queue_peak_bytes,
        dropped: by_reason(counts),
        lost_ppm: ppm_of(counts.dropped_in_all(), record.offered + counts.duplicated),
        loss: Rate { asked_ppm: asked(loss, steady_loss), seen: Share::new(drawn, exposed) },
        corrupted: Rate {
            asked_ppm: asked(
                Some(link.corrupt.share.get()),
                steady(|what| matches!(what, Setting::Corrupt(_))),
            ),
            seen: Share::new(counts.corrupted, spared),
        },
        duplicated: Rate {
            asked_ppm: asked(
                Some(link.duplicate.get()),
                steady_duplicates && link.police.is_none(),
            ),
            seen: Share::new(counts.duplicated, spared),
        },
        reordered: counts.reordered,
        overtaking: counts.overtaking,
        marked: counts.marked,
        too_big_answered: record.too_big_answered,
        on_way: record.on_way,
        kernel_dropped: record.kernel_dropped,
        oversize: record.oversize,
        bad_checksum_status: record.bad_checksum_status,
        bad_offload: record.bad_offload,
        send_failed: record.send_failed,
        not_carried: record.not_carried,
        pool_full: record.pool_full,
        beyond_recording,
        held_p50_ns: nanos(meter.held.p50()),
        held_p99_ns: nanos(meter.held.p99()),
        asked_delay_p50_ns: steady_delay.then(|| nanos(link.delay.per_mille(500))),
        asked_delay_p99_ns: steady_delay.then(|| nanos(link.delay.per_mille(990))),
        late_p50_ns: nanos(record.lateness.p50()),
        late_p99_ns: nanos(record.lateness.p99()),
        late_max_ns: nanos(record.lateness.max()),
        fates_digest: format!("{:016x}", record.fates_digest),
    }
}

/// The shortest delay of a link's plan, the scale for lateness.
pub(crate) fn delay(link: &LinkPlan) -> Duration {
    match &link.delay {
        Delay::Constant(delay) => *delay,
        Delay::Uniform { mean, .. } | Delay::Normal { mean, .. } | Delay::Pareto { mean, .. } => {
            *mean
        }
        // The smallest measured delay; round trips are already halved.
        Delay::Table(file) | Delay::RttTable(file) => {
            *file.values.first().expect("a table holds at least one delay")
        }
    }
}

/// The verdicts on a run, and their reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The worse of the two.
    pub verdict: Verdict,
    /// Whether every frame met the fate that the plan gave it.
    pub fates: Verdict,
    /// Whether frames left in time.
    pub timing: Verdict,
    /// Against the fates, then against the timing.
    pub reasons: Vec<Reason>,
}

/// Judges whether the run matched its plan.
#[must_use]
pub fn verdict(ways: &[Way; 2], plan: &Plan, missed: u64, loopback: [u64; 2]) -> Judged {
    let worst = |reasons: &[Reason]| {
        reasons.iter().map(|reason| reason.verdict).max().unwrap_or(Verdict::Trusted)
    };
    let mut reasons = against_fates(ways, plan, loopback);
    let timing = against_timing(ways, plan, missed);
    let (fates, kept) = (worst(&reasons), worst(&timing));
    reasons.extend(timing);
    Judged { verdict: fates.max(kept), fates, timing: kept, reasons }
}

/// The reasons whose count is not zero.
fn counted<const N: usize>(verdict: Verdict, counts: [(u64, &str); N]) -> Vec<Reason> {
    let found = counts.into_iter().filter(|(count, _)| *count > 0);
    found.map(|(count, why)| Reason { verdict, why: format!("{count} {why}") }).collect()
}

fn against_fates(ways: &[Way; 2], plan: &Plan, loopback: [u64; 2]) -> Vec<Reason> {
    let sum = |of: fn(&Way) -> u64| ways.iter().map(of).sum::<u64>();
    let mut reasons = Vec::new();
    if sum(|w| w.offered) == 0 {
        reasons
            .push(Reason { verdict: Verdict::NoFrames, why: no_frames(loopback, plan.localhost) });
    }
    reasons.extend(counted(
        Verdict::Invalid,
        [
            (
                sum(|w| w.kernel_dropped + w.send_failed),
                "frames were dropped by the kernel, beside the plan's loss: the path was faster \
                 than this machine. Set a --rate that it can carry, or run on an idler machine",
            ),
            (
                sum(|w| w.oversize),
                "frames were longer than the MTU and were not passed on: an offload is on that \
                 should be off. Please report it",
            ),
            (
                sum(|w| w.bad_checksum_status),
                "frames came without complete checksums: an offload is on that should be off. \
                 Please report it",
            ),
            (
                sum(|w| w.bad_offload),
                "super-frames were of a kind that cannot be cut, and were not passed on. Run with \
                 --frames mtu, and please report it",
            ),
            (
                sum(|w| w.beyond_recording),
                "frames came after the end of the recording, which says nothing of them. Record a \
                 longer run",
            ),
        ],
    ));
    reasons.extend(counted(
        Verdict::Suspect,
        [(
            sum(|w| w.not_carried),
            "frames were neither IPv4 nor IPv6 traffic and were not passed on: a program speaks \
             to the link itself (ARP, neighbour discovery)",
        )],
    ));
    reasons
}

fn against_timing(ways: &[Way; 2], plan: &Plan, missed: u64) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for ((way, name), link) in ways.iter().zip(WAYS).zip(&plan.links) {
        let limit = (delay(link) / LATE_PART_OF_DELAY).max(LATE_FLOOR);
        if way.late_p99_ns > nanos(limit) {
            let why = format!(
                "from {name} 1 % of the frames left {} late or later, above the limit of {}: this \
                 machine was too busy. Run again on an idler one",
                latency(way.late_p99_ns),
                latency(nanos(limit)),
            );
            reasons.push(Reason { verdict: Verdict::Suspect, why });
        }
    }
    let waits = ways.iter().map(|way| way.pool_full).sum();
    reasons.extend(counted(
        Verdict::Suspect,
        [
            (
                waits,
                "times frames had to wait for memory, because too many were on their way. Set a \
                 lower --rate or --delay",
            ),
            (missed, MISSED),
        ],
    ));
    reasons
}

/// Follows the number of events and frames that a full buffer cost.
pub const MISSED: &str = "events or frames are missing in the captures and the recording: this \
    machine was too busy to write them down. The counts above are whole";

const WAYS: [&str; 2] = ["A to B", "B to A"];

/// Why delays were longer than asked, where keeping the order of frames made them so.
fn lengthened(way: &Way, link: &LinkPlan) -> Option<String> {
    /// Frames whose median says something.
    const ENOUGH: u64 = 100;
    let asked = [way.asked_delay_p50_ns?, way.asked_delay_p99_ns?];
    let ordered = link.reorder == Reorder::Never && link.rate.is_none();
    let limit = asked[0] + (asked[1] - asked[0]) / 4;
    (ordered && way.delivered >= ENOUGH && way.held_p50_ns > limit).then(|| {
        format!(
            "half of the frames were held {} or longer, asked {}: each waits for the slowest \
             before it. --reorder never,slot=100ms keeps order and delay, --reorder jitter the \
             delay alone",
            latency(way.held_p50_ns),
            latency(asked[0]),
        )
    })
}

/// What a run says besides its verdict: packets that passed the path by, marks that met no frame.
#[must_use]
pub fn caveats(ways: &[Way; 2], plan: &Plan, loopback: [u64; 2]) -> Vec<String> {
    let mut caveats = Vec::new();
    if plan.localhost && loopback[0] > 0 && ways.iter().any(|way| way.offered > 0) {
        let packets = plural(loopback[0], "packet", "packets");
        caveats.push(format!("{packets} to ::1 or another address of a were not impaired"));
    }
    for ((way, name), link) in ways.iter().zip(WAYS).zip(&plan.links) {
        caveats.extend(lengthened(way, link).map(|why| format!("from {name} {why}")));
    }
    let wanted = |link: &LinkPlan| link.mark.get() > 0;
    let crossed = ways.iter().zip(&plan.links).any(|(way, link)| wanted(link) && way.offered > 0);
    if crossed && ways.iter().all(|way| way.marked == 0) {
        let why = "no frame was marked: only ECN-capable ones can be; --ecn lets TCP ask for it";
        caveats.push(why.to_owned());
    }
    caveats
}

/// Why a run without frames does not test the plan.
fn no_frames(loopback: [u64; 2], localhost: bool) -> String {
    let mut why = "no frame crossed the path".to_owned();
    for (packets, host) in loopback.into_iter().zip(["a", "b"]).filter(|(n, _)| *n > 0) {
        let packets = plural(packets, "packet", "packets");
        why += &format!("; {packets} stayed on {host}'s loopback, which is not impaired");
    }
    let remedy = if localhost {
        ". Talk to 127.0.0.1: ::1 and a's other addresses are not on the path"
    } else {
        ". Talk to the other host: from a its name is b; --localhost makes 127.0.0.1 the path"
    };
    why + remedy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        let rate = Rate { asked_ppm: None, seen: Share::new(0, 0) };
        Way {
            offered: 10,
            offered_bytes: 1_000,
            delivered: 10,
            delivered_bytes: 1_000,
            delivered_bit_per_s: None,
            peak_bit_per_s: 0,
            queue_peak_bytes: 0,
            held_p50_ns: 0,
            held_p99_ns: 0,
            asked_delay_p50_ns: None,
            asked_delay_p99_ns: None,
            dropped: Vec::new(),
            loss: rate,
            corrupted: rate,
            duplicated: rate,
            reordered: 0,
            overtaking: 0,
            marked: 0,
            too_big_answered: 0,
            on_way: 0,
            kernel_dropped: 0,
            oversize: 0,
            bad_checksum_status: 0,
            bad_offload: 0,
            send_failed: 0,
            not_carried: 0,
            pool_full: 0,
            beyond_recording: 0,
            lost_ppm: 0,
            late_p50_ns: 0,
            late_p99_ns: 0,
            late_max_ns: 0,
            fates_digest: String::new(),
        }
    }

    #[test]
    fn every_deviation_from_the_plan_is_a_reason() {
        let plan = Plan::default();
        assert_eq!(
            verdict(&[way(), way()], &plan, 0, [0; 2]),
            Judged {
                verdict: Verdict::Trusted,
                fates: Verdict::Trusted,
                timing: Verdict::Trusted,
                reasons: Vec::new()
            }
        );
        type Fault = (fn(&mut Way), Verdict, &'static str);
        let faults: [Fault; 9] = [
            (|w| w.kernel_dropped = 1, Verdict::Invalid, "dropped by the kernel"),
            (|w| w.send_failed = 1, Verdict::Invalid, "dropped by the kernel"),
            (|w| w.oversize = 1, Verdict::Invalid, "longer than the MTU"),
            (|w| w.bad_checksum_status = 1, Verdict::Invalid, "complete checksums"),
            (|w| w.bad_offload = 1, Verdict::Invalid, "cannot be cut"),
            (|w| w.beyond_recording = 1, Verdict::Invalid, "end of the recording"),
            (|w| w.pool_full = 1, Verdict::Suspect, "wait for memory"),
            (|w| w.not_carried = 1, Verdict::Suspect, "neither IPv4 nor IPv6"),
            (|w| w.late_p99_ns = 1_000_001, Verdict::Suspect, "too busy"),
        ];
        for (fault, expected, word) in faults {
            for side in 0..2 {
                let mut ways = [way(), way()];
                fault(&mut ways[side]);
                let Judged { verdict, fates, timing, reasons } = verdict(&ways, &plan, 0, [0; 2]);
                // One of the two, never both.
                assert_eq!((fates.min(timing), fates.max(timing)), (Verdict::Trusted, verdict));
                assert_eq!(verdict, expected, "{word}");
                assert_eq!(reasons.len(), 1, "{word}");
                assert!(reasons[0].why.contains(word), "{:?}", reasons[0]);
            }
        }
        assert_eq!(verdict(&[way(), way()], &plan, 1, [0; 2]).verdict, Verdict::Suspect);
    }

    #[test]
    fn a_run_without_frames_is_never_trusted() {
        let plan = Plan::default();
        let idle = || Way { offered: 0, delivered: 0, ..way() };
        let Judged { verdict: none, reasons, .. } = verdict(&[idle(), idle()], &plan, 0, [412, 0]);
        assert_eq!(none, Verdict::NoFrames);
        assert!(reasons[0].why.contains("412 packets stayed on a's loopback"), "{reasons:?}");
        // One way is enough: its frames may all be lost.
        assert_eq!(verdict(&[way(), idle()], &plan, 0, [412, 0]).verdict, Verdict::Trusted);
    }

    #[test]
    fn lateness_is_compared_with_the_delay() {
        let mut plan = Plan::default();
        plan.links[0].delay = Delay::Constant(Duration::from_millis(100));
        let late = || Way { late_p99_ns: 4_000_000, ..way() };
        assert_eq!(verdict(&[late(), way()], &plan, 0, [0; 2]).verdict, Verdict::Trusted);
        let judged = verdict(&[way(), late()], &plan, 0, [0; 2]);
        assert_eq!((judged.fates, judged.timing), (Verdict::Trusted, Verdict::Suspect));
        assert_eq!(judged.verdict, Verdict::Suspect);
    }
}
