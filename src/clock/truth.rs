//! A server's clock whose error is known, behind a path whose delays are known.
//!
//! It exists so that an estimate can be held against the truth, which no real server can offer.
//! It must never draw from anything but its seed.

use super::packet::Leap;
use crate::measure::draw::keyed;
use crate::measure::{Instant, Ppm};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The server's clock minus this host's, as a function of this host's monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// At the start.
    pub offset_ns: i64,
    /// What is added per second, parts per billion.
    pub drift_ppb: i64,
    /// Jumps of the server's clock.
    pub steps: Vec<Step>,
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

impl Truth {
    /// The offset at a time, rounded down; steps at that very time have happened.
    #[must_use]
    pub fn offset_at(&self, at: Instant) -> i64 {
        let drift = i128::from(self.drift_ppb) * i128::from(at.as_nanos());
        let drift = i64::try_from(drift.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let stepped = self.steps.iter().filter(|step| step.at <= at).map(|step| step.by_ns);
        stepped.fold(self.offset_ns.saturating_add(drift), i64::saturating_add)
    }
}

/// One way of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// What every packet takes.
    #[serde(rename = "delay_ns", with = "nanos")]
    pub delay: Duration,
    /// What queues add, exponential with this mean.
    #[serde(rename = "jitter_ns", with = "nanos")]
    pub jitter: Duration,
    /// The chance that a packet is lost.
    #[serde(rename = "loss_ppm")]
    pub loss: Ppm,
}

/// A lie: both timestamps of some replies are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lie {
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
    pub lie: Option<Lie>,
    /// What it says of leap seconds.
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

/// What happens to one request and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How long the request takes; `None` where it is lost.
    pub out: Option<Duration>,
    /// How long the reply takes; `None` where it is lost.
    pub back: Option<Duration>,
    /// What the server adds to both of its timestamps.
    pub lie_ns: i64,
}

impl Scenario {
    /// The fate of a request by its number; each cause draws by itself.
    #[must_use]
    pub fn fate(&self, seed: u64, number: u64) -> Fate {
        let draw = |cause: u64| keyed(keyed(seed, cause), number);
        let hit = |cause: u64, chance: Ppm| below(draw(cause), chance);
        let lies = self.lie.filter(|lie| hit(5, lie.share));
        Fate {
            out: (!hit(1, self.out.loss)).then(|| self.out.delay + queue(draw(2), self.out.jitter)),
            back: (!hit(3, self.back.loss))
                .then(|| self.back.delay + queue(draw(4), self.back.jitter)),
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
        to.serialize_u64(crate::measure::nanos(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}
