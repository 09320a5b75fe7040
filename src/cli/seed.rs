//! The seed of a run, and random bytes that no seed may give.
//!
//! Everything that an experiment draws comes from its seed, which is printed and stored. What must
//! not be predictable (query IDs, NTP nonces, keys) comes from the kernel instead, and is neither
//! printed nor stored.

use super::error::Failure;
use super::exit::Exit;
use crate::sys::random;
use std::io;

/// The seed that was given, or a random one below 2^32: short enough to type again.
///
/// # Errors
/// Errors of `getrandom`.
pub fn or_random(given: Option<u64>) -> io::Result<u64> {
    match given {
        Some(seed) => Ok(seed),
        None => Ok(u64::from(u32::from_le_bytes(random::array()?))),
    }
}

/// Unpredictable bytes.
///
/// # Errors
/// Errors of `getrandom`.
pub fn secret<const LEN: usize>() -> io::Result<[u8; LEN]> {
    random::array()
}

/// Why there is no seed, and that one can be given.
#[must_use]
pub fn no_random(error: &io::Error) -> Failure {
    Failure::from_error(Exit::Privilege, "no random numbers: getrandom(2) failed", error)
        .because("a seccomp filter or a kernel before 3.17 may forbid it")
        .or_type("with a seed of your own", "--seed 1")
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
