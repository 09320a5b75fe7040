//! Encodes messages to frames and decodes them.
//! Versions interoperate: a block may be longer than the reader knows (the rest is skipped) or
//! shorter (missing fields read as zero).

use super::frame::{
    ADDRESS_MAX, FIELD_HEADER_LEN, Frame, FrameError, HEADER_LEN, Header, Kind, MAX_DATAGRAM,
    REFUSAL_LEN, STATUS_INDEFINITE, TAG_ENTRIES, TAG_TEXT, begin, begin_field, field, finish,
    pad_to,
};
use super::message::{AccountId, Amount, Cents, EntryView, Operation, Refusal, Reply, Request};
use super::violation::Violation;
use crate::wire::{DecodeError, Fault};
use bytes::{BufMut, BytesMut};
use serde::Serialize;

/// Bytes of one entry of a page, as this version writes it.
pub const ENTRY_LEN: usize = 32;

/// Bytes of a page without entries.
pub const PAGE_LEN: usize = HEADER_LEN + 16 + FIELD_HEADER_LEN;

/// Bytes of a WELCOME; a HELLO is padded to the same length, so that it may be answered.
pub const WELCOME_LEN: usize = HEADER_LEN + 24;

/// Maximum entries of a page: what fits a frame of 64 KiB.
pub const PAGE_ENTRIES_MAX: usize = (super::frame::MAX_FRAME - PAGE_LEN) / ENTRY_LEN;

/// The client's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// Oldest version the client speaks.
    pub min_version: u8,
    /// Newest version the client speaks.
    pub max_version: u8,
    /// Largest frame the client accepts, in bytes.
    pub max_frame: u32,
    /// Identifies the client: the same nonce gets the same lease.
    pub nonce: u64,
    /// Features the client supports; none are defined in version 1.
    pub features: u64,
}

/// The server's reply to a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// The negotiated version.
    pub version: u8,
    /// Duplicate detection: 0 off; 1 outcomes until the server ends; 2 also after a restart.
    pub dedup: u8,
    /// Maximum unacknowledged operations.
    pub window: u16,
    /// Largest frame the server accepts, in bytes.
    pub max_frame: u32,
    /// Lease time without traffic from the client, in milliseconds.
    pub lease_ms: u32,
    /// Changes when the server has forgotten leases and outcomes; 0 if it never does.
    pub epoch: u32,
    /// Features of the HELLO that the server will use.
    pub features: u64,
}

/// The body of a RESPONSE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Applied; the reply.
    Done(Reply),
    /// Definitely not applied.
    Refused(Refusal),
    /// The server does not know the outcome; the indefinite bit is set in the status.
    Indefinite {
        /// The status, as sent.
        status: u16,
    },
}

/// Status of a RESPONSE after a storage failure during commit.
pub const STATUS_STORAGE_FAILED: u16 = STATUS_INDEFINITE | 1;

/// The datagram size that the largest reply to a request needs.
#[inline]
pub fn reply_room(request: &Request) -> usize {
    let least = least_reply(request.operation());
    match request {
        Request::Transactions { limit: 0, .. } => MAX_DATAGRAM,
        Request::Transactions { limit, .. } => {
            (least + ENTRY_LEN * usize::from(*limit)).min(MAX_DATAGRAM)
        }
        Request::Address { .. } => least + ADDRESS_MAX,
        _ => least,
    }
}

/// Bytes of the shortest reply: lists and texts are empty.
const fn least_reply(operation: Operation) -> usize {
    match operation {
        Operation::Balance | Operation::Deposit | Operation::Transfer => HEADER_LEN + 16,
        Operation::Statement => HEADER_LEN + 48,
        Operation::Transactions => PAGE_LEN,
        Operation::Address => HEADER_LEN + 8 + FIELD_HEADER_LEN,
    }
}

/// Bytes of one request and its reply (the useful bytes of an exchange), without padding, lower
/// headers, or the content of lists and texts.
pub fn useful_bytes(operation: Operation) -> u64 {
    let account = AccountId(1);
    let amount = Amount::new(1).expect("1 is an amount");
    let request = operation.request(account, account, amount);
    let mut bytes = BytesMut::new();
    encode_request(&mut bytes, &Header::of(Kind::Request), &request, 0);
    (bytes.len() + least_reply(operation)) as u64
}

