//! How much load there is, and when requests start.

use std::time::Duration;

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalModel {
    /// Each client keeps `depth` requests outstanding: the next starts when one ends.
    Closed {
        /// Requests outstanding per client.
        depth: u32,
    },
    /// Requests start at fixed times, independent of earlier ones: client `n` mod clients.
    Open {
        /// Time between two starts, over all clients.
        interval: Duration,
    },
}

/// How much load, and until when.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// When requests start.
    pub arrivals: ArrivalModel,
    /// Operations, at most.
    pub ops: u64,
    /// No operation starts later than this after the beginning.
    pub limit: Duration,
    /// Closed loop: the clients' first requests are spread evenly over this time.
    pub spread: Duration,
}
