//! Audits the ledger after a run: conservation of cents, duplicate and missing applications.

use super::client::Key;
use super::message::AccountId;
use super::storage::{Entry, Line, Storage, StorageError};
use serde::Serialize;
use std::collections::BTreeMap;

/// Result of an audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Accounts in the store.
    pub accounts: u64,
    /// Entries in the ledger.
    pub entries: u64,
    /// Keys with more than one entry.
    pub keys_applied_twice: u64,
    /// Entries beyond the first of their key.
    pub applications_beyond_first: u64,
    /// Cents that those entries moved.
    pub cents_beyond_first: i64,
    /// Keys that a client saw acknowledged as done.
    pub acknowledged: u64,
    /// Of those, how many have no entry.
    pub acknowledged_not_applied: u64,
    /// Keys whose outcome is unknown to the clients.
    pub unknown: u64,
    /// Of those, how many have an entry.
    pub unknown_applied: u64,
    /// Sum of all balances.
    pub sum_cents: i64,
    /// Sum of all openings and all deposits.
    pub expected_sum_cents: i64,
    /// Accounts with a negative balance.
    pub negative_accounts: u64,
    /// Accounts whose balance is not opening plus lines, or whose lines do not chain.
    pub unexplained_accounts: u64,
    /// Whether the sums agree, no account is negative and every balance is explained.
    pub balanced: bool,
}

/// Audit state of one account.
#[derive(Clone, Copy)]
struct Traced {
    balance: i64,
    chained: bool,
}

/// Reads the whole ledger once.
///
/// `acknowledged`: keys of ledger-changing operations that ended `Done`; `unknown`: of those that
/// ended `Unknown`.
/// Fails if the store cannot be read.
pub fn audit(
    store: &impl Storage,
    acknowledged: &[Key],
    unknown: &[Key],
) -> Result<AuditReport, StorageError> {
    let mut report = AuditReport {
        accounts: store.accounts(),
        entries: store.last_entry(),
        acknowledged: acknowledged.len() as u64,
        unknown: unknown.len() as u64,
        ..AuditReport::default()
    };
    let mut traced = BTreeMap::new();
    let mut expected = 0_i64;
    for account in (1..=store.accounts()).map(AccountId) {
        let opening = store.account(account)?.map_or(0, |found| found.opening.0);
        expected = expected.saturating_add(opening);
        traced.insert(account, Traced { balance: opening, chained: true });
    }
    let mut applied: BTreeMap<Key, u64> = BTreeMap::new();
    for number in 1..=store.last_entry() {
        let Some(entry) = store.entry(number)? else {
            report.unexplained_accounts += 1;
            continue;
        };
        follow(&mut traced, &entry.first);
        match &entry.second {
            Some(line) => follow(&mut traced, line),
            None => expected = expected.saturating_add(entry.first.change.0),
        }
        count(&mut report, &mut applied, &entry);
    }
    for (account, trace) in &traced {
        let balance = store.account(*account)?.map_or(0, |found| found.balance.0);
        report.sum_cents = report.sum_cents.saturating_add(balance);
        report.negative_accounts += u64::from(balance < 0);
        report.unexplained_accounts += u64::from(!trace.chained || balance != trace.balance);
    }
    report.expected_sum_cents = expected;
    let is_applied = |key: &&Key| applied.contains_key(*key);
    report.unknown_applied = unknown.iter().filter(is_applied).count() as u64;
    let known_applied = acknowledged.iter().filter(is_applied).count() as u64;
    report.acknowledged_not_applied = report.acknowledged - known_applied;
    report.balanced = report.sum_cents == report.expected_sum_cents
        && report.negative_accounts == 0
        && report.unexplained_accounts == 0;
    Ok(report)
}

fn follow(traced: &mut BTreeMap<AccountId, Traced>, line: &Line) {
    let Some(trace) = traced.get_mut(&line.account) else { return };
    trace.balance = trace.balance.saturating_add(line.change.0);
    trace.chained &= trace.balance == line.balance.0;
}

fn count(report: &mut AuditReport, applied: &mut BTreeMap<Key, u64>, entry: &Entry) {
    let times = applied.entry(entry.key).or_insert(0);
    *times += 1;
    if *times > 1 {
        report.keys_applied_twice += u64::from(*times == 2);
        report.applications_beyond_first += 1;
        let cents = entry.first.change.0.saturating_abs();
        report.cents_beyond_first = report.cents_beyond_first.saturating_add(cents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::message::Cents;
    use crate::bank::storage::Transaction;
    use crate::bank::store::memory::MemoryStore;

    fn deposit(number: u64, seq: u64, cents: i64, balance: i64) -> Entry {
        let first = Line {
            entry: number,
            account: AccountId(1),
            counterparty: None,
            number,
            change: Cents(cents),
            balance: Cents(balance),
            credits: Cents(cents),
        };
        Entry { number, key: Key { client: 1, seq }, first, second: None }
    }

    fn ledger(entries: &[Entry]) -> MemoryStore {
        let mut store = MemoryStore::with_accounts(2, Cents(100));
        for entry in entries {
            let transaction = Transaction { entry: Some(*entry), ..Transaction::default() };
            store.commit(transaction).unwrap();
        }
        store
    }

    #[test]
    fn a_key_applied_three_times_counts_as_one_key_and_two_entries_too_many() {
        let entries = [deposit(1, 7, 5, 105), deposit(2, 7, 5, 110), deposit(3, 7, 5, 115)];
        let keys = [7, 8].map(|seq| Key { client: 1, seq });
        let report = audit(&ledger(&entries), &keys, &keys).unwrap();
        assert!(report.balanced, "{report:?}");
        assert_eq!((report.keys_applied_twice, report.applications_beyond_first), (1, 2));
        assert_eq!(report.cents_beyond_first, 10);
        assert_eq!((report.acknowledged, report.acknowledged_not_applied), (2, 1));
        assert_eq!((report.unknown, report.unknown_applied), (2, 1));
        assert_eq!((report.sum_cents, report.expected_sum_cents), (215, 215));
    }

    #[test]
    fn an_unexplained_cent_is_found() {
        let report = audit(&ledger(&[deposit(1, 1, 5, 106)]), &[], &[]).unwrap();
        assert!(!report.balanced);
        assert_eq!(
            (report.sum_cents - report.expected_sum_cents, report.unexplained_accounts),
            (1, 1)
        );
    }

    #[test]
    fn a_negative_balance_is_found() {
        let report = audit(&ledger(&[deposit(1, 1, -101, -1)]), &[], &[]).unwrap();
        assert!(!report.balanced);
        assert_eq!(report.negative_accounts, 1);
    }
}
