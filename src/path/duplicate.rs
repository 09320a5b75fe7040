//! Duplication of frames.

use super::effect::{Draws, Effect, Passage, Word};
use super::plan_error::{PlanError, ReadFile, share};
use super::rng::Stream;
use crate::measure::{Ppm, human};

/// Duplicates a share of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Duplicate;

impl Effect for Duplicate {
    type Setting = Ppm;
    const WORDS: &'static [Word] =
        &[Word { name: "duplicate", value: "SHARE", help: "Frames delivered twice: 1%" }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Ppm, PlanError> {
        share("duplicate", text)
    }

    fn text(setting: &Ppm) -> String {
        human::share(*setting)
    }

    fn decide(&mut self, setting: &Ppm, draws: &Draws<'_>, frame: &mut Passage<'_>) {
        frame.copies += u8::from(draws.happens(Stream::Duplicate, *setting));
    }
}
