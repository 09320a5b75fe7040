//! Acquires the right to create network namespaces, or reports exactly what forbids it.
//!
//! A process without the capabilities enters a user namespace that keeps its user ID, so that it
//! owns the files it writes. This must run before any thread exists. A refusal names its rule, if
//! it can be determined, and remedies.
#![expect(unsafe_code, reason = "unshare has no safe wrapper in std")]

use super::error::{check, fits};
use super::netns::Netns;
use std::fmt;
use std::io;
use std::path::Path;

/// How this process may make network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It already held `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and `CAP_NET_RAW`.
    Root,
    /// It created a user namespace, in which it holds them.
    UserNamespace,
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::UserNamespace => "user namespace",
        })
    }
}

/// A refused step, its cause, and remedies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivilegeError {
    /// The step, such as `unshare(CLONE_NEWUSER)`.
    pub step: &'static str,
    /// The error number: errno(3).
    pub errno: i32,
    /// The rule that forbids it, if it can be determined.
    pub why: String,
    /// Commands that help, one remedy per entry.
    pub remedy: Vec<String>,
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = io::Error::from_raw_os_error(self.errno);
        writeln!(f, "cannot make a network namespace: {} failed: {answer}", self.step)?;
        write!(f, "  why: {}", self.why)?;
        for way in &self.remedy {
            write!(f, "\n  try: {way}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PrivilegeError {}

// Bits of CapEff, from linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_NET_RAW: u64 = 1 << 13;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Acquires the right to create network namespaces; the first thing `main` does.
///
/// # Errors
/// The refused step and its reason. A process with several threads gets `EINVAL`.
pub fn acquire() -> Result<Privilege, PrivilegeError> {
    let privilege = if has_capabilities() {
        Privilege::Root
    } else {
        enter_user_namespace()?;
        Privilege::UserNamespace
    };
    // Only trying tells: AppArmor permits the user namespace and then denies its use, and a seccomp
    // filter ignores capabilities.
    Netns::new().map_err(|error| refused("unshare(CLONE_NEWNET)", &error))?;
    Ok(privilege)
}

fn has_capabilities() -> bool {
    const NEEDED: u64 = CAP_NET_ADMIN | CAP_NET_RAW | CAP_SYS_ADMIN;
    status_field("CapEff:")
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .is_some_and(|capabilities| capabilities & NEEDED == NEEDED)
}

/// A field of `/proc/self/status`.
fn status_field(name: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Capabilities that a lab keeps (linux/capability.h): files of another user under `sudo`, signals,
/// identities of programs, the network, namespaces, priorities, limits.
const LAB: u64 = PROGRAM | CAP_SYS_ADMIN;
/// Those that a program of root's keeps: it cannot mount, load modules, set clocks or reboot.
const PROGRAM: u64 = {
    let kept = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14, 18, 19, 23, 24, 29, 31];
    let (mut bits, mut at) = (0, 0);
    while at < kept.len() {
        bits |= 1 << kept[at];
        at += 1;
    }
    bits
};

/// `struct __user_cap_header_struct` and `__user_cap_data_struct`, version 3: capget(2).
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// Gives up what no lab needs, for this process and all that it starts: other capabilities than
/// those of namespaces, network and files, and what setuid programs would give.
///
/// # Errors
/// The error of `prctl` or `capset`; nothing is lost then.
pub fn confine_lab() -> io::Result<()> {
    no_new_privileges()?;
    keep(LAB)
}

/// Leaves the calling thread, for good, the capabilities that a program of this user has after
/// exec: none, except for root.
///
/// # Errors
/// The error of `capset`.
pub fn act_as_program() -> io::Result<()> {
    keep(if identity().0 == 0 { PROGRAM } else { 0 })
}

/// Gives up all other capabilities of the calling thread.
fn keep(capabilities: u64) -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    let (head, sets) = (&raw mut header, data.as_mut_ptr());
    // SAFETY: both are live; version 3 has two sets of data.
    check(unsafe { fits_int(libc::syscall(libc::SYS_capget, head, sets)) })?;
    for (data, kept) in data.iter_mut().zip([capabilities & 0xffff_ffff, capabilities >> 32]) {
        let kept: u32 = fits(kept);
        *data = CapData {
            effective: data.effective & kept,
            permitted: data.permitted & kept,
            inheritable: 0,
        };
    }
    // SAFETY: as above; the kernel only reads the data.
    check(unsafe { fits_int(libc::syscall(libc::SYS_capset, head, data.as_ptr())) })
}

fn fits_int(result: libc::c_long) -> libc::c_int {
    fits(result)
}

/// The same for a program: it cannot gain privileges by exec.
///
/// It neither allocates nor takes a lock, for use between fork and exec.
pub(super) fn confine_program() -> io::Result<()> {
    for capability in (0_u64..64).filter(|bit| PROGRAM >> bit & 1 == 0) {
        // SAFETY: the call takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                // Beyond the last capability of this kernel.
                Some(libc::EINVAL) => break,
                _ => return Err(error),
            }
        }
    }
    no_new_privileges()
}

