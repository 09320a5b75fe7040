//! The record of a lane: counts, fates, lateness, and its first frames.
//!
//! It is allocated when it begins and does not grow while frames pass.

use super::events::{Chunk, Event, Streaming};
pub use super::frame_meta::FRAME_MAX;
use super::frame_meta::FrameMeta;
use crate::measure::{Instant, nanos};
use crate::path::{
    Counts, Direction, DropReason, Fate, LostFrame, Release, ReleaseVerdict, Verdict, fold_fate,
};
use hdrhistogram::Histogram;
use std::fmt;
use std::time::Duration;

/// Lost frames kept one by one per direction; further ones are only counted. 24 B each: 1.5 MB.
pub const LOST_FRAMES_MAX: usize = 65_536;
/// Frames captured per record, at most: at [`FRAME_MAX`] bytes each, 100 MB.
pub const CAPTURE_MAX: u32 = 65_536;
/// The longest lateness resolved; a router later than this is broken anyway.
const LATENESS_MAX: Duration = Duration::from_secs(100);

/// Options of a record besides its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordConfig {
    /// How many frames to capture, the first ones, at most [`CAPTURE_MAX`].
    pub capture_frames: u32,
    /// Events to deliver during the record.
    pub stream: Streaming,
}

/// Distribution of the lateness of departures.
#[derive(Clone)]
pub struct Lateness(Histogram<u64>);

impl Default for Lateness {
    fn default() -> Self {
        // Two digits: a bin is at most 1 % wide.
        let histogram = Histogram::new_with_bounds(1, nanos(LATENESS_MAX), 2);
        Self(histogram.expect("invariant: the constant bounds are valid"))
    }
}

impl Lateness {
    /// Counts a sample.
    pub fn note(&mut self, late: Duration) {
        self.0.saturating_record(nanos(late));
    }

    /// Number of samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The lateness that `per_mille`/1000 of the frames did not exceed, within 1 %.
    #[must_use]
    pub fn per_mille(&self, per_mille: u16) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(f64::from(per_mille) / 1000.0))
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.per_mille(500)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.per_mille(990)
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// Adds another's samples.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so every sample fits.
        let _ = self.0.add(&other.0);
    }
}

impl fmt::Debug for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:?}, p99 {:?}, max {:?}", self.p50(), self.p99(), self.max())
    }
}

/// Statistics of one direction of a lane.
#[derive(Clone, Debug, Default)]
pub struct DirectionRecord {
    /// Frames that reached the link.
    pub offered: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Frames it lost, and copies that its queue dropped.
    pub lost: u64,
    /// Frames it sent twice, as drawn.
    pub duplicated: u64,
    /// Counters of the link.
    pub counts: Counts,
    /// Copies that left for the receiver.
    pub sent: u64,
    /// Their bytes, Ethernet header included.
    pub sent_bytes: u64,
    /// When the first and the last of them left.
    pub sent_between: Option<(Instant, Instant)>,
    /// Copies in flight at the record's end: with them, `offered + duplicated` is `lost + sent +
    /// send_failed + on_way`.
    pub on_way: u64,
    /// Frames the kernel dropped before the link saw them or after it sent them: any makes the run
    /// invalid.
    pub kernel_dropped: u64,
    /// Frames above [`FRAME_MAX`], not forwarded: any makes the run invalid.
    pub oversize: u64,
    /// Frames with offloaded checksums: any makes the run invalid.
    pub bad_checksum_status: u64,
    /// Frames whose offload header does not fit them, not forwarded: any makes the run invalid.
    pub bad_offload: u64,
    /// Frames that no link carries, not forwarded and without index: neither IPv4 nor IPv6, or
    /// link-local control traffic (NDP, MLD). Any means noise on the link.
    pub not_carried: u64,
    /// Frames answered with "too big"; they count as lost, too.
    pub too_big_answered: u64,
    /// Copies that could not be sent: any makes the run invalid.
    pub send_failed: u64,
    /// Times that frames waited in the ring because too many were in flight. Their stamps stay
    /// right, but they can be late: any makes the run's timing suspect.
    pub pool_full: u64,
    /// Frames after the end of the replayed recording, since the link was set.
    pub beyond: u64,
    /// The most bytes that waited at the bottleneck at once, without the frame in transmission,
    /// since the link was set.
    pub queue_peak_bytes: u64,
    /// Lateness of copies, just before they are handed to the kernel.
    pub lateness: Lateness,
    /// The first [`LOST_FRAMES_MAX`] lost frames.
    pub lost_frames: Vec<LostFrame>,
    /// A digest of (index, verdict) in order: equal for equal seeds, plans and numbers of frames.
    pub fates_digest: u64,
}

