//! Flags that the labs share.

use super::error::Failure;
use super::exit::Exit;
use super::generate::Generate;
use super::run::Whole;
use super::style::ColorChoice;
use super::values::whole;
use super::{lab, seed};
use clap::{ArgAction, Args, ValueHint};
use std::path::{Path, PathBuf};

/// Flags of every lab and of each of its commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// When to colour the text
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub color: ColorChoice,

    /// Say what is done, on stderr; twice for every step
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Print completions:SHELL or man, and stop
    #[arg(long, value_name = "WHAT")]
    pub generate: Option<Generate>,
}

/// `--seed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Seed {
    /// Seed of every draw; random where absent, and always printed
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub seed: Option<u64>,
}

impl Seed {
    /// The seed that was given, or a random one.
    ///
    /// # Errors
    /// Fails if the kernel gives no random numbers.
    pub fn or_random(&self) -> Result<u64, Failure> {
        seed::or_random(self.seed).map_err(|error| seed::no_random(&error))
    }
}

/// `--json`.
#[derive(Clone, Debug, Default, Args)]
pub struct Json {
    /// Print the result as one JSON document instead of text, or write it to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, global = true)]
    #[arg(default_missing_value = "-", value_hint = ValueHint::FilePath)]
    pub json: Option<PathBuf>,
}

impl Json {
    /// Whether stdout gets the document instead of text.
    #[must_use]
    pub fn to_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(is_stdout)
    }

    /// Writes a document where it was asked for; does nothing without the flag.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, document: &str) -> Result<(), Failure> {
        let Some(file) = &self.json else { return Ok(()) };
        if is_stdout(file) {
            return lab::say(document);
        }
        Whole::write_all_to(file, document.as_bytes()).map_err(|error| {
            let what = format!("--json: cannot write {}", file.display());
            Failure::from_error(Exit::Usage, what, &error)
        })
    }
}

/// Output options of a run.
#[derive(Clone, Debug, Default, Args)]
pub struct Output {
    /// Where the result goes as JSON.
    #[command(flatten)]
    pub json: Json,

    /// Write every event as NDJSON to FILE, or to stdout with -
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, global = true)]
    pub events: Option<PathBuf>,

    /// Where to leave the run [default: a new folder in wirelab-runs]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, global = true)]
    pub out: Option<PathBuf>,

    /// Leave no files
    #[arg(long, global = true)]
    pub no_report: bool,

    /// Leave command lines out of the run: they may hold secrets
    #[arg(long, global = true)]
    pub no_command: bool,
}

impl Output {
    /// Whether stdout carries the events.
    #[must_use]
    pub fn events_to_stdout(&self) -> bool {
        self.events.as_deref().is_some_and(is_stdout)
    }

    /// Whether stdout carries JSON, so that no text may go there.
    #[must_use]
    pub fn takes_stdout(&self) -> bool {
        self.json.to_stdout() || self.events_to_stdout()
    }
}

/// `-` names stdout.
fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}
