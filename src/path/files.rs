//! Parsers of the files that a plan may name: loss lists, measured delays, rate traces.
//!
//! Each is text, one value a line; empty lines and lines that begin with `#` are comments. Callers
//! open the files.

use super::plan_error::{PlanError, ReadFile};
use crate::measure::human;
use crate::wire::foreign::shape;
use std::sync::Arc;
use std::time::Duration;

/// Lines of a file at most. A recording of the most frames has 2^21, a trace of a day at 30 Mbit/s
/// 2^28, which is too large to read as text.
const LINES_MAX: usize = 1 << 22;

/// Values read from a file, and its name, so that a plan can be written as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromFile<T> {
    /// The file's name in the plan.
    pub name: Arc<str>,
    /// The values.
    pub values: Arc<[T]>,
}

impl<T> FromFile<T> {
    /// Wraps values under a name.
    #[must_use]
    pub fn new(name: &str, values: Vec<T>) -> Self {
        Self { name: name.into(), values: values.into() }
    }
}

/// The lines that hold values, with their numbers.
pub(super) struct Lines<'a> {
    name: &'a str,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, lines: text.lines().enumerate(), number: 1 }
    }

    /// The next line that holds a value, trimmed.
    pub(super) fn next_line(&mut self) -> Result<Option<&'a str>, PlanError> {
        for (before, line) in self.lines.by_ref() {
            self.number = before + 1;
            let line = line.trim();
            if before >= LINES_MAX {
                return Err(self.error("at most 4194304 lines", line));
            }
            if !line.is_empty() && !line.starts_with('#') {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// The error for a current line that holds something unexpected.
    pub(super) fn error(&self, expected: &'static str, got: &str) -> PlanError {
        PlanError::Line { file: self.name.to_owned(), line: self.number, expected, got: shape(got) }
    }
}

/// Reads a file of one value a line; `value` returns `None` for a line to skip, and what was
/// expected for one that is wrong.
fn values<T>(
    name: &str,
    read: ReadFile<'_>,
    mut value: impl FnMut(&str) -> Result<Option<T>, &'static str>,
) -> Result<Vec<T>, PlanError> {
    let text = read(name).map_err(|why| PlanError::File { file: name.to_owned(), why })?;
    let mut lines = Lines::new(name, &text);
    let mut values = Vec::new();
    while let Some(line) = lines.next_line()? {
        let value = value(line).map_err(|expected| lines.error(expected, line))?;
        values.extend(value);
    }
    if values.is_empty() {
        return Err(lines.error("at least one value", ""));
    }
    Ok(values)
}

/// Numbers of frames, ascending.
pub(super) fn frame_numbers(name: &str, read: ReadFile<'_>) -> Result<FromFile<u64>, PlanError> {
    let mut before = None;
    let values = values(name, read, |line| {
        let number = digits(line).ok_or("the number of a frame, from 0")?;
        if before.replace(number).is_some_and(|before| before >= number) {
            return Err("a number above the one before");
        }
        Ok(Some(number))
    })?;
    Ok(FromFile::new(name, values))
}

/// A mahimahi trace.
pub(super) fn opportunities(name: &str, read: ReadFile<'_>) -> Result<FromFile<u32>, PlanError> {
    let mut before = 0;
    let values = values(name, read, |line| {
        let ms = digits(line).and_then(|ms| u32::try_from(ms).ok());
        let ms = ms.ok_or("whole milliseconds since the trace's start")?;
        if ms < before {
            return Err("a time not before the one above");
        }
        before = ms;
        Ok(Some(ms))
    })?;
    if before == 0 {
        let why = "the last line is 0, so that the trace has no length".to_owned();
        return Err(PlanError::File { file: name.to_owned(), why });
    }
    Ok(FromFile::new(name, values))
}

/// One-way delays.
pub(super) fn delays(name: &str, read: ReadFile<'_>) -> Result<FromFile<Duration>, PlanError> {
    let one =
        |line: &str| human::parse_duration(line).map(Some).map_err(|_| "a delay such as 40ms");
    let mut values = values(name, read, one)?;
    values.sort_unstable();
    Ok(FromFile::new(name, values))
}

/// Round trips, halved: durations, or what `ping` prints.
///
/// If the first line begins with `PING`, lines without `time=` are other output of `ping`.
pub(super) fn round_trips(name: &str, read: ReadFile<'_>) -> Result<FromFile<Duration>, PlanError> {
    let mut ping = None;
    let mut values = values(name, read, |line| {
        let ping = *ping.get_or_insert_with(|| line.starts_with("PING "));
        let time = match line.split_once(" time=") {
            Some((_, time)) => time,
            None if ping => return Ok(None),
            None => line,
        };
        let round_trip = human::parse_duration(time)
            .map_err(|_| "a round trip such as 40ms, or a line of ping with time=40 ms")?;
        Ok(Some(round_trip / 2))
    })?;
    values.sort_unstable();
    Ok(FromFile::new(name, values))
}

fn digits(line: &str) -> Option<u64> {
    line.bytes().all(|byte| byte.is_ascii_digit()).then(|| line.parse().ok()).flatten()
}
