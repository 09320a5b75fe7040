//! The setting of a bottleneck: its rate and its queue.

use super::effect::{Effect, Show, Word, optional};
use super::files::{FromFile, opportunities};
use super::plan_error::{PlanError, ReadFile, duration, number, refuse, wrong};
use crate::measure::human;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Waiting copies at most, whatever the limit: 64 MB of state. A queue by bytes reaches it only
/// with a million frames within its limit.
pub(super) const QUEUE_FRAMES_MAX: u32 = 1 << 20;
/// Bits per second. Above this, 125 bytes take less than a nanosecond, the unit of all times.
const RATE_MAX: u64 = 1_000_000_000_000;
/// Bytes of the longest frame of an MTU of 1,500: a shorter queue never holds one.
const FULL_FRAME: u64 = 1514;

/// `CoDel`'s default times: RFC 8289 §4.3 and §4.4.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

/// A rate and the queue in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// The rate.
    pub rate: Rate,
    /// The queue.
    pub queue: Queue,
}

/// The rate of a bottleneck. A frame counts with its Ethernet header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Bits per second; not zero.
    Constant(u64),
    /// Mahimahi's format: each time delivers at most 1,504 bytes; after the last, the trace
    /// repeats.
    ///
    /// The values are the times of the opportunities, counted from the link's start, milliseconds,
    /// not descending; the last is the length of the trace and not zero. Several short frames may
    /// share an opportunity; a frame that finds too little left takes the rest from the next.
    Trace(FromFile<u32>),
}

/// The queue of a bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its capacity; the frame in transmission does not count.
    pub limit: QueueLimit,
    /// Its drop policy.
    pub discipline: Discipline,
    /// Marks ECN-capable frames (RFC 3168) where `CoDel` would drop them.
    pub ecn: bool,
}

/// The capacity of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// Bytes, Ethernet headers included.
    Bytes(u64),
    /// Frames.
    Packets(u32),
}

/// Drop-tail, 100 frames: 60 ms at 20 Mbit/s, typical of a small router.
impl Default for Queue {
    fn default() -> Self {
        let limit = QueueLimit::Packets(100);
        Self { limit, discipline: Discipline::DropTail, ecn: false }
    }
}

/// Drop policy of a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The arriving frame.
    DropTail,
    /// The frame that has waited longest.
    DropHead,
    /// Frames that waited too long (RFC 8289); if full, the arriving frame.
    CoDel {
        /// The acceptable wait; 5 ms in the RFC.
        target: Duration,
        /// How long a wait must stay above it; 100 ms in the RFC.
        interval: Duration,
    },
}

impl Rate {
    /// Reads `20Mbit`, `512kbit/s` or `trace:FILE`, a mahimahi trace; `read` returns the file's
    /// text.
    ///
    /// # Errors
    /// The expected form and the text found.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a rate such as 20Mbit, 512kbit/s or 1.5Gbit, or trace:FILE";
        let rate = match text.trim().strip_prefix("trace:") {
            Some(file) => Self::Trace(opportunities(file, read)?),
            None => {
                let bits = human::parse_rate(text).map_err(|_| wrong("rate", EXPECTED, text))?;
                Self::Constant(bits)
            }
        };
        rate.check()?;
        Ok(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(bits) => f.write_str(&human::rate(*bits)),
            Self::Trace(file) => write!(f, "trace:{}", file.name),
        }
    }
}

impl FromStr for Queue {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a size such as 64kB or 100p, perhaps after droptail:, drophead:, \
                                codel: or codel,target=5ms,interval=100ms,ecn:";
        let error = || wrong("queue", EXPECTED, text);
        let trimmed = text.trim();
        let (kind, size) = trimmed.rsplit_once(':').unwrap_or(("droptail", trimmed));
        let limit = match size.trim().strip_suffix('p') {
            Some(frames) => {
                let frames = number(frames).and_then(|frames| u32::try_from(frames).ok());
                QueueLimit::Packets(frames.ok_or_else(error)?)
            }
            None => QueueLimit::Bytes(human::parse_size(size).map_err(|_| error())?),
        };
        let mut words = kind.split(',').map(str::trim);
        let plain = |discipline| Self { limit, discipline, ecn: false };
        let mut queue = match words.next() {
            Some("droptail") => plain(Discipline::DropTail),
            Some("drophead") => plain(Discipline::DropHead),
            Some("codel") => plain(Discipline::CoDel { target: TARGET, interval: INTERVAL }),
            _ => return Err(error()),
        };
        for word in words {
            let Discipline::CoDel { target, interval } = &mut queue.discipline else {
                return Err(error());
            };
            match word.split_once('=') {
                Some(("target", time)) => *target = duration("queue", time)?,
                Some(("interval", time)) => *interval = duration("queue", time)?,
                None if word == "ecn" => queue.ecn = true,
                _ => return Err(error()),
            }
        }
        Ok(queue)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.discipline {
            Discipline::DropTail => {}
            Discipline::DropHead => f.write_str("drophead:")?,
            Discipline::CoDel { target, interval } => {
                f.write_str("codel")?;
                if target != TARGET {
                    write!(f, ",target={}", human::duration(target))?;
                }
                if interval != INTERVAL {
                    write!(f, ",interval={}", human::duration(interval))?;
                }
                f.write_str(if self.ecn { ",ecn:" } else { ":" })?;
            }
        }
        match self.limit {
            QueueLimit::Bytes(bytes) => f.write_str(&human::size(bytes)),
            QueueLimit::Packets(frames) => write!(f, "{frames}p"),
        }
    }
}

