//! The bank's rules: how requests read or change the accounts, as pure functions over a store.
//! No transfer makes a balance negative; only a deposit creates money.

use super::client::Key;
use super::codec::{ENTRY_LEN, PAGE_ENTRIES_MAX, PAGE_LEN, reply_room};
use super::frame::{ADDRESS_MAX, FIELD_HEADER_LEN, HEADER_LEN, wire_len};
use super::message::{AccountId, Amount, Cents, EntryView, Refusal, Reply, Request};
use super::storage::{Account, Entry, Line, Storage, StorageError};

/// The decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changes; reply with this.
    Read(Reply),
    /// Commit the entry, then reply.
    Apply(Entry, Reply),
    /// Nothing changes; refuse.
    Refuse(Refusal),
}

/// Decides on a request whose reply frame may be at most `room` bytes.
/// Fails if the store cannot be read.
pub fn decide(
    store: &impl Storage,
    key: Key,
    request: &Request,
    room: usize,
) -> Result<Decision, StorageError> {
    if !matches!(request, Request::Transactions { .. } | Request::Address { .. }) {
        let needed = reply_room(request);
        if needed > room {
            return Ok(too_large(needed));
        }
    }
    match *request {
        Request::Balance { account } => balance(store, account),
        Request::Deposit { account, amount } => deposit(store, key, account, amount),
        Request::Transfer { from, to, amount } => transfer(store, key, from, to, amount),
        Request::Statement { account, from_entry } => statement(store, account, from_entry),
        Request::Transactions { account, from_entry, limit } => {
            transactions(store, account, from_entry, limit, room)
        }
        Request::Address { account } => address(store, account, room),
    }
}

fn too_large(needed: usize) -> Decision {
    Decision::Refuse(Refusal::ReplyTooLarge { needed: wire_len(needed) })
}

const fn refuse(refusal: Refusal) -> Result<Decision, StorageError> {
    Ok(Decision::Refuse(refusal))
}

fn balance(store: &impl Storage, account: AccountId) -> Result<Decision, StorageError> {
    let Some(found) = store.account(account)? else { return refuse(Refusal::UnknownAccount) };
    let commit = store.commit_index().0;
    Ok(Decision::Read(Reply::Balance { balance: found.balance, commit }))
}

/// The line that changes an account by `change`; `None` if a sum would overflow.
fn line(
    account: &Account,
    id: AccountId,
    counterparty: Option<AccountId>,
    entry: u64,
    change: Cents,
) -> Option<Line> {
    let credit = Cents(change.0.max(0));
    Some(Line {
        entry,
        account: id,
        counterparty,
        number: account.lines + 1,
        change,
        balance: account.balance.checked_add(change)?,
        credits: account.credits.checked_add(credit)?,
    })
}

fn deposit(
    store: &impl Storage,
    key: Key,
    account: AccountId,
    amount: Amount,
) -> Result<Decision, StorageError> {
    let Some(found) = store.account(account)? else { return refuse(Refusal::UnknownAccount) };
    // The sum of all balances must fit as well, for the audit.
    if store.supply().checked_add(amount.into()).is_none() {
        return refuse(Refusal::Overflow);
    }
    let number = store.last_entry() + 1;
    let Some(first) = line(&found, account, None, number, amount.into()) else {
        return refuse(Refusal::Overflow);
    };
    let reply = Reply::Deposited { balance: first.balance, entry: number };
    Ok(Decision::Apply(Entry { number, key, first, second: None }, reply))
}

