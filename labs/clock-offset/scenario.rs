//! A server's clock whose error is known, behind a path whose delays are known.

use super::packet::Leap;
use crate::timestamp::saturated;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};

/// The server's clock minus this host's, as a function of this host's monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// At the start.
    pub offset_ns: i64,
    /// Change per second, parts per billion.
    pub drift_ppb: i64,
    /// Jumps of the server's clock.
    pub steps: Vec<Step>,
    /// Times over which the server's clock is moved evenly, as a leap second is smeared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smears: Vec<Smear>,
    /// How its rate wanders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wander: Option<RandomWalkFm>,
}

/// A jump of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, since the start.
    #[serde(rename = "at_ns")]
    pub at: Instant,
    /// By how much.
    pub by_ns: i64,
}

/// This host sleeps: its monotonic clock stands still, the time of day goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// When, monotonic.
    #[serde(rename = "at_ns")]
    pub at: Instant,
    /// For how long.
    pub for_ns: i64,
    /// By how much its clocks misjudge that: they are set again from one that may count seconds.
    pub error_ns: i64,
}

/// A clock is moved by so much between two times, at an even rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smear {
    /// From when, since the start.
    #[serde(rename = "from_ns")]
    pub from: Instant,
    /// Until when.
    #[serde(rename = "until_ns")]
    pub until: Instant,
    /// By how much in all.
    pub by_ns: i64,
}

impl Smear {
    /// By how much the clock has been moved at a time, rounded towards zero.
    #[must_use]
    pub fn moved_at(&self, at: Instant) -> i64 {
        let nanos = |at: Instant| i128::from(at.as_nanos());
        let (from, until) = (nanos(self.from), nanos(self.until));
        let length = (until - from).max(1);
        let part = (nanos(at) - from).clamp(0, length);
        i64::try_from(i128::from(self.by_ns) * part / length).expect("a part of the whole")
    }
}

/// A rate that walks: every second it changes by a normal draw (random-walk frequency noise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomWalkFm {
    /// The deviation of one change: parts per billion per root second. A crystal has below 1.
    pub ppb_per_root_s: u32,
    /// Source of the draws.
    pub seed: u64,
}

impl RandomWalkFm {
    /// What has come of it at a time, nanoseconds. It takes a step for every second of the run, so
    /// it is for demonstrations and not for servers that run for days.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a phase of milliseconds in units of nanoseconds"
    )]
    fn offset_at(self, at: Instant) -> i64 {
        let (mut rate, mut phase) = (0.0, 0.0);
        let whole = at.as_nanos() / 1_000_000_000;
        for second in 0..whole {
            phase += rate;
            rate += f64::from(self.ppb_per_root_s) * normal(keyed(self.seed, second));
        }
        let part = (at.as_nanos() - whole * 1_000_000_000) as f64 / 1e9;
        (phase + rate * part) as i64
    }
}

/// A normal draw (Box and Muller 1958) from 64 random bits.
#[expect(clippy::cast_precision_loss, reason = "a draw needs no exact conversion")]
fn normal(draw: u64) -> f64 {
    let part = |bits: u64| ((bits & 0xffff_ffff) + 1) as f64 / (1_u64 << 32) as f64;
    (-2.0 * part(draw).ln()).sqrt() * (std::f64::consts::TAU * part(draw >> 32)).cos()
}

impl Truth {
    /// The offset at a time, rounded down; steps at that very time have happened.
    #[must_use]
    pub fn offset_at(&self, at: Instant) -> i64 {
        let drift = i128::from(self.drift_ppb) * i128::from(at.as_nanos());
        let drift = saturated(drift.div_euclid(1_000_000_000));
        let stepped = self.steps.iter().filter(|step| step.at <= at).map(|step| step.by_ns);
        let smeared = self.smears.iter().map(|smear| smear.moved_at(at));
        let wandered = self.wander.map(|wander| wander.offset_at(at));
        let moved = stepped.chain(smeared).chain(wandered);
        moved.fold(self.offset_ns.saturating_add(drift), i64::saturating_add)
    }
}

/// One way of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Constant delay of every packet.
    #[serde(rename = "delay_ns", with = "nanos")]
    pub delay: Duration,
    /// Mean queueing delay, exponential.
    #[serde(rename = "jitter_ns", with = "nanos")]
    pub jitter: Duration,
    /// The chance that a packet is lost.
    #[serde(rename = "loss_ppm")]
    pub loss: Ppm,
}

/// A lie: both timestamps of some replies are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Falseticker {
    /// By this much.
    pub by_ns: i64,
    /// The chance that a reply lies.
    #[serde(rename = "share_ppm")]
    pub share: Ppm,
}

/// A server and the path to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its clock.
    pub truth: Truth,
    /// To the server.
    pub out: Way,
    /// Back.
    pub back: Way,
    /// Whether it lies.
    pub lie: Option<Falseticker>,
    /// Its leap indicator.
    pub leap: Leap,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            truth: Truth::default(),
            out: Way::default(),
            back: Way::default(),
            lie: None,
            leap: Leap::None,
        }
    }
}

/// Fate of one request and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How long the request takes; `None` where it is lost.
    pub out: Option<Duration>,
    /// How long the reply takes; `None` where it is lost.
    pub back: Option<Duration>,
    /// Error added to both of the server's timestamps.
    pub lie_ns: i64,
}

impl Scenario {
    /// The fate of a request by its number; each cause draws by itself.
    #[must_use]
    pub fn fate(&self, seed: u64, number: u64) -> Fate {
        let draw = |cause: u64| keyed(keyed(seed, cause), number);
        // A server of plain replies draws nothing: it answers many a second.
        let hit = |cause: u64, chance: Ppm| chance > Ppm::ZERO && below(draw(cause), chance);
        let took = |way: &Way, cause: u64| {
            let queues = !way.jitter.is_zero();
            way.delay + if queues { queue(draw(cause), way.jitter) } else { Duration::ZERO }
        };
        let lies = self.lie.filter(|lie| hit(5, lie.share));
        Fate {
            out: (!hit(1, self.out.loss)).then(|| took(&self.out, 2)),
            back: (!hit(3, self.back.loss)).then(|| took(&self.back, 4)),
            lie_ns: lies.map_or(0, |lie| lie.by_ns),
        }
    }
}

fn below(draw: u64, chance: Ppm) -> bool {
    (u128::from(draw) * 1_000_000) >> 64 < u128::from(chance.get())
}

/// An exponential delay with this mean.
#[expect(clippy::cast_precision_loss, reason = "a draw needs no exact conversion")]
fn queue(draw: u64, mean: Duration) -> Duration {
    // In (0, 1]: the logarithm is finite, and at most 37 means come out.
    let uniform = ((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    mean.mul_f64(-uniform.ln())
}

mod nanos {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(wirelab::measure::nanos(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}
