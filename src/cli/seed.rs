//! A seed where the user gave none.
//!
//! Everything that an experiment draws comes from the seed. Only what must not be guessed does not:
//! `net::ntp` asks the system for the random bits of its requests.
//! It must never be used without being printed and stored.

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
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_seed_is_kept_and_a_random_one_is_short() {
        assert_eq!(or_random(Some(7)).unwrap(), 7);
        assert!(or_random(None).unwrap() < 1 << 32);
    }
}
