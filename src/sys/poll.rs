//! Waiting for many descriptors with a timeout in nanoseconds, and a way to end the wait.
//!
//! mio and epoll_wait count in milliseconds, which is too coarse for a path of milliseconds.
//! It must never busy-wait: that choice is the caller's.
#![expect(unsafe_code, reason = "epoll, eventfd and ppoll have no safe wrapper in std")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// The longest wait that is handed to the kernel; longer ones end early, as by a signal.
const WAIT_MAX: Duration = Duration::from_secs(1 << 32);

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// What `epoll_create1` says.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes flags and touches no memory of ours.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Adds a descriptor: a wait ends while it is readable.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let interest =
            u32::try_from(libc::EPOLLIN).expect("invariant: a constant of the kernel that fits");
        let mut event = libc::epoll_event { events: interest, u64: 0 };
        let (set, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: both descriptors are open and `event` is valid to read for the whole call.
        if unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until a descriptor is readable, the time is over, or a signal came.
    ///
    /// # Errors
    /// What `ppoll` says, except `EINTR`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: time.as_secs().min(WAIT_MAX.as_secs()).cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        // An epoll set is itself readable while one of its members is: so ppoll waits for all of
        // them, in nanoseconds, on kernels that have no epoll_pwait2.
        let mut set = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: `set` is one valid pollfd, `time` is null or points to a live timespec, and a
        // null signal mask means that none is changed.
        let ready = unsafe { libc::ppoll(&raw mut set, 1, time, ptr::null()) };
        if ready >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
    }
}

/// Ends another thread's wait.
#[derive(Debug)]
pub struct Waker(File);

impl Waker {
    /// A waker that is part of the set.
    ///
    /// # Errors
    /// What `eventfd` or `epoll_ctl` says.
    pub fn new(poll: &Poll) -> io::Result<Self> {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let fd = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let waker = Self(File::from(fd));
        poll.add(std::os::fd::AsFd::as_fd(&waker.0))?;
        Ok(waker)
    }

    /// Makes the wait end, now or when it next begins.
    ///
    /// # Errors
    /// What `write` says, except that the waker is already awake.
    pub fn wake(&self) -> io::Result<()> {
        match (&self.0).write(&1_u64.to_ne_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes back all wakes so far.
    pub fn clear(&self) {
        // Nothing to read means that nobody woke us, which is fine.
        let _ = (&self.0).read(&mut [0_u8; 8]);
    }
}
