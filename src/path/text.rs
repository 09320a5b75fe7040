//! A plan as people write it, the same words in flags and in plan files.
//!
//! Every part is read by `parse` or `from_str` and written by `Display`, and what is written reads
//! back as the same. It must never read a file itself, and never turn a typing mistake into a plan.

use super::files::{delays, frame_numbers, opportunities, round_trips};
use super::{
    Bottleneck, Change, Corruption, Delay, Discipline, FateKey, LinkPlan, LossModel, MtuLimit,
    Queue, QueueLimit, Rate, Reorder, Setting,
};
use crate::measure::{Ppm, human};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

pub(super) use super::files::Lines;

/// Gives the text of a file that a plan names, or says why not.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// Why a text is not a plan.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A word or number is not what belongs there.
    #[error("{what}: expected {expected}, got {got:?}")]
    Text {
        /// Which setting.
        what: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The same in a file.
    #[error("{file}, line {line}: expected {expected}, got {got:?}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A file cannot be read.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// Settings that make no sense, or not together.
    #[error("{0}")]
    Together(String),
}

fn wrong(what: &'static str, expected: &'static str, got: &str) -> PlanError {
    PlanError::Text { what, expected, got: got.to_owned() }
}

const SHARE: &str = "a share such as 2%, 0.5% or 500ppm, at most 100%";
const DURATION: &str = "a duration such as 40ms, 1.5s or 250us";

fn share(what: &'static str, text: &str) -> Result<Ppm, PlanError> {
    human::parse_share(text).map_err(|_| wrong(what, SHARE, text))
}

fn duration(what: &'static str, text: &str) -> Result<Duration, PlanError> {
    human::parse_duration(text).map_err(|_| wrong(what, DURATION, text))
}

/// Two durations between commas, as every distribution has them.
fn pair(expected: &'static str, text: &str) -> Result<(Duration, Duration), PlanError> {
    let (mean, width) = text.split_once(',').ok_or_else(|| wrong("delay", expected, text))?;
    Ok((duration("delay", mean)?, duration("delay", width)?))
}

// ---- what has no file -------------------------------------------------------------------------

impl FromStr for FateKey {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text.trim() {
            "order" => Ok(Self::Order),
            "content" => Ok(Self::Content),
            other => {
                let slot = other.strip_prefix("time:");
                let slot = slot.ok_or_else(|| wrong("key", "order, time:1ms or content", other))?;
                Ok(Self::Time { slot: duration("key", slot)? })
            }
        }
    }
}

impl fmt::Display for FateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("order"),
            Self::Time { slot } => write!(f, "time:{}", human::duration(*slot)),
            Self::Content => f.write_str("content"),
        }
    }
}

impl FromStr for Corruption {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a share, then perhaps bits=N (1 to 255) and repair, as in \
                                1%,bits=3,repair";
        let mut words = text.split(',').map(str::trim);
        let share = share("corrupt", words.next().unwrap_or_default())?;
        let mut corruption = Self { share, ..Self::default() };
        for word in words {
            match (word, word.strip_prefix("bits=").and_then(number)) {
                ("repair", _) => corruption.repair = true,
                (_, Some(bits @ 1..=255)) => corruption.bits = u8::try_from(bits).unwrap_or(1),
                _ => return Err(wrong("corrupt", EXPECTED, text)),
            }
        }
        Ok(corruption)
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human::share(self.share))?;
        if self.bits > 1 {
            write!(f, ",bits={}", self.bits)?;
        }
        f.write_str(if self.repair { ",repair" } else { "" })
    }
}

impl FromStr for MtuLimit {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "bytes of an IP packet, 576 to 65535, then perhaps ,blackhole";
        let (bytes, black_hole) = text
            .trim()
            .strip_suffix(",blackhole")
            .map_or_else(|| (text.trim(), false), |bytes| (bytes, true));
        let bytes = number(bytes).and_then(|bytes| u16::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| *bytes >= Self::MIN);
        let bytes = bytes.ok_or_else(|| wrong("mtu", EXPECTED, text))?;
        Ok(Self { bytes, black_hole })
    }
}

impl fmt::Display for MtuLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.bytes, if self.black_hole { ",blackhole" } else { "" })
    }
}

