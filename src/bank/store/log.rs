//! The log of a bank: opened, repaired at its end, and appended to, one synced record per batch.
//!
//! A record is written only after the one before it is durable. So a bad record with a good one
//! behind it is corruption; a bad one at the end is a write that a crash interrupted.

use super::disk::Disk;
use super::memory::{ACCOUNTS_MAX, MemoryStore};
use super::record::{
    ALIGN, FILE_HEADER_LEN, FORMAT, FileHeader, Record, get_file_header, get_record,
    get_transaction, put_file_header, seal_record,
};
use crate::bank::message::Cents;
use crate::bank::storage::{CommitIndex, Storage, Transaction};
use std::io;

/// Name of the log.
pub const LOG: &str = "bank.log";
/// Name of a log until its header is durable.
const NEW: &str = "bank.log.new";

/// Why a log cannot be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A system call failed.
    #[error("cannot {operation} {file}: {cause}")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The file.
        file: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// A newer program wrote it.
    #[error("bank.log has format {found}; this program reads format {FORMAT}")]
    Format {
        /// The version in the header.
        found: u32,
    },
    /// Bytes that were durable have changed.
    #[error("bank.log is corrupt at byte {offset}: {why}")]
    Corrupt {
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
}

/// The end of a log that a crash left incomplete; it was cut off. No reply depended on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it began.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// An opened log, and what it holds.
#[derive(Debug)]
pub struct Opened<D> {
    /// The log, to append to.
    pub log: Log<D>,
    /// The state after its last transaction.
    pub store: MemoryStore,
    /// What was cut off its end.
    pub torn: Option<TornTail>,
}

/// A batch of transactions, on its way to the disk.
#[derive(Debug)]
pub struct Batch {
    /// The record: room for its header, then transactions.
    pub record: Vec<u8>,
    /// Commit index before the first transaction.
    pub after: CommitIndex,
    /// Commit index of the last one.
    pub upto: CommitIndex,
}

/// A log that can be appended to.
#[derive(Debug)]
pub struct Log<D> {
    disk: D,
    end: u64,
    chain: u32,
}

const fn failed(operation: &'static str, file: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |cause| OpenError::Io { operation, file, cause }
}

impl<D: Disk> Log<D> {
    /// Opens the log of a directory; a new one has these accounts.
    pub fn open(mut disk: D, accounts: u64, opening: Cents) -> Result<Opened<D>, OpenError> {
        let bytes = match disk.read(LOG).map_err(failed("read", LOG))? {
            Some(bytes) => bytes,
            None => create(&mut disk, accounts, opening)?,
        };
        let corrupt = |offset: usize, why| OpenError::Corrupt { offset: offset as u64, why };
        let header =
            get_file_header(&bytes).ok_or_else(|| corrupt(0, "this is not the header of a log"))?;
        let FileHeader { format, accounts, opening, checksum } = header;
        if format != FORMAT {
            return Err(OpenError::Format { found: format });
        }
        if accounts > ACCOUNTS_MAX {
            return Err(corrupt(0, "the header names too many accounts"));
        }
        let mut store = MemoryStore::with_accounts(accounts, opening);
        let (mut last, mut end, mut chain) = (0, FILE_HEADER_LEN, checksum);
        while let Some(record) = get_record(&bytes[end..]) {
            replay(&mut store, &record, chain).map_err(|why| corrupt(end, why))?;
            (last, end, chain) = (end, end + record.len, record.checksum);
        }
        let mut later = (end + ALIGN..bytes.len()).step_by(ALIGN);
        if later.any(|offset| get_record(&bytes[offset..]).is_some()) {
            return Err(corrupt(end, "a bad record stands before a good one"));
        }
        let mut torn = None;
        if end < bytes.len() {
            disk.truncate(LOG, end as u64).map_err(failed("cut", LOG))?;
            torn = Some(TornTail { offset: end as u64, bytes: (bytes.len() - end) as u64 });
        }
        // A server that was killed, or whose sync failed, left its last record readable but
        // perhaps not durable, on pages that the kernel counts as written.
        disk.write(LOG, last as u64, &bytes[last..end]).map_err(failed("write", LOG))?;
        disk.sync(LOG).map_err(failed("sync", LOG))?;
        disk.sync_names().map_err(failed("sync the directory of", LOG))?;
        Ok(Opened { log: Self { disk, end: end as u64, chain }, store, torn })
    }

    /// Writes a batch as one record, and makes it durable.
    /// Fails with the error of the disk, which is final: after a failed sync the kernel may count
    /// lost pages as written.
    pub fn append(&mut self, batch: &mut Batch) -> io::Result<()> {
        let checksum = seal_record(&mut batch.record, batch.after, self.chain);
        self.disk.write(LOG, self.end, &batch.record)?;
        self.disk.sync(LOG)?;
        self.end += batch.record.len() as u64;
        self.chain = checksum;
        Ok(())
    }

    /// Its disk.
    pub fn into_disk(self) -> D {
        self.disk
    }
}

/// Makes a log of one header, which has its name only when it is durable.
fn create(disk: &mut impl Disk, accounts: u64, opening: Cents) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::new();
    // As the memory store keeps them, so that a reader of the log sums to the same money.
    let opening = MemoryStore::opening(accounts, opening);
    put_file_header(&mut bytes, accounts.min(ACCOUNTS_MAX), opening);
    disk.truncate(NEW, 0).map_err(failed("create", NEW))?;
    disk.write(NEW, 0, &bytes).map_err(failed("write", NEW))?;
    disk.sync(NEW).map_err(failed("sync", NEW))?;
    disk.rename(NEW, LOG).map_err(failed("rename", NEW))?;
    disk.sync_names().map_err(failed("sync the directory of", LOG))?;
    Ok(bytes)
}

fn replay(store: &mut MemoryStore, record: &Record<'_>, chain: u32) -> Result<(), &'static str> {
    if record.chain != chain {
        return Err("the record does not follow the one before it");
    }
    if record.after != store.commit_index() {
        return Err("transactions are missing before the record");
    }
    let mut body = record.body;
    while !body.is_empty() {
        let transaction = get_transaction(&mut body).ok_or("a transaction is malformed")?;
        if !follows(store, &transaction) {
            return Err("an entry contradicts the balance before it");
        }
        store.commit(transaction).map_err(|_| "a transaction cannot be applied")?;
    }
    Ok(())
}

/// Whether the lines of an entry continue their accounts.
fn follows(store: &MemoryStore, transaction: &Transaction) -> bool {
    let Some(entry) = transaction.entry else { return true };
    let continues = |line| store.continues(line);
    entry.number == store.last_entry() + 1
        && continues(&entry.first)
        && entry.second.as_ref().is_none_or(continues)
}
