//! A private mount namespace: host names for two hosts, and a `/proc` of the PID namespace.
#![expect(unsafe_code, reason = "mount and unshare have no safe wrapper in std")]

use super::error::{check, during};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

/// The hosts file: hosts(5).
pub const HOSTS_FILE: &str = "/etc/hosts";
/// Mount point for staging the file, covered briefly; every Linux system has it.
const STAGE: &str = "/proc";

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(|_| io::ErrorKind::InvalidInput);
    let (source, target, kind) = (text(source)?, text(target)?, text(kind)?);
    // SAFETY: the three strings are live and have a terminator; there is no data.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null())
    })
}

fn unmount(target: &str) -> io::Result<()> {
    let target = CString::new(target).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the string is live and has a terminator.
    check(unsafe { libc::umount2(target.as_ptr(), 0) })
}

/// Gives the calling process a mount namespace of its own.
///
/// # Errors
/// The error of `unshare(CLONE_NEWNS)`.
pub fn separate() -> io::Result<()> {
    // SAFETY: unshare takes flags and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(during("unshare(CLONE_NEWNS)"))?;
    // If / is shared, a mount made here would otherwise propagate: mount_namespaces(7).
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE).map_err(during("make mounts private"))
}

/// Mounts a file with this text over [`HOSTS_FILE`]; call [`separate`] before.
///
/// # Errors
/// The step that failed: without a hosts file there is nothing to mount over.
pub fn cover_hosts(text: &str) -> io::Result<()> {
    if !Path::new(HOSTS_FILE).exists() {
        let error = format!("there is no {HOSTS_FILE} to cover");
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    mount("wirelab", STAGE, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV)
        .map_err(during("mount a memory file system"))?;
    let staged = format!("{STAGE}/hosts");
    let covered = fs::write(&staged, text)
        .and_then(|()| mount(&staged, HOSTS_FILE, "", libc::MS_BIND))
        .map_err(during("cover /etc/hosts"));
    // The bind mount keeps the file.
    unmount(STAGE).map_err(during("uncover /proc"))?;
    covered
}

/// Mounts a `/proc` of the caller's PID namespace; call [`separate`] before.
///
/// # Errors
/// The error of `mount`: `EPERM` if parts of the present `/proc` are hidden, as in containers.
pub fn fresh_proc() -> io::Result<()> {
    mount("proc", "/proc", "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
        .map_err(during("mount /proc"))
}
