//! The files of a run: manifest, result, events, report.

use crate::LAB;
use crate::args::Args;
use crate::event::{Event, Record};
use crate::report::{About, Reached, WalkResult, page};
use clap::CommandFactory;
use std::io;
use wirelab::cli::error::Failure;
use wirelab::cli::predict::Guess;
use wirelab::cli::run::{Manifest, Place, Repeat, RunFolder, Saved, unwritten, utc};
use wirelab::runtime::clock::utc_seconds;

/// The run folder, made before the walk: without one, no query is sent.
pub(crate) struct Artifacts {
    folder: Option<RunFolder>,
    about: About,
}

impl Artifacts {
    /// For a walk that begins now.
    ///
    /// # Errors
    /// Fails if the folder cannot be made.
    pub(crate) fn of_walk(args: &Args, seed: u64) -> Result<Self, Failure> {
        let command = Repeat::new(LAB, Args::command()).seed(Some(seed)).command();
        let (reached, started_utc) = (reached(args), utc(utc_seconds()));
        let predictions = Vec::new();
        Self::open(args, About { command, seed, reached, started_utc, predictions })
    }

    /// For a saved walk that is shown: the same run, in another folder.
    ///
    /// Of a file of records alone only the seed is known; `walks` are its records.
    ///
    /// # Errors
    /// Fails if the folder cannot be made.
    pub(crate) fn of_saved(
        args: &Args,
        saved: Option<&Saved>,
        walks: &[Vec<Record>],
    ) -> Result<Self, Failure> {
        let known = saved.map(|saved| saved.result::<WalkResult>(LAB, FIRST)).transpose()?;
        Self::open(args, known.map_or_else(|| of_records(walks), About::from))
    }

    fn open(args: &Args, about: About) -> Result<Self, Failure> {
        let mut manifest = Manifest::new(LAB, &about.command, Some(about.seed));
        manifest.started_utc.clone_from(&about.started_utc);
        let place = Place { out: args.output.out.as_deref(), no_report: args.output.no_report };
        Ok(Self { folder: RunFolder::open(&place, manifest)?, about })
    }

    /// Keeps what the reader guessed.
    pub(crate) fn predicted(mut self, predictions: &[Guess]) -> Self {
        self.about.predictions = predictions.to_vec();
        self
    }

    /// Writes every file and prints their folder on stderr.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub(crate) fn write(self, walks: &[Vec<Record>]) -> Result<(), Failure> {
        let Some(folder) = self.folder else { return Ok(()) };
        let result = WalkResult::new(self.about, walks);
        write_all(folder, &result, walks).map_err(|error| unwritten(&error))
    }
}

/// A command that leaves a run.
pub(crate) const FIRST: &str = "dns-walk www.igbank.com --demo";

/// The run's facts from a file of records.
fn of_records(walks: &[Vec<Record>]) -> About {
    let seed = walks.iter().flatten().find_map(|record| match &record.event {
        Event::Start(start) => Some(start.seed),
        _ => None,
    });
    About {
        command: Repeat::new(LAB, Args::command()).command(),
        seed: seed.expect("read_events takes no walk without its start"),
        reached: Reached::Replay,
        started_utc: utc(utc_seconds()),
        predictions: Vec::new(),
    }
}

fn write_all(mut folder: RunFolder, result: &WalkResult, walks: &[Vec<Record>]) -> io::Result<()> {
    folder.write("result.json", &serde_json::to_vec_pretty(result)?)?;
    folder.write("events.ndjson", lines(walks)?.as_bytes())?;
    folder.write("report.html", page(result, walks).as_bytes())?;
    folder.manifest.add("reached", result.reached)?;
    folder.finish(false).map(drop)
}

/// One line per record.
///
/// # Errors
/// Fails if a record cannot be written as JSON, which cannot happen.
pub(crate) fn lines(walks: &[Vec<Record>]) -> serde_json::Result<String> {
    let mut lines = String::new();
    for record in walks.iter().flatten() {
        lines += &serde_json::to_string(record)?;
        lines.push('\n');
    }
    Ok(lines)
}

const fn reached(args: &Args) -> Reached {
    match (&args.demo, &args.hints) {
        (Some(_), _) if args.sim => Reached::Sim,
        (Some(_), _) => Reached::Demo,
        (None, Some(_)) => Reached::Hints,
        (None, None) => Reached::Internet,
    }
}
