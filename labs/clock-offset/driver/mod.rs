//! NTP on real sockets: [`query`] asks servers, [`serve`] is one; [`nts`] and [`ke`] establish
//! keys, [`link`] makes an emulated path of a scenario.
//!
//! The cores in `clock` get kernel timestamps if there are any.

pub mod any_date;
pub mod ke;
pub mod link;
pub mod nts;
pub mod order;
pub mod query;
pub mod serve;

use crate::host_clocks::Reading;
use crate::sample::TimePair;
use crate::timestamp::WallTime;
use wirelab::runtime::clock::Clock;
use wirelab::sys::clock::all_clocks;

/// Longest UDP payload on IPv4: 65535 less the headers of IP and UDP.
const DATAGRAM_MAX: usize = 65_507;

/// This host's clocks now, the monotonic one since the start of the run.
#[must_use]
pub fn clocks(clock: &Clock) -> TimePair {
    let now = all_clocks();
    TimePair {
        wall: wall(now.wall_ns),
        at: clock.at(now.monotonic_ns),
        width_ns: width(now.width_ns),
        slept_ns: now.boot_ns.saturating_sub(now.monotonic_ns),
    }
}

/// Every clock of this host, the monotonic one since the start of the run.
#[must_use]
pub fn reading(clock: &Clock) -> Reading {
    let all = all_clocks();
    Reading {
        at: clock.at(all.monotonic_ns),
        wall: wall(all.wall_ns),
        raw_ns: all.raw_ns,
        boot_ns: all.boot_ns,
        width_ns: width(all.width_ns),
    }
}

/// The time between two readings; saturates if the process was stopped between them.
fn width(nanos: u64) -> u32 {
    u32::try_from(nanos.min(u32::MAX.into())).expect("invariant: clamped to 32 bits")
}

fn wall(nanos: u64) -> WallTime {
    WallTime::from_nanos(i64::try_from(nanos).expect("invariant: today is before the year 2262"))
}
