//! A list of names as it comes from a file or a pipe: lines to questions, one shard of several.

use super::text::{Question, printable};
use crate::limits::counted;
use hickory_proto::rr::Name;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use wirelab::measure::draw::keyed;

/// Bytes of a line: 255 octets of a name, each as `\DDD`, a type, and blanks.
pub const LINE_MAX: usize = 1_200;
/// Bytes of a line that an error shows.
const SHOWN: usize = 64;

/// Makes a question of a name and a type; what is wrong with which of them.
pub type ReadQuestion = dyn Fn(&str, Option<&str>) -> Result<Question, (Word, String)> + Send;

/// A word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The first.
    Name,
    /// The second.
    Kind,
}

/// A line that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Which, from 1.
    pub line: u64,
    /// Where in it, in bytes from 1.
    pub column: usize,
    /// The expected form and the text found.
    pub why: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.why)
    }
}

/// A line of the list: its number from 1 and what it asks.
pub type Line = Result<(u64, Question), BadLine>;

/// One of several equal parts of a list, the same for every order of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    part: u64,
    of: u64,
}

impl Shard {
    /// The whole list.
    pub const ALL: Self = Self { part: 1, of: 1 };

    /// Whether the name is of this part, whatever its capitals.
    #[must_use]
    pub fn holds(&self, name: &Name) -> bool {
        if self.of == 1 {
            return true;
        }
        let mut hash = counted(name.iter().len());
        for label in name.iter() {
            for byte in label {
                hash = keyed(hash, u64::from(byte.to_ascii_lowercase()));
            }
            hash = keyed(hash, u64::from(b'.'));
        }
        hash % self.of == self.part - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected I/N with 1 <= I <= N, as in 1/4, got {text:?}");
        let (part, of) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let (part, of) = number(part).zip(number(of)).ok_or_else(wrong)?;
        if part <= of { Ok(Self { part, of }) } else { Err(wrong()) }
    }
}

/// Reads a list piece by piece.
pub struct Lines {
    read: Box<ReadQuestion>,
    shard: Shard,
    number: u64,
    partial: Vec<u8>,
    /// Bytes of the line that were thrown away.
    cut: bool,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lines {
    /// Nothing read yet.
    #[must_use]
    pub fn new(read: Box<ReadQuestion>, shard: Shard) -> Self {
        Self { read, shard, number: 0, partial: Vec::new(), cut: false }
    }

    /// More of the list; what its whole lines ask is added to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Line>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.part(&bytes[..end]);
            self.line(out);
            bytes = &bytes[end + 1..];
        }
        self.part(bytes);
    }

    /// The list has ended; its last line may have no end of its own.
    pub fn end(&mut self, out: &mut Vec<Line>) {
        if !self.partial.is_empty() {
            self.line(out);
        }
    }

    fn part(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, out: &mut Vec<Line>) {
        self.number += 1;
        let bytes = std::mem::take(&mut self.partial);
        let cut = std::mem::take(&mut self.cut);
        let line = self.number;
        let bad = |column: usize, why: String| Err(BadLine { line, column, why });
        let asked = if cut {
            bad(LINE_MAX + 1, format!("expected at most {LINE_MAX} bytes, got {}", shown(&bytes)))
        } else {
            match std::str::from_utf8(&bytes) {
                Ok(text) => match self.words(text) {
                    None => return,
                    Some(Ok(question)) => Ok((line, question)),
                    Some(Err((column, why))) => bad(column, why),
                },
                Err(error) => {
                    let at = error.valid_up_to();
                    bad(at + 1, format!("expected UTF-8, got {}", shown(&bytes[at..])))
                }
            }
        };
        let ours = match &asked {
            Ok((_, question)) => self.shard.holds(&question.name),
            // What cannot be read is reported once.
            Err(_) => self.shard.part == 1,
        };
        if ours {
            out.push(asked);
        }
        // The line's memory serves the next one.
        self.partial = bytes;
        self.partial.clear();
    }

    /// The question of a line; `None` if empty or a comment. Errors: the place and the fault.
    fn words(&self, text: &str) -> Option<Result<Question, (usize, String)>> {
        let column = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize + 1;
        let mut words = text.split_ascii_whitespace();
        let name = words.next().filter(|word| !word.starts_with('#'))?;
        let kind = words.next().filter(|word| !word.starts_with('#'));
        if let Some(more) = kind.and_then(|_| words.next()).filter(|word| !word.starts_with('#')) {
            let why = format!("expected NAME [TYPE], got {} too", shown(more.as_bytes()));
            return Some(Err((column(more), why)));
        }
        Some((self.read)(name, kind).map_err(|(word, why)| match word {
            Word::Name => (column(name), why),
            Word::Kind => (column(kind.unwrap_or(name)), why),
        }))
    }
}

/// The beginning of some bytes as text that is safe to print.
fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SHOWN)];
    let dots = if bytes.len() > SHOWN { "..." } else { "" };
    format!("\"{}{dots}\"", printable(&String::from_utf8_lossy(start)))
}