impl DirectionRecord {
    fn new(room: bool) -> Self {
        let lost_frames = Vec::with_capacity(if room { LOST_FRAMES_MAX } else { 0 });
        Self { lost_frames, ..Self::default() }
    }

    fn note_fate(&mut self, fate: &Fate, at: Instant, len: u32) {
        self.offered += 1;
        self.bytes += u64::from(len);
        self.counts.note(fate, len);
        self.fates_digest = fold_fate(self.fates_digest, fate);
        match fate.verdict {
            Verdict::Dropped(reason) => {
                let draw_ppm = fate.loss_draw_ppm;
                self.note_lost(LostFrame { index: fate.index, at, len, draw_ppm, reason });
            }
            Verdict::Deliver { copies, .. } | Verdict::Queued { copies } => {
                self.duplicated += u64::from(copies > 1);
                self.on_way += u64::from(copies);
            }
        }
    }

    fn note_lost(&mut self, lost: LostFrame) {
        self.lost += 1;
        if self.lost_frames.len() < self.lost_frames.capacity() {
            self.lost_frames.push(lost);
        }
    }
}

/// One of the first frames of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Its direction.
    pub direction: Direction,
    /// Number of the frame in that direction, from 0.
    pub index: u64,
    /// When it reached the link.
    pub arrived: Instant,
    /// When its first copy left; `None` if it was lost, or in flight at the record's end.
    pub departed: Option<Instant>,
    /// Number of copies scheduled: 0 if it was lost.
    pub copies: u8,
    /// Its loss draw, ppm.
    pub draw_ppm: u32,
    /// The frame, from its Ethernet header on.
    pub bytes: Vec<u8>,
}

/// The record of a lane since its links were set.
#[derive(Debug)]
pub struct LaneRecord {
    /// `[a_to_b, b_to_a]`.
    pub directions: [DirectionRecord; 2],
    /// The first frames of both directions, in the order of their receipt.
    pub captured: Vec<CapturedFrame>,
    /// Events since the last chunk.
    pub rest: Chunk,
}

impl LaneRecord {
    /// An empty record, allocated as `config` asks.
    pub(crate) fn new(config: RecordConfig) -> Self {
        let frames = usize::try_from(config.capture_frames.min(CAPTURE_MAX)).expect("CAPTURE_MAX");
        let mut captured = Vec::with_capacity(frames);
        captured.resize_with(frames, || CapturedFrame {
            direction: Direction::AToB,
            index: 0,
            arrived: Instant::ZERO,
            departed: None,
            copies: 0,
            draw_ppm: 0,
            bytes: Vec::with_capacity(FRAME_MAX),
        });
        let directions = [DirectionRecord::new(true), DirectionRecord::new(true)];
        Self { directions, captured, rest: Chunk::new(config.stream) }
    }

    /// A record of counts alone.
    pub(crate) fn counts() -> Self {
        let directions = [DirectionRecord::new(false), DirectionRecord::new(false)];
        Self { directions, captured: Vec::new(), rest: Chunk::new(Streaming::Off) }
    }
}

/// Actual and scheduled departure of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) due: Instant,
    pub(crate) at: Instant,
    pub(crate) failed: bool,
}

/// A record being written, and its captures so far.
#[derive(Debug)]
pub(crate) struct Recorder {
    record: LaneRecord,
    filled: usize,
}

impl Recorder {
    pub(crate) const fn new(record: LaneRecord) -> Self {
        Self { record, filled: 0 }
    }

    pub(crate) const fn direction(&mut self, direction: Direction) -> &mut DirectionRecord {
        &mut self.record.directions[direction.index()]
    }

    /// Records a frame and its fate; returns the index of its capture.
    pub(crate) fn note(
        &mut self,
        direction: Direction,
        fate: &Fate,
        at: Instant,
        bytes: &[u8],
    ) -> Option<u32> {
        let length = u32::try_from(bytes.len()).expect("oversize frames are dropped before");
        self.direction(direction).note_fate(fate, at, length);
        let arrived = Event::Arrived { fate: *fate, length };
        self.record.rest.note(direction, fate.index, at, arrived, bytes);
        let place = self.filled;
        let captured = self.record.captured.get_mut(place)?;
        captured.direction = direction;
        captured.index = fate.index;
        captured.arrived = at;
        captured.draw_ppm = fate.loss_draw_ppm;
        if let Verdict::Deliver { copies, .. } | Verdict::Queued { copies } = fate.verdict {
            captured.copies = copies;
        }
        captured.bytes.extend_from_slice(bytes);
        self.filled += 1;
        u32::try_from(place).ok()
    }

