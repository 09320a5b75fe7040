//! One exchange that was believed: its four timestamps, and what they prove by themselves.
//!
//! With delays d1, d2 >= 0 the server's clock minus this one's, theta, obeys `T3 - T4 = theta - d2
//! <= theta <= theta + d1 = T2 - T1`: the interval needs no other assumption.

use super::drift::DRIFT_MAX;
use super::packet::{Leap, ReferenceId, VERSION, VERSION_3};
use super::refusal::{FLOOR, Refusal, Warning};
use super::timestamp::{NtpTimestamp, Rounded, ShortDuration, WallTime, saturated};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use wirelab::measure::Instant;

/// One reading of this host's clocks, time of day and monotonic together.
///
/// A step of the one moves it against the other, and so is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimePair {
    /// Time of day.
    #[serde(rename = "wall_ns")]
    pub wall: WallTime,
    /// Monotonic, just before.
    #[serde(rename = "monotonic_ns")]
    pub at: Instant,
    /// Monotonic time that passed over the reading, nanoseconds: how far they may be apart.
    pub width_ns: u32,
    /// How long the host has slept since it started: the time of day went on, the monotonic clock
    /// did not. Late by at most the width.
    #[serde(default)]
    pub slept_ns: u64,
}

impl TimePair {
    /// Time of day minus monotonic, which steps and sleep change; late by at most the width.
    #[must_use]
    pub fn wall_minus_monotonic(&self) -> i128 {
        i128::from(self.wall.as_nanos()) - i128::from(self.at.as_nanos())
    }

    /// By how much the clock was set from `self` to `later`; zero below what the pairs can tell.
    #[must_use]
    pub fn step_until(&self, later: &Self) -> i64 {
        let moved = later.wall_minus_monotonic() - self.wall_minus_monotonic();
        self.beyond_doubt(later, moved - i128::from(self.slept_until(later)))
    }

    /// How long the host slept from `self` to `later`; zero below what the pairs can tell.
    ///
    /// What passed meanwhile was counted by another clock of the host, perhaps in whole seconds:
    /// what was certain before is not certain after.
    #[must_use]
    pub fn slept_until(&self, later: &Self) -> i64 {
        self.beyond_doubt(later, i128::from(later.slept_ns) - i128::from(self.slept_ns))
    }

    fn beyond_doubt(&self, later: &Self, moved: i128) -> i64 {
        let blur = i128::from(self.width_ns) + i128::from(later.width_ns) + 1;
        let moved = if moved.abs() <= blur { 0 } else { moved };
        saturated(moved)
    }
}

/// How many samples there are, as reports count them.
pub(crate) fn count(samples: usize) -> u32 {
    u32::try_from(samples).expect("fewer than 2^32 samples")
}

/// Source of a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampedBy {
    /// The kernel, when the datagram came in or left.
    Kernel,
    /// This program, when it had read the datagram, or was about to send it.
    #[default]
    User,
}

/// When a reply came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The clocks after the datagram was read.
    pub user: TimePair,
    /// The kernel's stamp, where there is one.
    pub kernel: Option<WallTime>,
}

impl Arrival {
    /// T4 for a request sent at `t1`, and who took it.
    ///
    /// A kernel stamp outside [T1, user stamp] cannot be of the same clock: the user's is taken.
    #[must_use]
    pub fn t4(&self, t1: &TimePair) -> (TimePair, StampedBy) {
        let fits = |kernel: &WallTime| *kernel >= t1.wall && *kernel <= self.user.wall;
        let Some(kernel) = self.kernel.filter(fits) else { return (self.user, StampedBy::User) };
        let before = self.user.wall.minus(kernel).unsigned_abs();
        let at = Instant::from_nanos(self.user.at.as_nanos().saturating_sub(before));
        // A step between arrival and reading would put it before the request.
        if at < t1.at {
            return (self.user, StampedBy::User);
        }
        (TimePair { wall: kernel, at, ..self.user }, StampedBy::Kernel)
    }
}

/// The server's claims about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The version of its reply, where that is not 4.
    #[serde(default = "current", skip_serializing_if = "is_current")]
    pub version: u8,
    /// Warning of a leap second.
    pub leap: Leap,
    /// Hops from a reference clock.
    pub stratum: u8,
    /// Resolution of its clock, log2 seconds.
    pub precision_log2_s: i8,
    /// Round trip to its reference clock, units of 2^-16 s.
    pub root_delay: ShortDuration,
    /// Its error to its reference clock, units of 2^-16 s.
    pub root_dispersion: ShortDuration,
    /// Its reference.
    pub reference_id: ReferenceId,
    /// When its clock was last set.
    pub reference: NtpTimestamp,
}

