//! The lab's page: its commands print what it shows, and its answers are figures of runs.

use super::usage::lab;

const PAGE: &str = include_str!("../README.md");

fn printed(command: &str) -> String {
    let args = command.strip_prefix("clock-offset ").expect("a command of this lab");
    let lab = lab();
    let out = lab.run(&format!("{args} --no-report"));
    assert!([0, 3].contains(&out.code), "{command}: {}", out.stderr);
    out.stdout
}

/// `order` has no run folder.
fn run(command: &str) -> String {
    if command.contains(" order") {
        return lab().run(command.strip_prefix("clock-offset ").unwrap()).stdout;
    }
    printed(command)
}

#[test]
fn the_page_shows_what_its_commands_print() {
    let (page, _) = PAGE.split_once("<details>").unwrap();
    let blocks: Vec<&str> = page.split("```console\n$ ").skip(1).collect();
    assert!(blocks.len() >= 4);
    for block in blocks {
        let (command, wanted) = block.split("```").next().unwrap().split_once('\n').unwrap();
        let got = run(command).replace(" --no-report", "");
        assert!(got.starts_with(wanted), "{command}\n{got}");
    }
}

#[test]
fn every_answer_is_a_figure_of_a_run() {
    let answers: Vec<&str> = PAGE.split("<details>").skip(1).collect();
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let (question, answer) = answer.split_once("</summary>").unwrap();
        let spans: Vec<&str> = answer.split('`').skip(1).step_by(2).collect();
        let commands = spans.iter().filter(|span| span.starts_with("clock-offset "));
        let got: String = commands.map(|command| run(command)).collect();
        let figures = spans.iter().filter(|span| !span.starts_with("clock-offset "));
        let missing: Vec<_> = figures.clone().filter(|figure| !got.contains(**figure)).collect();
        assert!(figures.count() > 0 && missing.is_empty(), "{question}: {missing:?}\n{got}");
    }
}
