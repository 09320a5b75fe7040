//! The sequence of operations of a load.

use crate::bank::message::{AccountId, Amount, Operation, Request};
use crate::measure::draw::keyed;

/// The sequence of operations: a pure function of a seed.
///
/// 50 % deposits, 30 % balance queries, 20 % transfers: most operations change money, so duplicate
/// application shows.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The seed of every draw.
    pub seed: u64,
    /// Accounts 1 ..= `accounts` are used; at least 2.
    pub accounts: u64,
    /// The only operation; `None` for the mix above.
    pub only: Option<Operation>,
}

/// Amounts are drawn from 1 ..= this many cents.
pub const AMOUNT_CENTS_MAX: u64 = 10_000;

impl Workload {
    /// Operation number `op`.
    pub fn request(&self, op: u64) -> Request {
        let draw = |stream: u64| keyed(self.seed, op << 3 | stream);
        let accounts = self.accounts.max(2);
        let first = 1 + draw(0) % accounts;
        // A different account: skip 1 ..= accounts - 1 places.
        let second = 1 + (first - 1 + 1 + draw(1) % (accounts - 1)) % accounts;
        let (account, to) = (AccountId(first), AccountId(second));
        let amount = Amount::new(1 + draw(2) % AMOUNT_CENTS_MAX).expect("drawn from 1 upwards");
        let operation = self.only.unwrap_or_else(|| match draw(3) % 10 {
            0..5 => Operation::Deposit,
            5..8 => Operation::Balance,
            _ => Operation::Transfer,
        });
        operation.request(account, to, amount)
    }
}
