//! Statistics of a link: counts, lost frames, and a digest of the sequence of fates, which compares
//! two runs by one number.

use super::counts::Counts;
use super::fate::{DropReason, Fate, Release, ReleaseVerdict, Verdict};
use crate::measure::Instant;
use crate::measure::draw::keyed;

/// A frame that the link lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostFrame {
    /// Number of the frame in its direction, from 0.
    pub index: u64,
    /// When it reached the link.
    pub at: Instant,
    /// Its length, bytes, Ethernet header included.
    pub len: u32,
    /// The draw that lost it, ppm.
    pub draw_ppm: u32,
    /// The impairment that lost it.
    pub reason: DropReason,
}

/// The statistics of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Counts of events.
    pub counts: Counts,
    /// Frames lost on arrival, in order, and copies that the queue dropped, each when the drop was
    /// known.
    pub lost: Vec<LostFrame>,
    digest: u64,
}

impl Record {
    /// Records one frame.
    pub fn note(&mut self, fate: &Fate, at: Instant, len: u32) {
        self.counts.note(fate, len);
        self.digest = fold_fate(self.digest, fate);
        if let Verdict::Dropped(reason) = fate.verdict {
            let draw_ppm = fate.loss_draw_ppm;
            self.lost.push(LostFrame { index: fate.index, at, len, draw_ppm, reason });
        }
    }

    /// Records a copy that had waited, of a frame of `len` bytes that arrived at `at` with this
    /// fate.
    pub fn note_release(&mut self, release: &Release, fate: &Fate, at: Instant, len: u32) {
        self.counts.note_release(release);
        if let ReleaseVerdict::Dropped(reason) = release.verdict {
            let draw_ppm = fate.loss_draw_ppm;
            self.lost.push(LostFrame { index: release.index, at, len, draw_ppm, reason });
        }
    }

    /// A digest of (index, verdict) of every frame, in order; different sequences share one with
    /// probability 2^-64.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }
}

/// Adds one fate to a digest that started at 0.
#[must_use]
pub const fn fold_fate(digest: u64, fate: &Fate) -> u64 {
    let code = match fate.verdict {
        Verdict::Dropped(_) => 0,
        Verdict::Deliver { copies, .. } | Verdict::Queued { copies } => copies as u64,
    };
    keyed(digest, fate.index << 8 | code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Mutation;

    #[test]
    fn a_digest_tells_verdicts_and_orders_apart() {
        let fate = |index, copies| Fate {
            index,
            loss_draw_ppm: 0,
            verdict: Verdict::Deliver { at: Instant::ZERO, copies },
            mutation: Mutation::default(),
            reordered: false,
        };
        let two = |a: &Fate, b: &Fate| fold_fate(fold_fate(0, a), b);
        assert_ne!(two(&fate(0, 1), &fate(1, 1)), two(&fate(0, 1), &fate(1, 2)));
        assert_ne!(two(&fate(0, 1), &fate(1, 1)), two(&fate(1, 1), &fate(0, 1)));
    }
}
