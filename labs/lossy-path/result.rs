//! The `result.json` of a run: plan, measurements and verdict.
//!
//! Every figure has its unit in its name, and every share its interval.

use super::plan::PlanWords;
use super::run::End;
use serde::{Deserialize, Serialize};
use wirelab::cli::predict::Guess;
use wirelab::measure::interval::Share;
use wirelab::path::DropReason;

/// The version of this document; it changes when a field changes its meaning or is removed.
pub const SCHEMA: &str = "wirelab/lossy-path/1";

/// One run of `lossy-path`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of wirelab that made it.
    pub version: String,
    /// The command that repeats it, seed included.
    pub command: String,
    /// The seed of every draw.
    pub seed: u64,
    /// The replayed recording; the seed then draws nothing.
    pub replayed: Option<String>,
    /// The plan.
    pub plan: PlanWords,
    /// The machine.
    pub host: Host,
    /// The program, and how it ended.
    pub program: ProgramEnd,
    /// How the program on the other host ended before it was stopped; absent if it did not.
    pub server_ended: Option<Status>,
    /// How long the program on the other host took to get ready, nanoseconds.
    pub server_ready_ns: Option<u64>,
    /// Counters of the path from A to B. Observer: path.
    pub a_to_b: Way,
    /// Counters of the path from B to A. Observer: path.
    pub b_to_a: Way,
    /// Packets on the loopback interfaces of A and B, which the path does not touch.
    #[serde(default)]
    pub loopback_packets: [u64; 2],
    /// The verdict on whether the run matched its plan.
    pub verdict: Verdict,
    /// Whether every frame met the fate that the plan gave it; absent in older runs.
    pub fates: Option<Verdict>,
    /// Whether frames left in time; absent in older runs.
    pub timing: Option<Verdict>,
    /// The reasons of the verdict; empty if the run is trusted.
    pub reasons: Vec<Reason>,
    /// Setup failures for the programs, in sentences.
    pub caveats: Vec<String>,
    /// Processor time of the router, nanoseconds.
    pub router_cpu_ns: u64,
    /// The reader's guesses beside the values seen (`--predict`).
    #[serde(default)]
    pub predictions: Vec<Guess>,
}

/// The machine of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Kernel name and release.
    pub kernel: String,
    /// Processors online.
    pub cpus: u32,
    /// How the namespaces were made: `root` or `user namespace`.
    pub privilege: String,
    /// Congestion control that the hosts' TCP uses unless a program sets its own.
    pub congestion_control: String,
    /// Offloads switched off on the hosts' interfaces.
    pub offloads_off: Vec<String>,
    /// Maximum transmission unit of every interface, bytes.
    pub mtu_bytes: u32,
    /// When the run began, UTC, `YYYY-MM-DDThh:mm:ssZ`.
    pub started_utc: String,
}

/// A program, and how it ended. Observer: the system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// Its name and arguments; bytes that are not UTF-8 are replaced.
    pub argv: Vec<String>,
    /// Its host.
    pub on: End,
    /// How it ended.
    pub status: Status,
    /// Its duration, nanoseconds.
    pub elapsed_ns: u64,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(u8),
}

impl Status {
    /// The exit status that a shell would give: the code, or 128 and the signal.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => signal.wrapping_add(128),
        }
    }
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It matched its plan.
    Trusted,
    /// No frame crossed the path: there is nothing to judge.
    NoFrames,
    /// Every frame met its fate, but too late, or something disturbed the timing.
    Suspect,
    /// Frames met fates outside the plan.
    Invalid,
}

/// A reason against a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The verdict for it alone.
    pub verdict: Verdict,
    /// The reason and the remedy, in a sentence.
    pub why: String,
}

/// Counters of the path in one direction. Observer: path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Frames that reached the link.
    pub offered: u64,
    /// Their bytes, Ethernet headers included.
    pub offered_bytes: u64,
    /// Copies that left for the receiver.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Bits per second delivered, from the first departure to the last; absent below two frames.
    pub delivered_bit_per_s: Option<u64>,
    /// The most delivered in a second, bits per second; a lower bound if events are missing (a
    /// reason says so), as is the next.
    pub peak_bit_per_s: u64,
    /// The most bytes that waited for the bottleneck at once, without the frame in transmission: at
    /// most the queue's limit.
    pub queue_peak_bytes: u64,
    /// Median time of a frame on the path by its fate, queue and delay, nanoseconds.
    #[serde(default)]
    pub held_p50_ns: u64,
    /// 99th percentile.
    #[serde(default)]
    pub held_p99_ns: u64,
    /// Median of the plan's delay, without queue; absent if it changes in time or is replayed.
    #[serde(default)]
    pub asked_delay_p50_ns: Option<u64>,
    /// 99th percentile.
    #[serde(default)]
    pub asked_delay_p99_ns: Option<u64>,
    /// Frames dropped, by reason in the plan. Reasons with none are left out.
    pub dropped: Vec<Dropped>,
    /// Dropped frames and copies for any of these reasons, ppm of the frames offered and their
    /// duplicates.
    #[serde(default)]
    pub lost_ppm: u32,
    /// Loss as drawn (all but queue, MTU and timetable) compared with the plan.
    pub loss: Rate,
    /// Corruption compared with the plan.
    pub corrupted: Rate,
    /// Duplication compared with the plan.
    pub duplicated: Rate,
    /// Frames chosen to overtake.
    pub reordered: u64,
    /// Copies that left before one decided earlier.
    pub overtaking: u64,
    /// Frames marked "congestion experienced".
    pub marked: u64,
    /// Frames answered with "too big".
    pub too_big_answered: u64,
    /// Copies in flight when the run ended.
    pub on_way: u64,
    /// Frames that the kernel dropped.
    pub kernel_dropped: u64,
    /// Frames longer than the MTU, not forwarded.
    pub oversize: u64,
    /// Frames with offloaded checksums.
    pub bad_checksum_status: u64,
    /// Super-frames that the router could not parse, not forwarded.
    pub bad_offload: u64,
    /// Copies that could not be sent.
    pub send_failed: u64,
    /// Frames that no link carries: neither IPv4 nor IPv6, or link-local control traffic (NDP,
    /// MLD).
    pub not_carried: u64,
    /// Times that frames had to wait because too many were in flight.
    pub pool_full: u64,
    /// Frames beyond the end of the replayed recording.
    pub beyond_recording: u64,
    /// Median lateness of departures, nanoseconds.
    pub late_p50_ns: u64,
    /// 99th percentile.
    pub late_p99_ns: u64,
    /// Largest.
    pub late_max_ns: u64,
    /// A digest of the fates, in order, hexadecimal.
    pub fates_digest: String,
}

/// Frames dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The reason.
    pub reason: DropReason,
    /// Their number.
    pub frames: u64,
}

/// A realised share, and the requested one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The plan's share; absent if it changes in time or comes from a list.
    pub asked_ppm: Option<u32>,
    /// The realised share, with its exact interval.
    pub seen: Share,
}
