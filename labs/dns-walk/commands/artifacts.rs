//! What a walk leaves behind: manifest, result, events, report.
//!
//! It must never compute a figure: everything comes from the records.

use crate::args::Args;
use crate::event::Record;
use crate::report::{About, Reached, WalkResult, page};
use serde::Serialize;
use std::io;
use std::path::Path;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab;
use wirelab::cli::run_dir::{self, RunDir};
use wirelab::cli::stdout;
use wirelab::sys::host;

/// Where the files go; chosen before the walk, so that nothing is asked for nothing.
pub(crate) struct Place {
    dir: Option<RunDir>,
    started_utc: String,
}

#[derive(Serialize)]
struct Manifest<'a> {
    lab: &'static str,
    version: &'a str,
    command: &'a str,
    seed: u64,
    reached: Reached,
    kernel: String,
    started_utc: &'a str,
    files: &'a [&'static str],
}

const FILES: [&str; 4] = ["manifest.json", "result.json", "events.ndjson", "report.html"];

impl Place {
    /// # Errors
    /// Where the folder cannot be made.
    pub(crate) fn choose(args: &Args, now: u64) -> Result<Self, Failure> {
        let started_utc = run_dir::utc(now);
        if args.no_report {
            return Ok(Self { dir: None, started_utc });
        }
        let made = match &args.out {
            Some(path) => RunDir::at(path),
            None => RunDir::create(Path::new(run_dir::BASE), crate::commands::LAB, now),
        };
        made.map(|dir| Self { dir: Some(dir), started_utc }).map_err(|error| {
            let shown = args.out.as_deref().unwrap_or_else(|| Path::new(run_dir::BASE));
            let what = format!("the run cannot be left in {}", shown.display());
            Failure::from_error(Exit::Usage, what, &error)
                .or_type("in another folder", format!("{} … --out DIR", crate::commands::LAB))
                .or_type("without files", format!("{} … --no-report", crate::commands::LAB))
        })
    }

    /// Writes every file, and says on stderr where they are.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub(crate) fn leave(
        self,
        args: &Args,
        seed: u64,
        walks: &[Vec<Record>],
    ) -> Result<(), Failure> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let reached = reached(args);
        let started_utc = self.started_utc.clone();
        let needed = (reached != Reached::Replay).then_some(seed);
        let command = lab::repeat_command(crate::commands::LAB, needed);
        let about = About { command, seed, reached, started_utc };
        let result = WalkResult::new(about, walks);
        write_all(dir, &result, walks).map_err(|error| {
            Failure::from_error(Exit::Usage, "the run could not be written down", &error)
        })?;
        stdout::complain(&format!(
            "{}: left {}/  {}\n",
            crate::commands::LAB,
            dir.path().display(),
            FILES.join("  ")
        ));
        Ok(())
    }
}

fn write_all(dir: &RunDir, result: &WalkResult, walks: &[Vec<Record>]) -> io::Result<()> {
    let manifest = Manifest {
        lab: crate::commands::LAB,
        version: &result.version,
        command: &result.command,
        seed: result.seed,
        reached: result.reached,
        kernel: host::kernel_release(),
        started_utc: &result.started_utc,
        files: &FILES,
    };
    dir.write("manifest.json", &serde_json::to_vec_pretty(&manifest)?)?;
    dir.write("result.json", &serde_json::to_vec_pretty(result)?)?;
    dir.write("events.ndjson", lines(walks)?.as_bytes())?;
    dir.write("report.html", page(result, walks).as_bytes())?;
    Ok(())
}

/// One line per record.
///
/// # Errors
/// Where a record cannot be written as JSON, which no record is.
pub(crate) fn lines(walks: &[Vec<Record>]) -> serde_json::Result<String> {
    let mut lines = String::new();
    for record in walks.iter().flatten() {
        lines += &serde_json::to_string(record)?;
        lines.push('\n');
    }
    Ok(lines)
}

const fn reached(args: &Args) -> Reached {
    match (&args.replay, &args.demo, &args.hints) {
        (Some(_), _, _) => Reached::Replay,
        (None, Some(_), _) if args.sim => Reached::Sim,
        (None, Some(_), _) => Reached::Demo,
        (None, None, Some(_)) => Reached::Hints,
        (None, None, None) => Reached::Internet,
    }
}
