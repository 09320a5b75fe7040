//! Loss models, and the state that bursts need.

use super::effect::{Draws, Effect, Key, Passage, Word, optional};
use super::fate::DropReason;
use super::files::{FromFile, frame_numbers};
use super::plan_error::{PlanError, ReadFile, number, refuse, share, wrong};
use super::rng::{Stream, Streams, happens};
use crate::measure::draw::keyed;
use crate::measure::{Ppm, human};
use std::fmt;
use std::num::NonZeroU32;

/// With time keys the state is drawn from its long-run distribution each time this many slots have
/// passed, so that a frame after any pause costs at most this many steps, and its state depends
/// only on the slot. With slots of 1 ms this happens every 17 minutes.
const EPOCH_SLOTS: u64 = 1 << 20;
/// Set in the key of an epoch's first state, which keeps it distinct from every slot's key: slots
/// of a nanosecond reach it after 292 years.
const EPOCH_KEY: u64 = 1 << 63;

/// States of a chain: Gilbert-Elliott has good and bad, the four-state model 1 to 4 as 0 to 3.
const STATES: usize = 4;
const GOOD: u8 = 0;
const BAD: u8 = 1;
const RECEIVED_IN_GAP: u8 = 0;
const RECEIVED_IN_BURST: u8 = 1;
const LOST_IN_BURST: u8 = 2;
const LOST_IN_GAP: u8 = 3;

/// Which frames are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LossModel {
    /// None.
    #[default]
    None,
    /// Each with this probability, independent of every other.
    Iid(Ppm),
    /// Two states (Gilbert 1960, Elliott 1963), tc-netem's `gemodel`: the loss test uses the state
    /// before the transition.
    GilbertElliott {
        /// From good to bad, per frame.
        p: Ppm,
        /// From bad to good, per frame.
        r: Ppm,
        /// Loss in the bad state (netem's 1-h); the simple Gilbert model has 100 %.
        loss_bad: Ppm,
        /// Loss in the good state (netem's 1-k); the simple Gilbert model has 0 %.
        loss_good: Ppm,
    },
    /// Four states (Salsano et al. 2009), tc-netem's `loss state`: 1 received in a gap, 2 received
    /// in a burst, 3 lost in a burst, 4 lost alone in a gap.
    FourState {
        /// From 1 to 3.
        p13: Ppm,
        /// From 3 to 1.
        p31: Ppm,
        /// From 3 to 2.
        p32: Ppm,
        /// From 2 to 3.
        p23: Ppm,
        /// From 1 to 4; state 4 always returns to 1.
        p14: Ppm,
    },
    /// The numbers of the frames to lose, ascending, from 0; frames beyond the last pass.
    Recorded(FromFile<u64>),
}

impl LossModel {
    /// Reads `none`, `2%`, `gilbert:p,r`, `gemodel:p,r,1-h,1-k`, `4state:p13,p31,p32,p23,p14` or
    /// `list:FILE` (the numbers of the frames to lose, from 0, one a line, ascending); `read`
    /// returns the file's text.
    ///
    /// # Errors
    /// The expected form and the text found.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "none, a share such as 2% (at most 100%), gilbert:p,r, \
                                gemodel:p,r,1-h,1-k, 4state:p13,p31,p32,p23,p14 or list:FILE";
        let text = text.trim();
        let error = || wrong("loss", EXPECTED, text);
        let Some((kind, rest)) = text.split_once(':') else {
            let iid = || human::parse_share(text).map(Self::Iid).map_err(|_| error());
            return if text == "none" { Ok(Self::None) } else { iid() };
        };
        if kind == "list" {
            return Ok(Self::Recorded(frame_numbers(rest, read)?));
        }
        let shares = rest.split(',').map(|part| share("loss", part));
        let shares = shares.collect::<Result<Vec<Ppm>, PlanError>>()?;
        let model = match (kind, shares.as_slice()) {
            ("gilbert", &[p, r]) => {
                Self::GilbertElliott { p, r, loss_bad: Ppm::ONE, loss_good: Ppm::ZERO }
            }
            ("gemodel", &[p, r, loss_bad, loss_good]) => {
                Self::GilbertElliott { p, r, loss_bad, loss_good }
            }
            ("4state", &[p13, p31, p32, p23, p14]) => Self::FourState { p13, p31, p32, p23, p14 },
            _ => return Err(error()),
        };
        model.check()?;
        Ok(model)
    }
}

