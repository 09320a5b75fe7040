//! Waits for descriptors with nanosecond timeouts, and wakes the wait from another thread.
//!
//! mio and epoll_wait count in milliseconds, too coarse for delays of milliseconds.
#![expect(unsafe_code, reason = "epoll, eventfd and ppoll have no safe wrapper in std")]

use super::error::{check, made};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// The longest wait passed to the kernel; longer ones end early, as by a signal.
const WAIT_MAX: Duration = Duration::from_secs(1 << 32);

/// A set of descriptors.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// The error of `epoll_create1`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes flags, and the descriptor is new.
        unsafe { made(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }.map(Self)
    }

    /// Adds a descriptor: a wait ends while it is readable.
    ///
    /// # Errors
    /// The error of `epoll_ctl`.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let interest =
            u32::try_from(libc::EPOLLIN).expect("invariant: a constant of the kernel that fits");
        let mut event = libc::epoll_event { events: interest, u64: 0 };
        let (set, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: both descriptors are open and `event` is valid to read for the whole call.
        check(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) })
    }

    /// Waits until a descriptor is readable, the timeout expires, or a signal arrives.
    ///
    /// # Errors
    /// The error of `ppoll`, except `EINTR`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: time.as_secs().min(WAIT_MAX.as_secs()).cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        // An epoll set is itself readable while one of its members is: ppoll waits for all of them,
        // in nanoseconds, on kernels without epoll_pwait2.
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
    /// A waker registered in the set.
    ///
    /// # Errors
    /// The error of `eventfd` or `epoll_ctl`.
    pub fn new(poll: &Poll) -> io::Result<Self> {
        // SAFETY: the call takes two numbers, and the descriptor is new.
        let fd = unsafe { made(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }?;
        let waker = Self(File::from(fd));
        poll.add(waker.0.as_fd())?;
        Ok(waker)
    }

    /// Ends the current or next wait.
    ///
    /// # Errors
    /// The error of `write`, except that the waker is already awake.
    pub fn wake(&self) -> io::Result<()> {
        match (&self.0).write(&1_u64.to_ne_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Clears all wakes so far.
    pub fn clear(&self) {
        // An empty eventfd is fine: there was no wake.
        let _ = (&self.0).read(&mut [0_u8; 8]);
    }
}
