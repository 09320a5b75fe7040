//! One result value to text, JSON, NDJSON, one offline HTML page, pcapng.
//!
//! It must never compute a figure that the result does not hold, nor touch a file or a terminal.

pub mod clock;
pub mod events;
pub mod explain;
pub mod figures;
pub mod html;
pub mod ladder;
mod lanes;
pub mod order;
pub mod path_capture;
pub mod path_events;
pub mod path_explain;
pub mod path_text;
pub mod pcapng;
mod plots;
pub mod samples;
pub mod style;
pub mod svg;
pub mod table;
mod tables;
pub mod text;
pub mod walk;

/// The JSON schema of `result.json`.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("tcp-vs-udp.result.schema.json")
}

/// The JSON schema of one line of `events.ndjson`.
#[must_use]
pub const fn events_schema() -> &'static str {
    include_str!("tcp-vs-udp.events.schema.json")
}

/// The JSON schema of `result.json` of `lossy-path`.
#[must_use]
pub const fn path_schema() -> &'static str {
    include_str!("lossy-path.result.schema.json")
}

/// The JSON schema of one line of `events.ndjson` of `lossy-path`.
#[must_use]
pub const fn path_events_schema() -> &'static str {
    include_str!("lossy-path.events.schema.json")
}
