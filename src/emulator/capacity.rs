//! Capacity planning: the frames that a set of links can have in flight at once.
//!
//! The bandwidth-delay product plus the queues is enough for any plan with bounded delays, however
//! short the frames are.

use super::frame_pool::{Pending, Pool};
use crate::measure::saturated;
use crate::path::{Bottleneck, Delay, LinkPlan, QueueLimit, Rate, Setting};
use std::time::Duration;
use thiserror::Error;

/// Frames per second that one router thread can move, all lanes and directions together.
pub const FRAMES_PER_SECOND_MAX: u64 = 160_000;
/// Frames in flight at once, at most: 3 s of what one thread can move, 0.9 GB.
pub const POOL_FRAMES_MAX: u64 = 3 * FRAMES_PER_SECOND_MAX;
/// Due frames while the router is paused for 10 ms, the longest usual pause on a shared virtual
/// machine, and one burst of each port.
const SLACK: u64 = FRAMES_PER_SECOND_MAX / 100 + 64;
/// The shortest frame: the headers of Ethernet, IPv4 and UDP.
const FRAME_MIN: u32 = 42;

/// The frames in flight would exceed the router's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{frames} frames could be on their way at once ({} MB), at most {POOL_FRAMES_MAX}: \
     set a lower rate, a shorter delay or a smaller queue",
    bytes(*frames) / 1_000_000
)]
pub struct TooManyFrames {
    /// Their number.
    pub frames: u64,
}

/// The memory of this many frames in flight.
pub(super) fn bytes(frames: u64) -> u64 {
    frames.saturating_mul((Pool::SLOT_BYTES + 2 * size_of::<Pending>()) as u64)
}

/// The frames that links of these plans can have in flight at once.
///
/// Unbounded delays count up to their 99.99th percentile: frames beyond it use the room of those
/// with shorter delays, or wait in the ring and are counted.
///
/// # Errors
/// If that exceeds [`POOL_FRAMES_MAX`].
pub(super) fn frames_on_way<'a>(
    plans: impl IntoIterator<Item = &'a LinkPlan>,
) -> Result<usize, TooManyFrames> {
    let (mut travelling, mut longest, mut waiting) = (0_u64, Duration::ZERO, 0_u64);
    for plan in plans {
        let delay = longest_delay(plan);
        longest = longest.max(delay);
        travelling = travelling.saturating_add(within(frames_per_second(plan), delay));
        waiting = waiting.saturating_add(queued(plan));
    }
    let travelling = travelling.min(within(FRAMES_PER_SECOND_MAX, longest));
    let frames = travelling.saturating_add(waiting).saturating_add(SLACK);
    match usize::try_from(frames) {
        Ok(fits) if frames <= POOL_FRAMES_MAX => Ok(fits),
        _ => Err(TooManyFrames { frames }),
    }
}

/// Frames that pass in a time, rounded up.
fn within(per_second: u64, time: Duration) -> u64 {
    let frames = u128::from(per_second).saturating_mul(time.as_nanos()).div_ceil(1_000_000_000);
    saturated(frames)
}

/// The output of a link's bottleneck, or its input without one.
fn frames_per_second(plan: &LinkPlan) -> u64 {
    let Some(Bottleneck { rate, .. }) = &plan.rate else { return FRAMES_PER_SECOND_MAX };
    let later = plan.timetable.iter().filter_map(|change| match &change.what {
        Setting::Rate(rate) => Some(rate),
        _ => None,
    });
    let frames = |rate: &Rate| match rate {
        Rate::Constant(bits_per_second) => {
            bits_per_second.div_ceil(8 * u64::from(plan.overhead.on_wire(FRAME_MIN)))
        }
        // Its opportunities may all coincide.
        Rate::Trace(_) => FRAMES_PER_SECOND_MAX,
    };
    let highest = later.chain([rate]).map(frames).max();
    highest.map_or(FRAMES_PER_SECOND_MAX, |highest| highest.min(FRAMES_PER_SECOND_MAX))
}

/// The lowest rate of a link, bits per second; `None` where a trace gives it.
fn lowest_rate(plan: &LinkPlan) -> Option<u64> {
    let later = plan.timetable.iter().filter_map(|change| match &change.what {
        Setting::Rate(rate) => Some(rate),
        _ => None,
    });
    let first = plan.rate.iter().map(|bottleneck| &bottleneck.rate);
    let rates = later.chain(first).map(|rate| match rate {
        Rate::Constant(bits_per_second) => Some(*bits_per_second),
        Rate::Trace(_) => None,
    });
    rates.min().flatten()
}

/// How long this many bytes take at a rate, not zero.
fn drain(bytes: u64, bits_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(bits_per_second.max(1));
    Duration::from_nanos(saturated(nanos))
}