/// A block being read: fields beyond its end read as zero.
#[derive(Clone, Copy)]
struct Block<'a> {
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// # Errors
    /// If the block is shorter than the fields that every version has.
    #[inline]
    fn new(frame: &Frame<'a>, required: usize) -> Result<Self, DecodeError> {
        let bytes = frame.block();
        if bytes.len() < required {
            let fault =
                Fault::Short { needed: required, had: bytes.len(), claimed_by: "the block" };
            return Err(DecodeError { layer: "bank block", offset: bytes.len(), fault });
        }
        Ok(Self { bytes })
    }

    #[inline]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let found = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
        found.copied().unwrap_or([0; N])
    }

    #[inline]
    fn u8(self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    #[inline]
    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    #[inline]
    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    #[inline]
    fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    #[inline]
    fn cents(self, at: usize) -> Cents {
        Cents(i64::from_le_bytes(self.array(at)))
    }

    #[inline]
    fn account(self, at: usize) -> AccountId {
        AccountId(self.u64(at))
    }

    #[inline]
    fn amount(self, at: usize) -> Result<Amount, DecodeError> {
        let got = self.u64(at);
        Amount::new(got).ok_or_else(|| value(at, "an amount from 1 to 2^63 - 1 cents", got))
    }
}

const fn value(offset: usize, expected: &'static str, got: u64) -> DecodeError {
    DecodeError { layer: "bank block", offset, fault: Fault::Value { expected, got } }
}

/// Writes a HELLO; `lease` is the one to resume, 0 for none.
pub fn encode_hello(out: &mut BytesMut, lease: u64, hello: &Hello) {
    let header = Header { client: lease, ..Header::of(Kind::Hello) };
    let versions = u64::from(hello.min_version) | u64::from(hello.max_version) << 8;
    let first = versions | u64::from(hello.max_frame) << 32;
    let start = begin(out, &header, [first, hello.nonce, hello.features]);
    finish(out, start);
}

/// Reads a HELLO.
/// Fails if the block is short, the versions are out of order, or the frame limit is too small.
pub fn decode_hello(frame: &Frame<'_>) -> Result<Hello, DecodeError> {
    let block = Block::new(frame, 16)?;
    let (min_version, max_version) = (block.u8(0), block.u8(1));
    if min_version > max_version {
        return Err(value(1, "max_version at least min_version", max_version.into()));
    }
    let max_frame = block.u32(4);
    if (max_frame as usize) < super::frame::MIN_MAX_FRAME {
        return Err(value(4, "max_frame of at least 1024", max_frame.into()));
    }
    let (nonce, features) = (block.u64(8), block.u64(16));
    Ok(Hello { min_version, max_version, max_frame, nonce, features })
}

/// Writes a WELCOME that grants `lease`.
pub fn encode_welcome(out: &mut BytesMut, lease: u64, welcome: &Welcome) {
    let header = Header { client: lease, ..Header::of(Kind::Welcome) };
    let &Welcome { version, dedup, window, max_frame, lease_ms, epoch, features } = welcome;
    let first = u64::from(version) | u64::from(dedup) << 8 | u64::from(window) << 16;
    let first = first | u64::from(max_frame) << 32;
    let second = u64::from(lease_ms) | u64::from(epoch) << 32;
    let start = begin(out, &header, [first, second, features]);
    finish(out, start);
}

/// Reads a WELCOME: a grant or a refusal.
/// Fails if the block is short, the lease is 0, or the status is of the indefinite class.
pub fn decode_welcome(frame: &Frame<'_>) -> Result<Result<Welcome, Refusal>, DecodeError> {
    let header = frame.header();
    if header.status & STATUS_INDEFINITE != 0 {
        return Err(value(0, "a status of the definite class", header.status.into()));
    }
    if header.status != 0 {
        return Ok(Err(decode_refusal(header.status, Block::new(frame, 0)?)));
    }
    let block = Block::new(frame, 12)?;
    if header.client == 0 {
        return Err(value(0, "a lease other than 0", 0));
    }
    Ok(Ok(Welcome {
        version: block.u8(0),
        dedup: block.u8(1),
        window: block.u16(2),
        max_frame: block.u32(4),
        lease_ms: block.u32(8),
        epoch: block.u32(12),
        features: block.u64(16),
    }))
}

