//! Samples as lines of JSON: what was stamped and said, so that others can look again.

use crate::client::{Counts, Ended, NOTES_MAX};
use crate::finding::{Gathered, Note};
use crate::sample::{Record, Sample, TimePair};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use thiserror::Error;
use wirelab::wire::foreign::json_mistake;

/// Why a text is not a file of samples.
#[derive(Debug, Error)]
pub enum SamplesError {
    /// A line is no sample.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Its fault.
        why: String,
    },
    /// There is no line.
    #[error("there is no sample in it")]
    Empty,
}

/// A sample as a line.
///
/// # Errors
/// Fails if it cannot be written; every sample fits JSON.
pub fn line(sample: &Sample) -> serde_json::Result<String> {
    serde_json::to_string(&sample.record).map(|text| text + "\n")
}

/// Replies of each server, judged again, and the clocks at the last reply.
///
/// # Errors
/// The first line that is no sample.
pub fn read(text: &str) -> Result<(Vec<Gathered>, TimePair), SamplesError> {
    let mut servers: BTreeMap<SocketAddr, Gathered> = BTreeMap::new();
    let mut last: Option<TimePair> = None;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: Record = serde_json::from_str(line)
            .map_err(|error| SamplesError::Line { line: index + 1, why: json_mistake(&error) })?;
        if last.is_none_or(|pair| pair.at < record.t4.at) {
            last = Some(record.t4);
        }
        let fresh = || Gathered::new(record.server.to_string(), record.server);
        take(servers.entry(record.server).or_insert_with(fresh), record);
    }
    let now = last.ok_or(SamplesError::Empty)?;
    Ok((servers.into_values().collect(), now))
}

/// Only plausibility is judged again: identity and format were, and are not in the file.
fn take(gathered: &mut Gathered, record: Record) {
    let Counts { sent, samples, lost, refused, .. } = &mut gathered.counts;
    *sent += 1;
    gathered.ended = Ended::Complete;
    match Sample::new(record) {
        Ok(sample) => {
            *samples += 1;
            gathered.samples.push(sample);
        }
        Err(refusal) => {
            *lost += 1;
            *refused.entry(refusal.name().into()).or_default() += 1;
            if gathered.notes.len() < NOTES_MAX {
                gathered.notes.push(Note::new(
                    record.request,
                    record.t4.at,
                    record.server,
                    &refusal,
                ));
            }
        }
    }
}
