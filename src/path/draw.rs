//! Random draws that depend on nothing but their key, so that one effect never shifts another.
//!
//! A draw is a pure function of (seed, direction, effect, frame index). Adding an impairment, or
//! traffic in the other direction, leaves every other decision as it was.
//! It must never hold state.
//!
//! The value comes from [`measure::draw::keyed`](crate::measure::draw::keyed) over a key mixed from
//! the four parts.

use super::Direction;
use crate::measure::Ppm;
use crate::measure::draw::keyed;

/// What a draw decides. Each effect has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Whether the frame is lost.
    Loss,
    /// Whether the frame is delivered twice.
    Duplicate,
}

/// The draw for one frame, uniform over 0 ..= 999,999 parts per million.
///
/// The effect happens when the draw is below its probability in ppm. The bias of the scaling is
/// below 10^-13.
#[must_use]
pub fn ppm(seed: u64, direction: Direction, effect: Effect, index: u64) -> u32 {
    let stream = keyed(seed, (direction as u64) << 8 | effect as u64);
    let wide = u128::from(keyed(stream, index)) * 1_000_000;
    // The product is below 2^64 * 10^6, so the shifted value is below 10^6.
    u32::try_from(wide >> 64).unwrap_or(999_999)
}

/// Whether a draw makes an effect of this probability happen.
#[must_use]
pub const fn happens(draw_ppm: u32, probability: Ppm) -> bool {
    draw_ppm < probability.get()
}
