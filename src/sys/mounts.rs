//! A private view of the file system: names for two hosts, and a `/proc` of the processes inside.
//!
//! It exists so that `b` is a name that every program resolves. It must never write to the file
//! system that others see, nor leave a file behind: what it makes lies in a memory file system that
//! goes with the mount namespace.
#![expect(unsafe_code, reason = "mount and unshare have no safe wrapper in std")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

/// Where names are looked up: hosts(5).
pub const HOSTS_FILE: &str = "/etc/hosts";
/// Covered for a moment to stage the file; every Linux system has it, and it is mounted anew.
const STAGE: &str = "/proc";

fn cvt(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn named(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(|_| io::ErrorKind::InvalidInput);
    let (source, target, kind) = (text(source)?, text(target)?, text(kind)?);
    // SAFETY: the three strings are live and have a terminator; there is no data.
    cvt(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()) })
}

fn unmount(target: &str) -> io::Result<()> {
    let target = CString::new(target).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the string is live and has a terminator.
    cvt(unsafe { libc::umount2(target.as_ptr(), 0) })
}

/// Gives the calling process mounts of its own, which no other process sees.
///
/// # Errors
/// What `unshare(CLONE_NEWNS)` says.
pub fn separate() -> io::Result<()> {
    // SAFETY: unshare takes flags and touches no memory of ours.
    cvt(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(named("unshare(CLONE_NEWNS)"))?;
    // Else a mount made here would appear outside, where / is shared: mount_namespaces(7).
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE).map_err(named("make mounts private"))
}

/// Puts a text in the place of [`HOSTS_FILE`]; needs [`separate`] before.
///
/// # Errors
/// Which step failed: where there is no such file, it cannot be covered.
pub fn cover_hosts(text: &str) -> io::Result<()> {
    if !Path::new(HOSTS_FILE).exists() {
        let error = format!("there is no {HOSTS_FILE} to cover");
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    mount("wirelab", STAGE, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV)
        .map_err(named("mount a memory file system"))?;
    let staged = format!("{STAGE}/hosts");
    let covered = fs::write(&staged, text)
        .and_then(|()| mount(&staged, HOSTS_FILE, "", libc::MS_BIND))
        .map_err(named("cover /etc/hosts"));
    // The file lives on below its new place.
    unmount(STAGE).map_err(named("uncover /proc"))?;
    covered
}

/// Shows in `/proc` the processes of the caller's PID namespace; needs [`separate`] before.
///
/// # Errors
/// What `mount` says: `EPERM` where parts of the present `/proc` are hidden, as in containers.
pub fn fresh_proc() -> io::Result<()> {
    mount("proc", "/proc", "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
        .map_err(named("mount /proc"))
}
