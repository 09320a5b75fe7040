//! A text file of what a link did to every frame, for replay.
//!
//! The first line is `wirelab-recording 1`. Each direction, `a` from host A and `b` from host B,
//! has one line of what is true of all its frames, `a frames=1234 hold=40ms mtu=1400`, and one for
//! each frame that was not simply delivered once, unchanged, `hold` after its arrival:
//!
//! ```text
//! a 8 drop=loss draw=12345             dropped, and the loss draw that did it, ppm
//! a 13 hold=41ms copies=2              delivered twice, after 41 ms
//! a 20 hold=40ms flip=1f2e,3,repair mark overtakes
//! a 21 queued=1 end=52ms,mark          waited at the bottleneck, then left, marked by the queue
//! a 22 queued=2 end=co_del end=53ms    the first of two copies was dropped there
//! ```
//!
//! Lines that begin with `#` and empty ones are comments. An unknown word is an error that names
//! its line.

use super::fate::{CorruptDraw, DropReason, Fate, Mutation, Release, ReleaseVerdict, Verdict};
use super::files::Lines;
use super::frame::Direction;
use super::mtu::MtuLimit;
use super::plan_error::PlanError;
use crate::measure::{Instant, human};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

/// Lines of one direction at most: about 100 MB of memory. Later frames are not recorded.
const ENTRIES_MAX: usize = 1 << 20;
/// The first line: name and version. Another version is an error.
const HEADER: &str = "wirelab-recording 1";

/// The fates of a run's frames, both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    tracks: [Track; 2],
    cut: bool,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track {
    frames: u64,
    mtu: Option<MtuLimit>,
    /// Delay of the first delivered frame; frames with the same delay need no line.
    hold: Option<Duration>,
    /// Ascending by index.
    entries: Vec<Entry>,
    /// Arrivals of waiting frames, and how many of their copies still wait.
    waiting: BTreeMap<u64, (Instant, u8)>,
}

/// A frame that needs a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    index: u64,
    outcome: Outcome,
    mutation: Mutation,
    overtakes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Dropped { reason: DropReason, draw_ppm: u32 },
    Held { hold: Duration, copies: u8 },
    Queued { copies: u8, ends: [Option<End>; 2] },
}

/// The end of a copy that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Left { hold: Duration, mark: bool },
    Dropped(DropReason),
}

impl Recording {
    /// An empty recording of links with these packet limits, so that a replay can answer packets
    /// that are too long.
    #[must_use]
    pub fn new(mtu: [Option<MtuLimit>; 2]) -> Self {
        let tracks = mtu.map(|mtu| Track { mtu, ..Track::default() });
        Self { tracks, cut: false }
    }

    /// Adds a frame that reached the link at `at`. Frames must come in order of their numbers.
    pub fn note(&mut self, direction: Direction, at: Instant, fate: &Fate) {
        let track = &mut self.tracks[direction.index()];
        if track.entries.len() >= ENTRIES_MAX || fate.index != track.frames {
            self.cut = true;
            return;
        }
        track.frames += 1;
        let outcome = match fate.verdict {
            Verdict::Dropped(reason) => Outcome::Dropped { reason, draw_ppm: fate.loss_draw_ppm },
            Verdict::Deliver { at: leaves, copies } => {
                let hold = leaves.since(at);
                track.hold.get_or_insert(hold);
                Outcome::Held { hold, copies }
            }
            Verdict::Queued { copies } => {
                track.waiting.insert(fate.index, (at, copies));
                Outcome::Queued { copies, ends: [None; 2] }
            }
        };
        let Fate { index, mutation, reordered, .. } = *fate;
        let plain = Outcome::Held { hold: track.hold.unwrap_or_default(), copies: 1 };
        if outcome != plain || mutation != Mutation::default() || reordered {
            track.entries.push(Entry { index, outcome, mutation, overtakes: reordered });
        }
    }

    /// Adds the end of a copy that waited.
    pub fn note_release(&mut self, direction: Direction, release: &Release) {
        let track = &mut self.tracks[direction.index()];
        let Some((arrived, left)) = track.waiting.get_mut(&release.index) else { return };
        let end = match release.verdict {
            ReleaseVerdict::Dropped(reason) => End::Dropped(reason),
            ReleaseVerdict::Deliver { at, mark } => End::Left { hold: at.since(*arrived), mark },
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            track.waiting.remove(&release.index);
        }
        if let End::Left { hold, .. } = end {
            track.hold.get_or_insert(hold);
        }
        let Ok(at) = track.entries.binary_search_by_key(&release.index, |entry| entry.index) else {
            return;
        };
        let Outcome::Queued { ends, .. } = &mut track.entries[at].outcome else { return };
        if let Some(free) = ends.iter_mut().find(|end| end.is_none()) {
            *free = Some(end);
        }
    }

    /// How many frames of a direction are recorded.
    #[must_use]
    pub const fn frames(&self, direction: Direction) -> u64 {
        self.tracks[direction.index()].frames
    }

