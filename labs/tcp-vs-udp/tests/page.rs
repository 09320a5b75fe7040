//! The lab's page: its runs print what it shows, its answers are figures of a run.

use wirelab_tests::lab::Lab;

const PAGE: &str = include_str!("../README.md");

fn lab() -> Lab {
    let lab = Lab::new("tcp-vs-udp");
    let labs = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    std::os::unix::fs::symlink(labs, lab.folder.join("labs")).unwrap();
    lab
}

/// The arguments of a command of this lab.
fn arguments(command: &str) -> &str {
    command.trim().strip_prefix("tcp-vs-udp").unwrap()
}

#[test]
fn every_run_prints_what_the_page_shows() {
    let lab = lab();
    let mut runs = 0;
    for block in PAGE.split("```console\n$ ").skip(1) {
        let block = block.split("```").next().unwrap();
        let (command, shown) = block.split_once('\n').unwrap();
        let out = lab.run(arguments(command));
        assert_eq!(out.code, 0, "{command}: {}", out.stderr);
        for line in shown.lines() {
            assert!(out.stdout.lines().any(|l| l == line), "{command}\n{line}\n{}", out.stdout);
        }
        runs += 1;
    }
    assert_eq!(runs, 3);
}

#[test]
fn every_answer_is_a_figure_of_its_run() {
    let lab = lab();
    let answers: Vec<&str> = PAGE.split("</summary>").skip(1).collect();
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let answer = answer.split("</details>").next().unwrap();
        let spans: Vec<&str> = answer.split('`').skip(1).step_by(2).collect();
        let (command, figures) = spans.split_first().unwrap();
        let out = lab.run(arguments(command));
        let text = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!figures.is_empty(), "{command}");
        for figure in figures {
            assert!(text.contains(figure), "{command}: {figure} is not in\n{}", out.stdout);
        }
        assert_eq!(out.code, if answer.contains("status is 3") { 3 } else { 0 }, "{command}");
    }
}
