//! Counters of what a link did in one direction.

use super::fate::{DropReason, Fate, Release, ReleaseVerdict, Verdict};
use crate::measure::Instant;

/// Counters of a link in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that reached the link.
    pub offered: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Frames, or copies from the queue, that were dropped, by [`DropReason::index`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Frames with flipped bits.
    pub corrupted: u64,
    /// Frames that were duplicated.
    pub duplicated: u64,
    /// Frames chosen to overtake.
    pub reordered: u64,
    /// Copies that leave before one decided earlier.
    pub overtaking: u64,
    /// Frames marked on arrival, and copies marked by the queue.
    pub marked: u64,
    /// Copies that left, or are scheduled to.
    pub delivered: u64,
    /// When the latest copy leaves.
    latest: Instant,
}

impl Counts {
    /// Counts a frame of `length` bytes that reached the link.
    pub fn note(&mut self, fate: &Fate, length: u32) {
        self.offered += 1;
        self.bytes += u64::from(length);
        let copies = match fate.verdict {
            Verdict::Dropped(reason) => {
                self.dropped[reason.index()] += 1;
                return;
            }
            Verdict::Deliver { at, copies } => {
                for _ in 0..copies {
                    self.leaves(at);
                }
                copies
            }
            Verdict::Queued { copies } => copies,
        };
        self.corrupted += u64::from(fate.mutation.corrupt.is_some());
        self.duplicated += u64::from(copies > 1);
        self.reordered += u64::from(fate.reordered);
        self.marked += u64::from(fate.mutation.mark);
    }

    /// Counts a copy that came out of the queue.
    pub fn note_release(&mut self, release: &Release) {
        match release.verdict {
            ReleaseVerdict::Dropped(reason) => self.dropped[reason.index()] += 1,
            ReleaseVerdict::Deliver { at, mark } => {
                self.marked += u64::from(mark);
                self.leaves(at);
            }
        }
    }

    /// All drops.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    fn leaves(&mut self, at: Instant) {
        self.delivered += 1;
        self.overtaking += u64::from(at < self.latest);
        self.latest = self.latest.max(at);
    }
}
