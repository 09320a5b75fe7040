//! Corruption: flipped bits.

use super::effect::{Draws, Effect, Passage, Word};
use super::fate::CorruptDraw;
use super::plan_error::{PlanError, ReadFile, number, share, wrong};
use super::rng::Stream;
use crate::measure::{Ppm, human};
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

/// Flipped bits. By default none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Probability that a frame has bits flipped.
    pub share: Ppm,
    /// How many bits; 0 counts as 1. They lie anywhere behind the Ethernet header or, with
    /// `repair`, in the payload of TCP or UDP.
    pub bits: u8,
    /// Corrects the Internet checksums, so that only the application can notice; skips frames
    /// without payload.
    pub repair: bool,
}

impl Default for Corruption {
    fn default() -> Self {
        Self { share: Ppm::ZERO, bits: 1, repair: false }
    }
}

impl FromStr for Corruption {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a share, then perhaps bits=N (1 to 255) and repair, as in \
                                1%,bits=3,repair";
        let mut words = text.split(',').map(str::trim);
        let share = share("corrupt", words.next().unwrap_or_default())?;
        let mut corruption = Self { share, ..Self::default() };
        for word in words {
            match (word, word.strip_prefix("bits=").and_then(bits)) {
                ("repair", _) => corruption.repair = true,
                (_, Some(bits)) => corruption.bits = bits.get(),
                _ => return Err(wrong("corrupt", EXPECTED, text)),
            }
        }
        Ok(corruption)
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human::share(self.share))?;
        if self.bits > 1 {
            write!(f, ",bits={}", self.bits)?;
        }
        f.write_str(if self.repair { ",repair" } else { "" })
    }
}

/// Number of bits to flip, at least one.
fn bits(text: &str) -> Option<NonZeroU8> {
    number(text).and_then(|bits| u8::try_from(bits).ok()).and_then(NonZeroU8::new)
}

/// Flips bits in a share of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Corrupt;

impl Effect for Corrupt {
    type Setting = Corruption;
    const WORDS: &'static [Word] = &[Word {
        name: "corrupt",
        value: "SHARE",
        help: "Flipped bits: 1%, 1%,bits=3, or 1%,repair to fix the checksums up",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Corruption, PlanError> {
        text.parse()
    }

    fn text(setting: &Corruption) -> String {
        setting.to_string()
    }

    fn decide(&mut self, setting: &Corruption, draws: &Draws<'_>, frame: &mut Passage<'_>) {
        let flips = draws.happens(Stream::Corrupt, setting.share);
        frame.mutation.corrupt = flips.then(|| CorruptDraw {
            key: draws.bits(Stream::CorruptBits),
            bits: setting.bits.max(1),
            repair: setting.repair,
        });
    }
}
