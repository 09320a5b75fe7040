//! The amount of load and the arrival model.

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

/// Amount and duration of load.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// When requests start.
    pub arrivals: ArrivalModel,
    /// Maximum operations.
    pub ops: u64,
    /// Time after which no operation starts.
    pub limit: Duration,
    /// Closed loop: the clients' first requests are spread evenly over this time.
    pub spread: Duration,
}
