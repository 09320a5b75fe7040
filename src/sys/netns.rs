//! Network namespaces without names: a file descriptor keeps each alive, so a dead process leaves
//! none.
//!
//! It must never mount or name one: `kill -9` has to clean up.
#![expect(unsafe_code, reason = "unshare and setns have no safe wrapper in std")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// A network namespace. Clones are the same namespace; it ends with the last clone, socket and
/// thread in it.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// Makes a namespace with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// What the kernel says: `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` above
    /// `user.max_net_namespaces`.
    pub fn new() -> io::Result<Self> {
        // A short-lived thread: namespaces belong to threads, and the caller keeps its own.
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: unshare takes flags and touches no memory of ours.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                Self::open(Path::new("/proc/thread-self/ns/net"))
            });
            made.join().unwrap_or_else(|_| Err(io::Error::other("the namespace thread panicked")))
        })
    }

    /// Opens the namespace that a file such as `/proc/PID/ns/net` stands for.
    ///
    /// # Errors
    /// What `open` says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(File::open(path)?)))
    }

    /// Moves the calling thread into this namespace, for good.
    ///
    /// Sockets stay in the namespace of the thread that made them. Beware that `/proc/net` is that
    /// of the main thread: read `/proc/thread-self/net`.
    ///
    /// # Errors
    /// What `setns` says: `EPERM` without `CAP_SYS_ADMIN` over the namespace.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self` lives; setns touches no memory of
        // ours.
        if unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Runs `work` on a thread of its own inside this namespace and waits for it.
    ///
    /// # Errors
    /// Those of [`Netns::enter`], or that `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }

    /// The descriptor's number, for messages that hand the namespace to the kernel.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}