impl Rate {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        match self {
            Self::Constant(0) => refuse("rate: expected more than 0 bits per second, got 0"),
            Self::Constant(bits) if *bits > RATE_MAX => {
                refuse(format!("rate: expected at most 1000Gbit, got {}", human::rate(*bits)))
            }
            Self::Constant(_) => Ok(()),
            Self::Trace(trace) => {
                if trace.values.last().is_none_or(|last| *last == 0) {
                    return refuse(format!("rate: the trace {} has no length", trace.name));
                }
                if !trace.values.is_sorted() {
                    return refuse(format!("rate: the times in {} must not descend", trace.name));
                }
                Ok(())
            }
        }
    }
}

impl Queue {
    fn check(&self) -> Result<(), PlanError> {
        match self.limit {
            QueueLimit::Packets(0) => return refuse("queue: expected at least one frame, got 0p"),
            QueueLimit::Packets(frames) if frames > QUEUE_FRAMES_MAX => {
                return refuse(format!(
                    "queue: expected at most {QUEUE_FRAMES_MAX}p, got {frames}p"
                ));
            }
            QueueLimit::Bytes(bytes) if bytes < FULL_FRAME => {
                return refuse(format!(
                    "queue: expected at least {FULL_FRAME}B, the longest frame, got {bytes}B"
                ));
            }
            _ => {}
        }
        match self.discipline {
            Discipline::CoDel { target, interval } if target.is_zero() || interval <= target => {
                refuse(format!(
                    "queue: codel needs a target above 0 and below the interval, got {} and {}",
                    human::duration(target),
                    human::duration(interval)
                ))
            }
            Discipline::DropTail | Discipline::DropHead if self.ecn => {
                refuse("queue: only codel marks frames (ecn)")
            }
            _ => Ok(()),
        }
    }
}

/// Sends frames one after another; `queue` and `bandwidth` compute the times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transmission;

impl Effect for Transmission {
    type Setting = Option<Bottleneck>;
    const WORDS: &'static [Word] = &[
        Word {
            name: "rate",
            value: "RATE",
            help: "Bottleneck: 20Mbit, or trace:FILE in mahimahi's format",
        },
        Word {
            name: "queue",
            value: "QUEUE",
            help: "Queue before it: 64kB, 100p, codel:100p, drophead:64kB [default: 100p]",
        },
    ];

    fn parse(text: &str, read: ReadFile<'_>) -> Result<Self::Setting, PlanError> {
        Ok(Some(Bottleneck { rate: Rate::parse(text, read)?, queue: Queue::default() }))
    }

    fn text(setting: &Self::Setting) -> String {
        optional(setting.as_ref().map(|bottleneck| &bottleneck.rate))
    }

    fn set(
        setting: &mut Self::Setting,
        word: &str,
        text: &str,
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        match (word, setting) {
            ("queue", Some(bottleneck)) => bottleneck.queue = text.parse()?,
            ("queue", None) => {
                text.parse::<Queue>()?;
                return refuse("a queue needs a rate: without one no frame ever waits");
            }
            (_, Some(bottleneck)) => bottleneck.rate = Rate::parse(text, read)?,
            (_, none) => *none = Self::parse(text, read)?,
        }
        Ok(())
    }

    fn show(setting: &Self::Setting, add: Show<'_>) {
        let Some(Bottleneck { queue, .. }) = setting else { return };
        add("rate", Self::text(setting));
        if *queue != Queue::default() {
            add("queue", queue.to_string());
        }
    }

    fn check(setting: &Self::Setting) -> Result<(), PlanError> {
        let Some(Bottleneck { rate, queue }) = setting else { return Ok(()) };
        rate.check()?;
        queue.check()
    }
}
