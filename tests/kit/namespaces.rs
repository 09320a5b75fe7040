//! Helpers for tests with real namespaces: the user, missing privileges, leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unprivileged user that every system has.
pub const NOBODY: u32 = 65534;
/// Exit code of a missing privilege or kernel feature.
pub const EXIT_PRIVILEGE: i32 = 4;

/// Waits for exclusive use in this binary: timed tests must not be disturbed.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A failed test leaves nothing that could spoil the next.
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether the tests run as root.
#[must_use]
pub fn am_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Every network namespace that a process or a descriptor on this machine keeps alive.
#[must_use]
pub fn live_namespaces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let children =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for process in children(Path::new("/proc")) {
        for task in children(&process.join("task")) {
            let links = children(&task.join("fd")).chain([task.join("ns/net")]);
            for target in links.filter_map(|link| fs::read_link(link).ok()) {
                let target = target.to_string_lossy().into_owned();
                if target.starts_with("net:[") {
                    found.insert(target);
                }
            }
        }
    }
    found
}

/// The network namespaces of a process's threads.
#[must_use]
pub fn namespaces_of(process: u32) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let links = tasks.filter_map(|task| fs::read_link(task.path().join("ns/net")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}
