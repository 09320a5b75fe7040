//! Configuration and totals of the router.

use super::capacity::{self, TooManyFrames};
use crate::path::LinkPlan;
use std::time::Duration;

/// Waiting and capacity of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Time before a deadline to stop sleeping and poll the clock; zero never polls.
    ///
    /// It costs a processor for this long per wait. Measured on a virtual machine of two
    /// processors, at 1,000 frames/s and a delay of 10 ms (`cargo bench -- router`): error of the
    /// transit, less the delay and less that of loopback, 16 µs (median) and 71 µs (p99) at 6 % of
    /// a processor without; -24 and 42 µs at 7 % with 50 µs; -31 and 14 µs at 11 % with 100 µs; -33
    /// and 24 µs at 20 % with 200 µs. With 50 µs and the usual slice of 3 ms p99 was 384 µs.
    pub spin: Duration,
    /// Time slice of the router's thread (see
    /// [`set_time_slice`](crate::sys::host::set_time_slice)).
    ///
    /// Shorter than the usual 3 ms, the thread runs sooner when a frame arrives or is due, and a
    /// receiver that it wakes waits until the burst is sent: measured on one processor with the
    /// receiver, 200 datagrams/ms with 3 ms, 240 with 100 µs, 250 with 500 µs.
    ///
    /// `None` leaves the default. That suits a router of many lanes whose hosts share a few
    /// threads: with eleven lanes p99 of lateness was 0.5 ms without and 0.8 ms with 100 µs, one
    /// run each, because those threads then preempt each other more often.
    pub slice: Option<Duration>,
    /// Slots of each port's receive ring, 2 KiB each; 64 KiB for super-frames, which makes 128 MiB
    /// of kernel memory for a lane.
    pub ring_frames: usize,
    /// Frames in flight at once, all lanes together, 1.7 kB each, touched when used.
    /// [`RouterConfig::for_plans`] computes it.
    pub pool_frames: usize,
    /// The processor to bind the router's thread to.
    pub cpu: Option<usize>,
    /// Keeps all processors from halting, which uses all their idle time.
    pub keep_awake: bool,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(50),
            slice: Some(Duration::from_micros(100)),
            // 10 ms, the longest pause seen on a shared virtual machine, at 100,000 frames/s.
            ring_frames: 1024,
            // 100 ms of what one thread can move.
            pool_frames: 16_384,
            cpu: None,
            keep_awake: false,
        }
    }
}

impl RouterConfig {
    /// The default configuration with room for all frames that links of these plans can have in
    /// flight: pass both plans of each lane.
    ///
    /// # Errors
    /// If that exceeds [`POOL_FRAMES_MAX`](super::router::POOL_FRAMES_MAX).
    pub fn for_plans<'a>(
        plans: impl IntoIterator<Item = &'a LinkPlan>,
    ) -> Result<Self, TooManyFrames> {
        Ok(Self { pool_frames: capacity::frames_on_way(plans)?, ..Self::default() })
    }
}

/// Totals of the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterSummary {
    /// Frames received, all lanes.
    pub frames: u64,
    /// Copies sent.
    pub sent: u64,
    /// Copies that could not be sent.
    pub send_failed: u64,
    /// Frames for which a receive ring had no slot.
    pub ring_dropped: u64,
    /// Polls of a ring while the pool was full, so that frames waited in it. The router then does
    /// not sleep: a pool that is ever full is too small.
    pub pool_full: u64,
    /// Capacity in flight; each copy that waits at a bottleneck counts.
    pub pool_frames: u64,
    /// Most frames in flight.
    pub pool_peak: u64,
    /// Memory for `pool_frames`, and for super-frames if a lane has them; unused slots are never
    /// touched.
    pub pool_bytes: u64,
    /// Memory of the receive rings.
    pub ring_bytes: u64,
    /// Processor time of the router's thread.
    pub cpu: Duration,
}
