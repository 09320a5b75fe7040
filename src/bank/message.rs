//! The values of the protocol: accounts, money, requests, replies, refusals.

use serde::{Deserialize, Serialize};
use std::{fmt, mem};

/// Number of an account; a store numbers its accounts from 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AccountId(pub u64);

/// An amount of money to move: 1 ..= `i64::MAX` cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// `cents`; `None` for 0 and above `i64::MAX`.
    pub const fn new(cents: u64) -> Option<Self> {
        // Above i64::MAX the value reads as negative.
        let cents = cents.cast_signed();
        if cents > 0 { Some(Self(cents)) } else { None }
    }

    /// The amount in cents, above 0.
    pub const fn cents(self) -> i64 {
        self.0
    }

    /// The cents on the wire.
    pub(super) const fn word(self) -> u64 {
        self.0.cast_unsigned()
    }
}

/// A balance or a change of one, in cents; arithmetic is checked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cents(pub i64);

impl Cents {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Cents, negative for a debit.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The cents on the wire, in two's complement.
    pub(super) const fn word(self) -> u64 {
        self.0.cast_unsigned()
    }

    /// The sum; `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl From<Amount> for Cents {
    fn from(amount: Amount) -> Self {
        Self(amount.0)
    }
}

/// `12.34`, with a sign if negative.
impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

/// The operation of a request: the `op` byte of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Operation {
    /// Read a balance.
    Balance = 1,
    /// Deposits money.
    Deposit = 2,
    /// Move money between two accounts.
    Transfer = 3,
    /// Sums over an account's entries.
    Statement = 4,
    /// An account's entries, paged.
    Transactions = 5,
    /// The postal address of an account's holder.
    Address = 6,
}

impl Operation {
    /// All operations, by code.
    pub const ALL: [Self; 6] = [
        Self::Balance,
        Self::Deposit,
        Self::Transfer,
        Self::Statement,
        Self::Transactions,
        Self::Address,
    ];

    /// The operation with this code.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == byte)
    }

    /// Its name in reports and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Deposit => "deposit",
            Self::Transfer => "transfer",
            Self::Statement => "statement",
            Self::Transactions => "transactions",
            Self::Address => "address",
        }
    }

    /// A default request: `account` from its first entry, in pages of 8 entries, which fit a
    /// datagram.
    pub const fn request(self, account: AccountId, to: AccountId, amount: Amount) -> Request {
        match self {
            Self::Balance => Request::Balance { account },
            Self::Deposit => Request::Deposit { account, amount },
            Self::Transfer => Request::Transfer { from: account, to, amount },
            Self::Statement => Request::Statement { account, from_entry: 0 },
            Self::Transactions => Request::Transactions { account, from_entry: 0, limit: 8 },
            Self::Address => Request::Address { account },
        }
    }

    /// Whether the operation is not idempotent.
    pub const fn changes_the_ledger(self) -> bool {
        matches!(self, Self::Deposit | Self::Transfer)
    }
}

/// A request of a client.
///
/// A transfer to the same account can be written and is refused with [`Refusal::SameAccount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// The balance of an account.
    Balance {
        /// The account.
        account: AccountId,
    },
    /// Put `amount` into `account`.
    Deposit {
        /// The account credited.
        account: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// Moves `amount`; refused if `from` holds less.
    Transfer {
        /// The payer.
        from: AccountId,
        /// The payee.
        to: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// Sums over the entries of `account` numbered `from_entry` and above.
    Statement {
        /// The account.
        account: AccountId,
        /// First ledger entry; 0 and 1 mean all.
        from_entry: u64,
    },
    /// The entries of `account` numbered `from_entry` and above, oldest first.
    Transactions {
        /// The account.
        account: AccountId,
        /// First ledger entry; 0 and 1 both mean the first.
        from_entry: u64,
        /// Maximum entries; 0 means as many as fit the reply.
        limit: u16,
    },
    /// The holder's address.
    Address {
        /// The account.
        account: AccountId,
    },
}

impl Request {
    /// The requested operation.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Balance { .. } => Operation::Balance,
            Self::Deposit { .. } => Operation::Deposit,
            Self::Transfer { .. } => Operation::Transfer,
            Self::Statement { .. } => Operation::Statement,
            Self::Transactions { .. } => Operation::Transactions,
            Self::Address { .. } => Operation::Address,
        }
    }
}

