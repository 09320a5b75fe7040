//! The store that survives: transactions apply in memory, and become durable in batches of a log.
//!
//! One batch is on its way to the disk at a time; the next one collects what comes in between.

use super::disk::Disk;
use super::log::{Batch, Log, OpenError, Opened, TornTail};
use super::memory::MemoryStore;
use super::record::{begin_record, put_transaction};
use crate::bank::client::Key;
use crate::bank::message::{AccountId, Cents};
use crate::bank::storage::{
    Account, CommitIndex, Completion, Entry, Lease, Line, Storage, StorageError, Transaction, Wake,
};
use crate::runtime::worker::Worker;
use crate::sys::locked_dir::LockedDir;
use std::io;
use std::path::Path;

/// Bytes of transactions that may wait while a batch is written: some 150,000 deposits.
const WAITING_MAX: usize = 16 << 20;

/// Writes batches, one at a time.
pub trait Writer {
    /// Starts to write a batch; the one before is done.
    fn submit(&mut self, batch: Batch);

    /// The result of the batch, when it is done; never blocks.
    fn poll(&mut self) -> Option<io::Result<Batch>>;

    /// Sets what to call when a batch is done.
    fn wake_with(&mut self, wake: Wake) {
        drop(wake);
    }
}

/// A log on a thread of its own.
pub type LogThread = Worker<Batch, io::Result<Batch>>;

/// Starts the thread of a log.
/// Fails if the kernel starts no thread.
pub fn log_thread<D: Disk + Send + 'static>(mut log: Log<D>) -> io::Result<LogThread> {
    Worker::start("log", move |mut batch: Batch| log.append(&mut batch).map(|()| batch))
}

impl Writer for LogThread {
    fn submit(&mut self, batch: Batch) {
        // A thread that has panicked never answers: no reply leaves.
        let _ = Self::submit(self, batch);
    }

    fn poll(&mut self) -> Option<io::Result<Batch>> {
        Self::poll(self).transpose().map(|done| done.and_then(|written| written))
    }

    fn wake_with(&mut self, wake: Wake) {
        Self::wake_with(self, wake);
    }
}

/// Why a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A system call failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another server has it open.
    #[error("another server has it open")]
    InUse,
    /// Its log cannot be opened.
    #[error("{0}")]
    Log(#[from] OpenError),
}

/// A memory store and its log.
#[derive(Debug)]
pub struct FileStore<W> {
    memory: MemoryStore,
    writer: W,
    /// Transactions that wait for the batch before them.
    waiting: Vec<u8>,
    /// An empty record with its buffer, from the last batch.
    spare: Vec<u8>,
    /// Up to where transactions are on their way to the disk.
    in_flight: Option<CommitIndex>,
    durable: CommitIndex,
    failure: Option<StorageError>,
}

impl FileStore<LogThread> {
    /// Opens the store in a directory, and makes it if there is none; a new one has these accounts.
    pub fn open(
        path: &Path,
        accounts: u64,
        opening: Cents,
    ) -> Result<(Self, Option<TornTail>), DirectoryError> {
        let disk = LockedDir::open(path)?.ok_or(DirectoryError::InUse)?;
        let Opened { log, store, torn } = Log::open(disk, accounts, opening)?;
        Ok((Self::new(store, log_thread(log)?), torn))
    }
}

impl<W: Writer> FileStore<W> {
    /// A store of this state, all of it durable, and the writer of its log.
    pub fn new(memory: MemoryStore, writer: W) -> Self {
        Self {
            durable: memory.commit_index(),
            memory,
            writer,
            waiting: begin_record(),
            spare: Vec::new(),
            in_flight: None,
            failure: None,
        }
    }

    /// The state in memory, durable or not.
    pub const fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    /// The writer of the log.
    pub fn into_writer(self) -> W {
        self.writer
    }

    fn take_up(&mut self) {
        let Some(upto) = self.in_flight else { return };
        match self.writer.poll() {
            None => {}
            Some(Ok(batch)) => {
                (self.durable, self.in_flight) = (upto, None);
                self.spare = batch.record;
            }
            Some(Err(error)) => {
                let cause = format!("{error}; what was not confirmed may be lost");
                self.failure = Some(StorageError { operation: "write its log", cause });
            }
        }
    }
}

impl<W: Writer> Storage for FileStore<W> {
    fn is_durable(&self) -> bool {
        true
    }

    fn accounts(&self) -> u64 {
        self.memory.accounts()
    }

    fn account(&self, account: AccountId) -> Result<Option<Account>, StorageError> {
        self.memory.account(account)
    }

    fn address(&self, account: AccountId) -> Result<Option<String>, StorageError> {
        self.memory.address(account)
    }

    fn lines(
        &self,
        account: AccountId,
        from_entry: u64,
        limit: usize,
    ) -> Result<Vec<Line>, StorageError> {
        self.memory.lines(account, from_entry, limit)
    }

    fn last_entry(&self) -> u64 {
        self.memory.last_entry()
    }

    fn entry(&self, number: u64) -> Result<Option<Entry>, StorageError> {
        self.memory.entry(number)
    }

    fn supply(&self) -> Cents {
        self.memory.supply()
    }

    fn commit_index(&self) -> CommitIndex {
        self.memory.commit_index()
    }

    fn completion(&self, key: Key) -> Result<Option<Completion>, StorageError> {
        self.memory.completion(key)
    }

    fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.memory.leases()
    }

    fn leases_granted(&self) -> u64 {
        self.memory.leases_granted()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<CommitIndex, StorageError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.waiting.len() > WAITING_MAX {
            let cause = "the disk is too slow for the requests".to_owned();
            return Err(StorageError { operation: "stage a transaction", cause });
        }
        put_transaction(&mut self.waiting, &transaction);
        self.memory.commit(transaction)
    }

    fn durable(&self) -> CommitIndex {
        self.durable
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.take_up();
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let (upto, after) = (self.commit_index(), self.durable);
        if self.in_flight.is_none() && after < upto {
            self.spare.clear();
            self.spare.resize(begin_record().len(), 0);
            let record = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.spare));
            self.writer.submit(Batch { record, after, upto });
            self.in_flight = Some(upto);
            // A writer that does not wait is done already.
            self.take_up();
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn wake_with(&mut self, wake: Wake) {
        self.writer.wake_with(wake);
    }
}
