//! The sequence of operations that a load asks for, and what each is worth in bytes.

use crate::bank::codec::{Answer, encode_answer, encode_request};
use crate::bank::frame::{Header, Kind};
use crate::bank::message::{AccountId, Amount, Cents, Operation, Reply, Request};
use crate::measure::draw::keyed;
use bytes::BytesMut;

/// The sequence of operations: a pure function of a seed.
///
/// Half are deposits, three in ten ask for a balance, two in ten are transfers: what moves money is
/// what retries can spoil.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The seed of every draw.
    pub seed: u64,
    /// Accounts 1 ..= `accounts` are used; at least 2.
    pub accounts: u64,
    /// What is asked for; `None` mixes as described above.
    pub only: Option<Operation>,
}

/// Amounts are drawn from 1 ..= this many cents.
pub const AMOUNT_CENTS_MAX: u64 = 10_000;

impl Workload {
    /// Operation number `op`.
    #[must_use]
    pub fn request(&self, op: u64) -> Request {
        let draw = |stream: u64| keyed(self.seed, op << 3 | stream);
        let accounts = self.accounts.max(2);
        let first = 1 + draw(0) % accounts;
        // Another account than the first: skip 1 ..= accounts - 1 places.
        let second = 1 + (first - 1 + 1 + draw(1) % (accounts - 1)) % accounts;
        let (account, to) = (AccountId(first), AccountId(second));
        let amount = Amount::new(1 + draw(2) % AMOUNT_CENTS_MAX).expect("drawn from 1 upwards");
        let operation = self.only.unwrap_or_else(|| match draw(3) % 10 {
            0..5 => Operation::Deposit,
            5..8 => Operation::Balance,
            _ => Operation::Transfer,
        });
        match operation {
            Operation::Balance => Request::Balance { account },
            Operation::Deposit => Request::Deposit { account, amount },
            Operation::Transfer => Request::Transfer { from: account, to, amount },
            Operation::Statement => Request::Statement { account, from_entry: 0 },
            Operation::Transactions => {
                Request::Transactions { account, from_entry: 0, limit: TRANSACTIONS_PAGE }
            }
            Operation::Address => Request::Address { account },
        }
    }
}

/// Entries asked for by one `transactions` request of a workload: they fit one datagram.
const TRANSACTIONS_PAGE: u16 = 8;

/// Bytes of one request and one reply message, without padding or any header below the message:
/// what an exchange is for. Lists count without their elements.
#[must_use]
pub fn useful_bytes(operation: Operation) -> u64 {
    let account = AccountId(1);
    let amount = Amount::new(1).expect("1 is an amount");
    let zero = Cents::ZERO;
    let (request, reply) = match operation {
        Operation::Balance => {
            (Request::Balance { account }, Reply::Balance { balance: zero, commit: 0 })
        }
        Operation::Deposit => {
            (Request::Deposit { account, amount }, Reply::Deposited { balance: zero, entry: 0 })
        }
        Operation::Transfer => (
            Request::Transfer { from: account, to: account, amount },
            Reply::Transferred { balance: zero, entry: 0 },
        ),
        Operation::Statement => (
            Request::Statement { account, from_entry: 0 },
            Reply::Statement {
                opening: zero,
                credits: zero,
                debits: zero,
                closing: zero,
                entries: 0,
                commit: 0,
            },
        ),
        Operation::Transactions => (
            Request::Transactions { account, from_entry: 0, limit: 0 },
            Reply::Transactions { entries: Vec::new(), next: None },
        ),
        Operation::Address => {
            (Request::Address { account }, Reply::Address { text: String::new() })
        }
    };
    let mut bytes = BytesMut::new();
    encode_request(&mut bytes, &Header::of(Kind::Request), &request, 0);
    encode_answer(&mut bytes, &Header::of(Kind::Response), &Answer::Done(reply));
    bytes.len() as u64
}
