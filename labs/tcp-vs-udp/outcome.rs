//! What running a lane yields, before anything is computed from it.
//!
//! It exists so that real sockets and virtual time hand over the same thing.
//! It must never hold a quantile or a verdict: `summary` computes those.

use super::arms::Arm;
use super::result::{LedgerAudit, LinkAudit, TcpCounters, UdpCounters};
use std::time::Duration;
use wirelab::bank::load::Sample;
use wirelab::path::LostFrame;

/// One lane at one loss rate.
#[derive(Clone, Debug)]
pub struct LaneOutcome {
    /// The arm.
    pub arm: Arm,
    /// Requests each client kept outstanding.
    pub depth: u32,
    /// Clients.
    pub clients: u32,
    /// Every request, in the order they ended.
    pub samples: Vec<Sample>,
    /// How long each connection took to open, while measured; `None` where there is none to open.
    pub handshakes: Option<Vec<Duration>>,
    /// What each direction did to frames.
    pub path: [LinkAudit; 2],
    /// The frames each direction lost.
    pub lost: [Vec<LostFrame>; 2],
    /// The kernel's counters, where there is a kernel.
    pub tcp: Option<TcpCounters>,
    /// The datagram clients' counters.
    pub udp: Option<UdpCounters>,
    /// What the ledger says.
    pub ledger: LedgerAudit,
}

/// All lanes at one loss rate.
#[derive(Clone, Debug)]
pub struct StageOutcome {
    /// The lanes, in the order of the plan.
    pub lanes: Vec<LaneOutcome>,
    /// How long the stage took.
    pub elapsed: Duration,
}
