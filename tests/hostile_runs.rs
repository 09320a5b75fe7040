//! Saved runs with hostile strings: every leaf of every schema, in every view, as text, page and
//! JSON.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use wirelab_tests::hostile::{Leaf, Schema, assert_harmless, assert_inert, hostile};
use wirelab_tests::lab::{Lab, Output};
use wirelab_tests::namespaces::EXIT_PRIVILEGE;

/// A saved file of a lab, and the views that read it.
struct Format {
    lab: &'static str,
    schema: &'static str,
    /// A command that leaves it in `run`.
    made: &'static str,
    file: &'static str,
    /// Shows whether the file is taken.
    quick: &'static str,
    views: &'static [&'static str],
    /// Leaves that are taken with a hostile value, at least: others hold names, numbers, addresses.
    taken: usize,
}

const FORMATS: [Format; 5] = [
    Format {
        lab: "tcp-vs-udp",
        schema: include_str!("../labs/tcp-vs-udp/report/result.schema.json"),
        made: "--sim --ops 20 --loss 0 --arms udp-once --seed 4 --out run",
        file: "result.json",
        quick: "show run",
        views: &["show run --json", "explain run", "explain run p99", "show run --color always"],
        taken: 5,
    },
    Format {
        lab: "clock-offset",
        schema: include_str!("../labs/clock-offset/report/result.schema.json"),
        made: "--sim --requests 5 --loss 30% --host-step 80ms@2s --seed 4 --out run",
        file: "result.json",
        quick: "show run",
        views: &["show run --json", "show run --color always", "--from run --out X"],
        taken: 5,
    },
    Format {
        lab: "dns-walk",
        schema: include_str!("../labs/dns-walk/report/events.schema.json"),
        made: "www.igbank.com --demo broken --check --sim --seed 4 --out run",
        file: "events.ndjson",
        quick: "show run",
        views: &[
            "show run --json",
            "show run --events -",
            "show run --explain",
            "show run --sequence",
            "show run --color always",
            "show run --out X",
        ],
        taken: 30,
    },
    Format {
        lab: "lossy-path",
        schema: include_str!("../labs/lossy-path/report/result.schema.json"),
        made: "--out run --quiet -- true",
        file: "result.json",
        quick: "show run",
        views: &["show run --json", "explain run", "explain run lost", "show run --color always"],
        taken: 8,
    },
    Format {
        lab: "dns-walk",
        schema: include_str!("../src/cli/run/manifest.schema.json"),
        made: "www.igbank.com --demo --sim --seed 4",
        file: "manifest.json",
        quick: "runs",
        views: &["runs --json"],
        taken: 3,
    },
];

/// A file of one document, or of one a line.
fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|end| end == "ndjson") {
        return text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    }
    serde_json::from_str(&text).unwrap()
}

fn write(path: &Path, document: &Value) {
    let lines = |items: &Vec<Value>| items.iter().map(|item| format!("{item}\n")).collect();
    let text: String = match document {
        Value::Array(items) => lines(items),
        other => other.to_string(),
    };
    fs::write(path, text).unwrap();
}