fn transfer(
    store: &impl Storage,
    key: Key,
    from: AccountId,
    to: AccountId,
    amount: Amount,
) -> Result<Decision, StorageError> {
    if from == to {
        return refuse(Refusal::SameAccount);
    }
    let (Some(payer), Some(payee)) = (store.account(from)?, store.account(to)?) else {
        return refuse(Refusal::UnknownAccount);
    };
    if payer.balance < amount.into() {
        return refuse(Refusal::InsufficientFunds);
    }
    let number = store.last_entry() + 1;
    // An amount is at least 1, so its negative fits.
    let first = line(&payer, from, Some(to), number, Cents(-amount.cents()));
    let second = line(&payee, to, Some(from), number, amount.into());
    let (Some(first), Some(second)) = (first, second) else {
        return refuse(Refusal::Overflow);
    };
    let reply = Reply::Transferred { balance: first.balance, entry: number };
    Ok(Decision::Apply(Entry { number, key, first, second: Some(second) }, reply))
}

fn statement(
    store: &impl Storage,
    account: AccountId,
    from_entry: u64,
) -> Result<Decision, StorageError> {
    let Some(found) = store.account(account)? else { return refuse(Refusal::UnknownAccount) };
    let first = store.lines(account, from_entry, 1)?.first().copied();
    // Running sums make a statement the difference of two lines.
    let (opening, credits_before, entries) = match first {
        None => (found.balance, found.credits, 0),
        Some(line) => (
            Cents(line.balance.0 - line.change.0),
            Cents(line.credits.0 - line.change.0.max(0)),
            found.lines + 1 - line.number,
        ),
    };
    let credits = Cents(found.credits.0 - credits_before.0);
    let debits = Cents(credits.0 - (found.balance.0 - opening.0));
    let (closing, commit) = (found.balance, store.commit_index().0);
    let reply = Reply::Statement { opening, credits, debits, closing, entries, commit };
    Ok(Decision::Read(reply))
}

fn transactions(
    store: &impl Storage,
    account: AccountId,
    from_entry: u64,
    limit: u16,
    room: usize,
) -> Result<Decision, StorageError> {
    if store.account(account)?.is_none() {
        return refuse(Refusal::UnknownAccount);
    }
    let fits = room.saturating_sub(PAGE_LEN) / ENTRY_LEN;
    if fits == 0 {
        return Ok(too_large(PAGE_LEN + ENTRY_LEN));
    }
    let wanted = if limit == 0 { PAGE_ENTRIES_MAX } else { usize::from(limit) };
    let count = wanted.min(fits).min(PAGE_ENTRIES_MAX);
    let lines = store.lines(account, from_entry, count + 1)?;
    let next = lines.get(count).map(|line| line.entry);
    let view = |line: &Line| EntryView {
        entry: line.entry,
        change: line.change,
        balance: line.balance,
        counterparty: line.counterparty,
    };
    let entries = lines.iter().take(count).map(view).collect();
    Ok(Decision::Read(Reply::Transactions { entries, next }))
}