impl fmt::Display for LossModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, kind: &str, shares: &[&Ppm]| {
            let shares: Vec<String> = shares.iter().map(|share| human::share(**share)).collect();
            write!(f, "{kind}:{}", shares.join(","))
        };
        match self {
            Self::None => f.write_str("none"),
            Self::Iid(share) => f.write_str(&human::share(*share)),
            Self::GilbertElliott { p, r, loss_bad: Ppm::ONE, loss_good: Ppm::ZERO } => {
                list(f, "gilbert", &[p, r])
            }
            Self::GilbertElliott { p, r, loss_bad, loss_good } => {
                list(f, "gemodel", &[p, r, loss_bad, loss_good])
            }
            Self::FourState { p13, p31, p32, p23, p14 } => {
                list(f, "4state", &[p13, p31, p32, p23, p14])
            }
            Self::Recorded(file) => write!(f, "list:{}", file.name),
        }
    }
}

impl LossModel {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        match self {
            Self::FourState { p13, p31, p32, p14, .. } => {
                let sums = [("p13 + p14", p13, p14), ("p31 + p32", p31, p32)];
                for (name, a, b) in sums {
                    if a.get() + b.get() > Ppm::ONE.get() {
                        return refuse(format!(
                            "loss: {name} must not be above 100%, got {a} + {b}"
                        ));
                    }
                }
                Ok(())
            }
            Self::Recorded(list) if !list.values.is_sorted_by(|a, b| a < b) => {
                refuse(format!("loss: the numbers in {} must ascend", list.name))
            }
            _ => Ok(()),
        }
    }

    /// Whether a frame's fate depends on earlier ones.
    pub(super) const fn has_memory(&self) -> bool {
        matches!(self, Self::GilbertElliott { .. } | Self::FourState { .. })
    }
}

/// The state of a loss model.
#[derive(Clone, Debug, Default)]
pub(super) struct Loss {
    /// Source of the setting in the timetable.
    setting: u32,
    state: u8,
    /// The slot of `state`, if the key is time.
    slot: Option<u64>,
    /// Position in a list.
    read: usize,
}

impl Loss {
    /// Selects the timetable's `setting`: another loss model begins in its first state.
    pub(super) fn begin(&mut self, setting: u32) {
        if setting != self.setting {
            *self = Self { setting, ..Self::default() };
        }
    }

    fn lost(
        &mut self,
        model: &LossModel,
        key: Key,
        streams: &Streams,
        draw_ppm: u32,
    ) -> Option<DropReason> {
        match model {
            LossModel::None => None,
            LossModel::Iid(share) => happens(draw_ppm, *share).then_some(DropReason::Loss),
            LossModel::GilbertElliott { loss_bad, loss_good, .. } => {
                let bad = self.advance(model, key, streams, false) == BAD;
                let share = if bad { *loss_bad } else { *loss_good };
                let reason = if bad { DropReason::Burst } else { DropReason::Loss };
                happens(draw_ppm, share).then_some(reason)
            }
            LossModel::FourState { .. } => {
                let state = self.advance(model, key, streams, true);
                [LOST_IN_BURST, LOST_IN_GAP].contains(&state).then_some(DropReason::Burst)
            }
            LossModel::Recorded(list) => {
                while list.values.get(self.read).is_some_and(|number| *number < key.index) {
                    self.read += 1;
                }
                let listed = list.values.get(self.read) == Some(&key.index);
                listed.then_some(DropReason::Recorded)
            }
        }
    }

    /// The state that decides on this frame: before or after its step.
    fn advance(&mut self, model: &LossModel, key: Key, streams: &Streams, after: bool) -> u8 {
        let Some(slot) = key.slot else {
            let before = self.state;
            self.state = step(model, before, streams.ppm(Stream::State, key.index));
            return if after { self.state } else { before };
        };
        // Both conventions have a state per slot; the four-state model's is the one after a step.
        let first = slot - slot % EPOCH_SLOTS;
        let known = self.slot.filter(|known| (first..=slot).contains(known));
        let (from, state) = known.map_or_else(
            || (first, first_of_epoch(model, first / EPOCH_SLOTS, streams)),
            |known| (known, self.state),
        );
        self.state = walk(model, (from, state), slot, streams);
        self.slot = Some(slot);
        self.state
    }
}

impl Effect for Loss {
    type Setting = LossModel;
    const WORDS: &'static [Word] = &[Word {
        name: "loss",
        value: "MODEL",
        help: "Lost frames: 2%, gilbert:1%,30%, gemodel:p,r,1-h,1-k, \
               4state:p13,p31,p32,p23,p14, list:FILE",
    }];
    const MEETS_LOST: bool = true;

    fn parse(text: &str, read: ReadFile<'_>) -> Result<LossModel, PlanError> {
        LossModel::parse(text, read)
    }

    fn text(setting: &LossModel) -> String {
        setting.to_string()
    }

    fn check(setting: &LossModel) -> Result<(), PlanError> {
        setting.check()
    }

    fn decide(&mut self, setting: &LossModel, draws: &Draws<'_>, frame: &mut Passage<'_>) {
        frame.dropped = self.lost(setting, draws.key, draws.streams, draws.loss_draw_ppm);
    }
}

