//! `tcp-vs-udp` from the command line in virtual time: examples, mistakes, files, exit codes.

use serde_json::Value;
use std::io::Read;
use std::process::Stdio;
use wirelab_tests::lab::{Lab, Output};
use wirelab_tests::page::violations;

const QUICK: &str = "--sim --loss 0,5% --ops 1200 --seed 7";

fn lab() -> Lab {
    Lab::new("tcp-vs-udp")
}

/// Every error a value violates, for a message.
#[test]
fn artifacts_match_the_schemas() {
    let lab = lab();
    let out = lab.run(&format!("{QUICK} --json --out run"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    let printed: Value = serde_json::from_str(&out.stdout).unwrap();
    let read = |name: &str| std::fs::read_to_string(lab.folder.join("run").join(name)).unwrap();
    let result: Value = serde_json::from_str(&read("result.json")).unwrap();
    assert_eq!(printed, result);
    assert_eq!(violations(tcp_vs_udp::report::schema(), &result), Vec::<String>::new());
    let events = read("events.ndjson");
    let mut finished = 0;
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let wrong = violations(tcp_vs_udp::report::events_schema(), &event);
        assert_eq!(wrong, Vec::<String>::new(), "{line}");
        finished += u64::from(event["type"] == "request.finished");
    }
    let lanes = |stage: &Value| stage["lanes"].as_array().unwrap().clone();
    let stages = result["stages"].as_array().unwrap();
    let started = stages.iter().flat_map(lanes);
    let started: u64 = started.map(|l| l["requests"]["started"].as_u64().unwrap()).sum();
    assert_eq!(finished, started);
    let manifest: Value = serde_json::from_str(&read("manifest.json")).unwrap();
    assert_eq!(manifest["seed"], 7);
    assert!(read("report.html").contains("default-src 'none'"));
}

#[test]
fn a_run_is_shown_explained_and_replayed() {
    let lab = lab();
    let first = lab.run(QUICK);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let shown = lab.run("show latest");
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    // Only the run itself names the page that it left.
    let (text, page) = first.stdout.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(text, shown.stdout.trim_end());
    assert!(page.ends_with("/report.html"), "{page}");
    assert!(first.stdout.lines().count() <= 40, "a screen\n{}", first.stdout);
    let explained = lab.run("explain latest staircase");
    assert!(explained.stdout.contains("Nothing is fitted"), "{}", explained.stdout);
    let list = lab.run("explain latest");
    for figure in tcp_vs_udp::report::explain::figures() {
        assert!(list.stdout.contains(figure), "{figure}: {}", list.stdout);
        assert_eq!(lab.run(&format!("explain latest {figure}")).code, 0, "{figure}");
    }
    let result = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let before = result(&lab.run("show latest --json").stdout);
    let again = result(&lab.run("replay latest --json").stdout);
    assert_eq!(before["stages"], again["stages"]);
}

#[test]
fn a_plan_file_is_equivalent_to_flags() {
    let lab = lab();
    let printed = lab.run("--loss 5% --rtt 80ms --arms udp-once --ops 100 --print-plan");
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    std::fs::write(lab.folder.join("plan.toml"), &printed.stdout).unwrap();
    let by_file = lab.run("--sim --seed 3 --json --no-report --plan plan.toml");
    let by_flags =
        lab.run("--sim --seed 3 --json --no-report --loss 5% --rtt 80ms --arms udp-once --ops 100");
    let stages = |text: &str| serde_json::from_str::<Value>(text).unwrap()["stages"].clone();
    assert_eq!(stages(&by_file.stdout), stages(&by_flags.stdout));
    let typo = printed.stdout.replacen("rtt", "rrt", 1);
    std::fs::write(lab.folder.join("plan.toml"), typo).unwrap();
    let refused = lab.run("--sim --plan plan.toml");
    assert_eq!(refused.code, 2);
    for part in ["unknown field `rrt`", "line 1", "^^^", "--print-plan"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}

#[test]
fn mistakes_name_what_was_expected() {
    let lab = lab();
    for (args, part) in [
        ("--loss 2", "did you mean 2%"),
        ("--rtt 20", "did you mean 20ms"),
        ("--loss 0.02", "did you mean 2% or 0.02%?"),
        ("--loss -1", "it cannot be negative"),
        ("--rtt -1ms", "it cannot be negative"),
        ("--ops -1", "from 1 up to"),
        ("--ops 4k", "did you mean 4000?"),
        ("--ops abc", "from 1 up to"),
        ("--seed abc", "expected a whole number"),
        ("--stage-limit 8", "did you mean 8s?"),
        ("--deadline 4", "did you mean 4s?"),
        ("--patience 200", "did you mean 200ms?"),
        ("--jitter 5ms", "lossy-path --delay normal:40ms,5ms"),
        ("--latency 40ms", "use --rtt TIME"),
        ("--bandwidth 20Mbit", "lossy-path --rate 20Mbit"),
        ("--rate=20Mbps", "lossy-path --rate 20Mbit"),
        ("--congestion-control bbrr", "expected one of those that are loaded: "),
        ("shwo latest", "'show'"),
        ("sho latest", "show, replay, explain"),
        ("--loss 60%", "at most 50 %"),
        ("--loss 1%,1%", "each once"),
        ("--arms tpc", "expected one of tcp, tcp-tuned"),
        ("--arm tcp:rto=5ms", "expected one of nodelay, rto_min"),
        ("--arm a=udp --arm a=udp:delivery=once", "each once"),
        ("--arm tcp:cc=bbrr", "expected one of those that are loaded: "),
        ("--repetitions 2", "expected 3 to 20"),
        ("--sim --arms tcp", "TCP lives in the kernel; --sim has udp, udp-retry and udp-once"),
        ("--depth 0", "from 1 up to"),
        ("--depth 500", "expected 1 to 16"),
        ("--ops 0", "from 1 up to"),
        ("--rtt 5s", "expected 0 to 2s"),
        ("--rtt 20ms --delay 10ms", "cannot be used with"),
        ("--generate poem", "completions:SHELL"),
        ("--plan nowhere.toml", "nowhere.toml"),
        ("show nowhere", "make a run first"),
        ("--lossy 2%", "--loss"),
    ] {
        let out = lab.run(args);
        assert_eq!(out.code, 2, "{args}: {}", out.stderr);
        assert!(out.stderr.contains(part), "{args}: expected {part:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "", "{args}");
    }
    assert!(lab.run(QUICK).code == 0);
    let unknown = lab.run("explain latest p42");
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("expected one of loss-cost, blocking, p50, p99"),
        "{}",
        unknown.stderr
    );
    std::fs::create_dir(lab.folder.join("full")).unwrap();
    std::fs::write(lab.folder.join("full/file"), "").unwrap();
    let full = lab.run(&format!("{QUICK} --out full"));
    assert_eq!(full.code, 2);
    assert!(full.stderr.contains("not empty"), "{}", full.stderr);
}

#[test]
fn output_works_in_pipes() {
    let lab = lab();
    let events = lab.run(&format!("{QUICK} --no-report --events -"));
    assert_eq!(events.code, 0, "{}", events.stderr);
    for line in events.stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let plain = lab.run(&format!("{QUICK} --no-report"));
    assert!(!plain.stdout.contains('\x1b'), "colour in a pipe");
    let coloured = lab.run(&format!("{QUICK} --no-report --color always"));
    assert!(coloured.stdout.contains('\x1b'), "no colour when asked for");
    assert!(!lab.folder.join("wirelab-runs").exists(), "--no-report left files");
    // A reader that closes early is not an error.
    let mut command = lab.command(&format!("{QUICK} --no-report --events -"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn json_goes_to_a_file_and_text_to_stdout() {
    let lab = lab();
    let out = lab.run(&format!("{QUICK} --no-report --json=result.json"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    let file = std::fs::read_to_string(lab.folder.join("result.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap()["seed"], 7);
    assert!(!out.stdout.is_empty() && !out.stdout.starts_with('{'), "{}", out.stdout);
}

/// Each `-v` adds output on stderr and none on stdout.
#[test]
fn verbosity_says_what_is_done() {
    let lab = lab();
    let [plain, once, twice] =
        ["", "-v", "-vv"].map(|v| lab.run(&format!("{QUICK} --no-report --json {v}")));
    for said in [&once, &twice] {
        // Only the command that was typed differs.
        let stdout = said.stdout.replace(" -vv", "").replace(" -v", "");
        assert_eq!(said.code, plain.code, "{}", said.stderr);
        assert!(stdout == plain.stdout, "{}", said.stderr);
        assert!(said.stderr.contains("stage 2 of 2: loss"), "{}", said.stderr);
    }
    let lines = |out: &Output| out.stderr.lines().count();
    assert!(lines(&plain) < lines(&once) && lines(&once) < lines(&twice), "{}", twice.stderr);
}

#[test]
fn resource_shortage_is_not_reported_as_a_bug() {
    let lab = lab();
    let full = lab.shell(&format!("{QUICK} --no-report"), "", "> /dev/full");
    assert_eq!(full.code, 4, "{}", full.stderr);
    assert!(full.stderr.contains("cannot write to standard output"), "{}", full.stderr);
    let help = lab.shell("--help", "", "> /dev/full");
    assert_eq!(help.code, 4, "{}", help.stderr);
}

#[test]
fn help_leads_with_examples_that_run() {
    let lab = lab();
    assert_eq!(lab.run(QUICK).code, 0);
    let help = lab.run("--help").stdout;
    assert!(help.starts_with("Examples:"), "{help}");
    let examples = help.lines().skip(1).take_while(|line| !line.trim().is_empty());
    let mut ran = 0;
    for line in examples {
        let command = line.split("   ").find(|part| part.contains("tcp-vs-udp")).unwrap();
        let args = command.trim().trim_start_matches("tcp-vs-udp");
        // Examples that need a privilege or a minute run in virtual time and small.
        let virtual_time = if args.contains("show") || args.contains("--sim") {
            args.to_owned()
        } else {
            format!("--sim {args}")
        };
        let args = if virtual_time.contains("--ops") || virtual_time.contains("show") {
            virtual_time
        } else {
            format!("{virtual_time} --ops 100")
        };
        let out = lab.run(&args);
        // Few requests may prove nothing.
        assert!(matches!(out.code, 0 | 3), "{args}: {}", out.stderr);
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} examples in\n{help}");
    for (what, part) in [
        ("man", ".TH tcp"),
        ("man", ".TH tcp-vs-udp-replay"),
        ("completions:bash", "complete -F _tcp"),
    ] {
        let made = lab.run(&format!("--generate {what}"));
        assert!(made.stdout.contains(part), "{what}: {}", made.stdout);
    }
}