fn no_new_privileges() -> io::Result<()> {
    // SAFETY: the call takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// The effective user and group.
fn identity() -> (u32, u32) {
    // SAFETY: these calls have no argument and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// The groups of a user by name, the primary one first; that one alone if the name is unknown.
#[must_use]
pub fn groups_of(name: &str, primary: u32) -> Vec<u32> {
    let mut groups = vec![primary; 64];
    let mut count: libc::c_int = 64;
    let Ok(name) = std::ffi::CString::new(name) else { return vec![primary] };
    // SAFETY: the name has a terminator, and `count` groups fit the list.
    let all =
        unsafe { libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &raw mut count) };
    groups.truncate(usize::try_from(all).map_or(1, |all| all.max(1)));
    groups
}

/// The effective group of this process.
#[must_use]
pub fn effective_group() -> u32 {
    identity().1
}

fn enter_user_namespace() -> Result<(), PrivilegeError> {
    // Read before: inside, both are the overflow ID until the maps are written.
    let (user, group) = identity();
    // SAFETY: unshare takes flags and touches no memory of ours.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(refused("unshare(CLONE_NEWUSER)", &io::Error::last_os_error()));
    }
    // Without `deny`, an unprivileged process may not write a group map: user_namespaces(7).
    let writes = [
        ("write /proc/self/setgroups", "/proc/self/setgroups", "deny".to_owned()),
        ("write /proc/self/uid_map", "/proc/self/uid_map", format!("{user} {user} 1")),
        ("write /proc/self/gid_map", "/proc/self/gid_map", format!("{group} {group} 1")),
    ];
    for (step, file, text) in writes {
        std::fs::write(file, text).map_err(|error| refused(step, &error))?;
    }
    Ok(())
}

/// Determines the cause of a refusal.
fn refused(step: &'static str, error: &io::Error) -> PrivilegeError {
    let errno = error.raw_os_error().unwrap_or(0);
    let (why, remedy) = diagnose(errno, &Rules::read());
    PrivilegeError { step, errno, why, remedy }
}

/// The host's settings for user namespaces.
#[derive(Clone, Debug, Default)]
struct Rules {
    max_user_namespaces: Option<u64>,
    max_net_namespaces: Option<u64>,
    unprivileged_userns_clone: Option<u64>,
    apparmor_restricts: Option<u64>,
    seccomp_filter: bool,
    container: bool,
    chroot: Option<Chroot>,
}

/// Evidence that the root directory is not the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroot {
    /// `/proc/self/mountinfo` has no mount at `/`.
    NoRootMount,
    /// `/proc` is not mounted.
    NoProc,
}

impl Chroot {
    /// Reads `/proc/self/mountinfo`, whose fifth field is the mount point: proc_pid_mountinfo(5).
    fn of(mountinfo: Option<&str>) -> Option<Self> {
        let Some(text) = mountinfo else { return Some(Self::NoProc) };
        let at_root = |line: &str| line.split(' ').nth(4) == Some("/");
        (!text.lines().any(at_root)).then_some(Self::NoRootMount)
    }

    /// Whether it explains a refusal; unshare(2) returns `EPERM` in a chroot.
    const fn why(self, errno: i32) -> Option<&'static str> {
        match self {
            Self::NoProc => Some(
                "/proc is not mounted, as in a chroot: a user namespace needs /proc/self/uid_map, \
                 and the kernel allows none in a chroot",
            ),
            Self::NoRootMount if errno == libc::EPERM => {
                Some("this process is in a chroot, where the kernel allows no user namespace")
            }
            Self::NoRootMount => None,
        }
    }
}

impl Rules {
    fn read() -> Self {
        let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            max_net_namespaces: number("/proc/sys/user/max_net_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            // Mode 2 is a filter: proc_pid_status(5).
            seccomp_filter: status_field("Seccomp:").as_deref() == Some("2"),
            container: ["/.dockerenv", "/run/.containerenv"].iter().any(|f| Path::new(f).exists()),
            chroot: Chroot::of(std::fs::read_to_string("/proc/self/mountinfo").ok().as_deref()),
        }
    }
}

