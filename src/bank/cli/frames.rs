//! Explains frames byte by byte for `call -v`: offset, field, value, meaning.

use crate::bank::driver::call::Way;
use crate::bank::frame::{
    FIELD_HEADER_LEN, Frame, FrameError, HEADER_LEN, Kind, MAX_FRAME, TAG_ENTRIES, TAG_PAD,
    TAG_TEXT, frame_len,
};
use crate::bank::message::{Cents, Operation, Refusal};
use crate::measure::human;
use crate::wire::hex;
use std::fmt::Write as _;

/// How a value is shown.
#[derive(Clone, Copy)]
enum Show {
    Number,
    Hex,
    Money,
    Magic,
    Kind,
    Operation,
    Flags,
    Status,
    Dedup,
}

/// A field at a fixed place: bytes, name, format, meaning.
type Field = (usize, &'static str, Show, &'static str);

const HEADER: &[Field] = &[
    (4, "len", Show::Number, "bytes after this field"),
    (4, "crc32c", Show::Hex, "checksum of all other bytes"),
    (2, "magic", Show::Magic, "this protocol"),
    (1, "version", Show::Number, ""),
    (1, "kind", Show::Kind, ""),
    (1, "op", Show::Operation, ""),
    (1, "flags", Show::Flags, ""),
    (2, "status", Show::Status, ""),
    (8, "client", Show::Hex, "lease of the client; 0 for none"),
    (8, "seq", Show::Number, "number of the operation, from 1"),
    (8, "ack_upto", Show::Number, "operations up to this one are answered"),
    (4, "deadline_us", Show::Number, "µs left when sent; 0 for no deadline"),
    (2, "attempt", Show::Number, "a response echoes it"),
    (2, "block_len", Show::Number, "bytes of the block that follows"),
];

const HELLO: &[Field] = &[
    (1, "min_version", Show::Number, "oldest version of the client"),
    (1, "max_version", Show::Number, "newest version of the client"),
    (2, "reserved", Show::Number, ""),
    (4, "max_frame", Show::Number, "largest frame the client accepts"),
    (8, "nonce", Show::Hex, "names the client until it has a lease"),
    (8, "features", Show::Hex, "none are defined"),
];

const WELCOME: &[Field] = &[
    (1, "version", Show::Number, "version that both speak"),
    (1, "dedup", Show::Dedup, ""),
    (2, "window", Show::Number, "operations that may be unacknowledged"),
    (4, "max_frame", Show::Number, "largest frame the server accepts"),
    (4, "lease_ms", Show::Number, "ms of silence until the lease ends"),
    (4, "epoch", Show::Hex, "changes when the server has forgotten outcomes"),
    (8, "features", Show::Hex, "none are defined"),
];

const ACCOUNT: Field = (8, "account", Show::Number, "");
const AMOUNT: Field = (8, "amount", Show::Money, "in cents");
const FROM_ENTRY: Field = (8, "from_entry", Show::Number, "first ledger entry; 0 for all");
const BALANCE: Field = (8, "balance", Show::Money, "in cents, after the operation");
const COMMIT: Field = (8, "commit", Show::Number, "committed transactions when read");
const ENTRY: Field = (8, "entry", Show::Number, "number of the ledger entry");
const DETAIL: &[Field] = &[(8, "detail", Show::Hex, "of the refusal")];
const PAGE_ENTRY: &[Field] = &[
    ENTRY,
    (8, "change", Show::Money, "in cents; negative for a debit"),
    (8, "balance", Show::Money, "in cents, after the entry"),
    (8, "counterparty", Show::Number, "other account of a transfer; 0 for none"),
];