/// Writes a REQUEST of at least `pad` bytes.
#[inline]
pub fn encode_request(out: &mut BytesMut, header: &Header, request: &Request, pad: usize) {
    let start = match *request {
        Request::Balance { account } | Request::Address { account } => {
            begin(out, header, [account.0])
        }
        Request::Deposit { account, amount } => begin(out, header, [account.0, amount.word()]),
        Request::Transfer { from, to, amount } => begin(out, header, [from.0, to.0, amount.word()]),
        Request::Statement { account, from_entry } => begin(out, header, [account.0, from_entry]),
        Request::Transactions { account, from_entry, limit } => {
            begin(out, header, [account.0, from_entry, limit.into()])
        }
    };
    pad_to(out, start, pad);
    finish(out, start);
}

/// Reads the body of a REQUEST.
/// Fails with the refusal to reply with: the operation or a critical field is unknown, or a value
/// is out of range.
#[inline]
pub fn decode_request(frame: &Frame<'_>) -> Result<Request, Refusal> {
    let operation = Operation::from_byte(frame.header().op).ok_or(Refusal::UnsupportedOperation)?;
    if let Some(tag) = frame.unknown_critical() {
        return Err(Refusal::UnsupportedField { tag });
    }
    read_request(frame, operation).map_err(|_| Refusal::Malformed)
}

#[inline]
fn read_request(frame: &Frame<'_>, operation: Operation) -> Result<Request, DecodeError> {
    Ok(match operation {
        Operation::Balance => Request::Balance { account: Block::new(frame, 8)?.account(0) },
        Operation::Address => Request::Address { account: Block::new(frame, 8)?.account(0) },
        Operation::Deposit => {
            let block = Block::new(frame, 16)?;
            Request::Deposit { account: block.account(0), amount: block.amount(8)? }
        }
        Operation::Transfer => {
            let block = Block::new(frame, 24)?;
            let (from, to) = (block.account(0), block.account(8));
            Request::Transfer { from, to, amount: block.amount(16)? }
        }
        Operation::Statement => {
            let block = Block::new(frame, 8)?;
            Request::Statement { account: block.account(0), from_entry: block.u64(8) }
        }
        Operation::Transactions => {
            let block = Block::new(frame, 8)?;
            let (account, from_entry) = (block.account(0), block.u64(8));
            Request::Transactions { account, from_entry, limit: block.u16(16) }
        }
    })
}

/// Writes a RESPONSE (or, for a refused HELLO, a WELCOME); `header.status` is set here.
pub fn encode_answer(out: &mut BytesMut, header: &Header, answer: &Answer) {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return encode_refusal(out, header, *refusal),
        Answer::Indefinite { status } => {
            let header = Header { status: status | STATUS_INDEFINITE, ..*header };
            let start = begin(out, &header, [0]);
            return finish(out, start);
        }
    };
    let header = Header { status: 0, op: reply.operation() as u8, ..*header };
    let start = match reply {
        Reply::Balance { balance, commit: number }
        | Reply::Deposited { balance, entry: number }
        | Reply::Transferred { balance, entry: number } => {
            begin(out, &header, [balance.word(), *number])
        }
        Reply::Statement { opening, credits, debits, closing, entries, commit } => {
            let [opening, credits, debits, closing] =
                [opening, credits, debits, closing].map(|sum| sum.word());
            begin(out, &header, [opening, credits, debits, closing, *entries, *commit])
        }
        Reply::Transactions { entries, next } => encode_page(out, &header, entries, *next),
        Reply::Address { text } => {
            let start = begin(out, &header, [0]);
            field(out, TAG_TEXT, text.as_bytes());
            start
        }
    };
    finish(out, start);
}

