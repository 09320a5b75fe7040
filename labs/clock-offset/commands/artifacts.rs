//! What a run leaves: manifest, samples, events, result, report.
//!
//! It must never compute a figure: everything comes from the finding.

use crate::args::Args;
use crate::client::Event;
use crate::commands::{LAB, say};
use crate::finding::Finding;
use crate::report;
use crate::scenario::Scenario;
use serde::Serialize;
use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab;
use wirelab::cli::run_dir::{self, RunDir};
use wirelab::cli::stdout::Pipe;
use wirelab::measure::Instant;
use wirelab::runtime::clock::utc_seconds;
use wirelab::sys::host;

/// Everything that is written while a run goes on.
pub(crate) struct Leaving {
    dir: Option<RunDir>,
    /// Where `--samples` wants them.
    samples: Option<File>,
    events: Vec<Box<dyn Write + Send>>,
    broken: Option<io::Error>,
}

#[derive(Serialize)]
struct Manifest<'a> {
    lab: &'static str,
    version: &'a str,
    command: &'a str,
    seed: Option<u64>,
    scenario: Option<&'a Scenario>,
    started_utc: String,
    kernel: String,
    clocksource: String,
    files: [&'static str; 5],
}

const FILES: [&str; 5] =
    ["manifest.json", "result.json", "samples.ndjson", "events.ndjson", "report.html"];

impl Leaving {
    /// Opens every file before the run, so that nothing is asked for nothing.
    ///
    /// # Errors
    /// Which file or folder cannot be made.
    pub(crate) fn open(args: &Args) -> Result<Self, Failure> {
        // By the line, so that others can follow the file.
        let by_line = |file: File| -> Box<dyn Write + Send> { Box::new(LineWriter::new(file)) };
        let mut events: Vec<Box<dyn Write + Send>> = Vec::new();
        match &args.events {
            None => {}
            Some(_) if events_only(args) => events.push(Box::new(Pipe::new(io::stdout()))),
            Some(path) => events.push(by_line(create(path, "events")?)),
        }
        let samples = args.samples.as_deref().map(|path| create(path, "samples")).transpose()?;
        // Last, so that a file that cannot be made leaves no folder behind.
        let dir = run_dir(args)?;
        if let Some(dir) = &dir {
            events.push(by_line(create(&dir.path().join("events.ndjson"), "events")?));
        }
        Ok(Self { dir, samples, events, broken: None })
    }

    /// Writes an event down; what fails is told at the end.
    pub(crate) fn event(&mut self, name: &str, at: Instant, event: &Event) {
        let line = report::events::line(name, at, event).map_err(io::Error::from);
        let written = line.and_then(|line| {
            let line = line.unwrap_or_default();
            self.events.iter_mut().try_for_each(|to| to.write_all(line.as_bytes()))
        });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    /// Writes the rest, and says where it is.
    ///
    /// # Errors
    /// What could not be written.
    pub(crate) fn finish(mut self, finding: &Finding, quiet: bool) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::from_error(Exit::Usage, "the run could not be written down", &error)
        };
        self.events.iter_mut().try_for_each(Write::flush).map_err(failed)?;
        if let Some(error) = self.broken.take() {
            return Err(failed(error));
        }
        let samples = lines(finding).map_err(failed)?;
        if let Some(file) = &mut self.samples {
            file.write_all(samples.as_bytes()).map_err(failed)?;
        }
        let Some(dir) = &self.dir else { return Ok(()) };
        write(dir, finding, &samples).map_err(failed)?;
        let files = FILES.join("  ");
        if quiet { Ok(()) } else { say(&format!("\n{}/  {files}\n", dir.path().display())) }
    }
}

/// Whether stdout is for the events alone.
pub(crate) fn events_only(args: &Args) -> bool {
    args.events.as_deref() == Some(Path::new("-"))
}

fn create(path: &Path, what: &str) -> Result<File, Failure> {
    File::create(path).map_err(|error| {
        let what = format!("the {what} cannot go to {}", path.display());
        Failure::from_error(Exit::Usage, what, &error)
    })
}

/// Every sample as a line.
fn lines(finding: &Finding) -> io::Result<String> {
    let samples = finding.servers.iter().flat_map(|server| &server.samples);
    samples.map(|sample| Ok(report::samples::line(sample)?)).collect()
}

fn write(dir: &RunDir, finding: &Finding, samples: &str) -> io::Result<()> {
    dir.write("samples.ndjson", samples.as_bytes())?;
    dir.write("result.json", &serde_json::to_vec_pretty(finding)?)?;
    dir.write("report.html", report::page::render(finding).as_bytes())?;
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let manifest = Manifest {
        lab: LAB,
        version: &finding.version,
        command: &finding.command,
        seed: finding.seed,
        scenario: finding.checked.as_ref().map(|checked| &checked.scenario),
        started_utc: run_dir::utc(utc_seconds()),
        kernel: host::kernel_release(),
        // Where the kernel does not say, it is not known.
        clocksource: std::fs::read_to_string(source).unwrap_or_default().trim().to_owned(),
        files: FILES,
    };
    dir.write("manifest.json", &serde_json::to_vec_pretty(&manifest)?).map(drop)
}

fn run_dir(args: &Args) -> Result<Option<RunDir>, Failure> {
    if args.no_report {
        return Ok(None);
    }
    let made = match &args.out {
        Some(path) => RunDir::at(path),
        None => RunDir::create(Path::new(run_dir::BASE), LAB, utc_seconds()),
    };
    made.map(Some).map_err(|error| {
        let shown = args.out.as_deref().unwrap_or_else(|| Path::new(run_dir::BASE));
        let what = format!("the run cannot be left in {}", shown.display());
        Failure::from_error(Exit::Usage, what, &error)
            .or_type("in another folder", format!("{LAB} --out FOLDER …"))
            .or_type("without files", format!("{LAB} --no-report …"))
    })
}

/// The finding of a run that was left.
///
/// # Errors
/// Where there is none.
pub(crate) fn read(run: &Path) -> Result<Finding, Failure> {
    lab::read_result(LAB, run, &format!("{LAB} --demo"))
}