/// The fields of a block.
fn block(kind: Kind, op: u8, status: u16) -> &'static [Field] {
    let operation = Operation::from_byte(op);
    match (kind, operation) {
        (Kind::Hello, _) => HELLO,
        (Kind::Welcome | Kind::Response, _) if status != 0 => DETAIL,
        (Kind::Welcome, _) => WELCOME,
        (Kind::GoAway, _) | (_, None) => &[],
        (Kind::Request, Some(operation)) => match operation {
            Operation::Balance | Operation::Address => &[ACCOUNT],
            Operation::Deposit => &[ACCOUNT, AMOUNT],
            Operation::Transfer => &[
                (8, "from", Show::Number, "account that pays"),
                (8, "to", Show::Number, "account that is paid"),
                AMOUNT,
            ],
            Operation::Statement => &[ACCOUNT, FROM_ENTRY],
            Operation::Transactions => &[
                ACCOUNT,
                FROM_ENTRY,
                (2, "limit", Show::Number, "entries at most; 0 for as many as fit"),
                (6, "reserved", Show::Hex, ""),
            ],
        },
        (Kind::Response, Some(operation)) => match operation {
            Operation::Balance => &[BALANCE, COMMIT],
            Operation::Deposit | Operation::Transfer => &[BALANCE, ENTRY],
            Operation::Statement => &[
                (8, "opening", Show::Money, "in cents, before the first entry"),
                (8, "credits", Show::Money, "in cents"),
                (8, "debits", Show::Money, "in cents"),
                (8, "closing", Show::Money, "in cents"),
                (8, "entries", Show::Number, "entries summed"),
                COMMIT,
            ],
            Operation::Transactions => &[
                (8, "next", Show::Number, "first entry of the next page; 0 for none"),
                (2, "entry_len", Show::Number, "bytes of an entry"),
                (2, "count", Show::Number, "entries of this page"),
                (4, "reserved", Show::Number, ""),
            ],
            Operation::Address => &[(8, "reserved", Show::Number, "")],
        },
    }
}

/// The frames in these bytes, each as a table.
pub(super) fn explain(way: Way, bytes: &[u8]) -> String {
    let arrow = if way == Way::Sent { "-->" } else { "<--" };
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let whole = match frame_len(rest, MAX_FRAME) {
            Ok(Some(len)) if len <= rest.len() => len,
            // Bytes that are not a frame are shown too.
            _ => rest.len(),
        };
        let (frame, after) = rest.split_at(whole);
        let length = human::plural(frame.len() as u64, "byte", "bytes");
        let table = match Frame::parse(frame) {
            Ok(parsed) => table(&parsed, frame),
            Err(FrameError::Version(foreign)) => {
                format!("version {}\n{}", foreign.version, hex::dump(frame))
            }
            Err(FrameError::Garbage(violation, error)) => {
                format!("no whole frame: {violation}\n{}", hex::explain(frame, &error))
            }
        };
        let _ = write!(out, "{arrow} {length}: {table}");
        rest = after;
    }
    out
}

fn table(parsed: &Frame<'_>, bytes: &[u8]) -> String {
    let header = parsed.header();
    let operation = Operation::from_byte(header.op).map_or("", Operation::name);
    let mut table = Table { out: String::new(), kind: header.kind, bytes, at: 0 };
    let title = format!("{} {operation}", name(header.kind));
    let _ = writeln!(table.out, "{}", title.trim_end());
    table.line("offset", "field", "value", "meaning");
    table.rows(HEADER, HEADER_LEN);
    table.rows(block(header.kind, header.op, header.status), HEADER_LEN + parsed.block().len());
    let entry_len = parsed.block().get(8..10).map_or(0, |bytes| usize::from(bytes[0]));
    for (tag, content) in parsed.fields() {
        table.field(tag, content, entry_len);
    }
    table.out
}

struct Table<'a> {
    out: String,
    kind: Kind,
    bytes: &'a [u8],
    /// Offset of the next byte.
    at: usize,
}

