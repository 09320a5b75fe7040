//! A seed where the user gave none, and what no seed may give.
//!
//! Everything that an experiment draws comes from the seed. Only what must not be guessed does not:
//! `net::ntp` asks the system for the random bits of its requests, and a walk beyond the
//! demonstration has a secret. A seed must never be used without being printed and stored, a secret
//! never be printed or stored.

use std::fs::File;
use std::io::{self, Read};

/// The seed that was given, or one from the system below 2^32: short enough to type again.
///
/// # Errors
/// What reading `/dev/urandom` returns.
pub fn or_random(given: Option<u64>) -> io::Result<u64> {
    if let Some(seed) = given {
        return Ok(seed);
    }
    Ok(u64::from(u32::from_le_bytes(secret()?)))
}

/// Bytes that nobody can foretell.
///
/// # Errors
/// What reading `/dev/urandom` returns.
pub fn secret<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_seed_is_kept_and_a_random_one_is_short() {
        assert_eq!(or_random(Some(7)).unwrap(), 7);
        assert!(or_random(None).unwrap() < 1 << 32);
    }

    #[test]
    fn no_secret_comes_twice() {
        assert_ne!(secret::<16>().unwrap(), secret::<16>().unwrap());
    }
}
