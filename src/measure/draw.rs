//! Stateless random draws: a pure function of seed and key, so that any draw can be repeated.
//!
//! The function is the SplitMix64 finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom
//! number generators", OOPSLA 2014); it is portable, so a seed means the same on every machine.

/// Weyl increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A uniform 64-bit value for a seed and a key.
pub const fn keyed(seed: u64, key: u64) -> u64 {
    mix(mix(seed.wrapping_add(GOLDEN)) ^ key.wrapping_mul(GOLDEN).wrapping_add(GOLDEN))
}
