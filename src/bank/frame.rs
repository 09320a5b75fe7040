//! The frame: a 48-byte little-endian header, a fixed block, a tail of tagged fields, CRC32C.
//! Parsing does not allocate, and checks each length before use.
//!
//! ```text
//!  0 u32 len      4 u32 crc32c   8 "IG"  10 u8 version  11 u8 kind
//! 12 u8 op       13 u8 flags    14 u16 status
//! 16 u64 client  24 u64 seq     32 u64 ack_upto
//! 40 u32 deadline_us            44 u16 attempt  46 u16 block_len
//! 48 block[block_len]  then fields: u16 tag, u16 len, bytes
//! ```

use super::violation::Violation;
use crate::wire::{DecodeError, Fault, Reader};
use bytes::{BufMut, BytesMut};
use serde::Serialize;

/// The version this code speaks.
pub const VERSION: u8 = 1;

/// "IG" on the wire, as a little-endian u16.
pub const MAGIC: u16 = u16::from_le_bytes(*b"IG");

/// Bytes before the block.
pub const HEADER_LEN: usize = 48;

/// Bytes of a frame that `len` does not count: `len` itself.
pub const LEN_FIELD: usize = 4;

/// Maximum datagram: the IPv6 minimum MTU of 1280 less 40 (IPv6) and 8 (UDP), rounded down to the
/// size that QUIC uses (RFC 9000 §14.1), so that no path fragments it.
pub const MAX_DATAGRAM: usize = 1_200;

/// Maximum frame on a stream: 2,045 entries of a page, within the u16 field length.
pub const MAX_FRAME: usize = 64 * 1024;

/// Maximum first frame of a stream: a HELLO of 72 bytes with ample room for future fields; 10,000
/// unauthenticated peers can make a server hold at most 40 MB.
pub const MAX_FRAME_BEFORE_HELLO: usize = 4 * 1024;

/// The smallest frame limit a peer may set: a refusal and every reply but pages fit twice.
pub const MIN_MAX_FRAME: usize = 1_024;

/// Bytes of every refusal: header and an 8-byte block. A shorter datagram is never answered.
pub const REFUSAL_LEN: usize = HEADER_LEN + 8;

/// Maximum unacknowledged operations of a client (as in RIFL, SOSP 2015): bounds the server's
/// records per client.
pub const WINDOW: u64 = 512;

/// The client field of a frame whose sender has no lease.
pub const NO_LEASE: u64 = 0;

/// Maximum text of an address, in bytes.
pub const ADDRESS_MAX: usize = 255;

/// Maximum fields after a block: two are defined; bounds the work of parsing a tail.
pub const FIELDS_MAX: usize = 16;

/// Request flag: skip duplicate detection.
pub const FLAG_NO_DEDUP: u8 = 1;

/// Status bit: the server does not know whether the operation was applied.
pub const STATUS_INDEFINITE: u16 = 0x8000;

/// Field tag, critical: entries of a page.
pub const TAG_ENTRIES: u16 = 1;
/// Field tag, elective: padding, content ignored.
pub const TAG_PAD: u16 = 2;
/// Field tag, critical: UTF-8 text.
pub const TAG_TEXT: u16 = 3;

/// Bytes of a field before its content.
pub const FIELD_HEADER_LEN: usize = 4;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// Client: identity and versions.
    Hello = 1,
    /// Server: the lease, or the refusal.
    Welcome = 2,
    /// Client: an operation.
    Request = 3,
    /// Server: the result of an operation.
    Response = 4,
    /// Server: no more requests are taken on this stream.
    GoAway = 5,
}

impl Kind {
    /// The kind with this byte.
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Request,
            4 => Self::Response,
            5 => Self::GoAway,
            _ => return None,
        })
    }
}

/// The fields of the header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The kind.
    pub kind: Kind,
    /// The operation code, possibly unknown to this side.
    pub op: u8,
    /// Request flags.
    pub flags: u8,
    /// 0, or the refusal.
    pub status: u16,
    /// The client's lease, or [`NO_LEASE`].
    pub client: u64,
    /// The operation's sequence number, from 1; 0 if the frame concerns none.
    pub seq: u64,
    /// All numbers up to this one are answered: the server may discard their records.
    pub ack_upto: u64,
    /// Time left when the frame was sent, in microseconds; 0 means no deadline.
    pub deadline_us: u32,
    /// Number of the attempt, from 1; a response echoes it.
    pub attempt: u16,
}

impl Header {
    /// A header of a kind; every other field is zero.
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            op: 0,
            flags: 0,
            status: 0,
            client: NO_LEASE,
            seq: 0,
            ack_upto: 0,
            deadline_us: 0,
            attempt: 0,
        }
    }
}

