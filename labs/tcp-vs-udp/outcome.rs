//! Raw results of a lane in one repetition, for the kernel and virtual time alike.

use super::arms::Arm;
use super::result::{LedgerAudit, LinkAudit, TcpCounters, UdpCounters};
use std::time::Duration;
use wirelab::bank::load::Sample;
use wirelab::measure::Instant;
use wirelab::path::LostFrame;

/// One lane at one loss rate, in one repetition.
#[derive(Clone, Debug)]
pub struct LaneOutcome {
    /// The arm.
    pub arm: Arm,
    /// Requests each client kept outstanding.
    pub depth: u32,
    /// Clients.
    pub clients: u32,
    /// Every request, in order of completion.
    pub samples: Vec<Sample>,
    /// Time to open each connection, while measured; `None` without connections.
    pub handshakes: Option<Vec<Duration>>,
    /// Path counters of each direction.
    pub path: [LinkAudit; 2],
    /// Frames lost in each direction.
    pub lost: [Vec<LostFrame>; 2],
    /// Kernel counters, if the kernel was used.
    pub tcp: Option<TcpCounters>,
    /// Datagram client counters.
    pub udp: Option<UdpCounters>,
    /// The ledger audit.
    pub ledger: LedgerAudit,
}

/// All lanes at one loss rate, in one repetition.
#[derive(Clone, Debug)]
pub struct Block {
    /// The repetition, from 0.
    pub repetition: u32,
    /// The seed of its draws.
    pub seed: u64,
    /// The lanes, in the order of the plan.
    pub lanes: Vec<LaneOutcome>,
    /// When it began.
    pub began: Instant,
    /// Its duration.
    pub elapsed: Duration,
}
