//! Formats answers and counters as text; money is never rounded.

use crate::bank::message::{Cents, EntryView, Reply, Request};
use crate::measure::human;
use std::collections::BTreeMap;

/// `3 deposit, 1 balance`, or `none`.
pub(super) fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    each.join(", ")
}

/// The answer to a request about `account`, in one or more lines.
pub(super) fn reply(request: &Request, reply: &Reply) -> String {
    match (request, reply) {
        (Request::Balance { account }, Reply::Balance { balance, .. }) => {
            format!("Account {} holds {balance}.\n", account.0)
        }
        (Request::Deposit { account, amount }, Reply::Deposited { balance, entry }) => format!(
            "{} is in account {}, which now holds {balance} (ledger entry {entry}).\n",
            Cents::from(*amount),
            account.0
        ),
        (Request::Transfer { from, to, amount }, Reply::Transferred { balance, entry }) => format!(
            "{} moved from account {} to account {}; account {} now holds {balance} (ledger entry \
             {entry}).\n",
            Cents::from(*amount),
            from.0,
            to.0,
            from.0
        ),
        (
            Request::Statement { account, from_entry },
            Reply::Statement { opening, credits, debits, closing, entries, .. },
        ) => {
            let mut text = format!(
                "Account {}, from ledger entry {}: {}.\n",
                account.0,
                (*from_entry).max(1),
                human::plural(*entries, "entry", "entries")
            );
            for (label, sum) in [
                ("held before", opening),
                ("came in", credits),
                ("went out", debits),
                ("holds now", closing),
            ] {
                text.push_str(&format!("  {label:<11}  {:>16}\n", sum.to_string()));
            }
            text
        }
        (_, Reply::Address { text }) => format!("{text}\n"),
        (_, other) => format!("{other:?}\n"),
    }
}

/// Entries as a table.
pub(super) fn entries(entries: &[EntryView]) -> String {
    let mut out = format!("{:>8}  {:>16}  {:>16}  {}\n", "entry", "change", "balance", "with");
    for entry in entries {
        let change = entry.change.to_string();
        let change = if entry.change.get() > 0 { format!("+{change}") } else { change };
        let with = entry.counterparty.map_or(String::new(), |other| format!("account {}", other.0));
        // Without a counterparty, the line has no trailing blanks.
        let balance = entry.balance.to_string();
        let line = format!("{:>8}  {change:>16}  {balance:>16}  {with}", entry.entry);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
