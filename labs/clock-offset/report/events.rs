//! `events.ndjson` of `clock-offset`: one line per reply, refusal, loss and end.

use crate::client::{Ended, Event};
use crate::sample::Record;
use serde::Serialize;
use wirelab::measure::Instant;

/// The version of every line; it changes when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// The JSON schema of one line.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("events.schema.json")
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Line<'a> {
    #[serde(rename = "sample")]
    Sample {
        #[serde(flatten)]
        record: &'a Record,
        offset_ns: i64,
        low_ns: i64,
        high_ns: i64,
        delay_ns: i64,
    },
    #[serde(rename = "refused")]
    Refused {
        request: u32,
        from: std::net::SocketAddr,
        reason: &'a str,
        section: &'a str,
        text: String,
    },
    #[serde(rename = "lost")]
    Lost { request: u32, sent_ns: u64 },
    #[serde(rename = "ended")]
    Ended { why: Ended },
}

#[derive(Serialize)]
struct Whole<'a> {
    v: u32,
    t_ns: u64,
    name: &'a str,
    #[serde(flatten)]
    line: Line<'a>,
}

/// An event as a line; none where it concerns only the program itself.
///
/// # Errors
/// Fails if it cannot be written; every event fits JSON.
pub fn line(name: &str, at: Instant, event: &Event) -> serde_json::Result<Option<String>> {
    let line = match event {
        Event::Sample(sample) => Line::Sample {
            record: &sample.record,
            offset_ns: sample.offset_ns(),
            low_ns: sample.low_ns(),
            high_ns: sample.high_ns(),
            delay_ns: sample.delay_ns(),
        },
        Event::Refused { request, from, refusal, .. } => Line::Refused {
            request: *request,
            from: *from,
            reason: refusal.name(),
            section: refusal.section(),
            text: refusal.to_string(),
        },
        Event::Lost { request, sent } => Line::Lost { request: *request, sent_ns: sent.as_nanos() },
        Event::Ended(why) => Line::Ended { why: *why },
        Event::Closed { .. } | Event::KeysNeeded => return Ok(None),
    };
    let whole = Whole { v: VERSION, t_ns: at.as_nanos(), name, line };
    serde_json::to_string(&whole).map(|text| Some(text + "\n"))
}
