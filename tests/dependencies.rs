//! Dependencies: their licences and sources, and which lab compiles what. Works offline.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Licences that may be combined with MIT in a binary.
const LICENCES: [&str; 10] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that only these labs compile.
const RESERVED: [(&str, &[&str]); 4] = [
    ("hickory-proto", &["dns-walk"]),
    ("hickory-resolver", &["dns-walk"]),
    ("rustls", &["clock-offset"]),
    ("aes-siv", &["clock-offset"]),
];

/// Maximum number of crates that a lab compiles, itself included.
const CRATES_MAX: [(&str, usize); 6] = [
    ("bank-tcp", 75),
    ("bank-udp", 75),
    ("tcp-vs-udp", 85),
    ("lossy-path", 85),
    ("clock-offset", 130),
    ("dns-walk", 185),
];

fn cargo(words: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(words).args(["--locked", "--offline"]).current_dir(root);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Whether an SPDX expression leaves a choice that [`LICENCES`] allows; `/` is an old form of OR.
fn allowed(expression: &str) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let known = |one: &str| LICENCES.contains(&one.trim());
    text.split(" AND ").all(|all| all.split(" OR ").any(known))
}

#[test]
fn every_dependency_has_a_licence_and_a_source_that_are_allowed() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "found only {} packages", packages.len());
    for package in packages {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(allowed(licence), "{name}: {licence:?} is not in the list of licences");
        let source = package["source"].as_str();
        let registry = source.is_none_or(|from| from.starts_with("registry+"));
        assert!(registry, "{name} comes from {source:?}, not from the registry");
    }
}

#[test]
fn a_licence_that_is_not_in_the_list_is_refused() {
    for (expression, is) in [
        ("MIT OR GPL-3.0-only", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), is, "{expression}");
    }
}

/// Prints the count of each lab: `cargo test --test suite -- dependencies --nocapture`.
#[test]
#[expect(clippy::print_stdout, reason = "the counts are for tests/README.md")]
fn a_lab_compiles_what_it_needs() {
    for (lab, most) in CRATES_MAX {
        let tree = cargo(&["tree", "-p", lab, "--edges", "normal,build", "--prefix", "none"]);
        let crates: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
        println!("{lab}: {} crates", crates.len());
        assert!(crates.len() <= most, "{lab} compiles {} crates, at most {most}", crates.len());
        for (reserved, labs) in RESERVED {
            let used = crates.contains(reserved);
            assert!(!used || labs.contains(&lab), "{lab} compiles {reserved}");
        }
    }
}