    /// The packet limit under which a direction was recorded.
    #[must_use]
    pub const fn mtu(&self, direction: Direction) -> Option<MtuLimit> {
        self.tracks[direction.index()].mtu
    }

    /// Whether frames were left out because of the limit on lines.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Parses the `Display` format; errors call the file `name`.
    ///
    /// # Errors
    /// The line that holds something unexpected.
    pub fn parse(name: &str, text: &str) -> Result<Self, PlanError> {
        let mut lines = Lines::new(name, text);
        let mut recording = Self::default();
        match lines.next_line()? {
            Some(HEADER) => {}
            other => return Err(lines.error(HEADER, other.unwrap_or_default())),
        }
        let mut headed = [false; 2];
        while let Some(line) = lines.next_line()? {
            let (side, rest) = line.split_once(' ').unwrap_or((line, ""));
            let side = match side {
                "a" => 0,
                "b" => 1,
                _ => return Err(lines.error("a direction, a or b, and what it did", line)),
            };
            let track = &mut recording.tracks[side];
            let read = if headed[side] {
                entry(rest, track).map(|entry| track.entries.push(entry))
            } else {
                header(rest).map(|header| *track = header)
            };
            headed[side] = true;
            read.map_err(|expected| lines.error(expected, line))?;
            if track.entries.len() > ENTRIES_MAX {
                return Err(lines.error("at most 1048576 frames of a direction", line));
            }
        }
        Ok(recording)
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (side, track) in ["a", "b"].iter().zip(&self.tracks) {
            write!(f, "{side} frames={}", track.frames)?;
            if let Some(hold) = track.hold {
                write!(f, " hold={}", human::duration(hold))?;
            }
            if let Some(mtu) = track.mtu {
                write!(f, " mtu={mtu}")?;
            }
            writeln!(f)?;
            for entry in &track.entries {
                writeln!(f, "{side} {entry}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)?;
        match self.outcome {
            Outcome::Dropped { reason, draw_ppm } => {
                write!(f, " drop={} draw={draw_ppm}", reason.word())?;
            }
            Outcome::Held { hold, copies } => {
                write!(f, " hold={}", human::duration(hold))?;
                if copies != 1 {
                    write!(f, " copies={copies}")?;
                }
            }
            Outcome::Queued { copies, ends } => {
                write!(f, " queued={copies}")?;
                for end in ends.iter().flatten() {
                    match end {
                        End::Left { hold, mark } => {
                            let mark = if *mark { ",mark" } else { "" };
                            write!(f, " end={}{mark}", human::duration(*hold))?;
                        }
                        End::Dropped(reason) => write!(f, " end={}", reason.word())?,
                    }
                }
            }
        }
        if let Some(CorruptDraw { key, bits, repair }) = self.mutation.corrupt {
            write!(f, " flip={key:x},{bits}{}", if repair { ",repair" } else { "" })?;
        }
        let words = [(self.mutation.mark, " mark"), (self.overtakes, " overtakes")];
        words.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| f.write_str(word))
    }
}

/// Parses the line of a direction's common values.
fn header(text: &str) -> Result<Track, &'static str> {
    const EXPECTED: &str = "frames=NUMBER, then hold=DURATION and mtu=BYTES where known";
    let mut track = Track::default();
    let mut counted = false;
    for word in text.split_whitespace() {
        match word.split_once('=').ok_or(EXPECTED)? {
            ("frames", n) => {
                track.frames = n.parse().map_err(|_| EXPECTED)?;
                counted = true;
            }
            ("hold", hold) => track.hold = Some(duration(hold).ok_or(EXPECTED)?),
            ("mtu", mtu) => track.mtu = Some(mtu.parse().map_err(|_| EXPECTED)?),
            _ => return Err(EXPECTED),
        }
    }
    if counted { Ok(track) } else { Err(EXPECTED) }
}

/// Reads a frame of a track.
fn entry(text: &str, track: &Track) -> Result<Entry, &'static str> {
    const INDEX: &str = "the number of a frame, above the one before and below frames=";
    let mut words = text.split_whitespace();
    let index = words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(INDEX)?;
    let ascending = track.entries.last().is_none_or(|before| before.index < index);
    if !ascending || index >= track.frames {
        return Err(INDEX);
    }
    const FATE: &str = "drop=REASON, hold=DURATION or queued=COPIES behind the number";
    let (word, value) = words.next().and_then(|word| word.split_once('=')).ok_or(FATE)?;
    let outcome = match word {
        "drop" => Outcome::Dropped { reason: reason(value).ok_or(REASONS.as_str())?, draw_ppm: 0 },
        "hold" => Outcome::Held { hold: duration(value).ok_or(DURATION)?, copies: 1 },
        "queued" => Outcome::Queued { copies: copies(value)?, ends: [None; 2] },
        _ => return Err(FATE),
    };
    let mut entry = Entry { index, outcome, mutation: Mutation::default(), overtakes: false };
    words.try_for_each(|word| entry.detail(word))?;
    Ok(entry)
}

