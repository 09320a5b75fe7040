//! The lines of `events.ndjson`: one per frame that was not simply delivered.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use wirelab::emulator::events::{Chunk, Event as Happened};
use wirelab::measure::Instant;
use wirelab::path::{Direction, DropReason, ReleaseVerdict, Verdict};
use wirelab::report::ndjson::Lines;

/// The version of every line; it changes when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// An event. Observer: path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The program started.
    #[serde(rename = "program.started")]
    Started {
        /// The seed of every draw.
        seed: u64,
    },
    /// A frame, or a copy that had waited, was dropped.
    #[serde(rename = "frame.lost")]
    Lost {
        /// Direction.
        direction: Direction,
        /// Number of the frame in that direction, from 0.
        index: u64,
        /// The reason.
        reason: DropReason,
        /// Its loss draw, ppm; absent if no draw decided.
        draw_ppm: Option<u32>,
    },
    /// A frame had bits flipped.
    #[serde(rename = "frame.corrupted")]
    Corrupted {
        /// Direction.
        direction: Direction,
        /// Number of the frame in that direction, from 0.
        index: u64,
        /// How many bits.
        bits: u8,
        /// Whether its checksums were corrected.
        repaired: bool,
    },
    /// A frame was delivered twice.
    #[serde(rename = "frame.duplicated")]
    Duplicated {
        /// Direction.
        direction: Direction,
        /// Number of the frame in that direction, from 0.
        index: u64,
    },
    /// The program ended; the last line of a run.
    #[serde(rename = "program.ended")]
    Ended {
        /// Its exit code, or 128 and the signal that killed it.
        code: u8,
        /// Frames and copies lost, both ways.
        frames_lost: u64,
    },
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub v: u32,
    /// Time, nanoseconds since the path was built.
    pub t_ns: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// The record of an event.
    #[must_use]
    pub const fn new(at: Instant, event: Event) -> Self {
        Self { v: VERSION, t_ns: at.as_nanos(), event }
    }
}

/// Writes the reportable events of a chunk.
///
/// # Errors
/// Errors of `out`.
pub fn chunk<W: Write>(lines: &mut Lines<W>, chunk: &Chunk) -> io::Result<()> {
    for (note, _) in chunk.iter() {
        let (direction, index) = (note.direction, note.index);
        match note.what {
            Happened::Arrived { fate, .. } => {
                if let Verdict::Dropped(reason) = fate.verdict {
                    let draw_ppm = reason.is_drawn().then_some(fate.loss_draw_ppm);
                    lines.write(&Record::new(
                        note.at,
                        Event::Lost { direction, index, reason, draw_ppm },
                    ))?;
                    continue;
                }
                if let Some(draw) = fate.mutation.corrupt {
                    let (bits, repaired) = (draw.bits, draw.repair);
                    let event = Event::Corrupted { direction, index, bits, repaired };
                    lines.write(&Record::new(note.at, event))?;
                }
                if let Verdict::Deliver { copies: 2.., .. } | Verdict::Queued { copies: 2.. } =
                    fate.verdict
                {
                    lines.write(&Record::new(note.at, Event::Duplicated { direction, index }))?;
                }
            }
            Happened::Released(release) => {
                if let ReleaseVerdict::Dropped(reason) = release.verdict {
                    let draw_ppm = None;
                    lines.write(&Record::new(
                        note.at,
                        Event::Lost { direction, index, reason, draw_ppm },
                    ))?;
                }
            }
            Happened::Left { .. } | Happened::SendFailed { .. } | Happened::Answered => {}
        }
    }
    Ok(())
}
