//! `clock-offset`: how wrong is this clock, between which bounds, and how do you know?
//!
//! It parses, wires up, runs and reports. It must never hold protocol logic, nor set a clock.

pub(crate) mod artifacts;
pub(crate) mod ask;
pub(crate) mod kernel;
pub(crate) mod nts;
pub(crate) mod order;
pub(crate) mod serve;

use crate::args::{Args, What};
use crate::finding::{Finding, Verdict};
use crate::report;
use clap::{CommandFactory, Parser};
use std::fmt::Write as _;
use std::process::ExitCode;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab::{self, say};
use wirelab::cli::run::{self, Saved};

/// The name of the lab.
pub(crate) const LAB: &str = "clock-offset";

/// Runs the lab as its command line says.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let style = args.color.for_stderr();
    wirelab::cli::log::start(args.verbose);
    lab::end(LAB, style, start(&args))
}

fn start(args: &Args) -> Result<Exit, Failure> {
    if let Some(what) = args.generate {
        return lab::generate(what, Args::command());
    }
    match &args.command {
        Some(What::Serve(flags)) => return serve::run(flags),
        Some(What::Order(flags)) => return order::run(flags, args.color),
        Some(What::Show { run, json }) => {
            let finding: Finding =
                Saved::find(LAB, run.as_deref(), ask::FIRST)?.result(LAB, ask::FIRST)?;
            say(&text(args, &finding, *json)?)?;
            return Ok(exit_of(&finding));
        }
        Some(What::Runs { runs, json }) => return run::list(LAB, runs, *json),
        None => {}
    }
    let found = ask::find(args)?;
    if !artifacts::events_only(args) {
        say(&text(args, &found.finding, args.json)?)?;
    }
    found.leaving.finish(&found.finding)?;
    Ok(if found.interrupted { Exit::Interrupted } else { exit_of(&found.finding) })
}

/// The finding in words, or as one JSON document.
fn text(args: &Args, finding: &Finding, json: bool) -> Result<String, Failure> {
    Ok(if json {
        // While following along, every line is one document.
        let json = if args.watch {
            serde_json::to_string(finding)
        } else {
            serde_json::to_string_pretty(finding)
        };
        json.map_err(|error| {
            Failure::from_error(Exit::Bug, "the result cannot be written", &error)
        })? + "\n"
    } else {
        let style = args.color.for_stdout();
        let mut text = report::text::render(finding, style, args.verbose > 0);
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
    })
}

/// What a script learns.
const fn exit_of(finding: &Finding) -> Exit {
    match finding.verdict {
        Verdict::Usable => Exit::Holds,
        Verdict::TooWide | Verdict::Contradiction | Verdict::Disagreement => Exit::Inconclusive,
        Verdict::NoReply => Exit::Network,
    }
}
