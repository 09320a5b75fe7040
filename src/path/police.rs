//! The policer: a token bucket that drops frames above a rate and delays none.

use super::effect::{Draws, Effect, Passage, Word, optional};
use super::fate::DropReason;
use super::plan_error::{PlanError, ReadFile, refuse, wrong};
use crate::measure::{Instant, human, nanos};
use std::fmt;
use std::str::FromStr;

/// Bytes of the longest frame of an MTU of 1,500, which never passes a smaller bucket.
const BURST_MIN: u64 = 1514;
/// Bytes; ten seconds of 800 Mbit/s. Bits times a billion of it fit into 64 bits.
const BURST_MAX: u64 = 1_000_000_000;
/// Bits per second; as fast as a bottleneck can be.
const RATE_MAX: u64 = 1_000_000_000_000;
/// Tokens per bit: a rate in bits per second adds as many tokens each nanosecond.
const TOKENS_PER_BIT: u64 = 1_000_000_000;

/// A token bucket, as in tc's `police` action: a copy passes if the bucket holds a token for each
/// of its bytes, and removes them; otherwise it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Police {
    /// Fill rate, bits per second.
    pub rate: u64,
    /// Capacity, bytes; initially full.
    pub burst: u64,
}

impl FromStr for Police {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a rate and a burst, as in 10Mbit,burst=32kB";
        let error = || wrong("police", EXPECTED, text);
        let (rate, burst) = text.split_once(',').ok_or_else(error)?;
        let burst = burst.trim().strip_prefix("burst=").ok_or_else(error)?;
        let rate = human::parse_rate(rate).map_err(|_| error())?;
        let burst = human::parse_size(burst).map_err(|_| error())?;
        Ok(Self { rate, burst })
    }
}

impl fmt::Display for Police {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},burst={}", human::rate(self.rate), human::size(self.burst))
    }
}

/// The bucket of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policer {
    /// Tokens missing from a full bucket, and at which time.
    missing: u64,
    at: Instant,
}

impl Effect for Policer {
    type Setting = Option<Police>;
    const WORDS: &'static [Word] = &[Word {
        name: "police",
        value: "RATE",
        help: "Frames above a rate are dropped at once, none waits: 10Mbit,burst=32kB",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Self::Setting, PlanError> {
        text.parse().map(Some)
    }

    fn text(setting: &Self::Setting) -> String {
        optional(setting.as_ref())
    }

    fn check(setting: &Self::Setting) -> Result<(), PlanError> {
        match setting {
            Some(Police { rate, .. }) if !(1..=RATE_MAX).contains(rate) => {
                refuse(format!("police: expected 1bit to 1000Gbit, got {}", human::rate(*rate)))
            }
            Some(Police { burst, .. }) if !(BURST_MIN..=BURST_MAX).contains(burst) => {
                refuse(format!(
                    "police: expected a burst of {BURST_MIN}B, the longest frame, to 1GB, got {}",
                    human::size(*burst)
                ))
            }
            _ => Ok(()),
        }
    }

    /// One of two copies may pass; a frame is dropped if none does.
    fn decide(&mut self, setting: &Self::Setting, _: &Draws<'_>, frame: &mut Passage<'_>) {
        let Some(Police { rate, burst }) = *setting else { return };
        let filled = rate.saturating_mul(nanos(frame.arrived.since(self.at)));
        self.missing = self.missing.saturating_sub(filled);
        self.at = frame.arrived;
        let tokens = |bytes: u64| bytes.saturating_mul(8 * TOKENS_PER_BIT);
        let taken = tokens(frame.on_wire.into());
        let free = tokens(burst).saturating_sub(self.missing);
        let passing = (1..=frame.copies).rev().find(|n| taken.saturating_mul((*n).into()) <= free);
        match passing {
            Some(copies) => {
                self.missing += taken * u64::from(copies);
                frame.copies = copies;
            }
            None => frame.dropped = Some(DropReason::Policed),
        }
    }
}