/// One line of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Number of the ledger entry, from 1; increases along the ledger.
    pub entry: u64,
    /// The change of the account; negative for a debit.
    pub change: Cents,
    /// The balance after it.
    pub balance: Cents,
    /// The other account of a transfer.
    pub counterparty: Option<AccountId>,
}

/// The reply to an operation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Reply {
    /// A balance.
    Balance {
        /// Cents held.
        balance: Cents,
        /// Number of committed transactions when it was read.
        commit: u64,
    },
    /// The deposit was applied.
    Deposited {
        /// The balance after it.
        balance: Cents,
        /// The ledger entry made.
        entry: u64,
    },
    /// The transfer was applied.
    Transferred {
        /// The balance of the paying account after it.
        balance: Cents,
        /// The ledger entry made.
        entry: u64,
    },
    /// Sums; `opening + credits - debits == closing`.
    Statement {
        /// Balance before the first entry of the statement.
        opening: Cents,
        /// Sum of credits.
        credits: Cents,
        /// Sum of debits, not negative.
        debits: Cents,
        /// Balance after the last entry.
        closing: Cents,
        /// Number of entries summed.
        entries: u64,
        /// Number of committed transactions when it was read.
        commit: u64,
    },
    /// A page of entries.
    Transactions {
        /// Oldest first.
        entries: Vec<EntryView>,
        /// `from_entry` of the next page, if any.
        next: Option<u64>,
    },
    /// An address, at most [`ADDRESS_MAX`](crate::bank::frame::ADDRESS_MAX) bytes of UTF-8.
    Address {
        /// Lines separated by `\n`.
        text: String,
    },
}

impl Reply {
    /// The operation it answers.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Balance { .. } => Operation::Balance,
            Self::Deposited { .. } => Operation::Deposit,
            Self::Transferred { .. } => Operation::Transfer,
            Self::Statement { .. } => Operation::Statement,
            Self::Transactions { .. } => Operation::Transactions,
            Self::Address { .. } => Operation::Address,
        }
    }
}

/// Definitely not applied, and never will be under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The account does not exist.
    #[error("no such account; accounts are numbered from 1")]
    UnknownAccount,
    /// The payer holds less than the amount.
    #[error("the account holds less than the amount; ask for its balance and transfer less")]
    InsufficientFunds,
    /// A transfer from an account to itself.
    #[error("payer and payee are the same account; name two accounts")]
    SameAccount,
    /// A balance, or the sum of all balances, would exceed `i64::MAX` cents.
    #[error("a balance would pass the largest the bank can hold; move a smaller amount")]
    Overflow,
    /// The key belongs to a different request.
    #[error("this sequence number was used for a different request; use the next number")]
    KeyReused,
    /// The client has acknowledged this key; its record is discarded.
    #[error("this sequence number was acknowledged and is forgotten; use the next number")]
    StaleKey,
    /// The server does not know the client's lease.
    #[error("the lease has expired; say HELLO again and use the new lease")]
    LeaseExpired,
    /// The server does not speak this version.
    #[error("the server speaks versions {min} to {max}; say HELLO with one of them")]
    UnsupportedVersion {
        /// Oldest version it speaks.
        min: u8,
        /// Newest version it speaks.
        max: u8,
    },
    /// The server does not know the operation.
    #[error("the server does not know this operation; it may be older than the client")]
    UnsupportedOperation,
    /// The server does not know a critical field.
    #[error("the server does not know field {tag}, which must not be skipped; leave it out")]
    UnsupportedField {
        /// The TLV's tag.
        tag: u16,
    },
    /// A field is out of range although the checksum is correct.
    #[error("the request has a field out of range; the client has a defect, see PROTOCOL.md")]
    Malformed,
    /// The reply exceeds the size that the request allows.
    #[error("the reply needs {needed} bytes; pad the request to that, or ask for a shorter page")]
    ReplyTooLarge {
        /// Bytes of the smallest sufficient reply frame.
        needed: u32,
    },
    /// The server's lease table is full.
    #[error("the server has as many clients as it can remember; try again later")]
    Busy,
    /// The deadline had passed before the request was processed.
    #[error("the deadline passed before the server came to it; allow more time")]
    DeadlinePassed,
    /// The server is shutting down.
    #[error("the server is shutting down; connect again or ask another server")]
    Draining,
    /// The sequence number is too far above what the client has acknowledged.
    #[error("too many operations are unacknowledged; wait for answers before asking more")]
    OutsideWindow,
    /// Client-side: the request was never sent.
    #[error("the request was never sent; connect again and repeat it")]
    NotSent,
    /// An unknown status of the definite class.
    #[error("the server refused with status {status}, which this client does not know")]
    Unrecognised {
        /// The status as received.
        status: u16,
    },
}

