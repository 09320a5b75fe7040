//! A timed change of a link's settings during a run.

use super::bottleneck::Rate;
use super::corrupt::Corruption;
use super::delay::Delay;
use super::effect::Word;
use super::loss::LossModel;
use super::plan_error::{PlanError, ReadFile, duration, share, wrong};
use crate::measure::{Ppm, human};
use std::fmt;
use std::time::Duration;

/// A change at a time. Among active changes of one setting, the one that began last applies; when
/// it ends, the previous value applies again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Start, counted from the link's start.
    pub at: Duration,
    /// Duration; `None` for the rest of the run.
    pub lasting: Option<Duration>,
    /// The setting.
    pub what: Setting,
}

/// The setting that a change replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Every arriving frame is lost; frames in the queue still leave.
    Down,
    /// The loss model.
    Loss(LossModel),
    /// The delay.
    Delay(Delay),
    /// The rate, for frames whose transmission begins later; a link without a bottleneck cannot get
    /// one.
    Rate(Rate),
    /// Corruption.
    Corrupt(Corruption),
    /// Duplication.
    Duplicate(Ppm),
}

impl Change {
    pub(super) const WORD: Word = Word {
        name: "at",
        value: "CHANGE",
        help: "A change while the run goes on, any number: 'at 2s down for 3s', 'at 5s loss 20%'",
    };

    /// Reads a line such as `at 2s down for 3s` or `at 5s loss 20%`; the `at` may be left out.
    ///
    /// # Errors
    /// The expected form and the text found.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a time, what changes (down, loss, delay, rate, corrupt or \
                                duplicate), its value, and perhaps for how long, as in \
                                at 7s delay 100ms for 2s";
        let error = || wrong("at", EXPECTED, text);
        let line = text.trim();
        let line = line.strip_prefix("at ").unwrap_or(line);
        let (line, lasting) = match line.rsplit_once(" for ") {
            Some((line, lasting)) => (line.trim(), Some(duration("at", lasting)?)),
            None => (line, None),
        };
        let (at, what) = line.trim().split_once(' ').ok_or_else(error)?;
        let what = what.trim();
        let (word, value) = what.split_once(' ').unwrap_or((what, ""));
        let value = value.trim();
        let what = match word {
            "down" if value.is_empty() => Setting::Down,
            "loss" => Setting::Loss(LossModel::parse(value, read)?),
            "delay" => Setting::Delay(Delay::parse(value, read)?),
            "rate" => Setting::Rate(Rate::parse(value, read)?),
            "corrupt" => Setting::Corrupt(value.parse()?),
            "duplicate" => Setting::Duplicate(share("duplicate", value)?),
            _ => return Err(error()),
        };
        Ok(Self { at: duration("at", at)?, lasting, what })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ", human::duration(self.at))?;
        match &self.what {
            Setting::Down => f.write_str("down")?,
            Setting::Loss(loss) => write!(f, "loss {loss}")?,
            Setting::Delay(delay) => write!(f, "delay {delay}")?,
            Setting::Rate(rate) => write!(f, "rate {rate}")?,
            Setting::Corrupt(corruption) => write!(f, "corrupt {corruption}")?,
            Setting::Duplicate(share) => write!(f, "duplicate {}", human::share(*share))?,
        }
        self.lasting.map_or(Ok(()), |lasting| write!(f, " for {}", human::duration(lasting)))
    }
}