/// Runs a view; it must end in order and show nothing that is taken for more than text.
fn view(lab: &Lab, line: &str, what: &str) -> Output {
    let mut out = lab.run(line);
    let what = format!("{line} with {what}");
    assert!((0..=6).contains(&out.code), "{what}: {} {}", out.code, out.stderr);
    if line.contains("--color always") {
        // The colours of the program itself.
        for code in ["0", "1", "2", "1;31", "1;32", "33"] {
            out.stdout = out.stdout.replace(&format!("\x1b[{code}m"), "");
        }
    }
    assert_harmless(&out.stdout, &what);
    assert_harmless(&out.stderr, &what);
    let json = line.contains("--json") || line.contains("--events -");
    if json && out.code == 0 && line.contains("--json") {
        serde_json::from_str::<Value>(&out.stdout).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    out
}

fn check(format: &Format) {
    let lab = Lab::new(format.lab);
    let made = lab.run(format.made);
    if made.code == EXIT_PRIVILEGE {
        println!("skipped: {} {}: this machine forbids namespaces", format.lab, format.made);
        return;
    }
    let run = if format.made.contains("--out") {
        lab.folder.join("run")
    } else {
        lab.folder.join("wirelab-runs/latest-dns-walk").canonicalize().unwrap()
    };
    let file = run.join(format.file);
    let base = read(&file);
    let mut schema: Value = serde_json::from_str(format.schema).unwrap();
    if base.is_array() {
        let defs = schema["$defs"].clone();
        schema = serde_json::json!({ "items": schema, "$defs": defs });
    }
    let schema = Schema(&schema);
    let (leaves, hostile) = (schema.leaves(), hostile());
    assert!(leaves.len() >= format.taken, "{}: {} leaves", format.schema, leaves.len());
    let unchanged = lab.run(format.quick).stdout;
    let mut taken: Vec<&Leaf<'_>> = Vec::new();
    for leaf in &leaves {
        let mut document = base.clone();
        schema.plant(&mut document, leaf, &hostile);
        write(&file, &document);
        let out = view(&lab, format.quick, &leaf.path());
        // A listing passes over what is no run.
        if out.code < 2 || out.code == 3 || (out.code == 6 && !out.stdout.is_empty()) {
            taken.push(leaf);
        }
    }
    let mut all = base;
    for leaf in &taken {
        schema.plant(&mut all, leaf, &hostile);
    }
    write(&file, &all);
    let names: Vec<String> = taken.iter().map(|leaf| leaf.path()).collect();
    println!(
        "{} {}: {} of {} leaves are taken: {names:?}",
        format.lab,
        format.file,
        taken.len(),
        leaves.len()
    );
    assert!(taken.len() >= format.taken, "{}: only {names:?} are taken", format.lab);
    assert_ne!(view(&lab, format.quick, "all").stdout, unchanged, "{}: none is shown", format.lab);
    for line in format.views {
        let out = view(&lab, line, "all");
        assert_ne!(out.code, 2, "{} {line}: {}", format.lab, out.stderr);
        for name in ["report.html", "result.json", "events.ndjson", "manifest.json"] {
            let Ok(text) = fs::read_to_string(lab.folder.join("X").join(name)) else { continue };
            match name {
                "report.html" => assert_inert(&text, line),
                _ => assert!(!text.contains(['\x1b', '\r']), "{line}: {name}"),
            }
        }
    }
}

#[test]
fn hostile_strings_of_a_comparison_stay_text() {
    check(&FORMATS[0]);
}

#[test]
fn hostile_strings_of_a_clock_stay_text() {
    check(&FORMATS[1]);
}

#[test]
fn hostile_strings_of_a_walk_stay_text() {
    check(&FORMATS[2]);
}

#[test]
fn hostile_strings_of_a_path_stay_text() {
    check(&FORMATS[3]);
}

#[test]
fn hostile_strings_of_a_manifest_stay_text() {
    check(&FORMATS[4]);
}

/// A new schema must be read by one of the tests above, or be of something that no view reads.
#[test]
fn every_schema_is_covered_or_never_read() {
    const NEVER_READ: [&str; 7] = [
        "labs/clock-offset/report/events.schema.json",
        "labs/clock-offset/report/order.schema.json",
        "labs/dns-walk/report/list.schema.json",
        // Made from the records by every view.
        "labs/dns-walk/report/result.schema.json",
        "labs/lossy-path/report/events.schema.json",
        "labs/lossy-path/report/sweep.schema.json",
        "labs/tcp-vs-udp/report/events.schema.json",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![root.join("src"), root.join("labs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".schema.json") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                let covered = FORMATS.iter().any(|format| format.schema == text);
                assert!(covered || NEVER_READ.contains(&name.as_str()), "{name} is not covered");
            }
        }
    }
}
