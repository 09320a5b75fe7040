//! What a plan must satisfy, part by part and as a whole.
//!
//! It exists so that a plan that would silently do something else than it says is refused, with the
//! reason. It must never change a plan.

use super::loss::expected;
use super::queue::QUEUE_FRAMES_MAX;
use super::{
    Bottleneck, Delay, Discipline, FateKey, LinkPlan, LossModel, MtuLimit, PlanError, Queue,
    QueueLimit, Rate, Reorder, Setting,
};
use crate::measure::{Ppm, human, nanos};
use std::time::Duration;

/// Longer delays are mistakes of a unit: light needs 9 minutes from the sun.
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// Changes of a timetable: making it ready takes their number squared, a million steps.
const CHANGES_MAX: usize = 1000;
/// Bits per second. Above this a full frame takes less than a nanosecond per 125 bytes, the unit of
/// all times.
const RATE_MAX: u64 = 1_000_000_000_000;
/// Bytes of the longest frame of an MTU of 1,500: a shorter queue never holds one.
const FULL_FRAME: u64 = 1514;

fn refuse(why: impl Into<String>) -> Result<(), PlanError> {
    Err(PlanError::Together(why.into()))
}

impl LossModel {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        match self {
            Self::FourState { p13, p31, p32, p14, .. } => {
                let sums = [("p13 + p14", p13, p14), ("p31 + p32", p31, p32)];
                for (name, a, b) in sums {
                    if a.get() + b.get() > Ppm::ONE.get() {
                        return refuse(format!(
                            "loss: {name} must not be above 100%, got {a} + {b}"
                        ));
                    }
                }
                Ok(())
            }
            Self::Recorded(list) if !list.values.is_sorted_by(|a, b| a < b) => {
                refuse(format!("loss: the numbers in {} must ascend", list.name))
            }
            _ => Ok(()),
        }
    }

    /// Whether a frame's fate depends on those before it.
    const fn has_memory(&self) -> bool {
        matches!(self, Self::GilbertElliott { .. } | Self::FourState { .. })
    }
}

impl Delay {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let text = human::duration;
        let wider = |mean: &Duration, width: &Duration, what: &str| {
            refuse(format!(
                "delay: {what} must not be above the mean, got {} at a mean of {}",
                text(*width),
                text(*mean)
            ))
        };
        let longest = match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { mean, half_width } if half_width > mean => {
                return wider(mean, half_width, "half the width");
            }
            Self::Normal { mean, deviation } if deviation > mean => {
                return wider(mean, deviation, "the deviation");
            }
            Self::Pareto { mean, deviation } if square(*deviation) > 3 * square(*mean) => {
                return wider(mean, deviation, "the deviation divided by the root of 3");
            }
            Self::Uniform { mean, .. } | Self::Normal { mean, .. } | Self::Pareto { mean, .. } => {
                *mean
            }
            Self::Table(table) | Self::RttTable(table) => {
                if !table.values.is_sorted() {
                    return refuse(format!("delay: the values of {} must ascend", table.name));
                }
                match table.values.last() {
                    Some(longest) => *longest,
                    None => return refuse(format!("delay: {} is empty", table.name)),
                }
            }
        };
        if longest > DELAY_MAX {
            return refuse(format!("delay: expected at most an hour, got {}", text(longest)));
        }
        Ok(())
    }

    fn is_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Uniform { half_width: width, .. }
            | Self::Normal { deviation: width, .. }
            | Self::Pareto { deviation: width, .. } => width.is_zero(),
            Self::Table(table) | Self::RttTable(table) => {
                table.values.first() == table.values.last()
            }
        }
    }
}

/// At most an hour's nanoseconds squared, 2^84; more is refused as too long before it matters.
fn square(duration: Duration) -> u128 {
    u128::from(nanos(duration) >> 1).pow(2)
}

impl Rate {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        match self {
            Self::Constant(0) => refuse("rate: expected more than 0 bits per second, got 0"),
            Self::Constant(bits) if *bits > RATE_MAX => {
                refuse(format!("rate: expected at most 1000Gbit, got {}", human::rate(*bits)))
            }
            Self::Constant(_) => Ok(()),
            Self::Trace(trace) => {
                if trace.values.last().is_none_or(|last| *last == 0) {
                    return refuse(format!("rate: the trace {} has no length", trace.name));
                }
                if !trace.values.is_sorted() {
                    return refuse(format!("rate: the times in {} must not descend", trace.name));
                }
                Ok(())
            }
        }
    }
}

