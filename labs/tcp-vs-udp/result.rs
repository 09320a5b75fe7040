//! The result of a run (`result.json`): every reported figure with its observer.
//! Names of figures carry their units; quantiles carry intervals.

use super::arms::Arm;
use super::plan::Plan;
use super::transport::Step;
use serde::{Deserialize, Serialize};
use wirelab::bank::transport::ClientCounters;
use wirelab::cli::predict::Guess;
pub use wirelab::emulator::topology::TcpCounters;
use wirelab::measure::compare::Estimate;
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{EcdfPoint, Quantile};
use wirelab::measure::{Ppm, nanos};

/// Schema version; changes if a field is removed or changes its meaning.
pub const SCHEMA: &str = "wirelab/tcp-vs-udp/1";

/// One run of `tcp-vs-udp`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// The wirelab version.
    pub version: String,
    /// The command that repeats the run, seed included.
    pub command: String,
    /// The seed of every draw.
    pub seed: u64,
    /// Carrier of the packets.
    pub mode: Mode,
    /// How the run ended.
    pub ended: Ended,
    /// Requests in flight when the user stopped the run: possibly applied, in no other figure.
    #[serde(default)]
    pub in_flight_unknown: u64,
    /// The sentence of the first verdict.
    pub verdict: String,
    /// Verdicts on each pair of arms; the first is the headline.
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
    /// The plan.
    pub plan: Plan,
    /// The host.
    pub host: Host,
    /// One stage per loss rate, in the order of the plan.
    pub stages: Vec<Stage>,
    /// Predictions of theory and protocol against measurements.
    pub claims: Vec<Claim>,
    /// Arms of the plan that did not run, and why.
    pub left_out: Vec<LeftOut>,
    /// Limits of this run, in sentences.
    pub cannot_tell: Vec<String>,
    /// Whether the timing is trustworthy, and why not.
    pub timing: Timing,
    /// Duration of the measured part, nanoseconds.
    pub measured_ns: u64,
    /// The reader's guesses and what was seen (`--predict`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<Guess>,
}

/// Verdict on two arms at one loss rate and depth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The verdict.
    pub claim: Ruling,
    /// The two arms, the faster first if one is; only one if there is no other.
    pub arms: Vec<Arm>,
    /// Loss of the stage, each way.
    pub loss_ppm: Ppm,
    /// Requests each client keeps outstanding.
    pub depth: u32,
    /// The compared quantity.
    pub quantity: Quantity,
    /// Its value and 95 % interval with each arm, in the order of `arms`.
    pub estimates: Vec<Quantile>,
    /// The second value over the first, with its 95 % interval; `None` if nothing is proved, or if
    /// one of them may lie on either of two steps.
    pub ratio: Option<Estimate>,
    /// The second is at least so many times the first; `None` unless the first is faster.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Level means: the interval of the ratio lies within 1 ± this.
    pub bound: f64,
    /// Why.
    pub reason: String,
    /// The verdict in a sentence.
    pub sentence: String,
}

/// Claim of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// The first arm is faster.
    Faster,
    /// The difference is below the bound.
    Level,
    /// The run proves neither.
    CannotTell,
}

/// The quantity of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// [`LossCost::extra`].
    LossCost,
    /// The median latency.
    P50,
}

/// Carrier of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The kernel's own TCP and UDP, between network namespaces.
    Kernel,
    /// Virtual time: the bank's cores over the link model, without sockets.
    Sim,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every stage was run.
    Finished,
    /// The user stopped it; the repetitions present are complete.
    Interrupted,
}

/// The host of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Kernel name and release; empty in virtual time.
    pub kernel: String,
    /// Online processors.
    pub cpus: u32,
    /// How the namespaces were made: `root`, `user namespace`, or `none needed`.
    pub privilege: String,
    /// Congestion control in use, read back from a TCP socket.
    pub congestion_control: String,
    /// Retransmission-timeout floor in use on `tcp`, nanoseconds (kernel default).
    pub tcp_rto_min_ns: Option<u64>,
    /// The same for `tcp-tuned`.
    pub tcp_tuned_rto_min_ns: Option<u64>,
    /// Offloads disabled on the hosts' interfaces.
    pub offloads_off: Vec<String>,
    /// Maximum transmission unit of every interface, bytes.
    pub mtu_bytes: u32,
    /// Start of the run, UTC, `YYYY-MM-DDThh:mm:ssZ`; empty in virtual time.
    pub started_utc: String,
}