/// Spares a frame after this many losses in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxBurst {
    /// Losses in a row.
    burst: u32,
}

impl Effect for MaxBurst {
    type Setting = Option<NonZeroU32>;
    const WORDS: &'static [Word] = &[Word {
        name: "max-burst",
        value: "N",
        help: "Never lose more than this many frames in a row",
    }];
    const MEETS_LOST: bool = true;

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Self::Setting, PlanError> {
        let most = number(text.trim()).and_then(|most| u32::try_from(most).ok());
        let most = most.and_then(NonZeroU32::new);
        let error = || wrong("max-burst", "a number of frames, 1 or more", text);
        most.map(Some).ok_or_else(error)
    }

    fn text(setting: &Self::Setting) -> String {
        optional(setting.as_ref())
    }

    fn decide(&mut self, setting: &Self::Setting, _: &Draws<'_>, frame: &mut Passage<'_>) {
        let Some(most) = setting else { return };
        if frame.dropped.is_none() || self.burst >= most.get() {
            self.burst = 0;
            frame.dropped = None;
        } else {
            self.burst += 1;
        }
    }
}

/// The state at slot `to`, from the state at an earlier one.
///
/// It looks back from `to` and stops where every state leads to the same one, which bounds the cost
/// of a long pause.
fn walk(model: &LossModel, (from, state): (u64, u8), to: u64, streams: &Streams) -> u8 {
    // Where each state at the current slot leads by `to`.
    let mut leads_to: [u8; STATES] = [0, 1, 2, 3];
    let used = if matches!(model, LossModel::FourState { .. }) { STATES } else { 2 };
    for slot in (from..to).rev() {
        let draw = streams.ppm(Stream::State, slot);
        let target = |state: u8| leads_to[usize::from(step(model, state, draw)) % STATES];
        leads_to = [target(0), target(1), target(2), target(3)];
        if leads_to[1..used].iter().all(|state| *state == leads_to[0]) {
            return leads_to[0];
        }
    }
    leads_to[usize::from(state) % STATES]
}

/// One step. High draws leave the bad state and low ones enter it, so that one draw often leads
/// every state to the same.
fn step(model: &LossModel, state: u8, draw_ppm: u32) -> u8 {
    let below = |share: Ppm| happens(draw_ppm, share);
    match (model, state) {
        (LossModel::GilbertElliott { p, .. }, GOOD) => {
            if below(*p) {
                BAD
            } else {
                GOOD
            }
        }
        (LossModel::GilbertElliott { r, .. }, _) => {
            if draw_ppm >= Ppm::ONE.get() - r.get() {
                GOOD
            } else {
                BAD
            }
        }
        (LossModel::FourState { p13, p14, .. }, RECEIVED_IN_GAP) => {
            if below(*p14) {
                LOST_IN_GAP
            } else if draw_ppm < p14.get() + p13.get() {
                LOST_IN_BURST
            } else {
                RECEIVED_IN_GAP
            }
        }
        (LossModel::FourState { p23, .. }, RECEIVED_IN_BURST) => {
            if below(*p23) {
                LOST_IN_BURST
            } else {
                RECEIVED_IN_BURST
            }
        }
        (LossModel::FourState { p31, p32, .. }, LOST_IN_BURST) => {
            if below(*p32) {
                RECEIVED_IN_BURST
            } else if draw_ppm < p32.get() + p31.get() {
                RECEIVED_IN_GAP
            } else {
                LOST_IN_BURST
            }
        }
        _ => RECEIVED_IN_GAP,
    }
}

/// The first state of an epoch.
fn first_of_epoch(model: &LossModel, epoch: u64, streams: &Streams) -> u8 {
    let draw = streams.ppm(Stream::State, keyed(EPOCH_KEY, epoch) | EPOCH_KEY);
    let mut below = 0.0;
    for (state, share) in (0..).zip(stationary(model)) {
        below += share * 1e6;
        if f64::from(draw) < below {
            return state;
        }
    }
    GOOD
}

