//! The result of a run: what was asked of the path, what it did, how far to trust it.
//!
//! This is the `result.json` of `lossy-path`. It must never hold a figure without its unit in its
//! name, nor a share without its interval.

use super::plan::PlanWords;
use super::run::End;
use serde::{Deserialize, Serialize};
use wirelab::measure::interval::Share;
use wirelab::path::DropReason;

/// The version of this document; it changes when a field changes its meaning or goes.
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
    /// The recording whose fates were repeated; the seed then draws nothing.
    pub replayed: Option<String>,
    /// The plan.
    pub plan: PlanWords,
    /// What it ran on.
    pub host: Host,
    /// The program, and how it ended.
    pub program: ProgramEnd,
    /// How the program on the other host ended before it was told to; absent where it did not.
    pub server_ended: Option<Status>,
    /// How long the program on the other host took to get ready, nanoseconds.
    pub server_ready_ns: Option<u64>,
    /// What the path did from A to B. Observer: path.
    pub a_to_b: Way,
    /// What the path did from B to A. Observer: path.
    pub b_to_a: Way,
    /// Whether the run did what its plan says.
    pub verdict: Verdict,
    /// Why the verdict is what it is; none where the run is trusted.
    pub reasons: Vec<Reason>,
    /// What could not be set up for the programs, in sentences.
    pub caveats: Vec<String>,
    /// Processor time of the router, nanoseconds.
    pub router_cpu_ns: u64,
}

/// What it ran on.
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
    /// Where it ran.
    pub on: End,
    /// How it ended.
    pub status: Status,
    /// From its start to its end, nanoseconds.
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

/// Whether a run did what its plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did.
    Trusted,
    /// Every frame met its fate, but too late, or something stood in the way of the timing.
    Suspect,
    /// Frames met fates that the plan does not know.
    Invalid,
}

/// Something that stands against a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// How bad it is by itself.
    pub verdict: Verdict,
    /// What it is and what to do, in a sentence.
    pub why: String,
}

/// What the path did in one direction. Observer: path.
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
    /// The most that was delivered in a second, bits per second; a lower bound where events are
    /// missing (a reason says so), as is the next.
    pub peak_bit_per_s: u64,
    /// The most bytes that the router held for the bottleneck at once: what waited, what was being
    /// sent, and what had left without the router having asked yet.
    pub queue_peak_bytes: u64,
    /// Frames dropped, by reason: those of the plan, and no others. Reasons with none are left out.
    pub dropped: Vec<Dropped>,
    /// Loss as drawn (all but queue, MTU and timetable) held against the plan.
    pub loss: Rate,
    /// Corruption against the plan.
    pub corrupted: Rate,
    /// Duplication against the plan.
    pub duplicated: Rate,
    /// Frames chosen to overtake.
    pub reordered: u64,
    /// Copies that left before one that was decided on earlier.
    pub overtaking: u64,
    /// Frames marked "congestion experienced".
    pub marked: u64,
    /// Frames whose sender was told that they are too big.
    pub too_big_answered: u64,
    /// Copies still on their way when the run ended.
    pub on_way: u64,
    /// Frames that the kernel dropped.
    pub kernel_dropped: u64,
    /// Frames longer than the MTU, not passed on.
    pub oversize: u64,
    /// Frames whose checksums were left to a device.
    pub bad_checksum_status: u64,
    /// Super-frames that the router could not read, not passed on.
    pub bad_offload: u64,
    /// Copies that could not be sent on.
    pub send_failed: u64,
    /// Frames that no link carries: neither IPv4 nor IPv6, or talk with neighbours.
    pub not_carried: u64,
    /// Times that frames had to wait because too many were on their way.
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
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub frames: u64,
}

/// A share that was realised, beside the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// What the plan asks for; absent where that changes in time or comes from a list.
    pub asked_ppm: Option<u32>,
    /// What came, with its exact interval.
    pub seen: Share,
}