fn encode_page(
    out: &mut BytesMut,
    header: &Header,
    entries: &[EntryView],
    next: Option<u64>,
) -> usize {
    let entries = entries.get(..PAGE_ENTRIES_MAX).unwrap_or(entries);
    let shape = ENTRY_LEN as u64 | (entries.len() as u64) << 16;
    let start = begin(out, header, [next.unwrap_or(0), shape]);
    out.reserve(FIELD_HEADER_LEN + entries.len() * ENTRY_LEN);
    begin_field(out, TAG_ENTRIES, entries.len() * ENTRY_LEN);
    for entry in entries {
        out.put_u64_le(entry.entry);
        out.put_i64_le(entry.change.0);
        out.put_i64_le(entry.balance.0);
        out.put_u64_le(entry.counterparty.map_or(0, |account| account.0));
    }
    start
}

/// Reads the body of a RESPONSE.
/// Fails if a reply's block, fields or values are out of range. A refusal can always be read.
pub fn decode_answer(frame: &Frame<'_>) -> Result<Answer, DecodeError> {
    let header = frame.header();
    if header.status & STATUS_INDEFINITE != 0 {
        return Ok(Answer::Indefinite { status: header.status });
    }
    if header.status != 0 {
        return Ok(Answer::Refused(decode_refusal(header.status, Block::new(frame, 0)?)));
    }
    if let Some(tag) = frame.unknown_critical() {
        return Err(value(0, "no unknown critical field", tag.into()));
    }
    let operation = Operation::from_byte(header.op)
        .ok_or_else(|| value(0, "an operation from 1 to 6", header.op.into()))?;
    Ok(Answer::Done(match operation {
        Operation::Balance => {
            let block = Block::new(frame, 8)?;
            Reply::Balance { balance: block.cents(0), commit: block.u64(8) }
        }
        Operation::Deposit => {
            let block = Block::new(frame, 16)?;
            Reply::Deposited { balance: block.cents(0), entry: block.u64(8) }
        }
        Operation::Transfer => {
            let block = Block::new(frame, 16)?;
            Reply::Transferred { balance: block.cents(0), entry: block.u64(8) }
        }
        Operation::Statement => {
            let block = Block::new(frame, 40)?;
            Reply::Statement {
                opening: block.cents(0),
                credits: block.cents(8),
                debits: block.cents(16),
                closing: block.cents(24),
                entries: block.u64(32),
                commit: block.u64(40),
            }
        }
        Operation::Transactions => decode_page(frame)?,
        Operation::Address => {
            let bytes = frame.field(TAG_TEXT).unwrap_or_default();
            let text = std::str::from_utf8(bytes)
                .ok()
                .filter(|text| text.len() <= ADDRESS_MAX)
                .ok_or_else(|| value(0, "at most 255 bytes of UTF-8", bytes.len() as u64))?;
            Reply::Address { text: text.to_owned() }
        }
    }))
}

fn decode_page(frame: &Frame<'_>) -> Result<Reply, DecodeError> {
    let block = Block::new(frame, 12)?;
    let next = Some(block.u64(0)).filter(|next| *next != 0);
    let (entry_len, count) = (usize::from(block.u16(8)), usize::from(block.u16(10)));
    let bytes = frame.field(TAG_ENTRIES).unwrap_or_default();
    // As with blocks: entries may grow, and an old reader skips the rest.
    if entry_len < ENTRY_LEN {
        return Err(value(8, "entries of at least 32 bytes", entry_len as u64));
    }
    if bytes.len() != entry_len * count {
        return Err(value(10, "a count that matches the ENTRIES field", count as u64));
    }
    let entries = bytes
        .chunks_exact(entry_len)
        .map(|bytes| {
            let entry = Block { bytes };
            EntryView {
                entry: entry.u64(0),
                change: entry.cents(8),
                balance: entry.cents(16),
                counterparty: Some(entry.account(24)).filter(|account| account.0 != 0),
            }
        })
        .collect();
    Ok(Reply::Transactions { entries, next })
}

/// Status and detail of a refusal.
pub fn status_of(refusal: Refusal) -> (u16, u64) {
    let detail = match refusal {
        Refusal::UnsupportedVersion { min, max } => u64::from(min) | u64::from(max) << 8,
        Refusal::UnsupportedField { tag } => tag.into(),
        Refusal::ReplyTooLarge { needed } => needed.into(),
        _ => 0,
    };
    (refusal.status() & !STATUS_INDEFINITE, detail)
}