/// The long-run share of each state; only multiplications and divisions, alike everywhere.
fn stationary(model: &LossModel) -> [f64; STATES] {
    match model {
        LossModel::GilbertElliott { p, r, .. } => {
            let (p, r) = (p.fraction(), r.fraction());
            let bad = if p > 0.0 { p / (p + r) } else { 0.0 };
            [1.0 - bad, bad, 0.0, 0.0]
        }
        LossModel::FourState { p13, p31, p32, p23, p14 } => {
            let [p13, p31, p32, p23, p14] = [p13, p31, p32, p23, p14].map(|p| p.fraction());
            if p13 == 0.0 {
                let gap = 1.0 / (1.0 + p14);
                return [gap, 0.0, 0.0, p14 * gap];
            }
            if p32 > 0.0 && p23 == 0.0 {
                // The received state of a burst is never left.
                return [0.0, 1.0, 0.0, 0.0];
            }
            // Time received in a burst, per frame lost in one.
            let received = if p32 > 0.0 { p32 / p23 } else { 0.0 };
            if p31 == 0.0 {
                let lost = 1.0 / (1.0 + received);
                return [0.0, received * lost, lost, 0.0];
            }
            let (lost, alone) = (p13 / p31, p14);
            let all = 1.0 + received * lost + lost + alone;
            [1.0 / all, received * lost / all, lost / all, alone / all]
        }
        _ => [1.0, 0.0, 0.0, 0.0],
    }
}

/// The long-run share lost; `None` for a list.
pub(super) fn expected(model: &LossModel) -> Option<Ppm> {
    let share = match model {
        LossModel::None => 0.0,
        LossModel::Iid(share) => return Some(*share),
        LossModel::GilbertElliott { loss_bad, loss_good, .. } => {
            let [good, bad, ..] = stationary(model);
            good * loss_good.fraction() + bad * loss_bad.fraction()
        }
        LossModel::FourState { .. } => {
            let [_, _, lost, alone] = stationary(model);
            lost + alone
        }
        LossModel::Recorded(_) => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let parts = (share * 1e6).round() as u32;
    Ppm::new(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Direction;

    fn ppm(parts: u32) -> Ppm {
        Ppm::new(parts).unwrap()
    }

    #[test]
    fn a_slot_has_one_state_from_any_start() {
        let gilbert = LossModel::GilbertElliott {
            p: ppm(10_000),
            r: ppm(30_000),
            loss_bad: Ppm::ONE,
            loss_good: Ppm::ZERO,
        };
        let four = LossModel::FourState {
            p13: ppm(10_000),
            p31: ppm(200_000),
            p32: ppm(100_000),
            p23: ppm(300_000),
            p14: ppm(5_000),
        };
        for seed in 0..10 {
            let streams = Streams::new(seed, Direction::AToB);
            for model in [&gilbert, &four] {
                let key = |slot| Key { index: 0, draws: slot, slot: Some(slot) };
                let mut steps = Loss::default();
                let each: Vec<u8> = (EPOCH_SLOTS - 500..EPOCH_SLOTS + 500)
                    .map(|slot| steps.advance(model, key(slot), &streams, true))
                    .collect();
                let mut leaps = Loss::default();
                for (slot, state) in (EPOCH_SLOTS - 500..).zip(&each).step_by(137) {
                    let mut fresh = Loss::default();
                    assert_eq!(fresh.advance(model, key(slot), &streams, true), *state);
                    assert_eq!(leaps.advance(model, key(slot), &streams, true), *state);
                }
            }
        }
    }

    #[test]
    fn expected_loss_agrees_with_hand_made_figures() {
        // Reference: p = 1 %, r = 30 % loses 3.2 %.
        let gilbert = |p, r, bad, good| LossModel::GilbertElliott {
            p: ppm(p),
            r: ppm(r),
            loss_bad: ppm(bad),
            loss_good: ppm(good),
        };
        assert_eq!(expected(&gilbert(10_000, 300_000, 1_000_000, 0)), Some(ppm(32_258)));
        assert_eq!(expected(&gilbert(0, 0, 1_000_000, 7)), Some(ppm(7)));
        assert_eq!(expected(&gilbert(1, 0, 900_000, 0)), Some(ppm(900_000)));
        let four = |p13, p31, p32, p23, p14| LossModel::FourState {
            p13: ppm(p13),
            p31: ppm(p31),
            p32: ppm(p32),
            p23: ppm(p23),
            p14: ppm(p14),
        };
        assert_eq!(expected(&four(0, 0, 0, 0, 0)), Some(Ppm::ZERO));
        assert_eq!(expected(&four(0, 0, 0, 0, 1_000_000)), Some(ppm(500_000)));
        assert_eq!(expected(&four(10_000, 190_000, 0, 0, 0)), Some(ppm(50_000)));
        assert_eq!(expected(&four(10_000, 0, 500_000, 500_000, 0)), Some(ppm(500_000)));
        assert_eq!(expected(&four(10_000, 0, 500_000, 0, 0)), Some(Ppm::ZERO));
    }
}
