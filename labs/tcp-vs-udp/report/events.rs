//! `events.ndjson`: one line per thing that happened, for `jq` and for `explain`.
//!
//! It must never hold back a line, nor write one that the schema beside this file does not allow.

use crate::arms::Arm;
use crate::result::Ended;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use wirelab::measure::{Instant, Ppm};
use wirelab::path::Direction;

/// The version of every line; it changes when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// Which lane.
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
    /// Answered: definitely not done.
    Refused,
    /// Not answered by the deadline: may have been done.
    Unknown,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event<'a> {
    /// A stage began.
    #[serde(rename = "stage.begin")]
    StageBegin {
        /// Its loss, each way.
        loss_ppm: Ppm,
    },
    /// A stage ended.
    #[serde(rename = "stage.end")]
    StageEnd {
        /// Its loss, each way.
        loss_ppm: Ppm,
        /// Its length, nanoseconds.
        elapsed_ns: u64,
    },
    /// A request ended. Observer: client.
    #[serde(rename = "request.finished")]
    RequestFinished {
        /// Where.
        lane: LaneId,
        /// Which request of the lane.
        seq: u64,
        /// What was asked.
        operation: &'a str,
        /// How it ended.
        outcome: Outcome,
        /// How often it was sent; 1 on TCP, where the kernel repeats.
        attempts: u32,
        /// How long it took; up to giving up where there was no answer.
        latency_ns: u64,
    },
    /// The path lost a frame. Observer: path.
    #[serde(rename = "frame.lost")]
    FrameLost {
        /// Where.
        lane: LaneId,
        /// Which way.
        direction: Direction,
        /// Which frame of that direction, from 0.
        index: u64,
        /// Its length, bytes.
        len: u32,
        /// The draw that decided it: below the threshold.
        draw_ppm: u32,
        /// The loss of the plan.
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
    /// When, nanoseconds since the run began.
    pub t_ns: u64,
    /// What.
    #[serde(flatten, borrow)]
    pub event: Event<'a>,
}

/// Writes records, one line each, into any writer; put a buffer below it.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::with_capacity(512) }
    }

    /// Writes one line. The buffer is kept, so nothing is allocated once it has grown.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn write(&mut self, at: Instant, event: Event<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &Record { v: VERSION, t_ns: at.as_nanos(), event })?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    /// Hands the underlying writer back, flushed.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
