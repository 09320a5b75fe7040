//! The trait of a path effect: its setting, its words, and its action on a frame.
//!
//! Each effect is one file; `plan` lists them in the order in which a frame meets them.

use super::fate::{DropReason, Mutation};
use super::frame::{Bytes, Frame};
use super::plan_error::{PlanError, ReadFile};
use super::rng::{Stream, Streams};
use crate::measure::{Instant, Ppm};

/// A word of flags, plan files and results that sets a property of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word itself.
    pub name: &'static str,
    /// Placeholder of its value in help.
    pub value: &'static str,
    /// One line of description, with examples of its value.
    pub help: &'static str,
}

/// The text of an optional setting.
pub(super) fn optional(setting: Option<&impl ToString>) -> String {
    setting.map(ToString::to_string).unwrap_or_default()
}

/// Receives a word and its text from a setting that differs from the default.
pub(super) type Show<'a> = &'a mut dyn FnMut(&'static str, String);

/// An effect: the type is its state for a link.
pub(super) trait Effect: Default {
    /// Its setting in a plan.
    type Setting: Default + PartialEq;
    /// The words that set it.
    const WORDS: &'static [Word];
    /// Whether it also meets lost frames: a loss model takes its step for each.
    const MEETS_LOST: bool = false;

    /// Parses the text of its first word.
    fn parse(text: &str, read: ReadFile<'_>) -> Result<Self::Setting, PlanError>;

    /// The text that [`Effect::parse`] reads.
    fn text(setting: &Self::Setting) -> String;

    /// Sets one of its words.
    fn set(
        setting: &mut Self::Setting,
        _word: &str,
        text: &str,
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        *setting = Self::parse(text, read)?;
        Ok(())
    }

    /// Adds each of its words that differs from the default.
    fn show(setting: &Self::Setting, add: Show<'_>) {
        if *setting != Self::Setting::default() {
            add(Self::WORDS[0].name, Self::text(setting));
        }
    }

    /// Checks the setting by itself.
    fn check(_: &Self::Setting) -> Result<(), PlanError> {
        Ok(())
    }

    /// Applies the effect to a frame.
    fn decide(&mut self, _: &Self::Setting, _: &Draws<'_>, _: &mut Passage<'_>) {}
}

/// Inputs of a frame's draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its number in its direction.
    pub(super) index: u64,
    /// The key of its draws.
    pub(super) draws: u64,
    /// The time slot, where the key is time.
    pub(super) slot: Option<u64>,
}

/// The source of a frame's draws.
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

    /// Whether an event of this probability happens.
    pub(super) fn happens(&self, stream: Stream, probability: Ppm) -> bool {
        self.streams.happens(stream, self.key.draws, probability)
    }
}

/// A frame passing through the effects, and their decisions so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage<'a> {
    pub(super) arrived: Instant,
    pub(super) bytes: Bytes<'a>,
    /// Bytes, Ethernet header included.
    pub(super) length: u32,
    /// Bytes that count at a rate.
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

    /// Why the frame is dropped; an outage takes precedence over the loss model.
    pub(super) fn drop_reason(&self) -> Option<DropReason> {
        if self.down { Some(DropReason::Down) } else { self.dropped }
    }
}
