//! The result of a run: every figure that any report shows, and who observed it.
//!
//! This is the `result.json` of `tcp-vs-udp`. It must never hold a figure without its unit in its
//! name, nor a quantile without its interval.

use super::arms::Arm;
use super::plan::Plan;
use serde::{Deserialize, Serialize};
use wirelab::bank::transport::ClientCounters;
pub use wirelab::emulator::topology::TcpCounters;
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{EcdfPoint, Quantile};
use wirelab::measure::staircase::Stair;
use wirelab::measure::{Ppm, nanos};

/// The version of this document; it changes when a field changes its meaning or goes.
pub const SCHEMA: &str = "wirelab/tcp-vs-udp/1";

/// One run of `tcp-vs-udp`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of wirelab that made it.
    pub version: String,
    /// The command that repeats it, seed included.
    pub command: String,
    /// The seed of every draw.
    pub seed: u64,
    /// What carried the packets.
    pub mode: Mode,
    /// How the run ended.
    pub ended: Ended,
    /// The run in one sentence: the comparison at its middle lossy stage. Empty without a stage.
    pub verdict: String,
    /// The plan that was run.
    pub plan: Plan,
    /// What it ran on.
    pub host: Host,
    /// One stage per loss rate, in the order of the plan.
    pub stages: Vec<Stage>,
    /// What theory or the protocol promises, held against what was seen.
    pub claims: Vec<Claim>,
    /// Arms of the plan that were not run, and why.
    pub left_out: Vec<LeftOut>,
    /// What this run cannot tell, in sentences.
    pub cannot_tell: Vec<String>,
    /// Whether the timing can be trusted, and why not.
    pub timing: Timing,
    /// Length of the measured part of the run, nanoseconds.
    pub measured_ns: u64,
}

/// What carried the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The kernel's own TCP and UDP, between network namespaces.
    Kernel,
    /// Virtual time: the bank's cores over the link model, no socket at all.
    Sim,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every stage was run.
    Finished,
    /// The user stopped it; the stages that are here are whole.
    Interrupted,
}

/// What it ran on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Kernel name and release; empty in virtual time.
    pub kernel: String,
    /// Processors online.
    pub cpus: u32,
    /// How the namespaces were made: `root`, `user namespace`, or `none needed`.
    pub privilege: String,
    /// Congestion control in force on the TCP sockets, read back from one of them.
    pub congestion_control: String,
    /// Retransmission-timeout floor in force on `tcp`, nanoseconds (kernel default).
    pub tcp_rto_min_ns: Option<u64>,
    /// The same on `tcp-tuned`.
    pub tcp_tuned_rto_min_ns: Option<u64>,
    /// Offloads switched off on the hosts' interfaces.
    pub offloads_off: Vec<String>,
    /// Maximum transmission unit of every interface, bytes.
    pub mtu_bytes: u32,
    /// When the run began, UTC, `YYYY-MM-DDThh:mm:ssZ`; empty in virtual time.
    pub started_utc: String,
}

/// All lanes at one loss rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Loss probability, each way.
    pub loss_ppm: Ppm,
    /// One sentence: who was faster, by how much, and why.
    pub verdict: String,
    /// One lane per arm and depth, in the order of the plan: all depths of an arm together.
    pub lanes: Vec<Lane>,
    /// Length of the stage, nanoseconds.
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
    /// Latency of the requests that were answered. Observer: client.
    pub latency: Latency,
    /// Time to set up a connection, within the latency of `tcp-reconnect` alone. Observer: client.
    pub handshake: Option<Latency>,
    /// What crossed the path. Observer: path.
    pub traffic: Traffic,
    /// What theory says of this lane, and whether the samples agree.
    pub theory: Theory,
    /// What happened to frames, each way. Observer: path. `[a_to_b, b_to_a]`.
    pub path: [LinkAudit; 2],
    /// The kernel's own counters, both hosts added. Observer: client and server kernels.
    pub tcp: Option<TcpCounters>,
    /// The bank client's own counters. Observer: client.
    pub udp: Option<UdpCounters>,
    /// What the ledger says afterwards. Observer: server.
    pub ledger: LedgerAudit,
}

/// How the requests of a lane ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Started.
    pub started: u64,
    /// Answered: the operation was done.
    pub done: u64,
    /// Answered: definitely not done.
    pub refused: u64,
    /// Not answered by the deadline: may have been done.
    pub unknown: u64,
}

/// A latency distribution.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many samples.
    pub count: u64,
    /// Mean, nanoseconds.
    pub mean_ns: u64,
    /// Median, with a 95 % interval.
    pub p50: Quantile,
    /// 99th percentile, with a 95 % interval.
    pub p99: Quantile,
    /// 99.9th percentile, with a 95 % interval.
    pub p999: Quantile,
    /// Largest, nanoseconds.
    pub max_ns: u64,
    /// The distribution, thinned to at most a few hundred points; ends at share 1.
    pub ecdf: Vec<EcdfPoint>,
}