const DURATION: &str = "a duration such as 40ms";
static REASONS: LazyLock<String> =
    LazyLock::new(|| format!("a reason: {}", DropReason::ALL.map(DropReason::word).join(", ")));

impl Entry {
    fn detail(&mut self, word: &str) -> Result<(), &'static str> {
        const DETAIL: &str = "draw=PPM behind a drop, copies=2 behind a hold, end=… behind queued, \
                              flip=KEY,BITS, mark or overtakes";
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match (name, &mut self.outcome) {
            ("draw", Outcome::Dropped { draw_ppm, .. }) => {
                *draw_ppm = value.parse().ok().filter(|ppm| *ppm < 1_000_000).ok_or(DETAIL)?;
            }
            ("copies", Outcome::Held { copies: held, .. }) => *held = copies(value)?,
            ("end", Outcome::Queued { ends, copies }) => {
                let room = &mut ends[..usize::from(*copies).min(2)];
                let free = room.iter_mut().find(|end| end.is_none());
                *free.ok_or("no more ends than copies")? = Some(end(value)?);
            }
            ("flip", _) => self.mutation.corrupt = Some(flip(value).ok_or(DETAIL)?),
            ("mark", _) if value.is_empty() => self.mutation.mark = true,
            ("overtakes", _) if value.is_empty() => self.overtakes = true,
            _ => return Err(DETAIL),
        }
        Ok(())
    }
}

fn duration(text: &str) -> Option<Duration> {
    human::parse_duration(text).ok()
}

fn reason(text: &str) -> Option<DropReason> {
    DropReason::ALL.into_iter().find(|reason| reason.word() == text)
}

fn copies(text: &str) -> Result<u8, &'static str> {
    match text {
        "1" => Ok(1),
        "2" => Ok(2),
        _ => Err("1 or 2 copies"),
    }
}

fn end(text: &str) -> Result<End, &'static str> {
    if let Some(reason) = reason(text) {
        return Ok(End::Dropped(reason));
    }
    let (hold, mark) = text.strip_suffix(",mark").map_or((text, false), |hold| (hold, true));
    let expected = "end=DURATION, end=DURATION,mark or end=REASON";
    Ok(End::Left { hold: duration(hold).ok_or(expected)?, mark })
}

fn flip(text: &str) -> Option<CorruptDraw> {
    let (text, repair) = text.strip_suffix(",repair").map_or((text, false), |rest| (rest, true));
    let (key, bits) = text.split_once(',')?;
    let plain = !key.starts_with('+');
    let key = u64::from_str_radix(key, 16).ok().filter(|_| plain)?;
    Some(CorruptDraw { key, bits: bits.parse().ok().filter(|bits| *bits > 0)?, repair })
}

/// The replay of one direction, frame by frame.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    track: Track,
    /// Entries already passed.
    read: usize,
}

impl Replay {
    pub(super) fn new(recording: &Recording, direction: Direction) -> Self {
        Self { track: recording.tracks[direction.index()].clone(), read: 0 }
    }

    /// How many of this many frames were beyond the end.
    pub(super) const fn beyond(&self, seen: u64) -> u64 {
        seen.saturating_sub(self.track.frames)
    }

    /// The fate of the next frame. A copy that had waited is released at once, to leave after its
    /// recorded delay; one without a recorded end leaves after the usual delay.
    pub(super) fn fate(
        &mut self,
        index: u64,
        now: Instant,
        token: u32,
        releases: &mut VecDeque<Release>,
    ) -> Fate {
        let usual = self.track.hold.unwrap_or_default();
        let next = self.track.entries.get(self.read).filter(|entry| entry.index == index);
        let Some(Entry { outcome, mutation, overtakes, .. }) = next.copied() else {
            let verdict = Verdict::Deliver { at: now + usual, copies: 1 };
            let mutation = Mutation::default();
            return Fate { index, loss_draw_ppm: 0, verdict, mutation, reordered: false };
        };
        self.read += 1;
        let mut loss_draw_ppm = 0;
        let verdict = match outcome {
            Outcome::Dropped { reason, draw_ppm } => {
                loss_draw_ppm = draw_ppm;
                Verdict::Dropped(reason)
            }
            Outcome::Held { hold, copies } => Verdict::Deliver { at: now + hold, copies },
            Outcome::Queued { copies, ends } => {
                for end in ends.into_iter().take(usize::from(copies)) {
                    let verdict = match end.unwrap_or(End::Left { hold: usual, mark: false }) {
                        End::Dropped(reason) => ReleaseVerdict::Dropped(reason),
                        End::Left { hold, mark } => {
                            ReleaseVerdict::Deliver { at: now + hold, mark }
                        }
                    };
                    releases.push_back(Release { token, index, verdict });
                }
                Verdict::Queued { copies }
            }
        };
        Fate { index, loss_draw_ppm, verdict, mutation, reordered: overtakes }
    }
}
