//! Unnamed network namespaces, each kept alive by a file descriptor: `kill -9` leaves none behind.
#![expect(unsafe_code, reason = "unshare and setns have no safe wrapper in std")]

use super::error::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// A network namespace. Clones share it; it ends with the last clone, socket and thread in it.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// Creates a namespace with only a loopback interface, which is down.
    ///
    /// # Errors
    /// The error of `unshare`: `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` above
    /// `user.max_net_namespaces`.
    pub fn new() -> io::Result<Self> {
        // A short-lived thread: namespaces belong to threads, and the caller keeps its own.
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: unshare takes flags and touches no memory of ours.
                check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
                Self::open(Path::new("/proc/thread-self/ns/net"))
            });
            made.join().unwrap_or_else(|_| Err(io::Error::other("the namespace thread panicked")))
        })
    }

    /// Opens the namespace of a file such as `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// The error of `open`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(File::open(path)?)))
    }

    /// Moves the calling thread into this namespace permanently.
    ///
    /// Sockets stay in the namespace of the thread that made them. `/proc/net` is that of the main
    /// thread: read `/proc/thread-self/net`.
    ///
    /// # Errors
    /// The error of `setns`: `EPERM` without `CAP_SYS_ADMIN` over the namespace.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self` lives; setns touches no memory of
        // ours.
        check(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) })
    }

    /// Runs `work` on a new thread inside this namespace and waits for it.
    ///
    /// # Errors
    /// Those of [`Netns::enter`], or a panic of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }

    /// The descriptor's number, for netlink messages.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Writes a setting of the calling thread's namespace: a file under `/proc/sys/net`.
///
/// # Errors
/// The error of `write`, or `ENOENT` if the kernel lacks it.
pub fn set(file: &Path, value: &str) -> io::Result<()> {
    std::fs::write(file, value)
}
