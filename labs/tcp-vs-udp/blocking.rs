//! Counts requests inside a lost frame (batching) and those behind it (head-of-line blocking).
//!
//! A frame that arrives while an earlier byte of its stream is missing waits for the repeat; the
//! captured frames show which. A datagram waits for no other.

use super::kernel::LaneCapture;
use super::report::ladder::{Seen, look};
use super::result::{Blocking, Stage};

/// Adds the counts to every lane that has a capture.
pub fn count(stages: &mut [Stage], captures: &[LaneCapture]) {
    for stage in stages {
        for lane in &mut stage.lanes {
            let own = |c: &&LaneCapture| {
                c.arm == lane.arm && c.depth == lane.depth && c.loss == stage.loss_ppm
            };
            lane.blocking = captures.iter().find(own).map(of_capture);
        }
    }
}

/// A missing part of a stream: its first byte, and the side that sent it.
struct Hole {
    port: u16,
    from_client: bool,
    first: u32,
    end: u32,
}

fn of_capture(capture: &LaneCapture) -> Blocking {
    let mut counts = Blocking::default();
    let mut holes: Vec<Hole> = Vec::new();
    for frame in &capture.frames {
        let Some(seen) = look(&frame.bytes, frame.direction) else { continue };
        let Seen { port, from_client, keys, sequence, .. } = seen;
        let messages = keys.len() as u64;
        let lost = frame.copies == 0;
        if lost && messages > 0 {
            counts.lost_frames += 1;
            counts.inside += messages;
        }
        let Some((first, end)) = sequence else { continue };
        let same = |hole: &Hole| hole.port == port && hole.from_client == from_client;
        // Sequence numbers wrap around (RFC 9293 §3.4).
        let fills = |hole: &Hole| {
            same(hole)
                && first.wrapping_sub(hole.first).cast_signed() <= 0
                && end.wrapping_sub(hole.end).cast_signed() >= 0
        };
        if lost {
            if first != end && !holes.iter().any(|hole| same(hole) && hole.first == first) {
                holes.push(Hole { port, from_client, first, end });
            }
            continue;
        }
        holes.retain(|hole| !fills(hole));
        let waits = |hole: &Hole| same(hole) && first.wrapping_sub(hole.first).cast_signed() > 0;
        if holes.iter().any(waits) {
            counts.behind += messages;
        }
    }
    counts
}
