//! `lossy-path sweep`: runs this program once for each cell and seed, and collects the results.

use crate::LAB;
use crate::args::{Args, Output, SweepArgs};
use crate::report::junit;
use crate::result::PathResult;
use crate::sweep::{Cell, Run, SCHEMA, Sweep, cells};
use clap::CommandFactory;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab::{self, say};
use wirelab::cli::run::{Repeat, Temporary, WRITTEN_MAX, Whole, read_text, shell_word};
use wirelab::cli::stdout::complain;
use wirelab::measure::human::{count, latency};
use wirelab::report::style::{Ink, Style};

/// Bytes of a program's output that a failed run keeps.
const TAIL_BYTES: usize = 4_096;

/// Runs the matrix; the exit status says whether every cell passed often enough.
pub(super) fn sweep(args: &SweepArgs, output: &Output) -> Result<Exit, Failure> {
    let matrix = cells(&args.axes)?;
    let seed = args.seed.or_random()?;
    let command = Repeat::new(LAB, Args::command()).seed(Some(seed)).command();
    let name = format!("{LAB}-sweep-{}", std::process::id());
    let results = Temporary::folder(&name).map_err(|error| {
        Failure::from_error(Exit::Privilege, "no folder for results can be made", &error)
    })?;
    let mut done = Sweep { schema: SCHEMA, command, seed, cells: Vec::with_capacity(matrix.len()) };
    for settings in matrix {
        let words: Vec<String> = settings.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut cell = Cell { settings: words.join(" "), runs: Vec::new() };
        for seed in (0..u64::from(args.runs)).map(|run| seed.wrapping_add(run)) {
            let name = format!("{}-{seed}.json", done.cells.len());
            let result = results.path().join(name);
            cell.runs.push(run(args, &words, seed, &result)?);
        }
        if !output.quiet {
            let passed = format!("{} of {} passed", cell.passed(), cell.runs.len());
            complain(&format!("{LAB}: {}: {passed}\n", cell.settings));
        }
        done.cells.push(cell);
    }
    if let Some(path) = &args.junit {
        write(path, &junit::render(&done))?;
    }
    output.shared.json.write(&lab::json(&done)?)?;
    if !output.shared.json.to_stdout() {
        say(&text(&done, output.common.color.for_stdout()))?;
    }
    let enough = |cell: &Cell| {
        let wanted = u64::from(args.require.get()) * cell.runs.len() as u64;
        cell.passed() as u64 * 1_000_000 >= wanted
    };
    Ok(if done.cells.iter().all(enough) { Exit::Holds } else { Exit::Fails })
}

/// The arguments of one run, without those of its outputs.
fn arguments(args: &SweepArgs, words: &[String], seed: u64) -> Vec<OsString> {
    let mut all: Vec<OsString> = words.iter().map(|word| format!("--{word}").into()).collect();
    if let Some(plan) = &args.plan {
        all.extend(["--plan".into(), plan.into()]);
    }
    if let Some(server) = &args.b {
        all.extend(["--b".into(), server.into()]);
    }
    if args.localhost {
        all.push("--localhost".into());
    }
    all.extend(["--seed".into(), seed.to_string().into()]);
    all
}

fn run(args: &SweepArgs, words: &[String], seed: u64, result: &Path) -> Result<Run, Failure> {
    let mut own = arguments(args, words, seed);
    let program = || std::iter::once(OsString::from("--")).chain(args.program.iter().cloned());
    let shown = own.iter().cloned().chain(program()).map(|word| shell_word(&word));
    let command = format!("{LAB} {}", shown.collect::<Vec<_>>().join(" "));
    let mut json = OsString::from("--json=");
    json.push(result);
    own.extend([json, "--no-report".into(), "--quiet".into()]);
    let failed = |what: &str, error: io::Error| Failure::from_error(Exit::Bug, what, &error);
    let itself = std::env::current_exe().map_err(|error| failed("cannot find itself", error))?;
    let ended = Command::new(itself).args(own).args(program()).stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| failed("cannot start itself", error))?;
    let text = read_text(result, WRITTEN_MAX);
    // Without a result the path itself failed, and every other run would.
    let Ok(text) = text else {
        let failure = Failure::new(Exit::Usage, format!("a run could not be made: {command}"));
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(said.lines().fold(failure, |failure, line| failure.because(line)));
    };
    let found: PathResult = serde_json::from_str(&text)
        .map_err(|error| Failure::from_error(Exit::Bug, "a result cannot be read", &error))?;
    let ways = [&found.a_to_b, &found.b_to_a];
    let code = i32::from(found.program.status.code());
    let said = [ended.stdout, ended.stderr].concat();
    let output = if code == 0 { String::new() } else { tail(&said) };
    Ok(Run {
        seed,
        code,
        verdict: found.verdict,
        elapsed_ns: found.program.elapsed_ns,
        lost: ways.iter().flat_map(|way| &way.dropped).map(|dropped| dropped.frames).sum(),
        offered: ways.iter().map(|way| way.offered).sum(),
        command,
        output,
    })
}

fn tail(said: &[u8]) -> String {
    let from = said.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(&said[from..]).into_owned()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = Whole::write_all_to(path, text.as_bytes());
    let what = format!("the results cannot go to {}", shell_word(OsStr::new(path)));
    written.map_err(|error| Failure::from_error(Exit::Usage, what, &error))
}

/// A line for each cell, then the failed runs.
fn text(sweep: &Sweep, style: Style) -> String {
    let width = sweep.cells.iter().map(|cell| cell.settings.chars().count()).max().unwrap_or(0);
    let mut out = format!("{:width$}   passed     median  frames lost\n", "");
    for cell in &sweep.cells {
        let sum = |of: fn(&Run) -> u64| cell.runs.iter().map(of).sum::<u64>();
        let (passed, all) = (cell.passed(), cell.runs.len());
        let ink = if passed == all { Ink::Good } else { Ink::Bad };
        let passed = style.ink(ink, &format!("{passed:>3} of {all:<2}"));
        let lost = format!("{} of {}", count(sum(|run| run.lost)), count(sum(|run| run.offered)));
        let median = latency(cell.median_ns());
        out += &format!("{:width$}  {passed}  {median:>8}  {lost}\n", cell.settings);
    }
    let failed: Vec<&Run> =
        sweep.cells.iter().flat_map(|cell| &cell.runs).filter(|run| !run.passed()).collect();
    for run in failed.iter().take(FAILED_SHOWN) {
        out += &format!("exited with {}: {}\n", run.code, run.command);
    }
    if failed.len() > FAILED_SHOWN {
        out += &format!("and {} more\n", failed.len() - FAILED_SHOWN);
    }
    out
}

/// Failed runs whose command is printed.
const FAILED_SHOWN: usize = 10;
