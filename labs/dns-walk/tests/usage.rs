//! dns-walk as a user types it: examples, mistakes, real packets on loopback, exit codes, output.

use serde_json::Value;
use std::io::Read;
use std::process::Stdio;
use wirelab_tests::lab::{Lab, Output};

fn lab() -> Lab {
    Lab::new("dns-walk")
}

#[test]
fn help_leads_with_examples_that_run() {
    let lab = lab();
    let help = lab.run("--help").stdout;
    assert!(help.starts_with("Examples:"), "{help}");
    let examples = help.lines().skip(1).take_while(|line| !line.trim().is_empty());
    let mut ran = 0;
    for line in examples {
        let command = line.split("   ").find(|part| part.contains("dns-walk")).unwrap();
        let args = command.trim().trim_start_matches("dns-walk");
        // What needs the Internet is asked of a root that is not there.
        let offline = !["--demo", "--faults", "show "].iter().any(|word| args.contains(word));
        let args = if offline {
            std::fs::write(lab.folder.join("hints"), "a.root A 127.53.255.1:9").unwrap();
            format!("{args} --hints hints")
        } else {
            args.to_owned()
        };
        let (args, file) = match args.split_once('<') {
            Some((args, file)) => (args.to_owned(), Some(lab.folder.join(file.trim()))),
            None => (args, None),
        };
        let mut command = lab.command(&args);
        if let Some(file) = file {
            std::fs::write(&file, "www.igbank.com\nigbank.com MX\n").unwrap();
            command.stdin(std::fs::File::open(file).unwrap());
        }
        let out = Output::of(&mut command);
        assert_eq!(out.code, if offline { 5 } else { 0 }, "{args}:\n{}{}", out.stdout, out.stderr);
        ran += 1;
    }
    assert!(ran >= 7, "only {ran} examples");
}

#[test]
fn help_completions_and_manual_know_every_command() {
    let lab = lab();
    for args in ["-h", "--help", "--generate completions:bash", "--generate completions:zsh"] {
        let out = lab.run(args);
        assert_eq!(out.code, 0, "{args}: {}", out.stderr);
        for command in ["show", "serve", "serve-demo"] {
            assert!(out.stdout.contains(command), "{args} does not know {command}");
        }
    }
    let manual = lab.run("--generate man").stdout;
    for part in [".TH dns", ".TH dns-walk-serve", ".TH dns-walk-serve-demo", "beyond"] {
        assert!(manual.contains(part), "{part} is not in the manual");
    }
    assert!(!lab.run("serve --help").stdout.is_empty());
}

