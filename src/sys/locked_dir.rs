//! A directory of files that one process at a time has open (flock(2)), and that survive crashes.
#![expect(unsafe_code, reason = "flock has no safe wrapper in std before Rust 1.89")]

use super::error::check;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the lock file.
const LOCK: &str = "lock";

/// A directory of this host, locked against other processes; the lock ends with the process.
/// A symbolic link in the place of a file is refused (`ELOOP`).
#[derive(Debug)]
pub struct LockedDir {
    path: PathBuf,
    _lock: File,
    /// The file of the last call.
    open: Option<(String, File)>,
}

impl LockedDir {
    /// Opens a directory, and makes it if its parent exists; `None` if another process has it open.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match fs::create_dir(path) {
            Ok(()) => File::open(parent(path))?.sync_all()?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let lock = options().open(path.join(LOCK))?;
        // SAFETY: the descriptor is open as long as `lock` is.
        match check(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock, open: None })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.open = Some((name.to_owned(), options().open(self.path.join(name))?));
        }
        let (_, file) = self.open.as_ref().expect("invariant: opened above");
        Ok(file)
    }

    /// The whole file, or `None` if there is none.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match options().create(false).open(self.path.join(name)) {
            Ok(mut file) => file.read_to_end(&mut bytes).map(|_| Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes at an offset; creates the file, and lengthens it as needed.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    /// Cuts or lengthens the file to `length` bytes.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.file(name)?.set_len(length)
    }

    /// Makes the file's bytes and length durable (fdatasync); not its name.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    /// Renames a file, over another one if there is one.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open = None;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    /// Makes the names of the directory durable.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW);
    options
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
