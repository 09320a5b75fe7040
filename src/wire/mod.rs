//! Wire formats: byte cursors, decode errors that name the faulty field, hex dumps.

pub mod base32;
pub mod cursor;
mod error;
pub mod foreign;
pub mod hex;

pub use cursor::{Reader, Writer};
pub use error::{DecodeError, EncodeError, Fault};
