//! The key of a frame's random draws.

use super::effect::Word;
use super::plan_error::{PlanError, duration, wrong};
use crate::measure::human;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Key of a frame's draws, besides seed, direction and effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrawKey {
    /// Its number in its direction: frame n of every run meets the same fate.
    #[default]
    Order,
    /// The time slot it arrives in, counted from the link's start: flows in the same slot share a
    /// draw.
    Time {
        /// Length of a slot; not zero.
        slot: Duration,
    },
    /// Its payload, and how often that came before: request n, attempt k meets the same fate on
    /// every transport.
    Content,
}

impl DrawKey {
    pub(super) const WORD: Word = Word {
        name: "key",
        value: "KEY",
        help: "What a frame's fate depends on: order, time:1ms, content",
    };
}

impl FromStr for DrawKey {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text.trim() {
            "order" => Ok(Self::Order),
            "content" => Ok(Self::Content),
            other => {
                let slot = other.strip_prefix("time:");
                let slot = slot.ok_or_else(|| wrong("key", "order, time:1ms or content", other))?;
                Ok(Self::Time { slot: duration("key", slot)? })
            }
        }
    }
}

impl fmt::Display for DrawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("order"),
            Self::Time { slot } => write!(f, "time:{}", human::duration(*slot)),
            Self::Content => f.write_str("content"),
        }
    }
}
