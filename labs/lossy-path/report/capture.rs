//! Writes a capture at each end of a path during the run.
//!
//! A frame has the same packet id in both files. A lost frame is in both: where it was sent, and,
//! with a comment that names the cause, where it did not arrive. Only frames that wait at the
//! bottleneck are kept in memory.

use std::collections::VecDeque;
use std::io::{self, Write};
use wirelab::emulator::events::{Chunk, Event, Note};
use wirelab::measure::Instant;
use wirelab::path::{Direction, DropReason, Fate, Mutation, ReleaseVerdict, Verdict};
use wirelab::report::pcapng::{Packet, Writer};

/// Frames kept until the bottleneck has decided on them, at most; beyond, the oldest is evicted,
/// and its loss would lack its bytes. At 1.5 kB each: 100 MB.
const WAITING_MAX: usize = 65_536;

/// The captures of host A and host B.
#[derive(Debug)]
pub struct Capture<W: Write> {
    sides: [Writer<W>; 2],
    seed: u64,
    waiting: VecDeque<Waiting>,
}

/// A frame at the bottleneck.
#[derive(Debug)]
struct Waiting {
    direction: Direction,
    index: u64,
    bytes: Vec<u8>,
}

/// Names of the directions in comments.
const WAYS: [&str; 2] = ["from A to B", "from B to A"];

impl<W: Write> Capture<W> {
    /// Begins the captures of A and B, made by `application`.
    ///
    /// # Errors
    /// Errors of the writers.
    pub fn new(outs: [W; 2], application: &str, seed: u64) -> io::Result<Self> {
        let [a, b] = outs;
        let side = |out: W, name: &str| {
            let mut writer = Writer::new(out, application)?;
            let about = format!("host {name}, as its frames reach and leave the path; seed {seed}");
            writer.add_interface(&format!("{name} eth0"), &about)?;
            Ok::<_, io::Error>(writer)
        };
        Ok(Self { sides: [side(a, "a")?, side(b, "b")?], seed, waiting: VecDeque::new() })
    }

    /// Writes the events of a chunk; `utc` converts an instant to wall time.
    ///
    /// # Errors
    /// Errors of the writers.
    pub fn chunk(&mut self, chunk: &Chunk, utc: impl Fn(Instant) -> u64) -> io::Result<()> {
        for (note, bytes) in chunk.iter() {
            self.note(note, bytes, utc(note.at))?;
        }
        Ok(())
    }

    fn note(&mut self, note: &Note, bytes: &[u8], time_ns: u64) -> io::Result<()> {
        let (from, to) = (note.direction.index(), 1 - note.direction.index());
        match note.what {
            Event::Arrived { fate, .. } => {
                let comment = self.on_arrival(note, &fate);
                self.packet(from, note, bytes, time_ns, true, comment.as_deref())?;
                match fate.verdict {
                    Verdict::Dropped(_) => {
                        self.packet(to, note, bytes, time_ns, false, comment.as_deref())?;
                    }
                    Verdict::Queued { copies } => {
                        let (direction, index) = (note.direction, note.index);
                        for _ in 0..copies {
                            let bytes = bytes.to_vec();
                            self.waiting.push_back(Waiting { direction, index, bytes });
                        }
                        while self.waiting.len() > WAITING_MAX {
                            self.waiting.pop_front();
                        }
                    }
                    Verdict::Deliver { .. } => {}
                }
            }
            Event::Released(release) => {
                let mine = |w: &Waiting| (w.direction, w.index) == (note.direction, release.index);
                let place = self.waiting.iter().position(mine);
                let waited = place.and_then(|place| self.waiting.remove(place));
                if let (Some(waited), ReleaseVerdict::Dropped(reason)) = (waited, release.verdict) {
                    let comment = self.lost(note, reason, None);
                    self.packet(to, note, &waited.bytes, time_ns, false, Some(&comment))?;
                }
            }
            Event::Left { copy, mutation, .. } => {
                let comment = on_departure(note, copy, mutation);
                self.packet(to, note, bytes, time_ns, false, comment.as_deref())?;
            }
            Event::SendFailed { .. } => {
                let comment = format!("NOT SENT by the emulator: {}", name(note));
                self.packet(to, note, bytes, time_ns, false, Some(&comment))?;
            }
            Event::Answered => {
                let comment = format!("made by the path: {} is too big", name(note));
                self.packet(from, note, bytes, time_ns, false, Some(&comment))?;
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        side: usize,
        note: &Note,
        data: &[u8],
        time_ns: u64,
        outbound: bool,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let answer = u64::from(matches!(note.what, Event::Answered));
        self.sides[side].packet(Packet {
            interface: 0,
            time_ns,
            data,
            original_len: u32::try_from(data.len()).expect("a frame is shorter than 4 GiB"),
            comment,
            packet_id: (note.direction.index() as u64) << 63 | answer << 62 | note.index,
            outbound,
        })
    }

    fn lost(&self, note: &Note, reason: DropReason, draw_ppm: Option<u32>) -> String {
        let draw = draw_ppm.map_or_else(String::new, |d| format!(", draw {d} ppm"));
        format!("LOST by the path: {}, {}{draw}, seed {}", name(note), reason.why(), self.seed)
    }

    fn on_arrival(&self, note: &Note, fate: &Fate) -> Option<String> {
        match fate.verdict {
            Verdict::Dropped(reason) => {
                let draw_ppm = reason.is_drawn().then_some(fate.loss_draw_ppm);
                Some(self.lost(note, reason, draw_ppm))
            }
            Verdict::Deliver { copies: 2.., .. } | Verdict::Queued { copies: 2.. } => {
                Some(format!("delivered twice by the path: {}", name(note)))
            }
            _ if fate.reordered => Some(format!("chosen to overtake: {}", name(note))),
            _ => None,
        }
    }

    /// Returns the underlying writers, flushed.
    ///
    /// # Errors
    /// Errors of the writers.
    pub fn finish(self) -> io::Result<[W; 2]> {
        let [a, b] = self.sides;
        Ok([a.finish()?, b.finish()?])
    }
}

fn name(note: &Note) -> String {
    format!("frame {} {}", note.index, WAYS[note.direction.index()])
}

fn on_departure(note: &Note, copy: u8, mutation: Mutation) -> Option<String> {
    let mut words = Vec::new();
    if copy > 0 {
        words.push(format!("copy {}", copy + 1));
    }
    if let Some(draw) = mutation.corrupt {
        let repaired = if draw.repair { ", checksums repaired" } else { "" };
        words.push(format!("{} bits flipped{repaired}", draw.bits.max(1)));
    }
    if mutation.mark {
        words.push("marked congestion experienced".to_owned());
    }
    (!words.is_empty()).then(|| format!("by the path: {}: {}", name(note), words.join(", ")))
}