/// A validated frame: lengths, checksum, magic, version, kind and fields are correct.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: Header,
    block: &'a [u8],
    tail: &'a [u8],
    unknown_critical: Option<u16>,
}

/// Why bytes are not a frame of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Not the protocol: not answered.
    Garbage(Violation, DecodeError),
    /// Checksum correct, version unsupported. These fields mean the same in all versions.
    Version(Foreign),
}

/// The fields that mean the same in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The version.
    pub version: u8,
    /// The kind, raw.
    pub kind: u8,
    /// The client's lease.
    pub client: u64,
    /// The operation's number.
    pub seq: u64,
    /// The attempt.
    pub attempt: u16,
}

const LAYER: &str = "bank frame";

const fn garbage(violation: Violation, offset: usize, fault: Fault) -> FrameError {
    FrameError::Garbage(violation, DecodeError { layer: LAYER, offset, fault })
}

/// The checksum of a whole frame: CRC32C over its length field and everything after the checksum.
#[inline]
pub fn checksum(frame: &[u8]) -> u32 {
    match frame.split_at_checked(8) {
        Some((front, rest)) => {
            crc32c::crc32c_append(crc32c::crc32c(front.get(..4).unwrap_or_default()), rest)
        }
        None => 0,
    }
}

/// Length of the frame that starts with these bytes: the length field plus its own size.
///
/// `None` if fewer than four bytes are available.
/// Fails if the length is below the header's or above `limit`.
pub fn frame_len(bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(len) = bytes.first_chunk::<4>() else { return Ok(None) };
    let claimed = u32::from_le_bytes(*len) as usize;
    let total = claimed.saturating_add(LEN_FIELD);
    if total < HEADER_LEN {
        let fault = Fault::Short { needed: HEADER_LEN, had: total, claimed_by: "len" };
        return Err(garbage(Violation::Length, 0, fault));
    }
    if total > limit {
        let fault = Fault::Long { claimed: total, limit, claimed_by: "len" };
        return Err(garbage(Violation::Length, 0, fault));
    }
    Ok(Some(total))
}

const fn u16_at(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

const fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

const fn u64_at(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    u32_at(header, at) as u64 | (u32_at(header, at + 4) as u64) << 32
}

impl<'a> Frame<'a> {
    /// Validates exactly one frame. Fails if it is garbage or of another version.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            let fault =
                Fault::Short { needed: HEADER_LEN, had: bytes.len(), claimed_by: "the header" };
            return Err(garbage(Violation::Length, 0, fault));
        };
        let claimed = u64::from(u32_at(head, 0)) + LEN_FIELD as u64;
        if claimed != bytes.len() as u64 {
            let fault = Fault::Value { expected: "the length of the frame less 4", got: claimed };
            return Err(garbage(Violation::Length, 0, fault));
        }
        if u16_at(head, 8) != MAGIC {
            let fault = Fault::Value { expected: "49 47", got: u16_at(head, 8).into() };
            return Err(garbage(Violation::Magic, 8, fault));
        }
        let (got, expected) = (u32_at(head, 4), checksum(bytes));
        if got != expected {
            return Err(garbage(Violation::Checksum, 4, Fault::Checksum { expected, got }));
        }
        let (client, seq, attempt) = (u64_at(head, 16), u64_at(head, 24), u16_at(head, 44));
        if head[10] != VERSION {
            let (version, kind) = (head[10], head[11]);
            return Err(FrameError::Version(Foreign { version, kind, client, seq, attempt }));
        }
        let Some(kind) = Kind::from_byte(head[11]) else {
            let fault = Fault::Value { expected: "a kind from 1 to 5", got: head[11].into() };
            return Err(garbage(Violation::UnexpectedKind, 11, fault));
        };
        let block_len = usize::from(u16_at(head, 46));
        let Some((block, tail)) = rest.split_at_checked(block_len) else {
            let fault =
                Fault::Short { needed: block_len, had: rest.len(), claimed_by: "block_len" };
            return Err(garbage(Violation::Field, HEADER_LEN, fault));
        };
        let unknown_critical =
            if tail.is_empty() { None } else { walk(tail, HEADER_LEN + block_len)? };
        let header = Header {
            kind,
            op: head[12],
            flags: head[13],
            status: u16_at(head, 14),
            client,
            seq,
            ack_upto: u64_at(head, 32),
            deadline_us: u32_at(head, 40),
            attempt,
        };
        Ok(Self { header, block, tail, unknown_critical })
    }

    /// The header.
    #[inline]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The fixed block, at the length the sender used.
    #[inline]
    pub const fn block(&self) -> &'a [u8] {
        self.block
    }

    /// A critical field unknown to this side: the message must not be acted on.
    #[inline]
    pub const fn unknown_critical(&self) -> Option<u16> {
        self.unknown_critical
    }

    /// The fields after the block.
    pub const fn fields(&self) -> Fields<'a> {
        Fields { rest: self.tail }
    }

    /// The content of the first field with this tag.
    pub fn field(&self, tag: u16) -> Option<&'a [u8]> {
        self.fields().find(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// Checks that a tail consists of at most [`FIELDS_MAX`] whole fields; returns the first unknown
/// critical tag.
fn walk(tail: &[u8], at: usize) -> Result<Option<u16>, FrameError> {
    let error = |e: DecodeError| {
        let e = DecodeError { offset: at + e.offset, ..e };
        FrameError::Garbage(Violation::Field, e)
    };
    let mut reader = Reader::new(LAYER, tail);
    let mut unknown = None;
    let mut count = 0;
    while reader.remaining() > 0 {
        count += 1;
        if count > FIELDS_MAX {
            let fault = Fault::Long { claimed: count, limit: FIELDS_MAX, claimed_by: "the tail" };
            return Err(error(reader.fault(fault)));
        }
        let tag = u16::from_le_bytes(reader.array("a field's tag").map_err(error)?);
        let len = u16::from_le_bytes(reader.array("a field's length").map_err(error)?);
        reader.take(len.into(), "a field's length").map_err(error)?;
        let critical = tag % 2 == 1;
        if critical && !matches!(tag, TAG_ENTRIES | TAG_TEXT) {
            unknown = unknown.or(Some(tag));
        }
    }
    Ok(unknown)
}

/// The fields after a block: tag and content, in the order sent.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<FIELD_HEADER_LEN>()?;
        let [t0, t1, l0, l1] = *head;
        let (content, rest) = rest.split_at_checked(u16::from_le_bytes([l0, l1]).into())?;
        self.rest = rest;
        Some((u16::from_le_bytes([t0, t1]), content))
    }
}

