//! One direction of a path: iid loss, iid duplication, constant delay.
//!
//! It must never drop a frame without saying which draw did it.

use super::draw::{self, Effect};
use crate::measure::{Instant, Ppm};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which way a frame goes: host A is the client's side, host B the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Direction {
    /// From the client's side to the server's.
    AToB = 0,
    /// From the server's side to the client's.
    BToA = 1,
}

impl Direction {
    /// Both, in the order of their index.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// 0 or 1, to index a pair.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What one direction does to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Time from a frame's arrival at the link to its departure from it.
    pub delay: Duration,
    /// Probability that a frame is lost, independent of every other frame.
    pub loss: Ppm,
    /// Probability that a frame which is not lost is delivered twice.
    pub duplicate: Ppm,
}

/// What happens to one frame, and the draws that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Which frame of this direction it is, from 0.
    pub index: u64,
    /// The loss draw, in ppm: the frame is lost when it is below the plan's loss.
    pub loss_draw_ppm: u32,
    /// What to do with the frame.
    pub verdict: Verdict,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send `copies` of it (1 or 2) at `at`.
    Deliver {
        /// When it should leave the link.
        at: Instant,
        /// How many copies leave.
        copies: u8,
    },
    /// It is lost: its draw was below the plan's loss.
    Lost,
}

/// The state of one direction: its plan, its seed, and how many frames it has seen.
#[derive(Clone, Debug)]
pub struct Link {
    plan: LinkPlan,
    seed: u64,
    direction: Direction,
    next_index: u64,
}

impl Link {
    /// A link that has seen no frame yet.
    #[must_use]
    pub const fn new(plan: LinkPlan, seed: u64, direction: Direction) -> Self {
        Self { plan, seed, direction, next_index: 0 }
    }

    /// The plan it was made with.
    #[must_use]
    pub const fn plan(&self) -> &LinkPlan {
        &self.plan
    }

    /// How many frames it has decided on.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.next_index
    }

    /// The fate of frame `index`, arriving at `now`.
    ///
    /// A pure function of plan, seed, direction, index.
    #[must_use]
    pub fn fate_of(&self, index: u64, now: Instant) -> Fate {
        let loss_draw_ppm = draw::ppm(self.seed, self.direction, Effect::Loss, index);
        let verdict = if draw::happens(loss_draw_ppm, self.plan.loss) {
            Verdict::Lost
        } else {
            let twice = draw::ppm(self.seed, self.direction, Effect::Duplicate, index);
            let copies = 1 + u8::from(draw::happens(twice, self.plan.duplicate));
            Verdict::Deliver { at: now + self.plan.delay, copies }
        };
        Fate { index, loss_draw_ppm, verdict }
    }

    /// A frame reaches the link at `now`: decides its fate and counts it.
    pub fn handle_frame(&mut self, now: Instant) -> Fate {
        let fate = self.fate_of(self.next_index, now);
        self.next_index += 1;
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(loss: u32, duplicate: u32, seed: u64, direction: Direction) -> Link {
        let plan = LinkPlan {
            delay: Duration::from_millis(10),
            loss: Ppm::new(loss).unwrap(),
            duplicate: Ppm::new(duplicate).unwrap(),
        };
        Link::new(plan, seed, direction)
    }

    fn losses(link: &mut Link, frames: u64) -> Vec<u64> {
        (0..frames)
            .filter_map(|_| {
                let fate = link.handle_frame(Instant::ZERO);
                (fate.verdict == Verdict::Lost).then_some(fate.index)
            })
            .collect()
    }

    #[test]
    fn the_first_losses_of_seed_7_are_fixed_for_ever() {
        // A change here changes what every recorded seed means: it needs a new major version.
        let first: Vec<_> = losses(&mut link(100_000, 0, 7, Direction::AToB), 60);
        assert_eq!(first, SEED_7_LOSSES);
    }
    const SEED_7_LOSSES: &[u64] = &[8, 13, 39, 50];

    #[test]
    fn more_loss_loses_the_same_frames_and_more() {
        for seed in 0..20 {
            let few = losses(&mut link(20_000, 0, seed, Direction::AToB), 5_000);
            let many = losses(&mut link(50_000, 0, seed, Direction::AToB), 5_000);
            assert!(few.iter().all(|index| many.contains(index)), "seed {seed}");
            assert!(many.len() > few.len(), "seed {seed}");
        }
    }

    #[test]
    fn one_effect_never_shifts_another() {
        for seed in 0..20 {
            let alone = losses(&mut link(20_000, 0, seed, Direction::BToA), 5_000);
            let beside = losses(&mut link(20_000, 300_000, seed, Direction::BToA), 5_000);
            assert_eq!(alone, beside, "seed {seed}");
        }
    }

    #[test]
    fn directions_and_seeds_differ() {
        let base = losses(&mut link(50_000, 0, 1, Direction::AToB), 5_000);
        assert_ne!(base, losses(&mut link(50_000, 0, 1, Direction::BToA), 5_000));
        assert_ne!(base, losses(&mut link(50_000, 0, 2, Direction::AToB), 5_000));
    }

    #[test]
    fn zero_and_certain_loss_are_exact() {
        assert_eq!(losses(&mut link(0, 0, 3, Direction::AToB), 10_000), Vec::<u64>::new());
        assert_eq!(losses(&mut link(1_000_000, 0, 3, Direction::AToB), 10_000).len(), 10_000);
    }
}
