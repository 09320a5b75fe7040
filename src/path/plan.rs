//! The plan of one direction: the settings of every effect, in the order in which they act.
//!
//! [`LinkPlan`] is declared by the table of all effects. It holds no floats: probabilities are
//! parts per million, times are durations, so that every machine reads a plan alike.

use super::bottleneck::{Bottleneck, Transmission};
use super::change::{Change, Setting};
use super::corrupt::{Corrupt, Corruption};
use super::delay::{Delay, Propagation};
use super::draw_key::DrawKey;
use super::duplicate::Duplicate;
use super::effect::{Draws, Effect, Passage, Show, Word};
use super::loss::{Loss, LossModel, MaxBurst, expected};
use super::mark::Mark;
use super::mtu::{Mtu, MtuLimit};
use super::overhead::{Framing, Overhead};
use super::plan_error::{PlanError, ReadFile, refuse};
use super::police::{Police, Policer};
use super::reorder::{Overtaking, Reorder};
use crate::measure::Ppm;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

/// Changes of a timetable: precomputing it takes their number squared, a million steps.
const CHANGES_MAX: usize = 100_000;

/// Declares a plan's settings, and derives from each effect what a link and the words need.
macro_rules! effects {
    ($($(#[$about:meta])+ $field:ident: $setting:ty = $effect:ty,)+) => {
        /// Effects in one direction. The default has none.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct LinkPlan {
            /// Key of a frame's draws.
            pub key: DrawKey,
            $($(#[$about])+ pub $field: $setting,)+
            /// Changes while the run goes on, in the order of their times.
            pub timetable: Vec<Change>,
        }

        /// The state of every effect of a link.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Effects {
            $(pub(super) $field: $effect,)+
        }

        impl Effects {
            /// A frame meets every effect in turn.
            pub(super) fn decide(
                &mut self,
                plan: &LinkPlan,
                draws: &Draws<'_>,
                frame: &mut Passage<'_>,
            ) {
                $(if <$effect>::MEETS_LOST || frame.drop_reason().is_none() {
                    self.$field.decide(&plan.$field, draws, frame);
                })+
            }
        }

        impl LinkPlan {
            fn set(&mut self, word: &str, text: &str, read: ReadFile<'_>) -> Result<(), PlanError> {
                $(if <$effect>::WORDS.iter().any(|known| known.name == word) {
                    return <$effect>::set(&mut self.$field, word, text, read);
                })+
                match word {
                    "key" => self.key = text.parse()?,
                    "at" => self.timetable.push(Change::parse(text, read)?),
                    _ => {
                        let names = Self::names().join(", ");
                        return refuse(format!("expected one of {names}, got {word:?}"));
                    }
                }
                Ok(())
            }

            fn show_effects(&self, add: Show<'_>) {
                $(<$effect>::show(&self.$field, add);)+
            }

            fn check_effects(&self) -> Result<(), PlanError> {
                $(<$effect>::check(&self.$field)?;)+
                Ok(())
            }
        }

        const WORDS_OF_EFFECTS: &[&[Word]] = &[$(<$effect>::WORDS),+];
    };
}

// In the order in which a frame meets them.
effects! {
    /// Which frames are lost.
    loss: LossModel = Loss,
    /// After this many losses in a row the next frame is spared, whatever the loss model decides.
    max_burst: Option<NonZeroU32> = MaxBurst,
    /// Flipped bits.
    corrupt: Corruption = Corrupt,
    /// Probability that a frame which is not lost is delivered twice.
    duplicate: Ppm = Duplicate,
    /// Probability that an ECN-capable frame (RFC 3168) is marked "congestion experienced".
    mark: Ppm = Mark,
    /// The longest packet that passes, and what happens to a longer one.
    mtu: Option<MtuLimit> = Mtu,
    /// Bytes that the link layer adds to each frame at a rate.
    overhead: Overhead = Framing,
    /// A rate above which frames are dropped.
    police: Option<Police> = Policer,
    /// A bottleneck and the queue in front of it.
    rate: Option<Bottleneck> = Transmission,
    /// Time from leaving the bottleneck (or reaching the link, where there is none) to departure.
    delay: Delay = Propagation,
    /// Which frames may overtake others.
    reorder: Reorder = Overtaking,
}

impl LinkPlan {
    /// The words of [`LinkPlan::set_all`], in the order in which the effects act.
    #[must_use]
    pub fn words() -> &'static [Word] {
        static WORDS: LazyLock<Vec<Word>> = LazyLock::new(|| {
            let effects = WORDS_OF_EFFECTS.iter().copied().flatten().copied();
            [DrawKey::WORD].into_iter().chain(effects).chain([Change::WORD]).collect()
        });
        &WORDS
    }

    /// The names of [`LinkPlan::words`].
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        static NAMES: LazyLock<Vec<&str>> =
            LazyLock::new(|| LinkPlan::words().iter().map(|word| word.name).collect());
        &NAMES
    }

    /// Sets each pair of a word and a text, in any order; `at` may occur several times and adds to
    /// the timetable, every other word once. Unnamed settings stay. On an error the plan is
    /// unchanged.
    ///
    /// # Errors
    /// The first wrong pair, or the error of [`LinkPlan::check`].
    pub fn set_all(
        &mut self,
        settings: &[(&str, &str)],
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        let mut plan = self.clone();
        for (i, (word, _)) in settings.iter().enumerate() {
            let before = &settings[..i];
            if *word != "at" && before.iter().any(|(earlier, _)| earlier == word) {
                return refuse(format!("{word} is set twice"));
            }
        }
        // Queues are set last, when the rate is known.
        let (last, first): (Vec<_>, Vec<_>) =
            settings.iter().partition(|(word, _)| *word == "queue");
        for (word, text) in first.into_iter().chain(last) {
            plan.set(word, text, read)?;
        }
        plan.check()?;
        *self = plan;
        Ok(())
    }

    /// The words and texts that turn the default plan into this one.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if self.key != DrawKey::default() {
            settings.push(("key", self.key.to_string()));
        }
        self.show_effects(&mut |word, text| settings.push((word, text)));
        for change in &self.timetable {
            let line = change.to_string();
            settings.push(("at", line.strip_prefix("at ").unwrap_or(&line).to_owned()));
        }
        settings
    }
}

