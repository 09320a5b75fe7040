//! The fate of a frame, and the draw that decided it.

use crate::measure::Instant;
use serde::{Deserialize, Serialize};

/// The link's decision on an arriving frame, and the draws behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Number of the frame in this direction, from 0.
    pub index: u64,
    /// The loss draw, in ppm: with iid loss the frame is lost when it is below the probability.
    pub loss_draw_ppm: u32,
    /// The action on the frame.
    pub verdict: Verdict,
    /// Changes to its bytes before it leaves.
    pub mutation: Mutation,
    /// Whether it was chosen to overtake.
    pub reordered: bool,
}

/// An action on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send `copies` of it (1 or 2) at `at`.
    Deliver {
        /// When it should leave the link.
        at: Instant,
        /// How many copies leave.
        copies: u8,
    },
    /// The frame waits at the bottleneck, `copies` times (1 or 2); keep it until the link has
    /// returned as many [`Release`]s with its token.
    Queued {
        /// How many copies wait.
        copies: u8,
    },
    /// The frame is dropped.
    Dropped(DropReason),
}

/// Changes to a frame's bytes, made by [`apply`](crate::path::apply).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    /// Flip bits, chosen by this draw.
    pub corrupt: Option<CorruptDraw>,
    /// Mark "congestion experienced" (RFC 3168).
    pub mark: bool,
}

/// Which bits to flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptDraw {
    /// The key of the draws that choose the bits.
    pub key: u64,
    /// How many bits; 0 counts as 1.
    pub bits: u8,
    /// Whether to correct the Internet checksums.
    pub repair: bool,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The loss model's draw, iid.
    Loss,
    /// The loss model was in a bad state (Gilbert-Elliott) or a lossy one (4-state).
    Burst,
    /// Its number is in the list of losses.
    Recorded,
    /// The timetable had the link down.
    Down,
    /// It was longer than the path's MTU.
    TooBig,
    /// It exceeded the policer's rate.
    Policed,
    /// The queue was full.
    QueueTail,
    /// It was at the head of a full queue.
    QueueHead,
    /// `CoDel` dropped it: it had waited too long.
    CoDel,
}

impl DropReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 9] = [
        Self::Loss,
        Self::Burst,
        Self::Recorded,
        Self::Down,
        Self::TooBig,
        Self::Policed,
        Self::QueueTail,
        Self::QueueHead,
        Self::CoDel,
    ];
}

impl DropReason {
    /// Its place in [`DropReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in recordings and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.about().0
    }

    /// The text in a table after a number: "3 lost …".
    #[must_use]
    pub const fn loss(self) -> &'static str {
        self.about().1
    }

    /// Why the frame was dropped.
    #[must_use]
    pub const fn why(self) -> &'static str {
        self.about().2
    }

    /// Whether the frame's loss draw decided.
    #[must_use]
    pub const fn is_drawn(self) -> bool {
        matches!(self, Self::Loss | Self::Burst)
    }

    const fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Loss => ("loss", "by the loss model", "the loss model's draw"),
            Self::Burst => ("burst", "in a burst", "a draw in a bad state of the loss model"),
            Self::Recorded => ("recorded", "by the list", "its number is on the list of losses"),
            Self::Down => ("down", "while the link was down", "the timetable had the link down"),
            Self::TooBig => ("too_big", "for being too big", "it is longer than the path's MTU"),
            Self::Policed => ("policed", "to the policer", "it came faster than the policed rate"),
            Self::QueueTail => ("queue_tail", "to a full queue", "it found the queue full"),
            Self::QueueHead => {
                ("queue_head", "at the head of a full queue", "it was first in a full queue")
            }
            Self::CoDel => ("co_del", "to CoDel", "it had waited too long (CoDel)"),
        }
    }
}

/// The result for a copy that waited at the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The token passed in with the frame.
    pub token: u32,
    /// Number of the frame in this direction.
    pub index: u64,
    /// Where the copy goes.
    pub verdict: ReleaseVerdict,
}

/// Where a copy goes after the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseVerdict {
    /// It leaves the link at this time, which may be later than now.
    Deliver {
        /// When it should leave.
        at: Instant,
        /// Whether the queue marks it "congestion experienced", in addition to its fate's mutation.
        mark: bool,
    },
    /// The copy is dropped.
    Dropped(DropReason),
}
