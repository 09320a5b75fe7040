//! Congestion marks on ECN-capable frames (RFC 3168).

use super::effect::{Draws, Effect, Passage, Word};
use super::frame::ecn_bits;
use super::plan_error::{PlanError, ReadFile, share};
use super::rng::Stream;
use crate::measure::{Ppm, human};

/// Marks a share of the frames "congestion experienced".
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark;

impl Effect for Mark {
    type Setting = Ppm;
    const WORDS: &'static [Word] = &[Word {
        name: "mark",
        value: "SHARE",
        help: "Frames marked \"congestion experienced\" (ECN): 1%",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Ppm, PlanError> {
        share("mark", text)
    }

    fn text(setting: &Ppm) -> String {
        human::share(*setting)
    }

    fn decide(&mut self, setting: &Ppm, draws: &Draws<'_>, frame: &mut Passage<'_>) {
        // A marked frame cannot be marked again.
        frame.mutation.mark =
            draws.happens(Stream::Mark, *setting) && matches!(ecn_bits(frame.bytes), 1 | 2);
    }
}
