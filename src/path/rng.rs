//! Keyed random draws: a pure function of (seed, direction, effect, key), without state.
//!
//! The key is given by [`DrawKey`](super::DrawKey), a frame's number by default. Adding an
//! impairment, or traffic in the other direction, changes no other decision.
//! [`measure::draw::keyed`](crate::measure::draw::keyed) computes the value from a key mixed from
//! the four parts.

use super::frame::Direction;
use crate::measure::Ppm;
use crate::measure::draw::keyed;

/// The purpose of a draw. Each effect has its own stream; the numbers are part of a seed's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Whether the frame is lost.
    Loss = 0,
    /// Whether the frame is delivered twice.
    Duplicate = 1,
    /// The transition of the loss model's state.
    State = 2,
    /// The frame's delay.
    Delay = 3,
    /// Whether bits are flipped.
    Corrupt = 4,
    /// Which bits are flipped.
    CorruptBits = 5,
    /// Whether the frame is marked "congestion experienced".
    Mark = 6,
    /// Whether the frame overtakes.
    Reorder = 7,
}

/// Number of effects.
const EFFECTS: usize = 8;

/// The draw for one frame, uniform over 0 ..= 999,999 parts per million.
///
/// The effect happens when the draw is below its probability in ppm. The bias of the scaling is
/// below 10^-13.
#[must_use]
pub fn ppm(seed: u64, direction: Direction, effect: Stream, index: u64) -> u32 {
    scaled(keyed(stream(seed, direction, effect), index))
}

/// Whether a draw makes an effect of this probability happen.
#[must_use]
pub const fn happens(draw_ppm: u32, probability: Ppm) -> bool {
    draw_ppm < probability.get()
}

const fn stream(seed: u64, direction: Direction, effect: Stream) -> u64 {
    keyed(seed, (direction as u64) << 8 | effect as u64)
}

fn scaled(draw: u64) -> u32 {
    let wide = u128::from(draw) * 1_000_000;
    u32::try_from(wide >> 64).expect("a part of 2^64 of a million is below a million")
}

/// The streams of one link, mixed once.
#[derive(Clone, Debug)]
pub(super) struct Streams([u64; EFFECTS]);

impl Streams {
    pub(super) fn new(seed: u64, direction: Direction) -> Self {
        use Stream::{Corrupt, CorruptBits, Delay, Duplicate, Loss, Mark, Reorder, State};
        let all = [Loss, Duplicate, State, Delay, Corrupt, CorruptBits, Mark, Reorder];
        Self(all.map(|effect| stream(seed, direction, effect)))
    }

    /// Uniform over all 64-bit values.
    pub(super) const fn bits(&self, effect: Stream, key: u64) -> u64 {
        keyed(self.0[effect as usize], key)
    }

    /// The same as [`ppm`].
    pub(super) fn ppm(&self, effect: Stream, key: u64) -> u32 {
        scaled(self.bits(effect, key))
    }

    /// Whether an effect of this probability happens; probability 0 makes no draw.
    pub(super) fn happens(&self, effect: Stream, key: u64, probability: Ppm) -> bool {
        probability != Ppm::ZERO && happens(self.ppm(effect, key), probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_once_or_every_time_is_the_same() {
        let streams = Streams::new(7, Direction::BToA);
        for key in 0..100 {
            let each = ppm(7, Direction::BToA, Stream::Reorder, key);
            assert_eq!(streams.ppm(Stream::Reorder, key), each);
        }
    }
}
