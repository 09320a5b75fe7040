//! Stores of the bank: ledger and idempotency keys, committed together.

pub mod memory;