const fn current() -> u8 {
    VERSION
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_current(version: &u8) -> bool {
    *version == VERSION
}

/// Timestamps and claims of one exchange: a line of a samples file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The server asked.
    pub server: SocketAddr,
    /// Number of the request to that server, from 1.
    pub request: u32,
    /// The port it was sent from; one of its own, and so perhaps a path of its own.
    pub local_port: u16,
    /// Just before the request was sent.
    pub t1: TimePair,
    /// Source of T1.
    #[serde(default)]
    pub t1_by: StampedBy,
    /// When this program was about to send it, where the kernel took T1: earlier than that.
    #[serde(rename = "t1_user_ns", default, skip_serializing_if = "Option::is_none")]
    pub t1_user: Option<WallTime>,
    /// When the server received it, on the wire.
    pub t2: NtpTimestamp,
    /// When the server replied, on the wire.
    pub t3: NtpTimestamp,
    /// When the reply came in.
    pub t4: TimePair,
    /// Source of T4.
    pub t4_by: StampedBy,
    /// When this program had read it: later than T4 where the kernel took that.
    #[serde(rename = "t4_user_ns")]
    pub t4_user: WallTime,
    /// The server's claims about itself.
    pub claims: Claims,
    /// Whether the reply was proved to be of the server (RFC 8915).
    #[serde(default)]
    pub authenticated: bool,
    /// Whether T3 is when the reply left, as the next reply reported (RFC 9769).
    #[serde(default)]
    pub interleaved: bool,
}

/// Longest root distance of a server that is synchronized (RFC 5905 §7.3, MAXDISP).
const DISPERSION_MAX_NS: i64 = 16_000_000_000;
/// Longest root distance of a server that would be selected (RFC 5905 §11.2.3, MAXDIST).
const DISTANCE_MAX_NS: i64 = 1_000_000_000;
/// Offset at which a daemon gives up (RFC 5905 §7.3, PANICT).
const PANIC_NS: u64 = 1_000_000_000_000;
/// Oldest reference that passes without a word: 2^17 s, the longest poll interval (RFC 5905
/// §7.3, MAXPOLL).
const REFERENCE_AGE_MAX_NS: i64 = 131_072_000_000_000;
/// Finest precision that is believed: the wire itself is no finer.
const PRECISION_MIN: i8 = -32;

/// An exchange that was believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Timestamps and claims.
    #[serde(flatten)]
    pub record: Record,
    /// T2 - T1: the offset is at most this, plus the slack. Holds when T1 was taken.
    pub forward_ns: i64,
    /// T3 - T4: the offset is at least this, minus the slack. Holds when T4 was taken.
    pub backward_ns: i64,
    /// Widening on each side for the clocks' resolution.
    pub slack_ns: i64,
    /// root delay / 2 + root dispersion: how far the server says it may be from UTC.
    pub root_distance_ns: i64,
    /// Reasons why it is less useful.
    pub warnings: Vec<Warning>,
}

