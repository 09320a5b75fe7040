//! Stores of the bank: ledger and idempotency keys, committed together.
//! `STORE.md`, beside PROTOCOL.md, specifies the files of the durable one.
//!
//! | module | purpose |
//! |---|---|
//! | [`memory`] | balances, entries, keys and leases in memory |
//! | [`record`] | bytes of transactions, of a record and of the file header |
//! | [`disk`] | the trait of a directory, and a real one |
//! | [`log`] | opens, repairs and appends to the log |
//! | [`mod@file`] | the store that logs what the memory store applies |

pub mod disk;
pub mod file;
pub mod log;
pub mod memory;
pub mod record;
