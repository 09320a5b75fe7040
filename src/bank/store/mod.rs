//! Where the ledger and the idempotency keys live, committed together.
//!
//! It exists so that what a crash can lose is a property of one place.
//! It must never decide what a request means: it writes the transaction it is given.

pub mod memory;
