//! The plan of a tcp-vs-udp run, equivalent to its flags.

use super::arms::Arm;
use super::transport::Conditions;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Ppm, human};
use wirelab::path::{Delay, LinkPlan, LossModel};

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Round-trip time of the path without queues: twice the delay of one direction.
    #[serde(with = "crate::plan::human_duration")]
    pub rtt: Duration,
    /// Loss probabilities, each way, in parts per million; one stage each.
    pub loss_ppm: Vec<Ppm>,
    /// Probability that a frame is delivered twice, each way, in parts per million.
    pub duplicate_ppm: Ppm,
    /// The arms, in table order.
    pub arms: Vec<Arm>,
    /// Requests outstanding per client; one lane per arm and depth.
    pub depths: Vec<u32>,
    /// Maximum requests per lane and stage, over all repetitions.
    pub ops: u32,
    /// Repetitions of each stage, each with its own seed and its own connections.
    #[serde(default = "default_repetitions")]
    pub repetitions: u32,
    /// Requests outstanding per lane, over all its clients.
    pub outstanding: u32,
    /// Time in which requests start, over all repetitions of a stage.
    #[serde(with = "crate::plan::human_duration")]
    pub stage_limit: Duration,
    /// Deadline of a request: its outcome is then unknown.
    #[serde(with = "crate::plan::human_duration")]
    pub deadline: Duration,
    /// Deadline of a client that never retries.
    #[serde(with = "crate::plan::human_duration")]
    pub patience: Duration,
    /// The retransmission-timeout floor of `tcp-tuned`.
    #[serde(with = "crate::plan::human_duration")]
    pub tuned_rto_min: Duration,
    /// The congestion control of TCP sockets whose arm names none.
    pub congestion_control: String,
    /// Maximum captured frames per lane and stage, in its first repetition; 0 captures none.
    pub capture_frames: u32,
}

/// Why a plan cannot be run.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field}: expected {expected}, got {got}")]
pub struct PlanError {
    /// The flag or key concerned.
    pub field: &'static str,
    /// The valid values.
    pub expected: String,
    /// The value found.
    pub got: String,
}

/// Maximum lanes of a run: each has two namespaces, two rings and its sockets.
pub const LANES_MAX: usize = 24;
/// Maximum loss rates of a run.
pub const STAGES_MAX: usize = 20;
/// Maximum requests per lane and stage: a stage's samples are kept in memory.
pub const OPS_MAX: u32 = 1_000_000;
/// Minimum repetitions of a stage: fewer do not show the variation between runs.
pub const REPETITIONS_MIN: u32 = 3;
/// Maximum repetitions of a stage.
pub const REPETITIONS_MAX: u32 = 20;
/// Maximum requests outstanding per client: the server's reply window.
pub const DEPTH_MAX: u32 = 64;
/// Maximum requests outstanding per lane.
pub const OUTSTANDING_MAX: u32 = 512;
/// Maximum round-trip time: more leaves no time for a retry within the default deadline.
pub const RTT_MAX: Duration = Duration::from_secs(2);
/// Maximum deadline: a run ends within minutes.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// Maximum loss probability, in parts per million.
pub const LOSS_MAX: u32 = 500_000;

const fn default_repetitions() -> u32 {
    REPETITIONS_MIN
}

impl Default for Plan {
    fn default() -> Self {
        let percent = |p: u32| Ppm::new(p * 10_000).expect("invariant: at most 10 %");
        Self {
            rtt: Duration::from_millis(20),
            loss_ppm: [0, 1, 2, 5, 10].map(percent).to_vec(),
            duplicate_ppm: Ppm::ZERO,
            arms: Arm::defaults().collect(),
            depths: vec![1, 8],
            ops: 4_000,
            repetitions: REPETITIONS_MIN,
            outstanding: 16,
            stage_limit: Duration::from_secs(5),
            deadline: Duration::from_secs(3),
            patience: Duration::from_millis(200),
            tuned_rto_min: Duration::from_millis(20),
            congestion_control: "cubic".to_owned(),
            capture_frames: 800,
        }
    }
}

fn refuse<T>(field: &'static str, expected: String, got: &impl ToString) -> Result<T, PlanError> {
    Err(PlanError { field, expected, got: got.to_string() })
}

