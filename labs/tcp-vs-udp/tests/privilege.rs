//! tcp-vs-udp as an ordinary user, and its cleanup however it ends.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use wirelab_tests::lab::{Lab, new_folder};
use wirelab_tests::namespaces::{
    EXIT_PRIVILEGE, NOBODY, alone, am_root, live_namespaces, namespaces_of,
};

const SHORT: &str = "--loss 2% --depth 1 --arms tcp,udp-once --ops 200 --seed 1";

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
        // Until its threads have their own namespaces, or it has refused to start.
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