    /// Whether it keeps the bytes of a frame that arrives now.
    pub(crate) const fn keeps_bytes(&self) -> bool {
        self.filled < self.record.captured.len() || self.streams_bytes()
    }

    /// Whether it hands over the bytes of departing frames.
    pub(crate) const fn streams_bytes(&self) -> bool {
        self.record.rest.keeps_bytes()
    }

    /// Records that a copy left the bottleneck, or was dropped there.
    pub(crate) fn note_release(&mut self, frame: &FrameMeta, release: &Release, now: Instant) {
        let event = Event::Released(*release);
        self.record.rest.note(frame.direction, frame.index, now, event, &[]);
        self.direction(frame.direction).counts.note_release(release);
        if let ReleaseVerdict::Dropped(reason) = release.verdict {
            self.note_dropped(frame, reason, now);
        }
    }

    fn note_dropped(&mut self, frame: &FrameMeta, reason: DropReason, at: Instant) {
        let FrameMeta { index, draw_ppm, .. } = *frame;
        let len = u32::from(frame.length);
        let direction = self.direction(frame.direction);
        direction.on_way = direction.on_way.saturating_sub(1);
        direction.note_lost(LostFrame { index, at, len, draw_ppm, reason });
        if let Some(captured) = self.captured(frame) {
            captured.copies = captured.copies.saturating_sub(1);
        }
    }

    /// Records that a copy left, or could not.
    pub(crate) fn note_departure(&mut self, frame: &FrameMeta, left: Departure, bytes: &[u8]) {
        let record = self.direction(frame.direction);
        record.on_way = record.on_way.saturating_sub(1);
        if !left.failed {
            record.sent += 1;
            record.sent_bytes += u64::from(frame.length);
            let first = record.sent_between.map_or(left.at, |(first, _)| first);
            record.sent_between = Some((first, left.at));
        }
        record.send_failed += u64::from(left.failed);
        record.lateness.note(left.at.since(left.due));
        let (copy, due, mutation) = (frame.copy, left.due, frame.mutation);
        let event = if left.failed {
            Event::SendFailed { copy, due }
        } else {
            Event::Left { copy, due, mutation }
        };
        self.record.rest.note(frame.direction, frame.index, left.at, event, bytes);
        if let Some(captured) = self.captured(frame) {
            captured.departed.get_or_insert(left.at);
        }
    }

    /// Records a "too big" answer to a frame's sender.
    pub(crate) fn note_answer(
        &mut self,
        direction: Direction,
        index: u64,
        at: Instant,
        message: &[u8],
    ) {
        self.direction(direction).too_big_answered += 1;
        self.record.rest.note(direction, index, at, Event::Answered, message);
    }

    fn captured(&mut self, frame: &FrameMeta) -> Option<&mut CapturedFrame> {
        let place = usize::try_from(frame.captured?).ok()?;
        self.record.captured.get_mut(place)
    }

    /// Takes the events since the last call, and leaves `spare` for the next.
    ///
    /// A spare made for other options changes what the record keeps.
    pub(crate) const fn swap_chunk(&mut self, spare: Chunk) -> Chunk {
        std::mem::replace(&mut self.record.rest, spare)
    }

    pub(crate) fn finish(mut self) -> LaneRecord {
        self.record.captured.truncate(self.filled);
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{DropReason, Mutation};

    #[test]
    fn a_recorder_keeps_the_first_frames_and_counts_all() {
        let mut recorder = Recorder::new(LaneRecord::new(RecordConfig {
            capture_frames: 2,
            stream: Streaming::Off,
        }));
        for index in 0..5 {
            let verdict = if index == 1 {
                Verdict::Dropped(DropReason::Loss)
            } else {
                Verdict::Deliver { at: Instant::ZERO, copies: 1 }
            };
            let (mutation, reordered) = (Mutation::default(), false);
            let fate = Fate { index, loss_draw_ppm: 9, verdict, mutation, reordered };
            let place = recorder.note(Direction::AToB, &fate, Instant::ZERO, b"frame");
            assert_eq!(place.is_some(), index < 2);
        }
        let record = recorder.finish();
        assert_eq!(record.captured.len(), 2);
        assert_eq!(record.captured[1].copies, 0);
        assert_eq!(record.directions[0].offered, 5);
        assert_eq!(record.directions[0].bytes, 25);
        assert_eq!(record.directions[0].lost_frames.len(), 1);
        assert_eq!(record.directions[1].offered, 0);
    }
}
