//! Runs every command of the lab's page and compares what it prints.

use super::{FOLDERS, forbidden, have, lab_folder};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use wirelab_tests::lab::Output;
use wirelab_tests::namespaces::alone;
use wirelab_tests::page::Scratch;

const PAGE: &str = include_str!("../README.md");

/// What a command prints, stdout and stderr in the order of a terminal; `None` where the machine
/// forbids namespaces.
fn run(folder: &Path, command: &str) -> Option<String> {
    let path = format!("{}:{FOLDERS}", lab_folder());
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{command} 2>&1")]).env("PATH", path).current_dir(folder);
    let out = Output::of(&mut shell);
    (!forbidden(&out)).then_some(out.stdout)
}

/// The text without what differs from run to run: times, seeds, and whether the machine was busy.
fn plain(text: &str) -> String {
    let busy = |line: &str| {
        ["trusted:", "TIMING SUSPECT:", "fates true:"].iter().any(|word| line.contains(word))
    };
    text.lines().filter(|line| !busy(line)).map(plain_line).collect::<Vec<_>>().join("\n")
}

fn plain_line(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let row = ["a to b", "b to a"].iter().any(|way| line.trim_start().starts_with(way));
    if let Some(last) = words.iter().rposition(|word| *word == "%").filter(|_| row) {
        // The rate and the lateness follow.
        words.truncate(last + 1);
    }
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut kept = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let timed = words.get(index + 1).is_some_and(|word| is_unit(word));
        let before = if index > 0 { words[index - 1] } else { "" };
        let named = ["=", "time", "seed"].contains(&before);
        match *word {
            time if time.starts_with("time=") => kept.push("time"),
            unit if number(before) && is_unit(unit) => {}
            value if number(value) && (timed || named) => {
                kept.push("N");
            }
            other => kept.push(other),
        }
    }
    kept.join(" ")
}

fn is_unit(word: &str) -> bool {
    ["ns", "µs", "ms", "s"].contains(&word.trim_end_matches([';', '.']))
}

/// A folder in which the page's paths are those of a clone.
fn clone() -> Scratch {
    let scratch = Scratch::new("lossy-page");
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let link = scratch.file("labs");
    fs::remove_file(&link).ok();
    symlink(labs, link).unwrap();
    scratch
}

#[test]
fn every_run_of_the_page_prints_what_the_page_shows() {
    if !have("page", &["ping", "bash"]) {
        return;
    }
    let _alone = alone();
    let clone = clone();
    let folder = clone.file("");
    let (page, _) = PAGE.split_once("<details>").unwrap();
    let blocks: Vec<&str> = page
        .split("```console\n$ ")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let (command, shown) = block.split_once('\n').unwrap();
        let Some(got) = run(&folder, command) else { return };
        assert_eq!(plain(&got), plain(shown), "{command}\n{got}");
    }
}

#[test]
fn every_answer_of_the_page_is_a_figure_of_a_run() {
    if !have("page", &["ping", "bash"]) {
        return;
    }
    let _alone = alone();
    let clone = clone();
    let folder = clone.file("");
    let answers: Vec<&str> = PAGE.split("<details>").skip(1).collect();
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let (question, answer) = answer.split_once("</summary>").unwrap();
        let (mut got, mut figures) = (String::new(), 0);
        for span in answer.split('`').skip(1).step_by(2) {
            if span.starts_with("lossy-path ") {
                let Some(printed) = run(&folder, span) else { return };
                got = printed.split_whitespace().collect::<Vec<_>>().join(" ");
            } else if !span.starts_with("--plan") {
                figures += 1;
                assert!(got.contains(span), "{question}: {span}\n{got}");
            }
        }
        assert!(figures > 0, "{question}: no figure");
    }
}
