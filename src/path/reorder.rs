//! Reordering: which frames may overtake others.

use super::effect::{Draws, Effect, Passage, Word};
use super::plan_error::{PlanError, ReadFile, duration, number, wrong};
use super::rng::Stream;
use crate::measure::{Ppm, human};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// Which frames may overtake others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reorder {
    /// None: a frame leaves no earlier than the one before it, whatever its delay.
    #[default]
    Never,
    /// None, and frames that arrive in the same slot of time have the same random delay.
    ///
    /// With [`Reorder::Never`] a frame waits for the slowest before it, so that delays grow with
    /// the rate. Here only frames at the edge of a slot wait, and delays keep their distribution
    /// at any rate where the slot is some 20 times their deviation.
    NeverInSlots {
        /// Length of a slot, counted from the link's start; not zero.
        slot: Duration,
    },
    /// Those whose random delay is shorter.
    ByJitter,
    /// This share of every `gap`-th frame leaves without delay, before frames in flight.
    Share {
        /// The share.
        share: Ppm,
        /// Candidates: every `gap`-th frame; 1 means each.
        gap: NonZeroU32,
    },
}

impl FromStr for Reorder {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "never, jitter, never,slot=100ms, or a share, then perhaps gap=N (1 \
                                or more), as in 25%,gap=5";
        let text = text.trim();
        match text {
            "never" => return Ok(Self::Never),
            "jitter" => return Ok(Self::ByJitter),
            _ => {}
        }
        if let Some(slot) = text.strip_prefix("never,slot=") {
            let slot = duration("reorder", slot)?;
            let none = slot.is_zero();
            let wrong = || wrong("reorder", EXPECTED, text);
            return if none { Err(wrong()) } else { Ok(Self::NeverInSlots { slot }) };
        }
        let (chosen, gap) = text.split_once(',').unwrap_or((text, "gap=1"));
        let chosen = human::parse_share(chosen).map_err(|_| wrong("reorder", EXPECTED, text))?;
        let gap = gap.trim().strip_prefix("gap=").and_then(number);
        let gap = gap.and_then(|gap| u32::try_from(gap).ok()).and_then(NonZeroU32::new);
        let gap = gap.ok_or_else(|| wrong("reorder", EXPECTED, text))?;
        Ok(Self::Share { share: chosen, gap })
    }
}

impl fmt::Display for Reorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::NeverInSlots { slot } => write!(f, "never,slot={}", human::duration(*slot)),
            Self::ByJitter => f.write_str("jitter"),
            Self::Share { share, gap } => {
                f.write_str(&human::share(*share))?;
                if gap.get() > 1 { write!(f, ",gap={gap}") } else { Ok(()) }
            }
        }
    }
}

/// Chooses the frames that leave without delay.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overtaking;

impl Effect for Overtaking {
    type Setting = Reorder;
    const WORDS: &'static [Word] = &[Word {
        name: "reorder",
        value: "WHICH",
        help: "Frames that may overtake: jitter, 25%, 25%,gap=5; none, one delay for each 100 ms: \
               never,slot=100ms",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Reorder, PlanError> {
        text.parse()
    }

    fn text(setting: &Reorder) -> String {
        setting.to_string()
    }

    fn decide(&mut self, setting: &Reorder, draws: &Draws<'_>, frame: &mut Passage<'_>) {
        let Reorder::Share { share, gap } = *setting else { return };
        let gap = u64::from(gap.get());
        let chosen = draws.key.index % gap == gap - 1;
        frame.overtakes = chosen && draws.happens(Stream::Reorder, share);
    }
}
