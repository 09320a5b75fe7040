//! The result of a run, and its records read back from a file.

use crate::event::{Event, Record, VERSION};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wirelab::cli::predict::Guess;
use wirelab::wire::foreign::{json_mistake, shape};

/// Which servers the walk asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The demonstration in virtual time: nothing was sent.
    Sim,
    /// The demonstration on loopback.
    Demo,
    /// Servers that the user named.
    Hints,
    /// The root of the Internet.
    Internet,
    /// None: a saved walk is shown.
    Replay,
}

impl Reached {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sim => "the demonstration, in virtual time: nothing was sent",
            Self::Demo => "the demonstration, real packets on loopback",
            Self::Hints => "the servers of a hints file",
            Self::Internet => "the root of the Internet",
            Self::Replay => "a saved walk: nothing was sent",
        }
    }
}

/// `result.json`: the end of each walk. `events.ndjson` has every event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalkResult {
    /// The version of the records.
    pub v: u32,
    /// The version of wirelab.
    pub version: String,
    /// The command that repeats the run.
    pub command: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Which servers it asked.
    pub reached: Reached,
    /// When it began.
    pub started_utc: String,
    /// The summary of each walk, the cold one first.
    pub walks: Vec<Record>,
    /// Other resolvers' answers to the same question.
    pub comparisons: Vec<Record>,
    /// The reader's guesses beside the values seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<Guess>,
}

impl WalkResult {
    /// The result of these walks.
    #[must_use]
    pub fn new(about: About, walks: &[Vec<Record>]) -> Self {
        let is_end = |record: &&Record| matches!(record.event, Event::Summary(_));
        let ends = walks.iter().filter_map(|records| records.iter().rev().find(is_end).cloned());
        let is_comparison = |record: &&Record| matches!(record.event, Event::Comparison(_));
        let About { command, seed, reached, started_utc, predictions } = about;
        Self {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            seed,
            reached,
            started_utc,
            walks: ends.collect(),
            comparisons: walks.iter().flatten().filter(is_comparison).cloned().collect(),
            predictions,
        }
    }
}

/// Facts about a walk beyond its records.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The command that repeats the run.
    pub command: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Which servers it asked.
    pub reached: Reached,
    /// When it began.
    pub started_utc: String,
    /// The reader's guesses (`--predict`).
    pub predictions: Vec<Guess>,
}

impl From<WalkResult> for About {
    fn from(result: WalkResult) -> Self {
        let WalkResult { command, seed, reached, started_utc, predictions, .. } = result;
        Self { command, seed, reached, started_utc, predictions }
    }
}

/// Why a file is no saved walk.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A line is not a record.
    #[error("line {line}: expected one record of a walk, got {got:?}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Its shape.
        got: String,
        /// Its fault.
        why: String,
    },
    /// A record of another version.
    #[error("line {line}: expected a record of version {VERSION}, got version {got}")]
    Version {
        /// Which, from 1.
        line: usize,
        /// Its version.
        got: u32,
    },
    /// The first record does not begin a walk.
    #[error("expected the record of a walk's beginning (type \"start\") first, got another")]
    NoStart,
    /// A walk without its last record.
    #[error("walk {walk} has no summary: expected its last record (type \"summary\")")]
    NoEnd {
        /// Which, from 1.
        walk: usize,
    },
    /// An empty file.
    #[error("expected records of a walk, one JSON object a line, got an empty file")]
    Empty,
}

/// The walks of an `events.ndjson`, each from its start to its summary.
///
/// # Errors
/// Fails if a line is not a record, or a walk is not whole.
pub fn read_events(text: &str) -> Result<Vec<Vec<Record>>, ReadError> {
    let mut walks: Vec<Vec<Record>> = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let record: Record = serde_json::from_str(line).map_err(|why| ReadError::Line {
            line: number,
            got: shape(line),
            why: json_mistake(&why),
        })?;
        if record.v != VERSION {
            return Err(ReadError::Version { line: number, got: record.v });
        }
        if matches!(record.event, Event::Start(_)) {
            walks.push(Vec::new());
        }
        walks.last_mut().ok_or(ReadError::NoStart)?.push(record);
    }
    if walks.is_empty() {
        return Err(ReadError::Empty);
    }
    match walks.iter().position(|records| super::summary(records).is_none()) {
        Some(at) => Err(ReadError::NoEnd { walk: at + 1 }),
        None => Ok(walks),
    }
}

/// The JSON schema of `result.json`, with that of the records inside it.
///
/// # Errors
/// Fails if a schema file is not JSON, which a test rules out.
pub fn result_schema() -> Result<serde_json::Value, serde_json::Error> {
    with_records(include_str!("result.schema.json"))
}

/// The JSON schema of one line of `dns-walk -`, with that of the records inside it.
///
/// # Errors
/// Fails if a schema file is not JSON, which a test rules out.
pub fn list_schema() -> Result<serde_json::Value, serde_json::Error> {
    with_records(include_str!("list.schema.json"))
}

/// Bundles two schemas as JSON Schema 2020-12 §9.3 says: the records' keeps its own `$id`.
fn with_records(schema: &str) -> Result<serde_json::Value, serde_json::Error> {
    let mut schema: serde_json::Value = serde_json::from_str(schema)?;
    let mut events: serde_json::Value = serde_json::from_str(super::events_schema())?;
    events["$id"] = "dns-walk.events.schema.json".into();
    schema["$defs"] = serde_json::json!({ "events": events });
    Ok(schema)
}
