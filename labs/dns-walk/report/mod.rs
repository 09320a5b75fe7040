//! Views of a walk's records: tree, sentences, waterfall, sequence, survey, page, JSON.

mod compare;
mod explain;
mod graph;
mod page;
mod result;
mod sequence;
mod sides;
mod survey;
mod tree;
mod waterfall;
mod words;

pub use compare::render as comparisons;
pub use explain::render as explain;
pub use page::page;
pub use result::{About, Reached, ReadError, WalkResult, list_schema, read_events, result_schema};
pub use sequence::render as sequence;
pub use sides::{heading, side, verdict as sides_verdict};
pub use survey::render as survey;
pub use tree::render as tree;
pub use waterfall::render as waterfall;

use crate::event::{Event, Exchange, Record, Summary, VERSION};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One or more walks as one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The version of the records.
    pub v: u32,
    /// Each walk: all of its records, the summary last.
    pub walks: Vec<Vec<Record>>,
}

impl Document {
    /// A document of these walks.
    #[must_use]
    pub const fn new(walks: Vec<Vec<Record>>) -> Self {
        Self { v: VERSION, walks }
    }
}

/// The summary of a walk.
#[must_use]
pub fn summary(records: &[Record]) -> Option<&Summary> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::Summary(summary) => Some(summary.as_ref()),
        _ => None,
    })
}

/// Takes the messages themselves out of the records; what was read of them stays.
pub fn without_messages(walks: &mut [Vec<Record>]) {
    for record in walks.iter_mut().flatten() {
        match &mut record.event {
            Event::Exchange(exchange) => exchange.messages = None,
            Event::Stray(stray) => stray.message = None,
            _ => {}
        }
    }
}

/// The exchanges of each step, attempts in order.
fn steps(records: &[Record]) -> BTreeMap<u32, Vec<&Exchange>> {
    let mut steps: BTreeMap<u32, Vec<&Exchange>> = BTreeMap::new();
    for record in records {
        if let Event::Exchange(exchange) = &record.event {
            steps.entry(exchange.step).or_default().push(exchange);
        }
    }
    for attempts in steps.values_mut() {
        attempts.sort_by_key(|exchange| exchange.attempt);
    }
    steps
}

/// The JSON schema of one line of `events.ndjson` of `dns-walk`.
#[must_use]
pub const fn events_schema() -> &'static str {
    include_str!("events.schema.json")
}
