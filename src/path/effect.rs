//! What an effect of the path is: a setting with its words, and what it does to a frame.
//!
//! Each effect is one file; `plan` lists them in the order in which a frame meets them.

use super::fate::{DropReason, Mutation};
use super::frame::{Bytes, Frame};
use super::plan_error::{PlanError, ReadFile};
use super::rng::{Stream, Streams};
use crate::measure::{Instant, Ppm};

/// A word by which flags, plan files and results set something of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word itself.
    pub name: &'static str,
    /// What stands for its value in help.
    pub value: &'static str,
    /// What it does, with examples of its value; one line.
    pub help: &'static str,
}

/// Takes a word and its text from a setting that differs from the default.
pub(super) type Show<'a> = &'a mut dyn FnMut(&'static str, String);

/// An effect: its type is the state that it keeps for a link.
pub(super) trait Effect: Default {
    /// What a plan says of it.
    type Setting;
    /// The words that set it.
    const WORDS: &'static [Word];
    /// Whether it also meets frames that are lost already: a loss model takes its step for each.
    const MEETS_LOST: bool = false;

    /// Reads the text of one of its words.
    fn set(
        setting: &mut Self::Setting,
        word: &str,
        text: &str,
        read: ReadFile<'_>,
    ) -> Result<(), PlanError>;

    /// Writes what [`Effect::set`] reads, where it differs from the default.
    fn show(setting: &Self::Setting, add: Show<'_>);

    /// Whether the setting makes sense by itself.
    fn check(_: &Self::Setting) -> Result<(), PlanError> {
        Ok(())
    }

    /// A frame meets the effect.
    fn decide(&mut self, _: &Self::Setting, _: &Draws<'_>, _: &mut Passage<'_>) {}
}

/// What decides a frame's draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its number in its direction.
    pub(super) index: u64,
    /// The key of its draws.
    pub(super) draws: u64,
    /// The time slot, where the key is time.
    pub(super) slot: Option<u64>,
}

/// What a frame's draws come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws<'a> {
    pub(super) key: Key,
    pub(super) loss_draw_ppm: u32,
    pub(super) streams: &'a Streams,
}

impl Draws<'_> {
    /// A draw of a stream, uniform over all 64-bit values.
    pub(super) const fn bits(&self, stream: Stream) -> u64 {
        self.streams.bits(stream, self.key.draws)
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&self, stream: Stream, probability: Ppm) -> bool {
        self.streams.happens(stream, self.key.draws, probability)
    }
}

/// A frame on its way through the effects, and what they have decided so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage<'a> {
    pub(super) arrived: Instant,
    pub(super) bytes: Bytes<'a>,
    /// Bytes, Ethernet header included.
    pub(super) length: u32,
    /// Bytes for which it counts at a rate.
    pub(super) on_wire: u32,
    /// Whether the timetable has the link down.
    pub(super) down: bool,
    pub(super) dropped: Option<DropReason>,
    pub(super) copies: u8,
    pub(super) mutation: Mutation,
    pub(super) overtakes: bool,
}

impl<'a> Passage<'a> {
    pub(super) fn new(arrived: Instant, frame: Frame<'a>, down: bool) -> Self {
        let Frame { bytes, length } = frame;
        Self {
            arrived,
            bytes,
            length,
            on_wire: length,
            down,
            dropped: None,
            copies: 1,
            mutation: Mutation::default(),
            overtakes: false,
        }
    }

    /// Why the frame goes no further; an outage comes before the loss model.
    pub(super) fn drop_reason(&self) -> Option<DropReason> {
        if self.down { Some(DropReason::Down) } else { self.dropped }
    }
}
