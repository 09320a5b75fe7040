//! How the router is set up, and what it did in all.

use super::capacity::{self, TooManyFrames};
use crate::path::LinkPlan;
use std::time::Duration;

/// How the router waits and how much it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// How long before a deadline to stop sleeping and watch the clock; zero never watches.
    ///
    /// It costs a processor for this long per wait. Measured on a virtual machine of two
    /// processors, at 1,000 frames/s and a delay of 10 ms (`cargo bench -- router`): the transit,
    /// less the delay and less what loopback takes, was off by 16 us (median) and 71 us (99th
    /// percentile) at 6 % of a processor without, by -24 and 42 us at 7 % with 50 us, -31 and 14 us
    /// at 11 % with 100 us, -33 and 24 us at 20 % with 200 us. With 50 us and the usual slice of
    /// 3 ms the 99th percentile was 384 us.
    pub spin: Duration,
    /// How long the router's thread wants to run at a stretch (see
    /// [`set_time_slice`](crate::sys::host::set_time_slice)).
    ///
    /// Shorter than the 3 ms of all others, it runs sooner when a frame comes or is due, and a
    /// receiver that it wakes waits until the burst is sent: measured on one processor with the
    /// receiver, 200 datagrams/ms with 3 ms, 240 with 100 us, 250 with 500 us.
    ///
    /// `None` leaves it as it is. That suits a router of many lanes whose hosts live in a few
    /// threads: with eleven lanes the 99th percentile of lateness was 0.5 ms without and 0.8 ms
    /// with 100 us, one run each, because those threads then interrupt each other more often.
    pub slice: Option<Duration>,
    /// Slots of each port's receive ring, 2 KiB each; 64 KiB where super-frames come, which makes
    /// 128 MiB of kernel memory for a lane.
    pub ring_frames: usize,
    /// Frames that can be on their way at once, all lanes together, 1.7 kB each, touched when used.
    /// [`RouterConfig::for_plans`] works it out.
    pub pool_frames: usize,
    /// The processor to bind the router's thread to.
    pub cpu: Option<usize>,
    /// Keeps all processors from halting, at the cost of all their idle time.
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
    /// The usual configuration with room for all that links of these plans can have on their way:
    /// give both plans of each lane.
    ///
    /// # Errors
    /// Where that would be more than [`POOL_FRAMES_MAX`](super::router::POOL_FRAMES_MAX).
    pub fn for_plans<'a>(
        plans: impl IntoIterator<Item = &'a LinkPlan>,
    ) -> Result<Self, TooManyFrames> {
        Ok(Self { pool_frames: capacity::frames_on_way(plans)?, ..Self::default() })
    }
}

/// What the router did in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterSummary {
    /// Frames taken up, all lanes.
    pub frames: u64,
    /// Copies sent on.
    pub sent: u64,
    /// Copies that could not be sent on.
    pub send_failed: u64,
    /// Frames that a receive ring had no slot for.
    pub ring_dropped: u64,
    /// Looks at a ring while the pool was full, so that frames had to wait in it. The router does
    /// not sleep meanwhile: a pool that is ever full is too small.
    pub pool_full: u64,
    /// Frames that could be on their way at once, each copy that waits at a bottleneck counted.
    pub pool_frames: u64,
    /// Most frames that were.
    pub pool_peak: u64,
    /// Memory for `pool_frames`, and for super-frames where a lane has them; what was never needed
    /// is never touched.
    pub pool_bytes: u64,
    /// Memory of the receive rings.
    pub ring_bytes: u64,
    /// Processor time of the router's thread.
    pub cpu: Duration,
}