impl Queue {
    fn check(&self) -> Result<(), PlanError> {
        match self.limit {
            QueueLimit::Packets(0) => return refuse("queue: expected at least one frame, got 0p"),
            QueueLimit::Packets(frames) if frames > QUEUE_FRAMES_MAX => {
                return refuse(format!(
                    "queue: expected at most {QUEUE_FRAMES_MAX}p, got {frames}p"
                ));
            }
            QueueLimit::Bytes(bytes) if bytes < FULL_FRAME => {
                return refuse(format!(
                    "queue: expected at least {FULL_FRAME}B, the longest frame, got {bytes}B"
                ));
            }
            _ => {}
        }
        match self.discipline {
            Discipline::CoDel { target, interval } if target.is_zero() || interval <= target => {
                refuse(format!(
                    "queue: codel needs a target above 0 and below the interval, got {} and {}",
                    human::duration(target),
                    human::duration(interval)
                ))
            }
            Discipline::DropTail | Discipline::DropHead if self.ecn => {
                refuse("queue: only codel marks frames (ecn)")
            }
            _ => Ok(()),
        }
    }
}

impl LinkPlan {
    /// Whether its parts can stand together and each makes sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        self.loss.check()?;
        self.delay.check()?;
        if let Some(mtu) = self.mtu.filter(|mtu| mtu.bytes < MtuLimit::MIN) {
            return refuse(format!("mtu: expected {} or more, got {}", MtuLimit::MIN, mtu.bytes));
        }
        if let Some(Bottleneck { rate, queue }) = &self.rate {
            rate.check()?;
            queue.check()?;
        }
        self.check_timetable()?;
        self.check_key()?;
        self.check_reorder()
    }

    fn check_timetable(&self) -> Result<(), PlanError> {
        if self.timetable.len() > CHANGES_MAX {
            let changes = self.timetable.len();
            return refuse(format!("at: expected at most {CHANGES_MAX} changes, got {changes}"));
        }
        for change in &self.timetable {
            match &change.what {
                Setting::Loss(loss) => loss.check()?,
                Setting::Delay(delay) => delay.check()?,
                Setting::Rate(_) if self.rate.is_none() => {
                    return refuse(format!("{change}: the link has no rate that could change"));
                }
                Setting::Rate(rate) => rate.check()?,
                Setting::Down | Setting::Corrupt(_) | Setting::Duplicate(_) => {}
            }
            if change.lasting == Some(Duration::ZERO) {
                return refuse(format!("{change}: expected a time above 0"));
            }
        }
        Ok(())
    }

    /// The loss models that may ever be in force.
    fn losses(&self) -> impl Iterator<Item = &LossModel> {
        let later = self.timetable.iter().filter_map(|change| match &change.what {
            Setting::Loss(loss) => Some(loss),
            _ => None,
        });
        std::iter::once(&self.loss).chain(later)
    }

    fn check_key(&self) -> Result<(), PlanError> {
        let listed = self.losses().any(|loss| matches!(loss, LossModel::Recorded(_)));
        match self.key {
            FateKey::Order => Ok(()),
            FateKey::Time { slot } if slot.is_zero() => {
                refuse("key: expected a slot above 0, got time:0")
            }
            _ if listed => refuse("a list of losses counts frames: it needs key order"),
            FateKey::Content if self.losses().any(LossModel::has_memory) => refuse(
                "bursts need an order of frames, which differs between transports: with key \
                 content use a plain share, or use key time",
            ),
            FateKey::Time { .. } | FateKey::Content => Ok(()),
        }
    }

    fn check_reorder(&self) -> Result<(), PlanError> {
        let changes = self.timetable.iter().any(|change| matches!(change.what, Setting::Delay(_)));
        match self.reorder {
            Reorder::ByJitter if self.delay.is_constant() && !changes => {
                refuse("reorder jitter needs a delay that varies, such as normal:40ms,5ms")
            }
            Reorder::Share { .. } if self.delay == Delay::default() && !changes => {
                refuse("reorder needs a delay: without one there is nothing to overtake")
            }
            _ => Ok(()),
        }
    }

    /// The share of frames that the loss model loses in the long run, where theory gives it: no
    /// list, no limit on bursts, no change of loss in the timetable.
    ///
    /// With key time it is the share of time slots, which frames need not sample evenly.
    #[must_use]
    pub fn expected_loss(&self) -> Option<Ppm> {
        let changes = self
            .timetable
            .iter()
            .any(|change| matches!(change.what, Setting::Loss(_) | Setting::Down));
        if changes || self.max_burst.is_some() { None } else { expected(&self.loss) }
    }
}
