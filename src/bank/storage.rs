//! The storage trait of the bank: reads, and commits of one [`Transaction`] per operation.

use super::client::Key;
use super::message::{AccountId, Cents};
use serde::Serialize;
use std::collections::BTreeMap;

/// Number of committed transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub struct CommitIndex(pub u64);

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// Opening balance in cents.
    pub opening: Cents,
    /// Current balance in cents.
    pub balance: Cents,
    /// Sum of all credits so far, so that a statement does not walk the ledger.
    pub credits: Cents,
    /// Number of lines.
    pub lines: u64,
}

/// One account's part of a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Number of the ledger entry, from 1.
    pub entry: u64,
    /// The account.
    pub account: AccountId,
    /// The other account of a transfer.
    pub counterparty: Option<AccountId>,
    /// Number of this line within its account, from 1.
    pub number: u64,
    /// The change.
    pub change: Cents,
    /// The account's balance after it.
    pub balance: Cents,
    /// The account's sum of credits after it.
    pub credits: Cents,
}

/// An applied operation: one line for a deposit, two for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Entry number, from 1 without gaps.
    pub number: u64,
    /// The operation's key, also without duplicate detection.
    pub key: Key,
    /// The payer's line, or the account of a deposit.
    pub first: Line,
    /// The payee's line of a transfer.
    pub second: Option<Line>,
}

/// The recorded outcome of an operation: two words of block hold every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Hash of operation and body: distinguishes a retry from another request under the same key.
    pub fingerprint: u64,
    /// The operation byte of the response.
    pub op: u8,
    /// Its status.
    pub status: u16,
    /// Its block; a refusal has only the first word, its detail.
    pub block: [u64; 2],
}

impl Completion {
    /// Bytes of the block.
    pub const fn block_len(&self) -> usize {
        if self.status == 0 { 16 } else { 8 }
    }
}

/// A client's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Lease number, never 0, never reused.
    pub client: u64,
    /// The nonce of its HELLO.
    pub nonce: u64,
    /// Keys up to this one are acknowledged and discarded.
    pub acked: u64,
}

/// All changes of one operation, committed atomically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The ledger entry; its lines carry the new balances.
    pub entry: Option<Entry>,
    /// The outcome to record for this key.
    pub completion: Option<(Key, Completion)>,
    /// Discard this client's outcomes up to this number, and record the number.
    pub acknowledged: Option<Key>,
    /// Add this lease.
    pub grant: Option<Lease>,
    /// Remove this lease and all its outcomes.
    pub expire: Option<u64>,
}

/// A storage failure; the server answers with an indefinite status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store failed to {operation}: {cause}")]
pub struct StorageError {
    /// The failed operation.
    pub operation: &'static str,
    /// The cause.
    pub cause: String,
}

/// Called by a store, on any thread, when its disk has finished a write.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A store of the bank's state.
///
/// Reads fail if the store cannot be read; they see every transaction for which
/// [`commit`](Self::commit) returned `Ok`.
/// A transaction whose `commit` failed is there as a whole or not at all.
///
/// A commit is staged: it is visible at once, and survives a crash when
/// [`durable`](Self::durable) has reached its index. No reply may leave earlier
/// ([`Held`](super::held::Held)).
pub trait Storage {
    /// Whether committed transactions survive the end of the process.
    fn is_durable(&self) -> bool;

    /// Number of accounts; they are numbered from 1.
    fn accounts(&self) -> u64;

    /// An account, if it exists.
    fn account(&self, account: AccountId) -> Result<Option<Account>, StorageError>;

    /// The holder's address, if the account exists; at most 255 bytes.
    fn address(&self, account: AccountId) -> Result<Option<String>, StorageError>;

    /// At most `limit` lines of an account, from ledger entry `from_entry`, oldest first.
    fn lines(
        &self,
        account: AccountId,
        from_entry: u64,
        limit: usize,
    ) -> Result<Vec<Line>, StorageError>;

    /// Number of the last ledger entry; 0 for an empty ledger.
    fn last_entry(&self) -> u64;

    /// A ledger entry by number.
    fn entry(&self, number: u64) -> Result<Option<Entry>, StorageError>;

    /// Sum of all balances.
    fn supply(&self) -> Cents;

    /// Number of committed transactions.
    fn commit_index(&self) -> CommitIndex;

    /// The recorded outcome of a key.
    fn completion(&self, key: Key) -> Result<Option<Completion>, StorageError>;

    /// All leases, by number.
    fn leases(&self) -> Result<Vec<Lease>, StorageError>;

    /// Number of leases ever granted.
    fn leases_granted(&self) -> u64;

    /// Commits the transaction atomically.
    /// Fails if the store cannot confirm the commit.
    fn commit(&mut self, transaction: Transaction) -> Result<CommitIndex, StorageError>;

    /// Transactions up to this index survive a crash, as far as the store promises.
    fn durable(&self) -> CommitIndex {
        self.commit_index()
    }

    /// Takes up a finished write, and starts the next one if transactions wait; never blocks.
    /// Fails if a write failed, which is final: transactions above [`durable`](Self::durable) may
    /// be lost, and the server must stop.
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Sets what to call when [`flush`](Self::flush) has something to take up.
    fn wake_with(&mut self, wake: Wake) {
        drop(wake);
    }
}

/// Completion records in memory: a server's volatile table, or the table of a memory store.
#[derive(Clone, Debug, Default)]
pub struct Completions(BTreeMap<Key, Completion>);

impl Completions {
    /// The recorded outcome of a key.
    pub fn get(&self, key: Key) -> Option<Completion> {
        self.0.get(&key).copied()
    }

    /// Records an outcome.
    pub fn insert(&mut self, key: Key, completion: Completion) {
        self.0.insert(key, completion);
    }

    /// Discards a client's records up to and including `key.seq`.
    pub fn forget_upto(&mut self, key: Key) {
        let first = Key { client: key.client, seq: 0 };
        while let Some((found, _)) = self.0.range(first..=key).next() {
            let found = *found;
            self.0.remove(&found);
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