fn queued(plan: &LinkPlan) -> u64 {
    plan.rate.as_ref().map_or(0, |bottleneck| match bottleneck.queue.limit {
        QueueLimit::Bytes(bytes) => {
            // What waits was received in the time that the queue takes to drain.
            let drains = lowest_rate(plan).map_or(Duration::MAX, |rate| drain(bytes, rate));
            let received = within(FRAMES_PER_SECOND_MAX, drains).saturating_add(1);
            bytes.div_ceil(FRAME_MIN.into()).min(received)
        }
        QueueLimit::Packets(frames) => u64::from(frames),
    })
}

fn longest_delay(plan: &LinkPlan) -> Duration {
    let later = plan.timetable.iter().filter_map(|change| match &change.what {
        Setting::Delay(delay) => Some(delay),
        _ => None,
    });
    later.chain([&plan.delay]).map(longest).max().unwrap_or_default()
}

/// Standard deviations from a normal distribution's mean to its 99.99th percentile, rounded up.
const NORMAL_REACH: u32 = 4;
/// The same of a Pareto distribution of shape 3: its scale is 2 / sqrt(3) deviations, and the
/// percentile 10,000^(1/3) scales.
const PARETO_REACH: u32 = 25;

fn longest(delay: &Delay) -> Duration {
    match delay {
        Delay::Constant(delay) => *delay,
        Delay::Uniform { mean, half_width } => mean.saturating_add(*half_width),
        Delay::Normal { mean, deviation } => {
            mean.saturating_add(deviation.saturating_mul(NORMAL_REACH))
        }
        Delay::Pareto { mean, deviation } => {
            mean.saturating_add(deviation.saturating_mul(PARETO_REACH))
        }
        Delay::Table(table) | Delay::RttTable(table) => {
            table.values.iter().max().copied().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Change, Queue};

    fn plan(delay_ms: u64, rate: Option<u64>, limit: QueueLimit) -> LinkPlan {
        let queue = Queue { limit, ..Queue::default() };
        LinkPlan {
            delay: Delay::Constant(Duration::from_millis(delay_ms)),
            rate: rate.map(|bits| Bottleneck { rate: Rate::Constant(bits), queue }),
            ..LinkPlan::default()
        }
    }

    #[test]
    fn the_room_is_rate_times_delay_plus_queue() {
        let none = QueueLimit::Packets(0);
        let slack = usize::try_from(SLACK).unwrap();
        let free = plan(100, None, none);
        // One thread moves 16,000 frames in 100 ms in both directions together.
        assert_eq!(frames_on_way([&free]), Ok(16_000 + slack));
        assert_eq!(frames_on_way([&free, &free]), Ok(16_000 + slack));
        // 3.36 Mbit/s are 10,000 shortest frames per second.
        let slow = plan(100, Some(3_360_000), none);
        assert_eq!(frames_on_way([&slow, &slow]), Ok(2 * 1_000 + slack));
        let waiting = plan(100, Some(3_360_000), QueueLimit::Bytes(42_000));
        assert_eq!(frames_on_way([&waiting, &slow]), Ok(3_000 + slack));
        let mut later = slow.clone();
        let what = Setting::Delay(Delay::Constant(Duration::from_millis(300)));
        later.timetable.push(Change { at: Duration::from_secs(1), lasting: None, what });
        assert_eq!(frames_on_way([&later]), Ok(3_000 + slack));
    }

    #[test]
    fn a_queue_of_one_bandwidth_delay_product_has_room() {
        let slack = usize::try_from(SLACK).unwrap();
        // 1 Gbit/s × 50 ms both ways: 8,000 frames arrive while each queue drains.
        let link = plan(50, Some(1_000_000_000), QueueLimit::Bytes(6_250_000));
        assert_eq!(frames_on_way([&link, &link]), Ok(8_000 + 2 * 8_001 + slack));
        // At a lower rate later, more wait.
        let mut slower = link;
        let what = Setting::Rate(Rate::Constant(100_000_000));
        slower.timetable.push(Change { at: Duration::from_secs(1), lasting: None, what });
        assert_eq!(frames_on_way([&slower]), Ok(8_000 + 80_001 + slack));
    }

    #[test]
    fn too_much_is_refused_with_what_to_change() {
        let error = frames_on_way([&plan(4_000, None, QueueLimit::Packets(0))]).unwrap_err();
        assert_eq!(error.frames, 640_000 + SLACK);
        let said = error.to_string();
        assert!(said.starts_with("641664 frames could be on their way at once (1"), "{said}");
        assert!(said.contains("set a lower rate"), "{said}");
        let endless = plan(u64::MAX / 1_000_000, Some(u64::MAX), QueueLimit::Bytes(u64::MAX));
        assert!(frames_on_way([&endless, &endless]).is_err(), "no overflow");
    }
}