/// What crossed the path during a lane's stage, both ways, as offered to it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames offered to the path.
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

/// What theory says of a lane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Theory {
    /// What the yardstick is, in a sentence; empty where there is none.
    pub model: String,
    /// The analytic distribution: a staircase. Empty where there is none.
    pub stairs: Vec<Stair>,
    /// A request is slow when it took longer than this, nanoseconds: half-way up the first step.
    pub slow_threshold_ns: u64,
    /// Share of started requests that theory expects to be slow or unanswered.
    pub slow_expected: f64,
    /// Share that was, with its exact 95 % interval.
    pub slow_observed: Share,
    /// Share of the slow answered requests that lie on a step (within `tolerance_ns`).
    pub on_stairs: Option<Share>,
    /// How far from a step still counts as on it, nanoseconds.
    pub tolerance_ns: u64,
    /// Slow or unanswered requests per lost frame: above 1 is head-of-line blocking.
    pub slow_per_lost_frame: Option<f64>,
}

/// What one direction of the path did to a lane's frames.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinkAudit {
    /// Frames that arrived at the link.
    pub offered: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Frames it lost, as drawn.
    pub lost: u64,
    /// Frames it delivered twice, as drawn.
    pub duplicated: u64,
    /// Realised loss with its exact (Clopper-Pearson) 95 % interval.
    pub loss: Share,
    /// Frames the kernel dropped before the link saw them: any makes the run invalid.
    pub kernel_dropped: u64,
    /// Frames longer than the MTU allows: any makes the run invalid.
    pub oversize: u64,
    /// Frames that could not be sent on, had no checksum, were not IP, or had to wait for room: any
    /// makes the run invalid.
    pub send_failed: u64,
    /// How late frames left, against when they should have: nanoseconds.
    pub late_p50_ns: u64,
    /// 99th percentile of the same.
    pub late_p99_ns: u64,
    /// Largest of the same.
    pub late_max_ns: u64,
    /// A digest of the sequence of fates (index, verdict): equal seeds give equal digests for
    /// equal numbers of frames. Hexadecimal.
    pub fates_digest: String,
}

/// Counters of the bank's datagram clients over a lane's stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpCounters {
    /// Requests sent again.
    pub retries: u64,
    /// Replies to calls that had ended, or that an earlier copy had answered.
    pub late_replies: u64,
    /// Mean retransmission timeout in force when requests were first sent, nanoseconds.
    pub rto_ns: u64,
}

impl UdpCounters {
    /// What the clients counted from `before` to `after`; `None` where the kernel has the timer.
    #[must_use]
    pub fn between(before: &ClientCounters, after: &ClientCounters) -> Option<Self> {
        before.rto.map(|rto| Self {
            retries: after.retries - before.retries,
            late_replies: after.late_replies - before.late_replies,
            rto_ns: nanos(rto),
        })
    }
}

/// What the ledger says after a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAudit {
    /// Deposits and transfers that the client saw done.
    pub acknowledged: u64,
    /// Of those, how many the ledger does not hold: must be 0.
    pub acknowledged_missing: u64,
    /// Operations that the ledger holds more than once.
    pub applied_twice: u64,
    /// Cents that those second and further applications moved.
    pub surplus_cents: i64,
    /// Operations that ended unknown at the client and are in the ledger.
    pub unknown_applied: u64,
    /// Operations that ended unknown at the client and are not in the ledger.
    pub unknown_not_applied: u64,
    /// Repeats that the server answered from its stored replies.
    pub repeats_answered: u64,
    /// Sum of all balances, cents.
    pub balances_cents: i64,
    /// Opening balances plus every deposit in the ledger, cents.
    pub expected_cents: i64,
    /// Whether the two are equal and every balance follows from its entries.
    pub balanced: bool,
}

/// A promise held against what was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Short and stable, for scripts: `slow-share`, `staircase`, `exactly-once`, …
    pub name: String,
    /// What is promised, in a sentence.
    pub promise: String,
    /// What was seen, in a sentence with figures.
    pub seen: String,
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
    /// The samples cannot tell.
    Unknown,
}

/// An arm that was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The arm.
    pub arm: Arm,
    /// Why.
    pub reason: String,
}

/// Whether the timing of the run can be trusted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// The verdict.
    pub verdict: TimingVerdict,
    /// Why, in a sentence.
    pub reason: String,
}

/// Whether timing can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingVerdict {
    /// Lateness is small against the delays.
    Trusted,
    /// The machine was too busy: latencies may be inflated.
    Suspect,
    /// Frames were lost or changed in ways that the plan does not say.
    Invalid,
}