impl FromStr for Reorder {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "never, jitter, or a share, then perhaps gap=N (1 or more), as in \
                                25%,gap=5";
        let text = text.trim();
        match text {
            "never" => return Ok(Self::Never),
            "jitter" => return Ok(Self::ByJitter),
            _ => {}
        }
        let (chosen, gap) = text.split_once(',').unwrap_or((text, "gap=1"));
        let chosen = human::parse_share(chosen).map_err(|_| wrong("reorder", EXPECTED, text))?;
        let gap = gap.trim().strip_prefix("gap=").and_then(number);
        let gap = gap.and_then(|gap| u32::try_from(gap).ok()).and_then(NonZeroU32::new);
        let gap = gap.ok_or_else(|| wrong("reorder", EXPECTED, text))?;
        Ok(Self::Share { share: chosen, gap })
    }
}

impl fmt::Display for Reorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::ByJitter => f.write_str("jitter"),
            Self::Share { share, gap } => {
                f.write_str(&human::share(*share))?;
                if gap.get() > 1 { write!(f, ",gap={gap}") } else { Ok(()) }
            }
        }
    }
}

/// `CoDel`'s times where none are given: RFC 8289 §4.3 and §4.4.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

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

/// A whole number without a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

// ---- what may name a file ---------------------------------------------------------------------

impl LossModel {
    /// Reads `none`, `2%`, `gilbert:p,r`, `gemodel:p,r,1-h,1-k`, `4state:p13,p31,p32,p23,p14` or
    /// `list:FILE` (the numbers of the frames to lose, from 0, one a line, ascending); `read` gives
    /// the file.
    ///
    /// # Errors
    /// What was expected, and what came.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "none, a share such as 2% (at most 100%), gilbert:p,r, \
                                gemodel:p,r,1-h,1-k, 4state:p13,p31,p32,p23,p14 or list:FILE";
        let text = text.trim();
        let error = || wrong("loss", EXPECTED, text);
        let Some((kind, rest)) = text.split_once(':') else {
            let iid = || human::parse_share(text).map(Self::Iid).map_err(|_| error());
            return if text == "none" { Ok(Self::None) } else { iid() };
        };
        if kind == "list" {
            return Ok(Self::Recorded(frame_numbers(rest, read)?));
        }
        let shares = rest.split(',').map(|part| share("loss", part));
        let shares = shares.collect::<Result<Vec<Ppm>, PlanError>>()?;
        let model = match (kind, shares.as_slice()) {
            ("gilbert", &[p, r]) => {
                Self::GilbertElliott { p, r, loss_bad: Ppm::ONE, loss_good: Ppm::ZERO }
            }
            ("gemodel", &[p, r, loss_bad, loss_good]) => {
                Self::GilbertElliott { p, r, loss_bad, loss_good }
            }
            ("4state", &[p13, p31, p32, p23, p14]) => Self::FourState { p13, p31, p32, p23, p14 },
            _ => return Err(error()),
        };
        model.check()?;
        Ok(model)
    }
}

impl fmt::Display for LossModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, kind: &str, shares: &[&Ppm]| {
            let shares: Vec<String> = shares.iter().map(|share| human::share(**share)).collect();
            write!(f, "{kind}:{}", shares.join(","))
        };
        match self {
            Self::None => f.write_str("none"),
            Self::Iid(share) => f.write_str(&human::share(*share)),
            Self::GilbertElliott { p, r, loss_bad: Ppm::ONE, loss_good: Ppm::ZERO } => {
                list(f, "gilbert", &[p, r])
            }
            Self::GilbertElliott { p, r, loss_bad, loss_good } => {
                list(f, "gemodel", &[p, r, loss_bad, loss_good])
            }
            Self::FourState { p13, p31, p32, p23, p14 } => {
                list(f, "4state", &[p13, p31, p32, p23, p14])
            }
            Self::Recorded(file) => write!(f, "list:{}", file.name),
        }
    }
}