#[test]
fn a_port_alone_is_one_on_loopback() {
    let lab = lab();
    let mut command = lab.command("serve --demo --listen 0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("listening 127.0.0.1:"), "{line}");
}

#[test]
fn a_shortage_of_the_machine_is_no_bug() {
    let lab = lab();
    let walk = "www.igbank.com --demo --no-report --seed 1";
    for (before, after, part) in [
        ("", "> /dev/full", "cannot write to standard output"),
        ("ulimit -n 8;", "", "ulimit -n 4096"),
    ] {
        let out = lab.shell(walk, before, after);
        assert_eq!(out.code, 4, "{before}{after}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains(part), "{before}{after}: {}", out.stderr);
        assert!(!out.stderr.contains("bug"), "{before}{after}: {}", out.stderr);
    }
}

/// Each `-v` says more on stderr, and changes nothing on stdout.
#[test]
fn verbosity_says_what_is_done() {
    let lab = lab();
    let [plain, once, twice] = ["", "-v", "-vv"]
        .map(|v| lab.run(&format!("www.igbank.com --demo --sim --seed 1 --no-report {v}")));
    for said in [&once, &twice] {
        assert_eq!((said.code, &said.stdout), (plain.code, &plain.stdout), "{}", said.stderr);
        assert!(said.stderr.contains("attempt 1: Referral"), "{}", said.stderr);
    }
    let lines = |out: &Output| out.stderr.lines().count();
    assert!(lines(&plain) < lines(&once) && lines(&once) < lines(&twice), "{}", twice.stderr);
}

#[test]
fn real_packets_find_the_answer_and_every_fault() {
    let lab = lab();
    for seed in 0..5 {
        let args = format!("www.igbank.com --demo broken --check --seed {seed}");
        let out = lab.run(&args);
        assert_eq!(out.code, 0, "{args}:\n{}{}", out.stdout, out.stderr);
        let mut lines = out.stdout.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with("www.igbank.com. A is 203.0.113.99"), "{args}: {first}");
        for part in ["ns2.igbank.com. 127.53.2.2", "refuses", "the zone above names ns.hoster.net."]
        {
            assert!(out.stdout.contains(part), "{args}: expected {part:?} in\n{}", out.stdout);
        }
    }
}

#[test]
fn the_exit_code_says_how_it_went() {
    let lab = lab();
    for (args, code) in [
        ("www.igbank.com --demo --sim --seed 1", 0),
        ("www.igbank.com AAAA --demo --sim --seed 1", 1),
        ("nowhere.igbank.com --demo --sim --seed 1", 1),
        ("loop.igbank.com --demo broken --sim --seed 1", 3),
        ("www.upward.com --demo broken --sim --seed 1", 3),
        ("www.igbank.com --demo --sim --seed 1 --budget 2", 3),
        ("www.silent.com --demo broken --sim --seed 1", 5),
    ] {
        let out = lab.run(args);
        assert_eq!(out.code, code, "{args}:\n{}{}", out.stdout, out.stderr);
    }
}

#[test]
fn mistakes_say_what_was_expected() {
    let lab = lab();
    std::fs::write(lab.folder.join("bad"), "a.root A nowhere\n").unwrap();
    for (args, part) in [
        ("", "expected NAME [TYPE], got nothing"),
        ("www.igbank.com BOGUS --demo", "expected a record type such as A"),
        ("www.igbank.com AXFR --demo", "expected the type of a record"),
        ("www.igbank.com A -t MX --demo", "expected one TYPE"),
        ("-x 192.0.2.1 www.igbank.com", "expected -x ADDRESS alone"),
        ("www..igbank.com --demo", "got \"www..igbank.com\": a label is empty"),
        ("show", "there is no latest run of dns-walk"),
        ("www.igbank.com --budget 99999999999", "up to 4294967295"),
        ("- --demo --all", "--all is for one walk"),
        ("- --demo --check", "--check is for one walk"),
        ("- --anchor bad", "--anchor is for one walk"),
        ("- --at 2026-11-23", "--at is for one walk"),
        ("- --demo --sequence", "--sequence is for one walk"),
        ("- --replay bad", "--replay is for one walk"),
        ("- --out run", "--out is for one walk"),
        ("- -x 192.0.2.1", "-x is for one walk"),
        ("www.igbank.com --hints bad", "line 1: expected an address"),
        ("www.igbank.com --hints nowhere", "nowhere"),
        ("www.igbank.com --loss 10%", "--demo"),
        ("www.igbank.com --demo broke", "expected --demo sound or broken, got \"broke\""),
        ("--demo broke", "expected --demo sound or broken, got \"broke\""),
        ("--replay bad", "line 1: expected one record of a walk"),
        ("show nowhere", "nowhere is no saved walk"),
        ("www.igbank.com --demo --loss 10", "did you mean 10%"),
        ("www.igbank.com --generate poem", "completions:SHELL"),
        ("https://igbank.com/x", "did you mean igbank.com?"),
        ("http://user@igbank.com:80/x?y", "did you mean igbank.com?"),
        ("igbank.com/x", "did you mean igbank.com?"),
        ("192.0.2.1", "type -x 192.0.2.1"),
        ("[2001:db8::1] --demo", "type -x 2001:db8::1"),
        ("www.igbank.com --budget -1", "from 1 up to"),
        ("www.igbank.com --budget 1k", "did you mean 1000?"),
        ("www.igbank.com --seed abc", "expected a whole number"),
        ("www.igbank.com --port abc", "from 0 up to 65535"),
        ("www.igbank.com --demo --delay 5", "did you mean 5ms?"),
        ("www.igbank.com --demo --delay -5ms", "it cannot be negative"),
        ("www.igbank.com --demo --loss 0.02", "did you mean 2% or 0.02%?"),
        ("www.igbank.com --demo --latency 5ms", "use --delay TIME"),
        ("www.igbank.com --demo --jitter 5ms", "lossy-path --delay normal"),
        ("www.igbank.com --demo --bandwidth 20Mbit", "lossy-path --rate 20Mbit"),
        ("serve --idle 10", "did you mean 10s?"),
        ("serve --listen nowhere:port", "expected HOST:PORT"),
        ("serve --listen 0.0.0.0", "0.0.0.0:5335 can be reached from other hosts"),
        ("serve-demo --seed -1", "expected a whole number"),
    ] {
        let out = lab.run(args);
        assert_eq!(out.code, 2, "{args}: {}", out.stderr);
        assert!(out.stderr.contains(part), "{args}: expected {part:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "", "{args}");
    }
}

#[test]
fn names_that_are_not_for_the_public_dns_are_kept_from_it() {
    let lab = lab();
    for (args, code, parts) in [
        ("printer.local", 1, &["does not exist", "no server was asked", "RFC 6762"][..]),
        ("localhost AAAA", 0, &["localhost. AAAA is ::1", "RFC 6761"]),
        ("-x 192.168.1.7", 1, &["7.1.168.192.in-addr.arpa. PTR", "private networks", "RFC 6303"]),
        ("-x fd53::1", 1, &["d.f.ip6.arpa.", "RFC 6303"]),
        ("facebookcorewwwi.onion --explain", 1, &["No server is asked", "RFC 7686"]),
    ] {
        let out = lab.run(&format!("{args} --seed 1"));
        assert_eq!(out.code, code, "{args}:\n{}{}", out.stdout, out.stderr);
        for part in parts {
            assert!(out.stdout.contains(part), "{args}: expected {part:?} in\n{}", out.stdout);
        }
    }
}

#[test]
fn a_name_in_any_script_is_shown_both_ways() {
    let lab = lab();
    for (args, first) in [
        ("Bücher.igbank.com", "bücher.igbank.com. (xn--bcher-kva.igbank.com.) A"),
        ("xn--bcher-kva.igbank.com", "bücher.igbank.com. (xn--bcher-kva.igbank.com.) A"),
        ("_tcp.igbank.com", "_tcp.igbank.com. A"),
    ] {
        let out = lab.run(&format!("{args} --demo --sim --seed 1"));
        assert_eq!(out.code, 1, "{args}: {}", out.stderr);
        assert!(out.stdout.starts_with(first), "{args}: {}", out.stdout);
    }
    let out = lab.run("a\u{202e}b.com --demo --sim --seed 1");
    assert_eq!(out.code, 2, "a letter that turns the line around is no name: {}", out.stdout);
}

#[test]
fn a_name_after_demo_is_a_name() {
    let lab = lab();
    for args in [
        "--demo login.igbank.com AAAA --sim --seed 1",
        "login.igbank.com --demo AAAA --sim --seed 1",
        "login.igbank.com AAAA --demo --sim --seed 1",
        "login.igbank.com -t aaaa --demo sound --sim --seed 1",
        "login.igbank.com TYPE28 --demo --sim --seed 1",
    ] {
        let out = lab.run(args);
        assert!(out.stdout.starts_with("login.igbank.com. AAAA is 2001:db8:53::81"), "{args}");
    }
}

#[test]
fn the_demo_can_be_left_running_for_other_tools() {
    let lab = lab();
    let mut command = lab.command("serve-demo broken");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Its two lines of addresses say that it listens.
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut hints = String::new();
    while !hints.contains("b.root.") {
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut hints).unwrap(), 0, "{hints}");
    }
    std::fs::write(lab.folder.join("hints"), &hints).unwrap();
    let walk = lab.run("www.igbank.com --hints hints --seed 1");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(walk.code, 0, "{}{}", walk.stdout, walk.stderr);
    assert!(walk.stdout.starts_with("www.igbank.com. A is 203.0.113.99"), "{}", walk.stdout);
}

#[test]
fn output_is_for_pipes_and_programs() {
    let lab = lab();
    let quick = "shop.igbank.com --demo --sim --seed 1";
    let events = lab.run(&format!("{quick} --events -"));
    let kinds: Vec<String> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].to_string())
        .collect();
    assert_eq!(
        (kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()),
        ("\"start\"", "\"summary\"")
    );
    let json: Value =
        serde_json::from_str(&lab.run(&format!("{quick} --json --warm")).stdout).unwrap();
    assert_eq!(json["walks"].as_array().unwrap().len(), 2);
    let plain = lab.run(quick);
    assert!(!plain.stdout.contains('\x1b'), "colour in a pipe");
    assert_eq!(plain.stdout, lab.run(quick).stdout, "the same seed, the same bytes");
    assert!(lab.run(&format!("{quick} --color always")).stdout.contains('\x1b'));
    assert!(lab.run(&format!("{quick} --explain")).stdout.contains("[RFC 1034 §4.2.1]"));
    assert!(lab.run(&format!("{quick} --waterfall")).stdout.contains("===="));
    assert!(lab.run("--generate completions:bash").stdout.contains("--waterfall"));
    // A reader that leaves early is not an error.
    let mut command = lab.command(&format!("{quick} --events -"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
