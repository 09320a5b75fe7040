//! Tests the words of lossy-path without a path: help, presets, plan files, and a hundred mistakes.

use wirelab::measure::draw::keyed;
use wirelab::path::LinkPlan;
use wirelab_tests::lab::{Lab, Output};

fn lab() -> Lab {
    Lab::new("lossy-path")
}

fn run(lab: &Lab, args: &[&str]) -> Output {
    Output::of(lab.command("").args(args))
}

/// A setting, valid texts, and invalid ones.
const TEXTS: [(&str, &[&str], &[&str]); 14] = [
    // Bursts and content keys cannot be combined.
    ("key", &["order", "time:1ms"], &["", "weather", "time:0", "time:5"]),
    (
        "loss",
        &["2%", "gilbert:1%,30%", "4state:1%,20%,30%,2%,1%"],
        &["2", "101%", "-1%", "gilbert:1%", "gilbert:1%,30%,5%,6%,7%", "4state:1%", "list:"],
    ),
    ("max-burst", &["3"], &["0", "-1", "many", "1.5"]),
    ("corrupt", &["1%", "1%,repair", "1%,bits=3"], &["1", "1%,bits=0", "1%,mend", "200%"]),
    ("duplicate", &["1%"], &["1", "x%", "1000%"]),
    ("mark", &["1%"], &["1", "ecn"]),
    ("mtu", &["1400", "1400,blackhole"], &["0", "70000", "1400,whitehole", "big"]),
    ("overhead", &["24B", "24B,mpu=84B", "10B,atm"], &["24", "-20B", "9kB", "24B,mpu=9kB"]),
    (
        "police",
        &["10Mbit,burst=32kB"],
        &["10Mbit", "10Mbit,burst=1kB", "burst=32kB", "0,burst=2kB"],
    ),
    ("rate", &["20Mbit", "1Gbit"], &["0", "0Mbit", "20", "-5Mbit", "20Mbyte", "trace:"]),
    ("queue", &["64kB", "100p", "codel:100p"], &["64", "-1p", "red:100p"]),
    ("delay", &["normal:40ms,5ms"], &["40", "-1ms", "normal:5ms", "soon"]),
    ("reorder", &["jitter", "25%", "25%,gap=5"], &["25", "25%,gap=0", "often"]),
    ("at", &["at 2s down for 3s", "at 5s loss 20%"], &["2s", "at 2s up", "at noon down"]),
];

fn pick<'a>(list: &[&'a str], draw: u64) -> &'a str {
    list[usize::try_from(draw % list.len() as u64).unwrap()]
}

#[test]
fn a_hundred_mistakes_give_one_clear_error_each() {
    let lab = lab();
    let seed = 100;
    assert_eq!(TEXTS.map(|(word, _, _)| word), LinkPlan::names());
    for round in 0..100_u64 {
        let draw = |n: u64| keyed(seed, round * 8 + n);
        let (word, _, wrong) = TEXTS[usize::try_from(draw(0) % TEXTS.len() as u64).unwrap()];
        let text = pick(wrong, draw(1));
        // By flag, by one direction's flag, or by plan file.
        let (args, place): (Vec<String>, String) = match draw(2) % 3 {
            0 => (vec![format!("--{word}={text}")], format!("--{word}")),
            1 => {
                let way = pick(&["a-to-b", "b-to-a"], draw(3));
                (vec![format!("--{way}"), format!("{word}={text}")], format!("--{way}"))
            }
            _ => {
                let table = pick(&["both", "a-to-b", "b-to-a"], draw(3));
                let value = if word == "at" { format!("['{text}']") } else { format!("'{text}'") };
                let file = format!("# a plan\n[{table}]\n{word} = {value}\n");
                std::fs::write(lab.folder.join("plan.toml"), file).unwrap();
                (vec!["--plan=plan.toml".into()], "plan.toml, line 3, column".to_owned())
            }
        };
        let mut all: Vec<&str> = args.iter().map(String::as_str).collect();
        all.extend(["--", "true"]);
        let out = run(&lab, &all);
        let context = format!("seed {seed} round {round}: {all:?}\n{}", out.stderr);
        assert_eq!(out.code, 2, "{context}");
        assert_eq!(out.stdout, "", "{context}");
        assert!(out.stderr.contains(&place), "does not name {place}: {context}");
        let begins = |l: &&str| l.starts_with("lossy-path:") || l.starts_with("error:");
        assert_eq!(out.stderr.lines().filter(begins).count(), 1, "{context}");
        assert!(out.stderr.contains("expected"), "{context}");
    }
}

