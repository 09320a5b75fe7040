//! What a store must do for the bank: read accounts, commit one transaction at a time.
//!
//! It exists so that ledger, completion records and leases can live in memory, a file, a database.
//! It must never offer a way to write them apart: one operation is one [`Transaction`].

use super::client::Key;
use super::message::{AccountId, Cents};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many transactions a store has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub struct CommitIndex(pub u64);

/// An account as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// Cents held when the store was made.
    pub opening: Cents,
    /// Cents held now.
    pub balance: Cents,
    /// Sum of every credit so far, so that a statement needs no walk along the ledger.
    pub credits: Cents,
    /// How many lines it has.
    pub lines: u64,
}

/// One account's part of a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Number of the ledger entry, from 1.
    pub entry: u64,
    /// Which account.
    pub account: AccountId,
    /// The other account of a transfer.
    pub counterparty: Option<AccountId>,
    /// Number of this line within its account, from 1.
    pub number: u64,
    /// What it changed.
    pub change: Cents,
    /// The account's balance after it.
    pub balance: Cents,
    /// The account's sum of credits after it.
    pub credits: Cents,
}

/// One applied operation: one line for a deposit, two for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// The key it was applied for, whatever the duplicate check was.
    pub key: Key,
    /// The payer's line, or the account of a deposit.
    pub first: Line,
    /// The payee's line of a transfer.
    pub second: Option<Line>,
}

/// The outcome of an operation as the server will repeat it: 16 bytes of block hold every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Hash of operation and body: a different request under the same key is not a retry.
    pub fingerprint: u64,
    /// The operation byte of the response.
    pub op: u8,
    /// Its status.
    pub status: u16,
    /// Its block's length.
    pub block_len: u8,
    /// Its block.
    pub block: [u8; 16],
}

/// A client that the server remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number, never 0, never given twice.
    pub client: u64,
    /// The nonce of its HELLO.
    pub nonce: u64,
    /// Keys up to this one are acknowledged and forgotten.
    pub acked: u64,
}

/// Everything that one operation changes, committed together or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The ledger entry; its lines carry the new balances.
    pub entry: Option<Entry>,
    /// The outcome to repeat for this key.
    pub completion: Option<(Key, Completion)>,
    /// Forget this client's completions up to this number, and remember the number.
    pub acknowledged: Option<Key>,
    /// Remember this client.
    pub grant: Option<Lease>,
    /// Forget this client and all its completions.
    pub expire: Option<u64>,
}

/// A store failed; the server answers with the indefinite status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store failed to {operation}: {cause}")]
pub struct StorageError {
    /// What it was doing.
    pub operation: &'static str,
    /// What went wrong, in the store's words.
    pub cause: String,
}

/// Where the bank lives.
///
/// Reads see every transaction that [`commit`](Self::commit) has returned `Ok` for.
/// After an error of `commit` the transaction may or may not be there, but never half of it.
pub trait Storage {
    /// How many accounts there are; they are numbered from 1.
    fn accounts(&self) -> u64;

    /// An account, if it exists.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn account(&self, account: AccountId) -> Result<Option<Account>, StorageError>;

    /// The holder's address, if the account exists; at most 255 bytes.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn address(&self, account: AccountId) -> Result<Option<String>, StorageError>;

    /// At most `limit` lines of an account, from ledger entry `from_entry` on, oldest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn lines(
        &self,
        account: AccountId,
        from_entry: u64,
        limit: usize,
    ) -> Result<Vec<Line>, StorageError>;

    /// Number of the last ledger entry; 0 for an empty ledger.
    fn last_entry(&self) -> u64;

    /// A ledger entry by number.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn entry(&self, number: u64) -> Result<Option<Entry>, StorageError>;

    /// Sum of all balances.
    fn supply(&self) -> Cents;

    /// How many transactions have been committed.
    fn commit_index(&self) -> CommitIndex;

    /// The outcome recorded for a key.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn completion(&self, key: Key) -> Result<Option<Completion>, StorageError>;

    /// Every client remembered, in the order of its number.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn leases(&self) -> Result<Vec<Lease>, StorageError>;

    /// How many leases were ever granted.
    fn leases_granted(&self) -> u64;

    /// Commits everything in the transaction, or nothing.
    ///
    /// # Errors
    /// Where the store cannot say that it is committed.
    fn commit(&mut self, transaction: Transaction) -> Result<CommitIndex, StorageError>;
}

/// Completion records in memory: the volatile table of a server, and the table of a memory store.
#[derive(Clone, Debug, Default)]
pub struct Completions(BTreeMap<Key, Completion>);

impl Completions {
    /// The outcome recorded for a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<Completion> {
        self.0.get(&key).copied()
    }

    /// Records an outcome.
    pub fn insert(&mut self, key: Key, completion: Completion) {
        self.0.insert(key, completion);
    }

    /// Forgets a client's records up to and including `key.seq`.
    pub fn forget_upto(&mut self, key: Key) {
        let first = Key { client: key.client, seq: 0 };
        while let Some((found, _)) = self.0.range(first..=key).next() {
            let found = *found;
            self.0.remove(&found);
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
