//! The events of a lane during a run, handed over in chunks of bounded memory.
//!
//! The caller allocates the chunks, so the router's thread never does. Events that find no room are
//! counted.

use super::frame_meta::FRAME_MAX;
use crate::measure::Instant;
use crate::path::{Direction, Fate, Mutation, Release};

/// Frames that one router thread can move in the 100 ms between two fetches, at 160,000 frames/s.
const FRAMES_PER_CHUNK: usize = 16_000;
/// Events in a chunk, at most: a frame that waits in a queue makes three, others two; 6 MB.
pub const CHUNK_NOTES: usize = 3 * FRAMES_PER_CHUNK;
/// Bytes of frames in a chunk, at most: every frame at both its ends, 48 MB, touched when used.
pub const CHUNK_BYTES: usize = 2 * FRAMES_PER_CHUNK * FRAME_MAX;

/// Events that a lane's record delivers during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streaming {
    /// Nothing.
    #[default]
    Off,
    /// Every event, without frames.
    Fates,
    /// Every event, with frames.
    Frames,
}

/// An event of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its direction.
    pub direction: Direction,
    /// Number of the frame in its direction, from 0: the same at both ends, so it identifies the
    /// frame.
    pub index: u64,
    /// Its time, as defined for the event.
    pub at: Instant,
    /// The event.
    pub what: Event,
    /// End of its bytes in the chunk; they begin at the end of the previous event's.
    bytes_end: usize,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It reached the link (`at` is the kernel's stamp), which decided its fate. The bytes are
    /// those that its sender sent.
    Arrived {
        /// The decision and its draws. A delivered frame was held from `at` to the verdict's time.
        fate: Fate,
        /// Its length, Ethernet header included.
        length: u32,
    },
    /// A copy left the bottleneck or was dropped there (`at` is when the link was polled; the
    /// verdict has the logical time). No bytes.
    Released(Release),
    /// A copy left for its receiver (`at` is just before it was handed to the kernel). The bytes
    /// are those that the receiver gets.
    Left {
        /// Number of the copy, from 0.
        copy: u8,
        /// When it should have left.
        due: Instant,
        /// Its changes, the queue's mark included.
        mutation: Mutation,
    },
    /// A copy could not be sent; else as [`Event::Left`]. It makes a run invalid.
    SendFailed {
        /// Number of the copy, from 0.
        copy: u8,
        /// When it should have left.
        due: Instant,
    },
    /// Its sender was sent "too big" (RFC 1191, RFC 8201). The bytes are those of the message,
    /// which goes the other way.
    Answered,
}

/// Losses within a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Events that were not kept.
    pub notes: u64,
    /// Events without their frame's bytes.
    pub frames: u64,
}

/// The events since the previous chunk.
///
/// Events are in the order of their recording: departures by time, and so arrivals of one
/// direction. The kernel stamps arrivals, so one may be earlier than a departure recorded before
/// it.
#[derive(Debug)]
pub struct Chunk {
    keeps: Streaming,
    notes: Vec<Note>,
    bytes: Vec<u8>,
    /// Events missing; non-zero if it was fetched too late.
    pub missed: Missed,
}

impl Chunk {
    /// An empty chunk, allocated for `keeps`.
    #[must_use]
    pub fn new(keeps: Streaming) -> Self {
        let room = |wanted: bool, size| if wanted { size } else { 0 };
        Self::with_room(
            keeps,
            room(keeps != Streaming::Off, CHUNK_NOTES),
            room(keeps == Streaming::Frames, CHUNK_BYTES),
        )
    }

    /// An empty chunk with room for this many events and bytes.
    pub(crate) fn with_room(keeps: Streaming, notes: usize, bytes: usize) -> Self {
        Self {
            keeps,
            notes: Vec::with_capacity(notes),
            bytes: Vec::with_capacity(bytes),
            missed: Missed::default(),
        }
    }

    /// Whether it keeps frames.
    pub(crate) const fn keeps_bytes(&self) -> bool {
        matches!(self.keeps, Streaming::Frames)
    }

    /// The events, each with the bytes of its frame (empty if not kept or no room).
    pub fn iter(&self) -> impl Iterator<Item = (&Note, &[u8])> {
        let starts = std::iter::once(0).chain(self.notes.iter().map(|note| note.bytes_end));
        let pairs = self.notes.iter().zip(starts);
        pairs.map(|(note, start)| (note, &self.bytes[start..note.bytes_end]))
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether it has no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.missed == Missed::default()
    }

    /// Clears the chunk and keeps its memory for reuse.
    pub fn clear(&mut self) {
        self.notes.clear();
        self.bytes.clear();
        self.missed = Missed::default();
    }

    /// Adds an event.
    pub(crate) fn note(
        &mut self,
        direction: Direction,
        index: u64,
        at: Instant,
        what: Event,
        frame: &[u8],
    ) {
        if self.keeps == Streaming::Off {
            return;
        }
        if self.notes.len() == self.notes.capacity() {
            self.missed.notes += 1;
            return;
        }
        if self.keeps == Streaming::Frames {
            if frame.len() <= self.bytes.capacity() - self.bytes.len() {
                self.bytes.extend_from_slice(frame);
            } else {
                self.missed.frames += 1;
            }
        }
        self.notes.push(Note { direction, index, at, what, bytes_end: self.bytes.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_counts_what_it_cannot_hold() {
        let mut chunk = Chunk::with_room(Streaming::Frames, 3, 10);
        for (index, frame) in (0..).zip([&b"seven b"[..], b"four", b"3 b", b""]) {
            chunk.note(Direction::BToA, index, Instant::ZERO, Event::Answered, frame);
        }
        let kept: Vec<_> = chunk.iter().map(|(note, bytes)| (note.index, bytes)).collect();
        assert_eq!(kept, [(0, &b"seven b"[..]), (1, b""), (2, b"3 b")]);
        assert_eq!(chunk.missed, Missed { notes: 1, frames: 1 });
        let room = (chunk.notes.as_ptr(), chunk.bytes.as_ptr());
        chunk.clear();
        assert!(chunk.is_empty());
        assert_eq!(room, (chunk.notes.as_ptr(), chunk.bytes.as_ptr()), "the room stays");
    }

    #[test]
    fn a_chunk_keeps_what_it_was_asked_to() {
        for (keeps, notes, bytes) in
            [(Streaming::Off, 0, 0), (Streaming::Fates, 1, 0), (Streaming::Frames, 1, 5)]
        {
            let mut chunk = Chunk::new(keeps);
            chunk.note(Direction::AToB, 0, Instant::ZERO, Event::Answered, b"frame");
            assert_eq!((chunk.len(), chunk.bytes.len()), (notes, bytes), "{keeps:?}");
            assert_eq!(chunk.missed, Missed::default());
        }
    }
}
