//! The trait of the directory that holds a store; a real one is [`LockedDir`].

use crate::sys::locked_dir::LockedDir;
use std::io;

/// A directory of files. Nothing survives a crash for certain before its `sync`.
pub trait Disk {
    /// The whole file, or `None` if there is none.
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes at an offset; creates the file, and lengthens it as needed.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable; not its name.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file, over another one if there is one.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names of the directory durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

impl Disk for LockedDir {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Self::read(self, name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, name, offset, bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        Self::truncate(self, name, length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        Self::sync(self, name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        Self::rename(self, from, to)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Self::sync_names(self)
    }
}
