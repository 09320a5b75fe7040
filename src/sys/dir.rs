//! A directory held open, with operations on its entries that follow no symbolic link: a path is
//! resolved at every call, so another user of a shared folder could replace a component of it.
#![expect(unsafe_code, reason = "openat and its kin have no safe wrapper in std")]

use super::error::{check, made};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Mode of created files: they hold traffic and command lines, so only the user may read them.
const FILE_MODE: libc::mode_t = 0o600;
const DIR_MODE: libc::mode_t = 0o700;

/// An open directory. Names are single components: `a/b` is refused.
#[derive(Debug)]
pub struct Dir(File);

impl Dir {
    /// Opens the directory at a path from the user: symbolic links in it are followed.
    ///
    /// # Errors
    /// The error of the system call: `ENOENT`, `ENOTDIR`, `EACCES`.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path).map(Self)
    }

    /// Opens a subdirectory; a symbolic link is `ENOTDIR`.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn subdir(&self, name: &OsStr) -> io::Result<Self> {
        self.open_at(name, libc::O_RDONLY | libc::O_DIRECTORY).map(Self)
    }

    /// Creates and opens a new subdirectory.
    ///
    /// # Errors
    /// `EEXIST` if the name exists.
    pub fn make_dir(&self, name: &OsStr) -> io::Result<Self> {
        let text = component(name)?;
        // SAFETY: `text` is a live string with a terminator.
        check(unsafe { libc::mkdirat(self.fd(), text.as_ptr(), DIR_MODE) })?;
        self.subdir(name)
    }

    /// Creates a new file for reading and appending.
    ///
    /// # Errors
    /// `EEXIST` if the name exists, even as a symbolic link.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        self.open_at(name, libc::O_RDWR | libc::O_APPEND | libc::O_CREAT | libc::O_EXCL)
    }

    /// Opens an existing file, device or pipe in this directory for writing.
    ///
    /// # Errors
    /// The error of the system call: `ELOOP` for a symbolic link.
    pub fn writable(&self, name: &OsStr) -> io::Result<File> {
        self.open_at(name, libc::O_WRONLY)
    }

    /// Opens a regular file in this directory for reading.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a regular file: reading a FIFO or a device may never end.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let file = self.open_at(name, libc::O_RDONLY | libc::O_NONBLOCK)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }

    /// Type, size, owner and mode of an entry; of a symbolic link, its own.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn status(&self, name: &OsStr) -> io::Result<Metadata> {
        self.open_at(name, libc::O_PATH)?.metadata()
    }

    /// Type, owner and mode of the directory itself.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn own_status(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Renames an entry atomically, replacing any entry with the new name.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (from, to) = (component(from)?, component(to)?);
        // SAFETY: both are live strings with a terminator.
        check(unsafe { libc::renameat(self.fd(), from.as_ptr(), self.fd(), to.as_ptr()) })
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// `EEXIST` if the name exists.
    pub fn link(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        let (target, name) = (CString::new(target.as_bytes())?, component(name)?);
        // SAFETY: both are live strings with a terminator.
        check(unsafe { libc::symlinkat(target.as_ptr(), self.fd(), name.as_ptr()) })
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is not a symbolic link.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let name = component(name)?;
        let mut target = vec![0_u8; 4_096];
        let (at, room) = (target.as_mut_ptr().cast(), target.len());
        // SAFETY: `name` is a live string with a terminator, and `room` bytes are writable at `at`.
        let length = unsafe { libc::readlinkat(self.fd(), name.as_ptr(), at, room) };
        target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
        Ok(OsString::from_vec(target))
    }

    /// Removes a file or a symbolic link.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        self.unlink(name, 0)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`, or another error of `unlinkat`.
    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        self.unlink(name, libc::AT_REMOVEDIR)
    }

    /// Every name in this directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        // A separate open file description: reading moves its position.
        let own = self.open_at(OsStr::new("."), libc::O_RDONLY | libc::O_DIRECTORY)?;
        let fd = OwnedFd::from(own).into_raw_fd();
        // SAFETY: `fd` is an open directory, which the stream owns from here on.
        let stream = unsafe { libc::fdopendir(fd) };
        if stream.is_null() {
            let error = io::Error::last_os_error();
            // SAFETY: fdopendir failed, so this function still owns the descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Err(error);
        }
        let mut names = Vec::new();
        let ended = loop {
            // SAFETY: errno of this thread is always there to be written.
            unsafe { *libc::__errno_location() = 0 };
            // SAFETY: `stream` is open; the entry is read before the next call.
            let entry = unsafe { libc::readdir(stream) };
            if entry.is_null() {
                break io::Error::last_os_error();
            }
            // SAFETY: an entry holds a name with a terminator.
            let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        };
        // SAFETY: `stream` is open and not used again.
        unsafe { libc::closedir(stream) };
        names.sort();
        if ended.raw_os_error() == Some(0) { Ok(names) } else { Err(ended) }
    }

    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn open_at(&self, name: &OsStr, flags: libc::c_int) -> io::Result<File> {
        let name = component(name)?;
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: `name` is a live string with a terminator; the mode is read if a file is created;
        // the descriptor is new.
        unsafe { made(libc::openat(self.fd(), name.as_ptr(), flags, FILE_MODE)) }.map(File::from)
    }

    fn unlink(&self, name: &OsStr, flags: libc::c_int) -> io::Result<()> {
        let name = component(name)?;
        // SAFETY: `name` is a live string with a terminator.
        check(unsafe { libc::unlinkat(self.fd(), name.as_ptr(), flags) })
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The effective user ID.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: it has no argument and cannot fail.
    unsafe { libc::geteuid() }
}

/// A single path component; `.` is the directory itself.
fn component(name: &OsStr) -> io::Result<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file name"));
    }
    Ok(CString::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn at(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    #[test]
    fn no_link_is_followed_and_nothing_is_overwritten() {
        let path = std::env::temp_dir().join(format!("wirelab-dir-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let base = Dir::open(&path).unwrap();
        let dir = base.make_dir(at("run")).unwrap();
        assert!(base.make_dir(at("run")).is_err(), "it is there already");
        let mut file = dir.create(at("a")).unwrap();
        file.write_all(b"text").unwrap();
        assert_eq!(dir.create(at("a")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        dir.rename(at("a"), at("b")).unwrap();
        let mut text = String::new();
        dir.file(at("b")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), dir.status(at("b")).unwrap().len()), ("text", 4));
        // A planted link: neither read nor written through, as a file or as a directory.
        dir.link(at("b"), at("link")).unwrap();
        base.link(at("run"), at("other")).unwrap();
        assert_eq!(dir.read_link(at("link")).unwrap(), "b");
        assert!(dir.file(at("link")).is_err() && dir.create(at("link")).is_err());
        assert!(base.subdir(at("other")).is_err());
        assert!(dir.status(at("link")).unwrap().is_symlink());
        for name in ["", "..", "../run", "/etc/passwd", "a\0b"] {
            assert!(dir.create(at(name)).is_err() && dir.file(at(name)).is_err(), "{name:?}");
        }
        assert_eq!(dir.names().unwrap(), ["b", "link"]);
        assert_eq!(dir.names().unwrap(), ["b", "link"], "a second reading sees all again");
        for name in ["b", "link"] {
            dir.remove_file(at(name)).unwrap();
        }
        base.remove_dir(at("run")).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_device_or_fifo_is_not_read() {
        assert!(Dir::open(Path::new("/dev")).unwrap().file(at("zero")).is_err());
    }
}
