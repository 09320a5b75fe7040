//! Compares this host's own clocks with each other during a run.
//!
//! A step moves the time of day against the monotonic clock; a slew moves both against the raw one;
//! sleep moves the time of day and the boot clock alike; a smear of the server moves none of them.

use super::timestamp::WallTime;
use super::timestamp::saturated;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wirelab::measure::Instant;

/// Every clock of this host at about one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_MONOTONIC`: slewed, never set.
    pub at: Instant,
    /// `CLOCK_REALTIME`: slewed and set.
    pub wall: WallTime,
    /// `CLOCK_MONOTONIC_RAW`, nanoseconds: the crystal, neither slewed nor set.
    pub raw_ns: u64,
    /// `CLOCK_BOOTTIME`, nanoseconds: monotonic, and goes on while the host sleeps.
    pub boot_ns: u64,
    /// Monotonic time that passed over the reading: how far the four may be apart.
    pub width_ns: u32,
}

/// The clocks against each other, as changes since the first reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// When, monotonic.
    #[serde(rename = "at_ns")]
    pub at: Instant,
    /// REALTIME - MONOTONIC.
    pub wall_ns: i64,
    /// MONOTONIC - RAW.
    pub slewed_ns: i64,
    /// BOOTTIME - MONOTONIC.
    pub slept_ns: i64,
    /// How far each may be off.
    pub width_ns: u32,
}

/// A jump of one clock against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// Not before this.
    #[serde(rename = "after_ns")]
    pub after: Instant,
    /// Not after this.
    #[serde(rename = "before_ns")]
    pub before: Instant,
    /// By how much.
    pub by_ns: i64,
}

/// Changes of the clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClocks {
    /// Readings, evenly over the run.
    pub readings: Vec<Moved>,
    /// Where the time of day was set: REALTIME moved against MONOTONIC, and not by sleep.
    pub steps: Vec<Jump>,
    /// Where the host slept: BOOTTIME moved against MONOTONIC.
    pub sleeps: Vec<Jump>,
    /// The kernel made the clock run slower than the crystal by this at times, parts per trillion.
    pub slew_low_ppt: i64,
    /// And faster by this; both ends are equal where the rate was never changed.
    pub slew_high_ppt: i64,
}

/// Readings kept at most: a picture is a thousand pixels wide.
pub const READINGS_MAX: usize = 512;
/// From one reading to the next at first; it doubles where a run is long.
pub const READ_EVERY: Duration = Duration::from_millis(50);
/// Most jumps reported; a clock that is set more often is broken.
const JUMPS_MAX: usize = 64;

/// Readings of a run, thinned out as it grows.
#[derive(Clone, Debug)]
pub struct HostClockMonitor {
    readings: Vec<Reading>,
    every: Duration,
    next: Instant,
}

impl Default for HostClockMonitor {
    fn default() -> Self {
        Self { readings: Vec::new(), every: READ_EVERY, next: Instant::ZERO }
    }
}

impl HostClockMonitor {
    /// When the next reading is due.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.next
    }

    /// Takes a reading; above the limit, drops every other one.
    pub fn take(&mut self, reading: Reading) {
        if self.readings.len() == READINGS_MAX {
            let mut index = 0;
            self.readings.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every = self.every.saturating_mul(2);
        }
        self.readings.push(reading);
        self.next = reading.at + self.every;
    }

    /// Changes of the clocks; `None` without readings.
    #[must_use]
    pub fn clocks(&self) -> Option<HostClocks> {
        let first = self.readings.first()?;
        let readings: Vec<Moved> = self.readings.iter().map(|now| moved(first, now)).collect();
        let (slew_low_ppt, slew_high_ppt) = slews(&readings);
        Some(HostClocks {
            steps: jumps(&readings, |m| m.wall_ns - m.slept_ns),
            sleeps: jumps(&readings, |m| m.slept_ns),
            slew_low_ppt,
            slew_high_ppt,
            readings,
        })
    }
}

fn moved(first: &Reading, now: &Reading) -> Moved {
    let since = |now: i128, first: i128| saturated(now - first);
    let monotonic = since(now.at.as_nanos().into(), first.at.as_nanos().into());
    let raw = since(now.raw_ns.into(), first.raw_ns.into());
    let boot = since(now.boot_ns.into(), first.boot_ns.into());
    Moved {
        at: now.at,
        wall_ns: now.wall.minus(first.wall) - monotonic,
        slewed_ns: monotonic - raw,
        slept_ns: boot - monotonic,
        width_ns: first.width_ns.saturating_add(now.width_ns),
    }
}