impl Delay {
    /// Reads `40ms`, `uniform:40ms,5ms`, `normal:40ms,5ms`, `pareto:40ms,5ms`, `table:FILE` (one
    /// delay a line) or `rtt-table:FILE` (round trips, or the output of `ping`); `read` gives the
    /// file.
    ///
    /// # Errors
    /// What was expected, and what came.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a duration such as 40ms, uniform:40ms,5ms, normal:40ms,5ms, \
                                pareto:40ms,5ms, table:FILE or rtt-table:FILE";
        let text = text.trim();
        let Some((kind, rest)) = text.split_once(':') else {
            let constant = human::parse_duration(text).map(Self::Constant);
            let constant = constant.map_err(|_| wrong("delay", EXPECTED, text))?;
            constant.check()?;
            return Ok(constant);
        };
        let delay = match kind {
            "uniform" => {
                let (mean, half_width) = pair(EXPECTED, rest)?;
                Self::Uniform { mean, half_width }
            }
            "normal" => {
                let (mean, deviation) = pair(EXPECTED, rest)?;
                Self::Normal { mean, deviation }
            }
            "pareto" => {
                let (mean, deviation) = pair(EXPECTED, rest)?;
                Self::Pareto { mean, deviation }
            }
            "table" => Self::Table(delays(rest, read)?),
            "rtt-table" => Self::RttTable(round_trips(rest, read)?),
            _ => return Err(wrong("delay", EXPECTED, text)),
        };
        delay.check()?;
        Ok(delay)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = human::duration;
        match self {
            Self::Constant(delay) => f.write_str(&text(*delay)),
            Self::Uniform { mean, half_width } => {
                write!(f, "uniform:{},{}", text(*mean), text(*half_width))
            }
            Self::Normal { mean, deviation } => {
                write!(f, "normal:{},{}", text(*mean), text(*deviation))
            }
            Self::Pareto { mean, deviation } => {
                write!(f, "pareto:{},{}", text(*mean), text(*deviation))
            }
            Self::Table(file) => write!(f, "table:{}", file.name),
            Self::RttTable(file) => write!(f, "rtt-table:{}", file.name),
        }
    }
}

impl Rate {
    /// Reads `20Mbit`, `512kbit/s` or `trace:FILE`, a mahimahi trace; `read` gives the file.
    ///
    /// # Errors
    /// What was expected, and what came.
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

impl Change {
    /// Reads a line such as `at 2s down for 3s` or `at 5s loss 20%`; the `at` may be left out.
    ///
    /// # Errors
    /// What was expected, and what came.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a time, what changes (down, loss, delay, rate, corrupt or \
                                duplicate), its value, and perhaps for how long, as in \
                                at 7s delay 100ms for 2s";
        let error = || wrong("at", EXPECTED, text);
        let line = text.trim();
        let line = line.strip_prefix("at ").unwrap_or(line);
        let (line, lasting) = match line.rsplit_once(" for ") {
            Some((line, lasting)) => (line.trim(), Some(duration("at", lasting)?)),
            None => (line, None),
        };
        let (at, what) = line.trim().split_once(' ').ok_or_else(error)?;
        let what = what.trim();
        let (word, value) = what.split_once(' ').unwrap_or((what, ""));
        let value = value.trim();
        let what = match word {
            "down" if value.is_empty() => Setting::Down,
            "loss" => Setting::Loss(LossModel::parse(value, read)?),
            "delay" => Setting::Delay(Delay::parse(value, read)?),
            "rate" => Setting::Rate(Rate::parse(value, read)?),
            "corrupt" => Setting::Corrupt(value.parse()?),
            "duplicate" => Setting::Duplicate(share("duplicate", value)?),
            _ => return Err(error()),
        };
        Ok(Self { at: duration("at", at)?, lasting, what })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ", human::duration(self.at))?;
        match &self.what {
            Setting::Down => f.write_str("down")?,
            Setting::Loss(loss) => write!(f, "loss {loss}")?,
            Setting::Delay(delay) => write!(f, "delay {delay}")?,
            Setting::Rate(rate) => write!(f, "rate {rate}")?,
            Setting::Corrupt(corruption) => write!(f, "corrupt {corruption}")?,
            Setting::Duplicate(share) => write!(f, "duplicate {}", human::share(*share))?,
        }
        self.lasting.map_or(Ok(()), |lasting| write!(f, " for {}", human::duration(lasting)))
    }
}

// ---- the whole --------------------------------------------------------------------------------