/// All lanes at one loss rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Loss probability, each way.
    pub loss_ppm: Ppm,
    /// One sentence: the verdict on the headline's pair, and what else is seen here.
    pub verdict: String,
    /// One lane per arm and depth, in the order of the plan: all depths of an arm together.
    pub lanes: Vec<Lane>,
    /// The seed of each repetition, in order.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Duration of the stage over its repetitions, nanoseconds.
    pub elapsed_ns: u64,
}

/// One arm at one depth at one loss rate, on its own copy of the path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    /// The arm.
    pub arm: Arm,
    /// Requests each client keeps outstanding.
    pub depth: u32,
    /// Clients (connections) of the lane.
    pub clients: u32,
    /// Outcomes. Observer: client.
    pub requests: Requests,
    /// Latency of answered requests. Observer: client.
    pub latency: Latency,
    /// Cost of lost packets. Observer: client.
    #[serde(default)]
    pub loss_cost: LossCost,
    /// Requests held up by lost frames of the capture. Observer: path. `None` without a capture.
    pub blocking: Option<Blocking>,
    /// Connection setup time, part of the latency only in `tcp-reconnect`. Observer: client.
    pub handshake: Option<Latency>,
    /// Traffic on the path. Observer: path.
    pub traffic: Traffic,
    /// Prediction for this lane, and agreement of the samples.
    pub theory: Theory,
    /// Frame counters, each way. Observer: path. `[a_to_b, b_to_a]`.
    pub path: [LinkAudit; 2],
    /// Kernel counters, sum of both hosts. Observer: client and server kernels.
    pub tcp: Option<TcpCounters>,
    /// Bank client counters. Observer: client.
    pub udp: Option<UdpCounters>,
    /// The ledger afterwards. Observer: server.
    pub ledger: LedgerAudit,
}

/// Outcomes of a lane's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Started.
    pub started: u64,
    /// Answered: applied.
    pub done: u64,
    /// Answered: definitely not applied.
    pub refused: u64,
    /// Not answered by the deadline: possibly applied.
    pub unknown: u64,
}

/// Cost of lost packets to a lane's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossCost {
    /// Median latency of the slow answered requests less that of the others, 95 % interval. No
    /// value if none was slow.
    pub extra: Quantile,
    /// Slow or unanswered requests, of those started, with an interval by clusters.
    pub met: Share,
    /// Slow answered requests behind `extra`.
    pub slow: u64,
}

/// Requests and replies held up by the lost frames of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocking {
    /// Lost frames that carried requests or replies.
    pub lost_frames: u64,
    /// Requests and replies inside those frames (batching).
    pub inside: u64,
    /// Requests and replies that arrived before the repeat and had to wait for it (head-of-line
    /// blocking).
    pub behind: u64,
}

/// A latency distribution.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Number of samples.
    pub count: u64,
    /// Mean, nanoseconds.
    pub mean_ns: u64,
    /// Median, with a 95 % interval.
    pub p50: Quantile,
    /// 99th percentile, with a 95 % interval.
    pub p99: Quantile,
    /// 99.9th percentile, with a 95 % interval.
    pub p999: Quantile,
    /// Maximum, nanoseconds.
    pub max_ns: u64,
    /// The distribution, thinned to at most a few hundred points; ends at share 1.
    pub ecdf: Vec<EcdfPoint>,
}

/// Traffic offered to the path during a lane's stage, both directions.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames offered.
    pub frames: u64,
    /// Bytes of those frames, Ethernet header included.
    pub bytes: u64,
    /// Frames per answered request.
    pub frames_per_request: f64,
    /// Bytes per answered request.
    pub bytes_per_request: f64,
    /// Bytes of one request and one reply message per answered request, as a share of `bytes`.
    pub useful_share: f64,
}

