//! The terminal's foreground process group, which Ctrl-C signals; calls do nothing without one.
#![expect(unsafe_code, reason = "tcgetpgrp and tcsetpgrp have no wrapper in std")]

use std::fs::File;
use std::os::fd::AsRawFd;

fn terminal() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// Whether this process's group is in the foreground.
#[must_use]
pub fn is_foreground() -> bool {
    let Some(terminal) = terminal() else { return false };
    // SAFETY: the descriptor is open; neither call touches memory of ours.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// Gives the calling process a group of its own, in the foreground of the terminal on its stdin.
///
/// SIGTTOU must be blocked. It neither allocates nor takes a lock, for use between fork and exec.
pub(super) fn become_foreground() {
    // SAFETY: the calls take numbers. Without a terminal they fail, which changes nothing.
    unsafe {
        if libc::isatty(libc::STDIN_FILENO) == 1 && libc::setpgid(0, 0) == 0 {
            libc::tcsetpgrp(libc::STDIN_FILENO, libc::getpid());
        }
    }
}

/// Makes this process's group the foreground again, after a shell with job control has ended.
pub fn take_back() {
    let Some(terminal) = terminal() else { return };
    // SAFETY: the descriptor is open, and a sigset_t is plain bits that sigemptyset makes valid
    // before anything reads it. SIGTTOU would stop a background process here.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut blocked);
        libc::sigaddset(&raw mut blocked, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before);
        libc::tcsetpgrp(terminal.as_raw_fd(), libc::getpgrp());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
    }
}
