//! A store in memory: it survives the server core, not the process.

use crate::bank::client::Key;
use crate::bank::message::{AccountId, Cents};
use crate::bank::storage::{
    Account, CommitIndex, Completion, Completions, Entry, Lease, Line, Storage, StorageError,
    Transaction,
};
use std::collections::BTreeMap;

/// Maximum accounts: 10 million take about half a gigabyte.
pub const ACCOUNTS_MAX: u64 = 10_000_000;

/// A ledger, its completion records and its leases, in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    accounts: Vec<(Account, Vec<Line>)>,
    entries: Vec<Entry>,
    completions: Completions,
    leases: BTreeMap<u64, Lease>,
    leases_granted: u64,
    supply: Cents,
    commits: CommitIndex,
}

impl MemoryStore {
    /// Accounts 1 to `count`, at most [`ACCOUNTS_MAX`], each holding `opening`.
    ///
    /// A negative opening becomes 0; one whose sum would exceed `i64::MAX` cents is reduced to fit.
    pub fn with_accounts(count: u64, opening: Cents) -> Self {
        let count = count.min(ACCOUNTS_MAX);
        let opening = Self::opening(count, opening);
        let account = Account { opening, balance: opening, ..Account::default() };
        Self {
            accounts: (0..count).map(|_| (account, Vec::new())).collect(),
            entries: Vec::new(),
            completions: Completions::default(),
            leases: BTreeMap::new(),
            leases_granted: 0,
            supply: Cents(opening.0 * count.cast_signed()),
            commits: CommitIndex::default(),
        }
    }

    /// The opening balance that [`with_accounts`](Self::with_accounts) gives each account.
    pub fn opening(count: u64, opening: Cents) -> Cents {
        let most = i64::MAX / count.clamp(1, ACCOUNTS_MAX).cast_signed();
        Cents(opening.0.clamp(0, most))
    }

    /// Whether a line continues its account: the next number, and a balance that adds up.
    pub(super) fn continues(&self, line: &Line) -> bool {
        self.slot(line.account).is_some_and(|(account, _)| {
            line.number == account.lines + 1
                && account.balance.checked_add(line.change) == Some(line.balance)
        })
    }

    /// Completion records held.
    pub fn completions(&self) -> usize {
        self.completions.len()
    }

    fn slot(&self, account: AccountId) -> Option<&(Account, Vec<Line>)> {
        self.accounts.get(usize::try_from(account.0.checked_sub(1)?).ok()?)
    }

    fn post(&mut self, line: Line) {
        let index = line.account.0.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let slot = index.and_then(|index| self.accounts.get_mut(index));
        let Some((account, lines)) = slot else { return };
        account.balance = line.balance;
        account.credits = line.credits;
        account.lines = line.number;
        lines.push(line);
        // The ledger refuses sums that would overflow, so this never saturates.
        self.supply = Cents(self.supply.0.saturating_add(line.change.0));
    }
}

impl Storage for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn accounts(&self) -> u64 {
        self.accounts.len() as u64
    }

    fn account(&self, account: AccountId) -> Result<Option<Account>, StorageError> {
        Ok(self.slot(account).map(|(account, _)| *account))
    }

    fn address(&self, account: AccountId) -> Result<Option<String>, StorageError> {
        Ok(self.slot(account).map(|_| format!("{} Loss Lane\nPacketville", account.0)))
    }

    fn lines(
        &self,
        account: AccountId,
        from_entry: u64,
        limit: usize,
    ) -> Result<Vec<Line>, StorageError> {
        let Some((_, lines)) = self.slot(account) else { return Ok(Vec::new()) };
        let first = lines.partition_point(|line| line.entry < from_entry);
        Ok(lines.iter().skip(first).take(limit).copied().collect())
    }

    fn last_entry(&self) -> u64 {
        self.entries.len() as u64
    }

    fn entry(&self, number: u64) -> Result<Option<Entry>, StorageError> {
        let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        Ok(index.and_then(|index| self.entries.get(index)).copied())
    }

    fn supply(&self) -> Cents {
        self.supply
    }

    fn commit_index(&self) -> CommitIndex {
        self.commits
    }

    fn completion(&self, key: Key) -> Result<Option<Completion>, StorageError> {
        Ok(self.completions.get(key))
    }

    fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        Ok(self.leases.values().copied().collect())
    }

    fn leases_granted(&self) -> u64 {
        self.leases_granted
    }

    fn commit(&mut self, transaction: Transaction) -> Result<CommitIndex, StorageError> {
        let Transaction { entry, completion, acknowledged, grant, expire } = transaction;
        if let Some(entry) = entry {
            // The payer's line is posted first, so the supply cannot overflow between the two.
            self.post(entry.first);
            if let Some(line) = entry.second {
                self.post(line);
            }
            self.entries.push(entry);
        }
        if let Some(key) = acknowledged {
            self.completions.forget_upto(key);
            if let Some(lease) = self.leases.get_mut(&key.client) {
                lease.acked = lease.acked.max(key.seq);
            }
        }
        if let Some((key, completion)) = completion {
            self.completions.insert(key, completion);
        }
        if let Some(client) = expire {
            self.leases.remove(&client);
            self.completions.forget_upto(Key { client, seq: u64::MAX });
        }
        if let Some(lease) = grant {
            self.leases.insert(lease.client, lease);
            self.leases_granted += 1;
        }
        self.commits.0 += 1;
        Ok(self.commits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_clamped_to_what_can_be_summed() {
        assert_eq!(MemoryStore::with_accounts(3, Cents(-5)).supply(), Cents::ZERO);
        let rich = MemoryStore::with_accounts(3, Cents(i64::MAX));
        assert_eq!(rich.supply().0, i64::MAX / 3 * 3);
        assert_eq!(MemoryStore::with_accounts(0, Cents(5)).supply(), Cents::ZERO);
    }

    #[test]
    fn an_ended_lease_removes_only_its_own_completions() {
        let mut store = MemoryStore::with_accounts(1, Cents::ZERO);
        let completion = Completion { fingerprint: 1, op: 2, status: 0, block: [0; 2] };
        for client in [1, 2] {
            let key = Key { client, seq: 1 };
            let grant = Some(Lease { client, nonce: client, acked: 0 });
            let completion = Some((key, completion));
            store.commit(Transaction { grant, completion, ..Transaction::default() }).unwrap();
        }
        store.commit(Transaction { expire: Some(1), ..Transaction::default() }).unwrap();
        assert_eq!(store.completion(Key { client: 1, seq: 1 }).unwrap(), None);
        assert_eq!(store.completion(Key { client: 2, seq: 1 }).unwrap(), Some(completion));
        assert_eq!((store.leases().unwrap().len(), store.leases_granted()), (1, 2));
    }
}