/// Prediction for a lane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Theory {
    /// The model in a sentence; empty without one.
    pub model: String,
    /// The analytic distribution: a staircase, with the mechanism behind each step.
    pub stairs: Vec<Step>,
    /// Latency above which a request is slow, nanoseconds: half-way up the first step.
    pub slow_threshold_ns: u64,
    /// Predicted share of started requests that are slow or unanswered.
    pub slow_expected: f64,
    /// Measured share, with its exact 95 % interval (of independent requests).
    pub slow_observed: Share,
    /// Share of the slow answered requests that lie on a step (within `tolerance_ns`).
    pub on_stairs: Option<Share>,
    /// Maximum distance from a step that still counts as on it, nanoseconds.
    pub tolerance_ns: u64,
    /// Slow or unanswered requests per lost frame.
    pub slow_per_lost_frame: Option<f64>,
}

/// Path statistics of one direction of a lane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinkAudit {
    /// Frames that arrived at the link.
    pub offered: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Frames lost by draw.
    pub lost: u64,
    /// Frames duplicated by draw.
    pub duplicated: u64,
    /// Realised loss with its exact (Clopper-Pearson) 95 % interval.
    pub loss: Share,
    /// Frames the kernel dropped before the link: any makes the run invalid.
    pub kernel_dropped: u64,
    /// Frames longer than the MTU: any makes the run invalid.
    pub oversize: u64,
    /// Frames not sent on, without checksum, not IP, or delayed by a full buffer: any makes the run
    /// invalid.
    pub send_failed: u64,
    /// Lateness of departures against the schedule, p50, nanoseconds.
    pub late_p50_ns: u64,
    /// p99 of the same.
    pub late_p99_ns: u64,
    /// Maximum of the same.
    pub late_max_ns: u64,
    /// Digest of the fates (index, verdict) of all repetitions, hexadecimal: equal seeds give equal
    /// digests for equal numbers of frames.
    pub fates_digest: String,
}

/// Counters of the bank's datagram clients over a lane's stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpCounters {
    /// Requests retransmitted.
    pub retries: u64,
    /// Replies to calls that had ended, or that an earlier reply had answered.
    pub late_replies: u64,
    /// Mean retransmission timeout at first transmissions, nanoseconds.
    pub rto_ns: u64,
}

impl UdpCounters {
    /// Difference of the counters `before` and `after`; `None` if the kernel has the timer.
    #[must_use]
    pub fn between(before: &ClientCounters, after: &ClientCounters) -> Option<Self> {
        before.rto.map(|rto| Self {
            retries: after.retries - before.retries,
            late_replies: after.late_replies - before.late_replies,
            rto_ns: nanos(rto),
        })
    }
}

/// The ledger audit of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAudit {
    /// Deposits and transfers that the client saw applied.
    pub acknowledged: u64,
    /// Of those, how many are missing in the ledger: must be 0.
    pub acknowledged_missing: u64,
    /// Operations applied more than once.
    pub applied_twice: u64,
    /// Cents moved by those extra applications.
    pub surplus_cents: i64,
    /// Operations unknown to the client and in the ledger.
    pub unknown_applied: u64,
    /// Operations unknown to the client and not in the ledger.
    pub unknown_not_applied: u64,
    /// Retries answered from recorded outcomes.
    pub repeats_answered: u64,
    /// Sum of all balances, cents.
    pub balances_cents: i64,
    /// Opening balances plus all deposits in the ledger, cents.
    pub expected_cents: i64,
    /// Whether the two are equal and every balance follows from its entries.
    pub balanced: bool,
}

/// A prediction against a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Short stable name for scripts: `slow-share`, `staircase`, `exactly-once`, …
    pub name: String,
    /// The prediction, in a sentence.
    pub promise: String,
    /// The measurement, in a sentence with figures.
    pub seen: String,
    /// Number of requests, frames or ledgers checked. Never 0 if it holds.
    #[serde(default)]
    pub trials: u64,
    /// Whether it holds.
    pub holds: Holds,
}

/// Whether a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// The samples do not decide.
    Unknown,
}

/// An arm that did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The arm.
    pub arm: Arm,
    /// Why.
    pub reason: String,
}

/// Trustworthiness of the run's timing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// The verdict.
    pub verdict: TimingVerdict,
    /// The reason, in a sentence.
    pub reason: String,
}

/// Whether timing is trustworthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingVerdict {
    /// Lateness is small compared with the delays.
    Trusted,
    /// The machine was too busy: latencies may be inflated.
    Suspect,
    /// Frames were lost or changed beyond the plan.
    Invalid,
}
