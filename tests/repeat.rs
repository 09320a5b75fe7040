//! Saved runs of every lab: repeating, viewing, listing and removing them.
//!
//! Commands run in a shell in another folder; results are compared except for times.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wirelab_tests::lab::{Output, binary, new_folder};
use wirelab_tests::namespaces::EXIT_PRIVILEGE;
use wirelab_tests::page::violations;

const MANIFEST_SCHEMA: &str = include_str!("../src/cli/run/manifest.schema.json");

/// A folder in which lab commands run.
struct Shell(PathBuf);

impl Shell {
    fn new() -> Self {
        Self(new_folder("repeat"))
    }

    /// The output of a command line, with the labs in `PATH`.
    fn type_in(&self, line: &str) -> Output {
        let labs = binary("tcp-vs-udp").parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.0).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", labs.display())).env("SHELL", "/bin/sh");
        Output::of(command.env_remove("RUST_LOG"))
    }

    fn json(&self, file: &str) -> Value {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    /// Names in a subfolder; none if it is missing.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The reproducible part of a result: all but times, or only the request if packets are real.
fn lasting(lab: &str, result: &Value, exact: bool) -> Value {
    let mut kept = result.as_object().unwrap().clone();
    kept.remove("started_utc");
    if exact {
        return Value::Object(kept);
    }
    let fields: &[&str] = match lab {
        "lossy-path" => &["command", "seed", "replayed", "plan", "program"],
        "clock-offset" => &["command", "seed", "view", "checked"],
        _ => &["command", "seed", "reached", "plan", "mode"],
    };
    kept.retain(|field, _| fields.contains(&field.as_str()));
    if kept.get("replayed").is_some_and(|recording| !recording.is_null()) {
        // This lab draws no random numbers.
        kept.remove("seed");
    }
    if let Some(program) = kept.get_mut("program").and_then(Value::as_object_mut) {
        program.remove("elapsed_ns");
    }
    if let Some(checked) = kept.get_mut("checked") {
        *checked = checked["scenario"].take();
    }
    Value::Object(kept)
}

/// The result and output of a command line; `None` if the machine forbids it.
fn result(shell: &Shell, lab: &str, line: &str) -> Option<(Value, Output)> {
    let out = shell.type_in(line);
    if out.code == EXIT_PRIVILEGE {
        println!("skipped: {line}, because this machine forbids namespaces");
        return None;
    }
    assert!([0, 1, 3].contains(&out.code), "{line}: {} {}", out.code, out.stderr);
    assert!(!out.stderr.contains("error:"), "{line}: {}", out.stderr);
    let named = shell.names("").into_iter().find(|name| name == "X");
    let folder = named.unwrap_or_else(|| format!("wirelab-runs/latest-{lab}"));
    Some((shell.json(&format!("{folder}/result.json")), out))
}

/// Runs a command line, then its recorded command in another folder, and compares.
fn check(shell: &Shell, line: &str, exact: bool) {
    let lab = line.split(' ').next().unwrap();
    fs::remove_dir_all(shell.0.join("X")).ok();
    let Some((first, out)) = result(shell, lab, line) else { return };
    let command = first["command"].as_str().unwrap();
    let other = Shell::new();
    let Some((again, _)) = result(&other, lab, command) else { return };
    let (first, again) = (lasting(lab, &first, exact), lasting(lab, &again, exact));
    assert_eq!(first, again, "{line}\nrepeated by {command}");
    // The printed command is the recorded one.
    for line in out.stdout.lines().chain(out.stderr.lines()) {
        let words = line.trim_start().starts_with("repeat") || line.starts_with("seed ");
        if let Some(at) = line.find(&format!("{lab} ")).filter(|_| words) {
            assert_eq!(&line[at..], command);
        }
    }
}

#[test]
fn every_view_of_tcp_vs_udp_is_repeated_by_its_command() {
    let shell = Shell::new();
    let sim = "tcp-vs-udp --sim --ops 40 --arms udp-once,udp-retry";
    check(&shell, &format!("{sim} --loss 0,5%"), true);
    check(&shell, "tcp-vs-udp replay", true);
    check(&shell, "tcp-vs-udp replay latest --out X", true);
    check(&shell, "tcp-vs-udp replay wirelab-runs/latest-tcp-vs-udp --json", true);
    check(&shell, &format!("{sim} --loss 5% --out X --json --events E --seed=77"), true);
    shell.type_in("tcp-vs-udp --loss 3% --ops 40 --arms udp-once --print-plan > 'a plan.toml'");
    check(&shell, "tcp-vs-udp --sim --plan 'a plan.toml' --out=X", true);
    check(&shell, "tcp-vs-udp --ops 20 --loss 0 --depth 1 --arms udp-once --seed 3", false);
    // A saved run prints its own command.
    let command = shell.json("wirelab-runs/latest-tcp-vs-udp/result.json")["command"].clone();
    for view in ["show", "show latest", "explain p99", "explain latest p99"] {
        let out = shell.type_in(&format!("tcp-vs-udp {view}"));
        assert!(out.stdout.contains(command.as_str().unwrap()), "{view}: {}", out.stderr);
    }
}

#[test]
fn every_view_of_dns_walk_is_repeated_by_its_command() {
    let shell = Shell::new();
    shell.type_in("dns-walk www.igbank.com --demo broken --sim --seed 77 --out kept");
    for line in [
        "www.igbank.com --demo --sim",
        "--demo broken www.igbank.com AAAA --sim --check --warm --out X --json",
        "-x 127.53.0.1 --demo --sim --explain --events E --seed 77 --out X",
        "show kept --out X",
        "show latest --sequence --out X",
        "--replay kept --out X --no-messages",
    ] {
        check(&shell, &format!("dns-walk {line}"), true);
    }
    check(&shell, "dns-walk www.igbank.com --demo --seed 5", false);
    // Given a record file alone, the command names the file; only the seed is known.
    let out = shell.type_in("dns-walk --replay kept/events.ndjson --out Z");
    assert_eq!(out.code, 0, "{}", out.stderr);
    let shown = shell.json("Z/result.json");
    assert_eq!((&shown["seed"], &shown["reached"]), (&Value::from(77), &Value::from("replay")));
    let command = shown["command"].as_str().unwrap();
    let file = shell.0.join("kept/events.ndjson").canonicalize().unwrap();
    assert!(command.contains(file.to_str().unwrap()), "{command}");
    assert_eq!(Shell::new().type_in(command).stdout, out.stdout, "{command}");
}

#[test]
fn every_view_of_clock_offset_is_repeated_by_its_command() {
    let shell = Shell::new();
    shell.type_in("clock-offset --sim --loss 20% --requests 20 --seed 77 --out 'kept run'");
    for line in [
        "--sim --requests 20",
        "--sim --offset=-3ms --out X --samples S --events E --json --seed 77",
        "--from 'kept run' --estimator mean --out X",
        "--from latest --out X",
        "--from S --out X",
        "--sim --host-step -80ms@9s --requests 30",
    ] {
        check(&shell, &format!("clock-offset {line}"), true);
    }
    check(&shell, "clock-offset --demo --requests 3 --interval 10ms --seed 5", false);
    let first = shell
        .type_in("clock-offset order --messages 50 --json=x || clock-offset order --messages 50");
    let command = first.stdout.lines().find_map(|line| line.split_once(": clock-offset "));
    let command = format!("clock-offset {}", command.expect("it prints its command").1);
    assert_eq!(Shell::new().type_in(&command).stdout, first.stdout, "{command}");
}

#[test]
fn every_view_of_lossy_path_is_repeated_by_its_command() {
    let shell = Shell::new();
    let program = "sh -c 'test \"$1\" = \"[ ]\" && test -z \"$2\"' - '[ ]' ''";
    if result(&shell, "lossy-path", &format!("lossy-path --loss 2% -- {program}")).is_none() {
        return;
    }
    for line in [
        &format!("--loss 2% --delay 1ms -- {program}"),
        "replay --yes",
        "replay -y latest --out X --json",
        &format!("--json=J --record F --capture C --events E --out X --seed 3 -- {program}"),
        &format!("--fates F -- {program}"),
        "replay --yes --json",
        "shell b --loss 1%",
        "replay --yes latest",
    ] {
        check(&shell, &format!("lossy-path {line}"), false);
    }
}

#[test]
fn a_view_of_a_saved_run_keeps_what_the_run_is() {
    let shell = Shell::new();
    let type_in = |line: &str| {
        let out = shell.type_in(line);
        assert!([0, 3].contains(&out.code), "{line}: {}", out.stderr);
    };
    type_in("dns-walk www.igbank.com --demo --sim --seed 77 --out walk");
    type_in("dns-walk show walk --out walk2");
    assert_eq!(shell.json("walk/result.json"), shell.json("walk2/result.json"));
    type_in(
        "clock-offset --sim --seed 77 --loss 30% --requests 30 --host-step 80ms@20s --out clock",
    );
    type_in("clock-offset --from clock --out clock2");
    let (mut first, mut again) =
        (shell.json("clock/result.json"), shell.json("clock2/result.json"));
    assert_eq!(first["seed"], 77);
    assert!(first["checked"].is_object() && first["host_clocks"].is_object());
    // The command names the view, so it differs.
    for found in [&mut first, &mut again] {
        found.as_object_mut().unwrap().remove("command");
    }
    assert_eq!(first, again);
    for folder in ["walk2", "clock2"] {
        assert_eq!(shell.json(&format!("{folder}/manifest.json"))["seed"], 77, "{folder}");
    }
}

#[test]
fn each_lab_has_a_latest_run_of_its_own_and_says_where_it_is() {
    let shell = Shell::new();
    let sim = "tcp-vs-udp --sim --ops 300 --loss 0 --arms udp-once,udp-retry --seed 1";
    for line in [sim, "dns-walk www.igbank.com --demo --sim", "clock-offset --sim --seed 2"] {
        let out = shell.type_in(line);
        assert_eq!(out.code, 0, "{line}: {}", out.stderr);
        let left = out.stderr.lines().last().unwrap();
        let size = left.split_once(" (").unwrap().1.split_once(')').unwrap().0;
        assert!(
            left.contains(": left wirelab-runs/") && (size.ends_with("kB") || size.ends_with("MB")),
            "{left}"
        );
        assert!(left.contains("): report.html  "), "{left}");
    }
    assert!(!shell.0.join("wirelab-runs/latest").exists(), "a link that belongs to no lab");
    for (lab, part) in
        [("tcp-vs-udp", "udp-once"), ("dns-walk", "igbank"), ("clock-offset", "seed 2")]
    {
        let shown = shell.type_in(&format!("{lab} show"));
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        assert!(shown.stdout.contains(part), "{lab}: {}", shown.stdout);
        let taken = shown.stderr.trim().strip_prefix(&format!("{lab}: wirelab-runs/")).unwrap();
        assert!(taken.ends_with(lab), "{taken}");
        let manifest = shell.json(&format!("wirelab-runs/{taken}/manifest.json"));
        let violated = violations(MANIFEST_SCHEMA, &manifest);
        assert!(violated.is_empty(), "{lab}: {violated:?}");
        let by_name = shell.type_in(&format!("{lab} show {taken}"));
        assert_eq!((by_name.stdout, by_name.stderr), (shown.stdout, String::new()));
    }
    // A link that wirelab did not make is not followed.
    let link = shell.0.join("wirelab-runs/latest-dns-walk");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    let out = shell.type_in("dns-walk show");
    assert!(out.code == 2 && out.stderr.contains("latest-dns-walk"), "{}", out.stderr);
    let out = shell.type_in("dns-walk www.igbank.com --demo --sim");
    assert!(out.code == 2 && out.stderr.contains("not a link to a run"), "{}", out.stderr);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/etc"));
}

#[test]
fn runs_are_listed_and_only_old_ones_of_this_lab_go() {
    let shell = Shell::new();
    let run = || shell.type_in("dns-walk www.igbank.com --demo --sim --seed 4");
    assert_eq!(shell.type_in("dns-walk runs").stdout, "no run of dns-walk in wirelab-runs/\n");
    assert!((0..3).all(|_| run().code == 0));
    assert_eq!(shell.type_in("clock-offset --sim").code, 0);
    let runs = |lab: &str| -> Vec<String> {
        let names = shell.names("wirelab-runs").into_iter();
        names.filter(|name| name.starts_with("20") && name.contains(lab)).collect()
    };
    let walks = runs("dns-walk");
    let listed = shell.type_in("dns-walk runs").stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    for (line, name) in lines.iter().zip(&walks) {
        assert!(line.starts_with(name) && line.contains(" kB  dns-walk www.igbank.com"), "{line}");
    }
    assert!(lines[3].starts_with("3 runs of dns-walk in wirelab-runs/, "), "{listed}");
    // Two are old; one of them contains a user's folder.
    for name in &walks[..2] {
        let file = format!("wirelab-runs/{name}/manifest.json");
        let mut manifest = shell.json(&file);
        manifest["started_utc"] = "2026-01-01T00:00:00Z".into();
        fs::write(shell.0.join(file), manifest.to_string()).unwrap();
    }
    fs::create_dir(shell.0.join(format!("wirelab-runs/{}/notes", walks[0]))).unwrap();
    // Folders and links that are not wirelab runs.
    for name in ["2020-01-01T00-00-00Z-dns-walk", "2020-01-01T00-00-00Z-mine"] {
        fs::create_dir(shell.0.join("wirelab-runs").join(name)).unwrap();
    }
    let planted = shell.0.join("wirelab-runs/2020-01-02T00-00-00Z-dns-walk");
    std::os::unix::fs::symlink(&walks[1], &planted).unwrap();
    let out = shell.type_in("dns-walk runs --delete-older-than 7d");
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stdout.starts_with(&walks[1]), "{}", out.stdout);
    assert!(out.stdout.contains("removed 1 run of dns-walk, "), "{}", out.stdout);
    let left = runs("");
    assert!(left.contains(&walks[0]) && !left.contains(&walks[1]) && left.contains(&walks[2]));
    assert_eq!(runs("clock-offset").len(), 1);
    assert!(
        fs::symlink_metadata(&planted).is_ok() && left.iter().any(|name| name.ends_with("mine"))
    );
    let out = shell.type_in("dns-walk runs --delete-older-than 7");
    assert!(out.code == 2 && out.stderr.contains("such as 7d"), "{}", out.stderr);
}