impl LinkPlan {
    /// The words of [`LinkPlan::set_all`], in the order in which the impairments act.
    pub const WORDS: [&'static str; 12] = [
        "key",
        "loss",
        "max-burst",
        "corrupt",
        "duplicate",
        "mark",
        "mtu",
        "rate",
        "queue",
        "delay",
        "reorder",
        "at",
    ];

    /// Sets what each pair of a word and a text says, in any order; `at` may come several times,
    /// and adds to the timetable, every other word once. What no pair names stays as it is. Where
    /// there is an error, the plan is as it was.
    ///
    /// # Errors
    /// The first pair that is wrong, or what [`LinkPlan::check`] says of the whole.
    pub fn set_all(
        &mut self,
        settings: &[(&str, &str)],
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        let mut plan = self.clone();
        let mut queue = None;
        for (i, (word, text)) in settings.iter().enumerate() {
            let before = &settings[..i];
            if *word != "at" && before.iter().any(|(earlier, _)| earlier == word) {
                return Err(PlanError::Together(format!("{word} is set twice")));
            }
            match *word {
                "queue" => queue = Some(text.parse::<Queue>()?),
                _ => plan.set(word, text, read)?,
            }
        }
        match (queue, &mut plan.rate) {
            (Some(queue), Some(bottleneck)) => bottleneck.queue = queue,
            (Some(_), None) => {
                return Err(PlanError::Together(
                    "a queue needs a rate: without one no frame ever waits".to_owned(),
                ));
            }
            (None, _) => {}
        }
        plan.check()?;
        *self = plan;
        Ok(())
    }

    fn set(&mut self, word: &str, text: &str, read: ReadFile<'_>) -> Result<(), PlanError> {
        match word {
            "key" => self.key = text.parse()?,
            "loss" => self.loss = LossModel::parse(text, read)?,
            "max-burst" => {
                let most = number(text.trim()).and_then(|most| u32::try_from(most).ok());
                let most = most.and_then(NonZeroU32::new);
                let error = || wrong("max-burst", "a number of frames, 1 or more", text);
                self.max_burst = Some(most.ok_or_else(error)?);
            }
            "corrupt" => self.corrupt = text.parse()?,
            "duplicate" => self.duplicate = share("duplicate", text)?,
            "mark" => self.mark = share("mark", text)?,
            "mtu" => self.mtu = Some(text.parse()?),
            "rate" => {
                let rate = Rate::parse(text, read)?;
                let queue = self.rate.as_ref().map(|bottleneck| bottleneck.queue);
                self.rate = Some(Bottleneck { rate, queue: queue.unwrap_or_default() });
            }
            "delay" => self.delay = Delay::parse(text, read)?,
            "reorder" => self.reorder = text.parse()?,
            "at" => self.timetable.push(Change::parse(text, read)?),
            _ => {
                let words = Self::WORDS.join(", ");
                let error = format!("expected one of {words}, got {word:?}");
                return Err(PlanError::Together(error));
            }
        }
        Ok(())
    }

    /// The words and texts that make this plan from the default one.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let mut settings = Vec::new();
        let mut add = |word, differs: bool, text: &dyn fmt::Display| {
            if differs {
                settings.push((word, text.to_string()));
            }
        };
        add("key", self.key != plain.key, &self.key);
        add("loss", self.loss != plain.loss, &self.loss);
        if let Some(most) = self.max_burst {
            add("max-burst", true, &most);
        }
        add("corrupt", self.corrupt != plain.corrupt, &self.corrupt);
        add("duplicate", self.duplicate != plain.duplicate, &human::share(self.duplicate));
        add("mark", self.mark != plain.mark, &human::share(self.mark));
        if let Some(mtu) = self.mtu {
            add("mtu", true, &mtu);
        }
        if let Some(Bottleneck { rate, queue }) = &self.rate {
            add("rate", true, rate);
            add("queue", *queue != Queue::default(), queue);
        }
        add("delay", self.delay != plain.delay, &self.delay);
        add("reorder", self.reorder != plain.reorder, &self.reorder);
        for change in &self.timetable {
            let line = change.to_string();
            add("at", true, &line.strip_prefix("at ").unwrap_or(&line));
        }
        settings
    }
}