impl Refusal {
    /// Every refusal that has a status: status, name, and the refusal with an empty detail.
    const TABLE: [(u16, &str, Self); 17] = [
        (1, "unknown_account", Self::UnknownAccount),
        (2, "insufficient_funds", Self::InsufficientFunds),
        (3, "same_account", Self::SameAccount),
        (4, "overflow", Self::Overflow),
        (5, "key_reused", Self::KeyReused),
        (6, "stale_key", Self::StaleKey),
        (7, "lease_expired", Self::LeaseExpired),
        (8, "unsupported_version", Self::UnsupportedVersion { min: 0, max: 0 }),
        (9, "unsupported_operation", Self::UnsupportedOperation),
        (10, "unsupported_field", Self::UnsupportedField { tag: 0 }),
        (11, "malformed", Self::Malformed),
        (12, "reply_too_large", Self::ReplyTooLarge { needed: 0 }),
        (13, "busy", Self::Busy),
        (14, "deadline_passed", Self::DeadlinePassed),
        (15, "draining", Self::Draining),
        (16, "outside_window", Self::OutsideWindow),
        // Client-side only: reserved on the wire, where it reads as unrecognised.
        (17, "not_sent", Self::NotSent),
    ];

    fn row(self) -> Option<(u16, &'static str)> {
        let kind = mem::discriminant(&self);
        let row = Self::TABLE.iter().find(|(_, _, refusal)| mem::discriminant(refusal) == kind);
        row.map(|(status, name, _)| (*status, *name))
    }

    /// Its name in reports and counters.
    pub fn name(self) -> &'static str {
        self.row().map_or("unrecognised", |(_, name)| name)
    }

    /// Its status on the wire.
    pub fn status(self) -> u16 {
        match self {
            Self::Unrecognised { status } => status,
            known => known.row().map_or(0, |(status, _)| status),
        }
    }

    /// The refusal of a status, with an empty detail.
    pub fn of_status(status: u16) -> Self {
        let on_the_wire = |refusal: Self| refusal != Self::NotSent;
        let row =
            Self::TABLE.iter().find(|(of, _, refusal)| *of == status && on_the_wire(*refusal));
        row.map_or(Self::Unrecognised { status }, |(_, _, refusal)| *refusal)
    }

    /// Whether the server refuses before it looks up an earlier attempt of the same operation.
    ///
    /// Such a refusal concerns one attempt only: an earlier one may have been applied.
    pub const fn speaks_of_one_attempt(self) -> bool {
        matches!(
            self,
            Self::LeaseExpired
                | Self::StaleKey
                | Self::OutsideWindow
                | Self::UnsupportedVersion { .. }
                | Self::Busy
                | Self::Unrecognised { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_positive() {
        assert_eq!(Amount::new(0), None);
        assert_eq!(Amount::new(1).map(Amount::cents), Some(1));
        assert_eq!(Amount::new(i64::MAX as u64).map(Amount::cents), Some(i64::MAX));
        assert_eq!(Amount::new(1 << 63), None);
        assert_eq!(Amount::new(u64::MAX), None);
    }

    #[test]
    fn cents_print_as_money() {
        for (cents, text) in [(0, "0.00"), (1_234, "12.34"), (-5, "-0.05")] {
            assert_eq!(Cents(cents).to_string(), text);
        }
        assert!(Cents(i64::MIN).to_string().starts_with("-92233720368547758.08"));
        assert_eq!(Cents(i64::MAX).checked_add(Cents(1)), None);
    }

    #[test]
    fn operation_bytes_round_trip() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_byte(operation as u8), Some(operation));
        }
        assert_eq!(Operation::from_byte(0), None);
        assert_eq!(Operation::from_byte(7), None);
    }
}
