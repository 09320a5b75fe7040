//! Results of system calls, and errors with what was being done and the original as their cause.
#![expect(unsafe_code, reason = "a descriptor from the kernel becomes an owned one here")]

use std::error::Error;
use std::os::fd::{FromRawFd, OwnedFd};
use std::{fmt, io};

/// A constant, index or size of the kernel in the type of a field or argument.
pub(super) fn fits<A, B: TryFrom<A>>(number: A) -> B
where
    B::Error: fmt::Debug,
{
    B::try_from(number).expect("invariant: the kernel's own numbers fit its fields")
}

/// The result of a system call that returns 0, or -1 and errno.
pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptor that a system call has just made, or its error for -1.
///
/// # Safety
/// It has no other owner.
pub(super) unsafe fn made(fd: libc::c_int) -> io::Result<OwnedFd> {
    check(fd.min(0))?;
    // SAFETY: it is open, and the caller gives it away.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[derive(Debug)]
struct During {
    what: String,
    cause: io::Error,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

impl Error for During {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// For `map_err`: the same kind of error, named after what was being done.
pub fn during(what: impl fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |cause| io::Error::new(cause.kind(), During { what: what.to_string(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_number_is_kept_as_the_cause() {
        let error = during("open it")(io::Error::from_raw_os_error(libc::EMFILE));
        assert!(error.to_string().starts_with("open it: "), "{error}");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.and_then(io::Error::raw_os_error), Some(libc::EMFILE));
    }
}
