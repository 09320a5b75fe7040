//! Formats answers, counters and frames as text; money is never rounded.

use crate::bank::codec::{Body, Hello, Message, Welcome};
use crate::bank::driver::call::Way;
use crate::bank::frame::{FrameError, MAX_FRAME, frame_len};
use crate::bank::message::{Cents, EntryView, Operation, Reply, Request};
use crate::measure::human;
use crate::wire::hex;
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

/// Transmitted bytes: each frame decoded, and its bytes.
pub(super) fn frames(way: Way, bytes: &[u8]) -> String {
    let arrow = if way == Way::Sent { "-->" } else { "<--" };
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let whole = match frame_len(rest, MAX_FRAME) {
            Ok(Some(len)) if len <= rest.len() => len,
            // Bytes that are no frame are shown too.
            _ => rest.len(),
        };
        let (frame, after) = rest.split_at(whole);
        out.push_str(&format!("{arrow} {}: {}\n", bytes_of(frame), describe(frame)));
        out.push_str(&hex::dump(frame));
        rest = after;
    }
    out
}

fn bytes_of(frame: &[u8]) -> String {
    human::plural(frame.len() as u64, "byte", "bytes")
}

fn describe(frame: &[u8]) -> String {
    let message = match Message::decode(frame) {
        Ok(message) => message,
        Err(FrameError::Version(foreign)) => return format!("version {}", foreign.version),
        Err(FrameError::Garbage(violation, _)) => return format!("no whole frame: {violation}"),
    };
    let header = message.header;
    let op = Operation::from_byte(header.op).map_or("", Operation::name);
    let key = format!("key {:016x}/{}, attempt {}", header.client, header.seq, header.attempt);
    match &message.body {
        Body::Hello(Hello { min_version, max_version, max_frame, nonce, .. }) => format!(
            "HELLO, versions {min_version} to {max_version}, frames up to {max_frame} bytes, nonce \
             {nonce:016x}"
        ),
        Body::Welcome(Ok(Welcome { version, dedup, window, lease_ms, .. })) => format!(
            "WELCOME, version {version}, lease {:016x} for {lease_ms} ms, window {window}, \
             duplicate check {dedup}",
            header.client
        ),
        Body::Welcome(Err(refusal)) => format!("WELCOME, refused: {refusal}"),
        Body::Request(Ok(request)) => format!(
            "REQUEST {op}, {key}, {} µs left, acknowledged up to {}: {request:?}",
            header.deadline_us, header.ack_upto
        ),
        Body::Request(Err(refusal)) => format!("REQUEST {op}, {key}: {refusal}"),
        Body::Response(answer) => format!("RESPONSE {op}, {key}: {answer:?}"),
        Body::GoAway => format!("GOAWAY, nothing taken after sequence {}", header.seq),
    }
}