impl Table<'_> {
    /// Fields up to `end`; bytes beyond those known are shown as such.
    fn rows(&mut self, fields: &[Field], end: usize) {
        for (len, name, show, meaning) in fields {
            let len = (*len).min(end - self.at);
            if len > 0 {
                let word = word(&self.bytes[self.at..self.at + len]);
                let value = match show {
                    Show::Hex => format!("{word:#0width$x}", width = 2 + 2 * len),
                    Show::Magic => {
                        format!("{:?}", String::from_utf8_lossy(&word.to_le_bytes()[..len]))
                    }
                    Show::Money => word.cast_signed().to_string(),
                    _ => word.to_string(),
                };
                let decoded = decoded(*show, self.kind, word);
                let meaning = if decoded.is_empty() { *meaning } else { &decoded };
                self.row(len, name, &value, meaning);
            }
        }
        if self.at < end {
            self.row(end - self.at, "", "", "unknown to this version; skipped");
        }
    }

    fn field(&mut self, tag: u16, content: &[u8], entry_len: usize) {
        let (name, meaning) = match tag {
            TAG_ENTRIES => ("ENTRIES", "entries of the page"),
            TAG_PAD => ("PAD", "ignored: makes room for the reply"),
            TAG_TEXT => ("TEXT", "UTF-8"),
            _ => ("", "unknown to this version; skipped"),
        };
        self.row(2, "tag", &tag.to_string(), name);
        self.row(FIELD_HEADER_LEN - 2, "length", &content.len().to_string(), "bytes of the field");
        let end = self.at + content.len();
        while tag == TAG_ENTRIES && entry_len > 0 && self.at < end {
            self.rows(PAGE_ENTRY, end.min(self.at + entry_len));
        }
        if self.at < end {
            let text = if tag == TAG_TEXT { String::from_utf8_lossy(content) } else { "".into() };
            let shown = if text.is_empty() { String::new() } else { format!("{text:?}") };
            self.row(content.len(), "content", &shown, meaning);
        }
    }

    fn row(&mut self, len: usize, field: &str, value: &str, meaning: &str) {
        let (first, last) = (self.at, self.at + len - 1);
        let place = if len == 1 { first.to_string() } else { format!("{first}-{last}") };
        self.line(&place, field, value, meaning);
        self.at += len;
    }

    fn line(&mut self, place: &str, field: &str, value: &str, meaning: &str) {
        let line = format!("{place:>8}  {field:<12} {value:<18} {meaning}");
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Meaning of a value, where its field does not say.
fn decoded(show: Show, kind: Kind, word: u64) -> String {
    let [low, high, ..] = word.to_le_bytes();
    let text = match show {
        Show::Money => return Cents(word.cast_signed()).to_string(),
        Show::Kind => Kind::from_byte(low).map_or("", name),
        Show::Operation => Operation::from_byte(low).map_or("none", Operation::name),
        Show::Flags if kind != Kind::Request => "none are defined",
        Show::Flags if word & 1 == 1 => "no duplicate check",
        Show::Flags => "duplicate check",
        Show::Status if matches!(kind, Kind::Hello | Kind::Request | Kind::GoAway) => "unused",
        Show::Status if word == 0 => "done",
        Show::Status => Refusal::of_status(u16::from_le_bytes([low, high])).name(),
        Show::Dedup if word == 0 => "no duplicate check",
        Show::Dedup if word == 1 => "outcomes until the server ends",
        Show::Dedup => "outcomes survive a restart",
        Show::Number | Show::Hex | Show::Magic => "",
    };
    text.to_owned()
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => "HELLO",
        Kind::Welcome => "WELCOME",
        Kind::Request => "REQUEST",
        Kind::Response => "RESPONSE",
        Kind::GoAway => "GOAWAY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::codec::{Answer, Hello, encode_answer, encode_hello, encode_request};
    use crate::bank::frame::Header;
    use crate::bank::message::{AccountId, Amount, EntryView, Reply};
    use bytes::BytesMut;

    /// Each byte is in one row, and every field has a name.
    fn check(bytes: &[u8]) -> String {
        let text = explain(Way::Sent, bytes);
        let mut next = 0;
        for line in text.lines().skip(2) {
            let place = line.split_whitespace().next().unwrap();
            let (first, last) = place.split_once('-').unwrap_or((place, place));
            assert_eq!(first.parse(), Ok(next), "{text}");
            next = last.parse::<usize>().unwrap() + 1;
        }
        assert_eq!(next, bytes.len(), "{text}");
        assert!(!text.contains("unknown") && !text.contains("{ "), "{text}");
        text
    }

    #[test]
    fn every_byte_of_every_message_is_explained() {
        let mut bytes = BytesMut::new();
        let hello =
            Hello { min_version: 1, max_version: 1, max_frame: 1_200, nonce: 7, features: 0 };
        encode_hello(&mut bytes, 0, &hello);
        assert!(check(&bytes).contains("52-55  max_frame    1200"));
        let (from, to, amount) = (AccountId(1), AccountId(2), Amount::new(1_234).unwrap());
        for operation in Operation::ALL {
            bytes.clear();
            let header = Header { op: operation as u8, seq: 1, ..Header::of(Kind::Request) };
            encode_request(&mut bytes, &header, &operation.request(from, to, amount), 200);
            assert!(check(&bytes).contains(operation.name()));
        }
        let entry =
            EntryView { entry: 1, change: Cents(-5), balance: Cents(7), counterparty: None };
        let reply = Reply::Transactions { entries: vec![entry; 2], next: Some(3) };
        let address = Reply::Address { text: "1 Loss Lane".to_owned() };
        let refusal = Answer::Refused(Refusal::Busy);
        for answer in [Answer::Done(reply), Answer::Done(address), refusal] {
            bytes.clear();
            encode_answer(&mut bytes, &Header::of(Kind::Response), &answer);
            check(&bytes);
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_dumped() {
        assert!(explain(Way::Received, b"HTTP/1.1 400").contains("|HTTP/1.1 400|"));
    }
}
