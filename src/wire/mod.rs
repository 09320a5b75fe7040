//! Bytes to values and back: cursors, decode errors that say who lied, hex views.
//!
//! It exists so that every protocol here reads untrusted bytes the same way.
//! It must never keep state between messages, panic on input, or allocate on the read path.

pub mod base32;
pub mod cursor;
mod error;
pub mod hex;

pub use cursor::{Reader, Writer};
pub use error::{DecodeError, EncodeError, Fault};
