//! A private mount namespace: host names for two hosts, and a `/proc` of the PID namespace.
#![expect(unsafe_code, reason = "mount and unshare have no safe wrapper in std")]

use super::error::{check, during};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

/// The hosts file: hosts(5).
pub const HOSTS_FILE: &str = "/etc/hosts";
/// Mount point for staging the file, covered briefly; every Linux system has it.
const STAGE: &CStr = c"/proc";
/// Flags of what programs see of the kernel.
const SAFE: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Makes a mount; it neither allocates nor takes a lock, for use between fork and exec.
fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the three strings are live and have a terminator; there is no data.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null())
    })
}

fn unmount(target: &CStr, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the string is live and has a terminator.
    check(unsafe { libc::umount2(target.as_ptr(), flags) })
}

/// Mounts a fresh file system of the kernel with nothing underneath that unmounting would uncover.
fn replace(kind: &CStr, target: &CStr) -> io::Result<()> {
    const ASIDE: &CStr = c"/dev";
    mount(kind, target, kind, SAFE)?;
    // Aside while the old one goes: a user namespace may mount another only while one is seen.
    mount(target, ASIDE, c"", libc::MS_MOVE)?;
    // In a user namespace the old one is locked: it stays, and no program can unmount either.
    let _ = unmount(target, libc::MNT_DETACH);
    mount(ASIDE, target, c"", libc::MS_MOVE)
}

/// Gives the calling process a mount namespace of its own.
///
/// # Errors
/// The error of `unshare(CLONE_NEWNS)`.
pub fn separate() -> io::Result<()> {
    // SAFETY: unshare takes flags and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(during("unshare(CLONE_NEWNS)"))?;
    // If / is shared, a mount made here would otherwise propagate: mount_namespaces(7).
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE)
        .map_err(during("make mounts private"))
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
    mount(c"wirelab", STAGE, c"tmpfs", libc::MS_NOSUID | libc::MS_NODEV)
        .map_err(during("mount a memory file system"))?;
    let covered = fs::write("/proc/hosts", text)
        .and_then(|()| mount(c"/proc/hosts", c"/etc/hosts", c"", libc::MS_BIND))
        .map_err(during("cover /etc/hosts"));
    // The bind mount keeps the file.
    unmount(STAGE, 0).map_err(during("uncover /proc"))?;
    covered
}

/// Mounts a `/proc` of the caller's PID namespace, in which only settings of the network can be
/// written; call [`separate`] before.
///
/// # Errors
/// The error of `mount`: `EPERM` if parts of the present `/proc` are hidden, as in containers.
pub fn fresh_proc() -> io::Result<()> {
    replace(c"proc", c"/proc").map_err(during("mount /proc"))?;
    mount(c"/proc/sys", c"/proc/sys", c"", libc::MS_BIND)
        .and_then(|()| mount(c"/proc/sys/net", c"/proc/sys/net", c"", libc::MS_BIND))
        .and_then(|()| read_only(c"/proc/sys"))
        .map_err(during("make /proc/sys read-only"))?;
    for machine in [c"/proc/sysrq-trigger", c"/proc/irq", c"/proc/bus", c"/proc/acpi"] {
        // Not every kernel has all of them.
        let _ = mount(machine, machine, c"", libc::MS_BIND).and_then(|()| read_only(machine));
    }
    Ok(())
}

fn read_only(target: &CStr) -> io::Result<()> {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | SAFE;
    mount(c"none", target, c"", flags)
}

/// Gives the calling process a mount namespace with a `/sys` of its network namespace.
///
/// It neither allocates nor takes a lock, for use between fork and exec.
///
/// # Errors
/// The error of `unshare`, or of `mount` as for [`fresh_proc`].
pub fn fresh_sys() -> io::Result<()> {
    // SAFETY: unshare takes flags and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    replace(c"sysfs", c"/sys")
}