#[test]
fn mistakes_of_other_kinds_say_what_to_do() {
    let lab = lab();
    std::fs::write(lab.folder.join("typo.toml"), "[both]\nlos = '2%'\n").unwrap();
    std::fs::write(lab.folder.join("losses"), "3\n2\n").unwrap();
    for (args, part) in [
        (&["ping", "b"][..], "behind two dashes"),
        (&[], "there is no program to run"),
        (&["--los", "2%", "--", "true"], "--loss"),
        (&["--preset", "4gg", "--", "true"], "did you mean 4g?"),
        (&["--a-to-b", "los=2%", "--", "true"], "did you mean loss?"),
        (&["--a-to-b", "loss", "--", "true"], "NAME=VALUE"),
        (
            &["--plan", "typo.toml", "--", "true"],
            "typo.toml, line 2, column 1: unknown field `los`",
        ),
        (&["--plan", "typo.toml", "--", "true"], "did you mean loss?"),
        (&["--plan", "nowhere.toml", "--", "true"], "nowhere.toml"),
        (&["--loss", "list:losses", "--", "true"], "losses, line 2"),
        (&["--loss", "list:nowhere", "--", "true"], "nowhere"),
        (&["--delay", "uniform:5ms,40ms", "--", "true"], "must not be above the mean"),
        (&["--at", "at 1s rate 5Mbit", "--", "true"], "rate"),
        (&["--fates", "nowhere", "--", "true"], "--fates nowhere"),
        (&["--fates", "losses", "--", "true"], "line 1"),
        (&["--fates", "losses", "--seed", "1", "--", "true"], "cannot be used with"),
        (&["--b-ready", "0", "--", "true"], "a port from 1 to 65535"),
        (&["--spin", "5", "--", "true"], "did you mean 5ms?"),
        (&["--loss", "0.02", "--", "true"], "did you mean 2% or 0.02%?"),
        (&["--loss", "-1%", "--", "true"], "expected"),
        (&["--delay", "-1", "--", "true"], "expected"),
        (&["--delay", "40", "--", "true"], "did you mean 40ms?"),
        (&["--rate", "20Mbps", "--", "true"], "did you mean 20Mbit?"),
        (&["--queue", "64k", "--", "true"], "did you mean 64kB?"),
        (&["--seed", "abc", "--", "true"], "expected a whole number"),
        (&["--seed", "-1", "--", "true"], "expected a whole number"),
        (&["--jitter", "5ms", "--", "true"], "use --delay normal:40ms,5ms"),
        (&["--latency", "40ms", "--", "true"], "use --delay 40ms"),
        (&["--bandwidth", "20Mbit", "--", "true"], "use --rate 20Mbit"),
        (&["--limit", "1000", "--", "true"], "use --queue 64kB"),
        (&["show", "nowhere"], "make a run first"),
        (&["shell", "c"], "possible values: a, b"),
        (&["--generate", "poem"], "completions:SHELL"),
    ] {
        let out = run(&lab, args);
        assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
        assert!(out.stderr.contains(part), "{args:?}: expected {part:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "", "{args:?}");
    }
}

#[test]
fn a_plan_file_equals_its_flags() {
    let lab = lab();
    let seed = 55;
    for round in 0..30_u64 {
        let mut args = Vec::new();
        for (place, (word, right, _)) in (0..).zip(TEXTS) {
            let draw = keyed(seed, round * 64 + place);
            // A queue needs a rate, overtaking a varying delay; the others are independent.
            let needed = ["rate", "queue", "delay"].contains(&word);
            if needed || draw.is_multiple_of(3) {
                let text = pick(right, draw >> 8);
                if draw.is_multiple_of(5) && !needed {
                    args.extend(["--b-to-a".to_owned(), format!("{word}={text}")]);
                } else {
                    args.push(format!("--{word}={text}"));
                }
            }
        }
        args.extend(["--b=nginx -g 'daemon off;'".to_owned(), "--b-ready=80".to_owned()]);
        args.push("--print-plan".to_owned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let printed = run(&lab, &args);
        let context = format!("seed {seed} round {round}: {args:?}\n{}", printed.stderr);
        assert_eq!(printed.code, 0, "{context}");
        std::fs::write(lab.folder.join("plan.toml"), &printed.stdout).unwrap();
        let again = run(&lab, &["--plan", "plan.toml", "--print-plan"]);
        assert_eq!(again.stdout, printed.stdout, "{context}\n{}", again.stderr);
    }
}

#[test]
fn flags_override_files_and_files_presets() {
    let lab = lab();
    let plan = "preset = 'nyc-sydney'\n[both]\nloss = '1%'\n[b-to-a]\nloss = '3%'\n";
    std::fs::write(lab.folder.join("plan.toml"), plan).unwrap();
    let printed = run(&lab, &["--plan", "plan.toml", "--print-plan"]).stdout;
    let back = printed.split("[b-to-a]").nth(1).unwrap();
    assert!(back.contains("loss = \"3%\"") && back.contains("delay = "), "{printed}");
    // A flag for both directions overrides a file's setting for one.
    let over = ["--plan", "plan.toml", "--loss", "5%", "--delay", "7ms", "--print-plan"];
    let printed = run(&lab, &over).stdout;
    assert_eq!(printed, "[both]\nloss = \"5%\"\ndelay = \"7ms\"\n");
    let presets = lab.run("presets").stdout;
    for preset in wirelab::path::preset::ALL {
        let printed = run(&lab, &["--preset", preset.name, "--print-plan"]);
        assert_eq!(printed.code, 0, "{}: {}", preset.name, printed.stderr);
        assert!(presets.contains(preset.name) && presets.contains(preset.source), "{presets}");
    }
}

#[test]
fn completions_and_manual_come_from_the_program() {
    let lab = lab();
    for (what, part) in [
        ("man", ".TH lossy"),
        ("man", ".TH lossy-path-shell"),
        ("completions:bash", "complete -F _lossy"),
    ] {
        let made = lab.run(&format!("--generate {what}"));
        assert!(made.stdout.contains(part), "{what}: {}", made.stdout);
    }
}