impl LinkPlan {
    /// Checks each setting, and that they can be combined.
    ///
    /// # Errors
    /// The first error.
    pub fn check(&self) -> Result<(), PlanError> {
        self.check_effects()?;
        self.check_timetable()?;
        self.check_key()?;
        self.check_overhead()?;
        self.check_reorder()
    }

    fn check_timetable(&self) -> Result<(), PlanError> {
        if self.timetable.len() > CHANGES_MAX {
            let changes = self.timetable.len();
            return refuse(format!("at: expected at most {CHANGES_MAX} changes, got {changes}"));
        }
        for change in &self.timetable {
            match &change.what {
                Setting::Loss(loss) => loss.check()?,
                Setting::Delay(delay) => delay.check()?,
                Setting::Rate(_) if self.rate.is_none() => {
                    return refuse(format!("{change}: the link has no rate that could change"));
                }
                Setting::Rate(rate) => rate.check()?,
                Setting::Down | Setting::Corrupt(_) | Setting::Duplicate(_) => {}
            }
            if change.lasting == Some(Duration::ZERO) {
                return refuse(format!("{change}: expected a time above 0"));
            }
        }
        Ok(())
    }

    /// All loss models of the plan and its timetable.
    fn losses(&self) -> impl Iterator<Item = &LossModel> {
        let later = self.timetable.iter().filter_map(|change| match &change.what {
            Setting::Loss(loss) => Some(loss),
            _ => None,
        });
        std::iter::once(&self.loss).chain(later)
    }

    fn check_key(&self) -> Result<(), PlanError> {
        let listed = self.losses().any(|loss| matches!(loss, LossModel::Recorded(_)));
        match self.key {
            DrawKey::Order => Ok(()),
            DrawKey::Time { slot } if slot.is_zero() => {
                refuse("key: expected a slot above 0, got time:0")
            }
            _ if listed => refuse("a list of losses counts frames: it needs key order"),
            DrawKey::Content if self.losses().any(LossModel::has_memory) => refuse(
                "bursts need an order of frames, which differs between transports: with key \
                 content use a plain share, or use key time",
            ),
            DrawKey::Time { .. } | DrawKey::Content => Ok(()),
        }
    }

    fn check_overhead(&self) -> Result<(), PlanError> {
        if self.overhead != Overhead::default() && self.rate.is_none() && self.police.is_none() {
            return refuse("an overhead counts at a rate: the link has none, and no policer");
        }
        Ok(())
    }

    fn check_reorder(&self) -> Result<(), PlanError> {
        let changes = self.timetable.iter().any(|change| matches!(change.what, Setting::Delay(_)));
        match self.reorder {
            Reorder::ByJitter if self.delay.is_constant() && !changes => {
                refuse("reorder jitter needs a delay that varies, such as normal:40ms,5ms")
            }
            Reorder::Share { .. } if self.delay == Delay::default() && !changes => {
                refuse("reorder needs a delay: without one there is nothing to overtake")
            }
            _ => Ok(()),
        }
    }

    /// The expected long-run loss rate of the loss model, where theory gives it: no list, no limit
    /// on bursts, no change of loss in the timetable.
    ///
    /// With key time it is the share of time slots, which frames need not sample evenly.
    #[must_use]
    pub fn expected_loss(&self) -> Option<Ppm> {
        let changes = self
            .timetable
            .iter()
            .any(|change| matches!(change.what, Setting::Loss(_) | Setting::Down));
        if changes || self.max_burst.is_some() { None } else { expected(&self.loss) }
    }
}
