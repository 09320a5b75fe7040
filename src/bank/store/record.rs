//! Bytes of the log: the file header, records, and the transactions in them. `STORE.md` specifies
//! them. A record is one batch: a crash keeps it as a whole or not at all.

use crate::bank::client::Key;
use crate::bank::message::{AccountId, Cents};
use crate::bank::storage::{CommitIndex, Completion, Entry, Lease, Line, Transaction};
use bytes::{Buf, BufMut};

/// Bytes of the file header.
pub const FILE_HEADER_LEN: usize = 40;
/// Bytes of a record before its transactions.
pub const RECORD_HEADER_LEN: usize = 24;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// The format version.
pub const FORMAT: u32 = 1;

const FILE_MAGIC: [u8; 8] = *b"WIREBANK";
const RECORD_MAGIC: [u8; 4] = *b"batc";

/// The file header: what the bank was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Format version.
    pub format: u32,
    /// Number of accounts.
    pub accounts: u64,
    /// Opening balance of each.
    pub opening: Cents,
    /// Checksum of the header: the chain value of the first record.
    pub checksum: u32,
}

/// Writes a file header; returns it with its checksum.
pub fn put_file_header(out: &mut Vec<u8>, accounts: u64, opening: Cents) -> u32 {
    let start = out.len();
    out.put_slice(&FILE_MAGIC);
    out.put_u32_le(FORMAT);
    out.put_u32_le(0);
    out.put_u64_le(accounts);
    out.put_i64_le(opening.0);
    let checksum = crc32c::crc32c(&out[start..]);
    out.put_u32_le(checksum);
    out.put_u32_le(0);
    checksum
}

/// Reads a file header; `None` if it is none.
pub fn get_file_header(bytes: &[u8]) -> Option<FileHeader> {
    let whole = bytes.get(..FILE_HEADER_LEN)?;
    let mut rest = whole.strip_prefix(&FILE_MAGIC)?;
    let format = rest.try_get_u32_le().ok()?;
    let _reserved = rest.try_get_u32_le().ok()?;
    let accounts = rest.try_get_u64_le().ok()?;
    let opening = Cents(rest.try_get_i64_le().ok()?);
    let checksum = rest.try_get_u32_le().ok()?;
    (crc32c::crc32c(&whole[..32]) == checksum).then_some(FileHeader {
        format,
        accounts,
        opening,
        checksum,
    })
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Commit index before its first transaction.
    pub after: CommitIndex,
    /// Checksum of the record before it, or of the file header.
    pub chain: u32,
    /// Its checksum.
    pub checksum: u32,
    /// Its transactions.
    pub body: &'a [u8],
    /// Its bytes, with padding.
    pub len: usize,
}

/// An empty record: room for its header.
pub fn begin_record() -> Vec<u8> {
    vec![0; RECORD_HEADER_LEN]
}

/// Pads a record, and writes its header; returns its checksum.
pub fn seal_record(record: &mut Vec<u8>, after: CommitIndex, chain: u32) -> u32 {
    let body = u32::try_from(record.len() - RECORD_HEADER_LEN)
        .expect("invariant: the store bounds a batch");
    record.resize(record.len().next_multiple_of(ALIGN), 0);
    record[0..4].copy_from_slice(&RECORD_MAGIC);
    record[4..8].copy_from_slice(&body.to_le_bytes());
    record[8..16].copy_from_slice(&after.0.to_le_bytes());
    record[16..20].copy_from_slice(&chain.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&record[..20]), &record[24..]);
    record[20..24].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// Reads the record at the front; `None` if it is incomplete or its checksum is wrong.
pub fn get_record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut rest = bytes.strip_prefix(&RECORD_MAGIC)?;
    let body = rest.try_get_u32_le().ok()? as usize;
    let after = CommitIndex(rest.try_get_u64_le().ok()?);
    let chain = rest.try_get_u32_le().ok()?;
    let checksum = rest.try_get_u32_le().ok()?;
    let padded = rest.get(..body.next_multiple_of(ALIGN))?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..20]), padded);
    let (len, body) = (RECORD_HEADER_LEN + padded.len(), &padded[..body]);
    (sum == checksum).then_some(Record { after, chain, checksum, body, len })
}

/// Bits of a transaction's first byte: which parts follow, in this order.
const ENTRY: u8 = 1;
const SECOND_LINE: u8 = 2;
const COMPLETION: u8 = 4;
const ACKNOWLEDGED: u8 = 8;
const GRANT: u8 = 16;
const EXPIRE: u8 = 32;

