//! tcp-vs-udp as an ordinary user, and what it leaves behind: nothing, however it ends.

use crate::lab::{Lab, new_folder};
use crate::{EXIT_PRIVILEGE, alone};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user that every system has and nothing belongs to.
pub(crate) const NOBODY: u32 = 65534;
const SHORT: &str = "--loss 2% --depth 1 --arms tcp,udp-once --ops 200 --seed 1";

pub(crate) fn am_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn an_ordinary_user_gets_real_packets_and_owns_the_files() {
    let _alone = alone();
    if !am_root() {
        println!("skipped: only root can become another user; the other tests ran as this user");
        return;
    }
    let folder = new_folder("nobody");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.join("tcp-vs-udp");
    fs::copy(env!("CARGO_BIN_EXE_tcp-vs-udp"), &binary).unwrap();
    let out = Command::new(&binary)
        .args(SHORT.split(' '))
        .args(["--json", "--out", "run"])
        .current_dir(&folder)
        .env("HOME", &folder)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    if out.status.code() == Some(EXIT_PRIVILEGE) {
        println!("skipped: this machine forbids namespaces to ordinary users: {stderr}");
    } else {
        assert!(matches!(out.status.code(), Some(0 | 3)), "{:?}\n{stderr}", out.status);
        let result: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(result["host"]["privilege"], "user namespace");
        let run = folder.join("run");
        for file in ["result.json", "manifest.json", "events.ndjson", "report.html"] {
            let file = run.join(file);
            assert_eq!(fs::metadata(&file).unwrap().uid(), NOBODY, "{}", file.display());
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Every network namespace that a process or a descriptor on this machine keeps alive.
pub(crate) fn live_namespaces() -> BTreeSet<String> {
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

pub(crate) fn namespaces_of(process: u32) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let links = tasks.filter_map(|task| fs::read_link(task.path().join("ns/net")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

fn interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn nothing_is_left_after_kill_9() {
    let _alone = alone();
    let lab = Lab::new("tcp-vs-udp");
    let before = interfaces();
    let own = fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned();
    for round in 0..5 {
        let mut command = lab.command("--loss 5% --arms tcp,udp-once --seed 2 --no-report");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Until its threads stand in namespaces of their own, or it has refused to start.
        let mut made = BTreeSet::new();
        while made.len() <= round && child.try_wait().unwrap().is_none() {
            made.extend(namespaces_of(child.id()));
            made.remove(&own);
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.code() == Some(EXIT_PRIVILEGE) {
            println!("skipped: this machine forbids namespaces");
            return;
        }
        assert!(!made.is_empty(), "round {round}: no namespace was ever seen");
        let left: Vec<_> = live_namespaces().intersection(&made).cloned().collect();
        assert!(left.is_empty(), "round {round}: {left:?} still live");
        assert_eq!(interfaces(), before, "round {round}");
    }
}
