//! What a run of tcp-vs-udp does: the plan, exactly what the flags can say.
//!
//! It must never hold a plan that cannot be run: [`Plan::check`] says why one cannot.

use crate::measure::Ppm;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One way of carrying the bank's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// One TCP connection per client, the kernel's defaults.
    Tcp,
    /// The same with `TCP_NODELAY` and a low floor under the retransmission timeout.
    TcpTuned,
    /// A new TCP connection for every request.
    TcpReconnect,
    /// One datagram per request, never repeated: at most once.
    Udp,
    /// Repeated until answered, the server applies every copy: at least once.
    UdpRetry,
    /// Repeated until answered, the server applies one copy: exactly once.
    UdpOnce,
}

impl Arm {
    /// Every arm, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Tcp, Self::TcpTuned, Self::TcpReconnect, Self::Udp, Self::UdpRetry, Self::UdpOnce];

    /// The name that `--arms` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::TcpTuned => "tcp-tuned",
            Self::TcpReconnect => "tcp-reconnect",
            Self::Udp => "udp",
            Self::UdpRetry => "udp-retry",
            Self::UdpOnce => "udp-once",
        }
    }

    /// What it does, in one line for a legend.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Tcp => "one TCP connection per client, kernel defaults",
            Self::TcpTuned => "TCP with NODELAY and a low retransmission-timeout floor",
            Self::TcpReconnect => "a new TCP connection for every request",
            Self::Udp => "one datagram, never repeated (at most once)",
            Self::UdpRetry => "repeated until answered, every copy applied (at least once)",
            Self::UdpOnce => "repeated until answered, applied once (exactly once)",
        }
    }

    /// Whether the requests travel on a stream.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpTuned | Self::TcpReconnect)
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Round-trip time of the path without queues: twice the delay of one direction.
    #[serde(with = "crate::compare::plan::human_duration")]
    pub rtt: Duration,
    /// Loss probabilities, each way, in parts per million; one stage each.
    pub loss_ppm: Vec<Ppm>,
    /// Probability that a frame is delivered twice, each way, in parts per million.
    pub duplicate_ppm: Ppm,
    /// The arms, in the order of the table.
    pub arms: Vec<Arm>,
    /// How many requests a client keeps outstanding; one lane per arm and depth.
    pub depths: Vec<u32>,
    /// Requests per lane and stage, at most.
    pub ops: u32,
    /// Requests outstanding per lane, over all its clients.
    pub outstanding: u32,
    /// No request is started later than this after a stage began.
    #[serde(with = "crate::compare::plan::human_duration")]
    pub stage_limit: Duration,
    /// When a client gives a request up: its outcome is then unknown.
    #[serde(with = "crate::compare::plan::human_duration")]
    pub deadline: Duration,
    /// When a client that never retries gives up.
    #[serde(with = "crate::compare::plan::human_duration")]
    pub patience: Duration,
    /// The retransmission-timeout floor of `tcp-tuned`.
    #[serde(with = "crate::compare::plan::human_duration")]
    pub tuned_rto_min: Duration,
    /// The congestion control of every TCP socket.
    pub congestion_control: String,
    /// Frames kept in the capture per lane and stage; 0 keeps none.
    pub capture_frames: u32,
}

/// Durations as people write them: `20ms`.
pub mod human_duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;
    /// Writes whole nanoseconds, microseconds, milliseconds or seconds: the longest unit that fits.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::measure::human::duration(*value))
    }
    /// Reads what people write.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::measure::human::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}