fn decode_refusal(status: u16, block: Block<'_>) -> Refusal {
    match Refusal::of_status(status) {
        Refusal::UnsupportedVersion { .. } => {
            Refusal::UnsupportedVersion { min: block.u8(0), max: block.u8(1) }
        }
        Refusal::UnsupportedField { .. } => Refusal::UnsupportedField { tag: block.u16(0) },
        Refusal::ReplyTooLarge { .. } => Refusal::ReplyTooLarge { needed: block.u32(0) },
        other => other,
    }
}

fn encode_refusal(out: &mut BytesMut, header: &Header, refusal: Refusal) {
    const { assert!(REFUSAL_LEN == HEADER_LEN + 8, "a refusal is a header and its detail") };
    let (status, detail) = status_of(refusal);
    let header = Header { status, ..*header };
    let start = begin(out, &header, [detail]);
    finish(out, start);
}

/// Writes a GOAWAY: the server takes no request above `last_seq`.
pub fn encode_goaway(out: &mut BytesMut, last_seq: u64) {
    let start = begin(out, &Header { seq: last_seq, ..Header::of(Kind::GoAway) }, []);
    finish(out, start);
}

/// Any message of the protocol, owned; used by fuzzing, test vectors and dumps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
}

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A client's first message.
    Hello(Hello),
    /// The reply to a HELLO.
    Welcome(Result<Welcome, Refusal>),
    /// A request, or the refusal to reply with.
    Request(Result<Request, Refusal>),
    /// A reply.
    Response(Answer),
    /// The server is about to close the stream.
    GoAway,
}

impl Message {
    /// Reads a whole frame.
    /// Fails if the frame or its body cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Frame::parse(bytes)?;
        let field = |e| FrameError::Garbage(Violation::Field, e);
        let body = match frame.header().kind {
            Kind::Hello => Body::Hello(decode_hello(&frame).map_err(field)?),
            Kind::Welcome => Body::Welcome(decode_welcome(&frame).map_err(field)?),
            Kind::Request => Body::Request(decode_request(&frame)),
            Kind::Response => Body::Response(decode_answer(&frame).map_err(field)?),
            Kind::GoAway => Body::GoAway,
        };
        Ok(Self { header: *frame.header(), body })
    }

    /// Encodes the message; false for a request that could not be decoded.
    pub fn encode(&self, out: &mut BytesMut) -> bool {
        match &self.body {
            Body::Hello(hello) => encode_hello(out, self.header.client, hello),
            Body::Welcome(Ok(welcome)) => encode_welcome(out, self.header.client, welcome),
            Body::Welcome(Err(refusal)) => encode_refusal(out, &self.header, *refusal),
            Body::Request(Ok(request)) => encode_request(out, &self.header, request, 0),
            Body::Request(Err(_)) => return false,
            Body::Response(answer) => encode_answer(out, &self.header, answer),
            Body::GoAway => encode_goaway(out, self.header.seq),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest reply to each operation, as encoded.
    fn shortest(operation: Operation) -> Reply {
        let (balance, zero) = (Cents::ZERO, Cents::ZERO);
        match operation {
            Operation::Balance => Reply::Balance { balance, commit: 0 },
            Operation::Deposit => Reply::Deposited { balance, entry: 0 },
            Operation::Transfer => Reply::Transferred { balance, entry: 0 },
            Operation::Statement => Reply::Statement {
                opening: zero,
                credits: zero,
                debits: zero,
                closing: zero,
                entries: 0,
                commit: 0,
            },
            Operation::Transactions => Reply::Transactions { entries: Vec::new(), next: None },
            Operation::Address => Reply::Address { text: String::new() },
        }
    }

    #[test]
    fn least_reply_is_the_encoded_length() {
        for operation in Operation::ALL {
            let mut bytes = BytesMut::new();
            let header = Header::of(Kind::Response);
            encode_answer(&mut bytes, &header, &Answer::Done(shortest(operation)));
            assert_eq!(bytes.len(), least_reply(operation), "{}", operation.name());
        }
    }
}