fn put_key(out: &mut Vec<u8>, key: Key) {
    out.put_u64_le(key.client);
    out.put_u64_le(key.seq);
}

fn put_line(out: &mut Vec<u8>, line: &Line) {
    out.put_u64_le(line.account.0);
    out.put_u64_le(line.number);
    out.put_i64_le(line.change.0);
    out.put_i64_le(line.balance.0);
    out.put_i64_le(line.credits.0);
}

/// Appends a transaction to a record.
pub fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    let Transaction { entry, completion, acknowledged, grant, expire } = transaction;
    let second = entry.as_ref().and_then(|entry| entry.second);
    let parts = [
        (entry.is_some(), ENTRY),
        (second.is_some(), SECOND_LINE),
        (completion.is_some(), COMPLETION),
        (acknowledged.is_some(), ACKNOWLEDGED),
        (grant.is_some(), GRANT),
        (expire.is_some(), EXPIRE),
    ];
    out.put_u8(parts.iter().filter(|(there, _)| *there).map(|(_, bit)| bit).sum());
    if let Some(entry) = entry {
        out.put_u64_le(entry.number);
        put_key(out, entry.key);
        put_line(out, &entry.first);
    }
    if let Some(line) = second {
        put_line(out, &line);
    }
    if let Some((key, completion)) = completion {
        put_key(out, *key);
        out.put_u64_le(completion.fingerprint);
        out.put_u8(completion.op);
        out.put_u16_le(completion.status);
        completion.block.iter().for_each(|word| out.put_u64_le(*word));
    }
    if let Some(key) = acknowledged {
        put_key(out, *key);
    }
    if let Some(lease) = grant {
        put_key(out, Key { client: lease.client, seq: lease.acked });
        out.put_u64_le(lease.nonce);
    }
    if let Some(client) = expire {
        out.put_u64_le(*client);
    }
}

fn get_key(from: &mut &[u8]) -> Option<Key> {
    let client = from.try_get_u64_le().ok()?;
    Some(Key { client, seq: from.try_get_u64_le().ok()? })
}

fn get_line(from: &mut &[u8], entry: u64) -> Option<Line> {
    Some(Line {
        entry,
        account: AccountId(from.try_get_u64_le().ok()?),
        counterparty: None,
        number: from.try_get_u64_le().ok()?,
        change: Cents(from.try_get_i64_le().ok()?),
        balance: Cents(from.try_get_i64_le().ok()?),
        credits: Cents(from.try_get_i64_le().ok()?),
    })
}

fn get_entry(from: &mut &[u8], has_second: bool) -> Option<Entry> {
    let number = from.try_get_u64_le().ok()?;
    let key = get_key(from)?;
    let mut first = get_line(from, number)?;
    let mut second = None;
    if has_second {
        let mut line = get_line(from, number)?;
        line.counterparty = Some(first.account);
        first.counterparty = Some(line.account);
        second = Some(line);
    }
    Some(Entry { number, key, first, second })
}

fn get_completion(from: &mut &[u8]) -> Option<(Key, Completion)> {
    let key = get_key(from)?;
    let fingerprint = from.try_get_u64_le().ok()?;
    let op = from.try_get_u8().ok()?;
    let status = from.try_get_u16_le().ok()?;
    let block = [from.try_get_u64_le().ok()?, from.try_get_u64_le().ok()?];
    Some((key, Completion { fingerprint, op, status, block }))
}

fn get_grant(from: &mut &[u8]) -> Option<Lease> {
    let Key { client, seq: acked } = get_key(from)?;
    Some(Lease { client, acked, nonce: from.try_get_u64_le().ok()? })
}

/// Takes a transaction from the front of a record's body; `None` if it is malformed.
pub fn get_transaction(from: &mut &[u8]) -> Option<Transaction> {
    let parts = from.try_get_u8().ok()?;
    let has = |bit| parts & bit != 0;
    if parts >= EXPIRE << 1 || (has(SECOND_LINE) && !has(ENTRY)) {
        return None;
    }
    let mut transaction = Transaction::default();
    if has(ENTRY) {
        transaction.entry = Some(get_entry(from, has(SECOND_LINE))?);
    }
    if has(COMPLETION) {
        transaction.completion = Some(get_completion(from)?);
    }
    if has(ACKNOWLEDGED) {
        transaction.acknowledged = Some(get_key(from)?);
    }
    if has(GRANT) {
        transaction.grant = Some(get_grant(from)?);
    }
    if has(EXPIRE) {
        transaction.expire = Some(from.try_get_u64_le().ok()?);
    }
    Some(transaction)
}
