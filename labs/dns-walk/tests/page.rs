//! The lab's page: its commands print what it shows, and each answer is a figure of a run.

use wirelab_tests::lab::Lab;

const PAGE: &str = include_str!("../README.md");
/// Lines of a run's text, and of each page of help, at most.
const TEXT_MAX: usize = 40;
const HELP_MAX: usize = 60;

/// Stdout of `dns-walk …`, also with `| head -N` or `| tail -N`.
fn run(lab: &Lab, command: &str) -> String {
    let args = command.strip_prefix("dns-walk").unwrap_or_else(|| panic!("{command}"));
    let (args, filter) = args.split_once(" | ").unwrap_or((args, ""));
    let out = lab.run(args);
    assert!([0, 1, 3, 5, 6].contains(&out.code), "{command}: {}", out.stderr);
    let lines: Vec<&str> = out.stdout.lines().collect();
    let shown = match filter.split_once(" -") {
        Some(("head", count)) => &lines[..count.parse().unwrap()],
        Some(("tail", count)) => &lines[lines.len() - count.parse::<usize>().unwrap()..],
        _ => &lines,
    };
    shown.join("\n")
}

#[test]
fn the_commands_of_the_page_print_what_it_shows() {
    let page = PAGE.split("<details>").next().unwrap();
    let mut ran = 0;
    for block in page.split("```console\n").skip(1) {
        let lab = Lab::new("dns-walk");
        let block = block.split("```").next().unwrap();
        for step in block.strip_prefix("$ ").expect("a command first").split("\n$ ") {
            let (command, wanted) = step.split_once('\n').unwrap();
            assert_eq!(run(&lab, command).trim_end(), wanted.trim_end(), "{command}");
            ran += 1;
        }
    }
    assert!(ran >= 4, "{ran} commands");
}

#[test]
fn each_of_ten_answers_is_a_figure_of_a_run() {
    let answers: Vec<&str> = PAGE.split("<details>").skip(1).collect();
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let (question, answer) = answer.split_once("</summary>").unwrap();
        let answer = answer.split("</details>").next().unwrap();
        let (lab, mut got, mut figures) = (Lab::new("dns-walk"), String::new(), 0);
        for span in answer.split('`').skip(1).step_by(2) {
            if span.starts_with("dns-walk ") {
                got = run(&lab, span);
            } else {
                assert!(got.contains(span), "{question}: expected {span:?} in\n{got}");
                figures += 1;
            }
        }
        assert!(figures > 0, "{question}: no figure");
    }
}

#[test]
fn a_run_and_every_page_of_help_fit_a_screen() {
    let lab = Lab::new("dns-walk");
    let walk = run(&lab, "dns-walk www.igbank.com --demo broken --check --sim --seed 7");
    assert!(walk.lines().count() <= TEXT_MAX, "{walk}");
    assert!(walk.starts_with("www.igbank.com. A is 203.0.113.99"), "{walk}");
    for command in ["", "serve", "serve-demo", "runs"] {
        let help = run(&lab, &format!("dns-walk {command} --help"));
        assert!(help.lines().count() <= HELP_MAX, "{command}: {help}");
        for topic in topics(&help) {
            let page = run(&lab, &format!("dns-walk {command} help {topic}"));
            assert!(page.lines().count() <= HELP_MAX, "{command} {topic}: {page}");
        }
    }
}

/// The names after "More, with … help TOPIC:".
fn topics(help: &str) -> Vec<&str> {
    let list = help.split("help TOPIC:\n").nth(1).unwrap_or_default();
    list.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn guesses_stand_beside_what_was_seen_and_in_the_result() {
    use std::io::Write as _;
    use std::process::Stdio;
    let lab = Lab::new("dns-walk");
    let args = "www.igbank.com --demo --sim --seed 7 --predict --out run";
    let mut command = lab.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"7\n\n3 ms\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split("  ").collect::<Vec<_>>()
    };
    assert!(row("queries that the walk sends").contains(&"right"), "{text}");
    assert!(row("time of the replies").contains(&"off by 2.00×"), "{text}");
    let result = std::fs::read_to_string(lab.folder.join("run/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["predictions"][0]["seen"], 7.0, "{result}");
    assert_eq!(result["predictions"][1]["guess"], serde_json::Value::Null, "{result}");
}