/// Starts a frame at the end of `out`: header, and a block of 8-byte words. [`finish`] must follow.
#[inline]
pub(crate) fn begin<const WORDS: usize>(
    out: &mut BytesMut,
    header: &Header,
    block: [u64; WORDS],
) -> usize {
    const { assert!(8 * WORDS <= u16::MAX as usize, "a block's length is a u16") };
    let start = out.len();
    out.reserve(HEADER_LEN + 8 * WORDS);
    // Length and checksum, which `finish` fills in.
    out.put_u64_le(0);
    out.put_u16_le(MAGIC);
    out.put_slice(&[VERSION, header.kind as u8, header.op, header.flags]);
    out.put_u16_le(header.status);
    out.put_u64_le(header.client);
    out.put_u64_le(header.seq);
    out.put_u64_le(header.ack_upto);
    out.put_u32_le(header.deadline_us);
    out.put_u16_le(header.attempt);
    #[expect(clippy::cast_possible_truncation, reason = "checked when compiled")]
    out.put_u16_le(8 * WORDS as u16);
    for word in block {
        out.put_u64_le(word);
    }
    start
}

/// A length as a u32 on the wire.
pub(crate) fn wire_len(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: no frame comes near 4 GiB")
}

/// A number as a u32 on the wire, saturating.
pub(crate) fn at_most_u32(value: u128) -> u32 {
    u32::try_from(value.min(u32::MAX.into())).expect("invariant: bounded on this line")
}

/// Starts a field of `content` bytes, at most 65,535.
pub(crate) fn begin_field(out: &mut BytesMut, tag: u16, content: usize) {
    out.put_u16_le(tag);
    out.put_u16_le(u16::try_from(content).expect("invariant: a field is smaller than 64 KiB"));
}

/// Adds a field.
pub(crate) fn field(out: &mut BytesMut, tag: u16, content: &[u8]) {
    begin_field(out, tag, content.len());
    out.put_slice(content);
}

/// Pads the frame that starts at `start` to at least `target` bytes with one PAD field.
pub(crate) fn pad_to(out: &mut BytesMut, start: usize, target: usize) {
    let len = out.len() - start;
    if len < target {
        let content = (target - len).saturating_sub(FIELD_HEADER_LEN);
        begin_field(out, TAG_PAD, content);
        out.put_bytes(0, content);
    }
}

/// Completes the frame that starts at `start`: fills in length and checksum.
#[inline]
pub(crate) fn finish(out: &mut BytesMut, start: usize) {
    let frame = &mut out[start..];
    let len = wire_len(frame.len() - LEN_FIELD);
    frame[..4].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(frame);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}