/// The likeliest rule, and its remedies.
fn diagnose(errno: i32, rules: &Rules) -> (String, Vec<String>) {
    let own = |why: &str, remedy: &[&str]| {
        (why.to_owned(), remedy.iter().map(|way| (*way).to_owned()).collect())
    };
    const AS_ROOT: &str = "sudo (root needs no user namespace)";
    if errno == libc::EINVAL {
        return own("a thread was already running; this is a bug in wirelab", &[]);
    }
    if let Some(why) = rules.chroot.and_then(|chroot| chroot.why(errno)) {
        return own(why, &["run it outside the chroot", AS_ROOT]);
    }
    if rules.max_user_namespaces == Some(0) {
        return own(
            "user.max_user_namespaces is 0: this system allows no user namespace",
            &["sudo sysctl -w user.max_user_namespaces=10000", AS_ROOT],
        );
    }
    if rules.max_net_namespaces == Some(0) {
        return own(
            "user.max_net_namespaces is 0: this system allows no further network namespace",
            &["sudo sysctl -w user.max_net_namespaces=10000"],
        );
    }
    if errno == libc::ENOSPC || errno == libc::EUSERS {
        return own(
            "a limit on namespaces is reached: user.max_user_namespaces, \
             user.max_net_namespaces, or 32 nested levels",
            &["sudo sysctl -w user.max_user_namespaces=10000 user.max_net_namespaces=10000"],
        );
    }
    if rules.unprivileged_userns_clone == Some(0) {
        return own(
            "kernel.unprivileged_userns_clone is 0: only root may make user namespaces",
            &["sudo sysctl -w kernel.unprivileged_userns_clone=1", AS_ROOT],
        );
    }
    if rules.apparmor_restricts == Some(1) {
        return own(
            "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor (Ubuntu 23.10 and later) \
             takes all rights from user namespaces of programs without a profile",
            &["sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", AS_ROOT],
        );
    }
    const CONTAINER: [&str; 2] =
        ["docker run --security-opt seccomp=unconfined …", "podman run --privileged …"];
    if rules.seccomp_filter {
        return own(
            "a seccomp filter is in force (Seccomp: 2 in /proc/self/status); Docker's default one \
             denies unshare to processes without CAP_SYS_ADMIN",
            &CONTAINER,
        );
    }
    if rules.container {
        return own("this is a container, and its runtime may forbid it", &CONTAINER);
    }
    own("no rule that wirelab knows of; a security module or a chroot may forbid it", &[AS_ROOT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_rule() {
        let rules = Rules::default;
        for (errno, rules, named) in [
            (libc::ENOSPC, Rules { max_user_namespaces: Some(0), ..rules() }, "user.max_user"),
            (
                libc::EPERM,
                Rules { unprivileged_userns_clone: Some(0), ..rules() },
                "kernel.unprivileged_userns_clone",
            ),
            (
                libc::EACCES,
                Rules { apparmor_restricts: Some(1), ..rules() },
                "kernel.apparmor_restrict_unprivileged_userns",
            ),
            (
                libc::EPERM,
                Rules { seccomp_filter: true, ..rules() },
                "a seccomp filter is in force",
            ),
            (libc::EPERM, Rules { container: true, ..rules() }, "this is a container"),
            (libc::EPERM, Rules { chroot: Some(Chroot::NoRootMount), ..rules() }, "in a chroot"),
            (
                libc::ENOENT,
                Rules { chroot: Some(Chroot::NoProc), ..rules() },
                "/proc is not mounted",
            ),
            (libc::EINVAL, rules(), "thread"),
        ] {
            let (why, _) = diagnose(errno, &rules);
            assert!(why.contains(named), "{why}");
        }
    }

    #[test]
    fn a_chroot_shows_in_the_mounts() {
        let outside = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /proc rw - proc proc rw\n";
        let inside = "22 21 0:5 / /proc rw - proc proc rw\n";
        assert_eq!(Chroot::of(Some(outside)), None);
        assert_eq!(Chroot::of(Some(inside)), Some(Chroot::NoRootMount));
        assert_eq!(Chroot::of(None), Some(Chroot::NoProc));
    }

    #[test]
    fn a_refusal_shows_step_cause_and_remedies() {
        let error = PrivilegeError {
            step: "unshare(CLONE_NEWUSER)",
            errno: libc::ENOSPC,
            why: "because".to_owned(),
            remedy: vec!["type this".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "cannot make a network namespace: unshare(CLONE_NEWUSER) failed: No space left on \
             device (os error 28)\n  why: because\n  try: type this"
        );
    }
}
