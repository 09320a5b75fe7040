//! `lossy-path sweep`: a matrix of runs, its table, JSON and JUnit XML.

use super::{User, forbidden, have};
use std::fs;
use std::process::Command;
use wirelab_tests::lab::Output;
use wirelab_tests::namespaces::{alone, am_root};
use wirelab_tests::page::violations;

/// Reads JUnit XML as a consumer does: tests, failures, and the class of each failed case.
const CONSUMER: &str = r#"
import sys, xml.etree.ElementTree as xml
suite = xml.parse(sys.argv[1]).getroot().find("testsuite")
cases = suite.findall("testcase")
assert int(suite.get("tests")) == len(cases)
print(len(cases), suite.get("failures"))
for case in cases:
    for failure in case.findall("failure"):
        print(case.get("classname"), case.get("name"), failure.get("message"))
"#;

#[test]
fn a_sweep_says_which_cells_fail_and_how_to_repeat_them() {
    if !have("sweep", &["ping", "python3"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let command = ["--", "sh", "-c", "echo '<run>'; ping -q -c 1 -W 0.1 b"];
    let args = ["sweep", "loss=0%,100% delay=1ms", "--runs=2", "--seed=5", "--junit=out.xml"];
    let out = user.run(&[&args[..], &["--json=out.json"], &command].concat());
    if forbidden(&out) || out.stderr.contains("Operation not permitted") {
        return;
    }
    assert_eq!(out.code, 1, "{}\n{}", out.stdout, out.stderr);
    let row = |cell: &str, passed: &str| {
        let line = out.stdout.lines().find(|line| line.starts_with(cell));
        assert!(line.is_some_and(|line| line.contains(passed)), "{}", out.stdout);
    };
    row("loss=0% delay=1ms", "2 of 2");
    row("loss=100% delay=1ms", "0 of 2");
    let again = "lossy-path '--loss=100%' --delay=1ms --seed 6 -- sh -c";
    assert!(
        out.stdout.contains(&again.replace('\'', "")) || out.stdout.contains(again),
        "{}",
        out.stdout
    );
    let read = Output::of(
        Command::new("python3").args(["-c", CONSUMER, "out.xml"]).current_dir(&user.folder),
    );
    let failed = |seed| format!("loss=100% delay=1ms seed {seed} exited with 1\n");
    assert_eq!(read.stdout, format!("4 2\n{}{}", failed(5), failed(6)), "{}", read.stderr);
    let result = fs::read_to_string(user.folder.join("out.json")).unwrap();
    let result = serde_json::from_str(&result).unwrap();
    let wrong = violations(lossy_path::report::sweep_schema(), &result);
    assert!(wrong.is_empty(), "{wrong:?}");
    // A cell may fail half of its runs, and a wrong setting is no failed test.
    let half = ["sweep", "loss=0%", "--runs=2", "--require=50%", "--quiet", "--"];
    let once = "test -e once || { touch once; exit 3; }";
    assert_eq!(user.run(&[&half[..], &["sh", "-c", once]].concat()).code, 0);
    let out = user.run(&["sweep", "loss=7", "--runs=1", "--", "true"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
    assert!(out.stderr.contains("did you mean 7%"), "{}", out.stderr);
}
