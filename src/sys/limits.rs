//! The limit on open files and sockets of this process (`RLIMIT_NOFILE`).
#![expect(unsafe_code, reason = "getrlimit and setrlimit have no safe wrapper in std")]

use super::error::check;
use std::io;

/// Raises the soft limit towards `wanted` descriptors, as far as the hard limit allows; returns the
/// limit then.
///
/// # Errors
/// The error of getrlimit or setrlimit.
pub fn raise_descriptors(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit to `limit`, which is live and mutable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < wanted {
        limit.rlim_cur = wanted.min(limit.rlim_max);
        // SAFETY: the kernel only reads `limit`.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

/// Raises the soft limit to at least `wanted` descriptors.
///
/// # Errors
/// `EMFILE` if the hard limit is lower; otherwise the error of getrlimit or setrlimit.
pub fn allow_descriptors(wanted: u64) -> io::Result<()> {
    if raise_descriptors(wanted)? < wanted {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_beyond_the_hard_limit() {
        allow_descriptors(16).unwrap();
        assert!(raise_descriptors(u64::MAX - 1).unwrap() < u64::MAX - 1);
        let error = allow_descriptors(u64::MAX - 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }
}
