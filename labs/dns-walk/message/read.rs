//! The parts of a message, as far as they can be read.

use crate::limits::counted;
use std::ops::Range;
use wirelab::wire::{DecodeError, Fault};

/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// Bytes of a name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

/// The first twelve bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// Questions, answers, authorities, additionals, as the header claims them.
    pub(super) counts: [u16; 4],
}

/// A name, a type and a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
}

/// A record; its data lie in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) head: Head,
    pub(super) ttl: u32,
    pub(super) data: Range<usize>,
}

/// The readable part of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) header: Option<Header>,
    pub(super) questions: Vec<Head>,
    /// Answers, authorities, additionals.
    pub(super) sections: [Vec<Row>; 3],
    /// Why it was not read to its end.
    pub(super) broken: Option<DecodeError>,
}

impl Parts {
    /// Reads as far as it goes, and no more records than `most`.
    pub(super) fn of(message: &[u8], most: usize) -> Self {
        let mut parts = Self::default();
        parts.broken = parts.fill(message, most).err();
        parts
    }

    /// Records that were read.
    pub(super) fn records(&self) -> usize {
        self.sections.iter().map(Vec::len).sum()
    }

    fn fill(&mut self, message: &[u8], most: usize) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(message, 0..message.len());
        let head = cursor.take(HEADER, "the header")?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let counts = [word(4), word(6), word(8), word(10)];
        self.header = Some(Header { id: word(0), flags: word(2), counts });
        for _ in 0..counts[0] {
            if self.questions.len() == most {
                return Ok(());
            }
            let question = cursor.head()?;
            self.questions.push(question);
        }
        let mut left = most;
        for (section, count) in self.sections.iter_mut().zip(&counts[1..]) {
            for _ in 0..*count {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                section.push(cursor.row()?);
            }
        }
        match cursor.rest() {
            [] => Ok(()),
            more => Err(cursor.fault(Fault::Trailing {
                extra: more.len(),
                claimed_by: "the counts of the header",
            })),
        }
    }
}

/// Reads a part of a message; names may point to earlier bytes.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor over `part` of `message`, which holds it.
    pub(super) const fn new(message: &'a [u8], part: Range<usize>) -> Self {
        Self { message, at: part.start, end: part.end }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.message.get(self.at..self.end).unwrap_or_default()
    }

    const fn fault(&self, fault: Fault) -> DecodeError {
        DecodeError { layer: "DNS message", offset: self.at, fault }
    }

    pub(super) fn take(
        &mut self,
        needed: usize,
        claimed_by: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..needed) else {
            let had = rest.len();
            return Err(self.fault(Fault::Short { needed, had, claimed_by }));
        };
        self.at += needed;
        Ok(taken)
    }

    /// A number of one, two or four bytes.
    pub(super) fn number(&mut self, bytes: usize, field: &'static str) -> Result<u32, DecodeError> {
        let taken = self.take(bytes, field)?;
        Ok(taken.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let taken = self.take(2, field)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn head(&mut self) -> Result<Head, DecodeError> {
        let name = name_text(&self.name()?);
        Ok(Head { name, kind: self.u16("a type")?, class: self.u16("a class")? })
    }

    fn row(&mut self) -> Result<Row, DecodeError> {
        let head = self.head()?;
        let ttl = self.number(4, "a TTL")?;
        let length = usize::from(self.u16("RDLENGTH")?);
        self.take(length, "RDLENGTH")?;
        Ok(Row { head, ttl, data: self.at - length..self.at })
    }

    /// A name as bytes without pointers (RFC 1035 §4.1.4): each points before the last one, so
    /// there is an end to them.
    pub(super) fn name(&mut self) -> Result<Vec<u8>, DecodeError> {
        let mut name = Vec::new();
        let mut jump = self.clone();
        let mut before = self.at;
        let mut ended = None;
        loop {
            let length = jump.take(1, "a name")?[0];
            match length {
                0 => break,
                1..=63 => {
                    let label = jump.take(usize::from(length), "a label")?;
                    name.push(length);
                    name.extend_from_slice(label);
                    if name.len() >= NAME_MAX {
                        let (claimed, limit) = (name.len() + 1, NAME_MAX);
                        let fault = Fault::Long { claimed, limit, claimed_by: "a name" };
                        return Err(self.fault(fault));
                    }
                }
                192.. => {
                    let low = jump.take(1, "a pointer")?[0];
                    ended = ended.or(Some(jump.at));
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if to >= before {
                        let expected = "a pointer to an earlier byte";
                        let got = counted(to);
                        return Err(self.fault(Fault::Value { expected, got }));
                    }
                    (before, jump.at, jump.end) = (to, to, self.message.len());
                }
                _ => {
                    let expected = "the length of a label, or a pointer";
                    return Err(self.fault(Fault::Value { expected, got: u64::from(length) }));
                }
            }
        }
        self.at = ended.unwrap_or(jump.at);
        name.push(0);
        Ok(name)
    }
}

/// A name as a zone file has it (RFC 1035 §5.1), in the capitals of the message.
pub(super) fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let Some((length @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(*length).min(after.len()));
        label.iter().for_each(|byte| push_escaped(&mut text, *byte, br#".\"();@$"#));
        text.push('.');
        rest = after;
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// One byte of a name or of a text; those of `special` and what cannot be printed are escaped.
pub(super) fn push_escaped(text: &mut String, byte: u8, special: &[u8]) {
    let space = byte == b' ' && !special.contains(&b'.');
    if special.contains(&byte) {
        text.push('\\');
        text.push(char::from(byte));
    } else if byte.is_ascii_graphic() || space {
        text.push(char::from(byte));
    } else {
        text.push_str(&format!("\\{byte:03}"));
    }
}
