//! Random draws that depend on nothing but their key, so that one effect never shifts another.
//!
//! A draw is a pure function of (seed, direction, effect, frame index). Adding an impairment, or
//! traffic in the other direction, leaves every other decision as it was.
//! It must never hold state.
//!
//! The function is the SplitMix64 finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom
//! number generators", OOPSLA 2014) over a key mixed from the four parts; it is portable, so a seed
//! means the same on every machine.

use super::Direction;
use crate::measure::Ppm;

/// What a draw decides. Each effect has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Whether the frame is lost.
    Loss,
    /// Whether the frame is delivered twice.
    Duplicate,
}

/// Weyl increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A uniform 64-bit value for a seed and any key: the building block of every random choice.
#[must_use]
pub const fn keyed(seed: u64, key: u64) -> u64 {
    mix(mix(seed.wrapping_add(GOLDEN)) ^ key.wrapping_mul(GOLDEN).wrapping_add(GOLDEN))
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
