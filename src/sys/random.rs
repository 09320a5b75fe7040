//! Random bytes from the kernel by getrandom(2), which needs no `/dev`: a chroot has none.
#![expect(unsafe_code, reason = "getrandom has no safe wrapper in std")]

use std::io;

/// Fills `bytes` from the kernel's random number generator.
///
/// # Errors
/// The error of getrandom: `EPERM` or `ENOSYS` if a seccomp filter forbids the call.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: the kernel writes at most `rest.len()` bytes to `rest`, a live mutable slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// An array of random bytes.
///
/// # Errors
/// Those of [`fill`].
pub fn array<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_differ_and_long_buffers_are_filled() {
        assert_ne!(array::<16>().unwrap(), array::<16>().unwrap());
        let long = array::<4096>().unwrap();
        assert!(long.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
}
