//! `events.ndjson`: one line per event, for `jq` and for `explain`.

use crate::arms::Arm;
use crate::result::Ended;
use serde::{Deserialize, Serialize};
use wirelab::measure::{Instant, Ppm};
use wirelab::path::Direction;

/// Schema version of every line; changes if a field is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// The lane of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneId {
    /// The arm.
    pub arm: Arm,
    /// Requests each client keeps outstanding.
    pub depth: u32,
    /// Loss of the stage, each way.
    pub loss_ppm: Ppm,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered: done.
    Done,
    /// Answered: definitely not applied.
    Refused,
    /// Not answered by the deadline: possibly applied.
    Unknown,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event<'a> {
    /// A stage began.
    #[serde(rename = "stage.begin")]
    StageBegin {
        /// Its loss, each way.
        loss_ppm: Ppm,
        /// Its repetition, from 0.
        repetition: u32,
    },
    /// A stage ended.
    #[serde(rename = "stage.end")]
    StageEnd {
        /// Its loss, each way.
        loss_ppm: Ppm,
        /// Its repetition, from 0.
        repetition: u32,
        /// Its duration, nanoseconds.
        elapsed_ns: u64,
    },
    /// A request ended. Observer: client.
    #[serde(rename = "request.finished")]
    RequestFinished {
        /// Its lane.
        lane: LaneId,
        /// Sequence number in the lane.
        seq: u64,
        /// The operation.
        operation: &'a str,
        /// Its outcome.
        outcome: Outcome,
        /// Attempts by the client; 1 on TCP, where the kernel retransmits.
        attempts: u32,
        /// Latency; up to giving up if there was no answer.
        latency_ns: u64,
    },
    /// The path lost a frame. Observer: path.
    #[serde(rename = "frame.lost")]
    FrameLost {
        /// Its lane.
        lane: LaneId,
        /// Its direction.
        direction: Direction,
        /// Index in that direction, from 0.
        index: u64,
        /// Its length, bytes.
        len: u32,
        /// The draw that decided it: below the threshold.
        draw_ppm: u32,
        /// The planned loss.
        threshold_ppm: Ppm,
        /// The seed of the draw.
        seed: u64,
    },
    /// The last line of a run.
    #[serde(rename = "summary")]
    Summary {
        /// How it ended.
        ended: Ended,
        /// Requests that ended.
        requests: u64,
        /// Frames that the path lost.
        frames_lost: u64,
    },
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// [`VERSION`].
    pub v: u32,
    /// Nanoseconds since the run began.
    pub t_ns: u64,
    /// The event.
    #[serde(flatten, borrow)]
    pub event: Event<'a>,
}

impl<'a> Record<'a> {
    /// The record of an event.
    #[must_use]
    pub const fn new(at: Instant, event: Event<'a>) -> Self {
        Self { v: VERSION, t_ns: at.as_nanos(), event }
    }
}