fn distinct<T: Ord + Clone>(items: &[T]) -> bool {
    let mut sorted = items.to_vec();
    sorted.sort();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

impl Plan {
    /// Whether the plan can be run.
    ///
    /// # Errors
    /// The first invalid value.
    pub fn check(&self) -> Result<(), PlanError> {
        self.check_lists()?;
        let within = |field, value: u32, max: u32| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            refuse(field, format!("1 to {max}"), &value)
        };
        within("ops", self.ops, OPS_MAX)?;
        within("outstanding", self.outstanding, OUTSTANDING_MAX)?;
        if !(REPETITIONS_MIN..=REPETITIONS_MAX).contains(&self.repetitions) {
            let expected = format!("{REPETITIONS_MIN} to {REPETITIONS_MAX}");
            return refuse("repetitions", expected, &self.repetitions);
        }
        for depth in &self.depths {
            within("depth", *depth, DEPTH_MAX.min(self.outstanding))?;
        }
        let spans = [
            ("rtt", self.rtt, Duration::ZERO, RTT_MAX),
            ("deadline", self.deadline, self.rtt, DEADLINE_MAX),
            ("patience", self.patience, self.rtt, self.deadline),
            ("stage-limit", self.stage_limit, Duration::from_millis(100), DEADLINE_MAX * 10),
            ("tuned-rto-min", self.tuned_rto_min, Duration::from_millis(1), DEADLINE_MAX),
        ];
        for (field, value, low, high) in spans {
            if value < low || value > high {
                let (low, high) = (human::duration(low), human::duration(high));
                return refuse(field, format!("{low} to {high}"), &human::duration(value));
            }
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), PlanError> {
        let names: Vec<_> = self.arms.iter().map(|arm| arm.name()).collect();
        if self.arms.is_empty() || !distinct(&names) {
            return refuse("arms", "one arm or more, each once".to_owned(), &names.join(","));
        }
        let shown = |items: Vec<String>| items.join(",");
        if self.depths.is_empty() || !distinct(&self.depths) {
            let got = shown(self.depths.iter().map(ToString::to_string).collect());
            return refuse("depth", "one depth or more, each once".to_owned(), &got);
        }
        let got = shown(self.loss_ppm.iter().map(ToString::to_string).collect());
        if self.loss_ppm.is_empty() || !distinct(&self.loss_ppm) {
            return refuse("loss", "one loss rate or more, each once".to_owned(), &got);
        }
        if self.loss_ppm.len() > STAGES_MAX {
            return refuse("loss", format!("at most {STAGES_MAX} loss rates"), &got);
        }
        if self.loss_ppm.iter().chain([&self.duplicate_ppm]).any(|p| p.get() > LOSS_MAX) {
            return refuse("loss", "at most 50 % each way".to_owned(), &got);
        }
        let lanes = self.arms.len() * self.depths.len();
        if lanes > LANES_MAX {
            return refuse("arms and depth", format!("at most {LANES_MAX} lanes"), &lanes);
        }
        Ok(())
    }

    /// The link plan of each direction at this loss rate.
    #[must_use]
    pub fn link(&self, loss: Ppm) -> LinkPlan {
        LinkPlan {
            delay: Delay::Constant(self.rtt / 2),
            loss: LossModel::Iid(loss),
            duplicate: self.duplicate_ppm,
            ..LinkPlan::default()
        }
    }

    /// The conditions for all transports.
    #[must_use]
    pub fn conditions(&self) -> Conditions<'_> {
        Conditions {
            rtt: self.rtt,
            deadline: self.deadline,
            patience: self.patience,
            tuned_rto_min: self.tuned_rto_min,
            congestion_control: &self.congestion_control,
        }
    }

    /// The lanes, all depths of an arm together.
    ///
    /// An arm with a connection per request has one lane, at the smallest depth.
    pub fn lanes(&self) -> impl Iterator<Item = (Arm, u32)> {
        let smallest = self.depths.iter().min().copied();
        let all = self.arms.iter().flat_map(|arm| self.depths.iter().map(|depth| (*arm, *depth)));
        all.filter(move |(arm, depth)| !arm.transport().per_request() || Some(*depth) == smallest)
    }

    /// The seed of a repetition: the first has the run's own.
    #[must_use]
    pub const fn seed_of(seed: u64, repetition: u32) -> u64 {
        if repetition == 0 { seed } else { keyed(seed, repetition as u64) }
    }

    /// The stages in the order in which each repetition runs them: that of the headline first.
    #[must_use]
    pub fn stage_order(&self) -> Vec<usize> {
        let first = self.headline_stage();
        let rest = (0..self.loss_ppm.len()).filter(|stage| *stage != first);
        std::iter::once(first).chain(rest).collect()
    }

    /// The middle lossy stage, or the first.
    #[must_use]
    pub fn headline_stage(&self) -> usize {
        let lossy = |stage: &usize| self.loss_ppm[*stage].get() > 0;
        let lossy: Vec<usize> = (0..self.loss_ppm.len()).filter(lossy).collect();
        lossy.get(lossy.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// Clients of a lane, to reach `outstanding` requests in flight.
    #[must_use]
    pub fn clients(&self, depth: u32) -> u32 {
        (self.outstanding / depth.max(1)).max(1)
    }
}

/// Durations as text with units: `20ms`.
pub mod human_duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;
    /// Writes whole nanoseconds, microseconds, milliseconds or seconds: the longest exact unit.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&wirelab::measure::human::duration(*value))
    }
    /// Reads a duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        wirelab::measure::human::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}