fn address(
    store: &impl Storage,
    account: AccountId,
    room: usize,
) -> Result<Decision, StorageError> {
    let Some(mut text) = store.address(account)? else { return refuse(Refusal::UnknownAccount) };
    let end = (0..=ADDRESS_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.expect("invariant: 0 is a boundary of every text"));
    let needed = HEADER_LEN + 8 + FIELD_HEADER_LEN + text.len();
    if needed > room {
        return Ok(too_large(needed));
    }
    Ok(Decision::Read(Reply::Address { text }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::storage::Transaction;
    use crate::bank::store::memory::MemoryStore;

    const ROOM: usize = 1_200;
    const A: AccountId = AccountId(1);
    const B: AccountId = AccountId(2);

    fn run(store: &mut MemoryStore, request: Request) -> Result<Reply, Refusal> {
        match decide(store, Key { client: 1, seq: 1 }, &request, ROOM).unwrap() {
            Decision::Read(reply) => Ok(reply),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Apply(entry, reply) => {
                let transaction = Transaction { entry: Some(entry), ..Transaction::default() };
                store.commit(transaction).unwrap();
                Ok(reply)
            }
        }
    }

    fn amount(cents: u64) -> Amount {
        Amount::new(cents).unwrap()
    }

    #[test]
    fn a_transfer_cannot_overdraw() {
        let mut store = MemoryStore::with_accounts(2, Cents(100));
        let transfer = |cents| Request::Transfer { from: A, to: B, amount: amount(cents) };
        assert_eq!(run(&mut store, transfer(101)), Err(Refusal::InsufficientFunds));
        let done = Reply::Transferred { balance: Cents::ZERO, entry: 1 };
        assert_eq!(run(&mut store, transfer(100)), Ok(done));
        assert_eq!(run(&mut store, transfer(1)), Err(Refusal::InsufficientFunds));
        assert_eq!(store.account(B).unwrap().unwrap().balance, Cents(200));
        assert_eq!(store.supply(), Cents(200));
        let same = Request::Transfer { from: A, to: A, amount: amount(1) };
        assert_eq!(run(&mut store, same), Err(Refusal::SameAccount));
        for account in [0, 3, u64::MAX].map(AccountId) {
            let lost = Request::Transfer { from: B, to: account, amount: amount(1) };
            assert_eq!(run(&mut store, lost), Err(Refusal::UnknownAccount));
            let balance = Request::Balance { account };
            assert_eq!(run(&mut store, balance), Err(Refusal::UnknownAccount));
        }
    }

    #[test]
    fn overflow_is_refused() {
        let mut store = MemoryStore::with_accounts(2, Cents(1));
        let most = amount(i64::MAX.cast_unsigned());
        let deposit = |amount| Request::Deposit { account: A, amount };
        assert_eq!(run(&mut store, deposit(most)), Err(Refusal::Overflow));
        assert!(run(&mut store, deposit(amount(i64::MAX.cast_unsigned() - 2))).is_ok());
        assert_eq!(run(&mut store, deposit(amount(1))), Err(Refusal::Overflow));
    }

    #[test]
    fn statements_sum_from_any_entry() {
        let mut store = MemoryStore::with_accounts(2, Cents(1_000));
        for step in 1..=20 {
            let request = if step % 3 == 0 {
                Request::Transfer { from: A, to: B, amount: amount(step * 7) }
            } else {
                Request::Deposit { account: A, amount: amount(step) }
            };
            run(&mut store, request).unwrap();
        }
        for from_entry in 0..23 {
            let lines = store.lines(A, from_entry, 100).unwrap();
            let request = Request::Statement { account: A, from_entry };
            let Ok(Reply::Statement { opening, credits, debits, closing, entries, .. }) =
                run(&mut store, request)
            else {
                panic!("no statement from {from_entry}");
            };
            let sum = |sign: i64| -> i64 {
                lines.iter().map(|l| l.change.0).filter(|c| c.signum() == sign).sum()
            };
            assert_eq!((credits.0, -debits.0), (sum(1), sum(-1)), "from {from_entry}");
            assert_eq!(entries, lines.len() as u64, "from {from_entry}");
            assert_eq!(opening.0 + credits.0 - debits.0, closing.0, "from {from_entry}");
        }
    }

    #[test]
    fn pages_cover_the_account_without_gap_or_overlap() {
        let mut store = MemoryStore::with_accounts(1, Cents::ZERO);
        for step in 1..=100 {
            run(&mut store, Request::Deposit { account: A, amount: amount(step) }).unwrap();
        }
        for limit in [0, 1, 7, 35, 99, 100, 101] {
            let (mut from_entry, mut seen) = (0, Vec::new());
            loop {
                let request = Request::Transactions { account: A, from_entry, limit };
                let Ok(Reply::Transactions { entries, next }) = run(&mut store, request) else {
                    panic!("no page");
                };
                seen.extend(entries.iter().map(|e| e.entry));
                let Some(next) = next else { break };
                from_entry = next;
            }
            assert_eq!(seen, (1..=100).collect::<Vec<u64>>(), "limit {limit}");
        }
    }
}