impl Sample {
    /// Judges what was said by its plausibility.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(record: Record) -> Result<Self, Refusal> {
        let root_distance_ns = synchronized(&record.claims)?;
        if record.t2.is_none() {
            return Err(Refusal::NoReceive);
        }
        if record.t3.is_none() {
            return Err(Refusal::NoTransmit);
        }
        let slept = record.t1.slept_until(&record.t4);
        if slept != 0 {
            return Err(Refusal::Slept(slept));
        }
        let step = record.t1.step_until(&record.t4);
        if step != 0 {
            return Err(Refusal::Stepped(step));
        }
        let elapsed = record.t4.wall.minus(record.t1.wall);
        if elapsed < 0 {
            return Err(Refusal::LocalOrder(-elapsed));
        }
        // Nearest to this host's clock, or to the floor where that clock lies before it.
        let pivot = record.t1.wall.max(FLOOR);
        let read = |time: NtpTimestamp| time.near(pivot).ok_or(Refusal::OutOfRange);
        let (t2, t3) = (read(record.t2)?, read(record.t3)?);
        if t3.down < FLOOR && record.t1.wall >= FLOOR {
            return Err(Refusal::BeforeFloor(t3.down.as_nanos() / 1_000_000_000));
        }
        let mut sample = Self {
            forward_ns: t2.up.minus(record.t1.wall),
            backward_ns: t3.down.minus(record.t4.wall),
            slack_ns: slack(&record)?,
            root_distance_ns,
            warnings: Vec::new(),
            record,
        };
        sample.possible(t2, t3, elapsed)?;
        reference(&record.claims, t3, &mut sample.warnings)?;
        Ok(sample.warned())
    }

    /// //= RFC 4330 §5: a negative delay is possible only in symmetric modes.
    fn possible(&self, t2: Rounded, t3: Rounded, elapsed: i64) -> Result<(), Refusal> {
        let residence_ns = t3.up.minus(t2.down);
        // A clock that fuzzes what is below its precision may go back by that much.
        if residence_ns < -self.slack_ns {
            return Err(Refusal::Backwards(residence_ns));
        }
        let drifted = DRIFT_MAX.over(elapsed.unsigned_abs());
        if self.low_ns() > self.high_ns().saturating_add(drifted) {
            return Err(Refusal::NegativeDelay { round_trip_ns: elapsed, residence_ns });
        }
        Ok(())
    }

    fn warned(mut self) -> Self {
        if self.root_distance_ns > DISTANCE_MAX_NS {
            self.warnings.push(Warning::RootDistance);
        }
        if self.offset_ns().unsigned_abs() > PANIC_NS {
            self.warnings.push(Warning::Panic);
        }
        if self.record.claims.version == VERSION_3 {
            self.warnings.push(Warning::Version3);
        }
        if matches!(self.record.claims.leap, Leap::Insert | Leap::Delete) {
            self.warnings.push(Warning::Leap);
        }
        self
    }

    /// The offset if both ways took equally long: server minus this host.
    ///
    /// //= RFC 5905 §8: theta = 1/2 [(T2 - T1) + (T3 - T4)]
    #[must_use]
    pub fn offset_ns(&self) -> i64 {
        let sum = i128::from(self.forward_ns) + i128::from(self.backward_ns);
        i64::try_from(sum.div_euclid(2)).expect("the mean of two values lies between them")
    }

    /// Both ways together; not below zero, though the last nanosecond may be missing.
    ///
    /// //= RFC 5905 §8: delta = (T4 - T1) - (T3 - T2)
    #[must_use]
    pub fn delay_ns(&self) -> i64 {
        self.forward_ns.saturating_sub(self.backward_ns).max(0)
    }

    /// The offset is at least this, whatever the path did.
    #[must_use]
    pub const fn low_ns(&self) -> i64 {
        self.backward_ns.saturating_sub(self.slack_ns)
    }

    /// The offset is at most this, whatever the path did.
    #[must_use]
    pub const fn high_ns(&self) -> i64 {
        self.forward_ns.saturating_add(self.slack_ns)
    }
}

/// Widening on each side of an interval for the clocks' resolution.
///
/// //= RFC 5905 §9.2: both precisions are part of the dispersion of a sample.
fn slack(record: &Record) -> Result<i64, Refusal> {
    let precision = record.claims.precision_log2_s;
    if precision > 0 {
        return Err(Refusal::Precision(precision));
    }
    let exponent = u32::from(precision.max(PRECISION_MIN).unsigned_abs());
    let server = (1_000_000_000_i64 >> exponent) + 1;
    // While the pair was read the offset moved by less than 1000 ppm of that time.
    let reading = i64::from(record.t1.width_ns.div_ceil(1000) + record.t4.width_ns.div_ceil(1000));
    // This host's clocks count whole nanoseconds.
    Ok(server + reading + 1)
}

/// How far the server may be from UTC by its own claim, where it claims to be synchronized.
pub(super) fn synchronized(claims: &Claims) -> Result<i64, Refusal> {
    if claims.leap == Leap::Unsynchronized {
        return Err(Refusal::Unsynchronized);
    }
    match claims.stratum {
        0 => return Err(Refusal::StratumZero),
        1..16 => {}
        stratum => return Err(Refusal::Stratum(stratum)),
    }
    let distance = claims.root_delay.nanos_up() / 2 + claims.root_dispersion.nanos_up() + 1;
    if distance >= DISPERSION_MAX_NS {
        return Err(Refusal::RootDistance(distance));
    }
    Ok(distance)
}

/// //= RFC 5905 §8 test 7 and A.5.1.1: a reference after the transmit timestamp is invalid.
fn reference(claims: &Claims, t3: Rounded, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
    // Some servers never say when; that is not a fault.
    if claims.reference.is_none() {
        return Ok(());
    }
    let Some(reference) = claims.reference.near(t3.down) else { return Err(Refusal::OutOfRange) };
    let age = t3.up.minus(reference.down);
    if age < 0 {
        return Err(Refusal::ReferenceAhead(-age));
    }
    if age > REFERENCE_AGE_MAX_NS {
        warnings.push(Warning::ReferenceOld);
    }
    Ok(())
}
