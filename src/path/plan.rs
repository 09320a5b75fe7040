//! What one direction of a path is meant to do to frames: every impairment, in the order in which
//! it acts.
//!
//! loss, corruption, duplication, the mark, then the MTU, a rate with its queue, and the delay; a
//! timetable may change some of them while a run goes on. It must never hold a float:
//! probabilities are parts per million, times are durations, so that two machines read the same
//! plan alike.

use crate::measure::Ppm;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::Arc;
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

/// What a frame's draws are a function of, beside seed, direction and effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FateKey {
    /// Its number in its direction: frame n of every run meets the same fate.
    #[default]
    Order,
    /// The time slot it arrives in, counted from the link's start: the same weather for everyone.
    Time {
        /// Length of a slot; not zero.
        slot: Duration,
    },
    /// Its payload, and how often that payload came before: request n, attempt k meets the same
    /// fate on every transport.
    Content,
}

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
    /// The numbers of the frames to lose, ascending, from 0; frames beyond the last are spared.
    Recorded(FromFile<u64>),
}

/// Values read from a file, and its name, so that a plan can be written down as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromFile<T> {
    /// What the plan calls the file.
    pub name: Arc<str>,
    /// What it holds.
    pub values: Arc<[T]>,
}

impl<T> FromFile<T> {
    /// Values under a name.
    #[must_use]
    pub fn new(name: &str, values: Vec<T>) -> Self {
        Self { name: name.into(), values: values.into() }
    }
}

/// Flipped bits. By default none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Probability that a frame has bits flipped.
    pub share: Ppm,
    /// How many bits; 0 counts as 1. They lie anywhere behind the Ethernet header, or, with
    /// `repair`, in the payload of TCP or UDP.
    pub bits: u8,
    /// Makes the Internet checksums right again, so that only the application can notice. A frame
    /// without a payload is then left alone.
    pub repair: bool,
}

impl Default for Corruption {
    fn default() -> Self {
        Self { share: Ppm::ZERO, bits: 1, repair: false }
    }
}

/// The longest packet that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuLimit {
    /// Bytes of the IP packet; at least [`MtuLimit::MIN`].
    pub bytes: u16,
    /// Drops what is longer without a word (a path-MTU black hole, RFC 2923), instead of answering
    /// "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201).
    pub black_hole: bool,
}

impl MtuLimit {
    /// What every IPv4 host must accept (RFC 791).
    pub const MIN: u16 = 576;
}

/// A rate and the queue in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// How fast frames leave it.
    pub rate: Rate,
    /// What waits.
    pub queue: Queue,
}

/// How fast frames leave a bottleneck. A frame counts with its Ethernet header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Bits per second; not zero.
    Constant(u64),
    /// Mahimahi's format: at each time one delivery of at most 1,504 bytes may leave; after the
    /// last, the trace begins anew.
    ///
    /// The values are when an opportunity comes, counted from the link's start, milliseconds, not
    /// descending; the last is the length of the trace and not zero. Several short frames may share
    /// an opportunity, a frame that finds too little left takes the rest from the next.
    Trace(FromFile<u32>),
}

/// The queue of a bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How much it holds; what is being sent does not count.
    pub limit: QueueLimit,
    /// What it drops.
    pub discipline: Discipline,
    /// Marks ECN-capable frames (RFC 3168) where `CoDel` would drop them.
    pub ecn: bool,
}

/// How much a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// Bytes, Ethernet headers included.
    Bytes(u64),
    /// Frames.
    Packets(u32),
}

/// Drop-tail, a hundred frames: 60 ms at 20 Mbit/s, about what a small router holds.
impl Default for Queue {
    fn default() -> Self {
        let limit = QueueLimit::Packets(100);
        Self { limit, discipline: Discipline::DropTail, ecn: false }
    }
}

/// What a full queue drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The frame that finds no room.
    DropTail,
    /// The frame that has waited longest.
    DropHead,
    /// Frames that waited too long (RFC 8289); where it is full, the one that finds no room.
    CoDel {
        /// The wait that is acceptable; 5 ms in the RFC.
        target: Duration,
        /// Over which time a wait must stay above it; 100 ms in the RFC.
        interval: Duration,
    },
}

/// Time on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always the same.
    Constant(Duration),
    /// Evenly between `mean - half_width` and `mean + half_width`.
    Uniform {
        /// The middle.
        mean: Duration,
        /// At most the mean.
        half_width: Duration,
    },
    /// Normal, cut at zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation, at most the mean.
        deviation: Duration,
    },
    /// Pareto with shape 3, shifted: never below `mean - deviation / sqrt(3)`.
    Pareto {
        /// The mean.
        mean: Duration,
        /// The standard deviation, at most sqrt(3) times the mean.
        deviation: Duration,
    },
    /// Measured one-way delays, ascending, drawn by inverting their distribution with linear
    /// interpolation between neighbours; not empty.
    Table(FromFile<Duration>),
    /// The same from a file of round trips; the values here are halved already.
    RttTable(FromFile<Duration>),
}

impl Default for Delay {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

/// Which frames may overtake others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reorder {
    /// None: a frame leaves no earlier than the one before it, whatever its delay.
    #[default]
    Never,
    /// Those whose random delay is shorter.
    ByJitter,
    /// This share of every `gap`-th frame leaves with no delay, before those that still travel.
    Share {
        /// The share.
        share: Ppm,
        /// Which frames can be chosen: every `gap`-th; 1 means each.
        gap: NonZeroU32,
    },
}

/// A change at a time. Of several changes of one thing that are in force, the one that began last
/// holds; when it ends, what stood before it holds again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, counted from the link's start.
    pub at: Duration,
    /// For how long; `None` for good.
    pub lasting: Option<Duration>,
    /// What.
    pub what: Setting,
}

/// What a change sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Every frame that comes is lost; those that wait in the queue still leave.
    Down,
    /// The loss model.
    Loss(LossModel),
    /// The delay.
    Delay(Delay),
    /// The rate, for frames that begin to be sent from then on; a link without a bottleneck cannot
    /// get one.
    Rate(Rate),
    /// Corruption.
    Corrupt(Corruption),
    /// Duplication.
    Duplicate(Ppm),
}
