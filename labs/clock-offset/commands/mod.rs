//! `clock-offset`: how wrong is this clock, between which bounds, and how do you know?
//!
//! It parses, wires up, runs and reports.

pub(crate) mod artifacts;
pub(crate) mod ask;
pub(crate) mod kernel;
pub(crate) mod now;
pub(crate) mod nts;
pub(crate) mod order;
pub(crate) mod predict;
pub(crate) mod serve;

use crate::LAB;
use crate::args::{Args, ELSEWHERE, What, topics};
use crate::finding::{Finding, Verdict};
use crate::report;
use clap::CommandFactory;
use std::fmt::Write as _;
use std::process::ExitCode;
use wirelab::cli::args::Json;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::frame::Frame;
use wirelab::cli::lab::{self, say};
use wirelab::cli::run::{self, Saved};

/// Runs the lab as its command line says.
#[must_use]
pub fn main() -> ExitCode {
    Frame::new(LAB, Args::command())
        .elsewhere(ELSEWHERE)
        .topics(topics())
        .main(|args: Args| start(&args))
}

fn start(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Some(What::Serve(flags)) => return serve::run(flags),
        Some(What::Order(flags)) => return order::run(flags, args.common.color),
        Some(What::Show { run, json }) => {
            let finding: Finding =
                Saved::find(LAB, run.as_deref(), ask::FIRST)?.result(LAB, ask::FIRST)?;
            print(args, json, &finding)?;
            return Ok(exit_of(&finding));
        }
        Some(What::Now { run }) => return now::run(run.as_deref()),
        Some(What::Runs { runs, json }) => return run::list(LAB, runs, json.to_stdout()),
        None => {}
    }
    let guesses = args.predict.ask(predict::questions(args.demo || args.sim))?;
    let mut found = ask::find(args)?;
    found.finding.predictions = predict::compared(guesses, &found.finding);
    if !args.output.events_to_stdout() {
        print(args, &args.output.json, &found.finding)?;
    }
    found.leaving.finish(&found.finding)?;
    Ok(if found.interrupted { Exit::Interrupted } else { exit_of(&found.finding) })
}

/// Prints the finding in words, or writes it as one JSON document.
fn print(args: &Args, json: &Json, finding: &Finding) -> Result<(), Failure> {
    // With --watch every line is one document.
    let document = if args.watch {
        serde_json::to_string(finding)
            .map(|line| line + "\n")
            .map_err(|error| Failure::from_error(Exit::Bug, "the result cannot be JSON", &error))?
    } else {
        lab::json(finding)?
    };
    json.write(&document)?;
    if json.to_stdout() { Ok(()) } else { say(&text(args, finding)) }
}

/// The finding in words.
fn text(args: &Args, finding: &Finding) -> String {
    let style = args.common.color.for_stdout();
    let mut text = report::text::render(finding, style, args.common.verbose > 0);
    text.push_str(&predict::shown(finding));
    if args.explain {
        let none = "\nthere is no sample to explain\n".to_owned();
        text.push_str(&report::explain(finding).unwrap_or(none));
        text.push_str(&report::refusals(finding));
    }
    if let Some(seed) = finding.seed {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\nseed {seed}: {}", finding.command);
    }
    text
}

/// Result for scripts.
const fn exit_of(finding: &Finding) -> Exit {
    match finding.verdict {
        Verdict::Usable => Exit::Holds,
        Verdict::TooWide | Verdict::Contradiction | Verdict::Disagreement => Exit::Inconclusive,
        Verdict::NoReply => Exit::Network,
    }
}
