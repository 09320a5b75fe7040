//! What a link did: counts, the lost frames, and a digest of the whole sequence of fates.
//!
//! It exists so that the router and the network in virtual time account alike, and two runs can be
//! compared by one number. It must never forget a drop.

use super::{DropReason, Fate, Verdict};
use crate::measure::Instant;
use crate::measure::draw::keyed;

/// A frame that the link lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostFrame {
    /// Which frame of its direction, from 0.
    pub index: u64,
    /// When it reached the link.
    pub at: Instant,
    /// Its length, bytes, Ethernet header included.
    pub len: u32,
    /// The draw that lost it, ppm.
    pub draw_ppm: u32,
    /// Which impairment did it.
    pub reason: DropReason,
}

/// The account of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Frames that reached the link.
    pub offered: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Frames delivered twice.
    pub duplicated: u64,
    /// Frames lost, in order.
    pub lost: Vec<LostFrame>,
    digest: u64,
}

impl Record {
    /// Accounts for one frame.
    pub fn note(&mut self, fate: &Fate, at: Instant, len: u32) {
        self.offered += 1;
        self.bytes += u64::from(len);
        self.digest = fold_fate(self.digest, fate);
        match fate.verdict {
            Verdict::Dropped(reason) => {
                let draw_ppm = fate.loss_draw_ppm;
                self.lost.push(LostFrame { index: fate.index, at, len, draw_ppm, reason });
            }
            Verdict::Deliver { copies, .. } | Verdict::Queued { copies } => {
                self.duplicated += u64::from(copies > 1)
            }
        }
    }

    /// A digest of (index, verdict) of every frame, in order: equal only for equal sequences, but
    /// for one chance in 2^64.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }
}

/// Adds one fate to a digest that began with 0.
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
    use super::super::Edit;
    use super::*;

    #[test]
    fn a_digest_tells_verdicts_and_orders_apart() {
        let fate = |index, copies| Fate {
            index,
            loss_draw_ppm: 0,
            verdict: Verdict::Deliver { at: Instant::ZERO, copies },
            edit: Edit::default(),
            reordered: false,
        };
        let two = |a: &Fate, b: &Fate| fold_fate(fold_fate(0, a), b);
        assert_ne!(two(&fate(0, 1), &fate(1, 1)), two(&fate(0, 1), &fate(1, 2)));
        assert_ne!(two(&fate(0, 1), &fate(1, 1)), two(&fate(1, 1), &fate(0, 1)));
    }
}
