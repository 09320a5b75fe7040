//! Errors of the kernel with what was being done, and the original error as their cause.

use std::error::Error;
use std::{fmt, io};

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
