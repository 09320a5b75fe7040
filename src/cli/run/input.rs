//! Files that came from elsewhere: saved runs, plans, hints, anchors, fates, traces.
//!
//! Only regular files are read, since a FIFO or a device may never end, and no more than the limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a file that a person writes: a plan, hints, anchors.
pub const WRITTEN_MAX: u64 = 16 << 20;
/// Bytes of a file that a run leaves: an hour of events and fates.
pub const RECORDED_MAX: u64 = 1 << 30;

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors
/// `InvalidInput` for another kind of file, `FileTooLarge`, or what the file system says.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    text_of(&file, limit)
}

/// The text of an open file of at most `limit` bytes.
pub(super) fn text_of(file: &File, limit: u64) -> io::Result<String> {
    let too_large = || {
        let why = format!("it is larger than the {} MiB that are read here", limit >> 20);
        io::Error::new(io::ErrorKind::FileTooLarge, why)
    };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_large());
    }
    let mut text = String::new();
    // A file can grow meanwhile, and those of /proc have no length.
    let read = file.take(limit + 1).read_to_string(&mut text)?;
    if read as u64 > limit { Err(too_large()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        for device in ["/dev/zero", "/dev/tty", "/dev/fd/0", "/"] {
            let error = read_text(Path::new(device), 1 << 20);
            assert!(error.is_err(), "{device}");
        }
        let path = std::env::temp_dir().join(format!("wirelab-input-{}", std::process::id()));
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read_text(&path, 8).unwrap(), "12345678");
        assert_eq!(read_text(&path, 7).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::remove_file(&path).unwrap();
        assert!(!read_text(Path::new("/proc/version"), 4_096).unwrap().is_empty());
        assert!(read_text(Path::new("/proc/version"), 2).is_err(), "its length says 0");
    }
}
