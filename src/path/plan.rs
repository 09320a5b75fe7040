//! What one direction of a path is meant to do to frames: every impairment, in the order in which
//! it acts.
//!
//! loss, corruption, duplication, the mark, then the MTU, a rate with its queue, and the delay; a
//! timetable may change some of them while a run goes on. It must never hold a float:
//! probabilities are parts per million, times are durations, so that two machines read the same
//! plan alike.

use super::bottleneck::{Bottleneck, Queue, Rate};
use super::change::{Change, Setting};
use super::corrupt::Corruption;
use super::delay::Delay;
use super::draw_key::FateKey;
use super::loss::{LossModel, expected};
use super::mtu::MtuLimit;
use super::plan_error::{PlanError, ReadFile, number, refuse, share, wrong};
use super::reorder::Reorder;
use crate::measure::{Ppm, human};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Changes of a timetable: making it ready takes their number squared, a million steps.
const CHANGES_MAX: usize = 1000;

/// What one direction does to frames. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPlan {
    /// What the draws of a frame depend on.
    pub key: FateKey,
    /// Which frames are lost.
    pub loss: LossModel,
    /// After this many losses in a row the next frame is spared, whatever the loss model says.
    pub max_burst: Option<NonZeroU32>,
    /// Flipped bits.
    pub corrupt: Corruption,
    /// Probability that a frame which is not lost is delivered twice.
    pub duplicate: Ppm,
    /// Probability that an ECN-capable frame (RFC 3168) is marked "congestion experienced".
    pub mark: Ppm,
    /// The longest packet that passes, and what happens to a longer one.
    pub mtu: Option<MtuLimit>,
    /// A bottleneck and the queue in front of it.
    pub rate: Option<Bottleneck>,
    /// Time from leaving the bottleneck (or reaching the link, where there is none) to departure.
    pub delay: Delay,
    /// Which frames may overtake others.
    pub reorder: Reorder,
    /// Changes while the run goes on, in the order of their times.
    pub timetable: Vec<Change>,
}

impl LinkPlan {
    /// The words of [`LinkPlan::set_all`], in the order in which the impairments act.
    pub const WORDS: [&'static str; 12] = [
        "key",
        "loss",
        "max-burst",
        "corrupt",
        "duplicate",
        "mark",
        "mtu",
        "rate",
        "queue",
        "delay",
        "reorder",
        "at",
    ];

    /// Sets what each pair of a word and a text says, in any order; `at` may come several times,
    /// and adds to the timetable, every other word once. What no pair names stays as it is. Where
    /// there is an error, the plan is as it was.
    ///
    /// # Errors
    /// The first pair that is wrong, or what [`LinkPlan::check`] says of the whole.
    pub fn set_all(
        &mut self,
        settings: &[(&str, &str)],
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        let mut plan = self.clone();
        let mut queue = None;
        for (i, (word, text)) in settings.iter().enumerate() {
            let before = &settings[..i];
            if *word != "at" && before.iter().any(|(earlier, _)| earlier == word) {
                return Err(PlanError::Together(format!("{word} is set twice")));
            }
            match *word {
                "queue" => queue = Some(text.parse::<Queue>()?),
                _ => plan.set(word, text, read)?,
            }
        }
        match (queue, &mut plan.rate) {
            (Some(queue), Some(bottleneck)) => bottleneck.queue = queue,
            (Some(_), None) => {
                return Err(PlanError::Together(
                    "a queue needs a rate: without one no frame ever waits".to_owned(),
                ));
            }
            (None, _) => {}
        }
        plan.check()?;
        *self = plan;
        Ok(())
    }

    fn set(&mut self, word: &str, text: &str, read: ReadFile<'_>) -> Result<(), PlanError> {
        match word {
            "key" => self.key = text.parse()?,
            "loss" => self.loss = LossModel::parse(text, read)?,
            "max-burst" => {
                let most = number(text.trim()).and_then(|most| u32::try_from(most).ok());
                let most = most.and_then(NonZeroU32::new);
                let error = || wrong("max-burst", "a number of frames, 1 or more", text);
                self.max_burst = Some(most.ok_or_else(error)?);
            }
            "corrupt" => self.corrupt = text.parse()?,
            "duplicate" => self.duplicate = share("duplicate", text)?,
            "mark" => self.mark = share("mark", text)?,
            "mtu" => self.mtu = Some(text.parse()?),
            "rate" => {
                let rate = Rate::parse(text, read)?;
                let queue = self.rate.as_ref().map(|bottleneck| bottleneck.queue);
                self.rate = Some(Bottleneck { rate, queue: queue.unwrap_or_default() });
            }
            "delay" => self.delay = Delay::parse(text, read)?,
            "reorder" => self.reorder = text.parse()?,
            "at" => self.timetable.push(Change::parse(text, read)?),
            _ => {
                let words = Self::WORDS.join(", ");
                let error = format!("expected one of {words}, got {word:?}");
                return Err(PlanError::Together(error));
            }
        }
        Ok(())
    }

    /// The words and texts that make this plan from the default one.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let mut settings = Vec::new();
        let mut add = |word, differs: bool, text: &dyn fmt::Display| {
            if differs {
                settings.push((word, text.to_string()));
            }
        };
        add("key", self.key != plain.key, &self.key);
        add("loss", self.loss != plain.loss, &self.loss);
        if let Some(most) = self.max_burst {
            add("max-burst", true, &most);
        }
        add("corrupt", self.corrupt != plain.corrupt, &self.corrupt);
        add("duplicate", self.duplicate != plain.duplicate, &human::share(self.duplicate));
        add("mark", self.mark != plain.mark, &human::share(self.mark));
        if let Some(mtu) = self.mtu {
            add("mtu", true, &mtu);
        }
        if let Some(Bottleneck { rate, queue }) = &self.rate {
            add("rate", true, rate);
            add("queue", *queue != Queue::default(), queue);
        }
        add("delay", self.delay != plain.delay, &self.delay);
        add("reorder", self.reorder != plain.reorder, &self.reorder);
        for change in &self.timetable {
            let line = change.to_string();
            add("at", true, &line.strip_prefix("at ").unwrap_or(&line));
        }
        settings
    }
}

impl LinkPlan {
    /// Whether its parts can stand together and each makes sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        self.loss.check()?;
        self.delay.check()?;
        if let Some(mtu) = self.mtu.filter(|mtu| mtu.bytes < MtuLimit::MIN) {
            return refuse(format!("mtu: expected {} or more, got {}", MtuLimit::MIN, mtu.bytes));
        }
        if let Some(Bottleneck { rate, queue }) = &self.rate {
            rate.check()?;
            queue.check()?;
        }
        self.check_timetable()?;
        self.check_key()?;
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

    /// The loss models that may ever be in force.
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
            FateKey::Order => Ok(()),
            FateKey::Time { slot } if slot.is_zero() => {
                refuse("key: expected a slot above 0, got time:0")
            }
            _ if listed => refuse("a list of losses counts frames: it needs key order"),
            FateKey::Content if self.losses().any(LossModel::has_memory) => refuse(
                "bursts need an order of frames, which differs between transports: with key \
                 content use a plain share, or use key time",
            ),
            FateKey::Time { .. } | FateKey::Content => Ok(()),
        }
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

    /// The share of frames that the loss model loses in the long run, where theory gives it: no
    /// list, no limit on bursts, no change of loss in the timetable.
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