/// Where a difference moved by more than the readings are apart.
fn jumps(readings: &[Moved], of: impl Fn(&Moved) -> i64) -> Vec<Jump> {
    let jump = |pair: &[Moved]| {
        let by_ns = of(&pair[1]) - of(&pair[0]);
        let blur = i64::from(pair[0].width_ns) + i64::from(pair[1].width_ns) + 1;
        let found = Jump { after: pair[0].at, before: pair[1].at, by_ns };
        (by_ns.abs() > blur).then_some(found)
    };
    readings.windows(2).filter_map(jump).take(JUMPS_MAX).collect()
}

/// Shortest time over which a rate is taken: readings a microsecond apart are 1 ppm over it.
const RATE_SPAN_NS: u64 = 1_000_000_000;

/// The smallest and the largest rate of MONOTONIC against RAW that the readings prove at least.
///
/// Each pair of readings bounds the rate between them; only what is certain is reported.
fn slews(readings: &[Moved]) -> (i64, i64) {
    let (mut low, mut high) = (None::<i64>, None::<i64>);
    let mut from = 0;
    for (to, reading) in readings.iter().enumerate() {
        let begin = &readings[from];
        let span = reading.at.as_nanos().saturating_sub(begin.at.as_nanos());
        if to == from || span < RATE_SPAN_NS {
            continue;
        }
        let ppt = |ns: i64| i128::from(ns) * 1_000_000_000_000 / i128::from(span);
        let by = reading.slewed_ns - begin.slewed_ns;
        let blur = i64::from(reading.width_ns) + i64::from(begin.width_ns) + 1;
        // The value in [by - blur, by + blur] that is nearest to no slew.
        let sure = by.signum() * (by.abs() - blur).max(0);
        let sure = saturated(ppt(sure));
        low = Some(low.map_or(sure, |low| low.min(sure)));
        high = Some(high.map_or(sure, |high| high.max(sure)));
        from = to;
    }
    (low.unwrap_or(0), high.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings every 50 ms; `wall`, `slewed`, `slept` say what moved by then.
    fn play(count: u64, of: impl Fn(u64) -> [i64; 3]) -> HostClocks {
        let mut panel = HostClockMonitor::default();
        for index in 0..count {
            let at = Instant::from_nanos(index * 50_000_000);
            if at < panel.due() {
                continue;
            }
            let [wall, slewed, slept] = of(index * 50);
            let nanos = i64::try_from(at.as_nanos()).unwrap();
            panel.take(Reading {
                at,
                wall: WallTime::from_nanos(nanos + wall),
                raw_ns: u64::try_from(nanos - slewed + 1_000_000_000).unwrap(),
                boot_ns: u64::try_from(nanos + slept).unwrap(),
                width_ns: 100,
            });
        }
        panel.clocks().unwrap()
    }

    #[test]
    fn a_step_a_slew_and_sleep_move_different_clocks() {
        let still = play(200, |_| [0; 3]);
        assert_eq!((still.steps.len(), still.sleeps.len()), (0, 0));
        assert_eq!((still.slew_low_ppt, still.slew_high_ppt), (0, 0));
        let step = play(200, |ms| [if ms >= 5_000 { -80_000_000 } else { 0 }, 0, 0]);
        assert_eq!((step.steps.len(), step.sleeps.len()), (1, 0));
        assert_eq!((step.steps[0].by_ns, step.slew_high_ppt), (-80_000_000, 0));
        let by = |ms: u64| i64::try_from(ms).unwrap() * 200;
        let slew = play(200, |ms| [0, by(ms.saturating_sub(5_000)), 0]);
        assert_eq!((slew.steps.len(), slew.slew_low_ppt), (0, 0));
        assert!((190_000_000..=200_000_000).contains(&slew.slew_high_ppt), "{slew:?}");
        let sleep = play(200, |ms| if ms >= 3_000 { [7_000, 0, 7_000] } else { [0; 3] });
        assert_eq!((sleep.steps.len(), sleep.sleeps.len()), (0, 1));
        let both = play(200, |ms| if ms >= 3_000 { [90_000, 0, 7_000] } else { [0; 3] });
        assert_eq!((both.steps[0].by_ns, both.sleeps.len()), (83_000, 1));
    }

    #[test]
    fn a_long_run_is_thinned_out_and_keeps_its_ends() {
        let long = play(100_000, |_| [0; 3]);
        assert!((READINGS_MAX / 2..=READINGS_MAX).contains(&long.readings.len()));
        assert_eq!(long.readings[0].at, Instant::ZERO);
    }
}
